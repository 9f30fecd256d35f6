//! Passes: Graph to Graph, independent of any machine. A model comes in as the importer wrote it, operator by
//! operator, and goes out as few nodes that each are one kernel: transposes cancelled, constants folded,
//! pointwise work inside what produces or consumes it.
//!
//! A rule is a value ([`rule::Rule`]), a rewrite is a value ([`rule::Rewrite`]); the runner ([`run`]) applies,
//! verifies, counts and explains them. Recipes are lists ([`recipe`]). This crate knows no target, reads no
//! clock, and does no input or output.

pub mod canonical;
mod channels;
pub mod check;
pub mod clean;
pub mod layout;
mod oracle;
pub mod pointwise;
pub mod quantization;
pub mod recipe;
pub mod rule;
pub mod rules;
pub mod run;
pub mod scalar;

pub use quantization::{Folded, Semantics};
pub use recipe::Recipe;
pub use rule::{Builder, Match, Rewrite, Rule, Val};
pub use run::{Fuel, Line, Observer, Options, Pass, Report, Summary, Work, optimize};
