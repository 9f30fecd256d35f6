//! Models that are changed still compute what they did, where the change says so: by the oracle, before and after.

#[allow(dead_code)]
mod writer;

use std::collections::{BTreeMap, BTreeSet};

use frontend::edit::{Draft, Range, Removal, Small, Ties};
use frontend::{Model, NoFiles, Options};
use ir::Tensor;
use ir::graph::eval;
use onnx_protobuf::{NodeProto, TensorProto};
use writer::*;

fn draft(model: &Written) -> Draft {
    Model::read(model.bytes()).expect("a model").draft(&NoFiles).expect("its constants are there")
}

/// What a model computes of one input, after it was written and read again.
fn run(draft: &Draft, input: &Tensor) -> Vec<Tensor> {
    let written = draft.clone().finish("beside.bin");
    assert!(written.data.is_none());
    let import = frontend::import(written.model, &NoFiles, &Options::default()).expect("it is still a model");
    eval::eval(&import.graph, std::slice::from_ref(input)).expect("the input fits")
}

fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
}

fn near(a: &[Tensor], b: &[Tensor], tolerance: f32) {
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a.shape(), b.shape());
        let worst = a.to_f32s().iter().zip(b.to_f32s()).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(worst <= tolerance, "{worst}");
    }
}

fn weights(name: &str, dims: &[i64], seed: usize) -> TensorProto {
    floats_tensor(name, dims, &values(dims.iter().product::<i64>() as usize, seed))
}

/// `[1,4,6,6]` to a model's output, with weights.
fn of(nodes: Vec<NodeProto>, output: &[&str], constants: Vec<TensorProto>) -> Written {
    model(17, graph(vec![value("x", FLOAT, &["1", "4", "6", "6"])], nodes, vec![value("y", FLOAT, output)])).constants(constants)
}

fn image() -> Tensor {
    Tensor::f32s(&[1, 4, 6, 6], &values(144, 1))
}

#[test]
fn a_normalization_goes_into_its_convolution() {
    let nodes = vec![
        node("Conv", &["x", "w"], &["c"], vec![ints("pads", &[1, 1, 1, 1])]),
        node("BatchNormalization", &["c", "gain", "shift", "mean", "variance"], &["y"], vec![float("epsilon", 1e-3)]),
    ];
    let positive = floats_tensor("variance", &[8], &values(8, 6).iter().map(|v| v + 1.5).collect::<Vec<_>>());
    let constants =
        vec![weights("w", &[8, 4, 3, 3], 2), weights("gain", &[8], 3), weights("shift", &[8], 4), weights("mean", &[8], 5), positive];
    let before = draft(&of(nodes, &["1", "8", "6", "6"], constants));
    let mut after = before.clone();
    assert_eq!((after.fold_norms(), after.fold_norms()), (1, 0));
    assert!(!after.model().bytes_hold("BatchNormalization"));
    near(&run(&after, &image()), &run(&before, &image()), 1e-4);
}

/// Whether a written model names a thing.
trait Holds {
    fn bytes_hold(&self, text: &str) -> bool;
}
impl Holds for Model {
    fn bytes_hold(&self, text: &str) -> bool {
        let written = self.draft(&NoFiles).expect("it was one").finish("x").model;
        written.windows(text.len()).any(|w| w == text.as_bytes())
    }
}

#[test]
fn axes_become_inputs_and_what_changes_its_meaning_is_refused() {
    let nodes = vec![node("ReduceMean", &["x"], &["m"], vec![ints("axes", &[2, 3])]), node("Relu", &["m"], &["y"], vec![])];
    let before = draft(&of(nodes, &["1", "4", "1", "1"], vec![]));
    let mut after = before.clone();
    after.raise(21).expect("it can be said");
    assert_eq!((before.opset(), after.opset()), (17, 21));
    near(&run(&after, &image()), &run(&before, &image()), 0.0);
    let mut old = model(
        12,
        graph(vec![value("x", FLOAT, &["1", "4"])], vec![node("Softmax", &["x"], &["y"], vec![])], vec![value("y", FLOAT, &["1", "4"])]),
    );
    let faults = draft(&old).raise(13).expect_err("the default axis changes");
    assert_eq!(faults[0].op.as_deref(), Some("Softmax"));
    old.model.opset_import[0].version = 9;
    assert!(draft(&old).raise(13).expect_err("it is too old")[0].what.contains("operator set 9"));
}

