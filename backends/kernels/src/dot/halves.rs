//! Sums of products of bytes where a machine has no instruction for four at once: two products meet in a lane, so that the
//! four of a step leave a sum in two lanes, and a vector of columns takes two registers. Behind K the two become one.
//!
//! Either bytes multiply into numbers of 16 bits, whose pairs are then added into lanes; or bytes become numbers of 16 bits
//! first, two products of which are added into a lane at once.

use super::sums::Tile;
use crate::tile::{Pool, Writer};
use ir::kernel::tile::{At, Binary, Operand, Stmt, Unary, V};

/// Bytes of half a vector of 16, the only ones that this is for.
const HALF: i32 = 8;

impl Tile<'_> {
    /// Registers for sums in two lanes: of the first columns of each vector, then of the others.
    fn start_halves(&self, pool: &mut Pool, w: &mut Writer) -> Vec<Vec<V>> {
        let mut take = || pool.take().expect("the tile was chosen to fit");
        let sums: Vec<Vec<V>> = (0..self.rows).map(|_| (0..2 * self.vectors).map(|_| take()).collect()).collect();
        sums.iter().flatten().for_each(|&to| w.push(Stmt::Set { to, bits: 0 }));
        sums
    }

    /// Sums in one lane each, of which there is one register for a vector of columns.
    fn join_halves(&self, sums: Vec<Vec<V>>, pool: &mut Pool, w: &mut Writer) -> Vec<Vec<V>> {
        let mut row = |row: Vec<V>| {
            let joined = row.chunks_exact(2).map(|both| {
                w.binary(Binary::IAddPairs, both[0], both[0], Operand::V(both[1]));
                pool.give(both[1]);
                both[0]
            });
            joined.collect()
        };
        sums.into_iter().map(&mut row).collect()
    }

    /// Elements of A are lanes of a vector along K; those of two steps are spread over vectors of their own.
    pub fn sums_of_long_products(&self, twice: bool, pool: &mut Pool, w: &mut Writer) -> Vec<Vec<V>> {
        let sums = self.start_halves(pool, w);
        let mut take = |count: usize| (0..count).map(|_| pool.take().expect("the tile was chosen to fit")).collect::<Vec<V>>();
        let (left, right) = (take(self.rows), take(2 * self.vectors));
        let (spread, products) = (take(2), take(2 * self.vectors));
        self.over_k(w, &|w, steps| {
            for (first, count) in self.together(steps) {
                self.way.set_flip(products[0], w);
                for (r, &to) in left.iter().enumerate() {
                    w.push(Stmt::Load { to, at: self.left_at(r, steps[first]), lanes: count as u8 });
                    self.way.prepare(to, Some(products[0]), w);
                }
                for u in (0..count).step_by(2) {
                    let pair = 2.min(count - u);
                    for (i, &to) in right[..pair * self.vectors].iter().enumerate() {
                        self.load_right(to, first + u + i / self.vectors, i % self.vectors, w);
                    }
                    for (row, &left) in sums.iter().zip(&left) {
                        (0..pair).for_each(|i| w.push(Stmt::Unary { op: Unary::Spread((u + i) as u8), to: spread[i], a: left }));
                        let multiply = |w: &mut Writer, i: usize, more: bool| {
                            for (at, &to) in products.iter().enumerate() {
                                let (high, a, b) = (at % 2 == 1, right[i * self.vectors + at / 2], spread[i]);
                                if more {
                                    w.push(Stmt::MulAdd8 { high, acc: to, a, b });
                                } else {
                                    w.binary(if high { Binary::MulHigh8 } else { Binary::MulLow8 }, to, a, Operand::V(b));
                                }
                            }
                        };
                        let add = |w: &mut Writer| row.iter().zip(&products).for_each(|(&acc, &a)| w.push(Stmt::PairAdd { acc, a }));
                        multiply(w, 0, false);
                        if pair == 2 {
                            if !twice {
                                add(w);
                            }
                            multiply(w, 1, twice);
                        }
                        add(w);
                    }
                }
            }
        });
        [left, right, spread, products].into_iter().flatten().for_each(|v| pool.give(v));
        self.join_halves(sums, pool, w)
    }

    /// Elements of A one at a time, in all lanes.
    pub fn sums_of_widened(&self, [widen_left, widen_right]: [Unary; 2], pool: &mut Pool, w: &mut Writer) -> Vec<Vec<V>> {
        let sums = self.start_halves(pool, w);
        let mut take = |count: usize| (0..count).map(|_| pool.take().expect("the tile was chosen to fit")).collect::<Vec<V>>();
        let (right, left, product) = (take(2 * self.vectors), take(1), take(1));
        self.over_k(w, &|w, steps| {
            for (u, &step) in steps.iter().enumerate() {
                for (i, &to) in right.iter().enumerate() {
                    let whole = self.right_at(u, i / 2);
                    let at = At { offset: whole.offset + HALF * (i % 2) as i32, ..whole };
                    w.push(Stmt::Load { to, at, lanes: 2 });
                    w.push(Stmt::Unary { op: widen_right, to, a: to });
                }
                for (r, row) in sums.iter().enumerate() {
                    w.push(Stmt::Splat { to: left[0], at: self.left_at(r, step) });
                    w.push(Stmt::Unary { op: widen_left, to: left[0], a: left[0] });
                    for (&acc, &b) in row.iter().zip(&right) {
                        w.binary(Binary::Pair16, product[0], b, Operand::V(left[0]));
                        w.binary(Binary::IAdd, acc, acc, Operand::V(product[0]));
                    }
                }
            }
        });
        [right, left, product].into_iter().flatten().for_each(|v| pool.give(v));
        self.join_halves(sums, pool, w)
    }

    /// Steps that one vector of A holds: the first of them and how many.
    pub fn together(&self, steps: &[i64]) -> Vec<(usize, usize)> {
        let mut all: Vec<(usize, usize)> = Vec::new();
        for (u, &step) in steps.iter().enumerate() {
            match all.last_mut() {
                Some((first, count)) if *count < self.emit.lanes && step == steps[*first] + 4 * *count as i64 => *count += 1,
                Some(_) | None => all.push((u, 1)),
            }
        }
        all
    }
}
