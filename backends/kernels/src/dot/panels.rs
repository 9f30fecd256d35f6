//! Panels of B: which columns lie side by side, and how constants are laid out for it.

use super::{Extra, Product, Way};
use crate::build::{BufferId, Builder};
use ir::program::{Packed, Part};
use ir::tensor::Tensor;

/// Panels of one width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Panel {
    pub count: usize,
    /// Columns that are laid out.
    pub width: usize,
    /// Columns that there are.
    pub valid: usize,
    /// Tiles that a panel is walked in: vectors of each, and its columns that there are.
    pub tiles: Vec<(usize, usize)>,
    pub way: Way,
}

/// Full panels of so many columns, then a narrower rest of whole vectors, walked in tiles of `tile` columns.
/// `lanes` are those of the level that the panels are for and of the one that walks them.
pub(super) fn panels(width: usize, tile: usize, n: usize, lanes: (usize, usize), way: Way) -> Vec<Panel> {
    let panel = |count: usize, width: usize, valid: usize| {
        let part = |first: usize| (valid - first).min(tile);
        let tiles = (0..valid).step_by(tile).map(|first| (part(first).div_ceil(lanes.1), part(first))).collect();
        Panel { count, width, valid, tiles, way }
    };
    let (full, rest) = (n / width, n % width);
    let mut out = Vec::new();
    if full > 0 {
        out.push(panel(full, width, width));
    }
    if rest > 0 {
        out.push(panel(1, rest.next_multiple_of(lanes.0), rest));
    }
    out
}

/// Panels of B with the per-column operands behind each, for every matrix of the batch.
pub(super) fn pack(builder: &mut Builder, matrices: &[Tensor], product: &Product, columns: &[usize], panels: &[Panel]) -> BufferId {
    let mut parts = Vec::new();
    for (which, matrix) in matrices.iter().enumerate() {
        let mut first = 0;
        for panel in panels {
            let width = panel.width;
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
