//! What values a term may have: bounds, and whether it may be NaN. Bounds of floats are rounded as the operation rounds,
//! which keeps order and so keeps bounds. What is not known is everything.

use ir::Dtype;
use ir::scalar::{Literal, ScalarOp};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub low: f64,
    pub high: f64,
    pub nan: bool,
    /// Of the value in its lane: F32, I32 or Bool.
    pub dtype: Dtype,
}

impl Range {
    /// All values of a type.
    pub fn of(dtype: Dtype) -> Range {
        match (dtype, dtype.int_range()) {
            (Dtype::Bool, _) => Range { low: 0.0, high: 1.0, nan: false, dtype },
            (_, Some((low, high))) => Range { low: low as f64, high: high as f64, nan: false, dtype: Dtype::I32 },
            (_, None) => Range { low: f64::NEG_INFINITY, high: f64::INFINITY, nan: true, dtype: Dtype::F32 },
        }
    }

    pub fn one(literal: Literal) -> Range {
        let value = literal.to_f64();
        match value.is_nan() {
            true => Range::of(Dtype::F32),
            false => Range { low: value, high: value, nan: false, dtype: literal.dtype },
        }
    }

    /// Whether every value is one of `other`.
    pub fn within(self, other: Range) -> bool {
        self.low >= other.low && self.high <= other.high && (other.nan || !self.nan)
    }

    /// After `op` on operands of these ranges.
    pub fn after(op: ScalarOp, of: &[Range]) -> Range {
        use ScalarOp::*;
        let a = of[0];
        let float = a.dtype == Dtype::F32;
        let nan = of.iter().any(|r| r.nan);
        let everything = Range::of(a.dtype);
        // of infinities sums and products may be undefined
        let endless = of.iter().any(|r| r.low.is_infinite() || r.high.is_infinite());
        match op {
            Add | Sub | Mul | MulAdd | Div if endless => everything,
            Add => corners(float, nan, &[(a.low + of[1].low), (a.high + of[1].high)], everything),
            Sub => corners(float, nan, &[(a.low - of[1].high), (a.high - of[1].low)], everything),
            Mul => corners(float, nan, &products(a, of[1]), everything),
            MulAdd => {
                let product = products(a, of[1]);
                let all: Vec<f64> = product.iter().flat_map(|p| [p + of[2].low, p + of[2].high]).collect();
                corners(float, nan, &all, everything)
            }
            Div if float && (of[1].low > 0.0 || of[1].high < 0.0) => {
                let b = of[1];
                corners(true, nan, &[a.low / b.low, a.low / b.high, a.high / b.low, a.high / b.high], everything)
            }
            Min => Range { low: a.low.min(of[1].low), high: a.high.min(of[1].high), nan, ..a },
            Max => Range { low: a.low.max(of[1].low), high: a.high.max(of[1].high), nan, ..a },
            Neg if float => Range { low: -a.high, high: -a.low, ..a },
            Abs if float => Range { low: 0.0, high: a.low.abs().max(a.high.abs()), ..a },
            Floor => Range { low: a.low.floor(), high: a.high.floor(), ..a },
            Ceil => Range { low: a.low.ceil(), high: a.high.ceil(), ..a },
            Trunc => Range { low: a.low.trunc(), high: a.high.trunc(), ..a },
            Round => Range { low: a.low.round_ties_even(), high: a.high.round_ties_even(), ..a },
            Sqrt if a.low >= 0.0 => corners(true, nan, &[a.low.sqrt(), a.high.sqrt()], everything),
            Select => {
                let (b, c) = (of[1], of[2]);
                Range { low: b.low.min(c.low), high: b.high.max(c.high), nan: b.nan || c.nan, dtype: b.dtype }
            }
            Cast(Dtype::F32) => Range { low: f64::from(a.low as f32), high: f64::from(a.high as f32), nan: false, dtype: Dtype::F32 },
            Cast(to) | Bits(to) => Range::of(to),
            BitAnd if of.iter().any(|r| r.low >= 0.0) => {
                let high = of.iter().filter(|r| r.low >= 0.0).map(|r| r.high).fold(f64::INFINITY, f64::min);
                Range { low: 0.0, high, nan: false, dtype: Dtype::I32 }
            }
            BitOr | BitXor if of.iter().all(|r| r.low >= 0.0) => {
                let most = of[0].high.max(of[1].high) as u64;
                Range { low: 0.0, high: (most + 1).next_power_of_two() as f64 - 1.0, nan: false, dtype: Dtype::I32 }
            }
            Shr if of[1].low == of[1].high => {
                let by = (1u64 << of[1].low as u32) as f64;
                Range { low: (a.low / by).floor(), high: (a.high / by).floor(), ..a }
            }
            Eq | Ne | Lt | Le | Gt | Ge | IsNan | IsInf | And | Or | Xor | Not => Range::of(Dtype::Bool),
            _ => everything,
        }
    }
}

fn products(a: Range, b: Range) -> [f64; 4] {
    [a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high]
}

/// What lies between the extremes of a monotone operation; `everything` where one is undefined, or an integer wraps.
fn corners(float: bool, nan: bool, all: &[f64], everything: Range) -> Range {
    let low = all.iter().copied().fold(f64::INFINITY, f64::min);
    let high = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if all.iter().any(|v| v.is_nan()) {
        return everything;
    }
    if float {
        return Range { low: f64::from(low as f32), high: f64::from(high as f32), nan, dtype: Dtype::F32 };
    }
    let all = Range { low, high, nan: false, dtype: Dtype::I32 };
    if all.within(Range::of(Dtype::I32)) { all } else { everything }
}
