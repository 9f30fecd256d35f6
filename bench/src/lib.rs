//! Benchmarks that run on demand: nothing here is part of the compiler, and CI does not wait for it.

pub mod machine;
