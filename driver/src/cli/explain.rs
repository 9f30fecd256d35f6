//! `maquette explain`: which rewrite fired where, and which nearly did and why not; of a quantized model also what stays in
//! floats, and how much does not.

use super::arguments::{ModelArgs, PassArgs, TargetArgs, setup};
use super::console::Console;
use crate::compile;
use crate::error::{Result, plain};
use crate::table::{Table, flag, word};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    passes: PassArgs,
    /// Only these rules, separated by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    rule: Vec<String>,
    /// Only nodes whose ONNX names hold this
    #[arg(long, value_name = "TEXT")]
    node: Option<String>,
    /// Tell it as JSON
    #[arg(long)]
    json: bool,
}

pub fn main(args: &Args, console: &Console) -> Result<()> {
    let mut setup = setup(&args.model, &args.passes, &args.target, Some("model"))?;
    setup.options.passes.explain = true;
    let import = setup.model.import(&setup.options)?;
    import.notes.iter().for_each(|note| console.note(note));
    let mut graph = import.graph;
    let optimized = compile::optimize(&mut graph, &setup.options, None, &()).map_err(|error| error.of_file(&setup.model.label))?;
    console.remarks(&optimized.report);
    let mut table = Table::new(&["pass", "rule", "operator", "fired", "why not", "node"]);
    for line in &optimized.report.log {
        let rule = args.rule.is_empty() || args.rule.iter().any(|r| r == line.rule);
        let node = args.node.as_ref().is_none_or(|n| line.at.contains(n.as_str()));
        if rule && node {
            table.row(vec![
                word(line.pass),
                word(line.rule),
                word(line.op),
                flag(line.why_not.is_none(), "yes", "no"),
                word(line.why_not.clone().unwrap_or_default()),
                word(plain(&line.at, 80)),
            ]);
        }
    }
    console.table(&table, args.json);
    if let Some(counts) = optimized.report.folded {
        console.note(&format!("convolutions and matmuls folded: {} of {}", counts.folded, counts.products));
    }
    Ok(())
}
