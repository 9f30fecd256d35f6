//! Transcendental functions as primitive scalar terms: arithmetic, comparisons, selections, and integer operations
//! on bits. Vector and scalar kernels then know nothing else. f32 for both, f64 for scalar kernels; smaller floats
//! compute in f32 and round after each term. No term needs more than 32 bits for f32. Machines are not known here,
//! but for whether a multiply-add rounds once.
//!
//! `min` and `max` propagate NaN; the bodies lean on that where they clamp. All of them are right for NaN,
//! infinities, zeros and denormal operands and results. Largest errors measured in units in the last place, over
//! all floats of one sign in steps and random bits of both (see the tests, which hold them to it):
//!
//! | | f32, fused | f32, not fused |
//! |---|---|---|
//! | exp, log | 1 | 1.1 |
//! | erf | 2 | 2 |
//! | tanh | 2.6 | 2.6 |
//! | sigmoid | 2.2 | 2.2 |
//! | sin, cos up to 10 000 | 1.5 | 1.5 |
//! | pow | 1 | 1.3 |
//! | tan up to 10 000, asin, acos, atan, sinh, cosh, asinh, acosh, atanh | 4 | 4 |
//!
//! Beyond 10 000 (100 000 if fused) sin, cos and tan lose their last bits and then all; they stay within -1 and 1. The sine of -0 is +0.

mod inverse;
mod tables;
#[cfg(test)]
mod tests;
mod waves;

use ir::Dtype;
use ir::scalar::{Arg, Body, Literal, ScalarOp};
use tables::{DOUBLE, SINGLE, Tables};

/// `body` with every transcendental term, and every sign of a float, in primitive terms. `params` are the types of its
/// parameters, which it fits. `rem` and `mod` of floats and all operations on integers stay.
pub fn expand(body: &Body, params: &[Dtype], fused: bool) -> Body {
    let types = body.types(params).expect("the graph was verified");
    let mut out = Body { params: body.params, terms: Vec::new(), result: body.result };
    let mut placed: Vec<Arg> = Vec::with_capacity(body.terms.len());
    let bind = |arg: &Arg, placed: &[Arg]| match *arg {
        Arg::Term(i) => placed[i as usize],
        other => other,
    };
    for (term, &dtype) in body.terms.iter().zip(&types) {
        let args: Vec<Arg> = term.args.iter().map(|a| bind(a, &placed)).collect();
        let known = |tables: &'static Tables| function(term.op).map(|f| (f, tables));
        let value = match dtype {
            Dtype::F64 => known(&DOUBLE),
            d if d.is_float() => known(&SINGLE),
            _ => None,
        };
        placed.push(match value {
            None => push(&mut out, term.op, &args),
            Some((f, tables)) if dtype == tables.float => f(&mut Math { out: &mut out, tables, fused }, &args),
            Some((f, tables)) => {
                let wide: Vec<Arg> = args.iter().map(|&a| push(&mut out, ScalarOp::Cast(tables.float), &[a])).collect();
                let value = f(&mut Math { out: &mut out, tables, fused }, &wide);
                push(&mut out, ScalarOp::Cast(dtype), &[value])
            }
        });
    }
    out.result = bind(&body.result, &placed);
    out.without_dead()
}

/// Appends a term, or finds it.
fn push(out: &mut Body, op: ScalarOp, args: &[Arg]) -> Arg {
    match out.terms.iter().position(|t| t.op == op && t.args == args) {
        Some(i) => Arg::Term(i as u16),
        None => out.push(op, args),
    }
}

type Function = fn(&mut Math, &[Arg]) -> Arg;

