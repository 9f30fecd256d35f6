//! Tile kernels to instructions: vectors are `v128` locals, pointers `i32` locals, each statement a short run of
//! instructions in its order. It plans nothing; the engine that runs the module finds registers.
//!
//! Where Facts say that a multiply-add rounds once, the instruction is relaxed SIMD's, and so are the others that are
//! shorter there and give the same.

use std::collections::BTreeMap;

use ir::kernel::tile::{At, Binary, Compare, Narrow, Operand, P, Stmt, TileKernel, Unary, V};
use ir::kernel::{Arg, Facts};
use wasm_encoder::{InstructionSink, ValType};

use crate::encode::{Body, Local, memarg};
use crate::reach::{Reach, reach};

/// Elements are of four bytes, and promise no more.
const ALIGN: u32 = 2;

/// A constant that is used more often than this in a kernel is kept in a local.
const FEW: usize = 2;

/// A compiled tile kernel: a function of its pointers that returns nothing.
#[derive(Debug)]
pub struct Tile {
    /// As it stands in the code section.
    pub code: Vec<u8>,
    /// Bytes of memory that must lie below what its arguments declare.
    pub below: u64,
}

/// `kernel` for the level that `facts` describe. Fault: none for a verified kernel.
pub fn compile(kernel: &TileKernel, args: &[Arg], facts: &Facts) -> Tile {
    assert_eq!(facts.vector_bytes, 16, "vectors of WebAssembly have 16 bytes");
    let reach = reach(kernel, args);
    let below = reach.below;
    let body = Body::new(args.len());
    let pointers = (0..args.len()).map(|i| (P(i as u8), body.param(i))).collect();
    let moves = BTreeMap::new();
    let mut select = Select { body, relaxed: facts.fused, reach, pointers, vectors: BTreeMap::new(), constants: BTreeMap::new(), moves };
    for i in 0..args.len() {
        let p = P(i as u8);
        select.advance(p, select.bias(p));
    }
    select.keep_constants(&kernel.body);
    select.block(&kernel.body);
    Tile { code: select.body.finish(), below }
}

struct Select {
    body: Body,
    relaxed: bool,
    reach: Reach,
    pointers: BTreeMap<P, Local>,
    vectors: BTreeMap<V, Local>,
    /// Constants that have a local.
    constants: BTreeMap<u32, Local>,
    /// What a pointer is still to be moved by. Moves that meet become one, and those that nobody sees are never made.
    moves: BTreeMap<P, i64>,
}

// ------------------------------------------------------------------------------------------------- pointers, control flow
impl Select {
    fn bias(&self, p: P) -> i64 {
        self.reach.bias[p.0 as usize].into()
    }

    fn used(&self, p: P) -> bool {
        self.reach.used[p.0 as usize]
    }

    fn pointer(&mut self, p: P) -> Local {
        let body = &mut self.body;
        *self.pointers.entry(p).or_insert_with(|| body.local(ValType::I32))
    }

    fn vector(&mut self, v: V) -> Local {
        let body = &mut self.body;
        *self.vectors.entry(v).or_insert_with(|| body.local(ValType::V128))
    }

    fn advance(&mut self, p: P, by: i64) {
        if self.used(p) && by != 0 {
            *self.moves.entry(p).or_insert(0) += by;
        }
    }

    /// Makes the moves of a pointer that are due.
    fn settle(&mut self, p: P) {
        if let Some(by) = self.moves.remove(&p) {
            let local = self.pointer(p);
            self.body.advance(local, by);
        }
    }

    fn settle_all(&mut self) {
        while let Some((&p, _)) = self.moves.first_key_value() {
            self.settle(p);
        }
    }

    fn point(&mut self, to: P, from: P, offset: i64) {
        if !self.used(to) {
            return;
        }
        self.settle(from);
        let by = offset + self.bias(to) - self.bias(from);
        if to == from {
            return self.advance(to, offset);
        }
        self.moves.remove(&to);
        let (to, from) = (self.pointer(to), self.pointer(from));
        self.body.get(from);
        if by as i32 != 0 {
            self.body.ins().i32_const(by as i32).i32_add();
        }
        self.body.set(to);
    }

