//! Tile kernels to x86-64 machine code, for AVX2 with FMA and for AVX-512. Never sees a graph, and lays out no file.

pub mod encode;
