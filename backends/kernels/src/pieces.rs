//! Bodies that are too wide for the registers, cut into pieces: a piece leaves its result in the worker's
//! scratch, and the next one finds it there. And the constants of a body, kept in registers around loops.

use crate::body::{Emitter, Param, Pressure};
use crate::tile::{Pool, Writer, at};
use ir::Dtype;
use ir::kernel::Facts;
use ir::kernel::tile::{At, Operand, P, Stmt, V};
use ir::scalar::{Arg, Body, Term};

/// A body as one piece, or as several of which each fits the registers.
#[derive(Clone, Debug)]
pub struct Pieces {
    /// Each takes the body's parameters, then the results of the pieces before.
    list: Vec<Body>,
    types: Vec<Dtype>,
    params: usize,
    vector: i64,
}

impl Pieces {
    /// `owned[i]`: parameter `i` comes in a register. `pool` is what else is free. `None` when one term alone
    /// does not fit.
    pub fn new(facts: &Facts, body: &Body, types: &[Dtype], owned: &[bool], pool: &Pool) -> Option<Pieces> {
        let vector = i64::from(facts.vector_bytes);
        let mut pieces = Pieces { list: Vec::new(), types: types.to_vec(), params: types.len(), vector };
        if fits(facts, body, types, owned, pool) {
            pieces.list.push(body.clone());
            return Some(pieces);
        }
        let mut rest = body.clone();
        loop {
            let none = vec![false; pieces.types.len()];
            if fits(facts, &rest, &pieces.types, &none, pool) {
                pieces.list.push(rest);
                return Some(pieces);
            }
            let types = rest.types(&pieces.types).ok()?;
            let head = |t: usize| Body { result: Arg::Term(t as u16), ..rest.clone() }.without_dead();
            let can = |&t: &usize| {
                matches!(types[t], Dtype::F32 | Dtype::I32)
                    && rest.result != Arg::Term(t as u16)
                    && fits(facts, &head(t), &pieces.types, &none, pool)
            };
            let cut = (0..rest.terms.len()).rev().find(can)?;
            pieces.list.push(head(cut));
            pieces.types.push(types[cut]);
            for body in &mut pieces.list {
                body.params = pieces.types.len() as u8;
            }
            rest = replace(&rest, cut, Arg::Param(pieces.types.len() as u8 - 1));
        }
    }

    /// Bytes of scratch wanted: none for one piece.
    pub fn scratch(&self) -> usize {
        let vectors = if self.list.len() > 1 { self.list.len() - 1 + self.params } else { 0 };
        vectors * self.vector as usize
    }

    /// Terms of all pieces.
    pub fn terms(&self) -> usize {
        self.list.iter().map(|b| b.terms.len()).sum()
    }

    /// Writes all pieces; the result is in the register returned. `strip` is the scratch, if any is wanted.
    #[allow(clippy::too_many_arguments)]
    pub fn emit(
        &self,
        emitter: &mut Emitter,
        mut params: Vec<Param>,
        lanes: u8,
        strip: Option<At>,
        pool: &mut Pool,
        w: &mut Writer,
    ) -> Result<V, Pressure> {
        let (last, before) = self.list.split_last().expect("a body is at least one piece");
        if before.is_empty() {
            return emitter.emit(last, &self.types, &params, lanes, pool, w);
        }
        let strip = strip.expect("several pieces were given scratch");
        let whole = (self.vector / 4) as u8;
        let slot = |i: usize| at(strip.p, i64::from(strip.offset) + i as i64 * self.vector);
        for (i, param) in params.iter_mut().enumerate() {
            if let Param::Owned(from) = *param {
                w.push(Stmt::Store { from, at: slot(before.len() + i), lanes: whole });
                pool.give(from);
                *param = Param::Memory(slot(before.len() + i));
            }
        }
        // results to come stand for nothing yet, and are not read
        params.extend((0..before.len()).map(|i| Param::Memory(slot(i))));
        for (i, body) in before.iter().enumerate() {
            let from = emitter.emit(body, &self.types, &params, lanes, pool, w)?;
            w.push(Stmt::Store { from, at: slot(i), lanes: whole });
            pool.give(from);
        }
        emitter.emit(last, &self.types, &params, lanes, pool, w)
    }
}

