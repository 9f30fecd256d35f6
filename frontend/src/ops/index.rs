//! Operators that read or mark elements by index. All of them come down to one gather along one axis of a
//! flattened operand; indices out of range stay out of range, so that they are told at run time.

use ir::scalar::ScalarOp;
use ir::{Dim, Dtype, Fault};

use crate::build::Value;
use crate::cx::{Cx, Made, axis, must_be, one};

fn are_indices(value: &Value) -> Result<(), Fault> {
    must_be(matches!(value.dtype(), Dtype::I32 | Dtype::I64), "indices are int32 or int64", value)
}

/// Fault: a constant index that is out of range.
fn in_range(cx: &mut Cx, indices: &Value, extent: &Dim) -> Result<(), Fault> {
    let (Some(extent), Some(known)) = (extent.fixed(), cx.known(indices)) else { return Ok(()) };
    match known.to_i64s().into_iter().find(|i| !(-extent..extent).contains(i)) {
        Some(odd) => Err(Fault::invalid(format!("the index {odd} is out of range for {extent} elements"))),
        None => Ok(()),
    }
}

pub fn gather(cx: &mut Cx) -> Made {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    let at = axis(cx.attrs.int_or("axis", 0)?, x.rank())?;
    are_indices(&indices)?;
    in_range(cx, &indices, &x.shape()[at].clone())?;
    Ok(vec![cx.gather(&x, &indices, at)?])
}

/// `index * stride` with negative indices counted from the end; far out of range where the index is.
fn flat(cx: &mut Cx, indices: &Value, extent: usize, stride: usize, total: usize) -> Result<Value, Fault> {
    let indices = cx.cast(indices, Dtype::I64)?;
    let text = format!(
        "{{ t0 = lt(a, 0); t1 = add(a, {extent}); t2 = select(t0, t1, a); t3 = ge(t2, 0); t4 = lt(t2, {extent}); \
         t5 = and(t3, t4); t6 = mul(t2, {stride}); select(t5, t6, {total}) }}"
    );
    cx.pointwise(&text, Dtype::I64, &[&indices])
}

/// `i * stride` along one axis of `rank`.
fn offsets(cx: &mut Cx, extent: usize, axis: usize, rank: usize, stride: usize) -> Result<Value, Fault> {
    let places = cx.iota(&Dim::from(extent), axis, rank)?;
    cx.pointwise(&format!("{{ mul(a, {stride}) }}"), Dtype::I64, &[&places])
}

/// Elements between neighbours along each axis.
fn strides(sizes: &[usize]) -> Vec<usize> {
    (0..sizes.len()).map(|i| sizes[i + 1..].iter().product()).collect()
}

pub fn gather_elements(cx: &mut Cx) -> Made {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    let at = axis(cx.attrs.int_or("axis", 0)?, x.rank())?;
    Ok(vec![elements(cx, &x, &indices, at)?])
}

/// The elements of `x` that lie where the result does, but for `at`, where the index says.
pub fn elements(cx: &mut Cx, x: &Value, indices: &Value, at: usize) -> Result<Value, Fault> {
    are_indices(indices)?;
    must_be(indices.rank() == x.rank(), &format!("indices have as many axes as {}", x.ty), indices)?;
    in_range(cx, indices, &x.shape()[at].clone())?;
    if (0..x.rank()).all(|i| i == at || indices.shape()[i] == one()) {
        let mut line = x.clone();
        for axis in (0..line.rank()).filter(|i| *i != at) {
            line = cx.part(&line, axis, Dim::from(0i64), one())?;
        }
        let places = cx.reshape(indices, vec![indices.shape()[at].clone()])?;
        return cx.gather(&line, &places, at);
    }
    let places = places(cx, x, indices, at)?;
    let line = cx.reshape(x, vec![ir::dim::product(x.shape())])?;
    cx.gather(&line, &places, 0)
}

