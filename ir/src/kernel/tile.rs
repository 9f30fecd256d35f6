//! Tile kernels: hot vector loops. Registers are explicit, planned by the generator from Facts; every
//! address is a pointer register and a constant, every trip count is a constant. Lanes are 32 bits wide,
//! read as f32 or as i32 by the operation; products of small integers read them as two of 16 bits or four bytes. A machine turns each statement into one or two instructions.

/// A vector register, `0..facts.vectors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct V(pub u8);

/// A pointer register. On entry `P(i)` holds argument `i`; the others are undefined until they are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct P(pub u8);

/// The address `p + offset`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct At {
    pub p: P,
    pub offset: i32,
}

/// The second source of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    V(V),
    /// A whole vector in memory. Menu: `memory_operand`.
    Memory(At),
    /// One 32-bit element in memory, in all lanes. Menu: `splat_operand`.
    Splat(At),
    /// These 32 bits in all lanes; lies in the constant pool, or in an immediate. Every machine takes it.
    Bits(u32),
    /// This lane of a register, in all lanes. Menu: `lane_operand`.
    Lane(V, u8),
}

/// An integer in memory that is narrower than a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Narrow {
    U8,
    I8,
    U16,
    I16,
}

impl Narrow {
    /// Bytes of an element.
    pub const fn bytes(self) -> u8 {
        match self {
            Narrow::U8 | Narrow::I8 => 1,
            Narrow::U16 | Narrow::I16 => 2,
        }
    }

    pub const fn signed(self) -> bool {
        matches!(self, Narrow::I8 | Narrow::I16)
    }

