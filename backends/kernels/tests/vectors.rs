//! Maps, reductions, softmax, norms, pooling and enlarging on made-up machines: the kernel oracle against the
//! graph oracle, every kernel verified, and every one of them a vector kernel. Shapes are chosen for what breaks:
//! partial vectors, axes of one element, rows shorter than a vector, results inside others, bodies too wide.

mod common;

use common::{Model, numbers};
use ir::graph::op::{Coordinate, Op, Real, ReduceKind, ResizeMode, WindowKind};
use ir::scalar::{Body, body};
use ir::{NodeId, Tensor};
use proptest::prelude::*;

fn model() -> Model {
    Model::new(2.0, 1e-5)
}

fn map(text: &str) -> Op {
    Op::Map { body: body(text).expect("the test's body") }
}

fn reduce(kind: ReduceKind, axes: &[usize], prologue: &str, epilogue: &str) -> Op {
    let parse = |text| body(text).expect("the test's body");
    Op::Reduce { kind, axes: axes.to_vec(), prologue: parse(prologue), epilogue: parse(epilogue) }
}

fn softmax(axis: usize, log: bool, prologue: &str) -> Op {
    Op::Softmax { axis, log, prologue: body(prologue).expect("the test's body"), epilogue: Body::identity() }
}

fn norm(axes: &[usize], center: bool, epilogue: &str) -> Op {
    Op::Norm {
        axes: axes.to_vec(),
        epsilon: Real(1e-5),
        center,
        prologue: Body::identity(),
        epilogue: body(epilogue).expect("the test's body"),
    }
}

fn window(kind: WindowKind, size: &[usize], stride: usize, dilation: usize, pad: i64, epilogue: &str) -> Op {
    let n = size.len();
    Op::Window {
        kind,
        size: size.to_vec(),
        stride: vec![stride; n],
        dilation: vec![dilation; n],
        low: vec![pad; n],
        high: vec![pad; n],
        epilogue: body(epilogue).expect("the test's body"),
    }
}

/// A GELU with a residual and a scale.
const GELU: &str = "{ t0 = add(a, b); t1 = mul(t0, 0.70710677); t2 = erf(t1); t3 = add(t2, 1.0); t4 = mul(t0, t3); t5 = mul(t4, 0.5); t6 = add(t5, c); mul(t6, d) }";
const SWISH: &str = "{ t0 = sigmoid(a); mul(a, t0) }";

/// Twenty values that all live until the end.
fn wide() -> String {
    let terms: Vec<String> = (0..20).map(|i| format!("t{i} = mul(a, {}.5);", i + 1)).collect();
    let mut sums = vec!["t20 = min(t0, t1);".to_string()];
    sums.extend((2..20).map(|i| format!("t{} = {}(t{}, t{i});", 19 + i, ["max", "add"][i % 2], 18 + i)));
    format!("{{ {} {} add(t38, b) }}", terms.join(" "), sums.join(" "))
}

#[test]
fn maps_of_every_broadcast() {
    for shape in [[1, 1, 1], [2, 3, 1], [4, 5, 7], [3, 1, 64], [2, 9, 35], [1, 1, 300], [5, 3, 16], [7, 2, 3]] {
        for other in [[0, 0, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 0], [1, 1, 1]] {
            let small: Vec<usize> = shape.iter().zip(other).map(|(&n, one)| if one == 1 { 1 } else { n }).collect();
            let mut m = model();
            let (x, s) = (m.input(&shape), m.input(&small));
            let c = m.constant(3, &small);
            let y = m.add(map("{ t0 = mul(a, b); t1 = add(t0, c); t2 = max(t1, 0.0); sub(t2, a) }"), &[x, s, c]);
            m.check(&[y]);
        }
    }
}

#[test]
fn maps_of_short_rows_with_constants() {
    for (rows, columns) in [(32, 3), (16, 20), (8, 24), (7, 3), (48, 100), (16, 1)] {
        let mut m = model();
        let x = m.input(&[2, rows, columns]);
        let (s, b) = (m.constant(1, &[columns]), m.constant(2, &[1, 1, columns]));
        let whole = m.constant(3, &[2, rows, columns]);
        let y = m.add(map("{ t0 = mul(a, b); t1 = add(t0, c); sub(t1, d) }"), &[x, s, b, whole]);
        m.check(&[y]);
    }
}

