//! Where weights are not zero, as code: for a strip of rows and a few columns, one step of K after the other, a vector of
//! activations along the rows and a multiply-add for each weight that there is. The weights follow each other in the
//! constants in the order of the code, each a bias before and operands of the epilogue behind them.
//!
//! Activations lie row by row. So each strip is transposed into scratch first, for all columns, and sums are transposed
//! on their way out. A tile of columns is one loop over strips: its code stays near while strips pass.

use super::Weights;
use super::quads;
use super::strips::Strips;
use crate::body::{Emitter, Param};
use crate::dot::{Extra, Level, Product, Way, start_from_bias};
use crate::tile::{Pool, Writer, arg, at, near};
use ir::Dtype;
use ir::kernel::facts::Facts;
use ir::kernel::tile::{At, Binary, Operand, P, Stmt, Unary, V};
use ir::kernel::{Access, Arg};
use ir::scalar::Body;

const A: P = P(0);
const B: P = P(1);
const C: P = P(2);

/// Terms of an epilogue that are written out for every vector of sums.
const MOST_TERMS: usize = 40;

/// A pointer that runs along with what is read, so that displacements are short.
struct Cursor {
    p: P,
    at: i64,
    low: i64,
    high: i64,
}

impl Cursor {
    fn new(p: P, (low, high): (i64, i64)) -> Cursor {
        Cursor { p, at: 0, low, high }
    }

    fn place(&mut self, offset: i64, w: &mut Writer) -> At {
        if !(self.low..=self.high).contains(&(offset - self.at)) {
            let to = offset - self.low;
            w.advance(self.p, to - self.at);
            self.at = to;
        }
        at(self.p, offset - self.at)
    }

    fn back(self, w: &mut Writer) {
        w.advance(self.p, -self.at);
    }
}

pub(super) struct Pattern<'a> {
    product: &'a Product,
    facts: &'a Facts,
    way: Way,
    depth: usize,
    bits: &'a [u32],
    vectors: usize,
    /// Columns of each tile.
    tiles: Vec<Vec<usize>>,
    /// The bias that sums start from.
    start: Option<usize>,
    body: Body,
    /// The pointer of each operand in memory.
    memory: Vec<Option<P>>,
    strips: P,
}

/// Tiles to try, columns by vectors: as many sums as there are registers for, and vectors of activations for them.
pub(super) fn tiles(facts: &Facts, product: &Product) -> Vec<(usize, usize)> {
    let narrow = product.dtype.bytes() == 1;
    match (facts.vectors, facts.menu.splat_operand) {
        (..16, _) => vec![(4, 2)],
        (16..32, _) => vec![(4, 3)],
        (_, true) if !narrow => vec![(28, 1)],
        (_, false) if !narrow => vec![(8, 3)],
        _ => vec![(16, 1)],
    }
}

