//! How long each step of a compiled program takes: a copy of the program that reads the clock between its steps, run as a
//! child. Beside the steps stand an empty one, which is what the clock costs, and multiply-adds on registers, which are the
//! peak of this moment. It knows no operator, and decides nothing.

mod layers;

pub use layers::{Rows, choices, layers, prediction};

use ir::graph::Graph;
use ir::kernel::Facts;
use ir::program::{Address, Call, Port, Repeat, STATE_ALIGN, Step};
use ir::tensor::Type;
use ir::{Dtype, Fault, Program, Tensor};
use kernels::cost::peak;

use crate::compile::{self, Options, Watch};
use crate::error::{Error, Result};
use crate::execute::Runner;
use crate::family::Family;
use crate::link;
use crate::machine::Machine;
use crate::target::Level;
use crate::tuning;
use crate::write::Finished;

/// A program with the clock in it.
pub struct Clocked {
    machine: Machine,
    /// Steps of the program as it was.
    steps: usize,
    /// How often each runs in a run.
    often: Vec<u64>,
    /// How often these stand one after the other.
    turns: usize,
    /// Multiply-adds of the steps that show the peak.
    floats: u64,
    bytes: Option<u64>,
    /// An input of one byte stands in for none.
    pulse: bool,
}

/// What was measured. Seconds.
pub struct Times {
    /// For each step, of each time that it ran, smallest first.
    pub steps: Vec<Vec<f64>>,
    /// Multiply-adds of f32 a second at the peak.
    pub floats: f64,
    /// The same of bytes.
    pub bytes: Option<f64>,
}

impl Times {
    /// The smallest time of a step.
    pub fn least(&self, step: usize) -> f64 {
        self.steps[step].first().copied().unwrap_or_default()
    }

    pub fn median(&self, step: usize) -> f64 {
        let all = &self.steps[step];
        all.get(all.len() / 2).copied().unwrap_or_default()
    }
}

/// The program of the last of the levels, which is the ablest.
pub fn last(graph: &Graph, options: &Options, watch: &dyn Watch) -> Result<(&'static Level, Program)> {
    let level = *options.levels.last().expect("there is a level");
    let options = tuning::tune(graph, &Options { levels: vec![level], ..options.clone() }, watch)?;
    Ok(compile::lower(graph, &options, watch)?.pop().expect("a program for the level"))
}

/// How long to measure when nobody says, and the least that a run should take.
const ENOUGH: f64 = 1.0;
const RUN: f64 = 1e-3;

/// What the steps of a program take, of so many runs, or as many as fit into a second.
pub fn measure(
    program: &Program,
    level: &'static Level,
    inputs: &[Tensor],
    rounds: Option<u32>,
    options: &Options,
    runner: &Runner,
    watch: &dyn Watch,
) -> Result<Times> {
    let first = Clocked::new(program, level, 1, options, runner, watch)?;
    let once: f64 = first.run(inputs, 3)?.steps.iter().map(|times| times.first().copied().unwrap_or_default()).sum();
    let turns = ((RUN / once.max(1e-9)) as usize).min(TURNS) + 1;
    let clocked = if turns > 1 { Clocked::new(program, level, turns, options, runner, &())? } else { first };
    let run = once * turns as f64;
    clocked.run(inputs, rounds.map_or(((ENOUGH / run) as usize).clamp(5, 300), |n| n as usize))
}

/// Turns of the steps in one run, at most.
const TURNS: usize = 64;

/// One line about the peaks that shares are of.
pub fn peaks_told(level: &Level, times: &Times) -> String {
    let bytes = times.bytes.map_or(String::new(), |bytes| format!(", {:.0} Gop/s of bytes", 2e-9 * bytes));
    format!("the peak of {} in this run: {:.0} GFLOP/s{bytes}", level.name, 2e-9 * times.floats)
}

/// Steps beside those of the program: nothing, floats, bytes.
const BESIDE: usize = 3;