/// The operations on floats that are not primitive.
fn function(op: ScalarOp) -> Option<Function> {
    Some(match op {
        ScalarOp::Sign => |m, a| m.sign(a[0]),
        ScalarOp::Exp => |m, a| m.exp(a[0]),
        ScalarOp::Log => |m, a| m.log(a[0]),
        ScalarOp::Tanh => |m, a| m.tanh(a[0]),
        ScalarOp::Erf => |m, a| m.erf(a[0]),
        ScalarOp::Sigmoid => |m, a| m.sigmoid(a[0]),
        ScalarOp::Pow => |m, a| m.pow(a[0], a[1]),
        ScalarOp::Sin => |m, a| m.sin(a[0]),
        ScalarOp::Cos => |m, a| m.cos(a[0]),
        ScalarOp::Tan => |m, a| m.tan(a[0]),
        ScalarOp::Asin => |m, a| m.asin(a[0]),
        ScalarOp::Acos => |m, a| m.acos(a[0]),
        ScalarOp::Atan => |m, a| m.atan(a[0]),
        ScalarOp::Sinh => |m, a| m.sinh(a[0]),
        ScalarOp::Cosh => |m, a| m.cosh(a[0]),
        ScalarOp::Asinh => |m, a| m.asinh(a[0]),
        ScalarOp::Acosh => |m, a| m.acosh(a[0]),
        ScalarOp::Atanh => |m, a| m.atanh(a[0]),
        ScalarOp::Neg
        | ScalarOp::Abs
        | ScalarOp::Add
        | ScalarOp::Sub
        | ScalarOp::Mul
        | ScalarOp::Div
        | ScalarOp::Rem
        | ScalarOp::Mod
        | ScalarOp::Min
        | ScalarOp::Max
        | ScalarOp::MulAdd
        | ScalarOp::Sqrt
        | ScalarOp::Floor
        | ScalarOp::Ceil
        | ScalarOp::Trunc
        | ScalarOp::Round
        | ScalarOp::BitAnd
        | ScalarOp::BitOr
        | ScalarOp::BitXor
        | ScalarOp::BitNot
        | ScalarOp::Shl
        | ScalarOp::Shr
        | ScalarOp::And
        | ScalarOp::Or
        | ScalarOp::Xor
        | ScalarOp::Not
        | ScalarOp::Eq
        | ScalarOp::Ne
        | ScalarOp::Lt
        | ScalarOp::Le
        | ScalarOp::Gt
        | ScalarOp::Ge
        | ScalarOp::IsNan
        | ScalarOp::IsInf
        | ScalarOp::Select
        | ScalarOp::Cast(_)
        | ScalarOp::Bits(_) => return None,
    })
}

/// Terms of one float type under construction.
struct Math<'b> {
    out: &'b mut Body,
    tables: &'static Tables,
    fused: bool,
}

/// `exp(x) = p * 2^n`, before it is put together.
struct Scaled {
    /// The bits of the float `magic + n`.
    bits: Arg,
    /// `x - n * ln(2)`.
    rest: Arg,
}

