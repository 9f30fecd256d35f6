//! Operators along axes: reductions, running sums, softmax and normalisation, one row of elements after the
//! other. Sums and products are taken in f64, or in 64-bit integers, and rounded once.

use super::small::computed;
use super::terms::{Terms, cast, literal, settle};
use super::writer::{Memory, Writer};
use super::{Draft, Tail, split, split_shape};
use crate::Job;
use crate::build::Builder;
use crate::extent::Extent;
use ir::graph::op::{ArgKind, CumulateKind, Op, ReduceKind};
use ir::kernel::Access;
use ir::kernel::scalar::{Binary, Ty, Unary, Value};
use ir::scalar::{Body, Literal, ScalarOp};
use ir::{Dtype, Fault};

/// The type that sums of elements of `dtype` are taken in.
pub fn wide(dtype: Dtype) -> Dtype {
    match dtype {
        d if d.is_float() => Dtype::F64,
        d if d.is_unsigned_int() => Dtype::U64,
        _ => Dtype::I64,
    }
}

/// What every maximum is at least, or every minimum at most.
pub fn extreme(dtype: Dtype, largest: bool) -> Literal {
    match dtype.int_range() {
        Some((low, high)) => Literal::int(dtype, if largest { high } else { low } as i64),
        None if dtype == Dtype::Bool => Literal::bool(largest),
        None => Literal::number(dtype, if largest { f64::INFINITY } else { f64::NEG_INFINITY }),
    }
}

/// Elements of the first operand under the prologue, along the axes of the operator.
pub(super) struct Rows {
    pub from: Memory,
    pub terms: Terms,
    pub kept: Vec<i64>,
    pub moved: Vec<i64>,
    pub kept_shape: Vec<Extent>,
    pub moved_shape: Vec<Extent>,
}

impl Rows {
    pub fn new(draft: &mut Draft, job: &Job, axes: &[usize], prologue: &Body) -> Rows {
        let source = &job.operands[0];
        let terms = Terms::new(prologue, &[source.dtype], draft.fused());
        let (from, place) = draft.read("from", source);
        let (kept, moved) = split(&place.strides, axes);
        let (kept_shape, moved_shape) = split_shape(&draft.axes_of(job, 0), axes);
        Rows { from, terms, kept, moved, kept_shape, moved_shape }
    }

    pub fn count(&self) -> Extent {
        Extent::product(&self.moved_shape)
    }

    /// Runs `body` over a row that starts at `start`, with the element, its index in the row counted by `walks`.
    fn each(&self, w: &mut Writer, start: Value, walks: &[&[i64]], starts: &[Value], body: &mut dyn FnMut(&mut Writer, Value, &[Value])) {
        let walks = [&[self.moved.as_slice()], walks].concat();
        let starts = [&[start], starts].concat();
        w.nest(&self.moved_shape, &walks, &starts, &mut |w, at| {
            let value = w.load(self.from, at[0]);
            let value = self.terms.emit(w, &[value]);
            body(w, value, &at[1..]);
        });
    }
}

pub fn reduce(job: &Job, builder: &mut Builder) {
    let Op::Reduce { kind, axes, prologue, epilogue } = job.op else { unreachable!("called for reductions") };
    let mut draft = Draft::new(builder);
    let rows = Rows::new(&mut draft, job, axes, prologue);
    let dtype = rows.terms.result;
    let tail = Tail::new(&mut draft, job, 1, dtype, epilogue);
    let to = draft.result(job, Access::Write);
    let (join, inside, start) = match kind {
        ReduceKind::Sum | ReduceKind::Mean => (ScalarOp::Add, wide(dtype), Literal::number(wide(dtype), 0.0)),
        ReduceKind::Prod => (ScalarOp::Mul, wide(dtype), Literal::number(wide(dtype), 1.0)),
        ReduceKind::Max => (ScalarOp::Max, computed(dtype), extreme(computed(dtype), false)),
        ReduceKind::Min => (ScalarOp::Min, computed(dtype), extreme(computed(dtype), true)),
    };
    let join = Terms::of(join, inside, draft.fused());
    let divide = (*kind == ReduceKind::Mean).then(|| Terms::of(ScalarOp::Div, inside, draft.fused()));
    let count = rows.count();
    let walks = [vec![job.place.strides.as_slice(), rows.kept.as_slice()], tail.walks()].concat();
    let zeros = vec![draft.w.int(0); walks.len()];
    let result = draft.axes(job);
    draft.w.nest(&result, &walks, &zeros, &mut |w, at| {
        let start = literal(w, start);
        let so_far = w.cell(start);
        rows.each(w, at[1], &[], &[], &mut |w, value, _| {
            let (value, old) = (cast(w, dtype, inside, value), w.get(so_far));
            let new = join.emit(w, &[old, value]);
            w.put(so_far, new);
        });
        let mut value = w.get(so_far);
        if let Some(divide) = &divide {
            let count = number(w, inside, &count);
            value = divide.emit(w, &[value, count]);
        }
        let value = cast(w, inside, dtype, value);
        let value = tail.emit(w, value, &at[2..]);
        w.store(to, at[0], value);
    });
    draft.call("reduce", 0);
}

