//! `quantize` and `prune` as their users meet them: what is written is an ONNX model that another runtime takes and folds, that says the
//! same here and there, and that still reads digits; what is wrong with samples is told, and nothing is written then.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ir::Tensor;
use maquette::compile::Model;
use maquette::execute::Runner;
use maquette::files::Scratch;
use maquette::machine::{self, Machine};
use tests::house::{self, have, must};

fn maquette(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_maquette-tested"));
    command.current_dir(folder).args(words).output().expect("it starts")
}

/// What it said; panics where it fails.
fn done(folder: &Path, words: &[&str]) -> String {
    let output = maquette(folder, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn json(folder: &Path, words: &[&str]) -> serde_json::Value {
    serde_json::from_str(&done(folder, &[words, &["--json"]].concat())).expect("it is JSON")
}

/// A folder with the digits and their samples.
fn digits() -> Scratch {
    let folder = house::scratch();
    for name in ["digits.onnx", "calib.npz"] {
        std::fs::copy(house::committed(&format!("examples/digits/{name}")), folder.path.join(name)).expect("there is room");
    }
    folder
}

/// Test images that a model reads right, of all and of the class that it reads worst, in percent.
fn right(model: &Path) -> (f64, f64) {
    let options = house::options(vec![house::here("digits").expect("asked before").1.pop().expect("a level")], "model");
    let graph = Model::open(model).and_then(|m| m.import(&options)).unwrap_or_else(|why| panic!("{}: {why}", model.display())).graph;
    let built = machine::build(graph, &options, None, &()).unwrap_or_else(|why| panic!("{}: {why}", model.display()));
    let machine = Machine::new(&built, &Runner::default()).expect("it runs here");
    let read = |name: &str| std::fs::read(house::committed(&format!("examples/digits/{name}"))).expect("it is committed");
    let (images, labels) = (read("test.images.u8"), read("test.labels.u8"));
    let (mut hits, mut counts) = ([0.0; 10], [0.0; 10]);
    for (image, &label) in images.chunks_exact(64).zip(&labels) {
        let pixels: Vec<f32> = image.iter().map(|p| f32::from(*p)).collect();
        let said = machine.run(&[Tensor::f32s(&[1, 1, 8, 8], &pixels)]).expect("it runs").remove(0).1.to_f32s();
        let best = (0..10).max_by(|a, b| said[*a].total_cmp(&said[*b])).expect("ten classes");
        hits[usize::from(label)] += f64::from(u8::from(best == usize::from(label)));
        counts[usize::from(label)] += 1.0;
    }
    let worst = hits.iter().zip(&counts).map(|(h, c)| 100.0 * h / c).fold(100.0, f64::min);
    (100.0 * hits.iter().sum::<f64>() / counts.iter().sum::<f64>(), worst)
}

const SAMPLES: [&str; 2] = ["--calib", "calib.npz"];

#[test]
fn small_digits_are_still_read() {
    if house::here("small digits").is_none() {
        return;
    }
    let folder = digits();
    let path = |name: &str| folder.path.join(name);
    let (float, float_worst) = right(&path("digits.onnx"));
    let steps: [(&str, &str, &[&str], f64); 5] = [
        ("int8.onnx", "digits.onnx", &["quantize"], 1.0),
        ("w4.onnx", "digits.onnx", &["quantize", "--scheme", "w4"], 1.0),
        ("pruned.onnx", "digits.onnx", &["prune", "--sparsity", "0.8", "--pattern", "4x1"], 1.0),
        ("both.onnx", "pruned.onnx", &["quantize"], 1.0),
        ("narrow.onnx", "digits.onnx", &["prune", "--sparsity", "0.5", "--pattern", "channels"], 2.0),
    ];
    for (made, from, words, points) in steps {
        let words = [&[words[0], from], &words[1..], &SAMPLES, &["-o", made]].concat();
        let said = json(&folder.path, &words);
        let layers = said["layers"].as_array().expect("a list of layers");
        assert_eq!(layers.len(), 4, "{made}: {said}");
        let (all, worst) = right(&path(made));
        println!("{made}: {all:.2} % right, {worst:.1} % of the worst class; float {float:.2} %, {float_worst:.1} %");
        assert!(float - all <= points, "{made}: {all} of {float}");
        // a class has 36 images or so: one of them is nearly three points
        assert!(float_worst - worst <= 9.0, "{made}: {worst} of {float_worst}");
    }
    let size = |name: &str| std::fs::metadata(path(name)).expect("it was written").len();
    assert!(size("int8.onnx") * 3 < size("digits.onnx") && size("narrow.onnx") * 10 < size("digits.onnx") * 7, "small");
}

#[test]
fn four_of_five_weights_go_in_blocks_and_zeros_stay_zeros() {
    if house::here("blocks of zeros").is_none() {
        return;
    }
    let folder = digits();
    for (pattern, tall, wide) in [("4x1", 4, 1), ("1x4", 1, 4)] {
        let words = [&["prune", "digits.onnx", "--sparsity", "0.8", "--pattern", pattern], &SAMPLES[..], &["-o", "p.onnx"]].concat();
        let said = json(&folder.path, &words);
        let kept: f64 = said["weights_after"].as_f64().expect("a number") / said["weights_before"].as_f64().expect("a number");
        assert!((0.19..=0.23).contains(&kept), "{pattern}: {kept}");
        let model = Model::open(&folder.path.join("p.onnx")).expect("it was written");
        let draft = model.draft().expect("its constants are there");
        let layer = draft.layers().0.into_iter().find(|l| l.label == "conv3").expect("it is there");
        let weights = draft.matrix(&layer);
        for (row, column) in (0..layer.rows).flat_map(|r| (0..layer.k).map(move |c| (r, c))) {
            let first = weights[(row - row % tall) * layer.k + column - column % wide];
            assert_eq!(weights[row * layer.k + column] == 0.0, first == 0.0, "{pattern}: {row} {column}");
        }
    }
}

/// Runs a quantized model in ONNX Runtime and here on some samples, with every value that lies as bytes as an output: the largest difference
/// in steps, the share of values that differ, and the operators that ONNX Runtime made of it.
const BESIDE: &str = r#"
import collections, json, subprocess, sys
import numpy as np, onnx, onnxruntime as ort
program, path, samples, folder = sys.argv[1:]
model = onnx.load(path)
onnx.checker.check_model(model, full_check=True)
made = [n.output[0] for n in model.graph.node if n.op_type == "QuantizeLinear"]
for name in made:
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None))
onnx.save(model, folder + "/taps.onnx")
said = ort.SessionOptions()
said.log_severity_level = 3
said.optimized_model_filepath = folder + "/folded.onnx"
said.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
plain = ort.InferenceSession(path, said, providers=["CPUExecutionProvider"])
operators = collections.Counter(n.op_type for n in onnx.load(folder + "/folded.onnx").graph.node)
taps = ort.InferenceSession(folder + "/taps.onnx", providers=["CPUExecutionProvider"])
(name, all), = np.load(samples).items()
steps, differ, count, float_error = 0, 0, 0, 0.0
for sample in all[:2]:
    shape = [d if isinstance(d, int) else 1 for d in plain.get_inputs()[0].shape]
    sample = sample.reshape(shape)
    want = dict(zip([o.name for o in taps.get_outputs()], taps.run(None, {name: sample})))
    np.savez(folder + "/one.npz", **{name: sample})
    subprocess.run([program, "run", "taps.onnx", "--inputs", "one.npz", "--outputs", "out.npz", "-q"], cwd=folder, check=True)
    got = np.load(folder + "/out.npz")
    for key, value in want.items():
        if value.dtype == np.uint8:
            d = np.abs(got[key].astype(int) - value.astype(int))
            steps, differ, count = max(steps, int(d.max())), differ + int((d > 0).sum()), count + d.size
        else:
            float_error = max(float_error, float(np.abs(got[key] - value).max()))
