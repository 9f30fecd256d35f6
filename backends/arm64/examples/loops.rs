//! The innermost loops of f32 products and convolutions on ARM64, for `bench/arm.sh`: a line with the name and the count of
//! multiply-adds, then the instructions as bytes, a line each, then an empty line.

use arm64::facts::ARMV8;
use arm64::loops;
use ir::graph::op::Op;
use ir::kernel::KernelBody;
use ir::scalar::Literal;
use ir::{Body, Dtype, Fault, Graph, Tensor, Type};

fn main() -> Result<(), String> {
    for (m, n, k) in [(256, 256, 256), (128, 768, 768), (3136, 64, 576), (49, 512, 4608)] {
        let op = Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() };
        print(&format!("dot {m}x{n}x{k}"), op, &[m, k], &[k, n])?;
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
            fill: Literal::f32(0.0),
            epilogue: Body::identity(),
        };
        let name = format!("conv {kernel}x{kernel} {size}x{size}x{channels}");
        print(&name, op, &[1, size, size, channels], &[kernel, kernel, channels, channels])?;
    }
    Ok(())
}

/// The loop with the most multiply-adds among the operator's kernels.
fn print(name: &str, op: Op, input: &[usize], weights: &[usize]) -> Result<(), String> {
    let fault = |fault: Fault| fault.to_string();
    let mut graph = Graph::new();
    let x = graph.add(Op::Input { name: "x".into(), ty: Type::of(Dtype::F32, input) }, &[], &[]).map_err(fault)?;
    let w = graph.constant(Tensor::f32s(weights, &vec![1.0; weights.iter().product()]), &[]);
    let y = graph.add(op, &[x, w], &[]).map_err(fault)?;
    graph.set_outputs(vec![("y".into(), y)]);
    let direct = kernels::Options { winograd: None, ..kernels::Options::default() };
    let program = kernels::lower_like(&graph, &ARMV8, &ARMV8, direct).map_err(|faults| format!("{faults:?}"))?;
    let multiply_adds = |turn: &[u32]| turn.iter().filter(|word| loops::is_multiply_add(**word)).count();
    let turns = program.kernels.iter().filter_map(|kernel| match &kernel.body {
        KernelBody::Tile(tile) => Some((&kernel.name, loops::hottest(&arm64::compile(tile, kernel.args.len(), &ARMV8)))),
        KernelBody::Scalar(_) => None,
    });
    let (kernel, turn) = turns.max_by_key(|(_, turn)| multiply_adds(turn)).ok_or("no vector kernel")?;
    println!("{name}, {kernel}: {}", multiply_adds(&turn));
    for word in &turn {
        let [a, b, c, d] = word.to_le_bytes();
        println!("0x{a:02x} 0x{b:02x} 0x{c:02x} 0x{d:02x}");
    }
    println!();
    Ok(())
}
