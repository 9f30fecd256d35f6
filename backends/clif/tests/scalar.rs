//! Scalar kernels on each machine against the oracle, bit for bit: every operation on edge values, every element type, and
//! random kernels with control flow. A program calls the machine code; nothing here jumps into it.

mod common;
mod generate;

use std::process::Command;

use artifact::{Machine, Symbol};
use common::{LEVEL, batch};
use generate::{Case, Random, binaries, for_each, is_nan, unaries};
use ir::kernel::run::{Buffer, Pointer};
use ir::kernel::scalar::Expr;
use ir::kernel::{Facts, KernelBody};
use ir::tensor::Dtype;

/// Runs every case on each machine and with the oracle. Fails on the first difference.
fn compare(test: &str, cases: &[Case]) {
    if common::native(test) {
        judge("x86-64", cases, &here(test, cases));
    }
    let call = |(i, (case, function)): (usize, (&Case, Symbol))| {
        let buffer = |(_, bytes): &(Dtype, Vec<u8>)| batch::Buffer { bytes: bytes.clone(), start: 0 };
        let function = Symbol { name: format!("k{i}"), ..function };
        batch::Call { function, buffers: case.buffers.iter().map(buffer).collect() }
    };
    let functions = compile(Machine::Aarch64, cases);
    let calls: Vec<_> = cases.iter().zip(functions).enumerate().map(call).collect();
    if let Some(outcomes) = batch::run(test, "cortex-a53", &calls) {
        judge("aarch64", cases, &outcomes);
    }
}

fn compile(machine: Machine, cases: &[Case]) -> Vec<Symbol> {
    let target = clif::Target::new(machine);
    let each = |(i, case): (usize, &Case)| {
        let KernelBody::Scalar(scalar) = &case.kernel.body else { panic!("only scalar kernels here") };
        ir::kernel::verify(&case.kernel, &case.facts).unwrap_or_else(|faults| panic!("{}: {faults:#?}", case.kernel.name));
        let symbol = clif::scalar_kernel(&target, &format!("k{i}"), case.kernel.args.len(), scalar, &case.facts).expect("small enough");
        assert_eq!(symbol.relocations, [], "a scalar kernel stands alone");
        symbol
    };
    cases.iter().enumerate().map(each).collect()
}

/// What this machine makes of the cases, called from C.
fn here(test: &str, cases: &[Case]) -> Vec<batch::Outcome> {
    let symbols: Vec<Symbol> = compile(Machine::X86_64, cases).into_iter().map(Symbol::global).collect();
    let (mut declarations, mut table) = (String::new(), String::new());
    let mut input = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        declarations += &format!("kernel k{i};\n");
        table += &format!("k{i},");
        input.extend((case.buffers.len() as u64).to_le_bytes());
        for (_, bytes) in &case.buffers {
            input.extend((bytes.len() as u64).to_le_bytes());
            input.extend(bytes);
        }
    }
    let source = format!(
        r#"#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
typedef int32_t kernel(void *, void *, void *, void *, void *, void *);
{declarations}
static kernel *const kernels[] = {{{table}}};
static void get(void *to, size_t n) {{ if (fread(to, 1, n, stdin) != n) exit(90); }}
int main(void) {{
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; ++k) {{
        uint64_t n, size[6] = {{0}};
        void *p[6] = {{0}};
        get(&n, 8);
        for (size_t i = 0; i < n; ++i) {{
            get(&size[i], 8);
            p[i] = malloc(size[i] + 1);
            get(p[i], size[i]);
        }}
        int32_t status = kernels[k](p[0], p[1], p[2], p[3], p[4], p[5]);
        fwrite(&status, 4, 1, stdout);
        for (size_t i = 0; i < n; ++i) {{
            fwrite(p[i], 1, size[i], stdout);
            free(p[i]);
        }}
    }}
    return 0;
}}
"#
    );
    let program = common::program(test, vec![symbols], &source);
    let output = common::piped(&mut Command::new(program), &input);
    assert!(output.status.success(), "{:?}", output.status);
    let mut got = output.stdout.as_slice();
    let mut take = |n: usize| got.split_off(..n).expect("the program wrote it").to_vec();
    let outcome = |case: &Case| batch::Outcome {
        status: i32::from_le_bytes(take(4).try_into().expect("4 bytes")),
        buffers: case.buffers.iter().map(|(_, bytes)| take(bytes.len())).collect(),
    };
    let outcomes = cases.iter().map(outcome).collect();
    assert!(got.is_empty());
    outcomes
}

