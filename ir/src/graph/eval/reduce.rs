//! Operators that work along axes: reductions, softmax, normalisation, running sums. The axes are moved to the back,
//! every row is worked on by itself in f64 or exact integers, and the axes are moved home again.

use super::{Cell, EvalError, with_cell};
use crate::graph::op::{ArgKind, CumulateKind, ReduceKind};
use crate::scalar::lanes::{Kind, Wide, kind as kind_of};
use crate::tensor::{Dtype, Tensor};

/// A view with `axes` behind all others, and the way back.
struct Rows {
    view: Tensor,
    /// Elements of a row.
    len: usize,
    /// Axis `i` of the view is this axis of the operand.
    perm: Vec<usize>,
    /// How many axes were moved.
    moved: usize,
}

fn rows(x: &Tensor, axes: &[usize]) -> Rows {
    let mut perm: Vec<usize> = (0..x.shape().len()).filter(|i| !axes.contains(i)).collect();
    let mut sorted = axes.to_vec();
    sorted.sort();
    perm.extend(&sorted);
    Rows { view: x.permute(&perm), len: axes.iter().map(|&a| x.shape()[a]).product(), perm, moved: axes.len() }
}

impl Rows {
    /// Rows of elements in the order of the operand.
    fn home(&self, made: Tensor) -> Tensor {
        let back: Vec<usize> =
            (0..self.perm.len()).map(|i| self.perm.iter().position(|&p| p == i).expect("a permutation has every axis")).collect();
        made.permute(&back)
    }

    /// The shape with one element for each row.
    fn reduced(&self) -> Vec<usize> {
        let kept = self.view.shape().len() - self.moved;
        let mut shape = self.view.shape().to_vec();
        shape[kept..].fill(1);
        shape
    }

    /// One value for each row.
    fn fold<T: Cell, R>(&self, f: impl Fn(&[T]) -> R) -> Vec<R> {
        let all = T::unpack(&self.view);
        let count: usize = self.reduced().iter().product();
        (0..count).map(|i| f(&all[i * self.len..][..self.len])).collect()
    }

    /// Every row changed in place.
    fn change<T: Cell>(&self, f: impl Fn(&mut [T])) -> Vec<T> {
        let mut all = T::unpack(&self.view);
        if self.len > 0 {
            all.chunks_exact_mut(self.len).for_each(f);
        }
        all
    }
}

pub fn reduce(x: &Tensor, kind: ReduceKind, axes: &[usize]) -> Tensor {
    let (rows, dtype) = (rows(x, axes), x.dtype());
    let made = with_cell!(dtype, T => rows.fold(|row: &[T]| fold(row, kind, dtype)));
    rows.home(made.narrow(dtype).store(dtype, &rows.reduced()))
}

fn fold<T: Cell>(row: &[T], kind: ReduceKind, dtype: Dtype) -> T {
    let all = row.iter().copied();
    match kind {
        ReduceKind::Sum => all.fold(T::ZERO, T::add),
        ReduceKind::Mean => all.fold(T::ZERO, T::add).over(row.len()),
        ReduceKind::Prod => all.fold(T::ONE, T::mul),
        ReduceKind::Max => all.fold(T::least(dtype), T::max),
        ReduceKind::Min => all.fold(T::most(dtype), T::min),
    }
}

/// A NaN counts as the largest and as the smallest, as numpy has it. Fault: an empty axis has no element to name.
pub fn arg_reduce(x: &Tensor, kind: ArgKind, axis: usize, last: bool) -> Result<Tensor, EvalError> {
    if x.shape()[axis] == 0 && x.shape().iter().enumerate().all(|(i, &n)| i == axis || n > 0) {
        return Err(EvalError::Data(format!("axis {axis} of {} is empty", x.ty())));
    }
    let rows = rows(x, &[axis]);
    let made = match kind_of(x.dtype()) {
        Kind::F32 | Kind::F64 => rows.fold(|row: &[f64]| find(row, kind, last)),
        Kind::I64 => rows.fold(|row: &[i64]| find(row, kind, last)),
        Kind::U64 => rows.fold(|row: &[u64]| find(row, kind, last)),
    };
    Ok(rows.home(Tensor::i64s(&rows.reduced(), &made)))
}

