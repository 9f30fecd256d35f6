//! Tile kernels to compare machines with: random ones, and small ones that go through every operation and every partial
//! access. Each is well formed for the Facts it was made for. A register or an argument holds floats or integers for its
//! whole life: which NaN an operation makes is not defined, so its bits must not be looked at as an integer.

use crate::batch::Buffer;
use ir::kernel::facts::Facts;
use ir::kernel::run;
use ir::kernel::tile::{At, Binary, Compare, Operand, P, Stmt, TileKernel, Unary, V};
use ir::kernel::{Access, Arg, Kernel, KernelBody};

/// A kernel and the memory behind its pointers.
pub struct Case {
    pub kernel: Kernel,
    pub buffers: Vec<Buffer>,
}

fn words(words: impl IntoIterator<Item = u32>) -> Buffer {
    Buffer { bytes: words.into_iter().flat_map(u32::to_le_bytes).collect(), start: 0 }
}

fn filled(bytes: usize) -> Buffer {
    Buffer { bytes: vec![0xA5; bytes], start: 0 }
}

impl Case {
    fn new(name: String, body: Vec<Stmt>, buffers: Vec<Buffer>) -> Case {
        let arg = |(i, buffer): (usize, &Buffer)| Arg {
            name: format!("a{i}"),
            low: -(buffer.start as i64),
            high: (buffer.bytes.len() - buffer.start) as i64,
            access: Access::ReadWrite,
        };
        let args = buffers.iter().enumerate().map(arg).collect();
        Case { kernel: Kernel { name, args, body: KernelBody::Tile(TileKernel { body }) }, buffers }
    }

    pub fn tile(&self) -> &TileKernel {
        match &self.kernel.body {
            KernelBody::Tile(tile) => tile,
            KernelBody::Scalar(_) => panic!("only tile kernels are made here"),
        }
    }

    /// The buffers after the oracle ran the kernel.
    pub fn expected(&self, facts: &Facts) -> Vec<Vec<u8>> {
        let mut memory: Vec<_> = self.buffers.iter().map(|b| b.bytes.clone()).collect();
        let pointer = |(i, buffer): (usize, &Buffer)| run::Pointer { buffer: i, offset: buffer.start };
        let args: Vec<_> = self.buffers.iter().enumerate().map(pointer).collect();
        let mut open: Vec<_> = memory.iter_mut().map(|bytes| run::Buffer::Open(bytes)).collect();
        assert_eq!(run::run(&self.kernel, facts, &mut open, &args), 0);
        memory
    }
}

/// A small generator of numbers: the same for the same seed, on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678_9ABC_DEF0)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// In `0..n`.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn float(&mut self) -> u32 {
        match self.below(8) {
            0 => self.pick(&FLOATS),
            1 => f32::from_bits(self.next() as u32).to_bits(),
            _ => ((self.next() % 20_001) as f32 / 1000.0 - 10.0).to_bits(),
        }
    }

    fn integer(&mut self) -> u32 {
        if self.below(4) == 0 { self.pick(&INTEGERS) } else { self.next() as u32 }
    }
}

/// Floats where rules differ.
const FLOATS: [u32; 16] = [
    0x0000_0000, // 0
    0x8000_0000, // -0
    0x3F80_0000, // 1
    0xBF80_0000, // -1
    0x3F00_0000, // 0.5
    0xC020_0000, // -2.5
    0x4060_0000, // 3.5
    0x4AFF_FFFF, // just below 2^23, with a half
    0x0000_0001, // the smallest subnormal
    0x807F_FFFF, // a large negative subnormal
    0x0080_0000, // the smallest normal
    0x7F7F_FFFF, // the largest
    0x7F80_0000, // infinity
    0xFF80_0000, // -infinity
    0x7FC0_0000, // NaN
    0xFFC0_0001, // another
];

