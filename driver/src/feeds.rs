//! Arrays that a user brings and the inputs that a model wants: matched by name or by position, and checked before
//! anything is compiled. It knows what is wanted, not what is computed. What does not fit is what the compiled model
//! answers with status 3.

use std::collections::BTreeMap;
use std::sync::Arc;

use frontend::{Declared, DeclaredDim};
use ir::{Fault, Graph, Op, Tensor, Type};

use crate::error::{Error, Result};
use crate::npz::{Array, Arrays};

/// The status of a compiled model for inputs that do not fit.
const BAD_SIZE: i32 = 3;

/// Arrays by the input that each is for.
pub struct Feeds<'a> {
    arrays: &'a Arrays,
    by_input: BTreeMap<String, &'a Array>,
    /// How many runs the arrays are for, one after the other, by their first axes; `None`: one, without such an axis.
    runs: Option<usize>,
}

/// An array as one run sees it.
fn of_one_run(array: &Array, several: bool) -> Array {
    let mut array = array.clone();
    if several && !array.header.shape.is_empty() {
        array.header.shape.remove(0);
    }
    array
}

impl<'a> Feeds<'a> {
    /// `bound`: inputs that are constants already. Faults: arrays that no input wants (usage), and those that do not fit
    /// what the model declares (status 3).
    pub fn new(arrays: &'a Arrays, inputs: &[Declared], bound: &dyn Fn(&str) -> bool) -> Result<Feeds<'a>> {
        Feeds::matched(arrays, inputs, bound, false)
    }

    /// The same with an axis more in front of each array, of the runs that follow each other. Fault: not all say as many.
    pub fn of_runs(arrays: &'a Arrays, inputs: &[Declared], bound: &dyn Fn(&str) -> bool) -> Result<Feeds<'a>> {
        Feeds::matched(arrays, inputs, bound, true)
    }

    fn matched(arrays: &'a Arrays, inputs: &[Declared], bound: &dyn Fn(&str) -> bool, several: bool) -> Result<Feeds<'a>> {
        let free: Vec<&Declared> = inputs.iter().filter(|i| !bound(&i.name)).collect();
        let (mut by_input, mut faults) = (BTreeMap::new(), Vec::new());
        for array in &arrays.list {
            match wanted(&array.name, &free) {
                Some(input) => {
                    if by_input.insert(input.name.clone(), array).is_some() {
                        faults.push(Fault::usage(format!("input {:?} is given twice, by name and by position", input.name)));
                    }
                }
                None => {
                    let names: Vec<String> = free.iter().map(|i| format!("{:?}", i.name)).collect();
                    let help = if names.is_empty() { "it takes no inputs".into() } else { format!("it takes {}", names.join(", ")) };
                    let fault = Fault::usage(format!("the model takes no input {:?}", array.name));
                    faults.push(fault.help(format!("{help}; arr_0, arr_1, … mean position")));
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults.into());
        }
        let single: BTreeMap<String, Array> =
            by_input.iter().map(|(name, array): (&String, &&Array)| (name.clone(), of_one_run(array, several))).collect();
        let wrong: Vec<String> = misfits(&free, &single.iter().map(|(name, array)| (name.clone(), array)).collect());
        if !wrong.is_empty() {
            return Err(status(wrong));
        }
        let counts: Vec<usize> = by_input.values().map(|a| a.header.shape.first().copied().unwrap_or(0)).collect();
        if several && counts.iter().any(|&n| n == 0 || n != counts[0]) {
            let what = "with --state the first axis of every array is that of the runs that follow each other, and they differ";
            return Err(status(vec![format!("{what}: {counts:?}")]));
        }
        Ok(Feeds { arrays, by_input, runs: several.then(|| counts.first().copied().unwrap_or(1)) })
    }

    /// The shapes of all, which give open dimensions their sizes.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let shape = |array: &Array| of_one_run(array, self.runs.is_some()).header.shape;
        self.by_input.iter().map(|(name, array)| (name.clone(), shape(array))).collect()
    }

    /// An input as a constant: of one run, of a type that its declaration says.
    pub fn constant(&self, name: &str, inputs: &[Declared]) -> Result<Option<Tensor>> {
        let dtype = inputs.iter().find(|input| input.name == name).and_then(|input| input.dtype);
        match (self.by_input.get(name), dtype) {
            (Some(array), Some(dtype)) if self.runs.is_none() => self.arrays.tensor(array, dtype).map(Some),
            _ => Ok(None),
        }
    }

    /// The tensors of the one run, in the order of the graph's inputs. Faults: as [`Feeds::per_run`].
    pub fn tensors(&self, graph: &Graph) -> Result<Vec<Tensor>> {
        Ok(self.per_run(graph, &|_| true)?.pop().unwrap_or_default())
    }

    /// The tensors of each run, in the order of those inputs of the graph that are `given`. Faults: one is missing, or of another
    /// type or shape (status 3).
    pub fn per_run(&self, graph: &Graph, given: &dyn Fn(&str) -> bool) -> Result<Vec<Vec<Tensor>>> {
        let (mut tensors, mut wrong) = (Vec::new(), Vec::new());
        let sizes = self.sizes(graph);
        for &id in graph.inputs() {
            let Op::Input { name, ty } = graph.op(id) else { continue };
            if !given(name) {
                continue;
            }
            match self.by_input.get(name) {
                None => wrong.push(format!("input {name:?}: got nothing, wanted {ty}")),
                Some(array) => match of_one_run(array, self.runs.is_some()) {
                    one if !fits(&one, ty, &sizes) => wrong.push(format!("input {name:?}: got {}, wanted {ty}", one.header)),
                    _ => tensors.push(self.arrays.tensor(array, ty.dtype)?),
                },
            }
        }
        for (name, size) in &sizes {
            if let Some((low, high)) = graph.symbols.get(name).filter(|(low, high)| !(low..=high).contains(&size)) {
                wrong.push(format!("dimension {name}: got {size}, wanted {low} to {high}"));
            }
        }
        if !wrong.is_empty() {
            return Err(status(wrong));
        }
        let Some(runs) = self.runs else { return Ok(vec![tensors]) };
        Ok((0..runs).map(|run| tensors.iter().map(|t| part(t, run)).collect()).collect())
    }

    /// The sizes that open dimensions have in the arrays: where they differ, the first.
    fn sizes(&self, graph: &Graph) -> BTreeMap<Arc<str>, i64> {
        let mut sizes = BTreeMap::new();
        for &id in graph.inputs() {
            let Op::Input { name, ty } = graph.op(id) else { continue };
            let Some(array) = self.by_input.get(name) else { continue };
            let array = of_one_run(array, self.runs.is_some());
            for (dim, &size) in ty.shape.iter().zip(&array.header.shape) {
                if let Some(name) = dim.as_symbol() {
                    sizes.entry(name.into()).or_insert(size as i64);
                }
            }
        }
        sizes
    }
}

/// What a tensor has for one run.
fn part(tensor: &Tensor, run: usize) -> Tensor {
    let rest = &tensor.shape()[1..];
    let bytes = rest.iter().product::<usize>() * tensor.dtype().bytes();
    Tensor::dense(tensor.dtype(), rest, tensor.bytes()[run * bytes..(run + 1) * bytes].to_vec())
}

fn status(what: Vec<String>) -> Error {
    Error::Status { file: None, status: BAD_SIZE, what }
}

fn wanted<'d>(name: &str, inputs: &[&'d Declared]) -> Option<&'d Declared> {
    inputs.iter().find(|i| i.name == name).copied().or_else(|| {
        let position: usize = name.strip_prefix("arr_")?.parse().ok()?;
        inputs.get(position).copied()
    })
}

