//! Element types, tensor types, and constant tensors. A constant is a lazy strided view over its source
//! bytes (often a memory-mapped file) with optional factors along an axis: transposing, slicing,
//! expanding and scaling a weight copies nothing until it is packed.

use crate::dim::{self, Dim};
use bytes::Bytes;
use half::{bf16, f16};
use std::sync::Arc;

macro_rules! dtypes {
    ($($name:ident $text:literal $onnx:literal $bytes:literal $doc:literal;)*) => {
        /// The type of one element. Types below eight bits take one byte each wherever they are dense.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Dtype { $(#[doc = $doc] $name,)* }

        impl Dtype {
            pub const ALL: &[Dtype] = &[$(Dtype::$name,)*];
            /// The name in text forms.
            pub fn name(self) -> &'static str {
                match self { $(Dtype::$name => $text,)* }
            }
            /// The number of ONNX's `TensorProto.DataType`.
            pub fn onnx(self) -> i32 {
                match self { $(Dtype::$name => $onnx,)* }
            }
            /// Bytes of one element in a dense tensor.
            pub fn bytes(self) -> usize {
                match self { $(Dtype::$name => $bytes,)* }
            }
        }
    };
}

dtypes! {
    F32 "f32" 1 4 "IEEE single";
    F64 "f64" 11 8 "IEEE double";
    F16 "f16" 10 2 "IEEE half; computed in f32";
    BF16 "bf16" 16 2 "the upper half of a single; computed in f32";
    I8 "i8" 3 1 "signed, 8 bits";
    I16 "i16" 5 2 "signed, 16 bits";
    I32 "i32" 6 4 "signed, 32 bits";
    I64 "i64" 7 8 "signed, 64 bits";
    U8 "u8" 2 1 "unsigned, 8 bits";
    U16 "u16" 4 2 "unsigned, 16 bits";
    U32 "u32" 12 4 "unsigned, 32 bits";
    U64 "u64" 13 8 "unsigned, 64 bits";
    Bool "bool" 9 1 "0 or 1";
    I4 "i4" 22 1 "signed, 4 bits";
    U4 "u4" 21 1 "unsigned, 4 bits";
    I2 "i2" 26 1 "signed, 2 bits";
    U2 "u2" 25 1 "unsigned, 2 bits";
    F8E4M3 "f8e4m3" 17 1 "float8 e4m3fn";
    F8E4M3Z "f8e4m3z" 18 1 "float8 e4m3fnuz";
    F8E5M2 "f8e5m2" 19 1 "float8 e5m2";
    F8E5M2Z "f8e5m2z" 20 1 "float8 e5m2fnuz";
    F8E8M0 "f8e8m0" 24 1 "float8 e8m0: a power of two";
    F4E2M1 "f4e2m1" 23 1 "float4 e2m1";
}

/// How the bits of an element stand for its value: all integers alike, and every float its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    F32,
    F64,
    F16,
    BF16,
    /// Every integer, and bool.
    Int,
    /// Decoded and encoded, never computed with.
    Small(Small),
}

/// The floats of eight and four bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Small {
    E4M3,
    E4M3Z,
    E5M2,
    E5M2Z,
    E8M0,
    E2M1,
}

