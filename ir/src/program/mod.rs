//! Program: kernels, the calls in order, the places of all memory in the arena, and the packed constants.
//! It is what a backend reads; it names no operator and no machine.

mod choice;
mod overlap;
pub mod pool;
mod repeat;
pub mod run;
#[cfg(test)]
pub(crate) mod samples;
pub mod text;
pub mod verify;

pub use choice::{Candidate, Choice, Verdict};
pub use pool::{Pool, WEIGHTS_ALIGN};
pub use repeat::{Repeat, Turns};
pub use run::{run, run_from};
pub use verify::verify;

use crate::dim::{Dim, Symbols};
use crate::kernel::Kernel;
use crate::tensor::{Tensor, Type};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A model for one CPU level.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// In the order of the model's signature.
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// Sizes known at run time only, in the order of the C interface: free ones, those of the state, then derived and
    /// data-dependent ones.
    pub symbols: Vec<Symbol>,
    pub kernels: Vec<Kernel>,
    pub constants: Vec<Packed>,
    /// In the order of execution.
    pub steps: Vec<Step>,
    /// Which of the steps run over and over, by where they start.
    pub repeats: Vec<Repeat>,
    /// What was chosen, in the order of the steps.
    pub choices: Vec<Choice>,
    /// Bytes of memory between calls of one run, a multiple of `arena_align`.
    pub arena_bytes: u64,
    pub arena_align: u64,
    /// Scratch of one worker, behind the arena.
    pub worker_bytes: u64,
    /// Memory that lives from run to run, aligned to [`STATE_ALIGN`] and all zeros before the first.
    pub state_bytes: u64,
    /// What lies where in the arena and when, for printing and checking.
    pub plan: Vec<Allocation>,
}

/// Alignment of the state, and of every tensor in it.
pub const STATE_ALIGN: u64 = 64;

/// A size that is known at run time only: a 64-bit integer in memory that the caller lends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    pub name: Arc<str>,
    /// Smallest and largest value, neither negative.
    pub low: i64,
    pub high: i64,
    pub origin: Origin,
}

/// Who writes a symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The caller, before the run.
    Free,
    /// An earlier run: the 64-bit integer at this byte of the state, 0 before the first. It is read, and compared with the
    /// range, before anything else.
    State { offset: u64 },
    /// A kernel, from symbols that are not derived.
    Derived(Dim),
    /// A kernel, from the data.
    Data,
}

/// A step runs only while a symbol is in `low..=high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    /// Index into [`Program::symbols`].
    pub symbol: usize,
    pub low: i64,
    pub high: i64,
}

/// An input or an output: dense at its actual size, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    /// Its dimensions are over the symbols that are not derived.
    pub ty: Type,
    /// At the upper bounds.
    pub bytes: u64,
}

impl Port {
    /// Its shape while symbols have these values; `None` where one is missing, or a dimension would be negative.
    pub fn shape_at(&self, values: &BTreeMap<Arc<str>, i64>) -> Option<Vec<usize>> {
        self.ty.shape.iter().map(|dim| dim.at(values).and_then(|n| usize::try_from(n).ok())).collect()
    }
}

/// Calls that do not depend on each other: they run in any order, or at once on several workers.
#[derive(Clone, Debug)]
pub struct Step {
    pub calls: Vec<Call>,
    /// What it computes: the mnemonic of its operator.
    pub what: String,
    /// The ONNX names it came from.
    pub names: Vec<Arc<str>>,
    /// Multiply-accumulates, 0 where the notion does not fit.
    pub macs: u64,
    /// All must hold for the step to run; none: it always does.
    pub when: Vec<When>,
}

impl Step {
    /// Whether it runs while the first symbols have these values; others have whatever it takes.
    pub fn runs_at(&self, sizes: &[i64]) -> bool {
        self.when.iter().all(|when| sizes.get(when.symbol).is_none_or(|size| (when.low..=when.high).contains(size)))
    }
}

