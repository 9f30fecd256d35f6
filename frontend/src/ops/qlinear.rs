//! Quantized operators of ONNX Runtime's domain: bytes in, bytes out, with onnxruntime's order of roundings; and
//! weights of a few bits, which stay behind a `dequantize` where they are constant.

use ir::graph::op::ReduceKind;
use ir::scalar::ScalarOp;
use ir::{Dim, Dtype, Fault, Op, Tensor};

use crate::build::{Value, number};
use crate::cx::{Cx, Made, axis, must_be, one, zero};
use crate::ops::quant::{all_known, bias_up, centered, down, integer_product, is_scale, steps, up};
use crate::ops::{linear, window};

/// A scale and a zero point, one number each. A zero point that is left out is zero.
fn pair(cx: &mut Cx, at: usize, dtype: Dtype) -> Result<[Value; 2], Fault> {
    let scale = cx.input(at)?;
    is_scale(cx, &scale, "a scale")?;
    let zero = match cx.optional(at + 1) {
        Some(zero) => zero,
        None => cx.fill(dtype, 0.0, &[])?,
    };
    must_be(scale.ty.elements() == Some(1), "a scale is one number", &scale)?;
    must_be(zero.ty.elements() == Some(1) && zero.dtype().is_int(), "a zero point is one integer", &zero)?;
    Ok([cx.reshape(&scale, Vec::new())?, cx.reshape(&zero, Vec::new())?])
}

fn dequantized(cx: &mut Cx, x: &Value, [scale, zero]: &[Value; 2]) -> Result<Value, Fault> {
    must_be(x.dtype() == zero.dtype(), &format!("it is of {} as its zero point", zero.dtype().name()), x)?;
    up(cx, x, scale, Some(zero.clone()), 0)
}

fn quantized_to(cx: &mut Cx, x: &Value, [scale, zero]: &[Value; 2]) -> Result<Value, Fault> {
    down(cx, x, scale, zero)
}

/// Scales and zero points as constants, if all of them are known.
fn known_pairs<const N: usize>(cx: &mut Cx, pairs: [&[Value; 2]; N]) -> Option<[[Value; 2]; N]> {
    let flat: Vec<&Value> = pairs.iter().flat_map(|p| p.iter()).collect();
    let known = all_known(cx, &flat)?;
    Some(std::array::from_fn(|i| [known[2 * i].clone(), known[2 * i + 1].clone()]))
}

/// Two operands joined as floats, if the steps of all are known: onnxruntime's order of roundings is restored where
/// quantized arithmetic is folded.
fn joined(cx: &mut Cx, op: ScalarOp, [a, b]: [&Value; 2], pairs: [&[Value; 2]; 3]) -> Result<Option<Value>, Fault> {
    let Some([pa, pb, py]) = known_pairs(cx, pairs) else { return Ok(None) };
    let (a, b) = (dequantized(cx, a, &pa)?, dequantized(cx, b, &pb)?);
    let made = cx.apply(op, &[&a, &b])?;
    quantized_to(cx, &made, &py).map(Some)
}

/// `a * ra + (b * rb + shift)`, rounded once behind each product.
pub fn add(cx: &mut Cx) -> Made {
    let (a, b) = (cx.input(0)?, cx.input(3)?);
    let (pa, pb, py) = (pair(cx, 1, a.dtype())?, pair(cx, 4, a.dtype())?, pair(cx, 6, a.dtype())?);
    if let Some(made) = joined(cx, ScalarOp::Add, [&a, &b], [&pa, &pb, &py])? {
        return Ok(vec![made]);
    }
    let ratio = |cx: &mut Cx, p: &[Value; 2]| cx.apply(ScalarOp::Div, &[&p[0], &py[0]]);
    let (ra, rb) = (ratio(cx, &pa)?, ratio(cx, &pb)?);
    let text = "{ t0 = cast.f32(b); t1 = mul(a, t0); t2 = cast.f32(d); t3 = mul(c, t2); t4 = add(t1, t3); t5 = cast.f32(e); sub(t5, t4) }";
    let shift = cx.pointwise(text, Dtype::F32, &[&ra, &pa[1], &rb, &pb[1], &py[1]])?;
    let to = py[1].dtype().name();
    let text =
        format!("{{ t0 = cast.f32(a); t1 = cast.f32(c); t2 = mul_add(t1, d, e); t3 = mul_add(t0, b, t2); t4 = round(t3); cast.{to}(t4) }}");
    Ok(vec![cx.pointwise(&text, Dtype::F32, &[&a, &ra, &b, &rb, &shift])?])
}

