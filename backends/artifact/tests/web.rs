//! The JavaScript around modules: hand-made modules that keep the contract of docs/wasm.md, loaded in Node from files and over
//! HTTP, by their users' scripts in `tests/web/`; the types under `tsc`.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use artifact::Fault;
use artifact::describe::{Description, Dim, Symbol, Tensor};
use cases::common::run;
use common::*;

const X: u32 = 1024;
const Y: u32 = 2048;
const SYMBOLS: u32 = 3072;
const WEIGHTS: u32 = 65536;

fn unsigned(mut n: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n > 127 {
        bytes.push(n as u8 | 128);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

/// `i32.const`, of a number that is not negative.
fn number(n: u32) -> Vec<u8> {
    let mut bytes = vec![0x41];
    bytes.extend(unsigned(n));
    if bytes.last().is_some_and(|last| last & 0x40 != 0) {
        *bytes.last_mut().expect("not empty") |= 0x80;
        bytes.push(0);
    }
    bytes
}

fn splat(value: f32) -> Vec<u8> {
    [vec![0xfd, 0x0c], value.to_le_bytes().repeat(4)].concat()
}

fn section(id: u8, items: &[Vec<u8>]) -> Vec<u8> {
    let body = [unsigned(items.len() as u32), items.concat()].concat();
    [vec![id], unsigned(body.len() as u32), body].concat()
}

/// A module of `pages` pages whose `run` is `body` (one f32 local), with the given globals.
fn module(pages: u32, globals: &[(&str, u32)], body: &[Vec<u8>]) -> Vec<u8> {
    let name = |text: &str| [unsigned(text.len() as u32), text.as_bytes().to_vec()].concat();
    let mut exports = vec![[name("memory"), vec![2, 0]].concat(), [name("run"), vec![0, 0]].concat()];
    exports.extend(globals.iter().enumerate().map(|(i, (text, _))| [name(text), vec![3, i as u8]].concat()));
    let code = [vec![1, 1, 0x7d], body.concat(), vec![0x0b]].concat();
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[vec![0x60, 0, 1, 0x7f]]),
        section(3, &[vec![0]]),
        section(5, &[[vec![0], unsigned(pages)].concat()]),
        section(6, &globals.iter().map(|(_, address)| [vec![0x7f, 0], number(*address), vec![0x0b]].concat()).collect::<Vec<_>>()),
        section(7, &exports),
        section(10, &[[unsigned(code.len() as u32), code].concat()]),
    ]
    .concat()
}

/// `y = x + 1.5` (`x + 2.5` if relaxed, which tells them apart), plus the first four weights; status 4 if `x[0]` is NaN.
fn add(relaxed: bool, weights: bool) -> Vec<Vec<u8>> {
    let (load, store) = (|at: u32| [number(at), vec![0xfd, 0, 4, 0]].concat(), vec![0xfd, 0x0b, 4, 0]);
    let mut body = vec![
        // if x[0] != x[0] return 4
        [number(X), vec![0x2a, 2, 0, 0x22, 0, 0x20, 0, 0x5c, 0x04, 0x40], number(4), vec![0x0f, 0x0b]].concat(),
        number(Y),
        load(X),
    ];
    body.push(match relaxed {
        true => [splat(1.0), splat(2.5), vec![0xfd, 0x85, 0x02]].concat(),
        false => [splat(1.5), vec![0xfd, 0xe4, 0x01]].concat(),
    });
    if weights {
        body.push([load(WEIGHTS), vec![0xfd, 0xe4, 0x01]].concat());
    }
    body.extend([store, number(0)]);
    body
}

fn tensor(name: &str, dtype: i32, dims: &[i64], bytes: u64) -> Tensor {
    let dims = dims.iter().map(|&bound| Dim { bound, symbol: None }).collect();
    Tensor { name: name.into(), dtype, dims, bytes, quantization: None }
}

fn description(name: &str, inputs: Vec<Tensor>, outputs: Vec<Tensor>) -> Description {
    let levels = vec!["simd128".into(), "relaxed".into()];
    let (name, target, compiler) = (name.into(), "wasm32".into(), "maquette 0.1.0 */ `${evil}` '@@files@@'".into());
    Description { name, target, levels, compiler, inputs, outputs, arena_align: 64, ..Description::default() }
}