impl Program {
    /// The symbols that the caller gives; they come first.
    pub fn free_symbols(&self) -> usize {
        self.symbols.iter().take_while(|s| s.origin == Origin::Free).count()
    }

    /// The range of every symbol.
    pub fn ranges(&self) -> Symbols {
        self.symbols.iter().map(|s| (s.name.clone(), (s.low, s.high))).collect()
    }

    /// The free symbols' values, from the shapes of the inputs; `None` where these do not fit the ports, or a size is out of
    /// its range. What only the state says is not looked at.
    pub fn sizes(&self, inputs: &[Tensor]) -> Option<Vec<i64>> {
        let mut values: BTreeMap<Arc<str>, i64> = BTreeMap::new();
        for (dim, &size) in self.inputs.iter().zip(inputs).flat_map(|(port, tensor)| port.ty.shape.iter().zip(tensor.shape())) {
            if let Some(name) = dim.as_symbol() {
                values.entry(name.into()).or_insert(size as i64);
            }
        }
        let fits = |(port, tensor): (&Port, &Tensor)| {
            let is = |(dim, &size): (&Dim, &usize)| match dim.at(&values) {
                Some(wanted) => i64::try_from(size) == Ok(wanted),
                None => dim.symbols().iter().any(|name| self.of_state(name)),
            };
            let shape = &port.ty.shape;
            port.ty.dtype == tensor.dtype() && shape.len() == tensor.shape().len() && shape.iter().zip(tensor.shape()).all(is)
        };
        if inputs.len() != self.inputs.len() || !self.inputs.iter().zip(inputs).all(fits) {
            return None;
        }
        let free = self.symbols[..self.free_symbols()].iter();
        free.map(|s| values.get(&s.name).copied().filter(|v| (s.low..=s.high).contains(v))).collect()
    }

    /// Whether a symbol is what an earlier run left.
    fn of_state(&self, name: &str) -> bool {
        self.symbols.iter().any(|s| &*s.name == name && matches!(s.origin, Origin::State { .. }))
    }

    /// Multiply-accumulates of the steps that run while the free symbols have these values.
    pub fn macs(&self, sizes: &[i64]) -> u64 {
        let steps = self.steps.iter().enumerate().filter(|(_, step)| step.runs_at(sizes));
        steps.map(|(i, step)| step.macs.saturating_mul(self.turns_at(i, sizes))).sum()
    }

    /// The number of the symbol that a dimension is; `None` for a fixed dimension, and for one that is no symbol.
    pub fn symbol_of(&self, dim: &Dim) -> Option<usize> {
        let is = |s: &Symbol| match &s.origin {
            Origin::Derived(derived) => derived == dim,
            Origin::Free | Origin::State { .. } | Origin::Data => dim.as_symbol() == Some(&*s.name),
        };
        self.symbols.iter().position(is).filter(|_| dim.fixed().is_none())
    }
}

/// One kernel on its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// Index into [`Program::kernels`].
    pub kernel: usize,
    pub args: Vec<Address>,
    /// Bytes that each argument is further on in the next turn of the innermost repeat that has the step; those below 0 count
    /// from the last turn, where the address is the argument's. Empty: no argument moves.
    pub advance: Vec<i64>,
}

impl Call {
    /// A call whose arguments stay where they are.
    pub fn new(kernel: usize, args: Vec<Address>) -> Call {
        Call { kernel, args, advance: Vec::new() }
    }

    /// How far argument `arg` moves from turn to turn.
    pub fn advance_of(&self, arg: usize) -> i64 {
        self.advance.get(arg).copied().unwrap_or(0)
    }
}

/// Where an argument points, offsets in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    Input {
        index: usize,
        offset: u64,
    },
    Output {
        index: usize,
        offset: u64,
    },
    Arena {
        offset: u64,
    },
    /// The scratch of the worker that runs the call.
    Scratch {
        offset: u64,
    },
    Constant {
        index: usize,
        offset: u64,
    },
    State {
        offset: u64,
    },
    /// The symbols, 8 bytes each.
    Symbols {
        offset: u64,
    },
}

