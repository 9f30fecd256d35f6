//! The layers of a model that have weights, each as a matrix: convolutions, `Gemm`, and products with a constant. The inputs of a
//! convolution's row are ordered as machines read them: places of the window first, channels last.

use std::collections::BTreeMap;

use ir::Tensor;

use super::{Draft, attribute, float, int, is_f32, op};

/// How a convolution moves over its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub groups: usize,
    /// One per spatial axis.
    pub spatial: Vec<Spatial>,
    /// Padding that follows from the input's size: `Some(true)` puts the odd one at the end.
    pub same: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spatial {
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub before: usize,
    pub after: usize,
}

/// A layer with weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// For people.
    pub label: String,
    pub op: &'static str,
    /// The value that it reads.
    pub input: String,
    /// The value that it makes, bias included: what a refit aims at.
    pub output: String,
    /// What its own node makes; another than `output` where an `Add` brings the bias.
    pub made: String,
    pub weight: String,
    pub bias: Option<String>,
    /// Output channels.
    pub rows: usize,
    /// Inputs of a row.
    pub k: usize,
    /// For convolutions; a product has none.
    pub window: Option<Window>,
    /// Whether a product's weight lies `[rows][k]`.
    pub transposed: bool,
    /// Whether another node reads the same weight.
    pub shared: bool,
}

impl Layer {
    /// Groups of rows that see inputs of their own.
    pub fn groups(&self) -> usize {
        self.window.as_ref().map_or(1, |w| w.groups)
    }

    /// The axis of the weight that counts output channels.
    pub fn row_axis(&self) -> usize {
        usize::from(self.window.is_none() && !self.transposed)
    }

    /// Samples of the layer and what it said to them, at up to `limit` places of `input`, of shape `shape`: `[places][groups * k]`, and
    /// from `output` `[places][rows]`. `turn` picks other places where there are more. An empty `output` gives no targets.
    /// `None` where the tensors do not have the shape of a layer's.
    pub fn samples(&self, input: (&[usize], &[f32]), output: &[f32], limit: usize, turn: usize) -> Option<(Vec<f32>, Vec<f32>)> {
        let (shape, values) = input;
        let Some(window) = &self.window else {
            if shape.last() != Some(&self.k) {
                return None;
            }
            let rows = values.len() / self.k;
            let picked = picked(rows, limit, turn);
            let x = picked.iter().flat_map(|&r| &values[r * self.k..(r + 1) * self.k]).copied().collect();
            let t = match output.is_empty() {
                true => Vec::new(),
                false => picked.iter().flat_map(|&r| &output[r * self.rows..(r + 1) * self.rows]).copied().collect(),
            };
            return Some((x, t));
        };
        window.samples(self, shape, values, output, limit, turn)
    }
}

/// Up to `limit` of `count`, evenly spread, another choice each turn.
fn picked(count: usize, limit: usize, turn: usize) -> Vec<usize> {
    if count <= limit {
        return (0..count).collect();
    }
    let offset = turn.wrapping_mul(2_654_435_761) % count;
    let mut all: Vec<usize> = (0..limit).map(|i| (offset + i * count / limit) % count).collect();
    all.sort_unstable();
    all
}

impl Window {
    /// Places before the input along a spatial axis, and how many outputs there are.
    fn extent(&self, axis: usize, size: usize) -> (usize, usize) {
        let s = self.spatial[axis];
        let reach = (s.kernel - 1) * s.dilation + 1;
        let (before, after) = match self.same {
            None => (s.before, s.after),
            Some(end) => {
                let total = ((size.div_ceil(s.stride) - 1) * s.stride + reach).saturating_sub(size);
                let half = total / 2;
                if end { (half, total - half) } else { (total - half, half) }
            }
        };
        (before, ((size + before + after).saturating_sub(reach)) / s.stride + 1)
    }

