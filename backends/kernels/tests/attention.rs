//! Attention on every machine against the graph oracle: sizes around those of blocks and vectors, layouts as models have
//! them, masks of every kind, rows that see nothing, and numbers that are none.

mod common;

use common::{Model, numbers};
use ir::graph::op::Op;
use ir::scalar::body;
use ir::{Dim, NodeId, Tensor};

fn attention(causal: Option<i64>, guarded: bool, prologue: &str) -> Op {
    Op::Attention { causal: causal.map(Dim::from), guarded, prologue: body(prologue).expect("the test's body") }
}

fn model() -> Model {
    Model::new(1.0, 1e-5)
}

/// `[b, s, h * d]` as `[b, h, s, d]`.
fn heads(m: &mut Model, b: usize, s: usize, h: usize, d: usize) -> NodeId {
    let x = m.input(&[b, s, h, d]);
    m.add(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[x])
}

#[test]
fn sizes_around_blocks_and_vectors() {
    for (s, t, d, e) in [(1, 1, 1, 1), (1, 19, 8, 5), (5, 3, 4, 16), (16, 16, 3, 7), (33, 20, 16, 16), (67, 35, 5, 40), (40, 130, 7, 3)] {
        let mut m = model();
        let (q, k, v) = (m.input(&[s, d]), m.input(&[t, d]), m.input(&[t, e]));
        let plain = m.add(attention(None, false, "{ a }"), &[q, k, v]);
        let scaled = m.add(attention(None, true, "{ mul(a, 0.25) }"), &[q, k, v]);
        let causal = m.add(attention(Some(t as i64 - s as i64), true, "{ mul(a, 3.0) }"), &[q, k, v]);
        m.check(&[plain, scaled, causal]);
    }
}

#[test]
fn heads_side_by_side() {
    let mut m = model();
    let (b, s, t, h, d) = (2, 21, 18, 3, 8);
    let (q, k, v) = (heads(&mut m, b, s, h, d), heads(&mut m, b, t, h, d), heads(&mut m, b, t, h, d));
    let mask = m.input(&[b, 1, 1, t]);
    let made = m.add(attention(None, false, "{ t0 = mul(a, 0.125); add(t0, b) }"), &[q, k, v, mask]);
    let back = m.add(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[made]);
    let wide = m.add(Op::Reshape { shape: [b, s, h * d].map(Dim::from).to_vec() }, &[back]);
    m.check(&[wide]);
}

#[test]
fn several_heads_share_keys() {
    let mut m = model();
    let (q, k, v) = (m.input(&[2, 2, 3, 7, 6]), m.input(&[2, 2, 1, 11, 6]), m.input(&[2, 2, 1, 11, 5]));
    let capped = m.add(attention(Some(4), false, "{ t0 = div(a, 2.0); t1 = tanh(t0); mul(t1, 2.0) }"), &[q, k, v]);
    m.check(&[capped]);
}

#[test]
fn masks_of_every_shape() {
    let (h, s, t, d) = (2, 19, 23, 4);
    for shape in [vec![t], vec![s, t], vec![h, 1, t], vec![h, s, t], vec![s, 1], vec![1, 1]] {
        let mut m = model();
        let (q, k, v) = (m.input(&[h, s, d]), m.input(&[h, t, d]), m.input(&[h, t, d]));
        let given = m.input(&shape);
        let known = m.constant(3, &shape);
        let one = m.add(attention(None, false, "{ add(a, b) }"), &[q, k, v, given]);
        let two = m.add(attention(None, false, "{ t0 = mul(a, c); add(t0, b) }"), &[q, k, v, known, given]);
        m.check(&[one, two]);
    }
}

#[test]
fn rows_that_see_nothing() {
    let inf = f32::INFINITY;
    let mut mask = vec![0.0f32; 5 * 20];
    mask[20..40].fill(-inf);
    mask[60..79].fill(-inf);
    for guarded in [false, true] {
        let mut m = model();
        let (q, k, v) = (m.input(&[5, 8]), m.input(&[20, 8]), m.input(&[20, 3]));
        let hidden = m.feed(Tensor::f32s(&[5, 20], &mask));
        let masked = m.add(attention(None, guarded, "{ add(a, b) }"), &[q, k, v, hidden]);
        let early = m.add(attention(Some(-2), guarded, "{ a }"), &[q, k, v]);
        let never = m.add(attention(Some(-100), guarded, "{ a }"), &[q, k, v]);
        m.check(&[masked, early, never]);
    }
}

#[test]
fn numbers_that_are_none() {
    let inf = f32::INFINITY;
    let mut queries = numbers(4, &[6, 9], 1.0).to_f32s();
    queries[9..18].fill(f32::NAN);
    queries[20] = inf;
    queries[27..36].fill(1e30);
    let mut m = model();
    let q = m.feed(Tensor::f32s(&[6, 9], &queries));
    let (k, v) = (m.input(&[17, 9]), m.input(&[17, 9]));
    let made = m.add(attention(None, false, "{ mul(a, 0.5) }"), &[q, k, v]);
    m.check(&[made]);
}

#[test]
fn values_that_do_not_lie_side_by_side() {
    let mut m = model();
    let (q, k, v) = (m.input(&[9, 6]), m.input(&[6, 13]), m.input(&[5, 13]));
    let (k, v) = (m.add(Op::Transpose { perm: vec![1, 0] }, &[k]), m.add(Op::Transpose { perm: vec![1, 0] }, &[v]));
    let made = m.add(attention(None, false, "{ a }"), &[q, k, v]);
    m.check(&[made]);
}
