//! Scalar kernels: that every index stays in its argument, by intervals. The statements are run on intervals in
//! place of values; loops that set integer cells are run until nothing grows any more, growing in strides from
//! constant to constant so that they end.

use super::interval::{Interval, binary};
use super::scalar::Definitions;
use super::{Faults, access_fault};
use crate::kernel::Kernel;
use crate::kernel::scalar::{Binary, Cell, Expr, ScalarKernel, Stmt, Ty, Unary, Value};
use crate::tensor::Dtype;

/// The kernel's numbers, blocks and types are right.
pub(super) fn check(kernel: &Kernel, scalar: &ScalarKernel, definitions: &Definitions, faults: &mut Faults) {
    let start = |ty: &Ty| if *ty == Ty::Int { Interval::one(0) } else { Interval::ALL };
    let mut env = Env {
        values: vec![Interval::ALL; scalar.values.len()],
        cells: scalar.cells.iter().map(start).collect(),
        dead: false,
        trail: Vec::new(),
    };
    let mut milestones = vec![i64::MIN, i64::MAX];
    for &expr in definitions.iter().flatten() {
        if let Expr::Int(c) | Expr::Require { below: c, .. } = *expr {
            milestones.extend([c.saturating_sub(1), c, c.saturating_add(1)]);
        }
    }
    milestones.sort_unstable();
    milestones.dedup();
    Bounds { kernel, scalar, definitions, milestones, faults, quiet: false }.block("body", &scalar.body, &mut env);
}

/// What is known at a place of the kernel.
#[derive(Clone)]
struct Env {
    values: Vec<Interval>,
    cells: Vec<Interval>,
    /// Nothing ever gets here.
    dead: bool,
    /// What values were before they were narrowed, oldest first, where somebody asked.
    trail: Vec<(usize, Interval)>,
}

impl Env {
    fn value(&self, v: Value) -> Interval {
        self.values[v.0 as usize]
    }

    /// `v` is in `to` as well; if that cannot be, this place is dead.
    fn narrow(&mut self, v: Value, to: Interval) {
        let old = self.value(v);
        match old.meet(to) {
            Some(both) if both == old => {}
            Some(both) => {
                self.trail.push((v.0 as usize, old));
                self.values[v.0 as usize] = both;
            }
            None => self.dead = true,
        }
    }

    /// What is known where this place and `other` meet.
    fn join(&mut self, other: Env) {
        if self.dead || other.dead {
            if self.dead {
                *self = other;
            }
            return;
        }
        let each = |mine: &mut Vec<Interval>, theirs: Vec<Interval>| {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a = a.join(b));
        };
        each(&mut self.values, other.values);
        each(&mut self.cells, other.cells);
    }
}

/// Turns of a loop after which cells grow to the next milestone, and after which they grow without end.
const PATIENCE: (usize, usize) = (2, 20);

struct Bounds<'a> {
    kernel: &'a Kernel,
    scalar: &'a ScalarKernel,
    definitions: &'a Definitions<'a>,
    /// Constants of the kernel and their neighbours: where ranges are likely to end. Sorted.
    milestones: Vec<i64>,
    faults: &'a mut Faults,
    /// Looking for what holds in every turn: faults are not final.
    quiet: bool,
}

