//! Scalar kernels to machine code. One function: pointers in, status out; values are Cranelift's own, cells its variables. The
//! laws of `ir::kernel::scalar` hold to the bit, whatever the machine's instructions would do at their edges.

use std::collections::BTreeMap;

use artifact::Symbol;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{self as clif, Block, InstBuilder, MemFlagsData, Type, types};
use cranelift_frontend::Variable;
use ir::fault::Fault;
use ir::kernel::scalar::{Binary, Cell, Expr, Stmt, Ty, Unary, Value};
use ir::kernel::{Facts, ScalarKernel};
use ir::tensor::Dtype;

use crate::Target;
use crate::function::{Body, I32, I64, function};

/// The function `name`: `int32_t name(void *arg0, …)` with `args` pointers, as the machine's calling convention passes them.
/// `kernel` was verified. Fault: it is larger than one function can be.
pub fn scalar_kernel(target: &Target, name: &str, args: usize, kernel: &ScalarKernel, facts: &Facts) -> Result<Symbol, Fault> {
    function(&target.level, target.machine, name, &vec![I64; args], &[I32], |body, pointers| {
        let cells = kernel.cells.iter().map(|ty| {
            let zero = match ty {
                Ty::Int => body.long(0),
                Ty::F32 => body.b.ins().f32const(0.0),
                Ty::F64 => body.b.ins().f64const(0.0),
            };
            body.var(type_of(*ty), zero)
        });
        let cells = cells.collect();
        let values = vec![None; kernel.values.len()];
        let mut lower = Lower { body, kernel, fused: facts.fused, args: pointers, cells, values, fails: BTreeMap::new() };
        lower.block(&kernel.body);
        lower.body.give_status(0);
        for (status, block) in std::mem::take(&mut lower.fails) {
            lower.body.at(block);
            lower.body.give_status(i64::from(status));
        }
    })
}

fn type_of(ty: Ty) -> Type {
    match ty {
        Ty::Int => I64,
        Ty::F32 => types::F32,
        Ty::F64 => types::F64,
    }
}

/// What an element is in memory.
#[derive(Clone, Copy)]
enum Element {
    Int {
        bytes: u8,
        signed: bool,
        /// Those that count: 4 or 2 of the eight of a packed type.
        bits: u8,
    },
    Bool,
    F16,
    BF16,
    F32,
    F64,
}

fn element(dtype: Dtype) -> Element {
    let int = |bytes, signed, bits| Element::Int { bytes, signed, bits };
    match dtype {
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::BF16,
        Dtype::I8 => int(1, true, 8),
        Dtype::I16 => int(2, true, 16),
        Dtype::I32 => int(4, true, 32),
        Dtype::I64 => int(8, true, 64),
        Dtype::U8 => int(1, false, 8),
        Dtype::U16 => int(2, false, 16),
        Dtype::U32 => int(4, false, 32),
        Dtype::U64 => int(8, false, 64),
        Dtype::Bool => Element::Bool,
        Dtype::I4 => int(1, true, 4),
        Dtype::U4 => int(1, false, 4),
        Dtype::I2 => int(1, true, 2),
        Dtype::U2 => int(1, false, 2),
        Dtype::F8E4M3 | Dtype::F8E4M3Z | Dtype::F8E5M2 | Dtype::F8E5M2Z | Dtype::F8E8M0 | Dtype::F4E2M1 => int(1, false, 8),
    }
}

struct Lower<'k, 'b, 'f> {
    body: &'b mut Body<'f>,
    kernel: &'k ScalarKernel,
    fused: bool,
    args: &'b [clif::Value],
    cells: Vec<Variable>,
    values: Vec<Option<clif::Value>>,
    /// A block that returns the status, for each status.
    fails: BTreeMap<u8, Block>,
}

