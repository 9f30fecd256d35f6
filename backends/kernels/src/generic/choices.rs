//! Rows and boxes that the data chooses: those that a mask names, whose number becomes a symbol's value, and those that
//! overlap no better one.

use super::Draft;
use super::moves::raw;
use super::writer::{Memory, Writer};
use crate::Job;
use crate::build::{Builder, Pointer};
use ir::graph::op::Op;
use ir::kernel::Access;
use ir::kernel::scalar::{Binary, Value};
use ir::{Dim, Dtype};

/// Rows of operand 0 where operand 1 is true; `length`, if it is a symbol, gets their number.
pub fn compact(job: &Job, length: &Dim, builder: &mut Builder) {
    let (x, mask) = (&job.operands[0], &job.operands[1]);
    let symbol = length.as_symbol().map(|name| builder.symbols.index(name));
    let values = symbol.map(|_| builder.symbol_values());
    let mut draft = Draft::new(builder);
    let x_place = x.place(draft.builder);
    let width = raw(x.dtype.bytes());
    let from = draft.at("from", Access::Read, width, &x.shape, &x_place);
    let (keep, keep_place) = draft.read("mask", mask);
    let to = draft.at("to", Access::Write, width, &job.shape, &job.place);
    let count_at = symbol.zip(values).map(|(index, buffer)| {
        draft.pointers.push(Pointer { buffer, offset: 8 * index as i64 });
        draft.w.memory("length", Access::Write, Dtype::I64, &[1], &[1])
    });
    let (rows, axes) = (draft.axes_of(job, 0)[0].clone(), draft.axes(job));
    let (zero, one) = (draft.w.int(0), draft.w.int(1));
    let count = draft.w.cell(zero);
    let (first, empty) = (job.shape[0], job.shape.contains(&0));
    let w = &mut draft.w;
    w.repeat(&rows, |w, i| {
        let at = w.offset(zero, i, keep_place.strides[0]);
        let kept = w.load(keep, at);
        w.when(kept, |w| {
            let row = w.get(count);
            let next = w.binary(Binary::IAdd, row, one);
            w.put(count, next);
            if empty {
                return;
            }
            let row = w.within(row, first);
            let starts = [w.offset(zero, i, x_place.strides[0]), w.offset(zero, row, job.place.strides[0])];
            w.nest(&axes[1..], &[&x_place.strides[1..], &job.place.strides[1..]], &starts, &mut |w, at| {
                let value = w.load(from, at[0]);
                w.store(to, at[1], value);
            });
        });
    });
    if let Some(memory) = count_at {
        let found = w.get(count);
        w.store(memory, zero, found);
    }
    draft.call("compact", 0);
}

/// A greedy walk over boxes in a given order: who is taken stands in the result, and is looked up there.
pub fn suppress(job: &Job, builder: &mut Builder) {
    let Op::Suppress { most } = job.op else { unreachable!("called for boxes") };
    let mut draft = Draft::new(builder);
    let (boxes, boxes_place) = draft.read("boxes", &job.operands[0]);
    let (scores, scores_place) = draft.read("scores", &job.operands[1]);
    let (order, order_place) = draft.read("order", &job.operands[2]);
    let (limits, limits_place) = draft.read("limits", &job.operands[3]);
    let to = draft.result(job, Access::ReadWrite);
    let axes = draft.axes_of(job, 1);
    let n = axes[2].bound();
    let w = &mut draft.w;
    let (zero, one, none) = (w.int(0), w.int(1), w.int(-1));
    let most_value = w.int(*most as i64);
    let second = w.offset(zero, one, limits_place.strides[0]);
    let (overlap, least) = (w.load(limits, zero), w.load(limits, second));
    let step = job.place.strides[2];
    let walks: [&[i64]; 4] = [&job.place.strides[..2], &[boxes_place.strides[0], 0], &scores_place.strides[..2], &order_place.strides[..2]];
    w.nest(&axes[..2], &walks, &[zero; 4], &mut |w, at| {
        let (to_list, box_list, score_list, order_list) = (at[0], at[1], at[2], at[3]);
        let taken = w.cell(zero);
        w.repeat(&axes[2], |w, i| {
            let place = w.offset(order_list, i, order_place.strides[2]);
            let number = w.load(order, place);
            let number = w.require_in(number, &axes[2]);
            let place = w.offset(score_list, number, scores_place.strides[2]);
            let score = w.load(scores, place);
            let (good, so_far) = (w.binary(Binary::Lt, least, score), w.get(taken));
            let room = w.binary(Binary::SLt, so_far, most_value);
            let open = w.binary(Binary::And, good, room);
            let open = w.cell(open);
            let candidate = corners(w, boxes, box_list, number, &boxes_place.strides);
            let some = w.get(open);
            w.when(some, |w| {
                w.count(zero, so_far, |w, j| {
                    let j = w.within(j, *most);
                    let place = w.offset(to_list, j, step);
                    let other = w.load(to, place);
                    let other = w.within(other, n);
                    let other = corners(w, boxes, box_list, other, &boxes_place.strides);
                    let beyond = shares(w, other, candidate, overlap);
                    w.when(beyond, |w| w.put(open, zero));
                });
                let left = w.get(open);
                w.when(left, |w| {
                    let j = w.within(so_far, *most);
                    let place = w.offset(to_list, j, step);
                    w.store(to, place, number);
                    let next = w.binary(Binary::IAdd, so_far, one);
                    w.put(taken, next);
                });
            });
        });
        let end = w.get(taken);
        let end = w.binary(Binary::SMax, end, zero);
        w.count(end, most_value, |w, j| {
            let place = w.offset(to_list, j, step);
            w.store(to, place, none);
        });
    });
    draft.call("suppress", 0);
}

/// Low and high ends of a box along two axes.
fn corners(w: &mut Writer, boxes: Memory, list: Value, number: Value, strides: &[i64]) -> [[Value; 2]; 2] {
    let start = w.offset(list, number, strides[1]);
    let ends: Vec<Value> = (0..4)
        .map(|i| {
            let i = w.int(i);
            let at = w.offset(start, i, strides[2]);
            w.load(boxes, at)
        })
        .collect();
    [0, 1].map(|i| [w.binary(Binary::Min, ends[i], ends[i + 2]), w.binary(Binary::Max, ends[i], ends[i + 2])])
}

/// Whether two boxes share more than `overlap` of their union.
fn shares(w: &mut Writer, a: [[Value; 2]; 2], b: [[Value; 2]; 2], overlap: Value) -> Value {
    let none = w.f32(0.0);
    let area = |w: &mut Writer, c: [[Value; 2]; 2]| {
        let sides = c.map(|[low, high]| w.binary(Binary::Sub, high, low));
        w.binary(Binary::Mul, sides[0], sides[1])
    };
    let common = [0, 1].map(|i| {
        let (low, high) = (w.binary(Binary::Max, a[i][0], b[i][0]), w.binary(Binary::Min, a[i][1], b[i][1]));
        w.binary(Binary::Sub, high, low)
    });
    let some = common.map(|side| w.binary(Binary::Lt, none, side));
    let common = w.binary(Binary::Mul, common[0], common[1]);
    let (first, second) = (area(w, a), area(w, b));
    let union = w.binary(Binary::Add, first, second);
    let union = w.binary(Binary::Sub, union, common);
    let whole = w.binary(Binary::Lt, none, union);
    let share = w.binary(Binary::Div, common, union);
    let beyond = w.binary(Binary::Lt, overlap, share);
    let some = w.binary(Binary::And, some[0], some[1]);
    let some = w.binary(Binary::And, some, whole);
    w.binary(Binary::And, some, beyond)
}