impl<'a> Pattern<'a> {
    /// Fault: why this product is none for it.
    pub fn new(
        product: &'a Product,
        weights: &'a Weights,
        way: Way,
        facts: &'a Facts,
        (columns, vectors): (usize, usize),
    ) -> Result<Pattern<'a>, String> {
        let narrow = product.dtype.bytes() == 1;
        let group = if narrow { 16 } else { 4 };
        if !narrow && product.dtype.bytes() != 4 {
            return Err(format!("results of {}", product.dtype.name()));
        }
        if columns < group {
            return Err(format!("too few registers for {group} sums"));
        }
        if product.n < group {
            return Err(format!("{} columns are fewer than {group}", product.n));
        }
        let words = product.run.count - usize::from(product.back > 0);
        if product.run.a != 4 || words < 4 {
            return Err("fewer than four steps of K side by side".into());
        }
        let plain = product.extras.iter().all(|e| match e {
            Extra::Columns(t) => t.dtype().bytes() == 4 && t.elements() == product.n,
            Extra::Memory { dtype, contiguous, .. } => *contiguous && dtype.bytes() == 4,
        });
        if !plain {
            return Err("operands of the epilogue are narrow, or one for a row".into());
        }
        let far = |by: i64| !near(by.saturating_abs().saturating_mul((vectors * facts.lanes()) as i64));
        if far(product.x.a) || far(product.x.c) || product.x.extra.iter().any(|&e| far(e)) {
            return Err("rows are too far apart".into());
        }
        let (start, body) = start_from_bias(product.factors.sum(), &product.epilogue, &product.extras);
        if body.terms.len() > MOST_TERMS {
            return Err(format!("an epilogue of {} terms is written out for every column", body.terms.len()));
        }
        let mut next = 3;
        let memory: Vec<Option<P>> = product
            .extras
            .iter()
            .map(|e| {
                let memory = matches!(e, Extra::Memory { .. });
                next += u8::from(memory);
                memory.then_some(P(next - 1))
            })
            .collect();
        // the last group of columns may overlap the one before
        let groups: Vec<usize> = (0..product.n.div_ceil(group)).map(|g| (g * group).min(product.n - group)).collect();
        let count = groups.len().div_ceil(columns / group);
        let size = groups.len().div_ceil(count);
        let tiles = groups.chunks(size).map(|groups| groups.iter().flat_map(|&g| g..g + group).collect()).collect();
        let (depth, bits) = (weights.depth, &weights.bits[..]);
        Ok(Pattern { product, facts, way, depth, bits, vectors, tiles, start, body, memory, strips: P(next) })
    }

    fn vector(&self) -> i64 {
        i64::from(self.facts.vector_bytes)
    }

    /// Bytes of a strip of activations.
    pub fn strip_bytes(&self) -> i64 {
        self.depth as i64 * self.vectors as i64 * self.vector()
    }

    /// Weights that there are.
    pub fn weights(&self) -> usize {
        self.tiles.iter().flatten().map(|&j| (0..self.depth).filter(|k| self.bits[k * self.product.n + j] != 0).count()).sum()
    }

    /// About how many bytes the code takes.
    pub fn code_bytes(&self) -> u64 {
        let n = self.product.n;
        let loads: usize =
            self.tiles.iter().map(|tile| (0..self.depth).filter(|k| tile.iter().any(|j| self.bits[k * n + j] != 0)).count()).sum();
        let (weight, load): (usize, usize) = match (self.facts.menu.splat_operand, self.facts.menu.lane_operand, self.facts.vectors) {
            (true, ..) if self.vectors == 1 => (7, 7),
            (_, true, _) => (1 + 4 * self.vectors, 4 * self.vectors),
            (_, _, 16) if self.facts.menu.memory_operand => (6 + 5 * self.vectors, 8 * self.vectors),
            _ => (7 + 9 * self.vectors, 8 * self.vectors),
        };
        let behind = self.tiles.iter().map(Vec::len).sum::<usize>() * self.vectors * (20 + 7 * self.body.terms.len());
        (self.weights() * weight + loads * load + behind) as u64
    }

    pub fn args(&self, outer: &[Level], rows: usize, stream: usize, scratch: i64) -> Vec<Arg> {
        let product = self.product;
        let reach = |pick: &dyn Fn(&Level) -> i64| {
            let levels = outer.iter().map(|l| (l.count, pick(l))).chain([(rows, pick(&product.x))]);
            range(levels)
        };
        let k = range(product.segments.iter().chain([&product.run]).map(|s| (s.count, s.a)));
        let (a, c) = (reach(&|l| l.a), reach(&|l| l.c));
        let mut args = vec![
            arg("a", Access::Read, a.0 + k.0, a.1 + k.1 + 4 - product.back),
            arg("b", Access::Read, 0, stream as i64 * 4),
            arg("c", Access::ReadWrite, c.0, c.1 + (product.n * product.dtype.bytes()) as i64),
        ];
        for (i, _) in self.memory.iter().enumerate().filter(|(_, p)| p.is_some()) {
            let e = reach(&|l| l.extra[i]);
            args.push(arg("extra", Access::Read, e.0, e.1 + product.n as i64 * 4));
        }
        args.push(arg("strips", Access::ReadWrite, 0, scratch));
        args
    }

    /// The statements, and the constants in their order. Fault: an epilogue that finds no registers.
    pub fn write(&self, outer: &[Level], strips: &Strips) -> Result<(Writer, Vec<u32>), String> {
        let (mut w, mut stream) = (Writer::new(), Vec::new());
        let mut fits = true;
        self.nest(outer, strips, &mut w, &mut |w| {
            w.repeat(strips.at_once, |w| {
                self.transposed(w);
                w.advance(A, self.product.x.a * strips.height as i64);
                w.advance(self.strips, self.strip_bytes());
            });
            w.advance(A, -self.product.x.a * (strips.height * strips.at_once) as i64);
            w.advance(self.strips, -self.strip_bytes() * strips.at_once as i64);
            let mut before = 0;
            for tile in &self.tiles {
                w.repeat(strips.at_once, |w| {
                    fits &= self.tile(tile, before, w, &mut stream).is_some();
                    w.advance(self.strips, self.strip_bytes());
                    self.results(strips.height as i64, &self.product.x, w);
                });
                w.advance(self.strips, -self.strip_bytes() * strips.at_once as i64);
                self.results(-((strips.height * strips.at_once) as i64), &self.product.x, w);
                let now = stream.len() as i64 * 4;
                w.advance(B, now - before);
                before = now;
            }
            w.advance(B, -before);
        });
        if fits { Ok((w, stream)) } else { Err("the epilogue finds no registers".into()) }
    }

    /// Loops around a round of strips.
    fn nest(&self, outer: &[Level], strips: &Strips, w: &mut Writer, body: &mut dyn FnMut(&mut Writer)) {
        if let Some((level, inner)) = outer.split_first() {
            w.repeat(level.count, |w| {
                self.nest(inner, strips, w, body);
                w.advance(A, level.a);
                self.results(1, level, w);
            });
            w.advance(A, -level.a * level.count as i64);
            return self.results(-(level.count as i64), level, w);
        }
        let (x, by) = (&self.product.x, strips.apart as i64);
        w.repeat(strips.rounds, |w| {
            body(w);
            w.advance(A, x.a * by);
            self.results(by, x, w);
        });
        w.advance(A, -x.a * by * strips.rounds as i64);
        self.results(-by * strips.rounds as i64, x, w);
    }

    /// Moves the pointers of results and of operands in memory.
    fn results(&self, times: i64, level: &Level, w: &mut Writer) {
        w.advance(C, level.c * times);
        for (p, by) in self.memory.iter().zip(&level.extra) {
            if let Some(p) = p {
                w.advance(*p, by * times);
            }
        }
    }

    /// A strip of rows to scratch, step by step. Pointers end where they began.
    fn transposed(&self, w: &mut Writer) {
        let (product, step) = (self.product, self.vectors as i64 * self.vector());
        let flip = V(self.facts.vectors - 1);
        self.way.set_flip(flip, w);
        let runs: Vec<(usize, i64)> = product.segments.iter().map(|s| (s.count, s.a)).collect();
        self.runs(&runs, w, &|w| {
            let words = product.run.count - usize::from(product.back > 0);
            let fours = words / 4;
            w.repeat(fours, |w| {
                self.four(0, 0, 0..4, w);
                w.advance(A, 16);
                w.advance(self.strips, 4 * step);
            });
            w.advance(A, -16 * fours as i64);
            w.advance(self.strips, -4 * step * fours as i64);
            if words % 4 > 0 {
                self.four((words as i64 - 4) * 4, (words as i64 - 4) * step, 0..4, w);
            }
            if product.back > 0 {
                // the last step alone, which ends where the run does
                self.four(words as i64 * 4 - product.back - 12, (words as i64 - 3) * step, 3..4, w);
            }
        });
    }

    /// Loops over the runs of K.
    fn runs(&self, levels: &[(usize, i64)], w: &mut Writer, body: &dyn Fn(&mut Writer)) {
        let Some((&(count, by), inner)) = levels.split_first() else { return body(w) };
        let steps: usize = inner.iter().map(|l| l.0).product::<usize>() * self.product.run.count;
        let bytes = steps as i64 * self.vectors as i64 * self.vector();
        w.repeat(count, |w| {
            self.runs(inner, w, body);
            w.advance(A, by);
            w.advance(self.strips, bytes);
        });
        w.advance(A, -by * count as i64);
        w.advance(self.strips, -bytes * count as i64);
    }

    /// Four steps of K for all rows of a strip, of which `keep` are stored.
    fn four(&self, from: i64, to: i64, keep: std::ops::Range<usize>, w: &mut Writer) {
        let (facts, x) = (self.facts, &self.product.x);
        for v in 0..self.vectors {
            let first = 5 * (v as u8 % 3);
            let registers: [V; 4] = std::array::from_fn(|i| V(first + i as u8));
            for (i, &to) in registers.iter().enumerate() {
                let row = (v * facts.lanes() + i) as i64;
                w.push(quads::load(facts, to, at(A, from + row * x.a), 4 * x.a));
            }
            let (columns, _) = quads::transpose(registers, V(first + 4), w);
            for i in keep.clone() {
                self.way.prepare(columns[i], Some(V(facts.vectors - 1)), w);
                let place = to + (i * self.vectors + v) as i64 * self.vector();
                w.push(Stmt::Store { from: columns[i], at: at(self.strips, place), lanes: facts.lanes() as u8 });
            }
        }
    }

    /// How far strips and the stream are reached by short displacements.
    fn windows(&self) -> [(i64, i64); 2] {
        match (self.facts.menu.splat_operand, self.facts.reach) {
            (true, _) => [(-128 * self.vector(), 127 * self.vector()), (-512, 508)],
            (false, i32::MAX) if self.facts.menu.memory_operand => [(0, i64::from(i32::MAX)), (-128, 124)],
            (false, i32::MAX) => [(0, i64::from(i32::MAX)), (0, 1 << 20)],
            (false, reach) => [(0, i64::from(reach) - 64), (0, i64::from(reach) - 64)],
        }
    }

    /// A strip by the columns of a tile. Its constants are those of `stream` from byte `before` on. `None`: too few registers.
    fn tile(&self, columns: &[usize], before: i64, w: &mut Writer, stream: &mut Vec<u32>) -> Option<()> {
        let mut pool = Pool::new(self.facts);
        let sums: Vec<Vec<V>> = columns.iter().map(|_| (0..self.vectors).map(|_| pool.take()).collect()).collect::<Option<_>>()?;
        let lefts: Vec<V> = (0..self.vectors).map(|_| pool.take()).collect::<Option<_>>()?;
        let [strip, constants] = self.windows();
        let (mut strip, mut constants) = (Cursor::new(self.strips, strip), Cursor::new(B, constants));
        let last = |stream: &[u32]| (stream.len() as i64 - 1) * 4 - before;
        for (&j, sums) in columns.iter().zip(&sums) {
            let Some(bias) = self.start else {
                sums.iter().for_each(|&to| w.push(Stmt::Set { to, bits: 0 }));
                continue;
            };
            stream.push(self.column(bias, j));
            let at = constants.place(last(stream), w);
            w.push(Stmt::Splat { to: sums[0], at });
            sums[1..].iter().for_each(|&to| w.push(Stmt::Copy { to, from: sums[0] }));
        }
        stream.resize(stream.len().next_multiple_of(4), 0);
        let weight = if self.facts.menu.splat_operand && self.vectors == 1 { None } else { Some(pool.take()?) };
        for k in 0..self.depth {
            let here = || columns.iter().zip(&sums).map(|(&j, sums)| (self.bits[k * self.product.n + j], sums)).filter(|(b, _)| *b != 0);
            if here().next().is_none() {
                continue;
            }
            for (v, &to) in lefts.iter().enumerate() {
                let offset = (k * self.vectors + v) as i64 * self.vector();
                let at = strip.place(offset, w);
                w.push(Stmt::Load { to, at, lanes: self.facts.lanes() as u8 });
            }
            for (bits, sums) in here() {
                stream.push(bits);
                let right = match weight {
                    None => Operand::Splat(constants.place(last(stream), w)),
                    Some(to) if self.facts.menu.lane_operand => {
                        let lane = (stream.len() - 1) % 4;
                        if lane == 0 {
                            let at = constants.place(last(stream), w);
                            w.push(Stmt::Load { to, at, lanes: 4 });
                        }
                        Operand::Lane(to, lane as u8)
                    }
                    Some(to) => {
                        let at = constants.place(last(stream), w);
                        w.push(Stmt::Splat { to, at });
                        Operand::V(to)
                    }
                };
                for (&acc, &a) in sums.iter().zip(&lefts) {
                    match self.way {
                        Way::Dot4 { kind, .. } => w.push(Stmt::Dot4 { kind, acc, a, b: right }),
                        _ => w.push(Stmt::MulAdd { acc, a, b: right, negate: false }),
                    }
                }
            }
        }
        strip.back(w);
        stream.resize(stream.len().next_multiple_of(4), 0);
        lefts.into_iter().chain(weight).for_each(|v| pool.give(v));
        let first = stream.len();
        for &j in columns {
            stream.extend((0..self.memory.len()).filter(|&i| self.behind(i)).map(|i| self.column(i, j)));
        }
        stream.resize(stream.len().next_multiple_of(4), 0);
        self.finish(columns, &sums, &mut pool, (first as i64 * 4 - before, &mut constants), w)?;
        constants.back(w);
        Some(())
    }

    /// Whether an operand is a constant for each column that the epilogue reads.
    fn behind(&self, extra: usize) -> bool {
        self.memory[extra].is_none() && self.start != Some(extra)
    }

    /// The bits of an operand for a column.
    fn column(&self, extra: usize, j: usize) -> u32 {
        let Extra::Columns(tensor) = &self.product.extras[extra] else { unreachable!("operands in memory are no columns") };
        let element = tensor.slice(&[j], &[1], &[1]).bytes();
        u32::from_le_bytes(element[..].try_into().expect("such operands have four bytes"))
    }

    /// The epilogue on all sums, and their way to rows. `None`: too few registers.
    fn finish(&self, columns: &[usize], sums: &[Vec<V>], pool: &mut Pool, constants: (i64, &mut Cursor), w: &mut Writer) -> Option<()> {
        let mut emitter = Emitter::new(self.facts);
        let narrow = self.product.dtype.bytes() == 1;
        let types: Vec<Dtype> = [self.product.factors.sum()].into_iter().chain(self.product.extras.iter().map(Extra::lane)).collect();
        let each = (0..self.memory.len()).filter(|&i| self.behind(i)).count();
        let (start, cursor) = constants;
        let sum = |column: usize, v: usize| sums[column][v];
        for v in 0..self.vectors {
            let mut words: Vec<V> = Vec::new();
            for (g, group) in columns.chunks(4).enumerate() {
                let loaded = self.operands(group[0], v, pool, w)?;
                let mut results = [V(0); 4];
                for (i, result) in results.iter_mut().enumerate() {
                    let mut next = start + ((g * 4 + i) * each) as i64 * 4;
                    let mut params = vec![Param::Owned(sum(g * 4 + i, v))];
                    for (extra, loaded) in loaded.iter().enumerate() {
                        params.push(match loaded {
                            Some(columns) => Param::Owned(columns[i]),
                            // sums began with it
                            None if !self.behind(extra) => Param::Splat(at(B, 0)),
                            None => {
                                next += 4;
                                Param::Splat(cursor.place(next - 4, w))
                            }
                        });
                    }
                    *result = emitter.emit(&self.body, &types, &params, self.facts.lanes() as u8, pool, w).ok()?;
                }
                if narrow {
                    words.push(self.join(results, pool, w)?);
                    if words.len() == 4 {
                        let four = std::array::from_fn(|i| words[i]);
                        self.rows(four, columns[g * 4 - 12], v, pool, w)?;
                        words.clear();
                    }
                } else {
                    self.rows(results, group[0], v, pool, w)?;
                }
            }
        }
        emitter.finish(pool);
        Some(())
    }

    /// Operands in memory for four columns, a register for each column.
    fn operands(&self, column: usize, v: usize, pool: &mut Pool, w: &mut Writer) -> Option<Vec<Option<[V; 4]>>> {
        let mut all = Vec::new();
        for (p, by) in self.memory.iter().zip(&self.product.x.extra) {
            let Some(p) = p else {
                all.push(None);
                continue;
            };
            let mut registers = [V(0); 4];
            for (i, to) in registers.iter_mut().enumerate() {
                *to = pool.take()?;
                let row = (v * self.facts.lanes() + i) as i64;
                w.push(quads::load(self.facts, *to, at(*p, row * by + column as i64 * 4), 4 * by));
            }
            let (columns, free) = quads::transpose(registers, pool.take()?, w);
            pool.give(free);
            all.push(Some(columns));
        }
        Some(all)
    }

    /// Four columns of bytes as one word for each row.
    fn join(&self, columns: [V; 4], pool: &mut Pool, w: &mut Writer) -> Option<V> {
        let [first, rest @ ..] = columns;
        if self.product.dtype == Dtype::I8 {
            columns[..3].iter().for_each(|&v| w.binary(Binary::And, v, v, Operand::Bits(255)));
        }
        for (i, v) in rest.into_iter().enumerate() {
            w.push(Stmt::Unary { op: Unary::Shl(8 * (i as u8 + 1)), to: v, a: v });
            w.binary(Binary::Or, first, first, Operand::V(v));
            pool.give(v);
        }
        Some(first)
    }

    /// Four columns of words to rows in memory.
    fn rows(&self, columns: [V; 4], column: usize, v: usize, pool: &mut Pool, w: &mut Writer) -> Option<()> {
        let by = self.product.x.c;
        let (rows, free) = quads::transpose(columns, pool.take()?, w);
        for (i, &from) in rows.iter().enumerate() {
            let row = (v * self.facts.lanes() + i) as i64;
            let place = at(C, row * by + (column * self.product.dtype.bytes()) as i64);
            w.push(quads::store(self.facts, from, place, 4 * by));
            pool.give(from);
        }
        pool.give(free);
        Some(())
    }
}

/// Smallest and largest offset that loops reach.
fn range(levels: impl Iterator<Item = (usize, i64)>) -> (i64, i64) {
    levels.fold((0, 0), |(low, high), (count, step)| {
        let end = (count as i64 - 1) * step;
        (low + end.min(0), high + end.max(0))
    })
}
