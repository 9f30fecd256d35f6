//! Bodies as vector statements: registers by last use, constants as operands, loads where they are first
//! needed. The body has been expanded to primitive terms by [`crate::math`]; all lanes are 32 bits wide.

use crate::tile::{Pool, Writer};
use ir::Dtype;
use ir::kernel::facts::{Facts, MinMax};
use ir::kernel::tile::{At, Binary, Compare, Operand, Stmt, Unary, V};
use ir::scalar::{Arg, Body, ScalarOp};

/// Where a parameter of the body comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    /// In a register that the body may overwrite.
    Owned(V),
    /// The first `lanes` of a vector in memory.
    Memory(At),
    /// One element in memory, in all lanes.
    Splat(At),
}

/// There were not enough registers. What was written is to be thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure;

/// Whether every term is one that vector lanes of 32 bits know. `body` is expanded, `params` its types.
pub fn is_vector(body: &Body, params: &[Dtype]) -> bool {
    let Ok(types) = body.types(params) else { return false };
    let ok = |d: Dtype| matches!(d, Dtype::F32 | Dtype::I32 | Dtype::Bool);
    let arg = |a: &Arg| match *a {
        Arg::Param(i) => params[i as usize],
        Arg::Term(i) => types[i as usize],
        Arg::Literal(l) => l.dtype,
    };
    if !params.iter().all(|&d| matches!(d, Dtype::F32 | Dtype::I32)) || !matches!(arg(&body.result), Dtype::F32 | Dtype::I32) {
        return false;
    }
    body.terms
        .iter()
        .enumerate()
        .all(|(i, t)| ok(types[i]) && t.args.iter().all(|a| ok(arg(a))) && supported(t.op, arg(&t.args[0]), t.args.get(1).copied()))
}

fn supported(op: ScalarOp, first: Dtype, second: Option<Arg>) -> bool {
    use ScalarOp::*;
    let float = first == Dtype::F32;
    match op {
        Neg | Abs | Add | Sub | Mul | Min | Max => float || (first == Dtype::I32 && matches!(op, Add | Sub | Mul | Min | Max)),
        Div | MulAdd | Sqrt | Floor | Ceil | Trunc | Round | IsNan => float,
        BitAnd | BitOr | BitXor | BitNot => first == Dtype::I32,
        Shl | Shr => first == Dtype::I32 && matches!(second, Some(Arg::Literal(l)) if (0..32).contains(&l.to_i64())),
        Bits(to) => matches!(to, Dtype::F32 | Dtype::I32),
        Cast(to) => {
            matches!((first, to), (Dtype::F32, Dtype::I32) | (Dtype::I32, Dtype::F32) | (Dtype::F32, Dtype::F32) | (Dtype::I32, Dtype::I32))
        }
        And | Or | Xor | Not => true,
        Eq | Ne | Lt | Le | Gt | Ge => first != Dtype::Bool,
        Select => true,
        IsInf => float,
        Sign | Rem | Mod | Pow | Exp | Log | Tanh | Erf | Sigmoid | Sin | Cos | Tan | Asin | Acos | Atan | Sinh | Cosh | Asinh | Acosh
        | Atanh => false,
    }
}

/// Where the value of a term, parameter or literal is.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Unset,
    /// Not loaded yet.
    Param(Param),
    Register(V),
    Bits(u32),
    /// A comparison that a select will make, and whether its arms are swapped.
    Condition {
        cmp: Compare,
        x: Arg,
        y: Arg,
        swap: bool,
    },
}

/// Emits bodies one after the other, keeping constants in registers while there are enough.
pub struct Emitter<'a> {
    facts: &'a Facts,
    cache: Vec<(u32, V)>,
    /// Registers that constants must leave free.
    reserve: usize,
}

