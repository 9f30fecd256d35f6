//! Operators that work element by element and are more than one scalar body: types that differ between the
//! operands, attributes that choose the body, operands that may be constants, many operands.

use ir::graph::op::PadMode;
use ir::scalar::{Literal, ScalarOp};
use ir::{Body, Dim, Dtype, Fault};

use crate::build::{Value, body, number};
use crate::cx::{Cx, Made, axis, must_be, one};
use crate::tensors;

/// The body of a row with its attributes filled in.
pub fn instantiate<'t>(text: &str, attributes: impl Iterator<Item = (&'t str, f32)>, dtype: Dtype) -> Result<Body, Fault> {
    let mut text = text.to_string();
    for (name, value) in attributes {
        text = text.replace(&format!("${name}"), &number(f64::from(value)));
    }
    body(&text, dtype)
}

/// A row of the table that is a scalar body.
pub fn from_row(cx: &mut Cx, text: &str, defaults: &[(&'static str, f32)]) -> Made {
    cx.attrs.ignore(&["consumed_inputs"]);
    let mut values = cx.all()?;
    let mut attributes = Vec::with_capacity(defaults.len());
    for (name, default) in defaults {
        attributes.push((*name, cx.attrs.float_or(name, *default)?));
    }
    if values.len() == 2 && cx.version < 7 {
        values[1] = legacy_broadcast(cx, &values[0], &values[1])?;
    }
    let body = instantiate(text, attributes.into_iter(), values[0].dtype())?;
    let operands: Vec<&Value> = values.iter().collect();
    Ok(vec![cx.map(body, &operands)?])
}

/// Before opset 7 the second operand is lined up with the first at `axis`, not at the end.
fn legacy_broadcast(cx: &mut Cx, a: &Value, b: &Value) -> Result<Value, Fault> {
    cx.attrs.ignore(&["broadcast"]);
    let Some(at) = cx.attrs.int("axis")? else { return Ok(b.clone()) };
    let at = axis(at, a.rank())?;
    let Some(behind) = a.rank().checked_sub(at + b.rank()) else {
        return Err(Fault::invalid(format!("{} does not fit {} from axis {at} on", b.ty, a.ty)));
    };
    let shape: Vec<Dim> = b.shape().iter().cloned().chain(std::iter::repeat_n(one(), behind)).collect();
    cx.reshape(b, shape)
}

/// The operands joined two by two.
fn fold(cx: &mut Cx, op: ScalarOp) -> Result<Value, Fault> {
    cx.attrs.ignore(&["consumed_inputs"]);
    let values = cx.all()?;
    let mut total = values[0].clone();
    for value in &values[1..] {
        total = cx.apply(op, &[&total, value])?;
    }
    Ok(total)
}

pub fn sum(cx: &mut Cx) -> Made {
    Ok(vec![fold(cx, ScalarOp::Add)?])
}

pub fn max(cx: &mut Cx) -> Made {
    Ok(vec![fold(cx, ScalarOp::Max)?])
}

pub fn min(cx: &mut Cx) -> Made {
    Ok(vec![fold(cx, ScalarOp::Min)?])
}

pub fn mean(cx: &mut Cx) -> Made {
    let total = fold(cx, ScalarOp::Add)?;
    let count = cx.inputs.len();
    Ok(vec![cx.pointwise(&format!("{{ div(a, {count}:T) }}"), total.dtype(), &[&total])?])
}

/// The result has the type of the base, whatever the type of the exponent.
pub fn pow(cx: &mut Cx) -> Made {
    let (base, mut exponent) = (cx.input(0)?, cx.input(1)?);
    if cx.version < 7 {
        exponent = legacy_broadcast(cx, &base, &exponent)?;
    }
    let to = base.dtype();
    if exponent.dtype().is_float() && !to.is_float() {
        let base = cx.cast(&base, Dtype::F64)?;
        let exponent = cx.cast(&exponent, Dtype::F64)?;
        let power = cx.apply(ScalarOp::Pow, &[&base, &exponent])?;
        return Ok(vec![cx.cast(&power, to)?]);
    }
    let exponent = cx.cast(&exponent, to)?;
    Ok(vec![cx.apply(ScalarOp::Pow, &[&base, &exponent])?])
}

/// With `fmod` the sign of the dividend, otherwise that of the divisor.
pub fn modulo(cx: &mut Cx) -> Made {
    let fmod = cx.attrs.flag("fmod", false)?;
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![cx.apply(if fmod { ScalarOp::Rem } else { ScalarOp::Mod }, &[&a, &b])?])
}

pub fn bit_shift(cx: &mut Cx) -> Made {
    let words = [("LEFT", ScalarOp::Shl), ("RIGHT", ScalarOp::Shr)];
    if !cx.attrs.has("direction") {
        return Err(Fault::invalid("attribute \"direction\" is missing"));
    }
    let op = cx.attrs.choice("direction", ScalarOp::Shl, &words)?;
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![cx.apply(op, &[&a, &b])?])
}