impl Lower<'_, '_, '_> {
    fn value(&self, value: Value) -> clif::Value {
        self.values[value.0 as usize].expect("the verifier saw that it is set before")
    }

    fn cell(&self, cell: Cell) -> Variable {
        self.cells[cell.0 as usize]
    }

    fn fail(&mut self, status: u8) -> Block {
        let body = &mut self.body;
        *self.fails.entry(status).or_insert_with(|| body.cold())
    }

    fn block(&mut self, stmts: &[Stmt]) {
        stmts.iter().for_each(|stmt| self.stmt(stmt));
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Let { to, expr } => {
                let value = self.expr(expr);
                self.values[to.0 as usize] = Some(value);
            }
            Stmt::Store { arg, dtype, at, value } => self.store(*arg, *dtype, *at, *value),
            Stmt::Set { cell, value } => {
                let (cell, value) = (self.cell(*cell), self.value(*value));
                self.body.set(cell, value);
            }
            Stmt::For { var, from, to, body } => {
                let (from, to) = (self.value(*from), self.value(*to));
                let i = self.body.var(I64, from);
                let (head, inside, next) = (self.body.block(), self.body.block(), self.body.block());
                self.body.jump(head);
                self.body.at(head);
                let now = self.body.get(i);
                let more = self.body.cmp(IntCC::SignedLessThan, now, to);
                self.body.branch(more, inside, next);
                self.body.at(inside);
                self.values[var.0 as usize] = Some(now);
                self.block(body);
                let then = self.body.add_imm(now, 1);
                self.body.set(i, then);
                self.body.jump(head);
                self.body.at(next);
            }
            Stmt::If { cond, then, other } => {
                let cond = self.value(*cond);
                let (yes, no, next) = (self.body.block(), self.body.block(), self.body.block());
                self.body.branch(cond, yes, no);
                self.body.at(yes);
                self.block(then);
                self.body.jump(next);
                self.body.at(no);
                self.block(other);
                self.body.jump(next);
                self.body.at(next);
            }
            Stmt::While { head, cond, body } => {
                let (again, inside, next) = (self.body.block(), self.body.block(), self.body.block());
                self.body.jump(again);
                self.body.at(again);
                self.block(head);
                let cond = self.value(*cond);
                self.body.branch(cond, inside, next);
                self.body.at(inside);
                self.block(body);
                self.body.jump(again);
                self.body.at(next);
            }
            Stmt::Fail { status } => {
                let fail = self.fail(*status);
                self.body.jump(fail);
                // what follows is never reached, and still wants a block
                let next = self.body.block();
                self.body.at(next);
            }
        }
    }

    fn address(&mut self, arg: u8, dtype: Dtype, at: Value) -> clif::Value {
        let (base, at) = (self.args[arg as usize], self.value(at));
        let offset = match dtype.bytes() as i64 {
            1 => at,
            bytes => self.body.mul_imm(at, bytes),
        };
        self.body.add(base, offset)
    }

    fn load(&mut self, arg: u8, dtype: Dtype, at: Value) -> clif::Value {
        let address = self.address(arg, dtype, at);
        let body = &mut self.body;
        match element(dtype) {
            Element::F32 => body.load(types::F32, address, 0),
            Element::F64 => body.load(types::F64, address, 0),
            Element::F16 => {
                let bits = body.load(types::I16, address, 0);
                let bits = body.b.ins().uextend(I32, bits);
                body.f16_to_f32(bits)
            }
            Element::BF16 => {
                let bits = body.load(types::I16, address, 0);
                let bits = body.b.ins().uextend(I32, bits);
                body.bf16_to_f32(bits)
            }
            Element::Int { bytes: 8, .. } => body.load(I64, address, 0),
            Element::Int { bytes, signed, bits } => {
                let value = body.load(int_type(bytes), address, 0);
                let value = if signed { body.b.ins().sextend(I64, value) } else { body.b.ins().uextend(I64, value) };
                if bits < 8 { cut(body, value, signed, bits) } else { value }
            }
            Element::Bool => {
                let value = body.load(types::I8, address, 0);
                let set = body.cmp_imm(IntCC::NotEqual, value, 0);
                body.b.ins().uextend(I64, set)
            }
        }
    }

    fn store(&mut self, arg: u8, dtype: Dtype, at: Value, value: Value) {
        let address = self.address(arg, dtype, at);
        let value = self.value(value);
        let body = &mut self.body;
        let stored = match element(dtype) {
            Element::F32 | Element::F64 | Element::Int { bytes: 8, .. } => value,
            Element::F16 => {
                let bits = body.f32_to_f16(value);
                body.b.ins().ireduce(types::I16, bits)
            }
            Element::BF16 => {
                let bits = body.f32_to_bf16(value);
                body.b.ins().ireduce(types::I16, bits)
            }
            Element::Int { bytes, signed, bits } => {
                let value = cut(body, value, signed, bits);
                body.b.ins().ireduce(int_type(bytes), value)
            }
            Element::Bool => body.cmp_imm(IntCC::NotEqual, value, 0),
        };
        body.store(stored, address, 0);
    }

    fn expr(&mut self, expr: &Expr) -> clif::Value {
        match *expr {
            Expr::Int(value) => self.body.long(value),
            Expr::F32(bits) => self.body.b.ins().f32const(f32::from_bits(bits)),
            Expr::F64(bits) => self.body.b.ins().f64const(f64::from_bits(bits)),
            Expr::Load { arg, dtype, at } => self.load(arg, dtype, at),
            Expr::Get(cell) => {
                let cell = self.cell(cell);
                self.body.get(cell)
            }
            Expr::Unary(op, a) => {
                let ty = self.kernel.values[a.0 as usize];
                let a = self.value(a);
                unary(self.body, op, ty, a)
            }
            Expr::Binary(op, a, b) => {
                let (a, b) = (self.value(a), self.value(b));
                binary(self.body, op, a, b)
            }
            Expr::MulAdd(a, b, c) => {
                let (a, b, c) = (self.value(a), self.value(b), self.value(c));
                if self.fused {
                    return self.body.b.ins().fma(a, b, c);
                }
                let product = self.body.b.ins().fmul(a, b);
                self.body.b.ins().fadd(product, c)
            }
            Expr::Select(a, b, c) => {
                let (a, b, c) = (self.value(a), self.value(b), self.value(c));
                self.body.b.ins().select(a, b, c)
            }
            Expr::Require { value, below, status } => {
                let (value, fail) = (self.value(value), self.fail(status));
                // as unsigned numbers the negative ones are too large, too
                let outside = self.body.cmp_imm(IntCC::UnsignedGreaterThanOrEqual, value, below.max(0));
                self.body.leave_if(outside, fail);
                value
            }
        }
    }
}

