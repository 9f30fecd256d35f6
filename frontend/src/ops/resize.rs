//! Resampling: Resize in all its opsets, and Upsample, which was it before.

use ir::graph::op::{Coordinate, Real, ResizeMode};
use ir::{Dim, Fault, Op};

use crate::build::Value;
use crate::cx::{Cx, Made, axes, must_be};

/// What a resize is asked for, for every axis of the operand.
struct Target {
    scale: Vec<f64>,
    shape: Vec<Dim>,
}

/// Sizes from factors. Fault: a factor that is not a positive number.
fn by_scales(x: &Value, along: &[usize], scales: &[f64]) -> Result<Target, Fault> {
    if scales.len() != along.len() {
        return Err(Fault::invalid(format!("{} scales do not fit {} axes", scales.len(), along.len())));
    }
    let mut target = Target { scale: vec![1.0; x.rank()], shape: x.shape().to_vec() };
    for (&axis, &scale) in along.iter().zip(scales) {
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(Fault::invalid(format!("the scale {scale} of axis {axis} is not a positive number")));
        }
        target.scale[axis] = scale;
        if scale == 1.0 {
            continue;
        }
        target.shape[axis] = match x.shape()[axis].fixed() {
            Some(n) => Dim::from((n as f64 * scale).floor() as i64),
            None if scale.fract() == 0.0 && scale < 1e9 => x.shape()[axis].clone() * Dim::from(scale as i64),
            None => {
                x.size(axis)?;
                continue;
            }
        };
    }
    Ok(target)
}

/// How sizes that would change the aspect ratio are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aspect {
    Stretch,
    NotLarger,
    NotSmaller,
}

fn by_sizes(x: &Value, along: &[usize], sizes: &[i64], aspect: Aspect) -> Result<Target, Fault> {
    if sizes.len() != along.len() {
        return Err(Fault::invalid(format!("{} sizes do not fit {} axes", sizes.len(), along.len())));
    }
    let mut target = Target { scale: vec![1.0; x.rank()], shape: x.shape().to_vec() };
    for (&axis, &size) in along.iter().zip(sizes) {
        let extent = x.size(axis)?;
        if size < 1 || extent == 0 {
            return Err(Fault::invalid(format!("axis {axis} of {} cannot get the size {size}", x.ty)));
        }
        target.scale[axis] = size as f64 / extent as f64;
        target.shape[axis] = Dim::from(size);
    }
    let factors = along.iter().map(|&axis| target.scale[axis]);
    let common = match aspect {
        Aspect::Stretch => return Ok(target),
        Aspect::NotLarger => factors.fold(f64::INFINITY, f64::min),
        Aspect::NotSmaller => factors.fold(0.0, f64::max),
    };
    for &axis in along {
        target.scale[axis] = common;
        target.shape[axis] = Dim::from((common * x.size(axis)? as f64 + 0.5).floor() as i64);
    }
    Ok(target)
}

/// Everything else that says how elements are read.
struct Reading {
    mode: ResizeMode,
    coordinate: Coordinate,
    roi: Vec<f64>,
    antialias: bool,
    exclude_outside: bool,
    extrapolation: f64,
}

/// Images whose batch and channels keep their size are resampled with channels last.
fn resample(cx: &mut Cx, x: &Value, target: Target, reading: Reading) -> Made {
    let image = x.rank() >= 3 && target.scale[..2].iter().all(|s| *s == 1.0);
    let order: Vec<usize> = match image {
        true => std::iter::once(0).chain(2..x.rank()).chain([1]).collect(),
        false => (0..x.rank()).collect(),
    };
    let inputs = cx.transpose(x, &order)?;
    let roi = match reading.roi.len() {
        0 => Vec::new(),
        _ => order.iter().copied().chain(order.iter().map(|i| i + x.rank())).map(|i| Real(reading.roi[i])).collect(),
    };
    let op = Op::Resize {
        mode: reading.mode,
        coordinate: reading.coordinate,
        scale: order.iter().map(|&i| Real(target.scale[i])).collect(),
        roi,
        shape: order.iter().map(|&i| target.shape[i].clone()).collect(),
        antialias: reading.antialias,
        exclude_outside: reading.exclude_outside,
        extrapolation: Real(reading.extrapolation),
    };
    let made = cx.add(op, &[&inputs])?;
    Ok(vec![if image { cx.channels_first(&made)? } else { made }])
}

