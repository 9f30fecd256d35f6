//! Everything native that is no vector loop, to machine code: scalar kernels, the entry point that checks the arguments and calls
//! the kernels in order, and the main function of the executable form. Each comes out as symbols for `artifact`.
//!
//! This is the one crate that names Cranelift. It refuses to know vector instructions, file formats and the graph. What it makes
//! calls nothing but symbols that its caller named: an operation that Cranelift would turn into a library call is a panic here.

mod entry;
pub mod exe;
mod function;
mod half;
mod scalar;
mod steps;
mod symbols;
mod target;

pub use entry::{Entry, Level, Memory, Weights, entry, reset};
pub use exe::{Exe, exe};
pub use scalar::scalar_kernel;
pub use target::Target;
