//! Which channels of a model's values belong together, said as ties for others to solve, and what the model is without some of them. It
//! knows operators; which channels go is the caller's.

use std::collections::{BTreeMap, BTreeSet};

use ir::Tensor;

use super::{Draft, Layer, attribute, int, op};

/// A value's channel: the number of the value, and of the channel.
pub type Channel = (usize, usize);

/// What holds channels together.
#[derive(Debug, Clone, Default)]
pub struct Ties {
    /// Values that have channels.
    pub values: Vec<String>,
    /// Of each, the axis of its channels, and how many there are.
    pub axes: Vec<(usize, usize)>,
    /// Channels that live or go together.
    pub joins: Vec<(Channel, Channel)>,
    /// Values, all of whose channels must stay.
    pub barred: BTreeSet<usize>,
}

/// Channels that go, by value.
pub type Removal = BTreeMap<String, BTreeSet<usize>>;

/// Operators that leave every element where it is.
const POINTWISE: [&str; 22] = [
    "Relu",
    "LeakyRelu",
    "Clip",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
    "Elu",
    "Selu",
    "Celu",
    "Gelu",
    "Mish",
    "Softplus",
    "Softsign",
    "Erf",
    "Abs",
    "Neg",
    "Sqrt",
    "Exp",
    "Identity",
    "Dropout",
    "Cast",
];
const POOLS: [&str; 4] = ["MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"];

impl Draft {
    /// Values whose shapes [`Draft::ties`] wants: what the operators that it follows make.
    pub fn shaped(&self) -> Vec<String> {
        let follows = |name: &str| {
            POINTWISE.contains(&name)
                || POOLS.contains(&name)
                || ["Conv", "Gemm", "MatMul", "Add", "Mul", "Sub", "Div", "Concat", "Flatten", "Reshape"].contains(&name)
        };
        let layers: BTreeSet<String> = self.layers().0.into_iter().map(|l| l.made).collect();
        let mut known = layers.clone();
        let mut all = Vec::new();
        let nodes = &self.graph().node;
        for index in self.order() {
            let node = &nodes[index];
            let from_layers = node.input.iter().any(|i| known.contains(i)) || node.output.first().is_some_and(|o| layers.contains(o));
            if let Some(output) = node.output.first().filter(|_| follows(op(node)) && from_layers) {
                known.insert(output.clone());
                all.push(output.clone());
            }
        }
        all
    }

    /// The ties of a model whose values have these shapes.
    pub fn ties(&self, shapes: &BTreeMap<String, Vec<usize>>) -> Ties {
        let (layers, _) = self.layers();
        let mut tier = Tier { draft: self, shapes, ties: Ties::default(), at: BTreeMap::new() };
        let nodes = &self.graph().node;
        for index in self.order() {
            let layer = layers.iter().find(|l| nodes[index].output.first() == Some(&l.made));
            if !tier.node(index, layer) {
                tier.bar_inputs(index);
            }
        }
        let uses = self.uses();
        for (value, at) in tier.at.clone() {
            if uses.outputs.contains(value.as_str()) || uses.captured.contains(&value) {
                tier.ties.barred.insert(at);
            }
        }
        tier.ties
    }

    /// Takes channels out of the model: rows and columns of weights, biases, and constants that are added or multiplied per channel.
    pub fn remove(&mut self, removal: &Removal, shapes: &BTreeMap<String, Vec<usize>>, axes: &BTreeMap<String, usize>) {
        let (layers, _) = self.layers();
        let none = BTreeSet::new();
        for layer in &layers {
            let (rows, inputs) = (removal.get(&layer.made).unwrap_or(&none), removal.get(&layer.input).unwrap_or(&none));
            if rows.is_empty() && inputs.is_empty() {
                continue;
            }
            let weight = self.constant(&layer.weight).expect("a layer's weights are constant").clone();
            let row_axis = layer.row_axis();
            let weight = without(&weight, row_axis, rows);
            // a depthwise layer's channels are its rows
            let weight = if layer.groups() == 1 { without(&weight, 1 - row_axis, inputs) } else { weight };
            let groups = layer.groups() > 1;
            let left = weight.shape()[0];
            let name = self.add_constant(&layer.weight, weight);
            let node = self.maker(&layer.made);
            self.graph_mut().node[node].input[1] = name;
            if groups {
                let group = self.graph_mut().node[node].attribute.iter_mut().find(|a| a.name.as_deref() == Some("group"));
                if let Some(group) = group {
                    group.i = Some(left as i64);
                }
            }
            if layer.op != "MatMul"
                && let Some(bias) = &layer.bias
            {
                let tensor = self.constant(bias).expect("a layer's bias is constant").clone();
                let axis = tensor.shape().len() - 1;
                let name = self.add_constant(bias, without(&tensor, axis, rows));
                self.graph_mut().node[node].input[2] = name;
            }
        }
        self.shrink_constants(removal, shapes, axes);
        let gone: BTreeSet<&String> = removal.keys().collect();
        // shapes that the file declares for what changed are no longer true
        let stale = |name: Option<&String>| name.is_some_and(|name| gone.contains(name));
        self.graph_mut().value_info.retain(|info| !stale(info.name.as_ref()));
    }

