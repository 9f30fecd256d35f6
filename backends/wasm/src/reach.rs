//! How far pointers of a tile kernel go. WebAssembly adds an unsigned displacement to an unsigned address, without wrapping, so
//! a pointer that serves negative displacements is held at the lowest of them, and must not fall below 0 for that.
//! It refuses to know instructions.

use ir::kernel::Arg;
use ir::kernel::tile::{At, Operand, P, Stmt, TileKernel};

/// What is known of a kernel's pointers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// By pointer: the lowest displacement, 0 or below.
    pub bias: Vec<i32>,
    /// By pointer: whether memory is ever accessed through it, or through one that is set from it.
    pub used: Vec<bool>,
    /// Bytes that must lie below what an argument declares, for no address to fall below 0.
    pub below: u64,
}

/// Follows the pointers of a verified kernel.
pub fn reach(kernel: &TileKernel, args: &[Arg]) -> Reach {
    let mut survey = Survey { bias: vec![0; 256], used: vec![false; 256] };
    survey.block(&kernel.body);
    // what a used pointer is set from is used
    while survey.sources(&kernel.body) {}
    let Survey { bias, used } = survey;
    let mut state: State = (0..256).map(|i| (i < args.len()).then_some(Span { arg: i, low: 0, high: 0 })).collect();
    let mut follow = Follow { bias: &bias, args, below: 0 };
    follow.block(&kernel.body, &mut state);
    let below = follow.below as u64;
    Reach { bias, used, below }
}

struct Survey {
    bias: Vec<i32>,
    used: Vec<bool>,
}

impl Survey {
    fn block(&mut self, body: &[Stmt]) {
        for stmt in body {
            if let Stmt::Loop { times: _, body } = stmt {
                self.block(body);
            }
            accesses(stmt, &mut |at, lowest| {
                let p = at.p.0 as usize;
                self.bias[p] = self.bias[p].min(lowest);
                self.used[p] = true;
            });
        }
    }

    /// Whether anything was new.
    fn sources(&mut self, body: &[Stmt]) -> bool {
        let mut new = false;
        for stmt in body {
            if let Stmt::Loop { times: _, body } = stmt {
                new |= self.sources(body);
            }
            if let Stmt::Point { to, from, offset: _ } = stmt
                && self.used[to.0 as usize]
                && !std::mem::replace(&mut self.used[from.0 as usize], true)
            {
                new = true;
            }
        }
        new
    }
}

/// Calls `each` with every place that the statement itself accesses, and the lowest displacement from its pointer.
fn accesses(stmt: &Stmt, each: &mut dyn FnMut(At, i32)) {
    let mut one = |at: At| each(at, at.offset);
    match *stmt {
        Stmt::Load { to: _, at, lanes } | Stmt::Store { from: _, at, lanes } if lanes > 0 => one(at),
        Stmt::LoadNarrow { to: _, at, lanes, kind: _ } | Stmt::StoreNarrow { from: _, at, lanes, kind: _ } if lanes > 0 => one(at),
        Stmt::Lookup { to: _, a: _, table, temps: _ } => one(table),
        Stmt::Splat { to: _, at } | Stmt::SplatNarrow { to: _, at, kind: _ } => one(at),
        Stmt::Gather { to: _, at, stride, lanes } | Stmt::Scatter { from: _, at, stride, lanes } if lanes > 0 => {
            each(at, at.offset + (stride * i32::from(lanes - 1)).min(0));
        }
        Stmt::MulAdd { acc: _, a: _, b: operand, negate: _ }
        | Stmt::Horner { acc: _, x: _, c: operand }
        | Stmt::Dot4 { kind: _, acc: _, a: _, b: operand }
        | Stmt::Binary { op: _, to: _, a: _, b: operand }
        | Stmt::Select { to: _, cmp: _, x: _, y: operand, a: _, b: _ } => match operand {
            Operand::Memory(at) | Operand::Splat(at) => one(at),
            Operand::V(_) | Operand::Bits(_) | Operand::Lane(..) => {}
        },
        Stmt::LoadQuads { to: _, at, stride: _ } | Stmt::StoreQuads { from: _, at, stride: _ } => one(at),
        Stmt::Load { .. } | Stmt::Store { .. } | Stmt::Gather { .. } | Stmt::Scatter { .. } => {}
        Stmt::LoadNarrow { .. } | Stmt::StoreNarrow { .. } => {}
        Stmt::Loop { .. } | Stmt::Point { .. } | Stmt::Advance { .. } | Stmt::Set { .. } | Stmt::Copy { .. } => {}
        Stmt::Prefetch { .. } | Stmt::Unary { .. } | Stmt::Fold { .. } => {}
        Stmt::Matrix2x8 { .. } | Stmt::MulAdd8 { .. } | Stmt::PairAdd { .. } => {}
    }
}

/// How far a pointer is from the argument that it was set from.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Span {
    arg: usize,
    low: i64,
    high: i64,
}

type State = Vec<Option<Span>>;

struct Follow<'a> {
    bias: &'a [i32],
    args: &'a [Arg],
    below: i64,
}

impl Follow<'_> {
    fn block(&mut self, body: &[Stmt], state: &mut State) {
        for stmt in body {
            accesses(stmt, &mut |at, _| self.access(at.p, state));
            if let Stmt::Loop { times, body } = stmt {
                self.turns(*times, body, state);
            } else if let Stmt::Point { to, from, offset } = *stmt {
                state[to.0 as usize] = moved(state[from.0 as usize], offset);
            } else if let Stmt::Advance { p, by } = *stmt {
                state[p.0 as usize] = moved(state[p.0 as usize], by);
            }
        }
    }

    fn access(&mut self, p: P, state: &State) {
        let p = p.0 as usize;
        let span = state[p].expect("the verifier saw that it is set before");
        let lowest = span.low + i64::from(self.bias[p]);
        self.below = self.below.max(self.args[span.arg].low - lowest);
    }

    /// One turn, then another from everywhere that the turns between may start.
    fn turns(&mut self, times: u32, body: &[Stmt], state: &mut State) {
        let entry = state.clone();
        self.block(body, state);
        if times == 1 {
            return;
        }
        let first = state.clone();
        for (now, before) in state.iter_mut().zip(&entry) {
            *now = match (*now, *before) {
                (Some(now), Some(before)) if now.arg == before.arg => {
                    let step = (now.low - before.low).min(now.high - before.high).min(0);
                    let rise = (now.low - before.low).max(now.high - before.high).max(0);
                    let turns = i64::from(times) - 1;
                    Some(Span { arg: now.arg, low: before.low + step * turns, high: before.high + rise * turns })
                }
                (now, _) => now,
            };
        }
        self.block(body, state);
        for ((now, before), first) in state.iter_mut().zip(&entry).zip(&first) {
            // what moves evenly ends in one place
            if let (Some(first), Some(before)) = (first, before)
                && first.arg == before.arg
                && first.low - before.low == first.high - before.high
            {
                let by = (first.low - before.low) * i64::from(times);
                *now = Some(Span { arg: first.arg, low: before.low + by, high: before.high + by });
            }
        }
    }
}

fn moved(span: Option<Span>, by: i64) -> Option<Span> {
    span.map(|s| Span { arg: s.arg, low: s.low + by, high: s.high + by })
}
