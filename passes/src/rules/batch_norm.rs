//! Scales and shifts behind a convolution or dot with constant weights: the scales go into the weights, the
//! shifts become one bias. Batch normalization is the common case; a scalar factor is another. A scalar factor
//! in front of a dot goes behind it.

use crate::layout::trimmed;
use crate::pointwise::{Pointwise, drop_unused};
use crate::rule::{Builder, Rule, Val, near};
use ir::scalar::{Arg, Body, Literal, ScalarOp};
use ir::{Dtype, Graph, NodeId, Op, Tensor};

pub const SCALE_INTO_WEIGHTS: Rule = Rule {
    name: "scale_into_weights",
    about: "constant factors per channel behind a convolution or dot go into its constant, unshared weights; constant addends become one bias",
    root: |op| matches!(op, Op::Conv { .. } | Op::Dot { .. }),
    at: |graph, id| {
        let p = Pointwise::of(graph, id)?;
        let ty = graph.ty(id);
        if p.types[0] != Dtype::F32 || p.body.terms.is_empty() {
            return None;
        }
        let channels = usize::try_from(ty.shape.last()?.fixed()?).ok()?;
        let affine = leading_affine(graph, &p, channels)?;
        let scaled = !affine.scale.is_one();
        if !scaled && affine.addends < 2 {
            return None;
        }
        let Some(weights) = graph.as_const(p.own[1]) else { return near("the weights are not constant") };
        if scaled && graph.use_count(p.own[1]) > 1 {
            return near("the weights have other users");
        }
        let axis = match graph.op(id) {
            Op::Dot { trans_b: true, .. } => weights.shape().len() - 2,
            _ => weights.shape().len() - 1,
        };
        let mut b = Builder::new(graph, &[id]);
        let mut extras: Vec<Val> = p.extras.iter().map(|&o| Val::Old(o)).collect();
        let (body, operand) = affine.rest(&p.body);
        if let Some(values) = operand {
            let origin = affine.origin;
            extras.push(b.constant(Tensor::f32s(&[channels], &values), origin));
        }
        let (body, left) = drop_unused(&body, 1);
        let mut all = vec![Val::Old(p.own[0])];
        all.push(if scaled {
            let factors: Vec<f32> = affine.scale.spread(channels).into_iter().map(|v| v as f32).collect();
            b.constant(weights.scale(axis, &factors), Some(p.own[1]))
        } else {
            Val::Old(p.own[1])
        });
        all.extend(left.iter().skip(1).map(|&i| extras[i - 1]));
        let mut op = graph.op(id).clone();
        *op.epilogue_mut()? = body;
        let value = b.add(op, &all)?;
        b.replace(id, value)
    },
};

pub const SCALE_OUT_OF_DOT: Rule = Rule {
    name: "scale_out_of_dot",
    about: "a scalar factor of a dot's operand is a factor of its result; the map that multiplies must be unshared, and so what moves it",
    root: |op| matches!(op, Op::Dot { .. }),
    at: |graph, id| {
        let p = Pointwise::of(graph, id)?;
        if p.types[0] != Dtype::F32 {
            return None;
        }
        let mut factor = 1.0;
        let mut b = Builder::new(graph, &[id]);
        let mut own: Vec<Val> = p.own.iter().map(|&o| Val::Old(o)).collect();
        let mut shared = false;
        for (slot, &operand) in p.own.iter().enumerate() {
            let mut path = vec![operand];
            while let Op::Transpose { .. } | Op::Reshape { .. } = graph.op(*path.last()?) {
                path.push(graph.operands(*path.last()?)[0]);
            }
            let map = path.pop()?;
            let Some(by) = scalar_factor(graph, map) else { continue };
            if graph.use_count(map) != 1 || path.iter().any(|&o| graph.use_count(o) != 1) {
                shared = true;
                continue;
            }
            factor *= by;
            let mut value = Val::Old(graph.operands(map)[0]);
            for &moved in path.iter().rev() {
                value = b.from(&[moved]).add(graph.op(moved).clone(), &[value])?;
            }
            own[slot] = value;
        }
        let factor = factor as f32;
        if own.iter().zip(&p.own).all(|(new, &old)| *new == Val::Old(old)) {
            return if shared { near("the scaled operand has other users") } else { None };
        }
        let mut body = Body { params: p.body.params, terms: Vec::new(), result: Arg::Param(0) };
        let scaled = body.push(ScalarOp::Mul, &[Arg::Param(0), Arg::Literal(Literal::f32(factor))]);
        let args: Vec<Arg> = std::iter::once(scaled).chain((1..p.body.params).map(Arg::Param)).collect();
        body.result = body.inline(&p.body, &args);
        let mut op = graph.op(id).clone();
        *op.epilogue_mut()? = body;
        own.extend(p.extras.iter().map(|&o| Val::Old(o)));
        let value = b.from(&[id]).add(op, &own)?;
        b.replace(id, value)
    },
};

