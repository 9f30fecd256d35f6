//! Regions: graphs that an operator owns and runs by itself. What a region reads of the graph around it are operands of its
//! owner; nothing else goes in or out. Here is what a scan's region must be, and how a part of a graph becomes one. How often
//! it runs is the owner's business.

use super::attr::Attr;
use super::op::Op;
use super::{Graph, NodeId, text};
use crate::dim::Dim;
use crate::tensor::Type;
use crate::text::{Lexer, ParseError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A graph inside of an operator; copies share it.
#[derive(Clone, Debug)]
pub struct Region(Arc<Graph>);

impl Region {
    pub fn new(graph: Graph) -> Region {
        Region(Arc::new(graph))
    }

    pub fn graph(&self) -> &Graph {
        &self.0
    }
}

/// Regions are equal when they read the same, constants and names included.
impl PartialEq for Region {
    fn eq(&self, other: &Region) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || text::print(&self.0) == text::print(&other.0) && text::constants(&self.0) == text::constants(&other.0)
    }
}
impl Eq for Region {}

impl Attr for Region {
    fn print(&self) -> String {
        text::print(&self.0).trim_end().replace('\n', "\n  ")
    }
    /// Reads a region whose constants stand in full.
    fn parse(lexer: &mut Lexer) -> Result<Region, ParseError> {
        text::parse_graph(lexer, &|_| None).map(Region::new)
    }
}

/// The types of a scan's results: what is carried, then the stacks. Fault: operands or attributes that do not fit the region.
pub fn results(op: &Op, types: &[&Type]) -> Result<Vec<Type>, String> {
    let Op::Scan { trips, carried, sequences, stacks, region } = op else { return Err("it is no scan".into()) };
    let graph = region.graph();
    let (inputs, outputs) = (graph.inputs(), graph.outputs());
    if inputs.len() != types.len() || carried + sequences.len() > types.len() || outputs.len() != carried + stacks.len() {
        let (given, wanted) = (types.len(), carried + stacks.len());
        return Err(format!(
            "the region has {} inputs and {} outputs, for {given} operands and {wanted} results",
            inputs.len(),
            outputs.len()
        ));
    }
    for (i, (&input, &ty)) in inputs.iter().zip(types).enumerate() {
        let is_row = (*carried..carried + sequences.len()).contains(&i);
        if is_row && ty.shape.first() != Some(trips) {
            return Err(format!("operand {i} has no row for each of {trips} turns"));
        }
        let given = if is_row { Type::new(ty.dtype, ty.shape[1..].to_vec()) } else { ty.clone() };
        if *graph.ty(input) != given {
            return Err(format!("input {i} of the region is {}, and is given {given}", graph.ty(input)));
        }
    }
    let mut all = Vec::with_capacity(outputs.len());
    for (i, (_, id)) in outputs.iter().enumerate() {
        let ty = graph.ty(*id);
        if i >= *carried {
            all.push(Type::new(ty.dtype, std::iter::once(trips.clone()).chain(ty.shape.iter().cloned()).collect()));
        } else if ty == types[i] {
            all.push(ty.clone());
        } else {
            return Err(format!("what is carried is {} and becomes {ty}", types[i]));
        }
    }
    Ok(all)
}

/// What a turn's nodes become.
#[derive(Clone, Debug)]
pub struct Outlined {
    /// Its inputs are those that were named, then one for each of `captures`; its outputs the results.
    pub graph: Graph,
    /// What it reads of the graph around it.
    pub captures: Vec<NodeId>,
}

