//! Models that are small to write and would be large to import: each is refused before what it asks for is made, and what
//! is inlined many times over does not carry long names with it.

#[allow(dead_code, reason = "other tests need the rest of it")]
mod writer;

use frontend::{Limits, Options};
use writer::*;

const UINT8: i32 = 2;

fn refused(written: &Written) -> String {
    let options = Options { limits: Limits { dense: 1 << 20, ..Limits::default() }, ..Options::default() };
    let faults = written.faults(&options);
    assert!(faults.starts_with("Limit"), "{faults}");
    faults
}

fn one(input: (i32, &[&str]), node: onnx_protobuf::NodeProto) -> Written {
    let (dtype, dims) = input;
    model(17, graph(vec![value("x", dtype, dims)], vec![node], vec![value("y", dtype, &[])]))
}

#[test]
fn tables_are_counted_before_they_are_written() {
    let outputs = |written: Written, dtype| {
        let mut written = written;
        let graph = written.model.graph.as_mut().expect("there is a graph");
        graph.output = vec![value("y", dtype, &[])];
        graph.output[0].type_ = None.into();
        written
    };
    // a share for each of 2^37 windows
    let pool = node("AveragePool", &["x"], &["y"], vec![ints("kernel_shape", &[2]), ints("pads", &[1, 1])]);
    refused(&outputs(one((FLOAT, &["1", "1", "137438953472"]), pool), FLOAT));
    // where every image begins
    let indices = node("MaxPool", &["x"], &["", "y"], vec![ints("kernel_shape", &[1])]);
    refused(&outputs(one((UINT8, &["1073741824", "64", "2"]), indices), INT64));
}

#[test]
fn tables_are_counted_together() {
    // each would be a third of the limit
    let count = 40_000i64;
    let nodes = (0..40).map(|i| node("Range", &["zero", "count", "one"], &[&format!("y{i}")], vec![])).collect();
    let outputs = (0..40).map(|i| value(&format!("y{i}"), INT64, &["40000"])).collect();
    let written = model(17, graph(vec![], nodes, outputs)).constants(vec![
        ints_tensor("zero", &[], &[0]),
        ints_tensor("count", &[], &[count]),
        ints_tensor("one", &[], &[1]),
    ]);
    assert!(refused(&written).contains("those of other nodes among them"));
}

#[test]
fn long_names_are_not_repeated() {
    let long = "n".repeat(64 << 10);
    let named = |mut node: onnx_protobuf::NodeProto| {
        node.name = long.clone();
        node
    };
    // functions inside each other, each called under a long name
    let mut functions: Vec<_> = (0..40)
        .map(|i| function(&format!("f{i}"), &["a"], &["b"], &[], vec![named(call(&format!("f{}", i + 1), &["a"], &["b"], vec![]))]))
        .collect();
    let relus = (0..200).map(|i| named(node("Abs", &[&format!("v{i}")], &[&format!("v{}", i + 1)], vec![])));
    let inner = std::iter::once(node("Neg", &["a"], &["v0"], vec![])).chain(relus).chain([node("Neg", &["v200"], &["b"], vec![])]);
    functions.push(function("f40", &["a"], &["b"], &[], inner.collect()));
    let written =
        model(17, graph(vec![value("x", FLOAT, &["4"])], vec![named(call("f0", &["x"], &["y"], vec![]))], vec![value("y", FLOAT, &["4"])]));
    let graph = written.functions(functions).import(&Options::default()).expect("it is valid").graph;
    let bytes: usize = graph.order().iter().flat_map(|&id| graph.node(id).names.iter().map(|n| n.len())).sum();
    assert!(bytes < 200 << 10, "{bytes} bytes of names");

    // turns of a loop
    let body = onnx_protobuf::GraphProto {
        name: "body".into(),
        input: vec![value("i", INT64, &[]), value("c", BOOL, &[]), value("s", FLOAT, &["4"])],
        node: vec![named(node("Abs", &["s"], &["t"], vec![])), node("Identity", &["c"], &["d"], vec![])],
        output: vec![value("d", BOOL, &[]), value("t", FLOAT, &["4"])],
        ..Default::default()
    };
    let turns = node("Loop", &["count", "", "x"], &["y"], vec![graph_attribute("body", body)]);
    let written = model(17, graph_of(turns)).constants(vec![ints_tensor("count", &[], &[5000])]);
    let graph = written.import(&Options::default()).expect("it is valid").graph;
    let bytes: usize = graph.order().iter().flat_map(|&id| graph.node(id).names.iter().map(|n| n.len())).sum();
    assert!(bytes < 2 << 20, "{bytes} bytes of names");
}

fn graph_of(node: onnx_protobuf::NodeProto) -> onnx_protobuf::GraphProto {
    graph(vec![value("x", FLOAT, &["4"])], vec![node], vec![value("y", FLOAT, &["4"])])
}