pub fn mul(cx: &mut Cx) -> Made {
    let (a, b) = (cx.input(0)?, cx.input(3)?);
    let (pa, pb, py) = (pair(cx, 1, a.dtype())?, pair(cx, 4, a.dtype())?, pair(cx, 6, a.dtype())?);
    if let Some(made) = joined(cx, ScalarOp::Mul, [&a, &b], [&pa, &pb, &py])? {
        return Ok(vec![made]);
    }
    let scale = cx.pointwise("{ t0 = mul(a, b); div(t0, c) }", Dtype::F32, &[&pa[0], &pb[0], &py[0]])?;
    let (a, b) = (centered(cx, &a, Some(pa[1].clone()))?, centered(cx, &b, Some(pb[1].clone()))?);
    let acc = cx.apply(ScalarOp::Mul, &[&a, &b])?;
    Ok(vec![scaled(cx, &acc, &scale, &py[1])?])
}

/// `round(acc * scale) + zero`, held inside the type's range.
fn scaled(cx: &mut Cx, acc: &Value, scale: &Value, zero: &Value) -> Result<Value, Fault> {
    let to = zero.dtype().name();
    let text = format!("{{ t0 = cast.f32(a); t1 = mul(t0, b); t2 = round(t1); t3 = cast.f32(c); t4 = add(t2, t3); cast.{to}(t4) }}");
    cx.pointwise(&text, Dtype::F32, &[acc, scale, zero])
}

/// A function of one operand.
fn unary(cx: &mut Cx, text: &str) -> Made {
    let x = cx.input(0)?;
    let (px, py) = (pair(cx, 1, x.dtype())?, pair(cx, 3, x.dtype())?);
    let wide = dequantized(cx, &x, &px)?;
    let made = cx.pointwise(text, Dtype::F32, &[&wide])?;
    Ok(vec![quantized_to(cx, &made, &py)?])
}

pub fn sigmoid(cx: &mut Cx) -> Made {
    unary(cx, "{ sigmoid(a) }")
}

pub fn leaky_relu(cx: &mut Cx) -> Made {
    let alpha = number(f64::from(cx.attrs.float_or("alpha", 0.01)?));
    unary(cx, &format!("{{ t0 = mul(a, {alpha}); t1 = lt(a, 0.0); select(t1, t0, a) }}"))
}

pub fn softmax(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let (px, py) = (pair(cx, 1, x.dtype())?, pair(cx, 3, x.dtype())?);
    let modern = cx.attrs.int_or("opset", 13)? >= 13;
    let at = axis(cx.attrs.int_or("axis", -1)?, x.rank())?;
    let wide = dequantized(cx, &x, &px)?;
    let (rows, at) = if modern {
        (wide, at)
    } else {
        (cx.reshape(&wide, vec![ir::dim::product(&x.shape()[..at]), ir::dim::product(&x.shape()[at..])])?, 1)
    };
    let made =
        cx.add(ir::Op::Softmax { axis: at, log: false, prologue: ir::Body::identity(), epilogue: ir::Body::identity() }, &[&rows])?;
    let made = cx.reshape(&made, x.shape().to_vec())?;
    Ok(vec![quantized_to(cx, &made, &py)?])
}

/// The operand with channels second, and the way back.
fn channels(cx: &mut Cx, x: &Value) -> Result<(Value, bool), Fault> {
    let last = cx.attrs.flag("channels_last", false)?;
    must_be(x.rank() >= 3, "pooling takes a batch, channels and at least one spatial axis", x)?;
    Ok((if last { cx.channels_first(x)? } else { x.clone() }, last))
}

