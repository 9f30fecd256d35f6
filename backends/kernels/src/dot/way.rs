//! How one step of K is multiplied. A step is 32 bits of A for each row: one f32, four bytes, or two numbers of 16 bits,
//! by a vector of B that holds as many bits for each column. So loops, tiles and panels are the same for all of them.
//!
//! Sums of bytes are exact on every machine. Four products go into a lane at once where there is such an instruction. Where
//! pairs of products are saturated to 16 bits, the weights decide, since they are known: either no sum of the products of
//! one, two or four steps can leave 16 bits, or the products are taken of a number's distance from the middle, by
//! the magnitude of the weight, whose pairs always fit: `x w` is `(x - 128) |w|`, and for a negative weight, with all bits of
//! `x - 128` flipped, `(127 - x) |w| - 127 |w|`. What that adds or takes is the same for all rows.

use super::sums::Tile;
use crate::tile::Writer;
use ir::Dtype;
use ir::kernel::facts::Facts;
use ir::kernel::tile::{Binary, Dot4, Operand, Stmt, Unary, V};

/// What distinguishes bytes of one sign from the other: u8 and i8 are 128 apart.
const FLIP: u32 = 0x8080_8080;

/// One in each lane of 16 bits.
const ONES: u32 = 0x0001_0001;

/// What the factors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factors {
    pub a: Dtype,
    pub b: Dtype,
}

impl Factors {
    pub const FLOATS: Factors = Factors { a: Dtype::F32, b: Dtype::F32 };

    /// What is multiplied here: floats, bytes in any mix, numbers of 16 bits.
    pub fn of(a: Dtype, b: Dtype) -> Option<Factors> {
        let byte = |d: Dtype| matches!(d, Dtype::U8 | Dtype::I8);
        let known = matches!((a, b), (Dtype::F32, Dtype::F32) | (Dtype::I16, Dtype::I16)) || (byte(a) && byte(b));
        known.then_some(Factors { a, b })
    }

    /// The type of a sum.
    pub fn sum(self) -> Dtype {
        if self.a == Dtype::F32 { Dtype::F32 } else { Dtype::I32 }
    }

    /// Whether the machine multiplies them by constants.
    pub fn here(self, facts: &Facts) -> bool {
        Way::of(facts, self, &Weights::UNKNOWN).is_some()
    }

    /// Elements of K in a step.
    pub fn in_step(self) -> usize {
        4 / self.a.bytes()
    }
}

/// The statements of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Float,
    /// Four products into each lane. `flip`: bytes of A are of the other sign than the statement wants them; `swapped`: B is
    /// what it reads as u8.
    Dot4 {
        kind: Dot4,
        flip: bool,
        swapped: bool,
    },
    /// Saturated pairs of so many steps are added before they are widened: none of them leaves 16 bits.
    Pairs {
        together: usize,
        flip: bool,
    },
    /// Pairs of distances from the middle by magnitudes. `flip`: A is u8.
    Distances {
        flip: bool,
    },
    /// Pairs of products of 16 bits.
    Halves,
    /// Products of 16 bits, whose pairs are added into lanes. `twice`: two products fit 16 bits. `flip`: A is u8.
    Long {
        flip: bool,
        twice: bool,
    },
    /// Bytes widened to 16 bits, pairs of products of which are added into lanes: how those of A and of B are.
    Widened {
        a: Unary,
        b: Unary,
    },
    /// Two rows by two columns, of two steps.
    Matrices(Dot4),
}

