//! `cargo run -p maquette-bench --bin modules -- FOLDER [MxNxK | MxNxKu8 | MODEL.onnx …]`: WebAssembly modules of matrix products, of f32 or of u8 by i8, and of
//! models, for the scripts in `bench/web/`, and what their parts take. Writes `NAME.LEVEL.wasm`, `NAME.bin`, and `modules.json`.

use std::path::Path;

use ir::graph::op::Op;
use ir::kernel::tile::{At, Operand, P, Stmt, TileKernel, V};
use ir::kernel::{Access, Arg, Facts, Kernel, KernelBody};
use ir::program::{Address, Call, Pool, Port, Program, Step};
use ir::{Body, Dtype, Graph, Tensor, Type};
use wasm::Weights;
use wasm::facts::LEVELS;

const PRODUCTS: &[&str] = &["peak", "256x256x256", "128x768x768", "3136x64x576"];

fn main() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    let mut what: Vec<String> = arguments.collect();
    if what.is_empty() {
        what = PRODUCTS.iter().map(|text| (*text).to_owned()).collect();
    }
    let mut list = Vec::new();
    for what in &what {
        if what == "peak" {
            for facts in LEVELS.iter().map(|level| level.facts) {
                write(&folder.join(format!("peak.{}.wasm", facts.name)), &peak(facts)?)?;
            }
            continue;
        }
        let (name, graph) = match what.ends_with(".onnx") {
            true => (Path::new(what).file_stem().unwrap_or_default().to_string_lossy().into_owned(), model(Path::new(what))?),
            false => (format!("dot_{what}"), product(what)?),
        };
        list.push(modules(folder, &name, &graph)?);
    }
    write(&folder.join("modules.json"), format!("[\n{}\n]\n", list.join(",\n")).as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))
}

fn product(text: &str) -> Result<Graph, String> {
    let (text, bytes) = text.strip_suffix("u8").map_or((text, false), |sizes| (sizes, true));
    let sizes: Vec<usize> =
        text.split('x').map(|part| part.parse().map_err(|_| format!("`{text}` is not MxNxK"))).collect::<Result<_, _>>()?;
    let [m, n, k] = sizes[..] else { return Err(format!("`{text}` is not MxNxK")) };
    let mut graph = Graph::new();
    let fault = |f: ir::Fault| f.to_string();
    let left = if bytes { Dtype::U8 } else { Dtype::F32 };
    let a = graph.add(Op::Input { name: "a".into(), ty: Type::of(left, &[m, k]) }, &[], &[]).map_err(fault)?;
    let number = |i: usize| (i * 7919 % 1001) as f32 / 500.0 - 1.0;
    let weights = match bytes {
        true => Tensor::dense(Dtype::I8, &[k, n], (0..k * n).map(|i| (number(i) * 127.0) as i8 as u8).collect::<Vec<u8>>()),
        false => Tensor::f32s(&[k, n], &(0..k * n).map(number).collect::<Vec<f32>>()),
    };
    let b = graph.constant(weights, &[]);
    let c = graph.add(Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() }, &[a, b], &[]).map_err(fault)?;
    graph.set_outputs(vec![("c".into(), c)]);
    Ok(graph)
}