    fn samples(
        &self,
        layer: &Layer,
        shape: &[usize],
        values: &[f32],
        output: &[f32],
        limit: usize,
        turn: usize,
    ) -> Option<(Vec<f32>, Vec<f32>)> {
        let axes = self.spatial.len();
        let kernel: usize = self.spatial.iter().map(|s| s.kernel).product();
        let channels = layer.k / kernel.max(1) * self.groups;
        if shape.len() != axes + 2 || shape[1] != channels || shape[2..].contains(&0) {
            return None;
        }
        let extents: Vec<(usize, usize)> = (0..axes).map(|a| self.extent(a, shape[2 + a])).collect();
        let places: usize = extents.iter().map(|e| e.1).product();
        let plane: usize = shape[2..].iter().product();
        let (per_group, whole) = (channels / self.groups, layer.k * self.groups);
        let (mut x, mut t) = (Vec::new(), Vec::new());
        for place in picked(shape[0] * places, limit, turn) {
            let (n, mut rest) = (place / places, place % places);
            let mut at = vec![0; axes];
            for a in (0..axes).rev() {
                at[a] = rest % extents[a].1;
                rest /= extents[a].1;
            }
            let start = x.len();
            x.resize(start + whole, 0.0);
            for tap in 0..kernel {
                let Some(spot) = self.spot(tap, &at, &extents, &shape[2..]) else { continue };
                for c in 0..channels {
                    let (group, c_in) = (c / per_group, c % per_group);
                    x[start + group * layer.k + tap * per_group + c_in] = values[(n * channels + c) * plane + spot];
                }
            }
            if !output.is_empty() {
                t.extend((0..layer.rows).map(|row| output[(n * layer.rows + row) * places + place % places]));
            }
        }
        Some((x, t))
    }

    /// Where a tap of the window lies in a plane of the input; `None` in the padding.
    fn spot(&self, tap: usize, at: &[usize], extents: &[(usize, usize)], sizes: &[usize]) -> Option<usize> {
        let mut rest = tap;
        let mut steps = vec![0; at.len()];
        for a in (0..at.len()).rev() {
            steps[a] = rest % self.spatial[a].kernel;
            rest /= self.spatial[a].kernel;
        }
        let mut spot = 0;
        for (a, s) in self.spatial.iter().enumerate() {
            let position = (at[a] * s.stride + steps[a] * s.dilation).checked_sub(extents[a].0).filter(|p| *p < sizes[a])?;
            spot = spot * sizes[a] + position;
        }
        Some(spot)
    }
}

