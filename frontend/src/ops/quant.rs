//! Quantized arithmetic, spelt out in integers and floats: what it means exactly. Products subtract the zero
//! points first and run in i32.

use ir::graph::op::ReduceKind;
use ir::scalar::ScalarOp;
use ir::{Dim, Dtype, Fault};

use crate::build::Value;
use crate::cx::{Cx, Made, axis, must_be, one};
use crate::ops::{conv, linear};
use crate::tensors;

/// Scale or zero point lined up with the operand: one number, one per position along an axis, or one per block.
pub fn spread(cx: &mut Cx, x: &Value, list: &Value, at: i64, block: i64) -> Result<Value, Fault> {
    if list.ty.elements() == Some(1) {
        return cx.reshape(list, Vec::new());
    }
    let at = axis(at, x.rank())?;
    if block > 0 {
        let extent = x.size(at)? as i64;
        let blocks = (extent + block - 1) / block;
        let fits = list.rank() == x.rank()
            && (0..x.rank()).all(|i| if i == at { list.shape()[i] == Dim::from(blocks) } else { list.shape()[i] == x.shape()[i] });
        must_be(fits, &format!("there is one scale per block of {block} along axis {at} of {}", x.ty), list)?;
        cx.room(extent, Dtype::I64)?;
        let places = cx.ints(&(0..extent).map(|i| i / block).collect::<Vec<_>>());
        return cx.gather(list, &places, at);
    }
    let fits = list.rank() == 1 && list.shape()[0] == x.shape()[at];
    must_be(fits, &format!("there is one scale per position of axis {at} of {}", x.ty), list)?;
    let shape = std::iter::once(list.shape()[0].clone()).chain(std::iter::repeat_n(one(), x.rank() - at - 1));
    cx.reshape(list, shape.collect())
}

/// Fault: a scale, where it is known, that is not a positive number.
pub fn is_scale(cx: &mut Cx, scale: &Value, what: &str) -> Result<(), Fault> {
    must_be(scale.dtype().is_float(), &format!("{what} is a float"), scale)?;
    if let Some(known) = cx.known(scale)
        && let Some(odd) = known.to_f64s().into_iter().find(|s| !(s.is_finite() && *s > 0.0))
    {
        return Err(Fault::invalid(format!("{what} is {odd}, and must be a positive number")));
    }
    Ok(())
}

fn is_quantized(dtype: Dtype) -> bool {
    dtype.is_int() || (dtype.is_float() && dtype.bytes() == 1)
}

fn block_size(cx: &Cx) -> Result<i64, Fault> {
    match cx.attrs.int_or("block_size", 0)? {
        block @ 0.. => Ok(block),
        block => Err(Fault::invalid(format!("attribute \"block_size\" is {block}"))),
    }
}

/// The zero point, if there is one that is not known to be zero, lined up. Fault: its type or shape differs.
fn zero_point(
    cx: &mut Cx,
    x: &Value,
    scale: &Value,
    zero: Option<Value>,
    dtype: Dtype,
    at: i64,
    block: i64,
) -> Result<Option<Value>, Fault> {
    let Some(zero) = zero else { return Ok(None) };
    must_be(zero.dtype() == dtype, &format!("the zero point is {}", dtype.name()), &zero)?;
    let alike = zero.shape() == scale.shape() || (zero.ty.elements() == Some(1) && scale.ty.elements() == Some(1));
    must_be(alike, &format!("the zero point has the shape of the scale {}", scale.ty), &zero)?;
    if cx.known(&zero).is_some_and(|known| known.to_f64s().iter().all(|z| *z == 0.0)) {
        return Ok(None);
    }
    spread(cx, x, &zero, at, block).map(Some)
}

/// `(x - zero_point) * scale`.
pub fn dequantize(cx: &mut Cx) -> Made {
    let (x, scale, zero) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    let (at, block) = (cx.attrs.int_or("axis", 1)?, block_size(cx)?);
    must_be(is_quantized(x.dtype()), "it takes quantized numbers", &x)?;
    must_be(scale.dtype().is_float(), "the scale is a float", &scale)?;
    if scale.ty.elements() != Some(1) || cx.attrs.has("axis") && x.rank() > 0 {
        axis(at, x.rank().max(1))?;
    }
    let to = match cx.attrs.int_or("output_dtype", 0)? {
        0 => scale.dtype(),
        number => tensors::dtype(i32::try_from(number).unwrap_or(0))?,
    };
    let zero = zero_point(cx, &x, &scale, zero, x.dtype(), at, block)?;
    let scale = spread(cx, &x, &scale, at, block)?;
    let wide = if to == Dtype::F64 { to } else { Dtype::F32 };
    let name = wide.name();
    let made = match zero {
        Some(zero) => {
            let text = format!("{{ t0 = cast.{name}(a); t1 = cast.{name}(c); t2 = sub(t0, t1); t3 = cast.{name}(b); mul(t2, t3) }}");
            cx.pointwise(&text, wide, &[&x, &scale, &zero])?
        }
        None => {
            let text = format!("{{ t0 = cast.{name}(a); t1 = cast.{name}(b); mul(t0, t1) }}");
            cx.pointwise(&text, wide, &[&x, &scale])?
        }
    };
    Ok(vec![cx.cast(&made, to)?])
}

