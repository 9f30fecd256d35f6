//! A machine as data: what the kernel generator plans with and what the verifier checks against. A CPU
//! level is one constant of this type in its machine's crate.

/// What a CPU level offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The level's name: `x86-64-v3`.
    pub name: &'static str,
    /// Bytes of a vector register: 16, 32 or 64.
    pub vector_bytes: u32,
    /// Vector registers.
    pub vectors: u8,
    /// General registers for pointers and loop counters together.
    pub generals: u8,
    /// `mul_add` rounds once. Where not, it is a multiplication and an addition, both rounded.
    pub fused: bool,
    pub min_max: MinMax,
    pub menu: Menu,
    /// Data cache bytes of one core: L1, L2, and its share of L3.
    pub caches: [u64; 3],
    /// Latency x throughput of the multiply-add: independent accumulators needed to saturate it.
    pub accumulators: u8,
    /// Largest displacement in bytes that the address of a vector's load takes for free. Farther elements are
    /// reached through pointers of their own.
    pub reach: i32,
    /// Steps of K in one turn of a product's loop.
    pub unroll: u8,
}

/// A CPU level: a row of its machine's table.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    pub facts: &'static Facts,
    /// What it takes, for people.
    pub needs: &'static str,
    /// The bits of the machine's CPU word without which its code must not run. 0: every CPU runs it, and nobody needs to ask.
    pub cpu: u64,
}

/// What the native minimum and maximum do with NaN and zeros of two signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinMax {
    /// `max(a, b) = a > b ? a : b`: the second operand when either is NaN or both are zero.
    SecondOnTie,
    /// NaN if either is; -0 below +0.
    Ieee,
}

/// Instructions that not every machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Menu {
    /// An operand may come from memory.
    pub memory_operand: bool,
    /// An operand may be one element in memory repeated over the lanes.
    pub splat_operand: bool,
    /// An operand may be one lane of a register.
    pub lane_operand: bool,
    /// Partial loads and stores cost what full ones do.
    pub masks: bool,
    /// Four products of bytes into a lane, u8 by i8.
    pub dot4_u8s8: bool,
    /// Four products of bytes into a lane, i8 by i8.
    pub dot4_s8s8: bool,
    /// Products of matrices of 2x8 bytes, u8 or i8 by i8.
    pub matrix8: bool,
    /// `PairSat`: two products of bytes, u8 by i8, into 16 bits.
    pub pair_sat: bool,
    /// `Pair16`: two products of 16 bits into a lane.
    pub pair16: bool,
    /// `LowI8` and `LowU8`: bytes to 16 bits; and `IAddPairs`, for sums that stand in two lanes.
    pub widen8: bool,
    /// `MulLow8` and `MulHigh8`: products of bytes, i8 by i8, each into 16 bits; `MulAdd8` and `PairAdd`, which add them up.
    pub long8: bool,
    /// Bytes are picked from two vectors by the bytes of a third: a `Lookup` is a few instructions.
    pub pick8: bool,
}

impl Menu {
    /// What every machine has: the menu to start from.
    pub const PLAIN: Menu = Menu {
        memory_operand: false,
        splat_operand: false,
        lane_operand: false,
        masks: false,
        dot4_u8s8: false,
        dot4_s8s8: false,
        matrix8: false,
        pair_sat: false,
        pair16: false,
        widen8: false,
        long8: false,
        pick8: false,
    };
}

impl Facts {
    /// 32-bit lanes of a vector.
    pub fn lanes(&self) -> usize {
        self.vector_bytes as usize / 4
    }

    /// Multiply-adds of 32 bits that start in a cycle, all lanes counted.
    pub fn mul_adds(&self) -> f64 {
        self.lanes() as f64 * f64::from(self.accumulators) / 4.0
    }
}
