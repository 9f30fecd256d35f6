//! Every statement and expression, with results computed by hand.

use super::{Buffer, Pointer, run};
use crate::kernel::facts::MinMax;
use crate::kernel::samples::{Random, facts};
use crate::kernel::{Facts, text, verify};
use crate::tensor::Dtype;

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

/// Runs a verified kernel, argument `i` on its own buffer `i`; the status.
#[track_caller]
fn run_text(text: &str, facts: &Facts, memory: &mut [Vec<u8>]) -> u8 {
    let kernel = text::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(verify(&kernel, facts), Ok(()), "{text}");
    let args: Vec<Pointer> =
        kernel.args.iter().enumerate().map(|(buffer, arg)| Pointer { buffer, offset: arg.low.unsigned_abs() as usize }).collect();
    let mut buffers: Vec<Buffer> = memory.iter_mut().map(|bytes| Buffer::Open(bytes)).collect();
    run(&kernel, facts, &mut buffers, &args)
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("4 bytes"))).collect()
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// `v4` after the statements, which find `x` in `v0`, `y` in `v1`, and both in memory behind `p0` and `p1`.
#[track_caller]
fn lanes_on(facts: &Facts, x: [u32; 4], y: [u32; 4], stmts: &str) -> Vec<u32> {
    let text = format!(
        "tile t(x: read 0..16, y: read 0..16, z: write 0..16) lanes 4 {{
           v0 = load p0[0]
           v1 = load p1[0]
           {stmts}
           p2[0] = v4
         }}"
    );
    let mut memory = [bytes(&x), bytes(&y), vec![0xa5; 16]];
    assert_eq!(run_text(&text, facts, &mut memory), 0);
    words(&memory[2])
}

#[track_caller]
fn ints(x: [i32; 4], y: [i32; 4], stmts: &str, wanted: [i32; 4]) {
    let got: Vec<i32> = lanes_on(&facts(), x.map(|v| v as u32), y.map(|v| v as u32), stmts).iter().map(|&v| v as i32).collect();
    assert_eq!(got, wanted, "{stmts}");
}

/// Bit for bit; any NaN for a NaN.
#[track_caller]
fn floats_on(facts: &Facts, x: [f32; 4], y: [f32; 4], stmts: &str, wanted: [f32; 4]) {
    let got = lanes_on(facts, x.map(f32::to_bits), y.map(f32::to_bits), stmts);
    let same = got.iter().zip(wanted).all(|(&g, w)| g == w.to_bits() || (w.is_nan() && f32::from_bits(g).is_nan()));
    let shown: Vec<f32> = got.iter().map(|&g| f32::from_bits(g)).collect();
    assert!(same, "{stmts}: {shown:?}, not {wanted:?}");
}

#[track_caller]
fn floats(x: [f32; 4], y: [f32; 4], stmts: &str, wanted: [f32; 4]) {
    floats_on(&facts(), x, y, stmts, wanted);
}

#[test]
fn unary_operations_on_lanes() {
    let x = [-0.0, 2.5, -1.5, NAN];
    let one = |stmts: &str, wanted: [f32; 4]| floats(x, [0.0; 4], stmts, wanted);
    one("v4 = neg v0", [0.0, -2.5, 1.5, NAN]);
    one("v4 = abs v0", [0.0, 2.5, 1.5, NAN]);
    one("v4 = floor v0", [-0.0, 2.0, -2.0, NAN]);
    one("v4 = ceil v0", [-0.0, 3.0, -1.0, NAN]);
    one("v4 = trunc v0", [-0.0, 2.0, -1.0, NAN]);
    one("v4 = round v0", [-0.0, 2.0, -2.0, NAN]);
    one("v4 = v0", x);
    floats([4.0, -0.0, -1.0, INF], [0.0; 4], "v4 = sqrt v0", [2.0, -0.0, NAN, INF]);
    floats([0.5, 1.5, 2.5, -0.5], [0.0; 4], "v4 = round v0", [0.0, 2.0, 2.0, -0.0]);
    floats([1.9, -1.9, 2147483520.0, -0.0], [0.0; 4], "v4 = to_int v0\nv4 = from_int v4", [1.0, -1.0, 2147483520.0, 0.0]);
    // 2^24 + 1 and 2^24 + 3 lie between two floats: to the even one
    ints([16777217, 16777219, -16777217, 7], [0; 4], "v4 = from_int v0\nv4 = to_int v4", [16777216, 16777220, -16777216, 7]);
    ints([1, -8, 3, i32::MIN], [0; 4], "v4 = shl v0, 31", [i32::MIN, 0, i32::MIN, 0]);
    ints([1, -8, i32::MIN, 12], [0; 4], "v4 = shr v0, 2", [0, 0x3ffffffe, 0x20000000, 3]);
    ints([1, -8, i32::MIN, 12], [0; 4], "v4 = sar v0, 2", [0, -2, i32::MIN >> 2, 3]);
}

#[test]
fn binary_operations_on_lanes() {
    let two = |stmts: &str, wanted: [f32; 4]| floats([1.0, INF, 0.0, NAN], [2.0, INF, -0.0, 1.0], stmts, wanted);
    two("v4 = add v0, v1", [3.0, INF, 0.0, NAN]);
    two("v4 = sub v0, v1", [-1.0, NAN, 0.0, NAN]);
    two("v4 = mul v0, v1", [2.0, INF, -0.0, NAN]);
    two("v4 = div v0, v1", [0.5, NAN, NAN, NAN]);
    let bits = |stmts: &str, wanted: [i32; 4]| ints([12, -1, i32::MIN, 5], [10, 3, -1, 5], stmts, wanted);
    bits("v4 = and v0, v1", [8, 3, i32::MIN, 5]);
    bits("v4 = or v0, v1", [14, -1, -1, 5]);
    bits("v4 = xor v0, v1", [6, -4, i32::MAX, 0]);
    bits("v4 = and_not v0, v1", [2, 0, i32::MAX, 0]);
    bits("v4 = iadd v0, v1", [22, 2, i32::MAX, 10]);
    bits("v4 = isub v0, v1", [2, -4, i32::MIN + 1, 0]);
    bits("v4 = imul v0, v1", [120, -3, i32::MIN, 25]);
    bits("v4 = imin v0, v1", [10, -1, i32::MIN, 5]);
    bits("v4 = imax v0, v1", [12, 3, -1, 5]);
}

