//! Products by weights that have zeros, on made-up machines: the kernel oracle against the graph oracle, every kernel verified.
//! Patterns are chosen for what breaks: empty rows and columns, one weight, blocks, odd sizes, overlapping rests.

mod common;

use common::{LANES, Model, QUADS, RELAXED, WIDE, integers, numbers};
use ir::graph::op::Op;
use ir::scalar::{Body, Literal, body};
use ir::{Dtype, Tensor};

/// Weights of which those stay that `keep` says, by row and column.
fn some(seed: u64, shape: &[usize], keep: impl Fn(usize, usize) -> bool) -> Tensor {
    let n = shape[shape.len() - 1];
    let all = numbers(seed, shape, 1.0).to_f32s();
    let kept = all.iter().enumerate().map(|(i, &w)| if keep(i / n, i % n) { w } else { 0.0 });
    Tensor::f32s(shape, &kept.collect::<Vec<_>>())
}

/// One of `of`, here and there.
fn scattered(of: usize) -> impl Fn(usize, usize) -> bool {
    move |k, j| (k * 7919 + j * 104_729 + k * j * 31).is_multiple_of(of)
}

fn dot(epilogue: &str) -> Op {
    Op::Dot { trans_a: false, trans_b: false, epilogue: body(epilogue).expect("the test's body") }
}

const RESIDUAL: &str = "{ t0 = add(a, b); t1 = add(t0, c); t2 = max(t1, 0.0); mul(t2, d) }";

#[test]
fn weights_here_and_there_with_a_bias_a_residual_and_a_factor() {
    for (m, k, n) in [(100, 61, 30), (49, 300, 41), (197, 130, 7)] {
        let mut model = Model::new(1.0, 2e-5);
        let (x, r) = (model.input(&[m, k]), model.input(&[m, n]));
        let w = model.fixed(some(1, &[k, n], scattered(9)));
        let (b, s) = (model.constant(2, &[n]), model.constant(3, &[n]));
        let y = model.add(dot(RESIDUAL), &[x, w, b, r, s]);
        model.check(&[y]);
    }
}

#[test]
fn patterns_with_nothing_in_them_and_with_little() {
    let patterns: [&dyn Fn(usize, usize) -> bool; 5] =
        [&|_, _| false, &|k, j| k == 17 && j == 3, &|k, _| k % 10 == 0, &|_, j| j % 11 == 5, &|k, j| (k * 31 + j / 4 * 17) % 8 == 0];
    for keep in patterns {
        let mut model = Model::new(1.0, 2e-5);
        let x = model.input(&[80, 64]);
        let w = model.fixed(some(1, &[64, 36], keep));
        let y = model.add(dot("{ a }"), &[x, w]);
        model.check(&[y]);
    }
}

#[test]
fn windows_and_points_of_images() {
    let conv = |pad: i64, size: usize| Op::Conv {
        stride: vec![1; 2],
        dilation: vec![1; 2],
        inflate: vec![1; 2],
        low: vec![pad; 2],
        high: vec![pad; 2],
        group: 1,
        fill: Literal::f32(0.0),
        epilogue: body(if size == 1 { "{ t0 = add(a, b); max(t0, 0.0) }" } else { "{ a }" }).expect("the test's body"),
    };
    let mut model = Model::new(1.0, 2e-5);
    let x = model.input(&[2, 9, 50, 10]);
    let (w, b) = (model.fixed(some(1, &[1, 1, 10, 24], scattered(6))), model.constant(2, &[24]));
    let y = model.add(conv(0, 1), &[x, w, b]);
    let w = model.fixed(some(3, &[3, 3, 24, 20], scattered(12)));
    let z = model.add(conv(1, 3), &[y, w]);
    model.check(&[z]);
}

#[test]
fn many_zeros_are_worth_it_and_few_are_not() {
    for facts in [WIDE, LANES, RELAXED] {
        for (of, sparse) in [(10, true), (1, false)] {
            let mut model = Model::new(1.0, 2e-5);
            let x = model.input(&[196, 256]);
            let w = model.fixed(some(1, &[256, 64], scattered(of)));
            let y = model.add(Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() }, &[x, w]);
            let program = model.lower(&[y], &facts, &facts);
            let found = program.kernels.iter().any(|k| k.name.starts_with("sparse"));
            assert_eq!(found, sparse, "one of {of} weights on {}: {:?}", facts.name, program.choices);
            assert_eq!(program.choices.iter().filter(|c| c.key.starts_with("sparse f32 196x64x256")).count(), usize::from(of > 1));
        }
    }
}

/// Bias, scale of each column, bounds, rounding, zero point: what a quantized product ends with.
const REQUANTIZE: &str = "{ t0 = add(a, b); t1 = cast.f32(t0); t2 = mul(t1, c); t3 = max(t2, -100.0); t4 = min(t3, 155.0); t5 = round(t4); t6 = add(t5, 100.0); cast.u8(t6) }";

#[test]
fn bytes_by_fours_with_requantization_and_without() {
    for left in [Dtype::U8, Dtype::I8] {
        for (m, k, n) in [(100, 256, 32), (67, 299, 21)] {
            let all = integers(5, Dtype::I8, &[k, n]);
            let kept: Vec<u8> = all.bytes().iter().enumerate().map(|(i, &b)| if scattered(13)(i / n / 4, i % n) { b } else { 0 }).collect();
            let mut model = Model::new(1.0, 0.0);
            let x = model.feed(integers(k as u64, left, &[m, k]));
            let w = model.fixed(Tensor::dense(Dtype::I8, &[k, n], kept));
            let bias: Vec<u8> = (0..n as i32).flat_map(|i| (i * 777 - 5000).to_le_bytes()).collect();
            let b = model.fixed(Tensor::dense(Dtype::I32, &[n], bias));
            let scale = model.fixed(Tensor::f32s(&[n], &(0..n).map(|i| 0.0007 + i as f32 * 0.00003).collect::<Vec<_>>()));
            let y = model.add(dot(REQUANTIZE), &[x, w, b, scale]);
            let z = model.add(Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() }, &[x, w]);
            let program = model.lower(&[y, z], &QUADS[0], &QUADS[0]);
            let found = program.kernels.iter().filter(|k| k.name.starts_with("sparse")).count();
            assert!(found == 2 || n < 32, "{m}x{n}x{k}: {:?}", program.choices);
            model.check_on(&[y, z], QUADS.map(|facts| (facts.clone(), facts)));
        }
    }
}
