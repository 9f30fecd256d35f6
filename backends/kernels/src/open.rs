//! Operators on sizes that are known at run time only. Places are pitched at the bounds, so all strides are constants, and
//! there are two ways to compute in them:
//!
//! *By sizes.* The operator is lowered as if the open sizes were fixed, once for each of some sizes; of these steps the ones
//! run that fit the actual size best. Whole tiles run over the end of what is there, into memory that is the tensor's own and
//! that nobody believes: rows are computed from rows, and what mixes them gets its operands' rest filled with what does not
//! count. So everything that is fast for fixed sizes is fast here, and equal kernels are one.
//!
//! *Exactly.* A scalar kernel goes as far as the symbols say: whatever is left, and whatever an index that nobody wrote
//! would harm.
//!
//! Inputs and outputs are dense at their actual sizes, and copied.

use crate::build::{Builder, Home, Open};
use crate::extent::{Extent, Table};
use crate::generic::{self, open as exact};
use crate::place::{Place, Places, bounds_of, shape_of};
use crate::{Job, Kept, Source, Where, source};
use ir::dim::Symbols;
use ir::graph::op::{Op, ReduceKind};
use ir::program::{Origin, When};
use ir::scalar::{Arg, Body, Literal, ScalarOp};
use ir::{Dim, Dtype, Fault, Graph, NodeId};
use std::sync::Arc;

/// Dimensions of a node, if any of them is open.
pub fn dims(graph: &Graph, id: NodeId) -> Option<Open> {
    let dims = |id: NodeId| graph.ty(id).shape.clone();
    let open = Open { result: dims(id), operands: graph.operands(id).into_iter().map(dims).collect() };
    let fixed = open.operands.iter().chain([&open.result]).flatten().all(|d| d.fixed().is_some());
    (!fixed).then_some(open)
}

/// What the values of symbols must not do, for any size in their ranges. Faults: a slice that may leave its operand, more
/// elements than can be counted.
pub fn check(graph: &Graph) -> Vec<Fault> {
    let mut faults = Vec::new();
    for id in graph.order() {
        let fault = |what: String| Fault::unsupported(what).at(graph.label(id)).op(graph.op(id).mnemonic());
        let bounds = bounds_of(graph, id);
        let bytes = bounds.iter().try_fold(graph.ty(id).dtype.bytes(), |n, &size| n.checked_mul(size));
        if bytes.is_none_or(|bytes| bytes as u64 > 1 << 46) {
            faults.push(fault("its bounds take more memory than there is".into()).help("give dimensions smaller ranges with --dim"));
        }
        let (Op::Slice { start, step, size }, Some(open)) = (graph.op(id), dims(graph, id)) else { continue };
        for axis in 0..start.len() {
            let last = start[axis].clone() + (size[axis].clone() - Dim::from(1i64)) * Dim::from(step[axis]);
            let (low, high) = if step[axis] > 0 { (start[axis].clone(), last) } else { (last, start[axis].clone()) };
            let whole = open.operands[0][axis].clone();
            let least = |dim: Dim| dim.bounds(&graph.symbols).0;
            // where nothing is taken, it may start at the end
            let room = least(whole - high - Dim::from(1i64)).max(least(Dim::from(0i64) - size[axis].clone()));
            if least(low) < 0 || room < 0 {
                let text = format!("for some sizes axis {axis} is cut beyond its end: {} from {}", size[axis], start[axis]);
                faults.push(fault(text).help("give the dimension a smaller range with --dim"));
            }
        }
    }
    faults
}

/// The sizes that come first: derived symbols, and status 3 where a dimension would be negative.
pub fn begin(graph: &Graph, kept: &[Kept], places: &Places, builder: &mut Builder) {
    builder.what = "symbols".into();
    builder.names = Vec::new();
    let (early, _) = derived(&builder.symbols);
    let data = |dim: &Dim| dim.symbols().iter().any(|name| builder.symbols.list[builder.symbols.index(name)].origin == Origin::Data);
    let mut checked: Vec<Dim> = Vec::new();
    for dim in graph.order().iter().flat_map(|&id| &graph.ty(id).shape) {
        if dim.bounds(&graph.symbols).0 < 0 && !data(dim) && !checked.contains(dim) {
            checked.push(dim.clone());
        }
    }
    exact::derive(builder, &early, &checked);
    for (i, &id) in graph.inputs().iter().enumerate().filter(|(i, _)| kept.iter().all(|k| k.input != *i)) {
        if let Some(open) = dims(graph, id).filter(|_| graph.use_count(id) > 0) {
            builder.what = "input".into();
            builder.names = graph.node(id).names.clone();
            let place = places.known(id).expect("inputs have places").clone();
            let axes = extents(&open.result, &place_shape(graph, id));
            exact::copy_dense(builder, graph.ty(id).dtype, &axes, &place, places.input_buffer(i), true);
        }
    }
}

