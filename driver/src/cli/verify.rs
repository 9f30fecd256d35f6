//! `maquette verify`: what the compiled model computes against the reference interpreter, or against given outputs; for the
//! whole, or for every node.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ir::graph::eval::{self, EvalError};
use ir::graph::text;
use ir::{Graph, NodeId, Op, Tensor};

use super::arguments::{self, ModelArgs, PassArgs, Setup, TargetArgs, setup};
use super::console::Console;
use crate::budget;
use crate::compare::{Distance, Tolerance, distance};
use crate::compile;
use crate::error::{Error, Result};
use crate::execute::Runner;
use crate::feeds::Feeds;
use crate::machine::{self, Machine};
use crate::npz::Arrays;
use crate::table::{Table, count, flag, scientific, word};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    passes: PassArgs,
    /// Arrays for the inputs; without them they are random
    #[arg(long, value_name = "FILE.npz")]
    inputs: Option<PathBuf>,
    /// Outputs to compare with, by name; without them the reference interpreter is asked
    #[arg(long, value_name = "FILE.npz", requires = "inputs", conflicts_with = "layers")]
    expect: Option<PathBuf>,
    /// Seed of random inputs
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Difference allowed, relative to the expected element
    #[arg(long, value_name = "X", default_value_t = 1e-3, value_parser = allowance)]
    rtol: f64,
    /// Difference allowed beside that, times the largest expected magnitude where that is above 1
    #[arg(long, value_name = "X", default_value_t = 1e-5, value_parser = allowance)]
    atol: f64,
    /// Compare the value of every node of the optimized graph
    #[arg(long)]
    layers: bool,
    /// Words in front of the program, such as "qemu-x86_64 -cpu Haswell"
    #[arg(long, value_name = "COMMAND", default_value = "", hide_default_value = true, value_parser = Runner::parse)]
    runner: Runner,
    /// Tell the differences as JSON
    #[arg(long)]
    json: bool,
}

/// A tolerance that means something: anything else would accept all or nothing.
fn allowance(text: &str) -> std::result::Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|x| x.is_finite() && *x >= 0.0);
    value.ok_or_else(|| format!("{text:?} is no finite number of 0 or more"))
}

pub fn main(args: &Args, console: &Console) -> Result<()> {
    let mut setup = setup(&args.model, &args.passes, &args.target, Some("model"))?;
    let label = setup.model.label.clone();
    verify(args, &mut setup, console).map_err(|error| error.of_file(label))
}

fn verify(args: &Args, setup: &mut Setup, console: &Console) -> Result<()> {
    let (graph, inputs) = inputs(args.inputs.as_deref(), args.seed, setup, console)?;
    let tolerance = Tolerance { relative: args.rtol, absolute: args.atol };
    let (table, beyond) = match args.layers {
        true if !setup.options.state.is_empty() => {
            return Err(Error::usage("--layers shows every value of one run, and a model with --state has several"));
        }
        true => layers(graph, inputs.first().map_or(&[], Vec::as_slice), setup, args, tolerance, console)?,
        false => whole(graph, &inputs, setup, args, tolerance, console)?,
    };
    console.table(&table, args.json);
    match beyond {
        0 => Ok(()),
        1 => Err(Error::Verification("1 tensor differs by more than the tolerance".into())),
        n => Err(Error::Verification(format!("{n} tensors differ by more than the tolerance"))),
    }
}

/// Runs of a model with state that are made up.
const RUNS: u64 = 3;

/// The imported graph and what to feed it with: given arrays, or random ones that it takes. One run, and of a model with state
/// several that follow each other.
pub fn inputs(path: Option<&std::path::Path>, seed: u64, setup: &mut Setup, console: &Console) -> Result<(Graph, Vec<Vec<Tensor>>)> {
    let stateful = !setup.options.state.is_empty();
    let Some(path) = path else {
        let import = setup.model.import(&setup.options)?;
        import.notes.iter().for_each(|note| console.note(note));
        budget::inputs(&import.graph)?;
        let runs = if stateful { RUNS } else { 1 };
        let given = |name: &str| setup.options.is_given(name);
        let inputs = (0..runs).map(|run| random(&import.graph, seed.wrapping_add(run << 32), &given)).collect::<Result<_>>()?;
        return Ok((import.graph, inputs));
    };
    let arrays = Arrays::open(path)?;
    let bound = |name: &str| !setup.options.is_given(name);
    let feeds = match stateful {
        true => Feeds::of_runs(&arrays, &setup.model.inputs(), &bound)?,
        false => Feeds::new(&arrays, &setup.model.inputs(), &bound)?,
    };
    let import = arguments::import(setup, &feeds, console)?;
    let inputs = feeds.per_run(&import.graph, &|name| setup.options.is_given(name))?;
    Ok((import.graph, inputs))
}