#[test]
fn a_matrix_goes_out_and_back_in_every_layout() {
    let nodes = vec![
        node("Conv", &["x", "w", "b"], &["c"], vec![ints("strides", &[2, 2])]),
        node("Flatten", &["c"], &["f"], vec![]),
        node("Gemm", &["f", "g"], &["h"], vec![]),
        node("MatMul", &["h", "m"], &["p"], vec![]),
        node("Add", &["p", "a"], &["y"], vec![]),
    ];
    let constants = vec![
        weights("w", &[8, 4, 3, 3], 2),
        weights("b", &[8], 3),
        weights("g", &[32, 6], 4),
        weights("m", &[6, 5], 5),
        weights("a", &[5], 6),
    ];
    let before = draft(&of(nodes, &["1", "5"], constants));
    let (layers, others) = before.layers();
    assert!(others.is_empty());
    assert_eq!(
        layers.iter().map(|l| (l.op, l.rows, l.k, l.bias.is_some())).collect::<Vec<_>>(),
        [("Conv", 8, 36, true), ("Gemm", 6, 32, false), ("MatMul", 5, 6, true)]
    );
    // channels last within a row
    let w = values(8 * 36, 2);
    assert_eq!(before.matrix(&layers[0])[1], w[9]);
    let mut after = before.clone();
    for layer in &layers {
        let (matrix, bias) = (after.matrix(layer), after.bias(layer));
        after.set_matrix(layer, &matrix);
        after.set_bias(layer, &bias);
    }
    near(&run(&after, &image()), &run(&before, &image()), 1e-5);
    // what a layer reads and what it says are its matrix times each other
    let probe = run_values(&before, &["c", "f", "h", "p", "y"], &image());
    for layer in &layers {
        let input = if layer.input == "x" { image() } else { probe[&layer.input].clone() };
        let (x, t) = layer.samples((input.shape(), &input.to_f32s()), &probe[&layer.output].to_f32s(), 100, 0).expect("it fits");
        let (weights, bias) = (before.matrix(layer), before.bias(layer));
        for (x, t) in x.chunks_exact(layer.k).zip(t.chunks_exact(layer.rows)) {
            for (row, t) in t.iter().enumerate() {
                let said: f32 = weights[row * layer.k..][..layer.k].iter().zip(x).map(|(w, x)| w * x).sum::<f32>() + bias[row];
                assert!((said - t).abs() < 1e-3, "{}: {said} {t}", layer.label);
            }
        }
    }
}

fn run_values(draft: &Draft, names: &[&str], input: &Tensor) -> BTreeMap<String, Tensor> {
    let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
    let import = draft.tapped(&names).import(&NoFiles, &Options::default()).expect("taps are outputs");
    names.into_iter().zip(eval::eval(&import.graph, std::slice::from_ref(input)).expect("the input fits")).collect()
}

#[test]
fn bytes_between_layers_change_little_and_keep_names() {
    let nodes =
        vec![node("Conv", &["x", "w"], &["c"], vec![]), node("Relu", &["c"], &["r"], vec![]), node("Conv", &["r", "v"], &["y"], vec![])];
    let before = draft(&of(nodes, &["1", "8", "2", "2"], vec![weights("w", &[8, 4, 3, 3], 2), weights("v", &[8, 8, 3, 3], 3)]));
    let plan = before.plan(&BTreeSet::new()).expect("nothing is kept");
    // the Relu is part of the first convolution
    assert_eq!(plan.points.iter().map(|p| p.value.as_str()).collect::<Vec<_>>(), ["r", "x", "y"]);
    let mut after = before.clone();
    for layer in &plan.layers {
        let integers: Vec<i8> = before.matrix(layer).iter().map(|w| (w * 127.0).round() as i8).collect();
        let scales = vec![1.0 / 127.0; layer.rows];
        after.quantize_weights(layer, &Small { integers: &integers, scales: &scales, bits: 8, block: None });
    }
    let (wanted, seen) = (run(&before, &image()), run_values(&before, &["r", "y"], &image()));
    let largest = |t: &Tensor| t.to_f32s().iter().fold(0f32, |m, v| m.max(v.abs()));
    after.quantize_value("x", Range { scale: 2.0 / 255.0, zero: 128 });
    after.quantize_value("r", Range { scale: largest(&seen["r"]) / 255.0, zero: 0 });
    after.quantize_value("y", Range { scale: largest(&seen["y"]) / 127.0, zero: 128 });
    assert_eq!((after.inputs(), after.outputs()), (vec!["x".to_string()], vec!["y".to_string()]));
    near(&run(&after, &image()), &wanted, 0.03 * largest(&wanted[0]));
    assert!(before.plan(&BTreeSet::from(["nobody".to_string()])).is_err());
}