const INTEGERS: [u32; 16] = [
    0,
    1,
    2,
    0xFFFF_FFFF,
    0xFFFF_FFFE,
    0x7FFF_FFFF,
    0x8000_0000,
    0x8000_0001,
    31,
    0x0000_FFFF,
    0x0001_0000,
    0x00FF_FF00,
    0xAAAA_AAAA,
    0x5555_5555,
    1000,
    0xFFFF_FC18,
];

const FLOAT_UNARIES: [Unary; 7] = [Unary::Neg, Unary::Abs, Unary::Sqrt, Unary::Floor, Unary::Ceil, Unary::Trunc, Unary::Round];
const FLOAT_BINARIES: [Binary; 6] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Min, Binary::Max];
const INTEGER_BINARIES: [Binary; 9] =
    [Binary::And, Binary::Or, Binary::Xor, Binary::AndNot, Binary::IAdd, Binary::ISub, Binary::IMul, Binary::IMin, Binary::IMax];
const FOLDS: [Binary; 3] = [Binary::Add, Binary::Max, Binary::Min];
const FLOAT_COMPARES: [Compare; 5] = [Compare::Eq, Compare::Ne, Compare::Lt, Compare::Le, Compare::Unordered];
const INTEGER_COMPARES: [Compare; 2] = [Compare::IEq, Compare::ILt];

fn at(p: u8, offset: i32) -> At {
    At { p: P(p), offset }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    Integer,
}

// ---------------------------------------------------------------------------------------------------------------- random

const BUFFER: usize = 16 << 10;

struct Maker<'a> {
    random: &'a mut Random,
    facts: &'a Facts,
    vectors: u8,
    /// By pointer.
    pointers: Vec<Kind>,
}

/// A random kernel. Pointers start in the middle of their buffers and never move far enough to leave them.
pub fn random(random: &mut Random, facts: &Facts) -> Case {
    let seed = random.0;
    let args = 2 + random.below(9);
    let mut buffers = Vec::new();
    let mut pointers = Vec::new();
    for i in 0..args {
        let kind = if i % 2 == 0 { Kind::Float } else { Kind::Integer };
        let word = |random: &mut Random| match kind {
            Kind::Float => random.float(),
            Kind::Integer => random.integer(),
        };
        let buffer = words((0..BUFFER / 4).map(|_| word(random)));
        buffers.push(Buffer { start: BUFFER / 2, ..buffer });
        pointers.push(kind);
    }
    let vectors = if random.below(3) == 0 { facts.vectors } else { 6 + random.below(facts.vectors as usize - 6) as u8 };
    let mut maker = Maker { random, facts, vectors, pointers };
    let body = maker.body(args);
    Case::new(format!("random {seed:016x}"), body, buffers)
}

