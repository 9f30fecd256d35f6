//! Graphs that nobody would write: valid, drawn at random, over every tensor operator, every element type and odd shapes.
//! A graph is a function of its dice, so that a failure can be looked at again; [`shrink`] makes it small. What a graph must
//! compute is not decided here, only how far roundings may carry it ([`doubt`]).

mod bodies;
mod doubt;
mod idioms;
mod operators;
mod shrink;

use ir::graph::op::Op;
use ir::{Dtype, Graph, NodeId, Tensor, Type};

pub use doubt::Doubt;
pub use shrink::shrink;

/// Where chance comes from: bytes as long as there are some, which a fuzzer mutates, then a generator.
#[derive(Clone, Debug)]
pub struct Dice {
    bytes: Vec<u8>,
    at: usize,
    state: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice { bytes: Vec::new(), at: 0, state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1) }
    }

    pub fn of_bytes(bytes: &[u8]) -> Dice {
        Dice { bytes: bytes.to_vec(), ..Dice::new(bytes.len() as u64) }
    }

    /// A number below `n`, which is at least 1 and at most 2^16 where the bytes are to decide.
    pub fn below(&mut self, n: usize) -> usize {
        let left = &self.bytes[self.at.min(self.bytes.len())..];
        let width = if n <= 256 { 1 } else { 2 };
        if left.len() >= width {
            self.at += width;
            return left[..width].iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)) % n;
        }
        // Knuth's constants; the upper bits are the good ones
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as usize % n
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn of<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }
}

/// The graph so far.
struct Drawing<'d> {
    graph: Graph,
    dice: &'d mut Dice,
    /// What operators may take: inputs and results, the oldest first.
    values: Vec<NodeId>,
    /// Whether a value is the same on every machine to the last bit, by node. Only such values are compared, rounded to
    /// integers, sorted or read as bits: of others a rounding would decide.
    exact: Vec<bool>,
}

/// Elements of a value above which nothing more is made of it.
const MOST: usize = 3000;

const SHAPES: &[&[usize]] = &[
    &[1, 4, 6, 2],
    &[1, 2, 4, 6],
    &[2, 3, 4],
    &[6, 4],
    &[1, 4, 1, 1],
    &[1, 5, 7, 3],
    &[2, 9, 8],
    &[1, 8, 8, 16],
    &[3, 17],
    &[1, 33],
    &[7],
    &[],
    &[2, 1, 3, 1, 5],
    &[1, 3, 4, 5, 2],
    &[4, 31],
    &[1],
    &[2, 0, 3],
    &[1, 6, 6, 17],
];

impl Drawing<'_> {
    fn sizes(&self, id: NodeId) -> Vec<usize> {
        self.graph.ty(id).fixed().expect("nothing here is symbolic")
    }

    fn dtype(&self, id: NodeId) -> Dtype {
        self.graph.ty(id).dtype
    }

    fn is_exact(&self, id: NodeId) -> bool {
        self.exact[id.index()]
    }

    /// Adds a node where the operands fit.
    fn add(&mut self, op: Op, operands: &[NodeId]) -> Option<NodeId> {
        let id = self.place(op, operands)?;
        let shape = self.sizes(id);
        // a large one would make the interpreters slow
        (shape.iter().product::<usize>() <= MOST && shape.len() <= 6).then_some(id)
    }

    fn place(&mut self, op: Op, operands: &[NodeId]) -> Option<NodeId> {
        let name = format!("n{}", self.graph.len());
        let id = self.graph.add(op, operands, &[name.into()]).ok()?;
        let exact = doubt::is_exact(&self.graph, id, &|operand| self.exact[operand.index()]);
        self.exact.resize(id.index() + 1, false);
        self.exact[id.index()] = exact;
        Some(id)
    }

    fn constant(&mut self, dtype: Dtype, shape: &[usize]) -> NodeId {
        let seed = self.dice.below(1000) as u64;
        let mut tensor = ir::graph::text::random(dtype, shape, seed);
        if self.dice.one_in(4) && tensor.elements() > 0 {
            let first = tensor.bytes()[..dtype.bytes()].to_vec();
            tensor = Tensor::splat(dtype, shape, &first);
        }
        self.place(Op::Const { tensor }, &[]).expect("a constant has no operands to misfit")
    }

    /// An earlier value that satisfies a wish, the latest more often.
    fn value(&mut self, wish: impl Fn(&Drawing, NodeId) -> bool) -> Option<NodeId> {
        let fit: Vec<NodeId> = self.values.iter().copied().filter(|&v| wish(self, v)).collect();
        let last = *fit.last()?;
        Some(if self.dice.one_in(2) { last } else { self.dice.of(&fit) })
    }
}

