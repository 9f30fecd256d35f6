use super::harness::{Random, check, check_on, status};
use super::lower;
use ir::scalar::ScalarOp;
use ir::{Dtype, Tensor};

/// Types that kernels compute with, and how exactly.
const NUMBERS: [(&str, f64); 12] = [
    ("f32", 2e-6),
    ("f64", 1e-13),
    ("f16", 2e-3),
    ("bf16", 2e-2),
    ("i8", 0.0),
    ("i16", 0.0),
    ("i32", 0.0),
    ("i64", 0.0),
    ("u8", 0.0),
    ("u16", 0.0),
    ("u32", 0.0),
    ("u64", 0.0),
];

fn floats() -> impl Iterator<Item = (&'static str, f64)> {
    NUMBERS.into_iter().take(4)
}

#[test]
fn every_operation_on_every_type() {
    for dtype in Dtype::ALL.iter().filter(|d| !super::small::is_bits(**d)) {
        let tolerance = NUMBERS.iter().find(|n| n.0 == dtype.name()).map_or(0.0, |n| 4.0 * n.1);
        for &op in ScalarOp::PLAIN {
            let params = if op == ScalarOp::Select { vec![Dtype::Bool, *dtype, *dtype] } else { vec![*dtype; op.arity()] };
            if ir::Body::of(op).result_type(&params).is_err() {
                continue;
            }
            // operands broadcast against each other in all ways
            let shapes = ["[3,1,5]", "[2,1]", "[2,5]"];
            let inputs: Vec<String> =
                params.iter().zip(shapes).enumerate().map(|(i, (d, s))| format!("%{i}: {}{s} = input \"{i}\"", d.name())).collect();
            let names: Vec<String> = (0..params.len()).map(|i| format!("%{i}")).collect();
            let letters = ["a", "b", "c"][..params.len()].join(", ");
            check(&format!("{} %y = map {} do {{ {}({letters}) }}", inputs.join(" "), names.join(", "), op.name()), tolerance, lower);
        }
        for to in Dtype::ALL {
            check(&format!("%x: {}[4,7] = input \"x\" %y = map %x do {{ cast.{}(a) }}", dtype.name(), to.name()), tolerance, lower);
            if dtype.bytes() == to.bytes() && *dtype != Dtype::Bool && *to != Dtype::Bool {
                check(&format!("%x: {}[4,7] = input \"x\" %y = map %x do {{ bits.{}(a) }}", dtype.name(), to.name()), 1e-30, lower);
            }
        }
    }
}

#[test]
fn casts_from_every_code() {
    for from in Dtype::ALL.iter().filter(|d| d.bytes() == 1) {
        let codes: Vec<u8> = (0..=255u8).filter(|&b| u16::from(b) < 1 << from.bits()).collect();
        for to in Dtype::ALL {
            let text = format!("%x: {}[{}] = input \"x\" %y = map %x do {{ cast.{}(a) }}", from.name(), codes.len(), to.name());
            let graph = ir::graph::text::parse(&format!("graph {{ {text} return %y \"y\" }}"), &|_| None).expect("it is right");
            let x = Tensor::dense(*from, &[codes.len()], codes.clone());
            check_on(&text, &graph, &[x], 1e-30, lower, false, &mut Random(1));
        }
    }
}

#[test]
fn casts_saturate_and_round_once() {
    let x: Vec<f64> =
        vec![1e30, -1e30, 0.5, -0.5, 2.5, 1e-3, 300.7, -300.7, 65519.9, 65520.0, 2049.0000001, f64::NAN, f64::INFINITY, 4e9, 1e19, 3.3e38];
    let bytes: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
    for to in Dtype::ALL {
        let text = format!("%x: f64[16] = input \"x\" %y = map %x do {{ cast.{}(a) }}", to.name());
        let graph = ir::graph::text::parse(&format!("graph {{ {text} return %y \"y\" }}"), &|_| None).expect("it is right");
        check_on(&text, &graph, &[Tensor::dense(Dtype::F64, &[16], bytes.clone())], 1e-16, lower, false, &mut Random(1));
    }
}

