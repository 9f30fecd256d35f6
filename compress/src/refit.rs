//! The weights that stay, chosen anew so that the layer says to its samples what it said before: least squares, in closed form, row by
//! row over what each row keeps.

use crate::gram::Gram;
use crate::linear::{NotPositive, cholesky, solve};

/// What a layer becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Refit {
    /// `[rows][k]`; zero where nothing is kept.
    pub weights: Vec<f32>,
    /// `[rows]`
    pub bias: Vec<f32>,
}

/// Refits `weights`, `[rows][k]`, where `keep` says that they stay, and the bias. `gram`: over `k + 1` inputs, of which the last is
/// always 1, with what the layer should say, bias included, as targets. `ridge`: what holds the weights near where they were, as a
/// part of the mean energy of the inputs. Rows that keep the same inputs share a factor. Fault: the samples give no positive definite
/// matrix even with the ridge.
pub fn refit(weights: &[f32], bias: &[f32], keep: &[bool], gram: &Gram, ridge: f64) -> Result<Refit, NotPositive> {
    let k = gram.k - 1;
    let rows = weights.len() / k.max(1);
    assert_eq!((bias.len(), keep.len(), gram.n), (rows, weights.len(), rows), "a layer and its samples");
    let energy = (0..k).map(|i| gram.product(i, i)).sum::<f64>() / k.max(1) as f64;
    let pull = ridge * energy + f64::MIN_POSITIVE;
    let mut all = Refit { weights: vec![0.0; weights.len()], bias: bias.to_vec() };
    let mut last: Option<(Vec<usize>, Vec<f64>)> = None;
    for row in 0..rows {
        let mut inputs: Vec<usize> = (0..k).filter(|i| keep[row * k + i]).collect();
        inputs.push(k);
        let n = inputs.len();
        if last.as_ref().is_none_or(|(same, _)| *same != inputs) {
            let mut a = vec![0.0; n * n];
            for (i, &p) in inputs.iter().enumerate() {
                for (j, &q) in inputs[..=i].iter().enumerate() {
                    a[i * n + j] = gram.product(p, q);
                }
                // the bias is free, but for what keeps the matrix positive
                a[i * n + i] += if p == k { 1e-9 * gram.samples as f64 } else { pull };
            }
            cholesky(&mut a, n)?;
            last = Some((inputs.clone(), a));
        }
        let (_, factor) = last.as_ref().expect("it was just made");
        let toward = |&p: &usize| if p == k { 0.0 } else { pull * f64::from(weights[row * k + p]) };
        let mut x: Vec<f64> = inputs.iter().map(|p| gram.with_target(row, *p) + toward(p)).collect();
        solve(factor, n, &mut x);
        for (&p, &x) in inputs.iter().zip(&x) {
            if p == k {
                all.bias[row] = x as f32;
            } else {
                all.weights[row * k + p] = x as f32;
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples with a 1 behind each, and what a layer says to them.
    fn teacher(k: usize, weights: &[f32], bias: &[f32], count: usize) -> Gram {
        let mut state = 3u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        let mut gram = Gram::new(k + 1, bias.len());
        for _ in 0..count {
            let mut x: Vec<f32> = (0..k).map(|_| next()).collect();
            // the second half resembles the first
            for i in k / 2..k {
                x[i] = x[i - k / 2] + 0.1 * x[i];
            }
            let says = |(row, b): (&[f32], &f32)| row.iter().zip(&x).map(|(w, x)| w * x).sum::<f32>() + b;
            let targets: Vec<f32> = weights.chunks_exact(k).zip(bias).map(says).collect();
            x.push(1.0);
            gram.add(&x, &targets);
        }
        gram
    }

    #[test]
    fn a_teacher_that_needs_no_more_is_recovered() {
        let k = 12;
        let mut weights: Vec<f32> = (0..3 * k).map(|i| ((i * 29) % 17) as f32 / 8.0 - 1.0).collect();
        let keep: Vec<bool> = (0..3 * k).map(|i| i % 3 != 1).collect();
        weights.iter_mut().zip(&keep).for_each(|(w, k)| *w *= f32::from(u8::from(*k)));
        let gram = teacher(k, &weights, &[0.5, -2.0, 0.0], 400);
        // begun from somewhere else
        let other: Vec<f32> = weights.iter().map(|w| w * 0.5 + 0.1).collect();
        let back = refit(&other, &[0.0; 3], &keep, &gram, 1e-7).expect("it is positive");
        assert!(back.weights.iter().zip(&weights).all(|(a, b)| (a - b).abs() < 1e-3), "{:?}", back.weights);
        assert!(back.bias.iter().zip([0.5, -2.0, 0.0]).all(|(a, b)| (a - b).abs() < 1e-3));
    }

    #[test]
    fn what_stays_takes_over_for_what_goes() {
        let k = 8;
        let weights = vec![1.0f32; k];
        let gram = teacher(k, &weights, &[0.25], 400);
        // the second half of the inputs, nearly copies of the first, goes
        let keep: Vec<bool> = (0..k).map(|i| i < k / 2).collect();
        let back = refit(&weights, &[0.25], &keep, &gram, 1e-3).expect("it is positive");
        assert!(back.weights[..k / 2].iter().all(|w| (w - 2.0).abs() < 0.05), "{:?}", back.weights);
        let loss = |w: &[f32]| {
            let mut d: Vec<f32> = w.iter().zip(&weights).map(|(a, b)| a - b).collect();
            d.push(0.0);
            gram.loss(&d)
        };
        let magnitude: Vec<f32> = (0..k).map(|i| if i < k / 2 { 1.0 } else { 0.0 }).collect();
        assert!(loss(&back.weights) < 0.02 * loss(&magnitude), "{} {}", loss(&back.weights), loss(&magnitude));
    }
}
