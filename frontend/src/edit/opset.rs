//! A model of an older operator set said in a newer one. It knows what changed between them and refuses what it cannot say.

use ir::{Fault, Tensor};

use super::{Draft, op};
use crate::proto::{self, attribute_kind};
use crate::wiring;

/// Operators whose attribute `axes` became an input, with the set in which it did.
const AXES: [(&str, i64); 13] = [
    ("Squeeze", 13),
    ("Unsqueeze", 13),
    ("ReduceSum", 13),
    ("ReduceL1", 18),
    ("ReduceL2", 18),
    ("ReduceLogSum", 18),
    ("ReduceLogSumExp", 18),
    ("ReduceMax", 18),
    ("ReduceMean", 18),
    ("ReduceMin", 18),
    ("ReduceProd", 18),
    ("ReduceSumSquare", 18),
    ("CenterCropPad", 18),
];

/// Operators that mean something else from a set on, in a way that this room does not follow.
const CHANGED: [(&str, i64); 8] = [
    ("Softmax", 13),
    ("LogSoftmax", 13),
    ("Hardmax", 13),
    ("Split", 13),
    ("Upsample", 10),
    ("BatchNormalization", 14),
    ("GroupNormalization", 21),
    ("Split", 18),
];

/// The oldest set that is raised: constants became inputs up to here.
const OLDEST: i64 = 11;

impl Draft {
    /// The operator set of the default domain.
    pub fn opset(&self) -> i64 {
        let of = |o: &&proto::OperatorSet| matches!(o.domain.as_deref(), None | Some("" | "ai.onnx"));
        self.proto.opset_import.iter().find(of).and_then(|o| o.version).unwrap_or(1)
    }

    /// Says the model in the operator set `wanted`, if it is in an older one. Faults: nodes that change their meaning.
    pub fn raise(&mut self, wanted: i64) -> Result<(), Vec<Fault>> {
        let now = self.opset();
        if now >= wanted {
            return Ok(());
        }
        let advice = "convert the model first, such as with onnx.version_converter";
        if now < OLDEST {
            let what =
                format!("the model is of operator set {now}, and what is written needs {wanted}; sets below {OLDEST} are not raised");
            return Err(vec![Fault::unsupported(what).help(advice)]);
        }
        let between = |since: i64| now < since && since <= wanted;
        let mut faults = Vec::new();
        let mut moves = Vec::new();
        for (index, node) in self.graph().node.iter().enumerate() {
            let op = op(node);
            let softmax = matches!(op, "Softmax" | "LogSoftmax" | "Hardmax") && super::int(node, "axis", 1) == -1;
            let split = op == "Split" && (node.input.len() == 2 || super::attribute(node, "num_outputs").is_some()) && now >= 13;
            let inference = op == "BatchNormalization" && node.output.len() == 1;
            if let Some((_, since)) = CHANGED.iter().find(|(name, since)| *name == op && between(*since))
                && !softmax
                && !split
                && !inference
            {
                let what = format!("it changes its meaning with operator set {since}, and what is written needs set {wanted}");
                faults.push(Fault::unsupported(what).at(self.label(index)).op(op).help(advice));
            }
            if AXES.iter().any(|(name, since)| *name == op && between(*since)) {
                moves.push(index);
            }
            if wiring::subgraphs(node).any(|body| body.node.iter().any(|inner| touched(inner, &between))) {
                let what = format!("its body uses operators that change with operator set {wanted}");
                faults.push(Fault::unsupported(what).at(self.label(index)).op(op).help(advice));
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        for index in moves {
            let node = &mut self.graph_mut().node[index];
            let at = node.attribute.iter().position(|a| a.name.as_deref() == Some("axes"));
            let Some(axes) = at.map(|at| node.attribute.remove(at)) else { continue };
            if axes.kind.is_some_and(|kind| kind != attribute_kind::INTS) {
                continue;
            }
            let name = self.add_constant("axes", Tensor::i64s(&[axes.ints.len()], &axes.ints));
            self.graph_mut().node[index].input.push(name);
        }
        for set in &mut self.proto.opset_import {
            if matches!(set.domain.as_deref(), None | Some("" | "ai.onnx")) {
                set.version = Some(wanted);
            }
        }
        // what the format asks of files that import these sets
        let least = if wanted >= 21 { 10 } else { 7 };
        self.proto.ir_version = Some(self.proto.ir_version.unwrap_or(0).max(least));
        Ok(())
    }
}

/// Whether a node of a body means something else in the newer set.
fn touched(node: &proto::Node, between: &dyn Fn(i64) -> bool) -> bool {
    let changed = AXES.iter().chain(&CHANGED).any(|(name, since)| *name == op(node) && between(*since));
    changed || wiring::subgraphs(node).any(|body| body.node.iter().any(|inner| touched(inner, between)))
}