impl Bounds<'_> {
    fn block(&mut self, name: &str, body: &[Stmt], env: &mut Env) {
        for (i, stmt) in body.iter().enumerate() {
            if env.dead {
                return;
            }
            self.faults.place.push(format!("{name}[{i}]"));
            self.stmt(stmt, env);
            self.faults.place.pop();
        }
    }

    fn stmt(&mut self, stmt: &Stmt, env: &mut Env) {
        env.trail.clear();
        match *stmt {
            Stmt::Let { to, ref expr } => env.values[to.0 as usize] = self.expr(expr, env),
            Stmt::Store { arg, dtype, at, value } => {
                self.access(arg, dtype, env.value(at), true);
                if dtype == Dtype::Bool && !env.value(value).within(Interval::BIT) {
                    self.fault(|| format!("stores {} as a bool", show(env.value(value))));
                }
            }
            Stmt::Set { cell, value } => env.cells[cell.0 as usize] = env.value(value),
            Stmt::For { var, from, to, ref body } => self.count(var, env.value(from), env.value(to), body, env),
            Stmt::If { cond, ref then, ref other } => {
                let mut otherwise = env.clone();
                self.refine(env, cond, true);
                self.block("then", then, env);
                self.refine(&mut otherwise, cond, false);
                self.block("else", other, &mut otherwise);
                env.join(otherwise);
            }
            Stmt::While { ref head, cond, ref body } => {
                let turn = |bounds: &mut Self, env: &mut Env| {
                    bounds.block("head", head, env);
                    if !env.dead {
                        bounds.refine(env, cond, true);
                        bounds.block("while", body, env);
                    }
                };
                *env = self.in_every_turn(env, &[head, body], turn);
                self.block("head", head, env);
                if !env.dead {
                    let mut inside = env.clone();
                    self.refine(&mut inside, cond, true);
                    self.block("while", body, &mut inside);
                    self.refine(env, cond, false);
                }
            }
            Stmt::Fail { .. } => env.dead = true,
        }
    }

    fn count(&mut self, var: Value, from: Interval, to: Interval, body: &[Stmt], env: &mut Env) {
        if from.low >= to.high {
            return;
        }
        let counts = Interval::new(from.low, to.high - 1);
        let turn = |bounds: &mut Self, env: &mut Env| {
            env.values[var.0 as usize] = counts;
            bounds.block("for", body, env);
        };
        let head = self.in_every_turn(env, &[body], turn);
        let mut after = head.clone();
        turn(self, &mut after);
        if from.high < to.low {
            // it runs at least once
            env.dead = after.dead;
            env.cells = after.cells;
        } else {
            env.cells = head.cells;
        }
    }

    /// What holds at the start of every turn of a loop that is entered with `entry`.
    fn in_every_turn(&mut self, entry: &Env, bodies: &[&[Stmt]], turn: impl Fn(&mut Self, &mut Env)) -> Env {
        let mut head = entry.clone();
        if !bodies.iter().any(|body| self.sets_ints(body)) {
            return head;
        }
        let before = std::mem::replace(&mut self.quiet, true);
        let run = |bounds: &mut Self, head: &Env| {
            let mut after = head.clone();
            turn(bounds, &mut after);
            if after.dead { entry.cells.clone() } else { entry.cells.iter().zip(after.cells).map(|(a, b)| a.join(b)).collect() }
        };
        let mut rounds = 0;
        loop {
            let reached: Vec<Interval> = run(self, &head);
            let grown: Vec<Interval> = head.cells.iter().zip(&reached).map(|(a, b)| self.widen(*a, a.join(*b), rounds)).collect();
            if grown == head.cells {
                // nothing grows: what was reached may be tighter than the strides, if it holds as well
                let strides = std::mem::take(&mut head.cells);
                head.cells = strides.iter().zip(&reached).map(|(a, b)| a.meet(*b).unwrap_or(*a)).collect();
                let again = run(self, &head);
                if !again.iter().zip(&head.cells).all(|(a, b)| a.within(*b)) {
                    head.cells = strides;
                }
                break;
            }
            head.cells = grown;
            rounds += 1;
        }
        self.quiet = before;
        head
    }

    fn widen(&self, old: Interval, new: Interval, rounds: usize) -> Interval {
        let stride = |down: bool, bound: i64| {
            if rounds < PATIENCE.0 {
                bound
            } else if rounds > PATIENCE.1 {
                if down { i64::MIN } else { i64::MAX }
            } else {
                // the ends of the milestones are the ends of all integers
                let above = self.milestones.partition_point(|&m| m < bound);
                match self.milestones[above] == bound || !down {
                    true => self.milestones[above],
                    false => self.milestones[above - 1],
                }
            }
        };
        Interval {
            low: if new.low < old.low { stride(true, new.low) } else { old.low },
            high: if new.high > old.high { stride(false, new.high) } else { old.high },
        }
    }

    fn sets_ints(&self, body: &[Stmt]) -> bool {
        body.iter().any(|stmt| match stmt {
            Stmt::Set { cell: Cell(c), .. } => self.scalar.cells[*c as usize] == Ty::Int,
            Stmt::For { body, .. } => self.sets_ints(body),
            Stmt::If { then, other, .. } => self.sets_ints(then) || self.sets_ints(other),
            Stmt::While { head, body, .. } => self.sets_ints(head) || self.sets_ints(body),
            Stmt::Let { .. } | Stmt::Store { .. } | Stmt::Fail { .. } => false,
        })
    }

    fn expr(&mut self, expr: &Expr, env: &mut Env) -> Interval {
        match *expr {
            Expr::Int(value) => Interval::one(value),
            Expr::F32(_) | Expr::F64(_) | Expr::MulAdd(..) => Interval::ALL,
            Expr::Load { arg, dtype, at } => {
                self.access(arg, dtype, env.value(at), false);
                elements(dtype)
            }
            Expr::Get(cell) => env.cells[cell.0 as usize],
            Expr::Unary(op, a) => unary(op, env.value(a)),
            Expr::Binary(op, a, b) => binary(op, env.value(a), env.value(b)),
            Expr::Select(cond, a, b) => match (self.under(env, cond, true, a), self.under(env, cond, false, b)) {
                (Some(a), Some(b)) => a.join(b),
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => Interval::ALL,
            },
            Expr::Require { value, below, .. } => {
                if below == 0 {
                    env.dead = true;
                } else {
                    env.narrow(value, Interval::new(0, below - 1));
                }
                env.value(value)
            }
        }
    }

    /// `value` where `cond` is true, or false; `None` where it never is.
    fn under(&self, env: &mut Env, cond: Value, truth: bool, value: Value) -> Option<Interval> {
        let start = env.trail.len();
        self.refine(env, cond, truth);
        let mut known = (!env.dead).then(|| env.value(value));
        let anew = match self.definitions[value.0 as usize] {
            Some(&Expr::Unary(op, a)) => Some(unary(op, env.value(a))),
            Some(&Expr::Binary(op, a, b)) => Some(binary(op, env.value(a), env.value(b))),
            _ => None,
        };
        if let (Some(all), Some(anew)) = (known, anew) {
            known = all.meet(anew);
        }
        env.dead = false;
        for (v, old) in env.trail.drain(start..).rev() {
            env.values[v] = old;
        }
        known
    }

    /// Narrows values to those for which `cond` is true, or false.
    fn refine(&self, env: &mut Env, cond: Value, truth: bool) {
        match (truth, env.value(cond)) {
            (true, Interval { low: 0, high: 0 }) => env.dead = true,
            (true, Interval { low: 0, high }) => env.narrow(cond, Interval::new(1, high)),
            (true, Interval { low, high: 0 }) => env.narrow(cond, Interval::new(low, -1)),
            (true, _) => {}
            (false, _) => env.narrow(cond, Interval::one(0)),
        }
        match self.definitions[cond.0 as usize] {
            Some(&Expr::Binary(op, a, b)) => self.refine_binary(env, op, a, b, truth),
            Some(&Expr::Unary(Unary::Wrap(Dtype::Bool), a)) => self.refine(env, a, truth),
            _ => {}
        }
    }

    fn refine_binary(&self, env: &mut Env, op: Binary, a: Value, b: Value, truth: bool) {
        match (op, truth) {
            (Binary::SLt, true) => less(env, a, b, 1),
            (Binary::SLt, false) => less(env, b, a, 0),
            (Binary::SLe, true) => less(env, a, b, 0),
            (Binary::SLe, false) => less(env, b, a, 1),
            (Binary::ULt, true) => below(env, a, b, 1),
            (Binary::ULt, false) => below(env, b, a, 0),
            (Binary::ULe, true) => below(env, a, b, 0),
            (Binary::ULe, false) => below(env, b, a, 1),
            (Binary::IEq, true) | (Binary::INe, false) => {
                let (x, y) = (env.value(a), env.value(b));
                env.narrow(a, y);
                env.narrow(b, x);
                if y == Interval::one(0) {
                    self.refine(env, a, false);
                }
            }
            (Binary::IEq, false) | (Binary::INe, true) => {
                let (x, y) = (env.value(a), env.value(b));
                differ(env, a, y);
                differ(env, b, x);
                if y == Interval::one(0) {
                    self.refine(env, a, true);
                }
            }
            (Binary::And, true) | (Binary::Or, false) => {
                self.refine(env, a, truth);
                self.refine(env, b, truth);
            }
            (Binary::Xor, _) if env.value(a).within(Interval::BIT) && env.value(b) == Interval::one(1) => self.refine(env, a, !truth),
            _ => {}
        }
    }

    fn access(&mut self, arg: u8, dtype: Dtype, at: Interval, writes: bool) {
        let width = dtype.bytes() as i128;
        let (low, high) = (i128::from(at.low) * width, i128::from(at.high) * width + width);
        if let Some(fault) = access_fault(&self.kernel.args[arg as usize], low, high, writes) {
            self.fault(|| fault);
        }
    }

    fn fault(&mut self, what: impl FnOnce() -> String) {
        if !self.quiet {
            self.faults.add(what());
        }
    }
}

