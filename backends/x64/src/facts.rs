//! The CPU levels of x86-64, as data. To add one is to add a constant and its row.

use ir::kernel::Facts;
use ir::kernel::facts::{Level, Menu, MinMax};

use crate::stubs::cpu;

/// Every level, the plainest first.
pub const LEVELS: &[Level] = &[
    Level { facts: &X86_64_V3, needs: "AVX2, FMA, BMI, F16C (Haswell 2013, Zen 2017)", cpu: cpu::V3 },
    Level { facts: &X86_64_V4, needs: "AVX-512 F BW CD DQ VL (Skylake-X 2017, Zen 4 2022)", cpu: cpu::V4 },
    Level { facts: &X86_64_V4_VNNI, needs: "x86-64-v4 and AVX512_VNNI (Cascade Lake 2019, Zen 4 2022)", cpu: cpu::V4 | cpu::VNNI },
    Level {
        facts: &X86_64_V4_VBMI,
        needs: "x86-64-v4+vnni and AVX512_VBMI (Ice Lake 2019, Zen 4 2022)",
        cpu: cpu::V4 | cpu::VNNI | cpu::VBMI,
    },
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
    menu: Menu { memory_operand: true, pair_sat: true, pair16: true, ..Menu::PLAIN },
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
    menu: Menu { splat_operand: true, masks: true, ..X86_64_V3.menu },
    caches: [32 << 10, 1 << 20, 2 << 20],
    accumulators: 8,
    reach: i32::MAX,
    unroll: 4,
};

/// AVX512_VNNI: Cascade Lake of 2019, Zen 4 of 2022, and later. A product of bytes starts as often as a multiply-add of floats.
pub const X86_64_V4_VNNI: Facts = Facts { name: "x86-64-v4+vnni", menu: Menu { dot4_u8s8: true, ..X86_64_V4.menu }, ..X86_64_V4 };

/// AVX512_VBMI: Ice Lake of 2019, Zen 4 of 2022, and later.
pub const X86_64_V4_VBMI: Facts = Facts { name: "x86-64-v4+vbmi", menu: Menu { pick8: true, ..X86_64_V4_VNNI.menu }, ..X86_64_V4_VNNI };
