//! Panels of B: which columns lie side by side, and how constants are laid out for it.

use super::choose::Shape;
use super::{Extra, Product};
use crate::build::{BufferId, Builder};
use ir::program::{Packed, Part};
use ir::tensor::Tensor;

/// Panels of one width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Panel {
    pub count: usize,
    pub vectors: usize,
    /// Columns of the last vectors that there are: all, but in the last panel.
    pub valid: usize,
}

/// Full panels, then a narrower rest.
pub(super) fn panels(shape: Shape, n: usize, lanes: usize) -> Vec<Panel> {
    let vectors = shape.vectors;
    let all = n.div_ceil(lanes);
    let valid = |vectors: usize, first: usize| (n - first * lanes).min(vectors * lanes);
    let full = all / vectors;
    let whole = |count: usize| Panel { count, vectors, valid: vectors * lanes };
    let mut out = Vec::new();
    let rest = all % vectors;
    if rest > 0 {
        if full > 0 {
            out.push(whole(full));
        }
        out.push(Panel { count: 1, vectors: rest, valid: valid(rest, full * vectors) });
    } else if n.is_multiple_of(lanes) {
        out.push(whole(full));
    } else {
        if full > 1 {
            out.push(whole(full - 1));
        }
        out.push(Panel { count: 1, vectors, valid: valid(vectors, (full - 1) * vectors) });
    }
    out
}

/// Panels of B with the per-column operands behind each, for every matrix of the batch.
pub(super) fn pack(
    builder: &mut Builder,
    matrices: &[Tensor],
    product: &Product,
    columns: &[usize],
    panels: &[Panel],
    lanes: usize,
) -> BufferId {
    let mut parts = Vec::new();
    for (which, matrix) in matrices.iter().enumerate() {
        let mut first = 0;
        for panel in panels {
            let width = panel.vectors * lanes;
            let have = if panel.count > 1 { panel.count * width } else { panel.valid };
            let mut inside = vec![layout(matrix, first, have, panel.count, width)];
            for &i in columns {
                let Extra::Columns(tensor) = &product.extras[i] else { continue };
                // groups have their own columns one after the other
                let base = if tensor.shape()[0] == product.n * matrices.len() { which * product.n } else { 0 };
                inside.push(layout(tensor, base + first, have, panel.count, width));
            }
            parts.push(Part::Interleave { groups: panel.count, parts: inside });
            first += have;
        }
    }
    builder.constant(Packed { align: 64, parts })
}

/// `have` columns from `start` on as `count` panels of `width`, all other axes in their order inside each.
fn layout(source: &Tensor, start: usize, have: usize, count: usize, width: usize) -> Part {
    let shape = source.shape();
    let depth = shape.len() - 1;
    let at = [vec![0; depth], vec![start]].concat();
    let size = [&shape[..depth], &[have]].concat();
    Part::Layout {
        source: source.slice(&at, &vec![1; depth + 1], &size),
        padded: [&shape[..depth], &[count * width]].concat(),
        split: shape[..depth].iter().map(|&n| vec![n]).chain([vec![count, width]]).collect(),
        order: [depth].into_iter().chain(0..depth).chain([depth + 1]).collect(),
    }
}
