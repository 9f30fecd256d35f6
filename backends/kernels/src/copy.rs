//! Copies between places of any strides, and the operators that only move elements: vectors where four bytes go
//! together ([`lanes`]), or smaller elements lie in runs ([`bytes`]), single elements elsewhere. No byte outside the elements of the destination is ever
//! written: its neighbours may be another part of a concatenation, or a halo.

mod bytes;
mod lanes;
mod pad;
#[cfg(test)]
mod tests;

use crate::build::{Builder, Halo, Home};
use crate::generic;
use crate::place::{Place, dense_strides};
use crate::{Job, Where, tasks};
use ir::graph::op::Op;
use ir::kernel::{Facts, Kernel};
use ir::scalar::Literal;
use ir::{Dtype, Fault, Tensor};

/// Copies `shape` elements of `dtype` from one place to another, unless they are there already; otherwise the
/// places do not overlap.
pub fn copy(builder: &mut Builder, dtype: Dtype, shape: &[usize], from: &Place, to: &Place) {
    if shape.contains(&0) || from.same(to, shape) {
        return;
    }
    let (facts, width) = (builder.facts, dtype.bytes());
    let (mut shape, from_steps, to_steps) = sorted(shape, &from.strides, &to.strides);
    let args = [Job::pointer(from, dtype), Job::pointer(to, dtype)];
    let most = builder.tasks.worth(0, (2 * width * shape.iter().product::<usize>()) as u64);
    let outermost = shape.first().copied().unwrap_or(1);
    let step = |steps: &[i64]| steps.first().copied().unwrap_or(0);
    // what lies within one step of the outermost axis is nobody else's
    let span: i64 = shape.iter().zip(&to_steps).skip(1).map(|(&n, s)| (n as i64 - 1) * s.abs()).sum();
    let unit = if shape.len() == 1 { 512 } else { 1 };
    let cut = tasks::cut(outermost, unit, most, |_| span < step(&to_steps).abs());
    let moved = |start: usize| [&from_steps, &to_steps].map(|s| step(s) * (start * width) as i64).to_vec();
    let mut kernel = |size: usize| {
        if let Some(first) = shape.first_mut() {
            *first = size;
        }
        Some(copy_kernel(facts, width, &shape, &from_steps, &to_steps))
    };
    builder.cut(cut, &args, &moved, &mut kernel, 0).expect("copies always have a kernel");
}

/// The axes of a copy in the order of the destination, joined.
fn sorted(shape: &[usize], from: &[i64], to: &[i64]) -> (Vec<usize>, Vec<i64>, Vec<i64>) {
    // the order of axes is free: the destination's innermost goes last
    let mut axes: Vec<usize> = (0..shape.len()).collect();
    axes.sort_by_key(|&i| -to[i].abs());
    let pick = |strides: &[i64]| axes.iter().map(|&i| strides[i]).collect::<Vec<i64>>();
    let sorted: Vec<usize> = axes.iter().map(|&i| shape[i]).collect();
    let (shape, mut walks) = generic::coalesce(&sorted, &[&pick(from), &pick(to)]);
    let to = walks.pop().expect("there are two");
    (shape, walks.pop().expect("there are two"), to)
}

/// Copies elements of `width` bytes over sorted axes, strides in elements. Arguments: from, to.
fn copy_kernel(facts: &Facts, width: usize, shape: &[usize], from: &[i64], to: &[i64]) -> Kernel {
    let runs = || bytes::copy(facts, width, shape, from, to);
    lanes::copy(facts, width, shape, from, to).or_else(runs).unwrap_or_else(|| generic::copy_kernel(width, shape, from, to))
}

/// A box of a buffer: offset, extents and strides, in elements.
type Region = (i64, Vec<usize>, Vec<i64>);

/// Fills regions of one buffer, counted from the pointer, with the bits of an element of `width` bytes.
fn fill_kernel(facts: &Facts, width: usize, regions: &[Region], bits: u64) -> Kernel {
    let merged = |(offset, shape, strides): &Region| {
        let (shape, mut walks) = generic::coalesce(shape, &[strides]);
        (*offset, shape, walks.remove(0))
    };
    let regions: Vec<Region> = regions.iter().filter(|r| !r.1.contains(&0)).map(merged).collect();
    let runs = || bytes::fill(facts, width, &regions, bits);
    lanes::fill(facts, width, &regions, bits).or_else(runs).unwrap_or_else(|| generic::fill_kernel(width, &regions, bits))
}

/// Fills `shape` elements at a place.
pub(crate) fn fill(builder: &mut Builder, shape: &[usize], to: &Place, value: Literal) {
    if shape.contains(&0) {
        return;
    }
    let kernel = fill_kernel(builder.facts, value.dtype.bytes(), &[(0, shape.to_vec(), to.strides.clone())], value.bits);
    builder.call(kernel, &[Job::pointer(to, value.dtype)], 0);
}