/// Where the elements of [`elements`] lie in `x` as one line.
pub fn places(cx: &mut Cx, x: &Value, indices: &Value, at: usize) -> Result<Value, Fault> {
    are_indices(indices)?;
    must_be(indices.rank() == x.rank(), &format!("indices have as many axes as {}", x.ty), indices)?;
    in_range(cx, indices, &x.shape()[at].clone())?;
    let (sizes, wanted) = (x.sizes()?, indices.sizes()?);
    let fits = (0..sizes.len()).all(|i| i == at || wanted[i] <= sizes[i]);
    must_be(fits, &format!("indices are no larger than {} outside axis {at}", x.ty), indices)?;
    let (strides, total) = (strides(&sizes), sizes.iter().product());
    let mut places = flat(cx, indices, sizes[at], strides[at], total)?;
    for axis in (0..sizes.len()).filter(|&i| i != at && wanted[i] > 1) {
        let offsets = offsets(cx, wanted[axis], axis, sizes.len(), strides[axis])?;
        places = cx.apply(ScalarOp::Add, &[&places, &offsets])?;
    }
    Ok(places)
}

pub fn gather_nd(cx: &mut Cx) -> Made {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    let batch = cx.attrs.int_or("batch_dims", 0)?;
    let (places, indexed) = nd_places(cx, &x, &indices, batch)?;
    let mut line = vec![ir::dim::product(&x.shape()[..indexed])];
    line.extend_from_slice(&x.shape()[indexed..]);
    let line = cx.reshape(&x, line)?;
    Ok(vec![cx.gather(&line, &places, 0)?])
}

/// Where the elements (rows) named by lists of indices lie in `x` as one line, and how many axes that line joins.
pub fn nd_places(cx: &mut Cx, x: &Value, indices: &Value, batch: i64) -> Result<(Value, usize), Fault> {
    are_indices(indices)?;
    must_be(indices.rank() > 0 && x.rank() > 0, "it takes tensors", if x.rank() == 0 { x } else { indices })?;
    let (sizes, wanted) = (x.sizes()?, indices.sizes()?);
    let (last, depth) = (wanted.len() - 1, wanted[wanted.len() - 1]);
    let batch = match usize::try_from(batch) {
        Ok(batch) if batch <= last && batch.saturating_add(depth) <= sizes.len() && sizes[..batch] == wanted[..batch] => batch,
        _ => {
            return Err(Fault::invalid(format!("indices {} with {batch} batch axes do not fit {}", indices.ty, x.ty)));
        }
    };
    let indexed = batch + depth;
    let (strides, total) = (strides(&sizes[..indexed]), sizes[..indexed].iter().product());
    let places_shape = ir::dim::dims(&wanted[..last]);
    let mut places = cx.fill(Dtype::I64, 0.0, &places_shape)?;
    for j in 0..depth {
        let part = cx.part(indices, last, Dim::from(j), one())?;
        let part = cx.reshape(&part, places_shape.clone())?;
        in_range(cx, &part, &Dim::from(sizes[batch + j]))?;
        let part = flat(cx, &part, sizes[batch + j], strides[batch + j], total)?;
        places = cx.apply(ScalarOp::Add, &[&places, &part])?;
    }
    for axis in 0..batch {
        let offsets = offsets(cx, wanted[axis], axis, last, strides[axis])?;
        places = cx.apply(ScalarOp::Add, &[&places, &offsets])?;
    }
    Ok((places, indexed))
}

