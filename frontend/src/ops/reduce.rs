//! Reductions, their indices, running sums, and softmax with its kin.

use ir::graph::op::{ArgKind, CumulateKind, ReduceKind};
use ir::scalar::ScalarOp;
use ir::{Body, Dim, Dtype, Fault, Op};

use crate::build::{Value, body};
use crate::cx::{self, Cx, Made, axis, must_be};

/// The axes to reduce, an attribute or operand 1; without any all of them, unless the node says none.
fn axes(cx: &mut Cx, rank: usize) -> Result<Vec<usize>, Fault> {
    let noop = cx.attrs.flag("noop_with_empty_axes", false)?;
    match cx.ints_either("axes", 1)? {
        Some(list) if !list.is_empty() => cx::axes(&list, rank),
        _ if noop => Ok(Vec::new()),
        _ => Ok((0..rank).collect()),
    }
}

/// The shape without `axes`.
fn without(shape: &[Dim], axes: &[usize]) -> Vec<Dim> {
    shape.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, d)| d.clone()).collect()
}

/// The operand as a reduction with steps before or after it computes it. `floats`: integers as f64, because the
/// bodies only exist for floats.
fn wide(cx: &mut Cx, x: &Value, floats: bool) -> Result<Value, Fault> {
    if floats && !x.dtype().is_float() { cx.cast(x, Dtype::F64) } else { cx.wide(x) }
}

/// A reduction of ONNX; `floats` as [`wide`] has it.
fn reduce(cx: &mut Cx, kind: ReduceKind, before: &str, after: &str, floats: bool) -> Made {
    let x = cx.input(0)?;
    let axes = axes(cx, x.rank())?;
    let keep = cx.attrs.flag("keepdims", true)?;
    // alone it accumulates without rounding anyway
    let alone = before == "{ a }" && after == "{ a }" && (x.dtype().is_float() || !floats);
    let wide = if alone { x.clone() } else { wide(cx, &x, floats)? };
    let (prologue, epilogue) = (body(before, wide.dtype())?, body(after, wide.dtype())?);
    let made = cx.add(Op::Reduce { kind, axes: axes.clone(), prologue, epilogue }, &[&wide])?;
    let made = cx.cast(&made, x.dtype())?;
    let shape = if keep { made.shape().to_vec() } else { without(x.shape(), &axes) };
    Ok(vec![cx.reshape(&made, shape)?])
}

pub fn sum(cx: &mut Cx) -> Made {
    reduce(cx, ReduceKind::Sum, "{ a }", "{ a }", false)
}

pub fn mean(cx: &mut Cx) -> Made {
    reduce(cx, ReduceKind::Mean, "{ a }", "{ a }", true)
}

pub fn prod(cx: &mut Cx) -> Made {
    reduce(cx, ReduceKind::Prod, "{ a }", "{ a }", false)
}

pub fn max(cx: &mut Cx) -> Made {
    reduce(cx, ReduceKind::Max, "{ a }", "{ a }", false)
}

pub fn min(cx: &mut Cx) -> Made {
    reduce(cx, ReduceKind::Min, "{ a }", "{ a }", false)
}

pub fn l1(cx: &mut Cx) -> Made {
    reduce(cx, ReduceKind::Sum, "{ abs(a) }", "{ a }", false)
}

pub fn l2(cx: &mut Cx) -> Made {
    reduce(cx, ReduceKind::Sum, "{ mul(a, a) }", "{ sqrt(a) }", true)
}

pub fn log_sum(cx: &mut Cx) -> Made {
    reduce(cx, ReduceKind::Sum, "{ a }", "{ log(a) }", true)
}

pub fn sum_square(cx: &mut Cx) -> Made {
    reduce(cx, ReduceKind::Sum, "{ mul(a, a) }", "{ a }", false)
}

/// The largest element is taken out first, so that nothing overflows; an infinite one stays in.
pub fn log_sum_exp(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let axes = axes(cx, x.rank())?;
    let keep = cx.attrs.flag("keepdims", true)?;
    let wide = wide(cx, &x, true)?;
    let dtype = wide.dtype();
    let largest = cx.reduce(&wide, ReduceKind::Max, &axes)?;
    let largest = cx.pointwise("{ t0 = is_inf(a); select(t0, 0.0:T, a) }", dtype, &[&largest])?;
    let terms = cx.pointwise("{ t0 = sub(a, b); exp(t0) }", dtype, &[&wide, &largest])?;
    let total = cx.reduce(&terms, ReduceKind::Sum, &axes)?;
    let made = cx.pointwise("{ t0 = log(a); add(t0, b) }", dtype, &[&total, &largest])?;
    let made = cx.cast(&made, x.dtype())?;
    let shape = if keep { made.shape().to_vec() } else { without(x.shape(), &axes) };
    Ok(vec![cx.reshape(&made, shape)?])
}

