//! Pooling over the spatial axes of `[n, spatial.., c]`, channels as lanes. The result falls into regions in which
//! every window has the same taps inside the image: what lies in the padding is never visited, so no border is
//! needed. A large window slides along one axis and then along the other, which its maximum or sum does not mind.
//!
//! Bytes are widened to i32 for a sum, and for a maximum of channels that do not come in fours; where they do, four channels
//! of bytes are a lane.

use crate::Job;
use crate::body::{Param, Pressure};
use crate::build::{Builder, Home};
use crate::nest::{self, Nest, Stream, StreamId};
use crate::pieces::{Pieces, around};
use crate::place::Place;
use crate::tile::{self, Pool, Writer, at};
use crate::{Source, Where};
use ir::Dtype;
use ir::graph::infer::window_type;
use ir::graph::op::{Op, WindowKind};
use ir::kernel::Facts;
use ir::kernel::facts::MinMax;
use ir::kernel::tile::{Binary, Compare, Operand, Stmt, V};
use ir::scalar::Body;

const X: StreamId = 0;
const OUT: StreamId = 1;

/// Axes of the nest.
const BATCH: usize = 0;
const LINES: usize = 1;
const COLUMNS: usize = 2;
const CHANNELS: usize = 3;

/// Windows with more taps slide along one axis at a time.
const MOST_TAPS: usize = 12;

/// How a window slides along one axis.
#[derive(Clone, Copy, Debug)]
struct Slide {
    size: usize,
    stride: usize,
    dilation: usize,
    low: i64,
}

const STILL: Slide = Slide { size: 1, stride: 1, dilation: 1, low: 0 };

/// Results next to each other whose windows have the same taps in the image: `first..last` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Region {
    count: usize,
    first: usize,
    last: usize,
}

/// Emits the pooling of `job`, if it is one for vectors: f32 or bytes, one or two spatial axes, contiguous channels.
pub fn lower(job: &Job, builder: &mut Builder) -> bool {
    let Op::Window { kind, size, stride, dilation, low, high: _, epilogue } = job.op else { return false };
    let x = &job.operands[0];
    let spatial = size.len();
    let typed = match x.dtype {
        Dtype::F32 => matches!(job.dtype, Dtype::F32 | Dtype::I32),
        Dtype::U8 | Dtype::I8 => true,
        _ => false,
    };
    if !typed || !(1..=2).contains(&spatial) || job.shape.contains(&0) || x.shape.contains(&0) {
        return false;
    }
    let slide = |i: usize| Slide { size: size[i], stride: stride[i], dilation: dilation[i], low: low[i] };
    let (down, right) = if spatial == 2 { (slide(0), slide(1)) } else { (STILL, slide(0)) };
    // with a line axis in any case
    let four = |shape: &[usize]| if spatial == 2 { shape.to_vec() } else { vec![shape[0], 1, shape[1], shape[2]] };
    let lines = |place: &Place| match spatial {
        2 => place.clone(),
        _ => Place { strides: vec![place.strides[0], 0, place.strides[1], place.strides[2]], ..place.clone() },
    };
    let (shape, x_shape) = (four(&job.shape), four(&x.shape));
    let place = lines(&job.place);
    let from = match &x.at {
        Where::Place(p) => lines(p),
        Where::Constant(_) => return false,
    };
    let contiguous = |p: &Place| p.strides[CHANNELS] == 1 || shape[CHANNELS] == 1;
    if !contiguous(&from) || !contiguous(&place) {
        return false;
    }
    let operands: Vec<Source> = job.operands[1..].to_vec();
    let types = [x.dtype, job.dtype];
    let pool = Pooling { kind: *kind, operands: &operands, epilogue, shape: &job.shape, types, packed: false };
    let slides = (down, right);
    if *kind == WindowKind::Max
        && x.dtype.bytes() == 1
        && epilogue.is_identity()
        && let Some([from, place]) = in_fours(&from, &place, &shape)
    {
        let fours = |shape: &[usize]| vec![shape[BATCH], shape[LINES], shape[COLUMNS], shape[CHANNELS] / 4];
        let (x_shape, shape) = (fours(&x_shape), fours(&shape));
        return Pooling { packed: true, ..pool }.all(&from, &x_shape, &place, &shape, slides, builder);
    }
    pool.all(&from, &x_shape, &place, &shape, slides, builder)
}

