//! Products of narrow integers whose second factor is computed. It is woven into words at run time, as constants are when
//! they are packed ([`super::words`]), and the product takes it where it lies. What the sign of bytes is worth in a sum depends on the
//! columns' sums then, which are taken beside it. Where the way of multiplying bytes depends on the weights themselves, both factors
//! become numbers of 16 bits first.

use super::way::Weights;
use super::{Factors, Right, Way, emit, extras_of, left, matrix, product, with_batch};
use crate::build::{Builder, Home};
use crate::place::{Place, dense_strides};
use crate::tile::{Writer, arg, at, kernel};
use crate::{Job, Source, Where, copy, generic, pointwise, reduce};
use ir::Dtype;
use ir::graph::op::{Op, ReduceKind};
use ir::kernel::tile::{Binary, Operand, P, Stmt, V};
use ir::kernel::{Access, Kernel};
use ir::quant;
use ir::scalar::{Arg, Body, Literal, ScalarOp};

/// Bytes that are woven at once, of each row.
const BLOCK: usize = 16;

/// Operands behind the sums that a product takes.
const MOST_EXTRAS: usize = 2;

const FROM: P = P(0);
const TO: P = P(1);

/// Emits the dot of `job`, whose factors are narrow, the first along K.
pub(super) fn lower(job: &Job, factors: Factors, builder: &mut Builder) -> bool {
    let Op::Dot { trans_b, epilogue, .. } = job.op else { return false };
    let (a, b) = (&job.operands[0], &job.operands[1]);
    let rank = job.shape.len();
    let (m, n) = (job.shape[rank - 2], job.shape[rank - 1]);
    let k = a.shape[a.shape.len() - 1];
    if n * factors.b.bytes() < BLOCK || job.place.strides[rank - 1] != 1 {
        return false;
    }
    let lead: usize = job.shape[..rank - 2].iter().product();
    let way = Way::of(builder.facts, factors, &Weights::UNKNOWN).filter(|way| !way.by_columns());
    let Some(way) = way.map(|way| way.for_rows(builder.facts, lead * m)) else {
        return builder.facts.menu.pair16 && factors.a.bytes() == 1 && as_halves(job, builder);
    };
    let Some(a_at) = left(a, false, &job.shape, builder) else { return false };
    // an element of a column adds as much to what the sum misses as any other
    let worth = way.missing(&[1]);
    if usize::from(worth != 0) + job.operands.len() - 2 > MOST_EXTRAS && !epilogue.is_identity() {
        return apart(job, builder);
    }
    let mut operands = job.operands[2..].to_vec();
    let mut body = epilogue.clone();
    if worth != 0 {
        let Some(sums) = sums_of_columns(b, *trans_b, worth, builder) else { return false };
        operands.push(sums);
        body = behind_another(epilogue);
    }
    let Some(behind) = extras_of(factors.sum(), &operands, &body, &job.shape, builder) else { return false };
    let Some((words, shape)) = woven(b, *trans_b, factors, builder) else { return false };
    let pitch = words.strides[shape.len() - 2] * 4;
    let batch = &job.shape[..rank - 2];
    let place = words.expand(&shape, &with_batch(batch, &shape));
    let steps = place.strides[..rank - 2].iter().map(|stride| stride * 4).collect();
    emit(product(job, factors, (a_at, k), (Right::InPlace { place, pitch, padded: true }, steps), behind), builder)
}

/// The epilogue behind a sum to which the operand behind all others was added.
fn behind_another(epilogue: &Body) -> Body {
    let params = epilogue.params;
    let mut body = Body { params: params + 1, terms: Vec::new(), result: Arg::Param(0) };
    let sum = body.push(ScalarOp::Add, &[Arg::Param(0), Arg::Param(params)]);
    let binding: Vec<Arg> = [sum].into_iter().chain((1..params).map(Arg::Param)).collect();
    body.result = body.inline(epilogue, &binding);
    body
}

/// The sums alone, and a map of them.
fn apart(job: &Job, builder: &mut Builder) -> bool {
    let Op::Dot { trans_a, trans_b, epilogue } = job.op else { return false };
    let bytes = job.shape.iter().product::<usize>() as u64 * 4;
    let place = Place::dense(builder.buffer("sums", Home::Arena, bytes), &job.shape);
    let op = Op::Dot { trans_a: *trans_a, trans_b: *trans_b, epilogue: Body::identity() };
    let operands = job.operands[..2].to_vec();
    let sums = Job { op: &op, operands, shape: job.shape.clone(), dtype: Dtype::I32, place: place.clone(), blocked: None };
    let Some(factors) = Factors::of(job.operands[0].dtype, job.operands[1].dtype) else { return false };
    if !lower(&sums, factors, builder) {
        return false;
    }
    let sum = Source { shape: job.shape.clone(), dtype: Dtype::I32, at: Where::Place(place) };
    let operands = [sum].into_iter().chain(job.operands[2..].iter().cloned()).collect();
    let map = Op::Map { body: epilogue.clone() };
    let map = Job { op: &map, operands, shape: job.shape.clone(), dtype: job.dtype, place: job.place.clone(), blocked: None };
    pointwise::lower(&map, builder) || generic::lower(&map, builder).is_ok()
}