/// `values[1]` where the index is the position along a new axis, `values[0]` elsewhere.
pub fn one_hot(cx: &mut Cx) -> Made {
    let (indices, values) = (cx.input(0)?, cx.input(2)?);
    let Some(depth) = cx.number_input(1)? else { return Err(Fault::invalid("it has no depth")) };
    if depth.is_nan() || depth < 1.0 {
        return Err(Fault::invalid(format!("the depth is {depth}")));
    }
    if depth > 1e15 {
        return Err(Fault::limit(format!("the depth {depth} is too much")));
    }
    let depth = depth as i64;
    let rank = indices.rank() + 1;
    let at = axis(cx.attrs.int_or("axis", -1)?, rank)?;
    must_be(values.rank() == 1 && values.shape()[0] == Dim::from(2i64), "the values are off and on", &values)?;
    let mut shape = indices.shape().to_vec();
    shape.insert(at, one());
    let indices = cx.cast(&indices, Dtype::I64)?;
    let indices = cx.reshape(&indices, shape.clone())?;
    shape[at] = Dim::from(depth);
    cx.fits(&ir::Type::new(values.dtype(), shape))?;
    let places = cx.iota(&Dim::from(depth), at, rank)?;
    let text = format!("{{ t0 = lt(a, 0); t1 = add(a, {depth}); t2 = select(t0, t1, a); eq(t2, b) }}");
    let hit = cx.pointwise(&text, Dtype::I64, &[&indices, &places])?;
    let mut ends = Vec::with_capacity(2);
    for i in 0..2i64 {
        let end = cx.part(&values, 0, Dim::from(i), one())?;
        ends.push(cx.reshape(&end, Vec::new())?);
    }
    Ok(vec![cx.apply(ScalarOp::Select, &[&hit, &ends[1], &ends[0]])?])
}

/// The first elements of each sequence turned around, as many as it is long.
pub fn reverse_sequence(cx: &mut Cx) -> Made {
    let (x, lengths) = (cx.input(0)?, cx.input(1)?);
    let time = axis(cx.attrs.int_or("time_axis", 0)?, x.rank())?;
    let batch = axis(cx.attrs.int_or("batch_axis", 1)?, x.rank())?;
    must_be(time != batch, "time and batch are two axes", &x)?;
    must_be(lengths.dtype() == Dtype::I64, "lengths are int64", &lengths)?;
    let fits = lengths.rank() == 1 && lengths.shape()[0] == x.shape()[batch];
    must_be(fits, "there is one length per sequence", &lengths)?;
    let (sequences, steps) = (x.size(batch)?, x.size(time)?);
    let mut order = vec![batch, time];
    order.extend((0..x.rank()).filter(|i| *i != batch && *i != time));
    let turned = cx.transpose(&x, &order)?;
    let mut lines = vec![Dim::from(sequences * steps)];
    lines.extend_from_slice(&turned.shape()[2..]);
    let lines = cx.reshape(&turned, lines)?;
    let lengths = cx.reshape(&lengths, vec![Dim::from(sequences), one()])?;
    let (step, base) = (cx.iota(&Dim::from(steps), 1, 2)?, offsets(cx, sequences, 0, 2, steps)?);
    let text = "{ t0 = lt(a, b); t1 = sub(b, a); t2 = sub(t1, 1); t3 = select(t0, t2, a); add(t3, c) }";
    let places = cx.pointwise(text, Dtype::I64, &[&step, &lengths, &base])?;
    let made = cx.gather(&lines, &places, 0)?;
    let back: Vec<usize> = (0..x.rank()).map(|i| order.iter().position(|&o| o == i).unwrap_or(i)).collect();
    Ok(vec![cx.transpose(&made, &back)?])
}

/// One triangle of the last two axes; zeros in the other.
pub fn trilu(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let upper = cx.attrs.flag("upper", true)?;
    must_be(x.rank() >= 2, "it takes matrices", &x)?;
    let shift = match cx.optional(1) {
        Some(shift) => {
            must_be(shift.dtype() == Dtype::I64 && shift.ty.elements() == Some(1), "the diagonal is one int64", &shift)?;
            cx.reshape(&shift, Vec::new())?
        }
        None => cx.scalar(ir::scalar::Literal::int(Dtype::I64, 0)),
    };
    let [rows, columns] = [2, 1].map(|i| x.shape()[x.rank() - i].clone());
    let (rows, columns) = (cx.iota(&rows, 0, 2)?, cx.iota(&columns, 1, 2)?);
    let keep = format!("{{ t0 = sub(b, a); {}(t0, c) }}", if upper { "ge" } else { "le" });
    let keep = cx.pointwise(&keep, Dtype::I64, &[&rows, &columns, &shift])?;
    Ok(vec![cx.pointwise("{ select(a, b, 0:T) }", x.dtype(), &[&keep, &x])?])
}
