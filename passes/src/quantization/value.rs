//! What is known about a value beyond that it is a float. Shapes are those of the float.

use ir::scalar::{Body, ScalarOp};
use ir::{NodeId, quant};

/// What a float stands for.
#[derive(Clone)]
pub enum Value {
    Affine(Affine),
    Sum(Sum),
    Chain(Chain),
    Pair(Pair),
    /// Several values one after the other along an axis.
    Parts {
        axis: usize,
        parts: Vec<NodeId>,
    },
}

/// `(raw - zero) * scale`.
#[derive(Clone)]
pub struct Affine {
    pub raw: NodeId,
    /// One number, or one for each position of `axis`; zero points likewise.
    pub scale: Vec<f32>,
    pub zero: Vec<i64>,
    pub axis: usize,
}

impl Affine {
    /// Scale and zero point, if there is one of each.
    pub fn single(&self) -> Option<(f32, i64)> {
        match (&self.scale[..], &self.zero[..]) {
            (&[scale], &[zero]) => Some((scale, zero)),
            _ => None,
        }
    }
}

/// How an i32 sum becomes a number of steps.
#[derive(Clone, Copy)]
pub enum Share {
    Whole,
    /// A mean of so many.
    Mean(usize),
    /// Times an f32 operand that broadcasts to the sum: one over the elements of each window.
    Times(NodeId),
}

/// `(node + bias) * scale`, held between `low` and `high`.
#[derive(Clone)]
pub struct Sum {
    /// i32.
    pub node: NodeId,
    /// One number, or one for each position of `axis`; scales likewise.
    pub bias: Vec<i32>,
    pub scale: Vec<f32>,
    pub axis: usize,
    pub share: Share,
    pub low: f32,
    pub high: f32,
    /// Whether floats may be read off it; else its bias was rounded, for a quantized result to be.
    pub exact: bool,
}

/// A float function of one tensor of u8.
#[derive(Clone)]
pub struct Chain {
    pub raw: NodeId,
    pub body: Body,
}

/// Sum or product of two quantized tensors, held between `low` and `high`.
#[derive(Clone)]
pub struct Pair {
    pub op: ScalarOp,
    pub raw: [NodeId; 2],
    pub from: [quant::Affine; 2],
    pub low: f32,
    pub high: f32,
}

/// `low..high` held between two bounds that a body sets.
pub fn narrowed((low, high): (f32, f32), (at_least, at_most): (f32, f32)) -> (f32, f32) {
    (low.max(at_least).min(at_most), high.max(at_least).min(at_most))
}
