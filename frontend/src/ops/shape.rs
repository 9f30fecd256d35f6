//! Shapes as values.

use ir::dim;

use crate::cx::{Cx, Made};
use crate::symbolic;

/// The dimensions from `start` to before `end`.
pub fn shape(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let rank = x.rank() as i64;
    let place = |given: i64| (if given < 0 { given.saturating_add(rank) } else { given }).clamp(0, rank) as usize;
    let (start, end) = (place(cx.attrs.int_or("start", 0)?), place(cx.attrs.int_or("end", rank)?));
    let dims = x.shape()[start..end.max(start)].to_vec();
    Ok(vec![symbolic::value(cx, dims, 1)])
}

pub fn size(cx: &mut Cx) -> Made {
    let x = cx.input(0)?;
    let elements = dim::product(x.shape());
    Ok(vec![symbolic::value(cx, vec![elements], 0)])
}