    /// Constants that stand beside a value that lost channels, and shapes that count them.
    fn shrink_constants(&mut self, removal: &Removal, shapes: &BTreeMap<String, Vec<usize>>, axes: &BTreeMap<String, usize>) {
        for index in 0..self.graph().node.len() {
            let node = &self.graph().node[index];
            let Some(output) = node.output.first().cloned() else { continue };
            let Some(gone) = removal.get(&output) else { continue };
            let (name, inputs) = (op(node).to_string(), node.input.clone());
            let (Some(shape), Some(&axis)) = (shapes.get(&output), axes.get(&output)) else { continue };
            for (i, input) in inputs.iter().enumerate() {
                let Some(tensor) = self.constant(input).cloned() else { continue };
                let new = match name.as_str() {
                    "Reshape" if i == 1 => {
                        let mut sizes = tensor.to_i64s();
                        if let Some(last) = sizes.last_mut() {
                            *last = -1;
                        }
                        Tensor::i64s(tensor.shape(), &sizes)
                    }
                    "Add" | "Mul" | "Sub" | "Div" => {
                        let back = shape.len() - axis;
                        let Some(at) = tensor.shape().len().checked_sub(back).filter(|at| tensor.shape()[*at] > 1) else { continue };
                        without(&tensor, at, gone)
                    }
                    _ => continue,
                };
                let new = self.add_constant(input, new);
                self.graph_mut().node[index].input[i] = new;
            }
        }
    }
}

/// A tensor without some indices of an axis.
fn without(tensor: &Tensor, axis: usize, gone: &BTreeSet<usize>) -> Tensor {
    if gone.is_empty() {
        return tensor.clone();
    }
    let mut shape = tensor.shape().to_vec();
    let inner: usize = shape[axis + 1..].iter().product::<usize>() * tensor.dtype().bytes();
    let size = shape[axis];
    let bytes = tensor.bytes();
    let kept = bytes.chunks_exact(inner.max(1)).enumerate().filter(|(i, _)| !gone.contains(&(i % size)));
    let left: Vec<u8> = kept.flat_map(|(_, part)| part.iter().copied()).collect();
    shape[axis] = size - gone.iter().filter(|i| **i < size).count();
    Tensor::dense(tensor.dtype(), &shape, left)
}

struct Tier<'d> {
    draft: &'d Draft,
    shapes: &'d BTreeMap<String, Vec<usize>>,
    ties: Ties,
    at: BTreeMap<String, usize>,
}

