//! One product as one kernel and its call: loops joined, the tile chosen, B packed, arguments with what they reach.

use super::candidates::pick;
use super::choose::{Shape, choose, split};
use super::epilogue::Behind;
use super::panels::{Panel, pack, panels};
use super::unpack::Unpack;
use super::way::{Way, Weights};
use super::{Extra, Factors, Level, Product, Right, start_from_bias, words};
use crate::build::{Builder, Home, Pointer};
use crate::tile::{arg, near};
use crate::{Job, sparse};
use ir::Tensor;
use ir::kernel::facts::Facts;
use ir::kernel::tile::P;
use ir::kernel::{Access, Arg};
use ir::program::{Packed, Part};
use ir::scalar::Body;

/// What is known while a product's kernel is written. Pointers: A, B, C, then extras in memory, then scratch for raw sums.
#[derive(Clone)]
pub(super) struct Emit<'a> {
    pub product: &'a Product,
    pub facts: &'a Facts,
    pub lanes: usize,
    /// Steps of K.
    pub depth: usize,
    pub shape: Shape,
    pub panels: Vec<Panel>,
    /// Bytes of B from one row of K to the next if it is in place; packed panels are as wide as they are.
    pub pitch: Option<i64>,
    /// Indices of extras that lie behind the panels, in order.
    pub columns: Vec<usize>,
    /// The pointer of each extra in memory.
    pub extra_pointer: Vec<Option<P>>,
    pub behind: Behind,
    /// Where raw sums go, unless the epilogue finds them in registers.
    pub scratch: P,
    /// Runs ahead in B, and the cache lines it asks for in each turn of the innermost loop.
    pub ahead: Option<(P, usize)>,
    /// The bias that accumulators start from: index of the extra.
    pub start: Option<usize>,
    pub body: Body,
    /// Weights of few bits in blocks, which panels hold instead of f32.
    pub blocks: Option<Unpack>,
}

/// Bytes that come from memory while a tile waits for none: measured, with 4 and 8 rows.
const AHEAD: i64 = 8 << 10;

pub(super) const A: P = P(0);
pub(super) const B: P = P(1);
pub(super) const C: P = P(2);

/// Chooses tiles, packs B, writes the kernel and the call. `false` when it has more operands than a kernel takes,
/// an epilogue wider than all registers, or rows farther apart than an address reaches.
pub fn emit(mut product: Product, builder: &mut Builder) -> bool {
    let memory = product.extras.iter().filter(|e| matches!(e, Extra::Memory { .. })).count();
    if memory > 2 {
        return false;
    }
    simplify(&mut product);
    let Some(way) = way(&product, builder.facts) else { return false };
    words::complete(&mut product, way);
    if sparse::lower(&product, way, builder) {
        return true;
    }
    let emit = plan(&product, way, builder.facts, builder.packing, builder.rows);
    // columns behind panels need panels: B in place has none
    if emit.pitch.is_some() && !emit.columns.is_empty() {
        return columns_to_memory(product, builder);
    }
    if !emit.reaches() {
        return false;
    }
    let shared = matches!(product.right, Right::Packed { .. }) && is_shared(builder.facts, builder.packing, builder.rows);
    let Some((emit, outside)) = pick(emit, way, shared, builder) else { return false };
    write(emit, outside, builder)
}

