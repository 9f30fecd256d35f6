//! `maquette run`: compiles a model, runs it on arrays in a child process, and keeps or shows what comes out.

use std::path::{Path, PathBuf};

use ir::Tensor;

use super::arguments::{self, ModelArgs, PassArgs, TargetArgs, setup};
use super::console::Console;
use crate::error::{Error, Result};
use crate::execute::Runner;
use crate::feeds::Feeds;
use crate::files::Outputs;
use crate::machine::{self, Machine};
use crate::npz::{self, Arrays};
use crate::table::{Table, list, scientific, word};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    passes: PassArgs,
    /// Arrays by the names of the inputs; arr_0, arr_1, … mean position. A .npy is the first input
    #[arg(long, value_name = "FILE.npz")]
    inputs: Option<PathBuf>,
    /// Where to write the outputs, by their names; without it they are summarized
    #[arg(long, value_name = "FILE.npz")]
    outputs: Option<PathBuf>,
    /// Words in front of the program, such as "qemu-x86_64 -cpu Haswell"
    #[arg(long, value_name = "COMMAND", default_value = "", hide_default_value = true, value_parser = Runner::parse)]
    runner: Runner,
    /// Summarize as JSON
    #[arg(long)]
    json: bool,
}

pub fn main(args: &Args, console: &Console) -> Result<()> {
    let mut setup = setup(&args.model, &args.passes, &args.target, Some("model"))?;
    let label = setup.model.label.clone();
    let of_model = |error: Error| error.of_file(&label);
    let arrays = match &args.inputs {
        Some(path) => Arrays::open(path)?,
        None => Arrays::none(),
    };
    let bound = |name: &str| !setup.options.is_given(name);
    let feeds = match setup.options.state.is_empty() {
        true => Feeds::new(&arrays, &setup.model.inputs(), &bound).map_err(of_model)?,
        false => Feeds::of_runs(&arrays, &setup.model.inputs(), &bound).map_err(of_model)?,
    };
    let import = arguments::import(&mut setup, &feeds, console)?;
    let runs = feeds.per_run(&import.graph, &|name| setup.options.is_given(name)).map_err(of_model)?;
    let progress = console.progress();
    let built = machine::build(import.graph, &setup.options, None, &progress).map_err(of_model)?;
    drop(progress);
    console.remarks(&built.optimized.report);
    super::compile::detail(&built, console);
    let mut outputs = Machine::new(&built, &args.runner).and_then(|m| m.runs(&runs)).map_err(of_model)?;
    let outputs = match setup.options.state.is_empty() {
        true => outputs.pop().unwrap_or_default(),
        false => crate::state::stacked(outputs),
    };
    match &args.outputs {
        Some(path) => save(path, &outputs),
        None => {
            console.table(&summary(&outputs), args.json);
            Ok(())
        }
    }
}

/// Writes arrays, whole or not at all.
pub fn save(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    let Some(name) = path.file_name() else { return Err(Error::file(path.display(), "names no file")) };
    let mut outputs = Outputs::into(path.parent().unwrap_or(Path::new("")))?;
    outputs.file(&name.to_string_lossy(), false, |out| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        npz::write(&mut bytes, tensors)?;
        Ok(out.write_all(&bytes.into_inner())?)
    })?;
    outputs.commit().map(drop)
}

/// What is in tensors, for a look.
fn summary(tensors: &[(String, Tensor)]) -> Table {
    let mut table = Table::new(&["output", "type", "min", "max", "mean", "first"]);
    for (name, tensor) in tensors {
        let values = tensor.to_f64s();
        let fold = |f: fn(f64, f64) -> f64| values.iter().copied().reduce(f).unwrap_or(f64::NAN);
        let first = &values[..values.len().min(4)];
        let shown: Vec<String> = first.iter().map(|v| format!("{v:.5}")).collect();
        table.row(vec![
            word(crate::error::plain(name, 60)),
            word(tensor.ty().to_string()),
            scientific(fold(f64::min)),
            scientific(fold(f64::max)),
            scientific(values.iter().sum::<f64>() / values.len() as f64),
            list(first.to_vec(), shown.join(" ")),
        ]);
    }
    table
}
