//! Who feeds whom in an ONNX graph: the order in which nodes can be imported, and what is wrong with the
//! wiring (cycles, values defined twice or never). Walks are loops, not recursion, so that a chain of any
//! length is fine. It refuses to know operators and types.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::proto;
use ir::Fault;

/// A fault of the wiring and the node it is at, if there is one.
#[derive(Debug, PartialEq, Eq)]
pub struct Misfit {
    pub node: Option<usize>,
    pub fault: Fault,
}

/// The nodes in an order where every value is made before it is read: the file's own order wherever
/// that is possible. `outside` says which names are known before the first node.
/// Fault: cycles, values never defined, or defined twice.
pub fn order(nodes: &[proto::Node], outside: &dyn Fn(&str) -> bool) -> Result<Vec<usize>, Vec<Misfit>> {
    let mut misfits = Vec::new();
    let mut maker: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            let fault = match maker.insert(name, index) {
                Some(first) => Fault::invalid(format!("value {name:?} is already made by node {}", label(&nodes[first], first))),
                None if outside(name) => Fault::invalid(format!("value {name:?} has the name of a value that exists already")),
                None => continue,
            };
            misfits.push(Misfit { node: Some(index), fault });
        }
    }
    let mut waits_for = vec![0usize; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        let mut makers = BTreeSet::new();
        for (name, inner) in reads(node) {
            match maker.get(name) {
                Some(made_by) => {
                    makers.insert(*made_by);
                }
                None if inner || outside(name) => {}
                None => misfits
                    .push(Misfit { node: Some(index), fault: Fault::invalid(format!("input {name:?} is not defined anywhere before")) }),
            }
        }
        waits_for[index] = makers.len();
        for made_by in makers {
            readers[made_by].push(index);
        }
    }
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|i| waits_for[*i] == 0).collect();
    let mut sorted = Vec::with_capacity(nodes.len());
    while let Some(index) = ready.pop_first() {
        sorted.push(index);
        for reader in &readers[index] {
            waits_for[*reader] -= 1;
            if waits_for[*reader] == 0 {
                ready.insert(*reader);
            }
        }
    }
    if sorted.len() < nodes.len() {
        misfits.extend(cycles(nodes, &waits_for, &readers));
    }
    if misfits.is_empty() { Ok(sorted) } else { Err(misfits) }
}

/// One fault per node of a cycle, for the first of them; what merely hangs behind a cycle is left out.
fn cycles(nodes: &[proto::Node], waits_for: &[usize], readers: &[Vec<usize>]) -> Vec<Misfit> {
    const SHOWN: usize = 16;
    let stuck: BTreeSet<usize> = (0..nodes.len()).filter(|i| waits_for[*i] > 0).collect();
    let mut live: BTreeMap<usize, usize> = stuck.iter().map(|i| (*i, readers[*i].iter().filter(|r| stuck.contains(r)).count())).collect();
    let mut makers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in &stuck {
        for reader in readers[*index].iter().filter(|r| stuck.contains(r)) {
            makers.entry(*reader).or_default().push(*index);
        }
    }
    let mut idle: VecDeque<usize> = live.iter().filter(|(_, uses)| **uses == 0).map(|(i, _)| *i).collect();
    while let Some(index) = idle.pop_front() {
        live.remove(&index);
        for made_by in makers.get(&index).into_iter().flatten() {
            if let Some(uses) = live.get_mut(made_by) {
                *uses -= 1;
                if *uses == 0 {
                    idle.push_back(*made_by);
                }
            }
        }
    }
    let total = live.len();
    live.into_keys()
        .take(SHOWN)
        .map(|index| Misfit {
            node: Some(index),
            fault: Fault::invalid(format!("it needs its own result: the graph has a cycle of {total} nodes")),
        })
        .collect()
}

/// The names that a node reads; the flag says that only a subgraph of it does, where the name may also be
/// the subgraph's own.
fn reads(node: &proto::Node) -> Vec<(&str, bool)> {
    let mut names: Vec<(&str, bool)> = node.input.iter().filter(|n| !n.is_empty()).map(|n| (n.as_str(), false)).collect();
    let mut open: Vec<&proto::Graph> = subgraphs(node).collect();
    while let Some(graph) = open.pop() {
        for inner in &graph.node {
            names.extend(inner.input.iter().filter(|n| !n.is_empty()).map(|n| (n.as_str(), true)));
            open.extend(subgraphs(inner));
        }
        names.extend(graph.output.iter().filter_map(|o| o.name.as_deref()).map(|n| (n, true)));
    }
    names
}

pub fn subgraphs(node: &proto::Node) -> impl Iterator<Item = &proto::Graph> {
    node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs))
}

/// How a node is called in messages: its name, or else its place and what it makes.
pub fn label(node: &proto::Node, index: usize) -> String {
    match node.name.as_deref() {
        Some(name) if !name.is_empty() => name.to_string(),
        _ => match node.output.iter().find(|name| !name.is_empty()) {
            Some(output) => format!("#{index} (makes {output:?})"),
            None => format!("#{index}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(input: &[&str], output: &[&str]) -> proto::Node {
        proto::Node {
            input: input.iter().map(|s| s.to_string()).collect(),
            output: output.iter().map(|s| s.to_string()).collect(),
            ..proto::Node::default()
        }
    }

    #[test]
    fn the_order_of_the_file_stays_where_it_can() {
        let nodes = [node(&["x"], &["a"]), node(&["c"], &["d"]), node(&["a"], &["b"]), node(&["b"], &["c"])];
        assert_eq!(order(&nodes, &|n| n == "x"), Ok(vec![0, 2, 3, 1]));
    }

    #[test]
    fn a_cycle_names_its_members_and_not_what_hangs_behind() {
        let nodes = [node(&["x", "b"], &["a"]), node(&["a"], &["b"]), node(&["b"], &["c"])];
        let misfits = order(&nodes, &|n| n == "x").expect_err("there is a cycle");
        assert_eq!(misfits.iter().map(|m| m.node).collect::<Vec<_>>(), [Some(0), Some(1)]);
    }

    #[test]
    fn undefined_and_twice_defined_values_are_both_told() {
        let nodes = [node(&["ghost"], &["a"]), node(&["x"], &["a"]), node(&[], &["x"])];
        let misfits = order(&nodes, &|n| n == "x").expect_err("three faults");
        let text: Vec<_> = misfits.iter().map(|m| m.fault.what.clone()).collect();
        assert_eq!(misfits.len(), 3, "{text:?}");
        assert!(text.iter().any(|t| t.contains("ghost")));
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let nodes: Vec<_> = (0..100_000).map(|i| node(&[&format!("v{i}")], &[&format!("v{}", i + 1)])).collect();
        assert_eq!(order(&nodes, &|n| n == "v0").map(|o| o.len()), Ok(100_000));
    }
}
