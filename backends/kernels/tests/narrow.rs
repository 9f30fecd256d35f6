//! Tensors of 8 and 16 bits through vector kernels on made-up machines: the kernel oracle against the graph oracle, equal to the
//! last bit, every kernel verified, and every one of them a vector kernel.

mod common;

use common::{Model, QUADS, integers};
use ir::graph::op::{Op, ReduceKind, WindowKind};
use ir::scalar::{Literal, body};
use ir::{Dtype, NodeId, Tensor};

fn model() -> Model {
    let mut model = Model::new(300.0, 0.0);
    model.more = &QUADS;
    model
}

fn map(text: &str) -> Op {
    Op::Map { body: body(text).unwrap_or_else(|e| panic!("{e}: {text}")) }
}

const SHAPES: [[usize; 3]; 6] = [[1, 1, 1], [2, 3, 1], [4, 5, 7], [2, 9, 35], [1, 1, 300], [3, 1, 64]];

/// One map over operands of these types, of every shape.
fn check(types: &[Dtype], text: &str) {
    for shape in SHAPES {
        let mut m = model();
        let operands: Vec<NodeId> = types
            .iter()
            .enumerate()
            .map(|(i, &dtype)| if dtype == Dtype::F32 { m.input(&shape) } else { m.feed(integers(i as u64 + 1, dtype, &shape)) })
            .collect();
        let y = m.add(map(text), &operands);
        m.check(&[y]);
    }
}

#[test]
fn quantization() {
    use Dtype::*;
    for (name, low, high) in [("u8", 0, 255), ("i8", -128, 127), ("u16", 0, 65535), ("i16", -32768, 32767)] {
        // true division, clamped before it is rounded, then the zero point
        let zero = if low < 0 { -3 } else { 7 };
        let text = format!(
            "{{ t0 = div(a, 0.37); t1 = max(t0, {}.0); t2 = min(t1, {}.0); t3 = round(t2); t4 = cast.i32(t3); t5 = add(t4, {zero}:i32); cast.{name}(t5) }}",
            low - zero,
            high - zero
        );
        check(&[F32], &text);
        // without bounds of its own, and the point added in floats
        check(&[F32], &format!("{{ t0 = div(a, 0.37); t1 = round(t0); t2 = add(t1, {zero}.0); cast.{name}(t2) }}"));
        check(&[F32], &format!("{{ cast.{name}(a) }}"));
    }
    check(&[U8], "{ t0 = cast.i32(a); t1 = sub(t0, 128:i32); t2 = cast.f32(t1); mul(t2, 0.03) }");
    check(&[I8], "{ t0 = cast.f32(a); mul(t0, 0.03) }");
    check(&[I16, U16], "{ t0 = cast.f32(a); t1 = cast.f32(b); mul(t0, t1) }");
}

#[test]
fn arithmetic_between_quantized_tensors() {
    use Dtype::*;
    check(
        &[U8, U8],
        "{ t0 = cast.f32(a); t1 = cast.f32(b); t2 = mul(t0, 0.75); t3 = mul(t1, 0.25); t4 = add(t2, t3); t5 = max(t4, 0.0); t6 = min(t5, 255.0); t7 = round(t6); cast.u8(t7) }",
    );
    check(
        &[U8, I8],
        "{ t0 = cast.i32(a); t1 = sub(t0, 100:i32); t2 = cast.i32(b); t3 = mul(t1, t2); t4 = cast.f32(t3); t5 = mul(t4, 0.011); t6 = max(t5, -128.0); t7 = min(t6, 127.0); t8 = round(t7); cast.i8(t8) }",
    );
    check(&[I8, I32], "{ t0 = cast.i32(a); t1 = add(t0, b); cast.i8(t1) }");
}

