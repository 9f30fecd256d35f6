//! A model file that is being changed: constants are read and replaced, nodes are put in, and what nobody touched is written as it came. It
//! knows the structure of ONNX files; how numbers are chosen is the caller's.
//!
//! Only the nodes of the outermost graph are changed. Bodies of `If`, `Loop`, `Scan` and functions stay as they are.

mod channels;
mod layers;
mod norm;
mod opset;
mod plan;
mod qdq;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ir::{Dtype, Fault, Tensor};

use crate::proto::{self, data_type};
use crate::{Limits, Model, Source, tensors, wiring};

pub use channels::{Removal, Ties};
pub use layers::{Layer, Spatial, Window};
pub use plan::{Float, Plan, Point};
pub use qdq::{Range, Small};

/// Bytes of a tensor above which it goes into the file beside the model, when there is one.
const BESIDE: usize = 1024;
/// Bytes of weights above which a file beside the model is needed: protobuf ends at 2 GB.
const EMBEDDED: usize = 1_900_000_000;
/// Where each tensor begins in that file, so that it can be mapped.
const ALIGN: usize = 64;

/// A model being changed.
#[derive(Debug, Clone)]
pub struct Draft {
    proto: proto::Model,
    /// Constants of the outermost graph that have been read: initializers, and the tensors of `Constant` nodes.
    constants: BTreeMap<String, Tensor>,
    /// Names that are taken, anywhere in the model.
    names: BTreeSet<String>,
    /// Whether weights came from files beside the model.
    beside: bool,
}

/// A finished model.
#[derive(Debug, Clone)]
pub struct Written {
    pub model: Bytes,
    /// What goes into the file beside it, if there is one.
    pub data: Option<Vec<u8>>,
}

/// Who makes and who reads the values of the outermost graph.
#[derive(Debug, Default)]
pub(crate) struct Uses<'d> {
    pub maker: BTreeMap<&'d str, usize>,
    /// Nodes by the values that they read; a node that reads a value twice is there twice.
    pub readers: BTreeMap<&'d str, Vec<usize>>,
    /// Values that bodies of nodes read.
    pub captured: BTreeSet<String>,
    pub outputs: BTreeSet<&'d str>,
}

impl Uses<'_> {
    /// The only node that reads a value, when nothing else does.
    pub fn only_reader(&self, name: &str) -> Option<usize> {
        match self.readers.get(name).map(Vec::as_slice) {
            Some([one]) if !self.captured.contains(name) && !self.outputs.contains(name) => Some(*one),
            _ => None,
        }
    }
}

impl Model {
    /// Begins to change a copy of the model. Weights share the file's storage. Faults: constants that cannot be read.
    pub fn draft(&self, source: &dyn Source) -> Result<Draft, Vec<Fault>> {
        Draft::new(self.proto.clone(), source)
    }
}

