//! Where every tensor lies, chosen before any code exists, because code bakes pitches in. Concatenation,
//! slicing and reshaping are places, not copies: a value is computed straight into the output, into its part of
//! a concatenation, into the value that a map makes of it, or into a buffer with the halo that its readers want.

use crate::build::{Buffer, BufferId, Builder, Halo, Home};
use crate::conv;
use crate::kept::{self, Kept};
use ir::graph::op::Op;
use ir::{Dim, Dtype, Graph, NodeId};
use std::collections::BTreeMap;

/// A tensor in memory: element `i` lies at `offset + sum(i[k] * strides[k])`, counted in elements from the
/// buffer's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub buffer: BufferId,
    pub offset: i64,
    pub strides: Vec<i64>,
}

/// Row-major strides.
pub fn dense_strides(shape: &[usize]) -> Vec<i64> {
    ir::tensor::dense_strides(shape).iter().map(|&s| s as i64).collect()
}

impl Place {
    /// Row-major from the buffer's start.
    pub fn dense(buffer: BufferId, shape: &[usize]) -> Place {
        Place { buffer, offset: 0, strides: dense_strides(shape) }
    }

    /// Whether elements follow each other in row-major order (axes of size 1 do not count).
    pub fn is_dense(&self, shape: &[usize]) -> bool {
        self.strides.iter().zip(dense_strides(shape)).zip(shape).all(|((&s, d), &n)| n <= 1 || s == d)
    }

    /// Whether `shape` elements lie at the same addresses (strides of axes of size 1 do not count).
    pub fn same(&self, other: &Place, shape: &[usize]) -> bool {
        let strides = self.strides.iter().zip(&other.strides).zip(shape).all(|((a, b), &n)| n <= 1 || a == b);
        self.buffer == other.buffer && self.offset == other.offset && strides
    }

    /// Bytes from the buffer's start to the first element.
    pub fn byte_offset(&self, dtype: Dtype) -> i64 {
        self.offset * dtype.bytes() as i64
    }

    /// The place of a part.
    pub fn slice(&self, start: &[i64], step: &[i64]) -> Place {
        Place {
            buffer: self.buffer,
            offset: self.offset + start.iter().zip(&self.strides).map(|(a, b)| a * b).sum::<i64>(),
            strides: self.strides.iter().zip(step).map(|(a, b)| a * b).collect(),
        }
    }

    /// The same elements under another shape, where strides can say so.
    pub fn reshape(&self, from: &[usize], to: &[usize]) -> Option<Place> {
        if from.contains(&0) {
            return Some(Place { strides: dense_strides(to), ..self.clone() });
        }
        let old: Vec<(usize, i64)> = from.iter().copied().zip(self.strides.iter().copied()).filter(|(n, _)| *n != 1).collect();
        let mut strides = vec![0i64; to.len()];
        let (mut i, mut j) = (0, 0);
        while i < old.len() {
            let (start, mut have, first, mut want) = (i, old[i].0, j, 1);
            i += 1;
            while want != have {
                if want < have {
                    want *= to[j];
                    j += 1;
                } else {
                    have *= old[i].0;
                    i += 1;
                }
            }
            if !(start..i - 1).all(|k| old[k].1 == old[k + 1].1 * old[k + 1].0 as i64) {
                return None;
            }
            let mut stride = old[i - 1].1;
            for k in (first..j).rev() {
                strides[k] = stride;
                stride *= to[k] as i64;
            }
        }
        Some(Place { strides, ..self.clone() })
    }

