//! The CPU levels of x86-64, as data. To add one is to add a constant and its row.

use ir::kernel::Facts;
use ir::kernel::facts::{Level, Menu, MinMax};

use crate::stubs::cpu;

/// Every level, the plainest first.
pub const LEVELS: &[Level] = &[
    Level { facts: &X86_64_V3, needs: "AVX2, FMA, BMI, F16C (Haswell 2013, Zen 2017)", cpu: cpu::V3 },
    Level { facts: &X86_64_V4, needs: "AVX-512 F BW CD DQ VL (Skylake-X 2017, Zen 4 2022)", cpu: cpu::V4 },
];

/// AVX2 with FMA: Haswell of 2013, Zen of 2017, and later. Two multiply-adds per cycle, each of four cycles since Skylake and
/// Zen 2: eight accumulators. They take five cycles on Haswell, where eight reach four fifths of the peak; tiles have more
/// than eight wherever the shape allows it.
pub const X86_64_V3: Facts = Facts {
    name: "x86-64-v3",
    vector_bytes: 32,
    vectors: 16,
    generals: 15,
    fused: true,
    min_max: MinMax::SecondOnTie,
    menu: Menu { memory_operand: true, splat_operand: false, lane_operand: false, masks: false },
    caches: [32 << 10, 256 << 10, 2 << 20],
    accumulators: 8,
    reach: i32::MAX,
    unroll: 4,
};

/// AVX-512 F, BW, CD, DQ, VL: Skylake-X of 2017, Zen 4 of 2022, and later. Multiply-adds as in [`X86_64_V3`].
pub const X86_64_V4: Facts = Facts {
    name: "x86-64-v4",
    vector_bytes: 64,
    vectors: 32,
    generals: 15,
    fused: true,
    min_max: MinMax::SecondOnTie,
    menu: Menu { memory_operand: true, splat_operand: true, lane_operand: false, masks: true },
    caches: [32 << 10, 1 << 20, 2 << 20],
    accumulators: 8,
    reach: i32::MAX,
    unroll: 4,
};
