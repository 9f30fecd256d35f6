//! The graph under construction and the values that importers hand around: one short method per tensor
//! operator, which leaves out what changes nothing and turns views of constants into constants at once.
//! It refuses to know ONNX.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use ir::graph::op::{PadMode, ReduceKind};
use ir::scalar::{self, Literal, ScalarOp};
use ir::{Body, Dim, Dtype, Fault, Graph, NodeId, Op, Tensor, Type, dim};

use crate::Limits;

/// One ONNX value: its type, the node that computes it, and its elements where they are dimensions.
#[derive(Clone, Debug)]
pub struct Value {
    pub ty: Type,
    /// Absent as long as the elements are known as dimensions only, some of them symbolic.
    pub node: Option<NodeId>,
    /// The elements of an integer list or scalar that holds symbolic dimensions.
    pub dims: Option<Rc<[Dim]>>,
    /// The elements, where it is no tensor but a sequence; its type is then that of an element without shape.
    pub items: Option<Rc<[Value]>>,
}

impl Value {
    /// A list of tensors that exists while importing only.
    pub fn sequence(items: Vec<Value>, dtype: Dtype) -> Value {
        Value { ty: Type::of(dtype, &[]), node: None, dims: None, items: Some(items.into()) }
    }
    pub fn dtype(&self) -> Dtype {
        self.ty.dtype
    }
    pub fn rank(&self) -> usize {
        self.ty.rank()
    }
    pub fn shape(&self) -> &[Dim] {
        &self.ty.shape
    }
    /// The sizes. Fault: a symbolic one.
    pub fn sizes(&self) -> Result<Vec<usize>, Fault> {
        self.ty.fixed().ok_or_else(|| {
            Fault::unsupported(format!("it needs fixed dimensions here, and got {}", self.ty))
                .help("fix the named dimensions with --dim NAME=SIZE")
        })
    }
    /// The size of one axis. Fault: a symbolic one, or none such.
    pub fn size(&self, axis: usize) -> Result<usize, Fault> {
        let Some(dim) = self.ty.shape.get(axis) else {
            return Err(Fault::invalid(format!("it needs an axis {axis} here, and got {}", self.ty)));
        };
        let fixed = dim.fixed().and_then(|n| usize::try_from(n).ok());
        fixed.ok_or_else(|| {
            Fault::unsupported(format!("axis {axis} of {} must have a fixed size here", self.ty))
                .help("fix the named dimensions with --dim NAME=SIZE")
        })
    }
}

/// The graph so far.
pub struct Build<'o> {
    pub graph: Graph,
    pub limits: &'o Limits,
    /// The ONNX names that nodes made now come from.
    pub names: Vec<Arc<str>>,
    /// What [`Build::known`] found out, by node.
    pub(crate) folded: BTreeMap<NodeId, Option<Tensor>>,
    pub(crate) folded_elements: usize,
    /// Nodes that may fail at run time: those that read or write at indices that are data.
    pub fallible: usize,
    /// Bytes of the tensors that were written out here.
    pub(crate) written: u64,
}

