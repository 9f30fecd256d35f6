//! Scans: the steps of the region once, as a repeat. Rows are places that move from turn to turn, stacks are written where they
//! are wanted, and what is carried has one place: the next value is computed there if nobody reads the old one any more, and
//! else copied at the end of the turn.

use crate::build::{Builder, Home};
use crate::place::{Place, Places, shape_of};
use crate::{Where, copy, node, source};
use ir::graph::op::{Op, Rows};
use ir::graph::region::{most_turns, sink_constants};
use ir::program::Turns;
use ir::{Dtype, Fault, Graph, NodeId};
use std::collections::BTreeSet;

/// What the number of turns must be. Faults: a dimension that is no symbol, a size in a region that its data says.
pub fn check(graph: &Graph) -> Vec<Fault> {
    let mut faults = Vec::new();
    for id in graph.order() {
        let Op::Scan { trips, region, .. } = graph.op(id) else { continue };
        let fault = |what: String| Fault::unsupported(what).at(graph.label(id)).op(graph.op(id).mnemonic());
        if trips.fixed().is_none() && trips.as_symbol().is_none() {
            let text = format!("it takes {trips} turns, which is no size by itself");
            faults.push(fault(text).help("fix the named dimensions with --dim NAME=SIZE"));
        }
        let inner = region.graph();
        if inner.order().iter().any(|&id| matches!(inner.op(id), Op::Compact { length } if length.fixed().is_none())) {
            faults.push(fault("a size in it is known in each turn only".into()));
        }
        faults.extend(crate::open::check(inner));
        faults.extend(check(inner));
    }
    faults
}

/// A scan that is being lowered.
struct Scan<'g> {
    graph: &'g Graph,
    id: NodeId,
    turns: Turns,
    /// The most there are.
    most: u64,
    inner: &'g Graph,
    carried: usize,
    sequences: &'g [Rows],
    stacks: &'g [Rows],
}

/// Lowers a scan: its results have places afterwards.
pub fn lower(graph: &Graph, id: NodeId, places: &mut Places, builder: &mut Builder) -> Result<(), Fault> {
    // constants that are operands are packed like those inside
    let sunk = sink_constants(graph, id);
    let (op, operands) = match &sunk {
        Some((op, operands)) => (op, operands.clone()),
        None => (graph.op(id), graph.operands(id)),
    };
    let Op::Scan { trips, carried, sequences, stacks, region } = op else { unreachable!("the caller looked") };
    let turns = match (trips.fixed(), trips.as_symbol()) {
        (Some(n), _) => Turns::Fixed(n.max(0) as u64),
        (None, Some(name)) => Turns::Symbol(builder.symbols.index(name)),
        (None, None) => return Err(Fault::unsupported(format!("it takes {trips} turns, which is no size by itself"))),
    };
    let scan =
        Scan { graph, id, turns, most: most_turns(trips, &graph.symbols), inner: region.graph(), carried: *carried, sequences, stacks };
    scan.lower(&operands, places, builder)
}

/// A result of a scan: another name for where it lies, unless a place was chosen for it.
pub fn take(graph: &Graph, id: NodeId, index: usize, places: &mut Places, builder: &mut Builder) {
    let from = places.results(graph.operands(id)[0])[index].clone();
    let shape = shape_of(graph, id);
    if places.known(id).is_some_and(|place| place.same(&from, &shape)) {
        return;
    }
    if places.routed_elsewhere(id, &from, builder) {
        let place = places.target(id, builder);
        copy::copy(builder, graph.ty(id).dtype, &shape, &from, &place);
    } else {
        places.set(id, from);
    }
}

/// The place of a row of what lies at `place`: it moves with the turns.
fn row(builder: &mut Builder, place: &Place, dtype: Dtype, order: Rows) -> Place {
    let step = place.strides[0] * dtype.bytes() as i64;
    let advance = if order == Rows::Forward { step } else { -step };
    let bytes = builder.buffers[place.buffer.0].bytes;
    let buffer = builder.buffer("row", Home::Row { of: place.buffer, advance }, bytes);
    Place { buffer, offset: place.offset, strides: place.strides[1..].to_vec() }
}

fn moves(builder: &Builder, place: &Place) -> bool {
    matches!(builder.buffers[place.buffer.0].home, Home::Row { .. })
}

fn fresh(builder: &mut Builder, name: &str, dtype: Dtype, shape: &[usize]) -> Place {
    let bytes = (shape.iter().product::<usize>() * dtype.bytes()) as u64;
    Place::dense(builder.buffer(name, Home::Arena, bytes.max(1)), shape)
}