#[test]
fn integers_wrap_as_their_type_does() {
    use Dtype::*;
    for dtype in [U8, I8, U16, I16] {
        for text in [
            "{ add(a, b) }",
            "{ sub(a, b) }",
            "{ mul(a, b) }",
            "{ min(a, b) }",
            "{ max(a, b) }",
            "{ bit_and(a, b) }",
            "{ bit_or(a, b) }",
            "{ t0 = bit_xor(a, b); bit_not(t0) }",
            "{ t0 = neg(a); add(t0, b) }",
            "{ t0 = abs(a); sub(b, t0) }",
            "{ t0 = le(a, b); select(t0, a, b) }",
            "{ t0 = add(a, b); t1 = cast.u8(t0); t2 = cast.i8(t1); t3 = cast.i16(t2); cast.u16(t3) }",
            "{ t0 = cast.i32(a); t1 = cast.i32(b); t2 = mul(t0, t1); t3 = add(t2, 2000000000:i32); t4 = cast.u8(t3); cast.f32(t4) }",
        ] {
            check(&[dtype, dtype], text);
        }
        let name = dtype.name();
        check(&[dtype], &format!("{{ shl(a, 3:{name}) }}"));
        check(&[dtype], &format!("{{ shr(a, 3:{name}) }}"));
    }
    check(&[U8], "{ bits.i8(a) }");
    check(&[I8], "{ t0 = bits.u8(a); add(t0, 128:u8) }");
}

#[test]
fn bools_are_bytes() {
    use Dtype::*;
    check(&[F32, F32], "{ lt(a, b) }");
    check(&[U8, U8], "{ t0 = eq(a, b); not(t0) }");
    check(&[Bool, Bool], "{ t0 = and(a, b); xor(t0, a) }");
    check(&[Bool, F32, F32], "{ select(a, b, c) }");
    check(&[Bool], "{ cast.f32(a) }");
    check(&[F32], "{ cast.bool(a) }");
    check(&[Bool, Bool], "{ ne(a, b) }");
    check(&[I8], "{ t0 = cast.bool(a); cast.i32(t0) }");
}

#[test]
fn what_is_no_number_becomes_zero() {
    let values: Vec<f32> = (0..97).map(|i| [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e20, -1e20, -0.0, 254.5, 2.5][i % 8]).collect();
    for text in ["{ cast.u8(a) }", "{ cast.i8(a) }", "{ cast.i16(a) }", "{ cast.i32(a) }", "{ t0 = round(a); cast.u8(t0) }"] {
        let mut m = model();
        let x = m.feed(Tensor::f32s(&[97], &values));
        let y = m.add(map(text), &[x]);
        m.check(&[y]);
    }
}

#[test]
fn operands_of_all_widths_broadcast() {
    use Dtype::*;
    for shape in [[4, 5, 7], [2, 9, 35], [3, 4, 64], [6, 1, 16]] {
        for small in [[1, 1, shape[2]], [shape[0], shape[1], 1], [1, 1, 1], [shape[0], 1, shape[2]]] {
            let mut m = model();
            let (a, b) = (m.feed(integers(1, U8, &shape)), m.feed(integers(2, I8, &small)));
            let (c, d) = (m.fixed(integers(3, U8, &small)), m.constant(4, &small));
            let text = "{ t0 = cast.i32(a); t1 = cast.i32(b); t2 = cast.i32(c); t3 = add(t0, t1); t4 = mul(t3, t2); t5 = cast.f32(t4); t6 = mul(t5, d); t7 = max(t6, -128.0); t8 = min(t7, 127.0); t9 = round(t8); cast.i8(t9) }";
            let y = m.add(map(text), &[a, b, c, d]);
            m.check(&[y]);
        }
    }
}

/// A sum, a bias and a factor of the channel, requantized.
const REQUANTIZE: &str = "{ t0 = add(a, b); t1 = cast.f32(t0); t2 = mul(t1, c); t3 = max(t2, -7.0); t4 = min(t3, 248.0); t5 = round(t4); t6 = cast.i32(t5); t7 = add(t6, 7:i32); cast.u8(t7) }";

#[derive(Clone, Copy)]
struct Depthwise {
    size: usize,
    kernel: usize,
    stride: usize,
    channels: usize,
    types: (Dtype, Dtype),
}

