//! The oracle of Graph: what every operator means, exactly as ONNX means it. Long sums are taken in f64, integers
//! are exact and wrap, and results are rounded to their type once, before the epilogue. Constant folding
//! uses it node by node, `verify` whole. Dimensions that are symbols have the sizes of the inputs.
//!
//! One file for each family of operators: `shape` moves elements, `map` runs scalar bodies, `dot` and `window`
//! multiply and slide, `attention` joins them, `reduce` works along axes, `scatter` puts rows in, `resize` resamples.

mod attention;
mod dot;
mod map;
mod quant;
mod reduce;
mod resize;
mod scan;
mod scatter;
mod shape;
mod suppress;
#[cfg(test)]
mod tests;
mod window;

use super::op::Op;
use super::{Graph, Node, NodeId};
use crate::dim::Dim;
use crate::scalar::eval::Number;
use crate::scalar::lanes::Wide;
use crate::tensor::{Dtype, Tensor, Type};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Why a graph has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalError {
    /// An input is missing or has another type than the graph says: what a compiled model answers with status 3.
    Input(String),
    /// A dimension is not fixed.
    Symbolic(String),
    /// The data cannot be computed with, such as an index out of range: what a compiled model answers with status 4.
    Data(String),
}

impl EvalError {
    pub fn what(&self) -> &str {
        match self {
            EvalError::Input(what) | EvalError::Symbolic(what) | EvalError::Data(what) => what,
        }
    }

    /// Puts the name of a node in front.
    fn at(self, name: &str) -> EvalError {
        let put = |what: String| format!("{name}: {what}");
        match self {
            EvalError::Input(what) => EvalError::Input(put(what)),
            EvalError::Symbolic(what) => EvalError::Symbolic(put(what)),
            EvalError::Data(what) => EvalError::Data(put(what)),
        }
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what())
    }
}

impl std::error::Error for EvalError {}

/// The outputs of a verified graph for inputs in the order of its signature.
pub fn eval(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    eval_with(graph, inputs, &mut |_, _| {})
}

/// The same, showing `seen` the value of every node as it is made.
pub fn eval_with(graph: &Graph, inputs: &[Tensor], seen: &mut dyn FnMut(NodeId, &Tensor)) -> Result<Vec<Tensor>, EvalError> {
    let sizes = sizes(graph, inputs)?;
    eval_sized(graph, inputs, sizes, seen)
}

/// The same with the values of symbols, of inputs that were found to fit.
fn eval_sized(graph: &Graph, inputs: &[Tensor], mut sizes: Sizes, seen: &mut dyn FnMut(NodeId, &Tensor)) -> Result<Vec<Tensor>, EvalError> {
    let mut several: BTreeMap<NodeId, Vec<Tensor>> = BTreeMap::new();
    let mut values: Vec<Option<Tensor>> = vec![None; graph.bound()];
    let mut uses: Vec<usize> = vec![0; graph.bound()];
    for (&id, tensor) in graph.inputs().iter().zip(inputs) {
        values[id.index()] = Some(tensor.clone());
    }
    for id in graph.order() {
        uses[id.index()] = graph.use_count(id);
        let ids = graph.operands(id);
        if !matches!(graph.op(id), Op::Input { .. }) {
            let operands: Vec<&Tensor> =
                ids.iter().map(|o| values[o.index()].as_ref().expect("an operand is made before its use")).collect();
            let node = graph.node(id);
            if let Op::Compact { length } = &node.op
                && let Some(name) = length.as_symbol()
            {
                sizes.insert(name.into(), shape::rows(operands[1]).len() as i64);
            }
            let value = match &node.op {
                Op::Scan { .. } => scan::scan(node, &operands, &sizes).map(|made| {
                    let first = made[0].clone();
                    several.insert(id, made);
                    first
                }),
                Op::Take { index, .. } => Ok(several[&ids[0]][*index].clone()),
                _ => eval_open(node, &operands, &sizes),
            };
            let value = value.map_err(|e| e.at(&format!("{} \"{}\"", node.op.mnemonic(), graph.label(id))))?;
            values[id.index()] = Some(value);
        }
        seen(id, values[id.index()].as_ref().expect("it was just made"));
        // what nobody needs any more goes, so that a large model fits
        for operand in ids {
            uses[operand.index()] -= 1;
            if uses[operand.index()] == 0 {
                values[operand.index()] = None;
                several.remove(&operand);
            }
        }
    }
    Ok(graph.outputs().iter().map(|(_, id)| values[id.index()].clone().expect("an output counts as a use")).collect())
}

