//! The kernel of one block: some lines of tiles, all their columns. Transform of the image, products, transform of the sums
//! with the epilogue, one after the other in the worker's scratch.

use super::combine::Combine;
use super::points::{Matrices, TAPS};
use super::{Shape, near, weights};
use crate::body::{Emitter, Param, Pressure};
use crate::build::{BufferId, Builder};
use crate::dot::{self, Extra, Factors, Inside, Level, Product, Right, Segment};
use crate::pieces::around;
use crate::place::Place;
use crate::tile::{Pool, Writer, arg, at, kernel};
use ir::Dtype;
use ir::kernel::tile::{P, Stmt, V};
use ir::kernel::{Access, Facts, Kernel};
use ir::scalar::Body;
use ir::tensor::Tensor;

/// Transformed image and sums of the products; the filters lie at the product's second pointer.
const POINTS: P = P(0);
const SUMS: P = P(2);
const IMAGE: P = P(3);
const RESULT: P = P(4);

/// A pointer that follows the tiles.
struct Moving {
    pointer: P,
    /// Bytes from one line, and one column, to the next.
    step: [i64; 2],
    /// It follows the vectors of a tile too.
    by_vector: bool,
}

/// Writes a vector of a tile: lines and columns of results, lanes.
type OnTile<'a> = &'a dyn Fn(&mut Writer, (usize, usize), usize) -> Result<(), Pressure>;

/// Bytes from one line, and one column, to the next.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub image: [i64; 2],
    pub result: [i64; 2],
    pub extras: Vec<[i64; 2]>,
}

/// What all blocks of a convolution have in common.
pub(super) struct Layer<'a> {
    pub facts: &'a Facts,
    /// The level whose layout of weights is used.
    pub packing: &'a Facts,
    pub matrices: &'a Matrices,
    pub shape: Shape,
    pub channels: usize,
    /// Of one part.
    pub filters: usize,
    /// Columns of results.
    pub width: usize,
    pub streams: Streams,
    pub extras: &'a [Extra],
    pub body: &'a Body,
}

/// A block of tiles with everything that its kernel bakes in.
pub(super) struct Block<'a> {
    layer: &'a Layer<'a>,
    types: Vec<Dtype>,
    /// Whole lines of tiles, and the lines of results in one more.
    rows: (usize, Option<usize>),
    /// Whole tiles in a line, and the columns of results in one more.
    columns: (usize, Option<usize>),
    product: Product,
    inside: Inside,
    /// Pointers of the constants and of each operand in memory.
    constants: Option<P>,
    pointers: Vec<Option<P>>,
    /// The epilogue is a loop over a tile's results and not written out for each.
    looped: bool,
}