/// Both places in lanes of four channels, if they fall into such.
fn in_fours(from: &Place, to: &Place, shape: &[usize]) -> Option<[Place; 2]> {
    let fours = |place: &Place| {
        let outer = &place.strides[..CHANNELS];
        let whole = place.offset % 4 == 0 && outer.iter().all(|s| s % 4 == 0);
        let strides = outer.iter().map(|s| s / 4).chain([1]).collect();
        whole.then(|| Place { offset: place.offset / 4, strides, ..place.clone() })
    };
    shape[CHANNELS].is_multiple_of(4).then_some([fours(from)?, fours(to)?])
}

/// The element type that a place is walked in.
fn walked(dtype: Dtype, packed: bool) -> Dtype {
    if packed { Dtype::I32 } else { dtype }
}

#[derive(Clone, Copy)]
struct Pooling<'a> {
    kind: WindowKind,
    operands: &'a [Source<'a>],
    epilogue: &'a Body,
    /// Of the result, as operands of the epilogue are broadcast to it.
    shape: &'a [usize],
    /// Of the image and of the result.
    types: [Dtype; 2],
    /// Four channels of bytes are a lane.
    packed: bool,
}

impl Pooling<'_> {
    /// The whole window, or the columns of every line and then the lines.
    fn all(&self, from: &Place, x_shape: &[usize], place: &Place, shape: &[usize], by: (Slide, Slide), builder: &mut Builder) -> bool {
        let (down, right) = by;
        let pool = *self;
        let apart = down.size > 1 && right.size > 1 && down.size * right.size > MOST_TAPS && shape[LINES] * shape[COLUMNS] > 4;
        if !apart {
            return pool.emit(from, x_shape, place, shape, (down, right), builder);
        }
        // the columns of every line first: tried without an effect, because the second half may not be possible
        let middle = vec![shape[BATCH], x_shape[LINES], shape[COLUMNS], shape[CHANNELS]];
        if !pool.possible(place, shape, builder) {
            return false;
        }
        // sums are wider than what they are of
        let own = window_type(pool.kind, pool.types[0]);
        let bytes = (middle.iter().product::<usize>() * walked(own, pool.packed).bytes()) as u64;
        let buffer = builder.buffer("columns", Home::Arena, bytes);
        let dense = Place::dense(buffer, &middle);
        let plain = Pooling { operands: &[], epilogue: &Body::identity(), shape: &middle, types: [pool.types[0], own], ..pool };
        let columns = plain.emit(from, x_shape, &dense, &middle, (STILL, right), builder);
        let lines = Pooling { types: [own, pool.types[1]], ..pool };
        columns && lines.emit(&dense, &middle, place, shape, (down, STILL), builder)
    }

    fn possible(&self, place: &Place, shape: &[usize], builder: &Builder) -> bool {
        let still = Stream::write("x", place, Dtype::I32).moving(vec![1, 1, 1, 4], (0, 4));
        self.plan(still, place, shape, builder.facts).is_some()
    }

    /// The nest, the epilogue, and how many operands it has in memory.
    fn plan(&self, x: Stream, place: &Place, shape: &[usize], facts: &Facts) -> Option<(Nest, Pieces, usize, Option<StreamId>)> {
        let own = walked(window_type(self.kind, self.types[0]), self.packed);
        let bound = nest::bind(&[own], self.operands, self.epilogue, self.shape, facts)?;
        let extras = bound.streams.len();
        let mut streams = vec![x, Stream::write("y", place, walked(self.types[1], self.packed))];
        streams.extend(bound.streams.into_iter().map(|s| if self.shape.len() == 3 { s.with_axis(1) } else { s }));
        let mut nest = Nest::plain(shape, streams);
        let mut pool = Pool::new(facts);
        let most = outputs(facts);
        let held: Vec<V> = (0..most).map_while(|_| pool.take()).collect();
        let mut owned = vec![true];
        owned.extend((2..2 + extras).map(|s| nest.gathers(s)));
        let after = Pieces::new(facts, &bound.body, &bound.types, &owned, &pool)?;
        drop(held);
        let strip = (after.scratch() > 0).then(|| nest.scratch(after.scratch()));
        nest.fits(facts).then_some((nest, after, extras, strip))
    }

    fn emit(&self, from: &Place, x: &[usize], place: &Place, shape: &[usize], by: (Slide, Slide), builder: &mut Builder) -> bool {
        let facts = builder.facts;
        let (down, right) = by;
        let dtype = walked(self.types[0], self.packed);
        let width = dtype.bytes() as i64;
        let stride = |i: usize| from.strides[i] * width;
        let steps = vec![stride(BATCH), stride(LINES) * down.stride as i64, stride(COLUMNS) * right.stride as i64, width];
        let end = |i: usize| (x[i] as i64 - 1) * if i == CHANNELS { width } else { stride(i) };
        // taps are displacements from one pointer
        let span = |i: usize, by: Slide| stride(i).abs() * (by.low.abs() + (by.size * by.dilation + 8 * by.stride) as i64);
        if span(LINES, down) + span(COLUMNS, right) >= 1 << 30 {
            return false;
        }
        let reach = (0..4).map(end).fold((0, width), |(low, high), end| (low + end.min(0), high + end.max(0)));
        let image = Stream::write("x", from, dtype).read_only().moving(steps, reach);
        let Some((nest, after, extras, strip)) = self.plan(image, place, shape, facts) else { return false };
        let plan = Plan {
            nest: &nest,
            facts,
            join: joining(self.kind, self.types[0], self.packed),
            dtype,
            result: walked(self.types[1], self.packed),
            tap: (stride(LINES) * down.dilation as i64, stride(COLUMNS) * right.dilation as i64),
            origin: -(stride(LINES) * down.low + stride(COLUMNS) * right.low),
            after,
            extras,
            strip,
        };
        let (lines, columns) = (regions(down, x[LINES], shape[LINES]), regions(right, x[COLUMNS], shape[COLUMNS]));
        let mut w = Writer::new();
        let mut done = Ok(());
        nest.over(&mut w, &[BATCH], &mut |w| {
            for line in &lines {
                w.repeat(line.count, |w| {
                    done = done.and(plan.line(*line, &columns, w));
                    nest.shift(w, &[(LINES, 1), (COLUMNS, -(shape[COLUMNS] as i64))]);
                });
            }
            vec![(LINES, shape[LINES] as i64)]
        });
        if done.is_err() {
            return false;
        }
        let name = format!("{}pool_{}x{}", if self.kind == WindowKind::Max { "max" } else { "sum" }, down.size, right.size);
        nest.call(name, w, builder, 0);
        true
    }
}

