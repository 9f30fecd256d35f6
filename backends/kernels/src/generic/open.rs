//! Elements moved exactly as far as symbols say: between places that are pitched at the bounds, between these and
//! inputs or outputs that are dense at their actual sizes, and by the operators that only move elements, where an offset or
//! a size is not fixed. And what makes the rest of a place harmless to those who work on whole tiles.

use super::Draft;
use super::moves::{coarser, raw, together};
use super::writer::{Memory, Writer};
use crate::Job;
use crate::build::{BufferId, Builder, Pointer};
use crate::extent::Extent;
use crate::place::Place;
use ir::graph::op::{Op, PadMode};
use ir::kernel::Access;
use ir::kernel::scalar::{Binary, Value};
use ir::scalar::Literal;
use ir::{Dim, Dtype, Fault};
use std::sync::Arc;

/// A kernel, its pointers, and who adds the symbols' address to them.
struct Mover<'b, 'a> {
    w: Writer,
    builder: &'b mut Builder<'a>,
    pointers: Vec<Pointer>,
}

impl<'b, 'a> Mover<'b, 'a> {
    fn new(builder: &'b mut Builder<'a>) -> Mover<'b, 'a> {
        Mover { w: Writer::with(&builder.symbols), builder, pointers: Vec::new() }
    }

    fn at(&mut self, name: &str, access: Access, dtype: Dtype, pointer: Pointer, shape: &[usize], strides: &[i64]) -> Memory {
        self.pointers.push(pointer);
        self.w.memory(name, access, dtype, shape, strides)
    }

    fn call(self, name: &str) {
        Draft { w: self.w, builder: self.builder, pointers: self.pointers }.call(name, 0);
    }
}

fn bounds(axes: &[Extent]) -> Vec<usize> {
    axes.iter().map(Extent::bound).collect()
}

/// Elements that move as one: along the last axis, where it is fixed and both sides have it side by side.
fn units(bytes: usize, axes: &[Extent], walks: [&[i64]; 2]) -> usize {
    let Some((last, outer)) = axes.split_last() else { return 1 };
    let side_by_side = walks.iter().all(|walk| walk[outer.len()] == 1);
    match last.fixed().filter(|_| side_by_side) {
        Some(n) => together(bytes, n, &walks.map(|walk| &walk[..outer.len()])),
        None => 1,
    }
}

/// Copies `axes` elements from one place to another that does not overlap, unless they are there already.
pub fn copy(builder: &mut Builder, dtype: Dtype, axes: &[Extent], from: &Place, to: &Place) {
    let shape = bounds(axes);
    if shape.contains(&0) || from.same(to, &shape) {
        return;
    }
    let count = units(dtype.bytes(), axes, [&from.strides, &to.strides]);
    let (mut axes, mut walks) = (axes.to_vec(), [from.strides.clone(), to.strides.clone()]);
    if let Some(last) = axes.last_mut().filter(|_| count > 1) {
        *last = (last.bound() / count).into();
        walks = walks.map(|walk| coarser(&walk, count));
    }
    let (width, shape) = (raw(dtype.bytes() * count), bounds(&axes));
    let mut mover = Mover::new(builder);
    let source = mover.at("from", Access::Read, width, Job::pointer(from, dtype), &shape, &walks[0]);
    let target = mover.at("to", Access::Write, width, Job::pointer(to, dtype), &shape, &walks[1]);
    let zero = mover.w.int(0);
    mover.w.nest(&axes, &[&walks[0], &walks[1]], &[zero, zero], &mut |w, at| {
        let value = w.load(source, at[0]);
        w.store(target, at[1], value);
    });
    mover.call("copy");
}

