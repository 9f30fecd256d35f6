//! `maquette bench`: how long a run takes, measured inside the compiled program.

use std::path::PathBuf;
use std::time::Duration;

use ir::{Graph, Tensor};

use super::arguments::{ModelArgs, PassArgs, Setup, TargetArgs, setup};
use super::console::Console;
use crate::compile;
use crate::error::Result;
use crate::execute::Runner;
use crate::machine::{self, Machine};
use crate::table::{Table, count, number, word};
use crate::timing;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    passes: PassArgs,
    /// Runs to measure; by default as many as fit into a second, at least 10
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    rounds: Option<u32>,
    /// Arrays for the inputs; without them they are random
    #[arg(long, value_name = "FILE.npz")]
    inputs: Option<PathBuf>,
    /// Words in front of the program, such as "qemu-x86_64 -cpu Haswell"
    #[arg(long, value_name = "COMMAND", default_value = "", hide_default_value = true, value_parser = Runner::parse)]
    runner: Runner,
    /// Time every node, with its share of the multiply-add peak and the bytes that it touches
    #[arg(long)]
    layers: bool,
    /// Tell the figures as JSON
    #[arg(long)]
    json: bool,
}

/// How long to measure when the user does not say.
const ENOUGH: Duration = Duration::from_secs(1);

pub fn main(args: &Args, console: &Console) -> Result<()> {
    let mut setup = setup(&args.model, &args.passes, &args.target, Some("model"))?;
    let label = setup.model.label.clone();
    let measure = |setup: &mut super::arguments::Setup| {
        let (graph, runs) = super::verify::inputs(args.inputs.as_deref(), 0, setup, console)?;
        let inputs = runs.into_iter().next().unwrap_or_default();
        let progress = console.progress();
        if args.layers {
            console.table(&layers(graph, &inputs, args, setup, console)?, args.json);
            return Ok(None);
        }
        let built = machine::build(graph, &setup.options, None, &progress)?;
        console.remarks(&built.optimized.report);
        let machine = Machine::new(&built, &args.runner)?;
        let rounds = match args.rounds {
            Some(rounds) => rounds as usize,
            None => {
                let first = machine.bench(&inputs, 3)?.into_iter().min().unwrap_or_default().max(Duration::from_nanos(100));
                (ENOUGH.as_nanos() / first.as_nanos()).clamp(10, 1_000_000) as usize
            }
        };
        Ok(Some((
            machine.bench(&inputs, rounds)?,
            (built.macs(&inputs), built.least_macs(&inputs)),
            built.programs.iter().map(|(level, _)| level.name).collect::<Vec<_>>(),
        )))
    };
    let measured = measure(&mut setup).map_err(|error: crate::error::Error| error.of_file(label))?;
    let Some((mut times, (macs, least_macs), levels)) = measured else { return Ok(()) };
    times.sort();
    let micros = |t: Duration| t.as_nanos() as f64 / 1e3;
    let mean = times.iter().map(|t| micros(*t)).sum::<f64>() / times.len() as f64;
    let (least, median) = (micros(times[0]), micros(times[times.len() / 2]));
    let mut table = Table::new(&["level", "rounds", "min us", "median us", "mean us", "MMACs", "least MMACs", "GFLOP/s"]);
    table.row(vec![
        word(levels.join(",")),
        count(times.len() as u64),
        number(least, 2),
        number(median, 2),
        number(mean, 2),
        number(macs as f64 / 1e6, 2),
        number(least_macs as f64 / 1e6, 2),
        number(2.0 * macs as f64 / 1e3 / least, 1),
    ]);
    console.table(&table, args.json);
    Ok(())
}

/// Every node alone, at the last of the levels.
fn layers(mut graph: Graph, inputs: &[Tensor], args: &Args, setup: &Setup, console: &Console) -> Result<Table> {
    let progress = console.progress();
    let optimized = compile::optimize(&mut graph, &setup.options, None, &progress)?;
    console.remarks(&optimized.report);
    let (level, program) = timing::last(&graph, &setup.options, &progress)?;
    let times = timing::measure(&program, level, inputs, args.rounds, &setup.options, &args.runner, &progress)?;
    let sizes = program.sizes(inputs).unwrap_or_default();
    drop(progress);
    console.note(&timing::peaks_told(level, &times));
    Ok(timing::layers(&timing::Rows { program: &program, level, sizes: &sizes, times: &times }))
}