impl Dtype {
    pub fn encoding(self) -> Encoding {
        use Dtype::*;
        match self {
            F32 => Encoding::F32,
            F64 => Encoding::F64,
            F16 => Encoding::F16,
            BF16 => Encoding::BF16,
            I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64 | Bool | I4 | U4 | I2 | U2 => Encoding::Int,
            F8E4M3 => Encoding::Small(Small::E4M3),
            F8E4M3Z => Encoding::Small(Small::E4M3Z),
            F8E5M2 => Encoding::Small(Small::E5M2),
            F8E5M2Z => Encoding::Small(Small::E5M2Z),
            F8E8M0 => Encoding::Small(Small::E8M0),
            F4E2M1 => Encoding::Small(Small::E2M1),
        }
    }
    pub fn from_name(text: &str) -> Option<Dtype> {
        Dtype::ALL.iter().copied().find(|d| d.name() == text)
    }
    pub fn from_onnx(number: i32) -> Option<Dtype> {
        Dtype::ALL.iter().copied().find(|d| d.onnx() == number)
    }
    pub fn is_float(self) -> bool {
        self.encoding() != Encoding::Int
    }
    pub fn is_signed_int(self) -> bool {
        use Dtype::*;
        matches!(self, I8 | I16 | I32 | I64 | I4 | I2)
    }
    pub fn is_unsigned_int(self) -> bool {
        use Dtype::*;
        matches!(self, U8 | U16 | U32 | U64 | U4 | U2)
    }
    pub fn is_int(self) -> bool {
        self.is_signed_int() || self.is_unsigned_int()
    }
    /// Bits that count; less than `8 * bytes()` for packed types.
    pub fn bits(self) -> u32 {
        use Dtype::*;
        match self {
            I4 | U4 | F4E2M1 => 4,
            I2 | U2 => 2,
            Bool => 1,
            other => other.bytes() as u32 * 8,
        }
    }
    /// Smallest and largest value of an integer type; `None` for floats and bool.
    pub fn int_range(self) -> Option<(i128, i128)> {
        let bits = self.bits();
        if self.is_signed_int() {
            Some((-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1))
        } else if self.is_unsigned_int() {
            Some((0, (1i128 << bits) - 1))
        } else {
            None
        }
    }
}

/// What a value is: its element type and its dimensions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    pub dtype: Dtype,
    pub shape: Vec<Dim>,
}

impl Type {
    pub fn new(dtype: Dtype, shape: Vec<Dim>) -> Type {
        Type { dtype, shape }
    }
    pub fn of(dtype: Dtype, shape: &[usize]) -> Type {
        Type { dtype, shape: dim::dims(shape) }
    }
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
    /// The sizes, when no dimension is symbolic.
    pub fn fixed(&self) -> Option<Vec<usize>> {
        dim::fixed(&self.shape)
    }
    /// Elements, when fixed.
    pub fn elements(&self) -> Option<usize> {
        self.fixed().map(|s| s.iter().product())
    }
    /// Dense bytes, when fixed.
    pub fn bytes(&self) -> Option<usize> {
        self.elements().map(|n| n * self.dtype.bytes())
    }
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[", self.dtype.name())?;
        for (i, d) in self.shape.iter().enumerate() {
            write!(f, "{}{d}", if i > 0 { "," } else { "" })?;
        }
        f.write_str("]")
    }
}

/// A constant. `strides` and `offset` count elements of `source` (little endian, `dtype.bytes()` each);
/// a stride of 0 repeats, so a constant fill of any size is one element.
#[derive(Clone, Debug)]
pub struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    strides: Vec<isize>,
    offset: usize,
    source: Bytes,
    /// Factors along axes, applied in order, f32 only.
    scales: Vec<(usize, Arc<[f32]>)>,
}

/// Row-major strides of a dense tensor.
pub fn dense_strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i].max(1) as isize;
    }
    strides
}

impl Tensor {
    /// Dense little-endian bytes, as many as the shape needs: the caller has checked.
    pub fn dense(dtype: Dtype, shape: &[usize], source: impl Into<Bytes>) -> Tensor {
        let source = source.into();
        assert_eq!(source.len(), shape.iter().product::<usize>() * dtype.bytes(), "bytes of {dtype:?}{shape:?}");
        Tensor { dtype, shape: shape.to_vec(), strides: dense_strides(shape), offset: 0, source, scales: Vec::new() }
    }

    /// One element repeated.
    pub fn splat(dtype: Dtype, shape: &[usize], element: &[u8]) -> Tensor {
        assert_eq!(element.len(), dtype.bytes());
        Tensor {
            dtype,
            shape: shape.to_vec(),
            strides: vec![0; shape.len()],
            offset: 0,
            source: Bytes::copy_from_slice(element),
            scales: Vec::new(),
        }
    }

    pub fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::dense(Dtype::F32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
    }

