//! Activations that exporters write out in many ways, put in one way each: GELU by erf and by tanh, hard
//! sigmoid and hard swish. (SiLU is `x * sigmoid(x)` as it stands.) Each way here is the shortest we know.

use crate::scalar::Scope;
use ir::Dtype;
use ir::scalar::{Arg, Body, Literal, ScalarOp};

/// The body with the activations it contains in their canonical form.
pub fn activations(body: &Body, params: &[Dtype]) -> Body {
    let mut scope = Scope::new(body.params, params);
    let mut placed: Vec<Arg> = Vec::with_capacity(body.terms.len());
    for term in &body.terms {
        let args: Vec<Arg> = term.args.iter().map(|a| bind(*a, &placed)).collect();
        let arg = scope.emit(term.op, args);
        placed.push(rewritten(&mut scope, arg).unwrap_or(arg));
    }
    scope.out.result = bind(body.result, &placed);
    scope.out.without_dead()
}

fn bind(arg: Arg, placed: &[Arg]) -> Arg {
    match arg {
        Arg::Term(i) => placed[i as usize],
        other => other,
    }
}

/// The canonical form of the activation that ends at `arg`, if one does.
fn rewritten(scope: &mut Scope, arg: Arg) -> Option<Arg> {
    let Arg::Term(_) = arg else { return None };
    if !matches!(scope.dtype(arg), Dtype::F32 | Dtype::F64) {
        return None;
    }
    if let Some(x) = gate(scope, arg) {
        return Some(hard_sigmoid(scope, x));
    }
    let product = Product::of(scope, arg);
    match product.factors[..] {
        [c] if near(product.scale, 1.0 / 6.0) => {
            let x = clipped(scope, c)?;
            Some(hard_sigmoid(scope, x))
        }
        [x, y] => [(x, y), (y, x)].into_iter().find_map(|(x, y)| two_factors(scope, product.scale, x, y)),
        _ => None,
    }
}

fn two_factors(scope: &mut Scope, scale: f64, x: Arg, y: Arg) -> Option<Arg> {
    if near(scale, 1.0 / 6.0) && clipped(scope, y) == Some(x) {
        let gate = hard_sigmoid(scope, x);
        return Some(scope.emit(ScalarOp::Mul, vec![x, gate]));
    }
    if !near(scale, 0.5) {
        return None;
    }
    let (inner, one) = with_literal(scope, y, ScalarOp::Add)?;
    if one != 1.0 {
        return None;
    }
    let dtype = scope.dtype(x);
    let number = |value: f64| Arg::Literal(Literal::number(dtype, value));
    if let Some(z) = unary(scope, inner, ScalarOp::Erf) {
        let product = Product::of(scope, z);
        if product.factors != [x] || !near(product.scale, std::f64::consts::FRAC_1_SQRT_2) {
            return None;
        }
        let t = scope.emit(ScalarOp::Mul, vec![x, number(std::f64::consts::FRAC_1_SQRT_2)]);
        let t = scope.emit(ScalarOp::Erf, vec![t]);
        let t = scope.emit(ScalarOp::Add, vec![t, number(1.0)]);
        let half = scope.emit(ScalarOp::Mul, vec![x, number(0.5)]);
        return Some(scope.emit(ScalarOp::Mul, vec![t, half]));
    }
    let z = unary(scope, inner, ScalarOp::Tanh)?;
    if !cubic(scope, z, x) {
        return None;
    }
    // 0.5 * (1 + tanh(t)) = sigmoid(2 * t), without the cancellation
    let root = (2.0 / std::f64::consts::PI).sqrt();
    let t = scope.emit(ScalarOp::Mul, vec![x, x]);
    let t = scope.emit(ScalarOp::Mul, vec![t, number(2.0 * root * CUBIC)]);
    let t = scope.emit(ScalarOp::Add, vec![t, number(2.0 * root)]);
    let t = scope.emit(ScalarOp::Mul, vec![x, t]);
    let t = scope.emit(ScalarOp::Sigmoid, vec![t]);
    Some(scope.emit(ScalarOp::Mul, vec![x, t]))
}

