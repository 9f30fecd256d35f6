//! Operators whose results are as long as the data says: each keeps rows by a mask, and their number is a new symbol with
//! the number of rows as its bound.

use ir::graph::op::{CumulateKind, Op, ReduceKind, ScatterKind};
use ir::scalar::{Body, Literal, ScalarOp};
use ir::tensor::Tensor;
use ir::{Dim, Dtype, Fault};

use crate::build::Value;
use crate::cx::{Cx, Made, axis, must_be, one, zero};

/// A new symbol, from 0 to what `rows` is at most.
fn length(cx: &mut Cx, rows: &Dim) -> Dim {
    let high = rows.bounds(&cx.graph.symbols).1;
    let name = (0..).map(|i| format!("length_{i}")).find(|name| !cx.graph.symbols.contains_key(name.as_str()));
    let name = name.expect("there is always another number");
    cx.graph.symbols.insert(name.as_str().into(), (0, high));
    Dim::symbol(&name)
}

/// The rows of `x` where `mask` holds, `length` of them.
fn keep(cx: &mut Cx, x: &Value, mask: &Value, length: &Dim) -> Result<Value, Fault> {
    cx.add(Op::Compact { length: length.clone() }, &[x, mask])
}

pub fn non_zero(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let sizes = x.sizes()?;
    if let Some(known) = cx.known(&x) {
        let values = known.to_f64s();
        let found: Vec<usize> = (0..values.len()).filter(|&i| values[i] != 0.0).collect();
        let mut places = Vec::with_capacity(sizes.len() * found.len());
        for (axis, size) in sizes.iter().enumerate() {
            let stride: usize = sizes[axis + 1..].iter().product();
            places.extend(found.iter().map(|i| (i / stride % size) as i64));
        }
        return Ok(vec![cx.constant(Tensor::i64s(&[sizes.len(), found.len()], &places))]);
    }
    must_be(!sizes.is_empty(), "it takes a tensor with axes", &x)?;
    let rows = ir::dim::product(x.shape());
    let mask = cx.cast(&x, Dtype::Bool)?;
    let mask = cx.reshape(&mask, vec![rows.clone()])?;
    let numbers = cx.iota(&rows, 0, 1)?;
    let found = length(cx, &rows);
    let kept = keep(cx, &numbers, &mask, &found)?;
    let mut lines = Vec::with_capacity(sizes.len());
    for (i, &size) in sizes.iter().enumerate() {
        let stride: usize = sizes[i + 1..].iter().product();
        let line = cx.pointwise(&format!("{{ t0 = div(a, {}); rem(t0, {}) }}", stride.max(1), size.max(1)), Dtype::I64, &[&kept])?;
        lines.push(cx.reshape(&line, vec![one(), found.clone()])?);
    }
    Ok(vec![cx.concat(&lines.iter().collect::<Vec<_>>(), 0)?])
}

/// The rows whose condition holds, where only the data says which.
pub fn compress(cx: &mut Cx, x: &Value, at: usize, condition: &Value) -> Made {
    must_be(condition.rank() == 1 && condition.dtype() == Dtype::Bool, "its condition is a list of bools", condition)?;
    let (rows, given) = (x.shape()[at].clone(), condition.shape()[0].clone());
    let missing = rows.clone() - given;
    let fits = missing.bounds(&cx.graph.symbols).0 >= 0;
    must_be(fits, "there are at most as many conditions as rows", condition)?;
    let fill = Literal::bool(false);
    let mask = cx.pad(condition, vec![zero()], vec![missing], ir::graph::op::PadMode::Constant, fill)?;
    let front: Vec<usize> = std::iter::once(at).chain((0..x.rank()).filter(|i| *i != at)).collect();
    let turned = cx.transpose(x, &front)?;
    let found = length(cx, &rows);
    let kept = keep(cx, &turned, &mask, &found)?;
    let back: Vec<usize> = (0..x.rank()).map(|i| front.iter().position(|f| *f == i).expect("it is a permutation")).collect();
    Ok(vec![cx.transpose(&kept, &back)?])
}

