//! The levels of WebAssembly, as data. What runs the module is a compiler of its own, with the registers of the machine below it:
//! these Facts are what such compilers do well.

use ir::kernel::Facts;
use ir::kernel::facts::{Level, Menu, MinMax};

/// Every level, the plainest first. Their weights are laid out alike, so that one file serves both.
pub const LEVELS: &[Level] = &[
    Level { facts: &SIMD128, needs: "fixed-width SIMD (Chrome 91, Firefox 89, Safari 16.4, Node 16)", cpu: 0 },
    Level { facts: &RELAXED, needs: "relaxed SIMD (Chrome 114, Firefox 145, Node 21)", cpu: 0 },
];

/// Fixed-width SIMD: every browser since 2023, Node since 16.
///
/// V8 has 15 vector registers on x86-64, and its older versions move all loads of a loop's body to the front of it, where they
/// take registers until they are used. So nothing is unrolled, and the generator leaves registers for such loads: tiles of four
/// rows by eight columns, as fast there as anything, and fast everywhere (`bench/README.md`).
pub const SIMD128: Facts = Facts {
    name: "simd128",
    vector_bytes: 16,
    vectors: 15,
    generals: 15,
    fused: false,
    min_max: MinMax::SecondOnTie,
    menu: Menu { memory_operand: true, splat_operand: true, pair16: true, widen8: true, ..Menu::PLAIN },
    caches: [32 << 10, 512 << 10, 2 << 20],
    accumulators: 8,
    reach: i32::MAX,
    unroll: 1,
};

/// Relaxed SIMD: a multiply-add that rounds once on every machine that has the instruction. Whoever loads the module finds out
/// whether this one has; without it the results are less exact.
pub const RELAXED: Facts = Facts { name: "relaxed", fused: true, ..SIMD128 };
