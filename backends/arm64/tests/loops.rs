//! What an innermost loop costs: instructions per multiply-add, counted in the code itself.

use arm64::encode::Code;
use arm64::facts::{ARMV8, LEVELS};
use arm64::loops;
use ir::graph::op::Op;
use ir::kernel::tile::{At, Operand, P, Stmt, V};
use ir::kernel::{Facts, Kernel, KernelBody, TileKernel};
use ir::scalar::Literal;
use ir::{Body, Dtype, Graph, Tensor, Type};

/// Instructions of the hottest loop, and multiply-adds among them.
fn count(code: &Code) -> (usize, usize) {
    let turn = loops::hottest(code);
    (turn.len(), turn.iter().filter(|word| loops::is_multiply_add(**word)).count())
}

/// `rows` times `vectors` accumulators; four steps of K per turn: a vector of each row of A, in place, and panels of B.
fn dot(rows: u8, vectors: u8, pitch: i32, steps: i32, registers_of_b: u8) -> TileKernel {
    let at = |p, offset| At { p: P(p), offset };
    let acc = |r: u8, c: u8| V(r * vectors + c);
    let (a, b) = (|r: u8| V(rows * vectors + r), |i: u8| V(rows * vectors + rows + i));
    let mut body: Vec<Stmt> = (0..rows * vectors).map(|v| Stmt::Set { to: V(v), bits: 0 }).collect();
    let mut turn = Vec::new();
    for quarter in 0..steps / 4 {
        turn.extend((0..rows).map(|r| Stmt::Load { to: a(r), at: at(0, r as i32 * pitch + 16 * quarter), lanes: 4 }));
        for k in 0..4 {
            let first = (4 * quarter + k) * vectors as i32;
            // as many steps of B at once as registers hold, so that neighbours pair up
            let (ahead, place) = (registers_of_b / vectors, |i: i32| b((i % registers_of_b as i32) as u8));
            if k % ahead as i32 == 0 {
                let count = vectors as i32 * ahead as i32;
                turn.extend((first..first + count).map(|i| Stmt::Load { to: place(i), at: at(1, 16 * i), lanes: 4 }));
            }
            for r in 0..rows {
                for c in 0..vectors {
                    let lane = Operand::Lane(a(r), k as u8);
                    turn.push(Stmt::MulAdd { acc: acc(r, c), a: place(first + c as i32), b: lane, negate: false });
                }
            }
        }
    }
    turn.push(Stmt::Advance { p: P(0), by: 4 * i64::from(steps) });
    turn.push(Stmt::Advance { p: P(1), by: 16 * i64::from(vectors) * i64::from(steps) });
    body.push(Stmt::Loop { times: 40, body: turn });
    for r in 0..rows {
        body.extend((0..vectors).map(|c| Stmt::Store { from: acc(r, c), at: at(2, 16 * c as i32 + r as i32 * 1024), lanes: 4 }));
    }
    TileKernel { body }
}

#[test]
fn a_dot_loop_has_few_instructions_beside_its_products() {
    for (rows, vectors, steps, registers, most) in [(5, 4, 4, 4, 95), (6, 3, 4, 6, 86), (6, 3, 8, 6, 170), (5, 4, 8, 4, 188)] {
        let code = arm64::compile(&dot(rows, vectors, 2304, steps, registers), 3, &ARMV8);
        let (instructions, fmas) = count(&code);
        assert_eq!(fmas, rows as usize * vectors as usize * steps as usize);
        println!("{rows}x{}, {steps} steps: {instructions} / {fmas} = {:.4}", 4 * vectors, instructions as f64 / fmas as f64);
        assert!(instructions <= most, "{rows}x{}: {instructions} instructions for {fmas} multiply-adds", 4 * vectors);
    }
}