/// [`PEAK`] vector multiply-adds a run into twelve accumulators, none of which can be left out.
fn peak(facts: &Facts) -> Result<Vec<u8>, String> {
    let at = |p, i: u8| At { p: P(p), offset: 16 * i32::from(i) };
    let turn = (0..12).map(|i| Stmt::Horner { acc: V(i), x: V(12), c: Operand::V(V(13)) }).collect();
    let mut body: Vec<Stmt> = (0..14).map(|i| Stmt::Load { to: V(i), at: at(0, i), lanes: 4 }).collect();
    body.push(Stmt::Loop { times: (PEAK / 12) as u32, body: turn });
    body.extend((0..12).map(|i| Stmt::Store { from: V(i), at: at(1, i), lanes: 4 }));
    let arg = |name: &str, access, high| Arg { name: name.into(), low: 0, high, access };
    let args = vec![arg("in", Access::Read, 224), arg("sums", Access::Write, 192)];
    let kernel = Kernel { name: "peak".into(), args, body: KernelBody::Tile(TileKernel { body }) };
    let port = |name: &str, n| Port { name: name.into(), ty: Type::of(Dtype::F32, &[n]), bytes: 4 * n as u64 };
    let call = Call::new(0, vec![Address::Input { index: 0, offset: 0 }, Address::Output { index: 0, offset: 0 }]);
    let program = Program {
        inputs: vec![port("in", 56)],
        outputs: vec![port("sums", 48)],
        kernels: vec![kernel],
        steps: vec![Step { calls: vec![call], what: "peak".into(), names: vec![], macs: 4 * PEAK, when: Vec::new() }],
        ..Program::default()
    };
    wasm::module(&wasm::Model { program: &program, facts, constants: &[], weights: Weights::Loaded(0) }).map_err(|f| f.to_string())
}

/// Vector operations of a run of `peak`.
const PEAK: u64 = 1_200_000;

fn model(path: &Path) -> Result<Graph, String> {
    let told = |faults: Vec<ir::Fault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut graph = frontend::import(bytes.into(), &frontend::NoFiles, &frontend::Options::default()).map_err(told)?.graph;
    passes::optimize(&mut graph, &passes::Options::default(), &mut ()).map_err(told)?;
    Ok(graph)
}

/// Writes both levels; returns what `modules.json` says of them.
fn modules(folder: &Path, name: &str, graph: &Graph) -> Result<String, String> {
    let lower = |facts| kernels::lower(graph, facts).map_err(|faults| format!("{faults:?}"));
    let programs = LEVELS.iter().map(|level| lower(level.facts)).collect::<Result<Vec<Program>, String>>()?;
    let pool = Pool::new(&programs);
    let mut weights = Vec::new();
    pool.write(&mut |piece| weights.extend_from_slice(piece));
    write(&folder.join(format!("{name}.bin")), &weights)?;
    for ((facts, program), constants) in LEVELS.iter().map(|level| level.facts).zip(&programs).zip(&pool.offsets) {
        let model = wasm::Model { program, facts, constants, weights: Weights::Loaded(pool.bytes) };
        let bytes = wasm::module(&model).map_err(|f| f.to_string())?;
        let calls: usize = program.steps.iter().map(|s| s.calls.len()).sum();
        println!(
            "{name} {}: {} bytes beside {} of weights; {} kernels, {calls} calls",
            facts.name,
            bytes.len(),
            pool.bytes,
            program.kernels.len()
        );
        if std::env::var_os("KERNELS").is_some() {
            sizes(program, facts);
        }
        write(&folder.join(format!("{name}.{}.wasm", facts.name)), &bytes)?;
    }
    let macs = programs[0].macs(&[]);
    let sizes = |ports: &[Port]| ports.iter().map(|p| p.bytes.to_string()).collect::<Vec<_>>().join(", ");
    let (inputs, outputs) = (sizes(&programs[0].inputs), sizes(&programs[0].outputs));
    Ok(format!("  {{\"name\": \"{name}\", \"macs\": {macs}, \"inputs\": [{inputs}], \"outputs\": [{outputs}]}}"))
}

/// What each kernel takes.
fn sizes(program: &Program, facts: &Facts) {
    for kernel in &program.kernels {
        let bytes = match &kernel.body {
            KernelBody::Tile(tile) => wasm::select::compile(tile, &kernel.args, facts).code.len(),
            KernelBody::Scalar(scalar) => {
                let helpers =
                    [wasm::half::Helper::F16ToF32, wasm::half::Helper::F32ToF16, wasm::half::Helper::F32ToBf16].map(|h| (h, 0)).into();
                wasm::scalar::compile(scalar, kernel.args.len(), facts.fused, &helpers).code.len()
            }
        };
        println!("  {bytes:>7} {}", kernel.name);
    }
}
