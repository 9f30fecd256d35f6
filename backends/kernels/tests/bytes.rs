//! Products and convolutions of bytes on made-up machines: the kernel oracle against the graph oracle, equal to the last bit,
//! every kernel verified, and every one of them a vector kernel.

mod common;

use common::{MULTIPLIERS, Model, integers};
use ir::graph::op::Op;
use ir::scalar::{Literal, body};
use ir::{Dtype, NodeId, Tensor};

const REQUANTIZE: &str = "{ t0 = add(a, b); t1 = cast.f32(t0); t2 = mul(t1, c); t3 = max(t2, -3.0); t4 = min(t3, 252.0); t5 = round(t4); \
                          t6 = cast.i32(t5); t7 = add(t6, 3:i32); cast.u8(t7) }";

/// Weights in -most..=most.
fn weights(seed: u64, dtype: Dtype, shape: &[usize], most: i32) -> Tensor {
    let all = integers(seed, dtype, shape);
    if most == 128 {
        return all;
    }
    let small = |b: &u8| ((*b as i8 as i32) % (most + 1)) as u8;
    Tensor::dense(dtype, shape, all.bytes().iter().map(small).collect::<Vec<u8>>())
}

/// A bias and a factor for each column.
fn scales(m: &mut Model, n: usize) -> Vec<NodeId> {
    let bias: Vec<u8> = (0..n as i32).flat_map(|i| ((i - 7) * 1000).to_le_bytes()).collect();
    let factors: Vec<f32> = (0..n).map(|i| 0.0007 + 0.0001 * i as f32).collect();
    vec![m.fixed(Tensor::dense(Dtype::I32, &[n], bias)), m.fixed(Tensor::f32s(&[n], &factors))]
}

/// Each machine for itself, and the narrow one like the wide one.
fn check(m: Model, y: NodeId) {
    let [dots, pairs, wide, lanes] = MULTIPLIERS;
    let own = [&dots, &pairs, &wide, &lanes].map(|facts| (facts.clone(), facts.clone()));
    m.check_on(&[y], own.into_iter().chain([(pairs, dots.clone()), (wide, dots)]));
}

fn dot([rows, k, n]: [usize; 3], (a, b): (Dtype, Dtype), most: i32, epilogue: &str, extras: impl Fn(&mut Model) -> Vec<NodeId>) {
    let mut m = Model::new(300.0, 0.0);
    let x = m.feed(integers(1, a, &[rows, k]));
    let w = m.fixed(weights(2, b, &[k, n], most));
    let mut operands = vec![x, w];
    operands.extend(extras(&mut m));
    let y = m.add(Op::Dot { trans_a: false, trans_b: false, epilogue: body(epilogue).expect("the test's body") }, &operands);
    check(m, y);
}

#[test]
fn products_of_every_size() {
    use Dtype::*;
    for shape in [[1, 4, 16], [1, 33, 70], [2, 5, 1], [5, 7, 9], [13, 16, 100], [29, 102, 33], [40, 257, 64]] {
        for a in [U8, I8] {
            dot(shape, (a, I8), 128, "{ a }", |_| vec![]);
            dot(shape, (a, I8), 128, REQUANTIZE, |m| scales(m, shape[2]));
        }
    }
}

#[test]
fn pairs_that_fit_are_added_before_they_are_widened() {
    use Dtype::*;
    for most in [16, 32, 64, 127] {
        for k in [8, 21, 66] {
            dot([7, k, 40], (U8, I8), most, "{ a }", |_| vec![]);
            dot([7, k, 40], (I8, I8), most, REQUANTIZE, |m| scales(m, 40));
        }
    }
}

#[test]
fn operands_of_the_epilogue_are_of_any_type() {
    use Dtype::*;
    let residual = "{ t0 = cast.f32(a); t1 = mul(t0, 0.01); t2 = cast.f32(b); t3 = add(t1, t2); cast.i8(t3) }";
    dot([7, 30, 40], (U8, I8), 128, residual, |m| vec![m.feed(integers(5, U8, &[7, 40]))]);
    dot([7, 30, 40], (I8, I8), 128, residual, |m| vec![m.feed(integers(5, I8, &[7, 1]))]);
    dot([7, 30, 40], (I8, I8), 128, residual, |m| vec![m.fixed(integers(5, I8, &[40]))]);
    // twice the bias, and one value for all
    dot([7, 30, 40], (I8, I8), 128, "{ t0 = add(a, b); t1 = mul(t0, b); add(t1, c) }", |m| {
        vec![m.fixed(integers(5, I32, &[40])), m.fixed(Tensor::dense(I32, &[1], 77i32.to_le_bytes().to_vec()))]
    });
}

/// Size, kernel, stride, dilation, channels, filters, groups.
fn conv(of: [usize; 7], types: (Dtype, Dtype), fill: i64, epilogue: &str) {
    let [size, kernel, stride, dilation, channels, filters, group] = of;
    let mut m = Model::new(300.0, 0.0);
    let x = m.feed(integers(1, types.0, &[2, size, size + 1, channels]));
    let w = m.fixed(integers(2, types.1, &[kernel, kernel, channels / group, filters]));
    let pad = (dilation * (kernel - 1) / 2) as i64;
    let op = Op::Conv {
        stride: vec![stride; 2],
        dilation: vec![dilation; 2],
        inflate: vec![1; 2],
        low: vec![pad; 2],
        high: vec![pad; 2],
        group,
        fill: Literal::int(types.0, fill),
        epilogue: body(epilogue).expect("the test's body"),
    };
    let mut operands = vec![x, w];
    if epilogue != "{ a }" {
        operands.extend(scales(&mut m, filters));
    }
    let y = m.add(op, &operands);
    check(m, y);
}

#[test]
fn convolutions_of_every_shape() {
    use Dtype::*;
    for (types, fill) in [((U8, I8), 7), ((I8, I8), -128), ((I8, I8), 0)] {
        for of in [
            [8, 3, 1, 1, 3, 20, 1],
            [9, 3, 2, 1, 3, 32, 1],
            [7, 3, 1, 1, 16, 33, 1],
            [7, 3, 1, 2, 6, 9, 1],
            [6, 1, 1, 1, 21, 40, 1],
            [6, 1, 2, 1, 8, 16, 1],
            [7, 3, 1, 1, 12, 24, 3],
            [9, 5, 1, 1, 1, 17, 1],
        ] {
            conv(of, types, fill, "{ a }");
            conv(of, types, fill, REQUANTIZE);
        }
    }
}
