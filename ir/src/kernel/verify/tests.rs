//! One broken kernel for every rule, what is accepted, and that whatever is accepted runs.

use super::interval::{Interval, binary};
use super::verify;
use crate::kernel::facts::Menu;
use crate::kernel::run::{Buffer, Pointer, run};
use crate::kernel::samples::{Random, facts};
use crate::kernel::scalar::{Binary, Cell, Expr, ScalarKernel, Stmt as Scalar, Ty, Unary as SUnary, Value};
use crate::kernel::tile::{Binary as TileBinary, Operand, Stmt, TileKernel, Unary, V};
use crate::kernel::{Access, Arg, Facts, Kernel, KernelBody, text};
use crate::tensor::Dtype;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[track_caller]
fn faults_of(text: &str, facts: &Facts) -> Vec<String> {
    let kernel = text::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify(&kernel, facts).err().unwrap_or_default()
}

/// Exactly these faults.
#[track_caller]
fn refused_on(facts: &Facts, text: &str, wanted: &[&str]) {
    assert_eq!(faults_of(text, facts), wanted, "{text}");
}

#[track_caller]
fn refused(text: &str, wanted: &[&str]) {
    refused_on(&facts(), text, wanted);
}

/// The statements on 64 bytes to read behind `p0` and 64 to write behind `p1`, full vectors of 4 lanes.
#[track_caller]
fn tile(stmts: &str, wanted: &[&str]) {
    refused(&format!("tile t(x: read 0..64, y: write 0..64) lanes 4 {{ {stmts} }}"), wanted);
}

/// The statements on 40 f32 to read, 40 to write.
#[track_caller]
fn scalar(stmts: &str, wanted: &[&str]) {
    refused(&format!("scalar s(x: read 0..160, y: write 0..160) {{ {stmts} }}"), wanted);
}

#[test]
fn vector_registers_exist_and_are_set() {
    tile("v15 = set 0.0", &[]);
    tile("v16 = set 0.0", &["body[0]: v16 of 16 vector registers"]);
    tile("v0 = v1", &["body[0]: v1 is read before it is set"]);
    tile("v0 = set 1.0\n v1 = set 1.0\n v0 = add v0, v2", &["body[2]: v2 is read before it is set"]);
    tile("v0 = set 1.0\n v0 += v0 * v1[0]", &["body[1]: v1 is read before it is set"]);
    tile("v0 = set 1.0\n v1 += v0 * v0", &["body[1]: v1 is read before it is set"]);
    tile("p1[0] = v3", &["body[0]: v3 is read before it is set"]);
    let kept = "v0 = set 1.0\n v1 = v0\n";
    tile(&format!("{kept} v0 = fold add v0 temp v1\n v2 = v1"), &["body[3]: v1 is read before it is set"]);
    // set in the first turn for the second, but not before the first
    tile("loop 2 { v1 = v0\n v0 = set 1.0 }", &["body[0].loop[0]: v0 is read before it is set"]);
    // undefined only at the start of the second turn
    let turns = |n: u32| format!("{kept} loop {n} {{ v2 = v1\n v0 = fold add v0 temp v1 }}");
    tile(&turns(2), &["body[2].loop[0]: v1 is read before it is set"]);
    tile(&turns(1), &[]);
    tile(&format!("{kept} loop 2 {{ v2 = v1\n loop 2 {{ v0 = fold add v0 temp v1\n v1 = v0 }} }}"), &[]);
}

#[test]
fn pointers_are_set_and_move_evenly() {
    tile("v0 = load p2[0]", &["body[0]: p2 is read before it is set, or is set anew in each turn of the loop from another pointer"]);
    tile("p3 = p2 + 4", &["body[0]: p2 is read before it is set, or is set anew in each turn of the loop from another pointer"]);
    let anew = "is read before it is set, or is set anew in each turn of the loop from another pointer";
    tile("p2 = p0 + 0\n loop 3 { v0 = load p2[0]\n p0 += 4\n p2 = p0 + 4 }", &[&format!("body[1].loop[0]: p2 {anew}")]);
    // the same, but the first turn fits
    tile("p2 = p0 + 0\n loop 3 { v0 = load p2[0]\n p0 += 4\n p2 = p0 + 0 }", &[]);
    tile("p2 = p0 + 0\n loop 13 { v0 = load p2[0]\n p0 += 4\n p2 = p0 + 0 }", &[]);
    tile(
        "p2 = p0 + 0\n loop 14 { v0 = load p2[0]\n p0 += 4\n p2 = p0 + 0 }",
        &["body[1].loop[0]: reads bytes 0..68 of `x`, which holds 0..64"],
    );
    tile("loop 3 { p2 = p0 + 16\n v0 = load p2[0]\n p0 += 4 }", &[]);
    // two pointers that change places
    let faults = faults_of("tile t(x: read 0..64) { p2 = p0 + 32\n loop 2 { p3 = p2 + 0\n p2 = p0 + 0\n p0 = p3 + 0 } }", &facts());
    assert!(faults[0].contains(anew), "{faults:?}");
    // what a pointer is after a loop that sets it from another one
    tile("loop 3 { p2 = p0 + 16\n p0 += 4 }\n v0 = load p2[24]", &[]);
    tile("loop 3 { p2 = p0 + 16\n p0 += 4 }\n v0 = load p2[28]", &["body[1]: reads bytes 52..68 of `x`, which holds 0..64"]);
}

