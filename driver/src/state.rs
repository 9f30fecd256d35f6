//! Outputs that the next run finds as inputs: which they are, and what several runs one after the other are by the reference
//! interpreter. Where state lies, it does not know.

use ir::graph::eval::{self, EvalError};
use ir::{Fault, Graph, Op, Tensor};
use kernels::Kept;

use crate::error::{Error, Result};

/// The pairs by position. Faults: a name that the model does not have, one in two pairs, and two types.
pub fn kept(graph: &Graph, pairs: &[(String, String)]) -> Result<Vec<Kept>> {
    let input = |name: &str| graph.inputs().iter().position(|&id| matches!(graph.op(id), Op::Input { name: own, .. } if own == name));
    let output = |name: &str| graph.outputs().iter().position(|(own, _)| own == name);
    let mut all: Vec<Kept> = Vec::new();
    let mut faults = Vec::new();
    for (from, to) in pairs {
        let (Some(output), Some(input)) = (output(from), input(to)) else {
            let (role, name) = if output(from).is_none() { ("output", from) } else { ("input", to) };
            faults.push(Fault::usage(format!("--state {from}:{to}: the model has no {role} {name:?}")));
            continue;
        };
        let types = [graph.ty(graph.outputs()[output].1), graph.ty(graph.inputs()[input])];
        if types[0] != types[1] {
            let what = format!("--state {from}:{to}: the output is {}, the input {}", types[0], types[1]);
            faults.push(Fault::usage(what).help("state has one type from run to run"));
        }
        if all.iter().any(|k| k.output == output || k.input == input) {
            faults.push(Fault::usage(format!("--state {from}:{to}: one of the two is in another pair")));
        }
        all.push(Kept { output, input });
    }
    if faults.is_empty() { Ok(all) } else { Err(Error::from(faults)) }
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

/// What runs give that follow each other, the first from zeros: for each the outputs that are no state.
pub fn reference(graph: &Graph, kept: &[Kept], runs: &[Vec<Tensor>]) -> std::result::Result<Vec<Vec<Tensor>>, EvalError> {
    let zeros = |k: &Kept| {
        let ty = graph.ty(graph.inputs()[k.input]);
        let shape = ty.fixed().unwrap_or_default();
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
