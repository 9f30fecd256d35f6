//! Graph and Facts to Program, once per CPU level: places for every tensor, kernels for every operator, offsets in
//! the arena. Each operator has a vector path for what models do all day ([`dot`], [`conv`], …) and a general
//! path for every type, shape and stride ([`generic`]).
//!
//! Nothing here knows a machine but by its Facts, or a file format.

pub mod arena;
pub mod attention;
pub mod body;
pub mod build;
pub mod conv;
pub mod copy;
pub mod cost;
pub mod depthwise;
pub mod dot;
pub mod extent;
pub mod generic;
pub mod kept;
pub mod lookup;
pub mod math;
pub mod nest;
pub mod norm;
pub mod open;
pub mod pieces;
pub mod place;
pub mod pointwise;
pub mod reach;
pub mod reduce;
pub mod resize;
pub mod scan;
pub mod softmax;
pub mod sparse;
pub mod sweep;
pub mod tasks;
pub mod tidy;
pub mod tile;
pub mod window;

use build::{Builder, Pointer};
use ir::graph::op::Op;
use ir::kernel::Facts;
use ir::program::{Port, Program};
use ir::{Dtype, Fault, Graph, NodeId, Tensor};
pub use kept::Kept;
use place::{Place, Places, shape_of};
use std::sync::Arc;
use tasks::Tasks;

/// An operand as a kernel generator sees it.
#[derive(Clone, Debug)]
pub struct Source<'g> {
    pub shape: Vec<usize>,
    pub dtype: Dtype,
    pub at: Where<'g>,
}

/// A constant that is not laid out yet, or memory.
#[derive(Clone, Debug)]
pub enum Where<'g> {
    Constant(&'g Tensor),
    Place(Place),
}

impl<'g> Source<'g> {
    pub fn constant(&self) -> Option<&'g Tensor> {
        match &self.at {
            Where::Constant(tensor) => Some(tensor),
            Where::Place(_) => None,
        }
    }

    /// Where it lies; a constant is laid out densely for this.
    pub fn place(&self, builder: &mut Builder) -> Place {
        match &self.at {
            Where::Constant(tensor) => builder.dense_constant(tensor),
            Where::Place(place) => place.clone(),
        }
    }
}

/// One node to lower: what it computes, from where, to where.
pub struct Job<'g> {
    pub op: &'g Op,
    pub operands: Vec<Source<'g>>,
    pub shape: Vec<usize>,
    pub dtype: Dtype,
    pub place: Place,
    /// What the second factor of a dot is, beside the floats that it stands for.
    pub blocked: Option<dot::Blocked<'g>>,
}

impl Job<'_> {
    /// The same where nobody knows that weights come in blocks.
    pub fn on_floats<R>(&self, then: impl FnOnce(&Job) -> R) -> R {
        let Some(blocked) = &self.blocked else { return then(self) };
        let floats = blocked.floats();
        let mut operands = self.operands.clone();
        operands[1].at = Where::Constant(&floats);
        then(&Job { op: self.op, operands, shape: self.shape.clone(), dtype: self.dtype, place: self.place.clone(), blocked: None })
    }

    /// The pointer to a place's first element.
    pub fn pointer(place: &Place, dtype: Dtype) -> Pointer {
        Pointer { buffer: place.buffer, offset: place.byte_offset(dtype) }
    }
}

/// What the user decides about kernels.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub tasks: Tasks,
    /// Convolutions may be computed by Winograd's algorithm where results are off by no more than this, relative to the largest
    /// result of a layer; `None`: never.
    pub winograd: Option<f64>,
    /// What measurements taught.
    pub tuned: Arc<cost::Tuned>,
}

impl Default for Options {
    fn default() -> Options {
        Options { tasks: Tasks::default(), winograd: Some(WINOGRAD_ERROR), tuned: Arc::default() }
    }
}

/// How far results of Winograd's algorithm may be off unless the user says another figure.
pub const WINOGRAD_ERROR: f64 = 1e-3;

/// Lowers a verified graph. Faults: a dimension that nobody gives, sizes beyond what
/// addresses reach, and what no kernel covers; all of them, each naming its node.
pub fn lower(graph: &Graph, facts: &Facts) -> Result<Program, Vec<Fault>> {
    lower_like(graph, facts, facts, Options::default())
}

/// The same with the weights of products laid out as for `packing`, a level of the same machine whose vectors are at
/// least as wide: levels that are lowered like one of them share these bytes.
pub fn lower_like(graph: &Graph, facts: &Facts, packing: &Facts, options: Options) -> Result<Program, Vec<Fault>> {
    lower_keeping(graph, facts, packing, options, &[])
}