#[test]
fn pointers_and_counters_fit_the_general_registers() {
    let nest = "loop 2 { loop 2 { loop 2 { loop 2 { loop 2 { p2 = p0 + 0 } } } } }";
    tile(nest, &[]);
    tile(&format!("{nest}\n p3 = p0 + 0"), &["4 pointers and 5 nested loops, but 8 general registers"]);
    let args: Vec<String> = (0..9).map(|i| format!("x{i}: read 0..4")).collect();
    refused(&format!("tile t({}) {{ }}", args.join(", ")), &["9 pointers and 0 nested loops, but 8 general registers"]);
}

#[test]
fn loops_run() {
    tile("loop 0 { v0 = set 0.0 }", &["body[0]: a loop that runs 0 times"]);
}

#[test]
fn operands_are_on_the_menu() {
    let none = Menu::PLAIN;
    let on = |stmt: &str, wanted: &[&str]| {
        let text = format!("tile t(x: read 0..64) lanes 4 {{ v0 = set 0.0\n {stmt} }}");
        refused(&text, &[]);
        refused_on(&Facts { menu: none, ..facts() }, &text, wanted);
    };
    on("v0 = add v0, v0", &[]);
    on("v0 = add v0, 1.0", &[]);
    on("v0 = add v0, p0[4]", &["body[1]: Memory(At { p: P(0), offset: 4 }) is not on the menu of test"]);
    on("v0 += v0 * splat p0[4]", &["body[1]: Splat(At { p: P(0), offset: 4 }) is not on the menu of test"]);
    on("v0 *= v0 + v0[1]", &["body[1]: Lane(V(0), 1) is not on the menu of test"]);
    on("v0 += dot_u8s8 v0, v0", &["body[1]: U8S8 is not on the menu of test"]);
    on("v0 += dot_s8s8 v0, v0", &["body[1]: S8S8 is not on the menu of test"]);
    on("v0 += matrix_s8s8 v0, v0", &["body[1]: \"Matrix2x8\" is not on the menu of test"]);
    on("v0 += mul_high8 v0, v0", &["body[1]: \"MulAdd8\" is not on the menu of test"]);
    on("v0 = spread v0, 1", &["body[1]: Spread(1) is not on the menu of test"]);
    tile("v0 = set 0.0\n v0 = spread v0, 4", &["body[1]: lane 4 of a vector that has 4"]);
    on("v0 = low_i8 v0", &["body[1]: LowI8 is not on the menu of test"]);
    on("v0 = low_u8 v0", &["body[1]: LowU8 is not on the menu of test"]);
    on("v0 = iadd_pairs v0, v0", &["body[1]: IAddPairs is not on the menu of test"]);
    on("v0 += pairs v0", &["body[1]: \"PairAdd\" is not on the menu of test"]);
    on("v0 = pair_sat v0, v0", &["body[1]: PairSat is not on the menu of test"]);
    on("v0 = abs8 v0", &["body[1]: Abs8 is not on the menu of test"]);
    on("v0 = negative8 v0", &["body[1]: Negative8 is not on the menu of test"]);
    on("v0 = pair16 v0, v0", &["body[1]: Pair16 is not on the menu of test"]);
    on("v0 = mul_low8 v0, v0", &["body[1]: MulLow8 is not on the menu of test"]);
    on("v0 = mul_high8 v0, v0", &["body[1]: MulHigh8 is not on the menu of test"]);
    on("v0 = add16 v0, v0", &[]);
    tile("v0 = set 0.0\n v0 = add16 v0, splat p0[0]", &["body[1]: Add16 of one element in memory"]);
    on("v0 = select lt v0, v0[1] ? v0 : v0", &["body[1]: Lane(V(0), 1) is not on the menu of test"]);
}

