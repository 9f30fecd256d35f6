//! Maps join what stands before or behind them, so that a value is worked on while it is in registers: map
//! into map, map into the epilogue of its producer, map into the prologue of a reduction or softmax.
//!
//! Nothing is computed more often than before, with one exception that `map_into_map` states.

use crate::layout::{trimmed, used_only_by};
use crate::pointwise::{Pointwise, Source, compose};
use crate::rule::{Builder, Match, Rule, Val, near};
use ir::scalar::{Arg, Body, ScalarOp};
use ir::{Dtype, Graph, NodeId, Op};
use std::collections::BTreeMap;

/// Operands behind the body of one map, of a dot or convolution, of any other operator with an epilogue: while
/// an operator runs, most registers are its own.
const MAP_OPERANDS: usize = 10;
const TILE_OPERANDS: usize = 8;
const EXTRA_OPERANDS: usize = 4;
/// Those among the operands of an epilogue that are no constants along the last axis: each is read on its own.
const STREAMS: usize = 2;
/// Terms of one body.
const TERMS: usize = 128;

fn streams(graph: &Graph, operands: &[NodeId]) -> usize {
    operands.iter().filter(|&&o| graph.as_const(o).is_none()).count()
}

/// Why `body` over these operands should not be the body or the epilogue of `op`.
fn too_large(graph: &Graph, op: &Op, body: &Body, operands: &[NodeId]) -> Option<&'static str> {
    if body.terms.len() > TERMS {
        return Some("the joint body would be too long");
    }
    let column = |o: NodeId| graph.as_const(o).is_some() && trimmed(&graph.ty(o).shape).len() <= 1;
    let apart = operands.iter().filter(|&&o| !column(o)).count();
    let fits = match op {
        Op::Map { .. } => operands.len() <= MAP_OPERANDS,
        Op::Dot { .. } | Op::Conv { .. } => operands.len() <= TILE_OPERANDS && apart <= STREAMS,
        _ => operands.len() <= EXTRA_OPERANDS && apart <= STREAMS,
    };
    (!fits).then_some("the joint body would read too many operands")
}

/// Whether a value takes 32 bits, or 8 and is widened on the way: bodies over such values run in lanes side by side.
fn is_lane(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::I32) || is_byte(dtype)
}

fn is_byte(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::U8 | Dtype::I8)
}

/// Whether every value that a body reads or gives is one for lanes.
fn in_lanes(graph: &Graph, operands: &[NodeId], result: Dtype) -> bool {
    is_lane(result) && operands.iter().all(|&o| is_lane(graph.ty(o).dtype))
}

/// Terms that cost no more than looking a byte up.
const TABLE: usize = 4;

/// Whether a map gives a byte for each byte, and is dearer than a table of 256 of them.
fn is_table(graph: &Graph, id: NodeId) -> bool {
    let (Op::Map { body }, [x]) = (graph.op(id), &graph.operands(id)[..]) else { return false };
    let bytes = is_byte(graph.ty(id).dtype) && is_byte(graph.ty(*x).dtype);
    bytes && (body.terms.len() > TABLE || !body.terms.iter().all(|t| is_cheap(t.op)))
}

/// Whether the epilogue of an operator whose own result is of type `own` takes an operand, or gives a result, of `other`.
/// Sums of integers become floats and bytes there; floats stay floats.
fn speaks(own: Dtype, other: Dtype) -> bool {
    own == other || (own == Dtype::I32 && is_lane(other))
}

/// Whether its epilogue may give what a map makes of it. What works along rows of floats may end in bytes. A softmax takes nothing
/// else: what hides some of its rows belongs to an attention.
fn ends_in(op: &Op, own: Dtype, result: Dtype) -> bool {
    let bytes = own == Dtype::F32 && is_byte(result);
    match op {
        Op::Softmax { .. } => bytes,
        Op::Norm { .. } | Op::Reduce { .. } => bytes || speaks(own, result),
        _ => speaks(own, result),
    }
}

/// The operand whose epilogue a map can become: it has one, gives the map's shape, and nothing else uses it.
/// Of several, the one that is computed last, so that the others are there in time.
pub fn absorber(graph: &Graph, map: NodeId) -> Option<NodeId> {
    let mut fit: Vec<NodeId> = Vec::new();
    for o in graph.operands(map) {
        let able = graph.op(o).epilogue().is_some() && graph.ty(o).shape == graph.ty(map).shape && used_only_by(graph, o, map);
        let able = able && takes(graph, o, map);
        if able && !fit.contains(&o) {
            fit.push(o);
        }
    }
    match fit.len() {
        0 | 1 => fit.pop(),
        _ => {
            let mut known = BTreeMap::new();
            fit.into_iter().max_by_key(|&o| (depth(graph, o, &mut known), weight(graph.op(o)), std::cmp::Reverse(o)))
        }
    }
}

