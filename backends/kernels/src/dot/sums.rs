//! The sums of one tile over all of K. A machine takes elements of A splat by splat, from memory, or as lanes of
//! vectors along K; B comes a vector at a time.

use super::choose::{Left, left};
use super::emit::{A, B, Emit};
use super::panels::Panel;
use super::way::Way;
use super::{Level, Right};
use crate::tile::{Pool, Writer, at};
use ir::kernel::tile::{At, Operand, Stmt, V};

/// Vectors of B that are on their way at most.
const MOST_AHEAD: usize = 6;

/// One tile's rows, and where they and its columns are.
pub(super) struct Tile<'a> {
    pub emit: &'a Emit<'a>,
    /// Rows are counted line by line, so many in each.
    pub x_rows: usize,
    pub rows: usize,
    pub vectors: usize,
    /// Valid lanes of the last vector.
    pub last_lanes: usize,
    /// Columns of the panel that the tile is in.
    pub panel_width: usize,
    pub way: Way,
}

impl Emit<'_> {
    /// The tile `which` of a panel: sums over all of K, then the epilogue. Pointers end where they began.
    pub(super) fn tile(&self, (y_rows, x_rows): (usize, usize), panel: &Panel, which: usize, w: &mut Writer) {
        let (vectors, valid) = panel.tiles[which];
        let last_lanes = valid - (vectors - 1) * self.lanes;
        let tile = Tile { emit: self, x_rows, rows: y_rows * x_rows, vectors, last_lanes, panel_width: panel.width, way: panel.way };
        let mut pool = Pool::new(self.facts);
        let sums = match panel.way {
            Way::Float if let Some(unpack) = self.blocks => tile.sums_of_blocks(unpack, &mut pool, w),
            Way::Long { twice, .. } => tile.sums_of_long_products(twice, &mut pool, w),
            Way::Widened { a, b } => tile.sums_of_widened([a, b], &mut pool, w),
            Way::Matrices(kind) => tile.sums_of_matrices(kind, &mut pool, w),
            Way::Float | Way::Dot4 { .. } | Way::Pairs { .. } | Way::Distances { .. } | Way::Halves => {
                let sums = tile.start(&mut pool, w);
                match left(self.facts, panel.way, self.product.run.a, tile.rows, vectors) {
                    Left::Columns => tile.sum_by_columns(&sums, &mut pool, w),
                    Left::Lanes => tile.sum_by_lanes(&sums, &mut pool, w),
                    Left::Splat if tile.rows == 1 => tile.sum_of_one_row(&sums[0], &mut pool, w),
                    Left::Splat | Left::Memory => tile.sum_by_splats(&sums, &mut pool, w),
                    Left::Own => unreachable!("it was one of those above"),
                }
                sums
            }
        };
        tile.finish(sums, pool, w);
    }

    /// Steps of K in a turn of the innermost loop over it.
    pub(super) fn turn(&self) -> usize {
        self.turn_with(self.ahead.is_some())
    }

    /// The same if it fetches B `ahead` or not. Where instructions beside the products count, a fetch and its pointer are spread
    /// over twice the steps.
    pub(super) fn turn_with(&self, ahead: bool) -> usize {
        let unroll = self.facts.unroll as usize;
        match left(self.facts, self.panels[0].way, self.product.run.a, 2, 2) {
            Left::Lanes => unroll.next_multiple_of(self.lanes) * if ahead { 2 } else { 1 },
            Left::Own if self.facts.menu.lane_operand => unroll.next_multiple_of(self.lanes) * if ahead { 2 } else { 1 },
            Left::Own => unroll,
            Left::Splat | Left::Memory | Left::Columns => unroll,
        }
    }
}

