//! The Program while it is being made: buffers without offsets, kernels each once, steps. When all calls are
//! known, so are the lifetimes, and the arena is planned.

use crate::arena;
use crate::cost::{self, Candidate, Tuned};
use crate::dot::Blocked;
use crate::extent::{Extent, Table};
use crate::place::Place;
use crate::tasks::{Cut, Tasks};
use crate::{reach, tidy};
use ir::dim::Dim;
use ir::kernel::{Facts, Kernel, KernelBody};
use ir::program::{Address, Call, Choice, Packed, Part, Port, Program, Repeat, STATE_ALIGN, Step, Turns, Verdict, When};
use ir::tensor::Tensor;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A piece of memory, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferId(pub usize);

/// Where a buffer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    Input(usize),
    Output(usize),
    Constant(usize),
    /// In the arena, alive from its first to its last call.
    Arena,
    /// In the state, from this byte on.
    State(u64),
    /// In the scratch of the worker that runs the call: alive for one call.
    Scratch,
    /// The symbols' values, 8 bytes each.
    Symbols,
    /// What lies `advance` bytes further on in another buffer, turn by turn of the repeat that is being made; below 0 it counts
    /// from the last turn.
    Row {
        of: BufferId,
        advance: i64,
    },
}

#[derive(Clone, Debug)]
pub struct Buffer {
    pub name: String,
    pub home: Home,
    pub bytes: u64,
    /// The border that has to be filled before the buffer is first written.
    pub halo: Option<Halo>,
}

/// The border around the spatial axes of `[n, spatial.., c]`; `shape` counts it in, `inner` is what it surrounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halo {
    /// Extents of the whole buffer, in elements.
    pub shape: Vec<usize>,
    /// First element and extent of the inside, for each axis.
    pub inner: Vec<(usize, usize)>,
    /// Bytes of an element, and its bits.
    pub width: usize,
    pub fill: u64,
}

/// An argument of a call while buffers have no offsets: a byte offset into a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    pub buffer: BufferId,
    pub offset: i64,
}

struct DraftCall {
    kernel: usize,
    args: Vec<Pointer>,
}

struct DraftStep {
    calls: Vec<DraftCall>,
    what: String,
    names: Vec<Arc<str>>,
    macs: u64,
    when: Vec<When>,
}

/// Dimensions of the node that is being lowered, where not all are fixed.
#[derive(Clone, Debug)]
pub struct Open {
    pub result: Vec<Dim>,
    pub operands: Vec<Vec<Dim>>,
}

pub struct Builder<'a> {
    pub facts: &'a Facts,
    /// The level whose layout of weights is used.
    pub packing: &'a Facts,
    /// Rows that the weights of a product are laid out for, where it is lowered for several numbers of rows.
    pub rows: Option<usize>,
    /// Work that is cut into calls of one step.
    pub tasks: Tasks,
    /// How far results of Winograd's algorithm may be off, relative to the largest; `None` where it is not wanted.
    pub winograd: Option<f64>,
    /// What measurements taught.
    pub tuned: Arc<Tuned>,
    choices: Vec<Choice>,
    pub buffers: Vec<Buffer>,
    kernels: Vec<Kernel>,
    known: HashMap<Kernel, usize>,
    constants: Vec<Packed>,
    steps: Vec<DraftStep>,
    repeats: Vec<Repeat>,
    filled: Vec<BufferId>,
    /// Sizes known at run time only.
    pub symbols: Arc<Table>,
    symbols_buffer: Option<BufferId>,
    reshapes: Vec<(Tensor, Tensor)>,
    /// Weights in blocks, by their numbers and scales, and as panels have them.
    words: Vec<([Tensor; 3], bool, Tensor)>,
    /// Constants that were last gone through from their start.
    read: BTreeSet<usize>,
    /// What the steps to come ask of symbols.
    pub when: Vec<When>,
    /// Set while a node is lowered by kernels that go exactly as far as symbols say. While it is not, shapes are what they say.
    pub open: Option<Open>,
    state_bytes: u64,
    /// Where the state says how long what grows in it is.
    pub lengths: Option<BufferId>,
    /// What the steps to come compute, and from where: set by the driver of the lowering.
    pub what: String,
    pub names: Vec<Arc<str>>,
}