/// The sizes that come last: derived from what the data said.
pub fn end(builder: &mut Builder) {
    builder.what = "symbols".into();
    builder.names = Vec::new();
    let (_, late) = derived(&builder.symbols);
    exact::derive(builder, &late, &[]);
}

/// Symbols by number, and what they are derived from.
type Derived = Vec<(usize, Dim)>;

/// Derived symbols: those that no data is needed for, the others.
fn derived(table: &Table) -> (Derived, Derived) {
    let all = table.list.iter().enumerate().filter_map(|(i, s)| match &s.origin {
        Origin::Derived(dim) => Some((i, dim.clone())),
        Origin::Free | Origin::State { .. } | Origin::Data => None,
    });
    all.partition(|(_, dim)| dim.symbols().iter().all(|name| table.list[table.index(name)].origin != Origin::Data))
}

/// Copies a value to the output that it is, at its actual size.
pub fn output(graph: &Graph, id: NodeId, index: usize, places: &Places, builder: &mut Builder) {
    let from = source(graph, id, places).place(builder);
    let axes = extents(&graph.ty(id).shape, &place_shape(graph, id));
    exact::copy_dense(builder, graph.ty(id).dtype, &axes, &from, places.output_buffer(index), false);
}

fn place_shape(graph: &Graph, id: NodeId) -> Vec<usize> {
    shape_of(graph, id)
}

fn extents(dims: &[Dim], shape: &[usize]) -> Vec<Extent> {
    dims.iter().zip(shape).map(|(dim, &bound)| Extent::of(dim, bound)).collect()
}

/// How a node is computed.
enum Way {
    Sizes,
    Attention,
    Exactly,
}

/// Lowers one node with open dimensions.
pub fn node(graph: &Graph, id: NodeId, open: Open, places: &mut Places, builder: &mut Builder) -> Result<(), Fault> {
    let op = graph.op(id);
    let (decoded, blocked) = crate::decoded(graph, id);
    let operands: Vec<Source> = crate::operands(graph, id, places, &decoded);
    let (shape, dtype) = (shape_of(graph, id), graph.ty(id).dtype);
    let first = &operands[0];
    let fixed = |dims: &[Dim]| dims.iter().map(Dim::fixed).collect::<Option<Vec<i64>>>();
    let view = match (op, &first.at) {
        (Op::Reshape { .. }, Where::Place(p)) => p.reshape_open(&open.operands[0], &first.shape, &open.result, &shape),
        (Op::Slice { start, step, .. }, Where::Place(p)) => fixed(start).map(|start| p.slice(&start, step)),
        (Op::Expand { .. }, Where::Place(p)) => Some(p.expand(&first.shape, &shape)),
        _ => None,
    };
    if let Some(view) = view {
        if places.routed_elsewhere(id, &view, builder) {
            let place = places.target(id, builder);
            let sizes = open.clone();
            each_size(&sizes, builder, &mut |builder, at| {
                let shape: Vec<usize> = open.result.iter().zip(&shape).map(|(d, &n)| at.size(d, n)).collect();
                crate::copy::copy(builder, dtype, &shape, &view, &place);
                Ok(())
            })?;
        } else {
            places.set(id, view);
        }
        return Ok(());
    }
    let place = places.target(id, builder);
    let job = Job { op, operands, shape, dtype, place, blocked };
    match way(&job, &open) {
        Way::Exactly => exactly(&job, open, builder),
        Way::Attention => attention(&job, &open, builder),
        Way::Sizes => sizes(graph, id, &job, &open, builder),
    }
}

fn exactly(job: &Job, open: Open, builder: &mut Builder) -> Result<(), Fault> {
    builder.open = Some(open);
    let done = generic::lower(job, builder);
    builder.open = None;
    done
}

