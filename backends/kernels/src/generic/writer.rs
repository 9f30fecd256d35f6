//! Writing scalar kernels: values with their types, constants once at the top, nested loops over operands of any
//! strides. An index is a sum of loop variables times constants, so that its bounds can be proven. Operators
//! and element arithmetic are not known here.

use super::small;
use crate::extent::{Extent, Table};
use ir::Dtype;
use ir::dim::{Arithmetic, Dim};
use ir::kernel::scalar::{Binary, Cell, Expr, Stmt, Ty, Unary, Value, ty_of};
use ir::kernel::{Access, Arg, Kernel, KernelBody, ScalarKernel};
use std::collections::HashMap;
use std::sync::Arc;

/// Memory behind an argument, as elements of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub arg: u8,
    pub dtype: Dtype,
}

/// A scalar kernel under construction.
#[derive(Default)]
pub struct Writer {
    kernel: ScalarKernel,
    args: Vec<Arg>,
    constants: Vec<Stmt>,
    /// Looked up, never walked.
    known: HashMap<Expr, Value>,
    /// The integer that a value is, where it is constant.
    fixed: Vec<Option<i64>>,
    blocks: Vec<Vec<Stmt>>,
    symbols: Arc<Table>,
    /// The argument that the symbols' values are read through.
    symbols_arg: Option<u8>,
    /// Sizes read so far.
    sizes: Vec<(Extent, Value)>,
}

impl Writer {
    pub fn new() -> Writer {
        Writer { blocks: vec![Vec::new()], ..Writer::default() }
    }

    /// For kernels that go as far as these symbols say.
    pub fn with(symbols: &Arc<Table>) -> Writer {
        Writer { symbols: symbols.clone(), ..Writer::new() }
    }

    /// The argument that wants the address of the symbols, if a size was asked for.
    pub fn symbols_arg(&self) -> Option<usize> {
        self.symbols_arg.map(usize::from)
    }

    /// Elements along an axis, at most its bound.
    pub fn size(&mut self, extent: &Extent) -> Value {
        let (dim, bound) = match extent {
            Extent::Fixed(n) => return self.int(*n as i64),
            Extent::Open { dim, bound } => (dim, *bound as i64),
        };
        if let Some((_, value)) = self.sizes.iter().find(|(known, _)| known == extent) {
            return *value;
        }
        let value = dim.compute(&mut Early(self));
        let (low, high) = (self.int(0), self.int(bound));
        let value = self.early(Expr::Binary(Binary::SMax, value, low));
        let value = self.early(Expr::Binary(Binary::SMin, value, high));
        self.sizes.push((extent.clone(), value));
        value
    }

    /// The value of a dimension, whatever it is.
    pub fn dim(&mut self, dim: &Dim) -> Value {
        match dim.fixed() {
            Some(value) => self.int(value),
            None => dim.compute(&mut Early(self)),
        }
    }

    /// An integer computed before everything else.
    fn early(&mut self, expr: Expr) -> Value {
        let to = self.value(Ty::Int, None);
        self.constants.push(Stmt::Let { to, expr });
        to
    }

    /// The value of a symbol, which is within its range.
    fn symbol(&mut self, name: &str) -> Value {
        let (index, count) = (self.symbols.index(name), self.symbols.list.len());
        let (low, high) = (self.symbols.list[index].low, self.symbols.list[index].high);
        let arg = match self.symbols_arg {
            Some(arg) => arg,
            None => {
                let arg = self.memory("symbols", Access::Read, Dtype::I64, &[count], &[1]).arg;
                self.symbols_arg = Some(arg);
                arg
            }
        };
        let at = self.int(index as i64);
        let expr = Expr::Load { arg, dtype: Dtype::I64, at };
        if let Some(&value) = self.known.get(&expr) {
            return value;
        }
        let loaded = self.early(expr.clone());
        let (low, high) = (self.int(low), self.int(high));
        // the entry has checked it; bounds are proven from this
        let value = self.early(Expr::Binary(Binary::SMax, loaded, low));
        let value = self.early(Expr::Binary(Binary::SMin, value, high));
        self.known.insert(expr, value);
        value
    }

