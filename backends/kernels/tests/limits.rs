//! Shapes and bodies at the limits of addresses, registers and code: lowering them is a program, never a panic.

mod common;

use common::{LANES, MACHINES, Model, NARROW, WIDE};
use ir::graph::op::Op;
use ir::kernel::tile::Stmt;
use ir::kernel::{Facts, KernelBody};
use ir::program::Program;
use ir::scalar::{Body, Literal, body};
use ir::{Dtype, Graph, Tensor, Type};

fn conv(stride: &[usize], dilation: &[usize], group: usize, epilogue: &str) -> Op {
    let n = stride.len();
    Op::Conv {
        stride: stride.to_vec(),
        dilation: dilation.to_vec(),
        inflate: vec![1; n],
        low: vec![0; n],
        high: vec![0; n],
        group,
        fill: Literal::f32(0.0),
        epilogue: body(epilogue).expect("the test's body"),
    }
}

/// The program of one operator on an input and a constant of such shapes; nothing of that size is ever touched.
fn lowered(op: &Op, x: &[usize], w: &[usize], facts: &Facts) -> Program {
    let mut graph = Graph::new();
    let input = Op::Input { name: "x".into(), ty: Type::of(Dtype::F32, x) };
    let x = graph.add(input, &[], &[]).expect("an input");
    let w = graph.constant(Tensor::f32s(&[1], &[0.5]).expand(w), &[]);
    let y = graph.add(op.clone(), &[x, w], &[]).expect("the test's shapes fit");
    graph.set_outputs(vec![("y".into(), y)]);
    let program = kernels::lower(&graph, facts).expect("it lowers");
    ir::program::verify(&program, facts).unwrap_or_else(|wrong| panic!("on the machine `{}`: {}", facts.name, wrong.join("\n")));
    program
}

#[test]
fn elements_beyond_the_reach_of_addresses() {
    let dot = Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() };
    for facts in &MACHINES {
        lowered(&dot, &[40, 50_000_000], &[50_000_000, 1], facts);
        lowered(&conv(&[1], &[9_000_000], 64, "{ a }"), &[1, 20_000_000, 64], &[3, 1, 64], facts);
        lowered(&conv(&[1, 1], &[8, 8], 1024, "{ a }"), &[1, 300, 4096, 1024], &[31, 31, 1, 1024], facts);
        lowered(&conv(&[1, 30_000], &[1, 1], 1, "{ a }"), &[1, 40, 60_000, 1024], &[1, 1, 1024, 8], facts);
    }
}

/// Statements, loops counted once.
fn statements(body: &[Stmt]) -> usize {
    body.iter().map(|s| if let Stmt::Loop { body, .. } = s { 1 + statements(body) } else { 1 }).sum()
}

#[test]
fn large_depthwise_windows_are_loops() {
    for facts in [WIDE, NARROW, LANES] {
        for (image, window) in
            [([1, 64, 64, 40], [31, 31, 1, 40]), ([1, 80, 80, 40], [63, 63, 1, 40]), ([1, 1, 5000, 40], [1, 4000, 1, 40])]
        {
            let program = lowered(&conv(&[1, 1], &[1, 1], 40, "{ a }"), &image, &window, &facts);
            let size: usize = program.kernels.iter().map(|k| if let KernelBody::Tile(t) = &k.body { statements(&t.body) } else { 0 }).sum();
            assert!((20..2500).contains(&size), "{size} statements for {window:?} on the machine `{}`", facts.name);
        }
    }
}

#[test]
fn large_depthwise_windows_sum_every_tap() {
    for (image, window) in [([1, 12, 13, 19], [9, 11]), ([2, 1, 90, 5], [1, 70]), ([1, 60, 2, 16], [53, 1])] {
        let mut m = Model::new(1.0, 2e-5);
        let x = m.input(&image);
        let (w, b) = (m.constant(1, &[window[0], window[1], 1, image[3]]), m.constant(2, &[image[3]]));
        let y = m.add(conv(&[1, 1], &[1, 1], image[3], "{ add(a, b) }"), &[x, w, b]);
        m.check(&[y]);
    }
}

#[test]
fn a_partial_vector_has_its_registers() {
    // each product of two operands in memory stays until the end: a whole vector reads them in place, a part of one cannot
    for products in 1..9 {
        let names: Vec<char> = ('b'..).take(4).collect();
        let mut text = String::from("{ ");
        for i in 0..products {
            text += &format!("t{i} = mul({}, {}); ", names[i % 4], names[(i / 4 + i + 1) % 4]);
        }
        text += &format!("t{products} = mul(a, t0); ");
        for i in 1..products {
            text += &format!("t{} = sub(t{}, t{i}); ", products + i, products + i - 1);
        }
        let text = format!("{text}add(t{}, e) }}", 2 * products - 1);
        for columns in [3, 16, 17, 19, 33, 37] {
            let mut m = Model::new(1.0, 2e-5);
            let (x, image) = (m.input(&[9, 7]), m.input(&[1, 5, 9, columns]));
            let (w, taps) = (m.constant(1, &[7, columns]), m.constant(2, &[3, 3, 1, columns]));
            let (b, c) = (m.constant(3, &[columns]), m.constant(4, &[columns]));
            let (r, s) = (m.input(&[9, columns]), m.input(&[9, columns]));
            let (r3, s3) = (m.input(&[1, 3, 7, columns]), m.input(&[1, 3, 7, columns]));
            let dot = Op::Dot { trans_a: false, trans_b: false, epilogue: body(&text).expect("the test's body") };
            let y = m.add(dot, &[x, w, b, r, c, s]);
            let z = m.add(conv(&[1, 1], &[1, 1], columns, &text), &[image, taps, b, r3, c, s3]);
            m.check(&[y, z]);
        }
    }
}
