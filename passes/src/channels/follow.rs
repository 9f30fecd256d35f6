//! Follows channels through a graph: each value has at most one axis of channels, and every position of it a number. Operators
//! that work on each channel by itself hand the numbers on, those that join values make numbers one (union and find), and
//! what is not understood ties its channels down.

use crate::layout::{is_one, segments};
use ir::graph::op::WindowKind;
use ir::scalar::{Body, Literal, eval};
use ir::{Dim, Dtype, Graph, NodeId, Op, Tensor};
use std::collections::BTreeMap;

/// The axis of channels of a value.
#[derive(Clone)]
pub struct Track {
    pub axis: usize,
    /// Whose channel each position is.
    pub ids: Vec<usize>,
    /// What every element of a position is, if it is always one number.
    pub known: Vec<Option<Literal>>,
}

/// A convolution or product with constant weights: it reads channels and makes new ones.
pub struct Layer {
    pub node: NodeId,
    /// The operand whose channels it reads, if they are followed.
    pub input: Option<NodeId>,
    /// For input `p` and output `j` at `p * outputs + j`: whether a weight is not zero.
    weights: Vec<bool>,
    outputs: usize,
    finite: bool,
    /// What stands in the padding, for integers; `None` where there is none.
    fill: Option<Literal>,
}

impl Layer {
    pub fn nonzero(&self, p: usize, j: usize) -> bool {
        self.weights[p * self.outputs + j]
    }

    /// Whether what position `p` of the operand adds to each sum is known, exactly.
    pub fn absorbs(&self, input: &Track, p: usize) -> bool {
        let Some(value) = input.known[p] else { return false };
        match value.dtype.is_float() {
            true => value.to_f64() == 0.0 && self.finite,
            false => value.dtype.bytes() <= 2 && self.fill.is_none_or(|fill| fill == value),
        }
    }
}

/// Weights of a layer that are looked through.
const MOST: usize = 1 << 24;

#[derive(Default)]
pub struct Channels {
    parent: Vec<usize>,
    pins: Vec<bool>,
    /// With the numbers that stand for those they are tied to.
    pub tracks: BTreeMap<NodeId, Track>,
    pub layers: Vec<Layer>,
}

impl Channels {
    pub fn follow(graph: &Graph) -> Channels {
        let mut channels = Channels::default();
        for id in graph.order() {
            match channels.transfer(graph, id) {
                Some(track) => {
                    channels.tracks.insert(id, track);
                }
                None => channels.pin_operands(graph, id),
            }
        }
        for (_, output) in graph.outputs() {
            channels.pin(*output);
        }
        let roots: Vec<usize> = (0..channels.parent.len()).map(|id| channels.find(id)).collect();
        for (id, &root) in roots.iter().enumerate() {
            channels.pins[root] |= channels.pins[id];
        }
        channels.tracks.values_mut().flat_map(|t| &mut t.ids).for_each(|id| *id = roots[*id]);
        channels
    }

    /// Numbers that were handed out; those that stand for others are among the tracks.
    pub fn count(&self) -> usize {
        self.parent.len()
    }

    pub fn pinned(&self, id: usize) -> bool {
        self.pins[id] || self.parent[id] != id
    }

    fn find(&self, mut id: usize) -> usize {
        while self.parent[id] != id {
            id = self.parent[id];
        }
        id
    }

    fn tie(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.parent[a.max(b)] = a.min(b);
        self.pins[a.min(b)] |= self.pins[a.max(b)];
    }

    fn fresh(&mut self, count: usize, pinned: bool) -> Vec<usize> {
        let from = self.parent.len();
        self.parent.extend(from..from + count);
        self.pins.extend(std::iter::repeat_n(pinned, count));
        (from..from + count).collect()
    }

    fn pin_all(&mut self, ids: &[usize]) {
        ids.iter().for_each(|&id| self.pins[id] = true);
        // whatever stands for them now
        for &id in ids {
            let root = self.find(id);
            self.pins[root] = true;
        }
    }

