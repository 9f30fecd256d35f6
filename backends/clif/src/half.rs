//! f16 and bf16 by integer arithmetic on bits, so that no machine needs conversion instructions and no library is called.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};

use crate::function::{Body, I32};

impl Body<'_> {
    fn word(&mut self, value: u32) -> Value {
        self.int(I32, i64::from(value))
    }

    fn bits(&mut self, float: Value) -> Value {
        self.b.ins().bitcast(I32, MemFlagsData::new(), float)
    }

    fn float(&mut self, bits: Value) -> Value {
        self.b.ins().bitcast(types::F32, MemFlagsData::new(), bits)
    }

    /// The f32 that the low 16 bits of `half` (I32, the others 0) stand for.
    pub fn f16_to_f32(&mut self, half: Value) -> Value {
        let low = self.word(0x7fff);
        let magnitude = self.b.ins().band(half, low);
        let thirteen = self.word(13);
        let shifted = self.b.ins().ishl(magnitude, thirteen);
        // 112 is the difference of the exponents' biases
        let rebias = self.word(112 << 23);
        let normal = self.b.ins().iadd(shifted, rebias);
        let ones = self.word(0x7f80_0000);
        let special = self.b.ins().bor(shifted, ones);
        // below the normal numbers the value is the integer times 2^-24, which f32 holds exactly
        let count = self.b.ins().fcvt_from_sint(types::F32, magnitude);
        let unit = self.b.ins().f32const(f32::from_bits(103 << 23));
        let small = self.b.ins().fmul(count, unit);
        let small = self.bits(small);
        let is_small = self.cmp_imm(IntCC::UnsignedLessThan, magnitude, 0x0400);
        let is_special = self.cmp_imm(IntCC::UnsignedGreaterThanOrEqual, magnitude, 0x7c00);
        let bits = self.b.ins().select(is_small, small, normal);
        let bits = self.b.ins().select(is_special, special, bits);
        let sign = self.b.ins().bxor(half, magnitude);
        let sixteen = self.word(16);
        let sign = self.b.ins().ishl(sign, sixteen);
        let bits = self.b.ins().bor(bits, sign);
        self.float(bits)
    }

    /// The nearest f16, halves to even, in the low 16 bits of an I32, the others 0.
    pub fn f32_to_f16(&mut self, float: Value) -> Value {
        let bits = self.bits(float);
        let low = self.word(0x7fff_ffff);
        let magnitude = self.b.ins().band(bits, low);
        let thirteen = self.word(13);
        // normal: add just under half a unit, and the rest of the half if the last kept bit is odd
        let odd = self.b.ins().ushr(magnitude, thirteen);
        let one = self.word(1);
        let odd = self.b.ins().band(odd, one);
        let rebias = self.word((112u32 << 23).wrapping_neg().wrapping_add(0xfff));
        let normal = self.b.ins().iadd(magnitude, rebias);
        let normal = self.b.ins().iadd(normal, odd);
        let normal = self.b.ins().ushr(normal, thirteen);
        // small: adding 0.5 makes the f32 unit 2^-24, that of the small f16, so the addition rounds
        let positive = self.float(magnitude);
        let half = self.b.ins().f32const(0.5);
        let small = self.b.ins().fadd(positive, half);
        let small = self.bits(small);
        let half = self.word(0x3f00_0000);
        let small = self.b.ins().isub(small, half);
        let infinity = self.word(0x7c00);
        let nan = self.word(0x7e00);
        let is_small = self.cmp_imm(IntCC::UnsignedLessThan, magnitude, 113 << 23);
        // 65520 lies half way to what would be the next f16
        let is_large = self.cmp_imm(IntCC::UnsignedGreaterThanOrEqual, magnitude, i64::from(65520f32.to_bits()));
        let is_nan = self.cmp_imm(IntCC::UnsignedGreaterThan, magnitude, 0x7f80_0000);
        let result = self.b.ins().select(is_small, small, normal);
        let result = self.b.ins().select(is_large, infinity, result);
        let result = self.b.ins().select(is_nan, nan, result);
        let sign = self.b.ins().bxor(bits, magnitude);
        let sixteen = self.word(16);
        let sign = self.b.ins().ushr(sign, sixteen);
        self.b.ins().bor(result, sign)
    }

    /// The f32 that the low 16 bits of `half` (I32) stand for.
    pub fn bf16_to_f32(&mut self, half: Value) -> Value {
        let sixteen = self.word(16);
        let bits = self.b.ins().ishl(half, sixteen);
        self.float(bits)
    }

    /// The nearest bf16, halves to even, in the low 16 bits of an I32, the others 0.
    pub fn f32_to_bf16(&mut self, float: Value) -> Value {
        let bits = self.bits(float);
        let sixteen = self.word(16);
        let kept = self.b.ins().ushr(bits, sixteen);
        let one = self.word(1);
        let odd = self.b.ins().band(kept, one);
        let almost_half = self.word(0x7fff);
        let rounded = self.b.ins().iadd(bits, almost_half);
        let rounded = self.b.ins().iadd(rounded, odd);
        let rounded = self.b.ins().ushr(rounded, sixteen);
        // a NaN whose bits all lie in the lower half must stay one
        let quiet = self.word(0x40);
        let nan = self.b.ins().bor(kept, quiet);
        let low = self.word(0x7fff_ffff);
        let magnitude = self.b.ins().band(bits, low);
        let is_nan = self.cmp_imm(IntCC::UnsignedGreaterThan, magnitude, 0x7f80_0000);
        self.b.ins().select(is_nan, nan, rounded)
    }
}
