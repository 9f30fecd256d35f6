//! How often a tensor's values lie where, gathered in one pass over values whose range is not known beforehand, and the range that
//! is best kept when they become bytes. It knows numbers, not tensors.

use crate::affine::Affine;

/// Bins that are kept. Twice what a range is chosen by: when a value lies outside, the bins widen by two, so that at least half of
/// them lie over the values at the end.
const BINS: usize = 4096;
/// Steps in which a range shrinks while the best is sought.
const STEPS: usize = 80;

/// How an activation's range is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranging {
    /// From the least value to the greatest.
    MinMax,
    /// Without the outermost 0.01 % of the values.
    Percentile,
    /// Where the mean squared error, of rounding inside and of clipping outside, is least.
    Mse,
}

/// Counts of values over a range that grows by doubling.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Where the first bin begins, and how wide each is; no bins before the first value.
    low: f64,
    width: f64,
    bins: Vec<u64>,
    least: f32,
    greatest: f32,
    count: u64,
    /// Values that are no numbers, or infinite.
    strange: u64,
    squares: f64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            low: 0.0,
            width: 0.0,
            bins: Vec::new(),
            least: f32::INFINITY,
            greatest: f32::NEG_INFINITY,
            count: 0,
            strange: 0,
            squares: 0.0,
        }
    }
}

impl Histogram {
    /// Counts more values. Those that are not finite are counted apart.
    pub fn add(&mut self, values: &[f32]) {
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        for &v in values.iter().filter(|v| v.is_finite()) {
            low = low.min(v);
            high = high.max(v);
        }
        if low > high {
            self.strange += values.len() as u64;
            return;
        }
        self.cover(f64::from(low), f64::from(high));
        self.least = self.least.min(low);
        self.greatest = self.greatest.max(high);
        let per_bin = 1.0 / self.width;
        for &v in values {
            if !v.is_finite() {
                self.strange += 1;
                continue;
            }
            let bin = ((f64::from(v) - self.low) * per_bin) as usize;
            self.bins[bin.min(BINS - 1)] += 1;
            self.count += 1;
            self.squares += f64::from(v) * f64::from(v);
        }
    }

    /// Widens the bins until they lie over both.
    fn cover(&mut self, low: f64, high: f64) {
        if self.bins.is_empty() {
            let span = (high - low).max(high.abs().max(low.abs()) * 1e-6).max(1e-30);
            (self.low, self.width, self.bins) = (low, span / BINS as f64, vec![0; BINS]);
        }
        loop {
            let end = self.low + self.width * BINS as f64;
            let (under, over) = (low < self.low, high > end * (1.0 + 1e-12) + 1e-300 && high > end);
            if !under && !over {
                return;
            }
            let half: Vec<u64> = self.bins.chunks_exact(2).map(|pair| pair[0] + pair[1]).collect();
            self.bins.fill(0);
            let at = if under { BINS / 2 } else { 0 };
            self.bins[at..at + BINS / 2].copy_from_slice(&half);
            if under {
                self.low -= self.width * BINS as f64;
            }
            self.width *= 2.0;
        }
    }

    /// The least and the greatest finite value; `None` before the first.
    pub fn ends(&self) -> Option<(f32, f32)> {
        (self.count > 0).then_some((self.least, self.greatest))
    }

    /// Values that were no finite numbers.
    pub fn strange(&self) -> u64 {
        self.strange
    }

    /// The mean of the squares: the power of the signal.
    pub fn power(&self) -> f64 {
        self.squares / self.count.max(1) as f64
    }

    /// The range to keep, never beyond the values. `None` before the first value.
    pub fn range(&self, how: Ranging) -> Option<(f32, f32)> {
        let (least, greatest) = self.ends()?;
        let (low, high) = match how {
            Ranging::MinMax => (least, greatest),
            Ranging::Percentile => self.percentile(1e-4),
            Ranging::Mse => self.best(),
        };
        Some((low.max(least), high.min(greatest)))
    }

    /// Without `share` of the values, half of it at each end that is not zero's.
    fn percentile(&self, share: f64) -> (f32, f32) {
        // an end at zero is Relu's, and nothing lies beyond it
        let ends = f64::from(u8::from(self.least < 0.0) + u8::from(self.greatest > 0.0)).max(1.0);
        let few = (self.count as f64 * share / ends) as u64;
        let edge = |order: &mut dyn Iterator<Item = usize>| {
            let mut seen = 0;
            for bin in order {
                seen += self.bins[bin];
                if seen > few {
                    return bin;
                }
            }
            0
        };
        let first = edge(&mut (0..BINS));
        let last = edge(&mut (0..BINS).rev());
        let low = if self.least < 0.0 { (self.low + first as f64 * self.width) as f32 } else { self.least };
        let high = if self.greatest > 0.0 { (self.low + (last + 1) as f64 * self.width) as f32 } else { self.greatest };
        (low, high)
    }

