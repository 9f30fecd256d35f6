//! The functions under attack, which the tests share.

#[path = "../../../tests/src/fuzz.rs"]
pub mod fuzz;