/// What joins two taps, and the bits of a lane to start from.
fn joining(kind: WindowKind, x: Dtype, packed: bool) -> (Binary, u32) {
    match (kind, x) {
        (WindowKind::Max, Dtype::F32) => (Binary::Max, f32::NEG_INFINITY.to_bits()),
        (WindowKind::Sum, Dtype::F32) => (Binary::Add, 0),
        (WindowKind::Max, Dtype::U8) if packed => (Binary::MaxU8, 0),
        (WindowKind::Max, _) if packed => (Binary::MaxI8, 0x8080_8080),
        (WindowKind::Max, Dtype::U8) => (Binary::IMax, 0),
        (WindowKind::Max, _) => (Binary::IMax, -128_i32 as u32),
        (WindowKind::Sum, _) => (Binary::IAdd, 0),
    }
}

/// Regions of `count` results, in order.
fn regions(slide: Slide, extent: usize, count: usize) -> Vec<Region> {
    let mut all: Vec<Region> = Vec::new();
    for o in 0..count {
        let inside = |t: &usize| {
            let at = (o * slide.stride + t * slide.dilation) as i64 - slide.low;
            (0..extent as i64).contains(&at)
        };
        let first = (0..slide.size).find(inside).unwrap_or(0);
        let last = (0..slide.size).rev().find(inside).map_or(0, |t| t + 1);
        match all.last_mut().filter(|r| (r.first, r.last) == (first, last)) {
            Some(region) => region.count += 1,
            None => all.push(Region { count: 1, first, last }),
        }
    }
    all
}

/// Results in registers at once.
fn outputs(facts: &Facts) -> usize {
    if facts.vectors > 16 { 8 } else { 4 }
}

struct Plan<'a> {
    nest: &'a Nest,
    facts: &'a Facts,
    /// What joins taps, and what there is before the first.
    join: (Binary, u32),
    /// Of the image and of the result, as they are walked.
    dtype: Dtype,
    result: Dtype,
    /// Bytes from one tap to the next, down and right, and from the window's pointer to its first.
    tap: (i64, i64),
    origin: i64,
    after: Pieces,
    extras: usize,
    strip: Option<StreamId>,
}

