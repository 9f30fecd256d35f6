//! Outputs that the next run finds as inputs: which they are, and what several runs one after the other are by the reference
//! interpreter. Where state lies, it does not know.

use std::collections::BTreeMap;
use std::sync::Arc;

use ir::graph::eval::{self, EvalError};
use ir::{Dim, Fault, Graph, Op, Tensor, Type};
use kernels::Kept;

use crate::error::{Error, Result};

/// The pairs by position. Faults: a name that the model does not have, one in two pairs, and two types.
pub fn kept(graph: &Graph, pairs: &[(String, String)]) -> Result<Vec<Kept>> {
    let input = |name: &str| graph.inputs().iter().position(|&id| matches!(graph.op(id), Op::Input { name: own, .. } if own == name));
    let output = |name: &str| graph.outputs().iter().position(|(own, _)| own == name);
    let mut all: Vec<Kept> = Vec::new();
    let mut faults = Vec::new();
    let mut known = BTreeMap::new();
    for (from, to) in pairs {
        let (Some(output), Some(input)) = (output(from), input(to)) else {
            let (role, name) = if output(from).is_none() { ("output", from) } else { ("input", to) };
            faults.push(Fault::usage(format!("--state {from}:{to}: the model has no {role} {name:?}")));
            continue;
        };
        let types = [graph.ty(graph.outputs()[output].1), graph.ty(graph.inputs()[input])];
        if !alike(types[0], types[1]) {
            let what = format!("--state {from}:{to}: the output is {}, the input {}", types[0], types[1]);
            let help = "state has one type from run to run, but for axes where the input has a dimension of its own: --dim NAME=0..N";
            faults.push(Fault::usage(what).help(help));
        }
        faults.extend(lengths(types[0], types[1], &mut known).into_iter().map(|what| Fault::usage(format!("--state {from}:{to}: {what}"))));
        let first = |name: &str| graph.symbols.get(name).is_some_and(|range| range.0 == 0);
        for name in known.keys().filter(|name| !first(name)) {
            let what = format!("--state {from}:{to}: before the first run {name} is 0, which is not in its range");
            faults.push(Fault::usage(what).help(format!("give it a range from 0 on: --dim {name}=0..N")));
        }
        if all.iter().any(|k| k.output == output || k.input == input) {
            faults.push(Fault::usage(format!("--state {from}:{to}: one of the two is in another pair")));
        }
        all.push(Kept { output, input });
    }
    if faults.is_empty() { Ok(all) } else { Err(Error::from(faults)) }
}

/// Whether an input may be what an output was: dimensions are the same, or the input's is a symbol.
fn alike(output: &Type, input: &Type) -> bool {
    let alike = |(out, into): (&Dim, &Dim)| out == into || into.as_symbol().is_some();
    output.dtype == input.dtype && output.rank() == input.rank() && output.shape.iter().zip(&input.shape).all(alike)
}

/// Notes what symbols of the input will be in the next run. Faults: two pairs that do not agree about one.
fn lengths(output: &Type, input: &Type, known: &mut BTreeMap<String, Dim>) -> Vec<String> {
    let mut faults = Vec::new();
    for (out, into) in output.shape.iter().zip(&input.shape).filter(|(out, into)| out != into) {
        let Some(name) = into.as_symbol() else { continue };
        let first = known.entry(name.into()).or_insert_with(|| out.clone());
        if first != out {
            faults.push(format!("the next run's {name} is {out} here, and {first} in another pair"));
        }
    }
    faults
}

/// The inputs of the graph for one run: `given` are those that are no state.
fn joined(graph: &Graph, kept: &[Kept], given: &[Tensor], state: &[Tensor]) -> Vec<Tensor> {
    let mut given = given.iter();
    let one = |i: usize| match kept.iter().position(|k| k.input == i) {
        Some(at) => Some(state[at].clone()),
        None => given.next().cloned(),
    };
    (0..graph.inputs().len()).map_while(one).collect()
}

/// What runs give that follow each other, the first from zeros, as many as the first run's inputs say, or none along what grows:
/// for each the outputs that are no state.
pub fn reference(graph: &Graph, kept: &[Kept], runs: &[Vec<Tensor>]) -> std::result::Result<Vec<Vec<Tensor>>, EvalError> {
    let mut sizes: BTreeMap<Arc<str>, i64> = graph.symbols.keys().map(|name| (name.clone(), 0)).collect();
    let given = (0..graph.inputs().len()).filter(|i| kept.iter().all(|k| k.input != *i));
    for (i, tensor) in given.zip(runs.first().into_iter().flatten()) {
        let shape = &graph.ty(graph.inputs()[i]).shape;
        let alone = shape.iter().zip(tensor.shape()).filter_map(|(dim, &size)| Some((dim.as_symbol()?.into(), size as i64)));
        sizes.extend(alone);
    }
    let zeros = |k: &Kept| {
        let ty = graph.ty(graph.inputs()[k.input]);
        let size = |dim: &Dim| dim.at(&sizes).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let shape: Vec<usize> = ty.shape.iter().map(size).collect();
        Tensor::splat(ty.dtype, &shape, &vec![0; ty.dtype.bytes()])
    };
    let mut state: Vec<Tensor> = kept.iter().map(zeros).collect();
    let mut all = Vec::with_capacity(runs.len());
    for given in runs {
        let made = eval::eval(graph, &joined(graph, kept, given, &state))?;
        state = kept.iter().map(|k| made[k.output].clone()).collect();
        all.push(made.into_iter().enumerate().filter(|(i, _)| kept.iter().all(|k| k.output != *i)).map(|(_, t)| t).collect());
    }
    Ok(all)
}

