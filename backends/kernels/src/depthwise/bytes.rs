//! Depthwise convolution of bytes where the machine adds four products of bytes into a lane: four rows of the window are woven
//! byte by byte, so that a lane holds four taps of one channel, one below the other. A block of channels is a vector of bytes,
//! four vectors of lanes; packing the results weaves them back. Where channels are few and windows one apart, a vector is several
//! pixels next to each other. The sums start from what the sign of the image's bytes is worth, and from the bias.

use super::{C, Element, MOST_PIECES, W, X, elements};
use crate::body::{Emitter, Param, Pressure};
use crate::build::{BufferId, Builder, Pointer};
use crate::conv::Window;
use crate::dot::{self, Extra};
use crate::place::Place;
use crate::tile::{Pool, Writer, arg, at, kernel, near};
use crate::{Job, tasks};
use ir::Dtype;
use ir::kernel::tile::{Binary, Dot4, Operand, Stmt, V};
use ir::kernel::{Access, Arg, Facts};
use ir::program::{Packed, Part};
use ir::scalar::Body;
use ir::tensor::Tensor;

/// Vectors of lanes that a vector of bytes becomes.
const QUARTERS: usize = 4;

/// Rows of the window that are woven into lanes.
const ROWS: usize = 4;

/// Output columns in one tile at most.
const MOST: usize = 6;

/// Registers for weaving.
const WEAVING: usize = 5;

/// Pairs are down and right, in bytes.
#[derive(Clone)]
struct Plan<'a> {
    facts: &'a Facts,
    kind: Dot4,
    /// The image's bytes are of the other sign than the machine multiplies.
    flip: bool,
    kernel: (usize, usize),
    batch: usize,
    /// Lines, and columns of so many pixels that fill a vector.
    out: (usize, usize),
    /// Pixels in a column, and those behind the last one.
    pixels: usize,
    rest: usize,
    /// Bytes of a column.
    channels: usize,
    tap: (i64, i64),
    x_step: (i64, i64),
    c_step: (i64, i64),
    batch_step: (i64, i64),
    body: Body,
    types: Vec<Dtype>,
    result: Dtype,
    /// Whether sums start from the first operand behind the weights, which the body does not read.
    starts: bool,
    /// Operands behind the weights, by parameter of the body.
    params: Vec<usize>,
    operands: usize,
    resident: bool,
    most: usize,
}

/// Emits the convolution, if the machine and the operands are such; `body` is over i32 sums.
pub fn lower(job: &Job, image: &Place, window: &Window, extras: &[Extra], body: &Body, builder: &mut Builder) -> bool {
    let (Some(weights), (x, w)) = (job.operands[1].constant(), (job.operands[0].dtype, job.operands[1].dtype)) else { return false };
    let menu = builder.facts.menu;
    let kind = if menu.dot4_u8s8 { Dot4::U8S8 } else { Dot4::S8S8 };
    let possible = menu.dot4_u8s8 || menu.dot4_s8s8;
    let bytes = matches!(x, Dtype::U8 | Dtype::I8) && w == Dtype::I8 && matches!(job.dtype, Dtype::U8 | Dtype::I8);
    if !possible || !bytes || extras.iter().any(|e| matches!(e, Extra::Memory { .. })) {
        return false;
    }
    let flip = (kind == Dot4::U8S8) != (x == Dtype::U8);
    let Some((plan, operands)) = Plan::new(job, image, window, extras, body, (kind, flip), weights, builder.facts) else { return false };
    let packed = plan.pack(weights, &operands, builder);
    let call = [Job::pointer(image, x), Pointer { buffer: packed, offset: 0 }, Job::pointer(&job.place, job.dtype)];
    let macs = (job.shape.iter().product::<usize>() * plan.kernel.0 * plan.kernel.1) as u64;
    let most = builder.tasks.worth(macs, 0).min(MOST_PIECES);
    let cuts = [plan.batch, plan.out.0].map(|n| tasks::cut(n, 1, most, |_| true));
    let by_line = cuts[1].rank() > cuts[0].rank();
    let moved = |start: usize| {
        let (x, c) = if by_line { (plan.x_step.0, plan.c_step.0) } else { plan.batch_step };
        vec![x * start as i64, 0, c * start as i64]
    };
    let mut piece = |size: usize| {
        let piece = if by_line { Plan { out: (size, plan.out.1), ..plan.clone() } } else { Plan { batch: size, ..plan.clone() } };
        let mut w = Writer::new();
        piece.write(&mut w).ok()?;
        Some(kernel(format!("depthwise_i8_{}x{}", plan.kernel.0, plan.kernel.1), piece.args(), w))
    };
    builder.cut(cuts[usize::from(by_line)], &call, &moved, &mut piece, macs).is_some()
}

