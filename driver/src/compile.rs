//! The way of a model, step by step: file, graph, graph, a program per CPU level. It decides nothing about any of them but
//! in which order they come, and tells whoever watches how far it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use frontend::edit::Draft;
use frontend::{Extent, Import, NoFiles, Source};
use ir::{Fault, Graph, Program, Tensor};
use passes::run::{Observer, Pass, Report, Summary};

use crate::beside::Beside;
use crate::budget;
use crate::error::{Error, Result};
use crate::files;
use crate::target::{Level, Target};

/// The name and version that artifacts bear.
pub const COMPILER: &str = concat!("maquette ", env!("CARGO_PKG_VERSION"));

/// Where weights go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Into the artifact.
    Embed,
    /// Into `NAME.bin` beside it.
    File,
}

/// What the user decides.
#[derive(Clone, Debug)]
pub struct Options {
    pub target: &'static Target,
    /// The least able first; never empty.
    pub levels: Vec<&'static Level>,
    /// `None`: into the artifact, but for WebAssembly only where they are small.
    pub weights: Option<Weights>,
    /// Prefix of everything in C: its own `c_identifier`.
    pub name: String,
    pub passes: passes::run::Options,
    pub kernels: kernels::Options,
    /// Sizes of named dimensions.
    pub dims: BTreeMap<String, Extent>,
    /// Inputs that become constants.
    pub bind: BTreeMap<String, Tensor>,
    /// Shapes of inputs that are at hand.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// Outputs that the next run finds as inputs: the names of both.
    pub state: Vec<(String, String)>,
    /// Choices of kernels are measured on this machine.
    pub tune: Option<Tune>,
    /// The output that the time of each step goes to: [`crate::timing`] makes such programs, for executables only.
    pub times: Option<usize>,
}

impl Options {
    /// For one target and its levels; all else by default.
    pub fn new(target: &'static Target, levels: Vec<&'static Level>, name: &str) -> Options {
        Options {
            target,
            levels,
            weights: None,
            name: name.into(),
            passes: passes::run::Options::default(),
            kernels: kernels::Options::default(),
            dims: BTreeMap::new(),
            bind: BTreeMap::new(),
            shapes: BTreeMap::new(),
            state: Vec::new(),
            tune: None,
            times: None,
        }
    }

    /// Whether an input is the caller's to give.
    pub fn is_given(&self, input: &str) -> bool {
        !self.bind.contains_key(input) && self.state.iter().all(|(_, name)| name != input)
    }
}

/// What measuring adds to what is known already.
#[derive(Clone, Debug)]
pub struct Tune {
    /// Where what was learned is written.
    pub file: Option<PathBuf>,
}

/// Hears what is being done, for a progress bar or a log. `()` listens to nothing.
pub trait Watch: Sync {
    /// A stage of so many steps begins.
    fn stage(&self, what: &str, steps: usize) {
        let _ = (what, steps);
    }
    /// One step of it is done.
    fn step(&self) {}
}

impl Watch for () {}

/// A model file, decoded.
pub struct Model {
    model: frontend::Model,
    source: Box<dyn Source>,
    /// For messages.
    pub label: String,
}

impl Model {
    /// Fault: no file, or no ONNX.
    pub fn open(path: &Path) -> Result<Model> {
        let label = path.display().to_string();
        let model = frontend::Model::read(files::read(path)?).map_err(|f| Error::from(f).of_file(&label))?;
        Ok(Model { model, source: Box::new(Beside::model(path)), label })
    }

    /// A model in memory, without files beside it.
    pub fn read(bytes: Bytes, label: &str) -> Result<Model> {
        let model = frontend::Model::read(bytes).map_err(|f| Error::from(f).of_file(label))?;
        Ok(Model { model, source: Box::new(NoFiles), label: label.into() })
    }

    /// A model that came from another, without files beside it.
    pub fn of(model: frontend::Model, label: &str) -> Model {
        Model { model, source: Box::new(NoFiles), label: label.into() }
    }

