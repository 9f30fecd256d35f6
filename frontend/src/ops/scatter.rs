//! Operators that put elements where indices say, and those that order them. All writing comes down to one scatter
//! of rows along the first axis; indices out of range stay out of range, so that they are told at run time.

use ir::graph::op::ScatterKind;
use ir::scalar::ScalarOp;
use ir::{Dim, Dtype, Fault, Op, Tensor};

use crate::build::Value;
use crate::cx::{Cx, Made, axis, must_be, one, zero};
use crate::ops::index;

fn reduction(cx: &Cx) -> Result<ScatterKind, Fault> {
    let words = [
        ("none", ScatterKind::Set),
        ("add", ScatterKind::Sum),
        ("mul", ScatterKind::Prod),
        ("max", ScatterKind::Max),
        ("min", ScatterKind::Min),
    ];
    cx.attrs.choice("reduction", ScatterKind::Set, &words)
}

pub fn elements(cx: &mut Cx) -> Made {
    let (x, indices, updates) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let at = axis(cx.attrs.int_or("axis", 0)?, x.rank())?;
    let kind = reduction(cx)?;
    must_be(updates.shape() == indices.shape() && updates.dtype() == x.dtype(), "there is one update per index", &updates)?;
    let places = index::places(cx, &x, &indices, at)?;
    let count = places.ty.elements().expect("places have fixed dimensions");
    let places = cx.reshape(&places, vec![Dim::from(count)])?;
    let updates = cx.reshape(&updates, vec![Dim::from(count)])?;
    let line = cx.reshape(&x, vec![ir::dim::product(x.shape())])?;
    let made = cx.add(Op::Scatter { kind }, &[&line, &places, &updates])?;
    Ok(vec![cx.reshape(&made, x.shape().to_vec())?])
}

pub fn nd(cx: &mut Cx) -> Made {
    let (x, indices, updates) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let kind = reduction(cx)?;
    let (places, indexed) = index::nd_places(cx, &x, &indices, 0)?;
    let rest = &x.shape()[indexed..];
    let wanted = [places.shape(), rest].concat();
    must_be(updates.shape() == wanted && updates.dtype() == x.dtype(), "there is one update per index", &updates)?;
    let count = ir::dim::product(places.shape());
    let lines = |n: Dim| [std::slice::from_ref(&n), rest].concat();
    let rows = cx.reshape(&x, lines(ir::dim::product(&x.shape()[..indexed])))?;
    let updates = cx.reshape(&updates, lines(count.clone()))?;
    let places = cx.reshape(&places, vec![count])?;
    let made = cx.add(Op::Scatter { kind }, &[&rows, &places, &updates])?;
    Ok(vec![cx.reshape(&made, x.shape().to_vec())?])
}

/// The largest (smallest) elements along an axis and their positions; in order even where that is not asked for.
pub fn top_k(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let at = axis(cx.attrs.int_or("axis", -1)?, x.rank())?;
    let descending = cx.attrs.flag("largest", true)?;
    cx.attrs.ignore(&["sorted"]);
    let count = match (cx.attrs.int("k")?, cx.int_input(1)?) {
        (Some(k), _) | (None, Some(k)) => k,
        (None, None) => return Err(Fault::invalid("it has no k")),
    };
    let extent = x.size(at)? as i64;
    if !(0..=extent).contains(&count) {
        return Err(Fault::invalid(format!("k is {count}, and axis {at} of {} has {extent} elements", x.ty)));
    }
    let order = cx.add(Op::Sort { axis: at, descending }, &[&x])?;
    let first = cx.part(&order, at, zero(), Dim::from(count))?;
    let values = index::elements(cx, &x, &first, at)?;
    Ok(vec![values, first])
}

