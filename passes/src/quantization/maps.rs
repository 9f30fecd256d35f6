//! Maps over quantized numbers. Bounds stay bounds, a bias is added to the sum that it belongs to, sums and products of
//! two quantized tensors wait for the scale of their result, and any function of one tensor of 8 bits is a chain, which
//! will be one table.

use super::Folder;
use super::value::{Affine, Chain, Pair, Share, Sum, Value, narrowed};
use ir::quant::weights::zip;
use ir::quant::{self, Zero};
use ir::scalar::{Arg, Body, Literal, ScalarOp};
use ir::{Dtype, NodeId, Op};

/// How far the scale of a bias may be from that of its sum: exporters compute the product in f32 or in f64.
const ALIKE: f32 = 1e-4;

impl Folder<'_> {
    pub fn map(&mut self, id: NodeId, body: &Body) -> Option<Value> {
        if self.dtype(id) != Dtype::F32 {
            return None;
        }
        let (body, kept) = self.bound(id, body);
        match kept[..] {
            [x] => {
                let value = self.values.get(&x)?.clone();
                if let Some(bounds) = clamp(&body)
                    && let Some(made) = self.clamped(&value, bounds)
                {
                    return Some(made);
                }
                if let (Value::Sum(sum), Some(bias)) = (&value, shift(&body))
                    && let Some(made) = rounded(sum, &[bias])
                {
                    return Some(Value::Sum(made));
                }
            }
            [a, b] => {
                if let Some(op) = join(&body)
                    && let Some(made) = self.joined(id, op, a, b)
                {
                    return Some(made);
                }
            }
            _ => {}
        }
        self.chain(id, &body, &kept).map(Value::Chain)
    }

    /// The body with repeated constants as literals, and the operands that are left, each once.
    fn bound(&self, id: NodeId, body: &Body) -> (Body, Vec<NodeId>) {
        let mut kept: Vec<NodeId> = Vec::new();
        let mut args = Vec::new();
        for operand in self.graph.operands(id) {
            let repeated = self.graph.as_const(operand).filter(|t| t.is_splat() && t.elements() > 0);
            args.push(match repeated {
                Some(tensor) => {
                    let rank = tensor.shape().len();
                    let one = tensor.slice(&vec![0; rank], &vec![1; rank], &vec![1; rank]);
                    Arg::Literal(Literal::from_bytes(tensor.dtype(), &one.bytes()))
                }
                None => {
                    let at = kept.iter().position(|&k| k == operand).unwrap_or_else(|| {
                        kept.push(operand);
                        kept.len() - 1
                    });
                    Arg::Param(at as u8)
                }
            });
        }
        (quant::body(kept.len() as u8, |b| b.inline(body, &args)), kept)
    }

    fn clamped(&mut self, value: &Value, bounds: (f32, f32)) -> Option<Value> {
        match value {
            Value::Sum(sum) => {
                let (low, high) = narrowed((sum.low, sum.high), bounds);
                Some(Value::Sum(Sum { low, high, ..sum.clone() }))
            }
            Value::Pair(pair) => {
                let (low, high) = narrowed((pair.low, pair.high), bounds);
                Some(Value::Pair(Pair { low, high, ..pair.clone() }))
            }
            Value::Affine(affine) => self.clamped_affine(affine, bounds).map(Value::Affine),
            Value::Chain(_) | Value::Parts { .. } => None,
        }
    }

    /// Only where the bounds are quantized numbers themselves, or beyond all of them.
    fn clamped_affine(&mut self, affine: &Affine, (low, high): (f32, f32)) -> Option<Affine> {
        let from = self.unsigned(affine)?;
        let (scale, zero) = from.single()?;
        let dtype = self.dtype(from.raw);
        if scale <= 0.0 || !quant::is_storage(dtype) || dtype.bytes() > 1 {
            return None;
        }
        let (least, most) = quant::range(dtype);
        let float = |q: i64| (q - zero) as f32 * scale;
        let number = |bound: f32, open: bool| {
            if open { Some(None) } else { (least..=most).find(|&q| float(q) == bound).map(Some) }
        };
        let (at_least, at_most) = (number(low, low <= float(least))?, number(high, high >= float(most))?);
        if at_least.is_none() && at_most.is_none() {
            return Some(from);
        }
        let body = quant::body(1, |b| {
            let mut x = Arg::Param(0);
            for (op, bound) in [(ScalarOp::Max, at_least), (ScalarOp::Min, at_most)] {
                if let Some(q) = bound {
                    x = b.push(op, &[x, Arg::Literal(Literal::int(dtype, q))]);
                }
            }
            x
        });
        let raw = self.add(Op::Map { body }, &[from.raw])?;
        Some(Affine { raw, ..from })
    }

    /// A sum or product of two operands.
    fn joined(&mut self, id: NodeId, op: ScalarOp, a: NodeId, b: NodeId) -> Option<Value> {
        if op == ScalarOp::Add {
            for (sum, other) in [(a, b), (b, a)] {
                if let Some(Value::Sum(sum)) = self.values.get(&sum).cloned()
                    && let Some(made) = self.biased(id, &sum, other)
                {
                    return Some(Value::Sum(made));
                }
            }
        }
        let (a, b) = (self.affine(a)?.clone(), self.affine(b)?.clone());
        let (a, b) = (self.unsigned(&a)?, self.unsigned(&b)?);
        let of = |x: &Affine| {
            let dtype = self.dtype(x.raw);
            let (scale, zero) = x.single()?;
            (dtype.is_int() && dtype.bytes() == 1).then_some(quant::Affine { dtype, scale, zero, lift: 0 })
        };
        let from = [of(&a)?, of(&b)?];
        Some(Value::Pair(Pair { op, raw: [a.raw, b.raw], from, low: f32::NEG_INFINITY, high: f32::INFINITY }))
    }

    /// A sum plus a constant: of i32 in its own steps, or of floats that are rounded to them, as onnxruntime does.
    fn biased(&mut self, id: NodeId, sum: &Sum, other: NodeId) -> Option<Sum> {
        let open = sum.low == f32::NEG_INFINITY && sum.high == f32::INFINITY;
        if !open || !matches!(sum.share, Share::Whole) || self.graph.ty(sum.node).shape != self.graph.ty(id).shape {
            return None;
        }
        let rank = self.graph.ty(id).rank();
        let shape = self.graph.ty(other).fixed()?;
        let lead = rank.checked_sub(shape.len())?;
        if shape.iter().enumerate().any(|(i, &n)| n != 1 && i + lead != sum.axis) {
            return None;
        }
        if let Some(floats) = self.graph.as_const(other) {
            return rounded(sum, &floats.to_f32s());
        }
        let bias = self.affine(other)?;
        let numbers = self.graph.as_const(bias.raw).filter(|t| t.dtype() == Dtype::I32)?.to_i64s();
        let alike = |a: f32, b: f32| (a - b).abs() <= ALIKE * b.abs();
        if bias.zero.iter().any(|&z| z != 0) || !zip(&bias.scale, &sum.scale, alike).iter().all(|&same| same) {
            return None;
        }
        let bias = zip(&sum.bias, &numbers, |a, b| a.wrapping_add(b as i32));
        Some(Sum { bias, ..sum.clone() })
    }

    /// A function of one tensor of u8, if all operands are that.
    fn chain(&mut self, id: NodeId, body: &Body, kept: &[NodeId]) -> Option<Chain> {
        let mut raw = None;
        let mut parts: Vec<Body> = Vec::with_capacity(kept.len());
        for operand in kept {
            let (from, part) = match self.values.get(operand)?.clone() {
                Value::Affine(affine) => {
                    if self.graph.as_const(affine.raw).is_some() {
                        return None;
                    }
                    let affine = self.unsigned(&affine)?;
                    let (scale, zero) = affine.single()?;
                    let dtype = self.dtype(affine.raw);
                    let scale = Arg::Literal(Literal::f32(scale));
                    let part = quant::body(1, |b| quant::dequantize(b, Arg::Param(0), dtype, scale, Zero::Known(zero), Dtype::F32));
                    (affine.raw, part)
                }
                Value::Chain(chain) => (chain.raw, chain.body),
                Value::Sum(_) | Value::Pair(_) | Value::Parts { .. } => return None,
            };
            if *raw.get_or_insert(from) != from {
                return None;
            }
            parts.push(part);
        }
        let raw = raw?;
        let eight = self.dtype(raw).is_int() && self.dtype(raw).bytes() == 1;
        if !eight || self.graph.ty(raw).shape != self.graph.ty(id).shape {
            return None;
        }
        let body = quant::body(1, |b| {
            let args: Vec<Arg> = parts.iter().map(|part| b.inline(part, &[Arg::Param(0)])).collect();
            b.inline(body, &args)
        });
        Some(Chain { raw, body })
    }
}