#[test]
fn minimum_and_maximum_follow_the_facts() {
    let (x, y) = ([NAN, 1.0, 0.0, -0.0], [1.0, NAN, -0.0, 0.0]);
    floats(x, y, "v4 = max v0, v1", [1.0, NAN, -0.0, 0.0]);
    floats(x, y, "v4 = min v0, v1", [1.0, NAN, -0.0, 0.0]);
    let ieee = Facts { min_max: MinMax::Ieee, ..facts() };
    floats_on(&ieee, x, y, "v4 = max v0, v1", [NAN, NAN, 0.0, 0.0]);
    floats_on(&ieee, x, y, "v4 = min v0, v1", [NAN, NAN, -0.0, -0.0]);
    floats_on(&ieee, [1.0, 2.0, -INF, 3.0], [2.0, 1.0, 0.0, 3.0], "v4 = min v0, v1", [1.0, 1.0, -INF, 3.0]);
}

#[test]
fn multiply_add_rounds_as_the_facts_say() {
    // (1 + e)^2 - 1 = 2e + e^2, where e^2 is lost when the product is rounded first
    let e = f32::EPSILON;
    let (x, y) = ([1.0 + e, 2.0, 3.0, INF], [1.0 + e, 3.0, -1.0, 0.0]);
    let minus_one = "v4 = set -1.0\nv4 += v0 * v1";
    floats(x, y, minus_one, [2.0 * e + e * e, 5.0, -4.0, NAN]);
    let plain = Facts { fused: false, ..facts() };
    floats_on(&plain, x, y, minus_one, [2.0 * e, 5.0, -4.0, NAN]);
    floats(x, y, "v4 = set 1.0\nv4 -= v0 * v1", [-2.0 * e - e * e, -5.0, 4.0, NAN]);
    floats_on(&plain, x, y, "v4 = set 1.0\nv4 -= v0 * v1", [-2.0 * e, -5.0, 4.0, NAN]);
    floats(x, y, "v4 = v0\nv4 *= v1 + -1.0", [2.0 * e + e * e, 5.0, -4.0, NAN]);
    floats_on(&plain, x, y, "v4 = v0\nv4 *= v1 + -1.0", [2.0 * e, 5.0, -4.0, NAN]);
    floats([2.0; 4], [0.0; 4], "v4 = v0\nv4 += v4 * v4", [6.0; 4]);
}

#[test]
fn bytes_go_through_a_table() {
    let text = "tile t(x: read 0..16, table: read 0..256, z: write 0..16) lanes 4 { v0 = load p0[0]\n v1 = lookup v0 in p1[0] temp v2, v3\n p2[0] = v1 }";
    let table: Vec<u8> = (0..=255u8).map(|i| i.wrapping_mul(7).wrapping_add(3)).collect();
    let x: Vec<u8> = (0..16).map(|i| 255 - i * 17).collect();
    let mut memory = [x.clone(), table.clone(), vec![0; 16]];
    assert_eq!(run_text(text, &facts(), &mut memory), 0);
    assert_eq!(memory[2], x.iter().map(|&i| table[i as usize]).collect::<Vec<u8>>());
}

#[test]
fn bytes_are_mixed_and_packed() {
    let (x, y) = ([0x0302_0100, 0x0706_0504, 0x0b0a_0908, 0x0f0e_0d0c], [0x1312_1110, 0x1716_1514, 0x1b1a_1918, 0x1f1e_1d1c]);
    let two = |stmt: &str, wanted: [i32; 4]| ints(x, y, stmt, wanted);
    two("v4 = zip_low8 v0, v1", [0x1101_1000, 0x1303_1202, 0x1505_1404, 0x1707_1606]);
    two("v4 = zip_high8 v0, v1", [0x1909_1808, 0x1b0b_1a0a, 0x1d0d_1c0c, 0x1f0f_1e0e]);
    two("v4 = zip_low16 v0, v1", [0x1110_0100, 0x1312_0302, 0x1514_0504, 0x1716_0706]);
    two("v4 = zip_high16 v0, v1", [0x1918_0908, 0x1b1a_0b0a, 0x1d1c_0d0c, 0x1f1e_0f0e]);
    let most = |stmt: &str, wanted: [i32; 4]| ints([0x0180_ff05, 0, 0, 0], [0x027f_0106, 0, 0, -1], stmt, wanted);
    most("v4 = max_u8 v0, v1", [0x0280_ff06, 0, 0, -1]);
    most("v4 = max_i8 v0, v1", [0x027f_0106, 0, 0, 0]);
    ints(
        [1, -1, 70_000, -70_000],
        [2, -2, 32_767, -32_768],
        "v4 = pack_i16 v0, v1",
        [
            -65_535,
            i32::from_le_bytes([0xff, 0x7f, 0, 0x80]),
            i32::from_le_bytes([2, 0, 0xfe, 0xff]),
            i32::from_le_bytes([0xff, 0x7f, 0, 0x80]),
        ],
    );
    let halves = [0x012c_0005, -1, 0x0080_ff7f, 0];
    ints(halves, [0x00ff_0100, 0, 0, 1], "v4 = pack_u8 v0, v1", [0x0000_ff05, 0x0000_8000, 0x0000_ffff, 0x0000_0001 << 16]);
    ints(
        halves,
        [0x00ff_0100, 0, 0, 1],
        "v4 = pack_i8 v0, v1",
        [i32::from_le_bytes([5, 0x7f, 0xff, 0xff]), i32::from_le_bytes([0x80, 0x7f, 0, 0]), 0x0000_7f7f, 0x0001_0000],
    );
}

