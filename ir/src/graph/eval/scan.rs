//! Turns of a region, one after the other. What the region computes is the business of the others.

use super::{EvalError, Sizes, eval_sized, shape};
use crate::graph::Node;
use crate::graph::op::{Op, Rows};
use crate::tensor::Tensor;

/// Every result of a scan: what is carried, then the stacks. Fault: the region's, or a number of turns that is not known.
pub fn scan(node: &Node, operands: &[&Tensor], sizes: &Sizes) -> Result<Vec<Tensor>, EvalError> {
    let Op::Scan { trips, carried, sequences, stacks, region } = &node.op else {
        return Err(EvalError::Symbolic("it is no scan".into()));
    };
    let turns = trips.at(sizes).and_then(|n| usize::try_from(n).ok());
    let Some(turns) = turns else { return Err(EvalError::Symbolic(format!("the number of turns {trips} is not fixed"))) };
    let graph = region.graph();
    let mut state: Vec<Tensor> = operands[..*carried].iter().map(|&t| t.clone()).collect();
    let mut rows: Vec<Vec<Tensor>> = vec![Vec::new(); stacks.len()];
    let place = |order: Rows, turn: usize| if order == Rows::Forward { turn } else { turns - 1 - turn };
    for turn in 0..turns {
        let mut inputs = state.clone();
        for (&tensor, &order) in operands[*carried..].iter().zip(sequences) {
            let shape = tensor.shape();
            let (mut start, mut size) = (vec![0; shape.len()], shape.to_vec());
            (start[0], size[0]) = (place(order, turn), 1);
            inputs.push(tensor.slice(&start, &vec![1; shape.len()], &size).reshape(&shape[1..]));
        }
        inputs.extend(operands[carried + sequences.len()..].iter().map(|&t| t.clone()));
        let mut made = eval_sized(graph, &inputs, sizes.clone(), &mut |_, _| {})?.into_iter();
        state = made.by_ref().take(*carried).collect();
        rows.iter_mut().zip(made).for_each(|(stack, row)| stack.push(row));
    }
    for ((mut list, order), (_, id)) in rows.into_iter().zip(stacks).zip(&graph.outputs()[*carried..]) {
        if *order == Rows::Backward {
            list.reverse();
        }
        let ty = graph.ty(*id);
        let row: Option<Vec<usize>> = ty.shape.iter().map(|d| d.at(sizes).and_then(|n| usize::try_from(n).ok())).collect();
        let Some(row) = row else { return Err(EvalError::Symbolic(format!("a row is {ty}"))) };
        let whole: Vec<usize> = std::iter::once(turns).chain(row.iter().copied()).collect();
        let one: Vec<usize> = std::iter::once(1).chain(row).collect();
        let parts: Vec<Tensor> = list.iter().map(|t| t.reshape(&one)).collect();
        state.push(match parts.is_empty() {
            true => Tensor::dense(ty.dtype, &whole, Vec::new()),
            false => shape::concat(&parts.iter().collect::<Vec<_>>(), 0, &whole),
        });
    }
    Ok(state)
}
