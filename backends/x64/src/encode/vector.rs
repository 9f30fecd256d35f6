//! Vector and mask instructions: the VEX and EVEX prefixes, and one function per arrangement of operands.
//!
//! ```text
//! asm.at(L512).rvm(&form::vaddps, zmm3, zmm1, Mem::new(Gpr::RDI, 64));
//! asm.at(L512).zeroing(Mask::K1).rm(&form::vmovups, zmm3, Mem::new(Gpr::RDI, 64));
//! ```
//!
//! EVEX is taken only when VEX cannot say it, because VEX is shorter. A form that the level does not have is our own
//! fault and panics: kernels are verified against the machine's menu before they come here.

use super::assembler::{Assembler, Level};
use super::form::{Coding, Form, Shape};
use super::operand::{Address, Length, Mask, Operand, Reg, Vector};

/// An instruction about to be written at one length, perhaps under a mask.
pub struct Vectors<'a> {
    asm: &'a mut Assembler,
    length: Length,
    mask: Mask,
    zeroing: bool,
}

/// Operands by the field that holds them.
struct Fields {
    reg: u8,
    vvvv: u8,
    rm: Operand,
    immediate: Option<u8>,
}

impl Assembler {
    /// Vector instructions at `length`.
    pub fn at(&mut self, length: Length) -> Vectors<'_> {
        Vectors { asm: self, length, mask: Mask::K0, zeroing: false }
    }
}

