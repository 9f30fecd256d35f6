//! Scalar bodies as statements of a scalar kernel: a value for each term, in the type that its element computes
//! in, wrapped or rounded to the element type after every term.

use super::small::{decode, encode, is_bits, ty};
use super::writer::Writer;
use crate::math;
use ir::Dtype;
use ir::kernel::scalar::{Binary, Ty, Unary, Value};
use ir::scalar::{Arg, Body, Literal, ScalarOp};

/// A body in primitive terms, with the type of everything in it.
pub struct Terms {
    body: Body,
    params: Vec<Dtype>,
    types: Vec<Dtype>,
    pub result: Dtype,
}

impl Terms {
    pub fn new(body: &Body, params: &[Dtype], fused: bool) -> Terms {
        let body = math::expand(body, params, fused);
        let types = body.types(params).expect("the graph was verified, and expanding keeps types");
        let result = body.result_type(params).expect("the graph was verified, and expanding keeps types");
        Terms { body, params: params.to_vec(), types, result }
    }

    /// The parameter that the result simply is.
    pub fn moved(&self) -> Option<usize> {
        match self.body.result {
            Arg::Param(i) => Some(i as usize),
            Arg::Term(_) | Arg::Literal(_) => None,
        }
    }

    /// One operation over operands of one type.
    pub fn of(op: ScalarOp, dtype: Dtype, fused: bool) -> Terms {
        Terms::new(&Body::of(op), &vec![dtype; op.arity()], fused)
    }

    /// The statements; the result is the value returned.
    pub fn emit(&self, w: &mut Writer, params: &[Value]) -> Value {
        let mut made: Vec<Value> = Vec::with_capacity(self.body.terms.len());
        for (term, &to) in self.body.terms.iter().zip(&self.types) {
            let args: Vec<Value> = term.args.iter().map(|a| operand(w, a, params, &made)).collect();
            let from = type_of(&self.params, &self.types, &term.args[0]);
            // the amount of a shift is often constant
            let amount = term.args.get(1).and_then(|a| if let Arg::Literal(l) = a { Some(l.to_i64()) } else { None });
            let value = emit_term(w, term.op, from, to, &args, amount);
            made.push(value);
        }
        operand(w, &self.body.result, params, &made)
    }
}

fn type_of(params: &[Dtype], types: &[Dtype], arg: &Arg) -> Dtype {
    match *arg {
        Arg::Param(i) => params[i as usize],
        Arg::Term(i) => types[i as usize],
        Arg::Literal(l) => l.dtype,
    }
}

fn operand(w: &mut Writer, arg: &Arg, params: &[Value], made: &[Value]) -> Value {
    match *arg {
        Arg::Param(i) => params[i as usize],
        Arg::Term(i) => made[i as usize],
        Arg::Literal(l) => literal(w, l),
    }
}

/// A literal as it would be loaded.
pub fn literal(w: &mut Writer, literal: Literal) -> Value {
    match ty(literal.dtype) {
        Ty::Int => w.int(literal.to_i64()),
        Ty::F32 => w.f32(literal.to_f64() as f32),
        Ty::F64 => w.f64(literal.to_f64()),
    }
}

/// What an element that was computed in its wider type is as one of `dtype`.
pub fn settle(w: &mut Writer, dtype: Dtype, value: Value) -> Value {
    match dtype {
        Dtype::F32 | Dtype::F64 | Dtype::I64 | Dtype::U64 | Dtype::Bool => value,
        Dtype::F16 => w.unary(Unary::RoundF16, value),
        Dtype::BF16 => w.unary(Unary::RoundBF16, value),
        d if is_bits(d) => {
            let bits = encode(w, dtype, value);
            decode(w, dtype, bits)
        }
        _ => w.unary(Unary::Wrap(dtype), value),
    }
}

