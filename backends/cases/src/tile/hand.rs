//! Small kernels that go through every operation, every partial access, and every form of an address or a constant.

use super::{
    FLOAT_BINARIES, FLOAT_COMPARES, FLOAT_UNARIES, FLOATS, FOLDS, INTEGER_BINARIES, INTEGER_COMPARES, INTEGERS, Source, at, case, dots,
    filled, narrow_binaries, sources, words,
};
use crate::{Buffer, Case};
use ir::kernel::facts::Facts;
use ir::kernel::tile::{Binary, Dot4, Operand, P, Stmt, Unary, V};
use ir::tensor::Dtype;

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
pub(super) fn crowd(facts: &Facts, crowded: bool, name: String, stmt: Stmt, tight: Buffer, reads: bool) -> Case {
    let loose = words((0..facts.lanes() as u32).map(|i| 0x300 + i));
    crowd_of(facts, crowded, name, stmt, [tight, loose], reads)
}

/// The same, with the whole vector to store.
pub(super) fn crowd_of(facts: &Facts, crowded: bool, name: String, stmt: Stmt, [tight, loose]: [Buffer; 2], reads: bool) -> Case {
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
    let rest = filled(others.len() * vector);
    let buffers = if reads { vec![tight, loose, rest] } else { vec![loose, tight, rest] };
    case(facts, format!("{name}{}", if crowded { ", crowded" } else { "" }), body, buffers)
}

// ------------------------------------------------------------------------------------------------------------ operations

