//! Tile kernels to x86-64 machine code, for AVX2 with FMA and for AVX-512. Never sees a graph, and lays out no file.
//!
//! * [`facts`]: the CPU levels.
//! * [`encode`]: instructions to bytes.
//! * [`select`]: statements to instructions.
//! * [`stubs`]: CPU detection, program entry, system calls.

pub mod encode;
pub mod facts;
pub mod select;
pub mod stubs;

pub use select::compile;

use artifact::{Relocation, RelocationKind, Symbol};

/// A finished function as a local symbol of an artifact.
pub fn function(name: impl Into<String>, code: encode::Code) -> Symbol {
    let relocations = code
        .relocations
        .into_iter()
        .map(|r| Relocation { offset: r.offset, kind: RelocationKind::X86Pc32, symbol: r.symbol, addend: i64::from(r.addend) })
        .collect();
    Symbol::function(name, encode::Code::ALIGN, code.bytes, relocations)
}