    /// Begins to change a copy of it. Fault: constants that cannot be read.
    pub fn draft(&self) -> Result<Draft> {
        self.model.draft(&*self.source).map_err(|f| Error::from(f).of_file(&self.label))
    }

    pub fn inputs(&self) -> Vec<frontend::Declared> {
        self.model.inputs()
    }

    /// The graph as the model says it, before any pass.
    pub fn import(&self, options: &Options) -> Result<Import> {
        let options = frontend::Options {
            dims: options.dims.clone(),
            bind: options.bind.clone(),
            shapes: options.shapes.clone(),
            ..frontend::Options::default()
        };
        self.model.import(&*self.source, &options).map_err(|f| Error::from(f).of_file(&self.label))
    }

    /// The same for arrays that are at hand: an input that decides what is compiled becomes a constant, and is among the
    /// `options` to bind then. Their names come back too.
    pub fn import_given(&self, options: &mut Options, given: &dyn Fn(&str) -> Result<Option<Tensor>>) -> Result<(Import, Vec<String>)> {
        let mut taken = Vec::new();
        loop {
            let faults = match self.import(options) {
                Err(Error::Faults { file, faults }) => (file, faults),
                done => return done.map(|import| (import, taken)),
            };
            let before = taken.len();
            for name in faults.1.iter().flat_map(|fault| &fault.inputs) {
                if options.is_given(name)
                    && let Some(tensor) = given(name)?
                {
                    options.bind.insert(name.clone(), tensor);
                    taken.push(name.clone());
                }
            }
            if taken.len() == before {
                return Err(Error::Faults { file: faults.0, faults: faults.1 });
            }
        }
    }
}

/// The name that a model gets from its file.
pub fn name_from(path: &Path) -> String {
    let stem = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    artifact::c_identifier(&stem)
}

/// What the passes did, and how long each took.
pub struct Optimized {
    pub report: Report,
    pub times: Vec<(&'static str, Duration)>,
}

/// Runs the passes.
pub fn optimize(graph: &mut Graph, options: &Options, dump: Option<&mut Dump>, watch: &dyn Watch) -> Result<Optimized> {
    let mut observer = Passes { dump, watch, started: Instant::now(), times: Vec::new(), failed: None };
    watch.stage("rewriting", options.passes.recipe.passes().len());
    if options.passes.check {
        budget::reference(graph)?;
    }
    let report = passes::run::optimize(graph, &options.passes, &mut observer).map_err(Error::from)?;
    if let Some(error) = observer.failed {
        return Err(error);
    }
    if options.passes.check && !report.mismatches.is_empty() {
        return Err(Error::Verification(report.mismatches.join("\n")));
    }
    Ok(Optimized { report, times: observer.times })
}

/// What the passes noticed of their own mistakes: the graph that they leave is right, and somebody should hear of it.
pub fn remarks(report: &Report) -> Vec<String> {
    let unsettled = report.unsettled.iter().map(|pass| format!("pass {pass} did not come to rest; please report it"));
    let refused = report.refused.iter().map(|why| format!("a rewrite was refused, please report it: {why}"));
    unsettled.chain(refused).collect()
}

struct Passes<'a> {
    dump: Option<&'a mut Dump>,
    watch: &'a dyn Watch,
    started: Instant,
    times: Vec<(&'static str, Duration)>,
    failed: Option<Error>,
}

impl Observer for Passes<'_> {
    fn before(&mut self, index: usize, _: &Pass, graph: &Graph) {
        if let Some(dump) = &mut self.dump
            && index == 0
        {
            self.failed = dump.graph(0, "import", graph, "as the model says it").err();
        }
        self.started = Instant::now();
    }

    fn after(&mut self, index: usize, pass: &Pass, graph: &Graph, summary: &Summary) {
        self.times.push((pass.name, self.started.elapsed()));
        self.watch.step();
        if let Some(dump) = &mut self.dump
            && self.failed.is_none()
        {
            let fired: Vec<String> = summary.fired.iter().map(|(rule, n)| format!("{rule} {n}")).collect();
            let what = match (summary.skipped, fired.is_empty()) {
                (true, _) => "skipped".to_string(),
                (false, true) => format!("{} changes", summary.rewrites),
                (false, false) => fired.join(", "),
            };
            self.failed = dump.graph(index + 1, pass.name, graph, &what).err();
        }
    }
}

