//! Attention in its exploded form: `softmax(q k' ...) v`, where what scales, caps and masks the scores has joined the first
//! product by then, or stands in a map between. One operator, so that the scores need never be whole. Heads that share
//! keys come as a reshape on either side of the scores.

use crate::layout::{is_one, used_only_by};
use crate::rule::{Builder, Match, Rule, Val, near};
use crate::scalar::simplify;
use ir::graph::op::ReduceKind;
use ir::scalar::{Arg, Body, Literal, ScalarOp};
use ir::{Dim, Dtype, Graph, NodeId, Op};

/// Operands of the scores that the operator has room for.
const MOST_EXTRAS: usize = 2;

/// How scores come about.
struct Scores {
    product: NodeId,
    /// Over the product's sums and `extras`.
    body: Body,
    /// Each with whether it has the shape of scores that were reshaped.
    extras: Vec<(NodeId, bool)>,
    reshaped: bool,
    /// What becomes part of the new node.
    from: Vec<NodeId>,
}

pub const RECOMPOSE_ATTENTION: Rule = Rule {
    name: "recompose_attention",
    about: "a softmax over the scores of a product, multiplied by values, is an attention; needs scores that nobody else reads",
    root: |op| matches!(op, Op::Dot { trans_a: false, trans_b: false, .. }),
    at: recompose,
};

fn recompose(graph: &Graph, id: NodeId) -> Option<Match> {
    let operands = graph.operands(id);
    let Op::Dot { epilogue, .. } = graph.op(id) else { return None };
    // with heads apart on one side only the shapes say what is what
    let (shares, grouped) = match graph.op(operands[0]) {
        Op::Reshape { .. } => (graph.operands(operands[0])[0], true),
        _ => (operands[0], false),
    };
    let (softmax, guard) = guarded(graph, shares)?;
    let Op::Softmax { axis, log: false, prologue, epilogue: after } = graph.op(softmax) else { return None };
    let whole = graph.ty(softmax);
    if !after.is_identity() || *axis + 1 != whole.rank() || [id, operands[1], softmax].iter().any(|&n| graph.ty(n).dtype != Dtype::F32) {
        return None;
    }
    let mut found = scores(graph, graph.operands(softmax)[0])?;
    if graph.ty(found.product).dtype != Dtype::F32 || found.reshaped != grouped {
        return None;
    }
    if operands[0] != shares {
        found.from.push(operands[0]);
    }
    found.from.extend([shares, softmax]);
    let mine = |n: NodeId| found.from.contains(&n) || n == id || guard.is_some_and(|(_, most)| n == most);
    if found.from.iter().any(|&n| graph.is_output(n) || graph.uses(n).iter().any(|(user, _)| !mine(*user))) {
        return near("its scores or shares are read by others too");
    }
    let inner = graph.operands(found.product);
    let Op::Dot { trans_b, .. } = graph.op(found.product) else { return None };
    let mut from = found.from.clone();
    from.push(id);
    from.sort();
    from.dedup();
    let mut b = Builder::new(graph, &from);
    let mut body = Body { params: found.body.params, terms: Vec::new(), result: Arg::Param(0) };
    let params: Vec<Arg> = (0..found.body.params).map(Arg::Param).collect();
    let inside = body.inline(&found.body, &params);
    body.result = body.inline(prologue, &[inside]);
    if let Some((bias, _)) = guard
        && found.extras.iter().all(|(extra, _)| *extra != bias)
    {
        return near("what hides whole rows is not what the scores are masked with");
    }
    let mut extras = Vec::new();
    let lead = &graph.ty(found.product).shape;
    for &(extra, reshaped) in &found.extras {
        let shape = &graph.ty(extra).shape;
        let shape = if reshaped { apart(shape, lead)? } else { shape.clone() };
        extras.push(b.reshape(Val::Old(extra), &shape)?);
    }
    numbers(&mut b, &mut body, &mut extras)?;
    let types: Vec<Dtype> = std::iter::once(Dtype::F32).chain(extras.iter().map(|&e| b.ty(e).dtype)).collect();
    let body = simplify(&body, &types);
    let (body, left) = crate::pointwise::drop_unused(&body, 1);
    let extras: Vec<Val> = left.iter().filter_map(|&i| i.checked_sub(1)).map(|i| extras[i]).collect();
    if extras.len() > MOST_EXTRAS {
        return near(format!("its scores are made of {} operands", extras.len()));
    }
    let keys = if *trans_b {
        Val::Old(inner[1])
    } else {
        let rank = graph.ty(inner[1]).rank();
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 1, rank - 2);
        b.transpose(Val::Old(inner[1]), &perm)?
    };
    let op = Op::Attention { causal: None, guarded: guard.is_some(), prologue: body };
    let mut all = vec![Val::Old(inner[0]), keys, Val::Old(operands[1])];
    all.extend(extras);
    let mut value = b.add(op, &all)?;
    if !epilogue.is_identity() {
        let own: Vec<Val> = std::iter::once(value).chain(operands[2..].iter().map(|&o| Val::Old(o))).collect();
        value = b.from(&[id]).add(Op::Map { body: epilogue.clone() }, &own)?;
    }
    b.replace(id, value)
}

