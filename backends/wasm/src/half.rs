//! f16 and bf16 by integer arithmetic on bits. Conversions that are more than a shift are functions of the module, there only
//! if a kernel wants them. What they compute is what `backends/clif` computes in line.

use std::collections::BTreeMap;

use ir::kernel::ScalarKernel;
use ir::kernel::scalar::{Expr, Stmt, Unary};
use ir::tensor::Dtype;
use wasm_encoder::{Function, Ieee32, InstructionSink, ValType};

/// A conversion that is a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Helper {
    /// Of an `i32` whose upper half is 0, to an `f32`.
    F16ToF32,
    /// To the nearest, halves to even: an `i32` whose upper half is 0.
    F32ToF16,
    /// To the nearest, halves to even: an `i32` whose upper half is 0.
    F32ToBf16,
}

/// The numbers of the functions.
pub type Helpers = BTreeMap<Helper, u32>;

impl Helper {
    pub fn signature(self) -> (ValType, ValType) {
        match self {
            Helper::F16ToF32 => (ValType::I32, ValType::F32),
            Helper::F32ToF16 | Helper::F32ToBf16 => (ValType::F32, ValType::I32),
        }
    }

    /// The function as it stands in a code section.
    pub fn code(self) -> Vec<u8> {
        let mut code = Vec::new();
        let mut ins = InstructionSink::new(&mut code);
        match self {
            Helper::F16ToF32 => f16_to_f32(&mut ins),
            Helper::F32ToF16 => f32_to_f16(&mut ins),
            Helper::F32ToBf16 => f32_to_bf16(&mut ins),
        }
        ins.end();
        let mut function = Function::new([(2, ValType::I32)]);
        function.raw(code);
        function.into_raw_body()
    }

    /// Notes what `kernel` needs.
    pub fn needed(kernel: &ScalarKernel, note: &mut dyn FnMut(Helper)) {
        block(&kernel.body, note);
    }
}

fn block(body: &[Stmt], note: &mut dyn FnMut(Helper)) {
    for stmt in body {
        match stmt {
            Stmt::Let { to: _, expr } => match expr {
                Expr::Load { arg: _, dtype: Dtype::F16, at: _ } => note(Helper::F16ToF32),
                Expr::Unary(Unary::RoundF16, _) => {
                    note(Helper::F16ToF32);
                    note(Helper::F32ToF16);
                }
                Expr::Unary(Unary::RoundBF16, _) => note(Helper::F32ToBf16),
                Expr::Int(_) | Expr::F32(_) | Expr::F64(_) | Expr::Load { .. } | Expr::Get(_) | Expr::Unary(..) => {}
                Expr::Binary(..) | Expr::MulAdd(..) | Expr::Select(..) | Expr::Require { .. } => {}
            },
            Stmt::Store { arg: _, dtype: Dtype::F16, at: _, value: _ } => note(Helper::F32ToF16),
            Stmt::Store { arg: _, dtype: Dtype::BF16, at: _, value: _ } => note(Helper::F32ToBf16),
            Stmt::Store { .. } | Stmt::Set { .. } | Stmt::Fail { .. } => {}
            Stmt::For { var: _, from: _, to: _, body } => block(body, note),
            Stmt::If { cond: _, then, other } => {
                block(then, note);
                block(other, note);
            }
            Stmt::While { head, cond: _, body } => {
                block(head, note);
                block(body, note);
            }
        }
    }
}

/// Locals: 0 the half, 1 its magnitude, 2 the magnitude in place for an f32.
fn f16_to_f32(ins: &mut InstructionSink) {
    ins.local_get(0).i32_const(0x7fff).i32_and().local_tee(1).i32_const(13).i32_shl().local_set(2);
    // below the normal numbers the value is the integer times 2^-24, which f32 holds exactly
    ins.local_get(1).f32_convert_i32_s().f32_const(Ieee32::new(103 << 23)).f32_mul().i32_reinterpret_f32();
    ins.local_get(2).i32_const(0x7f80_0000).i32_or();
    // 112 is the difference of the exponents' biases
    ins.local_get(2).i32_const(112 << 23).i32_add();
    ins.local_get(1).i32_const(0x7c00).i32_ge_u().select();
    ins.local_get(1).i32_const(0x0400).i32_lt_u().select();
    ins.local_get(0).local_get(1).i32_xor().i32_const(16).i32_shl().i32_or().f32_reinterpret_i32();
}

/// Locals: 0 the float, 1 its bits, 2 the bits of its magnitude.
fn f32_to_f16(ins: &mut InstructionSink) {
    ins.local_get(0).i32_reinterpret_f32().local_tee(1).i32_const(0x7fff_ffff).i32_and().local_set(2);
    ins.i32_const(0x7e00);
    // small: adding 0.5 makes the f32 unit 2^-24, that of the small f16, so the addition rounds
    ins.local_get(2).f32_reinterpret_i32().f32_const(Ieee32::new(0.5f32.to_bits())).f32_add();
    ins.i32_reinterpret_f32().i32_const(0x3f00_0000).i32_sub();
    // normal: add just under half a unit, and the rest of the half if the last kept bit is odd
    ins.local_get(2).i32_const((112u32 << 23).wrapping_neg().wrapping_add(0xfff) as i32).i32_add();
    ins.local_get(2).i32_const(13).i32_shr_u().i32_const(1).i32_and().i32_add().i32_const(13).i32_shr_u();
    ins.local_get(2).i32_const(113 << 23).i32_lt_u().select();
    // 65520 lies half way to what would be the next f16
    ins.i32_const(0x7c00).local_get(2).i32_const(65520f32.to_bits() as i32).i32_lt_u().select();
    // `select` takes the first where its condition holds
    ins.local_get(0).local_get(0).f32_ne().select();
    ins.local_get(1).local_get(2).i32_xor().i32_const(16).i32_shr_u().i32_or();
}

/// Locals: 0 the float, 1 its bits, 2 the half that it is cut to.
fn f32_to_bf16(ins: &mut InstructionSink) {
    ins.local_get(0).i32_reinterpret_f32().local_tee(1).i32_const(16).i32_shr_u().local_set(2);
    // a NaN whose bits all lie in the lower half must stay one
    ins.local_get(2).i32_const(0x40).i32_or();
    ins.local_get(1).i32_const(0x7fff).i32_add().local_get(2).i32_const(1).i32_and().i32_add().i32_const(16).i32_shr_u();
    ins.local_get(0).local_get(0).f32_ne().select();
}
