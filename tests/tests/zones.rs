//! Every byte that a compiled model touches is its own: the conformance cases and graphs drawn at random run with inputs,
//! outputs, arena and scratch against pages that trap, before and behind, and with what memory held before spoilt
//! (`tests/zones`). On WebAssembly, where a module lays out its memory itself, what lies beside the tensors is watched.

use std::path::{Path, PathBuf};
use std::process::Command;

use ir::{Fault, Graph, Tensor};
use maquette::compile::Options;
use maquette::error::{Error, Result};
use maquette::execute::{Runner, execute};
use maquette::files::Scratch;
use maquette::machine::{self, Built};
use maquette::target::Emit;
use maquette::write;
use tests::differ;
use tests::house::{self, Place, have, must};
use tests::suite::{self, Verdict};

/// The words of exit codes from 40 on: see `guard.c`.
const FAULTS: [&str; 6] = [
    "there is no memory",
    "the input has another size",
    "something beside a tensor was written",
    "something beside the arena was written",
    "something beside the state was written",
    "two runs gave two answers",
];

fn outputs(built: &Built, bytes: &[u8]) -> Vec<Tensor> {
    let (_, program) = built.programs.first().expect("a level was named");
    let mut at = 8 * program.symbols.len();
    let values = bytes[..at].chunks_exact(8).map(|v| i64::from_le_bytes(v.try_into().expect("chunks of 8 bytes")));
    let values = program.symbols.iter().map(|s| s.name.clone()).zip(values).collect();
    let tensor = |port: &ir::program::Port| {
        let (from, shape) = (at, port.shape_at(&values).expect("every symbol has a value"));
        at += shape.iter().product::<usize>() * port.ty.dtype.bytes();
        Tensor::dense(port.ty.dtype, &shape, bytes[from..at].to_vec())
    };
    program.outputs.iter().map(tensor).collect()
}

fn said(error: Error) -> Error {
    match error {
        Error::Status { status, .. } if (40..46).contains(&status) => Error::Internal(FAULTS[status as usize - 40].into()),
        other => other,
    }
}

/// What links a model with its guard.
struct Guard {
    folder: Scratch,
    linker: Vec<&'static str>,
}

impl Guard {
    /// The guard compiled for a place; says so where its tools are missing.
    fn new(place: &Place, test: &str) -> Option<Guard> {
        let folder = house::scratch();
        let own = place.target.name == "x86_64-linux" && cfg!(target_arch = "x86_64");
        let (cc, linker): (Vec<&str>, Vec<&'static str>) = match own {
            true => (vec!["cc"], vec!["ld"]),
            false => (vec!["clang-19", "--target=aarch64-linux-gnu"], vec!["ld.lld-19"]),
        };
        if !have(cc[0], test) || !have(linker[0], test) {
            return None;
        }
        let options = place.options("model");
        let graph = house::import(&house::digits(), &options).expect("the model is right");
        house::compile(graph, &options, &[Emit::Header], &folder.path).expect("it compiles");
        let mut command = Command::new(cc[0]);
        command.args(&cc[1..]).args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-O1",
            "-ffreestanding",
            "-fno-stack-protector",
            "-fno-pie",
            "-c",
            "-o",
        ]);
        must(command.arg(folder.path.join("guard.o")).arg("-I").arg(&folder.path).arg(house::committed("tests/zones/guard.c")));
        Some(Guard { folder, linker })
    }

    fn run(&self, place: &Place, graph: Graph, options: &Options, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let built = machine::build(graph, options, None, &())?;
        let folder = Scratch::new()?;
        write::write(&built.finished(), &[Emit::Archive], &folder.path)?;
        let program = folder.path.join("guarded");
        let mut link = Command::new(self.linker[0]);
        link.args(&self.linker[1..]).args(["-static", "-o"]).arg(&program).arg(self.folder.path.join("guard.o"));
        must(link.arg(folder.path.join("libmodel.a")));
        let bytes = execute(&program, &[], &place.runner, inputs).map_err(said)?;
        Ok(outputs(&built, &bytes))
    }
}

/// The same in node.
fn in_node(place: &Place, graph: Graph, options: &Options, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let built = machine::build(graph, options, None, &())?;
    let folder = Scratch::new()?;
    write::write(&built.finished(), &[Emit::Wasm], &folder.path)?;
    let modules = std::fs::read_dir(&folder.path).expect("it was just made");
    let wasm = |path: &PathBuf| path.extension().is_some_and(|e| e == "wasm");
    let module = modules.map(|e| e.expect("it stays").path()).find(wasm).expect("the module was written");
    let (_, program) = built.programs.first().expect("a level was named");
    if !program.symbols.is_empty() {
        return Err(Fault::unsupported("sizes that the data gives are watched on native machines").into());
    }
    let ports = |list: &[ir::program::Port]| list.iter().map(|p| serde_json::json!({ "bytes": p.bytes })).collect::<Vec<_>>();
    let about = folder.path.join("about.json");
    let json = serde_json::json!({ "inputs": ports(&program.inputs), "outputs": ports(&program.outputs) });
    std::fs::write(&about, json.to_string()).expect("there is room");
    let arguments = [&module, &about].map(|path| path.display().to_string());
    let runner = place.runner.clone().or("node");
    let bytes = execute(Path::new(&house::committed("tests/zones/guard.mjs")), &arguments, &runner, inputs).map_err(said)?;
    Ok(outputs(&built, &bytes))
}

