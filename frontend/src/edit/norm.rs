//! A batch normalization behind a convolution goes into its weights and bias: what is rounded must be what is multiplied.

use ir::Tensor;

use super::{Draft, float, is_f32, op};

impl Draft {
    /// Folds every batch normalization that alone reads a convolution with constant weights. How many were folded.
    pub fn fold_norms(&mut self) -> usize {
        let mut folded = 0;
        while let Some((conv, norm)) = self.foldable() {
            self.fold_norm(conv, norm);
            folded += 1;
        }
        folded
    }

    /// A convolution and the normalization behind it, with all that both need at hand.
    fn foldable(&self) -> Option<(usize, usize)> {
        let uses = self.uses();
        let nodes = &self.graph().node;
        let constant = |name: &String| self.constant(name).is_some_and(is_f32);
        nodes.iter().enumerate().find_map(|(norm, node)| {
            if op(node) != "BatchNormalization" || node.output.iter().filter(|o| !o.is_empty()).count() != 1 {
                return None;
            }
            let [x, parameters @ ..] = &node.input[..] else { return None };
            let conv = *uses.maker.get(x.as_str())?;
            let made = &nodes[conv];
            let weights = op(made) == "Conv" && made.input[1..].iter().filter(|n| !n.is_empty()).all(constant);
            let fits = parameters.len() == 4 && parameters.iter().all(constant) && weights && uses.only_reader(x) == Some(norm);
            fits.then_some((conv, norm))
        })
    }

    fn fold_norm(&mut self, conv: usize, norm: usize) {
        let node = &self.graph().node[norm];
        let epsilon = f64::from(float(node, "epsilon", 1e-5));
        let output = node.output[0].clone();
        let value = |i: usize| self.constants[&node.input[i]].to_f32s();
        let (gain, shift, mean, variance) = (value(1), value(2), value(3), value(4));
        let factor: Vec<f64> = gain.iter().zip(&variance).map(|(g, v)| f64::from(*g) / (f64::from(*v) + epsilon).sqrt()).collect();
        let inputs = self.graph().node[conv].input.clone();
        let weight = &self.constants[&inputs[1]];
        let per_row = weight.elements() / factor.len().max(1);
        let scaled: Vec<f32> =
            weight.to_f32s().iter().enumerate().map(|(i, w)| (f64::from(*w) * factor[i / per_row.max(1)]) as f32).collect();
        let weight = Tensor::f32s(weight.shape(), &scaled);
        let old = inputs.get(2).filter(|n| !n.is_empty()).map_or(vec![0.0; factor.len()], |n| self.constants[n].to_f32s());
        let bias: Vec<f32> =
            (0..factor.len()).map(|c| ((f64::from(old[c]) - f64::from(mean[c])) * factor[c] + f64::from(shift[c])) as f32).collect();
        let weight = self.add_constant(&inputs[1], weight);
        let bias = self
            .add_constant(inputs.get(2).filter(|n| !n.is_empty()).unwrap_or(&format!("{output}_bias")), Tensor::f32s(&[bias.len()], &bias));
        let node = &mut self.graph_mut().node[conv];
        node.input.truncate(1);
        node.input.extend([weight, bias]);
        node.output[0] = output;
        self.graph_mut().node.remove(norm);
    }
}
