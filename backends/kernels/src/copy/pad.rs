//! Padding: what lies inside is copied first; then, axis by axis, the borders are copied from what is there
//! already, so that corners come out as the axes' rules applied one after the other.

use super::{around, copy, fill_kernel};
use crate::build::Builder;
use crate::place::Place;
use crate::{Job, Where};
use ir::Fault;
use ir::graph::op::PadMode;
use ir::scalar::Literal;

/// `pads` before and behind each axis. Fault: a border is wanted of an axis that has nothing to repeat.
pub fn pad(job: &Job, pads: &[(usize, usize)], mode: PadMode, value: Literal, builder: &mut Builder) -> Result<(), Fault> {
    let source = &job.operands[0];
    let inner: Vec<(usize, usize)> = pads.iter().zip(&source.shape).map(|(p, &n)| (p.0, n)).collect();
    let start: Vec<i64> = pads.iter().map(|p| p.0 as i64).collect();
    let inside = job.place.slice(&start, &vec![1; pads.len()]);
    if mode == PadMode::Constant {
        let regions = around(&job.shape, &inner, &job.place.strides);
        if !regions.is_empty() {
            let mut kernel = fill_kernel(builder.facts, job.dtype.bytes(), &regions, value.bits);
            kernel.name = "border".into();
            builder.call(kernel, &[Job::pointer(&job.place, job.dtype)], 0);
        }
    } else if source.shape.contains(&0) {
        return Err(Fault::invalid("an empty axis has nothing that its border could repeat"));
    }
    match &source.at {
        Where::Constant(tensor) => super::constant(tensor, &inside, builder),
        Where::Place(from) if from.same(&inside, &source.shape) => {}
        Where::Place(from) => copy(builder, job.dtype, &source.shape, from, &inside),
    }
    if mode == PadMode::Constant {
        return Ok(());
    }
    // axes before the current one are padded already, those behind it are not
    let mut have = inner.clone();
    for axis in 0..pads.len() {
        for run in runs(source.shape[axis] as i64, pads[axis], mode) {
            let mut shape: Vec<usize> = have.iter().map(|h| h.1).collect();
            shape[axis] = run.count as usize;
            let place = |at: i64, step: i64| -> Place {
                let mut start: Vec<i64> = have.iter().map(|h| h.0 as i64).collect();
                start[axis] += at;
                let steps: Vec<i64> = (0..start.len()).map(|i| if i == axis { step } else { 1 }).collect();
                job.place.slice(&start, &steps)
            };
            copy(builder, job.dtype, &shape, &place(run.from, run.step), &place(run.to, 1));
        }
        have[axis] = (0, job.shape[axis]);
    }
    Ok(())
}

/// `count` elements of a border from `to` on; the first comes from `from`, further ones in steps of `step`. Counted
/// from the first element inside.
struct Run {
    to: i64,
    from: i64,
    step: i64,
    count: i64,
}

/// The borders of an axis of extent `n`, in pieces that come from evenly spaced elements inside.
fn runs(n: i64, (low, high): (usize, usize), mode: PadMode) -> Vec<Run> {
    let source = |i: i64| match mode {
        PadMode::Constant | PadMode::Edge => i.clamp(0, n - 1),
        PadMode::Wrap => i.rem_euclid(n),
        PadMode::Reflect if n == 1 => 0,
        PadMode::Reflect => {
            let at = i.rem_euclid(2 * (n - 1));
            at.min(2 * (n - 1) - at)
        }
    };
    let mut out: Vec<Run> = Vec::new();
    for i in (-(low as i64)..0).chain(n..n + high as i64) {
        let from = source(i);
        match out.last_mut() {
            Some(run) if run.to + run.count == i && run.count == 1 => {
                run.step = from - run.from;
                run.count = 2;
            }
            Some(run) if run.to + run.count == i && run.from + run.step * run.count == from => run.count += 1,
            _ => out.push(Run { to: i, from, step: 1, count: 1 }),
        }
    }
    out
}
