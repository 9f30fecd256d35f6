//! The ONNX suite, three times: through the reference interpreter, through it again after all passes, and through the
//! machine. What is accepted must be right; how much is accepted may only grow.

use std::collections::BTreeMap;

use maquette::compile;
use maquette::machine::{self, Machine};
use tests::suite::{self, Case, Verdict};
use tests::{house, suite::oracle};

/// Right answers per tier, of 688, 230, 359 and 143 cases, at every stage.
const RIGHT: [usize; 4] = [684, 207, 335, 92];

/// Cases whose answers are known to be others, with the reason.
const KNOWN: &[(&str, &str)] = &[
    ("test_dft_inverse", "where zero is exact, the expected values hold what an f32 transform left of its roundings"),
    ("test_dft_inverse_opset19", "where zero is exact, the expected values hold what an f32 transform left of its roundings"),
];

/// What came of each case, with its tier, by name.
type Verdicts = BTreeMap<String, (u64, Verdict)>;

fn cases(test: &str) -> Option<Vec<Case>> {
    Some(suite::read(&house::shared("conformance/suite", test)?))
}

/// Counts by tier; fails on what is wrong or unclear, and on fewer right answers than there were.
fn judge(stage: &str, verdicts: &Verdicts) {
    let mut bad = Vec::new();
    let mut known = Vec::new();
    for (name, (_, verdict)) in verdicts {
        let what = match verdict {
            Verdict::Right | Verdict::Unsupported(_) => continue,
            Verdict::Wrong(what) | Verdict::Fault(what) => what,
        };
        match KNOWN.iter().find(|(known, _)| known == name) {
            Some((_, why)) => known.push(format!("{name}: {what} ({why})")),
            None => bad.push(format!("{name}: {what}")),
        }
    }
    let mut fewer = Vec::new();
    for (tier, least) in (1..).zip(RIGHT) {
        let of: Vec<&Verdict> = verdicts.values().filter(|(t, _)| *t == tier).map(|(_, v)| v).collect();
        let count = |kind: fn(&Verdict) -> bool| of.iter().filter(|v| kind(v)).count();
        let right = count(|v| *v == Verdict::Right);
        let unsupported = count(|v| matches!(v, Verdict::Unsupported(_)));
        println!("conformance, {stage}, tier {tier}: {right} of {} right, {unsupported} unsupported", of.len());
        if right < least {
            fewer.push(format!("tier {tier}: {right} are right, {least} were"));
        }
    }
    known.iter().for_each(|k| println!("conformance, {stage}, known: {k}"));
    assert!(bad.is_empty(), "{stage}: {} cases\n{}", bad.len(), bad.join("\n"));
    assert!(fewer.is_empty(), "{stage}: {}", fewer.join("; "));
}

#[test]
fn the_oracle_is_right() {
    let Some(cases) = cases("conformance of the oracle") else { return };
    let Some((_, levels)) = house::here("conformance of the oracle") else { return };
    let verdicts = suite::run(&cases, &house::options(levels, "model"), &|graph, _, inputs| oracle(&graph, inputs));
    judge("oracle", &verdicts);
}

#[test]
fn the_passes_keep_it_right() {
    let Some(cases) = cases("conformance of the passes") else { return };
    let Some((_, levels)) = house::here("conformance of the passes") else { return };
    let verdicts = suite::run(&cases, &house::options(levels, "model"), &|mut graph, options, inputs| {
        compile::optimize(&mut graph, options, None, &())?;
        oracle(&graph, inputs)
    });
    judge("passes", &verdicts);
}

#[test]
fn every_machine_is_right() {
    let Some(cases) = cases("conformance of the machines") else { return };
    let mut first: Option<(&str, Verdicts)> = None;
    for place in house::places("conformance of the machines") {
        let verdicts = suite::run(&cases, &place.options("model"), &|graph, options, inputs| {
            let built = machine::build(graph, options, None, &())?;
            let outputs = Machine::new(&built, &place.runner)?.run(inputs)?;
            Ok(outputs.into_iter().map(|(_, tensor)| tensor).collect())
        });
        judge(place.level.name, &verdicts);
        // what one machine does, all do
        match &first {
            None => first = Some((place.level.name, verdicts)),
            Some((other, wanted)) => {
                let right = |v: &Verdicts, name: &String| v[name].1 == Verdict::Right;
                let differ: Vec<&String> = wanted.keys().filter(|name| right(wanted, name) != right(&verdicts, name)).collect();
                println!("conformance, {} against {other}: {} cases differ", place.level.name, differ.len());
                assert!(differ.is_empty(), "{} and {other} differ in {differ:?}", place.level.name);
            }
        }
    }
}
