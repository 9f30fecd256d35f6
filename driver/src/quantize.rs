//! Makes a model of integers from one of floats: ranges from samples, weights rounded so that their layers say nearly the same, and what
//! each layer lost. It decides and measures; `compress` computes, `frontend` writes.

use std::collections::{BTreeMap, BTreeSet};

use compress::{Affine, Grain, Gram, Histogram, Judge, Means, Ranging, Rounded, Width};
use frontend::edit::{Draft, Float, Layer, Plan, Range, Small};
use ir::{Dtype, Tensor};

use crate::calibration::{Probe, Samples, Values};
use crate::compile::{Options, Watch};
use crate::error::{Error, Result};

/// What becomes integers, and of how many bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Weights and what flows between layers, 8 bits.
    Int8,
    /// Weights alone, 8 bits.
    W8,
    /// Weights alone: 4 bits in blocks of 32 for products, 8 bits for convolutions.
    W4,
}

/// What the user decides.
pub struct Wishes {
    pub scheme: Scheme,
    pub ranging: Ranging,
    /// Nodes that stay floats.
    pub keep: BTreeSet<String>,
    /// The error that all quantized layers together may bring.
    pub budget: Option<f64>,
}

/// Neighbours that share a scale in four bits.
const BLOCK: usize = 32;
/// Places of one sample that a layer is looked at, for means and for products.
const PLACES: usize = 64;
/// Samples of a layer that are enough, for each of its inputs.
const ENOUGH: usize = 8;
/// Bytes of sums of products that are gathered in one go.
const GRAMS: usize = 1 << 30;
/// Samples by which layers are judged.
const JUDGED: usize = 16;
/// A part of the samples, one of so many, is kept to compare ways of rounding.
const HELD: usize = 4;

/// What became of a layer.
pub struct Outcome {
    pub layer: Layer,
    pub scheme: &'static str,
    pub before: usize,
    pub after: usize,
    /// The signal over the noise of what the layer says, in a model where all is quantized, in decibels.
    pub decibels: Option<f64>,
    /// The error of the outputs when only this layer is quantized.
    pub alone: Option<f64>,
}

/// A quantized model, and what it lost.
pub struct Quantized {
    pub draft: Draft,
    pub layers: Vec<Outcome>,
    pub float: Vec<Float>,
    /// What the error of the outputs is measured by, and it.
    pub judge: &'static str,
    pub error: f64,
    /// Of all outputs together.
    pub decibels: f64,
    pub notes: Vec<String>,
}

/// What the samples said of one layer's inputs.
#[derive(Default)]
struct Seen {
    means: Vec<Means>,
    flat: bool,
}

/// All that is known before anything is rounded.
struct Study {
    ranges: BTreeMap<String, Histogram>,
    seen: BTreeMap<String, Seen>,
}

/// Quantizes. Faults: names of nodes that are none; a model that does not compile; nothing to quantize.
pub fn quantize(float: &Draft, wishes: &Wishes, samples: &Samples, options: &Options, watch: &dyn Watch) -> Result<Quantized> {
    if let Some(node) = float.integers() {
        return Err(Error::usage(format!("the model is quantized already, such as at {node}")));
    }
    let mut base = float.clone();
    let mut notes = Vec::new();
    let norms = base.fold_norms();
    if norms > 0 {
        notes.push(format!("{norms} batch normalizations went into the convolutions before them"));
    }
    base.raise(if wishes.scheme == Scheme::W4 { 21 } else { 13 }).map_err(Error::from)?;
    let plan = base.plan(&wishes.keep).map_err(Error::from)?;
    if plan.layers.is_empty() {
        return Err(Error::usage("the model has no layers to quantize: no convolution, Gemm or product with constant weights"));
    }
    let study = study(&base, &plan, wishes.scheme, samples, options, watch)?;
    let mut work = Work { base: &base, wishes, samples, options, watch, study, rounded: BTreeMap::new(), notes };
    work.round(&plan)?;
    let (plan, alone) = match wishes.budget {
        Some(budget) => work.within(plan, budget)?,
        None => (plan, BTreeMap::new()),
    };
    let draft = work.write(&plan)?;
    work.report(draft, plan, &alone)
}

