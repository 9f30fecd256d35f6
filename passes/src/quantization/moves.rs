//! Operators that move numbers, or pick some, without computing: they do to quantized numbers what they do to floats.

use super::Folder;
use super::value::{Affine, Share, Sum, Value};
use ir::graph::op::{PadMode, ReduceKind, ResizeMode, WindowKind};
use ir::scalar::Literal;
use ir::{Dim, Dtype, NodeId, Op, dim};

impl Folder<'_> {
    /// The value of a node that moves its first operand.
    pub fn moved(&mut self, id: NodeId) -> Option<Value> {
        let operands = self.graph.operands(id);
        let op = self.graph.op(id).clone();
        if let Op::Concat { axis } = op {
            return self.concat(&operands, axis);
        }
        match self.values.get(&operands[0])?.clone() {
            Value::Affine(affine) => self.moved_affine(id, &op, &affine, &operands[1..]).map(Value::Affine),
            Value::Sum(sum) => self.moved_sum(id, &op, sum).map(Value::Sum),
            Value::Chain(_) | Value::Pair(_) | Value::Parts { .. } => None,
        }
    }

    fn moved_affine(&mut self, id: NodeId, op: &Op, affine: &Affine, rest: &[NodeId]) -> Option<Affine> {
        let dtype = self.dtype(affine.raw);
        // constants are weights more often than not, and keep their type
        let is_const = self.graph.as_const(affine.raw).is_some();
        let from = if is_const { affine.clone() } else { self.unsigned(affine)? };
        let single = from.single();
        let rising = single.is_some_and(|(scale, _)| scale > 0.0);
        let plain = |op: &Op| op.epilogue().is_none_or(|e| e.is_identity());
        let (op, axis) = match op {
            Op::Transpose { perm } => (op.clone(), perm.iter().position(|&p| p == from.axis).unwrap_or(0)),
            Op::Reshape { shape } if single.is_none() => (op.clone(), same_axis(&self.graph.ty(affine.raw).shape, from.axis, shape)?),
            Op::Reshape { .. } => (op.clone(), 0),
            Op::Slice { .. } | Op::Expand { .. } if single.is_some() => (op.clone(), 0),
            Op::Slice { step, size, .. } if step[from.axis] == 1 && size[from.axis] == self.graph.ty(affine.raw).shape[from.axis] => {
                (op.clone(), from.axis)
            }
            Op::Gather { .. } if single.is_some() => (op.clone(), 0),
            Op::Pad { low, high, mode, value } => {
                let (scale, zero) = single?;
                let mut value = *value;
                if *mode == PadMode::Constant {
                    let (least, most) = ir::quant::range(self.dtype(from.raw));
                    let number = (least..=most).find(|&q| (q - zero) as f32 * scale == value.to_f64() as f32)?;
                    value = Literal::int(self.dtype(from.raw), number);
                } else {
                    value = Literal::int(self.dtype(from.raw), 0);
                }
                (Op::Pad { low: low.clone(), high: high.clone(), mode: *mode, value }, 0)
            }
            Op::Window { kind: WindowKind::Max, .. } if rising && plain(op) => (op.clone(), 0),
            Op::Reduce { kind: ReduceKind::Max | ReduceKind::Min, prologue, .. } if rising && plain(op) && prologue.is_identity() => {
                (op.clone(), 0)
            }
            Op::Resize { mode, coordinate, .. } if single.is_some() => {
                let nearest = matches!(
                    mode,
                    ResizeMode::NearestRoundPreferFloor
                        | ResizeMode::NearestRoundPreferCeil
                        | ResizeMode::NearestFloor
                        | ResizeMode::NearestCeil
                );
                if !nearest || *coordinate == ir::graph::op::Coordinate::TfCropAndResize {
                    return None;
                }
                (op.clone(), 0)
            }
            Op::ArgReduce { .. } if rising => {
                // positions are the same; they are no quantized numbers
                let new = self.add(op.clone(), &[from.raw])?;
                self.graph.replace(id, new);
                return None;
            }
            _ => return None,
        };
        if !(ir::quant::is_storage(dtype) || dtype == Dtype::I32) {
            return None;
        }
        let operands = [&[from.raw], rest].concat();
        let raw = match (self.graph.as_const(from.raw), &op) {
            (Some(tensor), Op::Transpose { perm }) => {
                let view = tensor.permute(perm);
                let names = self.graph.node(from.raw).names.clone();
                self.graph.constant(view, &names)
            }
            (Some(tensor), Op::Reshape { shape }) => {
                let view = tensor.reshape(&dim::fixed(shape)?);
                let names = self.graph.node(from.raw).names.clone();
                self.graph.constant(view, &names)
            }
            _ => self.add(op, &operands)?,
        };
        Some(Affine { raw, axis, ..from })
    }

    fn moved_sum(&mut self, id: NodeId, op: &Op, sum: Sum) -> Option<Sum> {
        let single = sum.scale.len() == 1 && sum.bias.len() == 1;
        let axis = match op {
            Op::Transpose { perm } => perm.iter().position(|&p| p == sum.axis)?,
            Op::Reshape { .. } if single => 0,
            Op::Reshape { shape } => same_axis(&self.graph.ty(sum.node).shape, sum.axis, shape)?,
            _ => return None,
        };
        let share = match (sum.share, op) {
            (Share::Times(by), _) if self.graph.ty(by).rank() == 0 => Share::Times(by),
            (Share::Times(by), Op::Transpose { .. }) => Share::Times(self.add(op.clone(), &[by])?),
            (Share::Times(_), _) => return None,
            (share, _) => share,
        };
        let node = self.add(op.clone(), &[sum.node])?;
        debug_assert_eq!(self.graph.ty(node).shape, self.graph.ty(id).shape);
        Some(Sum { node, axis, share, ..sum })
    }

    fn concat(&mut self, operands: &[NodeId], axis: usize) -> Option<Value> {
        let same = |a: &Affine, b: &Affine| a.single().is_some() && a.single() == b.single();
        let first = self.affine(operands[0]).cloned();
        let all: Option<Vec<Affine>> = operands.iter().map(|&o| self.affine(o).cloned()).collect();
        if let (Some(first), Some(all)) = (first, all)
            && all.iter().all(|a| same(a, &first) && self.dtype(a.raw) == self.dtype(first.raw))
        {
            let unsigned: Vec<Affine> = all.iter().map(|a| self.unsigned(a)).collect::<Option<_>>()?;
            let raws: Vec<NodeId> = unsigned.iter().map(|a| a.raw).collect();
            let raw = self.add(Op::Concat { axis }, &raws)?;
            return Some(Value::Affine(Affine { raw, ..unsigned[0].clone() }));
        }
        let known = operands.iter().any(|o| self.values.contains_key(o));
        known.then(|| Value::Parts { axis, parts: operands.to_vec() })
    }

    /// Follows a tensor of i8 that was moved as it is: its u8 is moved likewise.
    pub fn twin_of(&mut self, id: NodeId) {
        if self.dtype(id) != Dtype::I8 {
            return;
        }
        let op = self.graph.op(id).clone();
        let operands = self.graph.operands(id);
        let moves = match &op {
            Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Expand { .. } | Op::Concat { .. } => true,
            Op::Window { kind: WindowKind::Max, epilogue, .. } => epilogue.is_identity(),
            _ => false,
        };
        if !moves || !operands.iter().any(|o| self.twins.contains_key(o)) {
            return;
        }
        let twins: Option<Vec<NodeId>> = operands.iter().map(|&o| self.twin(o)).collect();
        if let Some(twin) = twins.and_then(|twins| self.add(op, &twins)) {
            self.twins.insert(id, twin);
        }
    }
}

/// Where an axis stands in another shape of the same elements: with the same extent behind as many elements.
fn same_axis(from: &[Dim], axis: usize, to: &[Dim]) -> Option<usize> {
    let before = dim::product(&from[..axis]);
    (0..to.len()).find(|&i| to[i] == from[axis] && dim::product(&to[..i]) == before)
}