    fn pin(&mut self, value: NodeId) {
        if let Some(track) = self.tracks.get(&value) {
            self.pin_all(&track.ids.clone());
        }
    }

    fn pin_operands(&mut self, graph: &Graph, id: NodeId) {
        graph.operands(id).into_iter().for_each(|o| self.pin(o));
    }

    /// The channels of a node's result; `None`: it has none that are followed, nor do its operands' go any further.
    fn transfer(&mut self, graph: &Graph, id: NodeId) -> Option<Track> {
        let operands = graph.operands(id);
        let first = operands.first().and_then(|o| self.tracks.get(o)).cloned();
        match graph.op(id) {
            Op::Conv { .. } | Op::Dot { .. } => self.layer(graph, id, &operands, first),
            Op::Map { body } => self.map(graph, id, &operands, body),
            Op::Window { kind, low, high, epilogue, .. } => {
                let x = first.filter(|t| t.axis + 1 == graph.ty(id).rank())?;
                let padded = low.iter().chain(high).any(|&p| p > 0);
                let passes = |l: &Literal| match kind {
                    WindowKind::Sum => l.to_f64() == 0.0,
                    WindowKind::Max => !padded,
                };
                let sum = ir::graph::infer::window_type(*kind, graph.ty(operands[0]).dtype);
                let same = |l: Literal| if l.dtype == sum { l } else { Literal::number(sum, l.to_f64()) };
                let known = x.known.iter().map(|l| l.filter(|l| passes(l)).map(same)).collect();
                self.finish(graph, id, &operands[1..], epilogue, Track { known, ..x })
            }
            Op::Reduce { axes, epilogue, .. } => {
                let x = first.filter(|t| !axes.contains(&t.axis))?;
                self.finish(graph, id, &operands[1..], epilogue, unknown(x))
            }
            Op::Norm { axes, epilogue, .. } => {
                let x = first.filter(|t| !axes.contains(&t.axis))?;
                self.finish(graph, id, &operands[1..], epilogue, unknown(x))
            }
            Op::Transpose { perm } => {
                let x = first?;
                Some(Track { axis: perm.iter().position(|&p| p == x.axis)?, ..x })
            }
            Op::Reshape { shape } => reshaped(&graph.ty(operands[0]).shape, shape, first?),
            Op::Slice { start, step, size } => {
                let x = first?;
                let (from, by, count) = (start[x.axis].fixed()? as usize, step[x.axis], size[x.axis].fixed()? as usize);
                let range = (by == 1).then_some(from..from + count)?;
                Some(Track { axis: x.axis, ids: x.ids[range.clone()].to_vec(), known: x.known[range].to_vec() })
            }
            Op::Pad { low, high, value, mode } => {
                let x = first?;
                let still = [&low[x.axis], &high[x.axis]].iter().all(|d| d.fixed() == Some(0));
                let fits = |l: &Literal| *mode != ir::graph::op::PadMode::Constant || l == value;
                let known = x.known.iter().map(|l| l.filter(fits)).collect();
                still.then_some(Track { known, ..x })
            }
            Op::Expand { shape } => {
                let mut x = first?;
                x.axis += shape.len() - graph.ty(operands[0]).rank();
                (shape[x.axis].fixed() == Some(x.ids.len() as i64)).then_some(x)
            }
            Op::Resize { shape, .. } => {
                let x = first.filter(|t| shape[t.axis] == graph.ty(operands[0]).shape[t.axis] && t.axis + 1 == shape.len())?;
                let known = x.known.iter().map(|l| l.filter(|l| l.to_f64() == 0.0)).collect();
                Some(Track { known, ..x })
            }
            Op::Concat { axis } => self.concat(graph, id, &operands, *axis),
            // what reads channels otherwise, or makes none
            Op::Input { .. }
            | Op::Const { .. }
            | Op::Gather { .. }
            | Op::ArgReduce { .. }
            | Op::Cumulate { .. }
            | Op::Sort { .. }
            | Op::Scatter { .. }
            | Op::Compact { .. }
            | Op::Suppress { .. }
            | Op::Softmax { .. }
            | Op::Attention { .. }
            | Op::Quantize { .. }
            | Op::Dequantize { .. }
            | Op::Scan { .. }
            | Op::Take { .. } => None,
        }
    }

