//! Convolution as a segmented dot: for each output position the window is `kernel height` runs of `kernel width x
//! channels` contiguous elements, so the dot's tile kernel reads the image in place. Borders are a halo of zeros
//! around the image: the image's place has one if the planner gave it one, else it is copied into one here. Where the
//! image is inflated, as a transposed convolution does it, it is several plain ones ([`phases`]).

mod beside;
mod phases;
mod winograd;

use crate::build::{Builder, Home};
use crate::dot::{self, Extra, Factors, Level, Product, Right, Segment};
use crate::place::{Place, has_margin, padded};
use crate::{Job, copy, depthwise};
use ir::Dtype;
use ir::graph::op::Op;
use ir::scalar::Literal;
use ir::tensor::Tensor;

/// Emits the convolution of `job`, if it is one for vectors: f32 or narrow integers, constant weights, contiguous channels, one or
/// two spatial axes.
pub fn lower(job: &Job, builder: &mut Builder) -> bool {
    let Op::Conv { stride, dilation, inflate, low, high, group, fill, .. } = job.op else { return false };
    let spatial = stride.len();
    let (x, w) = (&job.operands[0], &job.operands[1]);
    let Some(weights) = w.constant() else { return false };
    let Some(factors) = Factors::of(x.dtype, w.dtype) else { return false };
    let narrow = factors != Factors::FLOATS;
    let channels = w.shape[spatial];
    let depthwise = *group > 1 && channels == 1 && w.shape[spatial + 1] == *group;
    let plain = inflate.iter().all(|&i| i == 1);
    let here = if depthwise && narrow { plain && w.dtype.bytes() == 1 } else { factors.here(builder.facts) };
    if !here || spatial > 2 {
        return false;
    }
    if job.place.strides[spatial + 1] != 1 {
        return spread(job, builder);
    }
    if !plain {
        // what is between elements is left out
        return fill.bits == 0 && phases::lower(job, weights, builder);
    }
    let window = Window { stride, dilation, low, high, kernel: &w.shape[..spatial] };
    let over = overhang(job.op, x.dtype, &w.shape);
    let place = image(x.place(builder), job, &window, over, *fill, builder);
    if place.strides[spatial + 1] != 1 && x.shape[spatial + 1] > 1 {
        return false;
    }
    if depthwise {
        return depthwise::lower(job, &place, &window, builder);
    }
    if !narrow && winograd::lower(job, &place, &window, weights, builder) {
        return true;
    }
    if !narrow && let Some(done) = beside::lower(job, &place, &window, weights, builder) {
        return done;
    }
    product(job, place, &window, weights, builder)
}

/// Results whose channels do not follow each other are computed elsewhere first, unless there is one channel.
fn spread(job: &Job, builder: &mut Builder) -> bool {
    let last = job.shape.len() - 1;
    if job.shape[last] > 1 {
        return aside(job, &lower, builder);
    }
    let place = Place { strides: [&job.place.strides[..last], &[1]].concat(), ..job.place.clone() };
    lower(&Job { op: job.op, operands: job.operands.clone(), shape: job.shape.clone(), dtype: job.dtype, place, blocked: None }, builder)
}

/// Computes the results into dense memory and copies them to their place.
fn aside(job: &Job, compute: &dyn Fn(&Job, &mut Builder) -> bool, builder: &mut Builder) -> bool {
    let bytes = (job.shape.iter().product::<usize>() * job.dtype.bytes()) as u64;
    let place = Place::dense(builder.buffer("aside", Home::Arena, bytes), &job.shape);
    let dense = Job { op: job.op, operands: job.operands.clone(), shape: job.shape.clone(), dtype: job.dtype, place, blocked: None };
    if !compute(&dense, builder) {
        return false;
    }
    copy::copy(builder, job.dtype, &job.shape, &dense.place, &job.place);
    true
}

