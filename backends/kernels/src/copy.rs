//! Copies between places of any strides, and the operators that only move elements.

use crate::Job;
use crate::build::{Builder, Halo};
use crate::place::Place;
use ir::kernel::{Facts, Kernel};
use ir::{Dtype, Fault};

/// Copies `shape` elements of `dtype` from one place to another.
pub fn copy(builder: &mut Builder, dtype: Dtype, shape: &[usize], from: &Place, to: &Place) {
    crate::generic::copy(builder, dtype, shape, from, to);
}

/// Reshape, Transpose, Slice, Expand, Concat, Pad.
pub fn lower(job: &Job, builder: &mut Builder) -> Result<(), Fault> {
    crate::generic::lower(job, builder)
}

/// Fills everything of a buffer outside its halo's inside.
pub fn halo_kernel(halo: &Halo, facts: &Facts) -> Kernel {
    let _ = facts;
    crate::generic::halo(halo)
}
