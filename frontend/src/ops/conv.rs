//! Convolutions, and the frame of sliding windows that pooling shares: kernel, strides, dilations, padding as
//! ONNX gives them. Tensors turn to channels last here and back behind.

use ir::scalar::{Literal, ScalarOp};
use ir::{Body, Dim, Fault, Op};

use crate::build::{Build, Value};
use crate::cx::{Cx, Made, must_be};

/// Sizes beyond which an attribute is a mistake, far below where arithmetic overflows.
const LARGEST: i64 = 1 << 31;

/// How windows slide over the spatial axes.
#[derive(Debug, Clone)]
pub struct Frame {
    pub size: Vec<usize>,
    pub stride: Vec<usize>,
    pub dilation: Vec<usize>,
    pub low: Vec<i64>,
    pub high: Vec<i64>,
    /// Of `high`, what rounding up the number of windows added.
    pub ceiled: Vec<i64>,
}

impl Frame {
    /// What one window covers along an axis.
    pub fn span(&self, axis: usize) -> i64 {
        self.dilation[axis] as i64 * (self.size[axis] as i64 - 1) + 1
    }

    pub fn is_padded(&self) -> bool {
        self.low.iter().chain(&self.high).any(|p| *p != 0)
    }
}

/// How padding is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoPad {
    Given,
    Valid,
    SameUpper,
    SameLower,
}

pub fn auto_pad(cx: &Cx) -> Result<AutoPad, Fault> {
    let words = [
        ("NOTSET", AutoPad::Given),
        ("", AutoPad::Given),
        ("VALID", AutoPad::Valid),
        ("SAME_UPPER", AutoPad::SameUpper),
        ("SAME_LOWER", AutoPad::SameLower),
    ];
    cx.attrs.choice("auto_pad", AutoPad::Given, &words)
}

/// A list with one number per spatial axis, each in a range. Fault: another length or a number outside.
fn per_axis(cx: &Cx, name: &str, count: usize, default: i64, least: i64) -> Result<Vec<i64>, Fault> {
    let Some(list) = cx.attrs.ints(name)? else { return Ok(vec![default; count]) };
    if list.len() != count {
        return Err(Fault::invalid(format!("attribute {name:?} has {} numbers, and needs {count}", list.len())));
    }
    if let Some(odd) = list.iter().find(|v| !(least..LARGEST).contains(v)) {
        return Err(Fault::invalid(format!("attribute {name:?} holds {odd}, and numbers go from {least} to {LARGEST}")));
    }
    Ok(list.to_vec())
}

/// `values` as sizes; they were checked to be positive.
fn sizes(values: &[i64]) -> Vec<usize> {
    values.iter().map(|&v| v as usize).collect()
}

/// The attributes `strides`, `dilations` and `pads` for windows of `size` over `extents`.
/// With `ceil` a last window that only partly fits is kept, as long as it starts inside.
pub fn frame(cx: &Cx, size: &[i64], extents: &[Dim], ceil: bool) -> Result<Frame, Fault> {
    let axes = extents.len();
    if size.len() != axes {
        return Err(Fault::invalid(format!("the kernel has {} sizes for {axes} spatial axes", size.len())));
    }
    if let Some(odd) = size.iter().find(|v| !(1..LARGEST).contains(v)) {
        return Err(Fault::invalid(format!("the kernel has the size {odd}")));
    }
    let elements = size.iter().fold(1u64, |n, &s| n.saturating_mul(s as u64));
    if elements > cx.limits.window {
        return Err(Fault::limit(format!("a window has {elements} elements; at most {} are handled", cx.limits.window)));
    }
    let stride = sizes(&per_axis(cx, "strides", axes, 1, 1)?);
    let dilation = sizes(&per_axis(cx, "dilations", axes, 1, 1)?);
    let mode = auto_pad(cx)?;
    let pads = per_axis(cx, "pads", 2 * axes, 0, 0)?;
    let mut frame =
        Frame { size: sizes(size), stride, dilation, low: pads[..axes].to_vec(), high: pads[axes..].to_vec(), ceiled: vec![0; axes] };
    for axis in 0..axes {
        let span = (size[axis] - 1).checked_mul(frame.dilation[axis] as i64).and_then(|s| s.checked_add(1));
        if span.is_none_or(|s| s >= LARGEST) {
            return Err(Fault::limit(format!("a window spans too much along spatial axis {axis}")));
        }
        let span = frame.span(axis);
        let step = frame.stride[axis] as i64;
        match mode {
            AutoPad::Given => {}
            AutoPad::Valid => (frame.low[axis], frame.high[axis]) = (0, 0),
            AutoPad::SameUpper | AutoPad::SameLower => {
                let total = match extents[axis].fixed() {
                    Some(extent) => ((extent + step - 1) / step - 1) * step + span - extent,
                    None if step == 1 => span - 1,
                    None => return Err(unfixed(axis)),
                };
                let (less, more) = (total.max(0) / 2, total.max(0) - total.max(0) / 2);
                (frame.low[axis], frame.high[axis]) = if mode == AutoPad::SameUpper { (less, more) } else { (more, less) };
            }
        }
        if ceil && step > 1 {
            let extent = extents[axis].fixed().ok_or_else(|| unfixed(axis))?;
            let room = extent + frame.low[axis] + frame.high[axis] - span;
            // Rounded up, a window larger than the padded axis by less than a step still counts as one.
            if room > -step && room % step != 0 {
                let last = (room.div_euclid(step) + 1) * step;
                if last < extent + frame.low[axis] {
                    frame.ceiled[axis] = last - room;
                    frame.high[axis] += last - room;
                }
            }
        }
    }
    Ok(frame)
}

