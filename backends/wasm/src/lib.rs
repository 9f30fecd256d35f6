//! Programs to WebAssembly: a core module that imports nothing, with a function per kernel, the calls in order, and a memory that
//! holds the model. Never sees a graph, and knows neither the page nor the script that loads the module.
//!
//! * [`facts`]: the levels, `simd128` and `relaxed`.
//! * [`encode`]: one function under construction.
//! * [`select`]: tile kernels to instructions.
//! * [`scalar`]: scalar kernels to instructions; [`half`] for its 16-bit floats.
//! * [`layout`]: where everything lies in memory.
//! * [`calls`]: the calls in order, as loops where addresses advance evenly.
//! * [`module`]: all of it as one module.

pub mod calls;
pub mod encode;
pub mod facts;
pub mod half;
pub mod layout;
pub mod module;
pub mod reach;
pub mod scalar;
pub mod select;

pub use layout::Layout;
pub use module::{Model, Weights, module};