#[test]
fn remainders_are_exact() {
    let (a, b) = (
        [1e30f32, 5.5, -5.5, 7.0, f32::INFINITY, 3.0, 1.0, f32::NAN, 0.0, 1e-40],
        [0.3f32, 2.0, 2.0, -7.0, 1.0, 0.0, f32::INFINITY, 1.0, 2.0, 3e-41],
    );
    for op in ["rem", "mod"] {
        let text = format!("%a: f32[10] = input \"a\" %b: f32[10] = input \"b\" %y = map %a, %b do {{ {op}(a, b) }}");
        let graph = ir::graph::text::parse(&format!("graph {{ {text} return %y \"y\" }}"), &|_| None).expect("it is right");
        check_on(&text, &graph, &[Tensor::f32s(&[10], &a), Tensor::f32s(&[10], &b)], 1e-9, lower, false, &mut Random(1));
    }
}

#[test]
fn constants_of_one_element_are_literals() {
    check("%x: f32[3,4] = input \"x\" %c: f32[1] = input \"c\" %y = map %x, %c do { t0 = mul(a, b); exp(t0) }", 1e-5, lower);
    check("%c: i32[2,1] = input \"c\" %x: i32[2,9] = input \"x\" %y = map %c, %x do { sub(a, b) }", 0.0, lower);
    check("%x: f32[] = input \"x\" %y = map %x do { tanh(a) }", 1e-6, lower);
}

#[test]
fn dots_of_every_type_and_layout() {
    for (dtype, tolerance) in NUMBERS {
        for (trans_a, trans_b) in [(false, false), (true, false), (false, true), (true, true)] {
            let (a, b) = (if trans_a { "[2,1,4,3]" } else { "[2,1,3,4]" }, if trans_b { "[5,5,4]" } else { "[5,4,5]" });
            check(
                &format!(
                    "%a: {dtype}{a} = input \"a\" %b: {dtype}{b} = input \"b\" %y = dot %a, %b {{trans_a={trans_a}, trans_b={trans_b}}}"
                ),
                tolerance * 20.0,
                lower,
            );
        }
    }
    check("%a: f32[3,23] = input \"a\" %b: f32[23,2] = input \"b\" %y = dot %a, %b {trans_a=false, trans_b=false}", 1e-5, lower);
    check("%a: i16[3,16] = input \"a\" %b: i16[2,16] = input \"b\" %y = dot %a, %b {trans_a=false, trans_b=true}", 0.0, lower);
    check(
        "%a: f32[1,7] = input \"a\" %b: f32[7,6] = input \"c\" %d: f32[6] = input \"d\" %y = dot %a, %b, %d {trans_a=false, trans_b=false} do { t0 = add(a, b); tanh(t0) }",
        1e-5,
        lower,
    );
    for (a, b) in [("u8", "i8"), ("i8", "i8"), ("i8", "u8"), ("u8", "u8"), ("i16", "i16")] {
        let text = format!(
            "%a: {a}[3,37] = input \"a\" %b: {b}[37,5] = input \"b\" %c: i32[5] = input \"c\" %s: f32[5] = input \"s\" \
             %y = dot %a, %b, %c, %s {{trans_a=false, trans_b=false}} \
             do {{ t0 = add(a, b); t1 = cast.f32(t0); t2 = mul(t1, c); t3 = round(t2); cast.u8(t3) }}"
        );
        check(&text, 0.0, lower);
    }
    check("%a: f32[3,0] = input \"a\" %b: f32[0,2] = input \"b\" %y = dot %a, %b {trans_a=false, trans_b=false}", 0.0, lower);
}

