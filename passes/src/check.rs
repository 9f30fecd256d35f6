//! Whether two graphs compute the same: both go through the oracle on the same made-up inputs. Floats may
//! differ by rounding, since passes reorder sums.

use ir::graph::{eval, text};
use ir::{Dim, Dtype, Graph, NodeId, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A value for every symbol.
type Values = BTreeMap<Arc<str>, i64>;

/// Largest difference allowed, against the largest magnitude in the tensor.
const TOLERANCE: f64 = 1e-4;

/// What differs between the outputs of two graphs with the same signature; empty when nothing does.
pub fn compare(before: &Graph, after: &Graph, seed: u64) -> Vec<String> {
    // what the data says is not chosen
    let given = |name: &str| before.inputs().iter().any(|&id| before.ty(id).shape.iter().any(|d| d.symbols().iter().any(|s| &**s == name)));
    let values: Values =
        before.symbols.iter().filter(|s| given(s.0)).map(|(name, &(low, high))| (name.clone(), 3.clamp(low, high))).collect();
    let (Some(before), Some(after)) = (at(before, &values), at(after, &values)) else {
        return vec!["the graph does not take small sizes".into()];
    };
    let mut refused = String::new();
    let found = [false, true].into_iter().find_map(|small| {
        let given = inputs(&before, seed, small)?;
        // indices drawn at random may be out of range: small ones hardly are
        match eval::eval(&before, &given) {
            Ok(wanted) => Some((given, wanted)),
            Err(error) => {
                refused = error.to_string();
                None
            }
        }
    });
    let Some((given, wanted)) = found else { return vec![format!("the oracle does not take made-up inputs: {refused}")] };
    let got = match eval::eval(&after, &given) {
        Ok(got) => got,
        Err(error) => return vec![format!("the oracle refuses the graph: {}", error.what())],
    };
    let names = before.outputs().iter().map(|(name, _)| name);
    names.zip(wanted.iter().zip(&got)).filter_map(|(name, (w, g))| difference(w, g).map(|d| format!("output \"{name}\": {d}"))).collect()
}

/// The graph with these symbols fixed. `None` when the sizes do not fit together.
fn at(graph: &Graph, values: &Values) -> Option<Graph> {
    let value = |name: &str| values.get(name).map(|&n| Dim::from(n));
    let fixed = |d: &Dim| d.replace(&value);
    let mut new = Graph::new();
    new.symbols = graph.symbols.clone();
    let mut ids: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    let rest = graph.order().into_iter().filter(|id| !graph.inputs().contains(id));
    for id in graph.inputs().iter().copied().chain(rest) {
        let op = graph.op(id).with_dims(&fixed);
        let operands: Vec<NodeId> = graph.operands(id).iter().map(|o| ids[o]).collect();
        ids.insert(id, new.add(op, &operands, &graph.node(id).names).ok()?);
    }
    new.set_outputs(graph.outputs().iter().map(|(name, id)| (name.clone(), ids[id])).collect());
    Some(new)
}

/// Inputs for a graph without symbols; with `small`, integers are 0 or 1.
fn inputs(graph: &Graph, seed: u64, small: bool) -> Option<Vec<Tensor>> {
    let mut out = Vec::new();
    for (i, &id) in graph.inputs().iter().enumerate() {
        let ty = graph.ty(id);
        let drawn = text::random(ty.dtype, &ty.fixed()?, seed.wrapping_mul(31).wrapping_add(i as u64 + 1));
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
    let room = TOLERANCE * coarse * scale.max(1e-3);
    let wrong = w.iter().zip(&g).position(|(a, b)| {
        let same = a == b || (a.is_nan() && b.is_nan());
        !same && !(a - b).abs().le(&room)
    })?;
    Some(format!("element {wrong} was {}, is {}", w[wrong], g[wrong]))
}