/// Copies between a place and a buffer that is dense at its actual size.
pub fn copy_dense(builder: &mut Builder, dtype: Dtype, axes: &[Extent], place: &Place, dense: BufferId, inward: bool) {
    let shape = bounds(axes);
    if shape.contains(&0) {
        return;
    }
    // axes behind the last open one lie alike on both sides
    let fixed = axes.iter().rev().take_while(|e| e.fixed().is_some()).count();
    let lead = axes.len() - fixed;
    let inner = crate::place::dense_strides(&shape[lead..]);
    let run: usize = shape[lead..].iter().product();
    let plain = Place { strides: place.strides[lead..].to_vec(), ..place.clone() }.is_dense(&shape[lead..]);
    let count = if plain { together(dtype.bytes(), run, &[&place.strides[..lead]]) } else { 1 };
    let width = raw(dtype.bytes() * count);
    let total = shape.iter().product::<usize>() / count;
    let pitched: Vec<i64> = place.strides.iter().map(|s| s / count as i64).collect();
    let (to_place, to_dense) = if inward { (Access::Write, Access::Read) } else { (Access::Read, Access::Write) };
    let mut mover = Mover::new(builder);
    let pointer = Job::pointer(place, dtype);
    let place_memory = match plain {
        true => {
            let shape = [&shape[..lead], &[run / count]].concat();
            mover.at("place", to_place, width, pointer, &shape, &[&pitched[..lead], &[1]].concat())
        }
        false => mover.at("place", to_place, width, pointer, &shape, &place.strides),
    };
    let dense_memory = mover.at("dense", to_dense, width, Pointer { buffer: dense, offset: 0 }, &[total], &[1]);
    // how far apart neighbours of the leading axes are in the dense buffer
    let steps: Vec<Value> = (0..lead)
        .map(|i| {
            let behind = Extent::product(&[&axes[i + 1..lead], &[Extent::Fixed(run / count)]].concat());
            mover.w.size(&behind)
        })
        .collect();
    let zero = mover.w.int(0);
    let mut innermost = |w: &mut Writer, at: [Value; 2]| {
        let mut one = |w: &mut Writer, at: &[Value]| {
            let (from, to) = if inward { (dense_memory, place_memory) } else { (place_memory, dense_memory) };
            let (from_at, to_at) = if inward { (at[1], at[0]) } else { (at[0], at[1]) };
            let value = w.load(from, from_at);
            w.store(to, to_at, value);
        };
        match plain {
            true => w.nest(&[run / count], &[&[1], &[1]], &at, &mut one),
            false => w.nest(&shape[lead..], &[&place.strides[lead..], &inner], &at, &mut one),
        }
    };
    let strides: Vec<i64> = if plain { pitched[..lead].to_vec() } else { place.strides[..lead].to_vec() };
    leading(&mut mover.w, &axes[..lead], &strides, &steps, [zero, zero], &mut innermost);
    mover.call(if inward { "input" } else { "output" });
}

/// Loops over axes whose steps on one side are values.
fn leading(
    w: &mut Writer,
    axes: &[Extent],
    strides: &[i64],
    steps: &[Value],
    at: [Value; 2],
    body: &mut dyn FnMut(&mut Writer, [Value; 2]),
) {
    let Some((extent, rest)) = axes.split_first() else { return body(w, at) };
    w.repeat(extent, |w, i| {
        let far = w.binary(Binary::IMul, i, steps[0]);
        let at = [w.offset(at[0], i, strides[0]), w.add(at[1], far)];
        leading(w, rest, &strides[1..], &steps[1..], at, body);
    });
}

/// Writes `value` behind the actual end of `axis`, up to `end`: for every row that there is.
pub fn fill_rest(builder: &mut Builder, axes: &[Extent], axis: usize, end: usize, to: &Place, value: Literal) {
    let shape = bounds(axes);
    if shape.contains(&0) {
        return;
    }
    let width = raw(value.dtype.bytes());
    let mut mover = Mover::new(builder);
    let memory = mover.at("to", Access::Write, width, Job::pointer(to, value.dtype), &shape, &to.strides);
    let w = &mut mover.w;
    let (zero, start, end, bits) = (w.int(0), w.size(&axes[axis]), w.int(end as i64), w.int(value.bits as i64));
    let mut others = axes.to_vec();
    others[axis] = 1.into();
    w.nest(&others, &[&to.strides], &[zero], &mut |w, at| {
        w.count(start, end, |w, i| {
            let at = w.offset(at[0], i, to.strides[axis]);
            w.store(memory, at, bits);
        });
    });
    mover.call("rest");
}