impl Draft {
    fn new(mut proto: proto::Model, source: &dyn Source) -> Result<Draft, Vec<Fault>> {
        let Some(graph) = &mut proto.graph else { return Err(vec![Fault::invalid("the file holds no graph")]) };
        let mut faults = Vec::new();
        let (mut beside, limits) = (false, Limits::default());
        let mut constants = BTreeMap::new();
        let mut tensors = Vec::new();
        every_tensor(graph, &mut tensors);
        for function in &mut proto.functions {
            function.node.iter_mut().for_each(|node| of_node(node, &mut tensors));
        }
        for tensor in tensors {
            if tensor.data_location == Some(proto::EXTERNAL) {
                beside = true;
                match tensors::read(tensor, source, &limits) {
                    Ok(read) => embed(tensor, &read),
                    Err(fault) => faults.push(fault.at(tensor.name.clone().unwrap_or_default())),
                }
            }
        }
        let Some(graph) = &proto.graph else { return Err(vec![Fault::invalid("the file holds no graph")]) };
        let constant_nodes = graph.node.iter().filter(|n| op(n) == "Constant").filter_map(|n| Some((n.output.first()?.clone(), n)));
        for (name, node) in constant_nodes {
            if let Some(tensor) = attribute(node, "value").and_then(|a| a.t.as_ref()) {
                constants.extend(tensors::read(tensor, source, &limits).map(|t| (name, t)));
            } else if let Some(value) = attribute(node, "value_float").and_then(|a| a.f) {
                constants.insert(name, Tensor::f32s(&[], &[value]));
            } else if let Some(list) = attribute(node, "value_floats") {
                constants.insert(name, Tensor::f32s(&[list.floats.len()], &list.floats));
            } else if let Some(list) = attribute(node, "value_ints") {
                constants.insert(name, Tensor::i64s(&[list.ints.len()], &list.ints));
            }
        }
        for tensor in &graph.initializer {
            // strings and types that we have no values of are left alone
            let known = tensor.data_type.is_some_and(|t| Dtype::from_onnx(t).is_some());
            let name = tensor.name.clone().unwrap_or_default();
            if known {
                match tensors::read(tensor, source, &limits) {
                    Ok(read) => drop(constants.insert(name, read)),
                    Err(fault) => faults.push(fault.at(name)),
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        for node in &graph.node {
            let derived = derived(node, &constants);
            constants.extend(derived.and_then(|tensor| Some((node.output.first()?.clone(), tensor))));
        }
        let mut names = BTreeSet::new();
        all_names(graph, &mut names);
        Ok(Draft { proto, constants, names, beside })
    }

    pub(crate) fn graph(&self) -> &proto::Graph {
        self.proto.graph.as_ref().expect("a draft has a graph")
    }

    pub(crate) fn graph_mut(&mut self) -> &mut proto::Graph {
        self.proto.graph.as_mut().expect("a draft has a graph")
    }

    pub(crate) fn constant(&self, name: &str) -> Option<&Tensor> {
        self.constants.get(name)
    }

    /// A name that nothing in the model has yet, made from another.
    pub(crate) fn fresh(&mut self, base: &str) -> String {
        let mut name = base.to_string();
        let mut number = 0;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{base}_{number}");
        }
        name
    }

    /// A new initializer; the name it got.
    pub(crate) fn add_constant(&mut self, base: &str, tensor: Tensor) -> String {
        let name = self.fresh(base);
        self.graph_mut().initializer.push(written(&name, &tensor));
        self.constants.insert(name.clone(), tensor);
        name
    }

    /// Gives an initializer another tensor. Whether there is one of that name.
    pub(crate) fn replace_constant(&mut self, name: &str, tensor: &Tensor) -> bool {
        let Some(file) = self.graph_mut().initializer.iter_mut().find(|t| t.name.as_deref() == Some(name)) else { return false };
        embed(file, tensor);
        self.constants.insert(name.into(), tensor.clone());
        true
    }

    /// A node that computes in integers, or turns floats into them; nothing where the model is one of floats.
    pub fn integers(&self) -> Option<String> {
        let integer = |node: &proto::Node| {
            let op = node.op_type.as_deref().unwrap_or("");
            op.starts_with("QLinear")
                || matches!(op, "QuantizeLinear" | "DynamicQuantizeLinear" | "ConvInteger" | "MatMulInteger" | "QGemm")
        };
        let at = self.graph().node.iter().position(integer)?;
        Some(format!("{} ({})", self.label(at), self.graph().node[at].op_type.as_deref().unwrap_or("")))
    }

    /// Whether a value is known before the model runs.
    pub fn is_constant(&self, value: &str) -> bool {
        self.constants.contains_key(value)
    }

    /// Whether a node makes a value of that name.
    pub fn makes(&self, value: &str) -> bool {
        self.graph().node.iter().any(|n| n.output.iter().any(|o| o == value))
    }

    /// A new node with a name of its own, which its outputs say.
    pub(crate) fn add_node(&mut self, op: &str, inputs: &[&str], output: &str, attributes: Vec<proto::Attribute>) {
        let name = self.fresh(&format!("{output}_{op}"));
        self.graph_mut().node.push(proto::Node {
            input: inputs.iter().map(|s| s.to_string()).collect(),
            output: vec![output.to_string()],
            name: Some(name),
            op_type: Some(op.into()),
            attribute: attributes,
            ..proto::Node::default()
        });
    }

    pub(crate) fn uses(&self) -> Uses<'_> {
        let graph = self.graph();
        let mut uses = Uses::default();
        for (index, node) in graph.node.iter().enumerate() {
            for name in node.output.iter().filter(|n| !n.is_empty()) {
                uses.maker.insert(name, index);
            }
            for name in node.input.iter().filter(|n| !n.is_empty()) {
                uses.readers.entry(name).or_default().push(index);
            }
            for body in wiring::subgraphs(node) {
                all_names(body, &mut uses.captured);
            }
        }
        uses.outputs = graph.output.iter().filter_map(|o| o.name.as_deref()).collect();
        uses
    }

    /// The nodes in an order in which every value is made before it is read.
    pub(crate) fn order(&self) -> Vec<usize> {
        let made: BTreeSet<&str> = self.graph().node.iter().flat_map(|n| &n.output).map(String::as_str).collect();
        let nodes = &self.graph().node;
        wiring::order(nodes, &|name| !made.contains(name)).unwrap_or_else(|_| (0..nodes.len()).collect())
    }

    /// The name of a node for people: its own, or its first output's.
    pub(crate) fn label(&self, node: usize) -> String {
        wiring::label(&self.graph().node[node], node)
    }

    /// Values of float tensors that nodes of the outermost graph make or the model takes.
    pub fn inputs(&self) -> Vec<String> {
        crate::signature::inputs(self.graph()).into_iter().map(|d| d.name).collect()
    }

    /// The names of the outputs.
    pub fn outputs(&self) -> Vec<String> {
        self.graph().output.iter().filter_map(|o| o.name.clone()).collect()
    }

    /// The node that makes a value which one makes.
    pub(crate) fn maker(&self, value: &str) -> usize {
        let makes = |n: &proto::Node| n.output.iter().any(|o| o == value);
        self.graph().node.iter().position(makes).expect("a layer's node is in the model")
    }

    /// A copy of the model whose outputs are these values, each made by a node.
    pub fn tapped(&self, values: &[String]) -> Model {
        let mut proto = self.proto.clone();
        if let Some(graph) = &mut proto.graph {
            let known: BTreeMap<String, proto::ValueInfo> =
                graph.output.drain(..).filter_map(|info| Some((info.name.clone()?, info))).collect();
            let tap = |name: &String| {
                let untyped = || proto::ValueInfo { name: Some(name.clone()), ..proto::ValueInfo::default() };
                known.get(name).cloned().unwrap_or_else(untyped)
            };
            graph.output = values.iter().map(tap).collect();
        }
        Model { proto }
    }

    /// The model as it stands.
    pub fn model(&self) -> Model {
        let mut draft = self.clone();
        draft.tidy();
        Model { proto: draft.proto }
    }

    /// Nodes in an order that runs, without constants that nobody reads.
    fn tidy(&mut self) {
        let graph = self.graph_mut();
        let constant: BTreeSet<String> = crate::signature::initializers(graph).into_iter().map(str::to_owned).collect();
        let inputs: BTreeSet<String> = graph.input.iter().filter_map(|i| i.name.clone()).collect();
        let outside = |name: &str| constant.contains(name) || inputs.contains(name);
        if let Ok(order) = wiring::order(&graph.node, &outside) {
            let mut nodes: Vec<Option<proto::Node>> = graph.node.drain(..).map(Some).collect();
            graph.node = order.into_iter().filter_map(|i| nodes[i].take()).collect();
        }
        let mut read: BTreeSet<String> = graph.output.iter().filter_map(|o| o.name.clone()).collect();
        for node in &graph.node {
            read.extend(node.input.iter().cloned());
            wiring::subgraphs(node).for_each(|body| all_names(body, &mut read));
        }
        // an old model declares its constants as inputs too
        graph.initializer.retain(|t| t.name.as_ref().is_none_or(|name| read.contains(name)));
        graph.node.retain(|n| op(n) != "Constant" || n.output.iter().any(|name| read.contains(name)));
        let declared: BTreeSet<&str> = graph.initializer.iter().filter_map(|t| t.name.as_deref()).collect();
        graph.input.retain(|i| i.name.as_ref().is_none_or(|n| !constant.contains(n) || declared.contains(n.as_str()) || read.contains(n)));
    }

    /// The file, and what lies beside it under `location` if weights came from beside the model, or are too large to lie inside.
    pub fn finish(mut self, location: &str) -> Written {
        self.tidy();
        let total: usize = self.graph().initializer.iter().filter_map(|t| t.raw_data.as_ref().map(Bytes::len)).sum();
        if !self.beside && total < EMBEDDED {
            return Written { model: proto::encode(&self.proto), data: None };
        }
        let mut data = Vec::new();
        for tensor in &mut self.graph_mut().initializer {
            let Some(raw) = tensor.raw_data.take_if(|raw| raw.len() >= BESIDE) else { continue };
            data.resize(data.len().next_multiple_of(ALIGN), 0);
            let entry = |key: &str, value: String| proto::Entry { key: Some(key.into()), value: Some(value) };
            tensor.external_data =
                vec![entry("location", location.into()), entry("offset", data.len().to_string()), entry("length", raw.len().to_string())];
            tensor.data_location = Some(proto::EXTERNAL);
            data.extend_from_slice(&raw);
        }
        Written { model: proto::encode(&self.proto), data: Some(data) }
    }
}

/// What a node makes of constants, where weights are commonly hidden behind it.
fn derived(node: &proto::Node, constants: &BTreeMap<String, Tensor>) -> Option<Tensor> {
    let operand = |i: usize| node.input.get(i).and_then(|name| constants.get(name));
    match op(node) {
        "Identity" => operand(0).cloned(),
        "DequantizeLinear" if attribute(node, "block_size").is_none_or(|a| a.i.unwrap_or(0) == 0) => {
            let (integers, scale) = (operand(0)?, operand(1).filter(|t| is_f32(t))?);
            let (shape, scales) = (integers.shape(), scale.to_f32s());
            let zeros = match node.input.get(2).filter(|n| !n.is_empty()) {
                Some(_) => operand(2)?.to_f64s(),
                None => vec![0.0; scales.len()],
            };
            let axis = int(node, "axis", 1);
            let axis = usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).ok()?;
            let inner: usize = shape.get(axis + 1..).unwrap_or(&[]).iter().product();
            let lane = |i: usize| if scales.len() == 1 { 0 } else { i / inner.max(1) % scales.len() };
            let fits = scales.len() == zeros.len() && (scales.len() == 1 || shape.get(axis) == Some(&scales.len()));
            let value = |(i, q): (usize, f64)| (q - zeros[lane(i)]) as f32 * scales[lane(i)];
            fits.then(|| Tensor::f32s(shape, &integers.to_f64s().into_iter().enumerate().map(value).collect::<Vec<f32>>()))
        }
        _ => None,
    }
}