pub fn is_inf(cx: &mut Cx) -> Made {
    let (negative, positive) = (cx.attrs.flag("detect_negative", true)?, cx.attrs.flag("detect_positive", true)?);
    let value = cx.input(0)?;
    let text = match (negative, positive) {
        (true, true) => "{ is_inf(a) }",
        (true, false) => "{ t0 = is_inf(a); t1 = lt(a, 0.0:T); and(t0, t1) }",
        (false, true) => "{ t0 = is_inf(a); t1 = gt(a, 0.0:T); and(t0, t1) }",
        (false, false) => "{ t0 = is_inf(a); t1 = not(t0); and(t0, t1) }",
    };
    Ok(vec![cx.pointwise(text, value.dtype(), &[&value])?])
}

/// Bounds are attributes up to opset 6 and operands since 11; with a lower bound above the upper, the upper wins.
pub fn clip(cx: &mut Cx) -> Made {
    cx.attrs.ignore(&["consumed_inputs"]);
    let mut value = cx.input(0)?;
    let dtype = value.dtype();
    for (index, name, op) in [(1, "min", ScalarOp::Max), (2, "max", ScalarOp::Min)] {
        let bound = match (cx.attrs.float(name)?, cx.optional(index)) {
            (Some(bound), _) => Literal::number(dtype, f64::from(bound)),
            (None, None) => continue,
            (None, Some(bound)) => {
                must_be(bound.dtype() == dtype, &format!("the bound {name:?} has the operand's type"), &bound)?;
                must_be(bound.ty.elements() == Some(1), &format!("the bound {name:?} is one number"), &bound)?;
                let Some(known) = cx.known(&bound) else {
                    let bound = cx.reshape(&bound, Vec::new())?;
                    value = cx.apply(op, &[&value, &bound])?;
                    continue;
                };
                Literal::from_bytes(dtype, &known.bytes())
            }
        };
        let mut body = Body { params: 1, terms: Vec::new(), result: ir::scalar::Arg::Param(0) };
        body.result = body.push(op, &[ir::scalar::Arg::Param(0), ir::scalar::Arg::Literal(bound)]);
        value = cx.map(body, &[&value])?;
    }
    Ok(vec![value])
}

pub fn gelu(cx: &mut Cx) -> Made {
    let tanh = cx.attrs.choice("approximate", false, &[("none", false), ("tanh", true)])?;
    let value = cx.input(0)?;
    let text = if tanh {
        format!(
            "{{ t0 = mul(a, a); t1 = mul(t0, a); t2 = mul(t1, 0.044715:T); t3 = add(a, t2); t4 = mul(t3, {}:T); \
             t5 = tanh(t4); t6 = add(t5, 1.0:T); t7 = mul(a, 0.5:T); mul(t7, t6) }}",
            number((2.0 / std::f64::consts::PI).sqrt())
        )
    } else {
        format!(
            "{{ t0 = mul(a, {}:T); t1 = erf(t0); t2 = add(t1, 1.0:T); t3 = mul(a, 0.5:T); mul(t3, t2) }}",
            number(std::f64::consts::FRAC_1_SQRT_2)
        )
    };
    Ok(vec![cx.pointwise(&text, value.dtype(), &[&value])?])
}

/// The slope broadcasts to the operand; before opset 7 a list of slopes belongs to axis 1.
pub fn prelu(cx: &mut Cx) -> Made {
    cx.attrs.ignore(&["consumed_inputs"]);
    let (value, mut slope) = (cx.input(0)?, cx.input(1)?);
    if cx.version < 7 && slope.rank() == 1 && value.rank() > 2 {
        let shape = std::iter::once(slope.shape()[0].clone()).chain(std::iter::repeat_n(one(), value.rank() - 2));
        slope = cx.reshape(&slope, shape.collect())?;
    }
    let made = cx.pointwise("{ t0 = mul(a, b); t1 = lt(a, 0:T); select(t1, t0, a) }", value.dtype(), &[&value, &slope])?;
    must_be(made.shape() == value.shape(), "the slope broadcasts to the operand", &slope)?;
    Ok(vec![made])
}

