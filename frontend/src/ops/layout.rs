//! Operators that move elements and compute none: reshaping, joining, cutting, padding, repeating.

use ir::graph::op::PadMode;
use ir::scalar::Literal;
use ir::{Dim, Dtype, Fault};

use crate::build::Value;
use crate::cx::{Cx, Made, axes, axis, must_be, one, zero};
use crate::ops::pointwise::pad_with;

pub fn identity(cx: &mut Cx) -> Made {
    Ok(vec![cx.input(0)?])
}

/// Without training the operand itself; the mask keeps everything.
pub fn dropout(cx: &mut Cx) -> Made {
    cx.attrs.ignore(&["ratio", "seed", "is_test", "consumed_inputs"]);
    let x = cx.input(0)?;
    if let Some(training) = cx.optional(2)
        && let ratio = cx.optional(1)
        && ratio.as_ref().is_none_or(|r| cx.known(r).is_none_or(|r| r.to_f64s() != [0.0]))
    {
        let Some(known) = cx.known(&training) else { return Err(cx.must_be_known(&training, "whether it trains")) };
        if known.to_i64s().iter().any(|v| *v != 0) {
            if let Some(ratio) = ratio.filter(|ratio| cx.known(ratio).is_none()) {
                return Err(cx.must_be_known(&ratio, "how much it drops in training"));
            }
            return Err(Fault::unsupported("dropout in training is not supported").help("export the model for inference"));
        }
    }
    let mask = if cx.version < 10 { x.dtype() } else { Dtype::Bool };
    let mask = if cx.wants(1) { vec![cx.fill(mask, 1.0, x.shape())?] } else { Vec::new() };
    Ok(std::iter::once(x).chain(mask).collect())
}

/// 0 keeps a dimension (unless `allowzero`), one -1 takes what is left.
pub fn reshape(cx: &mut Cx) -> Made {
    cx.attrs.ignore(&["consumed_inputs"]);
    let x = cx.input(0)?;
    let allow_zero = cx.attrs.flag("allowzero", false)?;
    let target = match cx.attrs.ints("shape")? {
        Some(list) => list.iter().map(|&d| Dim::from(d)).collect(),
        None => match cx.dims_input(1)? {
            Some(dims) => dims,
            None => return Err(Fault::invalid("it has no shape to give")),
        },
    };
    let mut shape = Vec::with_capacity(target.len());
    let mut rest = None;
    for (i, d) in target.iter().enumerate() {
        shape.push(match d.fixed() {
            Some(0) if !allow_zero => match x.shape().get(i) {
                Some(kept) => kept.clone(),
                None => return Err(Fault::invalid(format!("dimension {i} of the shape is 0, and {} has none there", x.ty))),
            },
            Some(-1) => {
                if rest.replace(i).is_some() {
                    return Err(Fault::invalid("the shape holds -1 twice"));
                }
                one()
            }
            Some(n) if n < 0 => return Err(Fault::invalid(format!("the shape holds {n}"))),
            _ => d.clone(),
        });
    }
    if let Some(i) = rest {
        let others = ir::dim::product(&shape);
        match ir::dim::product(x.shape()).exact_div(&others) {
            Some(d) => shape[i] = d,
            None => return Err(Fault::invalid(format!("the elements of {} do not divide by {others} for -1", x.ty))),
        }
    }
    Ok(vec![cx.reshape(&x, shape)?])
}

/// A matrix: the axes before `axis` are its rows.
pub fn flatten(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let given = cx.attrs.int_or("axis", 1)?;
    let at = if given == x.rank() as i64 { x.rank() } else { axis(given, x.rank())? };
    let (before, behind) = x.shape().split_at(at);
    let shape = vec![ir::dim::product(before), ir::dim::product(behind)];
    Ok(vec![cx.reshape(&x, shape)?])
}

pub fn transpose(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let perm: Vec<usize> = match cx.attrs.ints("perm")? {
        None => (0..x.rank()).rev().collect(),
        Some(list) => {
            let perm: Option<Vec<usize>> = list.iter().map(|&p| usize::try_from(p).ok()).collect();
            let mut seen = vec![false; x.rank()];
            let fits = |p: &usize| *p < seen.len() && !std::mem::replace(&mut seen[*p], true);
            match perm {
                Some(perm) if perm.len() == x.rank() && perm.iter().all(fits) => perm,
                _ => return Err(Fault::invalid(format!("{list:?} is not a permutation of the axes of {}", x.ty))),
            }
        }
    };
    Ok(vec![cx.transpose(&x, &perm)?])
}

