//! What every test of the whole house needs: where the repository and its neighbours lie, tools that may be missing, and
//! models compiled the way the command line does it. It judges nothing.
//!
//! What is missing is said aloud: a line `SKIPPED test: why` on the error stream, past the capture of the test harness, so
//! that `tests/all` counts it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ir::{Graph, Tensor};
use maquette::compile::{Model, Options};
use maquette::error::Result;
use maquette::execute::Runner;
use maquette::files::{Scratch, Written};
use maquette::machine::{self, Built};
use maquette::target::{self, Emit, Level, Target};

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository").to_path_buf()
}

/// A committed file.
pub fn committed(path: &str) -> PathBuf {
    repository().join(path)
}

pub fn digits() -> PathBuf {
    committed("examples/digits/digits.onnx")
}

/// A folder of data that lies beside the repository, where it does.
pub fn shared(folder: &str, test: &str) -> Option<PathBuf> {
    let path = repository().parent()?.join("shared").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    skip(test, &format!("../shared/{folder} is not here"));
    None
}

/// Says that a test does not look at something, and why.
pub fn skip(test: &str, why: &str) {
    // past the capture, since a skip that nobody sees is a test that cannot fail; in one piece, since others write too
    std::io::stderr().write_all(format!("SKIPPED {test}: {why}\n").as_bytes()).expect("there is an error stream");
}

/// Whether a tool is installed; says so if not.
pub fn have(tool: &str, test: &str) -> bool {
    let there = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        skip(test, &format!("{tool} is not installed"));
    }
    there
}

/// Runs a command. Panics with what it said when it fails.
pub fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    said
}

/// Runs a command with bytes on its standard input.
pub fn piped(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = maquette::execute::start(command).unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let mut stdin = child.stdin.take().expect("it was asked for");
    std::thread::scope(|scope| {
        // one that ends early does not read
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("the child ends")
    })
}

/// This machine and its levels that work here, the least able first; none where we cannot run what we compile.
pub fn here(test: &str) -> Option<(&'static Target, Vec<&'static Level>)> {
    match target::host().and_then(|target| Ok((target, target.native()?))) {
        Ok((target, native)) => {
            let able = target.levels.iter().take_while(|l| *l != native).chain([native]);
            Some((target, able.collect()))
        }
        Err(why) => {
            skip(test, &format!("this machine runs no artifact: {why}"));
            None
        }
    }
}

/// A machine that compiled models run on here: a target at one CPU level, and what runs it.
pub struct Place {
    pub target: &'static Target,
    pub level: &'static Level,
    pub runner: Runner,
}

impl Place {
    pub fn options(&self, name: &str) -> Options {
        Options::new(self.target, vec![self.level], name)
    }
}

/// The processors on which qemu runs each level of ARM, all with no more than the level needs where there is such a one.
const ARM: [(&str, &str); 3] = [("armv8", "cortex-a53"), ("armv8+dotprod", "cortex-a76"), ("armv8+i8mm", "max")];

/// Every machine that can be run here: this one at each of its levels, ARM through qemu, WebAssembly through node. What is
/// missing is said.
pub fn places(test: &str) -> Vec<Place> {
    let mut all = Vec::new();
    if let Some((target, levels)) = here(test) {
        all.extend(levels.into_iter().map(|level| Place { target, level, runner: Runner::default() }));
    }
    let runner = |words: &str| Runner::parse(words).expect("words");
    let arm = target::target("aarch64-linux").expect("it is in the table");
    if all.iter().all(|place| place.target.name != arm.name) && have("qemu-aarch64", test) {
        for level in arm.levels {
            let (_, cpu) = ARM.iter().find(|(name, _)| *name == level.name).expect("a processor for every level");
            all.push(Place { target: arm, level, runner: runner(&format!("qemu-aarch64 -cpu {cpu}")) });
        }
    }
    let web = target::target("wasm32").expect("it is in the table");
    if have("node", test) {
        for level in web.levels {
            match node(level) {
                Some(words) => all.push(Place { target: web, level, runner: runner(words) }),
                None => skip(test, &format!("this node has no {} WebAssembly", level.name)),
            }
        }
    }
    all
}

/// How node runs a level. Between its versions 16 and 20, relaxed SIMD wants a word.
fn node(level: &Level) -> Option<&'static str> {
    let probe = if level.name == "relaxed" { "0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2" } else { "0, 65, 1, 253, 15" };
    let body = probe.split(',').count() + 1;
    let bytes = format!("0,97,115,109,1,0,0,0, 1,5,1,96,0,1,123, 3,2,1,0, 10,{},1,{body}, {probe}, 11", body + 2);
    let says = format!("process.exit(WebAssembly.validate(new Uint8Array([{bytes}])) ? 0 : 1)");
    let runs = |words: &&str| {
        let mut words = words.split(' ');
        let mut command = Command::new(words.next().expect("a word"));
        command.args(words).args(["-e", &says]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    ["node", "node --experimental-wasm-relaxed-simd"].into_iter().find(runs)
}

/// What the command line takes by default, for some levels of this machine.
pub fn options(levels: Vec<&'static Level>, name: &str) -> Options {
    Options::new(target::host().expect("asked before"), levels, name)
}

/// The graph of a model file.
pub fn import(path: &Path, options: &Options) -> Result<Graph> {
    Ok(Model::open(path)?.import(options)?.graph)
}

/// Compiles a graph and writes it in some forms into a folder.
pub fn compile(graph: Graph, options: &Options, emits: &[Emit], folder: &Path) -> Result<(Built, Vec<Written>)> {
    let built = machine::build(graph, options, None, &())?;
    let written = maquette::write::write(&built.finished(), emits, folder)?;
    Ok((built, written))
}

/// A folder that goes with the test.
pub fn scratch() -> Scratch {
    Scratch::new().expect("there is room for a folder")
}

/// `work` on every item, on every core and with as much stack as the program itself has. In the order of the items.
pub fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    const STACK: usize = 256 << 20;
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let worker = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(i) else { return };
            let result = work(item);
            done.lock().expect("nobody panics with it").push((i, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, worker).expect("there are threads");
        }
    });
    let mut done = done.into_inner().expect("nobody panicked with it");
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Inputs for a graph of fixed shapes, the same for the same seed.
pub fn made_up(graph: &Graph, seed: u64) -> Vec<Tensor> {
    let random = |(i, &id): (usize, &ir::NodeId)| {
        let ty = graph.ty(id);
        let shape = ty.fixed().expect("the shapes are fixed");
        ir::graph::text::random(ty.dtype, &shape, seed + i as u64)
    };
    graph.inputs().iter().enumerate().map(random).collect()
}