/// Writes the graph after every pass into a folder, at once, so that it is there even if a later pass fails.
pub struct Dump {
    folder: PathBuf,
    last: String,
}

impl Dump {
    pub fn into(folder: &Path) -> Result<Dump> {
        std::fs::create_dir_all(folder).map_err(|why| Error::file(folder.display(), files::reason(&why)))?;
        Ok(Dump { folder: folder.to_path_buf(), last: String::new() })
    }

    fn graph(&mut self, number: usize, name: &str, graph: &Graph, what: &str) -> Result<()> {
        let text = ir::graph::text::print(graph);
        let path = self.folder.join(format!("{number:02}.{name}.gir"));
        let body = if text == self.last { "// (unchanged)\n" } else { &text };
        let written = std::fs::write(&path, format!("// {number:02} {name}: {what}\n{body}"));
        self.last = text;
        written.map_err(|why| Error::file(path.display(), files::reason(&why)))
    }
}

/// What the verifier of programs says. A finding is a mistake of ours, and nothing is written.
fn sound(program: &Program, level: &Level) -> Result<()> {
    let wrong = |wrong: Vec<String>| Error::Internal(format!("the program for {} is unsound: {}", level.name, wrong.join("; ")));
    ir::program::verify(program, level.facts).map_err(wrong)
}

/// A program per level, in their order, each verified; weights lie in all as the widest level wants them. Faults: all that
/// the levels find, each once.
pub fn lower(graph: &Graph, options: &Options, watch: &dyn Watch) -> Result<Vec<(&'static Level, Program)>> {
    let kept = crate::state::kept(graph, &options.state)?;
    watch.stage("planning", options.levels.len());
    let (mut programs, mut faults): (Vec<_>, Vec<Fault>) = (Vec::new(), Vec::new());
    let widest = options.levels.iter().map(|level| level.facts).rev().max_by_key(|facts| facts.vector_bytes);
    for &level in &options.levels {
        let facts = level.facts;
        match kernels::lower_keeping(graph, facts, widest.unwrap_or(facts), options.kernels.clone(), &kept) {
            Ok(program) => {
                sound(&program, level)?;
                match budget::arena(&program) {
                    Ok(()) => programs.push((level, program)),
                    Err(fault) => faults.push(fault),
                }
            }
            Err(all) => {
                for fault in all {
                    if !faults.contains(&fault) {
                        faults.push(fault);
                    }
                }
            }
        }
        watch.step();
    }
    if faults.is_empty() { Ok(programs) } else { Err(faults.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsound_program_is_a_mistake_of_ours() {
        let text = "graph { %x: f32[16] = input \"x\" %y = map %x do { max(a, 0.0) } return %y \"y\" }";
        let graph = ir::graph::text::parse(text, &|_| None).expect("the graph is right");
        let target = crate::target::target("x86_64-linux").expect("it is in the table");
        let options = Options::new(target, vec![target.baseline()], "model");
        let programs = lower(&graph, &options, &()).expect("it is sound");
        let (level, mut program) = programs.into_iter().next().expect("one level");
        program.kernels[0].args[0].high += 4;
        let error = sound(&program, level).expect_err("bytes behind the tensor");
        assert_eq!(error.exit_code(), 70);
        assert!(error.to_string().contains("unsound"), "{error}");
    }

    #[test]
    fn what_the_passes_noticed_is_told() {
        let report = Report { unsettled: vec!["fuse"], refused: vec!["r at \"n\": f32 became i64".into()], ..Report::default() };
        assert_eq!(
            remarks(&report),
            ["pass fuse did not come to rest; please report it", "a rewrite was refused, please report it: r at \"n\": f32 became i64"]
        );
        assert!(remarks(&Report::default()).is_empty());
    }
}