/// So many elements, as a number of the type that sums are taken in.
fn number(w: &mut Writer, inside: Dtype, count: &Extent) -> Value {
    let count = match count {
        Extent::Fixed(n) => return literal(w, Literal::number(inside, *n as f64)),
        Extent::Open { .. } => w.size(count),
    };
    if inside == Dtype::F64 { w.unary(Unary::IntToF64, count) } else { count }
}

/// A NaN is beyond all numbers, as numpy has it.
pub fn argreduce(job: &Job, builder: &mut Builder) -> Result<(), Fault> {
    let Op::ArgReduce { kind, axis, last } = job.op else { unreachable!("called for argreduce") };
    let dtype = job.operands[0].dtype;
    let mut draft = Draft::new(builder);
    let rows = Rows::new(&mut draft, job, &[*axis], &Body::identity());
    let count = rows.count();
    if count.bound() == 0 {
        return Err(Fault::invalid("there is no largest or smallest element of an empty axis"));
    }
    let first = draft.w.int(0);
    draft.w.require_in(first, &count);
    let to = draft.result(job, Access::Write);
    let (beyond, equal) = match kind {
        ArgKind::Max => (ScalarOp::Gt, ScalarOp::Eq),
        ArgKind::Min => (ScalarOp::Lt, ScalarOp::Eq),
    };
    let (beyond, equal) = (Terms::of(beyond, dtype, draft.fused()), Terms::of(equal, dtype, draft.fused()));
    let along: Vec<i64> = (0..job.shape.len()).map(|i| i64::from(i == *axis)).collect();
    let zero = draft.w.int(0);
    let result = draft.axes(job);
    draft.w.nest(&result, &[&job.place.strides, &rows.kept], &[zero, zero], &mut |w, at| {
        let first = w.load(rows.from, at[1]);
        let (best, index) = (w.cell(first), w.cell(zero));
        rows.each(w, at[1], &[&along], &[zero], &mut |w, value, position| {
            let old = w.get(best);
            let mut better = beyond.emit(w, &[value, old]);
            if *last {
                let same = equal.emit(w, &[value, old]);
                better = w.binary(Binary::Or, better, same);
            }
            if dtype.is_float() {
                let (nan, was) = (w.binary(Binary::Ne, value, value), w.binary(Binary::Eq, old, old));
                let found = if *last { nan } else { w.binary(Binary::And, nan, was) };
                better = w.binary(Binary::Or, better, found);
            }
            let value = w.select(better, value, old);
            w.put(best, value);
            let old = w.get(index);
            let position = w.select(better, position[0], old);
            w.put(index, position);
        });
        let index = w.get(index);
        w.store(to, at[0], index);
    });
    draft.call("argreduce", 0);
    Ok(())
}

