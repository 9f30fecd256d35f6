//! Whether two graphs compute the same: both go through the oracle on the same made-up inputs. Floats may
//! differ by rounding, since passes reorder sums.

use ir::graph::{eval, text};
use ir::{Dtype, Graph, Op, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Largest difference allowed, against the largest magnitude in the tensor.
const TOLERANCE: f64 = 1e-4;

/// What differs between the outputs of two graphs with the same signature; empty when nothing does.
pub fn compare(before: &Graph, after: &Graph, seed: u64) -> Vec<String> {
    let found = [false, true].into_iter().find_map(|small| {
        let given = inputs(before, seed, small)?;
        // indices drawn at random may be out of range: small ones hardly are
        eval::eval(before, &given).ok().map(|wanted| (given, wanted))
    });
    let Some((given, wanted)) = found else { return vec!["the oracle does not take inputs made up for this graph".into()] };
    let got = match eval::eval(after, &given) {
        Ok(got) => got,
        Err(error) => return vec![format!("the oracle refuses the graph: {}", error.what())],
    };
    let names = before.outputs().iter().map(|(name, _)| name);
    names.zip(wanted.iter().zip(&got)).filter_map(|(name, (w, g))| difference(w, g).map(|d| format!("output \"{name}\": {d}"))).collect()
}

/// Inputs for a graph, symbols small; with `small`, integers are 0 or 1.
pub fn inputs(graph: &Graph, seed: u64, small: bool) -> Option<Vec<Tensor>> {
    let values: BTreeMap<Arc<str>, i64> = graph.symbols.iter().map(|(name, &(low, high))| (name.clone(), 3.clamp(low, high))).collect();
    let mut out = Vec::new();
    for (i, &id) in graph.inputs().iter().enumerate() {
        let Op::Input { ty, .. } = graph.op(id) else { return None };
        let shape: Option<Vec<usize>> = ty.shape.iter().map(|d| d.at(&values).and_then(|v| usize::try_from(v).ok())).collect();
        let drawn = text::random(ty.dtype, &shape?, seed.wrapping_mul(31).wrapping_add(i as u64 + 1));
        out.push(if small && (ty.dtype.is_int() || ty.dtype == Dtype::Bool) { ones_and_zeros(&drawn) } else { drawn });
    }
    Some(out)
}

fn ones_and_zeros(tensor: &Tensor) -> Tensor {
    let bytes: Vec<u8> = tensor.to_i64s().iter().flat_map(|v| ir::scalar::Literal::int(tensor.dtype(), v & 1).to_bytes()).collect();
    Tensor::dense(tensor.dtype(), tensor.shape(), bytes)
}

/// How two tensors differ beyond rounding.
fn difference(wanted: &Tensor, got: &Tensor) -> Option<String> {
    if wanted.dtype() != got.dtype() || wanted.shape() != got.shape() {
        return Some(format!("{} became {}", wanted.ty(), got.ty()));
    }
    let (w, g) = (wanted.to_f64s(), got.to_f64s());
    let scale = w.iter().copied().filter(|v| v.is_finite()).fold(0f64, |m, v| m.max(v.abs()));
    let coarse = match wanted.dtype() {
        Dtype::F16 => 16.0,
        Dtype::BF16 => 128.0,
        d if d.is_float() => 1.0,
        _ => 0.0,
    };
    let room = TOLERANCE * coarse * scale.max(1e-6);
    let wrong = w.iter().zip(&g).position(|(a, b)| {
        let same = a == b || (a.is_nan() && b.is_nan());
        !same && !(a - b).abs().le(&room)
    })?;
    Some(format!("element {wrong} was {}, is {}", w[wrong], g[wrong]))
}
