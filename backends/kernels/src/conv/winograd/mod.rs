//! Convolution with 3x3 filters by Winograd's minimal filtering: tiles of the image are transformed, one product for each
//! point of the transform, tiles of the result transformed back with the epilogue. A call does all three for some lines of
//! tiles, in the worker's scratch: what it needs of the image stays in L2.
//!
//! What is worth it, and how large tiles and calls are, stands here; [`points`] knows the matrices, [`combine`] applies one,
//! [`block`] writes the kernel, [`weights`] transforms filters and says how far results are off.

mod block;
mod combine;
mod points;
mod weights;

use super::Window;
use crate::build::{Builder, Home, Pointer};
use crate::cost::{Candidate, Rates};
use crate::dot::{self, Extra};
use crate::place::Place;
use crate::{Job, tile};
use block::{Block, Layer, Streams};
use ir::Dtype;
use ir::graph::op::Op;
use ir::kernel::Facts;
use ir::program::{Packed, Part};
use ir::tensor::Tensor;
use points::{Matrices, SIZES, TAPS};

/// Bytes that come from beyond L2 in a cycle.
const BEYOND: f64 = 16.0;

/// Fewer channels are all transforms and no products.
const FEWEST_CHANNELS: usize = 16;

/// Fewer multiply-adds save too little to be worth larger weights.
const FEWEST_MACS: usize = 1 << 20;

/// The sizes of a convolution: of its result, and channels on both sides.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    out: (usize, usize),
    channels: usize,
    filters: usize,
}

/// Transformed weights of a layer, in bytes, beyond which a model grows more than its speed is worth.
const MOST_WEIGHTS: usize = 16 << 20;

/// How a convolution is cut: tiles of `m x m`, calls of `rows` lines of tiles and one of `parts` equal parts of the filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    m: usize,
    rows: usize,
    parts: usize,
}

/// Emits the convolution of `job` if it is one for this and the builder allows it; `image` starts at the first tap of the
/// first window. `false` leaves nothing behind.
pub fn lower(job: &Job, image: &Place, window: &Window, weights: &Tensor, builder: &mut Builder) -> bool {
    let Op::Conv { group, epilogue, .. } = job.op else { return false };
    let Some(allowed) = builder.winograd else { return false };
    let plain = *group == 1 && window.kernel == [TAPS, TAPS] && window.stride == [1, 1] && window.dilation == [1, 1];
    let (channels, filters) = (weights.shape()[2.min(weights.shape().len() - 1)], *weights.shape().last().expect("weights have axes"));
    if !plain || channels.min(filters) < FEWEST_CHANNELS {
        return false;
    }
    let sizes = Sizes { batch: job.shape[0], out: (job.shape[1], job.shape[2]), channels, filters };
    let exact = |matrices: &Matrices| weights::error(matrices, weights) <= allowed;
    let ways = sizes.ways(epilogue.terms.len(), builder);
    let ways: Vec<(f64, Shape, Matrices)> =
        ways.into_iter().map(|(cycles, shape)| (cycles, shape, Matrices::new(shape.m))).filter(|way| exact(&way.2)).collect();
    if ways.is_empty() {
        return false;
    }
    let Some((extras, body)) = dot::extras(&job.operands[2..], epilogue, &job.shape, builder) else { return false };
    if extras.iter().filter(|e| matches!(e, Extra::Memory { .. })).count() > 2 {
        return false;
    }
    let Some((_, shape, matrices)) = sizes.choose(ways, epilogue.terms.len(), builder) else { return false };
    let steps: Vec<Vec<i64>> = extras.iter().map(|e| dot::extra_steps(e, 4)).collect();
    let streams = Streams {
        image: [image.strides[1] * 4, image.strides[2] * 4],
        result: [job.place.strides[1] * 4, job.place.strides[2] * 4],
        extras: steps.iter().map(|s| [s[1], s[2]]).collect(),
    };
    let layer = Layer {
        facts: builder.facts,
        packing: builder.packing,
        matrices: &matrices,
        shape,
        channels,
        filters: filters / shape.parts,
        width: sizes.out.1,
        streams,
        extras: &extras,
        body: &body,
    };
    emit(job, image, weights, &layer, &sizes, builder).is_some()
}

impl Sizes {
    fn tiles(&self, m: usize) -> (usize, usize) {
        (self.out.0.div_ceil(m), self.out.1.div_ceil(m))
    }

    fn macs(&self) -> usize {
        self.batch * self.out.0 * self.out.1 * self.channels * self.filters * TAPS * TAPS
    }