impl Maker<'_> {
    fn body(&mut self, args: usize) -> Vec<Stmt> {
        let mut body = Vec::new();
        for v in 0..self.vectors {
            let bits = self.word(kind(V(v)));
            body.push(Stmt::Set { to: V(v), bits });
        }
        // Two counters stay free for the loops.
        let more = self.random.below((self.facts.generals as usize - 2 - args).min(4));
        for _ in 0..more {
            let from = self.random.below(args);
            let to = P(self.pointers.len() as u8);
            self.pointers.push(self.pointers[from]);
            body.push(Stmt::Point { to, from: P(from as u8), offset: 4 * (self.random.below(100) as i64 - 50) });
        }
        self.statements(&mut body, 12);
        for _ in 0..2 {
            body.push(self.repeat(2));
            self.statements(&mut body, 6);
        }
        // Everything that was computed is looked at.
        for v in 0..self.vectors {
            let p = self.pointer(kind(V(v)));
            body.push(Stmt::Store { from: V(v), at: self.at(p), lanes: self.facts.lanes() as u8 });
        }
        body
    }

    fn statements(&mut self, body: &mut Vec<Stmt>, most: usize) {
        for _ in 0..1 + self.random.below(most) {
            self.statement(body);
        }
    }

    fn repeat(&mut self, depth: usize) -> Stmt {
        let mut body = Vec::new();
        self.statements(&mut body, 12);
        if depth > 1 && self.random.below(2) == 0 {
            body.push(self.repeat(depth - 1));
            self.statements(&mut body, 4);
        }
        // Each at most once: what a pointer can drift is what 2 x 4 x 4 steps allow.
        for p in 0..self.pointers.len() {
            if self.random.below(2) == 0 {
                body.push(Stmt::Advance { p: P(p as u8), by: 4 * (self.random.below(65) as i64 - 32) });
            }
        }
        Stmt::Loop { times: 1 + self.random.below(4) as u32, body }
    }

    fn word(&mut self, kind: Kind) -> u32 {
        match kind {
            Kind::Float => self.random.float(),
            Kind::Integer => self.random.integer(),
        }
    }

    fn register(&mut self, wanted: Kind) -> V {
        let all: Vec<V> = (0..self.vectors).map(V).filter(|&v| kind(v) == wanted).collect();
        self.random.pick(&all)
    }

    fn pointer(&mut self, wanted: Kind) -> u8 {
        let all: Vec<u8> = (0..self.pointers.len() as u8).filter(|&p| self.pointers[p as usize] == wanted).collect();
        self.random.pick(&all)
    }

    fn at(&mut self, p: u8) -> At {
        let wide = self.random.below(4) == 0;
        let reach = if wide { 400 } else { 40 };
        at(p, 4 * (self.random.below(2 * reach) as i32 - reach as i32))
    }

    fn lanes(&mut self) -> u8 {
        let whole = self.facts.lanes();
        if self.random.below(2) == 0 { whole as u8 } else { self.random.below(whole + 1) as u8 }
    }

    fn operand(&mut self, kind: Kind) -> Operand {
        loop {
            match self.random.below(4) {
                0 => return Operand::V(self.register(kind)),
                1 => return Operand::Lane(self.register(kind), self.random.below(self.facts.lanes()) as u8),
                3 => return Operand::Bits(self.word(kind)),
                _ => {}
            }
        }
    }

    /// Whole accesses near each other through one pointer or two, of which a machine may join some.
    fn neighbours(&mut self, body: &mut Vec<Stmt>) {
        let kind = self.random.pick(&[Kind::Float, Kind::Integer]);
        let (load, whole) = (self.random.below(2) == 0, self.facts.lanes() as u8);
        let pointers = [self.pointer(kind), self.pointer(kind)];
        for _ in 0..2 + self.random.below(6) {
            let place = at(self.random.pick(&pointers), 16 * (self.random.below(7) as i32 - 3));
            let v = self.register(kind);
            body.push(if load { Stmt::Load { to: v, at: place, lanes: whole } } else { Stmt::Store { from: v, at: place, lanes: whole } });
        }
    }

    fn statement(&mut self, body: &mut Vec<Stmt>) {
        if self.random.below(8) == 0 {
            return self.neighbours(body);
        }
        let kind = if self.random.below(3) == 0 { Kind::Integer } else { Kind::Float };
        let p = self.pointer(kind);
        let place = self.at(p);
        let stride = 4 * (self.random.below(33) as i32 - 16);
        let lanes = self.lanes();
        let v = self.register(kind);
        let a = self.register(kind);
        let stmt = match self.random.below(12) {
            0 => Stmt::Set { to: v, bits: self.word(kind) },
            1 => Stmt::Copy { to: v, from: a },
            2 => Stmt::Load { to: v, at: place, lanes },
            3 => Stmt::Splat { to: v, at: place },
            4 => Stmt::Gather { to: v, at: place, stride, lanes },
            5 => Stmt::Store { from: v, at: place, lanes },
            // Lanes that share an address would make the order of the stores matter.
            6 if stride != 0 => Stmt::Scatter { from: v, at: place, stride, lanes },
            7 => self.choice(kind, v),
            _ => match kind {
                Kind::Float if self.random.below(6) == 0 => return self.fold(body, v, a),
                Kind::Float => self.float(v, a),
                Kind::Integer => return self.integer(body, v, a),
            },
        };
        body.push(stmt);
    }

    fn choice(&mut self, kind: Kind, to: V) -> Stmt {
        let (cmp, side) = if self.random.below(2) == 0 {
            (self.random.pick(&FLOAT_COMPARES), Kind::Float)
        } else {
            (self.random.pick(&INTEGER_COMPARES), Kind::Integer)
        };
        let (x, y) = (self.register(side), self.operand(side));
        Stmt::Select { to, cmp, x, y, a: self.register(kind), b: self.register(kind) }
    }

    /// The temporary is given a value again: what is left in it is not defined.
    fn fold(&mut self, body: &mut Vec<Stmt>, to: V, from: V) {
        let temp = self.register(Kind::Float);
        if temp != to && temp != from {
            body.push(Stmt::Fold { op: self.random.pick(&FOLDS), to, from, temp });
            body.push(Stmt::Set { to: temp, bits: self.random.float() });
        }
    }

    fn float(&mut self, v: V, a: V) -> Stmt {
        match self.random.below(5) {
            0 => Stmt::MulAdd { acc: v, a, b: self.operand(Kind::Float), negate: self.random.below(2) == 0 },
            1 => Stmt::Horner { acc: v, x: a, c: self.operand(Kind::Float) },
            2 => Stmt::Unary { op: self.random.pick(&FLOAT_UNARIES), to: v, a },
            3 => Stmt::Unary { op: Unary::FromInt, to: v, a: self.register(Kind::Integer) },
            _ => Stmt::Binary { op: self.random.pick(&FLOAT_BINARIES), to: v, a, b: self.operand(Kind::Float) },
        }
    }

    fn integer(&mut self, body: &mut Vec<Stmt>, v: V, a: V) {
        let bits = self.random.below(32) as u8;
        let stmt = match self.random.below(6) {
            0 => Stmt::Unary { op: Unary::Shl(bits), to: v, a },
            1 => Stmt::Unary { op: Unary::Shr(bits), to: v, a },
            2 => Stmt::Unary { op: Unary::Sar(bits), to: v, a },
            3 => {
                let float = self.register(Kind::Float);
                let most = Operand::Bits(2.0e9f32.to_bits());
                let least = Operand::Bits((-2.0e9f32).to_bits());
                body.push(Stmt::Binary { op: Binary::Min, to: float, a: float, b: most });
                body.push(Stmt::Binary { op: Binary::Max, to: float, a: float, b: least });
                Stmt::Unary { op: Unary::ToInt, to: v, a: float }
            }
            _ => Stmt::Binary { op: self.random.pick(&INTEGER_BINARIES), to: v, a, b: self.operand(Kind::Integer) },
        };
        body.push(stmt);
    }
}