fn depthwise(of: Depthwise, fill: i64, epilogue: &str, extras: impl Fn(&mut Model) -> Vec<NodeId>) {
    let Depthwise { size, kernel, stride, channels, types: (x, w) } = of;
    let mut m = model();
    let image = m.feed(integers(1, x, &[2, size, size + 1, channels]));
    let weights = m.fixed(integers(2, w, &[kernel, kernel, 1, channels]));
    let pad = kernel as i64 / 2;
    let op = Op::Conv {
        stride: vec![stride; 2],
        dilation: vec![1; 2],
        inflate: vec![1; 2],
        low: vec![pad; 2],
        high: vec![pad; 2],
        group: channels,
        fill: Literal::int(x, fill),
        epilogue: body(epilogue).expect("the test's body"),
    };
    let mut operands = vec![image, weights];
    operands.extend(extras(&mut m));
    let y = m.add(op, &operands);
    m.check(&[y]);
}

#[test]
fn depthwise_convolutions_of_bytes() {
    use Dtype::*;
    for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
        for (channels, types) in
            [(5, (U8, I8)), (16, (I8, I8)), (8, (U8, I8)), (32, (U8, I8)), (35, (U8, U8)), (100, (U8, I8)), (96, (I8, I8))]
        {
            let of = Depthwise { size: 9, kernel, stride, channels, types };
            depthwise(of, 3, "{ a }", |_| vec![]);
            // a factor of its own for each channel; a bias that floats hold, and one that they do not
            for scale in [1000, 100_000_000] {
                depthwise(of, -4, REQUANTIZE, |m| {
                    let bias: Vec<u8> = (0..channels as i32).flat_map(|i| ((i - 7) * (scale / 64)).to_le_bytes()).collect();
                    let factors: Vec<f32> = (0..channels).map(|i| 0.0007 + 0.0001 * i as f32).collect();
                    vec![m.fixed(Tensor::dense(I32, &[channels], bias)), m.fixed(Tensor::f32s(&[channels], &factors))]
                });
            }
            depthwise(of, 0, "{ t0 = cast.f32(a); t1 = mul(t0, 0.01); t2 = cast.f32(b); t3 = add(t1, t2); cast.i8(t3) }", |m| {
                vec![m.fixed(integers(7, U8, &[channels]))]
            });
        }
    }
}

fn pool(kind: WindowKind, size: &[usize], stride: usize, pad: i64, epilogue: &str) -> Op {
    let n = size.len();
    Op::Window {
        kind,
        size: size.to_vec(),
        stride: vec![stride; n],
        dilation: vec![1; n],
        low: vec![pad; n],
        high: vec![pad; n],
        epilogue: body(epilogue).expect("the test's body"),
    }
}

#[test]
fn pooling_of_bytes() {
    use Dtype::*;
    let mean = "{ t0 = cast.f32(a); t1 = mul(t0, 0.17); t2 = max(t1, -128.0); t3 = min(t2, 127.0); t4 = round(t3); cast.i8(t4) }";
    for dtype in [U8, I8] {
        for channels in [1, 3, 8, 16, 20, 35, 64, 100] {
            for (size, stride, pad) in [(2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 1, 2)] {
                let mut m = model();
                let x = m.feed(integers(1, dtype, &[2, 9, 8, channels]));
                let largest = m.add(pool(WindowKind::Max, &[size, size], stride, pad, "{ a }"), &[x]);
                let shifted = m.add(
                    pool(WindowKind::Max, &[size, size], stride, pad, "{ t0 = cast.i32(a); t1 = sub(t0, 3:i32); cast.f32(t1) }"),
                    &[x],
                );
                let sum = m.add(pool(WindowKind::Sum, &[size, size], stride, pad, mean), &[x]);
                m.check(&[largest, shifted, sum]);
            }
            let mut m = model();
            let x = m.feed(integers(1, dtype, &[1, 33, channels]));
            let y = m.add(pool(WindowKind::Max, &[3], 2, 1, "{ a }"), &[x]);
            let z = m.add(pool(WindowKind::Sum, &[3], 2, 1, "{ a }"), &[x]);
            m.check(&[y, z]);
        }
    }
}

