//! Rows put or joined into a copy of a tensor, at indices that are checked when they are read.

use super::moves::raw;
use super::terms::Terms;
use super::{Draft, Job};
use crate::build::Builder;
use crate::{Where, copy};
use ir::graph::op::{Op, ScatterKind};
use ir::kernel::Access;
use ir::kernel::scalar::Binary;
use ir::scalar::ScalarOp;

/// Operand 2's rows into operand 0 at the indices of operand 1. Negative indices count from the end; others out of
/// range are status 4.
pub fn scatter(job: &Job, builder: &mut Builder) {
    let Op::Scatter { kind } = job.op else { unreachable!("called for scatter") };
    let [data, indices, updates] = job.operands.as_slice() else { unreachable!("scatter takes three operands") };
    let from = data.place(builder);
    let there = matches!(&data.at, Where::Place(place) if place.same(&job.place, &job.shape));
    if !there {
        let axes = builder.result_extents(&job.shape);
        match builder.open {
            Some(_) => super::open::copy(builder, job.dtype, &axes, &from, &job.place),
            None => copy::copy(builder, job.dtype, &job.shape, &from, &job.place),
        }
    }
    if updates.shape.contains(&0) {
        return;
    }
    let mut draft = Draft::new(builder);
    let (index, index_place) = draft.read("indices", indices);
    let with_place = updates.place(draft.builder);
    let join = match kind {
        ScatterKind::Set => None,
        ScatterKind::Sum => Some(ScalarOp::Add),
        ScatterKind::Prod => Some(ScalarOp::Mul),
        ScatterKind::Max => Some(ScalarOp::Max),
        ScatterKind::Min => Some(ScalarOp::Min),
    };
    // bools add as or and multiply as and
    let join = join.map(|op| match (op, job.dtype) {
        (ScalarOp::Add, ir::Dtype::Bool) => ScalarOp::Or,
        (ScalarOp::Mul, ir::Dtype::Bool) => ScalarOp::And,
        (op, _) => op,
    });
    let join = join.map(|op| Terms::of(op, job.dtype, draft.fused()));
    // what is put is not looked at
    let dtype = if join.is_some() { job.dtype } else { raw(job.dtype.bytes()) };
    let with = draft.at("updates", Access::Read, dtype, &updates.shape, &with_place);
    let access = if join.is_some() { Access::ReadWrite } else { Access::Write };
    let to = draft.at("to", access, dtype, &job.shape, &job.place);
    let (zero, result, places) = (draft.w.int(0), draft.axes(job), draft.axes_of(job, 1));
    let extent = &result[0];
    draft.w.nest(&places, &[&index_place.strides, &with_place.strides[..1]], &[zero, zero], &mut |w, at| {
        let given = w.load(index, at[0]);
        let size = w.size(extent);
        let (negative, from_end) = (w.binary(Binary::SLt, given, zero), w.binary(Binary::IAdd, given, size));
        let position = w.select(negative, from_end, given);
        let position = w.require_in(position, extent);
        let start = w.offset(zero, position, job.place.strides[0]);
        w.nest(&result[1..], &[&job.place.strides[1..], &with_place.strides[1..]], &[start, at[1]], &mut |w, at| {
            let mut value = w.load(with, at[1]);
            if let Some(join) = &join {
                let old = w.load(to, at[0]);
                value = join.emit(w, &[old, value]);
            }
            w.store(to, at[0], value);
        });
    });
    draft.call("scatter", 0);
}