impl Tile<'_> {
    /// Bytes from the tile's first row to row `r`, for a stream.
    pub fn row(&self, r: usize, pick: impl Fn(&Level) -> i64) -> i64 {
        let product = self.emit.product;
        (r / self.x_rows) as i64 * pick(&product.y) + (r % self.x_rows) as i64 * pick(&product.x)
    }

    /// Bytes from the panel's start to the vector `v` of an operand that lies behind its weights.
    pub fn column(&self, extra: usize, v: usize) -> i64 {
        let emit = self.emit;
        let which = emit.columns.iter().position(|&c| c == extra).expect("it is one of the columns");
        (emit.depth + which) as i64 * self.width() + (v * emit.lanes * 4) as i64
    }

    /// Bytes of a row of a packed panel.
    pub fn width(&self) -> i64 {
        (self.panel_width * 4) as i64
    }

    /// Bytes of B from one step of K to the next.
    fn pitch(&self) -> i64 {
        self.emit.pitch.unwrap_or(self.width())
    }

    /// Registers for the sums, set to zero or to the bias.
    pub fn start(&self, pool: &mut Pool, w: &mut Writer) -> Vec<Vec<V>> {
        let mut take = || pool.take().expect("the tile was chosen to fit");
        let sums: Vec<Vec<V>> = (0..self.rows).map(|_| (0..self.vectors).map(|_| take()).collect()).collect();
        for (r, row) in sums.iter().enumerate() {
            for (v, &to) in row.iter().enumerate() {
                match self.emit.start {
                    Some(_) if r > 0 => w.push(Stmt::Copy { to, from: sums[0][v] }),
                    Some(bias) => w.push(Stmt::Load { to, at: at(B, self.column(bias, v)), lanes: self.emit.lanes as u8 }),
                    None => w.push(Stmt::Set { to, bits: 0 }),
                }
            }
        }
        sums
    }

    /// Vector `v` of B, `u` steps of K ahead.
    pub fn load_right(&self, to: V, u: usize, v: usize, w: &mut Writer) {
        w.push(Stmt::Load { to, at: self.right_at(u, v), lanes: self.right_lanes(v) as u8 });
    }

    pub fn right_at(&self, u: usize, v: usize) -> At {
        at(B, u as i64 * self.pitch() + (v * self.emit.lanes * 4) as i64)
    }

    /// Packed panels are padded; B in place may not be.
    fn right_lanes(&self, v: usize) -> usize {
        let exact = matches!(self.emit.product.right, Right::InPlace { padded: false, .. });
        if exact && v + 1 == self.vectors { self.last_lanes } else { self.emit.lanes }
    }

    /// The element of A in row `r`, so many bytes further along K.
    pub fn left_at(&self, r: usize, step: i64) -> At {
        at(A, step + self.row(r, |l| l.a))
    }

    fn sum_of_one_row(&self, sums: &[V], pool: &mut Pool, w: &mut Writer) {
        let emit = self.emit;
        let way = self.way;
        // vectors of B are operands in memory where the machine has such, but for partial ones
        let takes = emit.facts.menu.memory_operand && way.takes_right_memory();
        let in_memory = |v: usize| takes && self.right_lanes(v) == emit.lanes;
        let temp = self.temporary(pool);
        let (one, two) = (pool.take().expect("the tile was chosen to fit"), pool.take());
        // the first of the two was the vector of B where there must be one
        let (right, left) = if takes { (two, one) } else { (Some(one), two.expect("the tile was chosen to fit")) };
        self.over_k(w, &|w, steps| {
            for (u, &step) in steps.iter().enumerate() {
                w.push(Stmt::Splat { to: left, at: self.left_at(0, step) });
                way.prepare(left, None, w);
                for (v, &acc) in sums.iter().enumerate() {
                    if in_memory(v) {
                        way.multiply(acc, Operand::V(left), Operand::Memory(self.right_at(u, v)), temp, w);
                    } else {
                        let to = right.expect("one register is free");
                        self.load_right(to, u, v, w);
                        way.multiply(acc, Operand::V(left), Operand::V(to), temp, w);
                    }
                }
            }
        });
        two.into_iter().chain([one]).chain(temp).for_each(|v| pool.give(v));
    }

    fn sum_by_splats(&self, sums: &[Vec<V>], pool: &mut Pool, w: &mut Writer) {
        let way = self.way;
        let temp = self.temporary(pool);
        let mut take = || pool.take().expect("the tile was chosen to fit");
        let right: Vec<V> = (0..self.vectors).map(|_| take()).collect();
        let in_memory = left(self.emit.facts, way, self.emit.product.run.a, self.rows, self.vectors) == Left::Memory;
        let left: Option<V> = (!in_memory).then(&mut take);
        self.over_k(w, &|w, steps| {
            for (u, &step) in steps.iter().enumerate() {
                for (v, &to) in right.iter().enumerate() {
                    self.load_right(to, u, v, w);
                }
                for (r, row) in sums.iter().enumerate() {
                    if let Some(left) = left {
                        w.push(Stmt::Splat { to: left, at: self.left_at(r, step) });
                        way.prepare(left, None, w);
                    }
                    let left = left.map_or(Operand::Splat(self.left_at(r, step)), Operand::V);
                    for (v, &acc) in row.iter().enumerate() {
                        way.multiply(acc, left, Operand::V(right[v]), temp, w);
                    }
                }
            }
        });
        right.into_iter().chain(left).chain(temp).for_each(|v| pool.give(v));
    }

    /// Vectors of B are loaded two at a time, side by side in memory, and while there are registers before they are
    /// needed; each is done with before the next.
    fn sum_by_lanes(&self, sums: &[Vec<V>], pool: &mut Pool, w: &mut Writer) {
        let (lanes, way) = (self.emit.lanes, self.way);
        let temp = self.temporary(pool);
        let mut take = || pool.take().expect("the tile was chosen to fit");
        let left: Vec<V> = (0..self.rows).map(|_| take()).collect();
        let mut ring = vec![take(), take()];
        // what flips A stays in a register if there is one; else it lies where B comes next
        let flip = if way.flips() { pool.take() } else { None };
        while ring.len() < MOST_AHEAD && pool.len() >= 2 {
            ring.extend([pool.take(), pool.take()].into_iter().flatten());
        }
        if let Some(flip) = flip {
            way.set_flip(flip, w);
        }
        self.over_k(w, &|w, steps| {
            let all = steps.len() * self.vectors;
            let mut loaded = 0;
            // the step that is in the first lane
            let mut first = 0;
            for i in 0..all {
                let (u, v) = (i / self.vectors, i % self.vectors);
                let follows = u > first && u < first + lanes && steps[u] == steps[u - 1] + 4;
                if v == 0 && !follows {
                    first = u;
                    let together = 1 + steps[u..].windows(2).take(lanes - 1).take_while(|pair| pair[1] == pair[0] + 4).count();
                    let (free, set) = (ring[i % ring.len()], flip.is_none() && loaded == i);
                    if set {
                        way.set_flip(free, w);
                    }
                    for (r, &to) in left.iter().enumerate() {
                        w.push(Stmt::Load { to, at: self.left_at(r, steps[u]), lanes: together as u8 });
                        way.prepare(to, flip.or(set.then_some(free)), w);
                    }
                }
                if i % 2 == 0 {
                    for next in loaded..all.min(i + ring.len()) {
                        self.load_right(ring[next % ring.len()], next / self.vectors, next % self.vectors, w);
                    }
                    loaded = all.min(i + ring.len());
                }
                for (row, &elements) in sums.iter().zip(&left) {
                    let element = Operand::Lane(elements, (u - first) as u8);
                    way.multiply(row[v], element, Operand::V(ring[i % ring.len()]), temp, w);
                }
            }
        });
        left.into_iter().chain(ring).chain(flip).chain(temp).for_each(|v| pool.give(v));
    }

    fn temporary(&self, pool: &mut Pool) -> Option<V> {
        (self.way.temporaries() > 0).then(|| pool.take().expect("the tile was chosen to fit"))
    }

    /// The loops over K around `steps`, which writes some of them, given how far each is from where A points, in bytes; B
    /// follows. Pointers end where they began.
    pub fn over_k(&self, w: &mut Writer, steps: &dyn Fn(&mut Writer, &[i64])) {
        self.segments(0, steps, w);
        w.advance(B, -(self.emit.depth as i64 * self.pitch()));
    }

    /// A ends where it began, B behind the last row.
    fn segments(&self, level: usize, steps: &dyn Fn(&mut Writer, &[i64]), w: &mut Writer) {
        if let Some(segment) = self.emit.product.segments.get(level) {
            w.repeat(segment.count, |w| {
                self.segments(level + 1, steps, w);
                w.advance(A, segment.a);
            });
            w.advance(A, -(segment.count as i64 * segment.a));
            return;
        }
        let (run, back) = (self.emit.product.run, self.emit.product.back);
        // short runs are written out, where long ones are unrolled at all
        let turn = self.emit.turn();
        let turn = if run.count <= turn.max(8.min(2 * turn)) { run.count } else { turn };
        // a last step that begins early has no turn with others
        let times = if turn == run.count { 1 } else { (run.count - usize::from(back > 0)) / turn };
        let rest = run.count - times * turn;
        let step = |u: usize| u as i64 * run.a - if u + 1 == run.count { back } else { 0 };
        w.repeat(times, |w| {
            let first: Vec<i64> = (0..turn).map(|u| if times == 1 { step(u) } else { u as i64 * run.a }).collect();
            steps(w, &first);
            if let Some((p, lines)) = self.emit.ahead {
                (0..lines).for_each(|i| w.push(Stmt::Prefetch { at: at(p, i as i64 * 64) }));
                w.advance(p, lines as i64 * 64);
            }
            w.advance(A, turn as i64 * run.a);
            w.advance(B, turn as i64 * self.pitch());
        });
        let behind = (times * turn) as i64 * run.a;
        let last: Vec<i64> = (times * turn..run.count).map(|u| step(u) - behind).collect();
        steps(w, &last);
        w.advance(B, rest as i64 * self.pitch());
        w.advance(A, -behind);
    }
}