fn fits(array: &Array, ty: &Type, sizes: &BTreeMap<Arc<str>, i64>) -> bool {
    let have = &array.header.shape;
    let fits = |(dim, &size): (&ir::Dim, &usize)| dim.at(sizes) == Some(size as i64);
    array.header.descr.carries(ty.dtype) && ty.rank() == have.len() && ty.shape.iter().zip(have).all(fits)
}

/// What contradicts the declarations, or another array by way of a named dimension.
fn misfits(inputs: &[&Declared], arrays: &BTreeMap<String, &Array>) -> Vec<String> {
    let mut named: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for input in inputs {
        let Some(array) = arrays.get(&input.name) else { continue };
        let got = &array.header;
        let dtype = input.dtype.is_none_or(|d| got.descr.carries(d));
        let rank = input.dims.as_ref().is_none_or(|d| d.len() == got.shape.len());
        let sizes = input.dims.iter().flatten().zip(&got.shape).all(|(dim, &size)| match dim {
            DeclaredDim::Size(wanted) => *wanted == size as i64,
            DeclaredDim::Name(_) | DeclaredDim::Unknown => true,
        });
        if !(dtype && rank && sizes) {
            wrong.push(format!("input {:?}: got {got}, wanted {}", input.name, declared(input)));
            continue;
        }
        for (dim, &size) in input.dims.iter().flatten().zip(&got.shape) {
            let DeclaredDim::Name(name) = dim else { continue };
            let (first, other) = *named.entry(name).or_insert((size, &input.name));
            if first != size {
                let wanted = declared(input);
                wrong.push(format!("input {:?}: got {got}, wanted {wanted} with {name} = {first}, as input {other:?} has it", input.name));
            }
        }
    }
    wrong
}