#[test]
fn convolutions_in_every_way() {
    let attributes = |stride, dilation, inflate, low, high, group| {
        format!("stride={stride}, dilation={dilation}, inflate={inflate}, low={low}, high={high}, group={group}, fill=")
    };
    for (dtype, tolerance) in [NUMBERS[0], NUMBERS[1], NUMBERS[2], NUMBERS[4], NUMBERS[6]] {
        for (x, w, a) in [
            ("[1,4,4,11]", "[3,3,11,2]", attributes("[1,1]", "[1,1]", "[1,1]", "[1,1]", "[1,1]", 1)),
            ("[2,6,5,3]", "[3,3,3,4]", attributes("[1,1]", "[1,1]", "[1,1]", "[1,1]", "[1,1]", 1)),
            ("[1,6,5,3]", "[2,3,3,4]", attributes("[2,1]", "[1,2]", "[1,1]", "[0,2]", "[1,2]", 1)),
            ("[2,5,5,4]", "[3,3,2,6]", attributes("[2,2]", "[1,1]", "[1,1]", "[1,0]", "[0,1]", 2)),
            ("[1,5,5,4]", "[3,3,1,4]", attributes("[1,1]", "[2,1]", "[1,1]", "[2,1]", "[2,1]", 4)),
            ("[1,4,3,2]", "[3,3,2,3]", attributes("[1,1]", "[1,1]", "[2,3]", "[2,2]", "[3,2]", 1)),
            ("[1,6,6,2]", "[3,3,2,3]", attributes("[1,1]", "[1,1]", "[1,1]", "[-1,-2]", "[-1,0]", 1)),
        ] {
            let fill = if dtype.contains('f') { "0.0" } else { "3" };
            let text = format!("%x: {dtype}{x} = input \"x\" %w: {dtype}{w} = input \"w\" %y = conv %x, %w {{{a}{fill}:{dtype}}}");
            check(&text, tolerance * 50.0, lower);
            if dtype == "i16" {
                for (a_type, b_type, fill) in [("u8", "i8", 128), ("i8", "i8", -3), ("u8", "u8", 255), ("i8", "u8", 0)] {
                    let text =
                        format!("%x: {a_type}{x} = input \"x\" %w: {b_type}{w} = input \"w\" %y = conv %x, %w {{{a}{fill}:{a_type}}}");
                    check(&text, 0.0, lower);
                }
            }
        }
    }
    let one = attributes("[2]", "[1]", "[1]", "[1]", "[2]", 1);
    check(
        &format!(
            "%x: f32[2,7,3] = input \"x\" %w: f32[3,3,4] = input \"c\" %b: f32[4] = input \"b\" %r: f32[2,4,4] = input \"r\" %y = conv %x, %w, %b, %r {{{one}0.0}} do {{ t0 = add(a, b); t1 = add(t0, c); max(t1, 0.0) }}"
        ),
        1e-5,
        lower,
    );
    let three = attributes("[1,1,1]", "[1,1,1]", "[1,1,1]", "[1,0,1]", "[1,0,1]", 1);
    check(&format!("%x: f32[1,3,4,3,2] = input \"x\" %w: f32[3,2,3,2,2] = input \"w\" %y = conv %x, %w {{{three}0.0}}"), 1e-5, lower);
}

#[test]
fn windows_of_every_kind() {
    for (dtype, tolerance) in NUMBERS {
        for kind in ["max", "sum"] {
            check(
                &format!(
                    "%x: {dtype}[2,6,5,3] = input \"x\" %y = window %x {{kind={kind}, size=[3,2], stride=[2,1], dilation=[1,2], low=[1,1], high=[1,0]}}"
                ),
                tolerance * 10.0,
                lower,
            );
        }
    }
    check(
        "%x: f32[1,9,4] = input \"x\" %c: f32[1,4,1] = input \"c\" %y = window %x, %c {kind=sum, size=[3], stride=[2], dilation=[1], low=[0], high=[0]} do { mul(a, b) }",
        1e-5,
        lower,
    );
}

