//! The order of the elements of an axis, by a heap of positions in the result itself: no scratch, and never more
//! than n log n comparisons. Positions decide between equal elements, which makes it stable.

use super::folds::Rows;
use super::terms::Terms;
use super::writer::{Memory, Writer};
use super::{Draft, split};
use crate::Job;
use crate::build::Builder;
use crate::extent::Extent;
use ir::graph::op::Op;
use ir::kernel::Access;
use ir::kernel::scalar::{Binary, Value};
use ir::scalar::{Body, ScalarOp};

pub fn sort(job: &Job, builder: &mut Builder) {
    let Op::Sort { axis, descending } = job.op else { unreachable!("called for sort") };
    let dtype = job.operands[0].dtype;
    let mut draft = Draft::new(builder);
    let rows = Rows::new(&mut draft, job, &[*axis], &Body::identity());
    let to = draft.result(job, Access::ReadWrite);
    let (to_kept, to_moved) = split(&job.place.strides, &[*axis]);
    let less = Terms::of(ScalarOp::Lt, dtype, draft.fused());
    let heap = Heap { to, step: to_moved[*axis], stride: rows.moved[*axis], count: rows.count(), rows, less, descending: *descending };
    let zero = draft.w.int(0);
    draft.w.nest(&heap.rows.kept_shape, &[&to_kept, &heap.rows.kept], &[zero, zero], &mut |w, at| heap.row(w, at[0], at[1]));
    draft.call("sort", 0);
}

/// The positions of one row, the last in order on top.
struct Heap {
    to: Memory,
    /// Elements between neighbours of a row, of positions and of what they order.
    step: i64,
    stride: i64,
    count: Extent,
    rows: Rows,
    less: Terms,
    descending: bool,
}

impl Heap {
    fn row(&self, w: &mut Writer, to: Value, from: Value) {
        w.repeat(&self.count, |w, i| {
            let at = w.offset(to, i, self.step);
            w.store(self.to, at, i);
        });
        if self.bound() < 2 {
            return;
        }
        let (count, one, two) = (w.size(&self.count), w.int(1), w.int(2));
        let half = w.binary(Binary::SDiv, count, two);
        let (none, first) = (w.int(0), w.binary(Binary::ISub, half, one));
        w.count(none, half, |w, i| {
            let root = w.binary(Binary::ISub, first, i);
            self.sink(w, to, from, root, count);
        });
        let last = w.binary(Binary::ISub, count, one);
        w.count(none, last, |w, i| {
            let (end, zero) = (w.binary(Binary::ISub, last, i), w.int(0));
            let end = w.within(end, self.bound() as usize);
            let (top, below) = (self.load(w, to, zero), self.load(w, to, end));
            self.store(w, to, zero, below);
            self.store(w, to, end, top);
            self.sink(w, to, from, zero, end);
        });
    }

    fn bound(&self) -> i64 {
        self.count.bound() as i64
    }

    fn load(&self, w: &mut Writer, to: Value, place: Value) -> Value {
        let at = w.offset(to, place, self.step);
        let position = w.load(self.to, at);
        w.require(position, self.bound())
    }

    fn store(&self, w: &mut Writer, to: Value, place: Value, position: Value) {
        let at = w.offset(to, place, self.step);
        w.store(self.to, at, position);
    }

    /// Moves what is at `root` down until nothing below comes after it; the heap ends before `end`.
    fn sink(&self, w: &mut Writer, to: Value, from: Value, root: Value, end: Value) {
        let (one, zero) = (w.int(1), w.int(0));
        let (at, going) = (w.cell(root), w.cell(one));
        let n = self.bound();
        w.whilst(
            |w| w.get(going),
            |w| {
                w.put(going, zero);
                let parent = w.get(at);
                let parent = w.require(parent, n);
                let left = w.binary(Binary::IAdd, parent, parent);
                let left = w.binary(Binary::IAdd, left, one);
                let inside = w.binary(Binary::SLt, left, end);
                w.when(inside, |w| {
                    let left = w.require(left, n);
                    let right = w.binary(Binary::IAdd, left, one);
                    let two = w.binary(Binary::SLt, right, end);
                    let right = w.select(two, right, left);
                    let right = w.require(right, n);
                    let (a, b) = (self.load(w, to, left), self.load(w, to, right));
                    let pick = self.before(w, from, a, b);
                    let (child, later) = (w.select(pick, right, left), w.select(pick, b, a));
                    let child = w.require(child, n);
                    let later = w.require(later, n);
                    let own = self.load(w, to, parent);
                    let down = self.before(w, from, own, later);
                    w.when(down, |w| {
                        self.store(w, to, child, own);
                        self.store(w, to, parent, later);
                        w.put(at, child);
                        w.put(going, one);
                    });
                });
            },
        );
    }

    /// Whether the element at position `a` comes before that at `b`.
    fn before(&self, w: &mut Writer, from: Value, a: Value, b: Value) -> Value {
        let mut element = |position: Value| {
            let at = w.offset(from, position, self.stride);
            let value = w.load(self.rows.from, at);
            self.rows.terms.emit(w, &[value])
        };
        let (x, y) = (element(a), element(b));
        let (x, y) = if self.descending { (y, x) } else { (x, y) };
        let mut less = |x: Value, y: Value| {
            let less = self.less.emit(w, &[x, y]);
            if !self.rows.terms.result.is_float() {
                return less;
            }
            let (number, nan) = (w.binary(Binary::Eq, x, x), w.binary(Binary::Ne, y, y));
            let beyond = w.binary(Binary::And, number, nan);
            w.binary(Binary::Or, less, beyond)
        };
        let (less, more) = (less(x, y), less(y, x));
        let earlier = w.binary(Binary::SLt, a, b);
        let (zero, one) = (w.int(0), w.int(1));
        let unless = w.select(more, zero, earlier);
        w.select(less, one, unless)
    }
}
