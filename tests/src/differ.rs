//! One graph through everyone who can say what it computes: the reference interpreter before and after each optimization
//! level, the interpreter of programs at every CPU level of every family, and machines. All must agree, machines with the
//! interpreter of programs to the last bit. What fails is made small.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cases::draw::{self, Dice, Doubt};
use ir::graph::{text, verify};
use ir::kernel::Facts;
use ir::{Graph, NodeId, Op, Tensor, program};
use maquette::machine::{self, Machine};
use passes::{Options, Recipe};

use crate::house::Place;

/// Every level of every family.
pub fn levels() -> Vec<&'static Facts> {
    let families = [x64::facts::LEVELS, arm64::facts::LEVELS, wasm::facts::LEVELS];
    families.into_iter().flatten().map(|level| level.facts).collect()
}

/// A graph and its inputs, by their number; every third has elements that are hard for their type.
pub fn drawn(seed: u64) -> (Graph, Vec<Tensor>) {
    let graph = draw::graph(&mut Dice::new(seed));
    let inputs = inputs(&graph, seed);
    (graph, inputs)
}

pub fn inputs(graph: &Graph, seed: u64) -> Vec<Tensor> {
    draw::inputs(graph, seed, seed.is_multiple_of(3))
}

/// Two graphs with nothing in common make one with both.
pub fn beside(a: &Graph, b: &Graph) -> Graph {
    let mut out = a.clone();
    let mut ids = BTreeMap::new();
    let rest = b.order().into_iter().filter(|id| !b.inputs().contains(id));
    for id in b.inputs().iter().copied().chain(rest) {
        let mut op = b.op(id).clone();
        if let Op::Input { name, .. } = &mut op {
            *name = format!("{name}_{}", out.len());
        }
        let operands: Vec<NodeId> = b.operands(id).iter().map(|o| ids[o]).collect();
        ids.insert(id, out.add(op, &operands, &b.node(id).names).expect("what fitted fits"));
    }
    let mut outputs = out.outputs().to_vec();
    outputs.extend(b.outputs().iter().map(|(name, id)| (format!("{name}_{}", ids[id].index()), ids[id])));
    out.set_outputs(outputs);
    out
}

/// Said of a graph that is none to the reference interpreter: an index out of range, say.
const REFUSED: &str = "the interpreter refuses it";

/// What is wrong with what the interpreters say of a graph, if anything. `levels` may be none.
pub fn interpreters(graph: &Graph, inputs: &[Tensor], levels: &[&Facts]) -> Option<String> {
    if let Err(wrong) = verify::verify(graph) {
        return Some(format!("it does not verify: {}", wrong.join("; ")));
    }
    let printed = text::print(graph);
    let constants = text::constants(graph);
    match text::parse(&printed, &|hash| constants.get(&hash).cloned()) {
        Ok(back) if text::print(&back) == printed => {}
        Ok(_) => return Some("it reads back as another".into()),
        Err(error) => return Some(format!("it does not read back: {error}")),
    }
    let Ok(doubt) = Doubt::new(graph, inputs) else { return Some(REFUSED.into()) };
    let mut last = None;
    for recipe in Recipe::ALL {
        let mut after = graph.clone();
        let options = Options { recipe: *recipe, ..Options::default() };
        let report = match passes::optimize(&mut after, &options, &mut ()) {
            Ok(report) => report,
            Err(faults) => return Some(format!("{}: {}", recipe.name(), faults[0])),
        };
        if !report.refused.is_empty() || !report.unsettled.is_empty() {
            return Some(format!("{}: refused {:?}, unsettled {:?}", recipe.name(), report.refused, report.unsettled));
        }
        if let Err(wrong) = verify::verify(&after) {
            return Some(format!("{}: it does not verify: {}", recipe.name(), wrong.join("; ")));
        }
        // equal recipes need no second look
        let text = text::print(&after);
        if last.as_ref() == Some(&text) {
            continue;
        }
        last = Some(text);
        match ir::graph::eval::eval(&after, inputs) {
            Ok(got) => {
                if let Some(what) = doubt.differs(&got) {
                    return Some(format!("{}: {what}", recipe.name()));
                }
            }
            Err(error) => return Some(format!("{}: {error}", recipe.name())),
        }
        for facts in levels {
            if let Some(what) = lowered(&after, inputs, facts, &doubt) {
                return Some(format!("{} for {}: {what}", recipe.name(), facts.name));
            }
        }
    }
    None
}

