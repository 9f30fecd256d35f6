//! Makes nodes narrower once it is known which channels go: weights, biases and shapes lose positions, in the order of the
//! graph, and what known channels added to sums of integers goes into the bias.

use super::follow::{Channels, Track};
use super::kept;
use ir::scalar::{Arg, Body, ScalarOp};
use ir::{Dim, Dtype, Graph, NodeId, Op, Tensor};
use std::collections::BTreeMap;

/// Rebuilds what loses channels; how many nodes did.
pub fn narrow(graph: &mut Graph, channels: &Channels, dead: &[bool]) -> usize {
    let loses = |track: &Track| track.ids.iter().any(|&id| dead[id]);
    let order = graph.order();
    let operands: BTreeMap<NodeId, Vec<NodeId>> = order.iter().map(|&id| (id, graph.operands(id))).collect();
    let mut count = 0;
    for id in order {
        let old = &operands[&id];
        let affected = std::iter::once(&id).chain(old).filter_map(|n| channels.tracks.get(n)).any(loses);
        if !affected {
            continue;
        }
        let new = Narrow { graph, channels, dead, old }.node(id);
        graph.replace(id, new);
        count += 1;
    }
    count
}

struct Narrow<'a> {
    graph: &'a mut Graph,
    channels: &'a Channels,
    dead: &'a [bool],
    /// The operands as they were; their tracks are known by these.
    old: &'a [NodeId],
}

