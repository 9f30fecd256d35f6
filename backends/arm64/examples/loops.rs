//! The innermost loops of products and convolutions on ARM64, for `bench/arm.sh`: a line with the name and the count of what is
//! multiplied, then the instructions as bytes, a line each, then an empty line. Without an argument those of f32, which count
//! multiply-adds; with `bytes` those of u8 by i8 on every level, which count products.

use arm64::facts::{ARMV8, LEVELS};
use arm64::loops;
use ir::graph::op::Op;
use ir::kernel::{Facts, KernelBody};
use ir::scalar::Literal;
use ir::{Body, Dtype, Fault, Graph, Tensor, Type};

fn main() -> Result<(), String> {
    if std::env::args().nth(1).is_some_and(|arg| arg == "bytes") {
        return LEVELS.iter().try_for_each(|level| all(level.facts, Dtype::U8));
    }
    all(&ARMV8, Dtype::F32)
}

fn all(facts: &Facts, left: Dtype) -> Result<(), String> {
    for (m, n, k) in [(256, 256, 256), (128, 768, 768), (3136, 64, 576), (49, 512, 4608)] {
        let op = Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() };
        print(&format!("dot {m}x{n}x{k}"), op, (left, &[m, k]), &[k, n], facts)?;
    }
    for (size, kernel, channels) in [(56, 3, 64), (14, 1, 256), (28, 3, 128)] {
        let pad = vec![kernel as i64 / 2; 2];
        let [stride, dilation, inflate] = [(); 3].map(|()| vec![1; 2]);
        let op = Op::Conv {
            stride,
            dilation,
            inflate,
            low: pad.clone(),
            high: pad,
            group: 1,
            fill: Literal::number(left, 0.0),
            epilogue: Body::identity(),
        };
        let name = format!("conv {kernel}x{kernel} {size}x{size}x{channels}");
        print(&name, op, (left, &[1, size, size, channels]), &[kernel, kernel, channels, channels], facts)?;
    }
    Ok(())
}

/// The loop with the most products among the operator's kernels.
fn print(name: &str, op: Op, (left, input): (Dtype, &[usize]), weights: &[usize], facts: &Facts) -> Result<(), String> {
    let fault = |fault: Fault| fault.to_string();
    let mut graph = Graph::new();
    let x = graph.add(Op::Input { name: "x".into(), ty: Type::of(left, input) }, &[], &[]).map_err(fault)?;
    let count = weights.iter().product();
    let weights = match left {
        Dtype::F32 => Tensor::f32s(weights, &vec![1.0; count]),
        _ => Tensor::dense(
            Dtype::I8,
            weights,
            (0..count).map(|i| (i % 255) as u8 ^ 0x80).map(|b| if b == 0x80 { 1 } else { b }).collect::<Vec<_>>(),
        ),
    };
    let w = graph.constant(weights, &[]);
    let y = graph.add(op, &[x, w], &[]).map_err(fault)?;
    graph.set_outputs(vec![("y".into(), y)]);
    let direct = kernels::Options { winograd: None, ..kernels::Options::default() };
    let program = kernels::lower_like(&graph, facts, facts, direct).map_err(|faults| format!("{faults:?}"))?;
    let products = |turn: &[u32]| turn.iter().map(|word| loops::products(*word)).sum::<u32>();
    let turns = program.kernels.iter().filter_map(|kernel| match &kernel.body {
        KernelBody::Tile(tile) => Some((&kernel.name, loops::hottest(&arm64::compile(tile, kernel.args.len(), facts)))),
        KernelBody::Scalar(_) => None,
    });
    let (kernel, turn) = turns.max_by_key(|(_, turn)| products(turn)).ok_or("no vector kernel")?;
    match left {
        Dtype::F32 => println!("{name}, {kernel}: {}", products(&turn) / 4),
        _ => println!("{name}, {kernel} on {}: {}", facts.name, products(&turn)),
    }
    for word in &turn {
        let [a, b, c, d] = word.to_le_bytes();
        println!("0x{a:02x} 0x{b:02x} 0x{c:02x} 0x{d:02x}");
    }
    println!();
    Ok(())
}
