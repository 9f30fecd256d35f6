//! Rounding one input after the other, each error made up for by the weights that are not rounded yet. After: Frantar, Ashkboos,
//! Hoefler, Alistarh 2022, "GPTQ"; the factor is taken from the reversed matrix, which saves an inversion.

use crate::affine::Width;
use crate::gram::Gram;
use crate::linear::{NotPositive, cholesky, invert_lower};
use crate::weights::{Grain, Rounded, integer, scale};

/// The part of the mean energy that is added to each input's, so that inputs that hardly differ do no harm.
const DAMP: f64 = 0.01;

/// Weights, `[rows][k]`, as integers that say nearly the same to the samples. Fault: the samples give no positive definite matrix.
pub fn gptq(weights: &[f32], gram: &Gram, width: Width, grain: Grain) -> Result<Rounded, NotPositive> {
    let k = gram.k;
    let upper = factor(gram)?;
    let importance = gram.energy();
    let floor = importance.iter().sum::<f32>() / k.max(1) as f32 * 1e-3 + f32::MIN_POSITIVE;
    let importance: Vec<f32> = importance.iter().map(|i| i.max(floor)).collect();
    let length = grain.length(k);
    let mut rounded = Rounded { integers: Vec::with_capacity(weights.len()), scales: Vec::new(), grain };
    for row in weights.chunks_exact(k) {
        let mut row = row.to_vec();
        for i in 0..k {
            if i % length == 0 {
                let end = k.min(i + length);
                rounded.scales.push(scale(&row[i..end], &importance[i..end], width));
            }
            let scale = *rounded.scales.last().expect("the first input begins a block");
            let q = integer(row[i], scale, width);
            rounded.integers.push(q as i8);
            let factors = &upper[i * k..(i + 1) * k];
            let error = (row[i] - q * scale) / factors[i];
            for (w, f) in row[i + 1..].iter_mut().zip(&factors[i + 1..]) {
                *w -= error * f;
            }
        }
    }
    Ok(rounded)
}

/// The upper triangle `U` with `UᵀU` the inverse of the damped products.
fn factor(gram: &Gram) -> Result<Vec<f32>, NotPositive> {
    let k = gram.k;
    let damp = DAMP * gram.scale() + f64::MIN_POSITIVE;
    let mut reversed = vec![0.0; k * k];
    for i in 0..k {
        for j in 0..=i {
            reversed[i * k + j] = gram.product(k - 1 - i, k - 1 - j) + if i == j { damp } else { 0.0 };
        }
    }
    cholesky(&mut reversed, k)?;
    let inverse = invert_lower(&reversed, k);
    Ok((0..k * k).map(|at| inverse[(k - 1 - at / k) * k + (k - 1 - at % k)] as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::nearest;

    /// Samples whose inputs resemble their neighbours, and weights.
    fn correlated(k: usize, rows: usize, count: usize) -> (Vec<f32>, Vec<f32>) {
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        let mut samples = Vec::new();
        for _ in 0..count {
            let mut last = 0.0;
            for _ in 0..k {
                last = 0.9 * last + 0.3 * next();
                samples.push(last);
            }
        }
        (samples, (0..rows * k).map(|_| next()).collect())
    }

    #[test]
    fn errors_are_made_up_for_where_inputs_are_correlated() {
        let (k, rows) = (64, 16);
        let (samples, weights) = correlated(k, rows, 1024);
        let (fit, check) = samples.split_at(k * 768);
        let (mut gram, mut other) = (Gram::new(k, 0), Gram::new(k, 0));
        gram.add(fit, &[]);
        other.add(check, &[]);
        let difference = |r: &Rounded| r.values(k).iter().zip(&weights).map(|(a, b)| a - b).collect::<Vec<f32>>();
        for grain in [Grain::Row, Grain::Block(32)] {
            let near = nearest(&weights, k, &gram.energy(), Width::I4, grain);
            let ours = gptq(&weights, &gram, Width::I4, grain).expect("it is positive");
            assert_eq!((ours.integers.len(), ours.scales.len()), (near.integers.len(), near.scales.len()));
            // on samples that it has not seen
            let (a, b) = (other.loss(&difference(&ours)), other.loss(&difference(&near)));
            assert!(a < 0.5 * b, "{grain:?}: {a} {b}");
        }
    }

    #[test]
    fn without_samples_there_is_nothing_to_go_by() {
        assert!(gptq(&[1.0, 2.0], &Gram::new(2, 0), Width::I4, Grain::Row).is_ok_and(|r| r.integers.len() == 2));
        let mut gram = Gram::new(1, 0);
        gram.add(&[f32::NAN], &[]);
        assert_eq!(gptq(&[1.0], &gram, Width::I4, Grain::Row), Err(NotPositive(0)));
    }
}
