//! Rows in strips of one height, some of them at once, and pieces of equal size for several workers. Strips may overlap: what
//! two of them compute is the same. It knows no weights.

use crate::dot::Level;
use ir::kernel::facts::Facts;

/// How rows are walked: `rounds` of `at_once` strips each, `apart` rows from round to round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strips {
    pub height: usize,
    pub at_once: usize,
    pub rounds: usize,
    pub apart: usize,
}

impl Strips {
    /// The fewest strips over so many rows, those of `bytes` each that are at once in L2. `None`: less than one.
    pub fn of(rows: usize, height: usize, bytes: i64, facts: &Facts) -> Option<Strips> {
        if rows < height {
            return None;
        }
        let most = ((facts.caches[1] / 4) as usize / bytes as usize).clamp(1, rows / height);
        let each = (1..=most).filter_map(|at_once| {
            let (round, rest) = (at_once * height, rows - at_once * height);
            if rest == 0 {
                return Some(Strips { height, at_once, rounds: 1, apart: 0 });
            }
            // rounds behind the first, all as far apart, none farther than a round is long
            let more = (rest.div_ceil(round)..=2 * rest.div_ceil(round) + 4).find(|&n| rest.is_multiple_of(n))?;
            Some(Strips { height, at_once, rounds: more + 1, apart: rest / more })
        });
        // code is read once for each round
        let cost = |s: &Strips| s.rounds * (20 * s.at_once + 3);
        let best = each.min_by_key(cost);
        Some(best.unwrap_or(Strips { height, at_once: 1, rounds: rows - height + 1, apart: 1 })).filter(|s| s.count() * height < 2 * rows)
    }

    /// Strips in all.
    pub fn count(&self) -> usize {
        self.at_once * self.rounds
    }
}

/// Cuts the outermost loop, or rows where there is none, into equal pieces, as many as `worth` of them: the loops and rows
/// of a piece, and what a piece moves by.
pub(super) fn pieces(mut outer: Vec<Level>, x: &Level, height: usize, worth: usize) -> (Vec<Level>, usize, Option<(Level, usize)>) {
    let times = |level: &Level, n: usize| {
        let n = n as i64;
        Level { count: 1, a: level.a * n, b: 0, c: level.c * n, extra: level.extra.iter().map(|e| e * n).collect() }
    };
    if let Some(first) = outer.first_mut() {
        let count = (1..=worth.min(first.count)).rev().find(|&p| first.count.is_multiple_of(p)).unwrap_or(1);
        let size = first.count / count;
        first.count = size;
        let moved = times(first, size);
        return (outer, x.count, (count > 1).then_some((moved, count)));
    }
    // of a few strips each, and no more of them than without a cut
    let strips = x.count.div_ceil(height);
    let fits =
        |p: &usize| x.count.is_multiple_of(*p) && x.count / p >= 3 * height && p * (x.count / p).div_ceil(height) <= strips + strips / 24;
    let count = (1..=worth).rev().find(fits).unwrap_or(1);
    let size = x.count / count;
    (outer, size, (count > 1).then(|| (times(x, size), count)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::rates::tests;

    const FACTS: Facts = Facts { vector_bytes: 64, vectors: 32, ..tests::FACTS };

    #[test]
    fn strips_cover_all_rows_and_no_more() {
        for rows in 16..400 {
            let Some(s) = Strips::of(rows, 16, 1 << 14, &FACTS) else { continue };
            assert_eq!((s.rounds - 1) * s.apart + s.at_once * 16, rows, "{s:?}");
            assert!(s.apart <= s.at_once * 16, "{s:?} leaves rows out");
        }
        assert_eq!(Strips::of(15, 16, 64, &FACTS), None);
        assert_eq!(Strips::of(196, 16, 1 << 15, &FACTS).map(|s| s.count()), Some(14));
        assert_eq!(Strips::of(784, 16, 1 << 14, &FACTS).map(|s| s.count()), Some(49));
    }
}