#[test]
fn nothing_beside_its_buffers_is_touched() {
    let test = "red zones";
    let cases = house::shared("conformance/suite", test).map(|folder| suite::read(&folder)).unwrap_or_default();
    let mut bad = Vec::new();
    // this machine's most able level runs all; that the others work alike is shown elsewhere
    let whole = house::here(test).and_then(|(_, mut levels)| levels.pop()).map(|level| level.name);
    for place in house::places(test) {
        let stride = if Some(place.level.name) == whole { 1 } else { 23 };
        let guard = if place.target.name == "wasm32" { None } else { Guard::new(&place, test) };
        if guard.is_none() && place.target.name != "wasm32" {
            continue;
        }
        let run = |graph: Graph, options: &Options, inputs: &[Tensor]| match &guard {
            Some(guard) => guard.run(&place, graph, options, inputs),
            None => in_node(&place, graph, options, inputs),
        };
        let mine: Vec<&suite::Case> = cases.iter().step_by(stride).collect();
        let verdicts = suite::run_some(&mine, &place.options("model"), &run);
        let wrong = |(name, (_, verdict)): (&String, &(u64, Verdict))| match verdict {
            Verdict::Fault(what) => Some(format!("{}, {name}: {what}", place.level.name)),
            Verdict::Right | Verdict::Unsupported(_) | Verdict::Wrong(_) => None,
        };
        bad.extend(verdicts.iter().filter_map(wrong));
        let right = verdicts.values().filter(|(_, v)| *v == Verdict::Right).count();
        let seeds: Vec<u64> = (0..400).step_by(if stride == 1 { 4 } else { 40 }).collect();
        let drawn = house::each(&seeds, |&seed| {
            let (graph, inputs) = differ::drawn(seed);
            run(graph, &place.options("model"), &inputs).err().map(|e| format!("{}, seed {seed}: {e}", place.level.name))
        });
        println!("red zones, {}: {right} of {} cases, {} random graphs", place.level.name, mine.len(), seeds.len());
        bad.extend(drawn.into_iter().flatten());
    }
    assert!(bad.is_empty(), "{} models\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn the_guard_sees_what_it_is_for() {
    let test = "red zones themselves";
    let Some((target, mut levels)) = house::here(test) else { return };
    let place = Place { target, level: levels.pop().expect("there is one"), runner: Runner::default() };
    let Some(guard) = Guard::new(&place, test) else { return };
    let given = Tensor::f32s(&[17], &[1.0; 17]);
    // a model that writes before and behind its output, or reads behind its input, as C would have it
    for (body, wanted) in [
        ("((float *)call->outputs[0])[-1] = 0;", None),
        ("((unsigned char *)call->outputs[0])[68] = 1;", None),
        ("*(volatile float *)call->outputs[0] = ((const volatile float *)call->inputs[0])[17];", None),
        ("*(float *)call->inputs[0] = 1;", None),
        ("*(volatile float *)call->outputs[0] = *(volatile float *)call->arena;", Some(45)),
        ("((unsigned char *)call->arena)[100] = 1;", None),
        ("", Some(45)),
        ("int i; for (i = 0; i < 17; i++) ((float *)call->outputs[0])[i] = 2 * ((const float *)call->inputs[0])[i];", Some(0)),
    ] {
        let source = format!(
            "#include \"model.h\"\nstatic const int64_t dims[] = {{ 17 }};\n\
             static const maquette_tensor x = {{ \"x\", dims, NULL, 68, 1, 1 }};\n\
             static int32_t run(const maquette_call *call) {{ {body} (void)call; return 0; }}\n\
             const maquette_model model_model = {{ .abi = 1, .input_count = 1, .output_count = 1, .inputs = &x, .outputs = &x,\
             .arena_bytes = 64, .arena_align = 64, .run = run }};\n"
        );
        let folder = house::scratch();
        let file = folder.path.join("bad.c");
        std::fs::write(&file, source).expect("there is room");
        let program = folder.path.join("guarded");
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-static", "-nostdlib", "-I"]).arg(&guard.folder.path);
        must(cc.arg("-o").arg(&program).arg(&file).arg(guard.folder.path.join("guard.o")));
        let status = house::piped(&mut Command::new(&program), &given.bytes()).status.code();
        match wanted {
            Some(code) => assert_eq!(status, Some(code), "{body}"),
            // it traps, or is seen
            None => assert!(status.is_none_or(|code| (40..46).contains(&code)), "{body}: {status:?}"),
        }
    }
}