/// Packs B, writes the kernel and the call of what is planned, with panels or rows in the outer loop.
pub(super) fn write(mut emit: Emit, outside: bool, builder: &mut Builder) -> bool {
    let product = emit.product;
    if !emit.reaches() {
        return false;
    }
    let Some(behind) = emit.choose_behind() else { return false };
    emit.behind = behind;
    let (b, matrix_bytes) = match &product.right {
        Right::Packed { matrices, .. } => {
            let buffer = pack(builder, matrices, product, &emit.columns, &emit.panels);
            let bytes = builder.buffers[buffer.0].bytes;
            (Pointer { buffer, offset: 0 }, bytes as i64 / matrices.len() as i64)
        }
        Right::InPlace { place, .. } => (Job::pointer(place, product.factors.b), 0),
    };
    let mut batch = product.batch.clone();
    if let Right::Packed { steps, .. } = &product.right {
        for (level, step) in batch.iter_mut().zip(steps) {
            level.b = *step as i64 * matrix_bytes;
        }
    }
    let mut pointers = vec![Job::pointer(&product.a, product.factors.a), b, Job::pointer(&product.c, product.dtype)];
    for extra in &product.extras {
        if let Extra::Memory { place, dtype, .. } = extra {
            pointers.push(Job::pointer(place, *dtype));
        }
    }
    if emit.behind != Behind::Registers {
        let buffer = builder.buffer("sums", Home::Scratch, emit.scratch_bytes() as u64);
        pointers.push(Pointer { buffer, offset: 0 });
    }
    emit.blocks = emit.blocks.map(|b| b.placed(pointers.len() as u8));
    if let (Some(unpack), Some(bytes)) = (emit.blocks, emit.left_bytes()) {
        // behind what a call has there already
        let offset = (emit.scratch_bytes() as u64).next_multiple_of(64) as i64;
        let buffer = builder.buffer("divided", Home::Scratch, (offset + bytes) as u64);
        let factors = builder.constant(Packed { align: 64, parts: vec![Part::Bytes(unpack.blocks.factors().into())] });
        pointers.extend([Pointer { buffer, offset }, Pointer { buffer: factors, offset: 0 }]);
    }
    let mut pieces = emit.pieces(&batch, emit.cut(&batch, outside, builder.tasks), outside, &pointers);
    if builder.backwards(b.buffer) {
        pieces.reverse();
        pieces.iter_mut().for_each(|(_, lists)| lists.reverse());
    }
    builder.step(pieces, product.macs);
    true
}

/// Fewer, longer loops.
pub(super) fn simplify(product: &mut Product) {
    let packed_steps = matches!(&product.right, Right::Packed { steps, .. } if steps.iter().any(|&s| s != 0));
    if let Some(x) = join(&product.y, &product.x) {
        product.y = Level { count: 1, ..product.y.clone() };
        product.x = x;
    }
    if !packed_steps {
        while let Some(last) = product.batch.last().cloned() {
            let target = if product.y.count == 1 { &mut product.x } else { &mut product.y };
            match join(&last, target) {
                Some(joined) if last.b == 0 => *target = joined,
                _ => break,
            }
            product.batch.pop();
            if let Right::Packed { steps, .. } = &mut product.right {
                steps.pop();
            }
        }
    }
    while let (1, Some(true)) = (product.run.count, product.segments.last().map(|_| true)) {
        product.run = product.segments.pop().expect("there is a last segment");
    }
}

/// Joins two loops into one where every stream allows it.
fn join(outer: &Level, inner: &Level) -> Option<Level> {
    let n = inner.count as i64;
    if outer.count == 1 {
        return Some(inner.clone());
    }
    if inner.count == 1 {
        return Some(outer.clone());
    }
    let fits = outer.a == inner.a * n
        && outer.b == 0
        && inner.b == 0
        && outer.c == inner.c * n
        && outer.extra.iter().zip(&inner.extra).all(|(o, i)| *o == i * n);
    fits.then(|| Level { count: outer.count * inner.count, ..inner.clone() })
}

/// How the machine multiplies. `None`: it does not.
fn way(product: &Product, facts: &Facts) -> Option<Way> {
    let known = |matrices: &[Tensor]| words::weights(matrices, product.factors, product.run.count);
    let weights = match &product.right {
        Right::Packed { matrices, .. } if product.factors != Factors::FLOATS => known(matrices),
        Right::Packed { .. } | Right::InPlace { .. } => Weights::UNKNOWN,
    };
    let rows = product.y.count * product.x.count;
    Way::of(facts, product.factors, &weights).map(|way| way.for_rows(facts, rows))
}

/// Whether packed weights are laid out for others too.
fn is_shared(facts: &Facts, packing: &Facts, rows: Option<usize>) -> bool {
    packing.name != facts.name || rows.is_some()
}