/// The position of the element wanted.
fn find<T: Cell>(row: &[T], kind: ArgKind, last: bool) -> i64 {
    let nan = |v: &T| v.partial_cmp(v).is_none();
    let mut best = 0;
    for (i, value) in row.iter().enumerate() {
        let order = value.partial_cmp(&row[best]);
        let beyond = match kind {
            ArgKind::Max => order.is_some_and(|o| o.is_gt()),
            ArgKind::Min => order.is_some_and(|o| o.is_lt()),
        };
        let first_nan = nan(value) && !nan(&row[best]);
        let again = order.is_some_and(|o| o.is_eq()) || (nan(value) && nan(&row[best]));
        if beyond || first_nan || (last && again) {
            best = i;
        }
    }
    best as i64
}

pub fn cumulate(x: &Tensor, kind: CumulateKind, axis: usize, exclusive: bool, reverse: bool) -> Tensor {
    let (rows, dtype) = (rows(x, &[axis]), x.dtype());
    let made = with_cell!(dtype, T => rows.change(|row: &mut [T]| {
        if reverse {
            run(row.iter_mut().rev(), kind, exclusive);
        } else {
            run(row.iter_mut(), kind, exclusive);
        }
    }));
    rows.home(made.narrow(dtype).store(dtype, rows.view.shape()))
}

fn run<'a, T: Cell + 'a>(row: impl Iterator<Item = &'a mut T>, kind: CumulateKind, exclusive: bool) {
    let (mut so_far, join): (T, fn(T, T) -> T) = match kind {
        CumulateKind::Sum => (T::ZERO, T::add),
        CumulateKind::Prod => (T::ONE, T::mul),
    };
    for value in row {
        let with = join(so_far, *value);
        *value = if exclusive { so_far } else { with };
        so_far = with;
    }
}

/// Positions in the order of their elements; a NaN is the largest.
pub fn sort(x: &Tensor, axis: usize, descending: bool) -> Tensor {
    let rows = rows(x, &[axis]);
    let mut wide = Vec::with_capacity(x.elements());
    match kind_of(x.dtype()) {
        Kind::F32 | Kind::F64 => rows.fold(|row: &[f64]| order(row, descending)),
        Kind::I64 => rows.fold(|row: &[i64]| order(row, descending)),
        Kind::U64 => rows.fold(|row: &[u64]| order(row, descending)),
    }
    .into_iter()
    .for_each(|row| wide.extend(row));
    rows.home(Tensor::i64s(rows.view.shape(), &wide))
}

fn order<T: Cell>(row: &[T], descending: bool) -> Vec<i64> {
    let nan = |v: &T| v.partial_cmp(v).is_none();
    let mut places: Vec<i64> = (0..row.len() as i64).collect();
    // without an order between them, one of the two at least is a NaN
    let compare = |a: &T, b: &T| a.partial_cmp(b).unwrap_or_else(|| nan(a).cmp(&nan(b)));
    places.sort_by(|&a, &b| {
        let (a, b) = (&row[a as usize], &row[b as usize]);
        if descending { compare(b, a) } else { compare(a, b) }
    });
    places
}

/// The operand is of floats; of types smaller than f32 every step is rounded.
pub fn softmax(x: &Tensor, axis: usize, log: bool) -> Tensor {
    let dtype = if x.dtype().bytes() < 4 { x.dtype() } else { Dtype::F64 };
    let settled = |value: f64| value.settled(dtype);
    floats(x, &[axis], |row| {
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter_mut().for_each(|x| *x = settled(*x - most));
        let exp = |x: &f64| settled(x.exp());
        let sum = settled(row.iter().map(exp).sum());
        let ln = settled(sum.ln());
        row.iter_mut().for_each(|x| *x = if log { *x - ln } else { exp(x) / sum });
    })
}

/// The operand is of floats.
pub fn norm(x: &Tensor, axes: &[usize], epsilon: f64, center: bool) -> Tensor {
    floats(x, axes, |row| {
        let count = row.len() as f64;
        let mean = if center { row.iter().sum::<f64>() / count } else { 0.0 };
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
        let deviation = (variance + epsilon).sqrt();
        row.iter_mut().for_each(|x| *x = (*x - mean) / deviation);
    })
}

fn floats(x: &Tensor, axes: &[usize], f: impl Fn(&mut [f64])) -> Tensor {
    let (rows, dtype): (Rows, Dtype) = (rows(x, axes), x.dtype());
    let made = Wide::F64(rows.change(f));
    rows.home(made.narrow(dtype).store(dtype, rows.view.shape()))
}
