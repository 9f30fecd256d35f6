//! `cargo run --release -p maquette-bench --bin dot [-- bytes] [MxNxK …]`: matrix products with packed constant B, of f32 or
//! of bytes, as percent of the multiply-add peak (the larger of those measured right before and after), minimum and median,
//! for every level that this machine runs. Each result is checked at a few hundred places.
#![allow(unsafe_code)]

use bench::machine::{Loaded, Memory, levels, peak, peak_of_bytes};
use ir::graph::op::Op;
use ir::kernel::Facts;
use ir::{Body, Dtype, Graph, Tensor, Type};
use kernels::Options;
use kernels::tasks::Tasks;

const SHAPES: &[(usize, usize, usize)] = &[
    (64, 64, 64),
    (256, 256, 256),
    (1024, 1024, 1024),
    (12544, 64, 147),
    (3136, 64, 576),
    (784, 128, 1152),
    (49, 512, 4608),
    (128, 768, 768),
    (128, 3072, 768),
];

fn main() -> Result<(), String> {
    let mut given: Vec<String> = std::env::args().skip(1).collect();
    let bytes = given.first().is_some_and(|first| first == "bytes");
    if bytes {
        given.remove(0);
    }
    let given: Vec<(usize, usize, usize)> = given.iter().map(|text| bench::sizes(text)).collect::<Result<_, _>>()?;
    let shapes = if given.is_empty() { SHAPES } else { &given };
    println!(
        "{:<15} {:<14} {:<18} {:<16} {:>8} {:>7} {:>8} {:>9}",
        "level", "factors", "m x n x k", "kernel", "peak G/s", "best %", "median %", "error"
    );
    for facts in levels() {
        for &shape in shapes {
            if !bytes {
                time(facts, shape, &FLOATS)?;
                continue;
            }
            // weights of all sizes, and of such sizes that pairs of products can be added in 16 bits
            let small = if facts.menu.dot4_u8s8 { vec![] } else { vec![64, 32, 16] };
            for most in [vec![127], small].concat() {
                for signed in [false, true] {
                    time(
                        facts,
                        shape,
                        &Factors {
                            dtype: if signed { Dtype::I8 } else { Dtype::U8 },
                            most,
                            name: format!("{} by {most}", if signed { "i8" } else { "u8" }),
                        },
                    )?;
                }
            }
        }
    }
    Ok(())
}

/// What is multiplied.
struct Factors {
    /// Of A.
    dtype: Dtype,
    /// The largest weight, of integers.
    most: i32,
    name: String,
}

const FLOATS: Factors = Factors { dtype: Dtype::F32, most: 500, name: String::new() };

impl Factors {
    fn is_float(&self) -> bool {
        self.dtype == Dtype::F32
    }

    /// Element `i` of A.
    fn left(&self, i: usize) -> f64 {
        match self.dtype {
            Dtype::F32 => ((i * 31 % 97) as f64 - 48.0) / 48.0,
            Dtype::U8 => (i * 31 % 256) as f64,
            _ => (i * 31 % 256) as f64 - 128.0,
        }
    }

    /// Element `i` of B.
    fn right(&self, i: usize) -> f64 {
        let whole = (i * 7919 % (2 * self.most as usize + 1)) as f64 - f64::from(self.most);
        if self.is_float() { whole / 500.0 } else { whole }
    }

    fn tensor(&self, count: usize, dtype: Dtype, element: impl Fn(usize) -> f64) -> Vec<u8> {
        match dtype {
            Dtype::F32 => (0..count).flat_map(|i| (element(i) as f32).to_le_bytes()).collect(),
            _ => (0..count).map(|i| element(i) as i32 as u8).collect(),
        }
    }
}

fn time(facts: &Facts, (m, n, k): (usize, usize, usize), factors: &Factors) -> Result<(), String> {
    let fault = |f: ir::Fault| f.to_string();
    let mut graph = Graph::new();
    let a = graph.add(Op::Input { name: "a".into(), ty: Type::of(factors.dtype, &[m, k]) }, &[], &[]).map_err(fault)?;
    let right = if factors.is_float() { Dtype::F32 } else { Dtype::I8 };
    let b = graph.constant(Tensor::dense(right, &[k, n], factors.tensor(k * n, right, |i| factors.right(i))), &[]);
    let c = graph.add(Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() }, &[a, b], &[]).map_err(fault)?;
    graph.set_outputs(vec![("c".into(), c)]);
    let whole = Options { tasks: Tasks { most: 1, ..Tasks::default() }, ..Options::default() };
    let program = kernels::lower_like(&graph, facts, facts, whole).map_err(|f| format!("{f:?}"))?;
    let kernel = &program.kernels[program.steps[0].calls[0].kernel];
    let loaded = Loaded::kernel(kernel, facts)?;
    let left = factors.tensor(m * k, factors.dtype, |i| factors.left(i));
    let (mut a, mut b, mut c) = (Memory::of(&left), Memory::of(&program.constants[0].to_vec()), Memory::new(m * n * 4));
    let most = || if factors.is_float() { peak(facts) } else { peak_of_bytes(facts) };
    let before = most()?;
    // SAFETY: A, packed B and C have the sizes of the product
    let (best, median) = unsafe { loaded.time(&[a.pointer(), b.pointer(), c.pointer()], 40, 0.01) };
    let top = before.max(most()?);
    let error = (0..300)
        .map(|t| {
            let (i, j) = (t * 7919 % m, t * 104_729 % n);
            let want: f64 = (0..k).map(|q| factors.left(i * k + q) * factors.right(q * n + j)).sum();
            let got = if factors.is_float() { f64::from(c.f32(i * n + j)) } else { f64::from(c.i32(i * n + j)) };
            (want - got).abs()
        })
        .fold(0.0, f64::max);
    if error > if factors.is_float() { 1e-2 } else { 0.0 } {
        return Err(format!("{m}x{n}x{k} at {}: the result is off by {error:e}", facts.name));
    }
    let percent = |seconds: f64| 200.0 * (m * n * k) as f64 / seconds / 1e9 / top;
    println!(
        "{:<15} {:<14} {:<18} {:<16} {top:>8.1} {:>7.1} {:>8.1} {error:>9.1e}",
        facts.name,
        factors.name,
        format!("{m}x{n}x{k}"),
        kernel.name,
        percent(best),
        percent(median)
    );
    Ok(())
}
