//! Resampling with tables: sizes are fixed, so which source elements a result is made of, and their weights, are
//! computed here, for each axis by itself, as ONNX's reference implementation does it.

use super::moves::raw;
use super::terms::{cast, literal};
use super::writer::Writer;
use super::{Draft, Memory};
use crate::Job;
use crate::build::Builder;
use ir::graph::op::{Coordinate, Op, Real, ResizeMode};
use ir::kernel::Access;
use ir::kernel::scalar::{Binary, Unary, Value};
use ir::scalar::Literal;
use ir::scalar::lanes::encode;
use ir::{Dtype, Fault, Tensor};

/// One axis: its extents, and how they relate.
struct Axis {
    axis: usize,
    extent: usize,
    size: usize,
    scale: f64,
    /// Start and end, as shares of the source.
    roi: (f64, f64),
}

/// What every element of the result's axis is made of.
pub(crate) struct Taps {
    pub axis: usize,
    /// Taps of each element.
    pub count: usize,
    /// Source positions, `count` for each element.
    pub positions: Vec<i32>,
    pub weights: Vec<f64>,
    /// Elements outside the region that is cropped to.
    pub outside: Vec<bool>,
}

impl Axis {
    fn is_identity(&self) -> bool {
        let near = |x: f64| (x - 1.0).abs() <= 1e-9 * x.abs().max(1.0);
        near(self.scale) && self.size == self.extent && self.roi.0 == 0.0 && near(self.roi.1)
    }

    /// The source position of element `i`; none outside the region that is cropped to.
    fn position(&self, coordinate: Coordinate, i: usize) -> Option<f64> {
        let (x, extent, scale) = (i as f64, self.extent as f64, self.scale);
        // as ONNX means it: not rounded to whole elements
        let wide = scale * extent;
        let half = (x + 0.5) / scale - 0.5;
        Some(match coordinate {
            Coordinate::HalfPixel => half,
            Coordinate::HalfPixelSymmetric => extent / 2.0 * (1.0 - self.size as f64 / wide) + half,
            Coordinate::PytorchHalfPixel => {
                if wide == 1.0 {
                    -0.5
                } else {
                    half
                }
            }
            Coordinate::AlignCorners if wide == 1.0 => 0.0,
            Coordinate::AlignCorners => x * (extent - 1.0) / (wide - 1.0),
            Coordinate::Asymmetric => x / scale,
            Coordinate::TfHalfPixelForNn => (x + 0.5) / scale,
            Coordinate::TfCropAndResize => {
                let (start, end) = self.roi;
                let span = (end - start) * (extent - 1.0);
                let along = if wide == 1.0 { span / 2.0 } else { x * span / (wide - 1.0) };
                let at = along + start * (extent - 1.0);
                return (0.0..=extent - 1.0).contains(&at).then_some(at);
            }
        })
    }

    fn taps(&self, op: &Sampling) -> Taps {
        let mut taps = Taps { axis: self.axis, count: 0, positions: Vec::new(), weights: Vec::new(), outside: Vec::new() };
        for i in 0..self.size {
            let at = self.position(op.coordinate, i);
            taps.outside.push(at.is_none());
            // what is outside reads anything; it is not used
            let (first, weights) = weights(at.unwrap_or(0.0), self, op);
            taps.count = weights.len();
            taps.positions.extend((0..weights.len() as i64).map(|i| (first + i).clamp(0, self.extent as i64 - 1) as i32));
            taps.weights.extend(weights);
        }
        taps
    }
}

struct Sampling {
    mode: ResizeMode,
    coordinate: Coordinate,
    antialias: bool,
    exclude_outside: bool,
}