/// `to[i, j]` is 1 where key `j` exists and query `i` may see it, else 0; f32. One row serves all queries where `causal` is
/// not asked for.
pub fn mask(builder: &mut Builder, shape: [usize; 2], keys: &Extent, causal: Option<&Dim>, to: &Place) {
    let mut mover = Mover::new(builder);
    let memory = mover.at("to", Access::Write, Dtype::F32, Job::pointer(to, Dtype::F32), &shape, &to.strides);
    let w = &mut mover.w;
    let (zero, size) = (w.int(0), w.size(keys));
    let ahead = causal.map(|dim| w.dim(dim));
    let (yes, no) = (w.f32(1.0), w.f32(0.0));
    w.nest(&shape, &[&to.strides, &[1, 0], &[0, 1]], &[zero; 3], &mut |w, at| {
        let mut seen = w.binary(Binary::SLt, at[2], size);
        if let Some(ahead) = ahead {
            let last = w.binary(Binary::IAdd, at[1], ahead);
            let past = w.binary(Binary::SLe, at[2], last);
            seen = w.binary(Binary::And, seen, past);
        }
        let value = w.select(seen, yes, no);
        w.store(memory, at[0], value);
    });
    mover.call("mask");
}

/// Writes the derived symbols from the `first` on, whose numbers and dimensions these are. Status 3 where one of `checked` is
/// negative.
pub fn derive(builder: &mut Builder, derived: &[(usize, Dim)], checked: &[Dim]) {
    if derived.is_empty() && checked.is_empty() {
        return;
    }
    let (free, count) = (builder.symbols.free(), builder.symbols.list.len());
    let buffer = builder.symbol_values();
    let mut mover = Mover::new(builder);
    let to = (!derived.is_empty()).then(|| {
        let pointer = Pointer { buffer, offset: 8 * free as i64 };
        mover.at("derived", Access::Write, Dtype::I64, pointer, &[count - free], &[1])
    });
    let w = &mut mover.w;
    let zero = w.int(0);
    for dim in checked {
        let value = w.dim(dim);
        let proper = w.binary(Binary::SLe, zero, value);
        w.insist(proper, 3);
    }
    for (number, dim) in derived {
        let (value, at) = (w.dim(dim), w.int((number - free) as i64));
        let to = to.expect("there are derived symbols");
        w.store(to, at, value);
    }
    mover.call("symbols");
}

/// Writes what the symbols will be in the next run, one after the other.
pub fn lengths(builder: &mut Builder, lengths: &[(Arc<str>, Dim)], to: Pointer) {
    let mut mover = Mover::new(builder);
    let memory = mover.at("to", Access::Write, Dtype::I64, to, &[lengths.len()], &[1]);
    for (i, (_, dim)) in lengths.iter().enumerate() {
        let (value, at) = (mover.w.dim(dim), mover.w.int(i as i64));
        mover.w.store(memory, at, value);
    }
    mover.call("lengths");
}

/// Reshape, Transpose, Slice, Expand, Concat, Pad. Fault: none that a verified graph gives.
pub fn lower(job: &Job, builder: &mut Builder) -> Result<(), Fault> {
    let result = builder.result_extents(&job.shape);
    let source = &job.operands[0];
    let axes = builder.operand_extents(0, &source.shape);
    match job.op {
        Op::Reshape { .. } => reshape(job, &axes, &result, builder),
        Op::Transpose { perm } => {
            let from = source.place(builder);
            let turned = Place { strides: perm.iter().map(|&p| from.strides[p]).collect(), ..from };
            copy(builder, job.dtype, &result, &turned, &job.place);
        }
        Op::Expand { .. } => {
            let from = source.place(builder).expand(&source.shape, &job.shape);
            copy(builder, job.dtype, &result, &from, &job.place);
        }
        Op::Slice { start, step, .. } => {
            let from = source.place(builder);
            let moved = |axis: usize| (step[axis] != 1 || start[axis] != Dim::from(0i64)).then(|| (start[axis].clone(), step[axis]));
            let moved: Vec<Option<(Dim, i64)>> = (0..start.len()).map(moved).collect();
            shifted(builder, job.dtype, &result, [(&from, &axes), (&job.place, &result)], &moved, true);
        }
        Op::Concat { axis } => {
            let mut start = Dim::from(0i64);
            for (i, part) in job.operands.iter().enumerate() {
                let axes = builder.operand_extents(i, &part.shape);
                let from = part.place(builder);
                // a cache that grows lies there already
                if i == 0 && from.same(&job.place, &part.shape) {
                    start = axes[*axis].dim();
                    continue;
                }
                let mut moved = vec![None; axes.len()];
                moved[*axis] = Some((start.clone(), 1));
                start = start + axes[*axis].dim();
                shifted(builder, job.dtype, &axes, [(&from, &axes), (&job.place, &result)], &moved, false);
            }
        }
        Op::Pad { low, mode, value, .. } => pad(job, &axes, &result, low, *mode, *value, builder),
        op => unreachable!("{} does not only move elements", op.mnemonic()),
    }
    Ok(())
}

