//! Machine against oracle, bit for bit: random tile kernels, every operation, and every partial access between guards.
//! A NaN equals any NaN; everything else equals itself.

mod common;
#[allow(dead_code, reason = "machines that are called through C use more of it")]
#[path = "../../x64/tests/generate/mod.rs"]
mod generate;

use generate::{Case, Random};
use ir::kernel::Facts;
use wasm::facts::LEVELS;

fn check(name: &str, make: impl Fn(&Facts) -> Vec<Case>) {
    for &facts in LEVELS {
        let Some(truth) = common::truth(name, facts) else { continue };
        let cases = make(facts);
        let views: Vec<common::Case> = cases
            .iter()
            .map(|case| common::Case { kernel: &case.kernel, buffers: case.buffers.iter().map(|b| (&b.bytes[..], b.start)).collect() })
            .collect();
        let Some((status, got)) = common::together(name, facts, &views) else { continue };
        assert_eq!(status, 0);
        for (case, got) in cases.iter().zip(got) {
            for (arg, (expected, got)) in case.expected(&truth).iter().zip(got).enumerate() {
                compare(case, &truth, arg, expected, &got);
            }
        }
    }
}

fn compare(case: &Case, facts: &Facts, arg: usize, expected: &[u8], got: &[u8]) {
    let words =
        |bytes: &[u8]| -> Vec<u32> { bytes.chunks_exact(4).map(|w| u32::from_le_bytes(w.try_into().expect("four bytes"))).collect() };
    for (i, (e, g)) in words(expected).into_iter().zip(words(got)).enumerate() {
        let same = e == g || f32::from_bits(e).is_nan() && f32::from_bits(g).is_nan();
        assert!(
            same,
            "{} on {}: argument {arg}, byte {}: expected {e:#010x} ({}), got {g:#010x} ({})\n{:#?}",
            case.kernel.name,
            facts.name,
            4 * i,
            f32::from_bits(e),
            f32::from_bits(g),
            case.kernel.body
        );
    }
}

#[test]
fn random_kernels_agree_with_the_oracle() {
    check("random_tiles", |facts| (0..300).map(|seed| generate::random(&mut Random::new(seed), facts)).collect());
}

#[test]
fn partial_accesses_touch_nothing_beyond() {
    check("partial_accesses", generate::partial_accesses);
}

#[test]
fn every_operation_on_every_operand() {
    check("tile_operations", generate::operations);
}

#[test]
fn pointers_go_far_and_come_back() {
    check("pointers", generate::pointers);
}
