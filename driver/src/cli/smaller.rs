//! What the commands that make a model smaller have in common: a model and its samples in, a model out, and what became of
//! it told.

use std::path::Path;

use frontend::edit::Draft;

use super::arguments::ModelArgs;
use super::console::Console;
use crate::calibration::Samples;
use crate::compile::{Model, Options};
use crate::error::{Error, Result};
use crate::files::{Outputs, Written};
use crate::table::{Json, Table, size};
use crate::target;

/// A model, its samples, and the options that both were opened with.
pub struct Opened {
    pub draft: Draft,
    pub samples: Samples,
    pub options: Options,
}

/// Opens what `quantize` and `prune` need, and looks whether the result can be written.
pub fn open(model: &ModelArgs, calib: &Path, output: &Path) -> Result<Opened> {
    if output.file_name().is_none() {
        return Err(Error::file(output.display(), "names no file"));
    }
    let file = Model::open(&model.model)?;
    let options = model.options(Options::new(target::host()?, vec![target::host()?.native()?], "model"), &file)?;
    let free: Vec<frontend::Declared> = file.inputs().into_iter().filter(|i| !options.bind.contains_key(&i.name)).collect();
    let samples = Samples::open(calib, &free, &options.dims)?;
    Ok(Opened { draft: file.draft()?, samples, options })
}

/// Writes a model, and what lies beside it, whole or not at all.
fn save(draft: Draft, path: &Path) -> Result<Vec<Written>> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = format!("{name}.data");
    let written = draft.finish(&beside);
    let mut outputs = Outputs::into(path.parent().unwrap_or(Path::new("")))?;
    outputs.file(&name, false, |out| Ok(out.write_all(&written.model)?))?;
    if let Some(data) = &written.data {
        outputs.file(&beside, false, |out| Ok(out.write_all(data)?))?;
    }
    outputs.commit()
}

/// Writes the model, then tells of it: `json` alone where it was asked for.
pub fn finish(draft: Draft, output: &Path, table: &Table, summary: &str, json: Option<&Json>, console: &Console) -> Result<()> {
    let written = save(draft, output)?;
    if let Some(json) = json {
        console.json(json);
        return Ok(());
    }
    console.table(table, false);
    console.say(summary);
    for file in written {
        console.say(&format!("{}  {}", file.path.display(), size(file.bytes)));
    }
    Ok(())
}