impl<'a> Builder<'a> {
    pub fn new(facts: &'a Facts) -> Builder<'a> {
        Builder {
            facts,
            packing: facts,
            rows: None,
            tasks: Tasks::default(),
            winograd: None,
            tuned: Arc::default(),
            choices: Vec::new(),
            buffers: Vec::new(),
            kernels: Vec::new(),
            known: HashMap::new(),
            constants: Vec::new(),
            steps: Vec::new(),
            repeats: Vec::new(),
            filled: Vec::new(),
            symbols: Arc::default(),
            symbols_buffer: None,
            reshapes: Vec::new(),
            words: Vec::new(),
            read: BTreeSet::new(),
            when: Vec::new(),
            open: None,
            state_bytes: 0,
            lengths: None,
            what: String::new(),
            names: Vec::new(),
        }
    }

    pub fn buffer(&mut self, name: impl Into<String>, home: Home, bytes: u64) -> BufferId {
        self.buffers.push(Buffer { name: name.into(), home, bytes, halo: None });
        BufferId(self.buffers.len() - 1)
    }

    /// A tensor that lives from run to run.
    pub fn state(&mut self, name: impl Into<String>, bytes: u64) -> BufferId {
        let start = self.state_bytes;
        self.state_bytes = (start + bytes).next_multiple_of(STATE_ALIGN);
        self.buffer(name, Home::State(start), bytes)
    }

    /// A packed constant as a buffer.
    pub fn constant(&mut self, packed: Packed) -> BufferId {
        let bytes = packed.bytes();
        // a table that is gathered from and multiplied by, a layer that comes again, a node that is lowered for several sizes
        let known = self.constants.iter().position(|c| c.same(&packed));
        let index = known.unwrap_or_else(|| {
            self.constants.push(packed);
            self.constants.len() - 1
        });
        self.buffer("constant", Home::Constant(index), bytes)
    }

    /// A constant under another shape: the same memory whenever it is asked for, where a node is lowered for several sizes.
    pub fn reshaped(&mut self, tensor: &Tensor, shape: &[usize]) -> Tensor {
        if self.when.is_empty() {
            return tensor.reshape(shape);
        }
        if let Some((_, made)) = self.reshapes.iter().find(|(from, made)| from.is(tensor) && made.shape() == shape) {
            return made.clone();
        }
        let made = tensor.reshape(shape);
        self.reshapes.push((tensor.clone(), made.clone()));
        made
    }

    /// Weights in blocks as panels have them: the same memory whenever they are asked for.
    pub fn words_of(&mut self, right: &Blocked, swapped: bool, make: impl FnOnce() -> Tensor) -> Tensor {
        let parts = [right.numbers, right.scale, right.zero];
        let same = |known: &[Tensor; 3]| known.iter().zip(parts).all(|(a, b)| a.is(b));
        if let Some((_, _, words)) = self.words.iter().find(|(known, way, _)| *way == swapped && same(known)) {
            return words.clone();
        }
        let words = make();
        self.words.push((parts.map(Tensor::clone), swapped, words.clone()));
        words
    }

    /// Whether to go through a constant from its end: what was read last is still in a cache that all of it does not fit, if every
    /// second reader does.
    pub fn backwards(&mut self, buffer: BufferId) -> bool {
        let Home::Constant(index) = self.buffers[buffer.0].home else { return false };
        let again = self.read.contains(&index);
        let _ = if again { self.read.remove(&index) } else { self.read.insert(index) };
        again
    }

    /// Where the symbols' values lie.
    pub fn symbol_values(&mut self) -> BufferId {
        if let Some(buffer) = self.symbols_buffer {
            return buffer;
        }
        let buffer = self.buffer("symbols", Home::Symbols, 8 * self.symbols.list.len() as u64);
        self.symbols_buffer = Some(buffer);
        buffer
    }

    /// The result's axes, exactly.
    pub fn result_extents(&self, shape: &[usize]) -> Vec<Extent> {
        match &self.open {
            Some(open) => open.result.iter().zip(shape).map(|(dim, &bound)| Extent::of(dim, bound)).collect(),
            None => shape.iter().map(|&n| n.into()).collect(),
        }
    }

    /// The axes of an operand, exactly.
    pub fn operand_extents(&self, operand: usize, shape: &[usize]) -> Vec<Extent> {
        match &self.open {
            Some(open) => open.operands[operand].iter().zip(shape).map(|(dim, &bound)| Extent::of(dim, bound)).collect(),
            None => shape.iter().map(|&n| n.into()).collect(),
        }
    }

    /// A constant in row-major order.
    pub fn dense_constant(&mut self, tensor: &Tensor) -> Place {
        let shape = tensor.shape().to_vec();
        let part = Part::Layout {
            source: tensor.clone(),
            padded: shape.clone(),
            split: shape.iter().map(|&n| vec![n]).collect(),
            order: (0..shape.len()).collect(),
        };
        let buffer = self.constant(Packed { align: 64, parts: vec![part] });
        Place::dense(buffer, &shape)
    }

    /// Which of `candidates` computes what `key` names: the plain one, which comes first, unless another is predicted to be
    /// clearly faster, or what measurements taught about this level names one. It is told with the steps to come.
    pub fn choose(&mut self, key: &str, candidates: &[Candidate]) -> usize {
        // levels that share weights choose alike
        let (chosen, verdict) = match self.tuned.of(self.packing.name, key) {
            None => (cost::best(candidates), Verdict::Predicted),
            Some(name) => match candidates.iter().position(|c| c.name == name) {
                Some(at) => (at, Verdict::Tuned),
                None => (cost::best(candidates), Verdict::Unknown),
            },
        };
        self.choices.push(Choice { step: self.steps.len(), key: key.into(), candidates: candidates.to_vec(), chosen, verdict });
        chosen
    }

    /// The number of a kernel; equal bodies on equal arguments are one.
    pub fn kernel(&mut self, kernel: Kernel) -> usize {
        let kernel = reach::shorten(tidy::tidy(kernel), self.facts);
        let nameless = Kernel { name: String::new(), ..kernel.clone() };
        if let Some(&at) = self.known.get(&nameless) {
            return at;
        }
        self.known.insert(nameless, self.kernels.len());
        let kind = match kernel.body {
            KernelBody::Tile(_) => "",
            KernelBody::Scalar(_) => "_s",
        };
        let name = format!("{}{kind}_{}", kernel.name, self.kernels.len());
        self.kernels.push(Kernel { name, ..kernel });
        self.kernels.len() - 1
    }

    /// A step that is cut into pieces: what `kernel` makes of a size, on the arguments of the whole, moved by what
    /// `moved` says of where a piece starts. `None` from a kernel leaves nothing behind.
    pub fn cut(
        &mut self,
        cut: Cut,
        args: &[Pointer],
        moved: &dyn Fn(usize) -> Vec<i64>,
        kernel: &mut dyn FnMut(usize) -> Option<Kernel>,
        macs: u64,
    ) -> Option<()> {
        let mut calls: Vec<(usize, Kernel, Vec<Vec<Pointer>>)> = Vec::new();
        for (start, size) in cut.each() {
            let by = moved(start);
            let list = args.iter().zip(by).map(|(p, by)| Pointer { offset: p.offset + by, ..*p }).collect();
            match calls.iter_mut().find(|c| c.0 == size) {
                Some(call) => call.2.push(list),
                None => calls.push((size, kernel(size)?, vec![list])),
            }
        }
        self.step(calls.into_iter().map(|(_, kernel, lists)| (kernel, lists)).collect(), macs);
        Some(())
    }

    /// A step of one call.
    pub fn call(&mut self, kernel: Kernel, args: &[Pointer], macs: u64) {
        self.step(vec![(kernel, vec![args.to_vec()])], macs);
    }

    /// A step of independent calls: kernels, each on several lists of arguments.
    pub fn step(&mut self, calls: Vec<(Kernel, Vec<Vec<Pointer>>)>, macs: u64) {
        for (kernel, args) in calls.iter().flat_map(|(kernel, lists)| lists.iter().map(move |args| (kernel, args))) {
            for (pointer, arg) in args.iter().zip(&kernel.args) {
                if arg.access != ir::kernel::Access::Read {
                    self.fill_halo(pointer.buffer);
                }
            }
        }
        let numbered: Vec<(usize, Vec<Vec<Pointer>>)> = calls.into_iter().map(|(kernel, lists)| (self.kernel(kernel), lists)).collect();
        let calls =
            numbered.into_iter().flat_map(|(kernel, lists)| lists.into_iter().map(move |args| DraftCall { kernel, args })).collect();
        self.steps.push(DraftStep { calls, what: self.what.clone(), names: self.names.clone(), macs, when: self.when.clone() });
    }

    /// The border of a buffer is written before anything else is.
    fn fill_halo(&mut self, buffer: BufferId) {
        if self.filled.contains(&buffer) {
            return;
        }
        let Some(halo) = self.buffers[buffer.0].halo.clone() else { return };
        self.filled.push(buffer);
        let kernel = crate::copy::halo_kernel(&halo, self.facts);
        let call = DraftCall { kernel: self.kernel(kernel), args: vec![Pointer { buffer, offset: 0 }] };
        // for all sizes
        self.steps.push(DraftStep { calls: vec![call], what: "halo".into(), names: self.names.clone(), macs: 0, when: Vec::new() });
    }

    /// How many steps there are: where a repeat starts.
    pub fn here(&self) -> usize {
        self.steps.len()
    }

    /// Makes the steps from number `first` on run in turns. They wait for what `turns` may be less than.
    pub fn repeat(&mut self, first: usize, turns: Turns) {
        if self.repeats.iter().any(|r| r.last + 1 == self.steps.len()) || first == self.steps.len() {
            // no two repeats end at one step
            let (what, names) = (self.what.clone(), self.names.clone());
            self.steps.push(DraftStep { calls: Vec::new(), what, names, macs: 0, when: Vec::new() });
        }
        if let Turns::Symbol(symbol) = turns {
            let (low, high) = (self.symbols.list[symbol].low, self.symbols.list[symbol].high);
            for step in self.steps[first..].iter_mut().filter(|_| low < 1) {
                step.when.push(When { symbol, low: 1, high });
            }
        }
        self.repeats.push(Repeat { first, last: self.steps.len() - 1, turns });
        self.repeats.sort_by_key(|r| (r.first, std::cmp::Reverse(r.last)));
    }

    /// The buffer that memory belongs to, and how it moves from turn to turn.
    fn root(&self, buffer: BufferId) -> (BufferId, i64) {
        match self.buffers[buffer.0].home {
            Home::Row { of, advance } => (of, advance),
            _ => (buffer, 0),
        }
    }

    /// First and last step that use each buffer. What a repeat uses is in use in all its turns.
    fn spans(&self) -> Vec<Option<(usize, usize)>> {
        let mut spans: Vec<Option<(usize, usize)>> = vec![None; self.buffers.len()];
        for (at, step) in self.steps.iter().enumerate() {
            for pointer in step.calls.iter().flat_map(|c| &c.args) {
                let span = &mut spans[self.root(pointer.buffer).0.0];
                *span = Some(span.map_or((at, at), |(first, _)| (first, at)));
            }
        }
        // inner ones first
        for repeat in self.repeats.iter().rev() {
            for (first, last) in spans.iter_mut().flatten() {
                if *first <= repeat.last && repeat.first <= *last {
                    (*first, *last) = ((*first).min(repeat.first), (*last).max(repeat.last));
                }
            }
        }
        spans
    }

    /// Plans the arena and resolves every argument.
    pub fn finish(self, inputs: Vec<Port>, outputs: Vec<Port>) -> Program {
        let spans = self.spans();
        let mut worker_bytes = 0;
        for pointer in self.steps.iter().flat_map(|s| &s.calls).flat_map(|c| &c.args) {
            if self.buffers[pointer.buffer.0].home == Home::Scratch {
                worker_bytes = worker_bytes.max(self.buffers[pointer.buffer.0].bytes.next_multiple_of(64));
            }
        }
        let wanted: Vec<arena::Wanted> = (0..self.buffers.len())
            .filter(|&i| self.buffers[i].home == Home::Arena)
            .filter_map(|i| spans[i].map(|(first, last)| arena::Wanted { id: i, bytes: self.buffers[i].bytes, first, last }))
            .collect();
        let (offsets, arena_bytes) = arena::plan(&wanted);
        let mut base = vec![0u64; self.buffers.len()];
        let mut plan = Vec::new();
        for (want, offset) in wanted.iter().zip(offsets) {
            base[want.id] = offset;
            plan.push(ir::program::Allocation {
                name: self.buffers[want.id].name.clone(),
                offset,
                bytes: want.bytes,
                first: want.first,
                last: want.last,
            });
        }
        let resolve = |p: &Pointer| {
            let (buffer, _) = self.root(p.buffer);
            let offset = u64::try_from(base[buffer.0] as i64 + p.offset).expect("arguments point into their buffers");
            match self.buffers[buffer.0].home {
                Home::Input(index) => Address::Input { index, offset },
                Home::Output(index) => Address::Output { index, offset },
                Home::Constant(index) => Address::Constant { index, offset },
                Home::Arena => Address::Arena { offset },
                Home::Scratch => Address::Scratch { offset },
                Home::Symbols => Address::Symbols { offset },
                Home::State(start) => Address::State { offset: start + offset },
                Home::Row { .. } => unreachable!("a row is of memory that is no row"),
            }
        };
        let advance = |args: &[Pointer]| {
            let all: Vec<i64> = args.iter().map(|p| self.root(p.buffer).1).collect();
            if all.iter().all(|&by| by == 0) { Vec::new() } else { all }
        };
        let steps = self.steps.iter().map(|s| Step {
            calls: s
                .calls
                .iter()
                .map(|c| Call { kernel: c.kernel, args: c.args.iter().map(resolve).collect(), advance: advance(&c.args) })
                .collect(),
            what: s.what.clone(),
            names: s.names.clone(),
            macs: s.macs,
            when: s.when.clone(),
        });
        let steps: Vec<Step> = steps.collect();
        // borders are filled before what was chosen
        let choices = self.choices.into_iter().map(|c| {
            let halos = steps.iter().skip(c.step).take_while(|s| s.what == "halo").count();
            Choice { step: c.step + halos, ..c }
        });
        let choices = choices.collect();
        Program {
            inputs,
            outputs,
            symbols: self.symbols.list.clone(),
            kernels: self.kernels,
            constants: self.constants,
            steps,
            repeats: self.repeats,
            choices,
            arena_bytes,
            arena_align: 64,
            worker_bytes,
            state_bytes: self.state_bytes,
            plan,
        }
    }
}