fn lowered(graph: &Graph, inputs: &[Tensor], facts: &Facts, doubt: &Doubt) -> Option<String> {
    let program = match kernels::lower(graph, facts) {
        Ok(program) => program,
        Err(faults) => return Some(faults[0].to_string()),
    };
    if let Err(wrong) = program::verify(&program, facts) {
        return Some(format!("the program is unsound: {}", wrong.join("; ")));
    }
    match program::run(&program, facts, inputs) {
        Ok(got) => doubt.differs(&got),
        Err(status) => Some(format!("the program ends with status {status}")),
    }
}

/// What is wrong with what a machine makes of a graph.
pub fn machine(graph: &Graph, inputs: &[Tensor], place: &Place) -> Option<String> {
    let built = match machine::build(graph.clone(), &place.options("model"), None, &()) {
        Ok(built) => built,
        Err(error) => return Some(error.to_string()),
    };
    let got = match Machine::new(&built, &place.runner).and_then(|m| m.run(inputs)) {
        Ok(outputs) => outputs.into_iter().map(|(_, tensor)| tensor).collect::<Vec<_>>(),
        Err(error) => return Some(error.to_string()),
    };
    let (level, program) = built.programs.last()?;
    let facts = level.facts;
    let wanted = match program::run(program, facts, inputs) {
        Ok(wanted) => wanted,
        Err(status) => return Some(format!("the interpreter of programs ends with status {status}")),
    };
    // a relaxed multiply-add rounds once or twice, as the engine likes
    if level.name == "relaxed" {
        return Doubt::new(graph, inputs).ok()?.differs(&got);
    }
    wanted.iter().zip(&got).enumerate().find_map(|(i, (w, g))| same_bits(w, g).map(|what| format!("output {i}: {what}")))
}

/// The first element that differs; any NaN is any other.
fn same_bits(wanted: &Tensor, got: &Tensor) -> Option<String> {
    if wanted.ty() != got.ty() {
        return Some(format!("{} became {}", wanted.ty(), got.ty()));
    }
    if wanted.bytes() == got.bytes() {
        return None;
    }
    let size = wanted.dtype().bytes();
    let (values, others) = (wanted.to_f64s(), got.to_f64s());
    let (bits, other_bits) = (wanted.bytes(), got.bytes());
    let differs = |i: &usize| {
        let nan = wanted.dtype().is_float() && values[*i].is_nan() && others[*i].is_nan();
        !nan && bits[i * size..][..size] != other_bits[i * size..][..size]
    };
    let i = (0..values.len()).find(differs)?;
    Some(format!("element {i} is {:e}, not {:e} as the interpreter of programs has it", others[i], values[i]))
}

/// The smallest graph found for which `judge` has something to say, with its text and what is said.
pub fn smallest(graph: &Graph, seed: u64, judge: &dyn Fn(&Graph, &[Tensor]) -> Option<String>) -> String {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    // what a smaller one is refused for is another matter
    let refused = said(graph, seed, judge).is_some_and(|what| what == REFUSED);
    let small = draw::shrink(graph, &mut |g| said(g, seed, judge).is_some_and(|what| refused || what != REFUSED));
    std::panic::set_hook(quiet);
    let mut out = format!("seed {seed}: {}\n", said(&small, seed, judge).unwrap_or_default());
    for tensor in inputs(&small, seed) {
        let _ = writeln!(out, "// {}", text::print_tensor(&tensor));
    }
    out + &text::print(&small)
}

/// What a judge says of a graph; a panic is something to say.
pub fn said(graph: &Graph, seed: u64, judge: &dyn Fn(&Graph, &[Tensor]) -> Option<String>) -> Option<String> {
    let given = inputs(graph, seed);
    let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| judge(graph, &given)));
    judged.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|s| s.to_string()));
        Some(format!("panic: {}", text.unwrap_or_default()))
    })
}
