//! Four rows of quads become four columns, and back: in each 16 bytes, a matrix of four by four lanes is transposed. It is the
//! same for rows of activations that become vectors along rows, and for sums on their way back.

use crate::tile::Writer;
use ir::kernel::facts::Facts;
use ir::kernel::tile::{At, Binary, Operand, Stmt, V};

/// Transposes; `temp` takes part. The result is in the order of the registers returned, the last is free.
pub(super) fn transpose([a, b, c, d]: [V; 4], temp: V, w: &mut Writer) -> ([V; 4], V) {
    w.binary(Binary::LowLanes, temp, a, Operand::V(b));
    w.binary(Binary::HighLanes, b, a, Operand::V(b));
    w.binary(Binary::LowLanes, a, c, Operand::V(d));
    w.binary(Binary::HighLanes, d, c, Operand::V(d));
    w.binary(Binary::LowHalves, c, temp, Operand::V(a));
    w.binary(Binary::HighHalves, temp, temp, Operand::V(a));
    w.binary(Binary::LowHalves, a, b, Operand::V(d));
    w.binary(Binary::HighHalves, b, b, Operand::V(d));
    ([c, temp, a, b], d)
}

/// A vector of quads that lie `stride` bytes apart.
pub(super) fn load(facts: &Facts, to: V, at: At, stride: i64) -> Stmt {
    match facts.lanes() {
        4 => Stmt::Load { to, at, lanes: 4 },
        _ => Stmt::LoadQuads { to, at, stride: stride as i32 },
    }
}

/// The same to memory.
pub(super) fn store(facts: &Facts, from: V, at: At, stride: i64) -> Stmt {
    match facts.lanes() {
        4 => Stmt::Store { from, at, lanes: 4 },
        _ => Stmt::StoreQuads { from, at, stride: stride as i32 },
    }
}
