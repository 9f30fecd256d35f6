//! Tables of what steps take: per node with its ONNX names, and predictions beside measurements. It measures nothing itself.

use ir::Program;
use ir::program::Step;
use kernels::cost::{Rates, Work, work};

use super::Times;
use crate::error::plain;
use crate::table::{Table, count, number, word};
use crate::target::Level;

/// Steps of one node: those that follow each other and bear the same names.
struct Node<'a> {
    names: String,
    steps: Vec<(usize, &'a Step)>,
}

/// A program's steps that run at these sizes, by node.
fn nodes<'a>(program: &'a Program, sizes: &[i64]) -> Vec<Node<'a>> {
    let mut all: Vec<Node> = Vec::new();
    for (at, step) in program.steps.iter().enumerate().filter(|(_, step)| step.runs_at(sizes)) {
        let names = names(step);
        match all.last_mut().filter(|node| node.names == names) {
            Some(node) => node.steps.push((at, step)),
            None => all.push(Node { names, steps: vec![(at, step)] }),
        }
    }
    all
}

/// What a step multiplies: as many as its operator says, or as its code does where that is fewer; and whether they are bytes.
fn products(program: &Program, step: &Step, level: &Level) -> (u64, bool) {
    let works = || step.calls.iter().filter_map(|call| Work::of(&program.kernels[call.kernel]));
    let done = works().map(|w| w.mul_adds).sum::<f64>() as u64 * level.facts.lanes() as u64;
    let bytes = works().any(|w| w.products > 0.0);
    (if done > 0 && !bytes { step.macs.min(done) } else { step.macs }, bytes)
}

/// The kernels of a step, each once.
fn kernels(program: &Program, step: &Step) -> String {
    let mut all: Vec<&str> = Vec::new();
    for call in &step.calls {
        let name = program.kernels[call.kernel].name.as_str();
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all.join(" ")
}

/// What the tables are about.
pub struct Rows<'a> {
    pub program: &'a Program,
    pub level: &'a Level,
    /// Of the free symbols.
    pub sizes: &'a [i64],
    pub times: &'a Times,
}

/// Time, rate, share of the peak and bytes, per node in the order of execution, and the sum.
pub fn layers(rows: &Rows) -> Table {
    let Rows { program, level, sizes, times } = *rows;
    let heads = ["node", "operators", "min us", "median us", "% time", "MMACs", "GFLOP/s", "% peak", "KB", "GB/s", "kernels"];
    let mut table = Table::new(&heads);
    let nodes = nodes(program, sizes);
    let all: f64 = nodes.iter().flat_map(|node| &node.steps).map(|(at, _)| times.least(*at)).sum();
    let row = |name: String, what: String, steps: &[(usize, &Step)], kernels: String| {
        let seconds: f64 = steps.iter().map(|(at, _)| times.least(*at)).sum();
        let median: f64 = steps.iter().map(|(at, _)| times.median(*at)).sum();
        let turns = |at: usize| program.turns_at(at, sizes);
        let macs: u64 = steps.iter().map(|(at, step)| step.macs * turns(*at)).sum();
        // the time that the peak would take
        let least: f64 = steps.iter().map(|(at, step)| least(program, step, level, times) * turns(*at) as f64).sum();
        let moved = |(at, step): &(usize, &Step)| (work::bytes(program, step), turns(*at));
        let bytes: u64 = steps.iter().map(moved).map(|((weights, others), turns)| (weights + others) * turns).sum();
        vec![
            word(plain(&name, 60)),
            word(what),
            number(seconds * 1e6, 2),
            number(median * 1e6, 2),
            number(100.0 * seconds / all, 1),
            number(macs as f64 / 1e6, 3),
            number(2e-9 * macs as f64 / seconds, 1),
            number(100.0 * least / seconds, 1),
            number(bytes as f64 / 1e3, 1),
            number(1e-9 * bytes as f64 / seconds, 1),
            word(kernels),
        ]
    };
    for node in &nodes {
        let mut whats: Vec<&str> = node.steps.iter().map(|(_, step)| step.what.as_str()).collect();
        whats.dedup();
        let names: Vec<String> = node.steps.iter().map(|(_, step)| kernels(program, step)).collect();
        table.row(row(node.names.clone(), whats.join("+"), &node.steps, names.join(" ")));
    }
    let steps: Vec<(usize, &Step)> = nodes.iter().flat_map(|node| node.steps.clone()).collect();
    table.row(row("(all)".into(), String::new(), &steps, String::new()));
    table
}

/// Seconds that a step would take at the measured peak.
fn least(program: &Program, step: &Step, level: &Level, times: &Times) -> f64 {
    let (macs, bytes) = products(program, step, level);
    let peak = if bytes { times.bytes.unwrap_or(times.floats) } else { times.floats };
    macs as f64 / peak
}

/// Whether a row is wanted: its names hold this.
fn wanted(names: &str, node: Option<&str>) -> bool {
    node.is_none_or(|part| names.contains(part))
}

fn names(step: &Step) -> String {
    step.names.iter().map(|n| &**n).collect::<Vec<_>>().join("+")
}

/// Predictions beside measurements, per step; of nodes whose names hold `node`.
pub fn prediction(rows: &Rows, node: Option<&str>) -> Table {
    let Rows { program, level, sizes, times } = *rows;
    let rates = Rates::of(level.facts);
    let mut table = Table::new(&["step", "operator", "kernels", "predicted us", "measured us", "measured / predicted", "node"]);
    for (at, step) in program.steps.iter().enumerate().filter(|(_, step)| step.runs_at(sizes)) {
        let names = names(step);
        if !wanted(&names, node) {
            continue;
        }
        let turns = program.turns_at(at, sizes) as f64;
        let predicted = work::seconds(program, step, level.facts, &rates).map_or(f64::NAN, |seconds| seconds * turns);
        let measured = times.least(at);
        table.row(vec![
            count(at as u64),
            word(&*step.what),
            word(kernels(program, step)),
            number(predicted * 1e6, 2),
            number(measured * 1e6, 2),
            number(measured / predicted, 2),
            word(plain(&names, 60)),
        ]);
    }
    table
}

/// What was chosen for which step, and from what.
pub fn choices(program: &Program, node: Option<&str>) -> Table {
    let mut table = Table::new(&["step", "key", "candidate", "predicted us", "code", "taken", "why", "node"]);
    for choice in &program.choices {
        let names = program.steps.get(choice.step).map(names).unwrap_or_default();
        if !wanted(&names, node) {
            continue;
        }
        for (i, candidate) in choice.candidates.iter().enumerate() {
            let taken = match (i == choice.chosen, choice.verdict) {
                (false, _) => "",
                (true, ir::program::Verdict::Predicted) => "predicted",
                (true, ir::program::Verdict::Tuned) => "tuned",
                (true, ir::program::Verdict::Unknown) => "predicted, what was tuned is none of these",
            };
            table.row(vec![
                count(choice.step as u64),
                word(&*choice.key),
                word(&*candidate.name),
                number(candidate.seconds * 1e6, 2),
                count(candidate.code_bytes),
                word(taken),
                word(&*candidate.why),
                word(plain(&names, 60)),
            ]);
        }
    }
    table
}