    fn block(&mut self, body: &[Stmt]) {
        let mut rest = body;
        while let [stmt, behind @ ..] = rest {
            rest = behind;
            match behind.split_first().and_then(|(next, behind)| Some((long_load(stmt, next)?, behind))) {
                Some(((to, at, signed), behind)) => {
                    self.load_long(to, at, signed);
                    rest = behind;
                }
                None => self.stmt(stmt),
            }
        }
    }

    fn repeat(&mut self, times: u32, body: &[Stmt]) {
        if times == 1 {
            return self.block(body);
        }
        self.settle_all();
        let counter = self.body.open_loop(times);
        self.block(body);
        self.settle_all();
        self.body.close_loop(counter);
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match *stmt {
            Stmt::Loop { times, ref body } => self.repeat(times, body),
            Stmt::Point { to, from, offset } => self.point(to, from, offset),
            Stmt::Advance { p, by } => self.advance(p, by),
            // there is no such instruction
            Stmt::Prefetch { at: _ } => {}
            Stmt::Set { to, bits } => {
                self.constant(bits);
                self.set(to);
            }
            Stmt::Copy { to, from } => {
                self.get(from);
                self.set(to);
            }
            Stmt::Load { to, at, lanes } => {
                self.load(at, lanes);
                self.set(to);
            }
            Stmt::Splat { to, at } => {
                self.operand(Operand::Splat(at));
                self.set(to);
            }
            Stmt::LoadNarrow { to, at, lanes, kind } => {
                self.load_narrow(at, lanes, kind);
                self.set(to);
            }
            Stmt::SplatNarrow { to, at, kind } => {
                let place = memarg(self.address(at, 0), 0);
                match kind.bytes() {
                    1 => self.body.ins().v128_load8_splat(place),
                    _ => self.body.ins().v128_load16_splat(place),
                };
                widen(self.body.ins(), kind);
                self.set(to);
            }
            Stmt::StoreNarrow { from, at, lanes, kind } => self.store_narrow(from, at, lanes, kind),
            Stmt::Gather { to, at, stride, lanes } => self.gather(to, at, stride, lanes),
            Stmt::Store { from, at, lanes } => self.store(from, at, lanes),
            Stmt::Scatter { from, at, stride, lanes } => (0..lanes).for_each(|lane| self.store_lane(from, at, stride, lane)),
            // a vector is four lanes
            Stmt::LoadQuads { to, at, stride: _ } => {
                self.load(at, 4);
                self.set(to);
            }
            Stmt::StoreQuads { from, at, stride: _ } => self.store(from, at, 4),
            Stmt::MulAdd { acc, a, b, negate } => self.mul_add(acc, a, b, negate),
            Stmt::Dot4 { .. } | Stmt::Matrix2x8 { .. } | Stmt::MulAdd8 { .. } | Stmt::PairAdd { .. } => {
                panic!("{stmt:?} is off the menu of WebAssembly")
            }
            Stmt::Horner { acc, x, c } => self.horner(acc, x, c),
            Stmt::Unary { op, to, a } => {
                self.get(a);
                unary(self.body.ins(), op, self.relaxed);
                self.set(to);
            }
            Stmt::Binary { op, to, a, b } => self.binary(op, to, a, b),
            Stmt::Select { to, cmp, x, y, a, b } => {
                self.get(a);
                self.get(b);
                self.compare(cmp, x, y);
                // either takes whole lanes by masks that are all ones or all zeros
                if self.relaxed {
                    self.body.ins().i32x4_relaxed_laneselect();
                } else {
                    self.body.ins().v128_bitselect();
                }
                self.set(to);
            }
            // `temp` may hold anything afterwards, also what it held
            Stmt::Lookup { to, a, table, temps: [left, _] } => self.look_up(to, a, table, left),
            Stmt::Fold { op, to, from, temp: _ } => self.fold(op, to, from),
        }
    }
}