/// The different elements, or slices along an axis, each where it stood first, how often, and which one every element is.
pub fn unique(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let sorted = cx.attrs.flag("sorted", true)?;
    let along = cx.attrs.int("axis")?.map(|at| axis(at, x.rank())).transpose()?;
    // what is compared: elements, or rows that lie first
    let front: Vec<usize> = along.into_iter().chain((0..x.rank()).filter(|i| Some(*i) != along)).collect();
    let turned = cx.transpose(&x, &front)?;
    let (rows, parts) = match along {
        Some(_) => (turned.shape()[0].clone(), turned.sizes()?[1..].iter().product()),
        None => (ir::dim::product(x.shape()), 1),
    };
    let line = cx.reshape(&turned, vec![rows.clone(), Dim::from(parts)])?;
    let order = sorted_rows(cx, &line, parts)?;
    let values = cx.gather(&line, &order, 0)?;
    // the first of each run of equal elements; a stable order has the one that stood first there
    let count = rows.fixed().ok_or_else(|| Fault::unsupported("the number of elements is known at run time only"))?;
    must_be(count > 0, "it takes elements", &x)?;
    let before = cx.part(&values, 0, zero(), Dim::from(count - 1))?;
    let after = cx.part(&values, 0, one(), Dim::from(count - 1))?;
    let changes = cx.apply(ScalarOp::Ne, &[&after, &before])?;
    let changes = cx.cast(&changes, Dtype::I64)?;
    let any = Op::Reduce { kind: ReduceKind::Max, axes: vec![1], prologue: Body::identity(), epilogue: Body::identity() };
    let changes = cx.add(any, &[&changes])?;
    let changes = cx.reshape(&changes, vec![Dim::from(count - 1)])?;
    let changes = cx.cast(&changes, Dtype::Bool)?;
    let yes = cx.constant(Tensor::dense(Dtype::Bool, &[1], vec![1]));
    let first = cx.concat(&[&yes, &changes], 0)?;
    let ones = cx.cast(&first, Dtype::I64)?;
    let group = cx.add(Op::Cumulate { kind: CumulateKind::Sum, axis: 0, exclusive: false, reverse: false }, &[&ones])?;
    let group = cx.pointwise("{ sub(a, 1) }", Dtype::I64, &[&group])?;
    let none = cx.fill(Dtype::I64, 0.0, std::slice::from_ref(&rows))?;
    let set = Op::Scatter { kind: ScatterKind::Set };
    let mut inverse = cx.add(set.clone(), &[&none, &order, &group])?;
    let every = cx.fill(Dtype::I64, 1.0, std::slice::from_ref(&rows))?;
    let all_counts = cx.add(Op::Scatter { kind: ScatterKind::Sum }, &[&none, &group, &every])?;
    let found = length(cx, &rows);
    let mut made = keep(cx, &values, &first, &found)?;
    let mut places = keep(cx, &order, &first, &found)?;
    let mut counts = cx.part(&all_counts, 0, zero(), found.clone())?;
    if !sorted {
        let by_place = cx.add(Op::Sort { axis: 0, descending: false }, &[&places])?;
        let rank = cx.add(Op::Sort { axis: 0, descending: false }, &[&by_place])?;
        made = cx.gather(&made, &by_place, 0)?;
        places = cx.gather(&places, &by_place, 0)?;
        counts = cx.gather(&counts, &by_place, 0)?;
        inverse = cx.gather(&rank, &inverse, 0)?;
    }
    let made = match along {
        None => cx.reshape(&made, vec![found])?,
        Some(_) => {
            let rows = cx.reshape(&made, [&[found], &turned.shape()[1..]].concat())?;
            let back: Vec<usize> = (0..x.rank()).map(|i| front.iter().position(|f| *f == i).expect("it is a permutation")).collect();
            cx.transpose(&rows, &back)?
        }
    };
    Ok(vec![made, places, inverse, counts])
}