/// The softmax below shares, and where a map makes zeros of hidden rows the bias that hides and its largest.
fn guarded(graph: &Graph, shares: NodeId) -> Option<(NodeId, Option<(NodeId, NodeId)>)> {
    match graph.op(shares) {
        Op::Softmax { .. } => Some((shares, None)),
        Op::Map { body } => {
            let operands = graph.operands(shares);
            let [eq, select] = body.terms.as_slice() else { return None };
            let (ScalarOp::Eq, [Arg::Param(most), Arg::Literal(low)]) = (eq.op, eq.args.as_slice()) else { return None };
            let (ScalarOp::Select, [Arg::Term(0), Arg::Literal(none), Arg::Param(kept)]) = (select.op, select.args.as_slice()) else {
                return None;
            };
            let (most, kept) = (operands[*most as usize], operands[*kept as usize]);
            let Op::Reduce { kind: ReduceKind::Max, axes, prologue, epilogue } = graph.op(most) else { return None };
            let bias = graph.operands(most)[0];
            let plain = prologue.is_identity() && epilogue.is_identity() && *axes == [graph.ty(bias).rank() - 1];
            let right = low.to_f64() == f64::NEG_INFINITY && none.to_f64() == 0.0 && body.result == Arg::Term(1);
            (plain && right && matches!(graph.op(kept), Op::Softmax { .. })).then_some((kept, Some((bias, most))))
        }
        _ => None,
    }
}

/// Follows maps down to a product of two values that are computed.
fn scores(graph: &Graph, id: NodeId) -> Option<Scores> {
    let operands = graph.operands(id);
    match graph.op(id) {
        Op::Dot { trans_a: false, epilogue, .. } => {
            let body = Body { params: operands.len() as u8 - 1, ..epilogue.clone() };
            let extras = operands[2..].iter().map(|&e| (e, false)).collect();
            Some(Scores { product: id, body, extras, reshaped: false, from: vec![id] })
        }
        Op::Reshape { shape } if heads_joined(&graph.ty(operands[0]).shape, shape) => {
            let mut inner = scores(graph, operands[0])?;
            inner.from.push(id);
            (!inner.reshaped).then_some(Scores { reshaped: true, ..inner })
        }
        Op::Map { body } => {
            let shape = &graph.ty(id).shape;
            let follow = |&i: &usize| graph.ty(operands[i]).shape == *shape && used_only_by(graph, operands[i], id);
            let (main, inner) = (0..operands.len()).filter(follow).find_map(|i| Some((i, scores(graph, operands[i])?)))?;
            let mut extras = inner.extras.clone();
            let mut joined = Body { params: 0, terms: Vec::new(), result: Arg::Param(0) };
            let own: Vec<Arg> = (0..inner.body.params).map(Arg::Param).collect();
            let sum = joined.inline(&inner.body, &own);
            let mut binding = Vec::new();
            for (i, &operand) in operands.iter().enumerate() {
                binding.push(if i == main {
                    sum
                } else {
                    let at = extras.iter().position(|&e| e == (operand, inner.reshaped)).unwrap_or_else(|| {
                        extras.push((operand, inner.reshaped));
                        extras.len() - 1
                    });
                    Arg::Param(u8::try_from(at + 1).ok()?)
                });
            }
            joined.result = joined.inline(body, &binding[..body.params as usize]);
            joined.params = u8::try_from(extras.len() + 1).ok()?;
            let mut from = inner.from;
            from.push(id);
            Some(Scores { product: inner.product, body: joined, extras, reshaped: inner.reshaped, from })
        }
        _ => None,
    }
}

/// Whether `[.., g, r, s, t]` becomes `[.., g * r, s, t]`.
fn heads_joined(from: &[Dim], to: &[Dim]) -> bool {
    let at = to.len().saturating_sub(3);
    let joined = || [&from[..at], &[from[at].clone() * from[at + 1].clone()], &from[at + 2..]].concat();
    to.len() >= 3 && from.len() == to.len() + 1 && joined() == to
}