/// The first of the source elements around `at`, and the weights from there on.
fn weights(at: f64, axis: &Axis, op: &Sampling) -> (i64, Vec<f64>) {
    let (whole, rest) = (at.floor(), at - at.floor());
    let up = |up: bool| (whole as i64 + i64::from(up && rest > 0.0), vec![1.0]);
    // in (0, 1]: at a whole position the element to its left is the first neighbour
    let ratio = if rest == 0.0 { 1.0 } else { rest };
    let cubic = |a: f64| {
        if !op.antialias {
            return (-1..3).map(|i| keys(i as f64 - ratio, a)).collect();
        }
        let scale = axis.scale.min(1.0);
        let start = (-2.0 / scale).floor() as i64 + 1;
        normalised((start..2 - start).map(|i| keys(scale * (i as f64 - ratio), a)).collect())
    };
    let mut weights = match op.mode {
        ResizeMode::NearestRoundPreferFloor => return up(rest > 0.5),
        ResizeMode::NearestRoundPreferCeil => return up(rest >= 0.5),
        ResizeMode::NearestFloor => return up(false),
        ResizeMode::NearestCeil => return up(true),
        ResizeMode::Linear if !op.antialias => vec![1.0 - ratio, ratio],
        ResizeMode::Linear => {
            let scale = axis.scale.min(1.0);
            let start = (-1.0 / scale).floor() as i64 + 1;
            normalised((start..2 - start).map(|i| (1.0 - ((i as f64 - ratio) * scale).abs()).clamp(0.0, 1.0)).collect())
        }
        ResizeMode::Cubic75 => cubic(-0.75),
        ResizeMode::Cubic50 => cubic(-0.5),
    };
    // every filter has an even number of taps
    let first = whole as i64 - weights.len() as i64 / 2 + i64::from(rest != 0.0);
    if op.exclude_outside {
        for (i, weight) in weights.iter_mut().enumerate() {
            if !(0..axis.extent as i64).contains(&(first + i as i64)) {
                *weight = 0.0;
            }
        }
        if weights.iter().any(|&w| w != 0.0) {
            weights = normalised(weights);
        }
    }
    (first, weights)
}

fn normalised(weights: Vec<f64>) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
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

/// A value as one of `dtype`: integers are rounded, halves to even, and saturate.
fn saturated(dtype: Dtype, value: f64) -> Literal {
    match dtype.int_range() {
        Some((low, high)) => Literal::int(dtype, (value.round_ties_even() as i128).clamp(low, high) as i64),
        None if dtype == Dtype::Bool => Literal::bool(value != 0.0),
        None => Literal { dtype, bits: encode(dtype, value) },
    }
}

/// One resampled axis in the kernel: its tables, and how the source moves along it.
struct Table {
    count: usize,
    axis: usize,
    extent: i64,
    stride: i64,
    positions: Memory,
    /// None: every weight is 1.
    weights: Option<Memory>,
    outside: Option<Memory>,
}

/// Up to this many products of taps are written out; more are a loop.
const UNROLLED: usize = 16;

