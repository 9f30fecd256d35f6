//! Softmax and normalizations in the exploded forms that exporters write. A value is followed term by term
//! through bodies, so that it does not matter how maps were split or joined before.

use crate::pointwise::{Pointwise, drop_unused};
use crate::rule::{Builder, Match, Rule, Val, near};
use ir::graph::op::{Real, ReduceKind};
use ir::scalar::{Arg, Body, Literal, ScalarOp};
use ir::{Graph, NodeId, Op};

/// A value, down to the term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// A node's result; with an epilogue, what stands before it.
    Own(NodeId),
    /// A term of a map's body or of an epilogue.
    Main(NodeId, u16),
    /// A term of a prologue.
    Prologue(NodeId, u16),
    Literal(Literal),
}

/// Reads values out of a graph.
struct Reader<'g> {
    graph: &'g Graph,
}

impl Reader<'_> {
    fn node(&self, id: NodeId) -> Value {
        match self.graph.op(id) {
            Op::Map { body } => self.main(id, body.result),
            Op::Const { tensor } if tensor.is_splat() && tensor.elements() == 1 => {
                Value::Literal(Literal::from_bytes(tensor.dtype(), &tensor.bytes()))
            }
            op => match op.epilogue() {
                Some(body) => self.main(id, body.result),
                None => Value::Own(id),
            },
        }
    }

    fn main(&self, id: NodeId, arg: Arg) -> Value {
        match arg {
            Arg::Literal(l) => Value::Literal(l),
            Arg::Term(i) => Value::Main(id, i),
            Arg::Param(i) => {
                let own = if matches!(self.graph.op(id), Op::Map { .. }) { 0 } else { self.graph.op(id).own_operands() };
                match own {
                    0 => self.node(self.graph.operands(id)[i as usize]),
                    _ if i == 0 => Value::Own(id),
                    own => self.node(self.graph.operands(id)[own + i as usize - 1]),
                }
            }
        }
    }

    fn prologue(&self, id: NodeId, arg: Arg) -> Value {
        match arg {
            Arg::Literal(l) => Value::Literal(l),
            Arg::Term(i) => Value::Prologue(id, i),
            Arg::Param(_) => self.node(self.graph.operands(id)[0]),
        }
    }

    /// The operation that gives a value, and its operands.
    fn term(&self, value: Value) -> Option<(ScalarOp, Vec<Value>)> {
        match value {
            Value::Main(id, i) => {
                let body = match self.graph.op(id) {
                    Op::Map { body } => body,
                    op => op.epilogue()?,
                };
                let term = &body.terms[i as usize];
                Some((term.op, term.args.iter().map(|a| self.main(id, *a)).collect()))
            }
            Value::Prologue(id, i) => {
                let term = &self.graph.op(id).prologue()?.terms[i as usize];
                Some((term.op, term.args.iter().map(|a| self.prologue(id, *a)).collect()))
            }
            Value::Own(_) | Value::Literal(_) => None,
        }
    }

    fn unary(&self, value: Value, op: ScalarOp) -> Option<Value> {
        let (found, args) = self.term(value)?;
        (found == op).then(|| args[0])
    }

    fn binary(&self, value: Value, op: ScalarOp) -> Option<(Value, Value)> {
        let (found, args) = self.term(value)?;
        (found == op).then(|| (args[0], args[1]))
    }

    /// Both ways round of a commutative operation.
    fn either(&self, value: Value, op: ScalarOp) -> Option<[(Value, Value); 2]> {
        let (a, b) = self.binary(value, op)?;
        Some([(a, b), (b, a)])
    }

    fn literal(&self, value: Value) -> Option<f64> {
        match value {
            Value::Literal(l) => Some(l.to_f64()),
            Value::Own(_) | Value::Main(..) | Value::Prologue(..) => None,
        }
    }

    /// Whether two values are computed alike.
    fn same(&self, a: Value, b: Value, depth: usize) -> bool {
        if a == b {
            return true;
        }
        match (self.term(a), self.term(b)) {
            (Some((f, x)), Some((g, y))) if depth > 0 => f == g && x.iter().zip(&y).all(|(&x, &y)| self.same(x, y, depth - 1)),
            _ => false,
        }
    }

    /// The node whose whole result a value is.
    fn whole(&self, value: Value) -> Option<NodeId> {
        match value {
            Value::Own(id) => self.graph.op(id).epilogue().is_none_or(Body::is_identity).then_some(id),
            Value::Main(id, i) => {
                let body = match self.graph.op(id) {
                    Op::Map { body } => body,
                    op => op.epilogue()?,
                };
                (body.result == Arg::Term(i)).then_some(id)
            }
            Value::Prologue(..) | Value::Literal(_) => None,
        }
    }

    /// `(node, axes, what is reduced)` of a reduction.
    fn reduce(&self, value: Value, wanted: ReduceKind) -> Option<(NodeId, &[usize], Value)> {
        let Value::Own(id) = value else { return None };
        match self.graph.op(id) {
            Op::Reduce { kind, axes, prologue, .. } if *kind == wanted => Some((id, axes, self.prologue(id, prologue.result))),
            _ => None,
        }
    }

    /// The same for a mean, or a sum times the inverse of its length.
    fn mean(&self, value: Value) -> Option<(NodeId, &[usize], Value)> {
        if let Some(found) = self.reduce(value, ReduceKind::Mean) {
            return Some(found);
        }
        let scaled = |sum: Value, factor: f64| {
            let found = self.reduce(sum, ReduceKind::Sum)?;
            let shape = &self.graph.ty(self.graph.operands(found.0)[0]).shape;
            let count: i64 = found.1.iter().map(|&a| shape[a].fixed()).product::<Option<i64>>()?;
            ((factor * count as f64 - 1.0).abs() < 1e-6).then_some(found)
        };
        if let Some((sum, by)) = self.binary(value, ScalarOp::Div) {
            return scaled(sum, 1.0 / self.literal(by)?);
        }
        self.either(value, ScalarOp::Mul)?.into_iter().find_map(|(sum, by)| scaled(sum, self.literal(by)?))
    }
}

