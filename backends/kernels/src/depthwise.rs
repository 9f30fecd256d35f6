//! Depthwise convolution: one filter per channel, so channels are the lanes and nothing is summed across them. A
//! tile keeps a few output columns of a few vectors of channels in registers and walks the window; where the
//! machine has registers enough, the weights of a vector of channels stay in them for a whole line.

use crate::Job;
use crate::body::{Emitter, Param};
use crate::build::{Builder, Home, Pointer};
use crate::conv::Window;
use crate::dot::{self, Extra};
use crate::place::Place;
use crate::tile::{Pool, Writer, arg, at, kernel};
use ir::Dtype;
use ir::graph::op::Op;
use ir::kernel::Access;
use ir::kernel::tile::{Operand, P, Stmt, V};
use ir::program::{Packed, Part};
use ir::scalar::Body;

const X: P = P(0);
const W: P = P(1);
const C: P = P(2);

/// The constants and loops of one depthwise kernel.
struct Plan<'a> {
    extras: &'a [Extra],
    pointers: Vec<Option<P>>,
    /// The bias that sums start from: index of the extra.
    start: Option<usize>,
    body: Body,
    types: Vec<Dtype>,
    lanes: usize,
    kernel: (usize, usize),
    /// Bytes from one tap, and one output, to the next, down and right.
    tap: (i64, i64),
    x_step: (i64, i64),
    c_step: (i64, i64),
    extra_step: Vec<(i64, i64)>,
    /// Bytes of the weights and column operands of one vector of channels.
    columns: Vec<usize>,
    resident: bool,
}