#[test]
fn narrow_elements_are_widened_and_cut() {
    // bytes 255, 128, 0, 1 | 2, 127, 254, 3
    let (x, y) = ([0x0100_80ff, 0x03fe_7f02, 0, 0], [0; 4]);
    ints(x, y, "v4 = load u8 p0[0]", [255, 128, 0, 1]);
    ints(x, y, "v4 = load i8 p0[0]", [-1, -128, 0, 1]);
    ints(x, y, "v4 = load u8 p0[1] lanes 3", [128, 0, 1, 0]);
    ints(x, y, "v4 = load u16 p0[0]", [0x80ff, 0x100, 0x7f02, 0x3fe]);
    ints(x, y, "v4 = load i16 p0[0] lanes 2", [-0x7f01, 0x100, 0, 0]);
    ints(x, y, "v4 = splat u8 p0[6]", [254; 4]);
    ints(x, y, "v4 = splat i8 p0[6]", [-2; 4]);
    ints(x, y, "v4 = splat i16 p0[0]", [-0x7f01; 4]);
    let store = |kind: &str, values: [i32; 4], wanted: [u8; 8]| {
        let text = format!("tile t(x: read 0..16, z: write 0..8) lanes 3 {{ v0 = load p0[0] lanes 4\n p1[1] = {kind} v0 }}");
        let mut memory = [bytes(&values.map(|v| v as u32)), vec![7; 8]];
        assert_eq!(run_text(&text, &facts(), &mut memory), 0);
        assert_eq!(memory[1], wanted, "{kind}");
    };
    // the fourth lane is not stored
    store("u8", [255, 0, 128, -1], [7, 255, 0, 128, 7, 7, 7, 7]);
    store("i8", [-128, 127, -1, 128], [7, 128, 127, 255, 7, 7, 7, 7]);
    store("u16", [65535, 0, 258, 0], [7, 255, 255, 0, 0, 2, 1, 7]);
    store("i16", [-32768, 32767, -2, 0], [7, 0, 128, 255, 127, 254, 255, 7]);
}

#[test]
#[should_panic(expected = "Some(256) is stored as U8")]
fn what_an_element_does_not_hold_is_not_stored() {
    let text = "tile t(z: write 0..4) lanes 4 { v0 = set 0x00000100\n p0[0] = u8 v0 }";
    run_text(text, &facts(), &mut [vec![0; 4]]);
}

#[test]
fn operands_come_from_everywhere() {
    let (x, y) = ([1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]);
    floats(x, y, "v4 = add v0, p1[0]", [11.0, 22.0, 33.0, 44.0]);
    floats(x, y, "v4 = add v0, splat p1[8]", [31.0, 32.0, 33.0, 34.0]);
    floats(x, y, "v4 = add v0, 0.5", [1.5, 2.5, 3.5, 4.5]);
    floats(x, y, "v4 = add v0, v1[3]", [41.0, 42.0, 43.0, 44.0]);
    floats(x, y, "v4 = v0\nv4 += v1 * v0[1]", [21.0, 42.0, 63.0, 84.0]);
    floats(x, y, "v4 = splat p1[4]", [20.0; 4]);
    floats(x, y, "v4 = set -0.0", [-0.0; 4]);
}

#[test]
fn selection_by_every_comparison() {
    let (x, y) = ([1.0, NAN, -0.0, 2.0], [2.0, 1.0, 0.0, 1.0]);
    let pick = |cmp: &str, wanted: [f32; 4]| {
        floats(x, y, &format!("v2 = set 1.0\nv3 = set 0.0\nv4 = select {cmp} v0, v1 ? v2 : v3"), wanted);
    };
    pick("eq", [0.0, 0.0, 1.0, 0.0]);
    pick("ne", [1.0, 1.0, 0.0, 1.0]);
    pick("lt", [1.0, 0.0, 0.0, 0.0]);
    pick("le", [1.0, 0.0, 1.0, 0.0]);
    pick("unordered", [0.0, 1.0, 0.0, 0.0]);
    pick("ieq", [0.0, 0.0, 0.0, 0.0]);
    // as integers: -0 is the smallest of all
    pick("ilt", [1.0, 0.0, 1.0, 0.0]);
    floats(x, y, "v4 = v1\nv4 = select lt v0, v4 ? v4 : v0", [2.0, NAN, -0.0, 2.0]);
}

#[test]
fn a_fold_goes_by_halves() {
    // (1 + -1) + (2^25 + 1): the 1 is lost there, and would not be in another order
    let big = 33554432.0;
    floats([1.0, big, -1.0, 1.0], [0.0; 4], "v4 = fold add v0 temp v2", [big; 4]);
    floats([1.0, 7.0, -3.0, 5.0], [0.0; 4], "v4 = fold max v0 temp v2", [7.0; 4]);
    floats([1.0, 7.0, -3.0, 5.0], [0.0; 4], "v4 = v0\nv4 = fold min v4 temp v2", [-3.0; 4]);
    // second on a tie: max(max(0, -0), max(-0, -0))
    floats([0.0, -0.0, -0.0, -0.0], [0.0; 4], "v4 = fold max v0 temp v2", [-0.0; 4]);
}

#[test]
fn partial_accesses_touch_no_other_byte() {
    let text = "tile t(x: read 0..12, y: write 0..12) lanes 3 { v0 = load p0[0]\n p1[0] = v0 lanes 2\n p1[8] = v0 lanes 1 }";
    let mut memory = [bytes(&[1, 2, 3]), bytes(&[9, 9, 9])];
    run_text(text, &facts(), &mut memory);
    assert_eq!(words(&memory[1]), [1, 2, 1]);
    let text = "tile t(x: read 0..12, y: write 0..16) lanes 3 { v0 = load p0[0]\n p1[0] = v0 lanes 4 }";
    let mut memory = [bytes(&[1, 2, 3]), bytes(&[9; 4])];
    run_text(text, &facts(), &mut memory);
    assert_eq!(words(&memory[1]), [1, 2, 3, 0]);
}

#[test]
fn quads_are_four_lanes_from_each_address() {
    let text = "tile t(x: read 0..40, y: write 0..36) {
        v0 = quads p0[24] by -20
        quads p1[4] by 12 = v0
    }";
    let mut memory = [bytes(&[10, 11, 12, 13, 14, 15, 16, 17, 18, 19]), bytes(&[9; 9])];
    run_text(text, &Facts { vector_bytes: 32, ..facts() }, &mut memory);
    // the second four, written last, cover the end of the first
    assert_eq!(words(&memory[1]), [9, 16, 17, 18, 11, 12, 13, 14, 9]);
}