/// The same product of numbers of 16 bits.
fn as_halves(job: &Job, builder: &mut Builder) -> bool {
    let wide = [0, 1].map(|i| widened(&job.operands[i], builder));
    let [Some(a), Some(b)] = wide else { return false };
    let operands = [a, b].into_iter().chain(job.operands[2..].iter().cloned()).collect();
    let halves = Job { op: job.op, operands, shape: job.shape.clone(), dtype: job.dtype, place: job.place.clone(), blocked: None };
    lower(&halves, Factors { a: Dtype::I16, b: Dtype::I16 }, builder)
}

/// Bytes as numbers of 16 bits in the arena.
fn widened<'g>(bytes: &Source<'g>, builder: &mut Builder) -> Option<Source<'g>> {
    let op = Op::Map { body: quant::body(1, |b| b.push(ScalarOp::Cast(Dtype::I16), &[Arg::Param(0)])) };
    let size = 2 * bytes.shape.iter().product::<usize>() as u64;
    let place = Place::dense(builder.buffer("halves", Home::Arena, size), &bytes.shape);
    let job =
        Job { op: &op, operands: vec![bytes.clone()], shape: bytes.shape.clone(), dtype: Dtype::I16, place: place.clone(), blocked: None };
    pointwise::lower(&job, builder).then(|| Source { dtype: Dtype::I16, at: Where::Place(place), ..bytes.clone() })
}

/// `worth` times the sum of each column of `b`, as a row.
fn sums_of_columns<'g>(b: &Source<'g>, swapped: bool, worth: i32, builder: &mut Builder) -> Option<Source<'g>> {
    let rank = b.shape.len();
    let (depth, columns) = if swapped { (rank - 1, rank - 2) } else { (rank - 2, rank - 1) };
    let prologue = quant::body(1, |b| b.push(ScalarOp::Cast(Dtype::I32), &[Arg::Param(0)]));
    let factor = Arg::Literal(Literal::int(Dtype::I32, worth.into()));
    let epilogue = quant::body(1, |b| b.push(ScalarOp::Mul, &[Arg::Param(0), factor]));
    let op = Op::Reduce { kind: ReduceKind::Sum, axes: vec![depth], prologue, epilogue };
    let mut shape = b.shape.clone();
    shape[depth] = 1;
    let bytes = shape.iter().product::<usize>() as u64 * 4;
    let place = Place::dense(builder.buffer("columns", Home::Arena, bytes), &shape);
    let job = Job { op: &op, operands: vec![b.clone()], shape: shape.clone(), dtype: Dtype::I32, place: place.clone(), blocked: None };
    if !reduce::lower(&job, builder) && generic::lower(&job, builder).is_err() {
        return None;
    }
    let mut row = [&shape[..rank - 2], &[1, b.shape[columns]]].concat();
    row[rank - 2] = 1;
    let place = matrix(&place, swapped);
    Some(Source { shape: row, dtype: Dtype::I32, at: Where::Place(place) })
}

/// `b` as words `[.., steps, n]` in the arena, and that shape. Rows have room for whole vectors.
fn woven(b: &Source, swapped: bool, factors: Factors, builder: &mut Builder) -> Option<(Place, Vec<usize>)> {
    let (width, per) = (factors.b.bytes(), factors.in_step());
    let mut shape = b.shape.clone();
    let rank = shape.len();
    if swapped {
        shape.swap(rank - 1, rank - 2);
    }
    let mut from = matrix(&b.place(builder), swapped);
    let (k, n) = (shape[rank - 2], shape[rank - 1]);
    let words = [&shape[..rank - 2], &[k.div_ceil(per), n]].concat();
    let room = [&words[..rank - 1], &[n.next_multiple_of(builder.facts.lanes())]].concat();
    let bytes = room.iter().product::<usize>() as u64 * 4;
    let to = Place { strides: dense_strides(&room), ..Place::dense(builder.buffer("woven", Home::Arena, bytes), &room) };
    // what follows along K is woven already
    let per = per as i64;
    let outer = |i: &usize| *i != rank - 2 && shape[*i] > 1;
    let whole = (0..rank).filter(outer).all(|i| from.strides[i] % per == 0) && from.offset % per == 0 && k as i64 % per == 0;
    if from.strides[rank - 2] == 1 && whole {
        let strides = (0..rank).map(|i| if i == rank - 2 { 1 } else { from.strides[i] / per }).collect();
        let from = Place { offset: from.offset / per, strides, ..from };
        copy::copy(builder, Dtype::I32, &words, &from, &to);
        return Some((to, words));
    }
    if from.strides[rank - 1] != 1 {
        let size = (shape.iter().product::<usize>() * width) as u64;
        let dense = Place::dense(builder.buffer("transposed", Home::Arena, size), &shape);
        copy::copy(builder, factors.b, &shape, &from, &dense);
        from = dense;
    }
    let weave = Weave {
        width,
        k,
        n,
        row: from.strides[rank - 2] * width as i64,
        pitch: to.strides[rank - 2] * 4,
        lead: (0..rank - 2).filter(|&i| shape[i] > 1).map(|i| (shape[i], from.strides[i] * width as i64, to.strides[i] * 4)).collect(),
    };
    if weave.lead.len() > 3 || weave.row < 0 || weave.lead.iter().any(|l| l.1 < 0) {
        return None;
    }
    builder.call(weave.kernel(), &[Job::pointer(&from, factors.b), Job::pointer(&to, Dtype::I32)], 0);
    Some((to, words))
}

