//! Matrix products as register tiles: a grid of output rows, all of K in one pass, the epilogue on the
//! accumulators. A convolution is the same kernel over K segments ([`crate::conv`]): in channels-last layout a
//! run of window columns and channels is contiguous.
//!
//! Rows of A are read in place through one pointer and constant displacements; constant B is packed into panels
//! `[n / width][k][width]`, each followed by its per-column epilogue constants, in order of use. After Goto & van
//! de Geijn, "Anatomy of high-performance matrix multiplication", 2008, section 4; balanced tiles, no thin rest.

use crate::body::{self, Emitter, Param};
use crate::build::{BufferId, Builder, Home, Pointer};
use crate::copy;
use crate::place::{Place, dense_strides};
use crate::tile::{Pool, Writer, arg, at, kernel};
use crate::{Job, Source, Where, math};
use ir::Dtype;
use ir::graph::op::Op;
use ir::kernel::facts::Facts;
use ir::kernel::tile::{Operand, P, Stmt, V};
use ir::kernel::{Access, Kernel};
use ir::program::{Packed, Part};
use ir::scalar::{self, Body, Literal, ScalarOp};
use ir::tensor::Tensor;

/// One loop over the output with what each stream moves per step, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    pub count: usize,
    pub a: i64,
    pub b: i64,
    pub c: i64,
    /// For each epilogue operand in memory.
    pub extra: Vec<i64>,
}

/// One loop over K: `count` steps of `a` bytes in A and `b` bytes in B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub count: usize,
    pub a: i64,
}

/// Where the second factor comes from.
#[derive(Clone, Debug)]
pub enum Right {
    /// Constants `[k.., n]`, packed here: a batch level moves by `steps` of them.
    Packed { matrices: Vec<Tensor>, steps: Vec<usize> },
    /// In memory with contiguous columns; rows `pitch` bytes apart.
    InPlace { place: Place, pitch: i64 },
}

/// An epilogue operand.
#[derive(Clone, Debug)]
pub enum Extra {
    /// One value per column, or one for all: lies behind each panel.
    Columns(Tensor),
    /// In memory, with the byte strides of the levels: columns contiguous, or repeated.
    Memory { place: Place, dtype: Dtype, contiguous: bool },
}

/// A product with everything known but the tiles.
pub struct Product {
    pub name: String,
    /// Outermost first.
    pub batch: Vec<Level>,
    pub y: Level,
    pub x: Level,
    /// Outer loops over K, outermost first, then the innermost run.
    pub segments: Vec<Segment>,
    pub run: Segment,
    pub n: usize,
    pub a: Place,
    pub right: Right,
    pub c: Place,
    pub extras: Vec<Extra>,
    /// Parameter 0 is the sum, then one for each of `extras`.
    pub epilogue: Body,
    pub macs: u64,
}