fn tiny(name: &str) -> Description {
    description(name, vec![tensor("x", 1, &[1, 4], 16)], vec![tensor("y", 1, &[4], 16)])
}

/// The fingerprints of `d` are those of its weights.
fn write(dir: &Path, d: &Description, modules: &[(&str, Vec<u8>)]) {
    let mut d = d.clone();
    let mut modules = modules.to_vec();
    let prints: Vec<u64> = modules.iter_mut().map(|(_, bytes)| artifact::web::seal(bytes)).collect();
    d.fingerprints.splice(..0, prints);
    let d = &d;
    let put = |file: String, bytes: &[u8]| std::fs::write(dir.join(file), bytes).expect("the folder is ours");
    put(format!("{}.mjs", d.name), artifact::web::mjs(d).expect("it is consistent").as_bytes());
    put(format!("{}.d.ts", d.name), artifact::web::d_ts(d).expect("it is consistent").as_bytes());
    put(format!("{}.d.mts", d.name), artifact::web::d_mts(d).expect("it is consistent").as_bytes());
    modules.iter().for_each(|(level, bytes)| put(artifact::web::module_file(d, level), bytes));
}

fn both(dir: &Path, d: &Description, pages: u32, globals: &[(&str, u32)], weights: bool) {
    let of = |relaxed| module(pages, globals, &add(relaxed, weights));
    write(dir, d, &[("simd128", of(false)), ("relaxed", of(true))]);
}

/// The folder of scripts, and one with all models.
fn models(test: &str) -> PathBuf {
    let dir = ROOM.folder(test);
    both(&dir, &tiny("tiny"), 1, &[("input0", X), ("output0", Y)], false);

    // an odd word and a part of one at the end
    let mut weights: Vec<u8> = (0..750_000u32).flat_map(|i| ((i % 1000) as f32).to_le_bytes()).collect();
    weights.extend([1, 2, 3, 4, 5, 6]);
    let fingerprints = vec![artifact::web::Print::sample().of(&weights)];
    let heavy = Description { weights_bytes: 3_000_006, fingerprints, ..tiny("heavy") };
    both(&dir, &heavy, 64, &[("input0", X), ("output0", Y), ("weights", WEIGHTS)], true);
    std::fs::write(dir.join("heavy.bin"), weights).expect("the folder is ours");

    // Its memory does not reach the output: modules of another compilation.
    both(&dir, &tiny("stranger"), 1, &[("input0", X), ("output0", 65530)], false);
    let plain = Description { levels: vec!["simd128".into()], ..tiny("plain") };
    write(&dir, &plain, &[("simd128", module(1, &[("input0", X), ("output0", Y)], &add(false, false)))]);

    let hostile = ["\"", "*/ evil() /*", "a\nb", "__proto__", "constructor", "'@@files@@'", "\u{2028}`${x}`\\", "", "名前🦀"];
    let inputs: Vec<Tensor> = hostile.iter().map(|name| tensor(name, 1, &[4], 16)).collect();
    let names: Vec<String> = (0..hostile.len()).map(|i| format!("input{i}")).chain(["output0".into()]).collect();
    let globals: Vec<(&str, u32)> = names.iter().zip(0..).map(|(name, i)| (name.as_str(), X + 64 * i)).collect();
    both(&dir, &description("hostile", inputs, vec![tensor("__proto__", 1, &[4], 16)]), 1, &globals, false);

    let types =
        [(1, 4), (2, 1), (3, 1), (4, 2), (5, 2), (6, 4), (7, 8), (9, 1), (10, 2), (11, 8), (12, 4), (13, 8), (16, 2), (17, 1), (22, 1)];
    let inputs: Vec<Tensor> = types.iter().map(|(dtype, size)| tensor(&format!("t{dtype}"), *dtype, &[2], 2 * size)).collect();
    let names: Vec<String> = (0..types.len()).map(|i| format!("input{i}")).collect();
    let globals: Vec<(&str, u32)> = names.iter().zip(0..).map(|(name, i)| (name.as_str(), X + 64 * i)).collect();
    both(&dir, &description("types", inputs, vec![]), 1, &globals, false);

    dynamic(&dir);
    dir
}

