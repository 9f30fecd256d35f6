//! Sums of products of bytes where a machine multiplies matrices: two rows of A and two columns of B, over two steps of K,
//! are one instruction. Rows are brought together from vectors along K, columns from those of two steps; behind K the sums
//! of two rows are taken apart.

use super::sums::Tile;
use crate::tile::{Pool, Writer};
use ir::kernel::tile::{Binary, Dot4, Operand, Stmt, V};

impl Tile<'_> {
    /// For each pair of rows the sums of two columns and two, in the order of columns.
    fn start_matrices(&self, pool: &mut Pool, w: &mut Writer) -> Vec<Vec<V>> {
        let mut take = || pool.take().expect("the tile was chosen to fit");
        let sums: Vec<Vec<V>> = (0..self.rows.div_ceil(2)).map(|_| (0..2 * self.vectors).map(|_| take()).collect()).collect();
        sums.iter().flatten().for_each(|&to| w.push(Stmt::Set { to, bits: 0 }));
        sums
    }

    /// Sums row by row, of which there is one register for a vector of columns.
    fn split_matrices(&self, sums: Vec<Vec<V>>, pool: &mut Pool, w: &mut Writer) -> Vec<Vec<V>> {
        let mut rows = vec![Vec::new(); 2 * sums.len()];
        for (pair, sums) in sums.iter().enumerate() {
            for both in sums.chunks_exact(2) {
                let first = pool.take().expect("the operands are done with");
                w.binary(Binary::LowHalves, first, both[0], Operand::V(both[1]));
                rows[2 * pair].push(first);
                if 2 * pair + 1 < self.rows {
                    w.binary(Binary::HighHalves, both[1], both[0], Operand::V(both[1]));
                    rows[2 * pair + 1].push(both[1]);
                } else {
                    pool.give(both[1]);
                }
                pool.give(both[0]);
            }
        }
        rows.truncate(self.rows);
        rows
    }

    /// A and B come in vectors along K, B of columns side by side.
    pub fn sums_of_matrices(&self, kind: Dot4, pool: &mut Pool, w: &mut Writer) -> Vec<Vec<V>> {
        let sums = self.start_matrices(pool, w);
        let mut take = |count: usize| (0..count).map(|_| pool.take().expect("the tile was chosen to fit")).collect::<Vec<V>>();
        let (left, right, pair) = (take(self.rows), take(2 * self.vectors + 1), take(1));
        self.over_k(w, &|w, steps| {
            for (first, count) in self.together(steps) {
                for (r, &to) in left.iter().enumerate() {
                    w.push(Stmt::Load { to, at: self.left_at(r, steps[first]), lanes: count as u8 });
                }
                for u in (0..count).step_by(2) {
                    let columns = self.columns_of_two(&right, first + u, u + 1 < count, w);
                    let op = if u == 0 { Binary::LowHalves } else { Binary::HighHalves };
                    for (sums, rows) in sums.iter().zip(left.chunks(2)) {
                        w.binary(op, pair[0], rows[0], Operand::V(rows[rows.len() - 1]));
                        for (&acc, &b) in sums.iter().zip(&columns) {
                            w.push(Stmt::Matrix2x8 { kind, acc, a: pair[0], b });
                        }
                    }
                }
            }
        });
        [left, right, pair].into_iter().flatten().for_each(|v| pool.give(v));
        self.split_matrices(sums, pool, w)
    }

    /// Columns in pairs, each with the bytes of step `u` and the one behind it. Without a second one A has zeros there, and B
    /// may have anything.
    fn columns_of_two(&self, registers: &[V], u: usize, second: bool, w: &mut Writer) -> Vec<V> {
        let (mut free, loaded) = (registers[0], &registers[1..]);
        let steps = if second { 2 } else { 1 };
        for (i, &to) in loaded[..steps * self.vectors].iter().enumerate() {
            self.load_right(to, u + i / self.vectors, i % self.vectors, w);
        }
        let mut columns = Vec::new();
        for v in 0..self.vectors {
            let (a, b) = (loaded[v], loaded[v + (steps - 1) * self.vectors]);
            w.binary(Binary::LowLanes, free, a, Operand::V(b));
            w.binary(Binary::HighLanes, b, a, Operand::V(b));
            columns.extend([free, b]);
            // without a second step its register was not used
            free = if second { a } else { loaded[v + self.vectors] };
        }
        columns
    }
}
