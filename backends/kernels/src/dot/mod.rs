//! Matrix products as register tiles: a grid of output rows, all of K in one pass, the epilogue on the
//! accumulators. A convolution is the same kernel over K segments ([`crate::conv`]): in channels-last layout a
//! run of window columns and channels is contiguous.
//!
//! Rows of A are read in place through one pointer and constant displacements; constant B is packed into panels
//! `[n / width][k][width]`, each followed by its per-column epilogue constants, in order of use. After Goto & van
//! de Geijn, "Anatomy of high-performance matrix multiplication", 2008, section 4; balanced tiles, no thin rest.
//!
//! What a product is, stands here; [`choose`] picks its tile, [`emit`] writes kernel and call.

mod blocked;
mod candidates;
mod choose;
mod computed;
mod emit;
mod epilogue;
mod extras;
mod grid;
mod halves;
mod inside;
mod matrices;
mod panels;
mod parts;
mod sums;
mod unpack;
mod way;
mod words;

use crate::build::Builder;
use crate::build::Home;
use crate::copy;
use crate::place::{Place, dense_strides};
use crate::{Job, Source, Where};
pub use blocked::{Blocked, blocked};
pub use emit::emit;
pub use epilogue::is_long;
pub use extras::{Extra, extra_steps, extras, extras_of, start_from_bias};
pub use inside::{Inside, inside};
use ir::Dtype;
use ir::graph::op::Op;
use ir::scalar::Body;
use ir::tensor::Tensor;
pub use way::{Factors, Way};
pub use words::{back, words};

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
    /// Constants `[k.., n]` of 32 bits each, packed here: a batch level moves by `steps` of them. Narrow ones are [`words`].
    Packed { matrices: Vec<Tensor>, steps: Vec<usize> },
    /// In memory with contiguous columns, of 32 bits each; rows `pitch` bytes apart. `padded`: behind the last column of a row
    /// whole vectors may be read.
    InPlace { place: Place, pitch: i64, padded: bool },
}

/// A product with everything known but the tiles.
#[derive(Clone)]
pub struct Product {
    pub name: String,
    pub factors: Factors,
    /// Outermost first.
    pub batch: Vec<Level>,
    pub y: Level,
    pub x: Level,
    /// Outer loops over K, outermost first, then the innermost run.
    pub segments: Vec<Segment>,
    pub run: Segment,
    /// Bytes that the last step of a run begins early, because the run is no multiple of a step. What it then reads again
    /// meets weights that are 0.
    pub back: i64,
    pub n: usize,
    pub a: Place,
    pub right: Right,
    pub c: Place,
    /// Of the result.
    pub dtype: Dtype,
    pub extras: Vec<Extra>,
    /// Parameter 0 is the sum, then one for each of `extras`.
    pub epilogue: Body,
    pub macs: u64,
}

/// Whether [`lower`] is likely to emit the dot of `job`.
pub fn covers(job: &Job) -> bool {
    job.dtype == Dtype::F32 && job.operands[..2].iter().all(|o| o.dtype == Dtype::F32)
}

/// Emits the dot of `job`, if it is one for vectors: f32 or narrow integers, with contiguous columns of B and C.
pub fn lower(job: &Job, builder: &mut Builder) -> bool {
    if let Some(right) = &job.blocked {
        return blocked::lower(job, right, builder) || job.on_floats(|job| lower(job, builder));
    }
    let Op::Dot { trans_a, trans_b, epilogue } = job.op else { return false };
    let rank = job.shape.len();
    let n = job.shape[rank - 1];
    let (a, b) = (&job.operands[0], &job.operands[1]);
    let k = a.shape[a.shape.len() - if *trans_a { 2 } else { 1 }];
    let Some(factors) = Factors::of(a.dtype, b.dtype) else { return false };
    let narrow = factors != Factors::FLOATS;
    if narrow && (*trans_a || k < factors.in_step()) {
        return false;
    }
    if narrow && b.constant().is_none() {
        return computed::lower(job, factors, builder);
    }
    if !factors.here(builder.facts) || k == 0 || (job.place.strides[rank - 1] != 1 && n > 1) {
        return false;
    }
    let Some((extras, epilogue)) = extras_of(factors.sum(), &job.operands[2..], epilogue, &job.shape, builder) else { return false };
    let Some(a_at) = left(a, *trans_a, &job.shape, builder) else { return false };
    let batch_shape = &job.shape[..rank - 2];
    let (mut right, b_steps) = right(b, *trans_b, batch_shape, (k, n), builder);
    if let (true, Right::Packed { matrices, .. }) = (narrow, &mut right) {
        *matrices = matrices.iter().map(|m| words(m, factors, k)).collect();
    }
    emit(product(job, factors, (a_at, k), (right, b_steps), (extras, epilogue)), builder)
}