pub fn resize(job: &Job, builder: &mut Builder) -> Result<(), Fault> {
    let Op::Resize { mode, coordinate, scale, roi, antialias, exclude_outside, extrapolation, .. } = job.op else {
        unreachable!("called for resize")
    };
    let x = &job.operands[0];
    if x.shape.contains(&0) {
        return Err(Fault::invalid("an empty axis has no element to sample"));
    }
    let op = Sampling { mode: *mode, coordinate: *coordinate, antialias: *antialias, exclude_outside: *exclude_outside };
    let nearest = match mode {
        ResizeMode::NearestRoundPreferFloor | ResizeMode::NearestRoundPreferCeil => true,
        ResizeMode::NearestFloor | ResizeMode::NearestCeil => true,
        ResizeMode::Linear | ResizeMode::Cubic75 | ResizeMode::Cubic50 => false,
    };
    let taps = taps(job, scale, roi, &op);
    // sums of integers are exact in f64 up to 53 bits
    let inside = if x.dtype.is_float() && x.dtype != Dtype::F64 { Dtype::F32 } else { Dtype::F64 };
    let fill = saturated(x.dtype, extrapolation.0);
    let mut draft = Draft::new(builder);
    // nearest elements are moved as bits
    let moved = if nearest { raw(x.dtype.bytes()) } else { x.dtype };
    let place = x.place(draft.builder);
    let from = draft.at("from", Access::Read, moved, &x.shape, &place);
    let to = draft.at("to", Access::Write, moved, &job.shape, &job.place);
    let tables: Vec<Table> =
        taps.iter().map(|t| table(&mut draft, t, x.shape[t.axis] as i64, place.strides[t.axis], inside, nearest)).collect();
    let rank = job.shape.len();
    let split = tables.last().map_or(0, |t| t.axis + 1);
    let still = |i: usize| tables.iter().all(|t| t.axis != i);
    let from_walk: Vec<i64> = (0..rank).map(|i| if still(i) { place.strides[i] } else { 0 }).collect();
    let along: Vec<Vec<i64>> = tables.iter().map(|t| (0..split).map(|i| i64::from(i == t.axis)).collect()).collect();
    let mut walks: Vec<&[i64]> = vec![&job.place.strides[..split], &from_walk[..split]];
    walks.extend(along.iter().map(Vec::as_slice));
    let zero = draft.w.int(0);
    let products: usize = tables.iter().map(|t| t.count).product();
    let result = draft.axes(job);
    if let Some(t) = tables.iter().find(|t| result[t.axis].fixed().is_none()) {
        return Err(Fault::unsupported(format!("axis {} is resampled, and its size is known at run time only", t.axis)));
    }
    draft.w.nest(&result[..split], &walks, &vec![zero; walks.len()], &mut |w, at| {
        let gone = outside(w, &tables, &at[2..]);
        let taps = (nearest || products <= UNROLLED).then(|| written_out(w, &tables, &at[2..], at[1]));
        w.nest(&result[split..], &[&job.place.strides[split..], &from_walk[split..]], &[at[0], zero], &mut |w, inner| {
            let mut value = match &taps {
                Some(taps) if nearest => {
                    let at = w.add(taps[0].0, inner[1]);
                    w.load(from, at)
                }
                Some(taps) => {
                    let mut sum = None;
                    for &(start, weight) in taps {
                        let at = w.add(start, inner[1]);
                        let element = w.load(from, at);
                        let element = cast(w, x.dtype, inside, element);
                        sum = Some(match (sum, weight) {
                            (None, None) => element,
                            (None, Some(weight)) => w.binary(Binary::Mul, element, weight),
                            (Some(sum), Some(weight)) => w.mul_add(element, weight, sum),
                            (Some(sum), None) => w.binary(Binary::Add, sum, element),
                        });
                    }
                    let sum = sum.expect("every element has a tap");
                    rounded(w, inside, x.dtype, sum)
                }
                None => {
                    let start = w.add(at[1], inner[1]);
                    let sum = looped(w, &tables, &at[2..], start, from, inside, x.dtype);
                    rounded(w, inside, x.dtype, sum)
                }
            };
            if let Some(gone) = gone {
                let fill = if nearest { w.int(fill.bits as i64) } else { literal(w, fill) };
                value = w.select(gone, fill, value);
            }
            w.store(to, inner[0], value);
        });
    });
    draft.call("resize", 0);
    Ok(())
}

fn taps(job: &Job, scale: &[Real], roi: &[Real], op: &Sampling) -> Vec<Taps> {
    let (rank, from) = (job.shape.len(), &job.operands[0].shape);
    let axis = |i: usize| {
        let roi = if roi.is_empty() { (0.0, 1.0) } else { (roi[i].0, roi[rank + i].0) };
        Axis { axis: i, extent: from[i], size: job.shape[i], scale: scale[i].0, roi }
    };
    (0..rank).map(axis).filter(|a| !a.is_identity()).map(|a| a.taps(op)).collect()
}

/// The axes that a resize changes: what each of their elements is made of.
pub(crate) fn sources(job: &Job) -> Vec<Taps> {
    let Op::Resize { mode, coordinate, scale, roi, antialias, exclude_outside, .. } = job.op else { unreachable!("called for resize") };
    let op = Sampling { mode: *mode, coordinate: *coordinate, antialias: *antialias, exclude_outside: *exclude_outside };
    taps(job, scale, roi, &op)
}

