//! A layer of many steps is the turns of a scan, one of few is written out: two written-out halves, the second from the first
//! one's state, give what the scan of the whole does.

#[allow(dead_code, reason = "other tests need the rest of it")]
mod writer;

use ir::Tensor;
use ir::graph::op::Op;
use ir::graph::text::random;
use onnx_protobuf::{AttributeProto, NodeProto};
use writer::*;

const STEPS: usize = 8;
const BATCH: usize = 2;
const WIDTH: usize = 3;
const HIDDEN: usize = 5;

/// An operator, the rows of its weights per number of the state, and whether it has a cell.
struct Kind {
    op: &'static str,
    gates: usize,
    cell: bool,
}

const KINDS: [Kind; 3] =
    [Kind { op: "RNN", gates: 1, cell: false }, Kind { op: "GRU", gates: 3, cell: false }, Kind { op: "LSTM", gates: 4, cell: true }];

fn floats(name: &str, shape: &[usize], seed: u64) -> onnx_protobuf::TensorProto {
    let dims: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
    floats_tensor(name, &dims, &random(ir::Dtype::F32, shape, seed).to_f32s())
}

impl Kind {
    fn layer(&self, x: &str, state: [&str; 2], out: [&str; 3], more: &[AttributeProto]) -> NodeProto {
        let mut input = vec![x, "w", "r", "b", "", state[0]];
        let mut output = out[..2].to_vec();
        if self.cell {
            input.extend([state[1], "p"]);
            output.push(out[2]);
        }
        let attributes = [&[int("hidden_size", HIDDEN as i64)], more].concat();
        node(self.op, &input, &output, attributes)
    }

    /// The whole at once, and as two halves; `backward` begins with the second.
    fn models(&self, more: &[AttributeProto], backward: bool) -> [Written; 2] {
        let sizes = [STEPS, BATCH, WIDTH].map(|n| n.to_string());
        let x = || value("x", FLOAT, &sizes.iter().map(String::as_str).collect::<Vec<_>>());
        let shown = [("y", 4), ("h", 3), ("c", 3)];
        let shown: Vec<_> =
            shown[..if self.cell { 3 } else { 2 }].iter().map(|&(name, rank)| value(name, FLOAT, &vec![""; rank])).collect();
        let constants = || {
            vec![
                floats("w", &[1, self.gates * HIDDEN, WIDTH], 1),
                floats("r", &[1, self.gates * HIDDEN, HIDDEN], 2),
                floats("b", &[1, 2 * self.gates * HIDDEN], 3),
                floats("h0", &[1, BATCH, HIDDEN], 4),
                floats("c0", &[1, BATCH, HIDDEN], 5),
                floats("p", &[1, 3 * HIDDEN], 6),
                ints_tensor("halves", &[2], &[STEPS as i64 / 2; 2]),
            ]
        };
        let whole = vec![self.layer("x", ["h0", "c0"], ["y", "h", "c"], more)];
        let (first, second) = if backward { ("1", "0") } else { ("0", "1") };
        let part = |i: &str| format!("x{i}");
        let halves = vec![
            node("Split", &["x", "halves"], &["x0", "x1"], vec![int("axis", 0)]),
            self.layer(&part(first), ["h0", "c0"], [&format!("y{first}"), "hm", "cm"], more),
            self.layer(&part(second), ["hm", "cm"], [&format!("y{second}"), "h", "c"], more),
            node("Concat", &["y0", "y1"], &["y"], vec![int("axis", 0)]),
        ];
        [whole, halves].map(|nodes| model(17, graph(vec![x()], nodes, shown.clone())).constants(constants()))
    }
}

#[track_caller]
fn agree(kind: &Kind, more: &[AttributeProto], backward: bool) {
    let x = random(ir::Dtype::F32, &[STEPS, BATCH, WIDTH], 7);
    let [whole, halves] = kind.models(more, backward);
    let scans = |written: &Written| {
        let graph = written.import(&frontend::Options::default()).expect("the model is valid").graph;
        graph.order().into_iter().filter(|&id| matches!(graph.op(id), Op::Scan { .. })).count()
    };
    assert_eq!((scans(&whole), scans(&halves)), (1, 0), "{}", kind.op);
    let (whole, halves) = (whole.run(std::slice::from_ref(&x)), halves.run(&[x]));
    for (i, (a, b)) in whole.iter().zip(&halves).enumerate() {
        let far = a.to_f32s().iter().zip(b.to_f32s()).any(|(a, b)| (a - b).abs() > 1e-6);
        assert!(a.shape() == b.shape() && !far, "{} output {i}: {a:?} is not {b:?}", kind.op);
    }
}

#[test]
fn a_scan_gives_what_its_halves_do() {
    for kind in &KINDS {
        agree(kind, &[], false);
        agree(kind, &[words("direction", "reverse")], true);
        agree(kind, &[float("clip", 0.3)], false);
    }
    agree(&KINDS[1], &[int("linear_before_reset", 1)], false);
    agree(&KINDS[2], &[int("input_forget", 1)], false);
}

#[test]
fn an_open_number_of_steps_is_a_scan_of_so_many_turns() {
    let inputs = vec![value("x", FLOAT, &["seq", "1", "3"])];
    let kind = &KINDS[1];
    let nodes = vec![node(kind.op, &["x", "w", "r"], &["y", "h"], vec![int("hidden_size", HIDDEN as i64)])];
    let written = model(17, graph(inputs, nodes, vec![value("y", FLOAT, &[""; 4]), value("h", FLOAT, &[""; 3])]))
        .constants(vec![floats("w", &[1, 3 * HIDDEN, WIDTH], 1), floats("r", &[1, 3 * HIDDEN, HIDDEN], 2)]);
    let dims = [("seq".to_string(), frontend::Extent::Range(1, 20))].into();
    let graph = written.import(&frontend::Options { dims, ..Default::default() }).expect("the model is valid").graph;
    let run = |x: Tensor| ir::graph::eval::eval(&graph, &[x]).expect("the inputs fit");
    let long = random(ir::Dtype::F32, &[9, 1, WIDTH], 3);
    let short = Tensor::f32s(&[4, 1, WIDTH], &long.to_f32s()[..4 * WIDTH]);
    let (long, short) = (run(long), run(short));
    assert_eq!((long[0].shape(), short[0].shape()), (&[9, 1, 1, HIDDEN][..], &[4, 1, 1, HIDDEN][..]));
    assert_eq!(long[0].to_f32s()[..4 * HIDDEN], short[0].to_f32s());
    assert_eq!(short[0].to_f32s()[3 * HIDDEN..], short[1].to_f32s());
}
