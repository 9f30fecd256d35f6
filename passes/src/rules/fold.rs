//! What follows from constants alone is computed here, through the oracle, within a budget. Movements of
//! constants are views and cost nothing; what is one element repeated stays one element.

use crate::oracle;
use crate::rule::{Builder, Rule, near};
use ir::graph::Op;
use ir::{Dtype, Graph, NodeId, Tensor, dim};

/// Elements that a folded constant may have.
const ELEMENTS: usize = 1 << 22;
/// A fold may not make the artifact larger than its operands by more than this.
const GROWTH: usize = 1 << 20;
/// Multiplications that one fold may take.
const WORK: usize = 1 << 26;

/// The constants that a node has for operands; `None` if one is not.
fn constants(graph: &Graph, id: NodeId) -> Option<Vec<&Tensor>> {
    let operands = graph.operands(id);
    if operands.is_empty() {
        return None;
    }
    operands.into_iter().map(|o| graph.as_const(o)).collect()
}

pub const FOLD_VIEW: Rule = Rule {
    name: "fold_view",
    about: "a transpose, slice, expand or reshape of a constant is another view of it",
    root: |op| matches!(op, Op::Transpose { .. } | Op::Slice { .. } | Op::Expand { .. } | Op::Reshape { .. }),
    at: |graph, id| {
        let origin = graph.operands(id)[0];
        let tensor = graph.as_const(origin)?;
        let view = match graph.op(id) {
            Op::Transpose { perm } => tensor.permute(perm),
            Op::Slice { start, step, size } => {
                let step: Vec<isize> = step.iter().map(|&s| s as isize).collect();
                tensor.slice(&dim::fixed(start)?, &step, &dim::fixed(size)?)
            }
            Op::Expand { shape } => tensor.expand(&dim::fixed(shape)?),
            Op::Reshape { shape } => tensor.reshape(&dim::fixed(shape)?),
            _ => return None,
        };
        let mut b = Builder::new(graph, &[]);
        let value = b.constant(view, Some(origin));
        b.replace(id, value)
    },
};

pub const FOLD_SPLAT: Rule = Rule {
    name: "fold_splat",
    about: "a map over repeated elements repeats one element",
    root: |op| matches!(op, Op::Map { .. }),
    at: |graph, id| {
        let operands = constants(graph, id)?;
        if !operands.iter().all(|t| t.is_splat() && t.elements() > 0) {
            return None;
        }
        let shape = graph.ty(id).fixed()?;
        let single: Vec<Tensor> = operands
            .iter()
            .map(|t| {
                let rank = t.shape().len();
                t.slice(&vec![0; rank], &vec![1; rank], &vec![1; rank]).reshape(&[])
            })
            .collect();
        let element = oracle::evaluate(graph.op(id), &single.iter().collect::<Vec<_>>())?;
        let mut b = Builder::new(graph, &[]);
        let value = b.constant(Tensor::splat(element.dtype(), &shape, &element.bytes()), None);
        b.replace(id, value)
    },
};

pub const FOLD_CONSTANT: Rule = Rule {
    name: "fold_constant",
    about: "an operator over constants is computed now, where that is cheap",
    // dequantized weights stay as they are until the pass `quantization` has seen them
    root: |op| !matches!(op, Op::Input { .. } | Op::Const { .. } | Op::Dequantize { .. }),
    at: |graph, id| {
        let operands = constants(graph, id)?;
        let Some(elements) = graph.ty(id).elements() else { return near("the result has a symbolic size") };
        let bytes = elements * graph.ty(id).dtype.bytes();
        let kept: usize = operands.iter().map(|t| t.source_bytes()).sum();
        if elements > ELEMENTS || bytes > kept + GROWTH {
            return near(format!("the constant would take {bytes} bytes"));
        }
        if work(graph.op(id), &operands, elements) > WORK {
            return near("computing it takes too long");
        }
        let folded = oracle::evaluate(graph.op(id), &operands)?;
        let origin = graph.operands(id).into_iter().find(|&o| !graph.node(o).names.is_empty());
        let mut b = Builder::new(graph, &[]);
        let value = b.constant(compact(folded), origin);
        b.replace(id, value)
    },
};

/// One element repeated where all elements are alike.
fn compact(tensor: Tensor) -> Tensor {
    if tensor.elements() < 2 || tensor.dtype() == Dtype::Bool && tensor.elements() < 16 {
        return tensor;
    }
    let bytes = tensor.bytes();
    let width = tensor.dtype().bytes();
    let alike = bytes.chunks_exact(width).all(|e| e == &bytes[..width]);
    if alike { Tensor::splat(tensor.dtype(), tensor.shape(), &bytes[..width]) } else { tensor }
}

/// Roughly how many scalar operations computing a node takes.
fn work(op: &Op, operands: &[&Tensor], elements: usize) -> usize {
    let each = match op {
        Op::Dot { trans_a, .. } => {
            let shape = operands[0].shape();
            shape[shape.len() - if *trans_a { 2 } else { 1 }]
        }
        Op::Conv { .. } => {
            let shape = operands[1].shape();
            shape[..shape.len() - 1].iter().product()
        }
        Op::Window { size, .. } => size.iter().product(),
        Op::Map { body } => body.terms.len().max(1),
        Op::Reduce { .. } | Op::ArgReduce { .. } => operands[0].elements() / elements.max(1) + 1,
        Op::Resize { .. } | Op::Sort { .. } => 64,
        Op::Suppress { .. } => operands[1].elements(),
        Op::Compact { .. } => 1,
        Op::Attention { .. } => {
            let keys = operands[1].shape();
            keys[keys.len() - 2].saturating_mul(2)
        }
        Op::Input { .. }
        | Op::Const { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::Expand { .. }
        | Op::Gather { .. }
        | Op::Cumulate { .. }
        | Op::Scatter { .. }
        | Op::Quantize { .. }
        | Op::Dequantize { .. }
        | Op::Scan { .. }
        | Op::Take { .. }
        | Op::Softmax { .. }
        | Op::Norm { .. } => 4,
    };
    each.saturating_mul(elements)
}
