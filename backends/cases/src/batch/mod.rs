//! Many functions in one process: a program that calls each with its buffers and gives the buffers back. Each buffer ends where its
//! memory ends: the page behind it may not be touched. A function that does not restore what it must is found. Knows no kernel.

pub mod aarch64;
pub mod x86;

use artifact::Symbol;

use crate::{Buffer, Case};

/// A function and what its pointers point to.
pub struct Call {
    pub function: Symbol,
    pub buffers: Vec<Buffer>,
}

/// Each case with its function, which `compile` makes under the given name.
pub fn calls(cases: &[Case], compile: impl Fn(String, &Case) -> Symbol) -> Vec<Call> {
    let call = |(i, case): (usize, &Case)| Call { function: compile(format!("k{i}"), case), buffers: case.buffers.clone() };
    cases.iter().enumerate().map(call).collect()
}