pub fn squeeze(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let dropped = match cx.ints_either("axes", 1)? {
        Some(list) => axes(&list, x.rank())?,
        None => (0..x.rank()).filter(|&i| x.shape()[i] == one()).collect(),
    };
    if let Some(wide) = dropped.iter().find(|&&i| x.shape()[i] != one()) {
        return Err(Fault::invalid(format!("axis {wide} of {} is not 1", x.ty)));
    }
    let shape = (0..x.rank()).filter(|i| !dropped.contains(i)).map(|i| x.shape()[i].clone()).collect();
    Ok(vec![cx.reshape(&x, shape)?])
}

pub fn unsqueeze(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let Some(list) = cx.ints_either("axes", 1)? else { return Err(Fault::invalid("it has no axes")) };
    let rank = x.rank() + list.len();
    let new = axes(&list, rank)?;
    let mut old = x.shape().iter().cloned();
    let shape = (0..rank).map(|i| if new.contains(&i) { one() } else { old.next().unwrap_or_else(one) }).collect();
    Ok(vec![cx.reshape(&x, shape)?])
}

pub fn concat(cx: &mut Cx) -> Made {
    let values = cx.all()?;
    let given = match cx.attrs.int("axis")? {
        Some(given) => given,
        None if cx.version < 4 => 1,
        None => return Err(Fault::invalid("attribute \"axis\" is missing")),
    };
    let at = axis(given, values[0].rank())?;
    let operands: Vec<&Value> = values.iter().collect();
    Ok(vec![cx.concat(&operands, at)?])
}

/// Parts of given sizes, or as many as there are outputs, the last one smaller if they do not come out even.
pub fn split(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let at = axis(cx.attrs.int_or("axis", 0)?, x.rank())?;
    let count = cx.attrs.int("num_outputs")?;
    let given = cx.ints_either("split", 1)?;
    let outputs = cx.wanted.len();
    if let Some(count) = count
        && (given.is_some() || count != outputs as i64)
    {
        return Err(Fault::invalid(format!("num_outputs is {count}, and there are {outputs} outputs")));
    }
    let extent = x.shape()[at].clone();
    let sizes: Vec<Dim> = match given {
        Some(list) => {
            let total = list.iter().try_fold(0i64, |total, &n| total.checked_add(n).filter(|_| n >= 0));
            if total.map(Dim::from).as_ref() != Some(&extent) || list.len() != outputs {
                return Err(Fault::invalid(format!("the parts {list:?} for {outputs} outputs do not make {extent}")));
            }
            list.into_iter().map(Dim::from).collect()
        }
        None => match (extent.exact_div(&Dim::from(outputs)), extent.fixed()) {
            (Some(part), _) => vec![part; outputs],
            (None, Some(n)) if count.is_some() => {
                let part = (n + outputs as i64 - 1) / outputs as i64;
                (0..outputs as i64).map(|i| Dim::from((n - i * part).clamp(0, part))).collect()
            }
            _ => return Err(Fault::invalid(format!("{extent} elements do not fall into {outputs} equal parts"))),
        },
    };
    let mut start = zero();
    let mut parts = Vec::with_capacity(outputs);
    for size in sizes {
        parts.push(cx.part(&x, at, start.clone(), size.clone())?);
        start = start + size;
    }
    Ok(parts)
}

