//! Gathering along an axis with indices that are checked when they are read.

use super::{Draft, Job};
use crate::build::Builder;
use ir::kernel::Access;
use ir::kernel::scalar::Binary;
use ir::{Dtype, Fault};

/// Operand 0 at the indices of operand 1 along `axis`. Negative indices count from the end; others out of range
/// are status 4.
pub fn gather(job: &Job, axis: usize, builder: &mut Builder) -> Result<(), Fault> {
    let [data, indices] = job.operands.as_slice() else { unreachable!("gather takes two operands") };
    let raw = match data.dtype.bytes() {
        1 => Dtype::U8,
        2 => Dtype::U16,
        4 => Dtype::U32,
        _ => Dtype::U64,
    };
    let mut draft = Draft::new(builder);
    let place = data.place(draft.builder);
    let from = draft.at("from", Access::Read, raw, &data.shape, &place);
    let (index, index_place) = draft.read("indices", indices);
    let to = draft.at("to", Access::Write, raw, &job.shape, &job.place);
    // result axes: before the axis, of the indices, behind the axis
    let (count, behind) = (indices.shape.len(), data.shape.len() - axis - 1);
    let outer = axis + count;
    let nothing = |n: usize| vec![0i64; n];
    let from_walk = [&place.strides[..axis], &nothing(count)].concat();
    let index_walk = [nothing(axis), index_place.strides.clone()].concat();
    let zero = draft.w.int(0);
    let extent = data.shape[axis] as i64;
    let walks: [&[i64]; 3] = [&job.place.strides[..outer], &from_walk, &index_walk];
    draft.w.nest(&job.shape[..outer], &walks, &[zero; 3], &mut |w, at| {
        let given = w.load(index, at[2]);
        let size = w.int(extent);
        let (negative, from_end) = (w.binary(Binary::SLt, given, zero), w.binary(Binary::IAdd, given, size));
        let position = w.select(negative, from_end, given);
        let position = w.require(position, extent);
        let start = w.offset(at[1], position, place.strides[axis]);
        let walks: [&[i64]; 2] = [&job.place.strides[outer..], &place.strides[axis + 1..]];
        debug_assert_eq!(behind, walks[1].len());
        w.nest(&job.shape[outer..], &walks, &[at[0], start], &mut |w, at| {
            let value = w.load(from, at[1]);
            w.store(to, at[0], value);
        });
    });
    draft.call("gather", 0);
    Ok(())
}