/// Whether what is computed of rows that are not there does no harm.
fn way(job: &Job, open: &Open) -> Way {
    let first = &open.operands[0];
    let fixed = |dim: &Dim| dim.fixed().is_some();
    let along = |axes: &[usize]| axes.iter().filter(|&&axis| !fixed(&first[axis])).count();
    let rank = first.len();
    let middle = |dims: &[Dim]| dims[1..dims.len() - 1].iter().all(fixed);
    let sizes = match job.op {
        Op::Map { .. } | Op::Dot { .. } | Op::Transpose { .. } | Op::Expand { .. } | Op::Softmax { .. } => true,
        Op::Concat { axis } => fixed(&open.result[*axis]),
        Op::Slice { start, .. } => start.iter().all(fixed),
        Op::Pad { low, high, .. } => {
            let plain = |i: usize| fixed(&first[i]) || (low[i] == Dim::from(0i64) && high[i] == Dim::from(0i64));
            low.iter().chain(high).all(fixed) && (0..rank).all(plain)
        }
        Op::Norm { axes, .. } => along(axes) == 0,
        Op::Reduce { kind, axes, .. } => match along(axes) {
            0 => true,
            1 => *kind != ReduceKind::Mean && *kind != ReduceKind::Prod,
            _ => false,
        },
        Op::Conv { .. } | Op::Window { .. } | Op::Resize { .. } => middle(first) && middle(&open.result),
        Op::Attention { .. } => return Way::Attention,
        Op::Reshape { .. }
        | Op::Gather { .. }
        | Op::ArgReduce { .. }
        | Op::Cumulate { .. }
        | Op::Sort { .. }
        | Op::Scatter { .. }
        | Op::Compact { .. }
        | Op::Suppress { .. }
        | Op::Quantize { .. }
        | Op::Dequantize { .. }
        | Op::Scan { .. }
        | Op::Take { .. }
        | Op::Input { .. }
        | Op::Const { .. } => false,
    };
    if sizes { Way::Sizes } else { Way::Exactly }
}

/// One of the sizes that steps are made for: what symbols are in.
struct At {
    ranges: Symbols,
}

impl At {
    /// The largest that a dimension of at most `bound` is here.
    fn size(&self, dim: &Dim, bound: usize) -> usize {
        usize::try_from(dim.bounds(&self.ranges).1).map_or(0, |n| n.min(bound))
    }

    fn shape(&self, dims: &[Dim], bounds: &[usize]) -> Vec<usize> {
        dims.iter().zip(bounds).map(|(dim, &bound)| self.size(dim, bound)).collect()
    }

    /// The job as if these were the sizes.
    fn job<'g>(&self, job: &Job<'g>, open: &Open) -> Job<'g> {
        let operand = |(source, dims): (&Source<'g>, &Vec<Dim>)| Source { shape: self.shape(dims, &source.shape), ..source.clone() };
        Job {
            op: job.op,
            operands: job.operands.iter().zip(&open.operands).map(operand).collect(),
            shape: self.shape(&open.result, &job.shape),
            dtype: job.dtype,
            place: job.place.clone(),
            blocked: job.blocked.clone(),
        }
    }
}

/// Steps for each of the sizes that the symbols of a node may have, more or less.
fn each_size(open: &Open, builder: &mut Builder, emit: &mut dyn FnMut(&mut Builder, &At) -> Result<(), Fault>) -> Result<(), Fault> {
    let table = builder.symbols.clone();
    let mut names: Vec<Arc<str>> = open.operands.iter().chain([&open.result]).flatten().flat_map(Dim::symbols).collect();
    names.sort();
    names.dedup();
    let most = [0, 20, 6, 3].get(names.len()).copied().unwrap_or(2);
    let mut all: Vec<Vec<When>> = vec![Vec::new()];
    for name in &names {
        let symbol = table.index(name);
        let (low, high) = (table.list[symbol].low, table.list[symbol].high);
        let ranges = ranges(low, high, most);
        let with = |when: &Vec<When>| -> Vec<Vec<When>> {
            ranges.iter().map(|&(low, high)| [when.as_slice(), &[When { symbol, low, high }]].concat()).collect()
        };
        all = all.iter().flat_map(with).collect();
    }
    for when in all {
        let mut at = At { ranges: table.ranges.clone() };
        for w in &when {
            at.ranges.insert(table.list[w.symbol].name.clone(), (w.low, w.high));
        }
        // what always holds need not be asked
        builder.when = when.into_iter().filter(|w| (w.low, w.high) != (table.list[w.symbol].low, table.list[w.symbol].high)).collect();
        let done = emit(builder, &at);
        builder.when = Vec::new();
        done?;
    }
    Ok(())
}

/// `low..=high` in at most `most` ranges, about a third apart, small ones alone.
fn ranges(low: i64, high: i64, most: usize) -> Vec<(i64, i64)> {
    let powers = (0..62).map(|i| 1i64 << i);
    let mut ends: Vec<i64> = powers.flat_map(|p| [p, p.saturating_add(p / 2)]).filter(|&end| end < 8 || end % 8 == 0).collect();
    ends.push(0);
    ends.sort_unstable();
    ends.dedup();
    let mut ends: Vec<i64> = ends.into_iter().filter(|end| (low..high).contains(end)).collect();
    ends.push(high);
    while ends.len() > most.max(1) {
        // the last stays
        let last = ends.len() - 1;
        ends = ends.iter().enumerate().filter(|(i, _)| (last - i).is_multiple_of(2)).map(|(_, &end)| end).collect();
    }
    let starts = std::iter::once(low).chain(ends.iter().map(|end| end + 1));
    starts.zip(ends.iter().copied()).collect()
}

