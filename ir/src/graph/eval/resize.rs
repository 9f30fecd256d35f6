//! Resampling as ONNX's reference implementation does it: axis by axis, in f64, the filter's weights from the
//! distance to the source position, neighbours beyond the edge repeated.

use super::EvalError;
use super::shape::pick;
use crate::graph::op::{Coordinate, Real, ResizeMode};
use crate::scalar::Literal;
use crate::scalar::lanes::Wide;
use crate::tensor::{Dtype, Tensor};

/// What all axes share.
pub struct Sampling {
    pub mode: ResizeMode,
    pub coordinate: Coordinate,
    pub antialias: bool,
    pub exclude_outside: bool,
    pub extrapolation: f64,
}

/// One axis of the source and of the result.
struct Axis {
    extent: usize,
    size: usize,
    scale: f64,
    /// Start and end, as shares of the source.
    roi: (f64, f64),
}

impl Axis {
    /// Nothing happens along it.
    fn is_identity(&self) -> bool {
        let near = |x: f64| (x - 1.0).abs() <= 1e-9 * x.abs().max(1.0);
        near(self.scale) && self.size == self.extent && self.roi.0 == 0.0 && near(self.roi.1)
    }

    /// The source position of element `i` of the result; none outside the region that is cropped to.
    fn position(&self, coordinate: Coordinate, i: usize) -> Option<f64> {
        let (x, extent, scale) = (i as f64, self.extent as f64, self.scale);
        // as ONNX means it: not rounded to whole elements
        let wide = scale * extent;
        Some(match coordinate {
            Coordinate::HalfPixel => (x + 0.5) / scale - 0.5,
            Coordinate::HalfPixelSymmetric => {
                let offset = extent / 2.0 * (1.0 - self.size as f64 / wide);
                offset + (x + 0.5) / scale - 0.5
            }
            Coordinate::PytorchHalfPixel if wide == 1.0 => -0.5,
            Coordinate::PytorchHalfPixel => (x + 0.5) / scale - 0.5,
            Coordinate::AlignCorners if wide == 1.0 => 0.0,
            Coordinate::AlignCorners => x * (extent - 1.0) / (wide - 1.0),
            Coordinate::Asymmetric => x / scale,
            Coordinate::TfHalfPixelForNn => (x + 0.5) / scale,
            Coordinate::TfCropAndResize => {
                let (start, end) = self.roi;
                let along =
                    if wide == 1.0 { (end - start) * (extent - 1.0) / 2.0 } else { x * (end - start) * (extent - 1.0) / (wide - 1.0) };
                let at = along + start * (extent - 1.0);
                return (0.0..=extent - 1.0).contains(&at).then_some(at);
            }
        })
    }
}

/// `scale` and `shape` hold one number for each axis, `roi` nothing or all starts and then all ends.
/// Fault: an empty axis would have to be sampled.
pub fn resize(x: &Tensor, sampling: &Sampling, scale: &[Real], roi: &[Real], shape: &[usize]) -> Result<Tensor, EvalError> {
    let rank = shape.len();
    let axis = |i: usize| Axis {
        extent: x.shape()[i],
        size: shape[i],
        scale: scale[i].0,
        roi: if roi.is_empty() { (0.0, 1.0) } else { (roi[i].0, roi[rank + i].0) },
    };
    let axes: Vec<Axis> = (0..rank).map(axis).collect();
    if let Some(i) = axes.iter().position(|a| a.extent == 0 && a.size > 0) {
        return Err(EvalError::Data(format!("axis {i} of {} is empty: there is nothing to sample", x.ty())));
    }
    let a = match sampling.mode {
        ResizeMode::NearestRoundPreferFloor | ResizeMode::NearestRoundPreferCeil | ResizeMode::NearestFloor | ResizeMode::NearestCeil => {
            let maps: Vec<Vec<Option<usize>>> = axes.iter().map(|a| nearest(a, sampling)).collect();
            let fill = saturated(x.dtype(), sampling.extrapolation);
            return Ok(pick(x, &maps, &fill.to_bytes()));
        }
        ResizeMode::Linear => None,
        ResizeMode::Cubic75 => Some(-0.75),
        ResizeMode::Cubic50 => Some(-0.5),
    };
    let mut data = x.to_f64s();
    for (i, axis) in axes.iter().enumerate().filter(|(_, a)| !a.is_identity()) {
        let inner = x.shape()[i + 1..].iter().product();
        data = interpolate(&data, axis, inner, sampling, a);
    }
    Ok(stored(x.dtype(), data, shape))
}

