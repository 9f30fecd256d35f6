//! What every graph must be before anyone works on it. Checked here:
//! * the order of nodes exists: no value needs itself;
//! * operand positions are 0, 1, 2, … without gap, as many as the operator takes;
//! * bodies are well formed: terms have the operands of their operation, use only what stands before them, and
//!   literals fit their type;
//! * every type is the one that follows from the operands;
//! * the inputs are exactly the `input` nodes, names of inputs and of outputs are distinct, outputs exist;
//! * every symbol that a dimension names has a range `low..high` with `0 <= low <= high`;
//! * no dimension is always negative, and no value can outgrow the address space.
//!
//! What a graph computes, and whether a machine could, is not asked here.

use super::op::Op;
use super::{Graph, NodeId, infer};
use crate::scalar::{Arg, Body};
use crate::tensor::{Dtype, Type};
use std::collections::BTreeSet;

/// Nothing, or everything that is wrong, one sentence each.
pub fn verify(graph: &Graph) -> Result<(), Vec<String>> {
    let mut wrong = Vec::new();
    symbols(graph, &mut wrong);
    signature(graph, &mut wrong);
    let order = graph.order();
    if order.len() != graph.len() {
        wrong.push(format!("{} nodes need themselves", graph.len() - order.len()));
        return Err(wrong);
    }
    let slots = slots(graph, &order);
    for &id in &order {
        let say = |what: String| format!("{}: {what}", name(graph, id));
        node(graph, id, &slots[id.index()]).unwrap_or_else(|what| wrong.extend(what.into_iter().map(say)));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// `%7 map "Relu_3"`.
fn name(graph: &Graph, id: NodeId) -> String {
    let label = graph.label(id);
    let label = if label.is_empty() { label } else { format!(" \"{label}\"") };
    format!("node {} {}{label}", id.index(), graph.op(id).mnemonic())
}

fn symbols(graph: &Graph, wrong: &mut Vec<String>) {
    for (name, &(low, high)) in &graph.symbols {
        if low < 0 || low > high {
            wrong.push(format!("the symbol {name} has no range: {low}..{high}"));
        }
    }
}

fn signature(graph: &Graph, wrong: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for &id in graph.inputs() {
        match graph.contains(id).then(|| graph.op(id)) {
            Some(Op::Input { name, .. }) if seen.insert(name) => {}
            Some(Op::Input { name, .. }) => wrong.push(format!("two inputs are named \"{name}\"")),
            Some(op) => wrong.push(format!("a {} stands among the inputs", op.mnemonic())),
            None => wrong.push("an input was removed".into()),
        }
    }
    let mut seen = BTreeSet::new();
    for (name, id) in graph.outputs() {
        if !graph.contains(*id) {
            wrong.push(format!("the output \"{name}\" was removed"));
        }
        if !seen.insert(name) {
            wrong.push(format!("two outputs are named \"{name}\""));
        }
    }
}

/// The operand positions in use at every node, sorted.
fn slots(graph: &Graph, order: &[NodeId]) -> Vec<Vec<usize>> {
    let mut slots = vec![Vec::new(); graph.bound()];
    for &id in order {
        for (user, slot) in graph.uses(id) {
            slots[user.index()].push(slot);
        }
    }
    slots.iter_mut().for_each(|s| s.sort());
    slots
}

fn node(graph: &Graph, id: NodeId, slots: &[usize]) -> Result<(), Vec<String>> {
    let node = graph.node(id);
    let mut wrong = Vec::new();
    if slots.iter().enumerate().any(|(i, &slot)| i != slot) {
        return Err(vec![format!("the operand positions are {slots:?}")]);
    }
    if matches!(node.op, Op::Input { .. }) && !graph.inputs().contains(&id) {
        wrong.push("it is not among the inputs".into());
    }
    region(graph, id, &mut wrong);
    for body in bodies(&node.op) {
        body_terms(body).unwrap_or_else(|what| wrong.push(what));
    }
    for dim in node.ty.shape.iter().chain(node.op.dims()) {
        for symbol in dim.symbols() {
            if !graph.symbols.contains_key(&symbol) {
                wrong.push(format!("the symbol {symbol} has no range"));
            }
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    size(graph, &node.ty).map_err(|what| vec![what])?;
    let types: Vec<&Type> = graph.operands(id).iter().map(|&o| graph.ty(o)).collect();
    match infer::infer(&node.op, &types) {
        Ok(ty) if ty == node.ty => Ok(()),
        Ok(ty) => Err(vec![format!("its type is {ty}, {} is noted", node.ty)]),
        Err(fault) => Err(vec![fault.what]),
    }
}

/// A scan's region is a graph of its own over the same symbols, and only `take` opens a scan.
fn region(graph: &Graph, id: NodeId, wrong: &mut Vec<String>) {
    match graph.op(id) {
        Op::Scan { region, .. } => {
            verify(region.graph()).unwrap_or_else(|what| wrong.extend(what.into_iter().map(|what| format!("in its region, {what}"))));
            if region.graph().symbols.iter().any(|(name, range)| graph.symbols.get(name) != Some(range)) {
                wrong.push("its region has symbols of its own".into());
            }
            if graph.is_output(id) || graph.uses(id).iter().any(|&(user, _)| !matches!(graph.op(user), Op::Take { .. })) {
                wrong.push("something else than `take` uses it".into());
            }
        }
        Op::Take { index, ty } => {
            let from = graph.operands(id)[0];
            let types: Vec<&Type> = graph.operands(from).iter().map(|&o| graph.ty(o)).collect();
            let given = match graph.op(from) {
                Op::Scan { .. } => super::region::results(graph.op(from), &types).unwrap_or_default(),
                _ => Vec::new(),
            };
            if given.get(*index) != Some(ty) {
                wrong.push(format!("there is no result {index} of type {ty} to take"));
            }
        }
        _ => {}
    }
}

/// Every body that an operator has.
fn bodies(op: &Op) -> Vec<&Body> {
    match op {
        Op::Map { body } => vec![body],
        Op::Reduce { prologue, epilogue, .. } | Op::Softmax { prologue, epilogue, .. } | Op::Norm { prologue, epilogue, .. } => {
            vec![prologue, epilogue]
        }
        Op::Attention { prologue, .. } => vec![prologue],
        Op::Dot { epilogue, .. } | Op::Conv { epilogue, .. } | Op::Window { epilogue, .. } => vec![epilogue],
        Op::Input { .. }
        | Op::Const { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::Expand { .. }
        | Op::Gather { .. }
        | Op::ArgReduce { .. }
        | Op::Cumulate { .. }
        | Op::Sort { .. }
        | Op::Scatter { .. }
        | Op::Compact { .. }
        | Op::Suppress { .. }
        | Op::Resize { .. }
        | Op::Quantize { .. }
        | Op::Dequantize { .. }
        | Op::Scan { .. }
        | Op::Take { .. } => Vec::new(),
    }
}

fn body_terms(body: &Body) -> Result<(), String> {
    let fits = |arg: &Arg, terms: usize| match *arg {
        Arg::Param(i) => i < body.params,
        Arg::Term(i) => (i as usize) < terms,
        Arg::Literal(l) => {
            let bits = if l.dtype == Dtype::Bool { 1 } else { l.dtype.bytes() as u32 * 8 };
            bits == 64 || l.bits >> bits == 0
        }
    };
    for (i, term) in body.terms.iter().enumerate() {
        if term.args.len() != term.op.arity() {
            return Err(format!("t{i}: {} takes {} operands, {} are given", term.op.name(), term.op.arity(), term.args.len()));
        }
        if let Some(arg) = term.args.iter().find(|a| !fits(a, i)) {
            return Err(format!("t{i}: {arg:?} is not there or does not fit its type"));
        }
    }
    if fits(&body.result, body.terms.len()) { Ok(()) } else { Err(format!("the result {:?} is not there", body.result)) }
}

/// Whether a value of this type can lie in memory at its largest.
fn size(graph: &Graph, ty: &Type) -> Result<(), String> {
    let mut bytes = ty.dtype.bytes() as i64;
    let mut empty = false;
    for dim in &ty.shape {
        let (_, high) = dim.bounds(&graph.symbols);
        if high < 0 {
            return Err(format!("the dimension {dim} of {ty} is negative"));
        }
        empty |= high == 0;
        bytes = bytes.saturating_mul(high.max(1));
    }
    if bytes == i64::MAX && !empty { Err(format!("{ty} is too large for any memory")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Node;
    use crate::graph::text::parse;
    use crate::scalar::{Literal, ScalarOp, Term};

    fn graph(lines: &str) -> Graph {
        parse(&format!("graph {{ {lines} }}"), &|_| None).expect(lines)
    }

    fn complaints(graph: &Graph) -> String {
        verify(graph).expect_err("it is wrong").join("; ")
    }

    #[test]
    fn a_right_graph_passes() {
        let g = graph("symbol n in 1..8 %x: f32[n,2] = input \"x\" %y = map %x do { exp(a) } return %y \"y\"");
        assert_eq!(verify(&g), Ok(()));
        assert_eq!(verify(&Graph::new()), Ok(()));
    }

    #[test]
    fn symbols_need_ranges_and_sizes_ends() {
        assert!(complaints(&graph("%x: f32[n] = input \"x\" return %x \"y\"")).contains("the symbol n has no range"));
        assert!(complaints(&graph("symbol n in 3..2 return")).contains("no range: 3..2"));
        let vast = graph("symbol n in 1..4000000000 %x: f32[n,n] = input \"x\" return %x \"y\"");
        assert!(complaints(&vast).contains("too large"));
        assert!(complaints(&graph("symbol n in 1..4 %x: f32[n-9] = input \"x\" return %x \"y\"")).contains("negative"));
    }

    #[test]
    fn names_are_distinct() {
        let twice = graph("%x: f32[] = input \"x\" %y: f32[] = input \"x\" return %x \"y\", %y \"y\"");
        let all = complaints(&twice);
        assert!(all.contains("two inputs are named \"x\"") && all.contains("two outputs are named \"y\""), "{all}");
    }

    #[test]
    fn removed_outputs_cycles_and_gaps_are_seen() {
        let mut g = graph("%x: f32[2] = input \"x\" %y = map %x do { exp(a) } %z = map %y do { exp(a) } return %z \"z\"");
        let (y, z) = (g.operands(g.outputs()[0].1)[0], g.outputs()[0].1);
        g.set_operand(y, 0, z);
        assert!(complaints(&g).contains("2 nodes need themselves"));
        let mut g = graph("%x: f32[2] = input \"x\" %y = map %x do { exp(a) } return %y \"y\"");
        let (x, y) = (g.inputs()[0], g.outputs()[0].1);
        g.set_operand(y, 2, x);
        assert!(complaints(&g).contains("positions are [0, 2]"));
        g.set_outputs(vec![]);
        g.remove_dead();
        g.set_outputs(vec![("y".into(), y)]);
        assert!(complaints(&g).contains("\"y\" was removed"));
    }

    #[test]
    fn types_and_bodies_are_recomputed() {
        let mut g = graph("%x: f32[2] = input \"x\" %y = map %x do { exp(a) } return %y \"y\"");
        let (x, y) = (g.inputs()[0], g.outputs()[0].1);
        let other = g.constant(crate::Tensor::f32s(&[3], &[0.0; 3]), &[]);
        g.set_operand(y, 0, other);
        assert!(complaints(&g).contains("its type is f32[3], f32[2] is noted"));
        let bad = |term: Term| {
            let mut g = g.clone();
            let body = Body { params: 1, terms: vec![term], result: Arg::Term(0) };
            let node = Node { op: Op::Map { body }, ty: g.ty(x).clone(), names: vec![] };
            let id = NodeId(g.nodes.add_node(node));
            g.set_operand(id, 0, x);
            complaints(&g)
        };
        assert!(bad(Term { op: ScalarOp::Add, args: vec![Arg::Param(0)] }).contains("takes 2 operands"));
        assert!(bad(Term { op: ScalarOp::Exp, args: vec![Arg::Term(0)] }).contains("not there"));
        assert!(
            bad(Term { op: ScalarOp::Exp, args: vec![Arg::Literal(Literal { dtype: Dtype::U8, bits: 256 })] }).contains("fit its type")
        );
        assert!(bad(Term { op: ScalarOp::And, args: vec![Arg::Param(0), Arg::Param(0)] }).contains("bools"));
    }
}
