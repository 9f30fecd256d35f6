//! Every function against the same in f64, over a grid of all exponents and random bits: as a machine computes it
//! whose multiply-add rounds once, and as one whose rounds twice.

use super::expand;
use ir::Dtype;
use ir::scalar::{Arg, Body, Literal, ScalarOp, body, eval};

/// A body over f32 and i32 (or f64 and i64), term by term, with the rounding of a machine.
struct Machine {
    body: Body,
    types: Vec<Dtype>,
    params: Vec<Dtype>,
    fused: bool,
    made: Vec<u64>,
}

impl Machine {
    fn new(op: ScalarOp, dtype: Dtype, fused: bool) -> Machine {
        Machine::of(&Body::of(op), &vec![dtype; op.arity()], fused)
    }

    fn of(body: &Body, params: &[Dtype], fused: bool) -> Machine {
        let body = expand(body, params, fused);
        let types = body.types(params).expect("expanding keeps types");
        Machine { body, types, params: params.to_vec(), fused, made: Vec::new() }
    }

    fn run(&mut self, params: &[u64]) -> u64 {
        self.made.clear();
        for (i, term) in self.body.terms.iter().enumerate() {
            let mut args = [0u64; 3];
            for (slot, arg) in args.iter_mut().zip(&term.args) {
                *slot = self.value(arg, params);
            }
            let from = match term.args[0] {
                Arg::Param(p) => self.params[p as usize],
                Arg::Term(t) => self.types[t as usize],
                Arg::Literal(l) => l.dtype,
            };
            let value = match from {
                Dtype::F32 => self.single(term.op, args),
                Dtype::F64 => self.double(term.op, args),
                Dtype::I32 => integer(term.op, args.map(|a| a as i32 as i64), 32) & 0xffff_ffff,
                Dtype::I64 => integer(term.op, args.map(|a| a as i64), 64),
                Dtype::Bool => match term.op {
                    ScalarOp::Select => args[if args[0] != 0 { 1 } else { 2 }],
                    other => panic!("{} is not what expanding makes", other.name()),
                },
                other => panic!("{} is not what expanding makes", other.name()),
            };
            debug_assert!(self.types.len() > i);
            self.made.push(value);
        }
        self.value(&self.body.result, params)
    }

    fn value(&self, arg: &Arg, params: &[u64]) -> u64 {
        match *arg {
            Arg::Param(i) => params[i as usize],
            Arg::Term(i) => self.made[i as usize],
            Arg::Literal(l) => l.bits,
        }
    }

    fn single(&self, op: ScalarOp, args: [u64; 3]) -> u64 {
        let [a, b, c] = args.map(|a| f32::from_bits(a as u32));
        let value = match op {
            ScalarOp::MulAdd if self.fused => a.mul_add(b, c),
            ScalarOp::MulAdd => a * b + c,
            ScalarOp::Neg => -a,
            ScalarOp::Abs => a.abs(),
            ScalarOp::Add => a + b,
            ScalarOp::Sub => a - b,
            ScalarOp::Mul => a * b,
            ScalarOp::Div => a / b,
            ScalarOp::Sqrt => a.sqrt(),
            ScalarOp::Floor => a.floor(),
            ScalarOp::Min if a.is_nan() || b.is_nan() => f32::NAN,
            ScalarOp::Max if a.is_nan() || b.is_nan() => f32::NAN,
            ScalarOp::Min => a.min(b),
            ScalarOp::Max => a.max(b),
            ScalarOp::Bits(_) => return args[0],
            ScalarOp::Lt => return u64::from(a < b),
            ScalarOp::Le => return u64::from(a <= b),
            ScalarOp::Eq => return u64::from(a == b),
            other => panic!("{} is not primitive", other.name()),
        };
        value.to_bits() as u64
    }