// ----------------------------------------------------------------------------------------------------------------- values
impl Select {
    fn get(&mut self, v: V) {
        let local = self.vector(v);
        self.body.get(local);
    }

    fn set(&mut self, v: V) {
        let local = self.vector(v);
        self.body.set(local);
    }

    /// Gives a local to each constant that is used often.
    fn keep_constants(&mut self, body: &[Stmt]) {
        let mut uses = BTreeMap::new();
        count_constants(body, &mut uses);
        for (bits, uses) in uses {
            if uses > FEW {
                let local = self.body.local(ValType::V128);
                self.body.lanes(bits);
                self.body.set(local);
                self.constants.insert(bits, local);
            }
        }
    }

    fn constant(&mut self, bits: u32) {
        match self.constants.get(&bits) {
            Some(&local) => self.body.get(local),
            None => self.body.lanes(bits),
        }
    }

    /// Pushes the pointer of `at`; returns the displacement from there, `more` bytes further.
    fn address(&mut self, at: At, more: i32) -> u32 {
        self.settle(at.p);
        let offset = i64::from(at.offset) + i64::from(more) - self.bias(at.p);
        let local = self.pointer(at.p);
        self.body.get(local);
        u32::try_from(offset).expect("the bias is the lowest displacement")
    }

    fn operand(&mut self, operand: Operand) {
        match operand {
            Operand::V(v) => self.get(v),
            Operand::Memory(at) => self.load(at, 4),
            Operand::Splat(at) => {
                let offset = self.address(at, 0);
                self.body.ins().v128_load32_splat(memarg(offset, ALIGN));
            }
            Operand::Bits(bits) => self.constant(bits),
            Operand::Lane(..) => panic!("a lane as operand is off the menu of WebAssembly"),
        }
    }

    fn mul_add(&mut self, acc: V, a: V, b: Operand, negate: bool) {
        if self.relaxed {
            self.get(a);
            self.operand(b);
            self.get(acc);
            if negate {
                self.body.ins().f32x4_relaxed_nmadd();
            } else {
                self.body.ins().f32x4_relaxed_madd();
            }
        } else {
            self.get(acc);
            self.get(a);
            self.operand(b);
            self.body.ins().f32x4_mul();
            if negate {
                self.body.ins().f32x4_sub();
            } else {
                self.body.ins().f32x4_add();
            }
        }
        self.set(acc);
    }

    fn horner(&mut self, acc: V, x: V, c: Operand) {
        self.get(acc);
        self.get(x);
        if self.relaxed {
            self.operand(c);
            self.body.ins().f32x4_relaxed_madd();
        } else {
            self.body.ins().f32x4_mul();
            self.operand(c);
            self.body.ins().f32x4_add();
        }
        self.set(acc);
    }

    fn binary(&mut self, op: Binary, to: V, a: V, b: Operand) {
        if op == Binary::IAddPairs {
            // the first of each pair, then the second
            for first in [0, 4] {
                self.get(a);
                self.operand(b);
                self.body.ins().i8x16_shuffle(std::array::from_fn(|i| (i / 4 * 8 + first + i % 4) as u8));
            }
            self.body.ins().i32x4_add();
            return self.set(to);
        }
        if swapped(op) {
            self.operand(b);
            self.get(a);
        } else {
            self.get(a);
            self.operand(b);
        }
        binary(self.body.ins(), op);
        self.set(to);
    }

    /// Pushes a mask.
    fn compare(&mut self, cmp: Compare, x: V, y: Operand) {
        if cmp == Compare::Unordered {
            self.get(x);
            self.get(x);
            self.body.ins().f32x4_ne();
            if matches!(y, Operand::Bits(bits) if !f32::from_bits(bits).is_nan()) {
                return;
            }
            self.operand(y);
            self.operand(y);
            self.body.ins().f32x4_ne().v128_or();
            return;
        }
        self.get(x);
        self.operand(y);
        let mut ins = self.body.ins();
        match cmp {
            Compare::Eq => ins.f32x4_eq(),
            Compare::Ne => ins.f32x4_ne(),
            Compare::Lt => ins.f32x4_lt(),
            Compare::Le => ins.f32x4_le(),
            Compare::IEq => ins.i32x4_eq(),
            Compare::ILt => ins.i32x4_lt_s(),
            Compare::Unordered => unreachable!("it was done above"),
        };
    }

