//! What a `quantize` makes of what is known about its operand, and what a float operator gets to read.

use super::Folder;
use super::value::{Affine, Pair, Share, Sum, Value};
use ir::quant::{self, Zero};
use ir::scalar::{Arg, Body, Literal, ScalarOp};
use ir::{Dtype, NodeId, Op, Tensor};

impl Folder<'_> {
    /// The node that takes the place of a `quantize`.
    pub fn quantized(&mut self, id: NodeId) -> Option<NodeId> {
        let operands = self.graph.operands(id);
        let (scale, zero) = (self.graph.as_const(operands[1])?, self.graph.as_const(operands[2])?);
        if !scale.shape().is_empty() || scale.dtype() != Dtype::F32 || self.dtype(operands[0]) != Dtype::F32 {
            return None;
        }
        let (scale, dtype, zero) = (scale.to_f32s()[0], zero.dtype(), zero.to_i64s()[0]);
        if !(scale.is_normal() && scale > 0.0) {
            return None;
        }
        if dtype != Dtype::I8 {
            return self.demanded(operands[0], quant::Affine { dtype, scale, zero, lift: 0 });
        }
        let to = quant::Affine { dtype: Dtype::U8, scale, zero: zero + 128, lift: 128 };
        let made = match self.demanded(operands[0], to) {
            Some(made) => made,
            None => self.plain(operands[0], to)?,
        };
        let signed = self.relabelled(made)?;
        self.twins.insert(signed, made);
        Some(signed)
    }

    /// The operator itself, for a value that is a float.
    fn plain(&mut self, x: NodeId, to: quant::Affine) -> Option<NodeId> {
        let scale = self.constant(Tensor::f32s(&[], &[to.scale]));
        let zero = self.constant(Tensor::dense(to.dtype, &[], Literal::int(to.dtype, to.zero).to_bytes()));
        self.add(Op::Quantize { axis: 0, block: 0 }, &[x, scale, zero])
    }

    /// `x` in steps of `to`, if it is more than a float.
    fn demanded(&mut self, x: NodeId, to: quant::Affine) -> Option<NodeId> {
        match self.values.get(&x)?.clone() {
            Value::Affine(affine) => self.again(&affine, to),
            Value::Sum(sum) => self.requantized(&sum, to),
            Value::Chain(chain) => {
                let body = quant::body(1, |b| {
                    let x = b.inline(&chain.body, &[Arg::Param(0)]);
                    quant::quantize(b, x, literal(to.scale), Dtype::F32, Zero::Known(to.zero), to.dtype)
                });
                self.add(Op::Map { body }, &[chain.raw])
            }
            Value::Pair(pair) => self.paired(&pair, to),
            Value::Parts { axis, parts } => {
                let mut made = Vec::with_capacity(parts.len());
                for part in parts {
                    made.push(match self.demanded(part, to) {
                        Some(node) => node,
                        None => self.plain(part, to)?,
                    });
                }
                self.add(Op::Concat { axis }, &made)
            }
        }
    }

    /// Quantized numbers in other steps.
    fn again(&mut self, affine: &Affine, to: quant::Affine) -> Option<NodeId> {
        let from = if to.dtype == Dtype::U8 { self.unsigned(affine)? } else { affine.clone() };
        let (scale, zero) = from.single()?;
        let dtype = self.dtype(from.raw);
        if dtype == to.dtype && scale == to.scale && zero == to.zero {
            return Some(from.raw);
        }
        let body = quant::body(1, |b| {
            let x = quant::dequantize(b, Arg::Param(0), dtype, literal(scale), Zero::Known(zero), Dtype::F32);
            quant::quantize(b, x, literal(to.scale), Dtype::F32, Zero::Known(to.zero), to.dtype)
        });
        self.add(Op::Map { body }, &[from.raw])
    }

    fn requantized(&mut self, sum: &Sum, to: quant::Affine) -> Option<NodeId> {
        let factor: Vec<f32> = match sum.share {
            Share::Mean(count) => sum.scale.iter().map(|&s| quant::mean_factor(s, to.scale, count)).collect(),
            Share::Whole | Share::Times(_) => sum.scale.iter().map(|&s| s / to.scale).collect(),
        };
        let bounds = bounds((sum.low, sum.high), to);
        self.scaled(sum, &factor, |body, x| quant::settle(body, x, Dtype::F32, Zero::Known(to.zero), to.dtype, bounds))
    }

    /// `finish` over `(node + bias) * factor`.
    fn scaled(&mut self, sum: &Sum, factor: &[f32], finish: impl FnOnce(&mut Body, Arg) -> Arg) -> Option<NodeId> {
        let mut operands = vec![sum.node];
        let mut body = Body { params: 1, terms: Vec::new(), result: Arg::Param(0) };
        let rank = self.graph.ty(sum.node).rank();
        let behind = rank - sum.axis.min(rank) - usize::from(rank > 0);
        let column = |count: usize| [vec![count], vec![1; behind]].concat();
        let mut x = Arg::Param(0);
        if let Some(bias) = alike(&sum.bias) {
            if bias != 0 {
                x = body.push(ScalarOp::Add, &[x, Arg::Literal(Literal::int(Dtype::I32, i64::from(bias)))]);
            }
        } else {
            let bytes: Vec<u8> = sum.bias.iter().flat_map(|b| b.to_le_bytes()).collect();
            operands.push(self.constant(Tensor::dense(Dtype::I32, &column(sum.bias.len()), bytes)));
            x = body.push(ScalarOp::Add, &[x, Arg::Param(body.params)]);
            body.params += 1;
        }
        x = body.push(ScalarOp::Cast(Dtype::F32), &[x]);
        if let Share::Times(by) = sum.share {
            operands.push(by);
            x = body.push(ScalarOp::Mul, &[x, Arg::Param(body.params)]);
            body.params += 1;
        }
        let by = match alike(factor) {
            Some(factor) => literal(factor),
            None => {
                operands.push(self.constant(Tensor::f32s(&column(factor.len()), factor)));
                body.params += 1;
                Arg::Param(body.params - 1)
            }
        };
        x = body.push(ScalarOp::Mul, &[x, by]);
        body.result = finish(&mut body, x);
        self.add(Op::Map { body }, &operands)
    }

    fn paired(&mut self, pair: &Pair, to: quant::Affine) -> Option<NodeId> {
        if to.dtype.bytes() > 1 {
            return None;
        }
        let bounds = bounds((pair.low, pair.high), to);
        let body = quant::body(2, |b| {
            let args = [Arg::Param(0), Arg::Param(1)];
            if pair.op == ScalarOp::Add { quant::add(b, args, pair.from, to, bounds) } else { quant::mul(b, args, pair.from, to, bounds) }
        });
        self.add(Op::Map { body }, &pair.raw)
    }

    /// What reads a value as floats reads this. `None`: the node that has the value is the float.
    pub fn float_form(&mut self, id: NodeId, value: &Value) -> Option<NodeId> {
        match value {
            Value::Affine(affine) => {
                let dtype = self.dtype(affine.raw);
                let shape: &[usize] = if affine.scale.len() == 1 { &[] } else { &[affine.scale.len()] };
                let bytes: Vec<u8> = affine.zero.iter().flat_map(|&z| Literal::int(dtype, z).to_bytes()).collect();
                let zero = self.constant(Tensor::dense(dtype, shape, bytes));
                let scale = self.constant(Tensor::f32s(shape, &affine.scale));
                self.add(Op::Dequantize { axis: affine.axis, block: 0 }, &[affine.raw, scale, zero])
            }
            // moved and bounded sums are what they are: floats that come from a product's float form
            Value::Sum(sum) => match self.graph.op(id) {
                Op::Dot { .. } | Op::Conv { .. } => self.scaled(sum, &sum.scale.clone(), |_, x| x),
                Op::Map { .. } if sum.exact && sum.low == f32::NEG_INFINITY && sum.high == f32::INFINITY => {
                    self.scaled(sum, &sum.scale.clone(), |_, x| x)
                }
                _ => None,
            },
            Value::Chain(_) | Value::Pair(_) | Value::Parts { .. } => None,
        }
    }
}

fn literal(value: f32) -> Arg {
    Arg::Literal(Literal::f32(value))
}

/// The one number that a list repeats.
fn alike<T: Copy + PartialEq>(list: &[T]) -> Option<T> {
    let first = *list.first()?;
    list.iter().all(|&v| v == first).then_some(first)
}

/// The quantized numbers between two floats: rounding keeps the order, so that bounds may be set behind it.
fn bounds((low, high): (f32, f32), to: quant::Affine) -> (i64, i64) {
    let (least, most) = quant::range(to.dtype);
    let number = |bound: f32| {
        let steps = (bound / to.scale).round_ties_even();
        (steps as i64).saturating_add(to.zero).clamp(least, most)
    };
    (number(low), number(high))
}
