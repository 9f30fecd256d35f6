//! A correct scalar kernel for every operator, element type, stride and broadcast: what the vector paths do not
//! take. Sums and products of floats are accumulated in f64 and rounded once; floats below 32 bits compute in f32
//! and are rounded after every term.

mod choices;
mod folds;
mod gather;
#[cfg(test)]
pub(crate) mod harness;
mod moves;
pub(crate) mod open;
mod products;
pub(crate) mod resize;
mod scatter;
mod small;
mod sort;
mod terms;
#[cfg(test)]
mod tests;
mod writer;

pub use moves::{copy_kernel, fill_kernel};
pub use writer::coalesce;

use crate::build::{Builder, Pointer};
use crate::extent::Extent;
use crate::place::Place;
use crate::{Job, Source, copy};
use ir::graph::op::Op;
use ir::kernel::Access;
use ir::kernel::scalar::Value;
use ir::scalar::{Arg, Body, Literal};
use ir::{Dtype, Fault};
use terms::Terms;
use writer::{Memory, Writer};

/// Lowers one node to scalar kernels. Fault: the largest or smallest element, or a sample, of an empty axis.
pub fn lower(job: &Job, builder: &mut Builder) -> Result<(), Fault> {
    if let Op::Compact { length } = job.op {
        choices::compact(job, length, builder);
        return Ok(());
    }
    if job.shape.contains(&0) {
        return Ok(());
    }
    match job.op {
        Op::Map { body } => map(job, body, builder),
        Op::Dot { .. } => job.on_floats(|job| products::dot(job, builder)),
        Op::Conv { .. } => products::conv(job, builder),
        Op::Window { .. } => products::window(job, builder),
        Op::Reduce { .. } => folds::reduce(job, builder),
        Op::ArgReduce { .. } => return folds::argreduce(job, builder),
        Op::Cumulate { .. } => folds::cumulate(job, builder),
        Op::Sort { .. } => sort::sort(job, builder),
        Op::Scatter { .. } => scatter::scatter(job, builder),
        Op::Softmax { .. } => folds::softmax(job, builder),
        Op::Norm { .. } => folds::norm(job, builder),
        Op::Attention { .. } => return crate::attention::apart(job, builder),
        Op::Gather { axis } => gather::gather(job, *axis, builder),
        Op::Resize { .. } => return resize::resize(job, builder),
        Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Pad { .. } | Op::Concat { .. } | Op::Expand { .. } => {
            return if builder.open.is_some() { open::lower(job, builder) } else { copy::lower(job, builder) };
        }
        Op::Quantize { .. } | Op::Dequantize { .. } => {
            return Err(Fault::unsupported("it is to be a map before it is lowered").help("run the pass `expand`"));
        }
        Op::Suppress { .. } => choices::suppress(job, builder),
        // a scan is no job: `scan` lowers it
        Op::Input { .. } | Op::Const { .. } | Op::Compact { .. } | Op::Scan { .. } | Op::Take { .. } => {}
    }
    Ok(())
}

/// Strides of an operand of `shape` over the axes of `result`, to which it broadcasts.
fn broadcast(place: &Place, shape: &[usize], result: &[usize]) -> Vec<i64> {
    let lead = result.len() - shape.len();
    (0..result.len()).map(|i| if i < lead || shape[i - lead] == 1 { 0 } else { place.strides[i - lead] }).collect()
}

/// A kernel being written for a job, with the call's arguments.
struct Draft<'b, 'a> {
    w: Writer,
    builder: &'b mut Builder<'a>,
    pointers: Vec<Pointer>,
}

impl<'b, 'a> Draft<'b, 'a> {
    fn new(builder: &'b mut Builder<'a>) -> Draft<'b, 'a> {
        Draft { w: Writer::with(&builder.symbols), builder, pointers: Vec::new() }
    }

    fn fused(&self) -> bool {
        self.builder.facts.fused
    }

    /// The result's axes.
    fn axes(&self, job: &Job) -> Vec<Extent> {
        self.builder.result_extents(&job.shape)
    }

    /// The axes of an operand.
    fn axes_of(&self, job: &Job, operand: usize) -> Vec<Extent> {
        self.builder.operand_extents(operand, &job.operands[operand].shape)
    }

    /// An operand, and where its elements lie.
    fn read(&mut self, name: &str, source: &Source) -> (Memory, Place) {
        let place = source.place(self.builder);
        (self.at(name, Access::Read, source.dtype, &source.shape, &place), place)
    }

    fn at(&mut self, name: &str, access: Access, dtype: Dtype, shape: &[usize], place: &Place) -> Memory {
        self.pointers.push(Job::pointer(place, dtype));
        self.w.memory(name, access, dtype, shape, &place.strides)
    }

    /// A table of constants, one after the other.
    fn table(&mut self, name: &str, tensor: &ir::Tensor) -> Memory {
        let place = self.builder.dense_constant(tensor);
        self.at(name, Access::Read, tensor.dtype(), tensor.shape(), &place)
    }

    /// The job's result.
    fn result(&mut self, job: &Job, access: Access) -> Memory {
        self.at("to", access, job.dtype, &job.shape, &job.place)
    }