const CUBIC: f64 = 0.044715;

/// Whether `z` is `sqrt(2 / pi) * (x + 0.044715 * x^3)`, however it is factored.
fn cubic(scope: &Scope, z: Arg, x: Arg) -> bool {
    let root = (2.0 / std::f64::consts::PI).sqrt();
    let product = Product::of(scope, z);
    if !near(product.scale, root) {
        return false;
    }
    let sum = |arg: Arg, plain: &dyn Fn(Arg) -> bool, power: usize| {
        let Some([a, b]) = binary(scope, arg, ScalarOp::Add) else { return false };
        [(a, b), (b, a)].into_iter().any(|(a, b)| {
            let p = Product::of(scope, b);
            plain(a) && near(p.scale, CUBIC) && p.factors.len() == power && p.factors.iter().all(|f| *f == x)
        })
    };
    let is_one = |a: Arg| matches!(a, Arg::Literal(l) if l.to_f64() == 1.0);
    match product.factors[..] {
        [s] => sum(s, &|a| a == x, 3),
        [a, s] if a == x => sum(s, &is_one, 2),
        [s, a] if a == x => sum(s, &is_one, 2),
        _ => false,
    }
}

/// `x` of `clip(x, 0, high)`.
fn clip(scope: &Scope, arg: Arg, high: f64) -> Option<Arg> {
    let bounds = |outer, inner, a: f64, b: f64| {
        let (y, first) = with_literal(scope, arg, outer)?;
        let (z, second) = with_literal(scope, y, inner)?;
        (first == a && second == b).then_some(z)
    };
    bounds(ScalarOp::Min, ScalarOp::Max, high, 0.0).or_else(|| bounds(ScalarOp::Max, ScalarOp::Min, 0.0, high))
}

/// `x` of `clip(x + 3, 0, 6)`.
fn clipped(scope: &Scope, arg: Arg) -> Option<Arg> {
    let (x, three) = with_literal(scope, clip(scope, arg, 6.0)?, ScalarOp::Add)?;
    (three == 3.0).then_some(x)
}

/// `x` of `clip(x / 6 + 0.5, 0, 1)`.
fn gate(scope: &Scope, arg: Arg) -> Option<Arg> {
    let (sixth, half) = with_literal(scope, clip(scope, arg, 1.0)?, ScalarOp::Add)?;
    let product = Product::of(scope, sixth);
    match product.factors[..] {
        [x] if half == 0.5 && near(product.scale, 1.0 / 6.0) => Some(x),
        _ => None,
    }
}

/// `clip(x / 6 + 0.5, 0, 1)`.
fn hard_sigmoid(scope: &mut Scope, x: Arg) -> Arg {
    let dtype = scope.dtype(x);
    let number = |value: f64| Arg::Literal(Literal::number(dtype, value));
    let t = scope.emit(ScalarOp::Mul, vec![x, number(1.0 / 6.0)]);
    let t = scope.emit(ScalarOp::Add, vec![t, number(0.5)]);
    let t = scope.emit(ScalarOp::Max, vec![t, number(0.0)]);
    scope.emit(ScalarOp::Min, vec![t, number(1.0)])
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 2e-6 * b.abs()
}

fn unary(scope: &Scope, arg: Arg, op: ScalarOp) -> Option<Arg> {
    let Arg::Term(i) = arg else { return None };
    let term = &scope.out.terms[i as usize];
    (term.op == op).then(|| term.args[0])
}

fn binary(scope: &Scope, arg: Arg, op: ScalarOp) -> Option<[Arg; 2]> {
    let Arg::Term(i) = arg else { return None };
    let term = &scope.out.terms[i as usize];
    (term.op == op).then(|| [term.args[0], term.args[1]])
}

/// `(x, c)` of `op(x, c)`; literals stand second.
fn with_literal(scope: &Scope, arg: Arg, op: ScalarOp) -> Option<(Arg, f64)> {
    match binary(scope, arg, op)? {
        [x, Arg::Literal(l)] => Some((x, l.to_f64())),
        _ => None,
    }
}