fn kind(v: V) -> Kind {
    if v.0 % 3 == 2 { Kind::Integer } else { Kind::Float }
}

// ------------------------------------------------------------------------------------------------------ partial accesses

/// Every lane count of every access, in memory that has no byte more. Once with few registers, once with all in use,
/// whose values are looked at afterwards.
pub fn partial_accesses(facts: &Facts) -> Vec<Case> {
    let whole = facts.lanes() as u8;
    let mut cases = Vec::new();
    for lanes in 0..=whole {
        for crowded in [false, true] {
            let bytes = 4 * lanes as usize;
            let values = || words((0..lanes as u32).map(|i| 0x100 + i));
            let load = Stmt::Load { to: V(1), at: at(0, 0), lanes };
            cases.push(crowd(facts, crowded, format!("load {lanes}"), load, values(), true));
            let store = Stmt::Store { from: V(1), at: at(1, 0), lanes };
            cases.push(crowd(facts, crowded, format!("store {lanes}"), store, filled(bytes), false));
            for stride in [4i32, 8, -12, 132] {
                let span = if lanes == 0 { 0 } else { (lanes as usize - 1) * stride.unsigned_abs() as usize + 4 };
                let start = if stride < 0 { span.saturating_sub(4) } else { 0 };
                let from = Buffer { start, ..words((0..span as u32 / 4).map(|i| 0x200 + i)) };
                let gather = Stmt::Gather { to: V(1), at: at(0, 0), stride, lanes };
                cases.push(crowd(facts, crowded, format!("gather {lanes} by {stride}"), gather, from, true));
                let to = Buffer { start, ..filled(span) };
                let scatter = Stmt::Scatter { from: V(1), at: at(1, 0), stride, lanes };
                cases.push(crowd(facts, crowded, format!("scatter {lanes} by {stride}"), scatter, to, false));
            }
        }
    }
    cases
}

