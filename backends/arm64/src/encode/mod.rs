//! ARM64 instructions to words. Forms are rows of tables; what is common to them is written once. Knows nothing of kernels, and
//! chooses nothing but the shortest way to say what it is told.
//!
//! * `register`: registers and addresses.
//! * `assembler`: words, labels, constant pool, calls.
//! * `vector`: the table of vector instructions, and immediates of vectors.
//! * `memory`: loads and stores.
//! * `general`: instructions on general registers, and control flow.
//!
//! The tests read every form, over every register and the ends of every immediate, with an independent disassembler.

mod assembler;
mod general;
mod memory;
mod register;
pub mod vector;

#[cfg(test)]
mod tests;

pub use assembler::{Assembler, Call, Code, Constant, Label};
pub use general::{Condition, SystemRegister};
pub use memory::{Place, Slot};
pub use register::{Gpr, Vector, Width};