/// B is packed for the level `packing` and so many `rows`, if it is packed and they are known.
pub(super) fn plan<'a>(product: &'a Product, by: Way, facts: &'a Facts, packing: &Facts, rows: Option<usize>) -> Emit<'a> {
    let depth: usize = product.segments.iter().map(|s| s.count).product::<usize>() * product.run.count;
    let (n, lanes) = (product.n, facts.lanes());
    let best = |facts: &Facts, width| {
        let by = if facts.name == packing.name { way(product, packing).unwrap_or(by) } else { by };
        choose(facts, by, &product.y, &product.x, n, depth, product.run.a, width)
    };
    let shared = matches!(product.right, Right::Packed { .. }) && is_shared(facts, packing, rows);
    let (shape, panels) = if shared {
        let widest = match rows {
            Some(rows) => {
                let (y, x) = (Level { count: 1, ..product.y.clone() }, Level { count: rows, ..product.x.clone() });
                choose(packing, way(product, packing).unwrap_or(by), &y, &x, n, depth, product.run.a, None)
            }
            None => best(packing, None),
        };
        let width = widest.vectors * packing.lanes();
        let shape = best(facts, Some(width));
        (shape, panels(width, shape.vectors * lanes, n, (packing.lanes(), lanes), by))
    } else {
        let shape = best(facts, None);
        (shape, panels(shape.vectors * lanes, shape.vectors * lanes, n, (lanes, lanes), by))
    };
    let mut next = 3;
    let extra_pointer: Vec<Option<P>> = product
        .extras
        .iter()
        .map(|e| match e {
            Extra::Columns(_) => None,
            Extra::Memory { .. } => {
                next += 1;
                Some(P(next - 1))
            }
        })
        .collect();
    let (start, body) = match by.is_its_own() {
        true => (None, product.epilogue.clone()),
        false => start_from_bias(product.factors.sum(), &product.epilogue, &product.extras),
    };
    Emit {
        product,
        facts,
        lanes,
        depth,
        shape,
        panels,
        pitch: match &product.right {
            Right::InPlace { pitch, .. } => Some(*pitch),
            Right::Packed { .. } => None,
        },
        columns: (0..product.extras.len()).filter(|&i| matches!(product.extras[i], Extra::Columns(_))).collect(),
        extra_pointer,
        behind: Behind::Registers,
        scratch: P(next),
        ahead: None,
        start,
        body,
        blocks: None,
    }
}

