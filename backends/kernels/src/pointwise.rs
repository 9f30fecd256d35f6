//! Maps as vector loops: one body over operands that are contiguous or repeated along the innermost axis. Axes are
//! joined as far as all operands allow, so that most maps are one loop; where rows are short, several of them
//! make one turn. A body too wide for the registers goes through a strip of scratch ([`crate::pieces`]).

use crate::Job;
use crate::body::Pressure;
use crate::build::Builder;
use crate::nest::{self, Nest, Stream, StreamId};
use crate::pieces::{Constants, Pieces, around};
use crate::tile::{Pool, Writer};
use ir::Dtype;
use ir::graph::op::Op;
use ir::kernel::Facts;

/// Instructions of one turn of the innermost loop, about: enough to hide its counter, few enough to stay small.
const TURN: usize = 24;

const OUT: StreamId = 0;

/// Emits the map of `job`, if it is one for vectors: f32 or i32 throughout, operands that one kernel's
/// pointers reach.
pub fn lower(job: &Job, builder: &mut Builder) -> bool {
    let Op::Map { body } = job.op else { return false };
    if !matches!(job.dtype, Dtype::F32 | Dtype::I32) || job.shape.contains(&0) {
        return false;
    }
    let facts = builder.facts;
    let Some(bound) = nest::bind(&[], &job.operands, body, &job.shape, facts) else { return false };
    let mut streams = vec![Stream::write("y", &job.place)];
    let operands = bound.streams.len();
    streams.extend(bound.streams);
    let mut nest = Nest::new(&job.shape, &vec![false; job.shape.len()], streams).with_long_rows(facts.lanes());
    let pool = Pool::new(facts);
    let owned: Vec<bool> = (1..=operands).map(|s| nest.gathers(s)).collect();
    let Some(pieces) = Pieces::new(facts, &bound.body, &bound.types, &owned, &pool) else { return false };
    let strip = (pieces.scratch() > 0).then(|| nest.scratch(pieces.scratch()));
    if !nest.fits(facts) {
        return false;
    }
    let map = Map { nest: &nest, facts, pieces: &pieces, operands, strip };
    let mut w = Writer::new();
    if around(facts, &pool, &mut w, &mut |constants, pool, w| map.write(constants, pool, w)).is_err() {
        return false;
    }
    nest.call("map", w, builder, 0);
    true
}

struct Map<'a> {
    nest: &'a Nest,
    facts: &'a Facts,
    pieces: &'a Pieces,
    operands: usize,
    strip: Option<StreamId>,
}

/// A vector: how far it is from the pointers, and its valid lanes.
type Spot = (Vec<(usize, i64)>, u8);

impl<'a> Map<'a> {
    fn write(&self, constants: &mut Constants<'a>, pool: &Pool, w: &mut Writer) -> Result<(), Pressure> {
        let (lanes, lane) = (self.facts.lanes(), self.nest.lane());
        let count = self.nest.counts[lane];
        let outer: Vec<usize> = (0..lane).collect();
        let turn = (TURN / self.pieces.terms().max(1)).clamp(1, 4);
        let full = count / lanes;
        let mut failed = None;
        let mut note = |done: Result<(), Pressure>| failed = failed.or(done.err());
        if full >= turn || outer.is_empty() {
            let times = full / turn;
            self.nest.over(w, &outer, &mut |w| {
                let looped = if times > 1 { times } else { 0 };
                w.repeat(looped, |w| {
                    let spots: Vec<Spot> = (0..turn).map(|u| (vec![(lane, (u * lanes) as i64)], lanes as u8)).collect();
                    note(self.vectors(&spots, constants, pool, w));
                    self.nest.shift(w, &[(lane, (turn * lanes) as i64)]);
                });
                let moved = looped * turn * lanes;
                note(self.vectors(&self.row(moved, &[]), constants, pool, w));
                vec![(lane, moved as i64)]
            });
        } else {
            // short rows: several in one turn
            let (&rows, outer) = outer.split_last().expect("there are outer axes");
            let each = count.div_ceil(lanes);
            let together = (turn / each).clamp(1, self.nest.counts[rows]);
            let times = self.nest.counts[rows] / together;
            self.nest.over(w, outer, &mut |w| {
                let spots = |n: usize| (0..n).flat_map(|r| self.row(0, &[(rows, r as i64)])).collect::<Vec<Spot>>();
                w.repeat(times, |w| {
                    note(self.vectors(&spots(together), constants, pool, w));
                    self.nest.shift(w, &[(rows, together as i64)]);
                });
                note(self.vectors(&spots(self.nest.counts[rows] % together), constants, pool, w));
                vec![(rows, (times * together) as i64)]
            });
        }
        failed.map_or(Ok(()), Err)
    }

    /// The vectors of a row behind element `from`.
    fn row(&self, from: usize, at: &[(usize, i64)]) -> Vec<Spot> {
        let (lanes, lane) = (self.facts.lanes(), self.nest.lane());
        let count = self.nest.counts[lane];
        let place = |first: i64| [at, &[(lane, first)]].concat();
        let full = (count - from) / lanes;
        let mut spots: Vec<Spot> = (0..full).map(|i| (place((i * lanes) as i64), lanes as u8)).collect();
        let rest = (count - from) % lanes;
        if rest > 0 {
            // a last vector that overlaps is cheaper than a partial one, unless it would read what was written
            let in_place = (1..=self.operands).any(|s| self.nest.shares_buffer(OUT, s));
            if count >= lanes && !self.facts.menu.masks && !in_place {
                spots.push((place(count as i64 - from as i64 - lanes as i64), lanes as u8));
            } else {
                spots.push((place((full * lanes) as i64), rest as u8));
            }
        }
        spots
    }

    fn vectors(&self, spots: &[Spot], constants: &mut Constants<'a>, pool: &Pool, w: &mut Writer) -> Result<(), Pressure> {
        constants.with(pool, |emitter, pool| {
            for (at, lanes) in spots {
                let mut params = Vec::new();
                for s in 1..=self.operands {
                    params.push(self.nest.param(s, at, *lanes, pool, w)?);
                }
                let strip = self.strip.map(|s| self.nest.at(s, &[]));
                let from = self.pieces.emit(emitter, params, *lanes, strip, pool, w)?;
                self.nest.store(w, from, OUT, at, *lanes);
                pool.give(from);
            }
            Ok(())
        })
    }
}
