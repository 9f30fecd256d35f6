//! Floats below 32 bits from and to their bits. They compute in F32; f16 and bf16 are loaded and stored by the
//! machine, the others by these statements. What does not fit saturates in types below 16 bits.

use super::writer::Writer;
use ir::Dtype;
use ir::kernel::scalar::{Binary, Ty, Unary, Value, ty_of};

/// A sign, an exponent with a bias, a mantissa.
struct Format {
    exponent: i64,
    mantissa: i64,
    bias: i64,
    /// Bits of the largest finite value; beyond it lies infinity, or nothing.
    max: i64,
    infinite: bool,
    /// Bits that stand for NaN.
    nan: i64,
}

fn format(dtype: Dtype) -> Option<Format> {
    let format = |exponent, mantissa, bias, max, infinite, nan| Some(Format { exponent, mantissa, bias, max, infinite, nan });
    match dtype {
        Dtype::F16 => format(5, 10, 15, 0x7bff, true, 0x7e00),
        Dtype::BF16 => format(8, 7, 127, 0x7f7f, true, 0x7fc0),
        Dtype::F8E4M3 => format(4, 3, 7, 0x7e, false, 0x7f),
        Dtype::F8E5M2 => format(5, 2, 15, 0x7b, false, 0x7e),
        // no negative zero: its bits mean NaN
        Dtype::F8E4M3Z => format(4, 3, 8, 0x7f, false, 0x80),
        Dtype::F8E5M2Z => format(5, 2, 16, 0x7f, false, 0x80),
        // no NaN: negative zero stands for it
        Dtype::F4E2M1 => format(2, 1, 1, 0x7, false, 0x8),
        _ => None,
    }
}

/// Whether a value of this type is loaded and stored as bits.
pub fn is_bits(dtype: Dtype) -> bool {
    dtype.is_float() && dtype.bytes() == 1
}

/// The type that elements compute in.
pub fn ty(dtype: Dtype) -> Ty {
    if is_bits(dtype) { Ty::F32 } else { ty_of(dtype) }
}

/// The element type that minima and maxima are taken in.
pub fn computed(dtype: Dtype) -> Dtype {
    if is_bits(dtype) { Dtype::F32 } else { dtype }
}

/// An F32 from the bits of an element.
pub fn decode(w: &mut Writer, dtype: Dtype, bits: Value) -> Value {
    let Some(f) = format(dtype) else { return decode_scale(w, bits) };
    let width = f.exponent + f.mantissa;
    let (below, shift, up) = (w.int((1 << width) - 1), w.int(23 - f.mantissa), w.int(31 - width));
    let magnitude = w.binary(Binary::And, bits, below);
    // under f32's bias; the product puts the exponent right, of denormals too
    let small = w.binary(Binary::Shl, magnitude, shift);
    let small = w.unary(Unary::F32FromBits, small);
    let scale = w.f32(2f32.powi((127 - f.bias) as i32));
    let mut value = w.binary(Binary::Mul, small, scale);
    // largest exponent: infinity and NaN
    if matches!(dtype, Dtype::F16 | Dtype::BF16 | Dtype::F8E5M2) {
        let top = w.int(((1 << f.exponent) - 1) << f.mantissa);
        let (special, proper) = (w.binary(Binary::SLe, top, magnitude), w.binary(Binary::IEq, magnitude, top));
        let (nan, infinity) = (w.f32(f32::NAN), w.f32(f32::INFINITY));
        let other = w.select(proper, infinity, nan);
        value = w.select(special, other, value);
    }
    let sign = w.int(1 << width);
    let sign = w.binary(Binary::And, bits, sign);
    let sign = w.binary(Binary::Shl, sign, up);
    let whole = w.unary(Unary::F32Bits, value);
    let whole = w.binary(Binary::Or, whole, sign);
    let value = w.unary(Unary::F32FromBits, whole);
    let nan = w.f32(f32::NAN);
    match dtype {
        Dtype::F8E4M3 => {
            let code = w.int(f.nan);
            let is_nan = w.binary(Binary::IEq, magnitude, code);
            w.select(is_nan, nan, value)
        }
        Dtype::F8E4M3Z | Dtype::F8E5M2Z => {
            let code = w.int(f.nan);
            let is_nan = w.binary(Binary::IEq, bits, code);
            w.select(is_nan, nan, value)
        }
        _ => value,
    }
}

