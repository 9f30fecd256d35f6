//! Pooling: maxima, means and p-norms over sliding windows or over whole images, and the normalization
//! across neighbouring channels, which is a window over the channels.

use ir::graph::op::{ArgKind, ReduceKind, WindowKind};
use ir::{Body, Dim, Dtype, Fault, Op, Tensor};

use crate::build::{Value, body, number};
use crate::cx::{Cx, Made, must_be, one};
use crate::ops::conv::{Frame, frame};

/// The operand in ONNX's layout and the frame of its windows.
fn windows(cx: &mut Cx) -> Result<(Value, Frame), Fault> {
    let x = cx.input(0)?;
    must_be(x.rank() >= 3, "pooling takes a batch, channels and at least one spatial axis", &x)?;
    if let Some(empty) = x.shape()[2..].iter().position(|d| d.fixed() == Some(0)) {
        return Err(Fault::invalid(format!("spatial axis {empty} of {} is empty", x.ty)));
    }
    let ceil = cx.attrs.flag("ceil_mode", false)?;
    let Some(size) = cx.attrs.ints("kernel_shape")? else {
        return Err(Fault::invalid("attribute \"kernel_shape\" is missing"));
    };
    let frame = frame(cx, size, &x.shape()[2..], ceil)?;
    Ok((x, frame))
}

fn window(kind: WindowKind, frame: &Frame, epilogue: Body) -> Op {
    Op::Window {
        kind,
        size: frame.size.clone(),
        stride: frame.stride.clone(),
        dilation: frame.dilation.clone(),
        low: frame.low.clone(),
        high: frame.high.clone(),
        epilogue,
    }
}

pub fn max(cx: &mut Cx) -> Made {
    let (x, frame) = windows(cx)?;
    let columns_first = cx.attrs.flag("storage_order", false)?;
    let inputs = cx.channels_last(&x)?;
    let made = cx.add(window(WindowKind::Max, &frame, Body::identity()), &[&inputs])?;
    let made = cx.channels_first(&made)?;
    if !cx.wants(1) {
        return Ok(vec![made]);
    }
    let indices = max_indices(cx, &x, &frame, columns_first)?;
    Ok(vec![made, indices])
}

/// Where each maximum lies in the flat input. Every window is gathered, its largest element found, and
/// the number of that element turned into a place.
fn max_indices(cx: &mut Cx, x: &Value, frame: &Frame, columns_first: bool) -> Result<Value, Fault> {
    let sizes = x.sizes()?;
    let (axes, spatial) = (sizes.len() - 2, &sizes[2..]);
    let area: usize = spatial.iter().product();
    let counts: Vec<usize> = (0..axes)
        .map(|i| {
            let room = spatial[i] as i64 + frame.low[i] + frame.high[i] - frame.span(i);
            (room.max(-1) / frame.stride[i] as i64 + 1).max(0) as usize
        })
        .collect();
    let all = counts.iter().chain(&frame.size).try_fold(1usize, |all, &n| all.checked_mul(n));
    if all.is_none_or(|all| all as u64 > cx.limits.dense / 8) {
        return Err(Fault::limit(format!("the indices of {counts:?} windows of {:?} elements are too many", frame.size)));
    }
    let (windows, taps): (usize, usize) = (counts.iter().product(), frame.size.iter().product());
    // where they are read, and where the model counts them
    cx.room(2 * windows * taps, Dtype::I64)?;
    // Per window and tap: the flat place read, and the place as the model counts it. Padding repeats the
    // window's first real element, which never comes before itself.
    let (mut reads, mut places) = (Vec::with_capacity(windows * taps), Vec::with_capacity(windows * taps));
    for window in 0..windows {
        let mut inside = Vec::with_capacity(taps);
        for tap in 0..taps {
            let (mut w, mut t, mut position) = (window, tap, vec![0i64; axes]);
            for i in (0..axes).rev() {
                let (at, step) = (w % counts[i], t % frame.size[i]);
                (w, t) = (w / counts[i], t / frame.size[i]);
                position[i] = (at * frame.stride[i] + step * frame.dilation[i]) as i64 - frame.low[i];
            }
            let real = position.iter().zip(spatial).all(|(&p, &n)| (0..n as i64).contains(&p));
            let flat = |order: &mut dyn Iterator<Item = usize>| order.fold(0, |at, i| at * spatial[i] as i64 + position[i]);
            let places = (flat(&mut (0..axes)), if columns_first { flat(&mut (0..axes).rev()) } else { flat(&mut (0..axes)) });
            inside.push(real.then_some(places));
        }
        let Some(first) = inside.iter().flatten().next().copied() else {
            return Err(Fault::unsupported("a window lies in the padding alone and has no index"));
        };
        for tap in inside {
            let (read, place) = tap.unwrap_or(first);
            reads.push(read);
            places.push(place);
        }
    }
    let images = sizes[0] * sizes[1];
    cx.room(images, Dtype::I64)?;
    let flat = cx.reshape(x, ir::dim::dims(&[images, area]))?;
    let reads = cx.constant(Tensor::i64s(&[windows, taps], &reads));
    let gathered = cx.gather(&flat, &reads, 1)?;
    let best = cx.add(Op::ArgReduce { kind: ArgKind::Max, axis: 2, last: false }, &[&gathered])?;
    let best = cx.reshape(&best, ir::dim::dims(&[images, windows]))?;
    // place = places[window, best] + image * area
    let base = cx.constant(Tensor::i64s(&[windows], &(0..windows).map(|w| (w * taps) as i64).collect::<Vec<_>>()));
    let slots = cx.pointwise("{ add(a, b) }", Dtype::I64, &[&best, &base])?;
    let places = cx.constant(Tensor::i64s(&[windows * taps], &places));
    let within = cx.gather(&places, &slots, 0)?;
    let offsets: Vec<i64> = (0..images).map(|i| (i * area) as i64).collect();
    let offsets = cx.constant(Tensor::i64s(&[images, 1], &offsets));
    let indices = cx.pointwise("{ add(a, b) }", Dtype::I64, &[&within, &offsets])?;
    let shape: Vec<usize> = sizes[..2].iter().chain(&counts).copied().collect();
    cx.reshape(&indices, ir::dim::dims(&shape))
}

