//! Machine against oracle, bit for bit: random tile kernels, and every partial access at the very end of its memory.
//! A NaN equals any NaN; everything else equals itself.

#[path = "common/batch.rs"]
mod batch;
mod generate;

use arm64::facts::ARMV8;
use generate::{Case, Random};

/// The plainest processor: what runs there runs everywhere.
const CPU: &str = "cortex-a53";

fn check(name: &str, cases: Vec<Case>) {
    let call = |(i, case): (usize, &Case)| {
        let args = case.kernel.args.len();
        let function = arm64::function(format!("k{i}"), arm64::compile(case.tile(), args, &ARMV8));
        batch::Call { function, buffers: case.buffers.clone() }
    };
    let calls: Vec<_> = cases.iter().enumerate().map(call).collect();
    let Some(outcomes) = batch::run(name, CPU, &calls) else { return };
    for (case, outcome) in cases.iter().zip(outcomes) {
        assert_eq!(outcome.status, 0);
        for (arg, (expected, got)) in case.expected(&ARMV8).iter().zip(&outcome.buffers).enumerate() {
            compare(case, arg, expected, got);
        }
    }
}

fn compare(case: &Case, arg: usize, expected: &[u8], got: &[u8]) {
    let words =
        |bytes: &[u8]| -> Vec<u32> { bytes.chunks_exact(4).map(|w| u32::from_le_bytes(w.try_into().expect("four bytes"))).collect() };
    for (i, (e, g)) in words(expected).into_iter().zip(words(got)).enumerate() {
        let same = e == g || f32::from_bits(e).is_nan() && f32::from_bits(g).is_nan();
        assert!(
            same,
            "{}: argument {arg}, byte {}: expected {e:#010x} ({}), got {g:#010x} ({})\n{:#?}",
            case.kernel.name,
            4 * i,
            f32::from_bits(e),
            f32::from_bits(g),
            case.kernel.body
        );
    }
}

#[test]
fn random_kernels_agree_with_the_oracle() {
    check("random_kernels_agree_with_the_oracle", (0..300).map(|seed| generate::random(&mut Random::new(seed), &ARMV8)).collect());
}

#[test]
fn partial_accesses_touch_nothing_beyond() {
    check("partial_accesses_touch_nothing_beyond", generate::partial_accesses(&ARMV8));
}

#[test]
fn every_operation_on_every_operand() {
    check("every_operation_on_every_operand", generate::operations(&ARMV8));
}

#[test]
fn pointers_go_far_and_come_back() {
    check("pointers_go_far_and_come_back", generate::pointers(&ARMV8));
}

#[test]
fn offsets_are_reached_from_everywhere() {
    check("offsets_are_reached_from_everywhere", generate::offsets(&ARMV8));
}

#[test]
fn constants_are_what_they_say() {
    check("constants_are_what_they_say", vec![generate::constants(&ARMV8)]);
}

#[test]
fn movements_in_accesses_add_up() {
    check("movements_in_accesses_add_up", generate::movements(&ARMV8));
}
