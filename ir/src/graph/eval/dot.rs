//! Matrix products, and the inner loop that convolution shares. Products of f32 are exact in f64, so that only the
//! sums round; integers wrap.

use super::{Cell, with_cell};
use crate::scalar::lanes::Wide;
use crate::tensor::Tensor;

/// Elements of the second factor that are unpacked at a time.
const PANEL: usize = 1 << 22;

/// `a[.., m, k] x b[.., k, n]`, leading axes broadcast.
pub fn dot(a: &Tensor, trans_a: bool, b: &Tensor, trans_b: bool, shape: &[usize]) -> Wide {
    let (a, b) = (matrix(a, trans_a), matrix(b, trans_b));
    let depth = a.shape()[a.shape().len() - 1];
    let one_b = b.shape()[..b.shape().len() - 2].iter().all(|&n| n == 1);
    with_cell!(a.dtype(), T => {
        let mut out: Vec<T> = vec![T::ZERO; shape.iter().product()];
        if !out.is_empty() && depth > 0 {
            if one_b { flat(&a, &b, depth, &mut out) } else { batched(&a, &b, shape, depth, &mut out) }
        }
        out
    })
}

fn matrix(t: &Tensor, swapped: bool) -> Tensor {
    let rank = t.shape().len();
    let mut perm: Vec<usize> = (0..rank).collect();
    if swapped {
        perm.swap(rank - 2, rank - 1);
    }
    t.permute(&perm)
}

/// One matrix `b` for all rows; it is unpacked a panel at a time, so that a lazy constant of any size costs little.
fn flat<T: Cell>(a: &Tensor, b: &Tensor, depth: usize, out: &mut [T]) {
    let n = b.shape()[b.shape().len() - 1];
    let (a, b, rows) = (T::unpack(a), b.reshape(&[depth, n]), out.len() / n);
    let step = (PANEL / n).max(1);
    for k in (0..depth).step_by(step) {
        let part = step.min(depth - k);
        let panel = T::unpack(&b.slice(&[k, 0], &[1, 1], &[part, n]));
        gemm(Rows { at: &a[k..], pitch: depth }, rows, part, Rows { at: &panel, pitch: n }, n, out, n);
    }
}

fn batched<T: Cell>(a: &Tensor, b: &Tensor, shape: &[usize], depth: usize, out: &mut [T]) {
    let lead = shape.len() - 2;
    let (m, n) = (shape[lead], shape[lead + 1]);
    let at_a = places(&a.shape()[..a.shape().len() - 2], &shape[..lead]);
    let at_b = places(&b.shape()[..b.shape().len() - 2], &shape[..lead]);
    let (a, b) = (T::unpack(a), T::unpack(b));
    for (i, part) in out.chunks_exact_mut(m * n).enumerate() {
        let (a, b) = (&a[at_a[i] * m * depth..], &b[at_b[i] * depth * n..]);
        gemm(Rows { at: a, pitch: depth }, m, depth, Rows { at: b, pitch: n }, n, part, n);
    }
}

/// Which matrix of an operand with these leading axes each matrix of the result needs.
fn places(own: &[usize], shape: &[usize]) -> Vec<usize> {
    let lead = shape.len() - own.len();
    let mut out = vec![0];
    for (i, &extent) in shape.iter().enumerate() {
        let size = if i < lead { 1 } else { own[i - lead] };
        out = out.iter().flat_map(|&at| (0..extent).map(move |k| at * size + if size == 1 { 0 } else { k })).collect();
    }
    out
}

/// A matrix by rows that lie `pitch` elements apart.
#[derive(Clone, Copy)]
pub struct Rows<'a, T> {
    pub at: &'a [T],
    pub pitch: usize,
}

/// `out[rows, cols] += a[rows, depth] x b[depth, cols]`; rows of `out` lie `pitch` apart.
pub fn gemm<T: Cell>(a: Rows<T>, rows: usize, depth: usize, b: Rows<T>, cols: usize, out: &mut [T], pitch: usize) {
    const WIDTH: usize = 128;
    for j in (0..cols).step_by(WIDTH) {
        let width = WIDTH.min(cols - j);
        let mut i = 0;
        while i < rows {
            // four rows share what is read of `b`
            if i + 4 <= rows {
                let mut sums = [[T::ZERO; WIDTH]; 4];
                let [s0, s1, s2, s3] = sums.each_mut().map(|s| &mut s[..width]);
                for k in 0..depth {
                    let from = &b.at[k * b.pitch + j..][..width];
                    let f: [T; 4] = std::array::from_fn(|r| a.at[(i + r) * a.pitch + k]);
                    for (c, &v) in from.iter().enumerate() {
                        s0[c] = s0[c].add(f[0].mul(v));
                        s1[c] = s1[c].add(f[1].mul(v));
                        s2[c] = s2[c].add(f[2].mul(v));
                        s3[c] = s3[c].add(f[3].mul(v));
                    }
                }
                for (r, sums) in sums.iter().enumerate() {
                    let to = &mut out[(i + r) * pitch + j..][..width];
                    to.iter_mut().zip(sums).for_each(|(t, &s)| *t = t.add(s));
                }
                i += 4;
            } else {
                let to = &mut out[i * pitch + j..][..width];
                for k in 0..depth {
                    let f = a.at[i * a.pitch + k];
                    to.iter_mut().zip(&b.at[k * b.pitch + j..][..width]).for_each(|(t, &v)| *t = t.add(f.mul(v)));
                }
                i += 1;
            }
        }
    }
}