/// Emits the dot of `job`, if it is one for vectors: f32 with contiguous columns of B and C.
pub fn lower(job: &Job, builder: &mut Builder) -> bool {
    let Op::Dot { trans_a, trans_b, epilogue } = job.op else { return false };
    let rank = job.shape.len();
    let (m, n) = (job.shape[rank - 2], job.shape[rank - 1]);
    let (a, b) = (&job.operands[0], &job.operands[1]);
    let k = a.shape[a.shape.len() - if *trans_a { 2 } else { 1 }];
    let f32s = a.dtype == Dtype::F32 && b.dtype == Dtype::F32 && job.dtype == Dtype::F32;
    if !f32s || k == 0 || (job.place.strides[rank - 1] != 1 && n > 1) {
        return false;
    }
    let Some((extras, epilogue)) = extras(&job.operands[2..], epilogue, &job.shape, builder) else { return false };
    let a_place = a.place(builder);
    let a_at = matrix(&a_place.expand(&a.shape, &with_batch(&job.shape[..rank - 2], &a.shape)), *trans_a);
    let batch_shape = &job.shape[..rank - 2];
    let mut b_steps = vec![0i64; rank - 2];
    let right = match &b.at {
        Where::Constant(tensor) => {
            let tensor = if *trans_b { swap_last(tensor) } else { (*tensor).clone() };
            let lead = tensor.shape().len() - 2;
            let own: Vec<usize> = tensor.shape()[..lead].to_vec();
            let count: usize = own.iter().product();
            let flat = tensor.reshape(&[count, k, n]);
            let matrices = (0..count).map(|i| flat.slice(&[i, 0, 0], &[1, 1, 1], &[1, k, n]).reshape(&[k, n])).collect();
            let own_strides = dense_strides(&own);
            let steps = (0..rank - 2)
                .map(|i| (i + lead).checked_sub(rank - 2).filter(|&j| own[j] != 1).map_or(0, |j| own_strides[j] as usize))
                .collect();
            Right::Packed { matrices, steps }
        }
        Where::Place(place) => {
            let mut place = place.clone();
            let mut shape = b.shape.clone();
            let r = shape.len();
            if *trans_b {
                place.strides.swap(r - 1, r - 2);
                shape.swap(r - 1, r - 2);
            }
            if place.strides[r - 1] != 1 && n > 1 {
                // columns side by side: a transposed copy in scratch memory of the arena
                let bytes = shape.iter().product::<usize>() as u64 * 4;
                let buffer = builder.buffer("transposed", Home::Arena, bytes);
                let dense = Place::dense(buffer, &shape);
                copy::copy(builder, Dtype::F32, &shape, &place, &dense);
                place = dense;
            }
            let pitch = place.strides[r - 2] * 4;
            let expanded = place.expand(&shape, &with_batch(batch_shape, &shape));
            for (step, stride) in b_steps.iter_mut().zip(&expanded.strides) {
                *step = stride * 4;
            }
            Right::InPlace { place: expanded, pitch }
        }
    };
    let extra_strides: Vec<Vec<i64>> = extras.iter().map(|e| extra_steps(e, rank)).collect();
    let level = |i: usize, count: usize, a: i64, b: i64| Level {
        count,
        a,
        b,
        c: job.place.strides[i] * 4,
        extra: extra_strides.iter().map(|s| s[i]).collect(),
    };
    let batch = (0..rank - 2).map(|i| level(i, batch_shape[i], a_at.strides[i] * 4, b_steps[i])).collect();
    let one = Level { count: 1, a: 0, b: 0, c: 0, extra: vec![0; extras.len()] };
    let product = Product {
        name: "dot".into(),
        batch,
        y: one,
        x: level(rank - 2, m, a_at.strides[rank - 2] * 4, 0),
        segments: vec![],
        run: Segment { count: k, a: a_at.strides[rank - 1] * 4 },
        n,
        a: a_at,
        right,
        c: job.place.clone(),
        extras,
        epilogue,
        macs: job.shape.iter().product::<usize>() as u64 * k as u64,
    };
    emit(product, builder)
}

fn with_batch(batch: &[usize], own: &[usize]) -> Vec<usize> {
    [batch, &own[own.len() - 2..]].concat()
}

fn matrix(place: &Place, swapped: bool) -> Place {
    let mut place = place.clone();
    let r = place.strides.len();
    if swapped {
        place.strides.swap(r - 1, r - 2);
    }
    place
}

fn swap_last(tensor: &Tensor) -> Tensor {
    let rank = tensor.shape().len();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 1, rank - 2);
    tensor.permute(&perm)
}

/// Bytes that an extra moves per step of each axis of the result.
pub fn extra_steps(extra: &Extra, rank: usize) -> Vec<i64> {
    match extra {
        Extra::Columns(_) => vec![0; rank],
        Extra::Memory { place, dtype, .. } => place.strides.iter().map(|s| s * dtype.bytes() as i64).collect(),
    }
}

/// The epilogue's operands: constants of one value become literals of the body, constants per column lie with
/// the weights, everything else is read from memory. `None` when the body is not one for vectors.
pub fn extras(operands: &[Source], epilogue: &Body, shape: &[usize], builder: &mut Builder) -> Option<(Vec<Extra>, Body)> {
    let mut body = Body { params: 1, terms: Vec::new(), result: scalar::Arg::Param(0) };
    let mut binding = vec![scalar::Arg::Param(0)];
    let mut types = vec![Dtype::F32];
    let mut out = Vec::new();
    for operand in operands {
        if !matches!(operand.dtype, Dtype::F32 | Dtype::I32) {
            return None;
        }
        if let Some(tensor) = operand.constant()
            && (tensor.is_splat() || tensor.elements() == 1)
        {
            let rank = tensor.shape().len();
            let one = tensor.slice(&vec![0; rank], &vec![1; rank], &vec![1; rank]);
            binding.push(scalar::Arg::Literal(Literal::from_bytes(tensor.dtype(), &one.bytes())));
            continue;
        }
        let columns = operand.shape.last().copied().unwrap_or(1);
        let by_column = columns == operand.shape.iter().product::<usize>() && columns == *shape.last().expect("results have an axis");
        match operand.constant() {
            Some(tensor) if by_column => out.push(Extra::Columns(tensor.reshape(&[columns]))),
            _ => {
                let place = operand.place(builder).expand(&operand.shape, shape);
                let last = place.strides[shape.len() - 1];
                let contiguous = last == 1;
                if !contiguous && last != 0 && columns > 1 {
                    return None;
                }
                out.push(Extra::Memory { place, dtype: operand.dtype, contiguous });
            }
        }
        binding.push(scalar::Arg::Param(body.params));
        types.push(operand.dtype);
        body.params += 1;
    }
    body.result = body.inline(epilogue, &binding);
    let body = math::expand(&body.without_dead(), &types, builder.facts.fused);
    body::is_vector(&body, &types).then_some((out, body))
}