impl<'a> Emitter<'a> {
    pub fn new(facts: &'a Facts) -> Emitter<'a> {
        Emitter { facts, cache: Vec::new(), reserve: 6 }
    }

    /// One that finds these constants in their registers.
    pub fn keeping(facts: &'a Facts, kept: Vec<(u32, V)>) -> Emitter<'a> {
        Emitter { cache: kept, ..Emitter::new(facts) }
    }

    /// The constants in registers by now.
    pub fn kept(&self) -> &[(u32, V)] {
        &self.cache
    }

    /// Gives the registers of kept constants back.
    pub fn finish(self, pool: &mut Pool) {
        for (_, v) in self.cache {
            pool.give(v);
        }
    }

    /// Writes the statements that compute `body`; its result is in the register returned, which is the
    /// caller's to give back. Owned parameters are consumed. `types` are those of the parameters; memory
    /// parameters have `lanes` valid lanes.
    pub fn emit(
        &mut self,
        body: &Body,
        types: &[Dtype],
        params: &[Param],
        lanes: u8,
        pool: &mut Pool,
        w: &mut Writer,
    ) -> Result<V, Pressure> {
        let term_types = body.types(types).expect("the graph was verified");
        let mut run = Run {
            emitter: self,
            body,
            types,
            term_types,
            lanes,
            params: params.iter().map(|&p| Slot::Param(p)).collect(),
            terms: vec![Slot::Unset; body.terms.len()],
            last: last_uses(body),
            now: 0,
            pinned: Vec::new(),
        };
        for i in 0..run.params.len() {
            if let Slot::Param(Param::Owned(v)) = run.params[i] {
                run.params[i] = Slot::Register(v);
            }
        }
        for i in 0..body.terms.len() {
            run.now = i;
            run.pinned.clear();
            run.term(i, pool, w)?;
            run.release(pool);
        }
        run.now = body.terms.len();
        run.pinned.clear();
        let result = run.register(&body.result, pool, w)?;
        run.release_all(result, pool);
        Ok(result)
    }
}

/// For each parameter and term, the last term that reads it (the number of terms: the result does).
struct Last {
    params: Vec<Option<usize>>,
    terms: Vec<Option<usize>>,
}

fn last_uses(body: &Body) -> Last {
    let mut last = Last { params: vec![None; body.params as usize], terms: vec![None; body.terms.len()] };
    fn mark(arg: &Arg, at: usize, body: &Body, last: &mut Last) {
        match *arg {
            Arg::Param(i) => last.params[i as usize] = last.params[i as usize].max(Some(at)),
            Arg::Term(i) => {
                last.terms[i as usize] = last.terms[i as usize].max(Some(at));
                // a comparison reads its operands when it is used
                if lazy(body.terms[i as usize].op) {
                    for arg in &body.terms[i as usize].args {
                        mark(arg, at, body, last);
                    }
                }
            }
            Arg::Literal(_) => {}
        }
    }
    for (at, term) in body.terms.iter().enumerate() {
        for arg in &term.args {
            mark(arg, at, body, &mut last);
        }
    }
    mark(&body.result, body.terms.len(), body, &mut last);
    last
}

fn lazy(op: ScalarOp) -> bool {
    use ScalarOp::*;
    matches!(op, Eq | Ne | Lt | Le | Gt | Ge | IsNan | IsInf | Not)
}

struct Run<'e, 'a, 'b> {
    emitter: &'e mut Emitter<'a>,
    body: &'b Body,
    types: &'b [Dtype],
    term_types: Vec<Dtype>,
    lanes: u8,
    params: Vec<Slot>,
    terms: Vec<Slot>,
    last: Last,
    now: usize,
    /// Kept constants that the current term reads.
    pinned: Vec<V>,
}

impl Run<'_, '_, '_> {
    fn slot(&self, arg: &Arg) -> Slot {
        match *arg {
            Arg::Param(i) => self.params[i as usize],
            Arg::Term(i) => self.terms[i as usize],
            Arg::Literal(l) => Slot::Bits(if l.dtype == Dtype::Bool { (l.bits as u32).wrapping_neg() } else { l.bits as u32 }),
        }
    }

    fn dtype(&self, arg: &Arg) -> Dtype {
        match *arg {
            Arg::Param(i) => self.types[i as usize],
            Arg::Term(i) => self.term_types[i as usize],
            Arg::Literal(l) => l.dtype,
        }
    }

    /// Whether nothing after the current term reads `arg`.
    fn dies(&self, arg: &Arg) -> bool {
        match *arg {
            Arg::Param(i) => self.last.params[i as usize] <= Some(self.now),
            Arg::Term(i) => self.last.terms[i as usize] <= Some(self.now),
            Arg::Literal(_) => false,
        }
    }

    fn set_slot(&mut self, arg: &Arg, slot: Slot) {
        match *arg {
            Arg::Param(i) => self.params[i as usize] = slot,
            Arg::Term(i) => self.terms[i as usize] = slot,
            Arg::Literal(_) => {}
        }
    }

    fn take(&mut self, pool: &mut Pool) -> Result<V, Pressure> {
        if let Some(v) = pool.take() {
            return Ok(v);
        }
        // a kept constant makes room, unless this term reads it; it is set again where it is needed
        let at = self.emitter.cache.iter().rposition(|(_, v)| !self.pinned.contains(v)).ok_or(Pressure)?;
        Ok(self.emitter.cache.remove(at).1)
    }

