//! Copies and fills of runs of bytes of any length and alignment, as tile kernels: whole vectors, the last one overlapping its
//! neighbour; what is shorter than a vector by lanes of four bytes, the last one overlapping too, and less than four bytes one by
//! one. What does not lie in runs is `None`.

use super::Region;
use crate::tile::{Writer, arg, at, kernel};
use ir::kernel::tile::{Narrow, P, Stmt, V};
use ir::kernel::{Access, Facts, Kernel};

/// Extent, and distances in bytes in the source and in the destination.
#[derive(Clone, Copy, Debug)]
struct Axis {
    n: usize,
    from: i64,
    to: i64,
}

/// Vectors in one turn of a loop.
const TOGETHER: usize = 4;

const FROM: P = P(0);
const TO: P = P(1);

/// What is loaded and stored, or stored only.
const DATA: V = V(0);
/// The low byte of a fill in each lane.
const BYTE: V = V(1);

/// The axes in bytes around runs of so many bytes.
fn runs(width: usize, axes: &[Axis]) -> Option<(Vec<Axis>, i64)> {
    let width = width as i64;
    let wide = |a: &Axis| Axis { n: a.n, from: a.from * width, to: a.to * width };
    let mut axes: Vec<Axis> = axes.iter().map(wide).collect();
    let run = match axes.last() {
        Some(last) if last.from == width && last.to == width => axes.pop().map_or(0, |a| a.n as i64 * width),
        _ => width,
    };
    let near = |a: &Axis| a.from.abs() < 1 << 40 && a.to.abs() < 1 << 40 && u32::try_from(a.n).is_ok();
    axes.iter().all(near).then_some((axes, run))
}

/// Copies elements of `width` bytes over coalesced axes, strides in elements. Arguments: from, to.
pub fn copy(facts: &Facts, width: usize, shape: &[usize], from: &[i64], to: &[i64]) -> Option<Kernel> {
    let all: Vec<Axis> = (0..shape.len()).map(|i| Axis { n: shape[i], from: from[i], to: to[i] }).collect();
    let (axes, run) = runs(width, &all)?;
    // elements one by one are no runs
    if run <= width as i64 || axes.len() + 4 > facts.generals as usize {
        return None;
    }
    let span = |stride: fn(&Axis) -> i64| {
        let far = |a: &Axis| (a.n as i64 - 1) * stride(a);
        let low: i64 = axes.iter().map(far).filter(|&d| d < 0).sum();
        let high: i64 = axes.iter().map(far).filter(|&d| d > 0).sum();
        (low, high + run)
    };
    let ((from_low, from_high), (to_low, to_high)) = (span(|a| a.from), span(|a| a.to));
    let args = vec![arg("from", Access::Read, from_low, from_high), arg("to", Access::Write, to_low, to_high)];
    let mut w = Writer::new();
    nest(&mut w, &axes, &mut |w| pieces(w, facts, run, true));
    Some(kernel("copy", args, w))
}

/// Fills coalesced regions with an element's bits. The one argument is where offsets count from.
pub fn fill(facts: &Facts, width: usize, regions: &[Region], bits: u64) -> Option<Kernel> {
    let [byte, same] = [bits & 0xff, (bits & 0xff) * 0x0101_0101_0101_0101];
    // what is less than four bytes is stored byte by byte, so that all of them are the same
    if width > 8 || (bits ^ same) & (u64::MAX >> (64 - 8 * width as u32)) != 0 {
        return None;
    }
    let (mut low, mut high) = (0, 0);
    let mut w = Writer::new();
    w.push(Stmt::Set { to: DATA, bits: same as u32 });
    w.push(Stmt::Set { to: BYTE, bits: byte as u32 });
    for (offset, shape, strides) in regions {
        let all: Vec<Axis> = shape.iter().zip(strides).map(|(&n, &s)| Axis { n, from: s, to: s }).collect();
        let (axes, run) = runs(width, &all)?;
        let offset = offset * width as i64;
        if axes.len() + 4 > facts.generals as usize || axes.iter().any(|a| a.to < 0) {
            return None;
        }
        low = low.min(offset);
        high = high.max(offset + axes.iter().map(|a| (a.n as i64 - 1) * a.to).sum::<i64>() + run);
        w.push(Stmt::Point { to: TO, from: FROM, offset });
        // only the destination's pointer moves
        let still: Vec<Axis> = axes.iter().map(|a| Axis { from: 0, ..*a }).collect();
        nest(&mut w, &still, &mut |w| pieces(w, facts, run, false));
    }
    Some(kernel("fill", vec![arg("to", Access::Write, low, high)], w))
}

/// Loops over axes; pointers are where they were afterwards.
fn nest(w: &mut Writer, axes: &[Axis], body: &mut dyn FnMut(&mut Writer)) {
    let Some((axis, rest)) = axes.split_first() else { return body(w) };
    w.repeat(axis.n, |w| {
        nest(w, rest, body);
        if axis.n > 1 {
            w.advance(FROM, axis.from);
            w.advance(TO, axis.to);
        }
    });
    if axis.n > 1 {
        w.advance(FROM, -axis.from * axis.n as i64);
        w.advance(TO, -axis.to * axis.n as i64);
    }
}

/// A run of so many bytes from where the pointers are, and are again afterwards.
fn pieces(w: &mut Writer, facts: &Facts, run: i64, loads: bool) {
    let (vector, lanes) = (i64::from(facts.vector_bytes), facts.lanes() as u8);
    let words = |w: &mut Writer, offset: i64, lanes: u8| {
        if loads {
            w.push(Stmt::Load { to: DATA, at: at(FROM, offset), lanes });
        }
        w.push(Stmt::Store { from: DATA, at: at(TO, offset), lanes });
    };
    if run < 4 {
        let kind = Narrow::U8;
        if loads {
            w.push(Stmt::LoadNarrow { to: BYTE, at: at(FROM, 0), lanes: run as u8, kind });
        }
        w.push(Stmt::StoreNarrow { from: BYTE, at: at(TO, 0), lanes: run as u8, kind });
        return;
    }
    if run < vector {
        words(w, 0, (run / 4) as u8);
        if run % 4 != 0 {
            words(w, run - 4, 1);
        }
        return;
    }
    let whole = (run / vector) as usize;
    let turns = if whole > 2 * TOGETHER { whole / TOGETHER } else { 0 };
    let turn = TOGETHER as i64 * vector;
    let moved = |w: &mut Writer, by: i64| {
        if loads {
            w.advance(FROM, by);
        }
        w.advance(TO, by);
    };
    w.repeat(turns, |w| {
        (0..TOGETHER as i64).for_each(|i| words(w, i * vector, lanes));
        moved(w, turn);
    });
    let done = turns as i64 * turn;
    (0..whole as i64 - (turns * TOGETHER) as i64).for_each(|i| words(w, i * vector, lanes));
    if run % vector != 0 {
        words(w, run - vector - done, lanes);
    }
    if turns > 0 {
        moved(w, -done);
    }
}