/// Whether a producer's epilogue can do what a map does: in the producer's own type, with few operands.
fn takes(graph: &Graph, producer: NodeId, map: NodeId) -> bool {
    let Some(p) = Pointwise::of(graph, producer) else { return false };
    let mut extras = p.extras.clone();
    for o in graph.operands(map) {
        if o != producer && !extras.contains(&o) {
            extras.push(o);
        }
    }
    let typed = |id: NodeId| speaks(p.types[0], graph.ty(id).dtype);
    let Op::Map { body } = graph.op(map) else { return false };
    // what takes the whole of a sum to a byte ends there: a table is cheaper than more of the body
    !is_table(graph, map)
        && (p.types[0] == graph.ty(producer).dtype || ends_in(graph.op(producer), p.types[0], graph.ty(producer).dtype))
        && ends_in(graph.op(producer), p.types[0], graph.ty(map).dtype)
        && extras.iter().all(|&o| typed(o))
        && too_large(graph, graph.op(producer), body, &extras).is_none()
}

/// What an operator computes for each element of its result, coarsely.
fn weight(op: &Op) -> u8 {
    match op {
        Op::Dot { .. } | Op::Conv { .. } => 3,
        Op::Norm { .. } | Op::Softmax { .. } => 2,
        Op::Window { .. } => 1,
        Op::Input { .. }
        | Op::Const { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::Expand { .. }
        | Op::Gather { .. }
        | Op::Map { .. }
        | Op::Reduce { .. }
        | Op::ArgReduce { .. }
        | Op::Cumulate { .. }
        | Op::Sort { .. }
        | Op::Scatter { .. }
        | Op::Compact { .. }
        | Op::Suppress { .. }
        | Op::Quantize { .. }
        | Op::Dequantize { .. }
        | Op::Scan { .. }
        | Op::Take { .. }
        | Op::Attention { .. }
        | Op::Resize { .. } => 0,
    }
}

/// Nodes on the longest way from an input.
fn depth(graph: &Graph, id: NodeId, known: &mut BTreeMap<NodeId, usize>) -> usize {
    let mut todo = vec![id];
    while let Some(&at) = todo.last() {
        if known.contains_key(&at) {
            todo.pop();
            continue;
        }
        let operands = graph.operands(at);
        let open: Vec<NodeId> = operands.iter().copied().filter(|o| !known.contains_key(o)).collect();
        if open.is_empty() {
            known.insert(at, operands.iter().map(|o| known[o] + 1).max().unwrap_or(0));
            todo.pop();
        }
        todo.extend(open);
    }
    known[&id]
}

/// The node `user` with the map `inner` computed in place of the operand that it is.
fn inlined(graph: &Graph, user: NodeId, inner: NodeId) -> Option<Match> {
    let (p, map) = (Pointwise::of(graph, user)?, Pointwise::of(graph, inner)?);
    let sources: Vec<Source> = Source::of(&p)
        .into_iter()
        .map(|s| match s {
            Source::Node(o) if o == inner => Source::Inline(map.body.clone(), Source::of(&map)),
            other => other,
        })
        .collect();
    let (body, operands) = compose(p.first == 1, &p.body, &sources)?;
    if let Some(why) = too_large(graph, graph.op(user), &body, &operands) {
        return near(why);
    }
    let result = graph.ty(user).dtype;
    match p.first {
        0 => {
            let apart = in_lanes(graph, &p.extras, result) || in_lanes(graph, &map.extras, graph.ty(inner).dtype);
            if apart && !in_lanes(graph, &operands, result) {
                return near("values of 32 bits would wait for others");
            }
        }
        _ if operands.iter().any(|&o| !speaks(p.types[0], graph.ty(o).dtype)) => return near("the epilogue would read another type"),
        _ => {}
    }
    let mut b = Builder::new(graph, &[inner, user]);
    let operands: Vec<Val> = operands.into_iter().map(Val::Old).collect();
    let value = p.with(&mut b, graph, body, &operands)?;
    b.replace(user, value)
}

pub const MAP_INTO_MAP: Rule = Rule {
    name: "map_into_map",
    about: "a map that feeds a map, or an epilogue, is computed there; it must be unshared, or cheap, of one operand, and used by maps alone",
    root: |op| matches!(op, Op::Map { .. }) || op.epilogue().is_some(),
    at: |graph, id| {
        let own = if matches!(graph.op(id), Op::Map { .. }) { 0 } else { graph.op(id).own_operands() };
        let mut missed = None;
        for (slot, inner) in graph.operands(id).into_iter().enumerate() {
            if slot < own || !matches!(graph.op(inner), Op::Map { .. }) || graph.operands(id)[..own].contains(&inner) {
                continue;
            }
            match joinable(graph, inner, id) {
                Ok(()) => match inlined(graph, id, inner) {
                    Some(Match::Near(why)) => missed = Some(Match::Near(why)),
                    Some(fire) => return Some(fire),
                    None => {}
                },
                Err(why) => missed = Some(Match::Near(why.into())),
            }
        }
        missed
    },
};

/// Why the map `inner` should not be computed inside `user`.
fn joinable(graph: &Graph, inner: NodeId, user: NodeId) -> Result<(), &'static str> {
    if graph.ty(inner).shape != graph.ty(user).shape {
        return Err("it would be computed again for every element it is broadcast to");
    }
    if absorber(graph, inner).is_some() {
        return Err("its producer takes it as an epilogue");
    }
    let below = graph.operands(inner);
    if is_table(graph, inner) && !graph.operands(user).iter().all(|o| *o == inner || below.contains(o)) {
        return Err("a table is cheaper than its body");
    }
    if is_table(graph, user) && below.len() > 1 {
        return Err("the user is a table of one operand");
    }
    if used_only_by(graph, inner, user) {
        return Ok(());
    }
    if graph.is_output(inner) {
        return Err("it is an output as well");
    }
    let Op::Map { body } = graph.op(inner) else { return Err("it is no map") };
    let operands = graph.operands(inner);
    let alike = |user: NodeId| matches!(graph.op(user), Op::Map { .. }) && graph.ty(user).shape == graph.ty(inner).shape;
    if !graph.uses(inner).into_iter().all(|(user, _)| alike(user)) {
        return Err("it has other users");
    }
    // each user reads the operand instead of the map: nothing is stored, little is computed again
    let cheap = body.terms.len() <= 2 && body.terms.iter().all(|t| is_cheap(t.op));
    let single = streams(graph, &operands) == 1
        && operands.iter().all(|&o| graph.ty(o).shape == graph.ty(inner).shape || graph.as_const(o).is_some());
    if cheap && single { Ok(()) } else { Err("it has other users, and computing it again is not cheap") }
}

