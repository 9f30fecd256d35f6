//! Scalar kernels to compare machines with: every operation on edge values, every element type, and random kernels with
//! control flow.

use ir::kernel::scalar::{Binary, Cell, Expr, ScalarKernel, Stmt, Ty, Unary, Value, ty_of};
use ir::kernel::{Facts, KernelBody};
use ir::tensor::Dtype;

use crate::{Buffer, Case};

/// Marsaglia's xorshift64*.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

fn case(name: &str, scalar: ScalarKernel, facts: &Facts, buffers: Vec<(Dtype, Vec<u8>)>) -> Case {
    let buffers = buffers.into_iter().map(|(dtype, bytes)| Buffer { dtype, bytes, start: 0 }).collect();
    Case::new(name.into(), KernelBody::Scalar(scalar), facts, buffers)
}

/// Statements under construction.
#[derive(Default)]
struct Build {
    kernel: ScalarKernel,
}

impl Build {
    fn value(&mut self, ty: Ty) -> Value {
        self.kernel.values.push(ty);
        Value(self.kernel.values.len() as u32 - 1)
    }

    fn set(&mut self, to: &mut Vec<Stmt>, ty: Ty, expr: Expr) -> Value {
        let value = self.value(ty);
        to.push(Stmt::Let { to: value, expr });
        value
    }
}

/// `for i in 0..n { last[i] = op(first[i], …) }`, elements stored as values of their type.
pub fn for_each(name: String, ins: &[Ty], out: Ty, data: Vec<Vec<u8>>, facts: &Facts, op: impl Fn(&[Value]) -> Expr) -> Case {
    let dense = |ty| match ty {
        Ty::Int => Dtype::I64,
        Ty::F32 => Dtype::F32,
        Ty::F64 => Dtype::F64,
    };
    let n = data[0].len() / dense(ins[0]).bytes();
    let mut build = Build::default();
    let (mut body, mut inside) = (Vec::new(), Vec::new());
    let from = build.set(&mut body, Ty::Int, Expr::Int(0));
    let to = build.set(&mut body, Ty::Int, Expr::Int(n as i64));
    let var = build.value(Ty::Int);
    let mut values = Vec::new();
    for (arg, ty) in ins.iter().enumerate() {
        values.push(build.set(&mut inside, *ty, Expr::Load { arg: arg as u8, dtype: dense(*ty), at: var }));
    }
    let result = build.set(&mut inside, out, op(&values));
    inside.push(Stmt::Store { arg: ins.len() as u8, dtype: dense(out), at: var, value: result });
    body.push(Stmt::For { var, from, to, body: inside });
    build.kernel.body = body;
    let mut buffers: Vec<(Dtype, Vec<u8>)> = ins.iter().map(|ty| dense(*ty)).zip(data).collect();
    buffers.push((dense(out), vec![0xee; n * dense(out).bytes()]));
    case(&name, build.kernel, facts, buffers)
}

fn ints() -> Vec<i64> {
    let mut all = vec![0, 1, 2, 3, 5, 31, 32, 63, 64, 65, 127, 128, 255, 256, 1000, 0x7fff, 0x8000, 0xffff, i64::MAX, i64::MAX - 1];
    all.extend((20..63).flat_map(|bit| [1 << bit, (1 << bit) - 1, (1 << bit) + 1]));
    // ties and their neighbours where a float has no more digits
    all.extend([(1 << 24) + 1, (1 << 53) + 1, 0x7fff_ff40_0000_0000, 0x7fff_ffbf_ffff_ffff, 0x4000_0040_0000_0001, 0x4000_0000_0000_0200]);
    all.extend(all.clone().iter().map(|v| v.wrapping_neg()));
    all.push(i64::MIN);
    all
}

fn singles() -> Vec<u32> {
    let mut all: Vec<u32> = [0.0f32, 0.5, 1.0, 1.5, 2.0, 2.5, 0.499_999_97, 3.3, 1e10, 9.3e18, 1.9e19, 4e19, 8388607.5, f32::MIN_POSITIVE]
        .into_iter()
        .chain([65504.0, 65519.996, 65520.0, 65536.0, 6.1e-5, 5.96e-8, 2.98e-8, 2.99e-8, f32::MAX, f32::INFINITY, 1e-45])
        .chain([9_223_371_500_000_000_000.0, 9_223_372_036_854_775_807.0, 18_446_742_974_197_924_000.0])
        .map(f32::to_bits)
        .collect();
    all.extend([0x7fc0_0000, 0x7f80_0001, 0x7fff_ffff, 0x3f80_8000, 0x3f81_8000, 0x3f80_1000, 0x3f80_3000, 0x3f80_8001, 0x3f80_7fff]);
    all.extend(all.clone().iter().map(|bits| bits | 1 << 31));
    all
}