    /// [`Place::reshape`] where dimensions are open, `from` and `to` their bounds: axes that stay, and groups of fixed ones.
    pub fn reshape_open(&self, from_dims: &[Dim], from: &[usize], to_dims: &[Dim], to: &[usize]) -> Option<Place> {
        let one = Dim::from(1i64);
        let mut strides = vec![0i64; to.len()];
        let (mut i, mut j) = (0, 0);
        while i < from.len() || j < to.len() {
            // what stands by itself on one side only is 1
            let (a, b) = (from_dims.get(i).unwrap_or(&one), to_dims.get(j).unwrap_or(&one));
            if a.fixed().is_none() || b.fixed().is_none() {
                match (a, b) {
                    (a, b) if a == b => {
                        strides[j] = self.strides[i];
                        (i, j) = (i + 1, j + 1);
                    }
                    (a, _) if *a == one && i < from.len() => i += 1,
                    (_, b) if *b == one && j < to.len() => j += 1,
                    _ => return None,
                }
                continue;
            }
            // as many fixed axes as stand together
            let run = |dims: &[Dim], at: usize| dims[at..].iter().take_while(|d| d.fixed().is_some()).count();
            let (m, n) = (run(from_dims, i), run(to_dims, j));
            if from[i..i + m].iter().product::<usize>() != to[j..j + n].iter().product::<usize>() {
                return None;
            }
            let group = Place { strides: self.strides[i..i + m].to_vec(), ..self.clone() }.reshape(&from[i..i + m], &to[j..j + n])?;
            strides[j..j + n].copy_from_slice(&group.strides);
            (i, j) = (i + m, j + n);
        }
        Some(Place { strides, ..self.clone() })
    }

    /// The same elements with their axes in another order.
    pub fn permute(&self, perm: &[usize]) -> Place {
        Place { strides: perm.iter().map(|&p| self.strides[p]).collect(), ..self.clone() }
    }

    /// Repeated to `shape` by numpy's rules: stride 0 along what repeats.
    pub fn expand(&self, from: &[usize], shape: &[usize]) -> Place {
        let lead = shape.len() - from.len();
        let strides = (0..shape.len()).map(|i| if i < lead || (from[i - lead] == 1 && shape[i] != 1) { 0 } else { self.strides[i - lead] });
        Place { strides: strides.collect(), ..self.clone() }
    }
}

/// Whether an output is the input with rows put into it, and nobody else reads the input: it can change where it lies.
fn in_place(graph: &Graph, output: NodeId, input: NodeId) -> bool {
    let mut at = output;
    let mut scattered = false;
    while at != input {
        let below = match graph.op(at) {
            Op::Reshape { .. } => graph.operands(at)[0],
            Op::Scatter { .. } if !scattered => {
                scattered = true;
                graph.operands(at)[0]
            }
            _ => return false,
        };
        // what lies under the rows that are put is read for them alone
        if scattered && graph.use_count(below) != 1 {
            return false;
        }
        at = below;
    }
    scattered
}

/// Strides of what lies under a transpose.
fn unpermuted(strides: &[i64], perm: &[usize]) -> Vec<i64> {
    let mut out = strides.to_vec();
    perm.iter().zip(strides).for_each(|(&p, &s)| out[p] = s);
    out
}

/// What is wanted around the spatial axes: so many elements before and behind, for each axis, and the bits of each.
#[derive(Clone, Debug)]
struct Margin {
    pads: Vec<(usize, usize)>,
    fill: u64,
}

impl Margin {
    fn is_empty(&self) -> bool {
        self.pads.iter().all(|&p| p == (0, 0))
    }
}

/// Chooses places on demand; see the module.
pub struct Places<'g> {
    graph: &'g Graph,
    /// Values that are computed into the place of this user, at this operand position: a concatenation's part, a
    /// reshaped or mapped value.
    dest: BTreeMap<NodeId, (NodeId, usize)>,
    margin: BTreeMap<NodeId, Margin>,
    places: BTreeMap<NodeId, Place>,
    /// Of scans.
    results: BTreeMap<NodeId, Vec<Place>>,
    input_buffers: Vec<BufferId>,
    output_buffers: Vec<BufferId>,
    /// Outputs that must not lie at their place before all else is done, since that is still read.
    late: Vec<bool>,
}