    /// A further argument; its pointer is to the element at index 0 of `shape` with `strides` in elements.
    pub fn memory(&mut self, name: &str, access: Access, dtype: Dtype, shape: &[usize], strides: &[i64]) -> Memory {
        let reach = |pick: fn(i64) -> bool| shape.iter().zip(strides).map(|(&n, &s)| (n as i64 - 1) * s).filter(|&d| pick(d)).sum::<i64>();
        let width = dtype.bytes() as i64;
        let (low, high) = match shape.contains(&0) {
            true => (0, 0),
            false => (reach(|d| d < 0) * width, (reach(|d| d > 0) + 1) * width),
        };
        self.args.push(Arg { name: name.into(), low, high, access });
        Memory { arg: u8::try_from(self.args.len() - 1).expect("operators have fewer operands than 256"), dtype }
    }

    fn value(&mut self, ty: Ty, fixed: Option<i64>) -> Value {
        self.kernel.values.push(ty);
        self.fixed.push(fixed);
        Value(self.kernel.values.len() as u32 - 1)
    }

    fn push(&mut self, stmt: Stmt) {
        self.blocks.last_mut().expect("the body's block stays to the end").push(stmt);
    }

    fn constant(&mut self, ty: Ty, expr: Expr, fixed: Option<i64>) -> Value {
        if let Some(&value) = self.known.get(&expr) {
            return value;
        }
        let to = self.value(ty, fixed);
        self.known.insert(expr.clone(), to);
        self.constants.push(Stmt::Let { to, expr });
        to
    }

    pub fn int(&mut self, value: i64) -> Value {
        self.constant(Ty::Int, Expr::Int(value), Some(value))
    }
    pub fn f32(&mut self, value: f32) -> Value {
        self.constant(Ty::F32, Expr::F32(value.to_bits()), None)
    }
    pub fn f64(&mut self, value: f64) -> Value {
        self.constant(Ty::F64, Expr::F64(value.to_bits()), None)
    }

    pub fn ty(&self, value: Value) -> Ty {
        self.kernel.values[value.0 as usize]
    }

    /// The integer that `value` always is, where that is known.
    pub fn fixed(&self, value: Value) -> Option<i64> {
        self.fixed[value.0 as usize]
    }

    fn set(&mut self, ty: Ty, expr: Expr) -> Value {
        let to = self.value(ty, None);
        self.push(Stmt::Let { to, expr });
        to
    }

    pub fn unary(&mut self, op: Unary, a: Value) -> Value {
        let ty = match op {
            Unary::INeg | Unary::INot | Unary::Wrap(_) | Unary::FloatToInt | Unary::FloatToUInt => Ty::Int,
            Unary::F32Bits | Unary::F64Bits => Ty::Int,
            Unary::Neg | Unary::Abs | Unary::Sqrt | Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Round => self.ty(a),
            Unary::IntToF32 | Unary::UIntToF32 | Unary::F64ToF32 | Unary::F32FromBits => Ty::F32,
            Unary::RoundF16 | Unary::RoundBF16 => Ty::F32,
            Unary::IntToF64 | Unary::UIntToF64 | Unary::F32ToF64 | Unary::F64FromBits => Ty::F64,
        };
        self.set(ty, Expr::Unary(op, a))
    }

    pub fn binary(&mut self, op: Binary, a: Value, b: Value) -> Value {
        let ty = match op {
            Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Min | Binary::Max => self.ty(a),
            Binary::IAdd | Binary::ISub | Binary::IMul | Binary::SDiv | Binary::UDiv | Binary::SRem | Binary::URem => Ty::Int,
            Binary::And | Binary::Or | Binary::Xor | Binary::Shl | Binary::UShr | Binary::SShr => Ty::Int,
            Binary::SMin | Binary::SMax | Binary::UMin | Binary::UMax => Ty::Int,
            Binary::IEq | Binary::INe | Binary::SLt | Binary::SLe | Binary::ULt | Binary::ULe => Ty::Int,
            Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le => Ty::Int,
        };
        self.set(ty, Expr::Binary(op, a, b))
    }

