//! Walks along axes of a nest, for the operators that need several of them: reductions, softmax, norms. Either
//! the innermost axis is one of those (*across*: the lanes of a vector belong together and are folded in the end),
//! or lanes are positions of their own, a few vectors side by side.

use crate::body::Pressure;
use crate::nest::{Nest, StreamId};
use crate::pieces::from_memory;
use crate::tile::{Pool, Writer};
use ir::Dtype;
use ir::kernel::Facts;
use ir::kernel::facts::MinMax;
use ir::kernel::tile::{Binary, Compare, Operand, Stmt, V};
use ir::tensor::Tensor;

pub struct Sweep<'a> {
    pub nest: &'a Nest,
    pub facts: &'a Facts,
    pub across: bool,
    /// Outer axes that are not walked along, outermost first.
    around: Vec<usize>,
    /// Axes that are, without the one that lanes lie along.
    along: Vec<usize>,
}

/// Vectors that are worked on side by side: one, or when lanes are positions of their own some.
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    pub vectors: usize,
    /// Valid lanes of the last.
    pub last: u8,
    /// Independent accumulators.
    pub slots: usize,
}

/// One vector of elements on the way.
pub struct Visit {
    /// The accumulator it is for.
    pub slot: usize,
    /// Its vector in the tile.
    pub vector: usize,
    pub at: Vec<(usize, i64)>,
    pub lanes: u8,
    /// Lanes behind `lanes` must not count.
    pub tail: bool,
}

/// Writes what is done with one vector of elements.
pub type OnVisit<'a> = &'a mut dyn FnMut(&mut Writer, &Visit) -> Result<(), Pressure>;

/// Writes a walk with the free registers and the accumulators, by means of the function given.
pub type OnSum<'a> =
    &'a mut dyn FnMut(&mut Writer, &Pool, &[V], &mut dyn FnMut(&mut Writer, OnVisit) -> Result<(), Pressure>) -> Result<(), Pressure>;

/// Visits of an accumulator until it rests.
const BLOCK: usize = 128;