/// The convolution as one product, whose image `place` starts at the first tap of the first window.
fn product(job: &Job, place: Place, window: &Window, weights: &Tensor, builder: &mut Builder) -> bool {
    let Op::Conv { group, epilogue, .. } = job.op else { return false };
    let (x, w) = (&job.operands[0], &job.operands[1]);
    let Some(factors) = Factors::of(x.dtype, w.dtype) else { return false };
    let narrow = factors != Factors::FLOATS;
    let (spatial, Window { stride, dilation, .. }) = (window.stride.len(), window);
    let channels = w.shape[spatial];
    let over = overhang(job.op, x.dtype, &w.shape);
    let Some((extras, epilogue)) = dot::extras_of(factors.sum(), &job.operands[2..], epilogue, &job.shape, builder) else { return false };
    let rank = spatial + 2;
    let steps: Vec<Vec<i64>> = extras.iter().map(|e| dot::extra_steps(e, rank)).collect();
    let (element, c_element) = (x.dtype.bytes() as i64, job.dtype.bytes() as i64);
    let n = w.shape[spatial + 1] / group;
    // a level for an axis of the result; the image moves by the stride
    let level = |axis: usize| {
        let by = if (1..=spatial).contains(&axis) { stride[axis - 1] as i64 } else { 1 };
        Level {
            count: job.shape[axis],
            a: place.strides[axis] * by * element,
            b: 0,
            c: job.place.strides[axis] * c_element,
            extra: steps.iter().map(|s| s[axis]).collect(),
        }
    };
    let columns = |e: &Extra| match e {
        Extra::Memory { contiguous: true, dtype, .. } => (n * dtype.bytes()) as i64,
        Extra::Memory { .. } | Extra::Columns(_) => 0,
    };
    let groups =
        Level { count: *group, a: channels as i64 * element, b: 0, c: n as i64 * c_element, extra: extras.iter().map(columns).collect() };
    let still = Level { count: 1, a: 0, b: 0, c: 0, extra: vec![0; extras.len()] };
    let mut batch = vec![level(0)];
    let mut group_step = vec![0];
    if *group > 1 {
        batch.push(groups);
        group_step.push(1);
    }
    let (y, x_level) = if spatial == 2 { (level(1), level(2)) } else { (still, level(1)) };
    // the window: lines, columns, channels, joined where they follow each other
    let mut segments: Vec<Segment> = Vec::new();
    for (axis, &dilation) in dilation.iter().enumerate() {
        segments.push(Segment { count: w.shape[axis], a: place.strides[axis + 1] * dilation as i64 * element });
    }
    let mut run = Segment { count: channels, a: element };
    while let Some(last) = segments.last() {
        let follows = last.a == run.count as i64 * run.a || last.count == 1;
        if !follows {
            break;
        }
        run.count *= last.count;
        segments.pop();
    }
    let elements = run.count;
    if narrow {
        if elements + over * w.shape[spatial] * group < factors.in_step() {
            return false;
        }
        run = Segment { count: elements.div_ceil(factors.in_step()), a: 4 };
    }
    let depth: usize = w.shape[..=spatial].iter().product();
    // views: a large kernel is not copied before it is packed
    let filters =
        |g: usize| weights.slice(&[vec![0; spatial + 1], vec![g * n]].concat(), &vec![1; rank], &[&w.shape[..=spatial], &[n]].concat());
    let matrices: Vec<Tensor> = (0..*group).map(|g| dot::words(&filters(g), factors, elements)).collect();
    let outputs: usize = job.shape.iter().product();
    dot::emit(
        Product {
            name: if narrow { "conv8".into() } else { "conv".into() },
            factors,
            batch,
            y,
            x: x_level,
            segments,
            run,
            back: dot::back(factors, elements),
            n,
            a: place,
            right: Right::Packed { matrices, steps: group_step },
            c: job.place.clone(),
            dtype: job.dtype,
            extras,
            epilogue,
            macs: (outputs * depth) as u64,
        },
        builder,
    )
}

/// The geometry of a convolution's windows, for each spatial axis.
pub struct Window<'a> {
    pub stride: &'a [usize],
    pub dilation: &'a [usize],
    pub low: &'a [i64],
    pub high: &'a [i64],
    pub kernel: &'a [usize],
}

/// Columns behind those that windows see which a step of K reads too, because a line of a window is shorter than a step. They
/// meet weights that are 0. `weights` is the shape of the weights, `image` the type of what they meet.
pub fn overhang(op: &Op, image: Dtype, weights: &[usize]) -> usize {
    let Op::Conv { dilation, inflate, group, .. } = op else { return 0 };
    let spatial = dilation.len();
    let (channels, columns) = (weights[spatial], weights[spatial - 1]);
    let depthwise = *group > 1 && channels == 1;
    let step = match image {
        Dtype::U8 | Dtype::I8 => 4,
        Dtype::I16 => 2,
        _ => return 0,
    };
    if depthwise || inflate.iter().any(|&i| i != 1) {
        return 0;
    }
    let follow = dilation[spatial - 1] == 1 && *group == 1;
    let line = channels * if follow { columns } else { 1 };
    usize::saturating_sub(step, line).div_ceil(channels * group)
}

/// The place whose first element is the first tap of the first window, with `fill` wherever windows leave the image, and `over`
/// columns more.
fn image(place: Place, job: &Job, window: &Window, over: usize, fill: Literal, builder: &mut Builder) -> Place {
    let shape = &job.operands[0].shape;
    let margin: Vec<(usize, usize)> = (0..window.kernel.len())
        .map(|i| {
            // what the last window reaches may be less than the padding says
            let reach =
                (job.shape[i + 1] as i64 - 1) * window.stride[i] as i64 + (window.kernel[i] as i64 - 1) * window.dilation[i] as i64 + 1;
            let over = if i + 1 == window.kernel.len() { over as i64 } else { 0 };
            let behind = (reach + over - window.low[i] - shape[i + 1] as i64).max(0);
            (window.low[i].max(0) as usize, behind as usize)
        })
        .collect();
    let last = shape.len() - 1;
    let contiguous = (place.strides[last] == 1 || shape[last] == 1) && (over == 0 || place.strides[last - 1] == shape[last] as i64);
    let place = if has_margin(builder, &place, shape, &margin, fill.bits) && contiguous {
        place
    } else {
        let to = padded(builder, "padded".into(), fill.dtype, shape, &margin, fill.bits);
        copy::copy(builder, fill.dtype, shape, &place, &to);
        to
    };
    let mut start = vec![0; shape.len()];
    for (i, low) in window.low.iter().enumerate() {
        start[i + 1] = -low;
    }
    place.slice(&start, &vec![1; shape.len()])
}
