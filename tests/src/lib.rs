//! What the tests of the whole house share: the runner of filetests, the house itself, and the ONNX suite. Tests of one
//! room live in that room.

pub mod differ;
pub mod filetest;
pub mod fuzz;
pub mod house;
pub mod operators;
pub mod suite;
