//! Matrix products, convolutions and sliding windows by their definition: one result after the other, every
//! tap's position compared with the input's extent.

use super::folds::{extreme, wide};
use super::small::computed;
use super::terms::{Terms, cast, literal};
use super::writer::{Memory, Writer};
use super::{Draft, Tail, broadcast};
use crate::Job;
use crate::build::Builder;
use crate::extent::Extent;
use crate::place::Place;
use ir::Dtype;
use ir::dim::Dim;
use ir::graph::infer::{own_type, sum_type};
use ir::graph::op::{Op, WindowKind};
use ir::kernel::Access;
use ir::kernel::scalar::{Binary, Cell, Value};
use ir::scalar::{Literal, ScalarOp};

/// The type of what the epilogue gets.
fn own(job: &Job) -> Dtype {
    let types: Vec<Dtype> = job.operands.iter().map(|o| o.dtype).collect();
    own_type(job.op, &types).expect("the operator was verified and has an epilogue")
}

/// `a * b + c` in the type that sums are taken in.
fn multiply_add(w: &mut Writer, inside: Dtype, a: Value, b: Value, c: Value) -> Value {
    if inside == Dtype::F64 {
        return w.mul_add(a, b, c);
    }
    let product = w.binary(Binary::IMul, a, b);
    w.binary(Binary::IAdd, product, c)
}

/// A sum of products, in some accumulators side by side: an addition takes longer than what it waits for.
struct Sums {
    /// Of the factors, and of what is made of them.
    types: [Dtype; 2],
    dtype: Dtype,
    inside: Dtype,
    cells: Vec<Cell>,
}

impl Sums {
    /// Zero; products of elements of `types` come in runs of `run`.
    fn new(w: &mut Writer, types: [Dtype; 2], run: &Extent) -> Sums {
        const TOGETHER: usize = 4;
        let dtype = sum_type(types[0], types[1]).expect("the operator was verified");
        let inside = wide(dtype);
        let none = literal(w, Literal::number(inside, 0.0));
        let count = if run.fixed().is_some_and(|run| run >= 2 * TOGETHER) { TOGETHER } else { 1 };
        Sums { types, dtype, inside, cells: (0..count).map(|_| w.cell(none)).collect() }
    }

    /// Adds `run` products of elements of `from`, which lie at `at` and in steps of `steps`.
    fn add(&self, w: &mut Writer, run: &Extent, from: [Memory; 2], at: [Value; 2], steps: [i64; 2]) {
        let count = self.cells.len();
        let Some(run) = run.fixed() else {
            return w.repeat(run, |w, turn| {
                let at = [0, 1].map(|i| w.offset(at[i], turn, steps[i]));
                self.product(w, 0, from, at, steps);
            });
        };
        let turns = run / count;
        w.repeat(turns, |w, turn| {
            let at = [0, 1].map(|i| w.offset(at[i], turn, steps[i] * count as i64));
            (0..count).for_each(|i| self.product(w, i, from, at, steps));
        });
        let done = w.int((turns * count) as i64);
        let at = [0, 1].map(|i| w.offset(at[i], done, steps[i]));
        (0..run - turns * count).for_each(|i| self.product(w, i, from, at, steps));
    }

    fn product(&self, w: &mut Writer, i: usize, from: [Memory; 2], at: [Value; 2], steps: [i64; 2]) {
        let number = w.int(i as i64);
        let [a, b] = [0, 1].map(|k| {
            let at = w.offset(at[k], number, steps[k]);
            let element = w.load(from[k], at);
            cast(w, self.types[k], self.inside, element)
        });
        let old = w.get(self.cells[i]);
        let new = multiply_add(w, self.inside, a, b, old);
        w.put(self.cells[i], new);
    }

    /// Adds `run` products of `fill` with elements that lie at `at` and in steps of `step`.
    fn add_fill(&self, w: &mut Writer, run: usize, fill: Literal, from: Memory, at: Value, step: i64) {
        w.repeat(run, |w, i| {
            let at = w.offset(at, i, step);
            let element = w.load(from, at);
            let b = cast(w, self.types[1], self.inside, element);
            let a = literal(w, fill);
            let a = cast(w, self.types[0], self.inside, a);
            let old = w.get(self.cells[0]);
            let new = multiply_add(w, self.inside, a, b, old);
            w.put(self.cells[0], new);
        });
    }