/// A term as a number times factors.
struct Product {
    scale: f64,
    factors: Vec<Arg>,
}

impl Product {
    fn of(scope: &Scope, arg: Arg) -> Product {
        let mut out = Product { scale: 1.0, factors: Vec::new() };
        out.collect(scope, arg, 6);
        out
    }

    fn collect(&mut self, scope: &Scope, arg: Arg, depth: usize) {
        if let Arg::Literal(l) = arg {
            self.scale *= l.to_f64();
            return;
        }
        if depth > 0 && self.factors.len() < 4 {
            if let Some([a, b]) = binary(scope, arg, ScalarOp::Mul) {
                self.collect(scope, a, depth - 1);
                self.collect(scope, b, depth - 1);
                return;
            }
            if let Some((a, c)) = with_literal(scope, arg, ScalarOp::Div) {
                self.scale /= c;
                self.collect(scope, a, depth - 1);
                return;
            }
        }
        self.factors.push(arg);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::simplify;
    use ir::scalar::{body, text::print_body};

    fn canon(text: &str) -> String {
        let f = [Dtype::F32];
        let once = activations(&simplify(&body(text).expect(text), &f), &f);
        let twice = activations(&simplify(&once, &f), &f);
        assert_eq!(once, twice, "{text}");
        print_body(&once)
    }

    #[test]
    fn gelu_has_one_form() {
        let erf = canon("{ t0 = div(a, 1.4142135); t1 = erf(t0); t2 = add(t1, 1.0); t3 = mul(a, t2); mul(t3, 0.5) }");
        assert_eq!(erf, "{ t0 = mul(a, 0.70710677); t1 = erf(t0); t2 = add(t1, 1.0); t3 = mul(a, 0.5); mul(t2, t3) }");
        assert_eq!(canon("{ t0 = mul(a, 0.70710677); t1 = erf(t0); t2 = add(1.0, t1); t3 = mul(0.5, t2); mul(a, t3) }"), erf);
        let tanh = canon(
            "{ t0 = pow(a, 3.0); t1 = mul(t0, 0.044715); t2 = add(a, t1); t3 = mul(t2, 0.7978846); t4 = tanh(t3); t5 = add(t4, 1.0); t6 = mul(a, t5); mul(t6, 0.5) }",
        );
        assert_eq!(
            tanh,
            "{ t0 = mul(a, a); t1 = mul(t0, 0.071354814); t2 = add(t1, 1.5957692); t3 = mul(a, t2); t4 = sigmoid(t3); mul(a, t4) }"
        );
        assert_eq!(
            canon(
                "{ t0 = mul(a, a); t1 = mul(t0, 0.044715); t2 = add(t1, 1.0); t3 = mul(a, 0.7978846); t4 = mul(t3, t2); t5 = tanh(t4); t6 = add(t5, 1.0); t7 = mul(a, 0.5); mul(t7, t6) }"
            ),
            tanh
        );
        let other = "{ t0 = mul(a, 0.7); t1 = erf(t0); t2 = add(t1, 1.0); t3 = mul(a, 0.5); mul(t2, t3) }";
        assert_eq!(canon(other), other);
    }

    #[test]
    fn hard_swish_has_one_form() {
        let form = "{ t0 = mul(a, 0.16666667); t1 = add(t0, 0.5); t2 = max(t1, 0.0); t3 = min(t2, 1.0); mul(a, t3) }";
        assert_eq!(canon("{ t0 = add(a, 3.0); t1 = max(t0, 0.0); t2 = min(t1, 6.0); t3 = mul(a, t2); div(t3, 6.0) }"), form);
        assert_eq!(canon("{ t0 = add(a, 3.0); t1 = min(t0, 6.0); t2 = max(t1, 0.0); t3 = div(t2, 6.0); mul(a, t3) }"), form);
        assert_eq!(canon("{ t0 = div(a, 6.0); t1 = add(t0, 0.5); t2 = max(t1, 0.0); t3 = min(t2, 1.0); mul(a, t3) }"), form);
        assert_eq!(canon(form), form);
    }
}
