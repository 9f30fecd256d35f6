//! A convolution of an inflated image as plain ones. Results whose positions have the same remainder see the same
//! taps fall on elements, all others on the zeros between: each remainder is a convolution with these taps alone,
//! written to every so many places of the result.

use crate::build::Builder;
use crate::place::padded;
use crate::{Job, Source, Where, copy, generic};
use ir::graph::op::Op;
use ir::tensor::Tensor;

/// Along one axis: the results `first`, `first + inflate`, … and the taps that they see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Phase {
    first: usize,
    results: usize,
    /// Taps `tap`, `tap + apart`, …
    tap: usize,
    apart: usize,
    taps: usize,
    /// The element under the first tap of the first result, and elements from one tap to the next.
    element: i64,
    dilation: usize,
}

impl Phase {
    /// Elements that windows reach before the image of `extent` elements, and behind it.
    fn margin(&self, extent: usize) -> (usize, usize) {
        let last = self.element + (self.results - 1) as i64 + ((self.taps - 1) * self.dilation) as i64;
        ((-self.element).max(0) as usize, (last + 1 - extent as i64).max(0) as usize)
    }
}

/// The phases of one axis, for windows one apart; `None` where one of them sees nothing.
fn phases(results: usize, kernel: usize, dilation: usize, inflate: usize, low: i64) -> Option<Vec<Phase>> {
    let one = |first: usize| {
        let position = |tap: usize| (first + tap * dilation) as i64 - low;
        let hits: Vec<usize> = (0..kernel).filter(|&tap| position(tap) % inflate as i64 == 0).collect();
        let tap = *hits.first()?;
        let apart = hits.get(1).map_or(inflate, |next| next - tap);
        Some(Phase {
            first,
            results: (results - first).div_ceil(inflate),
            tap,
            apart,
            taps: hits.len(),
            element: position(tap) / inflate as i64,
            dilation: apart * dilation / inflate,
        })
    };
    (0..inflate.min(results)).map(one).collect()
}

/// Emits the convolution of `job`, whose image is inflated, if its windows are one apart and all see something.
pub fn lower(job: &Job, weights: &Tensor, builder: &mut Builder) -> bool {
    let Op::Conv { stride, dilation, inflate, low, group, fill, epilogue, .. } = job.op else { return false };
    let (x, spatial) = (&job.operands[0], stride.len());
    if stride.iter().any(|&s| s != 1) {
        return false;
    }
    let axis = |i: usize| phases(job.shape[i + 1], weights.shape()[i], dilation[i], inflate[i], low[i]);
    let Some(axes) = (0..spatial).map(axis).collect::<Option<Vec<_>>>() else { return false };
    let image = Source { at: Where::Place(with_margin(x, &axes, builder)), ..x.clone() };
    let mut all: Vec<Vec<Phase>> = vec![vec![]];
    for axis in &axes {
        all = all.iter().flat_map(|before| axis.iter().map(|&p| [before.as_slice(), &[p]].concat())).collect();
    }
    for phase in all {
        let weights = taps(weights, &phase);
        let weights = Source { shape: weights.shape().to_vec(), dtype: weights.dtype(), at: Where::Constant(&weights) };
        let constants: Vec<Option<Tensor>> =
            job.operands[2..].iter().map(|o| o.constant().map(|t| part_of_constant(t, &phase, inflate))).collect();
        let extras = job.operands[2..].iter().zip(&constants).map(|(o, constant)| part(o, constant.as_ref(), &phase, inflate));
        let (start, step, shape) = range(&job.shape, job.shape.len(), &phase, inflate);
        let op = Op::Conv {
            stride: stride.clone(),
            dilation: phase.iter().map(|p| p.dilation).collect(),
            inflate: vec![1; spatial],
            low: phase.iter().map(|p| -p.element).collect(),
            // windows end where the results do
            high: vec![0; spatial],
            group: *group,
            fill: *fill,
            epilogue: epilogue.clone(),
        };
        let operands = [image.clone(), weights].into_iter().chain(extras).collect();
        let piece = Job { op: &op, operands, shape, dtype: job.dtype, place: job.place.slice(&start, &step), blocked: None };
        if !super::lower(&piece, builder) && generic::lower(&piece, builder).is_err() {
            return false;
        }
    }
    true
}

