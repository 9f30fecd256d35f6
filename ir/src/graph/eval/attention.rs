//! Attention as what it stands for: a product, a body over the scores, a softmax, a product. Scores and shares are
//! rounded to f32 between these.

use super::{dot, map, reduce};
use crate::scalar::Body;
use crate::tensor::{Dtype, Tensor};

/// `shape` is the result's. Operands from the third on belong to `prologue`.
pub fn attention(operands: &[&Tensor], causal: Option<i64>, guarded: bool, prologue: &Body, shape: &[usize]) -> Tensor {
    let (q, k, v) = (operands[0], operands[1], operands[2]);
    let keys = k.shape()[k.shape().len() - 2];
    let mut score_shape = shape.to_vec();
    score_shape[shape.len() - 1] = keys;
    let sums = dot::dot(q, false, k, true, &score_shape);
    let scores = map::finish(sums, Dtype::F32, &score_shape, prologue, &operands[3..]);
    let queries = shape[shape.len() - 2];
    let bytes = scores.bytes();
    let mut scores: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    if let (Some(causal), false) = (causal, scores.is_empty()) {
        for (row, line) in scores.chunks_exact_mut(keys).enumerate() {
            let query = (row % queries) as i64;
            let open = query.saturating_add(causal).saturating_add(1).clamp(0, keys as i64) as usize;
            line[open..].fill(f32::NEG_INFINITY);
        }
    }
    let nothing: Vec<bool> = match keys {
        0 => Vec::new(),
        keys => scores.chunks_exact(keys).map(|line| guarded && line.iter().all(|&x| x == f32::NEG_INFINITY)).collect(),
    };
    let bytes: Vec<u8> = scores.iter().flat_map(|x| x.to_le_bytes()).collect();
    let shares = reduce::softmax(&Tensor::dense(Dtype::F32, &score_shape, bytes), shape.len() - 1, false);
    let mut bytes = shares.bytes().to_vec();
    for (line, _) in bytes.chunks_exact_mut((4 * keys).max(1)).zip(&nothing).filter(|(_, nothing)| **nothing) {
        line.fill(0);
    }
    let shares = Tensor::dense(Dtype::F32, &score_shape, bytes);
    map::finish(dot::dot(&shares, false, v, false, shape), Dtype::F32, shape, &Body::identity(), &[])
}