/// One pass over all samples: how values are spread, and what the inputs of layers are on average.
fn study(base: &Draft, plan: &Plan, scheme: Scheme, samples: &Samples, options: &Options, watch: &dyn Watch) -> Result<Study> {
    let points: Vec<&str> = match scheme {
        Scheme::Int8 => plan.points.iter().map(|p| p.value.as_str()).collect(),
        Scheme::W8 | Scheme::W4 => Vec::new(),
    };
    let inputs = plan.layers.iter().map(|l| l.input.as_str());
    let values: BTreeSet<String> = points.iter().copied().chain(inputs).map(str::to_owned).collect();
    let probe = Probe::new(base, &values.into_iter().collect::<Vec<_>>(), samples, options, watch)?;
    watch.stage("calibrating", samples.count());
    let mut study = Study { ranges: BTreeMap::new(), seen: BTreeMap::new() };
    probe.each(samples, samples.count(), watch, |index, values| {
        for point in &points {
            let tensor = &values[*point];
            study.ranges.entry(point.to_string()).or_default().add(&tensor.to_f32s());
        }
        for layer in &plan.layers {
            let (x, _) = looked_at(layer, &values, false, PLACES, index)?;
            let seen = study.seen.entry(layer.made.clone()).or_default();
            seen.flat = values[&layer.input].shape().len() == 2;
            seen.means.resize_with(layer.groups(), Means::default);
            for (group, means) in seen.means.iter_mut().enumerate() {
                means.add(&part(&x, layer, group), layer.k);
            }
        }
        Ok(())
    })?;
    Ok(study)
}

/// A layer's samples in one run, with what it said if asked for. Fault: the value has not the shape that the layer reads.
pub fn looked_at(layer: &Layer, values: &Values, targets: bool, limit: usize, turn: usize) -> Result<(Vec<f32>, Vec<f32>)> {
    let input = &values[&layer.input];
    let output = if targets { values[&layer.output].to_f32s() } else { Vec::new() };
    let samples = layer.samples((input.shape(), &input.to_f32s()), &output, limit, turn);
    samples.ok_or_else(|| Error::Internal(format!("layer {:?} reads {}, which is not what its weights say", layer.label, input.ty())))
}

/// The inputs of one group, `[..][k]`, of `[..][groups * k]`.
pub fn part(x: &[f32], layer: &Layer, group: usize) -> Vec<f32> {
    if layer.groups() == 1 {
        return x.to_vec();
    }
    x.chunks_exact(layer.groups() * layer.k).flat_map(|sample| &sample[group * layer.k..(group + 1) * layer.k]).copied().collect()
}

/// What a layer's weights become.
struct Integers {
    rounded: Rounded,
    width: Width,
    how: &'static str,
}

struct Work<'a> {
    base: &'a Draft,
    wishes: &'a Wishes,
    samples: &'a Samples,
    options: &'a Options,
    watch: &'a dyn Watch,
    study: Study,
    /// By what each layer makes.
    rounded: BTreeMap<String, Integers>,
    notes: Vec<String>,
}