/// The first factor, lined up with the result. `None`: narrow numbers that do not follow each other along K.
fn left(a: &Source, swapped: bool, shape: &[usize], builder: &mut Builder) -> Option<Place> {
    let lead = &shape[..shape.len() - 2];
    let at = matrix(&a.place(builder).expand(&a.shape, &with_batch(lead, &a.shape)), swapped);
    let k = a.shape[a.shape.len() - if swapped { 2 } else { 1 }];
    (a.dtype == Dtype::F32 || at.strides[shape.len() - 1] == 1 || k == 1).then_some(at)
}

/// The product of `job`: the first factor with its depth, the second with what each axis of the batch moves in it, and what
/// comes behind the sums.
fn product(
    job: &Job,
    factors: Factors,
    (a_at, k): (Place, usize),
    (right, b_steps): (Right, Vec<i64>),
    (extras, epilogue): (Vec<Extra>, Body),
) -> Product {
    let narrow = factors != Factors::FLOATS;
    let rank = job.shape.len();
    let (m, n) = (job.shape[rank - 2], job.shape[rank - 1]);
    let batch_shape = &job.shape[..rank - 2];
    let element = factors.a.bytes() as i64;
    let extra_strides: Vec<Vec<i64>> = extras.iter().map(|e| extra_steps(e, rank)).collect();
    let level = |i: usize, count: usize, a: i64, b: i64| Level {
        count,
        a,
        b,
        c: job.place.strides[i] * job.dtype.bytes() as i64,
        extra: extra_strides.iter().map(|s| s[i]).collect(),
    };
    let batch = (0..rank - 2).map(|i| level(i, batch_shape[i], a_at.strides[i] * element, b_steps[i])).collect();
    let one = Level { count: 1, a: 0, b: 0, c: 0, extra: vec![0; extras.len()] };
    Product {
        name: if narrow { "dot8".into() } else { "dot".into() },
        factors,
        batch,
        y: one,
        x: level(rank - 2, m, a_at.strides[rank - 2] * element, 0),
        segments: vec![],
        run: Segment { count: k.div_ceil(factors.in_step()), a: if narrow { 4 } else { a_at.strides[rank - 1] * 4 } },
        back: back(factors, k),
        n,
        a: a_at,
        right,
        c: job.place.clone(),
        dtype: job.dtype,
        extras,
        epilogue,
        macs: job.shape.iter().product::<usize>() as u64 * k as u64,
    }
}

/// The second factor, and for each axis of the batch what it moves there: matrices if it is packed here, else bytes.
fn right(b: &Source, swapped: bool, batch_shape: &[usize], (k, n): (usize, usize), builder: &mut Builder) -> (Right, Vec<i64>) {
    let batch = batch_shape.len();
    match &b.at {
        Where::Constant(tensor) => {
            (constant_right(if swapped { swap_last(tensor) } else { (*tensor).clone() }, batch, (k, n), builder), vec![0; batch])
        }
        Where::Place(place) => {
            let (mut place, mut shape) = (matrix(place, swapped), b.shape.clone());
            let r = shape.len();
            if swapped {
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
            let steps = expanded.strides[..batch].iter().map(|stride| stride * 4).collect();
            (Right::InPlace { place: expanded, pitch, padded: false }, steps)
        }
    }
}

/// The matrices of a constant, for a result with so many batch axes.
fn constant_right(tensor: Tensor, batch: usize, (k, n): (usize, usize), builder: &mut Builder) -> Right {
    let lead = tensor.shape().len() - 2;
    let own: Vec<usize> = tensor.shape()[..lead].to_vec();
    let count: usize = own.iter().product();
    let flat = builder.reshaped(&tensor, &[count, k, n]);
    let matrices = (0..count).map(|i| flat.slice(&[i, 0, 0], &[1, 1, 1], &[1, k, n]).reshape(&[k, n])).collect();
    let strides = dense_strides(&own);
    let step = |i: usize| (i + lead).checked_sub(batch).filter(|&j| own[j] != 1).map_or(0, |j| strides[j] as usize);
    Right::Packed { matrices, steps: (0..batch).map(step).collect() }
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