impl<'a> Sweep<'a> {
    pub fn new(nest: &'a Nest, facts: &'a Facts) -> Sweep<'a> {
        let lane = nest.lane();
        let axes = |along: bool| (0..lane).filter(|&i| nest.along[i] == along).collect();
        Sweep { nest, facts, across: nest.along[lane], around: axes(false), along: axes(true) }
    }

    /// Whether a walk meets a partial vector whose other lanes must not count.
    pub fn has_tail(&self) -> bool {
        self.across && !self.nest.counts[self.nest.lane()].is_multiple_of(self.facts.lanes())
    }

    /// Elements that are walked along from one position.
    pub fn length(&self) -> usize {
        (0..self.nest.counts.len()).filter(|&i| self.nest.along[i]).map(|i| self.nest.counts[i]).product()
    }

    /// Every position, `most` vectors and `slots` accumulators at a time; `inside` leaves pointers where they were.
    pub fn positions(&self, w: &mut Writer, most: usize, slots: usize, inside: &mut dyn FnMut(&mut Writer, Tile)) {
        let (lane, lanes) = (self.nest.lane(), self.facts.lanes());
        let count = self.nest.counts[lane];
        if self.across {
            let slots = slots.min(count.div_ceil(lanes));
            self.nest.over(w, &self.around, &mut |w| {
                inside(w, Tile { vectors: 1, last: lanes as u8, slots });
                Vec::new()
            });
            return;
        }
        let depth = self.along.last().map_or(1, |&a| self.nest.counts[a]);
        let slots = |vectors: usize| vectors * (slots / vectors).clamp(1, depth);
        self.nest.over(w, &self.around, &mut |w| {
            let times = count / (most * lanes);
            w.repeat(times, |w| {
                inside(w, Tile { vectors: most, last: lanes as u8, slots: slots(most) });
                self.nest.shift(w, &[(lane, (most * lanes) as i64)]);
            });
            let rest = count - times * most * lanes;
            if rest > 0 {
                let vectors = rest.div_ceil(lanes);
                inside(w, Tile { vectors, last: (rest - (vectors - 1) * lanes) as u8, slots: slots(vectors) });
            }
            vec![(lane, (times * most * lanes) as i64)]
        });
    }

    /// One walk. Pointers end where they began.
    pub fn walk(&self, w: &mut Writer, tile: Tile, visit: OnVisit) -> Result<(), Pressure> {
        self.walk_in_blocks(w, tile, visit, None)
    }

    /// The same, with `rest` now and then on the way: after every line of an outer axis, and after some hundred
    /// visits of one.
    fn walk_in_blocks(
        &self,
        w: &mut Writer,
        tile: Tile,
        visit: OnVisit,
        mut rest: Option<&mut dyn FnMut(&mut Writer)>,
    ) -> Result<(), Pressure> {
        let (lane, lanes) = (self.nest.lane(), self.facts.lanes());
        let mut done = Ok(());
        let mut note = |result: Result<(), Pressure>| done = done.and(result);
        let mut turns = |w: &mut Writer, times: usize, body: &mut dyn FnMut(&mut Writer)| match &mut rest {
            Some(rest) if times > 2 * BLOCK => {
                w.repeat(times / BLOCK, |w| {
                    w.repeat(BLOCK, &mut *body);
                    rest(w);
                });
                w.repeat(times % BLOCK, &mut *body);
                rest(w);
            }
            Some(rest) => {
                w.repeat(times, &mut *body);
                rest(w);
            }
            None => w.repeat(times, &mut *body),
        };
        if self.across {
            let count = self.nest.counts[lane];
            let (full, partial) = (count / lanes, count % lanes);
            let times = full / tile.slots;
            let looped = if times > 1 { times } else { 0 };
            let place = |i: usize| vec![(lane, (i * lanes) as i64)];
            self.nest.over(w, &self.along, &mut |w| {
                for i in looped * tile.slots..full {
                    let at = place(i);
                    note(visit(w, &Visit { slot: i % tile.slots, vector: 0, at, lanes: lanes as u8, tail: false }));
                }
                if partial > 0 {
                    note(visit(w, &Visit { slot: full % tile.slots, vector: 0, at: place(full), lanes: partial as u8, tail: true }));
                }
                turns(w, looped, &mut |w| {
                    for slot in 0..tile.slots {
                        note(visit(w, &Visit { slot, vector: 0, at: place(slot), lanes: lanes as u8, tail: false }));
                    }
                    self.nest.shift(w, &[(lane, (tile.slots * lanes) as i64)]);
                });
                vec![(lane, (looped * tile.slots * lanes) as i64)]
            });
            return done;
        }
        let sets = tile.slots / tile.vectors;
        let mut row = |w: &mut Writer, set: usize, along: Option<(usize, i64)>| {
            for vector in 0..tile.vectors {
                let mut at = vec![(lane, (vector * lanes) as i64)];
                at.extend(along);
                let lanes = if vector + 1 == tile.vectors { tile.last } else { lanes as u8 };
                note(visit(w, &Visit { slot: set * tile.vectors + vector, vector, at, lanes, tail: false }));
            }
        };
        match self.along.split_last() {
            None => row(w, 0, None),
            Some((&axis, outer)) => self.nest.over(w, outer, &mut |w| {
                let count = self.nest.counts[axis];
                let looped = if count / sets > 1 { count / sets } else { 0 };
                for i in looped * sets..count {
                    row(w, i % sets, Some((axis, i as i64)));
                }
                turns(w, looped, &mut |w| {
                    (0..sets).for_each(|s| row(w, s, Some((axis, s as i64))));
                    self.nest.shift(w, &[(axis, sets as i64)]);
                });
                vec![(axis, (looped * sets) as i64)]
            }),
        }
        done
    }

    /// A walk that adds to accumulators: `visit` is told which. A long one rests now and then to put what it has
    /// so far aside, so that small terms are not lost in large sums. The sums, as [`Sweep::total`] gives them.
    pub fn sum(&self, w: &mut Writer, tile: Tile, pool: &mut Pool, write: OnSum) -> Result<Vec<V>, Pressure> {
        let sums = self.accumulators(w, tile, 0, pool)?;
        let each = if self.across { tile.slots * self.facts.lanes() } else { tile.slots / tile.vectors };
        if self.length() / each <= 4 * BLOCK {
            write(w, pool, &sums, &mut |w, visit| self.walk(w, tile, visit))?;
            return self.total(w, tile, sums, Binary::Add, false, pool);
        }
        let aside = self.accumulators(w, tile, 0, pool)?;
        let mut rest = |w: &mut Writer| {
            for (&to, &from) in aside.iter().zip(&sums) {
                w.binary(Binary::Add, to, to, Operand::V(from));
                w.push(Stmt::Set { to: from, bits: 0 });
            }
        };
        write(w, pool, &sums, &mut |w, visit| self.walk_in_blocks(w, tile, visit, Some(&mut rest)))?;
        rest(w);
        sums.into_iter().for_each(|v| pool.give(v));
        self.total(w, tile, aside, Binary::Add, false, pool)
    }

    /// Accumulators of a tile, all lanes `bits`.
    pub fn accumulators(&self, w: &mut Writer, tile: Tile, bits: u32, pool: &mut Pool) -> Result<Vec<V>, Pressure> {
        (0..tile.slots)
            .map(|_| {
                let to = pool.take().ok_or(Pressure)?;
                w.push(Stmt::Set { to, bits });
                Ok(to)
            })
            .collect()
    }

    /// What the accumulators come to, for each vector of the tile. Across, it is in all lanes.
    pub fn total(&self, w: &mut Writer, tile: Tile, sums: Vec<V>, op: Binary, nan: bool, pool: &mut Pool) -> Result<Vec<V>, Pressure> {
        let mut sums = sums;
        let stride = tile.vectors;
        // the latter half onto the former
        while sums.len() > stride {
            let keep = (sums.len() / stride).div_ceil(2) * stride;
            for (i, from) in sums.drain(keep..).enumerate().collect::<Vec<_>>() {
                join(w, self.facts, op, sums[i], from, nan);
                pool.give(from);
            }
        }
        if self.across {
            let to = sums[0];
            let temp = pool.take().ok_or(Pressure)?;
            let flag = if nan && self.loses_nan(op) {
                let flag = pool.take().ok_or(Pressure)?;
                w.push(Stmt::Set { to: flag, bits: 0 });
                w.push(Stmt::Select { to: flag, cmp: Compare::Unordered, x: to, y: Operand::V(to), a: to, b: flag });
                w.push(Stmt::Fold { op: Binary::Add, to: flag, from: flag, temp });
                Some(flag)
            } else {
                None
            };
            w.push(Stmt::Fold { op, to, from: to, temp });
            if let Some(flag) = flag {
                w.binary(Binary::Add, to, to, Operand::V(flag));
                pool.give(flag);
            }
            pool.give(temp);
        }
        Ok(sums)
    }

    fn loses_nan(&self, op: Binary) -> bool {
        matches!(op, Binary::Max | Binary::Min) && self.facts.min_max == MinMax::SecondOnTie
    }

    /// Makes the lanes behind a tail `fill`: `mask` is what [`mask`] made.
    pub fn trim(&self, w: &mut Writer, v: V, mask: StreamId, fill: bool, pool: &mut Pool) -> Result<(), Pressure> {
        let at = self.nest.at(mask, &[]);
        let temp = if self.facts.menu.memory_operand { None } else { pool.take() };
        let keep = from_memory(self.facts, at, temp, w)?;
        w.binary(Binary::And, v, v, keep);
        if fill {
            let beyond = ir::kernel::tile::At { p: at.p, offset: at.offset + self.facts.vector_bytes as i32 };
            let fill = from_memory(self.facts, beyond, temp, w)?;
            w.binary(Binary::Or, v, v, fill);
        }
        temp.into_iter().for_each(|v| pool.give(v));
        Ok(())
    }
}

/// `acc = op(acc, x)`; a NaN on either side stays, if `nan`.
pub fn join(w: &mut Writer, facts: &Facts, op: Binary, acc: V, x: V, nan: bool) {
    let picks = matches!(op, Binary::Max | Binary::Min);
    // the second operand comes out when either is NaN: one in `acc` stays by itself
    let (a, b) = if picks { (x, acc) } else { (acc, x) };
    w.binary(op, acc, a, Operand::V(b));
    if picks && nan && facts.min_max == MinMax::SecondOnTie {
        w.push(Stmt::Select { to: acc, cmp: Compare::Unordered, x, y: Operand::V(x), a: x, b: acc });
    }
}

/// For a tail of `rest` lanes: a vector of ones and then zeros, and one of zeros and then `fill`.
pub fn mask(facts: &Facts, rest: usize, fill: u32) -> Tensor {
    let lanes = facts.lanes();
    let word = |i: usize| match (i / lanes, i % lanes < rest) {
        (0, true) => u32::MAX,
        (0, false) | (_, true) => 0,
        (_, false) => fill,
    };
    Tensor::dense(Dtype::I32, &[2 * lanes], (0..2 * lanes).flat_map(|i| word(i).to_le_bytes()).collect::<Vec<u8>>())
}