/// `a + by <= b` holds.
fn less(env: &mut Env, a: Value, b: Value, by: i64) {
    let (x, y) = (env.value(a), env.value(b));
    match (y.high.checked_sub(by), x.low.checked_add(by)) {
        (Some(high), Some(low)) => {
            env.narrow(a, Interval::new(i64::MIN, high));
            env.narrow(b, Interval::new(low, i64::MAX));
        }
        // nothing is below the smallest, or above the largest
        _ => env.dead = true,
    }
}

/// `a + by <= b` holds, unsigned. Below what is not negative nothing is.
fn below(env: &mut Env, a: Value, b: Value, by: i64) {
    if env.value(b).low >= 0 {
        env.narrow(a, Interval::new(0, i64::MAX));
        less(env, a, b, by);
    }
}

/// `v` is not the one value of `other`, if it is one.
fn differ(env: &mut Env, v: Value, other: Interval) {
    let all = env.value(v);
    if !other.is_one() {
        return;
    }
    if all.is_one() && all == other {
        env.dead = true;
    } else if all.low == other.low {
        env.narrow(v, Interval::new(all.low + 1, all.high));
    } else if all.high == other.high {
        env.narrow(v, Interval::new(all.low, all.high - 1));
    }
}

fn unary(op: Unary, a: Interval) -> Interval {
    match op {
        Unary::INeg => a.negative(),
        Unary::INot => a.inverted(),
        Unary::Wrap(Dtype::Bool) if !a.holds(0) => Interval::one(1),
        Unary::Wrap(dtype) if a.within(elements(dtype)) => a,
        Unary::Wrap(dtype) => elements(dtype),
        Unary::F32Bits => Interval::new(0, u32::MAX.into()),
        Unary::Neg
        | Unary::Abs
        | Unary::Sqrt
        | Unary::Floor
        | Unary::Ceil
        | Unary::Trunc
        | Unary::Round
        | Unary::IntToF32
        | Unary::IntToF64
        | Unary::UIntToF32
        | Unary::UIntToF64
        | Unary::FloatToInt
        | Unary::FloatToUInt
        | Unary::F32ToF64
        | Unary::F64ToF32
        | Unary::F32FromBits
        | Unary::F64Bits
        | Unary::F64FromBits
        | Unary::RoundF16
        | Unary::RoundBF16 => Interval::ALL,
    }
}

/// What an element may be once it is loaded.
fn elements(dtype: Dtype) -> Interval {
    match dtype.int_range() {
        Some((low, high)) => Interval::exact(low, high),
        None if dtype == Dtype::Bool => Interval::BIT,
        None if dtype.bytes() == 1 => Interval::new(0, 255),
        None => Interval::ALL,
    }
}

fn show(interval: Interval) -> String {
    format!("{}..={}", interval.low, interval.high)
}