/// Rows of a tile in two directions and its width in vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    y: usize,
    x: usize,
    vectors: usize,
}

/// `count` tiles of `size`, then one fewer: a balanced split.
fn split(total: usize, most: usize) -> Vec<(usize, usize)> {
    let tiles = total.div_ceil(most);
    let (size, larger) = (total / tiles, total % tiles);
    [(larger, size + 1), (tiles - larger, size)].into_iter().filter(|(count, _)| *count > 0).collect()
}

/// Multiply-adds that start per cycle.
fn rate(facts: &Facts) -> f64 {
    facts.accumulators as f64 / 4.0
}

/// Cycles of one step of K for a tile: the multiply-adds, the loads (two a cycle where two multiply-adds start),
/// or the latency, whichever is longest.
fn step_cycles(facts: &Facts, rows: usize, vectors: usize) -> f64 {
    let products = (rows * vectors) as f64 / rate(facts);
    let loads = match left_in_memory(facts, vectors) {
        true => rows * vectors + vectors,
        false => rows + vectors,
    };
    // a panel comes from L2: what is loaded counts a little even where it hides behind the products
    let traffic = (vectors as f64 * facts.vector_bytes as f64 / 64.0 + 0.25 * rows as f64) * 0.2;
    products.max(loads as f64 / rate(facts)).max(4.0) + traffic
}

/// Whether elements of A are operands in memory: with one vector a load each is no more than a splat each.
fn left_in_memory(facts: &Facts, vectors: usize) -> bool {
    facts.menu.splat_operand && vectors == 1
}

/// Vector registers that the inner loop needs beside the accumulators.
fn operands_needed(facts: &Facts, rows: usize, vectors: usize) -> usize {
    if rows == 1 {
        // one splat of A; B from memory where the machine can
        1 + usize::from(!facts.menu.memory_operand)
    } else {
        vectors + usize::from(!left_in_memory(facts, vectors))
    }
}

/// The tile with the fewest predicted cycles over the whole product.
fn choose(facts: &Facts, y: &Level, x: &Level, n: usize, k: usize) -> Shape {
    // rows a multiple of 4 KB apart fall into one set of L1, which has room for eight
    let crowded = x.a != 0 && x.a % 4096 == 0;
    let (y, x) = (y.count, x.count);
    let all = n.div_ceil(facts.lanes());
    let mut best: Option<(f64, Shape)> = None;
    for vectors in 1..=all.min(8) {
        for rows in 1..=32usize {
            if rows * vectors + operands_needed(facts, rows, vectors) > facts.vectors as usize {
                break;
            }
            // all of one line and several of them, or a part of one
            let shape = if rows < x { Shape { y: 1, x: rows, vectors } } else { Shape { y: (rows / x).clamp(1, y), x, vectors } };
            let tiles = split(y, shape.y)
                .iter()
                .flat_map(|&(ny, sy)| split(x, shape.x).into_iter().map(move |(nx, sx)| (ny * nx, sy * sx)))
                .collect::<Vec<_>>();
            let panels = [(all / vectors, vectors), (usize::from(!all.is_multiple_of(vectors)), all % vectors)];
            let mut cycles = 0.0;
            for &(tiles, rows) in &tiles {
                for &(panels, vectors) in panels.iter().filter(|p| p.0 > 0) {
                    let overhead = 12.0 + 2.0 * (rows * vectors) as f64 / rate(facts);
                    let spill = if crowded && rows > 8 { 1.06 } else { 1.0 };
                    cycles += (tiles * panels) as f64 * (k as f64 * step_cycles(facts, rows, vectors) * spill + overhead);
                }
            }
            if best.as_ref().is_none_or(|(c, _)| cycles < *c * 0.999) {
                best = Some((cycles, shape));
            }
        }
    }
    best.expect("one row of one vector always fits").1
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

/// Pointers of a product kernel: A, B, C, then extras in memory, then scratch for raw sums.
struct Emit<'a> {
    product: &'a Product,
    facts: &'a Facts,
    lanes: usize,
    /// Bytes of B from one row of K to the next, by panel width in vectors; packed panels are as wide as they are.
    pitch: Option<i64>,
    /// Indices of extras that lie behind the panels, in order.
    columns: Vec<usize>,
    /// The pointer of each extra in memory.
    extra_pointer: Vec<Option<P>>,
    scratch: Option<P>,
    /// Runs ahead in B, and the cache lines it asks for in each turn of the innermost loop.
    ahead: Option<(P, usize)>,
    /// The bias that accumulators start from: index of the extra.
    start: Option<usize>,
    body: Body,
}