/// The sizes of a node, which memory is laid out for: of what is open, the bounds.
pub fn shape_of(graph: &Graph, id: NodeId) -> Vec<usize> {
    bounds_of(graph, id)
}

/// The largest sizes of a node.
pub fn bounds_of(graph: &Graph, id: NodeId) -> Vec<usize> {
    graph.ty(id).shape.iter().map(|d| usize::try_from(d.bounds(&graph.symbols).1).unwrap_or(0)).collect()
}

/// Whether a size of a node is known at run time only.
fn is_open(graph: &Graph, id: NodeId) -> bool {
    graph.ty(id).fixed().is_none()
}

impl<'g> Places<'g> {
    /// What is `kept` lies in the state, input and output at one place.
    pub fn new(graph: &'g Graph, order: &[NodeId], kept: &[Kept], builder: &mut Builder) -> Places<'g> {
        let (mut places, mut input_buffers) = (BTreeMap::new(), Vec::new());
        let mut ports = 0;
        for (i, &id) in graph.inputs().iter().enumerate() {
            let ty = graph.ty(id);
            let shape = shape_of(graph, id);
            let bytes = (shape.iter().product::<usize>() * ty.dtype.bytes()) as u64;
            if let Some(k) = kept.iter().find(|k| k.input == i) {
                let place = kept::place(graph, k, builder);
                input_buffers.push(place.buffer);
                places.insert(id, place);
                continue;
            }
            ports += 1;
            let buffer = builder.buffer(graph.label(id), Home::Input(ports - 1), bytes);
            input_buffers.push(buffer);
            // what is dense at its actual size is copied first
            let place = if is_open(graph, id) { builder.buffer(graph.label(id), Home::Arena, bytes.max(1)) } else { buffer };
            places.insert(id, Place::dense(place, &shape));
        }
        let (mut output_buffers, mut late) = (Vec::new(), Vec::new());
        ports = 0;
        for (i, (name, id)) in graph.outputs().iter().enumerate() {
            let bytes = (shape_of(graph, *id).iter().product::<usize>() * graph.ty(*id).dtype.bytes()) as u64;
            let input = kept.iter().find(|k| k.output == i).map(|k| graph.inputs()[k.input]);
            late.push(input.is_some_and(|input| !in_place(graph, *id, input)));
            output_buffers.push(match input {
                Some(input) => places[&input].buffer,
                None => {
                    ports += 1;
                    builder.buffer(name.clone(), Home::Output(ports - 1), bytes)
                }
            });
        }
        for k in kept {
            let (output, input) = (graph.outputs()[k.output].1, graph.inputs()[k.input]);
            if kept::appended(graph, output, input) {
                places.insert(output, places[&input].clone());
            }
        }
        let (dest, margin, results) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut all = Places { graph, dest, margin, places, results, input_buffers, output_buffers, late };
        for &id in order.iter().rev() {
            all.look(id);
        }
        all
    }

    /// Places inside of an operator's region: its inputs lie where they are.
    pub fn inside(graph: &'g Graph, order: &[NodeId], inputs: Vec<Place>) -> Places<'g> {
        let places = graph.inputs().iter().copied().zip(inputs).collect();
        let late = vec![true; graph.outputs().len()];
        let mut all = Places {
            graph,
            dest: BTreeMap::new(),
            margin: BTreeMap::new(),
            places,
            results: BTreeMap::new(),
            input_buffers: Vec::new(),
            output_buffers: Vec::new(),
            late,
        };
        for &id in order.iter().rev() {
            all.look(id);
        }
        all
    }

    /// Has `id` computed at a place, if a kernel computes it and nobody else says where.
    pub fn prefer(&mut self, id: NodeId, place: &Place) -> bool {
        let alias = matches!(self.graph.op(id), Op::Reshape { .. } | Op::Take { .. } | Op::Scan { .. });
        let margin = self.margin.get(&id).is_some_and(|m| !m.is_empty());
        let free = self.computed(id) && !alias && !margin && !self.dest.contains_key(&id) && !self.places.contains_key(&id);
        if free {
            self.places.insert(id, place.clone());
        }
        free
    }

    /// The same, and nothing else is computed there on the way.
    pub fn prefer_alone(&mut self, id: NodeId, place: &Place) {
        if self.prefer(id, place) {
            self.dest.retain(|_, (user, _)| *user != id);
        }
    }

    /// Where the results of a scan lie.
    pub fn results(&self, id: NodeId) -> &[Place] {
        self.results.get(&id).map_or(&[], Vec::as_slice)
    }

    pub fn set_results(&mut self, id: NodeId, places: Vec<Place>) {
        self.results.insert(id, places);
    }

    /// Notes the margins that a node wants of its operands, and which operands may be computed into its place.
    fn look(&mut self, id: NodeId) {
        let operands = self.graph.operands(id);
        match self.graph.op(id) {
            Op::Conv { low, high, inflate, fill, .. } if inflate.iter().all(|&i| i == 1) && self.has_fixed_rows(operands[0]) => {
                let mut pads: Vec<(usize, usize)> = low.iter().zip(high).map(|(&l, &h)| (l.max(0) as usize, h.max(0) as usize)).collect();
                if let (Some(last), Some(weights)) = (pads.last_mut(), self.graph.ty(operands[1]).fixed()) {
                    last.1 += conv::overhang(self.graph.op(id), self.graph.ty(operands[0]).dtype, &weights);
                }
                self.want(operands[0], Margin { pads, fill: fill.bits });
            }
            Op::Concat { axis } if self.graph.ty(id).shape[*axis].fixed().is_some() => {
                for (slot, &operand) in operands.iter().enumerate() {
                    self.route(operand, id, slot);
                }
            }
            Op::Reshape { .. } => self.route(operands[0], id, 0),
            // rows of heads lie apart as well as side by side
            Op::Transpose { perm } => {
                let rows = perm.last() == Some(&(perm.len() - 1));
                if rows && matches!(self.graph.op(operands[0]), Op::Attention { .. }) && self.graph.use_count(operands[0]) == 1 {
                    self.route(operands[0], id, 0);
                }
            }
            Op::Map { .. } => {
                let ty = self.graph.ty(id);
                let fits = |&slot: &usize| {
                    let operand = operands[slot];
                    let t = self.graph.ty(operand);
                    t.shape == ty.shape
                        && t.dtype.bytes() == ty.dtype.bytes()
                        && self.graph.use_count(operand) == 1
                        && operands.iter().filter(|&&o| o == operand).count() == 1
                };
                if let Some(slot) = (0..operands.len()).filter(|s| self.computed(operands[*s])).find(fits) {
                    self.route(operands[slot], id, slot);
                }
            }
            _ => {}
        }
    }

    /// Whether all but the first axis are fixed.
    fn has_fixed_rows(&self, id: NodeId) -> bool {
        self.graph.ty(id).shape.iter().skip(1).all(|d| d.fixed().is_some())
    }

    fn want(&mut self, id: NodeId, margin: Margin) {
        let have = self.margin.entry(id).or_insert_with(|| Margin { pads: vec![(0, 0); margin.pads.len()], fill: margin.fill });
        if have.is_empty() {
            have.fill = margin.fill;
        }
        // who wants another fill than the first one makes a copy
        let same = have.fill == margin.fill;
        for (have, want) in have.pads.iter_mut().zip(margin.pads).filter(|_| same) {
            *have = (have.0.max(want.0), have.1.max(want.1));
        }
    }

    /// Whether a kernel writes this value, so that it can be told where.
    fn computed(&self, id: NodeId) -> bool {
        !matches!(self.graph.op(id), Op::Input { .. } | Op::Const { .. } | Op::Slice { .. } | Op::Expand { .. })
    }

    fn route(&mut self, operand: NodeId, user: NodeId, slot: usize) {
        let free = self.computed(operand) && !self.graph.is_output(operand) && !self.dest.contains_key(&operand);
        // a reshaped value shares its memory with the original: nobody else may write there
        let alias = matches!(self.graph.op(operand), Op::Reshape { .. });
        let source_is_computed = !alias || self.computed(self.graph.operands(operand)[0]);
        // a margin and another shape do not go together
        let margin = self.margin.get(&operand).is_some_and(|m| !m.is_empty());
        let reshapes = matches!(self.graph.op(user), Op::Reshape { .. });
        let lost = self.overwritten(user) && self.graph.use_count(operand) > 1;
        if free && source_is_computed && !lost && !(reshapes && margin) {
            self.dest.insert(operand, (user, slot));
            if let (Some(margin), false) = (self.margin.get(&operand).cloned(), reshapes)
                && matches!(self.graph.op(user), Op::Map { .. } | Op::Concat { .. })
            {
                self.want(user, margin);
            }
        }
    }

    /// Whether what lies in the place of `id` is overwritten by a map that is computed there: nobody else may need it.
    fn overwritten(&self, id: NodeId) -> bool {
        let mut at = Some(id);
        while let Some(id) = at {
            if matches!(self.graph.op(id), Op::Map { .. }) {
                return true;
            }
            at = self.dest.get(&id).map(|(user, _)| *user);
        }
        false
    }

    /// Whether a view of its operand's memory cannot stand for `id`, because a place was chosen for it: it is an
    /// output, a part of a concatenation, or wants a margin that the view does not have.
    pub fn routed_elsewhere(&self, id: NodeId, view: &Place, builder: &Builder) -> bool {
        let shape = shape_of(self.graph, id);
        let margin = self.margin.get(&id).is_some_and(|m| !has_margin(builder, view, &shape, &m.pads, m.fill));
        self.places.contains_key(&id) || self.dest.contains_key(&id) || self.graph.is_output(id) || margin
    }

    /// Whether everyone who reads `id` takes it at any strides.
    pub fn strided(&self, id: NodeId) -> bool {
        let takes = |&(user, slot): &(NodeId, usize)| match self.graph.op(user) {
            Op::Attention { .. } => slot < 3,
            Op::Reshape { .. } => self.strided(user),
            _ => false,
        };
        self.graph.uses(id).iter().all(takes)
    }

    pub fn known(&self, id: NodeId) -> Option<&Place> {
        self.places.get(&id)
    }

    pub fn set(&mut self, id: NodeId, place: Place) {
        // a part of nothing may begin behind the end of its memory
        let offset = if shape_of(self.graph, id).contains(&0) { 0 } else { place.offset };
        self.places.insert(id, Place { offset, ..place });
    }

    pub fn input_buffer(&self, i: usize) -> BufferId {
        self.input_buffers[i]
    }

    pub fn output_buffer(&self, i: usize) -> BufferId {
        self.output_buffers[i]
    }

    /// The output buffer `i` as a dense place.
    pub fn output(&self, i: usize) -> Place {
        let (_, id) = &self.graph.outputs()[i];
        Place::dense(self.output_buffers[i], &shape_of(self.graph, *id))
    }

    /// Where `id` is to be computed.
    pub fn target(&mut self, id: NodeId, builder: &mut Builder) -> Place {
        if let Some(place) = self.places.get(&id) {
            return place.clone();
        }
        let shape = shape_of(self.graph, id);
        let mut place = None;
        if let Some((user, slot)) = self.dest.get(&id).copied() {
            let whole = self.target(user, builder);
            place = match self.graph.op(user) {
                Op::Concat { axis } => {
                    let before = &self.graph.operands(user)[..slot];
                    let start: i64 = before.iter().map(|&o| shape_of(self.graph, o)[*axis] as i64).sum();
                    let mut at = vec![0; shape.len()];
                    at[*axis] = start;
                    Some(whole.slice(&at, &vec![1; shape.len()]))
                }
                Op::Reshape { .. } => {
                    let dims = |id: NodeId| &self.graph.ty(id).shape;
                    match is_open(self.graph, id) || is_open(self.graph, user) {
                        true => whole.reshape_open(dims(user), &shape_of(self.graph, user), dims(id), &shape),
                        false => whole.reshape(&shape_of(self.graph, user), &shape),
                    }
                }
                Op::Transpose { perm } => Some(Place { strides: unpermuted(&whole.strides, perm), ..whole }),
                _ => Some(whole),
            };
        }
        let margin = self.margin.get(&id).cloned().filter(|m| !m.is_empty());
        let place = match (place, margin) {
            (Some(place), _) => place,
            (None, None) => {
                match (0..self.late.len()).find(|&i| self.graph.outputs()[i].1 == id && !self.late[i] && !is_open(self.graph, id)) {
                    Some(i) => self.output(i),
                    None => {
                        let bytes = (shape.iter().product::<usize>() * self.graph.ty(id).dtype.bytes()) as u64;
                        let buffer = builder.buffer(self.graph.label(id), Home::Arena, bytes.max(1));
                        Place::dense(buffer, &shape)
                    }
                }
            }
            (None, Some(margin)) => padded(builder, self.graph.label(id), self.graph.ty(id).dtype, &shape, &margin.pads, margin.fill),
        };
        self.places.insert(id, place.clone());
        place
    }
}

/// A new arena buffer for `shape` = `[n, spatial.., c]` with `margin` of `fill` around its spatial axes.
pub fn padded(builder: &mut Builder, name: String, dtype: Dtype, shape: &[usize], margin: &[(usize, usize)], fill: u64) -> Place {
    let spatial = |i: usize| if (1..=margin.len()).contains(&i) { margin[i - 1] } else { (0, 0) };
    let inner: Vec<(usize, usize)> = shape.iter().enumerate().map(|(i, &n)| (spatial(i).0, n)).collect();
    let whole: Vec<usize> = shape.iter().enumerate().map(|(i, &n)| n + spatial(i).0 + spatial(i).1).collect();
    let bytes = (whole.iter().product::<usize>() * dtype.bytes()) as u64;
    let strides = dense_strides(&whole);
    let offset = inner.iter().zip(&strides).map(|((first, _), s)| *first as i64 * s).sum();
    let buffer = builder.buffer(name, Home::Arena, bytes.max(1));
    let Buffer { halo, .. } = &mut builder.buffers[buffer.0];
    *halo = Some(Halo { shape: whole, inner, width: dtype.bytes(), fill });
    Place { buffer, offset, strides }
}

/// Whether the memory around `place` holds at least `margin` elements of `fill`: its buffer has such a halo.
pub fn has_margin(builder: &Builder, place: &Place, shape: &[usize], margin: &[(usize, usize)], fill: u64) -> bool {
    if margin.iter().all(|&m| m == (0, 0)) {
        return true;
    }
    let Some(halo) = &builder.buffers[place.buffer.0].halo else { return false };
    // the place must be the inside of the halo, up to a range of channels
    let strides = dense_strides(&halo.shape);
    let rank = shape.len();
    let same = halo.shape.len() == rank && place.strides[..rank - 1].iter().zip(&strides).zip(shape).all(|((a, b), &n)| a == b || n == 1);
    let first: i64 = halo.inner.iter().zip(&strides).take(rank - 1).map(|((f, _), s)| *f as i64 * s).sum();
    let inside = place.offset >= first && place.offset - first < halo.shape[rank - 1] as i64;
    same && inside
        && halo.fill == fill
        && halo.inner[0].1 >= shape[0]
        && (1..rank - 1).all(|i| halo.inner[i].1 == shape[i])
        && margin
            .iter()
            .enumerate()
            .all(|(i, &(l, h))| halo.inner[i + 1].0 >= l && halo.shape[i + 1] - halo.inner[i + 1].0 - halo.inner[i + 1].1 >= h)
}
