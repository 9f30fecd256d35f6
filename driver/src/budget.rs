//! How much memory a model may ask of this process or its child before it is refused. It knows sizes, not what is computed.

use ir::{Fault, Graph, NodeId, Op, Program};

/// Bytes that the reference interpreter, or a child that runs the model, may take.
const RUN: u64 = 8 << 30;
/// Bytes of an arena beyond which no machine has them.
const ARENA: u64 = 1 << 40;
/// Bytes of an arena that are worth a word.
const LARGE: u64 = 4 << 30;

/// Turns of one node that the reference interpreter takes.
const TURNS: u64 = 1 << 20;

/// Bytes per element while the interpreter works on it.
const WIDE: u64 = 8;

/// Elements of a value, at the largest sizes of its dimensions.
fn most(graph: &Graph, id: NodeId) -> u64 {
    let size = |dim: &ir::Dim| u64::try_from(dim.bounds(&graph.symbols).1).unwrap_or(0);
    graph.ty(id).shape.iter().fold(1, |n: u64, dim| n.saturating_mul(size(dim)))
}

/// What the interpreter would hold: all values that are computed, until their last use. Fault: too much, or too many turns, at the
/// node that takes the most.
pub fn reference(graph: &Graph) -> Result<(), Fault> {
    let order = graph.order();
    let mut last = vec![0; graph.bound()];
    for (step, &id) in order.iter().enumerate() {
        graph.operands(id).iter().for_each(|operand| last[operand.index()] = step);
    }
    graph.outputs().iter().for_each(|(_, id)| last[id.index()] = order.len());
    let elements = |id| most(graph, id);
    // constants lie in the file, or are one element repeated
    let held = |id| match graph.op(id) {
        Op::Const { .. } => 0,
        _ => elements(id).saturating_mul(graph.ty(id).dtype.bytes() as u64),
    };
    let mut ends: Vec<Vec<ir::NodeId>> = vec![Vec::new(); order.len() + 1];
    order.iter().for_each(|&id| ends[last[id.index()]].push(id));
    let mut live = 0u64;
    for (step, &id) in order.iter().enumerate() {
        if let Op::Scan { trips, .. } = graph.op(id)
            && ir::graph::region::most_turns(trips, &graph.symbols) > TURNS
        {
            let what = format!("the reference interpreter would take {trips} turns; at most {TURNS} are taken");
            return Err(Fault::limit(what).at(graph.label(id)).op(graph.op(id).mnemonic()));
        }
        live = live.saturating_add(held(id));
        let work = if matches!(graph.op(id), Op::Const { .. } | Op::Input { .. }) { 0 } else { elements(id).saturating_mul(WIDE) };
        let bytes = live.saturating_add(work);
        if bytes > RUN {
            let what = format!("the reference interpreter would need {bytes} bytes here; at most {RUN} are taken");
            return Err(Fault::limit(what).at(graph.label(id)).op(graph.op(id).mnemonic()));
        }
        for dead in &ends[step] {
            live = live.saturating_sub(held(*dead));
        }
    }
    Ok(())
}

/// Fault: arrays for the inputs would take too much.
pub fn inputs(graph: &Graph) -> Result<(), Fault> {
    let mut all = 0u64;
    for &id in graph.inputs() {
        let elements = most(graph, id);
        all = all.saturating_add(elements.saturating_mul(graph.ty(id).dtype.bytes() as u64));
        if all > RUN {
            return Err(Fault::limit(format!("the inputs take {all} bytes; at most {RUN} are made up")).at(graph.label(id)));
        }
    }
    Ok(())
}

/// Fault: an arena that no machine has, at the largest of its buffers.
pub fn arena(program: &Program) -> Result<(), Fault> {
    refuse(program, program.arena_bytes, ARENA, "the model needs")
}

/// Fault: more than a child may take.
pub fn child(program: &Program) -> Result<(), Fault> {
    let ports = program.inputs.iter().chain(&program.outputs).fold(0u64, |sum, port| sum.saturating_add(port.bytes));
    refuse(program, program.arena_bytes.saturating_add(ports), RUN, "running the model takes")
}

fn refuse(program: &Program, bytes: u64, most: u64, what: &str) -> Result<(), Fault> {
    if bytes <= most {
        return Ok(());
    }
    let fault = Fault::limit(format!("{what} {bytes} bytes of memory; at most {most} are taken"));
    Err(match program.plan.iter().max_by_key(|a| a.bytes) {
        Some(largest) => fault.at(&*largest.name),
        None => fault,
    })
}

/// Something to say about a large arena.
pub fn note(program: &Program) -> Option<String> {
    (program.arena_bytes > LARGE).then(|| format!("the model needs an arena of {} bytes", program.arena_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_that_takes_too_much_is_named() {
        let of = |n: usize| {
            let text = format!("graph {{ %0: f32[{n}] = input \"x\"\n %1: f32[{n}] = map %0 do {{ neg(a) }}\n return %1 \"y\" }}");
            ir::graph::text::parse(&text, &|_| None)
        };
        assert!(reference(&of(1 << 20).expect("it parses")).is_ok());
        let fault = reference(&of((1 << 30) - 1).expect("it parses")).expect_err("too large");
        assert_eq!((fault.kind, fault.op.as_deref()), (ir::Kind::Limit, Some("map")));
        assert!(inputs(&of(1 << 20).expect("it parses")).is_ok() && inputs(&of(1 << 32).expect("it parses")).is_err());
    }

    #[test]
    fn turns_have_an_end() {
        let of = |turns: u64| {
            let text = format!(
                "graph {{\n  %0: f32[2] = input \"x\"\n  %1: f32[2] = scan %0 {{trips={turns}, carried=1, sequences=[], stacks=[]}} turn graph {{\n    %0: f32[2] = input \"s\"\n    %1: f32[2] = map %0 do {{ neg(a) }}\n    return %1 \"t\"\n  }}\n  %2: f32[2] = take %1 {{index=0, ty=f32[2]}}\n  return %2 \"y\"\n}}"
            );
            ir::graph::text::parse(&text, &|_| None).expect("it parses")
        };
        assert!(reference(&of(TURNS)).is_ok());
        let fault = reference(&of(TURNS + 1)).expect_err("too many");
        assert_eq!((fault.kind, fault.op.as_deref()), (ir::Kind::Limit, Some("scan")));
    }

    #[test]
    fn arenas_have_an_end() {
        let of = |arena_bytes| Program { arena_bytes, ..Program::default() };
        assert!(arena(&of(ARENA)).is_ok() && arena(&of(ARENA + 1)).is_err());
        assert!(child(&of(RUN)).is_ok() && child(&of(RUN + 1)).is_err());
        assert!(note(&of(LARGE)).is_none() && note(&of(LARGE + 1)).is_some());
    }
}