const A: P = P(0);
const B: P = P(1);
const C: P = P(2);

/// Chooses tiles, packs B, writes the kernel and the call. `false` when it has more operands than a kernel takes.
pub fn emit(mut product: Product, builder: &mut Builder) -> bool {
    let facts = builder.facts;
    let memory = product.extras.iter().filter(|e| matches!(e, Extra::Memory { .. })).count();
    if memory > 2 {
        return false;
    }
    // fewer, longer loops
    let packed_steps = matches!(&product.right, Right::Packed { matrices, .. } if matrices.len() > 1);
    if let Some(x) = join(&product.y, &product.x) {
        product.y = Level { count: 1, ..product.y };
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
    let depth: usize = product.segments.iter().map(|s| s.count).product::<usize>() * product.run.count;
    let shape = choose(facts, &product.y, &product.x, product.n, depth);
    let lanes = facts.lanes();
    let columns: Vec<usize> = (0..product.extras.len()).filter(|&i| matches!(product.extras[i], Extra::Columns(_))).collect();
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
    let (start, body) = start_from_bias(&product.epilogue, &product.extras);
    let in_place = match &product.right {
        Right::InPlace { pitch, .. } => Some(*pitch),
        Right::Packed { .. } => None,
    };
    let mut emit =
        Emit { product: &product, facts, lanes, pitch: in_place, columns, extra_pointer, scratch: None, ahead: None, start, body };
    // columns behind panels need panels: B in place has none
    if emit.pitch.is_some() && !emit.columns.is_empty() {
        return columns_to_memory(product, builder);
    }
    if !emit.epilogue_fits(shape, false) {
        if !emit.epilogue_fits(shape, true) {
            return false;
        }
        emit.scratch = Some(P(next));
    }
    let all = product.n.div_ceil(lanes);
    let panels: Vec<(usize, usize, usize)> = panels(all, shape.vectors, product.n, lanes);
    let (b, b_bytes, matrix_bytes) = match &product.right {
        Right::Packed { matrices, .. } => {
            let buffer = pack(builder, matrices, &product, &emit.columns, &panels, lanes);
            let bytes = builder.buffers[buffer.0].bytes;
            (Pointer { buffer, offset: 0 }, bytes, bytes as i64 / matrices.len() as i64)
        }
        Right::InPlace { place, .. } => (Job::pointer(place, Dtype::F32), 0, 0),
    };
    let mut batch = product.batch.clone();
    if let Right::Packed { steps, .. } = &product.right {
        for (level, step) in batch.iter_mut().zip(steps) {
            level.b = *step as i64 * matrix_bytes;
        }
    }
    let tiles = |total, most| split(total, most).iter().map(|s| s.0).sum::<usize>();
    let turns = tiles(product.y.count, shape.y) * tiles(product.x.count, shape.x);
    // a panel stays in L2 over all rows, or the rows stay over all panels; few rows wait less for weights that
    // come from beyond L2 when each panel is fetched ahead
    let whole = depth as u64 * (all * lanes) as u64 * 4;
    let rows_bytes = [&product.y, &product.x].map(|l| l.count as u64 * l.a.unsigned_abs()).into_iter().max().unwrap_or(0);
    let few = turns <= 16 && whole > 2 * facts.caches[0] && rows_bytes <= facts.caches[1] / 2;
    let panels_outside = whole > facts.caches[1] * 3 / 4 || few;
    let lines = 4 * shape.vectors * facts.vector_bytes as usize / 64;
    if panels_outside && emit.pitch.is_none() && turns > 1 && memory < 2 {
        emit.ahead = Some((P(next + u8::from(emit.scratch.is_some())), lines.div_ceil(turns)));
    }
    let mut w = Writer::new();
    emit.batches(&batch, 0, &mut w, &|w: &mut Writer| emit.grid(shape, &panels, panels_outside, depth, w));
    let name = format!("{}_{}x{}", product.name, shape.y * shape.x, shape.vectors * lanes);
    let (mut args, mut pointers) = (Vec::new(), Vec::new());
    let reach = |pick: &dyn Fn(&Level) -> i64| {
        let levels = batch.iter().chain([&product.y, &product.x]);
        range(levels.map(|l| (l.count, pick(l))))
    };
    let k_reach = range(product.segments.iter().chain([&product.run]).map(|s| (s.count, s.a)));
    let a = reach(&|l| l.a);
    args.push(arg("a", Access::Read, a.0 + k_reach.0, a.1 + k_reach.1 + 4));
    pointers.push(Job::pointer(&product.a, Dtype::F32));
    let b_high = match emit.pitch {
        Some(pitch) => {
            let moved = reach(&|l| l.b);
            let rows = range([(depth, pitch)].into_iter());
            args.push(arg("b", Access::Read, moved.0 + rows.0, moved.1 + rows.1 + product.n as i64 * 4));
            None
        }
        None => Some(b_bytes as i64),
    };
    if let Some(high) = b_high {
        args.push(arg("b", Access::Read, 0, high));
    }
    pointers.push(b);
    let c = reach(&|l| l.c);
    args.push(arg("c", Access::ReadWrite, c.0, c.1 + product.n as i64 * 4));
    pointers.push(Job::pointer(&product.c, Dtype::F32));
    for (i, extra) in product.extras.iter().enumerate() {
        if let Extra::Memory { place, dtype, contiguous } = extra {
            let e = reach(&|l| l.extra[i]);
            args.push(arg("extra", Access::Read, e.0, e.1 + if *contiguous { product.n as i64 * 4 } else { 4 }));
            pointers.push(Job::pointer(place, *dtype));
        }
    }
    if emit.scratch.is_some() {
        let bytes = (shape.y * shape.x * shape.vectors * lanes * 4) as u64;
        let buffer = builder.buffer("sums", Home::Scratch, bytes);
        args.push(arg("sums", Access::ReadWrite, 0, bytes as i64));
        pointers.push(Pointer { buffer, offset: 0 });
    }
    let macs = product.macs;
    let kernel: Kernel = kernel(name, args, w);
    builder.call(kernel, &pointers, macs);
    true
}

/// Smallest and largest offset that loops reach.
fn range(levels: impl Iterator<Item = (usize, i64)>) -> (i64, i64) {
    levels.fold((0, 0), |(low, high), (count, step)| {
        let end = (count as i64 - 1) * step;
        (low + end.min(0), high + end.max(0))
    })
}

/// Panels as `(count, vectors, valid columns of the last)`: full ones, then a narrower rest.
fn panels(all: usize, vectors: usize, n: usize, lanes: usize) -> Vec<(usize, usize, usize)> {
    let valid = |vectors: usize, first: usize| (n - first * lanes).min(vectors * lanes);
    let full = all / vectors;
    let mut out = Vec::new();
    let rest = all % vectors;
    if rest > 0 {
        if full > 0 {
            out.push((full, vectors, vectors * lanes));
        }
        out.push((1, rest, valid(rest, full * vectors)));
    } else if n.is_multiple_of(lanes) {
        out.push((full, vectors, vectors * lanes));
    } else {
        if full > 1 {
            out.push((full - 1, vectors, vectors * lanes));
        }
        out.push((1, vectors, valid(vectors, (full - 1) * vectors)));
    }
    out
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

/// `add(a, bias)` as the first thing an epilogue does costs nothing when the sums start from the bias.
pub fn start_from_bias(body: &Body, extras: &[Extra]) -> (Option<usize>, Body) {
    let keep = (None, body.clone());
    let Some(first) = body.terms.first() else { return keep };
    let other = match (first.op, first.args[0], first.args[1 % first.args.len()]) {
        (ScalarOp::Add, scalar::Arg::Param(0), scalar::Arg::Param(i)) if i > 0 => i,
        (ScalarOp::Add, scalar::Arg::Param(i), scalar::Arg::Param(0)) if i > 0 => i,
        _ => return keep,
    };
    let later = body.terms[1..].iter().flat_map(|t| &t.args).chain([&body.result]);
    let used_again = later.clone().any(|a| *a == scalar::Arg::Param(0) || *a == scalar::Arg::Param(other));
    let in_panel = matches!(extras.get(other as usize - 1), Some(Extra::Columns(t)) if t.dtype() == Dtype::F32);
    if used_again || !in_panel {
        return keep;
    }
    let rename = |a: &scalar::Arg| match *a {
        scalar::Arg::Term(0) => scalar::Arg::Param(0),
        scalar::Arg::Term(i) => scalar::Arg::Term(i - 1),
        other => other,
    };
    let terms = body.terms[1..].iter().map(|t| scalar::Term { op: t.op, args: t.args.iter().map(rename).collect() }).collect();
    (Some(other as usize - 1), Body { params: body.params, terms, result: rename(&body.result) })
}

/// Panels of B with the per-column operands behind each, for every matrix of the batch.
fn pack(
    builder: &mut Builder,
    matrices: &[Tensor],
    product: &Product,
    columns: &[usize],
    panels: &[(usize, usize, usize)],
    lanes: usize,
) -> BufferId {
    let mut parts = Vec::new();
    for (which, matrix) in matrices.iter().enumerate() {
        let mut first = 0;
        for &(count, vectors, valid) in panels {
            let width = vectors * lanes;
            let have = if count > 1 { count * width } else { valid };
            // the last axis in panels, all others in their order inside each
            let layout = |source: &Tensor, start: usize| {
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
            };
            let mut inside = vec![layout(matrix, first)];
            for &i in columns {
                let Extra::Columns(tensor) = &product.extras[i] else { continue };
                // groups have their own columns one after the other
                let base = if tensor.shape()[0] == product.n * matrices.len() { which * product.n } else { 0 };
                inside.push(layout(tensor, base + first));
            }
            parts.push(Part::Interleave { groups: count, parts: inside });
            first += have;
        }
    }
    builder.constant(Packed { align: 64, parts })
}

impl Emit<'_> {
    /// Loops over the batch levels around `inside`, which leaves every pointer where it was.
    fn batches(&self, batch: &[Level], depth: usize, w: &mut Writer, inside: &dyn Fn(&mut Writer)) {
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
        w.advance(C, level.c * times);
        for (pointer, step) in self.extra_pointer.iter().zip(&level.extra) {
            if let Some(p) = pointer {
                w.advance(*p, step * times);
            }
        }
    }

    /// Moves the streams that have columns by `columns` of them.
    fn shift_columns(&self, columns: i64, w: &mut Writer) {
        w.advance(C, columns * 4);
        for (pointer, extra) in self.extra_pointer.iter().zip(&self.product.extras) {
            if let (Some(p), Extra::Memory { contiguous: true, .. }) = (pointer, extra) {
                w.advance(*p, columns * 4);
            }
        }
    }

    /// Bytes from one panel of B to the next.
    fn panel_bytes(&self, vectors: usize, depth: usize) -> i64 {
        let width = (vectors * self.lanes * 4) as i64;
        match self.pitch {
            Some(_) => width,
            None => width * (depth + self.columns.len()) as i64,
        }
    }

    /// All rows and all panels; pointers end where they began.
    fn grid(&self, shape: Shape, panels: &[(usize, usize, usize)], panels_outside: bool, depth: usize, w: &mut Writer) {
        let (y, x) = (&self.product.y, &self.product.x);
        let rows = |w: &mut Writer, y_count: usize, x_count: usize, tile: &dyn Fn(&mut Writer, usize, usize)| {
            for (ny, sy) in split(y_count, shape.y) {
                w.repeat(ny, |w| {
                    let parts = split(x_count, shape.x);
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
        };
        let columns: usize = panels.iter().map(|(count, vectors, _)| count * vectors * self.lanes).sum();
        let bytes: i64 = panels.iter().map(|(count, vectors, _)| *count as i64 * self.panel_bytes(*vectors, depth)).sum();
        let each_panel = |w: &mut Writer, inside: &dyn Fn(&mut Writer, usize, usize)| {
            for &(count, vectors, valid) in panels {
                w.repeat(count, |w| {
                    if let Some((p, _)) = self.ahead {
                        w.push(Stmt::Point { to: p, from: B, offset: self.panel_bytes(vectors, depth) });
                    }
                    inside(w, vectors, valid);
                    w.advance(B, self.panel_bytes(vectors, depth));
                    self.shift_columns((vectors * self.lanes) as i64, w);
                });
            }
            w.advance(B, -bytes);
            self.shift_columns(-(columns as i64), w);
        };
        if !panels_outside {
            rows(w, y.count, x.count, &|w, sy, sx| each_panel(w, &|w, vectors, valid| self.tile(sy, sx, vectors, valid, depth, w)));
            return;
        }
        // rows that L2 cannot hold are taken block by block, each over all panels
        let (level, unit) = if y.count > 1 { (y, shape.y) } else { (x, shape.x) };
        let room = self.facts.caches[1] / 2 / (level.a.unsigned_abs().max(1));
        let block = ((room as usize / unit).max(1) * unit).min(level.count);
        // all of B again for each block, or all of A again for each panel
        let rows_bytes = level.count as u64 * level.a.unsigned_abs();
        let panel_count: usize = panels.iter().map(|p| p.0).sum();
        let blocked = level.count.div_ceil(block) as u64 * bytes.unsigned_abs() < panel_count as u64 * rows_bytes;
        let block = if blocked { block } else { level.count };
        for (times, size) in [(level.count / block, block), (usize::from(level.count % block > 0), level.count % block)] {
            w.repeat(times, |w| {
                let (y_count, x_count) = if y.count > 1 { (size, x.count) } else { (y.count, size) };
                each_panel(w, &|w, vectors, valid| rows(w, y_count, x_count, &|w, sy, sx| self.tile(sy, sx, vectors, valid, depth, w)));
                if block < level.count {
                    self.shift(level, size as i64, false, w);
                }
            });
        }
        if block < level.count {
            self.shift(level, -(level.count as i64), false, w);
        }
    }

    /// Bytes from the tile's first row to row `r`, for a stream.
    fn row(&self, r: usize, x_rows: usize, pick: impl Fn(&Level) -> i64) -> i64 {
        (r / x_rows) as i64 * pick(&self.product.y) + (r % x_rows) as i64 * pick(&self.product.x)
    }

    /// One tile: sums over all of K, then the epilogue. Pointers end where they began.
    fn tile(&self, y_rows: usize, x_rows: usize, vectors: usize, valid: usize, depth: usize, w: &mut Writer) {
        let rows = y_rows * x_rows;
        let mut pool = Pool::new(self.facts);
        let mut take = || pool.take().expect("the tile was chosen to fit");
        let sums: Vec<Vec<V>> = (0..rows).map(|_| (0..vectors).map(|_| take()).collect()).collect();
        let right: Vec<V> = if rows == 1 && self.facts.menu.memory_operand {
            Vec::new()
        } else {
            (0..if rows == 1 { 1 } else { vectors }).map(|_| take()).collect()
        };
        let left: Option<V> = (rows == 1 || !left_in_memory(self.facts, vectors)).then(&mut take);
        let width = (vectors * self.lanes * 4) as i64;
        let behind = depth as i64 * width;
        let column = |extra: usize, v: usize| {
            let at = self.columns.iter().position(|&c| c == extra).expect("it is one of the columns");
            behind + at as i64 * width + (v * self.lanes * 4) as i64
        };
        for (r, row) in sums.iter().enumerate() {
            for (v, &to) in row.iter().enumerate() {
                match self.start {
                    Some(_) if r > 0 => w.push(Stmt::Copy { to, from: sums[0][v] }),
                    Some(bias) => w.push(Stmt::Load { to, at: at(B, column(bias, v)), lanes: self.lanes as u8 }),
                    None => w.push(Stmt::Set { to, bits: 0 }),
                }
            }
        }
        let pitch = self.pitch.unwrap_or(width);
        let last_lanes = valid - (vectors - 1) * self.lanes;
        let step = |w: &mut Writer, u: usize| {
            let b_at = |v: usize| at(B, u as i64 * pitch + (v * self.lanes * 4) as i64);
            // packed panels are padded; B in place is not
            let lanes = |v: usize| if self.pitch.is_some() && v + 1 == vectors { last_lanes as u8 } else { self.lanes as u8 };
            let a_at = |r: usize| at(A, u as i64 * self.product.run.a + self.row(r, x_rows, |l| l.a));
            if rows == 1 {
                let left = left.expect("one row keeps its element in a register");
                w.push(Stmt::Splat { to: left, at: a_at(0) });
                for v in 0..vectors {
                    if right.is_empty() && lanes(v) as usize == self.lanes {
                        w.mul_add(sums[0][v], left, Operand::Memory(b_at(v)));
                    } else {
                        let to = right.first().copied().or_else(|| spare(&sums, left, self.facts)).expect("one register is free");
                        w.push(Stmt::Load { to, at: b_at(v), lanes: lanes(v) });
                        w.mul_add(sums[0][v], left, Operand::V(to));
                    }
                }
                return;
            }
            for (v, &to) in right.iter().enumerate() {
                w.push(Stmt::Load { to, at: b_at(v), lanes: lanes(v) });
            }
            for (r, row) in sums.iter().enumerate() {
                if let Some(left) = left {
                    w.push(Stmt::Splat { to: left, at: a_at(r) });
                }
                for (v, &acc) in row.iter().enumerate() {
                    match left {
                        Some(left) => w.mul_add(acc, right[v], Operand::V(left)),
                        None => w.mul_add(acc, right[v], Operand::Splat(a_at(r))),
                    }
                }
            }
        };
        self.depth_loops(0, pitch, &step, w);
        w.advance(B, -(depth as i64 * pitch));
        for v in right.into_iter().chain(left) {
            pool.give(v);
        }
        if let Some(scratch) = self.scratch {
            let spot = |r: usize, v: usize| at(scratch, ((r * vectors + v) * self.lanes * 4) as i64);
            for (r, row) in sums.iter().enumerate() {
                for (v, &from) in row.iter().enumerate() {
                    w.push(Stmt::Store { from, at: spot(r, v), lanes: self.lanes as u8 });
                    pool.give(from);
                }
            }
            let fits = self.epilogue(x_rows, vectors, last_lanes, &column, &mut pool, w, &|_, r, v| Param::Memory(spot(r, v)), rows);
            fits.expect("the epilogue was tried before");
        } else {
            self.epilogue(x_rows, vectors, last_lanes, &column, &mut pool, w, &|_, r, v| Param::Owned(sums[r][v]), rows)
                .expect("the epilogue was tried before");
        }
    }

    /// Writes the epilogue for every vector of the tile and stores it.
    #[allow(clippy::too_many_arguments)]
    fn epilogue(
        &self,
        x_rows: usize,
        vectors: usize,
        last_lanes: usize,
        column: &dyn Fn(usize, usize) -> i64,
        pool: &mut Pool,
        w: &mut Writer,
        sum: &dyn Fn(&mut Writer, usize, usize) -> Param,
        rows: usize,
    ) -> Result<(), body::Pressure> {
        let mut emitter = Emitter::new(self.facts);
        let mut types = vec![Dtype::F32];
        types.extend(self.product.extras.iter().map(|e| match e {
            Extra::Columns(t) => t.dtype(),
            Extra::Memory { dtype, .. } => *dtype,
        }));
        for v in 0..vectors {
            let lanes = if v + 1 == vectors { last_lanes } else { self.lanes } as u8;
            for r in 0..rows {
                let mut params = vec![sum(w, r, v)];
                for (i, extra) in self.product.extras.iter().enumerate() {
                    params.push(match (extra, self.extra_pointer[i]) {
                        (Extra::Memory { contiguous: true, .. }, Some(p)) => {
                            Param::Memory(at(p, self.row(r, x_rows, |l| l.extra[i]) + (v * self.lanes * 4) as i64))
                        }
                        (Extra::Memory { .. }, Some(p)) => Param::Splat(at(p, self.row(r, x_rows, |l| l.extra[i]))),
                        _ => Param::Memory(at(B, column(i, v))),
                    });
                }
                let result = emitter.emit(&self.body, &types, &params, lanes, pool, w)?;
                w.push(Stmt::Store { from: result, at: at(C, self.row(r, x_rows, |l| l.c) + (v * self.lanes * 4) as i64), lanes });
                pool.give(result);
            }
        }
        emitter.finish(pool);
        Ok(())
    }

    /// Whether the epilogue finds registers behind a full tile: beside the sums, or once they are in scratch.
    fn epilogue_fits(&self, shape: Shape, from_scratch: bool) -> bool {
        let mut pool = Pool::new(self.facts);
        let rows = shape.y * shape.x;
        let kept = if from_scratch { 0 } else { rows * shape.vectors };
        let sums: Vec<V> = (0..kept).map(|_| pool.take().expect("the tile was chosen to fit")).collect();
        let sum = |_: &mut Writer, r: usize, v: usize| match from_scratch {
            true => Param::Memory(at(C, 0)),
            false => Param::Owned(sums[r * shape.vectors + v]),
        };
        self.epilogue(shape.x, shape.vectors, self.lanes, &|_, _| 0, &mut pool, &mut Writer::new(), &sum, rows).is_ok()
    }

    /// The loops over K around `step`; A ends where it began, B behind the last row.
    fn depth_loops(&self, level: usize, pitch: i64, step: &dyn Fn(&mut Writer, usize), w: &mut Writer) {
        if let Some(segment) = self.product.segments.get(level) {
            w.repeat(segment.count, |w| {
                self.depth_loops(level + 1, pitch, step, w);
                w.advance(A, segment.a);
            });
            w.advance(A, -(segment.count as i64 * segment.a));
            return;
        }
        let run = self.product.run;
        // short runs are written out, where long ones are unrolled at all
        let unroll = self.facts.unroll as usize;
        let unroll = if run.count <= 2 * unroll { run.count } else { unroll };
        let (times, rest) = (run.count / unroll, run.count % unroll);
        w.repeat(times, |w| {
            for u in 0..unroll {
                step(w, u);
            }
            if let Some((p, lines)) = self.ahead {
                (0..lines).for_each(|i| w.push(Stmt::Prefetch { at: at(p, i as i64 * 64) }));
                w.advance(p, lines as i64 * 64);
            }
            w.advance(A, unroll as i64 * run.a);
            w.advance(B, unroll as i64 * pitch);
        });
        for u in 0..rest {
            step(w, u);
        }
        w.advance(B, rest as i64 * pitch);
        w.advance(A, -((times * unroll) as i64 * run.a));
    }
}

/// A register that neither sums nor A use.
fn spare(sums: &[Vec<V>], left: V, facts: &Facts) -> Option<V> {
    (0..facts.vectors).map(V).find(|v| *v != left && !sums.iter().flatten().any(|s| s == v))
}