impl<'a> Plan<'a> {
    /// The plan, and what lies behind the weights.
    #[allow(clippy::too_many_arguments)]
    fn new(
        job: &Job,
        image: &Place,
        window: &Window,
        extras: &[Extra],
        epilogue: &Body,
        (kind, flip): (Dot4, bool),
        weights: &Tensor,
        facts: &'a Facts,
    ) -> Option<(Plan<'a>, Vec<Tensor>)> {
        let spatial = window.kernel.len();
        let pair = |f: &dyn Fn(usize) -> i64| if spatial == 2 { (f(0), f(1)) } else { (0, f(0)) };
        let kernel = if spatial == 2 { (window.kernel[0], window.kernel[1]) } else { (1, window.kernel[0]) };
        let out = if spatial == 2 { (job.shape[1], job.shape[2]) } else { (1, job.shape[1]) };
        let (c, vector) = (job.shape[spatial + 1], facts.vector_bytes as usize);
        let (mut x_step, mut c_step) = (pair(&|i| image.strides[i + 1] * window.stride[i] as i64), pair(&|i| job.place.strides[i + 1]));
        // several pixels in a vector
        let follows = x_step.1 == c as i64 && c_step.1 == c as i64;
        let pixels = if follows && c < vector && vector.is_multiple_of(c) && out.1 >= vector / c { vector / c } else { 1 };
        // in a vector that is mostly empty, floats are faster
        if !(c * pixels).is_multiple_of(4) || 2 * c * pixels < vector {
            return None;
        }
        x_step.1 *= pixels as i64;
        c_step.1 *= pixels as i64;
        let (start, body) = dot::start_from_bias(Dtype::I32, epilogue, extras);
        let mut operands = Vec::new();
        let starts = flip || start.is_some();
        if starts {
            operands.push(starting(weights, c, (kind, flip), start.map(|i| &extras[i])));
        }
        let mut params = Vec::new();
        for (i, extra) in extras.iter().enumerate() {
            let Extra::Columns(tensor) = extra else { return None };
            params.push(if Some(i) == start { 0 } else { operands.len() });
            if Some(i) != start {
                operands.push(tensor.clone());
            }
        }
        let quads = kernel.1 * kernel.0.div_ceil(ROWS);
        let registers = facts.vectors as usize;
        let resident = QUARTERS * quads + WEAVING + 3 * QUARTERS <= registers;
        let taken = WEAVING + if resident { QUARTERS * quads } else { usize::from(!facts.menu.memory_operand) };
        let mut plan = Plan {
            facts,
            kind,
            flip,
            kernel,
            batch: job.shape[0],
            out: (out.0, out.1 / pixels),
            pixels,
            rest: out.1 % pixels,
            channels: c * pixels,
            tap: pair(&|i| image.strides[i + 1] * window.dilation[i] as i64),
            x_step,
            c_step,
            batch_step: (image.strides[0], job.place.strides[0]),
            body,
            types: [Dtype::I32].into_iter().chain(extras.iter().map(Extra::lane)).collect(),
            result: job.dtype,
            starts,
            params,
            operands: operands.len(),
            resident,
            most: (registers.saturating_sub(taken) / QUARTERS).min(MOST),
        };
        let far = |step: i64, count: usize| step.saturating_abs().saturating_mul(count as i64);
        let window = far(plan.tap.0, kernel.0).saturating_add(far(plan.tap.1, kernel.1));
        if plan.most == 0 || !near(window.saturating_add(far(plan.x_step.1, MOST + 1))) || !near(far(plan.c_step.1, MOST + 1)) {
            return None;
        }
        plan.most = (1..=plan.most.min(plan.out.1)).rev().find(|&n| plan.fits(n))?;
        Some((plan, operands))
    }

