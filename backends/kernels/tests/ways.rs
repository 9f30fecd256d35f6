//! Products and convolutions of bytes on machines that have one instruction for them, another, or several: every way gives
//! the sums that the graph says, to the bit.

mod common;

use common::{ENGINE, LANES, Model, SHORT, integers};
use ir::graph::op::Op;
use ir::kernel::Facts;
use ir::kernel::facts::Menu;
use ir::scalar::{Body, Literal, body};
use ir::{Dtype, NodeId, Tensor};

/// Products of 16 bits; then four at once; then matrices.
fn lanes() -> [Facts; 4] {
    let menu = Menu { long8: true, widen8: true, ..LANES.menu };
    let plain = Facts { name: "long products", menu, ..LANES };
    let four = Facts { name: "four products", menu: Menu { dot4_s8s8: true, ..menu }, ..LANES };
    let matrices = Facts { name: "matrices", menu: Menu { matrix8: true, ..four.menu }, ..LANES };
    let short = Facts { name: "matrices, short addresses", menu: matrices.menu, ..SHORT };
    [plain, four, matrices, short]
}

/// Each for itself, and those that share weights like the plainest and like the best; and an engine.
fn machines() -> Vec<(Facts, Facts)> {
    let [plain, four, matrices, short] = lanes();
    let engine = Facts { name: "engine", menu: Menu { pair16: true, widen8: true, ..ENGINE.menu }, ..ENGINE };
    let alone = [&plain, &four, &matrices, &short, &engine].map(|facts| (facts.clone(), facts.clone()));
    let shared = [(&four, &plain), (&matrices, &plain), (&plain, &matrices)].map(|(facts, packing)| (facts.clone(), packing.clone()));
    alone.into_iter().chain(shared).collect()
}

fn check(model: Model, outputs: &[NodeId]) {
    model.check_on(outputs, machines());
}

/// Weights with -128 among them, or not.
fn weights(seed: u64, shape: &[usize], least: bool) -> Tensor {
    let all = integers(seed, Dtype::I8, shape);
    if least {
        return all;
    }
    let bytes: Vec<u8> = all.bytes().iter().map(|&b| if b == 0x80 { 0x81 } else { b }).collect();
    Tensor::dense(Dtype::I8, shape, bytes)
}

/// Bias, scale of each column, bounds, rounding, zero point: what a quantized product ends with.
const REQUANTIZE: &str = "{ t0 = add(a, b); t1 = cast.f32(t0); t2 = mul(t1, c); t3 = max(t2, -100.0); t4 = min(t3, 155.0); t5 = round(t4); t6 = add(t5, 100.0); cast.u8(t6) }";

fn scales(n: usize) -> Tensor {
    Tensor::f32s(&[n], &(0..n).map(|i| 0.0007 + i as f32 * 0.00003).collect::<Vec<_>>())
}

fn dot(m: usize, k: usize, n: usize, left: Dtype, least: bool, epilogue: &str) {
    let mut model = Model::new(1.0, 0.0);
    let x = model.feed(integers(k as u64, left, &[m, k]));
    let w = model.fixed(weights(n as u64, &[k, n], least));
    let mut operands = vec![x, w];
    if !epilogue.is_empty() {
        operands.push(model.fixed(Tensor::dense(
            Dtype::I32,
            &[n],
            (0..n as i32).flat_map(|i| (i * 997 - 5000).to_le_bytes()).collect::<Vec<_>>(),
        )));
        operands.push(model.fixed(scales(n)));
    }
    let epilogue = if epilogue.is_empty() { Body::identity() } else { body(epilogue).expect("the test's body") };
    let y = model.add(Op::Dot { trans_a: false, trans_b: false, epilogue }, &operands);
    check(model, &[y]);
}

#[test]
fn products_of_all_shapes_and_signs() {
    for (m, k, n) in [(1, 4, 4), (1, 64, 40), (2, 33, 9), (3, 8, 17), (5, 70, 33), (8, 16, 8), (13, 72, 20), (7, 19, 1), (12, 37, 24)] {
        for (left, least) in [(Dtype::U8, false), (Dtype::U8, true), (Dtype::I8, true), (Dtype::I8, false)] {
            dot(m, k, n, left, least, "");
        }
    }
}

#[test]
fn requantized_products() {
    for (m, k, n) in [(1, 32, 24), (4, 21, 7), (9, 64, 32), (6, 12, 19)] {
        for left in [Dtype::U8, Dtype::I8] {
            dot(m, k, n, left, false, REQUANTIZE);
        }
    }
}

#[test]
fn quantized_convolutions() {
    for (size, kernel, stride, channels, filters, group) in
        [(7, 3, 1, 8, 12, 1), (8, 3, 2, 3, 16, 1), (6, 1, 1, 20, 9, 1), (5, 5, 1, 5, 7, 1), (6, 3, 1, 8, 8, 2), (9, 3, 1, 16, 16, 1)]
    {
        for left in [Dtype::U8, Dtype::I8] {
            let mut model = Model::new(1.0, 0.0);
            let x = model.feed(integers(9, left, &[1, size, size, channels]));
            let w = model.fixed(weights(3, &[kernel, kernel, channels / group, filters], false));
            let bias = model.fixed(Tensor::dense(
                Dtype::I32,
                &[filters],
                (0..filters as i32).flat_map(|i| (i * 31).to_le_bytes()).collect::<Vec<_>>(),
            ));
            let scale = model.fixed(scales(filters));
            let pad = vec![kernel as i64 / 2; 2];
            let op = Op::Conv {
                stride: vec![stride; 2],
                dilation: vec![1; 2],
                inflate: vec![1; 2],
                low: pad.clone(),
                high: pad,
                group,
                fill: Literal::int(left, 7),
                epilogue: body(REQUANTIZE).expect("the test's body"),
            };
            let y = model.add(op, &[x, w, bias, scale]);
            check(model, &[y]);
        }
    }
}