impl Way {
    /// How a machine multiplies by these weights. `None`: it has no instruction for it.
    pub fn of(facts: &Facts, factors: Factors, weights: &Weights) -> Option<Way> {
        let menu = facts.menu;
        let signed = factors.a == Dtype::I8;
        Some(match (factors.a, factors.b) {
            (Dtype::F32, Dtype::F32) => Way::Float,
            (Dtype::I16, Dtype::I16) if menu.pair16 => Way::Halves,
            (Dtype::U8 | Dtype::I8, Dtype::I8) if menu.dot4_u8s8 => Way::Dot4 { kind: Dot4::U8S8, flip: signed, swapped: false },
            (Dtype::U8 | Dtype::I8, Dtype::U8) if menu.dot4_u8s8 => Way::Dot4 { kind: Dot4::U8S8, flip: !signed, swapped: true },
            (Dtype::U8, Dtype::I8) if menu.matrix8 => Way::Matrices(Dot4::U8S8),
            (Dtype::I8, Dtype::I8) if menu.matrix8 => Way::Matrices(Dot4::S8S8),
            (Dtype::U8 | Dtype::I8, Dtype::I8) if menu.dot4_s8s8 => Way::Dot4 { kind: Dot4::S8S8, flip: !signed, swapped: false },
            (Dtype::U8 | Dtype::I8, Dtype::I8) if menu.pair_sat && menu.pair16 => match weights.together {
                0 => Way::Distances { flip: !signed },
                together => Way::Pairs { together, flip: signed },
            },
            (Dtype::U8 | Dtype::I8, Dtype::I8) if menu.long8 => Way::Long { flip: !signed, twice: weights.above_least },
            (Dtype::U8 | Dtype::I8, Dtype::U8 | Dtype::I8) if menu.pair16 && menu.widen8 => {
                let long = |dtype: Dtype| if dtype == Dtype::I8 { Unary::LowI8 } else { Unary::LowU8 };
                Way::Widened { a: long(factors.a), b: long(factors.b) }
            }
            _ => return None,
        })
    }

    /// The same for so many rows: fewer than two are no matrix.
    pub fn for_rows(self, facts: &Facts, rows: usize) -> Way {
        match self {
            Way::Matrices(kind) if rows < 2 && facts.menu.dot4_s8s8 => {
                Way::Dot4 { kind: Dot4::S8S8, flip: kind == Dot4::U8S8, swapped: false }
            }
            other => other,
        }
    }

    /// What a sum comes out too small by, for a column of weights.
    pub fn missing(self, column: &[i32]) -> i32 {
        let sum = || column.iter().fold(0i32, |sum, &w| sum.wrapping_add(w));
        let negative = || column.iter().filter(|&&w| w < 0).fold(0i32, |sum, &w| sum.wrapping_sub(w));
        match self {
            Way::Float | Way::Halves | Way::Matrices(_) | Way::Widened { .. } => 0,
            // A as u8 is 128 too large, A as i8 128 too small
            Way::Dot4 { kind: Dot4::U8S8, flip: true, swapped: false } | Way::Pairs { flip: true, .. } => sum().wrapping_mul(-128),
            Way::Dot4 { flip: true, .. } | Way::Long { flip: true, .. } => sum().wrapping_mul(128),
            Way::Dot4 { flip: false, .. } | Way::Pairs { flip: false, .. } | Way::Long { flip: false, .. } => 0,
            Way::Distances { flip: true } => sum().wrapping_mul(128).wrapping_add(negative()),
            Way::Distances { flip: false } => negative(),
        }
    }

    /// Whether each element of A is loaded anew for every vector of B, of some steps at once.
    pub fn by_columns(self) -> bool {
        match self {
            Way::Pairs { .. } | Way::Distances { .. } => true,
            Way::Float | Way::Dot4 { .. } | Way::Halves | Way::Long { .. } | Way::Widened { .. } | Way::Matrices(_) => false,
        }
    }

    /// Steps of K that are taken at once.
    pub fn together(self) -> usize {
        match self {
            Way::Pairs { together, .. } => together,
            Way::Float | Way::Dot4 { .. } | Way::Distances { .. } | Way::Halves => 1,
            Way::Long { .. } | Way::Widened { .. } | Way::Matrices(_) => 1,
        }
    }

    /// Registers beside the sums, where A is loaded anew for every vector of B.
    pub fn registers_by_column(self) -> usize {
        match self {
            // the steps of B, two of A, ones
            Way::Pairs { together, .. } => together + 3,
            // magnitudes, signs, A, ones
            Way::Distances { .. } => 4,
            Way::Float | Way::Dot4 { .. } | Way::Halves | Way::Long { .. } | Way::Widened { .. } | Way::Matrices(_) => 0,
        }
    }

    /// Registers that a product needs beside its factors.
    pub fn temporaries(self) -> usize {
        usize::from(self == Way::Halves)
    }

