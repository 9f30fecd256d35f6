//! What the kernel generator makes for each level, on this machine and with the oracle, bit for bit.

mod common;

use cases::generated;

#[test]
fn every_family_of_kernels_agrees_with_the_oracle() {
    common::check("every_family_of_kernels_agrees_with_the_oracle", generated::families);
}

#[test]
fn every_function_agrees_with_the_oracle() {
    common::check("every_function_agrees_with_the_oracle", generated::functions);
}

#[test]
fn products_of_every_tile_agree_with_the_oracle() {
    common::check("products_of_every_tile_agree_with_the_oracle", generated::products);
}
