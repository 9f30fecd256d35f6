//! Shape arithmetic on dimensions that are not fixed: `Shape`, `Gather`, `Concat`, `Mul` and their kin on
//! short integer lists, when at least one element is symbolic. Everything fixed goes the usual way and is
//! folded. It refuses to know how the results are used.

use std::rc::Rc;

use ir::{Dim, Dtype, Fault, Tensor, Type};

use crate::build::Value;
use crate::cx::{Cx, axis};

/// Elements of a list that is followed.
const LONGEST: usize = 64;

/// Terms and factors of a dimension that is followed.
const MOST: usize = 256;
/// Coefficients below that are exact.
const EXACT: u64 = 1 << 62;

/// Fault: what comes of two dimensions is longer than is followed, or its coefficients leave what they are exact in.
fn within(op: &str, a: &Dim, b: &Dim) -> Result<(), Fault> {
    let (length, largest) = match op {
        "Mul" => (
            a.length().saturating_mul(b.length()),
            a.largest().saturating_mul(b.largest()).saturating_mul(a.length().min(b.length()) as u64),
        ),
        _ => (a.length() + b.length(), a.largest().saturating_add(b.largest())),
    };
    if length > MOST {
        return Err(Fault::limit(format!("it computes a dimension of about {length} terms and factors; at most {MOST} are followed")));
    }
    if largest >= EXACT {
        return Err(Fault::limit("it computes a dimension with a coefficient of 2^62 or more"));
    }
    Ok(())
}

/// Two lists, or a list and one number, element by element. `None`: their lengths do not fit.
fn pairs(first: &[Dim], second: &[Dim]) -> Option<Vec<(Dim, Dim)>> {
    let length = first.len().max(second.len());
    let fit = |list: &[Dim]| list.len() == length || list.len() == 1;
    let pair = |i: usize| (first[i % first.len()].clone(), second[i % second.len()].clone());
    (fit(first) && fit(second)).then(|| (0..length).map(pair).collect())
}