#[test]
fn lanes_shifts_and_folds_make_sense() {
    let zero = "body[0]: 0 lanes of a vector that has 4";
    tile("v0 = load p0[0] lanes 0", &[zero]);
    tile("v0 = load p0[0] lanes 5", &["body[0]: 5 lanes of a vector that has 4"]);
    tile("v0 = gather p0[0] by 4 lanes 5", &["body[0]: 5 lanes of a vector that has 4"]);
    tile("v0 = set 0.0\n p1[0] = v0 lanes 5", &["body[1]: 5 lanes of a vector that has 4"]);
    tile("v0 = set 0.0\n scatter p1[0] by 4 = v0 lanes 5", &["body[1]: 5 lanes of a vector that has 4"]);
    tile("v0 = set 0.0\n v0 = add v0, v0[4]", &["body[1]: lane 4 of a vector that has 4"]);
    for op in ["shl", "shr", "sar"] {
        tile(&format!("v0 = set 0.0\n v0 = {op} v0, 31"), &[]);
        tile(&format!("v0 = set 0.0\n v0 = {op} v0, 32"), &["body[1]: a shift by 32 bits"]);
    }
    tile("v0 = set 0.0\n v1 = fold mul v0 temp v2", &["body[1]: a fold with Mul, which is none of Add, Max, Min"]);
    tile("v0 = set 0.0\n v1 = fold add v0 temp v0", &["body[1]: v0 is the fold's temporary and one of its operands"]);
    tile("v0 = set 0.0\n v1 = fold add v0 temp v1", &["body[1]: v1 is the fold's temporary and one of its operands"]);
}

#[test]
fn accesses_stay_in_what_arguments_declare() {
    refused("tile t(x: read 4..64) { }", &["argument `x` has the range 4..64, which 0 is not in"]);
    refused("scalar s(x: read -8..-4) { }", &["argument `x` has the range -8..-4, which 0 is not in"]);
    let x = |from: i64, to: i64| format!("reads bytes {from}..{to} of `x`, which holds 0..64");
    tile("v0 = load p0[48]", &[]);
    tile("v0 = load p0[52]", &[&format!("body[0]: {}", x(52, 68))]);
    tile("v0 = load p0[52] lanes 3", &[]);
    tile("v0 = load p0[-4]", &[&format!("body[0]: {}", x(-4, 12))]);
    tile("v0 = splat p0[60]\n v0 = splat p0[64]", &[&format!("body[1]: {}", x(64, 68))]);
    tile("v0 = gather p0[0] by 20\n v0 = gather p0[4] by 20", &[&format!("body[1]: {}", x(4, 68))]);
    tile("v0 = gather p0[8] by -4 lanes 3\n v0 = gather p0[8] by -4", &[&format!("body[1]: {}", x(-4, 12))]);
    let memory = &format!("body[1]: {}", x(52, 68));
    tile("v0 = set 0.0\n v0 = add v0, p0[52]", &[memory]);
    tile("v0 = set 0.0\n v0 += v0 * p0[52]", &[memory]);
    tile("v0 = set 0.0\n v0 *= v0 + p0[52]", &[memory]);
    tile("v0 = set 0.0\n v0 = select lt v0, p0[52] ? v0 : v0", &[memory]);
    tile("v0 = set 0.0\n v0 = add v0, splat p0[64]", &[&format!("body[1]: {}", x(64, 68))]);
    tile("v0 = set 0.0\n p1[52] = v0", &["body[1]: writes bytes 52..68 of `y`, which holds 0..64"]);
    tile("v0 = set 0.0\n scatter p1[0] by 32 = v0", &["body[1]: writes bytes 0..100 of `y`, which holds 0..64"]);
    tile("v0 = load p1[0]", &["body[0]: `y` is only to be written"]);
    tile("v0 = set 0.0\n p0[0] = v0", &["body[1]: `x` is only to be read"]);
    refused("tile t(x: readwrite 0..16) lanes 4 { v0 = load p0[0]\n p0[0] = v0 }", &[]);
}

#[test]
fn look_ups_have_their_table_and_their_registers() {
    let on = |stmt: &str, wanted: &[&str]| {
        refused(&format!("tile t(x: read 0..264, y: write 0..16) lanes 4 {{ v0 = set 0.0\n {stmt} }}"), wanted);
    };
    on("v1 = lookup v0 in p0[8] temp v2, v3\n v4 = v1", &[]);
    on("v1 = lookup v0 in p0[9] temp v2, v3", &["body[1]: reads bytes 9..265 of `x`, which holds 0..264"]);
    on("v1 = lookup v5 in p0[0] temp v2, v3", &["body[1]: v5 is read before it is set"]);
    on("v1 = lookup v0 in p0[0] temp v2, v3\n v4 = v3", &["body[2]: v3 is read before it is set"]);
    on("v0 = lookup v0 in p0[0] temp v2, v3", &["body[1]: a look-up in the registers v0, v0, v2, v3, of which two are one"]);
}

#[test]
fn narrow_accesses_count_their_own_bytes() {
    tile("v0 = load u8 p0[60]\n v0 = load i16 p0[56]\n v0 = splat u8 p0[63]\n p1[60] = i8 v0\n p1[62] = u16 v0 lanes 1", &[]);
    tile("v0 = load u8 p0[61]", &["body[0]: reads bytes 61..65 of `x`, which holds 0..64"]);
    tile("v0 = load u16 p0[58] lanes 4", &["body[0]: reads bytes 58..66 of `x`, which holds 0..64"]);
    tile("v0 = splat i16 p0[63]", &["body[0]: reads bytes 63..65 of `x`, which holds 0..64"]);
    tile("v0 = set 0.0\n p1[62] = i8 v0 lanes 3", &["body[1]: writes bytes 62..65 of `y`, which holds 0..64"]);
    tile("v0 = set 0.0\n p0[0] = u8 v0", &["body[1]: `x` is only to be read"]);
    tile("v0 = load u8 p0[0] lanes 5", &["body[0]: 5 lanes of a vector that has 4"]);
    tile("p1[0] = u8 v1", &["body[0]: v1 is read before it is set"]);
}

