//! What the hottest loop of a product is made of, on machines of each kind: how many multiply-adds a turn has, and
//! what a machine executes beside them.

mod common;

use common::{ENGINE, LANES, Model, NARROW, RELAXED, WIDE};
use ir::graph::op::Op;
use ir::kernel::tile::{P, Stmt};
use ir::kernel::{Facts, KernelBody};
use ir::program::Program;
use ir::scalar::{Body, Literal};

/// The body of the innermost loop with the most multiply-adds, the first of these, and how many.
fn hottest(program: &Program) -> (Vec<Stmt>, usize) {
    fn look(body: &[Stmt], best: &mut (Vec<Stmt>, usize)) {
        for stmt in body {
            if let Stmt::Loop { body, .. } = stmt {
                let products = body.iter().filter(|s| matches!(s, Stmt::MulAdd { .. })).count();
                if products > best.1 && !body.iter().any(|s| matches!(s, Stmt::Loop { .. })) {
                    *best = (body.clone(), products);
                }
                look(body, best);
            }
        }
    }
    let mut best = (Vec::new(), 0);
    for kernel in &program.kernels {
        if let KernelBody::Tile(tile) = &kernel.body {
            look(&tile.body, &mut best);
        }
    }
    best
}

fn dot(rows: usize, depth: usize, columns: usize, facts: &Facts) -> Program {
    dot_like(rows, depth, columns, facts, facts)
}

fn dot_like(rows: usize, depth: usize, columns: usize, facts: &Facts, packing: &Facts) -> Program {
    let mut m = Model::new(1.0, 1e-5);
    let (x, w) = (m.input(&[rows, depth]), m.constant(1, &[depth, columns]));
    let y = m.add(Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() }, &[x, w]);
    m.lower(&[y], facts, packing)
}

fn conv(size: usize, channels: usize, filters: usize, facts: &Facts) -> Program {
    let mut m = Model::new(1.0, 1e-5);
    let (x, w) = (m.input(&[1, size, size, channels]), m.constant(1, &[3, 3, channels, filters]));
    let (ones, low) = (vec![1; 2], vec![1; 2]);
    let op = Op::Conv {
        stride: ones.clone(),
        dilation: ones.clone(),
        inflate: ones,
        low: low.clone(),
        high: low,
        group: 1,
        fill: Literal::f32(0.0),
        epilogue: Body::identity(),
    };
    let y = m.add(op, &[x, w]);
    m.lower(&[y], facts, facts)
}

/// Instructions of a turn: loads of neighbours are one, the loop itself takes two, and a pointer that a load moves
/// is none.
fn instructions(turn: &[Stmt]) -> usize {
    let load = |s: &Stmt| if let Stmt::Load { at, .. } = s { Some(*at) } else { None };
    let (mut count, mut i) = (2, 0);
    while i < turn.len() {
        let pair = turn.get(i..i + 2).and_then(|two| Some((load(&two[0])?, load(&two[1])?)));
        let paired = pair.is_some_and(|(a, b)| a.p == b.p && b.offset == a.offset + 16);
        i += if paired { 2 } else { 1 };
        count += usize::from(!matches!(turn[i - 1], Stmt::Advance { .. }));
    }
    count
}

#[test]
fn products_by_lane_have_little_beside_them() {
    for program in [dot(192, 256, 64, &LANES), conv(28, 64, 64, &LANES), dot(60, 256, 80, &LANES), dot(300, 64, 48, &LANES)] {
        let (turn, products) = hottest(&program);
        let all = instructions(&turn);
        assert!(products >= 80, "{products} products");
        assert!(all as f64 <= 1.19 * products as f64, "{all} instructions for {products} products");
    }
}

#[test]
fn far_rows_take_few_pointers() {
    // rows 32 KB apart: an address reaches the next one from its pointer
    let (turn, products) = hottest(&dot(48, 8192, 64, &LANES));
    let mut pointers: Vec<P> = turn.iter().filter_map(|s| if let Stmt::Load { at, .. } = s { Some(at.p) } else { None }).collect();
    pointers.sort();
    pointers.dedup();
    // six rows, and the panel
    assert_eq!((products % 96, pointers.len()), (0, 3 + 1), "{pointers:?}");
}

#[test]
fn engines_get_small_tiles() {
    for facts in [ENGINE, RELAXED] {
        for program in [dot(64, 256, 64, &facts), conv(28, 64, 64, &facts)] {
            let (turn, products) = hottest(&program);
            assert_eq!((products, turn.len()), (8, 8 + 2 + 4 + 2));
        }
    }
}

#[test]
fn levels_of_a_machine_share_their_weights() {
    let bytes = |p: Program| p.constants.iter().map(|c| c.to_vec()).collect::<Vec<_>>();
    for columns in [8, 24, 72, 200] {
        for rows in [1, 7, 64] {
            assert_eq!(bytes(dot(rows, 256, columns, &ENGINE)), bytes(dot(rows, 256, columns, &RELAXED)));
            assert_eq!(bytes(dot(rows, 256, columns, &WIDE)), bytes(dot_like(rows, 256, columns, &NARROW, &WIDE)));
        }
    }
}

#[test]
fn wide_machines_fill_their_registers() {
    for (facts, least) in [(WIDE, 4 * 24), (NARROW, 4 * 10)] {
        let (_, products) = hottest(&conv(28, 64, 64, &facts));
        assert!(products >= least, "{products} products on the machine `{}`", facts.name);
    }
}

#[test]
fn large_products_are_cut_into_equal_calls() {
    // rows; and where there are few, columns
    for (program, kernels) in [(conv(56, 64, 64, &WIDE), 1), (dot(1, 2048, 1024, &WIDE), 1), (dot(49, 4608, 512, &WIDE), 2)] {
        let step = program.steps.iter().max_by_key(|s| s.macs).expect("there are steps");
        let mut used: Vec<usize> = step.calls.iter().map(|c| c.kernel).collect();
        used.dedup();
        assert!((7..=16).contains(&step.calls.len()), "{} calls", step.calls.len());
        assert!(used.len() <= kernels, "{} kernels", used.len());
    }
    assert!(dot(64, 32, 64, &WIDE).steps.iter().all(|s| s.calls.len() == 1));
}
