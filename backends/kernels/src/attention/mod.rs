//! Attention as one kernel: for a block of queries the scores of all keys lie in the worker's scratch, a column for each
//! query, so that a softmax goes down columns and no lanes are ever folded. Queries are turned into columns there; keys
//! and values are read in place, and the result is written where it belongs. Two products with what lies between them,
//! all in one loop over blocks.
//!
//! What is known of one attention, and how it is cut into calls, stands here; [`block`] writes a block.

mod apart;
mod block;
mod scores;

use crate::Job;
use crate::build::{BufferId, Builder, Home, Pointer};
use crate::copy;
use crate::dot::Extra;
use crate::place::Place;
use crate::tasks::cut;
use crate::tile::{Writer, arg, kernel};
pub use apart::apart;
use ir::Dtype;
use ir::graph::op::Op;
use ir::kernel::tile::{P, Stmt};
use ir::kernel::{Access, Facts, Kernel};
use ir::scalar::Body;

/// Blocks in which the keys that a causal mask hides are left out.
const STAIRS: usize = 4;

/// Where the streams of a kernel begin; extras follow.
const Q: P = P(0);
const K: P = P(1);
const V: P = P(2);
const OUT: P = P(3);
const SCRATCH: P = P(4);
const EXTRAS: u8 = 5;

/// An attention with everything known but how it is cut.
struct Attention<'a> {
    facts: &'a Facts,
    /// Extents and places of the leading axes stand before those of the matrices.
    lead: Vec<usize>,
    queries: usize,
    keys: usize,
    /// Numbers of a query and of a value.
    depth: usize,
    width: usize,
    q: Place,
    k: Place,
    v: Place,
    out: Place,
    /// What scores are made of beside the products: a row for each key, a column for each query.
    extras: Vec<Extra>,
    places: Vec<Place>,
    body: Body,
    guarded: bool,
    /// Queries that are worked on at a time.
    block: usize,
    causal: Option<i64>,
}

/// Queries from `first` on, that may see `keys`.
#[derive(Clone, Copy)]
struct Rows {
    first: usize,
    count: usize,
    keys: usize,
}

/// Emits the attention of `job`, if it is one for vectors.
pub fn lower(job: &Job, builder: &mut Builder) -> bool {
    let Some(attention) = Attention::of(job, builder) else { return false };
    let (groups, heads) = attention.pieces(builder);
    let scratch = builder.buffer("scores", Home::Scratch, 0);
    // a loop over heads takes a register, which there may not be
    let Some((kernels, bytes)) = [heads, 1].iter().find_map(|&heads| attention.kernels(&groups, heads, scratch)) else { return false };
    builder.buffers[scratch.0].bytes = bytes as u64;
    builder.step(kernels, attention.macs());
    true
}

/// Kernels with the arguments of their calls, and the scratch of the largest.
type Calls = (Vec<(Kernel, Vec<Vec<Pointer>>)>, i64);

