//! Every operator on cases small enough to compute by hand. Laws over random shapes are in `ir/tests/laws.rs`.

use super::{EvalError, eval, eval_with};
use crate::graph::text::parse;
use crate::tensor::{Dtype, Tensor};

/// The outputs of a graph written without its frame; the last value is returned.
fn try_run(lines: &str, inputs: &[Tensor]) -> Result<Tensor, EvalError> {
    let graph = parse(&format!("graph {{ {lines} return %y \"y\" }}"), &|_| None).unwrap_or_else(|e| panic!("{e}: {lines}"));
    crate::graph::verify::verify(&graph).expect(lines);
    eval(&graph, inputs).map(|mut out| out.remove(0))
}

fn run(lines: &str) -> Vec<f64> {
    try_run(lines, &[]).expect(lines).to_f64s()
}

fn ints(lines: &str) -> Vec<i64> {
    try_run(lines, &[]).expect(lines).to_i64s()
}

fn close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{got:?}");
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() <= 1e-6 * w.abs().max(1.0), "{got:?} is not {want:?}");
    }
}

#[test]
fn shapes_move_elements_of_any_type() {
    let x = "%x: i16[2,3] = const [0,1,2,3,4,5]";
    assert_eq!(ints(&format!("{x} %y = reshape %x {{shape=[3,2]}}")), [0, 1, 2, 3, 4, 5]);
    assert_eq!(ints(&format!("{x} %y = transpose %x {{perm=[1,0]}}")), [0, 3, 1, 4, 2, 5]);
    assert_eq!(ints(&format!("{x} %y = slice %x {{start=[1,2], step=[1,-2], size=[1,2]}}")), [5, 3]);
    assert_eq!(ints(&format!("{x} %y = slice %x {{start=[9,0], step=[1,1], size=[0,3]}}")), []);
    assert_eq!(ints("%x: i16[2,1] = const [1,2] %y = expand %x {shape=[2,2,3]}"), [1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2]);
    assert_eq!(ints(&format!("{x} %z: i16[2,1] = const [7,8] %y = concat %x, %z {{axis=1}}")), [0, 1, 2, 7, 3, 4, 5, 8]);
    assert_eq!(ints(&format!("{x} %z: i16[0,3] = const [] %y = concat %z, %x {{axis=0}}")), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn pads_repeat_as_numpy_does() {
    let pad = |mode: &str| ints(&format!("%x: i64[4] = const [1,2,3,4] %y = pad %x {{low=[2], high=[3], mode={mode}, value=9}}"));
    assert_eq!(pad("constant"), [9, 9, 1, 2, 3, 4, 9, 9, 9]);
    assert_eq!(pad("edge"), [1, 1, 1, 2, 3, 4, 4, 4, 4]);
    assert_eq!(pad("reflect"), [3, 2, 1, 2, 3, 4, 3, 2, 1]);
    assert_eq!(pad("wrap"), [3, 4, 1, 2, 3, 4, 1, 2, 3]);
    let far = "%x: i64[2] = const [1,2] %y = pad %x {low=[5], high=[0], mode=reflect, value=0}";
    assert_eq!(ints(far), [2, 1, 2, 1, 2, 1, 2]);
    let one = "%x: i64[1] = const [7] %y = pad %x {low=[2], high=[1], mode=reflect, value=0}";
    assert_eq!(ints(one), [7, 7, 7, 7]);
    let two = "%x: i64[2,2] = const [1,2,3,4] %y = pad %x {low=[1,0], high=[0,1], mode=constant, value=0}";
    assert_eq!(ints(two), [0, 0, 0, 1, 2, 0, 3, 4, 0]);
    let empty = try_run("%x: i64[0] = const [] %y = pad %x {low=[1], high=[0], mode=edge, value=0}", &[]);
    assert!(matches!(empty, Err(EvalError::Data(_))));
}

#[test]
fn gather_takes_rows_and_refuses_what_is_out_of_range() {
    let x = "%x: f32[2,3] = const [0.0,1.0,2.0,3.0,4.0,5.0]";
    assert_eq!(run(&format!("{x} %i: i64[2,1] = const [-1,0] %y = gather %x, %i {{axis=1}}")), [2.0, 0.0, 5.0, 3.0]);
    assert_eq!(run(&format!("{x} %i: i32[] = const [1] %y = gather %x, %i {{axis=0}}")), [3.0, 4.0, 5.0]);
    for index in ["3", "-4"] {
        let out = try_run(&format!("{x} %i: i64[] = const [{index}] %y = gather %x, %i {{axis=1}} !\"G\""), &[]);
        let Err(EvalError::Data(what)) = out else { panic!("{out:?}") };
        assert!(what.starts_with("gather \"G\": the index"), "{what}");
    }
}

#[test]
fn maps_broadcast_their_operands() {
    let x = "%x: f32[2,3] = const [0.0,1.0,2.0,3.0,4.0,5.0]";
    assert_eq!(run(&format!("{x} %c: f32[3] = const [1.0,2.0,3.0] %y = map %x, %c do {{ mul(a, b) }}")), [0.0, 2.0, 6.0, 3.0, 8.0, 15.0]);
    assert_eq!(run(&format!("{x} %c: f32[2,1] = const [1.0,2.0] %y = map %x, %c do {{ mul(a, b) }}")), [0.0, 1.0, 2.0, 6.0, 8.0, 10.0]);
    assert_eq!(run(&format!("{x} %c: f32[] = const [2.0] %y = map %c, %x do {{ sub(b, a) }}")), [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]);
    let outer = "%a: f32[2,1] = const [1.0,2.0] %b: f32[1,2] = const [3.0,4.0] %y = map %a, %b do { mul(a, b) }";
    assert_eq!(run(outer), [3.0, 4.0, 6.0, 8.0]);
    assert_eq!(ints(&format!("{x} %y = map %x do {{ t0 = gt(a, 2.5); cast.i64(t0) }}")), [0, 0, 0, 1, 1, 1]);
    assert_eq!(run("%x: f32[0,3] = const [] %y = map %x do { exp(a) }"), []);
}

#[test]
fn long_maps_keep_their_place_across_chunks() {
    let n = 3 * 1024 + 7;
    let (wide, rows) = (Tensor::f32s(&[n], &(0..n).map(|i| i as f32).collect::<Vec<_>>()), Tensor::f32s(&[2, 1], &[0.0, 10000.0]));
    let lines = format!("%a: f32[{n}] = input \"a\" %b: f32[2,1] = input \"b\" %y = map %a, %b do {{ add(a, b) }}");
    let out = try_run(&lines, &[wide.clone(), rows]).expect("it is right").to_f64s();
    assert!(out.iter().enumerate().all(|(i, &v)| v == (i % n) as f64 + if i < n { 0.0 } else { 10000.0 }));
    let column = format!(
        "%a: f32[{n}] = input \"a\" %b: f32[2,1] = input \"b\" %t = expand %a {{shape=[3,{n}]}} %u = transpose %t {{perm=[1,0]}} %y = map %u, %u do {{ add(a, b) }}"
    );
    let out = try_run(&column, &[wide, Tensor::f32s(&[2, 1], &[0.0; 2])]).expect("it is right").to_f64s();
    assert!(out.iter().enumerate().all(|(i, &v)| v == 2.0 * (i / 3) as f64));
}

#[test]
fn dots_multiply_matrices() {
    let ab = "%a: f32[2,3] = const [1.0,2.0,3.0,4.0,5.0,6.0] %b: f32[3,2] = const [1.0,0.0,0.0,1.0,1.0,1.0]";
    assert_eq!(run(&format!("{ab} %y = dot %a, %b {{trans_a=false, trans_b=false}}")), [4.0, 5.0, 10.0, 11.0]);
    assert_eq!(run(&format!("{ab} %y = dot %a, %a {{trans_a=false, trans_b=true}}")), [14.0, 32.0, 32.0, 77.0]);
    assert_eq!(run(&format!("{ab} %y = dot %b, %b {{trans_a=true, trans_b=false}}")), [2.0, 1.0, 1.0, 2.0]);
    let bias = "%c: f32[2] = const [-5.0,0.5] %y = dot %a, %b, %c {trans_a=false, trans_b=false} do { t0 = add(a, b); max(t0, 0.0) }";
    assert_eq!(run(&format!("{ab} {bias}")), [0.0, 5.5, 5.0, 11.5]);
    let batches = "%a: i32[2,1,1,2] = const [1,2,3,4] %b: i32[3,2,1] = const [1,0,0,1,1,1] %y = dot %a, %b {trans_a=false, trans_b=false}";
    assert_eq!(ints(batches), [1, 2, 3, 3, 4, 7]);
    assert_eq!(
        ints("%a: u32[1,2] = const splat 4000000000 %b: u32[2,1] = const splat 1 %y = dot %a, %b {trans_a=false, trans_b=false}"),
        [3705032704]
    );
    assert_eq!(run("%a: f32[2,0] = const [] %b: f32[0,1] = const [] %y = dot %a, %b {trans_a=false, trans_b=false}"), [0.0, 0.0]);
    // in f32 the one would be lost
    let long =
        "%a: f32[1,3] = const [100000000.0,1.0,-100000000.0] %b: f32[3,1] = const splat 1.0 %y = dot %a, %b {trans_a=false, trans_b=false}";
    assert_eq!(run(long), [1.0]);
}

#[test]
fn attention_weighs_values() {
    let qkv = "%q: f32[2,1] = const [0.0,1.0] %k: f32[3,1] = const [0.0,0.0,0.0] %v: f32[3,1] = const [3.0,6.0,9.0]";
    assert_eq!(run(&format!("{qkv} %y = attention %q, %k, %v {{causal=none, guarded=false}}")), [6.0, 6.0]);
    assert_eq!(run(&format!("{qkv} %y = attention %q, %k, %v {{causal=0, guarded=false}}")), [3.0, 4.5]);
    let mask = "%m: f32[3] = const [-inf,0.0,0.0] %y = attention %q, %k, %v, %m";
    assert_eq!(run(&format!("{qkv} {mask} {{causal=none, guarded=false}} pre {{ add(a, b) }}")), [7.5, 7.5]);
    // the first query sees the first key alone, which the mask hides
    assert_eq!(run(&format!("{qkv} {mask} {{causal=0, guarded=true}} pre {{ add(a, b) }}")), [0.0, 6.0]);
    let unguarded = run(&format!("{qkv} {mask} {{causal=0, guarded=false}} pre {{ add(a, b) }}"));
    assert!(unguarded[0].is_nan() && unguarded[1] == 6.0);
    // two heads of queries for one of keys
    let heads = "%q: f32[2,1,1] = const [0.0,100.0] %k: f32[1,2,1] = const [0.0,1.0] %v: f32[1,2,1] = const [2.0,4.0]";
    assert_eq!(run(&format!("{heads} %y = attention %q, %k, %v {{causal=none, guarded=false}}")), [3.0, 4.0]);
    let none = "%q: f32[2,1] = const [0.0,1.0] %k: f32[0,1] = const [] %v: f32[0,2] = const []";
    assert_eq!(run(&format!("{none} %y = attention %q, %k, %v {{causal=none, guarded=false}}")), [0.0; 4]);
}

/// `[1, n, 1]` with the kernel 1, 10, 100.
fn conv1(n: usize, attributes: &str) -> Vec<f64> {
    let x: Vec<String> = (1..=n).map(|v| format!("{v}.0")).collect();
    run(&format!("%x: f32[1,{n},1] = const [{}] %w: f32[3,1,1] = const [1.0,10.0,100.0] %y = conv %x, %w {{{attributes}}}", x.join(",")))
}

#[test]
fn convolutions_slide_stride_dilate_inflate_and_crop() {
    let plain = "dilation=[1], inflate=[1], low=[0], high=[0], group=1, fill=0.0";
    assert_eq!(conv1(5, &format!("stride=[1], {plain}")), [321.0, 432.0, 543.0]);
    assert_eq!(conv1(5, &format!("stride=[2], {plain}")), [321.0, 543.0]);
    assert_eq!(conv1(3, "stride=[1], dilation=[1], inflate=[1], low=[1], high=[1], group=1, fill=0.0"), [210.0, 321.0, 32.0]);
    assert_eq!(conv1(5, "stride=[1], dilation=[2], inflate=[1], low=[0], high=[0], group=1, fill=0.0"), [531.0]);
    // 1 0 2 0 3
    assert_eq!(conv1(3, "stride=[1], dilation=[1], inflate=[2], low=[0], high=[0], group=1, fill=0.0"), [201.0, 20.0, 302.0]);
    // the first and the last element are cropped
    assert_eq!(conv1(5, "stride=[1], dilation=[1], inflate=[1], low=[-1], high=[-1], group=1, fill=0.0"), [432.0]);
}

#[test]
fn convolutions_have_channels_and_groups() {
    let x = "%x: f32[1,2,2] = const [1.0,2.0,3.0,4.0]";
    let attributes = "stride=[1], dilation=[1], inflate=[1], low=[0], high=[0]";
    assert_eq!(
        run(&format!("{x} %w: f32[1,2,2] = const [1.0,2.0,10.0,20.0] %y = conv %x, %w {{{attributes}, group=1, fill=0.0}}")),
        [21.0, 42.0, 43.0, 86.0]
    );
    assert_eq!(
        run(&format!("{x} %w: f32[1,1,4] = const [1.0,2.0,10.0,20.0] %y = conv %x, %w {{{attributes}, group=2, fill=0.0}}")),
        [1.0, 2.0, 20.0, 40.0, 3.0, 6.0, 40.0, 80.0]
    );
    let two = "%x: f32[1,1,4] = const [1.0,2.0,3.0,4.0] %w: f32[1,2,2] = const [1.0,10.0,1.0,100.0]";
    assert_eq!(run(&format!("{two} %y = conv %x, %w {{{attributes}, group=2, fill=0.0}}")), [3.0, 430.0]);
    let epilogue = "%w: f32[1,2,1] = const [1.0,1.0] %b: f32[1] = const [0.5] %r: f32[1,2,1] = const [10.0,20.0]";
    let text = format!("{x} {epilogue} %y = conv %x, %w, %b, %r {{{attributes}, group=1, fill=0.0}} do {{ t0 = add(a, b); add(t0, c) }}");
    assert_eq!(run(&text), [13.5, 27.5]);
    let plane = "%x: i32[1,2,2,1] = const [1,2,3,4] %w: i32[2,2,1,1] = const [1,10,100,1000]";
    let attributes = "stride=[1,1], dilation=[1,1], inflate=[1,1], low=[0,1], high=[0,0], group=1, fill=0:i32";
    assert_eq!(ints(&format!("{plane} %y = conv %x, %w {{{attributes}}}")), [3010, 4321]);
}

#[test]
fn narrow_products_add_up_in_32_bits_and_the_fill_stands_outside() {
    let x = "%x: u8[1,3,1] = const [200,100,255]";
    let conv = |w: &str, rest: &str| ints(&format!("{x} {w} %y = conv %x, %w {{stride=[1], dilation=[1], {rest}}}"));
    let w = "%w: i8[3,1,1] = const [-128,1,127]";
    assert_eq!(conv(w, "inflate=[1], low=[0], high=[0], group=1, fill=0:u8"), [-200 * 128 + 100 + 255 * 127]);
    let outside = [-7 * 128 + 200 + 12700, 6885, -12800 + 255 + 7 * 127];
    assert_eq!(conv(w, "inflate=[1], low=[1], high=[1], group=1, fill=7:u8"), outside);
    // 200 7 100 7 255
    let between = [-200 * 128 + 7 + 12700, -7 * 128 + 100 + 7 * 127, -12800 + 7 + 255 * 127];
    assert_eq!(conv(w, "inflate=[2], low=[0], high=[0], group=1, fill=7:u8"), between);
    // depthwise
    let x = "%x: i8[1,1,2] = const [-100,100] %w: u8[2,1,2] = const [255,254,1,2]";
    let text = format!("{x} %y = conv %x, %w {{stride=[1], dilation=[1], inflate=[1], low=[1], high=[0], group=2, fill=-128:i8}}");
    assert_eq!(ints(&text), [-128 * 255 - 100, -128 * 254 + 200]);
    let wide = "%a: i16[1,2] = const splat -32768 %b: i16[2,1] = const splat -32768 %y = dot %a, %b {trans_a=false, trans_b=false}";
    assert_eq!(ints(wide), [i64::from(i32::MIN)]);
    let sum = "%x: u8[1,3,1] = const splat 200 %y = window %x {kind=sum, size=[3], stride=[1], dilation=[1], low=[0], high=[0]}";
    assert_eq!(ints(sum), [600]);
    let scaled = "%a: u8[1,2] = const [1,2] %b: i8[2,1] = const [3,-4] %s: f32[1] = const [0.5] %y = dot %a, %b, %s \
                  {trans_a=false, trans_b=false} do { t0 = cast.f32(a); mul(t0, b) }";
    assert_eq!(run(scaled), [-2.5]);
}

#[test]
fn windows_pool() {
    let pool = |kind: &str, rest: &str| {
        run(&format!("%x: f32[1,4,1] = const [-1.0,-5.0,-2.0,-3.0] %y = window %x {{kind={kind}, size=[2], {rest}}}"))
    };
    assert_eq!(pool("max", "stride=[2], dilation=[1], low=[0], high=[0]"), [-1.0, -2.0]);
    assert_eq!(pool("max", "stride=[1], dilation=[1], low=[1], high=[1]"), [-1.0, -1.0, -2.0, -2.0, -3.0]);
    assert_eq!(pool("sum", "stride=[1], dilation=[1], low=[1], high=[1]"), [-1.0, -6.0, -7.0, -5.0, -3.0]);
    assert_eq!(pool("sum", "stride=[1], dilation=[3], low=[0], high=[0]"), [-4.0]);
    assert_eq!(pool("max", "stride=[4], dilation=[1], low=[2], high=[0]")[0], f64::NEG_INFINITY);
    let bytes = "%x: i8[1,1,2] = const [1,-2] %y = window %x {kind=max, size=[2], stride=[1], dilation=[1], low=[2], high=[0]}";
    assert_eq!(ints(bytes), [-128, -128, 1, -2]);
    assert!(
        run("%x: f32[1,2,1] = const [nan,1.0] %y = window %x {kind=max, size=[2], stride=[1], dilation=[1], low=[0], high=[0]}")[0]
            .is_nan()
    );
    let mean = "%x: f32[1,2,1] = const [1.0,4.0] %y = window %x {kind=sum, size=[2], stride=[1], dilation=[1], low=[0], high=[0]} do { div(a, 2.0) }";
    assert_eq!(run(mean), [2.5]);
}

#[test]
fn reductions_follow_their_kind() {
    let x = "%x: f32[2,3] = const [1.0,2.0,3.0,4.0,5.0,6.0]";
    let reduce = |kind: &str, axes: &str| run(&format!("{x} %y = reduce %x {{kind={kind}, axes={axes}}}"));
    assert_eq!(reduce("sum", "[0]"), [5.0, 7.0, 9.0]);
    assert_eq!(reduce("sum", "[1]"), [6.0, 15.0]);
    assert_eq!(reduce("mean", "[1,0]"), [3.5]);
    assert_eq!(reduce("prod", "[1]"), [6.0, 120.0]);
    assert_eq!(reduce("max", "[0]"), [4.0, 5.0, 6.0]);
    assert_eq!(reduce("min", "[]"), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let middle = "%x: i32[2,3,2] = const [0,1,2,3,4,5,6,7,8,9,10,11] %y = reduce %x {kind=sum, axes=[0,2]}";
    assert_eq!(ints(middle), [14, 22, 30]);
    let length = format!(
        "{x} %s: f32[2,1] = const [1.0,2.0] %y = reduce %x, %s {{kind=sum, axes=[1]}} pre {{ mul(a, a) }} do {{ t0 = sqrt(a); mul(t0, b) }}"
    );
    close(&run(&length), &[14f64.sqrt(), 2.0 * 77f64.sqrt()]);
    assert_eq!(ints("%x: i32[2] = const [-3,-4] %y = reduce %x {kind=mean, axes=[0]}"), [-3]);
    assert_eq!(ints("%x: u64[2] = const [18446744073709551615,1] %y = reduce %x {kind=max, axes=[0]}"), [-1]);
    assert!(run("%x: f32[2] = const [1.0,nan] %y = reduce %x {kind=min, axes=[0]}")[0].is_nan());
}

#[test]
fn reductions_over_nothing_give_their_neutral_element() {
    let empty = |kind: &str| run(&format!("%x: f32[2,0] = const [] %y = reduce %x {{kind={kind}, axes=[1]}}"));
    assert_eq!((empty("sum"), empty("prod")), (vec![0.0; 2], vec![1.0; 2]));
    assert_eq!((empty("max"), empty("min")), (vec![f64::NEG_INFINITY; 2], vec![f64::INFINITY; 2]));
    assert!(empty("mean")[0].is_nan());
    assert_eq!(ints("%x: i8[0] = const [] %y = reduce %x {kind=max, axes=[0]}"), [-128]);
    assert_eq!(ints("%x: bool[0] = const [] %y = reduce %x {kind=min, axes=[0]}"), [1]);
    assert_eq!(ints("%x: bool[3] = const [true,true,false] %y = reduce %x {kind=max, axes=[0]}"), [1]);
}

#[test]
fn arguments_of_extremes_are_the_first_or_the_last() {
    let arg = |kind: &str, last: bool| {
        ints(&format!("%x: f32[2,3] = const [1.0,3.0,3.0,0.0,0.0,-1.0] %y = argreduce %x {{kind={kind}, axis=1, last={last}}}"))
    };
    assert_eq!((arg("max", false), arg("max", true)), (vec![1, 0], vec![2, 1]));
    assert_eq!((arg("min", false), arg("min", true)), (vec![0, 2], vec![0, 2]));
    let nan = |last: bool| ints(&format!("%x: f32[4] = const [1.0,nan,9.0,nan] %y = argreduce %x {{kind=min, axis=0, last={last}}}"));
    assert_eq!((nan(false), nan(true)), (vec![1], vec![3]));
    let down = "%x: i8[2,2] = const [1,2,3,-4] %y = argreduce %x {kind=max, axis=0, last=false}";
    assert_eq!(ints(down), [1, 0]);
    assert!(try_run("%x: f32[0] = const [] %y = argreduce %x {kind=max, axis=0, last=false}", &[]).is_err());
}

#[test]
fn running_sums_run_both_ways() {
    let run = |exclusive: bool, reverse: bool| {
        ints(&format!("%x: i32[4] = const [1,2,3,4] %y = cumulate %x {{kind=sum, axis=0, exclusive={exclusive}, reverse={reverse}}}"))
    };
    assert_eq!((run(false, false), run(true, false)), (vec![1, 3, 6, 10], vec![0, 1, 3, 6]));
    assert_eq!((run(false, true), run(true, true)), (vec![10, 9, 7, 4], vec![9, 7, 4, 0]));
    let down = "%x: i32[2,2] = const [1,2,3,4] %y = cumulate %x {kind=prod, axis=0, exclusive=false, reverse=false}";
    assert_eq!(ints(down), [1, 2, 3, 8]);
}

#[test]
fn softmax_sums_to_one() {
    let rows = run("%x: f32[2,2] = const [0.0,1.0,1000.0,1000.0] %y = softmax %x {axis=1, log=false}");
    close(&rows, &[1.0 / (1.0 + 1f64.exp()), 1f64.exp() / (1.0 + 1f64.exp()), 0.5, 0.5]);
    let columns = run("%x: f32[2,2] = const [0.0,1.0,0.0,3.0] %y = softmax %x {axis=0, log=true} pre { mul(a, 2.0) }");
    close(&columns, &[-(2f64.ln()), -4.0 - (1.0 + (-4f64).exp()).ln(), -(2f64.ln()), -(1.0 + (-4f64).exp()).ln()]);
    let masked = run("%x: f32[2] = const [-inf,0.0] %y = softmax %x {axis=0, log=false}");
    assert_eq!(masked, [0.0, 1.0]);
}

#[test]
fn norms_center_and_scale() {
    let x = "%x: f32[2,2] = const [1.0,3.0,10.0,10.0]";
    close(&run(&format!("{x} %y = norm %x {{axes=[1], epsilon=0.0, center=true}}"))[..2], &[-1.0, 1.0]);
    close(&run(&format!("{x} %y = norm %x {{axes=[1], epsilon=3.0, center=true}}")), &[-0.5, 0.5, 0.0, 0.0]);
    close(&run(&format!("{x} %y = norm %x {{axes=[1], epsilon=0.0, center=false}}")), &[1.0 / 5f64.sqrt(), 3.0 / 5f64.sqrt(), 1.0, 1.0]);
    let whole = format!("{x} %s: f32[2] = const [2.0,0.5] %y = norm %x, %s {{axes=[0,1], epsilon=0.0, center=true}} do {{ mul(a, b) }}");
    let sd = 16.5f64.sqrt();
    close(&run(&whole), &[-10.0 / sd, -1.5 / sd, 8.0 / sd, 2.0 / sd]);
}

/// `[1.0, 2.0, 3.0, 4.0]` resampled to `size`.
fn resize(mode: &str, coordinate: &str, size: usize, rest: &str) -> Vec<f64> {
    let scale = size as f64 / 4.0;
    let lines =
        format!("%x: f32[4] = const [1.0,2.0,3.0,4.0] %y = resize %x {{mode={mode}, coordinate={coordinate}, scale=[{scale:?}], {rest}}}");
    run(&lines.replace("SHAPE", &format!("shape=[{size}]")))
}

#[test]
fn resizing_takes_neighbours_as_onnx_does() {
    let plain = "roi=[], SHAPE, antialias=false, exclude_outside=false, extrapolation=0.0";
    assert_eq!(resize("nearest_floor_half", "half_pixel", 8, plain), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]);
    assert_eq!(resize("floor", "asymmetric", 6, plain), [1.0, 1.0, 2.0, 3.0, 3.0, 4.0]);
    assert_eq!(resize("ceil", "asymmetric", 6, plain), [1.0, 2.0, 3.0, 3.0, 4.0, 4.0]);
    assert_eq!(resize("nearest_floor_half", "asymmetric", 8, plain), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]);
    assert_eq!(resize("nearest_ceil_half", "asymmetric", 8, plain), [1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 4.0]);
    assert_eq!(resize("linear", "half_pixel", 8, plain), [1.0, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4.0]);
    close(&resize("linear", "align_corners", 7, plain), &[1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]);
    assert_eq!(resize("linear", "half_pixel", 2, plain), [1.5, 3.5]);
    assert_eq!(resize("linear", "pytorch_half_pixel", 1, plain), [1.0]);
    // a filter twice as wide: weights 1/8 3/8 3/8 1/8, the edge repeated
    let smooth = "roi=[], SHAPE, antialias=true, exclude_outside=false, extrapolation=0.0";
    close(&resize("linear", "half_pixel", 2, smooth), &[1.625, 3.375]);
    // Keys' weights at one quarter: -0.10546875, 0.87890625, 0.26171875, -0.03515625
    close(&resize("cubic75", "half_pixel", 8, plain)[3..4], &[0.87890625 * 2.0 + 0.26171875 * 3.0 - 0.10546875 - 0.03515625 * 4.0]);
    let inside = "roi=[], SHAPE, antialias=false, exclude_outside=true, extrapolation=0.0";
    let w = [0.8671875, 0.2265625, -0.0234375];
    close(&resize("cubic50", "half_pixel", 8, inside)[1..2], &[(w[0] + w[1] * 2.0 + w[2] * 3.0) / (w[0] + w[1] + w[2])]);
    let crop = "roi=[0.5,1.5], SHAPE, antialias=false, exclude_outside=false, extrapolation=9.0";
    assert_eq!(resize("linear", "tf_crop_and_resize", 4, crop), [2.5, 3.5, 9.0, 9.0]);
    assert_eq!(resize("nearest_ceil_half", "tf_crop_and_resize", 4, crop), [3.0, 4.0, 9.0, 9.0]);
    let bytes = "%x: u8[2] = const [0,255] %y = resize %x {mode=linear, coordinate=half_pixel, scale=[2.0], roi=[], shape=[4], antialias=false, exclude_outside=false, extrapolation=0.0}";
    assert_eq!(ints(bytes), [0, 64, 191, 255]);
}

#[test]
fn small_floats_are_summed_wide_and_rounded_once() {
    let x = Tensor::splat(Dtype::F16, &[1, 4096], &half::f16::from_f32(1.0).to_le_bytes());
    let lines = "%x: f16[1,4096] = input \"x\" %y = reduce %x {kind=sum, axes=[1]}";
    assert_eq!(try_run(lines, &[x]).expect("it is right").to_f64s(), [4096.0]);
    let bf = "%a: bf16[1,2] = const [1.0,0.001953125] %b: bf16[2,1] = const [256.0,256.0] %y = dot %a, %b {trans_a=false, trans_b=false}";
    // 256.5 has nine significant bits
    assert_eq!(run(bf), [256.0]);
}

#[test]
fn inputs_are_checked() {
    let lines = "%x: f32[2] = input \"x\" %y = map %x do { neg(a) }";
    let wrong = |inputs: &[Tensor]| try_run(lines, inputs).expect_err("it is wrong");
    assert!(matches!(wrong(&[]), EvalError::Input(_)));
    let three = wrong(&[Tensor::f32s(&[3], &[0.0; 3])]);
    assert_eq!(three.what(), "the input \"x\" is f32[2], f32[3] is given");
    let symbolic = try_run("symbol n in 1..4 %x: f32[n] = input \"x\" %y = map %x do { neg(a) }", &[Tensor::f32s(&[3], &[0.0; 3])]);
    assert!(symbolic.is_ok_and(|y| y.shape() == [3]), "sizes come from the inputs");
    let outside = try_run("symbol n in 1..4 %x: f32[n] = input \"x\" %y = map %x do { neg(a) }", &[Tensor::f32s(&[5], &[0.0; 5])]);
    assert!(matches!(outside, Err(EvalError::Input(_))));
}

#[test]
fn every_value_is_shown_once() {
    let text = "graph { %x: f32[1] = input \"x\" %a = map %x do { neg(a) } %b = map %a, %x do { sub(a, b) } return %a \"a\", %b \"b\", %a \"again\" }";
    let graph = parse(text, &|_| None).expect("it is right");
    let mut seen = Vec::new();
    let out = eval_with(&graph, &[Tensor::f32s(&[1], &[2.0])], &mut |id, t| seen.push((id.index(), t.to_f32s()[0]))).expect("it is right");
    assert_eq!(seen, [(0, 2.0), (1, -2.0), (2, -4.0)]);
    assert_eq!(out.iter().map(|t| t.to_f32s()[0]).collect::<Vec<_>>(), [-2.0, -4.0, -2.0]);
}
