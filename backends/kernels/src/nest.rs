//! Loop nests over memory: the axes of an operator, and how many bytes every operand moves along each of them.
//! Axes that all operands walk alike become one, operands that walk together share a pointer, constants are laid
//! out side by side when the kernel is called. What is computed inside a nest, it does not know.

use crate::body::{Param, Pressure, is_vector, narrow};
use crate::build::{BufferId, Builder, Home, Pointer};
use crate::place::{Place, dense_strides};
use crate::tasks::{self, Cut};
use crate::tile::{self, Pool, Writer, arg, at, kernel};
use crate::{Source, Where, math};
use ir::Dtype;
use ir::kernel::tile::{At, P, Stmt, V};
use ir::kernel::{Access, Arg, Facts};
use ir::program::{Packed, Part};
use ir::scalar::{self, Body, Literal};
use ir::tensor::Tensor;

/// Pointers that a tile kernel may be given.
const MOST_POINTERS: usize = 6;

/// Where a stream's elements come from.
#[derive(Clone, Debug)]
enum Origin {
    /// `offset` bytes into the buffer.
    Memory { buffer: BufferId, offset: i64 },
    /// Dense, laid out when the kernel is called.
    Constant(Tensor),
    /// So many bytes of the worker's scratch.
    Scratch(u64),
}

/// An operand in memory.
#[derive(Clone, Debug)]
pub struct Stream {
    name: &'static str,
    origin: Origin,
    access: Access,
    dtype: Dtype,
    /// Bytes from one element to the next along each axis.
    steps: Vec<i64>,
    /// Bytes touched around the first element, where that is not what the axes say.
    reach: Option<(i64, i64)>,
    /// Bytes touched before and behind what the axes say.
    beyond: (i64, i64),
}

impl Stream {
    /// An operand, broadcast to `shape`.
    pub fn read(name: &'static str, source: &Source, shape: &[usize]) -> Stream {
        let (origin, strides) = match &source.at {
            Where::Constant(tensor) => {
                let dense = Place { buffer: BufferId(0), offset: 0, strides: dense_strides(&source.shape) };
                (Origin::Constant((*tensor).clone()), dense.expand(&source.shape, shape).strides)
            }
            Where::Place(place) => {
                let offset = place.byte_offset(source.dtype);
                (Origin::Memory { buffer: place.buffer, offset }, place.expand(&source.shape, shape).strides)
            }
        };
        let dtype = source.dtype;
        let steps = strides.iter().map(|s| s * dtype.bytes() as i64).collect();
        Stream { name, origin, access: Access::Read, dtype, steps, reach: None, beyond: (0, 0) }
    }

    /// The result; read again by some.
    pub fn write(name: &'static str, place: &Place, dtype: Dtype) -> Stream {
        let origin = Origin::Memory { buffer: place.buffer, offset: place.byte_offset(dtype) };
        let steps = place.strides.iter().map(|s| s * dtype.bytes() as i64).collect();
        Stream { name, origin, access: Access::ReadWrite, dtype, steps, reach: None, beyond: (0, 0) }
    }

    /// A constant that stays where it is.
    pub fn still(name: &'static str, tensor: Tensor, rank: usize) -> Stream {
        let dtype = tensor.dtype();
        let reach = Some((0, (tensor.elements() * dtype.bytes()) as i64));
        Stream { name, origin: Origin::Constant(tensor), access: Access::Read, dtype, steps: vec![0; rank], reach, beyond: (0, 0) }
    }

    /// The same elements for every index of the axes that `drop` names.
    pub fn without(mut self, drop: &[bool]) -> Stream {
        self.steps.iter_mut().zip(drop).filter(|(_, d)| **d).for_each(|(s, _)| *s = 0);
        self
    }

    /// Moving so many bytes per axis instead, within `reach` bytes around the first element.
    pub fn moving(self, steps: Vec<i64>, reach: (i64, i64)) -> Stream {
        Stream { steps, reach: Some(reach), ..self }
    }

    /// Touching so many bytes before and behind what its axes reach.
    pub fn stretched(self, low: i64, high: i64) -> Stream {
        Stream { beyond: (low, high), ..self }
    }

    pub fn read_only(self) -> Stream {
        Stream { access: Access::Read, ..self }
    }

