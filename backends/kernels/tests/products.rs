//! Dot and convolution on made-up machines: the kernel oracle against the graph oracle, every kernel
//! verified. Shapes are chosen for what breaks: thin rests, partial vectors, borders, groups, wide epilogues.

mod common;

use common::{Model, WIDE};
use ir::graph::op::Op;
use ir::scalar::{Body, Literal, body};
use proptest::prelude::*;

fn model() -> Model {
    let mut model = Model::new(1.0, 2e-5);
    model.mixed = true;
    model
}

fn dot(epilogue: &str) -> Op {
    Op::Dot { trans_a: false, trans_b: false, epilogue: body(epilogue).expect("the test's body") }
}

fn conv(stride: usize, dilation: usize, pad: i64, group: usize, epilogue: &str) -> Op {
    Op::Conv {
        stride: vec![stride; 2],
        dilation: vec![dilation; 2],
        inflate: vec![1; 2],
        low: vec![pad; 2],
        high: vec![pad; 2],
        group,
        fill: Literal::f32(0.0),
        epilogue: body(epilogue).expect("the test's body"),
    }
}

const GELU: &str = "{ t0 = add(a, b); t1 = mul(t0, 0.70710677); t2 = erf(t1); t3 = add(t2, 1.0); t4 = mul(t0, t3); t5 = mul(t4, 0.5); t6 = add(t5, c); mul(t6, d) }";

#[test]
fn dot_with_bias_and_residual() {
    let mut m = model();
    let (x, r) = (m.input(&[49, 30]), m.input(&[49, 40]));
    let (w, b) = (m.constant(1, &[30, 40]), m.constant(2, &[40]));
    let y = m.add(dot("{ t0 = add(a, b); t1 = max(t0, 0.0); add(t1, c) }"), &[x, w, b, r]);
    m.check(&[y]);
}

#[test]
fn a_wide_epilogue_behind_every_tile() {
    for rows in [1, 2, 7, 29] {
        for columns in [5, 16, 33, 64] {
            let mut m = model();
            let (x, r) = (m.input(&[rows, 19]), m.input(&[rows, columns]));
            let (w, b, s) = (m.constant(1, &[19, columns]), m.constant(2, &[columns]), m.constant(3, &[columns]));
            let y = m.add(dot(GELU), &[x, w, b, r, s]);
            m.check(&[y]);
        }
    }
}

#[test]
fn an_epilogue_wider_than_all_registers() {
    // forty powers of the sum, all alive until they are added up from the last to the first
    let powers: String = (1..40).map(|i| format!("t{i} = mul(t{}, a); ", i - 1)).collect();
    let adds: String = (0..39).map(|i| format!("t{} = add(t{}, t{}); ", 40 + i, if i == 0 { 39 } else { 39 + i }, 38 - i)).collect();
    let body = format!("{{ t0 = mul(a, 0.25); {powers}{adds}add(t78, a) }}");
    let mut m = model();
    let (x, image) = (m.input(&[3, 2]), m.input(&[1, 4, 4, 5]));
    let (w, kernel, each) = (m.constant(1, &[2, 9]), m.constant(2, &[3, 3, 5, 6]), m.constant(3, &[3, 3, 1, 5]));
    let y = m.add(dot(&body), &[x, w]);
    let z = m.add(conv(1, 1, 1, 1, &body.replace("0.25", "0.01")), &[image, kernel]);
    let d = m.add(conv(1, 1, 1, 5, &body.replace("0.25", "0.01")), &[image, each]);
    m.check(&[y, z, d]);
}

#[test]
fn grouped_convolution_with_bias() {
    let mut m = model();
    let x = m.input(&[2, 6, 5, 12]);
    let (w, b) = (m.constant(1, &[3, 3, 4, 21]), m.constant(2, &[21]));
    let y = m.add(conv(1, 1, 1, 3, "{ t0 = add(a, b); max(t0, 0.0) }"), &[x, w, b]);
    m.check(&[y]);
}

#[test]
fn a_chain_shares_its_halo() {
    // two readers with different padding, and a residual over both
    let mut m = model();
    let x = m.input(&[1, 7, 7, 8]);
    let w0 = m.constant(1, &[1, 1, 8, 8]);
    let h = m.add(conv(1, 1, 0, 1, "{ max(a, 0.0) }"), &[x, w0]);
    let (w1, w2) = (m.constant(2, &[3, 3, 8, 8]), m.constant(3, &[5, 5, 8, 8]));
    let a = m.add(conv(1, 1, 1, 1, "{ a }"), &[h, w1]);
    let b = m.add(conv(1, 1, 2, 1, "{ t0 = add(a, b); add(t0, c) }"), &[h, w2, a, h]);
    m.check(&[b]);
}

