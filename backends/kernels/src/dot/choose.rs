//! How large a product's tile is: the shape with the fewest predicted cycles over all rows and columns, among
//! those whose sums and operands fit the registers.

use super::Level;
use super::way::Way;
use ir::kernel::facts::Facts;

/// Rows of a tile in two directions and its width in vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub y: usize,
    pub x: usize,
    pub vectors: usize,
}

impl Shape {
    pub fn rows(self) -> usize {
        self.y * self.x
    }
}

/// Where the inner loop has elements of A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// One at a time, in all lanes of a register.
    Splat,
    /// In memory, as operands.
    Memory,
    /// A vector along K for each row; a multiply-add takes one of its lanes.
    Lanes,
    /// One at a time, anew for each vector of B.
    Columns,
    /// As the way has it: [`Way::is_its_own`].
    Own,
}

/// `step` is what A moves for each step of K, in bytes.
pub(super) fn left(facts: &Facts, way: Way, step: i64, rows: usize, vectors: usize) -> Left {
    if way.is_its_own() {
        Left::Own
    } else if way.by_columns() {
        Left::Columns
    } else if facts.menu.lane_operand && step == 4 {
        Left::Lanes
    } else if facts.menu.splat_operand && way.takes_memory() && vectors == 1 && rows > 1 {
        // with one vector a load for each product is no more than a splat for each
        Left::Memory
    } else {
        Left::Splat
    }
}

/// `count` tiles of `size`, then one fewer: a balanced split.
pub(super) fn split(total: usize, most: usize) -> Vec<(usize, usize)> {
    let tiles = total.div_ceil(most);
    let (size, larger) = (total / tiles, total % tiles);
    [(larger, size + 1), (tiles - larger, size)].into_iter().filter(|(count, _)| *count > 0).collect()
}

/// Multiply-adds that start per cycle.
fn rate(facts: &Facts) -> f64 {
    facts.accumulators as f64 / 4.0
}

/// Cycles of one step of K for a tile: the multiply-adds, the loads (two a cycle where two multiply-adds start),
/// or the latency, whichever is longest. A panel comes from L2, and whatever is loaded takes a slot: it counts a
/// little even where it hides behind the products.
fn step_cycles(facts: &Facts, way: Way, step: i64, rows: usize, vectors: usize) -> f64 {
    let products = way.multiplications(rows, vectors) / rate(facts);
    let left_loads = rows as f64 / facts.lanes() as f64;
    let (loads, traffic) = match left(facts, way, step, rows, vectors) {
        Left::Memory => ((rows * vectors + vectors) as f64, 0.25 * rows as f64),
        // the same loads whatever the tile is
        Left::Columns => ((rows * vectors + vectors) as f64, 0.0),
        Left::Splat => ((rows + vectors) as f64, 0.25 * rows as f64),
        Left::Lanes | Left::Own => (vectors as f64 + left_loads, left_loads),
    };
    // flipped elements of A take slots beside the products
    let flipped = match left(facts, way, step, rows, vectors) {
        _ if !way.flips() => 0.0,
        Left::Lanes => left_loads,
        Left::Splat => rows as f64,
        Left::Memory | Left::Columns | Left::Own => 0.0,
    };
    let traffic = (vectors as f64 * facts.vector_bytes as f64 / 64.0 + traffic) * 0.2 + flipped * 0.12;
    // twice as many units as multiply
    let instructions = way.instructions_by_column(rows, vectors) / rate(facts) / 2.0;
    products.max(loads / rate(facts)).max(instructions).max(4.0) + traffic
}

/// Vector registers that the inner loop needs beside the accumulators.
fn operands_needed(facts: &Facts, way: Way, step: i64, rows: usize, vectors: usize) -> usize {
    way.temporaries()
        + match left(facts, way, step, rows, vectors) {
            Left::Columns => way.registers_by_column(),
            Left::Own => way.registers_of_its_own(rows, vectors),
            // vectors of B come in pairs
            Left::Lanes => rows + 2,
            // where loops are not unrolled an engine orders a step by itself, all loads first, and a product that is
            // added may take one more
            _ if facts.unroll == 1 => rows + vectors + 1,
            // one splat of A; B from memory where the machine can
            _ if rows == 1 => 1 + usize::from(!(facts.menu.memory_operand && way.takes_right_memory())),
            Left::Memory => vectors,
            Left::Splat => vectors + 1,
        }
}

/// The tile with the fewest predicted cycles over the whole product; see [`tiles`].
#[expect(clippy::too_many_arguments, reason = "each is one property of the product")]
pub(super) fn choose(facts: &Facts, way: Way, y: &Level, x: &Level, n: usize, k: usize, step: i64, width: Option<usize>) -> Shape {
    let mut best: Option<(f64, Shape)> = None;
    for (cycles, shape) in tiles(facts, way, y, x, n, k, step, width) {
        if best.as_ref().is_none_or(|(c, _)| cycles < *c * 0.999) {
            best = Some((cycles, shape));
        }
    }
    best.expect("one row of one vector always fits").1
}

/// Every tile that the registers allow, with predicted cycles over the whole product; A moves `step` bytes for each of `k` steps.
/// Panels of `width` columns are walked in whole tiles.
#[expect(clippy::too_many_arguments, reason = "each is one property of the product")]
pub(super) fn tiles(
    facts: &Facts,
    way: Way,
    y: &Level,
    x: &Level,
    n: usize,
    k: usize,
    step: i64,
    width: Option<usize>,
) -> Vec<(f64, Shape)> {
    // rows a multiple of 4 KB apart fall into one set of L1, which has room for eight
    let crowded = x.a != 0 && x.a % 4096 == 0;
    let (y, x) = (y.count, x.count);
    let all = n.div_ceil(facts.lanes());
    let mut found: Vec<(f64, Shape)> = Vec::new();
    for vectors in (1..=all.min(8)).filter(|v| width.is_none_or(|w| w.is_multiple_of(v * facts.lanes()))) {
        for rows in 1..=32usize {
            if way.sums(rows, vectors) + operands_needed(facts, way, step, rows, vectors) > facts.vectors as usize {
                break;
            }
            // all of one line and several of them, or a part of one
            let shape = if rows < x { Shape { y: 1, x: rows, vectors } } else { Shape { y: (rows / x).clamp(1, y), x, vectors } };
            let tiles = split(y, shape.y)
                .iter()
                .flat_map(|&(ny, sy)| split(x, shape.x).into_iter().map(move |(nx, sx)| (ny * nx, sy * sx)))
                .collect::<Vec<_>>();
            let panels = [(all / vectors, vectors), (usize::from(!all.is_multiple_of(vectors)), all % vectors)];
            let mut cycles = 0.0;
            for &(tiles, rows) in &tiles {
                for &(panels, vectors) in panels.iter().filter(|p| p.0 > 0) {
                    let overhead = 12.0 + 2.0 * (rows * vectors) as f64 / rate(facts);
                    let spill = if crowded && rows > 8 { 1.06 } else { 1.0 };
                    cycles += (tiles * panels) as f64 * (k as f64 * step_cycles(facts, way, step, rows, vectors) * spill + overhead);
                }
            }
            found.push((cycles, shape));
        }
    }
    found
}
