//! Attention.

mod apart;

use crate::Job;
use crate::build::Builder;
pub use apart::apart;

pub fn lower(_: &Job, _: &mut Builder) -> bool {
    false
}
