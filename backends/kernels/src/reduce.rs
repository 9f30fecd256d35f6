//! Reductions in f32 over any axes, and in i32 over others than the lanes', or of bytes, whose sums are exact in f32; as vectors:
//! along the lanes with a fold at the end, or with lanes as positions of their own (a global pool of channels). Several
//! accumulators hide the latency and keep long sums apart.

use crate::body::{Pressure, is_vector, narrow};
use crate::build::Builder;
use crate::nest::{self, Nest, Stream, StreamId};
use crate::pieces::{Constants, Pieces, around};
use crate::sweep::{self, Sweep, Tile, Visit};
use crate::tile::{Pool, Writer};
use crate::{Job, math};
use ir::Dtype;
use ir::graph::op::{Op, ReduceKind};
use ir::kernel::Facts;
use ir::kernel::tile::{Binary, Operand, V};
use ir::quant;
use ir::scalar::{Arg, Body, ScalarOp};

const X: StreamId = 0;
const OUT: StreamId = 1;

/// Rows this short are gathered into lanes.
const SHORT: usize = 8;

/// Emits the reduction of `job`, if it is one for vectors: of f32 or i32, which smaller types become, contiguous where lanes
/// are folded.
pub fn lower(job: &Job, builder: &mut Builder) -> bool {
    let Op::Reduce { kind, axes, prologue, epilogue } = job.op else { return false };
    let facts = builder.facts;
    let x = &job.operands[0];
    let Ok(own) = prologue.result_type(&[x.dtype]) else { return false };
    let float = own == Dtype::F32;
    if narrow::lane(job.dtype).is_none() || x.shape.contains(&0) || !(float || own == Dtype::I32) {
        return false;
    }
    let Some(lane) = narrow::lane(x.dtype) else { return false };
    let Some(prologue) = narrow::widen(&math::expand(prologue, &[x.dtype], facts.fused), &[x.dtype], &[]) else { return false };
    if !is_vector(&prologue, &[lane]) {
        return false;
    }
    let along: Vec<bool> = (0..x.shape.len()).map(|i| axes.contains(&i)).collect();
    let length: usize = axes.iter().map(|&a| x.shape[a]).product();
    let mean;
    if *kind == ReduceKind::Mean && !float {
        return false;
    }
    let epilogue = if *kind == ReduceKind::Mean && length > 1 {
        mean = scaled(epilogue, 1.0 / length as f32);
        &mean
    } else {
        epilogue
    };
    let Some(bound) = nest::bind(&[own], &job.operands[1..], epilogue, &job.shape, facts) else { return false };
    let (op, start) = match (kind, float) {
        (ReduceKind::Sum | ReduceKind::Mean, true) => (Binary::Add, 0),
        (ReduceKind::Prod, true) => (Binary::Mul, 1.0_f32.to_bits()),
        (ReduceKind::Max, true) => (Binary::Max, f32::NEG_INFINITY.to_bits()),
        (ReduceKind::Min, true) => (Binary::Min, f32::INFINITY.to_bits()),
        (ReduceKind::Sum | ReduceKind::Mean, false) => (Binary::IAdd, 0),
        (ReduceKind::Prod, false) => (Binary::IMul, 1),
        (ReduceKind::Max, false) => (Binary::IMax, i32::MIN as u32),
        (ReduceKind::Min, false) => (Binary::IMin, i32::MAX as u32),
    };
    let extras = bound.streams.len();
    let mut streams = vec![Stream::read("x", x, &x.shape), Stream::write("y", &job.place, job.dtype).without(&along)];
    streams.extend(bound.streams.into_iter().map(|s| s.without(&along)));
    // it goes last: it is wanted only where the walk is across and has a tail
    let lanes = facts.lanes();
    let count = |nest: &Nest| nest.counts[nest.lane()];
    let nested = |streams: Vec<Stream>| Nest::new(&x.shape, &along, streams).with_short_rows_across(SHORT, lanes);
    let first = nested(streams.clone());
    let walk = Sweep::new(&first, facts);
    let plain = prologue.is_identity() && op == Binary::Add && x.dtype == Dtype::F32;
    let masked = walk.has_tail() && !plain;
    if walk.across && (*kind == ReduceKind::Prod || !first.contiguous(X)) {
        return false;
    }
    if walk.across && !float {
        return in_floats(job, length, builder);
    }
    if masked {
        streams.push(Stream::still("mask", sweep::mask(facts, count(&first) % lanes, start), x.shape.len()));
    }
    let mut nest = nested(streams);
    let mask = masked.then_some(2 + extras);
    let mut pool = Pool::new(facts);
    let held: Vec<Option<V>> = (0..4).map(|_| pool.take()).collect();
    let mut owned = vec![true];
    owned.extend((2..2 + extras).map(|s| nest.gathers(s)));
    let Some(after) = Pieces::new(facts, &bound.body, &bound.types, &owned, &pool) else { return false };
    let Some(before) = Pieces::new(facts, &prologue, &[lane], &[nest.gathers(X)], &pool) else { return false };
    held.into_iter().flatten().for_each(|v| pool.give(v));
    let strip = after.scratch().max(before.scratch());
    let strip = (strip > 0).then(|| nest.scratch(strip));
    if !nest.fits(facts) {
        return false;
    }
    let (vectors, slots) = if facts.vectors > 16 { (4, 8) } else { (4, 4) };
    let mut write = |nest: &Nest| {
        let (before, after) = (before.clone(), after.clone());
        let reduce = Reduce { sweep: Sweep::new(nest, facts), facts, op, start, plain, before, after, extras, mask, strip };
        let mut w = Writer::new();
        let mut done = Ok(());
        reduce.sweep.positions(&mut w, vectors, slots, &mut |w, tile| done = done.and(reduce.tile(tile, pool.clone(), w)));
        done.ok().map(|()| w)
    };
    nest.cut(&format!("reduce_{}", kind.word()), 1 + before.terms(), builder, &mut write).is_some()
}