impl<'a> Plan<'a> {
    /// One line of results; pointers end behind it.
    fn line(&self, line: Region, columns: &[Region], w: &mut Writer) -> Result<(), Pressure> {
        let lanes = self.facts.lanes();
        let channels = self.nest.counts[CHANNELS];
        let vectors = channels.div_ceil(lanes).min(2);
        let most = outputs(self.facts) / vectors;
        let mut done = Ok(());
        for column in columns {
            let tiles = column.count.div_ceil(most);
            let (size, larger) = (column.count / tiles, column.count % tiles);
            for (times, wide) in [(larger, size + 1), (tiles - larger, size)] {
                w.repeat(times, |w| {
                    let full = channels / (vectors * lanes);
                    w.repeat(full, |w| {
                        done = done.and(self.tile(line, *column, wide, vectors, lanes as u8, w));
                        self.nest.shift(w, &[(CHANNELS, (vectors * lanes) as i64)]);
                    });
                    let rest = channels - full * vectors * lanes;
                    if rest > 0 {
                        let vectors = rest.div_ceil(lanes);
                        done = done.and(self.tile(line, *column, wide, vectors, (rest - (vectors - 1) * lanes) as u8, w));
                    }
                    self.nest.shift(w, &[(CHANNELS, -((full * vectors * lanes) as i64)), (COLUMNS, wide as i64)]);
                });
            }
        }
        done
    }

    /// `wide` columns of `vectors` of channels. Pointers end where they began.
    fn tile(&self, line: Region, column: Region, wide: usize, vectors: usize, last: u8, w: &mut Writer) -> Result<(), Pressure> {
        let (facts, nest) = (self.facts, self.nest);
        let lanes = facts.lanes();
        let valid = |v: usize| if v + 1 == vectors { last } else { lanes as u8 };
        let spot = |i: usize| [(COLUMNS, (i / vectors) as i64), (CHANNELS, (i % vectors * lanes) as i64)];
        let mut pool = Pool::new(facts);
        let mut take = || pool.take().ok_or(Pressure);
        let results: Vec<V> = (0..wide * vectors).map(|_| take()).collect::<Result<_, _>>()?;
        let (first, second, nan) = (take()?, take()?, take()?);
        let (op, start) = self.join;
        let taps = if line.last == 0 { 0 } else { column.last - column.first };
        let watches = op == Binary::Max && facts.min_max == MinMax::SecondOnTie;
        for &to in &results {
            w.push(Stmt::Set { to, bits: start });
        }
        if watches && taps > 0 {
            w.push(Stmt::Set { to: nan, bits: f32::NAN.to_bits() });
        }
        if taps > 0 {
            let x = nest.at(X, &[]);
            // the image's pointer goes down by itself, and comes back
            let lines = line.last - line.first;
            let wide = column.last - column.first;
            let together = (4 / wide).clamp(1, lines);
            let first_line = self.origin + line.first as i64 * self.tap.0 + column.first as i64 * self.tap.1;
            let some = |w: &mut Writer, lines: usize| {
                for (i, &acc) in results.iter().enumerate() {
                    let lanes = valid(i % vectors);
                    let spot = i64::from(nest.at(X, &spot(i)).offset) + first_line;
                    let at = |t: usize| at(x.p, spot + (t / wide) as i64 * self.tap.0 + (t % wide) as i64 * self.tap.1);
                    for tap in (0..lines * wide).step_by(2) {
                        let pair = tap + 1 < lines * wide;
                        w.push(tile::load(first, at(tap), lanes, self.dtype));
                        if pair {
                            w.push(tile::load(second, at(tap + 1), lanes, self.dtype));
                        }
                        // what is NaN already stays: the second operand comes out when either is
                        for &x in [first, second].iter().take(1 + usize::from(pair)) {
                            w.binary(op, acc, x, Operand::V(acc));
                        }
                        if watches {
                            let y = if pair { second } else { first };
                            w.push(Stmt::Select { to: acc, cmp: Compare::Unordered, x: first, y: Operand::V(y), a: nan, b: acc });
                        }
                    }
                }
            };
            let looped = lines / together;
            w.repeat(looped, |w| {
                some(w, together);
                w.advance(x.p, together as i64 * self.tap.0);
            });
            some(w, lines % together);
            w.advance(x.p, -((looped * together) as i64 * self.tap.0));
        }
        for v in [nan, second, first] {
            pool.give(v);
        }
        let strip = self.strip.map(|s| nest.at(s, &[]));
        around(facts, &pool, w, &mut |constants, pool, w| {
            for (i, &result) in results.iter().enumerate() {
                let lanes = valid(i % vectors);
                constants.with(pool, |emitter, pool| {
                    let mut params = vec![Param::Owned(result)];
                    for s in 2..2 + self.extras {
                        params.push(nest.param(s, &spot(i), lanes, pool, w)?);
                    }
                    let from = self.after.emit(emitter, params, lanes, strip, pool, w)?;
                    w.push(tile::store(from, nest.at(OUT, &spot(i)), lanes, self.result));
                    Ok(())
                })?;
            }
            Ok(())
        })
    }
}