/// Emits the depthwise convolution of `job`; `image` starts at the first tap of the first window.
pub fn lower(job: &Job, image: &Place, window: &Window, builder: &mut Builder) -> bool {
    let Op::Conv { epilogue, .. } = job.op else { return false };
    let spatial = window.kernel.len();
    let Some(weights) = job.operands[1].constant() else { return false };
    let Some((extras, body)) = dot::extras(&job.operands[2..], epilogue, &job.shape, builder) else { return false };
    let memory = extras.iter().filter(|e| matches!(e, Extra::Memory { .. })).count();
    if memory > 2 {
        return false;
    }
    let facts = builder.facts;
    let lanes = facts.lanes();
    let channels = job.shape[spatial + 1];
    let rank = spatial + 2;
    let steps: Vec<Vec<i64>> = extras.iter().map(|e| dot::extra_steps(e, rank)).collect();
    let pair = |f: &dyn Fn(usize) -> i64| if spatial == 2 { (f(0), f(1)) } else { (0, f(0)) };
    let (out_y, out_x) = if spatial == 2 { (job.shape[1], job.shape[2]) } else { (1, job.shape[1]) };
    let kernel_size = if spatial == 2 { (window.kernel[0], window.kernel[1]) } else { (1, window.kernel[0]) };
    let taps = kernel_size.0 * kernel_size.1;
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
    let mut types = vec![Dtype::F32];
    types.extend(extras.iter().map(|e| match e {
        Extra::Columns(t) => t.dtype(),
        Extra::Memory { dtype, .. } => *dtype,
    }));
    let columns: Vec<usize> = (0..extras.len()).filter(|&i| matches!(extras[i], Extra::Columns(_))).collect();
    // weights stay in registers when at least eight sums, an element and an epilogue's temporaries still fit
    let resident = taps + 8 + 5 <= facts.vectors as usize;
    let (start, body) = dot::start_from_bias(&body, &extras);
    let plan = Plan {
        extras: &extras,
        pointers,
        start,
        body,
        types,
        lanes,
        kernel: kernel_size,
        tap: pair(&|i| image.strides[i + 1] * window.dilation[i] as i64 * 4),
        x_step: pair(&|i| image.strides[i + 1] * window.stride[i] as i64 * 4),
        c_step: pair(&|i| job.place.strides[i + 1] * 4),
        extra_step: steps.iter().map(|s| pair(&|i| s[i + 1])).collect(),
        columns,
        resident,
    };
    // [vector of channels][tap][lane], each vector's column operands behind its taps
    let vectors = channels.div_ceil(lanes);
    let flat = weights.reshape(&[taps, channels]);
    let part = |source: ir::Tensor| {
        let rows = source.shape()[0];
        Part::Layout { source, padded: vec![rows, vectors * lanes], split: vec![vec![rows], vec![vectors, lanes]], order: vec![1, 0, 2] }
    };
    let mut parts = vec![part(flat)];
    for &i in &plan.columns {
        let Extra::Columns(tensor) = &extras[i] else { continue };
        parts.push(part(tensor.reshape(&[1, channels])));
    }
    let packed = builder.constant(Packed { align: 64, parts: vec![Part::Interleave { groups: vectors, parts }] });

    // as many sums in flight as the epilogue leaves room for; where it leaves too little, they go to scratch first
    let widest = plan.most_columns(facts.vectors as usize);
    let fitting = (6..=widest).rev().find(|&columns| plan.fits(columns, None, builder));
    if fitting.is_none() && !plan.fits(widest, Some(P(next)), builder) {
        return false;
    }
    let (most, scratch) = match fitting {
        Some(columns) => (columns.min(out_x), None),
        None => (widest.min(out_x), Some(P(next))),
    };
    let group_bytes = (lanes * 4 * (taps + plan.columns.len())) as i64;
    let mut w = Writer::new();
    let batch = job.shape[0];
    let full = channels / lanes;
    let rest = channels % lanes;
    // blocks of channels, line by line in each: the lines that a window spans stay in L1 from one to the next
    let pixels = ((out_x - 1) as i64 * plan.x_step.1 + (kernel_size.1 as i64 - 1) * plan.tap.1) / (image.strides[spatial] * 4).max(1) + 1;
    let span = kernel_size.0 as u64 * pixels as u64 * u64::from(facts.vector_bytes);
    let block = ((facts.caches[0] / span.max(1)) as usize).max(64 / facts.vector_bytes as usize).min(vectors);
    let tail: Vec<(usize, usize)> = [(full % block, lanes), (usize::from(rest > 0), rest)].into_iter().filter(|t| t.0 > 0).collect();
    let blocks = [(full / block, vec![(block, lanes)]), (usize::from(!tail.is_empty()), tail)];
    let vector = (lanes * 4) as i64;
    let in_columns = |i: usize, by: i64| if matches!(extras[i], Extra::Memory { contiguous: true, .. }) { by } else { 0 };
    w.repeat(batch, |w| {
        for (times, parts) in &blocks {
            let inside: i64 = parts.iter().map(|p| p.0 as i64).sum();
            w.repeat(*times, |w| {
                w.repeat(out_y, |w| {
                    for &(count, valid) in parts {
                        w.repeat(count, |w| {
                            plan.line(out_x, most, valid, scratch, builder, w);
                            w.advance(X, vector);
                            w.advance(W, group_bytes);
                            w.advance(C, vector);
                            plan.each_extra(w, |i| in_columns(i, vector));
                        });
                    }
                    w.advance(X, plan.x_step.0 - inside * vector);
                    w.advance(W, -inside * group_bytes);
                    w.advance(C, plan.c_step.0 - inside * vector);
                    plan.each_extra(w, |i| plan.extra_step[i].0 - in_columns(i, inside * vector));
                });
                let lines = out_y as i64;
                w.advance(X, inside * vector - plan.x_step.0 * lines);
                w.advance(W, inside * group_bytes);
                w.advance(C, inside * vector - plan.c_step.0 * lines);
                plan.each_extra(w, |i| in_columns(i, inside * vector) - plan.extra_step[i].0 * lines);
            });
        }
        if batch > 1 {
            let all = vectors as i64 * vector;
            w.advance(X, image.strides[0] * 4 - all);
            w.advance(W, -(vectors as i64 * group_bytes));
            w.advance(C, job.place.strides[0] * 4 - all);
            plan.each_extra(w, |i| steps[i][0] - in_columns(i, all));
        }
    });
    let end = |first: i64, down: i64, right: i64| {
        first * (batch as i64 - 1) + down * (out_y as i64 - 1) + right * (out_x as i64 - 1) + channels as i64 * 4
    };
    let reach = (kernel_size.0 as i64 - 1) * plan.tap.0 + (kernel_size.1 as i64 - 1) * plan.tap.1;
    let mut args = vec![
        arg("x", Access::Read, 0, end(image.strides[0] * 4, plan.x_step.0, plan.x_step.1) + reach),
        arg("w", Access::Read, 0, vectors as i64 * group_bytes),
        arg("c", Access::ReadWrite, 0, end(job.place.strides[0] * 4, plan.c_step.0, plan.c_step.1)),
    ];
    let mut call = vec![Job::pointer(image, Dtype::F32), Pointer { buffer: packed, offset: 0 }, Job::pointer(&job.place, Dtype::F32)];
    for (i, extra) in extras.iter().enumerate() {
        if let Extra::Memory { place, dtype, contiguous } = extra {
            let high = end(steps[i][0], plan.extra_step[i].0, plan.extra_step[i].1) - if *contiguous { 0 } else { channels as i64 * 4 - 4 };
            args.push(arg("extra", Access::Read, 0, high));
            call.push(Job::pointer(place, *dtype));
        }
    }
    if scratch.is_some() {
        let bytes = (most * lanes * 4) as u64;
        let buffer = builder.buffer("sums", Home::Scratch, bytes);
        args.push(arg("sums", Access::ReadWrite, 0, bytes as i64));
        call.push(Pointer { buffer, offset: 0 });
    }
    let macs = (job.shape.iter().product::<usize>() * taps) as u64;
    builder.call(kernel(format!("depthwise_{}x{}", kernel_size.0, kernel_size.1), args, w), &call, macs);
    true
}

