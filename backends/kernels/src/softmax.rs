//! Softmax and its logarithm: three walks over each row while it is in the nearest cache. The first finds the
//! largest element, the second sums the exponentials of what is below it, the third divides. A NaN or an infinity
//! anywhere makes the sum NaN, so the maximum need not watch for them. Where the result cannot hold what is kept between
//! the walks (bytes), a row of the worker's scratch does.

use crate::body::{Emitter, Param, Pressure, is_vector, narrow};
use crate::build::Builder;
use crate::nest::{self, Nest, Stream, StreamId};
use crate::pieces::{Pieces, around};
use crate::sweep::{self, Sweep, Tile};
use crate::tile::{Pool, Writer};
use crate::{Job, math};
use ir::Dtype;
use ir::graph::op::Op;
use ir::kernel::Facts;
use ir::kernel::tile::{Binary, Operand, Stmt, V};
use ir::scalar::{Body, ScalarOp};

const X: StreamId = 0;
const OUT: StreamId = 1;
/// The first of the epilogue's operands.
const EXTRAS: StreamId = 2;

/// Rows this short are gathered into lanes.
const SHORT: usize = 4;

/// Emits the softmax of `job`, if it is one for vectors: of f32, which the prologue may make of smaller types, and the epilogue
/// smaller types of.
pub fn lower(job: &Job, builder: &mut Builder) -> bool {
    let Op::Softmax { axis, log, prologue, epilogue } = job.op else { return false };
    let facts = builder.facts;
    let x = &job.operands[0];
    let Some(lane_type) = narrow::lane(x.dtype) else { return false };
    if narrow::lane(job.dtype).is_none() || prologue.result_type(&[x.dtype]) != Ok(Dtype::F32) || x.shape.contains(&0) {
        return false;
    }
    let f32s = [Dtype::F32];
    let expand = |body: &Body| Some(math::expand(body, &f32s, facts.fused)).filter(|b| is_vector(b, &f32s));
    let widened = narrow::widen(&math::expand(prologue, &[x.dtype], facts.fused), &[x.dtype], &[]).filter(|b| is_vector(b, &[lane_type]));
    let bodies = (widened, expand(&Body::of(ScalarOp::Exp)), expand(&Body::of(ScalarOp::Log)));
    let (Some(prologue), Some(exp), Some(ln)) = bodies else { return false };
    let Some(bound) = nest::bind(&[Dtype::F32], &job.operands[1..], epilogue, &job.shape, facts) else { return false };
    let extras = bound.streams.len();
    let along: Vec<bool> = (0..x.shape.len()).map(|i| i == *axis).collect();
    let mut streams = vec![Stream::read("x", x, &x.shape), Stream::write("y", &job.place, job.dtype)];
    streams.extend(bound.streams);
    let lanes = facts.lanes();
    let nested = |streams: Vec<Stream>| Nest::new(&x.shape, &along, streams).with_short_rows_across(SHORT, lanes);
    let first = nested(streams.clone());
    let lane = first.lane();
    if first.along[lane] && !(first.contiguous(X) && first.contiguous(OUT)) {
        return false;
    }
    let masked = Sweep::new(&first, facts).has_tail();
    if masked {
        let rest = first.counts[lane] % lanes;
        streams.push(Stream::still("mask", sweep::mask(facts, rest, f32::NEG_INFINITY.to_bits()), x.shape.len()));
    }
    let mut nest = nested(streams);
    let kept = match job.dtype {
        Dtype::F32 => OUT,
        _ => match nest.scratch_row() {
            Some(row) => row,
            None => return false,
        },
    };
    let (vectors, slots) = if facts.vectors > 16 { (4, 4) } else { (2, 2) };
    let slots = if nest.along[lane] { 4 } else { slots };
    let mut pool = Pool::new(facts);
    let held: Vec<Option<V>> = (0..vectors + slots).map(|_| pool.take()).collect();
    let piece = |body: &Body, ty: Dtype, owned: bool| Pieces::new(facts, body, &[ty], &[owned], &pool);
    let pieces = (piece(&prologue, lane_type, nest.gathers(X)), piece(&exp, Dtype::F32, true), piece(&ln, Dtype::F32, true));
    let (Some(before), Some(exp), Some(ln)) = pieces else { return false };
    let mut owned = vec![true];
    owned.extend((EXTRAS..EXTRAS + extras).map(|s| nest.gathers(s)));
    let Some(after) = Pieces::new(facts, &bound.body, &bound.types, &owned, &pool) else { return false };
    held.into_iter().flatten().for_each(|v| pool.give(v));
    let strip = before.scratch().max(exp.scratch()).max(ln.scratch()).max(after.scratch());
    let strip = (strip > 0).then(|| nest.scratch(strip));
    if !nest.fits(facts) {
        return false;
    }
    let from = if prologue.is_identity() { X } else { kept };
    let mask = EXTRAS + extras;
    let mut write = |nest: &Nest| {
        let (before, exp, ln, after) = (before.clone(), exp.clone(), ln.clone(), after.clone());
        let softmax = Softmax { sweep: Sweep::new(nest, facts), facts, log: *log, before, exp, ln, after, extras, from, kept, mask, strip };
        let mut w = Writer::new();
        let mut done = Ok(());
        softmax.sweep.positions(&mut w, vectors, slots, &mut |w, tile| done = done.and(softmax.tile(tile, pool.clone(), w)));
        done.ok().map(|()| w)
    };
    let steps = 8 + before.terms() + exp.terms() + after.terms();
    nest.cut(if *log { "log_softmax" } else { "softmax" }, steps, builder, &mut write).is_some()
}

