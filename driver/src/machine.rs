//! A model that is compiled and ready to run on this machine or through a runner: what `run`, `verify` and `bench` have in
//! common. It lies in a folder of its own that goes with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ir::kernel::KernelBody;
use ir::program::{Call, Step};
use ir::{Fault, Graph, Tensor};

use crate::budget;
use crate::compile::{self, Dump, Optimized, Options, Watch};
use crate::error::{Error, Result};
use crate::execute::{Runner, execute};
use crate::files::{self, Scratch};
use crate::link::{self, Form, Linked};
use crate::target::{Emit, Level};
use crate::tuning;
use crate::write::{self, Finished};
use ir::Program;

/// Everything that compiling a graph gives.
pub struct Built {
    /// As the passes left it.
    pub graph: Graph,
    pub optimized: Optimized,
    pub programs: Vec<(&'static Level, Program)>,
    pub linked: Linked,
}

/// From the imported graph to code.
pub fn build(mut graph: Graph, options: &Options, dump: Option<&mut Dump>, watch: &dyn Watch) -> Result<Built> {
    let optimized = compile::optimize(&mut graph, options, dump, watch)?;
    let tuned = tuning::tune(&graph, options, watch)?;
    let options = &tuned;
    let programs = compile::lower(&graph, options, watch)?;
    let linked = link::link(&programs, options, watch)?;
    Ok(Built { graph, optimized, programs, linked })
}

impl Built {
    pub fn finished(&self) -> Finished<'_> {
        Finished { graph: &self.graph, programs: &self.programs, linked: &self.linked }
    }

    /// Multiply-accumulates of one run on these inputs.
    pub fn macs(&self, inputs: &[Tensor]) -> u64 {
        self.programs.last().map_or(0, |(_, p)| p.macs(&p.sizes(inputs).unwrap_or_default()))
    }

    /// Those that the code does where it does fewer than the operators say: a floor for its time.
    pub fn least_macs(&self, inputs: &[Tensor]) -> u64 {
        let Some((level, program)) = self.programs.last() else { return 0 };
        let sizes = program.sizes(inputs).unwrap_or_default();
        let done = |call: &Call| match &program.kernels[call.kernel].body {
            KernelBody::Tile(tile) => tile.multiply_adds(level.facts.lanes()),
            KernelBody::Scalar(_) => 0,
        };
        let least = |step: &Step| match step.calls.iter().map(done).sum() {
            0 => step.macs,
            done => step.macs.min(done),
        };
        let steps = program.steps.iter().enumerate().filter(|(_, step)| step.runs_at(&sizes));
        steps.map(|(i, step)| least(step).saturating_mul(program.turns_at(i, &sizes))).sum()
    }
}

/// The program in its folder.
pub struct Machine {
    _folder: Scratch,
    program: PathBuf,
    arguments: Vec<String>,
    /// Its ports and symbols.
    signature: Program,
    /// Whether a script runs it, which is told how many bytes each input has.
    script: bool,
    runner: Runner,
}

impl Machine {
    pub fn new(built: &Built, runner: &Runner) -> Result<Machine> {
        Machine::of(&built.finished(), runner)
    }

    /// The same of what is ready to be written.
    pub fn of(built: &Finished, runner: &Runner) -> Result<Machine> {
        for (_, program) in built.programs {
            budget::child(program)?;
        }
        let folder = Scratch::new()?;
        let (program, arguments, runner) = match &built.linked.form {
            Form::Native(objects) if !objects.is_executable() => {
                let what = format!("{} has no executables, so nothing can be run or measured", built.linked.description.target);
                return Err(Fault::unsupported(what).help("link its archive into a program of that system").into());
            }
            Form::Native(_) => {
                let mut written = write::write(built, &[Emit::Executable], &folder.path)?;
                let weights = built.linked.weights.is_some().then(|| written.pop()).flatten();
                let arguments = weights.map(|w| w.path.display().to_string()).into_iter().collect();
                (written.pop().expect("the executable was asked for").path, arguments, runner.clone())
            }
            Form::Web(_) => {
                write::write(built, &[Emit::Wasm, Emit::Script], &folder.path)?;
                (script(&folder.path, &built.linked.description.name)?, Vec::new(), runner.clone().or("node"))
            }
        };
        let Program { inputs, outputs, symbols, .. } = &built.programs.first().expect("there is a level").1;
        let signature = Program { inputs: inputs.clone(), outputs: outputs.clone(), symbols: symbols.clone(), ..Program::default() };
        let script = matches!(built.linked.form, Form::Web(_));
        Ok(Machine { _folder: folder, program, arguments, signature, script, runner })
    }