/// The operator of the default domain; nothing for another's.
pub(crate) fn op(node: &proto::Node) -> &str {
    match node.domain.as_deref() {
        None | Some("" | "ai.onnx") => node.op_type.as_deref().unwrap_or(""),
        Some(_) => "",
    }
}

pub(crate) fn attribute<'n>(node: &'n proto::Node, name: &str) -> Option<&'n proto::Attribute> {
    node.attribute.iter().find(|a| a.name.as_deref() == Some(name))
}

pub(crate) fn int(node: &proto::Node, name: &str, default: i64) -> i64 {
    // a zero may be left out of the message
    attribute(node, name).map_or(default, |a| a.i.unwrap_or(0))
}

pub(crate) fn float(node: &proto::Node, name: &str, default: f32) -> f32 {
    attribute(node, name).map_or(default, |a| a.f.unwrap_or(0.0))
}

/// An attribute of whole numbers.
pub(crate) fn int_attribute(name: &str, value: i64) -> proto::Attribute {
    proto::Attribute { name: Some(name.into()), i: Some(value), kind: Some(proto::attribute_kind::INT), ..proto::Attribute::default() }
}

/// A tensor as the file holds it: raw, small integers packed.
fn written(name: &str, tensor: &Tensor) -> proto::Tensor {
    let mut file = proto::Tensor { name: Some(name.into()), ..proto::Tensor::default() };
    embed(&mut file, tensor);
    file
}

