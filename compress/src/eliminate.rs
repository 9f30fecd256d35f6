//! Which weights go when the others may make up for them: block after block, always the one whose going costs least after all others are
//! fitted anew. After: Frantar, Singh, Alistarh 2022, "Optimal Brain Compression"; here rows that lose the same inputs share an inverse.

use crate::gram::Gram;
use crate::linear::{NotPositive, cholesky, invert_lower, solve};
use crate::mask::{Pattern, without};

/// Multiplications that [`eliminate`] takes for `rows` of `k`.
pub fn work(rows: usize, k: usize, pattern: Pattern) -> f64 {
    rows.div_ceil(pattern.tall()) as f64 * (k as f64).powi(3)
}

/// Which weights of `[rows][k]` stay, when a share of `sparsity` of them goes. `weights`: the best dense ones for `gram`, which is over
/// `k + 1` inputs, the last always 1. `ridge`: as in [`refit`](crate::refit()). Fault: the samples give no positive definite matrix.
pub fn eliminate(weights: &[f32], gram: &Gram, ridge: f64, pattern: Pattern, sparsity: f64) -> Result<Vec<bool>, NotPositive> {
    let k = gram.k - 1;
    let rows = weights.len() / k.max(1);
    let inverse = inverse(gram, ridge)?;
    let mut costs: Vec<(f64, usize, usize, usize)> = Vec::new();
    for top in (0..rows).step_by(pattern.tall()) {
        let tall = pattern.tall().min(rows - top);
        let mut group = Group {
            weights: weights[top * k..(top + tall) * k].iter().map(|w| f64::from(*w)).collect(),
            inverse: inverse.clone(),
            k,
            wide: pattern.wide(),
        };
        // a block never costs less than those that went before it
        let mut most = 0f64;
        for (cost, left, width) in group.order()? {
            most = most.max(cost);
            costs.push((most / (tall * width) as f64, top, left, tall * width));
        }
    }
    Ok(without(costs, (rows, k), pattern, sparsity))
}

/// The inverse of the products, without what the bias accounts for, with the ridge. `[k][k]`
fn inverse(gram: &Gram, ridge: f64) -> Result<Vec<f64>, NotPositive> {
    let k = gram.k - 1;
    let count = gram.samples.max(1) as f64;
    let energy = (0..k).map(|i| gram.product(i, i)).sum::<f64>() / k.max(1) as f64;
    let mut a = vec![0.0; k * k];
    for i in 0..k {
        for j in 0..=i {
            a[i * k + j] = gram.product(i, j) - gram.product(k, i) * gram.product(k, j) / count;
        }
        a[i * k + i] += ridge * energy + f64::MIN_POSITIVE;
    }
    cholesky(&mut a, k)?;
    let half = invert_lower(&a, k);
    let mut inverse = vec![0.0; k * k];
    // the inverse is the triangle's, transposed, times the triangle's: row by row of the triangle
    for row in half.chunks_exact(k.max(1)).enumerate().map(|(r, row)| &row[..=r]) {
        for (i, &a) in row.iter().enumerate().filter(|(_, a)| **a != 0.0) {
            inverse[i * k..i * k + row.len()].iter_mut().zip(row).for_each(|(to, b)| *to += a * b);
        }
    }
    Ok(inverse)
}

/// Rows that keep the same inputs.
struct Group {
    /// `[rows][k]`
    weights: Vec<f64>,
    inverse: Vec<f64>,
    k: usize,
    wide: usize,
}

