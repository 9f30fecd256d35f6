//! A graph that fails, made smaller as long as it still fails: outputs dropped, operators passed over, values given from
//! outside, bodies left out. What failing means is the caller's.

use ir::graph::op::Op;
use ir::graph::verify;
use ir::{Body, Graph, NodeId};

/// The smallest graph found that still `fails`. It does so at the start.
pub fn shrink(graph: &Graph, fails: &mut dyn FnMut(&Graph) -> bool) -> Graph {
    let mut best = tidy(graph);
    if !fails(&best) {
        return graph.clone();
    }
    loop {
        let smaller = candidates(&best).into_iter().find(|g| verify::verify(g).is_ok() && fails(g));
        match smaller {
            Some(graph) => best = graph,
            None => return best,
        }
    }
}

/// Without what no output needs, inputs among it.
fn tidy(graph: &Graph) -> Graph {
    let mut live = vec![false; graph.bound()];
    let mut todo: Vec<NodeId> = graph.outputs().iter().map(|(_, id)| *id).collect();
    while let Some(id) = todo.pop() {
        if !std::mem::replace(&mut live[id.index()], true) {
            todo.extend(graph.operands(id));
        }
    }
    let mut new = Graph::new();
    new.symbols = graph.symbols.clone();
    let mut ids: Vec<Option<NodeId>> = vec![None; graph.bound()];
    let rest = graph.order().into_iter().filter(|id| !graph.inputs().contains(id));
    for id in graph.inputs().iter().copied().chain(rest).filter(|id| live[id.index()]) {
        let operands: Vec<NodeId> = graph.operands(id).iter().map(|o| ids[o.index()].expect("operands come first")).collect();
        ids[id.index()] = new.add(graph.op(id).clone(), &operands, &graph.node(id).names).ok();
    }
    new.set_outputs(graph.outputs().iter().filter_map(|(name, id)| Some((name.clone(), ids[id.index()]?))).collect());
    new
}

/// Smaller graphs, the much smaller ones first.
fn candidates(graph: &Graph) -> Vec<Graph> {
    let mut out = Vec::new();
    let order = graph.order();
    let inner: Vec<NodeId> = order.iter().copied().filter(|&id| !matches!(graph.op(id), Op::Input { .. } | Op::Const { .. })).collect();
    if graph.outputs().len() > 1 {
        for output in graph.outputs() {
            let mut one = graph.clone();
            one.set_outputs(vec![output.clone()]);
            out.push(tidy(&one));
        }
        for i in 0..graph.outputs().len() {
            let mut fewer = graph.clone();
            let mut outputs = graph.outputs().to_vec();
            outputs.remove(i);
            fewer.set_outputs(outputs);
            out.push(tidy(&fewer));
        }
    }
    for &id in &inner {
        // what comes before it is not needed
        let mut cut = graph.clone();
        let name = format!("cut{}", cut.len());
        if let Ok(input) = cut.add(Op::Input { name, ty: graph.ty(id).clone() }, &[], &[]) {
            cut.replace(id, input);
            out.push(tidy(&cut));
        }
        // what comes behind it is not needed
        if graph.outputs().iter().any(|(_, o)| *o != id) {
            let mut early = graph.clone();
            early.set_outputs(vec![("y".into(), id)]);
            out.push(tidy(&early));
        }
        for operand in graph.operands(id) {
            if graph.ty(operand) == graph.ty(id) {
                let mut around = graph.clone();
                around.replace(id, operand);
                out.push(tidy(&around));
            }
        }
        for (op, operands) in plainer(graph, id) {
            let mut plain = graph.clone();
            if let Ok(new) = plain.add(op, &operands, &[])
                && plain.ty(new) == graph.ty(id)
            {
                plain.replace(id, new);
                out.push(tidy(&plain));
            }
        }
    }
    // a step back is no step
    out.retain(|g| weight(g) < weight(graph));
    out.sort_by_key(weight);
    out
}

/// How much there is to look at.
fn weight(graph: &Graph) -> usize {
    let terms = |op: &Op| match op {
        Op::Map { body } => body.terms.len(),
        other => [other.prologue(), other.epilogue()].into_iter().flatten().map(|body| body.terms.len()).sum(),
    };
    let node = |id: NodeId| {
        let own = if matches!(graph.op(id), Op::Input { .. } | Op::Const { .. }) { 1 } else { 8 };
        own + terms(graph.op(id))
    };
    graph.order().into_iter().map(node).sum::<usize>() + graph.outputs().len()
}

/// The operator with a body left out, or a term of it.
fn plainer(graph: &Graph, id: NodeId) -> Vec<(Op, Vec<NodeId>)> {
    let (op, operands) = (graph.op(id), graph.operands(id));
    let mut out = Vec::new();
    if let Op::Map { body } = op {
        for shorter in shorter(body) {
            out.push((Op::Map { body: shorter }, operands.clone()));
        }
    }
    if op.prologue().is_some_and(|prologue| !prologue.is_identity()) {
        let mut bare = op.clone();
        *bare.prologue_mut().expect("it has one") = Body::identity();
        out.push((bare, operands.clone()));
    }
    if let Some(body) = op.epilogue()
        && !body.is_identity()
    {
        let mut bare = op.clone();
        *bare.epilogue_mut().expect("it has one") = Body::identity();
        out.push((bare, operands[..op.own_operands()].to_vec()));
        for shorter in shorter(body) {
            let mut less = op.clone();
            *less.epilogue_mut().expect("it has one") = shorter;
            out.push((less, operands.clone()));
        }
    }
    out
}

/// The body ending at each of its earlier terms, and with a term replaced by one of its operands.
fn shorter(body: &Body) -> Vec<Body> {
    let mut out = Vec::new();
    for (i, term) in body.terms.iter().enumerate() {
        for &arg in &term.args {
            let mut less = body.clone();
            let here = ir::scalar::Arg::Term(i as u16);
            for later in &mut less.terms[i + 1..] {
                later.args.iter_mut().filter(|a| **a == here).for_each(|a| *a = arg);
            }
            if less.result == here {
                less.result = arg;
            }
            out.push(less.without_dead());
        }
    }
    out.retain(|b| b.terms.len() < body.terms.len());
    out
}
