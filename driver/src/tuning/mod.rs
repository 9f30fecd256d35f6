//! Choices by measurement: what kernels had to choose from is compiled once for each candidate, the few steps that a choice
//! shaped run side by side in one program, and the fastest is remembered by the key of the choice. It knows neither
//! operators nor what a candidate is; [`file`] keeps what was learned.

pub mod file;
mod merged;

use std::collections::BTreeMap;
use std::sync::Arc;

use ir::program::{Choice, Verdict};
use ir::{Fault, Graph, Program};
use kernels::cost::Tuned;

use crate::compile::{self, Options, Watch};
use crate::error::{Error, Result};
use crate::execute::Runner;
use crate::target::{self, Level};
use crate::timing::Clocked;
use merged::{Merged, Segment};

/// Candidates of a key that are measured, the predicted one among them.
const CANDIDATES: usize = 6;

/// Candidates that are predicted to take longer, relative to the best, are not tried.
const HOPELESS: f64 = 2.0;

/// A candidate is preferred to the predicted one only if it takes less than this share of its time.
const CLEARLY: f64 = 0.97;

/// Seconds for all measurements together, and the most and the fewest runs of a candidate.
const BUDGET: f64 = 8.0;
const ROUNDS: (usize, usize) = (60, 3);

/// Bytes of memory that a program of candidates may take.
const MEMORY: u64 = 512 << 20;

/// The options with what was measured added to what was known, which is also written to the file of `options`, if one is
/// named. Keys that are known are not measured again. `graph` is as the passes left it.
/// Fault: the target is not this machine.
pub fn tune(graph: &Graph, options: &Options, watch: &dyn Watch) -> Result<Options> {
    let Some(tune) = &options.tune else { return Ok(options.clone()) };
    let level = here(options)?;
    let mut tuned = Tuned::clone(&options.kernels.tuned);
    let candidates = candidates(graph, options, watch)?;
    let total: usize = candidates.iter().map(|c| c.segments.len()).sum();
    watch.stage("tuning", total);
    let mut batch: Vec<&Candidates> = Vec::new();
    for (at, of_key) in candidates.iter().enumerate() {
        batch.push(of_key);
        let bytes: u64 = batch.iter().flat_map(|c| &c.segments).map(|(_, s)| s.bytes()).sum();
        let next: u64 = candidates.get(at + 1).map_or(u64::MAX / 2, |c| c.segments.iter().map(|(_, s)| s.bytes()).sum());
        if bytes + next > MEMORY {
            let share = batch.iter().map(|c| c.segments.len()).sum::<usize>() as f64 / total as f64;
            for (key, name) in measure(&batch, level, share * BUDGET, options, watch)? {
                tuned.learn(level.name, &key, &name);
            }
            batch.clear();
        }
    }
    if let Some(path) = &tune.file {
        file::write(path, &tuned)?;
    }
    let mut options = options.clone();
    options.tune = None;
    options.kernels.tuned = Arc::new(tuned);
    Ok(options)
}

/// The level that is measured: that which levels share weights with. Fault: this machine does not run it.
fn here(options: &Options) -> Result<&'static Level> {
    let wrong = |what: String| Error::from(Fault::usage(what).help("compile there, or bring what was learned there with --tuned FILE"));
    let host = target::host()?;
    if host.name != options.target.name {
        return Err(wrong(format!("--tune measures on this machine, which is no {}", options.target.name)));
    }
    let level = *options.levels.last().expect("there is a level");
    let native = host.native()?;
    if native.mask & level.mask != level.mask {
        return Err(wrong(format!("--tune measures on this machine, which does not run {}", level.name)));
    }
    Ok(level)
}

/// What there is to measure for a key: names of candidates, the predicted one first, with their steps.
struct Candidates {
    key: String,
    segments: Vec<(String, Segment)>,
}

/// The program of the level that is measured, with some choices made for it.
fn lower(graph: &Graph, options: &Options, tuned: Tuned) -> Result<Program> {
    let mut options = options.clone();
    options.kernels.tuned = Arc::new(tuned);
    Ok(compile::lower(graph, &options, &())?.pop().expect("a program for each level").1)
}

