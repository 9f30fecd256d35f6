//! What a kernel does, counted from its statements, and the time that this is predicted to take: the longest of arithmetic,
//! loads and stores in the core, or of the bytes on their way to it. It knows no operator.

use super::Rates;
use ir::kernel::tile::{Binary, Operand, Stmt, Unary};
use ir::kernel::{Facts, Kernel, KernelBody};
use ir::program::{Address, Call, Program, Step};
use std::collections::BTreeMap;
use std::ops::{Add, Mul};

/// Statements of a call, each counted as often as it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Multiply-adds of f32, by vectors.
    pub mul_adds: f64,
    /// Products of bytes, by vectors.
    pub products: f64,
    /// Other arithmetic.
    pub others: f64,
    /// Divisions and square roots, of which few start at once.
    pub slow: f64,
    pub loads: f64,
    pub stores: f64,
}

impl Add for Work {
    type Output = Work;
    fn add(self, o: Work) -> Work {
        Work {
            mul_adds: self.mul_adds + o.mul_adds,
            products: self.products + o.products,
            others: self.others + o.others,
            slow: self.slow + o.slow,
            loads: self.loads + o.loads,
            stores: self.stores + o.stores,
        }
    }
}

impl Mul<f64> for Work {
    type Output = Work;
    fn mul(self, by: f64) -> Work {
        Work {
            mul_adds: self.mul_adds * by,
            products: self.products * by,
            others: self.others * by,
            slow: self.slow * by,
            loads: self.loads * by,
            stores: self.stores * by,
        }
    }
}

/// Cycles of a division.
const SLOW: f64 = 8.0;

impl Work {
    /// Of a call of a kernel. `None`: its loops are as long as the data says.
    pub fn of(kernel: &Kernel) -> Option<Work> {
        match &kernel.body {
            KernelBody::Tile(tile) => Some(Work::of_all(&tile.body)),
            KernelBody::Scalar(_) => None,
        }
    }

    fn of_all(body: &[Stmt]) -> Work {
        body.iter().map(Work::of_one).fold(Work::default(), Work::add)
    }

    fn of_one(stmt: &Stmt) -> Work {
        let none = Work::default();
        let (other, load, store) = (Work { others: 1.0, ..none }, Work { loads: 1.0, ..none }, Work { stores: 1.0, ..none });
        let with = |work: Work, b: &Operand| match b {
            Operand::Memory(_) | Operand::Splat(_) => work + load,
            Operand::V(_) | Operand::Bits(_) | Operand::Lane(..) => work,
        };
        match stmt {
            Stmt::Loop { times, body } => Work::of_all(body) * f64::from(*times),
            Stmt::Point { .. } | Stmt::Advance { .. } | Stmt::Set { .. } | Stmt::Copy { .. } => none,
            Stmt::Load { .. } | Stmt::Splat { .. } | Stmt::Prefetch { .. } => load,
            Stmt::LoadNarrow { .. } | Stmt::SplatNarrow { .. } => load + other,
            Stmt::Gather { lanes, .. } => (load + other) * f64::from(*lanes),
            Stmt::Store { .. } => store,
            Stmt::StoreNarrow { .. } => store + other * 2.0,
            Stmt::Scatter { lanes, .. } => (store + other) * f64::from(*lanes),
            // on machines with vectors of one to four quads
            Stmt::LoadQuads { .. } => (load + other) * 2.0,
            Stmt::StoreQuads { .. } => (store + other) * 2.0,
            Stmt::MulAdd { b, .. } => with(Work { mul_adds: 1.0, ..none }, b),
            Stmt::Dot4 { b, .. } => with(Work { products: 1.0, ..none }, b),
            Stmt::Matrix2x8 { .. } | Stmt::MulAdd8 { .. } => Work { products: 1.0, ..none },
            Stmt::PairAdd { .. } => other,
            Stmt::Horner { c, .. } => with(other, c),
            Stmt::Unary { op: Unary::Sqrt, .. } => Work { slow: 1.0, ..none },
            Stmt::Unary { .. } => other,
            Stmt::Binary { op: Binary::Div, b, .. } => with(Work { slow: 1.0, ..none }, b),
            Stmt::Binary { op: Binary::PairSat | Binary::MulLow8 | Binary::MulHigh8, b, .. } => with(Work { products: 1.0, ..none }, b),
            Stmt::Binary { b, .. } => with(other, b),
            Stmt::Select { y, .. } => with(other * 2.0, y),
            Stmt::Lookup { .. } => load * 4.0 + other * 6.0,
            Stmt::Fold { .. } => other * 8.0,
        }
    }

