//! Takes weights, or whole channels, out of a model and fits what is left so that every layer says what it said before. Layers are done in
//! their order: each is fitted to what the float model says, from what the layers pruned before it give it to read. It decides and measures;
//! `compress` computes, `frontend` writes.

use std::collections::{BTreeMap, BTreeSet};

use compress::{Channels, Gram, Means, Pattern, Refit, Site, eliminate, mask, refit};
use frontend::edit::{Draft, Float, Layer, Removal};
use ir::Fault;

use crate::calibration::{Probe, Samples, Values};
use crate::compile::{Options, Watch};
use crate::error::{Error, Result};
use crate::quantize::{errors, looked_at, noise, part};

/// What goes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pieces {
    Weights(Pattern),
    Channels,
}

/// What the user decides.
pub struct Wishes {
    /// The share that goes.
    pub sparsity: f64,
    pub pieces: Pieces,
    /// Nodes that stay as they are.
    pub keep: BTreeSet<String>,
}

/// Samples below which a fit follows them, not the model.
pub const LEAST: usize = 128;
/// Inputs of a row below which nothing is gained.
const SMALL: usize = 32;
/// What holds weights where they were: each is tried. The last ones are for layers with more inputs than samples.
const RIDGES: [f64; 4] = [1e-3, 1e-2, 1e-1, 1.0];
/// Inputs of a row above which only one ridge is tried.
const LARGE: usize = 1200;
/// Multiplications above which the weights that go are chosen by magnitude alone.
const WORK: f64 = 5e9;
/// Samples of a layer for each of its inputs.
const ENOUGH: usize = 12;
const PLACES: usize = 64;
/// A part of the samples, one of so many, by which ways are compared.
const HELD: usize = 5;
const JUDGED: usize = 16;

/// What became of a layer.
pub struct Outcome {
    pub label: String,
    pub op: &'static str,
    pub before: usize,
    pub after: usize,
    /// Of what the layer says to samples that it was not fitted to, in decibels.
    pub decibels: f64,
    /// The same without the fit.
    pub unfitted: f64,
}

/// A pruned model.
pub struct Pruned {
    pub draft: Draft,
    pub layers: Vec<Outcome>,
    /// Layers that stay dense, with the reason.
    pub dense: Vec<Float>,
    pub decibels: f64,
    pub error: f64,
    pub notes: Vec<String>,
}

/// Prunes. Faults: too few samples; names of nodes that are none; nothing to prune.
pub fn prune(float: &Draft, wishes: &Wishes, samples: &Samples, options: &Options, watch: &dyn Watch) -> Result<Pruned> {
    if samples.count() < LEAST {
        let what = format!("calibration holds {} samples; fitting needs {LEAST} or more", samples.count());
        return Err(Fault::usage(what).help("fewer would be learned by heart").into());
    }
    let mut base = float.clone();
    let mut notes = Vec::new();
    let norms = base.fold_norms();
    if norms > 0 {
        notes.push(format!("{norms} batch normalizations went into the convolutions before them"));
    }
    // names that are none are told before anything is compiled
    base.plan(&wishes.keep).map_err(Error::from)?;
    let mut work = Work { base, wishes, samples, options, watch, dense: Vec::new() };
    let (draft, layers) = match wishes.pieces {
        Pieces::Weights(pattern) => work.weights(pattern)?,
        Pieces::Channels => work.channels(&mut notes)?,
    };
    let (want, got) = (work.judged(&work.base)?, work.judged(&draft)?);
    let error = errors(&want, &got).into_iter().map(|(_, error)| error).fold(0.0, f64::max);
    let decibels = compress::decibels(noise(want.iter().zip(&got)));
    Ok(Pruned { draft, layers, dense: work.dense, decibels, error, notes })
}

struct Work<'a> {
    base: Draft,
    wishes: &'a Wishes,
    samples: &'a Samples,
    options: &'a Options,
    watch: &'a dyn Watch,
    dense: Vec<Float>,
}

/// The sums that a layer is fitted by, and those that ways are compared by.
struct Sums {
    fit: Gram,
    held: Gram,
}

/// A way to prune a layer.
struct Way {
    keep: Vec<bool>,
    ridge: f64,
    fitted: Refit,
    noise: f64,
    unfitted: f64,
}

