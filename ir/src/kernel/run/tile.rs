//! Tile kernels, a vector register as an array of `L` lanes. A statement is dispatched once for all of its lanes.

use super::{Memory, Watch, bytes, max_f32, min_f32};
use crate::kernel::Facts;
use crate::kernel::facts::MinMax;
use crate::kernel::tile::{At, Binary, Compare, Narrow, Operand, P, Stmt, TileKernel, Unary, V};
use std::array::from_fn;

pub(super) type Lanes<const L: usize> = [u32; L];

/// What an undefined register holds: no number that a kernel could get by without.
const UNDEFINED: u32 = 0xa5a5_a5a5;

pub(super) fn run<const L: usize, W: Watch>(kernel: &TileKernel, facts: &Facts, memory: &mut Memory<W>) {
    let places = (0..256).map(|i| (i < memory.args.len()).then_some(Place { arg: i, offset: 0 })).collect();
    let vectors = vec![[UNDEFINED; L]; facts.vectors as usize];
    Machine { fused: facts.fused, min_max: facts.min_max, vectors, places, memory }.block(&kernel.body);
}

/// `offset` bytes from the pointer that argument `arg` was given.
#[derive(Clone, Copy)]
struct Place {
    arg: usize,
    offset: i64,
}

struct Machine<'m, 'n, 'b, W, const L: usize> {
    fused: bool,
    min_max: MinMax,
    vectors: Vec<Lanes<L>>,
    places: Vec<Option<Place>>,
    memory: &'m mut Memory<'n, 'b, W>,
}

