//! Resampling of `[.., c]`, channels as lanes. Enlarging by whole factors to the nearest element reads every
//! element once and writes it to all the places it goes to. Everything else goes along one axis after the other: each
//! result is a few source elements times weights, which lie in the code. Where weights repeat with a period, as they
//! do for a rational scale, the code is a loop.

use crate::build::{Builder, Home};
use crate::generic::resize::{Taps, sources};
use crate::nest::{Moves, Nest, Stream, StreamId};
use crate::place::Place;
use crate::tile::{Writer, at};
use crate::{Job, Source, Where};
use ir::Dtype;
use ir::graph::op::Op;
use ir::kernel::Facts;
use ir::kernel::tile::{Binary, Operand, Stmt, V};

const X: StreamId = 0;
const OUT: StreamId = 1;

/// Places that one element goes to, at most: what is unrolled.
const MOST_COPIES: usize = 64;
/// Results whose sums are written out, at most, along one axis.
const MOST_RESULTS: usize = 96;
/// The longest period looked for.
const MOST_PERIOD: usize = 16;

/// Emits the resize of `job`, if it is one for vectors: elements of four bytes, contiguous channels that stay as
/// they are, and weights that do not make too much code.
pub fn lower(job: &Job, builder: &mut Builder) -> bool {
    let Op::Resize { .. } = job.op else { return false };
    let x = &job.operands[0];
    let Where::Place(from) = &x.at else { return false };
    if job.dtype.bytes() != 4 || job.shape.contains(&0) || x.shape.contains(&0) {
        return false;
    }
    let taps = sources(job);
    if taps.is_empty() || taps.iter().any(|t| t.outside.contains(&true)) {
        return false;
    }
    if let Some(factors) = factors(job, &taps) {
        return enlarge(job, &factors, builder);
    }
    let moves = |t: &Taps| t.count == 1;
    if job.dtype != Dtype::F32 && !taps.iter().all(moves) {
        return false;
    }
    // the last axis first: it has the least to do while the others are small, when enlarging
    let mut passes = Vec::new();
    let (mut from, mut shape) = (from.clone(), x.shape.clone());
    for (i, taps) in taps.iter().enumerate().rev() {
        let mut next = shape.clone();
        next[taps.axis] = job.shape[taps.axis];
        let to = if i == 0 {
            job.place.clone()
        } else {
            let bytes = next.iter().product::<usize>() as u64 * 4;
            Place::dense(builder.buffer("resampled", Home::Arena, bytes), &next)
        };
        let Some(pass) = along(builder.facts, taps, &from, &shape, &to, &next) else { return false };
        passes.push(pass);
        (from, shape) = (to, next);
    }
    for (nest, w) in passes {
        nest.call("resample", w, builder, 0);
    }
    true
}

/// How often each axis repeats its elements, if it does so a whole number of times.
fn factors(job: &Job, taps: &[Taps]) -> Option<Vec<usize>> {
    let mut factors = vec![1; job.shape.len()];
    for taps in taps {
        let (from, to) = (job.operands[0].shape[taps.axis], job.shape[taps.axis]);
        let factor = to / from;
        let repeats = |(i, &source): (usize, &i32)| source as usize == i / factor;
        if taps.count != 1 || to % from != 0 || !taps.positions.iter().enumerate().all(repeats) {
            return None;
        }
        factors[taps.axis] = factor;
    }
    let copies: usize = factors.iter().product();
    (factors.last() == Some(&1) && copies <= MOST_COPIES).then_some(factors)
}

