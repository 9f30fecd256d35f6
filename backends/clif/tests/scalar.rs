//! Scalar kernels on this machine against the oracle, bit for bit: every operation on edge values, every element type, and
//! random kernels with control flow. A C program calls the machine code; nothing here jumps into it.

mod common;
mod generate;

use std::process::Command;

use common::LEVEL;
use generate::{Case, Random, binaries, for_each, is_nan, unaries};
use ir::kernel::run::{Buffer, Pointer};
use ir::kernel::scalar::Expr;
use ir::kernel::{Facts, KernelBody};

/// Runs every case on the machine and with the oracle. Fails on the first difference.
fn compare(test: &str, cases: &[Case]) {
    if !common::native(test) {
        return;
    }
    let target = clif::Target::new(artifact::Machine::X86_64);
    let mut symbols = Vec::new();
    let (mut declarations, mut table) = (String::new(), String::new());
    let mut input = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let KernelBody::Scalar(scalar) = &case.kernel.body else { panic!("only scalar kernels here") };
        ir::kernel::verify(&case.kernel, &case.facts).unwrap_or_else(|faults| panic!("{}: {faults:#?}", case.kernel.name));
        let name = format!("k{i}");
        let symbol = clif::scalar_kernel(&target, &name, case.kernel.args.len(), scalar, &case.facts).expect("small enough");
        assert_eq!(symbol.relocations, [], "a scalar kernel stands alone");
        symbols.push(symbol.global());
        declarations += &format!("kernel {name};\n");
        table += &format!("{name},");
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
    for case in cases {
        let mut wanted: Vec<Vec<u8>> = case.buffers.iter().map(|(_, bytes)| bytes.clone()).collect();
        let mut buffers: Vec<Buffer> = wanted.iter_mut().map(|bytes| Buffer::Open(bytes)).collect();
        let args: Vec<Pointer> = (0..buffers.len()).map(|buffer| Pointer { buffer, offset: 0 }).collect();
        let status = ir::kernel::run(&case.kernel, &case.facts, &mut buffers, &args);
        let machine = i32::from_le_bytes(got.split_off(..4).expect("a status").try_into().expect("4 bytes"));
        assert_eq!(machine, i32::from(status), "status of {}\n{:?}", case.kernel.name, case.kernel.body);
        for ((dtype, before), wanted) in case.buffers.iter().zip(&wanted) {
            let got = got.split_off(..wanted.len()).expect("a buffer");
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
    assert!(got.is_empty());
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
