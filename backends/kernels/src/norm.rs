//! Normalisation of f32 over any axes: layer norm and RMS norm along the lanes, instance norm with channels as
//! lanes. The mean first, then the squares of what is left (never the difference of two large sums), then the
//! result with its epilogue, which holds scale and bias.

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
use ir::kernel::tile::{Binary, Operand, Stmt, Unary, V};

const X: StreamId = 0;
const OUT: StreamId = 1;

/// Emits the norm of `job`, if it is one for vectors: of f32, contiguous where lanes are folded.
pub fn lower(job: &Job, builder: &mut Builder) -> bool {
    let Op::Norm { axes, epsilon, center, prologue, epilogue } = job.op else { return false };
    let facts = builder.facts;
    let x = &job.operands[0];
    let Some(lane_type) = narrow::lane(x.dtype) else { return false };
    if prologue.result_type(&[x.dtype]) != Ok(Dtype::F32) || narrow::lane(job.dtype).is_none() || x.shape.contains(&0) {
        return false;
    }
    let prologue = narrow::widen(&math::expand(prologue, &[x.dtype], facts.fused), &[x.dtype], &[]).filter(|b| is_vector(b, &[lane_type]));
    let Some(prologue) = prologue else { return false };
    let along: Vec<bool> = (0..x.shape.len()).map(|i| axes.contains(&i)).collect();
    let Some(bound) = nest::bind(&[Dtype::F32], &job.operands[1..], epilogue, &job.shape, facts) else { return false };
    let extras = bound.streams.len();
    let mut streams = vec![Stream::read("x", x, &x.shape), Stream::write("y", &job.place, job.dtype)];
    streams.extend(bound.streams);
    let first = Nest::new(&x.shape, &along, streams.clone());
    let (lane, lanes) = (first.lane(), facts.lanes());
    if first.along[lane] && !(first.contiguous(X) && first.contiguous(OUT)) {
        return false;
    }
    // zeros behind the end count for nothing, as long as nothing is made of them
    let masked = Sweep::new(&first, facts).has_tail() && (*center || !prologue.is_identity());
    if masked {
        streams.push(Stream::still("mask", sweep::mask(facts, first.counts[lane] % lanes, 0), x.shape.len()));
    }
    let mut nest = Nest::new(&x.shape, &along, streams);
    let mut owned = vec![true];
    owned.extend((2..2 + extras).map(|s| nest.gathers(s)));
    let (vectors, slots) = match (nest.along[lane], facts.vectors > 16) {
        (true, _) => (1, 4),
        (false, true) => (4, 8),
        (false, false) => (2, 4),
    };
    let mut pool = Pool::new(facts);
    let held: Vec<Option<V>> = (0..2 * vectors).map(|_| pool.take()).collect();
    let Some(after) = Pieces::new(facts, &bound.body, &bound.types, &owned, &pool) else { return false };
    let sums: Vec<Option<V>> = (0..slots).map(|_| pool.take()).collect();
    let Some(before) = Pieces::new(facts, &prologue, &[lane_type], &[nest.gathers(X)], &pool) else { return false };
    sums.into_iter().rev().chain(held).flatten().for_each(|v| pool.give(v));
    let strip = after.scratch().max(before.scratch());
    let strip = (strip > 0).then(|| nest.scratch(strip));
    if !nest.fits(facts) {
        return false;
    }
    let mask = masked.then_some(2 + extras);
    let mut write = |nest: &Nest| {
        let sweep = Sweep::new(nest, facts);
        let (before, after) = (before.clone(), after.clone());
        let norm = Norm { sweep, facts, epsilon: epsilon.0 as f32, center: *center, before, after, extras, mask, strip };
        let mut w = Writer::new();
        let mut done = Ok(());
        norm.sweep.positions(&mut w, vectors, slots, &mut |w, tile| done = done.and(norm.tile(tile, pool.clone(), w)));
        done.ok().map(|()| w)
    };
    nest.cut("norm", 8 + 3 * before.terms() + after.terms(), builder, &mut write).is_some()
}

struct Norm<'a> {
    sweep: Sweep<'a>,
    facts: &'a Facts,
    epsilon: f32,
    center: bool,
    before: Pieces,
    after: Pieces,
    extras: usize,
    mask: Option<StreamId>,
    strip: Option<StreamId>,
}

