//! Where a model becomes integers: which layers compute in them, and between them which values lie as bytes, so that no value is turned
//! into floats and back for nothing. It chooses places; ranges and rounding are the caller's.

use std::collections::{BTreeMap, BTreeSet};

use ir::Fault;

use super::{Draft, Layer, Uses, attribute, op};

/// A value that lies as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    pub value: String,
    /// Points of one number have one range: what lies between them moves bytes and computes nothing.
    pub group: usize,
}

/// A layer that stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Float {
    pub label: String,
    pub op: String,
    pub why: String,
}

/// What becomes integers.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub points: Vec<Point>,
    pub layers: Vec<Layer>,
    pub float: Vec<Float>,
}

/// What a node does when its operands lie as bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Multiplies with weights.
    Layer,
    /// Ends what the node before it computes: its input never lies in memory.
    Tail,
    /// Moves bytes.
    Moves,
    /// Computes bytes from bytes.
    Computes,
    Float,
}

const MOVES: [&str; 11] =
    ["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Identity", "MaxPool", "DepthToSpace", "SpaceToDepth"];
const COMPUTES: [&str; 13] = [
    "Add",
    "Mul",
    "AveragePool",
    "GlobalAveragePool",
    "ReduceMean",
    "Concat",
    "Relu",
    "Clip",
    "LeakyRelu",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
];

impl Draft {
    /// Plans bytes for every layer except those in `keep`, which are names of nodes. Faults: names that no node has.
    pub fn plan(&self, keep: &BTreeSet<String>) -> Result<Plan, Vec<Fault>> {
        self.known(keep)?;
        let (all, others) = self.layers();
        let mut plan = Plan::default();
        plan.float.extend(others.into_iter().map(|(label, op, why)| Float { label, op: op.into(), why }));
        for layer in all {
            let why = if keep.contains(&layer.label) {
                Some("it was asked for")
            } else if self.constant(&layer.input).is_some() {
                Some("it reads a constant")
            } else {
                None
            };
            match why {
                Some(why) => plan.float.push(Float { label: layer.label, op: layer.op.into(), why: why.into() }),
                None => plan.layers.push(layer),
            }
        }
        let layers = plan.layers.clone();
        Planner::new(self, &layers, keep).points(&mut plan);
        Ok(plan)
    }

    fn known(&self, keep: &BTreeSet<String>) -> Result<(), Vec<Fault>> {
        let labels: BTreeSet<String> = (0..self.graph().node.len()).map(|i| self.label(i)).collect();
        let (layers, _) = self.layers();
        let some: Vec<String> = layers.iter().take(8).map(|l| format!("{:?}", l.label)).collect();
        let fault =
            |name: &String| Fault::usage(format!("the model has no node {name:?}")).help(format!("its layers are {}, …", some.join(", ")));
        let faults: Vec<Fault> = keep.iter().filter(|name| !labels.contains(*name)).map(fault).collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

struct Planner<'d> {
    draft: &'d Draft,
    uses: Uses<'d>,
    order: Vec<usize>,
    roles: Vec<Role>,
    /// Values that could lie as bytes.
    able: BTreeSet<&'d str>,
    /// Values that shall.
    wanted: BTreeSet<&'d str>,
    /// Values inside of a node and its tail.
    inner: BTreeSet<&'d str>,
}

impl<'d> Planner<'d> {
    fn new(draft: &'d Draft, layers: &[Layer], keep: &BTreeSet<String>) -> Planner<'d> {
        let nodes = &draft.graph().node;
        let order = draft.order();
        let mut planner = Planner {
            draft,
            uses: draft.uses(),
            order,
            roles: vec![Role::Float; nodes.len()],
            able: BTreeSet::new(),
            wanted: BTreeSet::new(),
            inner: BTreeSet::new(),
        };
        let made: BTreeMap<&str, &Layer> = layers.iter().map(|l| (l.made.as_str(), l)).collect();
        planner.inputs(&made);
        for index in planner.order.clone() {
            let kept = keep.contains(&draft.label(index));
            let role = if kept { Role::Float } else { planner.role(index, &made) };
            planner.roles[index] = role;
            if role != Role::Float {
                planner.able.extend(nodes[index].output.iter().map(String::as_str).filter(|n| !n.is_empty()));
            }
        }
        planner
    }

    /// Inputs of the model that layers read, perhaps behind a node that moves.
    fn inputs(&mut self, made: &BTreeMap<&str, &Layer>) {
        for info in &self.draft.graph().input {
            let Some(name) = info.name.as_deref() else { continue };
            let float = crate::signature::declared(info).dtype == Some(ir::Dtype::F32);
            let layer = |i: &usize| {
                let node = &self.draft.graph().node[*i];
                MOVES.contains(&op(node)) || node.output.first().is_some_and(|o| made.contains_key(o.as_str()))
            };
            if float && self.draft.constant(name).is_none() && self.uses.readers.get(name).is_some_and(|all| all.iter().all(layer)) {
                self.able.insert(name);
            }
        }
    }

    fn role(&self, index: usize, layers: &BTreeMap<&str, &Layer>) -> Role {
        let node = &self.draft.graph().node[index];
        let Some(output) = node.output.first() else { return Role::Float };
        if layers.contains_key(output.as_str()) {
            return Role::Layer;
        }
        let runtime: Vec<&str> = self.runtime(index);
        let [first, ..] = runtime[..] else { return Role::Float };
        if !runtime.iter().all(|name| self.able.contains(name)) {
            return Role::Float;
        }
        let maker = self.uses.maker.get(first).copied();
        let behind = |roles: &[Role]| maker.is_some_and(|m| roles.contains(&self.roles[m])) && self.uses.only_reader(first) == Some(index);
        let maker_op = maker.map_or("", |m| op(&self.draft.graph().node[m]));
        match op(node) {
            // the bias of a product
            "Add" if layers.values().any(|l| l.output == *output && l.made != l.output) => Role::Tail,
            "Relu" if behind(&[Role::Layer, Role::Tail]) || behind(&[Role::Computes]) && maker_op == "Add" => Role::Tail,
            "Clip" if runtime.len() == 1 && (behind(&[Role::Layer, Role::Tail]) || behind(&[Role::Computes]) && maker_op == "Add") => {
                Role::Tail
            }
            "MaxPool" if node.output.len() > 1 => Role::Float,
            "Resize" if attribute(node, "mode").and_then(|a| a.s.as_deref()).is_none_or(|m| m == b"nearest") => Role::Moves,
            name if MOVES.contains(&name) && runtime.len() == 1 => Role::Moves,
            name if COMPUTES.contains(&name) => Role::Computes,
            _ => Role::Float,
        }
    }

    /// Operands that are no constants.
    fn runtime(&self, index: usize) -> Vec<&'d str> {
        let node = &self.draft.graph().node[index];
        let names = node.input.iter().map(String::as_str);
        names.filter(|name| !name.is_empty() && self.draft.constant(name).is_none()).collect()
    }

