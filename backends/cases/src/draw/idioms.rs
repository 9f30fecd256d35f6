//! What exporters write again and again, in separate operators: a softmax, a normalization, padding before a convolution,
//! flattening before a product, scales around it, concatenations within each other. Drawn, so that rules which look for them fire.

use ir::graph::op::{Op, PadMode, ReduceKind};
use ir::scalar::Literal;
use ir::{Body, Dtype, NodeId, dim};

use super::Drawing;

/// Adds one of them over f32 values that are there.
pub fn step(d: &mut Drawing) -> Option<NodeId> {
    let x = d.value(|d, v| d.dtype(v) == Dtype::F32 && !d.sizes(v).contains(&0) && !d.sizes(v).is_empty())?;
    match d.dice.below(6) {
        0 => softmax(d, x),
        1 => norm(d, x),
        2 => padded(d, x),
        3 => flattened(d, x),
        4 => scaled(d, x),
        _ => joined(d, x),
    }
}

fn map(d: &mut Drawing, text: &str, operands: &[NodeId]) -> Option<NodeId> {
    let body = ir::scalar::body(text).expect(text);
    d.add(Op::Map { body }, operands)
}

fn reduce(d: &mut Drawing, kind: ReduceKind, axes: &[usize], x: NodeId) -> Option<NodeId> {
    d.add(Op::Reduce { kind, axes: axes.to_vec(), prologue: Body::identity(), epilogue: Body::identity() }, &[x])
}

fn softmax(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let axis = d.dice.below(d.sizes(x).len());
    let most = reduce(d, ReduceKind::Max, &[axis], x)?;
    let apart = map(d, "{ sub(a, b) }", &[x, most])?;
    let shares = map(d, "{ exp(a) }", &[apart])?;
    let sum = reduce(d, ReduceKind::Sum, &[axis], shares)?;
    map(d, "{ div(a, b) }", &[shares, sum])
}

fn norm(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let axis = d.sizes(x).len() - 1;
    let mean = reduce(d, ReduceKind::Mean, &[axis], x)?;
    let apart = map(d, "{ sub(a, b) }", &[x, mean])?;
    let square = map(d, "{ pow(a, 2.0) }", &[apart])?;
    let variance = reduce(d, ReduceKind::Mean, &[axis], square)?;
    let root = map(d, "{ t0 = add(a, 0.25); sqrt(t0) }", &[variance])?;
    let width = d.sizes(x)[axis];
    let scale = d.constant(Dtype::F32, &[width]);
    let made = map(d, "{ div(a, b) }", &[apart, root])?;
    map(d, "{ mul(a, b) }", &[made, scale])
}

fn padded(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let shape = d.sizes(x);
    if shape.len() != 4 {
        return None;
    }
    let low = dim::dims(&[0, 1, 2, 0]);
    let padded = d.add(Op::Pad { low, high: dim::dims(&[0, 1, 0, 0]), mode: PadMode::Constant, value: Literal::f32(0.0) }, &[x])?;
    let w = d.constant(Dtype::F32, &[3, 3, shape[3], 5]);
    let pads = vec![0; 2];
    let ones = || vec![1; 2];
    let op = Op::Conv {
        stride: ones(),
        dilation: ones(),
        inflate: ones(),
        low: pads.clone(),
        high: pads,
        group: 1,
        fill: Literal::f32(0.0),
        epilogue: Body::identity(),
    };
    d.add(op, &[padded, w])
}

/// `[n, spatial.., c]` as an exporter flattens it: channels first.
fn flattened(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let shape = d.sizes(x);
    if shape.len() != 4 {
        return None;
    }
    let first = d.add(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[x])?;
    let width = shape[1..].iter().product();
    let flat = d.add(Op::Reshape { shape: dim::dims(&[shape[0], width]) }, &[first])?;
    let w = d.constant(Dtype::F32, &[width, 3]);
    d.add(Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() }, &[flat, w])
}

fn scaled(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let shape = d.sizes(x);
    if shape.len() < 2 {
        return None;
    }
    let small = map(d, "{ mul(a, 0.125) }", &[x])?;
    let w = d.constant(Dtype::F32, &[shape[shape.len() - 1], 4]);
    let made = d.add(Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() }, &[small, w])?;
    map(d, "{ mul(a, 3.0) }", &[made])
}

fn joined(d: &mut Drawing, x: NodeId) -> Option<NodeId> {
    let axis = d.dice.below(d.sizes(x).len());
    let other = d.constant(Dtype::F32, &d.sizes(x));
    let twice = d.add(Op::Concat { axis }, &[x, other])?;
    let thrice = d.add(Op::Concat { axis }, &[twice, x])?;
    map(d, "{ max(a, 0.0) }", &[thrice])
}
