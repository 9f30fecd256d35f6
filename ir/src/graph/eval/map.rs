//! Scalar bodies over whole tensors: `map`, prologues, epilogues. Operands that are smaller than the result are read
//! through strides of 0, a chunk at a time.

use crate::scalar::Body;
use crate::scalar::eval::Routine;
use crate::scalar::lanes::{Lanes, View, Wide};
use crate::tensor::{Dtype, Tensor, dense_strides};

/// An operand, unpacked.
struct Operand {
    lanes: Lanes,
    dtype: Dtype,
    shape: Vec<usize>,
}

fn operand(tensor: &Tensor) -> Operand {
    Operand { lanes: Lanes::of(tensor), dtype: tensor.dtype(), shape: tensor.shape().to_vec() }
}

pub fn map(body: &Body, operands: &[&Tensor], shape: &[usize]) -> Tensor {
    apply(body, operands.iter().map(|t| operand(t)).collect(), shape)
}

/// The operand as the operator sees it.
pub fn prologue(x: &Tensor, body: &Body) -> Tensor {
    if body.is_identity() { x.clone() } else { map(body, &[x], x.shape()) }
}

/// Rounds an operator's own result to its type and runs the epilogue over it.
pub fn finish(result: Wide, dtype: Dtype, shape: &[usize], epilogue: &Body, extra: &[&Tensor]) -> Tensor {
    finish_lanes(result.narrow(dtype), dtype, shape, epilogue, extra)
}

/// The epilogue over a result that is a tensor already.
pub fn finish_tensor(result: Tensor, epilogue: &Body, extra: &[&Tensor]) -> Tensor {
    if epilogue.is_identity() {
        return result;
    }
    finish_lanes(Lanes::of(&result), result.dtype(), result.shape(), epilogue, extra)
}

fn finish_lanes(lanes: Lanes, dtype: Dtype, shape: &[usize], epilogue: &Body, extra: &[&Tensor]) -> Tensor {
    if epilogue.is_identity() {
        return lanes.store(dtype, shape);
    }
    let own = Operand { lanes, dtype, shape: shape.to_vec() };
    apply(epilogue, std::iter::once(own).chain(extra.iter().map(|t| operand(t))).collect(), shape)
}

fn apply(body: &Body, operands: Vec<Operand>, shape: &[usize]) -> Tensor {
    let dtypes: Vec<Dtype> = operands.iter().map(|o| o.dtype).collect();
    if let Some((inner, to)) = body.before_bits()
        && to.is_float()
        && to.bytes() == 1
        && inner.result_type(&dtypes) == Ok(Dtype::U8)
    {
        return apply(&inner, operands, shape).bitcast(to);
    }
    let mut routine = Routine::new(body, &dtypes).expect("the body was verified");
    let mut feeds: Vec<Feed> = operands.into_iter().map(|o| Feed::new(o, shape)).collect();
    let (total, dtype) = (shape.iter().product::<usize>(), routine.dtype());
    let mut bytes = Vec::with_capacity(total * dtype.bytes());
    for start in (0..total).step_by(Routine::MOST) {
        let len = Routine::MOST.min(total - start);
        feeds.iter_mut().for_each(|f| f.fill(start, len));
        let views: Vec<View> = feeds.iter().map(|f| f.view(start, len)).collect();
        routine.run(&views, len).store(dtype, &mut bytes);
    }
    Tensor::dense(dtype, shape, bytes)
}

/// An operand read in the order of the result's elements.
struct Feed {
    lanes: Lanes,
    /// `(extent, stride)` of the result's axes over the operand, outermost first, joined where they allow it.
    axes: Vec<(usize, usize)>,
    chunk: Lanes,
}

impl Feed {
    fn new(operand: Operand, shape: &[usize]) -> Feed {
        let lead = shape.len() - operand.shape.len();
        let strides = dense_strides(&operand.shape);
        let mut axes: Vec<(usize, usize)> = Vec::new();
        for (i, &extent) in shape.iter().enumerate().rev().filter(|(_, n)| **n != 1) {
            let stride = if i < lead || operand.shape[i - lead] == 1 { 0 } else { strides[i - lead] as usize };
            match axes.last_mut() {
                Some((inner, step)) if stride == *inner * *step => *inner *= extent,
                _ => axes.push((extent, stride)),
            }
        }
        axes.reverse();
        let mut feed = Feed { chunk: Lanes::new(operand.dtype, 0), lanes: operand.lanes, axes };
        if !feed.is_whole() {
            feed.chunk = Lanes::new(operand.dtype, Routine::MOST);
        }
        feed
    }

    /// Whether the elements lie as the result's do.
    fn is_whole(&self) -> bool {
        matches!(self.axes[..], [] | [(_, 1)])
    }

    fn fill(&mut self, start: usize, len: usize) {
        // a single element is the same in every chunk
        if self.is_whole() || (start > 0 && matches!(self.axes[..], [(_, 0)])) {
            return;
        }
        match (&self.lanes, &mut self.chunk) {
            (Lanes::F32(from), Lanes::F32(to)) => spread(from, &self.axes, start, &mut to[..len]),
            (Lanes::F64(from), Lanes::F64(to)) => spread(from, &self.axes, start, &mut to[..len]),
            (Lanes::I64(from), Lanes::I64(to)) => spread(from, &self.axes, start, &mut to[..len]),
            (Lanes::U64(from), Lanes::U64(to)) => spread(from, &self.axes, start, &mut to[..len]),
            _ => unreachable!("the chunk was made for the operand's type"),
        }
    }

    fn view(&self, start: usize, len: usize) -> View<'_> {
        if self.is_whole() { self.lanes.view(start..start + len) } else { self.chunk.view(0..len) }
    }
}

/// Elements `start..` of the result's order into `to`, run by run along the innermost axis.
fn spread<T: Copy>(from: &[T], axes: &[(usize, usize)], start: usize, to: &mut [T]) {
    let mut index: Vec<usize> = vec![0; axes.len()];
    let (mut rest, mut at) = (start, 0);
    for (i, &(extent, stride)) in axes.iter().enumerate().rev() {
        index[i] = rest % extent;
        rest /= extent;
        at += index[i] * stride;
    }
    let last = axes.len() - 1;
    let (extent, stride) = axes[last];
    let mut done = 0;
    while done < to.len() {
        let run = (extent - index[last]).min(to.len() - done);
        let part = &mut to[done..done + run];
        match stride {
            0 => part.fill(from[at]),
            1 => part.copy_from_slice(&from[at..at + run]),
            _ => part.iter_mut().enumerate().for_each(|(k, t)| *t = from[at + k * stride]),
        }
        done += run;
        at -= index[last] * stride;
        index[last] = 0;
        for i in (0..last).rev() {
            index[i] += 1;
            at += axes[i].1;
            if index[i] < axes[i].0 {
                break;
            }
            at -= axes[i].0 * axes[i].1;
            index[i] = 0;
        }
    }
}
