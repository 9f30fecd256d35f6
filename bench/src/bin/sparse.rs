//! `cargo run --release -p maquette-bench --bin sparse [-- bytes] [MxNxK …]`: products by weights with zeros. For every level that
//! this machine runs, every shape and share of zeros: the dense product, each encoding, and what is chosen without being told,
//! in interleaved turns of one process; the best of each, and its part of the dense time. Results are compared with the dense one.
#![allow(unsafe_code)]

use bench::machine::{Loaded, Memory, levels};
use ir::graph::op::Op;
use ir::kernel::Facts;
use ir::program::Program;
use ir::{Body, Dtype, Graph, Tensor, Type};
use kernels::Options;
use kernels::cost::Tuned;
use kernels::tasks::Tasks;
use std::sync::Arc;

const SHAPES: &[(usize, usize, usize)] = &[(784, 256, 256), (196, 512, 512), (64, 1024, 1024)];
const SHARES: &[usize] = &[30, 40, 50, 70, 80, 90, 95];

/// How weights that stay lie: one by one, or four columns or four steps of K at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pattern {
    Unstructured,
    /// Four results.
    Columns,
    /// Four neighbours along K.
    Steps,
}

impl Pattern {
    fn name(self) -> &'static str {
        match self {
            Pattern::Unstructured => "unstructured",
            Pattern::Columns => "4x1",
            Pattern::Steps => "1x4",
        }
    }
}

fn main() -> Result<(), String> {
    let mut given: Vec<String> = std::env::args().skip(1).collect();
    let mut take = |word: &str| {
        let at = given.iter().position(|g| g == word);
        at.map(|at| given.remove(at)).is_some()
    };
    let (bytes, only) = (take("bytes"), take("v4"));
    let given: Vec<(usize, usize, usize)> = given.iter().map(|text| bench::sizes(text)).collect::<Result<_, _>>()?;
    let shapes = if given.is_empty() { SHAPES } else { &given };
    println!(
        "{:<15} {:<12} {:<13} {:>5} {:>9} {:>9}  {:<30} {:<16}",
        "level", "m x n x k", "pattern", "zeros", "dense us", "code KB", "candidate: of dense (predicted)", "chosen: of dense"
    );
    let patterns: &[Pattern] = if bytes { &[Pattern::Steps] } else { &[Pattern::Unstructured, Pattern::Columns] };
    let mut slowest = 0f64;
    for facts in levels() {
        let skip = match bytes {
            true => !facts.menu.dot4_u8s8 || facts.menu.pick8,
            false => facts.menu.dot4_u8s8 || (only && facts.vector_bytes < 64),
        };
        if skip {
            continue;
        }
        for &shape in shapes {
            for &pattern in patterns {
                for &share in SHARES {
                    slowest = slowest.max(time(facts, shape, pattern, share, bytes)?);
                }
            }
        }
    }
    println!("the slowest choice takes {slowest:.3} of the dense time");
    Ok(())
}

/// A program that is one call after the other.
struct Ready {
    kernels: Vec<Loaded>,
    /// Kernel, and where its arguments are: memory and offset.
    calls: Vec<(usize, Vec<(usize, usize)>)>,
    memory: Vec<Memory>,
}

/// Memory of a call: input, output, scratch, then constants.
fn ready(program: &Program, facts: &Facts, a: &[u8], result: usize) -> Result<Ready, String> {
    use ir::program::Address;
    let kernels = program.kernels.iter().map(|k| Loaded::kernel(k, facts)).collect::<Result<_, _>>()?;
    let mut memory = vec![Memory::of(a), Memory::new(result), Memory::new(program.worker_bytes as usize + 64)];
    memory.extend(program.constants.iter().map(|c| Memory::of(&c.to_vec())));
    let place = |address: &Address| match *address {
        Address::Input { offset, .. } => Ok((0, offset as usize)),
        Address::Output { offset, .. } => Ok((1, offset as usize)),
        Address::Scratch { offset } => Ok((2, offset as usize)),
        Address::Constant { index, offset } => Ok((3 + index, offset as usize)),
        ref other => Err(format!("{other:?} has no memory here")),
    };
    let mut calls = Vec::new();
    for call in program.steps.iter().flat_map(|s| &s.calls) {
        calls.push((call.kernel, call.args.iter().map(place).collect::<Result<_, _>>()?));
    }
    Ok(Ready { kernels, calls, memory })
}

