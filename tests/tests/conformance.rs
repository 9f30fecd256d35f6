//! The ONNX suite, three times: through the reference interpreter, through it again after all passes, and through the
//! machine. What is accepted must be right; how much is accepted may only grow.

use std::collections::BTreeMap;

use maquette::compile;
use maquette::machine::{self, Machine};
use tests::suite::{self, Case, Verdict};
use tests::{house, operators, suite::oracle};

/// Right answers per tier, of 688, 230, 359 and 143 cases, at every stage.
const RIGHT: [usize; 4] = [686, 228, 343, 105];

/// Cases whose answers are known to be others, with the reason.
const KNOWN: &[(&str, &str)] = &[
    ("test_dft_inverse", "where zero is exact, the expected values hold what an f32 transform left of its roundings"),
    ("test_dft_inverse_opset19", "where zero is exact, the expected values hold what an f32 transform left of its roundings"),
];

/// Levels of all families that a complete run has at least.
const MACHINES: usize = 7;

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
    let test = "conformance of the machines";
    let Some(mut cases) = cases(test) else { return };
    // those of ONNX Runtime's operators have no tier of their own
    let own = house::shared("conformance/contrib", test).map(|folder| suite::read(&folder)).unwrap_or_default();
    let complete = !own.is_empty();
    cases.extend(own.into_iter().map(|mut case| {
        case.tier = 0;
        case
    }));
    let mut first: Option<(&str, Verdicts)> = None;
    let mut all: Vec<(&str, Verdicts)> = Vec::new();
    for place in house::places(test) {
        let verdicts = suite::run(&cases, &place.options("model"), &|graph, options, inputs| {
            let built = machine::build(graph, options, None, &())?;
            let outputs = Machine::new(&built, &place.runner)?.run(inputs)?;
            Ok(outputs.into_iter().map(|(_, tensor)| tensor).collect())
        });
        judge(place.level.name, &verdicts);
        all.push((place.level.name, verdicts.clone()));
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
    if complete && all.len() >= MACHINES {
        page(&cases, all);
    } else {
        house::skip("the table of operators", "a machine or a suite of cases is missing");
    }
}

/// The file behind `maquette ops`: what it claims must be shown; `BLESS=1` writes what is.
fn page(cases: &[Case], all: Vec<(&str, Verdicts)>) {
    let machines: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let shown = operators::shown(cases, &all);
    let text = operators::print(&machines, &shown);
    let path = house::committed(operators::FILE);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).expect("it can be written");
        return;
    }
    let file = std::fs::read_to_string(&path).expect("the file is there");
    let untrue = operators::untrue(&operators::read(&file), &shown);
    assert!(untrue.is_empty(), "{}:\n{}", operators::FILE, untrue.join("\n"));
    println!("conformance, table of operators: {}", if file == text { "current" } else { "more is shown than it says: BLESS=1 writes it" });
}

#[test]
fn claims_about_operators_are_checked() {
    let line = |text: &str| operators::read(text);
    let file = line("# head\nAdd\t3\t4\tf32 i64\t3 3 3\nmine.Op\t1\t1\t\t1 1 1\n");
    assert_eq!((file["Add"].right, file["Add"].cases, file["Add"].types.len(), file["mine.Op"].types.len()), (3, 4, 2, 0));
    assert_eq!(operators::untrue(&file, &file), Vec::<String>::new());
    assert_eq!(operators::untrue(&file, &line("Add\t2\t4\tf32\t3 3 2\n")).len(), 4);
    assert_eq!(operators::read(&operators::print(&["a"], &file)), file);
}
