//! One block of queries: turned into columns, multiplied by all keys, a softmax down each column, multiplied by all
//! values. A product of a column with the values is divided by the column's sum in its epilogue. In the scratch lie the
//! columns of queries (later the inverse sums), then the scores, then what the products want.

use super::{Attention, EXTRAS, K, OUT, Q, SCRATCH, V, across};
use crate::body::{Param, Pressure};
use crate::build::BufferId;
use crate::dot::{self, Extra, Factors, Inside, Level, Product, Right, Segment};
use crate::math;
use crate::pieces::around;
use crate::place::Place;
use crate::sweep::join;
use crate::tidy::renamed;
use crate::tile::{Pool, Writer, at, near};
use ir::Dtype;
use ir::kernel::tile::{Binary, Compare, Operand, P, Stmt, V as Vector};
use ir::scalar::{Arg, Body, ScalarOp};

/// Vectors of a column's elements that are on their way at a time.
const TURN: usize = 4;

/// Columns of vectors that a walk takes side by side.
const SIDE: usize = 2;

/// One block while it is written.
struct Block<'b, 'a> {
    of: &'b Attention<'a>,
    queries: usize,
    keys: usize,
    lanes: usize,
    /// Vectors side by side, and bytes from a row of scratch to the next.
    vectors: usize,
    pitch: i64,
    /// The scores, and scratch of the products.
    scores: P,
    sums: P,
}

impl<'a> Attention<'a> {
    /// Writes a block of so many queries; pointers end where they began. The bytes of scratch that it takes, or `None`
    /// where registers or addresses do not suffice.
    pub(super) fn block(&self, queries: usize, keys: usize, w: &mut Writer) -> Option<i64> {
        let lanes = self.facts.lanes();
        let vectors = queries.div_ceil(lanes);
        let scores = P(EXTRAS + self.extras.len() as u8);
        let pitch = (vectors * lanes * 4) as i64;
        let block = Block { of: self, queries, keys, lanes, vectors, pitch, scores, sums: P(scores.0 + 1) };
        block.write(w)
    }
}

impl Block<'_, '_> {
    fn write(&self, w: &mut Writer) -> Option<i64> {
        let (of, facts) = (self.of, self.of.facts);
        let start = self.pitch * of.depth as i64;
        let end = start + self.pitch * self.keys as i64;
        let row = of.lead.len();
        let lines = of.q.strides[row].saturating_mul(4 * self.lanes as i64);
        if !near(end) || !near(lines) || !near(of.q.strides[row + 1].saturating_mul(4 * TURN as i64)) {
            return None;
        }
        let scores = dot::inside(self.scores(), facts, facts, None)?;
        let values = dot::inside(self.values(), facts, facts, None)?;
        w.push(Stmt::Point { to: self.scores, from: SCRATCH, offset: start });
        if scores.scratch + values.scratch > 0 {
            w.push(Stmt::Point { to: self.sums, from: SCRATCH, offset: end });
        }
        self.turn(w);
        let extras = of.extras.len() as u8;
        self.product(&scores, w, &|p| match p {
            P(0) => K,
            P(1) => SCRATCH,
            P(2) => self.scores,
            P(i) if i < 3 + extras => P(EXTRAS + i - 3),
            P(_) => self.sums,
        });
        self.softmax(w).ok()?;
        self.product(&values, w, &|p| match p {
            P(0) => self.scores,
            P(1) => V,
            P(2) => OUT,
            P(3) => SCRATCH,
            P(_) => self.sums,
        });
        Some(end + scores.scratch.max(values.scratch))
    }

    fn product(&self, inside: &Inside, w: &mut Writer, to: &dyn Fn(P) -> P) {
        w.out.extend(renamed(&inside.body, to));
    }

