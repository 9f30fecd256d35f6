//! Arguments that several commands share, and what they mean. A mistake in any of them is exit 2.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use frontend::{Declared, Extent};
use ir::{Dtype, Fault, Tensor};
use passes::{Recipe, Semantics};

use crate::compile::{Model, Options, Tune, name_from};
use crate::error::{Error, Result};
use crate::npz::Arrays;
use crate::target::{self, Level, Target};
use crate::tuning;

/// A model and what is fixed of it.
#[derive(Args)]
pub struct ModelArgs {
    /// The ONNX file
    pub model: PathBuf,
    /// Size of a named dimension, or its range (batch=1, seq=1..512); may be repeated
    #[arg(long = "dim", value_name = "NAME=N", value_parser = dimension)]
    dims: Vec<(String, Extent)>,
    /// Make an input a constant; may be repeated
    #[arg(long = "bind", value_name = "NAME=FILE.npy", value_parser = binding)]
    bind: Vec<(String, PathBuf)>,
    /// Keep an output inside, where the next run finds it as an input; may be repeated
    #[arg(long = "state", value_name = "OUT:IN", value_parser = pair)]
    state: Vec<(String, String)>,
}

/// What the passes do.
#[derive(Args)]
pub struct PassArgs {
    /// How much to optimize: 0, 2, 3, s (3 is as 2 for now, s leaves out what buys speed with size)
    #[arg(short = 'O', value_name = "LEVEL", default_value = "2", value_parser = recipe)]
    recipe: Recipe,
    /// Leave out a pass or rule; may be repeated or separated by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    skip: Vec<String>,
    /// Stop after so many rewrites, to find the one that matters
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Compare with the reference interpreter before and after every pass
    #[arg(long)]
    check: bool,
    /// Compute every convolution directly; as -Os and -O0 do
    #[arg(long)]
    no_winograd: bool,
    /// How far results of Winograd's algorithm may be off, relative to a layer's largest result
    #[arg(long, value_name = "ERROR", default_value_t = kernels::WINOGRAD_ERROR, value_parser = error)]
    winograd_error: f64,
    /// Measure on this machine the ways that kernels have to choose from, and take the fastest
    #[arg(long)]
    tune: bool,
    /// What was measured: read, and with --tune written too; without it nothing is measured
    #[arg(long, value_name = "FILE")]
    tuned: Option<PathBuf>,
    /// What a quantized model means: ort, qdq-float, fast
    #[arg(long, value_name = "MEANING", default_value = "ort", value_parser = semantics)]
    quant_semantics: Semantics,
}

/// What to compile for.
#[derive(Args)]
pub struct TargetArgs {
    /// The machine to compile for, such as x86_64-linux; by default this one
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// CPU levels, separated by commas, such as native or x86-64-v3,x86-64-v4; by default native on this machine,
    /// the widest elsewhere
    #[arg(long, value_name = "LEVEL", value_delimiter = ',')]
    cpu: Vec<String>,
}

fn dimension(text: &str) -> std::result::Result<(String, Extent), String> {
    let wrong = || format!("{text:?} is neither NAME=N nor NAME=LOW..HIGH");
    let (name, value) = text.rsplit_once('=').ok_or_else(wrong)?;
    let number = |t: &str| t.parse::<i64>().ok().filter(|n| *n >= 0).ok_or_else(wrong);
    let extent = match value.split_once("..") {
        None => Extent::Fixed(number(value)?),
        Some((low, high)) => {
            let (low, high) = (number(low)?, number(high.trim_start_matches('='))?);
            if low > high {
                return Err(format!("the range {low}..{high} is empty"));
            }
            Extent::Range(low, high)
        }
    };
    if name.is_empty() { Err(wrong()) } else { Ok((name.to_string(), extent)) }
}

fn binding(text: &str) -> std::result::Result<(String, PathBuf), String> {
    match text.rsplit_once('=') {
        Some((name, file)) if !file.is_empty() => Ok((name.to_string(), PathBuf::from(file))),
        _ => Err(format!("{text:?} is not NAME=FILE.npy")),
    }
}

fn error(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|e| e.is_finite() && *e >= 0.0);
    number.ok_or_else(|| format!("{text:?} is not a number from 0 on"))
}

/// The first colon is the one between.
fn pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once(':') {
        Some((out, into)) if !out.is_empty() && !into.is_empty() => Ok((out.to_string(), into.to_string())),
        _ => Err(format!("{text:?} is not OUT:IN")),
    }
}

fn recipe(text: &str) -> std::result::Result<Recipe, String> {
    let all: Vec<&str> = Recipe::ALL.iter().map(|r| r.name()).collect();
    let found = Recipe::ALL.iter().copied().find(|r| r.name().trim_start_matches(['-', 'O']) == text);
    found.ok_or_else(|| format!("{text:?} is none of {}", all.join(", ")))
}

fn semantics(text: &str) -> std::result::Result<Semantics, String> {
    let all: Vec<&str> = Semantics::ALL.iter().map(|s| s.name()).collect();
    Semantics::from_name(text).ok_or_else(|| format!("{text:?} is none of {}", all.join(", ")))
}

/// All that the shared arguments say.
pub struct Setup {
    pub model: Model,
    pub options: Options,
    /// For people, about what was decided by default.
    pub notes: Vec<String>,
}

