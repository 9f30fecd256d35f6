//! Graphs drawn at random, before and after the whole recipe, through the oracle. Every graph is a function of
//! its seed, so that a failure can be looked at again.

use ir::graph::op::{PadMode, Real, ReduceKind, WindowKind};
use ir::graph::{text, verify};
use ir::scalar::Literal;
use ir::{Body, Dim, Dtype, Graph, NodeId, Op, Tensor};
use passes::{Options, optimize};
use std::collections::BTreeMap;

struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
    fn of<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }
    fn perm(&mut self, rank: usize) -> Vec<usize> {
        // the layouts that importers write, more often than others
        if rank == 4 && self.below(3) > 0 {
            return self.of(&[vec![0, 3, 1, 2], vec![0, 2, 3, 1], vec![0, 2, 1, 3]]);
        }
        let mut perm: Vec<usize> = (0..rank).collect();
        for i in (1..rank).rev() {
            perm.swap(i, self.below(i + 1));
        }
        perm
    }
}

fn sizes(graph: &Graph, id: NodeId) -> Vec<usize> {
    graph.ty(id).fixed().expect("nothing here is symbolic")
}

fn dims(sizes: &[usize]) -> Vec<Dim> {
    ir::dim::dims(sizes)
}

const BODIES: &[&str] = &[
    "{ max(a, 0.0) }",
    "{ mul(a, 0.5) }",
    "{ add(a, 1.0) }",
    "{ t0 = sigmoid(a); mul(a, t0) }",
    "{ t0 = mul(a, a); t1 = add(t0, 1.0); sqrt(t1) }",
    "{ t0 = max(a, -1.0); min(t0, 1.0) }",
    "{ neg(a) }",
    "{ div(a, 3.0) }",
];
const PAIRS: &[&str] = &["{ add(a, b) }", "{ sub(a, b) }", "{ mul(a, b) }", "{ max(a, b) }", "{ t0 = add(a, b); max(t0, 0.0) }"];

fn body(text: &str) -> Body {
    ir::scalar::body(text).expect(text)
}

/// A constant that broadcasts to `shape`, sometimes one element repeated.
fn constant(graph: &mut Graph, draw: &mut Draw, shape: &[usize]) -> NodeId {
    let skip = draw.below(shape.len() + 1);
    let shape: Vec<usize> = shape[skip..].iter().map(|&n| if draw.below(3) == 0 { 1 } else { n }).collect();
    let tensor = match draw.below(4) {
        0 => Tensor::splat(Dtype::F32, &shape, &0.75f32.to_le_bytes()),
        _ => text::random(Dtype::F32, &shape, draw.below(1000) as u64),
    };
    graph.constant(tensor, &["c".into()])
}