/// The same with state from run to run.
pub fn lower_keeping(graph: &Graph, facts: &Facts, packing: &Facts, options: Options, kept: &[Kept]) -> Result<Program, Vec<Fault>> {
    let order = graph.order();
    let symbols = extent::Table::new(graph, kept)?;
    let mut faults = open::check(graph);
    faults.extend(scan::check(graph));
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut builder = Builder::new(facts);
    builder.packing = packing;
    builder.tasks = options.tasks;
    builder.winograd = options.winograd;
    builder.tuned = options.tuned;
    builder.symbols = Arc::new(symbols);
    kept::begin(graph, kept, &mut builder);
    let mut places = Places::new(graph, &order, kept, &mut builder);
    open::begin(graph, kept, &places, &mut builder);
    for &id in &order {
        builder.what = graph.op(id).mnemonic().into();
        builder.names = graph.node(id).names.clone();
        if let Err(fault) = node(graph, id, &mut places, &mut builder) {
            faults.push(fault.at(graph.label(id)).op(graph.op(id).mnemonic()));
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    finish(graph, kept, &places, &mut builder);
    open::end(&mut builder);
    let port = |name: &str, id: NodeId| {
        let ty = graph.ty(id).clone();
        let bytes = (shape_of(graph, id).iter().product::<usize>() * ty.dtype.bytes()) as u64;
        Port { name: name.into(), ty, bytes }
    };
    let given = graph.inputs().iter().enumerate().filter(|(i, _)| kept.iter().all(|k| k.input != *i));
    let inputs = given.map(|(_, &id)| match graph.op(id) {
        Op::Input { name, .. } => port(name, id),
        _ => port("", id),
    });
    let inputs = inputs.collect();
    let shown = graph.outputs().iter().enumerate().filter(|(i, _)| kept.iter().all(|k| k.output != *i));
    let outputs = shown.map(|(_, (name, id))| port(name, *id)).collect();
    Ok(builder.finish(inputs, outputs))
}

/// Copies every output that is not computed in place. The state changes last.
fn finish(graph: &Graph, kept: &[Kept], places: &Places, builder: &mut Builder) {
    for (i, (_, id)) in graph.outputs().iter().enumerate().filter(|(i, _)| kept.iter().all(|k| k.output != *i)) {
        builder.what = "output".into();
        builder.names = graph.node(*id).names.clone();
        if graph.ty(*id).fixed().is_none() {
            open::output(graph, *id, i, places, builder);
            continue;
        }
        let to = places.output(i);
        let from = source(graph, *id, places);
        if !matches!(&from.at, Where::Place(p) if p.same(&to, &from.shape)) {
            let place = from.place(builder);
            copy::copy(builder, from.dtype, &from.shape, &place, &to);
        }
    }
    kept::finish(graph, kept, places, builder);
}

fn source<'g>(graph: &'g Graph, id: NodeId, places: &Places) -> Source<'g> {
    let at = match graph.as_const(id) {
        Some(tensor) => Where::Constant(tensor),
        None => Where::Place(places.known(id).expect("operands are lowered before their users").clone()),
    };
    Source { shape: shape_of(graph, id), dtype: graph.ty(id).dtype, at }
}

/// Lowers one node: sets its place, and emits the calls that compute it there.
fn node(graph: &Graph, id: NodeId, places: &mut Places, builder: &mut Builder) -> Result<(), Fault> {
    let op = graph.op(id);
    if matches!(op, Op::Input { .. } | Op::Const { .. }) {
        return Ok(());
    }
    match op {
        Op::Scan { .. } => return scan::lower(graph, id, places, builder),
        Op::Take { index, .. } => {
            scan::take(graph, id, *index, places, builder);
            return Ok(());
        }
        _ => {}
    }
    if let Some(dims) = open::dims(graph, id) {
        return open::node(graph, id, dims, places, builder);
    }
    let shape = shape_of(graph, id);
    let dtype = graph.ty(id).dtype;
    if let Some(blocked) = dot::blocked(graph, id) {
        // its users know it
        if graph.is_output(id) {
            let (place, floats) = (places.target(id, builder), builder.dense_constant(&blocked.floats()));
            copy::copy(builder, dtype, &shape, &floats, &place);
        }
        return Ok(());
    }
    let (decoded, blocked) = decoded(graph, id);
    let operands: Vec<Source> = operands(graph, id, places, &decoded);
    let first = &operands[0];
    // views: another place for the same memory, if nobody chose a place for the result already
    let view = match (op, &first.at) {
        (Op::Reshape { .. }, Where::Place(p)) => p.reshape(&first.shape, &shape),
        (Op::Slice { start, step, .. }, Where::Place(p)) => {
            let start: Vec<i64> = start.iter().map(|d| d.fixed().expect("checked to be fixed")).collect();
            Some(p.slice(&start, step))
        }
        (Op::Expand { .. }, Where::Place(p)) => Some(p.expand(&first.shape, &shape)),
        (Op::Transpose { perm }, Where::Place(p)) if places.strided(id) => Some(p.permute(perm)),
        _ => None,
    };
    if matches!(op, Op::Reshape { .. } | Op::Slice { .. } | Op::Expand { .. } | Op::Transpose { .. })
        && let Some(view) = view.clone()
    {
        if places.routed_elsewhere(id, &view, builder) {
            let place = places.target(id, builder);
            copy::copy(builder, dtype, &shape, &view, &place);
        } else {
            places.set(id, view);
        }
        return Ok(());
    }
    let place = places.target(id, builder);
    if shape.contains(&0) {
        return Ok(());
    }
    job(&Job { op, operands, shape, dtype, place, blocked }, builder)
}

