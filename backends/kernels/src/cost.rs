//! What things cost: rates of a CPU level as data, predictions from them, the choice between candidates, and what
//! measurements taught. A prediction ranks ways to compute one thing; it is no promise of a time.

pub mod peak;
pub(crate) mod rates;
pub mod work;

pub use ir::program::Candidate;
pub use rates::Rates;
use std::collections::BTreeMap;
pub use work::Work;

/// A candidate beside the plain one is taken if it is predicted to take no more than so much of its time.
pub const WORTH: f64 = 0.95;

/// The candidate with the least predicted time, if that is worth leaving the plain one.
pub fn best(candidates: &[Candidate]) -> usize {
    let least = (1..candidates.len()).min_by(|&a, &b| candidates[a].seconds.total_cmp(&candidates[b].seconds));
    least.filter(|&at| candidates[at].seconds <= WORTH * candidates[0].seconds).unwrap_or(0)
}

/// For a level and a key, the candidate that was fastest when it was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuned {
    /// By level, then by key.
    levels: BTreeMap<String, BTreeMap<String, String>>,
}

impl Tuned {
    /// What is known of a key.
    pub fn of(&self, level: &str, key: &str) -> Option<&str> {
        self.levels.get(level)?.get(key).map(String::as_str)
    }

    /// Learns a candidate's name.
    pub fn learn(&mut self, level: &str, key: &str, candidate: &str) {
        self.levels.entry(level.into()).or_default().insert(key.into(), candidate.into());
    }

    /// All that is known: level, key, candidate, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.levels.iter().flat_map(|(level, keys)| keys.iter().map(|(key, name)| (level.as_str(), key.as_str(), name.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_one_stays_unless_another_is_clearly_faster() {
        let of = |seconds: &[f64]| best(&seconds.iter().map(|&s| Candidate::new("c", s)).collect::<Vec<_>>());
        assert_eq!(of(&[1.0]), 0);
        assert_eq!(of(&[1.0, 0.96]), 0);
        assert_eq!(of(&[1.0, 0.95]), 1);
        assert_eq!(of(&[1.0, 0.9, 0.5, 0.7]), 2);
    }

    #[test]
    fn what_is_learned_belongs_to_a_level() {
        let mut tuned = Tuned::default();
        tuned.learn("b", "dot", "x");
        tuned.learn("a", "dot", "y");
        tuned.learn("b", "dot", "z");
        assert_eq!((tuned.of("b", "dot"), tuned.of("a", "dot"), tuned.of("a", "conv")), (Some("z"), Some("y"), None));
        assert_eq!(tuned.iter().collect::<Vec<_>>(), [("a", "dot", "y"), ("b", "dot", "z")]);
    }
}
