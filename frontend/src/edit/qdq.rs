//! Writes what was chosen: weights as small integers behind a `DequantizeLinear`, and a `QuantizeLinear` with its inverse at every value
//! that lies as bytes. Any runtime that knows these two operators computes the same.

use ir::{Dtype, Tensor};

use super::{Draft, Layer, int_attribute};

/// A value's scale and the byte that stands for zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    pub scale: f32,
    pub zero: u8,
}

/// Weights as signed integers, `[rows][k]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Small<'a> {
    pub integers: &'a [i8],
    /// `[rows]`, or with blocks `[rows][blocks]`.
    pub scales: &'a [f32],
    /// 8 or 4.
    pub bits: u32,
    /// Neighbours in a row that share a scale; nothing: the whole row.
    pub block: Option<usize>,
}

impl Draft {
    /// Lays a value as bytes: what read it now reads the bytes' meaning.
    pub fn quantize_value(&mut self, value: &str, range: Range) {
        let scale = self.add_constant(&format!("{value}_scale"), Tensor::f32s(&[], &[range.scale]));
        let zero = self.add_constant(&format!("{value}_zero_point"), Tensor::dense(Dtype::U8, &[], vec![range.zero]));
        let bytes = self.fresh(&format!("{value}_quantized"));
        let is_output = self.graph().output.iter().any(|o| o.name.as_deref() == Some(value));
        let is_input = self.graph().input.iter().any(|i| i.name.as_deref() == Some(value));
        let (float, meaning) = if is_output && !is_input {
            // the name stays with what the caller gets
            let float = self.fresh(&format!("{value}_float"));
            for node in &mut self.graph_mut().node {
                node.output.iter_mut().filter(|o| *o == value).for_each(|o| o.clone_from(&float));
            }
            (float, value.to_string())
        } else {
            let meaning = self.fresh(&format!("{value}_dequantized"));
            for node in &mut self.graph_mut().node {
                node.input.iter_mut().filter(|i| *i == value).for_each(|i| i.clone_from(&meaning));
            }
            (value.to_string(), meaning)
        };
        self.add_node("QuantizeLinear", &[&float, &scale, &zero], &bytes, Vec::new());
        self.add_node("DequantizeLinear", &[&bytes, &scale, &zero], &meaning, Vec::new());
    }

    /// Gives a layer integers for weights.
    pub fn quantize_weights(&mut self, layer: &Layer, small: &Small) {
        let dtype = if small.bits == 4 { Dtype::I4 } else { Dtype::I8 };
        let bytes: Vec<u8> = small.integers.iter().map(|v| *v as u8).collect();
        let integers = self.unview(layer, Tensor::dense(dtype, &[layer.rows, layer.k], bytes));
        let row_axis = layer.row_axis();
        let (shape, axis, mut attributes) = match small.block {
            None => (vec![layer.rows], row_axis, Vec::new()),
            Some(block) => (vec![layer.rows, layer.k.div_ceil(block)], 1 - row_axis, vec![int_attribute("block_size", block as i64)]),
        };
        attributes.push(int_attribute("axis", axis as i64));
        let mut scales = Tensor::f32s(&shape, small.scales);
        let mut zeros = Tensor::dense(dtype, &shape, vec![0u8; small.scales.len()]);
        if small.block.is_some() && row_axis == 1 {
            (scales, zeros) = (scales.permute(&[1, 0]), zeros.permute(&[1, 0]));
        }
        let integers = self.add_constant(&format!("{}_quantized", layer.weight), integers);
        let scales = self.add_constant(&format!("{}_scale", layer.weight), scales);
        let zeros = self.add_constant(&format!("{}_zero_point", layer.weight), zeros);
        let meaning = self.fresh(&format!("{}_dequantized", layer.weight));
        self.add_node("DequantizeLinear", &[&integers, &scales, &zeros], &meaning, attributes);
        let node = self.maker(&layer.made);
        self.graph_mut().node[node].input[1] = meaning;
    }

    /// Gives a layer an integer bias in units of its sums, `scales` of them. A product's `Add` stays as it is, unless `flat` says that
    /// the product's operand has two axes: both become a `Gemm` then. Whether the bias is an integer now.
    pub fn quantize_bias(&mut self, layer: &Layer, integers: &[i32], scales: &[f32], flat: bool) -> bool {
        if layer.op == "MatMul" && (!flat || layer.made == layer.output) {
            return false;
        }
        let base = layer.bias.clone().unwrap_or_else(|| format!("{}_bias", layer.made));
        let bytes: Vec<u8> = integers.iter().flat_map(|v| v.to_le_bytes()).collect();
        let quantized = self.add_constant(&format!("{base}_quantized"), Tensor::dense(Dtype::I32, &[integers.len()], bytes));
        let scale = self.add_constant(&format!("{base}_scale"), Tensor::f32s(&[scales.len()], scales));
        let zero =
            self.add_constant(&format!("{base}_zero_point"), Tensor::dense(Dtype::I32, &[scales.len()], vec![0u8; 4 * scales.len()]));
        let meaning = self.fresh(&format!("{base}_dequantized"));
        self.add_node("DequantizeLinear", &[&quantized, &scale, &zero], &meaning, vec![int_attribute("axis", 0)]);
        if layer.op == "MatMul" {
            let add = self.maker(&layer.output);
            self.graph_mut().node.remove(add);
            let node = self.maker(&layer.made);
            let node = &mut self.graph_mut().node[node];
            node.op_type = Some("Gemm".into());
            node.output[0].clone_from(&layer.output);
            node.input.push(meaning);
            return true;
        }
        let node = self.maker(&layer.made);
        let inputs = &mut self.graph_mut().node[node].input;
        inputs.truncate(2);
        inputs.push(meaning);
        true
    }
}