/// The map at `id` with its term `at` read from `value` instead, a new node of the map's own type of element.
fn with_term(mut b: Builder, graph: &Graph, id: NodeId, at: u16, value: Val) -> Option<Match> {
    let p = Pointwise::of(graph, id)?;
    let mut out = Body { params: p.body.params.checked_add(1)?, terms: Vec::new(), result: Arg::Param(0) };
    let mut placed: Vec<Arg> = Vec::new();
    let bind = |arg: Arg, placed: &[Arg]| match arg {
        Arg::Term(i) => placed[i as usize],
        other => other,
    };
    for (i, term) in p.body.terms.iter().enumerate() {
        let args: Vec<Arg> = term.args.iter().map(|a| bind(*a, &placed)).collect();
        placed.push(if i == at as usize { Arg::Param(p.body.params) } else { out.push(term.op, &args) });
    }
    out.result = bind(p.body.result, &placed);
    let (body, left) = drop_unused(&out, 0);
    if body.is_identity() && *b.ty(value) == *graph.ty(id) {
        return b.replace(id, value);
    }
    let operands: Vec<Val> = left.iter().map(|&i| p.extras.get(i).map_or(value, |&o| Val::Old(o))).collect();
    let map = b.from(&[id]).add(Op::Map { body }, &operands)?;
    b.replace(id, map)
}

/// Tries `find` on every term of a map.
fn each_term(graph: &Graph, id: NodeId, find: fn(&Reader, Value) -> Option<Found>) -> Option<Match> {
    let Op::Map { body } = graph.op(id) else { return None };
    let reader = Reader { graph };
    let mut missed = None;
    for at in 0..body.terms.len() as u16 {
        let Some(found) = find(&reader, Value::Main(id, at)) else { continue };
        let Some(x) = reader.whole(found.x) else {
            missed = near("what it works on is no value of its own");
            continue;
        };
        let mut from = found.from;
        from.push(id);
        let mut b = Builder::new(graph, &from);
        let Some(value) = b.add(found.op, &[Val::Old(x)]) else { continue };
        return with_term(b, graph, id, at, value);
    }
    missed
}

/// An operator over `x` that a term turned out to be.
struct Found {
    op: Op,
    x: Value,
    from: Vec<NodeId>,
}

