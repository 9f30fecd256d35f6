//! What scores are made of beside the products: constants of one value are literals of the body, everything else is
//! read from memory as a row for each key, with queries side by side. The causal mask is such an operand too: a list that
//! every key reads from another place.

use crate::build::{Builder, Home};
use crate::copy;
use crate::dot::Extra;
use crate::place::Place;
use crate::{Source, body, math};
use ir::Dtype;
use ir::scalar::{Arg, Body, Literal, ScalarOp};
use ir::tensor::Tensor;

/// The operands with their places over `[lead.., keys, queries]`, and the body over a product and them. `shape` is
/// `[lead.., queries, keys]`. `None` when the body is not one for vectors.
pub(super) fn extras(
    operands: &[Source],
    prologue: &Body,
    shape: &[usize],
    causal: Option<i64>,
    builder: &mut Builder,
) -> Option<(Vec<Extra>, Vec<Place>, Body)> {
    let mut body = Body { params: 1, terms: Vec::new(), result: Arg::Param(0) };
    let mut binding = vec![Arg::Param(0)];
    let mut types = vec![Dtype::F32];
    let mut places = Vec::new();
    for operand in operands {
        if !matches!(operand.dtype, Dtype::F32 | Dtype::I32) {
            return None;
        }
        if let Some(tensor) = operand.constant()
            && (tensor.is_splat() || tensor.elements() == 1)
        {
            let rank = tensor.shape().len();
            let one = tensor.slice(&vec![0; rank], &vec![1; rank], &vec![1; rank]);
            binding.push(Arg::Literal(Literal::from_bytes(tensor.dtype(), &one.bytes())));
            continue;
        }
        places.push(turned(operand, shape, builder));
        binding.push(Arg::Param(body.params));
        types.push(operand.dtype);
        body.params += 1;
    }
    body.result = body.inline(prologue, &binding);
    let (queries, keys) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    if let Some(causal) = causal {
        let mut place = builder.dense_constant(&steps(queries, keys, causal, builder.facts.lanes()));
        place.offset = keys as i64 - 1;
        place.strides = vec![0; shape.len() - 2];
        place.strides.extend([-1, 1]);
        places.push(place);
        types.push(Dtype::F32);
        let open = Arg::Param(body.params);
        body.params += 1;
        let hidden = body.push(ScalarOp::Lt, &[open, Arg::Literal(Literal::f32(0.0))]);
        body.result = body.push(ScalarOp::Select, &[hidden, Arg::Literal(Literal::f32(f32::NEG_INFINITY)), body.result]);
    }
    let body = math::expand(&body.without_dead(), &types, builder.facts.fused);
    let contiguous = |place: &Place| queries > 1 && place.strides[shape.len() - 1] == 1;
    let extra = |(place, &dtype): (&Place, &Dtype)| Extra::Memory { place: place.clone(), dtype, contiguous: contiguous(place) };
    let extras = places.iter().zip(&types[1..]).map(extra).collect();
    body::is_vector(&body, &types).then_some((extras, places, body))
}

/// The place of an operand over `[lead.., keys, queries]`, queries side by side or repeated: a copy where they are not.
fn turned(operand: &Source, shape: &[usize], builder: &mut Builder) -> Place {
    let rank = operand.shape.len();
    let turn = |place: &Place| {
        let mut place = place.clone();
        place.strides.swap(shape.len() - 1, shape.len() - 2);
        place
    };
    let place = operand.place(builder);
    let wide = turn(&place.expand(&operand.shape, shape));
    if shape[shape.len() - 2] == 1 || matches!(wide.strides[shape.len() - 1], 0 | 1) {
        return wide;
    }
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 1, rank - 2);
    let sizes: Vec<usize> = perm.iter().map(|&p| operand.shape[p]).collect();
    let mut target = shape.to_vec();
    target.swap(shape.len() - 1, shape.len() - 2);
    if let Some(tensor) = operand.constant() {
        return builder.dense_constant(&tensor.permute(&perm)).expand(&sizes, &target);
    }
    let bytes = sizes.iter().product::<usize>() as u64 * operand.dtype.bytes() as u64;
    let dense = Place::dense(builder.buffer("mask", Home::Arena, bytes), &sizes);
    let from = Place { strides: perm.iter().map(|&p| place.strides[p]).collect(), ..place };
    copy::copy(builder, operand.dtype, &sizes, &from, &dense);
    dense.expand(&sizes, &target)
}

/// 0 where a query sees a key and -inf where not, by the query's number less the key's, from `1 - keys` on.
fn steps(queries: usize, keys: usize, causal: i64, lanes: usize) -> Tensor {
    let least = keys as i64 - 1;
    let value = |i: usize| if (i as i64 - least).saturating_add(causal) >= 0 { 0.0 } else { f32::NEG_INFINITY };
    let list: Vec<f32> = (0..queries + keys - 1 + lanes).map(value).collect();
    Tensor::f32s(&[list.len()], &list)
}