/// The bounds that a body sets, if it does nothing else: `max` and `min` with literals, one after the other.
fn clamp(body: &Body) -> Option<(f32, f32)> {
    let mut bounds = (f32::NEG_INFINITY, f32::INFINITY);
    let mut at = Arg::Param(0);
    for (i, term) in body.terms.iter().enumerate() {
        let literal = match term.args[..] {
            [x, Arg::Literal(l)] if x == at => l,
            [Arg::Literal(l), x] if x == at => l,
            _ => return None,
        };
        let bound = literal.to_f64() as f32;
        bounds = match term.op {
            ScalarOp::Max if literal.dtype == Dtype::F32 => narrowed(bounds, (bound, f32::INFINITY)),
            ScalarOp::Min if literal.dtype == Dtype::F32 => narrowed(bounds, (f32::NEG_INFINITY, bound)),
            _ => return None,
        };
        at = Arg::Term(i as u16);
    }
    (!body.terms.is_empty() && body.result == at && !bounds.0.is_nan() && !bounds.1.is_nan()).then_some(bounds)
}

/// A sum plus floats, rounded to its steps.
fn rounded(sum: &Sum, floats: &[f32]) -> Option<Sum> {
    let open = sum.low == f32::NEG_INFINITY && sum.high == f32::INFINITY && matches!(sum.share, Share::Whole);
    if !open || !sum.scale.iter().all(|s| s.is_normal()) {
        return None;
    }
    let numbers = zip(floats, &sum.scale, |b, s| (b / s).round_ties_even() as i32);
    Some(Sum { bias: zip(&sum.bias, &numbers, |a, b| a.wrapping_add(b)), exact: false, ..sum.clone() })
}

/// The number that a body adds, if it does nothing else.
fn shift(body: &Body) -> Option<f32> {
    let [term] = &body.terms[..] else { return None };
    match (term.op, &term.args[..]) {
        (ScalarOp::Add, [Arg::Param(0), Arg::Literal(l)] | [Arg::Literal(l), Arg::Param(0)]) if body.result == Arg::Term(0) => {
            Some(l.to_f64() as f32)
        }
        _ => None,
    }
}

/// The operation of a body that joins two operands and does nothing else.
fn join(body: &Body) -> Option<ScalarOp> {
    let [term] = &body.terms[..] else { return None };
    let both = body.result == Arg::Term(0) && term.args == [Arg::Param(0), Arg::Param(1)];
    (both && matches!(term.op, ScalarOp::Add | ScalarOp::Mul)).then_some(term.op)
}
