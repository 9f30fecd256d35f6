//! Runs a model on samples and looks at the values inside: the model is compiled for this machine with those values as outputs, and runs
//! as a child. It knows samples and values by name, not what they are looked at for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;

use frontend::{Declared, DeclaredDim, Extent};
use ir::{Dtype, Fault, Op, Tensor};

use crate::compile::{Model, Options, Watch};
use crate::error::{Error, Result};
use crate::execute::Runner;
use crate::machine::{self, Machine};
use crate::npz::{Array, Arrays};
use crate::target;

/// Inputs of a model, many times.
pub struct Samples {
    /// For each input of the model: its name, all samples after each other, and the shape of one.
    inputs: Vec<(String, Tensor, Vec<usize>)>,
    count: usize,
}

impl Samples {
    /// Opens a file of arrays by the names of the inputs (`arr_0`, `arr_1`, … mean position). An array has an axis more than its input,
    /// which counts samples, or its first axis holds samples one after the other. Faults: arrays that are missing, that no input wants, or
    /// of another type or shape, all at once; different numbers of samples.
    pub fn open(path: &Path, inputs: &[Declared], dims: &BTreeMap<String, Extent>) -> Result<Samples> {
        let arrays = Arrays::open(path)?;
        let mut faults: Vec<Fault> = Vec::new();
        let wants = |array: &Array, position: usize, input: &Declared| {
            array.name == input.name || array.name.strip_prefix("arr_").and_then(|n| n.parse().ok()) == Some(position)
        };
        for array in &arrays.list {
            if !inputs.iter().enumerate().any(|(i, input)| wants(array, i, input)) {
                let names: Vec<String> = inputs.iter().map(|i| format!("{:?}", i.name)).collect();
                faults.push(
                    Fault::usage(format!("the model takes no input {:?}", array.name)).help(format!("it takes {}", names.join(", "))),
                );
            }
        }
        let mut samples = Samples { inputs: Vec::new(), count: 0 };
        let mut counts: Vec<(usize, String)> = Vec::new();
        for (position, input) in inputs.iter().enumerate() {
            let wanted = wanted(input);
            let Some(array) = arrays.list.iter().find(|array| wants(array, position, input)) else {
                faults.push(Fault::usage(format!("calibration has no array for input {:?}, wanted {wanted}", input.name)));
                continue;
            };
            let dtype = input.dtype.or(array.header.descr.dtype()).unwrap_or(Dtype::F32);
            match split(&array.header.shape, input, dims).filter(|_| array.header.descr.carries(dtype)) {
                Some((count, shape)) => {
                    counts.push((count, input.name.clone()));
                    samples.inputs.push((input.name.clone(), arrays.tensor(array, dtype)?, shape));
                }
                None => faults.push(Fault::usage(format!("calibration for input {:?}: got {}, wanted {wanted}", input.name, array.header))),
            }
        }
        if let [(first, one), rest @ ..] = &counts[..]
            && let Some((other, two)) = rest.iter().find(|(n, _)| n != first)
        {
            faults.push(Fault::usage(format!("calibration has {first} samples for input {one:?} and {other} for {two:?}")));
        }
        samples.count = counts.first().map_or(0, |(n, _)| *n);
        if faults.is_empty() && samples.count == 0 {
            faults.push(Fault::usage("calibration holds no samples"));
        }
        if faults.is_empty() { Ok(samples) } else { Err(Error::from(faults).of_file(path.display())) }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// The shapes of one sample, by input.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.inputs.iter().map(|(name, _, shape)| (name.clone(), shape.clone())).collect()
    }

    /// One sample, by input.
    fn sample(&self, index: usize) -> Vec<(&str, Tensor)> {
        let part = |all: &Tensor, shape: &[usize]| {
            let bytes = shape.iter().product::<usize>() * all.dtype().bytes();
            Tensor::dense(all.dtype(), shape, all.bytes()[index * bytes..(index + 1) * bytes].to_vec())
        };
        self.inputs.iter().map(|(name, all, shape)| (name.as_str(), part(all, shape))).collect()
    }
}

/// `f32[samples, 1, 8, 8]`
fn wanted(input: &Declared) -> String {
    let dtype = input.dtype.map_or("?", |d| d.name());
    let dims = input.dims.as_ref().map(|d| d.iter().map(DeclaredDim::to_string).collect::<Vec<_>>());
    dims.map_or(format!("{dtype}[samples, ...]"), |d| format!("{dtype}[samples, {}]", d.join(", ")))
}