/// The operator on each of some sizes; exactly, where its vector kernels refuse.
fn sizes(graph: &Graph, id: NodeId, job: &Job, open: &Open, builder: &mut Builder) -> Result<(), Fault> {
    let Some(rests) = rests(graph, id, job, open) else { return exactly(job, open.clone(), builder) };
    each_size(open, builder, &mut |builder, at| {
        let here = at.job(job, open);
        if here.shape.contains(&0) {
            return Ok(());
        }
        if here.operands.iter().any(|o| o.shape.contains(&0)) {
            return exactly(job, open.clone(), builder);
        }
        let mut fills = Vec::new();
        for rest in &rests {
            let (operand, dims) = (&job.operands[rest.operand], &open.operands[rest.operand]);
            let Where::Place(place) = &operand.at else { continue };
            fills.push((extents(dims, &operand.shape), rest.axis, here.operands[rest.operand].shape[rest.axis], place, rest.value));
        }
        let fast = match here.op {
            Op::Dot { .. } => crate::dot::covers(&here),
            _ => here.operands[0].dtype == Dtype::F32,
        };
        if !fills.is_empty() && !fast {
            return exactly(job, open.clone(), builder);
        }
        for (axes, axis, end, place, value) in fills {
            exact::fill_rest(builder, &axes, axis, end, place, value);
        }
        let spread = job.shape.len().saturating_sub(1);
        builder.rows = matches!(here.op, Op::Dot { .. } | Op::Conv { .. }).then(|| job.shape[..spread].iter().product());
        let done = match here.op {
            Op::Dot { .. } => crate::dot::lower(&here, builder),
            Op::Conv { .. } => crate::conv::lower(&here, builder),
            Op::Map { .. } => crate::pointwise::lower(&here, builder),
            Op::Window { .. } => crate::window::lower(&here, builder),
            Op::Reduce { .. } => crate::reduce::lower(&here, builder),
            Op::Softmax { .. } => crate::softmax::lower(&here, builder),
            Op::Norm { .. } => crate::norm::lower(&here, builder),
            Op::Resize { .. } => crate::resize::lower(&here, builder),
            _ => {
                crate::copy::lower(&here, builder)?;
                true
            }
        };
        builder.rows = None;
        if done { Ok(()) } else { exactly(job, open.clone(), builder) }
    })
}

/// The rest of an operand along an axis, and what to fill it with so that it does not count.
struct Rest {
    operand: usize,
    axis: usize,
    value: Literal,
}

/// What mixes rows that are there with those that are not; `None` where that cannot be helped.
fn rests(graph: &Graph, id: NodeId, job: &Job, open: &Open) -> Option<Vec<Rest>> {
    let first = &open.operands[0];
    let is_open = |axis: &usize| first[*axis].fixed().is_none();
    let dtype = job.operands[0].dtype;
    let mut rests = Vec::new();
    match job.op {
        Op::Dot { trans_a, trans_b, .. } => {
            let (a, b) = (first.len(), open.operands[1].len());
            let (a_axis, b_axis) = (a - if *trans_a { 2 } else { 1 }, b - if *trans_b { 1 } else { 2 });
            if is_open(&a_axis) {
                let value = Literal::number(dtype, 0.0);
                rests = vec![Rest { operand: 0, axis: a_axis, value }, Rest { operand: 1, axis: b_axis, value }];
            }
        }
        Op::Softmax { axis, prologue, .. } if is_open(axis) => {
            rests.push(Rest { operand: 0, axis: *axis, value: gives(prologue, dtype, f64::NEG_INFINITY)? });
        }
        Op::Reduce { kind, axes, prologue, .. } => {
            let neutral = match kind {
                ReduceKind::Sum => 0.0,
                ReduceKind::Max => f64::NEG_INFINITY,
                ReduceKind::Min => f64::INFINITY,
                ReduceKind::Mean | ReduceKind::Prod => 1.0,
            };
            for &axis in axes.iter().filter(|axis| is_open(axis)) {
                rests.push(Rest { operand: 0, axis, value: gives(prologue, dtype, neutral)? });
            }
        }
        _ => {}
    }
    let operands = graph.operands(id);
    let own = |rest: &Rest| owns_rest(graph, operands[rest.operand], rest.axis);
    rests.iter().all(own).then_some(rests)
}

