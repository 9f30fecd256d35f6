//! What a tile makes of weights in blocks: floats, in registers.
//!
//! One row of A reads every word once, and what it does with it decides how near it comes to memory. There a number stays where it
//! is in its word: masked and turned into a float it is too large by a power of two, which the element of A is smaller by. So it takes
//! three instructions. A block's sum starts with what its zero points take, and is scaled at the end. Elements of A divided,
//! and their sums over blocks, are made first, in scratch.
//!
//! With more rows the numbers are moved down and become the weights that they stand for, once for all rows.

use super::blocked::Blocks;
use super::emit::{A, B, Emit};
use super::sums::Tile;
use crate::tile::{Pool, Writer, at};
use ir::kernel::tile::{Binary, Operand, P, Stmt, Unary, V};

/// Pointers of a kernel that unpacks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unpack {
    pub blocks: Blocks,
    /// Of the only row: its elements divided, then for each block what a sum starts with, in scratch.
    pub left: Option<P>,
    /// What elements are divided by.
    pub factors: P,
    /// Move along what a sum starts with, and along the elements.
    pub sums: P,
    pub numbers: P,
}

impl Unpack {
    /// For `one` row, or for more.
    pub fn new(blocks: Blocks, one: bool) -> Unpack {
        Unpack { blocks, left: one.then_some(P(0)), factors: P(0), sums: P(0), numbers: P(0) }
    }

    /// The same with its pointers from `first` on, of which two are arguments if there is one row.
    pub fn placed(self, first: u8) -> Unpack {
        let [left, factors, sums, numbers] = [first, first + 1, first + 2, first + 3].map(P);
        Unpack { left: self.left.map(|_| left), factors, sums, numbers, ..self }
    }
}

/// Lanes of a vector at most, and numbers in a word at most.
const FACTORS: usize = 16;

impl Blocks {
    /// What elements of A are multiplied by, from the first of a word on.
    pub fn factors(self) -> Vec<u8> {
        // the last number of a word is moved down
        let exponent = |i: usize| if i + 1 == self.in_word() { 0 } else { i * self.bits };
        (0..FACTORS).flat_map(|i| (-(exponent(i % self.in_word()) as f32)).exp2().to_le_bytes()).collect()
    }
}

/// Registers for so many rows: sums, words, scales and what they are added to, elements of A, a float.
pub(super) fn registers(_: Blocks, rows: usize, vectors: usize) -> usize {
    rows * vectors + 3 * vectors + rows + 1
}

/// Registers for one row with so many sums for each vector of a block: sums, those of the block, words, an element of A, a float.
pub(super) fn registers_of_one(vectors: usize, sums: usize) -> usize {
    vectors * (2 + sums) + 2
}

impl Emit<'_> {
    /// Bytes of scratch for the only row.
    pub fn left_bytes(&self) -> Option<i64> {
        let Unpack { blocks, left: Some(_), .. } = self.blocks? else { return None };
        let k = self.product.run.count;
        Some((k + k.div_ceil(blocks.size)) as i64 * 4)
    }

    /// Fills that scratch. All pointers that are arguments end where they began.
    pub fn divide_left(&self, w: &mut Writer) {
        let Some(Unpack { blocks, left: Some(left), factors, sums, numbers }) = self.blocks else { return };
        let k = self.product.run.count;
        let mut pool = Pool::new(self.facts);
        let mut take = || pool.take().expect("there are registers");
        let registers @ [factor, element, sum, temp] = [take(), take(), take(), take()];
        w.push(Stmt::Point { to: numbers, from: left, offset: 0 });
        w.push(Stmt::Point { to: sums, from: left, offset: k as i64 * 4 });
        let lanes = self.lanes;
        if lanes >= blocks.in_word() {
            w.push(Stmt::Load { to: factor, at: at(factors, 0), lanes: lanes as u8 });
        }
        let block = |w: &mut Writer, count: usize| {
            w.push(Stmt::Set { to: sum, bits: 0 });
            let turn = |w: &mut Writer, count: usize| {
                for first in (0..count).step_by(lanes) {
                    let (here, offset) = ((count - first).min(lanes) as u8, first as i64 * 4);
                    if lanes < blocks.in_word() {
                        w.push(Stmt::Load { to: factor, at: at(factors, (first % blocks.in_word()) as i64 * 4), lanes: lanes as u8 });
                    }
                    w.push(Stmt::Load { to: element, at: at(A, offset), lanes: here });
                    w.binary(Binary::Add, sum, sum, Operand::V(element));
                    w.binary(Binary::Mul, element, element, Operand::V(factor));
                    w.push(Stmt::Store { from: element, at: at(numbers, offset), lanes: here });
                }
                w.advance(A, count as i64 * 4);
                w.advance(numbers, count as i64 * 4);
            };
            let step = lanes.max(blocks.in_word());
            w.repeat(count / step, |w| turn(w, step));
            turn(w, count % step);
            w.push(Stmt::Fold { op: Binary::Add, to: sum, from: sum, temp });
            let by = if blocks.zeros { -1.0 } else { -(blocks.middle() as f32) };
            w.binary(Binary::Mul, sum, sum, Operand::Bits(by.to_bits()));
            w.push(Stmt::Store { from: sum, at: at(sums, 0), lanes: 1 });
            w.advance(sums, 4);
        };
        w.repeat(k / blocks.size, |w| block(w, blocks.size));
        match k % blocks.size {
            0 => {}
            rest => block(w, rest),
        }
        w.advance(A, -(k as i64) * 4);
        registers.into_iter().for_each(|v| pool.give(v));
    }
}