    fn double(&self, op: ScalarOp, args: [u64; 3]) -> u64 {
        let [a, b, c] = args.map(f64::from_bits);
        let value = match op {
            ScalarOp::MulAdd if self.fused => a.mul_add(b, c),
            ScalarOp::MulAdd => a * b + c,
            ScalarOp::Neg => -a,
            ScalarOp::Abs => a.abs(),
            ScalarOp::Add => a + b,
            ScalarOp::Sub => a - b,
            ScalarOp::Mul => a * b,
            ScalarOp::Div => a / b,
            ScalarOp::Sqrt => a.sqrt(),
            ScalarOp::Floor => a.floor(),
            ScalarOp::Min if a.is_nan() || b.is_nan() => f64::NAN,
            ScalarOp::Max if a.is_nan() || b.is_nan() => f64::NAN,
            ScalarOp::Min => a.min(b),
            ScalarOp::Max => a.max(b),
            ScalarOp::Bits(_) => return args[0],
            ScalarOp::Lt => return u64::from(a < b),
            ScalarOp::Le => return u64::from(a <= b),
            ScalarOp::Eq => return u64::from(a == b),
            other => panic!("{} is not primitive", other.name()),
        };
        value.to_bits()
    }

    fn f32(&mut self, x: f32) -> f32 {
        f32::from_bits(self.run(&[x.to_bits() as u64]) as u32)
    }

    fn f64(&mut self, x: f64) -> f64 {
        f64::from_bits(self.run(&[x.to_bits()]))
    }
}

fn integer(op: ScalarOp, [a, b, _]: [i64; 3], width: u32) -> u64 {
    let value = match op {
        ScalarOp::Add => a.wrapping_add(b),
        ScalarOp::Sub => a.wrapping_sub(b),
        ScalarOp::BitAnd => a & b,
        ScalarOp::BitOr => a | b,
        ScalarOp::BitXor => a ^ b,
        ScalarOp::Shl => a << b,
        ScalarOp::Shr => a >> b,
        ScalarOp::Eq => i64::from(a == b),
        ScalarOp::Bits(_) => a,
        ScalarOp::Cast(Dtype::F32) if width == 32 => (a as f32).to_bits() as i64,
        ScalarOp::Cast(Dtype::F64) if width == 64 => (a as f64).to_bits() as i64,
        other => panic!("{} is not primitive", other.name()),
    };
    value as u64
}

