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
    /// Cases that are right on every level of a family, in the order of [`FAMILIES`].
    pub families: [usize; 3],
    /// Element types of right cases that are for this operator alone.
    pub types: BTreeSet<String>,
}

/// Families of machines, with what the names of their levels begin with.
pub const FAMILIES: [(&str, &[&str]); 3] = [("x86-64", &["x86-64"]), ("aarch64", &["armv8"]), ("wasm32", &["simd128", "relaxed"])];

/// What came of the cases on a level, by its name.
pub type Level<'a> = (&'a str, BTreeMap<String, (u64, Verdict)>);

/// By operator. A case is right where every level has it right.
pub fn shown(cases: &[Case], levels: &[Level]) -> BTreeMap<String, Shown> {
    let mut out: BTreeMap<String, Shown> = BTreeMap::new();
    for case in cases {
        let is_right = |(_, verdicts): &&Level| verdicts.get(&case.name).is_some_and(|(_, v)| *v == Verdict::Right);
        let right = levels.iter().all(|level| is_right(&level));
        let families = FAMILIES.map(|(_, begins)| {
            let mut own = levels.iter().filter(|(name, _)| begins.iter().any(|begin| name.starts_with(begin))).peekable();
            own.peek().is_some() && own.all(|level| is_right(&level))
        });
        for (i, operator) in case.operators.iter().enumerate() {
            let shown = out.entry(operator.clone()).or_default();
            shown.cases += 1;
            shown.families.iter_mut().zip(families).for_each(|(count, right)| *count += usize::from(right));
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
    let names = FAMILIES.map(|(name, _)| name);
    let mut out = format!(
        "# operator, cases right on every machine, cases, types, cases right on each of {}; machines: {}\n",
        names.join(" "),
        machines.join(" ")
    );
    for (name, shown) in shown {
        let types: Vec<&str> = ir::Dtype::ALL.iter().map(|d| d.name()).filter(|name| shown.types.contains(*name)).collect();
        let families = shown.families.map(|right| right.to_string()).join(" ");
        out += &format!("{name}\t{}\t{}\t{}\t{families}\n", shown.right, shown.cases, types.join(" "));
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
        let families: Vec<usize> = fields.next()?.split(' ').filter_map(|n| n.parse().ok()).collect();
        Some((name, Shown { right, cases, types, families: families.try_into().ok()? }))
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
        for (i, (family, _)) in FAMILIES.iter().enumerate().filter(|(i, _)| shown.families[*i] < claimed.families[*i]) {
            out.push(format!("{name}: {} cases are right on {family}, {} were", shown.families[i], claimed.families[i]));
        }
        for lost in claimed.types.difference(&shown.types) {
            out.push(format!("{name}: no case of {lost} is right any more"));
        }
    }
    out
}