impl Scan<'_> {
    fn lower(&self, operands: &[NodeId], places: &mut Places, builder: &mut Builder) -> Result<(), Fault> {
        let inner = self.inner;
        let mut inputs = Vec::with_capacity(operands.len());
        for (slot, &operand) in operands.iter().enumerate() {
            let from = source(self.graph, operand, places);
            let mut place = from.place(builder);
            if slot < self.carried {
                let own = fresh(builder, "carried", from.dtype, &from.shape);
                copy::copy(builder, from.dtype, &from.shape, &place, &own);
                place = own;
            } else if moves(builder, &place) {
                // what moves with the turns of a scan around this one stands still in these
                let still = fresh(builder, "row", from.dtype, &from.shape);
                copy::copy(builder, from.dtype, &from.shape, &place, &still);
                place = still;
            }
            inputs.push(place);
        }
        let carried: Vec<Place> = inputs[..self.carried].to_vec();
        let stacks = self.stacks(places, builder);
        places.set_results(self.id, carried.iter().chain(&stacks).cloned().collect());
        if self.turns == Turns::Fixed(0) || self.most == 0 {
            return Ok(());
        }
        for (place, (&order, slot)) in inputs[self.carried..].iter_mut().zip(self.sequences.iter().zip(self.carried..)) {
            *place = row(builder, place, inner.ty(inner.inputs()[slot]).dtype, order);
        }
        let order = inner.order();
        let mut own = Places::inside(inner, &order, inputs);
        let made: Vec<NodeId> = inner.outputs().iter().map(|(_, id)| *id).collect();
        let mut rows = Vec::with_capacity(stacks.len());
        for ((stack, &order), &id) in stacks.iter().zip(self.stacks).zip(&made[self.carried..]) {
            let row = row(builder, stack, inner.ty(id).dtype, order);
            // what is carried too is read in the next turn, where rows have moved
            if !made[..self.carried].contains(&id) {
                own.prefer(id, &row);
            }
            rows.push(row);
        }
        for (i, &id) in made[..self.carried].iter().enumerate() {
            if self.last_reader(&order, i, id) {
                own.prefer_alone(id, &carried[i]);
            }
        }
        let first = builder.here();
        let (what, names) = (builder.what.clone(), builder.names.clone());
        for &id in &order {
            builder.what = inner.op(id).mnemonic().into();
            builder.names = if inner.node(id).names.is_empty() { names.clone() } else { inner.node(id).names.clone() };
            node(inner, id, &mut own, builder)?;
        }
        (builder.what, builder.names) = (what, names);
        self.hand_on(&made, &own, &carried, &rows, builder);
        builder.repeat(first, self.turns);
        Ok(())
    }

    /// Where the stacks lie: where those who take them want them, so that rows are written there.
    fn stacks(&self, places: &mut Places, builder: &mut Builder) -> Vec<Place> {
        let mut out = Vec::with_capacity(self.stacks.len());
        for (i, (_, id)) in self.inner.outputs()[self.carried..].iter().enumerate() {
            let index = self.carried + i;
            let takes = |&user: &NodeId| matches!(self.graph.op(user), Op::Take { index: i, .. } if *i == index);
            let user = self.graph.uses(self.id).into_iter().map(|(user, _)| user).find(takes);
            let wanted = user.map(|user| places.target(user, builder)).filter(|place| !moves(builder, place));
            out.push(wanted.unwrap_or_else(|| {
                let shape: Vec<usize> = std::iter::once(self.most as usize).chain(shape_of(self.inner, *id)).collect();
                fresh(builder, "stack", self.inner.ty(*id).dtype, &shape)
            }));
        }
        out
    }

    /// Whether the next value of what is carried in slot `i` can be computed where the old one lies: all others that read the
    /// old one come first, and it is a map of it element by element, if it reads it.
    fn last_reader(&self, order: &[NodeId], i: usize, id: NodeId) -> bool {
        let inner = self.inner;
        let input = inner.inputs()[i];
        let position = |id: NodeId| order.iter().position(|&o| o == id);
        let outputs: Vec<NodeId> = inner.outputs().iter().map(|(_, id)| *id).collect();
        if outputs[..self.carried].iter().filter(|&&o| o == id).count() > 1 {
            return false;
        }
        // the old value and its other names
        let (mut names, mut todo) = (BTreeSet::from([input]), vec![input]);
        while let Some(name) = todo.pop() {
            for (user, _) in inner.uses(name) {
                let view = matches!(
                    inner.op(user),
                    Op::Reshape { .. } | Op::Slice { .. } | Op::Expand { .. } | Op::Transpose { .. } | Op::Scan { .. } | Op::Take { .. }
                );
                if view && names.insert(user) {
                    todo.push(user);
                }
            }
        }
        let mut readers = names.iter().flat_map(|&name| inner.uses(name).into_iter().map(move |(user, _)| (user, name)));
        let is_map = matches!(inner.op(id), Op::Map { .. });
        let early = |(user, name): (NodeId, NodeId)| match user == id {
            true => is_map && name == input && inner.ty(input) == inner.ty(id),
            false => position(user) < position(id),
        };
        !outputs.iter().any(|o| names.contains(o)) && readers.all(early)
    }

    /// The end of a turn: what is carried and what is stacked gets where it belongs.
    fn hand_on(&self, made: &[NodeId], own: &Places, carried: &[Place], rows: &[Place], builder: &mut Builder) {
        builder.what = "scan".into();
        let inner = self.inner;
        for (&id, row) in made[self.carried..].iter().zip(rows) {
            let from = source(inner, id, own);
            let place = from.place(builder);
            copy::copy(builder, from.dtype, &from.shape, &place, row);
        }
        // values that lie where another one is about to be written go aside first
        let mut late = Vec::new();
        for (&id, to) in made.iter().zip(carried) {
            let from = source(inner, id, own);
            let mut place = from.place(builder);
            if place.same(to, &from.shape) {
                continue;
            }
            if matches!(from.at, Where::Place(_)) && carried.iter().any(|c| c.buffer == place.buffer) {
                let aside = fresh(builder, "aside", from.dtype, &from.shape);
                copy::copy(builder, from.dtype, &from.shape, &place, &aside);
                place = aside;
            }
            late.push((from.dtype, from.shape, place, to));
        }
        for (dtype, shape, place, to) in late {
            copy::copy(builder, dtype, &shape, &place, to);
        }
    }
}