/// Copies `walked` elements; on one side (the source if `from`) index `i` of an axis is element `start + i * step`.
fn shifted(
    builder: &mut Builder,
    dtype: Dtype,
    walked: &[Extent],
    sides: [(&Place, &[Extent]); 2],
    moved: &[Option<(Dim, i64)>],
    from: bool,
) {
    let shapes = sides.map(|(_, axes)| bounds(axes));
    if walked.iter().any(|e| e.bound() == 0) || shapes.iter().any(|s| s.contains(&0)) {
        return;
    }
    let width = raw(dtype.bytes());
    let mut mover = Mover::new(builder);
    let [source, target] = [(0, "from", Access::Read), (1, "to", Access::Write)]
        .map(|(i, name, access)| mover.at(name, access, width, Job::pointer(sides[i].0, dtype), &shapes[i], &sides[i].0.strides));
    let side = usize::from(!from);
    let starts: Vec<Option<Value>> = moved.iter().map(|m| m.as_ref().map(|(start, _)| mover.w.dim(start))).collect();
    let still = |i: usize, axis: usize| if i == side && moved[axis].is_some() { 0 } else { sides[i].0.strides[axis] };
    let mut walks: Vec<Vec<i64>> = (0..2).map(|i| (0..walked.len()).map(|axis| still(i, axis)).collect()).collect();
    let own: Vec<usize> = (0..walked.len()).filter(|&axis| moved[axis].is_some()).collect();
    walks.extend(own.iter().map(|&axis| (0..walked.len()).map(|i| i64::from(i == axis)).collect()));
    let walks: Vec<&[i64]> = walks.iter().map(Vec::as_slice).collect();
    let zero = mover.w.int(0);
    mover.w.nest(walked, &walks, &vec![zero; walks.len()], &mut |w, at| {
        let mut ends = [at[0], at[1]];
        for (&axis, &i) in own.iter().zip(&at[2..]) {
            let (start, step) = (starts[axis].expect("it is moved"), moved[axis].as_ref().map_or(1, |m| m.1));
            let position = w.offset(start, i, step);
            let position = w.within(position, shapes[side][axis]);
            ends[side] = w.offset(ends[side], position, sides[side].0.strides[axis]);
        }
        let value = w.load(source, ends[0]);
        w.store(target, ends[1], value);
    });
    mover.call("move");
}

/// In row-major order: the position in the result says the number of the element, and that the position in the source.
fn reshape(job: &Job, axes: &[Extent], result: &[Extent], builder: &mut Builder) {
    let source = &job.operands[0];
    if job.shape.contains(&0) || source.shape.contains(&0) {
        return;
    }
    let from_place = source.place(builder);
    let width = raw(job.dtype.bytes());
    let mut mover = Mover::new(builder);
    let from = mover.at("from", Access::Read, width, Job::pointer(&from_place, job.dtype), &source.shape, &from_place.strides);
    let to = mover.at("to", Access::Write, width, Job::pointer(&job.place, job.dtype), &job.shape, &job.place.strides);
    let rank = result.len();
    let steps: Vec<Value> = (0..rank).map(|i| mover.w.size(&Extent::product(&result[i + 1..]))).collect();
    let sizes: Vec<Value> = axes.iter().map(|e| mover.w.size(e)).collect();
    let units: Vec<Vec<i64>> = (0..rank).map(|axis| (0..rank).map(|i| i64::from(i == axis)).collect()).collect();
    let mut walks: Vec<&[i64]> = vec![&job.place.strides];
    walks.extend(units.iter().map(Vec::as_slice));
    let zero = mover.w.int(0);
    mover.w.nest(result, &walks, &vec![zero; walks.len()], &mut |w, at| {
        let mut number = zero;
        for (&i, &step) in at[1..].iter().zip(&steps) {
            let far = w.binary(Binary::IMul, i, step);
            number = w.add(number, far);
        }
        let mut start = zero;
        for axis in (0..axes.len()).rev() {
            let position = w.binary(Binary::URem, number, sizes[axis]);
            number = w.binary(Binary::UDiv, number, sizes[axis]);
            let position = w.within(position, source.shape[axis]);
            start = w.offset(start, position, from_place.strides[axis]);
        }
        let value = w.load(from, start);
        w.store(to, at[0], value);
    });
    mover.call("reshape");
}

