//! Kernel IR: what a machine executes, as data. A kernel is a function over pointers with everything else
//! baked in: sizes, pitches, trip counts. There are two kinds, [`tile`] (hot vector loops with explicit
//! registers) and [`scalar`] (everything else, virtual values).
//!
//! This module knows machines only as [`Facts`].

pub mod facts;
pub mod run;
#[cfg(test)]
pub(crate) mod samples;
pub mod scalar;
pub mod text;
pub mod tile;
pub mod verify;

pub use facts::Facts;
pub use run::run;
pub use scalar::ScalarKernel;
pub use tile::TileKernel;
pub use verify::verify;

/// A compiled loop nest. Two kernels that are equal share one symbol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// What it does, for symbols and dumps: `dot_14x32_k576`. Made unique when the program is built.
    pub name: String,
    /// The memory behind each pointer argument, in order.
    pub args: Vec<Arg>,
    pub body: KernelBody,
}

/// A pointer argument.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arg {
    pub name: String,
    /// Every access lies in `low..high` bytes around the pointer. `low` is 0 or negative: a kernel that reads
    /// a halo may be given a pointer into the middle of its buffer.
    pub low: i64,
    pub high: i64,
    pub access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    Read,
    Write,
    /// Reads what it, or an earlier call, has written.
    ReadWrite,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KernelBody {
    Tile(TileKernel),
    Scalar(ScalarKernel),
}
