//! Depthwise convolution: one filter per channel, so channels are the lanes and nothing is summed across them. A
//! tile keeps a few output columns of a few vectors of channels in registers and walks the window; where the
//! machine has registers enough, the weights of a vector of channels stay in them for a whole line.
//!
//! Images of bytes are multiplied by fours where the machine can ([`bytes`]), else as floats, which is exact: no sum of a window
//! reaches 2^24.

mod bytes;
mod tile;

use crate::build::{BufferId, Builder, Home, Pointer};
use crate::conv::Window;
use crate::dot::{self, Extra};
use crate::place::Place;
use crate::tile::{Writer, arg, kernel, near};
use crate::{Job, tasks, tile as tiles};
use ir::Dtype;
use ir::graph::op::Op;
use ir::kernel::tile::{Narrow, P};
use ir::kernel::{Access, Arg, Facts};
use ir::program::{Packed, Part};
use ir::scalar::{Arg as Value, Body, ScalarOp, Term};
use ir::tensor::Tensor;

const X: P = P(0);
const W: P = P(1);
const C: P = P(2);

/// Calls that one depthwise convolution is cut into at most.
const MOST_PIECES: usize = 8;

/// An element of a line of the image: bytes from the first, and the taps and outputs that it is for.
type Element = (i64, Vec<(usize, usize)>);

/// The elements that `columns` outputs next to each other see of a line, each once: `taps` of them `tap` bytes apart, outputs `step`.
fn elements(taps: usize, tap: i64, step: i64, columns: usize) -> Vec<Element> {
    let mut uses: Vec<(i64, (usize, usize))> =
        (0..taps).flat_map(|kx| (0..columns).map(move |c| (kx as i64 * tap + c as i64 * step, (kx, c)))).collect();
    uses.sort();
    let mut out: Vec<Element> = Vec::new();
    for (offset, pair) in uses {
        match out.last_mut().filter(|last| last.0 == offset) {
            Some(last) => last.1.push(pair),
            None => out.push((offset, vec![pair])),
        }
    }
    out
}

/// The constants and loops of one depthwise kernel. Pairs are down and right.
#[derive(Clone)]
struct Plan<'a> {
    facts: &'a Facts,
    extras: &'a [Extra],
    pointers: Vec<Option<P>>,
    /// How elements of the image lie in memory, where they are bytes.
    bytes: Option<Narrow>,
    /// The type that sums have for the epilogue: i32 after products of bytes, unless it wants floats.
    own: Dtype,
    result: Dtype,
    /// The bias that sums start from: index of the extra.
    start: Option<usize>,
    body: Body,
    types: Vec<Dtype>,
    lanes: usize,
    kernel: (usize, usize),
    batch: usize,
    out: (usize, usize),
    channels: usize,
    /// Bytes from one pixel of the image to the next.
    pixel: i64,
    /// Bytes from one tap, and one output, to the next.
    tap: (i64, i64),
    x_step: (i64, i64),
    c_step: (i64, i64),
    extra_step: Vec<(i64, i64)>,
    /// Bytes from one image, result and operand to the next of the batch.
    batch_step: (i64, i64, Vec<i64>),
    /// Indices of extras that lie behind the weights, in order.
    columns: Vec<usize>,
    /// Weights of a vector of channels stay in registers for a whole line.
    resident: bool,
    products: Taps,
    /// Output columns in one tile.
    most: usize,
    /// Where sums go before the epilogue, if they do.
    scratch: Option<P>,
}

/// How a tile comes to its products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taps {
    /// Tap by tap; elements are operands in memory where the machine can.
    Each,
    /// An element is loaded once for every output that it is part of.
    Shared,
    /// The same in a loop over the window's lines, whose weights are loaded in it.
    SharedByLine,
}

