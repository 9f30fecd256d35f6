//! Arithmetic, choice by comparison, and the folding of lanes.

use ir::kernel::tile::{Binary, Compare, Dot4, Operand as Source, Unary, V};

use super::Select;
use crate::encode::Vector;
use crate::encode::vector::{self as form, Element, Three, Two};

/// An operation on two vectors: `op to, a, b`.
fn three(op: Binary) -> Three {
    match op {
        Binary::Add => form::FADD,
        Binary::Sub => form::FSUB,
        Binary::Mul => form::FMUL,
        Binary::Div => form::FDIV,
        Binary::Min => form::FMIN,
        Binary::Max => form::FMAX,
        Binary::And => form::AND,
        Binary::Or => form::ORR,
        Binary::Xor => form::EOR,
        // with its sides changed
        Binary::AndNot => form::BIC,
        Binary::IAdd => form::ADD,
        Binary::ISub => form::SUB,
        Binary::IMul => form::MUL,
        Binary::IMin => form::SMIN,
        Binary::IMax => form::SMAX,
        Binary::Add16 => form::ADD16,
        Binary::MulLow8 => form::SMULL,
        Binary::MulHigh8 => form::SMULL_HIGH,
        Binary::IAddPairs => form::ADDP,
        Binary::LowHalves => form::ZIP1_D,
        Binary::HighHalves => form::ZIP2_D,
        Binary::LowLanes => form::ZIP1,
        Binary::HighLanes => form::ZIP2,
        Binary::MaxU8 => form::UMAX_B,
        Binary::MaxI8 => form::SMAX_B,
        Binary::ZipLow8 => form::ZIP1_B,
        Binary::ZipHigh8 => form::ZIP2_B,
        Binary::ZipLow16 => form::ZIP1_H,
        Binary::ZipHigh16 => form::ZIP2_H,
        Binary::PackI16 | Binary::PackU8 | Binary::PackI8 => panic!("{op:?} is two instructions"),
        Binary::PairSat | Binary::Pair16 => panic!("{op:?} is off the menu of ARM64"),
    }
}

impl Select {
    pub(super) fn mul_add(&mut self, acc: V, a: V, b: Source, negate: bool) {
        let (acc, a) = (self.v(acc), self.v(a));
        let (whole, by): (Three, Element) = if negate { (form::FMLS, form::FMLS_BY) } else { (form::FMLA, form::FMLA_BY) };
        match b {
            Source::V(b) => self.asm.three(whole, acc, a, self.v(b)),
            Source::Lane(b, lane) => self.asm.by_element(by, acc, a, self.v(b), lane),
            Source::Bits(_) | Source::Memory(_) | Source::Splat(_) => self.borrow(&[acc, a], |select, temp| {
                select.bring(temp, b);
                select.asm.three(whole, acc, a, temp);
            }),
        }
    }

    pub(super) fn dot4(&mut self, kind: Dot4, acc: V, a: V, b: Source) {
        assert_eq!(kind, Dot4::S8S8, "{kind:?} is off the menu of ARM64");
        let (acc, a) = (self.v(acc), self.v(a));
        match b {
            Source::V(b) => self.asm.three(form::SDOT, acc, a, self.v(b)),
            Source::Lane(b, lane) => self.asm.by_element(form::SDOT_BY, acc, a, self.v(b), lane),
            Source::Bits(_) | Source::Memory(_) | Source::Splat(_) => self.borrow(&[acc, a], |select, temp| {
                select.bring(temp, b);
                select.asm.three(form::SDOT, acc, a, temp);
            }),
        }
    }

    /// The instruction adds to its destination, so the constant goes there first; the old register becomes the spare one.
    pub(super) fn horner(&mut self, acc: V, x: V, c: Source) {
        let (old, by) = (self.v(acc), self.v(x));
        if self.whole(c) == Some(old) {
            return self.asm.three(form::FMLA, old, old, by);
        }
        if let Some(spare) = self.spare {
            self.bring(spare, c);
            self.asm.three(form::FMLA, spare, old, by);
            self.at[acc.0 as usize] = spare;
            self.spare = Some(old);
            return;
        }
        let mut named = vec![old, by];
        named.extend(self.named(c));
        self.borrow(&named, |select, temp| {
            select.bring(temp, c);
            select.asm.three(form::FMLA, temp, old, by);
            select.asm.copy_vector(old, temp);
        });
    }

