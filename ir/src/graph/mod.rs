//! Graph: tensor operators and their data flow, behind a door. Users see ids, operands in order, uses, and
//! `order()`. This is the one file that names petgraph.

pub mod attr;
pub mod eval;
pub mod infer;
pub mod op;
pub mod region;
pub mod text;
pub mod verify;

pub use op::Op;
pub use region::Region;

use crate::dim::{Dim, Symbols};
use crate::fault::Fault;
use crate::tensor::{Tensor, Type};
use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A node of one graph. Ids are handed out in order of birth and stay valid until the node is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(NodeIndex);

impl NodeId {
    /// For tables beside a graph: less than [`Graph::bound`].
    pub fn index(self) -> usize {
        self.0.index()
    }
}

/// The ONNX names that a node came from, in order, each once.
pub type Names = Vec<Arc<str>>;

/// An operator, the type of its one result, and where it came from.
#[derive(Clone, Debug)]
pub struct Node {
    pub op: Op,
    pub ty: Type,
    pub names: Names,
}

/// A model, or a part of one.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Edges go from a value to its use; the weight is the operand's position.
    nodes: StableDiGraph<Node, usize>,
    /// In the order of the model's signature.
    inputs: Vec<NodeId>,
    outputs: Vec<(String, NodeId)>,
    /// The range of every symbol that a dimension names.
    pub symbols: Symbols,
}

impl Graph {
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Adds a node whose type follows from its operands. Fault: the operands do not fit the operator.
    pub fn add(&mut self, op: Op, operands: &[NodeId], names: &[Arc<str>]) -> Result<NodeId, Fault> {
        let types: Vec<&Type> = operands.iter().map(|&id| &self.node(id).ty).collect();
        let ty = infer::infer(&op, &types)?;
        let is_input = matches!(op, Op::Input { .. });
        let id = NodeId(self.nodes.add_node(Node { op, ty, names: names.to_vec() }));
        for (slot, &operand) in operands.iter().enumerate() {
            self.nodes.add_edge(operand.0, id.0, slot);
        }
        if is_input {
            self.inputs.push(id);
        }
        Ok(id)
    }

    /// An input stops being one; what stood for it is of no more use.
    pub fn withdraw(&mut self, input: NodeId) {
        self.inputs.retain(|&id| id != input);
    }

    /// The graph with `change` made to every dimension in it.
    pub fn with_dims(&self, change: &dyn Fn(&Dim) -> Dim) -> Graph {
        let mut graph = self.clone();
        for node in graph.nodes.node_weights_mut() {
            node.op = node.op.with_dims(change);
            node.ty.shape.iter_mut().for_each(|dim| *dim = change(dim));
        }
        graph
    }

    /// Gives a node another operator with the same result.
    pub fn set_op(&mut self, id: NodeId, op: Op) {
        self.nodes.node_weight_mut(id.0).expect("the node was not removed").op = op;
    }