    /// The value in a register; loads it, or sets the constant.
    fn register(&mut self, arg: &Arg, pool: &mut Pool, w: &mut Writer) -> Result<V, Pressure> {
        match self.slot(arg) {
            Slot::Register(v) => Ok(v),
            Slot::Param(Param::Owned(v)) => Ok(v),
            Slot::Param(Param::Memory(at)) => {
                let to = self.take(pool)?;
                w.push(Stmt::Load { to, at, lanes: self.lanes });
                self.set_slot(arg, Slot::Register(to));
                Ok(to)
            }
            Slot::Param(Param::Splat(at)) => {
                let to = self.take(pool)?;
                w.push(Stmt::Splat { to, at });
                self.set_slot(arg, Slot::Register(to));
                Ok(to)
            }
            Slot::Bits(bits) => {
                let kept = self.emitter.cache.iter().find(|(b, _)| *b == bits).map(|(_, v)| *v);
                let to = match kept {
                    Some(v) => v,
                    None => {
                        let to = self.take(pool)?;
                        w.push(Stmt::Set { to, bits });
                        self.emitter.cache.push((bits, to));
                        to
                    }
                };
                self.pinned.push(to);
                Ok(to)
            }
            Slot::Condition { .. } => {
                let to = self.mask(arg, pool, w)?;
                self.set_slot(arg, Slot::Register(to));
                Ok(to)
            }
            Slot::Unset => unreachable!("terms are in order"),
        }
    }

    /// A condition as lanes of all ones or all zeros.
    fn mask(&mut self, arg: &Arg, pool: &mut Pool, w: &mut Writer) -> Result<V, Pressure> {
        let ones = self.take(pool)?;
        w.push(Stmt::Set { to: ones, bits: u32::MAX });
        let zeros = self.take(pool)?;
        w.push(Stmt::Set { to: zeros, bits: 0 });
        self.choose(arg, ones, ones, zeros, pool, w)?;
        pool.give(zeros);
        Ok(ones)
    }

    /// `to = cond ? a : b`.
    fn choose(&mut self, cond: &Arg, to: V, a: V, b: V, pool: &mut Pool, w: &mut Writer) -> Result<(), Pressure> {
        match self.slot(cond) {
            Slot::Condition { cmp, x, y, swap } => {
                let x = self.register(&x, pool, w)?;
                let y = self.operand(&y, pool, w)?;
                let (a, b) = if swap { (b, a) } else { (a, b) };
                w.push(Stmt::Select { to, cmp, x, y, a, b });
            }
            _ => {
                let x = self.register(cond, pool, w)?;
                w.push(Stmt::Select { to, cmp: Compare::ILt, x, y: Operand::Bits(0), a, b });
            }
        }
        Ok(())
    }

    /// The value as a second source: in place where the machine can.
    fn operand(&mut self, arg: &Arg, pool: &mut Pool, w: &mut Writer) -> Result<Operand, Pressure> {
        let menu = self.emitter.facts.menu;
        let full = usize::from(self.lanes) == self.emitter.facts.lanes();
        match self.slot(arg) {
            Slot::Bits(bits) if !self.emitter.cache.iter().any(|(b, _)| *b == bits) => {
                // worth a register while there are many
                if pool.len() > self.emitter.reserve { Ok(Operand::V(self.register(arg, pool, w)?)) } else { Ok(Operand::Bits(bits)) }
            }
            Slot::Param(Param::Memory(at)) if menu.memory_operand && full && self.dies(arg) => Ok(Operand::Memory(at)),
            Slot::Param(Param::Splat(at)) if menu.splat_operand && self.dies(arg) => Ok(Operand::Splat(at)),
            _ => Ok(Operand::V(self.register(arg, pool, w)?)),
        }
    }

    /// A register for the result: that of a dying operand, if there is one.
    fn result(&mut self, args: &[Arg], pool: &mut Pool) -> Result<V, Pressure> {
        for arg in args {
            if let (Slot::Register(v), true) = (self.slot(arg), self.dies(arg)) {
                self.set_slot(arg, Slot::Unset);
                // the same value may be bound to two parameters of a term: it is one slot
                return Ok(v);
            }
        }
        self.take(pool)
    }

    /// A register that holds `arg` and may be overwritten.
    fn owned(&mut self, arg: &Arg, pool: &mut Pool, w: &mut Writer) -> Result<V, Pressure> {
        let from = self.register(arg, pool, w)?;
        if matches!(self.slot(arg), Slot::Register(_)) && self.dies(arg) {
            self.set_slot(arg, Slot::Unset);
            return Ok(from);
        }
        let to = self.take(pool)?;
        w.push(Stmt::Copy { to, from });
        Ok(to)
    }

