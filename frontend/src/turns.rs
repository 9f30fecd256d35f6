//! Turns of a loop as one operator: a turn is written down once, on values that stand for what it is given, and then cut out of
//! the graph as a region. What does not depend on these stays outside and is computed once. It refuses to know ONNX.

use ir::graph::op::Rows;
use ir::graph::region::{Region, outline};
use ir::{Dim, Fault, NodeId, Op, Type};

use crate::build::{Build, Value};

/// A scan while its turn is written down.
#[derive(Debug)]
pub struct Turns {
    trips: Dim,
    /// What stands for each in the turn, and its first value.
    carried: Vec<(Value, Value)>,
    /// What stands for the row of a turn, whose row, from which end on.
    sequences: Vec<(Value, Value, Rows)>,
}

impl Turns {
    pub fn new(trips: Dim) -> Turns {
        Turns { trips, carried: Vec::new(), sequences: Vec::new() }
    }
}

impl Build<'_> {
    /// A value that is carried from turn to turn, as a turn finds it.
    pub fn carry(&mut self, turns: &mut Turns, first: &Value) -> Result<Value, Fault> {
        let inside = self.stand_in(&first.ty)?;
        turns.carried.push((inside.clone(), first.clone()));
        Ok(inside)
    }

    /// The row of `all` that a turn reads. `all` has one along axis 0 for every turn.
    pub fn row(&mut self, turns: &mut Turns, all: &Value, order: Rows) -> Result<Value, Fault> {
        let inside = self.stand_in(&Type::new(all.dtype(), all.shape()[1..].to_vec()))?;
        turns.sequences.push((inside.clone(), all.clone(), order));
        Ok(inside)
    }

    fn stand_in(&mut self, ty: &Type) -> Result<Value, Fault> {
        let name = format!("turn {}", self.graph.bound());
        let id = self.graph.add(Op::Input { name, ty: ty.clone() }, &[], &[])?;
        Ok(Value { ty: ty.clone(), node: Some(id), dims: None, items: None })
    }

    /// The results of all turns: what is carried as the last turn leaves it, then what each turn gives, stacked. `next` are the
    /// carried values of the turn to come. Fault: they are not of the type of the first ones.
    pub fn turn(&mut self, turns: Turns, next: &[Value], rows: &[(Value, Rows)]) -> Result<Vec<Value>, Fault> {
        let standing = turns.carried.iter().map(|(inside, _)| inside).chain(turns.sequences.iter().map(|(inside, ..)| inside));
        let inputs: Vec<NodeId> = standing.map(|value| self.node_of(value)).collect::<Result<_, _>>()?;
        let made = next.iter().chain(rows.iter().map(|(row, _)| row));
        let results: Vec<NodeId> = made.map(|value| self.node_of(value)).collect::<Result<_, _>>()?;
        let given = turns.carried.iter().map(|(_, first)| first).chain(turns.sequences.iter().map(|(_, all, _)| all));
        let mut operands: Vec<NodeId> = given.map(|value| self.node_of(value)).collect::<Result<_, _>>()?;
        let part = outline(&self.graph, &inputs, &results);
        operands.extend(&part.captures);
        self.abandon(&inputs);
        let op = Op::Scan {
            trips: turns.trips,
            carried: next.len(),
            sequences: turns.sequences.iter().map(|(.., order)| *order).collect(),
            stacks: rows.iter().map(|(_, order)| *order).collect(),
            region: Region::new(part.graph),
        };
        let types: Vec<&Type> = operands.iter().map(|&id| self.graph.ty(id)).collect();
        let types = ir::graph::region::results(&op, &types).map_err(Fault::invalid)?;
        types.iter().try_for_each(|ty| self.fits(ty))?;
        let scan = self.graph.add(op, &operands, &self.names)?;
        let mut out = Vec::with_capacity(types.len());
        for (index, ty) in types.into_iter().enumerate() {
            let id = self.graph.add(Op::Take { index, ty: ty.clone() }, &[scan], &self.names)?;
            out.push(Value { ty, node: Some(id), dims: None, items: None });
        }
        Ok(out)
    }

    /// Gives up a turn that cannot be written down once for all.
    pub fn give_up(&mut self, turns: Turns) {
        let standing = turns.carried.iter().map(|(inside, _)| inside).chain(turns.sequences.iter().map(|(inside, ..)| inside));
        let inputs: Vec<NodeId> = standing.filter_map(|value| value.node).collect();
        self.abandon(&inputs);
    }

    /// What stood in for a turn's values is of no more use.
    fn abandon(&mut self, inputs: &[NodeId]) {
        inputs.iter().for_each(|&id| self.graph.withdraw(id));
    }
}
