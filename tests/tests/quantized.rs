//! Quantized arithmetic against onnxruntime: some hundred random graphs, made by `tests/quantized.py` where Python has
//! onnxruntime, through the reference interpreter and one machine. Every element must agree; where onnxruntime itself
//! stays in floats, by one step.

use std::path::Path;
use std::process::Command;

use ir::{Graph, Tensor};
use maquette::compile::{Model, Options};
use maquette::feeds::Feeds;
use maquette::machine::{self, Machine};
use maquette::npz::Arrays;
use tests::house;

/// One file of graphs: inputs as the graph wants them, and onnxruntime's outputs.
fn read(path: &Path, options: &mut Options) -> (Graph, Vec<Tensor>, Vec<Tensor>) {
    let model = Model::open(path).expect("the model was just written");
    let mut arrays = Arrays::open(&path.with_extension("npz")).expect("so were its arrays");
    let mut wanted = Arrays::open(&path.with_extension("npz")).expect("so were its arrays");
    let part = |arrays: &mut Arrays, prefix: &str| {
        arrays.list.retain(|a| a.name.starts_with(prefix));
        arrays.list.iter_mut().for_each(|a| a.name = a.name[prefix.len()..].to_string());
    };
    part(&mut arrays, "in.");
    part(&mut wanted, "out.");
    let feeds = Feeds::new(&arrays, &model.inputs(), &|_| false).expect("they fit");
    options.shapes = feeds.shapes();
    let graph = model.import(options).expect("every operator is there").graph;
    let inputs = feeds.tensors(&graph).expect("they fit");
    let outputs = graph.outputs().iter().map(|(name, id)| {
        let array = wanted.list.iter().find(|a| a.name == *name).expect("every output has an array");
        wanted.tensor(array, graph.ty(*id).dtype).expect("of its type")
    });
    let outputs = outputs.collect();
    (graph, inputs, outputs)
}

/// Elements that differ by more than `room` steps, over all outputs.
fn beyond(who: &str, graph: &Graph, got: &[Tensor], wanted: &[Tensor], room: f64) -> Vec<String> {
    let mut wrong = Vec::new();
    for (((name, _), got), wanted) in graph.outputs().iter().zip(got).zip(wanted) {
        assert_eq!(got.ty(), wanted.ty(), "{who}: {name}");
        let apart: Vec<f64> = got.to_f64s().iter().zip(wanted.to_f64s()).map(|(g, w)| (g - w).abs()).collect();
        let count = apart.iter().filter(|&&d| d > room).count();
        if count > 0 {
            let most = apart.iter().copied().fold(0.0, f64::max);
            wrong.push(format!("{who}: {name} {}: {count} elements differ, by up to {most}", got.ty()));
        }
    }
    wrong
}

#[test]
fn quantized_graphs_agree_with_onnxruntime() {
    let script = house::committed("tests/quantized.py");
    if !Command::new("python3").args(["-c", "import numpy, onnx, onnxruntime"]).output().is_ok_and(|o| o.status.success()) {
        return house::skip("quantized", "python3 with numpy, onnx and onnxruntime draws the graphs");
    }
    let folder = house::scratch();
    house::must(Command::new("python3").arg(script).arg(&folder.path));
    let mut files: Vec<_> = std::fs::read_dir(&folder.path).expect("it was made").map(|e| e.expect("a file").path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    files.sort();
    let here = house::here("quantized");
    let wrong = house::each(&files, |path| {
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let room = if stem.starts_with("exact") { 0.0 } else { 1.0 };
        let levels = here.as_ref().map(|(_, levels)| levels.clone()).unwrap_or_default();
        let mut options = house::options(levels.first().copied().into_iter().collect(), "model");
        let (graph, inputs, wanted) = read(path, &mut options);
        let meant = passes::run::meaning(&graph, passes::Semantics::Ort);
        let got = ir::graph::eval::eval(&meant, &inputs).expect("the inputs fit");
        let mut wrong = beyond(&format!("{stem}, reference"), &graph, &got, &wanted, room);
        if !options.levels.is_empty() {
            let built = machine::build(graph.clone(), &options, None, &()).expect("it compiles");
            let counts = built.optimized.report.folded.expect("it is quantized");
            if counts.folded < counts.products {
                wrong.push(format!("{stem}: {} of {} products are folded", counts.folded, counts.products));
            }
            let runner = maquette::execute::Runner::default();
            let got = Machine::new(&built, &runner).and_then(|m| m.run(&inputs)).expect("it runs");
            let got: Vec<Tensor> = got.into_iter().map(|(_, tensor)| tensor).collect();
            wrong.extend(beyond(&format!("{stem}, {}", options.levels[0].name), &graph, &got, &wanted, room));
        }
        wrong
    });
    println!("quantized: {} files of graphs", files.len());
    assert!(!files.is_empty(), "no graphs were drawn");
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