#[test]
fn reductions_of_every_type_along_any_axes() {
    for (dtype, tolerance) in NUMBERS.into_iter().chain([("bool", 0.0)]) {
        for kind in ["sum", "mean", "prod", "max", "min"] {
            for axes in ["[]", "[1]", "[0,2]", "[0,1,2]"] {
                if kind != "mean" || dtype != "bool" {
                    check(
                        &format!("%x: {dtype}[3,4,5] = input \"x\" %y = reduce %x {{kind={kind}, axes={axes}}}"),
                        tolerance * 20.0,
                        lower,
                    );
                }
            }
            if kind != "mean" || dtype.contains('f') {
                check(&format!("%x: {dtype}[3,0] = input \"x\" %y = reduce %x {{kind={kind}, axes=[1]}}"), 0.1, lower);
            }
        }
    }
    check(
        "%x: f32[4,6] = input \"x\" %s: f32[4,1] = input \"s\" %y = reduce %x, %s {kind=sum, axes=[1]} pre { mul(a, a) } do { t0 = sqrt(a); add(t0, b) }",
        1e-5,
        lower,
    );
}

#[test]
fn running_sums_and_positions() {
    for (dtype, tolerance) in NUMBERS {
        for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
            for kind in ["sum", "prod"] {
                check(
                    &format!(
                        "%x: {dtype}[2,5,3] = input \"x\" %y = cumulate %x {{kind={kind}, axis=1, exclusive={exclusive}, reverse={reverse}}}"
                    ),
                    tolerance * 30.0,
                    lower,
                );
            }
        }
        for kind in ["max", "min"] {
            for last in [false, true] {
                check(&format!("%x: {dtype}[2,9,3] = input \"x\" %y = argreduce %x {{kind={kind}, axis=1, last={last}}}"), 0.0, lower);
            }
        }
    }
    for (kind, last) in [("max", false), ("min", true)] {
        let text = format!("%x: f32[1,5] = input \"x\" %y = argreduce %x {{kind={kind}, axis=1, last={last}}}");
        let graph = ir::graph::text::parse(&format!("graph {{ {text} return %y \"y\" }}"), &|_| None).expect("it is right");
        check_on(&text, &graph, &[Tensor::f32s(&[1, 5], &[1.0, f32::NAN, 9.0, f32::NAN, -9.0])], 0.0, lower, false, &mut Random(1));
    }
}

#[test]
fn softmax_and_norms() {
    for (dtype, tolerance) in floats() {
        for axis in 0..3 {
            check(&format!("%x: {dtype}[3,4,5] = input \"x\" %y = softmax %x {{axis={axis}, log=false}}"), tolerance * 2.0, lower);
            check(
                &format!("%x: {dtype}[3,4,5] = input \"x\" %y = softmax %x {{axis={axis}, log=true}} pre {{ neg(a) }}"),
                tolerance * 4.0,
                lower,
            );
        }
        for (axes, center) in [("[2]", true), ("[0,1]", true), ("[1,2]", false)] {
            check(
                &format!(
                    "%x: {dtype}[3,4,5] = input \"x\" %s: {dtype}[5] = input \"s\" %b: {dtype}[4,1] = input \"b\" %y = norm %x, %s, %b {{axes={axes}, epsilon=0.001, center={center}}} do {{ t0 = mul(a, b); add(t0, c) }}"
                ),
                tolerance * 10.0,
                lower,
            );
        }
    }
}

