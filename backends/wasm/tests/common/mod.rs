//! What the tests of this crate share: modules that Node runs, many in one process. Without Node a test says aloud that it is
//! skipped: a line that starts with `SKIPPED` on the error stream, which the test runner does not swallow.
#![allow(dead_code)]

use std::io::Write as _;
use std::process::Command;
use std::sync::OnceLock;

use cases::common::{Room, succeed};
use cases::{Case, GUARD, Outcome};
use ir::kernel::tile::{At, Operand, P, Stmt, TileKernel, V};
use ir::kernel::{Access, Arg, Facts, Kernel, KernelBody};
use ir::program::{Address, Call, Pool, Port, Program, Step};
use ir::tensor::{Dtype, Type};
use wasm::facts::{RELAXED, SIMD128};
use wasm::{Model, Weights};

pub const ROOM: Room = cases::room!();

/// Reads modules and what to write into them; runs each; writes its status and its ports.
const SCRIPT: &str = r#"
import { readFileSync, writeFileSync } from 'node:fs';
const input = readFileSync(process.argv[2]);
let at = 0;
const word = () => { at += 4; return input.readUInt32LE(at - 4); };
const bytes = () => { const n = word(); at += n; return input.subarray(at - n, at); };
const out = [];
while (at < input.length) {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes()));
    const view = (name, length) => new Uint8Array(exports.memory.buffer, exports[name].value >>> 0, length);
    const weights = bytes();
    if (weights.length > 0) view('weights', weights.length).set(weights);
    for (let n = word(), i = 0; i < n; i++) { const data = bytes(); view('input' + i, data.length).set(data); }
    const ports = [];
    for (let n = word(), i = 0; i < n; i++) {
        const data = bytes();
        ports.push(view('output' + i, data.length));
        ports[i].set(data);
    }
    out.push(Buffer.from(Int32Array.of(exports.run()).buffer), ...ports.map(port => Buffer.from(port)));
}
writeFileSync(process.argv[3], Buffer.concat(out));
"#;

/// A module with everything that Node needs to run it.
pub struct Job {
    pub module: Vec<u8>,
    /// For a module that does not embed them.
    pub weights: Vec<u8>,
    pub inputs: Vec<Vec<u8>>,
    /// What the outputs hold before.
    pub outputs: Vec<Vec<u8>>,
}

/// The status and the outputs of each job. `None`: there is no Node, or it does not know the level; that was said.
pub fn run(test: &str, facts: &Facts, jobs: &[Job]) -> Option<Vec<(i32, Vec<Vec<u8>>)>> {
    jobs.iter().for_each(|job| validate(&job.module, facts));
    let flags = flags(test, facts)?;
    let folder = ROOM.folder(&format!("{test}-{}", facts.name));
    let (script, input, output) = (folder.join("run.mjs"), folder.join("input"), folder.join("output"));
    let mut message = Vec::new();
    let list = |list: &[Vec<u8>], message: &mut Vec<u8>| {
        message.extend((list.len() as u32).to_le_bytes());
        for bytes in list {
            message.extend((bytes.len() as u32).to_le_bytes());
            message.extend(bytes);
        }
    };
    for job in jobs {
        for bytes in [&job.module, &job.weights] {
            message.extend((bytes.len() as u32).to_le_bytes());
            message.extend(bytes);
        }
        list(&job.inputs, &mut message);
        list(&job.outputs, &mut message);
    }
    std::fs::write(&script, SCRIPT).expect("the folder is ours");
    std::fs::write(&input, message).expect("the folder is ours");
    succeed(Command::new("node").args(flags).args([&script, &input, &output]));
    let result = std::fs::read(&output).expect("Node wrote it");
    let mut rest = &result[..];
    let mut take = |bytes: usize| rest.split_off(..bytes).expect("Node wrote all of it");
    let each = |job: &Job| {
        let status = i32::from_le_bytes(take(4).try_into().expect("four bytes"));
        (status, job.outputs.iter().map(|bytes| take(bytes.len()).to_vec()).collect())
    };
    let all = jobs.iter().map(each).collect();
    assert!(rest.is_empty());
    Some(all)
}

/// Fails unless an independent reader finds `module` right, for an engine that has the level's instructions and no others.
pub fn validate(module: &[u8], facts: &Facts) {
    use wasmparser::WasmFeatures as F;
    let mut features = F::MUTABLE_GLOBAL | F::SATURATING_FLOAT_TO_INT | F::SIGN_EXTENSION | F::MULTI_VALUE | F::FLOATS | F::SIMD;
    if facts.fused {
        features |= F::RELAXED_SIMD;
    }
    if let Err(error) = wasmparser::Validator::new_with_features(features).validate_all(module) {
        panic!("{}: {error}", facts.name);
    }
}