    fn fold(&mut self, op: Binary, to: V, from: V) {
        const UPPER_HALF: [u8; 16] = [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7];
        const NEIGHBOUR: [u8; 16] = [4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11];
        let mut from = self.vector(from);
        let to = self.vector(to);
        for order in [UPPER_HALF, NEIGHBOUR] {
            if !swapped(op) {
                self.body.get(from);
            }
            self.body.get(from);
            self.body.get(from);
            self.body.ins().i8x16_shuffle(order);
            if swapped(op) {
                self.body.get(from);
            }
            binary(self.body.ins(), op);
            self.body.set(to);
            from = to;
        }
        // a sum is the same from either side; a minimum of equals is not
        if op != Binary::Add {
            self.body.take(to);
            self.body.ins().f32x4_extract_lane(0).f32x4_splat();
            self.body.set(to);
        }
    }
}

// ----------------------------------------------------------------------------------------------------------------- memory
impl Select {
    /// Pushes the first lanes, the others 0.
    fn load(&mut self, at: At, lanes: u8) {
        match lanes {
            0 => self.body.lanes(0),
            1 => {
                let offset = self.address(at, 0);
                self.body.ins().v128_load32_zero(memarg(offset, ALIGN));
            }
            2 => {
                let offset = self.address(at, 0);
                self.body.ins().v128_load64_zero(memarg(offset, ALIGN));
            }
            3 => {
                let third = self.address(at, 8);
                let offset = self.address(at, 0);
                self.body.ins().v128_load64_zero(memarg(offset, ALIGN)).v128_load32_lane(memarg(third, ALIGN), 2);
            }
            4 => {
                let offset = self.address(at, 0);
                self.body.ins().v128_load(memarg(offset, ALIGN));
            }
            other => panic!("{other} lanes of four"),
        }
    }

    /// Eight bytes, each widened to 16 bits.
    fn load_long(&mut self, to: V, at: At, signed: bool) {
        let place = memarg(self.address(at, 0), 0);
        if signed {
            self.body.ins().v128_load8x8_s(place);
        } else {
            self.body.ins().v128_load8x8_u(place);
        }
        self.set(to);
    }

    fn gather(&mut self, to: V, at: At, stride: i32, lanes: u8) {
        if lanes == 0 {
            self.body.lanes(0);
            return self.set(to);
        }
        // the addresses of the lanes lie on the stack, the last at the bottom
        let offsets: Vec<u32> = (0..lanes).rev().map(|lane| self.address(at, stride * i32::from(lane))).collect();
        for (lane, offset) in offsets.into_iter().rev().enumerate() {
            let place = memarg(offset, ALIGN);
            if lane == 0 {
                self.body.ins().v128_load32_zero(place);
            } else {
                self.body.ins().v128_load32_lane(place, lane as u8);
            }
        }
        self.set(to);
    }

    fn store(&mut self, from: V, at: At, lanes: u8) {
        match lanes {
            0 => {}
            1 => self.store_lane(from, at, 0, 0),
            2 | 3 => {
                let offset = self.address(at, 0);
                self.get(from);
                self.body.ins().v128_store64_lane(memarg(offset, ALIGN), 0);
                if lanes == 3 {
                    self.store_lane(from, at, 4, 2);
                }
            }
            4 => {
                let offset = self.address(at, 0);
                self.get(from);
                self.body.ins().v128_store(memarg(offset, ALIGN));
            }
            other => panic!("{other} lanes of four"),
        }
    }

    fn store_lane(&mut self, from: V, at: At, stride: i32, lane: u8) {
        let offset = self.address(at, stride * i32::from(lane));
        self.get(from);
        self.body.ins().v128_store32_lane(memarg(offset, ALIGN), lane);
    }
}