pub fn cumulate(job: &Job, builder: &mut Builder) {
    let Op::Cumulate { kind, axis, exclusive, reverse } = job.op else { unreachable!("called for running sums") };
    let dtype = job.dtype;
    let inside = wide(dtype);
    let mut draft = Draft::new(builder);
    let rows = Rows::new(&mut draft, job, &[*axis], &Body::identity());
    let to = draft.result(job, Access::Write);
    let (join, start) = match kind {
        CumulateKind::Sum => (ScalarOp::Add, 0.0),
        CumulateKind::Prod => (ScalarOp::Mul, 1.0),
    };
    let join = Terms::of(join, inside, draft.fused());
    let (to_kept, to_moved) = split(&job.place.strides, &[*axis]);
    let zero = draft.w.int(0);
    let along = draft.axes(job)[*axis].clone();
    draft.w.nest(&rows.kept_shape, &[&to_kept, &rows.kept], &[zero, zero], &mut |w, at| {
        let start = literal(w, Literal::number(inside, start));
        let so_far = w.cell(start);
        w.repeat(&along, |w, i| {
            let mut i = i;
            if *reverse {
                let (size, one) = (w.size(&along), w.int(1));
                let last = w.binary(Binary::ISub, size, one);
                let from_end = w.binary(Binary::ISub, last, i);
                i = w.within(from_end, along.bound());
            }
            let from = w.offset(at[1], i, rows.moved[*axis]);
            let value = w.load(rows.from, from);
            let (value, old) = (cast(w, dtype, inside, value), w.get(so_far));
            let new = join.emit(w, &[old, value]);
            w.put(so_far, new);
            let shown = cast(w, inside, dtype, if *exclusive { old } else { new });
            let to_at = w.offset(at[0], i, to_moved[*axis]);
            w.store(to, to_at, shown);
        });
    });
    draft.call("cumulate", 0);
}

pub fn softmax(job: &Job, builder: &mut Builder) {
    let Op::Softmax { axis, log, prologue, epilogue } = job.op else { unreachable!("called for softmax") };
    let mut draft = Draft::new(builder);
    let rows = Rows::new(&mut draft, job, &[*axis], prologue);
    let own = rows.terms.result;
    let tail = Tail::new(&mut draft, job, 1, own, epilogue);
    // exponentials lie in the result while they are summed, where it can hold them
    let inside = if own == Dtype::F64 { Dtype::F64 } else { Dtype::F32 };
    let kept = job.dtype == inside && !*log;
    let to = draft.result(job, if kept { Access::ReadWrite } else { Access::Write });
    let of = |op: ScalarOp| Terms::of(op, inside, draft.builder.facts.fused);
    let (exp, ln, most) = (of(ScalarOp::Exp), of(ScalarOp::Log), of(ScalarOp::Max));
    // types smaller than f32 round after every step
    let small = own.bytes() < 4;
    let settled = |w: &mut Writer, value: Value| if small { settle(w, own, value) } else { value };
    let part = |w: &mut Writer, value: Value, top: Value| {
        let below = w.binary(Binary::Sub, value, top);
        let below = settled(w, below);
        let e = exp.emit(w, &[below]);
        settled(w, e)
    };
    // the result and the epilogue's operands walk rows too
    let walks = [vec![job.place.strides.as_slice()], tail.walks()].concat();
    let parts: Vec<(Vec<i64>, Vec<i64>)> = walks.iter().map(|walk| split(walk, &[*axis])).collect();
    let outer = [vec![rows.kept.as_slice()], parts.iter().map(|p| p.0.as_slice()).collect()].concat();
    let inner: Vec<&[i64]> = parts.iter().map(|p| p.1.as_slice()).collect();
    let zeros = vec![draft.w.int(0); outer.len()];
    let end = |w: &mut Writer, value: Value, at: &[Value]| {
        let value = tail.emit(w, value, &at[1..]);
        w.store(to, at[0], value);
    };
    draft.w.nest(&rows.kept_shape, &outer, &zeros, &mut |w, at| {
        let (from_row, to_rows) = (at[0], &at[1..]);
        let low = literal(w, extreme(inside, false));
        let top = w.cell(low);
        rows.each(w, from_row, &[], &[], &mut |w, value, _| {
            let old = w.get(top);
            let new = most.emit(w, &[old, value]);
            w.put(top, new);
        });
        let (top, none) = (w.get(top), w.f64(0.0));
        let sum = w.cell(none);
        rows.each(w, from_row, &inner[..1], &to_rows[..1], &mut |w, value, at| {
            let e = part(w, value, top);
            if kept {
                w.store(to, at[0], e);
            }
            let (e, old) = (cast(w, inside, Dtype::F64, e), w.get(sum));
            let new = w.binary(Binary::Add, old, e);
            w.put(sum, new);
        });
        let sum = w.get(sum);
        if *log {
            let sum = cast(w, Dtype::F64, if small { own } else { inside }, sum);
            let ln = ln.emit(w, &[sum]);
            let ln = settled(w, ln);
            rows.each(w, from_row, &inner, to_rows, &mut |w, value, at| {
                let below = w.binary(Binary::Sub, value, top);
                let below = settled(w, below);
                let value = w.binary(Binary::Sub, below, ln);
                let value = settled(w, value);
                end(w, value, at);
            });
            return;
        }
        if small {
            let sum = cast(w, Dtype::F64, own, sum);
            rows.each(w, from_row, &inner, to_rows, &mut |w, value, at| {
                let e = part(w, value, top);
                let value = w.binary(Binary::Div, e, sum);
                let value = settled(w, value);
                end(w, value, at);
            });
            return;
        }
        let one = w.f64(1.0);
        let share = w.binary(Binary::Div, one, sum);
        let share = cast(w, Dtype::F64, inside, share);
        if kept {
            w.nest(&rows.moved_shape, &inner, to_rows, &mut |w, at| {
                let e = w.load(to, at[0]);
                let value = w.binary(Binary::Mul, e, share);
                end(w, value, at);
            });
            return;
        }
        rows.each(w, from_row, &inner, to_rows, &mut |w, value, at| {
            let e = part(w, value, top);
            let value = w.binary(Binary::Mul, e, share);
            end(w, value, at);
        });
    });
    draft.call("softmax", 0);
}