    fn layer(&mut self, graph: &Graph, id: NodeId, operands: &[NodeId], first: Option<Track>) -> Option<Track> {
        let weights = graph.as_const(operands[1]).filter(|w| w.dtype().bits() >= 8 && w.elements() <= MOST)?;
        let rank = graph.ty(id).rank();
        let input = first.filter(|t| t.axis + 1 == graph.ty(operands[0]).rank());
        if input.is_none() {
            self.pin(operands[0]);
        }
        let sum = ir::graph::infer::own_type(graph.op(id), &[graph.ty(operands[0]).dtype, weights.dtype()])?;
        let zero = Literal::number(sum, 0.0);
        let (turned, fill) = match graph.op(id) {
            Op::Conv { group, low, high, inflate, fill, .. } => {
                let padded = low.iter().chain(high).any(|&p| p > 0) || inflate.iter().any(|&n| n > 1);
                if *group != 1 {
                    return self.depthwise(graph, id, operands, input?, zero, padded.then_some(*fill));
                }
                (false, padded.then_some(*fill))
            }
            Op::Dot { trans_a: false, trans_b, .. } if weights.shape().len() == 2 => (*trans_b, None),
            _ => return None,
        };
        let (wide, shape) = (weights.shape().len(), weights.shape());
        let (inputs, outputs) = if turned { (shape[1], shape[0]) } else { (shape[wide - 2], shape[wide - 1]) };
        let mut used = vec![false; inputs * outputs];
        for (i, set) in set(weights).into_iter().enumerate() {
            let (row, column) = (i / shape[wide - 1] % shape[wide - 2], i % shape[wide - 1]);
            let (p, j) = if turned { (column, row) } else { (row, column) };
            used[p * outputs + j] |= set;
        }
        let silent = |j: usize| (0..inputs).all(|p| !used[p * outputs + j]);
        let known = (0..outputs).map(|j| silent(j).then_some(zero)).collect();
        let absorbs = input.as_ref().is_some_and(|t| t.known.iter().any(Option::is_some));
        let finite = absorbs && weights.to_f64s().iter().all(|w| w.is_finite());
        let layer = Layer { node: id, input: input.map(|_| operands[0]), weights: used, outputs, finite, fill };
        let own = Track { axis: rank - 1, ids: self.fresh(outputs, false), known };
        let (Op::Conv { epilogue, .. } | Op::Dot { epilogue, .. }) = graph.op(id) else { return None };
        let track = self.finish(graph, id, &operands[2..], epilogue, own)?;
        self.layers.push(layer);
        Some(track)
    }

    fn depthwise(
        &mut self,
        graph: &Graph,
        id: NodeId,
        operands: &[NodeId],
        x: Track,
        zero: Literal,
        fill: Option<Literal>,
    ) -> Option<Track> {
        let weights = graph.as_const(operands[1])?;
        let (rank, shape) = (weights.shape().len(), weights.shape());
        let Op::Conv { group, epilogue, .. } = graph.op(id) else { return None };
        let channels = shape[rank - 1];
        if *group != channels || shape[rank - 2] != 1 {
            return None;
        }
        let mut used = vec![false; channels];
        set(weights).into_iter().enumerate().for_each(|(i, set)| used[i % channels] |= set);
        let zeros = |l: &Literal| l.to_f64() == 0.0 && fill.is_none_or(|f| f.to_f64() == 0.0);
        let known = (0..channels).map(|j| (!used[j] || x.known[j].as_ref().is_some_and(zeros)).then_some(zero)).collect();
        self.finish(graph, id, &operands[2..], epilogue, Track { known, ..x })
    }

