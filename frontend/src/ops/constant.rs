//! Operators that make constants.

use ir::scalar::{Literal, ScalarOp};
use ir::{Dim, Dtype, Fault, Tensor, Type};

use crate::cx::{Cx, Made, must_be};
use crate::symbolic;
use crate::tensors;

/// A constant in one of its eight spellings.
pub fn constant(cx: &mut Cx) -> Made {
    if let Some(tensor) = cx.attrs.tensor("value")? {
        return Ok(vec![cx.read(tensor)?]);
    }
    if let Some(sparse) = cx.attrs.sparse("sparse_value")? {
        tensors::room(sparse, cx)?;
        let tensor = tensors::read_sparse(sparse, cx.importer.source, cx.limits)?;
        return Ok(vec![cx.constant(tensor)]);
    }
    let tensor = if let Some(value) = cx.attrs.float("value_float")? {
        Tensor::f32s(&[], &[value])
    } else if let Some(list) = cx.attrs.floats("value_floats")? {
        Tensor::f32s(&[list.len()], list)
    } else if let Some(value) = cx.attrs.int("value_int")? {
        Tensor::i64s(&[], &[value])
    } else if let Some(list) = cx.attrs.ints("value_ints")? {
        Tensor::i64s(&[list.len()], list)
    } else if cx.attrs.has("value_string") || cx.attrs.has("value_strings") {
        return Err(Fault::unsupported("strings are not supported"));
    } else {
        return Err(Fault::invalid("it has no value"));
    };
    Ok(vec![cx.constant(tensor)])
}

pub fn constant_of_shape(cx: &mut Cx) -> Made {
    let Some(shape) = cx.dims_input(0)? else { return Err(Fault::invalid("it has no shape")) };
    if let Some(negative) = shape.iter().find(|d| d.fixed().is_some_and(|n| n < 0)) {
        return Err(Fault::invalid(format!("the shape holds {negative}")));
    }
    let element = match cx.attrs.tensor("value")? {
        Some(tensor) => tensors::read(tensor, cx.importer.source, cx.limits)?,
        None => Tensor::f32s(&[1], &[0.0]),
    };
    if element.elements() != 1 {
        return Err(Fault::invalid(format!("the value is one element, not {}", element.ty())));
    }
    let element = Literal::from_bytes(element.dtype(), &element.bytes());
    let ty = Type::new(element.dtype, shape);
    cx.fits(&ty)?;
    let one = Tensor::splat(element.dtype, &[], &element.to_bytes());
    let made = cx.constant(one);
    Ok(vec![cx.expand(&made, &ty.shape)?])
}

/// Ones on a diagonal of a matrix as large as the operand.
pub fn eye_like(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    must_be(x.rank() == 1 || x.rank() == 2, "it takes a matrix", &x)?;
    let dtype = match cx.attrs.int("dtype")? {
        Some(number) => tensors::dtype(i32::try_from(number).unwrap_or(0))?,
        None => x.dtype(),
    };
    let shift = cx.attrs.int_or("k", 0)?;
    let (rows, columns) = (x.shape()[0].clone(), x.shape()[x.rank() - 1].clone());
    let (rows, columns) = (cx.iota(&rows, 0, 2)?, cx.iota(&columns, 1, 2)?);
    let text = format!("{{ t0 = sub(b, a); t1 = eq(t0, {shift}); cast.{}(t1) }}", dtype.name());
    Ok(vec![cx.pointwise(&text, Dtype::I64, &[&rows, &columns])?])
}

/// `start`, `start + delta` … before `limit`.
pub fn range(cx: &mut Cx) -> Made {
    let values = cx.all()?;
    let dtype = values[0].dtype();
    for value in &values {
        must_be(value.dtype() == dtype, "start, limit and delta have one type", value)?;
        must_be(value.ty.elements() == Some(1), "start, limit and delta are one number each", value)?;
    }
    if values.iter().any(|v| v.dims.is_some()) {
        let mut bounds = Vec::with_capacity(3);
        for i in 0..3 {
            bounds.extend(cx.dims_input(i)?.unwrap_or_default());
        }
        if let [start, limit, step] = bounds.as_slice()
            && step.fixed() == Some(1)
        {
            let count = limit.clone() - start.clone();
            if count.bounds(&cx.graph.symbols).0 >= 0 {
                let places = cx.iota(&count, 0, 1)?;
                return match start.fixed() {
                    Some(0) => Ok(vec![places]),
                    _ => {
                        let start = symbolic::value(cx, vec![start.clone()], 0);
                        Ok(vec![cx.apply(ScalarOp::Add, &[&places, &start])?])
                    }
                };
            }
        }
        return Err(Fault::unsupported("a range over dimensions that are not fixed must count up in ones"));
    }
    let mut bounds = Vec::with_capacity(3);
    for i in 0..3 {
        bounds.extend(cx.known_input(i)?);
    }
    let count = if dtype.is_float() {
        let [start, limit, step] = [0, 1, 2].map(|i| bounds[i].to_f64s()[0]);
        if step == 0.0 || [start, limit, step].iter().any(|v| !v.is_finite()) {
            return Err(Fault::invalid(format!("the range from {start} to {limit} in steps of {step} has no end")));
        }
        ((limit - start) / step).ceil().max(0.0) as i128
    } else {
        let [start, limit, step] = [0, 1, 2].map(|i| i128::from(bounds[i].to_i64s()[0]));
        if step == 0 {
            return Err(Fault::invalid("the steps of the range are 0"));
        }
        let room = if step > 0 { limit - start } else { start - limit };
        (room.max(0) + step.abs() - 1) / step.abs()
    };
    if count > cx.limits.dense as i128 / 8 {
        return Err(Fault::limit(format!("a range of {count} elements is too long")));
    }
    cx.room(count, dtype)?;
    let mut bytes = Vec::with_capacity(count as usize * dtype.bytes());
    let whole = !dtype.is_float();
    let (start, step) = (bounds[0].to_f64s()[0], bounds[2].to_f64s()[0]);
    let (first, each) = (bounds[0].to_i64s()[0], bounds[2].to_i64s()[0]);
    for i in 0..count as i64 {
        let literal = match whole {
            true => Literal::int(dtype, first.wrapping_add(each.wrapping_mul(i))),
            false => Literal::number(dtype, start + step * i as f64),
        };
        bytes.extend(literal.to_bytes());
    }
    let ty = Type::new(dtype, vec![Dim::from(count as i64)]);
    cx.fits(&ty)?;
    Ok(vec![cx.constant(Tensor::dense(dtype, &[count as usize], bytes))])
}
