//! `maquette ops` and `maquette targets`: what there is.

use frontend::ops::{How, Row, TABLE};

use super::console::Console;
use super::probes;
use crate::error::Result;
use crate::table::{Table, count, list, word};
use crate::target::{Emit, TARGETS};

#[derive(clap::Args)]
pub struct OpsArgs {
    /// As the page docs/operators.md
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct TargetsArgs {
    /// What the kernels are on each CPU level
    #[arg(long)]
    kernels: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn ops(args: &OpsArgs, console: &Console) -> Result<()> {
    if args.markdown {
        console.print(&operators_page());
    } else {
        console.table(&operators(), args.json);
    }
    Ok(())
}

/// The page docs/operators.md, printed from the table.
pub fn operators_page() -> String {
    let operators = operators();
    format!(
        "# ONNX operators\n\n\
         Printed by `maquette ops --markdown`; a test compares. Opsets {} to {} of the default domain are read. An operator that is not in\n\
         the table ends a compilation with exit code 4, and all such operators of a model are listed at once.\n\n{}",
        frontend::OPSETS.start(),
        frontend::OPSETS.end(),
        operators.markdown()
    )
}

fn operators() -> Table {
    let mut rows: Vec<&Row> = TABLE.iter().collect();
    rows.sort_by_key(|row| (row.domain, row.name));
    let mut table = Table::new(&["operator", "domain", "since opset", "inputs", "outputs", "becomes"]);
    for row in rows {
        let (least, most) = row.inputs;
        let inputs = match most {
            usize::MAX => format!("{least} or more"),
            most if most == least => least.to_string(),
            most => format!("{least} to {most}"),
        };
        let becomes = match row.how {
            How::Body(text, _) => format!("map {text}"),
            How::Function(_) => "tensor operators".into(),
        };
        table.row(vec![
            word(row.name),
            word(if row.domain.is_empty() { "ai.onnx" } else { row.domain }),
            count(row.since as u64),
            word(inputs),
            word(if row.outputs == usize::MAX { "any".into() } else { row.outputs.to_string() }),
            word(becomes),
        ]);
    }
    table
}

pub fn targets(args: &TargetsArgs, console: &Console) -> Result<()> {
    if args.kernels {
        console.table(&probes::table()?, args.json);
        return Ok(());
    }
    let mut table = Table::new(&["target", "level", "emit", "needs"]);
    for target in TARGETS {
        for level in target.levels {
            let emits: Vec<&str> = target.emits.iter().map(|e: &Emit| e.word()).collect();
            let shown = emits.join(",");
            table.row(vec![word(target.name), word(level.name), list(emits, shown), word(level.needs)]);
        }
    }
    console.table(&table, args.json);
    Ok(())
}