pub fn global_average(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let (px, py) = (pair(cx, 1, x.dtype())?, pair(cx, 3, x.dtype())?);
    let last = cx.attrs.flag("channels_last", false)?;
    must_be(x.rank() >= 3, "pooling takes a batch, channels and at least one spatial axis", &x)?;
    let axes: Vec<usize> = if last { (1..x.rank() - 1).collect() } else { (2..x.rank()).collect() };
    let mut count = 1;
    for &at in &axes {
        count *= x.size(at)?;
    }
    if let Some([px, py]) = known_pairs(cx, [&px, &py]) {
        let wide = dequantized(cx, &x, &px)?;
        let mean = cx.reduce(&wide, ReduceKind::Mean, &axes)?;
        return Ok(vec![quantized_to(cx, &mean, &py)?]);
    }
    let whole = centered(cx, &x, Some(px[1].clone()))?;
    let sum = cx.reduce(&whole, ReduceKind::Sum, &axes)?;
    let text = format!("{{ t0 = mul(b, {}); div(a, t0) }}", number(count as f64));
    let scale = cx.pointwise(&text, Dtype::F32, &[&px[0], &py[0]])?;
    Ok(vec![scaled(cx, &sum, &scale, &py[1])?])
}

pub fn average(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let (px, py) = (pair(cx, 1, x.dtype())?, pair(cx, 3, x.dtype())?);
    let (x, last) = channels(cx, &x)?;
    if let Some([px, py]) = known_pairs(cx, [&px, &py]) {
        let wide = dequantized(cx, &x, &px)?;
        cx.inputs = vec![Some(wide)];
        let made = window::average(cx)?.remove(0);
        let made = quantized_to(cx, &made, &py)?;
        return Ok(vec![if last { cx.channels_last(&made)? } else { made }]);
    }
    // the mean of whole numbers, so that halves are halves when they are rounded
    let whole = centered(cx, &x, Some(px[1].clone()))?;
    let whole = cx.cast(&whole, Dtype::F32)?;
    cx.inputs = vec![Some(whole)];
    let made = window::average(cx)?.remove(0);
    let scale = cx.apply(ScalarOp::Div, &[&px[0], &py[0]])?;
    let made = scaled(cx, &made, &scale, &py[1])?;
    Ok(vec![if last { cx.channels_last(&made)? } else { made }])
}

pub fn nhwc_max(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    must_be(x.rank() >= 3, "pooling takes a batch, channels and at least one spatial axis", &x)?;
    let turned = cx.channels_first(&x)?;
    cx.inputs = vec![Some(turned)];
    let made = window::max(cx)?.remove(0);
    Ok(vec![cx.channels_last(&made)?])
}

pub fn concat(cx: &mut Cx) -> Made {
    let count = cx.inputs.len().saturating_sub(2);
    if count == 0 || !count.is_multiple_of(3) {
        return Err(Fault::invalid("it takes a scale and a zero point for its result and for each operand"));
    }
    let py = pair(cx, 0, Dtype::U8)?;
    let mut parts = Vec::with_capacity(count / 3);
    for i in 0..count / 3 {
        let x = cx.input(2 + 3 * i)?;
        let px = pair(cx, 3 + 3 * i, x.dtype())?;
        let wide = dequantized(cx, &x, &px)?;
        parts.push(quantized_to(cx, &wide, &py)?);
    }
    let at = axis(cx.attrs.int_or("axis", 0)?, parts[0].rank())?;
    Ok(vec![cx.concat(&parts.iter().collect::<Vec<_>>(), at)?])
}