/// `x: f32[batch]`, `y: f32[twice]`: the run writes `twice = 2 * batch`, and answers 3 to a batch of 3.
fn dynamic(dir: &Path) {
    let varying = |name: &str, bound: i64, symbol| {
        let dims = vec![Dim { bound, symbol: Some(symbol) }];
        Tensor { dims, ..tensor(name, 1, &[bound], 4 * bound as u64) }
    };
    let mut d = description("dynamic", vec![varying("x", 4, 0)], vec![varying("y", 8, 1)]);
    d.symbols = vec![Symbol { name: "batch".into(), min: 1, max: 4 }, Symbol { name: "twice".into(), min: 2, max: 8 }];
    d.free_symbols = 1;
    // i64.store(SYMBOLS + 8, 2 * i64.load(SYMBOLS)); 3 * (i64.load(SYMBOLS) == 3)
    let batch = [number(SYMBOLS), vec![0x29, 3, 0]].concat();
    let body = [number(SYMBOLS + 8), batch.clone(), vec![0x42, 2, 0x7e, 0x37, 3, 0], batch, vec![0x42, 3, 0x51], number(3), vec![0x6c]];
    let globals = [("input0", X), ("output0", Y), ("symbols", SYMBOLS)];
    let bytes = module(1, &globals, &body);
    write(dir, &d, &[("simd128", bytes.clone()), ("relaxed", bytes)]);
}

fn node(test: &str, flags: &[&str], script: &str, dir: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web").join(script);
    let said = printed(Command::new("node").args(flags).arg(script).arg(dir));
    assert!(said.ends_with("all as it should be\n"), "{test}: {said}");
    said
}

#[test]
fn modules_load_and_run_in_node() {
    let test = "modules_load_and_run_in_node";
    if !ROOM.have("node", test) {
        return;
    }
    let dir = models(test);
    node(test, &[], "check.mjs", &dir);
    // Node 20 has relaxed SIMD behind a flag that later ones may no longer know.
    let flag = "--experimental-wasm-relaxed-simd";
    if run(Command::new("node").args([flag, "-e", "0"])).status.success() {
        node(test, &[flag], "check.mjs", &dir);
    }
}

#[test]
fn types_are_what_typescript_expects() {
    let test = "types_are_what_typescript_expects";
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/web/node_modules/.bin/tsc");
    let tsc = if installed.exists() { installed } else { PathBuf::from("tsc") };
    if !ROOM.have(tsc.to_str().expect("the path is text"), test) {
        return;
    }
    let dir = models(test);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web/user.mts");
    std::fs::copy(script, dir.join("user.mts")).expect("the folder is ours");
    let flags = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--target", "es2022", "--lib", "es2022,dom"];
    for ways in [["--module", "nodenext", "--moduleResolution", "nodenext"], ["--module", "esnext", "--moduleResolution", "bundler"]] {
        printed(Command::new(&tsc).args(flags).args(ways).arg("user.mts").current_dir(&dir));
    }
}

#[test]
fn what_cannot_be_said_is_a_fault() {
    let fails = |d: &Description| {
        let (mjs, d_ts) = (artifact::web::mjs(d), artifact::web::d_ts(d));
        assert!(matches!((mjs, d_ts), (Err(Fault::Describe(_)), Err(Fault::Describe(_)))));
    };
    fails(&description("twice", vec![tensor("x", 1, &[4], 16), tensor("x", 7, &[2], 16)], vec![]));
    fails(&description("text", vec![tensor("x", 8, &[4], 16)], vec![]));
    fails(&Description { levels: vec!["x86-64-v3".into()], ..tiny("native") });
    fails(&Description { name: "no name".into(), ..tiny("x") });
    // The same name on both sides is two tensors.
    let d = description("same", vec![tensor("x", 1, &[4], 16)], vec![tensor("x", 1, &[4], 16)]);
    assert!(matches!(artifact::web::mjs(&d), Err(Fault::Describe(_))), "no fingerprints");
    let d = Description { fingerprints: vec![1, 2], ..d };
    assert!(artifact::web::mjs(&d).expect("it is consistent").is_ascii() && artifact::web::d_ts(&d).expect("it is consistent").is_ascii());
}
