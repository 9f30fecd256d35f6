//! Small programs for tests.

use super::{Address, Allocation, Call, Port, Program, Step};
pub(crate) use crate::kernel::samples::facts;
use crate::kernel::scalar::{ScalarKernel, Stmt as Scalar};
use crate::kernel::tile::{At, P, Stmt, TileKernel, Unary, V};
use crate::kernel::{Access, Arg, Kernel, KernelBody};
use crate::tensor::{Dtype, Type};

fn arg(name: &str, high: i64, access: Access) -> Arg {
    Arg { name: name.into(), low: 0, high, access }
}

fn at(p: u8, offset: i32) -> At {
    At { p: P(p), offset }
}

/// `y = op(x)` on four elements.
fn map(name: &str, op: Unary) -> Kernel {
    let body = vec![
        Stmt::Load { to: V(0), at: at(0, 0), lanes: 4 },
        Stmt::Unary { op, to: V(0), a: V(0) },
        Stmt::Store { from: V(0), at: at(1, 0), lanes: 4 },
    ];
    let args = vec![arg("x", 16, Access::Read), arg("y", 16, Access::Write)];
    Kernel { name: name.into(), args, body: KernelBody::Tile(TileKernel { body }) }
}

pub(crate) fn failing(status: u8) -> Kernel {
    let body = ScalarKernel { body: vec![Scalar::Fail { status }], ..ScalarKernel::default() };
    Kernel { name: format!("fail_{status}"), args: Vec::new(), body: KernelBody::Scalar(body) }
}

fn step(calls: Vec<Call>, what: &str) -> Step {
    Step { calls, what: what.into(), names: vec!["node".into()], macs: 0, when: Vec::new() }
}

fn port(name: &str, elements: usize) -> Port {
    Port { name: name.into(), ty: Type::of(Dtype::F32, &[elements]), bytes: 4 * elements as u64 }
}

/// `y = -|x|`, by way of the arena.
pub(crate) fn two_steps() -> Program {
    let (input, output) = (Address::Input { index: 0, offset: 0 }, Address::Output { index: 0, offset: 0 });
    let middle = Address::Arena { offset: 16 };
    Program {
        inputs: vec![port("x", 4)],
        outputs: vec![port("y", 4)],
        kernels: vec![map("abs", Unary::Abs), map("neg", Unary::Neg)],
        steps: vec![step(vec![Call::new(0, vec![input, middle])], "map"), step(vec![Call::new(1, vec![middle, output])], "map")],
        arena_bytes: 64,
        arena_align: 64,
        plan: vec![Allocation { name: "t".into(), offset: 16, bytes: 16, first: 0, last: 1 }],
        ..Program::default()
    }
}

/// Two calls of one step fill the even and the odd elements of the output.
pub(crate) fn interleaved() -> Program {
    let fill = |name: &str, value: f32| {
        let body = vec![Stmt::Set { to: V(0), bits: value.to_bits() }, Stmt::Scatter { from: V(0), at: at(0, 0), stride: 8, lanes: 4 }];
        let args = vec![arg("y", 28, Access::Write)];
        Kernel { name: name.into(), args, body: KernelBody::Tile(TileKernel { body }) }
    };
    let call = |kernel: usize| Call::new(kernel, vec![Address::Output { index: 0, offset: 4 * kernel as u64 }]);
    Program {
        outputs: vec![port("y", 8)],
        kernels: vec![fill("ones", 1.0), fill("twos", 2.0)],
        steps: vec![step(vec![call(0), call(1)], "fill")],
        ..Program::default()
    }
}
