//! The command line as its users meet it: exit codes, the text of diagnostics, JSON, and that an error leaves nothing
//! behind. Models are written by another implementation of the format than the one that reads them.

#[allow(dead_code)]
#[path = "../../frontend/tests/writer/mod.rs"]
mod writer;

use std::io::Cursor;
use std::path::Path;
use std::process::{Command, Output};

use ir::Tensor;
use maquette::files::Scratch;
use maquette::npz::{self, Arrays};
use onnx_protobuf::{StringStringEntryProto, TensorProto};
use tests::house;
use writer::*;

/// A folder to work in, with the program.
struct Bench {
    folder: Scratch,
}

impl Bench {
    fn new() -> Bench {
        Bench { folder: house::scratch() }
    }

    fn path(&self) -> &Path {
        &self.folder.path
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), bytes).expect("there is room");
    }

    fn model(&self, name: &str, model: &Written) {
        self.write(name, model.bytes());
    }

    fn arrays(&self, name: &str, tensors: &[(&str, Tensor)]) {
        let named: Vec<(String, Tensor)> = tensors.iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
        let mut out = Cursor::new(Vec::new());
        npz::write(&mut out, &named).expect("into memory");
        self.write(name, out.into_inner());
    }

    /// Runs a command line in the folder. Targets are named, so that the answer does not depend on the machine.
    fn output(&self, line: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_maquette-tested"));
        command.current_dir(self.path()).args(line).env_remove("NO_COLOR").output().expect("it starts")
    }

    /// Exit code, then what it said on both streams.
    fn said(&self, line: &[&str]) -> String {
        let output = self.output(line);
        let text = [output.stdout, output.stderr].map(|t| String::from_utf8(t).expect("it says text"));
        format!("exit {}\n{}{}", output.status.code().expect("it ends by itself"), text[0], text[1])
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path().join(folder)).into_iter().flatten();
        let mut names: Vec<String> = entries.map(|e| e.expect("it stays").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// For a machine that is there everywhere, without notes about this one.
const X86: [&str; 4] = ["--target", "x86_64-linux", "--cpu", "x86-64-v3"];

fn compile<'a>(line: &[&'a str]) -> Vec<&'a str> {
    [&["compile"], line, &X86].concat()
}

/// `y = relu(x)` of a fixed shape.
fn relu() -> Written {
    model(17, graph(vec![value("x", FLOAT, &["2", "3"])], vec![node("Relu", &["x"], &["y"], vec![])], vec![value("y", FLOAT, &["2", "3"])]))
}

/// Rows of a constant table by index.
fn lookup() -> Written {
    let nodes = vec![node("Gather", &["table", "rows"], &["y"], vec![])];
    model(17, graph(vec![value("rows", INT64, &["3"])], nodes, vec![value("y", FLOAT, &["3", "2"])])).constants(vec![floats_tensor(
        "table",
        &[4, 2],
        &[0., 1., 2., 3., 4., 5., 6., 7.],
    )])
}

#[test]
fn every_operator_that_is_missing_is_named_at_once() {
    let bench = Bench::new();
    let nodes = vec![
        node("Frobnicate", &["x"], &["a"], vec![]),
        node("Relu", &["a"], &["b"], vec![]),
        node("TreeEnsemble", &["b"], &["y"], vec![]),
    ];
    bench.model("m.onnx", &model(17, graph(vec![value("x", FLOAT, &["2"])], nodes, vec![value("y", FLOAT, &["2"])])));
    insta::assert_snapshot!("missing_operators", bench.said(&compile(&["m.onnx", "-o", "out"])));
    assert!(!bench.path().join("out").exists());
}