    pub fn i64s(shape: &[usize], values: &[i64]) -> Tensor {
        Tensor::dense(Dtype::I64, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
    }

    pub fn dtype(&self) -> Dtype {
        self.dtype
    }
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
    pub fn ty(&self) -> Type {
        Type::of(self.dtype, &self.shape)
    }
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
    /// Bytes of the source this is a view of: what it costs to keep.
    pub fn source_bytes(&self) -> usize {
        self.source.len()
    }
    /// Whether it is the same view of the same memory; `false` proves nothing.
    pub fn is(&self, other: &Tensor) -> bool {
        let source = |t: &Tensor| (t.source.as_ptr(), t.source.len(), t.dtype, t.offset);
        let scales = |t: &Tensor| t.scales.iter().map(|(axis, factors)| (*axis, Arc::as_ptr(factors))).collect::<Vec<_>>();
        source(self) == source(other) && self.shape == other.shape && self.strides == other.strides && scales(self) == scales(other)
    }
    /// Whether every element is the same element of the source.
    pub fn is_splat(&self) -> bool {
        self.scales.is_empty() && self.shape.iter().zip(&self.strides).all(|(&n, &s)| n <= 1 || s == 0)
    }
    /// Whether the elements lie one after the other in the source, unscaled.
    pub fn is_dense(&self) -> bool {
        self.scales.is_empty()
            && (self.elements() <= 1
                || self.shape.iter().zip(&self.strides).zip(dense_strides(&self.shape)).all(|((&n, &s), d)| n == 1 || s == d))
    }
    /// Same source, same view: equal without looking at the bytes.
    pub fn same_view(&self, other: &Tensor) -> bool {
        self.dtype == other.dtype
            && self.shape == other.shape
            && self.strides == other.strides
            && self.offset == other.offset
            && self.source.as_ptr() == other.source.as_ptr()
            && self.source.len() == other.source.len()
            && self.scales == other.scales
    }

    /// Axis `i` of the result is axis `perm[i]` of this.
    pub fn permute(&self, perm: &[usize]) -> Tensor {
        assert_eq!(perm.len(), self.shape.len());
        let back = |axis: usize| perm.iter().position(|&p| p == axis).expect("a permutation has every axis");
        Tensor {
            shape: perm.iter().map(|&p| self.shape[p]).collect(),
            strides: perm.iter().map(|&p| self.strides[p]).collect(),
            scales: self.scales.iter().map(|(axis, f)| (back(*axis), f.clone())).collect(),
            ..self.clone()
        }
    }

    /// The same elements in row-major order under another shape; a view where the strides allow it,
    /// else a dense copy.
    pub fn reshape(&self, shape: &[usize]) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), self.elements());
        if self.scales.is_empty()
            && let Some(strides) = self.view_strides(shape)
        {
            return Tensor { shape: shape.to_vec(), strides, ..self.clone() };
        }
        Tensor::dense(self.dtype, shape, self.bytes())
    }

    /// Strides under which `shape` sees the same elements: runs of axes that are dense among themselves may
    /// be split and joined.
    fn view_strides(&self, shape: &[usize]) -> Option<Vec<isize>> {
        if self.elements() == 0 {
            return Some(dense_strides(shape));
        }
        let old: Vec<(usize, isize)> = self.shape.iter().copied().zip(self.strides.iter().copied()).filter(|(n, _)| *n != 1).collect();
        let mut out = vec![0isize; shape.len()];
        let (mut i, mut j) = (0, 0);
        while i < old.len() {
            let (start, mut have) = (i, old[i].0);
            i += 1;
            let first = j;
            let mut want = 1;
            while want != have {
                if want < have {
                    want *= shape[j];
                    j += 1;
                } else {
                    have *= old[i].0;
                    i += 1;
                }
            }
            let dense = (start..i - 1).all(|k| old[k].1 == old[k + 1].1 * old[k + 1].0 as isize);
            if !dense {
                return None;
            }
            let mut stride = old[i - 1].1;
            for k in (first..j).rev() {
                out[k] = stride;
                stride *= shape[k] as isize;
            }
        }
        Some(out)
    }

    /// `size[i]` elements from `start[i]` in steps of `step[i]` (may be negative) along each axis; in range.
    pub fn slice(&self, start: &[usize], step: &[isize], size: &[usize]) -> Tensor {
        let offset = start.iter().zip(&self.strides).map(|(&s, &k)| s as isize * k).sum::<isize>();
        if size.contains(&0) {
            return Tensor::dense(self.dtype, size, Bytes::new());
        }
        let scales = self.scales.iter().map(|(axis, f)| {
            let picked = (0..size[*axis]).map(|i| f[(start[*axis] as isize + i as isize * step[*axis]) as usize]).collect();
            (*axis, picked)
        });
        Tensor {
            shape: size.to_vec(),
            strides: self.strides.iter().zip(step).map(|(&k, &s)| k * s).collect(),
            offset: (self.offset as isize + offset) as usize,
            scales: scales.collect(),
            ..self.clone()
        }
    }

    /// Broadcast to `shape` (numpy rules): repeated axes get stride 0.
    pub fn expand(&self, shape: &[usize]) -> Tensor {
        let lead = shape.len() - self.shape.len();
        if !self.scales.is_empty() {
            return Tensor::dense(self.dtype, &self.shape, self.bytes()).expand(shape);
        }
        let strides = (0..shape.len())
            .map(|i| if i < lead || (self.shape[i - lead] == 1 && shape[i] != 1) { 0 } else { self.strides[i - lead] })
            .collect();
        Tensor { shape: shape.to_vec(), strides, ..self.clone() }
    }

    /// Every element times the factor of its position along `axis`. f32 only.
    pub fn scale(&self, axis: usize, factors: &[f32]) -> Tensor {
        assert_eq!((self.dtype, self.shape[axis]), (Dtype::F32, factors.len()));
        let mut out = self.clone();
        match out.scales.iter_mut().find(|(a, _)| *a == axis) {
            Some((_, old)) => *old = old.iter().zip(factors).map(|(a, b)| a * b).collect(),
            None => out.scales.push((axis, factors.into())),
        }
        out
    }

    /// The same bits under a type of the same width.
    pub fn bitcast(&self, dtype: Dtype) -> Tensor {
        assert_eq!(dtype.bytes(), self.dtype.bytes());
        let dense = if self.scales.is_empty() { self.clone() } else { Tensor::dense(self.dtype, &self.shape, self.bytes()) };
        Tensor { dtype, ..dense }
    }

    /// Calls `f` with the bytes of each element in row-major order, scaled. Allocates nothing per element.
    pub fn each(&self, mut f: impl FnMut(&[u8])) {
        let width = self.dtype.bytes();
        if self.is_dense() {
            let start = self.offset * width;
            for element in self.source[start..start + self.elements() * width].chunks_exact(width) {
                f(element);
            }
            return;
        }
        let total = self.elements();
        let mut index = vec![0usize; self.shape.len()];
        let mut at = self.offset as isize;
        for _ in 0..total {
            let element = &self.source[at as usize * width..][..width];
            if self.scales.is_empty() {
                f(element);
            } else {
                let value = f32::from_le_bytes(element.try_into().expect("only f32 is scaled"));
                let value = self.scales.iter().fold(value, |v, (axis, k)| v * k[index[*axis]]);
                f(&value.to_le_bytes());
            }
            for axis in (0..self.shape.len()).rev() {
                index[axis] += 1;
                at += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= self.strides[axis] * self.shape[axis] as isize;
                index[axis] = 0;
            }
        }
    }

    /// For reading runs of elements at any place.
    pub fn reader(&self) -> Reader<'_> {
        Reader { tensor: self }
    }

    /// Dense little-endian bytes in row-major order; the source itself where it is dense already.
    pub fn bytes(&self) -> Bytes {
        let width = self.dtype.bytes();
        if self.is_dense() {
            return self.source.slice(self.offset * width..(self.offset + self.elements()) * width);
        }
        let mut out = Vec::with_capacity(self.elements() * width);
        self.each(|element| out.extend_from_slice(element));
        out.into()
    }

    /// The elements as f64, whatever the type (i64 and u64 above 2^53 are rounded).
    pub fn to_f64s(&self) -> Vec<f64> {
        let mut out = Vec::with_capacity(self.elements());
        self.each(|e| out.push(element_to_f64(self.dtype, e)));
        out
    }

    /// The elements as f32.
    pub fn to_f32s(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.elements());
        self.each(|e| out.push(element_to_f64(self.dtype, e) as f32));
        out
    }

    /// The elements of an integer or bool tensor as i64; u64 wraps.
    pub fn to_i64s(&self) -> Vec<i64> {
        let mut out = Vec::with_capacity(self.elements());
        self.each(|e| out.push(element_to_i64(self.dtype, e)));
        out
    }
}

