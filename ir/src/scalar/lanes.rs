//! Elements unpacked for computing: a column of numbers of one machine type per element type, and the way from
//! and to a tensor's bytes. f32 computes as f32; f64 and every smaller float as f64, rounded to its type; u64 as
//! u64; all other integers and bool as i64, wrapped to their width. What is computed is not known here.

use crate::tensor::{Dtype, Encoding, Small, Tensor, element_to_f64, element_to_i64};
use half::{bf16, f16};
use std::ops::Range;

/// A column of elements.
#[derive(Clone, Debug, PartialEq)]
pub enum Lanes {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    U64(Vec<u64>),
}

/// A part of a column.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    I64(&'a [i64]),
    U64(&'a [u64]),
}

/// A column wide enough for long sums: every float is an f64.
#[derive(Clone, Debug, PartialEq)]
pub enum Wide {
    F64(Vec<f64>),
    I64(Vec<i64>),
    U64(Vec<u64>),
}

/// Which column holds a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    F32,
    F64,
    I64,
    U64,
}

pub fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::F32 => Kind::F32,
        Dtype::U64 => Kind::U64,
        d if d.is_float() => Kind::F64,
        _ => Kind::I64,
    }
}

/// Calls `take` with every element as an array of its bytes.
fn read<const W: usize, T: Copy>(tensor: &Tensor, take: impl Fn([u8; W]) -> T) -> Vec<T> {
    let array = |e: &[u8]| -> [u8; W] { e.try_into().expect("the width is the type's") };
    if tensor.is_dense() {
        return tensor.bytes().chunks_exact(W).map(|e| take(array(e))).collect();
    }
    if tensor.is_splat() {
        let rank = tensor.shape().len();
        let one = tensor.slice(&vec![0; rank], &vec![1; rank], &vec![1; rank]);
        return vec![take(array(&one.bytes())); tensor.elements()];
    }
    let mut out = Vec::with_capacity(tensor.elements());
    tensor.each(|e| out.push(take(array(e))));
    out
}

/// Elements of one byte go through a table of all 256.
fn read_byte<T: Copy>(tensor: &Tensor, value: impl Fn(&[u8]) -> T) -> Vec<T> {
    let table: Vec<T> = (0..=255u8).map(|b| value(&[b])).collect();
    read(tensor, |[b]| table[b as usize])
}

impl Lanes {
    /// Zeros.
    pub fn new(dtype: Dtype, len: usize) -> Lanes {
        match kind(dtype) {
            Kind::F32 => Lanes::F32(vec![0.0; len]),
            Kind::F64 => Lanes::F64(vec![0.0; len]),
            Kind::I64 => Lanes::I64(vec![0; len]),
            Kind::U64 => Lanes::U64(vec![0; len]),
        }
    }

