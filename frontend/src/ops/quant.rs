//! Quantized arithmetic, spelt out in integers and floats: what it means exactly. Products subtract the zero
//! points first and run in i32.

use ir::graph::op::ReduceKind;
use ir::quant::{self, weights};
use ir::scalar::{Literal, ScalarOp};
use ir::{Dim, Dtype, Fault, Op, Tensor};

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

/// Floats that scales may be.
fn plain(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16)
}

/// The operator `quantize` to `storage`, or `dequantize` from it. Fault: scale or zero point do not fit.
fn converted(
    cx: &mut Cx,
    x: &Value,
    scale: &Value,
    zero: Option<Value>,
    storage: Dtype,
    [at, block]: [i64; 2],
    down: bool,
) -> Result<Value, Fault> {
    must_be(plain(scale.dtype()), "the scale is a float", scale)?;
    let zero = match zero {
        Some(zero) => {
            must_be(zero.dtype() == storage, &format!("the zero point is {}", storage.name()), &zero)?;
            let alike = zero.shape() == scale.shape() || (zero.ty.elements() == Some(1) && scale.ty.elements() == Some(1));
            must_be(alike, &format!("the zero point has the shape of the scale {}", scale.ty), &zero)?;
            zero
        }
        None => cx.fill(storage, 0.0, scale.shape())?,
    };
    let (mut axis_at, mut block_size) = (0, 0);
    let (scale, zero) = if scale.ty.elements() == Some(1) {
        (cx.reshape(scale, Vec::new())?, cx.reshape(&zero, Vec::new())?)
    } else {
        axis_at = axis(at, x.rank())?;
        if block > 0 {
            block_size = usize::try_from(block).map_err(|_| Fault::limit(format!("blocks of {block} are too large")))?;
        } else {
            let fits = scale.rank() == 1 && scale.shape()[0] == x.shape()[axis_at];
            must_be(fits, &format!("there is one scale per position of axis {axis_at} of {}", x.ty), scale)?;
        }
        (scale.clone(), zero)
    };
    let (axis, block) = (axis_at, block_size);
    let op = if down { Op::Quantize { axis, block } } else { Op::Dequantize { axis, block } };
    cx.add(op, &[x, &scale, &zero])
}

/// `x` in steps of `scale` from `zero` on, one number each: what a quantized operator gives.
pub fn down(cx: &mut Cx, x: &Value, scale: &Value, zero: &Value) -> Result<Value, Fault> {
    converted(cx, x, scale, Some(zero.clone()), zero.dtype(), [0, 0], true)
}

