//! A scalar body made shorter without changing what it means: literals computed, neutral operations
//! dropped, clips and casts joined, equal terms shared. Floats are never reassociated; what may differ is
//! the sign of a zero and the payload of a NaN. Knows bodies only, no graph.

use crate::oracle;
use ir::Dtype;
use ir::scalar::{Arg, Body, Literal, ScalarOp};

/// The shortest body found that means the same over parameters of these types.
pub fn simplify(body: &Body, params: &[Dtype]) -> Body {
    let mut body = body.clone();
    // what one round uncovers the next one uses; four are more than any model needs
    for _ in 0..4 {
        let mut scope = Scope::new(body.params, params);
        let mut placed: Vec<Arg> = Vec::with_capacity(body.terms.len());
        let bind = |arg: &Arg, placed: &[Arg]| match *arg {
            Arg::Term(i) => placed[i as usize],
            other => other,
        };
        for term in &body.terms {
            let args = term.args.iter().map(|a| bind(a, &placed)).collect();
            placed.push(scope.emit(term.op, args));
        }
        scope.out.result = bind(&body.result, &placed);
        let next = scope.out.without_dead();
        if next == body {
            break;
        }
        body = next;
    }
    body
}

/// A body under construction, with the type of every term.
pub struct Scope<'a> {
    pub out: Body,
    params: &'a [Dtype],
    types: Vec<Dtype>,
}