    pub fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.set(self.ty(a), Expr::MulAdd(a, b, c))
    }

    pub fn select(&mut self, cond: Value, a: Value, b: Value) -> Value {
        self.set(self.ty(a), Expr::Select(cond, a, b))
    }

    /// Stops the kernel with `status` unless `cond`.
    pub fn insist(&mut self, cond: Value, status: u8) {
        self.push(Stmt::If { cond, then: Vec::new(), other: vec![Stmt::Fail { status }] });
    }

    /// `value`, which is in `0..extent`; else the kernel stops with status 4, an index out of range.
    pub fn require_in(&mut self, value: Value, extent: &Extent) -> Value {
        if extent.fixed().is_none() {
            let size = self.size(extent);
            let inside = self.binary(Binary::ULt, value, size);
            self.insist(inside, 4);
        }
        self.require(value, extent.bound() as i64)
    }

    /// `value`, which is in `0..below`: what it is anyway, where that cannot be proven. `below` is at least 1.
    pub fn within(&mut self, value: Value, below: usize) -> Value {
        let (low, high) = (self.int(0), self.int(below as i64 - 1));
        let value = self.binary(Binary::SMax, value, low);
        self.binary(Binary::SMin, value, high)
    }

    /// `value`, which is in `0..below`; else the kernel stops with status 4, an index out of range.
    pub fn require(&mut self, value: Value, below: i64) -> Value {
        self.set(Ty::Int, Expr::Require { value, below, status: 4 })
    }

    /// Index arithmetic: constants fold.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        match (self.fixed(a), self.fixed(b)) {
            (Some(x), Some(y)) => self.int(x.wrapping_add(y)),
            (Some(0), None) => b,
            (None, Some(0)) => a,
            _ => self.binary(Binary::IAdd, a, b),
        }
    }

    /// `base + var * stride`.
    pub fn offset(&mut self, base: Value, var: Value, stride: i64) -> Value {
        let step = match (self.fixed(var), stride) {
            (_, 0) => return base,
            (Some(v), s) => self.int(v.wrapping_mul(s)),
            (None, 1) => var,
            (None, s) => {
                let s = self.int(s);
                self.binary(Binary::IMul, var, s)
            }
        };
        self.add(base, step)
    }

    /// The element `at`, in the type that it computes in.
    pub fn load(&mut self, memory: Memory, at: Value) -> Value {
        let value = self.set(ty_of(memory.dtype), Expr::Load { arg: memory.arg, dtype: memory.dtype, at });
        if small::is_bits(memory.dtype) { small::decode(self, memory.dtype, value) } else { value }
    }

    pub fn store(&mut self, memory: Memory, at: Value, value: Value) {
        let value = if small::is_bits(memory.dtype) { small::encode(self, memory.dtype, value) } else { value };
        self.push(Stmt::Store { arg: memory.arg, dtype: memory.dtype, at, value });
    }

    /// A variable, set to `start`.
    pub fn cell(&mut self, start: Value) -> Cell {
        self.kernel.cells.push(self.ty(start));
        let cell = Cell(self.kernel.cells.len() as u32 - 1);
        self.put(cell, start);
        cell
    }

    pub fn get(&mut self, cell: Cell) -> Value {
        self.set(self.kernel.cells[cell.0 as usize], Expr::Get(cell))
    }

    pub fn put(&mut self, cell: Cell, value: Value) {
        self.push(Stmt::Set { cell, value });
    }

    fn block(&mut self, body: impl FnOnce(&mut Writer)) -> Vec<Stmt> {
        self.blocks.push(Vec::new());
        body(self);
        self.blocks.pop().expect("it was pushed above")
    }

    /// `body` with a variable that counts from 0 to `times`; no loop where once is enough.
    pub fn repeat(&mut self, times: impl Into<Extent>, body: impl FnOnce(&mut Writer, Value)) {
        let times = times.into();
        if times.bound() == 0 {
            return;
        }
        let from = self.int(0);
        if times.fixed() == Some(1) {
            return body(self, from);
        }
        let to = self.size(&times);
        self.count(from, to, body);
    }

    /// `body` with a variable that counts from `from` up to, not including, `to`.
    pub fn count(&mut self, from: Value, to: Value, body: impl FnOnce(&mut Writer, Value)) {
        let var = self.value(Ty::Int, None);
        let body = self.block(|w| body(w, var));
        self.push(Stmt::For { var, from, to, body });
    }

    pub fn when(&mut self, cond: Value, body: impl FnOnce(&mut Writer)) {
        let then = self.block(body);
        self.push(Stmt::If { cond, then, other: Vec::new() });
    }

    /// Runs `body` as long as what `head` gives is true.
    pub fn whilst(&mut self, head: impl FnOnce(&mut Writer) -> Value, body: impl FnOnce(&mut Writer)) {
        let mut cond = Value(0);
        let head = self.block(|w| cond = head(w));
        let body = self.block(body);
        self.push(Stmt::While { head, cond, body });
    }

    /// Loops over `shape`; `walks` are strides of one operand each along its axes. `body` gets each operand's
    /// index: its start plus what its strides add. Axes that every operand walks evenly become one loop.
    pub fn nest(
        &mut self,
        shape: &[impl Clone + Into<Extent>],
        walks: &[&[i64]],
        starts: &[Value],
        body: &mut dyn FnMut(&mut Writer, &[Value]),
    ) {
        let shape: Vec<Extent> = shape.iter().map(|n| n.clone().into()).collect();
        let (shape, walks) = join(&shape, walks);
        self.level(&shape, &walks, starts.to_vec(), body);
    }

    fn level(&mut self, shape: &[Extent], walks: &[Vec<i64>], at: Vec<Value>, body: &mut dyn FnMut(&mut Writer, &[Value])) {
        let depth = walks.first().map_or(0, Vec::len) - shape.len();
        let Some((times, rest)) = shape.split_first() else { return body(self, &at) };
        self.repeat(times, |w, var| {
            let at = at.iter().zip(walks).map(|(&base, walk)| w.offset(base, var, walk[depth])).collect();
            w.level(rest, walks, at, body);
        });
    }

    pub fn finish(mut self, name: impl Into<String>) -> Kernel {
        let rest = self.blocks.pop().expect("the body's block stays to the end");
        self.kernel.body = self.constants;
        self.kernel.body.extend(rest);
        Kernel { name: name.into(), args: self.args, body: KernelBody::Scalar(self.kernel) }
    }
}