/// `stmt` between whole loads and stores of the registers around it. `tight` is the memory it accesses: argument 0 if it
/// reads, 1 if it writes; the other one is a whole vector.
fn crowd(facts: &Facts, crowded: bool, name: String, stmt: Stmt, tight: Buffer, reads: bool) -> Case {
    let whole = facts.lanes() as u8;
    let vector = facts.vector_bytes as usize;
    let others: Vec<V> = (0..facts.vectors).map(V).filter(|&v| crowded && v != V(1)).collect();
    let mut body = Vec::new();
    if !reads {
        body.push(Stmt::Load { to: V(1), at: at(0, 0), lanes: whole });
    }
    body.extend(others.iter().map(|&v| Stmt::Set { to: v, bits: 0x4200_0000 + v.0 as u32 }));
    body.push(stmt);
    if reads {
        body.push(Stmt::Store { from: V(1), at: at(1, 0), lanes: whole });
    }
    for (i, &v) in others.iter().enumerate() {
        body.push(Stmt::Store { from: v, at: at(2, (i * vector) as i32), lanes: whole });
    }
    let loose = words((0..whole as u32).map(|i| 0x300 + i));
    let rest = filled(others.len() * vector);
    let buffers = if reads { vec![tight, loose, rest] } else { vec![loose, tight, rest] };
    Case::new(format!("{name}{}", if crowded { ", crowded" } else { "" }), body, buffers)
}

// ------------------------------------------------------------------------------------------------------------ operations

/// Where the second source of an operation comes from.
const SOURCES: [&str; 3] = ["register", "lane", "bits"];

/// Every operation, on every kind of operand, with every pair of the special values, in every overlap of registers.
pub fn operations(facts: &Facts) -> Vec<Case> {
    let mut cases = Vec::new();
    let shifts = (0..32).flat_map(|n| [Unary::Shl(n), Unary::Shr(n), Unary::Sar(n)]);
    let unaries = FLOAT_UNARIES.into_iter().map(|op| (op, FLOATS));
    let unaries = unaries.chain([(Unary::FromInt, INTEGERS), (Unary::ToInt, convertible())]);
    for (op, values) in unaries.chain(shifts.map(|op| (op, INTEGERS))) {
        for to in [V(0), V(1)] {
            let stmt = move |_| Stmt::Unary { op, to, a: V(1) };
            cases.push(pairs(facts, format!("{op:?}"), values, "register", to, &stmt));
        }
    }
    for source in SOURCES {
        let binaries = FLOAT_BINARIES.into_iter().map(|op| (op, FLOATS));
        for (op, values) in binaries.chain(INTEGER_BINARIES.into_iter().map(|op| (op, INTEGERS))) {
            for to in [V(0), V(1), V(2)] {
                let stmt = move |b| Stmt::Binary { op, to, a: V(1), b };
                cases.push(pairs(facts, format!("{op:?} {source}"), values, source, to, &stmt));
            }
        }
        for negate in [false, true] {
            let stmt = move |b| Stmt::MulAdd { acc: V(3), a: V(1), b, negate };
            cases.push(pairs(facts, format!("MulAdd {negate} {source}"), FLOATS, source, V(3), &stmt));
        }
        let stmt = |c| Stmt::Horner { acc: V(3), x: V(1), c };
        cases.push(pairs(facts, format!("Horner {source}"), FLOATS, source, V(3), &stmt));
        let compares = FLOAT_COMPARES.into_iter().map(|cmp| (cmp, FLOATS));
        for (cmp, values) in compares.chain(INTEGER_COMPARES.into_iter().map(|cmp| (cmp, INTEGERS))) {
            for to in [V(0), V(1), V(2), V(3), V(4)] {
                let stmt = move |y| Stmt::Select { to, cmp, x: V(1), y, a: V(3), b: V(4) };
                cases.push(pairs(facts, format!("{cmp:?} {source}"), values, source, to, &stmt));
            }
        }
    }
    for op in FOLDS {
        for to in [V(0), V(2)] {
            let stmt = move |_| Stmt::Fold { op, to, from: V(2), temp: V(1) };
            cases.push(pairs(facts, format!("Fold {op:?}"), FLOATS, "register", to, &stmt));
        }
    }
    cases
}

