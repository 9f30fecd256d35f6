//! Filters as the products want them, and how far the results of this algorithm are from the exact ones.

use super::points::{Matrices, TAPS};
use ir::tensor::Tensor;

/// Filters looked at when the error is measured, and tiles of the image.
const SAMPLE: usize = 24;
const TILES: usize = 2;

/// Element `[y, x, channel, filter]` of the weights, in order.
fn dense(weights: &Tensor) -> Vec<f32> {
    weights.bytes().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// The filters `first..first + count` transformed: for each point a matrix `[channels, count]`.
pub(super) fn transform(matrices: &Matrices, weights: &Tensor, (first, count): (usize, usize)) -> Vec<Tensor> {
    let (channels, filters, size) = (weights.shape()[2], weights.shape()[3], matrices.size());
    let all = dense(weights);
    let mut out = vec![vec![0f32; channels * count]; size * size];
    // rows of the taps' square, then its columns
    let mut half = vec![[0f64; TAPS]; size];
    for c in 0..channels {
        for f in 0..count {
            let tap = |y: usize, x: usize| f64::from(all[((y * TAPS + x) * channels + c) * filters + first + f]);
            for (row, half) in matrices.filter.iter().zip(&mut half) {
                for (x, h) in half.iter_mut().enumerate() {
                    *h = (0..TAPS).map(|y| row[y] * tap(y, x)).sum();
                }
            }
            for (i, half) in half.iter().enumerate() {
                for (j, row) in matrices.filter.iter().enumerate() {
                    out[i * size + j][c * count + f] = (0..TAPS).map(|x| row[x] * half[x]).sum::<f64>() as f32;
                }
            }
        }
    }
    out.into_iter().map(|m| Tensor::f32s(&[channels, count], &m)).collect()
}

/// The largest difference from the exact result on tiles of noise, relative to the largest exact result, in the arithmetic
/// that the kernels use.
pub(super) fn error(matrices: &Matrices, weights: &Tensor) -> f64 {
    let (channels, filters) = (weights.shape()[2], weights.shape()[3].min(SAMPLE));
    let size = matrices.size();
    let all = dense(weights);
    let transformed = transform(matrices, weights, (0, filters));
    let transformed: Vec<Vec<f32>> = transformed.iter().map(dense).collect();
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((seed >> 40) as f32 / (1 << 23) as f32 - 1.0).max(-0.25)
    };
    let (mut worst, mut largest) = (0f64, 0f64);
    for _ in 0..TILES {
        let image: Vec<f32> = (0..size * size * channels).map(|_| noise()).collect();
        let at = |y: usize, x: usize, c: usize| image[(y * size + x) * channels + c];
        let mut sums = vec![vec![0f32; filters]; size * size];
        for c in 0..channels {
            let points = apply(&matrices.image, &apply_columns(&matrices.image, &|y, x| at(y, x, c), size));
            for (i, row) in points.iter().enumerate() {
                for (j, &v) in row.iter().enumerate() {
                    let filter = &transformed[i * size + j][c * filters..][..filters];
                    for (sum, w) in sums[i * size + j].iter_mut().zip(filter) {
                        *sum = v.mul_add(*w, *sum);
                    }
                }
            }
        }
        for f in 0..filters {
            let got = apply(&matrices.result, &apply_columns(&matrices.result, &|y, x| sums[y * size + x][f], size));
            for (y, row) in got.iter().enumerate() {
                for (x, &got) in row.iter().enumerate() {
                    let mut want = 0f64;
                    for c in 0..channels {
                        for t in 0..TAPS * TAPS {
                            let w = all[(t * channels + c) * weights.shape()[3] + f];
                            want += f64::from(at(y + t / TAPS, x + t % TAPS, c)) * f64::from(w);
                        }
                    }
                    worst = worst.max((f64::from(got) - want).abs());
                    largest = largest.max(want.abs());
                }
            }
        }
    }
    if largest == 0.0 { 0.0 } else { worst / largest }
}

/// `rows` times each column of a square: `[row][column]`.
fn apply_columns(rows: &[Vec<f64>], at: &dyn Fn(usize, usize) -> f32, size: usize) -> Vec<Vec<f32>> {
    let one = |row: &Vec<f64>, x: usize| row.iter().enumerate().fold(0f32, |sum, (y, &c)| (c as f32).mul_add(at(y, x), sum));
    rows.iter().map(|row| (0..size).map(|x| one(row, x)).collect()).collect()
}

/// Each line times the rows of `matrix`.
fn apply(matrix: &[Vec<f64>], lines: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let one = |line: &Vec<f32>, row: &Vec<f64>| row.iter().zip(line).fold(0f32, |sum, (&c, &v)| (c as f32).mul_add(v, sum));
    lines.iter().map(|line| matrix.iter().map(|row| one(line, row)).collect()).collect()
}
