//! What any bytes must not break: the importer, the readers of the text forms, and everything behind them that a small
//! graph goes through. A fault is an answer; a panic, a graph that does not verify, a text that reads back as another is
//! not. The fuzzer (`bench/fuzz`) and the tests call the same functions.

use bytes::Bytes;
use frontend::{Limits, NoFiles, Options};
use ir::kernel::Facts;
use ir::{Graph, Op, graph, kernel, program};

/// Small enough for thousands a second; what is above them is refused in the same places.
fn limits() -> Limits {
    Limits { nodes: 3000, bytes: 1 << 26, dense: 1 << 20, ..Limits::default() }
}

fn facts() -> &'static Facts {
    x64::facts::LEVELS[0].facts
}

/// A model file.
pub fn onnx(bytes: &[u8]) {
    let options = Options { limits: limits(), ..Options::default() };
    if let Ok(import) = frontend::import(Bytes::copy_from_slice(bytes), &NoFiles, &options) {
        if let Err(wrong) = graph::verify::verify(&import.graph) {
            panic!("the importer made no graph: {}", wrong.join("; "));
        }
        on(import.graph);
    }
}

/// A graph as text.
pub fn gir(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(graph) = graph::text::parse(text, &|_| None) else { return };
    if graph::verify::verify(&graph).is_ok() {
        on(graph);
    }
}

/// A kernel as text.
pub fn kir(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(read) = kernel::text::parse(text) else { return };
    let printed = kernel::text::print(&read);
    match kernel::text::parse(&printed) {
        Ok(back) => assert_eq!(kernel::text::print(&back), printed, "it reads back as another"),
        Err(error) => panic!("what is printed does not read back: {error}\n{printed}"),
    }
    let _ = kernel::verify::verify(&read, facts());
}

/// Bytes that decide what a drawn graph is.
pub fn drawn(bytes: &[u8]) {
    on(cases::draw::graph(&mut cases::draw::Dice::of_bytes(bytes)));
}

/// Elements of all values above which a graph is only looked at.
const SMALL: usize = 1 << 16;

/// A verified graph through the text form, the passes and, where it is small, the kernels.
fn on(graph: Graph) {
    let printed = graph::text::print(&graph);
    let constants = graph::text::constants(&graph);
    match graph::text::parse(&printed, &|hash| constants.get(&hash).cloned()) {
        Ok(back) => assert_eq!(graph::text::print(&back), printed, "it reads back as another"),
        Err(error) => panic!("what is printed does not read back: {error}\n{printed}"),
    }
    let mut elements = 0usize;
    for id in graph.order() {
        // a splat constant is one element
        let own = if matches!(graph.op(id), Op::Const { tensor } if tensor.is_splat()) {
            1
        } else {
            graph.ty(id).elements().unwrap_or(usize::MAX)
        };
        elements = elements.saturating_add(own);
    }
    if elements > SMALL || graph.len() > 400 {
        return;
    }
    let mut after = graph;
    let report = passes::optimize(&mut after, &passes::Options::default(), &mut ()).expect("no name is unknown");
    assert!(report.refused.is_empty() && report.unsettled.is_empty(), "refused {:?}, unsettled {:?}", report.refused, report.unsettled);
    if let Err(wrong) = graph::verify::verify(&after) {
        panic!("the passes left no graph: {}", wrong.join("; "));
    }
    if let Ok(made) = kernels::lower(&after, facts())
        && let Err(wrong) = program::verify(&made, facts())
    {
        panic!("the program is unsound: {}", wrong.join("; "));
    }
}
