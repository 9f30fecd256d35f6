//! Copies and fills as tile kernels: elements of four bytes, or runs of smaller and larger ones whose bytes are a
//! multiple of four. Contiguous runs go by whole vectors, the last one overlapping its neighbour; an exchange
//! of axes gathers a vector and stores it contiguously, walking the other axis innermost so that lines of cache
//! are used up. What does not fit is `None`.

use super::Region;
use crate::tile::{Writer, arg, at, kernel};
use ir::kernel::tile::{P, Stmt, V};
use ir::kernel::{Access, Facts, Kernel};

/// Extent, and distances in bytes in the source and in the destination.
#[derive(Clone, Copy, Debug)]
struct Axis {
    n: usize,
    from: i64,
    to: i64,
}

/// Bytes that one lane has.
const LANE: i64 = 4;

/// The axes in units of lanes, if elements of `width` bytes go together that way.
fn in_lanes(width: usize, axes: &mut [Axis]) -> Option<()> {
    let width = width as i64;
    for axis in axes.iter_mut() {
        axis.from *= width;
        axis.to *= width;
    }
    if width != LANE {
        let (last, outer) = axes.split_last_mut()?;
        let bytes = last.n as i64 * width;
        let whole = |a: &Axis| a.from % LANE == 0 && a.to % LANE == 0;
        if last.from != width || last.to != width || bytes % LANE != 0 || !outer.iter().all(whole) {
            return None;
        }
        *last = Axis { n: (bytes / LANE) as usize, from: LANE, to: LANE };
    }
    Some(())
}

/// Copies elements of `width` bytes over coalesced axes, strides in elements. Arguments: from, to.
pub fn copy(facts: &Facts, width: usize, shape: &[usize], from: &[i64], to: &[i64]) -> Option<Kernel> {
    let mut axes: Vec<Axis> = (0..shape.len()).map(|i| Axis { n: shape[i], from: from[i], to: to[i] }).collect();
    in_lanes(width, &mut axes)?;
    // a loop takes a register for its counter, each argument one for its pointer
    if axes.len() + 3 > facts.generals as usize || !axes.iter().all(|a| u32::try_from(a.n).is_ok()) {
        return None;
    }
    let span = |stride: fn(&Axis) -> i64| {
        let far = |a: &Axis| (a.n as i64 - 1) * stride(a);
        let low: i64 = axes.iter().map(far).filter(|&d| d < 0).sum();
        let high: i64 = axes.iter().map(far).filter(|&d| d > 0).sum();
        (low, high + LANE)
    };
    let ((from_low, from_high), (to_low, to_high)) = (span(|a| a.from), span(|a| a.to));
    let args = vec![arg("from", Access::Read, from_low, from_high), arg("to", Access::Write, to_low, to_high)];
    let mut w = Writer::new();
    let near = |a: &Axis| reach(a.from) && reach(a.to);
    let best = (0..axes.len()).filter(|&i| near(&axes[i])).min_by_key(|&i| (cost(facts, axes[i]), usize::MAX - i));
    let across = match best {
        Some(i) => axes.remove(i),
        None if axes.is_empty() => Axis { n: 1, from: LANE, to: LANE },
        None => return None,
    };
    // behind an exchange of axes: the one along which the other side is contiguous
    let exchanged = |a: &Axis| (across.from != LANE && a.from == LANE) || (across.to != LANE && a.to == LANE);
    let other = axes.iter().position(|a| near(a) && exchanged(a));
    let along = other.map(|i| axes.remove(i));
    outer(&mut w, &axes, &mut |w| vectors(w, facts.lanes(), across, along));
    Some(kernel("copy", args, w))
}

/// Whether vectors of this distance, some at a time, can be addressed by constants.
fn reach(stride: i64) -> bool {
    stride.abs() < 1 << 23
}

/// Rough effort for a thousand lanes along this axis.
fn cost(facts: &Facts, axis: Axis) -> usize {
    let lanes = facts.lanes();
    let (k, whole) = (axis.n.min(lanes), axis.n >= lanes);
    let load = match axis.from {
        0 | LANE => 1,
        _ => k,
    };
    let store = match (axis.to, whole || facts.menu.masks) {
        (LANE, true) => 1,
        // a partial store is dear on most machines
        (LANE, false) => 8,
        _ => k,
    };
    1000 * (load + store) / k
}

/// Loops over axes; pointers are where they were afterwards.
fn outer(w: &mut Writer, axes: &[Axis], body: &mut dyn FnMut(&mut Writer)) {
    let Some((&axis, rest)) = axes.split_first() else { return body(w) };
    walk(w, axis.n, axis, |w| outer(w, rest, body));
}

/// `body` for `times` steps along `axis`, and back.
fn walk(w: &mut Writer, times: usize, axis: Axis, body: impl FnOnce(&mut Writer)) {
    w.repeat(times, |w| {
        body(w);
        if times > 1 {
            advance(w, axis, 1);
        }
    });
    if times > 1 {
        advance(w, axis, -(times as i64));
    }
}

fn advance(w: &mut Writer, axis: Axis, steps: i64) {
    w.advance(P(0), axis.from * steps);
    w.advance(P(1), axis.to * steps);
}

