//! The languages that every floor of the house speaks, as plain data: tensor types and constants, the
//! scalar language, Graph (tensor operators), kernel IR (loops) and Program (calls in order). Each has
//! a verifier, a text form that parses back, and an oracle that says what it means.
//!
//! This crate names no file format and no machine, and does no I/O.

pub mod dim;
pub mod fault;
pub mod graph;
pub mod kernel;
pub mod program;
pub mod quant;
pub mod scalar;
pub mod tensor;
pub mod text;

pub use dim::{Dim, Symbols};
pub use fault::{Fault, Kind};
pub use graph::{Graph, NodeId, Op};
pub use program::Program;
pub use scalar::Body;
pub use tensor::{Dtype, Tensor, Type};
