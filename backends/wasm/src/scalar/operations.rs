//! Operations on one value and on two. Where an instruction traps, or counts modulo 64, and the language has an answer, the
//! answer is written out.

use ir::kernel::scalar::{Binary, Ty, Unary, Value};
use ir::tensor::Dtype;
use wasm_encoder::{BlockType, Instruction, ValType};

use super::{Lower, Place};
use crate::half::Helper;

/// An instruction without operands of its own.
type Step = Instruction<'static>;

impl Lower<'_> {
    /// Pushes the result; says whether it is a flag.
    pub(super) fn unary(&mut self, op: Unary, a: Value) -> bool {
        let double = self.ty(a) == Ty::F64;
        match op {
            Unary::Wrap(Dtype::Bool) => {
                self.push_flag(a);
                return true;
            }
            Unary::Wrap(dtype) => {
                self.push(a);
                self.cut(dtype);
                return false;
            }
            Unary::INeg => {
                self.body.long(0);
                self.push(a);
                self.body.ins().i64_sub();
                return false;
            }
            Unary::RoundF16 => {
                self.push(a);
                self.call(Helper::F32ToF16);
                self.call(Helper::F16ToF32);
                return false;
            }
            Unary::RoundBF16 => {
                self.push(a);
                self.call(Helper::F32ToBf16);
                self.body.ins().i32_const(16).i32_shl().f32_reinterpret_i32();
                return false;
            }
            Unary::INot | Unary::Neg | Unary::Abs | Unary::Sqrt | Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Round => {}
            Unary::IntToF32 | Unary::IntToF64 | Unary::UIntToF32 | Unary::UIntToF64 | Unary::FloatToInt | Unary::FloatToUInt => {}
            Unary::F32ToF64 | Unary::F64ToF32 | Unary::F32Bits | Unary::F32FromBits | Unary::F64Bits | Unary::F64FromBits => {}
        }
        self.push(a);
        let mut ins = self.body.ins();
        match (op, double) {
            (Unary::INot, _) => ins.i64_const(-1).i64_xor(),
            (Unary::Neg, false) => ins.f32_neg(),
            (Unary::Neg, true) => ins.f64_neg(),
            (Unary::Abs, false) => ins.f32_abs(),
            (Unary::Abs, true) => ins.f64_abs(),
            (Unary::Sqrt, false) => ins.f32_sqrt(),
            (Unary::Sqrt, true) => ins.f64_sqrt(),
            (Unary::Floor, false) => ins.f32_floor(),
            (Unary::Floor, true) => ins.f64_floor(),
            (Unary::Ceil, false) => ins.f32_ceil(),
            (Unary::Ceil, true) => ins.f64_ceil(),
            (Unary::Trunc, false) => ins.f32_trunc(),
            (Unary::Trunc, true) => ins.f64_trunc(),
            (Unary::Round, false) => ins.f32_nearest(),
            (Unary::Round, true) => ins.f64_nearest(),
            (Unary::IntToF32, _) => ins.f32_convert_i64_s(),
            (Unary::IntToF64, _) => ins.f64_convert_i64_s(),
            (Unary::UIntToF32, _) => ins.f32_convert_i64_u(),
            (Unary::UIntToF64, _) => ins.f64_convert_i64_u(),
            (Unary::FloatToInt, false) => ins.i64_trunc_sat_f32_s(),
            (Unary::FloatToInt, true) => ins.i64_trunc_sat_f64_s(),
            (Unary::FloatToUInt, false) => ins.i64_trunc_sat_f32_u(),
            (Unary::FloatToUInt, true) => ins.i64_trunc_sat_f64_u(),
            (Unary::F32ToF64, _) => ins.f64_promote_f32(),
            (Unary::F64ToF32, _) => ins.f32_demote_f64(),
            (Unary::F32Bits, _) => ins.i32_reinterpret_f32().i64_extend_i32_u(),
            (Unary::F32FromBits, _) => ins.i32_wrap_i64().f32_reinterpret_i32(),
            (Unary::F64Bits, _) => ins.i64_reinterpret_f64(),
            (Unary::F64FromBits, _) => ins.f64_reinterpret_i64(),
            (Unary::INeg | Unary::Wrap(_) | Unary::RoundF16 | Unary::RoundBF16, _) => unreachable!("they were done above"),
        };
        false
    }

    /// Pushes the result; says whether it is a flag.
    pub(super) fn binary(&mut self, op: Binary, a: Value, b: Value) -> bool {
        use Instruction as I;
        match op {
            Binary::IAdd => self.both(a, b, I::I64Add),
            Binary::ISub => self.both(a, b, I::I64Sub),
            Binary::IMul => self.both(a, b, I::I64Mul),
            Binary::SDiv => self.divide(a, b, I::I64DivS, true, true),
            Binary::UDiv => self.divide(a, b, I::I64DivU, false, false),
            Binary::SRem => self.divide(a, b, I::I64RemS, true, false),
            Binary::URem => self.divide(a, b, I::I64RemU, false, false),
            Binary::And => return self.bits(a, b, I::I64And, I::I32And),
            Binary::Or => return self.bits(a, b, I::I64Or, I::I32Or),
            Binary::Xor => return self.bits(a, b, I::I64Xor, I::I32Xor),
            Binary::Shl => self.shift(a, b, I::I64Shl),
            Binary::UShr => self.shift(a, b, I::I64ShrU),
            Binary::SShr => self.shift_signed(a, b),
            Binary::SMin => self.choose(a, b, I::I64LtS),
            Binary::SMax => self.choose(a, b, I::I64GtS),
            Binary::UMin => self.choose(a, b, I::I64LtU),
            Binary::UMax => self.choose(a, b, I::I64GtU),
            Binary::IEq => return self.flag(a, b, I::I64Eq),
            Binary::INe => return self.flag(a, b, I::I64Ne),
            Binary::SLt => return self.flag(a, b, I::I64LtS),
            Binary::SLe => return self.flag(a, b, I::I64LeS),
            Binary::ULt => return self.flag(a, b, I::I64LtU),
            Binary::ULe => return self.flag(a, b, I::I64LeU),
            Binary::Add => self.floats(a, b, I::F32Add, I::F64Add),
            Binary::Sub => self.floats(a, b, I::F32Sub, I::F64Sub),
            Binary::Mul => self.floats(a, b, I::F32Mul, I::F64Mul),
            Binary::Div => self.floats(a, b, I::F32Div, I::F64Div),
            // NaN if either is, -0 below +0: just what is wanted
            Binary::Min => self.floats(a, b, I::F32Min, I::F64Min),
            Binary::Max => self.floats(a, b, I::F32Max, I::F64Max),
            Binary::Eq => return self.float_flag(a, b, I::F32Eq, I::F64Eq),
            Binary::Ne => return self.float_flag(a, b, I::F32Ne, I::F64Ne),
            Binary::Lt => return self.float_flag(a, b, I::F32Lt, I::F64Lt),
            Binary::Le => return self.float_flag(a, b, I::F32Le, I::F64Le),
        }
        false
    }

    fn both(&mut self, a: Value, b: Value, step: Step) {
        self.push(a);
        self.push(b);
        self.body.put(&step);
    }

    fn flag(&mut self, a: Value, b: Value, step: Step) -> bool {
        self.both(a, b, step);
        true
    }

    fn floats(&mut self, a: Value, b: Value, single: Step, double: Step) {
        let step = if self.ty(a) == Ty::F64 { double } else { single };
        self.both(a, b, step);
    }

    fn float_flag(&mut self, a: Value, b: Value, single: Step, double: Step) -> bool {
        self.floats(a, b, single, double);
        true
    }

    /// Flags stay flags.
    fn bits(&mut self, a: Value, b: Value, long: Step, short: Step) -> bool {
        let flags = self.is_flag(a) && self.is_flag(b);
        if flags {
            self.push_flag(a);
            self.push_flag(b);
            self.body.put(&short);
        } else {
            self.both(a, b, long);
        }
        flags
    }

    fn choose(&mut self, a: Value, b: Value, first: Step) {
        for v in [a, b, a, b] {
            self.copy(v);
        }
        self.body.put(&first);
        self.body.ins().select();
    }

    /// The instructions trap where the language has an answer. `quotient`: of signed numbers.
    fn divide(&mut self, a: Value, b: Value, step: Step, signed: bool, quotient: bool) {
        let safe = match self.place(b) {
            Place::Int(0) => return self.body.long(0),
            Place::Int(-1) => !signed,
            Place::Int(_) => true,
            Place::Local(_) | Place::Flag(_) | Place::F32(_) | Place::F64(_) => false,
        };
        if !safe {
            self.copy(b);
            match signed {
                true => self.body.ins().i64_const(1).i64_add().i64_const(2).i64_lt_u(),
                false => self.body.ins().i64_eqz(),
            };
            self.body.ins().if_(BlockType::Result(ValType::I64));
            self.body.long(0);
            if quotient {
                // by -1 the negative, by 0 nothing: -1 keeps all bits, 0 none
                self.copy(a);
                self.body.ins().i64_sub();
                self.copy(b);
                self.body.ins().i64_and();
            }
            self.body.ins().else_();
        }
        self.copy(a);
        self.copy(b);
        self.body.put(&step);
        if !safe {
            self.body.ins().end();
        }
    }

    /// The instructions take counts modulo 64.
    fn shift(&mut self, a: Value, b: Value, step: Step) {
        self.copy(a);
        self.copy(b);
        self.body.put(&step);
        if !matches!(self.place(b), Place::Int(0..64)) {
            self.body.long(0);
            self.copy(b);
            self.body.ins().i64_const(64).i64_lt_u().select();
        }
    }

    fn shift_signed(&mut self, a: Value, b: Value) {
        self.copy(a);
        self.copy(b);
        if !matches!(self.place(b), Place::Int(0..64)) {
            self.body.long(63);
            self.copy(b);
            self.body.ins().i64_const(64).i64_lt_u().select();
        }
        self.body.ins().i64_shr_s();
    }
}