    /// With one more axis, along which it stays where it is.
    pub fn with_axis(mut self, at: usize) -> Stream {
        self.steps.insert(at, 0);
        self
    }

    /// Bytes of an element.
    fn width(&self) -> i64 {
        self.dtype.bytes() as i64
    }

    fn buffer(&self) -> Option<BufferId> {
        match self.origin {
            Origin::Memory { buffer, .. } => Some(buffer),
            Origin::Constant(_) | Origin::Scratch(_) => None,
        }
    }

    /// Bytes touched around the first element.
    fn range(&self, counts: &[usize]) -> (i64, i64) {
        self.reach.unwrap_or_else(|| {
            self.steps.iter().zip(counts).fold((self.beyond.0, self.beyond.1 + self.width()), |(low, high), (&step, &count)| {
                let end = (count as i64 - 1) * step;
                (low + end.min(0), high + end.max(0))
            })
        })
    }
}

/// An operand by number, in the order they were given.
pub type StreamId = usize;

/// So many steps along axes.
pub type Moves<'a> = &'a [(usize, i64)];

/// Writes what is inside of a loop; how far it leaves the pointers moved.
pub type Inside<'a> = &'a mut dyn FnMut(&mut Writer) -> Vec<(usize, i64)>;

/// See the module.
#[derive(Clone, Debug)]
pub struct Nest {
    pub counts: Vec<usize>,
    /// Whether an axis belongs to those that the operator works along.
    pub along: Vec<bool>,
    streams: Vec<Stream>,
    /// For each stream its pointer, and the bytes from there.
    lines: Vec<(usize, i64)>,
    /// The first stream of each pointer.
    leaders: Vec<StreamId>,
}

impl Nest {
    /// Axes of size 1 go; neighbours that every stream walks as one become one, if both are `along` or neither.
    pub fn new(shape: &[usize], along: &[bool], streams: Vec<Stream>) -> Nest {
        let mut axes: Vec<usize> = (0..shape.len()).filter(|&i| shape[i] != 1).collect();
        let mut counts = shape.to_vec();
        let mut i = axes.len();
        while i > 1 {
            i -= 1;
            let (outer, inner) = (axes[i - 1], axes[i]);
            let joins = |s: &Stream| s.steps[outer] == s.steps[inner] * counts[inner] as i64;
            if along[outer] == along[inner] && streams.iter().all(joins) {
                counts[inner] *= counts[outer];
                axes.remove(i - 1);
            }
        }
        let mut nest = Nest {
            counts: axes.iter().map(|&i| counts[i]).collect(),
            along: axes.iter().map(|&i| along[i]).collect(),
            streams: streams.into_iter().map(|s| Stream { steps: axes.iter().map(|&i| s.steps[i]).collect(), ..s }).collect(),
            lines: Vec::new(),
            leaders: Vec::new(),
        };
        if axes.is_empty() {
            nest.counts.push(1);
            nest.along.push(false);
            nest.streams.iter_mut().for_each(|s| s.steps.push(s.width()));
        }
        nest.assign();
        nest
    }

    /// All axes as they are.
    pub fn plain(counts: &[usize], streams: Vec<Stream>) -> Nest {
        let mut nest = Nest { counts: counts.to_vec(), along: vec![false; counts.len()], streams, lines: Vec::new(), leaders: Vec::new() };
        nest.assign();
        nest
    }

    /// Pointers for streams that have none yet.
    fn assign(&mut self) {
        for id in self.lines.len()..self.streams.len() {
            let stream = &self.streams[id];
            let found = self.leaders.iter().enumerate().find_map(|(line, &leader)| {
                let other = &self.streams[leader];
                if other.steps != stream.steps {
                    return None;
                }
                match (&other.origin, &stream.origin) {
                    (Origin::Memory { buffer: a, offset: from }, Origin::Memory { buffer: b, offset: to }) => {
                        let apart = to - from;
                        (a == b && apart.abs() < 1 << 28).then_some((line, apart))
                    }
                    (Origin::Constant(_), Origin::Constant(_)) => Some((line, self.constant_bytes(line))),
                    _ => None,
                }
            });
            match found {
                Some(line) => self.lines.push(line),
                None => {
                    self.lines.push((self.leaders.len(), 0));
                    self.leaders.push(id);
                }
            }
        }
    }