/// Emits the depthwise convolution of `job`; `image` starts at the first tap of the first window.
pub fn lower(job: &Job, image: &Place, window: &Window, builder: &mut Builder) -> bool {
    let Op::Conv { epilogue, .. } = job.op else { return false };
    let Some(weights) = job.operands[1].constant() else { return false };
    let dtype = job.operands[0].dtype;
    let own = if dtype == Dtype::F32 { Dtype::F32 } else { Dtype::I32 };
    let Some((mut extras, mut body)) = dot::extras_of(own, &job.operands[2..], epilogue, &job.shape, builder) else { return false };
    let mut own = own;
    if own == Dtype::I32 {
        if bytes::lower(job, image, window, &extras, &body, builder) {
            return true;
        }
        let Some(most) = most_of_bytes(weights) else { return false };
        if let Some(floats) = in_floats(most, &mut extras, &body) {
            (own, body) = (Dtype::F32, floats);
        }
    }
    let memory = extras.iter().filter(|e| matches!(e, Extra::Memory { .. })).count();
    if memory > 2 {
        return false;
    }
    let Some(plan) = Plan::new(job, image, window, &extras, &body, own, builder.facts) else { return false };
    let packed = plan.pack(weights, builder);
    let mut call = vec![Job::pointer(image, dtype), Pointer { buffer: packed, offset: 0 }, Job::pointer(&job.place, job.dtype)];
    for extra in &extras {
        if let Extra::Memory { place, dtype, .. } = extra {
            call.push(Job::pointer(place, *dtype));
        }
    }
    if plan.scratch.is_some() {
        call.push(Pointer { buffer: builder.buffer("sums", Home::Scratch, plan.scratch_bytes() as u64), offset: 0 });
    }
    let macs = (job.shape.iter().product::<usize>() * plan.taps()) as u64;
    // lines at the edge of a piece are read by two of them
    let most = builder.tasks.worth(macs, 0).min(MOST_PIECES);
    let cuts = [plan.batch, plan.out.0].map(|n| tasks::cut(n, 1, most, |_| true));
    let by_line = cuts[1].rank() > cuts[0].rank();
    let moved = |start: usize| plan.moved(by_line, start as i64, call.len());
    let mut piece = |size: usize| {
        let piece = if by_line { Plan { out: (size, plan.out.1), ..plan.clone() } } else { Plan { batch: size, ..plan.clone() } };
        let mut w = Writer::new();
        piece.batches(&mut w);
        Some(kernel(format!("depthwise_{}x{}", plan.kernel.0, plan.kernel.1), piece.args(), w))
    };
    builder.cut(cuts[usize::from(by_line)], &call, &moved, &mut piece, macs).is_some()
}

/// A bound on the sums of a window of bytes with these weights, if floats hold all of them.
fn most_of_bytes(weights: &Tensor) -> Option<f64> {
    let taps: usize = weights.shape().iter().rev().skip(1).product();
    let largest = weights.to_i64s().into_iter().map(i64::abs).max().unwrap_or(0);
    let most = taps as f64 * 255.0 * largest as f64;
    (most < EXACT).then_some(most)
}

/// Integers of smaller magnitude are floats.
const EXACT: f64 = 16_777_216.0;

/// An epilogue that begins with the sum as a float, `cast.f32(a)` or `cast.f32(add(a, bias))`, over sums that are floats:
/// the bias becomes one. `None` where it reads the sum otherwise, or the bias takes it beyond what is exact.
fn in_floats(most: f64, extras: &mut [Extra], body: &Body) -> Option<Body> {
    let reads = |term: &Term, arg: Value| term.args.contains(&arg);
    let users = |arg: Value| (0..body.terms.len()).filter(move |&i| reads(&body.terms[i], arg)).collect::<Vec<_>>();
    let [first] = users(Value::Param(0))[..] else { return None };
    let mut out = body.clone();
    let cast = |i: usize| body.terms[i].op == ScalarOp::Cast(Dtype::F32);
    if body.result == Value::Param(0) {
        return None;
    }
    if cast(first) {
        out.terms[first] = Term { op: ScalarOp::Bits(Dtype::F32), args: vec![Value::Param(0)] };
        return Some(out);
    }
    let (ScalarOp::Add, [a, b]) = (body.terms[first].op, &body.terms[first].args[..]) else { return None };
    let bias = if *a == Value::Param(0) { *b } else { *a };
    let then = users(Value::Term(first as u16));
    if then.is_empty() || !then.iter().all(|&i| cast(i)) || body.result == Value::Term(first as u16) {
        return None;
    }
    out.terms[first].args = match bias {
        Value::Literal(l) if most + (l.to_i64() as f64).abs() < EXACT => {
            vec![Value::Param(0), Value::Literal(ir::scalar::Literal::f32(l.to_i64() as f32))]
        }
        Value::Param(i) if i > 0 && users(bias).len() == 1 && body.result != bias => {
            let Extra::Columns(tensor) = &mut extras[i as usize - 1] else { return None };
            let values = tensor.to_i64s();
            if tensor.dtype() != Dtype::I32 || values.iter().any(|v| most + (*v as f64).abs() >= EXACT) {
                return None;
            }
            *tensor = Tensor::f32s(tensor.shape(), &values.iter().map(|&v| v as f32).collect::<Vec<_>>());
            vec![Value::Param(0), bias]
        }
        _ => return None,
    };
    for i in then {
        out.terms[i] = Term { op: ScalarOp::Bits(Dtype::F32), args: vec![Value::Term(first as u16)] };
    }
    Some(out)
}