// ---------------------------------------------------------------------------------------------------------- narrow elements
impl Select {
    /// Pushes the first elements, each in its lane, the others 0.
    fn load_narrow(&mut self, at: At, lanes: u8, kind: Narrow) {
        self.load_bytes(at, lanes * kind.bytes());
        widen(self.body.ins(), kind);
    }

    /// Pushes the first bytes, up to eight, the others 0.
    fn load_bytes(&mut self, at: At, bytes: u8) {
        let first = match bytes {
            0 => return self.body.lanes(0),
            1 => 1,
            2 | 3 => 2,
            4..8 => 4,
            _ => 8,
        };
        // addresses lie on the stack below the vector, the last at the bottom
        let mut pieces = Vec::new();
        let mut done = first;
        for width in [2, 1] {
            if bytes - done >= width {
                pieces.push((width, done));
                done += width;
            }
        }
        let places: Vec<_> = pieces.into_iter().rev().map(|(width, from)| (width, from, self.address(at, from.into()))).collect();
        let offset = memarg(self.address(at, 0), 0);
        if first < 4 {
            self.body.lanes(0);
        }
        match first {
            8 => self.body.ins().v128_load64_zero(offset),
            4 => self.body.ins().v128_load32_zero(offset),
            2 => self.body.ins().v128_load16_lane(offset, 0),
            _ => self.body.ins().v128_load8_lane(offset, 0),
        };
        for (width, from, offset) in places.into_iter().rev() {
            match width {
                1 => self.body.ins().v128_load8_lane(memarg(offset, 0), from),
                _ => self.body.ins().v128_load16_lane(memarg(offset, 0), from / 2),
            };
        }
    }

    /// Sixteen bytes of the table at a time; what a byte counts beyond them picks nothing.
    fn look_up(&mut self, to: V, a: V, table: At, left: V) {
        for part in 0..16 {
            if part > 0 {
                self.get(to);
            }
            self.load(At { offset: table.offset + 16 * part, ..table }, 4);
            if part == 0 {
                self.get(a);
            } else {
                self.get(if part == 1 { a } else { left });
                self.body.ins().i32_const(16).i8x16_splat().i8x16_sub();
                self.set(left);
                self.get(left);
            }
            self.body.ins().i8x16_swizzle();
            if part > 0 {
                self.body.ins().v128_or();
            }
            self.set(to);
        }
    }

    fn store_narrow(&mut self, from: V, at: At, lanes: u8, kind: Narrow) {
        let bytes = lanes * kind.bytes();
        let packed = self.body.local(ValType::V128);
        self.get(from);
        self.get(from);
        // what is stored fits, so that to saturate changes nothing
        match kind {
            Narrow::U8 => self.body.ins().i16x8_narrow_i32x4_s(),
            Narrow::I8 => self.body.ins().i16x8_narrow_i32x4_s(),
            Narrow::U16 => self.body.ins().i16x8_narrow_i32x4_u(),
            Narrow::I16 => self.body.ins().i16x8_narrow_i32x4_s(),
        };
        self.body.set(packed);
        if kind.bytes() == 1 {
            self.body.get(packed);
            self.body.get(packed);
            if kind.signed() {
                self.body.ins().i8x16_narrow_i16x8_s();
            } else {
                self.body.ins().i8x16_narrow_i16x8_u();
            }
            self.body.set(packed);
        }
        let mut done = 0;
        for width in [8, 4, 2, 1] {
            if bytes - done >= width {
                let place = memarg(self.address(at, done.into()), 0);
                self.body.get(packed);
                let lane = done / width;
                match width {
                    8 => self.body.ins().v128_store64_lane(place, lane),
                    4 => self.body.ins().v128_store32_lane(place, lane),
                    2 => self.body.ins().v128_store16_lane(place, lane),
                    _ => self.body.ins().v128_store8_lane(place, lane),
                };
                done += width;
            }
        }
        self.body.give_back(packed);
    }
}