impl<W: Watch, const L: usize> Machine<'_, '_, '_, W, L> {
    fn block(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.step(stmt);
        }
    }

    fn step(&mut self, stmt: &Stmt) {
        match *stmt {
            Stmt::Loop { times, ref body } => (0..times).for_each(|_| self.block(body)),
            Stmt::Point { to, from, offset } => {
                let from = self.place(from);
                self.places[to.0 as usize] = Some(Place { offset: from.offset + offset, ..from });
            }
            Stmt::Advance { p, by } => {
                let place = self.place(p);
                self.places[p.0 as usize] = Some(Place { offset: place.offset + by, ..place });
            }
            Stmt::Set { to, bits } => self.set(to, [bits; L]),
            Stmt::Copy { to, from } => self.set(to, self.v(from)),
            Stmt::Prefetch { at: _ } => {}
            Stmt::Load { to, at, lanes } => {
                let value = self.load(at, lanes);
                self.set(to, value);
            }
            Stmt::Splat { to, at } => {
                let value = self.splat(at);
                self.set(to, value);
            }
            Stmt::LoadNarrow { to, at, lanes, kind } => {
                let value = self.load_narrow(at, lanes, kind);
                self.set(to, value);
            }
            Stmt::SplatNarrow { to, at, kind } => {
                let value = self.load_narrow(at, 1, kind);
                self.set(to, [value[0]; L]);
            }
            Stmt::StoreNarrow { from, at, lanes, kind } => {
                let value = self.v(from);
                let (width, (low, high)) = (kind.bytes() as usize, kind.range());
                let outside = value[..lanes as usize].iter().find(|&&lane| !(low..=high).contains(&(lane as i32)));
                assert!(outside.is_none(), "{}: {outside:?} is stored as {kind:?}", self.memory.kernel.name);
                let place = self.place(at.p);
                let memory = self.memory.write(place.arg, place.offset + at.offset as i64, width * lanes as usize);
                for (bytes, lane) in memory.chunks_exact_mut(width).zip(value) {
                    bytes.copy_from_slice(&lane.to_le_bytes()[..width]);
                }
            }
            Stmt::Gather { to, at, stride, lanes } => {
                let mut value = [0; L];
                for (i, lane) in value[..lanes as usize].iter_mut().enumerate() {
                    *lane = self.element(at, i as i64 * stride as i64);
                }
                self.set(to, value);
            }
            Stmt::Store { from, at, lanes } => {
                let value = self.v(from);
                let place = self.place(at.p);
                let memory = self.memory.write(place.arg, place.offset + at.offset as i64, 4 * lanes as usize);
                for (bytes, lane) in memory.chunks_exact_mut(4).zip(value) {
                    bytes.copy_from_slice(&lane.to_le_bytes());
                }
            }
            Stmt::Scatter { from, at, stride, lanes } => {
                let value = self.v(from);
                let place = self.place(at.p);
                for (i, lane) in value[..lanes as usize].iter().enumerate() {
                    let offset = place.offset + at.offset as i64 + i as i64 * stride as i64;
                    self.memory.write(place.arg, offset, 4).copy_from_slice(&lane.to_le_bytes());
                }
            }
            Stmt::LoadQuads { to, at, stride } => {
                let mut value = [0; L];
                for (i, quad) in value.chunks_exact_mut(4).enumerate() {
                    for (lane, to) in quad.iter_mut().enumerate() {
                        *to = self.element(at, i as i64 * stride as i64 + 4 * lane as i64);
                    }
                }
                self.set(to, value);
            }
            Stmt::StoreQuads { from, at, stride } => {
                let value = self.v(from);
                let place = self.place(at.p);
                for (i, quad) in value.chunks_exact(4).enumerate() {
                    let offset = place.offset + at.offset as i64 + i as i64 * stride as i64;
                    let memory = self.memory.write(place.arg, offset, 16);
                    for (bytes, lane) in memory.chunks_exact_mut(4).zip(quad) {
                        bytes.copy_from_slice(&lane.to_le_bytes());
                    }
                }
            }
            Stmt::MulAdd { acc, a, b, negate } => {
                let b = self.operand(b);
                let a = if negate { ints(self.v(a), |a| a ^ SIGN) } else { self.v(a) };
                self.set(acc, self.mul_add(a, b, self.v(acc)));
            }
            Stmt::Dot4 { kind, acc, a, b } => {
                let b = self.operand(b);
                self.set(acc, bytes::dot4(kind, self.v(acc), self.v(a), b));
            }
            Stmt::Matrix2x8 { kind, acc, a, b } => self.set(acc, bytes::matrix2x8(kind, self.v(acc), self.v(a), self.v(b))),
            Stmt::MulAdd8 { high, acc, a, b } => {
                let products = bytes::mul_long(self.v(a), self.v(b), if high { 8 } else { 0 });
                self.set(acc, two_ints(self.v(acc), products, bytes::add16));
            }
            Stmt::PairAdd { acc, a } => self.set(acc, two_ints(self.v(acc), self.v(a), bytes::pair_add)),
            Stmt::Horner { acc, x, c } => {
                let c = self.operand(c);
                self.set(acc, self.mul_add(self.v(acc), self.v(x), c));
            }
            Stmt::Unary { op, to, a } => self.set(to, unary(op, self.v(a))),
            Stmt::Binary { op, to, a, b } => {
                let b = self.operand(b);
                self.set(to, binary(op, self.v(a), b, self.min_max));
            }
            Stmt::Select { to, cmp, x, y, a, b } => {
                let y = self.operand(y);
                let (x, a, b) = (self.v(x), self.v(a), self.v(b));
                let takes = compare(cmp, x, y);
                self.set(to, from_fn(|i| if takes[i] { a[i] } else { b[i] }));
            }
            Stmt::Lookup { to, a, table, temps } => {
                let place = self.place(table.p);
                let bytes: Vec<u8> = self.memory.read(place.arg, place.offset + table.offset as i64, 256).to_vec();
                let value = ints(self.v(a), |a| u32::from_le_bytes(a.to_le_bytes().map(|byte| bytes[byte as usize])));
                temps.into_iter().for_each(|temp| self.set(temp, [UNDEFINED; L]));
                self.set(to, value);
            }
            Stmt::Fold { op, to, from, temp } => {
                let mut value = self.v(from);
                let mut half = L / 2;
                while half > 0 {
                    let upper = from_fn(|i| value[(i + half) % L]);
                    value = binary(op, value, upper, self.min_max);
                    half /= 2;
                }
                self.set(temp, [UNDEFINED; L]);
                self.set(to, [value[0]; L]);
            }
        }
    }

    fn v(&self, v: V) -> Lanes<L> {
        self.vectors[v.0 as usize]
    }

    fn set(&mut self, v: V, value: Lanes<L>) {
        self.vectors[v.0 as usize] = value;
    }

    fn place(&self, p: P) -> Place {
        self.places[p.0 as usize].unwrap_or_else(|| panic!("{}: p{} is undefined", self.memory.kernel.name, p.0))
    }

    fn load(&mut self, at: At, lanes: u8) -> Lanes<L> {
        let place = self.place(at.p);
        let memory = self.memory.read(place.arg, place.offset + at.offset as i64, 4 * lanes as usize);
        let mut value = [0; L];
        for (lane, bytes) in value.iter_mut().zip(memory.chunks_exact(4)) {
            *lane = u32::from_le_bytes(bytes.try_into().expect("chunks are of 4 bytes"));
        }
        value
    }

    fn load_narrow(&mut self, at: At, lanes: u8, kind: Narrow) -> Lanes<L> {
        let (place, width) = (self.place(at.p), kind.bytes() as usize);
        let memory = self.memory.read(place.arg, place.offset + at.offset as i64, width * lanes as usize);
        let mut value = [0; L];
        for (lane, bytes) in value.iter_mut().zip(memory.chunks_exact(width)) {
            let last = bytes[width - 1];
            *lane = match kind {
                Narrow::U8 => last.into(),
                Narrow::I8 => last as i8 as u32,
                Narrow::U16 => u16::from_le_bytes([bytes[0], last]).into(),
                Narrow::I16 => i16::from_le_bytes([bytes[0], last]) as u32,
            };
        }
        value
    }

    fn splat(&mut self, at: At) -> Lanes<L> {
        [self.element(at, 0); L]
    }

    fn element(&mut self, at: At, offset: i64) -> u32 {
        let place = self.place(at.p);
        let bytes = self.memory.read(place.arg, place.offset + at.offset as i64 + offset, 4);
        u32::from_le_bytes(bytes.try_into().expect("4 bytes were read"))
    }

    fn operand(&mut self, operand: Operand) -> Lanes<L> {
        match operand {
            Operand::V(v) => self.v(v),
            Operand::Memory(at) => self.load(at, L as u8),
            Operand::Splat(at) => self.splat(at),
            Operand::Bits(bits) => [bits; L],
            Operand::Lane(v, lane) => [self.v(v)[lane as usize]; L],
        }
    }

    fn mul_add(&self, a: Lanes<L>, b: Lanes<L>, c: Lanes<L>) -> Lanes<L> {
        match self.fused {
            true => mul_add_once(a, b, c),
            false => from_fn(|i| (f32::from_bits(a[i]) * f32::from_bits(b[i]) + f32::from_bits(c[i])).to_bits()),
        }
    }
}