/// The sum of so many bytes as one of floats, if that is exact: no part of it has more than 24 bits.
fn in_floats(job: &Job, length: usize, builder: &mut Builder) -> bool {
    let Op::Reduce { kind: ReduceKind::Sum, axes, prologue, epilogue } = job.op else { return false };
    let x = job.operands[0].dtype;
    let plain = quant::body(1, |b| b.push(ScalarOp::Cast(Dtype::I32), &[Arg::Param(0)]));
    if x.bytes() != 1 || *prologue != plain || length >= 1 << 16 {
        return false;
    }
    let prologue = quant::body(1, |b| b.push(ScalarOp::Cast(Dtype::F32), &[Arg::Param(0)]));
    let mut behind = Body { params: epilogue.params, terms: Vec::new(), result: Arg::Param(0) };
    let sum = behind.push(ScalarOp::Cast(Dtype::I32), &[Arg::Param(0)]);
    let binding: Vec<Arg> = [sum].into_iter().chain((1..epilogue.params).map(Arg::Param)).collect();
    behind.result = behind.inline(epilogue, &binding);
    let op = Op::Reduce { kind: ReduceKind::Sum, axes: axes.clone(), prologue, epilogue: behind };
    let operands = job.operands.clone();
    lower(&Job { op: &op, operands, shape: job.shape.clone(), dtype: job.dtype, place: job.place.clone(), blocked: None }, builder)
}

/// `epilogue(a * factor, …)`.
fn scaled(epilogue: &ir::scalar::Body, factor: f32) -> ir::scalar::Body {
    use ir::scalar::Literal;
    let mut out = Body { params: epilogue.params, terms: Vec::new(), result: Arg::Param(0) };
    let first = out.push(ScalarOp::Mul, &[Arg::Param(0), Arg::Literal(Literal::f32(factor))]);
    let mut binding: Vec<Arg> = (0..epilogue.params).map(Arg::Param).collect();
    binding[0] = first;
    out.result = out.inline(epilogue, &binding);
    out
}

struct Reduce<'a> {
    sweep: Sweep<'a>,
    facts: &'a Facts,
    op: Binary,
    /// The bits of a lane to start from.
    start: u32,
    /// A sum of the elements as they are.
    plain: bool,
    before: Pieces,
    after: Pieces,
    extras: usize,
    mask: Option<StreamId>,
    strip: Option<StreamId>,
}

impl<'a> Reduce<'a> {
    fn tile(&self, tile: Tile, mut pool: Pool, w: &mut Writer) -> Result<(), Pressure> {
        let nest = self.sweep.nest;
        let lanes = self.facts.lanes();
        let strip = self.strip.map(|s| nest.at(s, &[]));
        let totals = if self.op == Binary::Add {
            self.sweep.sum(w, tile, &mut pool, &mut |w, pool, sums, walk| {
                around(self.facts, pool, w, &mut |constants, pool, w| walk(w, &mut |w, visit| self.visit(w, visit, sums, constants, pool)))
            })?
        } else {
            let best = self.sweep.accumulators(w, tile, self.start, &mut pool)?;
            around(self.facts, &pool, w, &mut |constants, pool, w| {
                self.sweep.walk(w, tile, &mut |w, visit| self.visit(w, visit, &best, constants, pool))
            })?;
            self.sweep.total(w, tile, best, self.op, true, &mut pool)?
        };
        let mut emitter = crate::body::Emitter::new(self.facts);
        for (vector, &total) in totals.iter().enumerate() {
            let valid = match (self.sweep.across, vector + 1 == tile.vectors) {
                (true, _) => 1,
                (false, true) => tile.last,
                (false, false) => lanes as u8,
            };
            let at = [(nest.lane(), (vector * lanes) as i64)];
            let mut params = vec![crate::body::Param::Owned(total)];
            for s in 2..2 + self.extras {
                params.push(nest.param(s, &at, valid, &mut pool, w)?);
            }
            let from = self.after.emit(&mut emitter, params, valid, strip, &mut pool, w)?;
            nest.store(w, from, OUT, &at, valid);
            pool.give(from);
        }
        Ok(())
    }

    fn visit(&self, w: &mut Writer, visit: &Visit, sums: &[V], constants: &mut Constants<'a>, pool: &Pool) -> Result<(), Pressure> {
        let nest = self.sweep.nest;
        let acc = sums[visit.slot];
        constants.with(pool, |emitter, pool| {
            if self.plain && self.facts.menu.memory_operand && visit.lanes as usize == self.facts.lanes() && nest.contiguous(X) {
                w.binary(Binary::Add, acc, acc, Operand::Memory(nest.at(X, &visit.at)));
                return Ok(());
            }
            let x = nest.param(X, &visit.at, visit.lanes, pool, w)?;
            let strip = self.strip.map(|s| nest.at(s, &[]));
            let v = self.before.emit(emitter, vec![x], visit.lanes, strip, pool, w)?;
            if let (true, Some(mask)) = (visit.tail, self.mask) {
                self.sweep.trim(w, v, mask, self.start != 0, pool)?;
            }
            sweep::join(w, self.facts, self.op, acc, v, true);
            Ok(())
        })
    }
}
