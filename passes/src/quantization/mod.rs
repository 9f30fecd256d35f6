//! Quantization folding: which values are quantized numbers in disguise is worked out along the graph, and what is
//! computed from them stays in integers. Every value is a float or one of [`Value`]; a `dequantize` makes a value affine
//! and computes nothing, each operator has a transfer (`moves`, `maps`, `products`), and a `quantize` asks for what is
//! known (`demand`). Nothing is matched backwards, so that it does not matter how many users a value has.
//!
//! All 8-bit numbers between operators are u8: i8 is the same under another label, so both kinds of model become one
//! graph. What the formulas are is `ir::quant`; this room knows when they apply, and says why where they do not.

mod demand;
pub mod expand;
mod maps;
mod moves;
mod products;
mod sums;
mod value;

use crate::run::{Fuel, Line};
use ir::graph::Names;
use ir::{Dtype, Graph, NodeId, Op, Tensor, quant};
use std::collections::BTreeMap;
use value::{Affine, Value};

/// What a quantized model means between its roundings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Semantics {
    /// What onnxruntime's fused integer kernels compute, bit for bit.
    #[default]
    Ort,
    /// Every operator in floats, as the ONNX text reads: nothing is folded.
    QdqFloat,
    /// Whatever is fastest within one step of the result; for now the same as `Ort`.
    Fast,
}

impl Semantics {
    pub const ALL: &[Semantics] = &[Semantics::Ort, Semantics::QdqFloat, Semantics::Fast];

    pub fn name(self) -> &'static str {
        match self {
            Semantics::Ort => "ort",
            Semantics::QdqFloat => "qdq-float",
            Semantics::Fast => "fast",
        }
    }

    pub fn from_name(name: &str) -> Option<Semantics> {
        Semantics::ALL.iter().copied().find(|s| s.name() == name)
    }
}

/// How many convolutions and matrix products read quantized numbers, and how many of them multiply integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    pub folded: usize,
    pub products: usize,
}

/// What the pass found out.
#[derive(Default)]
pub struct Found {
    pub rewrites: usize,
    /// `None`: the model is not quantized.
    pub folded: Option<Folded>,
    pub log: Vec<Line>,
}

/// The name of the pass, and of its lines in the log.
pub const NAME: &str = "quantization";

/// Folds what can be folded.
pub fn run(graph: &mut Graph, fuel: &mut Fuel, semantics: Semantics) -> Found {
    let quantized = |op: &Op| matches!(op, Op::Quantize { .. } | Op::Dequantize { .. });
    let integer = |graph: &Graph, id: NodeId| is_product(graph.op(id)) && graph.ty(graph.operands(id)[0]).dtype.is_int();
    let order = graph.order();
    if !order.iter().any(|&id| quantized(graph.op(id)) || integer(graph, id)) {
        return Found::default();
    }
    let mut folder = Folder { graph, values: BTreeMap::new(), twins: BTreeMap::new(), names: Vec::new(), missed: BTreeMap::new() };
    let mut found = Found::default();
    let mut counts = Folded::default();
    for id in order {
        if is_product(folder.graph.op(id)) {
            let integer = integer(folder.graph, id);
            counts.products += usize::from(integer || folder.reads_quantized(id));
            counts.folded += usize::from(integer);
        }
        if semantics == Semantics::QdqFloat {
            continue;
        }
        let product = is_product(folder.graph.op(id));
        if folder.visit(id, fuel) {
            found.rewrites += 1;
            counts.folded += usize::from(product);
        }
        if fuel.left() == Some(0) {
            break;
        }
    }
    let missed = std::mem::take(&mut folder.missed);
    graph.remove_dead();
    found.log = islands(graph, &missed);
    found.folded = Some(counts);
    found
}

fn is_product(op: &Op) -> bool {
    matches!(op, Op::Conv { .. } | Op::Dot { .. })
}

/// What works on floats although it reads quantized numbers, or should give them, and why.
fn islands(graph: &Graph, missed: &BTreeMap<NodeId, String>) -> Vec<Line> {
    let mut log = Vec::new();
    for id in graph.order() {
        let op = graph.op(id);
        if matches!(op, Op::Quantize { .. } | Op::Dequantize { .. }) {
            continue;
        }
        let reads = graph.operands(id).iter().any(|&o| matches!(graph.op(o), Op::Dequantize { .. }) && !expand::stays(graph, o));
        let weights = !reads && graph.operands(id).iter().any(|&o| expand::stays(graph, o));
        let why = match missed.get(&id) {
            // floats by packed weights are meant to be that
            _ if weights => continue,
            Some(why) => why.clone(),
            None if reads => format!("{} needs floats", op.mnemonic()),
            None => continue,
        };
        log.push(Line { pass: NAME, rule: "float_island", op: op.mnemonic(), at: graph.label(id), why_not: Some(why) });
    }
    log
}

/// The walk along a graph.
struct Folder<'g> {
    graph: &'g mut Graph,
    /// What is known about the nodes seen so far, as they stand now.
    values: BTreeMap<NodeId, Value>,
    /// Tensors of i8 and the same as u8.
    twins: BTreeMap<NodeId, NodeId>,
    /// The names that nodes made now come from.
    names: Names,
    /// Why a product was not folded.
    missed: BTreeMap<NodeId, String>,
}