    /// Instructions of the multiplier for a step of a tile, and what else its units do.
    pub fn multiplications(self, rows: usize, vectors: usize) -> f64 {
        let (rows, vectors) = (rows as f64, vectors as f64);
        match self {
            Way::Float | Way::Dot4 { .. } | Way::Halves => rows * vectors,
            Way::Pairs { together, .. } => rows * vectors * (together as f64 + 1.0) / together as f64,
            Way::Distances { .. } => rows * vectors * 2.0,
            // an element of A is spread
            Way::Long { .. } => rows * (1.0 + 3.0 * vectors),
            // rows and columns are brought together
            Way::Matrices(_) => rows * vectors / 2.0 + vectors + rows / 4.0,
            // B comes in halves, an element of A is widened, each product added
            Way::Widened { .. } => rows * (1.0 + 4.0 * vectors) + 2.0 * vectors,
        }
    }

    /// Whether neither loops over single products nor [`Way::by_columns`] are for it.
    pub fn is_its_own(self) -> bool {
        match self {
            Way::Long { .. } | Way::Widened { .. } | Way::Matrices(_) => true,
            Way::Float | Way::Dot4 { .. } | Way::Pairs { .. } | Way::Distances { .. } | Way::Halves => false,
        }
    }

    /// Registers beside the sums, where it is its own.
    pub fn registers_of_its_own(self, rows: usize, vectors: usize) -> usize {
        match self {
            // A, two steps of B, two of A spread, products
            Way::Long { .. } => rows + 2 * vectors + 2 + 2 * vectors,
            // A, two steps of B and one more to change places, two rows of A
            Way::Matrices(_) => rows + 2 * vectors + 1 + 1,
            // B in halves, A, a product
            Way::Widened { .. } => 2 * vectors + 2,
            Way::Float | Way::Dot4 { .. } | Way::Pairs { .. } | Way::Distances { .. } | Way::Halves => 0,
        }
    }

    /// Registers for the sums of a tile.
    pub fn sums(self, rows: usize, vectors: usize) -> usize {
        match self {
            Way::Float | Way::Dot4 { .. } | Way::Pairs { .. } | Way::Distances { .. } | Way::Halves => rows * vectors,
            Way::Long { .. } | Way::Widened { .. } => rows * 2 * vectors,
            Way::Matrices(_) => rows.div_ceil(2) * 2 * vectors,
        }
    }

    /// Vector instructions of a step of a tile that are no loads, where A is loaded anew for every vector of B.
    pub fn instructions_by_column(self, rows: usize, vectors: usize) -> f64 {
        let (rows, vectors) = (rows as f64, vectors as f64);
        match self {
            // flipped, multiplied and added in 16 bits for each step, then widened and added
            Way::Pairs { together, flip } => rows * vectors * ((2.0 + f64::from(flip)) * together as f64 + 1.0) / together as f64,
            // flipped, multiplied, widened and added; magnitudes and signs for each vector
            Way::Distances { flip } => rows * vectors * 4.0 + vectors * (2.0 + f64::from(flip)),
            Way::Float | Way::Dot4 { .. } | Way::Halves | Way::Long { .. } | Way::Widened { .. } | Way::Matrices(_) => 0.0,
        }
    }

    /// Whether an element of A may be an operand in memory.
    pub fn takes_memory(self) -> bool {
        match self {
            Way::Float => true,
            Way::Dot4 { flip, swapped, .. } => swapped && !flip,
            Way::Pairs { .. } | Way::Distances { .. } | Way::Halves => false,
            Way::Long { .. } | Way::Widened { .. } | Way::Matrices(_) => false,
        }
    }

    /// Whether a vector of B may be an operand in memory.
    pub fn takes_right_memory(self) -> bool {
        match self {
            Way::Dot4 { swapped, .. } => !swapped,
            Way::Float | Way::Pairs { .. } | Way::Distances { .. } | Way::Halves => true,
            Way::Long { .. } | Way::Widened { .. } | Way::Matrices(_) => false,
        }
    }

    /// Whether bytes of A become those of the other sign.
    pub fn flips(self) -> bool {
        match self {
            Way::Dot4 { flip, .. } | Way::Pairs { flip, .. } | Way::Long { flip, .. } => flip,
            // there the sign of the weight flips it
            Way::Distances { .. } | Way::Float | Way::Halves | Way::Widened { .. } | Way::Matrices(_) => false,
        }
    }

