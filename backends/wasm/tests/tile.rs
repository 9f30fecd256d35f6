//! Machine against oracle, bit for bit: random tile kernels, every operation, every partial access between guards, and every form of
//! an address and a constant.

mod common;

use cases::Case;
use cases::generated;
use cases::tile::{self, Random};
use ir::kernel::Facts;
use wasm::facts::LEVELS;

fn check(name: &str, make: impl Fn(&Facts) -> Vec<Case>) {
    let name = &format!("tile_{name}");
    for facts in LEVELS.iter().map(|level| level.facts) {
        let Some(truth) = common::truth(name, facts) else { continue };
        let cases: Vec<Case> = make(facts).into_iter().map(|case| Case { facts: truth.clone(), ..case }).collect();
        let Some(outcomes) = common::together(name, facts, &cases.iter().collect::<Vec<_>>()) else { continue };
        cases.iter().zip(&outcomes).for_each(|(case, outcome)| case.judge(facts.name, outcome));
        println!("{name}: {} cases on {}", cases.len(), facts.name);
    }
}

#[test]
fn random_kernels_agree_with_the_oracle() {
    check("random_kernels_agree_with_the_oracle", |facts| (0..300).map(|seed| tile::random(&mut Random::new(seed), facts)).collect());
}

#[test]
fn partial_accesses_touch_nothing_beyond() {
    check("partial_accesses_touch_nothing_beyond", tile::partial_accesses);
}

#[test]
fn narrow_elements_are_widened_and_cut() {
    check("narrow_elements_are_widened_and_cut", tile::narrow_accesses);
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
fn every_family_of_kernels_agrees_with_the_oracle() {
    check("every_family_of_kernels_agrees_with_the_oracle", generated::families);
}

#[test]
fn every_function_agrees_with_the_oracle() {
    check("every_function_agrees_with_the_oracle", generated::functions);
}

#[test]
fn products_of_every_tile_agree_with_the_oracle() {
    check("products_of_every_tile_agree_with_the_oracle", generated::products);
}