/// Every key that nobody knows yet.
fn candidates(graph: &Graph, options: &Options, watch: &dyn Watch) -> Result<Vec<Candidates>> {
    let level = here(options)?;
    watch.stage("candidates", CANDIDATES);
    let plain = lower(graph, options, Tuned::clone(&options.kernels.tuned))?;
    let mut all: BTreeMap<String, Candidates> = BTreeMap::new();
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for choice in plain.choices.iter().filter(|c| c.verdict != Verdict::Tuned && c.candidates.len() > 1) {
        if all.contains_key(&choice.key) {
            continue;
        }
        let Some(segment) = Segment::of(&plain, choice) else { continue };
        let segments = vec![(choice.taken().name.clone(), segment)];
        all.insert(choice.key.clone(), Candidates { key: choice.key.clone(), segments });
        names.insert(choice.key.clone(), others(choice));
    }
    watch.step();
    for turn in 0..CANDIDATES - 1 {
        let mut tuned = Tuned::clone(&options.kernels.tuned);
        let wanted: Vec<(&String, &String)> = names.iter().filter_map(|(key, names)| Some((key, names.get(turn)?))).collect();
        if wanted.is_empty() {
            break;
        }
        wanted.iter().for_each(|(key, name)| tuned.learn(level.name, key, name));
        let program = lower(graph, options, tuned)?;
        for (key, name) in wanted {
            let choice = program.choices.iter().find(|c| c.key == *key && c.taken().name == *name);
            if let Some(segment) = choice.and_then(|choice| Segment::of(&program, choice))
                && let Some(of_key) = all.get_mut(key)
            {
                of_key.segments.push((name.clone(), segment));
            }
        }
        watch.step();
    }
    Ok(all.into_values().filter(|c| c.segments.len() > 1).collect())
}

/// Names of the candidates that were not taken, the fastest by prediction first.
fn others(choice: &Choice) -> Vec<String> {
    let best = choice.candidates.iter().map(|c| c.seconds).fold(f64::INFINITY, f64::min);
    let mut others: Vec<_> =
        choice.candidates.iter().enumerate().filter(|(i, c)| *i != choice.chosen && c.seconds <= HOPELESS * best).collect();
    others.sort_by(|a, b| a.1.seconds.total_cmp(&b.1.seconds));
    others.into_iter().map(|(_, c)| c.name.clone()).collect()
}

/// The name of the fastest candidate of each key.
fn measure(
    batch: &[&Candidates],
    level: &'static Level,
    budget: f64,
    options: &Options,
    watch: &dyn Watch,
) -> Result<Vec<(String, String)>> {
    let mut merged = Merged::default();
    let ranges: Vec<Vec<std::ops::Range<usize>>> =
        batch.iter().map(|c| c.segments.iter().map(|(_, segment)| merged.add(segment)).collect()).collect();
    let program = merged.finish();
    let single = Options { levels: vec![level], state: Vec::new(), ..options.clone() };
    let clocked = Clocked::new(&program, level, 1, &single, &Runner::default(), &())?;
    let once: f64 = clocked.run(&[], 2)?.steps.iter().filter_map(|times| times.first()).sum();
    let rounds = ((budget / once.max(1e-9)) as usize).clamp(ROUNDS.1, ROUNDS.0);
    let times = clocked.run(&[], rounds)?;
    let mut fastest = Vec::new();
    for (of_key, ranges) in batch.iter().zip(ranges) {
        let seconds: Vec<f64> = ranges.into_iter().map(|range| range.map(|step| times.least(step)).sum()).collect();
        let best = (1..seconds.len()).min_by(|&a, &b| seconds[a].total_cmp(&seconds[b]));
        let taken = best.filter(|&at| seconds[at] < CLEARLY * seconds[0]).unwrap_or(0);
        fastest.push((of_key.key.clone(), of_key.segments[taken].0.clone()));
        of_key.segments.iter().for_each(|_| watch.step());
    }
    Ok(fastest)
}

/// What was learned and fits no longer: a note for each key.
pub fn stale(program: &Program, level: &Level, tuned: &Tuned) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for choice in program.choices.iter().filter(|c| c.verdict == Verdict::Unknown) {
        let name = tuned.of(level.name, &choice.key).unwrap_or_default();
        let note = format!("what was tuned is ignored: {name} is no way to compute {:?} any more", choice.key);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}
