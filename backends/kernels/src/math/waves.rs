//! Sine, cosine and tangent: the argument less a multiple of pi / 2 taken away in exact pieces (Cody & Waite 1980),
//! then two polynomials of which the quadrant chooses one.

use super::Math;
use ir::scalar::{Arg, ScalarOp};

/// An argument in its quadrant.
struct Turn {
    /// The quadrant, in the last two bits.
    quadrant: Arg,
    sin: Arg,
    cos: Arg,
}

impl Math<'_> {
    fn turn(&mut self, x: Arg) -> Turn {
        let t = self.tables;
        let magic = self.c(t.magic);
        let shifted = self.fma(x, self.c(std::f64::consts::FRAC_2_PI), magic);
        let n = self.sub(shifted, magic);
        let mut r = x;
        for &piece in if self.fused { t.half_pi_fused } else { t.half_pi } {
            r = self.fma(n, self.c(-piece), r);
        }
        // an argument too large for this leaves the quadrant: keep the result between -1 and 1
        let r = self.clamp(r, -0.8, 0.8);
        let s = self.mul(r, r);
        let p = self.polynomial(s, t.sin);
        let rs = self.mul(r, s);
        let sin = self.fma(p, rs, r);
        let cos = self.polynomial(s, t.cos);
        Turn { quadrant: self.bits(shifted), sin, cos }
    }

    /// The sine `quarters` quadrants further on.
    fn wave(&mut self, x: Arg, quarters: i64) -> Arg {
        let turn = self.turn(x);
        let at = if quarters == 0 { turn.quadrant } else { self.op(ScalarOp::Add, &[turn.quadrant, self.i(quarters)]) };
        let odd = self.op(ScalarOp::BitAnd, &[at, self.i(1)]);
        let even = self.eq(odd, self.i(0));
        let value = self.select(even, turn.sin, turn.cos);
        // the second bit of the quadrant becomes the sign
        let half = self.op(ScalarOp::BitAnd, &[at, self.i(2)]);
        let width = self.tables.int.bytes() as i64 * 8;
        let sign = self.shl(half, width - 2);
        let bits = self.bits(value);
        let signed = self.op(ScalarOp::BitXor, &[bits, sign]);
        self.float(signed)
    }

    pub fn sin(&mut self, x: Arg) -> Arg {
        self.wave(x, 0)
    }

    pub fn cos(&mut self, x: Arg) -> Arg {
        self.wave(x, 1)
    }

    pub fn tan(&mut self, x: Arg) -> Arg {
        let turn = self.turn(x);
        let odd = self.op(ScalarOp::BitAnd, &[turn.quadrant, self.i(1)]);
        let even = self.eq(odd, self.i(0));
        let minus = self.neg(turn.cos);
        let over = self.select(even, turn.sin, minus);
        let under = self.select(even, turn.cos, turn.sin);
        self.div(over, under)
    }
}
