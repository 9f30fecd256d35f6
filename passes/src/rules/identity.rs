//! Nodes that do nothing go: their users take the operand itself. Pairs of movements become one.

use crate::layout::{is_identity, is_one};
use crate::rule::{Builder, Rule, Val, near};
use ir::graph::infer::window_type;
use ir::graph::op::{Coordinate, PadMode, ReduceKind, WindowKind};
use ir::scalar::{Literal, ScalarOp};
use ir::{Body, Dim, NodeId, Op};

pub const DROP_NO_OP: Rule = Rule {
    name: "drop_no_op",
    about: "an operator that gives back its operand goes",
    root: |op| !matches!(op, Op::Input { .. } | Op::Const { .. }),
    at: |graph, id| {
        let operands = graph.operands(id);
        let first = *operands.first()?;
        let shape = &graph.ty(first).shape;
        let same = match graph.op(id) {
            Op::Reshape { shape: to } | Op::Expand { shape: to } => to == shape,
            Op::Transpose { perm } => is_identity(perm),
            Op::Slice { start, step, size } => size == shape && start.iter().all(|s| s.fixed() == Some(0)) && step.iter().all(|&s| s == 1),
            Op::Pad { low, high, .. } => low.iter().chain(high).all(|d| d.fixed() == Some(0)),
            Op::Concat { .. } => operands.len() == 1,
            Op::Map { body } => body.is_identity(),
            Op::Resize { scale, coordinate, shape: to, .. } => {
                to == shape && scale.iter().all(|s| s.0 == 1.0) && *coordinate != Coordinate::TfCropAndResize
            }
            Op::Input { .. }
            | Op::Const { .. }
            | Op::Gather { .. }
            | Op::Dot { .. }
            | Op::Conv { .. }
            | Op::Window { .. }
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
            | Op::Softmax { .. }
            | Op::Attention { .. }
            | Op::Norm { .. } => false,
        };
        if !same {
            return None;
        }
        Builder::new(graph, &[]).replace(id, Val::Old(first))
    },
};

pub const CONCAT_DROP_EMPTY: Rule = Rule {
    name: "concat_drop_empty",
    about: "operands without elements leave a concat",
    root: |op| matches!(op, Op::Concat { .. }),
    at: |graph, id| {
        let Op::Concat { axis } = graph.op(id) else { return None };
        let operands = graph.operands(id);
        let full: Vec<Val> = operands.iter().filter(|&&o| graph.ty(o).shape[*axis].fixed() != Some(0)).map(|&o| Val::Old(o)).collect();
        if full.is_empty() || full.len() == operands.len() {
            return None;
        }
        let mut b = Builder::new(graph, &[id]);
        let value = b.add(Op::Concat { axis: *axis }, &full)?;
        b.replace(id, value)
    },
};

pub const REDUCE_OF_ONES: Rule = Rule {
    name: "reduce_of_ones",
    about: "a reduction over axes of size 1 is a map, a window of one element too",
    root: |op| matches!(op, Op::Reduce { .. } | Op::Window { .. }),
    at: |graph, id| {
        let operands = graph.operands(id);
        let ty = graph.ty(operands[0]);
        let (prologue, epilogue) = match graph.op(id) {
            Op::Reduce { axes, prologue, epilogue, .. } if axes.iter().all(|&a| is_one(&ty.shape[a])) => (prologue.clone(), epilogue),
            Op::Window { kind, size, stride, low, high, epilogue, .. } => {
                let plain = size.iter().chain(stride).all(|&n| n == 1) && low.iter().chain(high).all(|&n| n == 0);
                if !plain {
                    return None;
                }
                // sums of bytes are wider than they are
                let sum = ir::graph::infer::window_type(*kind, ty.dtype);
                let own = if sum == ty.dtype { Body::identity() } else { Body::of(ir::scalar::ScalarOp::Cast(sum)) };
                (own, epilogue)
            }
            _ => return None,
        };
        let mut body = Body { params: operands.len() as u8, terms: Vec::new(), result: ir::scalar::Arg::Param(0) };
        let own = body.inline(&prologue, &[ir::scalar::Arg::Param(0)]);
        let args: Vec<ir::scalar::Arg> = std::iter::once(own).chain((1..operands.len() as u8).map(ir::scalar::Arg::Param)).collect();
        body.result = body.inline(epilogue, &args);
        let mut b = Builder::new(graph, &[id]);
        let operands: Vec<Val> = operands.into_iter().map(Val::Old).collect();
        let value = b.add(Op::Map { body }, &operands)?;
        b.replace(id, value)
    },
};

