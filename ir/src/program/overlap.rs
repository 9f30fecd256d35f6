//! That calls of a step keep apart: no byte that one writes is touched by another. Arguments whose ranges are apart
//! prove it at once. Where ranges meet, as those of columns side by side do, the tile kernels are followed access by
//! access; what a scalar kernel touches is its whole range. Scratch is every worker's own.

use super::{Address, Program, Step};
use crate::kernel::tile::{At, Operand, P, Stmt};
use crate::kernel::{Access, Facts, Kernel, KernelBody};

/// Memory that calls share: the arena, the state, an output, the symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Space {
    Arena,
    State,
    Output(usize),
    Symbols,
}

/// Bytes that an argument of a call touches, or a part of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    space: Space,
    low: i128,
    high: i128,
    writes: bool,
    call: usize,
    arg: usize,
    /// How it moves from turn to turn, and how far it comes.
    advance: i64,
    further: i128,
}

impl Span {
    /// Whether it touches bytes of `other`, in one and the same turn. Those that move alike stay as far apart as they are; of
    /// others all turns count.
    fn meets(&self, other: &Span) -> bool {
        let (ours, theirs) = if self.advance == other.advance { (0, 0) } else { (self.further, other.further) };
        self.space == other.space && self.low < other.high + theirs && other.low < self.high + ours
    }
}

/// The first two calls of the step that conflict, as far as anyone can tell.
pub(super) fn conflict(program: &Program, at: usize, step: &Step, facts: &Facts) -> Option<(usize, usize)> {
    let mut spans = Vec::new();
    for (number, call) in step.calls.iter().enumerate() {
        let Some(kernel) = program.kernels.get(call.kernel) else { continue };
        for (i, (arg, address)) in kernel.args.iter().zip(&call.args).enumerate() {
            let Some((space, offset)) = shared(*address) else { continue };
            let (low, high) = (offset + i128::from(arg.low), offset + i128::from(arg.high));
            let advance = call.advance_of(i);
            let further = program.furthest(at, advance);
            spans.push(Span { space, low, high, writes: arg.access != Access::Read, call: number, arg: i, advance, further });
        }
    }
    spans.sort();
    let suspects = meeting(&spans);
    let mut exact = Vec::new();
    for span in spans.iter().zip(&suspects).filter(|&(_, &s)| s).map(|(span, _)| span) {
        let call = &step.calls[span.call];
        let kernel = &program.kernels[call.kernel];
        let base = shared(call.args[span.arg]).map_or(0, |(_, offset)| offset);
        match touched(kernel, span.arg, facts) {
            Some(touched) => exact.extend(touched.into_iter().map(|t| Span { low: base + t.0, high: base + t.1, writes: t.2, ..*span })),
            None => exact.push(*span),
        }
    }
    exact.sort();
    let at = meeting(&exact).iter().position(|&m| m)?;
    let first = exact[at];
    let meets = |s: &&Span| s.meets(&first) && s.call != first.call;
    let other = exact.iter().filter(meets).find(|s| s.writes || first.writes).map_or(first.call, |s| s.call);
    Some((first.call.min(other), first.call.max(other)))
}

fn shared(address: Address) -> Option<(Space, i128)> {
    match address {
        Address::Arena { offset } => Some((Space::Arena, offset.into())),
        Address::State { offset } => Some((Space::State, offset.into())),
        Address::Output { index, offset } => Some((Space::Output(index), offset.into())),
        Address::Symbols { offset } => Some((Space::Symbols, offset.into())),
        Address::Input { .. } | Address::Constant { .. } | Address::Scratch { .. } => None,
    }
}

/// Which of the sorted spans meet one of another call, where either writes.
fn meeting(spans: &[Span]) -> Vec<bool> {
    let mut out = vec![false; spans.len()];
    let mut open: Vec<usize> = Vec::new();
    for (i, span) in spans.iter().enumerate() {
        open.retain(|&j| spans[j].space == span.space && spans[j].high + spans[j].further > span.low);
        for &j in &open {
            if spans[j].call != span.call && (spans[j].writes || span.writes) && span.low < span.high && spans[j].meets(span) {
                (out[i], out[j]) = (true, true);
            }
        }
        open.push(i);
    }
    out
}

/// What a tile kernel touches through an argument: bytes around the pointer, and whether it writes them.
fn touched(kernel: &Kernel, arg: usize, facts: &Facts) -> Option<Vec<(i128, i128, bool)>> {
    let KernelBody::Tile(tile) = &kernel.body else { return None };
    let mut pointers = vec![None; usize::from(u8::MAX) + 1];
    pointers[arg] = Some(0);
    let mut walk = Walk { pointers, vector: facts.vector_bytes.into(), out: Vec::new() };
    walk.block(&tile.body);
    walk.out.sort();
    // neighbours of one kind are one
    let mut out: Vec<(i128, i128, bool)> = Vec::new();
    for span in walk.out {
        match out.last_mut().filter(|last| last.2 == span.2 && last.1 >= span.0) {
            Some(last) => last.1 = last.1.max(span.1),
            None => out.push(span),
        }
    }
    Some(out)
}

struct Walk {
    /// How far each pointer is from the argument, if it comes from that.
    pointers: Vec<Option<i128>>,
    vector: i128,
    out: Vec<(i128, i128, bool)>,
}