/// Reads runs of a tensor's elements; see [`Tensor::reader`].
pub struct Reader<'a> {
    tensor: &'a Tensor,
}

impl Reader<'_> {
    /// Appends `count` elements to `out`, starting at `at` and moving `step` along `axis`.
    pub fn run(&self, at: &[usize], axis: usize, step: usize, count: usize, out: &mut Vec<u8>) {
        let t = self.tensor;
        let width = t.dtype.bytes();
        let start = t.offset as isize + at.iter().zip(&t.strides).map(|(&i, &s)| i as isize * s).sum::<isize>();
        let stride = t.strides.get(axis).map_or(0, |&s| s * step as isize);
        if count > 0 && stride == 1 && t.scales.is_empty() {
            out.extend_from_slice(&t.source[start as usize * width..][..count * width]);
            return;
        }
        for i in 0..count {
            let element = &t.source[(start + i as isize * stride) as usize * width..][..width];
            if t.scales.is_empty() {
                out.extend_from_slice(element);
                continue;
            }
            let value = f32::from_le_bytes(element.try_into().expect("only f32 is scaled"));
            let position = |a: usize| at[a] + if a == axis { i * step } else { 0 };
            let value = t.scales.iter().fold(value, |v, (a, k)| v * k[position(*a)]);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

impl PartialEq for Tensor {
    /// Same type, shape and bits.
    fn eq(&self, other: &Tensor) -> bool {
        self.same_view(other) || (self.dtype == other.dtype && self.shape == other.shape && self.bytes() == other.bytes())
    }
}

impl Eq for Tensor {}

/// One element as f64. Integers go through i64 (u64 through u64).
pub fn element_to_f64(dtype: Dtype, e: &[u8]) -> f64 {
    match dtype.encoding() {
        Encoding::F32 => f32::from_le_bytes(e.try_into().expect("4 bytes")) as f64,
        Encoding::F64 => f64::from_le_bytes(e.try_into().expect("8 bytes")),
        Encoding::F16 => f16::from_le_bytes(e.try_into().expect("2 bytes")).to_f64(),
        Encoding::BF16 => bf16::from_le_bytes(e.try_into().expect("2 bytes")).to_f64(),
        Encoding::Int if dtype == Dtype::U64 => element_to_i64(dtype, e) as u64 as f64,
        Encoding::Int => element_to_i64(dtype, e) as f64,
        Encoding::Small(Small::E4M3) => small_float(e[0], 4, 3, 7, Specials::NanOnly),
        Encoding::Small(Small::E4M3Z) => small_float(e[0], 4, 3, 8, Specials::Unsigned),
        Encoding::Small(Small::E5M2) => small_float(e[0], 5, 2, 15, Specials::Ieee),
        Encoding::Small(Small::E5M2Z) => small_float(e[0], 5, 2, 16, Specials::Unsigned),
        Encoding::Small(Small::E8M0) => {
            if e[0] == 255 {
                f64::NAN
            } else {
                2f64.powi(e[0] as i32 - 127)
            }
        }
        Encoding::Small(Small::E2M1) => {
            let magnitude = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][(e[0] & 7) as usize];
            if e[0] & 8 != 0 { -magnitude } else { magnitude }
        }
    }
}

enum Specials {
    /// Largest exponent: infinity and NaN.
    Ieee,
    /// No infinity; all ones is NaN.
    NanOnly,
    /// No infinity, no negative zero; 0x80 is NaN.
    Unsigned,
}

fn small_float(bits: u8, exponent: u32, mantissa: u32, bias: i32, specials: Specials) -> f64 {
    let (e, m) = ((bits >> mantissa) as u32 & ((1 << exponent) - 1), bits as u32 & ((1 << mantissa) - 1));
    let top = (1u32 << exponent) - 1;
    let sign = if bits & 0x80 != 0 { -1.0 } else { 1.0 };
    match specials {
        Specials::Ieee if e == top => return if m == 0 { sign * f64::INFINITY } else { f64::NAN },
        Specials::NanOnly if e == top && m == (1 << mantissa) - 1 => return f64::NAN,
        Specials::Unsigned if bits == 0x80 => return f64::NAN,
        Specials::Ieee | Specials::NanOnly | Specials::Unsigned => {}
    }
    let fraction = m as f64 / (1u32 << mantissa) as f64;
    sign * if e == 0 { fraction * 2f64.powi(1 - bias) } else { (1.0 + fraction) * 2f64.powi(e as i32 - bias) }
}

/// One element of an integer or bool type as i64; u64 wraps; floats truncate.
pub fn element_to_i64(dtype: Dtype, e: &[u8]) -> i64 {
    match dtype {
        Dtype::I8 => e[0] as i8 as i64,
        Dtype::U8 => e[0] as i64,
        Dtype::Bool => i64::from(e[0] != 0),
        Dtype::I4 => ((e[0] << 4) as i8 >> 4) as i64,
        Dtype::U4 => (e[0] & 15) as i64,
        Dtype::I2 => ((e[0] << 6) as i8 >> 6) as i64,
        Dtype::U2 => (e[0] & 3) as i64,
        Dtype::I16 => i16::from_le_bytes(e.try_into().expect("2 bytes")) as i64,
        Dtype::U16 => u16::from_le_bytes(e.try_into().expect("2 bytes")) as i64,
        Dtype::I32 => i32::from_le_bytes(e.try_into().expect("4 bytes")) as i64,
        Dtype::U32 => u32::from_le_bytes(e.try_into().expect("4 bytes")) as i64,
        Dtype::I64 => i64::from_le_bytes(e.try_into().expect("8 bytes")),
        Dtype::U64 => u64::from_le_bytes(e.try_into().expect("8 bytes")) as i64,
        Dtype::F32
        | Dtype::F64
        | Dtype::F16
        | Dtype::BF16
        | Dtype::F8E4M3
        | Dtype::F8E4M3Z
        | Dtype::F8E5M2
        | Dtype::F8E5M2Z
        | Dtype::F8E8M0
        | Dtype::F4E2M1 => element_to_f64(dtype, e) as i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_copy_nothing_and_read_right() {
        let t = Tensor::f32s(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let p = t.permute(&[1, 0]);
        assert_eq!(p.to_f32s(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(p.source.as_ptr(), t.source.as_ptr());
        assert_eq!(p.scale(0, &[1.0, 10.0, 100.0]).to_f32s(), [0.0, 3.0, 10.0, 40.0, 200.0, 500.0]);
        assert_eq!(p.reshape(&[6]).to_f32s(), p.to_f32s());
        assert_eq!(t.reshape(&[3, 1, 2]).permute(&[2, 1, 0]).reshape(&[2, 3]).to_f32s(), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        assert_eq!(t.slice(&[1, 2], &[1, -1], &[1, 3]).to_f32s(), [5.0, 4.0, 3.0]);
        assert_eq!(t.slice(&[0, 1], &[1, 1], &[2, 1]).expand(&[2, 2, 2]).to_f32s(), [1.0, 1.0, 4.0, 4.0, 1.0, 1.0, 4.0, 4.0]);
        let fill = Tensor::splat(Dtype::F32, &[1000, 1000, 1000], &2f32.to_le_bytes());
        assert!(fill.is_splat() && fill.source_bytes() == 4);
    }

    #[test]
    fn small_floats_decode() {
        let e4m3 = |b: u8| element_to_f64(Dtype::F8E4M3, &[b]);
        assert_eq!((e4m3(0x7e), e4m3(0x01), e4m3(0x38)), (448.0, 2f64.powi(-9), 1.0));
        assert!(e4m3(0x7f).is_nan());
        assert_eq!(element_to_f64(Dtype::F8E5M2, &[0x7c]), f64::INFINITY);
        assert_eq!(element_to_f64(Dtype::F8E4M3Z, &[0x40]), 1.0);
        assert_eq!(element_to_f64(Dtype::F4E2M1, &[0xf]), -6.0);
    }
}