#[test]
fn gather_and_scatter_take_steps_of_bytes() {
    let text = "tile t(x: read 0..24, y: write 0..28) lanes 3 {
        v0 = gather p0[20] by -8
        scatter p1[4] by 12 = v0 lanes 2
        p1[20] = v0 lanes 1
        v1 = gather p0[0] by 0 lanes 2
        scatter p1[8] by 0 = v1
        p1[24] = v0 lanes 1
    }";
    let mut memory = [bytes(&[10, 11, 12, 13, 14, 15]), bytes(&[9; 7])];
    run_text(text, &facts(), &mut memory);
    // v0 = 15, 13, 11, 0; lane 2 of v1 is 0, and the last to be written
    assert_eq!(words(&memory[1]), [9, 15, 0, 9, 13, 15, 15]);
}

#[test]
fn pointers_move_through_loops() {
    // a 2 x 3 matrix transposed, element by element
    let text = "tile t(x: read -4..20, y: write 0..24) lanes 1 {
        loop 2 {
            p2 = p1 + 0
            loop 3 {
                v0 = load p0[-4]
                p2[0] = v0
                p0 += 4
                p2 += 8
            }
            p1 += 4
        }
    }";
    let mut memory = [bytes(&[1, 2, 3, 4, 5, 6]), vec![0; 24]];
    run_text(text, &facts(), &mut memory);
    assert_eq!(words(&memory[1]), [1, 4, 2, 5, 3, 6]);
}

#[test]
fn arguments_may_overlap() {
    let text = "tile t(x: read -4..20, y: write 0..16) lanes 4 { v0 = load p0[-4]\n v1 = load p0[4]\n v0 = iadd v0, v1\n p1[0] = v0 }";
    let kernel = text::parse(text).expect("it parses");
    let mut memory = bytes(&[1, 2, 3, 4, 5, 6]);
    let at = Pointer { buffer: 0, offset: 4 };
    run(&kernel, &facts(), &mut [Buffer::Open(&mut memory)], &[at, at]);
    assert_eq!(words(&memory), [1, 4, 6, 8, 10, 6]);
}

#[test]
fn wider_vectors_have_more_lanes() {
    for (bytes_of_vector, lanes) in [(32, 8u32), (64, 16)] {
        let facts = Facts { vector_bytes: bytes_of_vector, ..facts() };
        let text = format!(
            "tile t(x: read 0..{0}, y: write 0..{0}) lanes {lanes} {{
                v0 = load p0[0]\n v1 = from_int v0\n v1 = fold add v1 temp v2\n v1 = to_int v1\n v0 = iadd v0, v1\n p1[0] = v0 }}",
            lanes * 4
        );
        let x: Vec<u32> = (0..lanes).collect();
        let mut memory = [bytes(&x), vec![0; 4 * lanes as usize]];
        run_text(&text, &facts, &mut memory);
        let sum = lanes * (lanes - 1) / 2;
        assert_eq!(words(&memory[1]), x.iter().map(|v| v + sum).collect::<Vec<_>>());
    }
}

#[test]
fn a_stray_access_panics() {
    let stray = |text: &str, memory: usize| {
        let kernel = text::parse(text).expect("it parses");
        let mut bytes = vec![0u8; memory];
        let (mut open, args) = ([Buffer::Open(&mut bytes)], [Pointer { buffer: 0, offset: 0 }]);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&kernel, &facts(), &mut open, &args)));
        caught.expect_err("it must panic").downcast::<String>().map(|s| *s).unwrap_or_default()
    };
    let outside = stray("tile t(x: read 0..16) lanes 4 { v0 = load p0[4] }", 64);
    assert_eq!(outside, "t: 16 bytes at 4 of `x`, which is Read 0..16");
    assert!(stray("tile t(x: read 0..16) lanes 4 { p0[0] = v0 }", 64).contains("which is Read"));
    assert!(stray("tile t(x: write 0..16) lanes 4 { v0 = load p0[0] }", 64).contains("which is Write"));
    assert!(stray("tile t(x: read 0..32) lanes 4 { v0 = load p0[16] }", 16).contains("out of range"));
    assert_eq!(stray("tile t(x: read 0..32) { p1 += 4 }", 16), "t: p1 is undefined");
    assert!(stray("scalar s(x: read 0..32) { v0 = 8\n v1 = load f32 arg0[v0] }", 64).contains("4 bytes at 32 of `x`"));
}

/// What the scalar statements leave in `v9`, an Int; they find `a` in `v0` and `b` in `v1`.
#[track_caller]
fn scalar(a: i64, b: i64, stmts: &str) -> i64 {
    let text = format!(
        "scalar s(x: read 0..16, out: write 0..8) {{
           v2 = 0\n v3 = 1\n v0 = load i64 arg0[v2]\n v1 = load i64 arg0[v3]
           {stmts}
           store i64 arg1[v2] = v9 }}"
    );
    let mut memory = [[a.to_le_bytes(), b.to_le_bytes()].concat(), vec![0; 8]];
    // numbers between v3 and v9 that the statements leave out are Ints too
    assert_eq!(run_text(&text, &facts(), &mut memory), 0);
    i64::from_le_bytes(memory[1].as_slice().try_into().expect("8 bytes"))
}