#[test]
fn maps_of_more_operands_than_pointers() {
    for count in [6usize, 7, 11] {
        let mut m = model();
        let shape = [3, 21];
        let operands: Vec<NodeId> = (0..count).map(|i| m.input(if i % 3 == 2 { &[3, 1] } else { &shape })).collect();
        let names: Vec<char> = (b'a'..).take(count).map(char::from).collect();
        let mut text = format!("{{ t0 = mul({}, {});", names[0], names[1]);
        for i in 2..count {
            text += &format!(" t{} = {}(t{}, {});", i - 1, ["add", "max", "mul"][i % 3], i - 2, names[i]);
        }
        let y = m.add(map(&format!("{text} sub(t{}, a) }}", count - 2)), &operands);
        m.check(&[y]);
    }
}

#[test]
fn maps_in_place_and_into_parts() {
    for (n, columns) in [(3, 5), (4, 16), (1, 77), (6, 33)] {
        let mut m = model();
        let (x, r) = (m.input(&[n, columns]), m.input(&[n, columns]));
        let one = m.add(map(SWISH), &[x]);
        let two = m.add(map("{ t0 = add(a, b); max(t0, 0.1) }"), &[one, r]);
        let three = m.add(map("{ sub(a, b) }"), &[x, r]);
        let joined = m.add(Op::Concat { axis: 1 }, &[two, three]);
        m.check(&[joined]);
    }
}

#[test]
fn maps_of_a_slice_with_steps() {
    let mut m = model();
    let x = m.input(&[6, 50]);
    let dims = |v: &[i64]| v.iter().map(|&n| ir::Dim::from(n)).collect::<Vec<_>>();
    let part = m.add(Op::Slice { start: dims(&[5, 3]), step: vec![-1, 2], size: dims(&[6, 20]) }, &[x]);
    let y = m.add(map("{ t0 = exp(a); add(t0, 1.0) }"), &[part]);
    m.check(&[y]);
}

#[test]
fn bodies_too_wide_for_the_registers() {
    for columns in [3, 16, 37, 130] {
        let mut m = model();
        let (x, r) = (m.input(&[3, columns]), m.input(&[3, columns]));
        let (b, s) = (m.constant(2, &[columns]), m.constant(3, &[columns]));
        let gelu = m.add(map(GELU), &[x, b, r, s]);
        let wide = m.add(map(&wide()), &[gelu, r]);
        m.check(&[wide]);
    }
}

#[test]
fn rows_of_one_value_are_centred_to_zeros() {
    for columns in [2, 3, 6, 12, 48, 96] {
        let mut m = model();
        let x = m.feed(Tensor::f32s(&[2, columns], &vec![800.13; 2 * columns]));
        let y = m.add(norm(&[1], true, "{ a }"), &[x]);
        m.check(&[y]);
    }
}

#[test]
fn wide_epilogues_behind_every_operator() {
    for c in [3, 16, 40] {
        let mut m = model();
        let x = m.input(&[1, 6, 7, c]);
        let (b, s, r) = (m.constant(2, &[c]), m.constant(3, &[c]), m.input(&[1, 6, 7, c]));
        let small = m.input(&[1, 1, 1, c]);
        let pooled = m.add(window(WindowKind::Max, &[3, 3], 1, 1, 1, GELU), &[x, b, r, s]);
        let normed = m.add(norm(&[3], true, GELU), &[x, b, r, s]);
        let planes = m.add(norm(&[1, 2], true, &wide()), &[x, s]);
        let mean = m.add(reduce(ReduceKind::Mean, &[1, 2], "{ a }", GELU), &[x, b, small, s]);
        m.check(&[pooled, normed, planes, mean]);
    }
}