/// Floats that fit an i32.
fn convertible() -> [u32; 16] {
    [0.0, -0.0, 0.5, -0.5, 0.99, -0.99, 1.5, -1.5, 2.5, 1e6, -1e6, 2e9, -2e9, 1e-40, 8388607.5, -2147483648.0].map(f32::to_bits)
}

/// Runs `stmt` for every pair of `values`: register 1 holds one of them in all lanes, register 2 and the operand a vector of
/// them; 3 and 4 hold constants, all registers above are in use. Stores `to`.
fn pairs(facts: &Facts, name: String, values: [u32; 16], source: &str, to: V, stmt: &dyn Fn(Operand) -> Stmt) -> Case {
    let whole = facts.lanes() as u8;
    let vector = facts.vector_bytes as i32;
    // `Bits` are part of the statement; the others go through the second values as vectors or one by one.
    let operands: Vec<Operand> = match source {
        "bits" => values.map(Operand::Bits).to_vec(),
        "lane" => (0..16).map(|i| Operand::Lane(V(2), i % whole)).collect(),
        _ => vec![Operand::V(V(2)); 16 / whole as usize],
    };
    let mut round = Vec::new();
    for (i, &operand) in operands.iter().enumerate() {
        let second = match source {
            "lane" => i as i32 / whole as i32,
            _ => i as i32 % (16 / whole as i32),
        } * vector;
        round.push(Stmt::Splat { to: V(1), at: at(0, 0) });
        round.push(Stmt::Load { to: V(2), at: at(1, second), lanes: whole });
        round.push(Stmt::Set { to: V(3), bits: 2.75f32.to_bits() });
        round.push(Stmt::Set { to: V(4), bits: (-7.5f32).to_bits() });
        round.push(stmt(operand));
        round.push(Stmt::Store { from: to, at: at(2, i as i32 * vector), lanes: whole });
    }
    round.push(Stmt::Advance { p: P(0), by: 4 });
    round.push(Stmt::Advance { p: P(2), by: operands.len() as i64 * vector as i64 });
    let mut body: Vec<Stmt> = (0..facts.vectors).map(|v| Stmt::Set { to: V(v), bits: v as u32 }).collect();
    body.push(Stmt::Loop { times: 16, body: round });
    let out = 16 * operands.len() * vector as usize;
    Case::new(name, body, vec![words(values), words(values), filled(out)])
}

// -------------------------------------------------------------------------------------------------------------- pointers