    /// The sum of all, as an element.
    fn total(&self, w: &mut Writer) -> Value {
        let mut sums: Vec<Value> = self.cells.iter().map(|&cell| w.get(cell)).collect();
        let plus = if self.inside == Dtype::F64 { Binary::Add } else { Binary::IAdd };
        while let [a, b, ..] = sums[..] {
            sums.drain(..2);
            let sum = w.binary(plus, a, b);
            sums.push(sum);
        }
        cast(w, self.inside, self.dtype, sums[0])
    }
}

pub fn dot(job: &Job, builder: &mut Builder) {
    let Op::Dot { trans_a, trans_b, epilogue } = job.op else { unreachable!("called for dot") };
    let (a, b) = (&job.operands[0], &job.operands[1]);
    let mut draft = Draft::new(builder);
    let types = [a.dtype, b.dtype];
    let tail = Tail::new(&mut draft, job, 2, own(job), epilogue);
    let to = draft.result(job, Access::Write);
    let ((a_memory, a_place), (b_memory, b_place)) = (draft.read("a", a), draft.read("b", b));
    let rank = job.shape.len();
    // strides along the leading axes, the result's own axis, and k
    let walk = |place: &Place, shape: &[usize], swapped: bool, own: usize| {
        let own_axis = shape.len() - 2 + usize::from((own == rank - 1) != swapped);
        let k_axis = 2 * shape.len() - 3 - own_axis;
        let mut lead = shape.to_vec();
        lead[shape.len() - 2] = 1;
        lead[shape.len() - 1] = 1;
        let mut walk = broadcast(place, &lead, &job.shape);
        walk[own] = place.strides[own_axis];
        (walk, place.strides[k_axis], shape[k_axis])
    };
    let (a_walk, a_k, k) = walk(&a_place, &a.shape, *trans_a, rank - 2);
    let (b_walk, b_k, _) = walk(&b_place, &b.shape, *trans_b, rank - 1);
    let walks = [vec![job.place.strides.as_slice(), &a_walk, &b_walk], tail.walks()].concat();
    let zeros = vec![draft.w.int(0); walks.len()];
    let (result, factor) = (draft.axes(job), draft.axes_of(job, 0));
    let run = factor[factor.len() - if *trans_a { 2 } else { 1 }].clone();
    draft.w.nest(&result, &walks, &zeros, &mut |w, at| {
        let sums = Sums::new(w, types, &run);
        sums.add(w, &run, [a_memory, b_memory], [at[1], at[2]], [a_k, b_k]);
        let value = sums.total(w);
        let value = tail.emit(w, value, &at[3..]);
        w.store(to, at[0], value);
    });
    draft.call("dot", job.shape.iter().product::<usize>() as u64 * k as u64);
}

/// How a window slides along one spatial axis.
struct Slide {
    extent: Extent,
    stride: i64,
    dilation: i64,
    inflate: i64,
    low: i64,
    /// Whether some tap of some window is outside the input.
    leaves: bool,
}

/// The spatial axes of operand 0, for windows of `size` taps and results of `out`.
fn slides(job: &Job, axes: &[Extent], size: &[usize], stride: &[usize], dilation: &[usize], inflate: &[usize], low: &[i64]) -> Vec<Slide> {
    let slide = |i: usize| {
        let extent = job.operands[0].shape[i + 1] as i64;
        let last = (job.shape[i + 1] as i64 - 1) * stride[i] as i64 + (size[i] as i64 - 1) * dilation[i] as i64 - low[i];
        let gap = inflate[i] as i64;
        let open = axes[i + 1].fixed().is_none();
        Slide {
            extent: axes[i + 1].clone(),
            stride: stride[i] as i64,
            dilation: dilation[i] as i64,
            inflate: gap,
            low: low[i],
            leaves: open || low[i] > 0 || last > (extent - 1) * gap,
        }
    };
    (0..size.len()).map(slide).collect()
}

/// A unit stride along one axis, times `step`.
fn unit(rank: usize, axis: usize, step: i64) -> Vec<i64> {
    (0..rank).map(|i| if i == axis { step } else { 0 }).collect()
}