/// Dimensions computed before everything else.
struct Early<'w>(&'w mut Writer);

impl Arithmetic for Early<'_> {
    type Value = Value;

    fn constant(&mut self, value: i64) -> Value {
        self.0.int(value)
    }

    fn symbol(&mut self, name: &str) -> Value {
        self.0.symbol(name)
    }

    fn add(&mut self, a: Value, b: Value) -> Value {
        self.0.early(Expr::Binary(Binary::IAdd, a, b))
    }

    fn mul(&mut self, a: Value, b: Value) -> Value {
        self.0.early(Expr::Binary(Binary::IMul, a, b))
    }

    fn floor_div(&mut self, a: Value, by: i64) -> Value {
        let (by, zero) = (self.0.int(by), self.0.int(0));
        let toward_zero = self.0.early(Expr::Binary(Binary::SDiv, a, by));
        let rest = self.0.early(Expr::Binary(Binary::SRem, a, by));
        let below = self.0.early(Expr::Binary(Binary::SLt, rest, zero));
        self.0.early(Expr::Binary(Binary::ISub, toward_zero, below))
    }
}

/// The same walk with fewer axes: those of size 1 go, neighbours that all operands walk evenly become one.
pub fn coalesce(shape: &[usize], walks: &[&[i64]]) -> (Vec<usize>, Vec<Vec<i64>>) {
    let shape: Vec<Extent> = shape.iter().map(|&n| n.into()).collect();
    let (shape, walks) = join(&shape, walks);
    (shape.iter().map(Extent::bound).collect(), walks)
}

/// The same of extents. What is open joins only as the outer of two.
fn join(shape: &[Extent], walks: &[&[i64]]) -> (Vec<Extent>, Vec<Vec<i64>>) {
    let mut out_shape: Vec<Extent> = Vec::new();
    let mut out: Vec<Vec<i64>> = vec![Vec::new(); walks.len()];
    for (axis, extent) in shape.iter().enumerate() {
        if extent.fixed() == Some(1) {
            continue;
        }
        let even =
            |(walk, done): (&&[i64], &Vec<i64>)| extent.fixed().is_some_and(|n| done.last().is_some_and(|&s| s == walk[axis] * n as i64));
        match out_shape.last_mut() {
            Some(last) if !walks.is_empty() && walks.iter().zip(&out).all(even) => {
                *last = Extent::product(&[last.clone(), extent.clone()]);
                out.iter_mut().zip(walks).for_each(|(done, walk)| *done.last_mut().expect("as long as the shape") = walk[axis]);
            }
            Some(_) | None => {
                out_shape.push(extent.clone());
                out.iter_mut().zip(walks).for_each(|(done, walk)| done.push(walk[axis]));
            }
        }
    }
    (out_shape, out)
}