    /// What the program reads: the sizes that the inputs have, then they themselves. Fault: a size out of its range (status 3).
    fn feed(&self, inputs: &[Tensor], more: &[String]) -> Result<(Vec<String>, Vec<Tensor>)> {
        let Some(sizes) = self.signature.sizes(inputs) else {
            let free = self.signature.symbols[..self.signature.free_symbols()].iter();
            let ranges: Vec<String> = free.map(|s| format!("{} is to be from {} to {}", s.name, s.low, s.high)).collect();
            return Err(Error::Status { file: None, status: 3, what: ranges });
        };
        let mut arguments = self.arguments.clone();
        if self.script {
            let bytes: Vec<String> = inputs.iter().map(|t| (t.elements() * t.dtype().bytes()).to_string()).collect();
            arguments.push(bytes.join(","));
        }
        arguments.extend_from_slice(more);
        let sizes = Tensor::i64s(&[sizes.len()], &sizes);
        Ok((arguments, [&[sizes], inputs].concat()))
    }

    /// The outputs by name, in order, of their actual sizes. Fault: the model returns a status.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<(String, Tensor)>> {
        Ok(self.runs(std::slice::from_ref(&inputs.to_vec()))?.pop().unwrap_or_default())
    }

    /// The same for runs that follow each other, which a model with state takes.
    pub fn runs(&self, runs: &[Vec<Tensor>]) -> Result<Vec<Vec<(String, Tensor)>>> {
        let (mut arguments, mut feed) = (self.arguments.clone(), Vec::new());
        for inputs in runs {
            let (said, mut part) = self.feed(inputs, &[])?;
            arguments = said;
            feed.append(&mut part);
        }
        let bytes = bytes::Bytes::from(execute(&self.program, &arguments, &self.runner, &feed)?);
        let wrong = || Error::Internal(format!("the compiled model wrote {} bytes, which its outputs are not", bytes.len()));
        let symbols = &self.signature.symbols;
        let mut at = 0;
        let mut all = Vec::with_capacity(runs.len());
        for _ in runs {
            let values = bytes.get(at..at + 8 * symbols.len()).ok_or_else(wrong)?.chunks_exact(8);
            let values = values.map(|value| i64::from_le_bytes(value.try_into().expect("chunks of 8 bytes")));
            let values: BTreeMap<Arc<str>, i64> = symbols.iter().map(|s| s.name.clone()).zip(values).collect();
            at += 8 * symbols.len();
            let mut outputs = Vec::new();
            for port in &self.signature.outputs {
                let shape = port.shape_at(&values).ok_or_else(wrong)?;
                let end = at + shape.iter().product::<usize>() * port.ty.dtype.bytes();
                if end > bytes.len() {
                    return Err(wrong());
                }
                outputs.push((port.name.clone(), Tensor::dense(port.ty.dtype, &shape, bytes.slice(at..end))));
                at = end;
            }
            all.push(outputs);
        }
        if at == bytes.len() { Ok(all) } else { Err(wrong()) }
    }

    /// How long each of so many runs took, measured inside the program.
    pub fn bench(&self, inputs: &[Tensor], rounds: usize) -> Result<Vec<Duration>> {
        let (arguments, feed) = self.feed(inputs, &["--bench".to_string(), rounds.to_string()])?;
        let text = execute(&self.program, &arguments, &self.runner, &feed)?;
        let text = String::from_utf8_lossy(&text);
        let times: Option<Vec<Duration>> = text.lines().map(|l| l.parse().ok().map(Duration::from_nanos)).collect();
        times.filter(|t| t.len() == rounds).ok_or_else(|| Error::Internal("the compiled model did not print its times".into()))
    }
}

/// The script that makes a program of modules, beside them.
fn script(folder: &Path, name: &str) -> Result<PathBuf> {
    const TEXT: &str = include_str!("web/run.mjs");
    let path = folder.join("run.mjs");
    let text = TEXT.replace("./model.mjs", &format!("./{}", write::file_name(Emit::Script, name)));
    std::fs::write(&path, text).map_err(|why| Error::file(path.display(), files::reason(&why)))?;
    Ok(path)
}