/// Runs `body` with the offset of the input element under a tap, if there is one: `base` plus what the positions
/// add, which are counted in inflated elements.
fn inside(w: &mut Writer, slides: &[Slide], positions: &[Value], strides: &[i64], base: Value, body: &mut dyn FnMut(&mut Writer, Value)) {
    let Some((slide, rest)) = slides.split_first() else { return body(w, base) };
    let at = positions[0];
    let next = |w: &mut Writer, element: Value, body: &mut dyn FnMut(&mut Writer, Value)| {
        let base = w.offset(base, element, strides[0]);
        inside(w, rest, &positions[1..], &strides[1..], base, body);
    };
    if !slide.leaves && slide.inflate == 1 {
        return next(w, at, body);
    }
    let end = match &slide.extent {
        Extent::Fixed(n) => w.int(((*n as i64 - 1) * slide.inflate + 1).max(0)),
        Extent::Open { dim, bound } => {
            let gap = Dim::from(slide.inflate);
            let inflated = dim.clone() * gap + Dim::from(1 - slide.inflate);
            w.size(&Extent::of(&inflated, ((*bound as i64 - 1) * slide.inflate + 1).max(0) as usize))
        }
    };
    let within = w.binary(Binary::ULt, at, end);
    w.when(within, |w| {
        if slide.inflate == 1 {
            let element = w.require(at, slide.extent.bound() as i64);
            return next(w, element, body);
        }
        let gap = w.int(slide.inflate);
        let (element, between) = (w.binary(Binary::UDiv, at, gap), w.binary(Binary::URem, at, gap));
        let zero = w.int(0);
        let hit = w.binary(Binary::IEq, between, zero);
        w.when(hit, |w| {
            let element = w.require(element, slide.extent.bound() as i64);
            next(w, element, body);
        });
    });
}

pub fn conv(job: &Job, builder: &mut Builder) {
    let Op::Conv { stride, dilation, inflate, low, group, fill, epilogue, .. } = job.op else { unreachable!("called for conv") };
    let (x, weights) = (&job.operands[0], &job.operands[1]);
    let types = [x.dtype, weights.dtype];
    let rank = job.shape.len();
    let spatial = rank - 2;
    let size = &weights.shape[..spatial];
    let mut draft = Draft::new(builder);
    let slides = slides(job, &draft.axes_of(job, 0), size, stride, dilation, inflate, low);
    // zeros add nothing: only another fill is multiplied
    let leaves = fill.bits != 0 && slides.iter().any(|s| s.leaves || s.inflate > 1);
    let (group_in, group_out) = (weights.shape[spatial], job.shape[rank - 1] / group);
    let run = Extent::Fixed(group_in);
    let tail = Tail::new(&mut draft, job, 2, own(job), epilogue);
    let to = draft.result(job, Access::Write);
    let ((x_memory, x_place), (w_memory, w_place)) = (draft.read("from", x), draft.read("weights", weights));
    // loops over [n, spatial.., group, m / group]
    let shape = [&draft.axes(job)[..rank - 1], &[Extent::Fixed(*group), Extent::Fixed(group_out)]].concat();
    let grouped = |walk: &[i64]| [&walk[..rank - 1], &[walk[rank - 1] * group_out as i64, walk[rank - 1]]].concat();
    let to_walk = grouped(&job.place.strides);
    let mut x_walk = vec![0; rank + 1];
    x_walk[0] = x_place.strides[0];
    x_walk[rank - 1] = x_place.strides[rank - 1] * group_in as i64;
    let mut w_walk = vec![0; rank + 1];
    w_walk[rank - 1] = w_place.strides[rank - 1] * group_out as i64;
    w_walk[rank] = w_place.strides[rank - 1];
    let slide_walks: Vec<Vec<i64>> = slides.iter().enumerate().map(|(i, s)| unit(rank + 1, i + 1, s.stride)).collect();
    let tail_walks: Vec<Vec<i64>> = tail.walks().iter().map(|walk| grouped(walk)).collect();
    let tap_walks: Vec<Vec<i64>> = slides.iter().enumerate().map(|(i, s)| unit(spatial, i, s.dilation)).collect();
    let mut walks: Vec<&[i64]> = vec![&to_walk, &x_walk, &w_walk];
    walks.extend(slide_walks.iter().chain(&tail_walks).map(Vec::as_slice));
    let mut starts = vec![draft.w.int(0); walks.len()];
    for (i, slide) in slides.iter().enumerate() {
        starts[3 + i] = draft.w.int(-slide.low);
    }
    let mut taps: Vec<&[i64]> = vec![&w_place.strides[..spatial]];
    taps.extend(tap_walks.iter().map(Vec::as_slice));
    draft.w.nest(&shape, &walks, &starts, &mut |w, at| {
        let sums = Sums::new(w, types, &run);
        let tap_starts = [&at[2..3], &at[3..3 + spatial]].concat();
        w.nest(size, &taps, &tap_starts, &mut |w, tap| {
            let steps = [x_place.strides[rank - 1], w_place.strides[spatial]];
            let missed = leaves.then(|| {
                let yes = w.int(1);
                w.cell(yes)
            });
            inside(w, &slides, &tap[1..], &x_place.strides[1..], at[1], &mut |w, element| {
                sums.add(w, &run, [x_memory, w_memory], [element, tap[0]], steps);
                if let Some(missed) = missed {
                    let no = w.int(0);
                    w.put(missed, no);
                }
            });
            if let Some(missed) = missed {
                let missed = w.get(missed);
                w.when(missed, |w| sums.add_fill(w, group_in, *fill, w_memory, tap[0], steps[1]));
            }
        });
        let value = sums.total(w);
        let value = tail.emit(w, value, &at[3 + spatial..]);
        w.store(to, at[0], value);
    });
    let taps: usize = size.iter().product::<usize>() * group_in;
    draft.call("conv", job.shape.iter().product::<usize>() as u64 * taps as u64);
}

