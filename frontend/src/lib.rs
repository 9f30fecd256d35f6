//! ONNX becomes a Graph. A model file is decoded without copying its weights, checked, and every ONNX
//! operator is written as a few tensor operators by an import function; [`ops`] has the table of them.
//!
//! Types and shapes follow as nodes are added; shapes that arrive as values are folded on demand. The room
//! opens no files ([`Source`] does) and knows no machine. What is wrong with a model is a list of
//! [`Fault`]s, as complete as can be, and never a panic.

mod attrs;
mod build;
mod cx;
pub mod edit;
mod fold;
mod importer;
pub mod ops;
pub mod proto;
mod signature;
mod source;
mod symbolic;
mod tensors;
mod turns;
mod wiring;

use std::collections::BTreeMap;

use bytes::Bytes;
use ir::{Fault, Graph, Tensor};

pub use signature::{Declared, DeclaredDim};
pub use source::{NoFiles, Source, SourceError, location_is_safe};

/// The opsets of the default domain that are understood.
pub const OPSETS: std::ops::RangeInclusive<i64> = 1..=28;

/// What a dimension is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    Fixed(i64),
    /// Any size from the first to the second, both included.
    Range(i64, i64),
}

/// What the user decides about a model.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Sizes of named dimensions; an unnamed one is called `INPUT.AXIS`.
    pub dims: BTreeMap<String, Extent>,
    /// Inputs that become constants.
    pub bind: BTreeMap<String, Tensor>,
    /// Shapes of the arrays that inputs will be given, where they are at hand: they fix dimensions.
    pub shapes: BTreeMap<String, Vec<usize>>,
    pub limits: Limits,
}

/// Budgets against models that are small to write and large to compile.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Nodes of the model with its functions inlined, and of the graph made from it.
    pub nodes: usize,
    /// Bytes of any one tensor.
    pub bytes: u64,
    /// Bytes of a tensor that has to be written out here, such as a sparse one.
    pub dense: u64,
    /// Axes of any one tensor.
    pub rank: usize,
    /// Functions and subgraphs inside each other.
    pub depth: usize,
    /// Elements that one window (of a pooling or a convolution) may span.
    pub window: u64,
    /// Faults that are told one by one.
    pub faults: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { nodes: 200_000, bytes: 1 << 40, dense: 1 << 30, rank: 16, depth: 64, window: 1 << 20, faults: 50 }
    }
}

/// A model as a graph.
#[derive(Debug)]
pub struct Import {
    /// Inputs and outputs bear their ONNX names and stand in the model's order.
    pub graph: Graph,
    /// Name of the ONNX graph, possibly empty.
    pub name: String,
    pub producer: String,
    /// Version of the default operator set.
    pub opset: i64,
    /// What was decided without being asked for, one sentence each.
    pub notes: Vec<String>,
}

/// A decoded model file.
#[derive(Debug)]
pub struct Model {
    proto: proto::Model,
}

impl Model {
    /// Decodes a file; weights share its storage. Fault: not an ONNX message.
    pub fn read(bytes: Bytes) -> Result<Model, Vec<Fault>> {
        match proto::decode(bytes) {
            Ok(proto) => Ok(Model { proto }),
            Err(proto::Malformed::Wire(why)) => Err(vec![Fault::invalid(format!("the file is not an ONNX model: {why}"))]),
            Err(proto::Malformed::Depth) => Err(vec![Fault::limit("graphs are nested too deeply")]),
        }
    }

    /// The inputs that a caller must give, as the file declares them.
    pub fn inputs(&self) -> Vec<Declared> {
        self.proto.graph.as_ref().map_or_else(Vec::new, signature::inputs)
    }

    /// The outputs, as the file declares them.
    pub fn outputs(&self) -> Vec<Declared> {
        self.proto.graph.as_ref().map_or_else(Vec::new, signature::outputs)
    }

    /// The graph of the model. Faults: everything that is wrong with it or not supported, at once.
    pub fn import(&self, source: &dyn Source, options: &Options) -> Result<Import, Vec<Fault>> {
        importer::import(&self.proto, source, options)
    }
}

/// Reads and imports in one go.
pub fn import(bytes: Bytes, source: &dyn Source, options: &Options) -> Result<Import, Vec<Fault>> {
    Model::read(bytes)?.import(source, options)
}
