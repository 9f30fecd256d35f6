//! What lives from run to run: outputs that the next run finds as inputs, where they lie, and how long those are that grow.
//! It knows which memory is the state's; what is computed in it, it does not know.

use crate::build::{Builder, Home, Pointer};
use crate::extent::Extent;
use crate::generic::open as exact;
use crate::place::{Place, Places, bounds_of};
use crate::{Where, copy, source};
use ir::graph::op::Op;
use ir::{Dim, Dtype, Graph, NodeId};
use std::sync::Arc;

/// An output that the next run finds as an input: both lie in the program's state, and are no ports. Their types are one, but for
/// axes along which the input is as long as a symbol says and the output as the next run's symbol will say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Positions in the graph's signature.
    pub output: usize,
    pub input: usize,
}

/// The symbols that runs change, and what each of them is after a run.
pub fn lengths(graph: &Graph, kept: &[Kept]) -> Vec<(Arc<str>, Dim)> {
    let mut all: Vec<(Arc<str>, Dim)> = Vec::new();
    for k in kept {
        let (before, after) = (&graph.ty(graph.inputs()[k.input]).shape, &graph.ty(graph.outputs()[k.output].1).shape);
        for (before, after) in before.iter().zip(after) {
            if let Some(name) = before.as_symbol().filter(|_| before != after)
                && all.iter().all(|(known, _)| **known != *name)
            {
                all.push((name.into(), after.clone()));
            }
        }
    }
    all
}

/// Whether an output is the input with more behind its end, and nobody else reads the input: what comes is written there.
pub fn appended(graph: &Graph, output: NodeId, input: NodeId) -> bool {
    let Op::Concat { axis } = graph.op(output) else { return false };
    let (before, after) = (&graph.ty(input).shape, &graph.ty(output).shape);
    let operands = graph.operands(output);
    let others = (0..after.len()).filter(|i| i != axis).all(|i| before[i] == after[i]);
    operands[0] == input && others && before[*axis].as_symbol().is_some() && graph.use_count(input) == 1
}

/// The state's first bytes: how long what grows is. They come before every other part of it.
pub fn begin(graph: &Graph, kept: &[Kept], builder: &mut Builder) {
    let count = lengths(graph, kept).len() as u64;
    builder.lengths = (count > 0).then(|| builder.state("lengths", 8 * count));
}

/// Where an input lies that is kept: pitched for the longer of what comes in and what goes out.
pub fn place(graph: &Graph, k: &Kept, builder: &mut Builder) -> Place {
    let input = graph.inputs()[k.input];
    let (before, after) = (bounds_of(graph, input), bounds_of(graph, graph.outputs()[k.output].1));
    let shape: Vec<usize> = before.iter().zip(&after).map(|(&a, &b)| a.max(b)).collect();
    let bytes = (shape.iter().product::<usize>() * graph.ty(input).dtype.bytes()) as u64;
    Place::dense(builder.state(graph.label(input), bytes), &shape)
}

/// An output that is kept and does not lie where it should: from where, to where.
struct Late {
    dtype: Dtype,
    axes: Vec<Extent>,
    from: Place,
    to: Place,
    names: Vec<Arc<str>>,
}

/// What the next run will find. What is read of the state goes elsewhere before any of it changes; lengths change last.
pub fn finish(graph: &Graph, kept: &[Kept], places: &Places, builder: &mut Builder) {
    let mut late = Vec::new();
    for k in kept {
        let id = graph.outputs()[k.output].1;
        let to = places.known(graph.inputs()[k.input]).expect("inputs have places").clone();
        let from = source(graph, id, places);
        if matches!(&from.at, Where::Place(p) if p.same(&to, &from.shape)) {
            continue;
        }
        builder.what = "state".into();
        builder.names = graph.node(id).names.clone();
        let axes: Vec<Extent> = graph.ty(id).shape.iter().zip(&from.shape).map(|(dim, &bound)| Extent::of(dim, bound)).collect();
        let mut place = from.place(builder);
        if matches!(builder.buffers[place.buffer.0].home, Home::State(_)) {
            let bytes = (from.shape.iter().product::<usize>() * from.dtype.bytes()) as u64;
            let aside = Place::dense(builder.buffer("state", Home::Arena, bytes.max(1)), &from.shape);
            moved(builder, from.dtype, &axes, &place, &aside);
            place = aside;
        }
        late.push(Late { dtype: from.dtype, axes, from: place, to, names: builder.names.clone() });
    }
    for Late { dtype, axes, from, to, names } in late {
        builder.what = "state".into();
        builder.names = names;
        moved(builder, dtype, &axes, &from, &to);
    }
    if let Some(buffer) = builder.lengths {
        builder.what = "state".into();
        builder.names = Vec::new();
        exact::lengths(builder, &lengths(graph, kept), Pointer { buffer, offset: 0 });
    }
}

fn moved(builder: &mut Builder, dtype: Dtype, axes: &[Extent], from: &Place, to: &Place) {
    match axes.iter().map(Extent::fixed).collect::<Option<Vec<usize>>>() {
        Some(shape) => copy::copy(builder, dtype, &shape, from, to),
        None => exact::copy(builder, dtype, axes, from, to),
    }
}