fn doubles() -> Vec<u64> {
    let mut all: Vec<u64> = singles().iter().map(|bits| f64::from(f32::from_bits(*bits)).to_bits()).collect();
    all.extend([1e300, 5e-324, 2f64.powi(63), 2f64.powi(64), 2f64.powi(63) - 1024.0, 1e39, 7e-46, 7.1e-46].map(f64::to_bits));
    // between two f32
    all.extend([0x3ff0_0000_1000_0000, 0x3ff0_0000_3000_0000, 0x3ff0_0000_1000_0001]);
    all.extend(all.clone().iter().map(|bits| bits ^ 1 << 63));
    all
}

fn values(ty: Ty) -> Vec<Vec<u8>> {
    match ty {
        Ty::Int => ints().iter().map(|v| v.to_le_bytes().to_vec()).collect(),
        Ty::F32 => singles().iter().map(|v| v.to_le_bytes().to_vec()).collect(),
        Ty::F64 => doubles().iter().map(|v| v.to_le_bytes().to_vec()).collect(),
    }
}

const INTEGERS: &[Dtype] = &[
    Dtype::I8,
    Dtype::I16,
    Dtype::I32,
    Dtype::I64,
    Dtype::U8,
    Dtype::U16,
    Dtype::U32,
    Dtype::U64,
    Dtype::Bool,
    Dtype::I4,
    Dtype::U4,
    Dtype::I2,
    Dtype::U2,
];

/// Every unary operation with its types.
pub fn unaries() -> Vec<(Unary, Ty, Ty)> {
    use Ty::{F32, F64, Int};
    let mut all = vec![
        (Unary::INeg, Int, Int),
        (Unary::INot, Int, Int),
        (Unary::IntToF32, Int, F32),
        (Unary::IntToF64, Int, F64),
        (Unary::UIntToF32, Int, F32),
        (Unary::UIntToF64, Int, F64),
        (Unary::F32ToF64, F32, F64),
        (Unary::F64ToF32, F64, F32),
        (Unary::F32Bits, F32, Int),
        (Unary::F32FromBits, Int, F32),
        (Unary::F64Bits, F64, Int),
        (Unary::F64FromBits, Int, F64),
        (Unary::RoundF16, F32, F32),
        (Unary::RoundBF16, F32, F32),
    ];
    for ty in [F32, F64] {
        use Unary::*;
        all.extend([Neg, Abs, Sqrt, Floor, Ceil, Trunc, Round].map(|op| (op, ty, ty)));
        all.extend([FloatToInt, FloatToUInt].map(|op| (op, ty, Int)));
    }
    all.extend(INTEGERS.iter().map(|dtype| (Unary::Wrap(*dtype), Int, Int)));
    all
}

/// Every binary operation with its types.
pub fn binaries() -> Vec<(Binary, Ty, Ty)> {
    use Binary::*;
    let int =
        [IAdd, ISub, IMul, SDiv, UDiv, SRem, URem, And, Or, Xor, Shl, UShr, SShr, SMin, SMax, UMin, UMax, IEq, INe, SLt, SLe, ULt, ULe];
    let mut all: Vec<(Binary, Ty, Ty)> = int.map(|op| (op, Ty::Int, Ty::Int)).to_vec();
    for ty in [Ty::F32, Ty::F64] {
        all.extend([Add, Sub, Mul, Div, Min, Max].map(|op| (op, ty, ty)));
        all.extend([Eq, Ne, Lt, Le].map(|op| (op, ty, Ty::Int)));
    }
    all
}