    pub(super) fn unary(&mut self, op: Unary, to: V, a: V) {
        let a = self.v(a);
        let to = self.define(to);
        if let Unary::Spread(lane) = op {
            return self.asm.duplicate(to, a, lane);
        }
        let two = |form: Two| Ok(form);
        let form = match op {
            Unary::Neg => two(form::FNEG),
            Unary::Abs => two(form::FABS),
            Unary::Sqrt => two(form::FSQRT),
            Unary::Floor => two(form::FRINTM),
            Unary::Ceil => two(form::FRINTP),
            Unary::Trunc => two(form::FRINTZ),
            Unary::Round => two(form::FRINTN),
            Unary::ToInt => two(form::FCVTZS),
            Unary::FromInt => two(form::SCVTF),
            Unary::Shl(by) => Err((form::SHL, by)),
            Unary::Shr(by) => Err((form::USHR, by)),
            Unary::Sar(by) => Err((form::SSHR, by)),
            Unary::Spread(_) => panic!("it was done above"),
            Unary::LowI8 => two(form::SXTL),
            Unary::LowU8 => two(form::UXTL),
            Unary::Abs8 | Unary::Negative8 => panic!("{op:?} is off the menu of ARM64"),
        };
        match form {
            Ok(form) => self.asm.two(form, to, a),
            Err((_, 0)) => self.copy(to, a),
            Err((form, by)) => self.asm.shift(form, to, a, by),
        }
    }

    /// One side to the low half, the other to the high one, which the second instruction leaves the first.
    fn pack(&mut self, [low, high]: [Two; 2], to: V, a: V, b: Source) {
        let (left, right) = (self.v(a), self.named(b));
        let whole = self.whole(b);
        let to = self.define(to);
        match whole {
            Some(right) if right != to => {
                self.asm.two(low, to, left);
                self.asm.two(high, to, right);
            }
            _ => {
                let named: Vec<_> = [to, left].into_iter().chain(right).collect();
                self.borrow(&named, |select, temp| {
                    select.bring_from(temp, b, right);
                    select.asm.two(low, to, left);
                    select.asm.two(high, to, temp);
                });
            }
        }
    }

    pub(super) fn binary(&mut self, op: Binary, to: V, a: V, b: Source) {
        match op {
            Binary::PackI16 => return self.pack([form::SQXTN_S, form::SQXTN_S_HIGH], to, a, b),
            Binary::PackU8 => return self.pack([form::SQXTUN, form::SQXTUN_HIGH], to, a, b),
            Binary::PackI8 => return self.pack([form::SQXTN, form::SQXTN_HIGH], to, a, b),
            _ => {}
        }
        let (left, right) = (self.v(a), self.named(b));
        if let (Binary::Mul, Source::Lane(_, lane), Some(right)) = (op, b, right) {
            let to = self.define(to);
            return self.asm.by_element(form::FMUL_BY, to, left, right, lane);
        }
        let whole = self.whole(b);
        let to = self.define(to);
        let form = three(op);
        let apply = |select: &mut Select, right| match op {
            Binary::AndNot => select.asm.three(form, to, right, left),
            _ => select.asm.three(form, to, left, right),
        };
        match whole {
            Some(right) => apply(self, right),
            // the destination holds the other side until it holds the result
            None if to != left => {
                self.bring_from(to, b, right);
                apply(self, to);
            }
            None => {
                let named: Vec<_> = [to, left].into_iter().chain(right).collect();
                self.borrow(&named, |select, temp| {
                    select.bring_from(temp, b, right);
                    apply(select, temp);
                });
            }
        }
    }

    /// As `bring`, where the register that `source` names was `named` before a register was defined anew.
    fn bring_from(&mut self, to: Vector, source: Source, named: Option<Vector>) {
        match (source, named) {
            (Source::Lane(_, lane), Some(from)) => self.asm.duplicate(to, from, lane),
            (Source::V(_), Some(from)) => self.copy(to, from),
            _ => self.bring(to, source),
        }
    }
}

