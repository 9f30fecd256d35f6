//! Calls that advance evenly become loops: what they compute, where they stop, and how little room they take. And pointers at
//! the very start of memory.

mod common;

use common::Job;
use ir::kernel::scalar::{self, Binary, Expr, ScalarKernel, Ty, Value};
use ir::kernel::tile::{self, At, Operand, P, Stmt, TileKernel, V};
use ir::kernel::{Access, Arg, Kernel, KernelBody, run};
use ir::program::{Address, Call, Port, Program, Step};
use ir::tensor::{Dtype, Tensor, Type};
use wasm::facts::{LEVELS, SIMD128};

fn arg(name: &str, high: i64, access: Access) -> Arg {
    Arg { name: name.into(), low: 0, high, access }
}

/// `out = a + b` of one i32, where `a` must be below 1000, else status 4.
fn adds() -> Kernel {
    let at = Value(0);
    let load = |to, arg| scalar::Stmt::Let { to: Value(to), expr: Expr::Load { arg, dtype: Dtype::I32, at } };
    let body = vec![
        scalar::Stmt::Let { to: at, expr: Expr::Int(0) },
        load(1, 0),
        load(2, 1),
        scalar::Stmt::Let { to: Value(3), expr: Expr::Require { value: Value(1), below: 1000, status: 4 } },
        scalar::Stmt::Let { to: Value(4), expr: Expr::Binary(Binary::IAdd, Value(3), Value(2)) },
        scalar::Stmt::Store { arg: 2, dtype: Dtype::I32, at, value: Value(4) },
    ];
    let body = KernelBody::Scalar(ScalarKernel { values: vec![Ty::Int; 5], cells: vec![], body });
    let args = vec![arg("a", 4, Access::Read), arg("b", 4, Access::Read), arg("out", 4, Access::Write)];
    Kernel { name: "adds".into(), args, body }
}

/// `out = -a` of one float.
fn negates() -> Kernel {
    let at = |p| At { p: P(p), offset: 0 };
    let body = vec![
        Stmt::Load { to: V(0), at: at(0), lanes: 1 },
        Stmt::Unary { op: tile::Unary::Neg, to: V(0), a: V(0) },
        Stmt::Store { from: V(0), at: at(1), lanes: 1 },
    ];
    let args = vec![arg("a", 4, Access::Read), arg("out", 4, Access::Write)];
    Kernel { name: "negates".into(), args, body: KernelBody::Tile(TileKernel { body }) }
}

/// A grid of calls whose three strides are not those of a dense array, a row back to front, then a few without any order.
fn program() -> Program {
    let mut calls = Vec::new();
    let mut add = |a: u64, b: u64, out: u64| {
        let args = [(0, a), (0, b)].map(|(index, at)| Address::Input { index, offset: 4 * at });
        calls.push(Call::new(0, [&args[..], &[Address::Output { index: 0, offset: 4 * out }]].concat()));
    };
    for x in 0..3 {
        for y in 0..4 {
            for z in 0..5 {
                add(x + 7 * z, 3, 40 * x + 8 * y + z);
            }
        }
    }
    (0..6).for_each(|i| add(30 - 2 * i, i, 130 + i));
    [(1, 9), (5, 2), (2, 8), (0, 1)].into_iter().enumerate().for_each(|(i, (a, b))| add(a, b, 140 + i as u64));
    for i in 0..9 {
        let args = vec![Address::Input { index: 0, offset: 4 * i }, Address::Output { index: 0, offset: 4 * (150 + 2 * i) }];
        calls.push(Call::new(1, args));
    }
    let port = |name: &str, n: usize| Port { name: name.into(), ty: Type::of(Dtype::I32, &[n]), bytes: 4 * n as u64 };
    Program {
        inputs: vec![port("in", 40)],
        outputs: vec![port("out", 170)],
        kernels: vec![adds(), negates()],
        steps: vec![Step { calls, what: "test".into(), names: vec![], macs: 0, when: Vec::new() }],
        ..Program::default()
    }
}