fn is_cheap(op: ScalarOp) -> bool {
    use ScalarOp::*;
    match op {
        Neg | Abs | Add | Sub | Mul | Min | Max | MulAdd | BitAnd | BitOr | BitXor | BitNot | And | Or | Xor | Not | Eq | Ne | Lt | Le
        | Gt | Ge | Select | Bits(_) | Cast(_) => true,
        Sign | Div | Rem | Mod | Pow | Sqrt | Floor | Ceil | Trunc | Round | Exp | Log | Tanh | Erf | Sigmoid | Sin | Cos | Tan | Asin
        | Acos | Atan | Sinh | Cosh | Asinh | Acosh | Atanh | Shl | Shr | IsNan | IsInf => false,
    }
}

pub const MAP_INTO_PRODUCER: Rule = Rule {
    name: "map_into_producer",
    about: "a map behind an unshared dot, convolution, window, reduction or norm is its epilogue, if it reads few more values, of the same type (behind sums of integers: floats and bytes)",
    root: |op| matches!(op, Op::Map { .. }),
    at: |graph, id| {
        let Some(producer) = absorber(graph, id) else {
            let close = graph.operands(id).into_iter().find(|&o| graph.op(o).epilogue().is_some())?;
            return near(if graph.ty(close).shape != graph.ty(id).shape {
                "the producer's result is broadcast"
            } else if !used_only_by(graph, close, id) {
                "the producer has other users"
            } else {
                "the epilogue would read other types, or too many operands"
            });
        };
        let (p, map) = (Pointwise::of(graph, producer)?, Pointwise::of(graph, id)?);
        let sources: Vec<Source> = map
            .extras
            .iter()
            .map(|&o| if o == producer { Source::Inline(p.body.clone(), Source::of(&p)) } else { Source::Node(o) })
            .collect();
        // the producer's own operands first, so that a bias stays where it was
        let (_, first) = compose(true, &p.body, &Source::of(&p))?;
        let (body, operands) = compose(true, &map.body, &sources)?;
        let (body, operands) = reordered(body, operands, &first);
        if let Some(why) = too_large(graph, graph.op(producer), &body, &operands) {
            return near(why);
        }
        let mut b = Builder::new(graph, &[producer, id]);
        let operands: Vec<Val> = operands.into_iter().map(Val::Old).collect();
        let value = p.with(&mut b, graph, body, &operands)?;
        b.replace(id, value)
    },
};