    fn fits(&self, columns: usize) -> bool {
        let mut pool = Pool::new(self.facts);
        let weights = if self.resident { (0..QUARTERS * self.quads()).map_while(|_| pool.take()).collect() } else { Vec::new() };
        self.tile(columns, 1, &weights, pool, &mut Writer::new()).is_ok()
    }

    /// Groups of rows of the window, of all its columns.
    fn quads(&self) -> usize {
        self.kernel.1 * self.kernel.0.div_ceil(ROWS)
    }

    fn vector(&self) -> i64 {
        self.facts.vector_bytes.into()
    }

    fn blocks(&self) -> usize {
        self.channels.div_ceil(self.facts.vector_bytes as usize)
    }

    /// Bytes of the weights of a block of channels and of the operands behind them.
    fn group_bytes(&self) -> i64 {
        (QUARTERS * (self.quads() + self.operands)) as i64 * self.vector()
    }

    /// For each block the weights by column, group of rows, quarter, lane and row; then the operands by quarter and lane.
    fn pack(&self, weights: &Tensor, operands: &[Tensor], builder: &mut Builder) -> BufferId {
        let (kh, kw) = self.kernel;
        let rows = kh.div_ceil(ROWS);
        let sixteens = self.facts.vector_bytes as usize / 16;
        let (blocks, all) = (self.blocks(), self.blocks() * self.facts.vector_bytes as usize);
        let c = self.channels / self.pixels;
        let wide = |tensor: Tensor, lead: &[usize]| {
            let shape = [lead, &[1, c]].concat();
            let many = [lead, &[self.pixels, c]].concat();
            tensor.reshape(&shape).expand(&many).reshape(&[lead, &[self.channels]].concat())
        };
        let channels = || vec![blocks, sixteens, QUARTERS, 4];
        let mut parts = vec![Part::Layout {
            source: wide(weights.clone(), &[kh, kw]),
            padded: vec![rows * ROWS, kw, all],
            split: vec![vec![rows, ROWS], vec![kw], channels()],
            // rows' groups, rows, columns, blocks, sixteens, quarters, lanes
            order: vec![3, 2, 0, 5, 4, 6, 1],
        }];
        parts.extend(operands.iter().map(|tensor| Part::Layout {
            source: wide(tensor.clone(), &[1]),
            padded: vec![1, all],
            split: vec![vec![1], channels()],
            order: vec![1, 3, 0, 2, 4],
        }));
        builder.constant(Packed { align: 64, parts: vec![Part::Interleave { groups: blocks, parts }] })
    }

    fn args(&self) -> Vec<Arg> {
        let behind = (self.rest * self.channels / self.pixels) as i64;
        let end = |first: i64, down: i64, right: i64| {
            let outer = first * (self.batch as i64 - 1) + down * (self.out.0 as i64 - 1);
            outer + right * (self.out.1 as i64 - 1) + self.channels as i64 + behind
        };
        let reach = (self.kernel.0 as i64 - 1) * self.tap.0 + (self.kernel.1 as i64 - 1) * self.tap.1;
        vec![
            arg("x", Access::Read, 0, end(self.batch_step.0, self.x_step.0, self.x_step.1) + reach),
            arg("w", Access::Read, 0, self.blocks() as i64 * self.group_bytes()),
            arg("c", Access::Write, 0, end(self.batch_step.1, self.c_step.0, self.c_step.1)),
        ]
    }