/// Values of symbols by name.
type Sizes = BTreeMap<Arc<str>, i64>;

/// The sizes that the inputs have. Faults: other inputs than the graph's, a size out of its range.
fn sizes(graph: &Graph, inputs: &[Tensor]) -> Result<Sizes, EvalError> {
    if inputs.len() != graph.inputs().len() {
        return Err(EvalError::Input(format!("the graph has {} inputs, {} are given", graph.inputs().len(), inputs.len())));
    }
    let mut sizes = Sizes::new();
    for (&id, tensor) in graph.inputs().iter().zip(inputs) {
        for (dim, &size) in graph.ty(id).shape.iter().zip(tensor.shape()) {
            if let Some(name) = dim.as_symbol() {
                sizes.entry(name.into()).or_insert(size as i64);
            }
        }
    }
    for (&id, tensor) in graph.inputs().iter().zip(inputs) {
        let (ty, name) = (graph.ty(id), if let Op::Input { name, .. } = graph.op(id) { name } else { "" });
        let fits = ty.rank() == tensor.shape().len() && ty.shape.iter().zip(tensor.shape()).all(|(d, &n)| d.at(&sizes) == Some(n as i64));
        if tensor.dtype() != ty.dtype || !fits {
            return Err(EvalError::Input(format!("the input \"{name}\" is {ty}, {} is given", tensor.ty())));
        }
    }
    for (name, size) in &sizes {
        if let Some((low, high)) = graph.symbols.get(name).filter(|(low, high)| !(low..=high).contains(&size)) {
            return Err(EvalError::Input(format!("the dimension {name} is {size}, and is to be in {low}..{high}")));
        }
    }
    Ok(sizes)
}

/// The value of a node whose dimensions may be symbols. Fault: a negative dimension; see [`eval_node`].
fn eval_open(node: &Node, operands: &[&Tensor], sizes: &Sizes) -> Result<Tensor, EvalError> {
    if sizes.is_empty() {
        return eval_node(&node.op, &node.ty, operands);
    }
    let fixed = |dim: &Dim| dim.replace(&|name| sizes.get(name).map(|&n| Dim::from(n)));
    let ty = Type::new(node.ty.dtype, node.ty.shape.iter().map(fixed).collect());
    if let Some(dim) = ty.shape.iter().find(|d| d.fixed().is_some_and(|n| n < 0)) {
        return Err(EvalError::Input(format!("a dimension would be {dim}")));
    }
    eval_node(&node.op.with_dims(&fixed), &ty, operands)
}