/// A type of elements: f32 mostly, as in models.
fn dtype(dice: &mut Dice) -> Dtype {
    match dice.below(8) {
        0..=3 => Dtype::F32,
        4 => dice.of(&[Dtype::I64, Dtype::I32, Dtype::Bool]),
        5 => dice.of(&[Dtype::I8, Dtype::U8]),
        _ => dice.of(Dtype::ALL),
    }
}

/// A verified graph with one to three inputs and up to 28 operators.
pub fn graph(dice: &mut Dice) -> Graph {
    let mut drawing = Drawing { graph: Graph::new(), dice, values: Vec::new(), exact: Vec::new() };
    let inputs = 1 + drawing.dice.below(3);
    for i in 0..inputs {
        let shape = drawing.dice.of(SHAPES);
        let ty = Type::of(dtype(drawing.dice), shape);
        let id = drawing.add(Op::Input { name: format!("x{i}"), ty }, &[]).expect("an input fits");
        drawing.values.push(id);
    }
    let count = drawing.values.len() + 1 + drawing.dice.below(drawing.values.len() * 9);
    for _ in 0..3 * count {
        if drawing.values.len() >= count {
            break;
        }
        let made = if drawing.dice.one_in(8) { idioms::step(&mut drawing) } else { operators::step(&mut drawing) };
        drawing.values.extend(made);
    }
    let Drawing { mut graph, dice, values, .. } = drawing;
    // values that nothing uses, and now and then one that something does
    let unused: Vec<NodeId> = values.into_iter().filter(|&v| graph.use_count(v) == 0 || dice.one_in(12)).collect();
    graph.set_outputs(unused.into_iter().enumerate().map(|(i, v)| (format!("y{i}"), v)).collect());
    graph.remove_dead();
    graph
}

/// Inputs for a graph, the same for the same seed: small numbers, or with `edges` every eighth one that is hard for its type.
pub fn inputs(graph: &Graph, seed: u64, edges: bool) -> Vec<Tensor> {
    let of = |(i, &id): (usize, &NodeId)| {
        let ty = graph.ty(id);
        let shape = ty.fixed().expect("nothing here is symbolic");
        let drawn = ir::graph::text::random(ty.dtype, &shape, seed.wrapping_mul(31).wrapping_add(i as u64 + 1));
        if edges { with_edges(&drawn, &mut Dice::new(seed + 77 * i as u64)) } else { drawn }
    };
    graph.inputs().iter().enumerate().map(of).collect()
}

fn with_edges(tensor: &Tensor, dice: &mut Dice) -> Tensor {
    let dtype = tensor.dtype();
    let hard: Vec<ir::scalar::Literal> = match dtype.int_range() {
        Some((low, high)) => [low, high, low + 1, high - 1].iter().map(|&v| ir::scalar::Literal::int(dtype, v as i64)).collect(),
        None if dtype.is_float() => {
            // squares and cubes of them stay in f32, where kernels compute
            let numbers = [0.0, -0.0, 1e9, -1e9, 1e-40, 65504.0, 3e9, -2.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
            numbers.iter().map(|&v| ir::scalar::Literal::number(dtype, v)).collect()
        }
        None => vec![ir::scalar::Literal::bool(true)],
    };
    let mut bytes = tensor.bytes().to_vec();
    for element in bytes.chunks_exact_mut(dtype.bytes()) {
        if dice.one_in(8) {
            element.copy_from_slice(&dice.of(&hard).to_bytes());
        }
    }
    Tensor::dense(dtype, tensor.shape(), bytes)
}