struct Softmax<'a> {
    sweep: Sweep<'a>,
    facts: &'a Facts,
    log: bool,
    before: Pieces,
    exp: Pieces,
    ln: Pieces,
    after: Pieces,
    /// Operands of the epilogue.
    extras: usize,
    /// Where the elements are once the prologue was applied.
    from: StreamId,
    /// Where f32s lie between the walks.
    kept: StreamId,
    mask: StreamId,
    strip: Option<StreamId>,
}

impl<'a> Softmax<'a> {
    fn tile(&self, tile: Tile, mut pool: Pool, w: &mut Writer) -> Result<(), Pressure> {
        let (nest, facts, sweep) = (self.sweep.nest, self.facts, &self.sweep);
        let strip = self.strip.map(|s| nest.at(s, &[]));
        let most = sweep.accumulators(w, tile, f32::NEG_INFINITY.to_bits(), &mut pool)?;
        around(facts, &pool, w, &mut |constants, pool, w| {
            sweep.walk(w, tile, &mut |w, visit| {
                constants.with(pool, |emitter, pool| {
                    let x = nest.param(X, &visit.at, visit.lanes, pool, w)?;
                    let v = self.before.emit(emitter, vec![x], visit.lanes, strip, pool, w)?;
                    if self.from == self.kept {
                        nest.store(w, v, self.kept, &visit.at, visit.lanes);
                    }
                    if visit.tail {
                        sweep.trim(w, v, self.mask, true, pool)?;
                    }
                    sweep::join(w, facts, Binary::Max, most[visit.slot], v, false);
                    Ok(())
                })
            })
        })?;
        let most = sweep.total(w, tile, most, Binary::Max, false, &mut pool)?;
        let sums = sweep.sum(w, tile, &mut pool, &mut |w, pool, sums, walk| {
            around(facts, pool, w, &mut |constants, pool, w| {
                walk(w, &mut |w, visit| {
                    constants.with(pool, |emitter, pool| {
                        let v = pool.take().ok_or(Pressure)?;
                        nest.load(w, v, self.from, &visit.at, visit.lanes);
                        w.binary(Binary::Sub, v, v, Operand::V(most[visit.vector]));
                        let e = self.exp.emit(emitter, vec![Param::Owned(v)], visit.lanes, strip, pool, w)?;
                        if !self.log {
                            nest.store(w, e, self.kept, &visit.at, visit.lanes);
                        }
                        if visit.tail {
                            sweep.trim(w, e, self.mask, false, pool)?;
                        }
                        sweep::join(w, facts, Binary::Add, sums[visit.slot], e, false);
                        Ok(())
                    })
                })
            })
        })?;
        let mut by = Vec::new();
        let mut emitter = Emitter::new(facts);
        for sum in sums {
            if self.log {
                by.push(self.ln.emit(&mut emitter, vec![Param::Owned(sum)], facts.lanes() as u8, strip, &mut pool, w)?);
                continue;
            }
            let one = pool.take().ok_or(Pressure)?;
            w.push(Stmt::Set { to: one, bits: 1.0_f32.to_bits() });
            w.binary(Binary::Div, sum, one, Operand::V(sum));
            pool.give(one);
            by.push(sum);
        }
        emitter.finish(&mut pool);
        let from = if self.log { self.from } else { self.kept };
        around(facts, &pool, w, &mut |constants, pool, w| {
            sweep.walk(w, tile, &mut |w, visit| {
                constants.with(pool, |emitter, pool| {
                    let v = pool.take().ok_or(Pressure)?;
                    nest.load(w, v, from, &visit.at, visit.lanes);
                    if self.log {
                        w.binary(Binary::Sub, v, v, Operand::V(most[visit.vector]));
                        w.binary(Binary::Sub, v, v, Operand::V(by[visit.vector]));
                    } else {
                        w.binary(Binary::Mul, v, v, Operand::V(by[visit.vector]));
                    }
                    let mut params = vec![Param::Owned(v)];
                    for s in EXTRAS..EXTRAS + self.extras {
                        params.push(nest.param(s, &visit.at, visit.lanes, pool, w)?);
                    }
                    let v = self.after.emit(emitter, params, visit.lanes, strip, pool, w)?;
                    nest.store(w, v, OUT, &visit.at, visit.lanes);
                    Ok(())
                })
            })
        })
    }
}