/// `round(x / scale) + zero_point`, held inside the type's range. Scale and zero point are lined up already.
pub fn quantized(cx: &mut Cx, x: &Value, scale: &Value, zero: Option<&Value>, to: Dtype) -> Result<Value, Fault> {
    let wide = if x.dtype() == Dtype::F64 { Dtype::F64 } else { Dtype::F32 };
    let (name, to_name) = (wide.name(), to.name());
    // what is quantized to floats is rounded by the conversion alone
    let whole = if to.is_float() { "max(t2, t2)" } else { "round(t2)" };
    let mut terms = vec![format!("cast.{name}(a)"), format!("cast.{name}(b)"), "div(t0, t1)".into(), whole.into()];
    let mut operands = vec![x, scale];
    if let Some(zero) = zero {
        terms.push(format!("cast.{name}(c)"));
        terms.push("add(t3, t4)".into());
        operands.push(zero);
    }
    // A cast saturates to whole bytes; what is narrower has its own bounds.
    if let Some((low, high)) = to.int_range().filter(|_| to.bits() < 8) {
        terms.push(format!("max(t{}, {low}:{name})", terms.len() - 1));
        terms.push(format!("min(t{}, {high}:{name})", terms.len() - 1));
    }
    terms.push(format!("cast.{to_name}(t{})", terms.len() - 1));
    let (last, lines) = terms.split_last().expect("there are terms");
    let lines: String = lines.iter().enumerate().map(|(i, term)| format!("t{i} = {term}; ")).collect();
    cx.pointwise(&format!("{{ {lines}{last} }}"), wide, &operands)
}

pub fn quantize(cx: &mut Cx) -> Made {
    cx.attrs.ignore(&["saturate", "precision"]);
    let (x, scale, zero) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    let (at, block) = (cx.attrs.int_or("axis", 1)?, block_size(cx)?);
    must_be(x.dtype().is_float() || x.dtype() == Dtype::I32, "it takes floats", &x)?;
    if scale.ty.elements() != Some(1) || cx.attrs.has("axis") && x.rank() > 0 {
        axis(at, x.rank().max(1))?;
    }
    is_scale(cx, &scale, "the scale")?;
    let to = match (&zero, cx.attrs.int_or("output_dtype", 0)?) {
        (Some(zero), 0) => zero.dtype(),
        (None, 0) => Dtype::U8,
        (_, number) => tensors::dtype(i32::try_from(number).unwrap_or(0))?,
    };
    if !is_quantized(to) {
        return Err(Fault::invalid(format!("the zero point is an integer or a float of 8 bits, not {}", to.name())));
    }
    let zero = zero_point(cx, &x, &scale, zero, to, at, block)?;
    let scale = spread(cx, &x, &scale, at, block)?;
    Ok(vec![quantized(cx, &x, &scale, zero.as_ref(), to)?])
}

/// Scale and zero point from the range of the operand, 0 included.
pub fn dynamic(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    must_be(x.dtype() == Dtype::F32, "it takes floats", &x)?;
    let axes: Vec<usize> = (0..x.rank()).collect();
    let low = cx.reduce(&x, ReduceKind::Min, &axes)?;
    let low = cx.reshape(&low, Vec::new())?;
    let high = cx.reduce(&x, ReduceKind::Max, &axes)?;
    let high = cx.reshape(&high, Vec::new())?;
    let text = "{ t0 = min(a, 0.0); t1 = max(b, 0.0); t2 = sub(t1, t0); div(t2, 255.0) }";
    let scale = cx.pointwise(text, Dtype::F32, &[&low, &high])?;
    let text = "{ t0 = min(a, 0.0); t1 = neg(t0); t2 = div(t1, b); t3 = round(t2); cast.u8(t3) }";
    let zero = cx.pointwise(text, Dtype::F32, &[&low, &scale])?;
    let made = quantized(cx, &x, &scale, Some(&zero), Dtype::U8)?;
    Ok(vec![made, scale, zero])
}

/// `x - zero_point` as i32; the zero point is lined up already.
pub fn centered(cx: &mut Cx, x: &Value, zero: Option<Value>) -> Result<Value, Fault> {
    must_be(x.dtype().is_int() && x.dtype().bytes() == 1, "it takes 8-bit integers", x)?;
    let wide = cx.cast(x, Dtype::I32)?;
    let Some(zero) = zero else { return Ok(wide) };
    must_be(zero.dtype() == x.dtype(), &format!("the zero point is {}", x.dtype().name()), &zero)?;
    let zero = cx.cast(&zero, Dtype::I32)?;
    cx.apply(ScalarOp::Sub, &[&wide, &zero])
}