impl Work<'_> {
    /// Whether a layer's weights take four bits.
    fn four(&self, layer: &Layer) -> bool {
        self.wishes.scheme == Scheme::W4 && layer.window.is_none()
    }

    /// Rounds the weights of all layers.
    fn round(&mut self, plan: &Plan) -> Result<()> {
        for layer in &plan.layers {
            let weights = self.base.matrix(layer);
            if let Some(odd) = weights.iter().find(|w| !w.is_finite()) {
                return Err(Error::from(ir::Fault::invalid(format!("its weights hold {odd}")).at(layer.label.clone()).op(layer.op)));
            }
            let (width, grain) = if self.four(layer) { (Width::I4, Grain::Block(BLOCK)) } else { (Width::I8, Grain::Row) };
            let per_group = layer.rows / layer.groups() * layer.k;
            let mut all = Rounded { integers: Vec::new(), scales: Vec::new(), grain };
            for (group, weights) in weights.chunks_exact(per_group.max(1)).enumerate() {
                let energy = self.study.seen[&layer.made].means[group].energy();
                let one = compress::nearest(weights, layer.k, &energy, width, grain);
                all.integers.extend(one.integers);
                all.scales.extend(one.scales);
            }
            let how = if width == Width::I4 { "w4 nearest" } else { "w8" };
            self.rounded.insert(layer.made.clone(), Integers { rounded: all, width, how });
        }
        self.better(plan)
    }

    /// Replaces four-bit weights by GPTQ's where those are better on samples that it has not seen.
    fn better(&mut self, plan: &Plan) -> Result<()> {
        let mut waiting: Vec<&Layer> = plan.layers.iter().filter(|l| self.four(l)).collect();
        while !waiting.is_empty() {
            let mut bytes = 0;
            let fits = |layer: &&&Layer| {
                bytes += 16 * layer.k * layer.k;
                bytes <= GRAMS
            };
            let count = waiting.iter().take_while(fits).count().max(1);
            let rest = waiting.split_off(count);
            self.gptq(&waiting)?;
            waiting = rest;
        }
        Ok(())
    }

    fn gptq(&mut self, layers: &[&Layer]) -> Result<()> {
        let values: BTreeSet<String> = layers.iter().map(|l| l.input.clone()).collect();
        let probe = Probe::new(self.base, &values.into_iter().collect::<Vec<_>>(), self.samples, self.options, self.watch)?;
        self.watch.stage("rounding", self.samples.count() + layers.len());
        let mut grams: Vec<[Gram; 2]> = layers.iter().map(|l| [Gram::new(l.k, 0), Gram::new(l.k, 0)]).collect();
        let held = |index: usize| usize::from(self.samples.count() >= HELD && index % HELD == HELD - 1);
        let places = |layer: &Layer| (ENOUGH * layer.k).div_ceil(self.samples.count()).max(PLACES);
        probe.each(self.samples, self.samples.count(), self.watch, |index, values| {
            for (layer, grams) in layers.iter().zip(&mut grams) {
                let (x, _) = looked_at(layer, &values, false, places(layer), index)?;
                grams[held(index)].add(&x, &[]);
            }
            Ok(())
        })?;
        for (layer, [fit, check]) in layers.iter().zip(&grams) {
            let weights = self.base.matrix(layer);
            let near = &self.rounded[&layer.made];
            let check = if check.samples > 0 { check } else { fit };
            let loss = |r: &Rounded| check.loss(&r.values(layer.k).iter().zip(&weights).map(|(a, b)| a - b).collect::<Vec<f32>>());
            if let Ok(other) = compress::gptq(&weights, fit, near.width, near.rounded.grain)
                && loss(&other) < loss(&near.rounded)
            {
                self.rounded.insert(layer.made.clone(), Integers { rounded: other, width: Width::I4, how: "w4 gptq" });
            }
            self.watch.step();
        }
        Ok(())
    }

    /// The range of each point: of those in one group, what covers all.
    fn ranges(&self, plan: &Plan) -> BTreeMap<String, Affine> {
        let mut groups: BTreeMap<usize, (f32, f32)> = BTreeMap::new();
        for point in &plan.points {
            let Some((low, high)) = self.study.ranges.get(&point.value).and_then(|h| h.range(self.wishes.ranging)) else { continue };
            let range = groups.entry(point.group).or_insert((low, high));
            *range = (range.0.min(low), range.1.max(high));
        }
        let affine = |point: &frontend::edit::Point| {
            let (low, high) = groups.get(&point.group).copied().unwrap_or((0.0, 0.0));
            (point.value.clone(), Affine::over(low, high))
        };
        plan.points.iter().map(affine).collect()
    }

    /// The model with the layers of the plan as integers.
    fn write(&self, plan: &Plan) -> Result<Draft> {
        let mut draft = self.base.clone();
        let ranges = if self.wishes.scheme == Scheme::Int8 { self.ranges(plan) } else { BTreeMap::new() };
        for layer in &plan.layers {
            let integers = &self.rounded[&layer.made];
            let mut rounded = integers.rounded.clone();
            let corrected = self.corrected(layer, &rounded);
            let input = ranges.get(&layer.input);
            if let Some(input) = input {
                room_for_bias(&mut rounded, &self.base.matrix(layer), layer.k, &corrected, input.scale);
            }
            let block = match rounded.grain {
                Grain::Row => None,
                Grain::Block(block) => Some(block),
            };
            let small = Small { integers: &rounded.integers, scales: &rounded.scales, bits: integers.width.bits(), block };
            draft.quantize_weights(layer, &small);
            if layer.bias.is_none() {
                continue;
            }
            let integer = input.is_some_and(|input| {
                let scales: Vec<f32> = rounded.scales.iter().map(|s| s * input.scale).collect();
                let bias: Vec<i32> = corrected.iter().zip(&scales).map(|(b, s)| (b / s).round_ties_even() as i32).collect();
                draft.quantize_bias(layer, &bias, &scales, self.study.seen[&layer.made].flat)
            });
            if !integer {
                draft.set_bias(layer, &corrected);
            }
        }
        for (value, affine) in &ranges {
            draft.quantize_value(value, Range { scale: affine.scale, zero: affine.zero as u8 });
        }
        Ok(draft)
    }

    /// The bias with what rounding takes from the mean of the sums put back.
    fn corrected(&self, layer: &Layer, rounded: &Rounded) -> Vec<f32> {
        let (weights, values) = (self.base.matrix(layer), rounded.values(layer.k));
        let per_group = layer.rows / layer.groups();
        let means: Vec<Vec<f32>> = self.study.seen[&layer.made].means.iter().map(Means::mean).collect();
        let mut bias = self.base.bias(layer);
        for (row, bias) in bias.iter_mut().enumerate() {
            let at = row * layer.k..(row + 1) * layer.k;
            let lost = weights[at.clone()].iter().zip(&values[at]).zip(&means[row / per_group]);
            *bias += lost.map(|((w, q), mean)| f64::from(w - q) * f64::from(*mean)).sum::<f64>() as f32;
        }
        bias
    }

    /// Keeps the layers whose errors are largest as floats until the rest together stay within the budget.
    fn within(&mut self, plan: Plan, budget: f64) -> Result<(Plan, BTreeMap<String, f64>)> {
        let judged = self.judged(self.base)?;
        let everything: BTreeSet<String> = plan.layers.iter().map(|l| l.label.clone()).chain(self.wishes.keep.iter().cloned()).collect();
        self.watch.stage("judging", plan.layers.len());
        let mut alone = BTreeMap::new();
        for layer in &plan.layers {
            let others = everything.iter().filter(|name| **name != layer.label).cloned().collect();
            let only = self.base.plan(&others).map_err(Error::from)?;
            let draft = self.write(&only)?;
            alone.insert(layer.label.clone(), self.error(&judged, &self.judged(&draft)?));
            self.watch.step();
        }
        let mut order: Vec<(&String, f64)> = alone.iter().map(|(name, error)| (name, *error)).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        let mut keep = self.wishes.keep.clone();
        let mut kept = Vec::new();
        let mut next = order.into_iter();
        loop {
            let plan = self.base.plan(&keep).map_err(Error::from)?;
            let error = self.error(&judged, &self.judged(&self.write(&plan)?)?);
            if error <= budget {
                self.notes
                    .extend((!kept.is_empty()).then(|| format!("{} layers stay floats to keep the error at {error:.2e}", kept.len())));
                let mut plan = plan;
                for float in plan.float.iter_mut().filter(|f| kept.contains(&f.label)) {
                    float.why = format!("the budget; alone it costs {:.2e}", alone[&float.label]);
                }
                return Ok((plan, alone));
            }
            // several at once while far away, one by one when near
            let count = if error > 4.0 * budget { 1 + kept.len() / 2 } else { 1 };
            let more: Vec<String> = next.by_ref().take(count).map(|(name, _)| name.clone()).collect();
            if more.is_empty() {
                let what = format!("no layer can be quantized within --budget-error {budget}: without any the error is {error:.2e}");
                return Err(Error::usage(what));
            }
            keep.extend(more.iter().cloned());
            kept.extend(more);
        }
    }

    /// The outputs of a model on the samples by which it is judged.
    fn judged(&self, draft: &Draft) -> Result<Vec<Values>> {
        let probe = Probe::new(draft, &[], self.samples, self.options, &())?;
        let outputs = draft.outputs();
        (0..JUDGED.min(self.samples.count()))
            .map(|index| Ok(probe.run(self.samples, index)?.into_iter().filter(|(name, _)| outputs.contains(name)).collect()))
            .collect()
    }

    /// The mean error of the outputs; of several outputs the worst.
    fn error(&self, want: &[Values], got: &[Values]) -> f64 {
        errors(want, got).into_iter().map(|(_, error)| error).fold(0.0, f64::max)
    }

    /// Runs the float and the quantized model side by side on a few samples, and tells what each layer lost.
    fn report(self, draft: Draft, plan: Plan, alone: &BTreeMap<String, f64>) -> Result<Quantized> {
        let (want, got) = (self.judged(self.base)?, self.judged(&draft)?);
        let judge = errors(&want, &got).into_iter().map(|(judge, _)| judge).next().unwrap_or(Judge::Numbers);
        let noise = noise(want.iter().zip(&got));
        let local = self.local(&draft, &plan)?;
        let outcome = |layer: &Layer| {
            let integers = &self.rounded[&layer.made];
            let scheme = match self.wishes.scheme {
                Scheme::Int8 => "int8",
                Scheme::W8 | Scheme::W4 => integers.how,
            };
            let weights = layer.rows * layer.k;
            let bits = integers.width.bits() as usize;
            Outcome {
                scheme,
                before: 4 * weights,
                after: (bits * weights).div_ceil(8) + 4 * integers.rounded.scales.len(),
                decibels: local.get(&layer.output).copied(),
                alone: alone.get(&layer.label).copied(),
                layer: layer.clone(),
            }
        };
        let judge = match judge {
            Judge::Probabilities => "divergence of probabilities",
            Judge::Scores => "divergence of softmax",
            Judge::Numbers => "noise to signal",
        };
        Ok(Quantized {
            layers: plan.layers.iter().map(outcome).collect(),
            float: plan.float,
            judge,
            error: self.error(&want, &got),
            decibels: compress::decibels(noise),
            notes: self.notes,
            draft,
        })
    }

    /// Decibels of what layers say, by their outputs, where both models still have the value.
    fn local(&self, draft: &Draft, plan: &Plan) -> Result<BTreeMap<String, f64>> {
        let there: Vec<String> = plan.layers.iter().map(|l| l.output.clone()).filter(|name| draft.makes(name)).collect();
        if there.is_empty() {
            return Ok(BTreeMap::new());
        }
        let float = Probe::new(self.base, &there, self.samples, self.options, &())?;
        let other = Probe::new(draft, &there, self.samples, self.options, &())?;
        let count = JUDGED.min(self.samples.count());
        self.watch.stage("comparing", count);
        let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for index in 0..count {
            let (want, got) = (float.run(self.samples, index)?, other.run(self.samples, index)?);
            for name in &there {
                let (want, got) = (want[name].to_f32s(), got[name].to_f32s());
                let sum = sums.entry(name).or_default();
                sum.0 += want.iter().zip(&got).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
                sum.1 += want.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>();
            }
            self.watch.step();
        }
        Ok(sums.into_iter().map(|(name, (noise, signal))| (name.to_string(), compress::decibels(noise / signal))).collect())
    }
}