impl Tier<'_> {
    /// Gives a value channels. Nothing where its shape is not known.
    fn value(&mut self, name: &str, axis: usize) -> Option<usize> {
        let size = *self.shapes.get(name)?.get(axis)?;
        let at = self.ties.values.len();
        self.ties.values.push(name.into());
        self.ties.axes.push((axis, size));
        self.at.insert(name.into(), at);
        Some(at)
    }

    fn known(&self, name: &str) -> Option<(usize, usize, usize)> {
        let at = *self.at.get(name)?;
        let (axis, size) = self.ties.axes[at];
        Some((at, axis, size))
    }

    fn bar_inputs(&mut self, index: usize) {
        for name in &self.draft.graph().node[index].input {
            self.ties.barred.extend(self.at.get(name));
        }
    }

    /// Ties what a node reads with what it makes. Whether the node is one of those that let channels go.
    fn node(&mut self, index: usize, layer: Option<&Layer>) -> bool {
        let node = &self.draft.graph().node[index];
        let Some(output) = node.output.first().cloned() else { return false };
        if let Some(layer) = layer {
            return self.layer(layer, &output);
        }
        let runtime: Vec<&String> = node.input.iter().filter(|n| !n.is_empty() && self.draft.constant(n).is_none()).collect();
        let known: Vec<(usize, usize, usize)> = runtime.iter().filter_map(|name| self.known(name)).collect();
        let [first, ..] = known[..] else { return true };
        if known.len() != runtime.len() || node.output.iter().filter(|o| !o.is_empty()).count() != 1 {
            return false;
        }
        match op(node) {
            name if POINTWISE.contains(&name) || POOLS.contains(&name) && first.1 == 1 => self.same(&known, &output),
            "Add" | "Mul" | "Sub" | "Div" => {
                let alike = known.iter().all(|k| (k.1, k.2) == (first.1, first.2));
                alike && self.same_rank(&runtime, &output) && self.same(&known, &output)
            }
            "Concat" => self.concat(&known, &runtime, &output, int(node, "axis", 0)),
            "Flatten" if int(node, "axis", 1) == 1 => self.flatten(first, &runtime, &output),
            "Reshape" if attribute(node, "allowzero").is_none_or(|a| a.i != Some(1)) => {
                let sizes = node.input.get(1).and_then(|n| self.draft.constant(n)).map(Tensor::to_i64s);
                let plain = sizes.is_some_and(|s| s.len() == 2 && s[0] != -1);
                plain && self.flatten(first, &runtime, &output)
            }
            _ => false,
        }
    }

    fn layer(&mut self, layer: &Layer, output: &str) -> bool {
        let rank = self.shapes.get(output).map_or(0, Vec::len);
        let axis = if layer.window.is_some() || layer.op == "Gemm" { 1 } else { rank.saturating_sub(1) };
        let Some(out) = self.value(output, axis) else { return false };
        if layer.shared {
            self.ties.barred.insert(out);
            return false;
        }
        let Some((input, input_axis, size)) = self.known(&layer.input) else { return true };
        let reads = if layer.window.is_some() || layer.op == "Gemm" { 1 } else { rank.saturating_sub(1) };
        let groups = layer.groups();
        if input_axis != reads || groups > 1 && (size != groups || layer.rows != groups) {
            // groups of several channels keep their sizes
            self.ties.barred.insert(out);
            return false;
        }
        if groups > 1 {
            self.ties.joins.extend((0..size).map(|c| ((input, c), (out, c))));
        }
        true
    }

    fn same_rank(&self, runtime: &[&String], output: &str) -> bool {
        let rank = |name: &str| self.shapes.get(name).map(Vec::len);
        runtime.iter().all(|name| rank(name) == rank(output))
    }

    fn same(&mut self, known: &[(usize, usize, usize)], output: &str) -> bool {
        let Some(out) = self.value(output, known[0].1) else { return false };
        if self.ties.axes[out].1 != known[0].2 {
            self.ties.barred.insert(out);
            return false;
        }
        for (at, _, size) in known {
            self.ties.joins.extend((0..*size).map(|c| ((*at, c), (out, c))));
        }
        true
    }

    fn concat(&mut self, known: &[(usize, usize, usize)], runtime: &[&String], output: &str, axis: i64) -> bool {
        let rank = self.shapes.get(output).map_or(0, Vec::len) as i64;
        let axis = if axis < 0 { axis + rank } else { axis } as usize;
        if known.iter().any(|k| k.1 != known[0].1) || runtime.len() != known.len() {
            return false;
        }
        if axis != known[0].1 {
            return self.same(known, output);
        }
        let Some(out) = self.value(output, axis) else { return false };
        let total: usize = known.iter().map(|k| k.2).sum();
        if total != self.ties.axes[out].1 {
            self.ties.barred.insert(out);
            return false;
        }
        let mut start = 0;
        for (at, _, size) in known {
            self.ties.joins.extend((0..*size).map(|c| ((*at, c), (out, start + c))));
            start += size;
        }
        true
    }

    /// `[n, c, …]` to `[n, c * …]`.
    fn flatten(&mut self, input: (usize, usize, usize), runtime: &[&String], output: &str) -> bool {
        let (at, axis, size) = input;
        let (Some(from), Some(to)) = (self.shapes.get(runtime[0]).cloned(), self.shapes.get(output).cloned()) else { return false };
        let whole: usize = from[1..].iter().product();
        if axis != 1 || to.len() != 2 || to[1] != whole || size == 0 {
            return false;
        }
        let Some(out) = self.value(output, 1) else { return false };
        let plane = whole / size;
        self.ties.joins.extend((0..whole).map(|i| ((at, i / plane), (out, i))));
        true
    }
}