#[test]
fn accesses_stay_in_bounds_through_loops() {
    tile("loop 4 { v0 = load p0[0]\n p0 += 16 }", &[]);
    tile("loop 5 { v0 = load p0[0]\n p0 += 16 }", &["body[0].loop[0]: reads bytes 0..80 of `x`, which holds 0..64"]);
    tile("loop 4 { p0 += 16\n v0 = load p0[0] }", &["body[0].loop[1]: reads bytes 16..80 of `x`, which holds 0..64"]);
    tile("p0 += 48\n loop 4 { v0 = load p0[0]\n p0 -= 16 }", &[]);
    tile("p0 += 48\n loop 5 { v0 = load p0[0]\n p0 -= 16 }", &["body[1].loop[0]: reads bytes -16..64 of `x`, which holds 0..64"]);
    tile("loop 4 { loop 4 { v0 = splat p0[0]\n p0 += 4 } }\n p0 -= 64\n v0 = load p0[0]", &[]);
    tile(
        "loop 4 { loop 4 { v0 = splat p0[0]\n p0 += 4 }\n p0 -= 16 }\n v0 = load p0[-4]",
        &["body[1]: reads bytes -4..12 of `x`, which holds 0..64"],
    );
    let far = "loop 4294967295 { loop 4294967295 { loop 4294967295 { p0 += 9223372036854775807 } } }\n v0 = splat p0[0]";
    assert_eq!(faults_of(&format!("tile t(x: read 0..64) {{ {far} }}"), &facts()).len(), 1);
}

#[test]
fn values_are_set_once_and_seen_in_their_block() {
    scalar("v0 = 1\n v0 = 2", &["body[1]: v0 is set twice"]);
    scalar("v0 = 1\n for v0 in v0..v0 { }", &["body[1]: v0 is set twice"]);
    scalar("v1 = ineg v0\n v0 = 1", &["body[0]: v0 is not set here"]);
    scalar("v0 = 1\n if v0 { v1 = 2 } else { v2 = ineg v1 }", &["body[1].else[0]: v1 is not set here"]);
    scalar("v0 = 1\n for v1 in v0..v0 { v2 = 2 }\n v3 = iadd v1, v2", &["body[2]: v1 is not set here", "body[2]: v2 is not set here"]);
    scalar("loop { v0 = 0 } while v0 { v1 = ineg v0 }\n v2 = ineg v0", &["body[1]: v0 is not set here"]);
    scalar("loop { v0 = ineg v1 } while v0 { v1 = 0 }", &["body[0].head[0]: v1 is not set here"]);
    scalar("v0 = 1\n if v0 { v1 = 2\n v2 = ineg v1 }", &[]);
}

fn of_scalar(body: Vec<Scalar>) -> Kernel {
    let arg = |name: &str, access| Arg { name: name.into(), low: 0, high: 16, access };
    let kernel = ScalarKernel { values: vec![Ty::Int, Ty::F32, Ty::F64, Ty::Int], cells: vec![Ty::F32], body };
    Kernel { name: "s".into(), args: vec![arg("x", Access::Read), arg("y", Access::Write)], body: KernelBody::Scalar(kernel) }
}

#[test]
fn numbers_exist() {
    let faults = |stmt: Scalar| verify(&of_scalar(vec![stmt]), &facts()).expect_err("it must be refused");
    let expr = |to: u32, expr: Expr| faults(Scalar::Let { to: Value(to), expr });
    assert_eq!(expr(4, Expr::Int(0)), ["body[0]: v4 of 4 values"]);
    assert_eq!(expr(0, Expr::Unary(SUnary::INeg, Value(9))), ["body[0]: v9 of 4 values", "body[0]: operands of the wrong types"]);
    assert_eq!(expr(0, Expr::Get(Cell(1))), ["body[0]: c1 of 1 cells", "body[0]: operands of the wrong types"]);
    let at = |arg: u8| {
        vec![
            Scalar::Let { to: Value(0), expr: Expr::Int(0) },
            Scalar::Let { to: Value(1), expr: Expr::Load { arg, dtype: Dtype::F32, at: Value(0) } },
            Scalar::Store { arg, dtype: Dtype::F32, at: Value(0), value: Value(1) },
        ]
    };
    let both = |arg: u8| verify(&of_scalar(at(arg)), &facts()).expect_err("it must be refused");
    assert_eq!(both(2), ["body[1]: argument 2 of 2", "body[2]: argument 2 of 2"]);
    assert_eq!(both(0), ["body[2]: `x` is only to be read"]);
    assert_eq!(both(1), ["body[1]: `y` is only to be written"]);
    assert!(faults(Scalar::Set { cell: Cell(7), value: Value(0) })[0].contains("c7 of 1 cells"));
}