/// A position in `0..=extent`, negative ones counted from the end, others moved to the nearest end.
fn place(cx: &Cx, given: &Dim, extent: &Dim) -> Result<Dim, Fault> {
    let symbols = &cx.graph.symbols;
    let from_end = given.fixed().is_some_and(|g| g < 0);
    if let (Some(given), Some(extent)) = (given.fixed(), extent.fixed()) {
        let at = if from_end { given.saturating_add(extent) } else { given };
        return Ok(Dim::from(at.clamp(0, extent)));
    }
    let at = if from_end { given.clone() + extent.clone() } else { given.clone() };
    let (low, high) = at.bounds(symbols);
    let (room, _) = (extent.clone() - at.clone()).bounds(symbols);
    let (over, _) = (at.clone() - extent.clone()).bounds(symbols);
    match () {
        () if given.fixed().is_some_and(|g| g >= 1 << 31) || over >= 0 => Ok(extent.clone()),
        () if low >= 0 && room >= 0 => Ok(at),
        () if high <= 0 => Ok(zero()),
        () => Err(Fault::unsupported(format!("whether {given} lies inside {extent} is not known when compiling"))
            .help("fix the named dimensions with --dim NAME=SIZE, or narrow their range")),
    }
}

pub fn slice(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let list = |cx: &mut Cx, name: &str, index: usize| match cx.attrs.ints(name)? {
        Some(list) => Ok(Some(list.iter().map(|&v| Dim::from(v)).collect::<Vec<_>>())),
        None => cx.dims_input(index),
    };
    let (Some(starts), Some(ends)) = (list(cx, "starts", 1)?, list(cx, "ends", 2)?) else {
        return Err(Fault::invalid("it has no starts or no ends"));
    };
    let along = match cx.ints_either("axes", 3)? {
        Some(list) => axes(&list, x.rank())?,
        None => (0..starts.len()).collect(),
    };
    let steps = cx.ints_input(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), along.len(), steps.len()] != [starts.len(); 3] || along.len() > x.rank() {
        return Err(Fault::invalid(format!(
            "{} starts, {} ends, {} axes and {} steps do not go together for {}",
            starts.len(),
            ends.len(),
            along.len(),
            steps.len(),
            x.ty
        )));
    }
    let (mut from, mut step, mut size) = (vec![zero(); x.rank()], vec![1; x.rank()], x.shape().to_vec());
    for (i, &axis) in along.iter().enumerate() {
        let extent = x.shape()[axis].clone();
        step[axis] = steps[i];
        match steps[i] {
            0 => return Err(Fault::invalid(format!("the step of axis {axis} is 0"))),
            1.. => {
                let (start, end) = (place(cx, &starts[i], &extent)?, place(cx, &ends[i], &extent)?);
                let room = end - start.clone();
                let (low, high) = room.bounds(&cx.graph.symbols);
                (from[axis], size[axis]) = match () {
                    () if high <= 0 => (zero(), zero()),
                    () if low >= 0 => (start, room.ceil_div(steps[i])),
                    () => return Err(Fault::unsupported(format!("the length {room} of a slice may be negative"))),
                };
            }
            back => {
                let fixed = (starts[i].fixed(), ends[i].fixed(), extent.fixed());
                let (Some(start), Some(end), Some(extent)) = fixed else {
                    return Err(Fault::unsupported("slicing backwards needs fixed dimensions"));
                };
                let wrap = |at: i64| if at < 0 { at.saturating_add(extent) } else { at };
                let (start, end) = (wrap(start).clamp(-1, extent - 1), wrap(end).clamp(-1, extent - 1));
                let count = (start - end).max(0);
                let stride = back.checked_neg().unwrap_or(i64::MAX);
                let count = count / stride + i64::from(count % stride != 0);
                step[axis] = if count > 1 { back } else { 1 };
                (from[axis], size[axis]) = (Dim::from(if count > 0 { start } else { 0 }), Dim::from(count));
            }
        }
        // A step beyond the extent takes one element; a small one says the same without overflow.
        if size[axis] == one() {
            step[axis] = 1;
        }
    }
    Ok(vec![cx.slice(&x, from, step, size)?])
}

