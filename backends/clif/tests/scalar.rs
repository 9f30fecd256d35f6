//! Scalar kernels on each machine against the oracle, bit for bit: every operation on edge values, every element type, and
//! random kernels with control flow. A program calls the machine code; nothing here jumps into it.

mod common;

use artifact::{Machine, Symbol};
use cases::batch::{self, aarch64, x86};
use cases::scalar::{self, Random, binaries, for_each, unaries};
use cases::{Case, Outcome};
use common::{LEVEL, ROOM};
use ir::kernel::Facts;
use ir::kernel::scalar::Expr;

/// Runs every case on each machine and with the oracle. Fails on the first difference.
fn compare(test: &str, cases: &[Case]) {
    let calls = |machine| batch::calls(cases, |name, case| compile(machine, name, case));
    let judge = |machine: &str, outcomes: &[Outcome]| {
        cases.iter().zip(outcomes).for_each(|(case, outcome)| case.judge(machine, outcome));
        println!("{test}: {} cases on {machine}", cases.len());
    };
    if common::native(test) {
        let calls = calls(Machine::X86_64);
        judge("x86-64", &x86::run(&x86::program(&ROOM.folder(test), &calls), &calls));
    }
    if let Some(outcomes) = aarch64::run(&ROOM, test, "cortex-a53", &calls(Machine::Aarch64)) {
        judge("aarch64", &outcomes);
    }
}

fn compile(machine: Machine, name: String, case: &Case) -> Symbol {
    ir::kernel::verify(&case.kernel, &case.facts).unwrap_or_else(|faults| panic!("{}: {faults:#?}", case.kernel.name));
    let (target, args) = (clif::Target::new(machine), case.kernel.args.len());
    let symbol = clif::scalar_kernel(&target, &name, args, case.scalar(), &case.facts).expect("small enough");
    assert_eq!(symbol.relocations, [], "a scalar kernel stands alone");
    symbol
}

/// A multiply-add rounds once on the first level, twice on the second.
fn levels() -> [Facts; 2] {
    [LEVEL, Facts { fused: false, ..LEVEL }]
}

#[test]
fn every_operation_is_right_at_its_edges() {
    compare("operations", &scalar::operations(&levels()));
}

#[test]
fn every_element_type_loads_and_stores() {
    compare("elements", &scalar::elements(&LEVEL));
}

#[test]
fn random_kernels_agree_with_the_oracle() {
    compare("random", &scalar::random(&levels()));
}

#[test]
fn both_machines_compile_without_a_library() {
    let mut random = Random(3);
    for machine in [artifact::Machine::X86_64, artifact::Machine::Aarch64] {
        let target = clif::Target::new(machine);
        for (op, from, to) in unaries() {
            let case = for_each(format!("{op:?}"), &[from], to, vec![vec![0; 8]], &LEVEL, |v| Expr::Unary(op, v[0]));
            let symbol = clif::scalar_kernel(&target, "k", 2, case.scalar(), &LEVEL).expect("small enough");
            assert_eq!(symbol.relocations, [], "{op:?} on {machine:?}");
        }
        for (op, from, to) in binaries() {
            let case = for_each(format!("{op:?}"), &[from; 2], to, vec![vec![0; 8]; 2], &LEVEL, |v| Expr::Binary(op, v[0], v[1]));
            let fused = random.below(2) == 0;
            let symbol = clif::scalar_kernel(&target, "k", 3, case.scalar(), &Facts { fused, ..LEVEL }).expect("small enough");
            assert_eq!(symbol.relocations, [], "{op:?} on {machine:?}");
        }
    }
}
