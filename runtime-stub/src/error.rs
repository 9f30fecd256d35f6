//! What can be wrong with a model or a call before and after it runs. Tensors are named by side and index, so that an
//! error needs no allocation; `Model::inputs` and `outputs` have the names.

use crate::{DType, Status};
use core::fmt;

/// Which list of tensors an index counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Input,
    Output,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Input => "input",
            Side::Output => "output",
        })
    }
}

/// Lengths and counts are in elements, `bytes` where it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The descriptor is of another ABI version.
    Abi { found: u32 },
    /// The descriptor contradicts itself; says where.
    Descriptor(&'static str),
    /// The weights are of another size, or not 64-byte aligned.
    Weights { have_bytes: u64, want_bytes: u64, aligned: bool },
    /// The model keeps its weights in a file of their own, and none were given.
    NoWeights { want_bytes: u64 },
    /// The lent memory is too small.
    Memory { have_bytes: usize, want_bytes: usize },
    /// The system has not the memory that the model wants.
    Allocation { want_bytes: usize },
    /// More or fewer tensors than the model has.
    Count { side: Side, have: usize, want: usize },
    /// Another element type than the model's. `have` is the first type that the slice stands for.
    Type { side: Side, index: usize, have: DType, want: DType },
    /// Bytes of [`crate::Input::bytes`] that do not lie at a multiple of their element's size.
    Misaligned { side: Side, index: usize },
    /// A slice of the wrong length; of an output: shorter than `want`, the length at the upper bounds.
    Length { side: Side, index: usize, have: usize, want: usize },
    /// Given dimensions of another number than the model's.
    Rank { input: usize, have: usize, want: usize },
    /// A given dimension that differs from the model's, from a bound symbol, or from another input's.
    Dimension { input: usize, axis: usize, have: i64, want: i64 },
    /// The length does not fit any value of the symbolic dimension, or several dimensions are open: give the dimensions.
    Shape { input: usize, have: usize },
    /// A symbol outside its range, both ends included.
    Range { symbol: usize, have: i64, min: i64, max: i64 },
    /// The model has no symbol of that name.
    NoSymbol,
    /// The model ran and returned this.
    Status(Status),
    /// The model ran and returned a status that this version of the ABI does not know.
    UnknownStatus(i32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::Abi { found } => write!(f, "the model has ABI version {found}, this library speaks {}", crate::ABI),
            Error::Descriptor(what) => write!(f, "the model's descriptor is wrong: {what}"),
            Error::Weights { have_bytes, want_bytes, aligned: true } => {
                write!(f, "the weights have {have_bytes} bytes, the model wants {want_bytes}")
            }
            Error::Weights { aligned: false, .. } => f.write_str("the weights are not 64-byte aligned"),
            Error::NoWeights { want_bytes } => write!(f, "the model wants {want_bytes} bytes of weights, none were given"),
            Error::Memory { have_bytes, want_bytes } => {
                write!(f, "{have_bytes} bytes of memory were lent, the model wants {want_bytes}")
            }
            Error::Allocation { want_bytes } => write!(f, "there are no {want_bytes} bytes of memory for the model"),
            Error::Count { side, have, want } => {
                write!(f, "{have} {side}s were given, the model has {want}")
            }
            Error::Type { side, index, have, want } => write!(f, "{side} {index} is {have}, the model wants {want}"),
            Error::Misaligned { side, index } => {
                write!(f, "{side} {index} is not aligned for its element type")
            }
            Error::Length { side, index, have, want } => {
                write!(f, "{side} {index} has {have} elements, the model wants {want}")
            }
            Error::Rank { input, have, want } => write!(f, "input {input} has {have} dimensions, the model wants {want}"),
            Error::Dimension { input, axis, have, want } => {
                write!(f, "input {input}: dimension {axis} is {have}, it must be {want}")
            }
            Error::Shape { input, have } => {
                write!(f, "input {input}: its dimensions do not follow from {have} elements; give them")
            }
            Error::Range { symbol, have, min, max } => {
                write!(f, "symbol {symbol} is {have}, it must be {min} to {max}")
            }
            Error::NoSymbol => f.write_str("the model has no symbol of that name"),
            Error::Status(status) => status.fmt(f),
            Error::UnknownStatus(code) => write!(f, "the model returned the unknown status {code}"),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Error::Status(status) => Some(status),
            _ => None,
        }
    }
}