/// Negative padding cuts.
pub fn pad(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let words = [("constant", PadMode::Constant), ("reflect", PadMode::Reflect), ("edge", PadMode::Edge), ("wrap", PadMode::Wrap)];
    let mode = cx.attrs.choice("mode", PadMode::Constant, &words)?;
    let pads = match cx.attrs.ints("paddings")? {
        Some(list) => Some(list.to_vec()),
        None => cx.ints_either("pads", 1)?,
    };
    let Some(pads) = pads else { return Err(Fault::invalid("it has no pads")) };
    let along = match cx.ints_input(3)? {
        Some(list) => axes(&list, x.rank())?,
        None => (0..x.rank()).collect(),
    };
    if pads.len() != 2 * along.len() {
        return Err(Fault::invalid(format!("{} pads do not fit {} axes", pads.len(), along.len())));
    }
    let (mut low, mut high) = (vec![zero(); x.rank()], vec![zero(); x.rank()]);
    let (mut cut, mut size) = (vec![zero(); x.rank()], x.shape().to_vec());
    for (i, &axis) in along.iter().enumerate() {
        let (before, behind) = (pads[i], pads[i + along.len()]);
        if [before, behind].iter().any(|p| !(-(1 << 40)..=1 << 40).contains(p)) {
            return Err(Fault::limit(format!("padding by {before} and {behind} is too much")));
        }
        (low[axis], high[axis]) = (Dim::from(before.max(0)), Dim::from(behind.max(0)));
        cut[axis] = Dim::from((-before).max(0));
        size[axis] = size[axis].clone() + Dim::from(before.min(0) + behind.min(0));
        if size[axis].bounds(&cx.graph.symbols).0 < 0 {
            return Err(Fault::invalid(format!("axis {axis} of {} is shorter than what the pads cut", x.ty)));
        }
        let reach = match mode {
            PadMode::Constant | PadMode::Edge => i64::MAX,
            PadMode::Reflect => size[axis].fixed().map_or(i64::MAX, |n| n - 1),
            PadMode::Wrap => size[axis].fixed().unwrap_or(i64::MAX),
        };
        if before > reach || behind > reach {
            return Err(Fault::invalid(format!("axis {axis} of {} has too few elements for its padding", x.ty)));
        }
    }
    let start = cut;
    let x = cx.slice(&x, start, vec![1; low.len()], size)?;
    let dtype = x.dtype();
    let fill = match (cx.attrs.float("value")?, cx.optional(2)) {
        (Some(value), _) => Literal::number(dtype, f64::from(value)),
        (None, None) => Literal::number(dtype, 0.0),
        (None, Some(value)) => {
            must_be(value.dtype() == dtype, "the fill has the operand's type", &value)?;
            must_be(value.ty.elements() == Some(1), "the fill is one number", &value)?;
            match cx.known(&value) {
                Some(known) => Literal::from_bytes(dtype, &known.bytes()),
                None if mode == PadMode::Constant => {
                    let value = cx.reshape(&value, Vec::new())?;
                    return Ok(vec![pad_with(cx, &x, low, high, &value)?]);
                }
                None => Literal::number(dtype, 0.0),
            }
        }
    };
    Ok(vec![cx.pad(&x, low, high, mode, fill)?])
}

/// Cut or padded to sizes, as much on one side as on the other; the odd element goes behind.
pub fn center_crop_pad(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let Some(wanted) = cx.ints_input(1)? else { return Err(Fault::invalid("it has no shape")) };
    let along = match cx.attrs.ints("axes")? {
        Some(list) => axes(list, x.rank())?,
        None => (0..x.rank()).collect(),
    };
    if along.len() != wanted.len() || wanted.iter().any(|w| *w < 0) {
        return Err(Fault::invalid(format!("the sizes {wanted:?} do not fit {} axes", along.len())));
    }
    let mut value = x;
    for (&axis, &wanted) in along.iter().zip(&wanted) {
        let extent = value.size(axis)? as i64;
        if wanted < extent {
            value = cx.part(&value, axis, Dim::from((extent - wanted) / 2), Dim::from(wanted))?;
        } else if wanted > extent {
            let (mut low, mut high) = (vec![zero(); value.rank()], vec![zero(); value.rank()]);
            let before = (wanted - extent) / 2;
            (low[axis], high[axis]) = (Dim::from(before), Dim::from(wanted - extent - before));
            let fill = Literal::number(value.dtype(), 0.0);
            value = cx.pad(&value, low, high, PadMode::Constant, fill)?;
        }
    }
    Ok(vec![value])
}

