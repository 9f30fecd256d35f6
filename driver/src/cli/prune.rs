//! `maquette prune`: a model with fewer weights, fitted anew, that any runtime of ONNX takes.

use std::path::PathBuf;

use clap::ValueEnum;
use compress::Pattern;

use super::arguments::ModelArgs;
use super::console::Console;
use super::smaller::{finish, open};
use crate::error::{Result, plain};
use crate::prune::{Pieces, Pruned, Wishes, prune};
use crate::table::{Json, Table, count, number, word};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Samples by the names of the inputs, 128 or more: an axis more than the input, or samples along its first axis
    #[arg(long, value_name = "FILE.npz")]
    calib: PathBuf,
    /// The share of the weights, or of the channels, that goes
    #[arg(long, value_name = "SHARE", value_parser = share)]
    sparsity: f64,
    /// What goes together
    #[arg(long, value_name = "PATTERN", default_value = "4x1")]
    pattern: Word,
    /// Leave a node as it is; may be repeated or separated by commas
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    keep: Vec<String>,
    /// The file to write
    #[arg(short, long, value_name = "FILE.onnx")]
    output: PathBuf,
    /// Tell what became of each layer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Word {
    /// Four output channels for one input: what f32 kernels skip
    #[value(name = "4x1")]
    FourByOne,
    /// Four inputs of one output channel: what int8 kernels skip
    #[value(name = "1x4")]
    OneByFour,
    /// Each weight by itself
    Unstructured,
    /// Whole channels: the model becomes a smaller dense one
    Channels,
}

fn share(text: &str) -> std::result::Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|x| *x > 0.0 && *x < 1.0);
    value.ok_or_else(|| format!("{text:?} is no number between 0 and 1"))
}

pub fn main(args: &Args, console: &Console) -> Result<()> {
    let opened = open(&args.model, &args.calib, &args.output)?;
    let wishes = Wishes {
        sparsity: args.sparsity,
        pieces: match args.pattern {
            Word::FourByOne => Pieces::Weights(Pattern::FourRows),
            Word::OneByFour => Pieces::Weights(Pattern::FourColumns),
            Word::Unstructured => Pieces::Weights(Pattern::Single),
            Word::Channels => Pieces::Channels,
        },
        keep: args.keep.iter().cloned().collect(),
    };
    let label = args.model.model.display();
    let progress = console.progress();
    let done = prune(&opened.draft, &wishes, &opened.samples, &opened.options, &progress).map_err(|e| e.of_file(&label))?;
    drop(progress);
    done.notes.iter().for_each(|note| console.note(note));
    let (table, summary) = (table(&done), summary(&done, opened.samples.count()));
    let json = Json::object([
        ("layers", table.json()),
        ("weights_before", done.layers.iter().map(|l| l.before).sum::<usize>().into()),
        ("weights_after", done.layers.iter().map(|l| l.after).sum::<usize>().into()),
        ("samples", opened.samples.count().into()),
        ("output_dB", done.decibels.into()),
        ("error", done.error.into()),
        ("notes", Json::List(done.notes.iter().map(|n| n.as_str().into()).collect())),
    ]);
    finish(done.draft, &args.output, &table, &summary, args.json.then_some(&json), console)
}

fn table(done: &Pruned) -> Table {
    let mut table = Table::new(&["layer", "operator", "weights", "kept", "share", "signal dB", "unfitted dB", "note"]);
    let blank = || word("");
    let decibels = |d: f64| if d.is_finite() { number(d, 1) } else { blank() };
    for layer in &done.layers {
        table.row(vec![
            word(plain(&layer.label, 60)),
            word(layer.op),
            count(layer.before as u64),
            count(layer.after as u64),
            number(layer.after as f64 / layer.before.max(1) as f64, 3),
            decibels(layer.decibels),
            decibels(layer.unfitted),
            blank(),
        ]);
    }
    for dense in &done.dense {
        let mut cells = vec![word(plain(&dense.label, 60)), word(dense.op.clone())];
        cells.extend([blank(), blank(), blank(), blank(), blank(), word(dense.why.clone())]);
        table.row(cells);
    }
    table
}

fn summary(done: &Pruned, samples: usize) -> String {
    let (before, after): (usize, usize) = (done.layers.iter().map(|l| l.before).sum(), done.layers.iter().map(|l| l.after).sum());
    format!(
        "{} layers pruned, {} stay dense; {after} of {before} weights kept; outputs {:.1} dB after fitting to {samples} samples",
        done.layers.len(),
        done.dense.len(),
        done.decibels
    )
}