/// The outputs of a node that computes with symbolic dimensions; `None` when it is not such a node.
pub fn import(op: &str, cx: &mut Cx) -> Result<Option<Vec<Value>>, Fault> {
    if op == "Shape" || op == "Size" || !cx.inputs.iter().flatten().any(|v| v.dims.is_some()) {
        return Ok(None);
    }
    if op == "Where" {
        return choose(cx);
    }
    let mut lists = Vec::with_capacity(cx.inputs.len());
    for value in cx.inputs.clone() {
        let Some(value) = value else {
            lists.push(None);
            continue;
        };
        match cx.known_dims(&value) {
            Some(list) if list.len() <= LONGEST => lists.push(Some((list, value.rank()))),
            _ => return Ok(None),
        }
    }
    let get = |i: usize| lists.get(i).cloned().flatten();
    let Some((first, rank)) = get(0) else { return Ok(None) };
    let scalar = |list: Vec<Dim>| (list, 0);
    let (list, rank) = match op {
        "Identity" | "Cast" => {
            let to = cx.attrs.int_or("to", i64::from(Dtype::I64.onnx()))?;
            cx.attrs.ignore(&["saturate"]);
            if to != i64::from(Dtype::I64.onnx()) && to != i64::from(Dtype::I32.onnx()) {
                return Ok(None);
            }
            (first, rank)
        }
        "Squeeze" => {
            cx.attrs.ignore(&["axes"]);
            match first.len() {
                1 => scalar(first),
                _ => return Ok(None),
            }
        }
        "Unsqueeze" if rank == 0 => {
            cx.attrs.ignore(&["axes"]);
            (first, 1)
        }
        "Reshape" => {
            cx.attrs.ignore(&["allowzero"]);
            match get(1) {
                Some((shape, _)) if shape.len() <= 1 => {
                    let rank = shape.len();
                    (first, rank)
                }
                _ => return Ok(None),
            }
        }
        "Concat" => {
            cx.attrs.ignore(&["axis"]);
            (lists.iter().flatten().flat_map(|(list, _)| list.clone()).collect(), 1)
        }
        "Gather" => {
            cx.attrs.ignore(&["axis"]);
            let Some((indices, rank)) = get(1) else { return Ok(None) };
            let mut picked = Vec::with_capacity(indices.len());
            for index in indices {
                let Some(index) = index.fixed() else { return Ok(None) };
                picked.push(first[axis(index, first.len())?].clone());
            }
            (picked, rank)
        }
        "Slice" => {
            let ints = |i: usize, name: &str| -> Result<Option<i64>, Fault> {
                if let Some([one]) = cx.attrs.ints(name)? {
                    return Ok(Some(*one));
                }
                Ok(get(i).and_then(|(list, _)| list.first().and_then(Dim::fixed)))
            };
            cx.attrs.ignore(&["axes"]);
            let (Some(start), Some(end)) = (ints(1, "starts")?, ints(2, "ends")?) else { return Ok(None) };
            let step = ints(4, "steps")?.unwrap_or(1);
            if step < 1 {
                return Ok(None);
            }
            let length = first.len() as i64;
            let clamp = |i: i64| (if i < 0 { i.saturating_add(length) } else { i }).clamp(0, length) as usize;
            let range = clamp(start)..clamp(end).max(clamp(start));
            (first[range].iter().step_by(step as usize).cloned().collect(), 1)
        }
        "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" if lists.len() == 2 => {
            let Some((second, other)) = get(1) else { return Ok(None) };
            let Some(pairs) = pairs(&first, &second) else { return Ok(None) };
            let mut out = Vec::with_capacity(pairs.len());
            for (a, b) in pairs {
                within(op, &a, &b)?;
                out.push(match op {
                    "Add" => a + b,
                    "Sub" => a - b,
                    "Mul" => a * b,
                    "Div" => match b.fixed() {
                        Some(by) if by > 0 && a.bounds(&cx.graph.symbols).0 >= 0 => a.floor_div(by),
                        _ => return Ok(None),
                    },
                    _ => {
                        let (low, high) = (a.clone() - b.clone()).bounds(&cx.graph.symbols);
                        match (op == "Max", low >= 0, high <= 0) {
                            (true, true, _) | (false, _, true) => a,
                            (true, _, true) | (false, true, _) => b,
                            _ => return Ok(None),
                        }
                    }
                });
            }
            (out, rank.max(other))
        }
        "Equal" => {
            let Some((second, other)) = get(1) else { return Ok(None) };
            let Some(pairs) = pairs(&first, &second) else { return Ok(None) };
            let mut out = Vec::with_capacity(pairs.len());
            for (a, b) in pairs {
                within(op, &a, &b)?;
                let difference = a - b;
                let (low, high) = difference.bounds(&cx.graph.symbols);
                match () {
                    () if low == 0 && high == 0 => out.push(1u8),
                    () if low > 0 || high < 0 => out.push(0u8),
                    () => return Ok(None),
                }
            }
            let length = [out.len()];
            let shape: &[usize] = if rank.max(other) == 0 { &[] } else { &length };
            return Ok(Some(vec![cx.constant(Tensor::dense(Dtype::Bool, shape, out))]));
        }
        "ReduceProd" => {
            cx.attrs.ignore(&["axes", "noop_with_empty_axes"]);
            let rank = usize::from(cx.attrs.flag("keepdims", true)?);
            let mut product = Dim::from(1i64);
            for dim in &first {
                within("Mul", &product, dim)?;
                product = product * dim.clone();
            }
            (vec![product], rank)
        }
        _ => return Ok(None),
    };
    Ok(Some(vec![value(cx, list, rank)]))
}

/// `Where` with a condition that is known and dimensions to choose from.
fn choose(cx: &mut Cx) -> Result<Option<Vec<Value>>, Fault> {
    let values = cx.all()?;
    let Some(condition) = cx.known(&values[0]) else { return Ok(None) };
    let (Some(yes), Some(no)) = (cx.known_dims(&values[1]), cx.known_dims(&values[2])) else { return Ok(None) };
    let condition = condition.to_i64s();
    let length = condition.len().max(yes.len()).max(no.len());
    if length > LONGEST || [condition.len(), yes.len(), no.len()].iter().any(|n| ![1, length].contains(n)) {
        return Ok(None);
    }
    let pick = |i: usize| if condition[i % condition.len()] != 0 { yes[i % yes.len()].clone() } else { no[i % no.len()].clone() };
    let rank = values.iter().map(Value::rank).max().unwrap_or(0);
    let list = (0..length).map(pick).collect();
    Ok(Some(vec![value(cx, list, rank)]))
}

/// A list (or, with rank 0, one number) of dimensions as a value: a constant when all are fixed.
pub fn value(cx: &mut Cx, list: Vec<Dim>, rank: usize) -> Value {
    let shape: Vec<usize> = if rank == 0 { Vec::new() } else { vec![list.len()] };
    let fixed: Option<Vec<i64>> = list.iter().map(Dim::fixed).collect();
    match fixed {
        Some(ints) => cx.constant(Tensor::i64s(&shape, &ints)),
        None => Value { ty: Type::of(Dtype::I64, &shape), node: None, dims: Some(Rc::from(list)), items: None },
    }
}
