//! Products with weights of 2, 4 or 8 bits in blocks along K, each block of a column with its scale and zero point. They stay
//! packed: a word of 32 bits holds numbers of one column that follow each other along K, all of them unsigned. The panel of a block
//! is its words, a row of scales, and a row of zero points unless all of them are the middle of the range. What tiles make of it
//! stands in [`super::unpack`].

use super::choose::Shape;
use super::emit::{Emit, plan, simplify, write};
use super::panels::panels;
use super::unpack::{Unpack, registers, registers_of_one};
use super::way::Way;
use super::{Extra, Factors, Level, Product, Right, Segment, extra_steps, extras_of, matrix, with_batch};
use crate::Job;
use crate::build::Builder;
use ir::graph::eval;
use ir::graph::op::Op;
use ir::kernel::facts::Facts;
use ir::tensor::{Tensor, Type};
use ir::{Dtype, Graph, NodeId};

/// Vectors of a tile at most: more rows of A are worth more than they are.
const VECTORS: usize = 4;
/// Rows of a tile at most.
const ROWS: usize = 8;

/// A constant matrix of small integers, and what they stand for.
#[derive(Clone, Debug)]
pub struct Blocked<'g> {
    pub numbers: &'g Tensor,
    pub scale: &'g Tensor,
    pub zero: &'g Tensor,
    pub axis: usize,
    /// Numbers along `axis` that share a scale; 0: there is one for each position of `axis`, or one for all.
    pub block: usize,
}

/// The `dequantize` of constants that a node is, if it is one.
pub fn blocked(graph: &Graph, id: NodeId) -> Option<Blocked<'_>> {
    let Op::Dequantize { axis, block } = *graph.op(id) else { return None };
    let [numbers, scale, zero] = graph.operands(id)[..] else { return None };
    Some(Blocked { numbers: graph.as_const(numbers)?, scale: graph.as_const(scale)?, zero: graph.as_const(zero)?, axis, block })
}

/// How a panel holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    pub bits: usize,
    /// Numbers along K in a block; the last may have fewer.
    pub size: usize,
    /// Each block has a row of zero points.
    pub zeros: bool,
}

impl Blocks {
    /// Numbers in a word.
    pub fn in_word(self) -> usize {
        32 / self.bits
    }

    /// The zero point that has no row.
    pub fn middle(self) -> i64 {
        1 << (self.bits - 1)
    }

    /// Rows of 32 bits for each column that a block of so many numbers takes.
    pub fn rows(self, numbers: usize) -> usize {
        numbers.div_ceil(self.in_word()) + 1 + usize::from(self.zeros)
    }

    /// The bits of number `j` of a word.
    pub fn mask(self, j: usize) -> u32 {
        (u32::MAX >> (32 - self.bits)) << (j * self.bits)
    }
}

impl Blocked<'_> {
    /// The floats.
    pub fn floats(&self) -> Tensor {
        let op = Op::Dequantize { axis: self.axis, block: self.block };
        let ty = Type::of(self.scale.dtype(), self.numbers.shape());
        eval::eval_node(&op, &ty, &[self.numbers, self.scale, self.zero]).expect("constants of a verified graph fit each other")
    }

    /// What makes the numbers unsigned.
    fn up(&self) -> i64 {
        let dtype = self.numbers.dtype();
        if dtype.is_unsigned_int() { 0 } else { 1 << (dtype.bits() - 1) }
    }

    /// How a panel of `k` numbers in each column holds them, if it can: `along` is the axis of K.
    fn blocks(&self, along: usize, k: usize) -> Option<Blocks> {
        let bits = match self.numbers.dtype() {
            Dtype::I8 | Dtype::U8 => 8,
            Dtype::I4 | Dtype::U4 => 4,
            Dtype::I2 | Dtype::U2 => 2,
            _ => return None,
        };
        let size = if self.block > 0 { self.block.min(k) } else { k };
        let lined = self.axis == along || self.block == 0;
        let each = self.block > 0 || self.scale.shape().is_empty() || self.axis != along;
        let whole = size == k || size.is_multiple_of(32 / bits);
        let fits = self.numbers.shape().len() == 2 && self.scale.dtype() == Dtype::F32 && lined && each && whole;
        let blocks = Blocks { bits, size, zeros: true };
        let zeros = self.zero.to_i64s().iter().any(|&z| z + self.up() != blocks.middle());
        fits.then_some(Blocks { zeros, ..blocks })
    }

    /// Panels' rows `[rows, n]` of 32 bits, of which [`Blocks::rows`] says how many there are.
    fn words(&self, blocks: Blocks, along: usize, (k, n): (usize, usize)) -> Tensor {
        // [k, n], and [blocks, n] or what repeats to it
        let turned = |t: &Tensor| if along == 1 { t.permute(&[1, 0]) } else { t.clone() };
        let count = k.div_ceil(blocks.size);
        let lined = |t: &Tensor| match (t.shape().len(), self.block) {
            (0, _) => t.reshape(&[1, 1]).expand(&[count, n]),
            (_, 0) => t.reshape(&[1, n]).expand(&[count, n]),
            _ => turned(t),
        };
        let (numbers, up) = (turned(self.numbers).bytes(), self.up());
        let (scales, zeros) = (lined(self.scale).to_f32s(), lined(self.zero).to_i64s());
        let per = blocks.in_word();
        let mut out: Vec<u8> = Vec::new();
        for block in 0..count {
            let first = block * blocks.size;
            let numbers = &numbers[first * n..k.min(first + blocks.size) * n];
            for rows in numbers.chunks(per * n) {
                let mut words = vec![0u32; n];
                for (i, row) in rows.chunks_exact(n).enumerate() {
                    for (word, &number) in words.iter_mut().zip(row) {
                        *word |= (u32::from(number).wrapping_add(up as u32) & blocks.mask(0)) << (i * blocks.bits);
                    }
                }
                out.extend(words.iter().flat_map(|w| w.to_le_bytes()));
            }
            out.extend(scales[block * n..][..n].iter().flat_map(|s| s.to_le_bytes()));
            if blocks.zeros {
                out.extend(zeros[block * n..][..n].iter().flat_map(|&z| ((z + up) as f32).to_le_bytes()));
            }
        }
        Tensor::dense(Dtype::F32, &[out.len() / 4 / n, n], out)
    }
}

