//! Tile kernels to instructions: each statement becomes one or two, in order. It plans nothing: registers, addresses and
//! trip counts are the kernel's own, and a kernel that was not verified against the level's [`Facts`] may panic here.
//!
//! The function takes its pointers as System V passes them, returns 0, and keeps its constants behind its code, so that it
//! needs no relocation. It keeps nothing below the stack pointer.

mod narrow;

use std::collections::BTreeSet;

use ir::kernel::Facts;
use ir::kernel::tile::{At, Binary, Compare, Dot4, Operand as Source, P, Stmt, TileKernel, Unary, V};

use crate::encode::{
    Assembler, Code, Condition, Form, Gpr, Length, Level, Mask, Mem, Operand, Prefetch, Unary as Step, Vector, Width, form,
};

/// General registers in the order they are given out: arguments as the convention passes them, then those a function may
/// change, then those it must restore. The stack pointer alone is missing.
const GENERALS: [Gpr; 15] = [
    Gpr::RDI,
    Gpr::RSI,
    Gpr::RDX,
    Gpr::RCX,
    Gpr::R8,
    Gpr::R9,
    Gpr::R10,
    Gpr::R11,
    Gpr::RAX,
    Gpr::RBX,
    Gpr::RBP,
    Gpr::R12,
    Gpr::R13,
    Gpr::R14,
    Gpr::R15,
];
const PASSED: usize = 6;
const FREE: usize = 9;

/// Scratch of a comparison, and of a lane count that found no register of its own.
const WORK: Mask = Mask::K1;
const LANE_MASKS: [Mask; 6] = [Mask::K2, Mask::K3, Mask::K4, Mask::K5, Mask::K6, Mask::K7];

/// Where a vector is kept for a moment when every register is in use: on top of the stack, which is moved for it. Nothing
/// is ever kept below the stack pointer, where a signal or an interrupt on bare metal would write.
const SAVED: Mem = Mem::new(Gpr::RSP, 0);
const SAVED_BYTES: i32 = 64;

const SIGN: u32 = 0x8000_0000;

/// `kernel`, a function of `args` pointers, for the level that `facts` describe. Fault: none for a verified kernel.
pub fn compile(kernel: &TileKernel, args: usize, facts: &Facts) -> Code {
    let usage = Usage::of(kernel, args);
    let level = if facts.menu.masks { Level::V4 } else { Level::V3 };
    let length = match facts.vector_bytes {
        16 => Length::L128,
        32 => Length::L256,
        64 => Length::L512,
        other => panic!("no vector of x86-64 has {other} bytes"),
    };
    let mut select = Select {
        asm: Assembler::new(level),
        length,
        pick8: facts.menu.pick8,
        lanes: facts.vector_bytes / 4,
        masks: usage.lane_masks(facts),
        free: (0..facts.vectors).find(|v| !usage.vectors.contains(v)).map(Vector::new),
        pointers: usage.pointers,
    };
    select.function(&kernel.body, args, usage.depth);
    select.asm.finish()
}

/// What registers a kernel names.
struct Usage {
    /// Pointers, arguments included.
    pointers: usize,
    /// Loops around the innermost statement.
    depth: usize,
    vectors: BTreeSet<u8>,
    /// Lane counts of loads and stores, in order of first use.
    lanes: Vec<u8>,
}

impl Usage {
    fn of(kernel: &TileKernel, args: usize) -> Usage {
        let mut usage = Usage { pointers: args, depth: 0, vectors: BTreeSet::new(), lanes: Vec::new() };
        usage.block(&kernel.body, 0);
        usage
    }

    fn block(&mut self, body: &[Stmt], depth: usize) {
        self.depth = self.depth.max(depth);
        body.iter().for_each(|stmt| self.stmt(stmt, depth));
    }