#[test]
fn a_model_that_is_wrong_is_told_apart_from_a_file_that_is_not_there() {
    let bench = Bench::new();
    bench.write("garbage.onnx", b"hello, world");
    let nodes = vec![node("Relu", &["nobody"], &["y"], vec![])];
    bench.model("dangling.onnx", &model(17, graph(vec![value("x", FLOAT, &["2"])], nodes, vec![value("y", FLOAT, &["2"])])));
    let nodes = vec![node("MatMul", &["x", "w"], &["y"], vec![])];
    let misfit = model(17, graph(vec![value("x", FLOAT, &["2", "3"])], nodes, vec![value("y", FLOAT, &["2", "2"])]));
    bench.model("misfit.onnx", &misfit.constants(vec![floats_tensor("w", &[2, 2], &[0.0; 4])]));
    let said: Vec<String> =
        ["garbage.onnx", "dangling.onnx", "misfit.onnx", "none.onnx", "."].iter().map(|m| bench.said(&compile(&[m]))).collect();
    insta::assert_snapshot!("wrong_models", said.join("\n"));
}

#[test]
fn external_data_must_lie_beside_the_model() {
    let bench = Bench::new();
    let external = |location: &str, length: &str| {
        let entry = |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into(), ..Default::default() };
        let w = TensorProto {
            name: "w".into(),
            dims: vec![2],
            data_type: FLOAT,
            external_data: vec![entry("location", location), entry("length", length)],
            data_location: onnx_protobuf::tensor_proto::DataLocation::EXTERNAL.into(),
            ..TensorProto::default()
        };
        let nodes = vec![node("Add", &["x", "w"], &["y"], vec![])];
        model(17, graph(vec![value("x", FLOAT, &["2"])], nodes, vec![value("y", FLOAT, &["2"])])).constants(vec![w])
    };
    bench.write("w.bin", [0u8; 8]);
    bench.model("fine.onnx", &external("w.bin", "8"));
    bench.model("missing.onnx", &external("none.bin", "8"));
    bench.model("long.onnx", &external("w.bin", "9"));
    bench.model("outside.onnx", &external("../w.bin", "8"));
    std::os::unix::fs::symlink("/etc/hostname", bench.path().join("link.bin")).expect("there is room");
    bench.model("link.onnx", &external("link.bin", "8"));
    assert!(bench.said(&compile(&["fine.onnx", "-o", "out"])).starts_with("exit 0"));
    let said: Vec<String> = ["missing.onnx", "long.onnx", "outside.onnx", "link.onnx"].iter().map(|m| bench.said(&compile(&[m]))).collect();
    insta::assert_snapshot!("external_data", said.join("\n"));
}

#[test]
fn dimensions_without_a_size_say_which_option_gives_one() {
    let bench = Bench::new();
    let nodes = vec![node("Relu", &["x"], &["y"], vec![])];
    bench.model("m.onnx", &model(17, graph(vec![value("x", FLOAT, &["batch", "seq"])], nodes, vec![value("y", FLOAT, &["batch", "seq"])])));
    let said = [
        bench.said(&compile(&["m.onnx"])),
        bench.said(&compile(&["m.onnx", "--dim", "sequence=4"])),
        bench.said(&compile(&["m.onnx", "--dim", "seq"])),
        bench.said(&compile(&["m.onnx", "--dim", "seq=4", "--dim", "seq=5"])),
        bench.said(&compile(&["m.onnx", "--dim", "seq=4", "-o", "out"])),
    ];
    insta::assert_snapshot!("dimensions", without_sizes(&said.join("\n")));
}

#[test]
fn mistakes_on_the_command_line_say_what_there_is() {
    let bench = Bench::new();
    bench.model("m.onnx", &relu());
    let said: Vec<String> = [
        &["compile", "m.onnx", "--target", "toaster"][..],
        &["compile", "m.onnx", "--target", "aarch64-apple-darwin"],
        &["compile", "m.onnx", "--target", "x86_64-pc-windows-msvc"],
        &["compile", "m.onnx", "--target", "x86_64-linux", "--cpu", "pentium"],
        &compile(&["m.onnx", "--name", "2 legs"]),
        &compile(&["m.onnx", "--emit", "a,dll"]),
        &compile(&["m.onnx", "-O7"]),
        &compile(&["m.onnx", "--bind", "x"]),
        &[&["inspect", "m.onnx", "--after", "tea"][..], &X86].concat(),
        &["compile"],
        &["compil", "m.onnx"],
    ]
    .iter()
    .map(|line| bench.said(line))
    .collect();
    insta::assert_snapshot!("usage", said.join("\n"));
    let skip = bench.said(&compile(&["m.onnx", "--skip", "tea"]));
    assert!(skip.starts_with("exit 2\nerror: m.onnx: cannot skip `tea`") && skip.contains("help: these can be skipped: "), "{skip}");
}

