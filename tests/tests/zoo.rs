//! Real models, small enough for every run of the tests: every machine against the reference interpreter, what the passes
//! leave of transposes, and how tight the plan of memory is.

use std::path::{Path, PathBuf};
use std::process::Command;

use maquette::compare::{Tolerance, distance};
use maquette::compile::Model;
use maquette::feeds::Feeds;
use maquette::machine::{self, Machine};
use maquette::npz::Arrays;
use maquette::plan;
use tests::house::{self, Place};
use tests::suite::oracle;

/// Largest difference over the largest magnitude that is expected.
const ERROR: f64 = 1e-4;
/// Transposes that move something in the optimized graph.
const TRANSPOSES: usize = 2;
/// Arena over the largest sum of bytes that are alive in one step.
const ARENA: f64 = 1.15;

fn check(path: &Path, inputs: Option<&Path>, places: &[Place], wrong: &mut Vec<String>) {
    let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
    let Some(first) = places.first() else { return };
    let mut options = first.options("model");
    let model = Model::open(path).expect("the model is there");
    let arrays = inputs.map_or(Arrays::none(), |path| Arrays::open(path).expect("the inputs are there"));
    let feeds = Feeds::new(&arrays, &model.inputs(), &|_| false).expect("they fit");
    options.shapes = feeds.shapes();
    let graph = model.import(&options).expect("every operator is there").graph;
    let inputs = match inputs {
        Some(_) => feeds.tensors(&graph).expect("they fit"),
        None => house::made_up(&graph, 1),
    };
    let wanted = oracle(&graph, &inputs).expect("the inputs fit");
    for place in places {
        (options.target, options.levels) = (place.target, vec![place.level]);
        let level = place.level;
        let built = machine::build(graph.clone(), &options, None, &()).expect("it compiles");
        let got = Machine::new(&built, &place.runner).and_then(|m| m.run(&inputs)).expect("it runs");
        let error =
            got.iter().zip(&wanted).map(|((_, got), want)| distance(got, want, Tolerance { relative: 0.0, absolute: 0.0 }).relative);
        let error = error.fold(0.0, f64::max);
        let (transposes, arena) = (built.optimized.report.transposes, plan::ratio(&built.programs[0].1));
        println!("zoo: {name}, {}: error {error:.1e}, {transposes} transposes left, arena {arena:.3} x the largest live sum", level.name);
        // a NaN is not small
        if !matches!(error.partial_cmp(&ERROR), Some(o) if o.is_le()) {
            wrong.push(format!("{name}, {}: error {error:e}", level.name));
        }
        if transposes > TRANSPOSES {
            wrong.push(format!("{name}, {}: {transposes} transposes are left", level.name));
        }
        if arena > ARENA {
            wrong.push(format!("{name}, {}: the arena is {arena:.3} x the largest live sum", level.name));
        }
    }
}

/// A model whose weights a script beside the zoo makes up.
fn inflated(zoo: &Path, name: &str) -> Option<PathBuf> {
    let folder = std::env::temp_dir().join("zoo-full");
    let path = folder.join(format!("{name}.onnx"));
    if !path.is_file() {
        let made = Command::new("python3").arg(zoo.join("inflate.py")).arg(&folder).arg(name).output();
        if !made.is_ok_and(|output| output.status.success()) || !path.is_file() {
            house::skip("zoo", &format!("{name} cannot be made: python3 with numpy and onnx makes it"));
            return None;
        }
    }
    Some(path)
}

#[test]
fn models_are_right_tight_and_without_transposes() {
    let places = house::places("zoo");
    let mut wrong = Vec::new();
    check(&house::digits(), None, &places, &mut wrong);
    if let Some(zoo) = house::shared("zoo", "zoo") {
        for name in ["mnist", "mlt_ad_f32", "mlt_kws_f32", "mlt_vww_f32", "mlt_resnet8_f32", "face_rfb320"] {
            let file = |folder: &str, ending: &str| -> PathBuf { zoo.join(folder).join(format!("{name}.{ending}")) };
            check(&file("models", "onnx"), Some(&file("inputs", "npz")), &places, &mut wrong);
        }
        // the reference interpreter takes its time: one machine
        for name in ["mobilenet_v2", "mobilenet_v3_small", "resnet18", "resnet50", "yolo_n320"] {
            if let Some(path) = inflated(&zoo, name) {
                check(&path, None, &places[..places.len().min(1)], &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
