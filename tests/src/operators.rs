//! What the conformance cases show of each ONNX operator, as the file that `maquette ops` reads: one line each, fields separated by
//! tabs. What a new run shows is compared with it; a claim that is no longer true fails, one that is missing is told.

use std::collections::{BTreeMap, BTreeSet};

use crate::suite::{Case, Verdict};

/// Where the file is, from the root of the repository.
pub const FILE: &str = "driver/src/cli/operators.tsv";

/// What is shown of one operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Cases that are right on every machine, and all of them.
    pub right: usize,
    pub cases: usize,
    /// Element types of right cases that are for this operator alone.
    pub types: BTreeSet<String>,
}

/// By operator. A case is right where every machine has it right.
pub fn shown(cases: &[Case], machines: &[BTreeMap<String, (u64, Verdict)>]) -> BTreeMap<String, Shown> {
    let mut out: BTreeMap<String, Shown> = BTreeMap::new();
    for case in cases {
        let right = machines.iter().all(|verdicts| verdicts.get(&case.name).is_some_and(|(_, v)| *v == Verdict::Right));
        for (i, operator) in case.operators.iter().enumerate() {
            let shown = out.entry(operator.clone()).or_default();
            shown.cases += 1;
            if right {
                shown.right += 1;
                if i == 0 && case.single {
                    shown.types.extend(case.dtypes.iter().map(|d| d.to_string()));
                }
            }
        }
    }
    out.retain(|_, shown| shown.right > 0);
    out
}

/// The file.
pub fn print(machines: &[&str], shown: &BTreeMap<String, Shown>) -> String {
    let mut out = format!("# operator, cases right on every machine, cases, types; machines: {}\n", machines.join(" "));
    for (name, shown) in shown {
        let types: Vec<&str> = ir::Dtype::ALL.iter().map(|d| d.name()).filter(|name| shown.types.contains(*name)).collect();
        out += &format!("{name}\t{}\t{}\t{}\n", shown.right, shown.cases, types.join(" "));
    }
    out
}

/// The file, read.
pub fn read(text: &str) -> BTreeMap<String, Shown> {
    let line = |line: &str| {
        let mut fields = line.split('\t');
        let name = fields.next()?.to_string();
        let mut number = || fields.next()?.parse().ok();
        let (right, cases) = (number()?, number()?);
        let types = fields.next()?.split(' ').filter(|t| !t.is_empty()).map(str::to_string).collect();
        Some((name, Shown { right, cases, types }))
    };
    text.lines().filter(|l| !l.starts_with('#')).filter_map(line).collect()
}

/// What the file claims and a run does not show.
pub fn untrue(file: &BTreeMap<String, Shown>, run: &BTreeMap<String, Shown>) -> Vec<String> {
    let mut out = Vec::new();
    for (name, claimed) in file {
        let Some(shown) = run.get(name) else {
            out.push(format!("{name}: no case is right any more"));
            continue;
        };
        if shown.right < claimed.right {
            out.push(format!("{name}: {} cases are right, {} were", shown.right, claimed.right));
        }
        for lost in claimed.types.difference(&shown.types) {
            out.push(format!("{name}: no case of {lost} is right any more"));
        }
    }
    out
}
