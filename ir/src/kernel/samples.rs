//! Machines and random kernels for tests. Random means: from a seed, the same on every machine.

use super::facts::{Facts, Menu, MinMax};
use super::scalar::{Cell, Expr, ScalarKernel, Stmt as Scalar, Unary as SUnary, Value};
use super::text::{scalar, tile};
use super::tile::{At, Operand, P, Stmt, TileKernel, Unary, V};
use super::{Access, Arg, Kernel, KernelBody};
use crate::tensor::Dtype;

/// Four lanes, everything on the menu.
pub(crate) fn facts() -> Facts {
    Facts {
        name: "test",
        vector_bytes: 16,
        vectors: 16,
        generals: 8,
        fused: true,
        min_max: MinMax::SecondOnTie,
        menu: Menu { memory_operand: true, splat_operand: true, lane_operand: true, masks: true },
        caches: [1 << 15, 1 << 20, 1 << 22],
        accumulators: 8,
    }
}

/// Splitmix: each number a hash of its place in the row.
pub(crate) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as usize) as i64
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn bits(&mut self) -> u32 {
        match self.below(4) {
            0 => self.pick(&[0, 1 << 31, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0x7fc0_0001, 1, 0x7f]),
            1 => (self.between(-100, 100) as f32 / 8.0).to_bits(),
            _ => self.next() as u32,
        }
    }

    fn args(&mut self) -> Vec<Arg> {
        let arg = |random: &mut Random, i: usize| Arg {
            name: random.pick(&["x", "weights", "two words", "p0", "read"]).to_string() + &i.to_string(),
            low: -random.between(0, 64),
            high: random.between(0, 4096),
            access: random.pick(&[Access::Read, Access::Write, Access::ReadWrite]),
        };
        (0..self.below(4)).map(|i| arg(self, i)).collect()
    }

    /// Any tile kernel that can be written down, almost never a right one.
    pub fn wild_tile(&mut self) -> Kernel {
        let body = self.wild_stmts(3);
        let name = self.pick(&["dot", "dot_6x16", "with space", "ü\"\\", "tile"]).to_string();
        Kernel { name, args: self.args(), body: KernelBody::Tile(TileKernel { body }) }
    }

    fn wild_stmts(&mut self, depth: usize) -> Vec<Stmt> {
        (0..self.below(8)).map(|_| self.wild_stmt(depth)).collect()
    }

    fn v(&mut self) -> V {
        V(self.next() as u8)
    }

    fn at(&mut self) -> At {
        At { p: P(self.next() as u8), offset: self.pick(&[0, 4, -4, i32::MIN, i32::MAX]) }
    }

    fn wild_operand(&mut self) -> Operand {
        match self.below(5) {
            0 => Operand::V(self.v()),
            1 => Operand::Memory(self.at()),
            2 => Operand::Splat(self.at()),
            3 => Operand::Bits(self.bits()),
            _ => Operand::Lane(self.v(), self.next() as u8),
        }
    }

    fn wild_stmt(&mut self, depth: usize) -> Stmt {
        let offset = self.pick(&[0, 24, -24, i64::MAX, i64::MIN]);
        let (stride, lanes) = (self.pick(&[0, 4, -12, i32::MIN]), self.pick(&[0, 4, 4, 4, 3, 16, 255]));
        match self.below(15) {
            0 if depth > 0 => Stmt::Loop { times: self.pick(&[0, 1, 64, u32::MAX]), body: self.wild_stmts(depth - 1) },
            0 | 1 => Stmt::Point { to: self.at().p, from: self.at().p, offset },
            2 => Stmt::Advance { p: self.at().p, by: offset },
            3 => Stmt::Set { to: self.v(), bits: self.bits() },
            4 => Stmt::Copy { to: self.v(), from: self.v() },
            5 => Stmt::Load { to: self.v(), at: self.at(), lanes },
            6 => Stmt::Splat { to: self.v(), at: self.at() },
            7 => Stmt::Gather { to: self.v(), at: self.at(), stride, lanes },
            8 => Stmt::Store { from: self.v(), at: self.at(), lanes },
            9 => Stmt::Scatter { from: self.v(), at: self.at(), stride, lanes },
            10 => Stmt::MulAdd { acc: self.v(), a: self.v(), b: self.wild_operand(), negate: self.below(2) == 0 },
            11 => Stmt::Horner { acc: self.v(), x: self.v(), c: self.wild_operand() },
            12 => {
                let op = match self.pick(tile::UNARY) {
                    Unary::Shl(_) => Unary::Shl(self.next() as u8),
                    Unary::Shr(_) => Unary::Shr(self.next() as u8),
                    Unary::Sar(_) => Unary::Sar(self.next() as u8),
                    plain => plain,
                };
                Stmt::Unary { op, to: self.v(), a: self.v() }
            }
            13 => {
                let op = self.pick(tile::BINARY);
                match self.below(3) {
                    0 => Stmt::Fold { op, to: self.v(), from: self.v(), temp: self.v() },
                    _ => Stmt::Binary { op, to: self.v(), a: self.v(), b: self.wild_operand() },
                }
            }
            _ => {
                let cmp = self.pick(tile::COMPARE);
                Stmt::Select { to: self.v(), cmp, x: self.v(), y: self.wild_operand(), a: self.v(), b: self.v() }
            }
        }
    }

    /// Any scalar kernel that can be written down, almost never a right one.
    pub fn wild_scalar(&mut self) -> Kernel {
        let mut types = |count: usize| (0..count).map(|_| self.pick(scalar::TYPES)).collect::<Vec<_>>();
        let (values, cells) = (types(5), types(2));
        let count = self.below(values.len() + 1);
        let body = ScalarKernel { values: values[..count].to_vec(), cells, body: self.wild_scalars(3) };
        Kernel { name: "sort".into(), args: self.args(), body: KernelBody::Scalar(body) }
    }

    fn wild_scalars(&mut self, depth: usize) -> Vec<Scalar> {
        (0..self.below(6)).map(|_| self.wild_scalar_stmt(depth)).collect()
    }

    fn value(&mut self) -> Value {
        Value(if self.below(20) == 0 { u32::MAX } else { self.below(6) as u32 })
    }

    fn wild_scalar_stmt(&mut self, depth: usize) -> Scalar {
        let kind = if depth == 0 { self.below(5) } else { self.below(8) };
        match kind {
            0 => Scalar::Store { arg: self.next() as u8, dtype: self.pick(Dtype::ALL), at: self.value(), value: self.value() },
            1 => Scalar::Set { cell: Cell(self.below(3) as u32), value: self.value() },
            2 => Scalar::Fail { status: self.next() as u8 },
            3 | 4 => Scalar::Let { to: self.value(), expr: self.wild_expr() },
            5 => Scalar::For { var: self.value(), from: self.value(), to: self.value(), body: self.wild_scalars(depth - 1) },
            6 => Scalar::If { cond: self.value(), then: self.wild_scalars(depth - 1), other: self.wild_scalars(depth - 1) },
            _ => Scalar::While { head: self.wild_scalars(depth - 1), cond: self.value(), body: self.wild_scalars(depth - 1) },
        }
    }

    fn wild_expr(&mut self) -> Expr {
        match self.below(10) {
            0 => Expr::Int(self.pick(&[0, -1, 7, i64::MIN, i64::MAX])),
            1 => Expr::F32(self.bits()),
            2 => {
                let bits = self.next();
                Expr::F64(self.pick(&[0, 1 << 63, 0.1f64.to_bits(), f64::NAN.to_bits(), 1, bits]))
            }
            3 => Expr::Load { arg: self.next() as u8, dtype: self.pick(Dtype::ALL), at: self.value() },
            4 => Expr::Get(Cell(self.below(3) as u32)),
            5 => match self.pick(scalar::UNARY) {
                SUnary::Wrap(_) => Expr::Unary(SUnary::Wrap(self.pick(Dtype::ALL)), self.value()),
                op => Expr::Unary(op, self.value()),
            },
            6 => Expr::Binary(self.pick(scalar::BINARY), self.value(), self.value()),
            7 => Expr::MulAdd(self.value(), self.value(), self.value()),
            8 => Expr::Select(self.value(), self.value(), self.value()),
            _ => Expr::Require { value: self.value(), below: self.between(-1, 100), status: self.next() as u8 },
        }
    }
}