#[test]
fn softmax_along_every_axis() {
    for shape in [[2, 3, 10], [1, 4, 64], [3, 1, 197], [2, 5, 1], [1, 1, 3], [4, 7, 33]] {
        for axis in 0..3 {
            let mut m = model();
            let x = m.input(&shape);
            let plain = m.add(softmax(axis, false, "{ a }"), &[x]);
            let log = m.add(softmax(axis, true, "{ mul(a, 3.0) }"), &[x]);
            let scaled = m.add(softmax(axis, false, "{ t0 = mul(a, 0.125); add(t0, -1.0) }"), &[x]);
            m.check(&[plain, log, scaled]);
        }
    }
}

#[test]
fn operands_that_are_repeated_by_their_places() {
    let mut m = model();
    m.mixed = true;
    let dims = |v: &[i64]| v.iter().map(|&n| ir::Dim::from(n)).collect::<Vec<_>>();
    let x = m.input(&[3, 1, 5, 1]);
    let wide = m.add(Op::Expand { shape: dims(&[3, 4, 5, 19]) }, &[x]);
    let rows = m.add(reduce(ReduceKind::Sum, &[3], "{ a }", "{ a }"), &[wide]);
    let planes = m.add(reduce(ReduceKind::Max, &[1, 2], "{ a }", "{ a }"), &[wide]);
    let soft = m.add(softmax(3, false, "{ a }"), &[wide]);
    let tall = m.add(softmax(1, false, "{ a }"), &[wide]);
    let normed = m.add(norm(&[1, 2], true, "{ a }"), &[wide]);
    let line = m.add(norm(&[3], false, "{ a }"), &[wide]);
    m.check(&[rows, planes, soft, tall, normed, line]);
}

#[test]
fn rows_of_a_few_elements() {
    for n in [2, 3, 4, 7] {
        let mut m = model();
        let x = m.input(&[3, 37, n]);
        let b = m.input(&[3, 37, 1]);
        let soft = m.add(softmax(2, false, "{ mul(a, 0.5) }"), &[x]);
        let log = m.add(softmax(2, true, "{ a }"), &[x]);
        let sum = m.add(reduce(ReduceKind::Sum, &[2], "{ a }", "{ add(a, b) }"), &[x, b]);
        let most = m.add(reduce(ReduceKind::Max, &[2], "{ abs(a) }", "{ a }"), &[x]);
        m.check(&[soft, log, sum, most]);
    }
}

#[test]
fn integers_from_what_does_not_fit() {
    let inf = f32::INFINITY;
    let edges =
        [f32::NAN, -f32::NAN, inf, -inf, 1e10, -1e10, 2147483648.0, 2147483520.0, -2147483648.0, -2147483904.0, 1.9, -1.9, -0.0, 0.5];
    for count in [14, 3] {
        let mut m = model();
        let x = m.feed(Tensor::f32s(&[count], &edges[..count]));
        let rounded = m.add(map("{ cast.i32(a) }"), &[x]);
        let again = m.add(map("{ t0 = mul(a, 2.0); t1 = cast.i32(t0); cast.f32(t1) }"), &[x]);
        m.check(&[rounded, again]);
    }
}

#[test]
fn softmax_of_infinities_and_nan() {
    let inf = f32::INFINITY;
    let mut values = numbers(5, &[6, 21], 2.0).to_f32s();
    values[3] = -inf;
    values[21..42].fill(-inf);
    values[50] = f32::NAN;
    values[64] = inf;
    values[84 + 20] = -inf;
    values[105..126].fill(-200.0);
    let mut m = model();
    let x = m.feed(Tensor::f32s(&[6, 21], &values));
    let rows = m.add(softmax(1, false, "{ a }"), &[x]);
    let columns = m.add(softmax(0, false, "{ a }"), &[x]);
    m.check(&[rows, columns]);
}