/// Every operation on the values where rules differ. A multiply-add on each of the levels, the others on the first.
pub fn operations(levels: &[Facts]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (op, from, to) in unaries() {
        let data = values(from).concat();
        cases.push(for_each(format!("{op:?} {from:?}"), &[from], to, vec![data], &levels[0], |v| Expr::Unary(op, v[0])));
    }
    let pairs = |ty: Ty| {
        let all = values(ty);
        let left = all.iter().flat_map(|a| a.repeat(all.len())).collect();
        vec![left, all.concat().repeat(all.len())]
    };
    for (op, from, to) in binaries() {
        cases.push(for_each(format!("{op:?} {from:?}"), &[from, from], to, pairs(from), &levels[0], |v| Expr::Binary(op, v[0], v[1])));
        // a constant on the right takes other paths through the compiler
        if from == Ty::Int {
            for constant in [0, -1, 1, 3, 7, 63, 64, -64, i64::MIN, i64::MAX, 1 << 40] {
                let mut by = for_each(format!("{op:?} by {constant}"), &[from], to, vec![values(from).concat()], &levels[0], |v| {
                    Expr::Binary(op, v[0], Value(0))
                });
                let KernelBody::Scalar(scalar) = &mut by.kernel.body else { unreachable!() };
                let value = Value(scalar.values.len() as u32);
                scalar.values.push(Ty::Int);
                scalar.body.insert(0, Stmt::Let { to: value, expr: Expr::Int(constant) });
                let Some(Stmt::For { body, .. }) = scalar.body.last_mut() else { unreachable!() };
                let Stmt::Let { expr: Expr::Binary(_, _, b), .. } = &mut body[1] else { unreachable!() };
                *b = value;
                cases.push(by);
            }
        }
    }
    let mut random = Random(7);
    for ty in [Ty::F32, Ty::F64] {
        let all = values(ty);
        let data = || (0..3).map(|_| (0..4000).flat_map(|_| all[random.below(all.len())].clone()).collect()).collect();
        let data: Vec<Vec<u8>> = { data }();
        for facts in levels {
            let name = format!("MulAdd {ty:?} {}", facts.fused);
            cases.push(for_each(name, &[ty; 3], ty, data.clone(), facts, |v| Expr::MulAdd(v[0], v[1], v[2])));
        }
    }
    for ty in [Ty::Int, Ty::F32, Ty::F64] {
        let n = values(ty).len();
        let choice = (0..n as i64).flat_map(|i| ((i % 3) << 32).to_le_bytes()).collect();
        let turned: Vec<u8> = values(ty).into_iter().rev().flatten().collect();
        let data = vec![choice, values(ty).concat(), turned];
        cases.push(for_each(format!("Select {ty:?}"), &[Ty::Int, ty, ty], ty, data, &levels[0], |v| Expr::Select(v[0], v[1], v[2])));
    }
    cases
}

/// Loads and stores of every element type: all patterns of the small ones, many of the others.
pub fn elements(facts: &Facts) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut random = Random(11);
    for dtype in Dtype::ALL {
        let (ty, width) = (ty_of(*dtype), dtype.bytes());
        // all patterns of one and two bytes, and many of the others
        let n = if width == 1 { 256 } else { 65536 };
        let raw: Vec<u8> = match width {
            1 => (0..=255).collect(),
            2 => (0..=65535u16).flat_map(u16::to_le_bytes).collect(),
            width => (0..n * width).map(|_| random.next() as u8).collect(),
        };
        // to the type, and from the type
        let edges = values(ty);
        let computed: Vec<u8> = (0..n)
            .flat_map(|i| match ty {
                Ty::F32 if i >= edges.len() => {
                    // mostly exponents around those that f16 has
                    let exponent = 95 + random.below(60) as u32;
                    (random.next() as u32 & 0x807f_ffff | exponent << 23).to_le_bytes().to_vec()
                }
                _ if i < edges.len() => edges[i].clone(),
                _ => random.next().to_le_bytes()[..edges[0].len()].to_vec(),
            })
            .collect();
        let dense = match ty {
            Ty::Int => Dtype::I64,
            Ty::F32 => Dtype::F32,
            Ty::F64 => Dtype::F64,
        };
        let buffers = vec![(*dtype, raw), (dense, vec![0; n * dense.bytes()]), (dense, computed), (*dtype, vec![0; n * width])];
        let mut build = Build::default();
        let (mut body, mut inside) = (Vec::new(), Vec::new());
        let from = build.set(&mut body, Ty::Int, Expr::Int(0));
        let to = build.set(&mut body, Ty::Int, Expr::Int(n as i64));
        let var = build.value(Ty::Int);
        let loaded = build.set(&mut inside, ty, Expr::Load { arg: 0, dtype: *dtype, at: var });
        inside.push(Stmt::Store { arg: 1, dtype: dense, at: var, value: loaded });
        let mut loaded = build.set(&mut inside, ty, Expr::Load { arg: 2, dtype: dense, at: var });
        if *dtype == Dtype::Bool {
            loaded = build.set(&mut inside, ty, Expr::Unary(Unary::Wrap(Dtype::Bool), loaded));
        }
        inside.push(Stmt::Store { arg: 3, dtype: *dtype, at: var, value: loaded });
        body.push(Stmt::For { var, from, to, body: inside });
        build.kernel.body = body;
        cases.push(case(dtype.name(), build.kernel, facts, buffers));
    }
    cases
}

