//! Kernels that do nothing but multiply and add, on registers that do not wait for each other: what they reach is the most
//! that a core can do at a level.

use ir::kernel::facts::Facts;
use ir::kernel::tile::{At, Binary, Dot4, Operand, P, Stmt, TileKernel, V};
use ir::kernel::{Access, Arg, Kernel, KernelBody};

/// Turns of the loop.
const TIMES: u32 = 2_000;

/// Multiply-adds of f32, and how many a call does. It stores a vector at its argument.
pub fn floats(facts: &Facts) -> (Kernel, u64) {
    let one = |acc, factor, _| vec![Stmt::MulAdd { acc, a: factor, b: Operand::V(factor), negate: false }];
    kernel("peak", facts, 1, &one)
}

/// The same of bytes; `None` where the machine multiplies none.
pub fn bytes(facts: &Facts) -> Option<(Kernel, u64)> {
    let menu = &facts.menu;
    let kind = if menu.dot4_u8s8 { Dot4::U8S8 } else { Dot4::S8S8 };
    let at_once = |acc, factor, _| vec![Stmt::Dot4 { kind, acc, a: factor, b: Operand::V(factor) }];
    let matrices = |acc, factor, _| vec![Stmt::Matrix2x8 { kind: Dot4::S8S8, acc, a: factor, b: factor }];
    let binary = |op, to, a, b| Stmt::Binary { op, to, a, b: Operand::V(b) };
    let by_pairs = |acc, factor, temp| {
        let widened = binary(Binary::Pair16, temp, temp, factor);
        vec![binary(Binary::PairSat, temp, factor, factor), widened, binary(Binary::IAdd, acc, acc, temp)]
    };
    if menu.matrix8 {
        Some(kernel("peak_bytes", facts, 8, &matrices))
    } else if menu.dot4_u8s8 || menu.dot4_s8s8 {
        Some(kernel("peak_bytes", facts, 4, &at_once))
    } else if menu.pair_sat && menu.pair16 {
        Some(kernel("peak_bytes", facts, 4, &by_pairs))
    } else {
        None
    }
}

/// `one` adds products to a register by a factor and perhaps with a temporary: `each` of them in a lane.
fn kernel(name: &str, facts: &Facts, each: u64, one: &dyn Fn(V, V, V) -> Vec<Stmt>) -> (Kernel, u64) {
    let sums = if facts.vectors > 16 { 24 } else { facts.vectors.min(16) - 4 };
    let (factor, temps) = (V(facts.vectors - 1), [2, 3, 4].map(|n| V(facts.vectors - n)));
    let used = (0..sums).map(V).chain([factor]).chain(temps);
    let mut body: Vec<Stmt> = used.map(|to| Stmt::Set { to, bits: 0 }).collect();
    let products = (0..sums).flat_map(|v| one(V(v), factor, temps[v as usize % temps.len()])).collect();
    body.push(Stmt::Loop { times: TIMES, body: products });
    // all are stored, so that none is left out
    let lanes = facts.lanes() as u8;
    body.extend((0..sums).map(|v| Stmt::Store { from: V(v), at: At { p: P(0), offset: 0 }, lanes }));
    let arg = Arg { name: "sums".into(), access: Access::Write, low: 0, high: i64::from(facts.vector_bytes) };
    let macs = u64::from(TIMES) * u64::from(sums) * facts.lanes() as u64 * each;
    (Kernel { name: name.into(), args: vec![arg], body: KernelBody::Tile(TileKernel { body }) }, macs)
}