pub fn expand(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let Some(target) = cx.dims_input(1)? else { return Err(Fault::invalid("it has no shape")) };
    if target.iter().any(|d| d.fixed().is_some_and(|n| n < 0)) {
        return Err(Fault::invalid("the shape holds a negative dimension"));
    }
    let Ok(shape) = ir::graph::infer::broadcast(x.shape(), &target) else {
        let target = ir::Type::new(x.dtype(), target);
        return Err(Fault::invalid(format!("{} does not broadcast to {target}", x.ty)));
    };
    Ok(vec![cx.expand(&x, &shape)?])
}

pub fn tile(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let Some(repeats) = cx.ints_input(1)? else { return Err(Fault::invalid("it has no repeats")) };
    if repeats.len() != x.rank() || repeats.iter().any(|r| *r < 0) {
        return Err(Fault::invalid(format!("the repeats {repeats:?} do not fit {}", x.ty)));
    }
    let (mut apart, mut repeated, mut joined) = (Vec::new(), Vec::new(), Vec::new());
    for (d, &times) in x.shape().iter().zip(&repeats) {
        if times != 1 {
            apart.push(one());
            repeated.push(Dim::from(times));
        }
        apart.push(d.clone());
        repeated.push(d.clone());
        joined.push(d.clone() * Dim::from(times));
    }
    cx.fits(&ir::Type::new(x.dtype(), joined.clone()))?;
    if repeats.contains(&0) {
        return Ok(vec![cx.fill(x.dtype(), 0.0, &joined)?]);
    }
    let apart = cx.reshape(&x, apart)?;
    let repeated = cx.expand(&apart, &repeated)?;
    Ok(vec![cx.reshape(&repeated, joined)?])
}

/// The attribute `blocksize`, and an image of four axes.
fn blocks(cx: &mut Cx) -> Result<(Value, Dim), Fault> {
    let x = cx.input(0)?;
    must_be(x.rank() == 4, "it takes [n, c, h, w]", &x)?;
    match cx.attrs.int("blocksize")? {
        Some(block) if (1..1 << 20).contains(&block) => Ok((x, Dim::from(block))),
        Some(block) => Err(Fault::invalid(format!("attribute \"blocksize\" is {block}"))),
        None => Err(Fault::invalid("attribute \"blocksize\" is missing")),
    }
}

fn divided(x: &Value, axis: usize, by: &Dim) -> Result<Dim, Fault> {
    let quotient = x.shape()[axis].exact_div(by);
    quotient.ok_or_else(|| Fault::invalid(format!("axis {axis} of {} does not divide by {by}", x.ty)))
}

pub fn depth_to_space(cx: &mut Cx) -> Made {
    let columns = cx.attrs.choice("mode", false, &[("DCR", false), ("CRD", true)])?;
    let (x, b) = blocks(cx)?;
    let c = divided(&x, 1, &(b.clone() * b.clone()))?;
    let [n, _, h, w] = [0, 1, 2, 3].map(|i| x.shape()[i].clone());
    let (split, perm) = match columns {
        false => (vec![n.clone(), b.clone(), b.clone(), c.clone(), h.clone(), w.clone()], [0, 3, 4, 1, 5, 2]),
        true => (vec![n.clone(), c.clone(), b.clone(), b.clone(), h.clone(), w.clone()], [0, 1, 4, 2, 5, 3]),
    };
    let split = cx.reshape(&x, split)?;
    let turned = cx.transpose(&split, &perm)?;
    Ok(vec![cx.reshape(&turned, vec![n, c, h * b.clone(), w * b])?])
}

pub fn space_to_depth(cx: &mut Cx) -> Made {
    let columns = cx.attrs.choice("mode", false, &[("DCR", false), ("CRD", true)])?;
    let (x, b) = blocks(cx)?;
    let (h, w) = (divided(&x, 2, &b)?, divided(&x, 3, &b)?);
    let [n, c] = [0, 1].map(|i| x.shape()[i].clone());
    let split = cx.reshape(&x, vec![n.clone(), c.clone(), h.clone(), b.clone(), w.clone(), b.clone()])?;
    let turned = cx.transpose(&split, if columns { &[0, 1, 3, 5, 2, 4] } else { &[0, 3, 5, 1, 2, 4] })?;
    Ok(vec![cx.reshape(&turned, vec![n, c * b.clone() * b, h, w])?])
}