/// `a * b + c`, rounded once. In f64 the product is exact and the sum rounded to 53 bits; to round it again to the
/// 24 of an f32 does no harm unless it lies halfway between two of them, or has fewer bits for being subnormal.
/// Both are rare, and `f32::mul_add` is a call for each lane where the compiler cannot count on the instruction.
pub(super) fn mul_add_once<const L: usize>(a: Lanes<L>, b: Lanes<L>, c: Lanes<L>) -> Lanes<L> {
    const HALFWAY: u32 = 1 << 28;
    let f = f32::from_bits;
    let sums: [f64; L] = from_fn(|i| f64::from(f(a[i])) * f64::from(f(b[i])) + f64::from(f(c[i])));
    let rare = |sum: f64| {
        let subnormal = (sum.abs() < f64::from(f32::MIN_POSITIVE)) & (sum != 0.0);
        (sum.to_bits() as u32 & (2 * HALFWAY - 1) == HALFWAY) | subnormal
    };
    if sums.iter().fold(false, |any, &sum| any | rare(sum)) {
        return from_fn(|i| f(a[i]).mul_add(f(b[i]), f(c[i])).to_bits());
    }
    from_fn(|i| (sums[i] as f32).to_bits())
}

const SIGN: u32 = 1 << 31;

fn ints<const L: usize>(a: Lanes<L>, f: impl Fn(u32) -> u32) -> Lanes<L> {
    from_fn(|i| f(a[i]))
}

fn floats<const L: usize>(a: Lanes<L>, f: impl Fn(f32) -> f32) -> Lanes<L> {
    from_fn(|i| f(f32::from_bits(a[i])).to_bits())
}

fn two_ints<const L: usize>(a: Lanes<L>, b: Lanes<L>, f: impl Fn(u32, u32) -> u32) -> Lanes<L> {
    from_fn(|i| f(a[i], b[i]))
}

fn two_floats<const L: usize>(a: Lanes<L>, b: Lanes<L>, f: impl Fn(f32, f32) -> f32) -> Lanes<L> {
    from_fn(|i| f(f32::from_bits(a[i]), f32::from_bits(b[i])).to_bits())
}

fn unary<const L: usize>(op: Unary, a: Lanes<L>) -> Lanes<L> {
    match op {
        Unary::Neg => ints(a, |a| a ^ SIGN),
        Unary::Abs => ints(a, |a| a & !SIGN),
        Unary::Sqrt => floats(a, f32::sqrt),
        Unary::Floor => floats(a, f32::floor),
        Unary::Ceil => floats(a, f32::ceil),
        Unary::Trunc => floats(a, f32::trunc),
        Unary::Round => floats(a, f32::round_ties_even),
        Unary::ToInt => ints(a, |a| f32::from_bits(a) as i32 as u32),
        Unary::FromInt => ints(a, |a| (a as i32 as f32).to_bits()),
        Unary::Shl(by) => ints(a, |a| a << by),
        Unary::Shr(by) => ints(a, |a| a >> by),
        Unary::Sar(by) => ints(a, |a| (a as i32 >> by) as u32),
        Unary::Spread(lane) => [a[lane as usize]; L],
        Unary::LowI8 => bytes::widen(a, |byte| i16::from(byte as i8)),
        Unary::LowU8 => bytes::widen(a, i16::from),
        Unary::Abs8 => ints(a, |a| u32::from_le_bytes(a.to_le_bytes().map(|b| (b as i8).unsigned_abs()))),
        Unary::Negative8 => ints(a, |a| u32::from_le_bytes(a.to_le_bytes().map(|b| ((b as i8) >> 7) as u8))),
    }
}

