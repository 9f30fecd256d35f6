//! Small constant matrices times vectors of lanes, in few instructions: what two rows or two columns share is computed once.

use crate::body::Pressure;
use crate::tile::{Pool, Writer};
use ir::kernel::tile::{Binary, Operand, Stmt, V};

/// Takes row `i` of the product, which is in a register that it gives back.
pub(super) type Put<'a> = &'a mut dyn FnMut(&mut Writer, &mut Pool, usize, V) -> Result<(), Pressure>;

fn take(pool: &mut Pool) -> Result<V, Pressure> {
    pool.take().ok_or(Pressure)
}

/// A matrix as sums over registers.
pub(super) struct Combine<'a> {
    pub rows: &'a [Vec<f64>],
}

impl Combine<'_> {
    /// Every row times `inputs`, of which missing ones are zero. Inputs are given back.
    pub fn write(&self, inputs: &[Option<V>], pool: &mut Pool, w: &mut Writer, put: Put) -> Result<(), Pressure> {
        let mut inputs = inputs.to_vec();
        let columns = self.mirrored_columns(&inputs);
        // sums in place of one, differences in place of the other
        for &(i, j) in &columns {
            let (Some(a), Some(b)) = (inputs[i], inputs[j]) else { continue };
            let sum = take(pool)?;
            w.binary(Binary::Add, sum, a, Operand::V(b));
            w.binary(Binary::Sub, b, a, Operand::V(b));
            pool.give(a);
            inputs[i] = Some(sum);
        }
        let mut done = vec![false; self.rows.len()];
        for i in 0..self.rows.len() {
            if done[i] {
                continue;
            }
            let terms = self.terms(i, &inputs, &columns);
            match self.mirror_of(i).filter(|_| columns.is_empty()) {
                Some(j) => {
                    done[j] = true;
                    let parts = [0, 1].map(|parity| terms.iter().filter(|t| t.2 % 2 == parity).copied().collect::<Vec<_>>());
                    let even = sum(&parts[0], pool, w)?;
                    let odd = sum(&parts[1], pool, w)?;
                    match (even, odd) {
                        (Some(even), Some(odd)) => {
                            let first = take(pool)?;
                            w.binary(Binary::Add, first, even, Operand::V(odd));
                            w.binary(Binary::Sub, even, even, Operand::V(odd));
                            pool.give(odd);
                            put(w, pool, i, first)?;
                            put(w, pool, j, even)?;
                        }
                        (Some(same), None) => {
                            let copy = take(pool)?;
                            w.push(Stmt::Copy { to: copy, from: same });
                            put(w, pool, i, copy)?;
                            put(w, pool, j, same)?;
                        }
                        (None, Some(odd)) => {
                            let other = take(pool)?;
                            w.push(Stmt::Unary { op: ir::kernel::tile::Unary::Neg, to: other, a: odd });
                            put(w, pool, i, odd)?;
                            put(w, pool, j, other)?;
                        }
                        (None, None) => {
                            for row in [i, j] {
                                let zero = zero(pool, w)?;
                                put(w, pool, row, zero)?;
                            }
                        }
                    }
                }
                None => {
                    let v = match sum(&terms, pool, w)? {
                        Some(v) => v,
                        None => zero(pool, w)?,
                    };
                    put(w, pool, i, v)?;
                }
            }
        }
        inputs.into_iter().flatten().for_each(|v| pool.give(v));
        Ok(())
    }

    /// Coefficient, register and column of what counts in row `i`; `columns` hold sums and differences by now.
    fn terms(&self, i: usize, inputs: &[Option<V>], columns: &[(usize, usize)]) -> Vec<(f64, V, usize)> {
        let mut out = Vec::new();
        for (j, &c) in self.rows[i].iter().enumerate() {
            let Some(v) = inputs[j].filter(|_| c != 0.0) else { continue };
            let counts = match columns.iter().find(|p| p.0 == j || p.1 == j) {
                Some(&(first, second)) => j == if self.rows[i][first] == self.rows[i][second] { first } else { second },
                None => true,
            };
            if counts {
                // the difference is of the first and the second
                let c = if columns.iter().any(|p| p.1 == j) { -c } else { c };
                out.push((c, v, j));
            }
        }
        out
    }

    /// Columns that differ in signs alone, the same in some rows and opposite in others.
    fn mirrored_columns(&self, inputs: &[Option<V>]) -> Vec<(usize, usize)> {
        let mirrored = |i: usize, j: usize| {
            let both: Vec<(f64, f64)> = self.rows.iter().map(|r| (r[i], r[j])).filter(|(a, b)| *a != 0.0 || *b != 0.0).collect();
            both.iter().all(|(a, b)| a.abs() == b.abs()) && both.iter().any(|(a, b)| a == b) && both.iter().any(|(a, b)| a != b)
        };
        let pairs = (1..inputs.len()).map(|j| (j - 1, j)).filter(|&(i, j)| mirrored(i, j));
        let mut out: Vec<(usize, usize)> = Vec::new();
        for (i, j) in pairs {
            if inputs[i].is_some() && inputs[j].is_some() && out.last().is_none_or(|last| last.1 < i) {
                out.push((i, j));
            }
        }
        out
    }

    /// A later row with the same even coefficients and opposite odd ones.
    fn mirror_of(&self, i: usize) -> Option<usize> {
        let opposite = |j: &usize| {
            let signs = self.rows[i].iter().zip(&self.rows[*j]).enumerate();
            signs.clone().all(|(at, (a, b))| if at % 2 == 0 { a == b } else { *a == -b }) && self.rows[i] != self.rows[*j]
        };
        (i + 1..self.rows.len()).find(opposite)
    }
}

fn zero(pool: &mut Pool, w: &mut Writer) -> Result<V, Pressure> {
    let to = take(pool)?;
    w.push(Stmt::Set { to, bits: 0 });
    Ok(to)
}

/// The sum of coefficients times registers, in a register of its own.
fn sum(terms: &[(f64, V, usize)], pool: &mut Pool, w: &mut Writer) -> Result<Option<V>, Pressure> {
    let mut terms: Vec<(f64, V)> = terms.iter().map(|t| (t.0, t.1)).collect();
    // one that needs no multiplication comes first
    if let Some(at) = terms.iter().position(|t| t.0 == 1.0) {
        terms.swap(0, at);
    }
    let Some(&(c, first)) = terms.first() else { return Ok(None) };
    let acc = take(pool)?;
    let plain = terms[1..].iter().position(|t| t.0.abs() == 1.0).filter(|_| c == 1.0);
    let mut done = 1;
    match (c == 1.0, plain) {
        (true, Some(at)) => {
            terms.swap(1, at + 1);
            let op = if terms[1].0 > 0.0 { Binary::Add } else { Binary::Sub };
            w.binary(op, acc, first, Operand::V(terms[1].1));
            done = 2;
        }
        (true, None) => w.push(Stmt::Copy { to: acc, from: first }),
        (false, _) => w.binary(Binary::Mul, acc, first, Operand::Bits((c as f32).to_bits())),
    }
    for &(c, v) in &terms[done..] {
        match c {
            1.0 => w.binary(Binary::Add, acc, acc, Operand::V(v)),
            -1.0 => w.binary(Binary::Sub, acc, acc, Operand::V(v)),
            c => w.mul_add(acc, v, Operand::Bits((c as f32).to_bits())),
        }
    }
    Ok(Some(acc))
}
