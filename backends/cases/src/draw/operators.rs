//! One function per family of tensor operators: draws attributes and operands for it.

use ir::graph::op::{ArgKind, Coordinate, CumulateKind, Op, PadMode, Real, ReduceKind, ResizeMode, ScatterKind, WindowKind};
use ir::scalar::{Literal, ScalarOp};
use ir::{Body, Dtype, NodeId, Tensor, dim};

use super::{Drawing, bodies};

/// Adds one operator over values that are there; `None` when what was drawn does not fit.
pub fn step(d: &mut Drawing) -> Option<NodeId> {
    let x = d.value(|_, _| true)?;
    type Family = fn(&mut Drawing, NodeId) -> Option<NodeId>;
    const FAMILIES: [Family; 20] = [
        map, map, map, map, transpose, transpose, reshape, slice, pad, concat, expand, gather, dot, dot, conv, conv, window, reduce, along,
        scatter,
    ];
    match d.dice.below(FAMILIES.len() + 3) {
        20 => softmax(d, x),
        21 => resize(d, x),
        22 => attention(d),
        n => FAMILIES[n](d, x),
    }
}

/// A shape that broadcasts to `shape`.
fn narrower(d: &mut Drawing, shape: &[usize]) -> Vec<usize> {
    let skip = d.dice.below(shape.len() + 1);
    shape[skip..].iter().map(|&n| if d.dice.one_in(3) { 1 } else { n }).collect()
}

fn broadcasts(from: &[usize], to: &[usize]) -> bool {
    from.len() <= to.len() && from.iter().rev().zip(to.iter().rev()).all(|(a, b)| a == b || *a == 1)
}

/// Up to two further operands of a body over `shape`.
fn extras(d: &mut Drawing, shape: &[usize]) -> Vec<NodeId> {
    let mut out = Vec::new();
    for _ in 0..d.dice.below(3) {
        let there = d.value(|d, v| broadcasts(&d.sizes(v), shape));
        out.push(match there {
            Some(value) if d.dice.one_in(2) => value,
            _ => {
                let (narrow, dtype) = (narrower(d, shape), super::dtype(d.dice));
                d.constant(dtype, &narrow)
            }
        });
    }
    out
}

fn map(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let mut operands = vec![x];
    operands.extend(extras(d, &d.sizes(x)));
    let by = d.dice.below(operands.len());
    operands.rotate_left(by);
    let params: Vec<(Dtype, bool)> = operands.iter().map(|&o| (d.dtype(o), d.is_exact(o))).collect();
    let body = bodies::body(d.dice, &params);
    d.add(Op::Map { body }, &operands)
}

/// An epilogue over a result of this type, with its operands; mostly none.
fn epilogue(d: &mut Drawing, own: Dtype, exact: bool, shape: &[usize]) -> (Body, Vec<NodeId>) {
    if !d.dice.one_in(3) || own.bytes() == 1 && own.is_float() {
        return (Body::identity(), Vec::new());
    }
    let extras = extras(d, shape);
    let params: Vec<(Dtype, bool)> = std::iter::once((own, exact)).chain(extras.iter().map(|&o| (d.dtype(o), d.is_exact(o)))).collect();
    (bodies::body(d.dice, &params), extras)
}

/// Adds an operator with an epilogue that is drawn once its own type is known.
fn with_epilogue(d: &mut Drawing, mut op: Op, mut operands: Vec<NodeId>) -> Option<NodeId> {
    let types: Vec<&ir::Type> = operands.iter().map(|&o| d.graph.ty(o)).collect();
    let ty = ir::graph::infer::infer(&op, &types).ok()?;
    let shape = ty.fixed().expect("nothing here is symbolic");
    // without an epilogue the result has the operator's own type
    let (body, more) = epilogue(d, ty.dtype, !ty.dtype.is_float(), &shape);
    *op.epilogue_mut().expect("it has an epilogue") = body;
    operands.extend(more);
    d.add(op, &operands)
}

fn transpose(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let rank = d.sizes(x).len();
    // the layouts that importers write, more often than others
    if rank == 4 && !d.dice.one_in(3) {
        let perm = d.dice.of(&[vec![0, 3, 1, 2], vec![0, 2, 3, 1], vec![0, 2, 1, 3]]);
        return d.add(Op::Transpose { perm }, &[x]);
    }
    let mut perm: Vec<usize> = (0..rank).collect();
    for i in (1..rank).rev() {
        let other = d.dice.below(i + 1);
        perm.swap(i, other);
    }
    d.add(Op::Transpose { perm }, &[x])
}