#[test]
fn integer_arithmetic() {
    const MIN: i64 = i64::MIN;
    let two = |op: &str, a: i64, b: i64| scalar(a, b, &format!("v9 = {op} v0, v1"));
    type Cases = [(i64, i64, i64)];
    let table: &[(&str, &Cases)] = &[
        ("iadd", &[(2, 3, 5), (i64::MAX, 1, MIN)]),
        ("isub", &[(2, 3, -1), (MIN, 1, i64::MAX)]),
        ("imul", &[(-2, 3, -6), (MIN, -1, MIN)]),
        ("sdiv", &[(-7, 2, -3), (7, 0, 0), (MIN, -1, MIN)]),
        ("udiv", &[(7, 2, 3), (7, 0, 0), (-1, 2, i64::MAX)]),
        ("srem", &[(-7, 2, -1), (7, -2, 1), (7, 0, 0), (MIN, -1, 0)]),
        ("urem", &[(7, 4, 3), (7, 0, 0), (-1, 10, 5)]),
        ("and", &[(12, 10, 8)]),
        ("or", &[(12, 10, 14)]),
        ("xor", &[(12, 10, 6)]),
        ("shl", &[(3, 2, 12), (1, 63, MIN), (1, 64, 0), (1, -1, 0)]),
        ("ushr", &[(-1, 63, 1), (-1, 64, 0), (-1, -1, 0)]),
        ("sshr", &[(-8, 1, -4), (-8, 64, -1), (8, 64, 0), (-8, -1, -1)]),
        ("smin", &[(-1, 1, -1)]),
        ("smax", &[(-1, 1, 1)]),
        ("umin", &[(-1, 1, 1)]),
        ("umax", &[(-1, 1, -1)]),
        ("ieq", &[(1, 1, 1), (1, 2, 0)]),
        ("ine", &[(1, 1, 0), (1, 2, 1)]),
        ("slt", &[(-1, 1, 1), (1, 1, 0)]),
        ("sle", &[(1, 1, 1), (2, 1, 0)]),
        ("ult", &[(-1, 1, 0), (1, -1, 1)]),
        ("ule", &[(1, 1, 1), (-1, 1, 0)]),
    ];
    for (op, cases) in table {
        for &(a, b, wanted) in *cases {
            assert_eq!(two(op, a, b), wanted, "{op} {a}, {b}");
        }
    }
    assert_eq!((scalar(5, 0, "v9 = ineg v0"), scalar(MIN, 0, "v9 = ineg v0"), scalar(5, 0, "v9 = inot v0")), (-5, MIN, -6));
    let wraps = [("i8", -56), ("u8", 200), ("i4", -8), ("u4", 8), ("i2", 0), ("u2", 0), ("i16", 200), ("i64", 200), ("bool", 1)];
    for (dtype, wanted) in wraps {
        assert_eq!(scalar(200, 0, &format!("v9 = wrap {dtype} v0")), wanted, "{dtype}");
    }
    assert_eq!((scalar(-1, 0, "v9 = wrap u32 v0"), scalar(-1, 0, "v9 = wrap u64 v0")), (0xffff_ffff, -1));
    assert_eq!((scalar(2, 7, "v9 = select v0, v1, v2"), scalar(0, 7, "v9 = select v0, v1, v2")), (7, 0));
}

/// The bits of what an expression gives, of type `gives`; it finds `a`, `b` in `v4`, `v5` as F32, in `v6`, `v7` as F64.
#[track_caller]
fn float_bits(facts: &Facts, a: f64, b: f64, expr: &str, gives: &str) -> u64 {
    let last = match gives {
        "int" => "store i64 arg1[v2] = v8".to_string(),
        float => format!("v9 = {float}_bits v8\n store i64 arg1[v2] = v9"),
    };
    let text = format!(
        "scalar s(x: read 0..16, out: write 0..8) {{
           v2 = 0\n v3 = 1\n v6 = load f64 arg0[v2]\n v7 = load f64 arg0[v3]
           v4 = f64_to_f32 v6\n v5 = f64_to_f32 v7\n v0 = 0\n v1 = 0
           v8 = {expr}
           {last} }}"
    );
    let mut memory = [[a.to_le_bytes(), b.to_le_bytes()].concat(), vec![0; 8]];
    assert_eq!(run_text(&text, facts, &mut memory), 0);
    u64::from_le_bytes(memory[1].as_slice().try_into().expect("8 bytes"))
}

#[test]
fn float_arithmetic_in_both_widths() {
    let both = |op: &str, a: f64, b: f64, wanted: f64| {
        let single = f32::from_bits(float_bits(&facts(), a, b, &format!("{op} v4, v5"), "f32") as u32);
        let double = f64::from_bits(float_bits(&facts(), a, b, &format!("{op} v6, v7"), "f64"));
        let same = |got: f64| got.to_bits() == wanted.to_bits() || (got.is_nan() && wanted.is_nan());
        assert!(same(single.into()) && same(double), "{op} {a}, {b}: {single}, {double}");
    };
    both("add", 1.5, 2.0, 3.5);
    both("sub", f64::INFINITY, f64::INFINITY, f64::NAN);
    both("mul", -2.0, 0.0, -0.0);
    both("div", 1.0, -0.0, f64::NEG_INFINITY);
    for (a, b, min, max) in [(1.0, 2.0, 1.0, 2.0), (-0.0, 0.0, -0.0, 0.0), (0.0, -0.0, -0.0, 0.0), (f64::NAN, 1.0, f64::NAN, f64::NAN)] {
        both("min", a, b, min);
        both("max", a, b, max);
        both("min", b, a, min);
        both("max", b, a, max);
    }
    let one = |op: &str, a: f64, wanted: f64| {
        let single = f32::from_bits(float_bits(&facts(), a, 0.0, &format!("{op} v4"), "f32") as u32);
        let double = f64::from_bits(float_bits(&facts(), a, 0.0, &format!("{op} v6"), "f64"));
        let same = |got: f64| got.to_bits() == wanted.to_bits() || (got.is_nan() && wanted.is_nan());
        assert!(same(single.into()) && same(double), "{op} {a}: {single}, {double}");
    };
    one("neg", 0.0, -0.0);
    one("abs", -0.0, 0.0);
    one("sqrt", 9.0, 3.0);
    one("sqrt", -1.0, f64::NAN);
    one("floor", -1.5, -2.0);
    one("ceil", -0.5, -0.0);
    one("trunc", -1.5, -1.0);
    one("round", 2.5, 2.0);
    one("round", -3.5, -4.0);
    let compare = |op: &str, a: f64, b: f64| {
        let single = float_bits(&facts(), a, b, &format!("{op} v4, v5"), "int");
        assert_eq!(single, float_bits(&facts(), a, b, &format!("{op} v6, v7"), "int"), "{op} {a}, {b}");
        single
    };
    for (a, b, wanted) in [(1.0, 2.0, [0, 1, 1, 1]), (0.0, -0.0, [1, 0, 0, 1]), (f64::NAN, 1.0, [0, 1, 0, 0]), (2.0, 1.0, [0, 1, 0, 0])] {
        assert_eq!(["eq", "ne", "lt", "le"].map(|op| compare(op, a, b)), wanted, "{a}, {b}");
    }
}