#[test]
fn gathers_check_their_indices() {
    let x = Tensor::f32s(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let text = |index: &str| format!("%x: f32[2,3] = input \"x\" %i: {index}[2,2] = input \"i\" %y = gather %x, %i {{axis=1}}");
    let graph = ir::graph::text::parse(&format!("graph {{ {} return %y \"y\" }}", text("i64")), &|_| None).expect("it is right");
    for gaps in [false, true] {
        check_on("gather", &graph, &[x.clone(), Tensor::i64s(&[2, 2], &[0, -1, 2, -3])], 0.0, lower, gaps, &mut Random(5));
    }
    for bad in [3, -4, i64::MIN, i64::MAX] {
        assert_eq!(status(&text("i64"), &[x.clone(), Tensor::i64s(&[2, 2], &[0, 1, bad, 0])], lower), Some(4));
    }
    for dtype in ["bool", "i4", "f8e4m3", "f16", "f64", "i32"] {
        let text = format!("%x: {dtype}[3,4,8] = input \"x\" %i: i32[3] = input \"i\" %y = gather %x, %i {{axis=0}}");
        let graph = ir::graph::text::parse(&format!("graph {{ {text} return %y \"y\" }}"), &|_| None).expect("it is right");
        let mut dice = Random(9);
        let x = super::harness::random(Dtype::from_name(dtype).expect("a type"), &[3, 4, 8], &mut dice);
        let i = Tensor::dense(Dtype::I32, &[3], [2i32, -3, 1].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
        for gaps in [false, true] {
            check_on(&text, &graph, &[x.clone(), i.clone()], 0.0, lower, gaps, &mut dice);
        }
    }
}

#[test]
fn sorts_are_stable_and_know_nan() {
    for dtype in ["f32", "i8", "u64", "f16", "bool", "f8e4m3"] {
        for shape in ["1,1", "2,2", "3,7", "4,33"] {
            for (axis, descending) in [(0, false), (1, true), (1, false)] {
                let text = format!("%x: {dtype}[{shape}] = input \"x\" %y = sort %x {{axis={axis}, descending={descending}}}");
                check(&text, 0.0, lower);
            }
        }
    }
    let x = Tensor::f32s(&[8], &[3.0, f32::NAN, -0.0, 3.0, 0.0, f32::NAN, f32::INFINITY, -1.0]);
    for (descending, want) in [(false, [7, 2, 4, 0, 3, 6, 1, 5]), (true, [1, 5, 6, 0, 3, 2, 4, 7])] {
        let text = format!("%x: f32[8] = input \"x\" %y = sort %x {{axis=0, descending={descending}}}");
        let graph = ir::graph::text::parse(&format!("graph {{ {text} return %y \"y\" }}"), &|_| None).expect("it is right");
        let seen = ir::graph::eval::eval(&graph, std::slice::from_ref(&x)).expect("it can be evaluated").remove(0);
        assert_eq!(seen.to_i64s(), want);
        check_on(&text, &graph, std::slice::from_ref(&x), 0.0, lower, false, &mut Random(5));
    }
}

#[test]
fn scatters_check_their_indices_and_join_in_order() {
    let index = |list: &[i64]| Tensor::i64s(&[list.len()], list);
    for dtype in ["f32", "f16", "bf16", "i8", "u64", "bool", "i16", "f64"] {
        for kind in ["set", "sum", "prod", "max", "min"] {
            let text = format!(
                "%x: {dtype}[4,3] = input \"x\" %i: i64[5] = input \"i\" %u: {dtype}[5,3] = input \"u\" %y = scatter %x, %i, %u {{kind={kind}}}"
            );
            let graph = ir::graph::text::parse(&format!("graph {{ {text} return %y \"y\" }}"), &|_| None).expect("it is right");
            let mut dice = Random(9);
            let dtype = Dtype::from_name(dtype).expect("a type");
            let (x, u) = (super::harness::random(dtype, &[4, 3], &mut dice), super::harness::random(dtype, &[5, 3], &mut dice));
            for gaps in [false, true] {
                check_on(&text, &graph, &[x.clone(), index(&[0, -1, 2, 2, -4]), u.clone()], 0.0, lower, gaps, &mut dice);
            }
            for bad in [4, -5, i64::MIN, i64::MAX] {
                assert_eq!(status(&text, &[x.clone(), index(&[0, 1, bad, 0, 2]), u.clone()], lower), Some(4));
            }
        }
    }
}

#[test]
fn resizes_in_every_mode() {
    let modes = ["nearest_floor_half", "nearest_ceil_half", "floor", "ceil", "linear", "cubic75", "cubic50"];
    let coordinates = [
        "half_pixel",
        "half_pixel_symmetric",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "tf_half_pixel_for_nn",
        "tf_crop_and_resize",
    ];
    for mode in modes {
        for coordinate in coordinates {
            for (shape, scale) in [("[1,7,8,2]", "[1.0,1.75,1.6,1.0]"), ("[1,3,2,2]", "[1.0,0.75,0.4,1.0]")] {
                let roi = if coordinate == "tf_crop_and_resize" { "[0.0,0.1,-0.2,0.0,1.0,0.8,1.1,1.0]" } else { "[]" };
                for (antialias, exclude) in [(false, false), (false, true), (true, false)] {
                    check(
                        &format!(
                            "%x: f32[1,4,5,2] = input \"x\" %y = resize %x {{mode={mode}, coordinate={coordinate}, scale={scale}, roi={roi}, shape={shape}, antialias={antialias}, exclude_outside={exclude}, extrapolation=2.5}}"
                        ),
                        2e-5,
                        lower,
                    );
                }
            }
        }
    }
    for (dtype, tolerance) in NUMBERS {
        for mode in ["linear", "floor"] {
            // weights are eighths: sums of integers are exact, and so are their ties
            check(
                &format!(
                    "%x: {dtype}[2,3,4] = input \"x\" %y = resize %x {{mode={mode}, coordinate=asymmetric, scale=[1.0,2.0,4.0], roi=[], shape=[2,6,16], antialias=false, exclude_outside=false, extrapolation=0.0}}"
                ),
                tolerance * 4.0,
                lower,
            );
        }
    }
}

/// Floats of one byte: neighbours are this far apart, and one of them is close enough where both roundings are.
const SMALL: [(&str, f64); 4] = [("f8e4m3", 0.13), ("f8e4m3z", 0.13), ("f8e5m2", 0.26), ("f8e5m2z", 0.26)];

#[test]
fn floats_of_one_byte_compute_too() {
    for (dtype, tolerance) in SMALL {
        for op in ["add", "mul", "max", "rem"] {
            check(
                &format!("%a: {dtype}[4,40] = input \"a\" %b: {dtype}[40] = input \"b\" %y = map %a, %b do {{ {op}(a, b) }}"),
                tolerance,
                lower,
            );
        }
        for op in ["neg", "abs", "exp", "sigmoid", "sqrt"] {
            check(&format!("%a: {dtype}[160] = input \"a\" %y = map %a do {{ {op}(a) }}"), tolerance, lower);
        }
        check(&format!("%x: {dtype}[3,5] = input \"x\" %y = reduce %x {{kind=max, axes=[1]}}"), 0.0, lower);
        check(&format!("%x: {dtype}[3,5] = input \"x\" %y = argreduce %x {{kind=min, axis=1, last=true}}"), 0.0, lower);
        check(
            &format!("%x: {dtype}[1,6,3] = input \"x\" %y = window %x {{kind=max, size=[2], stride=[2], dilation=[1], low=[0], high=[0]}}"),
            0.0,
            lower,
        );
    }
    check("%x: f4e2m1[2,30] = input \"x\" %y = map %x do { a }", 0.0, lower);
}

/// Whole graphs, through whatever path each node takes, on every machine.
#[test]
fn graphs_of_several_operators() {
    let conv = "stride=[1,1], dilation=[1,1], inflate=[1,1], low=[1,1], high=[1,1], group=1, fill=0.0";
    for lines in [
        // channels first in and out, a residual, a concatenation of a part with a constant, a slice of all
        format!(
            "%x: f32[1,3,8,9] = input \"x\" %w: f32[3,3,3,8] = const splat 0.125 %t = transpose %x {{perm=[0,2,3,1]}} \
             %a = conv %t, %w {{{conv}}} do {{ max(a, 0.0) }} %v: f32[3,3,8,8] = const splat -0.0625 \
             %b = conv %a, %v, %a {{{conv}}} do {{ add(a, b) }} %k: f32[1,8,9,4] = const splat 2.0 %c = concat %a, %k, %b {{axis=3}} \
             %s = slice %c {{start=[0,7,0,2], step=[1,-1,2,1], size=[1,8,5,16]}} %y = transpose %s {{perm=[0,3,1,2]}}"
        ),
        // pooling, padding by reflection, flattening into a matrix product, softmax
        "%x: f32[2,6,6,4] = input \"x\" %p = pad %x {low=[0,1,1,0], high=[0,1,1,0], mode=reflect, value=0.0} \
         %m = window %p {kind=max, size=[2,2], stride=[2,2], dilation=[1,1], low=[0,0], high=[0,0]} %f = reshape %m {shape=[2,64]} \
         %w: f32[64,10] = const splat 0.05 %d = dot %f, %w {trans_a=false, trans_b=false} do { tanh(a) } %y = softmax %d {axis=1, log=false}"
            .to_string(),
        // attention by hand, with a mask of another type
        "%q: f32[2,5,8] = input \"q\" %k: f32[2,5,8] = input \"k\" %m: bool[5,5] = input \"m\" \
         %d = dot %q, %k {trans_a=false, trans_b=true} %e = map %d, %m do { t0 = mul(a, 0.35); select(b, t0, -10000.0) } \
         %s = softmax %e {axis=2, log=false} %o = dot %s, %k {trans_a=false, trans_b=false} %n = norm %o {axes=[2], epsilon=1e-5, center=true} \
         %y = reduce %n {kind=max, axes=[1]} pre { mul(a, a) }"
            .to_string(),
        // a value that is needed after a map over its reshaped memory, and after one over a concatenation that holds it
        "%x: f32[3,4] = input \"x\" %a = map %x do { exp(a) } %r = reshape %a {shape=[4,3]} %m = map %r do { tanh(a) } \
         %b = map %x do { sin(a) } %c = concat %b, %a {axis=0} %n = map %c do { sigmoid(a) } %s = reshape %m {shape=[3,4]} \
         %t = reduce %n {kind=sum, axes=[0]} %y = map %a, %s, %b, %t do { t0 = add(a, b); t1 = mul(t0, c); add(t1, d) }"
            .to_string(),
        // types other than f32
        "%x: u8[1,5,7,3] = input \"x\" %f = map %x do { t0 = cast.f16(a); div(t0, 255.0:f16) } %t = transpose %f {perm=[0,3,1,2]} \
         %r = reduce %t {kind=mean, axes=[2,3]} %i: i64[2] = const [2,-3] %g = gather %r, %i {axis=1} %y = map %g do { cast.f32(a) }"
            .to_string(),
    ] {
        let graph = ir::graph::text::parse(&format!("graph {{ {lines} return %y \"y\" }}"), &|_| None).unwrap_or_else(|e| panic!("{lines}: {e:?}"));
        let mut dice = Random(17);
        let inputs: Vec<Tensor> = graph
            .inputs()
            .iter()
            .map(|&i| super::harness::random(graph.ty(i).dtype, &graph.ty(i).fixed().expect("fixed"), &mut dice))
            .collect();
        let want = ir::graph::eval::eval(&graph, &inputs).expect("it can be evaluated").remove(0);
        for facts in super::harness::machines() {
            let program = crate::lower(&graph, &facts).unwrap_or_else(|f| panic!("{lines}: {f:?}"));
            ir::program::verify(&program, &facts).unwrap_or_else(|f| panic!("{lines} on {}: {f:#?}", facts.name));
            let got = ir::program::run(&program, &facts, &inputs).expect("it runs").remove(0);
            super::harness::compare(&lines, &got, &want, 2e-4);
        }
    }
}