/// The operands `first` come first.
fn reordered(body: Body, operands: Vec<NodeId>, first: &[NodeId]) -> (Body, Vec<NodeId>) {
    let mut sorted: Vec<NodeId> = first.iter().copied().filter(|o| operands.contains(o)).collect();
    sorted.extend(operands.iter().copied().filter(|o| !first.contains(o)));
    let place = |o: &NodeId| sorted.iter().position(|s| s == o).expect("sorting loses none") as u8 + 1;
    let args: Vec<Arg> = std::iter::once(Arg::Param(0)).chain(operands.iter().map(|o| Arg::Param(place(o)))).collect();
    let mut out = Body { params: body.params, terms: Vec::new(), result: Arg::Param(0) };
    out.result = out.inline(&body, &args);
    (out, sorted)
}

pub const MAP_INTO_PROLOGUE: Rule = Rule {
    name: "map_into_prologue",
    about: "an unshared map of one operand before a reduction or softmax is its prologue; one that makes floats of bytes may be shared, and stand before a norm",
    root: |op| op.prologue().is_some(),
    at: |graph, id| {
        let operands = graph.operands(id);
        let inner = operands[0];
        let Op::Map { body } = graph.op(inner) else { return None };
        if absorber(graph, inner).is_some() {
            return near("the map's producer takes it as an epilogue");
        }
        let below = graph.operands(inner);
        if below.len() != 1 {
            return near("the map has several operands");
        }
        // reading bytes again costs less than reading the floats made of them
        let opens = is_byte(graph.ty(below[0]).dtype)
            && graph.ty(inner).dtype == Dtype::F32
            && body.terms.len() <= TABLE
            && body.terms.iter().all(|t| is_cheap(t.op));
        if graph.use_count(inner) > 1 && !opens {
            return near("the map has other users");
        }
        if graph.ty(below[0]).dtype != graph.ty(inner).dtype && !opens {
            return near("the map changes the type");
        }
        if opens && !axes_of(graph.op(id)).iter().all(|&axis| graph.ty(id).shape[axis].fixed().is_some()) {
            return near("bytes have nothing to fill the rest of an axis with that has no fixed size");
        }
        let mut op = graph.op(id).clone();
        if matches!(op, Op::Norm { .. }) && !opens {
            return near("a norm reads its operand several times");
        }
        let prologue = op.prologue_mut()?;
        let mut joint = Body { params: 1, terms: Vec::new(), result: Arg::Param(0) };
        let first = joint.inline(body, &[Arg::Param(0)]);
        joint.result = joint.inline(prologue, &[first]);
        if joint.terms.len() > TERMS {
            return near("the joint body would be too long");
        }
        *prologue = joint.without_dead();
        let mut b = Builder::new(graph, &[inner, id]);
        let values: Vec<Val> = std::iter::once(below[0]).chain(operands[1..].iter().copied()).map(Val::Old).collect();
        let value = b.add(op, &values)?;
        b.replace(id, value)
    },
};

/// The axes that an operator with a prologue works along.
fn axes_of(op: &Op) -> &[usize] {
    match op {
        Op::Reduce { axes, .. } | Op::Norm { axes, .. } => axes,
        Op::Softmax { axis, .. } => std::slice::from_ref(axis),
        _ => &[],
    }
}

pub const MAP_OVER_CONCAT: Rule = Rule {
    name: "map_over_concat",
    about: "a map of an unshared concat goes to its operands, if each comes from an operator that takes the map as its epilogue",
    root: |op| matches!(op, Op::Map { .. }),
    at: |graph, id| {
        let Op::Map { body } = graph.op(id) else { return None };
        let [concat] = graph.operands(id)[..] else { return None };
        let Op::Concat { axis } = graph.op(concat) else { return None };
        if graph.ty(id).dtype != graph.ty(concat).dtype {
            return None;
        }
        if graph.use_count(concat) > 1 {
            return near("the concat has other users");
        }
        let pieces = graph.operands(concat);
        if !pieces.iter().all(|&piece| ends_in_epilogue(graph, piece)) {
            return near("an operand of the concat has other users, or is made by an operator without epilogue");
        }
        let mut b = Builder::new(graph, &[id]);
        let values: Vec<Val> = pieces.iter().map(|&p| b.add(Op::Map { body: body.clone() }, &[Val::Old(p)])).collect::<Option<_>>()?;
        let value = b.from(&[concat]).add(Op::Concat { axis: *axis }, &values)?;
        b.replace(id, value)
    },
};

/// Whether an operator with an epilogue makes a value, with nothing but reshapes behind it, and nothing else uses it.
fn ends_in_epilogue(graph: &Graph, mut id: NodeId) -> bool {
    while graph.use_count(id) == 1 {
        match graph.op(id) {
            Op::Reshape { .. } => id = graph.operands(id)[0],
            Op::Softmax { .. } => return false,
            op => return op.epilogue().is_some() && Pointwise::of(graph, id).is_some_and(|p| speaks(p.types[0], graph.ty(id).dtype)),
        }
    }
    false
}