fn int_type(bytes: u8) -> Type {
    Type::int(u16::from(bytes) * 8).expect("1, 2, 4 or 8 bytes")
}

/// The low `bits` bits, extended to 64.
fn cut(body: &mut Body, value: clif::Value, signed: bool, bits: u8) -> clif::Value {
    match bits {
        64 => value,
        8 | 16 | 32 => {
            let low = body.b.ins().ireduce(int_type(bits / 8), value);
            if signed { body.b.ins().sextend(I64, low) } else { body.b.ins().uextend(I64, low) }
        }
        bits if signed => {
            let unused = body.long(64 - i64::from(bits));
            let high = body.b.ins().ishl(value, unused);
            body.b.ins().sshr(high, unused)
        }
        bits => body.and_imm(value, (1 << bits) - 1),
    }
}

fn unary(body: &mut Body, op: Unary, ty: Ty, a: clif::Value) -> clif::Value {
    match op {
        Unary::INeg => body.b.ins().ineg(a),
        Unary::INot => body.b.ins().bnot(a),
        Unary::Wrap(dtype) => match element(dtype) {
            Element::Int { signed, bits, .. } => cut(body, a, signed, bits),
            Element::Bool => {
                let set = body.cmp_imm(IntCC::NotEqual, a, 0);
                body.b.ins().uextend(I64, set)
            }
            Element::F16 | Element::BF16 | Element::F32 | Element::F64 => unreachable!("the verifier wraps to integers only"),
        },
        Unary::Neg => body.b.ins().fneg(a),
        Unary::Abs => body.b.ins().fabs(a),
        Unary::Sqrt => body.b.ins().sqrt(a),
        Unary::Floor => body.b.ins().floor(a),
        Unary::Ceil => body.b.ins().ceil(a),
        Unary::Trunc => body.b.ins().trunc(a),
        Unary::Round => body.b.ins().nearest(a),
        Unary::IntToF32 => body.b.ins().fcvt_from_sint(types::F32, a),
        Unary::IntToF64 => body.b.ins().fcvt_from_sint(types::F64, a),
        Unary::UIntToF32 => body.b.ins().fcvt_from_uint(types::F32, a),
        Unary::UIntToF64 => body.b.ins().fcvt_from_uint(types::F64, a),
        Unary::FloatToInt => body.b.ins().fcvt_to_sint_sat(I64, a),
        Unary::FloatToUInt => body.b.ins().fcvt_to_uint_sat(I64, a),
        Unary::F32ToF64 => body.b.ins().fpromote(types::F64, a),
        Unary::F64ToF32 => body.b.ins().fdemote(types::F32, a),
        Unary::F32Bits => {
            let bits = body.b.ins().bitcast(I32, MemFlagsData::new(), a);
            body.b.ins().uextend(I64, bits)
        }
        Unary::F32FromBits => {
            let bits = body.b.ins().ireduce(I32, a);
            body.b.ins().bitcast(types::F32, MemFlagsData::new(), bits)
        }
        Unary::F64Bits => body.b.ins().bitcast(I64, MemFlagsData::new(), a),
        Unary::F64FromBits => body.b.ins().bitcast(types::F64, MemFlagsData::new(), a),
        Unary::RoundF16 => {
            debug_assert_eq!(ty, Ty::F32, "only an f32 is rounded to f16");
            let half = body.f32_to_f16(a);
            body.f16_to_f32(half)
        }
        Unary::RoundBF16 => {
            let half = body.f32_to_bf16(a);
            body.bf16_to_f32(half)
        }
    }
}

