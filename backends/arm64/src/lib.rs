//! Tile kernels to ARM64 machine code (NEON). Never sees a graph, and lays out no file.
//!
//! * [`facts`]: the CPU levels.
//! * [`encode`]: instructions to words.
//! * [`select`]: statements to instructions.
//! * [`loops`]: what finished code says of its loops.
//! * [`stubs`]: CPU detection, program entry, system calls.

pub mod encode;
pub mod facts;
pub mod loops;
pub mod select;
pub mod stubs;

pub use select::compile;

use artifact::{Relocation, RelocationKind, Symbol};

/// A finished function as a local symbol of an artifact.
pub fn function(name: impl Into<String>, code: encode::Code) -> Symbol {
    let relocation =
        |call: encode::Call| Relocation { offset: call.offset, kind: RelocationKind::Aarch64Call26, symbol: call.symbol, addend: 0 };
    let relocations = code.calls.into_iter().map(relocation).collect();
    Symbol::function(name, encode::Code::ALIGN, code.bytes, relocations)
}