impl Folder<'_> {
    /// Works out what a node's value is; whether the graph changed.
    fn visit(&mut self, id: NodeId, fuel: &mut Fuel) -> bool {
        self.names = self.graph.node(id).names.clone();
        match self.graph.op(id) {
            Op::Quantize { .. } => {
                let Some(new) = self.quantized(id).filter(|&new| new != id && fuel.take()) else { return false };
                self.graph.replace(id, new);
                true
            }
            Op::Dequantize { .. } => {
                if let Some(affine) = self.dequantized(id) {
                    self.values.insert(id, Value::Affine(affine));
                }
                false
            }
            _ => {
                self.twin_of(id);
                let Some(value) = self.transfer(id) else { return false };
                let Some(float) = self.float_form(id, &value) else {
                    // the node itself is the float
                    self.values.insert(id, value);
                    return false;
                };
                if !fuel.take() {
                    return false;
                }
                self.graph.replace(id, float);
                self.values.insert(float, value);
                true
            }
        }
    }

    /// Whether a factor of a product is quantized.
    fn reads_quantized(&self, id: NodeId) -> bool {
        let quantized = |o: &NodeId| self.affine(*o).is_some() || matches!(self.graph.op(*o), Op::Dequantize { .. });
        self.graph.operands(id).iter().take(2).any(quantized)
    }

    fn transfer(&mut self, id: NodeId) -> Option<Value> {
        match self.graph.op(id).clone() {
            Op::Map { body } => self.map(id, &body),
            Op::Dot { .. } | Op::Conv { .. } => match self.product(id) {
                Ok(value) => value,
                Err(why) => {
                    if self.reads_quantized(id) {
                        self.missed.insert(id, why);
                    }
                    None
                }
            },
            Op::Window { .. } | Op::Reduce { .. } => self.sum(id).or_else(|| self.moved(id)),
            Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Expand { .. }
            | Op::Gather { .. }
            | Op::ArgReduce { .. }
            | Op::Resize { .. } => self.moved(id),
            Op::Input { .. }
            | Op::Const { .. }
            | Op::Cumulate { .. }
            | Op::Sort { .. }
            | Op::Scatter { .. }
            | Op::Softmax { .. }
            | Op::Norm { .. }
            | Op::Attention { .. }
            | Op::Compact { .. }
            | Op::Suppress { .. }
            | Op::Quantize { .. }
            | Op::Dequantize { .. }
            | Op::Scan { .. }
            | Op::Take { .. } => None,
        }
    }

    fn add(&mut self, op: Op, operands: &[NodeId]) -> Option<NodeId> {
        self.graph.add(op, operands, &self.names).ok()
    }

    fn constant(&mut self, tensor: Tensor) -> NodeId {
        self.graph.constant(tensor, &[])
    }

    fn affine(&self, id: NodeId) -> Option<&Affine> {
        match self.values.get(&id)? {
            Value::Affine(affine) => Some(affine),
            Value::Sum(_) | Value::Chain(_) | Value::Pair(_) | Value::Parts { .. } => None,
        }
    }

    fn dtype(&self, id: NodeId) -> Dtype {
        self.graph.ty(id).dtype
    }

    /// What a `dequantize` with known scale and zero point stands for.
    fn dequantized(&mut self, id: NodeId) -> Option<Affine> {
        let Op::Dequantize { axis, block } = *self.graph.op(id) else { return None };
        let operands = self.graph.operands(id);
        let (scale, zero) = (self.graph.as_const(operands[1])?, self.graph.as_const(operands[2])?);
        if block != 0 || scale.dtype() != Dtype::F32 {
            return None;
        }
        let affine = Affine { raw: operands[0], scale: scale.to_f32s(), zero: zero.to_i64s(), axis };
        (affine.scale.iter().all(|s| s.is_finite()) && !affine.scale.is_empty()).then_some(affine)
    }

    /// The same numbers as u8, if they are i8 and computed; constants keep their type.
    fn unsigned(&mut self, affine: &Affine) -> Option<Affine> {
        if self.dtype(affine.raw) != Dtype::I8 {
            return Some(affine.clone());
        }
        let raw = self.twin(affine.raw)?;
        Some(Affine { raw, zero: affine.zero.iter().map(|z| z + 128).collect(), ..affine.clone() })
    }

    /// The same numbers as i8, if they are u8.
    fn signed(&mut self, affine: &Affine) -> Option<Affine> {
        if self.dtype(affine.raw) != Dtype::U8 {
            return Some(affine.clone());
        }
        let known = self.twins.iter().find(|(_, twin)| **twin == affine.raw).map(|(signed, _)| *signed);
        let raw = match known {
            Some(signed) => signed,
            None => self.relabelled(affine.raw)?,
        };
        Some(Affine { raw, zero: affine.zero.iter().map(|z| z - 128).collect(), ..affine.clone() })
    }

    /// The u8 under another label of an i8.
    fn twin(&mut self, signed: NodeId) -> Option<NodeId> {
        if let Some(&twin) = self.twins.get(&signed) {
            return Some(twin);
        }
        let twin = match self.graph.as_const(signed) {
            Some(tensor) => {
                let flipped: Vec<u8> = tensor.bytes().iter().map(|b| b ^ 128).collect();
                let tensor = Tensor::dense(Dtype::U8, tensor.shape(), flipped);
                self.constant(tensor)
            }
            None => self.relabelled(signed)?,
        };
        self.twins.insert(signed, twin);
        Some(twin)
    }

    fn relabelled(&mut self, id: NodeId) -> Option<NodeId> {
        let from = self.dtype(id);
        let body = quant::body(1, |b| quant::relabel(b, ir::scalar::Arg::Param(0), from));
        self.add(Op::Map { body }, &[id])
    }
}
