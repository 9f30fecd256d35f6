//! The statuses that a compiled model's `run` returns, and what each one means to the person who called it.

use core::fmt;

/// Why a run did not give an answer. Status 0, all well, is no error and has no variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// A pointer of the call is null or not aligned as it must be.
    Pointer = 1,
    /// The arena is smaller than the model and its workers need.
    Arena = 2,
    /// An input has the wrong size, or a symbol lies outside its range.
    Size = 3,
    /// The data made an operation impossible: an index out of range.
    Data = 4,
    /// The CPU lacks a feature that the artifact was compiled for.
    Cpu = 5,
}

impl Status {
    pub const ALL: [Status; 5] = [Status::Pointer, Status::Arena, Status::Size, Status::Data, Status::Cpu];

    /// The status of a number other than 0; `None` when this version of the ABI has no such status.
    pub fn of(code: i32) -> Option<Status> {
        Status::ALL.into_iter().find(|s| *s as i32 == code)
    }

    /// One line for people, without the number.
    pub fn message(self) -> &'static str {
        match self {
            Status::Pointer => "a pointer is null or misaligned",
            Status::Arena => "the arena is too small",
            Status::Size => "an input has the wrong size, or a dimension is out of range",
            Status::Data => "bad data at run time (an index out of range)",
            Status::Cpu => "this CPU lacks a feature that the model was compiled for",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}: {}", *self as i32, self.message())
    }
}

impl core::error::Error for Status {}
