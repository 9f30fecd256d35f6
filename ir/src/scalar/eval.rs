//! What the scalar language means. A body is compiled once to a list of columnwise steps and then run over
//! columns of many elements, so that the oracle evaluates whole tensors without looking at a term per
//! element. Transcendental functions are computed in f64 and rounded to the type; a type that is smaller
//! than f32 rounds after every term. Tensors, shapes and broadcasting are not known here.

use super::lanes::{Lanes, View};
use super::{Arg, Body, Class, Literal, ScalarOp};
use crate::tensor::{Dtype, Tensor};

/// The value of a body for one value of each parameter. The body fits the parameters: it was verified.
pub fn eval(body: &Body, params: &[Literal]) -> Literal {
    let dtypes: Vec<Dtype> = params.iter().map(|l| l.dtype).collect();
    let mut routine = Routine::new(body, &dtypes).expect("the body was verified");
    let columns: Vec<Lanes> = params.iter().map(|&l| column(l, 1)).collect();
    let views: Vec<View> = columns.iter().map(|c| c.view(0..1)).collect();
    let mut bytes = Vec::new();
    let dtype = routine.dtype();
    routine.run(&views, 1).store(dtype, &mut bytes);
    Literal::from_bytes(dtype, &bytes)
}

/// A literal repeated.
fn column(literal: Literal, len: usize) -> Lanes {
    Lanes::of(&Tensor::splat(literal.dtype, &[len], &literal.to_bytes()))
}

/// A body made ready for columns of given types.
pub struct Routine {
    steps: Vec<Step>,
    /// Literals first, then one for each step.
    columns: Vec<Lanes>,
    literals: usize,
    result: Slot,
    dtype: Dtype,
}

#[derive(Clone, Copy)]
enum Slot {
    Param(usize),
    Column(usize),
}

struct Step {
    op: ScalarOp,
    args: Vec<Slot>,
    /// The type of the first argument and of the result.
    from: Dtype,
    to: Dtype,
}

impl Routine {
    /// The most elements that one `run` takes.
    pub const MOST: usize = 1024;

    /// Fault: why the body does not fit parameters of these types.
    pub fn new(body: &Body, params: &[Dtype]) -> Result<Routine, String> {
        let types = body.types(params)?;
        let dtype = body.result_type(params)?;
        let args = body.terms.iter().flat_map(|t| &t.args).chain([&body.result]);
        let mut literals: Vec<Literal> = args.filter_map(|a| if let Arg::Literal(l) = a { Some(*l) } else { None }).collect();
        literals.sort();
        literals.dedup();
        let slot = |arg: &Arg| match *arg {
            Arg::Param(i) => Slot::Param(i as usize),
            Arg::Term(i) => Slot::Column(literals.len() + i as usize),
            Arg::Literal(l) => Slot::Column(literals.binary_search(&l).expect("every literal was collected")),
        };
        let type_of = |arg: &Arg| match *arg {
            Arg::Param(i) => params[i as usize],
            Arg::Term(i) => types[i as usize],
            Arg::Literal(l) => l.dtype,
        };
        let step = |(term, &to): (&super::Term, &Dtype)| Step {
            op: term.op,
            args: term.args.iter().map(slot).collect(),
            from: type_of(&term.args[0]),
            to,
        };
        let steps = body.terms.iter().zip(&types).map(step).collect();
        let made = types.iter().map(|&d| Lanes::new(d, Routine::MOST));
        let columns = literals.iter().map(|&l| column(l, Routine::MOST)).chain(made).collect();
        Ok(Routine { steps, columns, literals: literals.len(), result: slot(&body.result), dtype })
    }

