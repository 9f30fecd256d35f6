//! Elements moved or repeated as bits, for every width and stride that vector copies do not take.

use super::writer::Writer;
use ir::Dtype;
use ir::kernel::{Access, Kernel};

/// The unsigned type of a width, so that no bit of an element is looked at.
pub fn raw(bytes: usize) -> Dtype {
    match bytes {
        1 => Dtype::U8,
        2 => Dtype::U16,
        4 => Dtype::U32,
        8 => Dtype::U64,
        other => unreachable!("no element has {other} bytes"),
    }
}

/// How many elements of `bytes` move at once as one of up to 8 bytes, along a last axis of `n` on which they follow
/// each other: so many that they divide it, and all other strides.
pub fn together(bytes: usize, n: usize, others: &[&[i64]]) -> usize {
    let divides = |count: &usize| n.is_multiple_of(*count) && others.iter().all(|s| s.iter().all(|s| s % *count as i64 == 0));
    [8, 4, 2].into_iter().filter(|width| *width > bytes).map(|width| width / bytes).find(divides).unwrap_or(1)
}

/// Strides in units of `count` elements, but for the last axis.
pub fn coarser(strides: &[i64], count: usize) -> Vec<i64> {
    let last = strides.len() - 1;
    strides.iter().enumerate().map(|(i, &s)| if i == last { s } else { s / count as i64 }).collect()
}

/// Copies `shape` elements of `bytes` each; strides in elements. Arguments: from, to.
pub fn copy_kernel(bytes: usize, shape: &[usize], from: &[i64], to: &[i64]) -> Kernel {
    if let ([n], [1], [1]) =
        (&shape[shape.len().saturating_sub(1)..], &from[from.len().saturating_sub(1)..], &to[to.len().saturating_sub(1)..])
    {
        let outer = shape.len() - 1;
        let count = together(bytes, *n, &[&from[..outer], &to[..outer]]);
        if count > 1 {
            let shape = [&shape[..outer], &[n / count]].concat();
            return copy_kernel(bytes * count, &shape, &coarser(from, count), &coarser(to, count));
        }
    }
    let mut w = Writer::new();
    let source = w.memory("from", Access::Read, raw(bytes), shape, from);
    let target = w.memory("to", Access::Write, raw(bytes), shape, to);
    let zero = w.int(0);
    w.nest(shape, &[from, to], &[zero, zero], &mut |w, at| {
        let value = w.load(source, at[0]);
        w.store(target, at[1], value);
    });
    w.finish("copy")
}

/// Fills boxes of one buffer with an element's bits. A box: offset, extents and strides, in elements.
pub fn fill_kernel(bytes: usize, boxes: &[(i64, Vec<usize>, Vec<i64>)], bits: u64) -> Kernel {
    let mut w = Writer::new();
    let span = boxes.iter().flat_map(|(offset, shape, strides)| {
        let last: i64 = shape.iter().zip(strides).map(|(&n, &s)| (n as i64 - 1) * s).sum();
        [*offset, offset + last]
    });
    let (low, high) = span.fold((0, 0), |(low, high): (i64, i64), at| (low.min(at), high.max(at)));
    let target = w.memory("to", Access::Write, raw(bytes), &[(low.unsigned_abs() as usize) + 1, high as usize + 1], &[-1, 1]);
    let value = w.int(bits as i64);
    for (offset, shape, strides) in boxes {
        let start = w.int(*offset);
        w.nest(shape, &[strides], &[start], &mut |w, at| w.store(target, at[0], value));
    }
    w.finish("fill")
}