fn reduce(kind: ReduceKind, axes: &[usize], prologue: &str, epilogue: &str) -> Op {
    let parse = |text| body(text).expect("the test's body");
    Op::Reduce { kind, axes: axes.to_vec(), prologue: parse(prologue), epilogue: parse(epilogue) }
}

#[test]
fn reductions_of_bytes() {
    use Dtype::*;
    let mean = "{ t0 = sub(a, 313:i32); t1 = cast.f32(t0); t2 = mul(t1, 0.0123); t3 = max(t2, -7.0); t4 = min(t3, 248.0); t5 = round(t4); t6 = cast.i32(t5); t7 = add(t6, 7:i32); cast.u8(t7) }";
    for dtype in [U8, I8] {
        for shape in [[1, 7, 7, 64], [2, 3, 5, 35], [1, 14, 14, 20]] {
            let mut m = model();
            let x = m.feed(integers(1, dtype, &shape));
            let global = m.add(reduce(ReduceKind::Sum, &[1, 2], "{ cast.i32(a) }", mean), &[x]);
            let largest = m.add(reduce(ReduceKind::Max, &[1, 2], "{ cast.i32(a) }", "{ cast.f32(a) }"), &[x]);
            let floats = m.add(reduce(ReduceKind::Max, &[3], "{ cast.f32(a) }", "{ t0 = round(a); cast.i8(t0) }"), &[x]);
            m.check(&[global, largest, floats]);
        }
    }
    // what a dynamic quantization wants to know, and what it does then
    let mut m = model();
    let x = m.input(&[3, 5, 47]);
    let low = m.add(reduce(ReduceKind::Min, &[0, 1, 2], "{ a }", "{ min(a, 0.0) }"), &[x]);
    let high = m.add(reduce(ReduceKind::Max, &[0, 1, 2], "{ a }", "{ max(a, 0.0) }"), &[x]);
    let scale = m.add(map("{ t0 = sub(b, a); div(t0, 255.0) }"), &[low, high]);
    let zero =
        m.add(map("{ t0 = div(a, b); t1 = neg(t0); t2 = max(t1, 0.0); t3 = min(t2, 255.0); t4 = round(t3); cast.u8(t4) }"), &[low, scale]);
    let text = "{ t0 = div(a, b); t1 = round(t0); t2 = cast.f32(c); t3 = add(t1, t2); t4 = max(t3, 0.0); t5 = min(t4, 255.0); t6 = cast.i32(t5); cast.u8(t6) }";
    let y = m.add(map(text), &[x, scale, zero]);
    m.check(&[zero, y]);
}

#[test]
fn whatever_a_byte_becomes_is_looked_up() {
    use Dtype::*;
    let gelu = "{ t0 = cast.f32(a); t1 = sub(t0, 121.0); t2 = mul(t1, 0.031); t3 = mul(t2, 0.70710677); t4 = erf(t3); t5 = add(t4, 1.0); t6 = mul(t2, t5); t7 = mul(t6, 20.0); t8 = max(t7, -9.0); t9 = min(t8, 246.0); t10 = round(t9); t11 = cast.i32(t10); t12 = add(t11, 9:i32); cast.u8(t12) }";
    let sigmoid = "{ t0 = cast.f32(a); t1 = mul(t0, 0.05); t2 = sigmoid(t1); t3 = mul(t2, 255.0); t4 = round(t3); t5 = cast.i32(t4); t6 = sub(t5, 128:i32); cast.i8(t6) }";
    for (dtype, text) in [(U8, gelu), (I8, sigmoid)] {
        check(&[dtype], text);
        for shape in [[1, 1, 1000], [3, 5, 130], [2, 2, 63], [1, 4, 3]] {
            let mut m = model();
            let x = m.feed(integers(1, dtype, &shape));
            let once = m.add(map(text), &[x]);
            // over its own operand, and with a constant
            let other = if once == x { x } else { once };
            let add = format!(
                "{{ t0 = cast.i32(a); t1 = cast.i32(b); t2 = add(t0, t1); t3 = cast.f32(t2); t4 = tanh(t3); t5 = exp(t4); t6 = round(t5); cast.{}(t6) }}",
                dtype.name()
            );
            let three = m.fixed(integers(5, U8, &[1]));
            let twice = m.add(map(&add), &[other, three]);
            m.check(&[twice]);
        }
    }
}