/// A list per row as a column; one number as it is.
pub fn per_row(cx: &mut Cx, list: Option<Value>) -> Result<Option<Value>, Fault> {
    match list {
        Some(list) if list.rank() == 1 && list.ty.elements() != Some(1) => {
            let shape = vec![list.shape()[0].clone(), one()];
            cx.reshape(&list, shape).map(Some)
        }
        other => Ok(other),
    }
}

pub fn matmul_integer(cx: &mut Cx) -> Made {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let (a_zero, b_zero) = (cx.optional(2), cx.optional(3));
    let a_zero = per_row(cx, a_zero)?;
    let (a, b) = (centered(cx, &a, a_zero)?, centered(cx, &b, b_zero)?);
    Ok(vec![linear::product(cx, &a, &b)?])
}

/// A list per output channel as `[m, 1..]`; one number as it is.
fn per_kernel(cx: &mut Cx, list: Option<Value>, rank: usize) -> Result<Option<Value>, Fault> {
    match list {
        Some(list) if list.rank() == 1 && list.ty.elements() != Some(1) => {
            let shape = std::iter::once(list.shape()[0].clone()).chain(std::iter::repeat_n(one(), rank - 1));
            cx.reshape(&list, shape.collect()).map(Some)
        }
        Some(list) => cx.reshape(&list, Vec::new()).map(Some),
        None => Ok(None),
    }
}

pub fn conv_integer(cx: &mut Cx) -> Made {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let (x_zero, w_zero) = (cx.optional(2), cx.optional(3));
    let w_zero = per_kernel(cx, w_zero, w.rank().max(1))?;
    let x_zero = per_kernel(cx, x_zero, 1)?;
    let (x, w) = (centered(cx, &x, x_zero)?, centered(cx, &w, w_zero)?);
    Ok(vec![conv::convolve(cx, &x, &w, None)?])
}

/// `acc * x_scale * w_scale / y_scale` quantized again. The scales are lined up with `acc`.
pub fn requantized(cx: &mut Cx, acc: &Value, scales: [&Value; 3], zero: &Value) -> Result<Value, Fault> {
    let [x, w, y] = scales;
    let to = zero.dtype().name();
    let text = format!(
        "{{ t0 = cast.f32(a); t1 = cast.f32(b); t2 = cast.f32(c); t3 = mul(t1, t2); t4 = cast.f32(d); t5 = div(t3, t4); \
         t6 = mul(t0, t5); t7 = round(t6); t8 = cast.f32(e); t9 = add(t7, t8); cast.{to}(t9) }}"
    );
    cx.pointwise(&text, Dtype::F32, &[acc, x, w, y, zero])
}

pub fn qlinear_matmul(cx: &mut Cx) -> Made {
    let inputs = cx.all()?;
    for i in [1, 4, 6] {
        is_scale(cx, &inputs[i], "a scale")?;
    }
    let (a_scale, a_zero) = (per_row(cx, Some(inputs[1].clone()))?, per_row(cx, Some(inputs[2].clone()))?);
    let (a, b) = (centered(cx, &inputs[0], a_zero)?, centered(cx, &inputs[3], Some(inputs[5].clone()))?);
    let acc = linear::product(cx, &a, &b)?;
    let a_scale = a_scale.unwrap_or_else(|| inputs[1].clone());
    Ok(vec![requantized(cx, &acc, [&a_scale, &inputs[4], &inputs[6]], &inputs[7])?])
}

pub fn qlinear_conv(cx: &mut Cx) -> Made {
    let required: Vec<Value> = (0..8).map(|i| cx.input(i)).collect::<Result<_, _>>()?;
    for i in [1, 4, 6] {
        is_scale(cx, &required[i], "a scale")?;
    }
    let rank = required[3].rank().max(1);
    let w_zero = per_kernel(cx, Some(required[5].clone()), rank)?;
    let x_zero = per_kernel(cx, Some(required[2].clone()), 1)?;
    let (x, w) = (centered(cx, &required[0], x_zero)?, centered(cx, &required[3], w_zero)?);
    let bias = cx.optional(8);
    let acc = conv::convolve(cx, &x, &w, bias)?;
    // One scale per output channel lines up with axis 1 of the result.
    let w_scale = per_kernel(cx, Some(required[4].clone()), rank - 1)?.unwrap_or_else(|| required[4].clone());
    let one = |cx: &mut Cx, i: usize| cx.reshape(&required[i], Vec::new());
    let (x_scale, y_scale, y_zero) = (one(cx, 1)?, one(cx, 6)?, one(cx, 7)?);
    Ok(vec![requantized(cx, &acc, [&x_scale, &w_scale, &y_scale], &y_zero)?])
}