fn unfixed(axis: usize) -> Fault {
    Fault::unsupported(format!("the padding depends on spatial axis {axis}, whose size is not fixed"))
        .help("fix the named dimensions with --dim NAME=SIZE")
}

/// The kernel's sizes from the weights. Fault: an attribute that says otherwise.
fn kernel(cx: &Cx, weight: &Value) -> Result<Vec<i64>, Fault> {
    let sizes: Vec<i64> = (2..weight.rank()).map(|i| weight.size(i).map(|n| n as i64)).collect::<Result<_, _>>()?;
    match cx.attrs.ints("kernel_shape")? {
        Some(stated) if stated != sizes => Err(Fault::invalid(format!("kernel_shape is {stated:?}, and the weights are {}", weight.ty))),
        _ => Ok(sizes),
    }
}

fn group(cx: &Cx) -> Result<usize, Fault> {
    let group = cx.attrs.int_or("group", 1)?;
    match usize::try_from(group) {
        Ok(group) if group > 0 => Ok(group),
        _ => Err(Fault::invalid(format!("attribute \"group\" is {group}"))),
    }
}

fn is_image(value: &Value, what: &str) -> Result<(), Fault> {
    must_be(value.rank() >= 3, &format!("{what} has a batch, channels and at least one spatial axis"), value)
}

/// `bias[m]` added along the last axis.
fn with_bias(build: &mut Build, made: Value, bias: Option<Value>) -> Result<Value, Fault> {
    let Some(bias) = bias else { return Ok(made) };
    let fits = bias.rank() == 1 && Some(&bias.shape()[0]) == made.shape().last();
    must_be(fits, "the bias has one number per output channel", &bias)?;
    build.apply(ScalarOp::Add, &[&made, &bias])
}

/// `[m, c / group, kernel..]` to `[kernel.., c / group, m]`.
fn kernel_last(build: &mut Build, weight: &Value) -> Result<Value, Fault> {
    let perm: Vec<usize> = (2..weight.rank()).chain([1, 0]).collect();
    build.transpose(weight, &perm)
}

/// A convolution of operands in ONNX's layout.
pub fn convolve(cx: &mut Cx, x: &Value, w: &Value, bias: Option<Value>) -> Result<Value, Fault> {
    convolve_in(cx, x, w, bias, Literal::number(x.dtype(), 0.0))
}

/// The same with `fill` in the padding.
pub fn convolve_in(cx: &mut Cx, x: &Value, w: &Value, bias: Option<Value>, fill: Literal) -> Result<Value, Fault> {
    is_image(x, "the input of a convolution")?;
    must_be(w.rank() == x.rank(), &format!("the weights have {} axes", x.rank()), w)?;
    let group = group(cx)?;
    let size = kernel(cx, w)?;
    let frame = frame(cx, &size, &x.shape()[2..], false)?;
    let (c, m) = (x.size(1)?, w.size(0)?);
    let fits = w.size(1)?.checked_mul(group) == Some(c) && m % group == 0;
    must_be(fits, &format!("the weights fit {c} channels in {group} groups"), w)?;
    let inputs = cx.channels_last(x)?;
    let weights = kernel_last(cx, w)?;
    let op = Op::Conv {
        stride: frame.stride,
        dilation: frame.dilation,
        inflate: vec![1; size.len()],
        low: frame.low,
        high: frame.high,
        group,
        fill,
        epilogue: Body::identity(),
    };
    let made = cx.add(op, &[&inputs, &weights])?;
    let made = with_bias(cx, made, bias)?;
    cx.channels_first(&made)
}