/// Opens the model and reads the arguments. `name`: the artifact's, by default from the file.
pub fn setup(model: &ModelArgs, passes: &PassArgs, target: &TargetArgs, name: Option<&str>) -> Result<Setup> {
    let mut notes = Vec::new();
    let (target, levels) = machine(target, &mut notes)?;
    let name = match name {
        None => name_from(&model.model),
        Some(name) if artifact::c_identifier(name) == name => name.to_string(),
        Some(name) => {
            let better = artifact::c_identifier(name);
            return Err(Fault::usage(format!("{name:?} cannot prefix names in C")).help(format!("--name {better} can")).into());
        }
    };
    let mut options = Options::new(target, levels, &name);
    options.passes.recipe = passes.recipe;
    options.passes.skip = passes.skip.clone();
    options.passes.fuel = passes.fuel;
    options.passes.check = passes.check;
    let winograd = !passes.no_winograd && !matches!(passes.recipe, Recipe::O0 | Recipe::Os);
    options.kernels.winograd = winograd.then_some(passes.winograd_error);
    passes.known(&mut options, &mut notes)?;
    options.passes.semantics = passes.quant_semantics;
    options.state = model.state.clone();
    let file = Model::open(&model.model)?;
    let options = model.options(options, &file)?;
    Ok(Setup { model: file, options, notes })
}

impl PassArgs {
    /// Adds what measurements taught. Fault: a file that cannot be read; with `--tune` there may be none yet.
    fn known(&self, options: &mut Options, notes: &mut Vec<String>) -> Result<()> {
        options.tune = self.tune.then(|| Tune { file: self.tuned.clone() });
        if let Some(path) = self.tuned.as_deref().filter(|path| !self.tune || path.exists()) {
            let (tuned, strange) = tuning::file::read(path)?;
            options.kernels.tuned = Arc::new(tuned);
            notes.extend(strange);
        }
        Ok(())
    }
}

impl ModelArgs {
    /// Adds what is fixed of the model. Faults: a dimension that is given twice, a bound file that does not fit.
    pub fn options(&self, mut options: Options, file: &Model) -> Result<Options> {
        for (name, extent) in &self.dims {
            if options.dims.insert(name.clone(), *extent).is_some_and(|old| old != *extent) {
                return Err(Error::usage(format!("dimension {name:?} is given twice")));
            }
        }
        options.bind = bind(&self.bind, &file.inputs())?;
        Ok(options)
    }
}

/// The target and its levels. Without a word: this machine and its own level.
fn machine(args: &TargetArgs, notes: &mut Vec<String>) -> Result<(&'static Target, Vec<&'static Level>)> {
    let target = match &args.target {
        Some(text) => target::target(text)?,
        None => target::host()?,
    };
    if !args.cpu.is_empty() {
        return Ok((target, target.cpu(&args.cpu)?));
    }
    let here = target::host().is_ok_and(|h| h.name == target.name);
    if !here {
        return Ok((target, target.levels[..target.widest].iter().collect()));
    }
    let level = target.native()?;
    if level != target.baseline() {
        notes.push(format!(
            "compiled for this CPU's level, {}: others get status 5 (--cpu {base} runs on more, --cpu {base},{} on both)",
            level.name,
            level.name,
            base = target.baseline().name
        ));
    }
    Ok((target, vec![level]))
}

/// Reads bound inputs; the model's declaration says which type the bits have.
fn bind(pairs: &[(String, PathBuf)], inputs: &[Declared]) -> Result<BTreeMap<String, Tensor>> {
    let mut all = BTreeMap::new();
    for (name, path) in pairs {
        let arrays = Arrays::open(path)?;
        let [array] = &arrays.list[..] else {
            return Err(Error::file(path.display(), format!("holds {} arrays; one is bound", arrays.list.len())));
        };
        let declared = inputs.iter().find(|i| i.name == *name).and_then(|i| i.dtype);
        let dtype = declared.or(array.header.descr.dtype()).unwrap_or(Dtype::U8);
        if all.insert(name.clone(), arrays.tensor(array, dtype)?).is_some() {
            return Err(Error::usage(format!("input {name:?} is bound twice")));
        }
    }
    Ok(all)
}

/// A folder for `-o`; by default the present one.
pub fn folder(path: &Option<PathBuf>) -> &Path {
    path.as_deref().unwrap_or(Path::new("."))
}

/// The graph for arrays that are at hand. Inputs that decide what is compiled are constants then, which is noted.
pub fn import(setup: &mut Setup, feeds: &crate::feeds::Feeds, console: &super::console::Console) -> Result<frontend::Import> {
    let declared = setup.model.inputs();
    setup.options.shapes = feeds.shapes();
    let (import, taken) = setup.model.import_given(&mut setup.options, &|name| feeds.constant(name, &declared))?;
    for name in taken {
        let name = crate::error::plain(&name, 60);
        console.note(&format!("input {name:?} decides what is compiled; it is a constant here, as --bind {name}=FILE.npy makes it"));
    }
    import.notes.iter().for_each(|note| console.note(note));
    Ok(import)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_are_sizes_or_ranges() {
        assert_eq!(dimension("batch=1"), Ok(("batch".into(), Extent::Fixed(1))));
        assert_eq!(dimension("a=b=1..512"), Ok(("a=b".into(), Extent::Range(1, 512))));
        for wrong in ["batch", "=1", "b=-1", "b=x", "b=5..2", "b=1.."] {
            assert!(dimension(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bindings_name_a_file() {
        assert_eq!(binding("a=b=c.npy"), Ok(("a=b".into(), "c.npy".into())));
        assert!(binding("a=").is_err() && binding("a").is_err());
    }
}
