//! Images read at places that are computed: grids, regions, deformed kernels. Along each axis a place becomes a few
//! taps, whole positions with weights; the elements at all combinations of taps are gathered and summed.

use ir::graph::op::ReduceKind;
use ir::scalar::ScalarOp;
use ir::{Dim, Dtype, Fault, Tensor};

use crate::build::{Value, number};
use crate::cx::{Cx, Made, must_be, one};

/// A whole position (i64) and its weight, of the same shape. Positions are inside; what was outside weighs nothing.
#[derive(Clone)]
struct Tap {
    place: Value,
    weight: Option<Value>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Filter {
    Nearest,
    Linear,
    Cubic,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Border {
    Zeros,
    Edge,
    Reflection,
}

/// `x`, a float, mirrored at `low` and `high` until it is between them.
fn reflected(low: f64, high: f64) -> String {
    let (low, high, range) = (number(low), number(high), number(high - low));
    format!(
        "t0 = lt(a, {low}:T); t1 = sub({low}:T, a); t2 = sub(a, {high}:T); t3 = select(t0, t1, t2); t4 = div(t3, {range}:T); \
         t5 = trunc(t4); t6 = mul(t5, {range}:T); t7 = sub(t3, t6); t8 = div(t5, 2.0:T); t9 = trunc(t8); t10 = mul(t9, 2.0:T); \
         t11 = eq(t5, t10); t12 = eq(t0, t11); t13 = add({low}:T, t7); t14 = sub({high}:T, t7); t15 = select(t12, t13, t14); \
         t16 = gt(a, {high}:T); t17 = or(t0, t16); t18 = select(t17, t15, a);"
    )
}

/// The taps of places along an axis of `extent` elements.
fn taps(cx: &mut Cx, places: &Value, extent: usize, filter: Filter, border: Border, aligned: bool) -> Result<Vec<Tap>, Fault> {
    let dtype = places.dtype();
    let (low, high) = if aligned { (0.0, extent as f64 - 1.0) } else { (-0.5, extent as f64 - 0.5) };
    let last = extent as f64 - 1.0;
    let mut places = match filter {
        Filter::Nearest => cx.pointwise("{ round(a) }", dtype, &[places])?,
        Filter::Linear | Filter::Cubic => places.clone(),
    };
    places = match border {
        Border::Zeros => places,
        Border::Edge => {
            let text = format!(
                "{{ t0 = lt(a, {}:T); t1 = gt(a, {}:T); t2 = or(t0, t1); t3 = max(a, 0.0:T); t4 = min(t3, {}:T); select(t2, t4, a) }}",
                number(low),
                number(high),
                number(last)
            );
            cx.pointwise(&text, dtype, &[&places])?
        }
        Border::Reflection => cx.pointwise(&format!("{{ {} max(t18, t18) }}", reflected(low, high)), dtype, &[&places])?,
    };
    let count = match filter {
        Filter::Nearest => {
            return Ok(vec![tap(cx, &places, 0, None, extent, border, (low, high))?]);
        }
        Filter::Linear => 2,
        Filter::Cubic => 4,
    };
    let base = cx.pointwise("{ floor(a) }", dtype, &[&places])?;
    let rest = cx.apply(ScalarOp::Sub, &[&places, &base])?;
    let far = "t2 = mul(t1, -0.75:T); t3 = add(t2, 3.75:T); t4 = mul(t3, t1); t5 = sub(t4, 6.0:T); t6 = mul(t5, t1); add(t6, 3.0:T)";
    let near = "t2 = mul(t1, 1.25:T); t3 = sub(t2, 2.25:T); t4 = mul(t3, t1); t5 = mul(t4, t1); add(t5, 1.0:T)";
    let mut out = Vec::with_capacity(count);
    for i in 0..count {
        let (shift, text) = match (filter, i) {
            (Filter::Cubic, 0) => (-1, format!("{{ t0 = abs(a); t1 = add(t0, 1.0:T); {far} }}")),
            (Filter::Cubic, 1) => (0, format!("{{ t0 = abs(a); t1 = add(t0, 0.0:T); {near} }}")),
            (Filter::Cubic, 2) => (1, format!("{{ t0 = abs(a); t1 = sub(1.0:T, t0); {near} }}")),
            (Filter::Cubic, _) => (2, format!("{{ t0 = abs(a); t1 = sub(2.0:T, t0); {far} }}")),
            (Filter::Linear | Filter::Nearest, 0) => (0, "{ sub(1.0:T, a) }".to_string()),
            (Filter::Linear | Filter::Nearest, _) => (1, "{ a }".to_string()),
        };
        let weight = cx.pointwise(&text, dtype, &[&rest])?;
        out.push(tap(cx, &base, shift, Some(weight), extent, border, (low, high))?);
    }
    Ok(out)
}

/// The tap at `base + shift`, by the rule for what is outside.
fn tap(
    cx: &mut Cx,
    base: &Value,
    shift: i64,
    weight: Option<Value>,
    extent: usize,
    border: Border,
    ends: (f64, f64),
) -> Result<Tap, Fault> {
    let dtype = base.dtype();
    let last = extent as i64 - 1;
    let at = cx.pointwise(&format!("{{ add(a, {}:T) }}", number(shift as f64)), dtype, &[base])?;
    let at = match border {
        Border::Reflection => {
            let text = format!("{{ {} trunc(t18) }}", reflected(ends.0, ends.1));
            cx.pointwise(&text, dtype, &[&at])?
        }
        Border::Zeros | Border::Edge => at,
    };
    let place = cx.pointwise(&format!("{{ t0 = cast.i64(a); t1 = max(t0, 0:i64); min(t1, {last}:i64) }}"), dtype, &[&at])?;
    if border != Border::Zeros {
        return Ok(Tap { place, weight });
    }
    let inside = format!("t0 = ge(a, 0.0:T); t1 = le(a, {}:T); t2 = and(t0, t1);", number(last as f64));
    let weight = match weight {
        Some(weight) => cx.pointwise(&format!("{{ {inside} select(t2, b, 0.0:T) }}"), dtype, &[&at, &weight])?,
        None => cx.pointwise(&format!("{{ {inside} select(t2, 1.0:T, 0.0:T) }}"), dtype, &[&at])?,
    };
    Ok(Tap { place, weight: Some(weight) })
}

/// The rows of `[rows, c]` at every combination of taps of the axes of an image of `sizes`, with their weights, for
/// `join` to put together. `lines` is where each image begins, in rows.
fn combine(
    cx: &mut Cx,
    rows: &Value,
    sizes: &[usize],
    axes: &[Vec<Tap>],
    lines: &Value,
    join: &mut dyn FnMut(&mut Cx, Value) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let total: usize = axes.iter().map(Vec::len).product();
    for i in 0..total {
        let (mut rest, mut place, mut weight) = (i, lines.clone(), None);
        let mut step = 1usize;
        for (taps, &size) in axes.iter().zip(sizes).rev() {
            let tap = &taps[rest % taps.len()];
            rest /= taps.len();
            place = cx.pointwise(&format!("{{ t0 = mul(b, {step}); add(a, t0) }}"), Dtype::I64, &[&place, &tap.place])?;
            weight = match (weight, &tap.weight) {
                (None, own) => own.clone(),
                (Some(weight), None) => Some(weight),
                (Some(weight), Some(own)) => Some(cx.apply(ScalarOp::Mul, &[own, &weight])?),
            };
            step *= size;
        }
        let mut found = cx.gather(rows, &place, 0)?;
        if let Some(weight) = weight {
            let weight = cx.cast(&weight, rows.dtype())?;
            let weight = cx.reshape(&weight, [weight.shape(), &[one()]].concat())?;
            found = cx.apply(ScalarOp::Mul, &[&found, &weight])?;
        }
        join(cx, found)?;
    }
    Ok(())
}

/// The sum over all taps.
fn sampled(cx: &mut Cx, rows: &Value, sizes: &[usize], axes: &[Vec<Tap>], lines: &Value) -> Result<Value, Fault> {
    let mut total: Option<Value> = None;
    combine(cx, rows, sizes, axes, lines, &mut |cx, found| {
        total = Some(match total.take() {
            Some(before) => cx.apply(ScalarOp::Add, &[&before, &found])?,
            None => found,
        });
        Ok(())
    })?;
    Ok(total.expect("there is a tap along every axis"))
}

/// What is computed in for elements of a type.
fn wide(dtype: Dtype) -> Dtype {
    if dtype == Dtype::F64 { dtype } else { Dtype::F32 }
}

/// 0, `step`, … as many as `count`, along the first of `rank` axes.
fn starts(cx: &mut Cx, count: usize, step: usize, rank: usize) -> Result<Value, Fault> {
    let lines = cx.iota(&Dim::from(count), 0, rank)?;
    cx.pointwise(&format!("{{ mul(a, {step}) }}"), Dtype::I64, &[&lines])
}

pub fn grid(cx: &mut Cx) -> Made {
    let (x, grid) = (cx.input(0)?, cx.input(1)?);
    let words = [
        ("nearest", Filter::Nearest),
        ("linear", Filter::Linear),
        ("bilinear", Filter::Linear),
        ("cubic", Filter::Cubic),
        ("bicubic", Filter::Cubic),
    ];
    let filter = cx.attrs.choice("mode", Filter::Linear, &words)?;
    let words = [("zeros", Border::Zeros), ("border", Border::Edge), ("reflection", Border::Reflection)];
    let border = cx.attrs.choice("padding_mode", Border::Zeros, &words)?;
    let aligned = cx.attrs.flag("align_corners", false)?;
    let axes = x.rank().saturating_sub(2);
    must_be((1..=3).contains(&axes) && x.dtype() != Dtype::Bool, "it takes [batch, channels, up to three spatial axes]", &x)?;
    let fits = grid.rank() == x.rank() && grid.dtype().is_float() && grid.shape()[0] == x.shape()[0] && grid.size(x.rank() - 1)? == axes;
    must_be(fits, &format!("the grid has {axes} coordinates for each place"), &grid)?;
    let sizes = x.sizes()?;
    if sizes.contains(&0) {
        return Err(Fault::unsupported("sampling an empty image is not supported"));
    }
    let coordinates = wide(grid.dtype());
    let grid = cx.cast(&grid, coordinates)?;
    let spatial = &sizes[2..];
    let places = grid.shape()[..axes + 1].to_vec();
    let mut all = Vec::with_capacity(axes);
    for (i, &extent) in spatial.iter().enumerate() {
        // coordinates stand in the reverse order of axes
        let part = cx.part(&grid, axes + 1, Dim::from(axes - 1 - i), one())?;
        let part = cx.reshape(&part, places.clone())?;
        let text = match aligned {
            true => format!("{{ t0 = add(a, 1.0:T); t1 = div(t0, 2.0:T); mul(t1, {}:T) }}", number(extent as f64 - 1.0)),
            false => format!("{{ t0 = add(a, 1.0:T); t1 = mul(t0, {}:T); t2 = sub(t1, 1.0:T); div(t2, 2.0:T) }}", number(extent as f64)),
        };
        let at = cx.pointwise(&text, coordinates, &[&part])?;
        all.push(taps(cx, &at, extent, filter, border, aligned)?);
    }
    let to = x.dtype();
    let x = if filter == Filter::Nearest { x } else { cx.cast(&x, wide(to))? };
    let last = cx.channels_last(&x)?;
    let area: usize = spatial.iter().product();
    let rows = cx.reshape(&last, vec![Dim::from(sizes[0] * area), Dim::from(sizes[1])])?;
    let lines = starts(cx, sizes[0], area, axes + 1)?;
    let made = sampled(cx, &rows, spatial, &all, &lines)?;
    let made = cx.channels_first(&made)?;
    Ok(vec![cx.cast(&made, to)?])
}

/// Coordinates of a grid of pixels after an affine map.
pub fn affine_grid(cx: &mut Cx) -> Made {
    let theta = cx.input(0)?;
    let aligned = cx.attrs.flag("align_corners", false)?;
    let Some(size) = cx.ints_input(1)? else { return Err(Fault::invalid("it has no size")) };
    let axes = size.len().saturating_sub(2);
    if !(2..=3).contains(&axes) || size.iter().any(|n| !(1..1 << 31).contains(n)) {
        return Err(Fault::invalid(format!("a grid for {size:?} does not exist")));
    }
    let fits = theta.rank() == 3 && theta.shape()[1] == Dim::from(axes) && theta.shape()[2] == Dim::from(axes + 1);
    must_be(fits && theta.dtype().is_float(), &format!("the maps are [batch, {axes}, {}]", axes + 1), &theta)?;
    let spatial = &size[2..];
    let area = spatial.iter().fold(1i64, |n, v| n.saturating_mul(*v));
    if area > 1 << 22 {
        return Err(Fault::limit(format!("a grid for {size:?} is too large")));
    }
    cx.room(area.saturating_mul(axes as i64 + 1), theta.dtype())?;
    let mut bytes = Vec::new();
    for place in 0..area {
        let (mut rest, mut line) = (place, Vec::with_capacity(axes + 1));
        for &extent in spatial.iter().rev() {
            let i = (rest % extent) as f64;
            rest /= extent;
            line.push(match aligned {
                true => -1.0 + 2.0 * i / (extent as f64 - 1.0).max(1.0),
                false => -1.0 + (2.0 * i + 1.0) / extent as f64,
            });
        }
        line.push(1.0);
        bytes.extend(line.into_iter().flat_map(|v| ir::scalar::Literal::number(theta.dtype(), v).to_bytes()));
    }
    let base = cx.constant(Tensor::dense(theta.dtype(), &[area as usize, axes + 1], bytes));
    let maps = cx.transpose(&theta, &[0, 2, 1])?;
    let made = cx.dot(&base, &maps)?;
    let shape = [vec![theta.shape()[0].clone()], spatial.iter().map(|&n| Dim::from(n)).collect(), vec![Dim::from(axes)]].concat();
    Ok(vec![cx.reshape(&made, shape)?])
}

/// Regions of an image averaged (or their largest element taken) over bins of a fixed number of samples.
pub fn roi_align(cx: &mut Cx) -> Made {
    let (x, rois, images) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let count = |name: &str, default: i64| match cx.attrs.int_or(name, default)? {
        n @ 0..1024 => Ok(n as usize),
        n => Err(Fault::invalid(format!("attribute {name:?} is {n}"))),
    };
    let (height, width, samples) = (count("output_height", 1)?, count("output_width", 1)?, count("sampling_ratio", 0)?);
    let scale = cx.attrs.float_or("spatial_scale", 1.0)?;
    let half =
        cx.attrs.choice("coordinate_transformation_mode", cx.version >= 16, &[("half_pixel", true), ("output_half_pixel", false)])?;
    let average = cx.attrs.choice("mode", true, &[("avg", true), ("max", false)])?;
    must_be(x.rank() == 4 && x.dtype().is_float(), "it takes [batch, channels, height, width]", &x)?;
    must_be(rois.rank() == 2 && rois.size(1)? == 4 && rois.dtype().is_float(), "regions have four coordinates", &rois)?;
    must_be(images.dtype() == Dtype::I64 && images.shape() == &rois.shape()[..1], "there is one image per region", &images)?;
    if samples == 0 {
        return Err(Fault::unsupported("a number of samples that depends on the region is not supported")
            .help("export the model with a sampling_ratio above 0"));
    }
    let (dtype, sizes, regions) = (x.dtype(), x.sizes()?, rois.size(0)?);
    let inside = wide(dtype);
    let rois = cx.cast(&rois, inside)?;
    let offset = if half { 0.5 } else { 0.0 };
    let mut axes = Vec::with_capacity(2);
    for (i, (bins, extent)) in [(height, sizes[2]), (width, sizes[3])].into_iter().enumerate() {
        let ends = |cx: &mut Cx, at: usize| {
            let part = cx.part(&rois, 1, Dim::from(at), one())?;
            let text = format!("{{ t0 = mul(a, {}:T); sub(t0, {}:T) }}", number(f64::from(scale)), number(offset));
            let part = cx.pointwise(&text, inside, &[&part])?;
            cx.reshape(&part, vec![Dim::from(regions), one(), one()])
        };
        let (start, end) = (ends(cx, 1 - i)?, ends(cx, 3 - i)?);
        let least = if half { "{ t0 = sub(b, a); div(t0, BINS) }" } else { "{ t0 = sub(b, a); t1 = max(t0, 1.0:T); div(t1, BINS) }" };
        let bin = cx.pointwise(&least.replace("BINS", &format!("{}:T", number(bins as f64))), inside, &[&start, &end])?;
        let (each, sample) = (cx.iota(&Dim::from(bins), 1, 3)?, cx.iota(&Dim::from(samples), 2, 3)?);
        let (each, sample) = (cx.cast(&each, inside)?, cx.cast(&sample, inside)?);
        let text = format!(
            "{{ t0 = mul(c, b); t1 = add(a, t0); t2 = add(d, 0.5:T); t3 = mul(t2, b); t4 = div(t3, {}:T); add(t1, t4) }}",
            number(samples as f64)
        );
        let at = cx.pointwise(&text, inside, &[&start, &bin, &each, &sample])?;
        // [regions, height, width, samples, samples]
        let mut shape = vec![Dim::from(regions), one(), one(), one(), one()];
        (shape[1 + i], shape[3 + i]) = (Dim::from(bins), Dim::from(samples));
        let at = cx.reshape(&at, shape)?;
        axes.push(region_taps(cx, &at, extent)?);
    }
    let last = cx.channels_last(&x)?;
    let area = sizes[2] * sizes[3];
    let rows = cx.reshape(&last, vec![Dim::from(sizes[0] * area), Dim::from(sizes[1])])?;
    let rows = cx.cast(&rows, inside)?;
    // an image out of range stays so, also where a place inside it is added
    let text = format!(
        "{{ t0 = ge(a, 0); t1 = lt(a, {}); t2 = and(t0, t1); t3 = mul(a, {area}); select(t2, t3, {}) }}",
        sizes[0],
        sizes[0] * area
    );
    let lines = cx.pointwise(&text, Dtype::I64, &[&images])?;
    let lines = cx.reshape(&lines, vec![Dim::from(regions), one(), one(), one(), one()])?;
    let (mut total, op) = (None, if average { ScalarOp::Add } else { ScalarOp::Max });
    combine(cx, &rows, &sizes[2..], &axes, &lines, &mut |cx, found| {
        total = Some(match total.take() {
            Some(before) => cx.apply(op, &[&before, &found])?,
            None => found,
        });
        Ok(())
    })?;
    let total: Value = total.expect("there are four taps");
    let made = cx.reduce(&total, if average { ReduceKind::Mean } else { ReduceKind::Max }, &[3, 4])?;
    let made = cx.reshape(&made, ir::dim::dims(&[regions, height, width, sizes[1]]))?;
    let made = cx.transpose(&made, &[0, 3, 1, 2])?;
    Ok(vec![cx.cast(&made, dtype)?])
}

/// Two taps; beyond one element outside nothing counts, up to there the edge does.
fn region_taps(cx: &mut Cx, at: &Value, extent: usize) -> Result<Vec<Tap>, Fault> {
    let (dtype, last) = (at.dtype(), extent as i64 - 1);
    let clear = number(extent as f64);
    let held = cx.pointwise(&format!("{{ t0 = max(a, 0.0:T); min(t0, {}:T) }}", number(last as f64)), dtype, &[at])?;
    let mut out = Vec::with_capacity(2);
    for (shift, weight) in [(0, "sub(1.0:T, t1)"), (1, "max(t1, t1)")] {
        let place = cx.pointwise(
            &format!("{{ t0 = floor(a); t1 = cast.i64(t0); t2 = add(t1, {shift}:i64); min(t2, {last}:i64) }}"),
            dtype,
            &[&held],
        )?;
        let text = format!(
            "{{ t0 = floor(a); t1 = sub(a, t0); t2 = {weight}; t3 = lt(b, -1.0:T); t4 = gt(b, {clear}:T); t5 = or(t3, t4); select(t5, 0.0:T, t2) }}"
        );
        let weight = cx.pointwise(&text, dtype, &[&held, at])?;
        out.push(Tap { place, weight: Some(weight) });
    }
    Ok(out)
}

/// A convolution whose kernel's elements are moved by offsets that are data, two axes.
pub fn deform_conv(cx: &mut Cx) -> Made {
    let (x, w, offset) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (bias, mask) = (cx.optional(3), cx.optional(4));
    must_be(x.rank() == 4 && w.rank() == 4 && offset.rank() == 4, "it takes two spatial axes", &x)?;
    must_be(x.dtype().is_float() && w.dtype() == x.dtype() && offset.dtype() == x.dtype(), "it takes floats of one type", &offset)?;
    let (sizes, kernel, moved) = (x.sizes()?, w.sizes()?, offset.sizes()?);
    let list = |name: &str, count: usize, default: i64| -> Result<Vec<i64>, Fault> {
        let list = cx.attrs.ints(name)?.map_or_else(|| vec![default; count], <[i64]>::to_vec);
        let fits = list.len() == count && list.iter().all(|n| (0..1 << 31).contains(n));
        if fits { Ok(list) } else { Err(Fault::invalid(format!("attribute {name:?} is {list:?}"))) }
    };
    let (dilations, strides, pads) = (list("dilations", 2, 1)?, list("strides", 2, 1)?, list("pads", 4, 0)?);
    cx.attrs.ignore(&["kernel_shape"]);
    let positive = |name: &str| match cx.attrs.int_or(name, 1)? {
        n @ 1..1_000_000 => Ok(n as usize),
        n => Err(Fault::invalid(format!("attribute {name:?} is {n}"))),
    };
    let (group, offsets) = (positive("group")?, positive("offset_group")?);
    let (batch, c, m) = (sizes[0], sizes[1], kernel[0]);
    let taps_count = kernel[2] * kernel[3];
    let fits = c.is_multiple_of(group) && m.is_multiple_of(group) && kernel[1] * group == c && c.is_multiple_of(offsets) && taps_count > 0;
    must_be(fits, &format!("the weights fit {c} channels in {group} groups"), &w)?;
    must_be(moved[0] == batch && moved[1] == 2 * offsets * taps_count, "there are two offsets for each element of the kernel", &offset)?;
    let (oh, ow, each) = (moved[2], moved[3], c / offsets);
    let places = ir::dim::dims(&[batch, offsets, kernel[2], kernel[3], oh, ow]);
    let by_axis = cx.reshape(&offset, ir::dim::dims(&[batch, offsets, kernel[2], kernel[3], 2, oh, ow]))?;
    let inside = wide(x.dtype());
    let mut axes = Vec::with_capacity(2);
    for i in 0..2 {
        let own = cx.part(&by_axis, 4, Dim::from(i), one())?;
        let own = cx.reshape(&own, places.clone())?;
        let own = cx.cast(&own, inside)?;
        let (element, position) = (cx.iota(&Dim::from(kernel[2 + i]), 2 + i, 6)?, cx.iota(&Dim::from(moved[2 + i]), 4 + i, 6)?);
        let (element, position) = (cx.cast(&element, inside)?, cx.cast(&position, inside)?);
        let text = format!(
            "{{ t0 = mul(b, {}:T); t1 = mul(c, {}:T); t2 = add(t0, t1); t3 = sub(t2, {}:T); add(a, t3) }}",
            number(dilations[i] as f64),
            number(strides[i] as f64),
            number(pads[i] as f64)
        );
        let at = cx.pointwise(&text, inside, &[&own, &element, &position])?;
        axes.push(taps(cx, &at, sizes[2 + i], Filter::Linear, Border::Zeros, true)?);
    }
    let area = sizes[2] * sizes[3];
    let apart = cx.reshape(&x, ir::dim::dims(&[batch, offsets, each, sizes[2], sizes[3]]))?;
    let apart = cx.transpose(&apart, &[0, 1, 3, 4, 2])?;
    let rows = cx.reshape(&apart, ir::dim::dims(&[batch * offsets * area, each]))?;
    let rows = cx.cast(&rows, inside)?;
    let lines = starts(cx, batch * offsets, area, 1)?;
    let lines = cx.reshape(&lines, ir::dim::dims(&[batch, offsets, 1, 1, 1, 1]))?;
    let mut columns = sampled(cx, &rows, &sizes[2..], &axes, &lines)?;
    if let Some(mask) = mask {
        must_be(
            mask.ty.elements() == Some(batch * offsets * taps_count * oh * ow),
            "there is one factor per element of the kernel",
            &mask,
        )?;
        let mask = cx.cast(&mask, inside)?;
        let mask = cx.reshape(&mask, [&places[..], &[one()]].concat())?;
        columns = cx.apply(ScalarOp::Mul, &[&columns, &mask])?;
    }
    // [batch, offset groups, kernel, oh, ow, c] to [groups, batch, oh, ow, kernel, c / group]
    let columns = cx.reshape(&columns, ir::dim::dims(&[batch, offsets, taps_count, oh, ow, each]))?;
    let columns = cx.transpose(&columns, &[0, 3, 4, 2, 1, 5])?;
    let columns = cx.reshape(&columns, ir::dim::dims(&[batch, oh, ow, taps_count, group, c / group]))?;
    let columns = cx.transpose(&columns, &[4, 0, 1, 2, 3, 5])?;
    let columns = cx.reshape(&columns, ir::dim::dims(&[group, batch * oh * ow, taps_count * (c / group)]))?;
    let weights = cx.reshape(&w, ir::dim::dims(&[group, m / group, c / group, taps_count]))?;
    let weights = cx.transpose(&weights, &[0, 3, 2, 1])?;
    let weights = cx.reshape(&weights, ir::dim::dims(&[group, taps_count * (c / group), m / group]))?;
    let weights = cx.cast(&weights, inside)?;
    let made = cx.dot(&columns, &weights)?;
    let made = cx.transpose(&made, &[1, 0, 2])?;
    let mut made = cx.reshape(&made, ir::dim::dims(&[batch, oh, ow, m]))?;
    if let Some(bias) = bias {
        must_be(bias.rank() == 1 && bias.size(0)? == m, "there is one bias per channel", &bias)?;
        let bias = cx.cast(&bias, inside)?;
        made = cx.apply(ScalarOp::Add, &[&made, &bias])?;
    }
    let made = cx.channels_first(&made)?;
    Ok(vec![cx.cast(&made, x.dtype())?])
}