    /// Bytes of the constants behind a pointer so far, up to the next cache line.
    fn constant_bytes(&self, line: usize) -> i64 {
        let bytes = |s: &Stream| match &s.origin {
            Origin::Constant(tensor) => (tensor.elements() as i64 * s.width() + 63) / 64 * 64,
            Origin::Memory { .. } | Origin::Scratch(_) => 0,
        };
        self.streams.iter().zip(&self.lines).filter(|(_, l)| l.0 == line).map(|(s, _)| bytes(s)).sum()
    }

    /// Lanes along the axis before the innermost, if that one is worked along and has few elements: it takes
    /// gathers, which beat folding vectors that are nearly empty.
    pub fn with_short_rows_across(mut self, most: usize, lanes: usize) -> Nest {
        let lane = self.lane();
        let short = self.along[lane] && self.counts[lane] <= most;
        if short && lane > 0 && !self.along[lane - 1] && self.counts[lane - 1] >= lanes {
            self.counts.swap(lane, lane - 1);
            self.along.swap(lane, lane - 1);
            self.streams.iter_mut().for_each(|s| s.steps.swap(lane, lane - 1));
        }
        self
    }

    /// Several short rows as one long one, so that vectors need not end with each: where everything else goes on
    /// from one row to the next, a constant row is repeated until it fills whole vectors.
    pub fn with_long_rows(self, lanes: usize) -> Nest {
        let lane = self.lane();
        let Some(rows) = lane.checked_sub(1) else { return self };
        let (count, columns) = (self.counts[rows], self.counts[lane]);
        let times = (1..=lanes).find(|n| (n * columns).is_multiple_of(lanes)).unwrap_or(1);
        let worth = times > 1 && columns <= 8 * lanes && count.is_multiple_of(times) && self.along[rows] == self.along[lane];
        let goes_on = |s: &Stream| s.steps[rows] == s.steps[lane] * columns as i64;
        let repeats = |s: &Stream| {
            let still = s.steps[..lane].iter().all(|&step| step == 0);
            still && s.steps[lane] == s.width() && matches!(&s.origin, Origin::Constant(t) if t.elements() == columns)
        };
        if !worth || !self.streams.iter().all(|s| goes_on(s) || repeats(s)) {
            return self;
        }
        let streams = self.streams.into_iter().map(|mut s| {
            match &s.origin {
                Origin::Constant(tensor) if !goes_on(&s) => {
                    let row = tensor.reshape(&[1, columns]);
                    s.origin = Origin::Constant(row.expand(&[times, columns]).reshape(&[times * columns]));
                }
                Origin::Constant(_) | Origin::Memory { .. } | Origin::Scratch(_) => s.steps[rows] *= times as i64,
            }
            s
        });
        let mut counts = self.counts.clone();
        (counts[rows], counts[lane]) = (count / times, columns * times);
        Nest::new(&counts, &self.along, streams.collect())
    }

    /// Scratch of the worker, as one more stream.
    pub fn scratch(&mut self, bytes: usize) -> StreamId {
        let steps = vec![0; self.counts.len()];
        let origin = Origin::Scratch(bytes as u64);
        self.streams.push(Stream {
            name: "strip",
            origin,
            access: Access::ReadWrite,
            dtype: Dtype::F32,
            steps,
            reach: Some((0, bytes as i64)),
            beyond: (0, 0),
        });
        self.assign();
        self.streams.len() - 1
    }

    /// Scratch of the worker with room for one row of f32, as one more stream: an element for each index of the axes that are
    /// worked along, and of the innermost. `None` where that is more than a worker should need.
    pub fn scratch_row(&mut self) -> Option<StreamId> {
        const MOST: i64 = 1 << 20;
        let mut steps = vec![0; self.counts.len()];
        let mut bytes = 4;
        for axis in (0..self.counts.len()).rev() {
            if self.along[axis] || axis == self.lane() {
                steps[axis] = bytes;
                bytes *= self.counts[axis] as i64;
            }
        }
        if bytes > MOST {
            return None;
        }
        let row = self.scratch(bytes as usize);
        self.streams[row].steps = steps;
        self.streams[row].reach = None;
        Some(row)
    }

