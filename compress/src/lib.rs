//! How numbers become fewer or smaller: what range a tensor's values take, how weights round, which of them go, and what the rest
//! must become so that the layer still says what it said. Pure computation over slices; it knows no file format, no graph, no
//! machine, and reads no files.
//!
//! Everywhere a layer is a matrix `[rows][k]`: a row per output channel, `k` inputs of each. A *sample* of a layer is one vector of
//! its `k` inputs, at one place of one calibration input.

mod affine;
mod couple;
mod eliminate;
mod gptq;
mod gram;
mod histogram;
mod linear;
mod mask;
mod measure;
mod refit;
mod weights;

pub use affine::{Affine, Width};
pub use couple::{Bundle, Channels, Site};
pub use eliminate::{eliminate, work};
pub use gptq::gptq;
pub use gram::{Gram, Means};
pub use histogram::{Histogram, Ranging};
pub use linear::{NotPositive, cholesky, solve};
pub use mask::{Pattern, mask};
pub use measure::{Judge, decibels, divergence, noise};
pub use refit::{Refit, refit};
pub use weights::{Grain, Rounded, nearest};
