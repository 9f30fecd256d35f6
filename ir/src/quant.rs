//! Quantized arithmetic in the scalar language: the one place that spells quantize, dequantize, requantize, and the
//! sums, products and means of quantized numbers. Everything is f32, rounds half to even, and is held inside the range
//! *before* it is rounded, so that nothing saturates afterwards: bit for bit what onnxruntime's integer kernels do.
//! It knows no tensor and no operator; who may apply a formula is decided where graphs are rewritten.

pub mod weights;

use crate::scalar::{Arg, Body, Literal, ScalarOp};
use crate::tensor::Dtype;

/// A zero point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    Known(i64),
    /// A parameter or term of the quantized type.
    At(Arg),
}

/// Smallest and largest number of a quantized type.
pub fn range(dtype: Dtype) -> (i64, i64) {
    let (low, high) = dtype.int_range().expect("quantized numbers are integers");
    (low as i64, high as i64)
}

/// Whether tensors of this type may be quantized numbers that the operators `quantize` and `dequantize` speak of.
pub fn is_storage(dtype: Dtype) -> bool {
    dtype.is_int() && dtype.bytes() <= 2
}

fn number(dtype: Dtype, value: f64) -> Arg {
    Arg::Literal(Literal::number(dtype, value))
}

/// A conversion, unless the value has the type already.
fn cast(body: &mut Body, x: Arg, from: Dtype, to: Dtype) -> Arg {
    if from == to { x } else { body.push(ScalarOp::Cast(to), &[x]) }
}

/// `x - zero` as a float of type `wide`. `x` and an unknown zero point are of type `from`.
pub fn centered(body: &mut Body, x: Arg, from: Dtype, zero: Zero, wide: Dtype) -> Arg {
    let x = cast(body, x, from, wide);
    match zero {
        Zero::Known(0) => x,
        Zero::Known(zero) => body.push(ScalarOp::Sub, &[x, number(wide, zero as f64)]),
        Zero::At(zero) => {
            let zero = cast(body, zero, from, wide);
            body.push(ScalarOp::Sub, &[x, zero])
        }
    }
}

/// `(x - zero) * scale`, with a scale of type `wide`.
pub fn dequantize(body: &mut Body, x: Arg, from: Dtype, scale: Arg, zero: Zero, wide: Dtype) -> Arg {
    let x = centered(body, x, from, zero, wide);
    body.push(ScalarOp::Mul, &[x, scale])
}

/// A float counted in steps of the result, rounded to a quantized number: held inside `bounds` (quantized numbers,
/// those of the type or fewer), rounded, shifted by the zero point.
pub fn settle(body: &mut Body, x: Arg, wide: Dtype, zero: Zero, to: Dtype, bounds: (i64, i64)) -> Arg {
    let held = |body: &mut Body, x: Arg, by: i64| {
        let x = body.push(ScalarOp::Max, &[x, number(wide, (bounds.0 - by) as f64)]);
        body.push(ScalarOp::Min, &[x, number(wide, (bounds.1 - by) as f64)])
    };
    let whole = match zero {
        Zero::Known(zero) => {
            let x = held(body, x, zero);
            let x = body.push(ScalarOp::Round, &[x]);
            let x = body.push(ScalarOp::Cast(Dtype::I32), &[x]);
            let zero_point = Arg::Literal(Literal::int(Dtype::I32, zero));
            if zero == 0 { x } else { body.push(ScalarOp::Add, &[x, zero_point]) }
        }
        Zero::At(zero) => {
            let x = body.push(ScalarOp::Round, &[x]);
            let zero = cast(body, zero, to, wide);
            let x = body.push(ScalarOp::Add, &[x, zero]);
            let x = held(body, x, 0);
            body.push(ScalarOp::Cast(Dtype::I32), &[x])
        }
    };
    body.push(ScalarOp::Cast(to), &[whole])
}

/// `x / scale` as a quantized number: a true division, since a reciprocal rounds elsewhere near ties.
pub fn quantize(body: &mut Body, x: Arg, scale: Arg, wide: Dtype, zero: Zero, to: Dtype) -> Arg {
    let x = body.push(ScalarOp::Div, &[x, scale]);
    settle(body, x, wide, zero, to, range(to))
}

/// An i32 sum counted in steps of `factor`, as a quantized number.
pub fn requantize(body: &mut Body, sum: Arg, factor: Arg, zero: Zero, to: Dtype, bounds: (i64, i64)) -> Arg {
    let x = body.push(ScalarOp::Cast(Dtype::F32), &[sum]);
    let x = body.push(ScalarOp::Mul, &[x, factor]);
    settle(body, x, Dtype::F32, zero, to, bounds)
}

/// How many steps of the result one step of a product is: `x * w / y`, rounded twice.
pub fn factor(x: f32, w: f32, y: f32) -> f32 {
    x * w / y
}

/// Scale and zero point of one quantized tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    pub dtype: Dtype,
    pub scale: f32,
    pub zero: i64,
    /// How far above the model's own numbers these lie: 128 for i8 under the label of u8.
    pub lift: i64,
}