    /// Every element of a tensor in row-major order.
    pub fn of(tensor: &Tensor) -> Lanes {
        let dtype = tensor.dtype();
        match dtype {
            Dtype::F32 => Lanes::F32(read(tensor, f32::from_le_bytes)),
            Dtype::F64 => Lanes::F64(read(tensor, f64::from_le_bytes)),
            Dtype::F16 => Lanes::F64(read(tensor, |e| f16::from_le_bytes(e).to_f64())),
            Dtype::BF16 => Lanes::F64(read(tensor, |e| bf16::from_le_bytes(e).to_f64())),
            Dtype::I16 => Lanes::I64(read(tensor, |e| i16::from_le_bytes(e) as i64)),
            Dtype::U16 => Lanes::I64(read(tensor, |e| u16::from_le_bytes(e) as i64)),
            Dtype::I32 => Lanes::I64(read(tensor, |e| i32::from_le_bytes(e) as i64)),
            Dtype::U32 => Lanes::I64(read(tensor, |e| u32::from_le_bytes(e) as i64)),
            Dtype::I64 => Lanes::I64(read(tensor, i64::from_le_bytes)),
            Dtype::U64 => Lanes::U64(read(tensor, u64::from_le_bytes)),
            Dtype::I8 | Dtype::U8 | Dtype::Bool | Dtype::I4 | Dtype::U4 | Dtype::I2 | Dtype::U2 => {
                Lanes::I64(read_byte(tensor, |e| element_to_i64(dtype, e)))
            }
            Dtype::F8E4M3 | Dtype::F8E4M3Z | Dtype::F8E5M2 | Dtype::F8E5M2Z | Dtype::F8E8M0 | Dtype::F4E2M1 => {
                Lanes::F64(read_byte(tensor, |e| element_to_f64(dtype, e)))
            }
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Lanes::F32(v) => v.len(),
            Lanes::F64(v) => v.len(),
            Lanes::I64(v) => v.len(),
            Lanes::U64(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn view(&self, range: Range<usize>) -> View<'_> {
        match self {
            Lanes::F32(v) => View::F32(&v[range]),
            Lanes::F64(v) => View::F64(&v[range]),
            Lanes::I64(v) => View::I64(&v[range]),
            Lanes::U64(v) => View::U64(&v[range]),
        }
    }

    pub fn widen(self) -> Wide {
        match self {
            Lanes::F32(v) => Wide::F64(v.into_iter().map(f64::from).collect()),
            Lanes::F64(v) => Wide::F64(v),
            Lanes::I64(v) => Wide::I64(v),
            Lanes::U64(v) => Wide::U64(v),
        }
    }

    pub fn store(&self, dtype: Dtype, shape: &[usize]) -> Tensor {
        let mut bytes = Vec::with_capacity(self.len() * dtype.bytes());
        self.view(0..self.len()).store(dtype, &mut bytes);
        Tensor::dense(dtype, shape, bytes)
    }

    /// Rounds (floats) or wraps (integers) the first `len` elements to what `dtype` can hold.
    pub fn settle(&mut self, dtype: Dtype, len: usize) {
        match self {
            Lanes::F64(v) if dtype != Dtype::F64 => v[..len].iter_mut().for_each(|x| *x = round(dtype, *x)),
            Lanes::I64(v) if dtype != Dtype::I64 => v[..len].iter_mut().for_each(|x| *x = wrap(dtype, *x)),
            Lanes::F32(_) | Lanes::F64(_) | Lanes::I64(_) | Lanes::U64(_) => {}
        }
    }
}

impl Wide {
    pub fn of(tensor: &Tensor) -> Wide {
        match tensor.dtype() {
            // the most common type, in one step
            Dtype::F32 => Wide::F64(read(tensor, |e| f32::from_le_bytes(e) as f64)),
            _ => Lanes::of(tensor).widen(),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Wide::F64(v) => v.len(),
            Wide::I64(v) => v.len(),
            Wide::U64(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rounded or wrapped to `dtype`.
    pub fn narrow(self, dtype: Dtype) -> Lanes {
        let mut lanes = match self {
            Wide::F64(v) if dtype == Dtype::F32 => Lanes::F32(v.into_iter().map(|x| x as f32).collect()),
            Wide::F64(v) => Lanes::F64(v),
            Wide::I64(v) => Lanes::I64(v),
            Wide::U64(v) => Lanes::U64(v),
        };
        let len = lanes.len();
        lanes.settle(dtype, len);
        lanes
    }
}

impl View<'_> {
    pub fn len(self) -> usize {
        match self {
            View::F32(v) => v.len(),
            View::F64(v) => v.len(),
            View::I64(v) => v.len(),
            View::U64(v) => v.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Appends the bytes; the elements have been settled to `dtype`.
    pub fn store(self, dtype: Dtype, out: &mut Vec<u8>) {
        match self {
            View::F32(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            View::F64(v) if dtype == Dtype::F64 => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            View::F64(v) => {
                let width = dtype.bytes();
                v.iter().for_each(|&x| out.extend_from_slice(&encode(dtype, x).to_le_bytes()[..width]));
            }
            View::U64(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            View::I64(v) => match dtype.bytes() {
                1 => out.extend(v.iter().map(|&x| x as u8)),
                2 => v.iter().for_each(|&x| out.extend_from_slice(&(x as u16).to_le_bytes())),
                4 => v.iter().for_each(|&x| out.extend_from_slice(&(x as u32).to_le_bytes())),
                _ => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            },
        }
    }
}

/// An integer (or bool, 0 or 1) reduced to the width of its type.
pub fn wrap(dtype: Dtype, value: i64) -> i64 {
    if dtype == Dtype::Bool {
        return i64::from(value != 0);
    }
    let spare = 64 - dtype.bits();
    if dtype.is_signed_int() { value << spare >> spare } else { ((value as u64) << spare >> spare) as i64 }
}

/// A float that keeps its value only as far as `dtype` can hold it.
pub fn round(dtype: Dtype, value: f64) -> f64 {
    match dtype.encoding() {
        Encoding::F64 => value,
        Encoding::F32 => value as f32 as f64,
        Encoding::F16 | Encoding::BF16 | Encoding::Int | Encoding::Small(_) => {
            element_to_f64(dtype, &encode(dtype, value).to_le_bytes()[..dtype.bytes()])
        }
    }
}

/// What becomes of values beyond the largest.
enum Beyond {
    /// Infinity.
    Infinite,
    /// The largest of that sign, also for infinity.
    Largest,
}

/// The bits of a float of type `dtype`, rounded to nearest, halves to even. Types below 16 bits saturate, as
/// ONNX's Cast does when it is not told otherwise; e8m0 has no sign and rounds up.
pub fn encode(dtype: Dtype, value: f64) -> u64 {
    match dtype.encoding() {
        Encoding::F32 => (value as f32).to_bits() as u64,
        Encoding::F64 => value.to_bits(),
        Encoding::F16 => pack(value, 5, 10, 15, 0x7bff, Beyond::Infinite, 0x7e00),
        Encoding::BF16 => pack(value, 8, 7, 127, 0x7f7f, Beyond::Infinite, 0x7fc0),
        Encoding::Small(Small::E4M3) => pack(value, 4, 3, 7, 0x7e, Beyond::Largest, 0x7f),
        Encoding::Small(Small::E5M2) => pack(value, 5, 2, 15, 0x7b, Beyond::Largest, 0x7e),
        // no negative zero: its bits mean NaN
        Encoding::Small(kind @ (Small::E4M3Z | Small::E5M2Z)) => {
            let (exponent, mantissa, bias) = if kind == Small::E4M3Z { (4, 3, 8) } else { (5, 2, 16) };
            match pack(value, exponent, mantissa, bias, 0x7f, Beyond::Largest, 0x80) {
                0x80 if !value.is_nan() => 0,
                bits => bits,
            }
        }
        // there is no NaN; -0 stands for it in ONNX's own data
        Encoding::Small(Small::E2M1) => pack(value, 2, 1, 1, 0x7, Beyond::Largest, 0x8),
        Encoding::Small(Small::E8M0) => {
            let bits = (value as f32).to_bits();
            // 2^-127, the least, is no normal f32
            if value.abs() <= 2f64.powi(-127) {
                return 0;
            }
            let (exponent, fraction) = (bits >> 23 & 0xff, bits & 0x7f_ffff);
            u64::from(exponent + u32::from(fraction != 0 && exponent < 0xfe)).min(0xff)
        }
        Encoding::Int => value as i64 as u64,
    }
}

/// A binary float with a sign bit in front. `max` holds the bits of the largest value.
fn pack(value: f64, exponent: u32, mantissa: u32, bias: i32, max: u64, beyond: Beyond, nan: u64) -> u64 {
    if value.is_nan() {
        return nan;
    }
    let sign = u64::from(value.is_sign_negative()) << (exponent + mantissa);
    let magnitude = value.abs();
    let least = 1 - bias;
    let at = ((magnitude.to_bits() >> 52) as i32 - 1023).max(least);
    let bits = if magnitude.is_infinite() {
        max + 1
    } else {
        // exact: a power of two; a carry out of the fraction raises the exponent by itself
        let scaled = (magnitude * 2f64.powi(mantissa as i32 - at)).round_ties_even() as u64;
        scaled + (((at - least) as u64) << mantissa)
    };
    match beyond {
        _ if bits <= max => sign | bits,
        Beyond::Infinite => sign | (max + 1),
        Beyond::Largest => sign | max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_small_float_survives_the_round_trip() {
        for dtype in [Dtype::F8E4M3, Dtype::F8E4M3Z, Dtype::F8E5M2, Dtype::F8E5M2Z, Dtype::F8E8M0, Dtype::F4E2M1] {
            for bits in 0..(1u64 << dtype.bits()) {
                let value = element_to_f64(dtype, &[bits as u8]);
                if value.is_finite() {
                    assert_eq!(encode(dtype, value), bits, "{} {value}", dtype.name());
                }
            }
        }
        for bits in 0..=u16::MAX {
            for (dtype, value) in [(Dtype::F16, f16::from_bits(bits).to_f64()), (Dtype::BF16, bf16::from_bits(bits).to_f64())] {
                if !value.is_nan() {
                    assert_eq!(encode(dtype, value), bits as u64, "{} {value}", dtype.name());
                }
            }
        }
    }

    #[test]
    fn halves_go_to_even_and_the_rest_to_the_nearest() {
        for bits in (0u16..0x7bff).step_by(7) {
            let (low, high) = (f16::from_bits(bits).to_f64(), f16::from_bits(bits + 1).to_f64());
            let middle = (low + high) / 2.0;
            let even = if bits % 2 == 0 { bits } else { bits + 1 } as u64;
            assert_eq!(encode(Dtype::F16, middle), even);
            assert_eq!(encode(Dtype::F16, middle.next_up()), bits as u64 + 1, "not a tie, though nearly");
            assert_eq!(encode(Dtype::F16, -middle.next_down()), 0x8000 | bits as u64);
        }
        assert_eq!(encode(Dtype::F16, 65519.0), 0x7bff);
        assert_eq!(encode(Dtype::F16, 65520.0), 0x7c00);
    }

    /// The figures of ONNX's cast cases.
    #[test]
    fn small_floats_saturate_as_onnx_says() {
        let all = |dtype| [0.47892547, 1e6, 1e-7, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e-7].map(|v| encode(dtype, v));
        assert_eq!(all(Dtype::F8E5M2), [56, 123, 0, 126, 123, 251, 128]);
        assert_eq!(all(Dtype::F8E5M2Z), [60, 127, 0, 128, 127, 255, 0]);
        assert_eq!(all(Dtype::F8E4M3), [47, 126, 0, 127, 126, 254, 128]);
        assert_eq!(all(Dtype::F8E4M3Z), [55, 127, 0, 128, 127, 255, 0]);
        assert_eq!([0.48, 0.25, 1.05, -3.5, -8.0, 9.0, f64::NAN, -0.0].map(|v| encode(Dtype::F4E2M1, v)), [1, 0, 2, 14, 15, 7, 8, 8]);
        assert_eq!([0.0, 0.124, 0.25, 1.1, 2.0, f64::NAN].map(|v| encode(Dtype::F8E8M0, v)), [0, 124, 125, 128, 128, 255]);
    }

    #[test]
    fn integers_wrap_to_their_width() {
        assert_eq!([wrap(Dtype::I4, 8), wrap(Dtype::U4, -1), wrap(Dtype::I8, 200), wrap(Dtype::U32, -1)], [-8, 15, -56, u32::MAX as i64]);
        assert_eq!([wrap(Dtype::I2, 2), wrap(Dtype::U2, -3), wrap(Dtype::I64, i64::MIN), wrap(Dtype::Bool, 7)], [-2, 1, i64::MIN, 1]);
    }
}
