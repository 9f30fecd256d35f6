//! Transposes move down through the graph until they meet their opposite. The importer writes a pair around
//! every channels-first operator; after this, what is left stands at inputs and outputs, or was there in
//! earnest.

use crate::layout::{inverse, is_one, only_ones_move, padded, pick, segments, volume};
use crate::rule::{Builder, Match, Rule, Val, near};
use ir::{Dim, Graph, NodeId, Op, Tensor};

fn perm_of(graph: &Graph, id: NodeId) -> Option<&[usize]> {
    match graph.op(id) {
        Op::Transpose { perm } => Some(perm),
        _ => None,
    }
}

/// Whether a transpose moves no element.
fn idle(graph: &Graph, id: NodeId) -> bool {
    perm_of(graph, id).is_some_and(|perm| only_ones_move(perm, &graph.ty(graph.operands(id)[0]).shape))
}

/// An operand as it must be when the result's axes are those below a transpose by `perm`, and what moving it
/// costs in elements. It broadcasts against a result of `perm.len()` axes.
fn bring(b: &mut Builder, graph: &Graph, operand: NodeId, perm: &[usize]) -> Option<(Val, i64)> {
    let back = inverse(perm);
    let shape = &graph.ty(operand).shape;
    if shape.iter().all(is_one) && shape.len() <= perm.len() {
        return Some((Val::Old(operand), 0));
    }
    let wide = padded(shape, perm.len());
    if let Some(below) = perm_of(graph, operand).filter(|p| p.len() == perm.len()) {
        let joined: Vec<usize> = pick(below, &back);
        let source = graph.operands(operand)[0];
        let free = only_ones_move(&joined, &graph.ty(source).shape);
        let value = b.transpose(Val::Old(source), &joined)?;
        return Some((value, if free { 0 } else { volume(graph, &wide) }));
    }
    let free = graph.as_const(operand).is_some() || only_ones_move(&back, &wide);
    let value = b.reshape(Val::Old(operand), &wide)?;
    let value = b.transpose(value, &back)?;
    Some((value, if free { 0 } else { volume(graph, &wide) }))
}

