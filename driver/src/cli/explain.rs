//! `maquette explain`: which rewrite fired where, and which nearly did and why not; of a quantized model also what stays in
//! floats, and how much does not. On request what kernels chose from, and how long steps take beside what was predicted.

use super::arguments::{ModelArgs, PassArgs, Setup, TargetArgs, setup};
use super::console::Console;
use crate::compile;
use crate::error::{Result, plain};
use crate::execute::Runner;
use crate::table::{Table, flag, word};
use crate::timing;

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
    /// Show instead what kernels had to choose from, with predicted times
    #[arg(long, conflicts_with_all = ["rule", "measure"])]
    choices: bool,
    /// Show instead the predicted time of every step beside a measured one
    #[arg(long, conflicts_with = "rule")]
    measure: bool,
    /// Tell it as JSON
    #[arg(long)]
    json: bool,
}

pub fn main(args: &Args, console: &Console) -> Result<()> {
    let mut setup = setup(&args.model, &args.passes, &args.target, Some("model"))?;
    if args.choices || args.measure {
        let table = kernels(args, &mut setup, console).map_err(|error| error.of_file(&setup.model.label))?;
        console.table(&table, args.json);
        return Ok(());
    }
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

/// What kernels chose, or what every step takes on inputs that are made up.
fn kernels(args: &Args, setup: &mut Setup, console: &Console) -> Result<Table> {
    let (mut graph, runs) = super::verify::inputs(None, 0, setup, console)?;
    let progress = console.progress();
    let optimized = compile::optimize(&mut graph, &setup.options, None, &progress)?;
    console.remarks(&optimized.report);
    let (level, program) = timing::last(&graph, &setup.options, &progress)?;
    if args.choices {
        return Ok(timing::choices(&program, args.node.as_deref()));
    }
    let inputs = runs.into_iter().next().unwrap_or_default();
    let times = timing::measure(&program, level, &inputs, None, &setup.options, &Runner::default(), &progress)?;
    let sizes = program.sizes(&inputs).unwrap_or_default();
    Ok(timing::prediction(&timing::Rows { program: &program, level, sizes: &sizes, times: &times }, args.node.as_deref()))
}
