//! What is known about a value while importing: shapes, axes and bounds arrive as ONNX values, often at the
//! end of a small computation. It is folded on demand, through the oracle, within a budget; nothing
//! is replaced in the graph. It refuses to know ONNX.

use std::collections::BTreeSet;

use ir::scalar::{Arg, ScalarOp};
use ir::{Body, Dim, Dtype, Fault, NodeId, Op, Tensor};

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

    /// The least and the most that an element of an integer value can be, as far as its type and the bodies on its way say.
    pub fn interval(&self, value: &Value) -> Option<(i64, i64)> {
        self.interval_of(value.node?, 32)
    }

    fn interval_of(&self, id: NodeId, depth: usize) -> Option<(i64, i64)> {
        let ty = self.graph.ty(id);
        let bounds = |list: Vec<i64>| Some((*list.iter().min()?, *list.iter().max()?));
        let (low, high) = match ty.dtype.int_range() {
            Some((low, high)) => (i64::try_from(low).ok()?, i64::try_from(high).unwrap_or(i64::MAX)),
            None if ty.dtype == Dtype::Bool => (0, 1),
            None => return None,
        };
        let found = match self.graph.op(id) {
            _ if depth == 0 => None,
            Op::Const { tensor } if tensor.elements() <= ELEMENTS => bounds(tensor.to_i64s()),
            Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Expand { .. } | Op::Gather { .. } => {
                self.interval_of(self.graph.operands(id)[0], depth - 1)
            }
            Op::Map { body } => {
                let params = self.graph.operands(id);
                let of = |i: usize| self.interval_of(params[i], depth - 1);
                intervals(body, &params.iter().map(|p| self.graph.ty(*p).dtype).collect::<Vec<_>>(), &of)
            }
            Op::Const { .. }
            | Op::Input { .. }
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Dot { .. }
            | Op::Conv { .. }
            | Op::Window { .. }
            | Op::Reduce { .. }
            | Op::ArgReduce { .. }
            | Op::Cumulate { .. }
            | Op::Sort { .. }
            | Op::Scatter { .. }
            | Op::Softmax { .. }
            | Op::Norm { .. }
            | Op::Compact { .. }
            | Op::Suppress { .. }
            | Op::Attention { .. }
            | Op::Resize { .. }
            | Op::Quantize { .. }
            | Op::Dequantize { .. }
            | Op::Scan { .. }
            | Op::Take { .. } => None,
        };
        Some(found.map_or((low, high), |(a, b)| (a.max(low), b.min(high))))
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
            .of_inputs(inputs)
    }
}

/// What a body over integers gives, from the intervals of its parameters. `None`: nothing is known.
fn intervals(body: &Body, params: &[Dtype], of: &dyn Fn(usize) -> Option<(i64, i64)>) -> Option<(i64, i64)> {
    let types = body.types(params).ok()?;
    let mut known: Vec<Option<(i64, i64)>> = Vec::with_capacity(types.len());
    let bound = |arg: &Arg, known: &[Option<(i64, i64)>]| match *arg {
        Arg::Param(i) => of(i.into()),
        Arg::Term(i) => known[usize::from(i)],
        Arg::Literal(l) => (!l.dtype.is_float()).then(|| (l.to_i64(), l.to_i64())),
    };
    for (term, dtype) in body.terms.iter().zip(&types) {
        let args: Vec<Option<(i64, i64)>> = term.args.iter().map(|arg| bound(arg, &known)).collect();
        let range = dtype.int_range().and_then(|(low, high)| Some((i64::try_from(low).ok()?, i64::try_from(high).ok()?)));
        // one side of a minimum is enough for its upper bound
        let side = |i: usize| args[i].or(range);
        let made = match (term.op, range) {
            (ScalarOp::Min, Some(_)) => side(0).zip(side(1)).map(|(a, b)| (a.0.min(b.0), a.1.min(b.1))),
            (ScalarOp::Max, Some(_)) => side(0).zip(side(1)).map(|(a, b)| (a.0.max(b.0), a.1.max(b.1))),
            (ScalarOp::Select, _) => args[1].zip(args[2]).map(|(a, b)| (a.0.min(b.0), a.1.max(b.1))),
            (ScalarOp::Mod, _) => args[1].filter(|b| b.0 > 0).map(|b| (0, b.1 - 1)),
            // what wraps is anything
            (ScalarOp::Add, Some(all)) => args[0]
                .zip(args[1])
                .and_then(|(a, b)| Some((a.0.checked_add(b.0)?, a.1.checked_add(b.1)?)))
                .filter(|m| m.0 >= all.0 && m.1 <= all.1),
            (ScalarOp::Cast(_), Some(all)) => args[0].filter(|m| m.0 >= all.0 && m.1 <= all.1),
            _ => None,
        };
        known.push(made);
    }
    bound(&body.result, &known)
}