#[test]
fn inflated_images_are_plain_convolutions() {
    // image, kernel, dilation, inflation, padding, groups
    for (size, kernel, dilation, inflate, pad, group) in [
        ([5, 6], [2, 2], 1, 2, 1, 1),
        ([4, 7], [3, 3], 1, 2, 1, 1),
        ([4, 5], [4, 4], 1, 2, 2, 1),
        ([4, 5], [4, 4], 1, 2, 3, 2),
        ([3, 4], [5, 3], 2, 3, 4, 1),
        ([6, 4], [3, 3], 1, 2, 2, 6),
        ([4, 3], [2, 2], 1, 3, 1, 1),
    ] {
        let channels = 6;
        let (per_group, filters) = (channels / group, if group == channels { channels } else { 20 });
        let op = |epilogue: &str| Op::Conv {
            stride: vec![1; 2],
            dilation: vec![dilation; 2],
            inflate: vec![inflate; 2],
            low: vec![pad; 2],
            high: vec![pad + 1; 2],
            group,
            fill: Literal::f32(0.0),
            epilogue: body(epilogue).expect("the test's body"),
        };
        let mut m = model();
        let x = m.input(&[2, size[0], size[1], channels]);
        let (w, b) = (m.constant(1, &[kernel[0], kernel[1], per_group, filters]), m.constant(2, &[filters]));
        let y = m.add(op("{ add(a, b) }"), &[x, w, b]);
        // operands that move with the results
        let lines = (size[0] - 1) * inflate + 1 + 2 * pad as usize + 1 - (kernel[0] - 1) * dilation;
        let column = m.constant(5, &[lines, 1, 1]);
        let z = m.add(op("{ t0 = add(a, b); t1 = mul(t0, d); add(t1, c) }"), &[x, w, b, y, column]);
        m.check(&[z]);
    }
}

#[test]
fn transposed_convolutions_are_for_vectors() {
    let mut m = model();
    m.mixed = false;
    let x = m.input(&[1, 5, 5, 16]);
    let w = m.constant(1, &[2, 2, 16, 8]);
    let (one, two) = (|| vec![1usize; 2], vec![2; 2]);
    let op = Op::Conv {
        stride: one(),
        dilation: one(),
        inflate: two,
        low: vec![1; 2],
        high: vec![1; 2],
        group: 1,
        fill: Literal::f32(0.0),
        epilogue: Body::identity(),
    };
    let y = m.add(op, &[x, w]);
    m.check(&[y]);
}

#[test]
fn every_axis_may_be_cut() {
    // rows, few rows and many columns, heads side by side, groups, lines, a batch
    let mut m = model();
    let (x, few, heads) = (m.input(&[60, 9]), m.input(&[2, 9]), m.input(&[3, 4, 9]));
    let (w, wide, v) = (m.constant(1, &[9, 20]), m.constant(2, &[9, 300]), m.input(&[3, 9, 8]));
    let (b, r) = (m.constant(3, &[300]), m.input(&[2, 300]));
    let y = m.add(dot("{ a }"), &[x, w]);
    let z = m.add(dot("{ t0 = add(a, b); add(t0, c) }"), &[few, wide, b, r]);
    let h = m.add(dot("{ a }"), &[heads, v]);
    let side = m.add(Op::Transpose { perm: vec![1, 0, 2] }, &[h]);
    let image = m.input(&[2, 6, 5, 8]);
    let (g, d) = (m.constant(4, &[3, 3, 2, 12]), m.constant(5, &[3, 3, 1, 8]));
    let c = m.add(conv(1, 1, 1, 4, "{ max(a, 0.0) }"), &[image, g]);
    let e = m.add(conv(1, 1, 1, 8, "{ a }"), &[image, d]);
    m.check(&[y, z, side, c, e]);
}

