//! Operands of an epilogue behind a product's sums: constants of one value, values per column that lie behind the
//! weights, and what is read from memory.

use crate::body::{self, Param, narrow};
use crate::build::Builder;
use crate::place::Place;
use crate::{Source, math, nest, tile};
use ir::Dtype;
use ir::kernel::tile::At;
use ir::scalar::{self, Body, Literal, ScalarOp};
use ir::tensor::Tensor;

/// An epilogue operand.
#[derive(Clone, Debug)]
pub enum Extra {
    /// One value per column, or one for all: lies behind each panel.
    Columns(Tensor),
    /// In memory, with the byte strides of the levels: columns contiguous, or repeated.
    Memory { place: Place, dtype: Dtype, contiguous: bool },
}

impl Extra {
    pub fn dtype(&self) -> Dtype {
        match self {
            Extra::Columns(tensor) => tensor.dtype(),
            Extra::Memory { dtype, .. } => *dtype,
        }
    }

    /// What it is in a lane.
    pub fn lane(&self) -> Dtype {
        narrow::lane(self.dtype()).expect("`extras` refuses what has no lane")
    }

    /// As a parameter of the epilogue: a vector from `at` on, or the one element there.
    pub fn param(&self, at: At) -> Param {
        let repeated = matches!(self, Extra::Memory { contiguous: false, .. });
        match (tile::narrow(self.dtype()), repeated) {
            (Some(kind), false) => Param::Narrow(at, kind),
            (Some(kind), true) => Param::NarrowSplat(at, kind),
            (None, false) => Param::Memory(at),
            (None, true) => Param::Splat(at),
        }
    }
}

/// Bytes that an extra moves per step of each axis of the result.
pub fn extra_steps(extra: &Extra, rank: usize) -> Vec<i64> {
    match extra {
        Extra::Columns(_) => vec![0; rank],
        Extra::Memory { place, dtype, .. } => place.strides.iter().map(|s| s * dtype.bytes() as i64).collect(),
    }
}

/// The epilogue's operands: constants of one value become literals of the body, constants per column lie with
/// the weights, everything else is read from memory. `None` when the body is not one for vectors, or something is
/// narrower than a lane.
pub fn extras(operands: &[Source], epilogue: &Body, shape: &[usize], builder: &mut Builder) -> Option<(Vec<Extra>, Body)> {
    let wide = |d: Dtype| matches!(d, Dtype::F32 | Dtype::I32);
    let types: Vec<Dtype> = [Dtype::F32].into_iter().chain(operands.iter().map(|o| o.dtype)).collect();
    if !types.iter().copied().all(wide) || !epilogue.result_type(&types).is_ok_and(wide) {
        return None;
    }
    extras_of(Dtype::F32, operands, epilogue, shape, builder)
}

/// The same behind sums of type `own` (f32 or i32), with operands and a result of any type that has a lane. The body is over
/// lanes: its parameters are `own` and what [`Extra::lane`] says; its result is stored by [`tile::store`].
pub fn extras_of(own: Dtype, operands: &[Source], epilogue: &Body, shape: &[usize], builder: &mut Builder) -> Option<(Vec<Extra>, Body)> {
    let mut body = Body { params: 1, terms: Vec::new(), result: scalar::Arg::Param(0) };
    let mut binding = vec![scalar::Arg::Param(0)];
    let mut types = vec![own];
    let mut bounds = vec![None];
    let mut out = Vec::new();
    for operand in operands {
        narrow::lane(operand.dtype)?;
        if let Some(tensor) = operand.constant()
            && (tensor.is_splat() || tensor.elements() == 1)
        {
            let rank = tensor.shape().len();
            let one = tensor.slice(&vec![0; rank], &vec![1; rank], &vec![1; rank]);
            binding.push(scalar::Arg::Literal(Literal::from_bytes(tensor.dtype(), &one.bytes())));
            continue;
        }
        let columns = operand.shape.last().copied().unwrap_or(1);
        let by_column = columns == operand.shape.iter().product::<usize>() && columns == *shape.last().expect("results have an axis");
        match operand.constant() {
            Some(tensor) if by_column && operand.dtype.bytes() == 4 => out.push(Extra::Columns(tensor.reshape(&[columns]))),
            _ => {
                let place = operand.place(builder).expand(&operand.shape, shape);
                let last = place.strides[shape.len() - 1];
                let contiguous = last == 1;
                if !contiguous && last != 0 && columns > 1 {
                    return None;
                }
                out.push(Extra::Memory { place, dtype: operand.dtype, contiguous });
            }
        }
        binding.push(scalar::Arg::Param(body.params));
        types.push(operand.dtype);
        bounds.push(operand.constant().and_then(nest::known_bounds));
        body.params += 1;
    }
    body.result = body.inline(epilogue, &binding);
    let body = narrow::widen(&math::expand(&body.without_dead(), &types, builder.facts.fused), &types, &bounds)?;
    let types: Vec<Dtype> = types.into_iter().map(narrow::lane).collect::<Option<_>>()?;
    body::is_vector(&body, &types).then_some((out, body))
}

/// `add(a, bias)` as the first thing an epilogue does costs nothing when the sums, of type `own`, start from the bias.
pub fn start_from_bias(own: Dtype, body: &Body, extras: &[Extra]) -> (Option<usize>, Body) {
    let keep = (None, body.clone());
    let Some(first) = body.terms.first() else { return keep };
    let other = match (first.op, first.args[0], first.args[1 % first.args.len()]) {
        (ScalarOp::Add, scalar::Arg::Param(0), scalar::Arg::Param(i)) if i > 0 => i,
        (ScalarOp::Add, scalar::Arg::Param(i), scalar::Arg::Param(0)) if i > 0 => i,
        _ => return keep,
    };
    let later = body.terms[1..].iter().flat_map(|t| &t.args).chain([&body.result]);
    let used_again = later.clone().any(|a| *a == scalar::Arg::Param(0) || *a == scalar::Arg::Param(other));
    let in_panel = matches!(extras.get(other as usize - 1), Some(Extra::Columns(t)) if t.dtype() == own);
    if used_again || !in_panel {
        return keep;
    }
    let rename = |a: &scalar::Arg| match *a {
        scalar::Arg::Term(0) => scalar::Arg::Param(0),
        scalar::Arg::Term(i) => scalar::Arg::Term(i - 1),
        other => other,
    };
    let terms = body.terms[1..].iter().map(|t| scalar::Term { op: t.op, args: t.args.iter().map(rename).collect() }).collect();
    (Some(other as usize - 1), Body { params: body.params, terms, result: rename(&body.result) })
}
