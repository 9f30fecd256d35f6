//! Losses, as far as they are numbers computed from a result and a target.

use ir::graph::op::ReduceKind;
use ir::scalar::ScalarOp;
use ir::{Body, Dtype, Fault, Op};

use crate::build::Value;
use crate::cx::{Cx, Made, must_be, one};
use crate::ops::index;

/// The negative logarithms of the targets' shares, weighted and reduced. Classes are axis 1.
fn likelihood(cx: &mut Cx, x: &Value, target: &Value, weight: Option<Value>) -> Result<Value, Fault> {
    let dtype = x.dtype();
    must_be(x.rank() >= 2 && dtype.is_float(), "it takes a batch and classes, floats", x)?;
    must_be(matches!(target.dtype(), Dtype::I32 | Dtype::I64), "targets are int32 or int64", target)?;
    let alike = target.rank() + 1 == x.rank() && target.shape()[0] == x.shape()[0] && target.shape()[1..] == x.shape()[2..];
    must_be(alike, &format!("there is a target for each position of {}", x.ty), target)?;
    let reduction = cx.attrs.choice("reduction", Some(true), &[("none", None), ("sum", Some(false)), ("mean", Some(true))])?;
    let ignored = cx.attrs.int("ignore_index")?;
    let target = cx.cast(target, Dtype::I64)?;
    let class = match ignored {
        Some(ignored) => cx.pointwise(&format!("{{ t0 = eq(a, {ignored}); select(t0, 0, a) }}"), Dtype::I64, &[&target])?,
        None => target.clone(),
    };
    let mut column = target.shape().to_vec();
    column.insert(1, one());
    let places = cx.reshape(&class, column)?;
    let loss = index::elements(cx, x, &places, 1)?;
    let loss = cx.reshape(&loss, target.shape().to_vec())?;
    let mut loss = cx.apply(ScalarOp::Neg, &[&loss])?;
    let mut share = match &weight {
        Some(weight) => {
            must_be(weight.rank() == 1 && weight.dtype() == dtype, "there is one weight per class", weight)?;
            Some(cx.gather(weight, &class, 0)?)
        }
        None => None,
    };
    if let Some(ignored) = ignored {
        let whole = match share {
            Some(share) => share,
            None => cx.fill(dtype, 1.0, target.shape())?,
        };
        share = Some(cx.pointwise(&format!("{{ t0 = eq(a, {ignored}); select(t0, 0.0:T, b) }}"), dtype, &[&target, &whole])?);
    }
    if let Some(share) = &share {
        // what is ignored counts nothing, whatever stands there
        loss = cx.pointwise("{ t0 = mul(a, b); t1 = eq(b, 0.0:T); select(t1, 0.0:T, t0) }", dtype, &[&loss, share])?;
    }
    let Some(mean) = reduction else { return Ok(loss) };
    let all: Vec<usize> = (0..loss.rank()).collect();
    let total = match (mean, &share) {
        (true, None) => cx.reduce(&loss, ReduceKind::Mean, &all)?,
        (false, _) => cx.reduce(&loss, ReduceKind::Sum, &all)?,
        (true, Some(share)) => {
            let (total, whole) = (cx.reduce(&loss, ReduceKind::Sum, &all)?, cx.reduce(share, ReduceKind::Sum, &all)?);
            cx.apply(ScalarOp::Div, &[&total, &whole])?
        }
    };
    cx.reshape(&total, Vec::new())
}

pub fn negative_log_likelihood(cx: &mut Cx) -> Made {
    let (x, target, weight) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    Ok(vec![likelihood(cx, &x, &target, weight)?])
}

/// The logarithms of the shares are a second result.
pub fn softmax_cross_entropy(cx: &mut Cx) -> Made {
    let (x, target, weight) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    must_be(x.rank() >= 2, "it takes a batch and classes", &x)?;
    let shares = cx.add(Op::Softmax { axis: 1, log: true, prologue: Body::identity(), epilogue: Body::identity() }, &[&x])?;
    let loss = likelihood(cx, &shares, &target, weight)?;
    Ok(vec![loss, shares])
}