/// The normal number by which a map multiplies its one operand, if it does nothing else.
fn scalar_factor(graph: &Graph, map: NodeId) -> Option<f64> {
    let Op::Map { body } = graph.op(map) else { return None };
    let [term] = &body.terms[..] else { return None };
    if body.params != 1 || body.result != Arg::Term(0) || graph.ty(map).dtype != Dtype::F32 {
        return None;
    }
    let factor = match (term.op, &term.args[..]) {
        (ScalarOp::Mul, [Arg::Param(0), Arg::Literal(l)] | [Arg::Literal(l), Arg::Param(0)]) => l.to_f64(),
        (ScalarOp::Div, [Arg::Param(0), Arg::Literal(l)]) => 1.0 / l.to_f64(),
        (ScalarOp::Neg, _) => -1.0,
        _ => return None,
    };
    (factor as f32).is_normal().then_some(factor)
}

/// One number, or one for each channel.
#[derive(Clone)]
enum Numbers {
    One(f64),
    Each(Vec<f64>),
}

impl Numbers {
    fn zip(&self, other: &Numbers, f: impl Fn(f64, f64) -> f64) -> Numbers {
        match (self, other) {
            (Numbers::One(a), Numbers::One(b)) => Numbers::One(f(*a, *b)),
            (Numbers::One(a), Numbers::Each(b)) => Numbers::Each(b.iter().map(|b| f(*a, *b)).collect()),
            (Numbers::Each(a), Numbers::One(b)) => Numbers::Each(a.iter().map(|a| f(*a, *b)).collect()),
            (Numbers::Each(a), Numbers::Each(b)) => Numbers::Each(a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()),
        }
    }
    fn spread(&self, channels: usize) -> Vec<f64> {
        match self {
            Numbers::One(a) => vec![*a; channels],
            Numbers::Each(a) => a.clone(),
        }
    }
    fn is_one(&self) -> bool {
        matches!(self, Numbers::One(a) if *a == 1.0)
    }
}

/// `scale * result + shift`, which the terms up to `value` compute.
struct Affine {
    scale: Numbers,
    shift: Numbers,
    /// How many terms added something.
    addends: usize,
    value: Arg,
    /// The first constant that took part.
    origin: Option<NodeId>,
}

impl Affine {
    /// The body after the scale is gone: what the affine terms gave is now the result plus a bias. The bias is
    /// the parameter behind the last, or a literal, or nothing.
    fn rest(&self, body: &Body) -> (Body, Option<Vec<f32>>) {
        let mut out = Body { params: body.params, terms: Vec::new(), result: Arg::Param(0) };
        let mut operand = None;
        let start = match &self.shift {
            Numbers::One(v) if *v as f32 == 0.0 => Arg::Param(0),
            Numbers::One(v) => out.push(ScalarOp::Add, &[Arg::Param(0), Arg::Literal(Literal::f32(*v as f32))]),
            Numbers::Each(values) => {
                operand = Some(values.iter().map(|&v| v as f32).collect());
                out.params += 1;
                out.push(ScalarOp::Add, &[Arg::Param(0), Arg::Param(body.params)])
            }
        };
        let Arg::Term(last) = self.value else { return (body.clone(), None) };
        let mut placed: Vec<Arg> = Vec::new();
        for (i, term) in body.terms.iter().enumerate() {
            // terms inside the chain are dead now; they stand in until then
            let args: Vec<Arg> = term.args.iter().map(|a| bind(*a, &placed)).collect();
            placed.push(if i == last as usize { start } else { out.push(term.op, &args) });
        }
        out.result = bind(body.result, &placed);
        (out.without_dead(), operand)
    }
}

