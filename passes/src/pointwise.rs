//! A `map` and the epilogue of an operator seen as one thing: a scalar body and the operands behind its
//! parameters. Fusion, simplification and constants then are one rule for both.

use crate::rule::{Builder, Val};
use ir::graph::infer::own_type;
use ir::scalar::Arg;
use ir::{Body, Dtype, Graph, NodeId, Op};

/// The scalar part of a node.
pub struct Pointwise {
    pub node: NodeId,
    pub body: Body,
    /// Operands that belong to the operator itself; none for a map.
    pub own: Vec<NodeId>,
    /// Operands behind the parameters from `first` on.
    pub extras: Vec<NodeId>,
    /// 0 for a map; 1 for an epilogue, whose parameter `a` is the operator's own result.
    pub first: usize,
    /// The type of each parameter.
    pub types: Vec<Dtype>,
}

impl Pointwise {
    /// `None` for an operator that has neither body nor epilogue.
    pub fn of(graph: &Graph, node: NodeId) -> Option<Pointwise> {
        let op = graph.op(node);
        let (body, own, first) = match op {
            Op::Map { body } => (body, 0, 0),
            other => (other.epilogue()?, other.own_operands(), 1),
        };
        let mut operands = graph.operands(node);
        let extras = operands.split_off(own);
        let mut types = Vec::with_capacity(extras.len() + first);
        if first == 1 {
            let own: Vec<Dtype> = operands.iter().map(|&id| graph.ty(id).dtype).collect();
            types.push(own_type(op, &own)?);
        }
        types.extend(extras.iter().map(|&id| graph.ty(id).dtype));
        Some(Pointwise { node, body: body.clone(), own: operands, extras, first, types })
    }

    /// The operand behind a parameter; `None` for the operator's own result.
    pub fn operand(&self, param: u8) -> Option<NodeId> {
        (param as usize).checked_sub(self.first).map(|i| self.extras[i])
    }

    /// The node again with another body and other operands behind it.
    pub fn with(&self, builder: &mut Builder, graph: &Graph, body: Body, extras: &[Val]) -> Option<Val> {
        let mut op = graph.op(self.node).clone();
        match &mut op {
            Op::Map { body: old } => *old = body,
            other => *other.epilogue_mut()? = body,
        }
        let own = self.own.iter().map(|&id| Val::Old(id));
        let operands: Vec<Val> = own.chain(extras.iter().copied()).collect();
        builder.add(op, &operands)
    }
}

/// Where a parameter's value comes from when bodies are put into one another.
pub enum Source {
    /// The operator's own result.
    Own,
    Node(NodeId),
    /// Another body over further sources.
    Inline(Body, Vec<Source>),
}

impl Source {
    /// Parameters of `pointwise` as they are.
    pub fn of(pointwise: &Pointwise) -> Vec<Source> {
        let own = (pointwise.first == 1).then_some(Source::Own);
        own.into_iter().chain(pointwise.extras.iter().map(|&id| Source::Node(id))).collect()
    }
}

/// One body for `body` over `sources`, and the operands behind its parameters, each once. With `own`, parameter
/// `a` is the operator's own result.
pub fn compose(own: bool, body: &Body, sources: &[Source]) -> Option<(Body, Vec<NodeId>)> {
    let mut operands = Vec::new();
    fn collect(sources: &[Source], out: &mut Vec<NodeId>) {
        for source in sources {
            match source {
                Source::Own => {}
                Source::Node(id) if out.contains(id) => {}
                Source::Node(id) => out.push(*id),
                Source::Inline(_, inner) => collect(inner, out),
            }
        }
    }
    collect(sources, &mut operands);
    let params = u8::try_from(operands.len() + usize::from(own)).ok()?;
    fn place(out: &mut Body, own: bool, body: &Body, sources: &[Source], operands: &[NodeId]) -> Option<Arg> {
        let mut args = Vec::with_capacity(sources.len());
        for source in sources {
            args.push(match source {
                Source::Own => Arg::Param(0),
                Source::Node(id) => Arg::Param((operands.iter().position(|o| o == id)? + usize::from(own)) as u8),
                Source::Inline(body, inner) => place(out, own, body, inner, operands)?,
            });
        }
        (out.terms.len() + body.terms.len() < u16::MAX as usize).then(|| out.inline(body, &args))
    }
    let mut out = Body { params, terms: Vec::new(), result: Arg::Param(0) };
    out.result = place(&mut out, own, body, sources, &operands)?;
    Some((out.without_dead(), operands))
}

/// `body` without the parameters that it does not use, from `keep` on; which of the old ones are left.
pub fn drop_unused(body: &Body, keep: usize) -> (Body, Vec<usize>) {
    let body = body.without_dead();
    let mut used = vec![false; body.params as usize];
    used.iter_mut().take(keep).for_each(|u| *u = true);
    for arg in body.terms.iter().flat_map(|t| &t.args).chain([&body.result]) {
        if let Arg::Param(i) = arg {
            used[*i as usize] = true;
        }
    }
    let left: Vec<usize> = (0..used.len()).filter(|&i| used[i]).collect();
    let rename: Vec<Arg> = (0..used.len()).map(|i| Arg::Param(left.iter().position(|&l| l == i).unwrap_or(0) as u8)).collect();
    let mut out = Body { params: left.len() as u8, terms: Vec::new(), result: Arg::Param(0) };
    out.result = out.inline(&body, &rename);
    (out, left)
}
