//! The cases of the ONNX suite, as `../shared/conformance/README.md` describes them: read, run through whatever
//! stage a test asks for, and judged as the ONNX runner does. It knows nothing of what the stages do.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ir::graph::eval::{self, EvalError};
use ir::{Dtype, Graph, Tensor};
use maquette::compile::{Model, Options};
use maquette::error::{Error, Result};
use maquette::npz::Arrays;
use serde_json::Value as Json;

use crate::house;

/// One model with its data.
pub struct Case {
    pub name: String,
    pub tier: u64,
    /// ONNX operators in it, and whether it is there for the first of them alone.
    pub operators: Vec<String>,
    pub single: bool,
    /// Element types in it, by our names.
    pub dtypes: Vec<&'static str>,
    model: PathBuf,
    /// Inputs that arrive as constants.
    bound: Vec<String>,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    shape_only: bool,
    relative: f64,
    absolute: f64,
}

/// A tensor in a file. Without a type it is one that does not cross our boundary: a string or a sequence.
struct Value {
    name: String,
    dtype: Option<Dtype>,
    file: PathBuf,
}

/// From the graph of a case and its inputs to the outputs, in the graph's order.
pub type Stage<'a> = dyn Fn(Graph, &Options, &[Tensor]) -> Result<Vec<Tensor>> + Sync + 'a;

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Right,
    /// Refused with exit code 4.
    Unsupported(String),
    /// Computed, and otherwise than expected.
    Wrong(String),
    /// Any other exit code, or a panic.
    Fault(String),
}

/// Every case of the suite in `folder`.
pub fn read(folder: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(folder.join("manifest.json")).expect("the suite has a manifest");
    let manifest: Json = serde_json::from_str(&text).expect("the manifest is JSON");
    let cases = manifest["cases"].as_array().expect("the manifest lists cases");
    cases.iter().map(|json| case(folder, json)).collect()
}

