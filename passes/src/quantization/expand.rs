//! `quantize` and `dequantize` become the maps that they are, for whoever comes after: the last word on what was not
//! folded. Scales and zero points are lined up with the operand; blocks become an axis of their own.
//!
//! Constant weights of matrix products stay behind their `dequantize`, since kernels read them packed.

use crate::layout::one;
use crate::run::Fuel;
use ir::graph::Names;
use ir::{Dim, Dtype, Graph, NodeId, Op, quant};

/// Expands every one of them but for weights; fuel does not hold it up, since no other pass knows these operators.
pub fn expand(graph: &mut Graph, _: &mut Fuel) -> usize {
    let mut count = 0;
    for id in graph.order() {
        let (axis, block) = match *graph.op(id) {
            Op::Quantize { axis, block } | Op::Dequantize { axis, block } => (axis, block),
            _ => continue,
        };
        if stays(graph, id) {
            continue;
        }
        let new = one_of(graph, id, axis, block).expect("a verified operator is a map over lined up operands");
        graph.replace(id, new);
        graph.remove_unused(id);
        count += 1;
    }
    count
}

/// Whether `id` is a constant matrix of at most 8 bits and the second factor of products of f32, and nothing else.
pub fn stays(graph: &Graph, id: NodeId) -> bool {
    let Op::Dequantize { axis, block } = *graph.op(id) else { return false };
    let operands = graph.operands(id);
    let [x, scale] = [operands[0], operands[1]].map(|o| graph.ty(o));
    let plain = x.rank() == 2 && x.dtype.bits() <= 8 && scale.dtype == Dtype::F32;
    let known = operands.iter().all(|&o| graph.as_const(o).is_some());
    plain && known && !graph.is_output(id) && graph.use_count(id) > 0 && multiplied(graph, id, &|along| lies(graph, id, along, axis, block))
}

/// Whether every user of the matrix `id` is a dot that has it on the right, with its K along an axis that `fits`.
fn multiplied(graph: &Graph, id: NodeId, fits: &dyn Fn(usize) -> bool) -> bool {
    graph.uses(id).iter().all(|&(user, slot)| match graph.op(user) {
        Op::Dot { trans_b, .. } => slot == 1 && graph.ty(graph.operands(user)[0]).dtype == Dtype::F32 && fits(usize::from(*trans_b)),
        Op::Transpose { perm } => perm[..] == [1, 0] && !graph.is_output(user) && multiplied(graph, user, &|along| fits(1 - along)),
        _ => false,
    })
}

/// Whether blocks lie along K, which is axis `along`, and are whole words of 32 bits.
fn lies(graph: &Graph, id: NodeId, along: usize, axis: usize, block: usize) -> bool {
    let operands = graph.operands(id);
    let ty = graph.ty(operands[0]);
    let single = graph.ty(operands[1]).rank() == 0;
    match block {
        _ if single => true,
        0 => axis != along,
        _ => {
            axis == along
                && (block.is_multiple_of(32 / ty.dtype.bits() as usize) || ty.shape[axis].fixed().is_some_and(|k| k <= block as i64))
        }
    }
}

fn one_of(graph: &mut Graph, id: NodeId, axis: usize, block: usize) -> Option<NodeId> {
    let names = graph.node(id).names.clone();
    let [x, scale, zero] = graph.operands(id)[..] else { return None };
    let (dtype, scale_type, zero_type) = (graph.ty(x).dtype, graph.ty(scale).dtype, graph.ty(zero).dtype);
    let known = graph.as_const(zero).and_then(|t| {
        let numbers = t.to_i64s();
        let first = *numbers.first()?;
        numbers.iter().all(|&z| z == first).then_some(first)
    });
    let body = match graph.op(id) {
        Op::Quantize { .. } => quant::quantize_body(dtype, scale_type, zero_type, known),
        _ => quant::dequantize_body(dtype, scale_type, known),
    };
    let shape = graph.ty(x).shape.clone();
    let extent = shape.get(axis).and_then(Dim::fixed);
    let lists = if known.is_some() { vec![scale] } else { vec![scale, zero] };
    let lined = |graph: &mut Graph, to: &[Dim], list: NodeId| reshape(graph, list, to, &names);
    if block == 0 || graph.ty(scale).rank() == 0 {
        let mut operands = vec![x];
        for list in lists {
            let column = if graph.ty(list).rank() == 0 {
                Vec::new()
            } else {
                std::iter::once(shape[axis].clone()).chain(std::iter::repeat_n(one(), shape.len() - axis - 1)).collect()
            };
            operands.push(lined(graph, &column, list)?);
        }
        return graph.add(Op::Map { body }, &operands, &names).ok();
    }
    let extent = extent?;
    if extent % block as i64 == 0 {
        let split = |n: [Dim; 2]| [&shape[..axis], &n[..], &shape[axis + 1..]].concat();
        let blocks = Dim::from(extent / block as i64);
        let mut operands = vec![lined(graph, &split([blocks.clone(), Dim::from(block)]), x)?];
        for list in lists {
            operands.push(lined(graph, &split([blocks.clone(), one()]), list)?);
        }
        let made = graph.add(Op::Map { body }, &operands, &names).ok()?;
        return reshape(graph, made, &shape, &names);
    }
    // the last block is not whole: each scale once for every element of its block, and no further than there are elements
    let blocks = Dim::from((extent + block as i64 - 1) / block as i64);
    let split = |n: &[Dim]| [&shape[..axis], n, &shape[axis + 1..]].concat();
    let mut operands = vec![x];
    for list in lists {
        let apart = lined(graph, &split(&[blocks.clone(), one()]), list)?;
        let each = graph.add(Op::Expand { shape: split(&[blocks.clone(), Dim::from(block)]) }, &[apart], &names).ok()?;
        let all = lined(graph, &split(&[blocks.clone() * Dim::from(block)]), each)?;
        let (start, step) = (vec![Dim::from(0i64); shape.len()], vec![1; shape.len()]);
        operands.push(graph.add(Op::Slice { start, step, size: shape.clone() }, &[all], &names).ok()?);
    }
    graph.add(Op::Map { body }, &operands, &names).ok()
}

fn reshape(graph: &mut Graph, x: NodeId, shape: &[Dim], names: &Names) -> Option<NodeId> {
    if graph.ty(x).shape == shape {
        return Some(x);
    }
    if let (Some(tensor), Some(sizes)) = (graph.as_const(x), ir::dim::fixed(shape)) {
        let view = tensor.reshape(&sizes);
        let names = graph.node(x).names.clone();
        return Some(graph.constant(view, &names));
    }
    graph.add(Op::Reshape { shape: shape.to_vec() }, &[x], names).ok()
}
