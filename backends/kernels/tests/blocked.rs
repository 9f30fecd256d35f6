//! Products with weights in blocks on made-up machines, against the graph oracle: every number of bits, signed and unsigned, with and
//! without zero points, blocks that K is no multiple of, any number of rows; and that they stay packed.

mod common;

use common::{MACHINES, Model, NARROW, WIDE, integers, numbers};
use ir::graph::op::Op;
use ir::scalar::body;
use ir::{Dtype, NodeId, Tensor};

/// What a product is drawn from.
struct Draw {
    rows: usize,
    k: usize,
    n: usize,
    block: usize,
    storage: Dtype,
    zeros: bool,
    turned: bool,
}

/// Numbers of the type, of any kind.
fn storage(seed: u64, dtype: Dtype, shape: &[usize]) -> Tensor {
    let (low, high) = dtype.int_range().expect("it is an integer");
    let span = (high - low + 1) as i64;
    let bytes = integers(seed, Dtype::U8, shape).to_i64s().iter().map(|v| (v % span + low as i64) as u8).collect::<Vec<_>>();
    Tensor::dense(dtype, shape, bytes)
}

/// The product's weights behind a `dequantize`.
fn weights(m: &mut Model, draw: &Draw) -> NodeId {
    let &Draw { k, n, block, storage: dtype, zeros, turned, .. } = draw;
    let pick = |k: usize| if turned { [n, k] } else { [k, n] };
    let scales = match block {
        0 => vec![n],
        _ => pick(k.div_ceil(block)).to_vec(),
    };
    let middle = if dtype.is_unsigned_int() { 1u8 << (dtype.bits() - 1) } else { 0 };
    let zero = if zeros { storage(5, dtype, &scales) } else { Tensor::splat(dtype, &scales, &[middle]) };
    let (numbers, scale) = (m.fixed(storage(3, dtype, &pick(k))), m.fixed(numbers(4, &scales, 0.1)));
    let zero = m.fixed(zero);
    // one scale for each column lies along the other axis
    let axis = usize::from(turned != (block == 0));
    m.add(Op::Dequantize { axis, block }, &[numbers, scale, zero])
}

fn check(draw: &Draw) {
    // sums of a block are scaled once: rounded otherwise than the oracle's
    let mut m = Model::new(1.0, 2e-5);
    let x = m.input(&[draw.rows, draw.k]);
    let (w, b) = (weights(&mut m, draw), m.constant(9, &[draw.n]));
    let epilogue = body("{ t0 = add(a, b); t1 = sigmoid(t0); mul(t0, t1) }").expect("the test's body");
    let y = m.add(Op::Dot { trans_a: false, trans_b: draw.turned, epilogue }, &[x, w, b]);
    m.check(&[y]);
}

#[test]
fn blocks_of_every_kind() {
    let types = [Dtype::U4, Dtype::I4, Dtype::U8, Dtype::I8, Dtype::U2, Dtype::I2];
    for (i, (rows, k, n, block)) in
        [(1, 96, 80, 32), (2, 100, 9, 32), (5, 64, 33, 16), (13, 48, 100, 0), (1, 50, 130, 16), (3, 40, 16, 64), (9, 19, 7, 128)]
            .into_iter()
            .enumerate()
    {
        for storage in types {
            for zeros in [false, true] {
                check(&Draw { rows, k, n, block, storage, zeros, turned: i % 2 == 0 });
            }
        }
    }
}

#[test]
fn many_rows() {
    check(&Draw { rows: 70, k: 64, n: 72, block: 32, storage: Dtype::U4, zeros: false, turned: true });
    check(&Draw { rows: 40, k: 70, n: 200, block: 32, storage: Dtype::U4, zeros: true, turned: true });
}

#[test]
fn packed_weights_take_what_their_bits_and_scales_do() {
    for facts in MACHINES {
        let mut m = Model::new(1.0, 2e-5);
        let draw = Draw { rows: 1, k: 256, n: 128, block: 32, storage: Dtype::U4, zeros: false, turned: true };
        let (x, w) = (m.input(&[1, 256]), weights(&mut m, &draw));
        let y = m.add(Op::Dot { trans_a: false, trans_b: true, epilogue: body("{ a }").expect("a body") }, &[x, w]);
        let bytes: u64 = m.lower(&[y], &facts, &facts).constants.iter().map(|c| c.bytes()).sum();
        // and what elements of the row are divided by
        assert_eq!(bytes, 256 * 128 / 2 + 8 * 128 * 4 + 64, "on the machine `{}`", facts.name);
    }
}

#[test]
fn levels_share_packed_weights() {
    let constants = |facts, packing| {
        let mut m = Model::new(1.0, 2e-5);
        let draw = Draw { rows: 1, k: 70, n: 90, block: 16, storage: Dtype::U4, zeros: true, turned: true };
        let (x, w) = (m.input(&[1, 70]), weights(&mut m, &draw));
        let y = m.add(Op::Dot { trans_a: false, trans_b: true, epilogue: body("{ a }").expect("a body") }, &[x, w]);
        m.lower(&[y], facts, packing).constants.iter().map(|c| c.to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(constants(&WIDE, &WIDE), constants(&NARROW, &WIDE));
}
