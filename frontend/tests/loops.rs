//! Loops whose number of turns is only known when the model runs: as many turns as there can be at most, of which those count
//! that there are; and loops of a known number, as scans.

#[allow(dead_code, reason = "other tests need the rest of it")]
mod writer;

use frontend::Options;
use ir::Tensor;
use writer::*;

/// `y = x` doubled as often as `Min(n, 5)` says, in a body of these nodes.
fn doubled(bound: &str, nodes: Vec<onnx_protobuf::NodeProto>) -> Written {
    let body = onnx_protobuf::GraphProto {
        name: "body".into(),
        input: vec![value("i", INT64, &[]), value("c", BOOL, &[]), value("s", FLOAT, &["2"])],
        node: nodes,
        output: vec![value("d", BOOL, &[]), value("t", FLOAT, &["2"])],
        ..Default::default()
    };
    let nodes = vec![
        node("Min", &["n", bound], &["count"], vec![]),
        node("Loop", &["count", "", "x"], &["y"], vec![graph_attribute("body", body)]),
    ];
    let inputs = vec![value("n", INT64, &[]), value("x", FLOAT, &["2"])];
    model(17, graph(inputs, nodes, vec![value("y", FLOAT, &["2"])]))
        .constants(vec![ints_tensor("five", &[], &[5]), ints_tensor("much", &[], &[1 << 40])])
}

fn twice() -> Vec<onnx_protobuf::NodeProto> {
    vec![node("Add", &["s", "s"], &["t"], vec![]), node("Identity", &["c"], &["d"], vec![])]
}

#[test]
fn a_bounded_count_is_computed_and_masked() {
    let written = doubled("five", twice());
    for (n, factor) in [(-3, 1.0), (0, 1.0), (1, 2.0), (3, 8.0), (5, 32.0), (100, 32.0)] {
        let got = written.run(&[Tensor::i64s(&[], &[n]), Tensor::f32s(&[2], &[1.0, -3.0])]);
        assert_eq!(got[0].to_f32s(), [factor, -3.0 * factor], "{n} turns");
    }
}

#[test]
fn a_count_without_a_bound_is_refused_with_a_way_out() {
    let said = doubled("much", twice()).faults(&Options::default());
    assert!(said.starts_with("Unsupported") && said.contains("bounded") && said.contains("--bind n=FILE.npy"), "{said}");
}

#[test]
fn turns_that_are_not_taken_must_not_fail() {
    let mut nodes = twice();
    nodes.push(node("Gather", &["s", "n"], &["unused"], vec![]));
    let said = doubled("five", nodes).faults(&Options::default());
    assert!(said.starts_with("Unsupported") && said.contains("reads at indices"), "{said}");
}

#[test]
fn many_turns_are_a_scan() {
    // s becomes s + s + i, and every turn shows it
    let body = onnx_protobuf::GraphProto {
        name: "body".into(),
        input: vec![value("i", INT64, &[]), value("c", BOOL, &[]), value("s", FLOAT, &["2"])],
        node: vec![
            node("Cast", &["i"], &["f"], vec![int("to", 1)]),
            node("Add", &["s", "s"], &["u"], vec![]),
            node("Add", &["u", "f"], &["t"], vec![]),
            node("Identity", &["c"], &["d"], vec![]),
        ],
        output: vec![value("d", BOOL, &[]), value("t", FLOAT, &["2"]), value("t", FLOAT, &["2"])],
        ..Default::default()
    };
    let nodes = vec![node("Loop", &["n", "", "x"], &["y", "all"], vec![graph_attribute("body", body)])];
    let outputs = vec![value("y", FLOAT, &["2"]), value("all", FLOAT, &["", ""])];
    let written = model(17, graph(vec![value("x", FLOAT, &["2"])], nodes, outputs)).constants(vec![ints_tensor("n", &[], &[6])]);
    assert!(written.text().contains("scan"), "{}", written.text());
    let got = written.run(&[Tensor::f32s(&[2], &[1.0, 0.0])]);
    assert_eq!((got[0].to_f32s(), got[1].shape()), (vec![121.0, 57.0], &[6, 2][..]));
    assert_eq!(got[1].to_f32s()[..4], [2.0, 0.0, 5.0, 1.0]);
}