impl Ready {
    fn run(&mut self) {
        for (kernel, places) in &self.calls {
            let pointers: Vec<*mut u8> =
                places.iter().map(|&(memory, offset)| self.memory[memory].pointer().wrapping_add(offset)).collect();
            // SAFETY: the program was verified, and its memory is as large as it says
            unsafe { self.kernels[*kernel].call(&pointers) };
        }
    }

    fn seconds(&mut self, times: usize) -> f64 {
        let start = std::time::Instant::now();
        (0..times).for_each(|_| self.run());
        start.elapsed().as_secs_f64() / times as f64
    }
}

/// The chosen one's part of the dense time.
fn time(facts: &Facts, (m, n, k): (usize, usize, usize), pattern: Pattern, share: usize, bytes: bool) -> Result<f64, String> {
    let fault = |f: ir::Fault| f.to_string();
    let (dtype, right) = if bytes { (Dtype::U8, Dtype::I8) } else { (Dtype::F32, Dtype::F32) };
    let mut state = 88172645463325252u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (blocks, columns) = match pattern {
        Pattern::Unstructured => (k, n),
        Pattern::Columns => (k, n / 4),
        Pattern::Steps => (k / 4, n),
    };
    let kept: Vec<bool> = (0..blocks * columns).map(|_| (random() >> 20) % 100 >= share as u64).collect();
    let keeps = |i: usize| match pattern {
        Pattern::Unstructured => kept[i],
        Pattern::Columns => kept[i / n * columns + i % n / 4],
        Pattern::Steps => kept[i / n / 4 * columns + i % n],
    };
    let weights: Vec<u8> = (0..k * n)
        .flat_map(|i| {
            let w = if keeps(i) { random() % 200 + 1 } else { 0 };
            if bytes { vec![(w as i32 - if w > 0 { 100 } else { 0 }) as u8] } else { (w as f32 / 200.0).to_le_bytes().to_vec() }
        })
        .collect();
    let a: Vec<u8> = (0..m * k)
        .flat_map(|_| if bytes { vec![(random() >> 30) as u8] } else { ((random() >> 40) as f32 / 1e7).to_le_bytes().to_vec() })
        .collect();
    let mut graph = Graph::new();
    let x = graph.add(Op::Input { name: "a".into(), ty: Type::of(dtype, &[m, k]) }, &[], &[]).map_err(fault)?;
    let b = graph.constant(Tensor::dense(right, &[k, n], weights), &[]);
    let c = graph.add(Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() }, &[x, b], &[]).map_err(fault)?;
    graph.set_outputs(vec![("c".into(), c)]);
    let lower = |tuned: Tuned| {
        let whole = Options { tasks: Tasks { most: 1, ..Tasks::default() }, tuned: Arc::new(tuned), ..Options::default() };
        kernels::lower_like(&graph, facts, facts, whole).map_err(|f| format!("{f:?}"))
    };
    let chosen = lower(Tuned::default())?;
    let choice = chosen.choices.first().ok_or("there was nothing to choose")?;
    let mut all = Vec::new();
    for candidate in &choice.candidates {
        let mut tuned = Tuned::default();
        tuned.learn(facts.name, &choice.key, &candidate.name);
        all.push(ready(&lower(tuned)?, facts, &a, m * n * 4)?);
    }
    let times = ((0.004 / all[0].seconds(2)) as usize).max(1);
    let mut best = vec![f64::MAX; all.len()];
    for _ in 0..12 {
        for (ready, best) in all.iter_mut().zip(&mut best) {
            *best = best.min(ready.seconds(times));
        }
    }
    for i in 0..m * n {
        for other in &all[1..] {
            let same = if bytes {
                all[0].memory[1].i32(i) == other.memory[1].i32(i)
            } else {
                (all[0].memory[1].f32(i) - other.memory[1].f32(i)).abs() < 1e-2
            };
            if !same {
                return Err(format!("element {i} of {m}x{n}x{k} at {} differs", facts.name));
            }
        }
    }
    let each = (1..all.len()).map(|i| {
        let c = &choice.candidates[i];
        format!("{} {:.3} ({:.3})", c.name, best[i] / best[0], c.seconds / choice.candidates[0].seconds)
    });
    let taken = best[choice.chosen] / best[0];
    println!(
        "{:<15} {:<12} {:<13} {:>4}% {:>9.1} {:>9}  {:<30} {} {:.3} = {:.2}x",
        facts.name,
        format!("{m}x{n}x{k}"),
        pattern.name(),
        share,
        best[0] * 1e6,
        choice.candidates.get(1).map_or(0, |c| c.code_bytes / 1024),
        each.collect::<Vec<_>>().join("  "),
        choice.candidates[choice.chosen].name,
        taken,
        1.0 / taken
    );
    Ok(taken)
}