fn enlarge(job: &Job, factors: &[usize], builder: &mut Builder) -> bool {
    let x = &job.operands[0];
    // the first copy of each source element moves by whole factors
    let strides = job.place.strides.iter().zip(factors).map(|(s, &f)| s * f as i64).collect();
    let first = Place { strides, ..job.place.clone() };
    let mut offsets = vec![0i64];
    for (stride, &factor) in job.place.strides.iter().zip(factors) {
        offsets = offsets.iter().flat_map(|o| (0..factor as i64).map(move |i| o + i * stride * 4)).collect();
    }
    let (low, high) = offsets.iter().fold((0, 0), |(low, high), &o| (low.min(o), high.max(o)));
    let to = Stream::write("y", &first, job.dtype).stretched(low, high);
    let nest = Nest::new(&x.shape, &vec![false; x.shape.len()], vec![Stream::read("x", x, &x.shape), to]);
    if !contiguous(&nest) || !nest.fits(builder.facts) || high - low >= 1 << 30 {
        return false;
    }
    let mut w = Writer::new();
    let outer: Vec<usize> = (0..nest.lane()).collect();
    let together = (8 / offsets.len()).clamp(1, 4);
    nest.over(&mut w, &outer, &mut |w| {
        row(&nest, builder.facts, together, w, &mut |w, v, moves, lanes| {
            w.push(Stmt::Load { to: v, at: nest.at(X, moves), lanes });
            for offset in &offsets {
                let to = nest.at(OUT, moves);
                w.push(Stmt::Store { from: v, at: at(to.p, i64::from(to.offset) + offset), lanes });
            }
        })
    });
    nest.call(format!("enlarge_{}", offsets.len()), w, builder, 0);
    true
}

fn contiguous(nest: &Nest) -> bool {
    nest.contiguous(X) && nest.contiguous(OUT)
}

/// Writes one vector in this register, so far from the pointers, of so many lanes.
type Vector<'a> = &'a mut dyn FnMut(&mut Writer, V, Moves, u8);

/// The vectors along the innermost axis, `together` in one turn; how far the pointers were moved.
fn row(nest: &Nest, facts: &Facts, together: usize, w: &mut Writer, vector: Vector) -> Vec<(usize, i64)> {
    let (lane, lanes) = (nest.lane(), facts.lanes());
    let count = nest.counts[lane];
    let times = count / (together * lanes);
    let looped = if times > 1 { times } else { 0 };
    let mut some = |w: &mut Writer, count: usize| {
        for v in 0..count.div_ceil(lanes) {
            vector(w, V(v as u8), &[(lane, (v * lanes) as i64)], (count - v * lanes).min(lanes) as u8);
        }
    };
    w.repeat(looped, |w| {
        some(w, together * lanes);
        nest.shift(w, &[(lane, (together * lanes) as i64)]);
    });
    let moved = looped * together * lanes;
    some(w, count - moved);
    vec![(lane, moved as i64)]
}

/// What one result is made of: source positions and weights.
type Sum = Vec<(i64, f32)>;

/// `period` results, `repeats` times, the source moving on by `by` each time.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    period: usize,
    repeats: usize,
    by: i64,
}

fn sums(taps: &Taps) -> Vec<Sum> {
    let sum = |(positions, weights): (&[i32], &[f64])| {
        let mut sum: Vec<(i64, f64)> = Vec::new();
        for (&position, &weight) in positions.iter().zip(weights) {
            // beyond the edge the last element counts again
            match sum.iter_mut().find(|(p, _)| *p == i64::from(position)) {
                Some((_, sum)) => *sum += weight,
                None => sum.push((position.into(), weight)),
            }
        }
        let whole: Sum = sum.iter().filter(|(_, w)| *w != 0.0).map(|&(p, w)| (p, w as f32)).collect();
        if whole.is_empty() { vec![(sum[0].0, 0.0)] } else { whole }
    };
    taps.positions.chunks(taps.count).zip(taps.weights.chunks(taps.count)).map(sum).collect()
}