/// Elements of a row that rows are sorted by: each is a sort.
const LONGEST: usize = 256;

/// The order of rows by their first element, then by their second …: by the last one first, since sorting is stable.
fn sorted_rows(cx: &mut Cx, rows: &Value, parts: usize) -> Result<Value, Fault> {
    if !(1..=LONGEST).contains(&parts) {
        return Err(Fault::unsupported(format!("different slices of {parts} elements are not supported; 1 to {LONGEST} are")));
    }
    let mut order: Option<Value> = None;
    for part in (0..parts).rev() {
        let column = cx.part(rows, 1, Dim::from(part), one())?;
        let column = cx.reshape(&column, vec![rows.shape()[0].clone()])?;
        order = Some(match order {
            None => cx.add(Op::Sort { axis: 0, descending: false }, &[&column])?,
            Some(before) => {
                let column = cx.gather(&column, &before, 0)?;
                let next = cx.add(Op::Sort { axis: 0, descending: false }, &[&column])?;
                cx.gather(&before, &next, 0)?
            }
        });
    }
    Ok(order.expect("there is a part"))
}

pub fn non_max_suppression(cx: &mut Cx) -> Made {
    let (boxes, scores) = (cx.input(0)?, cx.input(1)?);
    let most = cx.int_input(2)?.unwrap_or(0).max(0);
    let centered = cx.attrs.int_or("center_point_box", 0)? == 1;
    must_be(boxes.rank() == 3 && boxes.dtype() == Dtype::F32, "boxes are f32 [batch, boxes, 4]", &boxes)?;
    must_be(scores.rank() == 3 && scores.dtype() == Dtype::F32, "scores are f32 [batch, classes, boxes]", &scores)?;
    let (batch, classes, count) = (scores.size(0)?, scores.size(1)?, scores.size(2)?);
    let most = usize::try_from(most).unwrap_or(usize::MAX).min(count);
    let corners = if centered {
        let (middle, size) = (cx.part(&boxes, 2, zero(), Dim::from(2i64))?, cx.part(&boxes, 2, Dim::from(2i64), Dim::from(2i64))?);
        let low = cx.pointwise("{ t0 = mul(b, 0.5); sub(a, t0) }", Dtype::F32, &[&middle, &size])?;
        let high = cx.pointwise("{ t0 = mul(b, 0.5); add(a, t0) }", Dtype::F32, &[&middle, &size])?;
        cx.concat(&[&low, &high], 2)?
    } else {
        boxes
    };
    let order = cx.add(Op::Sort { axis: 2, descending: true }, &[&scores])?;
    let mut limits = Vec::with_capacity(2);
    for (i, usual) in [(3, 0.0), (4, f64::NEG_INFINITY)] {
        limits.push(match cx.optional(i) {
            Some(limit) => cx.reshape(&limit, vec![one()])?,
            None => cx.fill(Dtype::F32, usual, &[one()])?,
        });
    }
    let limits = cx.concat(&limits.iter().collect::<Vec<_>>(), 0)?;
    let taken = cx.add(Op::Suppress { most }, &[&corners, &scores, &order, &limits])?;
    let rows = Dim::from(batch * classes * most);
    let taken = cx.reshape(&taken, vec![rows.clone(), one()])?;
    let numbers = cx.iota(&rows, 0, 2)?;
    let per_batch = (classes * most).max(1);
    let of_batch = cx.pointwise(&format!("{{ div(a, {per_batch}) }}"), Dtype::I64, &[&numbers])?;
    let of_class = cx.pointwise(&format!("{{ t0 = div(a, {}); rem(t0, {}) }}", most.max(1), classes.max(1)), Dtype::I64, &[&numbers])?;
    let all = cx.concat(&[&of_batch, &of_class, &taken], 1)?;
    let mask = cx.pointwise("{ ge(a, 0) }", Dtype::I64, &[&taken])?;
    let mask = cx.reshape(&mask, vec![rows.clone()])?;
    let found = length(cx, &rows);
    Ok(vec![keep(cx, &all, &mask, &found)?])
}
