//! What a rewrite rule is: a value that looks at one node and answers with a rewrite, a near miss, or
//! nothing. A rule changes nothing itself, so that the runner can verify, log, count and refuse it.
//!
//! Laws: a rule never makes things worse; it needs no other rule to have run first; it never reads its
//! root as an operand of what replaces it; where it needs an unshared operand, it says so.

use ir::graph::infer;
use ir::{Graph, NodeId, Op, Tensor, Type};

/// One rewrite, by what it does.
pub struct Rule {
    pub name: &'static str,
    /// One line for `explain` and the manual.
    pub about: &'static str,
    /// Which operators it may start at; asked before `at`.
    pub root: fn(&Op) -> bool,
    pub at: fn(&Graph, NodeId) -> Option<Match>,
}

/// What a rule says of a node that looks like its own.
pub enum Match {
    Fire(Rewrite),
    /// It would have fired, but for this.
    Near(String),
}

/// A near miss and its reason.
pub fn near(why: impl Into<String>) -> Option<Match> {
    Some(Match::Near(why.into()))
}

/// A value in a rewrite: of the graph as it is, or the result of a node that the rewrite adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Val {
    Old(NodeId),
    New(usize),
}

impl From<NodeId> for Val {
    fn from(id: NodeId) -> Val {
        Val::Old(id)
    }
}

/// A node to add. Its operands stand before it.
pub struct NewNode {
    pub op: Op,
    pub operands: Vec<Val>,
    pub ty: Type,
    /// The nodes whose names it inherits.
    pub from: Vec<NodeId>,
}

/// Nodes to add, in order, and which values they take the place of.
pub struct Rewrite {
    pub new: Vec<NewNode>,
    pub replace: Vec<(NodeId, Val)>,
}

/// Collects the nodes of a rewrite. What does not fit its operator gives `None`, and the rule does not fire.
pub struct Builder<'g> {
    graph: &'g Graph,
    new: Vec<NewNode>,
    from: Vec<NodeId>,
}

impl<'g> Builder<'g> {
    /// New nodes inherit the names of `from`.
    pub fn new(graph: &'g Graph, from: &[NodeId]) -> Builder<'g> {
        Builder { graph, new: Vec::new(), from: from.to_vec() }
    }

    /// From here on, new nodes inherit the names of `from`.
    pub fn from(&mut self, from: &[NodeId]) -> &mut Builder<'g> {
        self.from = from.to_vec();
        self
    }

    pub fn ty(&self, value: Val) -> &Type {
        match value {
            Val::Old(id) => self.graph.ty(id),
            Val::New(i) => &self.new[i].ty,
        }
    }

    pub fn op(&self, value: Val) -> &Op {
        match value {
            Val::Old(id) => self.graph.op(id),
            Val::New(i) => &self.new[i].op,
        }
    }

    pub fn as_const(&self, value: Val) -> Option<&Tensor> {
        match self.op(value) {
            Op::Const { tensor } => Some(tensor),
            _ => None,
        }
    }

    fn first_operand(&self, value: Val) -> Option<Val> {
        match value {
            Val::Old(id) => self.graph.operands(id).first().map(|&id| Val::Old(id)),
            Val::New(i) => self.new[i].operands.first().copied(),
        }
    }

    pub fn add(&mut self, op: Op, operands: &[Val]) -> Option<Val> {
        let types: Vec<&Type> = operands.iter().map(|&v| self.ty(v)).collect();
        let ty = infer::infer(&op, &types).ok()?;
        self.new.push(NewNode { op, operands: operands.to_vec(), ty, from: self.from.clone() });
        Some(Val::New(self.new.len() - 1))
    }

    /// A constant made from `origin`, whose name it keeps.
    pub fn constant(&mut self, tensor: Tensor, origin: Option<NodeId>) -> Val {
        let ty = tensor.ty();
        self.new.push(NewNode { op: Op::Const { tensor }, operands: Vec::new(), ty, from: origin.into_iter().collect() });
        Val::New(self.new.len() - 1)
    }

    /// `value` under another shape: itself where it has that shape, a view where it is a constant.
    pub fn reshape(&mut self, value: Val, shape: &[ir::Dim]) -> Option<Val> {
        if self.ty(value).shape == shape {
            return Some(value);
        }
        if let (Some(tensor), Some(sizes)) = (self.as_const(value), ir::dim::fixed(shape)) {
            if sizes.iter().product::<usize>() != tensor.elements() {
                return None;
            }
            let tensor = tensor.reshape(&sizes);
            let origin = self.origin(value);
            return Some(self.constant(tensor, origin));
        }
        let below = match self.op(value) {
            Op::Reshape { .. } => self.first_operand(value),
            _ => None,
        };
        if let Some(below) = below {
            return self.reshape(below, shape);
        }
        self.add(Op::Reshape { shape: shape.to_vec() }, &[value])
    }

    /// `value` permuted: itself for the identity, a view where it is a constant, a reshape where only axes
    /// of size 1 move; joined with a transpose that it comes from.
    pub fn transpose(&mut self, value: Val, perm: &[usize]) -> Option<Val> {
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return Some(value);
        }
        if let Some(tensor) = self.as_const(value) {
            let tensor = tensor.permute(perm);
            let origin = self.origin(value);
            return Some(self.constant(tensor, origin));
        }
        if let (Op::Transpose { perm: below }, Some(operand)) = (self.op(value), self.first_operand(value)) {
            let joined: Vec<usize> = perm.iter().map(|&p| below[p]).collect();
            return self.transpose(operand, &joined);
        }
        if crate::layout::only_ones_move(perm, &self.ty(value).shape) {
            let shape: Vec<ir::Dim> = perm.iter().map(|&p| self.ty(value).shape[p].clone()).collect();
            return self.reshape(value, &shape);
        }
        self.add(Op::Transpose { perm: perm.to_vec() }, &[value])
    }

    fn origin(&self, value: Val) -> Option<NodeId> {
        match value {
            Val::Old(id) => Some(id),
            Val::New(i) => self.new[i].from.first().copied(),
        }
    }

    /// The rewrite in which `value` takes the place of `old`.
    pub fn replace(self, old: NodeId, value: Val) -> Option<Match> {
        Some(Match::Fire(Rewrite { new: self.new, replace: vec![(old, value)] }))
    }
}
