//! Code to files: object, archive, shared object, executable, C header, JSON, JavaScript. Every writer is a function from [`Code`] or
//! [`Description`] to bytes in the order of the file; the same input gives the same bytes. Nothing here knows tensors'
//! values, kernels, the graph, paths or clocks, and no linker is called.

mod archive;
mod code;
pub mod describe;
mod descriptor;
mod elf;
mod fault;
mod header;
mod image;
mod json;
mod layout;
mod macho;
mod name;
mod object;
mod out;
mod relocate;
pub mod web;

pub use archive::archive;
pub use code::{Binding, Code, Content, Machine, Relocation, RelocationKind, Section, Stream, Symbol, System};
pub use describe::Description;
pub use descriptor::descriptor;
pub use fault::Fault;
pub use header::header;
pub use image::{executable, shared_object};
pub use json::json;
pub use name::c_identifier;
pub use object::object;
pub use out::binary;