    /// Where A flips: what does it, in a register.
    pub fn set_flip(self, to: V, w: &mut Writer) {
        if self.flips() {
            w.push(Stmt::Set { to, bits: FLIP });
        }
    }

    /// An element of A, or a vector of them, as the statement reads it. `flip` is a register that was set to do it, if there is one.
    pub fn prepare(self, left: V, flip: Option<V>, w: &mut Writer) {
        if self.flips() {
            w.binary(Binary::Xor, left, left, flip.map_or(Operand::Bits(FLIP), Operand::V));
        }
    }

    /// `acc` += the products of elements of A and a vector of B, one of which is in a register. `temp` is one of
    /// [`Way::temporaries`].
    pub fn multiply(self, acc: V, left: Operand, right: Operand, temp: Option<V>, w: &mut Writer) {
        match (self, left, right) {
            (Way::Dot4 { kind, swapped: false, .. }, Operand::V(a), b) => w.push(Stmt::Dot4 { kind, acc, a, b }),
            (Way::Dot4 { kind, .. }, b, Operand::V(a)) => w.push(Stmt::Dot4 { kind, acc, a, b }),
            (Way::Halves, Operand::V(a), b) | (Way::Halves, b, Operand::V(a)) => {
                let temp = temp.expect("it was counted among the registers");
                w.binary(Binary::Pair16, temp, a, b);
                w.binary(Binary::IAdd, acc, acc, Operand::V(temp));
            }
            // the vector of B comes first where it is in a register
            (_, b, Operand::V(a)) | (_, Operand::V(a), b) => w.mul_add(acc, a, b),
            (_, left, right) => panic!("{left:?} and {right:?} are both no registers"),
        }
    }
}

/// What is known of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Of so many steps, 1, 2 or 4, the products of each pair of neighbours can be added in 16 bits, by any bytes of A. 0: of
    /// none.
    pub together: usize,
    /// None is -128.
    pub above_least: bool,
}

impl Weights {
    pub const UNKNOWN: Weights = Weights { together: 0, above_least: false };

    /// What is known of both.
    pub fn and(self, other: Weights) -> Weights {
        Weights { together: self.together.min(other.together), above_least: self.above_least && other.above_least }
    }

    /// Of columns of bytes, whose steps are of four. `run` steps follow each other; then they start anew.
    pub fn of<'a>(columns: impl Iterator<Item = &'a [i32]> + Clone, run: usize) -> Weights {
        let fits = |together: usize| columns.clone().all(|column| column.chunks(4 * run).all(|run| pairs_fit(run, together)));
        let above_least = columns.clone().all(|column| column.iter().all(|&w| w > i8::MIN.into()));
        Weights { together: [4, 2, 1].into_iter().find(|&t| fits(t)).unwrap_or(0), above_least }
    }
}

/// Whether sums of 255 times the positive weights, and of 255 times the negative ones, stay in 16 bits.
fn pairs_fit(run: &[i32], together: usize) -> bool {
    const MOST: i32 = i16::MAX as i32 / 255;
    run.chunks(4 * together).all(|steps| {
        [0, 2].into_iter().all(|first| {
            let pairs = || steps.chunks(4).flat_map(|step| [step[first], step[first + 1]]);
            let sum = |sign: i32| pairs().map(|w| (w * sign).max(0)).sum::<i32>();
            sum(1) <= MOST && sum(-1) <= MOST
        })
    })
}