print(json.dumps({"steps": steps, "differ": differ / count, "operators": operators, "float": float_error}))
"#;

fn beside(model: &str, samples: &str, folder: &Path) -> Option<serde_json::Value> {
    let test = "compressed models in ONNX Runtime";
    if !have("python3", test) {
        return None;
    }
    let there = Command::new("python3").args(["-c", "import onnx, onnxruntime, numpy"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        house::skip(test, "python3 has no onnx and onnxruntime");
        return None;
    }
    let program = env!("CARGO_BIN_EXE_maquette-tested");
    let mut command = Command::new("python3");
    command.current_dir(folder).args(["-c", BESIDE, program, model, samples, &folder.display().to_string()]);
    Some(serde_json::from_str(&must(&mut command)).expect("it is JSON"))
}

/// What is left of a model in ONNX Runtime that computes in floats.
fn floats(operators: &serde_json::Value) -> Vec<&String> {
    const INTEGER: [&str; 5] = ["MaxPool", "Flatten", "Reshape", "Transpose", "QuantizeLinear"];
    let all = operators.as_object().expect("a count of operators");
    all.keys().filter(|op| !op.starts_with('Q') && !INTEGER.contains(&op.as_str())).collect()
}

#[test]
fn another_runtime_folds_all_layers_and_says_the_same() {
    if house::here("compressed models").is_none() {
        return;
    }
    let folder = digits();
    let resnet = house::shared("zoo/models", "resnet8").map(|zoo| zoo.join("mlt_resnet8_f32.onnx"));
    let image = resnet.as_ref().map(|_| samples(&folder.path));
    let models = [Some((folder.path.join("digits.onnx"), "calib.npz")), resnet.zip(image)];
    for (path, samples) in models.into_iter().flatten() {
        let path: &str = &path.display().to_string();
        let prune = ["prune", path, "--sparsity", "0.5", "--calib", samples, "-o", "pruned.onnx"];
        done(&folder.path, &prune);
        for (from, least) in [(path, 18.0), ("pruned.onnx", 15.0)] {
            let said = json(&folder.path, &["quantize", from, "--calib", samples, "-o", "small.onnx"]);
            let decibels = said["output_dB"].as_f64().expect("a number");
            println!("{from}: {decibels:.1} dB");
            assert!(decibels > least, "{from}: {decibels}");
            let explained = maquette(&folder.path, &["explain", "small.onnx"]);
            let explained = String::from_utf8(explained.stderr).expect("text");
            let folded = explained.split("matmuls folded: ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
            assert!(
                folded.split(" of ").all(|n| n == folded.split(" of ").last().unwrap_or_default()) && !folded.is_empty(),
                "{explained}"
            );
            let Some(other) = beside("small.onnx", samples, &folder.path) else { return };
            println!("{from}: {other}");
            assert_eq!(floats(&other["operators"]), ["Softmax"], "{from}: {other}");
            assert!(other["steps"].as_i64().expect("a number") <= 1, "{from}: {other}");
            assert!(other["differ"].as_f64().expect("a number") < 1e-3, "{from}: {other}");
            assert!(other["float"].as_f64().expect("a number") < 1.0 / 255.0, "{from}: {other}");
        }
    }
}

/// Images for resnet8: blobs of color, the same every time.
fn samples(folder: &Path) -> &'static str {
    let mut values = Vec::new();
    for image in 0..128usize {
        let wave = |i: usize, part: usize| ((image * 131 + part * 17 + i * (1 + image % 5)) as f32 / 9.0).sin();
        for (y, x, c) in (0..32).flat_map(|y| (0..32).flat_map(move |x| (0..3).map(move |c| (y, x, c)))) {
            values.push((127.5 + 60.0 * wave(x, c) + 60.0 * wave(y, 3 + c)).clamp(0.0, 255.0));
        }
    }
    let file = std::fs::File::create(folder.join("images.npz")).expect("there is room");
    maquette::npz::write(file, &[("input_1".to_string(), Tensor::f32s(&[128, 32, 32, 3], &values))]).expect("there is room");
    "images.npz"
}

#[test]
fn a_budget_and_a_word_keep_layers_as_they_are() {
    if house::here("a budget").is_none() {
        return;
    }
    let folder = digits();
    let words = |more: &[&'static str]| [&["quantize", "digits.onnx"], &SAMPLES[..], &["-o", "q.onnx"], more].concat();
    let schemes = |said: &serde_json::Value| {
        let layers = said["layers"].as_array().expect("a list").iter();
        layers.map(|l| format!("{} {}", l["layer"].as_str().expect("a name"), l["scheme"].as_str().expect("a word"))).collect::<Vec<_>>()
    };
    let said = json(&folder.path, &words(&["--keep", "conv1,fc"]));
    assert_eq!(schemes(&said), ["conv2 int8", "conv3 int8", "conv1 float", "fc float"]);
    let whole = json(&folder.path, &words(&[]))["error"].as_f64().expect("a number");
    let budget = whole * 0.7;
    let said = json(&folder.path, &[&words(&[])[..], &["--budget-error", &budget.to_string()]].concat());
    assert!(said["error"].as_f64().expect("a number") <= budget, "{said}");
    assert!(schemes(&said).iter().any(|s| s.ends_with("float")) && schemes(&said).iter().any(|s| s.ends_with("int8")), "{said}");
    for how in ["min-max", "percentile"] {
        assert_eq!(schemes(&json(&folder.path, &words(&["--activations", how]))).len(), 4);
    }
}

#[test]
fn what_is_wrong_with_samples_is_told_and_nothing_is_written() {
    if house::here("samples").is_none() {
        return;
    }
    let folder = digits();
    let write = |name: &str, arrays: &[(&str, &[usize])]| {
        let tensors: Vec<(String, Tensor)> =
            arrays.iter().map(|(n, shape)| (n.to_string(), Tensor::f32s(shape, &vec![1.0; shape.iter().product()]))).collect();
        let file = std::fs::File::create(folder.path.join(name)).expect("there is room");
        maquette::npz::write(file, &tensors).expect("there is room");
    };
    write("named.npz", &[("picture", &[9, 1, 8, 8])]);
    write("shaped.npz", &[("image", &[9, 1, 8, 9])]);
    write("few.npz", &[("image", &[127, 1, 8, 8])]);
    write("none.npz", &[("image", &[0, 1, 8, 8])]);
    let refused = |words: &[&str], code: i32, what: &[&str]| {
        let output = maquette(&folder.path, words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(what.iter().all(|w| said.contains(w)), "{words:?}: {said}");
        assert!(!PathBuf::from(&folder.path).join("o.onnx").exists(), "{words:?}");
    };
    let quantize = |calib: &'static str| ["quantize", "digits.onnx", "--calib", calib, "-o", "o.onnx"];
    refused(&quantize("named.npz"), 2, &["takes no input \"picture\"", "no array for input \"image\", wanted f32[samples, 1, 1, 8, 8]"]);
    refused(&quantize("shaped.npz"), 2, &["got f32[9, 1, 8, 9], wanted f32[samples, 1, 1, 8, 8]"]);
    refused(&quantize("none.npz"), 2, &["holds no samples"]);
    refused(&quantize("missing.npz"), 6, &["there is no such file"]);
    refused(&[&quantize("calib.npz")[..], &["--keep", "conv9"]].concat(), 2, &["no node \"conv9\"", "\"conv1\""]);
    refused(&[&quantize("calib.npz")[..], &["--budget-error", "0"]].concat(), 2, &["above 0"]);
    let prune = |calib: &'static str| ["prune", "digits.onnx", "--sparsity", "0.8", "--calib", calib, "-o", "o.onnx"];
    refused(&prune("few.npz"), 2, &["127 samples", "128 or more"]);
    refused(&["prune", "digits.onnx", "--sparsity", "1.5", "--calib", "calib.npz", "-o", "o.onnx"], 2, &["between 0 and 1"]);
}