    /// Whether one kernel reaches it: pointers and loops in registers, neighbours within displacements.
    pub fn fits(&self, facts: &Facts) -> bool {
        let lane = self.lane();
        let near = |s: &Stream| s.steps.iter().all(|step| step.abs() < 1 << 26) && s.steps[lane].abs() < 1 << 22;
        // there is no gathering of narrow elements
        let in_line = |s: &Stream| s.width() == 4 || [0, s.width()].contains(&s.steps[lane]);
        let side_by_side = self.lines.iter().all(|&(_, base)| base.abs() < 1 << 29);
        let registers = self.leaders.len() + self.counts.len() + 2;
        self.leaders.len() <= MOST_POINTERS
            && registers <= facts.generals as usize
            && side_by_side
            && self.streams.iter().all(|s| near(s) && in_line(s))
    }

    /// The innermost axis.
    pub fn lane(&self) -> usize {
        self.counts.len() - 1
    }

    pub fn step(&self, stream: StreamId, axis: usize) -> i64 {
        self.streams[stream].steps[axis]
    }

    /// Whether two streams may touch the same memory.
    pub fn shares_buffer(&self, a: StreamId, b: StreamId) -> bool {
        self.streams[a].buffer().is_some_and(|buffer| self.streams[b].buffer() == Some(buffer))
    }

    /// The element of `stream` that is so many steps away from where the pointers are.
    pub fn at(&self, stream: StreamId, moves: Moves) -> At {
        let (line, base) = self.lines[stream];
        let steps = &self.streams[stream].steps;
        at(P(line as u8), base + moves.iter().map(|&(axis, times)| steps[axis] * times).sum::<i64>())
    }

    /// As a parameter of a body: a vector along the innermost axis, or one element for all lanes.
    pub fn param(&self, stream: StreamId, moves: Moves, lanes: u8, pool: &mut Pool, w: &mut Writer) -> Result<Param, Pressure> {
        let at = self.at(stream, moves);
        let kind = tile::narrow(self.streams[stream].dtype);
        match (self.step(stream, self.lane()), kind) {
            (0, Some(kind)) => Ok(Param::NarrowSplat(at, kind)),
            (_, Some(kind)) => Ok(Param::Narrow(at, kind)),
            (4, None) => Ok(Param::Memory(at)),
            (0, None) => Ok(Param::Splat(at)),
            _ => {
                let to = pool.take().ok_or(Pressure)?;
                self.load(w, to, stream, moves, lanes);
                Ok(Param::Owned(to))
            }
        }
    }

    /// Whether elements along the innermost axis are neighbours.
    pub fn contiguous(&self, stream: StreamId) -> bool {
        self.step(stream, self.lane()) == self.streams[stream].width()
    }

    /// Loads a vector along the innermost axis.
    pub fn load(&self, w: &mut Writer, to: V, stream: StreamId, moves: Moves, lanes: u8) {
        let at = self.at(stream, moves);
        let dtype = self.streams[stream].dtype;
        w.push(match self.step(stream, self.lane()) {
            0 => tile::splat(to, at, dtype),
            _ if self.contiguous(stream) => tile::load(to, at, lanes, dtype),
            stride => Stmt::Gather { to, at, stride: stride as i32, lanes },
        });
    }

    /// The element where the pointers are, in all lanes.
    pub fn splat(&self, w: &mut Writer, to: V, stream: StreamId) {
        w.push(tile::splat(to, self.at(stream, &[]), self.streams[stream].dtype));
    }

    /// Stores a vector along the innermost axis; where the stream does not move along it, one element.
    pub fn store(&self, w: &mut Writer, from: V, stream: StreamId, moves: Moves, lanes: u8) {
        let at = self.at(stream, moves);
        let dtype = self.streams[stream].dtype;
        w.push(match self.step(stream, self.lane()) {
            0 => tile::store(from, at, 1, dtype),
            _ if self.contiguous(stream) => tile::store(from, at, lanes, dtype),
            stride => Stmt::Scatter { from, at, stride: stride as i32, lanes },
        });
    }

    /// Whether [`Nest::param`] takes a register for it.
    pub fn gathers(&self, stream: StreamId) -> bool {
        self.step(stream, self.lane()) != 0 && !self.contiguous(stream)
    }