/// The elements where the pooling took them from, zeros elsewhere.
pub fn max_unpool(cx: &mut Cx) -> Made {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    must_be(x.rank() >= 3, "it takes a batch, channels and at least one spatial axis", &x)?;
    must_be(indices.dtype() == Dtype::I64 && indices.shape() == x.shape(), "there is one int64 index per element", &indices)?;
    let (sizes, axes) = (x.sizes()?, x.rank() - 2);
    let list = |name: &str, count: usize, default: i64| -> Result<Vec<i64>, Fault> {
        let list = cx.attrs.ints(name)?.map_or_else(|| vec![default; count], <[i64]>::to_vec);
        let fits = list.len() == count && list.iter().all(|n| (0..1 << 31).contains(n));
        if fits { Ok(list) } else { Err(Fault::invalid(format!("attribute {name:?} is {list:?}"))) }
    };
    let (kernel, strides, pads) = (list("kernel_shape", axes, 0)?, list("strides", axes, 1)?, list("pads", 2 * axes, 0)?);
    let mut shape = sizes[..2].to_vec();
    for i in 0..axes {
        let extent = (sizes[i + 2] as i64 - 1).checked_mul(strides[i]).map(|n| n - pads[i] - pads[i + axes] + kernel[i]);
        match extent.and_then(|n| usize::try_from(n).ok()) {
            Some(extent) => shape.push(extent),
            None => return Err(Fault::invalid(format!("spatial axis {i} would have no extent"))),
        }
    }
    let whole = ir::dim::dims(&shape);
    let line = cx.fill(x.dtype(), 0.0, &[ir::dim::product(&whole)])?;
    let count = vec![Dim::from(sizes.iter().product::<usize>())];
    let (places, updates) = (cx.reshape(&indices, count.clone())?, cx.reshape(&x, count)?);
    let made = cx.add(Op::Scatter { kind: ScatterKind::Set }, &[&line, &places, &updates])?;
    let made = cx.reshape(&made, whole.clone())?;
    let Some(wanted) = cx.dims_input(2)? else { return Ok(vec![made]) };
    let high: Vec<Dim> = wanted.iter().zip(&whole).map(|(to, from)| to.clone() - from.clone()).collect();
    let fits = wanted.len() == whole.len() && high.iter().all(|d| d.fixed().is_some_and(|n| n >= 0));
    must_be(fits, "the output_shape holds it", &made)?;
    let fill = ir::scalar::Literal::number(x.dtype(), 0.0);
    Ok(vec![cx.pad(&made, vec![zero(); whole.len()], high, ir::graph::op::PadMode::Constant, fill)?])
}

/// Blocks put back where they were taken from, and summed where they overlap.
pub fn col2im(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let (Some(image), Some(block)) = (cx.ints_input(1)?, cx.ints_input(2)?) else { return Err(Fault::invalid("it has no shapes")) };
    let axes = image.len();
    let positive = |list: &[i64]| list.iter().all(|n| (1..1 << 31).contains(n));
    if axes == 0 || block.len() != axes || !positive(&image) || !positive(&block) {
        return Err(Fault::invalid(format!("an image {image:?} has no blocks {block:?}")));
    }
    let list = |name: &str, count: usize, default: i64| -> Result<Vec<i64>, Fault> {
        let list = cx.attrs.ints(name)?.map_or_else(|| vec![default; count], <[i64]>::to_vec);
        let fits = list.len() == count && list.iter().all(|n| (default..1 << 31).contains(n));
        if fits { Ok(list) } else { Err(Fault::invalid(format!("attribute {name:?} is {list:?}"))) }
    };
    let (dilations, strides, pads) = (list("dilations", axes, 1)?, list("strides", axes, 1)?, list("pads", 2 * axes, 0)?);
    // along each axis: extent with its pads, and how many blocks fit
    let mut frames = Vec::with_capacity(axes);
    for i in 0..axes {
        let (extent, span) = (image[i] + pads[i] + pads[i + axes], dilations[i].saturating_mul(block[i] - 1) + 1);
        if extent < span {
            return Err(Fault::invalid(format!("blocks are larger than axis {i} of the image with its pads")));
        }
        frames.push((extent, (extent - span) / strides[i] + 1));
    }
    let product = |list: &mut dyn Iterator<Item = i64>| list.fold(1i64, |n, v| n.saturating_mul(v));
    let (kernel, blocks) = (product(&mut block.iter().copied()), product(&mut frames.iter().map(|f| f.1)));
    let all = kernel.saturating_mul(blocks);
    if all > 1 << 24 {
        return Err(Fault::limit(format!("the blocks have {all} places")));
    }
    let fits = x.rank() == 3 && x.shape()[2] == Dim::from(blocks) && x.size(1)? as i64 % kernel == 0;
    must_be(fits, &format!("it has {blocks} blocks of {kernel} elements per channel"), &x)?;
    let (batch, channels) = (x.size(0)?, x.size(1)? / kernel as usize);
    cx.room(all, ir::Dtype::I64)?;
    let mut places = Vec::with_capacity(all as usize);
    for element in 0..kernel {
        for position in 0..blocks {
            let (mut element, mut position, mut place, mut step) = (element, position, 0, 1);
            for i in (0..axes).rev() {
                place += ((position % frames[i].1) * strides[i] + (element % block[i]) * dilations[i]) * step;
                (element, position, step) = (element / block[i], position / frames[i].1, step * frames[i].0);
            }
            places.push(place);
        }
    }
    let dims = |list: &[usize]| ir::dim::dims(list);
    let apart = cx.reshape(&x, dims(&[batch, channels, kernel as usize, blocks as usize]))?;
    let rows = cx.transpose(&apart, &[2, 3, 0, 1])?;
    let rows = cx.reshape(&rows, dims(&[all as usize, batch * channels]))?;
    let area = product(&mut frames.iter().map(|f| f.0));
    let empty = cx.fill(x.dtype(), 0.0, &[Dim::from(area), Dim::from(batch * channels)])?;
    let places = cx.constant(Tensor::i64s(&[places.len()], &places));
    let made = cx.add(Op::Scatter { kind: ScatterKind::Sum }, &[&empty, &places, &rows])?;
    let made = cx.transpose(&made, &[1, 0])?;
    let lead = dims(&[batch, channels]);
    let padded = [lead.clone(), frames.iter().map(|f| Dim::from(f.0)).collect()].concat();
    let made = cx.reshape(&made, padded)?;
    let start = [vec![zero(), zero()], pads[..axes].iter().map(|&n| Dim::from(n)).collect()].concat();
    let size = [lead, image.iter().map(|&n| Dim::from(n)).collect()].concat();
    Ok(vec![cx.slice(&made, start, vec![1; axes + 2], size)?])
}

