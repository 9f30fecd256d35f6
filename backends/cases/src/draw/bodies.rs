//! Scalar bodies drawn at random: well typed, over parameters of any type.

use ir::Dtype;
use ir::scalar::{Arg, Body, Class, Literal, ScalarOp};

use super::Dice;
use super::doubt::{discontinuous, term_is_exact};

/// What a body knows of a term or parameter.
#[derive(Clone, Copy)]
struct Known {
    arg: Arg,
    dtype: Dtype,
    exact: bool,
}

/// Types that sums and products are taken in. The narrow floats are moved, compared and converted.
fn computes(dtype: Dtype) -> bool {
    dtype.is_int() || dtype == Dtype::Bool || dtype.bytes() > 1
}

/// A body over parameters of these types, each with whether its value is exact.
pub fn body(dice: &mut Dice, params: &[(Dtype, bool)]) -> Body {
    let mut body = Body { params: params.len() as u8, terms: Vec::new(), result: Arg::Param(0) };
    let mut known: Vec<Known> =
        params.iter().enumerate().map(|(i, &(dtype, exact))| Known { arg: Arg::Param(i as u8), dtype, exact }).collect();
    let count = if dice.one_in(12) { 14 } else { 1 + dice.below(5) };
    for _ in 0..6 * count {
        if body.terms.len() == count {
            break;
        }
        if let Some(term) = term(dice, &mut body, &known) {
            known.push(term);
        }
    }
    let last = known[known.len() - 1];
    body.result = if dice.one_in(10) { dice.of(&known).arg } else { last.arg };
    body
}

fn term(dice: &mut Dice, body: &mut Body, known: &[Known]) -> Option<Known> {
    let op = match dice.below(8) {
        0 => ScalarOp::Cast(dice.of(Dtype::ALL)),
        1 if dice.one_in(3) => ScalarOp::Bits(dice.of(Dtype::ALL)),
        2 => dice.of(&[ScalarOp::Add, ScalarOp::Mul, ScalarOp::Max, ScalarOp::Min, ScalarOp::Sub, ScalarOp::Sigmoid, ScalarOp::Tanh]),
        _ => dice.of(ScalarOp::PLAIN),
    };
    let recent = known.len().saturating_sub(3 + params_of(body));
    let first = if dice.one_in(2) { known[known.len() - 1] } else { known[recent + dice.below(known.len() - recent)] };
    let mut args = vec![first];
    while args.len() < op.arity() {
        let like = match op.class() {
            Class::Select if args.len() == 1 => None,
            Class::Select => Some(args[1].dtype),
            _ => Some(first.dtype),
        };
        let fit: Vec<Known> = known.iter().copied().filter(|k| like.is_none_or(|d| d == k.dtype)).collect();
        args.push(match like {
            Some(dtype) if dice.one_in(2) || fit.is_empty() => literal(dice, dtype),
            _ => dice.of(&fit),
        });
    }
    let dtypes: Vec<Dtype> = args.iter().map(|a| a.dtype).collect();
    let own = Body { params: dtypes.len() as u8, ..Body::of(op) };
    let dtype = own.result_type(&dtypes).ok()?;
    let all = args.iter().all(|a| a.exact);
    let moves = matches!(op.class(), Class::Compare | Class::Convert | Class::Select | Class::Test);
    if !moves && !dtypes.iter().all(|&d| computes(d)) && !matches!(op, ScalarOp::Min | ScalarOp::Max | ScalarOp::Neg | ScalarOp::Abs) {
        return None;
    }
    if discontinuous(op, &dtypes) && !all {
        return None;
    }
    let exact = term_is_exact(op, &dtypes, all);
    let arg = body.push(op, &args.iter().map(|a| a.arg).collect::<Vec<_>>());
    Some(Known { arg, dtype, exact })
}

fn params_of(body: &Body) -> usize {
    body.params as usize
}

fn literal(dice: &mut Dice, dtype: Dtype) -> Known {
    let value = dice.of(&[0.0, 1.0, -1.0, 2.0, 0.5, 3.0, -2.5, 7.0, 100.0]);
    Known { arg: Arg::Literal(Literal::number(dtype, value)), dtype, exact: true }
}
