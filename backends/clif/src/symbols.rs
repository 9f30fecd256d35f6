//! Sizes that are known at run time only, as values: dimensions computed from the symbols in the caller's memory, the bytes
//! of a tensor, whether a symbol is in its range. It refuses to know what has these sizes.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, Value};
use ir::dim::{Arithmetic, product};
use ir::program::{Origin, Port, Symbol};

use crate::function::{Body, I64};

/// The symbols of a model, in memory from an address on.
pub(crate) struct Sizes<'s, 'b, 'f> {
    pub body: &'b mut Body<'f>,
    pub symbols: &'s [Symbol],
    pub at: Value,
}

impl Arithmetic for Sizes<'_, '_, '_> {
    type Value = Value;

    fn constant(&mut self, value: i64) -> Value {
        self.body.long(value)
    }

    fn symbol(&mut self, name: &str) -> Value {
        let index = self.symbols.iter().position(|s| &*s.name == name).expect("a verified program has every symbol");
        self.body.load(I64, self.at, 8 * index as i32)
    }

    fn add(&mut self, a: Value, b: Value) -> Value {
        self.body.add(a, b)
    }

    fn mul(&mut self, a: Value, b: Value) -> Value {
        self.body.b.ins().imul(a, b)
    }

    fn floor_div(&mut self, a: Value, by: i64) -> Value {
        let by = self.body.long(by);
        let toward_zero = self.body.b.ins().sdiv(a, by);
        let rest = self.body.b.ins().srem(a, by);
        let below = self.body.cmp_imm(IntCC::SignedLessThan, rest, 0);
        let below = self.body.b.ins().uextend(I64, below);
        self.body.b.ins().isub(toward_zero, below)
    }
}

impl Sizes<'_, '_, '_> {
    /// Actual bytes of a tensor.
    pub fn bytes(&mut self, port: &Port) -> Value {
        if port.ty.fixed().is_some() {
            return self.body.long(port.bytes as i64);
        }
        let elements = product(&port.ty.shape).compute(self);
        self.body.mul_imm(elements, port.ty.dtype.bytes() as i64)
    }

    /// Reads the symbols that the state has, which begins at `state`, and goes to `fail` if one of them or one that the caller
    /// gives is out of its range.
    pub fn begin(&mut self, state: Option<Value>, fail: Block) {
        for (i, symbol) in self.symbols.iter().enumerate() {
            let value = match (&symbol.origin, state) {
                (Origin::Free, _) => self.body.load(I64, self.at, 8 * i as i32),
                (Origin::State { offset }, Some(state)) => {
                    let from = self.body.add_imm(state, *offset as i64);
                    let value = self.body.load(I64, from, 0);
                    self.body.store(value, self.at, 8 * i as i32);
                    value
                }
                (Origin::State { .. } | Origin::Derived(_) | Origin::Data, _) => continue,
            };
            let below = self.body.cmp_imm(IntCC::SignedLessThan, value, symbol.low);
            self.body.leave_if(below, fail);
            let above = self.body.cmp_imm(IntCC::SignedGreaterThan, value, symbol.high);
            self.body.leave_if(above, fail);
        }
    }
}