fn emit_term(w: &mut Writer, op: ScalarOp, from: Dtype, to: Dtype, args: &[Value], amount: Option<i64>) -> Value {
    match op {
        ScalarOp::Cast(to) => return cast(w, from, to, args[0]),
        ScalarOp::Bits(to) => return bits(w, from, to, args[0]),
        ScalarOp::Select => return w.select(args[0], args[1], args[2]),
        _ => {}
    }
    if from.is_float() {
        let value = float(w, op, args);
        return if to == Dtype::Bool { value } else { settle(w, to, value) };
    }
    let value = if from == Dtype::Bool { logic(w, op, args) } else { integer(w, op, from, args, amount) };
    let exact = to == Dtype::Bool
        || matches!(op, ScalarOp::Min | ScalarOp::Max | ScalarOp::Sign | ScalarOp::BitAnd | ScalarOp::BitOr | ScalarOp::BitXor)
        || matches!(op, ScalarOp::Shr | ScalarOp::Rem | ScalarOp::Mod);
    if exact { value } else { settle(w, to, value) }
}

fn float(w: &mut Writer, op: ScalarOp, args: &[Value]) -> Value {
    let a = args[0];
    let b = *args.get(1).unwrap_or(&a);
    match op {
        ScalarOp::Neg => w.unary(Unary::Neg, a),
        ScalarOp::Abs => w.unary(Unary::Abs, a),
        ScalarOp::Sqrt => w.unary(Unary::Sqrt, a),
        ScalarOp::Floor => w.unary(Unary::Floor, a),
        ScalarOp::Ceil => w.unary(Unary::Ceil, a),
        ScalarOp::Trunc => w.unary(Unary::Trunc, a),
        ScalarOp::Round => w.unary(Unary::Round, a),
        ScalarOp::Add => w.binary(Binary::Add, a, b),
        ScalarOp::Sub => w.binary(Binary::Sub, a, b),
        ScalarOp::Mul => w.binary(Binary::Mul, a, b),
        ScalarOp::Div => w.binary(Binary::Div, a, b),
        ScalarOp::Min => w.binary(Binary::Min, a, b),
        ScalarOp::Max => w.binary(Binary::Max, a, b),
        ScalarOp::MulAdd => w.mul_add(a, b, args[2]),
        ScalarOp::Eq => w.binary(Binary::Eq, a, b),
        ScalarOp::Ne => w.binary(Binary::Ne, a, b),
        ScalarOp::Lt => w.binary(Binary::Lt, a, b),
        ScalarOp::Le => w.binary(Binary::Le, a, b),
        ScalarOp::Gt => w.binary(Binary::Lt, b, a),
        ScalarOp::Ge => w.binary(Binary::Le, b, a),
        ScalarOp::IsNan => w.binary(Binary::Ne, a, a),
        ScalarOp::IsInf => {
            let (size, top) = (w.unary(Unary::Abs, a), infinity(w, a));
            w.binary(Binary::Eq, size, top)
        }
        ScalarOp::Rem => remainder(w, a, b),
        ScalarOp::Mod => modulo(w, a, b),
        other => unreachable!("{} is not primitive over floats", other.name()),
    }
}

fn real(w: &mut Writer, like: Value, value: f64) -> Value {
    match w.ty(like) {
        Ty::F64 => w.f64(value),
        Ty::F32 | Ty::Int => w.f32(value as f32),
    }
}

fn infinity(w: &mut Writer, like: Value) -> Value {
    real(w, like, f64::INFINITY)
}

/// C's fmod, exact: subtracts the divisor times powers of two. Doubling a float is exact, and so is the
/// difference of two that are within a factor of two.
fn remainder(w: &mut Writer, a: Value, b: Value) -> Value {
    let (zero, half, top) = (real(w, a, 0.0), real(w, a, 0.5), infinity(w, a));
    let (rest, by) = (w.unary(Unary::Abs, a), w.unary(Unary::Abs, b));
    let left = w.cell(rest);
    let part = w.cell(by);
    let (some, finite) = (w.binary(Binary::Lt, zero, by), w.binary(Binary::Lt, rest, top));
    let proper = w.binary(Binary::And, some, finite);
    let bounded = w.binary(Binary::Lt, by, top);
    let divides = w.binary(Binary::And, proper, bounded);
    w.when(divides, |w| {
        // the largest divisor * 2^n that is not above what is left
        w.whilst(
            |w| {
                let (part, left) = (w.get(part), w.get(left));
                let left = w.binary(Binary::Mul, left, half);
                w.binary(Binary::Le, part, left)
            },
            |w| {
                let old = w.get(part);
                let twice = w.binary(Binary::Add, old, old);
                w.put(part, twice);
            },
        );
        w.whilst(
            |w| {
                let part = w.get(part);
                w.binary(Binary::Le, by, part)
            },
            |w| {
                let (rest, step) = (w.get(left), w.get(part));
                let fits = w.binary(Binary::Le, step, rest);
                let less = w.binary(Binary::Sub, rest, step);
                let rest = w.select(fits, less, rest);
                w.put(left, rest);
                let step = w.binary(Binary::Mul, step, half);
                w.put(part, step);
            },
        );
    });
    let result = w.get(left);
    // a NaN, an infinite dividend and a divisor of zero have no remainder
    let undefined = w.binary(Binary::Sub, top, top);
    let result = w.select(proper, result, undefined);
    copy_sign(w, result, a)
}

