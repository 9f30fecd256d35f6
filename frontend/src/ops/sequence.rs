//! Sequences and optionals: lists that exist while importing only. What is at which place must be known.

use ir::{Dim, Dtype, Fault};

use crate::build::Value;
use crate::cx::{Cx, Made, axis, must_be, one};

/// Operators that take sequences; all others take tensors.
pub const TAKERS: &[&str] = &[
    "ConcatFromSequence",
    "Identity",
    "If",
    "Loop",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "SequenceAt",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
];

fn items(cx: &Cx) -> Result<Vec<Value>, Fault> {
    let value = cx.input(0)?;
    value.items.as_deref().map(<[Value]>::to_vec).ok_or_else(|| Fault::invalid(format!("it takes a sequence, not {}", value.ty)))
}

/// The place that operand `index` names among `count`, or else the last of them.
fn place(cx: &mut Cx, index: usize, count: usize) -> Result<usize, Fault> {
    match cx.int_input(index)? {
        None => Ok(count.saturating_sub(1)),
        Some(at) => {
            let signed = if at < 0 { at.saturating_add(count as i64) } else { at };
            let inside = usize::try_from(signed).ok().filter(|at| *at < count);
            inside.ok_or_else(|| Fault::invalid(format!("there is no place {at} among {count}")))
        }
    }
}

/// Elements that a sequence may have.
const LONGEST: usize = 4096;

fn sequence(items: Vec<Value>, dtype: Dtype) -> Made {
    if items.len() > LONGEST {
        return Err(Fault::limit(format!("a sequence has {} elements; at most {LONGEST} are handled", items.len())));
    }
    Ok(vec![Value::sequence(items, dtype)])
}

pub fn construct(cx: &mut Cx) -> Made {
    let items = cx.all()?;
    let dtype = items[0].dtype();
    if let Some(other) = items.iter().find(|item| item.dtype() != dtype) {
        return Err(Fault::invalid(format!("elements of a sequence have one type, not {} and {}", dtype.name(), other.ty)));
    }
    sequence(items, dtype)
}

pub fn empty(cx: &mut Cx) -> Made {
    let dtype = crate::tensors::dtype(i32::try_from(cx.attrs.int_or("dtype", 1)?).unwrap_or(0))?;
    sequence(Vec::new(), dtype)
}

pub fn at(cx: &mut Cx) -> Made {
    let items = items(cx)?;
    let at = place(cx, 1, items.len())?;
    match items.get(at) {
        Some(item) => Ok(vec![item.clone()]),
        None => Err(Fault::invalid("an empty sequence has no elements")),
    }
}

pub fn insert(cx: &mut Cx) -> Made {
    let (mut items, item, dtype) = (items(cx)?, cx.input(1)?, cx.input(0)?.dtype());
    must_be(item.items.is_none() && item.dtype() == dtype, &format!("the elements are of {}", dtype.name()), &item)?;
    // before the element that is named, or else behind all
    let at = match cx.int_input(2)? {
        Some(at) if at == items.len() as i64 => items.len(),
        Some(_) => place(cx, 2, items.len())?,
        None => items.len(),
    };
    items.insert(at, item);
    sequence(items, dtype)
}

pub fn erase(cx: &mut Cx) -> Made {
    let (mut items, dtype) = (items(cx)?, cx.input(0)?.dtype());
    let at = place(cx, 1, items.len())?;
    if at >= items.len() {
        return Err(Fault::invalid("an empty sequence has no elements"));
    }
    items.remove(at);
    sequence(items, dtype)
}

pub fn length(cx: &mut Cx) -> Made {
    let count = items(cx)?.len() as i64;
    Ok(vec![cx.scalar(ir::scalar::Literal::int(Dtype::I64, count))])
}

pub fn concat(cx: &mut Cx) -> Made {
    let mut items = items(cx)?;
    let Some(first) = items.first() else { return Err(Fault::invalid("an empty sequence has nothing to join")) };
    let (added, rank) = (cx.attrs.flag("new_axis", false)?, first.rank());
    let Some(given) = cx.attrs.int("axis")? else { return Err(Fault::invalid("attribute \"axis\" is missing")) };
    let at = axis(given, rank + usize::from(added))?;
    if added {
        for item in &mut items {
            let mut shape = item.shape().to_vec();
            shape.insert(at.min(shape.len()), one());
            *item = cx.reshape(item, shape)?;
        }
    }
    Ok(vec![cx.concat(&items.iter().collect::<Vec<_>>(), at)?])
}

pub fn split(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let at = axis(cx.attrs.int_or("axis", 0)?, x.rank())?;
    let keep = cx.attrs.flag("keepdims", true)?;
    let extent = x.size(at)? as i64;
    if extent as usize > LONGEST {
        return Err(Fault::limit(format!("axis {at} of {} has more than {LONGEST} elements to split", x.ty)));
    }
    let given = cx.optional(1);
    let scalar = given.as_ref().is_some_and(|given| given.rank() == 0);
    let sizes = match cx.ints_input(1)? {
        None => vec![1; x.size(at)?],
        Some(list) if scalar => {
            let Some(each) = list.first().copied().filter(|each| *each > 0) else {
                return Err(Fault::invalid(format!("parts of {list:?} elements do not exist")));
            };
            let whole = vec![each; (extent / each) as usize];
            [whole, if extent % each > 0 { vec![extent % each] } else { Vec::new() }].concat()
        }
        Some(list) => list,
    };
    let total = sizes.iter().try_fold(0i64, |sum, &n| if n < 0 { None } else { sum.checked_add(n) });
    if total != Some(extent) {
        return Err(Fault::invalid(format!("parts of {sizes:?} elements are not the {extent} of axis {at}")));
    }
    let (mut parts, mut start) = (Vec::with_capacity(sizes.len()), 0);
    for size in sizes {
        cx.importer.turn()?;
        let part = cx.part(&x, at, Dim::from(start), Dim::from(size))?;
        start += size;
        let mut shape = part.shape().to_vec();
        if given.is_none() && !keep {
            shape.remove(at);
        }
        parts.push(cx.reshape(&part, shape)?);
    }
    sequence(parts, x.dtype())
}

/// An optional is its element; without one there is nothing to make it of.
pub fn optional(cx: &mut Cx) -> Made {
    cx.attrs.ignore(&["type"]);
    match cx.optional(0) {
        Some(element) => Ok(vec![element]),
        None => Err(Fault::unsupported("an optional without an element is not supported")),
    }
}

pub fn has_element(cx: &mut Cx) -> Made {
    let there = cx.optional(0).is_some();
    Ok(vec![cx.scalar(ir::scalar::Literal::bool(there))])
}

pub fn element(cx: &mut Cx) -> Made {
    Ok(vec![cx.input(0)?])
}
