//! Few filters and long windows: the results of several positions side by side are columns of one product. The window of
//! them all is only a little wider than that of one, and each column has zeros where its own window does not reach; so few
//! filters fill a vector, and the epilogue works on whole vectors.

use super::Window;
use crate::build::Builder;
use crate::cost::{Candidate, Rates};
use crate::place::Place;
use crate::{Job, Source, Where};
use ir::graph::op::Op;
use ir::kernel::Facts;
use ir::tensor::Tensor;
use ir::{Dtype, program};

/// Positions that are computed together, at most.
const MOST: usize = 16;

/// Emits the convolution of `job` that way, if it is predicted to pay; `image` starts at the first tap of the first window.
/// `None`: it does not pay. `Some(false)` leaves work behind that nobody reads.
pub fn lower(job: &Job, image: &Place, window: &Window, weights: &Tensor, builder: &mut Builder) -> Option<bool> {
    let Op::Conv { group: 1, epilogue, .. } = job.op else { return None };
    let axis = window.stride.len();
    let (n, positions) = (job.shape[axis + 1], job.shape[axis]);
    // a node that is lowered for several sizes has its weights once
    if window.dilation[axis - 1] != 1 || positions == 1 || !builder.when.is_empty() {
        return None;
    }
    let operands = &job.operands[2..];
    if !operands.iter().all(|o| joins(o, &job.shape, n)) {
        return None;
    }
    let sizes = Sizes {
        lines: job.shape[..axis].iter().product(),
        positions,
        filters: n,
        taps: window.kernel[axis - 1],
        stride: window.stride[axis - 1],
        deep: weights.shape()[..axis - 1].iter().product::<usize>() * weights.shape()[axis],
        terms: epilogue.terms.len(),
    };
    let together = sizes.choose(builder)?;
    if job.place.strides[axis] != n as i64 {
        return Some(super::aside(job, &|job, builder| all(job, image, window, weights, together, builder), builder));
    }
    Some(all(job, image, window, weights, together, builder))
}

/// Every position, so many of them together.
fn all(job: &Job, image: &Place, window: &Window, weights: &Tensor, together: usize, builder: &mut Builder) -> bool {
    let positions = job.shape[window.stride.len()];
    let (tiles, rest) = (positions / together, positions % together);
    let parts = [(0, tiles, together), (tiles * together, 1, rest)];
    parts.into_iter().filter(|p| p.1 * p.2 > 0).all(|p| part(job, image, window, weights, p, builder))
}

/// What decides how many positions are taken together.
struct Sizes {
    lines: usize,
    positions: usize,
    filters: usize,
    taps: usize,
    stride: usize,
    /// Steps of K for each tap.
    deep: usize,
    terms: usize,
}

impl Sizes {
    /// Seconds with so many positions together.
    fn seconds(&self, together: usize, facts: &Facts) -> f64 {
        let some = |tiles: usize, together: usize| {
            let vectors = (together * self.filters).div_ceil(facts.lanes());
            let depth = (self.taps + together.saturating_sub(1) * self.stride) * self.deep;
            // a term of the epilogue is about as long as a division
            (tiles * vectors) as f64 * ((depth * facts.lanes()) as f64 / facts.mul_adds() + 4.0 * self.terms as f64)
        };
        let cycles = some(self.positions / together, together) + some(1, self.positions % together);
        self.lines as f64 * cycles * Rates::of(facts).cycle(facts)
    }

    /// More than one, if that pays.
    fn choose(&self, builder: &mut Builder) -> Option<usize> {
        // levels that share weights cut alike
        let facts = builder.packing;
        let counts: Vec<usize> = (1..=MOST.min(self.positions)).filter(|p| *p == 1 || p * self.filters <= 4 * facts.lanes()).collect();
        let candidates: Vec<program::Candidate> = counts
            .iter()
            .map(|&p| match p {
                1 => Candidate::new("direct", self.seconds(p, facts)),
                _ => Candidate::new(format!("beside_{p}"), self.seconds(p, facts)),
            })
            .collect();
        if candidates.len() == 1 {
            return None;
        }
        let Sizes { lines, positions, filters, taps, stride, deep, .. } = self;
        let key = format!("conv f32 {lines}x{positions}x{filters} taps {taps}x{deep} stride {stride}");
        Some(counts[builder.choose(&key, &candidates)]).filter(|&p| p > 1)
    }
}

