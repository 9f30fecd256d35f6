//! Work on a graph as a whole: what nothing needs, constants that are equal, the order of nodes.

use crate::run::Fuel;
use ir::{Graph, NodeId, Tensor};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Removes what no output needs.
pub fn dead(graph: &mut Graph, fuel: &mut Fuel) -> usize {
    if fuel.left() == Some(0) {
        return 0;
    }
    graph.remove_dead()
}

/// Constants up to this size are compared by their bytes; larger ones only when they are the same view.
const BYTES: usize = 4096;

/// Element type and shape.
type Kind = (&'static str, Vec<usize>);

/// Equal constants become one.
pub fn share_constants(graph: &mut Graph, fuel: &mut Fuel) -> usize {
    let mut small: BTreeMap<(Kind, bool, Vec<u8>), NodeId> = BTreeMap::new();
    let mut large: BTreeMap<Kind, Vec<NodeId>> = BTreeMap::new();
    let mut shared = 0;
    for id in graph.order() {
        let Some(tensor) = graph.as_const(id) else { continue };
        let kind = (tensor.dtype().name(), tensor.shape().to_vec());
        let splat = tensor.is_splat() && tensor.elements() > 0;
        let twin = if splat || tensor.elements() * tensor.dtype().bytes() <= BYTES {
            let bytes = if splat { one(tensor) } else { tensor.bytes().to_vec() };
            let first = *small.entry((kind, splat, bytes)).or_insert(id);
            (first != id).then_some(first)
        } else {
            let others = large.entry(kind).or_default();
            let twin = others.iter().copied().find(|&o| graph.as_const(o).is_some_and(|t| t.same_view(tensor)));
            if twin.is_none() {
                others.push(id);
            }
            twin
        };
        let Some(twin) = twin else { continue };
        if !fuel.take() {
            return shared;
        }
        let names = graph.node(id).names.clone();
        graph.rename(twin, &names);
        graph.replace(id, twin);
        graph.remove_unused(id);
        shared += 1;
    }
    shared
}

fn one(tensor: &Tensor) -> Vec<u8> {
    let rank = tensor.shape().len();
    tensor.slice(&vec![0; rank], &vec![1; rank], &vec![1; rank]).bytes().to_vec()
}

/// Numbers the nodes anew in the order of `age`: every node after its operands; among those that are ready, the
/// one that stands for the earliest part of the model.
pub fn order(graph: &mut Graph, age: &BTreeMap<NodeId, usize>) {
    let key = |id: NodeId| (age.get(&id).copied().unwrap_or(usize::MAX), id);
    let mut missing: BTreeMap<NodeId, usize> = graph.order().into_iter().map(|id| (id, graph.operands(id).len())).collect();
    let mut ready: BTreeSet<(usize, NodeId)> = missing.iter().filter(|(_, n)| **n == 0).map(|(&id, _)| key(id)).collect();
    graph.inputs().iter().for_each(|&id| {
        ready.remove(&key(id));
    });
    let mut todo: VecDeque<NodeId> = graph.inputs().iter().copied().collect();
    let mut new = Graph::new();
    new.symbols = graph.symbols.clone();
    let mut ids: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    while let Some(id) = todo.pop_front().or_else(|| ready.pop_first().map(|(_, id)| id)) {
        let node = graph.node(id);
        let operands: Vec<NodeId> = graph.operands(id).iter().map(|o| ids[o]).collect();
        let copy = new.add(node.op.clone(), &operands, &node.names).expect("the same operands give the same type");
        ids.insert(id, copy);
        for (user, _) in graph.uses(id) {
            let left = missing.entry(user).or_default();
            *left -= 1;
            if *left == 0 {
                ready.insert(key(user));
            }
        }
    }
    new.set_outputs(graph.outputs().iter().map(|(name, id)| (name.clone(), ids[id])).collect());
    *graph = new;
}