/// Floats in [-1, 1); integers 0 or 1, since they are often indices, and larger ones may reach nothing.
fn random(graph: &Graph, seed: u64, given: &dyn Fn(&str) -> bool) -> Result<Vec<Tensor>> {
    let mut tensors = Vec::new();
    for (i, &id) in graph.inputs().iter().enumerate() {
        if matches!(graph.op(id), Op::Input { name, .. } if !given(name)) {
            continue;
        }
        let ty = graph.ty(id);
        // of open dimensions the largest
        let largest = |name: &str| graph.symbols.get(name).map(|&(_, high)| ir::Dim::from(high));
        let dims: Vec<ir::Dim> = ty.shape.iter().map(|dim| dim.replace(&largest)).collect();
        let shape =
            ir::dim::fixed(&dims).ok_or_else(|| Error::usage("the model has open dimensions; fix them with --dim, or give --inputs"))?;
        let drawn = text::random(ty.dtype, &shape, seed.wrapping_mul(31).wrapping_add(i as u64 + 1));
        tensors.push(if ty.dtype.is_int() { low_bits(&drawn) } else { drawn });
    }
    Ok(tensors)
}

fn low_bits(tensor: &Tensor) -> Tensor {
    let width = tensor.dtype().bytes();
    let mut bytes = tensor.bytes().to_vec();
    for element in bytes.chunks_exact_mut(width) {
        let low = element[0] & 1;
        element.fill(0);
        element[0] = low;
    }
    Tensor::dense(tensor.dtype(), tensor.shape(), bytes)
}

fn whole(
    graph: Graph,
    runs: &[Vec<Tensor>],
    setup: &Setup,
    args: &Args,
    tolerance: Tolerance,
    console: &Console,
) -> Result<(Table, usize)> {
    let progress = console.progress();
    let kept = crate::state::kept(&graph, &setup.options.state)?;
    let wanted: Vec<Option<Tensor>> = match &args.expect {
        Some(path) => {
            let all = expected(path, &graph)?;
            all.into_iter().enumerate().filter(|(i, _)| kept.iter().all(|k| k.output != *i)).map(|(_, t)| t).collect()
        }
        None => {
            crate::compile::Watch::stage(&progress, "reference", 1);
            budget::reference(&graph)?;
            // the reference rounds where the quantized model does
            let meant = passes::run::meaning(&graph, setup.options.passes.semantics);
            let named = |run: Vec<Tensor>| run.into_iter().map(|t| (String::new(), t)).collect();
            let mut made: Vec<Vec<(String, Tensor)>> =
                crate::state::reference(&meant, &kept, runs).map_err(status)?.into_iter().map(named).collect();
            let all = if kept.is_empty() { made.pop().unwrap_or_default() } else { crate::state::stacked(made) };
            all.into_iter().map(|(_, t)| Some(t)).collect()
        }
    };
    let built = machine::build(graph, &setup.options, None, &progress)?;
    console.remarks(&built.optimized.report);
    let mut got = Machine::new(&built, &args.runner)?.runs(runs)?;
    let got = if kept.is_empty() { got.pop().unwrap_or_default() } else { crate::state::stacked(got) };
    let mut table = Table::new(&["output", "type", "max abs", "max rel", "beyond", "of", "verdict"]);
    let mut beyond = 0;
    for ((name, got), wanted) in got.iter().zip(&wanted) {
        let Some(wanted) = wanted else { continue };
        beyond += usize::from(got.ty() != wanted.ty());
        if got.ty() != wanted.ty() {
            return Err(Error::Verification(format!("output {name:?}: got {}, wanted {}", got.ty(), wanted.ty())));
        }
        let d = distance(got, wanted, tolerance);
        beyond += usize::from(d.beyond > 0);
        let mut cells = vec![word(crate::error::plain(name, 60)), word(got.ty().to_string())];
        cells.extend(columns(d));
        table.row(cells);
    }
    Ok((table, beyond))
}