/// The floats that `x` stands for, by one scale and zero point, or one for each position of `axis`.
pub fn up(cx: &mut Cx, x: &Value, scale: &Value, zero: Option<Value>, axis: usize) -> Result<Value, Fault> {
    converted(cx, x, scale, zero, x.dtype(), [axis as i64, 0], false)
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
    if x.dtype().is_int() && x.dtype().bytes() <= 4 {
        let wide = if scale.dtype() == to { scale } else { cx.cast(&scale, if to == Dtype::F64 { to } else { Dtype::F32 })? };
        let made = converted(cx, &x, &wide, zero, x.dtype(), [at, block], false)?;
        return Ok(vec![cx.cast(&made, to)?]);
    }
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
    if quant::is_storage(to) && x.dtype().is_float() {
        let scale = if plain(scale.dtype()) { scale } else { cx.cast(&scale, Dtype::F32)? };
        return Ok(vec![converted(cx, &x, &scale, zero, to, [at, block], true)?]);
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
    // onnxruntime gives numbers that are all zero steps of one
    let text = "{ t0 = min(a, 0.0); t1 = max(b, 0.0); t2 = sub(t1, t0); t3 = eq(t2, 0.0); t4 = div(t2, 255.0); select(t3, 1.0, t4) }";
    let scale = cx.pointwise(text, Dtype::F32, &[&low, &high])?;
    let text = "{ t0 = min(a, 0.0); t1 = neg(t0); t2 = div(t1, b); t3 = round(t2); cast.u8(t3) }";
    let zero = cx.pointwise(text, Dtype::F32, &[&low, &scale])?;
    let made = down(cx, &x, &scale, &zero)?;
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

/// `(a - za) x (b - zb)` as i32. Constant factors `b` are multiplied as bytes, and what the zero point of `a` adds is
/// taken out behind the product.
pub fn integer_product(cx: &mut Cx, a: &Value, b: &Value, zeros: [Option<Value>; 2]) -> Result<Value, Fault> {
    let [a_zero, b_zero] = zeros;
    let a_zero = per_row(cx, a_zero)?;
    must_be(b.rank() > 0 && a.rank() > 0, "a product takes vectors or matrices", b)?;
    if let Some((weights, sums)) = byte_weights(cx, b, b_zero.as_ref(), b.rank() - 1)
        && b.rank() == 2
        && byte(a.dtype())
    {
        let acc = linear::product(cx, a, &weights)?;
        return without(cx, &acc, a, a_zero, &sums);
    }
    let (a, b) = (centered(cx, a, a_zero)?, centered(cx, b, b_zero)?);
    linear::product(cx, &a, &b)
}

fn byte(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::U8 | Dtype::I8)
}

/// Constant weights of 8 bits without their zero point, and their sums for each position of `axis`, if those fit i8.
fn byte_weights(cx: &mut Cx, w: &Value, zero: Option<&Value>, axis: usize) -> Option<(Value, Vec<i32>)> {
    let tensor = cx.as_const(w)?.clone();
    let zeros = match zero {
        Some(zero) => {
            let known = cx.known(zero)?;
            let fits = known.elements() == 1 || (known.elements() == tensor.shape()[axis] && zero.dtype() == w.dtype());
            fits.then(|| known.to_i64s())?
        }
        None => vec![0],
    };
    if !byte(tensor.dtype()) || zeros.is_empty() {
        return None;
    }
    let small = weights::centered(&tensor, &zeros, axis);
    let sums = weights::sums(&small, axis);
    (small.dtype() == Dtype::I8).then(|| (cx.constant(small), sums))
}

/// A product less what a zero point of `a` adds to it. `a_zero` is lined up with the rows.
fn without(cx: &mut Cx, acc: &Value, a: &Value, a_zero: Option<Value>, sums: &[i32]) -> Result<Value, Fault> {
    let Some(zero) = a_zero else { return Ok(acc.clone()) };
    must_be(zero.dtype() == a.dtype(), &format!("the zero point is {}", a.dtype().name()), &zero)?;
    if cx.known(&zero).is_some_and(|known| known.to_i64s().iter().all(|&z| z == 0)) {
        return Ok(acc.clone());
    }
    // a single number has no axes, a list of rows two
    let zero = if zero.ty.elements() == Some(1) { cx.reshape(&zero, Vec::new())? } else { zero };
    let bytes: Vec<u8> = sums.iter().flat_map(|s| s.to_le_bytes()).collect();
    let sums = cx.constant(Tensor::dense(Dtype::I32, &[sums.len()], bytes));
    cx.pointwise("{ t0 = cast.i32(b); t1 = mul(c, t0); sub(a, t1) }", Dtype::I32, &[acc, &zero, &sums])
}

pub fn matmul_integer(cx: &mut Cx) -> Made {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let zeros = [cx.optional(2), cx.optional(3)];
    Ok(vec![integer_product(cx, &a, &b, zeros)?])
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
    let x_zero = per_kernel(cx, x_zero, 1)?;
    if let Some((weights, sums)) = byte_weights(cx, &w, w_zero.as_ref(), 0)
        && byte(x.dtype())
    {
        let known = match &x_zero {
            Some(zero) => cx.known(zero).map(|known| known.to_i64s()[0]),
            None => Some(0),
        };
        if let Some(zero) = known {
            // the zero point stands in the padding too, so that all windows have the same of it
            let bias: Vec<u8> = sums.iter().flat_map(|s| s.wrapping_mul(-zero as i32).to_le_bytes()).collect();
            let bias = (zero != 0).then(|| cx.constant(Tensor::dense(Dtype::I32, &[sums.len()], bias)));
            return Ok(vec![conv::convolve_in(cx, &x, &weights, bias, Literal::int(x.dtype(), zero))?]);
        }
        if let (Some(zero), Some(mut shape)) = (&x_zero, x.ty.fixed()) {
            let acc = conv::convolve(cx, &x, &weights, None)?;
            shape[0] = 1;
            let ones = cx.constant(Tensor::splat(x.dtype(), &shape, &[1]));
            let inside = conv::convolve(cx, &ones, &weights, None)?;
            return Ok(vec![cx.pointwise("{ t0 = cast.i32(b); t1 = mul(c, t0); sub(a, t1) }", Dtype::I32, &[&acc, zero, &inside])?]);
        }
    }
    let w_zero = per_kernel(cx, w_zero, w.rank().max(1))?;
    let (x, w) = (centered(cx, &x, x_zero)?, centered(cx, &w, w_zero)?);
    Ok(vec![conv::convolve(cx, &x, &w, None)?])
}

/// The values as constants, if all of them are known.
pub fn all_known(cx: &mut Cx, values: &[&Value]) -> Option<Vec<Value>> {
    let known: Vec<Tensor> = values.iter().map(|v| cx.known(v)).collect::<Option<_>>()?;
    Some(known.into_iter().map(|t| cx.constant(t)).collect())
}

/// The products of a scale with each of a list of scales: the steps of a bias.
pub fn steps(cx: &mut Cx, x: &Value, w: &Value) -> Option<Value> {
    let (x, w) = (cx.known(x)?.to_f32s(), cx.known(w)?.to_f32s());
    let products = weights::zip(&x, &w, |x, w| x * w);
    let shape: &[usize] = if products.len() == 1 { &[] } else { &[products.len()] };
    Some(cx.constant(Tensor::f32s(shape, &products)))
}

/// i32 in steps of `scale` as floats.
pub fn bias_up(cx: &mut Cx, bias: &Value, scale: &Value) -> Result<Value, Fault> {
    up(cx, bias, scale, None, bias.rank().saturating_sub(1))
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
    if let Some(p) = all_known(cx, &[&inputs[1], &inputs[2], &inputs[4], &inputs[5], &inputs[6], &inputs[7]])
        && [0, 1, 4, 5].iter().all(|&i| p[i].ty.elements() == Some(1))
        && inputs[3].rank() > 0
        && (p[2].ty.elements() == Some(1) || inputs[3].rank() == 2)
    {
        let a = up(cx, &inputs[0], &p[0], Some(p[1].clone()), 0)?;
        let b = up(cx, &inputs[3], &p[2], Some(p[3].clone()), inputs[3].rank() - 1)?;
        let made = linear::product(cx, &a, &b)?;
        return Ok(vec![down(cx, &made, &p[4], &p[5])?]);
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
    let bias = cx.optional(8);
    if let Some(p) = all_known(cx, &[&required[1], &required[2], &required[4], &required[5], &required[6], &required[7]])
        && [0, 1, 4, 5].iter().all(|&i| p[i].ty.elements() == Some(1))
        && cx.as_const(&required[3]).is_some()
        && let Some(steps) = steps(cx, &p[0], &p[2])
    {
        let x = up(cx, &required[0], &p[0], Some(p[1].clone()), 0)?;
        let w = up(cx, &required[3], &p[2], Some(p[3].clone()), 0)?;
        let bias = bias.map(|bias| bias_up(cx, &bias, &steps)).transpose()?;
        let made = conv::convolve(cx, &x, &w, bias)?;
        return Ok(vec![down(cx, &made, &p[4], &p[5])?]);
    }
    let rank = required[3].rank().max(1);
    let w_zero = per_kernel(cx, Some(required[5].clone()), rank)?;
    let x_zero = per_kernel(cx, Some(required[2].clone()), 1)?;
    let (x, w) = (centered(cx, &required[0], x_zero)?, centered(cx, &required[3], w_zero)?);
    let acc = conv::convolve(cx, &x, &w, bias)?;
    // One scale per output channel lines up with axis 1 of the result.
    let w_scale = per_kernel(cx, Some(required[4].clone()), rank - 1)?.unwrap_or_else(|| required[4].clone());
    let one = |cx: &mut Cx, i: usize| cx.reshape(&required[i], Vec::new());
    let (x_scale, y_scale, y_zero) = (one(cx, 1)?, one(cx, 6)?, one(cx, 7)?);
    Ok(vec![requantized(cx, &acc, [&x_scale, &w_scale, &y_scale], &y_zero)?])
}
