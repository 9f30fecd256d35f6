//! Weights as small signed integers with a scale for each row, or for each block of a row: round to nearest, with the scale that
//! makes the squared error least. It knows rows of numbers, not layers.

use crate::affine::Width;

/// What shares a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// A row: an output channel.
    Row,
    /// So many neighbours in a row; the last block may be shorter.
    Block(usize),
}

impl Grain {
    /// Weights under one scale, in a row of `k`.
    pub fn length(self, k: usize) -> usize {
        match self {
            Grain::Row => k.max(1),
            Grain::Block(length) => length,
        }
    }
}

/// Weights as integers.
#[derive(Clone, Debug, PartialEq)]
pub struct Rounded {
    /// `[rows][k]`
    pub integers: Vec<i8>,
    /// `[rows]`, or `[rows][blocks]`
    pub scales: Vec<f32>,
    pub grain: Grain,
}

impl Rounded {
    /// What the integers mean, `[rows][k]`.
    pub fn values(&self, k: usize) -> Vec<f32> {
        let rows = self.integers.chunks_exact(k.max(1));
        let per_row = k.div_ceil(self.grain.length(k));
        let value = |(row, integers): (usize, &[i8])| {
            let scales = &self.scales[row * per_row..];
            integers.iter().enumerate().map(|(i, &q)| f32::from(q) * scales[i / self.grain.length(k)]).collect::<Vec<f32>>()
        };
        rows.enumerate().flat_map(value).collect()
    }
}

/// The least and the greatest integer of a weight. Of signed bytes the least is left out: symmetric, and what some byte products want.
pub fn limits(width: Width) -> (f32, f32) {
    match width {
        Width::I8 => (-127.0, 127.0),
        Width::I4 => (-8.0, 7.0),
        Width::U8 => (0.0, 255.0),
    }
}

/// The integer for a weight.
pub fn integer(weight: f32, scale: f32, width: Width) -> f32 {
    let (low, high) = limits(width);
    (weight / scale).round_ties_even().clamp(low, high)
}

/// The scale under which the weights lose least; `importance`: of the square of each one's error.
pub fn scale(weights: &[f32], importance: &[f32], width: Width) -> f32 {
    let largest = weights.iter().fold(0f32, |m, w| m.max(w.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return 1.0;
    }
    let base = largest / limits(width).1;
    // four bits reach one further below zero, and gain more from clipping
    let factors = match width {
        Width::I4 => 46..=116,
        Width::I8 | Width::U8 => 70..=100,
    };
    let error = |scale: f32| {
        let term = |(w, i): (&f32, &f32)| f64::from(i * (integer(*w, scale, width) * scale - w).powi(2));
        weights.iter().zip(importance).map(term).sum::<f64>()
    };
    let (mut best, mut least) = (base, error(base));
    for factor in factors.rev().step_by(2) {
        let scale = base * factor as f32 / 100.0;
        let error = error(scale);
        if error < least {
            (best, least) = (scale, error);
        }
    }
    best.max(f32::MIN_POSITIVE)
}

/// Every weight of `[rows][k]` to the nearest integer. `importance`: of each of the `k` inputs, such as its mean square.
pub fn nearest(weights: &[f32], k: usize, importance: &[f32], width: Width, grain: Grain) -> Rounded {
    let mut rounded = Rounded { integers: Vec::with_capacity(weights.len()), scales: Vec::new(), grain };
    // inputs that were always zero still count for something
    let floor = importance.iter().sum::<f32>() / k.max(1) as f32 * 1e-3 + f32::MIN_POSITIVE;
    let importance: Vec<f32> = importance.iter().map(|i| i.max(floor)).collect();
    for row in weights.chunks_exact(k.max(1)) {
        for (part, importance) in row.chunks(grain.length(k)).zip(importance.chunks(grain.length(k))) {
            let scale = scale(part, importance, width);
            rounded.scales.push(scale);
            rounded.integers.extend(part.iter().map(|w| integer(*w, scale, width) as i8));
        }
    }
    rounded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_blocks_have_their_own_scales() {
        let weights = [1.0, -0.5, 0.25, 100.0, 0.0, 50.0];
        let rows = nearest(&weights, 3, &[1.0; 3], Width::I8, Grain::Row);
        assert_eq!(rows.scales.len(), 2);
        let back = rows.values(3);
        assert!(weights.iter().zip(&back).all(|(w, b)| (w - b).abs() <= w.abs().max(0.3) / 100.0), "{back:?}");
        let blocks = nearest(&weights, 3, &[1.0; 3], Width::I4, Grain::Block(2));
        assert_eq!(blocks.scales.len(), 4);
        let back = blocks.values(3);
        assert!((back[2] - 0.25).abs() < 0.01 && (back[5] - 50.0).abs() < 1.0, "{back:?}");
    }

    #[test]
    fn an_important_weight_decides_the_scale() {
        let mut weights = vec![0.1f32; 15];
        weights.push(1.0);
        let even = nearest(&weights, 16, &[1.0; 16], Width::I4, Grain::Row);
        let mut importance = vec![1.0; 16];
        importance[15] = 0.0;
        let small = nearest(&weights, 16, &importance, Width::I4, Grain::Row);
        let off = |r: &Rounded| (r.values(16)[0] - 0.1).abs();
        assert!(off(&small) < off(&even), "{} {}", off(&small), off(&even));
        assert_eq!(nearest(&[0.0; 4], 4, &[0.0; 4], Width::I8, Grain::Row).values(4), [0.0; 4]);
    }
}