#[test]
fn scalar_multiply_add_rounds_as_the_facts_say() {
    let plain = Facts { fused: false, ..facts() };
    let (e, d) = (f64::from(f32::EPSILON), f64::EPSILON);
    // a * a - a is e + e^2
    let single = |facts: &Facts| f32::from_bits(float_bits(facts, 1.0 + e, -1.0 - e, "mul_add v4, v4, v5", "f32") as u32);
    assert_eq!((single(&facts()), single(&plain)), ((e + e * e) as f32, e as f32));
    let double = |facts: &Facts| f64::from_bits(float_bits(facts, 1.0 + d, -1.0 - d, "mul_add v6, v6, v7", "f64"));
    assert_eq!((double(&facts()), double(&plain)), (d + d * d, d));
}

#[test]
fn conversions_saturate_and_round() {
    let to_int = |op: &str, a: f64| float_bits(&facts(), a, 0.0, op, "int") as i64;
    for v in ["v4", "v6"] {
        for (a, signed, unsigned) in [
            (1.9, 1, 1),
            (-1.9, -1, 0),
            (f64::NAN, 0, 0),
            (1e30, i64::MAX, -1),
            (-1e30, i64::MIN, 0),
            (1e19, i64::MAX, 0x8ac7_2304_89e8_0000u64 as i64),
        ] {
            let wanted = if v == "v4" && a == 1e19 { 1e19f32 as u64 as i64 } else { unsigned };
            assert_eq!(to_int(&format!("float_to_int {v}"), a), signed, "{a}");
            assert_eq!(to_int(&format!("float_to_uint {v}"), a), wanted, "{a}");
        }
    }
    let bits = |a: i64, stmts: &str| scalar(a, 0, stmts) as u64;
    // 2^24 + 1 is halfway: to even
    assert_eq!(bits(16777217, "v4 = int_to_f32 v0\n v9 = f32_bits v4"), u64::from(16777216f32.to_bits()));
    assert_eq!(bits(-1, "v4 = int_to_f32 v0\n v9 = f32_bits v4"), u64::from((-1f32).to_bits()));
    assert_eq!(bits(-1, "v4 = uint_to_f32 v0\n v9 = f32_bits v4"), u64::from(18446744073709551616f32.to_bits()));
    assert_eq!(bits(-3, "v4 = int_to_f64 v0\n v9 = f64_bits v4"), (-3f64).to_bits());
    assert_eq!(bits(-1, "v4 = uint_to_f64 v0\n v9 = f64_bits v4"), 18446744073709551616f64.to_bits());
    assert_eq!(bits(0x1_3fc0_0000, "v4 = f32_from_bits v0\n v9 = f32_bits v4"), 0x3fc0_0000);
    assert_eq!(bits(0x3ff0_0000_0000_0001, "v4 = f64_from_bits v0\n v9 = f64_bits v4"), 0x3ff0_0000_0000_0001);
    assert_eq!(
        bits(0x3f80_0001, "v4 = f32_from_bits v0\n v5 = f32_to_f64 v4\n v9 = f64_bits v5"),
        (1.0 + f64::from(f32::EPSILON)).to_bits()
    );
    // 1 + 2^-11 lies between two f16, 1 + 2^-8 between two bf16; both to even, which is down
    assert_eq!(bits(0x3f80_1000, "v4 = f32_from_bits v0\n v5 = round_f16 v4\n v9 = f32_bits v5"), 0x3f80_0000);
    assert_eq!(bits(0x3f80_1001, "v4 = f32_from_bits v0\n v5 = round_f16 v4\n v9 = f32_bits v5"), 0x3f80_2000);
    assert_eq!(bits(0x3f80_8000, "v4 = f32_from_bits v0\n v5 = round_bf16 v4\n v9 = f32_bits v5"), 0x3f80_0000);
    assert_eq!(bits(0x3f81_8000, "v4 = f32_from_bits v0\n v5 = round_bf16 v4\n v9 = f32_bits v5"), 0x3f82_0000);
    assert_eq!(bits(0x4b80_0000, "v4 = f32_from_bits v0\n v5 = round_f16 v4\n v9 = f32_bits v5"), u64::from(INF.to_bits()));
}

#[test]
fn elements_of_every_type_go_in_and_out() {
    // stored and loaded again: what is left of -2 (or of 2.0625, where the type is a float)
    for &dtype in Dtype::ALL {
        let name = dtype.name();
        let float = matches!(dtype, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16);
        let value = match dtype {
            Dtype::F64 => "v2 = f64 2.0078125".to_string(),
            _ if float => "v2 = f32 2.0078125".into(),
            Dtype::Bool => "v2 = 1".into(),
            _ => "v2 = -2".into(),
        };
        let width = dtype.bytes();
        let text = format!(
            "scalar s(x: readwrite 0..{}, y: write 0..{width}) {{
                v0 = 1\n v1 = 0\n {value}\n store {name} arg0[v0] = v2\n v3 = load {name} arg0[v0]\n store {name} arg1[v1] = v3 }}",
            2 * width
        );
        let mut memory = [vec![0; 2 * width], vec![0; width]];
        assert_eq!(run_text(&text, &facts(), &mut memory), 0);
        assert_eq!(memory[0][width..], memory[1], "{name}");
        let wanted: Vec<u8> = match dtype {
            Dtype::F32 => 2.0078125f32.to_le_bytes().into(),
            Dtype::F64 => 2.0078125f64.to_le_bytes().into(),
            Dtype::F16 => vec![0x04, 0x40],
            // halfway between 2 and 2.015625: to even
            Dtype::BF16 => vec![0x00, 0x40],
            Dtype::Bool => vec![1],
            Dtype::U4 => vec![14],
            Dtype::U2 => vec![2],
            // I4 and I2 too: the sign goes on to the end of the byte
            _ => (-2i64).to_le_bytes()[..width].into(),
        };
        assert_eq!(memory[1], wanted, "{name}");
    }
    // the other bits of a byte are ignored
    for (dtype, wanted) in [("i4", -8), ("u4", 8), ("i2", 0), ("u2", 0), ("bool", 1), ("u8", 0xf8), ("i8", -8), ("f4e2m1", 0xf8)] {
        let text = format!("scalar s(x: read 0..1, y: write 0..8) {{ v0 = 0\n v1 = load {dtype} arg0[v0]\n store i64 arg1[v0] = v1 }}");
        let mut memory = [vec![0xf8], vec![0; 8]];
        run_text(&text, &facts(), &mut memory);
        assert_eq!(memory[1], i64::to_le_bytes(wanted), "{dtype}");
    }
}