fn bind(arg: Arg, placed: &[Arg]) -> Arg {
    match arg {
        Arg::Term(i) => placed[i as usize],
        other => other,
    }
}

/// The longest chain of constant factors and addends that starts at the operator's own result.
fn leading_affine(graph: &Graph, p: &Pointwise, channels: usize) -> Option<Affine> {
    let mut out = Affine { scale: Numbers::One(1.0), shift: Numbers::One(0.0), addends: 0, value: Arg::Param(0), origin: None };
    loop {
        let users: Vec<usize> = (0..p.body.terms.len()).filter(|&i| p.body.terms[i].args.contains(&out.value)).collect();
        let [user] = users[..] else { break };
        let term = &p.body.terms[user];
        let twice = term.args.iter().filter(|a| **a == out.value).count() > 1;
        if twice || p.body.result == out.value {
            break;
        }
        let other = term.args.iter().find(|a| **a != out.value).copied();
        let number = match other {
            Some(arg) => match constant(graph, p, arg, channels) {
                Some(number) => Some(number),
                None => break,
            },
            None => None,
        };
        let first = term.args[0] == out.value;
        let (scale, shift) = (&out.scale, &out.shift);
        let (scale, shift, added) = match (term.op, &number, first) {
            (ScalarOp::Mul, Some(k), _) => (scale.zip(k, |a, k| a * k), shift.zip(k, |a, k| a * k), 0),
            (ScalarOp::Div, Some(k), true) => (scale.zip(k, |a, k| a / k), shift.zip(k, |a, k| a / k), 0),
            (ScalarOp::Add, Some(k), _) => (scale.clone(), shift.zip(k, |a, k| a + k), 1),
            (ScalarOp::Sub, Some(k), true) => (scale.clone(), shift.zip(k, |a, k| a - k), 1),
            (ScalarOp::Sub, Some(k), false) => (scale.zip(k, |a, _| -a), shift.zip(k, |a, k| k - a), 1),
            (ScalarOp::Neg, None, _) => {
                let minus = Numbers::One(-1.0);
                (scale.zip(&minus, |a, k| a * k), shift.zip(&minus, |a, k| a * k), 0)
            }
            _ => break,
        };
        let finite = |n: &Numbers| n.spread(channels).iter().all(|v| (*v as f32).is_finite());
        if !finite(&scale) || !finite(&shift) {
            break;
        }
        if let Some(Arg::Param(i)) = other {
            out.origin = out.origin.or(p.operand(i));
        }
        out.scale = scale;
        out.shift = shift;
        out.addends += added;
        out.value = Arg::Term(user as u16);
    }
    (out.value != Arg::Param(0)).then_some(out)
}

/// A literal, or a constant that differs along the last axis only.
fn constant(graph: &Graph, p: &Pointwise, arg: Arg, channels: usize) -> Option<Numbers> {
    match arg {
        Arg::Literal(l) if l.dtype == Dtype::F32 => Some(Numbers::One(l.to_f64())),
        Arg::Param(i) => {
            let operand = p.operand(i)?;
            let tensor = graph.as_const(operand).filter(|t| t.dtype() == Dtype::F32)?;
            match trimmed(&graph.ty(operand).shape) {
                [] => Some(Numbers::One(*tensor.to_f64s().first()?)),
                [last] if last.fixed() == Some(channels as i64) => Some(Numbers::Each(tensor.to_f64s())),
                _ => None,
            }
        }
        Arg::Literal(_) | Arg::Term(_) => None,
    }
}