    fn map(&mut self, graph: &Graph, id: NodeId, operands: &[NodeId], body: &Body) -> Option<Track> {
        let rank = graph.ty(id).rank();
        let main = operands.iter().position(|o| self.tracks.contains_key(o))?;
        let mut own = self.tracks[&operands[main]].clone();
        own.axis += rank - graph.ty(operands[main]).rank();
        if graph.ty(id).shape[own.axis].fixed() != Some(own.ids.len() as i64) {
            return None;
        }
        let others: Vec<NodeId> = operands.iter().copied().filter(|&o| o != operands[main]).collect();
        self.join(graph, id, &own, &others)?;
        let columns: Vec<Column> = operands.iter().map(|&o| self.column(graph, o, rank, own.axis, own.ids.len())).collect();
        own.known = (0..own.ids.len()).map(|j| evaluate(body, columns.iter().map(|c| c.at(j)))).collect();
        Some(own)
    }

    /// `own` under an epilogue over further operands.
    fn finish(&mut self, graph: &Graph, id: NodeId, extras: &[NodeId], epilogue: &Body, mut own: Track) -> Option<Track> {
        let rank = graph.ty(id).rank();
        if self.join(graph, id, &own, extras).is_none() {
            self.pin_all(&own.ids);
        }
        let columns: Vec<Column> = extras.iter().map(|&o| self.column(graph, o, rank, own.axis, own.ids.len())).collect();
        let at = |j: usize| std::iter::once(own.known[j]).chain(columns.iter().map(move |c| c.at(j)));
        own.known = (0..own.ids.len()).map(|j| evaluate(epilogue, at(j))).collect();
        Some(own)
    }

    /// Ties the channels of operands that are joined position by position. `None`: one has as many positions, and cannot be
    /// made narrower.
    fn join(&mut self, graph: &Graph, id: NodeId, own: &Track, others: &[NodeId]) -> Option<()> {
        let rank = graph.ty(id).rank();
        let mut fits = Some(());
        for &other in others {
            let ty = graph.ty(other);
            let axis = (own.axis + ty.rank()).checked_sub(rank).filter(|&axis| !is_one(&ty.shape[axis]));
            match (self.tracks.get(&other).cloned(), axis) {
                (Some(track), Some(axis)) if track.axis == axis => track.ids.iter().zip(&own.ids).for_each(|(&a, &b)| self.tie(a, b)),
                (Some(track), axis) => {
                    self.pin_all(&track.ids);
                    if axis.is_some() {
                        fits = None;
                    }
                }
                (None, Some(_)) if graph.as_const(other).is_none_or(|t| t.dtype().bits() < 8) => fits = None,
                (None, _) => {}
            }
        }
        fits
    }

    /// What is known of an operand along the channels of a result.
    fn column(&self, graph: &Graph, operand: NodeId, rank: usize, axis: usize, count: usize) -> Column {
        let ty = graph.ty(operand);
        let own = (axis + ty.rank()).checked_sub(rank);
        if let Some(track) = self.tracks.get(&operand) {
            return if Some(track.axis) == own { Column::Each(track.known.clone()) } else { Column::Unknown };
        }
        let Some(tensor) = graph.as_const(operand) else { return Column::Unknown };
        let element =
            |i: usize| Literal::from_bytes(tensor.dtype(), &tensor.bytes()[i * tensor.dtype().bytes()..][..tensor.dtype().bytes()]);
        if tensor.dtype().bits() < 8 || tensor.elements() == 0 {
            return Column::Unknown;
        }
        if tensor.is_splat() || tensor.elements() == 1 {
            return Column::One(element(0));
        }
        let alone = own.is_some_and(|own| tensor.shape()[own] == count) && tensor.elements() == count;
        if alone { Column::Each((0..count).map(|i| Some(element(i))).collect()) } else { Column::Unknown }
    }