fn columns(d: Distance) -> [crate::table::Cell; 5] {
    [scientific(d.absolute), scientific(d.relative), count(d.beyond as u64), count(d.elements as u64), flag(d.beyond == 0, "ok", "differs")]
}

/// Outputs by name, for those that the file has. Fault: one that the model has not.
fn expected(path: &std::path::Path, graph: &Graph) -> Result<Vec<Option<Tensor>>> {
    let arrays = Arrays::open(path)?;
    let mut all: Vec<Option<Tensor>> = vec![None; graph.outputs().len()];
    for array in &arrays.list {
        let position = || array.name.strip_prefix("arr_").and_then(|n| n.parse().ok()).filter(|n: &usize| *n < all.len());
        let named = graph.outputs().iter().position(|(name, _)| *name == array.name).or_else(position);
        let Some(i) = named else {
            let names: Vec<String> = graph.outputs().iter().map(|(n, _)| format!("{n:?}")).collect();
            return Err(Error::usage(format!("the model has no output {:?}; it has {}", array.name, names.join(", "))));
        };
        let dtype = graph.ty(graph.outputs()[i].1).dtype;
        if !array.header.descr.carries(dtype) {
            return Err(Error::Verification(format!("output {:?}: got {}, wanted {}", array.name, dtype.name(), array.header)));
        }
        all[i] = Some(arrays.tensor(array, dtype)?);
    }
    Ok(all)
}

/// What the oracle does not compute is a status, as it would be for the compiled model.
fn status(error: EvalError) -> Error {
    let status = match error {
        EvalError::Input(_) | EvalError::Symbolic(_) => 3,
        EvalError::Data(_) => 4,
    };
    Error::Status { file: None, status, what: vec![error.what().to_string()] }
}

/// Compiles the optimized graph once more with every value as an output, and compares each with the oracle's.
fn layers(
    mut graph: Graph,
    inputs: &[Tensor],
    setup: &Setup,
    args: &Args,
    tolerance: Tolerance,
    console: &Console,
) -> Result<(Table, usize)> {
    let progress = console.progress();
    let optimized = compile::optimize(&mut graph, &setup.options, None, &progress)?;
    console.remarks(&optimized.report);
    let nodes: Vec<NodeId> = graph.order().into_iter().filter(|&id| !matches!(graph.op(id), Op::Input { .. } | Op::Const { .. })).collect();
    graph.set_outputs(nodes.iter().enumerate().map(|(i, &id)| (format!("{i}"), id)).collect());
    budget::reference(&graph)?;
    let mut wanted: BTreeMap<NodeId, Tensor> = BTreeMap::new();
    let mut keep = |id: NodeId, value: &Tensor| drop(wanted.insert(id, value.clone()));
    eval::eval_with(&graph, inputs, &mut keep).map_err(status)?;
    let programs = compile::lower(&graph, &setup.options, &progress)?;
    let linked = crate::link::link(&programs, &setup.options, &progress)?;
    let built = machine::Built { graph, optimized, programs, linked };
    let got = Machine::new(&built, &args.runner)?.run(inputs)?;
    let mut table = Table::new(&["node", "operator", "type", "max abs", "max rel", "beyond", "of", "verdict", "from"]);
    let mut beyond = 0;
    for (i, (id, (_, got))) in nodes.iter().zip(&got).enumerate() {
        let d = distance(got, &wanted[id], tolerance);
        beyond += usize::from(d.beyond > 0);
        let mut cells = vec![count(i as u64), word(built.graph.op(*id).mnemonic()), word(got.ty().to_string())];
        cells.extend(columns(d));
        cells.push(word(crate::error::plain(&built.graph.label(*id), 60)));
        table.row(cells);
    }
    Ok((table, beyond))
}