/// The magnitude of `size` (which is not negative) under the sign of `sign`.
fn copy_sign(w: &mut Writer, size: Value, sign: Value) -> Value {
    let (to, from, mask) = match w.ty(size) {
        Ty::F64 => (Unary::F64Bits, Unary::F64FromBits, i64::MIN),
        Ty::F32 | Ty::Int => (Unary::F32Bits, Unary::F32FromBits, 1 << 31),
    };
    let mask = w.int(mask);
    let (size, sign) = (w.unary(to, size), w.unary(to, sign));
    let sign = w.binary(Binary::And, sign, mask);
    let both = w.binary(Binary::Or, size, sign);
    w.unary(from, both)
}

/// Python's `%`: the sign of the divisor.
fn modulo(w: &mut Writer, a: Value, b: Value) -> Value {
    let zero = real(w, a, 0.0);
    let r = remainder(w, a, b);
    let (low, under) = (w.binary(Binary::Lt, r, zero), w.binary(Binary::Lt, b, zero));
    let differs = w.binary(Binary::Xor, low, under);
    let moved = w.binary(Binary::Add, r, b);
    let moved = w.select(differs, moved, r);
    let none = copy_sign(w, zero, b);
    let even = w.binary(Binary::Eq, r, zero);
    w.select(even, none, moved)
}

fn logic(w: &mut Writer, op: ScalarOp, args: &[Value]) -> Value {
    let a = args[0];
    let b = *args.get(1).unwrap_or(&a);
    match op {
        ScalarOp::And | ScalarOp::Min => w.binary(Binary::And, a, b),
        ScalarOp::Or | ScalarOp::Max => w.binary(Binary::Or, a, b),
        ScalarOp::Xor | ScalarOp::Ne => w.binary(Binary::Xor, a, b),
        ScalarOp::Not => {
            let one = w.int(1);
            w.binary(Binary::Xor, a, one)
        }
        ScalarOp::Eq => w.binary(Binary::IEq, a, b),
        ScalarOp::Lt => w.binary(Binary::ULt, a, b),
        ScalarOp::Le => w.binary(Binary::ULe, a, b),
        ScalarOp::Gt => w.binary(Binary::ULt, b, a),
        ScalarOp::Ge => w.binary(Binary::ULe, b, a),
        other => unreachable!("{} does not take bools", other.name()),
    }
}

