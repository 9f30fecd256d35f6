//! How much was lost: noise against signal, and how far two distributions are apart. It knows numbers, not models.

/// How the outputs of two models are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// The outputs are probabilities: the divergence of the second from the first, in nats.
    Probabilities,
    /// The outputs are scores of classes: the divergence of their softmax.
    Scores,
    /// They are any numbers: the power of the difference over that of the signal.
    Numbers,
}

impl Judge {
    /// By what the float model said: rows of `classes` that sum to one, or that are scores.
    pub fn of(outputs: &[f32], classes: usize, scores: bool) -> Judge {
        let is_one = |row: &[f32]| row.iter().all(|v| *v >= 0.0) && (row.iter().sum::<f32>() - 1.0).abs() < 1e-3;
        match classes {
            0 | 1 => Judge::Numbers,
            _ if outputs.chunks_exact(classes).all(is_one) => Judge::Probabilities,
            _ if scores => Judge::Scores,
            _ => Judge::Numbers,
        }
    }

    /// The mean over rows of `classes`.
    pub fn distance(self, want: &[f32], got: &[f32], classes: usize) -> f64 {
        let rows = want.chunks_exact(classes.max(1)).zip(got.chunks_exact(classes.max(1)));
        let count = rows.len().max(1) as f64;
        match self {
            Judge::Numbers => noise(want, got),
            Judge::Probabilities => rows.map(|(w, g)| divergence(w, g)).sum::<f64>() / count,
            Judge::Scores => rows.map(|(w, g)| divergence(&softmax(w), &softmax(g))).sum::<f64>() / count,
        }
    }
}

fn softmax(scores: &[f32]) -> Vec<f32> {
    let top = scores.iter().fold(f32::NEG_INFINITY, |m, s| m.max(*s));
    let powers: Vec<f32> = scores.iter().map(|s| (s - top).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

/// The divergence of `got` from `want` (Kullback and Leibler), in nats.
pub fn divergence(want: &[f32], got: &[f32]) -> f64 {
    const FLOOR: f64 = 1e-9;
    let term = |(&p, &q): (&f32, &f32)| {
        let (p, q) = (f64::from(p), f64::from(q).max(FLOOR));
        if p > FLOOR { p * (p / q).ln() } else { 0.0 }
    };
    want.iter().zip(got).map(term).sum::<f64>().max(0.0)
}

/// The power of the difference over that of the signal; 0 where both are the same.
pub fn noise(want: &[f32], got: &[f32]) -> f64 {
    let signal: f64 = want.iter().map(|v| f64::from(*v).powi(2)).sum();
    let noise: f64 = want.iter().zip(got).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    if noise == 0.0 { 0.0 } else { noise / signal }
}

/// A ratio of noise to signal as decibels of signal over noise.
pub fn decibels(noise: f64) -> f64 {
    -10.0 * noise.log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judge_fits_the_outputs() {
        let probabilities = [0.25, 0.75, 1.0, 0.0];
        assert_eq!(Judge::of(&probabilities, 2, false), Judge::Probabilities);
        assert_eq!(Judge::of(&[3.0, -1.0], 2, true), Judge::Scores);
        assert_eq!(Judge::of(&[3.0, -1.0], 2, false), Judge::Numbers);
        assert_eq!(Judge::of(&[1.0], 1, true), Judge::Numbers);
    }

    #[test]
    fn distances_are_zero_for_the_same_and_grow() {
        let want = [1.0, 2.0, 0.5, 0.1];
        for judge in [Judge::Scores, Judge::Numbers] {
            assert_eq!(judge.distance(&want, &want, 2), 0.0);
            let (near, far) = (judge.distance(&want, &[1.0, 2.1, 0.5, 0.1], 2), judge.distance(&want, &[1.0, 3.0, 0.5, 0.1], 2));
            assert!(0.0 < near && near < far, "{judge:?} {near} {far}");
        }
        assert!((divergence(&[0.5, 0.5], &[0.25, 0.75]) - (0.5 * 2f64.ln() + 0.5 * (2.0f64 / 3.0).ln())).abs() < 1e-7);
        assert!((decibels(noise(&[1.0, 1.0], &[1.1, 0.9])) - 20.0).abs() < 1e-3);
    }
}