/// The value of one node whose type `ty` was inferred from the operands' types. Fault: `ty` or an attribute is
/// symbolic, or the data cannot be computed with.
pub fn eval_node(op: &Op, ty: &Type, operands: &[&Tensor]) -> Result<Tensor, EvalError> {
    let Some(shape) = ty.fixed() else { return Err(EvalError::Symbolic(format!("the result is {ty}"))) };
    let extra = operands.get(op.own_operands()..).unwrap_or_default();
    let value = match op {
        Op::Input { name, .. } => return Err(EvalError::Input(format!("the input \"{name}\" has no value of its own"))),
        Op::Const { tensor } => tensor.clone(),
        Op::Reshape { .. } => operands[0].reshape(&shape),
        Op::Transpose { perm } => operands[0].permute(perm),
        Op::Slice { start, step, .. } => shape::slice(operands[0], &fixed(start)?, step, &shape),
        Op::Pad { low, high, mode, value } => shape::pad(operands[0], &fixed(low)?, &fixed(high)?, *mode, *value)?,
        Op::Concat { axis } => shape::concat(operands, *axis, &shape),
        Op::Expand { .. } => operands[0].expand(&shape),
        Op::Gather { axis } => shape::gather(operands[0], operands[1], *axis, &shape)?,
        Op::Map { body } => map::map(body, operands, &shape),
        Op::Dot { trans_a, trans_b, epilogue } => {
            let sums = dot::dot(operands[0], *trans_a, operands[1], *trans_b, &shape);
            map::finish(sums, own(op, operands), &shape, epilogue, extra)
        }
        Op::Conv { stride, dilation, inflate, low, group, fill, epilogue, .. } => {
            let (x, w) = (operands[0], operands[1]);
            let spatial = x.shape().len() - 2;
            let axes = window::axes(x.shape(), &w.shape()[..spatial], &shape, stride, dilation, inflate, low);
            map::finish(window::conv(x, w, &axes, *group, *fill, &shape), own(op, operands), &shape, epilogue, extra)
        }
        Op::Window { kind, size, stride, dilation, low, epilogue, .. } => {
            let x = operands[0];
            let axes = window::axes(x.shape(), size, &shape, stride, dilation, &vec![1; size.len()], low);
            map::finish(window::window(x, *kind, &axes, &shape), own(op, operands), &shape, epilogue, extra)
        }
        Op::Reduce { kind, axes, prologue, epilogue } => {
            let value = reduce::reduce(&map::prologue(operands[0], prologue), *kind, axes);
            map::finish_tensor(value, epilogue, extra)
        }
        Op::ArgReduce { kind, axis, last } => reduce::arg_reduce(operands[0], *kind, *axis, *last)?,
        Op::Cumulate { kind, axis, exclusive, reverse } => reduce::cumulate(operands[0], *kind, *axis, *exclusive, *reverse),
        Op::Sort { axis, descending } => reduce::sort(operands[0], *axis, *descending),
        Op::Scatter { kind } => scatter::scatter(operands[0], operands[1], operands[2], *kind)?,
        Op::Compact { .. } => shape::compact(operands[0], operands[1], &shape)?,
        Op::Suppress { most } => suppress::suppress(operands, *most, &shape)?,
        Op::Softmax { axis, log, prologue, epilogue } => {
            map::finish_tensor(reduce::softmax(&map::prologue(operands[0], prologue), *axis, *log), epilogue, extra)
        }
        Op::Norm { axes, epsilon, center, prologue, epilogue } => {
            map::finish_tensor(reduce::norm(&map::prologue(operands[0], prologue), axes, epsilon.0, *center), epilogue, extra)
        }
        Op::Attention { causal, guarded, prologue } => {
            let causal = match causal {
                Some(dim) => Some(fixed(std::slice::from_ref(dim))?[0]),
                None => None,
            };
            attention::attention(operands, causal, *guarded, prologue, &shape)
        }
        Op::Quantize { axis, block } => quant::quantize(operands[0], operands[1], operands[2], *axis, *block),
        Op::Dequantize { axis, block } => quant::dequantize(operands[0], operands[1], operands[2], *axis, *block),
        Op::Resize { mode, coordinate, scale, roi, antialias, exclude_outside, extrapolation, .. } => {
            let sampling = resize::Sampling {
                mode: *mode,
                coordinate: *coordinate,
                antialias: *antialias,
                exclude_outside: *exclude_outside,
                extrapolation: extrapolation.0,
            };
            resize::resize(operands[0], &sampling, scale, roi, &shape)?
        }
        Op::Scan { .. } | Op::Take { .. } => return Err(EvalError::Symbolic("a scan has several values".into())),
    };
    debug_assert_eq!(value.ty(), *ty, "{}", op.mnemonic());
    Ok(value)
}

