//! Tile kernels to instructions: each statement becomes one or two, in order, but that neighbours in memory are loaded and stored
//! together and that a pointer may move in the load that reads it. It plans nothing: registers, addresses and trip counts are the
//! kernel's own, and a kernel that was not verified against the level's [`Facts`] may panic here.
//!
//! The function takes its pointers as AAPCS64 passes them, returns 0, and keeps its constants behind its code, so that it needs
//! no relocation. It restores what the convention says (x19 to x28, d8 to d15), never touches x18, which systems keep for
//! themselves, and keeps nothing below the stack pointer.
//!
//! * `usage`: the registers that a kernel names.
//! * `access`: which accesses are one instruction.
//! * `memory`: addresses and accesses.
//! * `narrow`: elements of 8 and 16 bits.
//! * `operation`: arithmetic, choice, folding.

mod access;
mod memory;
mod narrow;
mod operation;
#[cfg(test)]
mod tests;
mod usage;

use ir::kernel::Facts;
use ir::kernel::tile::{Dot4, Operand as Source, P, Stmt, TileKernel, V};

use crate::encode::vector as form;
use crate::encode::{Assembler, Code, Condition, Gpr, Place, Slot, Vector};
use access::Item;
use usage::Usage;

/// General registers in the order they are given out: arguments as the convention passes them, then those a function may
/// change, then those it must restore.
const GENERALS: [Gpr; 26] = {
    let mut all = [Gpr::ZERO; 26];
    let mut i = 0;
    while i < 26 {
        all[i] = Gpr::x(if i < FREE { i } else { i + 3 } as u8);
        i += 1;
    }
    all
};
const PASSED: usize = 8;
const FREE: usize = 16;

/// For a moment: an address, a stride, an immediate.
const SCRATCH: Gpr = Gpr::x(16);
/// An address near which the next ones are likely to be.
const NEAR: Gpr = Gpr::x(17);

/// Vector registers in the order they are given out: those that must be restored come last.
const VECTORS: [Vector; 32] = {
    let mut all = [Vector::new(0); 32];
    let mut i = 0;
    while i < 32 {
        all[i] = Vector::new(if i < 8 {
            i
        } else if i < 24 {
            i + 8
        } else {
            i - 16
        } as u8);
        i += 1;
    }
    all
};

/// From here on in that order.
const RESTORED: usize = 24;

/// `ldr` reaches constants behind a function of this size.
const POOL_REACH: usize = 1 << 20;

/// `kernel`, a function of `args` pointers, for the level that `facts` describe. Fault: none for a verified kernel.
pub fn compile(kernel: &TileKernel, args: usize, facts: &Facts) -> Code {
    assert_eq!(facts.vector_bytes, 16, "a vector of NEON has 16 bytes");
    let usage = Usage::of(kernel, args);
    let mut select = Select::new(&usage, true);
    select.function(&kernel.body, args, &usage);
    if select.asm.bytes() >= POOL_REACH {
        select = Select::new(&usage, false);
        select.function(&kernel.body, args, &usage);
    }
    select.asm.finish()
}

struct Select {
    asm: Assembler,
    /// Where each vector of the kernel is now. A step of Horner's rule leaves its result in the spare register rather than copy it.
    at: [Vector; 32],
    /// Where each vector is wanted at the end of the loop's turn.
    home: [Vector; 32],
    /// A register that holds nothing.
    spare: Option<Vector>,
    /// General registers taken by pointers; loop counters follow.
    pointers: usize,
    /// How far each pointer is ahead of what the kernel says, by an access that moved it.
    ahead: Vec<i64>,
    /// `NEAR` is so far from this pointer.
    near: Option<(P, i64)>,
    /// Whether constants may lie behind the code.
    pool: bool,
}

fn general(p: P) -> Gpr {
    GENERALS[p.0 as usize]
}

impl Select {
    fn new(usage: &Usage, pool: bool) -> Select {
        let named = usage.vectors();
        let spare = VECTORS.get(named).copied();
        let pointers = usage.pointers;
        Select { asm: Assembler::new(), at: VECTORS, home: VECTORS, spare, pointers, ahead: vec![0; pointers], near: None, pool }
    }

    fn v(&self, v: V) -> Vector {
        self.at[v.0 as usize]
    }

    /// Where to put a new value of `v`, whose old one is not needed any more: at home if nothing else is there.
    fn define(&mut self, v: V) -> Vector {
        let home = self.home[v.0 as usize];
        if self.spare == Some(home) {
            self.spare = Some(std::mem::replace(&mut self.at[v.0 as usize], home));
        }
        self.v(v)
    }