/// The product of dequantized factors, if their steps are known and the weights are constant. `pb` holds the scale twice where
/// there is no zero point.
fn gemm_in_floats(cx: &mut Cx, [a, b]: [&Value; 2], pa: &[Value; 2], pb: [&Value; 2], turned: bool) -> Result<Option<Value>, Fault> {
    let (c, full) = (cx.optional(6), cx.optional(7).is_some());
    let (Some([pa]), Some(pb_known)) = (known_pairs(cx, [pa]), all_known(cx, &pb)) else { return Ok(None) };
    let py = if full { Some(pair(cx, 7, Dtype::U8)?) } else { None };
    let py = match &py {
        Some(py) => match known_pairs(cx, [py]) {
            Some([py]) => Some(py),
            None => return Ok(None),
        },
        None => None,
    };
    let Some(steps) = steps(cx, &pa[0], &pb_known[0]) else { return Ok(None) };
    if cx.as_const(b).is_none() || c.as_ref().is_some_and(|c| c.dtype() != Dtype::I32) {
        return Ok(None);
    }
    let zero = (pb_known[1].dtype() == b.dtype()).then(|| pb_known[1].clone());
    let left = dequantized(cx, a, &pa)?;
    let mut right = up(cx, b, &pb_known[0], zero, usize::from(!turned))?;
    if turned {
        right = cx.transpose(&right, &[1, 0])?;
    }
    let mut made = cx.dot(&left, &right)?;
    if let Some(c) = c {
        let c = bias_up(cx, &c, &steps)?;
        made = cx.apply(ScalarOp::Add, &[&made, &c])?;
    }
    Ok(Some(match py {
        Some(py) => quantized_to(cx, &made, &py)?,
        None => made,
    }))
}

pub fn gemm(cx: &mut Cx) -> Made {
    let (mut a, mut b) = (cx.input(0)?, cx.input(3)?);
    let pa = pair(cx, 1, a.dtype())?;
    let (b_scale, b_zero, c) = (cx.input(4)?, cx.optional(5), cx.optional(6));
    is_scale(cx, &b_scale, "a scale")?;
    must_be(a.rank() == 2 && b.rank() == 2, "it takes matrices", &a)?;
    let alpha = cx.attrs.float_or("alpha", 1.0)?;
    if cx.attrs.flag("transA", false)? {
        a = cx.transpose(&a, &[1, 0])?;
    }
    let turned = cx.attrs.flag("transB", false)?;
    if alpha == 1.0
        && let Some(made) = gemm_in_floats(cx, [&a, &b], &pa, [&b_scale, b_zero.as_ref().unwrap_or(&b_scale)], turned)?
    {
        return Ok(vec![made]);
    }
    let alpha = number(f64::from(alpha));
    a = centered(cx, &a, Some(pa[1].clone()))?;
    if turned {
        b = cx.transpose(&b, &[1, 0])?;
    }
    b = centered(cx, &b, b_zero)?;
    let mut acc = cx.dot(&a, &b)?;
    if let Some(c) = c {
        must_be(c.dtype() == Dtype::I32, "the summand is int32", &c)?;
        acc = cx.apply(ScalarOp::Add, &[&acc, &c])?;
    }
    let scale = cx.pointwise(&format!("{{ t0 = mul(a, b); mul(t0, {alpha}) }}"), Dtype::F32, &[&pa[0], &b_scale])?;
    if cx.optional(7).is_none() {
        return Ok(vec![cx.pointwise("{ t0 = cast.f32(a); mul(t0, b) }", Dtype::F32, &[&acc, &scale])?]);
    }
    let py = pair(cx, 7, Dtype::U8)?;
    let scale = cx.apply(ScalarOp::Div, &[&scale, &py[0]])?;
    Ok(vec![scaled(cx, &acc, &scale, &py[1])?])
}

/// `(a - za) x (b - zb) * (sa * sb) + bias`.
fn product(
    cx: &mut Cx,
    a: [&Value; 2],
    b: &Value,
    b_scale: &Value,
    zeros: [Option<Value>; 2],
    bias: Option<Value>,
) -> Result<Value, Fault> {
    let acc = integer_product(cx, a[0], b, zeros)?;
    let made = cx.pointwise("{ t0 = cast.f32(a); t1 = mul(b, c); mul(t0, t1) }", Dtype::F32, &[&acc, a[1], b_scale])?;
    match bias {
        Some(bias) => cx.apply(ScalarOp::Add, &[&made, &bias]),
        None => Ok(made),
    }
}

pub fn dynamic_matmul(cx: &mut Cx) -> Made {
    let (b, b_scale, b_zero, bias) = (cx.input(1)?, cx.input(2)?, cx.optional(3), cx.optional(4));
    let made = crate::ops::quant::dynamic(cx)?;
    let [a, scale, zero] = [&made[0], &made[1], &made[2]];
    Ok(vec![product(cx, [a, scale], &b, &b_scale, [Some(zero.clone()), b_zero], bias)?])
}

