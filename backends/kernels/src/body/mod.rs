//! Bodies as vector statements: registers by last use, constants as operands, loads where they are first
//! needed. The body has been expanded to primitive terms by [`crate::math`]; all lanes are 32 bits wide.

pub mod narrow;
mod run;
mod terms;

use crate::tile::{Pool, Writer};
use ir::Dtype;
use ir::kernel::facts::Facts;
use ir::kernel::tile::{At, Narrow, V};
use ir::scalar::{Arg, Body, ScalarOp};
use run::{Run, Slot, last_uses};

/// Where a parameter of the body comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    /// In a register that the body may overwrite.
    Owned(V),
    /// The first `lanes` of a vector in memory.
    Memory(At),
    /// One element in memory, in all lanes.
    Splat(At),
    /// The first `lanes` narrow elements in memory, each in its lane.
    Narrow(At, Narrow),
    /// One narrow element in memory, in all lanes.
    NarrowSplat(At, Narrow),
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