    /// Queries as columns.
    fn turn(&self, w: &mut Writer) {
        let of = self.of;
        let row = of.lead.len();
        let (stride, step) = (of.q.strides[row] * 4, of.q.strides[row + 1] * 4);
        let pool = &mut Pool::new(of.facts);
        let v = pool.take().expect("there are registers");
        let some = |w: &mut Writer, count: usize| {
            for i in 0..count as i64 {
                for vector in 0..self.vectors {
                    let lanes = self.lanes.min(self.queries - vector * self.lanes) as u8;
                    let from = at(Q, i * step + (vector * self.lanes) as i64 * stride);
                    w.push(Stmt::Gather { to: v, at: from, stride: stride as i32, lanes });
                    let to = at(SCRATCH, i * self.pitch + (vector * self.lanes * 4) as i64);
                    w.push(Stmt::Store { from: v, at: to, lanes: self.lanes as u8 });
                }
            }
            w.advance(Q, count as i64 * step);
            w.advance(SCRATCH, count as i64 * self.pitch);
        };
        w.repeat(of.depth / TURN, |w| some(w, TURN));
        some(w, of.depth % TURN);
        w.advance(Q, -(of.depth as i64 * step));
        w.advance(SCRATCH, -(of.depth as i64 * self.pitch));
    }

    /// Keys by queries; what lies behind the last query counts where nothing is read for it.
    fn scores(&self) -> Product {
        let of = self.of;
        let row = of.lead.len();
        let whole = !of.extras.iter().any(across);
        let x = Level {
            count: self.keys,
            a: of.k.strides[row] * 4,
            b: 0,
            c: self.pitch,
            extra: of.places.iter().zip(&of.extras).map(|(p, e)| p.strides[row] * e.dtype().bytes() as i64).collect(),
        };
        Product {
            name: String::new(),
            factors: Factors::FLOATS,
            back: 0,
            dtype: Dtype::F32,
            batch: Vec::new(),
            y: Level { count: 1, a: 0, b: 0, c: 0, extra: vec![0; of.extras.len()] },
            x,
            segments: Vec::new(),
            run: Segment { count: of.depth, a: of.k.strides[row + 1] * 4 },
            n: if whole { self.vectors * self.lanes } else { self.queries },
            a: nowhere(),
            right: Right::InPlace { place: nowhere(), pitch: self.pitch, padded: false },
            c: nowhere(),
            extras: of.extras.clone(),
            epilogue: of.body.clone(),
            macs: 0,
        }
    }

    /// Shares by values, divided by the sums.
    fn values(&self) -> Product {
        let of = self.of;
        let row = of.lead.len();
        let mut epilogue = Body { params: 2, terms: Vec::new(), result: Arg::Param(0) };
        epilogue.result = epilogue.push(ScalarOp::Mul, &[Arg::Param(0), Arg::Param(1)]);
        Product {
            name: String::new(),
            factors: Factors::FLOATS,
            back: 0,
            dtype: Dtype::F32,
            batch: Vec::new(),
            y: Level { count: 1, a: 0, b: 0, c: 0, extra: vec![0] },
            x: Level { count: self.queries, a: 4, b: 0, c: of.out.strides[row] * 4, extra: vec![4] },
            segments: Vec::new(),
            run: Segment { count: self.keys, a: self.pitch },
            n: of.width,
            a: nowhere(),
            right: Right::InPlace { place: nowhere(), pitch: of.v.strides[row] * 4, padded: false },
            c: nowhere(),
            extras: vec![Extra::Memory { place: nowhere(), dtype: Dtype::F32, contiguous: false }],
            epilogue,
            macs: 0,
        }
    }

    /// Down every column the largest score, the exponentials of what is below it, and the inverse of their sum.
    fn softmax(&self, w: &mut Writer) -> Result<(), Pressure> {
        let mut done = Ok(());
        for first in (0..self.vectors).step_by(SIDE) {
            let columns: Vec<i64> = (first..self.vectors.min(first + SIDE)).map(|v| (v * self.lanes * 4) as i64).collect();
            done = done.and(self.columns(&columns, w));
        }
        done
    }