/// Rows of an operand that a sorted list of constants names, for those who only know it when compiling.
pub fn flags(cx: &mut Cx, x: &Value, at: usize, keep: &[bool]) -> Result<Value, Fault> {
    let places: Vec<i64> = keep.iter().enumerate().filter(|(_, k)| **k).map(|(i, _)| i as i64).collect();
    let places = cx.ints(&places);
    cx.gather(x, &places, at)
}

/// The rows whose condition holds.
pub fn compress(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let (x, at) = match cx.attrs.int("axis")? {
        Some(at) => (x.clone(), axis(at, x.rank())?),
        None => (cx.reshape(&x, vec![ir::dim::product(x.shape())])?, 0),
    };
    let given = cx.input(1)?;
    let Some(condition) = cx.known(&given) else { return super::choose::compress(cx, &x, at, &given) };
    let keep: Vec<bool> = condition.to_i64s().into_iter().map(|v| v != 0).collect();
    must_be(condition.shape().len() == 1 && keep.len() <= x.size(at)?, "there are at most as many conditions as rows", &x)?;
    Ok(vec![flags(cx, &x, at, &keep)?])
}

/// The determinant of the last two axes, by elimination with the largest pivot; spelt out, so the matrix is small.
pub fn determinant(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    must_be(x.rank() >= 2 && x.dtype().is_float(), "it takes matrices of floats", &x)?;
    let n = x.size(x.rank() - 1)?;
    must_be(x.size(x.rank() - 2)? == n, "it takes square matrices", &x)?;
    const LARGEST: usize = 16;
    if n > LARGEST {
        return Err(Fault::unsupported(format!("determinants of more than {LARGEST} rows are not supported")));
    }
    let lead = x.shape()[..x.rank() - 2].to_vec();
    let batch = ir::dim::product(&lead);
    let dtype = x.dtype();
    let mut rest = cx.reshape(&x, vec![batch.clone(), Dim::from(n), Dim::from(n)])?;
    let mut total = cx.fill(dtype, 1.0, std::slice::from_ref(&batch))?;
    for size in (1..=n).rev() {
        let column = cx.part(&rest, 2, zero(), one())?;
        let magnitude = cx.apply(ScalarOp::Abs, &[&column])?;
        let best = cx.add(Op::ArgReduce { kind: ir::graph::op::ArgKind::Max, axis: 1, last: false }, &[&magnitude])?;
        // the pivot's row changes places with the first
        let rows = cx.iota(&Dim::from(size), 1, 3)?;
        let places =
            cx.pointwise("{ t0 = eq(a, b); t1 = eq(a, 0); t2 = select(t0, 0, a); select(t1, b, t2) }", Dtype::I64, &[&rows, &best])?;
        let places = cx.expand(&places, &[batch.clone(), Dim::from(size), Dim::from(size)])?;
        rest = index::elements(cx, &rest, &places, 1)?;
        let pivot = cx.part(&rest, 1, zero(), one())?;
        let pivot = cx.part(&pivot, 2, zero(), one())?;
        let (line, flip) = (cx.reshape(&pivot, vec![batch.clone()])?, cx.reshape(&best, vec![batch.clone()])?);
        total = cx.pointwise("{ t0 = mul(a, b); t1 = neg(t0); t2 = eq(c, 0); select(t2, t0, t1) }", dtype, &[&total, &line, &flip])?;
        if size == 1 {
            break;
        }
        let less = Dim::from(size - 1);
        let below = cx.part(&rest, 1, one(), less.clone())?;
        let first = cx.part(&rest, 1, zero(), one())?;
        let (left, right) = (cx.part(&below, 2, zero(), one())?, cx.part(&below, 2, one(), less.clone())?);
        let head = cx.part(&first, 2, one(), less)?;
        // without a pivot the product is zero already
        let text = "{ t0 = div(b, c); t1 = eq(c, 0.0:T); t2 = select(t1, 0.0:T, t0); t3 = mul(t2, d); sub(a, t3) }";
        rest = cx.pointwise(text, dtype, &[&right, &left, &pivot, &head])?;
    }
    Ok(vec![cx.reshape(&total, lead)?])
}