/// The mean divides by the elements inside the image, or inside the padding too; never by those that rounding
/// up the number of windows added.
pub fn average(cx: &mut Cx) -> Made {
    let include = cx.attrs.flag("count_include_pad", false)?;
    let (x, frame) = windows(cx)?;
    must_be(x.dtype().is_float(), "a mean takes floats", &x)?;
    let wide = cx.wide(&x)?;
    let inputs = cx.channels_last(&wide)?;
    let dtype = wide.dtype();
    let uniform = !frame.is_padded() || (include && frame.ceiled.iter().all(|c| *c == 0));
    if uniform {
        let count: usize = frame.size.iter().product();
        let epilogue = body(&format!("{{ mul(a, {}:T) }}", number(1.0 / count as f64)), dtype)?;
        let made = cx.add(window(WindowKind::Sum, &frame, epilogue), &[&inputs])?;
        let made = cx.cast(&made, x.dtype())?;
        return Ok(vec![cx.channels_first(&made)?]);
    }
    let shares = shares(cx, &wide, &frame, include)?;
    let made = cx.add(window(WindowKind::Sum, &frame, body("{ mul(a, b) }", dtype)?), &[&inputs, &shares])?;
    let made = cx.cast(&made, x.dtype())?;
    Ok(vec![cx.channels_first(&made)?])
}

/// One over the number of elements that count, per window: `[spatial.., 1]`.
fn shares(cx: &mut Cx, x: &Value, frame: &Frame, include: bool) -> Result<Value, Fault> {
    let dtype = x.dtype();
    let mut product: Option<Value> = None;
    let axes = frame.size.len();
    for axis in 0..axes {
        let extent = x.size(axis + 2)? as i64;
        let (low, high) = (frame.low[axis], frame.high[axis]);
        let windows = (extent + low + high - frame.span(axis)) / frame.stride[axis] as i64 + 1;
        let counted = if include { -low..extent + high - frame.ceiled[axis] } else { 0..extent };
        cx.room(windows.max(0), Dtype::F64)?;
        let mut list = Vec::with_capacity(windows.max(0) as usize);
        for window in 0..windows {
            let start = window * frame.stride[axis] as i64 - low;
            let inside = (0..frame.size[axis] as i64).filter(|t| counted.contains(&(start + t * frame.dilation[axis] as i64)));
            list.push(1.0 / inside.count().max(1) as f64);
        }
        let mut shape = vec![1; axes + 1];
        shape[axis] = list.len();
        let bytes: Vec<u8> = list.iter().flat_map(|share: &f64| share.to_le_bytes()).collect();
        let list = cx.constant(Tensor::dense(Dtype::F64, &shape, bytes));
        product = Some(match product {
            Some(product) => cx.pointwise("{ mul(a, b) }", Dtype::F64, &[&product, &list])?,
            None => list,
        });
    }
    let product = product.expect("pooling has at least one spatial axis");
    let product = cx.cast(&product, dtype)?;
    // Small, and the same for every image: a constant if it can be one.
    Ok(match cx.known(&product) {
        Some(tensor) => cx.constant(tensor),
        None => product,
    })
}

/// `|x| ^ p` and `x ^ (1 / p)` as bodies.
fn power(p: i64) -> Result<(&'static str, &'static str), Fault> {
    match p {
        1 => Ok(("{ abs(a) }", "{ a }")),
        2 => Ok(("{ mul(a, a) }", "{ sqrt(a) }")),
        p if p > 0 => Ok(("{ t0 = abs(a); pow(t0, $p:T) }", "{ pow(a, $q:T) }")),
        p => Err(Fault::invalid(format!("attribute \"p\" is {p}"))),
    }
}