#[test]
fn inputs_that_do_not_fit_are_status_3() {
    if house::here("inputs that do not fit").is_none() {
        return;
    }
    let bench = Bench::new();
    let nodes = vec![node("Add", &["a", "b"], &["y"], vec![])];
    let inputs = vec![value("a", FLOAT, &["n", "2"]), value("b", FLOAT, &["n", "2"])];
    bench.model("m.onnx", &model(17, graph(inputs, nodes, vec![value("y", FLOAT, &["n", "2"])])));
    let rows = |n: usize| Tensor::f32s(&[n, 2], &vec![1.0; 2 * n]);
    bench.arrays("missing.npz", &[("a", rows(3))]);
    bench.arrays("shape.npz", &[("a", rows(3)), ("b", Tensor::f32s(&[3], &[0.0; 3]))]);
    bench.arrays("type.npz", &[("a", rows(3)), ("b", Tensor::i64s(&[3, 2], &[0; 6]))]);
    bench.arrays("apart.npz", &[("a", rows(3)), ("b", rows(2))]);
    bench.arrays("unknown.npz", &[("a", rows(3)), ("c", rows(3))]);
    bench.write("none.npz", b"PK");
    let files = ["missing.npz", "shape.npz", "type.npz", "apart.npz", "unknown.npz", "none.npz"];
    let said: Vec<String> =
        files.iter().map(|f| bench.said(&["run", "m.onnx", "--inputs", f, "--outputs", "out.npz", "--cpu", "x86-64-v3"])).collect();
    insta::assert_snapshot!("inputs", said.join("\n"));
    assert!(!bench.path().join("out.npz").exists());
}

#[test]
fn a_model_runs_and_verifies_from_the_command_line() {
    if house::here("run and verify").is_none() {
        return;
    }
    let bench = Bench::new();
    bench.model("m.onnx", &lookup());
    bench.arrays("in.npz", &[("arr_0", Tensor::i64s(&[3], &[3, -4, 1]))]);
    let v3 = ["--cpu", "x86-64-v3"];
    let ran = bench.said(&[&["run", "m.onnx", "--inputs", "in.npz", "--outputs", "deep/out.npz"][..], &v3].concat());
    assert_eq!(ran, "exit 0\n");
    let arrays = Arrays::open(&bench.path().join("deep/out.npz")).expect("it was written");
    assert_eq!(arrays.list.len(), 1);
    let y = arrays.tensor(&arrays.list[0], ir::Dtype::F32).expect("floats");
    assert_eq!((arrays.list[0].name.as_str(), y.to_f32s()), ("y", vec![6., 7., 0., 1., 2., 3.]));

    bench.arrays("right.npz", &[("y", y)]);
    bench.arrays("wrong.npz", &[("y", Tensor::f32s(&[3, 2], &[6., 7., 0., 1., 2., 3.5]))]);
    bench.arrays("beyond.npz", &[("rows", Tensor::i64s(&[3], &[3, 4, 1]))]);
    let lines: [&[&str]; 7] = [
        &["run", "m.onnx", "--inputs", "in.npz"],
        &["run", "m.onnx", "--inputs", "in.npz", "--json"],
        &["run", "m.onnx", "--inputs", "beyond.npz"],
        &["verify", "m.onnx", "--inputs", "in.npz", "--expect", "right.npz"],
        &["verify", "m.onnx", "--inputs", "in.npz", "--expect", "wrong.npz"],
        &["verify", "m.onnx", "--inputs", "beyond.npz"],
        &["run", "m.onnx", "--inputs", "in.npz", "--runner", "no-such-emulator -x"],
    ];
    let said: Vec<String> = lines.iter().map(|line| bench.said(&[line, &v3[..]].concat())).collect();
    insta::assert_snapshot!("run_and_verify", said.join("\n"));
}

