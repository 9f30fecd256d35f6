//! What the tests of kernels share: machines with the facts of the real ones, seeded numbers, and a model that is
//! lowered for each machine, verified, run, and compared with the graph oracle.

// no test needs all of it
#![allow(dead_code)]

use ir::graph::op::Op;
use ir::kernel::facts::{Menu, MinMax};
use ir::kernel::{Facts, KernelBody};
use ir::program::{self, Program};
use ir::{Dtype, Graph, NodeId, Tensor, Type};
use kernels::Options;
use kernels::tasks::Tasks;

const PLAIN: Menu = Menu::PLAIN;

/// 64-byte vectors with masks and splats from memory, as AVX-512.
pub const WIDE: Facts = Facts {
    name: "64 bytes",
    vector_bytes: 64,
    vectors: 32,
    generals: 15,
    fused: true,
    min_max: MinMax::SecondOnTie,
    menu: Menu { memory_operand: true, splat_operand: true, masks: true, ..PLAIN },
    caches: [32 << 10, 1 << 20, 2 << 20],
    accumulators: 8,
    reach: i32::MAX,
    unroll: 4,
};

/// 32-byte vectors and few registers, as AVX2; with next to no cache: rows in blocks, panels outside, fetched ahead.
pub const NARROW: Facts = Facts {
    name: "32 bytes",
    vector_bytes: 32,
    vectors: 16,
    menu: Menu { memory_operand: true, ..PLAIN },
    caches: [1 << 10, 2 << 10, 4 << 10],
    ..WIDE
};

/// Products by lane and short addresses, as NEON.
pub const LANES: Facts = Facts {
    name: "lanes",
    vector_bytes: 16,
    generals: 26,
    min_max: MinMax::Ieee,
    menu: Menu { lane_operand: true, ..PLAIN },
    accumulators: 16,
    reach: 65520,
    ..WIDE
};

/// The same with addresses so short that small tensors go beyond them.
pub const SHORT: Facts = Facts { name: "lanes, short addresses", reach: 256, unroll: 8, caches: NARROW.caches, ..LANES };

/// A product and a sum for a multiply-add, and no unrolling, as WebAssembly.
pub const ENGINE: Facts = Facts {
    name: "engine",
    vector_bytes: 16,
    vectors: 15,
    fused: false,
    menu: Menu { memory_operand: true, splat_operand: true, ..PLAIN },
    unroll: 1,
    ..WIDE
};

pub const RELAXED: Facts = Facts { name: "relaxed engine", fused: true, ..ENGINE };

/// Nothing beyond registers.
const BARE: Facts = Facts { name: "bare", vectors: 16, min_max: MinMax::Ieee, menu: PLAIN, unroll: 4, ..ENGINE };

pub const MACHINES: [Facts; 7] = [WIDE, NARROW, LANES, SHORT, ENGINE, RELAXED, BARE];

/// Four products of bytes at once, u8 by i8 as AVX-512 VNNI, and i8 by i8 as NEON.
pub const QUADS: [Facts; 2] = [
    Facts { name: "64 bytes, u8 by i8", menu: Menu { dot4_u8s8: true, pick8: true, ..WIDE.menu }, ..WIDE },
    Facts { name: "lanes, i8 by i8", menu: Menu { dot4_s8s8: true, ..LANES.menu }, ..LANES },
];

/// Machines that multiply bytes: u8 by i8 four at once, by saturated pairs with few registers and with many, i8 by i8 by lane.
pub const MULTIPLIERS: [Facts; 4] = [
    Facts { name: "dots", menu: Menu { dot4_u8s8: true, pair_sat: true, pair16: true, ..WIDE.menu }, ..WIDE },
    Facts { name: "pairs", menu: Menu { pair_sat: true, pair16: true, ..NARROW.menu }, ..NARROW },
    Facts { name: "wide pairs", menu: Menu { pair_sat: true, pair16: true, ..WIDE.menu }, ..WIDE },
    Facts { name: "dots by lane", menu: Menu { dot4_s8s8: true, ..LANES.menu }, ..LANES },
];

/// Seeded numbers in -size..size.
pub fn numbers(seed: u64, shape: &[usize], size: f32) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let values: Vec<f32> = (0..shape.iter().product::<usize>())
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * size
        })
        .collect();
    Tensor::f32s(shape, &values)
}

/// Seeded integers of `dtype`, all of its values.
pub fn integers(seed: u64, dtype: Dtype, shape: &[usize]) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bytes: Vec<u8> = (0..shape.iter().product::<usize>() * dtype.bytes())
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let byte = (state >> 56) as u8;
            if dtype == Dtype::Bool { byte & 1 } else { byte }
        })
        .collect();
    Tensor::dense(dtype, shape, bytes)
}

pub struct Model {
    graph: Graph,
    feeds: Vec<Tensor>,
    size: f32,
    /// Relative to the largest element.
    tolerance: f32,
    /// How far integers may be off, where they are rounded sums of floats.
    pub steps: i64,
    /// Scalar kernels may be among the program's.
    pub mixed: bool,
    /// Machines besides those that every model is checked on.
    pub more: &'static [Facts],
    /// What is decided about its kernels.
    pub options: Options,
}