fn reshape(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let shape = d.sizes(x);
    let rank = shape.len();
    let mut to = shape.clone();
    match d.dice.below(4) {
        0 if rank > 1 => {
            let at = d.dice.below(rank - 1);
            let n = to.remove(at);
            to[at] *= n;
        }
        1 => to.insert(d.dice.below(rank + 1), 1),
        2 if rank > 0 => {
            let at = d.dice.below(rank);
            let by = d.dice.of(&[2, 3]);
            if to[at].is_multiple_of(by) {
                to[at] /= by;
                to.insert(at, by);
            }
        }
        _ => to = vec![shape.iter().product()],
    }
    d.add(Op::Reshape { shape: dim::dims(&to) }, &[x])
}

fn slice(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let shape = d.sizes(x);
    let (mut start, mut step, mut size) = (vec![0usize; shape.len()], vec![1i64; shape.len()], shape.clone());
    for at in 0..shape.len() {
        if shape[at] == 0 || !d.dice.one_in(2) {
            continue;
        }
        let by = 1 + d.dice.below(3);
        size[at] = d.dice.below(shape[at].div_ceil(by) + 1);
        let span = size[at].saturating_sub(1) * by;
        let first = d.dice.below(shape[at] - span);
        (start[at], step[at]) = if d.dice.one_in(2) { (first, by as i64) } else { (first + span, -(by as i64)) };
    }
    d.add(Op::Slice { start: dim::dims(&start), step, size: dim::dims(&size) }, &[x])
}

fn pad(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let shape = d.sizes(x);
    let dtype = d.dtype(x);
    let mode = d.dice.of(&[PadMode::Constant, PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap]);
    let room = |n: usize| match mode {
        PadMode::Constant => 4,
        PadMode::Reflect => n.clamp(1, 4),
        // of an empty axis there is nothing to repeat
        PadMode::Edge | PadMode::Wrap => n.min(3) + 1,
    };
    let low: Vec<usize> = shape.iter().map(|&n| if d.dice.one_in(2) { d.dice.below(room(n)) } else { 0 }).collect();
    let high: Vec<usize> = shape.iter().map(|&n| if d.dice.one_in(2) { d.dice.below(room(n)) } else { 0 }).collect();
    let value = Literal::number(dtype, d.dice.of(&[0.0, 1.0, -2.0]));
    d.add(Op::Pad { low: dim::dims(&low), high: dim::dims(&high), mode, value }, &[x])
}

fn concat(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let (shape, dtype) = (d.sizes(x), d.dtype(x));
    if shape.is_empty() {
        return None;
    }
    let axis = d.dice.below(shape.len());
    let mut operands = vec![x];
    for _ in 0..1 + d.dice.below(3) {
        let fits = |d: &Drawing, v: NodeId| {
            let other = d.sizes(v);
            d.dtype(v) == dtype && other.len() == shape.len() && (0..shape.len()).all(|i| i == axis || other[i] == shape[i])
        };
        operands.push(match d.value(fits) {
            Some(value) if !d.dice.one_in(4) => value,
            _ => {
                let mut own = shape.clone();
                own[axis] = d.dice.below(5);
                d.constant(dtype, &own)
            }
        });
    }
    d.add(Op::Concat { axis }, &operands)
}

fn expand(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let mut to: Vec<usize> = d.sizes(x).iter().map(|&n| if n == 1 { d.dice.of(&[1, 2, 5]) } else { n }).collect();
    if d.dice.one_in(2) {
        to.insert(0, d.dice.of(&[1, 2, 3]));
    }
    d.add(Op::Expand { shape: dim::dims(&to) }, &[x])
}