fn fits(facts: &Facts, body: &Body, types: &[Dtype], owned: &[bool], pool: &Pool) -> bool {
    let mut pool = pool.clone();
    let memory = at(P(0), 0);
    let mut params = Vec::new();
    for &owned in owned {
        match (owned, owned.then(|| pool.take()).flatten()) {
            (false, _) => params.push(Param::Memory(memory)),
            (true, Some(v)) => params.push(Param::Owned(v)),
            (true, None) => return false,
        }
    }
    let body = Body { params: types.len() as u8, ..body.clone() };
    // one lane: nothing comes from memory as an operand, the most registers are taken
    Emitter::new(facts).emit(&body, types, &params, 1, &mut pool, &mut Writer::new()).is_ok()
}

/// `body` with `by` for term `t`.
pub fn replace(body: &Body, t: usize, by: Arg) -> Body {
    let rename = |a: &Arg| if *a == Arg::Term(t as u16) { by } else { *a };
    let terms = body.terms.iter().map(|term| Term { op: term.op, args: term.args.iter().map(rename).collect() }).collect();
    let params = body.params.max(if let Arg::Param(i) = by { i + 1 } else { 0 });
    Body { params, terms, result: rename(&body.result) }.without_dead()
}

/// Hands out emitters that share the constants kept around a loop.
pub struct Constants<'a> {
    facts: &'a Facts,
    kept: Vec<(u32, V)>,
    wanted: Vec<u32>,
    stable: bool,
}

impl<'a> Constants<'a> {
    /// Runs `emit` with an emitter and a copy of the free registers.
    pub fn with<R>(&mut self, pool: &Pool, emit: impl FnOnce(&mut Emitter<'a>, &mut Pool) -> R) -> R {
        let mut emitter = Emitter::keeping(self.facts, self.kept.clone());
        let out = emit(&mut emitter, &mut pool.clone());
        let after = emitter.kept();
        self.stable &= self.kept.iter().all(|k| after.contains(k));
        for (bits, _) in after {
            if !self.wanted.contains(bits) {
                self.wanted.push(*bits);
            }
        }
        out
    }
}

/// Writes loops: the constants that `write` would set in them over and over are set before them, where registers
/// last. `write` is called up to three times, and must write the same each time.
pub fn around<'a>(
    facts: &'a Facts,
    pool: &Pool,
    w: &mut Writer,
    write: &mut dyn FnMut(&mut Constants<'a>, &Pool, &mut Writer) -> Result<(), Pressure>,
) -> Result<(), Pressure> {
    let fresh = || Constants { facts, kept: Vec::new(), wanted: Vec::new(), stable: true };
    let mut constants = fresh();
    let mut plain = Writer::new();
    let fitted = write(&mut constants, pool, &mut plain);
    let mut rest = pool.clone();
    let kept: Option<Vec<(u32, V)>> = constants.wanted.iter().map(|&bits| rest.take().map(|v| (bits, v))).collect();
    if let Some(kept) = kept.filter(|k| !k.is_empty()) {
        let mut constants = Constants { kept: kept.clone(), ..fresh() };
        let mut inside = Writer::new();
        if write(&mut constants, &rest, &mut inside).is_ok() && constants.stable {
            kept.iter().for_each(|&(bits, to)| w.push(Stmt::Set { to, bits }));
            w.out.extend(inside.out);
            return Ok(());
        }
    }
    fitted?;
    w.out.extend(plain.out);
    Ok(())
}

/// A vector in memory as an operand, through a register where the machine needs one.
pub fn from_memory(facts: &Facts, at: At, temp: Option<V>, w: &mut Writer) -> Result<Operand, Pressure> {
    if facts.menu.memory_operand {
        return Ok(Operand::Memory(at));
    }
    let to = temp.ok_or(Pressure)?;
    w.push(Stmt::Load { to, at, lanes: facts.lanes() as u8 });
    Ok(Operand::V(to))
}