#[test]
fn control_flow_and_cells() {
    // the sum of i * 10 + 1 over 2..5, and nothing over 5..2
    let text = "scalar s(y: write 0..16) {
        cells int, f64
        v0 = 2\n v1 = 5\n v2 = 10\n v3 = 1\n v9 = 0
        for v4 in v0..v1 {
            v5 = imul v4, v2\n v6 = iadd v5, v3\n v7 = c0\n v8 = iadd v7, v6\n c0 = v8
        }
        for v10 in v1..v0 { fail 3 }
        v11 = c0
        store i64 arg0[v9] = v11
        v12 = c1\n v13 = f64_bits v12
        store i64 arg0[v3] = v13
    }";
    let mut memory = [vec![0xa5; 16]];
    assert_eq!(run_text(text, &facts(), &mut memory), 0);
    assert_eq!(memory[0], [93i64.to_le_bytes(), [0; 8]].concat());

    // Collatz steps from 6 to 1: 6 3 10 5 16 8 4 2 1
    let text = "scalar s(y: write 0..8) {
        cells int, int
        v0 = 6\n v1 = 1\n v2 = 2\n v3 = 3\n v4 = 0
        c0 = v0
        loop { v5 = c0\n v6 = ine v5, v1 } while v6 {
            v7 = urem v5, v2
            if v7 { v8 = imul v5, v3\n v9 = iadd v8, v1\n c0 = v9 } else { v10 = udiv v5, v2\n c0 = v10 }
            v11 = c1\n v12 = iadd v11, v1\n c1 = v12
        }
        v13 = c1
        store i64 arg0[v4] = v13
    }";
    let mut memory = [vec![0; 8]];
    assert_eq!(run_text(text, &facts(), &mut memory), 0);
    assert_eq!(memory[0], 8i64.to_le_bytes());
}

#[test]
fn a_failed_requirement_returns_its_status() {
    let run = |index: i64| {
        let text = "scalar s(i: read 0..8, x: read 0..12, y: write 0..4) {
            v0 = 0\n v1 = load i64 arg0[v0]\n v2 = require v1 below 3 else 4\n v3 = load i32 arg1[v2]\n store i32 arg2[v0] = v3 }";
        let mut memory = [index.to_le_bytes().into(), bytes(&[7, 8, 9]), vec![0; 4]];
        (run_text(text, &facts(), &mut memory), words(&memory[2])[0])
    };
    assert_eq!((run(0), run(2), run(3), run(-1)), ((0, 7), (0, 9), (4, 0), (4, 0)));
    assert_eq!(run_text("scalar s() { v0 = 1\n if v0 { fail 2 }\n fail 3 }", &facts(), &mut []), 2);
}

#[test]
fn one_rounding_is_one_rounding() {
    let mut random = Random::new(5);
    let mut number = || {
        // few bits make sums that lie halfway between two floats, all exponents make every other case
        let few = ((random.between(-4096, 4096) as f32) * 2f32.powi(random.between(-30, 30) as i32)).to_bits();
        let tiny = random.next() as u32 & 0x81ff_ffff;
        let any = random.next() as u32;
        random.pick(&[few, few, few, tiny, any, 0, 1 << 31, 0x7f80_0000, 1])
    };
    for _ in 0..200_000 {
        let (a, b, c) = ([number(), number()], [number(), number()], [number(), number()]);
        let got = super::tile::mul_add_once(a, b, c);
        for i in 0..2 {
            let [a, b, c] = [a[i], b[i], c[i]].map(f32::from_bits);
            let wanted = a.mul_add(b, c);
            let got = f32::from_bits(got[i]);
            assert!(
                got.to_bits() == wanted.to_bits() || (got.is_nan() && wanted.is_nan()),
                "{a:e} * {b:e} + {c:e}: {got:e}, not {wanted:e}"
            );
        }
    }
    // 1 + 2^-11 + 2^-24 lies halfway, and 2^-60 more does not
    let (a, b, c) = (1.0 + 2f32.powi(-12), 1.0 + 2f32.powi(-12), 2f32.powi(-60));
    assert_ne!((f64::from(a) * f64::from(b) + f64::from(c)) as f32, a.mul_add(b, c));
    assert_eq!(super::tile::mul_add_once([a.to_bits()], [b.to_bits()], [c.to_bits()]), [a.mul_add(b, c).to_bits()]);
}

/// A lane of four bytes, the first the lowest.
fn lane(bytes: [i16; 4]) -> i32 {
    i32::from_le_bytes(bytes.map(|b| b as u8))
}

/// A lane of two numbers of 16 bits.
fn halves(low: i32, high: i32) -> i32 {
    low & 0xffff | high << 16
}

