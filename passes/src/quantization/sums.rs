//! Means and sums over quantized numbers: of whole numbers in i32, and one rounding at the end.

use super::Folder;
use super::value::{Share, Sum, Value};
use crate::oracle;
use ir::graph::op::{ReduceKind, WindowKind};
use ir::quant::{self, Zero};
use ir::scalar::{Arg, Body, Literal, ScalarOp};
use ir::{Dtype, NodeId, Op, Tensor};

impl Folder<'_> {
    pub fn sum(&mut self, id: NodeId) -> Option<Value> {
        let operands = self.graph.operands(id);
        let affine = self.affine(operands[0])?.clone();
        let affine = self.unsigned(&affine)?;
        let (scale, zero) = affine.single()?;
        let dtype = self.dtype(affine.raw);
        if !matches!(dtype, Dtype::U8 | Dtype::I8) || self.dtype(id) != Dtype::F32 {
            return None;
        }
        let (node, bias, share) = match self.graph.op(id).clone() {
            Op::Reduce { kind, axes, prologue, epilogue } if prologue.is_identity() && epilogue.is_identity() => {
                let shape = &self.graph.ty(affine.raw).shape;
                let count = axes.iter().map(|&a| shape[a].fixed()).product::<Option<i64>>()?;
                let share = match kind {
                    ReduceKind::Sum => Share::Whole,
                    ReduceKind::Mean => Share::Mean(usize::try_from(count).ok()?),
                    ReduceKind::Prod | ReduceKind::Max | ReduceKind::Min => return None,
                };
                let prologue = quant::body(1, |b| quant::centered(b, Arg::Param(0), dtype, Zero::Known(0), Dtype::I32));
                let op = Op::Reduce { kind: ReduceKind::Sum, axes, prologue, epilogue };
                (self.add(op, &[affine.raw])?, vec![(-zero * count) as i32], share)
            }
            Op::Window { kind: WindowKind::Sum, size, stride, dilation, low, high, epilogue } => {
                let share = self.share(&epilogue, &operands)?;
                let window = |epilogue: Body| Op::Window {
                    kind: WindowKind::Sum,
                    size: size.clone(),
                    stride: stride.clone(),
                    dilation: dilation.clone(),
                    low: low.clone(),
                    high: high.clone(),
                    epilogue,
                };
                let node = self.add(window(Body::identity()), &[affine.raw])?;
                let taps: usize = size.iter().product();
                let padded = low.iter().chain(&high).any(|&p| p > 0);
                if zero == 0 || !padded {
                    (node, vec![(-zero * taps as i64) as i32], share)
                } else {
                    // how many elements each window sees
                    let mut shape = self.graph.ty(affine.raw).fixed()?;
                    let last = shape.len() - 1;
                    (shape[0], shape[last]) = (1, 1);
                    let ones = Tensor::splat(Dtype::U8, &shape, &[1]);
                    let counts = self.constant(oracle::evaluate(&window(Body::identity()), &[&ones])?);
                    let body = quant::body(2, |b| {
                        let zeros = b.push(ScalarOp::Mul, &[Arg::Param(1), Arg::Literal(Literal::int(Dtype::I32, -zero))]);
                        b.push(ScalarOp::Add, &[Arg::Param(0), zeros])
                    });
                    (self.add(Op::Map { body }, &[node, counts])?, vec![0], share)
                }
            }
            _ => return None,
        };
        Some(Value::Sum(Sum { node, bias, scale: vec![scale], axis: 0, share, low: f32::NEG_INFINITY, high: f32::INFINITY, exact: true }))
    }

    /// What the epilogue of a window multiplies its sum by.
    fn share(&mut self, epilogue: &Body, operands: &[NodeId]) -> Option<Share> {
        if epilogue.is_identity() {
            return Some(Share::Whole);
        }
        let [term] = &epilogue.terms[..] else { return None };
        if term.op != ScalarOp::Mul || epilogue.result != Arg::Term(0) || term.args[0] != Arg::Param(0) {
            return None;
        }
        match term.args[1] {
            Arg::Literal(by) => {
                let by = self.constant(Tensor::splat(by.dtype, &[], &by.to_bytes()));
                Some(Share::Times(by))
            }
            // the operand has as many axes as the image, so that it can be moved along
            Arg::Param(1) => {
                let (ty, rank) = (self.graph.ty(operands[1]).clone(), self.graph.ty(operands[0]).rank());
                let shape = crate::layout::padded(&ty.shape, rank);
                let by = if ty.shape == shape { operands[1] } else { self.add(Op::Reshape { shape }, &[operands[1]])? };
                Some(Share::Times(by))
            }
            Arg::Param(_) | Arg::Term(_) => None,
        }
    }
}