pub fn norm(job: &Job, builder: &mut Builder) {
    let Op::Norm { axes, epsilon, center, prologue, epilogue } = job.op else { unreachable!("called for norms") };
    let mut draft = Draft::new(builder);
    let rows = Rows::new(&mut draft, job, axes, prologue);
    let dtype = rows.terms.result;
    let tail = Tail::new(&mut draft, job, 1, dtype, epilogue);
    let to = draft.result(job, Access::Write);
    let count = rows.count();
    // the result and the epilogue's operands walk rows too
    let walks = [vec![job.place.strides.as_slice()], tail.walks()].concat();
    let parts: Vec<(Vec<i64>, Vec<i64>)> = walks.iter().map(|walk| split(walk, axes)).collect();
    let outer = [vec![rows.kept.as_slice()], parts.iter().map(|p| p.0.as_slice()).collect()].concat();
    let inner: Vec<&[i64]> = parts.iter().map(|p| p.1.as_slice()).collect();
    let zeros = vec![draft.w.int(0); outer.len()];
    draft.w.nest(&rows.kept_shape, &outer, &zeros, &mut |w, at| {
        let (none, count) = (w.f64(0.0), number(w, Dtype::F64, &count));
        let mut mean = none;
        if *center {
            let sum = w.cell(none);
            rows.each(w, at[0], &[], &[], &mut |w, value, _| {
                let (value, old) = (cast(w, dtype, Dtype::F64, value), w.get(sum));
                let new = w.binary(Binary::Add, old, value);
                w.put(sum, new);
            });
            let sum = w.get(sum);
            mean = w.binary(Binary::Div, sum, count);
        }
        let squares = w.cell(none);
        rows.each(w, at[0], &[], &[], &mut |w, value, _| {
            let value = cast(w, dtype, Dtype::F64, value);
            let off = w.binary(Binary::Sub, value, mean);
            let (square, old) = (w.binary(Binary::Mul, off, off), w.get(squares));
            let new = w.binary(Binary::Add, old, square);
            w.put(squares, new);
        });
        let squares = w.get(squares);
        let variance = w.binary(Binary::Div, squares, count);
        let epsilon = w.f64(epsilon.0);
        let variance = w.binary(Binary::Add, variance, epsilon);
        let (deviation, one) = (w.unary(Unary::Sqrt, variance), w.f64(1.0));
        let share = w.binary(Binary::Div, one, deviation);
        rows.each(w, at[0], &inner, &at[1..], &mut |w, value, at| {
            let value = cast(w, dtype, Dtype::F64, value);
            let off = w.binary(Binary::Sub, value, mean);
            let value = w.binary(Binary::Mul, off, share);
            debug_assert_eq!(w.ty(value), Ty::F64);
            let value = cast(w, Dtype::F64, dtype, value);
            let value = tail.emit(w, value, &at[1..]);
            w.store(to, at[0], value);
        });
    });
    draft.call("norm", 0);
}