pub const MERGE_MOVES: Rule = Rule {
    name: "merge_moves",
    about: "reshape of reshape, transpose of transpose, slice of slice, expand of expand are one",
    root: |op| matches!(op, Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Expand { .. }),
    at: |graph, id| {
        let middle = graph.operands(id)[0];
        let inner = *graph.operands(middle).first()?;
        let op = match (graph.op(id), graph.op(middle)) {
            (Op::Reshape { shape }, Op::Reshape { .. }) => Op::Reshape { shape: shape.clone() },
            (Op::Expand { shape }, Op::Expand { .. }) => Op::Expand { shape: shape.clone() },
            (Op::Transpose { perm }, Op::Transpose { perm: below }) => Op::Transpose { perm: perm.iter().map(|&p| below[p]).collect() },
            (Op::Slice { start, step, size }, Op::Slice { start: below, step: stride, .. }) => {
                let start = start.iter().zip(below).zip(stride).map(|((s, b), &k)| b.clone() + s.clone() * Dim::from(k));
                let step = step.iter().zip(stride).map(|(a, b)| a * b).collect();
                Op::Slice { start: start.collect(), step, size: size.clone() }
            }
            _ => return None,
        };
        let mut b = Builder::new(graph, &[middle, id]);
        let value = b.add(op, &[Val::Old(inner)])?;
        b.replace(id, value)
    },
};

pub const MERGE_CONCATS: Rule = Rule {
    name: "merge_concats",
    about: "a concat inside a concat along the same axis is part of it; the inner one must be unshared",
    root: |op| matches!(op, Op::Concat { .. }),
    at: |graph, id| {
        let Op::Concat { axis } = graph.op(id) else { return None };
        let inside = |o: NodeId| matches!(graph.op(o), Op::Concat { axis: a } if a == axis);
        let operands = graph.operands(id);
        if !operands.iter().any(|&o| inside(o)) {
            return None;
        }
        if !operands.iter().any(|&o| inside(o) && graph.use_count(o) == 1) {
            return near("the inner concat has other users");
        }
        let mut from = Vec::new();
        let mut all = Vec::new();
        for o in operands {
            if inside(o) && graph.use_count(o) == 1 {
                from.push(o);
                all.extend(graph.operands(o).into_iter().map(Val::Old));
            } else {
                all.push(Val::Old(o));
            }
        }
        from.push(id);
        let mut b = Builder::new(graph, &from);
        let value = b.add(Op::Concat { axis: *axis }, &all)?;
        b.replace(id, value)
    },
};

pub const SLICE_OF_CONCAT: Rule = Rule {
    name: "slice_of_concat",
    about: "a slice that lies within one operand of a concat is a slice of that operand",
    root: |op| matches!(op, Op::Slice { .. }),
    at: |graph, id| {
        let Op::Slice { start, step, size } = graph.op(id) else { return None };
        let concat = graph.operands(id)[0];
        let Op::Concat { axis } = graph.op(concat) else { return None };
        let (first, count, by) = (start[*axis].fixed()?, size[*axis].fixed()?, step[*axis]);
        if count == 0 {
            return None;
        }
        let last = first + (count - 1) * by;
        let mut at = 0;
        for piece in graph.operands(concat) {
            let extent = graph.ty(piece).shape[*axis].fixed()?;
            if first.min(last) >= at && first.max(last) < at + extent {
                let mut start = start.clone();
                start[*axis] = Dim::from(first - at);
                let mut b = Builder::new(graph, &[id]);
                let value = b.add(Op::Slice { start, step: step.clone(), size: size.clone() }, &[Val::Old(piece)])?;
                return b.replace(id, value);
            }
            at += extent;
        }
        near("the slice crosses a seam of the concat")
    },
};

pub const GATHER_TO_SLICE: Rule = Rule {
    name: "gather_to_slice",
    about: "a gather at constant indices in even steps is a slice",
    root: |op| matches!(op, Op::Gather { .. }),
    at: |graph, id| {
        let Op::Gather { axis } = graph.op(id) else { return None };
        let [data, indices] = graph.operands(id)[..] else { return None };
        let tensor = graph.as_const(indices)?;
        let shape = graph.ty(data).shape.clone();
        let extent = shape[*axis].fixed()?;
        if tensor.elements() == 0 || tensor.elements() > 1 << 16 {
            return None;
        }
        let at: Vec<i64> = tensor.to_i64s().into_iter().map(|i| if i < 0 { i + extent } else { i }).collect();
        let by = if at.len() > 1 { at[1] - at[0] } else { 1 };
        let even = by != 0 && at.windows(2).all(|w| w[1] - w[0] == by) && at.iter().all(|i| (0..extent).contains(i));
        if !even {
            return near("the indices are not in even steps within the axis");
        }
        let rank = shape.len();
        let (mut start, mut step, mut size) = (vec![Dim::from(0i64); rank], vec![1; rank], shape);
        start[*axis] = Dim::from(at[0]);
        step[*axis] = by;
        size[*axis] = Dim::from(at.len());
        let mut b = Builder::new(graph, &[id]);
        let value = b.add(Op::Slice { start, step, size }, &[Val::Old(data)])?;
        let value = b.reshape(value, &graph.ty(id).shape)?;
        b.replace(id, value)
    },
};