    /// The type of the result.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The results for `len` elements of every parameter, at most [`Routine::MOST`].
    pub fn run<'a>(&'a mut self, params: &[View<'a>], len: usize) -> View<'a> {
        for (i, step) in self.steps.iter().enumerate() {
            let (before, after) = self.columns.split_at_mut(self.literals + i);
            let arg = |k: usize| match step.args[k] {
                Slot::Param(p) => params[p],
                Slot::Column(c) => before[c].view(0..len),
            };
            let out = &mut after[0];
            match *step.args {
                [_] => one(step, arg(0), out),
                [_, _] => two(step, arg(0), arg(1), out),
                _ => three(step, arg(0), arg(1), arg(2), out),
            }
            out.settle(step.to, len);
        }
        match self.result {
            Slot::Param(p) => params[p],
            Slot::Column(c) => self.columns[c].view(0..len),
        }
    }
}

/// Arithmetic that all numbers have. Integers wrap; the smaller and the larger are NaN if either is.
pub(crate) trait Number: Copy + PartialOrd {
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    fn sign(self) -> Self;
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    fn rem(self, b: Self) -> Self;
    fn modulo(self, b: Self) -> Self;
    fn pow(self, b: Self) -> Self;
    fn min(self, b: Self) -> Self;
    fn max(self, b: Self) -> Self;
}

macro_rules! float_number {
    ($t:ident) => {
        impl Number for $t {
            fn neg(self) -> $t {
                -self
            }
            fn abs(self) -> $t {
                $t::abs(self)
            }
            fn sign(self) -> $t {
                if self > 0.0 {
                    1.0
                } else if self < 0.0 {
                    -1.0
                } else {
                    // +0 for both zeros, NaN for NaN
                    self + 0.0
                }
            }
            fn add(self, b: $t) -> $t {
                self + b
            }
            fn sub(self, b: $t) -> $t {
                self - b
            }
            fn mul(self, b: $t) -> $t {
                self * b
            }
            fn div(self, b: $t) -> $t {
                self / b
            }
            fn rem(self, b: $t) -> $t {
                self % b
            }
            fn modulo(self, b: $t) -> $t {
                let r = self % b;
                if r == 0.0 {
                    (0.0 as $t).copysign(b)
                } else if (r < 0.0) != (b < 0.0) {
                    r + b
                } else {
                    r
                }
            }
            fn pow(self, b: $t) -> $t {
                (self as f64).powf(b as f64) as $t
            }
            fn min(self, b: $t) -> $t {
                if self < b || (self == b && self.is_sign_negative()) || self.is_nan() { self } else { b }
            }
            fn max(self, b: $t) -> $t {
                if self > b || (self == b && b.is_sign_negative()) || self.is_nan() { self } else { b }
            }
        }
    };
}
float_number!(f32);
float_number!(f64);

macro_rules! int_number {
    ($t:ident, $neg:expr, $abs:expr, $sign:expr, $modulo:expr, $inverse:expr) => {
        impl Number for $t {
            fn neg(self) -> $t {
                $neg(self)
            }
            fn abs(self) -> $t {
                $abs(self)
            }
            fn sign(self) -> $t {
                $sign(self)
            }
            fn add(self, b: $t) -> $t {
                self.wrapping_add(b)
            }
            fn sub(self, b: $t) -> $t {
                self.wrapping_sub(b)
            }
            fn mul(self, b: $t) -> $t {
                self.wrapping_mul(b)
            }
            fn div(self, b: $t) -> $t {
                if b == 0 { 0 } else { self.wrapping_div(b) }
            }
            fn rem(self, b: $t) -> $t {
                if b == 0 { 0 } else { self.wrapping_rem(b) }
            }
            fn modulo(self, b: $t) -> $t {
                if b == 0 { 0 } else { $modulo(self, b) }
            }
            fn pow(self, b: $t) -> $t {
                let (mut base, mut left, mut out) = (self, b, 1 as $t);
                #[allow(unused_comparisons)]
                if left < 0 {
                    // 1 / a^-b truncated: only 1 and -1 leave something
                    let inverse: fn($t) -> $t = $inverse;
                    (base, left) = (inverse(base), left & 1);
                    if base == 0 {
                        return 0;
                    }
                }
                while left > 0 {
                    if left & 1 == 1 {
                        out = out.wrapping_mul(base);
                    }
                    base = base.wrapping_mul(base);
                    left >>= 1;
                }
                out
            }
            fn min(self, b: $t) -> $t {
                Ord::min(self, b)
            }
            fn max(self, b: $t) -> $t {
                Ord::max(self, b)
            }
        }
    };
}
int_number!(
    i64,
    i64::wrapping_neg,
    i64::wrapping_abs,
    i64::signum,
    |a: i64, b: i64| {
        let r = a.wrapping_rem(b);
        if r != 0 && (r < 0) != (b < 0) { r + b } else { r }
    },
    |a| if a == 1 || a == -1 { a } else { 0 }
);
int_number!(u64, u64::wrapping_neg, |a| a, |a: u64| Ord::min(a, 1), |a: u64, b: u64| a % b, |a| a);

fn each1<A: Copy, B>(a: &[A], out: &mut [B], f: impl Fn(A) -> B) {
    out.iter_mut().zip(a).for_each(|(o, &a)| *o = f(a));
}

fn each2<A: Copy, B>(a: &[A], b: &[A], out: &mut [B], f: impl Fn(A, A) -> B) {
    out.iter_mut().zip(a).zip(b).for_each(|((o, &a), &b)| *o = f(a, b));
}

/// Columns of other kinds than the operation's cannot meet: the body was checked.
macro_rules! mixed {
    ($step:expr) => {
        unreachable!("{} over columns of two kinds", $step.op.name())
    };
}

fn one(step: &Step, a: View, out: &mut Lanes) {
    match step.op.class() {
        Class::Number => match (a, out) {
            (View::F32(a), Lanes::F32(out)) => number1(step.op, a, out),
            (View::F64(a), Lanes::F64(out)) => number1(step.op, a, out),
            (View::I64(a), Lanes::I64(out)) => number1(step.op, a, out),
            (View::U64(a), Lanes::U64(out)) => number1(step.op, a, out),
            _ => mixed!(step),
        },
        Class::Float => {
            let f = float1(step.op);
            match (a, out) {
                (View::F32(a), Lanes::F32(out)) => each1(a, out, |x| f(x as f64) as f32),
                (View::F64(a), Lanes::F64(out)) => each1(a, out, f),
                _ => mixed!(step),
            }
        }
        Class::Integer => match (a, out) {
            (View::I64(a), Lanes::I64(out)) => each1(a, out, |x| !x),
            (View::U64(a), Lanes::U64(out)) => each1(a, out, |x| !x),
            _ => mixed!(step),
        },
        Class::Logic => match (a, out) {
            (View::I64(a), Lanes::I64(out)) => each1(a, out, |x| x ^ 1),
            _ => mixed!(step),
        },
        Class::Test => {
            let nan = step.op == ScalarOp::IsNan;
            match (a, out) {
                (View::F32(a), Lanes::I64(out)) => each1(a, out, |x| i64::from(if nan { x.is_nan() } else { x.is_infinite() })),
                (View::F64(a), Lanes::I64(out)) => each1(a, out, |x| i64::from(if nan { x.is_nan() } else { x.is_infinite() })),
                _ => mixed!(step),
            }
        }
        Class::Convert if matches!(step.op, ScalarOp::Bits(_)) => bits(step, a, out),
        Class::Convert => cast(step, a, out),
        Class::Compare | Class::Select => unreachable!("{} takes more than one operand", step.op.name()),
    }
}

fn number1<T: Number>(op: ScalarOp, a: &[T], out: &mut [T]) {
    match op {
        ScalarOp::Neg => each1(a, out, T::neg),
        ScalarOp::Abs => each1(a, out, T::abs),
        ScalarOp::Sign => each1(a, out, T::sign),
        op => unreachable!("{} takes more than one operand", op.name()),
    }
}

fn number2<T: Number>(op: ScalarOp, a: &[T], b: &[T], out: &mut [T]) {
    match op {
        ScalarOp::Add => each2(a, b, out, T::add),
        ScalarOp::Sub => each2(a, b, out, T::sub),
        ScalarOp::Mul => each2(a, b, out, T::mul),
        ScalarOp::Div => each2(a, b, out, T::div),
        ScalarOp::Rem => each2(a, b, out, T::rem),
        ScalarOp::Mod => each2(a, b, out, T::modulo),
        ScalarOp::Min => each2(a, b, out, T::min),
        ScalarOp::Max => each2(a, b, out, T::max),
        ScalarOp::Pow => each2(a, b, out, T::pow),
        op => unreachable!("{} does not take two numbers", op.name()),
    }
}

fn two(step: &Step, a: View, b: View, out: &mut Lanes) {
    match step.op.class() {
        Class::Number => match (a, b, out) {
            (View::F32(a), View::F32(b), Lanes::F32(out)) => number2(step.op, a, b, out),
            (View::F64(a), View::F64(b), Lanes::F64(out)) => number2(step.op, a, b, out),
            (View::I64(a), View::I64(b), Lanes::I64(out)) => number2(step.op, a, b, out),
            (View::U64(a), View::U64(b), Lanes::U64(out)) => number2(step.op, a, b, out),
            _ => mixed!(step),
        },
        Class::Integer => match (a, b, out) {
            (View::I64(a), View::I64(b), Lanes::I64(out)) => {
                let width = step.to.bits() as i64;
                match step.op {
                    ScalarOp::BitAnd => each2(a, b, out, |x, y| x & y),
                    ScalarOp::BitOr => each2(a, b, out, |x, y| x | y),
                    ScalarOp::BitXor => each2(a, b, out, |x, y| x ^ y),
                    ScalarOp::Shl => each2(a, b, out, |x, y| if (0..width).contains(&y) { x << y } else { 0 }),
                    // a lane carries its sign, so 63 stands for any larger shift
                    _ => each2(a, b, out, |x, y| x >> if (0..width).contains(&y) { y } else { 63 }),
                }
            }
            (View::U64(a), View::U64(b), Lanes::U64(out)) => match step.op {
                ScalarOp::BitAnd => each2(a, b, out, |x, y| x & y),
                ScalarOp::BitOr => each2(a, b, out, |x, y| x | y),
                ScalarOp::BitXor => each2(a, b, out, |x, y| x ^ y),
                ScalarOp::Shl => each2(a, b, out, |x, y| if y < 64 { x << y } else { 0 }),
                _ => each2(a, b, out, |x, y| if y < 64 { x >> y } else { 0 }),
            },
            _ => mixed!(step),
        },
        Class::Logic => match (a, b, out) {
            (View::I64(a), View::I64(b), Lanes::I64(out)) => match step.op {
                ScalarOp::And => each2(a, b, out, |x, y| x & y),
                ScalarOp::Or => each2(a, b, out, |x, y| x | y),
                _ => each2(a, b, out, |x, y| x ^ y),
            },
            _ => mixed!(step),
        },
        Class::Compare => match (a, b, out) {
            (View::F32(a), View::F32(b), Lanes::I64(out)) => compare(step.op, a, b, out),
            (View::F64(a), View::F64(b), Lanes::I64(out)) => compare(step.op, a, b, out),
            (View::I64(a), View::I64(b), Lanes::I64(out)) => compare(step.op, a, b, out),
            (View::U64(a), View::U64(b), Lanes::I64(out)) => compare(step.op, a, b, out),
            _ => mixed!(step),
        },
        Class::Float | Class::Test | Class::Select | Class::Convert => unreachable!("{} does not take two operands", step.op.name()),
    }
}

fn compare<T: PartialOrd + Copy>(op: ScalarOp, a: &[T], b: &[T], out: &mut [i64]) {
    match op {
        ScalarOp::Eq => each2(a, b, out, |x, y| i64::from(x == y)),
        ScalarOp::Ne => each2(a, b, out, |x, y| i64::from(x != y)),
        ScalarOp::Lt => each2(a, b, out, |x, y| i64::from(x < y)),
        ScalarOp::Le => each2(a, b, out, |x, y| i64::from(x <= y)),
        ScalarOp::Gt => each2(a, b, out, |x, y| i64::from(x > y)),
        _ => each2(a, b, out, |x, y| i64::from(x >= y)),
    }
}

fn three(step: &Step, a: View, b: View, c: View, out: &mut Lanes) {
    fn pick<T: Copy>(a: &[i64], b: &[T], c: &[T], out: &mut [T]) {
        out.iter_mut().zip(a).zip(b).zip(c).for_each(|(((o, &a), &b), &c)| *o = if a != 0 { b } else { c });
    }
    match (a, b, c, out) {
        (View::F32(a), View::F32(b), View::F32(c), Lanes::F32(out)) => {
            out.iter_mut().zip(a).zip(b).zip(c).for_each(|(((o, a), b), c)| *o = a.mul_add(*b, *c));
        }
        (View::F64(a), View::F64(b), View::F64(c), Lanes::F64(out)) => {
            out.iter_mut().zip(a).zip(b).zip(c).for_each(|(((o, a), b), c)| *o = a.mul_add(*b, *c));
        }
        (View::I64(a), View::F32(b), View::F32(c), Lanes::F32(out)) => pick(a, b, c, out),
        (View::I64(a), View::F64(b), View::F64(c), Lanes::F64(out)) => pick(a, b, c, out),
        (View::I64(a), View::I64(b), View::I64(c), Lanes::I64(out)) => pick(a, b, c, out),
        (View::I64(a), View::U64(b), View::U64(c), Lanes::U64(out)) => pick(a, b, c, out),
        _ => mixed!(step),
    }
}

/// The function of one float that an operation is.
fn float1(op: ScalarOp) -> fn(f64) -> f64 {
    match op {
        ScalarOp::Sqrt => f64::sqrt,
        ScalarOp::Floor => f64::floor,
        ScalarOp::Ceil => f64::ceil,
        ScalarOp::Trunc => f64::trunc,
        ScalarOp::Round => f64::round_ties_even,
        ScalarOp::Exp => f64::exp,
        ScalarOp::Log => f64::ln,
        ScalarOp::Tanh => f64::tanh,
        ScalarOp::Erf => erf,
        ScalarOp::Sigmoid => |x| 1.0 / (1.0 + (-x).exp()),
        ScalarOp::Sin => f64::sin,
        ScalarOp::Cos => f64::cos,
        ScalarOp::Tan => f64::tan,
        ScalarOp::Asin => f64::asin,
        ScalarOp::Acos => f64::acos,
        ScalarOp::Atan => f64::atan,
        ScalarOp::Sinh => f64::sinh,
        ScalarOp::Cosh => f64::cosh,
        ScalarOp::Asinh => f64::asinh,
        ScalarOp::Acosh => f64::acosh,
        ScalarOp::Atanh => f64::atanh,
        op => unreachable!("{} is no function of one float", op.name()),
    }
}

fn horner(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().fold(0.0, |sum, c| sum * x + c)
}

/// The error function, to two units in the last place: below 1 `x P(x²)`, then `1 - exp(-x²) Q((x - 3) / (x + 3))`,
/// both fitted by Chebyshev interpolation in forty digits.
pub fn erf(x: f64) -> f64 {
    const P: [f64; 13] = [
        5.957_176_147_748_911e-11,
        -1.137_284_885_679_167_4e-9,
        1.465_977_527_404_743_6e-8,
        -1.635_031_270_105_469_5e-7,
        1.646_100_048_412_136_8e-6,
        -1.492_559_526_683_118_2e-5,
        1.205_533_111_164_271e-4,
        -8.548_326_980_833_79e-4,
        5.223_977_624_818_014_5e-3,
        -2.686_617_064_507_679_2e-2,
        1.128_379_167_095_487_9e-1,
        -3.761_263_890_318_375e-1,
        std::f64::consts::FRAC_2_SQRT_PI,
    ];
    const Q: [f64; 20] = [
        1.007_216_700_505_133_8e-8,
        4.678_647_880_859_019e-8,
        2.441_914_408_170_168e-8,
        -2.357_788_745_167_421_1e-7,
        -2.932_539_939_512_112e-7,
        1.252_775_390_617_401_4e-6,
        2.119_965_615_030_371e-6,
        -7.978_154_535_520_423e-6,
        -1.286_049_906_883_153_8e-5,
        6.405_655_476_830_958e-5,
        4.525_529_903_807_415_6e-5,
        -5.970_619_483_056_264e-4,
        7.077_464_388_833_582e-4,
        4.269_136_332_825_739e-3,
        -2.439_249_931_867_06e-2,
        7.166_583_719_797_849e-2,
        -1.501_159_365_007_772_3e-1,
        2.456_038_017_123_308_7e-1,
        -3.262_335_600_430_372e-1,
        1.790_011_511_813_899_6e-1,
    ];
    let size = x.abs();
    if size < 1.0 {
        x * horner(&P, x * x)
    } else if size < 6.0 {
        (1.0 - (-x * x).exp() * horner(&Q, (size - 3.0) / (size + 3.0))).copysign(x)
    } else if x.is_nan() {
        x
    } else {
        1f64.copysign(x)
    }
}

/// Conversion by value. Float to integer truncates, saturates and gives 0 for NaN; the types below eight bits take
/// the low bits instead, as ONNX's own cases do.
fn cast(step: &Step, a: View, out: &mut Lanes) {
    let to = step.to;
    if to == Dtype::Bool {
        let Lanes::I64(out) = out else { mixed!(step) };
        return match a {
            View::F32(a) => each1(a, out, |x| i64::from(x != 0.0)),
            View::F64(a) => each1(a, out, |x| i64::from(x != 0.0)),
            View::I64(a) => each1(a, out, |x| i64::from(x != 0)),
            View::U64(a) => each1(a, out, |x| i64::from(x != 0)),
        };
    }
    let (low, high) = match to.int_range() {
        Some((low, high)) if to.bits() >= 8 && to != Dtype::U64 => (low as i64, high as i64),
        _ => (i64::MIN, i64::MAX),
    };
    match (a, out) {
        (View::F32(a), Lanes::F32(out)) => out[..a.len()].copy_from_slice(a),
        (View::F32(a), Lanes::F64(out)) => each1(a, out, f64::from),
        (View::F32(a), Lanes::I64(out)) => each1(a, out, |x| (x as i64).clamp(low, high)),
        (View::F32(a), Lanes::U64(out)) => each1(a, out, |x| x as u64),
        (View::F64(a), Lanes::F32(out)) => each1(a, out, |x| x as f32),
        (View::F64(a), Lanes::F64(out)) => out[..a.len()].copy_from_slice(a),
        (View::F64(a), Lanes::I64(out)) => each1(a, out, |x| (x as i64).clamp(low, high)),
        (View::F64(a), Lanes::U64(out)) => each1(a, out, |x| x as u64),
        (View::I64(a), Lanes::F32(out)) => each1(a, out, |x| x as f32),
        (View::I64(a), Lanes::F64(out)) => each1(a, out, |x| x as f64),
        (View::I64(a), Lanes::I64(out)) => out[..a.len()].copy_from_slice(a),
        (View::I64(a), Lanes::U64(out)) => each1(a, out, |x| x as u64),
        (View::U64(a), Lanes::F32(out)) => each1(a, out, |x| x as f32),
        (View::U64(a), Lanes::F64(out)) => each1(a, out, |x| x as f64),
        (View::U64(a), Lanes::I64(out)) => each1(a, out, |x| x as i64),
        (View::U64(a), Lanes::U64(out)) => out[..a.len()].copy_from_slice(a),
    }
}

/// The same bits under another type: out to bytes and in again.
fn bits(step: &Step, a: View, out: &mut Lanes) {
    let mut bytes = Vec::with_capacity(a.len() * step.from.bytes());
    a.store(step.from, &mut bytes);
    let read = Lanes::of(&Tensor::dense(step.to, &[a.len()], bytes));
    match (read, out) {
        (Lanes::F32(v), Lanes::F32(out)) => out[..v.len()].copy_from_slice(&v),
        (Lanes::F64(v), Lanes::F64(out)) => out[..v.len()].copy_from_slice(&v),
        (Lanes::I64(v), Lanes::I64(out)) => out[..v.len()].copy_from_slice(&v),
        (Lanes::U64(v), Lanes::U64(out)) => out[..v.len()].copy_from_slice(&v),
        _ => mixed!(step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::body;

    fn run(text: &str, params: &[Literal]) -> Literal {
        eval(&body(text).expect(text), params)
    }
    fn float(text: &str, params: &[f32]) -> f32 {
        f32::from_bits(run(text, &params.iter().map(|&p| Literal::f32(p)).collect::<Vec<_>>()).bits as u32)
    }
    fn int(text: &str, dtype: Dtype, params: &[i64]) -> i64 {
        run(text, &params.iter().map(|&p| Literal::int(dtype, p)).collect::<Vec<_>>()).to_i64()
    }

    #[test]
    fn a_list_shares_its_terms() {
        assert_eq!(float("{ t0 = add(a, b); t1 = mul(t0, t0); sub(t1, t0) }", &[1.0, 2.0]), 6.0);
        assert_eq!(float("{ t0 = exp(a); b }", &[1.0, 2.0]), 2.0);
        assert_eq!(float("1 { 0.5 }", &[3.0]), 0.5);
    }

    #[test]
    fn minimum_and_maximum_propagate_nan_and_order_zeros() {
        for (a, b) in [(f32::NAN, 1.0), (1.0, f32::NAN)] {
            assert!(float("{ min(a, b) }", &[a, b]).is_nan() && float("{ max(a, b) }", &[a, b]).is_nan());
        }
        for (a, b) in [(0.0f32, -0.0f32), (-0.0, 0.0)] {
            assert!(float("{ min(a, b) }", &[a, b]).is_sign_negative());
            assert!(float("{ max(a, b) }", &[a, b]).is_sign_positive());
        }
        assert_eq!(run("{ max(a, b) }", &[Literal::bool(false), Literal::bool(true)]), Literal::bool(true));
    }

    #[test]
    fn remainders_follow_their_signs() {
        assert_eq!([float("{ rem(a, b) }", &[-7.5, 2.0]), float("{ mod(a, b) }", &[-7.5, 2.0])], [-1.5, 0.5]);
        assert_eq!([float("{ mod(a, b) }", &[7.5, -2.0]), float("{ mod(a, b) }", &[6.0, -2.0])], [-0.5, 0.0]);
        assert_eq!([int("{ rem(a, b) }", Dtype::I32, &[-7, 3]), int("{ mod(a, b) }", Dtype::I32, &[-7, 3])], [-1, 2]);
        assert_eq!([int("{ rem(a, b) }", Dtype::I32, &[7, 0]), int("{ mod(a, b) }", Dtype::U64, &[7, 0])], [0, 0]);
    }

    #[test]
    fn integers_wrap_and_never_trap() {
        assert_eq!(int("{ add(a, b) }", Dtype::I8, &[127, 1]), -128);
        assert_eq!(int("{ div(a, b) }", Dtype::I8, &[-128, -1]), -128);
        assert_eq!(int("{ div(a, b) }", Dtype::I64, &[i64::MIN, -1]), i64::MIN);
        assert_eq!([int("{ div(a, b) }", Dtype::I32, &[-7, 2]), int("{ div(a, b) }", Dtype::U8, &[7, 0])], [-3, 0]);
        assert_eq!([int("{ neg(a) }", Dtype::U8, &[5]), int("{ abs(a) }", Dtype::I16, &[-32768])], [251, -32768]);
        assert_eq!(int("{ mul(a, b) }", Dtype::U64, &[-1, 2]), -2);
        assert_eq!([int("{ pow(a, b) }", Dtype::I32, &[3, 4]), int("{ pow(a, b) }", Dtype::I32, &[2, 33])], [81, 0]);
        assert_eq!([-1, 1, 2, 0].map(|a| int("{ pow(a, b) }", Dtype::I32, &[a, -3])), [-1, 1, 0, 0]);
    }

    #[test]
    fn shifts_by_the_width_or_more_empty_the_value() {
        assert_eq!([1, 7, 8, 200].map(|b| int("{ shl(a, b) }", Dtype::U8, &[255, b])), [254, 128, 0, 0]);
        assert_eq!([1, 7, 8, 200].map(|b| int("{ shr(a, b) }", Dtype::U8, &[255, b])), [127, 1, 0, 0]);
        assert_eq!([1, 8, -1].map(|b| int("{ shr(a, b) }", Dtype::I8, &[-128, b])), [-64, -1, -1]);
        assert_eq!(int("{ shr(a, b) }", Dtype::U64, &[-1, 63]), 1);
        assert_eq!(int("{ bit_not(a) }", Dtype::U16, &[1]), 0xfffe);
    }

    #[test]
    fn casts_saturate_truncate_and_round() {
        for (value, to, want) in [
            (300.7, Dtype::U8, 255),
            (-1.0, Dtype::U8, 0),
            (-3.9, Dtype::I32, -3),
            (f32::NAN, Dtype::I8, 0),
            (1e20, Dtype::I64, i64::MAX),
            (f32::INFINITY, Dtype::U32, u32::MAX as i64),
            // the types below eight bits keep the low bits
            (-9.0, Dtype::I4, 7),
            (-9.0, Dtype::U4, 7),
            (3.0, Dtype::I2, -1),
            (0.5, Dtype::Bool, 1),
        ] {
            let body = Body::of(ScalarOp::Cast(to));
            assert_eq!(eval(&body, &[Literal::f32(value)]).to_i64(), want, "{value} to {}", to.name());
        }
        assert_eq!(run("{ cast.u8(a) }", &[Literal::int(Dtype::I64, 257)]).to_i64(), 1);
        assert_eq!(run("{ cast.f32(a) }", &[Literal::int(Dtype::U64, -1)]).to_f64(), 18446744073709551616.0);
        // one rounding, not two: through f64 this would become 2^53 + 2^30
        assert_eq!(
            run("{ cast.f32(a) }", &[Literal::int(Dtype::I64, (1 << 53) + (1 << 29) + 1)]).to_f64(),
            ((1i64 << 53) + (1 << 30)) as f64
        );
        assert_eq!(run("{ bits.i32(a) }", &[Literal::f32(1.0)]).to_i64(), 0x3f80_0000);
        assert_eq!(run("{ bits.u8(a) }", &[Literal::bool(true)]).to_i64(), 1);
    }

    #[test]
    fn small_floats_round_after_every_term() {
        let half = |v| Literal::number(Dtype::F16, v);
        // 2048 + 1 is no half; the second sum starts from the rounded first
        assert_eq!(run("{ t0 = add(a, b); add(t0, b) }", &[half(2048.0), half(1.0)]).to_f64(), 2048.0);
        assert_eq!(run("{ mul(a, a) }", &[half(300.0)]).to_f64(), f64::INFINITY);
        assert_eq!(run("{ add(a, a) }", &[Literal::number(Dtype::F8E4M3, 448.0)]).to_f64(), 448.0);
    }

    #[test]
    fn comparisons_and_tests_know_nan() {
        let all = ["eq", "ne", "lt", "le", "gt", "ge"]
            .map(|op| run(&format!("{{ {op}(a, b) }}"), &[Literal::f32(1.0), Literal::f32(f32::NAN)]).bits);
        assert_eq!(all, [0, 1, 0, 0, 0, 0]);
        assert_eq!(run("{ lt(a, b) }", &[Literal::int(Dtype::U64, 1), Literal::int(Dtype::U64, -1)]).bits, 1);
        assert_eq!(run("{ t0 = is_inf(a); select(t0, 1:i32, 2:i32) }", &[Literal::f32(f32::NEG_INFINITY)]).to_i64(), 1);
        assert!(float("{ sign(a) }", &[f32::NAN]).is_nan());
        assert_eq!(float("{ sign(a) }", &[-0.0]).to_bits(), 0);
    }

    #[test]
    fn the_error_function_is_right_to_two_units() {
        // 40 digits, rounded
        for (x, want) in [
            (0.0, 0.0),
            (0.1, 1.124_629_160_182_849e-1),
            (0.5, 5.204_998_778_130_465e-1),
            (0.999_999, 8.427_003_778_418_023e-1),
            (1.0, 8.427_007_929_497_149e-1),
            (1.5, 9.661_051_464_753_108e-1),
            (2.0, 9.953_222_650_189_527e-1),
            (3.5, 9.999_992_569_016_276e-1),
            (5.9, 9.999_999_999_999_999e-1),
            (9.0, 1.0),
        ] {
            assert!((erf(x) - want).abs() <= 2.0 * f64::EPSILON * want, "erf({x}) = {:e}, {want:e}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert!(erf(f64::NAN).is_nan() && erf(1e-300) > 0.0);
    }

    #[test]
    fn long_columns_run_in_one_go() {
        let values: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        let mut routine =
            Routine::new(&body("{ t0 = mul(a, 2.0); add(t0, b) }").expect("it is right"), &[Dtype::F32, Dtype::F32]).expect("it is right");
        let View::F32(out) = routine.run(&[View::F32(&values), View::F32(&values)], 1000) else { panic!("f32 in, f32 out") };
        assert!(out.iter().zip(&values).all(|(o, v)| *o == 3.0 * v));
    }
}