#[test]
fn bound_inputs_are_constants_and_are_not_asked_for() {
    if house::here("bound inputs").is_none() {
        return;
    }
    let bench = Bench::new();
    let inputs = vec![value("x", FLOAT, &["2"]), value("bias", FLOAT, &["2"])];
    bench.model("m.onnx", &model(17, graph(inputs, vec![node("Add", &["x", "bias"], &["y"], vec![])], vec![value("y", FLOAT, &["2"])])));
    bench.arrays("x.npz", &[("arr_0", Tensor::f32s(&[2], &[1., 2.]))]);
    bench.arrays("bias.npz", &[("anything", Tensor::f32s(&[2], &[10., 20.]))]);
    let line = ["run", "m.onnx", "--bind", "bias=bias.npz", "--inputs", "x.npz", "--outputs", "out.npz", "-q"];
    assert_eq!(bench.said(&line), "exit 0\n");
    let arrays = Arrays::open(&bench.path().join("out.npz")).expect("it was written");
    assert_eq!(arrays.tensor(&arrays.list[0], ir::Dtype::F32).expect("floats").to_f32s(), [11., 22.]);
    let twice = bench.said(&["run", "m.onnx", "--bind", "bias=bias.npz", "--bind", "nobody=bias.npz", "--inputs", "x.npz"]);
    assert!(twice.starts_with("exit 2\n") && twice.contains("nobody"), "{twice}");
}

#[test]
fn what_was_written_is_told_and_an_error_leaves_nothing() {
    let bench = Bench::new();
    bench.model("net.onnx", &relu());
    insta::assert_snapshot!(
        "compile",
        without_sizes(&bench.said(&compile(&["net.onnx", "-o", "out", "--emit", "json,h,a,o,so,exe,gir,kir,asm"])))
    );
    let all = ["libnet.a", "libnet.so", "net", "net.asm", "net.gir", "net.h", "net.json", "net.kir", "net.o"];
    assert_eq!(bench.names("out"), all);
    insta::assert_snapshot!("compile_json", without_sizes(&bench.said(&compile(&["net.onnx", "-o", "other", "--emit", "so", "--json"]))));
    assert_eq!(bench.said(&compile(&["net.onnx", "-q", "-o", "other"])), "exit 0\n");

    bench.write("file", b"");
    std::fs::create_dir_all(bench.path().join("taken/net.h")).expect("there is room");
    for (folder, left) in [("file", vec![]), ("file/below", vec![]), ("taken", vec!["net.h".to_string()])] {
        let said = bench.said(&compile(&["net.onnx", "-o", folder]));
        assert!(said.starts_with("exit 6\nerror: ") && said.contains(folder), "{said}");
        assert_eq!(bench.names(folder), left, "{said}");
    }
}