pub fn window(job: &Job, builder: &mut Builder) {
    let Op::Window { kind, size, stride, dilation, low, epilogue, .. } = job.op else { unreachable!("called for windows") };
    let x = &job.operands[0];
    let dtype = x.dtype;
    let (join, wide, start) = match kind {
        WindowKind::Max => (ScalarOp::Max, computed(dtype), extreme(computed(dtype), false)),
        WindowKind::Sum => (ScalarOp::Add, wide(dtype), Literal::number(wide(dtype), 0.0)),
    };
    let spatial = size.len();
    let rank = spatial + 2;
    let mut draft = Draft::new(builder);
    let slides = slides(job, &draft.axes_of(job, 0), size, stride, dilation, &vec![1; spatial], low);
    let join = Terms::of(join, wide, draft.fused());
    let own = own(job);
    let tail = Tail::new(&mut draft, job, 1, own, epilogue);
    let to = draft.result(job, Access::Write);
    let (memory, place) = draft.read("from", x);
    let mut x_walk = vec![0; rank];
    x_walk[0] = place.strides[0];
    x_walk[rank - 1] = place.strides[rank - 1];
    let slide_walks: Vec<Vec<i64>> = slides.iter().enumerate().map(|(i, s)| unit(rank, i + 1, s.stride)).collect();
    let tap_walks: Vec<Vec<i64>> = slides.iter().enumerate().map(|(i, s)| unit(spatial, i, s.dilation)).collect();
    let mut walks: Vec<&[i64]> = vec![&job.place.strides, &x_walk];
    walks.extend(slide_walks.iter().map(Vec::as_slice).chain(tail.walks()));
    let mut starts = vec![draft.w.int(0); walks.len()];
    for (i, slide) in slides.iter().enumerate() {
        starts[2 + i] = draft.w.int(-slide.low);
    }
    let taps: Vec<&[i64]> = tap_walks.iter().map(Vec::as_slice).collect();
    let result = draft.axes(job);
    draft.w.nest(&result, &walks, &starts, &mut |w, at| {
        let start = literal(w, start);
        let so_far = w.cell(start);
        w.nest(size, &taps, &at[2..2 + spatial], &mut |w, tap| {
            inside(w, &slides, tap, &place.strides[1..], at[1], &mut |w, element| {
                let (value, old) = (w.load(memory, element), w.get(so_far));
                let value = cast(w, dtype, wide, value);
                let new = join.emit(w, &[old, value]);
                w.put(so_far, new);
            });
        });
        let value = w.get(so_far);
        let value = cast(w, wide, own, value);
        let value = tail.emit(w, value, &at[2 + spatial..]);
        w.store(to, at[0], value);
    });
    draft.call("window", 0);
}