fn binary(body: &mut Body, op: Binary, a: clif::Value, b: clif::Value) -> clif::Value {
    use FloatCC as F;
    use IntCC as I;
    match op {
        Binary::IAdd => body.b.ins().iadd(a, b),
        Binary::ISub => body.b.ins().isub(a, b),
        Binary::IMul => body.b.ins().imul(a, b),
        Binary::SDiv => {
            let (safe, zero, minus) = divisor(body, b);
            let quotient = body.b.ins().sdiv(a, safe);
            let negated = body.b.ins().ineg(a);
            let quotient = body.b.ins().select(minus, negated, quotient);
            let nothing = body.long(0);
            body.b.ins().select(zero, nothing, quotient)
        }
        Binary::SRem => {
            // by 1, which stands for 0 and -1, the remainder is the 0 that both want
            let (safe, ..) = divisor(body, b);
            body.b.ins().srem(a, safe)
        }
        Binary::UDiv | Binary::URem => {
            let zero = body.cmp_imm(I::Equal, b, 0);
            let one = body.long(1);
            let safe = body.b.ins().select(zero, one, b);
            if op == Binary::URem {
                return body.b.ins().urem(a, safe);
            }
            let quotient = body.b.ins().udiv(a, safe);
            let nothing = body.long(0);
            body.b.ins().select(zero, nothing, quotient)
        }
        Binary::And => body.b.ins().band(a, b),
        Binary::Or => body.b.ins().bor(a, b),
        Binary::Xor => body.b.ins().bxor(a, b),
        Binary::Shl | Binary::UShr => {
            let fits = body.cmp_imm(I::UnsignedLessThan, b, 64);
            let shifted = if op == Binary::Shl { body.b.ins().ishl(a, b) } else { body.b.ins().ushr(a, b) };
            let nothing = body.long(0);
            body.b.ins().select(fits, shifted, nothing)
        }
        Binary::SShr => {
            let most = body.long(63);
            let fits = body.cmp(I::UnsignedLessThan, b, most);
            let count = body.b.ins().select(fits, b, most);
            body.b.ins().sshr(a, count)
        }
        Binary::SMin => body.b.ins().smin(a, b),
        Binary::SMax => body.b.ins().smax(a, b),
        Binary::UMin => body.b.ins().umin(a, b),
        Binary::UMax => body.b.ins().umax(a, b),
        Binary::IEq => truth(body, I::Equal, a, b),
        Binary::INe => truth(body, I::NotEqual, a, b),
        Binary::SLt => truth(body, I::SignedLessThan, a, b),
        Binary::SLe => truth(body, I::SignedLessThanOrEqual, a, b),
        Binary::ULt => truth(body, I::UnsignedLessThan, a, b),
        Binary::ULe => truth(body, I::UnsignedLessThanOrEqual, a, b),
        Binary::Add => body.b.ins().fadd(a, b),
        Binary::Sub => body.b.ins().fsub(a, b),
        Binary::Mul => body.b.ins().fmul(a, b),
        Binary::Div => body.b.ins().fdiv(a, b),
        Binary::Min => body.b.ins().fmin(a, b),
        Binary::Max => body.b.ins().fmax(a, b),
        Binary::Eq => float_truth(body, F::Equal, a, b),
        Binary::Ne => float_truth(body, F::NotEqual, a, b),
        Binary::Lt => float_truth(body, F::LessThan, a, b),
        Binary::Le => float_truth(body, F::LessThanOrEqual, a, b),
    }
}

/// `b` where no division by it can trap, else 1; whether it is 0; whether it is -1.
fn divisor(body: &mut Body, b: clif::Value) -> (clif::Value, clif::Value, clif::Value) {
    let zero = body.cmp_imm(IntCC::Equal, b, 0);
    let minus = body.cmp_imm(IntCC::Equal, b, -1);
    let either = body.b.ins().bor(zero, minus);
    let one = body.long(1);
    (body.b.ins().select(either, one, b), zero, minus)
}

fn truth(body: &mut Body, cc: IntCC, a: clif::Value, b: clif::Value) -> clif::Value {
    let bit = body.cmp(cc, a, b);
    body.b.ins().uextend(I64, bit)
}

fn float_truth(body: &mut Body, cc: FloatCC, a: clif::Value, b: clif::Value) -> clif::Value {
    let bit = body.b.ins().fcmp(cc, a, b);
    body.b.ins().uextend(I64, bit)
}