/// The bits of an element from an F32, rounded to nearest, halves to even.
pub fn encode(w: &mut Writer, dtype: Dtype, value: Value) -> Value {
    let Some(f) = format(dtype) else { return encode_scale(w, value) };
    if dtype == Dtype::BF16 {
        return encode_upper(w, value, &f);
    }
    let least = 1 - f.bias;
    let (low, bias, single) = (w.int(least), w.int(127), w.int(23));
    // so large that it is beyond all types; infinity too
    let size = w.unary(Unary::Abs, value);
    let beyond = w.f32(2f32.powi(100));
    let finite = w.binary(Binary::Min, size, beyond);
    let bits = w.unary(Unary::F32Bits, finite);
    let at = w.binary(Binary::UShr, bits, single);
    let at = w.binary(Binary::ISub, at, bias);
    let at = w.binary(Binary::SMax, at, low);
    // in units of the last place: a carry out of the mantissa raises the exponent by itself
    let unit = w.int(127 + f.mantissa);
    let unit = w.binary(Binary::ISub, unit, at);
    let unit = w.binary(Binary::Shl, unit, single);
    let unit = w.unary(Unary::F32FromBits, unit);
    let scaled = w.binary(Binary::Mul, finite, unit);
    let scaled = w.unary(Unary::Round, scaled);
    let scaled = w.unary(Unary::FloatToInt, scaled);
    let exponent = w.binary(Binary::ISub, at, low);
    let mantissa = w.int(f.mantissa);
    let exponent = w.binary(Binary::Shl, exponent, mantissa);
    let code = w.binary(Binary::IAdd, scaled, exponent);
    let max = w.int(f.max + i64::from(f.infinite));
    let code = w.binary(Binary::SMin, code, max);
    let whole = w.unary(Unary::F32Bits, value);
    let (top, down) = (w.int(1 << 31), w.int(31 - f.exponent - f.mantissa));
    let sign = w.binary(Binary::And, whole, top);
    let sign = w.binary(Binary::UShr, sign, down);
    let mut code = w.binary(Binary::Or, code, sign);
    let nan = w.int(f.nan);
    if matches!(dtype, Dtype::F8E4M3Z | Dtype::F8E5M2Z) {
        let (negative_zero, zero) = (w.binary(Binary::IEq, code, nan), w.int(0));
        code = w.select(negative_zero, zero, code);
    }
    let is_nan = w.binary(Binary::Ne, value, value);
    w.select(is_nan, nan, code)
}

/// The upper half of an F32 that has been rounded already.
fn encode_upper(w: &mut Writer, value: Value, f: &Format) -> Value {
    let (half, nan) = (w.int(16), w.int(f.nan));
    let near = w.unary(Unary::RoundBF16, value);
    let bits = w.unary(Unary::F32Bits, near);
    let bits = w.binary(Binary::UShr, bits, half);
    let is_nan = w.binary(Binary::Ne, value, value);
    w.select(is_nan, nan, bits)
}

/// e8m0: 2^(bits - 127), all ones NaN.
fn decode_scale(w: &mut Writer, bits: Value) -> Value {
    let (zero, single, all) = (w.int(0), w.int(23), w.int(255));
    let (least, nan) = (w.int(1 << 22), w.f32(f32::NAN));
    let normal = w.binary(Binary::Shl, bits, single);
    let is_least = w.binary(Binary::IEq, bits, zero);
    let value = w.select(is_least, least, normal);
    let value = w.unary(Unary::F32FromBits, value);
    let is_nan = w.binary(Binary::IEq, bits, all);
    w.select(is_nan, nan, value)
}

/// Rounds up; what is not above 2^-127 becomes that.
fn encode_scale(w: &mut Writer, value: Value) -> Value {
    let (zero, single, fraction, exponent) = (w.int(0), w.int(23), w.int(0x7f_ffff), w.int(0xff));
    let bits = w.unary(Unary::F32Bits, value);
    let rest = w.binary(Binary::And, bits, fraction);
    let power = w.binary(Binary::UShr, bits, single);
    let power = w.binary(Binary::And, power, exponent);
    let last = w.int(0xfe);
    let (inexact, raisable) = (w.binary(Binary::INe, rest, zero), w.binary(Binary::SLt, power, last));
    let raise = w.binary(Binary::And, inexact, raisable);
    let code = w.binary(Binary::IAdd, power, raise);
    let (size, least) = (w.unary(Unary::Abs, value), w.f32(f32::from_bits(1 << 22)));
    let is_least = w.binary(Binary::Le, size, least);
    w.select(is_least, zero, code)
}
