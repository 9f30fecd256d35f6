//! Ranges of signed integers, and what operations make of them. Wrapping around gives all of them.

use crate::kernel::scalar::Binary;

/// `low..=high`, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub low: i64,
    pub high: i64,
}

impl Interval {
    pub const ALL: Interval = Interval { low: i64::MIN, high: i64::MAX };
    pub const BIT: Interval = Interval { low: 0, high: 1 };

    pub fn new(low: i64, high: i64) -> Interval {
        assert!(low <= high, "an interval is not empty");
        Interval { low, high }
    }

    pub fn one(value: i64) -> Interval {
        Interval { low: value, high: value }
    }

    /// All values where the exact result would wrap.
    pub fn exact(low: i128, high: i128) -> Interval {
        match (i64::try_from(low), i64::try_from(high)) {
            (Ok(low), Ok(high)) => Interval::new(low, high),
            _ => Interval::ALL,
        }
    }

    /// The hull of what `f` gives for all corners: exact for what is monotone in each operand.
    fn corners(a: Interval, b: Interval, f: impl Fn(i128, i128) -> i128) -> Interval {
        let all = [(a.low, b.low), (a.low, b.high), (a.high, b.low), (a.high, b.high)].map(|(x, y)| f(x.into(), y.into()));
        let [first, rest @ ..] = all;
        Interval::exact(rest.iter().fold(first, |m, &v| m.min(v)), rest.iter().fold(first, |m, &v| m.max(v)))
    }

    pub fn join(self, other: Interval) -> Interval {
        Interval { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// `None` where nothing is in both.
    pub fn meet(self, other: Interval) -> Option<Interval> {
        let (low, high) = (self.low.max(other.low), self.high.min(other.high));
        (low <= high).then_some(Interval { low, high })
    }

    pub fn holds(self, value: i64) -> bool {
        self.low <= value && value <= self.high
    }

    pub fn within(self, outer: Interval) -> bool {
        outer.low <= self.low && self.high <= outer.high
    }

    pub fn is_one(self) -> bool {
        self.low == self.high
    }

    pub fn negative(self) -> Interval {
        Interval::exact(-i128::from(self.high), -i128::from(self.low))
    }

    pub fn inverted(self) -> Interval {
        Interval::new(!self.high, !self.low)
    }
}

/// The results of an operation on integers.
pub(super) fn binary(op: Binary, a: Interval, b: Interval) -> Interval {
    use Interval as I;
    let natural = a.low >= 0 && b.low >= 0;
    match op {
        Binary::IAdd => I::exact(i128::from(a.low) + i128::from(b.low), i128::from(a.high) + i128::from(b.high)),
        Binary::ISub => I::exact(i128::from(a.low) - i128::from(b.high), i128::from(a.high) - i128::from(b.low)),
        Binary::IMul => I::corners(a, b, |x, y| x * y),
        Binary::SDiv if b.low > 0 => I::corners(a, b, |x, y| x / y),
        Binary::SDiv => match a.low.checked_abs() {
            // a divisor of unknown sign, perhaps 0: no larger than the dividend
            Some(m) => I::new(-m.max(a.high.saturating_abs()), m.max(a.high.saturating_abs())),
            None => I::ALL,
        },
        Binary::UDiv if natural && b.low > 0 => I::corners(a, b, |x, y| x / y),
        Binary::UDiv if a.low >= 0 => I::new(0, a.high),
        Binary::UDiv if b.low >= 2 => I::new(0, i64::MAX),
        Binary::UDiv => I::ALL,
        Binary::SRem if a.low >= 0 && a.high < b.low => a,
        Binary::SRem => {
            let largest = i128::from(b.low).abs().max(i128::from(b.high).abs());
            let m = i64::try_from((largest - 1).max(0)).unwrap_or(i64::MAX);
            I::new(if a.low < 0 { a.low.max(-m) } else { 0 }, if a.high > 0 { a.high.min(m) } else { 0 })
        }
        Binary::URem if a.low >= 0 && a.high < b.low => a,
        Binary::URem if natural => I::new(0, a.high.min((b.high - 1).max(0))),
        Binary::URem if a.low >= 0 => I::new(0, a.high),
        Binary::URem if b.low >= 0 => I::new(0, (b.high - 1).max(0)),
        Binary::URem => I::ALL,
        Binary::And if natural => I::new(0, a.high.min(b.high)),
        Binary::And if a.low >= 0 => I::new(0, a.high),
        Binary::And if b.low >= 0 => I::new(0, b.high),
        Binary::And => I::ALL,
        Binary::Or | Binary::Xor if natural => {
            let bits = 64 - (a.high | b.high).leading_zeros();
            I::new(if op == Binary::Or { a.low.max(b.low) } else { 0 }, ((1u64 << bits) - 1) as i64)
        }
        Binary::Or | Binary::Xor => I::ALL,
        Binary::Shl if b.low >= 0 && b.high <= 63 => I::corners(a, b, |x, y| x << y),
        Binary::Shl => I::ALL,
        Binary::UShr if a.low >= 0 && b.low >= 0 && b.high <= 63 => I::corners(a, b, |x, y| x >> y),
        Binary::UShr if a.low >= 0 => I::new(0, a.high),
        Binary::UShr if b.low >= 1 => I::new(0, (u64::MAX >> b.low.min(63)) as i64),
        Binary::UShr => I::ALL,
        Binary::SShr => {
            let by = if b.low >= 0 && b.high <= 63 { b } else { I::new(b.low.clamp(0, 63), 63) };
            I::corners(a, by, |x, y| x >> y)
        }
        Binary::SMin => I::new(a.low.min(b.low), a.high.min(b.high)),
        Binary::SMax => I::new(a.low.max(b.low), a.high.max(b.high)),
        Binary::UMin if natural => I::new(a.low.min(b.low), a.high.min(b.high)),
        Binary::UMin if a.low >= 0 => I::new(0, a.high),
        Binary::UMin if b.low >= 0 => I::new(0, b.high),
        Binary::UMin => I::ALL,
        Binary::UMax if natural => I::new(a.low.max(b.low), a.high.max(b.high)),
        Binary::UMax => I::ALL,
        Binary::IEq | Binary::INe | Binary::SLt | Binary::SLe | Binary::ULt | Binary::ULe => compare(op, a, b),
        Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le => I::BIT,
        Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Min | Binary::Max => I::ALL,
    }
}

fn compare(op: Binary, a: Interval, b: Interval) -> Interval {
    let natural = a.low >= 0 && b.low >= 0;
    let known = match op {
        Binary::SLt => order(a.high < b.low, a.low >= b.high),
        Binary::SLe => order(a.high <= b.low, a.low > b.high),
        Binary::ULt if natural => order(a.high < b.low, a.low >= b.high),
        Binary::ULe if natural => order(a.high <= b.low, a.low > b.high),
        Binary::IEq => order(a.is_one() && a == b, a.meet(b).is_none()),
        Binary::INe => order(a.meet(b).is_none(), a.is_one() && a == b),
        _ => None,
    };
    known.map_or(Interval::BIT, |holds| Interval::one(holds.into()))
}

fn order(always: bool, never: bool) -> Option<bool> {
    if always {
        Some(true)
    } else if never {
        Some(false)
    } else {
        None
    }
}