/// One buffer of the arena: `bytes` at `offset`, in use from step `first` to step `last`, both included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    pub name: String,
    pub offset: u64,
    pub bytes: u64,
    pub first: usize,
    pub last: usize,
}

/// A constant in the layout that its kernel reads: parts one after the other. Nothing is laid out until
/// [`Packed::write`], so a large weight is never held twice.
#[derive(Clone, Debug)]
pub struct Packed {
    pub align: u64,
    pub parts: Vec<Part>,
}

/// A piece of a packed constant.
#[derive(Clone, Debug)]
pub enum Part {
    /// `source`, padded at the end of each axis with zeros to `padded`, each axis split as `split` says (their
    /// products are `padded`), the split axes in the order `order`: outermost first.
    Layout { source: Tensor, padded: Vec<usize>, split: Vec<Vec<usize>>, order: Vec<usize> },
    /// Bytes as they are.
    Bytes(Arc<[u8]>),
    /// Zeros.
    Fill { bytes: u64 },
    /// `groups` slices along the outermost split axis of each part, interleaved: group 0 of every part, then
    /// group 1 … A panel of weights followed by its bias. All parts divide evenly.
    Interleave { groups: usize, parts: Vec<Part> },
}

impl Part {
    pub fn bytes(&self) -> u64 {
        match self {
            Part::Layout { source, padded, .. } => padded.iter().product::<usize>() as u64 * source.dtype().bytes() as u64,
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::Fill { bytes } => *bytes,
            Part::Interleave { parts, .. } => parts.iter().map(Part::bytes).sum(),
        }
    }

    /// Group `group` of `groups` equal ones, handed to `out` in pieces.
    fn write_group(&self, group: usize, groups: usize, out: &mut dyn FnMut(&[u8])) {
        match self {
            Part::Layout { source, padded, split, order } => write_layout(source, padded, split, order, group, groups, out),
            Part::Bytes(bytes) => {
                let len = bytes.len() / groups;
                out(&bytes[group * len..(group + 1) * len]);
            }
            Part::Fill { bytes } => {
                let zeros = [0u8; 4096];
                let mut left = bytes / groups as u64;
                while left > 0 {
                    let n = left.min(zeros.len() as u64);
                    out(&zeros[..n as usize]);
                    left -= n;
                }
            }
            Part::Interleave { groups: inner, parts } => {
                let each = inner / groups;
                for g in group * each..(group + 1) * each {
                    parts.iter().for_each(|p| p.write_group(g, *inner, out));
                }
            }
        }
    }
}

impl Part {
    /// Whether it is the same layout of the same memory; `false` proves nothing.
    fn same(&self, other: &Part) -> bool {
        match (self, other) {
            (
                Part::Layout { source, padded, split, order },
                Part::Layout { source: other, padded: other_padded, split: other_split, order: other_order },
            ) => source.is(other) && padded == other_padded && split == other_split && order == other_order,
            (Part::Bytes(a), Part::Bytes(b)) => a == b,
            (Part::Fill { bytes: a }, Part::Fill { bytes: b }) => a == b,
            (Part::Interleave { groups: a, parts }, Part::Interleave { groups: b, parts: others }) => a == b && all_same(parts, others),
            (Part::Layout { .. } | Part::Bytes(_) | Part::Fill { .. } | Part::Interleave { .. }, _) => false,
        }
    }
}

fn all_same(a: &[Part], b: &[Part]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
}

impl Packed {
    /// Whether it is the same layout of the same memory; `false` proves nothing.
    pub fn same(&self, other: &Packed) -> bool {
        self.align == other.align && all_same(&self.parts, &other.parts)
    }

    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(Part::bytes).sum()
    }

    /// Hands the bytes to `out`, piece by piece, in order.
    pub fn write(&self, out: &mut dyn FnMut(&[u8])) {
        for part in &self.parts {
            part.write_group(0, 1, out);
        }
    }

    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.bytes() as usize);
        self.write(&mut |piece| all.extend_from_slice(piece));
        all
    }
}