/// Adds one operator over values that are there; `None` when what was drawn does not fit.
fn step(graph: &mut Graph, draw: &mut Draw, values: &[NodeId]) -> Option<NodeId> {
    let x = if draw.below(2) == 0 { *values.last()? } else { draw.of(values) };
    let shape = sizes(graph, x);
    let rank = shape.len();
    if shape.contains(&0) || shape.iter().product::<usize>() > 4000 || rank > 5 {
        return None;
    }
    let (op, operands): (Op, Vec<NodeId>) = match draw.below(17) {
        0..=2 => (Op::Map { body: body(draw.of(BODIES)) }, vec![x]),
        3 | 4 => {
            let y = draw.of(values);
            (Op::Map { body: body(draw.of(PAIRS)) }, if draw.below(2) == 0 { vec![x, y] } else { vec![y, x] })
        }
        5 => {
            let c = constant(graph, draw, &shape);
            (Op::Map { body: body(draw.of(PAIRS)) }, vec![x, c])
        }
        6 | 7 => (Op::Transpose { perm: draw.perm(rank) }, vec![x]),
        8 => {
            let mut to = shape.clone();
            match draw.below(4) {
                0 if rank > 1 => {
                    let at = draw.below(rank - 1);
                    let n = to.remove(at);
                    to[at] *= n;
                }
                1 => to.insert(draw.below(rank + 1), 1),
                2 if rank > 0 => {
                    let at = draw.below(rank);
                    if to[at].is_multiple_of(2) {
                        to[at] /= 2;
                        to.insert(at, 2);
                    }
                }
                _ => to = vec![shape.iter().product()],
            }
            (Op::Reshape { shape: dims(&to) }, vec![x])
        }
        9 if rank > 0 => {
            let (mut start, mut step, mut size) = (vec![0usize; rank], vec![1i64; rank], shape.clone());
            let at = draw.below(rank);
            match draw.below(3) {
                0 => size[at] = (shape[at] / 2).max(1),
                1 => {
                    start[at] = shape[at] - 1;
                    step[at] = -1;
                }
                _ => {
                    step[at] = 2;
                    size[at] = shape[at].div_ceil(2);
                }
            }
            (Op::Slice { start: dims(&start), step, size: dims(&size) }, vec![x])
        }
        10 if rank > 0 => {
            let (mut low, mut high) = (vec![0usize; rank], vec![0usize; rank]);
            low[draw.below(rank)] = draw.below(2);
            high[draw.below(rank)] = 1;
            let value = Literal::f32(draw.of(&[0.0, 1.0]));
            (Op::Pad { low: dims(&low), high: dims(&high), mode: PadMode::Constant, value }, vec![x])
        }
        11 if rank > 0 => (Op::Concat { axis: draw.below(rank) }, vec![x, draw.of(values)]),
        12 if rank > 0 => {
            let kind = draw.of(&[ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max]);
            let axes = if rank == 4 && draw.below(2) == 0 { vec![2, 3] } else { vec![draw.below(rank)] };
            (Op::Reduce { kind, axes, prologue: Body::identity(), epilogue: Body::identity() }, vec![x])
        }
        13 if rank > 0 => match draw.below(3) {
            0 => (Op::Softmax { axis: draw.below(rank), log: false, prologue: Body::identity() }, vec![x]),
            1 => (Op::Norm { axes: vec![draw.below(rank)], epsilon: Real(0.5), center: true, epilogue: Body::identity() }, vec![x]),
            _ => {
                let at = graph.constant(Tensor::i64s(&[2], &[0, -1]), &[]);
                (Op::Gather { axis: draw.below(rank) }, vec![x, at])
            }
        },
        14 if rank > 1 => {
            let trans_b = draw.below(2) == 0;
            let (k, n) = (shape[rank - 1], 3);
            let w = text::random(Dtype::F32, &if trans_b { [n, k] } else { [k, n] }, draw.below(1000) as u64);
            let w = graph.constant(w, &["w".into()]);
            (Op::Dot { trans_a: false, trans_b, epilogue: Body::identity() }, vec![x, w])
        }
        15 if rank == 4 => {
            let group = if shape[3].is_multiple_of(2) { draw.of(&[1, 2]) } else { 1 };
            let kernel = draw.of(&[1, 3]);
            let w = text::random(Dtype::F32, &[kernel, kernel, shape[3] / group, 4], draw.below(1000) as u64);
            let w = graph.constant(w, &["w".into()]);
            let pad = draw.of(&[0, 1]);
            let op = Op::Conv {
                stride: vec![1, draw.of(&[1, 2])],
                dilation: vec![1; 2],
                inflate: vec![1; 2],
                low: vec![pad; 2],
                high: vec![pad; 2],
                group,
                fill: Literal::f32(0.0),
                epilogue: Body::identity(),
            };
            (op, vec![x, w])
        }
        16 if rank == 3 || rank == 4 => {
            let n = rank - 2;
            let kind = draw.of(&[WindowKind::Max, WindowKind::Sum]);
            let size = if draw.below(3) == 0 { shape[1..=n].to_vec() } else { vec![2; n] };
            (
                Op::Window {
                    kind,
                    size,
                    stride: vec![1; n],
                    dilation: vec![1; n],
                    low: vec![0; n],
                    high: vec![0; n],
                    epilogue: Body::identity(),
                },
                vec![x],
            )
        }
        _ => return None,
    };
    let name = format!("n{}", graph.len());
    graph.add(op, &operands, &[name.into()]).ok()
}

fn model(seed: u64) -> Graph {
    let mut draw = Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut graph = Graph::new();
    let shapes: &[&[usize]] = &[&[1, 4, 6, 2], &[1, 2, 4, 6], &[2, 3, 4], &[6, 4], &[1, 4, 1, 1]];
    let mut values = Vec::new();
    for i in 0..2 {
        let ty = ir::Type::of(Dtype::F32, draw.of(shapes));
        values.push(graph.add(Op::Input { name: format!("x{i}"), ty }, &[], &[]).expect("an input fits"));
    }
    let count = 4 + draw.below(24);
    for _ in 0..3 * count {
        if values.len() == count {
            break;
        }
        let made = step(&mut graph, &mut draw, &values);
        values.extend(made);
    }
    // values that nothing uses, and now and then one that something does
    let unused: Vec<NodeId> = values.iter().copied().filter(|&v| graph.use_count(v) == 0 || draw.below(12) == 0).collect();
    graph.set_outputs(unused.into_iter().enumerate().map(|(i, v)| (format!("y{i}"), v)).collect());
    graph
}

#[test]
fn rewritten_graphs_compute_the_same() {
    let mut fired: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..1500 {
        let before = model(seed);
        let mut after = before.clone();
        let report = optimize(&mut after, &Options::default(), &mut ()).expect("no name is unknown");
        let context = || format!("seed {seed}\n{}\n{}", text::print(&before), text::print(&after));
        assert!(report.refused.is_empty() && report.unsettled.is_empty(), "{:?} {:?} {}", report.refused, report.unsettled, context());
        verify::verify(&after).unwrap_or_else(|wrong| panic!("{wrong:?} {}", context()));
        assert_eq!(passes::check::compare(&before, &after, seed), Vec::<String>::new(), "{}", context());
        for (rule, count) in report.passes.iter().flat_map(|p| &p.fired) {
            *fired.entry(rule).or_default() += count;
        }
    }
    assert!(fired.values().sum::<usize>() > 10_000, "too little happened: {fired:?}");
}