impl Tile<'_> {
    /// Registers of B are filled once for a vector of columns; every row then takes its elements of A.
    pub fn sum_by_columns(&self, sums: &[Vec<V>], pool: &mut crate::tile::Pool, w: &mut Writer) {
        let mut take = || pool.take().expect("the tile was chosen to fit");
        let ones = take();
        let registers: Vec<V> = (1..self.way.registers_by_column()).map(|_| take()).collect();
        w.push(Stmt::Set { to: ones, bits: ONES });
        self.over_k(w, &|w, steps| {
            for (i, steps) in steps.chunks(self.way.together()).enumerate() {
                let first = i * self.way.together();
                for v in 0..self.vectors {
                    let row = |w: &mut Writer, left: V, r: usize, which: usize| {
                        w.push(Stmt::Splat { to: left, at: self.left_at(r, steps[which]) })
                    };
                    match self.way {
                        Way::Distances { flip } => {
                            let [magnitudes, signs, left] = registers[..] else { panic!("it was given three registers") };
                            self.load_right(magnitudes, first, v, w);
                            w.push(Stmt::Unary { op: Unary::Negative8, to: signs, a: magnitudes });
                            w.push(Stmt::Unary { op: Unary::Abs8, to: magnitudes, a: magnitudes });
                            if flip {
                                w.binary(Binary::Xor, signs, signs, Operand::Bits(FLIP));
                            }
                            for (r, sums) in sums.iter().enumerate() {
                                row(w, left, r, 0);
                                w.binary(Binary::Xor, left, left, Operand::V(signs));
                                w.binary(Binary::PairSat, left, magnitudes, Operand::V(left));
                                self.widen(sums[v], left, ones, w);
                            }
                        }
                        Way::Pairs { together, .. } => {
                            let (right, lefts) = registers.split_at(together);
                            (0..steps.len()).for_each(|s| self.load_right(right[s], first + s, v, w));
                            for (r, sums) in sums.iter().enumerate() {
                                for s in 0..steps.len() {
                                    let left = lefts[usize::from(s > 0)];
                                    row(w, left, r, s);
                                    self.way.prepare(left, None, w);
                                    w.binary(Binary::PairSat, left, left, Operand::V(right[s]));
                                    if s > 0 {
                                        w.binary(Binary::Add16, lefts[0], lefts[0], Operand::V(left));
                                    }
                                }
                                self.widen(sums[v], lefts[0], ones, w);
                            }
                        }
                        Way::Float | Way::Dot4 { .. } | Way::Halves | Way::Long { .. } | Way::Widened { .. } | Way::Matrices(_) => {
                            panic!("{:?} is not by columns", self.way)
                        }
                    }
                }
            }
        });
        registers.into_iter().chain([ones]).for_each(|v| pool.give(v));
    }

    /// `acc` += both numbers of 16 bits of each lane.
    fn widen(&self, acc: V, pairs: V, ones: V, w: &mut Writer) {
        w.binary(Binary::Pair16, pairs, pairs, Operand::V(ones));
        w.binary(Binary::IAdd, acc, acc, Operand::V(pairs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_fit_are_told_from_those_that_do_not() {
        let of = |columns: &[&[i32]]| Weights::of(columns.iter().copied(), columns[0].len() / 4).together;
        assert_eq!(of(&[&[127, 1, -128, 127]]), 4);
        assert_eq!(of(&[&[127, 2, 0, 0]]), 0);
        assert_eq!(of(&[&[0, 127, 2, 0]]), 4);
        assert_eq!(of(&[&[0, 0, -100, -29]]), 0);
        assert_eq!(of(&[&[0, 0, -100, -28]]), 4);
        // the pairs of two steps, then of four
        assert_eq!(of(&[&[64, 0, 0, 0, 0, 64, 0, 0]]), 4);
        assert_eq!(of(&[&[64, 0, 0, 0, 0, 65, 0, 0]]), 1);
        assert_eq!(of(&[&[64, 0, 0, 0, 0, 64, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]]), 2);
        // one column is enough
        assert_eq!(of(&[&[1, 1, 1, 1], &[1, 1, 100, 29]]), 0);
    }

    #[test]
    fn what_is_missing_is_what_the_statements_leave_out() {
        let column = [-128, -7, 0, 5, 127, 100, -100, 1];
        let bytes = [0, 255, 17, 128, 127, 200, 3, 90];
        let wanted: i32 = column.iter().zip(bytes).map(|(w, x)| w * x).sum();
        let distances: i32 = column.iter().zip(bytes).map(|(&w, x): (&i32, i32)| if w < 0 { (127 - x) * -w } else { (x - 128) * w }).sum();
        assert_eq!(distances + Way::Distances { flip: true }.missing(&column), wanted);
        let signed: i32 = column.iter().zip(bytes).map(|(w, x)| w * (x - 128)).sum();
        assert_eq!(signed + Way::Dot4 { kind: Dot4::S8S8, flip: true, swapped: false }.missing(&column), wanted);
        assert_eq!(wanted + Way::Dot4 { kind: Dot4::U8S8, flip: true, swapped: false }.missing(&column), signed);
        assert_eq!(wanted + Way::Pairs { together: 2, flip: true }.missing(&column), signed);
    }
}