impl Clocked {
    /// `turns`: how often the steps follow each other in a run; more than one keeps what a run reads first from counting.
    pub fn new(
        program: &Program,
        level: &'static Level,
        turns: usize,
        options: &Options,
        runner: &Runner,
        watch: &dyn Watch,
    ) -> Result<Clocked> {
        if matches!(options.target.family, Family::Web) {
            return Err(Fault::unsupported(format!("steps are not timed on {}", options.target.name)).into());
        }
        let facts = level.facts;
        let mut program = program.clone();
        let steps = program.steps.len();
        let once = program.steps.clone();
        let repeats = program.repeats.clone();
        for turn in 1..turns {
            program.steps.extend(once.iter().cloned());
            let by = turn * steps;
            program.repeats.extend(repeats.iter().map(|r| Repeat { first: r.first + by, last: r.last + by, ..*r }));
        }
        let often: Vec<u64> = (0..steps).map(|step| program.turns_at(step, &[]).max(1)).collect();
        let floats = beside(&mut program, facts);
        let bytes = peaks(&mut program, facts);
        let options = Options { times: Some(program.outputs.len()), weights: None, ..options.clone() };
        let ty = Type::of(Dtype::I64, &[program.steps.len()]);
        program.outputs.push(Port { name: "times".into(), ty, bytes: 8 * program.steps.len() as u64 });
        // with state a program goes on as long as inputs come
        program.state_bytes = program.state_bytes.max(STATE_ALIGN);
        let pulse = program.inputs.iter().all(|port| port.bytes == 0) && program.free_symbols() == 0;
        if pulse {
            program.inputs.push(Port { name: "pulse".into(), ty: Type::of(Dtype::U8, &[1]), bytes: 1 });
        }
        let programs = vec![(level, program)];
        let linked = link::link(&programs, &options, watch)?;
        let graph = Graph::default();
        let machine = Machine::of(&Finished { graph: &graph, programs: &programs, linked: &linked }, runner)?;
        Ok(Clocked { machine, steps, often, turns, floats, bytes, pulse })
    }

    /// The times of so many runs, after one that is not counted.
    pub fn run(&self, inputs: &[Tensor], rounds: usize) -> Result<Times> {
        let mut inputs = inputs.to_vec();
        if self.pulse {
            inputs.push(Tensor::dense(Dtype::U8, &[1], vec![0u8]));
        }
        let runs = self.machine.runs(&vec![inputs; rounds + 1])?;
        let sums: Vec<Vec<i64>> = runs.iter().filter_map(|outputs| outputs.last()).map(|(_, times)| longs(times)).collect();
        let all = self.steps * self.turns + BESIDE;
        if sums.len() != rounds + 1 || sums.iter().any(|times| times.len() != all) {
            return Err(Error::Internal("the program with the clock did not write its times".into()));
        }
        let of = |step: usize| sums.windows(2).map(move |pair| (pair[1][step] - pair[0][step]) as f64 / 1e9);
        let least = |step: usize| of(step).fold(f64::INFINITY, f64::min);
        let clock = least(all - BESIDE);
        let net = |seconds: f64| (seconds - clock).max(1e-9);
        // the clock is asked in every turn of a repeat
        let net_of = |step: usize| move |seconds: f64| (seconds - clock * self.often[step] as f64).max(1e-9);
        let steps = (0..self.steps).map(|step| {
            // what runs first finds cold caches that a program in use does not
            let first = usize::from(self.turns > 1);
            let mut times: Vec<f64> = (first..self.turns).flat_map(|turn| of(step + turn * self.steps)).map(net_of(step)).collect();
            times.sort_by(f64::total_cmp);
            times
        });
        Ok(Times {
            steps: steps.collect(),
            floats: self.floats as f64 / net(least(all - 2)),
            bytes: self.bytes.map(|macs| macs as f64 / net(least(all - 1))),
        })
    }
}

fn longs(tensor: &Tensor) -> Vec<i64> {
    tensor.bytes().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().expect("chunks of 8 bytes"))).collect()
}

fn step(calls: Vec<Call>, what: &str, macs: u64) -> Step {
    Step { calls, what: what.into(), names: Vec::new(), macs, when: Vec::new() }
}

/// Adds the empty step and that of floats.
fn beside(program: &mut Program, facts: &Facts) -> u64 {
    program.steps.push(step(Vec::new(), "clock", 0));
    add(program, peak::floats(facts), "peak")
}

/// Adds the step of bytes, empty where there are no such products.
fn peaks(program: &mut Program, facts: &Facts) -> Option<u64> {
    match peak::bytes(facts) {
        Some(kernel) => Some(add(program, kernel, "peak of bytes")),
        None => {
            program.steps.push(step(Vec::new(), "none", 0));
            None
        }
    }
}

fn add(program: &mut Program, (kernel, macs): (ir::kernel::Kernel, u64), what: &str) -> u64 {
    let kernel = ir::kernel::Kernel { name: format!("{}_{}", kernel.name, program.kernels.len()), ..kernel };
    program.worker_bytes = program.worker_bytes.max(64);
    program.arena_align = program.arena_align.max(64);
    program.kernels.push(kernel);
    let call = Call::new(program.kernels.len() - 1, vec![Address::Scratch { offset: 0 }]);
    program.steps.push(step(vec![call], what, macs));
    macs
}
