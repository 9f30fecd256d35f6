//! Machines and random kernels for tests. Random means: from a seed, the same on every machine.

use super::facts::{Facts, Menu, MinMax};
use super::scalar::{Binary as SBinary, Cell, Expr, ScalarKernel, Stmt as Scalar, Ty, Unary as SUnary, Value};
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
        menu: Menu {
            memory_operand: true,
            splat_operand: true,
            lane_operand: true,
            masks: true,
            dot4_u8s8: true,
            dot4_s8s8: true,
            matrix8: true,
            pair_sat: true,
            pair16: true,
            widen8: true,
            long8: true,
            pick8: true,
        },
        caches: [1 << 15, 1 << 20, 1 << 22],
        accumulators: 8,
        reach: i32::MAX,
        unroll: 4,
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
        match self.below(20) {
            0 if depth > 0 => Stmt::Loop { times: self.pick(&[0, 1, 64, u32::MAX]), body: self.wild_stmts(depth - 1) },
            0 | 1 => Stmt::Point { to: self.at().p, from: self.at().p, offset },
            2 => Stmt::Advance { p: self.at().p, by: offset },
            3 => Stmt::Set { to: self.v(), bits: self.bits() },
            4 => Stmt::Copy { to: self.v(), from: self.v() },
            5 => Stmt::Load { to: self.v(), at: self.at(), lanes },
            6 => Stmt::Splat { to: self.v(), at: self.at() },
            8 => Stmt::Store { from: self.v(), at: self.at(), lanes },
            7 if self.below(2) == 0 => Stmt::LoadQuads { to: self.v(), at: self.at(), stride },
            7 => Stmt::Gather { to: self.v(), at: self.at(), stride, lanes },
            9 if self.below(4) == 0 => Stmt::Prefetch { at: self.at() },
            9 if self.below(2) == 0 => Stmt::StoreQuads { from: self.v(), at: self.at(), stride },
            9 => Stmt::Scatter { from: self.v(), at: self.at(), stride, lanes },
            10 => Stmt::MulAdd { acc: self.v(), a: self.v(), b: self.wild_operand(), negate: self.below(2) == 0 },
            11 => self.wild_product(),
            12 => Stmt::Horner { acc: self.v(), x: self.v(), c: self.wild_operand() },
            13 => {
                let op = match self.pick(tile::UNARY) {
                    Unary::Shl(_) => Unary::Shl(self.next() as u8),
                    Unary::Shr(_) => Unary::Shr(self.next() as u8),
                    Unary::Sar(_) => Unary::Sar(self.next() as u8),
                    Unary::Spread(_) => Unary::Spread(self.next() as u8),
                    plain => plain,
                };
                Stmt::Unary { op, to: self.v(), a: self.v() }
            }
            14 => {
                let op = self.pick(tile::BINARY);
                match self.below(3) {
                    0 => Stmt::Fold { op, to: self.v(), from: self.v(), temp: self.v() },
                    _ => Stmt::Binary { op, to: self.v(), a: self.v(), b: self.wild_operand() },
                }
            }
            15 => Stmt::LoadNarrow { to: self.v(), at: self.at(), lanes, kind: self.pick(tile::NARROW) },
            18 => Stmt::Lookup { to: self.v(), a: self.v(), table: self.at(), temps: [self.v(), self.v()] },
            16 => Stmt::SplatNarrow { to: self.v(), at: self.at(), kind: self.pick(tile::NARROW) },
            17 => Stmt::StoreNarrow { from: self.v(), at: self.at(), lanes, kind: self.pick(tile::NARROW) },
            _ => {
                let cmp = self.pick(tile::COMPARE);
                Stmt::Select { to: self.v(), cmp, x: self.v(), y: self.wild_operand(), a: self.v(), b: self.v() }
            }
        }
    }

    fn wild_product(&mut self) -> Stmt {
        let (acc, a) = (self.v(), self.v());
        match self.below(5) {
            0 => Stmt::Matrix2x8 { kind: self.pick(tile::MATRIX), acc, a, b: self.v() },
            1 => Stmt::PairAdd { acc, a },
            2 => Stmt::MulAdd8 { high: self.below(2) == 0, acc, a, b: self.v() },
            _ => Stmt::Dot4 { kind: self.pick(tile::DOT4), acc, a, b: self.wild_operand() },
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

impl Random {
    /// A tile kernel on two arguments, all of whose registers are set; its accesses may stray.
    pub fn tame_tile(&mut self) -> Kernel {
        let arg = |random: &mut Random, name: &str| Arg {
            name: name.into(),
            low: -random.between(0, 8) * 4,
            high: random.between(4, 64) * 4,
            access: Access::ReadWrite,
        };
        let args = vec![arg(self, "x"), arg(self, "y")];
        let mut body: Vec<Stmt> = (0..4).map(|v| Stmt::Set { to: V(v), bits: 0 }).collect();
        body.extend((2..4).map(|p| Stmt::Point { to: P(p), from: P(p - 2), offset: 0 }));
        body.extend(self.tame_stmts(3));
        Kernel { name: "tame".into(), args, body: KernelBody::Tile(TileKernel { body }) }
    }

    fn tame_stmts(&mut self, depth: usize) -> Vec<Stmt> {
        (0..self.between(1, 5)).map(|_| self.tame_stmt(depth)).collect()
    }

    fn tame_stmt(&mut self, depth: usize) -> Stmt {
        let (v, p, from) = (V(self.below(4) as u8), P(self.below(4) as u8), P(self.below(4) as u8));
        let at = At { p, offset: self.between(-4, 12) as i32 * 4 };
        let (by, stride, lanes) = (self.between(-4, 4) * 4, self.between(-3, 3) as i32 * 4, self.between(1, 4) as u8);
        let kind = self.pick(tile::NARROW);
        match self.below(11) {
            0 | 1 if depth > 0 => Stmt::Loop { times: self.between(1, 4) as u32, body: self.tame_stmts(depth - 1) },
            0..=2 => Stmt::Point { to: p, from, offset: by },
            3 => Stmt::Advance { p, by },
            4 => Stmt::Load { to: v, at, lanes },
            5 => Stmt::Store { from: v, at, lanes },
            6 => Stmt::Gather { to: v, at, stride, lanes },
            7 if self.below(2) == 0 => Stmt::LoadQuads { to: v, at, stride },
            7 => Stmt::Scatter { from: v, at, stride, lanes },
            8 if self.below(2) == 0 => Stmt::StoreQuads { from: v, at, stride },
            8 => Stmt::LoadNarrow { to: v, at, lanes, kind },
            9 => Stmt::SplatNarrow { to: v, at, kind },
            _ => Stmt::MulAdd { acc: v, a: v, b: if self.below(2) == 0 { Operand::Memory(at) } else { Operand::Splat(at) }, negate: false },
        }
    }

    /// A scalar kernel of Ints that ends. Argument 0 is 8 bytes to read; every store has an argument of its own, of
    /// no bytes, which the caller widens.
    pub fn tame_scalar(&mut self) -> Kernel {
        let x = Arg { name: "x".into(), low: 0, high: 8, access: Access::Read };
        let mut tame = Tame { random: self, args: vec![x], visible: Vec::new(), values: 0, cells: 2 };
        let body = tame.stmts(3);
        let kernel = ScalarKernel { values: vec![Ty::Int; tame.values as usize], cells: vec![Ty::Int; tame.cells as usize], body };
        Kernel { name: "tame".into(), args: tame.args, body: KernelBody::Scalar(kernel) }
    }
}

struct Tame<'a> {
    random: &'a mut Random,
    args: Vec<Arg>,
    visible: Vec<Value>,
    values: u32,
    cells: u32,
}

impl Tame<'_> {
    fn block(&mut self, depth: usize) -> Vec<Scalar> {
        let outside = self.visible.len();
        let body = self.stmts(depth);
        self.visible.truncate(outside);
        body
    }

    fn stmts(&mut self, depth: usize) -> Vec<Scalar> {
        let mut body = Vec::new();
        for _ in 0..self.random.between(2, 8) {
            self.stmt(depth, &mut body);
        }
        body
    }

    fn set(&mut self, expr: Expr, body: &mut Vec<Scalar>) -> Value {
        let to = Value(self.values);
        self.values += 1;
        self.visible.push(to);
        body.push(Scalar::Let { to, expr });
        to
    }

    fn small(&mut self, body: &mut Vec<Scalar>) -> Value {
        let value = self.random.between(-3, 9);
        self.set(Expr::Int(value), body)
    }

    fn value(&mut self, body: &mut Vec<Scalar>) -> Value {
        match self.visible.is_empty() {
            true => self.small(body),
            false => self.random.pick(&self.visible),
        }
    }

    fn stmt(&mut self, depth: usize, body: &mut Vec<Scalar>) {
        let (a, b) = (self.value(body), self.value(body));
        let kind = if depth == 0 { self.random.below(9) } else { self.random.below(14) };
        match kind {
            0..=5 => {
                let expr = self.expr(body);
                self.set(expr, body);
            }
            6 => {
                self.args.push(Arg { name: self.args.len().to_string(), low: 0, high: 0, access: Access::Write });
                let arg = self.args.len() as u8 - 1;
                body.push(Scalar::Store { arg, dtype: self.random.pick(&[Dtype::I8, Dtype::I16]), at: a, value: b });
            }
            7 => body.push(Scalar::Set { cell: Cell(self.random.below(2) as u32), value: a }),
            8 => {
                let below = self.random.between(1, 20);
                self.set(Expr::Require { value: a, below, status: 4 }, body);
            }
            9 if self.random.below(4) == 0 => {
                let fail = vec![Scalar::Fail { status: 3 }];
                let sides = if self.random.below(2) == 0 { (fail, Vec::new()) } else { (Vec::new(), fail) };
                body.push(Scalar::If { cond: a, then: sides.0, other: sides.1 });
            }
            9 | 10 => {
                let (then, other) = (self.block(depth - 1), self.block(depth - 1));
                body.push(Scalar::If { cond: a, then, other });
            }
            11 | 12 => {
                let (low, high) = (self.small(body), self.small(body));
                let from = self.set(Expr::Binary(SBinary::SMax, a, low), body);
                let to = self.set(Expr::Binary(SBinary::SMin, b, high), body);
                let var = Value(self.values);
                self.values += 1;
                self.visible.push(var);
                let inner = self.block(depth - 1);
                self.visible.pop();
                body.push(Scalar::For { var, from, to, body: inner });
            }
            _ => self.turns(depth, body),
        }
    }

    /// A `While` that counts a cell of its own.
    fn turns(&mut self, depth: usize, body: &mut Vec<Scalar>) {
        let (start, count, step) = (self.small(body), self.small(body), self.set_one(body));
        let cell = Cell(self.cells);
        self.cells += 1;
        body.push(Scalar::Set { cell, value: start });
        let outside = self.visible.len();
        let mut head = Vec::new();
        let at = self.set(Expr::Get(cell), &mut head);
        let below = self.random.pick(&[SBinary::SLt, SBinary::SLe]);
        let cond = self.set(Expr::Binary(below, at, count), &mut head);
        let mut inner = self.stmts(depth - 1);
        let next = self.set(Expr::Binary(SBinary::IAdd, at, step), &mut inner);
        inner.push(Scalar::Set { cell, value: next });
        self.visible.truncate(outside);
        body.push(Scalar::While { head, cond, body: inner });
        if self.random.below(2) == 0 {
            self.set(Expr::Get(cell), body);
        }
    }

    fn set_one(&mut self, body: &mut Vec<Scalar>) -> Value {
        self.set(Expr::Int(1), body)
    }

    fn expr(&mut self, body: &mut Vec<Scalar>) -> Expr {
        let (a, b) = (self.value(body), self.value(body));
        match self.random.below(12) {
            0 => Expr::Int(self.random.between(-10, 40)),
            1 => Expr::Int(self.random.pick(&[i64::MIN, i64::MAX, 1 << 31, 63, 255])),
            2 => {
                let dtype = self.random.pick(&[Dtype::I8, Dtype::U8, Dtype::Bool, Dtype::I64, Dtype::U64, Dtype::I2]);
                let at = if dtype.bytes() == 1 { self.random.between(0, 7) } else { 0 };
                Expr::Load { arg: 0, dtype, at: self.set(Expr::Int(at), body) }
            }
            3 => Expr::Get(Cell(self.random.below(2) as u32)),
            4 => Expr::Unary(self.random.pick(&[SUnary::INeg, SUnary::INot]), a),
            5 => Expr::Unary(SUnary::Wrap(self.random.pick(&[Dtype::I8, Dtype::U8, Dtype::I4, Dtype::U4, Dtype::Bool])), a),
            6 => Expr::Select(a, b, self.value(body)),
            7 | 8 => {
                let op = self.random.pick(&[SBinary::SLt, SBinary::SLe, SBinary::ULt, SBinary::ULe, SBinary::IEq, SBinary::INe]);
                Expr::Binary(op, a, b)
            }
            _ => {
                // those on Ints come first
                let ints: Vec<SBinary> = scalar::BINARY.iter().copied().filter(|&op| op < SBinary::Add).collect();
                Expr::Binary(self.random.pick(&ints), a, b)
            }
        }
    }
}