#[test]
fn norms_over_every_choice_of_axes() {
    for shape in [[2, 3, 4, 10], [1, 5, 6, 16], [2, 1, 1, 67], [1, 9, 9, 3], [3, 2, 1, 1], [1, 4, 4, 130]] {
        for axes in [&[3][..], &[2, 3], &[1, 2], &[1, 2, 3], &[1, 3], &[0]] {
            for center in [true, false] {
                let mut m = model();
                let x = m.input(&shape);
                let (s, b) = (m.constant(1, &[shape[3]]), m.constant(2, &[shape[3]]));
                let y = m.add(norm(axes, center, "{ t0 = mul(a, b); add(t0, c) }"), &[x, s, b]);
                let plain = m.add(norm(axes, center, "{ a }"), &[x]);
                m.check(&[y, plain]);
            }
        }
    }
}

#[test]
fn a_norm_keeps_its_precision_far_from_zero() {
    let values: Vec<f32> = numbers(9, &[4, 768], 2.0).to_f32s().iter().map(|v| v + 1000.0).collect();
    let mut m = model();
    let x = m.feed(Tensor::f32s(&[4, 768], &values));
    let y = m.add(norm(&[1], true, "{ mul(a, 0.01) }"), &[x]);
    // in f32 the mean itself is rounded by 3e-5 of the spread
    let sum = m.add(reduce(ReduceKind::Sum, &[1], "{ a }", "{ a }"), &[x]);
    let scaled = m.add(map("{ add(a, 1.0) }"), &[y]);
    m.check(&[scaled, sum]);
}

#[test]
fn reductions_over_every_choice_of_axes() {
    use ReduceKind::*;
    for shape in [[2, 3, 4, 10], [1, 7, 7, 64], [2, 1, 1, 35], [1, 9, 5, 3], [1, 1, 1, 1], [5, 2, 1, 1], [1, 12, 11, 130]] {
        for axes in [&[3][..], &[2, 3], &[1, 2], &[0, 1, 2, 3], &[0, 2], &[0], &[1, 3]] {
            for kind in [Sum, Mean, Max, Min, Prod] {
                let mut m = model();
                // products along the lanes are scalar
                m.mixed = kind == Prod;
                let x = m.input(&shape);
                let kept: Vec<usize> = (0..4).map(|i| if axes.contains(&i) { 1 } else { shape[i] }).collect();
                let (s, b) = (m.constant(4, &kept), m.input(&kept));
                let plain = m.add(reduce(kind, axes, "{ a }", "{ a }"), &[x]);
                let both = m.add(reduce(kind, axes, "{ t0 = mul(a, a); add(t0, 0.5) }", "{ t0 = add(a, b); mul(t0, c) }"), &[x, s, b]);
                m.check(&[plain, both]);
            }
        }
    }
}

#[test]
fn long_sums_keep_their_precision() {
    // the same values again and again: every rounding goes the same way
    let values: Vec<f32> = (0..200_000 * 3).map(|i| 1.0 + (i % 7) as f32 * 0.1).collect();
    let mut m = model();
    let (rows, columns) = (m.feed(Tensor::f32s(&[3, 200_000], &values)), m.feed(Tensor::f32s(&[200_000, 3], &values)));
    let one = m.add(reduce(ReduceKind::Mean, &[1], "{ a }", "{ a }"), &[rows]);
    let two = m.add(reduce(ReduceKind::Sum, &[0], "{ mul(a, a) }", "{ a }"), &[columns]);
    let three = m.add(norm(&[0], true, "{ a }"), &[columns]);
    let four = m.add(softmax(0, true, "{ a }"), &[columns]);
    let five = m.add(softmax(1, false, "{ mul(a, 4.0) }"), &[rows]);
    m.check(&[one, two, three, four, five]);
}

#[test]
fn the_largest_of_nan_is_nan() {
    for at in 0..50 {
        let mut values = numbers(5, &[2, 50], 2.0).to_f32s();
        values[at] = f32::NAN;
        let mut m = model();
        let x = m.feed(Tensor::f32s(&[2, 50], &values));
        let y = m.feed(Tensor::f32s(&[1, 5, 10, 2], &values));
        let rows = m.add(reduce(ReduceKind::Max, &[1], "{ a }", "{ a }"), &[x]);
        let columns = m.add(reduce(ReduceKind::Min, &[0], "{ a }", "{ a }"), &[x]);
        let pooled = m.add(window(WindowKind::Max, &[3, 3], 2, 1, 1, "{ a }"), &[y]);
        let large = m.add(window(WindowKind::Max, &[5, 5], 1, 1, 2, "{ a }"), &[y]);
        m.check(&[rows, columns, pooled, large]);
    }
}