/// A conversion that overflows instead of saturating, where the type is an 8-bit float and the node says so: beyond
/// the largest number lies infinity, or else NaN.
fn overflowing(cx: &mut Cx, value: &Value, to: Dtype) -> Result<Option<Value>, Fault> {
    cx.attrs.ignore(&["round_mode"]);
    let saturates = cx.attrs.flag("saturate", true)?;
    // the first magnitude that is rounded up beyond the largest, whether it is itself, and the bits of what is there
    let (bound, itself, bits) = match to {
        Dtype::F8E4M3 => ("464.0", false, [0x7f, 0xff]),
        Dtype::F8E4M3Z => ("248.0", true, [0x80, 0x80]),
        Dtype::F8E5M2 => ("61440.0", true, [0x7c, 0xfc]),
        Dtype::F8E5M2Z => ("61440.0", true, [0x80, 0x80]),
        _ => return Ok(None),
    };
    let wide = if value.dtype() == Dtype::F64 { Dtype::F64 } else { Dtype::F32 };
    if saturates || !value.dtype().is_float() {
        return Ok(None);
    }
    let (name, to, compare) = (wide.name(), to.name(), if itself { "ge" } else { "gt" });
    let text = format!(
        "{{ t0 = cast.{name}(a); t1 = abs(t0); t2 = {compare}(t1, {bound}:T); t3 = lt(t0, 0.0:T); \
         t4 = select(t3, {}:u8, {}:u8); t5 = cast.{to}(a); t6 = bits.u8(t5); t7 = select(t2, t4, t6); bits.{to}(t7) }}",
        bits[1], bits[0]
    );
    cx.pointwise(&text, wide, &[value]).map(Some)
}

/// The attribute `to` as a type; before opset 6 it is a word.
fn target(cx: &Cx) -> Result<Dtype, Fault> {
    if cx.version < 6
        && let Some(word) = cx.attrs.text("to")?
    {
        let number = crate::proto::data_type::NAMES.iter().position(|n| n.eq_ignore_ascii_case(word));
        return tensors::dtype(number.map_or(0, |n| n as i32));
    }
    match cx.attrs.int("to")? {
        Some(number) => tensors::dtype(i32::try_from(number).unwrap_or(0)),
        None => Err(Fault::invalid("attribute \"to\" is missing")),
    }
}

pub fn cast(cx: &mut Cx) -> Made {
    let (value, to) = (cx.input(0)?, target(cx)?);
    if let Some(made) = overflowing(cx, &value, to)? {
        return Ok(vec![made]);
    }
    Ok(vec![cx.cast(&value, to)?])
}

pub fn cast_like(cx: &mut Cx) -> Made {
    let (value, like) = (cx.input(0)?, cx.input(1)?);
    if let Some(made) = overflowing(cx, &value, like.dtype())? {
        return Ok(vec![made]);
    }
    Ok(vec![cx.cast(&value, like.dtype())?])
}

pub fn bit_cast(cx: &mut Cx) -> Made {
    let (value, to) = (cx.input(0)?, target(cx)?);
    let stored = |d: Dtype| if d == Dtype::Bool { 8 } else { d.bits() };
    must_be(stored(value.dtype()) == stored(to), &format!("{} needs an operand of as many bits", to.name()), &value)?;
    Ok(vec![cx.apply(ScalarOp::Bits(to), &[&value])?])
}

/// `value` with a border that holds a number known only at run time.
pub fn pad_with(cx: &mut Cx, value: &Value, low: Vec<Dim>, high: Vec<Dim>, fill: &Value) -> Result<Value, Fault> {
    let inside = cx.fill(Dtype::Bool, 1.0, value.shape())?;
    let inside = cx.pad(&inside, low.clone(), high.clone(), PadMode::Constant, Literal::bool(false))?;
    let padded = cx.pad(value, low, high, PadMode::Constant, Literal::number(value.dtype(), 0.0))?;
    cx.pointwise("{ select(a, b, c) }", value.dtype(), &[&inside, &padded, fill])
}