pub fn conv(cx: &mut Cx) -> Made {
    let (x, w, bias) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    Ok(vec![convolve(cx, &x, &w, bias)?])
}

/// The convolution whose input is spread out by the stride and whose kernel is turned around.
pub fn transposed(cx: &mut Cx) -> Made {
    let (x, w, bias) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    is_image(&x, "the input of a convolution")?;
    must_be(w.rank() == x.rank(), &format!("the weights have {} axes", x.rank()), &w)?;
    let group = group(cx)?;
    let size = kernel(cx, &w)?;
    let axes = size.len();
    let extra = per_axis(cx, "output_padding", axes, 0, 0)?;
    let wanted = cx.attrs.ints("output_shape")?;
    // The frame checks the lists; automatic padding follows another rule here.
    let mode = auto_pad(cx)?;
    let mut frame = frame(cx, &size, &vec![Dim::from(1i64 << 20); axes], false)?;
    for axis in 0..axes {
        let (step, span) = (frame.stride[axis] as i64, frame.span(axis));
        if extra[axis] >= step.max(frame.dilation[axis] as i64) {
            let text = format!("output_padding {} is not below the stride {step}", extra[axis]);
            return Err(Fault::invalid(text));
        }
        let target = match (wanted, mode) {
            (Some(list), _) => match list.len().checked_sub(axes) {
                Some(skip @ (0 | 2)) => Some(list[skip + axis]),
                _ => return Err(Fault::invalid(format!("output_shape {list:?} is not for {axes} spatial axes"))),
            },
            (None, AutoPad::SameUpper | AutoPad::SameLower) => Some(x.size(axis + 2)? as i64 * step),
            (None, AutoPad::Given | AutoPad::Valid) => None,
        };
        if let Some(target) = target {
            if !(1..LARGEST).contains(&target) {
                return Err(Fault::invalid(format!("output_shape holds {target}")));
            }
            let total = step * (x.size(axis + 2)? as i64 - 1) + extra[axis] + span - target;
            // What is wanted beyond the whole stands behind it, untouched by the kernel.
            let half = total.max(0) / 2;
            (frame.low[axis], frame.high[axis]) = match mode {
                _ if total < 0 => (0, total),
                AutoPad::SameUpper => (half, total - half),
                AutoPad::Given | AutoPad::Valid | AutoPad::SameLower => (total - half, half),
            };
        }
        frame.low[axis] = span - 1 - frame.low[axis];
        frame.high[axis] = span - 1 - frame.high[axis] + extra[axis];
    }
    let (c, per_group) = (w.size(0)?, w.size(1)?);
    must_be(x.shape()[1] == Dim::from(c) && c % group == 0, &format!("the input has {c} channels in {group} groups"), &x)?;
    // [c, m / group, kernel..] to [kernel.., c / group, m], turned around
    let rank = w.rank();
    let mut split = vec![Dim::from(group), Dim::from(c / group)];
    split.extend_from_slice(&w.shape()[1..]);
    let weights = cx.reshape(&w, split)?;
    let perm: Vec<usize> = (3..rank + 1).chain([1, 0, 2]).collect();
    let weights = cx.transpose(&weights, &perm)?;
    let mut joined = w.shape()[2..].to_vec();
    joined.extend([Dim::from(c / group), Dim::from(group * per_group)]);
    let weights = cx.reshape(&weights, joined)?;
    let start = size.iter().map(|&n| Dim::from(n - 1)).chain([Dim::from(0i64), Dim::from(0i64)]).collect();
    let step = size.iter().map(|_| -1).chain([1, 1]).collect();
    let shape = weights.shape().to_vec();
    let weights = cx.slice(&weights, start, step, shape)?;
    let inputs = cx.channels_last(&x)?;
    let op = Op::Conv {
        stride: vec![1; axes],
        dilation: frame.dilation,
        inflate: frame.stride,
        low: frame.low,
        high: frame.high,
        group,
        fill: Literal::number(x.dtype(), 0.0),
        epilogue: Body::identity(),
    };
    let made = cx.add(op, &[&inputs, &weights])?;
    let made = with_bias(cx, made, bias)?;
    Ok(vec![cx.channels_first(&made)?])
}
