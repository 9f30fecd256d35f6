//! What an import function sees: the operands and attributes of one ONNX node, with the questions that
//! many operators ask of them. It derefs to [`Build`], where the answers are written down.

use std::ops::{Deref, DerefMut};

use ir::{Dim, Dtype, Fault, Tensor};

use crate::attrs::Attrs;
use crate::build::{Build, Value};
use crate::importer::{Importer, Scope};
use crate::proto;
use crate::tensors;

/// What an import function gives: the node's outputs in order.
pub type Made = Result<Vec<Value>, Fault>;

/// One node being imported.
pub struct Cx<'a, 'm, 'o> {
    pub importer: &'a mut Importer<'m, 'o>,
    pub scope: &'a Scope<'m, 'a>,
    pub attrs: &'a Attrs<'m>,
    pub inputs: Vec<Option<Value>>,
    /// Which outputs have a name.
    pub wanted: Vec<bool>,
    /// Version of the operator's domain that the model imports.
    pub version: i64,
}

impl<'o> Deref for Cx<'_, '_, 'o> {
    type Target = Build<'o>;
    fn deref(&self) -> &Build<'o> {
        &self.importer.build
    }
}

impl<'o> DerefMut for Cx<'_, '_, 'o> {
    fn deref_mut(&mut self) -> &mut Build<'o> {
        &mut self.importer.build
    }
}

impl<'m> Cx<'_, 'm, '_> {
    /// Whether output `index` has a name.
    pub fn wants(&self, index: usize) -> bool {
        self.wanted.get(index).copied().unwrap_or(false)
    }

    /// Operand `index`. Fault: it is left out.
    pub fn input(&self, index: usize) -> Result<Value, Fault> {
        self.optional(index).ok_or_else(|| Fault::invalid(format!("input {index} is missing")))
    }

    pub fn optional(&self, index: usize) -> Option<Value> {
        self.inputs.get(index).cloned().flatten()
    }

    /// Every operand. Fault: one is left out.
    pub fn all(&self) -> Result<Vec<Value>, Fault> {
        (0..self.inputs.len()).map(|i| self.input(i)).collect()
    }

    /// Operand `index` as a constant. Fault: it depends on a model input.
    pub fn known_input(&mut self, index: usize) -> Result<Option<Tensor>, Fault> {
        let Some(value) = self.optional(index) else { return Ok(None) };
        match self.importer.build.known(&value) {
            Some(tensor) => Ok(Some(tensor)),
            None => Err(self.importer.build.must_be_known(&value, &format!("input {index}"))),
        }
    }

    /// Operand `index`, an integer list or scalar, as dimensions. Fault: another type, or not known.
    pub fn dims_input(&mut self, index: usize) -> Result<Option<Vec<Dim>>, Fault> {
        let Some(value) = self.optional(index) else { return Ok(None) };
        if !matches!(value.dtype(), Dtype::I64 | Dtype::I32) {
            return Err(Fault::invalid(format!("input {index} holds integers (int64), not {}", value.ty)));
        }
        if value.rank() > 1 {
            return Err(Fault::invalid(format!("input {index} is a list, not {}", value.ty)));
        }
        match self.importer.build.known_dims(&value) {
            Some(dims) => Ok(Some(dims)),
            None => Err(self.importer.build.must_be_known(&value, &format!("input {index}"))),
        }
    }

    /// The same with every element fixed.
    pub fn ints_input(&mut self, index: usize) -> Result<Option<Vec<i64>>, Fault> {
        let Some(dims) = self.dims_input(index)? else { return Ok(None) };
        let fixed: Option<Vec<i64>> = dims.iter().map(Dim::fixed).collect();
        match fixed {
            Some(ints) => Ok(Some(ints)),
            None => Err(Fault::unsupported(format!("input {index} depends on a dimension that is not fixed"))
                .help("fix the named dimensions with --dim NAME=SIZE")),
        }
    }

    /// A list that is an attribute in early opsets and an operand later; given either way, it is found.
    pub fn ints_either(&mut self, name: &str, index: usize) -> Result<Option<Vec<i64>>, Fault> {
        match self.attrs.ints(name)? {
            Some(list) => Ok(Some(list.to_vec())),
            None => self.ints_input(index),
        }
    }

    /// One number that must be known. Fault: it is not, or there are more of them.
    pub fn number_input(&mut self, index: usize) -> Result<Option<f64>, Fault> {
        let Some(tensor) = self.known_input(index)? else { return Ok(None) };
        match tensor.to_f64s().as_slice() {
            [one] => Ok(Some(*one)),
            _ => Err(Fault::invalid(format!("input {index} is one number, not {}", tensor.ty()))),
        }
    }

    pub fn int_input(&mut self, index: usize) -> Result<Option<i64>, Fault> {
        match self.ints_input(index)?.as_deref() {
            None => Ok(None),
            Some([one]) => Ok(Some(*one)),
            Some(_) => Err(Fault::invalid(format!("input {index} is one number, not a list"))),
        }
    }

    /// A constant of the model file.
    pub fn read(&mut self, tensor: &'m proto::Tensor) -> Result<Value, Fault> {
        let tensor = tensors::read(tensor, self.importer.source, self.importer.build.limits)?;
        Ok(self.constant(tensor))
    }
}

/// The axis that a possibly negative number means. Fault: there is none such.
pub fn axis(number: i64, rank: usize) -> Result<usize, Fault> {
    let signed = rank as i64;
    let index = if number < 0 { number.checked_add(signed) } else { Some(number) };
    match index {
        Some(index) if (0..signed).contains(&index) => Ok(index as usize),
        _ => Err(Fault::invalid(format!("there is no axis {number} in a tensor of {rank} axes"))),
    }
}

/// Several axes, in the order given. Fault: one that does not exist, or stands twice.
pub fn axes(numbers: &[i64], rank: usize) -> Result<Vec<usize>, Fault> {
    let mut out = Vec::with_capacity(numbers.len());
    for &number in numbers {
        let index = axis(number, rank)?;
        if out.contains(&index) {
            return Err(Fault::invalid(format!("axis {number} stands twice in {numbers:?}")));
        }
        out.push(index);
    }
    Ok(out)
}

/// Fault: the type is none of those an operand may have.
pub fn must_be(ok: bool, what: &str, value: &Value) -> Result<(), Fault> {
    if ok { Ok(()) } else { Err(Fault::invalid(format!("{what}, not {}", value.ty))) }
}

/// A dimension of one.
pub fn one() -> Dim {
    Dim::from(1i64)
}

/// A dimension of none.
pub fn zero() -> Dim {
    Dim::from(0i64)
}