/// For each operand the floats of a `dequantize` of constants; but those that are the second factor of a dot stay what they are.
fn decoded(graph: &Graph, id: NodeId) -> (Vec<Option<Tensor>>, Option<dot::Blocked<'_>>) {
    let mut operands: Vec<_> = graph.operands(id).iter().map(|&o| dot::blocked(graph, o)).collect();
    let right = if matches!(graph.op(id), Op::Dot { .. }) { operands[1].take() } else { None };
    (operands.iter().map(|o| o.as_ref().map(dot::Blocked::floats)).collect(), right)
}

fn operands<'g>(graph: &'g Graph, id: NodeId, places: &Places, decoded: &'g [Option<Tensor>]) -> Vec<Source<'g>> {
    let each = graph.operands(id).into_iter().zip(decoded);
    let source = |(o, floats): (NodeId, &'g Option<Tensor>)| match (floats, dot::blocked(graph, o)) {
        (Some(floats), _) => Source { shape: shape_of(graph, o), dtype: graph.ty(o).dtype, at: Where::Constant(floats) },
        // who takes the job, takes the blocks
        (None, Some(right)) => Source { shape: shape_of(graph, o), dtype: graph.ty(o).dtype, at: Where::Constant(right.numbers) },
        (None, None) => source(graph, o, places),
    };
    each.map(source).collect()
}

/// Emits the calls of one operator that is no view, input or constant.
fn job(job: &Job, builder: &mut Builder) -> Result<(), Fault> {
    match job.op {
        Op::Reshape { .. } | Op::Slice { .. } | Op::Expand { .. } | Op::Transpose { .. } | Op::Concat { .. } | Op::Pad { .. } => {
            copy::lower(job, builder)
        }
        Op::Dot { .. } => match dot::lower(job, builder) {
            true => Ok(()),
            false => generic::lower(job, builder),
        },
        Op::Conv { .. } => match conv::lower(job, builder) {
            true => Ok(()),
            false => generic::lower(job, builder),
        },
        Op::Map { .. } => match pointwise::lower(job, builder) {
            true => Ok(()),
            false => generic::lower(job, builder),
        },
        Op::Window { .. } => match window::lower(job, builder) {
            true => Ok(()),
            false => generic::lower(job, builder),
        },
        Op::Reduce { .. } => match reduce::lower(job, builder) {
            true => Ok(()),
            false => generic::lower(job, builder),
        },
        Op::Softmax { .. } => match softmax::lower(job, builder) {
            true => Ok(()),
            false => generic::lower(job, builder),
        },
        Op::Norm { .. } => match norm::lower(job, builder) {
            true => Ok(()),
            false => generic::lower(job, builder),
        },
        Op::Attention { .. } => match attention::lower(job, builder) {
            true => Ok(()),
            false => generic::lower(job, builder),
        },
        Op::Resize { .. } => match resize::lower(job, builder) {
            true => Ok(()),
            false => generic::lower(job, builder),
        },
        Op::Input { .. }
        | Op::Const { .. }
        | Op::Gather { .. }
        | Op::ArgReduce { .. }
        | Op::Cumulate { .. }
        | Op::Sort { .. }
        | Op::Compact { .. }
        | Op::Suppress { .. }
        | Op::Scatter { .. }
        | Op::Quantize { .. }
        | Op::Dequantize { .. }
        | Op::Scan { .. }
        | Op::Take { .. } => generic::lower(job, builder),
    }
}