#[test]
fn pooling_of_many_shapes() {
    for (h, w, c) in [(7, 9, 3), (8, 8, 16), (5, 13, 40), (12, 12, 64), (1, 6, 7)] {
        for (size, stride, dilation, pad) in [(2, 2, 1, 0), (3, 2, 1, 1), (3, 1, 1, 1), (2, 1, 2, 1), (5, 1, 1, 2), (13, 1, 1, 6)] {
            if h + 2 * pad < (size - 1) * dilation + 1 {
                continue;
            }
            let mut m = model();
            let x = m.input(&[2, h, w, c]);
            let s = m.constant(3, &[c]);
            let most = m.add(window(WindowKind::Max, &[size; 2], stride, dilation, pad as i64, "{ a }"), &[x]);
            let sum =
                m.add(window(WindowKind::Sum, &[size; 2], stride, dilation, pad as i64, "{ t0 = mul(a, 0.25); add(t0, b) }"), &[x, s]);
            m.check(&[most, sum]);
        }
    }
}

#[test]
fn pooling_along_one_axis_and_by_counts() {
    let mut m = model();
    let x = m.input(&[2, 17, 5]);
    let line = m.add(window(WindowKind::Max, &[4], 3, 1, 2, "{ a }"), &[x]);
    let y = m.input(&[1, 6, 6, 20]);
    let counts = m.constant(8, &[1, 6, 6, 1]);
    let mean = m.add(window(WindowKind::Sum, &[3, 3], 1, 1, 1, "{ mul(a, b) }"), &[y, counts]);
    let residual = m.input(&[2, 6, 5]);
    let added = m.add(window(WindowKind::Sum, &[4], 3, 1, 2, "{ add(a, b) }"), &[x, residual]);
    m.check(&[line, mean, added]);
}

#[test]
fn pooling_into_parts_of_a_concatenation() {
    let mut m = model();
    let x = m.input(&[1, 9, 9, 24]);
    let y = m.add(map(SWISH), &[x]);
    let pools: Vec<NodeId> =
        [5, 9, 13].iter().map(|&k| m.add(window(WindowKind::Max, &[k, k], 1, 1, k as i64 / 2, "{ a }"), &[y])).collect();
    let joined = m.add(Op::Concat { axis: 3 }, &[y, pools[0], pools[1], pools[2]]);
    m.check(&[joined]);
}

fn enlarge(mode: ResizeMode, coordinate: Coordinate, from: &[usize], by: &[usize]) -> Op {
    let shape: Vec<usize> = from.iter().zip(by).map(|(n, f)| n * f).collect();
    Op::Resize {
        mode,
        coordinate,
        scale: by.iter().map(|&f| Real(f as f64)).collect(),
        roi: Vec::new(),
        shape: shape.iter().map(|&n| ir::Dim::from(n as i64)).collect(),
        antialias: false,
        exclude_outside: false,
        extrapolation: Real(0.0),
    }
}

#[test]
fn enlarging_to_the_nearest() {
    for c in [1, 3, 16, 100] {
        for by in [[1, 2, 2, 1], [1, 3, 1, 1], [1, 4, 4, 1]] {
            let from = [1, 5, 4, c];
            let mut m = model();
            // columns of one channel are not contiguous where they are repeated
            m.mixed = c == 1;
            let x = m.input(&from);
            let floor = m.add(enlarge(ResizeMode::NearestFloor, Coordinate::Asymmetric, &from, &by), &[x]);
            let half = m.add(enlarge(ResizeMode::NearestRoundPreferFloor, Coordinate::HalfPixel, &from, &by), &[x]);
            m.check(&[floor, half]);
        }
    }
}