    fn function(&mut self, body: &[Stmt], args: usize, usage: &Usage) {
        let generals = usage.pointers + usage.depth;
        assert!(generals <= GENERALS.len(), "{generals} general registers: the kernel was not verified");
        let vectors = usage.vectors() + usize::from(self.spare.is_some());
        let xs: Vec<Slot> = GENERALS.get(FREE..generals).unwrap_or(&[]).iter().map(|&x| Slot::X(x)).collect();
        let ds: Vec<Slot> = VECTORS.get(RESTORED..vectors).unwrap_or(&[]).iter().map(|&v| Slot::D(v)).collect();
        let saved: Vec<&[Slot]> = xs.chunks(2).chain(ds.chunks(2)).collect();
        let frame = 16 * saved.len() as i32;
        self.asm.add(Gpr::SP, Gpr::SP, -i64::from(frame), SCRATCH);
        for (i, slots) in saved.iter().enumerate() {
            let place = Place::At(Gpr::SP, 16 * i as i32);
            match **slots {
                [a, b] => self.asm.store_pair(a, b, place),
                _ => self.asm.store(slots[0], place),
            }
        }
        for (i, &pointer) in GENERALS.get(PASSED..args).unwrap_or(&[]).iter().enumerate() {
            self.asm.load(Slot::X(pointer), Place::At(Gpr::SP, frame + 8 * i as i32));
        }
        self.block(body, 0);
        for (i, slots) in saved.iter().enumerate() {
            let place = Place::At(Gpr::SP, 16 * i as i32);
            match **slots {
                [a, b] => self.asm.load_pair(a, b, place),
                _ => self.asm.load(slots[0], place),
            }
        }
        self.asm.add(Gpr::SP, Gpr::SP, frame.into(), SCRATCH);
        self.asm.load_immediate(Gpr::x(0), 0);
        self.asm.ret();
    }

    fn block(&mut self, body: &[Stmt], depth: usize) {
        for item in access::items(body) {
            self.item(item, depth);
        }
    }

    fn repeat(&mut self, times: u32, body: &[Stmt], depth: usize) {
        if times == 1 {
            return self.block(body, depth);
        }
        let counter = GENERALS[self.pointers + depth];
        self.asm.load_immediate(counter, i64::from(times));
        self.near = None;
        let home = std::mem::replace(&mut self.home, self.at);
        let top = self.asm.here();
        self.block(body, depth + 1);
        self.settle();
        self.asm.subtract_and_test(counter, counter, 1);
        self.asm.branch_if(Condition::NotEqual, top);
        self.home = home;
        self.near = None;
    }

    /// Brings every vector home.
    fn settle(&mut self) {
        while let Some(away) = (0..32).find(|&v| self.at[v] != self.home[v]) {
            let hole = self.spare.expect("vectors move only through a spare register");
            // the hole is somebody's home, or else the first one away makes it
            let v = (0..32).find(|&v| self.home[v] == hole && self.at[v] != hole).unwrap_or(away);
            let from = std::mem::replace(&mut self.at[v], hole);
            self.asm.copy_vector(hole, from);
            self.spare = Some(from);
        }
    }

    fn item(&mut self, item: Item, depth: usize) {
        match item {
            Item::One { stmt, by: 0 } => self.stmt(stmt, depth),
            Item::One { stmt, by } => self.moving(stmt, by),
            Item::Pair { load, first, second, at, by } => self.pair(load, first, second, at, by),
        }
    }