/// Everything along `across` by vectors, and for each of them everything along `along`.
fn vectors(w: &mut Writer, lanes: usize, across: Axis, along: Option<Axis>) {
    let along = along.unwrap_or(Axis { n: 1, from: 0, to: 0 });
    // some vectors per turn hide the loop's own cost
    const TOGETHER: usize = 4;
    let row = |w: &mut Writer, start: usize, count: usize| {
        let single = |w: &mut Writer, step: usize| {
            let from = across.from * start as i64 + along.from * step as i64;
            let to = across.to * start as i64 + along.to * step as i64;
            vector(w, across, from, to, count);
        };
        let turns = if along.n > TOGETHER { along.n / TOGETHER } else { 0 };
        let jump = Axis { n: 0, from: along.from * TOGETHER as i64, to: along.to * TOGETHER as i64 };
        w.repeat(turns, |w| {
            (0..TOGETHER).for_each(|step| single(w, step));
            advance(w, jump, 1);
        });
        (0..along.n - turns * TOGETHER).for_each(|step| single(w, step));
        advance(w, jump, -(turns as i64));
    };
    let (whole, rest) = (across.n / lanes, across.n % lanes);
    let block = Axis { n: 0, from: across.from * lanes as i64, to: across.to * lanes as i64 };
    let together = if along.n == 1 { TOGETHER } else { 1 };
    let turns = if whole > 2 * together { whole / together } else { 0 };
    w.repeat(turns, |w| {
        (0..together).for_each(|i| row(w, i * lanes, lanes));
        advance(w, block, together as i64);
    });
    let left = whole - turns * together;
    (0..left).for_each(|i| row(w, i * lanes, lanes));
    if rest > 0 && whole > 0 {
        // the last vector overlaps the one before; it ends with the run
        let start = left * lanes + rest;
        shifted(w, across, start as i64 - lanes as i64, |w| row(w, 0, lanes));
    } else if rest > 0 {
        row(w, 0, rest);
    }
    advance(w, block, -((turns * together) as i64));
}

/// `body` with the pointers moved along an axis.
fn shifted(w: &mut Writer, axis: Axis, steps: i64, body: impl FnOnce(&mut Writer)) {
    advance(w, axis, steps);
    body(w);
    advance(w, axis, -steps);
}

/// One vector along `axis`.
fn vector(w: &mut Writer, axis: Axis, from: i64, to: i64, count: usize) {
    let (v, lanes) = (V(0), count as u8);
    let source = at(P(0), from);
    w.push(match axis.from {
        0 => Stmt::Splat { to: v, at: source },
        LANE => Stmt::Load { to: v, at: source, lanes },
        stride => Stmt::Gather { to: v, at: source, stride: stride as i32, lanes },
    });
    store(w, v, axis.to, to, lanes, P(1));
}

fn store(w: &mut Writer, from: V, stride: i64, offset: i64, lanes: u8, p: P) {
    let target = at(p, offset);
    w.push(match stride {
        LANE => Stmt::Store { from, at: target, lanes },
        stride => Stmt::Scatter { from, at: target, stride: stride as i32, lanes },
    });
}

/// Fills coalesced regions with an element's bits. The one argument is where offsets count from.
pub fn fill(facts: &Facts, width: usize, regions: &[Region], bits: u64) -> Option<Kernel> {
    let pattern = match width {
        1 => bits as u32 & 0xff | (bits as u32 & 0xff) << 8 | (bits as u32 & 0xff) << 16 | (bits as u32 & 0xff) << 24,
        2 => bits as u32 & 0xffff | (bits as u32) << 16,
        4 => bits as u32,
        _ if bits >> 32 == bits & 0xffff_ffff => bits as u32,
        _ => return None,
    };
    let (mut low, mut high) = (0, 0);
    let mut w = Writer::new();
    let v = V(0);
    w.push(Stmt::Set { to: v, bits: pattern });
    for (offset, shape, strides) in regions {
        let mut axes: Vec<Axis> = shape.iter().zip(strides).map(|(&n, &s)| Axis { n, from: s, to: s }).collect();
        in_lanes(width, &mut axes)?;
        let offset = offset * width as i64;
        if offset % LANE != 0 || axes.len() + 3 > facts.generals as usize {
            return None;
        }
        if !axes.iter().all(|a| a.to >= 0 && u32::try_from(a.n).is_ok()) || !axes.last().is_none_or(|a| reach(a.to)) {
            return None;
        }
        low = low.min(offset);
        high = high.max(offset + axes.iter().map(|a| (a.n as i64 - 1) * a.to).sum::<i64>() + LANE);
        let across = axes.pop().unwrap_or(Axis { n: 1, from: LANE, to: LANE });
        w.push(Stmt::Point { to: P(1), from: P(0), offset });
        // only the destination's pointer moves
        let still: Vec<Axis> = axes.iter().map(|a| Axis { from: 0, ..*a }).collect();
        outer(&mut w, &still, &mut |w| fill_run(w, v, facts.lanes(), Axis { from: 0, ..across }));
    }
    Some(kernel("fill", vec![arg("to", Access::Write, low, high)], w))
}

fn fill_run(w: &mut Writer, v: V, lanes: usize, across: Axis) {
    let (whole, rest) = (across.n / lanes, across.n % lanes);
    let block = Axis { to: across.to * lanes as i64, ..across };
    let left = if whole > 4 { 0 } else { whole };
    if left == 0 && whole > 0 {
        w.repeat(whole, |w| {
            store(w, v, across.to, 0, lanes as u8, P(1));
            advance(w, block, 1);
        });
    }
    (0..left).for_each(|i| store(w, v, across.to, block.to * i as i64, lanes as u8, P(1)));
    if rest > 0 {
        let count = if whole > 0 { lanes } else { rest };
        let start = (left * lanes + rest) as i64 - count as i64;
        store(w, v, across.to, across.to * start, count as u8, P(1));
    }
    advance(w, block, -((whole - left) as i64));
}
