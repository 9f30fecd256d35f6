//! Writing tile kernels: a cursor over nested statements with registers handed out and taken back.

use ir::Dtype;
use ir::kernel::tile::{At, Binary, Narrow, Operand, P, Stmt, TileKernel, V};
use ir::kernel::{Access, Arg, Facts, Kernel, KernelBody};

/// Free vector registers.
#[derive(Clone, Debug)]
pub struct Pool {
    free: Vec<V>,
}

impl Pool {
    pub fn new(facts: &Facts) -> Pool {
        Pool { free: (0..facts.vectors).rev().map(V).collect() }
    }
    pub fn take(&mut self) -> Option<V> {
        self.free.pop()
    }
    pub fn give(&mut self, v: V) {
        debug_assert!(!self.free.contains(&v));
        self.free.push(v);
    }
    pub fn len(&self) -> usize {
        self.free.len()
    }
    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }
}

/// Statements under construction; blocks nest.
#[derive(Default)]
pub struct Writer {
    pub out: Vec<Stmt>,
}

impl Writer {
    pub fn new() -> Writer {
        Writer::default()
    }
    pub fn push(&mut self, stmt: Stmt) {
        self.out.push(stmt);
    }
    /// `body` `times` times; once: no loop, never: nothing.
    pub fn repeat(&mut self, times: usize, body: impl FnOnce(&mut Writer)) {
        if times == 0 {
            return;
        }
        let mut inner = Writer::new();
        body(&mut inner);
        match times {
            1 => self.out.extend(inner.out),
            n => self.out.push(Stmt::Loop { times: u32::try_from(n).expect("trip counts fit 32 bits"), body: inner.out }),
        }
    }
    /// `p += by`; nothing when `by` is 0.
    pub fn advance(&mut self, p: P, by: i64) {
        if by != 0 {
            self.push(Stmt::Advance { p, by });
        }
    }
    pub fn mul_add(&mut self, acc: V, a: V, b: Operand) {
        self.push(Stmt::MulAdd { acc, a, b, negate: false });
    }
    pub fn binary(&mut self, op: Binary, to: V, a: V, b: Operand) {
        self.push(Stmt::Binary { op, to, a, b });
    }
}

/// How elements of a type lie in memory, where they are narrower than a lane.
pub fn narrow(dtype: Dtype) -> Option<Narrow> {
    match dtype {
        Dtype::U8 | Dtype::Bool => Some(Narrow::U8),
        Dtype::I8 => Some(Narrow::I8),
        Dtype::U16 => Some(Narrow::U16),
        Dtype::I16 => Some(Narrow::I16),
        _ => None,
    }
}

/// Loads elements of `dtype` that stand side by side, each into its lane.
pub fn load(to: V, at: At, lanes: u8, dtype: Dtype) -> Stmt {
    narrow(dtype).map_or(Stmt::Load { to, at, lanes }, |kind| Stmt::LoadNarrow { to, at, lanes, kind })
}

/// Loads one element of `dtype` into all lanes.
pub fn splat(to: V, at: At, dtype: Dtype) -> Stmt {
    narrow(dtype).map_or(Stmt::Splat { to, at }, |kind| Stmt::SplatNarrow { to, at, kind })
}

/// Stores lanes as elements of `dtype` side by side: for a narrow one, integers that fit it.
pub fn store(from: V, at: At, lanes: u8, dtype: Dtype) -> Stmt {
    narrow(dtype).map_or(Stmt::Store { from, at, lanes }, |kind| Stmt::StoreNarrow { from, at, lanes, kind })
}

/// Whether a displacement of so many bytes, and a few vectors more, fits an address.
pub fn near(bytes: i64) -> bool {
    bytes.unsigned_abs() < (1 << 31) - (1 << 16)
}

/// `p + offset`.
pub fn at(p: P, offset: i64) -> At {
    At { p, offset: i32::try_from(offset).expect("displacements fit 32 bits") }
}

/// A finished kernel.
pub fn kernel(name: impl Into<String>, args: Vec<Arg>, writer: Writer) -> Kernel {
    Kernel { name: name.into(), args, body: KernelBody::Tile(TileKernel { body: writer.out }) }
}

/// An argument of which `low..high` bytes around the pointer are touched.
pub fn arg(name: &str, access: Access, low: i64, high: i64) -> Arg {
    Arg { name: name.into(), low, high, access }
}