fn table(draft: &mut Draft, taps: &Taps, extent: i64, stride: i64, inside: Dtype, nearest: bool) -> Table {
    let dense = |dtype: Dtype, bytes: Vec<u8>| Tensor::dense(dtype, &[bytes.len() / dtype.bytes()], bytes);
    let positions = dense(Dtype::I32, taps.positions.iter().flat_map(|p| p.to_le_bytes()).collect());
    let weights = dense(inside, taps.weights.iter().flat_map(|&w| Literal::number(inside, w).to_bytes()).collect());
    let outside = dense(Dtype::U8, taps.outside.iter().map(|&o| o as u8).collect());
    Table {
        count: taps.count,
        axis: taps.axis,
        extent,
        stride,
        positions: draft.table("positions", &positions),
        weights: (!nearest).then(|| draft.table("weights", &weights)),
        outside: taps.outside.contains(&true).then(|| draft.table("outside", &outside)),
    }
}

/// Whether the element is outside along some axis, if that can be.
fn outside(w: &mut Writer, tables: &[Table], at: &[Value]) -> Option<Value> {
    let mut any = None;
    for (table, &at) in tables.iter().zip(at) {
        if let Some(flags) = table.outside {
            let flag = w.load(flags, at);
            any = Some(any.map_or(flag, |other| w.binary(Binary::Or, other, flag)));
        }
    }
    any
}

/// A source offset and a weight (none: 1) for each product of taps.
fn written_out(w: &mut Writer, tables: &[Table], at: &[Value], start: Value) -> Vec<(Value, Option<Value>)> {
    let mut products = vec![(start, None)];
    for (table, &at) in tables.iter().zip(at) {
        let zero = w.int(0);
        let first = w.offset(zero, at, table.count as i64);
        let mut next = Vec::new();
        let mut taps = Vec::new();
        for i in 0..table.count {
            let i = w.int(i as i64);
            let entry = w.add(first, i);
            taps.push(tap(w, table, entry));
        }
        for &(start, weight) in &products {
            for &(position, own) in &taps {
                let start = w.offset(start, position, table.stride);
                let weight = product(w, weight, own);
                next.push((start, weight));
            }
        }
        products = next;
    }
    products
}

/// The source position of a tap, and its weight, unless that is 1.
fn tap(w: &mut Writer, table: &Table, entry: Value) -> (Value, Option<Value>) {
    let position = w.load(table.positions, entry);
    (w.require(position, table.extent), table.weights.map(|weights| w.load(weights, entry)))
}

fn product(w: &mut Writer, a: Option<Value>, b: Option<Value>) -> Option<Value> {
    match (a, b) {
        (Some(a), Some(b)) => Some(w.binary(Binary::Mul, a, b)),
        (a, b) => a.or(b),
    }
}

/// The weighted sum over all products of taps, as loops.
fn looped(w: &mut Writer, tables: &[Table], at: &[Value], start: Value, from: Memory, inside: Dtype, dtype: Dtype) -> Value {
    let none = literal(w, Literal::number(inside, 0.0));
    let sum = w.cell(none);
    axis_loop(w, tables, at, start, None, &mut |w, at, weight| {
        let (element, old) = (w.load(from, at), w.get(sum));
        let element = cast(w, dtype, inside, element);
        let new = match weight {
            Some(weight) => w.mul_add(element, weight, old),
            None => w.binary(Binary::Add, element, old),
        };
        w.put(sum, new);
    });
    w.get(sum)
}

type Tapped<'a> = &'a mut dyn FnMut(&mut Writer, Value, Option<Value>);

fn axis_loop(w: &mut Writer, tables: &[Table], at: &[Value], start: Value, weight: Option<Value>, body: Tapped) {
    let Some((table, rest)) = tables.split_first() else { return body(w, start, weight) };
    let zero = w.int(0);
    let first = w.offset(zero, at[0], table.count as i64);
    w.repeat(table.count, |w, i| {
        let entry = w.add(first, i);
        let (position, own) = tap(w, table, entry);
        let start = w.offset(start, position, table.stride);
        let weight = product(w, weight, own);
        axis_loop(w, rest, &at[1..], start, weight, body);
    });
}

/// The sum as an element: integers are rounded, halves to even, and saturate.
fn rounded(w: &mut Writer, inside: Dtype, dtype: Dtype, sum: Value) -> Value {
    let sum = if dtype.is_float() { sum } else { w.unary(Unary::Round, sum) };
    cast(w, inside, dtype, sum)
}
