//! Normalizations: over a batch's stored statistics, over channels, groups, layers, and by p-norms.

use ir::graph::op::{Real, ReduceKind};
use ir::scalar::ScalarOp;
use ir::{Body, Dim, Dtype, Fault, Op};

use crate::build::{Build, Value, body, number};
use crate::cx::{Cx, Made, axes, axis, must_be, one};

/// A list of one number per channel as `[c, 1..]`, to line up with axis 1 of `rank` axes.
fn per_channel(build: &mut Build, list: &Value, channels: &Dim, rank: usize) -> Result<Value, Fault> {
    let fits = list.rank() == 1 && list.shape()[0] == *channels;
    must_be(fits, &format!("there is one number per channel ({channels})"), list)?;
    let shape = std::iter::once(channels.clone()).chain(std::iter::repeat_n(one(), rank.saturating_sub(2)));
    build.reshape(list, shape.collect())
}

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias` with the statistics of training, as one product and
/// one sum per element.
pub fn batch(cx: &mut Cx) -> Made {
    cx.attrs.ignore(&["momentum", "consumed_inputs"]);
    let x = cx.input(0)?;
    let epsilon = cx.attrs.float_or("epsilon", 1e-5)?;
    let training = match cx.version {
        ..7 => !cx.attrs.flag("is_test", false)? && cx.wanted.iter().filter(|w| **w).count() > 1,
        7.. => cx.attrs.flag("training_mode", false)?,
    };
    if !cx.attrs.flag("spatial", true)? {
        return Err(Fault::unsupported("statistics per element (spatial = 0) are not supported"));
    }
    if training && cx.version >= 14 {
        return batch_in_training(cx, &x, epsilon);
    }
    if training {
        return Err(Fault::unsupported("training is not supported").help("export the model for inference"));
    }
    must_be(x.rank() >= 2, "it takes a batch and channels", &x)?;
    let channels = x.shape()[1].clone();
    let mut lists = Vec::with_capacity(4);
    for i in 1..5 {
        let list = cx.input(i)?;
        let list = per_channel(cx, &list, &channels, x.rank())?;
        lists.push(list);
    }
    let stored = lists[3].dtype();
    let text = format!("{{ t0 = add(b, {}:T); t1 = sqrt(t0); div(a, t1) }}", number(f64::from(epsilon)));
    let scale = cx.cast(&lists[0], stored)?;
    let factor = cx.pointwise(&text, stored, &[&scale, &lists[3]])?;
    let mean = cx.cast(&lists[2], stored)?;
    let bias = cx.cast(&lists[1], stored)?;
    let shift = cx.pointwise("{ t0 = mul(b, c); sub(a, t0) }", stored, &[&bias, &mean, &factor])?;
    let wide = cx.cast(&x, stored)?;
    let made = cx.pointwise("{ t0 = mul(a, b); add(t0, c) }", stored, &[&wide, &factor, &shift])?;
    Ok(vec![cx.cast(&made, x.dtype())?])
}

/// With the statistics of the batch itself; the stored ones move a little toward them.
fn batch_in_training(cx: &mut Cx, x: &Value, epsilon: f32) -> Made {
    must_be(x.rank() >= 2 && x.dtype().is_float(), "it takes a batch and channels of floats", x)?;
    let momentum = cx.attrs.float_or("momentum", 0.9)?;
    let channels = x.shape()[1].clone();
    let axes: Vec<usize> = (0..x.rank()).filter(|a| *a != 1).collect();
    let mut lists = Vec::with_capacity(4);
    for i in 1..5 {
        let list = cx.input(i)?;
        lists.push(per_channel(cx, &list, &channels, x.rank())?);
    }
    let stored = lists[3].dtype();
    let wide = cx.cast(x, stored)?;
    let mean = cx.reduce(&wide, ReduceKind::Mean, &axes)?;
    let apart = cx.apply(ScalarOp::Sub, &[&wide, &mean])?;
    let square = cx.apply(ScalarOp::Mul, &[&apart, &apart])?;
    let variance = cx.reduce(&square, ReduceKind::Mean, &axes)?;
    let text = format!("{{ t0 = add(b, {}:T); t1 = sqrt(t0); t2 = div(a, t1); t3 = mul(t2, c); add(t3, d) }}", number(f64::from(epsilon)));
    let (scale, bias) = (cx.cast(&lists[0], stored)?, cx.cast(&lists[1], stored)?);
    let made = cx.pointwise(&text, stored, &[&apart, &variance, &scale, &bias])?;
    let mut out = vec![cx.cast(&made, x.dtype())?];
    let share = number(f64::from(momentum));
    let text = format!("{{ t0 = mul(a, {share}:T); t1 = sub(1.0:T, {share}:T); t2 = mul(b, t1); add(t0, t2) }}");
    for (old, new) in [(&lists[2], &mean), (&lists[3], &variance)] {
        let old = cx.cast(old, stored)?;
        let old = cx.reshape(&old, vec![channels.clone()])?;
        let new = cx.reshape(new, vec![channels.clone()])?;
        out.push(cx.pointwise(&text, stored, &[&old, &new])?);
    }
    Ok(out)
}

fn norm(axes: Vec<usize>, epsilon: f32, center: bool, epilogue: Body) -> Op {
    Op::Norm { axes, epsilon: Real(f64::from(epsilon)), center, prologue: Body::identity(), epilogue }
}

pub fn instance(cx: &mut Cx) -> Made {
    cx.attrs.ignore(&["consumed_inputs"]);
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let epsilon = cx.attrs.float_or("epsilon", 1e-5)?;
    must_be(x.rank() >= 3, "it takes a batch, channels and at least one spatial axis", &x)?;
    let channels = x.shape()[1].clone();
    let scale = per_channel(cx, &scale, &channels, x.rank())?;
    let bias = per_channel(cx, &bias, &channels, x.rank())?;
    let epilogue = body("{ t0 = mul(a, b); add(t0, c) }", x.dtype())?;
    Ok(vec![cx.add(norm((2..x.rank()).collect(), epsilon, true, epilogue), &[&x, &scale, &bias])?])
}

/// Channels in groups; scale and bias are per group up to opset 20 and per channel after.
pub fn group(cx: &mut Cx) -> Made {
    cx.attrs.ignore(&["stash_type"]);
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let epsilon = cx.attrs.float_or("epsilon", 1e-5)?;
    must_be(x.rank() >= 3, "it takes a batch, channels and at least one spatial axis", &x)?;
    let groups = cx.attrs.int("num_groups")?.unwrap_or(0);
    let channels = x.size(1)?;
    let groups = match usize::try_from(groups) {
        Ok(groups) if groups > 0 && channels % groups == 0 => groups,
        _ => return Err(Fault::invalid(format!("{channels} channels do not fall into {groups} groups"))),
    };
    let mut split = vec![x.shape()[0].clone(), Dim::from(groups), Dim::from(channels / groups)];
    split.extend_from_slice(&x.shape()[2..]);
    let rank = split.len();
    let grouped = cx.reshape(&x, split)?;
    let made = cx.add(norm((2..rank).collect(), epsilon, true, Body::identity()), &[&grouped])?;
    let per_group = cx.version < 21;
    let list = |cx: &mut Cx, list: &Value| match per_group {
        true => per_channel(cx, list, &Dim::from(groups), rank),
        false => per_channel(cx, list, &Dim::from(channels), rank - 1),
    };
    let (scale, bias) = (list(cx, &scale)?, list(cx, &bias)?);
    let made = if per_group { made } else { cx.reshape(&made, x.shape().to_vec())? };
    let made = cx.pointwise("{ t0 = mul(a, b); add(t0, c) }", x.dtype(), &[&made, &scale, &bias])?;
    Ok(vec![cx.reshape(&made, x.shape().to_vec())?])
}

/// Axes from `axis` on.
fn trailing(cx: &Cx, x: &Value) -> Result<Vec<usize>, Fault> {
    let first = axis(cx.attrs.int_or("axis", -1)?, x.rank())?;
    Ok((first..x.rank()).collect())
}

/// Also gives the mean and one over the deviation, when they are asked for.
pub fn layer(cx: &mut Cx) -> Made {
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.optional(2));
    let epsilon = cx.attrs.float_or("epsilon", 1e-5)?;
    let stash = cx.attrs.int_or("stash_type", 1)?;
    let axes = trailing(cx, &x)?;
    let made = match &bias {
        Some(bias) => {
            let epilogue = body("{ t0 = mul(a, b); add(t0, c) }", x.dtype())?;
            cx.add(norm(axes.clone(), epsilon, true, epilogue), &[&x, &scale, bias])?
        }
        None => cx.add(norm(axes.clone(), epsilon, true, body("{ mul(a, b) }", x.dtype())?), &[&x, &scale])?,
    };
    if !cx.wants(1) && !cx.wants(2) {
        return Ok(vec![made]);
    }
    let stash = crate::tensors::dtype(i32::try_from(stash).unwrap_or(0))?;
    let wide = cx.cast(&x, stash)?;
    let mean = cx.reduce(&wide, ReduceKind::Mean, &axes)?;
    let squares = cx.pointwise("{ t0 = sub(a, b); mul(t0, t0) }", stash, &[&wide, &mean])?;
    let variance = cx.reduce(&squares, ReduceKind::Mean, &axes)?;
    let text = format!("{{ t0 = add(a, {}:T); t1 = sqrt(t0); div(1.0:T, t1) }}", number(f64::from(epsilon)));
    let inverse = cx.pointwise(&text, stash, &[&variance])?;
    Ok(vec![made, mean, inverse])
}

pub fn rms(cx: &mut Cx) -> Made {
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let epsilon = cx.attrs.float_or("epsilon", 1e-5)?;
    cx.attrs.ignore(&["stash_type"]);
    let axes = trailing(cx, &x)?;
    let (to, narrow) = (scale.dtype(), x.dtype() != scale.dtype());
    if narrow {
        let wide = if x.dtype().bytes() < 4 { Dtype::F32 } else { x.dtype() };
        let wide = cx.cast(&x, wide)?;
        let made = cx.add(norm(axes, epsilon, false, Body::identity()), &[&wide])?;
        let made = cx.cast(&made, to)?;
        return Ok(vec![cx.apply(ScalarOp::Mul, &[&made, &scale])?]);
    }
    Ok(vec![cx.add(norm(axes, epsilon, false, body("{ mul(a, b) }", to)?), &[&x, &scale])?])
}

/// `x / |x|_p` along one axis; where the norm is 0 the result is 0.
pub fn lp(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let at = axis(cx.attrs.int_or("axis", -1)?, x.rank())?;
    let (prologue, epilogue) = match cx.attrs.int_or("p", 2)? {
        1 => ("{ abs(a) }", "{ a }"),
        2 => ("{ mul(a, a) }", "{ sqrt(a) }"),
        p => return Err(Fault::invalid(format!("attribute \"p\" is {p}, and must be 1 or 2"))),
    };
    let wide = cx.wide(&x)?;
    let dtype = wide.dtype();
    let (prologue, epilogue) = (body(prologue, dtype)?, body(epilogue, dtype)?);
    let length = cx.add(Op::Reduce { kind: ReduceKind::Sum, axes: vec![at], prologue, epilogue }, &[&wide])?;
    let text = "{ t0 = eq(b, 0.0:T); t1 = div(a, b); select(t0, 0.0:T, t1) }";
    let made = cx.pointwise(text, dtype, &[&wide, &length])?;
    Ok(vec![cx.cast(&made, x.dtype())?])
}

pub fn mean_variance(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let axes = axes(cx.attrs.ints("axes")?.unwrap_or(&[0, 2, 3]), x.rank())?;
    let wide = cx.wide(&x)?;
    let mean = cx.reduce(&wide, ReduceKind::Mean, &axes)?;
    let centered = cx.apply(ScalarOp::Sub, &[&wide, &mean])?;
    let prologue = body("{ mul(a, a) }", wide.dtype())?;
    let epilogue = body("{ t0 = sqrt(a); add(t0, 1e-9:T) }", wide.dtype())?;
    let deviation = cx.add(Op::Reduce { kind: ReduceKind::Mean, axes, prologue, epilogue }, &[&centered])?;
    let made = cx.apply(ScalarOp::Div, &[&centered, &deviation])?;
    Ok(vec![cx.cast(&made, x.dtype())?])
}