impl Math<'_> {
    fn op(&mut self, op: ScalarOp, args: &[Arg]) -> Arg {
        push(self.out, op, args)
    }
    fn c(&self, value: f64) -> Arg {
        Arg::Literal(Literal::number(self.tables.float, value))
    }
    fn i(&self, value: i64) -> Arg {
        Arg::Literal(Literal::int(self.tables.int, value))
    }
    fn add(&mut self, a: Arg, b: Arg) -> Arg {
        self.op(ScalarOp::Add, &[a, b])
    }
    fn sub(&mut self, a: Arg, b: Arg) -> Arg {
        self.op(ScalarOp::Sub, &[a, b])
    }
    fn mul(&mut self, a: Arg, b: Arg) -> Arg {
        self.op(ScalarOp::Mul, &[a, b])
    }
    fn div(&mut self, a: Arg, b: Arg) -> Arg {
        self.op(ScalarOp::Div, &[a, b])
    }
    fn fma(&mut self, a: Arg, b: Arg, c: Arg) -> Arg {
        self.op(ScalarOp::MulAdd, &[a, b, c])
    }
    fn neg(&mut self, a: Arg) -> Arg {
        self.op(ScalarOp::Neg, &[a])
    }
    fn abs(&mut self, a: Arg) -> Arg {
        self.op(ScalarOp::Abs, &[a])
    }
    fn bits(&mut self, a: Arg) -> Arg {
        self.op(ScalarOp::Bits(self.tables.int), &[a])
    }
    fn float(&mut self, a: Arg) -> Arg {
        self.op(ScalarOp::Bits(self.tables.float), &[a])
    }
    fn shl(&mut self, a: Arg, by: i64) -> Arg {
        self.op(ScalarOp::Shl, &[a, self.i(by)])
    }
    fn lt(&mut self, a: Arg, b: Arg) -> Arg {
        self.op(ScalarOp::Lt, &[a, b])
    }
    fn eq(&mut self, a: Arg, b: Arg) -> Arg {
        self.op(ScalarOp::Eq, &[a, b])
    }
    fn select(&mut self, cond: Arg, a: Arg, b: Arg) -> Arg {
        self.op(ScalarOp::Select, &[cond, a, b])
    }
    fn clamp(&mut self, a: Arg, low: f64, high: f64) -> Arg {
        let a = self.op(ScalarOp::Min, &[a, self.c(high)]);
        self.op(ScalarOp::Max, &[a, self.c(low)])
    }

    /// Horner's rule, the highest coefficient first.
    fn polynomial(&mut self, x: Arg, coefficients: &[f64]) -> Arg {
        let mut sum = self.c(coefficients[0]);
        for &c in &coefficients[1..] {
            sum = self.fma(sum, x, self.c(c));
        }
        sum
    }

    /// The magnitude of `size`, which is not negative, under the sign of `sign`.
    fn copy_sign(&mut self, size: Arg, sign: Arg) -> Arg {
        let sign = self.bits(sign);
        let sign = self.op(ScalarOp::BitAnd, &[sign, self.i(self.tables.sign)]);
        let size = self.bits(size);
        let both = self.op(ScalarOp::BitOr, &[size, sign]);
        self.float(both)
    }

    fn sign(&mut self, x: Arg) -> Arg {
        let (zero, one, minus) = (self.c(0.0), self.c(1.0), self.c(-1.0));
        let (up, down) = (self.lt(zero, x), self.lt(x, zero));
        // +0 for both zeros, NaN for NaN
        let none = self.add(x, zero);
        let value = self.select(down, minus, none);
        self.select(up, one, value)
    }

    /// `x` in units of ln 2, rounded by adding a large number: the whole part is then in its last bits. `bias` is added to
    /// those bits. `x` is of moderate size.
    fn scaled(&mut self, x: Arg, bias: f64) -> Scaled {
        let t = self.tables;
        let magic = self.c(t.magic + bias);
        let shifted = self.fma(x, self.c(std::f64::consts::LOG2_E), magic);
        let n = self.sub(shifted, magic);
        let rest = self.fma(n, self.c(-t.ln2[0]), x);
        let rest = self.fma(n, self.c(-t.ln2[1]), rest);
        Scaled { bits: self.bits(shifted), rest }
    }

    /// `p * 2^n`, both and the product normal.
    fn put_together(&mut self, scaled: &Scaled, p: Arg) -> Arg {
        let exponent = self.shl(scaled.bits, self.tables.mantissa);
        let bits = self.bits(p);
        let sum = self.op(ScalarOp::Add, &[bits, exponent]);
        self.float(sum)
    }

    /// `p * 2^n` in two steps: the result may be denormal or infinite, and is rounded once.
    fn put_together_wide(&mut self, scaled: &Scaled, p: Arg) -> Arg {
        let t = self.tables;
        let half = self.op(ScalarOp::Shr, &[scaled.bits, self.i(1)]);
        let first = self.shl(half, t.mantissa);
        let all = self.shl(scaled.bits, t.mantissa);
        let rest = self.op(ScalarOp::Sub, &[all, first]);
        let bits = self.bits(p);
        let first = self.op(ScalarOp::Add, &[bits, first]);
        let first = self.float(first);
        let second = self.op(ScalarOp::Add, &[rest, self.i(t.one)]);
        let second = self.float(second);
        self.mul(first, second)
    }

    fn exp(&mut self, x: Arg) -> Arg {
        let x = self.clamp(x, self.tables.exp_range.0, self.tables.exp_range.1);
        let scaled = self.scaled(x, 0.0);
        let p = self.polynomial(scaled.rest, self.tables.exp);
        self.put_together_wide(&scaled, p)
    }

    /// `exp(x) - 1` for `x` from 0 to where it is large, never negative.
    fn exp_minus_one(&mut self, x: Arg) -> Arg {
        let t = self.tables;
        let scaled = self.scaled(x, 0.0);
        let (r, short) = (scaled.rest, &t.exp[..t.exp.len() - 2]);
        let p = self.polynomial(r, short);
        let square = self.mul(r, r);
        let q = self.fma(square, p, r);
        let one = self.c(1.0);
        let power = self.put_together(&scaled, one);
        let whole = self.sub(power, one);
        self.fma(power, q, whole)
    }

    /// `y / (y + 2)` with `y = exp(2|x|) - 1`: nothing cancels, near 0 either.
    fn tanh(&mut self, x: Arg) -> Arg {
        let size = self.abs(x);
        let size = self.op(ScalarOp::Min, &[size, self.c(self.tables.tanh_end)]);
        let twice = self.add(size, size);
        let y = self.exp_minus_one(twice);
        let under = self.add(y, self.c(2.0));
        let size = self.div(y, under);
        self.copy_sign(size, x)
    }

    /// `e / (1 + e)` with `e = exp(x)`, which is denormal for very negative `x`: it is made too large first.
    fn sigmoid(&mut self, x: Arg) -> Arg {
        let t = self.tables;
        let x = self.clamp(x, t.exp_range.0, t.sigmoid_end);
        let scaled = self.scaled(x, t.lift as f64);
        let p = self.polynomial(scaled.rest, t.exp);
        let large = self.put_together(&scaled, p);
        let e = self.mul(large, self.c(2f64.powi(-t.lift)));
        let under = self.add(e, self.c(1.0));
        self.div(e, under)
    }

    fn erf(&mut self, x: Arg) -> Arg {
        let size = self.abs(x);
        let square = self.mul(x, x);
        let single = self.tables.float == Dtype::F32;
        let far = if single { self.erf_far_single(size, square) } else { self.erf_far_double(size, square) };
        let far = self.copy_sign(far, x);
        let near = self.polynomial(square, self.tables.erf);
        let near = if single { self.fma(near, x, x) } else { self.mul(near, x) };
        let is_far = self.lt(self.c(self.tables.erf_split), size);
        self.select(is_far, far, near)
    }

    /// `1 - exp(r)`, `r` a polynomial in |x|. After: N. Juffa, "Efficiently computing the error function", 2014-2022.
    fn erf_far_single(&mut self, size: Arg, square: Arg) -> Arg {
        let r = self.fma(self.c(-1.72853470e-5), size, self.c(3.83197126e-4));
        let u = self.fma(self.c(-3.88396438e-3), size, self.c(2.42546219e-2));
        let r = self.fma(r, square, u);
        let r = self.fma(r, size, self.c(-1.06777877e-1));
        let r = self.fma(r, size, self.c(-6.34846687e-1));
        let r = self.fma(r, size, self.c(-1.28717512e-1));
        let minus = self.neg(size);
        let r = self.fma(r, size, minus);
        let r = self.op(ScalarOp::Max, &[r, self.c(-87.0)]);
        let scaled = self.scaled(r, 0.0);
        let p = self.polynomial(scaled.rest, self.tables.exp);
        let e = self.put_together(&scaled, p);
        self.sub(self.c(1.0), e)
    }

    /// `1 - exp(-x²) Q((|x| - 3) / (|x| + 3))`.
    fn erf_far_double(&mut self, size: Arg, square: Arg) -> Arg {
        let square = self.op(ScalarOp::Min, &[square, self.c(700.0)]);
        let minus = self.neg(square);
        let scaled = self.scaled(minus, 0.0);
        let p = self.polynomial(scaled.rest, self.tables.exp);
        let e = self.put_together(&scaled, p);
        let size = self.op(ScalarOp::Min, &[size, self.c(30.0)]);
        let three = self.c(3.0);
        let (over, under) = (self.sub(size, three), self.add(size, three));
        let z = self.div(over, under);
        let q = self.polynomial(z, tables::ERF_FAR);
        let rest = self.mul(e, q);
        self.sub(self.c(1.0), rest)
    }

    /// `x = m * 2^i` with `m` around 1, for positive `x`; the float `i` and `m`.
    fn split(&mut self, x: Arg, start: i64) -> (Arg, Arg) {
        let t = self.tables;
        let zero = self.c(0.0);
        let low = self.lt(x, self.c(t.smallest_normal));
        let lifted = self.mul(x, self.c(2f64.powi(t.mantissa as i32)));
        let x = self.select(low, lifted, x);
        let base = self.select(low, self.c(-(t.mantissa as f64)), zero);
        let bits = self.bits(x);
        let e = self.op(ScalarOp::Sub, &[bits, self.i(start)]);
        let exponent = self.op(ScalarOp::Shr, &[e, self.i(t.mantissa)]);
        let exact = self.shl(exponent, t.mantissa);
        let m = self.op(ScalarOp::Sub, &[bits, exact]);
        let i = self.op(ScalarOp::Cast(t.float), &[exponent]);
        (self.add(i, base), self.float(m))
    }

    fn log(&mut self, x: Arg) -> Arg {
        let t = self.tables;
        let (i, m) = self.split(x, t.log_start);
        let f = self.sub(m, self.c(1.0));
        let value = if t.float == Dtype::F32 { self.log_single(i, f) } else { self.log_double(i, f) };
        let (zero, top) = (self.c(0.0), self.c(f64::INFINITY));
        let infinite = self.eq(x, top);
        let value = self.select(infinite, x, value);
        let none = self.eq(x, zero);
        let value = self.select(none, self.c(f64::NEG_INFINITY), value);
        // less than 0, or NaN
        let proper = self.op(ScalarOp::Le, &[zero, x]);
        self.select(proper, value, self.c(f64::NAN))
    }

    /// `log(1 + f) + i ln 2` for `f` from -1/3 to 1/3. After: N. Juffa, 2014.
    fn log_single(&mut self, i: Arg, f: Arg) -> Arg {
        let s = self.mul(f, f);
        let r = self.polynomial(s, &[-0.130310059, -0.121483512, -0.166846126, -0.249996200]);
        let t = self.polynomial(s, &[0.140869141, 0.139814854, 0.200120345]);
        let r = self.fma(t, f, r);
        let r = self.fma(r, f, self.c(0.333331972));
        let r = self.fma(r, f, self.c(-0.5));
        let r = self.fma(r, s, f);
        self.fma(i, self.c(std::f64::consts::LN_2), r)
    }

    /// The same with `f` from sqrt(1/2) - 1 to sqrt(2) - 1. After: FDLIBM's `e_log.c`, Sun Microsystems 1993.
    fn log_double(&mut self, i: Arg, f: Arg) -> Arg {
        let under = self.add(f, self.c(2.0));
        let s = self.div(f, under);
        let z = self.mul(s, s);
        let r = self.polynomial(z, tables::LOG);
        let r = self.mul(r, z);
        let half = self.mul(f, self.c(0.5));
        let half_square = self.mul(half, f);
        let sum = self.add(half_square, r);
        let low = self.mul(i, self.c(self.tables.ln2[1]));
        let low = self.fma(s, sum, low);
        let low = self.sub(half_square, low);
        let low = self.sub(low, f);
        let high = self.mul(i, self.c(self.tables.ln2[0]));
        self.sub(high, low)
    }

    /// `a * b` as a rounded product and what rounding cut off.
    fn product(&mut self, a: Arg, b: Arg) -> (Arg, Arg) {
        let p = self.mul(a, b);
        if self.fused {
            let minus = self.neg(p);
            return (p, self.fma(a, b, minus));
        }
        // Dekker 1971: halves of the mantissas have exact products
        let mask = self.i(self.tables.half_mask);
        let mut halves = |a: Arg| {
            let bits = self.bits(a);
            let high = self.op(ScalarOp::BitAnd, &[bits, mask]);
            let high = self.float(high);
            (high, self.sub(a, high))
        };
        let ((ah, al), (bh, bl)) = (halves(a), halves(b));
        let hh = self.mul(ah, bh);
        let mut low = self.sub(hh, p);
        for (x, y) in [(ah, bl), (al, bh), (al, bl)] {
            let xy = self.mul(x, y);
            low = self.add(low, xy);
        }
        (p, low)
    }

    /// `log(x)` as the sum of two floats, for positive finite `x`. After: N. Juffa's `powf`, 2013-2020.
    fn log_extended(&mut self, x: Arg) -> (Arg, Arg) {
        let t = self.tables;
        let (i, m) = self.split(x, t.sqrt_half);
        let one = self.c(1.0);
        let (under, f) = (self.add(m, one), self.sub(m, one));
        // q = f / (f + 2) and what is missing from it
        let inverse = self.div(one, under);
        let q = self.mul(f, inverse);
        let twice = self.add(q, q);
        let rest = self.sub(f, twice);
        let (qf, qf_low) = self.product(q, f);
        let rest = self.sub(rest, qf);
        let rest = self.sub(rest, qf_low);
        let q_low = self.mul(rest, inverse);
        // q², q³ with what is missing, and atanh's series
        let (s, s_low) = self.product(q, q);
        let q_low2 = self.add(q_low, q_low);
        let s_low = self.fma(q, q_low2, s_low);
        let r = self.polynomial(s, t.atanh);
        let (cube, cube_low) = self.product(s, q);
        let cube_low = self.fma(s_low, q, cube_low);
        let cube_low = self.fma(s, q_low, cube_low);
        let tail = self.fma(r, cube_low, q_low);
        let tail = self.fma(r, cube, tail);
        // log x = i ln 2 + 2 atanh q
        let tail = self.add(tail, tail);
        let high = self.mul(i, self.c(t.ln2[0]));
        let sum = self.add(high, twice);
        let back = self.sub(sum, high);
        let error = self.sub(twice, back);
        let tail = self.add(tail, error);
        let tail = self.fma(i, self.c(t.ln2[1]), tail);
        let log = self.add(sum, tail);
        let back = self.sub(sum, log);
        (log, self.add(back, tail))
    }

    fn pow(&mut self, a: Arg, b: Arg) -> Arg {
        if let Some(value) = self.pow_literal(a, b) {
            return value;
        }
        let t = self.tables;
        let (zero, one, top) = (self.c(0.0), self.c(1.0), self.c(f64::INFINITY));
        let size = self.abs(a);
        let (log, log_low) = self.log_extended(size);
        // infinite and NaN are their own logarithm, 0 has -infinity, and 1 to any power is 1
        let finite = self.lt(size, top);
        let log = self.select(finite, log, size);
        let none = self.eq(size, zero);
        let log = self.select(none, self.c(f64::NEG_INFINITY), log);
        let (e, e_low) = self.product(log, b);
        let e_low = self.fma(log_low, b, e_low);
        let is_one = self.eq(size, one);
        let e = self.select(is_one, zero, e);
        let reach = self.abs(e);
        let moderate = self.lt(reach, self.c(2.0 * t.exp_range.1));
        let e_low = self.select(moderate, e_low, zero);
        let e_low = self.select(is_one, zero, e_low);
        let e = self.clamp(e, t.exp_range.0, t.exp_range.1);
        let mut scaled = self.scaled(e, 0.0);
        scaled.rest = self.add(scaled.rest, e_low);
        let p = self.polynomial(scaled.rest, t.exp);
        let value = self.put_together_wide(&scaled, p);
        // a negative base: odd powers are negative, and powers that are not whole do not exist
        let floor = self.op(ScalarOp::Floor, &[b]);
        let whole = self.eq(floor, b);
        let half = self.mul(b, self.c(0.5));
        let floor = self.op(ScalarOp::Floor, &[half]);
        let even = self.eq(floor, half);
        let signed = self.copy_sign(value, a);
        let signed = self.select(even, value, signed);
        let value = self.select(whole, signed, value);
        // -infinity to a power that is not whole is as +infinity
        let real = self.op(ScalarOp::Le, &[zero, a]);
        let unreal = self.select(finite, self.c(f64::NAN), value);
        let unreal = self.select(whole, signed, unreal);
        let value = self.select(real, value, unreal);
        let unit = self.eq(a, one);
        let value = self.select(unit, one, value);
        let nothing = self.eq(b, zero);
        self.select(nothing, one, value)
    }

    /// Powers that a few multiplications make.
    fn pow_literal(&mut self, a: Arg, b: Arg) -> Option<Arg> {
        let Arg::Literal(b) = b else { return None };
        let one = self.c(1.0);
        let exponent = b.to_f64();
        Some(match exponent {
            0.0 => one,
            1.0 => a,
            2.0 => self.mul(a, a),
            3.0 => {
                let square = self.mul(a, a);
                self.mul(square, a)
            }
            4.0 => {
                let square = self.mul(a, a);
                self.mul(square, square)
            }
            -1.0 => self.div(one, a),
            // +0 to both zeros, as a power; -infinity alone differs, and is put right
            0.5 => {
                let size = self.add(a, self.c(0.0));
                let root = self.op(ScalarOp::Sqrt, &[size]);
                let low = self.eq(a, self.c(f64::NEG_INFINITY));
                self.select(low, self.c(f64::INFINITY), root)
            }
            _ => return None,
        })
    }
}