    /// Seconds in a core that waits for no memory.
    pub fn seconds(&self, facts: &Facts, rates: &Rates) -> f64 {
        // as many start at once as multiply-adds do
        let ports = f64::from(facts.accumulators) / 4.0;
        let byte = 4.0 * rates.floats / rates.bytes;
        let arithmetic = (self.mul_adds + self.products * byte + self.others) / ports + self.slow * SLOW;
        arithmetic.max(self.loads / ports).max(self.stores) * rates.cycle(facts)
    }
}

/// Bytes that the calls of a step touch, each counted once: what is read of weights, and all else but scratch.
pub fn bytes(program: &Program, step: &Step) -> (u64, u64) {
    let mut all: BTreeMap<(u8, usize), Vec<(i64, i64)>> = BTreeMap::new();
    for call in &step.calls {
        for (address, arg) in call.args.iter().zip(&program.kernels[call.kernel].args) {
            let (base, offset) = match *address {
                Address::Constant { index, offset } => ((0, index), offset),
                Address::Input { index, offset } => ((1, index), offset),
                Address::Output { index, offset } => ((2, index), offset),
                Address::Arena { offset } => ((3, 0), offset),
                Address::State { offset } => ((4, 0), offset),
                Address::Symbols { .. } | Address::Scratch { .. } => continue,
            };
            all.entry(base).or_default().push((offset as i64 + arg.low, offset as i64 + arg.high));
        }
    }
    let (mut weights, mut others) = (0, 0);
    for ((kind, _), mut ranges) in all {
        ranges.sort_unstable();
        let (mut end, mut sum) = (i64::MIN, 0);
        for (low, high) in ranges {
            sum += (high - low.max(end)).max(0);
            end = end.max(high);
        }
        *if kind == 0 { &mut weights } else { &mut others } += sum as u64;
    }
    (weights, others)
}

/// Predicted seconds of a step on one core. `None`: it has calls that nobody can count.
pub fn seconds(program: &Program, step: &Step, facts: &Facts, rates: &Rates) -> Option<f64> {
    let mut known: BTreeMap<usize, Work> = BTreeMap::new();
    let mut work = Work::default();
    for Call { kernel, .. } in &step.calls {
        let of = match known.get(kernel) {
            Some(work) => *work,
            None => *known.entry(*kernel).or_insert(Work::of(&program.kernels[*kernel])?),
        };
        work = work + of;
    }
    let (weights, others) = bytes(program, step);
    // an argument may reach farther than is touched: a border around what others write
    let touched = (work.loads + work.stores) * f64::from(facts.vector_bytes);
    let others = others.min(touched as u64);
    // what a run reads once between two uses comes from where all of it lies
    let all: u64 = program.constants.iter().map(|c| c.bytes()).sum();
    let read = weights as f64 / rates.bandwidth(facts, all.max(weights)) + others as f64 / rates.bandwidth(facts, others);
    Some(work.seconds(facts, rates).max(read) + step.calls.len() as f64 * rates.call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::kernel::tile::{At, P, V};

    #[test]
    fn statements_count_as_often_as_they_run() {
        let at = At { p: P(0), offset: 0 };
        let product = Stmt::MulAdd { acc: V(0), a: V(1), b: Operand::Memory(at), negate: false };
        let inner = Stmt::Loop { times: 3, body: vec![product, Stmt::Load { to: V(1), at, lanes: 4 }] };
        let body = [Stmt::Loop { times: 2, body: vec![inner] }, Stmt::Store { from: V(0), at, lanes: 4 }];
        assert_eq!(Work::of_all(&body), Work { mul_adds: 6.0, loads: 12.0, stores: 1.0, ..Work::default() });
    }
}