/// Tensors of several runs as one, with an axis more.
pub fn stacked(runs: Vec<Vec<(String, Tensor)>>) -> Vec<(String, Tensor)> {
    let count = runs.len();
    let mut all: Vec<(String, Tensor, Vec<u8>)> = Vec::new();
    for (i, run) in runs.into_iter().enumerate() {
        for (at, (name, tensor)) in run.into_iter().enumerate() {
            if i == 0 {
                all.push((name, tensor.clone(), Vec::new()));
            }
            all[at].2.extend_from_slice(&tensor.bytes());
        }
    }
    let whole = |(name, first, bytes): (String, Tensor, Vec<u8>)| {
        let shape = [&[count], first.shape()].concat();
        (name, Tensor::dense(first.dtype(), &shape, bytes))
    };
    all.into_iter().map(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> Graph {
        let text =
            "graph { %x: f32[2] = input \"x\" %h: f32[2] = input \"h\" %s = map %x, %h do { add(a, b) } %y = map %s do { mul(a, 2.0) }
            return %y \"y\", %s \"h1\" }";
        ir::graph::text::parse(text, &|_| None).expect("the graph is right")
    }

    #[test]
    fn pairs_are_found_by_name_and_have_one_type() {
        let pair = |a: &str, b: &str| vec![(a.to_string(), b.to_string())];
        assert_eq!(kept(&graph(), &pair("h1", "h")).expect("it is there"), [Kept { output: 1, input: 1 }]);
        let wrong = |pairs: Vec<(String, String)>| kept(&graph(), &pairs).expect_err("it is wrong").to_string();
        assert!(wrong(pair("h2", "h")).contains("no output \"h2\""));
        assert!(wrong(pair("h1", "g")).contains("no input \"g\""));
        assert!(wrong([pair("h1", "h"), pair("y", "h")].concat()).contains("in another pair"));
    }

    #[test]
    fn what_grows_begins_empty_and_agrees() {
        let graph = |dim: &str, last: &str| {
            let text = format!(
                "graph {{ symbol past in {dim} %x: f32[1,2] = input \"x\" %k: f32[past,2] = input \"k\" %v: f32[past,2] = input \"v\"
                %k1 = concat %k, %x {{axis=0}} %v1 = {last} {{axis=0}} return %k1 \"k1\", %v1 \"v1\" }}"
            );
            ir::graph::text::parse(&text, &|_| None).expect("the graph is right")
        };
        let pairs: Vec<(String, String)> = [("k1", "k"), ("v1", "v")].map(|(a, b)| (a.into(), b.into())).to_vec();
        let good = graph("0..3", "concat %v, %x");
        let kept = kept(&good, &pairs).expect("they agree");
        let x = |v: f32| vec![Tensor::f32s(&[1, 2], &[v, -v])];
        assert!(reference(&good, &kept, &[x(1.0), x(2.0), x(3.0), x(4.0)]).is_ok());
        assert!(reference(&good, &kept, &vec![x(1.0); 5]).is_err(), "the fifth run's past is beyond its range");
        let wrong = |graph: &Graph| super::kept(graph, &pairs).expect_err("it is wrong").to_string();
        assert!(wrong(&graph("1..3", "concat %v, %x")).contains("before the first run past is 0"));
        assert!(wrong(&graph("0..3", "concat %v, %x, %x")).contains("in another pair"));
    }

    #[test]
    fn runs_follow_each_other() {
        let kept = [Kept { output: 1, input: 1 }];
        let x = |v: f32| vec![Tensor::f32s(&[2], &[v, 2.0 * v])];
        let runs = reference(&graph(), &kept, &[x(1.0), x(10.0)]).expect("it runs");
        assert_eq!(runs.iter().map(|r| r[0].to_f32s()).collect::<Vec<_>>(), [[2.0, 4.0], [22.0, 44.0]]);
        let named = runs.into_iter().map(|r| r.into_iter().map(|t| ("y".to_string(), t)).collect()).collect();
        let whole = stacked(named);
        assert_eq!((whole[0].1.shape(), whole[0].1.to_f32s()), (&[2usize, 2][..], vec![2.0, 4.0, 22.0, 44.0]));
    }
}