    /// The way that is chosen; `None`: the direct one.
    fn choose(&self, ways: Vec<(f64, Shape, Matrices)>, terms: usize, builder: &mut Builder) -> Option<(f64, Shape, Matrices)> {
        let facts = builder.packing;
        let rates = Rates::of(facts);
        let (macs, outputs) = (self.macs() as u64, (self.batch * self.out.0 * self.out.1 * self.filters) as u64);
        let read = (TAPS * TAPS * self.channels * self.filters * 4) as u64;
        let moved = 4 * outputs + outputs / self.filters as u64 * self.channels as u64 * 4;
        let mut candidates = vec![Candidate::new("direct", rates.dense(facts, macs, read, moved))];
        for (cycles, shape, matrices) in &ways {
            let grown = (matrices.size() * matrices.size()) as f64 / (TAPS * TAPS) as f64;
            let why = format!("{grown:.1} times the weights, {} lines of tiles in a call", shape.rows);
            candidates.push(Candidate { why, ..Candidate::new(format!("winograd_{0}x{0}", shape.m), cycles * rates.cycle(facts)) });
        }
        let (h, w) = self.out;
        let key = format!("conv 3x3 f32 {}x{h}x{w} {}x{} epilogue={terms}", self.batch, self.channels, self.filters);
        let taken = builder.choose(&key, &candidates);
        ways.into_iter().nth(taken.checked_sub(1)?)
    }

    /// For each size of tiles the cut with the least predicted cycles.
    fn ways(&self, terms: usize, builder: &Builder) -> Vec<(f64, Shape)> {
        // levels that share weights cut alike
        let facts = builder.packing;
        let macs = self.macs();
        if macs < FEWEST_MACS {
            return Vec::new();
        }
        let rate = facts.mul_adds();
        let plain = macs as f64 / rate / 0.95;
        let wanted = builder.tasks.worth(macs as u64, 0).min(4);
        let mut ways = Vec::new();
        for m in SIZES.into_iter().filter(|m| (m + TAPS - 1).pow(2) * self.channels * self.filters * 4 <= MOST_WEIGHTS) {
            let lines = self.tiles(m).0;
            let mut best: Option<(f64, Shape)> = None;
            for rows in 1..=lines {
                let calls = self.batch * lines.div_ceil(rows);
                // two workers want two calls; filters are cut where lines are too few
                let parts = if calls == 1 && wanted > 1 && self.filters.is_multiple_of(2 * facts.lanes()) { 2 } else { 1 };
                let shape = Shape { m, rows, parts };
                let odd = if wanted > 1 && (calls * parts) % 2 == 1 { 1.02 } else { 1.0 };
                let cycles = self.cycles(shape, terms, rate, facts) * odd;
                if best.is_none_or(|(least, _)| cycles < least) {
                    best = Some((cycles, shape));
                }
            }
            // what is predicted to be slower by far is not worth looking at
            ways.extend(best.filter(|(cycles, _)| *cycles < 1.2 * plain));
        }
        ways
    }

    /// Predicted cycles: products, transforms, and what comes from beyond L2.
    fn cycles(&self, shape: Shape, terms: usize, rate: f64, facts: &Facts) -> f64 {
        let (down, right) = self.tiles(shape.m);
        let size = shape.m + TAPS - 1;
        let points = (size * size) as f64;
        let tiles = (self.batch * down * right) as f64;
        let vectors = |n: usize| n.div_ceil(facts.lanes()) as f64;
        let (channels, filters) = (self.channels as f64, self.filters as f64);
        let products = tiles * points * channels * filters / rate / 0.88;
        // two passes of size lines each: loads, stores, and about as many operations as points along both axes
        let there = tiles * vectors(self.channels) * shape.parts as f64 * points * 3.0;
        let back = tiles * vectors(self.filters) * (points * 2.6 + (shape.m * shape.m * (terms + 1)) as f64 / 2.0);
        let calls = (self.batch * down.div_ceil(shape.rows) * shape.parts) as f64;
        let weights = points * channels * filters * 4.0 / shape.parts as f64;
        let block = points * (shape.rows * right * (self.channels + self.filters / shape.parts)) as f64 * 4.0;
        let l2 = facts.caches[1] as f64;
        // weights stay in L2 when what a call works on leaves them room
        let again = if weights + block > l2 { calls * weights } else { weights };
        let spilt = if block > 0.7 * l2 { 2.0 * calls * block } else { 0.0 };
        products + there + back + (again + spilt) / BEYOND
    }
}

