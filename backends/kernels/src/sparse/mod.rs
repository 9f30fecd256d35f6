//! Products by weights that have zeros already: which encodings fit them, what each is predicted to take, and the choice
//! among them and the dense product. Zeros are neither made nor moved here.
//!
//! There is one encoding, [`pattern`]: where weights are not zero is in the code, what they are in the constants. Blocks are
//! patterns that load less. Bytes multiply by fours, so that four neighbours along K are one weight.

mod pattern;
mod quads;
mod strips;

use crate::Job;
use crate::build::{Builder, Home, Pointer};
use crate::cost::{Rates, Work};
use crate::dot::{Extra, Factors, Level, Product, Right, Way};
use crate::place::Place;
use crate::tile::kernel;
use ir::Dtype;
use ir::kernel::Kernel;
use ir::program::Candidate;
use ir::tensor::Tensor;
use pattern::Pattern;
use strips::Strips;

/// With fewer zeros than that nothing is asked.
const FEWEST_ZEROS: f64 = 0.2;

/// Products with less work are no matter.
const FEWEST_MACS: u64 = 20_000;

/// Code of one product, in bytes, that is worth its speed where code is fetched through caches of this size and more.
const MOST_CODE: u64 = 1 << 20;

/// The same where somebody has to compile it again before it runs.
const MOST_TRANSLATED: u64 = 128 << 10;

/// Weights that are looked at, in bytes: of more than that nearly all would have to be zeros for the code to stay small.
const MOST_WEIGHTS: usize = 64 << 20;

/// Cycles that a vector takes on its way through a transposition, and how much longer products take than the loads and
/// multiply-adds in them: measured over the table of the benchmark.
const TURNED: f64 = 3.0;
const SLACK: f64 = 1.1;

/// Emits `product` by an encoding of its zeros, if it has such and one is predicted to be worth it. `false` leaves nothing
/// behind but the record of the choice.
pub fn lower(product: &Product, way: Way, builder: &mut Builder) -> bool {
    let open = !builder.when.is_empty() || builder.rows.is_some();
    if open || product.macs < FEWEST_MACS {
        return false;
    }
    let Some(weights) = Weights::of(product, way) else { return false };
    let zeros = weights.zeros();
    if zeros < FEWEST_ZEROS {
        return false;
    }
    let facts = builder.facts;
    let rates = Rates::of(facts);
    let rows: usize = product.batch.iter().chain([&product.y, &product.x]).map(|l| l.count).product();
    let (k, n) = (weights.depth * product.factors.in_step(), product.n);
    let moved = (rows * (k * product.factors.a.bytes() + n * product.dtype.bytes())) as u64;
    let bytes = (k * n * product.factors.b.bytes()) as u64;
    let dense = match product.factors == Factors::FLOATS {
        true => rates.dense(facts, product.macs, bytes, moved),
        false => rates.dense_bytes(facts, product.macs, bytes, moved),
    };
    let mut candidates = vec![Candidate { why: format!("{:.0} % of the weights are 0", zeros * 100.0), ..Candidate::new("dense", dense) }];
    let mut plans = Vec::new();
    for (columns, vectors) in pattern::tiles(facts, product) {
        match Plan::new(product, &weights, way, (columns, vectors), builder) {
            Ok(plan) => {
                let work = Work::of(&plan.kernel).expect("a tile kernel can be counted");
                let turned = (rows.div_ceil(plan.height) * vectors * (weights.depth + n)) as f64 * TURNED * rates.cycle(facts);
                let seconds = (work.seconds(facts, &rates) * SLACK + rates.call) * plan.calls as f64 + turned;
                // code comes through the caches as data does, but not ahead of time
                let fetched = plan.code as f64 * plan.calls as f64 / rates.bandwidth(facts, plan.code.max(64 << 10));
                candidates.push(Candidate {
                    name: format!("pattern_{columns}x{vectors}"),
                    seconds: seconds + fetched,
                    code_bytes: plan.code,
                    why: format!("{} weights in {} KB of code", plan.weights, plan.code.div_ceil(1024)),
                });
                plans.push(plan);
            }
            Err(why) => candidates[0].why += &format!("; pattern_{columns}x{vectors}: {why}"),
        }
    }
    let by = if product.factors == Factors::FLOATS { "f32" } else { "i8" };
    let chosen = builder.choose(&format!("sparse {by} {rows}x{n}x{k} zeros={zeros:.2}"), &candidates);
    let Some(plan) = chosen.checked_sub(1).map(|at| plans.swap_remove(at)) else { return false };
    plan.emit(product, builder);
    true
}

