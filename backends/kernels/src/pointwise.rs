//! Maps as vector loops: one body over operands that are contiguous or repeated along the innermost axis. Axes are
//! joined as far as all operands allow, so that most maps are one loop; where rows are short, several of them
//! make one turn. A body too wide for the registers goes through a strip of scratch ([`crate::pieces`]), one with too
//! many operands for a kernel's pointers becomes two maps.

use crate::body::{Pressure, narrow};
use crate::build::{Builder, Home};
use crate::nest::{self, Nest, Stream, StreamId};
use crate::pieces::{self, Constants, Pieces, around};
use crate::place::Place;
use crate::tile::{Pool, Writer};
use crate::{Job, Source, Where, lookup};
use ir::Dtype;
use ir::graph::op::Op;
use ir::kernel::Facts;
use ir::scalar::{Arg, Body, Term};

/// Instructions of one turn of the innermost loop, about: enough to hide its counter, few enough to stay small.
const TURN: usize = 24;

const OUT: StreamId = 0;

/// Emits the map of `job`, if it is one for vectors: f32, i32 and narrower integers throughout.
pub fn lower(job: &Job, builder: &mut Builder) -> bool {
    let Op::Map { body } = job.op else { return false };
    lookup::lower(job, body, builder) || one(job, body, builder) || two(job, body, builder)
}

/// As one kernel.
fn one(job: &Job, body: &Body, builder: &mut Builder) -> bool {
    if narrow::lane(job.dtype).is_none() || job.shape.contains(&0) {
        return false;
    }
    let facts = builder.facts;
    let Some(bound) = nest::bind(&[], &job.operands, body, &job.shape, facts) else { return false };
    let mut streams = vec![Stream::write("y", &job.place, job.dtype)];
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
    let mut write = |nest: &Nest| {
        let map = Map { nest, facts, pieces: &pieces, operands, strip };
        let mut w = Writer::new();
        around(facts, &pool, &mut w, &mut |constants, pool, w| map.write(constants, pool, w)).ok().map(|()| w)
    };
    nest.cut("map", pieces.terms(), builder, &mut write).is_some()
}

/// As two maps, if there is a term that takes enough operands away from the rest.
fn two(job: &Job, body: &Body, builder: &mut Builder) -> bool {
    let types: Vec<Dtype> = job.operands.iter().map(|o| o.dtype).collect();
    let Ok(terms) = body.types(&types) else { return false };
    let plain = |d: &Dtype| matches!(d, Dtype::F32 | Dtype::I32);
    if job.operands.len() < 5 || job.shape.contains(&0) || !types.iter().all(plain) {
        return false;
    }
    let part = |term: usize| {
        let head = Body { result: Arg::Term(term as u16), ..body.clone() }.without_dead();
        (head, pieces::replace(body, term, Arg::Param(body.params)))
    };
    let wide = |body: &Body| params(body).len();
    let costs = (0..terms.len()).filter(|&t| plain(&terms[t]) && body.result != Arg::Term(t as u16)).map(|t| {
        let (head, rest) = part(t);
        (wide(&head).max(wide(&rest)), t)
    });
    let Some((most, term)) = costs.min() else { return false };
    if most >= wide(body) {
        return false;
    }
    let bytes = job.shape.iter().product::<usize>() as u64 * 4;
    let between = Place::dense(builder.buffer("between", Home::Arena, bytes), &job.shape);
    let middle = Source { shape: job.shape.clone(), dtype: terms[term], at: Where::Place(between.clone()) };
    let (head, rest) = part(term);
    let all: Vec<Source> = job.operands.iter().cloned().chain([middle]).collect();
    let mut map = |body: &Body, dtype: Dtype, place: &Place| {
        let used = params(body);
        let op = Op::Map { body: renumbered(body, &used) };
        let operands = used.iter().map(|&i| all[i as usize].clone()).collect();
        lower(&Job { op: &op, operands, shape: job.shape.clone(), dtype, place: place.clone(), blocked: None }, builder)
    };
    map(&head, terms[term], &between) && map(&rest, job.dtype, &job.place)
}

/// The parameters that a body reads.
fn params(body: &Body) -> Vec<u8> {
    let all = body.terms.iter().flat_map(|t| &t.args).chain([&body.result]);
    let mut used: Vec<u8> = all.filter_map(|a| if let Arg::Param(i) = a { Some(*i) } else { None }).collect();
    used.sort();
    used.dedup();
    used
}

/// `body` with the parameters `used` alone.
fn renumbered(body: &Body, used: &[u8]) -> Body {
    let rename = |a: &Arg| match a {
        Arg::Param(i) => Arg::Param(used.iter().position(|u| u == i).expect("it is one of those used") as u8),
        Arg::Term(_) | Arg::Literal(_) => *a,
    };
    let terms = body.terms.iter().map(|t| Term { op: t.op, args: t.args.iter().map(rename).collect() }).collect();
    Body { params: used.len() as u8, terms, result: rename(&body.result) }
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