/// What lies around the box `inner` (first element and extent of each axis) in one of `shape`, as regions that
/// do not overlap.
fn around(shape: &[usize], inner: &[(usize, usize)], strides: &[i64]) -> Vec<Region> {
    let mut out = Vec::new();
    for axis in 0..shape.len() {
        let (first, count) = inner[axis];
        for (start, extent) in [(0, first), (first + count, shape[axis] - first - count)] {
            if extent == 0 {
                continue;
            }
            // axes before this one are inside, those behind it span everything
            let begin = |i: usize| if i < axis { inner[i].0 } else { [start, 0][usize::from(i > axis)] };
            let size = |i: usize| if i < axis { inner[i].1 } else { [extent, shape[i]][usize::from(i > axis)] };
            let offset = (0..shape.len()).map(|i| begin(i) as i64 * strides[i]).sum();
            out.push((offset, (0..shape.len()).map(size).collect(), strides.to_vec()));
        }
    }
    out
}

/// Fills everything of a buffer outside its halo's inside. Its one argument is the buffer's start.
pub fn halo_kernel(halo: &Halo, facts: &Facts) -> Kernel {
    let regions = around(&halo.shape, &halo.inner, &dense_strides(&halo.shape));
    let mut kernel = fill_kernel(facts, halo.width, &regions, halo.fill);
    kernel.name = "halo".into();
    kernel
}

/// Reshape, Transpose, Slice, Expand, Concat, Pad: into the place that was chosen for the result.
pub fn lower(job: &Job, builder: &mut Builder) -> Result<(), Fault> {
    let fixed = |d: &ir::Dim| d.fixed().expect("the graph was checked to be fixed");
    let first = &job.operands[0];
    match job.op {
        Op::Concat { axis } => concat(job, *axis, builder),
        Op::Pad { low, high, mode, value } => {
            let pads: Vec<(usize, usize)> = low.iter().zip(high).map(|(l, h)| (fixed(l) as usize, fixed(h) as usize)).collect();
            pad::pad(job, &pads, *mode, *value, builder)?;
        }
        Op::Reshape { .. } => match &first.at {
            Where::Constant(tensor) => constant(&tensor.reshape(&job.shape), &job.place, builder),
            Where::Place(from) => reshape(job, from, builder),
        },
        Op::Transpose { perm } => match &first.at {
            Where::Constant(tensor) => constant(&tensor.permute(perm), &job.place, builder),
            Where::Place(from) => {
                let turned = Place { strides: perm.iter().map(|&p| from.strides[p]).collect(), ..from.clone() };
                copy(builder, job.dtype, &job.shape, &turned, &job.place);
            }
        },
        Op::Slice { start, step, .. } => match &first.at {
            Where::Constant(tensor) => {
                let start: Vec<usize> = start.iter().map(|d| fixed(d) as usize).collect();
                let step: Vec<isize> = step.iter().map(|&s| s as isize).collect();
                constant(&tensor.slice(&start, &step, &job.shape), &job.place, builder);
            }
            Where::Place(from) => {
                let start: Vec<i64> = start.iter().map(fixed).collect();
                copy(builder, job.dtype, &job.shape, &from.slice(&start, step), &job.place);
            }
        },
        Op::Expand { .. } => {
            let from = first.place(builder);
            copy(builder, job.dtype, &job.shape, &from.expand(&first.shape, &job.shape), &job.place);
        }
        Op::Input { .. }
        | Op::Const { .. }
        | Op::Gather { .. }
        | Op::Map { .. }
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
        | Op::Norm { .. }
        | Op::Resize { .. } => return generic::lower(job, builder),
    }
    Ok(())
}

/// A constant into a place; one element repeated is not laid out.
fn constant(tensor: &Tensor, to: &Place, builder: &mut Builder) {
    if tensor.elements() == 0 {
        return;
    }
    if tensor.is_splat() {
        let rank = tensor.shape().len();
        let one = tensor.slice(&vec![0; rank], &vec![1; rank], &vec![1; rank]);
        return fill(builder, tensor.shape(), to, Literal::from_bytes(tensor.dtype(), &one.bytes()));
    }
    let from = builder.dense_constant(tensor);
    copy(builder, tensor.dtype(), tensor.shape(), &from, to);
}

fn concat(job: &Job, axis: usize, builder: &mut Builder) {
    let mut start = vec![0; job.shape.len()];
    for source in &job.operands {
        let part = job.place.slice(&start, &vec![1; job.shape.len()]);
        match &source.at {
            Where::Place(from) if from.same(&part, &source.shape) => {}
            Where::Place(from) => copy(builder, job.dtype, &source.shape, from, &part),
            Where::Constant(tensor) => constant(tensor, &part, builder),
        }
        start[axis] += source.shape[axis] as i64;
    }
}

/// In row-major order. Where neither side can be seen under the other's shape, by way of a dense buffer.
fn reshape(job: &Job, from: &Place, builder: &mut Builder) {
    let (from_shape, to_shape) = (&job.operands[0].shape, &job.shape);
    if let Some(seen) = from.reshape(from_shape, to_shape) {
        return copy(builder, job.dtype, to_shape, &seen, &job.place);
    }
    if let Some(seen) = job.place.reshape(to_shape, from_shape) {
        return copy(builder, job.dtype, from_shape, from, &seen);
    }
    let bytes = (from_shape.iter().product::<usize>() * job.dtype.bytes()) as u64;
    let between = builder.buffer("reshape", Home::Arena, bytes);
    copy(builder, job.dtype, from_shape, from, &Place::dense(between, from_shape));
    copy(builder, job.dtype, to_shape, &Place::dense(between, to_shape), &job.place);
}
