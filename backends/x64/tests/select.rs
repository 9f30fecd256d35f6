//! Machine against oracle, bit for bit: random tile kernels, every operation, every partial access at the very end of its memory, and
//! every form of an address and a constant.

mod common;

use cases::tile::{self, Random};
use common::check;

#[test]
fn random_kernels_agree_with_the_oracle() {
    check("random_kernels_agree_with_the_oracle", |facts| (0..300).map(|seed| tile::random(&mut Random::new(seed), facts)).collect());
}

#[test]
fn partial_accesses_touch_nothing_beyond() {
    check("partial_accesses_touch_nothing_beyond", tile::partial_accesses);
}

#[test]
fn every_operation_on_every_operand() {
    check("every_operation_on_every_operand", tile::operations);
}

#[test]
fn pointers_go_far_and_come_back() {
    check("pointers_go_far_and_come_back", tile::pointers);
}

#[test]
fn offsets_are_reached_from_everywhere() {
    check("offsets_are_reached_from_everywhere", tile::offsets);
}

#[test]
fn constants_are_what_they_say() {
    check("constants_are_what_they_say", |facts| vec![tile::constants(facts)]);
}

#[test]
fn movements_in_accesses_add_up() {
    check("movements_in_accesses_add_up", tile::movements);
}

#[test]
fn narrow_elements_are_widened_and_cut() {
    check("narrow_elements_are_widened_and_cut", tile::narrow_accesses);
}
