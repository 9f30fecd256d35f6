//! Graphs drawn at random, and those that once failed, through everyone who can say what they compute. A few seconds of
//! what `cargo run --release -p maquette-tests --bin sweep` does for minutes.

use std::collections::BTreeSet;

use ir::Graph;
use ir::graph::text;
use tests::differ::beside;
use tests::{differ, house};

/// Graphs of the run, and those of them that machines get.
const GRAPHS: u64 = 600;
const ON_MACHINES: u64 = 8;

fn check(seeds: &[u64], judge: &(dyn Fn(&Graph, &[ir::Tensor]) -> Option<String> + Sync)) {
    let wrong = house::each(seeds, |&seed| {
        let (graph, _) = differ::drawn(seed);
        differ::said(&graph, seed, judge).map(|_| differ::smallest(&graph, seed, judge))
    });
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} graphs\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_interpreters_agree() {
    let levels = differ::levels();
    let seeds: Vec<u64> = (0..GRAPHS).collect();
    check(&seeds, &|graph, inputs| differ::interpreters(graph, inputs, &levels));
}

#[test]
fn machines_agree_with_their_interpreter() {
    // many graphs in one program: starting a machine takes longer than they do
    let many = |seed: u64| (1..20).fold(differ::drawn(seed * 1000).0, |all, i| beside(&all, &differ::drawn(seed * 1000 + i).0));
    let places = house::places("random graphs");
    let work: Vec<(u64, usize)> = (0..ON_MACHINES).flat_map(|seed| (0..places.len()).map(move |p| (seed, p))).collect();
    let wrong = house::each(&work, |&(seed, p)| {
        let graph = many(seed);
        let judge = |graph: &Graph, inputs: &[ir::Tensor]| differ::machine(graph, inputs, &places[p]);
        let said = differ::said(&graph, seed, &judge).map(|_| differ::smallest(&graph, seed, &judge));
        said.map(|what| format!("{}: {what}", places[p].level.name))
    });
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_once_failed_stays_right() {
    let levels = differ::levels();
    let places = house::places("graphs that once failed");
    let files = tests::filetest::files(&house::committed("tests/found")).expect("the folder is there");
    assert!(files.len() > 1);
    let mut all: Option<Graph> = None;
    for file in files {
        let source = std::fs::read_to_string(&file).expect("files are text");
        let graph = text::parse(&source, &|_| None).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for seed in 0..6 {
            let judge = |graph: &Graph, inputs: &[ir::Tensor]| differ::interpreters(graph, inputs, &levels);
            assert_eq!(differ::said(&graph, seed, &judge), None, "{}, seed {seed}", file.display());
        }
        all = Some(all.map_or(graph.clone(), |all| beside(&all, &graph)));
    }
    let all = all.expect("there are some");
    for place in &places {
        let judge = |graph: &Graph, inputs: &[ir::Tensor]| differ::machine(graph, inputs, place);
        for seed in [0, 1] {
            assert_eq!(differ::said(&all, seed, &judge), None, "{}", place.level.name);
        }
    }
}

/// Not drawn: quantization has a differential test of its own, what chooses lengths by data has no fixed type, and scans with all
/// that can meet in a turn stand in `tests/found`.
const ELSEWHERE: &[&str] = &["quantize", "dequantize", "compact", "suppress", "scan", "take"];

#[test]
fn every_operator_and_every_type_is_drawn() {
    let (mut operators, mut types, mut fired) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for seed in 0..400 {
        let (mut graph, _) = differ::drawn(seed);
        for id in graph.order() {
            operators.insert(graph.op(id).mnemonic());
            types.insert(graph.ty(id).dtype);
        }
        let report = passes::optimize(&mut graph, &passes::Options::default(), &mut ()).expect("no name is unknown");
        fired.extend(report.passes.iter().flat_map(|p| p.fired.keys().copied()));
    }
    let missing: Vec<&&str> = ir::Op::MNEMONICS.iter().filter(|m| !operators.contains(**m) && !ELSEWHERE.contains(m)).collect();
    assert!(missing.is_empty(), "never drawn: {missing:?}");
    assert_eq!(types.len(), ir::Dtype::ALL.len());
    let idle: Vec<&str> = passes::recipe::rules().iter().map(|r| r.name).filter(|name| !fired.contains(name)).collect();
    println!("random graphs: {} rules fire, these do not: {idle:?}", fired.len());
    assert!(fired.len() > 20, "{fired:?}");
}