    /// Moves every pointer.
    pub fn shift(&self, w: &mut Writer, moves: Moves) {
        for (line, &leader) in self.leaders.iter().enumerate() {
            let steps = &self.streams[leader].steps;
            w.advance(P(line as u8), moves.iter().map(|&(axis, times)| steps[axis] * times).sum());
        }
    }

    /// Loops over `axes`, outermost first, around `inside`, which may leave the pointers moved if it says how far.
    /// They end where they began.
    pub fn over(&self, w: &mut Writer, axes: &[usize], inside: Inside) {
        let moved = self.open(w, axes, inside);
        self.shift(w, &back(&moved));
    }

    /// The same; the pointers end where the result says.
    pub fn open(&self, w: &mut Writer, axes: &[usize], inside: Inside) -> Vec<(usize, i64)> {
        let Some((&axis, rest)) = axes.split_first() else { return inside(w) };
        if self.counts[axis] == 1 {
            return self.open(w, rest, inside);
        }
        w.repeat(self.counts[axis], |w| {
            let mut moves = back(&self.open(w, rest, inside));
            moves.push((axis, 1));
            self.shift(w, &moves);
        });
        vec![(axis, self.counts[axis] as i64)]
    }

    /// Lays out constants and calls the kernel.
    pub fn call(&self, name: impl Into<String>, w: Writer, builder: &mut Builder, macs: u64) {
        let pointers = self.pointers(builder);
        builder.call(kernel(name, self.args(), w), &pointers, macs);
    }

    /// The same in calls that run at once, where the work is worth it: `steps` for each element, and what `write` makes of
    /// the nest with fewer turns of a loop that is not worked along. `None` if it makes nothing of one.
    pub fn cut(&self, name: &str, steps: usize, builder: &mut Builder, write: &mut dyn FnMut(&Nest) -> Option<Writer>) -> Option<()> {
        let elements: u64 = self.counts.iter().map(|&n| n as u64).product();
        let most = builder.tasks.worth(elements * steps as u64 / 8, elements * 4 * self.streams.len() as u64);
        let lane = self.lane();
        // a piece of a row is of whole turns, but for the last
        let unit = |axis: usize| if axis == lane { 8 * builder.facts.lanes() } else { 1 };
        let free = (0..self.counts.len()).filter(|&i| !self.along[i]);
        let cuts = free.map(|i| (i, tasks::cut(self.counts[i], unit(i), most, |_| true)));
        // the outermost of the best
        let best = cuts.rev().max_by_key(|(_, cut)| cut.rank());
        let (axis, cut) = best.unwrap_or((lane, Cut::whole(self.counts[lane])));
        let piece = |size: usize| {
            let mut piece = self.clone();
            piece.counts[axis] = size;
            piece
        };
        let moved = |start: usize| self.leaders.iter().map(|&l| self.streams[l].steps[axis] * start as i64).collect();
        let mut made = Vec::new();
        for (_, size) in cut.each() {
            if !made.iter().any(|(s, _)| *s == size) {
                let piece = piece(size);
                made.push((size, kernel(name, piece.args(), write(&piece)?)));
            }
        }
        let pointers = self.pointers(builder);
        let mut kernel = |size: usize| made.iter().find(|(s, _)| *s == size).map(|(_, kernel)| kernel.clone());
        builder.cut(cut, &pointers, &moved, &mut kernel, 0)
    }

    /// What each pointer reaches.
    fn args(&self) -> Vec<Arg> {
        let mut args = Vec::new();
        for (line, &leader) in self.leaders.iter().enumerate() {
            let mine = || self.streams.iter().zip(&self.lines).filter(move |(_, l)| l.0 == line);
            let (mut low, mut high, mut access) = (0, 0, Access::Read);
            for (stream, (_, base)) in mine() {
                let range = stream.range(&self.counts);
                (low, high) = (low.min(base + range.0), high.max(base + range.1));
                if stream.access != Access::Read {
                    access = stream.access;
                }
            }
            args.push(arg(self.streams[leader].name, access, low, high));
        }
        args
    }