fn integer(w: &mut Writer, op: ScalarOp, dtype: Dtype, args: &[Value], amount: Option<i64>) -> Value {
    let a = args[0];
    let b = *args.get(1).unwrap_or(&a);
    let signed = dtype.is_signed_int();
    let pick = |s: Binary, u: Binary| if signed { s } else { u };
    let zero = w.int(0);
    match op {
        ScalarOp::Neg => w.unary(Unary::INeg, a),
        ScalarOp::Abs if !signed => a,
        ScalarOp::Abs => {
            let (low, minus) = (w.binary(Binary::SLt, a, zero), w.unary(Unary::INeg, a));
            w.select(low, minus, a)
        }
        ScalarOp::Sign if !signed => w.binary(Binary::INe, a, zero),
        ScalarOp::Sign => {
            let (up, down) = (w.binary(Binary::SLt, zero, a), w.binary(Binary::SLt, a, zero));
            w.binary(Binary::ISub, up, down)
        }
        ScalarOp::Add => w.binary(Binary::IAdd, a, b),
        ScalarOp::Sub => w.binary(Binary::ISub, a, b),
        ScalarOp::Mul => w.binary(Binary::IMul, a, b),
        ScalarOp::Div => w.binary(pick(Binary::SDiv, Binary::UDiv), a, b),
        ScalarOp::Rem => w.binary(pick(Binary::SRem, Binary::URem), a, b),
        ScalarOp::Mod if !signed => w.binary(Binary::URem, a, b),
        ScalarOp::Mod => {
            let r = w.binary(Binary::SRem, a, b);
            let mixed = w.binary(Binary::Xor, r, b);
            let (mixed, some) = (w.binary(Binary::SLt, mixed, zero), w.binary(Binary::INe, r, zero));
            let (differs, moved) = (w.binary(Binary::And, mixed, some), w.binary(Binary::IAdd, r, b));
            w.select(differs, moved, r)
        }
        ScalarOp::Min => w.binary(pick(Binary::SMin, Binary::UMin), a, b),
        ScalarOp::Max => w.binary(pick(Binary::SMax, Binary::UMax), a, b),
        ScalarOp::Pow => power(w, dtype, a, b),
        ScalarOp::BitAnd => w.binary(Binary::And, a, b),
        ScalarOp::BitOr => w.binary(Binary::Or, a, b),
        ScalarOp::BitXor => w.binary(Binary::Xor, a, b),
        ScalarOp::BitNot => w.unary(Unary::INot, a),
        ScalarOp::Shl => {
            let width = dtype.bits() as i64;
            let shifted = w.binary(Binary::Shl, a, b);
            if width == 64 || amount.is_some_and(|n| (0..width).contains(&n)) {
                return shifted;
            }
            let width = w.int(width);
            let inside = w.binary(Binary::ULt, b, width);
            w.select(inside, shifted, zero)
        }
        ScalarOp::Shr => w.binary(pick(Binary::SShr, Binary::UShr), a, b),
        ScalarOp::Eq => w.binary(Binary::IEq, a, b),
        ScalarOp::Ne => w.binary(Binary::INe, a, b),
        ScalarOp::Lt => w.binary(pick(Binary::SLt, Binary::ULt), a, b),
        ScalarOp::Le => w.binary(pick(Binary::SLe, Binary::ULe), a, b),
        ScalarOp::Gt => w.binary(pick(Binary::SLt, Binary::ULt), b, a),
        ScalarOp::Ge => w.binary(pick(Binary::SLe, Binary::ULe), b, a),
        other => unreachable!("{} does not take integers", other.name()),
    }
}

/// By squaring. `1 / a^-b` truncated is what a negative exponent means: only 1 and -1 leave something.
fn power(w: &mut Writer, dtype: Dtype, a: Value, b: Value) -> Value {
    let (zero, one) = (w.int(0), w.int(1));
    let (base, left, out) = (w.cell(a), w.cell(b), w.cell(one));
    if dtype.is_signed_int() {
        let negative = w.binary(Binary::SLt, b, zero);
        w.when(negative, |w| {
            let minus = w.int(-1);
            let (plus, minus) = (w.binary(Binary::IEq, a, one), w.binary(Binary::IEq, a, minus));
            let unit = w.binary(Binary::Or, plus, minus);
            let (inverse, odd) = (w.select(unit, a, zero), w.binary(Binary::And, b, one));
            // zero to the power of one
            let exponent = w.select(unit, odd, one);
            w.put(base, inverse);
            w.put(left, exponent);
        });
    }
    w.whilst(
        |w| {
            let left = w.get(left);
            w.binary(Binary::INe, left, zero)
        },
        |w| {
            let (b, l, o) = (w.get(base), w.get(left), w.get(out));
            let odd = w.binary(Binary::And, l, one);
            let more = w.binary(Binary::IMul, o, b);
            let o = w.select(odd, more, o);
            w.put(out, o);
            let square = w.binary(Binary::IMul, b, b);
            w.put(base, square);
            let half = w.binary(Binary::UShr, l, one);
            w.put(left, half);
        },
    );
    w.get(out)
}

