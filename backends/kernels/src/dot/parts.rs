//! A product cut into calls that run at once: by one of its loops over rows, or by panels of columns. Tiles, packing
//! and the order of loops are those of the whole, so that all pieces one after the other take as long as it does.

use super::Level;
use super::choose::split;
use super::emit::Emit;
use super::panels::Panel;
use crate::build::Pointer;
use crate::tasks::{Cut, Tasks, cut};
use crate::tile::{Writer, kernel};
use ir::kernel::Kernel;

/// What is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A level of the batch.
    Batch(usize),
    Y,
    X,
    /// Panels of columns.
    Panels,
}

impl Emit<'_> {
    /// The cut that gives the best pieces. Weights that come from beyond L2 come once: panels are cut then, if it can be.
    pub fn cut(&self, batch: &[Level], outside: bool, tasks: Tasks) -> (Part, Cut) {
        let (product, shape) = (self.product, self.shape);
        let most = tasks.worth(product.macs, self.all_bytes().unsigned_abs());
        let tiles = |total: usize, most: usize| split(total, most).iter().map(|s| s.0).sum::<usize>();
        // tiles must not become more, nor much smaller than they are
        let rows = |total: usize, unit: usize| {
            cut(total, unit, most, |c| {
                let rest = if c.rest > 0 { tiles(c.rest, unit) } else { 0 };
                c.count * tiles(c.size, unit) + rest <= tiles(total, unit)
            })
        };
        let loops = batch.iter().enumerate().map(|(i, level)| (Part::Batch(i), cut(level.count, 1, most, |_| true)));
        let by_rows = loops.chain([(Part::Y, rows(product.y.count, shape.y)), (Part::X, rows(product.x.count, shape.x))]);
        let panel_count = self.panels.iter().map(|p| p.count).sum();
        let by_panels = (Part::Panels, cut(panel_count, 1, most, |_| true));
        // the first of the best
        let best = by_rows.rev().max_by_key(|(_, cut)| cut.rank()).expect("there are loops over rows");
        let (few, many) = (by_panels.1.pieces(), best.1.pieces());
        let columns = if outside { few > 1 && 2 * few >= many } else { by_panels.1.rank() > best.1.rank() && 2 * many < few };
        if columns { by_panels } else { best }
    }

    /// Bytes that each argument moves to where a piece starts.
    fn moved(&self, batch: &[Level], part: Part, start: usize, args: usize) -> Vec<i64> {
        let times = start as i64;
        let mut by = match part {
            Part::Panels => {
                let before = self.panels_of(0, start);
                let b = before.iter().map(|p| p.count as i64 * self.panel_bytes(p)).sum();
                let columns: i64 = before.iter().map(|p| (p.count * p.valid) as i64).sum();
                let extras = self.product.extras.iter().filter_map(|e| match e {
                    super::Extra::Columns(_) => None,
                    super::Extra::Memory { contiguous, dtype, .. } => Some(if *contiguous { columns * dtype.bytes() as i64 } else { 0 }),
                });
                [0, b, columns * self.product.dtype.bytes() as i64].into_iter().chain(extras).collect()
            }
            Part::Batch(_) | Part::Y | Part::X => {
                let level = self.level(batch, part);
                let extras = self.extra_pointer.iter().zip(&level.extra).filter(|(p, _)| p.is_some()).map(|(_, e)| e * times);
                [level.a * times, level.b * times, level.c * times].into_iter().chain(extras).collect::<Vec<i64>>()
            }
        };
        // scratch stays
        by.resize(args, 0);
        by
    }

    fn level<'l>(&'l self, batch: &'l [Level], part: Part) -> &'l Level {
        match part {
            Part::Batch(i) => &batch[i],
            Part::Y => &self.product.y,
            Part::X | Part::Panels => &self.product.x,
        }
    }

    /// So many panels from `first` on.
    fn panels_of(&self, first: usize, count: usize) -> Vec<Panel> {
        let (mut skip, mut left) = (first, count);
        let mut out = Vec::new();
        for panel in &self.panels {
            let here = (panel.count - skip.min(panel.count)).min(left);
            skip -= skip.min(panel.count);
            left -= here;
            if here > 0 {
                out.push(Panel { count: here, ..panel.clone() });
            }
        }
        out
    }

    /// The kernels of all pieces, each with its lists of arguments.
    pub fn pieces(&self, batch: &[Level], (part, cut): (Part, Cut), outside: bool, args: &[Pointer]) -> Vec<(Kernel, Vec<Vec<Pointer>>)> {
        let mut pieces: Vec<(usize, Vec<Panel>, Vec<Vec<Pointer>>)> = Vec::new();
        for (start, size) in cut.each() {
            let panels = if part == Part::Panels { self.panels_of(start, size) } else { self.panels.clone() };
            let by = self.moved(batch, part, start, args.len());
            let list = args.iter().zip(by).map(|(p, by)| Pointer { offset: p.offset + by, ..*p }).collect();
            match pieces.iter_mut().find(|p| (p.0, &p.1) == (size, &panels)) {
                Some(piece) => piece.2.push(list),
                None => pieces.push((size, panels, vec![list])),
            }
        }
        pieces.into_iter().map(|(size, panels, lists)| (self.piece(batch, part, size, panels, outside), lists)).collect()
    }

    fn piece(&self, batch: &[Level], part: Part, size: usize, panels: Vec<Panel>, outside: bool) -> Kernel {
        let mut product = self.product.clone();
        let mut batch = batch.to_vec();
        match part {
            Part::Batch(i) => batch[i].count = size,
            Part::Y => product.y.count = size,
            Part::X => product.x.count = size,
            Part::Panels => product.n = panels.iter().map(|p| p.count * p.valid).sum(),
        }
        let mut emit = Emit { product: &product, panels, ..self.clone() };
        if outside {
            emit.look_ahead(self.all_bytes());
        }
        let mut w = Writer::new();
        emit.divide_left(&mut w);
        emit.batches(&batch, 0, &mut w, &|w: &mut Writer| emit.grid(outside, w));
        let name = format!("{}_{}x{}", product.name, emit.shape.rows(), emit.shape.vectors * emit.lanes);
        kernel(name, emit.args(&batch), w)
    }
}