/// Emits the dot of `job` by `right`, if floats stand on the left and its columns lie side by side.
pub fn lower(job: &Job, right: &Blocked, builder: &mut Builder) -> bool {
    let Op::Dot { trans_a, trans_b, epilogue } = job.op else { return false };
    let rank = job.shape.len();
    let (m, n) = (job.shape[rank - 2], job.shape[rank - 1]);
    let a = &job.operands[0];
    let k = a.shape[a.shape.len() - if *trans_a { 2 } else { 1 }];
    let along = usize::from(*trans_b);
    let Some(blocks) = right.blocks(along, k).filter(|_| a.dtype == Dtype::F32 && k > 0) else { return false };
    if job.place.strides[rank - 1] != 1 && n > 1 {
        return false;
    }
    let Some((extras, epilogue)) = extras_of(Dtype::F32, &job.operands[2..], epilogue, &job.shape, builder) else { return false };
    let a_place = a.place(builder);
    let a_at = matrix(&a_place.expand(&a.shape, &with_batch(&job.shape[..rank - 2], &a.shape)), *trans_a);
    let words = builder.words_of(right, *trans_b, || right.words(blocks, along, (k, n)));
    let extra_strides: Vec<Vec<i64>> = extras.iter().map(|e| extra_steps(e, rank)).collect();
    let level = |i: usize, count: usize| Level {
        count,
        a: a_at.strides[i] * 4,
        b: 0,
        c: job.place.strides[i] * job.dtype.bytes() as i64,
        extra: extra_strides.iter().map(|s| s[i]).collect(),
    };
    let mut product = Product {
        name: format!("dot_w{}", blocks.bits),
        factors: Factors::FLOATS,
        batch: (0..rank - 2).map(|i| level(i, job.shape[i])).collect(),
        y: Level { count: 1, a: 0, b: 0, c: 0, extra: vec![0; extras.len()] },
        x: level(rank - 2, m),
        segments: vec![],
        run: Segment { count: k, a: a_at.strides[rank - 1] * 4 },
        back: 0,
        n,
        a: a_at,
        right: Right::Packed { matrices: vec![words], steps: vec![0; rank - 2] },
        c: job.place.clone(),
        dtype: job.dtype,
        extras,
        epilogue,
        macs: job.shape.iter().product::<usize>() as u64 * k as u64,
    };
    if product.extras.iter().filter(|e| matches!(e, Extra::Memory { .. })).count() > 2 {
        return false;
    }
    simplify(&mut product);
    let (facts, packing) = (builder.facts, builder.packing);
    let width = vectors(packing, n) * packing.lanes();
    let one = product.x.count * product.y.count == 1 && product.batch.is_empty() && product.run.a == 4;
    let shape = shape(facts, blocks, width, one, &product);
    let (whole, rest) = (k / blocks.size, k % blocks.size);
    let rest = if rest > 0 { blocks.rows(rest) } else { 0 };
    let emit = Emit {
        depth: whole * blocks.rows(blocks.size) + rest,
        shape,
        panels: panels(width, shape.vectors * facts.lanes(), n, (packing.lanes(), facts.lanes()), Way::Float),
        blocks: Some(Unpack::new(blocks, one)),
        ..plan(&product, Way::Float, facts, packing, None)
    };
    let outside = emit.panels_outside();
    write(emit, outside, builder)
}

/// Vectors of a panel.
fn vectors(facts: &Facts, n: usize) -> usize {
    VECTORS.min(n.div_ceil(facts.lanes()).next_power_of_two())
}

/// The tile for panels of `width` columns, of the only row if there is `one`.
fn shape(facts: &Facts, blocks: Blocks, width: usize, one: bool, product: &Product) -> Shape {
    let (y, x) = (product.y.count, product.x.count);
    let fits = |rows: usize, vectors: usize| {
        let needed = if one { registers_of_one(vectors, 1) } else { registers(blocks, rows, vectors) };
        needed <= facts.vectors as usize
    };
    let divide = [VECTORS, 2, 1].into_iter().filter(|v| width.is_multiple_of(v * facts.lanes()));
    if one {
        let vectors = divide.clone().find(|&v| fits(1, v)).unwrap_or(1);
        return Shape { y: 1, x: 1, vectors };
    }
    // what is unpacked serves all rows, so rows come first, but two vectors are better than one
    let best = divide.filter_map(|v| (1..=(x * y).min(ROWS)).rev().find(|&r| fits(r, v)).map(|r| (r, v)));
    let (rows, vectors) = best.max_by_key(|&(r, v)| (r * v.min(2), v)).unwrap_or((1, 1));
    if rows < x { Shape { y: 1, x: rows, vectors } } else { Shape { y: (rows / x).clamp(1, y), x, vectors } }
}
