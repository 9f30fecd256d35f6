//! A dimension: a polynomial in normal form over named symbols (`seq`, `batch`) with integer
//! coefficients, plus `floordiv` atoms for strided layers on dynamic sizes. Equal dimensions are equal
//! data. Bounds come from the symbols' ranges by intervals; there is no solver.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::sync::Arc;

/// The range of every symbol of a graph, both ends included.
pub type Symbols = BTreeMap<Arc<str>, (i64, i64)>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Atom {
    Symbol(Arc<str>),
    FloorDiv(Dim, i64),
}

/// Numbers that a dimension can be computed in: at compile time or in code that runs later.
pub trait Arithmetic {
    type Value: Copy;
    fn constant(&mut self, value: i64) -> Self::Value;
    fn symbol(&mut self, name: &str) -> Self::Value;
    fn add(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    fn mul(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;
    /// Rounds toward minus infinity; `by` is at least 2.
    fn floor_div(&mut self, a: Self::Value, by: i64) -> Self::Value;
}

/// Terms sorted by their monomial, none with coefficient 0. The constant's monomial is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dim(Vec<(Vec<Atom>, i64)>);

impl Dim {
    pub fn symbol(name: &str) -> Dim {
        Dim(vec![(vec![Atom::Symbol(name.into())], 1)])
    }

    /// The value, when no symbol is in it.
    pub fn fixed(&self) -> Option<i64> {
        match self.0.as_slice() {
            [] => Some(0),
            [(atoms, c)] if atoms.is_empty() => Some(*c),
            _ => None,
        }
    }

    /// How long it is: its terms and their factors, those of divided dimensions too.
    pub fn length(&self) -> usize {
        let of = |atom: &Atom| match atom {
            Atom::Symbol(_) => 1,
            Atom::FloorDiv(inner, _) => 1 + inner.length(),
        };
        self.0.iter().map(|(atoms, _)| 1 + atoms.iter().map(of).sum::<usize>()).sum()
    }

    /// The largest magnitude among its coefficients.
    pub fn largest(&self) -> u64 {
        self.0.iter().map(|(_, c)| c.unsigned_abs()).max().unwrap_or(0)
    }

    /// The name, when this is one symbol and nothing else.
    pub fn as_symbol(&self) -> Option<&str> {
        match self.0.as_slice() {
            [(atoms, 1)] => match atoms.as_slice() {
                [Atom::Symbol(name)] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// Rounds toward minus infinity. `by` is at least 1.
    pub fn floor_div(&self, by: i64) -> Dim {
        assert!(by > 0, "a dimension is divided by a positive number");
        if by == 1 {
            return self.clone();
        }
        if let Some(value) = self.fixed() {
            return Dim::from(value.div_euclid(by));
        }
        // what divides evenly leaves the brackets; the rest stays an atom
        let (mut whole, mut rest) = (Vec::new(), Vec::new());
        for (atoms, c) in &self.0 {
            let (q, r) = (c.div_euclid(by), c.rem_euclid(by));
            if q != 0 {
                whole.push((atoms.clone(), q));
            }
            if r != 0 {
                rest.push((atoms.clone(), r));
            }
        }
        let whole = Dim(whole);
        match Dim(rest) {
            rest if rest.fixed().is_some() => whole,
            rest => whole + Dim(vec![(vec![Atom::FloorDiv(rest, by)], 1)]),
        }
    }

    /// Rounds toward plus infinity. `by` is at least 1.
    pub fn ceil_div(&self, by: i64) -> Dim {
        (self.clone() + Dim::from(by - 1)).floor_div(by)
    }

    /// The exact quotient, when this is `by` times some dimension; used to resolve `-1` in a reshape.
    pub fn exact_div(&self, by: &Dim) -> Option<Dim> {
        if let Some(c) = by.fixed() {
            if c == 0 || self.0.iter().any(|(_, k)| k % c != 0) {
                return None;
            }
            return Some(Dim(self.0.iter().map(|(m, k)| (m.clone(), k / c)).collect()));
        }
        let [(divisor, c)] = by.0.as_slice() else {
            return (self == by).then(|| Dim::from(1i64));
        };
        let mut out = Vec::new();
        for (atoms, k) in &self.0 {
            let mut left = atoms.clone();
            for atom in divisor {
                left.remove(left.iter().position(|a| a == atom)?);
            }
            if k % c != 0 {
                return None;
            }
            out.push((left, k / c));
        }
        out.sort();
        Some(Dim(out))
    }

    /// Smallest and largest value over the symbols' ranges (saturating). An unknown symbol spans `0..`.
    pub fn bounds(&self, symbols: &Symbols) -> (i64, i64) {
        let mut total = (0i64, 0i64);
        for (atoms, c) in &self.0 {
            let mut range = (*c, *c);
            for atom in atoms {
                let (lo, hi) = match atom {
                    Atom::Symbol(name) => symbols.get(name).copied().unwrap_or((0, i64::MAX)),
                    Atom::FloorDiv(dim, by) => {
                        let (lo, hi) = dim.bounds(symbols);
                        (lo.div_euclid(*by), hi.div_euclid(*by))
                    }
                };
                let ends = [range.0, range.1].map(|a| [a.saturating_mul(lo), a.saturating_mul(hi)]);
                let ends = ends.as_flattened();
                range = (ends.iter().copied().fold(i64::MAX, i64::min), ends.iter().copied().fold(i64::MIN, i64::max));
            }
            total = (total.0.saturating_add(range.0), total.1.saturating_add(range.1));
        }
        total
    }

    /// The value once every symbol has one; `None` when a symbol is missing or a product overflows.
    pub fn at(&self, values: &BTreeMap<Arc<str>, i64>) -> Option<i64> {
        let mut total = 0i64;
        for (atoms, c) in &self.0 {
            let mut product = *c;
            for atom in atoms {
                let value = match atom {
                    Atom::Symbol(name) => *values.get(name)?,
                    Atom::FloorDiv(dim, by) => dim.at(values)?.div_euclid(*by),
                };
                product = product.checked_mul(value)?;
            }
            total = total.checked_add(product)?;
        }
        Some(total)
    }

    /// The value in any arithmetic, term by term.
    pub fn compute<A: Arithmetic>(&self, arithmetic: &mut A) -> A::Value {
        let mut total = None;
        for (atoms, c) in &self.0 {
            let mut product = (*c != 1 || atoms.is_empty()).then(|| arithmetic.constant(*c));
            for atom in atoms {
                let value = match atom {
                    Atom::Symbol(name) => arithmetic.symbol(name),
                    Atom::FloorDiv(dim, by) => {
                        let value = dim.compute(arithmetic);
                        arithmetic.floor_div(value, *by)
                    }
                };
                product = Some(match product {
                    Some(product) => arithmetic.mul(product, value),
                    None => value,
                });
            }
            let product = product.expect("a term without atoms is its constant");
            total = Some(match total {
                Some(total) => arithmetic.add(total, product),
                None => product,
            });
        }
        total.unwrap_or_else(|| arithmetic.constant(0))
    }

    /// The same with `value` in the place of every symbol that it names.
    pub fn replace(&self, value: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        let mut total = Dim(Vec::new());
        for (atoms, c) in &self.0 {
            let mut product = Dim::from(*c);
            for atom in atoms {
                let factor = match atom {
                    Atom::Symbol(name) => value(name).unwrap_or_else(|| Dim::symbol(name)),
                    Atom::FloorDiv(dim, by) => dim.replace(value).floor_div(*by),
                };
                product = product * factor;
            }
            total = total + product;
        }
        total
    }

    /// Every symbol named in it, each once, sorted.
    pub fn symbols(&self) -> Vec<Arc<str>> {
        fn walk(dim: &Dim, out: &mut Vec<Arc<str>>) {
            for atom in dim.0.iter().flat_map(|(atoms, _)| atoms) {
                match atom {
                    Atom::Symbol(name) => out.push(name.clone()),
                    Atom::FloorDiv(dim, _) => walk(dim, out),
                }
            }
        }
        let mut out = Vec::new();
        walk(self, &mut out);
        out.sort();
        out.dedup();
        out
    }
}

impl From<i64> for Dim {
    fn from(value: i64) -> Dim {
        Dim(if value == 0 { Vec::new() } else { vec![(Vec::new(), value)] })
    }
}

impl From<usize> for Dim {
    fn from(value: usize) -> Dim {
        Dim::from(i64::try_from(value).expect("sizes are checked to fit 63 bits where they enter"))
    }
}

impl Add for Dim {
    type Output = Dim;
    fn add(self, other: Dim) -> Dim {
        let mut terms: BTreeMap<Vec<Atom>, i64> = self.0.into_iter().collect();
        for (atoms, c) in other.0 {
            let sum = terms.entry(atoms).or_insert(0);
            *sum = sum.saturating_add(c);
        }
        Dim(terms.into_iter().filter(|(_, c)| *c != 0).collect())
    }
}

impl Mul for Dim {
    type Output = Dim;
    fn mul(self, other: Dim) -> Dim {
        let mut terms: BTreeMap<Vec<Atom>, i64> = BTreeMap::new();
        for (left, a) in &self.0 {
            for (right, b) in &other.0 {
                let mut atoms = [left.as_slice(), right.as_slice()].concat();
                atoms.sort();
                let sum = terms.entry(atoms).or_insert(0);
                *sum = sum.saturating_add(a.saturating_mul(*b));
            }
        }
        Dim(terms.into_iter().filter(|(_, c)| *c != 0).collect())
    }
}

impl Sub for Dim {
    type Output = Dim;
    fn sub(self, other: Dim) -> Dim {
        self + other * Dim::from(-1i64)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("0");
        }
        // highest monomial first, the constant last: `2*seq+1`
        for (i, (atoms, c)) in self.0.iter().rev().enumerate() {
            if i > 0 && *c >= 0 {
                f.write_str("+")?;
            }
            if atoms.is_empty() {
                write!(f, "{c}")?;
                continue;
            }
            match c {
                1 => {}
                -1 => f.write_str("-")?,
                c => write!(f, "{c}*")?,
            }
            for (k, atom) in atoms.iter().enumerate() {
                if k > 0 {
                    f.write_str("*")?;
                }
                match atom {
                    Atom::Symbol(name) if crate::text::is_word(name) => f.write_str(name)?,
                    Atom::Symbol(name) => write!(f, "{}", crate::text::quoted(name))?,
                    Atom::FloorDiv(dim, by) => write!(f, "floordiv({dim}, {by})")?,
                }
            }
        }
        Ok(())
    }
}

/// All values, when every dimension is fixed and none is negative.
pub fn fixed(dims: &[Dim]) -> Option<Vec<usize>> {
    dims.iter().map(|d| d.fixed().and_then(|v| usize::try_from(v).ok())).collect()
}

/// Fixed dimensions from sizes.
pub fn dims(sizes: &[usize]) -> Vec<Dim> {
    sizes.iter().map(|&n| Dim::from(n)).collect()
}

/// The product of dimensions: the number of elements.
pub fn product(dims: &[Dim]) -> Dim {
    dims.iter().cloned().fold(Dim::from(1i64), |a, b| a * b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_dimensions_are_equal_data() {
        let (s, one) = (Dim::symbol("seq"), Dim::from(1i64));
        assert_eq!((s.clone() + one.clone()) * Dim::from(2i64), s.clone() + s.clone() + Dim::from(2i64));
        assert_eq!(s.clone() - s.clone(), Dim::from(0i64));
        assert_eq!((s.clone() * Dim::from(2i64) + one).to_string(), "2*seq+1");
    }

    #[test]
    fn strided_sizes_keep_what_divides_evenly_outside() {
        let s = Dim::symbol("n");
        assert_eq!((s.clone() * Dim::from(4i64)).floor_div(2), s.clone() * Dim::from(2i64));
        let half = (s.clone() - Dim::from(1i64)).floor_div(2) + Dim::from(1i64);
        let at = |n| half.at(&BTreeMap::from([("n".into(), n)]));
        assert_eq!((at(7), at(8), at(1)), (Some(4), Some(4), Some(1)));
        assert_eq!(half.bounds(&Symbols::from([("n".into(), (1, 9))])), (1, 5));
    }

    #[test]
    fn symbols_are_replaced_by_sizes_and_by_dimensions() {
        let (n, one) = (Dim::symbol("n"), Dim::from(1i64));
        let strided = (n.clone() + one.clone()).floor_div(3) * n.clone() + one.clone();
        assert_eq!(strided.replace(&|_| Some(Dim::from(8i64))), Dim::from(25i64));
        assert_eq!(strided.replace(&|_| None), strided);
        let twice = (n.clone() * Dim::from(2i64)).replace(&|name| (name == "n").then(|| Dim::symbol("m") + Dim::from(1i64)));
        assert_eq!(twice.to_string(), "2*m+2");
    }

    #[test]
    fn exact_division_resolves_a_reshape() {
        let (b, s) = (Dim::symbol("b"), Dim::symbol("s"));
        let all = b.clone() * s.clone() * Dim::from(12i64);
        assert_eq!(all.exact_div(&(b * Dim::from(4i64))), Some(s * Dim::from(3i64)));
        assert_eq!(all.exact_div(&Dim::from(5i64)), None);
    }
}