/// Calls of one step, one for each block of lines and part of the filters. `None` where an epilogue is wider than all
/// registers or rows farther apart than an address reaches.
fn emit(job: &Job, image: &Place, weights: &Tensor, layer: &Layer, sizes: &Sizes, builder: &mut Builder) -> Option<()> {
    let Layer { facts, matrices, shape, filters, extras, .. } = *layer;
    let streams = &layer.streams;
    let lines = sizes.tiles(shape.m).0;
    let steps: Vec<Vec<i64>> = extras.iter().map(|e| dot::extra_steps(e, 4)).collect();
    let blocks = tile_rows(lines, shape.rows);
    let rows = |count: usize, last: bool| {
        let partial = if last { sizes.out.0 - (lines - 1) * shape.m } else { shape.m };
        if partial == shape.m { (count, None) } else { (count - 1, Some(partial)) }
    };
    let mut kinds: Vec<Block> = Vec::new();
    let mut lists: Vec<Vec<Vec<Pointer>>> = Vec::new();
    let mut first: Vec<(usize, usize)> = Vec::new();
    let mut start = 0;
    for (i, &count) in blocks.iter().enumerate() {
        let block = Block::new(layer, rows(count, i + 1 == blocks.len()), kinds.first())?;
        let kind = kinds.iter().position(|k| k.same_rows(&block)).unwrap_or_else(|| {
            kinds.push(block);
            lists.push(Vec::new());
            kinds.len() - 1
        });
        first.push((kind, start));
        start += count;
    }
    let scratch_bytes = kinds.iter().map(Block::scratch_bytes).max()?;
    let scratch = builder.buffer("winograd", Home::Scratch, scratch_bytes as u64);
    for part in 0..shape.parts {
        let columns = part * filters;
        let packed = kinds[0].pack(matrices, weights, (columns, filters), builder);
        let constants = constants(extras, (columns, filters), facts, builder);
        for n in 0..sizes.batch {
            for &(kind, row) in &first {
                let line = (row * shape.m) as i64;
                let mut args = vec![
                    Pointer { buffer: scratch, offset: 0 },
                    Pointer { buffer: packed, offset: 0 },
                    Pointer { buffer: scratch, offset: kinds[kind].sums_offset() },
                    moved(Job::pointer(image, Dtype::F32), n as i64 * image.strides[0] * 4 + line * streams.image[0]),
                    moved(
                        Job::pointer(&job.place, Dtype::F32),
                        n as i64 * job.place.strides[0] * 4 + line * streams.result[0] + columns as i64 * 4,
                    ),
                ];
                args.extend(constants);
                for (i, extra) in extras.iter().enumerate() {
                    if let Extra::Memory { place, dtype, contiguous } = extra {
                        let column = if *contiguous { columns as i64 * 4 } else { 0 };
                        args.push(moved(Job::pointer(place, *dtype), n as i64 * steps[i][0] + line * steps[i][1] + column));
                    }
                }
                lists[kind].push(args);
            }
        }
    }
    let macs = (job.shape.iter().product::<usize>() * sizes.channels * TAPS * TAPS) as u64;
    let calls = kinds.iter().map(Block::kernel).collect::<Option<Vec<_>>>()?;
    builder.step(calls.into_iter().zip(lists).collect(), macs);
    Some(())
}

fn moved(pointer: Pointer, by: i64) -> Pointer {
    Pointer { offset: pointer.offset + by, ..pointer }
}

/// `lines` as blocks of `most`, balanced.
fn tile_rows(lines: usize, most: usize) -> Vec<usize> {
    let blocks = lines.div_ceil(most);
    (0..blocks).map(|i| lines / blocks + usize::from(i < lines % blocks)).collect()
}

/// Operands that have one value for each filter, those of a part side by side, each padded to whole vectors.
fn constants(extras: &[Extra], (first, count): (usize, usize), facts: &Facts, builder: &mut Builder) -> Option<Pointer> {
    let width = count.next_multiple_of(facts.lanes());
    let part = |tensor: &Tensor| {
        let source = tensor.slice(&[first], &[1], &[count]);
        Part::Layout { source, padded: vec![width], split: vec![vec![width]], order: vec![0] }
    };
    let parts: Vec<Part> = extras
        .iter()
        .filter_map(|e| match e {
            Extra::Columns(tensor) => Some(part(tensor)),
            Extra::Memory { .. } => None,
        })
        .collect();
    (!parts.is_empty()).then(|| Pointer { buffer: builder.constant(Packed { align: 64, parts }), offset: 0 })
}

/// Whether a displacement fits an address.
fn near(bytes: i64) -> bool {
    tile::near(bytes)
}