/// Widens the low elements of the vector on the stack to lanes of 32 bits.
fn widen(mut ins: InstructionSink, kind: Narrow) {
    match kind {
        Narrow::U8 => ins.i16x8_extend_low_i8x16_u().i32x4_extend_low_i16x8_u(),
        Narrow::I8 => ins.i16x8_extend_low_i8x16_s().i32x4_extend_low_i16x8_s(),
        Narrow::U16 => ins.i32x4_extend_low_i16x8_u(),
        Narrow::I16 => ins.i32x4_extend_low_i16x8_s(),
    };
}

// ------------------------------------------------------------------------------------------------------------- operations

/// Eight bytes that are loaded only to be widened, which is one instruction: to, from, whether they have a sign.
fn long_load(load: &Stmt, widen: &Stmt) -> Option<(V, At, bool)> {
    match (load, widen) {
        (Stmt::Load { to, at, lanes: 2 }, Stmt::Unary { op, to: widened, a }) if to == a && to == widened => match op {
            Unary::LowI8 => Some((*to, *at, true)),
            Unary::LowU8 => Some((*to, *at, false)),
            _ => None,
        },
        _ => None,
    }
}

fn count_constants(body: &[Stmt], uses: &mut BTreeMap<u32, usize>) {
    for stmt in body {
        let bits = match *stmt {
            Stmt::Loop { times: _, ref body } => {
                count_constants(body, uses);
                None
            }
            Stmt::Set { to: _, bits } => Some(bits),
            Stmt::MulAdd { acc: _, a: _, b: operand, negate: _ }
            | Stmt::Horner { acc: _, x: _, c: operand }
            | Stmt::Dot4 { kind: _, acc: _, a: _, b: operand }
            | Stmt::Binary { op: _, to: _, a: _, b: operand }
            | Stmt::Select { to: _, cmp: _, x: _, y: operand, a: _, b: _ } => match operand {
                Operand::Bits(bits) => Some(bits),
                Operand::V(_) | Operand::Memory(_) | Operand::Splat(_) | Operand::Lane(..) => None,
            },
            Stmt::Point { .. } | Stmt::Advance { .. } | Stmt::Prefetch { .. } | Stmt::Copy { .. } | Stmt::Load { .. } => None,
            Stmt::Splat { .. } | Stmt::Gather { .. } | Stmt::Store { .. } | Stmt::Scatter { .. } => None,
            Stmt::LoadNarrow { .. } | Stmt::SplatNarrow { .. } | Stmt::StoreNarrow { .. } => None,
            Stmt::LoadQuads { .. } | Stmt::StoreQuads { .. } => None,
            Stmt::Matrix2x8 { .. } | Stmt::MulAdd8 { .. } | Stmt::PairAdd { .. } => None,
            Stmt::Unary { .. } | Stmt::Fold { .. } | Stmt::Lookup { .. } => None,
        };
        if let Some(bits) = bits {
            *uses.entry(bits).or_insert(0) += 1;
        }
    }
}

fn unary(mut ins: InstructionSink, op: Unary, relaxed: bool) {
    match op {
        Unary::Neg => ins.f32x4_neg(),
        Unary::Abs => ins.f32x4_abs(),
        Unary::Sqrt => ins.f32x4_sqrt(),
        Unary::Floor => ins.f32x4_floor(),
        Unary::Ceil => ins.f32x4_ceil(),
        Unary::Trunc => ins.f32x4_trunc(),
        Unary::Round => ins.f32x4_nearest(),
        // what does not fit is nobody's concern
        Unary::ToInt if relaxed => ins.i32x4_relaxed_trunc_f32x4_s(),
        Unary::ToInt => ins.i32x4_trunc_sat_f32x4_s(),
        Unary::FromInt => ins.f32x4_convert_i32x4_s(),
        Unary::Shl(bits) => ins.i32_const(bits.into()).i32x4_shl(),
        Unary::Shr(bits) => ins.i32_const(bits.into()).i32x4_shr_u(),
        Unary::Sar(bits) => ins.i32_const(bits.into()).i32x4_shr_s(),
        Unary::Spread(_) => panic!("a lane as operand is off the menu of WebAssembly"),
        Unary::LowI8 => ins.i16x8_extend_low_i8x16_s(),
        Unary::LowU8 => ins.i16x8_extend_low_i8x16_u(),
        Unary::Abs8 => ins.i8x16_abs(),
        Unary::Negative8 => ins.i32_const(7).i8x16_shr_s(),
    };
}

