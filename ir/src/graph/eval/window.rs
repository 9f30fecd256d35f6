//! Convolution and pooling over `[n, spatial.., c]` of any number of spatial axes.

use super::dot::{Rows, gemm};
use super::{Cell, with_cell};
use crate::graph::op::WindowKind;
use crate::scalar::Literal;
use crate::scalar::lanes::Wide;
use crate::tensor::Tensor;

/// How a window slides along one spatial axis.
pub struct Axis {
    /// Elements of the input.
    extent: usize,
    /// For each result and each tap the input's element; none between inflated elements and in the padding.
    taps: Vec<Vec<Option<usize>>>,
}

/// The spatial axes of `[n, spatial.., c]`.
pub fn axes(x: &[usize], size: &[usize], out: &[usize], stride: &[usize], dilation: &[usize], inflate: &[usize], low: &[i64]) -> Vec<Axis> {
    let axis = |i: usize| {
        let (extent, gap) = (x[i + 1], inflate[i] as i64);
        let source = |o: usize, t: usize| {
            let at = (o * stride[i] + t * dilation[i]) as i64 - low[i];
            let element = at.div_euclid(gap);
            (at.rem_euclid(gap) == 0 && (0..extent as i64).contains(&element)).then_some(element as usize)
        };
        Axis { extent, taps: (0..out[i + 1]).map(|o| (0..size[i]).map(|t| source(o, t)).collect()).collect() }
    };
    (0..size.len()).map(axis).collect()
}

/// For result position `at` (row-major over the spatial axes) the input position under every tap.
fn sources(axes: &[Axis], mut at: usize) -> Vec<Option<usize>> {
    let mut index = vec![0; axes.len()];
    for (i, axis) in axes.iter().enumerate().rev() {
        index[i] = at % axis.taps.len();
        at /= axis.taps.len();
    }
    let mut out = vec![Some(0)];
    for (axis, &i) in axes.iter().zip(&index) {
        let join = |from: &Option<usize>, tap: &Option<usize>| Some((*from)? * axis.extent + (*tap)?);
        out = out.iter().flat_map(|from| axis.taps[i].iter().map(move |tap| join(from, tap))).collect();
    }
    out
}

/// Operand 1 is `[kernel.., c / group, m]`; `fill` stands where there is no element.
pub fn conv(x: &Tensor, w: &Tensor, axes: &[Axis], group: usize, fill: Literal, shape: &[usize]) -> Wide {
    let one = Tensor::dense(fill.dtype, &[1], fill.to_bytes());
    with_cell!(x.dtype(), T => conv_in::<T>(x, w, axes, group, (fill.bits != 0).then(|| T::unpack(&one)[0]), shape))
}

fn conv_in<T: Cell>(x: &Tensor, w: &Tensor, axes: &[Axis], group: usize, fill: Option<T>, shape: &[usize]) -> Vec<T> {
    let (channels, m) = (x.shape()[x.shape().len() - 1], shape[shape.len() - 1]);
    let pixels: usize = shape[1..shape.len() - 1].iter().product();
    let image: usize = x.shape()[1..].iter().product();
    let mut out = vec![T::ZERO; shape.iter().product()];
    if out.is_empty() || channels == 0 {
        return out;
    }
    let (x, w) = (T::unpack(x), T::unpack(w));
    for (n, out) in out.chunks_exact_mut(pixels * m).enumerate() {
        let x = &x[n * image..][..image];
        if channels == group {
            depthwise(x, &w, axes, fill, channels, m, out);
        } else {
            grouped(x, &w, axes, fill, [channels, group, m], out);
        }
    }
    out
}

/// Some pixels at a time: what lies under their taps is laid out in rows, and a matrix product does the rest.
fn grouped<T: Cell>(x: &[T], w: &[T], axes: &[Axis], fill: Option<T>, [channels, group, m]: [usize; 3], out: &mut [T]) {
    const ROWS: usize = 32;
    let (each, wide) = (channels / group, m / group);
    let taps: usize = axes.iter().map(|a| a.taps[0].len()).product();
    let depth = taps * each;
    let mut patch = vec![T::ZERO; ROWS * depth];
    let mut first = 0;
    for out in out.chunks_mut(ROWS * m) {
        let rows = out.len() / m;
        let under: Vec<Vec<Option<usize>>> = (first..first + rows).map(|p| sources(axes, p)).collect();
        first += rows;
        for g in 0..group {
            let slots = patch.chunks_exact_mut(each);
            for (to, source) in slots.zip(under.iter().flatten()) {
                match source {
                    Some(at) => to.copy_from_slice(&x[at * channels + g * each..][..each]),
                    None => to.fill(fill.unwrap_or(T::ZERO)),
                }
            }
            let b = Rows { at: &w[g * wide..], pitch: m };
            gemm(Rows { at: &patch, pitch: depth }, rows, depth, b, wide, &mut out[g * wide..], m);
        }
    }
}

/// One input channel for each group.
fn depthwise<T: Cell>(x: &[T], w: &[T], axes: &[Axis], fill: Option<T>, channels: usize, m: usize, out: &mut [T]) {
    let each = m / channels;
    let outside = fill.map(|fill| vec![fill; channels]);
    for (p, out) in out.chunks_exact_mut(m).enumerate() {
        for (tap, source) in sources(axes, p).into_iter().enumerate() {
            let under = source.map(|at| &x[at * channels..][..channels]);
            let Some(x) = under.or(outside.as_deref()) else { continue };
            let w = &w[tap * m..][..m];
            if each == 1 {
                out.iter_mut().zip(x).zip(w).for_each(|((o, &x), &w)| *o = o.add(x.mul(w)));
            } else {
                let rows = out.chunks_exact_mut(each).zip(w.chunks_exact(each)).zip(x);
                rows.for_each(|((o, w), &x)| o.iter_mut().zip(w).for_each(|(o, &w)| *o = o.add(x.mul(w))));
            }
        }
    }
}

pub fn window(x: &Tensor, kind: WindowKind, axes: &[Axis], shape: &[usize]) -> Wide {
    with_cell!(x.dtype(), T => {
        let channels = shape[shape.len() - 1];
        let pixels: usize = shape[1..shape.len() - 1].iter().product();
        let image: usize = x.shape()[1..].iter().product();
        let start = match kind {
            WindowKind::Max => T::least(x.dtype()),
            WindowKind::Sum => T::ZERO,
        };
        let mut out: Vec<T> = vec![start; shape.iter().product()];
        if !out.is_empty() {
            let x = T::unpack(x);
            for (n, out) in out.chunks_exact_mut(pixels * channels).enumerate() {
                slide(&x[n * image..][..image], kind, axes, channels, out);
            }
        }
        out
    })
}

fn slide<T: Cell>(x: &[T], kind: WindowKind, axes: &[Axis], channels: usize, out: &mut [T]) {
    for (p, out) in out.chunks_exact_mut(channels).enumerate() {
        for at in sources(axes, p).into_iter().flatten() {
            let row = out.iter_mut().zip(&x[at * channels..][..channels]);
            match kind {
                WindowKind::Max => row.for_each(|(o, &x)| *o = o.max(x)),
                WindowKind::Sum => row.for_each(|(o, &x)| *o = o.add(x)),
            }
        }
    }
}