/// Random kernels. Arguments 0, 1, 2 are read, 3, 4, 5 written and read: 64 elements of i64, f32, f64.
struct Writer<'r> {
    random: &'r mut Random,
    build: Build,
    /// Values in scope, by type.
    scope: [Vec<Value>; 3],
    unaries: Vec<(Unary, Ty, Ty)>,
    binaries: Vec<(Binary, Ty, Ty)>,
}

const TYPES: [Ty; 3] = [Ty::Int, Ty::F32, Ty::F64];
const DENSE: [Dtype; 3] = [Dtype::I64, Dtype::F32, Dtype::F64];

impl Writer<'_> {
    fn any(&mut self, ty: Ty) -> Value {
        let scope = &self.scope[ty as usize];
        scope[self.random.below(scope.len())]
    }

    fn put(&mut self, to: &mut Vec<Stmt>, ty: Ty, expr: Expr) -> Value {
        let value = self.build.set(to, ty, expr);
        self.scope[ty as usize].push(value);
        value
    }

    /// A value in 0..64.
    fn index(&mut self, to: &mut Vec<Stmt>) -> Value {
        let mask = self.put(to, Ty::Int, Expr::Int(63));
        let any = self.any(Ty::Int);
        self.put(to, Ty::Int, Expr::Binary(Binary::And, any, mask))
    }

    fn expr(&mut self, to: &mut Vec<Stmt>) -> Value {
        let ty = self.random.pick(&TYPES);
        match self.random.below(12) {
            0 => {
                let expr = match ty {
                    Ty::Int => Expr::Int(self.random.pick(&ints())),
                    Ty::F32 => Expr::F32(self.random.pick(&singles())),
                    Ty::F64 => Expr::F64(self.random.pick(&doubles())),
                };
                self.put(to, ty, expr)
            }
            1 => {
                let at = self.index(to);
                let arg = ty as u8 + 3 * self.random.below(2) as u8;
                self.put(to, ty, Expr::Load { arg, dtype: DENSE[ty as usize], at })
            }
            2 => {
                let cell = Cell(ty as u32 * 2 + self.random.below(2) as u32);
                self.put(to, ty, Expr::Get(cell))
            }
            3 => {
                let ty = self.random.pick(&[Ty::F32, Ty::F64]);
                let [a, b, c] = [(); 3].map(|()| self.any(ty));
                self.put(to, ty, Expr::MulAdd(a, b, c))
            }
            4 => {
                let a = self.any(Ty::Int);
                let [b, c] = [(); 2].map(|()| self.any(ty));
                self.put(to, ty, Expr::Select(a, b, c))
            }
            5 => {
                let value = self.any(Ty::Int);
                // mostly passes
                let below = self.random.pick(&[i64::MAX, i64::MAX, 1 << 40, 100]);
                let value = if below == 100 { value } else { self.index(to) };
                let status = 1 + self.random.below(4) as u8;
                self.put(to, Ty::Int, Expr::Require { value, below, status })
            }
            6..9 => {
                let all = self.unaries.clone();
                let (op, from, into) = self.random.pick(&all);
                let mut a = self.any(from);
                if matches!(op, Unary::F32Bits | Unary::F64Bits) {
                    // the bits of a NaN are nobody's promise
                    let zero = if from == Ty::F32 { Expr::F32(0) } else { Expr::F64(0) };
                    let zero = self.put(to, from, zero);
                    let number = self.put(to, Ty::Int, Expr::Binary(Binary::Eq, a, a));
                    a = self.put(to, from, Expr::Select(number, a, zero));
                }
                self.put(to, into, Expr::Unary(op, a))
            }
            _ => {
                let all = self.binaries.clone();
                let (op, from, into) = self.random.pick(&all);
                let (a, b) = (self.any(from), self.any(from));
                self.put(to, into, Expr::Binary(op, a, b))
            }
        }
    }

    /// A block with a scope of its own.
    fn block(&mut self, depth: usize) -> Vec<Stmt> {
        let outside = self.scope.clone();
        let mut to = Vec::new();
        for _ in 0..2 + self.random.below(6) {
            match self.random.below(if depth == 0 { 8 } else { 11 }) {
                0..5 => {
                    self.expr(&mut to);
                }
                5 => {
                    let ty = self.random.pick(&TYPES);
                    let (at, value) = (self.index(&mut to), self.any(ty));
                    to.push(Stmt::Store { arg: 3 + ty as u8, dtype: DENSE[ty as usize], at, value });
                }
                6 => {
                    let ty = self.random.pick(&TYPES);
                    let cell = Cell(ty as u32 * 2 + self.random.below(2) as u32);
                    to.push(Stmt::Set { cell, value: self.any(ty) });
                }
                7 => {
                    if self.random.below(40) == 0 {
                        to.push(Stmt::Fail { status: 5 });
                    }
                }
                8 => {
                    let cond = self.any(Ty::Int);
                    let then = self.block(depth - 1);
                    let other = self.block(depth - 1);
                    to.push(Stmt::If { cond, then, other });
                }
                9 => {
                    let (start, more) = (self.random.pick(&[-2, 0, 3, i64::MAX - 2]), self.random.pick(&[-1, 0, 1, 2]));
                    let from = self.put(&mut to, Ty::Int, Expr::Int(start));
                    let more = self.put(&mut to, Ty::Int, Expr::Int(more));
                    let end = self.put(&mut to, Ty::Int, Expr::Binary(Binary::IAdd, from, more));
                    let var = self.build.value(Ty::Int);
                    self.scope[0].push(var);
                    let body = self.block(depth - 1);
                    self.scope[0].retain(|v| *v != var);
                    to.push(Stmt::For { var, from, to: end, body });
                }
                _ => {
                    // a cell of its own counts down
                    let cell = Cell(self.build.kernel.cells.len() as u32);
                    self.build.kernel.cells.push(Ty::Int);
                    let times = self.random.below(4) as i64;
                    let times = self.put(&mut to, Ty::Int, Expr::Int(times));
                    to.push(Stmt::Set { cell, value: times });
                    let outside = self.scope.clone();
                    let mut head = self.block(0);
                    let left = self.put(&mut head, Ty::Int, Expr::Get(cell));
                    let mut body = self.block(depth - 1);
                    let one = self.put(&mut body, Ty::Int, Expr::Int(1));
                    let less = self.put(&mut body, Ty::Int, Expr::Binary(Binary::ISub, left, one));
                    body.push(Stmt::Set { cell, value: less });
                    self.scope = outside;
                    to.push(Stmt::While { head, cond: left, body });
                }
            }
        }
        self.scope = outside;
        to
    }
}

