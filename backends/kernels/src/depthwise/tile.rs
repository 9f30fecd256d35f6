//! A line of a depthwise convolution as tiles: some output columns of one vector of channels, all taps of the
//! window, the epilogue.

use super::{C, Element, Plan, Taps, W, X, elements};
use crate::body::{Emitter, Param, Pressure};
use crate::pieces::around;
use crate::tile::{self, Pool, Writer, at};
use ir::Dtype;
use ir::kernel::tile::{At, Operand, Stmt, Unary, V};

/// Output columns in one tile at most.
pub(super) const MOST: usize = 14;

/// Taps that are written out for a tile; a larger window is a loop.
const MOST_TAPS: usize = 50;

/// Taps in a turn of that loop.
const TURN: usize = 4;

fn take(pool: &mut Pool) -> Result<V, Pressure> {
    pool.take().ok_or(Pressure)
}

impl Plan<'_> {
    /// Bytes from the weights of a vector of channels to an operand that lies behind them.
    fn column(&self, extra: usize) -> i64 {
        let which = self.columns.iter().position(|&k| k == extra).expect("it is one of the columns");
        self.vector(self.taps() + which)
    }

    /// Bytes of so many vectors.
    fn vector(&self, count: usize) -> i64 {
        (count * self.lanes * 4) as i64
    }

    /// Output columns that a tile's products leave registers for; 0 if it cannot be done this way.
    pub(super) fn most_columns(&self) -> usize {
        let registers = self.facts.vectors as usize;
        let (taps, wide) = (self.taps(), self.kernel.1);
        match self.products {
            Taps::Each if self.resident => (registers - taps - 4).min(MOST),
            Taps::Each => (registers - 4).min(MOST),
            Taps::Shared => (registers - taps - 2).min(MOST),
            // an engine that orders a turn by itself loads all elements first
            Taps::SharedByLine if self.facts.unroll == 1 => {
                (2..=MOST).rev().find(|&n| n + self.elements(n).len() + wide < registers).unwrap_or(0)
            }
            Taps::SharedByLine if registers >= wide + 2 + 6 => (registers - wide - 2).min(MOST),
            Taps::SharedByLine => 0,
        }
    }

    fn elements(&self, columns: usize) -> Vec<Element> {
        elements(self.kernel.1, self.tap.1, self.x_step.1, columns)
    }

    /// One output line of one vector of channels; pointers end where they began.
    pub(super) fn line(&self, valid: usize, w: &mut Writer) {
        let mut pool = Pool::new(self.facts);
        let mut weights = Vec::new();
        if self.resident {
            for t in 0..self.taps() {
                let to = pool.take().expect("the weights fit");
                w.push(Stmt::Load { to, at: at(W, self.vector(t)), lanes: self.lanes as u8 });
                weights.push(to);
            }
        }
        let out = self.out.1;
        let tiles = out.div_ceil(self.most);
        let (size, larger) = (out / tiles, out % tiles);
        for (count, columns) in [(larger, size + 1), (tiles - larger, size)] {
            w.repeat(count, |w| {
                self.tile(columns, valid, &weights, pool.clone(), w).expect("the epilogue was tried before");
                self.right(columns as i64, true, w);
            });
        }
        self.right(-(out as i64), true, w);
    }

    /// Moves the results by so many columns, the image too if `with_x`.
    fn right(&self, columns: i64, with_x: bool, w: &mut Writer) {
        if with_x {
            w.advance(X, self.x_step.1 * columns);
        }
        w.advance(C, self.c_step.1 * columns);
        self.each_extra(w, |i| self.extra_step[i].1 * columns);
    }

    fn tile(&self, columns: usize, valid: usize, weights: &[V], mut pool: Pool, w: &mut Writer) -> Result<(), Pressure> {
        let mut sums = Vec::new();
        for _ in 0..columns {
            let v = take(&mut pool)?;
            match (self.start, sums.first()) {
                (None, _) => w.push(Stmt::Set { to: v, bits: 0 }),
                (Some(_), Some(&from)) => w.push(Stmt::Copy { to: v, from }),
                (Some(bias), None) => w.push(Stmt::Load { to: v, at: at(W, self.column(bias)), lanes: self.lanes as u8 }),
            }
            sums.push(v);
        }
        match self.products {
            Taps::Each => self.each(&sums, valid, weights, &mut pool, w)?,
            Taps::Shared => {
                for ky in 0..self.kernel.0 {
                    let line = &weights[ky * self.kernel.1..][..self.kernel.1];
                    self.shared(&sums, valid, line, ky as i64 * self.tap.0, pool.clone(), w)?;
                }
            }
            Taps::SharedByLine => self.by_line(&sums, valid, pool.clone(), w)?,
        }
        let Some(scratch) = self.scratch else {
            let mut emitter = Emitter::new(self.facts);
            return sums.iter().enumerate().try_for_each(|(c, &sum)| self.store(c, Param::Owned(sum), valid, &mut emitter, &mut pool, w));
        };
        for (c, &from) in sums.iter().enumerate() {
            w.push(Stmt::Store { from, at: at(scratch, self.vector(c)), lanes: self.lanes as u8 });
            pool.give(from);
        }
        around(self.facts, &pool, w, &mut |constants, pool, w| {
            let mut done = Ok(());
            w.repeat(columns, |w| {
                let sum = Param::Memory(at(scratch, 0));
                done = constants.with(pool, |emitter, pool| self.store(0, sum, valid, emitter, pool, w));
                if columns > 1 {
                    w.advance(scratch, self.vector(1));
                    self.right(1, false, w);
                }
            });
            if columns > 1 {
                w.advance(scratch, -self.vector(columns));
                self.right(-(columns as i64), false, w);
            }
            done
        })
    }

    /// Every tap for every sum.
    fn each(&self, sums: &[V], valid: usize, weights: &[V], pool: &mut Pool, w: &mut Writer) -> Result<(), Pressure> {
        let in_memory = self.facts.menu.memory_operand && valid == self.lanes && self.bytes.is_none();
        let element = if in_memory { None } else { Some(take(pool)?) };
        let weight = if weights.is_empty() { Some(take(pool)?) } else { None };
        let mut taps = |w: &mut Writer, lines: usize, wide: usize| {
            for (ky, kx) in (0..lines).flat_map(|ky| (0..wide).map(move |kx| (ky, kx))) {
                let t = ky * wide + kx;
                let tap = match weight {
                    Some(to) => {
                        w.push(Stmt::Load { to, at: at(W, self.vector(t)), lanes: self.lanes as u8 });
                        to
                    }
                    None => weights[t],
                };
                for (c, &acc) in sums.iter().enumerate() {
                    let from = at(X, ky as i64 * self.tap.0 + kx as i64 * self.tap.1 + c as i64 * self.x_step.1);
                    match element {
                        None => w.mul_add(acc, tap, Operand::Memory(from)),
                        Some(to) => {
                            self.load(to, from, valid, w);
                            w.mul_add(acc, tap, Operand::V(to));
                        }
                    }
                }
            }
        };
        let (lines, wide) = self.kernel;
        if self.taps() <= MOST_TAPS {
            taps(w, lines, wide);
        } else {
            self.in_turns(&mut taps, w);
        }
        for v in element.into_iter().chain(weight) {
            pool.give(v);
        }
        Ok(())
    }

    /// Loops over the taps of a large window: `taps` writes those of so many lines and columns. Pointers end where
    /// they began.
    fn in_turns(&self, taps: &mut dyn FnMut(&mut Writer, usize, usize), w: &mut Writer) {
        let (lines, wide) = self.kernel;
        let (turns, rest) = (wide / TURN, wide % TURN);
        w.repeat(lines, |w| {
            w.repeat(turns, |w| {
                taps(w, 1, TURN);
                w.advance(X, TURN as i64 * self.tap.1);
                w.advance(W, self.vector(TURN));
            });
            taps(w, 1, rest);
            w.advance(X, self.tap.0 - (turns * TURN) as i64 * self.tap.1);
            w.advance(W, self.vector(rest));
        });
        w.advance(X, -(lines as i64) * self.tap.0);
        w.advance(W, -self.vector(self.taps()));
    }

    /// Elements of the image as floats.
    fn load(&self, to: V, at: At, valid: usize, w: &mut Writer) {
        let lanes = valid as u8;
        match self.bytes {
            None => w.push(Stmt::Load { to, at, lanes }),
            Some(kind) => {
                w.push(Stmt::LoadNarrow { to, at, lanes, kind });
                w.push(Stmt::Unary { op: Unary::FromInt, to, a: to });
            }
        }
    }

    /// One line of the window, `down` bytes below its first: each element once, loaded before the one ahead of it
    /// is done with.
    fn shared(&self, sums: &[V], valid: usize, weights: &[V], down: i64, mut pool: Pool, w: &mut Writer) -> Result<(), Pressure> {
        let ring = [take(&mut pool)?, take(&mut pool)?];
        let elements = self.elements(sums.len());
        let load = |w: &mut Writer, i: usize| {
            if let Some((offset, _)) = elements.get(i) {
                self.load(ring[i % 2], at(X, down + offset), valid, w);
            }
        };
        load(w, 0);
        for (i, (_, uses)) in elements.iter().enumerate() {
            load(w, i + 1);
            for &(kx, c) in uses {
                w.mul_add(sums[c], weights[kx], Operand::V(ring[i % 2]));
            }
        }
        Ok(())
    }

    /// A loop over the window's lines. Pointers end where they began.
    fn by_line(&self, sums: &[V], valid: usize, mut pool: Pool, w: &mut Writer) -> Result<(), Pressure> {
        let (lines, wide) = (self.kernel.0, self.kernel.1);
        let weights: Vec<V> = (0..wide).map(|_| take(&mut pool)).collect::<Result<_, _>>()?;
        let mut done = Ok(());
        w.repeat(lines, |w| {
            for (t, &to) in weights.iter().enumerate() {
                w.push(Stmt::Load { to, at: at(W, self.vector(t)), lanes: self.lanes as u8 });
            }
            done = self.shared(sums, valid, &weights, 0, pool.clone(), w);
            if lines > 1 {
                w.advance(X, self.tap.0);
                w.advance(W, self.vector(wide));
            }
        });
        if lines > 1 {
            w.advance(X, -self.tap.0 * lines as i64);
            w.advance(W, -self.vector(self.taps()));
        }
        done
    }

    /// Computes the output of column `c` and stores it.
    fn store(&self, c: usize, sum: Param, valid: usize, emitter: &mut Emitter, pool: &mut Pool, w: &mut Writer) -> Result<(), Pressure> {
        let mut params = vec![self.as_own(sum, pool, w)?];
        for (i, extra) in self.extras.iter().enumerate() {
            params.push(extra.param(match self.pointers[i] {
                Some(p) => at(p, c as i64 * self.extra_step[i].1),
                None => at(W, self.column(i)),
            }));
        }
        let result = emitter.emit(&self.body, &self.types, &params, valid as u8, pool, w)?;
        w.push(tile::store(result, at(C, c as i64 * self.c_step.1), valid as u8, self.result));
        pool.give(result);
        Ok(())
    }

    /// A sum, which is a float, as what the epilogue takes.
    fn as_own(&self, sum: Param, pool: &mut Pool, w: &mut Writer) -> Result<Param, Pressure> {
        if self.own == Dtype::F32 {
            return Ok(sum);
        }
        let to = match sum {
            Param::Owned(v) => v,
            Param::Memory(at) => {
                let to = take(pool)?;
                w.push(Stmt::Load { to, at, lanes: self.lanes as u8 });
                to
            }
            Param::Splat(_) | Param::Narrow(..) | Param::NarrowSplat(..) => unreachable!("a sum is a whole vector"),
        };
        w.push(Stmt::Unary { op: Unary::ToInt, to, a: to });
        Ok(Param::Owned(to))
    }

    /// Whether products and epilogue of a tile find registers.
    pub(super) fn fits(&self, columns: usize) -> bool {
        let mut pool = Pool::new(self.facts);
        let weights: Vec<V> = if self.resident { (0..self.taps()).filter_map(|_| pool.take()).collect() } else { Vec::new() };
        // a partial vector takes a register for what a whole one reads as an operand
        let partial = self.channels % self.lanes;
        let tries = |valid: usize| self.tile(columns, valid, &weights, pool.clone(), &mut Writer::new()).is_ok();
        tries(self.lanes) && (partial == 0 || tries(partial))
    }
}