/// How the outputs of two models are compared, and how far they are apart, per sample and output. Integer outputs are not compared.
pub fn errors(want: &[Values], got: &[Values]) -> Vec<(Judge, f64)> {
    let mut all: BTreeMap<&str, (Judge, f64, usize)> = BTreeMap::new();
    for (want, got) in want.iter().zip(got) {
        for (name, want) in want.iter().filter(|(_, t)| t.dtype() == Dtype::F32) {
            let Some(got) = got.get(name) else { continue };
            let classes = want.shape().last().copied().unwrap_or(0);
            let scores = want.shape().len() == 2 && (2..=1 << 16).contains(&classes);
            let (a, b) = (want.to_f32s(), got.to_f32s());
            let entry = all.entry(name).or_insert_with(|| (Judge::of(&a, classes, scores), 0.0, 0));
            entry.1 += entry.0.distance(&a, &b, classes);
            entry.2 += 1;
        }
    }
    all.into_values().map(|(judge, sum, count)| (judge, sum / count.max(1) as f64)).collect()
}

/// The power of the difference of all float outputs over that of the signal.
pub fn noise<'v>(pairs: impl Iterator<Item = (&'v Values, &'v Values)>) -> f64 {
    let (mut noise, mut signal) = (0.0, 0.0);
    for (want, got) in pairs {
        let float = |tensor: &&Tensor| tensor.dtype() == Dtype::F32;
        for (want, got) in want.iter().filter_map(|(name, w)| Some((w, got.get(name)?))).filter(|(w, _)| float(w)) {
            for (a, b) in want.to_f32s().iter().zip(got.to_f32s()) {
                noise += f64::from(a - b).powi(2);
                signal += f64::from(*a).powi(2);
            }
        }
    }
    if noise == 0.0 { 0.0 } else { noise / signal }
}