/// The image with zeros wherever any phase leaves it.
fn with_margin(x: &Source, axes: &[Vec<Phase>], builder: &mut Builder) -> crate::place::Place {
    let widest = |(i, phases): (usize, &Vec<Phase>)| {
        let each = phases.iter().map(|p| p.margin(x.shape[i + 1]));
        each.fold((0, 0), |(low, high), (l, h)| (low.max(l), high.max(h)))
    };
    let margin: Vec<(usize, usize)> = axes.iter().enumerate().map(widest).collect();
    let place = x.place(builder);
    if margin.iter().all(|&m| m == (0, 0)) {
        return place;
    }
    let to = padded(builder, "padded".into(), x.dtype, &x.shape, &margin, 0);
    copy::copy(builder, x.dtype, &x.shape, &place, &to);
    to
}

/// The weights of the taps of a phase.
fn taps(weights: &Tensor, phase: &[Phase]) -> Tensor {
    let of = |own: &dyn Fn(&Phase) -> usize, rest: &[usize]| phase.iter().map(own).chain(rest.iter().copied()).collect::<Vec<usize>>();
    let channels = &weights.shape()[phase.len()..];
    let step: Vec<isize> = of(&|p| p.apart, &[1, 1]).iter().map(|&s| s as isize).collect();
    weights.slice(&of(&|p| p.tap, &[0, 0]), &step, &of(&|p| p.taps, channels))
}

/// Where a phase lies in an operand of `shape` that is broadcast to results with `rank` axes: start, step and extents.
fn range(shape: &[usize], rank: usize, phase: &[Phase], inflate: &[usize]) -> (Vec<i64>, Vec<i64>, Vec<usize>) {
    let (mut start, mut step, mut size) = (vec![0; shape.len()], vec![1; shape.len()], shape.to_vec());
    for (i, phase) in phase.iter().enumerate() {
        // an axis that the operand does not have, or that repeats, stays
        let own = (i + 1 + shape.len()).checked_sub(rank).filter(|&axis| shape[axis] != 1);
        if let Some(axis) = own {
            (start[axis], step[axis], size[axis]) = (phase.first as i64, inflate[i] as i64, phase.results);
        }
    }
    (start, step, size)
}

fn part_of_constant(tensor: &Tensor, phase: &[Phase], inflate: &[usize]) -> Tensor {
    let (start, step, size) = range(tensor.shape(), phase.len() + 2, phase, inflate);
    let start: Vec<usize> = start.iter().map(|&s| s as usize).collect();
    let step: Vec<isize> = step.iter().map(|&s| s as isize).collect();
    tensor.slice(&start, &step, &size)
}

/// The part of an epilogue's operand that belongs to a phase.
fn part<'g>(source: &Source<'g>, constant: Option<&'g Tensor>, phase: &[Phase], inflate: &[usize]) -> Source<'g> {
    let (start, step, shape) = range(&source.shape, phase.len() + 2, phase, inflate);
    let at = match (&source.at, constant) {
        (Where::Place(place), _) => Where::Place(place.slice(&start, &step)),
        (Where::Constant(whole), None) => Where::Constant(whole),
        (Where::Constant(_), Some(part)) => Where::Constant(part),
    };
    Source { shape, dtype: source.dtype, at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_see_every_tap_that_meets_an_element() {
        for (results, kernel, dilation, inflate, low) in
            [(6, 2, 1, 2, 1), (9, 3, 1, 2, 0), (11, 4, 1, 2, 2), (12, 5, 2, 3, 4), (7, 3, 3, 2, -1), (8, 4, 1, 4, 3), (5, 6, 1, 8, 2)]
        {
            let Some(phases) = phases(results, kernel, dilation, inflate, low) else { continue };
            for result in 0..results {
                let phase = phases[result % inflate];
                let mut seen: Vec<(usize, i64)> = Vec::new();
                for i in 0..phase.taps {
                    seen.push((phase.tap + i * phase.apart, phase.element + ((result / inflate) + i * phase.dilation) as i64));
                }
                let position = |tap: usize| (result + tap * dilation) as i64 - low;
                let want: Vec<(usize, i64)> =
                    (0..kernel).filter(|&t| position(t) % inflate as i64 == 0).map(|t| (t, position(t) / inflate as i64)).collect();
                assert_eq!(seen, want, "result {result} of {phases:?}");
            }
        }
        assert_eq!(phases(9, 1, 1, 2, 0), None);
    }
}
