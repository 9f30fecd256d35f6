//! Terms of a body as statements.

use super::Pressure;
use super::run::{Run, Slot};
use crate::tile::{Pool, Writer};
use ir::Dtype;
use ir::kernel::facts::MinMax;
use ir::kernel::tile::{Binary, Compare, Operand, Stmt, Unary, V};
use ir::scalar::{Arg, ScalarOp};

impl Run<'_, '_, '_> {
    pub(super) fn term(&mut self, i: usize, pool: &mut Pool, w: &mut Writer) -> Result<(), Pressure> {
        use ScalarOp::*;
        let term = &self.body.terms[i];
        let args = term.args.clone();
        let float = self.dtype(&args[0]) == Dtype::F32;
        self.terms[i] = match term.op {
            Eq | Ne | Lt | Gt | Le | Ge | IsNan => comparison(term.op, &args, float),
            Not => match self.slot(&args[0]) {
                Slot::Condition { cmp, x, y, swap } => Slot::Condition { cmp, x, y, swap: !swap },
                _ => {
                    let a = self.register(&args[0], pool, w)?;
                    let to = self.result(&args, pool)?;
                    w.binary(Binary::Xor, to, a, Operand::Bits(u32::MAX));
                    Slot::Register(to)
                }
            },
            IsInf => self.is_inf(&args, pool, w)?,
            Select => self.select(&args, pool, w)?,
            MulAdd => self.mul_add(&args, pool, w)?,
            Min | Max if float => self.min_max(term.op, &args, pool, w)?,
            Neg | Abs | Sqrt | Floor | Ceil | Trunc | Round | BitNot | Bits(_) | Cast(_) | Shl | Shr => {
                self.unary(term.op, &args, pool, w)?
            }
            Add | Mul | Sub | Div | BitAnd | BitOr | BitXor | And | Or | Xor | Min | Max => self.binary(term.op, &args, float, pool, w)?,
            Sign | Rem | Mod | Pow | Exp | Log | Tanh | Erf | Sigmoid | Sin | Cos | Tan | Asin | Acos | Atan | Sinh | Cosh | Asinh
            | Acosh | Atanh => {
                unreachable!("{} was expanded to primitive terms", term.op.name())
            }
        };
        Ok(())
    }

    /// Lanes of all ones where the value is infinite, else of zeros.
    fn is_inf(&mut self, args: &[Arg], pool: &mut Pool, w: &mut Writer) -> Result<Slot, Pressure> {
        let a = self.register(&args[0], pool, w)?;
        let to = self.take(pool)?;
        w.push(Stmt::Unary { op: Unary::Abs, to, a });
        let (ones, zeros) = (self.take(pool)?, self.take(pool)?);
        w.push(Stmt::Set { to: ones, bits: u32::MAX });
        w.push(Stmt::Set { to: zeros, bits: 0 });
        w.push(Stmt::Select { to, cmp: Compare::Eq, x: to, y: Operand::Bits(f32::INFINITY.to_bits()), a: ones, b: zeros });
        pool.give(ones);
        pool.give(zeros);
        Ok(Slot::Register(to))
    }

    fn select(&mut self, args: &[Arg], pool: &mut Pool, w: &mut Writer) -> Result<Slot, Pressure> {
        let a = self.register(&args[1], pool, w)?;
        let b = self.register(&args[2], pool, w)?;
        // operands of the comparison are loaded before the result may take a register over
        if let Slot::Condition { x, y, .. } = self.slot(&args[0]) {
            self.register(&x, pool, w)?;
            if !matches!(self.slot(&y), Slot::Bits(_)) {
                self.register(&y, pool, w)?;
            }
        }
        let to = self.take(pool)?;
        self.choose(&args[0], to, a, b, pool, w)?;
        Ok(Slot::Register(to))
    }

    fn binary(&mut self, op: ScalarOp, args: &[Arg], float: bool, pool: &mut Pool, w: &mut Writer) -> Result<Slot, Pressure> {
        use ScalarOp::*;
        let commutes = !matches!(op, Sub | Div);
        let op = match (op, float) {
            (Add, true) => Binary::Add,
            (Sub, true) => Binary::Sub,
            (Mul, true) => Binary::Mul,
            (Div, _) => Binary::Div,
            (Add, false) => Binary::IAdd,
            (Sub, false) => Binary::ISub,
            (Mul, false) => Binary::IMul,
            (Min, _) => Binary::IMin,
            (Max, _) => Binary::IMax,
            (BitAnd | And, _) => Binary::And,
            (BitOr | Or, _) => Binary::Or,
            _ => Binary::Xor,
        };
        let in_register = |slot: Slot| matches!(slot, Slot::Register(_));
        let (x, y) = if commutes && !in_register(self.slot(&args[0])) && in_register(self.slot(&args[1])) {
            (args[1], args[0])
        } else {
            (args[0], args[1])
        };
        let a = self.register(&x, pool, w)?;
        let b = self.operand(&y, pool, w)?;
        let to = self.result(&[x, y], pool)?;
        w.binary(op, to, a, b);
        Ok(Slot::Register(to))
    }

    fn unary(&mut self, op: ScalarOp, args: &[Arg], pool: &mut Pool, w: &mut Writer) -> Result<Slot, Pressure> {
        let a = self.register(&args[0], pool, w)?;
        let shift = |args: &[Arg]| match args.get(1) {
            Some(Arg::Literal(l)) => l.to_i64() as u8,
            _ => unreachable!("`supported` asked for a literal"),
        };
        let from = self.dtype(&args[0]);
        let op = match op {
            ScalarOp::Neg => Unary::Neg,
            ScalarOp::Abs => Unary::Abs,
            ScalarOp::Sqrt => Unary::Sqrt,
            ScalarOp::Floor => Unary::Floor,
            ScalarOp::Ceil => Unary::Ceil,
            ScalarOp::Trunc => Unary::Trunc,
            ScalarOp::Round => Unary::Round,
            ScalarOp::Shl => Unary::Shl(shift(args)),
            ScalarOp::Shr => Unary::Sar(shift(args)),
            ScalarOp::Cast(to) if from == Dtype::I32 && to == Dtype::F32 => Unary::FromInt,
            ScalarOp::Cast(to) if from == Dtype::F32 && to == Dtype::I32 => return self.saturate(a, pool, w),
            ScalarOp::BitNot => {
                let to = self.result(args, pool)?;
                w.binary(Binary::Xor, to, a, Operand::Bits(u32::MAX));
                return Ok(Slot::Register(to));
            }
            // the same bits: another name for the register
            _ => {
                let to = self.owned(&args[0], pool, w)?;
                return Ok(Slot::Register(to));
            }
        };
        let to = self.result(&args[..1], pool)?;
        w.push(Stmt::Unary { op, to, a });
        Ok(Slot::Register(to))
    }

    /// Toward zero; what is too large is the largest, what is too small the smallest, NaN is 0.
    fn saturate(&mut self, a: V, pool: &mut Pool, w: &mut Writer) -> Result<Slot, Pressure> {
        const BEYOND: f32 = 2147483648.0;
        const LARGEST: f32 = 2147483520.0;
        let (to, other) = (self.take(pool)?, self.take(pool)?);
        w.binary(Binary::Max, to, a, Operand::Bits((-BEYOND).to_bits()));
        w.binary(Binary::Min, to, to, Operand::Bits(LARGEST.to_bits()));
        w.push(Stmt::Unary { op: Unary::ToInt, to, a: to });
        // between the largest float below and the bound there is no float
        w.push(Stmt::Set { to: other, bits: i32::MAX as u32 });
        w.push(Stmt::Select { to, cmp: Compare::Lt, x: a, y: Operand::Bits(BEYOND.to_bits()), a: to, b: other });
        w.push(Stmt::Set { to: other, bits: 0 });
        w.push(Stmt::Select { to, cmp: Compare::Unordered, x: a, y: Operand::V(a), a: other, b: to });
        pool.give(other);
        Ok(Slot::Register(to))
    }

    fn mul_add(&mut self, args: &[Arg], pool: &mut Pool, w: &mut Writer) -> Result<Slot, Pressure> {
        let overwritable = |run: &Self, arg: &Arg| matches!(run.slot(arg), Slot::Register(_)) && run.dies(arg);
        // a step of Horner's rule: the sum so far times x, plus a coefficient
        for (acc, x) in [(args[0], args[1]), (args[1], args[0])] {
            if overwritable(self, &acc) && acc != x && !overwritable(self, &args[2]) {
                let x = self.register(&x, pool, w)?;
                let c = self.operand(&args[2], pool, w)?;
                let acc = self.owned(&acc, pool, w)?;
                w.push(Stmt::Horner { acc, x, c });
                return Ok(Slot::Register(acc));
            }
        }
        let (x, y) = if matches!(self.slot(&args[0]), Slot::Bits(_)) { (args[1], args[0]) } else { (args[0], args[1]) };
        let a = self.register(&x, pool, w)?;
        let b = self.operand(&y, pool, w)?;
        let acc = if args[2] == x || args[2] == y {
            let from = self.register(&args[2], pool, w)?;
            let to = self.take(pool)?;
            w.push(Stmt::Copy { to, from });
            to
        } else {
            match self.slot(&args[2]) {
                // set in place: a copy of a kept constant costs the same
                Slot::Bits(bits) => {
                    let to = self.take(pool)?;
                    w.push(Stmt::Set { to, bits });
                    to
                }
                _ => self.owned(&args[2], pool, w)?,
            }
        };
        w.push(Stmt::MulAdd { acc, a, b, negate: false });
        Ok(Slot::Register(acc))
    }

    /// NaN in either operand must come out; see [`MinMax`].
    fn min_max(&mut self, op: ScalarOp, args: &[Arg], pool: &mut Pool, w: &mut Writer) -> Result<Slot, Pressure> {
        let op = if op == ScalarOp::Min { Binary::Min } else { Binary::Max };
        let number = |slot: Slot| matches!(slot, Slot::Bits(bits) if !f32::from_bits(bits).is_nan());
        let (x, y) = if number(self.slot(&args[1])) { (args[1], args[0]) } else { (args[0], args[1]) };
        let a = self.register(&x, pool, w)?;
        let b = self.register(&y, pool, w)?;
        if self.emitter.facts.min_max == MinMax::Ieee || number(self.slot(&x)) {
            let to = self.result(&[y], pool)?;
            w.binary(op, to, a, Operand::V(b));
            return Ok(Slot::Register(to));
        }
        let to = self.take(pool)?;
        w.binary(op, to, a, Operand::V(b));
        w.push(Stmt::Select { to, cmp: Compare::Unordered, x: a, y: Operand::V(a), a, b: to });
        Ok(Slot::Register(to))
    }
}

/// A comparison that a select will make.
fn comparison(op: ScalarOp, args: &[Arg], float: bool) -> Slot {
    use ScalarOp::*;
    let (cmp, x, y, swap) = match op {
        Eq => (if float { Compare::Eq } else { Compare::IEq }, 0, 1, false),
        Ne if float => (Compare::Ne, 0, 1, false),
        Ne => (Compare::IEq, 0, 1, true),
        Lt => (if float { Compare::Lt } else { Compare::ILt }, 0, 1, false),
        Gt => (if float { Compare::Lt } else { Compare::ILt }, 1, 0, false),
        Le if float => (Compare::Le, 0, 1, false),
        Ge if float => (Compare::Le, 1, 0, false),
        Le => (Compare::ILt, 1, 0, true),
        Ge => (Compare::ILt, 0, 1, true),
        _ => (Compare::Unordered, 0, 0, false),
    };
    Slot::Condition { cmp, x: args[x], y: args[y], swap }
}
