//! Constant weights as kernels want them: i8 without a zero point where the centred numbers fit, else i16; and the sums
//! that zero points of the other factor need.

use crate::scalar::Literal;
use crate::tensor::{Dtype, Tensor};

/// The numbers minus their zero points (one, or one for each position of `axis`) as i8, or as i16.
pub fn centered(tensor: &Tensor, zero: &[i64], axis: usize) -> Tensor {
    if tensor.dtype() == Dtype::I8 && zero.iter().all(|&z| z == 0) {
        return tensor.clone();
    }
    let shape = tensor.shape();
    let inner: usize = if zero.len() == 1 { 1 } else { shape[axis + 1..].iter().product() };
    let numbers: Vec<i64> =
        tensor.to_i64s().iter().enumerate().map(|(i, v)| v - zero[if zero.len() == 1 { 0 } else { i / inner % zero.len() }]).collect();
    let fits = numbers.iter().all(|v| (-128..128).contains(v));
    let dtype = if fits { Dtype::I8 } else { Dtype::I16 };
    let bytes: Vec<u8> = numbers.iter().flat_map(|&v| Literal::int(dtype, v).to_bytes()).collect();
    Tensor::dense(dtype, shape, bytes)
}

/// For each position of `axis` the sum of all numbers there; wraps, as what it corrects does.
pub fn sums(tensor: &Tensor, axis: usize) -> Vec<i32> {
    let shape = tensor.shape();
    let inner: usize = shape[axis + 1..].iter().product();
    let mut out = vec![0i32; shape[axis]];
    for (i, v) in tensor.to_i64s().into_iter().enumerate() {
        let at = i / inner % shape[axis];
        out[at] = out[at].wrapping_add(v as i32);
    }
    out
}

/// Lists of one number, or of one for each position, joined.
pub fn zip<A: Copy, B: Copy, C>(a: &[A], b: &[B], f: impl Fn(A, B) -> C) -> Vec<C> {
    let count = a.len().max(b.len());
    let at = |len: usize, i: usize| if len == 1 { 0 } else { i };
    (0..count).map(|i| f(a[at(a.len(), i)], b[at(b.len(), i)])).collect()
}
