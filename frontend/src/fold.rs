//! What is known about a value while importing: shapes, axes and bounds arrive as ONNX values, often at the
//! end of a small computation. It is folded on demand, through the oracle, within a budget; nothing
//! is replaced in the graph. It refuses to know ONNX.

use std::collections::BTreeSet;

use ir::{Dim, Dtype, Fault, NodeId, Op, Tensor};

use crate::build::{Build, Value};

/// Elements that one folded value may have.
const ELEMENTS: usize = 1 << 16;
/// Elements that all folded values of an import may have together.
const ALL_ELEMENTS: usize = 1 << 24;

impl Build<'_> {
    /// The elements of a value that follows from constants alone, if folding it is cheap.
    pub fn known(&mut self, value: &Value) -> Option<Tensor> {
        let root = value.node?;
        if let Some(tensor) = self.graph.as_const(root) {
            return Some(tensor.clone());
        }
        let mut todo = vec![root];
        while let Some(&id) = todo.last() {
            if self.folded.contains_key(&id) || self.graph.as_const(id).is_some() {
                todo.pop();
                continue;
            }
            let operands = self.graph.operands(id);
            let unknown = |this: &Self, o: &NodeId| matches!(this.folded.get(o), Some(None));
            if matches!(self.graph.op(id), Op::Input { .. }) || operands.iter().any(|o| unknown(self, o)) {
                self.folded.insert(id, None);
                todo.pop();
                continue;
            }
            let open: Vec<NodeId> =
                operands.iter().copied().filter(|o| !self.folded.contains_key(o) && self.graph.as_const(*o).is_none()).collect();
            if open.is_empty() {
                let tensor = self.evaluate(id, &operands);
                self.folded.insert(id, tensor);
                todo.pop();
            } else {
                todo.extend(open);
            }
        }
        self.folded.get(&root).cloned().flatten()
    }

    fn evaluate(&mut self, id: NodeId, operands: &[NodeId]) -> Option<Tensor> {
        let node = self.graph.node(id);
        let elements = node.ty.elements()?;
        let mut tensors = Vec::with_capacity(operands.len());
        for operand in operands {
            let tensor = match self.graph.as_const(*operand) {
                Some(tensor) => Some(tensor),
                None => self.folded.get(operand)?.as_ref(),
            };
            tensors.push(tensor?);
        }
        let work = tensors.iter().map(|t| t.elements()).fold(elements, usize::saturating_add);
        if work > ELEMENTS || self.folded_elements.saturating_add(work) > ALL_ELEMENTS {
            return None;
        }
        let made = ir::graph::eval::eval_node(&node.op, &node.ty, &tensors).ok();
        self.folded_elements += work;
        made
    }

    /// The elements of an integer list or scalar as dimensions, if they are known.
    pub fn known_dims(&mut self, value: &Value) -> Option<Vec<Dim>> {
        if let Some(dims) = &value.dims {
            return Some(dims.to_vec());
        }
        if value.rank() > 1 || !matches!(value.dtype(), Dtype::I64 | Dtype::I32) {
            return None;
        }
        let tensor = self.known(value)?;
        Some(tensor.to_i64s().into_iter().map(Dim::from).collect())
    }

    /// A fault for a value that had to be known: which model inputs it comes from.
    pub fn must_be_known(&self, value: &Value, what: &str) -> Fault {
        let mut inputs = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut todo: Vec<NodeId> = value.node.into_iter().collect();
        while let Some(id) = todo.pop() {
            if !seen.insert(id) {
                continue;
            }
            if let Op::Input { name, .. } = self.graph.op(id) {
                inputs.insert(name.clone());
            }
            todo.extend(self.graph.operands(id));
        }
        if inputs.is_empty() {
            return match &value.dims {
                Some(_) => Fault::unsupported(format!("{what} depends on a dimension that is not fixed"))
                    .help("fix the named dimensions with --dim NAME=SIZE"),
                None => Fault::limit(format!("{what} takes too much computation to know when compiling")),
            };
        }
        let names: Vec<String> = inputs.iter().map(|name| format!("{name:?}")).collect();
        let binds: Vec<String> = inputs.iter().map(|name| format!("--bind {name}=FILE.npy")).collect();
        Fault::unsupported(format!("{what} must be known when compiling, and depends on input {}", names.join(", ")))
            .help(format!("make it a constant with {}", binds.join(" ")))
    }
}