/// Rows of a matrix to words.
struct Weave {
    /// Bytes of an element.
    width: usize,
    k: usize,
    n: usize,
    /// Bytes from row to row, and from one row of words to the next.
    row: i64,
    pitch: i64,
    /// Matrices: how many, and how far apart in bytes, here and there.
    lead: Vec<(usize, i64, i64)>,
}

impl Weave {
    fn kernel(&self) -> Kernel {
        let mut w = Writer::new();
        self.matrices(&self.lead, &mut w);
        let steps = self.k.div_ceil(4 / self.width) as i64;
        let far = |pick: fn(&(usize, i64, i64)) -> i64| self.lead.iter().map(|l| (l.0 as i64 - 1) * pick(l)).sum::<i64>();
        let read = far(|l| l.1) + (self.k as i64 - 1) * self.row + (self.n * self.width) as i64;
        let write = far(|l| l.2) + (steps - 1) * self.pitch + self.n as i64 * 4;
        kernel("weave", vec![arg("from", Access::Read, 0, read), arg("to", Access::Write, 0, write)], w)
    }

    fn matrices(&self, lead: &[(usize, i64, i64)], w: &mut Writer) {
        let Some((&(count, from, to), rest)) = lead.split_first() else { return self.matrix(w) };
        w.repeat(count, |w| {
            self.matrices(rest, w);
            w.advance(FROM, from);
            w.advance(TO, to);
        });
        w.advance(FROM, -from * count as i64);
        w.advance(TO, -to * count as i64);
    }

    fn matrix(&self, w: &mut Writer) {
        let per = 4 / self.width;
        let (whole, rest) = (self.k / per, self.k % per);
        w.repeat(whole, |w| {
            self.step(0, w);
            w.advance(FROM, per as i64 * self.row);
            w.advance(TO, self.pitch);
        });
        let done = whole as i64;
        if rest > 0 {
            // it begins early: what it has twice is 0
            let early = (per - rest) as i64 * self.row;
            w.advance(FROM, -early);
            self.step(per - rest, w);
            w.advance(FROM, early);
        }
        w.advance(FROM, -done * per as i64 * self.row);
        w.advance(TO, -done * self.pitch);
    }

    /// The rows of a step, the first of which are 0.
    fn step(&self, zeros: usize, w: &mut Writer) {
        let columns = BLOCK / self.width;
        let (blocks, rest) = (self.n / columns, self.n % columns);
        let moved = |w: &mut Writer, columns: i64| {
            w.advance(FROM, columns * self.width as i64);
            w.advance(TO, columns * 4);
        };
        w.repeat(blocks, |w| {
            self.block(zeros, w);
            moved(w, columns as i64);
        });
        let mut ahead = (blocks * columns) as i64;
        if rest > 0 {
            // the last columns, some of them once more
            let back = (columns - rest) as i64;
            moved(w, -back);
            ahead -= back;
            self.block(zeros, w);
        }
        moved(w, -ahead);
    }

    fn block(&self, zeros: usize, w: &mut Writer) {
        let per = 4 / self.width;
        let rows: Vec<V> = (0..per as u8).map(V).collect();
        for (i, &to) in rows.iter().enumerate() {
            w.push(match i < zeros {
                true => Stmt::Set { to, bits: 0 },
                false => Stmt::Load { to, at: at(FROM, i as i64 * self.row), lanes: 4 },
            });
        }
        let mut zip = |op: Binary, to: u8, a: V, b: V| {
            w.binary(op, V(to), a, Operand::V(b));
            V(to)
        };
        let pairs = match self.width {
            1 => {
                let low = [zip(Binary::ZipLow8, 4, rows[0], rows[1]), zip(Binary::ZipLow8, 5, rows[2], rows[3])];
                let high = [zip(Binary::ZipHigh8, 6, rows[0], rows[1]), zip(Binary::ZipHigh8, 7, rows[2], rows[3])];
                vec![low, high]
            }
            _ => vec![[rows[0], rows[1]]],
        };
        for (i, [a, b]) in pairs.into_iter().enumerate() {
            for (j, op) in [Binary::ZipLow16, Binary::ZipHigh16].into_iter().enumerate() {
                w.binary(op, V(8), a, Operand::V(b));
                w.push(Stmt::Store { from: V(8), at: at(TO, (BLOCK * (2 * i + j)) as i64), lanes: 4 });
            }
        }
    }
}
