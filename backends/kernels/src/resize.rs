//! Enlarging by whole factors to the nearest element, on `[.., c]` with contiguous channels: every element of the
//! source is read once and written to all the places it goes to.

use crate::Job;
use crate::build::Builder;
use crate::nest::{Nest, Stream, StreamId};
use crate::place::Place;
use crate::tile::Writer;
use ir::graph::op::{Op, ResizeMode};
use ir::kernel::tile::{Stmt, V};

const X: StreamId = 0;
const OUT: StreamId = 1;

/// Places that one element goes to, at most: what is unrolled.
const MOST_COPIES: usize = 64;

/// Emits the resize of `job`, if it repeats every element a whole number of times along every axis.
pub fn lower(job: &Job, builder: &mut Builder) -> bool {
    let Op::Resize { mode, .. } = job.op else { return false };
    match mode {
        ResizeMode::NearestRoundPreferFloor | ResizeMode::NearestRoundPreferCeil | ResizeMode::NearestFloor | ResizeMode::NearestCeil => {}
        ResizeMode::Linear | ResizeMode::Cubic75 | ResizeMode::Cubic50 => return false,
    }
    let x = &job.operands[0];
    let rank = job.shape.len();
    if job.dtype.bytes() != 4 || job.shape.contains(&0) || x.shape.contains(&0) || rank == 0 {
        return false;
    }
    let Some(factors) = factors(job) else { return false };
    let copies: usize = factors.iter().product();
    if factors[rank - 1] != 1 || copies > MOST_COPIES {
        return false;
    }
    // the first copy of each source element moves by whole factors
    let strides = job.place.strides.iter().zip(&factors).map(|(s, &f)| s * f as i64).collect();
    let first = Place { strides, ..job.place.clone() };
    let mut offsets = vec![0i64];
    for (stride, &factor) in job.place.strides.iter().zip(&factors) {
        offsets = offsets.iter().flat_map(|o| (0..factor as i64).map(move |i| o + i * stride * 4)).collect();
    }
    let to = Stream::write("y", &first).stretched(offsets.iter().copied().min().unwrap_or(0), offsets.iter().copied().max().unwrap_or(0));
    let nest = Nest::new(&x.shape, &vec![false; rank], vec![Stream::read("x", x, &x.shape), to]);
    let lane = nest.lane();
    if nest.step(X, lane) != 4 || nest.step(OUT, lane) != 4 {
        return false;
    }
    let lanes = builder.facts.lanes();
    let count = nest.counts[lane];
    let outer: Vec<usize> = (0..lane).collect();
    let turn = (8 / copies).clamp(1, 4);
    let vector = |w: &mut Writer, v: usize, lanes: u8, first: usize| {
        let moves = [(lane, first as i64)];
        let register = V(v as u8);
        w.push(Stmt::Load { to: register, at: nest.at(X, &moves), lanes });
        for offset in &offsets {
            let at = nest.at(OUT, &moves);
            w.push(Stmt::Store { from: register, at: crate::tile::at(at.p, i64::from(at.offset) + offset), lanes });
        }
    };
    let mut w = Writer::new();
    nest.over(&mut w, &outer, &mut |w| {
        let times = count / (turn * lanes);
        w.repeat(times, |w| {
            (0..turn).for_each(|v| vector(w, v, lanes as u8, v * lanes));
            nest.shift(w, &[(lane, (turn * lanes) as i64)]);
        });
        let rest = count - times * turn * lanes;
        for v in 0..rest.div_ceil(lanes) {
            vector(w, v, (rest - v * lanes).min(lanes) as u8, v * lanes);
        }
        vec![(lane, (times * turn * lanes) as i64)]
    });
    nest.call(format!("enlarge_{copies}"), w, builder, 0);
    true
}

/// How often each axis repeats its elements, if it does so a whole number of times.
fn factors(job: &Job) -> Option<Vec<usize>> {
    let mut factors = vec![1; job.shape.len()];
    for taps in crate::generic::resize::sources(job) {
        let (from, to) = (job.operands[0].shape[taps.axis], job.shape[taps.axis]);
        let factor = to / from;
        let repeats = |(i, &source): (usize, &i32)| source as usize == i / factor;
        if to % from != 0 || taps.outside.contains(&true) || !taps.positions.iter().enumerate().all(repeats) {
            return None;
        }
        factors[taps.axis] = factor;
    }
    Some(factors)
}