/// Every operation, on every kind of operand, with every pair of the special values, in every overlap of registers.
pub fn operations(facts: &Facts) -> Vec<Case> {
    let mut cases = Vec::new();
    let shifts = (0..32).flat_map(|n| [Unary::Shl(n), Unary::Shr(n), Unary::Sar(n)]);
    let unaries = FLOAT_UNARIES.into_iter().map(|op| (op, FLOATS));
    let unaries = unaries.chain([(Unary::FromInt, INTEGERS), (Unary::ToInt, convertible())]);
    for (op, values) in unaries.chain(shifts.map(|op| (op, INTEGERS))) {
        for to in [V(0), V(1)] {
            let stmt = move |_| Stmt::Unary { op, to, a: V(1) };
            cases.push(pairs(facts, format!("{op:?}"), values, Source::Register, to, &stmt));
        }
    }
    for source in sources(facts) {
        let binaries = FLOAT_BINARIES.into_iter().map(|op| (op, FLOATS));
        for (op, values) in binaries.chain(INTEGER_BINARIES.into_iter().map(|op| (op, INTEGERS))) {
            for to in [V(0), V(1), V(2)] {
                let stmt = move |b| Stmt::Binary { op, to, a: V(1), b };
                cases.push(pairs(facts, format!("{op:?} {source:?}"), values, source, to, &stmt));
            }
        }
        for negate in [false, true] {
            let stmt = move |b| Stmt::MulAdd { acc: V(3), a: V(1), b, negate };
            cases.push(pairs(facts, format!("MulAdd {negate} {source:?}"), FLOATS, source, V(3), &stmt));
        }
        let stmt = |c| Stmt::Horner { acc: V(3), x: V(1), c };
        cases.push(pairs(facts, format!("Horner {source:?}"), FLOATS, source, V(3), &stmt));
        let narrow = narrow_binaries(facts).into_iter().filter(|_| !matches!(source, Source::Splat));
        for (op, to) in narrow.flat_map(|op| [V(0), V(1), V(2)].map(|to| (op, to))) {
            let stmt = move |b| Stmt::Binary { op, to, a: V(1), b };
            cases.push(pairs(facts, format!("{op:?} {source:?}"), BYTES, source, to, &stmt));
        }
        for kind in dots(facts) {
            let stmt = move |b| Stmt::Dot4 { kind, acc: V(3), a: V(1), b };
            cases.push(pairs(facts, format!("{kind:?} {source:?}"), BYTES, source, V(3), &stmt));
        }
        let compares = FLOAT_COMPARES.into_iter().map(|cmp| (cmp, FLOATS));
        for (cmp, values) in compares.chain(INTEGER_COMPARES.into_iter().map(|cmp| (cmp, INTEGERS))) {
            for to in [V(0), V(1), V(2), V(3), V(4)] {
                let stmt = move |y| Stmt::Select { to, cmp, x: V(1), y, a: V(3), b: V(4) };
                cases.push(pairs(facts, format!("{cmp:?} {source:?}"), values, source, to, &stmt));
            }
        }
    }
    for kind in [Dot4::U8S8, Dot4::S8S8].into_iter().filter(|_| facts.menu.matrix8) {
        let stmt = move |_| Stmt::Matrix2x8 { kind, acc: V(3), a: V(2), b: V(1) };
        cases.push(pairs(facts, format!("Matrix2x8 {kind:?}"), BYTES, Source::Register, V(3), &stmt));
    }
    for (lane, to) in (0..facts.lanes() as u8).flat_map(|lane| [(lane, V(0)), (lane, V(2))]).filter(|_| facts.menu.lane_operand) {
        let stmt = move |_| Stmt::Unary { op: Unary::Spread(lane), to, a: V(2) };
        cases.push(pairs(facts, format!("Spread({lane})"), BYTES, Source::Register, to, &stmt));
    }
    for (op, to) in
        [Unary::Abs8, Unary::Negative8].into_iter().flat_map(|op| [V(0), V(1)].map(|to| (op, to))).filter(|_| facts.menu.pair_sat)
    {
        let stmt = move |_| Stmt::Unary { op, to, a: V(1) };
        cases.push(pairs(facts, format!("{op:?}"), BYTES, Source::Register, to, &stmt));
    }
    for op in [Unary::LowI8, Unary::LowU8].into_iter().filter(|_| facts.menu.widen8) {
        for to in [V(0), V(2)] {
            let stmt = move |_| Stmt::Unary { op, to, a: V(2) };
            cases.push(pairs(facts, format!("{op:?}"), BYTES, Source::Register, to, &stmt));
        }
        // loaded for it
        let body = vec![
            Stmt::Load { to: V(0), at: at(0, 3), lanes: 2 },
            Stmt::Unary { op, to: V(0), a: V(0) },
            Stmt::Store { from: V(0), at: at(1, 0), lanes: facts.lanes() as u8 },
        ];
        let bytes = (0..11).map(|i| 0x70 + 3 * i).collect();
        cases.push(case(facts, format!("{op:?} of what is loaded"), body, vec![Buffer::of(bytes), filled(facts.vector_bytes as usize)]));
    }
    if facts.menu.long8 {
        for high in [false, true] {
            let stmt = move |_| Stmt::MulAdd8 { high, acc: V(3), a: V(2), b: V(1) };
            cases.push(pairs(facts, format!("MulAdd8 {high}"), BYTES, Source::Register, V(3), &stmt));
        }
        cases.push(pairs(facts, "PairAdd".into(), BYTES, Source::Register, V(3), &|_| Stmt::PairAdd { acc: V(3), a: V(2) }));
    }
    for op in FOLDS {
        for to in [V(0), V(2)] {
            let stmt = move |_| Stmt::Fold { op, to, from: V(2), temp: V(1) };
            cases.push(pairs(facts, format!("Fold {op:?}"), FLOATS, Source::Register, to, &stmt));
        }
    }
    cases
}

/// Bytes at both ends of their ranges, alone and beside others: sums of their products saturate, wrap, or just do not.
const BYTES: [u32; 16] = [
    0x0000_0000,
    0x0101_0101,
    0x7F7F_7F7F,
    0x8080_8080,
    0xFFFF_FFFF,
    0x80FF_7F01,
    0x017F_FF80,
    0x8000_8000,
    0x7FFF_7FFF,
    0x0080_0080,
    0xFF00_00FF,
    0x1234_5678,
    0xFEDC_BA98,
    0x81FF_8181,
    0x4040_C0C0,
    0x0300_FD05,
];

