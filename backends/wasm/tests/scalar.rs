//! Scalar kernels in Node against the oracle, bit for bit: every operation on edge values, every element type, and random
//! kernels with control flow.

mod common;
#[path = "../../clif/tests/generate/mod.rs"]
mod generate;

use generate::{Case, is_nan};
use ir::kernel::Facts;
use ir::kernel::run::{Buffer, Pointer};
use wasm::facts::LEVELS;

/// What the oracle says: the status and the buffers.
fn expected(case: &Case, facts: &Facts) -> (u8, Vec<Vec<u8>>) {
    let mut memory: Vec<Vec<u8>> = case.buffers.iter().map(|(_, bytes)| bytes.clone()).collect();
    let mut buffers: Vec<Buffer> = memory.iter_mut().map(|bytes| Buffer::Open(bytes)).collect();
    let args: Vec<Pointer> = (0..buffers.len()).map(|buffer| Pointer { buffer, offset: 0 }).collect();
    let status = ir::kernel::run(&case.kernel, facts, &mut buffers, &args);
    (status, memory)
}

fn view(case: &Case) -> common::Case<'_> {
    common::Case { kernel: &case.kernel, buffers: case.buffers.iter().map(|(_, bytes)| (&bytes[..], 0)).collect() }
}

/// Cases that end well share a module; one that fails stops its module, and has one of its own.
fn check(test: &str, make: impl Fn(&Facts) -> Vec<Case>) {
    for &facts in LEVELS {
        let Some(truth) = common::truth(test, facts) else { continue };
        let cases = make(facts);
        let wanted: Vec<_> = cases.iter().map(|case| expected(case, &truth)).collect();
        let well: Vec<usize> = (0..cases.len()).filter(|&i| wanted[i].0 == 0).collect();
        let views: Vec<common::Case> = well.iter().map(|&i| view(&cases[i])).collect();
        let Some((status, got)) = common::together(test, facts, &views) else { continue };
        assert_eq!(status, 0);
        for (&i, got) in well.iter().zip(&got) {
            compare(&cases[i], &wanted[i].1, got);
        }
        let ill: Vec<usize> = (0..cases.len()).filter(|&i| wanted[i].0 != 0).collect();
        let jobs: Vec<common::Job> = ill.iter().map(|&i| common::job(facts, &[view(&cases[i])])).collect();
        let results = common::run(&format!("{test}-failing"), facts, &jobs).expect("it ran a moment ago");
        for (&i, (status, got)) in ill.iter().zip(&results) {
            assert_eq!(*status, i32::from(wanted[i].0), "status of {}\n{:?}", cases[i].kernel.name, cases[i].kernel.body);
            let bare: Vec<Vec<u8>> = got.iter().map(|bytes| bytes[common::GUARD..bytes.len() - common::GUARD].to_vec()).collect();
            compare(&cases[i], &wanted[i].1, &bare);
        }
    }
}

fn compare(case: &Case, wanted: &[Vec<u8>], got: &[Vec<u8>]) {
    for ((dtype, before), (wanted, got)) in case.buffers.iter().zip(wanted.iter().zip(got)) {
        let width = dtype.bytes();
        for (i, (got, wanted)) in got.chunks(width).zip(wanted.chunks(width)).enumerate() {
            let same = got == wanted || is_nan(*dtype, got) && is_nan(*dtype, wanted);
            let name = &case.kernel.name;
            assert!(
                same,
                "{name}: element {i} ({}) is {got:02x?}, not {wanted:02x?}; was {:02x?}\n{:?}",
                dtype.name(),
                &before[i * width..(i + 1) * width],
                case.kernel.body
            );
        }
    }
}

#[test]
fn every_operation_is_right_at_its_edges() {
    check("scalar_operations", |facts| generate::operations(std::slice::from_ref(facts)));
}

#[test]
fn every_element_type_loads_and_stores() {
    check("scalar_elements", generate::elements);
}

#[test]
fn random_kernels_agree_with_the_oracle() {
    check("random_scalars", |facts| generate::random(std::slice::from_ref(facts)));
}