pub const SINK_TRANSPOSE: Rule = Rule {
    name: "sink_transpose",
    about: "an operator on transposed operands is transposed itself instead",
    root: |op| match op {
        Op::Map { .. }
        | Op::Concat { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Reduce { .. }
        | Op::ArgReduce { .. }
        | Op::Cumulate { .. }
        | Op::Sort { .. }
        | Op::Softmax { .. }
        | Op::Norm { .. }
        | Op::Resize { .. }
        | Op::Gather { .. } => true,
        Op::Input { .. }
        | Op::Const { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Expand { .. }
        | Op::Dot { .. }
        | Op::Conv { .. }
        | Op::Window { .. }
        | Op::Attention { .. }
        | Op::Compact { .. }
        | Op::Suppress { .. }
        | Op::Scatter { .. }
        | Op::Quantize { .. }
        | Op::Dequantize { .. }
        | Op::Scan { .. }
        | Op::Take { .. } => false,
    },
    at: |graph, id| {
        let operands = graph.operands(id);
        let rank = graph.ty(id).rank();
        let level = matches!(graph.op(id), Op::Map { .. } | Op::Concat { .. });
        if !level {
            return sink(graph, id, &operands, operands[0]);
        }
        let mut tried: Vec<&[usize]> = Vec::new();
        let mut missed = None;
        for &o in &operands {
            let Some(perm) = perm_of(graph, o).filter(|p| p.len() == rank && !tried.contains(p)) else { continue };
            tried.push(perm);
            match sink(graph, id, &operands, o) {
                Some(Match::Near(why)) => missed = Some(Match::Near(why)),
                Some(fire) => return Some(fire),
                None => {}
            }
        }
        missed
    },
};

/// Sinks the transpose `top`, an operand of `id`, and those like it.
fn sink(graph: &Graph, id: NodeId, operands: &[NodeId], top: NodeId) -> Option<Match> {
    let perm = perm_of(graph, top)?.to_vec();
    let op = graph.op(id);
    let back = inverse(&perm);
    let mut b = Builder::new(graph, &[id]);
    let below = graph.operands(top)[0];
    let mut out_perm = perm.clone();
    let (new, moved): (Op, Vec<NodeId>) = match op {
        Op::Map { .. } => (op.clone(), operands.to_vec()),
        Op::Concat { axis } => (Op::Concat { axis: perm[*axis] }, operands.to_vec()),
        Op::Slice { start, step, size } => {
            (Op::Slice { start: pick(start, &back), step: pick(step, &back), size: pick(size, &back) }, vec![top])
        }
        Op::Pad { low, high, mode, value } => {
            (Op::Pad { low: pick(low, &back), high: pick(high, &back), mode: *mode, value: *value }, vec![top])
        }
        Op::Reduce { kind, axes, prologue, epilogue } => {
            let mut axes: Vec<usize> = axes.iter().map(|&a| perm[a]).collect();
            axes.sort();
            (Op::Reduce { kind: *kind, axes, prologue: prologue.clone(), epilogue: epilogue.clone() }, operands.to_vec())
        }
        Op::Norm { axes, epsilon, center, prologue, epilogue } => {
            let mut axes: Vec<usize> = axes.iter().map(|&a| perm[a]).collect();
            axes.sort();
            let (prologue, epilogue) = (prologue.clone(), epilogue.clone());
            (Op::Norm { axes, epsilon: *epsilon, center: *center, prologue, epilogue }, operands.to_vec())
        }
        Op::ArgReduce { kind, axis, last } => (Op::ArgReduce { kind: *kind, axis: perm[*axis], last: *last }, vec![top]),
        Op::Cumulate { kind, axis, exclusive, reverse } => {
            (Op::Cumulate { kind: *kind, axis: perm[*axis], exclusive: *exclusive, reverse: *reverse }, vec![top])
        }
        Op::Sort { axis, descending } => (Op::Sort { axis: perm[*axis], descending: *descending }, vec![top]),
        Op::Softmax { axis, log, prologue, epilogue } => {
            let (prologue, epilogue) = (prologue.clone(), epilogue.clone());
            (Op::Softmax { axis: perm[*axis], log: *log, prologue, epilogue }, operands.to_vec())
        }
        Op::Resize { mode, coordinate, scale, roi, shape, antialias, exclude_outside, extrapolation } => {
            let rank = perm.len();
            let roi = if roi.is_empty() { Vec::new() } else { [pick(&roi[..rank], &back), pick(&roi[rank..], &back)].concat() };
            let new = Op::Resize {
                mode: *mode,
                coordinate: *coordinate,
                scale: pick(scale, &back),
                roi,
                shape: pick(shape, &back),
                antialias: *antialias,
                exclude_outside: *exclude_outside,
                extrapolation: *extrapolation,
            };
            (new, vec![top])
        }
        Op::Gather { axis } => {
            if volume(graph, &graph.ty(id).shape) > volume(graph, &graph.ty(top).shape) {
                return near("the gather makes more to transpose");
            }
            out_perm = gathered(&perm, *axis, graph.ty(operands[1]).rank());
            let value = b.add(Op::Gather { axis: perm[*axis] }, &[Val::Old(below), Val::Old(operands[1])])?;
            return transposed(b, graph, id, top, value, &out_perm);
        }
        Op::Input { .. }
        | Op::Const { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Expand { .. }
        | Op::Dot { .. }
        | Op::Conv { .. }
        | Op::Window { .. }
        | Op::Attention { .. }
        | Op::Compact { .. }
        | Op::Suppress { .. }
        | Op::Scatter { .. }
        | Op::Quantize { .. }
        | Op::Dequantize { .. }
        | Op::Scan { .. }
        | Op::Take { .. } => return None,
    };
    let (mut values, mut gain, mut cost) = (Vec::with_capacity(moved.len()), 0i64, 0i64);
    let mut others = false;
    for &operand in &moved {
        if perm_of(graph, operand) == Some(perm.as_slice()) {
            if !idle(graph, operand) {
                gain = gain.saturating_add(volume(graph, &graph.ty(operand).shape));
            }
            values.push(Val::Old(graph.operands(operand)[0]));
            continue;
        }
        others |= graph.as_const(operand).is_none();
        let (value, price) = bring(&mut b, graph, operand, &perm)?;
        cost = cost.saturating_add(price);
        values.push(value);
    }
    if cost > 0 && cost >= gain {
        return near("transposing the other operands costs more than it saves");
    }
    if gain == 0 && others {
        // nothing moves, and the others would be reshaped for it
        return None;
    }
    let value = b.add(new, &values)?;
    transposed(b, graph, id, top, value, &out_perm)
}

fn transposed(mut b: Builder, graph: &Graph, id: NodeId, top: NodeId, value: Val, perm: &[usize]) -> Option<Match> {
    let value = b.from(&[top]).add(Op::Transpose { perm: perm.to_vec() }, &[value])?;
    debug_assert_eq!(b.ty(value), graph.ty(id));
    b.replace(id, value)
}

/// The permutation behind a gather along `axis` of what `perm` transposed, by indices of `rank` axes.
fn gathered(perm: &[usize], axis: usize, rank: usize) -> Vec<usize> {
    let source = perm[axis];
    // where axis `j` of the transpose's operand lands in the new gather's result
    let place = |j: usize| if j > source { j + rank - 1 } else { j };
    let mut out = Vec::new();
    for (i, &p) in perm.iter().enumerate() {
        if i == axis {
            out.extend((0..rank).map(|k| source + k));
        } else {
            out.push(if p > source { place(p) } else { p });
        }
    }
    out
}

pub const SINK_TRANSPOSE_RESHAPE: Rule = Rule {
    name: "sink_transpose_reshape",
    about: "a reshape that keeps together what a transpose moved comes before it",
    root: |op| matches!(op, Op::Reshape { .. }),
    at: |graph, id| {
        let top = graph.operands(id)[0];
        let perm = perm_of(graph, top)?;
        let source = graph.operands(top)[0];
        let (from, to) = (&graph.ty(top).shape, &graph.ty(id).shape);
        if only_ones_move(perm, &graph.ty(source).shape) {
            let mut b = Builder::new(graph, &[id]);
            let value = b.add(Op::Reshape { shape: to.clone() }, &[Val::Old(source)])?;
            return b.replace(id, value);
        }
        // where each axis that counts stands among those of the source that count
        let source_shape = &graph.ty(source).shape;
        let place = |axis: usize| source_shape[..axis].iter().filter(|d| !is_one(d)).count();
        let mut groups = Vec::new();
        let mut last = 0;
        for (f, t) in segments(from, to)? {
            let places: Vec<usize> = f.clone().filter(|&i| !is_one(&from[i])).map(|i| place(perm[i])).collect();
            if places.windows(2).any(|w| w[1] != w[0] + 1) {
                return near("the reshape joins axes that the transpose brought together");
            }
            last = places.first().copied().unwrap_or(last);
            groups.push((last, t));
        }
        let mut sorted: Vec<usize> = (0..groups.len()).collect();
        sorted.sort_by_key(|&g| groups[g].0);
        let axes: Vec<usize> = sorted.iter().flat_map(|&g| groups[g].1.clone()).collect();
        let shape = pick(to, &axes);
        let mut b = Builder::new(graph, &[id]);
        let value = b.reshape(Val::Old(source), &shape)?;
        let value = b.from(&[top]).transpose(value, &inverse(&axes))?;
        b.replace(id, value)
    },
};

pub const LIFT_TRANSPOSE: Rule = Rule {
    name: "lift_transpose",
    about: "two transposes with a reshape between them become one before it; needs the reshape unshared",
    root: |op| matches!(op, Op::Transpose { .. }),
    at: |graph, id| {
        let perm = perm_of(graph, id)?;
        let reshape = graph.operands(id)[0];
        let Op::Reshape { shape: middle } = graph.op(reshape) else { return None };
        let above = graph.operands(reshape)[0];
        let first = perm_of(graph, above)?;
        if graph.use_count(reshape) != 1 {
            return near("the reshape between the transposes has other users");
        }
        let from = &graph.ty(above).shape;
        let groups = segments(from, middle)?;
        // the order in which the groups come out; each must come out whole
        let mut order: Vec<usize> = Vec::new();
        let mut inside: Vec<usize> = Vec::new();
        for &axis in perm.iter() {
            let group = groups.iter().position(|(_, t)| t.contains(&axis))?;
            if order.last() != Some(&group) {
                if order.contains(&group) {
                    return near("the second transpose parts what the reshape split");
                }
                order.push(group);
                inside.push(axis);
            } else if *inside.last()? + 1 != axis {
                return near("the second transpose parts what the reshape split");
            } else {
                *inside.last_mut()? = axis;
            }
        }
        let whole = order.iter().zip(&inside).all(|(&g, &last)| last + 1 == groups[g].1.end);
        let starts = perm.iter().enumerate().all(|(i, &axis)| {
            let fresh = i == 0 || !groups.iter().any(|(_, t)| t.contains(&axis) && t.contains(&perm[i - 1]));
            !fresh || groups.iter().any(|(_, t)| t.start == axis)
        });
        if !whole || !starts {
            return near("the second transpose parts what the reshape split");
        }
        // groups that lost all their axes hold ones only, and may stand anywhere
        order.extend((0..groups.len()).filter(|g| groups[*g].1.is_empty()));
        let axes: Vec<usize> = order.iter().flat_map(|&g| groups[g].0.clone()).collect();
        let joined = pick(first, &axes);
        let mut b = Builder::new(graph, &[above, id]);
        let value = b.transpose(Val::Old(graph.operands(above)[0]), &joined)?;
        let value = b.from(&[reshape]).reshape(value, &graph.ty(id).shape)?;
        b.replace(id, value)
    },
};

pub const TRANSPOSE_INTO_DOT: Rule = Rule {
    name: "transpose_into_dot",
    about: "a dot reads a factor with its last two axes swapped, so that the innermost axis lies still",
    root: |op| matches!(op, Op::Dot { .. }),
    at: |graph, id| {
        let Op::Dot { trans_a, trans_b, epilogue } = graph.op(id) else { return None };
        let mut operands: Vec<Val> = graph.operands(id).into_iter().map(Val::Old).collect();
        for slot in 0..2 {
            let factor = graph.operands(id)[slot];
            let Some(perm) = perm_of(graph, factor) else { continue };
            let rank = perm.len();
            if perm[rank - 2] != rank - 1 {
                continue;
            }
            let mut perm = perm.to_vec();
            perm.swap(rank - 2, rank - 1);
            let mut b = Builder::new(graph, &[factor]);
            operands[slot] = b.transpose(Val::Old(graph.operands(factor)[0]), &perm)?;
            let op = Op::Dot { trans_a: *trans_a != (slot == 0), trans_b: *trans_b != (slot == 1), epilogue: epilogue.clone() };
            let value = b.from(&[id]).add(op, &operands)?;
            return b.replace(id, value);
        }
        None
    },
};

/// Bytes of weights that may be kept in a second order since another node still reads the first.
const COPY: usize = 1 << 20;

pub const FLATTEN_INTO_DOT: Rule = Rule {
    name: "flatten_into_dot",
    about: "a transpose before a flatten goes into the rows of the constant weights behind it, on each path of a concat",
    root: |op| matches!(op, Op::Dot { .. }),
    at: |graph, id| {
        let Op::Dot { trans_a: false, trans_b, .. } = graph.op(id) else { return None };
        let operands = graph.operands(id);
        let left = operands[0];
        let axis = graph.ty(left).rank() - 1;
        let pieces = match graph.op(left) {
            Op::Concat { axis: a } if *a == axis => graph.operands(left),
            _ => vec![left],
        };
        let flat: Vec<Option<Flat>> = pieces.iter().map(|&p| flattened(graph, p)).collect();
        if flat.iter().all(Option::is_none) {
            return None;
        }
        let Some(weights) = graph.as_const(operands[1]) else { return near("the weights are not constant") };
        if graph.ty(operands[1]).rank() != 2 {
            return near("the weights are not one matrix");
        }
        if graph.use_count(operands[1]) > 1 && weights.elements() * weights.dtype().bytes() > COPY {
            return near("the weights have other users");
        }
        let rows = if *trans_b { weights.permute(&[1, 0]) } else { weights.clone() };
        let (mut b, mut at, mut parts, mut values) = (Builder::new(graph, &[id]), 0, Vec::new(), Vec::new());
        for (&piece, flat) in pieces.iter().zip(&flat) {
            let count = usize::try_from(graph.ty(piece).shape[axis].fixed()?).ok()?;
            let part = rows.slice(&[at, 0], &[1, 1], &[count, rows.shape()[1]]);
            at += count;
            match flat {
                Some(flat) => {
                    parts.push(flat.permute_rows(&part));
                    values.push(b.reshape(Val::Old(flat.source), &graph.ty(piece).shape)?);
                }
                None => {
                    parts.push(part);
                    values.push(Val::Old(piece));
                }
            }
        }
        let mut factor = match parts.len() {
            1 => parts.remove(0),
            _ => {
                let bytes: Vec<u8> = parts.iter().flat_map(|p| p.bytes()).collect();
                Tensor::dense(rows.dtype(), rows.shape(), bytes)
            }
        };
        if *trans_b {
            factor = factor.permute(&[1, 0]);
        }
        let lhs = match values.len() {
            1 => values[0],
            _ => b.from(&[left]).add(Op::Concat { axis }, &values)?,
        };
        let weights = b.constant(factor, Some(operands[1]));
        let mut all = vec![lhs, weights];
        all.extend(operands[2..].iter().map(|&o| Val::Old(o)));
        let value = b.from(&[id]).add(graph.op(id).clone(), &all)?;
        b.replace(id, value)
    },
};

/// A value whose last axis holds axes of `source` in another order.
struct Flat {
    source: NodeId,
    /// Sizes of the axes in the last one, as they stand there.
    sizes: Vec<usize>,
    /// Their order in the source.
    order: Vec<usize>,
}

impl Flat {
    /// Rows in the order of the source.
    fn permute_rows(&self, rows: &Tensor) -> Tensor {
        let columns = rows.shape()[1];
        let mut shape = self.sizes.clone();
        shape.push(columns);
        let mut perm = self.order.clone();
        perm.push(self.sizes.len());
        rows.reshape(&shape).permute(&perm).reshape(rows.shape())
    }
}

/// `reshape(transpose(source))` where the transpose moves things within the last axis of the result only.
fn flattened(graph: &Graph, id: NodeId) -> Option<Flat> {
    let Op::Reshape { shape: to } = graph.op(id) else { return None };
    let top = graph.operands(id)[0];
    let perm = perm_of(graph, top)?;
    let source = graph.operands(top)[0];
    let from: &[Dim] = &graph.ty(top).shape;
    let mut groups = segments(from, to)?;
    // ones behind the last axis belong to it
    let at = groups.iter().position(|(_, t)| t.end == to.len() && !t.is_empty())?;
    let inner = groups[at].0.start..groups.last()?.0.end;
    if groups[at].1.len() != 1 {
        return None;
    }
    groups.truncate(at);
    // what stays outside keeps its order and lies outside in the source as well
    let outer: Vec<usize> = (0..inner.start).filter(|&i| !is_one(&from[i])).map(|i| perm[i]).collect();
    let within: Vec<usize> = inner.clone().filter(|&i| !is_one(&from[i])).map(|i| perm[i]).collect();
    let ascending = outer.windows(2).all(|w| w[0] < w[1]);
    if !ascending || outer.iter().max() > within.iter().min() || within.windows(2).all(|w| w[0] < w[1]) {
        return None;
    }
    let sizes = ir::dim::fixed(&pick(from, &inner.clone().collect::<Vec<_>>()))?;
    let mut order: Vec<usize> = (0..inner.len()).collect();
    order.sort_by_key(|&i| perm[inner.start + i]);
    Some(Flat { source, sizes, order })
}

pub const TRANSPOSE_TO_RESHAPE: Rule = Rule {
    name: "transpose_to_reshape",
    about: "a transpose that moves axes of size 1 only is a reshape",
    root: |op| matches!(op, Op::Transpose { .. }),
    at: |graph, id| {
        if !idle(graph, id) {
            return None;
        }
        let mut b = Builder::new(graph, &[id]);
        let value = b.add(Op::Reshape { shape: graph.ty(id).shape.clone() }, &[Val::Old(graph.operands(id)[0])])?;
        b.replace(id, value)
    },
};
