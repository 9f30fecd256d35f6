//! The matrices of Winograd's minimal filtering: `m` outputs of a filter of 3 taps from `m + 2` products instead of `3 m`.
//! After Lavin & Gray, "Fast algorithms for convolutional neural networks", 2016, section 4; the construction from
//! interpolation points is Toom and Cook's, as in Barabasz et al., "Error analysis and improving the accuracy of
//! Winograd convolution", 2020, section 3.

/// Taps of the filter along one axis.
pub(super) const TAPS: usize = 3;

/// `result * ((filter * g) . (image * d))` is the filter `g` over `d`, along one axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matrices {
    /// `size x size`.
    pub image: Vec<Vec<f64>>,
    /// `size x TAPS`.
    pub filter: Vec<Vec<f64>>,
    /// `m x size`.
    pub result: Vec<Vec<f64>>,
}

/// Tile sizes that have points here.
pub(super) const SIZES: [usize; 3] = [2, 4, 6];

/// Interpolation points beside infinity, pairs of both signs side by side. Those of 4 make products of squares one, which
/// saves multiplications, and err 2.7 times less than 0, 1, 2 (measured: 1.3e-6 of the largest result, 128 channels); those of
/// 6 err 5e-6.
fn points(m: usize) -> Vec<f64> {
    use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};
    let positive: &[f64] = match m {
        2 => &[1.0],
        4 => &[FRAC_1_SQRT_2, SQRT_2],
        _ => &[0.5, 1.0, 2.0],
    };
    [0.0].into_iter().chain(positive.iter().flat_map(|&p| [p, -p])).collect()
}

/// Coefficients of the product of `x - p` over the points. What was rounded is rounded away: coefficients that differ in
/// sign alone do so to the last bit.
fn product(points: impl Iterator<Item = f64>) -> Vec<f64> {
    let exact = 2f64.powi(40);
    let poly: Vec<f64> = points.fold(vec![1.0], |poly, p| {
        let mut out = vec![0.0; poly.len() + 1];
        for (i, c) in poly.iter().enumerate() {
            out[i] -= p * c;
            out[i + 1] += c;
        }
        out
    });
    poly.iter().map(|c| (c * exact).round() / exact).collect()
}

impl Matrices {
    /// Those of tiles of `m` outputs, one of [`SIZES`].
    pub fn new(m: usize) -> Matrices {
        let points = points(m);
        let size = m + TAPS - 1;
        let others = |j: usize| points.iter().copied().enumerate().filter(move |&(i, _)| i != j).map(|(_, p)| p);
        let mut image: Vec<Vec<f64>> = (0..points.len()).map(|j| product(others(j))).collect();
        image.push(product(points.iter().copied()));
        image.iter_mut().for_each(|row| row.resize(size, 0.0));
        let at_infinity = |n: usize, last: usize| (0..n).map(|i| f64::from(u8::from(i == last))).collect::<Vec<_>>();
        let row = |j: usize| {
            let scale: f64 = others(j).map(|p| points[j] - p).product();
            (0..TAPS).map(|k| points[j].powi(k as i32) / scale).collect::<Vec<_>>()
        };
        let mut filter: Vec<Vec<f64>> = (0..points.len()).map(row).collect();
        filter.push(at_infinity(TAPS, TAPS - 1));
        let result = (0..m).map(|i| {
            let last = f64::from(u8::from(i == m - 1));
            points.iter().map(|p| p.powi(i as i32)).chain([last]).collect()
        });
        Matrices { image, filter, result: result.collect() }
    }

    /// Products along one axis.
    pub fn size(&self) -> usize {
        self.image.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_compute_a_filter() {
        for m in SIZES {
            let matrices = Matrices::new(m);
            let d: Vec<f64> = (0..matrices.size()).map(|i| (i as f64 * 1.7).sin()).collect();
            let g = [0.5, -1.25, 2.0];
            let by =
                |rows: &[Vec<f64>], x: &[f64]| -> Vec<f64> { rows.iter().map(|r| r.iter().zip(x).map(|(a, b)| a * b).sum()).collect() };
            let products: Vec<f64> = by(&matrices.filter, &g).iter().zip(by(&matrices.image, &d)).map(|(a, b)| a * b).collect();
            let got = by(&matrices.result, &products);
            for (i, got) in got.iter().enumerate() {
                let want: f64 = (0..TAPS).map(|k| g[k] * d[i + k]).sum();
                assert!((got - want).abs() < 1e-10, "{m}: {got} for {want}");
            }
        }
    }
}
