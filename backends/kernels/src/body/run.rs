//! Registers while one body is written: what every value is in, loaded and set where it is first needed, given
//! back after its last use.

use super::{Emitter, Param, Pressure};
use crate::tile::{Pool, Writer};
use ir::Dtype;
use ir::kernel::tile::{Compare, Operand, Stmt, V};
use ir::scalar::{Arg, Body, ScalarOp};

/// Where the value of a term, parameter or literal is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
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

/// For each parameter and term, the last term that reads it (the number of terms: the result does).
pub(super) struct Last {
    pub(super) params: Vec<Option<usize>>,
    pub(super) terms: Vec<Option<usize>>,
}

pub(super) fn last_uses(body: &Body) -> Last {
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

pub(super) struct Run<'e, 'a, 'b> {
    pub(super) emitter: &'e mut Emitter<'a>,
    pub(super) body: &'b Body,
    pub(super) types: &'b [Dtype],
    pub(super) term_types: Vec<Dtype>,
    pub(super) lanes: u8,
    pub(super) params: Vec<Slot>,
    pub(super) terms: Vec<Slot>,
    pub(super) last: Last,
    pub(super) now: usize,
    /// Kept constants that the current term reads.
    pub(super) pinned: Vec<V>,
}

impl Run<'_, '_, '_> {
    pub(super) fn slot(&self, arg: &Arg) -> Slot {
        match *arg {
            Arg::Param(i) => self.params[i as usize],
            Arg::Term(i) => self.terms[i as usize],
            Arg::Literal(l) => Slot::Bits(if l.dtype == Dtype::Bool { (l.bits as u32).wrapping_neg() } else { l.bits as u32 }),
        }
    }

    pub(super) fn dtype(&self, arg: &Arg) -> Dtype {
        match *arg {
            Arg::Param(i) => self.types[i as usize],
            Arg::Term(i) => self.term_types[i as usize],
            Arg::Literal(l) => l.dtype,
        }
    }

    /// Whether nothing after the current term reads `arg`.
    pub(super) fn dies(&self, arg: &Arg) -> bool {
        match *arg {
            Arg::Param(i) => self.last.params[i as usize] <= Some(self.now),
            Arg::Term(i) => self.last.terms[i as usize] <= Some(self.now),
            Arg::Literal(_) => false,
        }
    }

    pub(super) fn set_slot(&mut self, arg: &Arg, slot: Slot) {
        match *arg {
            Arg::Param(i) => self.params[i as usize] = slot,
            Arg::Term(i) => self.terms[i as usize] = slot,
            Arg::Literal(_) => {}
        }
    }

    pub(super) fn take(&mut self, pool: &mut Pool) -> Result<V, Pressure> {
        if let Some(v) = pool.take() {
            return Ok(v);
        }
        // a kept constant makes room, unless this term reads it; it is set again where it is needed
        let at = self.emitter.cache.iter().rposition(|(_, v)| !self.pinned.contains(v)).ok_or(Pressure)?;
        Ok(self.emitter.cache.remove(at).1)
    }

    /// The value in a register; loads it, or sets the constant.
    pub(super) fn register(&mut self, arg: &Arg, pool: &mut Pool, w: &mut Writer) -> Result<V, Pressure> {
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
            Slot::Param(Param::Narrow(at, kind)) => {
                let to = self.take(pool)?;
                w.push(Stmt::LoadNarrow { to, at, lanes: self.lanes, kind });
                self.set_slot(arg, Slot::Register(to));
                Ok(to)
            }
            Slot::Param(Param::NarrowSplat(at, kind)) => {
                let to = self.take(pool)?;
                w.push(Stmt::SplatNarrow { to, at, kind });
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
    pub(super) fn mask(&mut self, arg: &Arg, pool: &mut Pool, w: &mut Writer) -> Result<V, Pressure> {
        let ones = self.take(pool)?;
        w.push(Stmt::Set { to: ones, bits: u32::MAX });
        let zeros = self.take(pool)?;
        w.push(Stmt::Set { to: zeros, bits: 0 });
        self.choose(arg, ones, ones, zeros, pool, w)?;
        pool.give(zeros);
        Ok(ones)
    }

    /// `to = cond ? a : b`.
    pub(super) fn choose(&mut self, cond: &Arg, to: V, a: V, b: V, pool: &mut Pool, w: &mut Writer) -> Result<(), Pressure> {
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
    pub(super) fn operand(&mut self, arg: &Arg, pool: &mut Pool, w: &mut Writer) -> Result<Operand, Pressure> {
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
    pub(super) fn result(&mut self, args: &[Arg], pool: &mut Pool) -> Result<V, Pressure> {
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
    pub(super) fn owned(&mut self, arg: &Arg, pool: &mut Pool, w: &mut Writer) -> Result<V, Pressure> {
        let from = self.register(arg, pool, w)?;
        if matches!(self.slot(arg), Slot::Register(_)) && self.dies(arg) {
            self.set_slot(arg, Slot::Unset);
            return Ok(from);
        }
        let to = self.take(pool)?;
        w.push(Stmt::Copy { to, from });
        Ok(to)
    }

    /// Registers of what is not read any more go back.
    pub(super) fn release(&mut self, pool: &mut Pool) {
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
    pub(super) fn release_all(&mut self, result: V, pool: &mut Pool) {
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