/// The options with which Node runs a level.
fn flags(test: &str, facts: &Facts) -> Option<&'static [&'static str]> {
    static NODE: OnceLock<[bool; 3]> = OnceLock::new();
    let [plain, relaxed, with_flag] = *NODE.get_or_init(|| {
        let runs = |flags: &[&str], module: &[u8]| {
            let text = format!("process.exit(WebAssembly.validate(Uint8Array.from({module:?})) ? 0 : 1)");
            Command::new("node").args(flags).args(["-e", &text]).output().is_ok_and(|output| output.status.success())
        };
        let probe = |facts| fused_probe(facts).module;
        [runs(&[], &probe(&SIMD128)), runs(&[], &probe(&RELAXED)), runs(FLAG, &probe(&RELAXED))]
    });
    const FLAG: &[&str] = &["--experimental-wasm-relaxed-simd"];
    if !plain {
        ROOM.skip(test, "node is not installed");
        return None;
    }
    match (facts.fused, relaxed, with_flag) {
        (false, ..) | (true, true, _) => Some(&[]),
        (true, false, true) => Some(FLAG),
        (true, false, false) => {
            ROOM.skip(test, "this node has no relaxed SIMD");
            None
        }
    }
}

/// What the oracle must believe of a level on this computer: a relaxed multiply-add may round twice.
pub fn truth(test: &str, facts: &Facts) -> Option<Facts> {
    let fused = facts.fused && {
        let (status, outputs) = run(&format!("{test}-probe"), facts, &[fused_probe(facts)])?.remove(0);
        assert_eq!(status, 0);
        let word = u32::from_le_bytes(outputs[0][..4].try_into().expect("four bytes"));
        assert!(word == 0 || word == (2f32).powi(-24).to_bits(), "{word:#x}");
        word != 0
    };
    if facts.fused && !fused {
        writeln!(std::io::stderr(), "this machine's relaxed multiply-add rounds twice").expect("standard error");
    }
    Some(Facts { fused, ..facts.clone() })
}

/// `a * a - (1 + 2^-11)` for `a = 1 + 2^-12`: 2^-24 where it rounds once, 0 where it rounds twice.
fn fused_probe(facts: &Facts) -> Job {
    let square = f32::from_bits(0x3f80_0800);
    let at = At { p: P(0), offset: 0 };
    let body = vec![
        Stmt::Set { to: V(0), bits: (-square * square).to_bits() },
        Stmt::Set { to: V(1), bits: square.to_bits() },
        Stmt::MulAdd { acc: V(0), a: V(1), b: Operand::V(V(1)), negate: false },
        Stmt::Store { from: V(0), at, lanes: 4 },
    ];
    let arg = Arg { name: "out".into(), low: 0, high: 16, access: Access::ReadWrite };
    let kernel = Kernel { name: "probe".into(), args: vec![arg], body: KernelBody::Tile(TileKernel { body }) };
    let call = Call::new(0, vec![Address::Output { index: 0, offset: 0 }]);
    let program = program(vec![kernel], vec![call], &[16]);
    Job { module: module(&program, facts), weights: vec![], inputs: vec![], outputs: vec![vec![0; 16]] }
}

/// A program whose outputs are buffers of these sizes.
pub fn program(kernels: Vec<Kernel>, calls: Vec<Call>, buffers: &[usize]) -> Program {
    let port = |(i, &bytes): (usize, &usize)| Port { name: format!("b{i}"), ty: Type::of(Dtype::U8, &[bytes]), bytes: bytes as u64 };
    Program {
        outputs: buffers.iter().enumerate().map(port).collect(),
        kernels,
        steps: vec![Step { calls, what: "test".into(), names: vec![], macs: 0, when: Vec::new() }],
        ..Program::default()
    }
}

/// The module of a program with its weights in it.
pub fn module(program: &Program, facts: &Facts) -> Vec<u8> {
    let pool = Pool::new([program]);
    let model = Model { program, facts, constants: &pool.offsets[0], weights: Weights::Embedded(&pool) };
    wasm::module(&model).expect("small enough")
}

/// What the cases did, all in one module, each buffer between guards. None of them may fail.
pub fn together(test: &str, facts: &Facts, cases: &[&Case]) -> Option<Vec<Outcome>> {
    let (status, outputs) = run(test, facts, &[job(facts, cases)])?.remove(0);
    let mut outputs = outputs.into_iter();
    let bare = |case: &&Case| outcome(case, status, outputs.by_ref().take(case.buffers.len()));
    Some(cases.iter().map(bare).collect())
}

/// What a case did, by the status and its buffers between guards.
pub fn outcome(case: &Case, status: i32, outputs: impl Iterator<Item = Vec<u8>>) -> Outcome {
    Outcome { status, buffers: case.buffers.iter().zip(outputs).map(|(buffer, guarded)| buffer.bare(&guarded)).collect() }
}

/// A module that runs the cases in order.
pub fn job(facts: &Facts, cases: &[&Case]) -> Job {
    let mut outputs = Vec::new();
    let mut calls = Vec::new();
    for (kernel, case) in cases.iter().enumerate() {
        let mut args = Vec::new();
        for buffer in &case.buffers {
            args.push(Address::Output { index: outputs.len(), offset: (GUARD + buffer.start) as u64 });
            outputs.push(buffer.guarded());
        }
        calls.push(Call::new(kernel, args));
    }
    let sizes: Vec<usize> = outputs.iter().map(Vec::len).collect();
    let program = program(cases.iter().map(|case| case.kernel.clone()).collect(), calls, &sizes);
    Job { module: module(&program, facts), weights: vec![], inputs: vec![], outputs }
}
