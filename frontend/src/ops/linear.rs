//! Matrix products: MatMul and Gemm.

use ir::Fault;

use crate::build::{Build, Value, number};
use crate::cx::{Cx, Made, must_be, one};

/// numpy's product: a vector counts as a row in front and as a column behind.
pub fn product(build: &mut Build, a: &Value, b: &Value) -> Result<Value, Fault> {
    must_be(a.rank() > 0 && b.rank() > 0, "a product takes vectors or matrices", if a.rank() == 0 { a } else { b })?;
    let (row, column) = (a.rank() == 1, b.rank() == 1);
    let left = if row { build.reshape(a, vec![one(), a.shape()[0].clone()])? } else { a.clone() };
    let right = if column { build.reshape(b, vec![b.shape()[0].clone(), one()])? } else { b.clone() };
    let made = build.dot(&left, &right)?;
    let mut shape = made.shape().to_vec();
    if column {
        shape.pop();
    }
    if row {
        shape.remove(shape.len() - if column { 1 } else { 2 });
    }
    build.reshape(&made, shape)
}

pub fn matmul(cx: &mut Cx) -> Made {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![product(cx, &a, &b)?])
}

/// `alpha * a' * b' + beta * c`.
pub fn gemm(cx: &mut Cx) -> Made {
    cx.attrs.ignore(&["broadcast"]);
    let (alpha, beta) = (cx.attrs.float_or("alpha", 1.0)?, cx.attrs.float_or("beta", 1.0)?);
    let (trans_a, trans_b) = (cx.attrs.flag("transA", false)?, cx.attrs.flag("transB", false)?);
    let (mut a, mut b) = (cx.input(0)?, cx.input(1)?);
    for value in [&a, &b] {
        must_be(value.rank() == 2, "Gemm takes matrices", value)?;
    }
    let (dtype, summand) = (a.dtype(), cx.optional(2).filter(|_| beta != 0.0));
    if alpha != 1.0 || summand.is_some() {
        (a, b) = (cx.wide(&a)?, cx.wide(&b)?);
    }
    if trans_a {
        a = cx.transpose(&a, &[1, 0])?;
    }
    if trans_b {
        b = cx.transpose(&b, &[1, 0])?;
    }
    let mut made = cx.dot(&a, &b)?;
    let scaled = |cx: &mut Cx, value: &Value, factor: f32| match factor {
        1.0 => Ok(value.clone()),
        _ => cx.pointwise(&format!("{{ mul(a, {}:T) }}", whole(value, factor)?), value.dtype(), &[value]),
    };
    made = scaled(cx, &made, alpha)?;
    if let Some(c) = summand {
        must_be(c.dtype() == dtype, "the summand has the type of the factors", &c)?;
        let c = cx.wide(&c)?;
        let c = scaled(cx, &c, beta)?;
        let shape = made.shape().to_vec();
        made = cx.pointwise("{ add(a, b) }", made.dtype(), &[&made, &c])?;
        must_be(made.shape() == shape, "the summand broadcasts to the product", &c)?;
    }
    Ok(vec![cx.cast(&made, dtype)?])
}

/// A factor as a literal of the value's type.
fn whole(value: &Value, factor: f32) -> Result<String, Fault> {
    if value.dtype().is_float() {
        Ok(number(f64::from(factor)))
    } else if factor.fract() == 0.0 && factor.abs() < 1e9 {
        Ok(format!("{}", factor as i64))
    } else {
        Err(Fault::unsupported(format!("the factor {factor} on integers is not supported")))
    }
}