    /// The smallest and the largest that it holds.
    pub const fn range(self) -> (i32, i32) {
        match self {
            Narrow::U8 => (0, 255),
            Narrow::I8 => (-128, 127),
            Narrow::U16 => (0, 65535),
            Narrow::I16 => (-32768, 32767),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TileKernel {
    pub body: Vec<Stmt>,
}

impl TileKernel {
    /// Multiply-adds of f32 that a call does, for so many lanes.
    pub fn multiply_adds(&self, lanes: usize) -> u64 {
        fn count(body: &[Stmt]) -> u64 {
            let each = body.iter().map(|stmt| match stmt {
                Stmt::Loop { times, body } => u64::from(*times) * count(body),
                stmt => u64::from(matches!(stmt, Stmt::MulAdd { .. })),
            });
            each.sum()
        }
        count(&self.body) * lanes as u64
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stmt {
    /// `times` is at least 1. Pointers moved inside stay moved.
    Loop {
        times: u32,
        body: Vec<Stmt>,
    },
    /// `to = from + offset`.
    Point {
        to: P,
        from: P,
        offset: i64,
    },
    /// `p += by`.
    Advance {
        p: P,
        by: i64,
    },
    /// These bits in all lanes.
    Set {
        to: V,
        bits: u32,
    },
    Copy {
        to: V,
        from: V,
    },
    /// The first `lanes` lanes from memory, the others 0. No byte beyond them is touched.
    Load {
        to: V,
        at: At,
        lanes: u8,
    },
    /// One element in all lanes.
    Splat {
        to: V,
        at: At,
    },
    /// The first `lanes` elements of `kind`, each widened to the 32 bits of its lane; the other lanes 0. No byte beyond
    /// them is touched.
    LoadNarrow {
        to: V,
        at: At,
        lanes: u8,
        kind: Narrow,
    },
    /// One element of `kind`, widened, in all lanes.
    SplatNarrow {
        to: V,
        at: At,
        kind: Narrow,
    },
    /// Lane `i` from `at + i * stride` bytes, for the first `lanes` lanes, the others 0.
    Gather {
        to: V,
        at: At,
        stride: i32,
        lanes: u8,
    },
    /// The first `lanes` lanes to memory. No byte beyond them is touched.
    Store {
        from: V,
        at: At,
        lanes: u8,
    },
    /// The first `lanes` lanes, integers that `kind` holds, to elements of `kind`. No byte beyond them is touched. What
    /// is stored of any other integer is unspecified: the generator clamps first.
    StoreNarrow {
        from: V,
        at: At,
        lanes: u8,
        kind: Narrow,
    },
    /// Lane `i` to `at + i * stride` bytes, for the first `lanes` lanes.
    Scatter {
        from: V,
        at: At,
        stride: i32,
        lanes: u8,
    },
    /// A whole vector, four lanes at a time: those from lane `4 i` on come from `at + i * stride` bytes.
    LoadQuads {
        to: V,
        at: At,
        stride: i32,
    },
    /// A whole vector, four lanes at a time: those from lane `4 i` on go to `at + i * stride` bytes, in this order.
    StoreQuads {
        from: V,
        at: At,
        stride: i32,
    },
    /// Asks for the cache line of `at` in L2. It changes nothing, and may point anywhere.
    Prefetch {
        at: At,
    },
    /// `acc = a * b + acc`, or `acc - a * b` when `negate`. Rounds once where Facts say fused.
    MulAdd {
        acc: V,
        a: V,
        b: Operand,
        negate: bool,
    },
    /// Each i32 lane of `acc` += the sum of the four products of the bytes of that lane; wraps. Menu: as `kind`.
    Dot4 {
        kind: Dot4,
        acc: V,
        a: V,
        b: Operand,
    },
    /// `a` and `b` are, in each 16 bytes, two rows of eight bytes; `acc` is the 2x2 matrix `a x b^T` of i32, row by row, of
    /// the same 16 bytes, and is added to; wraps. Menu: `matrix8`.
    Matrix2x8 {
        kind: Dot4,
        acc: V,
        a: V,
        b: V,
    },
    /// Each i16 of `acc` += the product of two i8, those in the first eight of each 16 bytes, or the last; wraps. Menu: `long8`.
    MulAdd8 {
        high: bool,
        acc: V,
        a: V,
        b: V,
    },
    /// Each i32 lane of `acc` += the sum of the two i16 of that lane of `a`; wraps. Menu: `long8`.
    PairAdd {
        acc: V,
        a: V,
    },
    /// `acc = acc * x + c`: a step of Horner's rule. Rounds once where Facts say fused.
    Horner {
        acc: V,
        x: V,
        c: Operand,
    },
    Unary {
        op: Unary,
        to: V,
        a: V,
    },
    Binary {
        op: Binary,
        to: V,
        a: V,
        b: Operand,
    },
    /// `to = cmp(x, y) ? a : b`, lane by lane. `to` may be any of them.
    Select {
        to: V,
        cmp: Compare,
        x: V,
        y: Operand,
        a: V,
        b: V,
    },
    /// Each byte of `to` is the byte of the table that the same byte of `a` counts to. The table is the 256 bytes at `table`.
    /// `to`, `a` and `temps` are registers of their own; `temps` are undefined afterwards.
    Lookup {
        to: V,
        a: V,
        table: At,
        temps: [V; 2],
    },
    /// Folds the lanes of `from` with `op`; the result in all lanes of `to`. The order is fixed: lane `i` with
    /// lane `i + half`, then halves again, `half` from `lanes / 2` down to 1. `op` is `Add`, `Max` or `Min`.
    /// `temp` is neither of the others; it is undefined afterwards.
    Fold {
        op: Binary,
        to: V,
        from: V,
        temp: V,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unary {
    /// f32: flips the sign bit.
    Neg,
    /// f32: clears the sign bit.
    Abs,
    Sqrt,
    Floor,
    Ceil,
    Trunc,
    /// To nearest, halves to even.
    Round,
    /// f32 to i32, toward zero; what does not fit, and NaN, is unspecified: the generator clamps first.
    ToInt,
    /// i32 to f32, rounded to nearest.
    FromInt,
    /// i32 shifted left by 0..=31 bits.
    Shl(u8),
    /// Logical shift right by 0..=31 bits.
    Shr(u8),
    /// Arithmetic shift right by 0..=31 bits.
    Sar(u8),
    /// This lane in all lanes. Menu: `lane_operand`.
    Spread(u8),
    /// In each 16 bytes: the first eight, each as an i8 widened to 16 bits. Menu: `widen8`.
    LowI8,
    /// In each 16 bytes: the first eight, each as a u8 widened to 16 bits. Menu: `widen8`.
    LowU8,
    /// The magnitude of each i8, as a u8. Menu: `pair_sat`.
    Abs8,
    /// All bits of each i8 that is negative, no bit of others. Menu: `pair_sat`.
    Negative8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    /// What Facts say of NaN and zeros.
    Min,
    /// What Facts say of NaN and zeros.
    Max,
    And,
    Or,
    Xor,
    /// `!a & b`.
    AndNot,
    IAdd,
    ISub,
    IMul,
    /// Signed.
    IMin,
    /// Signed.
    IMax,
    /// Lanes of 16 bits; wraps. Takes no `Splat`, like all that follow.
    Add16,
    /// Two products of bytes, u8 of `a` by i8 of `b`, added and saturated to the i16 where they stand. Menu: `pair_sat`.
    PairSat,
    /// Two products of i16 added into the i32 lane where they stand; wraps. Menu: `pair16`.
    Pair16,
    /// The i16 products of the i8 in the first eight of each 16 bytes. Menu: `long8`.
    MulLow8,
    /// The i16 products of the i8 in the last eight of each 16 bytes. Menu: `long8`.
    MulHigh8,
    /// In each 16 bytes: the sums of the pairs of neighbouring i32 lanes of `a`, then of `b`; wraps. Menu: `widen8`.
    IAddPairs,
    /// In each 16 bytes: the first eight of `a`, then the first eight of `b`.
    LowHalves,
    /// In each 16 bytes: the last eight of `a`, then the last eight of `b`.
    HighHalves,
    /// In each 16 bytes: the first two lanes of `a` and those of `b`, in turns.
    LowLanes,
    /// In each 16 bytes: the last two lanes of `a` and those of `b`, in turns.
    HighLanes,
    /// The larger of each two u8.
    MaxU8,
    /// The larger of each two i8.
    MaxI8,
    /// In each 16 bytes: the first eight bytes of `a` and of `b`, by turns.
    ZipLow8,
    /// In each 16 bytes: the last eight bytes of `a` and of `b`, by turns.
    ZipHigh8,
    /// In each 16 bytes: the first four pairs of bytes of `a` and of `b`, by turns.
    ZipLow16,
    /// In each 16 bytes: the last four pairs of bytes of `a` and of `b`, by turns.
    ZipHigh16,
    /// In each 16 bytes: the four i32 of `a`, then those of `b`, saturated to i16.
    PackI16,
    /// In each 16 bytes: the eight i16 of `a`, then those of `b`, saturated to u8.
    PackU8,
    /// In each 16 bytes: the eight i16 of `a`, then those of `b`, saturated to i8.
    PackI8,
}

impl Binary {
    /// Works on lanes of other than 32 bits, or moves them. Such an operation takes no `Splat`.
    pub fn is_narrow(self) -> bool {
        match self {
            Binary::Add16 | Binary::PairSat | Binary::Pair16 | Binary::MulLow8 | Binary::MulHigh8 => true,
            Binary::IAddPairs | Binary::LowHalves | Binary::HighHalves | Binary::LowLanes | Binary::HighLanes => true,
            Binary::MaxU8 | Binary::MaxI8 | Binary::ZipLow8 | Binary::ZipHigh8 | Binary::ZipLow16 | Binary::ZipHigh16 => true,
            Binary::PackI16 | Binary::PackU8 | Binary::PackI8 => true,
            Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Min | Binary::Max => false,
            Binary::And | Binary::Or | Binary::Xor | Binary::AndNot => false,
            Binary::IAdd | Binary::ISub | Binary::IMul | Binary::IMin | Binary::IMax => false,
        }
    }
}

/// How the bytes of the two sides of a product are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub enum Dot4 {
    /// `a` as u8, `b` as i8. Menu, but for matrices: `dot4_u8s8`.
    U8S8,
    /// Both as i8. Menu, but for matrices: `dot4_s8s8`.
    S8S8,
}

/// A comparison of lanes. Float ones are false when either side is NaN, but `Ne` and `Unordered`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    /// Either is NaN.
    Unordered,
    IEq,
    /// Signed.
    ILt,
}
