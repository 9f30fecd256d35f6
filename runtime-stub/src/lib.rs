//! What a compiled model looks like to its caller: the C ABI (version 1) as `#[repr(C)]` layouts, and a safe way to call
//! it from Rust. It knows nothing of ONNX files, graphs or code generation, and depends on nothing but `core`; with the
//! feature `std` (on by default) it also owns memory, loads shared objects and brings a thread pool.
//!
//! A model that is linked in:
//! ```no_run
//! # use runtime_stub::{Error, Input, Model, Output, Session};
//! unsafe extern "C" { static digits_model: runtime_stub::MaquetteModel; }
//! # fn main() -> Result<(), Error> {
//! // SAFETY: the static is the descriptor that Maquette generated into libdigits.a.
//! let model = unsafe { Model::new(&digits_model) }?;
//! let mut session = Session::new(model)?;
//! let (image, mut probabilities) = ([0f32; 64], [0f32; 10]);
//! session.run(&[Input::from(&image[..])], &mut [Output::from(&mut probabilities[..])])?;
//! # Ok(()) }
//! ```
//! On a device without an allocator the caller lends the memory: [`Session::in_memory`]. A shared object is opened by
//! [`Library::open`].
//!
//! Four files may hold `unsafe`: `model` (reads the descriptor), `call` (runs it), `library` (loader), `pool` (is called
//! from C).
#![no_std]

#[cfg(feature = "std")]
extern crate std;

mod call;
mod element;
mod error;
mod layout;
#[cfg(all(feature = "std", any(target_os = "linux", target_os = "android")))]
mod library;
mod model;
#[cfg(feature = "std")]
mod pool;
mod session;
mod status;

pub use call::Workers;
pub use element::{DType, Element, Input, Output};
pub use error::{Error, Side};
pub use layout::{ABI, CpuFn, MaquetteCall, MaquetteModel, MaquetteSymbol, MaquetteTensor, ParallelFor, ResetFn, RunFn, TaskFn};
#[cfg(all(feature = "std", any(target_os = "linux", target_os = "android")))]
pub use library::{Library, LoadError};
pub use model::{Model, Symbol, Tensor};
#[cfg(feature = "std")]
pub use pool::Pool;
pub use session::Session;
pub use status::Status;