fn bytes(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// What nobody has written, in the oracle too.
const UNDEFINED: u8 = 0xff;

#[test]
fn loops_of_calls_go_where_the_calls_go() {
    let program = program();
    ir::program::verify(&program, &SIMD128).expect("the program is sound");
    let input: Vec<i32> = (0..40).map(|i| i * i % 101).collect();
    let job = || Job {
        module: common::module(&program, &SIMD128),
        weights: vec![],
        inputs: vec![bytes(&input)],
        outputs: vec![vec![UNDEFINED; 680]],
    };
    // 79 calls of two or three addresses
    assert!(job().module.len() < 600, "{} bytes", job().module.len());
    let wanted = ir::program::run(&program, &SIMD128, &[Tensor::dense(Dtype::I32, &[40], bytes(&input))]).expect("no status");
    let Some(results) = common::run("loops_of_calls", &SIMD128, &[job()]) else { return };
    assert_eq!(results, [(0, vec![wanted[0].bytes().to_vec()])]);
}

#[test]
fn a_status_leaves_every_loop() {
    let program = program();
    // the third value of each row of the grid
    let input: Vec<i32> = (0..40).map(|i| if i == 14 { 1000 } else { i }).collect();
    let job = Job {
        module: common::module(&program, &SIMD128),
        weights: vec![],
        inputs: vec![bytes(&input)],
        outputs: vec![vec![UNDEFINED; 680]],
    };
    let Some(results) = common::run("status_in_loops", &SIMD128, &[job]) else { return };
    let (status, outputs) = &results[0];
    let written: Vec<usize> = (0..170).filter(|i| outputs[0][4 * i..4 * i + 4] != [UNDEFINED; 4]).collect();
    assert_eq!((*status, written), (4, vec![0, 1]));
}

#[test]
fn pointers_at_the_start_of_memory_do_not_fall_below_it() {
    let at = |p, offset| At { p: P(p), offset };
    let turn = vec![
        Stmt::Load { to: V(0), at: at(0, 0), lanes: 4 },
        Stmt::Advance { p: P(0), by: 16 },
        Stmt::Binary { op: tile::Binary::IAdd, to: V(0), a: V(0), b: Operand::Memory(at(0, -16)) },
        Stmt::Store { from: V(0), at: at(0, -16), lanes: 4 },
        Stmt::Point { to: P(1), from: P(0), offset: -32 },
        Stmt::Splat { to: V(1), at: at(1, 24) },
        Stmt::Scatter { from: V(1), at: at(1, 28), stride: -4, lanes: 3 },
    ];
    let body = vec![Stmt::Loop { times: 3, body: turn }, Stmt::Store { from: V(0), at: at(1, -16), lanes: 4 }];
    let buffer: Vec<u8> = (0..64).collect();
    let args = vec![arg("a", 64, Access::ReadWrite)];
    let kernel = Kernel { name: "low".into(), args, body: KernelBody::Tile(TileKernel { body }) };
    ir::kernel::verify(&kernel, &SIMD128).expect("it stays in its argument");
    let mut wanted = buffer.clone();
    let pointer = run::Pointer { buffer: 0, offset: 0 };
    assert_eq!(run::run(&kernel, &SIMD128, &mut [run::Buffer::Open(&mut wanted)], &[pointer]), 0);
    assert_ne!(wanted, buffer);
    for facts in LEVELS.iter().map(|level| level.facts) {
        let call = Call::new(0, vec![Address::Output { index: 0, offset: 0 }]);
        let program = common::program(vec![kernel.clone()], vec![call], &[64]);
        let job = Job { module: common::module(&program, facts), weights: vec![], inputs: vec![], outputs: vec![buffer.clone()] };
        let Some(results) = common::run("start_of_memory", facts, &[job]) else { continue };
        assert_eq!(results, [(0, vec![wanted.clone()])]);
    }
}
