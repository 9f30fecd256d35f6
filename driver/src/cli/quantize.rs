//! `maquette quantize`: a model of floats to a model of integers that any runtime of ONNX takes.

use std::path::PathBuf;

use clap::ValueEnum;
use compress::Ranging;

use super::arguments::ModelArgs;
use super::console::Console;
use super::smaller::{finish, open};
use crate::error::{Result, plain};
use crate::quantize::{Quantized, Scheme, Wishes, quantize};
use crate::table::{Json, Table, count, number, scientific, size, word};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Samples by the names of the inputs: an axis more than the input, or samples along its first axis
    #[arg(long, value_name = "FILE.npz")]
    calib: PathBuf,
    /// What becomes integers
    #[arg(long, value_name = "SCHEME", default_value = "int8")]
    scheme: SchemeWord,
    /// How the ranges of what flows between layers are chosen
    #[arg(long, value_name = "HOW", default_value = "mse")]
    activations: RangingWord,
    /// Leave a node as it is; may be repeated or separated by commas
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    keep: Vec<String>,
    /// Leave the most sensitive layers as they are, until the error of the outputs is at most this
    #[arg(long, value_name = "ERROR", value_parser = positive)]
    budget_error: Option<f64>,
    /// The file to write
    #[arg(short, long, value_name = "FILE.onnx")]
    output: PathBuf,
    /// Tell what became of each layer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum SchemeWord {
    /// Weights and what flows between layers, 8 bits
    Int8,
    /// Weights alone, 8 bits
    W8,
    /// Weights alone, 4 bits in blocks of 32; convolutions 8
    W4,
}

#[derive(Clone, Copy, ValueEnum)]
enum RangingWord {
    /// All values
    MinMax,
    /// All but 0.01 % of the values
    Percentile,
    /// Where the squared error is least
    Mse,
}

fn positive(text: &str) -> std::result::Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|x| x.is_finite() && *x > 0.0);
    value.ok_or_else(|| format!("{text:?} is no finite number above 0"))
}

pub fn main(args: &Args, console: &Console) -> Result<()> {
    let opened = open(&args.model, &args.calib, &args.output)?;
    let wishes = Wishes {
        scheme: match args.scheme {
            SchemeWord::Int8 => Scheme::Int8,
            SchemeWord::W8 => Scheme::W8,
            SchemeWord::W4 => Scheme::W4,
        },
        ranging: match args.activations {
            RangingWord::MinMax => Ranging::MinMax,
            RangingWord::Percentile => Ranging::Percentile,
            RangingWord::Mse => Ranging::Mse,
        },
        keep: args.keep.iter().cloned().collect(),
        budget: args.budget_error,
    };
    let label = args.model.model.display();
    let progress = console.progress();
    let done = quantize(&opened.draft, &wishes, &opened.samples, &opened.options, &progress).map_err(|e| e.of_file(&label))?;
    drop(progress);
    let (table, summary) = (table(&done), summary(&done, opened.samples.count()));
    done.notes.iter().for_each(|note| console.note(note));
    let json = json(&done, &table, opened.samples.count());
    finish(done.draft, &args.output, &table, &summary, args.json.then_some(&json), console)
}

fn table(done: &Quantized) -> Table {
    let mut table = Table::new(&["layer", "operator", "scheme", "bytes before", "bytes after", "signal dB", "alone", "note"]);
    let blank = || word("");
    for outcome in &done.layers {
        table.row(vec![
            word(plain(&outcome.layer.label, 60)),
            word(outcome.layer.op),
            word(outcome.scheme),
            count(outcome.before as u64),
            count(outcome.after as u64),
            outcome.decibels.map_or_else(blank, |d| number(d, 1)),
            outcome.alone.map_or_else(blank, scientific),
            blank(),
        ]);
    }
    for float in &done.float {
        let mut cells = vec![word(plain(&float.label, 60)), word(float.op.clone()), word("float")];
        cells.extend([blank(), blank(), blank(), blank(), word(float.why.clone())]);
        table.row(cells);
    }
    table
}

fn totals(done: &Quantized) -> (usize, usize) {
    (done.layers.iter().map(|l| l.before).sum(), done.layers.iter().map(|l| l.after).sum())
}

fn summary(done: &Quantized, samples: usize) -> String {
    let (before, after) = totals(done);
    format!(
        "{} layers quantized, {} left as floats; weights {} -> {}; outputs {:.1} dB, {} {:.2e}, over {} of {} samples",
        done.layers.len(),
        done.float.len(),
        size(before as u64),
        size(after as u64),
        done.decibels,
        done.judge,
        done.error,
        samples.min(16),
        samples,
    )
}

fn json(done: &Quantized, table: &Table, samples: usize) -> Json {
    let (before, after) = totals(done);
    Json::object([
        ("layers", table.json()),
        ("bytes_before", before.into()),
        ("bytes_after", after.into()),
        ("samples", samples.into()),
        ("output_dB", done.decibels.into()),
        ("error_is", done.judge.into()),
        ("error", done.error.into()),
        ("notes", Json::List(done.notes.iter().map(|n| n.as_str().into()).collect())),
    ])
}
