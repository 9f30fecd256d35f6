//! Maps from 8 bits to 8 bits as look-ups: whatever the body is, it has 256 results, which are computed when the kernel is made,
//! as the graph's oracle computes them. Taken where that is less than computing the body in lanes.

use crate::body::Pressure;
use crate::build::Builder;
use crate::nest::{self, Moves, Nest, Stream, StreamId};
use crate::tile::{Pool, Writer};
use crate::{Job, Where};
use ir::kernel::Facts;
use ir::kernel::tile::{Binary, Narrow, Operand, Stmt, V};
use ir::scalar::{Body, Literal, eval};
use ir::{Dtype, Tensor};

const OUT: StreamId = 0;
const X: StreamId = 1;
const TABLE: StreamId = 2;

/// Terms over lanes from which on a look-up is faster, about.
fn least(facts: &Facts) -> usize {
    match (facts.menu.pick8, facts.vector_bytes) {
        (true, _) => 3,
        (false, 16) => 12,
        (false, _) => 18,
    }
}

/// Emits the map of `job` as look-ups, if it is one of a single tensor of bytes, and long enough.
pub fn lower(job: &Job, body: &Body, builder: &mut Builder) -> bool {
    let facts = builder.facts;
    let byte = |d: Dtype| matches!(d, Dtype::U8 | Dtype::I8);
    let Some(x) = job.operands.iter().find(|o| matches!(o.at, Where::Place(_))) else { return false };
    if !byte(x.dtype) || !byte(job.dtype) || x.shape != job.shape || job.shape.contains(&0) {
        return false;
    }
    let Some(table) = table(job, x.dtype, body) else { return false };
    let Some(bound) = nest::bind(&[], &job.operands, body, &job.shape, facts) else { return false };
    if bound.streams.len() != 1 || bound.body.terms.len() < least(facts) {
        return false;
    }
    let rank = job.shape.len();
    let streams = vec![Stream::write("y", &job.place, job.dtype), Stream::read("x", x, &job.shape), Stream::still("table", table, rank)];
    let nest = Nest::new(&job.shape, &vec![false; rank], streams);
    if !nest.contiguous(OUT) || !nest.contiguous(X) || !nest.fits(facts) {
        return false;
    }
    nest.cut("lookup", 8, builder, &mut |nest| write(nest, facts).ok()).is_some()
}

/// The results for the bytes from 0 on. `None` where an operand is another tensor, or a constant of several elements.
fn table(job: &Job, dtype: Dtype, body: &Body) -> Option<Tensor> {
    let one = |tensor: &Tensor| {
        let rank = tensor.shape().len();
        let first = tensor.slice(&vec![0; rank], &vec![1; rank], &vec![1; rank]);
        (tensor.elements() == 1 || tensor.is_splat()).then(|| Literal::from_bytes(tensor.dtype(), &first.bytes()))
    };
    let first = job.operands.iter().find_map(|o| if let Where::Place(place) = &o.at { Some(place) } else { None })?;
    let mut params: Vec<Option<Literal>> = Vec::new();
    for operand in &job.operands {
        params.push(match &operand.at {
            Where::Constant(tensor) => Some(one(tensor)?),
            Where::Place(place) if place == first && operand.shape == job.shape => None,
            Where::Place(_) => return None,
        });
    }
    let result = |byte: u8| {
        let x = Literal { dtype, bits: byte.into() };
        let params: Vec<Literal> = params.iter().map(|p| p.unwrap_or(x)).collect();
        eval::eval(body, &params).to_bytes()[0]
    };
    Some(Tensor::dense(job.dtype, &[256], (0..=255).map(result).collect::<Vec<u8>>()))
}

fn write(nest: &Nest, facts: &Facts) -> Result<Writer, Pressure> {
    let mut pool = Pool::new(facts);
    let mut take = || pool.take().ok_or(Pressure);
    let registers = [take()?, take()?, take()?, take()?];
    let lane = nest.lane();
    let (count, vector) = (nest.counts[lane], facts.vector_bytes as usize);
    let (whole, rest) = (count / vector, count % vector);
    let outer: Vec<usize> = (0..lane).collect();
    let mut w = Writer::new();
    nest.over(&mut w, &outer, &mut |w| {
        w.repeat(whole, |w| {
            vector_of(nest, facts, registers, &[], w);
            nest.shift(w, &[(lane, vector as i64)]);
        });
        if rest > 0 && whole > 0 && !nest.shares_buffer(OUT, X) {
            // the last vector overlaps the one before
            vector_of(nest, facts, registers, &[(lane, rest as i64 - vector as i64)], w);
        } else {
            for from in (0..rest).step_by(facts.lanes()) {
                let lanes = (rest - from).min(facts.lanes());
                lanes_of(nest, registers, &[(lane, from as i64)], lanes as u8, w);
            }
        }
        vec![(lane, (whole * vector) as i64)]
    });
    Ok(w)
}

fn look_up(nest: &Nest, [x, y, first, second]: [V; 4]) -> Stmt {
    Stmt::Lookup { to: y, a: x, table: nest.at(TABLE, &[]), temps: [first, second] }
}

/// A whole vector of bytes.
fn vector_of(nest: &Nest, facts: &Facts, registers: [V; 4], moves: Moves, w: &mut Writer) {
    let lanes = facts.lanes() as u8;
    w.push(Stmt::Load { to: registers[0], at: nest.at(X, moves), lanes });
    w.push(look_up(nest, registers));
    w.push(Stmt::Store { from: registers[1], at: nest.at(OUT, moves), lanes });
}

/// A byte in each of so many lanes.
fn lanes_of(nest: &Nest, registers: [V; 4], moves: Moves, lanes: u8, w: &mut Writer) {
    let [x, y, ..] = registers;
    w.push(Stmt::LoadNarrow { to: x, at: nest.at(X, moves), lanes, kind: Narrow::U8 });
    w.push(look_up(nest, registers));
    // the other bytes of a lane were looked up too
    w.binary(Binary::And, y, y, Operand::Bits(0xff));
    w.push(Stmt::StoreNarrow { from: y, at: nest.at(OUT, moves), lanes, kind: Narrow::U8 });
}
