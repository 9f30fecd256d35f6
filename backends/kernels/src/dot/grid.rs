//! The loops around a tile: batches, rows and panels of columns, with every stream's pointer moved along.

use super::choose::split;
use super::emit::{A, B, C, Emit};
use super::panels::Panel;
use super::{Extra, Level};
use crate::tile::Writer;
use ir::kernel::tile::Stmt;

/// Writes a tile of so many lines and columns of rows.
type OnRows<'a> = &'a dyn Fn(&mut Writer, usize, usize);

impl Emit<'_> {
    /// Loops over the batch levels around `inside`, which leaves every pointer where it was.
    pub(super) fn batches(&self, batch: &[Level], depth: usize, w: &mut Writer, inside: &dyn Fn(&mut Writer)) {
        let Some(level) = batch.get(depth) else { return inside(w) };
        if level.count == 1 {
            return self.batches(batch, depth + 1, w, inside);
        }
        w.repeat(level.count, |w| {
            self.batches(batch, depth + 1, w, inside);
            self.shift(level, 1, true, w);
        });
        self.shift(level, -(level.count as i64), true, w);
    }

    /// Moves every stream by `times` steps of a level.
    fn shift(&self, level: &Level, times: i64, with_b: bool, w: &mut Writer) {
        w.advance(A, level.a * times);
        if with_b {
            w.advance(B, level.b * times);
        }
        self.shift_results(level, times, w);
    }

    /// Moves the streams of the epilogue by `times` steps of a level.
    pub(super) fn shift_results(&self, level: &Level, times: i64, w: &mut Writer) {
        w.advance(C, level.c * times);
        for (pointer, step) in self.extra_pointer.iter().zip(&level.extra) {
            if let Some(p) = pointer {
                w.advance(*p, step * times);
            }
        }
    }

    /// Moves the streams that have columns by `columns` of them.
    fn shift_columns(&self, columns: i64, w: &mut Writer) {
        w.advance(C, columns * self.product.dtype.bytes() as i64);
        for (pointer, extra) in self.extra_pointer.iter().zip(&self.product.extras) {
            if let (Some(p), Extra::Memory { contiguous: true, dtype, .. }) = (pointer, extra) {
                w.advance(*p, columns * dtype.bytes() as i64);
            }
        }
    }

    /// Bytes from one panel of B to the next.
    pub(super) fn panel_bytes(&self, panel: &Panel) -> i64 {
        let width = (panel.width * 4) as i64;
        match self.pitch {
            Some(_) => width,
            None => width * (self.depth + self.columns.len()) as i64,
        }
    }

    /// Tiles over so many lines and rows in each; pointers end where they began.
    fn rows(&self, y_count: usize, x_count: usize, w: &mut Writer, tile: OnRows) {
        let (y, x) = (&self.product.y, &self.product.x);
        for (ny, sy) in split(y_count, self.shape.y) {
            w.repeat(ny, |w| {
                let parts = split(x_count, self.shape.x);
                for &(nx, sx) in &parts {
                    w.repeat(nx, |w| {
                        tile(w, sy, sx);
                        if parts.len() > 1 || nx > 1 {
                            self.shift(x, sx as i64, false, w);
                        }
                    });
                }
                if parts.len() > 1 || parts[0].0 > 1 {
                    self.shift(x, -(x_count as i64), false, w);
                }
                self.shift(y, sy as i64, false, w);
            });
        }
        self.shift(y, -(y_count as i64), false, w);
    }

    /// Every tile of every panel; pointers end where they began.
    fn each_panel(&self, w: &mut Writer, inside: &dyn Fn(&mut Writer, &Panel, usize)) {
        let columns = |tile: &(usize, usize)| (tile.0 * self.lanes) as i64;
        for panel in &self.panels {
            w.repeat(panel.count, |w| {
                if let Some((p, _)) = self.ahead {
                    w.push(Stmt::Point { to: p, from: B, offset: self.ahead_by(panel) });
                }
                let mut left = self.panel_bytes(panel);
                for (i, tile) in panel.tiles.iter().enumerate() {
                    inside(w, panel, i);
                    let by = if i + 1 == panel.tiles.len() { left } else { columns(tile) * 4 };
                    left -= by;
                    w.advance(B, by);
                    self.shift_columns(columns(tile), w);
                }
            });
        }
        let all: i64 = self.panels.iter().map(|p| p.count as i64 * p.tiles.iter().map(columns).sum::<i64>()).sum();
        w.advance(B, -self.all_bytes());
        self.shift_columns(-all, w);
    }

    /// Bytes that B moves over all panels.
    pub(super) fn all_bytes(&self) -> i64 {
        self.panels.iter().map(|p| p.count as i64 * self.panel_bytes(p)).sum()
    }

    /// All rows and all panels; pointers end where they began.
    pub(super) fn grid(&self, panels_outside: bool, w: &mut Writer) {
        let (y, x) = (&self.product.y, &self.product.x);
        if !panels_outside {
            return self.rows(y.count, x.count, w, &|w, sy, sx| self.each_panel(w, &|w, panel, i| self.tile((sy, sx), panel, i, w)));
        }
        let (level, block) = self.blocks();
        for (times, size) in [(level.count / block, block), (usize::from(level.count % block > 0), level.count % block)] {
            w.repeat(times, |w| {
                let (y_count, x_count) = if y.count > 1 { (size, x.count) } else { (y.count, size) };
                self.each_panel(w, &|w, panel, i| self.rows(y_count, x_count, w, &|w, sy, sx| self.tile((sy, sx), panel, i, w)));
                if block < level.count {
                    self.shift(level, size as i64, false, w);
                }
            });
        }
        if block < level.count {
            self.shift(level, -(level.count as i64), false, w);
        }
    }

    /// Rows that L2 cannot hold are taken block by block, each over all panels: the loop that is cut, and how far.
    fn blocks(&self) -> (&Level, usize) {
        let (y, x) = (&self.product.y, &self.product.x);
        let (level, unit) = if y.count > 1 { (y, self.shape.y) } else { (x, self.shape.x) };
        let room = self.facts.caches[1] / 2 / (level.a.unsigned_abs().max(1));
        let block = ((room as usize / unit).max(1) * unit).min(level.count);
        // all of B again for each block, or all of A again for each panel
        let rows_bytes = level.count as u64 * level.a.unsigned_abs();
        let panel_count: usize = self.panels.iter().map(|p| p.count).sum();
        let blocked = level.count.div_ceil(block) as u64 * self.all_bytes().unsigned_abs() < panel_count as u64 * rows_bytes;
        (level, if blocked { block } else { level.count })
    }
}
