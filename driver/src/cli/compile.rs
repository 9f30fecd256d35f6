//! `maquette compile`: a model to files.

use std::path::PathBuf;

use clap::ValueEnum;
use ir::Fault;

use super::arguments::{ModelArgs, PassArgs, TargetArgs, folder, setup};
use super::console::Console;
use crate::budget;
use crate::compile::{Dump, Watch, Weights};
use crate::error::{Error, Result};
use crate::machine::{self, Built};
use crate::plan;
use crate::table::{Json, Table, count, size, word};
use crate::target::{Emit, Target};
use crate::tuning;
use crate::write::{link_command, write};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    passes: PassArgs,
    /// Prefix of all names in C, and name of the files; by default from the model's file
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What to write, separated by commas: a, o, so, exe, wasm, mjs, ts, h, json, gir, kir, asm; by default a,h,json, or
    /// wasm,mjs,ts,json for wasm32
    #[arg(long, value_name = "FORMS", value_delimiter = ',', value_parser = Emit::from_word)]
    emit: Vec<Emit>,
    /// Where the weights go; by default embed, and file for wasm32 when they are above 2 MB
    #[arg(long, value_name = "WHERE")]
    weights: Option<Where>,
    /// The folder to write into; made if there is none
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Write the graph after every pass into this folder, numbered
    #[arg(long, value_name = "DIR")]
    dump: Option<PathBuf>,
    /// Tell what was written as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Where {
    /// Into the artifact
    Embed,
    /// Into NAME.bin beside it
    File,
}

pub fn main(args: &Args, console: &Console) -> Result<()> {
    let mut setup = setup(&args.model, &args.passes, &args.target, args.name.as_deref())?;
    setup.options.weights = args.weights.map(|place| match place {
        Where::Embed => Weights::Embed,
        Where::File => Weights::File,
    });
    let emits = forms(&args.emit, setup.options.target)?;
    let label = setup.model.label.clone();
    let of_model = |error: Error| error.of_file(&label);
    let import = setup.model.import(&setup.options)?;
    let mut dump = args.dump.as_deref().map(Dump::into).transpose()?;
    let progress = console.progress();
    let built = machine::build(import.graph, &setup.options, dump.as_mut(), &progress).map_err(of_model)?;
    progress.stage("writing", emits.len());
    let written = write(&built.finished(), &emits, folder(&args.output)).map_err(of_model)?;
    drop(progress);

    import.notes.iter().chain(&setup.notes).for_each(|note| console.note(note));
    built.programs.iter().filter_map(|(_, program)| budget::note(program)).take(1).for_each(|note| console.note(&note));
    let tuned = &setup.options.kernels.tuned;
    built.programs.iter().flat_map(|(level, program)| tuning::stale(program, level, tuned)).for_each(|note| console.note(&note));
    console.remarks(&built.optimized.report);
    detail(&built, console);
    let link = link_command(&written, &setup.options);
    if args.json {
        let file = |w: &crate::files::Written| Json::object([("path", w.path.display().to_string().into()), ("bytes", w.bytes.into())]);
        console.json(&Json::object([
            ("files", Json::List(written.iter().map(file).collect())),
            ("link", link.map_or(Json::Null, Json::Text)),
        ]));
        return Ok(());
    }
    for w in &written {
        console.say(&format!("{}  {}", w.path.display(), size(w.bytes)));
    }
    if let Some(link) = link {
        console.say(&link);
    }
    Ok(())
}

/// What to write. Fault: forms that the target does not have.
fn forms(said: &[Emit], target: &Target) -> Result<Vec<Emit>> {
    if said.is_empty() {
        return Ok(target.usual.to_vec());
    }
    let words = |emits: &[Emit]| emits.iter().map(|e| e.word()).collect::<Vec<_>>().join(", ");
    let other: Vec<Emit> = said.iter().copied().filter(|e| !target.emits.contains(e)).collect();
    if !other.is_empty() {
        return Err(Fault::usage(format!("{target} has no {}", words(&other))).help(format!("it has {}", words(target.emits))).into());
    }
    Ok(said.to_vec())
}

/// Passes with what they did and how long they took, and the memory plan of each level.
pub fn detail(built: &Built, console: &Console) {
    if !console.verbose {
        return;
    }
    let mut table = Table::new(&["pass", "rewrites", "nodes", "microseconds", "rules"]);
    for (summary, (_, time)) in built.optimized.report.passes.iter().zip(&built.optimized.times) {
        let rules: Vec<String> = summary.fired.iter().map(|(rule, n)| format!("{rule} {n}")).collect();
        table.row(vec![
            word(summary.pass),
            count(summary.rewrites as u64),
            count(summary.nodes_after as u64),
            count(time.as_micros() as u64),
            word(if summary.skipped { "(skipped)".into() } else { rules.join(", ") }),
        ]);
    }
    console.detail(&table.to_string());
    let report = &built.optimized.report;
    console.detail(&format!("{} transposes are left", report.transposes));
    for (level, program) in &built.programs {
        console.detail(&plan::summary(level.name, program));
        console.detail(&plan::table(program).to_string());
    }
}