/// Whether an operand of the epilogue can be taken for several positions at once.
fn joins(operand: &Source, shape: &[usize], n: usize) -> bool {
    let one = operand.shape.iter().all(|&d| d == 1);
    match &operand.at {
        Where::Constant(tensor) => one || tensor.is_splat() || is_column(operand, n),
        Where::Place(place) => {
            let axis = shape.len() - 2;
            let follow = place.strides.last() == Some(&1) || n == 1;
            one || (operand.shape == shape && follow && place.strides[axis] == n as i64)
        }
    }
}

/// One value for each filter.
fn is_column(operand: &Source, n: usize) -> bool {
    operand.shape.last() == Some(&n) && operand.shape.iter().product::<usize>() == n
}

/// The positions from `first` on: `tiles` times `together` of them.
fn part(
    job: &Job,
    image: &Place,
    window: &Window,
    weights: &Tensor,
    (first, tiles, together): (usize, usize, usize),
    builder: &mut Builder,
) -> bool {
    let axis = window.stride.len();
    let rank = axis + 2;
    let n = job.shape[axis + 1];
    let start = |by: usize| (0..rank).map(|i| if i == axis { by as i64 } else { 0 }).collect::<Vec<i64>>();
    let joined = |place: &Place| {
        let mut place = place.slice(&start(first), &vec![1; rank]);
        place.strides[axis] *= together as i64;
        place.strides[axis + 1] = 1;
        place
    };
    let mut shape = job.shape.clone();
    (shape[axis], shape[axis + 1]) = (tiles, together * n);
    let repeated: Vec<Option<Tensor>> = job.operands[2..]
        .iter()
        .map(|o| {
            let tensor = o.constant().filter(|_| is_column(o, n))?;
            Some(tensor.reshape(&[1, n]).expand(&[together, n]).reshape(&[together * n]))
        })
        .collect();
    let extras = job.operands[2..].iter().zip(&repeated).map(|(o, repeated)| match (&o.at, repeated) {
        (_, Some(tensor)) => Source { shape: tensor.shape().to_vec(), dtype: o.dtype, at: Where::Constant(tensor) },
        (Where::Place(place), None) if o.shape == job.shape => {
            Source { shape: shape.clone(), dtype: o.dtype, at: Where::Place(joined(place)) }
        }
        (Where::Place(_) | Where::Constant(_), None) => o.clone(),
    });
    let wide = widen(weights, window.stride[axis - 1], together);
    let (mut stride, mut kernel) = (window.stride.to_vec(), window.kernel.to_vec());
    stride[axis - 1] *= together;
    kernel[axis - 1] = wide.shape()[axis - 1];
    let operands =
        job.operands[..1].iter().cloned().chain([Source { shape: wide.shape().to_vec(), dtype: Dtype::F32, at: Where::Constant(&wide) }]);
    let piece =
        Job { op: job.op, operands: operands.chain(extras).collect(), place: joined(&job.place), shape, dtype: job.dtype, blocked: None };
    let image = image.slice(&start(first * window.stride[axis - 1]), &vec![1; rank]);
    super::product(&piece, image, &Window { stride: &stride, kernel: &kernel, ..*window }, &wide, builder)
}

/// `[.., taps, c, n]` for each of so many positions, `stride` apart: `[.., taps + (together - 1) * stride, c, together * n]`.
fn widen(weights: &Tensor, stride: usize, together: usize) -> Tensor {
    let rank = weights.shape().len();
    let (taps, c, n) = (weights.shape()[rank - 3], weights.shape()[rank - 2], weights.shape()[rank - 1]);
    let lines: usize = weights.shape()[..rank - 3].iter().product();
    let wider = taps + (together - 1) * stride;
    let from = weights.to_f32s();
    let mut to = vec![0f32; lines * wider * c * together * n];
    for (row, values) in from.chunks_exact(n).enumerate() {
        let (line, tap, channel) = (row / (taps * c), row / c % taps, row % c);
        for position in 0..together {
            let row = (line * wider + tap + position * stride) * c + channel;
            to[(row * together + position) * n..][..n].copy_from_slice(values);
        }
    }
    let shape = [&weights.shape()[..rank - 3], &[wider, c, together * n]].concat();
    Tensor::f32s(&shape, &to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_stand_beside_themselves_a_stride_apart() {
        let wide = widen(&Tensor::f32s(&[3, 1, 1], &[1.0, 2.0, 3.0]), 2, 2);
        assert_eq!(wide.shape(), [5, 1, 2]);
        assert_eq!(wide.to_f32s(), [1.0, 0.0, 2.0, 0.0, 3.0, 1.0, 0.0, 2.0, 0.0, 3.0]);
    }
}