    fn write(&self, w: &mut Writer) -> Result<(), Pressure> {
        let vector = self.facts.vector_bytes as usize;
        let (full, rest) = (self.channels / vector, self.channels % vector);
        let mut done = Ok(());
        w.repeat(self.batch, |w| {
            w.repeat(self.out.0, |w| {
                w.repeat(full, |w| {
                    done = done.and(self.line(self.facts.lanes(), w));
                    w.advance(X, self.vector());
                    w.advance(W, self.group_bytes());
                    w.advance(C, self.vector());
                });
                if rest > 0 {
                    done = done.and(self.line(rest / 4, w));
                }
                w.advance(X, self.x_step.0 - full as i64 * self.vector());
                w.advance(W, -(full as i64) * self.group_bytes());
                w.advance(C, self.c_step.0 - full as i64 * self.vector());
            });
            w.advance(X, self.batch_step.0 - self.x_step.0 * self.out.0 as i64);
            w.advance(C, self.batch_step.1 - self.c_step.0 * self.out.0 as i64);
        });
        done
    }

    /// One output line of a block of channels; pointers end where they began.
    fn line(&self, lanes: usize, w: &mut Writer) -> Result<(), Pressure> {
        let mut pool = Pool::new(self.facts);
        let mut weights = Vec::new();
        if self.resident {
            for i in 0..QUARTERS * self.quads() {
                let to = pool.take().ok_or(Pressure)?;
                w.push(Stmt::Load { to, at: at(W, i as i64 * self.vector()), lanes: self.facts.lanes() as u8 });
                weights.push(to);
            }
        }
        let right = |w: &mut Writer, columns: i64| {
            w.advance(X, self.x_step.1 * columns);
            w.advance(C, self.c_step.1 * columns);
        };
        let out = self.out.1;
        let tiles = out.div_ceil(self.most);
        let (size, larger) = (out / tiles, out % tiles);
        let mut done = Ok(());
        for (count, columns) in [(larger, size + 1), (tiles - larger, size)] {
            w.repeat(count, |w| {
                done = done.and(self.tile(columns, lanes, &weights, pool.clone(), w));
                right(w, columns as i64);
            });
        }
        if self.rest > 0 {
            // the last pixels, some of them once more
            let missing = (self.pixels - self.rest) as i64;
            let back = |step: i64| -step / self.pixels as i64 * missing;
            w.advance(X, back(self.x_step.1));
            w.advance(C, back(self.c_step.1));
            done = done.and(self.tile(1, lanes, &weights, pool, w));
            w.advance(X, -back(self.x_step.1));
            w.advance(C, -back(self.c_step.1));
        }
        right(w, -(out as i64));
        done
    }

    fn elements(&self, columns: usize) -> Vec<Element> {
        elements(self.kernel.1, self.tap.1, self.x_step.1, columns)
    }

    fn tile(&self, columns: usize, lanes: usize, weights: &[V], mut pool: Pool, w: &mut Writer) -> Result<(), Pressure> {
        let take = |pool: &mut Pool| pool.take().ok_or(Pressure);
        let whole = self.facts.lanes() as u8;
        let mut sums: Vec<V> = Vec::new();
        for i in 0..columns * QUARTERS {
            let to = take(&mut pool)?;
            w.push(match (self.starts, i.checked_sub(QUARTERS)) {
                (false, _) => Stmt::Set { to, bits: 0 },
                (true, Some(before)) => Stmt::Copy { to, from: sums[before] },
                (true, None) => Stmt::Load { to, at: self.operand(0, i), lanes: whole },
            });
            sums.push(to);
        }
        let rows = self.kernel.0.div_ceil(ROWS);
        let weaving: Vec<V> = (0..WEAVING).map(|_| take(&mut pool)).collect::<Result<_, _>>()?;
        let weight = if weights.is_empty() && !self.facts.menu.memory_operand { Some(take(&mut pool)?) } else { None };
        for group in 0..rows {
            for (offset, uses) in self.elements(columns) {
                let woven = self.weave(offset, group, lanes as u8, &weaving, w);
                for (j, &a) in woven.iter().enumerate() {
                    for &(kx, c) in &uses {
                        let which = (kx * rows + group) * QUARTERS + j;
                        let place = at(W, which as i64 * self.vector());
                        let b = match (weights.get(which), weight) {
                            (Some(&v), _) => Operand::V(v),
                            (None, None) => Operand::Memory(place),
                            (None, Some(to)) => {
                                w.push(Stmt::Load { to, at: place, lanes: whole });
                                Operand::V(to)
                            }
                        };
                        w.push(Stmt::Dot4 { kind: self.kind, acc: sums[c * QUARTERS + j], a, b });
                    }
                }
            }
        }
        weaving.into_iter().chain(weight).for_each(|v| pool.give(v));
        let mut emitter = Emitter::new(self.facts);
        for (c, sums) in sums.chunks(QUARTERS).enumerate() {
            let mut results = Vec::new();
            for (j, &sum) in sums.iter().enumerate() {
                let operands = self.params.iter().map(|&i| Param::Memory(self.operand(i, j)));
                let params: Vec<Param> = [Param::Owned(sum)].into_iter().chain(operands).collect();
                results.push(emitter.emit(&self.body, &self.types, &params, whole, &mut pool, w)?);
            }
            let pack = if self.result == Dtype::U8 { Binary::PackU8 } else { Binary::PackI8 };
            w.binary(Binary::PackI16, results[0], results[0], Operand::V(results[1]));
            w.binary(Binary::PackI16, results[2], results[2], Operand::V(results[3]));
            w.binary(pack, results[0], results[0], Operand::V(results[2]));
            w.push(Stmt::Store { from: results[0], at: at(C, c as i64 * self.c_step.1), lanes: lanes as u8 });
            results.into_iter().for_each(|v| pool.give(v));
        }
        Ok(())
    }

