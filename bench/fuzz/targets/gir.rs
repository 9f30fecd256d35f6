#![no_main]
//! The target `gir`: see `tests/src/fuzz.rs`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| maquette_fuzz::fuzz::gir(bytes));