    fn columns(&self, columns: &[i64], w: &mut Writer) -> Result<(), Pressure> {
        let facts = self.of.facts;
        let lanes = self.lanes as u8;
        let pool = &mut Pool::new(facts);
        let most = self.most(columns, pool, w)?;
        if self.of.guarded {
            let (low, zero) = (set(f32::NEG_INFINITY, pool, w)?, set(0.0, pool, w)?);
            for &m in &most {
                w.push(Stmt::Select { to: m, cmp: Compare::Eq, x: m, y: Operand::V(low), a: zero, b: m });
            }
            pool.give(low);
            pool.give(zero);
        }
        let sums: Vec<Vector> = columns.iter().map(|_| set(0.0, pool, w)).collect::<Result<_, _>>()?;
        let exp = math::expand(&Body::of(ScalarOp::Exp), &[Dtype::F32], facts.fused);
        around(facts, pool, w, &mut |constants, pool, w| {
            let mut done = Ok(());
            w.repeat(self.keys, |w| {
                done = constants.with(pool, |emitter, pool| {
                    for (c, &column) in columns.iter().enumerate() {
                        let v = pool.take().ok_or(Pressure)?;
                        w.push(Stmt::Load { to: v, at: at(self.scores, column), lanes });
                        w.binary(Binary::Sub, v, v, Operand::V(most[c]));
                        let e = emitter.emit(&exp, &[Dtype::F32], &[Param::Owned(v)], lanes, pool, w)?;
                        w.push(Stmt::Store { from: e, at: at(self.scores, column), lanes });
                        join(w, facts, Binary::Add, sums[c], e, false);
                        pool.give(e);
                    }
                    Ok(())
                });
                w.advance(self.scores, self.pitch);
            });
            w.advance(self.scores, -(self.keys as i64 * self.pitch));
            done
        })?;
        for (&sum, &column) in sums.iter().zip(columns) {
            let inverse = set(1.0, pool, w)?;
            w.binary(Binary::Div, inverse, inverse, Operand::V(sum));
            if self.of.guarded {
                let zero = set(0.0, pool, w)?;
                w.push(Stmt::Select { to: inverse, cmp: Compare::Eq, x: sum, y: Operand::V(zero), a: zero, b: inverse });
                pool.give(zero);
            }
            w.push(Stmt::Store { from: inverse, at: at(SCRATCH, column), lanes });
            pool.give(inverse);
        }
        Ok(())
    }

    /// The largest score of each column. A NaN need not be found: its exponential is one, and so is the sum.
    fn most(&self, columns: &[i64], pool: &mut Pool, w: &mut Writer) -> Result<Vec<Vector>, Pressure> {
        let facts = self.of.facts;
        let all: Vec<Vec<Vector>> =
            columns.iter().map(|_| (0..2).map(|_| set(f32::NEG_INFINITY, pool, w)).collect()).collect::<Result<_, _>>()?;
        let v = pool.take().ok_or(Pressure)?;
        let some = |w: &mut Writer, rows: usize| {
            for i in 0..rows {
                for (&column, most) in columns.iter().zip(&all) {
                    w.push(Stmt::Load { to: v, at: at(self.scores, i as i64 * self.pitch + column), lanes: self.lanes as u8 });
                    join(w, facts, Binary::Max, most[i % 2], v, false);
                }
            }
            w.advance(self.scores, rows as i64 * self.pitch);
        };
        w.repeat(self.keys / TURN, |w| some(w, TURN));
        some(w, self.keys % TURN);
        w.advance(self.scores, -(self.keys as i64 * self.pitch));
        pool.give(v);
        let mut out = Vec::new();
        for most in all {
            join(w, facts, Binary::Max, most[0], most[1], false);
            pool.give(most[1]);
            out.push(most[0]);
        }
        Ok(out)
    }
}

fn set(value: f32, pool: &mut Pool, w: &mut Writer) -> Result<Vector, Pressure> {
    let to = pool.take().ok_or(Pressure)?;
    w.push(Stmt::Set { to, bits: value.to_bits() });
    Ok(to)
}

/// A place that a product inside another kernel does not need.
fn nowhere() -> Place {
    Place { buffer: BufferId(0), offset: 0, strides: Vec::new() }
}