/// Indices below `n`, negative ones among them: a constant, or made of a value.
fn indices(d: &mut Drawing, n: usize, list: bool) -> Option<NodeId> {
    let computed = d.value(|d, v| d.dtype(v).is_int() && d.is_exact(v) && (!list || d.sizes(v).len() == 1));
    match computed {
        Some(value) if d.dice.one_in(2) => {
            let dtype = d.dice.of(&[Dtype::I32, Dtype::I64]);
            let mut body = Body { params: 1, terms: Vec::new(), result: ir::scalar::Arg::Param(0) };
            let wide = body.push(ScalarOp::Cast(dtype), &[ir::scalar::Arg::Param(0)]);
            body.result = body.push(ScalarOp::Mod, &[wide, ir::scalar::Arg::Literal(Literal::int(dtype, n as i64))]);
            d.add(Op::Map { body }, &[value])
        }
        _ => {
            let shape: Vec<usize> = if list { vec![d.dice.below(5)] } else { d.dice.of(&[vec![], vec![2], vec![1, 3], vec![0]]) };
            let count = shape.iter().product();
            let list: Vec<i64> = (0..count).map(|_| d.dice.below(2 * n) as i64 - n as i64).collect();
            d.add(Op::Const { tensor: Tensor::i64s(&shape, &list) }, &[])
        }
    }
}

fn gather(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let shape = d.sizes(x);
    let axis = (!shape.is_empty()).then(|| d.dice.below(shape.len()))?;
    if shape[axis] == 0 {
        return None;
    }
    let at = indices(d, shape[axis], false)?;
    d.add(Op::Gather { axis }, &[x, at])
}

fn scatter(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let (shape, dtype) = (d.sizes(x), d.dtype(x));
    if *shape.first()? == 0 {
        return None;
    }
    let at = indices(d, shape[0], true)?;
    let rows = [&d.sizes(at)[..], &shape[1..]].concat();
    let updates = d.value(|d, v| d.dtype(v) == dtype && d.sizes(v) == rows);
    let updates = updates.unwrap_or_else(|| d.constant(dtype, &rows));
    let kinds = [ScatterKind::Set, ScatterKind::Max, ScatterKind::Min, ScatterKind::Sum, ScatterKind::Prod];
    let kind = d.dice.of(if dtype.is_float() && dtype.bytes() == 1 { &kinds[..1] } else { &kinds });
    d.add(Op::Scatter { kind }, &[x, at, updates])
}

/// Narrow floats are for moving, not for sums.
fn sums(dtype: Dtype) -> bool {
    dtype != Dtype::Bool && !(dtype.is_float() && dtype.bytes() == 1)
}

/// A type of a second factor.
fn partner(d: &mut Drawing, first: Dtype) -> Dtype {
    match first {
        Dtype::I8 | Dtype::U8 => d.dice.of(&[Dtype::I8, Dtype::U8]),
        other => other,
    }
}

fn dot(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let (shape, dtype) = (d.sizes(x), d.dtype(x));
    let rank = shape.len();
    if rank < 2 || !sums(dtype) {
        return None;
    }
    let (trans_a, trans_b) = (d.dice.one_in(4), d.dice.one_in(2));
    let k = if trans_a { shape[rank - 2] } else { shape[rank - 1] };
    let at = if trans_b { 1 } else { 2 };
    let second = partner(d, dtype);
    let there = d.value(|d, v| {
        let other = d.sizes(v);
        d.dtype(v) == second
            && other.len() >= 2
            && other[other.len() - at] == k
            && broadcasts(&other[..other.len() - 2], &shape[..rank - 2])
    });
    let w = match there {
        Some(value) if d.dice.one_in(3) => value,
        _ => {
            let n = d.dice.of(&[1, 3, 8, 17, 33]);
            let mut own = if d.dice.one_in(3) { narrower(d, &shape[..rank - 2]) } else { Vec::new() };
            own.extend(if trans_b { [n, k] } else { [k, n] });
            d.constant(second, &own)
        }
    };
    with_epilogue(d, Op::Dot { trans_a, trans_b, epilogue: Body::identity() }, vec![x, w])
}