fn binary<const L: usize>(op: Binary, a: Lanes<L>, b: Lanes<L>, min_max: MinMax) -> Lanes<L> {
    match op {
        Binary::Add => two_floats(a, b, |a, b| a + b),
        Binary::Sub => two_floats(a, b, |a, b| a - b),
        Binary::Mul => two_floats(a, b, |a, b| a * b),
        Binary::Div => two_floats(a, b, |a, b| a / b),
        Binary::Min => match min_max {
            MinMax::SecondOnTie => two_floats(a, b, |a, b| if a < b { a } else { b }),
            MinMax::Ieee => two_floats(a, b, min_f32),
        },
        Binary::Max => match min_max {
            MinMax::SecondOnTie => two_floats(a, b, |a, b| if a > b { a } else { b }),
            MinMax::Ieee => two_floats(a, b, max_f32),
        },
        Binary::And => two_ints(a, b, |a, b| a & b),
        Binary::Or => two_ints(a, b, |a, b| a | b),
        Binary::Xor => two_ints(a, b, |a, b| a ^ b),
        Binary::AndNot => two_ints(a, b, |a, b| !a & b),
        Binary::IAdd => two_ints(a, b, u32::wrapping_add),
        Binary::ISub => two_ints(a, b, u32::wrapping_sub),
        Binary::IMul => two_ints(a, b, u32::wrapping_mul),
        Binary::IMin => two_ints(a, b, |a, b| (a as i32).min(b as i32) as u32),
        Binary::IMax => two_ints(a, b, |a, b| (a as i32).max(b as i32) as u32),
        Binary::Add16 => two_ints(a, b, bytes::add16),
        Binary::PairSat => two_ints(a, b, bytes::pair_sat),
        Binary::Pair16 => two_ints(a, b, bytes::pair16),
        Binary::MulLow8 => bytes::mul_long(a, b, 0),
        Binary::MulHigh8 => bytes::mul_long(a, b, 8),
        Binary::IAddPairs => bytes::add_pairs(a, b),
        Binary::LowHalves => bytes::halves_of(a, b, 0),
        Binary::HighHalves => bytes::halves_of(a, b, 2),
        Binary::LowLanes => bytes::lanes_of(a, b, 0),
        Binary::HighLanes => bytes::lanes_of(a, b, 2),
        Binary::MaxU8 => two_ints(a, b, |a, b| bytes::each(a, b, u8::max)),
        Binary::MaxI8 => two_ints(a, b, |a, b| bytes::each(a, b, |a, b| (a as i8).max(b as i8) as u8)),
        Binary::ZipLow8 => bytes::zip(a, b, 1, 0),
        Binary::ZipHigh8 => bytes::zip(a, b, 1, 8),
        Binary::ZipLow16 => bytes::zip(a, b, 2, 0),
        Binary::ZipHigh16 => bytes::zip(a, b, 2, 8),
        Binary::PackI16 => bytes::pack32(a, b),
        Binary::PackU8 => bytes::pack16(a, b, |v| v.clamp(0, 255) as u8),
        Binary::PackI8 => bytes::pack16(a, b, |v| v.clamp(-128, 127) as u8),
    }
}

fn compare<const L: usize>(op: Compare, x: Lanes<L>, y: Lanes<L>) -> [bool; L] {
    let f = f32::from_bits;
    match op {
        Compare::Eq => from_fn(|i| f(x[i]) == f(y[i])),
        Compare::Ne => from_fn(|i| f(x[i]) != f(y[i])),
        Compare::Lt => from_fn(|i| f(x[i]) < f(y[i])),
        Compare::Le => from_fn(|i| f(x[i]) <= f(y[i])),
        Compare::Unordered => from_fn(|i| f(x[i]).is_nan() || f(y[i]).is_nan()),
        Compare::IEq => from_fn(|i| x[i] == y[i]),
        Compare::ILt => from_fn(|i| (x[i] as i32) < y[i] as i32),
    }
}