/// The kernels of one operator with a constant second operand: f32, or i8 where the first is of bytes. No weight is -128.
fn lowered(op: Op, (left, input): (Dtype, &[usize]), weights: &[usize], facts: &Facts) -> Vec<Kernel> {
    let mut graph = Graph::new();
    let x = graph.add(Op::Input { name: "x".into(), ty: Type::of(left, input) }, &[], &[]).expect("an input");
    let count = weights.iter().product::<usize>();
    let weights = match left {
        Dtype::F32 => Tensor::f32s(weights, &(0..count).map(|i| (i % 17) as f32).collect::<Vec<_>>()),
        _ => Tensor::dense(
            Dtype::I8,
            weights,
            (0..count).map(|i| (i % 251) as u8 ^ 0x7F).map(|b| if b == 0x80 { 0 } else { b }).collect::<Vec<_>>(),
        ),
    };
    let w = graph.constant(weights, &[]);
    let y = graph.add(op, &[x, w], &[]).expect("the shapes fit");
    graph.set_outputs(vec![("y".into(), y)]);
    let direct = kernels::Options { winograd: None, ..kernels::Options::default() };
    kernels::lower_like(&graph, facts, facts, direct).expect("it lowers").kernels
}

/// What models multiply, with an operand of type `left`: a name and the kernels.
fn generated(left: Dtype, facts: &Facts) -> Vec<(String, Vec<Kernel>)> {
    let dot = |(m, n, k)| {
        let op = Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() };
        (format!("dot {m}x{n}x{k}"), lowered(op, (left, &[m, k]), &[k, n], facts))
    };
    let conv = |(size, kernel, channels)| {
        let pad = vec![kernel as i64 / 2; 2];
        let op = Op::Conv {
            stride: vec![1; 2],
            dilation: vec![1; 2],
            inflate: vec![1; 2],
            low: pad.clone(),
            high: pad,
            group: 1,
            fill: Literal::number(left, 0.0),
            epilogue: Body::identity(),
        };
        let what = format!("convolution {kernel}x{kernel}, {channels} channels");
        (what, lowered(op, (left, &[1, size, size, channels]), &[kernel, kernel, channels, channels], facts))
    };
    let dots = [(256, 256, 256), (128, 768, 768), (3136, 64, 576), (49, 512, 4608), (64, 64, 64)].map(dot);
    dots.into_iter().chain([(56, 3, 64), (14, 1, 256), (28, 3, 128)].map(conv)).collect()
}

/// The hottest loop of the kernel that the planner made for most rows, with A in place.
fn hottest(kernels: &[Kernel], facts: &Facts) -> Vec<u32> {
    let turn = |kernel: &Kernel| match &kernel.body {
        KernelBody::Tile(tile) => loops::hottest(&arm64::compile(tile, kernel.args.len(), facts)),
        KernelBody::Scalar(_) => Vec::new(),
    };
    kernels.iter().map(turn).max_by_key(|turn| products(turn)).expect("a kernel")
}

fn products(turn: &[u32]) -> u32 {
    turn.iter().map(|word| loops::products(*word)).sum()
}

#[test]
fn generated_products_and_convolutions_keep_to_it() {
    for (what, kernels) in generated(Dtype::F32, &ARMV8) {
        let turn = hottest(&kernels, &ARMV8);
        let (instructions, fmas) = (turn.len(), products(&turn) as usize / 4);
        println!("{what}: {instructions} / {fmas} = {:.4}", instructions as f64 / fmas as f64);
        assert!(fmas >= 64 && instructions * 100 <= fmas * 119, "{what}: {instructions} instructions for {fmas} multiply-adds");
    }
}

/// Products of an instruction, all those of the loop counted: f32 has 3.4.
#[test]
fn bytes_take_fewer_instructions_the_better_the_level() {
    for (level, left, least) in [
        (&LEVELS[0], Dtype::I8, 4.0),
        (&LEVELS[0], Dtype::U8, 3.9),
        (&LEVELS[1], Dtype::I8, 13.4),
        (&LEVELS[1], Dtype::U8, 12.8),
        (&LEVELS[2], Dtype::I8, 15.4),
        (&LEVELS[2], Dtype::U8, 15.4),
    ] {
        for (what, kernels) in generated(left, level.facts) {
            let turn = hottest(&kernels, level.facts);
            let rate = f64::from(products(&turn)) / turn.len() as f64;
            println!("{what}, {left:?} on {}: {rate:.2}", level.facts.name);
            assert!(rate >= least, "{what}, {left:?} on {}: {rate:.2} products of an instruction", level.facts.name);
        }
    }
}