/// Floats that fit an i32.
fn convertible() -> [u32; 16] {
    [0.0, -0.0, 0.5, -0.5, 0.99, -0.99, 1.5, -1.5, 2.5, 1e6, -1e6, 2e9, -2e9, 1e-40, 8388607.5, -2147483648.0].map(f32::to_bits)
}

/// Runs `stmt` for every pair of `values`: register 1 holds one of them in all lanes, register 2 and the operand a vector of
/// them; 3 and 4 hold constants, all registers above are in use. Stores `to`.
fn pairs(facts: &Facts, name: String, values: [u32; 16], source: Source, to: V, stmt: &dyn Fn(Operand) -> Stmt) -> Case {
    let whole = facts.lanes() as u8;
    let vector = facts.vector_bytes as i32;
    // `Bits` are part of the statement; the others go through the second values as vectors or one by one.
    let operands: Vec<Operand> = match source {
        Source::Register => vec![Operand::V(V(2)); 16 / whole as usize],
        Source::Lane => (0..16).map(|i| Operand::Lane(V(2), i % whole)).collect(),
        Source::Memory => (0..16 / whole as i32).map(|i| Operand::Memory(at(1, i * vector))).collect(),
        Source::Splat => (0..16).map(|i| Operand::Splat(at(1, 4 * i))).collect(),
        Source::Bits => values.map(Operand::Bits).to_vec(),
    };
    let mut round = Vec::new();
    for (i, &operand) in operands.iter().enumerate() {
        let second = vector
            * match source {
                Source::Lane => i as i32 / whole as i32,
                Source::Register | Source::Memory | Source::Splat | Source::Bits => i as i32 % (16 / whole as i32),
            };
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
    let buffer = |buffer: Buffer| if values == BYTES { Buffer { dtype: Dtype::I32, ..buffer } } else { buffer };
    case(facts, name, body, [words(values), words(values), filled(out)].map(buffer).into())
}

// -------------------------------------------------------------------------------------------------------------- pointers

/// Pointers that move by every size of immediate, far away and back, and loops that run once.
pub fn pointers(facts: &Facts) -> Vec<Case> {
    let whole = facts.lanes() as u8;
    let far = [0, 4, 127, 128, -128, 1000, 1 << 31, -(1 << 31), 1 << 33, -(1 << 40), i64::from(i32::MAX)];
    let mut cases = Vec::new();
    let last = P(facts.generals - 1);
    for by in far {
        for (to, from) in [(P(2), P(0)), (P(0), P(0)), (last, P(0))] {
            let body = vec![
                Stmt::Point { to, from, offset: by },
                Stmt::Loop { times: 1, body: vec![Stmt::Advance { p: to, by: 8 }] },
                Stmt::Advance { p: to, by: -by },
                Stmt::Loop { times: 1, body: vec![Stmt::Load { to: V(0), at: at(to.0, 0), lanes: whole }] },
                Stmt::Store { from: V(0), at: at(1, 0), lanes: whole },
            ];
            let from = words((0..2 + whole as u32).map(|i| 0x400 + i));
            let buffers = vec![from, filled(facts.vector_bytes as usize)];
            cases.push(case(facts, format!("{to:?} by {by}"), body, buffers));
        }
    }
    cases
}

/// Accesses of every size at offsets on both sides of every bound, forward and back.
pub fn offsets(facts: &Facts) -> Vec<Case> {
    const MIDDLE: i32 = 140_000;
    // bounds of 8, 9, 12 and 16 bits, of multiples of 4 and 16, and of bytes scaled by a vector of 16, 32 or 64
    let near = [-8196, -8192, -4096, -2048, -512, -132, -128, 124, 128, 508, 512, 2032, 2048, 4064, 8128, 8192];
    let far = [-139_000, -65_540, -4100, -1032, -1024, -260, -256, -4, 0, 4, 252, 256, 260, 1008, 1012, 4080, 4096, 16_380, 16_384, 32_760];
    let far = far.into_iter().chain([32_764, 65_520, 65_524, 65_536, 65_540, 131_072, 139_000]).chain(near);
    let mut cases = Vec::new();
    for lanes in 0..=facts.lanes() as u8 {
        let mut body = Vec::new();
        for (i, offset) in far.clone().enumerate() {
            let v = 2 * (i as u8 % (facts.vectors / 2).min(8));
            let (v, w) = (V(v), V(v + 1));
            body.push(Stmt::Prefetch { at: at(0, offset) });
            body.push(Stmt::Load { to: v, at: at(0, offset), lanes });
            body.push(Stmt::Splat { to: w, at: at(0, offset) });
            body.push(Stmt::Store { from: v, at: at(1, offset), lanes });
            body.push(Stmt::Gather { to: v, at: at(0, offset), stride: -4, lanes });
            body.push(Stmt::Scatter { from: v, at: at(1, offset + 16), stride: 24, lanes });
            body.push(Stmt::Store { from: w, at: at(1, offset + 200), lanes });
            body.push(Stmt::LoadQuads { to: v, at: at(0, offset), stride: 20 * i32::from(lanes) - 100 });
            body.push(Stmt::StoreQuads { from: v, at: at(1, offset + 300), stride: 24 });
        }
        let middle = |buffer: Buffer| Buffer { start: MIDDLE as usize, ..buffer };
        let from = middle(words((0..2 * MIDDLE as u32 / 4).map(|i| 0x1000 + i)));
        cases.push(case(facts, format!("offsets {lanes}"), body, vec![from, middle(filled(2 * MIDDLE as usize))]));
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
    case(facts, "constants".into(), body, vec![filled(all.len() * facts.vector_bytes as usize)])
}

/// Loops in which accesses stand side by side and pointers move: what may become one instruction, and what may not.
pub fn movements(facts: &Facts) -> Vec<Case> {
    let whole = facts.lanes() as u8;
    // places are written for vectors of 16 bytes, and stretched for wider ones; what is far stays far
    let wide = facts.vector_bytes as i32 / 16;
    const FAR: i32 = 100_000;
    let stretch = |offset: i32| if offset < FAR { offset * wide } else { FAR + (offset - FAR) * wide };
    let load = |v, p, offset| Stmt::Load { to: V(v), at: at(p, stretch(offset)), lanes: whole };
    let store = |v, offset| Stmt::Store { from: V(v), at: at(1, stretch(offset)), lanes: whole };
    let advance = |p, by| Stmt::Advance { p: P(p), by: stretch(by).into() };
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
        vec![
            load(0, 0, 0),
            Stmt::Point { to: P(2), from: P(0), offset: stretch(16).into() },
            load(1, 2, 0),
            advance(2, 64),
            load(2, 2, 0),
            advance(0, 32),
        ],
        vec![
            load(0, 0, 0),
            advance(0, 32),
            Stmt::Point { to: P(2), from: P(0), offset: stretch(16).into() },
            load(1, 2, 0),
            load(2, 0, 16),
        ],
        vec![load(0, 0, 0), Stmt::Loop { times: 2, body: vec![load(1, 0, 16), advance(0, 16), sum(4, 1)] }, advance(0, 16)],
        vec![load(0, 0, 0), Stmt::Loop { times: 3, body: vec![sum(4, 0)] }, load(1, 0, 48), advance(0, 16)],
        vec![load(0, 0, 0), load(1, 0, FAR), load(2, 0, FAR + 16), advance(0, 16), load(3, 0, FAR)],
    ];
    let mut cases = Vec::new();
    for (i, turn) in bodies.into_iter().enumerate() {
        let mut turn = turn;
        turn.extend((0..4).map(|v| sum(v + 4, v)));
        turn.extend([store(4, 16), store(5, 0), store(6, 32), store(5, 32), store(7, 48), advance(1, 64)]);
        let mut body: Vec<Stmt> = (0..8).map(|v| Stmt::Set { to: V(v), bits: v.into() }).collect();
        body.push(Stmt::Loop { times: 5, body: turn });
        let from = Buffer { start: 20_000, ..words((0..32_000u32).map(|i| i * i)) };
        cases.push(case(facts, format!("movement {i}"), body, vec![from, filled(5 * 4 * facts.vector_bytes as usize)]));
    }
    cases
}