pub const RECOMPOSE_SOFTMAX: Rule = Rule {
    name: "recompose_softmax",
    about: "exp(x - max(x)) / sum(exp(x - max(x))) along one axis is a softmax, with or without the maximum; its logarithm too",
    root: |op| matches!(op, Op::Map { .. }),
    at: |graph, id| each_term(graph, id, softmax),
};

fn softmax(r: &Reader, term: Value) -> Option<Found> {
    if let Some((z, log)) = r.binary(term, ScalarOp::Sub) {
        let sum = r.unary(log, ScalarOp::Log)?;
        let (id, axes, e) = r.reduce(sum, ReduceKind::Sum)?;
        let under = r.unary(e, ScalarOp::Exp)?;
        return r.same(under, z, 4).then(|| finish(r, id, axes, z, true)).flatten();
    }
    let (e, sum) = match r.binary(term, ScalarOp::Div) {
        Some(pair) => pair,
        None => r.either(term, ScalarOp::Mul)?.into_iter().find_map(|(e, inverse)| {
            let (one, sum) = r.binary(inverse, ScalarOp::Div)?;
            (r.literal(one) == Some(1.0)).then_some((e, sum))
        })?,
    };
    let (id, axes, inner) = r.reduce(sum, ReduceKind::Sum)?;
    let z = r.unary(e, ScalarOp::Exp)?;
    r.same(inner, e, 4).then(|| finish(r, id, axes, z, false)).flatten()
}

/// A softmax of `x` where `z` is `x` or `x - max(x)`.
fn finish(r: &Reader, sum: NodeId, axes: &[usize], z: Value, log: bool) -> Option<Found> {
    let [axis] = axes[..] else { return None };
    let mut from = vec![sum];
    let shifted = r.binary(z, ScalarOp::Sub).and_then(|(x, max)| {
        let (id, along, of) = r.reduce(max, ReduceKind::Max)?;
        (along == axes && r.same(of, x, 4)).then_some((id, x))
    });
    let x = match shifted {
        Some((id, x)) => {
            from.insert(0, id);
            x
        }
        None => z,
    };
    Some(Found { op: Op::Softmax { axis, log, prologue: Body::identity(), epilogue: Body::identity() }, x, from })
}

pub const RECOMPOSE_NORM: Rule = Rule {
    name: "recompose_norm",
    about: "(x - mean) / sqrt(variance + epsilon), and x / sqrt(mean(x * x) + epsilon), are norms; scale and bias stay behind",
    root: |op| matches!(op, Op::Map { .. }),
    at: |graph, id| each_term(graph, id, norm),
};

fn norm(r: &Reader, term: Value) -> Option<Found> {
    let (d, root) = match r.binary(term, ScalarOp::Div) {
        Some((d, root)) => (d, root),
        None => r.either(term, ScalarOp::Mul)?.into_iter().find_map(|(d, inverse)| {
            let (one, root) = r.binary(inverse, ScalarOp::Div)?;
            (r.literal(one) == Some(1.0)).then_some((d, root))
        })?,
    };
    let (variance, epsilon) =
        r.either(r.unary(root, ScalarOp::Sqrt)?, ScalarOp::Add)?.into_iter().find_map(|(v, e)| r.literal(e).map(|e| (v, e)))?;
    let (spread, axes, square) = r.mean(variance)?;
    let squared = match r.term(square)? {
        (ScalarOp::Mul, args) => r.same(args[0], args[1], 4).then_some(args[0])?,
        (ScalarOp::Pow, args) => (r.literal(args[1]) == Some(2.0)).then_some(args[0])?,
        _ => return None,
    };
    if !r.same(squared, d, 4) {
        return None;
    }
    let sorted = |axes: &[usize]| {
        let mut axes = axes.to_vec();
        axes.sort();
        axes
    };
    let centered = r.binary(d, ScalarOp::Sub).and_then(|(x, mean)| {
        let (id, along, of) = r.mean(mean)?;
        (sorted(along) == sorted(axes) && r.same(of, x, 4)).then_some((id, x))
    });
    let op =
        |center| Op::Norm { axes: sorted(axes), epsilon: Real(epsilon), center, prologue: Body::identity(), epilogue: Body::identity() };
    Some(match centered {
        Some((id, x)) => Found { op: op(true), x, from: vec![id, spread] },
        None => Found { op: op(false), x: d, from: vec![spread] },
    })
}