impl Plan<'_> {
    fn each_extra(&self, w: &mut Writer, by: impl Fn(usize) -> i64) {
        for (i, pointer) in self.pointers.iter().enumerate() {
            if let Some(p) = pointer {
                w.advance(*p, by(i));
            }
        }
    }

    /// Bytes from the weights of a vector of channels to an operand that lies behind them.
    fn column(&self, extra: usize) -> i64 {
        let which = self.columns.iter().position(|&k| k == extra).expect("it is one of the columns");
        ((self.kernel.0 * self.kernel.1 + which) * self.lanes * 4) as i64
    }

    /// Output columns in one tile.
    fn most_columns(&self, registers: usize) -> usize {
        let taps = self.kernel.0 * self.kernel.1;
        if self.resident { (registers - taps - 4).min(14) } else { (registers - 4).min(14) }
    }

    /// One output line of one vector of channels; pointers end where they began.
    fn line(&self, out_x: usize, most: usize, valid: usize, scratch: Option<P>, builder: &Builder, w: &mut Writer) {
        let mut pool = Pool::new(builder.facts);
        let taps = self.kernel.0 * self.kernel.1;
        let mut weights = Vec::new();
        if self.resident {
            for t in 0..taps {
                let to = pool.take().expect("the weights fit");
                w.push(Stmt::Load { to, at: at(W, (t * self.lanes * 4) as i64), lanes: self.lanes as u8 });
                weights.push(to);
            }
        }
        let tiles = out_x.div_ceil(most);
        let (size, larger) = (out_x / tiles, out_x % tiles);
        for (count, columns) in [(larger, size + 1), (tiles - larger, size)] {
            w.repeat(count, |w| {
                self.tile(columns, valid, &weights, scratch, pool.clone(), builder, w).expect("the epilogue was tried before");
                w.advance(X, self.x_step.1 * columns as i64);
                w.advance(C, self.c_step.1 * columns as i64);
                self.each_extra(w, |i| self.extra_step[i].1 * columns as i64);
            });
        }
        w.advance(X, -self.x_step.1 * out_x as i64);
        w.advance(C, -self.c_step.1 * out_x as i64);
        self.each_extra(w, |i| -self.extra_step[i].1 * out_x as i64);
    }

    #[allow(clippy::too_many_arguments)]
    fn tile(
        &self,
        columns: usize,
        valid: usize,
        weights: &[V],
        scratch: Option<P>,
        mut pool: Pool,
        builder: &Builder,
        w: &mut Writer,
    ) -> Result<(), crate::body::Pressure> {
        let facts = builder.facts;
        let take = |pool: &mut Pool| pool.take().ok_or(crate::body::Pressure);
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
        let in_memory = facts.menu.memory_operand && valid == self.lanes;
        let element = if in_memory { None } else { Some(take(&mut pool)?) };
        let weight = if weights.is_empty() { Some(take(&mut pool)?) } else { None };
        for ky in 0..self.kernel.0 {
            for kx in 0..self.kernel.1 {
                let t = ky * self.kernel.1 + kx;
                let tap = match weight {
                    Some(to) => {
                        w.push(Stmt::Load { to, at: at(W, (t * self.lanes * 4) as i64), lanes: self.lanes as u8 });
                        to
                    }
                    None => weights[t],
                };
                for (c, &acc) in sums.iter().enumerate() {
                    let from = at(X, ky as i64 * self.tap.0 + kx as i64 * self.tap.1 + c as i64 * self.x_step.1);
                    match element {
                        None => w.mul_add(acc, tap, Operand::Memory(from)),
                        Some(to) => {
                            w.push(Stmt::Load { to, at: from, lanes: valid as u8 });
                            w.mul_add(acc, tap, Operand::V(to));
                        }
                    }
                }
            }
        }
        for v in element.into_iter().chain(weight) {
            pool.give(v);
        }
        if let Some(scratch) = scratch {
            for (c, &from) in sums.iter().enumerate() {
                w.push(Stmt::Store { from, at: at(scratch, (c * self.lanes * 4) as i64), lanes: self.lanes as u8 });
                pool.give(from);
            }
        }
        let mut emitter = Emitter::new(facts);
        for (c, &sum) in sums.iter().enumerate() {
            let mut params = vec![match scratch {
                Some(p) => Param::Memory(at(p, (c * self.lanes * 4) as i64)),
                None => Param::Owned(sum),
            }];
            for (i, extra) in self.extras.iter().enumerate() {
                let offset = c as i64 * self.extra_step[i].1;
                params.push(match (extra, self.pointers[i]) {
                    (Extra::Memory { contiguous: true, .. }, Some(p)) => Param::Memory(at(p, offset)),
                    (Extra::Memory { .. }, Some(p)) => Param::Splat(at(p, offset)),
                    _ => Param::Memory(at(W, self.column(i))),
                });
            }
            let result = emitter.emit(&self.body, &self.types, &params, valid as u8, &mut pool, w)?;
            w.push(Stmt::Store { from: result, at: at(C, c as i64 * self.c_step.1), lanes: valid as u8 });
            pool.give(result);
        }
        emitter.finish(&mut pool);
        Ok(())
    }

    /// Whether the epilogue finds registers behind a full tile, whose sums may go to scratch first.
    fn fits(&self, columns: usize, scratch: Option<P>, builder: &Builder) -> bool {
        let mut pool = Pool::new(builder.facts);
        let weights: Vec<V> =
            if self.resident { (0..self.kernel.0 * self.kernel.1).filter_map(|_| pool.take()).collect() } else { Vec::new() };
        self.tile(columns, self.lanes, &weights, scratch, pool, builder, &mut Writer::new()).is_ok()
    }
}
