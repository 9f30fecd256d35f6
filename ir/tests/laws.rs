//! Laws of the Graph language over random shapes, numbers and graphs: the text form parses back and survives
//! damage, every random graph verifies, and the oracle agrees with plain formulas and with itself.

use ir::graph::text::{constants, parse, print};
use ir::graph::verify::verify;
use ir::scalar::{Literal, ScalarOp, body};
use ir::{Body, Dtype, Graph, NodeId, Op, Tensor, graph};
use proptest::prelude::*;

fn random(shape: &[usize], seed: u64) -> Tensor {
    graph::text::random(Dtype::F32, shape, seed)
}

/// The value of one operator over constants.
fn value(op: Op, operands: &[&Tensor]) -> Tensor {
    let types: Vec<_> = operands.iter().map(|t| t.ty()).collect();
    let ty = graph::infer::infer(&op, &types.iter().collect::<Vec<_>>()).expect("the operands fit");
    graph::eval::eval_node(&op, &ty, operands).expect("the data is fine")
}

fn dot(trans_a: bool, trans_b: bool) -> Op {
    Op::Dot { trans_a, trans_b, epilogue: Body::identity() }
}

fn reduce(kind: graph::op::ReduceKind, axes: Vec<usize>) -> Op {
    Op::Reduce { kind, axes, prologue: Body::identity(), epilogue: Body::identity() }
}

/// One step that grows a random graph; `pick` chooses operands, `n` numbers.
#[derive(Clone, Debug)]
struct Step {
    what: u8,
    pick: [usize; 2],
    n: [usize; 3],
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..16u8, prop::array::uniform2(0..100usize), prop::array::uniform3(0..100usize));
    prop::collection::vec(step.prop_map(|(what, pick, n)| Step { what, pick, n }), 1..25)
}

/// A graph over `[1..4, 1..4, 1..4]` f32 values; steps that do not fit are left out.
fn grow(steps: &[Step]) -> Graph {
    let mut g = Graph::new();
    let ty = |s: &str| s.to_string();
    let input = |g: &mut Graph, name: &str, shape: &[usize]| {
        g.add(Op::Input { name: ty(name), ty: ir::Type::of(Dtype::F32, shape) }, &[], &[]).expect("an input fits anywhere")
    };
    let mut values = vec![input(&mut g, "x", &[2, 3, 4]), input(&mut g, "a \"quoted\" näme", &[2, 3, 1])];
    for (i, step) in steps.iter().enumerate() {
        let of = |k: usize| values[step.pick[k] % values.len()];
        let (a, b) = (of(0), of(1));
        let shape = g.ty(a).fixed().expect("no symbols were used");
        let axis = step.n[0] % 3;
        let names = [format!("node {i}").into()];
        let one: &[NodeId] = &[a];
        let both: &[NodeId] = &[a, b];
        let (op, operands) = match step.what {
            0 => (Op::Const { tensor: random(&[step.n[0] % 4 + 1, 3, step.n[1] % 4 + 1], step.n[2] as u64) }, &[] as &[NodeId]),
            1 => (Op::Reshape { shape: ir::dim::dims(&[shape[2], shape[0], shape[1]]) }, one),
            2 => (Op::Transpose { perm: vec![axis, (axis + 1) % 3, (axis + 2) % 3] }, one),
            3 => {
                let start = shape.iter().map(|&n| ir::Dim::from(n - 1)).collect();
                (Op::Slice { start, step: vec![-1; 3], size: ir::dim::dims(&shape) }, one)
            }
            4 => {
                let mode = graph::op::PadMode::Edge;
                let low = ir::dim::dims(&[step.n[0] % 2, step.n[1] % 2, 0]);
                (Op::Pad { low: low.clone(), high: low, mode, value: Literal::f32(-0.5) }, one)
            }
            5 => (Op::Concat { axis }, both),
            6 => (Op::Expand { shape: ir::dim::dims(&[shape[0], shape[1], shape[2]]) }, one),
            7 => (Op::Map { body: body("{ t0 = sub(a, b); t1 = tanh(t0); max(t1, -0.25) }").expect("our own") }, both),
            8 => (Op::Map { body: Body::of(ScalarOp::PLAIN[step.n[0] % 12]) }, both),
            9 => (dot(step.n[0] % 2 == 0, step.n[1] % 2 == 0), both),
            10 => (reduce(graph::op::ReduceKind::Sum, vec![axis]), one),
            11 => {
                let (prologue, epilogue) = (body("{ mul(a, 0.125) }").expect("our own"), body("{ sub(a, b) }").expect("our own"));
                (Op::Softmax { axis, log: step.n[1] % 2 == 0, prologue, epilogue }, both)
            }
            12 => {
                let epsilon = graph::op::Real(1e-5);
                let (prologue, epilogue) = (body("{ sub(a, 0.5) }").expect("our own"), body("{ mul(a, b) }").expect("our own"));
                (Op::Norm { axes: vec![axis], epsilon, center: step.n[1] % 2 == 0, prologue, epilogue }, both)
            }
            13 => {
                let kind = graph::op::CumulateKind::Sum;
                (Op::Cumulate { kind, axis, exclusive: step.n[1] % 2 == 0, reverse: step.n[2] % 2 == 0 }, one)
            }
            14 => {
                let (kind, size, pad) = (graph::op::WindowKind::Max, vec![step.n[0] % 2 + 1], vec![(step.n[1] % 3) as i64 - 1]);
                let epilogue = Body::identity();
                (Op::Window { kind, size, stride: vec![1], dilation: vec![1], low: pad.clone(), high: pad, epilogue }, one)
            }
            _ => {
                let epilogue = body("{ max(a, 0.0) }").expect("our own");
                let at = (vec![step.n[0] % 2 + 1], vec![1], vec![1], vec![1], vec![0]);
                (
                    Op::Conv {
                        stride: at.0,
                        dilation: at.1,
                        inflate: at.2,
                        low: at.3,
                        high: at.4,
                        group: 1,
                        fill: Literal::f32(0.0),
                        epilogue,
                    },
                    both,
                )
            }
        };
        if let Ok(id) = g.add(op, operands, &names)
            && g.ty(id).elements().is_some_and(|n| n > 0 && n < 10_000)
        {
            values.push(id);
        }
    }
    let outputs = values.iter().rev().take(3).enumerate().map(|(i, &id)| (format!("y{i}"), id)).collect();
    g.set_outputs(outputs);
    g.remove_dead();
    g
}