fn case(folder: &Path, json: &Json) -> Case {
    let text = |json: &Json| json.as_str().expect("a text").to_string();
    let list = |json: &Json| json.as_array().expect("a list").clone();
    let [test] = &list(&json["tests"])[..] else { panic!("{}: one set of data per case", json["name"]) };
    let values = |side: &str| {
        let there = list(&test[side]).into_iter().filter(|v| v["kind"] != "none");
        there.map(|v| value(folder, &v)).collect()
    };
    let mut operators = vec![text(&json["op"])];
    let single = json["expanded"] != true && !operators[0].starts_with("kind:");
    operators.extend(json["ops"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
    operators.retain(|name| !name.starts_with("kind:") && (single || *name != text(&json["op"]) || !json["ops"][name].is_null()));
    let mut seen = std::collections::BTreeSet::new();
    operators.retain(|name| seen.insert(name.clone()));
    let names = json["dtypes"].as_array().into_iter().flatten().filter_map(Json::as_str);
    Case {
        operators,
        single,
        dtypes: names.filter_map(dtype).map(Dtype::name).collect(),
        name: text(&json["name"]),
        tier: json["tier"].as_u64().expect("a tier"),
        model: folder.join(text(&json["model"])),
        bound: list(&json["bind_inputs"]).iter().map(text).collect(),
        inputs: values("inputs"),
        outputs: values("outputs"),
        shape_only: json["compare"] == "shape_only",
        relative: json["rtol"].as_f64().expect("a number"),
        absolute: json["atol"].as_f64().expect("a number"),
    }
}

fn value(folder: &Path, json: &Json) -> Value {
    let name = json["name"].as_str().expect("a name").to_string();
    let dtype = json["dtype"].as_str().filter(|_| json["kind"] == "tensor").and_then(dtype);
    Value { name, dtype, file: folder.join(json["file"].as_str().unwrap_or_default()) }
}

/// From ONNX's names.
fn dtype(name: &str) -> Option<Dtype> {
    let ours = match name {
        "float" => "f32",
        "double" => "f64",
        "float16" => "f16",
        "bfloat16" => "bf16",
        "float8e4m3fn" => "f8e4m3",
        "float8e4m3fnuz" => "f8e4m3z",
        "float8e5m2fnuz" => "f8e5m2z",
        other => return Dtype::from_name(&other.replace("float", "f").replace("uint", "u").replace("int", "i")),
    };
    Dtype::from_name(ours)
}

impl Value {
    fn read(&self) -> Result<Tensor> {
        let dtype = self.dtype.expect("checked before");
        let arrays = Arrays::open(&self.file)?;
        arrays.tensor(&arrays.list[0], dtype)
    }
}

impl Case {
    /// Imports the model, hands it to `stage` with its inputs, and judges what comes back.
    fn judge(&self, options: &Options, stage: &Stage) -> Verdict {
        if self.inputs.iter().chain(&self.outputs).any(|v| v.dtype.is_none()) {
            return Verdict::Unsupported("a string or a sequence at the boundary".into());
        }
        match catch_unwind(AssertUnwindSafe(|| self.run(options, stage))) {
            Ok(Ok(None)) => Verdict::Right,
            Ok(Ok(Some(what))) => Verdict::Wrong(what),
            Ok(Err(error)) if error.exit_code() == 4 => Verdict::Unsupported(error.to_string()),
            Ok(Err(error)) => Verdict::Fault(format!("exit {}: {error}", error.exit_code())),
            Err(panic) => {
                let said = panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|s| s.to_string()));
                Verdict::Fault(format!("panic: {}", said.unwrap_or_default()))
            }
        }
    }

    /// What differs, if anything.
    fn run(&self, options: &Options, stage: &Stage) -> Result<Option<String>> {
        let mut options = options.clone();
        let mut given = BTreeMap::new();
        for value in &self.inputs {
            let tensor = value.read()?;
            if self.bound.contains(&value.name) {
                options.bind.insert(value.name.clone(), tensor);
            } else {
                options.shapes.insert(value.name.clone(), tensor.shape().to_vec());
                given.insert(value.name.clone(), tensor);
            }
        }
        let (import, taken) = Model::open(&self.model)?.import_given(&mut options, &|name| Ok(given.get(name).cloned()))?;
        taken.iter().for_each(|name| drop(given.remove(name)));
        let graph = import.graph;
        let mut inputs = Vec::new();
        for &id in graph.inputs() {
            let ir::Op::Input { name, .. } = graph.op(id) else { panic!("an input is an input") };
            match given.remove(name) {
                Some(tensor) => inputs.push(tensor),
                None => return Ok(Some(format!("the graph takes an input {name:?} that the case does not give"))),
            }
        }
        let names: Vec<String> = graph.outputs().iter().map(|(name, _)| name.clone()).collect();
        let got = stage(graph, &options, &inputs)?;
        for wanted in &self.outputs {
            let Some(i) = names.iter().position(|n| *n == wanted.name) else {
                return Ok(Some(format!("there is no output {:?}", wanted.name)));
            };
            if let Some(what) = self.difference(&got[i], &wanted.read()?) {
                return Ok(Some(format!("output {:?}: {what}", wanted.name)));
            }
        }
        Ok(None)
    }

    /// As the ONNX runner compares: `|a - b| <= atol + rtol |b|`, NaN equal to NaN, integers and 8-bit floats exactly.
    fn difference(&self, got: &Tensor, want: &Tensor) -> Option<String> {
        if got.ty() != want.ty() {
            return Some(format!("got {}, wanted {}", got.ty(), want.ty()));
        }
        if self.shape_only {
            return None;
        }
        if !want.dtype().is_float() || want.dtype().bytes() == 1 {
            return (got.bytes() != want.bytes()).then(|| "elements differ".to_string());
        }
        // a bf16 has 8 bits
        let relative = if want.dtype() == Dtype::BF16 { self.relative.max(1.0 / 64.0) } else { self.relative };
        let same =
            |g: f64, w: f64| g == w || (g.is_nan() && w.is_nan()) || (w.is_finite() && (g - w).abs() <= self.absolute + relative * w.abs());
        let (got, want) = (got.to_f64s(), want.to_f64s());
        let differ: Vec<(f64, f64)> = got.into_iter().zip(want.iter().copied()).filter(|&(g, w)| !same(g, w)).collect();
        let (g, w) = differ.first()?;
        Some(format!("{} of {} elements differ, the first is {g:e} and not {w:e}", differ.len(), want.len()))
    }
}

/// All cases through a stage, on every core. By name.
pub fn run(cases: &[Case], options: &Options, stage: &Stage) -> BTreeMap<String, (u64, Verdict)> {
    run_some(&cases.iter().collect::<Vec<_>>(), options, stage)
}

/// The same with some of the cases.
pub fn run_some(cases: &[&Case], options: &Options, stage: &Stage) -> BTreeMap<String, (u64, Verdict)> {
    let verdicts = house::each(cases, |case| case.judge(options, stage));
    cases.iter().zip(verdicts).map(|(case, verdict)| (case.name.clone(), (case.tier, verdict))).collect()
}

/// What the reference interpreter computes, as the command line tells it.
pub fn oracle(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    eval::eval(graph, inputs).map_err(|error| {
        let status = match error {
            EvalError::Input(_) | EvalError::Symbolic(_) => 3,
            EvalError::Data(_) => 4,
        };
        Error::Status { file: None, status, what: vec![error.what().to_string()] }
    })
}