impl Narrow<'_> {
    fn kept(&self, id: NodeId) -> Option<Vec<usize>> {
        self.channels.tracks.get(&id).map(|t| kept(t, self.dead))
    }

    fn node(&mut self, id: NodeId) -> NodeId {
        let mut op = self.graph.op(id).clone();
        let names = self.graph.node(id).names.clone();
        let mut operands = self.graph.operands(id);
        let (track, left) = (self.channels.tracks.get(&id), self.kept(id));
        match &mut op {
            Op::Conv { group, .. } if *group > 1 => {
                let left = left.as_ref().expect("a depthwise layer hands its channels on");
                *group = left.len();
                let last = self.graph.ty(operands[1]).rank() - 1;
                operands[1] = self.picked(operands[1], last, left);
            }
            Op::Conv { .. } | Op::Dot { .. } => self.layer(id, &mut op, &mut operands),
            Op::Reshape { shape } | Op::Expand { shape } | Op::Resize { shape, .. } => {
                if let (Some(track), Some(left)) = (track, &left) {
                    shape[track.axis] = Dim::from(left.len());
                }
            }
            Op::Slice { start, size, .. } => {
                if let (Some(track), Some(left)) = (track, &left) {
                    let from = start[track.axis].fixed().expect("a slice that is followed starts at a number") as usize;
                    let before = self.kept(self.old[0]).map_or(from, |all| all.iter().filter(|&&p| p < from).count());
                    (start[track.axis], size[track.axis]) = (Dim::from(before), Dim::from(left.len()));
                }
            }
            Op::Input { .. }
            | Op::Const { .. }
            | Op::Transpose { .. }
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Gather { .. }
            | Op::Map { .. }
            | Op::Window { .. }
            | Op::Reduce { .. }
            | Op::ArgReduce { .. }
            | Op::Cumulate { .. }
            | Op::Sort { .. }
            | Op::Scatter { .. }
            | Op::Compact { .. }
            | Op::Suppress { .. }
            | Op::Softmax { .. }
            | Op::Norm { .. }
            | Op::Attention { .. }
            | Op::Quantize { .. }
            | Op::Dequantize { .. }
            | Op::Scan { .. }
            | Op::Take { .. } => {}
        }
        let own = if matches!(op, Op::Map { .. }) { 0 } else { op.own_operands() };
        let joins = matches!(op, Op::Map { .. }) || op.epilogue().is_some();
        if let (true, Some(track), Some(left)) = (joins, track, &left) {
            let rank = self.graph.ty(id).rank();
            for operand in operands.iter_mut().skip(own) {
                let ty = self.graph.ty(*operand);
                let axis = (track.axis + ty.rank()).checked_sub(rank);
                if let Some(axis) = axis.filter(|&a| self.graph.as_const(*operand).is_some_and(|t| t.shape()[a] == track.ids.len())) {
                    *operand = self.picked(*operand, axis, left);
                }
            }
        }
        self.graph.add(op, &operands, &names).expect("all that are tied lose the same channels")
    }

    /// Weights without the rows and columns that go, and what known rows added.
    fn layer(&mut self, id: NodeId, op: &mut Op, operands: &mut Vec<NodeId>) {
        let rank = self.graph.ty(operands[1]).rank();
        let turned = matches!(op, Op::Dot { trans_b: true, .. });
        let (row, column) = if turned { (rank - 1, rank - 2) } else { (rank - 2, rank - 1) };
        let last = self.graph.ty(operands[0]).rank() - 1;
        if let Some(input) = self.channels.tracks.get(&self.old[0]).filter(|t| t.axis == last) {
            let shares = self.shares(operands[1], input, row, column);
            let left = kept(input, self.dead);
            operands[1] = self.picked(operands[1], row, &left);
            if let Some(shares) = shares {
                self.add(id, op, operands, shares);
            }
        }
        if let Some(left) = self.kept(id) {
            operands[1] = self.picked(operands[1], column, &left);
        }
    }

    /// What the rows that go add to each sum of integers; `None`: nothing.
    fn shares(&self, weights: NodeId, input: &Track, row: usize, column: usize) -> Option<Vec<i32>> {
        let tensor = self.graph.as_const(weights)?;
        let gone = |p: usize| self.dead[input.ids[p]];
        let values: Vec<i32> = (0..input.ids.len())
            .map(|p| input.known[p].filter(|l| gone(p) && !l.dtype.is_float()).map_or(0, |l| l.to_i64() as i32))
            .collect();
        if values.iter().all(|&v| v == 0) {
            return None;
        }
        let shape = tensor.shape();
        let step = |axis: usize| shape[axis + 1..].iter().product::<usize>();
        let mut sums = vec![0i32; shape[column]];
        for (i, w) in tensor.to_i64s().into_iter().enumerate() {
            let (p, j) = (i / step(row) % shape[row], i / step(column) % shape[column]);
            sums[j] = sums[j].wrapping_add(values[p].wrapping_mul(w as i32));
        }
        sums.iter().any(|&s| s != 0).then_some(sums)
    }

    /// Adds `shares` to the sums, in front of what the epilogue does: in its bias where it has one.
    fn add(&mut self, id: NodeId, op: &mut Op, operands: &mut Vec<NodeId>, shares: Vec<i32>) {
        let own = op.own_operands();
        let Some(body) = op.epilogue_mut() else { return };
        if let Some(bias) = biased(body).map(|i| own + i)
            && let Some(tensor) = self.graph.as_const(operands[bias]).filter(|t| t.dtype() == Dtype::I32)
            && (tensor.elements() == 1 || (tensor.elements() == shares.len() && tensor.shape().last() == Some(&shares.len())))
            && operands.iter().filter(|&&o| o == operands[bias]).count() == 1
        {
            let old = tensor.to_i64s();
            let sums: Vec<u8> =
                shares.iter().enumerate().flat_map(|(j, &s)| (old[j % old.len()] as i32).wrapping_add(s).to_le_bytes()).collect();
            let names = self.graph.node(operands[bias]).names.clone();
            operands[bias] = self.graph.constant(Tensor::dense(Dtype::I32, &[shares.len()], sums), &names);
            return;
        }
        let (params, old) = (operands.len() - own + 1, body.clone());
        let mut out = Body { params: params as u8 + 1, terms: Vec::new(), result: Arg::Param(0) };
        let sum = out.push(ScalarOp::Add, &[Arg::Param(0), Arg::Param(params as u8)]);
        let args: Vec<Arg> = std::iter::once(sum).chain((1..params).map(|i| Arg::Param(i as u8))).collect();
        out.result = out.inline(&old, &args);
        *body = out;
        let bytes: Vec<u8> = shares.iter().flat_map(|s| s.to_le_bytes()).collect();
        let names = self.graph.node(id).names.clone();
        operands.push(self.graph.constant(Tensor::dense(Dtype::I32, &[shares.len()], bytes), &names));
    }

    /// A constant at some positions of an axis.
    fn picked(&mut self, id: NodeId, axis: usize, left: &[usize]) -> NodeId {
        let Some(tensor) = self.graph.as_const(id).filter(|t| t.shape()[axis] != left.len()) else { return id };
        let (width, mut shape) = (tensor.dtype().bytes(), tensor.shape().to_vec());
        let inner = shape[axis + 1..].iter().product::<usize>() * width;
        let row = shape[axis] * inner;
        let bytes = tensor.bytes();
        let mut out = Vec::with_capacity(bytes.len());
        for outer in bytes.chunks_exact(row.max(1)) {
            left.iter().for_each(|&p| out.extend_from_slice(&outer[p * inner..][..inner]));
        }
        shape[axis] = left.len();
        let (dtype, names) = (tensor.dtype(), self.graph.node(id).names.clone());
        self.graph.constant(Tensor::dense(dtype, &shape, out), &names)
    }
}

/// The operand (from 0) that an epilogue adds to the sum before anything else.
fn biased(body: &Body) -> Option<usize> {
    let reads = |arg: &Arg| *arg == Arg::Param(0);
    let mut users = body.terms.iter().filter(|t| t.args.iter().any(reads));
    let (term, None) = (users.next()?, users.next()) else { return None };
    if term.op != ScalarOp::Add || reads(&body.result) {
        return None;
    }
    let (Arg::Param(a), Arg::Param(b)) = (term.args[0], term.args[1]) else { return None };
    let bias = a.max(b);
    let used = body.terms.iter().flat_map(|t| &t.args).filter(|&&arg| arg == Arg::Param(bias)).count();
    (a.min(b) == 0 && bias > 0 && used == 1).then(|| bias as usize - 1)
}
