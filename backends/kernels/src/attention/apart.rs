//! An attention as the operators that it stands for, one after the other, with all scores in the arena: for what the
//! fused kernel does not cover.

use crate::build::{Builder, Home};
use crate::place::Place;
use crate::{Job, Source, Where};
use ir::graph::op::{Op, ReduceKind};
use ir::scalar::{Arg, Body, Literal, ScalarOp};
use ir::tensor::Tensor;
use ir::{Dtype, Fault};

/// Emits the steps. Fault: what one of the operators says.
pub fn apart(job: &Job, builder: &mut Builder) -> Result<(), Fault> {
    let Op::Attention { causal, guarded, prologue } = job.op else { unreachable!("called for attention") };
    let rank = job.shape.len();
    let (queries, keys) = (job.shape[rank - 2], job.operands[1].shape[job.operands[1].shape.len() - 2]);
    let mut scores = job.shape.clone();
    scores[rank - 1] = keys;
    if scores.contains(&0) {
        // a product over no keys is zero
        let none = Source { shape: vec![queries, 0], dtype: Dtype::F32, at: Where::Place(buffer(builder, &[queries, 0])) };
        let op = Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() };
        return crate::job(&part(&op, vec![none, job.operands[2].clone()], &job.shape, job.place.clone()), builder);
    }
    let table = causal.as_ref().map(|dim| open(queries, keys, dim.fixed().expect("the graph was checked to be fixed")));
    let (q, k) = (&job.operands[0], &job.operands[1]);
    let op = Op::Dot { trans_a: false, trans_b: true, epilogue: prologue.clone() };
    // the leading axes of the values count too
    let mut wide = job.shape[..rank - 2].to_vec();
    wide.extend([queries, q.shape[q.shape.len() - 1]]);
    let operands = [vec![spread(q, &wide, builder), k.clone()], job.operands[3..].to_vec()].concat();
    let mut x = made(&op, operands, &scores, builder)?;
    if let Some(table) = &table {
        let hidden = Arg::Literal(Literal::f32(f32::NEG_INFINITY));
        let op = Op::Map { body: select(Arg::Param(1), Arg::Param(0), hidden, 2) };
        let open = Source { shape: vec![queries, keys], dtype: Dtype::Bool, at: Where::Constant(table) };
        x = made(&op, vec![x, open], &scores, builder)?;
    }
    let op = Op::Softmax { axis: rank - 1, log: false, prologue: Body::identity(), epilogue: Body::identity() };
    let mut shares = made(&op, vec![x.clone()], &scores, builder)?;
    if *guarded {
        let mut column = scores.clone();
        column[rank - 1] = 1;
        let op = Op::Reduce { kind: ReduceKind::Max, axes: vec![rank - 1], prologue: Body::identity(), epilogue: Body::identity() };
        let most = made(&op, vec![x], &column, builder)?;
        let mut body = Body { params: 2, terms: Vec::new(), result: Arg::Param(0) };
        let nothing = body.push(ScalarOp::Eq, &[Arg::Param(1), Arg::Literal(Literal::f32(f32::NEG_INFINITY))]);
        body.result = body.push(ScalarOp::Select, &[nothing, Arg::Literal(Literal::f32(0.0)), Arg::Param(0)]);
        shares = made(&Op::Map { body }, vec![shares, most], &scores, builder)?;
    }
    let op = Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() };
    crate::job(&part(&op, vec![shares, job.operands[2].clone()], &job.shape, job.place.clone()), builder)
}

/// Which keys a query may see.
fn open(queries: usize, keys: usize, causal: i64) -> Tensor {
    let line = |i: usize| (0..keys).map(move |j| u8::from(j as i64 <= (i as i64).saturating_add(causal)));
    Tensor::dense(Dtype::Bool, &[queries, keys], (0..queries).flat_map(line).collect::<Vec<u8>>())
}

fn select(condition: Arg, a: Arg, b: Arg, params: u8) -> Body {
    let mut body = Body { params, terms: Vec::new(), result: a };
    body.result = body.push(ScalarOp::Select, &[condition, a, b]);
    body
}

fn buffer(builder: &mut Builder, shape: &[usize]) -> Place {
    let bytes = shape.iter().product::<usize>() as u64 * 4;
    Place::dense(builder.buffer("scores", Home::Arena, bytes.max(4)), shape)
}

fn part<'g>(op: &'g Op, operands: Vec<Source<'g>>, shape: &[usize], place: Place) -> Job<'g> {
    Job { op, operands, shape: shape.to_vec(), dtype: Dtype::F32, place, blocked: None }
}

/// What an operator makes of f32, in a buffer of its own.
fn made<'g>(op: &Op, operands: Vec<Source<'g>>, shape: &[usize], builder: &mut Builder) -> Result<Source<'g>, Fault> {
    let place = buffer(builder, shape);
    crate::job(&part(op, operands, shape, place.clone()), builder)?;
    Ok(Source { shape: shape.to_vec(), dtype: Dtype::F32, at: Where::Place(place) })
}

/// `x` repeated to `shape`, by strides.
fn spread<'g>(x: &Source<'g>, shape: &[usize], builder: &mut Builder) -> Source<'g> {
    if x.shape == shape {
        return x.clone();
    }
    let place = x.place(builder).expand(&x.shape, shape);
    Source { shape: shape.to_vec(), dtype: x.dtype, at: Where::Place(place) }
}