impl Work<'_> {
    fn stays(&mut self, label: &str, op: &str, why: &str) {
        self.dense.push(Float { label: label.into(), op: op.into(), why: why.into() });
    }

    /// The layers whose weights can go.
    fn prunable(&mut self) -> Vec<Layer> {
        let (layers, others) = self.base.layers();
        others.iter().for_each(|(label, op, why)| self.stays(label, op, why));
        let mut all = Vec::new();
        for layer in layers {
            let why = if self.wishes.keep.contains(&layer.label) {
                "it was asked for"
            } else if layer.groups() > 1 {
                "its groups are small"
            } else if layer.k < SMALL {
                "it has fewer than 32 inputs a row"
            } else if layer.shared {
                "another node reads its weights"
            } else if self.base.is_constant(&layer.input) {
                "it reads a constant"
            } else {
                all.push(layer);
                continue;
            };
            self.stays(&layer.label, layer.op, why);
        }
        all
    }

    fn weights(&mut self, pattern: Pattern) -> Result<(Draft, Vec<Outcome>)> {
        let layers = self.prunable();
        if layers.is_empty() {
            return Err(Error::usage("the model has no layer whose weights could go"));
        }
        let mut student = self.base.clone();
        let mut outcomes = Vec::new();
        self.watch.stage("pruning", layers.len());
        for layer in &layers {
            let mut sums = self.sums(&student, layer, layer, &BTreeSet::new())?;
            let best = self.best(layer, pattern, &sums);
            self.watch.step();
            let Some(best) = best.filter(|b| b.noise.is_finite()) else {
                self.stays(&layer.label, layer.op, "its samples are not finite");
                continue;
            };
            // the way is chosen: now with the samples that were kept to choose it
            let Sums { fit, held } = &mut sums;
            fit.join(held);
            let fitted = refit(&self.base.matrix(layer), &self.base.bias(layer), &best.keep, fit, best.ridge);
            let (weights, bias) = fitted.map_or((best.fitted.weights, best.fitted.bias), |f| (f.weights, f.bias));
            student.set_matrix(layer, &weights);
            student.set_bias(layer, &bias);
            outcomes.push(Outcome {
                label: layer.label.clone(),
                op: layer.op,
                before: layer.rows * layer.k,
                after: weights.iter().filter(|w| **w != 0.0).count(),
                decibels: compress::decibels(best.noise),
                unfitted: compress::decibels(best.unfitted),
            });
        }
        Ok((student, outcomes))
    }

    /// The best of several ways to choose what goes, by samples that none has seen.
    fn best(&self, layer: &Layer, pattern: Pattern, sums: &Sums) -> Option<Way> {
        let (weights, bias, sparsity) = (self.base.matrix(layer), self.base.bias(layer), self.wishes.sparsity);
        let (all, even, energy) = (vec![true; weights.len()], vec![1.0; layer.k], sums.fit.energy());
        let mut best: Option<Way> = None;
        for &ridge in if layer.k > LARGE { &RIDGES[1..2] } else { &RIDGES[..] } {
            let mut ways =
                vec![mask(&weights, layer.k, &even, pattern, sparsity), mask(&weights, layer.k, &energy[..layer.k], pattern, sparsity)];
            if compress::work(layer.rows, layer.k, pattern) <= WORK {
                let dense = refit(&weights, &bias, &all, &sums.fit, ridge);
                ways.extend(dense.and_then(|dense| eliminate(&dense.weights, &sums.fit, ridge, pattern, sparsity)));
            }
            for keep in ways {
                let Ok(fitted) = refit(&weights, &bias, &keep, &sums.fit, ridge) else { continue };
                let noise = sums.held.noise(&with_bias(&fitted.weights, &fitted.bias, layer.k));
                if best.as_ref().is_none_or(|b| noise < b.noise) {
                    let cut: Vec<f32> = weights.iter().zip(&keep).map(|(w, k)| if *k { *w } else { 0.0 }).collect();
                    let unfitted = sums.held.noise(&with_bias(&cut, &bias, layer.k));
                    best = Some(Way { keep, ridge, fitted, noise, unfitted });
                }
            }
        }
        best
    }

    /// Sums over all samples: what `layer` of the student reads, with a 1 behind it, and what `teacher` says in the float model, without
    /// the rows that are `gone`.
    fn sums(&self, student: &Draft, layer: &Layer, teacher: &Layer, gone: &BTreeSet<usize>) -> Result<Sums> {
        let rows = teacher.rows - gone.len();
        let new = || Gram::new(layer.k + 1, rows);
        let mut sums = Sums { fit: new(), held: new() };
        let says = Probe::new(&self.base, std::slice::from_ref(&teacher.output), self.samples, self.options, &())?;
        let reads = Probe::new(student, std::slice::from_ref(&layer.input), self.samples, self.options, &())?;
        let places = (ENOUGH * layer.k).div_ceil(self.samples.count()).max(PLACES);
        says.each(self.samples, self.samples.count(), &(), |index, said| {
            let mut values = reads.run(self.samples, index)?;
            values.insert(layer.output.clone(), said[&teacher.output].clone());
            // the student's rows may be fewer than what the teacher says
            let seen = Layer { rows: teacher.rows, ..layer.clone() };
            let (x, t) = looked_at(&seen, &values, true, places, index)?;
            let x: Vec<f32> = x.chunks_exact(layer.k).flat_map(|sample| sample.iter().copied().chain([1.0])).collect();
            let t: Vec<f32> = match gone.is_empty() {
                true => t,
                false => t.into_iter().enumerate().filter(|(i, _)| !gone.contains(&(i % teacher.rows))).map(|(_, v)| v).collect(),
            };
            let to = if index % HELD == HELD - 1 { &mut sums.held } else { &mut sums.fit };
            to.add(&x, &t);
            Ok(())
        })?;
        Ok(sums)
    }

    fn channels(&mut self, notes: &mut Vec<String>) -> Result<(Draft, Vec<Outcome>)> {
        let shapes = self.shapes()?;
        let (teachers, others) = self.base.layers();
        others.iter().for_each(|(label, op, why)| self.stays(label, op, why));
        let removal = self.removal(&teachers, &shapes)?;
        if removal.gone.is_empty() {
            return Err(Fault::usage("the model has no channels that could go").help("--pattern 4x1 takes weights instead").into());
        }
        let mut student = self.base.clone();
        student.remove(&removal.gone, &shapes, &removal.axes);
        notes.push(format!("{} of {} channels went", removal.taken, removal.all));
        let none = BTreeSet::new();
        let mut outcomes = Vec::new();
        let layers = student.layers().0;
        self.watch.stage("fitting", layers.len());
        for (layer, teacher) in layers.iter().zip(&teachers) {
            let (before, after) = (teacher.rows * teacher.k, layer.rows * layer.k);
            self.watch.step();
            if layer.k == teacher.k {
                if before != after {
                    let outcome = Outcome {
                        label: layer.label.clone(),
                        op: layer.op,
                        before,
                        after,
                        decibels: f64::INFINITY,
                        unfitted: f64::INFINITY,
                    };
                    outcomes.push(outcome);
                } else {
                    self.stays(&teacher.label, teacher.op, "its channels are tied to what must stay");
                }
                continue;
            }
            let gone = removal.gone.get(&teacher.made).unwrap_or(&none);
            let sums = self.sums(&student, layer, teacher, gone)?;
            let (weights, bias) = (student.matrix(layer), student.bias(layer));
            let unfitted = sums.held.noise(&with_bias(&weights, &bias, layer.k));
            let keep = vec![true; weights.len()];
            let mut best: (f64, Vec<f32>, Vec<f32>) = (unfitted, weights.clone(), bias.clone());
            for ridge in RIDGES {
                let Ok(fitted) = refit(&weights, &bias, &keep, &sums.fit, ridge) else { continue };
                let noise = sums.held.noise(&with_bias(&fitted.weights, &fitted.bias, layer.k));
                if noise < best.0 {
                    best = (noise, fitted.weights, fitted.bias);
                }
            }
            student.set_matrix(layer, &best.1);
            student.set_bias(layer, &best.2);
            outcomes.push(Outcome {
                label: layer.label.clone(),
                op: layer.op,
                before,
                after,
                decibels: compress::decibels(best.0),
                unfitted: compress::decibels(unfitted),
            });
        }
        Ok((student, outcomes))
    }

    /// The shapes of the values that channels are followed through, seen in one run.
    fn shapes(&self) -> Result<BTreeMap<String, Vec<usize>>> {
        let probe = Probe::new(&self.base, &self.base.shaped(), self.samples, self.options, self.watch)?;
        Ok(probe.run(self.samples, 0)?.into_iter().map(|(name, tensor)| (name, tensor.shape().to_vec())).collect())
    }

    /// Which channels go: of those that are tied alike, the ones that layers hear least of.
    fn removal(&self, layers: &[Layer], shapes: &BTreeMap<String, Vec<usize>>) -> Result<Chosen> {
        let heard = self.heard(layers)?;
        let ties = self.base.ties(shapes);
        let site = |value: usize| Site { value, axis: ties.axes[value].0 };
        let mut channels = Channels::default();
        for (value, (_, size)) in ties.axes.iter().enumerate() {
            channels.site(site(value), *size);
        }
        for (a, b) in &ties.joins {
            channels.join((site(a.0), a.1), (site(b.0), b.1));
        }
        ties.barred.iter().for_each(|value| channels.bar(site(*value)));
        let kept = layers.iter().filter(|l| self.wishes.keep.contains(&l.label));
        for name in kept.flat_map(|l| [&l.made, &l.input]) {
            ties.values.iter().position(|v| v == name).into_iter().for_each(|value| channels.bar(site(value)));
        }
        let mut chosen = Chosen { axes: ties.values.iter().cloned().zip(ties.axes.iter().map(|a| a.0)).collect(), ..Chosen::default() };
        for bundle in channels.bundles() {
            let read =
                |set: &Vec<(Site, usize)>| set.iter().filter_map(|(site, c)| heard.get(&ties.values[site.value])?.get(*c)).sum::<f64>();
            // what no layer reads or makes is nothing to choose by
            let names: Vec<&String> = bundle.sites.iter().map(|s| &ties.values[s.value]).collect();
            let made = layers.iter().any(|l| names.contains(&&l.made));
            if !made || !names.iter().any(|name| heard.contains_key(*name)) {
                continue;
            }
            let scores: Vec<f64> = bundle.sets.iter().map(read).collect();
            let multiple = if bundle.sets.len() >= 48 { 16 } else { 8 };
            chosen.all += bundle.sets.len();
            for set in bundle.least(&scores, self.wishes.sparsity, multiple) {
                chosen.taken += 1;
                for (site, channel) in &bundle.sets[set] {
                    chosen.gone.entry(ties.values[site.value].clone()).or_default().insert(*channel);
                }
            }
        }
        Ok(chosen)
    }

    /// How much layers hear of each channel of each value that they read: the squares of the weights times the mean square of what comes.
    fn heard(&self, layers: &[Layer]) -> Result<BTreeMap<String, Vec<f64>>> {
        let inputs: BTreeSet<String> = layers.iter().map(|l| l.input.clone()).collect();
        let probe = Probe::new(&self.base, &inputs.into_iter().collect::<Vec<_>>(), self.samples, self.options, self.watch)?;
        let mut means: Vec<Vec<Means>> = layers.iter().map(|l| vec![Means::default(); l.groups()]).collect();
        self.watch.stage("calibrating", self.samples.count());
        probe.each(self.samples, self.samples.count(), self.watch, |index, values| {
            for (layer, means) in layers.iter().zip(&mut means) {
                let (x, _) = looked_at(layer, &values, false, PLACES, index)?;
                means.iter_mut().enumerate().for_each(|(group, m)| m.add(&part(&x, layer, group), layer.k));
            }
            Ok(())
        })?;
        let mut heard: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (layer, means) in layers.iter().zip(&means) {
            let weights = self.base.matrix(layer);
            let taps: usize = layer.window.as_ref().map_or(1, |w| w.spatial.iter().map(|s| s.kernel).product());
            let per_group = layer.k / taps;
            let to = heard.entry(layer.input.clone()).or_default();
            to.resize(per_group * layer.groups(), 0.0);
            for (row, weights) in weights.chunks_exact(layer.k).enumerate() {
                let group = row / (layer.rows / layer.groups());
                for ((i, w), energy) in weights.iter().enumerate().zip(means[group].energy()) {
                    to[group * per_group + i % per_group] += f64::from(w * w * energy);
                }
            }
        }
        Ok(heard)
    }

    fn judged(&self, draft: &Draft) -> Result<Vec<Values>> {
        let probe = Probe::new(draft, &[], self.samples, self.options, &())?;
        let outputs = draft.outputs();
        (0..JUDGED)
            .map(|index| Ok(probe.run(self.samples, index)?.into_iter().filter(|(name, _)| outputs.contains(name)).collect()))
            .collect()
    }
}

#[derive(Default)]
struct Chosen {
    gone: Removal,
    axes: BTreeMap<String, usize>,
    taken: usize,
    all: usize,
}

/// `[rows][k]` with the bias behind each row.
fn with_bias(weights: &[f32], bias: &[f32], k: usize) -> Vec<f32> {
    weights.chunks_exact(k).zip(bias).flat_map(|(row, b)| row.iter().copied().chain([*b])).collect()
}
