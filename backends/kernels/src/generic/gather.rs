//! Gathering along an axis with indices that are checked when they are read.

use super::moves::{coarser, raw, together};
use super::{Draft, Job};
use crate::build::Builder;
use crate::extent::Extent;
use crate::place::Place;
use ir::kernel::Access;
use ir::kernel::scalar::Binary;

/// Operand 0 at the indices of operand 1 along `axis`. Negative indices count from the end; others out of range
/// are status 4.
pub fn gather(job: &Job, axis: usize, builder: &mut Builder) {
    let [data, indices] = job.operands.as_slice() else { unreachable!("gather takes two operands") };
    let mut draft = Draft::new(builder);
    let place = data.place(draft.builder);
    let units = Units::new(job, axis, &place, draft.axes(job).last().is_none_or(|last| last.fixed().is_some()));
    let raw = raw(data.dtype.bytes() * units.count);
    draft.pointers.push(Job::pointer(&place, data.dtype));
    let from = draft.w.memory("from", Access::Read, raw, &units.from_shape, &units.from);
    let (index, index_place) = draft.read("indices", indices);
    draft.pointers.push(Job::pointer(&job.place, job.dtype));
    let to = draft.w.memory("to", Access::Write, raw, &units.to_shape, &units.to);
    // result axes: before the axis, of the indices, behind the axis
    let count = indices.shape.len();
    let outer = axis + count;
    let nothing = |n: usize| vec![0i64; n];
    let from_walk = [&units.from[..axis], &nothing(count)].concat();
    let index_walk = [nothing(axis), index_place.strides.clone()].concat();
    let zero = draft.w.int(0);
    let extent = draft.axes_of(job, 0)[axis].clone();
    let result = draft.axes(job);
    let walks: [&[i64]; 3] = [&units.to[..outer], &from_walk, &index_walk];
    let rest: Vec<Extent> = result[outer..]
        .iter()
        .zip(&units.to_shape[outer..])
        .map(|(e, &n)| if e.fixed().is_some() { n.into() } else { e.clone() })
        .collect();
    draft.w.nest(&result[..outer], &walks, &[zero; 3], &mut |w, at| {
        let given = w.load(index, at[2]);
        let size = w.size(&extent);
        let (negative, from_end) = (w.binary(Binary::SLt, given, zero), w.binary(Binary::IAdd, given, size));
        let position = w.select(negative, from_end, given);
        let position = w.require_in(position, &extent);
        let start = w.offset(at[1], position, units.from[axis]);
        let walks: [&[i64]; 2] = [&units.to[outer..], &units.from[axis + 1..]];
        w.nest(&rest, &walks, &[at[0], start], &mut |w, at| {
            let value = w.load(from, at[1]);
            w.store(to, at[0], value);
        });
    });
    draft.call("gather", 0);
}

/// Shapes and strides in units of as many elements as move at once.
struct Units {
    count: usize,
    from_shape: Vec<usize>,
    from: Vec<i64>,
    to_shape: Vec<usize>,
    to: Vec<i64>,
}

impl Units {
    /// `even`: the last axis is as long as its shape says.
    fn new(job: &Job, axis: usize, place: &Place, even: bool) -> Units {
        let mut units = Units {
            count: 1,
            from_shape: job.operands[0].shape.clone(),
            from: place.strides.clone(),
            to_shape: job.shape.clone(),
            to: job.place.strides.clone(),
        };
        let (last, to_last) = (units.from.len() - 1, job.shape.len().saturating_sub(1));
        if even && axis < last && units.from[last] == 1 && units.to[to_last] == 1 {
            let count = together(job.dtype.bytes(), job.shape[to_last], &[&units.from[..last], &units.to[..to_last]]);
            units.count = count;
            units.from = coarser(&units.from, count);
            units.to = coarser(&units.to, count);
            units.from_shape[last] /= count;
            units.to_shape[to_last] /= count;
        }
        units
    }
}