/// Puts a tensor's data into the message, in place of what it had.
fn embed(file: &mut proto::Tensor, tensor: &Tensor) {
    let bytes = tensor.bytes();
    let raw = match tensor.dtype().bits() {
        bits @ (2 | 4) => {
            let (each, mask) = (8 / bits as usize, (1u8 << bits) - 1);
            let pack = |part: &[u8]| part.iter().enumerate().fold(0, |byte, (i, v)| byte | (v & mask) << (i as u32 * bits));
            Bytes::from(bytes.chunks(each).map(pack).collect::<Vec<u8>>())
        }
        _ => Bytes::from(bytes.to_vec()),
    };
    *file = proto::Tensor {
        name: file.name.take(),
        doc_string: file.doc_string.take(),
        metadata_props: std::mem::take(&mut file.metadata_props),
        dims: tensor.shape().iter().map(|&d| d as i64).collect(),
        data_type: Some(tensor.dtype().onnx()),
        raw_data: Some(raw),
        ..proto::Tensor::default()
    };
}

/// Every tensor of a graph, its bodies too.
fn every_tensor<'g>(graph: &'g mut proto::Graph, all: &mut Vec<&'g mut proto::Tensor>) {
    all.extend(graph.initializer.iter_mut());
    for sparse in &mut graph.sparse_initializer {
        all.extend(sparse.values.as_mut());
        all.extend(sparse.indices.as_mut());
    }
    graph.node.iter_mut().for_each(|node| of_node(node, all));
}

fn of_node<'g>(node: &'g mut proto::Node, all: &mut Vec<&'g mut proto::Tensor>) {
    for attribute in &mut node.attribute {
        all.extend(attribute.t.as_mut());
        all.extend(attribute.tensors.iter_mut());
        if let Some(graph) = &mut attribute.g {
            every_tensor(graph, all);
        }
        attribute.graphs.iter_mut().for_each(|graph| every_tensor(graph, all));
    }
}

/// Every name of a value or node in a graph and its bodies.
fn all_names(graph: &proto::Graph, names: &mut BTreeSet<String>) {
    for node in &graph.node {
        names.extend(node.input.iter().chain(&node.output).chain(&node.name).cloned());
        wiring::subgraphs(node).for_each(|body| all_names(body, names));
    }
    names.extend(graph.initializer.iter().filter_map(|t| t.name.clone()));
    names.extend(graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref()?.name.clone()));
    names.extend(graph.input.iter().chain(&graph.output).chain(&graph.value_info).filter_map(|v| v.name.clone()));
}

/// Whether a model's element type is f32.
pub(crate) fn is_f32(tensor: &Tensor) -> bool {
    tensor.dtype().onnx() == data_type::FLOAT
}