impl<'o> Build<'o> {
    pub fn new(limits: &'o Limits) -> Build<'o> {
        Build { graph: Graph::new(), limits, names: Vec::new(), folded: BTreeMap::new(), folded_elements: 0, fallible: 0, written: 0 }
    }

    /// Adds a node. Fault: operands that do not fit, a result above the limits, or an operand that is only
    /// known when the model runs.
    pub fn add(&mut self, op: Op, operands: &[&Value]) -> Result<Value, Fault> {
        let ids = operands.iter().map(|v| self.node_of(v)).collect::<Result<Vec<_>, _>>()?;
        let types: Vec<&Type> = operands.iter().map(|v| &v.ty).collect();
        let ty = ir::graph::infer::infer(&op, &types)?;
        self.fits(&ty)?;
        if self.graph.len() >= self.limits.nodes {
            return Err(Fault::limit(format!("the model has more than {} operators", self.limits.nodes)));
        }
        if matches!(op, Op::Gather { .. } | Op::Scatter { .. }) && self.graph.as_const(ids[1]).is_none() {
            self.fallible += 1;
        }
        let id = self.graph.add(op, &ids, &self.names)?;
        Ok(Value { ty, node: Some(id), dims: None, items: None })
    }

    /// The node of a value. Dimensions that are used as data are counted: so many ones, summed.
    /// Fault: a dimension that may be negative.
    pub fn node_of(&mut self, value: &Value) -> Result<NodeId, Fault> {
        if let Some(node) = value.node {
            return Ok(node);
        }
        if value.items.is_some() {
            return Err(Fault::unsupported("a sequence is not supported here; only tensors are"));
        }
        let dims = value.dims.clone().expect("a tensor has a node or is made of dimensions");
        let mut counted = Vec::with_capacity(dims.len());
        for d in dims.iter() {
            counted.push(match d.fixed() {
                Some(n) => self.ints(&[n]),
                None if d.bounds(&self.graph.symbols).0 >= 0 => {
                    let ones = self.fill(Dtype::I64, 1.0, std::slice::from_ref(d))?;
                    self.reduce(&ones, ReduceKind::Sum, &[0])?
                }
                None => {
                    return Err(Fault::unsupported(format!("it uses the dimension {d} as data, which may be negative"))
                        .help("fix the named dimensions with --dim NAME=SIZE"));
                }
            });
        }
        let list = self.concat(&counted.iter().collect::<Vec<_>>(), 0)?;
        let list = self.reshape(&list, value.ty.shape.clone())?;
        Ok(list.node.expect("it was just made of nodes"))
    }

    /// Fault: more axes or bytes than the limits.
    pub fn fits(&self, ty: &Type) -> Result<(), Fault> {
        if ty.rank() > self.limits.rank {
            return Err(Fault::limit(format!("{ty} has {} axes; at most {} are handled", ty.rank(), self.limits.rank)));
        }
        let mut bytes = ty.dtype.bytes() as u64;
        let mut empty = false;
        for d in &ty.shape {
            let (low, high) = d.bounds(&self.graph.symbols);
            if d.fixed().is_some() && low < 0 {
                return Err(Fault::invalid(format!("{ty} has a negative dimension")));
            }
            empty |= high <= 0;
            bytes = bytes.saturating_mul(high.max(0) as u64);
        }
        if !empty && bytes > self.limits.bytes {
            return Err(Fault::limit(format!("{ty} is larger than {} bytes", self.limits.bytes)));
        }
        Ok(())
    }

    /// Counts a tensor of so many elements that is about to be written out, before it is. Fault: all of them together take
    /// more than the limit.
    pub fn room(&mut self, elements: impl TryInto<u64>, dtype: Dtype) -> Result<(), Fault> {
        let bytes = elements.try_into().unwrap_or(u64::MAX).saturating_mul(dtype.bytes() as u64);
        self.written = self.written.saturating_add(bytes);
        match self.written <= self.limits.dense {
            true => Ok(()),
            false => {
                Err(Fault::limit(format!("its tables would be larger than {} bytes, those of other nodes among them", self.limits.dense)))
            }
        }
    }

    /// A constant.
    pub fn constant(&mut self, tensor: Tensor) -> Value {
        let ty = tensor.ty();
        let id = self.graph.constant(tensor, &self.names);
        Value { ty, node: Some(id), dims: None, items: None }
    }

    /// The constant that a value is, without folding anything.
    pub fn as_const(&self, value: &Value) -> Option<&Tensor> {
        self.graph.as_const(value.node?)
    }

    /// A view of the constant `source`, which keeps its names.
    fn view(&mut self, source: &Value, tensor: Tensor) -> Value {
        let names = source.node.map_or_else(Vec::new, |id| self.graph.node(id).names.clone());
        let ty = tensor.ty();
        let id = self.graph.constant(tensor, &names);
        Value { ty, node: Some(id), dims: None, items: None }
    }

    pub fn scalar(&mut self, literal: Literal) -> Value {
        self.constant(Tensor::splat(literal.dtype, &[], &literal.to_bytes()))
    }

    /// One number of a type, everywhere.
    pub fn fill(&mut self, dtype: Dtype, value: f64, shape: &[Dim]) -> Result<Value, Fault> {
        let element = Literal::number(dtype, value).to_bytes();
        self.fits(&Type::new(dtype, shape.to_vec()))?;
        match dim::fixed(shape) {
            Some(sizes) => Ok(self.constant(Tensor::splat(dtype, &sizes, &element))),
            None => {
                let one = self.constant(Tensor::splat(dtype, &[], &element));
                self.expand(&one, shape)
            }
        }
    }

    /// An i64 list.
    pub fn ints(&mut self, values: &[i64]) -> Value {
        self.constant(Tensor::i64s(&[values.len()], values))
    }

    /// 0, 1, 2 … along `axis` of a tensor of `rank` axes; the others have size 1.
    pub fn iota(&mut self, count: &Dim, axis: usize, rank: usize) -> Result<Value, Fault> {
        let mut shape = vec![Dim::from(1i64); rank];
        shape[axis] = count.clone();
        self.fits(&Type::new(Dtype::I64, shape.clone()))?;
        if let Some(n) = count.fixed()
            && n <= self.limits.dense as i64 / 8
        {
            self.room(n, Dtype::I64)?;
            let list = self.ints(&(0..n).collect::<Vec<_>>());
            return self.reshape(&list, shape);
        }
        let ones = self.fill(Dtype::I64, 1.0, &shape)?;
        let kind = ir::graph::op::CumulateKind::Sum;
        self.add(Op::Cumulate { kind, axis, exclusive: true, reverse: false }, &[&ones])
    }

    /// `body` over the elements of broadcast operands.
    pub fn map(&mut self, body: Body, operands: &[&Value]) -> Result<Value, Fault> {
        self.add(Op::Map { body }, operands)
    }

    /// A map whose body is a text of ours; `:T` in it stands for `dtype`.
    pub fn pointwise(&mut self, text: &str, dtype: Dtype, operands: &[&Value]) -> Result<Value, Fault> {
        self.map(body(text, dtype)?, operands)
    }

    /// One operation over broadcast operands.
    pub fn apply(&mut self, op: ScalarOp, operands: &[&Value]) -> Result<Value, Fault> {
        self.map(Body::of(op), operands)
    }

    pub fn cast(&mut self, value: &Value, dtype: Dtype) -> Result<Value, Fault> {
        if value.dtype() == dtype {
            return Ok(value.clone());
        }
        self.apply(ScalarOp::Cast(dtype), &[value])
    }

    /// The value that several steps compute with before their result is rounded once: floats of fewer than 32 bits as f32.
    pub fn wide(&mut self, value: &Value) -> Result<Value, Fault> {
        let narrow = value.dtype().is_float() && value.dtype().bytes() < 4;
        if narrow { self.cast(value, Dtype::F32) } else { Ok(value.clone()) }
    }

    pub fn reshape(&mut self, value: &Value, shape: Vec<Dim>) -> Result<Value, Fault> {
        if value.shape() == shape {
            return Ok(value.clone());
        }
        if let Some(tensor) = self.as_const(value)
            && let Some(sizes) = dim::fixed(&shape)
            && (tensor.is_dense() || tensor.is_splat())
            && dim::product(&shape) == dim::product(value.shape())
        {
            self.fits(&Type::new(value.dtype(), shape))?;
            let view = tensor.reshape(&sizes);
            return Ok(self.view(value, view));
        }
        self.add(Op::Reshape { shape }, &[value])
    }

    pub fn transpose(&mut self, value: &Value, perm: &[usize]) -> Result<Value, Fault> {
        if perm.iter().enumerate().all(|(i, p)| i == *p) {
            return Ok(value.clone());
        }
        if let Some(tensor) = self.as_const(value) {
            let view = tensor.permute(perm);
            return Ok(self.view(value, view));
        }
        self.add(Op::Transpose { perm: perm.to_vec() }, &[value])
    }

    /// `[n, c, spatial..]` to `[n, spatial.., c]`.
    pub fn channels_last(&mut self, value: &Value) -> Result<Value, Fault> {
        let rank = value.rank();
        let perm: Vec<usize> = std::iter::once(0).chain(2..rank).chain([1]).collect();
        self.transpose(value, &perm)
    }

    /// `[n, spatial.., c]` to `[n, c, spatial..]`.
    pub fn channels_first(&mut self, value: &Value) -> Result<Value, Fault> {
        let rank = value.rank();
        let perm: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        self.transpose(value, &perm)
    }

    /// Along each axis `size` elements from `start` in steps of `step`.
    pub fn slice(&mut self, value: &Value, start: Vec<Dim>, step: Vec<i64>, size: Vec<Dim>) -> Result<Value, Fault> {
        let whole = start.iter().all(|s| s.fixed() == Some(0)) && step.iter().all(|s| *s == 1);
        if whole && size == value.shape() {
            return Ok(value.clone());
        }
        let op = Op::Slice { start: start.clone(), step: step.clone(), size: size.clone() };
        if let Some(tensor) = self.as_const(value)
            && let (Some(start), Some(size)) = (dim::fixed(&start), dim::fixed(&size))
            && ir::graph::infer::infer(&op, &[&value.ty]).is_ok()
        {
            let step: Vec<isize> = step.iter().map(|&s| s as isize).collect();
            let view = tensor.slice(&start, &step, &size);
            return Ok(self.view(value, view));
        }
        self.add(op, &[value])
    }

    /// `size` elements from `start` along one axis.
    pub fn part(&mut self, value: &Value, axis: usize, start: Dim, size: Dim) -> Result<Value, Fault> {
        let mut starts = vec![Dim::from(0i64); value.rank()];
        let mut sizes = value.shape().to_vec();
        starts[axis] = start;
        sizes[axis] = size;
        self.slice(value, starts, vec![1; value.rank()], sizes)
    }

    pub fn pad(&mut self, value: &Value, low: Vec<Dim>, high: Vec<Dim>, mode: PadMode, fill: Literal) -> Result<Value, Fault> {
        if low.iter().chain(&high).all(|d| d.fixed() == Some(0)) {
            return Ok(value.clone());
        }
        self.add(Op::Pad { low, high, mode, value: fill }, &[value])
    }

    pub fn concat(&mut self, values: &[&Value], axis: usize) -> Result<Value, Fault> {
        match values {
            [only] => Ok((*only).clone()),
            _ => self.add(Op::Concat { axis }, values),
        }
    }

    pub fn expand(&mut self, value: &Value, shape: &[Dim]) -> Result<Value, Fault> {
        if value.shape() == shape {
            return Ok(value.clone());
        }
        let op = Op::Expand { shape: shape.to_vec() };
        let ty = ir::graph::infer::infer(&op, &[&value.ty])?;
        self.fits(&ty)?;
        if let Some(tensor) = self.as_const(value)
            && let Some(sizes) = dim::fixed(shape)
        {
            let view = tensor.expand(&sizes);
            return Ok(self.view(value, view));
        }
        self.add(op, &[value])
    }

    pub fn gather(&mut self, value: &Value, indices: &Value, axis: usize) -> Result<Value, Fault> {
        self.add(Op::Gather { axis }, &[value, indices])
    }

    /// A reduction; the axes stay with size 1.
    pub fn reduce(&mut self, value: &Value, kind: ReduceKind, axes: &[usize]) -> Result<Value, Fault> {
        let (prologue, epilogue) = (Body::identity(), Body::identity());
        self.add(Op::Reduce { kind, axes: axes.to_vec(), prologue, epilogue }, &[value])
    }

    pub fn dot(&mut self, a: &Value, b: &Value) -> Result<Value, Fault> {
        self.add(Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() }, &[a, b])
    }
}

/// A body from a text of ours; `:T` in it stands for `dtype`. Fault: it has numbers that the type has not, such as a half
/// of an integer.
pub fn body(text: &str, dtype: Dtype) -> Result<Body, Fault> {
    let typed = text.replace(":T", &format!(":{}", dtype.name()));
    scalar::text::body(&typed).map_err(|_| Fault::invalid(format!("it is not for elements of {}", dtype.name())))
}

/// A number as it stands in a body, so that it reads back exactly.
pub fn number(value: f64) -> String {
    format!("{value:?}").to_lowercase()
}