/// Pointers that move by every size of immediate, far away and back, and loops that run once.
pub fn pointers(facts: &Facts) -> Vec<Case> {
    let whole = facts.lanes() as u8;
    let far = [0, 4, 127, 128, -128, 1000, 1 << 31, -(1 << 31), 1 << 33, -(1 << 40), i64::from(i32::MAX)];
    let mut cases = Vec::new();
    for by in far {
        for (to, from) in [(P(2), P(0)), (P(0), P(0)), (P(25), P(0))] {
            let body = vec![
                Stmt::Point { to, from, offset: by },
                Stmt::Loop { times: 1, body: vec![Stmt::Advance { p: to, by: 8 }] },
                Stmt::Advance { p: to, by: -by },
                Stmt::Loop { times: 1, body: vec![Stmt::Load { to: V(0), at: at(to.0, 0), lanes: whole }] },
                Stmt::Store { from: V(0), at: at(1, 0), lanes: whole },
            ];
            let from = words((0..2 + whole as u32).map(|i| 0x400 + i));
            let buffers = vec![from, filled(facts.vector_bytes as usize)];
            cases.push(Case::new(format!("{to:?} by {by}"), body, buffers));
        }
    }
    cases
}

/// Accesses of every size at offsets on both sides of every bound, forward and back.
pub fn offsets(facts: &Facts) -> Vec<Case> {
    const MIDDLE: i32 = 140_000;
    let far = [-139_000, -65_540, -4100, -1032, -1024, -260, -256, -4, 0, 4, 252, 256, 260, 1008, 1012, 4080, 4096, 16_380, 16_384, 32_760];
    let far = far.into_iter().chain([32_764, 65_520, 65_524, 65_536, 65_540, 131_072, 139_000]);
    let mut cases = Vec::new();
    for lanes in 0..=facts.lanes() as u8 {
        let mut body = Vec::new();
        for (i, offset) in far.clone().enumerate() {
            let (v, w) = (V(2 * (i % 8) as u8), V(2 * (i % 8) as u8 + 1));
            body.push(Stmt::Prefetch { at: at(0, offset) });
            body.push(Stmt::Load { to: v, at: at(0, offset), lanes });
            body.push(Stmt::Splat { to: w, at: at(0, offset) });
            body.push(Stmt::Store { from: v, at: at(1, offset), lanes });
            body.push(Stmt::Gather { to: v, at: at(0, offset), stride: -4, lanes });
            body.push(Stmt::Scatter { from: v, at: at(1, offset + 16), stride: 24, lanes });
            body.push(Stmt::Store { from: w, at: at(1, offset + 200), lanes });
        }
        let middle = |buffer: Buffer| Buffer { start: MIDDLE as usize, ..buffer };
        let from = middle(words((0..2 * MIDDLE as u32 / 4).map(|i| 0x1000 + i)));
        cases.push(Case::new(format!("offsets {lanes}"), body, vec![from, middle(filled(2 * MIDDLE as usize))]));
    }
    cases
}

/// Constants of every form that an instruction may have, and of none.
pub fn constants(facts: &Facts) -> Case {
    let mut all = vec![0, u32::MAX, 0x1234_5678, 0x8000_0001, 0x00FF_00FE];
    for byte in 0..=255u32 {
        for shift in [0, 8, 16, 24] {
            all.extend([byte << shift, !(byte << shift)]);
        }
        all.extend([byte << 8 | 0xFF, byte << 16 | 0xFFFF, byte * 0x0001_0001, byte * 0x0100_0100, byte * 0x0101_0101]);
        all.extend([!(byte << 8 | 0xFF), !(byte << 16 | 0xFFFF), !(byte * 0x0001_0001), !(byte * 0x0100_0100)]);
        // floats of four bits, and their neighbours
        let float = (byte >> 7) << 31 | (0x20 - (byte >> 6 & 1)) << 25 | (byte & 0x3F) << 19;
        all.extend([float, float ^ 1 << 18, float ^ 1 << 30]);
    }
    let mut body = Vec::new();
    for (i, &bits) in all.iter().enumerate() {
        body.push(Stmt::Set { to: V(3), bits });
        body.push(Stmt::Store { from: V(3), at: at(0, (i * facts.vector_bytes as usize) as i32), lanes: facts.lanes() as u8 });
    }
    Case::new("constants".into(), body, vec![filled(all.len() * facts.vector_bytes as usize)])
}

