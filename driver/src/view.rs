//! A graph as a table and as DOT, for reading. The exact form is `.gir`; this is not parsed back.

use std::collections::BTreeMap;

use ir::{Graph, NodeId, Op};

use crate::table::{Table, count, word};

/// Characters of an operator's attributes in a table.
const WIDTH: usize = 60;

/// Nodes that compute something, in order, numbered as `.gir` numbers them.
pub fn table(graph: &Graph) -> Table {
    let order = order(graph);
    let number: BTreeMap<NodeId, usize> = order.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let mut table = Table::new(&["node", "operator", "type", "operands", "attributes", "from"]);
    for &id in &order {
        if matches!(graph.op(id), Op::Const { .. }) {
            continue;
        }
        let operands: Vec<String> = graph.operands(id).iter().map(|o| operand(graph, *o, &number)).collect();
        table.row(vec![
            count(number[&id] as u64),
            word(graph.op(id).mnemonic()),
            word(graph.ty(id).to_string()),
            word(operands.join(" ")),
            word(crate::error::plain(ir::graph::text::attributes(graph.op(id)).trim(), WIDTH)),
            word(crate::error::plain(&graph.label(id), WIDTH)),
        ]);
    }
    table
}

/// A value by its number, a constant by its type.
fn operand(graph: &Graph, id: NodeId, number: &BTreeMap<NodeId, usize>) -> String {
    match graph.op(id) {
        Op::Const { .. } => graph.ty(id).to_string(),
        _ => format!("%{}", number[&id]),
    }
}

fn order(graph: &Graph) -> Vec<NodeId> {
    let rest = graph.order().into_iter().filter(|&id| !matches!(graph.op(id), Op::Input { .. }));
    graph.inputs().iter().copied().chain(rest).collect()
}

/// How many nodes there are of each operator, the most frequent first, in one line.
pub fn summary(graph: &Graph) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for id in graph.order() {
        *counts.entry(graph.op(id).mnemonic()).or_default() += 1;
    }
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(name, n)| (std::cmp::Reverse(*n), *name));
    let total: usize = counts.iter().filter(|(name, _)| !matches!(*name, "const" | "input")).map(|(_, n)| n).sum();
    let list: Vec<String> = counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
    format!("{total} nodes that compute: {}", list.join(", "))
}

/// For Graphviz: boxes that compute, ellipses for inputs and outputs; constants are left out.
pub fn dot(graph: &Graph) -> String {
    let mut out = String::from("digraph model {\n  node [shape=box, fontname=\"sans-serif\"];\n");
    draw(graph, "", &mut out);
    out.push_str("}\n");
    out
}

/// The nodes of a graph, their names behind `prefix`; regions are boxes of their own.
fn draw(graph: &Graph, prefix: &str, out: &mut String) {
    let escape = |text: &str| crate::error::plain(text, WIDTH).replace('\\', "\\\\").replace('"', "\\\"");
    for id in order(graph) {
        let shape = match graph.op(id) {
            Op::Const { .. } => continue,
            Op::Input { .. } => ", shape=ellipse",
            _ => "",
        };
        let name = format!("{prefix}n{}", id.index());
        let label = [graph.op(id).mnemonic().to_string(), graph.ty(id).to_string(), graph.label(id)].map(|t| escape(&t)).join("\\n");
        out.push_str(&format!("  {name} [label=\"{label}\"{shape}];\n"));
        for operand in graph.operands(id) {
            if !matches!(graph.op(operand), Op::Const { .. }) {
                out.push_str(&format!("  {prefix}n{} -> {name};\n", operand.index()));
            }
        }
        if let Op::Scan { trips, region, .. } = graph.op(id) {
            out.push_str(&format!("  subgraph cluster_{name} {{\n  label=\"{}\";\n", escape(&format!("{trips} turns"))));
            draw(region.graph(), &format!("{name}_"), out);
            out.push_str("  }\n");
        }
    }
    for (i, (label, id)) in graph.outputs().iter().enumerate() {
        let label = escape(label);
        out.push_str(&format!("  {prefix}o{i} [label=\"{label}\", shape=ellipse];\n  {prefix}n{} -> {prefix}o{i};\n", id.index()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::scalar::ScalarOp;
    use ir::{Body, Dtype, Tensor, Type};

    fn graph() -> Graph {
        let mut graph = Graph::new();
        let x = graph.add(Op::Input { name: "x".into(), ty: Type::of(Dtype::F32, &[2]) }, &[], &["x".into()]).expect("an input");
        let k = graph.constant(Tensor::f32s(&[2], &[1., 2.]), &[]);
        let body = Body::of(ScalarOp::Add);
        let y = graph.add(Op::Map { body }, &[x, k], &["a\"dd".into()]).expect("it fits");
        graph.set_outputs(vec![("y".into(), y)]);
        graph
    }

    #[test]
    fn a_graph_reads_as_a_table() {
        let text = table(&graph()).to_string();
        assert!(text.contains("%0 f32[2]") && text.contains("add(a, b)") && text.lines().count() == 3, "{text}");
        assert_eq!(summary(&graph()), "1 nodes that compute: 1 const, 1 input, 1 map");
    }

    #[test]
    fn a_graph_reads_as_dot() {
        let text = dot(&graph());
        assert!(text.contains("label=\"map\\nf32[2]\\na\\\"dd\"") && text.contains("n0 -> n2") && text.contains("n2 -> o0"), "{text}");
    }
}