/// Whether the instruction takes the second operand first.
fn swapped(op: Binary) -> bool {
    match op {
        // `pmin(b, a)` is `a < b ? a : b`
        Binary::Min | Binary::Max => true,
        // `andnot(b, a)` is `b & !a`
        Binary::AndNot => true,
        Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::And | Binary::Or | Binary::Xor => false,
        Binary::IAdd | Binary::ISub | Binary::IMul | Binary::IMin | Binary::IMax => false,
        Binary::Add16 | Binary::PairSat | Binary::Pair16 | Binary::MulLow8 | Binary::MulHigh8 => false,
        Binary::IAddPairs | Binary::LowHalves | Binary::HighHalves | Binary::LowLanes | Binary::HighLanes => false,
        Binary::MaxU8 | Binary::MaxI8 | Binary::ZipLow8 | Binary::ZipHigh8 | Binary::ZipLow16 | Binary::ZipHigh16 => false,
        Binary::PackI16 | Binary::PackU8 | Binary::PackI8 => false,
    }
}

/// Elements of `width` bytes of two vectors by turns, from byte `first` on.
fn zip(width: usize, first: usize) -> [u8; 16] {
    std::array::from_fn(|i| {
        let element = i / width;
        (element % 2 * 16 + first + element / 2 * width + i % width) as u8
    })
}

fn binary(mut ins: InstructionSink, op: Binary) {
    match op {
        Binary::Add => ins.f32x4_add(),
        Binary::Sub => ins.f32x4_sub(),
        Binary::Mul => ins.f32x4_mul(),
        Binary::Div => ins.f32x4_div(),
        Binary::Min => ins.f32x4_pmin(),
        Binary::Max => ins.f32x4_pmax(),
        Binary::And => ins.v128_and(),
        Binary::Or => ins.v128_or(),
        Binary::Xor => ins.v128_xor(),
        Binary::AndNot => ins.v128_andnot(),
        Binary::IAdd => ins.i32x4_add(),
        Binary::ISub => ins.i32x4_sub(),
        Binary::IMul => ins.i32x4_mul(),
        Binary::IMin => ins.i32x4_min_s(),
        Binary::IMax => ins.i32x4_max_s(),
        Binary::Add16 => ins.i16x8_add(),
        Binary::Pair16 => ins.i32x4_dot_i16x8_s(),
        Binary::MaxU8 => ins.i8x16_max_u(),
        Binary::MaxI8 => ins.i8x16_max_s(),
        Binary::ZipLow8 => ins.i8x16_shuffle(zip(1, 0)),
        Binary::ZipHigh8 => ins.i8x16_shuffle(zip(1, 8)),
        Binary::ZipLow16 => ins.i8x16_shuffle(zip(2, 0)),
        Binary::ZipHigh16 => ins.i8x16_shuffle(zip(2, 8)),
        Binary::PackI16 => ins.i16x8_narrow_i32x4_s(),
        Binary::PackU8 => ins.i8x16_narrow_i16x8_u(),
        Binary::PackI8 => ins.i8x16_narrow_i16x8_s(),
        Binary::IAddPairs => panic!("it takes its sides twice"),
        Binary::LowHalves => ins.i8x16_shuffle(zip(8, 0)),
        Binary::HighHalves => ins.i8x16_shuffle(zip(8, 8)),
        Binary::LowLanes => ins.i8x16_shuffle(zip(4, 0)),
        Binary::HighLanes => ins.i8x16_shuffle(zip(4, 8)),
        Binary::PairSat | Binary::MulLow8 | Binary::MulHigh8 => {
            panic!("{op:?} is off the menu of WebAssembly")
        }
    };
}