    fn call(mut self, name: &str, macs: u64) {
        if let Some(arg) = self.w.symbols_arg() {
            let buffer = self.builder.symbol_values();
            self.pointers.insert(arg, Pointer { buffer, offset: 0 });
        }
        let kernel = self.w.finish(name);
        self.builder.call(kernel, &self.pointers, macs);
    }
}

/// What happens to each element of a result before it is stored: the epilogue, with operands broadcast to it.
struct Tail {
    terms: Terms,
    operands: Vec<(Memory, Vec<i64>)>,
}

impl Tail {
    /// `own` operands belong to the operator itself, whose results are of type `dtype`. Splat constants
    /// become literals.
    fn new(draft: &mut Draft, job: &Job, own: usize, dtype: Dtype, body: &Body) -> Tail {
        let (body, kept) = with_literals(body, &job.operands[own..], 1);
        let dtypes: Vec<Dtype> = std::iter::once(dtype).chain(kept.iter().map(|s| s.dtype)).collect();
        let terms = Terms::new(&body, &dtypes, draft.fused());
        let operands = kept.into_iter().map(|source| {
            let (memory, place) = draft.read("with", source);
            (memory, broadcast(&place, &source.shape, &job.shape))
        });
        Tail { terms, operands: operands.collect() }
    }

    /// Strides of the operands along the result's axes.
    fn walks(&self) -> Vec<&[i64]> {
        self.operands.iter().map(|(_, strides)| strides.as_slice()).collect()
    }

    fn emit(&self, w: &mut Writer, value: Value, at: &[Value]) -> Value {
        let mut params = vec![value];
        params.extend(self.operands.iter().zip(at).map(|((memory, _), &at)| w.load(*memory, at)));
        self.terms.emit(w, &params)
    }
}

/// `body` with those operands that are one element repeated bound to it, and the operands that are left. The
/// first `skip` parameters are not among `operands`.
fn with_literals<'s, 'g>(body: &Body, operands: &'s [Source<'g>], skip: u8) -> (Body, Vec<&'s Source<'g>>) {
    let mut kept = Vec::new();
    let mut args: Vec<Arg> = (0..skip).map(Arg::Param).collect();
    for source in operands {
        match source.constant().filter(|t| t.is_splat() && t.elements() > 0) {
            Some(tensor) => {
                let rank = tensor.shape().len();
                let one = tensor.slice(&vec![0; rank], &vec![1; rank], &vec![1; rank]);
                args.push(Arg::Literal(Literal::from_bytes(source.dtype, &one.bytes())));
            }
            None => {
                args.push(Arg::Param(skip + kept.len() as u8));
                kept.push(source);
            }
        }
    }
    let mut out = Body { params: skip + kept.len() as u8, terms: Vec::new(), result: Arg::Param(0) };
    out.result = out.inline(body, &args);
    (out, kept)
}

fn map(job: &Job, body: &Body, builder: &mut Builder) {
    let mut draft = Draft::new(builder);
    let (body, kept) = with_literals(body, &job.operands, 0);
    let dtypes: Vec<Dtype> = kept.iter().map(|s| s.dtype).collect();
    // bytes that become small floats are stored as they are
    let small = |(inner, to): &(Body, Dtype)| to.is_float() && to.bytes() == 1 && inner.result_type(&dtypes) == Ok(Dtype::U8);
    let (body, dtype) = body.before_bits().filter(small).map_or((body, job.dtype), |(inner, _)| (inner, Dtype::U8));
    let terms = Terms::new(&body, &dtypes, draft.fused());
    if let Some(i) = terms.moved().filter(|_| draft.builder.open.is_none()) {
        let from = kept[i].place(draft.builder);
        let seen = Place { strides: broadcast(&from, &kept[i].shape, &job.shape), ..from };
        return copy::copy(draft.builder, job.dtype, &job.shape, &seen, &job.place);
    }
    let to = draft.at("to", Access::Write, dtype, &job.shape, &job.place);
    let mut walks = vec![job.place.strides.clone()];
    let mut from = Vec::new();
    for source in kept {
        let (memory, place) = draft.read("from", source);
        walks.push(broadcast(&place, &source.shape, &job.shape));
        from.push(memory);
    }
    let walks: Vec<&[i64]> = walks.iter().map(Vec::as_slice).collect();
    let zeros = vec![draft.w.int(0); walks.len()];
    let axes = draft.axes(job);
    draft.w.nest(&axes, &walks, &zeros, &mut |w, at| {
        let params: Vec<Value> = from.iter().zip(&at[1..]).map(|(&memory, &at)| w.load(memory, at)).collect();
        let value = terms.emit(w, &params);
        w.store(to, at[0], value);
    });
    draft.call("map", 0);
}

/// The strides of `place` along `axes`, elsewhere 0; and the other way round.
fn split(strides: &[i64], inner: &[usize]) -> (Vec<i64>, Vec<i64>) {
    let part = |inside: bool| (0..strides.len()).map(|i| if inner.contains(&i) == inside { strides[i] } else { 0 }).collect();
    (part(false), part(true))
}

/// `shape` with the other axes' extents 1: without `axes`, and only `axes`.
fn split_shape(shape: &[Extent], axes: &[usize]) -> (Vec<Extent>, Vec<Extent>) {
    let part = |inside: bool| (0..shape.len()).map(|i| if axes.contains(&i) == inside { shape[i].clone() } else { 1.into() }).collect();
    (part(false), part(true))
}