fn ties(draft: &Draft, input: &Tensor) -> (Ties, BTreeMap<String, Vec<usize>>) {
    let names = draft.shaped();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let shapes = run_values(draft, &names, input).into_iter().map(|(name, t)| (name, t.shape().to_vec())).collect();
    (draft.ties(&shapes), shapes)
}

/// Takes channels of one value, and what is tied to them, out of a model in which they are zero: what it computes stays.
fn removed(model: &Written, from: &str, gone: &[usize]) -> (Draft, Draft) {
    let before = draft(model);
    let (ties, shapes) = ties(&before, &image());
    let number = |name: &str| ties.values.iter().position(|v| v == name).expect("it has channels");
    let mut all: BTreeSet<(usize, usize)> = gone.iter().map(|c| (number(from), *c)).collect();
    loop {
        let count = all.len();
        for (a, b) in &ties.joins {
            if all.contains(a) || all.contains(b) {
                all.extend([*a, *b]);
            }
        }
        if all.len() == count {
            break;
        }
    }
    assert!(all.iter().all(|(v, _)| !ties.barred.contains(v)), "{:?} of {:?}", ties.barred, ties.values);
    let mut removal = Removal::new();
    for (v, c) in all {
        removal.entry(ties.values[v].clone()).or_default().insert(c);
    }
    let axes = ties.values.iter().cloned().zip(ties.axes.iter().map(|a| a.0)).collect();
    let mut after = before.clone();
    after.remove(&removal, &shapes, &axes);
    (before, after)
}

/// Weights `[rows, …]` of which some rows are zero.
fn silent(name: &str, dims: &[i64], seed: usize, rows: &[usize]) -> TensorProto {
    let mut all = values(dims.iter().product::<i64>() as usize, seed);
    let per_row = all.len() / dims[0] as usize;
    rows.iter().for_each(|r| all[r * per_row..(r + 1) * per_row].fill(0.0));
    floats_tensor(name, dims, &all)
}

#[test]
fn channels_go_through_residuals_depthwise_layers_and_flattening() {
    let gone = [1, 6];
    let nodes = vec![
        node("Conv", &["x", "a"], &["p"], vec![]),
        node("Conv", &["x", "b"], &["q"], vec![]),
        node("Add", &["p", "q"], &["s"], vec![]),
        node("Mul", &["s", "gain"], &["g"], vec![]),
        node("Relu", &["g"], &["r"], vec![]),
        node("Conv", &["r", "d"], &["w"], vec![int("group", 8), ints("pads", &[1, 1, 1, 1])]),
        node("MaxPool", &["w"], &["m"], vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])]),
        node("Flatten", &["m"], &["f"], vec![]),
        node("Gemm", &["f", "e"], &["y"], vec![int("transB", 1)]),
    ];
    let constants = vec![
        silent("a", &[8, 4, 3, 3], 2, &gone),
        silent("b", &[8, 4, 3, 3], 3, &gone),
        weights("gain", &[1, 8, 1, 1], 4),
        weights("d", &[8, 1, 3, 3], 5),
        weights("e", &[5, 32], 6),
    ];
    let (before, after) = removed(&of(nodes, &["1", "5"], constants), "w", &gone);
    let shapes: Vec<(usize, usize)> = after.layers().0.iter().map(|l| (l.rows, l.k)).collect();
    assert_eq!(shapes, [(6, 36), (6, 36), (6, 9), (5, 24)]);
    near(&run(&after, &image()), &run(&before, &image()), 1e-4);
}