impl<'a> Scope<'a> {
    pub fn new(count: u8, params: &'a [Dtype]) -> Scope<'a> {
        Scope { out: Body { params: count, terms: Vec::new(), result: Arg::Param(0) }, params, types: Vec::new() }
    }

    pub fn dtype(&self, arg: Arg) -> Dtype {
        match arg {
            Arg::Param(i) => self.params[i as usize],
            Arg::Term(i) => self.types[i as usize],
            Arg::Literal(l) => l.dtype,
        }
    }

    fn number(&self, like: Arg, value: f64) -> Arg {
        Arg::Literal(Literal::number(self.dtype(like), value))
    }

    /// The operands of `arg` if it is a term of `op`.
    fn match_op(&self, arg: Arg, op: ScalarOp) -> Option<&[Arg]> {
        match arg {
            Arg::Term(i) => {
                let term = &self.out.terms[i as usize];
                (term.op == op).then_some(term.args.as_slice())
            }
            Arg::Param(_) | Arg::Literal(_) => None,
        }
    }

    /// `(x, c)` if `arg` is `op(x, c)` with a literal `c`.
    fn with_literal(&self, arg: Arg, op: ScalarOp) -> Option<(Arg, Literal)> {
        match self.match_op(arg, op)? {
            [x, Arg::Literal(c)] => Some((*x, *c)),
            _ => None,
        }
    }

    /// Adds a term, or finds a shorter way to say it.
    pub fn emit(&mut self, op: ScalarOp, mut args: Vec<Arg>) -> Arg {
        let literals: Option<Vec<Literal>> = args.iter().map(|a| literal(*a)).collect();
        if let Some(value) = literals.and_then(|l| oracle::scalar(op, &l)) {
            return Arg::Literal(value);
        }
        if commutes(op) && rank(args[0]) > rank(args[1]) {
            args.swap(0, 1);
        }
        if let Some(short) = self.shorter(op, &args) {
            return short;
        }
        if let Some(i) = self.out.terms.iter().position(|t| t.op == op && t.args == args) {
            return Arg::Term(i as u16);
        }
        let ty = self.result_type(op, &args);
        self.types.push(ty);
        self.out.push(op, &args)
    }

    fn result_type(&self, op: ScalarOp, args: &[Arg]) -> Dtype {
        let types: Vec<Dtype> = args.iter().map(|a| self.dtype(*a)).collect();
        Body::of(op).result_type(&types).expect("the rewrite keeps a well-typed body well typed")
    }

    fn shorter(&mut self, op: ScalarOp, args: &[Arg]) -> Option<Arg> {
        use ScalarOp::*;
        match (op, args) {
            (Add, &[x, y]) => self.add(x, y),
            (Sub, &[x, y]) => self.sub(x, y),
            (Mul, &[x, y]) => self.mul(x, y),
            (Div, &[x, y]) => self.div(x, y),
            (Pow, &[x, y]) => self.pow(x, literal(y)?),
            (Min | Max, &[x, y]) => self.bound(op, x, y),
            (Neg, &[x]) => {
                if let Some(&[y]) = self.match_op(x, Neg) {
                    return Some(y);
                }
                let &[a, b] = self.match_op(x, Sub)? else { return None };
                Some(self.emit(Sub, vec![b, a]))
            }
            (Abs, &[x]) => {
                if self.match_op(x, Abs).is_some() {
                    return Some(x);
                }
                let &[y] = self.match_op(x, Neg)? else { return None };
                Some(self.emit(Abs, vec![y]))
            }
            (Floor | Ceil | Trunc | Round, &[x]) => [Floor, Ceil, Trunc, Round].iter().any(|&r| self.match_op(x, r).is_some()).then_some(x),
            (Not | BitNot, &[x]) => match self.match_op(x, op) {
                Some(&[y]) => Some(y),
                _ if op == Not => self.negated(x),
                _ => None,
            },
            (And | Or, &[x, y]) => {
                if x == y {
                    return Some(x);
                }
                let value = literal(y)?.bits != 0;
                Some(if value == (op == And) { x } else { y })
            }
            (Select, &[c, x, y]) => {
                if x == y {
                    return Some(x);
                }
                if let Some(c) = literal(c) {
                    return Some(if c.bits != 0 { x } else { y });
                }
                let &[inner] = self.match_op(c, Not)? else { return None };
                Some(self.emit(Select, vec![inner, y, x]))
            }
            (Cast(to), &[x]) => self.cast(x, to),
            (Bits(to), &[x]) => {
                if self.dtype(x) == to {
                    return Some(x);
                }
                let inner = Dtype::ALL.iter().find_map(|&d| self.match_op(x, Bits(d)))?[0];
                Some(self.emit(Bits(to), vec![inner]))
            }
            _ => None,
        }
    }

    fn add(&mut self, x: Arg, y: Arg) -> Option<Arg> {
        if is(y, 0.0) {
            return Some(x);
        }
        if let Some(&[z]) = self.match_op(y, ScalarOp::Neg) {
            return Some(self.emit(ScalarOp::Sub, vec![x, z]));
        }
        if let Some(&[z]) = self.match_op(x, ScalarOp::Neg) {
            return Some(self.emit(ScalarOp::Sub, vec![y, z]));
        }
        self.joined(ScalarOp::Add, x, y)
    }

    fn sub(&mut self, x: Arg, y: Arg) -> Option<Arg> {
        if self.dtype(x).is_int() && x == y {
            return Some(self.number(x, 0.0));
        }
        if let Arg::Literal(c) = y {
            let minus = oracle::scalar(ScalarOp::Neg, &[c])?;
            return Some(self.emit(ScalarOp::Add, vec![x, Arg::Literal(minus)]));
        }
        if is(x, 0.0) {
            return Some(self.emit(ScalarOp::Neg, vec![y]));
        }
        let &[z] = self.match_op(y, ScalarOp::Neg)? else { return None };
        Some(self.emit(ScalarOp::Add, vec![x, z]))
    }

    fn mul(&mut self, x: Arg, y: Arg) -> Option<Arg> {
        if is(y, 1.0) {
            return Some(x);
        }
        if is(y, -1.0) && !self.dtype(x).is_unsigned_int() {
            return Some(self.emit(ScalarOp::Neg, vec![x]));
        }
        if is(y, 0.0) && self.dtype(x).is_int() {
            return Some(y);
        }
        if let Some(&[a]) = self.match_op(x, ScalarOp::Neg) {
            if let Some(&[b]) = self.match_op(y, ScalarOp::Neg) {
                return Some(self.emit(ScalarOp::Mul, vec![a, b]));
            }
            if let Arg::Literal(c) = y {
                let minus = oracle::scalar(ScalarOp::Neg, &[c])?;
                return Some(self.emit(ScalarOp::Mul, vec![a, Arg::Literal(minus)]));
            }
        }
        // powers of two only shift the exponent, so that floats may be joined as well
        if let (Some((a, c)), Arg::Literal(d)) = (self.with_literal(x, ScalarOp::Mul), y)
            && power_of_two(c)
            && power_of_two(d)
        {
            let both = oracle::scalar(ScalarOp::Mul, &[c, d])?;
            return power_of_two(both).then(|| self.emit(ScalarOp::Mul, vec![a, Arg::Literal(both)]));
        }
        self.joined(ScalarOp::Mul, x, y)
    }

    /// `(x op c) op d` is `x op (c op d)` for integers, which wrap.
    fn joined(&mut self, op: ScalarOp, x: Arg, y: Arg) -> Option<Arg> {
        let (Some((inner, c)), Arg::Literal(d)) = (self.with_literal(x, op), y) else { return None };
        if !self.dtype(x).is_int() {
            return None;
        }
        let both = oracle::scalar(op, &[c, d])?;
        Some(self.emit(op, vec![inner, Arg::Literal(both)]))
    }

    fn div(&mut self, x: Arg, y: Arg) -> Option<Arg> {
        if is(y, 1.0) {
            return Some(x);
        }
        if let Arg::Literal(c) = y {
            let one = Literal::number(c.dtype, 1.0);
            if c.dtype.is_float() && power_of_two(c) {
                let inverse = oracle::scalar(ScalarOp::Div, &[one, c]).filter(|&i| power_of_two(i))?;
                return Some(self.emit(ScalarOp::Mul, vec![x, Arg::Literal(inverse)]));
            }
            return None;
        }
        // 1 / (1 + exp(-x))
        let (e, c) = self.with_literal(y, ScalarOp::Add)?;
        if is(x, 1.0) && c.to_f64() == 1.0 {
            let &[minus] = self.match_op(e, ScalarOp::Exp)? else { return None };
            let &[z] = self.match_op(minus, ScalarOp::Neg)? else { return None };
            return Some(self.emit(ScalarOp::Sigmoid, vec![z]));
        }
        None
    }

    fn pow(&mut self, x: Arg, exponent: Literal) -> Option<Arg> {
        let dtype = self.dtype(x);
        let e = exponent.to_f64();
        if e == 0.0 {
            return Some(self.number(x, 1.0));
        }
        if e == 1.0 {
            return Some(x);
        }
        if e == 2.0 {
            return Some(self.emit(ScalarOp::Mul, vec![x, x]));
        }
        // half types would round twice
        if e == 3.0 && (dtype.is_int() || matches!(dtype, Dtype::F32 | Dtype::F64)) {
            let square = self.emit(ScalarOp::Mul, vec![x, x]);
            return Some(self.emit(ScalarOp::Mul, vec![square, x]));
        }
        if !dtype.is_float() {
            return None;
        }
        if e == 0.5 {
            return Some(self.emit(ScalarOp::Sqrt, vec![x]));
        }
        let one = self.number(x, 1.0);
        if e == -1.0 {
            return Some(self.emit(ScalarOp::Div, vec![one, x]));
        }
        if e == -0.5 && matches!(dtype, Dtype::F32 | Dtype::F64) {
            let root = self.emit(ScalarOp::Sqrt, vec![x]);
            return Some(self.emit(ScalarOp::Div, vec![one, root]));
        }
        None
    }

    fn bound(&mut self, op: ScalarOp, x: Arg, y: Arg) -> Option<Arg> {
        if x == y {
            return Some(x);
        }
        let Arg::Literal(c) = y else { return None };
        let value = c.to_f64();
        let (low, high) = self.range(x, 8);
        // NaN goes through either way
        if (op == ScalarOp::Max && low >= value) || (op == ScalarOp::Min && high <= value) {
            return Some(x);
        }
        if let Some((inner, d)) = self.with_literal(x, op) {
            let both = oracle::scalar(op, &[c, d])?;
            return Some(self.emit(op, vec![inner, Arg::Literal(both)]));
        }
        None
    }

    /// Between what bounds a value lies unless it is NaN.
    fn range(&self, arg: Arg, depth: usize) -> (f64, f64) {
        let dtype = self.dtype(arg);
        let all = match dtype.int_range() {
            // beyond 2^53 an f64 bound would be rounded
            Some((low, high)) if dtype.bytes() <= 4 => (low as f64, high as f64),
            _ => (f64::NEG_INFINITY, f64::INFINITY),
        };
        match arg {
            Arg::Literal(l) if dtype.bytes() <= 4 || dtype.is_float() => (l.to_f64(), l.to_f64()),
            Arg::Term(i) if depth > 0 => {
                let term = &self.out.terms[i as usize];
                let of = |i: usize| self.range(term.args[i], depth - 1);
                match term.op {
                    ScalarOp::Max => (of(0).0.max(of(1).0), of(0).1.max(of(1).1)),
                    ScalarOp::Min => (of(0).0.min(of(1).0), of(0).1.min(of(1).1)),
                    ScalarOp::Sigmoid => (0.0, 1.0),
                    ScalarOp::Tanh | ScalarOp::Erf => (-1.0, 1.0),
                    ScalarOp::Exp | ScalarOp::Sqrt => (0.0, f64::INFINITY),
                    ScalarOp::Abs if dtype.is_float() => (0.0, f64::INFINITY),
                    _ => all,
                }
            }
            Arg::Literal(_) | Arg::Term(_) | Arg::Param(_) => all,
        }
    }

    /// The opposite of a comparison that NaN does not spoil.
    fn negated(&mut self, x: Arg) -> Option<Arg> {
        use ScalarOp::*;
        let Arg::Term(i) = x else { return None };
        let term = self.out.terms[i as usize].clone();
        let ordered = !self.dtype(term.args[0]).is_float();
        let opposite = match term.op {
            Eq => Ne,
            Ne => Eq,
            Lt if ordered => Ge,
            Ge if ordered => Lt,
            Gt if ordered => Le,
            Le if ordered => Gt,
            _ => return None,
        };
        Some(self.emit(opposite, term.args))
    }

    fn cast(&mut self, x: Arg, to: Dtype) -> Option<Arg> {
        let middle = self.dtype(x);
        if middle == to {
            return Some(x);
        }
        let &[inner] = self.match_op(x, ScalarOp::Cast(middle))? else { return None };
        let from = self.dtype(inner);
        // an integer that comes by way of a float saturates, one that comes straight wraps
        if from.is_int() && middle.is_float() && to.is_int() && !holds(to, from) {
            return None;
        }
        holds(middle, from).then(|| self.emit(ScalarOp::Cast(to), vec![inner]))
    }
}

fn literal(arg: Arg) -> Option<Literal> {
    match arg {
        Arg::Literal(l) => Some(l),
        Arg::Param(_) | Arg::Term(_) => None,
    }
}

fn is(arg: Arg, value: f64) -> bool {
    literal(arg).is_some_and(|l| l.to_f64() == value)
}

fn rank(arg: Arg) -> (u8, u16) {
    match arg {
        Arg::Param(i) => (0, i as u16),
        Arg::Term(i) => (1, i),
        Arg::Literal(_) => (2, 0),
    }
}

fn commutes(op: ScalarOp) -> bool {
    use ScalarOp::*;
    matches!(op, Add | Mul | Min | Max | And | Or | Xor | BitAnd | BitOr | BitXor | Eq | Ne)
}

/// A float that is a normal power of two, of either sign.
fn power_of_two(l: Literal) -> bool {
    let value = l.to_f64().abs();
    let least = match l.dtype {
        Dtype::F16 => 2f64.powi(-14),
        Dtype::F64 => f64::MIN_POSITIVE,
        _ => f32::MIN_POSITIVE as f64,
    };
    l.dtype.is_float() && value.is_finite() && value >= least && value.to_bits() & ((1 << 52) - 1) == 0
}

/// Whether `wide` has every value of `narrow`.
fn holds(wide: Dtype, narrow: Dtype) -> bool {
    let digits = |d: Dtype| match d {
        Dtype::F64 => 53,
        Dtype::F32 => 24,
        Dtype::F16 => 11,
        Dtype::BF16 => 8,
        _ => 0,
    };
    match (wide.int_range(), narrow.int_range()) {
        (Some((a, b)), Some((c, d))) => a <= c && d <= b,
        (Some(_), None) => narrow == Dtype::Bool,
        // f16 holds 65504 at most: every integer type of 8 bits and less
        (None, Some(_)) if narrow.bits() < 16 || wide != Dtype::F16 => narrow.bits() <= digits(wide),
        (None, Some(_)) => false,
        (None, None) if narrow == Dtype::Bool => wide.is_float() && digits(wide) > 0,
        (None, None) => {
            matches!((wide, narrow), (Dtype::F32, Dtype::F16 | Dtype::BF16) | (Dtype::F64, Dtype::F32 | Dtype::F16 | Dtype::BF16))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::scalar::text::print_body;

    fn short(text: &str, params: &[Dtype]) -> String {
        print_body(&simplify(&ir::scalar::body(text).expect(text), params))
    }

    #[test]
    fn bodies_get_shorter() {
        let f = [Dtype::F32; 3];
        for (long, expected, params) in [
            ("{ t0 = add(a, 0.0); mul(t0, 1.0) }", "{ a }", 1),
            ("{ t0 = sub(a, 3.0); t1 = neg(t0); neg(t1) }", "{ add(a, -3.0) }", 1),
            ("{ t0 = max(a, 0.0); t1 = min(t0, 6.0); max(t1, -1.0) }", "{ t0 = max(a, 0.0); min(t0, 6.0) }", 1),
            ("{ t0 = max(a, 0.0); max(t0, 0.0) }", "{ max(a, 0.0) }", 1),
            ("{ t0 = sigmoid(a); max(t0, 0.0) }", "{ sigmoid(a) }", 1),
            ("{ div(a, 4.0) }", "{ mul(a, 0.25) }", 1),
            ("{ div(a, 3.0) }", "{ div(a, 3.0) }", 1),
            ("{ t0 = neg(a); t1 = exp(t0); t2 = add(1.0, t1); div(1.0, t2) }", "{ sigmoid(a) }", 1),
            ("{ t0 = mul(a, b); t1 = mul(b, a); add(t0, t1) }", "{ t0 = mul(a, b); add(t0, t0) }", 2),
            ("{ pow(a, 2.0) }", "{ mul(a, a) }", 1),
            ("{ t0 = cast.f64(a); cast.f32(t0) }", "{ a }", 1),
            ("{ t0 = cast.i32(a); cast.f32(t0) }", "{ t0 = cast.i32(a); cast.f32(t0) }", 1),
            ("{ t0 = mul(2.0, 3.0); add(a, t0) }", "{ add(a, 6.0) }", 1),
            ("{ t0 = mul(a, 3.0); mul(t0, 5.0) }", "{ t0 = mul(a, 3.0); mul(t0, 5.0) }", 1),
            ("{ t0 = lt(a, b); t1 = not(t0); select(t1, a, b) }", "{ t0 = lt(a, b); select(t0, b, a) }", 2),
        ] {
            assert_eq!(short(long, &f[..params]), expected, "{long}");
        }
        assert_eq!(short("{ t0 = add(a, 3:i32); sub(t0, 3:i32) }", &[Dtype::I32]), "{ a }");
        assert_eq!(short("{ t0 = cast.i32(a); cast.i64(t0) }", &[Dtype::U8]), "{ cast.i64(a) }");
        assert_eq!(short("{ t0 = cast.f32(a); cast.u32(t0) }", &[Dtype::I8]), "{ t0 = cast.f32(a); cast.u32(t0) }");
        assert_eq!(short("{ t0 = cast.f32(a); cast.i16(t0) }", &[Dtype::I8]), "{ cast.i16(a) }");
        assert_eq!(short("{ t0 = cast.i8(a); cast.i64(t0) }", &[Dtype::U8]), "{ t0 = cast.i8(a); cast.i64(t0) }");
    }
}