pub const WINDOW_TO_REDUCE: Rule = Rule {
    name: "window_to_reduce",
    about: "a window that sees all of its input once is a reduction",
    root: |op| matches!(op, Op::Window { .. }),
    at: |graph, id| {
        let Op::Window { kind: from, size, dilation, low, high, epilogue, .. } = graph.op(id) else { return None };
        let operands = graph.operands(id);
        let shape = &graph.ty(operands[0]).shape;
        let spatial = size.len();
        let whole = (0..spatial)
            .all(|i| shape[i + 1].fixed() == Some(size[i] as i64) && low[i] == 0 && high[i] == 0 && (dilation[i] == 1 || size[i] == 1));
        if !whole || size.iter().all(|&n| n == 1) {
            return None;
        }
        let kind = match from {
            WindowKind::Max => ReduceKind::Max,
            WindowKind::Sum => ReduceKind::Sum,
        };
        // a reduction adds in the type that its prologue gives
        let dtype = graph.ty(operands[0]).dtype;
        let prologue = match window_type(*from, dtype) {
            sum if sum == dtype => Body::identity(),
            sum => Body::of(ScalarOp::Cast(sum)),
        };
        let op = Op::Reduce { kind, axes: (1..=spatial).collect(), prologue, epilogue: epilogue.clone() };
        let mut b = Builder::new(graph, &[id]);
        let operands: Vec<Val> = operands.into_iter().map(Val::Old).collect();
        let value = b.add(op, &operands)?;
        b.replace(id, value)
    },
};

pub const PAD_INTO_CONV: Rule = Rule {
    name: "pad_into_conv",
    about: "a constant pad of spatial axes becomes the padding of the convolution or window behind it",
    root: |op| matches!(op, Op::Conv { .. } | Op::Window { .. }),
    at: |graph, id| {
        let operands = graph.operands(id);
        let pad = operands[0];
        let Op::Pad { low: before, high: behind, mode, value } = graph.op(pad) else { return None };
        if *mode != PadMode::Constant {
            return near("the pad repeats elements");
        }
        let mut op = graph.op(id).clone();
        let (low, high, fill) = match &mut op {
            Op::Conv { low, high, inflate, fill, .. } => {
                if inflate.iter().any(|&n| n != 1) {
                    return near("the convolution spreads its input first");
                }
                (low, high, fill.to_f64())
            }
            Op::Window { low, high, kind: WindowKind::Sum, .. } => (low, high, 0.0),
            Op::Window { low, high, kind: WindowKind::Max, .. } => (low, high, least(*value)),
            _ => return None,
        };
        if value.to_f64() != fill {
            return near(format!("the pad fills with {}, the operator with {fill}", value.to_f64()));
        }
        let spatial = low.len();
        for (i, d) in before.iter().enumerate() {
            let outside = i == 0 || i == spatial + 1;
            let (Some(a), Some(b)) = (d.fixed(), behind[i].fixed()) else { return near("the pad has a symbolic size") };
            if outside && (a, b) != (0, 0) {
                return near("the pad widens the batch or the channels");
            }
            if !outside {
                if low[i - 1] < 0 || high[i - 1] < 0 {
                    return near("the convolution crops");
                }
                low[i - 1] += a;
                high[i - 1] += b;
            }
        }
        let mut b = Builder::new(graph, &[pad, id]);
        let mut operands: Vec<Val> = operands.into_iter().map(Val::Old).collect();
        operands[0] = Val::Old(graph.operands(pad)[0]);
        let value = b.add(op, &operands)?;
        b.replace(id, value)
    },
};

/// What stands in the padding of a window that takes the largest.
fn least(like: Literal) -> f64 {
    match like.dtype.int_range() {
        Some((low, _)) => low as f64,
        None => f64::NEG_INFINITY,
    }
}

pub const SHARE_EQUAL: Rule = Rule {
    name: "share_equal",
    about: "two nodes that compute the same are one",
    root: |op| !matches!(op, Op::Input { .. } | Op::Const { .. }),
    at: |graph, id| {
        let operands = graph.operands(id);
        let twin = graph
            .uses(*operands.first()?)
            .into_iter()
            .map(|(user, _)| user)
            .find(|&user| user < id && graph.op(user) == graph.op(id) && graph.operands(user) == operands)?;
        Builder::new(graph, &[]).replace(id, Val::Old(twin))
    },
};