    fn stmt(&mut self, stmt: &Stmt, depth: usize) {
        match stmt {
            // What runs once needs no counter.
            Stmt::Loop { times: 1, body } => self.block(body, depth),
            Stmt::Loop { times: _, body } => self.block(body, depth + 1),
            Stmt::Point { to, from, offset: _ } => {
                self.pointer(*to);
                self.pointer(*from);
            }
            Stmt::Advance { p, by: _ } => self.pointer(*p),
            Stmt::Prefetch { at } => self.pointer(at.p),
            Stmt::Set { to, bits: _ } => self.vector(*to),
            Stmt::Copy { to, from } => self.all(&[*to, *from]),
            Stmt::Load { to: v, at, lanes }
            | Stmt::Store { from: v, at, lanes }
            | Stmt::LoadNarrow { to: v, at, lanes, kind: _ }
            | Stmt::StoreNarrow { from: v, at, lanes, kind: _ } => {
                self.vector(*v);
                self.pointer(at.p);
                if !self.lanes.contains(lanes) {
                    self.lanes.push(*lanes);
                }
            }
            Stmt::Splat { to: v, at }
            | Stmt::SplatNarrow { to: v, at, kind: _ }
            | Stmt::Gather { to: v, at, stride: _, lanes: _ }
            | Stmt::Scatter { from: v, at, stride: _, lanes: _ }
            | Stmt::LoadQuads { to: v, at, stride: _ }
            | Stmt::StoreQuads { from: v, at, stride: _ } => {
                self.vector(*v);
                self.pointer(at.p);
            }
            Stmt::MulAdd { acc, a, b, negate: _ } => {
                self.all(&[*acc, *a]);
                self.source(*b);
            }
            Stmt::Dot4 { kind: _, acc, a, b } => {
                self.all(&[*acc, *a]);
                self.source(*b);
            }
            Stmt::Matrix2x8 { kind: _, acc, a, b } | Stmt::MulAdd8 { high: _, acc, a, b } => self.all(&[*acc, *a, *b]),
            Stmt::PairAdd { acc, a } => self.all(&[*acc, *a]),
            Stmt::Horner { acc, x, c } => {
                self.all(&[*acc, *x]);
                self.source(*c);
            }
            Stmt::Unary { op: _, to, a } => self.all(&[*to, *a]),
            Stmt::Binary { op: _, to, a, b } => {
                self.all(&[*to, *a]);
                self.source(*b);
            }
            Stmt::Select { to, cmp: _, x, y, a, b } => {
                self.all(&[*to, *x, *a, *b]);
                self.source(*y);
            }
            Stmt::Lookup { to, a, table, temps } => {
                self.all(&[*to, *a, temps[0], temps[1]]);
                self.pointer(table.p);
            }
            Stmt::Fold { op: _, to, from, temp } => self.all(&[*to, *from, *temp]),
        }
    }

    fn source(&mut self, source: Source) {
        match source {
            Source::V(v) | Source::Lane(v, _) => self.vector(v),
            Source::Memory(at) | Source::Splat(at) => self.pointer(at.p),
            Source::Bits(_) => {}
        }
    }

    fn pointer(&mut self, p: P) {
        self.pointers = self.pointers.max(p.0 as usize + 1);
    }

    fn vector(&mut self, v: V) {
        self.vectors.insert(v.0);
    }

    fn all(&mut self, vectors: &[V]) {
        vectors.iter().for_each(|&v| self.vector(v));
    }

    /// A mask register per partial lane count, as far as they go.
    fn lane_masks(&self, facts: &Facts) -> Vec<(u8, Mask)> {
        let partial = self.lanes.iter().copied().filter(|&l| u32::from(l) < facts.vector_bytes / 4);
        if facts.menu.masks { partial.zip(LANE_MASKS).collect() } else { Vec::new() }
    }
}

struct Select {
    asm: Assembler,
    length: Length,
    /// Whether bytes are picked from two vectors.
    pick8: bool,
    /// Lanes of a whole vector.
    lanes: u32,
    masks: Vec<(u8, Mask)>,
    /// A vector register that the kernel does not name.
    free: Option<Vector>,
    /// General registers taken by pointers; loop counters follow.
    pointers: usize,
}

fn vector(v: V) -> Vector {
    Vector::new(v.0)
}

fn general(p: P) -> Gpr {
    GENERALS[p.0 as usize]
}

fn mem(at: At) -> Mem {
    Mem::new(general(at.p), at.offset)
}

fn beyond(mem: Mem, bytes: i32) -> Mem {
    let disp = mem.disp.checked_add(bytes).expect("the verifier keeps offsets within a buffer");
    Mem { disp, ..mem }
}