    /// Quarter `j` of an operand behind the weights.
    fn operand(&self, which: usize, j: usize) -> ir::kernel::tile::At {
        at(W, (QUARTERS * (self.quads() + which) + j) as i64 * self.vector())
    }

    /// A group of rows, `offset` bytes from the first column, as four vectors of lanes. Rows that are not there have weights
    /// of zero, and may be any.
    fn weave(&self, offset: i64, group: usize, lanes: u8, with: &[V], w: &mut Writer) -> [V; QUARTERS] {
        let [spare, a, b, c, d] = [with[0], with[1], with[2], with[3], with[4]];
        let rows = (self.kernel.0 - group * ROWS).min(ROWS);
        for (i, &to) in [a, b, c, d].iter().enumerate().take(rows) {
            let row = (group * ROWS + i) as i64;
            w.push(Stmt::Load { to, at: at(X, offset + row * self.tap.0), lanes });
            if self.flip {
                w.binary(Binary::Xor, to, to, Operand::Bits(0x8080_8080));
            }
        }
        let row = |i: usize| [a, b, c, d][i.min(rows - 1)];
        w.binary(Binary::ZipLow8, spare, row(0), Operand::V(row(1)));
        w.binary(Binary::ZipHigh8, a, row(0), Operand::V(row(1)));
        let (low, high) = if rows > 2 {
            w.binary(Binary::ZipLow8, b, row(2), Operand::V(row(3)));
            w.binary(Binary::ZipHigh8, c, row(2), Operand::V(row(3)));
            (b, c)
        } else {
            (spare, a)
        };
        // what is read last is written last
        w.binary(Binary::ZipLow16, d, spare, Operand::V(low));
        w.binary(Binary::ZipHigh16, if rows > 2 { spare } else { b }, spare, Operand::V(low));
        let second = if rows > 2 { spare } else { b };
        let third = if rows > 2 { b } else { c };
        w.binary(Binary::ZipLow16, third, a, Operand::V(high));
        w.binary(Binary::ZipHigh16, a, a, Operand::V(high));
        [d, second, third, a]
    }
}

/// What sums of each channel start from.
fn starting(weights: &Tensor, channels: usize, (kind, flip): (Dot4, bool), bias: Option<&Extra>) -> Tensor {
    let mut start = match bias {
        Some(Extra::Columns(tensor)) => tensor.to_i64s(),
        _ => vec![0; channels],
    };
    if flip {
        // u8 are 128 more than the i8 that they stand for
        let worth = if kind == Dot4::U8S8 { -128 } else { 128 };
        for (i, weight) in weights.to_i64s().into_iter().enumerate() {
            start[i % channels] += worth * weight;
        }
    }
    let bytes: Vec<u8> = start.into_iter().flat_map(|v| (v as i32).to_le_bytes()).collect();
    Tensor::dense(Dtype::I32, &[channels], bytes)
}