/// Random kernels with control flow, on the levels in turn.
pub fn random(levels: &[Facts]) -> Vec<Case> {
    let mut random = Random(0x5eed);
    let mut cases = Vec::new();
    for number in 0..400 {
        let buffers: Vec<(Dtype, Vec<u8>)> = (0..6)
            .map(|arg| {
                let all = values(TYPES[arg % 3]);
                (DENSE[arg % 3], (0..64).flat_map(|_| all[random.below(all.len())].clone()).collect())
            })
            .collect();
        let mut build = Build::default();
        build.kernel.cells = [Ty::Int, Ty::Int, Ty::F32, Ty::F32, Ty::F64, Ty::F64].to_vec();
        let mut writer = Writer { random: &mut random, build, scope: Default::default(), unaries: unaries(), binaries: binaries() };
        let mut start = Vec::new();
        for ty in TYPES {
            let expr = match ty {
                Ty::Int => Expr::Int(5),
                Ty::F32 => Expr::F32(1.5f32.to_bits()),
                Ty::F64 => Expr::F64(2.5f64.to_bits()),
            };
            writer.put(&mut start, ty, expr);
        }
        for _ in 0..4 {
            start.extend(writer.block(3));
        }
        // every cell is seen
        for (i, ty) in TYPES.iter().flat_map(|ty| [ty, ty]).enumerate() {
            let at = writer.put(&mut start, Ty::Int, Expr::Int(i as i64));
            let value = writer.put(&mut start, *ty, Expr::Get(Cell(i as u32)));
            start.push(Stmt::Store { arg: 3 + *ty as u8, dtype: DENSE[*ty as usize], at, value });
        }
        let mut scalar = writer.build.kernel;
        scalar.body = start;
        cases.push(case(&format!("random {number}"), scalar, &levels[number % levels.len()], buffers));
    }
    cases
}
