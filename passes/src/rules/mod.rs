//! The rules, by what they are about. Each is a constant; `recipe` says where it runs; its filetests show
//! where it fires and where it must not.

pub mod attention;
pub mod batch_norm;
pub mod fold;
pub mod fuse;
pub mod identity;
pub mod recompose;
pub mod reshape;
pub mod tidy;
pub mod transpose;