// ---------------------------------------------------------------------------------------------------- choice by comparison

/// A comparison as the machine has it: its form, whether the sides of the comparison, and those of the choice, change places.
fn comparison(cmp: Compare) -> Option<(Three, bool, bool)> {
    match cmp {
        Compare::Eq => Some((form::FCMEQ, false, false)),
        Compare::Ne => Some((form::FCMEQ, false, true)),
        Compare::Lt => Some((form::FCMGT, true, false)),
        Compare::Le => Some((form::FCMGE, true, false)),
        Compare::IEq => Some((form::CMEQ, false, false)),
        Compare::ILt => Some((form::CMGT, true, false)),
        Compare::Unordered => None,
    }
}

/// The comparison with zero.
fn with_zero(cmp: Compare) -> Option<Two> {
    match cmp {
        Compare::Eq | Compare::Ne => Some(form::FCMEQ_ZERO),
        Compare::Lt => Some(form::FCMLT_ZERO),
        Compare::Le => Some(form::FCMLE_ZERO),
        Compare::IEq => Some(form::CMEQ_ZERO),
        Compare::ILt => Some(form::CMLT_ZERO),
        Compare::Unordered => None,
    }
}

impl Select {
    pub(super) fn choose(&mut self, to: V, cmp: Compare, x: V, y: Source, a: V, b: V) {
        let (x, mut a, mut b) = (self.v(x), self.v(a), self.v(b));
        // without a form of its own, the machine asks the opposite
        let opposite = comparison(cmp).is_none_or(|(_, _, opposite)| opposite);
        if opposite {
            std::mem::swap(&mut a, &mut b);
        }
        let side = self.named(y);
        let to = self.define(to);
        // The comparison may lie in the destination unless that is still needed.
        if to != a && to != b && to != x {
            self.compare(to, cmp, x, y, side);
            return self.asm.three(form::BSL, to, a, b);
        }
        let named: Vec<_> = [to, x, a, b].into_iter().chain(side).collect();
        self.borrow(&named, |select, mask| {
            select.compare(mask, cmp, x, y, side);
            if to == b {
                select.asm.three(form::BIT, to, a, mask);
            } else if to == a {
                select.asm.three(form::BIF, to, b, mask);
            } else {
                select.copy(to, b);
                select.asm.three(form::BIT, to, a, mask);
            }
        });
    }

    /// All ones in `mask` where the comparison holds, or its opposite where that is what the machine asks. `side` is the
    /// register that `y` names; `mask` is not `x`.
    fn compare(&mut self, mask: Vector, cmp: Compare, x: Vector, y: Source, side: Option<Vector>) {
        let zero = matches!(y, Source::Bits(0));
        if let (true, Some(form)) = (zero, with_zero(cmp)) {
            return self.asm.two(form, mask, x);
        }
        let y = match y {
            Source::V(_) => side.expect("a register is named"),
            Source::Bits(_) | Source::Lane(..) | Source::Memory(_) | Source::Splat(_) => {
                self.bring_from(mask, y, side);
                mask
            }
        };
        match comparison(cmp) {
            Some((form, false, _)) => self.asm.three(form, mask, x, y),
            Some((form, true, _)) => self.asm.three(form, mask, y, x),
            None => {
                // the larger of two is itself unless one is not a number
                self.asm.three(form::FMAX, mask, x, y);
                self.asm.three(form::FCMEQ, mask, mask, mask);
            }
        }
    }

    /// Lanes 0 and 1 with 2 and 3, then those with each other, which every lane of the instruction on pairs does.
    pub(super) fn fold(&mut self, op: Binary, to: V, from: V, temp: V) {
        assert!(temp != from && temp != to, "the temporary of a fold is a register of its own");
        let (whole, pairs) = match op {
            Binary::Add => (form::FADD, form::FADDP),
            Binary::Max => (form::FMAX, form::FMAXP),
            Binary::Min => (form::FMIN, form::FMINP),
            other => panic!("{other:?} folds no lanes"),
        };
        let (from, temp) = (self.v(from), self.v(temp));
        let to = self.define(to);
        self.asm.extract(temp, from, from, 8);
        self.asm.three(whole, to, from, temp);
        self.asm.three(pairs, to, to, to);
    }
}