#[test]
fn channels_go_out_of_one_side_of_a_concatenation_and_groups_stay() {
    let nodes = vec![
        node("Conv", &["x", "a"], &["p"], vec![]),
        node("Conv", &["x", "b"], &["q"], vec![]),
        node("Concat", &["p", "q"], &["s"], vec![int("axis", 1)]),
        node("Conv", &["s", "c"], &["t"], vec![]),
        node("Conv", &["t", "d"], &["y"], vec![int("group", 2)]),
    ];
    let constants = vec![
        weights("a", &[4, 4, 1, 1], 2),
        silent("b", &[6, 4, 1, 1], 3, &[2]),
        weights("c", &[8, 10, 3, 3], 4),
        weights("d", &[8, 4, 3, 3], 5),
    ];
    let model = of(nodes, &["1", "8", "2", "2"], constants);
    let (before, after) = removed(&model, "q", &[2]);
    assert_eq!(after.layers().0.iter().map(|l| (l.rows, l.k)).collect::<Vec<_>>(), [(4, 4), (5, 4), (8, 81), (8, 36)]);
    near(&run(&after, &image()), &run(&before, &image()), 1e-4);
    // what a grouped layer reads keeps its channels
    let (ties, _) = ties(&draft(&model), &image());
    let barred: Vec<&str> = ties.barred.iter().map(|v| ties.values[*v].as_str()).collect();
    assert_eq!(barred, ["t", "y"]);
}

#[test]
fn weights_beside_the_model_stay_beside_it() {
    struct Beside(Vec<u8>);
    impl frontend::Source for Beside {
        fn external(&self, _: &str, offset: u64, length: Option<u64>) -> Result<bytes::Bytes, frontend::SourceError> {
            let from = offset as usize;
            Ok(self.0[from..from + length.expect("it is given") as usize].to_vec().into())
        }
    }
    let mut file = of(vec![node("Conv", &["x", "w"], &["y"], vec![])], &["1", "32", "4", "4"], vec![weights("w", &[32, 4, 3, 3], 2)]);
    let tensor = &mut file.model.graph.as_mut().expect("a graph").initializer[0];
    let data = Beside(std::mem::take(&mut tensor.raw_data));
    tensor.data_location = onnx_protobuf::tensor_proto::DataLocation::EXTERNAL.into();
    let entry =
        |key: &str, value: &str| onnx_protobuf::StringStringEntryProto { key: key.into(), value: value.into(), ..Default::default() };
    tensor.external_data = vec![entry("location", "old.bin"), entry("offset", "0"), entry("length", "4608")];
    let written = Model::read(file.bytes()).expect("a model").draft(&data).expect("its data is there").finish("new.bin");
    assert_eq!(written.data.as_deref(), Some(&data.0[..]));
    let (a, b) = (Model::read(file.bytes()).expect("a model"), Model::read(written.model).expect("a model"));
    let beside = Beside(written.data.expect("it is there"));
    let out = |model: &Model, from: &Beside| {
        let import = model.import(from, &Options::default()).expect("it is a model");
        eval::eval(&import.graph, &[image()]).expect("the input fits")
    };
    near(&out(&b, &beside), &out(&a, &data), 0.0);
}

#[test]
fn weights_behind_a_dequantization_are_weights() {
    let bytes =
        TensorProto { name: "q".into(), dims: vec![2, 4, 1, 1], data_type: 3, raw_data: (1..=8).collect(), ..TensorProto::default() };
    let nodes = vec![
        node("DequantizeLinear", &["q", "s"], &["w"], vec![int("axis", 0)]),
        node("Identity", &["w"], &["v"], vec![]),
        node("Conv", &["x", "v"], &["y"], vec![]),
    ];
    let before = draft(&of(nodes, &["1", "2", "6", "6"], vec![bytes, floats_tensor("s", &[2], &[0.5, 2.0])]));
    let (layers, others) = before.layers();
    assert_eq!(others, []);
    assert_eq!(before.matrix(&layers[0]), [0.5, 1.0, 1.5, 2.0, 10.0, 12.0, 14.0, 16.0]);
    assert_eq!(before.integers(), None);
    let mut after = before.clone();
    after.set_matrix(&layers[0], &before.matrix(&layers[0]));
    near(&run(&after, &image()), &run(&before, &image()), 1e-5);
    after.quantize_value("y", Range { scale: 1.0, zero: 0 });
    assert!(after.integers().is_some());
}