impl Draft {
    /// The layers in the order of the nodes, and what products are no layers, with the reason.
    pub fn layers(&self) -> (Vec<Layer>, Vec<(String, &'static str, String)>) {
        let (mut layers, mut others) = (Vec::new(), Vec::new());
        let mut readers: BTreeMap<&str, usize> = BTreeMap::new();
        for node in &self.graph().node {
            node.input.iter().for_each(|name| *readers.entry(name).or_default() += 1);
        }
        let uses = self.uses();
        for (index, node) in self.graph().node.iter().enumerate() {
            let name = match op(node) {
                "Conv" => "Conv",
                "Gemm" => "Gemm",
                "MatMul" => "MatMul",
                "ConvTranspose" => "ConvTranspose",
                _ => continue,
            };
            match self.layer(index, name) {
                Ok(mut layer) => {
                    layer.shared = readers[layer.weight.as_str()] > 1 || uses.captured.contains(&layer.weight);
                    layers.push(layer);
                }
                Err(why) => others.push((self.label(index), name, why)),
            }
        }
        (layers, others)
    }

    fn layer(&self, index: usize, name: &'static str) -> Result<Layer, String> {
        let node = &self.graph().node[index];
        let input = |i: usize| node.input.get(i).filter(|n| !n.is_empty()).cloned();
        let (Some(x), Some(weight_name)) = (input(0), input(1)) else { return Err("it has no operands".into()) };
        if name == "ConvTranspose" {
            return Err("transposed convolutions are not quantized".into());
        }
        let Some(weight) = self.constant(&weight_name) else { return Err("its second operand is computed at run time".into()) };
        if !is_f32(weight) {
            return Err(format!("its weights are {}", weight.dtype().name()));
        }
        let bias = input(2);
        if bias.as_ref().is_some_and(|b| self.constant(b).is_none_or(|t| !is_f32(t))) {
            return Err("its bias is computed at run time".into());
        }
        let Some(output) = node.output.first().cloned() else { return Err("nobody reads it".into()) };
        let shape = weight.shape().to_vec();
        let layer = Layer {
            label: self.label(index),
            op: name,
            input: x,
            made: output.clone(),
            output,
            weight: weight_name,
            bias,
            rows: 0,
            k: 0,
            window: None,
            transposed: false,
            shared: false,
        };
        match name {
            "Conv" => self.convolution(node, &shape, layer),
            "Gemm" => self.gemm(node, &shape, layer),
            _ => self.product(&shape, layer),
        }
    }

    fn convolution(&self, node: &crate::proto::Node, shape: &[usize], layer: Layer) -> Result<Layer, String> {
        let [rows, per_group, kernel @ ..] = shape else { return Err("its weights are no convolution's".into()) };
        let list = |name: &str, default: usize, count: usize| {
            let all = attribute(node, name).map_or(vec![default as i64; count], |a| a.ints.clone());
            (all.len() == count && all.iter().all(|v| *v >= 0)).then(|| all.iter().map(|v| *v as usize).collect::<Vec<usize>>())
        };
        let axes = kernel.len();
        let (strides, dilations, pads) = (list("strides", 1, axes), list("dilations", 1, axes), list("pads", 0, 2 * axes));
        let (Some(strides), Some(dilations), Some(pads)) = (strides, dilations, pads) else {
            return Err("its attributes are not those of a convolution".into());
        };
        let groups = usize::try_from(int(node, "group", 1)).ok().filter(|g| *g > 0 && rows % g == 0);
        let Some(groups) = groups.filter(|_| axes > 0 && !shape.contains(&0) && !strides.contains(&0)) else {
            return Err("its attributes are not those of a convolution".into());
        };
        let same = match attribute(node, "auto_pad").and_then(|a| a.s.as_deref()) {
            Some(b"SAME_UPPER") => Some(true),
            Some(b"SAME_LOWER") => Some(false),
            _ => None,
        };
        let spatial =
            |a: usize| Spatial { kernel: kernel[a], stride: strides[a], dilation: dilations[a], before: pads[a], after: pads[axes + a] };
        let window = Window { groups, spatial: (0..axes).map(spatial).collect(), same };
        Ok(Layer { rows: *rows, k: per_group * kernel.iter().product::<usize>(), window: Some(window), ..layer })
    }

    fn gemm(&self, node: &crate::proto::Node, shape: &[usize], layer: Layer) -> Result<Layer, String> {
        let plain = float(node, "alpha", 1.0) == 1.0 && float(node, "beta", 1.0) == 1.0 && int(node, "transA", 0) == 0;
        if !plain {
            return Err("it scales or transposes its first operand".into());
        }
        let transposed = int(node, "transB", 0) != 0;
        let [first, second] = *shape else { return Err("its weights are no matrix".into()) };
        let (rows, k) = if transposed { (first, second) } else { (second, first) };
        let fits = |name: &String| self.constant(name).is_some_and(|b| b.elements() == rows && b.shape().last() == Some(&rows));
        if !layer.bias.as_ref().is_none_or(fits) || rows * k == 0 {
            return Err("its bias is no vector over its outputs".into());
        }
        Ok(Layer { rows, k, transposed, ..layer })
    }

    /// A product with a constant; an `Add` of a constant vector that alone reads it brings its bias.
    fn product(&self, shape: &[usize], layer: Layer) -> Result<Layer, String> {
        let [k, rows] = *shape else { return Err("its second operand is no matrix".into()) };
        if rows * k == 0 {
            return Err("its second operand is empty".into());
        }
        let layer = Layer { rows, k, ..layer };
        let uses = self.uses();
        let Some(add) = uses.only_reader(&layer.made).map(|i| &self.graph().node[i]).filter(|n| op(n) == "Add") else { return Ok(layer) };
        let other = add.input.iter().find(|n| **n != layer.made);
        let fits =
            |name: &&String| self.constant(name).is_some_and(|b| is_f32(b) && b.elements() == rows && b.shape().last() == Some(&rows));
        match other.filter(fits) {
            Some(bias) => Ok(Layer { bias: Some(bias.clone()), output: add.output[0].clone(), ..layer }),
            None => Ok(layer),
        }
    }

    /// The weights, `[rows][k]`.
    pub fn matrix(&self, layer: &Layer) -> Vec<f32> {
        let weight = self.constant(&layer.weight).expect("a layer's weights are constant");
        layer_view(layer, weight).to_f32s()
    }

    /// The bias; zeros where there is none.
    pub fn bias(&self, layer: &Layer) -> Vec<f32> {
        let bias = layer.bias.as_ref().and_then(|name| self.constant(name));
        bias.map_or(vec![0.0; layer.rows], Tensor::to_f32s)
    }

    /// A weight of the layer's shape from `[rows][k]`, in the order of the file.
    pub(crate) fn unview(&self, layer: &Layer, rows: Tensor) -> Tensor {
        let shape = self.constant(&layer.weight).expect("a layer's weights are constant").shape();
        match &layer.window {
            Some(_) => {
                let axes = shape.len() - 2;
                let mut last: Vec<usize> = vec![shape[0]];
                last.extend(&shape[2..]);
                last.push(shape[1]);
                let mut perm = vec![0, axes + 1];
                perm.extend(1..=axes);
                rows.reshape(&last).permute(&perm)
            }
            None if layer.transposed => rows,
            None => rows.permute(&[1, 0]),
        }
    }

    /// Gives a layer other weights, `[rows][k]`. Other nodes that read the old ones keep them.
    pub fn set_matrix(&mut self, layer: &Layer, weights: &[f32]) {
        let tensor = self.unview(layer, Tensor::f32s(&[layer.rows, layer.k], weights));
        if !layer.shared && self.replace_constant(&layer.weight, &tensor) {
            return;
        }
        let weight = self.add_constant(&layer.weight, tensor);
        let at = self.maker(&layer.made);
        self.graph_mut().node[at].input[1] = weight;
    }

    /// Gives a layer another bias, or its first. A product gets an `Add` for it.
    pub fn set_bias(&mut self, layer: &Layer, bias: &[f32]) {
        let tensor = Tensor::f32s(&[layer.rows], bias);
        let alone = |name: &String| self.uses().readers.get(name.as_str()).is_some_and(|all| all.len() == 1);
        if let Some(name) = layer.bias.clone().filter(alone)
            && self.replace_constant(&name, &tensor)
        {
            return;
        }
        let name = self.add_constant(layer.bias.as_deref().unwrap_or(&format!("{}_bias", layer.made)), tensor);
        let at = self.maker(&layer.made);
        if layer.op != "MatMul" {
            let inputs = &mut self.graph_mut().node[at].input;
            inputs.truncate(2);
            inputs.push(name);
        } else if layer.output != layer.made {
            let add = self.maker(&layer.output);
            self.graph_mut().node[add].input = vec![layer.made.clone(), name];
        } else {
            let inner = self.fresh(&format!("{}_product", layer.made));
            self.graph_mut().node[at].output[0].clone_from(&inner);
            self.add_node("Add", &[&inner, &name], &layer.made, Vec::new());
        }
    }
}

/// A weight as `[rows][k]`, places of the window before channels.
fn layer_view(layer: &Layer, weight: &Tensor) -> Tensor {
    let shape = weight.shape();
    match &layer.window {
        Some(_) => {
            let mut perm: Vec<usize> = vec![0];
            perm.extend(2..shape.len());
            perm.push(1);
            weight.permute(&perm).reshape(&[layer.rows, layer.k])
        }
        None if layer.transposed => weight.clone(),
        None => weight.permute(&[1, 0]),
    }
}