impl Tile<'_> {
    /// Sums over all blocks. Arguments end where they began.
    pub fn sums_of_blocks(&self, unpack: Unpack, pool: &mut Pool, w: &mut Writer) -> Vec<Vec<V>> {
        let sums = self.start(pool, w);
        match unpack.left {
            Some(left) => self.sums_of_one(unpack, left, &sums[0], pool, w),
            None => self.sums_of_rows(unpack.blocks, &sums, pool, w),
        }
        w.advance(B, -(self.emit.depth as i64 * self.width()));
        sums
    }

    /// Each block, given how many numbers it has.
    fn each_block(&self, blocks: Blocks, w: &mut Writer, block: impl Fn(&mut Writer, usize)) {
        let k = self.emit.product.run.count;
        w.repeat(k / blocks.size, |w| block(w, blocks.size));
        match k % blocks.size {
            0 => {}
            rest => block(w, rest),
        }
    }

    /// Each word of a block, given how many of its numbers count; B ends behind them.
    fn each_word(&self, blocks: Blocks, numbers: usize, w: &mut Writer, word: impl Fn(&mut Writer, usize)) {
        let (full, rest) = (numbers / blocks.in_word(), numbers % blocks.in_word());
        w.repeat(full, |w| {
            word(w, blocks.in_word());
            w.advance(B, self.width());
        });
        if rest > 0 {
            word(w, rest);
            w.advance(B, self.width());
        }
    }

    /// Vectors of a row of the panel, so many rows ahead.
    fn row_of_panel(&self, to: &[V], row: usize, w: &mut Writer) {
        for (v, &to) in to.iter().enumerate() {
            w.push(Stmt::Load {
                to,
                at: at(B, row as i64 * self.width() + (v * self.emit.lanes * 4) as i64),
                lanes: self.emit.lanes as u8,
            });
        }
    }

    fn sums_of_one(&self, unpack: Unpack, left: P, sums: &[V], pool: &mut Pool, w: &mut Writer) {
        let blocks = unpack.blocks;
        let chains = if pool.len() >= registers_of_one(self.vectors, 2) - self.vectors { 2 } else { 1 };
        let mut take = |count: usize| (0..count).map(|_| pool.take().expect("the tile was chosen to fit")).collect::<Vec<V>>();
        let (words, parts, element, float) = (take(self.vectors), take(chains * self.vectors), take(1)[0], take(1)[0]);
        // masks stay in registers if there are enough
        let masks: Vec<V> =
            if pool.len() + 1 >= blocks.in_word() { (1..blocks.in_word()).filter_map(|_| pool.take()).collect() } else { Vec::new() };
        for (j, &to) in masks.iter().enumerate() {
            w.push(Stmt::Set { to, bits: blocks.mask(j) });
        }
        w.push(Stmt::Point { to: unpack.numbers, from: left, offset: 0 });
        w.push(Stmt::Point { to: unpack.sums, from: left, offset: self.emit.product.run.count as i64 * 4 });
        self.each_block(blocks, w, |w, numbers| {
            let rows = numbers.div_ceil(blocks.in_word());
            w.push(Stmt::Splat { to: element, at: at(unpack.sums, 0) });
            if blocks.zeros {
                self.row_of_panel(&parts[..self.vectors], rows + 1, w);
            }
            for &to in &parts[..self.vectors] {
                match blocks.zeros {
                    true => w.binary(Binary::Mul, to, to, Operand::V(element)),
                    false => w.push(Stmt::Copy { to, from: element }),
                }
            }
            parts[self.vectors..].iter().for_each(|&to| w.push(Stmt::Set { to, bits: 0 }));
            w.advance(unpack.sums, 4);
            self.each_word(blocks, numbers, w, |w, count| {
                self.row_of_panel(&words, 0, w);
                for j in 0..count {
                    w.push(Stmt::Splat { to: element, at: at(unpack.numbers, j as i64 * 4) });
                    for (v, &word) in words.iter().enumerate() {
                        if j + 1 == blocks.in_word() {
                            w.push(Stmt::Unary { op: Unary::Shr(32 - blocks.bits as u8), to: float, a: word });
                        } else {
                            w.binary(Binary::And, float, word, masks.get(j).map_or(Operand::Bits(blocks.mask(j)), |&m| Operand::V(m)));
                        }
                        w.push(Stmt::Unary { op: Unary::FromInt, to: float, a: float });
                        w.mul_add(parts[j % chains * self.vectors + v], float, Operand::V(element));
                    }
                }
                w.advance(unpack.numbers, count as i64 * 4);
            });
            self.row_of_panel(&words, 0, w);
            for (v, &sum) in sums.iter().enumerate() {
                if chains == 2 {
                    w.binary(Binary::Add, parts[v], parts[v], Operand::V(parts[self.vectors + v]));
                }
                w.mul_add(sum, parts[v], Operand::V(words[v]));
            }
            w.advance(B, (blocks.rows(numbers) - rows) as i64 * self.width());
        });
        [words, parts, masks, vec![element, float]].into_iter().flatten().for_each(|v| pool.give(v));
    }

    fn sums_of_rows(&self, blocks: Blocks, sums: &[Vec<V>], pool: &mut Pool, w: &mut Writer) {
        let step = self.emit.product.run.a;
        let mut take = |count: usize| (0..count).map(|_| pool.take().expect("the tile was chosen to fit")).collect::<Vec<V>>();
        let [words, scales, added] = [take(self.vectors), take(self.vectors), take(self.vectors)];
        let (left, float) = (take(self.rows), take(1)[0]);
        let splats = self.emit.facts.menu.splat_operand;
        self.each_block(blocks, w, |w, numbers| {
            let rows = numbers.div_ceil(blocks.in_word());
            self.row_of_panel(&scales, rows, w);
            if blocks.zeros {
                self.row_of_panel(&added, rows + 1, w);
            } else {
                added.iter().for_each(|&to| w.push(Stmt::Set { to, bits: (blocks.middle() as f32).to_bits() }));
            }
            self.each_word(blocks, numbers, w, |w, count| {
                self.row_of_panel(&words, 0, w);
                for j in 0..count {
                    let from = |r: usize| self.left_at(r, j as i64 * step);
                    if !splats {
                        (0..self.rows).for_each(|r| w.push(Stmt::Splat { to: left[r], at: from(r) }));
                    }
                    for v in 0..self.vectors {
                        let mut down = words[v];
                        if j > 0 {
                            w.push(Stmt::Unary { op: Unary::Shr((j * blocks.bits) as u8), to: float, a: down });
                            down = float;
                        }
                        if j + 1 < blocks.in_word() {
                            w.binary(Binary::And, float, down, Operand::Bits(blocks.mask(0)));
                        }
                        w.push(Stmt::Unary { op: Unary::FromInt, to: float, a: float });
                        w.binary(Binary::Sub, float, float, Operand::V(added[v]));
                        w.binary(Binary::Mul, float, float, Operand::V(scales[v]));
                        for (r, row) in sums.iter().enumerate() {
                            let left = if splats { Operand::Splat(from(r)) } else { Operand::V(left[r]) };
                            w.mul_add(row[v], float, left);
                        }
                    }
                }
                w.advance(A, count as i64 * step);
            });
            w.advance(B, (blocks.rows(numbers) - rows) as i64 * self.width());
        });
        w.advance(A, -(self.emit.product.run.count as i64) * step);
        [words, scales, added, left, vec![float]].into_iter().flatten().for_each(|v| pool.give(v));
    }
}