#[test]
fn types_fit() {
    // v0: Int, v1: F32, v2: F64
    let all = "v0 = 0\n v1 = f32 1.0\n v2 = f64 1.0\n";
    let wrong = |stmt: &str, wanted: &[&str]| scalar(&format!("{all} {stmt}"), wanted);
    for expr in [
        "ineg v1",
        "inot v2",
        "wrap i8 v1",
        "wrap f32 v0",
        "neg v0",
        "sqrt v0",
        "int_to_f32 v1",
        "uint_to_f64 v2",
        "float_to_int v0",
        "float_to_uint v0",
        "f32_to_f64 v2",
        "f64_to_f32 v1",
        "f32_bits v2",
        "f64_bits v1",
        "f32_from_bits v1",
        "f64_from_bits v2",
        "round_f16 v2",
        "round_bf16 v0",
        "iadd v0, v1",
        "iadd v1, v1",
        "add v0, v0",
        "add v1, v2",
        "ieq v1, v1",
        "eq v0, v0",
        "lt v1, v2",
        "mul_add v0, v0, v0",
        "mul_add v1, v1, v2",
        "mul_add v1, v2, v1",
        "select v1, v0, v0",
        "select v0, v1, v2",
        "require v1 below 5 else 4",
        "load f32 arg0[v1]",
    ] {
        let text = format!("scalar s(x: read 0..4) {{ {all} v3 = {expr} }}");
        assert_eq!(faults_of(&text, &facts()), ["body[3]: operands of the wrong types"], "{expr}");
    }
    wrong("store f32 arg1[v0] = v2", &["body[3]: v2 is F64, not F32"]);
    wrong("store f16 arg1[v0] = v0", &["body[3]: v0 is Int, not F32"]);
    wrong("store i8 arg1[v1] = v0", &["body[3]: v1 is F32, not Int"]);
    wrong("for v3 in v1..v2 { }", &["body[3]: v1 is F32, not Int", "body[3]: v2 is F64, not Int"]);
    wrong("if v1 { }", &["body[3]: v1 is F32, not Int"]);
    wrong("loop { } while v2 { }", &["body[3]: v2 is F64, not Int"]);
    refused("scalar s() { cells f32\n v0 = 0\n c0 = v0 }", &["body[1]: v0 is Int, not F32"]);
    refused(
        "scalar s() { values f32, f64\n v0 = 0\n v1 = f32 1.0 }",
        &["body[0]: v0 is F32 and set to Int", "body[1]: v1 is F64 and set to F32"],
    );
    refused("scalar s() { values int, f32\n v0 = 0\n for v1 in v0..v0 { } }", &["body[1]: v1 counts, but is no Int"]);
}

#[test]
fn statuses_and_requirements_make_sense() {
    scalar("fail 5", &[]);
    scalar("fail 0", &["body[0]: status 0, which is not in 1..=5"]);
    scalar("v0 = 1\n v1 = require v0 below 4 else 6", &["body[1]: status 6, which is not in 1..=5"]);
    scalar("v0 = 1\n v1 = require v0 below -1 else 4", &["body[1]: a value is required below -1"]);
}

#[test]
fn stored_bools_are_0_or_1() {
    scalar("v0 = 1\n v1 = load i8 arg0[v0]\n store bool arg1[v0] = v1", &["body[2]: stores -128..=127 as a bool"]);
    scalar("v0 = 1\n v1 = load i8 arg0[v0]\n v2 = wrap bool v1\n store bool arg1[v0] = v2", &[]);
    scalar("v0 = 1\n v1 = load f32 arg0[v0]\n v2 = lt v1, v1\n v3 = load bool arg0[v0]\n v4 = xor v2, v3\n store bool arg1[v0] = v4", &[]);
}

/// The statements leave an index in `v9` for a load of f32.
#[track_caller]
fn index(stmts: &str, low: i64, high: i64) {
    let load = "v10 = load f32 arg0[v9]";
    let at = |low: i64, high: i64| format!("scalar s(x: read {}..{}, i: read 0..16) {{ {stmts} {load} }}", low.min(0) * 4, high * 4 + 4);
    assert_eq!(faults_of(&at(low, high), &facts()), [""; 0], "{stmts}");
    // exactly: one element less is refused
    assert_eq!(faults_of(&at(low, high - 1), &facts()).len(), 1, "{stmts}");
    if low < 0 {
        assert_eq!(faults_of(&at(low + 1, high), &facts()).len(), 1, "{stmts}");
    }
}