impl Vectors<'_> {
    /// Lanes outside `mask` keep what the destination holds.
    pub fn merging(mut self, mask: Mask) -> Self {
        self.mask = mask;
        self
    }

    /// Lanes outside `mask` become zero.
    pub fn zeroing(mut self, mask: Mask) -> Self {
        self.mask = mask;
        self.zeroing = true;
        self
    }

    /// `reg = op(rm)`.
    pub fn rm(self, form: &Form, reg: impl Into<Reg>, rm: impl Into<Operand>) {
        self.check(form, Shape::Rm);
        self.emit(form, reg.into(), None, rm.into(), None);
    }

    /// `reg = op(rm, immediate)`.
    pub fn rmi(self, form: &Form, reg: impl Into<Reg>, rm: impl Into<Operand>, immediate: u8) {
        self.check(form, Shape::Rmi);
        self.emit(form, reg.into(), None, rm.into(), Some(immediate));
    }

    /// `rm = op(reg)`: stores.
    pub fn mr(self, form: &Form, rm: impl Into<Operand>, reg: impl Into<Reg>) {
        self.check(form, Shape::Mr);
        self.emit(form, reg.into(), None, rm.into(), None);
    }

    /// `rm = op(reg, immediate)`: extraction.
    pub fn mri(self, form: &Form, rm: impl Into<Operand>, reg: impl Into<Reg>, immediate: u8) {
        self.check(form, Shape::Mri);
        self.emit(form, reg.into(), None, rm.into(), Some(immediate));
    }

    /// `reg = op(a, rm)`, or `reg = op(reg, a, rm)` for the fused and the permuting forms.
    pub fn rvm(self, form: &Form, reg: impl Into<Reg>, a: impl Into<Reg>, rm: impl Into<Operand>) {
        self.check(form, Shape::Rvm);
        self.emit(form, reg.into(), Some(a.into()), rm.into(), None);
    }

    /// `reg = op(a, rm, immediate)`.
    pub fn rvmi(self, form: &Form, reg: impl Into<Reg>, a: impl Into<Reg>, rm: impl Into<Operand>, immediate: u8) {
        self.check(form, Shape::Rvmi);
        self.emit(form, reg.into(), Some(a.into()), rm.into(), Some(immediate));
    }

    /// `reg = op(a, rm, selector)`: blends by a vector.
    pub fn rvmr(self, form: &Form, reg: Vector, a: Vector, rm: impl Into<Operand>, selector: Vector) {
        self.check(form, Shape::Rvmr);
        assert!(selector.number() < 16, "the fourth register has four bits");
        self.emit(form, reg.into(), Some(a.into()), rm.into(), Some(selector.number() << 4));
    }

    /// `rm = reg where selector`: the masked stores of AVX2.
    pub fn mvr(self, form: &Form, rm: impl Into<Operand>, selector: Vector, reg: Vector) {
        self.check(form, Shape::Mvr);
        self.emit(form, reg.into(), Some(selector.into()), rm.into(), None);
    }

    /// `a = op(rm, immediate)`: shifts, whose opcode takes the place of the third register.
    pub fn vmi(self, form: &Form, a: Vector, rm: impl Into<Operand>, immediate: u8) {
        let Shape::Vmi(digit) = form.shape else { panic!("{} is no shift by an immediate", form.name) };
        let fields = Fields { reg: digit, vvvv: a.number(), rm: rm.into(), immediate: Some(immediate) };
        self.encode(form, fields);
    }

    fn check(&self, form: &Form, shape: Shape) {
        assert!(form.shape == shape, "{} is {:?}, not {shape:?}", form.name, form.shape);
    }

    fn emit(self, form: &Form, reg: Reg, vvvv: Option<Reg>, rm: Operand, immediate: Option<u8>) {
        assert!(form.reg.holds(reg), "{}: {reg:?} is of the wrong class", form.name);
        assert!(vvvv.is_none_or(|v| form.vvvv().holds(v)), "{}: {vvvv:?} is of the wrong class", form.name);
        let fields = Fields { reg: reg.number(), vvvv: vvvv.map_or(0, Reg::number), rm, immediate };
        self.encode(form, fields);
    }

    fn encode(self, form: &Form, fields: Fields) {
        assert!(form.allows(fields.rm), "{}: {:?} is of the wrong class", form.name, fields.rm);
        if self.fits_vex(form, &fields) {
            self.vex(form, form.vex, &fields);
        } else {
            self.evex(form, form.evex, &fields);
        }
    }

    fn fits_vex(&self, form: &Form, fields: &Fields) -> bool {
        let shift_of_memory = matches!((form.shape, fields.rm), (Shape::Vmi(_), Operand::Memory(_)));
        let high = fields.reg > 15 || fields.vvvv > 15 || matches!(fields.rm, Operand::Reg(r) if r.number() > 15);
        let decorated = self.mask != Mask::K0 || matches!(fields.rm, Operand::Broadcast(_));
        form.vex.has(self.length) && !high && !decorated && !shift_of_memory
    }

    fn vex(self, form: &Form, coding: Coding, fields: &Fields) {
        let (x, b) = extension(fields.rm);
        let r = fields.reg >> 3 & 1;
        let last = (!fields.vvvv & 15) << 3 | (self.length as u8) << 2 | form.prefix as u8;
        if x == 0 && b == 0 && !coding.wide && form.map as u8 == 1 {
            self.asm.byte(0xC5);
            self.asm.byte((r ^ 1) << 7 | last);
        } else {
            self.asm.byte(0xC4);
            self.asm.byte((r ^ 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | form.map as u8);
            self.asm.byte((coding.wide as u8) << 7 | last);
        }
        self.tail(form, fields, 1);
    }

    fn evex(self, form: &Form, coding: Coding, fields: &Fields) {
        assert!(
            self.asm.level == Level::V4 && coding.has(self.length),
            "{} at {:?} with these operands is off the menu of {:?}",
            form.name,
            self.length,
            self.asm.level
        );
        let broadcast = matches!(fields.rm, Operand::Broadcast(_));
        assert!(self.mask == Mask::K0 || coding.masked, "{} takes no mask", form.name);
        assert!(!broadcast || form.tuple.element().is_some(), "{} has no broadcast", form.name);
        let (x, b) = match fields.rm {
            Operand::Reg(r) => (r.number() >> 4, r.number() >> 3 & 1),
            Operand::Memory(_) | Operand::Broadcast(_) => extension(fields.rm),
        };
        let (r, r_high) = (fields.reg >> 3 & 1, fields.reg >> 4);
        let (v, v_high) = (!fields.vvvv & 15, fields.vvvv >> 4 ^ 1);
        self.asm.byte(0x62);
        self.asm.byte((r ^ 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | (r_high ^ 1) << 4 | form.map as u8);
        self.asm.byte((coding.wide as u8) << 7 | v << 3 | 4 | form.prefix as u8);
        self.asm.byte((self.zeroing as u8) << 7 | (self.length as u8) << 5 | (broadcast as u8) << 4 | v_high << 3 | self.mask.number());
        let unit = match form.tuple.element() {
            Some(element) if broadcast => element,
            _ => form.tuple.bytes(self.length),
        };
        self.tail(form, fields, unit);
    }

    fn tail(self, form: &Form, fields: &Fields, unit: u32) {
        self.asm.byte(form.opcode);
        self.asm.modrm(fields.reg, fields.rm, unit, fields.immediate.iter().len());
        if let Some(immediate) = fields.immediate {
            self.asm.byte(immediate);
        }
    }
}

/// The fourth bits of the index and of the base or register.
pub(super) fn extension(rm: Operand) -> (u8, u8) {
    match rm {
        Operand::Reg(r) => (0, r.number() >> 3 & 1),
        Operand::Memory(Address::Mem(mem)) | Operand::Broadcast(Address::Mem(mem)) => {
            (mem.index.map_or(0, |(index, _)| index.number() >> 3), mem.base.number() >> 3)
        }
        Operand::Memory(Address::Pool(_) | Address::Symbol(_)) | Operand::Broadcast(Address::Pool(_) | Address::Symbol(_)) => (0, 0),
    }
}
