//! Scalar kernels in Node against the oracle, bit for bit: every operation on edge values, every element type, and random
//! kernels with control flow.

mod common;

use cases::{Case, Outcome, scalar};
use ir::kernel::Facts;
use wasm::facts::LEVELS;

/// Cases that end well share a module; one that fails stops its module, and has one of its own.
fn check(test: &str, make: impl Fn(&Facts) -> Vec<Case>) {
    for facts in LEVELS.iter().map(|level| level.facts) {
        let Some(truth) = common::truth(test, facts) else { continue };
        let cases: Vec<Case> = make(facts).into_iter().map(|case| Case { facts: truth.clone(), ..case }).collect();
        let wanted: Vec<Outcome> = cases.iter().map(Case::expected).collect();
        let (well, ill): (Vec<usize>, Vec<usize>) = (0..cases.len()).partition(|&i| wanted[i].status == 0);
        let together: Vec<&Case> = well.iter().map(|&i| &cases[i]).collect();
        let Some(got) = common::together(test, facts, &together) else { continue };
        for (&i, got) in well.iter().zip(&got) {
            cases[i].compare(facts.name, &wanted[i], got);
        }
        let jobs: Vec<common::Job> = ill.iter().map(|&i| common::job(facts, &[&cases[i]])).collect();
        let results = common::run(&format!("{test}-failing"), facts, &jobs).expect("it ran a moment ago");
        for (&i, (status, got)) in ill.iter().zip(results) {
            cases[i].compare(facts.name, &wanted[i], &common::outcome(&cases[i], status, got.into_iter()));
        }
        println!("{test}: {} cases on {}", cases.len(), facts.name);
    }
}

#[test]
fn every_operation_is_right_at_its_edges() {
    check("scalar_operations", |facts| scalar::operations(std::slice::from_ref(facts)));
}

#[test]
fn every_element_type_loads_and_stores() {
    check("scalar_elements", scalar::elements);
}

#[test]
fn random_kernels_agree_with_the_oracle() {
    check("random_scalars", |facts| scalar::random(std::slice::from_ref(facts)));
}