/// Sizes follow the code generator, which is not what these tests are about.
fn without_sizes(text: &str) -> String {
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let size = |i: usize| words[i].parse::<f64>().is_ok() && words.get(i + 1).is_some_and(|w| ["B", "KB", "MB"].contains(w));
        let bytes = |i: usize| i > 0 && words[i - 1] == "\"bytes\":";
        let word = |i: usize| {
            if size(i) || bytes(i) {
                "N"
            } else if i > 0 && size(i - 1) {
                "bytes"
            } else {
                words[i]
            }
        };
        (0..words.len()).map(word).collect::<Vec<_>>().join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_flood_of_faults_is_cut() {
    let bench = Bench::new();
    let long = "n".repeat(3000);
    let nodes = (0..3000).map(|i| node("Frobnicate", &["x"], &[&format!("{long}{i}")], vec![])).collect();
    bench.model("m.onnx", &model(17, graph(vec![value("x", FLOAT, &["2"])], nodes, vec![value("y", FLOAT, &["2"])])));
    let said = bench.said(&compile(&["m.onnx"]));
    assert!(said.starts_with("exit 3\n") || said.starts_with("exit 4\n"), "{said}");
    assert!(said.len() < 16 << 10 && said.trim_end().ends_with("more"), "{} bytes: {said}", said.len());
}

#[test]
fn a_graph_is_shown_in_every_form() {
    let bench = Bench::new();
    std::fs::copy(house::digits(), bench.path().join("digits.onnx")).expect("there is room");
    let inspect = |more: &[&str]| bench.said(&[&["inspect", "digits.onnx"][..], more, &X86].concat());
    insta::assert_snapshot!("inspect", inspect(&[]));
    let gir = inspect(&["--after", "import", "--format", "gir"]);
    assert!(gir.starts_with("exit 0\ngraph {") && gir.contains("transpose"), "{gir}");
    assert!(inspect(&["--format", "dot"]).starts_with("exit 0\ndigraph model {"));
    let plan = inspect(&["--plan"]);
    assert!(plan.contains("offset") && plan.contains("largest live sum") && plan.contains("ratio 1."), "{plan}");
    for json in [inspect(&["--json"]), inspect(&["--plan", "--json"])] {
        let value: serde_json::Value = serde_json::from_str(json.strip_prefix("exit 0\n").expect("it works")).expect("it is JSON");
        assert!(value.as_array().is_some_and(|list| !list.is_empty()), "{json}");
    }
    let dumped = bench.said(&compile(&["digits.onnx", "-o", "out", "--dump", "dump", "-q"]));
    assert_eq!(dumped, "exit 0\n");
    let names = bench.names("dump");
    assert_eq!(names[0], "00.import.gir");
    let texts: Vec<String> =
        names.iter().map(|n| std::fs::read_to_string(bench.path().join("dump").join(n)).expect("it is ours")).collect();
    assert!(texts.iter().any(|t| t.ends_with("(unchanged)\n")) && texts.iter().any(|t| t.contains("return")), "{texts:?}");
}

#[test]
fn rewrites_are_explained() {
    let bench = Bench::new();
    std::fs::copy(house::digits(), bench.path().join("digits.onnx")).expect("there is room");
    let all = bench.said(&[&["explain", "digits.onnx"][..], &X86].concat());
    assert!(all.contains("map_into_producer") && all.contains("conv1"), "{all}");
    let one = bench.said(&[&["explain", "digits.onnx", "--rule", "map_into_producer", "--node", "relu2"][..], &X86].concat());
    assert!(one.lines().count() >= 3 && one.lines().skip(2).all(|l| l.contains("map_into_producer") && l.contains("relu2")), "{one}");
}

#[test]
fn time_is_measured() {
    if house::here("bench").is_none() {
        return;
    }
    let bench = Bench::new();
    std::fs::copy(house::digits(), bench.path().join("digits.onnx")).expect("there is room");
    let said = bench.said(&["bench", "digits.onnx", "--rounds", "20", "--json"]);
    let value: serde_json::Value = serde_json::from_str(said.strip_prefix("exit 0\n").expect("it works")).expect("it is JSON");
    assert_eq!(value[0]["rounds"], 20);
    let figure = |name: &str| value[0][name].as_f64().expect("a number");
    assert!(figure("min_us") > 0.0 && figure("min_us") <= figure("median_us") && figure("GFLOP/s") > 0.0, "{said}");
}

#[test]
fn targets_are_listed() {
    let bench = Bench::new();
    insta::assert_snapshot!("targets", bench.said(&["targets"]));
    let json = bench.said(&["targets", "--json"]);
    let targets: serde_json::Value = serde_json::from_str(json.strip_prefix("exit 0\n").expect("it works")).expect("it is JSON");
    assert!(targets.as_array().is_some_and(|all| all.iter().all(|row| row["emit"].is_array())), "{json}");
    let ops = bench.said(&["ops", "--json"]);
    let ops: serde_json::Value = serde_json::from_str(ops.strip_prefix("exit 0\n").expect("it works")).expect("it is JSON");
    assert!(ops.as_array().is_some_and(|list| list.iter().any(|op| op["operator"] == "Conv")));
}

#[test]
fn color_is_for_those_who_ask() {
    let bench = Bench::new();
    let error = |line: &[&str]| String::from_utf8(bench.output(line).stderr).expect("text");
    assert!(error(&["inspect", "none.onnx"]).starts_with("error: none.onnx: "));
    assert!(error(&["inspect", "none.onnx", "--color", "always"]).starts_with("\u{1b}[1;31merror:\u{1b}[0m none.onnx: "));
}

#[test]
fn help_tells_every_command() {
    let bench = Bench::new();
    let said: Vec<String> =
        [&["--help"][..], &["compile", "--help"], &["run", "--help"], &["verify", "--help"]].iter().map(|l| bench.said(l)).collect();
    insta::assert_snapshot!("help", said.join("\n"));
}

#[test]
fn a_range_of_sizes_is_one_artifact() {
    let bench = Bench::new();
    let nodes = vec![node("Relu", &["x"], &["y"], vec![])];
    bench.model("m.onnx", &model(17, graph(vec![value("x", FLOAT, &["seq", "2"])], nodes, vec![value("y", FLOAT, &["seq", "2"])])));
    let said = |command: &str, more: &[&str]| bench.said(&[&[command, "m.onnx", "--dim", "seq=1..8"][..], &X86, more].concat());
    assert!(said("inspect", &[]).starts_with("exit 0\n"));
    assert!(said("compile", &["--emit", "h"]).starts_with("exit 0\n"));
    let header = std::fs::read_to_string(bench.path().join("m.h")).expect("it was written");
    assert!(header.contains("#define m_symbol_seq_MIN 1\n#define m_symbol_seq_MAX 8\n"), "{header}");
    // made up at the largest size
    let largest = said("verify", &[]);
    assert!(largest.starts_with("exit 0\n") && largest.contains("f32[8,2]"), "{largest}");
    for (rows, exit) in [(1, 0), (5, 0), (8, 0), (9, 9)] {
        bench.arrays("in.npz", &[("x", Tensor::f32s(&[rows, 2], &vec![-1.0; 2 * rows]))]);
        let told = said("run", &["--inputs", "in.npz"]);
        assert!(told.starts_with(&format!("exit {exit}\n")), "{told}");
        assert!(exit != 0 || told.contains(&format!("f32[{rows},2]")), "{told}");
    }
}

#[test]
fn a_tolerance_is_a_number() {
    let bench = Bench::new();
    bench.model("m.onnx", &relu());
    for wrong in ["--rtol=nan", "--atol=inf", "--rtol=-1"] {
        assert!(bench.said(&["verify", "m.onnx", wrong]).starts_with("exit 2\n"), "{wrong}");
    }
}

#[test]
fn a_result_that_is_lost_is_an_error() {
    let bench = Bench::new();
    bench.model("m.onnx", &relu());
    for line in [&[&["inspect", "m.onnx"][..], &X86].concat()[..], &["targets"], &["--help"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there on Linux");
        let mut command = Command::new(env!("CARGO_BIN_EXE_maquette-tested"));
        let status = command.current_dir(bench.path()).args(line).stdout(full).stderr(std::process::Stdio::null()).status();
        assert_eq!(status.expect("it starts").code(), Some(6), "{line:?}");
    }
}

#[test]
fn what_no_memory_holds_is_a_limit() {
    if house::here("limits of memory").is_none() {
        return;
    }
    let bench = Bench::new();
    let nodes = vec![node("ConstantOfShape", &["shape"], &["c"], vec![]), node("Add", &["x", "c"], &["y"], vec![])];
    let large = model(17, graph(vec![value("x", FLOAT, &["1"])], nodes, vec![value("y", FLOAT, &["100000", "100000"])]));
    bench.model("m.onnx", &large.constants(vec![ints_tensor("shape", &[2], &[100_000, 100_000])]));
    let said = bench.said(&["verify", "m.onnx"]);
    assert!(said.starts_with("exit 5\n") && said.contains("reference interpreter"), "{said}");
}
