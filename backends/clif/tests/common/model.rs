//! A small model by hand, of scalar kernels only: `y = transpose(x * c)` through the arena and each worker's scratch, and
//! `z = index + 1` where every index must be below 40, else status 4.

use artifact::{Content, Machine, Symbol};
use clif::{Entry, Level, Memory, Target, Weights};
use ir::kernel::scalar::{Binary, Expr, ScalarKernel, Stmt, Ty, Value};
use ir::kernel::{Access, Arg, Kernel, KernelBody};
use ir::program::{Address, Call, Origin, Packed, Part, Pool, Port, Program, Step, WEIGHTS_ALIGN};
use ir::tensor::{Dtype, Type};

use super::LEVEL;

pub const N: usize = 40;

fn arg(name: &str, high: i64, access: Access) -> Arg {
    Arg { name: name.into(), low: 0, high, access }
}

/// `body` runs for each of `n` with the loop's variable; it is given the number of the first free value.
fn looped(n: i64, values: &[Ty], body: Vec<Stmt>) -> ScalarKernel {
    let all = [[Ty::Int; 3].as_slice(), values].concat();
    let set = |to, value| Stmt::Let { to: Value(to), expr: Expr::Int(value) };
    let body = vec![set(0, 0), set(1, n), Stmt::For { var: Value(2), from: Value(0), to: Value(1), body }];
    ScalarKernel { values: all, cells: Vec::new(), body }
}

fn kernels() -> Vec<Kernel> {
    let i = Value(2);
    let load = |to, arg, dtype| Stmt::Let { to: Value(to), expr: Expr::Load { arg, dtype, at: i } };
    let store = |arg, dtype, value| Stmt::Store { arg, dtype, at: i, value: Value(value) };
    let f32s = Dtype::F32;
    let scale = vec![
        load(3, 0, f32s),
        load(4, 1, f32s),
        Stmt::Let { to: Value(5), expr: Expr::Binary(Binary::Mul, Value(3), Value(4)) },
        store(3, f32s, 5),
        load(6, 3, f32s),
        store(2, f32s, 6),
    ];
    let next = vec![
        load(3, 0, Dtype::I64),
        Stmt::Let { to: Value(4), expr: Expr::Require { value: Value(3), below: N as i64, status: 4 } },
        Stmt::Let { to: Value(5), expr: Expr::Int(1) },
        Stmt::Let { to: Value(6), expr: Expr::Binary(Binary::IAdd, Value(4), Value(5)) },
        store(1, Dtype::I64, 6),
    ];
    let copy = vec![load(3, 0, f32s), store(1, f32s, 3)];
    let kernel = |name: &str, args, scalar| Kernel { name: name.into(), args, body: KernelBody::Scalar(scalar) };
    use Access::{Read, ReadWrite, Write};
    vec![
        kernel(
            "scale",
            vec![arg("x", 32, Read), arg("c", 32, Read), arg("out", 32, Write), arg("scratch", 32, ReadWrite)],
            looped(8, &[Ty::F32; 4], scale),
        ),
        kernel("next", vec![arg("index", 8, Read), arg("z", 8, Write)], looped(1, &[Ty::Int; 4], next)),
        kernel("copy", vec![arg("from", 4, Read), arg("to", 4, Write)], looped(1, &[Ty::F32], copy)),
    ]
}

/// `c[i] = factor * (i + 1)`.
pub fn program(factor: f32) -> Program {
    let port = |name: &str, dtype: Dtype, n: usize| {
        let ty = Type::of(dtype, &[n]);
        Port { name: name.into(), bytes: (n * dtype.bytes()) as u64, ty }
    };
    let constant = |bytes: Vec<u8>| Packed { align: 32, parts: vec![Part::Bytes(bytes.into())] };
    let c = (0..N).flat_map(|i| (factor * (i + 1) as f32).to_le_bytes()).collect();
    let arena = |offset| Address::Arena { offset: 64 + offset };
    let scale = (0..5).map(|i| Call {
        kernel: 0,
        args: vec![
            Address::Input { index: 0, offset: 32 * i },
            Address::Constant { index: 1, offset: 32 * i },
            arena(32 * i),
            Address::Scratch { offset: 64 },
        ],
        advance: Vec::new(),
    });
    let next = (0..5).map(|i| Call::new(1, vec![Address::Input { index: 1, offset: 8 * i }, Address::Output { index: 1, offset: 8 * i }]));
    let copy = |from: u64, to: u64| Call::new(2, vec![arena(4 * from), Address::Output { index: 0, offset: 4 * to }]);
    let mut transpose: Vec<Call> = (0..8).flat_map(|a| (0..5).map(move |b| copy(b * 8 + a, a * 5 + b))).collect();
    // some once more, out of step
    transpose.insert(0, copy(0, 0));
    transpose.insert(1, copy(39, 39));
    transpose.push(copy(8, 1));
    let step = |what: &str, calls| Step { calls, what: what.into(), names: Vec::new(), macs: 0, when: Vec::new() };
    Program {
        inputs: vec![port("x", Dtype::F32, N), port("index", Dtype::I64, 5)],
        outputs: vec![port("y", Dtype::F32, N), port("z", Dtype::I64, 5)],
        kernels: kernels(),
        constants: vec![constant(vec![7; 32]), constant(c)],
        steps: vec![
            step("scale", scale.collect()),
            step("next", next.collect()),
            step("first", vec![copy(0, 0)]),
            step("transpose", transpose),
        ],
        arena_bytes: 256,
        arena_align: 64,
        worker_bytes: 96,
        ..Program::default()
    }
}