impl<'a> Block<'a> {
    /// Whole lines of tiles, and lines of results in one more. Products are cut as those of `like`, a block at least as large, so
    /// that they share their weights. `None` when the epilogue is wider than all registers or something is farther apart than an address reaches.
    pub fn new(layer: &'a Layer<'a>, (full, partial): (usize, Option<usize>), like: Option<&Block>) -> Option<Block<'a>> {
        let Layer { facts, packing, matrices, shape, channels, filters, width, ref streams, extras, body } = *layer;
        let columns = (width / shape.m, Some(width % shape.m).filter(|&n| n > 0));
        let mut next = 5;
        let mut pointer = || {
            next += 1;
            P(next - 1)
        };
        let constants = extras.iter().any(|e| matches!(e, Extra::Columns(_))).then(&mut pointer);
        let pointers = extras.iter().map(|e| matches!(e, Extra::Memory { .. }).then(&mut pointer)).collect();
        let lanes = facts.lanes();
        let tiles = (full + usize::from(partial.is_some())) * (columns.0 + usize::from(columns.1.is_some()));
        let row = |n: usize| (n.next_multiple_of(lanes) * 4) as i64;
        // a cache line more: points that lie a power of two apart fall into one set of L1
        let matrix = |n: usize| tiles as i64 * row(n) + 64;
        let points = matrices.size() * matrices.size();
        let still = |count: usize, a: i64, c: i64| Level { count, a, b: 0, c, extra: vec![] };
        let place = || Place { buffer: BufferId(0), offset: 0, strides: vec![] };
        let product = Product {
            factors: Factors::FLOATS,
            back: 0,
            dtype: Dtype::F32,
            name: "winograd".into(),
            batch: vec![still(points, matrix(channels), matrix(filters))],
            y: still(1, 0, 0),
            x: still(tiles, row(channels), row(filters)),
            segments: vec![],
            run: Segment { count: channels, a: 4 },
            n: filters,
            a: place(),
            right: Right::Packed { matrices: vec![], steps: vec![1] },
            c: place(),
            extras: vec![],
            epilogue: Body::identity(),
            macs: 0,
        };
        let inside = dot::inside(product.clone(), facts, packing, like.map(|block| &block.inside))?;
        let types: Vec<Dtype> = [Dtype::F32].into_iter().chain(extras.iter().map(Extra::dtype)).collect();
        let mut block = Block {
            layer,
            types,
            rows: (full, partial),
            columns,
            product,
            inside,
            constants,
            pointers,
            looped: dot::is_long(body, shape.m * shape.m),
        };
        let far = |step: [i64; 2]| {
            let size = matrices.size() as i64;
            step[0].saturating_abs().saturating_mul(size).saturating_add(step[1].saturating_abs().saturating_mul(size))
        };
        let reaches = near(far(streams.image)) && near(far(streams.result)) && streams.extras.iter().all(|&e| near(far(e)));
        if !reaches || !near(block.scratch_bytes()) {
            return None;
        }
        let fits = |block: &Block| {
            [lanes, filters % lanes].iter().filter(|&&l| l > 0).all(|&l| {
                let whole = (shape.m, shape.m);
                block.result(whole, l, &mut Writer::new()).is_ok()
            })
        };
        if !fits(&block) {
            block.looped = true;
            return fits(&block).then_some(block);
        }
        Some(block)
    }

    /// Whether its kernel is the same as another's of this convolution.
    pub fn same_rows(&self, other: &Block) -> bool {
        self.rows == other.rows
    }

    /// Lays out the transformed filters `columns`.
    pub fn pack(&self, matrices: &Matrices, source: &Tensor, columns: (usize, usize), builder: &mut Builder) -> BufferId {
        let right = Right::Packed { matrices: weights::transform(matrices, source, columns), steps: vec![1] };
        self.inside.pack(&Product { right, ..self.product.clone() }, builder)
    }

    fn size(&self) -> usize {
        self.layer.matrices.size()
    }

    /// Results of a tile along one axis.
    fn m(&self) -> usize {
        self.size() + 1 - TAPS
    }

    fn vector(&self) -> i64 {
        i64::from(self.layer.facts.vector_bytes)
    }

    /// Bytes from the start of scratch to the sums.
    pub fn sums_offset(&self) -> i64 {
        let level = &self.product.batch[0];
        level.a * level.count as i64
    }

    /// Bytes of transformed image and sums. Both are larger than two squares of vectors: while one is written, the
    /// other is free to work in.
    pub fn scratch_bytes(&self) -> i64 {
        let level = &self.product.batch[0];
        self.sums_offset() + level.c * level.count as i64
    }

    /// The kernel. `None` when the epilogue does not fit, which was tried before.
    pub fn kernel(&self) -> Option<Kernel> {
        let mut w = Writer::new();
        let image = [Moving { pointer: IMAGE, step: self.layer.streams.image, by_vector: true }];
        self.each_tile(&mut w, self.layer.channels, POINTS, &image, &|w, tile, lanes| self.image(tile, lanes, w)).ok()?;
        w.out.extend(self.inside.body.iter().cloned());
        let mut results = vec![Moving { pointer: RESULT, step: self.layer.streams.result, by_vector: true }];
        results.extend(self.constants.map(|pointer| Moving { pointer, step: [0, 0], by_vector: true }));
        for ((pointer, extra), &step) in self.pointers.iter().zip(self.layer.extras).zip(&self.layer.streams.extras) {
            if let (&Some(pointer), Extra::Memory { contiguous, .. }) = (pointer, extra) {
                results.push(Moving { pointer, step, by_vector: *contiguous });
            }
        }
        self.each_tile(&mut w, self.layer.filters, SUMS, &results, &|w, tile, lanes| self.result(tile, lanes, w)).ok()?;
        let m = self.m();
        Some(kernel(format!("winograd_{m}x{m}"), self.args(), w))
    }

    fn args(&self) -> Vec<ir::kernel::Arg> {
        let m = self.m();
        let lines = self.rows.0 * m + self.rows.1.unwrap_or(0);
        let columns = self.columns.0 * m + self.columns.1.unwrap_or(0);
        let reach = |step: [i64; 2], lines: usize, columns: usize, bytes: usize| {
            let ends = [(lines as i64 - 1) * step[0], (columns as i64 - 1) * step[1]];
            let low: i64 = ends.iter().map(|e| (*e).min(0)).sum();
            let high: i64 = ends.iter().map(|e| (*e).max(0)).sum();
            (low, high + bytes as i64)
        };
        let image = reach(self.layer.streams.image, lines + TAPS - 1, columns + TAPS - 1, self.layer.channels * 4);
        let result = reach(self.layer.streams.result, lines, columns, self.layer.filters * 4);
        let mut args = vec![
            arg("points", Access::ReadWrite, 0, self.sums_offset()),
            arg("filters", Access::Read, 0, self.inside.matrix_bytes * self.product.batch[0].count as i64),
            arg("sums", Access::ReadWrite, 0, self.scratch_bytes() - self.sums_offset()),
            arg("image", Access::Read, image.0, image.1),
            arg("result", Access::ReadWrite, result.0, result.1),
        ];
        if self.constants.is_some() {
            let columns = self.layer.extras.iter().filter(|e| matches!(e, Extra::Columns(_))).count() as i64;
            args.push(arg("constants", Access::Read, 0, columns * self.constant_bytes()));
        }
        for (extra, &step) in self.layer.extras.iter().zip(&self.layer.streams.extras) {
            if let Extra::Memory { contiguous, .. } = extra {
                let (low, high) = reach(step, lines, columns, if *contiguous { self.layer.filters * 4 } else { 4 });
                args.push(arg("extra", Access::Read, low, high));
            }
        }
        args
    }

    /// Bytes of an operand with one value for each filter.
    fn constant_bytes(&self) -> i64 {
        (self.layer.filters.next_multiple_of(self.layer.facts.lanes()) * 4) as i64
    }

    /// Every vector of `count` channels of every tile: `tile` is told the lines and columns of results that there are, and
    /// lanes. `dense` moves on by a vector each time. Pointers end where they began.
    fn each_tile(&self, w: &mut Writer, count: usize, dense: P, moving: &[Moving], tile: OnTile) -> Result<(), Pressure> {
        let lanes = self.layer.facts.lanes();
        let (vectors, rest) = (count / lanes, count % lanes);
        let width = (vectors + usize::from(rest > 0)) as i64 * self.vector();
        let m = self.m() as i64;
        let mut done = Ok(());
        let mut one = |w: &mut Writer, rows: usize, columns: usize| {
            for (times, lanes) in [(vectors, lanes), (usize::from(rest > 0), rest)] {
                w.repeat(times, |w| {
                    done = done.and(tile(w, (rows, columns), lanes));
                    w.advance(dense, self.vector());
                    moving.iter().filter(|s| s.by_vector).for_each(|s| w.advance(s.pointer, self.vector()));
                });
            }
            moving.iter().for_each(|s| w.advance(s.pointer, s.step[1] * m - if s.by_vector { width } else { 0 }));
        };
        let tiles = (self.columns.0 + usize::from(self.columns.1.is_some())) as i64;
        for (times, rows) in [(self.rows.0, Some(self.m())), (usize::from(self.rows.1.is_some()), self.rows.1)] {
            let Some(rows) = rows else { continue };
            w.repeat(times, |w| {
                w.repeat(self.columns.0, |w| one(w, rows, self.m()));
                if let Some(columns) = self.columns.1 {
                    one(w, rows, columns);
                }
                moving.iter().for_each(|s| w.advance(s.pointer, (s.step[0] - tiles * s.step[1]) * m));
            });
        }
        let lines = (self.rows.0 + usize::from(self.rows.1.is_some())) as i64;
        moving.iter().for_each(|s| w.advance(s.pointer, -lines * m * s.step[0]));
        w.advance(dense, -lines * tiles * width);
        done
    }

    /// A vector of the image of a tile, transformed: `rows` and `columns` of results are wanted.
    fn image(&self, (rows, columns): (usize, usize), lanes: usize, w: &mut Writer) -> Result<(), Pressure> {
        let size = self.size();
        let combine = Combine { rows: &self.layer.matrices.image };
        let (lines, wide) = (rows + TAPS - 1, columns + TAPS - 1);
        let strip = |i: usize, j: usize| at(SUMS, (i * size + j) as i64 * self.vector());
        let whole = self.layer.facts.lanes() as u8;
        let mut pool = Pool::new(self.layer.facts);
        for j in 0..wide {
            let mut inputs = vec![None; size];
            for (i, input) in inputs.iter_mut().enumerate().take(lines) {
                let to = pool.take().ok_or(Pressure)?;
                let [line, column] = self.layer.streams.image;
                w.push(Stmt::Load { to, at: at(IMAGE, i as i64 * line + j as i64 * column), lanes: lanes as u8 });
                *input = Some(to);
            }
            combine.write(&inputs, &mut pool, w, &mut |w, pool, i, from| {
                w.push(Stmt::Store { from, at: strip(i, j), lanes: whole });
                pool.give(from);
                Ok(())
            })?;
        }
        let level = &self.product.batch[0];
        for i in 0..size {
            let inputs = self.row(wide, &|j| strip(i, j), &mut pool, w)?;
            combine.write(&inputs, &mut pool, w, &mut |w, pool, j, from| {
                w.push(Stmt::Store { from, at: at(POINTS, (i * size + j) as i64 * level.a), lanes: whole });
                pool.give(from);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Loads the first `count` vectors of a row; the others are zero.
    fn row(
        &self,
        count: usize,
        from: &dyn Fn(usize) -> ir::kernel::tile::At,
        pool: &mut Pool,
        w: &mut Writer,
    ) -> Result<Vec<Option<V>>, Pressure> {
        let mut inputs = vec![None; self.size()];
        for (j, input) in inputs.iter_mut().enumerate().take(count) {
            let to = pool.take().ok_or(Pressure)?;
            w.push(Stmt::Load { to, at: from(j), lanes: self.layer.facts.lanes() as u8 });
            *input = Some(to);
        }
        Ok(inputs)
    }

    /// A vector of a tile's results: the sums transformed back, the epilogue, the store of what there is.
    fn result(&self, (rows, columns): (usize, usize), lanes: usize, w: &mut Writer) -> Result<(), Pressure> {
        let (size, m) = (self.size(), self.m());
        let level = &self.product.batch[0];
        let strip = |i: usize, j: usize| at(POINTS, (i * size + j) as i64 * self.vector());
        let raw = |i: usize, j: usize| at(POINTS, (size * size + i * m + j) as i64 * self.vector());
        let whole = self.layer.facts.lanes() as u8;
        let mut pool = Pool::new(self.layer.facts);
        let down = Combine { rows: &self.layer.matrices.result[..rows] };
        for j in 0..size {
            let inputs = self.sums(j, level.c, lanes, &mut pool, w)?;
            down.write(&inputs, &mut pool, w, &mut |w, pool, i, from| {
                w.push(Stmt::Store { from, at: strip(i, j), lanes: whole });
                pool.give(from);
                Ok(())
            })?;
        }
        let right = Combine { rows: &self.layer.matrices.result[..columns] };
        let mut emitter = Emitter::new(self.layer.facts);
        for i in 0..rows {
            let inputs = self.row(size, &|j| strip(i, j), &mut pool, w)?;
            right.write(&inputs, &mut pool, w, &mut |w, pool, j, from| {
                if self.looped {
                    w.push(Stmt::Store { from, at: raw(i, j), lanes: whole });
                    pool.give(from);
                    return Ok(());
                }
                self.store((i, j), Param::Owned(from), lanes, &mut emitter, pool, w)
            })?;
        }
        emitter.finish(&mut pool);
        if !self.looped {
            return Ok(());
        }
        around(self.layer.facts, &pool, w, &mut |constants, pool, w| {
            let mut done = Ok(());
            w.repeat(rows, |w| {
                w.repeat(columns, |w| {
                    done = constants.with(pool, |emitter, pool| self.store((0, 0), Param::Memory(raw(0, 0)), lanes, emitter, pool, w));
                    w.advance(POINTS, self.vector());
                    self.shift(0, 1, w);
                });
                w.advance(POINTS, (m - columns) as i64 * self.vector());
                self.shift(1, -(columns as i64), w);
            });
            w.advance(POINTS, -((rows * m) as i64) * self.vector());
            self.shift(-(rows as i64), 0, w);
            done
        })
    }

    /// Moves the results and the operands by so many lines and columns.
    fn shift(&self, lines: i64, columns: i64, w: &mut Writer) {
        let by = |step: &[i64; 2]| lines * step[0] + columns * step[1];
        w.advance(RESULT, by(&self.layer.streams.result));
        for (pointer, step) in self.pointers.iter().zip(&self.layer.streams.extras) {
            if let Some(p) = pointer {
                w.advance(*p, by(step));
            }
        }
    }

    /// Column `j` of the sums.
    fn sums(&self, j: usize, matrix: i64, lanes: usize, pool: &mut Pool, w: &mut Writer) -> Result<Vec<Option<V>>, Pressure> {
        let size = self.size();
        let mut inputs = vec![None; size];
        for (i, input) in inputs.iter_mut().enumerate() {
            let to = pool.take().ok_or(Pressure)?;
            w.push(Stmt::Load { to, at: at(SUMS, (i * size + j) as i64 * matrix), lanes: lanes as u8 });
            *input = Some(to);
        }
        Ok(inputs)
    }

    /// Computes the result at line `i` and column `j` of a tile and stores it.
    fn store(
        &self,
        (i, j): (usize, usize),
        sum: Param,
        lanes: usize,
        emitter: &mut Emitter,
        pool: &mut Pool,
        w: &mut Writer,
    ) -> Result<(), Pressure> {
        let by = |step: &[i64; 2]| i as i64 * step[0] + j as i64 * step[1];
        let mut params = vec![sum];
        let mut column = 0;
        for ((extra, pointer), step) in self.layer.extras.iter().zip(&self.pointers).zip(&self.layer.streams.extras) {
            params.push(match (extra, pointer) {
                (Extra::Memory { contiguous: true, .. }, Some(p)) => Param::Memory(at(*p, by(step))),
                (Extra::Memory { .. }, Some(p)) => Param::Splat(at(*p, by(step))),
                _ => {
                    let constants = self.constants.expect("there is a column operand");
                    column += 1;
                    Param::Memory(at(constants, (column - 1) * self.constant_bytes()))
                }
            });
        }
        let from = emitter.emit(self.layer.body, &self.types, &params, lanes as u8, pool, w)?;
        w.push(Stmt::Store { from, at: at(RESULT, by(&self.layer.streams.result)), lanes: lanes as u8 });
        pool.give(from);
        Ok(())
    }
}