pub fn matmul_to_float(cx: &mut Cx) -> Made {
    let (a, b, a_scale, b_scale) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.input(3)?);
    let (a_zero, b_zero, bias) = (cx.optional(4), cx.optional(5), cx.optional(6));
    Ok(vec![product(cx, [&a, &a_scale], &b, &b_scale, [a_zero, b_zero], bias)?])
}

/// Attention over quantized inputs and weights; scores and shares are floats.
pub fn attention(cx: &mut Cx) -> Made {
    let (x, w, bias, x_scale, w_scale) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.input(3)?, cx.input(4)?);
    let (mask, x_zero, w_zero) = (cx.optional(5), cx.optional(6), cx.optional(7));
    if mask.is_some() || cx.optional(8).is_some() {
        return Err(Fault::unsupported("a mask or a past of quantized attention is not supported"));
    }
    let all = product(cx, [&x, &x_scale], &w, &w_scale, [x_zero, w_zero], Some(bias))?;
    crate::ops::contrib::packed_attention(cx, &all)
}

/// Numbers of `bits` bits, lowest first in each byte, along the last axis.
fn unpacked(cx: &mut Cx, packed: &Value, bits: usize) -> Result<Value, Fault> {
    if bits == 8 {
        return Ok(packed.clone());
    }
    let each = 8 / bits;
    let apart = cx.reshape(packed, [packed.shape(), &[one()]].concat())?;
    let shifts: Vec<u8> = (0..each).map(|i| (i * bits) as u8).collect();
    let shifts = cx.constant(Tensor::dense(Dtype::U8, &[each], shifts));
    let text = format!("{{ t0 = shr(a, b); bit_and(t0, {}:u8) }}", (1 << bits) - 1);
    let numbers = cx.pointwise(&text, Dtype::U8, &[&apart, &shifts])?;
    let mut shape = packed.shape().to_vec();
    let last = shape.len() - 1;
    shape[last] = shape[last].clone() * Dim::from(each);
    cx.reshape(&numbers, shape)
}

fn bits(cx: &Cx) -> Result<usize, Fault> {
    match cx.attrs.int_or("bits", 4)? {
        bits @ (2 | 4 | 8) => Ok(bits as usize),
        bits => Err(Fault::unsupported(format!("weights of {bits} bits are not supported"))),
    }
}

fn count(cx: &Cx, name: &str) -> Result<usize, Fault> {
    match cx.attrs.int(name)? {
        Some(n @ 1..0x1_0000_0000) => Ok(n as usize),
        _ => Err(Fault::invalid(format!("attribute {name:?} is missing or no size"))),
    }
}

/// `a x b`, where `b` is `[n, k]` in blocks along `k`, each with a scale and a zero point.
pub fn matmul_bits(cx: &mut Cx) -> Made {
    let (a, b, scales, zeros) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.optional(3));
    let groups = cx.optional(4);
    let bias = cx.optional(5);
    cx.attrs.ignore(&["accuracy_level", "weight_prepacked"]);
    let (bits, k, n, block) = (bits(cx)?, count(cx, "K")?, count(cx, "N")?, count(cx, "block_size")?);
    let blocks = k.div_ceil(block);
    must_be(
        a.dtype().is_float() && a.rank() > 0 && a.shape()[a.rank() - 1] == Dim::from(k),
        &format!("its last axis has {k} numbers"),
        &a,
    )?;
    let bytes = (block * bits).div_ceil(8);
    must_be(
        b.dtype() == Dtype::U8 && b.ty.elements() == n.checked_mul(blocks).and_then(|m| m.checked_mul(bytes)),
        &format!("it has {blocks} blocks of {bytes} bytes for each of {n} rows"),
        &b,
    )?;
    must_be(
        scales.dtype().is_float() && scales.ty.elements() == Some(n * blocks),
        &format!("there are {blocks} scales for each of {n} rows"),
        &scales,
    )?;
    if let Some(groups) = &groups {
        let fits = groups.dtype() == Dtype::I32 && [k, blocks * block].map(Some).contains(&groups.ty.elements());
        must_be(fits, &format!("there is a group for each of {k} positions"), groups)?;
    }
    let packed = if groups.is_none() { packed_weights(cx, &b, &scales, zeros.as_ref(), bits, [n, k, block])? } else { None };
    let weights = match packed {
        Some(weights) => weights,
        None => unpacked_weights(cx, &b, &scales, zeros, groups, bits, [n, k, block])?,
    };
    let weights = cx.cast(&weights, a.dtype())?;
    let weights = cx.transpose(&weights, &[1, 0])?;
    let made = linear::product(cx, &a, &weights)?;
    Ok(vec![match bias {
        Some(bias) => cx.apply(ScalarOp::Add, &[&made, &bias])?,
        None => made,
    }])
}

