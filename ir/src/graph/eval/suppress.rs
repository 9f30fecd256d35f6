//! Boxes that overlap no better one: a greedy walk in a given order.

use super::EvalError;
use crate::tensor::Tensor;

/// Fault: a number of the order that is no box.
pub fn suppress(operands: &[&Tensor], most: usize, shape: &[usize]) -> Result<Tensor, EvalError> {
    let (boxes, scores, order) = (operands[0].to_f32s(), operands[1].to_f32s(), operands[2].to_i64s());
    let limits = operands[3].to_f32s();
    let (overlap, least) = (limits[0], limits[1]);
    let (classes, n) = (operands[1].shape()[1], operands[1].shape()[2]);
    let mut all = Vec::with_capacity(shape.iter().product());
    for list in 0..shape[0] * classes {
        let corners = |i: usize| -> [f32; 4] {
            let at = (list / classes * n + i) * 4;
            boxes[at..at + 4].try_into().expect("four numbers")
        };
        let mut taken: Vec<usize> = Vec::new();
        for &i in &order[list * n..(list + 1) * n] {
            let Some(i) = usize::try_from(i).ok().filter(|&i| i < n) else {
                return Err(EvalError::Data(format!("there is no box {i}")));
            };
            let good = scores[list * n + i] > least && taken.len() < most;
            if good && !taken.iter().any(|&other| beyond(corners(other), corners(i), overlap)) {
                taken.push(i);
            }
        }
        all.extend(taken.iter().map(|&i| i as i64));
        all.resize(all.len() + most - taken.len(), -1);
    }
    Ok(Tensor::i64s(shape, &all))
}

/// Whether two boxes share more than `overlap` of their union.
fn beyond(a: [f32; 4], b: [f32; 4], overlap: f32) -> bool {
    let side = |b: [f32; 4], i: usize| (b[i].min(b[i + 2]), b[i].max(b[i + 2]));
    let shared = |i: usize| side(a, i).1.min(side(b, i).1) - side(a, i).0.max(side(b, i).0);
    let area = |b: [f32; 4]| (side(b, 0).1 - side(b, 0).0) * (side(b, 1).1 - side(b, 1).0);
    let (height, width) = (shared(0), shared(1));
    let common = height * width;
    let union = area(a) + area(b) - common;
    height > 0.0 && width > 0.0 && union > 0.0 && common / union > overlap
}