/// `a + b` of quantized numbers: `a * ra + (b * rb + shift)`, each product rounded together with its sum. The model's own
/// numbers are what is multiplied: those above them round elsewhere.
pub fn add(body: &mut Body, [a, b]: [Arg; 2], from: [Affine; 2], to: Affine, bounds: (i64, i64)) -> Arg {
    let ratio = from.map(|f| f.scale / to.scale);
    let lift = to.lift;
    let zeros = from.map(|f| (f.zero - lift) as f32);
    let shift = (to.zero - lift) as f32 - (ratio[0] * zeros[0] + ratio[1] * zeros[1]);
    let wide = Dtype::F32;
    let mut own = |x: Arg, from: Affine| {
        let x = cast(body, x, from.dtype, wide);
        if lift == 0 { x } else { body.push(ScalarOp::Sub, &[x, number(wide, lift as f64)]) }
    };
    let (a, b) = (own(a, from[0]), own(b, from[1]));
    let literal = |v: f32| Arg::Literal(Literal::f32(v));
    let sum = body.push(ScalarOp::MulAdd, &[b, literal(ratio[1]), literal(shift)]);
    let sum = body.push(ScalarOp::MulAdd, &[a, literal(ratio[0]), sum]);
    // the shift holds the zero point already
    let held = body.push(ScalarOp::Max, &[sum, number(wide, (bounds.0 - lift) as f64)]);
    let held = body.push(ScalarOp::Min, &[held, number(wide, (bounds.1 - lift) as f64)]);
    let whole = body.push(ScalarOp::Round, &[held]);
    let whole = body.push(ScalarOp::Cast(Dtype::I32), &[whole]);
    let whole = if lift == 0 { whole } else { body.push(ScalarOp::Add, &[whole, Arg::Literal(Literal::int(Dtype::I32, lift))]) };
    body.push(ScalarOp::Cast(to.dtype), &[whole])
}

/// `a * b` of quantized numbers.
pub fn mul(body: &mut Body, [a, b]: [Arg; 2], from: [Affine; 2], to: Affine, bounds: (i64, i64)) -> Arg {
    // products of 9-bit numbers are exact in f32
    let a = centered(body, a, from[0].dtype, Zero::Known(from[0].zero), Dtype::F32);
    let b = centered(body, b, from[1].dtype, Zero::Known(from[1].zero), Dtype::F32);
    let product = body.push(ScalarOp::Mul, &[a, b]);
    let factor = Arg::Literal(Literal::f32(factor(from[0].scale, from[1].scale, to.scale)));
    let x = body.push(ScalarOp::Mul, &[product, factor]);
    settle(body, x, Dtype::F32, Zero::Known(to.zero), to.dtype, bounds)
}

/// How many steps of the result one step of a sum of `count` numbers is.
pub fn mean_factor(x: f32, y: f32, count: usize) -> f32 {
    x / (y * count as f32)
}

/// The same number in the other type of 8 bits, whose zero point is 128 away.
pub fn relabel(body: &mut Body, x: Arg, from: Dtype) -> Arg {
    let flipped = body.push(ScalarOp::BitXor, &[x, Arg::Literal(Literal::int(from, 128))]);
    body.push(ScalarOp::Bits(if from == Dtype::I8 { Dtype::U8 } else { Dtype::I8 }), &[flipped])
}

/// A body under construction over `params` parameters.
pub fn body(params: u8, build: impl FnOnce(&mut Body) -> Arg) -> Body {
    let mut out = Body { params, terms: Vec::new(), result: Arg::Param(0) };
    out.result = build(&mut out);
    out
}

/// The type that a float is computed in: f64 stays, everything else is f32.
fn wide(dtype: Dtype) -> Dtype {
    if dtype == Dtype::F64 { Dtype::F64 } else { Dtype::F32 }
}

/// What the operator `quantize` computes over x, scale and zero point. With `zero` known, there is no third parameter.
pub fn quantize_body(x: Dtype, scale: Dtype, to: Dtype, zero: Option<i64>) -> Body {
    let inside = wide(x);
    body(if zero.is_some() { 2 } else { 3 }, |b| {
        let (x, scale) = (cast(b, Arg::Param(0), x, inside), cast(b, Arg::Param(1), scale, inside));
        quantize(b, x, scale, inside, zero.map_or(Zero::At(Arg::Param(2)), Zero::Known), to)
    })
}

/// What the operator `dequantize` computes over x, scale and zero point: rounded once to the scale's type.
pub fn dequantize_body(x: Dtype, scale: Dtype, zero: Option<i64>) -> Body {
    let inside = wide(scale);
    body(if zero.is_some() { 2 } else { 3 }, |b| {
        let factor = cast(b, Arg::Param(1), scale, inside);
        let made = dequantize(b, Arg::Param(0), x, factor, zero.map_or(Zero::At(Arg::Param(2)), Zero::Known), inside);
        cast(b, made, inside, scale)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::text::print_body;

    #[test]
    fn the_spelling_is_the_documented_one() {
        let requantized = body(3, |b| {
            let sum = b.push(ScalarOp::Add, &[Arg::Param(0), Arg::Param(1)]);
            requantize(b, sum, Arg::Param(2), Zero::Known(3), Dtype::U8, (3, 255))
        });
        assert_eq!(
            print_body(&requantized),
            "{ t0 = add(a, b); t1 = cast.f32(t0); t2 = mul(t1, c); t3 = max(t2, 0.0); t4 = min(t3, 252.0); t5 = round(t4); \
             t6 = cast.i32(t5); t7 = add(t6, 3:i32); cast.u8(t7) }"
        );
        assert_eq!(
            print_body(&quantize_body(Dtype::F32, Dtype::F32, Dtype::I8, None)),
            "{ t0 = div(a, b); t1 = round(t0); t2 = cast.f32(c); t3 = add(t1, t2); t4 = max(t3, -128.0); t5 = min(t4, 127.0); \
             t6 = cast.i32(t5); cast.i8(t6) }"
        );
        assert_eq!(print_body(&body(1, |b| relabel(b, Arg::Param(0), Dtype::I8))), "{ t0 = bit_xor(a, -128:i8); bits.u8(t0) }");
    }
}
