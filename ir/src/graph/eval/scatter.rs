//! Rows put or joined into a tensor at indices, one after the other: a result is rounded to its type after
//! every one, as a loop over the indices would.

use super::{Cell, EvalError, with_cell};
use crate::graph::op::ScatterKind;
use crate::scalar::eval::Number;
use crate::tensor::Tensor;

/// `data` `[n, rest..]`, `indices` `[m]`, `updates` `[m, rest..]`. Fault: an index out of range.
pub fn scatter(data: &Tensor, indices: &Tensor, updates: &Tensor, kind: ScatterKind) -> Result<Tensor, EvalError> {
    let (extent, dtype) = (data.shape()[0] as i64, data.dtype());
    let mut rows = Vec::with_capacity(indices.elements());
    for index in indices.to_i64s() {
        let row = if index < 0 { index.saturating_add(extent) } else { index };
        if !(0..extent).contains(&row) {
            return Err(EvalError::Data(format!("the index {index} leaves axis 0 of {}", data.ty())));
        }
        rows.push(row as usize);
    }
    let width = data.shape()[1..].iter().product::<usize>();
    if kind == ScatterKind::Set {
        let (mut out, from, width) = (data.bytes().to_vec(), updates.bytes(), width * dtype.bytes());
        for (i, row) in rows.into_iter().enumerate() {
            out[row * width..][..width].copy_from_slice(&from[i * width..][..width]);
        }
        return Ok(Tensor::dense(dtype, data.shape(), out));
    }
    let made = with_cell!(dtype, T => {
        let (mut out, from) = (T::unpack(data), T::unpack(updates));
        let join: fn(T, T) -> T = match kind {
            ScatterKind::Set | ScatterKind::Sum => Number::add,
            ScatterKind::Prod => Number::mul,
            ScatterKind::Max => Number::max,
            ScatterKind::Min => Number::min,
        };
        for (i, row) in rows.into_iter().enumerate() {
            for (to, &with) in out[row * width..][..width].iter_mut().zip(&from[i * width..][..width]) {
                *to = join(*to, with).settled(dtype);
            }
        }
        out
    });
    Ok(made.narrow(dtype).store(dtype, data.shape()))
}
