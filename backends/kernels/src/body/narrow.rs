//! Bodies over narrow integers as bodies over lanes of 32 bits. A value of 8 or 16 bits is an i32 in its lane, a bool in
//! memory is 0 or 1; what an operation of the narrow type would have wrapped is wrapped by hand. Ranges of values are
//! followed through the body, so that nothing is wrapped, clamped or asked for NaN that cannot be it: what is left of a
//! requantization is a product, two bounds and a rounding. It knows no machine and no memory.

mod range;

use ir::Dtype;
use ir::scalar::{Arg, Body, Literal, ScalarOp, Term};
use range::Range;

/// Adding it to a float below 2^22 in magnitude leaves the nearest integer, halves to even, in the low bits.
const MAGIC: f32 = 12_582_912.0;
const SMALL: f64 = 2_097_152.0;

/// The type that a value of `dtype` has in a lane, if it has one.
pub fn lane(dtype: Dtype) -> Option<Dtype> {
    match dtype {
        Dtype::F32 => Some(Dtype::F32),
        Dtype::I32 | Dtype::U8 | Dtype::I8 | Dtype::U16 | Dtype::I16 | Dtype::Bool => Some(Dtype::I32),
        _ => None,
    }
}

fn is_narrow(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::U8 | Dtype::I8 | Dtype::U16 | Dtype::I16)
}

/// `body`, expanded to primitive terms, over lanes: parameters have the types that [`lane`] gives, and so has the result,
/// which fits its own type. `bounds[i]`: what parameter `i` is known to lie between, and then it is not NaN. `None` where a
/// type has no lane, or an operation on narrow integers no equal on wide ones.
pub fn widen(body: &Body, params: &[Dtype], bounds: &[Option<[f32; 2]>]) -> Option<Body> {
    let types = body.types(params).ok()?;
    if !params.iter().chain(&types).all(|&d| lane(d).is_some()) {
        return None;
    }
    let to_int = |(term, &ty): (&Term, &Dtype)| matches!(term.op, ScalarOp::Cast(_)) && ty == Dtype::I32;
    let plain = |d: &Dtype| matches!(d, Dtype::F32 | Dtype::I32);
    let known = params.iter().all(plain) && types.iter().all(|d| plain(d) || *d == Dtype::Bool);
    if known && body.result_type(params).is_ok_and(|d| plain(&d)) && !body.terms.iter().zip(&types).any(to_int) {
        return Some(body.clone());
    }
    let out = Body { params: body.params, terms: Vec::new(), result: body.result };
    let mut widen = Widen { params, bounds, out, ranges: Vec::new() };
    let mut placed: Vec<Arg> = Vec::with_capacity(types.len());
    for (term, &ty) in body.terms.iter().zip(&types) {
        let of = |arg: &Arg| match *arg {
            Arg::Param(i) => params[i as usize],
            Arg::Term(i) => types[i as usize],
            Arg::Literal(l) => l.dtype,
        };
        let from: Vec<Dtype> = term.args.iter().map(of).collect();
        let args: Vec<Arg> = term.args.iter().map(|a| widen.bind(a, &placed)).collect::<Option<_>>()?;
        placed.push(widen.term(term.op, &from, &args, ty)?);
    }
    let result = widen.bind(&body.result, &placed)?;
    widen.out.result = if body.result_type(params) == Ok(Dtype::Bool) { widen.pick(result, Dtype::I32) } else { result };
    Some(widen.out.without_dead())
}

struct Widen<'a> {
    params: &'a [Dtype],
    bounds: &'a [Option<[f32; 2]>],
    out: Body,
    /// Of each term in `out`.
    ranges: Vec<Range>,
}

fn int(value: i64) -> Arg {
    Arg::Literal(Literal::int(Dtype::I32, value))
}

fn float(value: f32) -> Arg {
    Arg::Literal(Literal::f32(value))
}