    fn stmt(&mut self, stmt: &Stmt, depth: usize) {
        match *stmt {
            Stmt::Loop { times, ref body } => self.repeat(times, body, depth),
            Stmt::Point { to, from, offset } => self.point(to, from, offset),
            Stmt::Advance { p, by } => self.advance(p, by),
            Stmt::Prefetch { at } => self.prefetch(at),
            Stmt::Set { to, bits } => {
                let to = self.define(to);
                self.set(to, bits);
            }
            Stmt::Copy { to, from } => {
                let from = self.v(from);
                let to = self.define(to);
                self.copy(to, from);
            }
            Stmt::Load { to, at, lanes } => {
                let to = self.define(to);
                self.load(to, at, lanes);
            }
            Stmt::Splat { to, at } => {
                let to = self.define(to);
                self.splat(to, at);
            }
            Stmt::Gather { to, at, stride, lanes } => {
                let to = self.define(to);
                self.gather(to, at, stride, lanes);
            }
            Stmt::LoadNarrow { to, at, lanes, kind } => {
                let to = self.define(to);
                self.load_narrow(to, at, lanes, kind);
            }
            Stmt::SplatNarrow { to, at, kind } => {
                let to = self.define(to);
                self.splat_narrow(to, at, kind);
            }
            Stmt::StoreNarrow { from, at, lanes, kind } => self.store_narrow(self.v(from), at, lanes, kind),
            Stmt::Store { from, at, lanes } => self.store(self.v(from), at, lanes),
            Stmt::Scatter { from, at, stride, lanes } => self.scatter(self.v(from), at, stride, lanes),
            // a vector is four lanes
            Stmt::LoadQuads { to, at, stride: _ } => {
                let to = self.define(to);
                self.load(to, at, 4);
            }
            Stmt::StoreQuads { from, at, stride: _ } => self.store(self.v(from), at, 4),
            Stmt::MulAdd { acc, a, b, negate } => self.mul_add(acc, a, b, negate),
            Stmt::Dot4 { kind, acc, a, b } => self.dot4(kind, acc, a, b),
            Stmt::Matrix2x8 { kind, acc, a, b } => {
                let form = match kind {
                    Dot4::U8S8 => form::USMMLA,
                    Dot4::S8S8 => form::SMMLA,
                };
                self.asm.three(form, self.v(acc), self.v(a), self.v(b));
            }
            Stmt::MulAdd8 { high, acc, a, b } => {
                let form = if high { form::SMLAL_HIGH } else { form::SMLAL };
                self.asm.three(form, self.v(acc), self.v(a), self.v(b));
            }
            Stmt::PairAdd { acc, a } => self.asm.two(form::SADALP_H, self.v(acc), self.v(a)),
            Stmt::Horner { acc, x, c } => self.horner(acc, x, c),
            Stmt::Unary { op, to, a } => self.unary(op, to, a),
            Stmt::Binary { op, to, a, b } => self.binary(op, to, a, b),
            Stmt::Select { to, cmp, x, y, a, b } => self.choose(to, cmp, x, y, a, b),
            Stmt::Lookup { to, a, table, temps } => self.look_up(to, a, table, temps),
            Stmt::Fold { op, to, from, temp } => self.fold(op, to, from, temp),
        }
    }

    fn set(&mut self, to: Vector, bits: u32) {
        if self.asm.set(to, bits) {
            return;
        }
        if self.pool {
            let [a, b, c, d] = bits.to_le_bytes();
            let constant = self.asm.constant([a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d]);
            self.asm.load_constant(to, constant);
        } else {
            self.asm.load_immediate(SCRATCH, i64::from(bits));
            self.asm.duplicate_general(to, SCRATCH);
        }
    }

    fn copy(&mut self, to: Vector, from: Vector) {
        if to != from {
            self.asm.copy_vector(to, from);
        }
    }

    /// A register that is none of `but` for what `body` needs it; its content is safe afterwards.
    fn borrow(&mut self, but: &[Vector], body: impl FnOnce(&mut Select, Vector)) {
        if let Some(spare) = self.spare {
            return body(self, spare);
        }
        let other = VECTORS.into_iter().find(|v| !but.contains(v)).expect("no statement names all registers");
        self.asm.store(Slot::Q(other), Place::Pre(Gpr::SP, -16));
        body(self, other);
        self.asm.load(Slot::Q(other), Place::Post(Gpr::SP, 16));
    }

    /// The register of an operand if it is a whole one.
    fn whole(&self, source: Source) -> Option<Vector> {
        match source {
            Source::V(v) => Some(self.v(v)),
            Source::Bits(_) | Source::Lane(..) | Source::Memory(_) | Source::Splat(_) => None,
        }
    }

    /// The register that an operand names, whole or by lane.
    fn named(&self, source: Source) -> Option<Vector> {
        match source {
            Source::V(v) | Source::Lane(v, _) => Some(self.v(v)),
            Source::Bits(_) | Source::Memory(_) | Source::Splat(_) => None,
        }
    }

    /// The operand's value to `to`.
    fn bring(&mut self, to: Vector, source: Source) {
        match source {
            Source::V(v) => self.copy(to, self.v(v)),
            Source::Bits(bits) => self.set(to, bits),
            Source::Lane(v, lane) => self.asm.duplicate(to, self.v(v), lane),
            Source::Memory(_) | Source::Splat(_) => panic!("an operand in memory is off the menu of ARM64"),
        }
    }
}
