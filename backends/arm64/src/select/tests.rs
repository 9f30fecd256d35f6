//! What statements become: read back by a disassembler, where the number or the kind of instructions is the point.

use capstone::prelude::*;
use ir::kernel::tile::{At, Binary, Operand, P, Stmt, TileKernel, V};

use super::compile;
use crate::facts::ARMV8;

/// The instructions between the function's first and last ones.
fn code(body: Vec<Stmt>) -> Vec<String> {
    let code = compile(&TileKernel { body }, 2, &ARMV8);
    let judge = Capstone::new().arm64().mode(arch::arm64::ArchMode::Arm).build().expect("capstone knows the machine");
    let all = judge.disasm_all(&code.bytes[..code.instructions as usize], 0).expect("it decodes");
    let text = |i: &capstone::Insn| format!("{} {}", i.mnemonic().unwrap_or_default(), i.op_str().unwrap_or_default());
    let lines: Vec<String> = all.iter().map(text).collect();
    assert_eq!(lines.len() * 4, code.instructions as usize);
    let end = lines.len() - 2;
    assert_eq!(lines[end..], ["mov x0, #0", "ret "]);
    lines[..end].to_vec()
}

fn at(p: u8, offset: i32) -> At {
    At { p: P(p), offset }
}

fn load(to: u8, offset: i32) -> Stmt {
    Stmt::Load { to: V(to), at: at(0, offset), lanes: 4 }
}

#[test]
fn a_turn_of_a_product_is_nothing_but_loads_and_products() {
    let product = |acc, lane| Stmt::MulAdd { acc: V(acc), a: V(1), b: Operand::Lane(V(0), lane), negate: false };
    let advance = |p, by| Stmt::Advance { p: P(p), by };
    let right = |to, offset| Stmt::Load { to: V(to), at: at(1, offset), lanes: 4 };
    let turn = vec![load(0, 0), right(1, 0), right(2, 16), product(3, 0), product(3, 3), advance(0, 16), advance(1, 32)];
    let expected = [
        "mov x2, #5",
        "ldr q0, [x0], #0x10",
        "ldp q1, q2, [x1], #0x20",
        "fmla v3.4s, v1.4s, v0.s[0]",
        "fmla v3.4s, v1.4s, v0.s[3]",
        "subs x2, x2, #1",
        "b.ne #4",
    ];
    assert_eq!(code(vec![Stmt::Loop { times: 5, body: turn }]), expected);
}

#[test]
fn a_step_of_horner_is_two_instructions() {
    let step = |bits| Stmt::Horner { acc: V(0), x: V(1), c: Operand::Bits(bits) };
    let body = vec![step(1.0f32.to_bits()), step(2.0f32.to_bits()), Stmt::Store { from: V(0), at: at(0, 0), lanes: 4 }];
    let expected =
        ["fmov v2.4s, #1.00000000", "fmla v2.4s, v0.4s, v1.4s", "movi v0.4s, #0x40, lsl #24", "fmla v0.4s, v2.4s, v1.4s", "str q0, [x0]"];
    assert_eq!(code(body), expected);
}

#[test]
fn far_places_share_an_address() {
    let expected = ["add x17, x0, #0x11, lsl #12", "ldr q0, [x17, #0x170]", "ldr q1, [x17, #0x1170]"];
    assert_eq!(code(vec![load(0, 70_000), load(1, 74_096)]), expected);
}

#[test]
fn what_must_be_restored_is_kept_only_when_used() {
    let set = |v| Stmt::Set { to: V(v), bits: 0 };
    assert_eq!(code((0..23).map(set).collect()).len(), 23);
    let all = code((0..32).map(set).collect());
    assert_eq!(all[0], "sub sp, sp, #0x40");
    assert_eq!(all[1..5], ["stp d8, d9, [sp]", "stp d10, d11, [sp, #0x10]", "stp d12, d13, [sp, #0x20]", "stp d14, d15, [sp, #0x30]"]);
    assert_eq!(all.len(), 32 + 10);
}

#[test]
fn a_function_beyond_the_reach_of_constants_does_without() {
    let odd = 0x1234_5678;
    let body = |count| vec![Stmt::Set { to: V(0), bits: odd }; count];
    assert_eq!(code(body(2)).len(), 2);
    let far = 300_000;
    let lines = code(vec![Stmt::Loop { times: 2, body: body(far) }]);
    assert_eq!(lines[1..4], ["mov x16, #0x5678", "movk x16, #0x1234, lsl #16", "dup v0.4s, w16"]);
    // and the loop's branch goes by another
    assert!(lines[lines.len() - 2].starts_with("b.eq") && lines[lines.len() - 1].starts_with("b #"), "{:?}", &lines[lines.len() - 3..]);
}

#[test]
fn a_comparison_with_zero_needs_no_zero() {
    use ir::kernel::tile::Compare;
    let select = Stmt::Select { to: V(3), cmp: Compare::Lt, x: V(0), y: Operand::Bits(0), a: V(1), b: V(2) };
    assert_eq!(code(vec![select]), ["fcmlt v3.4s, v0.4s, #0.0", "bsl v3.16b, v1.16b, v2.16b"]);
    let relu = Stmt::Binary { op: Binary::Max, to: V(1), a: V(0), b: Operand::Bits(0) };
    assert_eq!(code(vec![relu]), ["movi v1.2d, #0000000000000000", "fmax v1.4s, v0.4s, v1.4s"]);
}