/// Constant weights `[n, k]` behind a `dequantize`, where zero points are constant integers.
fn packed_weights(
    cx: &mut Cx,
    b: &Value,
    scales: &Value,
    zeros: Option<&Value>,
    bits: usize,
    [n, k, block]: [usize; 3],
) -> Result<Option<Value>, Fault> {
    let dtype = match bits {
        2 => Dtype::U2,
        4 => Dtype::U4,
        _ => Dtype::U8,
    };
    let blocks = k.div_ceil(block);
    let Some(numbers) = cx.as_const(b).map(|t| apart(&t.bytes(), bits)) else { return Ok(None) };
    let zeros = match zeros {
        None => Tensor::splat(dtype, &[n, blocks], &[1 << (bits - 1)]),
        Some(zeros) => {
            let line = (blocks * bits).div_ceil(8);
            let known = cx.as_const(zeros).filter(|t| t.dtype() == Dtype::U8 && t.elements() == n * line);
            let Some(zeros) = known.map(|t| apart(&t.bytes(), bits)) else { return Ok(None) };
            let wide = line * 8 / bits;
            Tensor::dense(dtype, &[n, wide], zeros).slice(&[0, 0], &[1, 1], &[n, blocks])
        }
    };
    let wide = numbers.len() / n;
    let numbers = cx.constant(Tensor::dense(dtype, &[n, wide], numbers).slice(&[0, 0], &[1, 1], &[n, k]));
    let zeros = cx.constant(zeros);
    let scale = cx.reshape(scales, ir::dim::dims(&[n, blocks]))?;
    let scale = cx.cast(&scale, Dtype::F32)?;
    cx.add(Op::Dequantize { axis: 1, block }, &[&numbers, &scale, &zeros]).map(Some)
}

/// Numbers of `bits` bits, lowest first in each byte.
fn apart(bytes: &[u8], bits: usize) -> Vec<u8> {
    let mask = ((1u16 << bits) - 1) as u8;
    bytes.iter().flat_map(|&byte| (0..8 / bits).map(move |i| byte >> (i * bits) & mask)).collect()
}