#[test]
fn resampling_by_weights() {
    use Coordinate::*;
    for (mode, coordinate, antialias) in [
        (ResizeMode::Linear, HalfPixel, false),
        (ResizeMode::Linear, AlignCorners, false),
        (ResizeMode::Linear, Asymmetric, false),
        (ResizeMode::Cubic75, HalfPixel, false),
        (ResizeMode::Linear, HalfPixel, true),
        (ResizeMode::NearestRoundPreferFloor, HalfPixel, false),
    ] {
        for (from, to) in [
            ([1, 6, 5, 16], [1, 12, 10, 16]),
            ([2, 9, 8, 7], [2, 6, 12, 7]),
            ([1, 4, 30, 3], [1, 4, 45, 3]),
            ([1, 3, 3, 70], [1, 9, 9, 70]),
            // the most vectors of sixteen bytes that one turn holds
            ([1, 2, 3, 31], [1, 4, 6, 31]),
        ] {
            let mut m = model();
            let x = m.input(&from);
            let y = m.add(
                Op::Resize {
                    mode,
                    coordinate,
                    scale: from.iter().zip(&to).map(|(&f, &t)| Real(t as f64 / f as f64)).collect(),
                    roi: Vec::new(),
                    shape: to.iter().map(|&n| ir::Dim::from(n as i64)).collect(),
                    antialias,
                    exclude_outside: false,
                    extrapolation: Real(0.0),
                },
                &[x],
            );
            m.check(&[y]);
        }
    }
}

#[test]
fn identity_bodies_are_copies() {
    let mut m = model();
    let x = m.input(&[3, 19]);
    let y = m.add(Op::Map { body: Body::identity() }, &[x]);
    m.check(&[y]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_map(shape in proptest::collection::vec(1usize..20, 1..5), small in 0u32..256, which in 0usize..4) {
        let mut m = model();
        let part = |bits: u32, m: &mut Model| {
            let own: Vec<usize> = shape.iter().enumerate().map(|(i, &n)| if bits >> i & 1 == 1 { 1 } else { n }).collect();
            m.input(&own)
        };
        let (a, b) = (part(small & 15, &mut m), part(small >> 4, &mut m));
        let full = m.input(&shape);
        let text = [
            "{ t0 = add(a, b); mul(t0, c) }",
            "{ t0 = sigmoid(a); t1 = mul(t0, b); add(t1, c) }",
            "{ t0 = tanh(a); t1 = lt(t0, b); select(t1, c, t0) }",
            "{ t0 = max(a, b); t1 = min(t0, c); neg(t1) }",
        ][which];
        let y = m.add(map(text), &[a, b, full]);
        m.check(&[y]);
    }

    #[test]
    fn any_reduction(shape in proptest::collection::vec(1usize..24, 1..5), axes in 1u32..16, kind in 0usize..4) {
        let axes: Vec<usize> = (0..shape.len()).filter(|i| axes >> i & 1 == 1).collect();
        prop_assume!(!axes.is_empty());
        let kind = [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::Min][kind];
        let mut m = model();
        let x = m.input(&shape);
        let y = m.add(reduce(kind, &axes, "{ t0 = sub(a, 0.5); abs(t0) }", "{ a }"), &[x]);
        let z = m.add(norm(&axes, true, "{ a }"), &[x]);
        m.check(&[y, z]);
    }

    #[test]
    fn any_pooling(h in 1usize..14, w in 1usize..14, c in 1usize..40, size in 1usize..6, stride in 1usize..4, pad in 0i64..3) {
        prop_assume!(h as i64 + 2 * pad >= size as i64 && w as i64 + 2 * pad >= size as i64);
        let mut m = model();
        let x = m.input(&[1, h, w, c]);
        let most = m.add(window(WindowKind::Max, &[size; 2], stride, 1, pad, "{ a }"), &[x]);
        let sum = m.add(window(WindowKind::Sum, &[size; 2], stride, 1, pad, "{ max(a, 0.0) }"), &[x]);
        m.check(&[most, sum]);
    }
}