/// A value of which the body makes `wanted`: that itself.
fn gives(body: &Body, dtype: Dtype, wanted: f64) -> Option<Literal> {
    let value = dtype.is_float().then(|| Literal::number(dtype, wanted))?;
    let made = ir::scalar::eval::eval(body, &[value]);
    (made.to_f64() == wanted).then_some(value)
}

/// Whether what lies behind the actual end of an axis is nobody else's.
fn owns_rest(graph: &Graph, id: NodeId, axis: usize) -> bool {
    let operands = graph.operands(id);
    match graph.op(id) {
        Op::Const { .. } | Op::Expand { .. } => false,
        Op::Slice { .. } => graph.ty(operands[0]).shape[axis] == graph.ty(id).shape[axis] && owns_rest(graph, operands[0], axis),
        // the same memory in other words: whatever is open there
        Op::Reshape { .. } => {
            let shape = &graph.ty(operands[0]).shape;
            shape.iter().enumerate().filter(|(_, d)| d.fixed().is_none()).all(|(axis, _)| owns_rest(graph, operands[0], axis))
        }
        _ => true,
    }
}

/// Attention with a mask for the keys that are not there.
fn attention(job: &Job, open: &Open, builder: &mut Builder) -> Result<(), Fault> {
    let Op::Attention { causal, guarded, prologue } = job.op else { unreachable!("called for attention") };
    let rank = job.shape.len();
    let key_axis = open.operands[1].len() - 2;
    let keys = Extent::of(&open.operands[1][key_axis], job.operands[1].shape[key_axis]);
    let moving = causal.as_ref().filter(|dim| dim.fixed().is_none());
    if keys.fixed().is_some() && moving.is_none() {
        return each_size(open, builder, &mut |builder, at| whole(&at.job(job, open), builder));
    }
    let rows = if moving.is_some() { job.shape[rank - 2] } else { 1 };
    let bytes = (rows * keys.bound() * 4).max(4) as u64;
    let mask = Place::dense(builder.buffer("mask", Home::Arena, bytes), &[rows, keys.bound()]);
    exact::mask(builder, [rows, keys.bound()], &keys, moving, &mask);
    let mut body = prologue.clone();
    body.params += 1;
    let hidden = body.push(ScalarOp::Eq, &[Arg::Param(prologue.params), Arg::Literal(Literal::f32(0.0))]);
    let nothing = Arg::Literal(Literal::f32(f32::NEG_INFINITY));
    body.result = body.push(ScalarOp::Select, &[hidden, nothing, prologue.result]);
    let op = Op::Attention { causal: causal.clone().filter(|_| moving.is_none()), guarded: *guarded, prologue: body };
    let mut open = open.clone();
    let row = if rows == 1 { Dim::from(1i64) } else { open.result[rank - 2].clone() };
    open.operands.push(vec![row, keys.dim()]);
    let mut operands = job.operands.clone();
    operands.push(Source { shape: vec![rows, keys.bound()], dtype: Dtype::F32, at: Where::Place(mask) });
    let job = Job { op: &op, operands, shape: job.shape.clone(), dtype: job.dtype, place: job.place.clone(), blocked: None };
    each_size(&open, builder, &mut |builder, at| {
        let here = at.job(&job, &open);
        // shares of 0 make nothing of what is finite
        let (values, dims) = (&job.operands[2], &open.operands[2]);
        let axis = dims.len() - 2;
        let end = here.operands[2].shape[axis];
        match (&values.at, keys.fixed()) {
            (Where::Place(place), None) => {
                exact::fill_rest(builder, &extents(dims, &values.shape), axis, end, place, Literal::f32(0.0));
            }
            (Where::Place(_) | Where::Constant(_), _) => {}
        }
        whole(&here, builder)
    })
}

fn whole(job: &Job, builder: &mut Builder) -> Result<(), Fault> {
    if job.shape.contains(&0) { Ok(()) } else { crate::job(job, builder) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_cover_their_range_once() {
        for (low, high, most) in [(1, 512, 20), (0, 3, 20), (5, 5, 20), (1, 100_000, 6), (7, 9, 1)] {
            let ranges = ranges(low, high, most);
            assert!(ranges.len() <= most);
            assert_eq!((ranges[0].0, ranges[ranges.len() - 1].1), (low, high));
            assert!(ranges.windows(2).all(|w| w[0].1 + 1 == w[1].0) && ranges.iter().all(|r| r.0 <= r.1), "{ranges:?}");
        }
        assert!(ranges(1, 512, 20).contains(&(97, 128)));
    }
}