fn conv(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let (shape, dtype) = (d.sizes(x), d.dtype(x));
    let rank = shape.len();
    if !(3..=5).contains(&rank) || !sums(dtype) || shape.contains(&0) {
        return None;
    }
    let (n, c) = (rank - 2, shape[rank - 1]);
    let group = d.dice.of(&[1, 1, 2, c]);
    if !c.is_multiple_of(group) {
        return None;
    }
    let kernel: Vec<usize> = (0..n).map(|_| d.dice.of(&[1, 2, 3, 3])).collect();
    let m = group * d.dice.of(&[1, 1, 2, 4]);
    let own: Vec<usize> = kernel.iter().copied().chain([c / group, m]).collect();
    let other = partner(d, dtype);
    let there = d.value(|d, v| d.dtype(v) == other && d.sizes(v) == own);
    let w = there.unwrap_or_else(|| d.constant(other, &own));
    let fill = if dtype.is_float() { 0.0 } else { d.dice.of(&[0.0, 0.0, 3.0, 1.0]) };
    let mut each = |of: &[i64]| -> Vec<i64> { (0..n).map(|_| d.dice.of(of)).collect() };
    let (low, high) = (each(&[0, 1, 1, 2, -1]), each(&[0, 1, 1, 0, -1]));
    let mut sizes = |of: &[i64]| -> Vec<usize> { each(of).into_iter().map(|v| v as usize).collect() };
    let op = Op::Conv {
        stride: sizes(&[1, 1, 2, 3]),
        dilation: sizes(&[1, 1, 1, 2]),
        inflate: sizes(&[1, 1, 1, 1, 2]),
        low,
        high,
        group,
        fill: Literal::number(dtype, fill),
        epilogue: Body::identity(),
    };
    with_epilogue(d, op, vec![x, w])
}

fn window(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let (shape, dtype) = (d.sizes(x), d.dtype(x));
    let n = shape.len().checked_sub(2).filter(|n| (1..=3).contains(n))?;
    if !sums(dtype) || shape.contains(&0) {
        return None;
    }
    let kind = d.dice.of(&[WindowKind::Max, WindowKind::Sum]);
    let size = if d.dice.one_in(3) { shape[1..=n].to_vec() } else { (0..n).map(|_| d.dice.of(&[1, 2, 3])).collect() };
    let mut each = |of: &[usize]| -> Vec<usize> { (0..n).map(|_| d.dice.of(of)).collect() };
    let (stride, dilation) = (each(&[1, 2, 3]), each(&[1, 1, 2]));
    let pads = |list: Vec<usize>| list.into_iter().map(|v| v as i64).collect::<Vec<i64>>();
    let (low, high) = (pads(each(&[0, 0, 1])), pads(each(&[0, 1])));
    with_epilogue(d, Op::Window { kind, size, stride, dilation, low, high, epilogue: Body::identity() }, vec![x])
}

fn reduce(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let (shape, dtype) = (d.sizes(x), d.dtype(x));
    if !sums(dtype) && dtype != Dtype::Bool {
        return None;
    }
    let mut axes: Vec<usize> = (0..shape.len()).filter(|_| d.dice.one_in(2)).collect();
    if shape.len() == 4 && d.dice.one_in(3) {
        axes = vec![1, 2];
    }
    let empty = axes.iter().any(|&a| shape[a] == 0);
    let kinds = [ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min, ReduceKind::Prod, ReduceKind::Mean];
    let kind = d.dice.of(if dtype == Dtype::Bool || empty { &kinds[..4] } else { &kinds });
    let mut prologue = Body::identity();
    if d.dice.one_in(4) {
        prologue = bodies::body(d.dice, &[(dtype, d.is_exact(x))]);
        let made = prologue.result_type(&[dtype]).ok()?;
        if !sums(made) {
            return None;
        }
    }
    with_epilogue(d, Op::Reduce { kind, axes, prologue, epilogue: Body::identity() }, vec![x])
}

/// Operators along one axis whose elements decide or add up.
fn along(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let shape = d.sizes(x);
    let axis = (!shape.is_empty()).then(|| d.dice.below(shape.len()))?;
    let op = match d.dice.below(3) {
        0 if d.is_exact(x) && shape[axis] > 0 => {
            Op::ArgReduce { kind: d.dice.of(&[ArgKind::Max, ArgKind::Min]), axis, last: d.dice.one_in(2) }
        }
        1 if d.is_exact(x) => Op::Sort { axis, descending: d.dice.one_in(2) },
        _ if sums(d.dtype(x)) => {
            let kind = d.dice.of(&[CumulateKind::Sum, CumulateKind::Prod]);
            Op::Cumulate { kind, axis, exclusive: d.dice.one_in(2), reverse: d.dice.one_in(2) }
        }
        _ => return None,
    };
    d.add(op, &[x])
}

