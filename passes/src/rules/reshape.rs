//! Reshapes step aside where they part what could be one kernel, and one-dimensional convolutions become
//! two-dimensional ones of height 1, so that there is one kind.

use crate::layout::{is_one, one, padded, reshaped_broadcast, used_only_by};
use crate::rule::{Builder, Rule, Val, near};
use ir::{Graph, NodeId, Op};

/// How much a map gains from standing right behind this node.
fn pull(graph: &Graph, id: NodeId, reshape: NodeId) -> u8 {
    let op = graph.op(id);
    if !used_only_by(graph, id, reshape) {
        return 0;
    }
    match op {
        Op::Dot { .. } | Op::Conv { .. } | Op::Norm { .. } | Op::Window { .. } | Op::Reduce { .. } => 3,
        Op::Transpose { .. } => 2,
        Op::Map { .. } | Op::Softmax { .. } => 1,
        Op::Input { .. }
        | Op::Const { .. }
        | Op::Reshape { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::Expand { .. }
        | Op::Gather { .. }
        | Op::ArgReduce { .. }
        | Op::Cumulate { .. }
        | Op::Sort { .. }
        | Op::Scatter { .. }
        | Op::Compact { .. }
        | Op::Suppress { .. }
        | Op::Quantize { .. }
        | Op::Dequantize { .. }
        | Op::Scan { .. }
        | Op::Take { .. }
        | Op::Attention { .. }
        | Op::Resize { .. } => 0,
    }
}

pub const SINK_RESHAPE: Rule = Rule {
    name: "sink_reshape",
    about: "a map behind a reshape goes before it, where it can join what is there; needs the reshape unshared",
    root: |op| matches!(op, Op::Map { .. }),
    at: |graph, id| {
        let operands = graph.operands(id);
        let to = &graph.ty(id).shape;
        let below = |o: NodeId| match graph.op(o) {
            Op::Reshape { .. } if graph.ty(o).shape == *to => Some(graph.operands(o)[0]),
            _ => None,
        };
        let score = |o: NodeId| below(o).map_or(0, |b| pull(graph, b, o));
        let best = operands.iter().copied().filter(|&o| score(o) > 0).max_by_key(|&o| score(o))?;
        let source = below(best)?;
        let from = &graph.ty(source).shape;
        if !used_only_by(graph, best, id) {
            return near("the reshape has other users");
        }
        let mut b = Builder::new(graph, &[id]);
        let mut values = Vec::with_capacity(operands.len());
        for &o in &operands {
            let shape = &graph.ty(o).shape;
            let Some(shape) = reshaped_broadcast(shape, to, from) else { return near("an operand is broadcast across the reshape") };
            let full = graph.ty(o).shape == *to;
            let joins = below(o).is_some_and(|source| graph.ty(source).shape == *from);
            if full && !joins && graph.as_const(o).is_none() && score(o).max(pull(graph, o, id)) >= score(best) {
                return near("another operand would be parted instead");
            }
            // a reshape to nothing but ones is no scalar to leave alone: the rule would meet it again, for ever
            let small = below(o).is_none() && shape.iter().all(is_one) && graph.ty(o).rank() <= from.len();
            values.push(if small { Val::Old(o) } else { b.reshape(Val::Old(o), &shape)? });
        }
        let value = b.add(graph.op(id).clone(), &values)?;
        let value = b.from(&[best]).reshape(value, to)?;
        b.replace(id, value)
    },
};

pub const CONV_1D: Rule = Rule {
    name: "conv_1d",
    about: "a convolution or window along one axis is one of height 1 along two",
    root: |op| matches!(op, Op::Conv { .. } | Op::Window { .. }),
    at: |graph, id| {
        let mut op = graph.op(id).clone();
        let operands = graph.operands(id);
        if graph.ty(operands[0]).rank() != 3 {
            return None;
        }
        match &mut op {
            Op::Conv { stride, dilation, inflate, low, high, .. } => {
                [stride, dilation, inflate].into_iter().for_each(|v| v.insert(0, 1));
                [low, high].into_iter().for_each(|v| v.insert(0, 0));
            }
            Op::Window { size, stride, dilation, low, high, .. } => {
                [size, stride, dilation].into_iter().for_each(|v| v.insert(0, 1));
                [low, high].into_iter().for_each(|v| v.insert(0, 0));
            }
            _ => return None,
        }
        let own = op.own_operands();
        let ty = graph.ty(id);
        let mut b = Builder::new(graph, &[id]);
        let mut values = Vec::with_capacity(operands.len());
        for (slot, &o) in operands.iter().enumerate() {
            let mut shape = padded(&graph.ty(o).shape, 3);
            // the new axis stands before the spatial one: second in the data, first in the kernel
            shape.insert(if slot == 1 && own == 2 { 0 } else { 1 }, one());
            let short = slot >= own && graph.ty(o).rank() < 2;
            values.push(if short { Val::Old(o) } else { b.reshape(Val::Old(o), &shape)? });
        }
        let value = b.add(op, &values)?;
        let value = b.reshape(value, &ty.shape)?;
        b.replace(id, value)
    },
};