    fn points(mut self, plan: &mut Plan) {
        let nodes = &self.draft.graph().node;
        for &index in &self.order {
            if self.roles[index] == Role::Tail {
                self.inner.extend(self.runtime(index).first());
            }
        }
        // what a convolution makes always lies as bytes, so that all of them fold
        for &index in &self.order {
            let Some(mut end) = nodes[index].output.first().map(String::as_str) else { continue };
            if self.roles[index] != Role::Layer || op(&nodes[index]) != "Conv" {
                continue;
            }
            while self.inner.contains(end)
                && let Some(reader) = self.uses.only_reader(end)
            {
                end = &nodes[reader].output[0];
            }
            if self.uses.readers.contains_key(end) || self.uses.outputs.contains(end) {
                self.wanted.insert(end);
            }
        }
        for &index in self.order.iter().rev() {
            let runtime = self.runtime(index);
            let wanted = nodes[index].output.iter().any(|o| self.wanted.contains(o.as_str()));
            match self.roles[index] {
                Role::Layer => drop(self.wanted.insert(runtime[0])),
                Role::Tail | Role::Moves | Role::Computes if wanted => self.wanted.extend(runtime),
                Role::Tail | Role::Moves | Role::Computes | Role::Float => {}
            }
        }
        let wanted: Vec<&str> = self.wanted.iter().copied().filter(|v| !self.inner.contains(v)).collect();
        let groups = self.groups(&wanted);
        plan.points = wanted.iter().zip(groups).map(|(value, group)| Point { value: value.to_string(), group }).collect();
    }

    /// A number per point; the same for points that have one range.
    fn groups(&self, points: &[&str]) -> Vec<usize> {
        let at: BTreeMap<&str, usize> = points.iter().enumerate().map(|(i, v)| (*v, i)).collect();
        let mut group: Vec<usize> = (0..points.len()).collect();
        for &index in &self.order {
            let node = &self.draft.graph().node[index];
            let outputs: Vec<usize> = node.output.iter().filter_map(|o| at.get(o.as_str()).copied()).collect();
            let ties: Vec<usize> = match self.roles[index] {
                Role::Moves => self.runtime(index).iter().filter_map(|v| at.get(v).copied()).collect(),
                // bytes that only a concatenation reads lie in its output already
                Role::Computes if op(node) == "Concat" => {
                    let alone = self.runtime(index).into_iter().filter(|v| self.uses.only_reader(v) == Some(index));
                    alone.filter_map(|v| at.get(v).copied()).collect()
                }
                Role::Computes | Role::Layer | Role::Tail | Role::Float => continue,
            };
            let Some(&first) = outputs.first() else { continue };
            for other in ties.into_iter().chain(outputs) {
                let (from, to) = (group[other], group[first]);
                group.iter_mut().filter(|g| **g == from).for_each(|g| *g = to);
            }
        }
        group
    }
}