impl Emit<'_> {
    /// Whether every displacement in a tile fits an address.
    pub(super) fn reaches(&self) -> bool {
        let (shape, product) = (self.shape, self.product);
        let steps = 4 * self.turn().max(8) as i64;
        let rows = |pick: &dyn Fn(&Level) -> i64| {
            let along = |level: &Level, count: usize| pick(level).saturating_abs().saturating_mul(count as i64);
            along(&product.y, shape.y).saturating_add(along(&product.x, shape.x))
        };
        let width = self.pitch.unwrap_or((self.panels.iter().map(|p| p.width).max().unwrap_or(0) * 4) as i64);
        let behind = if self.columns.is_empty() { 0 } else { (self.depth + self.columns.len()) as i64 };
        let left = rows(&|l| l.a).saturating_add(product.run.a.saturating_abs().saturating_mul(steps));
        let right = width.saturating_abs().saturating_mul(behind.max(steps));
        let extras = (0..product.extras.len()).all(|i| near(rows(&|l| l.extra[i])));
        near(left) && near(right) && near(rows(&|l| l.c)) && extras
    }

    /// Tiles over all rows.
    fn turns(&self) -> usize {
        let tiles = |total, most| split(total, most).iter().map(|s| s.0).sum::<usize>();
        tiles(self.product.y.count, self.shape.y) * tiles(self.product.x.count, self.shape.x)
    }

    /// Whether a panel stays in L2 over all rows, or the rows stay over all panels.
    pub(super) fn panels_outside(&self) -> bool {
        let (facts, product) = (self.facts, self.product);
        let whole = self.depth as u64 * (product.n.div_ceil(self.lanes) * self.lanes) as u64 * 4;
        let rows_bytes = [&product.y, &product.x].map(|l| l.count as u64 * l.a.unsigned_abs()).into_iter().max().unwrap_or(0);
        let few = self.turns() <= 16 && whole > 2 * facts.caches[0] && rows_bytes <= facts.caches[1] / 2;
        whole > facts.caches[1] * 3 / 4 || few
    }

    /// Few rows wait less for weights that come from beyond L2 when each panel is fetched ahead; where one tile has all of
    /// them, by what it takes to come from memory. `bytes` is what all pieces of the product read.
    pub(super) fn look_ahead(&mut self, bytes: i64) {
        let memory = self.extra_pointer.iter().flatten().count();
        let turns = self.turns();
        let plain = self.pitch.is_none() && self.blocks.is_none() && memory < 2;
        if plain && (turns > 1 || self.streams(bytes)) {
            let lines = self.turn_with(true) * self.shape.vectors * self.facts.vector_bytes as usize / 64;
            let pointer = P(self.scratch.0 + u8::from(self.behind != Behind::Registers));
            self.ahead = (lines > 0).then(|| (pointer, lines.div_ceil(turns)));
        }
    }

    /// Whether one tile has all rows, more than one of them, and reads panels that are more than caches hold from end to end.
    fn streams(&self, bytes: i64) -> bool {
        let whole = self.panels.iter().all(|p| p.tiles.len() == 1);
        self.turns() == 1 && self.shape.rows() > 1 && whole && bytes.unsigned_abs() > 2 * self.facts.caches[1]
    }

    /// Bytes from a panel to what is fetched while it is read.
    pub(super) fn ahead_by(&self, panel: &Panel) -> i64 {
        if self.turns() > 1 { self.panel_bytes(panel) } else { AHEAD }
    }

    /// What the kernel's arguments reach.
    pub(super) fn args(&self, batch: &[Level]) -> Vec<Arg> {
        let product = self.product;
        let reach = |pick: &dyn Fn(&Level) -> i64| {
            let levels = batch.iter().chain([&product.y, &product.x]);
            range(levels.map(|l| (l.count, pick(l))))
        };
        let k = range(product.segments.iter().chain([&product.run]).map(|s| (s.count, s.a)));
        let (a, c) = (reach(&|l| l.a), reach(&|l| l.c));
        let moved = reach(&|l| l.b);
        let b = match self.pitch {
            Some(pitch) => {
                let rows = range([(self.depth, pitch)].into_iter());
                let padded = matches!(product.right, Right::InPlace { padded: true, .. });
                let columns = if padded { product.n.next_multiple_of(self.lanes) } else { product.n };
                (moved.0 + rows.0, moved.1 + rows.1 + columns as i64 * 4)
            }
            None => (moved.0, moved.1 + self.all_bytes()),
        };
        let mut args = vec![
            arg("a", Access::Read, a.0 + k.0, a.1 + k.1 + 4 - product.back),
            arg("b", Access::Read, b.0, b.1),
            arg("c", Access::ReadWrite, c.0, c.1 + (product.n * product.dtype.bytes()) as i64),
        ];
        for (i, extra) in product.extras.iter().enumerate() {
            if let Extra::Memory { contiguous, dtype, .. } = extra {
                let e = reach(&|l| l.extra[i]);
                let columns = if *contiguous { product.n } else { 1 };
                args.push(arg("extra", Access::Read, e.0, e.1 + (columns * dtype.bytes()) as i64));
            }
        }
        if self.behind != Behind::Registers {
            args.push(arg("sums", Access::ReadWrite, 0, self.scratch_bytes()));
        }
        if let (Some(unpack), Some(bytes)) = (self.blocks, self.left_bytes()) {
            args.push(arg("divided", Access::ReadWrite, 0, bytes));
            args.push(arg("factors", Access::Read, 0, unpack.blocks.factors().len() as i64));
        }
        args
    }

    /// Bytes of scratch for the sums of a tile.
    pub(super) fn scratch_bytes(&self) -> i64 {
        (self.shape.rows() * self.shape.vectors * self.lanes * 4) as i64
    }
}

/// Smallest and largest offset that loops reach.
fn range(levels: impl Iterator<Item = (usize, i64)>) -> (i64, i64) {
    levels.fold((0, 0), |(low, high), (count, step)| {
        let end = (count as i64 - 1) * step;
        (low + end.min(0), high + end.max(0))
    })
}

/// Operands per column as dense memory: for products whose B is not packed.
fn columns_to_memory(mut product: Product, builder: &mut Builder) -> bool {
    let levels = product.batch.len() + 2;
    for extra in &mut product.extras {
        if let Extra::Columns(tensor) = extra {
            let mut place = builder.dense_constant(tensor);
            place.strides = vec![0; levels];
            *extra = Extra::Memory { place, dtype: tensor.dtype(), contiguous: true };
        }
    }
    emit(product, builder)
}
