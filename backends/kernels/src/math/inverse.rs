//! Inverse trigonometric functions, the hyperbolic ones, and their inverses.

use super::Math;
use ir::scalar::{Arg, ScalarOp};
use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, LN_2};

impl Math<'_> {
    /// `x + x³ P(x²)`.
    fn odd(&mut self, x: Arg, square: Arg, coefficients: &[f64]) -> Arg {
        let p = self.polynomial(square, coefficients);
        let cube = self.mul(x, square);
        self.fma(p, cube, x)
    }

    /// Three ranges of |x| that one division brings to -tan(pi / 8) … tan(pi / 8).
    pub fn atan(&mut self, x: Arg) -> Arg {
        let (zero, one, minus) = (self.c(0.0), self.c(1.0), self.c(-1.0));
        let size = self.abs(x);
        let (far, beyond) = (self.lt(self.c(2.414_213_562_373_095), size), self.lt(self.c(0.414_213_562_373_095), size));
        let (less, more) = (self.sub(size, one), self.add(size, one));
        let over = self.select(beyond, less, size);
        let over = self.select(far, minus, over);
        let under = self.select(beyond, more, one);
        let under = self.select(far, size, under);
        let base = self.select(beyond, self.c(FRAC_PI_4), zero);
        let base = self.select(far, self.c(FRAC_PI_2), base);
        let t = self.div(over, under);
        let square = self.mul(t, t);
        let angle = self.odd(t, square, self.tables.atan);
        let angle = self.add(base, angle);
        self.copy_sign(angle, x)
    }

    /// asin of something up to 1/2: |x|, or beyond that sqrt((1 - |x|) / 2); whether it is the latter.
    fn half_asin(&mut self, x: Arg) -> (Arg, Arg) {
        let size = self.abs(x);
        let (half, one) = (self.c(0.5), self.c(1.0));
        let beyond = self.lt(half, size);
        let rest = self.sub(one, size);
        let rest = self.mul(rest, half);
        let root = self.op(ScalarOp::Sqrt, &[rest]);
        let near = self.mul(size, size);
        let square = self.select(beyond, rest, near);
        let z = self.select(beyond, root, size);
        (self.odd(z, square, self.tables.asin), beyond)
    }

    pub fn asin(&mut self, x: Arg) -> Arg {
        let (angle, beyond) = self.half_asin(x);
        let twice = self.add(angle, angle);
        let other = self.sub(self.c(FRAC_PI_2), twice);
        let angle = self.select(beyond, other, angle);
        // NaN keeps being one: its sign does not matter
        self.copy_sign(angle, x)
    }

    pub fn acos(&mut self, x: Arg) -> Arg {
        let (angle, beyond) = self.half_asin(x);
        let negative = self.lt(x, self.c(0.0));
        let signed = self.copy_sign(angle, x);
        let near = self.sub(self.c(FRAC_PI_2), signed);
        let twice = self.add(angle, angle);
        let behind = self.sub(self.c(std::f64::consts::PI), twice);
        let far = self.select(negative, behind, twice);
        self.select(beyond, far, near)
    }

    /// `exp(|x|) / 2`, which may be infinite where exp is.
    fn half_exp(&mut self, size: Arg) -> Arg {
        let t = self.tables;
        let size = self.op(ScalarOp::Min, &[size, self.c(t.exp_range.1 + 1.0)]);
        let scaled = self.scaled(size, -1.0);
        let p = self.polynomial(scaled.rest, t.exp);
        self.put_together_wide(&scaled, p)
    }

    pub fn sinh(&mut self, x: Arg) -> Arg {
        let size = self.abs(x);
        let e = self.half_exp(size);
        let inverse = self.div(self.c(0.25), e);
        let far = self.sub(e, inverse);
        let square = self.mul(size, size);
        let near = self.odd(size, square, self.tables.sinh);
        let is_near = self.lt(size, self.c(1.0));
        let size = self.select(is_near, near, far);
        self.copy_sign(size, x)
    }

    pub fn cosh(&mut self, x: Arg) -> Arg {
        let size = self.abs(x);
        let e = self.half_exp(size);
        let inverse = self.div(self.c(0.25), e);
        self.add(e, inverse)
    }

    /// `log(1 + x)` for `x` from 0 to below infinity: what 1 + x loses is made up for.
    fn log_plus_one(&mut self, x: Arg) -> Arg {
        let one = self.c(1.0);
        let sum = self.add(x, one);
        let log = self.log(sum);
        let kept = self.sub(sum, one);
        let lost = self.sub(x, kept);
        let part = self.div(lost, sum);
        let value = self.add(log, part);
        // of an infinite sum nothing is lost
        let infinite = self.eq(sum, self.c(f64::INFINITY));
        self.select(infinite, sum, value)
    }

    pub fn asinh(&mut self, x: Arg) -> Arg {
        let one = self.c(1.0);
        let size = self.abs(x);
        let huge = self.lt(self.c(self.tables.huge), size);
        let square = self.mul(size, size);
        let root = self.add(square, one);
        let root = self.op(ScalarOp::Sqrt, &[root]);
        let under = self.add(root, one);
        let part = self.div(square, under);
        let near = self.add(size, part);
        let inner = self.select(huge, size, near);
        let log = self.log_plus_one(inner);
        let more = self.add(log, self.c(LN_2));
        let size = self.select(huge, more, log);
        self.copy_sign(size, x)
    }

    pub fn acosh(&mut self, x: Arg) -> Arg {
        let one = self.c(1.0);
        let huge = self.lt(self.c(self.tables.huge), x);
        let t = self.sub(x, one);
        let twice = self.add(t, t);
        let inside = self.fma(t, t, twice);
        let root = self.op(ScalarOp::Sqrt, &[inside]);
        let near = self.add(t, root);
        let inner = self.select(huge, t, near);
        let log = self.log_plus_one(inner);
        let more = self.add(log, self.c(LN_2));
        let value = self.select(huge, more, log);
        let proper = self.op(ScalarOp::Le, &[one, x]);
        self.select(proper, value, self.c(f64::NAN))
    }

    pub fn atanh(&mut self, x: Arg) -> Arg {
        let size = self.abs(x);
        let (twice, rest) = (self.add(size, size), self.sub(self.c(1.0), size));
        let inner = self.div(twice, rest);
        let log = self.log_plus_one(inner);
        let half = self.mul(log, self.c(0.5));
        self.copy_sign(half, x)
    }
}