/// `f32[1, seq, ?]`
fn declared(input: &Declared) -> String {
    let dtype = input.dtype.map_or("?", |d| d.name());
    let dims = |dims: &Vec<DeclaredDim>| format!("[{}]", dims.iter().map(DeclaredDim::to_string).collect::<Vec<_>>().join(", "));
    format!("{dtype}{}", input.dims.as_ref().map_or("[?]".into(), dims))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::Dtype;
    use std::io::Cursor;

    fn arrays(tensors: &[(&str, Tensor)]) -> Arrays {
        let named: Vec<(String, Tensor)> = tensors.iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
        let mut out = Cursor::new(Vec::new());
        crate::npz::write(&mut out, &named).expect("into memory");
        Arrays::new("in.npz".into(), out.into_inner().into()).expect("our own")
    }

    fn input(name: &str, dims: &[DeclaredDim]) -> Declared {
        Declared { name: name.into(), dtype: Some(Dtype::F32), dims: Some(dims.to_vec()) }
    }

    fn refused(tensors: &[(&str, Tensor)], inputs: &[Declared]) -> Error {
        Feeds::new(&arrays(tensors), inputs, &|_| false).err().expect("it does not fit")
    }

    #[test]
    fn arrays_are_matched_by_name_and_by_position() {
        let inputs = [input("x", &[DeclaredDim::Size(2)]), input("y", &[DeclaredDim::Name("n".into())])];
        let both = arrays(&[("arr_1", Tensor::f32s(&[3], &[1., 2., 3.])), ("x", Tensor::f32s(&[2], &[1., 2.]))]);
        let feeds = Feeds::new(&both, &inputs, &|_| false).expect("both fit");
        assert_eq!(feeds.shapes(), BTreeMap::from([("x".to_string(), vec![2]), ("y".to_string(), vec![3])]));
        // a bound input is not counted
        let one = arrays(&[("arr_0", Tensor::f32s(&[3], &[1., 2., 3.]))]);
        assert!(Feeds::new(&one, &inputs, &|name| name == "x").expect("it is y").shapes().contains_key("y"));
    }

    #[test]
    fn what_does_not_fit_is_status_3_and_says_got_and_wanted() {
        let x = Tensor::f32s(&[3], &[1., 2., 3.]);
        let error = refused(&[("x", x.clone())], &[input("x", &[DeclaredDim::Size(2)])]);
        assert_eq!(error.exit_code(), 9);
        assert!(error.to_string().starts_with("input \"x\": got f32[3], wanted f32[2] (status 3"), "{error}");
        let error = refused(&[("x", Tensor::i64s(&[2], &[1, 2]))], &[input("x", &[DeclaredDim::Unknown])]);
        assert!(error.to_string().contains("got i64[2], wanted f32[?]"), "{error}");
        let named = |name| input(name, &[DeclaredDim::Name("n".into())]);
        let error = refused(&[("x", x), ("y", Tensor::f32s(&[1], &[1.]))], &[named("x"), named("y")]);
        assert!(error.to_string().contains("with n = 3, as input \"x\" has it"), "{error}");
    }

    #[test]
    fn an_array_that_nobody_wants_is_a_mistake_of_usage() {
        let error = refused(&[("z", Tensor::f32s(&[1], &[1.]))], &[input("x", &[DeclaredDim::Unknown])]);
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("it takes \"x\""), "{error}");
    }
}
