//! The one door through which passes ask what something computes: the oracle of `ir`.

use ir::graph::{eval, infer};
use ir::scalar::{Body, Literal, ScalarOp};
use ir::{Op, Tensor, Type};

/// What an operator gives for constant operands; `None` where the oracle has an objection.
pub fn evaluate(op: &Op, operands: &[&Tensor]) -> Option<Tensor> {
    let types: Vec<Type> = operands.iter().map(|t| t.ty()).collect();
    let ty = infer::infer(op, &types.iter().collect::<Vec<_>>()).ok()?;
    eval::eval_node(op, &ty, operands).ok()
}

/// What a scalar operation gives for literals.
pub fn scalar(op: ScalarOp, args: &[Literal]) -> Option<Literal> {
    let tensors: Vec<Tensor> = args.iter().map(|l| Tensor::dense(l.dtype, &[], l.to_bytes())).collect();
    let value = evaluate(&Op::Map { body: Body::of(op) }, &tensors.iter().collect::<Vec<_>>())?;
    Some(Literal::from_bytes(value.dtype(), &value.bytes()))
}