#[test]
fn products_of_bytes_are_added_into_lanes() {
    let x = [lane([255, 255, 255, 255]), lane([1, 2, 3, 4]), lane([128, 0, 0, 1]), -1];
    let y = [lane([127, 127, 127, 127]), lane([5, -6, 7, -8]), lane([-128, 9, 9, 9]), 0];
    ints(x, y, "v4 = v1\n v4 = isub v4, v1\n v4 += dot_u8s8 v0, v1", [4 * 255 * 127, 5 - 12 + 21 - 32, -128 * 128 + 9, 0]);
    ints(x, y, "v4 = v1\n v4 = isub v4, v1\n v4 += dot_s8s8 v0, v1", [-4 * 127, 5 - 12 + 21 - 32, 128 * 128 + 9, 0]);
    // what is there is kept, and wraps
    let most = "v4 = set 0x7fffffff\n v4 += dot_u8s8 v0, v1";
    ints([1; 4], [1; 4], most, [i32::MIN; 4]);
    ints(x, y, "v4 = set 0x00000000\n v4 += dot_u8s8 v0, splat p1[4]", [255 * -2, -18, 128 * 5 - 8, 255 * -2]);
    ints(x, y, "v4 = set 0x00000000\n v4 += dot_s8s8 v0, v1[1]", [2, -18, -128 * 5 - 8, 2]);
}

#[test]
fn pairs_of_bytes_saturate_and_pairs_of_halves_do_not() {
    let x = [lane([255, 255, 1, 2]), lane([255, 255, 255, 1]), lane([200, 100, 0, 0]), 0];
    let y = [lane([127, 127, 3, -4]), lane([-128, -128, 127, 127]), lane([-128, 127, 1, 1]), -1];
    let wanted = [halves(32767, -5), halves(-32768, 32512), halves(-25600 + 12700, 0), 0];
    ints(x, y, "v4 = pair_sat v0, v1", wanted);
    ints(x, y, "v4 = abs8 v1", [lane([127, 127, 3, 4]), lane([128, 128, 127, 127]), lane([128, 127, 1, 1]), lane([1, 1, 1, 1])]);
    ints(x, y, "v4 = negative8 v1", [lane([0, 0, 0, -1]), lane([-1, -1, 0, 0]), lane([-1, 0, 0, 0]), -1]);
    let (a, b) = ([halves(-32768, -32768), halves(3, -4), halves(32767, 1), 0], [halves(-32768, -32768), halves(5, 6), halves(2, -1), -1]);
    ints(a, b, "v4 = pair16 v0, v1", [i32::MIN, 15 - 24, 65533, 0]);
    ints(a, b, "v4 = add16 v0, v1", [0, halves(8, 2), halves(-32767, 0), -1]);
    ints(a, b, "v4 = v1\n v4 += pairs v0", [b[0].wrapping_sub(65536), b[1] - 1, b[2] + 32768, -1]);
}

#[test]
fn halves_of_vectors_of_bytes_multiply() {
    let x = [lane([1, -2, 3, -4]), lane([-128, 127, 0, 1]), lane([5, 6, 7, 8]), lane([-128, -1, 100, 9])];
    let y = [lane([2, 2, 2, 2]), lane([-128, 127, 9, -1]), lane([-1, 1, -1, 1]), lane([127, -1, 100, 0])];
    let low = [halves(2, -4), halves(6, -8), halves(16384, 16129), halves(0, -1)];
    let high = [halves(-5, 6), halves(-7, 8), halves(-16256, 1), halves(10000, 0)];
    ints(x, y, "v4 = mul_low8 v0, v1", low);
    ints(x, y, "v4 = mul_high8 v0, v1", high);
}

#[test]
fn bytes_widen() {
    let x = [lane([1, -2, 3, -4]), lane([-128, 127, 0, -1]), 5, 6];
    let signed = [halves(1, -2), halves(3, -4), halves(-128, 127), halves(0, -1)];
    let unsigned = [halves(1, 254), halves(3, 252), halves(128, 127), halves(0, 255)];
    ints(x, x, "v4 = low_i8 v0", signed);
    ints(x, x, "v4 = low_u8 v0", unsigned);
}

#[test]
fn products_of_halves_are_added_up() {
    let x = [lane([9; 4]), lane([9; 4]), lane([5, 6, 7, 8]), lane([-128, -1, 100, 9])];
    let y = [lane([9; 4]), lane([9; 4]), lane([-1, 1, -1, 1]), lane([-128, -1, 100, 0])];
    let products = [halves(-5, 6), halves(-7, 8), halves(16384, 1), halves(10000, 0)];
    ints(x, y, "v4 = set 0x00010002\n v4 += mul_high8 v0, v1", products.map(|p| halves(p + 2, (p >> 16) + 1)));
    ints(y, x, "v4 = set 0x00010002\n v4 += mul_low8 v0, v0", [halves(83, 82); 4]);
    ints(x, x, "v4 = spread v0, 2", [x[2]; 4]);
    ints([1, 2, 30, 40], [500, 600, i32::MAX, 1], "v4 = iadd_pairs v0, v1", [3, 70, 1100, i32::MIN]);
    ints([1, 2, 3, 4], [5, 6, 7, 8], "v4 = low_halves v0, v1", [1, 2, 5, 6]);
    ints([1, 2, 3, 4], [5, 6, 7, 8], "v4 = high_halves v0, v1", [3, 4, 7, 8]);
    ints([1, 2, 3, 4], [5, 6, 7, 8], "v4 = low_lanes v0, v1", [1, 5, 2, 6]);
    ints([1, 2, 3, 4], [5, 6, 7, 8], "v4 = high_lanes v0, v1", [3, 7, 4, 8]);
}

#[test]
fn matrices_of_bytes_multiply() {
    // rows of a: 1 2 .. 8 and eight times -1; rows of b: eight times 1, and 1 0 0 0 0 0 0 -128
    let a = [lane([1, 2, 3, 4]), lane([5, 6, 7, 8]), -1, -1];
    let b = [lane([1; 4]), lane([1; 4]), lane([1, 0, 0, 0]), lane([0, 0, 0, -128])];
    ints(a, b, "v4 = set 0x00000000\n v4 += matrix_s8s8 v0, v1", [36, 1 - 1024, -8, 127]);
    ints(a, b, "v4 = v0\n v4 += matrix_s8s8 v0, v1", [a[0] + 36, a[1] - 1023, -9, 126]);
    ints(a, b, "v4 = set 0x00000000\n v4 += matrix_u8s8 v0, v1", [36, 1 - 1024, 8 * 255, 255 - 128 * 255]);
}