#[test]
fn concatenation_is_a_place() {
    let mut m = model();
    let x = m.input(&[1, 4, 4, 8]);
    let (w0, w1, w2) = (m.constant(1, &[1, 1, 8, 9]), m.constant(2, &[3, 3, 8, 7]), m.constant(3, &[3, 3, 16, 8]));
    let a = m.add(conv(1, 1, 0, 1, "{ a }"), &[x, w0]);
    let b = m.add(conv(1, 1, 1, 1, "{ a }"), &[x, w1]);
    let c = m.add(Op::Concat { axis: 3 }, &[a, b]);
    let y = m.add(conv(1, 1, 1, 1, "{ a }"), &[c, w2]);
    m.check(&[y]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn dots_of_any_size(batch in 1usize..3, rows in 1usize..40, depth in 1usize..20, columns in 1usize..70, ta: bool, tb: bool, variable: bool) {
        let mut m = model();
        let a = m.input(&if ta { [batch, depth, rows] } else { [batch, rows, depth] });
        let shape = if tb { [batch, columns, depth] } else { [batch, depth, columns] };
        let b = if variable { m.input(&shape) } else { m.constant(3, &shape[if batch == 2 { 0 } else { 1 }..]) };
        let y = m.add(Op::Dot { trans_a: ta, trans_b: tb, epilogue: Body::identity() }, &[a, b]);
        m.check(&[y]);
    }

    #[test]
    fn convolutions_of_any_geometry(
        size in (1usize..9, 1usize..15),
        kernel in (1usize..4, 1usize..4),
        channels in 1usize..9,
        filters in 1usize..36,
        (stride, dilation, pad) in (1usize..3, 1usize..3, 0i64..3),
    ) {
        let reach = |k: usize| (k - 1) * dilation + 1;
        prop_assume!(size.0 + 2 * pad as usize >= reach(kernel.0) && size.1 + 2 * pad as usize >= reach(kernel.1));
        let mut m = model();
        let x = m.input(&[1, size.0, size.1, channels]);
        let (w, b) = (m.constant(1, &[kernel.0, kernel.1, channels, filters]), m.constant(2, &[filters]));
        let y = m.add(conv(stride, dilation, pad, 1, "{ add(a, b) }"), &[x, w, b]);
        m.check(&[y]);
    }

    #[test]
    fn depthwise_of_any_geometry(size in (1usize..9, 1usize..15), kernel in 1usize..6, channels in 1usize..40, (stride, pad) in (1usize..3, 0i64..3), wide: bool) {
        prop_assume!(size.0 + 2 * pad as usize >= kernel && size.1 + 2 * pad as usize >= kernel);
        let mut m = model();
        let x = m.input(&[2, size.0, size.1, channels]);
        let (w, b, s) = (m.constant(1, &[kernel, kernel, 1, channels]), m.constant(2, &[channels]), m.constant(4, &[channels]));
        let y = m.add(conv(stride, 1, pad, channels, "{ add(a, b) }"), &[x, w, b]);
        let op = conv(stride, 1, pad, channels, if wide { GELU } else { "{ t0 = mul(a, d); t1 = add(t0, c); add(t1, b) }" });
        let z = m.add(op, &[x, w, b, y, s]);
        m.check(&[z]);
    }
}

#[test]
fn three_by_three_filters_take_fewer_products() {
    // tiles that fit and tiles that do not, channels that do not fill a vector, a batch, every kind of operand
    let other = "{ t0 = add(a, b); t1 = mul(t0, d); add(t1, c) }";
    let cases = [(1, 12, 24, 64, 64, other), (2, 14, 15, 40, 72, other), (1, 7, 18, 65, 48, GELU), (1, 28, 9, 48, 50, "{ a }")];
    for (batch, lines, columns, channels, filters, text) in cases {
        let mut m = Model::new(1.0, 2e-5);
        m.options.winograd = Some(1e-3);
        let x = m.input(&[batch, lines, columns, channels]);
        let (w, b) = (m.constant(1, &[3, 3, channels, filters]), m.constant(2, &[filters]));
        let (rest, scale) = (m.input(&[batch, lines, columns, filters]), m.input(&[batch, lines, columns, 1]));
        let operands = [x, w, b, rest, scale];
        let y = m.add(conv(1, 1, 1, 1, text), &operands[..if text == "{ a }" { 2 } else { 5 }]);
        let program = m.lower(&[y], &WIDE, &WIDE);
        assert!(program.kernels.iter().any(|k| k.name.starts_with("winograd")), "it pays");
        m.check(&[y]);
    }
}

#[test]
fn weights_that_come_again_lie_once_and_are_read_from_their_end() {
    let mut m = model();
    let (a, b, w) = (m.input(&[1, 96]), m.input(&[1, 96]), m.constant(1, &[96, 1024]));
    let (y, z) = (m.add(dot("{ a }"), &[a, w]), m.add(dot("{ a }"), &[b, w]));
    let program = m.lower(&[y, z], &WIDE, &WIDE);
    assert_eq!(program.constants.len(), 1);
    let order = |step: &ir::program::Step| step.calls.iter().map(|call| call.args[1]).collect::<Vec<_>>();
    let [first, mut second] = [&program.steps[0], &program.steps[1]].map(order);
    assert!(first.len() > 1, "the weights are worth several calls");
    second.reverse();
    assert_eq!(first, second);
    m.check(&[y, z]);
}