fn arg(cx: &mut Cx, kind: ArgKind) -> Made {
    let x = cx.input(0)?;
    let at = axis(cx.attrs.int_or("axis", 0)?, x.rank())?;
    let last = cx.attrs.flag("select_last_index", false)?;
    let keep = cx.attrs.flag("keepdims", true)?;
    let made = cx.add(Op::ArgReduce { kind, axis: at, last }, &[&x])?;
    let shape = if keep { made.shape().to_vec() } else { without(x.shape(), &[at]) };
    Ok(vec![cx.reshape(&made, shape)?])
}

pub fn arg_max(cx: &mut Cx) -> Made {
    arg(cx, ArgKind::Max)
}

pub fn arg_min(cx: &mut Cx) -> Made {
    arg(cx, ArgKind::Min)
}

/// An axis that only arrives at run time is chosen there, among the results for every axis.
fn cumulate(cx: &mut Cx, kind: CumulateKind) -> Made {
    let (x, at) = (cx.input(0)?, cx.input(1)?);
    let exclusive = cx.attrs.flag("exclusive", false)?;
    let reverse = cx.attrs.flag("reverse", false)?;
    must_be(matches!(at.dtype(), Dtype::I32 | Dtype::I64), "the axis is an integer", &at)?;
    must_be(at.ty.elements() == Some(1), "the axis is one number", &at)?;
    let along = |axis| Op::Cumulate { kind, axis, exclusive, reverse };
    if let Some(known) = cx.known(&at) {
        let at = axis(known.to_i64s()[0], x.rank())?;
        return Ok(vec![cx.add(along(at), &[&x])?]);
    }
    must_be(x.rank() > 0, "a running sum needs an axis", &x)?;
    let at = cx.reshape(&at, Vec::new())?;
    let at = cx.cast(&at, Dtype::I64)?;
    let mut made = cx.add(along(0), &[&x])?;
    for axis in 1..x.rank() {
        let other = cx.add(along(axis), &[&x])?;
        let text = format!("{{ t0 = eq(a, {axis}); t1 = eq(a, {}); t2 = or(t0, t1); select(t2, b, c) }}", axis as i64 - x.rank() as i64);
        made = cx.pointwise(&text, x.dtype(), &[&at, &other, &made])?;
    }
    Ok(vec![made])
}

pub fn cumulative_sum(cx: &mut Cx) -> Made {
    cumulate(cx, CumulateKind::Sum)
}

pub fn cumulative_product(cx: &mut Cx) -> Made {
    cumulate(cx, CumulateKind::Prod)
}

/// Before opset 13 these operators see a matrix: axes before `axis` are its rows, the others its columns.
/// The operand as they see it and the axis to work along.
fn rows(cx: &mut Cx) -> Result<(Value, Value, usize), Fault> {
    let x = cx.input(0)?;
    if cx.version >= 13 {
        let at = axis(cx.attrs.int_or("axis", -1)?, x.rank())?;
        return Ok((x.clone(), x, at));
    }
    let given = cx.attrs.int_or("axis", 1)?;
    let at = if given == x.rank() as i64 { x.rank() } else { axis(given, x.rank())? };
    if at + 1 == x.rank() {
        return Ok((x.clone(), x, at));
    }
    let (before, behind) = x.shape().split_at(at);
    let shape = vec![ir::dim::product(before), ir::dim::product(behind)];
    let matrix = cx.reshape(&x, shape)?;
    Ok((x, matrix, 1))
}

fn soft(cx: &mut Cx, log: bool) -> Made {
    let (x, matrix, axis) = rows(cx)?;
    let made = cx.add(Op::Softmax { axis, log, prologue: Body::identity(), epilogue: Body::identity() }, &[&matrix])?;
    Ok(vec![cx.reshape(&made, x.shape().to_vec())?])
}

pub fn softmax(cx: &mut Cx) -> Made {
    soft(cx, false)
}

pub fn log_softmax(cx: &mut Cx) -> Made {
    soft(cx, true)
}

/// One where the first largest element is, zero elsewhere.
pub fn hardmax(cx: &mut Cx) -> Made {
    let (x, matrix, at) = rows(cx)?;
    let best = cx.add(Op::ArgReduce { kind: ArgKind::Max, axis: at, last: false }, &[&matrix])?;
    let places = cx.iota(&matrix.shape()[at].clone(), at, matrix.rank())?;
    let hit = cx.apply(ScalarOp::Eq, &[&best, &places])?;
    let made = cx.cast(&hit, x.dtype())?;
    Ok(vec![cx.reshape(&made, x.shape().to_vec())?])
}
