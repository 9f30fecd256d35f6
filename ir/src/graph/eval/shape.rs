//! Operators that move elements and compute nothing: whatever the type, they copy bytes.

use super::EvalError;
use crate::graph::op::PadMode;
use crate::scalar::Literal;
use crate::tensor::Tensor;

/// `shape[i]` elements from `start[i]` in steps of `step[i]`.
pub fn slice(x: &Tensor, start: &[i64], step: &[i64], shape: &[usize]) -> Tensor {
    if shape.contains(&0) {
        // the start need not be in range
        return Tensor::dense(x.dtype(), shape, Vec::new());
    }
    let start: Vec<usize> = start.iter().map(|&s| s as usize).collect();
    let step: Vec<isize> = step.iter().map(|&s| s as isize).collect();
    x.slice(&start, &step, shape)
}

pub fn pad(x: &Tensor, low: &[i64], high: &[i64], mode: PadMode, value: Literal) -> Result<Tensor, EvalError> {
    let mut maps = Vec::new();
    for (axis, &extent) in x.shape().iter().enumerate() {
        if extent == 0 && low[axis] + high[axis] > 0 && mode != PadMode::Constant {
            return Err(EvalError::Data(format!("axis {axis} is empty: there is nothing to repeat")));
        }
        let n = extent as i64;
        let source = |i: i64| match mode {
            PadMode::Constant => (0..n).contains(&i).then_some(i),
            PadMode::Edge => Some(i.clamp(0, n - 1)),
            PadMode::Wrap => Some(i.rem_euclid(n)),
            // back and forth without repeating the ends; one element has nowhere to go
            PadMode::Reflect if n == 1 => Some(0),
            PadMode::Reflect => {
                let i = i.rem_euclid(2 * (n - 1));
                Some(i.min(2 * (n - 1) - i))
            }
        };
        maps.push((-low[axis]..n + high[axis]).map(|i| source(i).map(|i| i as usize)).collect());
    }
    Ok(pick(x, &maps, &value.to_bytes()))
}

/// Along each axis the elements that its map names; `fill` where it names none.
pub fn pick(x: &Tensor, maps: &[Vec<Option<usize>>], fill: &[u8]) -> Tensor {
    let shape: Vec<usize> = maps.iter().map(Vec::len).collect();
    let mut out = Vec::with_capacity(shape.iter().product::<usize>() * x.dtype().bytes());
    pick_axis(&x.bytes(), x.shape(), maps, fill, 0, &mut out);
    Tensor::dense(x.dtype(), &shape, out)
}

/// `at` is the row of the axes before; every row has `shape[0] x …` elements.
fn pick_axis(from: &[u8], shape: &[usize], maps: &[Vec<Option<usize>>], fill: &[u8], at: usize, out: &mut Vec<u8>) {
    let (Some((&extent, inner)), Some((map, rest))) = (shape.split_first(), maps.split_first()) else {
        return out.extend_from_slice(&from[at * fill.len()..][..fill.len()]);
    };
    let mut i = 0;
    while i < map.len() {
        let Some(source) = map[i] else {
            let count = rest.iter().map(Vec::len).product::<usize>();
            (0..count).for_each(|_| out.extend_from_slice(fill));
            i += 1;
            continue;
        };
        if !inner.is_empty() {
            pick_axis(from, inner, rest, fill, at * extent + source, out);
            i += 1;
            continue;
        }
        // neighbours in the innermost axis go together
        let run = map[i..].iter().zip(source..).take_while(|(m, s)| **m == Some(*s)).count();
        out.extend_from_slice(&from[(at * extent + source) * fill.len()..][..run * fill.len()]);
        i += run;
    }
}

pub fn concat(operands: &[&Tensor], axis: usize, shape: &[usize]) -> Tensor {
    let dtype = operands[0].dtype();
    let parts: Vec<_> = operands.iter().map(|t| (t.bytes(), t.shape()[axis..].iter().product::<usize>() * dtype.bytes())).collect();
    let mut out = Vec::with_capacity(shape.iter().product::<usize>() * dtype.bytes());
    for row in 0..shape[..axis].iter().product() {
        for (bytes, width) in &parts {
            out.extend_from_slice(&bytes[row * width..][..*width]);
        }
    }
    Tensor::dense(dtype, shape, out)
}

/// The rows that a mask names.
pub fn rows(mask: &Tensor) -> Vec<usize> {
    mask.to_i64s().iter().enumerate().filter(|(_, keep)| **keep != 0).map(|(i, _)| i).collect()
}

/// The rows of `x` that the mask names. Fault: they are not as many as the shape says.
pub fn compact(x: &Tensor, mask: &Tensor, shape: &[usize]) -> Result<Tensor, EvalError> {
    let rows = rows(mask);
    if rows.len() != shape[0] {
        return Err(EvalError::Data(format!("{} rows are kept, not {}", rows.len(), shape[0])));
    }
    let width = shape[1..].iter().product::<usize>() * x.dtype().bytes();
    let bytes = x.bytes();
    let kept: Vec<u8> = rows.iter().flat_map(|row| bytes[row * width..][..width].iter().copied()).collect();
    Ok(Tensor::dense(x.dtype(), shape, kept))
}

/// Negative indices count from the end. Fault: an index out of range.
pub fn gather(x: &Tensor, indices: &Tensor, axis: usize, shape: &[usize]) -> Result<Tensor, EvalError> {
    let extent = x.shape()[axis];
    let mut rows = Vec::with_capacity(indices.elements());
    for index in indices.to_i64s() {
        let row = if index < 0 { index + extent as i64 } else { index };
        if !(0..extent as i64).contains(&row) {
            return Err(EvalError::Data(format!("the index {index} leaves axis {axis} of {}", x.ty())));
        }
        rows.push(row as usize);
    }
    let width = x.shape()[axis + 1..].iter().product::<usize>() * x.dtype().bytes();
    let bytes = x.bytes();
    let mut out = Vec::with_capacity(shape.iter().product::<usize>() * x.dtype().bytes());
    for outer in 0..x.shape()[..axis].iter().product() {
        for row in &rows {
            out.extend_from_slice(&bytes[(outer * extent + row) * width..][..width]);
        }
    }
    Ok(Tensor::dense(x.dtype(), shape, out))
}