/// The shape `[.., h, s, t]` of an operand where the product has `[.., g, h / g, s, t]`.
fn apart(shape: &[Dim], product: &[Dim]) -> Option<Vec<Dim>> {
    let rank = shape.len();
    if rank < 3 {
        return Some(shape.to_vec());
    }
    let heads = &shape[rank - 3];
    let (groups, each) = (product.get(product.len().checked_sub(4)?)?.clone(), product[product.len() - 3].clone());
    let split = match () {
        _ if is_one(heads) => [heads.clone(), heads.clone()],
        _ if *heads == groups.clone() * each.clone() => [groups, each],
        _ => return None,
    };
    Some([&shape[..rank - 3], &split, &shape[rank - 2..]].concat())
}

/// Operands of bools become numbers, which kernels read.
fn numbers(b: &mut Builder, body: &mut Body, extras: &mut [Val]) -> Option<()> {
    for (i, extra) in extras.iter_mut().enumerate() {
        let dtype = b.ty(*extra).dtype;
        if matches!(dtype, Dtype::F32 | Dtype::I32) {
            continue;
        }
        if dtype != Dtype::Bool {
            return None;
        }
        *extra = b.add(Op::Map { body: Body::of(ScalarOp::Cast(Dtype::I32)) }, &[*extra])?;
        let mut new = Body { params: body.params, terms: Vec::new(), result: Arg::Param(0) };
        let is = new.push(ScalarOp::Ne, &[Arg::Param(i as u8 + 1), Arg::Literal(Literal::int(Dtype::I32, 0))]);
        let params: Vec<Arg> = (0..body.params).map(|p| if p as usize == i + 1 { is } else { Arg::Param(p) }).collect();
        new.result = new.inline(body, &params);
        *body = new;
    }
    Some(())
}

pub const SCALE_INTO_ATTENTION: Rule = Rule {
    name: "scale_into_attention",
    about: "a constant factor of queries or keys becomes one of the scores; needs the product unshared",
    root: |op| matches!(op, Op::Attention { .. }),
    at: |graph, id| {
        let mut operands: Vec<Val> = graph.operands(id).into_iter().map(Val::Old).collect();
        let Op::Attention { causal, guarded, prologue } = graph.op(id) else { return None };
        for slot in 0..2 {
            let Val::Old(operand) = operands[slot] else { continue };
            let mut b = Builder::new(graph, &[id]);
            let Some((value, factor)) = unscaled(&mut b, graph, operand, id) else { continue };
            operands[slot] = value;
            let mut body = Body { params: prologue.params, terms: Vec::new(), result: Arg::Param(0) };
            let scaled = body.push(ScalarOp::Mul, &[Arg::Param(0), Arg::Literal(factor)]);
            let params: Vec<Arg> = (0..prologue.params).map(|p| if p == 0 { scaled } else { Arg::Param(p) }).collect();
            body.result = body.inline(prologue, &params);
            let types: Vec<Dtype> = std::iter::once(Dtype::F32).chain(operands[3..].iter().map(|&e| b.ty(e).dtype)).collect();
            let body = joined_factors(&simplify(&body, &types));
            let op = Op::Attention { causal: causal.clone(), guarded: *guarded, prologue: body };
            let value = b.add(op, &operands)?;
            return b.replace(id, value);
        }
        None
    },
};

/// What a chain of moves and one map with a constant factor is without the factor.
fn unscaled(b: &mut Builder, graph: &Graph, id: NodeId, user: NodeId) -> Option<(Val, Literal)> {
    if !used_only_by(graph, id, user) || graph.use_count(id) != 1 {
        return None;
    }
    let below = *graph.operands(id).first()?;
    match graph.op(id) {
        Op::Transpose { perm } => {
            let (value, factor) = unscaled(b, graph, below, id)?;
            Some((b.transpose(value, perm)?, factor))
        }
        Op::Reshape { shape } => {
            let (value, factor) = unscaled(b, graph, below, id)?;
            Some((b.reshape(value, shape)?, factor))
        }
        Op::Map { body } => {
            let [term] = body.terms.as_slice() else { return None };
            let factor = match (term.op, term.args.as_slice()) {
                (ScalarOp::Mul, [Arg::Param(0), Arg::Literal(l)] | [Arg::Literal(l), Arg::Param(0)]) => *l,
                (ScalarOp::Div, [Arg::Param(0), Arg::Literal(l)]) => Literal::f32(1.0 / l.to_f64() as f32),
                _ => return None,
            };
            let whole = body.params == 1 && body.result == Arg::Term(0) && graph.ty(below) == graph.ty(id);
            (whole && factor.dtype == Dtype::F32 && factor.to_f64().is_finite()).then_some((Val::Old(below), factor))
        }
        _ => None,
    }
}