impl<'a> Attention<'a> {
    fn of(job: &Job, builder: &mut Builder<'a>) -> Option<Attention<'a>> {
        let Op::Attention { causal, guarded, prologue } = job.op else { return None };
        let rank = job.shape.len();
        let lead = job.shape[..rank - 2].to_vec();
        let (q, k, v) = (&job.operands[0], &job.operands[1], &job.operands[2]);
        let last = |shape: &[usize], i: usize| shape[shape.len() - i];
        let (queries, width) = (job.shape[rank - 2], job.shape[rank - 1]);
        let (keys, depth) = (last(&k.shape, 2), last(&k.shape, 1));
        if keys == 0 || depth == 0 || (job.place.strides[rank - 1] != 1 && width > 1) {
            return None;
        }
        let facts = builder.facts;
        let causal = causal.as_ref().map(|dim| dim.fixed().expect("the graph was checked to be fixed"));
        let mut scores = lead.clone();
        scores.extend([queries, keys]);
        let (extras, places, body) = scores::extras(&job.operands[3..], prologue, &scores, causal, builder)?;
        let spread =
            |place: Place, shape: &[usize], rows: usize, columns: usize| place.expand(shape, &[lead.as_slice(), &[rows, columns]].concat());
        let mut values = v.place(builder);
        if values.strides[v.shape.len() - 1] != 1 && width > 1 {
            // numbers of a value side by side
            let elements: usize = v.shape.iter().product();
            let dense = Place::dense(builder.buffer("values", Home::Arena, elements as u64 * 4), &v.shape);
            copy::copy(builder, Dtype::F32, &v.shape, &values, &dense);
            values = dense;
        }
        Some(Attention {
            facts,
            queries,
            keys,
            depth,
            width,
            q: spread(q.place(builder), &q.shape, queries, depth),
            k: spread(k.place(builder), &k.shape, keys, depth),
            v: spread(values, &v.shape, keys, width),
            out: job.place.clone(),
            extras,
            places,
            body,
            guarded: *guarded,
            block: block_size(facts, queries, keys),
            causal,
            lead,
        })
    }

    fn macs(&self) -> u64 {
        let scores = self.lead.iter().product::<usize>() * self.queries * self.keys;
        scores as u64 * (self.depth + self.width) as u64
    }

    /// Queries cut into groups, and how many heads a call takes.
    fn pieces(&self, builder: &Builder) -> (Vec<Rows>, usize) {
        let leads: usize = self.lead.iter().product();
        let last = self.lead.last().copied().unwrap_or(1);
        let worth = builder.tasks.worth(self.macs(), 0);
        let heads = cut(last, 1, (worth * last / leads).max(1), |_| true).size;
        let stairs = if self.causal.is_some() { STAIRS } else { 1 };
        let queries = cut(self.queries, self.block, stairs.max(worth.div_ceil(leads)), |_| true);
        let rows = |(first, count): (usize, usize)| {
            let seen = |causal: i64| ((first + count - 1) as i64).saturating_add(causal).saturating_add(1).clamp(1, self.keys as i64);
            Rows { first, count, keys: self.causal.map_or(self.keys, |causal| seen(causal) as usize) }
        };
        (queries.each().map(rows).collect(), heads)
    }

    /// The first leading position of each call, and its heads.
    fn calls(&self, heads: usize) -> Vec<(Vec<usize>, usize)> {
        let Some((&last, outer)) = self.lead.split_last() else { return vec![(Vec::new(), 1)] };
        let mut starts: Vec<Vec<usize>> = vec![Vec::new()];
        for &n in outer {
            starts = starts.iter().flat_map(|s| (0..n).map(move |i| [s.as_slice(), &[i]].concat())).collect();
        }
        let parts = |s: &Vec<usize>| (0..last).step_by(heads).map(|i| ([s.as_slice(), &[i]].concat(), heads.min(last - i))).collect();
        starts.iter().flat_map(|s| -> Vec<(Vec<usize>, usize)> { parts(s) }).collect()
    }

    /// Bytes that a stream moves for each head of a call.
    fn head(&self, place: &Place) -> i64 {
        self.lead.len().checked_sub(1).map_or(0, |i| place.strides[i] * 4)
    }

    fn args(&self, start: &[usize], rows: Rows, scratch: BufferId) -> Vec<Pointer> {
        let at = |place: &Place, along: i64| {
            let lead: i64 = start.iter().zip(&place.strides).map(|(&i, s)| i as i64 * s).sum();
            Pointer { buffer: place.buffer, offset: (place.offset + lead + rows.first as i64 * along) * 4 }
        };
        let row = self.lead.len();
        let mut args = vec![at(&self.q, self.q.strides[row]), at(&self.k, 0), at(&self.v, 0), at(&self.out, self.out.strides[row])];
        args.push(Pointer { buffer: scratch, offset: 0 });
        args.extend(self.places.iter().zip(&self.extras).map(|(place, extra)| at(place, i64::from(across(extra)))));
        args
    }

    fn kernels(&self, groups: &[Rows], heads: usize, scratch: BufferId) -> Option<Calls> {
        let mut kernels: Vec<(Rows, usize, Kernel, Vec<Vec<Pointer>>)> = Vec::new();
        let mut bytes = 0;
        for &rows in groups {
            for (start, count) in self.calls(heads) {
                let args = self.args(&start, rows, scratch);
                match kernels.iter_mut().find(|k| (k.0.count, k.0.keys, k.1) == (rows.count, rows.keys, count)) {
                    Some(known) => known.3.push(args),
                    None => {
                        let (kernel, wanted) = self.kernel(rows, count)?;
                        bytes = bytes.max(wanted);
                        kernels.push((rows, count, kernel, vec![args]));
                    }
                }
            }
        }
        Some((kernels.into_iter().map(|(_, _, kernel, lists)| (kernel, lists)).collect(), bytes))
    }

    /// The kernel for such rows of so many heads, and the scratch that it needs in bytes.
    fn kernel(&self, rows: Rows, heads: usize) -> Option<(Kernel, i64)> {
        let mut w = Writer::new();
        let (full, rest) = (rows.count / self.block, rows.count % self.block);
        let row = self.lead.len();
        let mut scratch = 0;
        let mut done = Some(());
        let shift = |w: &mut Writer, queries: i64| {
            w.advance(Q, queries * self.q.strides[row] * 4);
            w.advance(OUT, queries * self.out.strides[row] * 4);
            for (i, extra) in self.extras.iter().enumerate().filter(|(_, extra)| across(extra)) {
                w.advance(P(EXTRAS + i as u8), queries * extra.dtype().bytes() as i64);
            }
        };
        w.repeat(heads, |w| {
            for (times, count) in [(full, self.block), (usize::from(rest > 0), rest)] {
                w.repeat(times, |w| {
                    match self.block(count, rows.keys, w) {
                        Some(bytes) => scratch = scratch.max(bytes),
                        None => done = None,
                    }
                    shift(w, count as i64);
                });
            }
            shift(w, -(rows.count as i64));
            for (p, place) in [(Q, &self.q), (K, &self.k), (V, &self.v), (OUT, &self.out)] {
                w.advance(p, self.head(place));
            }
            for (i, place) in self.places.iter().enumerate() {
                w.advance(P(EXTRAS + i as u8), self.head(place));
            }
        });
        done?;
        let pointers = EXTRAS as usize + self.extras.len() + 2;
        if pointers + depth(&w.out) > self.facts.generals as usize {
            return None;
        }
        let reach = |place: &Place, count: usize, columns: usize| {
            let steps = [(heads, self.head(place)), (count, place.strides[row] * 4), (columns, place.strides[row + 1] * 4)];
            steps.iter().fold((0, 4), |(low, high), &(n, step)| {
                let end = (n as i64 - 1) * step;
                (low + end.min(0), high + end.max(0))
            })
        };
        let read = |name: &str, (low, high): (i64, i64)| arg(name, Access::Read, low, high);
        let out = reach(&self.out, rows.count, self.width);
        let mut args = vec![
            read("q", reach(&self.q, rows.count, self.depth)),
            read("k", reach(&self.k, rows.keys, self.depth)),
            read("v", reach(&self.v, rows.keys, self.width)),
            arg("out", Access::ReadWrite, out.0, out.1),
            arg("scratch", Access::ReadWrite, 0, scratch),
        ];
        for (place, extra) in self.places.iter().zip(&self.extras) {
            args.push(read("extra", reach(place, rows.keys, if across(extra) { rows.count } else { 1 })));
        }
        Some((kernel(format!("attention_{}", self.block), args, w), scratch))
    }
}

/// Whether an operand of the scores differs from query to query.
fn across(extra: &Extra) -> bool {
    matches!(extra, Extra::Memory { contiguous: true, .. })
}

/// As many queries as keep both products busy, while their scores stay in half of L2.
fn block_size(facts: &Facts, queries: usize, keys: usize) -> usize {
    let lanes = facts.lanes();
    let mut block = 4 * lanes.min(8);
    while block > lanes && (block / 2 >= queries || (block * keys * 4) as u64 > facts.caches[1] / 2) {
        block /= 2;
    }
    block
}

fn depth(body: &[Stmt]) -> usize {
    body.iter().map(|stmt| if let Stmt::Loop { body, .. } = stmt { 1 + depth(body) } else { 0 }).max().unwrap_or(0)
}