    /// Adds a constant.
    pub fn constant(&mut self, tensor: Tensor, names: &[Arc<str>]) -> NodeId {
        self.add(Op::Const { tensor }, &[], names).expect("a constant has no operands to misfit")
    }

    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes.node_weight(id.0).expect("the node was not removed")
    }

    pub fn op(&self, id: NodeId) -> &Op {
        &self.node(id).op
    }

    pub fn ty(&self, id: NodeId) -> &Type {
        &self.node(id).ty
    }

    pub fn contains(&self, id: NodeId) -> bool {
        self.nodes.contains_node(id.0)
    }

    /// The constant that a node is.
    pub fn as_const(&self, id: NodeId) -> Option<&Tensor> {
        match self.op(id) {
            Op::Const { tensor } => Some(tensor),
            _ => None,
        }
    }

    /// Adds names to a node's provenance.
    pub fn rename(&mut self, id: NodeId, names: &[Arc<str>]) {
        let node = self.nodes.node_weight_mut(id.0).expect("the node was not removed");
        for name in names {
            if !node.names.contains(name) {
                node.names.push(name.clone());
            }
        }
    }

    /// Gives a node another provenance.
    pub fn set_names(&mut self, id: NodeId, names: Names) {
        self.nodes.node_weight_mut(id.0).expect("the node was not removed").names = names;
    }

    /// Operands in order; a value used twice stands twice.
    pub fn operands(&self, id: NodeId) -> Vec<NodeId> {
        let mut out: Vec<(usize, NodeId)> =
            self.nodes.edges_directed(id.0, Direction::Incoming).map(|e| (*e.weight(), NodeId(e.source()))).collect();
        out.sort();
        out.into_iter().map(|(_, id)| id).collect()
    }

    /// Every use as `(user, operand position)`, sorted. Outputs of the graph are not among them.
    pub fn uses(&self, id: NodeId) -> Vec<(NodeId, usize)> {
        let mut out: Vec<(NodeId, usize)> =
            self.nodes.edges_directed(id.0, Direction::Outgoing).map(|e| (NodeId(e.target()), *e.weight())).collect();
        out.sort();
        out
    }

    /// Uses and outputs together.
    pub fn use_count(&self, id: NodeId) -> usize {
        self.nodes.edges_directed(id.0, Direction::Outgoing).count() + self.outputs.iter().filter(|(_, o)| *o == id).count()
    }

    pub fn is_output(&self, id: NodeId) -> bool {
        self.outputs.iter().any(|(_, o)| *o == id)
    }

    pub fn inputs(&self) -> &[NodeId] {
        &self.inputs
    }

    pub fn outputs(&self) -> &[(String, NodeId)] {
        &self.outputs
    }

    pub fn set_outputs(&mut self, outputs: Vec<(String, NodeId)>) {
        self.outputs = outputs;
    }

    /// All uses of `old`, outputs included, become uses of `new`. `old` stays, unused.
    pub fn replace(&mut self, old: NodeId, new: NodeId) {
        if old == new {
            return;
        }
        for (user, slot) in self.uses(old) {
            // an operand of `new` itself keeps its meaning
            if user != new {
                self.set_operand(user, slot, new);
            }
        }
        for (_, output) in &mut self.outputs {
            if *output == old {
                *output = new;
            }
        }
    }

    /// Makes `value` operand `slot` of `user`.
    pub fn set_operand(&mut self, user: NodeId, slot: usize, value: NodeId) {
        let edge = self.nodes.edges_directed(user.0, Direction::Incoming).find(|e| *e.weight() == slot).map(|e| e.id());
        if let Some(edge) = edge {
            self.nodes.remove_edge(edge);
        }
        self.nodes.add_edge(value.0, user.0, slot);
    }

    /// Removes nodes that no output needs; inputs stay. The number removed.
    pub fn remove_dead(&mut self) -> usize {
        let mut live = BTreeSet::new();
        let mut todo: Vec<NodeId> = self.outputs.iter().map(|(_, id)| *id).chain(self.inputs.iter().copied()).collect();
        while let Some(id) = todo.pop() {
            if live.insert(id) {
                todo.extend(self.nodes.neighbors_directed(id.0, Direction::Incoming).map(NodeId));
            }
        }
        let before = self.nodes.node_count();
        self.nodes.retain_nodes(|_, index| live.contains(&NodeId(index)));
        before - self.nodes.node_count()
    }

    /// Removes a node that nothing uses, then operands that it alone used, and so on; inputs and outputs
    /// stay. Those removed, users before their operands. For rewriting; cheaper than [`Graph::remove_dead`].
    pub fn remove_unused(&mut self, id: NodeId) -> Vec<(NodeId, Node)> {
        let (mut removed, mut todo) = (Vec::new(), vec![id]);
        while let Some(id) = todo.pop() {
            if !self.contains(id) || self.use_count(id) > 0 || self.inputs.contains(&id) {
                continue;
            }
            todo.extend(self.operands(id));
            removed.extend(self.nodes.remove_node(id.0).map(|node| (id, node)));
        }
        removed
    }

    /// Every node after its operands; among those that are ready, the oldest first. Inputs come first.
    pub fn order(&self) -> Vec<NodeId> {
        let mut missing = vec![0usize; self.bound()];
        let mut ready = BTreeSet::new();
        for index in self.nodes.node_indices() {
            missing[index.index()] = self.nodes.edges_directed(index, Direction::Incoming).count();
            if missing[index.index()] == 0 {
                ready.insert((!self.inputs.contains(&NodeId(index)), NodeId(index)));
            }
        }
        let mut out = Vec::with_capacity(self.nodes.node_count());
        while let Some((_, id)) = ready.pop_first() {
            out.push(id);
            for edge in self.nodes.edges_directed(id.0, Direction::Outgoing) {
                let user = edge.target().index();
                missing[user] -= 1;
                if missing[user] == 0 {
                    ready.insert((true, NodeId(edge.target())));
                }
            }
        }
        out
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.node_count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// More than every index in use.
    pub fn bound(&self) -> usize {
        self.nodes.node_indices().map(|i| i.index() + 1).max().unwrap_or(0)
    }

    /// The names of a node joined, for messages: what the user knows it by.
    pub fn label(&self, id: NodeId) -> String {
        self.node(id).names.iter().map(|n| n.as_ref()).collect::<Vec<_>>().join("+")
    }
}
