//! `maquette ops` and `maquette targets`: what there is.

use std::collections::BTreeMap;

use frontend::ops::{How, Row, TABLE};

use super::console::Console;
use super::probes;
use crate::error::Result;
use crate::table::{Table, list, word};
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
         the table ends a compilation with exit code 4, and all such operators of a model are listed at once.\n\n\
         Types and cases are what the conformance cases show (`../shared/conformance`): a case counts when it is right on {}.\n\
         A type stands here when a case for that operator alone has it; others may work as well. *machines* are the families of which every level has\n\
         these cases right, with their number where families differ.\n\n{}",
        frontend::OPSETS.start(),
        frontend::OPSETS.end(),
        machines().split(' ').collect::<Vec<_>>().join(", "),
        operators.markdown()
    )
}

fn operators() -> Table {
    let mut rows: Vec<&Row> = TABLE.iter().collect();
    rows.sort_by_key(|row| (row.domain, row.name));
    let shown = shown();
    let mut table = Table::new(&["operator", "domain", "opsets", "inputs", "outputs", "types shown", "cases", "machines", "becomes"]);
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
        let name = if row.domain.is_empty() { row.name.to_string() } else { format!("{}.{}", row.domain, row.name) };
        let shown = shown.get(name.as_str());
        let opsets = if row.domain.is_empty() { format!("{} to {}", row.since, frontend::OPSETS.end()) } else { "1".into() };
        let types: Vec<&str> = shown.map_or_else(Vec::new, |s| s.types.clone());
        let text = types.join(" ");
        let machines: Vec<&str> = shown.map_or_else(Vec::new, |s| s.machines.iter().map(|(name, _)| *name).collect());
        let by_machine = shown.map_or_else(String::new, Shown::by_machine);
        table.row(vec![
            word(row.name),
            word(if row.domain.is_empty() { "ai.onnx" } else { row.domain }),
            word(opsets),
            word(inputs),
            word(if row.outputs == usize::MAX { "any".into() } else { row.outputs.to_string() }),
            list(types, text),
            word(shown.map_or_else(|| "none".into(), |s| format!("{} of {}", s.right, s.cases))),
            list(machines, by_machine),
            word(becomes),
        ]);
    }
    table
}

/// What the conformance cases show of an operator.
struct Shown {
    types: Vec<&'static str>,
    right: u64,
    cases: u64,
    /// Families that have a case right, and how many.
    machines: Vec<(&'static str, u64)>,
}

impl Shown {
    /// The families, with their numbers where these are not the same.
    fn by_machine(&self) -> String {
        let same = self.machines.iter().all(|(_, right)| *right == self.right);
        let one = |(name, right): &(&str, u64)| if same { name.to_string() } else { format!("{name} ({right})") };
        self.machines.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

/// What the tests wrote: by operator, with its domain in front unless that is the default one.
const RESULTS: &str = include_str!("operators.tsv");

/// The CPU levels on which every case that counts as right is right.
fn machines() -> &'static str {
    RESULTS.lines().next().and_then(|line| line.split_once("machines: ")).map_or("", |(_, names)| names)
}

/// The families of machines that the results are for.
fn families() -> Vec<&'static str> {
    let head = RESULTS.lines().next().and_then(|line| line.split_once("right on each of ")).map_or("", |(_, rest)| rest);
    head.split(';').next().unwrap_or("").split(' ').collect()
}

fn shown() -> BTreeMap<&'static str, Shown> {
    let line = |line: &'static str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, right, cases, types, machines] = fields[..] else { return None };
        let right_on = machines.split(' ').map(|n| n.parse().unwrap_or(0));
        let machines = families().into_iter().zip(right_on).filter(|(_, right)| *right > 0).collect();
        let types = types.split(' ').filter(|t| !t.is_empty()).collect();
        Some((name, Shown { types, right: right.parse().ok()?, cases: cases.parse().ok()?, machines }))
    };
    RESULTS.lines().filter(|l| !l.starts_with('#')).filter_map(line).collect()
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