impl Model {
    /// Its numbers lie in -size..size.
    pub fn new(size: f32, tolerance: f32) -> Model {
        Model {
            graph: Graph::new(),
            feeds: Vec::new(),
            size,
            tolerance,
            steps: 0,
            mixed: false,
            more: &[],
            options: Options { winograd: None, ..Options::default() },
        }
    }

    pub fn input(&mut self, shape: &[usize]) -> NodeId {
        self.feed(numbers(self.feeds.len() as u64 + 7, shape, self.size))
    }

    pub fn feed(&mut self, values: Tensor) -> NodeId {
        let op = Op::Input { name: format!("x{}", self.feeds.len()), ty: Type::of(values.dtype(), values.shape()) };
        self.feeds.push(values);
        self.graph.add(op, &[], &[]).expect("an input")
    }

    pub fn constant(&mut self, seed: u64, shape: &[usize]) -> NodeId {
        self.graph.constant(numbers(seed, shape, self.size), &[])
    }

    pub fn fixed(&mut self, values: Tensor) -> NodeId {
        self.graph.constant(values, &[])
    }

    pub fn add(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        self.graph.add(op, operands, &[]).expect("the test's shapes fit")
    }

    fn set_outputs(&mut self, outputs: &[NodeId]) {
        self.graph.set_outputs(outputs.iter().enumerate().map(|(i, &id)| (format!("y{i}"), id)).collect());
    }

    /// The sound program that computes the outputs, with weights laid out as for `packing`.
    pub fn lower(&mut self, outputs: &[NodeId], facts: &Facts, packing: &Facts) -> Program {
        self.lower_in_tasks(outputs, facts, packing, self.options.tasks)
    }

    fn lower_in_tasks(&mut self, outputs: &[NodeId], facts: &Facts, packing: &Facts, tasks: Tasks) -> Program {
        self.set_outputs(outputs);
        let program = kernels::lower_like(&self.graph, facts, packing, Options { tasks, ..self.options.clone() }).expect("it lowers");
        program::verify(&program, facts).unwrap_or_else(|wrong| panic!("on the machine `{}`: {}", facts.name, wrong.join("\n")));
        program
    }

    /// Compares the outputs on every machine with the graph oracle.
    pub fn check(self, outputs: &[NodeId]) {
        // each for itself, and those with narrow vectors like the widest
        let shared = [NARROW, BARE].map(|facts| (facts, WIDE));
        let own: Vec<(Facts, Facts)> = MACHINES.iter().chain(self.more).map(|facts| (facts.clone(), facts.clone())).collect();
        self.check_on(outputs, own.into_iter().chain(shared));
    }

    /// The same on machines with their packings.
    pub fn check_on(mut self, outputs: &[NodeId], machines: impl IntoIterator<Item = (Facts, Facts)>) {
        self.set_outputs(outputs);
        let want = ir::graph::eval::eval(&self.graph, &self.feeds).expect("the oracle runs");
        for (facts, packing) in machines {
            let program = self.lower(outputs, &facts, &packing);
            for kernel in &program.kernels {
                let tile = matches!(kernel.body, KernelBody::Tile(_));
                assert!(tile || self.mixed, "{} is scalar on the machine `{}`", kernel.name, facts.name);
            }
            let got = program::run(&program, &facts, &self.feeds).expect("no status");
            for (got, want) in got.iter().zip(&want) {
                self.compare(got, want, facts.name);
            }
            self.check_in_tasks(outputs, &facts, &packing, &want);
        }
    }

    /// Cut into as many calls as can be, in whatever order they run.
    fn check_in_tasks(&mut self, outputs: &[NodeId], facts: &Facts, packing: &Facts, want: &[Tensor]) {
        let mut program = self.lower_in_tasks(outputs, facts, packing, Tasks { most: 5, steps: 1, bytes: 1 });
        let forwards = program::run(&program, facts, &self.feeds).expect("no status");
        program.steps.iter_mut().for_each(|step| step.calls.reverse());
        let backwards = program::run(&program, facts, &self.feeds).expect("no status");
        for ((one, other), want) in forwards.iter().zip(&backwards).zip(want) {
            assert_eq!(one.bytes(), other.bytes(), "the order of calls matters on the machine `{}`", facts.name);
            self.compare(one, want, facts.name);
        }
    }

    fn compare(&self, got: &Tensor, want: &Tensor, machine: &str) {
        if want.dtype() != Dtype::F32 {
            for (i, (g, w)) in got.to_i64s().iter().zip(want.to_i64s()).enumerate() {
                assert!((g - w).abs() <= self.steps, "element {i} of {:?}: {g}, not {w}, on the machine `{machine}`", want.shape());
            }
            return;
        }
        let finite = want.to_f32s().into_iter().filter(|v| v.is_finite());
        let largest = finite.fold(1e-6f32, |a, b| a.max(b.abs()));
        for (i, (g, w)) in got.to_f32s().iter().zip(want.to_f32s()).enumerate() {
            let near = (g - w).abs() <= self.tolerance * largest || *g == w || (g.is_nan() && w.is_nan());
            assert!(near, "element {i} of {:?}: {g}, not {w}, on the machine `{machine}`", want.shape());
        }
    }
}