/// How many samples an array holds, and the shape of one; nothing where it does not fit the input.
fn split(array: &[usize], input: &Declared, dims: &BTreeMap<String, Extent>) -> Option<(usize, Vec<usize>)> {
    let fixed = |dim: &DeclaredDim| match dim {
        DeclaredDim::Size(size) => usize::try_from(*size).ok(),
        DeclaredDim::Name(name) => match dims.get(name) {
            Some(Extent::Fixed(size)) => usize::try_from(*size).ok(),
            Some(Extent::Range(..)) | None => None,
        },
        DeclaredDim::Unknown => None,
    };
    let Some(declared) = &input.dims else { return Some((*array.first()?, array.get(1..)?.to_vec())) };
    let (count, shape) = if array.len() == declared.len() + 1 {
        (array[0], array[1..].to_vec())
    } else if array.len() == declared.len() && !array.is_empty() {
        let each = fixed(&declared[0]).unwrap_or(1).max(1);
        if !array[0].is_multiple_of(each) {
            return None;
        }
        let mut shape = array.to_vec();
        shape[0] = each;
        (array[0] / each, shape)
    } else {
        return None;
    };
    let fits = declared.iter().zip(&shape).all(|(dim, size)| fixed(dim).is_none_or(|f| f == *size));
    fits.then_some((count, shape))
}

/// Values of one run, by name.
pub type Values = BTreeMap<String, Tensor>;

/// A model that is compiled with some of its values as outputs.
pub struct Probe {
    machine: Machine,
    /// The inputs in the order of the compiled graph.
    order: Vec<String>,
}

impl Probe {
    /// Compiles `draft` with `values` as outputs, or with its own where there are none, for samples of these shapes.
    pub fn new(draft: &frontend::edit::Draft, values: &[String], samples: &Samples, options: &Options, watch: &dyn Watch) -> Result<Probe> {
        let inputs = draft.inputs();
        let taps: Vec<String> = values.iter().filter(|name| !inputs.contains(name)).cloned().collect();
        let taps = if taps.is_empty() { draft.outputs() } else { taps };
        let model = Model::of(draft.tapped(&taps), "the calibrated model");
        let mut setup = Options::new(target::host()?, vec![target::host()?.native()?], "model");
        setup.dims = options.dims.clone();
        setup.bind = options.bind.clone();
        setup.shapes = samples.shapes();
        let import = model.import(&setup)?;
        let name = |id: &ir::NodeId| match import.graph.op(*id) {
            Op::Input { name, .. } => Some(name.clone()),
            _ => None,
        };
        let order = import.graph.inputs().iter().filter_map(name).collect();
        let built = machine::build(import.graph, &setup, None, watch)?;
        Ok(Probe { machine: Machine::new(&built, &Runner::default())?, order })
    }

    /// The values for one sample, its inputs among them.
    pub fn run(&self, samples: &Samples, index: usize) -> Result<Values> {
        let mut sample: Values = samples.sample(index).into_iter().map(|(name, tensor)| (name.to_string(), tensor)).collect();
        let inputs: Vec<Tensor> = self.order.iter().filter_map(|name| sample.get(name).cloned()).collect();
        sample.extend(self.machine.run(&inputs)?);
        Ok(sample)
    }

    /// Runs the samples in their order and shows the values of each to `see`; the next one runs meanwhile.
    pub fn each(&self, samples: &Samples, count: usize, watch: &dyn Watch, mut see: impl FnMut(usize, Values) -> Result<()>) -> Result<()> {
        std::thread::scope(|scope| {
            let (send, receive) = mpsc::sync_channel::<Result<Values>>(1);
            scope.spawn(move || {
                for index in 0..count.min(samples.count()) {
                    let values = self.run(samples, index);
                    let failed = values.is_err();
                    // one that hears no more has failed
                    if send.send(values).is_err() || failed {
                        return;
                    }
                }
            });
            for (index, values) in receive.into_iter().enumerate() {
                see(index, values?)?;
                watch.step();
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(dims: &[DeclaredDim]) -> Declared {
        Declared { name: "x".into(), dtype: Some(Dtype::F32), dims: Some(dims.to_vec()) }
    }

    #[test]
    fn samples_are_an_axis_of_their_own_or_the_first_one() {
        let none = BTreeMap::new();
        let image = input(&[DeclaredDim::Size(1), DeclaredDim::Size(8)]);
        assert_eq!(split(&[256, 8], &image, &none), Some((256, vec![1, 8])));
        assert_eq!(split(&[256, 1, 8], &image, &none), Some((256, vec![1, 8])));
        assert_eq!(split(&[256, 9], &image, &none), None);
        assert_eq!(split(&[8], &image, &none), None);
        let batch = input(&[DeclaredDim::Name("n".into()), DeclaredDim::Size(8)]);
        assert_eq!(split(&[256, 8], &batch, &none), Some((256, vec![1, 8])));
        let four = BTreeMap::from([("n".to_string(), Extent::Fixed(4))]);
        assert_eq!(split(&[256, 8], &batch, &four), Some((64, vec![4, 8])));
        assert_eq!(split(&[255, 8], &batch, &four), None);
        assert_eq!(split(&[3], &input(&[]), &none), Some((3, vec![])));
    }
}
