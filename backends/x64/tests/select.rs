//! Machine against oracle, bit for bit: random tile kernels, every operation, every partial access at the very end of its memory, and
//! every form of an address and a constant.

mod common;

use cases::Case;
use cases::batch::{self, x86};
use cases::tile::{self, Random};
use common::ROOM;
use ir::kernel::Facts;
use x64::facts::LEVELS;

fn check(name: &str, make: impl Fn(&'static Facts) -> Vec<Case>) {
    if !ROOM.native(name) || !ROOM.have("cc", name) {
        return;
    }
    for level in LEVELS {
        let cases = make(level.facts);
        let compile = |name, case: &Case| x64::function(name, x64::compile(case.tile(), case.kernel.args.len(), level.facts));
        let calls = batch::calls(&cases, compile);
        let program = x86::program(&ROOM.folder(&format!("{name}-{}", level.facts.name)), &calls);
        if common::cpu_here() & level.cpu == 0 {
            ROOM.skip(name, &format!("this machine has no {}", level.facts.name));
            continue;
        }
        let outcomes = x86::run(&program, &calls);
        cases.iter().zip(&outcomes).for_each(|(case, outcome)| case.judge(level.facts.name, outcome));
        println!("{name}: {} cases on {}", cases.len(), level.facts.name);
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