/// Widens scales under which a bias would not fit 32 bits with room for the sums, and rounds their rows anew.
fn room_for_bias(rounded: &mut Rounded, weights: &[f32], k: usize, bias: &[f32], input: f32) {
    const ROOM: f32 = (1u32 << 30) as f32;
    for (row, bias) in bias.iter().enumerate() {
        let least = bias.abs() / (input * ROOM);
        if rounded.scales[row] >= least {
            continue;
        }
        rounded.scales[row] = least;
        for (q, w) in rounded.integers[row * k..(row + 1) * k].iter_mut().zip(&weights[row * k..]) {
            *q = (w / least).round_ties_even().clamp(-127.0, 127.0) as i8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_that_is_too_large_for_its_scale_widens_it() {
        let mut rounded = Rounded { integers: vec![100, -50], scales: vec![1e-9, 1e-3], grain: Grain::Row };
        room_for_bias(&mut rounded, &[1e-7, -0.05], 1, &[5.0, 5.0], 1e-3);
        assert!(rounded.scales[0] > 1e-6 && 5.0 / (rounded.scales[0] * 1e-3) < 2e9, "{rounded:?}");
        assert_eq!((rounded.integers[0], rounded.integers[1], rounded.scales[1]), (0, -50, 1e-3));
    }
}