/// The part of `graph` that computes `results` from `inputs`, as a graph of its own. What does not depend on the inputs
/// stays outside and is captured; constants go along. Nothing changes in `graph`.
pub fn outline(graph: &Graph, inputs: &[NodeId], results: &[NodeId]) -> Outlined {
    let inner = dependent(graph, inputs, results);
    let mut part = Graph::new();
    part.symbols = graph.symbols.clone();
    let mut ids: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    let input = |part: &mut Graph, id: NodeId| {
        let op = Op::Input { name: format!("{}", part.inputs().len()), ty: graph.ty(id).clone() };
        part.add(op, &[], &[]).expect("an input has no operands to misfit")
    };
    for &id in inputs {
        let made = input(&mut part, id);
        ids.insert(id, made);
    }
    // what is read from outside, in the order of its age
    let reads = inner.iter().flat_map(|&id| graph.operands(id)).chain(results.iter().copied());
    let outside: BTreeSet<NodeId> = reads.filter(|id| !inner.contains(id) && !inputs.contains(id)).collect();
    let mut captures = Vec::new();
    for id in outside {
        let made = match graph.as_const(id) {
            Some(tensor) => part.constant(tensor.clone(), &graph.node(id).names),
            None => {
                captures.push(id);
                input(&mut part, id)
            }
        };
        ids.insert(id, made);
    }
    for id in graph.order().into_iter().filter(|id| inner.contains(id)) {
        let operands: Vec<NodeId> = graph.operands(id).iter().map(|o| ids[o]).collect();
        let made = part.add(graph.op(id).clone(), &operands, &graph.node(id).names).expect("the same operands give the same type");
        ids.insert(id, made);
    }
    part.set_outputs(results.iter().enumerate().map(|(i, id)| (i.to_string(), ids[id])).collect());
    Outlined { graph: part, captures }
}

/// The nodes on a way from `inputs` to `results`, without the inputs.
fn dependent(graph: &Graph, inputs: &[NodeId], results: &[NodeId]) -> BTreeSet<NodeId> {
    let mut below = BTreeSet::new();
    let mut todo = inputs.to_vec();
    while let Some(id) = todo.pop() {
        for (user, _) in graph.uses(id) {
            if below.insert(user) {
                todo.push(user);
            }
        }
    }
    let mut needed = BTreeSet::new();
    let mut todo = results.to_vec();
    while let Some(id) = todo.pop() {
        if below.contains(&id) && needed.insert(id) {
            todo.extend(graph.operands(id));
        }
    }
    needed
}

/// A scan's region with the operands that are constants put into it, and the operands that are left. `None`: there are none.
pub fn sink_constants(graph: &Graph, id: NodeId) -> Option<(Op, Vec<NodeId>)> {
    let Op::Scan { trips, carried, sequences, stacks, region } = graph.op(id) else { return None };
    let (operands, inner) = (graph.operands(id), region.graph());
    let first = carried + sequences.len();
    let sinks = |slot: usize| slot >= first && graph.as_const(operands[slot]).is_some();
    if !(first..operands.len()).any(sinks) {
        return None;
    }
    let mut new = Graph::new();
    new.symbols = inner.symbols.clone();
    let mut ids: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    let mut left = Vec::new();
    for (slot, (&input, &operand)) in inner.inputs().iter().zip(&operands).enumerate() {
        let made = match graph.as_const(operand).filter(|_| slot >= first) {
            Some(tensor) => new.constant(tensor.clone(), &graph.node(operand).names),
            None => {
                left.push(operand);
                new.add(inner.op(input).clone(), &[], &[]).expect("an input has no operands to misfit")
            }
        };
        ids.insert(input, made);
    }
    for node in inner.order().into_iter().filter(|node| !inner.inputs().contains(node)) {
        let operands: Vec<NodeId> = inner.operands(node).iter().map(|o| ids[o]).collect();
        let made = new.add(inner.op(node).clone(), &operands, &inner.node(node).names).expect("the same operands give the same type");
        ids.insert(node, made);
    }
    new.set_outputs(inner.outputs().iter().map(|(name, id)| (name.clone(), ids[id])).collect());
    let op = Op::Scan {
        trips: trips.clone(),
        carried: *carried,
        sequences: sequences.clone(),
        stacks: stacks.clone(),
        region: Region::new(new),
    };
    Some((op, left))
}

/// How many turns a scan makes at most.
pub fn most_turns(trips: &Dim, symbols: &crate::dim::Symbols) -> u64 {
    u64::try_from(trips.bounds(symbols).1).unwrap_or(0)
}