impl Group {
    /// All blocks in the order in which they go: the cost of each, where it begins, and how wide it is.
    fn order(&mut self) -> Result<Vec<(f64, usize, usize)>, NotPositive> {
        let mut left: Vec<usize> = (0..self.k).step_by(self.wide).collect();
        let mut order = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let mut best = (f64::INFINITY, 0);
            for (at, &start) in left.iter().enumerate() {
                let cost = self.cost(start)?;
                if cost < best.0 {
                    best = (cost, at);
                }
            }
            let start = left.remove(best.1);
            order.push((best.0, start, self.width(start)));
            self.take(start)?;
        }
        Ok(order)
    }

    fn width(&self, start: usize) -> usize {
        self.wide.min(self.k - start)
    }

    /// The factor of a block of the inverse, and a row's weights of the block divided by that block.
    fn divided(&self, start: usize) -> Result<Vec<f64>, NotPositive> {
        let n = self.width(start);
        let mut block: Vec<f64> = (0..n * n).map(|i| self.inverse[(start + i / n) * self.k + start + i % n]).collect();
        cholesky(&mut block, n)?;
        let mut all = Vec::new();
        for row in self.weights.chunks_exact(self.k) {
            let mut part = row[start..start + n].to_vec();
            solve(&block, n, &mut part);
            all.extend(part);
        }
        Ok(all)
    }

    /// What the sums lose when a block goes and all that is left is fitted anew.
    fn cost(&self, start: usize) -> Result<f64, NotPositive> {
        let n = self.width(start);
        if n == 1 {
            let pivot = self.inverse[start * self.k + start];
            let squares: f64 = self.weights.chunks_exact(self.k).map(|row| row[start] * row[start]).sum();
            return if pivot > 0.0 { Ok(squares / pivot) } else { Err(NotPositive(start)) };
        }
        let divided = self.divided(start)?;
        let rows = self.weights.chunks_exact(self.k).zip(divided.chunks_exact(n));
        Ok(rows.map(|(row, part)| row[start..].iter().zip(part).map(|(w, d)| w * d).sum::<f64>()).sum())
    }

    /// Takes a block out: the others make up for it, and the inverse forgets its inputs.
    fn take(&mut self, start: usize) -> Result<(), NotPositive> {
        let (n, k) = (self.width(start), self.k);
        let divided = self.divided(start)?;
        let columns: Vec<f64> = self.inverse[start * k..(start + n) * k].to_vec();
        for (row, part) in self.weights.chunks_exact_mut(k).zip(divided.chunks_exact(n)) {
            for (column, d) in columns.chunks_exact(k).zip(part) {
                row.iter_mut().zip(column).for_each(|(w, c)| *w -= d * c);
            }
            row[start..start + n].fill(0.0);
        }
        let mut block: Vec<f64> = (0..n * n).map(|i| columns[(i / n) * k + start + i % n]).collect();
        cholesky(&mut block, n)?;
        for i in 0..k {
            let mut factors: Vec<f64> = (0..n).map(|b| columns[b * k + i]).collect();
            if factors.iter().all(|f| *f == 0.0) {
                continue;
            }
            solve(&block, n, &mut factors);
            let row = &mut self.inverse[i * k..(i + 1) * k];
            for (factor, column) in factors.iter().zip(columns.chunks_exact(k)) {
                row.iter_mut().zip(column).for_each(|(to, c)| *to -= factor * c);
            }
        }
        // exactly gone, whatever rounding left
        for b in start..start + n {
            self.inverse[b * k..(b + 1) * k].fill(0.0);
            (0..k).for_each(|i| self.inverse[i * k + b] = 0.0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::mask;
    use crate::refit::refit;

    /// Samples of which every second input is nearly a copy of the one before, what a layer says to them, and the layer.
    fn copies(k: usize, rows: usize) -> (Gram, Vec<f32>) {
        let mut state = 11u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        let weights: Vec<f32> = (0..rows * k).map(|_| next()).collect();
        let mut gram = Gram::new(k + 1, rows);
        for _ in 0..600 {
            let mut x: Vec<f32> = (0..k).map(|_| next()).collect();
            for i in (1..k).step_by(2) {
                x[i] = x[i - 1] + 0.05 * x[i];
            }
            let says: Vec<f32> = weights.chunks_exact(k).map(|row| row.iter().zip(&x).map(|(w, x)| w * x).sum::<f32>() + 0.5).collect();
            x.push(1.0);
            gram.add(&x, &says);
        }
        (gram, weights)
    }

    #[test]
    fn what_others_can_make_up_for_goes_first() {
        let (k, rows) = (24, 8);
        let (gram, weights) = copies(k, rows);
        for pattern in [Pattern::Single, Pattern::FourRows, Pattern::FourColumns] {
            let noise = |keep: &[bool]| {
                let fitted = refit(&weights, &vec![0.0; rows], keep, &gram, 1e-4).expect("it is positive");
                let with: Vec<f32> =
                    fitted.weights.chunks_exact(k).zip(&fitted.bias).flat_map(|(r, b)| r.iter().copied().chain([*b])).collect();
                gram.noise(&with)
            };
            let keep = eliminate(&weights, &gram, 1e-4, pattern, 0.5).expect("it is positive");
            assert_eq!(keep.iter().filter(|k| **k).count(), rows * k / 2, "{pattern:?}");
            let magnitude = noise(&mask(&weights, k, &vec![1.0; k], pattern, 0.5));
            let factor = if pattern == Pattern::FourColumns { 0.9 } else { 0.3 };
            assert!(noise(&keep) < factor * magnitude, "{pattern:?}: {} {magnitude}", noise(&keep));
        }
    }

    #[test]
    fn the_cost_is_what_fitting_anew_loses() {
        let (k, rows) = (6, 4);
        let (gram, weights) = copies(k, rows);
        let inverse = inverse(&gram, 1e-9).expect("it is positive");
        let group = Group { weights: weights.iter().map(|w| f64::from(*w)).collect(), inverse, k, wide: 1 };
        let keep: Vec<bool> = (0..rows * k).map(|i| i % k != 2).collect();
        let fitted = refit(&weights, &[0.0; 4], &keep, &gram, 1e-9).expect("it is positive");
        let difference: Vec<f32> = (0..rows)
            .flat_map(|r| {
                let row = (0..k).map(|c| fitted.weights[r * k + c] - weights[r * k + c]).collect::<Vec<f32>>();
                row.into_iter().chain([fitted.bias[r] - 0.5]).collect::<Vec<f32>>()
            })
            .collect();
        let (told, measured) = (group.cost(2).expect("it is positive"), gram.loss(&difference));
        assert!((told / measured - 1.0).abs() < 0.02, "{told} {measured}");
    }
}