/// The same nodes, types, operands, names and signature, whatever the ids.
fn same(a: &Graph, b: &Graph) -> bool {
    // inputs first, as the text has them
    let order = |g: &Graph| -> Vec<NodeId> {
        let rest = g.order().into_iter().filter(|id| !g.inputs().contains(id));
        g.inputs().iter().copied().chain(rest).collect()
    };
    let (left, right) = (order(a), order(b));
    let place = |order: &[NodeId], id: NodeId| order.iter().position(|&o| o == id);
    let node = |g: &Graph, order: &[NodeId], id: NodeId| {
        let operands: Vec<_> = g.operands(id).into_iter().map(|o| place(order, o)).collect();
        (g.op(id).clone(), g.ty(id).clone(), g.node(id).names.clone(), operands)
    };
    let outputs = |g: &Graph, order: &[NodeId]| g.outputs().iter().map(|(n, id)| (n.clone(), place(order, *id))).collect::<Vec<_>>();
    left.len() == right.len()
        && left.iter().zip(&right).all(|(&l, &r)| node(a, &left, l) == node(b, &right, r))
        && outputs(a, &left) == outputs(b, &right)
        && a.symbols == b.symbols
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_graphs_verify_and_parse_back(steps in steps()) {
        let g = grow(&steps);
        prop_assert_eq!(verify(&g), Ok(()));
        let (text, table) = (print(&g), constants(&g));
        let back = parse(&text, &|h| table.get(&h).cloned()).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        prop_assert!(same(&g, &back), "{}", text);
        prop_assert_eq!(print(&back), text);
    }

    #[test]
    fn a_graph_and_its_text_mean_the_same(steps in steps()) {
        let g = grow(&steps);
        let table = constants(&g);
        let back = parse(&print(&g), &|h| table.get(&h).cloned()).expect("what was printed parses");
        let inputs = [random(&[2, 3, 4], 1), random(&[2, 3, 1], 2)];
        prop_assert_eq!(graph::eval::eval(&g, &inputs), graph::eval::eval(&back, &inputs));
    }

    /// Damage is answered, never with a panic.
    #[test]
    fn damaged_text_is_refused_or_read(steps in steps(), at in 0..10_000usize, cut in 0..6usize, put in "[-%{}\\[\\],=.:#\"0-9a-z ]{0,4}") {
        let g = grow(&steps);
        let mut text = print(&g);
        let start = (0..=at % text.len()).rev().find(|&i| text.is_char_boundary(i)).expect("0 is one");
        let end = (start + cut..=text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(start);
        text.replace_range(start..end.max(start), &put);
        let table = constants(&g);
        if let Ok(read) = parse(&text, &|h| table.get(&h).cloned()) {
            let _ = verify(&read);
            prop_assert_eq!(print(&read), print(&parse(&print(&read), &|h| table.get(&h).cloned()).expect("what was printed parses")));
        }
    }

    #[test]
    fn the_transposed_product_is_the_product_of_the_transposed(m in 1..9usize, k in 1..9usize, n in 1..140usize, seed in 0..1000u64) {
        let (a, b) = (random(&[m, k], seed), random(&[k, n], seed + 1));
        let ab = value(dot(false, false), &[&a, &b]);
        prop_assert_eq!(&value(dot(false, false), &[&b.permute(&[1, 0]), &a.permute(&[1, 0])]).permute(&[1, 0]), &ab);
        prop_assert_eq!(&value(dot(true, true), &[&a.permute(&[1, 0]), &b.permute(&[1, 0])]), &ab);
        let naive: Vec<f32> = (0..m * n)
            .map(|i| (0..k).map(|p| a.to_f64s()[i / n * k + p] * b.to_f64s()[p * n + i % n]).sum::<f64>() as f32)
            .collect();
        prop_assert_eq!(ab.to_f32s(), naive);
    }

    #[test]
    fn a_batched_product_is_its_matrices(x in 1..4usize, y in 1..4usize, m in 1..6usize, k in 1..6usize, n in 1..6usize, seed in 0..1000u64) {
        let (a, b) = (random(&[x, 1, m, k], seed), random(&[y, k, n], seed + 1));
        let all = value(dot(false, false), &[&a, &b]);
        for (i, j) in (0..x).flat_map(|i| (0..y).map(move |j| (i, j))) {
            let a = a.slice(&[i, 0, 0, 0], &[1; 4], &[1, 1, m, k]).reshape(&[m, k]);
            let b = b.slice(&[j, 0, 0], &[1; 3], &[1, k, n]).reshape(&[k, n]);
            let part = all.slice(&[i, j, 0, 0], &[1; 4], &[1, 1, m, n]).reshape(&[m, n]);
            prop_assert_eq!(value(dot(false, false), &[&a, &b]), part);
        }
    }

    #[test]
    fn a_convolution_is_its_formula(
        (h, w) in (1..7usize, 1..7usize), (kh, kw) in (1..4usize, 1..4usize), (cg, mg, group) in (1..4usize, 1..4usize, 1..4usize),
        stride in 1..4usize, dilation in 1..3usize, inflate in 1..3usize, low in -1..4i64, high in -1..4i64, seed in 0..1000u64,
    ) {
        let (c, m) = (cg * group, mg * group);
        let (x, k) = (random(&[2, h, w, c], seed), random(&[kh, kw, cg, m], seed + 1));
        let two = |v: usize| vec![v, v];
        let op = Op::Conv {
            stride: two(stride), dilation: two(dilation), inflate: two(inflate), low: vec![low; 2], high: vec![high; 2], group, fill: Literal::f32(0.0),
            epilogue: Body::identity(),
        };
        let Ok(ty) = graph::infer::infer(&op, &[&x.ty(), &k.ty()]) else { return Ok(()) };
        let shape = ty.fixed().expect("fixed operands");
        let (xs, ks) = (x.to_f64s(), k.to_f64s());
        let tap = |o: usize, t: usize, extent: usize| {
            let at = (o * stride + t * dilation) as i64 - low;
            (at >= 0 && at % inflate as i64 == 0 && at / (inflate as i64) < extent as i64).then_some((at / inflate as i64) as usize)
        };
        let mut want = Vec::new();
        for (n, y, z, o) in (0..2usize).flat_map(|n| (0..shape[1]).map(move |y| (n, y))).flat_map(|(n, y)| (0..shape[2]).map(move |z| (n, y, z))).flat_map(|(n, y, z)| (0..m).map(move |o| (n, y, z, o))) {
            let mut sum = 0.0;
            for (i, j) in (0..kh).flat_map(|i| (0..kw).map(move |j| (i, j))) {
                if let (Some(yy), Some(zz)) = (tap(y, i, h), tap(z, j, w)) {
                    for q in 0..cg {
                        sum += xs[((n * h + yy) * w + zz) * c + o / mg * cg + q] * ks[((i * kw + j) * cg + q) * m + o];
                    }
                }
            }
            want.push(sum as f32);
        }
        prop_assert_eq!(graph::eval::eval_node(&op, &ty, &[&x, &k]).expect("it fits").to_f32s(), want);
    }

    #[test]
    fn broadcasting_is_expanding(a in 1..5usize, b in 1..5usize, c in 1..300usize, mask in 0..8usize, seed in 0..1000u64) {
        let full = [a, b, c];
        let part: Vec<usize> = (0..3).map(|i| if mask >> i & 1 == 1 { full[i] } else { 1 }).collect();
        let (x, y) = (random(&full, seed), random(&part, seed + 1));
        let op = Op::Map { body: body("{ t0 = mul(b, 3.0); sub(a, t0) }").expect("our own") };
        prop_assert_eq!(value(op.clone(), &[&x, &y]), value(op, &[&x, &y.expand(&full)]));
    }

    #[test]
    fn columns_and_single_elements_agree(op in 0..ScalarOp::PLAIN.len(), seed in 0..1000u64, dtype in prop::sample::select(Dtype::ALL)) {
        let op = ScalarOp::PLAIN[op];
        let body = Body::of(op);
        let params = vec![dtype; op.arity()];
        if body.result_type(&params).is_err() {
            return Ok(());
        }
        let columns: Vec<Tensor> = (0..op.arity()).map(|i| graph::text::random(dtype, &[33], seed + i as u64)).collect();
        let all = value(Op::Map { body: body.clone() }, &columns.iter().collect::<Vec<_>>());
        for i in 0..33 {
            let element = |t: &Tensor| Literal::from_bytes(t.dtype(), &t.slice(&[i], &[1], &[1]).bytes());
            let params: Vec<Literal> = columns.iter().map(element).collect();
            prop_assert_eq!(ir::scalar::eval::eval(&body, &params), element(&all));
        }
    }

    #[test]
    fn reducing_twice_is_reducing_once(shape in prop::array::uniform3(1..5usize), seed in 0..1000u64) {
        let x = graph::text::random(Dtype::I16, &shape, seed);
        for kind in [graph::op::ReduceKind::Sum, graph::op::ReduceKind::Prod, graph::op::ReduceKind::Max, graph::op::ReduceKind::Min] {
            let twice = value(reduce(kind, vec![0]), &[&value(reduce(kind, vec![2]), &[&x])]);
            prop_assert_eq!(value(reduce(kind, vec![2, 0]), &[&x]), twice);
            let turned = value(reduce(kind, vec![0]), &[&x.permute(&[1, 2, 0])]).permute(&[2, 0, 1]);
            prop_assert_eq!(value(reduce(kind, vec![1]), &[&x]), turned);
        }
    }

    #[test]
    fn what_was_padded_can_be_cut_out(shape in prop::array::uniform2(1..5usize), low in prop::array::uniform2(0..4usize), high in prop::array::uniform2(0..4usize), seed in 0..1000u64) {
        let x = graph::text::random(Dtype::U8, &shape, seed);
        use graph::op::PadMode::*;
        for mode in [Constant, Edge, Reflect, Wrap] {
            let pad = Op::Pad { low: ir::dim::dims(&low), high: ir::dim::dims(&high), mode, value: Literal::int(Dtype::U8, 3) };
            let cut = Op::Slice { start: ir::dim::dims(&low), step: vec![1; 2], size: ir::dim::dims(&shape) };
            prop_assert_eq!(value(cut, &[&value(pad, &[&x])]), x.clone());
        }
    }

    #[test]
    fn parts_join_to_the_whole(shape in prop::array::uniform3(1..5usize), axis in 0..3usize, at in 0..5usize, seed in 0..1000u64) {
        let x = random(&shape, seed);
        let at = at % (shape[axis] + 1);
        let part = |start: usize, end: usize| {
            let (mut from, mut size) = (vec![0; 3], shape.to_vec());
            (from[axis], size[axis]) = (start, end - start);
            x.slice(&from, &[1; 3], &size)
        };
        prop_assert_eq!(value(Op::Concat { axis }, &[&part(0, at), &part(at, shape[axis])]), x.clone());
    }

    #[test]
    fn softmax_is_a_distribution(shape in prop::array::uniform2(1..9usize), seed in 0..1000u64) {
        let x = random(&shape, seed);
        let p = value(Op::Softmax { axis: 1, log: false, prologue: Body::identity(), epilogue: Body::identity() }, &[&x]);
        let sums = value(reduce(graph::op::ReduceKind::Sum, vec![1]), &[&p]).to_f64s();
        prop_assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-6));
        let log = value(Op::Softmax { axis: 1, log: true, prologue: Body::identity(), epilogue: Body::identity() }, &[&x]).to_f64s();
        prop_assert!(log.iter().zip(p.to_f64s()).all(|(l, p)| (l.exp() - p).abs() < 1e-6));
    }
}