fn pad(job: &Job, axes: &[Extent], result: &[Extent], low: &[Dim], mode: PadMode, value: Literal, builder: &mut Builder) {
    let source = &job.operands[0];
    if job.shape.contains(&0) {
        return;
    }
    let from_place = source.place(builder);
    let width = raw(job.dtype.bytes());
    let mut mover = Mover::new(builder);
    let from = mover.at("from", Access::Read, width, Job::pointer(&from_place, job.dtype), &source.shape, &from_place.strides);
    let to = mover.at("to", Access::Write, width, Job::pointer(&job.place, job.dtype), &job.shape, &job.place.strides);
    let rank = result.len();
    let before: Vec<Value> = low.iter().map(|dim| mover.w.dim(dim)).collect();
    let units: Vec<Vec<i64>> = (0..rank).map(|axis| (0..rank).map(|i| i64::from(i == axis)).collect()).collect();
    let mut walks: Vec<&[i64]> = vec![&job.place.strides];
    walks.extend(units.iter().map(Vec::as_slice));
    let (zero, one) = (mover.w.int(0), mover.w.int(1));
    let fill = mover.w.int(value.bits as i64);
    let sizes: Vec<Value> = axes.iter().map(|e| mover.w.size(e)).collect();
    if mode != PadMode::Constant {
        for &size in &sizes {
            let something = mover.w.binary(Binary::SLt, zero, size);
            mover.w.insist(something, 4);
        }
    }
    if source.shape.contains(&0) {
        mover.w.nest(result, &[&job.place.strides], &[zero], &mut |w, at| w.store(to, at[0], fill));
        return mover.call("pad");
    }
    mover.w.nest(result, &walks, &vec![zero; walks.len()], &mut |w, at| {
        let (mut start, mut inside) = (zero, one);
        for axis in 0..rank {
            let size = sizes[axis];
            let at = w.binary(Binary::ISub, at[1 + axis], before[axis]);
            let position = match mode {
                PadMode::Constant => {
                    let here = w.binary(Binary::ULt, at, size);
                    inside = w.binary(Binary::And, inside, here);
                    at
                }
                // what is not between the ends is at one of them
                PadMode::Edge => {
                    let (last, least) = (w.binary(Binary::ISub, size, one), w.binary(Binary::SMax, at, zero));
                    w.binary(Binary::SMin, least, last)
                }
                PadMode::Wrap => modulo(w, at, size),
                PadMode::Reflect => {
                    let last = w.binary(Binary::ISub, size, one);
                    let period = w.binary(Binary::IAdd, last, last);
                    let there = modulo(w, at, period);
                    let back = w.binary(Binary::ISub, period, there);
                    w.binary(Binary::SMin, there, back)
                }
            };
            let position = w.within(position, source.shape[axis]);
            start = w.offset(start, position, from_place.strides[axis]);
        }
        let element = w.load(from, start);
        let element = if mode == PadMode::Constant { w.select(inside, element, fill) } else { element };
        w.store(to, at[0], element);
    });
    mover.call("pad");
}

/// What is left of a division that rounds toward minus infinity; by 0 it is 0.
fn modulo(w: &mut Writer, a: Value, by: Value) -> Value {
    let rest = w.binary(Binary::SRem, a, by);
    let up = w.binary(Binary::IAdd, rest, by);
    w.binary(Binary::SRem, up, by)
}