/// The distance in units in the last place of the f32 next to `want`. Both beyond the largest: none.
fn ulps32(got: f32, want: f64) -> f64 {
    if got.is_nan() || want.is_nan() {
        return if got.is_nan() == want.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let nearest = want as f32;
    if got == nearest {
        return ((got as f64 - want) / ulp32(want)).abs().min(0.5);
    }
    let got = if got.is_infinite() { 2f64.powi(128).copysign(got as f64) } else { got as f64 };
    let want = want.clamp(-2f64.powi(128), 2f64.powi(128));
    (got - want).abs() / ulp32(want)
}

fn ulp32(want: f64) -> f64 {
    let exponent = ((want.abs().to_bits() >> 52) as i32 - 1023).clamp(-126, 127);
    2f64.powi(exponent - 23)
}

fn ulps64(got: f64, want: f64) -> f64 {
    if got.is_nan() || want.is_nan() {
        return if got.is_nan() == want.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if got == want {
        return 0.0;
    }
    let exponent = ((want.abs().to_bits() >> 52) as i32 - 1023).clamp(-1022, 1023);
    // in two steps: the unit of a denormal has no reciprocal
    ((got - want) * 2f64.powi(52 - exponent / 2) * 2f64.powi(-(exponent - exponent / 2))).abs()
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 ^ (self.0 >> 29)
    }
}

/// Zeros, infinities, NaN, the ends of the denormals and normals, and small whole numbers, of both signs.
fn specials() -> Vec<f32> {
    let sizes =
        [0.0, f32::INFINITY, f32::NAN, f32::MIN_POSITIVE, f32::MAX, 1e-45, 1.1754942e-38, 0.5, 1.0, 1.5, 2.0, 3.0, 10.0, 87.3, 88.0];
    let more = [88.722_84, 88.8, 89.0, 103.0, 103.97, 104.0, 110.0, 1e-10, 0.1];
    sizes.iter().chain(&more).flat_map(|&x| [x, -x]).collect()
}

/// All f32 in steps, both signs, from `low` to `high` in size; random ones; and the special ones in that range.
fn operands(low: f32, high: f32) -> impl Iterator<Item = f32> {
    let mut random = Random(7);
    let (from, to) = (low.to_bits(), high.to_bits());
    let step = ((to - from) / 60_000).max(1) as usize;
    let grid = (from..=to).step_by(step).flat_map(|b| [f32::from_bits(b), -f32::from_bits(b)]);
    let span = (to - from).max(1) as u64;
    let dice = (0..60_000).map(move |_| {
        let r = random.next();
        let x = f32::from_bits(from + (r % span) as u32);
        if r >> 63 == 0 { x } else { -x }
    });
    let edges = specials().into_iter().filter(move |x| x.is_nan() || (low..=high).contains(&x.abs()));
    grid.chain(dice).chain(edges)
}

/// The worst error of `op` over its operands, and where; both kinds of machine.
fn worst(op: ScalarOp, want: impl Fn(f64) -> f64, low: f32, high: f32) -> [(f64, f32); 2] {
    [true, false].map(|fused| {
        let mut machine = Machine::new(op, Dtype::F32, fused);
        let mut worst = (0.0, 0.0);
        for x in operands(low, high) {
            let error = ulps32(machine.f32(x), want(x as f64));
            if error > worst.0 {
                worst = (error, x);
            }
        }
        worst
    })
}

fn hold(op: ScalarOp, want: impl Fn(f64) -> f64, low: f32, high: f32, limits: [f64; 2]) {
    let found = worst(op, want, low, high);
    println!(
        "{}: {:.3} at {:e} fused, {:.3} at {:e} not; {} terms",
        op.name(),
        found[0].0,
        found[0].1,
        found[1].0,
        found[1].1,
        expand(&Body::of(op), &[Dtype::F32], true).terms.len()
    );
    assert!(found[0].0 <= limits[0] && found[1].0 <= limits[1], "{}: {found:?}", op.name());
}

#[test]
fn exponentials_and_logarithms_are_close() {
    let end = f32::INFINITY;
    hold(ScalarOp::Exp, f64::exp, 0.0, end, [1.0, 1.1]);
    hold(ScalarOp::Exp, f64::exp, 1e-3, 110.0, [1.0, 1.1]);
    hold(ScalarOp::Log, f64::ln, 0.0, end, [1.0, 2.0]);
    hold(ScalarOp::Log, f64::ln, 0.5, 2.0, [1.0, 2.0]);
    hold(ScalarOp::Sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 0.0, end, [2.2, 2.2]);
    hold(ScalarOp::Sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 1e-2, 110.0, [2.2, 2.2]);
    hold(ScalarOp::Tanh, f64::tanh, 0.0, end, [2.6, 2.6]);
    hold(ScalarOp::Tanh, f64::tanh, 1e-3, 10.0, [2.6, 2.6]);
    hold(ScalarOp::Erf, eval::erf, 0.0, end, [2.0, 2.0]);
    hold(ScalarOp::Erf, eval::erf, 1e-3, 5.0, [2.0, 2.0]);
}

#[test]
fn waves_are_close_up_to_ten_thousand() {
    hold(ScalarOp::Sin, f64::sin, 0.0, 1e4, [1.5, 1.5]);
    hold(ScalarOp::Cos, f64::cos, 0.0, 1e4, [1.5, 1.5]);
    hold(ScalarOp::Sin, f64::sin, 1e-2, 10.0, [1.5, 1.5]);
    hold(ScalarOp::Cos, f64::cos, 1e-2, 10.0, [1.5, 1.5]);
    hold(ScalarOp::Tan, f64::tan, 0.0, 1e4, [4.0, 4.0]);
    for op in [ScalarOp::Sin, ScalarOp::Cos] {
        let mut machine = Machine::new(op, Dtype::F32, true);
        for x in operands(1e4, f32::MAX) {
            assert!(x.is_nan() || machine.f32(x).abs() <= 1.0, "{} of {x:e}", op.name());
        }
        assert!(machine.f32(f32::INFINITY).is_nan());
    }
}

#[test]
fn inverses_and_hyperbolic_functions_are_close() {
    let end = f32::INFINITY;
    hold(ScalarOp::Asin, f64::asin, 0.0, end, [4.0, 4.0]);
    hold(ScalarOp::Acos, f64::acos, 0.0, end, [4.0, 4.0]);
    hold(ScalarOp::Atan, f64::atan, 0.0, end, [4.0, 4.0]);
    hold(ScalarOp::Sinh, f64::sinh, 0.0, end, [4.0, 4.0]);
    hold(ScalarOp::Cosh, f64::cosh, 0.0, end, [4.0, 4.0]);
    hold(ScalarOp::Asinh, |x| if x.abs() < 1e-9 { x } else { x.asinh() }, 0.0, end, [4.0, 4.0]);
    hold(ScalarOp::Acosh, f64::acosh, 0.0, end, [4.0, 4.0]);
    hold(ScalarOp::Atanh, |x| if x.abs() < 1e-9 { x } else { x.atanh() }, 0.0, end, [4.0, 4.0]);
}

#[test]
fn powers_are_close_and_right_at_the_edges() {
    for (fused, limit) in [(true, 1.0), (false, 2.0)] {
        let mut machine = Machine::new(ScalarOp::Pow, Dtype::F32, fused);
        let mut pow = |a: f32, b: f32| f32::from_bits(machine.run(&[a.to_bits() as u64, b.to_bits() as u64]) as u32);
        let mut random = Random(3);
        let mut worst = (0.0, 0.0, 0.0);
        let mut check = |a: f32, b: f32| {
            let error = ulps32(pow(a, b), (a as f64).powf(b as f64));
            if error > worst.0 {
                worst = (error, a, b);
            }
        };
        for &a in &specials() {
            for &b in &specials() {
                check(a, b);
                check(a, 5e-1 + b);
            }
        }
        for _ in 0..100_000 {
            let r = random.next();
            let a = f32::from_bits(r as u32);
            // exponents that keep the result finite, most of the time
            let reach = 90.0 / (a.abs().ln().abs() + 1e-3);
            let b = ((r >> 32) as f32 / 2f32.powi(31) - 1.0) * reach;
            check(a, b);
            check(a, b.round());
            check(0.5 + (r % 1000) as f32 / 1000.0, b.clamp(-60.0, 60.0));
        }
        println!("pow: {worst:?}, fused {fused}, {} terms", expand(&Body::of(ScalarOp::Pow), &[Dtype::F32; 2], fused).terms.len());
        assert!(worst.0 <= limit, "{worst:?}");
    }
}

#[test]
fn powers_to_small_constants_are_multiplications() {
    for (text, terms) in
        [("{ pow(a, 2.0) }", 1), ("{ pow(a, 3.0) }", 2), ("{ pow(a, -1.0) }", 1), ("{ pow(a, 0.5) }", 4), ("{ pow(a, 1.0) }", 0)]
    {
        let body = body(text).expect(text);
        assert_eq!(expand(&body, &[Dtype::F32], true).terms.len(), terms, "{text}");
        let Arg::Literal(b) = body.terms[0].args[1] else { panic!("{text} has a constant exponent") };
        let mut machine = Machine::of(&body, &[Dtype::F32], true);
        for x in specials() {
            assert!(ulps32(machine.f32(x), (x as f64).powf(b.to_f64())) <= 1.0, "{text} of {x}");
        }
    }
}

#[test]
fn doubles_are_close() {
    /// The operation, what it should give, the largest operand and the largest error.
    type Case = (ScalarOp, fn(f64) -> f64, f64, f64);
    let cases: [Case; 15] = [
        (ScalarOp::Exp, f64::exp, 760.0, 2.0),
        (ScalarOp::Log, f64::ln, 1e300, 2.0),
        (ScalarOp::Tanh, f64::tanh, 30.0, 3.0),
        (ScalarOp::Sigmoid, |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }, 760.0, 3.0),
        (ScalarOp::Erf, eval::erf, 7.0, 4.0),
        (ScalarOp::Sin, f64::sin, 1e4, 2.0),
        (ScalarOp::Cos, f64::cos, 1e4, 2.0),
        (ScalarOp::Tan, f64::tan, 1e4, 5.0),
        (ScalarOp::Asin, f64::asin, 1.0, 4.0),
        (ScalarOp::Acos, f64::acos, 1.0, 4.0),
        (ScalarOp::Atan, f64::atan, 1e10, 4.0),
        (ScalarOp::Sinh, f64::sinh, 700.0, 4.0),
        (ScalarOp::Cosh, f64::cosh, 700.0, 4.0),
        (
            ScalarOp::Asinh,
            |x| if x.abs() < 1e-9 { x } else { (x.abs() + x * x / (1.0 + (x * x + 1.0).sqrt())).ln_1p().copysign(x) },
            1e100,
            6.0,
        ),
        (
            ScalarOp::Acosh,
            |x| if x < 1.0 { f64::NAN } else { ((x - 1.0) + ((x - 1.0) * (x - 1.0) + 2.0 * (x - 1.0)).sqrt()).ln_1p() },
            1e100,
            6.0,
        ),
    ];
    for (op, want, high, limit) in cases {
        for fused in [true, false] {
            let mut machine = Machine::new(op, Dtype::F64, fused);
            let mut random = Random(11);
            let mut worst = (0.0, 0.0);
            let near = [0.0, 1.0, 1e-3, 1e-300, f64::NAN].map(|x| [x, -x]);
            let dice = (0..40_000).map(|i| {
                // half of them evenly spread, half over the exponents
                let share = (random.next() >> 11) as f64 / 2f64.powi(53);
                let size = if i % 2 == 0 { share * high } else { 2f64.powf(80.0 * share - 60.0).min(high) };
                if i % 4 < 2 { size } else { -size }
            });
            for x in near.into_iter().flatten().chain(dice) {
                let error = ulps64(machine.f64(x), want(x));
                if error > worst.0 {
                    worst = (error, x);
                }
            }
            println!("{} in f64: {:.2} at {:e}, fused {fused}", op.name(), worst.0, worst.1);
            assert!(worst.0 <= limit && worst.1 != 0.0, "{}: {worst:?}", op.name());
        }
    }
    for fused in [true, false] {
        let mut machine = Machine::new(ScalarOp::Pow, Dtype::F64, fused);
        let mut random = Random(13);
        for _ in 0..20_000 {
            let (a, b) = (random.next() as f64 / 2f64.powi(62), (random.next() as f64 / 2f64.powi(63) - 1.0) * 300.0);
            let got = f64::from_bits(machine.run(&[a.to_bits(), b.to_bits()]));
            assert!(ulps64(got, a.powf(b)) <= 8.0, "{a} to {b}: {got} {}", a.powf(b));
        }
    }
}

#[test]
fn halves_compute_in_single_and_types_stay() {
    for dtype in [Dtype::F16, Dtype::BF16] {
        for &op in ScalarOp::PLAIN {
            let params = match op {
                ScalarOp::Select => vec![Dtype::Bool, dtype, dtype],
                _ => vec![dtype; op.arity()],
            };
            let body = Body::of(op);
            let Ok(want) = body.result_type(&params) else { continue };
            assert_eq!(expand(&body, &params, true).result_type(&params), Ok(want), "{}", op.name());
        }
    }
    let half = |x: f32| Literal::number(Dtype::F16, x as f64);
    let body = expand(&Body::of(ScalarOp::Exp), &[Dtype::F16], true);
    assert_eq!(eval::eval(&body, &[half(1.0)]), half(1f32.exp()));
}

#[test]
fn signs_have_a_zero_and_keep_nan() {
    let mut sign = Machine::new(ScalarOp::Sign, Dtype::F32, true);
    assert_eq!([3.0, -0.5, 0.0, -0.0, f32::NEG_INFINITY].map(|x| sign.f32(x)), [1.0, -1.0, 0.0, 0.0, -1.0]);
    assert!(sign.f32(f32::NAN).is_nan() && sign.f32(-0.0).is_sign_positive());
}