impl Walk {
    fn block(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Loop { times, body } if self.watches(body) => (0..*times).for_each(|_| self.block(body)),
            // nothing in it touches the argument: once, and as far again as that moved the pointers
            Stmt::Loop { times, body } => {
                let before = self.pointers.clone();
                self.block(body);
                for (now, before) in self.pointers.iter_mut().zip(before) {
                    if let (Some(now), Some(before)) = (now, before) {
                        *now += (*now - before) * (i128::from(*times) - 1);
                    }
                }
            }
            Stmt::Point { to, from, offset } => {
                self.pointers[to.0 as usize] = self.pointers[from.0 as usize].map(|at| at + i128::from(*offset))
            }
            Stmt::Advance { p, by } => {
                if let Some(at) = &mut self.pointers[p.0 as usize] {
                    *at += i128::from(*by);
                }
            }
            Stmt::Load { at, lanes, .. } => self.touch(*at, 4 * i128::from(*lanes), false),
            Stmt::Store { at, lanes, .. } => self.touch(*at, 4 * i128::from(*lanes), true),
            Stmt::Splat { at, .. } => self.touch(*at, 4, false),
            Stmt::LoadNarrow { at, lanes, kind, .. } => self.touch(*at, i128::from(kind.bytes()) * i128::from(*lanes), false),
            Stmt::StoreNarrow { at, lanes, kind, .. } => self.touch(*at, i128::from(kind.bytes()) * i128::from(*lanes), true),
            Stmt::Lookup { table, .. } => self.touch(*table, 256, false),
            Stmt::SplatNarrow { at, kind, .. } => self.touch(*at, kind.bytes().into(), false),
            Stmt::Gather { at, stride, lanes, .. } => self.strided(*at, *stride, *lanes, false),
            Stmt::Scatter { at, stride, lanes, .. } => self.strided(*at, *stride, *lanes, true),
            Stmt::LoadQuads { at, stride, .. } => self.quads(*at, *stride, false),
            Stmt::StoreQuads { at, stride, .. } => self.quads(*at, *stride, true),
            Stmt::MulAdd { b: operand, .. }
            | Stmt::Horner { c: operand, .. }
            | Stmt::Dot4 { b: operand, .. }
            | Stmt::Binary { b: operand, .. }
            | Stmt::Select { y: operand, .. } => match operand {
                Operand::Memory(at) => self.touch(*at, self.vector, false),
                Operand::Splat(at) => self.touch(*at, 4, false),
                Operand::V(_) | Operand::Bits(_) | Operand::Lane(..) => {}
            },
            Stmt::Set { .. } | Stmt::Copy { .. } | Stmt::Prefetch { .. } | Stmt::Unary { .. } | Stmt::Fold { .. } => {}
            Stmt::Matrix2x8 { .. } | Stmt::MulAdd8 { .. } | Stmt::PairAdd { .. } => {}
        }
    }

    /// Whether a loop over `body` must be followed turn by turn: it touches the argument, or sets a pointer.
    fn watches(&self, body: &[Stmt]) -> bool {
        let ours = |p: &P| self.pointers[p.0 as usize].is_some();
        let operand = |operand: &Operand| matches!(operand, Operand::Memory(at) | Operand::Splat(at) if ours(&at.p));
        body.iter().any(|stmt| match stmt {
            Stmt::Loop { body, .. } => self.watches(body),
            Stmt::Point { to, from, .. } => ours(from) || ours(to),
            Stmt::Load { at, .. }
            | Stmt::Store { at, .. }
            | Stmt::Splat { at, .. }
            | Stmt::LoadNarrow { at, .. }
            | Stmt::SplatNarrow { at, .. }
            | Stmt::Lookup { table: at, .. }
            | Stmt::StoreNarrow { at, .. }
            | Stmt::Gather { at, .. }
            | Stmt::Scatter { at, .. }
            | Stmt::LoadQuads { at, .. }
            | Stmt::StoreQuads { at, .. } => ours(&at.p),
            Stmt::MulAdd { b, .. } | Stmt::Dot4 { b, .. } | Stmt::Binary { b, .. } => operand(b),
            Stmt::Horner { c, .. } => operand(c),
            Stmt::Select { y, .. } => operand(y),
            Stmt::Advance { .. }
            | Stmt::Set { .. }
            | Stmt::Copy { .. }
            | Stmt::Prefetch { .. }
            | Stmt::Matrix2x8 { .. }
            | Stmt::MulAdd8 { .. }
            | Stmt::PairAdd { .. }
            | Stmt::Unary { .. }
            | Stmt::Fold { .. } => false,
        })
    }

    fn touch(&mut self, at: At, bytes: i128, writes: bool) {
        if let Some(base) = self.pointers[at.p.0 as usize] {
            let low = base + i128::from(at.offset);
            self.out.push((low, low + bytes, writes));
        }
    }

    fn quads(&mut self, at: At, stride: i32, writes: bool) {
        if let Some(base) = self.pointers[at.p.0 as usize] {
            let low = base + i128::from(at.offset);
            let quad = |i: i128| low + i128::from(stride) * i;
            self.out.extend((0..self.vector / 16).map(|i| (quad(i), quad(i) + 16, writes)));
        }
    }

    fn strided(&mut self, at: At, stride: i32, lanes: u8, writes: bool) {
        if let Some(base) = self.pointers[at.p.0 as usize] {
            let low = base + i128::from(at.offset);
            let lane = |i: u8| low + i128::from(stride) * i128::from(i);
            self.out.extend((0..lanes).map(|i| (lane(i), lane(i) + 4, writes)));
        }
    }
}