/// Compares what a machine made of the cases with the oracle.
fn judge(machine: &str, cases: &[Case], outcomes: &[batch::Outcome]) {
    for (case, outcome) in cases.iter().zip(outcomes) {
        let mut wanted: Vec<Vec<u8>> = case.buffers.iter().map(|(_, bytes)| bytes.clone()).collect();
        let mut buffers: Vec<Buffer> = wanted.iter_mut().map(|bytes| Buffer::Open(bytes)).collect();
        let args: Vec<Pointer> = (0..buffers.len()).map(|buffer| Pointer { buffer, offset: 0 }).collect();
        let status = ir::kernel::run(&case.kernel, &case.facts, &mut buffers, &args);
        assert_eq!(outcome.status, i32::from(status), "status of {} on {machine}\n{:?}", case.kernel.name, case.kernel.body);
        for (((dtype, before), wanted), got) in case.buffers.iter().zip(&wanted).zip(&outcome.buffers) {
            let width = dtype.bytes();
            for (i, (got, wanted)) in got.chunks(width).zip(wanted.chunks(width)).enumerate() {
                let same = got == wanted || is_nan(*dtype, got) && is_nan(*dtype, wanted);
                let name = &case.kernel.name;
                assert!(
                    same,
                    "{name} on {machine}: element {i} ({}) is {got:02x?}, not {wanted:02x?}; was {:02x?}\n{:?}",
                    dtype.name(),
                    &before[i * width..(i + 1) * width],
                    case.kernel.body
                );
            }
        }
    }
}

/// A multiply-add rounds once on the first level, twice on the second.
fn levels() -> [Facts; 2] {
    [LEVEL, Facts { fused: false, ..LEVEL }]
}

#[test]
fn every_operation_is_right_at_its_edges() {
    compare("operations", &generate::operations(&levels()));
}

#[test]
fn every_element_type_loads_and_stores() {
    compare("elements", &generate::elements(&LEVEL));
}

#[test]
fn random_kernels_agree_with_the_oracle() {
    compare("random", &generate::random(&levels()));
}

#[test]
fn both_machines_compile_without_a_library() {
    let mut random = Random(3);
    for machine in [artifact::Machine::X86_64, artifact::Machine::Aarch64] {
        let target = clif::Target::new(machine);
        for (op, from, to) in unaries() {
            let case = for_each(format!("{op:?}"), &[from], to, vec![vec![0; 8]], &LEVEL, |v| Expr::Unary(op, v[0]));
            let KernelBody::Scalar(scalar) = &case.kernel.body else { unreachable!() };
            let symbol = clif::scalar_kernel(&target, "k", 2, scalar, &LEVEL).expect("small enough");
            assert_eq!(symbol.relocations, [], "{op:?} on {machine:?}");
        }
        for (op, from, to) in binaries() {
            let case = for_each(format!("{op:?}"), &[from; 2], to, vec![vec![0; 8]; 2], &LEVEL, |v| Expr::Binary(op, v[0], v[1]));
            let KernelBody::Scalar(scalar) = &case.kernel.body else { unreachable!() };
            let fused = random.below(2) == 0;
            let symbol = clif::scalar_kernel(&target, "k", 3, scalar, &Facts { fused, ..LEVEL }).expect("small enough");
            assert_eq!(symbol.relocations, [], "{op:?} on {machine:?}");
        }
    }
}
