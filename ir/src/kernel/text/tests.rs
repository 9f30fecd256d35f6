//! What texts look like, and that they read back.

use super::{parse, print};
use crate::kernel::samples::Random;

#[test]
fn a_tile_kernel_as_text() {
    let text = "\
tile dot_2x8(a: read 0..4096, b: read -64..8192, c: write 0..64) lanes 8 {
  p3 = p0 + 1024
  v0 = set 0.0
  v1 = set 0x0000007f
  loop 64 {
    v2 = load p1[0]
    v3 = splat p0[-4]
    v0 += v3 * v2
    v1 -= v3 * p1[32]
    v0 += v2 * splat p3[0]
    v0 += v2 * v3[5]
    p0 += 4
    p1 -= 64
  }
  v4 = gather p0[4] by 12 lanes 5
  v0 = max v0, 0.0
  v0 *= v1 + -1.5
  v5 = sar v1, 31
  v5 = round v0
  v6 = select lt v0, v1 ? v2 : v3
  v7 = fold add v0 temp v8
  v8 = v7
  v9 = load u8 p0[3] lanes 5
  v10 = load i16 p0[2]
  v11 = splat i8 p1[7]
  p2[9] = u16 v9 lanes 5
  p2[0] = v0 lanes 5
  scatter p2[0] by 8 = v7
  p2[32] = v1
}
";
    assert_eq!(print(&parse(text).expect("it parses")), text);
}

#[test]
fn a_scalar_kernel_as_text() {
    let text = "\
scalar \"top k\"(x: read 0..400, y: readwrite 0..40) {
  cells int, f32
  v0 = 0
  v1 = -100
  v2 = f32 0.5
  v3 = f64 -inf
  for v4 in v1..v0 {
    v5 = load f32 arg0[v4]
    v6 = add v5, v2
    store f16 arg1[v0] = v6
    c1 = v6
    v7 = c1
  }
  loop {
    v8 = c0
    v9 = require v8 below 10 else 4
    v10 = ult v9, v1
  } while v10 {
    v11 = wrap u8 v9
    if v11 {
      fail 3
    } else {
      c0 = v11
    }
    if v11 {
    }
  }
  v12 = select v0, v2, v2
  v13 = mul_add v12, v12, v12
}
";
    assert_eq!(print(&parse(text).expect("it parses")), text);
}

#[test]
fn errors_say_where_and_what() {
    let error = |text: &str| parse(text).expect_err("it must not parse").to_string();
    assert_eq!(error("tile a() {\n  v0 = frob v1\n}"), "2:12: `frob` is no operation");
    assert_eq!(error("tile a() {\n  v0 = load p0[0]\n}"), "3:1: expected `lanes`, which the head does not say, found `}`");
    assert_eq!(error("tile a() {\n  v300 = v0\n}"), "2:3: expected `v` and a number, found `v300`");
    assert_eq!(error("scalar a() { fail 999 }"), "1:22: 999 is no status");
    assert_eq!(error("scalar a() { v0 = load f99 arg0[v0] }"), "1:27: `f99` is not an element type");
    assert_eq!(error("kernel a() { }"), "1:1: expected `tile` or `scalar`, found `kernel`");
    assert_eq!(error("tile a() { } }"), "1:14: expected the end, found `}`");
}

#[test]
fn every_kernel_reads_back() {
    let mut random = Random::new(1);
    for _ in 0..2000 {
        let kernel = if random.below(2) == 0 { random.wild_tile() } else { random.wild_scalar() };
        let text = print(&kernel);
        let back = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(back, kernel, "{text}");
    }
}
