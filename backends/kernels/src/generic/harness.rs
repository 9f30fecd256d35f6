//! One operator on a bench: its operands and its result are put into places with gaps between their elements, it is
//! lowered, verified, run by the oracle of programs and compared with the oracle of graphs. What lies in the gaps of
//! the result must still be there afterwards.

use crate::build::{Builder, Home};
use crate::place::{Place, dense_strides};
use crate::{Job, Source, Where, copy};
use ir::graph::op::Op;
use ir::kernel::Facts;
use ir::kernel::facts::{Menu, MinMax};
use ir::program::{Port, Program};
use ir::{Dtype, Fault, Graph, Tensor, Type};

pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 ^ (self.0 >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Three machines: narrow without a fused multiply-add, wider, and wide with masks.
pub fn machines() -> [Facts; 3] {
    let menu = Menu { memory_operand: true, ..Menu::PLAIN };
    let plain = Facts {
        name: "narrow",
        vector_bytes: 16,
        vectors: 16,
        generals: 14,
        fused: false,
        min_max: MinMax::SecondOnTie,
        menu,
        caches: [32 << 10, 256 << 10, 1 << 20],
        accumulators: 8,
        reach: i32::MAX,
        unroll: 4,
    };
    let wider = Facts { name: "wider", vector_bytes: 32, fused: true, ..plain.clone() };
    let menu = Menu { splat_operand: true, masks: true, ..menu };
    let wide = Facts { name: "wide", vector_bytes: 64, vectors: 32, fused: true, min_max: MinMax::Ieee, menu, ..plain.clone() };
    [plain, wider, wide]
}

/// Elements of a type: numbers around zero, bits where there is no arithmetic.
pub fn random(dtype: Dtype, shape: &[usize], dice: &mut Random) -> Tensor {
    let count: usize = shape.iter().product();
    let mut bytes = Vec::new();
    for _ in 0..count {
        let r = dice.next();
        let literal = match dtype {
            Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16 => ir::scalar::Literal::number(dtype, (r % 4001) as f64 / 500.0 - 4.0),
            Dtype::Bool => ir::scalar::Literal::bool(r.is_multiple_of(2)),
            Dtype::I4 | Dtype::U4 | Dtype::F4E2M1 => ir::scalar::Literal { dtype, bits: r % 16 },
            Dtype::I2 | Dtype::U2 => ir::scalar::Literal { dtype, bits: r % 4 },
            d if d.is_int() && r.is_multiple_of(8) => ir::scalar::Literal::int(d, (r >> 8) as i64),
            d if d.is_int() => ir::scalar::Literal::int(d, (r % 23) as i64 - if d.is_signed_int() { 11 } else { 0 }),
            d => ir::scalar::Literal { dtype: d, bits: r & 0xff },
        };
        bytes.extend(literal.to_bytes());
    }
    Tensor::dense(dtype, shape, bytes)
}

/// A buffer that is larger than `shape` along each axis, and the place of `shape` in it.
fn spread(shape: &[usize], dice: &mut Random) -> (Vec<usize>, Vec<usize>) {
    let first: Vec<usize> = shape.iter().map(|_| dice.below(3) as usize).collect();
    let whole = shape.iter().zip(&first).map(|(&n, &f)| n + f + dice.below(3) as usize).collect();
    (whole, first)
}

fn place(buffer: crate::build::BufferId, whole: &[usize], first: &[usize]) -> Place {
    let strides = dense_strides(whole);
    let offset = first.iter().zip(&strides).map(|(&f, s)| f as i64 * s).sum();
    Place { buffer, offset, strides }
}

/// What an operator is lowered with.
pub type Lower = fn(&Job, &mut Builder) -> Result<(), Fault>;

/// What lies in the gaps: this byte.
const GAP: u8 = 0x5a;

/// The program of the one operator of `graph`; inputs whose name starts with `c` are constants. `dice`: gaps, else
/// everything is dense. Also the box of the output in its buffer.
fn program(
    graph: &Graph,
    inputs: &[Tensor],
    facts: &Facts,
    mut dice: Option<&mut Random>,
    lower: Lower,
) -> Result<(Program, Vec<usize>, Vec<usize>), Fault> {
    let id = graph.outputs()[0].1;
    let mut builder = Builder::new(facts);
    let mut ports = Vec::new();
    let mut sources = Vec::new();
    for (i, &input) in graph.inputs().iter().enumerate() {
        let shape = inputs[i].shape().to_vec();
        let (dtype, bytes) = (inputs[i].dtype(), (inputs[i].elements() * inputs[i].dtype().bytes()) as u64);
        ports.push(Port { name: format!("x{i}"), ty: inputs[i].ty(), bytes });
        let buffer = builder.buffer("x", Home::Input(i), bytes);
        let dense = Place::dense(buffer, &shape);
        let constant = matches!(graph.op(input), Op::Input { name, .. } if name.starts_with('c'));
        let at = match &mut dice {
            _ if constant => Where::Constant(&inputs[i]),
            Some(dice) => {
                let (whole, first) = spread(&shape, dice);
                let bytes = (whole.iter().product::<usize>() * dtype.bytes()) as u64;
                let buffer = builder.buffer("spread", Home::Arena, bytes.max(1));
                let to = place(buffer, &whole, &first);
                copy::copy(&mut builder, dtype, &shape, &dense, &to);
                Where::Place(to)
            }
            None => Where::Place(dense),
        };
        sources.push((input, Source { shape, dtype, at }));
    }
    let operands = graph.operands(id).into_iter().map(|o| sources.iter().find(|(i, _)| *i == o).expect("operands are inputs").1.clone());
    let operands = operands.collect();
    let ty = graph.ty(id);
    let shape = ty.fixed().expect("the graph is fixed");
    let (whole, first) = match dice {
        Some(dice) => spread(&shape, dice),
        None => (shape.clone(), vec![0; shape.len()]),
    };
    let bytes = (whole.iter().product::<usize>() * ty.dtype.bytes()) as u64;
    let out = builder.buffer("y", Home::Output(0), bytes);
    copy::fill(&mut builder, &[bytes as usize], &Place::dense(out, &[bytes as usize]), ir::scalar::Literal::int(Dtype::U8, GAP as i64));
    let job = Job { op: graph.op(id), operands, shape, dtype: ty.dtype, place: place(out, &whole, &first), blocked: None };
    lower(&job, &mut builder)?;
    let port = Port { name: "y".into(), ty: Type::of(ty.dtype, &whole), bytes };
    Ok((builder.finish(ports, vec![port]), whole, first))
}

/// Runs the one operator of a graph's text on random data over all machines, dense and with gaps. `relative` is the error
/// allowed per unit of magnitude; 0 means equal bits.
pub fn check(text: &str, relative: f64, lower: Lower) {
    let graph =
        ir::graph::text::parse(&format!("graph {{ {text} return %y \"y\" }}"), &|_| None).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    let mut dice = Random(text.bytes().fold(7u64, |a, b| a.wrapping_mul(31).wrapping_add(b as u64)));
    for round in 0..4 {
        let inputs: Vec<Tensor> =
            graph.inputs().iter().map(|&i| random(graph.ty(i).dtype, &graph.ty(i).fixed().expect("fixed"), &mut dice)).collect();
        check_on(text, &graph, &inputs, relative, lower, round % 2 == 1, &mut dice);
    }
}

/// The same on given data.
pub fn check_on(text: &str, graph: &Graph, inputs: &[Tensor], relative: f64, lower: Lower, gaps: bool, dice: &mut Random) {
    let want = ir::graph::eval::eval(graph, inputs).unwrap_or_else(|e| panic!("{text}: {e}")).remove(0);
    for facts in machines() {
        let (program, whole, first) =
            program(graph, inputs, &facts, gaps.then_some(&mut *dice), lower).unwrap_or_else(|e| panic!("{text}: {e}"));
        if let Err(faults) = ir::program::verify(&program, &facts) {
            panic!("{text} on {}: {faults:#?}", facts.name);
        }
        let got = ir::program::run(&program, &facts, inputs).unwrap_or_else(|status| panic!("{text}: status {status}")).remove(0);
        let inside = got.slice(&first, &vec![1; first.len()], want.shape());
        compare(text, &inside, &want, relative);
        let gap = vec![GAP; got.dtype().bytes()];
        let mut at = 0;
        got.each(|element| {
            let mut rest = at;
            let mut inside = true;
            for axis in (0..whole.len()).rev() {
                let i = rest % whole[axis];
                inside &= (first[axis]..first[axis] + want.shape()[axis]).contains(&i);
                rest /= whole[axis];
            }
            assert!(inside || element == gap, "{text} on {}: wrote outside, at {at}", facts.name);
            at += 1;
        });
    }
}

/// The status of a run on given data.
pub fn status(text: &str, inputs: &[Tensor], lower: Lower) -> Option<u8> {
    let graph = ir::graph::text::parse(&format!("graph {{ {text} return %y \"y\" }}"), &|_| None).expect(text);
    let facts = &machines()[1];
    let (program, ..) = program(&graph, inputs, facts, None, lower).expect(text);
    ir::program::run(&program, facts, inputs).err()
}

pub fn compare(text: &str, got: &Tensor, want: &Tensor, relative: f64) {
    assert_eq!(got.ty(), want.ty(), "{text}");
    if relative == 0.0 || !want.dtype().is_float() {
        assert!(got == want, "{text}:\n got {:?}\nwant {:?}", got.to_f64s(), want.to_f64s());
        return;
    }
    for (i, (g, w)) in got.to_f64s().into_iter().zip(want.to_f64s()).enumerate() {
        let near = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= relative * w.abs().max(1.0);
        assert!(near, "{text}: element {i} is {g}, not {w}");
    }
}