// ------------------------------------------------------------------------------------- the function and its control flow
impl Select {
    fn function(&mut self, body: &[Stmt], args: usize, depth: usize) {
        let used = self.pointers + depth;
        assert!(used <= GENERALS.len(), "{used} general registers: the kernel was not verified");
        let restored = GENERALS.get(FREE..used).unwrap_or(&[]);
        restored.iter().for_each(|&r| self.asm.push(r));
        let on_stack = GENERALS.get(PASSED..args).unwrap_or(&[]);
        for (i, &pointer) in on_stack.iter().enumerate() {
            let place = 8 * (restored.len() + 1 + i);
            self.asm.mov(Width::W64, pointer, Mem::new(Gpr::RSP, place as i32));
        }
        for (lanes, mask) in self.masks.clone() {
            self.load_mask(mask, lanes);
        }
        self.block(body, 0);
        // Whoever runs next may use the old encodings, which stumble over dirty upper halves.
        self.asm.fixed(crate::encode::Fixed::Vzeroupper);
        self.asm.clear(Gpr::RAX);
        restored.iter().rev().for_each(|&r| self.asm.pop(r));
        self.asm.ret();
    }

    fn block(&mut self, body: &[Stmt], depth: usize) {
        body.iter().for_each(|stmt| self.stmt(stmt, depth));
    }

    fn repeat(&mut self, times: u32, body: &[Stmt], depth: usize) {
        if times == 1 {
            return self.block(body, depth);
        }
        let counter = GENERALS[self.pointers + depth];
        self.asm.load_immediate(counter, i64::from(times));
        // The innermost loop starts where the fetch unit starts.
        if !body.iter().any(|stmt| matches!(stmt, Stmt::Loop { .. })) {
            self.asm.align(32);
        }
        let top = self.asm.here();
        self.block(body, depth + 1);
        self.asm.unary(Step::Dec, Width::W32, counter);
        self.asm.jcc(Condition::Ne, top);
    }

    fn advance(&mut self, p: Gpr, mut by: i64) {
        while by != 0 {
            let step = by.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
            // 128 takes four bytes, -128 one.
            if step == 128 {
                self.asm.sub(p, -128);
            } else {
                self.asm.add(p, step);
            }
            by -= i64::from(step);
        }
    }