    /// The range of least mean squared error. Each end shrinks by itself, then the other once more.
    fn best(&self) -> (f32, f32) {
        let (mut low, mut high) = (self.least.min(0.0), self.greatest.max(0.0));
        let full = (low, high);
        let mut least = self.error(low, high);
        for _ in 0..2 {
            for step in 1..STEPS {
                let part = 1.0 - step as f32 / STEPS as f32;
                for (l, h) in [(full.0 * part, high), (low, full.1 * part)] {
                    let error = self.error(l, h);
                    if error < least {
                        (least, low, high) = (error, l, h);
                    }
                }
            }
        }
        (low, high)
    }

    /// The mean squared error of bytes over a range.
    pub fn error(&self, low: f32, high: f32) -> f64 {
        let affine = Affine::over(low, high);
        let scale = f64::from(affine.scale);
        let (low, high) = (-f64::from(affine.zero) * scale, f64::from(255 - affine.zero) * scale);
        let inside = scale * scale / 12.0;
        let error = |(i, &n): (usize, &u64)| {
            let center = self.low + (i as f64 + 0.5) * self.width;
            let beyond = (low - center).max(center - high).max(0.0);
            n as f64 * if beyond > 0.0 { beyond * beyond } else { inside }
        };
        self.bins.iter().enumerate().filter(|(_, n)| **n > 0).map(error).sum::<f64>() / self.count.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bell-shaped sum of uniform numbers, the same every time.
    fn bell(count: usize) -> Vec<f32> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        (0..count).map(|_| (0..12).map(|_| next()).sum()).collect()
    }

    #[test]
    fn bins_widen_and_lose_no_value() {
        let mut h = Histogram::default();
        h.add(&[1.0, 1.5]);
        h.add(&[-40.0, 7.0, f32::NAN]);
        h.add(&[f32::INFINITY, 90.0]);
        assert_eq!((h.ends(), h.bins.iter().sum::<u64>(), h.strange()), (Some((-40.0, 90.0)), 5, 2));
        // at least half of the bins lie over the values
        assert!(h.width * BINS as f64 <= 4.0 * 130.0, "{}", h.width * BINS as f64);
        assert_eq!(h.range(Ranging::MinMax), Some((-40.0, 90.0)));
    }

    #[test]
    fn a_lone_outlier_is_clipped_by_the_error_and_the_percentile_but_not_by_the_ends() {
        let mut values = bell(100_000);
        values.push(60.0);
        let mut h = Histogram::default();
        values.chunks(1000).for_each(|part| h.add(part));
        assert_eq!(h.range(Ranging::MinMax).expect("values").1, 60.0);
        // a lone value may be worth a coarser step, but never all of it
        for (how, most) in [(Ranging::Percentile, 10.0), (Ranging::Mse, 59.0)] {
            let (low, high) = h.range(how).expect("values");
            assert!(low < -2.0 && high > 2.0 && high < most, "{how:?}: {low} {high}");
        }
        // the choice is no worse than what else could be chosen, measured on the values themselves
        let measured = |(low, high): (f32, f32)| {
            let a = Affine::over(low, high);
            let back = |v: f32| a.dequantize(a.quantize(v, crate::Width::U8));
            values.iter().map(|&v| f64::from((back(v) - v).powi(2))).sum::<f64>()
        };
        let best = measured(h.range(Ranging::Mse).expect("values"));
        for other in [(-40.0, 60.0), (-5.0, 5.0), (-5.0, 60.0), (-2.0, 2.0)] {
            assert!(best <= measured(other) * 1.02, "{other:?}: {best} {}", measured(other));
        }
    }

    #[test]
    fn a_range_that_begins_at_zero_stays_there() {
        let mut h = Histogram::default();
        h.add(&bell(10_000).iter().map(|v| v.max(0.0)).collect::<Vec<_>>());
        for how in [Ranging::MinMax, Ranging::Percentile, Ranging::Mse] {
            assert_eq!(h.range(how).expect("values").0, 0.0, "{how:?}");
        }
        assert_eq!(Histogram::default().range(Ranging::Mse), None);
    }
}
