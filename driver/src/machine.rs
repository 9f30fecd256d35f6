//! A model that is compiled and ready to run on this machine or through a runner: what `run`, `verify` and `bench` have in
//! common. It lies in a folder of its own that goes with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ir::kernel::KernelBody;
use ir::program::{Call, Port, Step};
use ir::{Fault, Graph, Tensor};

use crate::budget;
use crate::compile::{self, Dump, Optimized, Options, Watch};
use crate::error::{Error, Result};
use crate::execute::{Runner, execute};
use crate::files::{self, Scratch};
use crate::link::{self, Form, Linked};
use crate::target::{Emit, Level};
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
    let programs = compile::lower(&graph, options, watch)?;
    let linked = link::link(&programs, options, watch)?;
    Ok(Built { graph, optimized, programs, linked })
}

impl Built {
    pub fn finished(&self) -> Finished<'_> {
        Finished { graph: &self.graph, programs: &self.programs, linked: &self.linked }
    }

    /// Multiply-accumulates of one run.
    pub fn macs(&self) -> u64 {
        self.programs.last().map_or(0, |(_, p)| p.steps.iter().map(|s| s.macs).sum())
    }

    /// Those that the code does where it does fewer than the operators say: a floor for its time.
    pub fn least_macs(&self) -> u64 {
        let Some((level, program)) = self.programs.last() else { return 0 };
        let done = |call: &Call| match &program.kernels[call.kernel].body {
            KernelBody::Tile(tile) => tile.multiply_adds(level.facts.lanes()),
            KernelBody::Scalar(_) => 0,
        };
        let least = |step: &Step| match step.calls.iter().map(done).sum() {
            0 => step.macs,
            done => step.macs.min(done),
        };
        program.steps.iter().map(least).sum()
    }
}

/// The program in its folder.
pub struct Machine {
    _folder: Scratch,
    program: PathBuf,
    arguments: Vec<String>,
    outputs: Vec<Port>,
    runner: Runner,
}

impl Machine {
    pub fn new(built: &Built, runner: &Runner) -> Result<Machine> {
        for (_, program) in &built.programs {
            budget::child(program)?;
        }
        let folder = Scratch::new()?;
        let (program, arguments, runner) = match &built.linked.form {
            Form::Native(objects) if !objects.is_executable() => {
                let what = format!("{} has no executables, so nothing can be run or measured", built.linked.description.target);
                return Err(Fault::unsupported(what).help("link its archive into a program of that system").into());
            }
            Form::Native(_) => {
                let mut written = write::write(&built.finished(), &[Emit::Executable], &folder.path)?;
                let weights = built.linked.weights.is_some().then(|| written.pop()).flatten();
                let arguments = weights.map(|w| w.path.display().to_string()).into_iter().collect();
                (written.pop().expect("the executable was asked for").path, arguments, runner.clone())
            }
            Form::Web(_) => {
                write::write(&built.finished(), &[Emit::Wasm, Emit::Script], &folder.path)?;
                (script(&folder.path, &built.linked.description.name)?, Vec::new(), runner.clone().or("node"))
            }
        };
        let outputs = built.programs.first().map(|(_, p)| p.outputs.clone()).unwrap_or_default();
        Ok(Machine { _folder: folder, program, arguments, outputs, runner })
    }

    /// The outputs by name, in order. Fault: the model returns a status.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<(String, Tensor)>> {
        let bytes = bytes::Bytes::from(execute(&self.program, &self.arguments, &self.runner, inputs)?);
        let wanted: u64 = self.outputs.iter().map(|p| p.bytes).sum();
        if bytes.len() as u64 != wanted {
            return Err(Error::Internal(format!("the compiled model wrote {} bytes, its outputs are {wanted}", bytes.len())));
        }
        let mut at = 0;
        let tensor = |port: &Port| {
            let end = at + port.bytes as usize;
            let shape = port.ty.fixed().expect("programs have fixed shapes");
            let tensor = Tensor::dense(port.ty.dtype, &shape, bytes.slice(at..end));
            at = end;
            (port.name.clone(), tensor)
        };
        Ok(self.outputs.iter().map(tensor).collect())
    }

    /// How long each of so many runs took, measured inside the program.
    pub fn bench(&self, inputs: &[Tensor], rounds: usize) -> Result<Vec<Duration>> {
        let mut arguments = self.arguments.clone();
        arguments.extend(["--bench".to_string(), rounds.to_string()]);
        let text = execute(&self.program, &arguments, &self.runner, inputs)?;
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
