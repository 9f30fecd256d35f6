//! Bodies and what stands behind their parameters, put in the shortest form: each operand once, none that is
//! not used, repeated constants as literals, broadcasts left to the operator that broadcasts anyway.

use crate::canonical;
use crate::layout::trimmed;
use crate::pointwise::{Pointwise, Source, compose, drop_unused};
use crate::rule::{Builder, Rule, Val};
use crate::scalar::simplify;
use ir::scalar::{Arg, Literal};
use ir::{Body, Graph, NodeId, Op, Tensor, dim};

fn pointwise(op: &Op) -> bool {
    matches!(op, Op::Map { .. }) || op.epilogue().is_some()
}

pub const SHARE_OPERANDS: Rule = Rule {
    name: "share_operands",
    about: "a value that stands behind two parameters of a body stands behind one",
    root: pointwise,
    at: |graph, id| {
        let p = Pointwise::of(graph, id)?;
        let twice = p.extras.iter().enumerate().any(|(i, o)| p.extras[..i].contains(o));
        if !twice {
            return None;
        }
        let (body, operands) = compose(p.first == 1, &p.body, &Source::of(&p))?;
        let mut b = Builder::new(graph, &[id]);
        let operands: Vec<Val> = operands.into_iter().map(Val::Old).collect();
        let value = p.with(&mut b, graph, body, &operands)?;
        b.replace(id, value)
    },
};

/// The element that a constant repeats.
fn repeated(tensor: &Tensor) -> Option<Literal> {
    if !tensor.is_splat() || tensor.elements() == 0 {
        return None;
    }
    let rank = tensor.shape().len();
    let single = tensor.slice(&vec![0; rank], &vec![1; rank], &vec![1; rank]);
    Some(Literal::from_bytes(tensor.dtype(), &single.bytes()))
}

pub const LITERAL_OPERANDS: Rule = Rule {
    name: "literal_operands",
    about: "a constant that repeats one element is a literal in the body",
    root: pointwise,
    at: |graph, id| {
        let p = Pointwise::of(graph, id)?;
        let literal = |o: NodeId| graph.as_const(o).and_then(repeated);
        if !p.extras.iter().any(|&o| literal(o).is_some()) || (p.first == 0 && p.extras.iter().all(|&o| graph.as_const(o).is_some())) {
            return None;
        }
        let mut next = p.first as u8;
        let mut kept = Vec::new();
        let mut args: Vec<Arg> = (0..p.first as u8).map(Arg::Param).collect();
        for &operand in &p.extras {
            args.push(match literal(operand) {
                Some(l) => Arg::Literal(l),
                None => {
                    kept.push(Val::Old(operand));
                    next += 1;
                    Arg::Param(next - 1)
                }
            });
        }
        let mut body = Body { params: next, terms: Vec::new(), result: Arg::Param(0) };
        body.result = body.inline(&p.body, &args);
        let mut b = Builder::new(graph, &[id]);
        let mut value = p.with(&mut b, graph, body, &kept)?;
        // the constant may have been what made the result as large as it is
        if b.ty(value).shape != graph.ty(id).shape {
            value = b.add(Op::Expand { shape: graph.ty(id).shape.clone() }, &[value])?;
        }
        b.replace(id, value)
    },
};

pub const SIMPLIFY_BODY: Rule = Rule {
    name: "simplify_body",
    about: "a body is written in its shortest form, operands that it does not use go",
    root: pointwise,
    at: |graph, id| {
        if let Some(found) = prologue(graph, id) {
            return Some(found);
        }
        let p = Pointwise::of(graph, id)?;
        let body = canonical::activations(&simplify(&p.body, &p.types), &p.types);
        let (body, left) = drop_unused(&body, p.first);
        let keep: Vec<Val> = left.iter().filter_map(|&i| p.operand(i as u8)).map(Val::Old).collect();
        if body == p.body && keep.len() == p.extras.len() {
            return None;
        }
        let mut b = Builder::new(graph, &[id]);
        if p.first == 0 && keep.is_empty() {
            // nothing is left to compute
            let Arg::Literal(l) = body.result else { return None };
            let shape = dim::fixed(&graph.ty(id).shape)?;
            let value = b.constant(Tensor::splat(l.dtype, &shape, &l.to_bytes()), None);
            return b.replace(id, value);
        }
        let mut value = p.with(&mut b, graph, body, &keep)?;
        if b.ty(value).shape != graph.ty(id).shape {
            value = b.add(Op::Expand { shape: graph.ty(id).shape.clone() }, &[value])?;
        }
        b.replace(id, value)
    },
};

/// The same for a prologue.
fn prologue(graph: &Graph, id: NodeId) -> Option<crate::rule::Match> {
    let mut op = graph.op(id).clone();
    let operands = graph.operands(id);
    let prologue = op.prologue_mut()?;
    let types = [graph.ty(operands[0]).dtype];
    let body = canonical::activations(&simplify(prologue, &types), &types);
    if body == *prologue {
        return None;
    }
    *prologue = body;
    let mut b = Builder::new(graph, &[id]);
    let operands: Vec<Val> = operands.into_iter().map(Val::Old).collect();
    let value = b.add(op, &operands)?;
    b.replace(id, value)
}

pub const DROP_EXPAND: Rule = Rule {
    name: "drop_expand",
    about: "an expand that feeds a body goes, since bodies broadcast; where it made the shape, it comes after",
    root: pointwise,
    at: |graph, id| {
        let p = Pointwise::of(graph, id)?;
        let expanded = |o: NodeId| matches!(graph.op(o), Op::Expand { .. });
        let index = p.extras.iter().position(|&o| expanded(o))?;
        let mut from: Vec<NodeId> = vec![id];
        let mut extras: Vec<Val> = p.extras.iter().map(|&o| Val::Old(o)).collect();
        from.insert(0, p.extras[index]);
        extras[index] = Val::Old(graph.operands(p.extras[index])[0]);
        let mut b = Builder::new(graph, &from);
        let mut value = p.with(&mut b, graph, p.body.clone(), &extras)?;
        if b.ty(value).shape != graph.ty(id).shape {
            value = b.add(Op::Expand { shape: graph.ty(id).shape.clone() }, &[value])?;
        }
        b.replace(id, value)
    },
};

pub const TRIM_CONSTANTS: Rule = Rule {
    name: "trim_constants",
    about: "constants behind a body lose the ones in front of their shape: a bias is a vector",
    root: pointwise,
    at: |graph, id| {
        let p = Pointwise::of(graph, id)?;
        let shape = |o: NodeId| &graph.ty(o).shape;
        let rank = graph.ty(id).rank();
        let long = |o: NodeId| graph.as_const(o).is_some() && trimmed(shape(o)).len() < shape(o).len();
        // a map takes its rank from its operands: another one must have it
        let trimmable = |i: usize| {
            long(p.extras[i]) && (p.first == 1 || p.extras.iter().enumerate().any(|(k, &o)| k != i && shape(o).len() == rank && !long(o)))
        };
        let index = (0..p.extras.len()).find(|&i| trimmable(i))?;
        let mut b = Builder::new(graph, &[id]);
        let mut extras: Vec<Val> = p.extras.iter().map(|&o| Val::Old(o)).collect();
        extras[index] = b.reshape(extras[index], trimmed(shape(p.extras[index])))?;
        let value = p.with(&mut b, graph, p.body.clone(), &extras)?;
        b.replace(id, value)
    },
};