/// Weights as 32 bits for each step of K and column.
struct Weights {
    depth: usize,
    bits: Vec<u32>,
}

impl Weights {
    /// `None` where they are not constants, several matrices, more than are looked at, or multiplied in a way that has no single
    /// weights.
    fn of(product: &Product, way: Way) -> Option<Weights> {
        let Right::Packed { matrices, .. } = &product.right else { return None };
        let [matrix] = &matrices[..] else { return None };
        let known = matches!(way, Way::Float | Way::Dot4 { swapped: false, .. });
        if !known || product.n == 0 || matrix.elements().saturating_mul(matrix.dtype().bytes()) > MOST_WEIGHTS {
            return None;
        }
        let bits: Vec<u32> =
            matrix.bytes().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("chunks of four bytes"))).collect();
        // a negative zero adds nothing either
        let float = way == Way::Float;
        let bits: Vec<u32> = bits.into_iter().map(|b| if float && b == 1 << 31 { 0 } else { b }).collect();
        Some(Weights { depth: bits.len() / product.n, bits })
    }

    /// The share that is 0.
    fn zeros(&self) -> f64 {
        self.bits.iter().filter(|&&b| b == 0).count() as f64 / self.bits.len().max(1) as f64
    }
}

/// A product with its kernel written.
struct Plan {
    kernel: Kernel,
    stream: Vec<u32>,
    scratch: i64,
    calls: usize,
    height: usize,
    /// What each argument moves from call to call: level, and its calls.
    cut: Option<(Level, usize)>,
    code: u64,
    weights: usize,
}

impl Plan {
    fn new(product: &Product, weights: &Weights, way: Way, (columns, vectors): (usize, usize), builder: &Builder) -> Result<Plan, String> {
        let facts = builder.facts;
        let height = vectors * facts.lanes();
        let outer: Vec<Level> = product.batch.iter().chain([&product.y]).filter(|l| l.count > 1).cloned().collect();
        let pattern = Pattern::new(product, weights, way, facts, (columns, vectors))?;
        let code = pattern.code_bytes();
        let most = if facts.name.contains("simd") { MOST_TRANSLATED } else { MOST_CODE };
        if code > most {
            return Err(format!("{} KB of code, more than {}", code / 1024, most / 1024));
        }
        let worth = builder.tasks.worth(product.macs, 0);
        let (outer, rows, cut) = strips::pieces(outer, &product.x, height, worth);
        let strips = Strips::of(rows, height, pattern.strip_bytes(), facts).ok_or(format!("{rows} rows are fewer than {height}"))?;
        let (writer, stream) = pattern.write(&outer, &strips)?;
        let scratch = pattern.strip_bytes() * strips.at_once as i64;
        let name = format!("sparse_{columns}x{height}");
        let args = pattern.args(&outer, rows, stream.len(), scratch);
        let calls = cut.as_ref().map_or(1, |c| c.1);
        Ok(Plan { kernel: kernel(name, args, writer), stream, scratch, calls, height, cut, code, weights: pattern.weights() })
    }

    fn emit(self, product: &Product, builder: &mut Builder) {
        let bytes: Vec<u8> = self.stream.iter().flat_map(|b| b.to_le_bytes()).collect();
        let Place { buffer, .. } = builder.dense_constant(&Tensor::dense(Dtype::I32, &[self.stream.len()], bytes));
        let mut args = vec![Job::pointer(&product.a, product.factors.a), Pointer { buffer, offset: 0 }];
        args.push(Job::pointer(&product.c, product.dtype));
        let memory = product.extras.iter().filter_map(|e| match e {
            Extra::Memory { place, dtype, .. } => Some(Job::pointer(place, *dtype)),
            Extra::Columns(_) => None,
        });
        args.extend(memory);
        let scratch = builder.buffer("strips", Home::Scratch, self.scratch as u64);
        args.push(Pointer { buffer: scratch, offset: 0 });
        let lists = match &self.cut {
            None => vec![args],
            Some((level, pieces)) => {
                let extras = product.extras.iter().zip(&level.extra);
                let by: Vec<i64> = extras.filter(|(e, _)| matches!(e, Extra::Memory { .. })).map(|(_, &by)| by).collect();
                let by: Vec<i64> = [level.a, 0, level.c].into_iter().chain(by).chain([0]).collect();
                let moved = |i: usize| args.iter().zip(&by).map(|(p, by)| Pointer { offset: p.offset + by * i as i64, ..*p }).collect();
                (0..*pieces).map(moved).collect()
            }
        };
        builder.step(vec![(self.kernel, lists)], product.macs);
    }
}