/// Loops in which accesses stand side by side and pointers move: what may become one instruction, and what may not.
pub fn movements(facts: &Facts) -> Vec<Case> {
    let whole = facts.lanes() as u8;
    let load = |v, p, offset| Stmt::Load { to: V(v), at: at(p, offset), lanes: whole };
    let store = |v, offset| Stmt::Store { from: V(v), at: at(1, offset), lanes: whole };
    let advance = |p, by| Stmt::Advance { p: P(p), by };
    let sum = |to, a| Stmt::Binary { op: Binary::IAdd, to: V(to), a: V(to), b: Operand::V(V(a)) };
    let bodies: Vec<Vec<Stmt>> = vec![
        vec![load(0, 0, 0), load(1, 0, 16), load(2, 0, 32), load(3, 0, 48), advance(0, 64)],
        vec![load(0, 0, 16), load(1, 0, 0), load(2, 0, 48), load(3, 0, 32), advance(0, 64)],
        // one register twice, and a place twice
        vec![load(0, 0, 0), sum(4, 0), load(0, 0, 16), load(1, 0, 16), load(2, 0, 32), load(3, 0, 0), advance(0, 16)],
        vec![load(0, 0, 0), load(0, 0, 16), load(1, 0, 32), advance(0, 32)],
        // too far to move early
        vec![load(0, 0, 0), load(1, 0, 64), load(2, 0, 2000), load(3, 0, 2016), advance(0, 2048)],
        vec![load(0, 0, 0), load(1, 0, 160), load(2, 0, 320), advance(0, 240)],
        vec![load(0, 0, 0), load(1, 0, 160), load(2, 0, 336), advance(0, -240)],
        // another use between
        vec![load(0, 0, 0), Stmt::Splat { to: V(1), at: at(0, 4) }, load(2, 0, 64), advance(0, 16), load(3, 0, 0), advance(0, 16)],
        vec![load(0, 0, 0), Stmt::Point { to: P(2), from: P(0), offset: 16 }, load(1, 2, 0), advance(2, 64), load(2, 2, 0), advance(0, 32)],
        vec![load(0, 0, 0), advance(0, 32), Stmt::Point { to: P(2), from: P(0), offset: 16 }, load(1, 2, 0), load(2, 0, 16)],
        vec![load(0, 0, 0), Stmt::Loop { times: 2, body: vec![load(1, 0, 16), advance(0, 16), sum(4, 1)] }, advance(0, 16)],
        vec![load(0, 0, 0), Stmt::Loop { times: 3, body: vec![sum(4, 0)] }, load(1, 0, 48), advance(0, 16)],
        vec![load(0, 0, 0), load(1, 0, 100_000), load(2, 0, 100_016), advance(0, 16), load(3, 0, 100_000)],
    ];
    let mut cases = Vec::new();
    for (i, turn) in bodies.into_iter().enumerate() {
        let mut turn = turn;
        turn.extend((0..4).map(|v| sum(v + 4, v)));
        turn.extend([store(4, 16), store(5, 0), store(6, 32), store(5, 32), store(7, 48), advance(1, 64)]);
        let mut body: Vec<Stmt> = (0..8).map(|v| Stmt::Set { to: V(v), bits: v.into() }).collect();
        body.push(Stmt::Loop { times: 5, body: turn });
        let from = Buffer { start: 20_000, ..words((0..32_000u32).map(|i| i * i)) };
        cases.push(Case::new(format!("movement {i}"), body, vec![from, filled(5 * 64)]));
    }
    cases
}