/// What the model gives for `x` and `index`.
pub fn expected(factor: f32, x: &[f32], index: &[i64]) -> (Vec<f32>, Vec<i64>) {
    let scaled: Vec<f32> = x.iter().enumerate().map(|(i, x)| x * (factor * (i + 1) as f32)).collect();
    let y = (0..N).map(|i| scaled[i % 5 * 8 + i / 5]).collect();
    (y, index.iter().map(|i| i + 1).collect())
}

/// The levels of a machine: name, what its code needs of the CPU, and an instruction that only this level's CPUs have.
pub fn levels(machine: Machine) -> &'static [(&'static str, u64, &'static [u8])] {
    use arm64::stubs::cpu::{DOTPROD, I8MM};
    // what `sdot` and `smmla` on v0 look like
    const SDOT: &[u8] = &0x4e80_9400u32.to_le_bytes();
    const SMMLA: &[u8] = &0x4e80_a400u32.to_le_bytes();
    match machine {
        Machine::X86_64 => &[("x86-64-v3", 0b011, &[]), ("x86-64-v4", 0b101, &[])],
        Machine::Aarch64 => &[("armv8", 0, &[]), ("armv8+dotprod", DOTPROD, SDOT), ("armv8+i8mm", DOTPROD | I8MM, SMMLA)],
    }
}

/// Symbols that the caller gives, with these ranges.
pub fn free(ranges: &[(i64, i64)]) -> Vec<ir::program::Symbol> {
    let symbol = |(i, &(low, high))| ir::program::Symbol { name: format!("s{i}").into(), low, high, origin: Origin::Free };
    ranges.iter().enumerate().map(symbol).collect()
}

/// All symbols of the model but the stub `cpu`, with the levels of these numbers. Level `i` has the factor `i + 1`, and kernels that
/// begin with the level's own instruction.
pub fn symbols(
    machine: Machine,
    chosen: &[usize],
    name: &str,
    cpu: &str,
    weights_in_file: bool,
    free_symbols: &[(i64, i64)],
) -> (Vec<Symbol>, Memory, Pool) {
    let target = Target::new(machine);
    let given = free(free_symbols);
    let programs: Vec<Program> = chosen.iter().map(|i| Program { symbols: given.clone(), ..program((i + 1) as f32) }).collect();
    let pool = Pool::new(&programs);
    let mut symbols = Vec::new();
    let mut names: Vec<Vec<String>> = Vec::new();
    for &i in chosen {
        let (level, _, first) = levels(machine)[i];
        let mut own = Vec::new();
        for kernel in &programs[0].kernels {
            let KernelBody::Scalar(scalar) = &kernel.body else { unreachable!() };
            own.push(format!("{name}.{level}.{}", kernel.name));
            let symbol = clif::scalar_kernel(&target, own.last().expect("one"), kernel.args.len(), scalar, &LEVEL);
            let mut symbol = symbol.expect("small enough");
            let Content::Bytes(bytes) = &mut symbol.content else { unreachable!() };
            bytes.splice(0..0, first.iter().copied());
            symbols.push(symbol);
        }
        names.push(own);
    }
    let place = format!("{name}.weights");
    let level = |(at, &i): (usize, &usize)| {
        let (level, mask, _) = levels(machine)[i];
        Level { program: &programs[at], name: level, mask, kernels: &names[at], constants: &pool.offsets[at] }
    };
    let levels: Vec<Level> = chosen.iter().enumerate().map(level).collect();
    let from = if weights_in_file { Weights::Caller } else { Weights::Symbol(&place) };
    let entry = Entry { name, cpu, levels: &levels, weights: from, times: None };
    symbols.extend(clif::entry(&target, &entry).expect("small enough"));
    if !weights_in_file {
        symbols.push(Symbol::constant(&place, WEIGHTS_ALIGN, Content::Bytes(weights(&pool))));
    }
    (symbols, Memory::of(&programs), pool)
}

/// The bytes of the weights.
pub fn weights(pool: &Pool) -> Vec<u8> {
    let mut all = Vec::new();
    pool.write(&mut |bytes| all.extend_from_slice(bytes));
    all
}