impl<'a> Norm<'a> {
    /// The first element of each row; across, in all lanes.
    fn firsts(&self, tile: Tile, pool: &mut Pool, w: &mut Writer) -> Result<Vec<V>, Pressure> {
        let (nest, lanes) = (self.sweep.nest, self.facts.lanes());
        let mut emitter = Emitter::new(self.facts);
        let mut firsts = Vec::with_capacity(tile.vectors);
        for v in 0..tile.vectors {
            let to = pool.take().ok_or(Pressure)?;
            let valid = if self.sweep.across || v + 1 < tile.vectors { lanes as u8 } else { tile.last };
            if self.sweep.across {
                nest.splat(w, to, X);
            } else {
                nest.load(w, to, X, &[(nest.lane(), (v * lanes) as i64)], valid);
            }
            let strip = self.strip.map(|s| nest.at(s, &[]));
            firsts.push(self.before.emit(&mut emitter, vec![Param::Owned(to)], valid, strip, pool, w)?);
        }
        emitter.finish(pool);
        Ok(firsts)
    }

    fn tile(&self, tile: Tile, mut pool: Pool, w: &mut Writer) -> Result<(), Pressure> {
        let (nest, facts, sweep) = (self.sweep.nest, self.facts, &self.sweep);
        let count = Operand::Bits((sweep.length() as f32).to_bits());
        let strip = self.strip.map(|s| nest.at(s, &[]));
        let load = |emitter: &mut Emitter<'a>, w: &mut Writer, visit: &sweep::Visit, pool: &mut Pool| {
            let x = nest.param(X, &visit.at, visit.lanes, pool, w)?;
            self.before.emit(emitter, vec![x], visit.lanes, strip, pool, w)
        };
        let mut means = Vec::new();
        if self.center {
            // the mean of what is beyond the first element: rows of one value are centred to zeros, whatever rounds
            let firsts = self.firsts(tile, &mut pool, w)?;
            means = sweep.sum(w, tile, &mut pool, &mut |w, pool, sums, walk| {
                around(facts, pool, w, &mut |constants, pool, w| {
                    walk(w, &mut |w, visit| {
                        constants.with(pool, |emitter, pool| {
                            let d = load(emitter, w, visit, pool)?;
                            w.binary(Binary::Sub, d, d, Operand::V(firsts[visit.vector]));
                            if let (true, Some(mask)) = (visit.tail, self.mask) {
                                sweep.trim(w, d, mask, false, pool)?;
                            }
                            w.binary(Binary::Add, sums[visit.slot], sums[visit.slot], Operand::V(d));
                            Ok(())
                        })
                    })
                })
            })?;
            for (&mean, first) in means.iter().zip(firsts) {
                w.binary(Binary::Div, mean, mean, count);
                w.binary(Binary::Add, mean, mean, Operand::V(first));
                pool.give(first);
            }
        }
        let scales = sweep.sum(w, tile, &mut pool, &mut |w, pool, squares, walk| {
            around(facts, pool, w, &mut |constants, pool, w| {
                walk(w, &mut |w, visit| {
                    constants.with(pool, |emitter, pool| {
                        let d = load(emitter, w, visit, pool)?;
                        if self.center {
                            w.binary(Binary::Sub, d, d, Operand::V(means[visit.vector]));
                        }
                        if let (true, Some(mask)) = (visit.tail, self.mask) {
                            sweep.trim(w, d, mask, false, pool)?;
                        }
                        w.mul_add(squares[visit.slot], d, Operand::V(d));
                        Ok(())
                    })
                })
            })
        })?;
        for &scale in &scales {
            let one = pool.take().ok_or(Pressure)?;
            w.binary(Binary::Div, scale, scale, count);
            w.binary(Binary::Add, scale, scale, Operand::Bits(self.epsilon.to_bits()));
            w.push(Stmt::Unary { op: Unary::Sqrt, to: scale, a: scale });
            w.push(Stmt::Set { to: one, bits: 1.0_f32.to_bits() });
            w.binary(Binary::Div, scale, one, Operand::V(scale));
            pool.give(one);
        }
        around(facts, &pool, w, &mut |constants, pool, w| {
            sweep.walk(w, tile, &mut |w, visit| {
                constants.with(pool, |emitter, pool| {
                    let v = load(emitter, w, visit, pool)?;
                    if self.center {
                        w.binary(Binary::Sub, v, v, Operand::V(means[visit.vector]));
                    }
                    w.binary(Binary::Mul, v, v, Operand::V(scales[visit.vector]));
                    let mut params = vec![Param::Owned(v)];
                    for s in 2..2 + self.extras {
                        params.push(nest.param(s, &visit.at, visit.lanes, pool, w)?);
                    }
                    let from = self.after.emit(emitter, params, visit.lanes, strip, pool, w)?;
                    nest.store(w, from, OUT, &visit.at, visit.lanes);
                    Ok(())
                })
            })
        })
    }
}
