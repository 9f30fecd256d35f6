//! What happens to a tile's sums before they are stored: in the registers they are in, or, where the body is long
//! or wide, from scratch memory in a loop over the tile's rows.

use super::Extra;
use super::emit::{B, C, Emit};
use super::sums::Tile;
use crate::body::{Emitter, Param, Pressure};
use crate::pieces::around;
use crate::tile::{self, Pool, Writer, at};
use ir::Dtype;
use ir::kernel::tile::{Stmt, V};
use ir::scalar::Body;

/// Where an epilogue finds the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// Where they are; it is written out for every vector of the tile.
    Registers,
    /// In scratch; it is written once for a row.
    Scratch,
}

/// A body of so many terms is long.
const LONG: usize = 8;

/// Terms that may be written out behind one tile.
const MOST_TERMS: usize = 128;

/// Whether `body` takes less when it is a loop over what it is for, `vectors` of them.
pub fn is_long(body: &Body, vectors: usize) -> bool {
    body.terms.len() > LONG && body.terms.len() * vectors > MOST_TERMS
}

impl Emit<'_> {
    /// `None` when the body is wider than all registers.
    pub(super) fn choose_behind(&self) -> Option<Behind> {
        let shape = self.shape;
        let width = shape.vectors * self.lanes;
        let (rows, vectors, way) = (shape.rows(), shape.vectors, self.panels[0].way);
        let tile = |last_lanes| Tile { emit: self, x_rows: shape.x, rows, vectors, last_lanes, panel_width: width, way };
        // a partial vector takes a register for what a whole one reads as an operand
        let partial = self.product.n % self.lanes;
        let each = |tries: &dyn Fn(Tile) -> bool| tries(tile(self.lanes)) && (partial == 0 || tries(tile(partial)));
        let long = is_long(&self.body, shape.rows() * shape.vectors);
        let in_registers = |tile: Tile| {
            let mut pool = Pool::new(self.facts);
            let mut take = || pool.take().expect("the tile was chosen to fit");
            let sums: Vec<Vec<V>> = (0..tile.rows).map(|_| (0..tile.vectors).map(|_| take()).collect()).collect();
            tile.in_registers(&sums, pool, &mut Writer::new()).is_ok()
        };
        let in_rows = |tile: Tile| tile.in_rows(&Pool::new(self.facts), &mut Writer::new()).is_ok();
        match () {
            _ if long && each(&in_rows) => Some(Behind::Scratch),
            _ if each(&in_registers) => Some(Behind::Registers),
            _ if each(&in_rows) => Some(Behind::Scratch),
            _ => None,
        }
    }

    fn types(&self) -> Vec<Dtype> {
        [self.product.factors.sum()].into_iter().chain(self.product.extras.iter().map(Extra::lane)).collect()
    }
}

impl Tile<'_> {
    /// Writes the epilogue and stores the tile.
    pub fn finish(&self, sums: Vec<Vec<V>>, mut pool: Pool, w: &mut Writer) {
        let fits = match self.emit.behind {
            Behind::Registers => self.in_registers(&sums, pool, w),
            Behind::Scratch => {
                for (i, &from) in sums.iter().flatten().enumerate() {
                    w.push(Stmt::Store { from, at: at(self.emit.scratch, self.vector(i)), lanes: self.emit.lanes as u8 });
                    pool.give(from);
                }
                self.in_rows(&pool, w)
            }
        };
        fits.expect("the epilogue was tried before");
    }

    /// Bytes of so many vectors.
    fn vector(&self, count: usize) -> i64 {
        (count * self.emit.lanes * 4) as i64
    }

    fn in_registers(&self, sums: &[Vec<V>], mut pool: Pool, w: &mut Writer) -> Result<(), Pressure> {
        let mut emitter = Emitter::new(self.emit.facts);
        let types = self.emit.types();
        for v in 0..self.vectors {
            for (r, row) in sums.iter().enumerate() {
                self.store(r, v, Param::Owned(row[v]), &types, &mut emitter, &mut pool, w)?;
            }
        }
        Ok(())
    }

    /// A loop over rows, with the body's constants around it.
    fn in_rows(&self, pool: &Pool, w: &mut Writer) -> Result<(), Pressure> {
        let emit = self.emit;
        let (x, y) = (&emit.product.x, &emit.product.y);
        let lines = self.rows / self.x_rows;
        let types = emit.types();
        around(emit.facts, pool, w, &mut |constants, pool, w| {
            let mut done = Ok(());
            w.repeat(lines, |w| {
                w.repeat(self.x_rows, |w| {
                    done = constants.with(pool, |emitter, pool| {
                        (0..self.vectors).try_for_each(|v| {
                            let sum = Param::Memory(at(emit.scratch, self.vector(v)));
                            self.store(0, v, sum, &types, emitter, pool, w)
                        })
                    });
                    if self.rows > 1 {
                        w.advance(emit.scratch, self.vector(self.vectors));
                    }
                    if self.x_rows > 1 {
                        emit.shift_results(x, 1, w);
                    }
                });
                if self.x_rows > 1 {
                    emit.shift_results(x, -(self.x_rows as i64), w);
                }
                if lines > 1 {
                    emit.shift_results(y, 1, w);
                }
            });
            if lines > 1 {
                emit.shift_results(y, -(lines as i64), w);
            }
            if self.rows > 1 {
                w.advance(emit.scratch, -self.vector(self.rows * self.vectors));
            }
            done
        })
    }

    /// Computes vector `v` of row `r` and stores it.
    #[allow(clippy::too_many_arguments)]
    fn store(
        &self,
        r: usize,
        v: usize,
        sum: Param,
        types: &[Dtype],
        emitter: &mut Emitter,
        pool: &mut Pool,
        w: &mut Writer,
    ) -> Result<(), Pressure> {
        let emit = self.emit;
        let lanes = if v + 1 == self.vectors { self.last_lanes } else { emit.lanes } as u8;
        let mut params = vec![sum];
        for (i, extra) in emit.product.extras.iter().enumerate() {
            let row = self.row(r, |l| l.extra[i]);
            let first = |dtype: Dtype| (v * emit.lanes * dtype.bytes()) as i64;
            params.push(extra.param(match (extra, emit.extra_pointer[i]) {
                (Extra::Memory { contiguous: true, dtype, .. }, Some(p)) => at(p, row + first(*dtype)),
                (Extra::Memory { .. }, Some(p)) => at(p, row),
                _ => at(B, self.column(i, v)),
            }));
        }
        let result = emitter.emit(&emit.body, types, &params, lanes, pool, w)?;
        let dtype = emit.product.dtype;
        let to = at(C, self.row(r, |l| l.c) + (v * emit.lanes * dtype.bytes()) as i64);
        w.push(tile::store(result, to, lanes, dtype));
        pool.give(result);
        Ok(())
    }
}