/// The weights `[n, k]` as floats, for whatever is not constant, or where `groups` say whose scale and zero point each position of K has.
fn unpacked_weights(
    cx: &mut Cx,
    b: &Value,
    scales: &Value,
    zeros: Option<Value>,
    groups: Option<Value>,
    bits: usize,
    [n, k, block]: [usize; 3],
) -> Result<Value, Fault> {
    let (blocks, bytes) = (k.div_ceil(block), (block * bits).div_ceil(8));
    let packed = cx.reshape(b, ir::dim::dims(&[n, blocks, bytes]))?;
    let numbers = unpacked(cx, &packed, bits)?;
    let scale = cx.reshape(scales, ir::dim::dims(&[n, blocks]))?;
    let scale = cx.cast(&scale, Dtype::F32)?;
    let zero_point = match zeros {
        Some(zeros) if zeros.dtype() == Dtype::U8 => {
            let line = (blocks * bits).div_ceil(8);
            must_be(zeros.ty.elements() == Some(n * line), &format!("there are {line} bytes of zero points for each of {n} rows"), &zeros)?;
            let zeros = cx.reshape(&zeros, ir::dim::dims(&[n, line]))?;
            let zeros = unpacked(cx, &zeros, bits)?;
            let zeros = cx.part(&zeros, 1, zero(), Dim::from(blocks))?;
            cx.cast(&zeros, Dtype::F32)?
        }
        Some(zeros) => {
            must_be(zeros.dtype().is_float() && zeros.ty.elements() == Some(n * blocks), "there is a zero point per scale", &zeros)?;
            cx.cast(&zeros, Dtype::F32)?
        }
        None => cx.fill(Dtype::F32, f64::from(1 << (bits - 1)), &ir::dim::dims(&[n, blocks]))?,
    };
    const TEXT: &str = "{ t0 = cast.f32(a); t1 = sub(t0, c); mul(t1, b) }";
    let Some(groups) = groups else {
        let [scale, zero_point] =
            [cx.reshape(&scale, ir::dim::dims(&[n, blocks, 1]))?, cx.reshape(&zero_point, ir::dim::dims(&[n, blocks, 1]))?];
        let weights = cx.pointwise(TEXT, Dtype::F32, &[&numbers, &scale, &zero_point])?;
        let weights = cx.reshape(&weights, ir::dim::dims(&[n, blocks * block]))?;
        return cx.part(&weights, 1, zero(), Dim::from(k));
    };
    let groups = cx.part(&groups, 0, zero(), Dim::from(k))?;
    let numbers = cx.reshape(&numbers, ir::dim::dims(&[n, blocks * block]))?;
    let numbers = cx.part(&numbers, 1, zero(), Dim::from(k))?;
    let zero_point = cx.reshape(&zero_point, ir::dim::dims(&[n, blocks]))?;
    let [scale, zero_point] = [cx.gather(&scale, &groups, 1)?, cx.gather(&zero_point, &groups, 1)?];
    cx.pointwise(TEXT, Dtype::F32, &[&numbers, &scale, &zero_point])
}

/// Rows of a table of a few bits, picked first and turned into floats then.
pub fn gather_blocks(cx: &mut Cx) -> Made {
    let (data, indices, scales, zeros) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.optional(3));
    let (bits, block) = (bits(cx)?, cx.attrs.int_or("block_size", 128)?);
    let packed = data.dtype() == Dtype::U8 && bits < 8;
    let at = axis(cx.attrs.int_or("gather_axis", 0)?, data.rank())?;
    let along = axis(cx.attrs.int_or("quantize_axis", 1)?, data.rank())?;
    if at == along || along + 1 != data.rank() {
        return Err(Fault::unsupported("blocks along another axis than the last, or along the gathered one, are not supported"));
    }
    if block < 1 {
        return Err(Fault::invalid(format!("attribute \"block_size\" is {block}")));
    }
    let pick = |cx: &mut Cx, x: &Value| cx.gather(x, &indices, at);
    let mut numbers = pick(cx, &data)?;
    let mut spans = vec![pick(cx, &scales)?];
    if let Some(zeros) = &zeros {
        let mut zeros = pick(cx, zeros)?;
        if packed {
            zeros = unpacked(cx, &zeros, bits)?;
        }
        spans.push(zeros);
    }
    if packed {
        numbers = unpacked(cx, &numbers, bits)?;
    }
    let last = numbers.rank() - 1;
    let extent = numbers.size(last)? as i64;
    if extent > 1 << 24 {
        return Err(Fault::limit(format!("rows of {extent} numbers are too long")));
    }
    cx.room(extent, Dtype::I64)?;
    let places = cx.ints(&(0..extent).map(|i| i / block).collect::<Vec<_>>());
    let blocks = (extent + block - 1) / block;
    for span in &mut spans {
        let fits = span.rank() == last + 1 && span.size(last)? as i64 >= blocks;
        must_be(fits, &format!("there are {blocks} blocks along the last axis"), span)?;
        *span = cx.gather(span, &places, last)?;
    }
    let to = scales.dtype();
    let numbers = cx.cast(&numbers, to)?;
    let zero_point = match spans.get(1) {
        Some(zeros) => cx.cast(zeros, to)?,
        None => cx.fill(to, if data.dtype() == Dtype::U8 { f64::from(1 << (bits - 1)) } else { 0.0 }, &[])?,
    };
    Ok(vec![cx.pointwise("{ t0 = sub(a, c); mul(t0, b) }", to, &[&numbers, &spans[0], &zero_point])?])
}
