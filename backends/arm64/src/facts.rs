//! The CPU levels of ARM64, as data. To add one is to add a constant and its row.

use ir::kernel::Facts;
use ir::kernel::facts::{Level, Menu, MinMax};

use crate::stubs::cpu;

/// Every level, the plainest first.
pub const LEVELS: &[Level] = &[
    Level { facts: &ARMV8, needs: "NEON (every 64-bit ARM)", cpu: 0 },
    Level { facts: &ARMV8_DOTPROD, needs: "sdot, udot (Cortex-A55 and A76 2018, Apple A13 2019)", cpu: cpu::DOTPROD },
    Level { facts: &ARMV8_I8MM, needs: "armv8+dotprod and smmla (Cortex-X2 and A710 2021, Apple M2 2022)", cpu: cpu::DOTPROD | cpu::I8MM },
];

/// The first 64-bit ARM, with NEON, which all have that run a system: Cortex-A53 of 2012 and later. Two multiply-adds per cycle
/// of four cycles on Neoverse N1, four of four cycles on V1. An address holds twelve bits, counted in vectors.
pub const ARMV8: Facts = Facts {
    name: "armv8",
    vector_bytes: 16,
    vectors: 32,
    generals: 26,
    fused: true,
    min_max: MinMax::Ieee,
    menu: Menu { lane_operand: true, widen8: true, long8: true, ..Menu::PLAIN },
    caches: [32 << 10, 256 << 10, 1 << 20],
    accumulators: 16,
    reach: 65520,
    unroll: 4,
};

/// With dot products of four bytes: Cortex-A76 of 2018, Apple A13 and M1, Neoverse N1, and later.
pub const ARMV8_DOTPROD: Facts =
    Facts { name: "armv8+dotprod", menu: Menu { dot4_s8s8: true, ..ARMV8.menu }, caches: [64 << 10, 512 << 10, 1 << 20], ..ARMV8 };

/// With products of 2x8 matrices of bytes as well: Cortex-A510 and X2 of 2021, Apple M2, Neoverse V1, and later.
pub const ARMV8_I8MM: Facts =
    Facts { name: "armv8+i8mm", menu: Menu { matrix8: true, ..ARMV8_DOTPROD.menu }, caches: [64 << 10, 1 << 20, 2 << 20], ..ARMV8 };