    fn term(&mut self, i: usize, pool: &mut Pool, w: &mut Writer) -> Result<(), Pressure> {
        use ScalarOp::*;
        let term = &self.body.terms[i];
        let args = term.args.clone();
        let float = self.dtype(&args[0]) == Dtype::F32;
        let condition = |cmp, x: usize, y: usize, swap| Slot::Condition { cmp, x: args[x], y: args[y], swap };
        let slot = match term.op {
            Eq => condition(if float { Compare::Eq } else { Compare::IEq }, 0, 1, false),
            Ne if float => condition(Compare::Ne, 0, 1, false),
            Ne => condition(Compare::IEq, 0, 1, true),
            Lt => condition(if float { Compare::Lt } else { Compare::ILt }, 0, 1, false),
            Gt => condition(if float { Compare::Lt } else { Compare::ILt }, 1, 0, false),
            Le if float => condition(Compare::Le, 0, 1, false),
            Ge if float => condition(Compare::Le, 1, 0, false),
            Le => condition(Compare::ILt, 1, 0, true),
            Ge => condition(Compare::ILt, 0, 1, true),
            IsNan => condition(Compare::Unordered, 0, 0, false),
            Not => match self.slot(&args[0]) {
                Slot::Condition { cmp, x, y, swap } => Slot::Condition { cmp, x, y, swap: !swap },
                _ => {
                    let a = self.register(&args[0], pool, w)?;
                    let to = self.result(&args, pool)?;
                    w.binary(Binary::Xor, to, a, Operand::Bits(u32::MAX));
                    Slot::Register(to)
                }
            },
            IsInf => {
                let a = self.register(&args[0], pool, w)?;
                let to = self.take(pool)?;
                w.push(Stmt::Unary { op: Unary::Abs, to, a });
                let (ones, zeros) = (self.take(pool)?, self.take(pool)?);
                w.push(Stmt::Set { to: ones, bits: u32::MAX });
                w.push(Stmt::Set { to: zeros, bits: 0 });
                w.push(Stmt::Select { to, cmp: Compare::Eq, x: to, y: Operand::Bits(f32::INFINITY.to_bits()), a: ones, b: zeros });
                pool.give(ones);
                pool.give(zeros);
                Slot::Register(to)
            }
            Select => {
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
                Slot::Register(to)
            }
            MulAdd => self.mul_add(&args, pool, w)?,
            Min | Max if float => self.min_max(term.op, &args, pool, w)?,
            Neg | Abs | Sqrt | Floor | Ceil | Trunc | Round | BitNot | Bits(_) | Cast(_) | Shl | Shr => {
                self.unary(term.op, &args, pool, w)?
            }
            Add | Mul | Sub | Div | BitAnd | BitOr | BitXor | And | Or | Xor | Min | Max => {
                let op = match (term.op, float) {
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
                let commutes = !matches!(term.op, Sub | Div);
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
                Slot::Register(to)
            }
            Sign | Rem | Mod | Pow | Exp | Log | Tanh | Erf | Sigmoid | Sin | Cos | Tan | Asin | Acos | Atan | Sinh | Cosh | Asinh
            | Acosh | Atanh => {
                unreachable!("{} was expanded to primitive terms", term.op.name())
            }
        };
        self.terms[i] = slot;
        Ok(())
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
            ScalarOp::Cast(to) if from == Dtype::F32 && to == Dtype::I32 => Unary::ToInt,
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

    /// Registers of what is not read any more go back.
    fn release(&mut self, pool: &mut Pool) {
        for i in 0..self.params.len() {
            let arg = Arg::Param(i as u8);
            if let (Slot::Register(v), true) = (self.slot(&arg), self.dies(&arg)) {
                pool.give(v);
                self.set_slot(&arg, Slot::Unset);
            }
        }
        for i in 0..=self.now.min(self.terms.len().saturating_sub(1)) {
            let arg = Arg::Term(i as u16);
            if let (Slot::Register(v), true) = (self.slot(&arg), self.dies(&arg)) {
                pool.give(v);
                self.set_slot(&arg, Slot::Unset);
            }
        }
    }

    /// Everything but the result goes back. A result that is a kept constant leaves the cache.
    fn release_all(&mut self, result: V, pool: &mut Pool) {
        self.emitter.cache.retain(|(_, v)| *v != result);
        let slots = self.params.iter().chain(&self.terms).copied().collect::<Vec<_>>();
        let mut given = vec![result];
        for slot in slots {
            if let Slot::Register(v) = slot
                && !given.contains(&v)
            {
                given.push(v);
                pool.give(v);
            }
        }
    }
}