#[test]
fn indices_are_followed_by_intervals() {
    let any = "v0 = 0\n v1 = load i64 arg1[v0]\n";
    let byte = "v0 = 0\n v1 = load i8 arg1[v0]\n v2 = load u8 arg1[v0]\n";
    index("v9 = 7\n", 0, 7);
    index(&format!("{byte} v9 = iadd v1, v2\n"), -128, 382);
    index(&format!("{byte} v9 = isub v1, v2\n"), -383, 127);
    index(&format!("{byte} v9 = imul v1, v2\n"), -128 * 255, 127 * 255);
    index(&format!("{byte} v3 = 7\n v9 = sdiv v1, v3\n"), -18, 18);
    index(&format!("{byte} v3 = 7\n v9 = srem v1, v3\n"), -6, 6);
    index(&format!("{byte} v3 = 7\n v9 = udiv v2, v3\n"), 0, 36);
    index(&format!("{any} v3 = 7\n v9 = urem v1, v3\n"), 0, 6);
    index(&format!("{any} v3 = 12\n v9 = and v1, v3\n"), 0, 12);
    index(&format!("{byte} v3 = 256\n v9 = or v2, v3\n"), 0, 511);
    index(&format!("{byte} v3 = 2\n v9 = shl v1, v3\n"), -512, 508);
    index(&format!("{byte} v3 = 2\n v9 = sshr v1, v3\n"), -32, 31);
    index(&format!("{any} v3 = 60\n v9 = ushr v1, v3\n"), 0, 15);
    index(&format!("{any} v3 = 0\n v4 = 9\n v5 = smax v1, v3\n v9 = smin v5, v4\n"), 0, 9);
    index(&format!("{any} v9 = wrap u4 v1\n"), 0, 15);
    index(&format!("{any} v3 = require v1 below 10 else 4\n v4 = 3\n v9 = iadd v3, v4\n"), 0, 12);
    index(&format!("{any} v3 = require v1 below 10 else 4\n v4 = 3\n v9 = iadd v1, v4\n"), 0, 12);
    index(&format!("{byte} v3 = 100\n v4 = 200\n v9 = select v1, v3, v4\n"), 0, 200);
    // a negative index counts from the end
    let wrapped = "v3 = slt v1, v0\n v4 = 128\n v5 = iadd v1, v4\n v9 = select v3, v5, v1\n";
    index(&format!("{byte} {wrapped}"), 0, 127);
}

#[test]
fn loops_and_branches_bound_indices() {
    let counted = |inner: &str, high: i64| {
        let at = |high: i64| {
            format!(
                "scalar s(x: read 0..{}) {{ v0 = 0\n v1 = 4\n v2 = 5\n for v3 in v0..v1 {{ for v4 in v0..v2 {{ {inner} v10 = load f32 arg0[v9] }} }} }}",
                high * 4 + 4
            )
        };
        assert_eq!(faults_of(&at(high), &facts()), [""; 0], "{inner}");
        assert_eq!(faults_of(&at(high - 1), &facts()).len(), 1, "{inner}");
    };
    counted("v5 = imul v3, v2\n v9 = iadd v5, v4\n", 19);
    counted("v5 = imul v4, v1\n v6 = iadd v5, v3\n v9 = udiv v6, v1\n", 4);
    // branches
    let inside = |cond: &str, then: &str, other: &str| {
        let text = format!(
            "scalar s(x: read 0..40, i: read 0..16) {{ v0 = 0\n v1 = load i64 arg1[v0]\n v2 = 10\n v3 = {cond}\n if v3 {{ {then} }} else {{ {other} }} }}"
        );
        faults_of(&text, &facts()).len()
    };
    let load = "v9 = load f32 arg0[v1]";
    assert_eq!((inside("ult v1, v2", load, ""), inside("ult v1, v2", "", load)), (0, 1));
    assert_eq!((inside("ule v2, v1", "", load), inside("ule v2, v1", load, "")), (0, 1));
    assert_eq!((inside("slt v1, v2", load, ""), inside("ieq v1, v0", load, "")), (1, 0));
    assert_eq!(inside("ine v1, v0", "", load), 0);
    let both = "slt v1, v2\n v4 = sle v0, v1\n v5 = and v3, v4\n if v5 { v6 = load f32 arg0[v1] }\n v7 = 1\n v8 = xor v5, v7\n v3x";
    let text = format!(
        "scalar s(x: read 0..40, i: read 0..16) {{ v0 = 0\n v1 = load i64 arg1[v0]\n v2 = 10\n v3 = {} }}",
        both.replace("v3x", "if v8 { } else { v9 = load f32 arg0[v1] }")
    );
    assert_eq!(faults_of(&text, &facts()), [""; 0]);
    // what is left after a branch that fails
    let text = "scalar s(x: read 0..40, i: read 0..16) { v0 = 0\n v1 = load i64 arg1[v0]\n v2 = 9\n v3 = ult v2, v1\n if v3 { fail 4 }\n v4 = load f32 arg0[v1] }";
    assert_eq!(faults_of(text, &facts()), [""; 0]);
    // no place that anyone gets to
    scalar("v0 = 100\n fail 4\n v1 = load f32 arg0[v0]", &[]);
    scalar("v0 = 0\n v1 = 100\n if v0 { v2 = load f32 arg0[v1] }", &[]);
    scalar("v0 = 9\n v1 = 100\n for v2 in v1..v0 { v3 = load f32 arg0[v1] }", &[]);
    scalar("v0 = 40\n v1 = load f32 arg0[v0]", &["body[1]: reads bytes 160..164 of `x`, which holds 0..160"]);
    scalar("v0 = 40\n v1 = f32 0.0\n store f32 arg1[v0] = v1", &["body[2]: writes bytes 160..164 of `y`, which holds 0..160"]);
}

