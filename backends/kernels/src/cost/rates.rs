//! How fast a core of a CPU level is, as data, and the time of plain work at these rates. Measured on one machine of the
//! level; others differ by a factor that candidates share.

use ir::kernel::Facts;

/// What one core does in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Multiply-adds of f32 at peak.
    pub floats: f64,
    /// Multiply-adds of bytes at peak.
    pub bytes: f64,
    /// Bytes read: from L1, L2, L3 and memory.
    pub read: [f64; 4],
    /// Seconds that a call takes beside its work.
    pub call: f64,
}

/// Measured rates by the name of the level.
const MEASURED: &[(&str, Rates)] = &[
    ("x86-64-v3", Rates { floats: 67e9, bytes: 137e9, read: [260e9, 120e9, 60e9, 24e9], call: 10e-9 }),
    ("x86-64-v4", Rates { floats: 134e9, bytes: 137e9, read: [500e9, 200e9, 60e9, 24e9], call: 10e-9 }),
    ("x86-64-v4+vnni", Rates { floats: 134e9, bytes: 540e9, read: [500e9, 200e9, 60e9, 24e9], call: 10e-9 }),
    ("x86-64-v4+vbmi", Rates { floats: 134e9, bytes: 540e9, read: [500e9, 200e9, 60e9, 24e9], call: 10e-9 }),
];

/// Cycles in a second of a machine that nobody measured.
const CLOCK: f64 = 2.5e9;

impl Rates {
    /// The rates of a level: measured ones, else what its facts let expect.
    pub fn of(facts: &Facts) -> Rates {
        let known = MEASURED.iter().find(|(name, _)| *name == facts.name);
        known.map(|(_, rates)| *rates).unwrap_or_else(|| {
            let floats = facts.mul_adds() * CLOCK;
            let menu = &facts.menu;
            let bytes = if menu.matrix8 {
                8.0
            } else if menu.dot4_u8s8 || menu.dot4_s8s8 {
                4.0
            } else {
                1.5
            } * floats;
            let vector = facts.vector_bytes as f64 * CLOCK;
            Rates { floats, bytes, read: [2.0 * vector, vector, 0.5 * vector, 10e9], call: 10e-9 }
        })
    }

    /// Seconds of a cycle.
    pub fn cycle(&self, facts: &Facts) -> f64 {
        facts.mul_adds() / self.floats
    }

    /// Bytes a second where so many are read again and again.
    pub fn bandwidth(&self, facts: &Facts, bytes: u64) -> f64 {
        let level = facts.caches.iter().position(|&size| bytes <= size).unwrap_or(3);
        self.read[level]
    }

    /// Predicted seconds of `macs` multiply-adds of f32 on weights of so many bytes that every run reads once, and on
    /// `moved` bytes of inputs and results: the arithmetic or the reading, whichever is longer.
    pub fn dense(&self, facts: &Facts, macs: u64, weights: u64, moved: u64) -> f64 {
        self.product(facts, macs as f64 / self.floats, weights, moved)
    }

    /// The same of bytes.
    pub fn dense_bytes(&self, facts: &Facts, macs: u64, weights: u64, moved: u64) -> f64 {
        self.product(facts, macs as f64 / self.bytes, weights, moved)
    }

    fn product(&self, facts: &Facts, arithmetic: f64, weights: u64, moved: u64) -> f64 {
        let read = weights as f64 / self.bandwidth(facts, weights) + moved as f64 / self.bandwidth(facts, moved);
        (arithmetic / FILLED).max(read) + self.call
    }
}

/// How much of the peak a large product reaches.
const FILLED: f64 = 0.95;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ir::kernel::facts::{Menu, MinMax};

    pub(crate) const FACTS: Facts = Facts {
        name: "nobody's",
        vector_bytes: 32,
        vectors: 16,
        generals: 15,
        fused: true,
        min_max: MinMax::Ieee,
        menu: Menu::PLAIN,
        caches: [32 << 10, 1 << 20, 2 << 20],
        accumulators: 8,
        reach: i32::MAX,
        unroll: 4,
    };

    #[test]
    fn a_product_of_few_rows_costs_its_weights_and_one_of_many_its_arithmetic() {
        let rates = Rates::of(&FACTS);
        let (one, many) = (rates.dense(&FACTS, 1 << 22, 1 << 24, 4096), rates.dense(&FACTS, 1 << 30, 1 << 24, 1 << 20));
        assert!((one - (1u64 << 24) as f64 / rates.read[3] - 4096.0 / rates.read[0] - rates.call).abs() < 1e-9);
        assert!((many - (1u64 << 30) as f64 / rates.floats / FILLED - rates.call).abs() < 1e-9);
    }
}