/// Runs that give all of `sums` in order, few and short.
fn runs(sums: &[Sum]) -> Vec<Run> {
    let same = |a: &Sum, b: &Sum, by: i64| {
        // weights of far-apart positions differ by what f64 lost
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 + by == b.0 && (a.1 - b.1).abs() <= 2e-7)
    };
    let mut out = Vec::new();
    let mut first = 0;
    while first < sums.len() {
        let mut best = Run { period: 1, repeats: 1, by: 0 };
        for period in 1..=MOST_PERIOD {
            let Some(next) = sums.get(first + period) else { break };
            let by = next[0].0 - sums[first][0].0;
            let repeats = (1..)
                .take_while(|&k| {
                    (0..period).all(|j| sums.get(first + k * period + j).is_some_and(|s| same(&sums[first + j], s, by * k as i64)))
                })
                .count()
                + 1;
            if repeats > 1 && repeats * period > best.repeats * best.period {
                best = Run { period, repeats, by };
            }
        }
        first += best.period * best.repeats;
        out.push(best);
    }
    out
}

/// One axis resampled.
fn along(facts: &Facts, taps: &Taps, from: &Place, shape: &[usize], to: &Place, next: &[usize]) -> Option<(Nest, Writer)> {
    let axis: Vec<bool> = (0..shape.len()).map(|i| i == taps.axis).collect();
    let sums = sums(taps);
    let runs = runs(&sums);
    if runs.iter().map(|r| r.period).sum::<usize>() > MOST_RESULTS || next[taps.axis] == 1 {
        return None;
    }
    // along the axis the source is moved by hand
    let stride = from.strides[taps.axis] * 4;
    let end = (shape[taps.axis] as i64 - 1) * stride;
    let source = Source { shape: shape.to_vec(), dtype: Dtype::F32, at: Where::Place(from.clone()) };
    let x = Stream::read("x", &source, shape).without(&axis).stretched(end.min(0), end.max(0));
    let nest = Nest::new(next, &axis, vec![x, Stream::write("y", to, Dtype::F32)]);
    let here = nest.along.iter().position(|&a| a)?;
    if here == nest.lane() || !contiguous(&nest) || !nest.fits(facts) || end.abs() >= 1 << 30 {
        return None;
    }
    let (outer, inner): (Vec<usize>, Vec<usize>) = ((0..here).collect(), (here + 1..nest.lane()).collect());
    let pointer = nest.at(X, &[]).p;
    let mut w = Writer::new();
    nest.over(&mut w, &outer, &mut |w| {
        let (mut first, mut moved) = (0, 0);
        for run in &runs {
            w.repeat(run.repeats, |w| {
                for sum in &sums[first..first + run.period] {
                    nest.over(w, &inner, &mut |w| {
                        row(&nest, facts, 4, w, &mut |w, v, moves, lanes| weigh(&nest, facts, sum, stride, moved, v, moves, lanes, w))
                    });
                    nest.shift(w, &[(here, 1)]);
                }
                if run.repeats > 1 {
                    w.advance(pointer, run.by * stride);
                }
            });
            if run.repeats > 1 {
                moved += run.by * run.repeats as i64;
            }
            first += run.period * run.repeats;
        }
        w.advance(pointer, -moved * stride);
        vec![(here, next[taps.axis] as i64)]
    });
    Some((nest, w))
}

/// One vector of results, the source's pointer `moved` elements on.
#[allow(clippy::too_many_arguments)]
fn weigh(nest: &Nest, facts: &Facts, sum: &Sum, stride: i64, moved: i64, v: V, moves: Moves, lanes: u8, w: &mut Writer) {
    // the at most eight vectors of a turn take the first registers, so what is loaded takes others
    let loaded = V((v.0 + 8).min(facts.vectors - 1));
    let spot = nest.at(X, moves);
    for (i, &(position, weight)) in sum.iter().enumerate() {
        let to = if i == 0 { v } else { loaded };
        w.push(Stmt::Load { to, at: at(spot.p, i64::from(spot.offset) + (position - moved) * stride), lanes });
        match (i, weight == 1.0) {
            (0, true) => {}
            (0, false) => w.binary(Binary::Mul, v, v, Operand::Bits(weight.to_bits())),
            (_, _) => w.mul_add(v, loaded, Operand::Bits(weight.to_bits())),
        }
    }
    w.push(Stmt::Store { from: v, at: nest.at(OUT, moves), lanes });
}
