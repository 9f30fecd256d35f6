//! `cargo run --release -p maquette-bench --bin dot [-- MxNxK …]`: f32 matrix products with packed constant B as
//! percent of the multiply-add peak (the larger of those measured right before and after), minimum and median, for every
//! level that this machine runs. Each result is checked at a few hundred places.
#![allow(unsafe_code)]

use bench::machine::{Loaded, Memory, levels, peak};
use ir::graph::op::Op;
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
    let given: Vec<(usize, usize, usize)> = std::env::args().skip(1).map(|text| parse(&text)).collect::<Result<_, _>>()?;
    let shapes = if given.is_empty() { SHAPES } else { &given };
    println!("{:<12} {:<18} {:<16} {:>9} {:>7} {:>8} {:>9}", "level", "m x n x k", "kernel", "peak GF/s", "best %", "median %", "error");
    for facts in levels() {
        for &(m, n, k) in shapes {
            let mut graph = Graph::new();
            let fault = |f: ir::Fault| f.to_string();
            let a = graph.add(Op::Input { name: "a".into(), ty: Type::of(Dtype::F32, &[m, k]) }, &[], &[]).map_err(fault)?;
            let weights: Vec<f32> = (0..k * n).map(|i| ((i * 7919 % 1001) as f32 - 500.0) / 500.0).collect();
            let b = graph.constant(Tensor::f32s(&[k, n], &weights), &[]);
            let c = graph.add(Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() }, &[a, b], &[]).map_err(fault)?;
            graph.set_outputs(vec![("c".into(), c)]);
            let whole = Options { tasks: Tasks { most: 1, ..Tasks::default() }, ..Options::default() };
            let program = kernels::lower_like(&graph, facts, facts, whole).map_err(|f| format!("{f:?}"))?;
            let kernel = &program.kernels[program.steps[0].calls[0].kernel];
            let loaded = Loaded::kernel(kernel, facts)?;
            let left: Vec<f32> = (0..m * k).map(|i| ((i * 31 % 97) as f32 - 48.0) / 48.0).collect();
            let bytes: Vec<u8> = left.iter().flat_map(|v| v.to_le_bytes()).collect();
            let (mut a, mut b, mut c) = (Memory::of(&bytes), Memory::of(&program.constants[0].to_vec()), Memory::new(m * n * 4));
            let before = peak(facts)?;
            // SAFETY: A, packed B and C have the sizes of the product
            let (best, median) = unsafe { loaded.time(&[a.pointer(), b.pointer(), c.pointer()], 40, 0.01) };
            let top = before.max(peak(facts)?);
            let error = (0..300)
                .map(|t| {
                    let (i, j) = (t * 7919 % m, t * 104_729 % n);
                    let want: f64 = (0..k).map(|q| f64::from(left[i * k + q]) * f64::from(weights[q * n + j])).sum();
                    (want - f64::from(c.f32(i * n + j))).abs()
                })
                .fold(0.0, f64::max);
            if error > 1e-2 {
                return Err(format!("{m}x{n}x{k} at {}: the result is off by {error:e}", facts.name));
            }
            let percent = |seconds: f64| 200.0 * (m * n * k) as f64 / seconds / 1e9 / top;
            println!(
                "{:<12} {:<18} {:<16} {top:>9.1} {:>7.1} {:>8.1} {error:>9.1e}",
                facts.name,
                format!("{m}x{n}x{k}"),
                kernel.name,
                percent(best),
                percent(median)
            );
        }
    }
    Ok(())
}

fn parse(text: &str) -> Result<(usize, usize, usize), String> {
    let sizes: Vec<usize> =
        text.split('x').map(|part| part.parse().map_err(|_| format!("`{text}` is not MxNxK"))).collect::<Result<_, _>>()?;
    match sizes[..] {
        [m, n, k] if m * n * k > 0 => Ok((m, n, k)),
        _ => Err(format!("`{text}` is not MxNxK")),
    }
}