#[test]
fn cells_are_followed_through_loops() {
    // compaction: a count that grows while it is below the end
    let text = "scalar s(x: read 0..400, y: write 0..40) { cells int
        v0 = 0\n v1 = 100\n v2 = 10\n v3 = 1
        for v4 in v0..v1 {
            v5 = load f32 arg0[v4]
            v6 = c0
            v7 = slt v6, v2
            if v7 { store f32 arg1[v6] = v5\n v8 = iadd v6, v3\n c0 = v8 }
        } }";
    refused(text, &[]);
    refused(&text.replace("0..40)", "0..36)"), &["body[4].for[3].then[0]: writes bytes 0..40 of `y`, which holds 0..36"]);
    // without the guard it grows without end
    let text = "scalar s(y: write 0..4000) { cells int
        v0 = 0\n v1 = 100\n v2 = 1\n v5 = f32 0.0
        for v3 in v0..v1 { v4 = c0\n store f32 arg0[v4] = v5\n v6 = iadd v4, v2\n c0 = v6 } }";
    assert_eq!(faults_of(text, &facts()).len(), 1);
    // the index of the largest
    let text = "scalar s(x: read 0..40, y: write 0..8) { cells int, f32
        v0 = 0\n v1 = 10
        for v2 in v0..v1 { v3 = load f32 arg0[v2]\n v4 = c1\n v5 = lt v4, v3\n if v5 { c0 = v2\n c1 = v3 } }
        v6 = c0\n v7 = load f32 arg0[v6]\n v8 = 0\n store i64 arg1[v8] = v6 }";
    refused(text, &[]);
    // a search that halves: low and high stay inside
    let text = "scalar s(x: read 0..40) { cells int, int
        v0 = 10\n c1 = v0
        loop { v1 = c0\n v2 = c1\n v3 = slt v1, v2 } while v3 {
            v4 = iadd v1, v2\n v5 = 1\n v6 = sshr v4, v5\n v7 = load f32 arg0[v6]\n v8 = f32 0.0\n v9 = lt v7, v8
            if v9 { v10 = iadd v6, v5\n c0 = v10 } else { c1 = v6 }
        } }";
    refused(text, &[]);
    // a countdown
    let text = "scalar s(x: read 0..40) { cells int
        v0 = 10\n c0 = v0\n v1 = 0\n v2 = 1
        loop { v3 = c0\n v4 = slt v1, v3 } while v4 { v5 = isub v3, v2\n v6 = load f32 arg0[v5]\n c0 = v5 } }";
    refused(text, &[]);
}

#[test]
fn the_right_tile_statements_are_accepted_together() {
    // all of a tile kernel's faults are listed, not the first
    let faults = faults_of("tile t(x: read 0..16) lanes 4 { v0 = v99\n v1 = load p0[4]\n loop 0 { } }", &facts());
    assert_eq!(faults.len(), 3, "{faults:?}");
    let body = vec![
        Stmt::Set { to: V(0), bits: 0 },
        Stmt::Unary { op: Unary::ToInt, to: V(0), a: V(0) },
        Stmt::Binary { op: TileBinary::IMul, to: V(0), a: V(0), b: Operand::V(V(0)) },
    ];
    let kernel = Kernel { name: "t".into(), args: Vec::new(), body: KernelBody::Tile(TileKernel { body }) };
    assert_eq!(verify(&kernel, &facts()), Ok(()));
}

/// Runs with every argument on a buffer of just its range; whether it got through.
fn gets_through(kernel: &Kernel, input: &[u8]) -> bool {
    let size = |arg: &Arg| (arg.high - arg.low) as usize;
    let mut memory: Vec<Vec<u8>> = kernel.args.iter().map(|arg| vec![0; size(arg)]).collect();
    if let Some(first) = memory.first_mut().filter(|first| first.len() >= input.len()) {
        first[..input.len()].copy_from_slice(input);
    }
    let args: Vec<Pointer> = kernel.args.iter().enumerate().map(|(buffer, a)| Pointer { buffer, offset: -a.low as usize }).collect();
    let mut buffers: Vec<Buffer> = memory.iter_mut().map(|bytes| Buffer::Open(bytes)).collect();
    catch_unwind(AssertUnwindSafe(|| run(kernel, &facts(), &mut buffers, &args))).is_ok()
}