fn softmax(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let (shape, dtype) = (d.sizes(x), d.dtype(x));
    let bytes = matches!(dtype, Dtype::U8 | Dtype::I8);
    if shape.is_empty() || shape.contains(&0) || !(bytes || dtype.is_float() && sums(dtype)) {
        return None;
    }
    let opened = || ir::scalar::body("{ t0 = cast.f32(a); t1 = sub(t0, 3.0); mul(t1, 0.05) }").expect("it is well formed");
    let prologue = if bytes { opened() } else { Body::identity() };
    let axis = d.dice.below(shape.len());
    if d.dice.one_in(2) {
        let log = d.dice.one_in(2);
        return with_epilogue(d, Op::Softmax { axis, log, prologue, epilogue: Body::identity() }, vec![x]);
    }
    let axes = if axis > 0 && d.dice.one_in(2) { vec![axis - 1, axis] } else { vec![axis] };
    let op = Op::Norm { axes, epsilon: Real(0.5), center: d.dice.one_in(2), prologue, epilogue: Body::identity() };
    with_epilogue(d, op, vec![x])
}

fn attention(d: &mut Drawing) -> Option<NodeId> {
    let fits = |d: &Drawing, v: NodeId| d.dtype(v) == Dtype::F32 && d.sizes(v).len() >= 2 && !d.sizes(v).contains(&0);
    let q = d.value(fits)?;
    let shape = d.sizes(q);
    let (lead, width) = (&shape[..shape.len() - 2], shape[shape.len() - 1]);
    let keys = d.dice.of(&[1, 3, 9, 17]);
    let given = |d: &mut Drawing, last: usize| {
        let own = [lead, &[keys, last]].concat();
        match d.value(|d, v| d.dtype(v) == Dtype::F32 && d.sizes(v) == own) {
            Some(value) => value,
            None => d.constant(Dtype::F32, &own),
        }
    };
    let k = given(d, width);
    let e = d.dice.of(&[1, 4, 8, 11]);
    let v = given(d, e);
    let mut operands = vec![q, k, v];
    let mut text = "{ mul(a, 0.25) }";
    if d.dice.one_in(3) {
        let scores = [lead, &[shape[shape.len() - 2], keys]].concat();
        let narrow = narrower(d, &scores);
        operands.push(d.constant(Dtype::F32, &narrow));
        text = "{ t0 = mul(a, 0.25); add(t0, b) }";
    }
    let causal = d.dice.one_in(3).then(|| dim::Dim::from(d.dice.below(4) as i64));
    let prologue = ir::scalar::body(text).expect("it is right");
    let guarded = d.dice.one_in(2);
    d.add(Op::Attention { causal, guarded, prologue }, &operands)
}

fn resize(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let (shape, dtype) = (d.sizes(x), d.dtype(x));
    if shape.len() < 2 || shape.contains(&0) {
        return None;
    }
    let nearest =
        [ResizeMode::NearestRoundPreferFloor, ResizeMode::NearestRoundPreferCeil, ResizeMode::NearestFloor, ResizeMode::NearestCeil];
    let smooth = [ResizeMode::Linear, ResizeMode::Cubic75, ResizeMode::Cubic50];
    // between integers a rounding would decide
    let mode = if dtype.is_float() && sums(dtype) && d.dice.one_in(2) { d.dice.of(&smooth) } else { d.dice.of(&nearest) };
    let coordinate = d.dice.of(&[Coordinate::HalfPixel, Coordinate::AlignCorners, Coordinate::Asymmetric, Coordinate::PytorchHalfPixel]);
    let mut to = shape.clone();
    for size in to.iter_mut() {
        if d.dice.one_in(3) {
            *size = d.dice.of(&[*size * 2, *size * 3, (*size / 2).max(1), *size + 1]);
        }
    }
    let scale = shape.iter().zip(&to).map(|(&a, &b)| Real(b as f64 / a as f64)).collect();
    let op = Op::Resize {
        mode,
        coordinate,
        scale,
        roi: Vec::new(),
        shape: dim::dims(&to),
        antialias: false,
        exclude_outside: d.dice.one_in(6),
        extrapolation: Real(0.0),
    };
    d.add(op, &[x])
}
