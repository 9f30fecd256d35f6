//! Code to files: object, archive, shared object, executable, C header, JSON. Every writer is a function from [`Code`] or a
//! description to bytes in the order of the file; the same input gives the same bytes. Nothing here knows tensors'
//! values, kernels, the graph, paths or clocks, and no linker is called.

mod archive;
mod code;
mod elf;
mod fault;
mod image;
mod layout;
mod object;
mod out;
mod relocate;

pub use archive::archive;
pub use code::{
    Binding, Code, Content, Machine, Relocation, RelocationKind, Section, Stream, Symbol,
};
pub use fault::Fault;
pub use image::{executable, shared_object};
pub use object::object;
