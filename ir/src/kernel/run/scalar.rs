//! Scalar kernels. A value is its bits in 64: an F32 in the low half.

use super::{Memory, Watch, max_f32, max_f64, min_f32, min_f64};
use crate::kernel::Facts;
use crate::kernel::scalar::{Binary, Expr, ScalarKernel, Stmt, Ty, Unary, Value};
use crate::tensor::{Dtype, Encoding, element_to_i64};
use half::{bf16, f16};

/// The status of the kernel.
pub(super) fn run<W: Watch>(kernel: &ScalarKernel, facts: &Facts, memory: &mut Memory<W>) -> u8 {
    let values = vec![0xa5a5_a5a5_a5a5_a5a5; kernel.values.len()];
    let cells = vec![0; kernel.cells.len()];
    let mut machine = Machine { kernel, fused: facts.fused, values, cells, memory };
    machine.block(&kernel.body).err().unwrap_or(0)
}

struct Machine<'m, 'n, 'b, W> {
    kernel: &'m ScalarKernel,
    fused: bool,
    values: Vec<u64>,
    cells: Vec<u64>,
    memory: &'m mut Memory<'n, 'b, W>,
}

impl<W: Watch> Machine<'_, '_, '_, W> {
    /// An error is the status to return with.
    fn block(&mut self, body: &[Stmt]) -> Result<(), u8> {
        for stmt in body {
            match *stmt {
                Stmt::Let { to, ref expr } => self.values[to.0 as usize] = self.expr(expr)?,
                Stmt::Store { arg, dtype, at, value } => self.store(arg, dtype, at, value),
                Stmt::Set { cell, value } => self.cells[cell.0 as usize] = self.v(value),
                Stmt::For { var, from, to, ref body } => {
                    for i in self.int(from)..self.int(to) {
                        self.values[var.0 as usize] = i as u64;
                        self.block(body)?;
                    }
                }
                Stmt::If { cond, ref then, ref other } => self.block(if self.v(cond) != 0 { then } else { other })?,
                Stmt::While { ref head, cond, ref body } => loop {
                    self.block(head)?;
                    if self.v(cond) == 0 {
                        break;
                    }
                    self.block(body)?;
                },
                Stmt::Fail { status } => return Err(status),
            }
        }
        Ok(())
    }

    fn v(&self, v: Value) -> u64 {
        self.values[v.0 as usize]
    }
    fn int(&self, v: Value) -> i64 {
        self.v(v) as i64
    }
    fn f32(&self, v: Value) -> f32 {
        f32::from_bits(self.v(v) as u32)
    }
    fn f64(&self, v: Value) -> f64 {
        f64::from_bits(self.v(v))
    }
    fn ty(&self, v: Value) -> Ty {
        self.kernel.values[v.0 as usize]
    }

    /// The offset in bytes of an element.
    fn offset(&self, dtype: Dtype, at: Value) -> i64 {
        self.int(at)
            .checked_mul(dtype.bytes() as i64)
            .unwrap_or_else(|| panic!("{}: element {} of an argument", self.memory.kernel.name, self.int(at)))
    }

    fn load(&mut self, arg: u8, dtype: Dtype, at: Value) -> u64 {
        let offset = self.offset(dtype, at);
        let e = self.memory.read(arg as usize, offset, dtype.bytes());
        match dtype.encoding() {
            Encoding::F32 => u32::from_le_bytes(e.try_into().expect("4 bytes were read")).into(),
            Encoding::F64 => u64::from_le_bytes(e.try_into().expect("8 bytes were read")),
            Encoding::F16 => f16::from_le_bytes(e.try_into().expect("2 bytes were read")).to_f32().to_bits().into(),
            Encoding::BF16 => bf16::from_le_bytes(e.try_into().expect("2 bytes were read")).to_f32().to_bits().into(),
            Encoding::Int => element_to_i64(dtype, e) as u64,
            Encoding::Small(_) => e[0].into(),
        }
    }

    fn store(&mut self, arg: u8, dtype: Dtype, at: Value, value: Value) {
        let offset = self.offset(dtype, at);
        let bits = match dtype.encoding() {
            Encoding::F32 | Encoding::F64 | Encoding::Small(_) => self.v(value),
            Encoding::F16 => f16::from_f32(self.f32(value)).to_bits().into(),
            Encoding::BF16 => bf16::from_f32(self.f32(value)).to_bits().into(),
            Encoding::Int => wrap(dtype, self.int(value)) as u64,
        };
        let width = dtype.bytes();
        self.memory.write(arg as usize, offset, width).copy_from_slice(&bits.to_le_bytes()[..width]);
    }

    fn expr(&mut self, expr: &Expr) -> Result<u64, u8> {
        Ok(match *expr {
            Expr::Int(value) => value as u64,
            Expr::F32(bits) => bits.into(),
            Expr::F64(bits) => bits,
            Expr::Load { arg, dtype, at } => self.load(arg, dtype, at),
            Expr::Get(cell) => self.cells[cell.0 as usize],
            Expr::Unary(op, a) => self.unary(op, a),
            Expr::Binary(op, a, b) => self.binary(op, a, b),
            Expr::MulAdd(a, b, c) => match (self.ty(a), self.fused) {
                (Ty::F64, true) => self.f64(a).mul_add(self.f64(b), self.f64(c)).to_bits(),
                (Ty::F64, false) => (self.f64(a) * self.f64(b) + self.f64(c)).to_bits(),
                (Ty::F32 | Ty::Int, true) => bits32(self.f32(a).mul_add(self.f32(b), self.f32(c))),
                (Ty::F32 | Ty::Int, false) => bits32(self.f32(a) * self.f32(b) + self.f32(c)),
            },
            Expr::Select(a, b, c) => self.v(if self.v(a) != 0 { b } else { c }),
            Expr::Require { value, below, status } => match self.int(value) {
                inside if (0..below).contains(&inside) => inside as u64,
                _ => return Err(status),
            },
        })
    }

    fn unary(&self, op: Unary, a: Value) -> u64 {
        let (int, single) = (self.int(a), self.f32(a));
        match op {
            Unary::INeg => int.wrapping_neg() as u64,
            Unary::INot => !int as u64,
            Unary::Wrap(dtype) => wrap(dtype, int) as u64,
            Unary::Neg => self.v(a) ^ self.sign(a),
            Unary::Abs => self.v(a) & !self.sign(a),
            Unary::Sqrt => self.float(a, f32::sqrt, f64::sqrt),
            Unary::Floor => self.float(a, f32::floor, f64::floor),
            Unary::Ceil => self.float(a, f32::ceil, f64::ceil),
            Unary::Trunc => self.float(a, f32::trunc, f64::trunc),
            Unary::Round => self.float(a, f32::round_ties_even, f64::round_ties_even),
            Unary::IntToF32 => bits32(int as f32),
            Unary::IntToF64 => (int as f64).to_bits(),
            Unary::UIntToF32 => bits32(int as u64 as f32),
            Unary::UIntToF64 => (int as u64 as f64).to_bits(),
            Unary::FloatToInt if self.ty(a) == Ty::F64 => self.f64(a) as i64 as u64,
            Unary::FloatToInt => single as i64 as u64,
            Unary::FloatToUInt if self.ty(a) == Ty::F64 => self.f64(a) as u64,
            Unary::FloatToUInt => single as u64,
            Unary::F32ToF64 => f64::from(single).to_bits(),
            Unary::F64ToF32 => bits32(self.f64(a) as f32),
            Unary::F32Bits | Unary::F32FromBits => self.v(a) & 0xffff_ffff,
            Unary::F64Bits | Unary::F64FromBits => self.v(a),
            Unary::RoundF16 => bits32(f16::from_f32(single).to_f32()),
            Unary::RoundBF16 => bits32(bf16::from_f32(single).to_f32()),
        }
    }

    /// The sign bit of a float.
    fn sign(&self, a: Value) -> u64 {
        if self.ty(a) == Ty::F64 { 1 << 63 } else { 1 << 31 }
    }

    fn float(&self, a: Value, single: fn(f32) -> f32, double: fn(f64) -> f64) -> u64 {
        if self.ty(a) == Ty::F64 { double(self.f64(a)).to_bits() } else { bits32(single(self.f32(a))) }
    }

    fn binary(&self, op: Binary, a: Value, b: Value) -> u64 {
        let (x, y) = (self.int(a), self.int(b));
        let (ux, uy) = (x as u64, y as u64);
        match op {
            Binary::IAdd => ux.wrapping_add(uy),
            Binary::ISub => ux.wrapping_sub(uy),
            Binary::IMul => ux.wrapping_mul(uy),
            Binary::SDiv => {
                if y == 0 {
                    0
                } else {
                    x.wrapping_div(y) as u64
                }
            }
            Binary::UDiv => ux.checked_div(uy).unwrap_or(0),
            Binary::SRem => {
                if y == 0 {
                    0
                } else {
                    x.wrapping_rem(y) as u64
                }
            }
            Binary::URem => ux.checked_rem(uy).unwrap_or(0),
            Binary::And => ux & uy,
            Binary::Or => ux | uy,
            Binary::Xor => ux ^ uy,
            Binary::Shl => {
                if uy < 64 {
                    ux << uy
                } else {
                    0
                }
            }
            Binary::UShr => {
                if uy < 64 {
                    ux >> uy
                } else {
                    0
                }
            }
            Binary::SShr => (x >> uy.min(63)) as u64,
            Binary::SMin => x.min(y) as u64,
            Binary::SMax => x.max(y) as u64,
            Binary::UMin => ux.min(uy),
            Binary::UMax => ux.max(uy),
            Binary::IEq => (x == y).into(),
            Binary::INe => (x != y).into(),
            Binary::SLt => (x < y).into(),
            Binary::SLe => (x <= y).into(),
            Binary::ULt => (ux < uy).into(),
            Binary::ULe => (ux <= uy).into(),
            Binary::Add => self.floats(a, b, |a, b| a + b, |a, b| a + b),
            Binary::Sub => self.floats(a, b, |a, b| a - b, |a, b| a - b),
            Binary::Mul => self.floats(a, b, |a, b| a * b, |a, b| a * b),
            Binary::Div => self.floats(a, b, |a, b| a / b, |a, b| a / b),
            Binary::Min => self.floats(a, b, min_f32, min_f64),
            Binary::Max => self.floats(a, b, max_f32, max_f64),
            Binary::Eq => self.order(a, b, |a, b| a == b),
            Binary::Ne => self.order(a, b, |a, b| a != b),
            Binary::Lt => self.order(a, b, |a, b| a < b),
            Binary::Le => self.order(a, b, |a, b| a <= b),
        }
    }

    fn floats(&self, a: Value, b: Value, single: fn(f32, f32) -> f32, double: fn(f64, f64) -> f64) -> u64 {
        match self.ty(a) {
            Ty::F64 => double(self.f64(a), self.f64(b)).to_bits(),
            Ty::F32 | Ty::Int => bits32(single(self.f32(a), self.f32(b))),
        }
    }

    /// Widening to f64 keeps order, equality and NaN.
    fn order(&self, a: Value, b: Value, holds: fn(f64, f64) -> bool) -> u64 {
        match self.ty(a) {
            Ty::F64 => holds(self.f64(a), self.f64(b)).into(),
            Ty::F32 | Ty::Int => holds(self.f32(a).into(), self.f32(b).into()).into(),
        }
    }
}

fn bits32(value: f32) -> u64 {
    value.to_bits().into()
}

/// Cut to the bits of an integer type and extended again; bool: not 0.
fn wrap(dtype: Dtype, value: i64) -> i64 {
    let spare = 64 - dtype.bits();
    if dtype == Dtype::Bool {
        i64::from(value != 0)
    } else if dtype.is_signed_int() {
        value << spare >> spare
    } else {
        ((value as u64) << spare >> spare) as i64
    }
}