impl Widen<'_> {
    /// An operand of the body as one over lanes.
    fn bind(&mut self, arg: &Arg, placed: &[Arg]) -> Option<Arg> {
        Some(match *arg {
            Arg::Param(i) if self.params[i as usize] == Dtype::Bool => self.push(ScalarOp::Ne, &[*arg, int(0)]),
            Arg::Param(_) => *arg,
            Arg::Term(i) => placed[i as usize],
            Arg::Literal(l) if is_narrow(l.dtype) => int(l.to_i64()),
            Arg::Literal(l) => lane(l.dtype).map(|_| *arg)?,
        })
    }

    fn dtype(&self, arg: &Arg) -> Dtype {
        match *arg {
            Arg::Param(i) => lane(self.params[i as usize]).expect("every parameter has a lane"),
            Arg::Term(i) => self.ranges[i as usize].dtype,
            Arg::Literal(l) => l.dtype,
        }
    }

    fn range(&self, arg: &Arg) -> Range {
        match *arg {
            Arg::Param(i) => {
                let all = Range::of(self.params[i as usize]);
                let known = self.bounds.get(i as usize).copied().flatten();
                known.map_or(all, |[low, high]| Range { low: low.into(), high: high.into(), nan: false, ..all })
            }
            Arg::Term(i) => self.ranges[i as usize],
            Arg::Literal(l) => Range::one(l),
        }
    }

    /// Appends a term, or finds it.
    fn push(&mut self, op: ScalarOp, args: &[Arg]) -> Arg {
        let ranges: Vec<Range> = args.iter().map(|a| self.range(a)).collect();
        self.push_in(op, args, Range::after(op, &ranges))
    }

    /// The same, where the range of the result is known better than from the term alone.
    fn push_in(&mut self, op: ScalarOp, args: &[Arg], range: Range) -> Arg {
        if let Some(i) = self.out.terms.iter().position(|t| t.op == op && t.args == args) {
            return Arg::Term(i as u16);
        }
        self.ranges.push(range);
        self.out.push(op, args)
    }

    fn term(&mut self, op: ScalarOp, from: &[Dtype], args: &[Arg], ty: Dtype) -> Option<Arg> {
        use ScalarOp::*;
        let (a, integer) = (args[0], from[0].is_int());
        Some(match op {
            Cast(to) => self.cast(a, from[0], to),
            Bits(to) if is_narrow(to) && is_narrow(from[0]) => self.wrap(a, to),
            Bits(to) if is_narrow(to) || is_narrow(from[0]) || to == Dtype::Bool || from[0] == Dtype::Bool => return None,
            Neg if integer => {
                let negative = self.push(Sub, &[int(0), a]);
                self.wrap(negative, ty)
            }
            Abs if integer => {
                let negative = self.push(Sub, &[int(0), a]);
                let largest = self.push(Max, &[a, negative]);
                self.wrap(largest, ty)
            }
            Min if ty == Dtype::Bool => self.push(And, args),
            Max if ty == Dtype::Bool => self.push(Or, args),
            Add | Sub if ty == Dtype::I32 => self.sum(op, args),
            Add | Sub | Mul | BitNot if integer => {
                let wide = self.push(op, args);
                self.wrap(wide, ty)
            }
            Shl | Shr if integer => {
                let Arg::Literal(by) = args[1] else { return None };
                if !(0..8 * ty.bytes() as i64).contains(&by.to_i64()) {
                    return None;
                }
                let wide = self.push(op, &[a, int(by.to_i64())]);
                self.wrap(wide, ty)
            }
            Min | Max if integer => self.bounded(op, args).unwrap_or_else(|| self.push(op, args)),
            // of bools as they are in a lane
            Eq | Ne if from[0] == Dtype::Bool => {
                let differ = self.push(Xor, args);
                if op == Ne { differ } else { self.push(Not, &[differ]) }
            }
            _ => self.push(op, args),
        })
    }

    /// A sum of i32s, which wraps: constants meet.
    fn sum(&mut self, op: ScalarOp, args: &[Arg]) -> Arg {
        let (a, b) = match (op, args[0], args[1]) {
            (ScalarOp::Add, a @ Arg::Literal(_), b) => (b, a),
            (_, a, b) => (a, b),
        };
        if let (Arg::Term(i), Arg::Literal(more)) = (a, b)
            && let Term { op: before @ (ScalarOp::Add | ScalarOp::Sub), args: inner } = self.out.terms[i as usize].clone()
            && let Arg::Literal(first) = inner[1]
        {
            let signed = |op: ScalarOp, l: Literal| if op == ScalarOp::Add { l.to_i64() } else { -l.to_i64() };
            let all = signed(before, first) + signed(op, more);
            let range = Range::after(op, &[self.range(&a), self.range(&b)]);
            return if all == 0 { inner[0] } else { self.push_in(ScalarOp::Add, &[inner[0], int(all)], range) };
        }
        match (op, b) {
            (ScalarOp::Add | ScalarOp::Sub, Arg::Literal(l)) if l.to_i64() == 0 => a,
            _ => self.push(op, &[a, b]),
        }
    }

    fn cast(&mut self, a: Arg, from: Dtype, to: Dtype) -> Arg {
        match (from, to) {
            (Dtype::Bool, Dtype::Bool) | (Dtype::F32, Dtype::F32) => a,
            (Dtype::Bool, _) => self.pick(a, lane(to).expect("every type has a lane")),
            (Dtype::F32, Dtype::Bool) => self.push(ScalarOp::Ne, &[a, float(0.0)]),
            (_, Dtype::Bool) => self.push(ScalarOp::Ne, &[a, int(0)]),
            (Dtype::F32, _) => self.integer(a, to),
            (_, Dtype::F32) => match a {
                Arg::Literal(l) => float(l.to_i64() as f32),
                _ => self.push(ScalarOp::Cast(Dtype::F32), &[a]),
            },
            (_, _) => self.wrap(a, to),
        }
    }

    /// 1 or 0 of `dtype`.
    fn pick(&mut self, condition: Arg, dtype: Dtype) -> Arg {
        let [one, zero] = if dtype == Dtype::F32 { [float(1.0), float(0.0)] } else { [int(1), int(0)] };
        self.push(ScalarOp::Select, &[condition, one, zero])
    }

    /// The low bits of an i32 as the integer of type `to` that they are.
    fn wrap(&mut self, a: Arg, to: Dtype) -> Arg {
        if self.range(&a).within(Range::of(to)) {
            return a;
        }
        let range = Range { dtype: Dtype::I32, ..Range::of(to) };
        match to {
            Dtype::U8 => self.push_in(ScalarOp::BitAnd, &[a, int(0xff)], range),
            Dtype::U16 => self.push_in(ScalarOp::BitAnd, &[a, int(0xffff)], range),
            _ => {
                let up = int(32 - 8 * to.bytes() as i64);
                let high = self.push(ScalarOp::Shl, &[a, up]);
                self.push_in(ScalarOp::Shr, &[high, up], range)
            }
        }
    }

    /// A float as an integer of type `to`: toward zero, what is too large the largest, NaN 0.
    fn integer(&mut self, a: Arg, to: Dtype) -> Arg {
        let (all, bounds) = (self.range(&a), Range::of(to));
        if to == Dtype::I32 && (all.nan || !all.within(Range { low: -SMALL, high: SMALL, ..all })) {
            return self.push(ScalarOp::Cast(Dtype::I32), &[a]);
        }
        let mut a = a;
        if all.nan {
            let is_nan = self.push(ScalarOp::IsNan, &[a]);
            let range = Range { nan: false, low: all.low.min(0.0), high: all.high.max(0.0), dtype: Dtype::F32 };
            a = self.push_in(ScalarOp::Select, &[is_nan, float(0.0), a], range);
        }
        if all.low.trunc() < bounds.low {
            a = self.push(ScalarOp::Max, &[a, float(bounds.low as f32)]);
        }
        if all.high.trunc() > bounds.high {
            a = self.push(ScalarOp::Min, &[a, float(bounds.high as f32)]);
        }
        self.small(a)
    }

    /// A float of small magnitude, not NaN, toward zero.
    fn small(&mut self, a: Arg) -> Arg {
        let range = Range { dtype: Dtype::I32, ..Range::after(ScalarOp::Trunc, &[self.range(&a)]) };
        if let Arg::Literal(l) = a {
            return int(l.to_f64() as i64);
        }
        if let Arg::Term(i) = a {
            let Term { op, args } = self.out.terms[i as usize].clone();
            match (op, args.as_slice()) {
                (ScalarOp::Round, [x]) => return self.nearest(*x, range),
                (ScalarOp::Cast(Dtype::F32), [x]) => return *x,
                (ScalarOp::Add | ScalarOp::Sub, [x, by @ Arg::Literal(l)])
                    if l.to_f64().fract() == 0.0 && self.integral(x) && self.is_small(x) && self.is_small(by) =>
                {
                    let whole = self.small(*x);
                    return self.sum(op, &[whole, int(l.to_f64() as i64)]);
                }
                _ => {}
            }
        }
        let whole = if self.integral(&a) { a } else { self.push(ScalarOp::Trunc, &[a]) };
        self.nearest(whole, range)
    }

    fn is_small(&self, a: &Arg) -> bool {
        let range = self.range(a);
        !range.nan && range.low.abs().max(range.high.abs()) <= SMALL
    }

    /// The nearest integer, halves to even.
    fn nearest(&mut self, a: Arg, range: Range) -> Arg {
        let sum = self.push(ScalarOp::Add, &[a, float(MAGIC)]);
        let bits = self.push(ScalarOp::Bits(Dtype::I32), &[sum]);
        self.push_in(ScalarOp::Add, &[bits, int(-i64::from(MAGIC.to_bits()))], range)
    }

    /// A constant bound of an integer that a float was rounded to, as a bound of the float: it has others, which this one meets.
    fn bounded(&mut self, op: ScalarOp, args: &[Arg]) -> Option<Arg> {
        let (Arg::Term(i), Arg::Literal(limit)) = (args[0], args[1]) else { return None };
        let term = |i: u16| self.out.terms[i as usize].clone();
        let magic = i64::from(MAGIC.to_bits());
        // as `nearest` made it
        let Term { op: ScalarOp::Add, args: shifted } = term(i) else { return None };
        let [Arg::Term(bits), Arg::Literal(by)] = shifted[..] else { return None };
        let Term { op: ScalarOp::Bits(Dtype::I32), args: sum } = term(bits) else { return None };
        let [Arg::Term(sum)] = sum[..] else { return None };
        let Term { op: ScalarOp::Add, args: rounded } = term(sum) else { return None };
        let [x @ Arg::Term(_), Arg::Literal(added)] = rounded[..] else { return None };
        let offset = by.to_i64() + magic;
        let limit = (limit.to_i64() - offset) as f64;
        if added != Literal::f32(MAGIC) || !self.is_small(&x) || limit.abs() > SMALL {
            return None;
        }
        let range = Range::after(op, &[self.range(&args[0]), self.range(&args[1])]);
        let x = self.clamped(op, x, limit as f32)?;
        let sum = self.push(ScalarOp::Add, &[x, float(MAGIC)]);
        let bits = self.push(ScalarOp::Bits(Dtype::I32), &[sum]);
        Some(self.push_in(ScalarOp::Add, &[bits, int(by.to_i64())], range))
    }

    /// `op`, Min or Max, of a float and a constant, where the float has such a bound already.
    fn clamped(&mut self, op: ScalarOp, x: Arg, limit: f32) -> Option<Arg> {
        let Arg::Term(i) = x else { return None };
        let Term { op: outer, args } = self.out.terms[i as usize].clone();
        let [inner, bound @ Arg::Literal(l)] = args[..] else { return None };
        let (l, max) = (l.to_f64() as f32, op == ScalarOp::Max);
        match outer {
            ScalarOp::Min | ScalarOp::Max if outer == op => {
                let nearer = if max { l.max(limit) } else { l.min(limit) };
                Some(self.push(op, &[inner, float(nearer)]))
            }
            // bounds from both sides that leave something between them may change places
            ScalarOp::Min | ScalarOp::Max if (limit <= l) == max => {
                let inner = self.clamped(op, inner, limit)?;
                Some(self.push(outer, &[inner, bound]))
            }
            _ => None,
        }
    }

    /// Whether a float has no fraction.
    fn integral(&self, a: &Arg) -> bool {
        match *a {
            Arg::Param(_) => false,
            Arg::Literal(l) => l.to_f64().fract() == 0.0,
            Arg::Term(i) => {
                let Term { op, args } = &self.out.terms[i as usize];
                match op {
                    ScalarOp::Round | ScalarOp::Floor | ScalarOp::Ceil | ScalarOp::Trunc => true,
                    ScalarOp::Cast(Dtype::F32) => self.dtype(&args[0]) == Dtype::I32,
                    ScalarOp::Min | ScalarOp::Max => args.iter().all(|a| self.integral(a)),
                    ScalarOp::Add | ScalarOp::Sub => args.iter().all(|a| self.integral(a) && self.is_small(a)),
                    _ => false,
                }
            }
        }
    }
}