#[test]
fn tile_kernels_are_accepted_exactly_when_they_run() {
    let mut random = Random::new(2);
    let mut counts = [0; 2];
    for _ in 0..4000 {
        let kernel = random.tame_tile();
        let verdict = verify(&kernel, &facts());
        let uneven = verdict.as_ref().is_err_and(|faults| faults.iter().any(|f| f.contains("set anew")));
        if !uneven {
            assert_eq!(verdict.is_ok(), gets_through(&kernel, &[]), "{verdict:?}\n{}", text::print(&kernel));
            counts[verdict.is_ok() as usize] += 1;
        }
    }
    assert!(counts.iter().all(|&n| n > 300), "{counts:?}");
}

/// The range of bytes that a fault says is touched, and the argument.
fn claimed(fault: &str) -> Option<(i64, i64, usize)> {
    let rest = fault.split_once("bytes ")?.1;
    let (range, rest) = rest.split_once(" of `")?;
    let (low, high) = range.split_once("..")?;
    Some((low.parse().ok()?, high.parse().ok()?, rest.split_once('`')?.0.parse().ok()?))
}

#[test]
fn scalar_kernels_stay_in_the_ranges_that_are_claimed() {
    let mut random = Random::new(3);
    let mut checked = 0;
    for _ in 0..6000 {
        let mut kernel = random.tame_scalar();
        let faults = verify(&kernel, &facts()).err().unwrap_or_default();
        // widen every argument to just what is claimed of it
        let claims: Option<Vec<_>> = faults.iter().map(|f| claimed(f).filter(|c| c.0 > -100_000 && c.1 < 100_000)).collect();
        let Some(claims) = claims else { continue };
        for (low, high, arg) in claims {
            kernel.args[arg].low = low.min(0);
            kernel.args[arg].high = high.max(0);
        }
        assert_eq!(verify(&kernel, &facts()), Ok(()), "{}", text::print(&kernel));
        for _ in 0..4 {
            let data = random.next().to_le_bytes();
            assert!(gets_through(&kernel, &data), "{data:?}\n{}", text::print(&kernel));
        }
        checked += usize::from(kernel.args.len() > 1);
    }
    assert!(checked > 1000, "{checked}");
}

#[test]
fn intervals_hold_the_results_of_every_operation() {
    let mut random = Random::new(4);
    for &op in text::scalar::BINARY.iter().filter(|&&op| op < Binary::Add) {
        let (zero, one) = (Value(0), Value(1));
        let body = vec![
            Scalar::Let { to: Value(0), expr: Expr::Int(0) },
            Scalar::Let { to: Value(1), expr: Expr::Int(1) },
            Scalar::Let { to: Value(2), expr: Expr::Load { arg: 0, dtype: Dtype::I64, at: zero } },
            Scalar::Let { to: Value(3), expr: Expr::Load { arg: 0, dtype: Dtype::I64, at: one } },
            Scalar::Let { to: Value(4), expr: Expr::Binary(op, Value(2), Value(3)) },
            Scalar::Store { arg: 0, dtype: Dtype::I64, at: zero, value: Value(4) },
        ];
        let kernel = ScalarKernel { values: vec![Ty::Int; 5], cells: Vec::new(), body };
        let args = vec![Arg { name: "x".into(), low: 0, high: 16, access: Access::ReadWrite }];
        let kernel = Kernel { name: "op".into(), args, body: KernelBody::Scalar(kernel) };
        for _ in 0..3000 {
            let (a, b) = (interval(&mut random), interval(&mut random));
            let (x, y) = (member(&mut random, a), member(&mut random, b));
            let mut memory = [x.to_le_bytes(), y.to_le_bytes()].concat();
            run(&kernel, &facts(), &mut [Buffer::Open(&mut memory)], &[Pointer { buffer: 0, offset: 0 }]);
            let got = i64::from_le_bytes(memory[..8].try_into().expect("8 bytes"));
            assert!(binary(op, a, b).holds(got), "{op:?} {x} of {a:?}, {y} of {b:?}: {got}, not in {:?}", binary(op, a, b));
        }
    }
}

fn interval(random: &mut Random) -> Interval {
    let mut end = || {
        let near = random.between(-70, 70);
        let any = random.next() as i64;
        random.pick(&[near, near, near, any, i64::MIN, i64::MAX, 0])
    };
    let (a, b) = (end(), end());
    Interval::new(a.min(b), a.max(b))
}

fn member(random: &mut Random, of: Interval) -> i64 {
    let offset = i128::from(random.next()) % (i128::from(of.high) - i128::from(of.low) + 1);
    let inside = (i128::from(of.low) + offset) as i64;
    random.pick(&[of.low, of.high, inside, inside])
}