/// The text of a body with the exponent filled in.
fn exponent(text: &str, p: i64) -> String {
    text.replace("$p", &number(p as f64)).replace("$q", &number(1.0 / p as f64))
}

/// The attribute `p`, a float in the first opset.
fn norm_order(cx: &Cx) -> Result<i64, Fault> {
    if cx.version < 2 { Ok(cx.attrs.float_or("p", 2.0)? as i64) } else { cx.attrs.int_or("p", 2) }
}

pub fn lp(cx: &mut Cx) -> Made {
    let p = norm_order(cx)?;
    let (before, after) = power(p)?;
    let (x, frame) = windows(cx)?;
    let wide = cx.wide(&x)?;
    let inputs = cx.channels_last(&wide)?;
    let powers = cx.pointwise(&exponent(before, p), wide.dtype(), &[&inputs])?;
    let epilogue = body(&exponent(after, p), wide.dtype())?;
    let made = cx.add(window(WindowKind::Sum, &frame, epilogue), &[&powers])?;
    let made = cx.cast(&made, x.dtype())?;
    Ok(vec![cx.channels_first(&made)?])
}

/// A reduction over all spatial axes, done with channels last: `[n, 1.., c]` and `[n, c, 1..]` are the same elements.
fn global(cx: &mut Cx, kind: ReduceKind, before: &str, after: &str) -> Made {
    let x = cx.input(0)?;
    must_be(x.rank() >= 2, "pooling takes a batch and channels", &x)?;
    // a mean and a maximum alone round once anyway
    let wide = if before == "{ a }" && after == "{ a }" { x.clone() } else { cx.wide(&x)? };
    let inputs = cx.channels_last(&wide)?;
    let axes: Vec<usize> = (1..x.rank() - 1).collect();
    let (prologue, epilogue) = (body(before, wide.dtype())?, body(after, wide.dtype())?);
    let made = cx.add(Op::Reduce { kind, axes, prologue, epilogue }, &[&inputs])?;
    let made = cx.cast(&made, x.dtype())?;
    let mut shape: Vec<Dim> = x.shape()[..2].to_vec();
    shape.resize(x.rank(), one());
    Ok(vec![cx.reshape(&made, shape)?])
}

pub fn global_average(cx: &mut Cx) -> Made {
    global(cx, ReduceKind::Mean, "{ a }", "{ a }")
}

pub fn global_max(cx: &mut Cx) -> Made {
    global(cx, ReduceKind::Max, "{ a }", "{ a }")
}

pub fn global_lp(cx: &mut Cx) -> Made {
    let p = norm_order(cx)?;
    let (before, after) = power(p)?;
    global(cx, ReduceKind::Sum, &exponent(before, p), &exponent(after, p))
}

/// `x / (bias + alpha / size * sum of the squares of neighbouring channels) ^ beta`.
pub fn local_response(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    must_be(x.rank() >= 3, "it takes a batch, channels and at least one spatial axis", &x)?;
    let size = cx.attrs.int("size")?.unwrap_or(0);
    if !(1..=1 << 20).contains(&size) {
        return Err(Fault::invalid(format!("attribute \"size\" is {size}")));
    }
    let (alpha, beta) = (f64::from(cx.attrs.float_or("alpha", 1e-4)?), f64::from(cx.attrs.float_or("beta", 0.75)?));
    let bias = f64::from(cx.attrs.float_or("bias", 1.0)?);
    let wide = cx.wide(&x)?;
    let dtype = wide.dtype();
    let area = ir::dim::product(&x.shape()[2..]);
    let flat = cx.reshape(&wide, vec![x.shape()[0].clone(), x.shape()[1].clone(), area])?;
    let squares = cx.pointwise("{ mul(a, a) }", dtype, &[&flat])?;
    let sum = Op::Window {
        kind: WindowKind::Sum,
        size: vec![size as usize],
        stride: vec![1],
        dilation: vec![1],
        low: vec![(size - 1) / 2],
        high: vec![size - 1 - (size - 1) / 2],
        epilogue: Body::identity(),
    };
    let sums = cx.add(sum, &[&squares])?;
    let text = format!(
        "{{ t0 = mul(b, {}:T); t1 = add(t0, {}:T); t2 = pow(t1, {}:T); div(a, t2) }}",
        number(alpha / size as f64),
        number(bias),
        number(beta)
    );
    let made = cx.pointwise(&text, dtype, &[&flat, &sums])?;
    let made = cx.cast(&made, x.dtype())?;
    Ok(vec![cx.reshape(&made, x.shape().to_vec())?])
}