    fn concat(&mut self, graph: &Graph, id: NodeId, operands: &[NodeId], along: usize) -> Option<Track> {
        let main = operands.iter().find_map(|o| self.tracks.get(o))?.clone();
        let alike = |t: &Track| t.axis == main.axis;
        if !operands.iter().all(|o| self.tracks.get(o).is_none_or(alike)) {
            return None;
        }
        let (mut ids, mut known) = (Vec::new(), Vec::new());
        if along != main.axis {
            // one below the other
            if !operands.iter().all(|o| self.tracks.contains_key(o)) {
                return None;
            }
            for o in operands {
                let track = self.tracks[o].clone();
                track.ids.iter().zip(&main.ids).for_each(|(&a, &b)| self.tie(a, b));
            }
            let all = |j: usize| main.known[j].filter(|&l| operands.iter().all(|o| self.tracks[o].known[j] == Some(l)));
            return Some(Track { axis: main.axis, known: (0..main.ids.len()).map(all).collect(), ids: main.ids.clone() });
        }
        for o in operands {
            match self.tracks.get(o) {
                Some(track) => {
                    ids.extend(&track.ids);
                    known.extend(&track.known);
                }
                None => {
                    let count = usize::try_from(graph.ty(*o).shape[along].fixed()?).ok()?;
                    ids.extend(self.fresh(count, true));
                    known.extend(std::iter::repeat_n(None, count));
                }
            }
        }
        (graph.ty(id).shape[along].fixed() == Some(ids.len() as i64)).then_some(Track { axis: along, ids, known })
    }
}

/// What is known of an operand, channel by channel.
enum Column {
    Unknown,
    One(Literal),
    Each(Vec<Option<Literal>>),
}

impl Column {
    fn at(&self, j: usize) -> Option<Literal> {
        match self {
            Column::Unknown => None,
            Column::One(l) => Some(*l),
            Column::Each(each) => each[j],
        }
    }
}

fn evaluate(body: &Body, params: impl Iterator<Item = Option<Literal>>) -> Option<Literal> {
    let params: Vec<Literal> = params.collect::<Option<_>>()?;
    Some(eval::eval(&Body { params: params.len() as u8, ..body.clone() }, &params))
}

fn unknown(track: Track) -> Track {
    Track { known: vec![None; track.ids.len()], ..track }
}

/// Whether each element is not zero.
fn set(tensor: &Tensor) -> Vec<bool> {
    let (bytes, width) = (tensor.bytes(), tensor.dtype().bytes());
    let signed = matches!(tensor.dtype(), Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64);
    let magnitude = |element: &[u8]| {
        let (last, rest) = element.split_last().expect("no type is empty");
        rest.iter().any(|&b| b != 0) || (if signed { last & 0x7f } else { *last }) != 0
    };
    bytes.chunks_exact(width).map(magnitude).collect()
}

/// Channels that become one axis with what stands around them repeat.
fn reshaped(from: &[Dim], to: &[Dim], x: Track) -> Option<Track> {
    let (old, new) = segments(from, to)?.into_iter().find(|(old, _)| old.contains(&x.axis))?;
    let wide: Vec<usize> = new.clone().filter(|&axis| !is_one(&to[axis])).collect();
    let &[axis] = &wide[..] else { return None };
    let size = |axes: std::ops::Range<usize>| axes.map(|a| from[a].fixed().map(|n| n as usize)).product::<Option<usize>>();
    let (outer, inner) = (size(old.start..x.axis)?, size(x.axis + 1..old.end)?);
    let each = |list: usize| list / inner % x.ids.len();
    let count = outer * inner * x.ids.len();
    let known = (0..count).map(|i| x.known[each(i)]).collect();
    Some(Track { axis, ids: (0..count).map(|i| x.ids[each(i)]).collect(), known })
}