/// The type of an operator's result before its epilogue.
fn own(op: &Op, operands: &[&Tensor]) -> Dtype {
    let types: Vec<Dtype> = operands.iter().map(|t| t.dtype()).collect();
    super::infer::own_type(op, &types).expect("the operator was verified and has an epilogue")
}

fn fixed(dims: &[Dim]) -> Result<Vec<i64>, EvalError> {
    let value = |d: &Dim| d.fixed().ok_or_else(|| EvalError::Symbolic(format!("the dimension {d} is not fixed")));
    dims.iter().map(value).collect()
}

/// A number that sums are taken in.
trait Cell: Number {
    const ZERO: Self;
    const ONE: Self;
    /// Every element of a tensor whose columns are of this kind.
    fn unpack(tensor: &Tensor) -> Vec<Self>;
    /// The smallest or largest value of a type whose columns are of this kind.
    fn least(dtype: Dtype) -> Self;
    fn most(dtype: Dtype) -> Self;
    /// Quotient by a count; integers truncate, and by zero give 0.
    fn over(self, count: usize) -> Self;
    /// What is left of it in an element of the type.
    fn settled(self, dtype: Dtype) -> Self;
}

impl Cell for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    fn unpack(tensor: &Tensor) -> Vec<f64> {
        match Wide::of(tensor) {
            Wide::F64(v) => v,
            other => unreachable!("f64 does not hold {}: {} elements", tensor.ty(), other.len()),
        }
    }
    fn least(_: Dtype) -> f64 {
        f64::NEG_INFINITY
    }
    fn most(_: Dtype) -> f64 {
        f64::INFINITY
    }
    fn over(self, count: usize) -> f64 {
        self / count as f64
    }
    fn settled(self, dtype: Dtype) -> f64 {
        crate::scalar::lanes::round(dtype, self)
    }
}

impl Cell for i64 {
    const ZERO: i64 = 0;
    const ONE: i64 = 1;
    fn unpack(tensor: &Tensor) -> Vec<i64> {
        match Wide::of(tensor) {
            Wide::I64(v) => v,
            other => unreachable!("i64 does not hold {}: {} elements", tensor.ty(), other.len()),
        }
    }
    fn least(dtype: Dtype) -> i64 {
        dtype.int_range().map_or(0, |(low, _)| low as i64)
    }
    fn most(dtype: Dtype) -> i64 {
        dtype.int_range().map_or(1, |(_, high)| high as i64)
    }
    fn over(self, count: usize) -> i64 {
        self.checked_div(count as i64).unwrap_or(0)
    }
    fn settled(self, dtype: Dtype) -> i64 {
        crate::scalar::lanes::wrap(dtype, self)
    }
}

impl Cell for u64 {
    const ZERO: u64 = 0;
    const ONE: u64 = 1;
    fn unpack(tensor: &Tensor) -> Vec<u64> {
        match Wide::of(tensor) {
            Wide::U64(v) => v,
            other => unreachable!("u64 does not hold {}: {} elements", tensor.ty(), other.len()),
        }
    }
    fn least(_: Dtype) -> u64 {
        0
    }
    fn most(_: Dtype) -> u64 {
        u64::MAX
    }
    fn over(self, count: usize) -> u64 {
        self.checked_div(count as u64).unwrap_or(0)
    }
    fn settled(self, _: Dtype) -> u64 {
        self
    }
}

/// An expression in which `T` is the number that sums of a type are taken in; it makes a `Vec<T>`.
macro_rules! with_cell {
    ($dtype:expr, $t:ident => $made:expr) => {
        match $crate::scalar::lanes::kind($dtype) {
            $crate::scalar::lanes::Kind::F32 | $crate::scalar::lanes::Kind::F64 => {
                type $t = f64;
                $crate::scalar::lanes::Wide::F64($made)
            }
            $crate::scalar::lanes::Kind::I64 => {
                type $t = i64;
                $crate::scalar::lanes::Wide::I64($made)
            }
            $crate::scalar::lanes::Kind::U64 => {
                type $t = u64;
                $crate::scalar::lanes::Wide::U64($made)
            }
        }
    };
}
use with_cell;