/// Conversion by value.
pub fn cast(w: &mut Writer, from: Dtype, to: Dtype, a: Value) -> Value {
    if from == to {
        return a;
    }
    let signed = !from.is_unsigned_int() && from != Dtype::Bool;
    match (from.is_float(), to.is_float()) {
        (false, false) if to == Dtype::Bool => {
            let zero = w.int(0);
            w.binary(Binary::INe, a, zero)
        }
        (false, false) if from == Dtype::Bool => a,
        (false, false) => w.unary(Unary::Wrap(to), a),
        (false, true) if to == Dtype::F64 => w.unary(if signed { Unary::IntToF64 } else { Unary::UIntToF64 }, a),
        (false, true) => {
            let value = w.unary(if signed { Unary::IntToF32 } else { Unary::UIntToF32 }, a);
            settle(w, to, value)
        }
        (true, false) if to == Dtype::Bool => {
            let zero = real(w, a, 0.0);
            w.binary(Binary::Ne, a, zero)
        }
        // types below eight bits keep the low ones
        (true, false) if to.bits() < 8 => {
            let whole = w.unary(Unary::FloatToInt, a);
            w.unary(Unary::Wrap(to), whole)
        }
        (true, false) if to.is_unsigned_int() => {
            let whole = w.unary(Unary::FloatToUInt, a);
            if to == Dtype::U64 {
                return whole;
            }
            let top = w.int((1i64 << to.bits()) - 1);
            w.binary(Binary::UMin, whole, top)
        }
        (true, false) => {
            let whole = w.unary(Unary::FloatToInt, a);
            if to == Dtype::I64 {
                return whole;
            }
            let top = (1i64 << (to.bits() - 1)) - 1;
            let (low, high) = (w.int(-top - 1), w.int(top));
            let whole = w.binary(Binary::SMax, whole, low);
            w.binary(Binary::SMin, whole, high)
        }
        (true, true) => match (ty(from), to) {
            (Ty::F64, Dtype::F32) => w.unary(Unary::F64ToF32, a),
            (Ty::F64, to) => {
                let single = to_odd(w, a);
                settle(w, to, single)
            }
            (_, Dtype::F64) => w.unary(Unary::F32ToF64, a),
            (_, to) => settle(w, to, a),
        },
    }
}

/// An F64 as the F32 next to it whose last bit tells that something was cut off, so that rounding once more
/// to a narrower type rounds right.
fn to_odd(w: &mut Writer, a: Value) -> Value {
    let (one, zero) = (w.int(1), w.int(0));
    let near = w.unary(Unary::F64ToF32, a);
    let back = w.unary(Unary::F32ToF64, near);
    let bits = w.unary(Unary::F32Bits, near);
    let inexact = w.binary(Binary::Ne, back, a);
    let last = w.binary(Binary::And, bits, one);
    let even = w.binary(Binary::IEq, last, zero);
    let move_it = w.binary(Binary::And, inexact, even);
    let (back, whole) = (w.unary(Unary::Abs, back), w.unary(Unary::Abs, a));
    let over = w.binary(Binary::Lt, whole, back);
    let minus = w.int(-1);
    let step = w.select(over, minus, one);
    let step = w.select(move_it, step, zero);
    let bits = w.binary(Binary::IAdd, bits, step);
    w.unary(Unary::F32FromBits, bits)
}

/// The same bits under a type of the same width.
fn bits(w: &mut Writer, from: Dtype, to: Dtype, a: Value) -> Value {
    let small = |d: Dtype| d.is_float() && d.bytes() < 4;
    match (ty(from), ty(to)) {
        _ if from == to => a,
        _ if small(from) => {
            let code = encode(w, from, a);
            let whole = if from.bytes() == 1 { Dtype::U8 } else { Dtype::U16 };
            bits(w, whole, to, code)
        }
        _ if small(to) => {
            let below = w.int((1 << (8 * to.bytes())) - 1);
            let code = w.binary(Binary::And, a, below);
            decode(w, to, code)
        }
        (Ty::F32, Ty::Int) => {
            let bits = w.unary(Unary::F32Bits, a);
            if to.is_signed_int() { w.unary(Unary::Wrap(to), bits) } else { bits }
        }
        (Ty::Int, Ty::F32) => w.unary(Unary::F32FromBits, a),
        (Ty::F64, Ty::Int) => w.unary(Unary::F64Bits, a),
        (Ty::Int, Ty::F64) => w.unary(Unary::F64FromBits, a),
        (Ty::Int, Ty::Int) if to == Dtype::Bool => {
            let zero = w.int(0);
            w.binary(Binary::INe, a, zero)
        }
        (Ty::Int, Ty::Int) => w.unary(Unary::Wrap(to), a),
        (Ty::F32 | Ty::F64, Ty::F32 | Ty::F64) => a,
    }
}
