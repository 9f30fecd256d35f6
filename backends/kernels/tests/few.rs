//! Convolutions with few filters or channels on made-up machines: positions taken together, results whose channels do not
//! follow each other. The kernel oracle against the graph oracle, every one of them a vector kernel.

mod common;

use common::Model;
use ir::graph::op::Op;
use ir::scalar::{Literal, body};

fn conv(stride: usize, pad: [i64; 2], epilogue: &str) -> Op {
    Op::Conv {
        stride: vec![1, stride],
        dilation: vec![1; 2],
        inflate: vec![1; 2],
        low: pad.to_vec(),
        high: pad.to_vec(),
        group: 1,
        fill: Literal::f32(0.0),
        epilogue: body(epilogue).expect("the test's body"),
    }
}

fn model() -> Model {
    Model::new(1.0, 2e-4)
}

#[test]
fn one_filter_along_a_long_signal() {
    for (length, taps, stride) in [(259, 64, 2), (90, 5, 1), (131, 33, 7), (40, 33, 1)] {
        let mut m = model();
        let x = m.input(&[1, 1, length, 1]);
        let w = m.constant(1, &[1, taps, 1, 1]);
        let y = m.add(conv(stride, [0, 0], "{ neg(a) }"), &[x, w]);
        m.check(&[y]);
    }
}

#[test]
fn few_filters_with_an_epilogue_of_every_kind() {
    for filters in [1, 2, 3, 8] {
        let mut m = model();
        let (x, r) = (m.input(&[2, 5, 21, 8]), m.input(&[2, 5, 21, filters]));
        let (w, b, s) = (m.constant(1, &[3, 9, 8, filters]), m.constant(2, &[filters]), m.constant(3, &[1]));
        let y = m.add(conv(1, [1, 4], "{ t0 = add(a, b); t1 = max(t0, 0.0); t2 = add(t1, c); mul(t2, d) }"), &[x, w, b, r, s]);
        m.check(&[y]);
    }
}

#[test]
fn filters_that_go_apart() {
    let mut m = model();
    let x = m.input(&[1, 1, 70, 1]);
    let (w, v) = (m.constant(1, &[1, 16, 1, 6]), m.constant(2, &[1, 16, 1, 6]));
    let halves = [w, v].map(|w| {
        let y = m.add(conv(4, [0, 0], "{ neg(a) }"), &[x, w]);
        m.add(Op::Reshape { shape: [1i64, 14, 6, 1].map(ir::Dim::from).to_vec() }, &[y])
    });
    let y = m.add(Op::Concat { axis: 3 }, &halves);
    m.check(&[y]);
}

#[test]
fn one_filter_into_a_part_of_a_concatenation() {
    let mut m = model();
    let (x, other) = (m.input(&[1, 6, 40, 5]), m.input(&[1, 6, 40, 3]));
    let (w, b) = (m.constant(1, &[3, 3, 5, 1]), m.constant(2, &[1]));
    let y = m.add(conv(1, [1, 1], "{ t0 = add(a, b); sigmoid(t0) }"), &[x, w, b]);
    let z = m.add(Op::Concat { axis: 3 }, &[y, other]);
    m.check(&[z]);
}
