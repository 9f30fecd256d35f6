//! x86-64 instructions to bytes. Forms are rows of tables; what is common to them is written once. Knows nothing of
//! kernels, and chooses nothing but the shortest encoding of what it is told.
//!
//! * `operand`: registers and addresses.
//! * `assembler`: bytes, labels, constant pool, symbols.
//! * `form`: the table of vector and mask instructions.
//! * `vector`: the VEX and EVEX prefixes, and one function per arrangement of operands.
//! * `general`: instructions on general registers, and control flow.
//!
//! The tests decode every form, in every class of register and displacement, with an independent disassembler.

mod assembler;
pub mod form;
mod general;
mod operand;
mod vector;

#[cfg(test)]
mod tests;

pub use assembler::{Assembler, Code, Constant, Label, Level, Relocation, Symbol};
pub use form::Form;
pub use general::{Alu, Condition, Fixed, Narrow, Prefetch, Shift, Source, Unary, Width};
pub use operand::{Address, Gpr, Length, Mask, Mem, Operand, Reg, Scale, Vector};
pub use vector::Vectors;
