//! `sweep interpreters|machines SECONDS [SEED]`: graphs drawn at random for so long, each through [`tests::differ`]. Prints
//! every failure as the smallest graph found, and at the end how many graphs there were.

use std::time::{Duration, Instant};

use tests::{differ, house};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: u64| arguments.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (what, seconds, first) = (arguments.first().map_or("interpreters", String::as_str), number(1, 60), number(2, 0));
    let places = if what == "machines" { house::places("sweep") } else { Vec::new() };
    let levels = differ::levels();
    let judge = |graph: &ir::Graph, inputs: &[ir::Tensor]| match what {
        "machines" => {
            places.iter().find_map(|place| differ::machine(graph, inputs, place).map(|what| format!("{}: {what}", place.level.name)))
        }
        _ => differ::interpreters(graph, inputs, &levels),
    };
    let (begin, mut seed, mut operators, mut failures) = (Instant::now(), first, 0, 0);
    while begin.elapsed() < Duration::from_secs(seconds) {
        let (graph, _) = differ::drawn(seed);
        operators += graph.len();
        if differ::said(&graph, seed, &judge).is_some() {
            failures += 1;
            println!("{}", differ::smallest(&graph, seed, &judge));
        }
        seed += 1;
    }
    println!("{} graphs of {operators} nodes, {failures} failures, in {:.0} s", seed - first, begin.elapsed().as_secs_f64());
}