pub fn resize(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    must_be(x.rank() > 0, "a number cannot be resized", &x)?;
    let early = cx.version < 11;
    let default = if early { Coordinate::Asymmetric } else { Coordinate::HalfPixel };
    let words = [
        ("half_pixel", Coordinate::HalfPixel),
        ("half_pixel_symmetric", Coordinate::HalfPixelSymmetric),
        ("pytorch_half_pixel", Coordinate::PytorchHalfPixel),
        ("align_corners", Coordinate::AlignCorners),
        ("asymmetric", Coordinate::Asymmetric),
        ("tf_half_pixel_for_nn", Coordinate::TfHalfPixelForNn),
        ("tf_crop_and_resize", Coordinate::TfCropAndResize),
    ];
    let coordinate = cx.attrs.choice("coordinate_transformation_mode", default, &words)?;
    let default = if early { ResizeMode::NearestFloor } else { ResizeMode::NearestRoundPreferFloor };
    let words = [
        ("round_prefer_floor", ResizeMode::NearestRoundPreferFloor),
        ("round_prefer_ceil", ResizeMode::NearestRoundPreferCeil),
        ("floor", ResizeMode::NearestFloor),
        ("ceil", ResizeMode::NearestCeil),
    ];
    let nearest = cx.attrs.choice("nearest_mode", default, &words)?;
    let coefficient = cx.attrs.float_or("cubic_coeff_a", -0.75)?;
    let cubic = match coefficient {
        -0.75 => Some(ResizeMode::Cubic75),
        -0.5 => Some(ResizeMode::Cubic50),
        _ => None,
    };
    let words = [("nearest", Some(nearest)), ("linear", Some(ResizeMode::Linear)), ("cubic", cubic)];
    let Some(mode) = cx.attrs.choice("mode", Some(nearest), &words)? else {
        return Err(Fault::unsupported(format!("the cubic coefficient {coefficient} is not supported")));
    };
    let aspect = [("stretch", Aspect::Stretch), ("not_larger", Aspect::NotLarger), ("not_smaller", Aspect::NotSmaller)];
    let aspect = cx.attrs.choice("keep_aspect_ratio_policy", Aspect::Stretch, &aspect)?;
    let along = match cx.attrs.ints("axes")? {
        Some(list) => axes(list, x.rank())?,
        None => (0..x.rank()).collect(),
    };
    let (scales_at, sizes_at) = if early { (1, 3) } else { (2, 3) };
    let scales = cx.known_input(scales_at)?.filter(|t| t.elements() > 0);
    let sizes = cx.ints_input(sizes_at)?.filter(|list| !list.is_empty());
    let target = match (scales, sizes) {
        (Some(scales), None) => by_scales(&x, &along, &scales.to_f64s())?,
        (None, Some(sizes)) => by_sizes(&x, &along, &sizes, aspect)?,
        (Some(_), Some(_)) => return Err(Fault::invalid("it has scales and also sizes")),
        (None, None) => return Err(Fault::invalid("it has neither scales nor sizes")),
    };
    let mut roi = Vec::new();
    if coordinate == Coordinate::TfCropAndResize {
        let given = cx.known_input(1)?.map(|t| t.to_f64s()).unwrap_or_default();
        if given.len() != 2 * along.len() {
            return Err(Fault::invalid(format!("the region has {} numbers for {} axes", given.len(), along.len())));
        }
        roi = std::iter::repeat_n(0.0, x.rank()).chain(std::iter::repeat_n(1.0, x.rank())).collect();
        for (i, &axis) in along.iter().enumerate() {
            (roi[axis], roi[axis + x.rank()]) = (given[i], given[i + along.len()]);
        }
    }
    let reading = Reading {
        mode,
        coordinate,
        roi,
        antialias: cx.attrs.flag("antialias", false)?,
        exclude_outside: cx.attrs.flag("exclude_outside", false)?,
        extrapolation: f64::from(cx.attrs.float_or("extrapolation_value", 0.0)?),
    };
    resample(cx, &x, target, reading)
}

/// Positions count from the first element; the nearest is the one before.
pub fn upsample(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let nearest = ResizeMode::NearestFloor;
    let words = [("nearest", nearest), ("linear", ResizeMode::Linear), ("bilinear", ResizeMode::Linear)];
    let mode = cx.attrs.choice("mode", nearest, &words)?;
    let along: Vec<usize> = (0..x.rank()).collect();
    let scales = match cx.attrs.floats("scales")? {
        Some(list) => list.iter().map(|&s| f64::from(s)).collect(),
        None => match cx.known_input(1)? {
            Some(tensor) => tensor.to_f64s(),
            None => {
                let (height, width) = (cx.attrs.float_or("height_scale", 1.0)?, cx.attrs.float_or("width_scale", 1.0)?);
                vec![1.0, 1.0, f64::from(height), f64::from(width)]
            }
        },
    };
    let target = by_scales(&x, &along, &scales)?;
    let reading =
        Reading { mode, coordinate: Coordinate::Asymmetric, roi: Vec::new(), antialias: false, exclude_outside: false, extrapolation: 0.0 };
    resample(cx, &x, target, reading)
}
