//! The compiler as a library: bytes of a model in, files out. This is the only room that knows all the others, opens
//! files, looks at clocks and asks the machine what it is.

pub mod asm;
pub mod beside;
pub mod budget;
pub mod calibration;
pub mod cli;
pub mod compare;
pub mod compile;
pub mod error;
pub mod execute;
pub mod family;
pub mod feeds;
pub mod files;
pub mod link;
pub mod machine;
pub mod npy;
pub mod npz;
pub mod plan;
pub mod prune;
pub mod quantize;
pub mod state;
pub mod table;
pub mod target;
pub mod timing;
pub mod tuning;
pub mod view;
pub mod write;