#[test]
fn bytes_before_a_softmax() {
    use Dtype::*;
    for (shape, axis) in [([2, 3, 40], 2), ([2, 5, 7], 1), ([1, 1, 1000], 2), ([4, 6, 3], 2)] {
        let mut m = Model::new(2.0, 1e-5);
        // bytes of short rows are not gathered
        m.mixed = shape[axis] < 8;
        let x = m.feed(integers(1, U8, &shape));
        let prologue = body("{ t0 = cast.f32(a); t1 = sub(t0, 128.0); mul(t1, 0.05) }").expect("the test's body");
        let y = m.add(Op::Softmax { axis, log: false, prologue, epilogue: ir::Body::identity() }, &[x]);
        m.check(&[y]);
    }
}

/// A row of scratch holds what the result cannot.
#[test]
fn bytes_on_both_sides_of_softmax_and_norm() {
    use Dtype::*;
    let parse = |text: &str| body(text).expect("the test's body");
    for (shape, axis) in [([2, 3, 40], 2), ([2, 5, 7], 1), ([1, 1, 1000], 2), ([3, 2, 64], 0), ([1, 6, 17], 2)] {
        let prologue = parse("{ t0 = cast.f32(a); t1 = sub(t0, 128.0); mul(t1, 0.0625) }");
        for from in [U8, I8, U16] {
            for log in [false, true] {
                // sums in another order move a result to the next step
                let mut m = Model::new(2.0, 0.0);
                m.steps = 1;
                m.mixed = shape[axis] < 8;
                let x = m.feed(integers(1, from, &shape));
                let low = if log { "-12.0" } else { "0.0" };
                let epilogue = parse(&format!(
                    "{{ t0 = mul(a, 255.0); t1 = max(t0, {low}); t2 = min(t1, 255.0); t3 = round(t2); t4 = cast.i32(t3); t5 = add(t4, 12:i32); cast.i16(t5) }}"
                ));
                let y = m.add(Op::Softmax { axis, log, prologue: prologue.clone(), epilogue }, &[x]);
                m.check(&[y]);
            }
            for center in [false, true] {
                let mut m = Model::new(2.0, 0.0);
                m.steps = 1;
                let x = m.feed(integers(1, from, &shape));
                let scale = m.input(&[shape[2]]);
                let epilogue = parse(
                    "{ t0 = mul(a, b); t1 = div(t0, 0.03125); t2 = max(t1, -128.0); t3 = min(t2, 127.0); t4 = round(t3); t5 = cast.i32(t4); cast.i8(t5) }",
                );
                let op = Op::Norm { axes: vec![axis], epsilon: ir::graph::op::Real(1e-5), center, prologue: prologue.clone(), epilogue };
                let y = m.add(op, &[x, scale]);
                m.check(&[y]);
            }
        }
    }
}

/// An epilogue of floats with an operand of its own.
#[test]
fn softmax_with_an_epilogue() {
    let parse = |text: &str| body(text).expect("the test's body");
    for (shape, axis) in [([2, 3, 40], 2), ([2, 5, 7], 1), ([4, 6, 3], 2)] {
        let mut m = Model::new(2.0, 1e-5);
        let (x, other) = (m.input(&shape), m.input(&shape));
        let op = Op::Softmax { axis, log: false, prologue: parse("{ mul(a, 0.5) }"), epilogue: parse("{ t0 = mul(a, b); exp(t0) }") };
        let y = m.add(op, &[x, other]);
        m.check(&[y]);
    }
}