fn write_layout(
    source: &Tensor,
    padded: &[usize],
    split: &[Vec<usize>],
    order: &[usize],
    group: usize,
    groups: usize,
    out: &mut dyn FnMut(&[u8]),
) {
    // every split axis: its extent, the source axis it belongs to, and its step along that axis
    let mut axes = Vec::new();
    for (axis, factors) in split.iter().enumerate() {
        assert_eq!(factors.iter().product::<usize>(), padded[axis], "the factors of axis {axis}");
        let mut step: usize = factors.iter().product();
        for &extent in factors {
            step /= extent.max(1);
            axes.push((extent, axis, step));
        }
    }
    let axes: Vec<(usize, usize, usize)> = order.iter().map(|&i| axes[i]).collect();
    let reader = source.reader();
    let width = source.dtype().bytes();
    let mut range: Vec<(usize, usize)> = axes.iter().map(|a| (0, a.0)).collect();
    if groups > 1 {
        let each = axes[0].0 / groups;
        assert_eq!(each * groups, axes[0].0, "groups divide the outermost axis");
        range[0] = (group * each, (group + 1) * each);
    }
    if range.iter().any(|(lo, hi)| lo == hi) {
        return;
    }
    let mut index: Vec<usize> = range.iter().map(|r| r.0).collect();
    let mut at = vec![0usize; padded.len()];
    for (i, &(_, axis, step)) in axes.iter().enumerate() {
        at[axis] += index[i] * step;
    }
    let mut buffer = Vec::with_capacity(1 << 16);
    let last = axes.len().wrapping_sub(1);
    loop {
        // the innermost axis in a tight loop
        let (extent, axis, step) = if axes.is_empty() { (1, 0, 0) } else { (range[last].1, axes[last].1, axes[last].2) };
        let start = if axes.is_empty() { 0 } else { range[last].0 };
        let others = at.iter().enumerate().all(|(a, &i)| (a == axis && !axes.is_empty()) || i < source.shape()[a]);
        let inside = if axes.is_empty() || step == 0 {
            extent
        } else {
            source.shape()[axis].saturating_sub(at[axis]).div_ceil(step).min(extent - start)
        };
        let inside = if others { inside } else { 0 };
        reader.run(&at, axis, step, inside, &mut buffer);
        buffer.resize(buffer.len() + (extent - start - inside) * width, 0);
        if buffer.len() >= 1 << 16 {
            out(&buffer);
            buffer.clear();
        }
        // the next position of the outer axes
        let mut axis = last;
        loop {
            if axis == 0 || axes.is_empty() {
                out(&buffer);
                return;
            }
            axis -= 1;
            index[axis] += 1;
            at[axes[axis].1] += axes[axis].2;
            if index[axis] < range[axis].1 {
                break;
            }
            at[axes[axis].1] -= axes[axis].2 * (range[axis].1 - range[axis].0);
            index[axis] = range[axis].0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_with_their_bias_lie_in_order_of_use() {
        // k = 2, n = 3, panels of 2: [n/2][k][2], each followed by its two biases
        let w = Tensor::f32s(&[2, 3], &[1., 2., 3., 4., 5., 6.]);
        let bias = Tensor::f32s(&[3], &[10., 20., 30.]);
        let layout = Part::Layout { source: w, padded: vec![2, 4], split: vec![vec![2], vec![2, 2]], order: vec![1, 0, 2] };
        let biases = Part::Layout { source: bias, padded: vec![4], split: vec![vec![2, 2]], order: vec![0, 1] };
        let packed =
            Packed { align: 64, parts: vec![Part::Interleave { groups: 2, parts: vec![layout, biases] }, Part::Fill { bytes: 4 }] };
        let floats: Vec<f32> = packed.to_vec().chunks(4).map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes"))).collect();
        assert_eq!(floats, [1., 2., 4., 5., 10., 20., 3., 0., 6., 0., 30., 0., 0.]);
        assert_eq!(packed.bytes(), 52);
    }
}