fn nearest(axis: &Axis, sampling: &Sampling) -> Vec<Option<usize>> {
    if axis.is_identity() {
        return (0..axis.size).map(Some).collect();
    }
    let source = |i: usize| {
        let at = axis.position(sampling.coordinate, i)?;
        let (whole, rest) = (at.floor(), at - at.floor());
        let up = rest > 0.0
            && match sampling.mode {
                ResizeMode::NearestRoundPreferFloor => rest > 0.5,
                ResizeMode::NearestRoundPreferCeil => rest >= 0.5,
                ResizeMode::NearestCeil => true,
                ResizeMode::NearestFloor | ResizeMode::Linear | ResizeMode::Cubic75 | ResizeMode::Cubic50 => false,
            };
        let element = whole + if up { 1.0 } else { 0.0 };
        Some(element.clamp(0.0, (axis.extent - 1) as f64) as usize)
    };
    (0..axis.size).map(source).collect()
}

/// One axis of `[outer, extent, inner]` resampled.
fn interpolate(data: &[f64], axis: &Axis, inner: usize, sampling: &Sampling, cubic: Option<f64>) -> Vec<f64> {
    let taps: Vec<Option<Vec<(usize, f64)>>> =
        (0..axis.size).map(|i| axis.position(sampling.coordinate, i).map(|at| weights(at, axis, sampling, cubic))).collect();
    let outer = data.len() / (axis.extent * inner).max(1);
    let mut out = Vec::with_capacity(outer * axis.size * inner);
    for o in 0..outer {
        for taps in &taps {
            let start = out.len();
            let Some(taps) = taps else {
                out.resize(start + inner, sampling.extrapolation);
                continue;
            };
            out.resize(start + inner, 0.0);
            for &(at, weight) in taps {
                let from = &data[(o * axis.extent + at) * inner..][..inner];
                out[start..].iter_mut().zip(from).for_each(|(sum, x)| *sum += x * weight);
            }
        }
    }
    out
}

/// The source elements around `at` and their weights.
fn weights(at: f64, axis: &Axis, sampling: &Sampling, cubic: Option<f64>) -> Vec<(usize, f64)> {
    // in (0, 1]: at a whole position the element to its left is the first neighbour
    let ratio = if at == at.floor() { 1.0 } else { at - at.floor() };
    let mut weights = match (cubic, sampling.antialias) {
        (None, false) => vec![1.0 - ratio, ratio],
        (None, true) => linear_antialias(ratio, axis.scale),
        (Some(a), false) => (-1..3).map(|i| keys(i as f64 - ratio, a)).collect(),
        (Some(a), true) => cubic_antialias(ratio, axis.scale, a),
    };
    // every filter has an even number of taps
    let half = (weights.len() / 2) as i64;
    let first = at.floor() as i64 - half + i64::from(ratio != 1.0);
    if sampling.exclude_outside {
        for (i, weight) in weights.iter_mut().enumerate() {
            if !(0..axis.extent as i64).contains(&(first + i as i64)) {
                *weight = 0.0;
            }
        }
        let sum: f64 = weights.iter().sum();
        let sum = if sum == 0.0 { 1.0 } else { sum };
        weights.iter_mut().for_each(|w| *w /= sum);
    }
    let clamped = |i: usize| (first + i as i64).clamp(0, axis.extent as i64 - 1) as usize;
    weights.into_iter().enumerate().map(|(i, w)| (clamped(i), w)).collect()
}

/// Keys' cubic kernel. After: R. Keys 1981, "Cubic convolution interpolation for digital image processing".
fn keys(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

fn cubic_antialias(ratio: f64, scale: f64, a: f64) -> Vec<f64> {
    let scale = scale.min(1.0);
    let start = (-2.0 / scale).floor() as i64 + 1;
    normalised((start..2 - start).map(|i| keys(scale * (i as f64 - ratio), a)).collect())
}

fn linear_antialias(ratio: f64, scale: f64) -> Vec<f64> {
    let scale = scale.min(1.0);
    let start = (-1.0 / scale).floor() as i64 + 1;
    normalised((start..2 - start).map(|i| (1.0 - ((i as f64 - ratio) * scale).abs()).clamp(0.0, 1.0)).collect())
}

fn normalised(weights: Vec<f64>) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

/// Integers are rounded, halves to even, and saturate.
fn saturated(dtype: Dtype, value: f64) -> Literal {
    match dtype.int_range() {
        Some((low, high)) => Literal::int(dtype, (value.round_ties_even() as i128).clamp(low, high) as i64),
        None => Literal::number(dtype, value),
    }
}

fn stored(dtype: Dtype, data: Vec<f64>, shape: &[usize]) -> Tensor {
    if dtype.is_float() {
        return Wide::F64(data).narrow(dtype).store(dtype, shape);
    }
    let mut bytes = Vec::with_capacity(data.len() * dtype.bytes());
    data.iter().for_each(|&x| bytes.extend(saturated(dtype, x).to_bytes()));
    Tensor::dense(dtype, shape, bytes)
}