    /// Where each pointer starts; constants are laid out for it.
    fn pointers(&self, builder: &mut Builder) -> Vec<Pointer> {
        let mut pointers = Vec::new();
        for (line, &leader) in self.leaders.iter().enumerate() {
            let mine = || self.streams.iter().zip(&self.lines).filter(move |(_, l)| l.0 == line);
            pointers.push(match &self.streams[leader].origin {
                Origin::Memory { buffer, offset } => Pointer { buffer: *buffer, offset: *offset },
                Origin::Scratch(bytes) => Pointer { buffer: builder.buffer("strip", Home::Scratch, *bytes), offset: 0 },
                Origin::Constant(_) => {
                    let mut parts = Vec::new();
                    for (stream, (_, base)) in mine() {
                        let have: u64 = parts.iter().map(Part::bytes).sum();
                        if *base as u64 > have {
                            parts.push(Part::Fill { bytes: *base as u64 - have });
                        }
                        if let Origin::Constant(tensor) = &stream.origin {
                            parts.push(row_major(tensor));
                        }
                    }
                    Pointer { buffer: builder.constant(Packed { align: 64, parts }), offset: 0 }
                }
            });
        }
        pointers
    }
}

fn row_major(tensor: &Tensor) -> Part {
    let padded = tensor.shape().to_vec();
    Part::Layout { source: tensor.clone(), split: padded.iter().map(|&n| vec![n]).collect(), order: (0..padded.len()).collect(), padded }
}

fn back(moves: Moves) -> Vec<(usize, i64)> {
    moves.iter().map(|&(axis, times)| (axis, -times)).collect()
}

/// A body with its operands in memory.
pub struct Bound {
    /// Expanded to primitive terms over lanes. Its own parameters come first, then one for each of `streams`.
    pub body: Body,
    /// What its parameters are in lanes.
    pub types: Vec<Dtype>,
    pub streams: Vec<Stream>,
}

/// Binds the operands behind the first `own` parameters, broadcast to `shape`: constants of one value become
/// literals, an operand that is given twice is read once. `None` when the body is not one for vectors.
pub fn bind(own: &[Dtype], operands: &[Source], body: &Body, shape: &[usize], facts: &Facts) -> Option<Bound> {
    let mut out = Body { params: own.len() as u8, terms: Vec::new(), result: scalar::Arg::Param(0) };
    let mut binding: Vec<scalar::Arg> = (0..own.len()).map(|i| scalar::Arg::Param(i as u8)).collect();
    let mut types = own.to_vec();
    let mut bounds = vec![None; own.len()];
    let mut streams: Vec<Stream> = Vec::new();
    let mut known: Vec<(Place, Dtype, scalar::Arg)> = Vec::new();
    for operand in operands {
        narrow::lane(operand.dtype)?;
        if let Some(tensor) = operand.constant()
            && (tensor.is_splat() || tensor.elements() == 1)
        {
            let rank = tensor.shape().len();
            let one = tensor.slice(&vec![0; rank], &vec![1; rank], &vec![1; rank]);
            binding.push(scalar::Arg::Literal(Literal::from_bytes(tensor.dtype(), &one.bytes())));
            continue;
        }
        if let Where::Place(place) = &operand.at {
            let place = place.expand(&operand.shape, shape);
            if let Some((.., before)) = known.iter().find(|(p, d, _)| *p == place && *d == operand.dtype) {
                binding.push(*before);
                continue;
            }
            known.push((place, operand.dtype, scalar::Arg::Param(out.params)));
        }
        streams.push(Stream::read("x", operand, shape));
        binding.push(scalar::Arg::Param(out.params));
        types.push(operand.dtype);
        bounds.push(operand.constant().and_then(known_bounds));
        out.params += 1;
    }
    out.result = out.inline(body, &binding);
    let body = narrow::widen(&math::expand(&out.without_dead(), &types, facts.fused), &types, &bounds)?;
    let types: Vec<Dtype> = types.into_iter().map(narrow::lane).collect::<Option<_>>()?;
    is_vector(&body, &types).then_some(Bound { body, types, streams })
}

/// The smallest and the largest element of a constant that is not too large to look through, if all are finite floats.
pub fn known_bounds(tensor: &Tensor) -> Option<[f32; 2]> {
    const MOST: usize = 1 << 16;
    if tensor.dtype() != Dtype::F32 || tensor.elements() > MOST {
        return None;
    }
    let values = tensor.to_f32s();
    let all = values.iter().all(|v| v.is_finite());
    let extreme = |pick: fn(f32, f32) -> f32| values.iter().copied().reduce(pick);
    all.then_some([extreme(f32::min)?, extreme(f32::max)?])
}
