//! Convolutions and matrix products of quantized numbers: narrow operands, i32 sums. Zero points never reach the inner
//! loop: that of the data is a bias and what stands in the padding, that of the weights goes into them.

use super::Folder;
use super::value::{Affine, Share, Sum, Value};
use ir::graph::op::ReduceKind;
use ir::quant::{self, Zero, weights};
use ir::scalar::{Arg, Body, Literal, ScalarOp};
use ir::{Dtype, NodeId, Op};

fn byte(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::U8 | Dtype::I8)
}

impl Folder<'_> {
    /// The sum that a float product stands for. Err: why it stays a float product.
    pub fn product(&mut self, id: NodeId) -> Result<Option<Value>, String> {
        let operands = self.graph.operands(id);
        if self.dtype(id) != Dtype::F32 || !self.graph.op(id).epilogue().is_some_and(Body::is_identity) {
            return Ok(None);
        }
        let float = |side: &str| Err(format!("its {side} are floats"));
        let Some(x) = self.affine(operands[0]).cloned() else { return float("data") };
        let Some(w) = self.affine(operands[1]).cloned() else { return float("weights") };
        let x = self.unsigned(&x).ok_or("its data cannot be relabelled")?;
        let Some((x_scale, x_zero)) = x.single() else { return Err("its data have a scale per channel".into()) };
        if !byte(self.dtype(x.raw)) {
            return Err(format!("its data are {}", self.dtype(x.raw).name()));
        }
        let axis = channel(self.graph.op(id), self.graph.ty(operands[1]).rank());
        if w.single().is_none() && w.axis != axis {
            return Err("its weights have scales along another axis than their output channels".into());
        }
        let scale = weights::zip(&[x_scale], &w.scale, |x, w| x * w);
        let rank = self.graph.ty(id).rank();
        let is_conv = matches!(self.graph.op(id), Op::Conv { .. });
        let constant = self.graph.as_const(w.raw).cloned();
        let shape = self.graph.ty(w.raw).fixed();
        let flat = is_conv || shape.is_some_and(|s| s[..s.len() - 2].iter().all(|&n| n == 1));
        let made = match constant {
            Some(tensor) if flat || x_zero == 0 => self.by_weights(id, &x, x_zero, &tensor, &w, axis),
            _ if is_conv => return Err("its weights are computed".into()),
            _ => self.by_data(id, &x, &w),
        };
        let (node, bias) = made.ok_or("its zero points cannot be taken out")?;
        Ok(Some(Value::Sum(Sum {
            node,
            bias,
            scale,
            axis: rank - 1,
            share: Share::Whole,
            low: f32::NEG_INFINITY,
            high: f32::INFINITY,
            exact: true,
        })))
    }

    fn by_weights(
        &mut self,
        id: NodeId,
        x: &Affine,
        x_zero: i64,
        tensor: &ir::Tensor,
        w: &Affine,
        axis: usize,
    ) -> Option<(NodeId, Vec<i32>)> {
        let small = weights::centered(tensor, &w.zero, w.axis);
        let names = self.graph.node(w.raw).names.clone();
        let mut op = self.graph.op(id).clone();
        let (raw, zero, bias) = if small.dtype() == Dtype::I8 {
            let sums = if x_zero == 0 { vec![0] } else { weights::sums(&small, axis) };
            let bias = sums.into_iter().map(|s| s.wrapping_mul(-x_zero as i32)).collect();
            (x.raw, Literal::int(self.dtype(x.raw), x_zero), bias)
        } else {
            // numbers of 9 bits: both factors are as wide
            let from = self.dtype(x.raw);
            let body = quant::body(1, |b| {
                let wide = b.push(ScalarOp::Cast(Dtype::I16), &[Arg::Param(0)]);
                let zero = Arg::Literal(Literal::int(Dtype::I16, x_zero));
                if x_zero == 0 { wide } else { b.push(ScalarOp::Sub, &[wide, zero]) }
            });
            debug_assert!(byte(from));
            (self.add(Op::Map { body }, &[x.raw])?, Literal::int(Dtype::I16, 0), vec![0])
        };
        if let Op::Conv { fill, .. } = &mut op {
            *fill = zero;
        }
        let weights = self.graph.constant(small, &names);
        Some((self.add(op, &[raw, weights])?, bias))
    }

    /// Both factors are computed: `sum(a b) - za sum(b) - zb sum(a) + k za zb`.
    fn by_data(&mut self, id: NodeId, a: &Affine, b: &Affine) -> Option<(NodeId, Vec<i32>)> {
        // machines multiply u8 by i8
        let b = self.signed(b)?;
        let ((_, a_zero), (_, b_zero)) = (a.single()?, b.single()?);
        if !byte(self.dtype(b.raw)) {
            return None;
        }
        let op = self.graph.op(id).clone();
        let Op::Dot { trans_a, trans_b, .. } = op else { return None };
        let sum = self.add(op, &[a.raw, b.raw])?;
        let mut operands = vec![sum];
        let mut body = Body { params: 1, terms: Vec::new(), result: Arg::Param(0) };
        for (zero, factor, turned, last) in [(a_zero, b.raw, trans_b, trans_b), (b_zero, a.raw, trans_a, !trans_a)] {
            if zero == 0 {
                continue;
            }
            operands.push(self.sums_along_depth(factor, turned, last)?);
            let minus = Arg::Literal(Literal::int(Dtype::I32, -zero));
            let share = body.push(ScalarOp::Mul, &[Arg::Param(body.params), minus]);
            body.params += 1;
            body.result = body.push(ScalarOp::Add, &[body.result, share]);
        }
        let ty = self.graph.ty(a.raw);
        let depth = ty.shape[ty.rank() - if trans_a { 2 } else { 1 }].fixed();
        let both = match (a_zero, b_zero) {
            (0, _) | (_, 0) => 0,
            _ => (depth? * a_zero).wrapping_mul(b_zero) as i32,
        };
        let node = if operands.len() == 1 { sum } else { self.add(Op::Map { body }, &operands)? };
        Some((node, vec![both]))
    }

    /// Sums of a factor along the depth of a product, lined up with the result. `last`: the depth is the last axis.
    fn sums_along_depth(&mut self, factor: NodeId, turned: bool, last: bool) -> Option<NodeId> {
        let rank = self.graph.ty(factor).rank();
        let from = self.dtype(factor);
        let prologue = quant::body(1, |b| quant::centered(b, Arg::Param(0), from, Zero::Known(0), Dtype::I32));
        let axis = if last { rank - 1 } else { rank - 2 };
        let op = Op::Reduce { kind: ReduceKind::Sum, axes: vec![axis], prologue, epilogue: Body::identity() };
        let sums = self.add(op, &[factor])?;
        if !turned {
            return Some(sums);
        }
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 2, rank - 1);
        self.add(Op::Transpose { perm }, &[sums])
    }
}

/// The axis of the weights that counts output channels.
fn channel(op: &Op, rank: usize) -> usize {
    match op {
        Op::Dot { trans_b: true, .. } => rank - 2,
        _ => rank - 1,
    }
}