/// `a * x * y` as one product, where it is what a body begins with.
fn joined_factors(body: &Body) -> Body {
    let factor = |at: usize, of: Arg| {
        let term = body.terms.get(at)?;
        match (term.op, term.args.as_slice()) {
            (ScalarOp::Mul, [x, Arg::Literal(l)] | [Arg::Literal(l), x]) if *x == of => Some(l.to_f64()),
            _ => None,
        }
    };
    let (Some(x), Some(y)) = (factor(0, Arg::Param(0)), factor(1, Arg::Term(0))) else { return body.clone() };
    let used = body.terms[1..].iter().flat_map(|t| &t.args).chain([&body.result]).filter(|a| **a == Arg::Term(0)).count();
    if used != 1 {
        return body.clone();
    }
    let mut body = body.clone();
    body.terms[1].args = vec![Arg::Param(0), Arg::Literal(Literal::f32((x * y) as f32))];
    body.without_dead()
}

pub const CAUSAL_ATTENTION: Rule = Rule {
    name: "causal_attention",
    about: "a constant that hides all keys behind a query's own place is said as such",
    root: |op| matches!(op, Op::Attention { causal: None, .. }),
    at: |graph, id| {
        let operands = graph.operands(id);
        let Op::Attention { guarded, prologue, .. } = graph.op(id) else { return None };
        for (i, &extra) in operands.iter().enumerate().skip(3) {
            let param = Arg::Param(i as u8 - 2);
            let (Some(at), Some(causal)) = (added(prologue, param), triangle(graph, extra, &operands)) else { continue };
            // the sum becomes its other operand
            let other = prologue.terms[at].args.iter().copied().find(|a| *a != param)?;
            let rename = |a: &Arg| if *a == Arg::Term(at as u16) { other } else { *a };
            let mut body = prologue.clone();
            body.terms.iter_mut().for_each(|t| t.args = t.args.iter().map(rename).collect());
            body.result = rename(&body.result);
            let (body, left) = crate::pointwise::drop_unused(&body, 1);
            let kept = left.iter().filter_map(|&i| i.checked_sub(1)).map(|i| Val::Old(operands[i + 3]));
            let values: Vec<Val> = operands[..3].iter().map(|&o| Val::Old(o)).chain(kept).collect();
            let mut b = Builder::new(graph, &[id]);
            let value = b.add(Op::Attention { causal: Some(Dim::from(causal)), guarded: *guarded, prologue: body }, &values)?;
            return b.replace(id, value);
        }
        None
    },
};

/// The term that adds a parameter, read once, where behind it only more is added: what is -inf stays so.
fn added(body: &Body, param: Arg) -> Option<usize> {
    let reads = |arg: Arg| body.terms.iter().flat_map(|t| &t.args).chain([&body.result]).filter(|a| **a == arg).count();
    let mut at = body.result;
    let mut chain = Vec::new();
    while let Arg::Term(i) = at {
        let term = &body.terms[i as usize];
        if term.op != ScalarOp::Add || reads(at) != 1 {
            return None;
        }
        if term.args.contains(&param) {
            return (reads(param) == 1).then_some(i as usize);
        }
        chain.push(i);
        at = *term.args.iter().find(|a| matches!(a, Arg::Term(_)))?;
    }
    None
}

/// How far a constant lets queries see: 0 up to there and next to -inf behind, with something to see in each row.
fn triangle(graph: &Graph, id: NodeId, operands: &[NodeId]) -> Option<i64> {
    const HIDDEN: f32 = -1e30;
    let tensor = graph.as_const(id)?;
    let extent = |n: NodeId| graph.ty(n).shape[graph.ty(n).rank() - 2].fixed();
    let (queries, keys) = (extent(operands[0])? as usize, extent(operands[1])? as usize);
    let lead = tensor.shape().len().checked_sub(2)?;
    if tensor.dtype() != Dtype::F32 || tensor.shape()[lead..] != [queries, keys] || tensor.elements() != queries * keys || keys < 2 {
        return None;
    }
    let values = tensor.to_f32s();
    let seen = |line: &[f32]| line.iter().take_while(|&&x| x == 0.0).count();
    let first = seen(&values[..keys]);
    let line = |(i, line): (usize, &[f32])| {
        let open = seen(line);
        open == (first + i).min(keys) && line[open..].iter().all(|&x| x <= HIDDEN)
    };
    (first > 0 && first < keys && values.chunks_exact(keys).enumerate().all(line)).then_some(first as i64 - 1)
}