    fn point(&mut self, to: Gpr, from: Gpr, offset: i64) {
        match i32::try_from(offset) {
            _ if to == from => self.advance(to, offset),
            Ok(0) => self.asm.copy(to, from),
            Ok(offset) => self.asm.lea(to, Mem::new(from, offset)),
            Err(_) => {
                self.asm.load_immediate(to, offset);
                self.asm.add(to, from);
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------------------ statements
impl Select {
    fn stmt(&mut self, stmt: &Stmt, depth: usize) {
        match *stmt {
            Stmt::Loop { times, ref body } => self.repeat(times, body, depth),
            Stmt::Point { to, from, offset } => self.point(general(to), general(from), offset),
            Stmt::Advance { p, by } => self.advance(general(p), by),
            Stmt::Prefetch { at } => self.asm.prefetch(Prefetch::T1, mem(at)),
            Stmt::Set { to, bits: 0 } => self.zero(vector(to)),
            Stmt::Set { to, bits } => {
                let constant = self.asm.constant(&bits.to_le_bytes());
                self.asm.at(self.length).rm(&form::vbroadcastss, vector(to), constant);
            }
            Stmt::Copy { to, from } => self.asm.at(self.length).rm(&form::vmovaps, vector(to), vector(from)),
            Stmt::Load { to, at, lanes } => self.load(vector(to), mem(at), lanes),
            Stmt::Splat { to, at } => self.asm.at(self.length).rm(&form::vbroadcastss, vector(to), mem(at)),
            Stmt::LoadNarrow { to, at, lanes, kind } => self.load_narrow(vector(to), mem(at), lanes, kind),
            Stmt::SplatNarrow { to, at, kind } => self.splat_narrow(vector(to), mem(at), kind),
            Stmt::StoreNarrow { from, at, lanes, kind } => self.store_narrow(vector(from), mem(at), lanes, kind),
            Stmt::Gather { to, at, stride, lanes } => self.gather(vector(to), mem(at), stride, lanes),
            Stmt::Store { from, at, lanes } => self.store(vector(from), mem(at), lanes),
            Stmt::Scatter { from, at, stride, lanes } => self.scatter(vector(from), mem(at), stride, lanes),
            Stmt::LoadQuads { to, at, stride } => self.load_quads(vector(to), mem(at), stride),
            Stmt::StoreQuads { from, at, stride } => self.store_quads(vector(from), mem(at), stride),
            Stmt::MulAdd { acc, a, b, negate } => {
                let form = if negate { &form::vfnmadd231ps } else { &form::vfmadd231ps };
                self.three(form, acc, a, b);
            }
            Stmt::Dot4 { kind: Dot4::U8S8, acc, a, b } => self.three(&form::vpdpbusd, acc, a, b),
            Stmt::Dot4 { kind: Dot4::S8S8, .. } | Stmt::Matrix2x8 { .. } | Stmt::MulAdd8 { .. } | Stmt::PairAdd { .. } => {
                panic!("{stmt:?} is off the menu of x86-64")
            }
            Stmt::Horner { acc, x, c } => self.three(&form::vfmadd213ps, acc, x, c),
            Stmt::Unary { op, to, a } => self.unary(op, to, a),
            Stmt::Binary { op, to, a, b } => self.three(binary(op), to, a, b),
            Stmt::Select { to, cmp, x, y, a, b } => self.choose(to, cmp, x, y, a, b),
            Stmt::Lookup { to, a, table, temps } => self.look_up(vector(to), vector(a), mem(table), temps.map(vector)),
            Stmt::Fold { op, to, from, temp } => self.fold(binary(op), vector(to), vector(from), vector(temp)),
        }
    }

    fn three(&mut self, form: &Form, to: V, a: V, b: Source) {
        let b = match b {
            // what is broadcast is one lane, if the form takes such
            Source::Bits(bits) if form.tuple.element() != Some(4) => self.whole(bits),
            other => self.operand(other),
        };
        self.asm.at(self.length).rvm(form, vector(to), vector(a), b);
    }

    fn operand(&mut self, source: Source) -> Operand {
        match source {
            Source::V(v) => vector(v).into(),
            Source::Memory(at) => mem(at).into(),
            Source::Splat(at) => Operand::Broadcast(mem(at).into()),
            Source::Bits(bits) => self.bits(bits),
            Source::Lane(..) => panic!("a lane as operand is off the menu of x86-64"),
        }
    }

    /// `bits` in every lane: broadcast by the instruction itself where it can, else a whole vector in the pool.
    fn bits(&mut self, bits: u32) -> Operand {
        match self.asm.level() {
            Level::V4 => Operand::Broadcast(self.asm.constant(&bits.to_le_bytes()).into()),
            Level::V3 => self.whole(bits),
        }
    }

    /// A vector in the pool.
    fn whole(&mut self, bits: u32) -> Operand {
        self.asm.constant(&bits.to_le_bytes().repeat(self.lanes as usize)).into()
    }

    fn zero(&mut self, to: Vector) {
        // Clearing the low part clears all, and in a low register that is the shortest encoding.
        let length = if to.number() < 16 { Length::L128 } else { self.length };
        self.asm.at(length).rvm(&form::vxorps, to, to, to);
    }

    fn unary(&mut self, op: Unary, to: V, a: V) {
        let (to, a) = (vector(to), vector(a));
        let length = self.length;
        match op {
            Unary::Neg => {
                let sign = self.bits(SIGN);
                self.asm.at(length).rvm(&form::vxorps, to, a, sign);
            }
            Unary::Abs => {
                let rest = self.bits(!SIGN);
                self.asm.at(length).rvm(&form::vandps, to, a, rest);
            }
            Unary::Sqrt => self.asm.at(length).rm(&form::vsqrtps, to, a),
            Unary::Round => self.round(to, a, 0),
            Unary::Floor => self.round(to, a, 1),
            Unary::Ceil => self.round(to, a, 2),
            Unary::Trunc => self.round(to, a, 3),
            Unary::ToInt => self.asm.at(length).rm(&form::vcvttps2dq, to, a),
            Unary::FromInt => self.asm.at(length).rm(&form::vcvtdq2ps, to, a),
            Unary::Shl(bits) => self.asm.at(length).vmi(&form::vpslld, to, a, bits),
            Unary::Shr(bits) => self.asm.at(length).vmi(&form::vpsrld, to, a, bits),
            Unary::Sar(bits) => self.asm.at(length).vmi(&form::vpsrad, to, a, bits),
            Unary::Abs8 => self.asm.at(length).rm(&form::vpabsb, to, a),
            Unary::Negative8 => self.negative_bytes(to, a),
            Unary::Spread(_) | Unary::LowI8 | Unary::LowU8 => panic!("{op:?} is off the menu of x86-64"),
        }
    }

    fn negative_bytes(&mut self, to: Vector, a: Vector) {
        match self.asm.level() {
            // the sign bits to a mask, and each back to a whole byte
            Level::V4 => {
                self.asm.at(self.length).rm(&form::vpmovb2m, WORK, a);
                self.asm.at(self.length).rm(&form::vpmovm2b, to, WORK);
            }
            Level::V3 if to != a => {
                self.zero(to);
                self.asm.at(self.length).rvm(&form::vpcmpgtb, to, to, a);
            }
            Level::V3 => self.borrow(&[to], |select, free| {
                select.zero(free);
                select.asm.at(select.length).rvm(&form::vpcmpgtb, to, free, a);
            }),
        }
    }

    /// `mode` 0 nearest even, 1 down, 2 up, 3 toward zero.
    fn round(&mut self, to: Vector, a: Vector, mode: u8) {
        const WITHOUT_EXCEPTION: u8 = 8;
        let form = match self.asm.level() {
            Level::V3 => &form::vroundps,
            Level::V4 => &form::vrndscaleps,
        };
        self.asm.at(self.length).rmi(form, to, a, WITHOUT_EXCEPTION | mode);
    }

    /// A register that is none of `but` for what `body` needs it; its content is safe afterwards.
    fn borrow(&mut self, but: &[Vector], body: impl FnOnce(&mut Select, Vector)) {
        if let Some(free) = self.free {
            return body(self, free);
        }
        let other = (0..16).map(Vector::new).find(|v| !but.contains(v)).expect("no statement names sixteen registers");
        self.asm.lea(Gpr::RSP, Mem::new(Gpr::RSP, -SAVED_BYTES));
        self.asm.at(self.length).mr(&form::vmovups_store, SAVED, other);
        body(self, other);
        self.asm.at(self.length).rm(&form::vmovups, other, SAVED);
        self.asm.lea(Gpr::RSP, Mem::new(Gpr::RSP, SAVED_BYTES));
    }
}

/// The instruction of an operation on two vectors.
fn binary(op: Binary) -> &'static Form {
    match op {
        Binary::Add => &form::vaddps,
        Binary::Sub => &form::vsubps,
        Binary::Mul => &form::vmulps,
        Binary::Div => &form::vdivps,
        Binary::Min => &form::vminps,
        Binary::Max => &form::vmaxps,
        Binary::And => &form::vandps,
        Binary::Or => &form::vorps,
        Binary::Xor => &form::vxorps,
        Binary::AndNot => &form::vandnps,
        Binary::IAdd => &form::vpaddd,
        Binary::ISub => &form::vpsubd,
        Binary::IMul => &form::vpmulld,
        Binary::IMin => &form::vpminsd,
        Binary::IMax => &form::vpmaxsd,
        Binary::Add16 => &form::vpaddw,
        Binary::PairSat => &form::vpmaddubsw,
        Binary::Pair16 => &form::vpmaddwd,
        Binary::MaxU8 => &form::vpmaxub,
        Binary::MaxI8 => &form::vpmaxsb,
        Binary::ZipLow8 => &form::vpunpcklbw,
        Binary::ZipHigh8 => &form::vpunpckhbw,
        Binary::ZipLow16 => &form::vpunpcklwd,
        Binary::ZipHigh16 => &form::vpunpckhwd,
        Binary::PackI16 => &form::vpackssdw,
        Binary::PackU8 => &form::vpackuswb,
        Binary::PackI8 => &form::vpacksswb,
        Binary::LowHalves => &form::vunpcklpd,
        Binary::HighHalves => &form::vunpckhpd,
        Binary::LowLanes => &form::vunpcklps,
        Binary::HighLanes => &form::vunpckhps,
        Binary::MulLow8 | Binary::MulHigh8 | Binary::IAddPairs => panic!("{op:?} is off the menu of x86-64"),
    }
}

// ---------------------------------------------------------------------------------------------------- choice by comparison

/// The predicate of a float comparison; none raises an exception for a quiet NaN.
fn predicate(cmp: Compare) -> Option<u8> {
    match cmp {
        Compare::Eq => Some(0x00),
        Compare::Ne => Some(0x04),
        Compare::Lt => Some(0x11),
        Compare::Le => Some(0x12),
        Compare::Unordered => Some(0x03),
        Compare::IEq | Compare::ILt => None,
    }
}

impl Select {
    fn choose(&mut self, to: V, cmp: Compare, x: V, y: Source, a: V, b: V) {
        let (to, x, a, b) = (vector(to), vector(x), vector(a), vector(b));
        let by = match y {
            Source::V(v) | Source::Lane(v, _) => Some(vector(v)),
            Source::Memory(_) | Source::Splat(_) | Source::Bits(_) => None,
        };
        let y = self.operand(y);
        match self.asm.level() {
            Level::V4 => self.choose_by_mask(to, cmp, x, y, a, b),
            // The comparison may lie in the destination unless that is still needed.
            Level::V3 if to != a && to != b && to != x => self.choose_by_vector(to, to, cmp, x, y, a, b),
            Level::V3 => {
                let named: Vec<_> = [to, x, a, b].into_iter().chain(by).collect();
                self.borrow(&named, |select, free| select.choose_by_vector(free, to, cmp, x, y, a, b));
            }
        }
    }

    fn choose_by_mask(&mut self, to: Vector, cmp: Compare, x: Vector, y: Operand, a: Vector, b: Vector) {
        let at = self.asm.at(self.length);
        match (predicate(cmp), cmp) {
            (Some(predicate), _) => at.rvmi(&form::vcmpps_k, WORK, x, y, predicate),
            (None, Compare::IEq) => at.rvmi(&form::vpcmpd, WORK, x, y, 0),
            (None, _) => at.rvmi(&form::vpcmpd, WORK, x, y, 1),
        }
        self.asm.at(self.length).merging(WORK).rvm(&form::vblendmps, to, b, a);
    }

    #[expect(clippy::too_many_arguments, reason = "the statement's six and where the comparison may lie")]
    fn choose_by_vector(&mut self, mask: Vector, to: Vector, cmp: Compare, x: Vector, y: Operand, a: Vector, b: Vector) {
        let length = self.length;
        match (predicate(cmp), cmp, y) {
            (Some(predicate), ..) => self.asm.at(length).rvmi(&form::vcmpps, mask, x, y, predicate),
            (None, Compare::IEq, _) => self.asm.at(length).rvm(&form::vpcmpeqd, mask, x, y),
            // There is only "greater", so the sides change places, and memory must first become a register.
            (None, _, Operand::Reg(y)) => self.asm.at(length).rvm(&form::vpcmpgtd, mask, y, x),
            (None, ..) => {
                self.asm.at(length).rm(&form::vmovups, mask, y);
                self.asm.at(length).rvm(&form::vpcmpgtd, mask, mask, x);
            }
        }
        self.asm.at(length).rvmr(&form::vblendvps, to, b, a, mask);
    }
}

// --------------------------------------------------------------------------------------------- memory, whole and in part
impl Select {
    fn load(&mut self, to: Vector, from: Mem, lanes: u8) {
        match lanes {
            0 => self.zero(to),
            lanes if u32::from(lanes) == self.lanes => self.asm.at(self.length).rm(&form::vmovups, to, from),
            // The parts of a narrow load are cheaper than its mask, and clear what lies above.
            1 => self.asm.at(Length::L128).rm(&form::vmovss, to, from),
            4 => self.asm.at(Length::L128).rm(&form::vmovups, to, from),
            8 => self.asm.at(Length::L256).rm(&form::vmovups, to, from),
            lanes => match self.asm.level() {
                Level::V4 => {
                    let mask = self.mask(lanes);
                    self.asm.at(self.length).zeroing(mask).rm(&form::vmovups, to, from);
                }
                Level::V3 => self.load_parts(to, from, lanes),
            },
        }
    }

    /// Without masks: the upper half first, because writing the lower one clears what is above it.
    fn load_parts(&mut self, to: Vector, from: Mem, lanes: u8) {
        if lanes <= 4 {
            return self.load_quarter(to, from, lanes);
        }
        self.load_quarter(to, beyond(from, 16), lanes - 4);
        self.asm.at(Length::L256).rvmi(&form::vinsertf128, to, to, to, 1);
        self.asm.at(Length::L256).rvmi(&form::vinsertf128, to, to, from, 0);
    }

    /// One to four lanes; the others become 0.
    fn load_quarter(&mut self, to: Vector, from: Mem, lanes: u8) {
        let at = self.asm.at(Length::L128);
        match lanes {
            1 => at.rm(&form::vmovss, to, from),
            2 => at.rm(&form::vmovsd, to, from),
            3 => {
                at.rm(&form::vmovsd, to, from);
                self.asm.at(Length::L128).rvmi(&form::vpinsrd, to, to, beyond(from, 8), 2);
            }
            4 => at.rm(&form::vmovups, to, from),
            other => panic!("{other} lanes of four"),
        }
    }

    fn store(&mut self, from: Vector, to: Mem, lanes: u8) {
        match lanes {
            0 => {}
            lanes if u32::from(lanes) == self.lanes => self.asm.at(self.length).mr(&form::vmovups_store, to, from),
            1 => self.asm.at(Length::L128).mr(&form::vmovss_store, to, from),
            4 => self.asm.at(Length::L128).mr(&form::vmovups_store, to, from),
            8 => self.asm.at(Length::L256).mr(&form::vmovups_store, to, from),
            lanes => match self.asm.level() {
                Level::V4 => {
                    let mask = self.mask(lanes);
                    self.asm.at(self.length).merging(mask).mr(&form::vmovups_store, to, from);
                }
                Level::V3 => self.store_parts(from, to, lanes),
            },
        }
    }

    /// Without masks, and without `vmaskmovps`, which takes a register and tens of cycles on some machines.
    fn store_parts(&mut self, from: Vector, to: Mem, lanes: u8) {
        self.store_quarter(from, to, lanes.min(4));
        if lanes > 4 {
            self.borrow(&[from], |select, high| {
                select.asm.at(Length::L256).mri(&form::vextractf128, high, from, 1);
                select.store_quarter(high, beyond(to, 16), lanes - 4);
            });
        }
    }

    fn store_quarter(&mut self, from: Vector, to: Mem, lanes: u8) {
        let at = self.asm.at(Length::L128);
        match lanes {
            1 => at.mr(&form::vmovss_store, to, from),
            2 => at.mr(&form::vmovsd_store, to, from),
            3 => {
                at.mr(&form::vmovsd_store, to, from);
                self.asm.at(Length::L128).mri(&form::vpextrd, beyond(to, 8), from, 2);
            }
            4 => at.mr(&form::vmovups_store, to, from),
            other => panic!("{other} lanes of four"),
        }
    }

    fn mask(&mut self, lanes: u8) -> Mask {
        if let Some(&(_, mask)) = self.masks.iter().find(|(l, _)| *l == lanes) {
            return mask;
        }
        self.load_mask(WORK, lanes);
        WORK
    }

    fn load_mask(&mut self, mask: Mask, lanes: u8) {
        let bits = (1u16 << lanes) - 1;
        let constant = self.asm.constant(&bits.to_le_bytes());
        self.asm.at(Length::L128).rm(&form::kmovw_load, mask, constant);
    }

    fn gather(&mut self, to: Vector, from: Mem, stride: i32, lanes: u8) {
        if lanes == 0 {
            return self.zero(to);
        }
        self.gather_quarter(to, from, stride, lanes.min(4));
        if lanes > 4 {
            self.borrow(&[to], |select, part| {
                for quarter in 1..lanes.div_ceil(4) {
                    let from = beyond(from, 4 * i32::from(quarter) * stride);
                    select.gather_quarter(part, from, stride, (lanes - 4 * quarter).min(4));
                    select.insert(to, part, quarter);
                }
            });
        }
    }

    fn gather_quarter(&mut self, to: Vector, from: Mem, stride: i32, lanes: u8) {
        self.asm.at(Length::L128).rm(&form::vmovss, to, from);
        for lane in 1..lanes {
            let from = beyond(from, i32::from(lane) * stride);
            self.asm.at(Length::L128).rvmi(&form::vpinsrd, to, to, from, lane);
        }
    }

    fn scatter(&mut self, from: Vector, to: Mem, stride: i32, lanes: u8) {
        if lanes > 0 {
            self.scatter_quarter(from, to, stride, lanes.min(4));
        }
        if lanes > 4 {
            self.borrow(&[from], |select, part| {
                for quarter in 1..lanes.div_ceil(4) {
                    select.extract(part, from, quarter);
                    let to = beyond(to, 4 * i32::from(quarter) * stride);
                    select.scatter_quarter(part, to, stride, (lanes - 4 * quarter).min(4));
                }
            });
        }
    }

    fn scatter_quarter(&mut self, from: Vector, to: Mem, stride: i32, lanes: u8) {
        self.asm.at(Length::L128).mr(&form::vmovss_store, to, from);
        for lane in 1..lanes {
            let to = beyond(to, i32::from(lane) * stride);
            self.asm.at(Length::L128).mri(&form::vpextrd, to, from, lane);
        }
    }

    fn load_quads(&mut self, to: Vector, from: Mem, stride: i32) {
        self.asm.at(Length::L128).rm(&form::vmovups, to, from);
        for quad in 1..self.lanes as u8 / 4 {
            self.insert(to, beyond(from, i32::from(quad) * stride), quad);
        }
    }

    fn store_quads(&mut self, from: Vector, to: Mem, stride: i32) {
        self.asm.at(Length::L128).mr(&form::vmovups_store, to, from);
        for quad in 1..self.lanes as u8 / 4 {
            self.extract(beyond(to, i32::from(quad) * stride), from, quad);
        }
    }

    /// Quarter `index` (16 bytes) of `from` to the lowest of `to`.
    fn extract(&mut self, to: impl Into<Operand>, from: Vector, index: u8) {
        match self.asm.level() {
            Level::V3 => self.asm.at(Length::L256).mri(&form::vextractf128, to, from, index),
            Level::V4 => self.asm.at(self.length).mri(&form::vextractf32x4, to, from, index),
        }
    }

    /// The lowest quarter of `from` to quarter `index` of `to`.
    fn insert(&mut self, to: Vector, from: impl Into<Operand>, index: u8) {
        match self.asm.level() {
            Level::V3 => self.asm.at(Length::L256).rvmi(&form::vinsertf128, to, to, from, index),
            Level::V4 => self.asm.at(self.length).rvmi(&form::vinsertf32x4, to, to, from, index),
        }
    }
}

// ------------------------------------------------------------------------------------------------------ folding the lanes
impl Select {
    fn fold(&mut self, form: &Form, to: Vector, from: Vector, temp: Vector) {
        assert!(temp != from && temp != to, "the temporary of a fold is a register of its own");
        let mut from = from;
        if self.length == Length::L512 {
            self.asm.at(Length::L512).mri(&form::vextractf64x4, temp, from, 1);
            self.asm.at(Length::L256).rvm(form, to, from, temp);
            from = to;
        }
        if self.length >= Length::L256 {
            match self.asm.level() {
                Level::V3 => self.asm.at(Length::L256).mri(&form::vextractf128, temp, from, 1),
                Level::V4 => self.asm.at(Length::L256).mri(&form::vextractf32x4, temp, from, 1),
            }
            self.asm.at(Length::L128).rvm(form, to, from, temp);
            from = to;
        }
        self.asm.at(Length::L128).rvm(&form::vmovhlps, temp, from, from);
        self.asm.at(Length::L128).rvm(form, to, from, temp);
        self.asm.at(Length::L128).rm(&form::vmovshdup, temp, to);
        self.asm.at(Length::L128).rvm(form, to, to, temp);
        self.asm.at(self.length).rm(&form::vbroadcastss, to, to);
    }
}