impl<'a> Plan<'a> {
    /// `None` when the epilogue is wider than all registers, or elements are farther apart than an address reaches.
    #[allow(clippy::too_many_arguments)]
    fn new(
        job: &Job,
        image: &Place,
        window: &Window,
        extras: &'a [Extra],
        epilogue: &Body,
        own: Dtype,
        facts: &'a Facts,
    ) -> Option<Plan<'a>> {
        let spatial = window.kernel.len();
        let steps: Vec<Vec<i64>> = extras.iter().map(|e| dot::extra_steps(e, spatial + 2)).collect();
        let pair = |f: &dyn Fn(usize) -> i64| if spatial == 2 { (f(0), f(1)) } else { (0, f(0)) };
        let kernel = if spatial == 2 { (window.kernel[0], window.kernel[1]) } else { (1, window.kernel[0]) };
        let mut next = 3;
        let pointers = extras
            .iter()
            .map(|e| match e {
                Extra::Columns(_) => None,
                Extra::Memory { .. } => {
                    next += 1;
                    Some(P(next - 1))
                }
            })
            .collect();
        let (start, body) = if own == Dtype::F32 { dot::start_from_bias(own, epilogue, extras) } else { (None, epilogue.clone()) };
        let bytes = tiles::narrow(job.operands[0].dtype);
        let (x_width, c_width) = (job.operands[0].dtype.bytes() as i64, job.dtype.bytes() as i64);
        // weights stay in registers when at least eight sums, an element and an epilogue's temporaries still fit
        let resident = kernel.0 * kernel.1 + 8 + 5 <= facts.vectors as usize;
        let shares = !facts.menu.memory_operand || facts.unroll == 1 || bytes.is_some();
        let mut plan = Plan {
            facts,
            extras,
            pointers,
            bytes,
            own,
            result: job.dtype,
            start,
            body,
            types: [own].into_iter().chain(extras.iter().map(Extra::lane)).collect(),
            lanes: facts.lanes(),
            kernel,
            batch: job.shape[0],
            out: if spatial == 2 { (job.shape[1], job.shape[2]) } else { (1, job.shape[1]) },
            channels: job.shape[spatial + 1],
            pixel: image.strides[spatial] * x_width,
            tap: pair(&|i| image.strides[i + 1] * window.dilation[i] as i64 * x_width),
            x_step: pair(&|i| image.strides[i + 1] * window.stride[i] as i64 * x_width),
            c_step: pair(&|i| job.place.strides[i + 1] * c_width),
            extra_step: steps.iter().map(|s| pair(&|i| s[i + 1])).collect(),
            batch_step: (image.strides[0] * x_width, job.place.strides[0] * c_width, steps.iter().map(|s| s[0]).collect()),
            columns: (0..extras.len()).filter(|&i| matches!(extras[i], Extra::Columns(_))).collect(),
            resident,
            products: match (shares, resident) {
                (false, _) => Taps::Each,
                (true, true) => Taps::Shared,
                (true, false) => Taps::SharedByLine,
            },
            most: 0,
            scratch: None,
        };
        if !plan.reaches() {
            return None;
        }
        let widest = match plan.most_columns() {
            0 => {
                plan.products = Taps::Each;
                plan.most_columns()
            }
            columns => columns,
        };
        // as many sums in flight as the epilogue leaves room for; where it leaves too little, or is long, they go
        // to scratch first
        let in_scratch = || Plan { scratch: Some(P(next)), ..plan.clone() };
        let fitting = (6.min(widest)..=widest).rev().find(|&columns| plan.fits(columns));
        let most = match fitting {
            Some(columns) if !(dot::is_long(&plan.body, columns) && in_scratch().fits(widest)) => columns,
            _ => {
                plan = in_scratch();
                plan.fits(widest).then_some(widest)?
            }
        };
        plan.most = most.min(plan.out.1);
        Some(plan)
    }

    /// Whether every displacement in a tile fits an address.
    fn reaches(&self) -> bool {
        let times = |step: i64, count: usize| step.saturating_abs().saturating_mul(count as i64);
        let window = times(self.tap.0, self.kernel.0).saturating_add(times(self.tap.1, self.kernel.1));
        let extras = self.extra_step.iter().all(|s| near(times(s.1, tile::MOST)));
        let image = near(window.saturating_add(times(self.x_step.1, tile::MOST)));
        image && near(times(self.c_step.1, tile::MOST)) && near(self.group_bytes()) && extras
    }

    fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Vectors of channels.
    fn vectors(&self) -> usize {
        self.channels.div_ceil(self.lanes)
    }

    /// Bytes of the weights of a vector of channels, and of the operands behind them.
    fn group_bytes(&self) -> i64 {
        (self.lanes * 4 * (self.taps() + self.columns.len())) as i64
    }

    /// `[vector of channels][tap][lane]`, each vector's column operands behind its taps.
    fn pack(&self, weights: &Tensor, builder: &mut Builder) -> BufferId {
        let (vectors, lanes) = (self.vectors(), self.lanes);
        let part = |source: Tensor| {
            let rows = source.shape()[0];
            let split = vec![vec![rows], vec![vectors, lanes]];
            Part::Layout { source, padded: vec![rows, vectors * lanes], split, order: vec![1, 0, 2] }
        };
        let floats;
        let weights = if self.bytes.is_some() {
            floats = Tensor::f32s(weights.shape(), &weights.to_f32s());
            &floats
        } else {
            weights
        };
        let mut parts = vec![part(weights.reshape(&[self.taps(), self.channels]))];
        for &i in &self.columns {
            let Extra::Columns(tensor) = &self.extras[i] else { continue };
            parts.push(part(tensor.reshape(&[1, self.channels])));
        }
        builder.constant(Packed { align: 64, parts: vec![Part::Interleave { groups: vectors, parts }] })
    }

    /// What the kernel's arguments reach.
    fn args(&self) -> Vec<Arg> {
        let end = |first: i64, down: i64, right: i64, width: i64| {
            let outer = first * (self.batch as i64 - 1) + down * (self.out.0 as i64 - 1);
            outer + right * (self.out.1 as i64 - 1) + self.channels as i64 * width
        };
        let (x_width, c_width) = (self.x_width(), self.result.bytes() as i64);
        let reach = (self.kernel.0 as i64 - 1) * self.tap.0 + (self.kernel.1 as i64 - 1) * self.tap.1;
        let (x_batch, c_batch, extra_batch) = &self.batch_step;
        let mut args = vec![
            arg("x", Access::Read, 0, end(*x_batch, self.x_step.0, self.x_step.1, x_width) + reach),
            arg("w", Access::Read, 0, self.vectors() as i64 * self.group_bytes()),
            arg("c", Access::ReadWrite, 0, end(*c_batch, self.c_step.0, self.c_step.1, c_width)),
        ];
        for (i, extra) in self.extras.iter().enumerate() {
            if let Extra::Memory { contiguous, dtype, .. } = extra {
                let width = dtype.bytes() as i64;
                let one = if *contiguous { 0 } else { self.channels as i64 * width - width };
                args.push(arg("extra", Access::Read, 0, end(extra_batch[i], self.extra_step[i].0, self.extra_step[i].1, width) - one));
            }
        }
        if self.scratch.is_some() {
            args.push(arg("sums", Access::ReadWrite, 0, self.scratch_bytes()));
        }
        args
    }

    /// Bytes of scratch for the sums of a tile.
    fn scratch_bytes(&self) -> i64 {
        (self.most * self.lanes * 4) as i64
    }

    /// Bytes that each argument moves in so many lines, or images of the batch. Weights and scratch stay.
    fn moved(&self, by_line: bool, times: i64, args: usize) -> Vec<i64> {
        let (x, c, extra) = &self.batch_step;
        let mut by = if by_line { vec![self.x_step.0, 0, self.c_step.0] } else { vec![*x, 0, *c] };
        let each = (0..self.extras.len()).filter(|&i| self.pointers[i].is_some());
        by.extend(each.map(|i| if by_line { self.extra_step[i].0 } else { extra[i] }));
        by.resize(args, 0);
        by.iter().map(|step| step * times).collect()
    }

    /// Bytes of an element of the image.
    fn x_width(&self) -> i64 {
        self.bytes.map_or(4, |kind| kind.bytes().into())
    }

    /// Bytes that an operand moves where the channels move by so many.
    fn in_columns(&self, i: usize, by: i64) -> i64 {
        match &self.extras[i] {
            Extra::Memory { contiguous: true, dtype, .. } => by * dtype.bytes() as i64,
            Extra::Memory { .. } | Extra::Columns(_) => 0,
        }
    }

    /// Moves image, result and operands by so many channels.
    fn along_channels(&self, by: i64, w: &mut Writer) {
        w.advance(X, by * self.x_width());
        w.advance(C, by * self.result.bytes() as i64);
        self.each_extra(w, |i| self.in_columns(i, by));
    }

    fn batches(&self, w: &mut Writer) {
        w.repeat(self.batch, |w| {
            self.blocks(w);
            if self.batch > 1 {
                let (x, c, extra) = &self.batch_step;
                w.advance(X, *x);
                w.advance(W, -(self.vectors() as i64 * self.group_bytes()));
                w.advance(C, *c);
                self.each_extra(w, |i| extra[i]);
                self.along_channels(-((self.vectors() * self.lanes) as i64), w);
            }
        });
    }

    /// Blocks of channels, line by line in each: the lines that a window spans stay in L1 from one to the next.
    /// Pointers end behind the last channel.
    fn blocks(&self, w: &mut Writer) {
        let vector_bytes = (self.lanes * 4) as u64;
        let pixels = ((self.out.1 - 1) as i64 * self.x_step.1 + (self.kernel.1 as i64 - 1) * self.tap.1) / self.pixel.max(1) + 1;
        let span = self.kernel.0 as u64 * pixels as u64 * self.lanes as u64 * self.x_width() as u64;
        let block = ((self.facts.caches[0] / span.max(1)) as usize).max(64 / vector_bytes as usize).min(self.vectors());
        let (full, rest) = (self.channels / self.lanes, self.channels % self.lanes);
        let tail = [(full % block, self.lanes), (usize::from(rest > 0), rest)].into_iter().filter(|t| t.0 > 0).collect::<Vec<_>>();
        let blocks = [(full / block, vec![(block, self.lanes)]), (usize::from(!tail.is_empty()), tail)];
        for (times, parts) in &blocks {
            w.repeat(*times, |w| self.block(parts, w));
        }
    }

    /// Every line of a block of channels: vectors and how many of their lanes there are. Pointers end behind it.
    fn block(&self, parts: &[(usize, usize)], w: &mut Writer) {
        let lanes = self.lanes as i64;
        let group = self.group_bytes();
        let inside: i64 = parts.iter().map(|p| p.0 as i64).sum();
        w.repeat(self.out.0, |w| {
            for &(count, valid) in parts {
                w.repeat(count, |w| {
                    self.line(valid, w);
                    w.advance(W, group);
                    self.along_channels(lanes, w);
                });
            }
            w.advance(X, self.x_step.0);
            w.advance(W, -inside * group);
            w.advance(C, self.c_step.0);
            self.each_extra(w, |i| self.extra_step[i].0);
            self.along_channels(-inside * lanes, w);
        });
        let lines = self.out.0 as i64;
        w.advance(X, -self.x_step.0 * lines);
        w.advance(W, inside * group);
        w.advance(C, -self.c_step.0 * lines);
        self.each_extra(w, |i| -self.extra_step[i].0 * lines);
        self.along_channels(inside * lanes, w);
    }

    fn each_extra(&self, w: &mut Writer, by: impl Fn(usize) -> i64) {
        for (i, pointer) in self.pointers.iter().enumerate() {
            if let Some(p) = pointer {
                w.advance(*p, by(i));
            }
        }
    }
}
