//! Instructions on general registers, and control flow. All 64 bits wide.

use super::assembler::Field;
use super::{Assembler, Gpr, Label};

/// After a subtraction that sets flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    Equal = 0,
    NotEqual = 1,
    /// Unsigned: at least.
    HighOrSame = 2,
    /// Unsigned: below.
    Low = 3,
}

/// What the kernel lets a program read of the processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SystemRegister {
    /// ID_AA64ISAR0_EL1: dot products in bits 44 to 47.
    Isar0 = 0x4030,
    /// ID_AA64ISAR1_EL1: products of matrices of bytes in bits 52 to 55.
    Isar1 = 0x4031,
}

impl Assembler {
    /// `to = from`, neither the stack pointer.
    pub fn copy(&mut self, to: Gpr, from: Gpr) {
        self.word(0xAA00_03E0 | from.value() << 16 | to.value());
    }

    /// `to = a + b`, none the stack pointer.
    pub fn add_register(&mut self, to: Gpr, a: Gpr, b: Gpr) {
        self.word(0x8B00_0000 | b.value() << 16 | a.value() << 5 | to.value());
    }

    /// `to = a | b`.
    pub fn or_register(&mut self, to: Gpr, a: Gpr, b: Gpr) {
        self.word(0xAA00_0000 | b.value() << 16 | a.value() << 5 | to.value());
    }

    /// `to = a * b + c`.
    pub fn multiply_add(&mut self, to: Gpr, a: Gpr, b: Gpr, c: Gpr) {
        self.word(0x9B00_0000 | b.value() << 16 | c.value() << 10 | a.value() << 5 | to.value());
    }

    /// `to = from + value` for 12 bits, or 12 bits above 12 zeros, of either sign; both may be the stack pointer.
    /// Fault: panics on any other value.
    pub fn add_immediate(&mut self, to: Gpr, from: Gpr, value: i64) {
        let operation = if value < 0 { 0xD100_0000 } else { 0x9100_0000 };
        let field = immediate(value.unsigned_abs()).expect("an immediate of an addition");
        self.word(operation | field | from.base() << 5 | to.base());
    }

    /// `to = from + value`; through `temp` when no immediate says it.
    pub fn add(&mut self, to: Gpr, from: Gpr, value: i64, temp: Gpr) {
        let (size, sign) = (value.unsigned_abs(), if value < 0 { -1 } else { 1 });
        if value == 0 && to == from {
        } else if immediate(size).is_some() {
            self.add_immediate(to, from, value);
        } else if size < 1 << 24 {
            self.add_immediate(to, from, sign * (size & !0xFFF) as i64);
            self.add_immediate(to, to, sign * (size & 0xFFF) as i64);
        } else {
            self.load_immediate(temp, value);
            self.add_register(to, from, temp);
        }
    }

    /// `to = from - value`, and flags. Fault: panics on more than 12 bits.
    pub fn subtract_and_test(&mut self, to: Gpr, from: Gpr, value: u32) {
        assert!(value < 4096, "an immediate of 12 bits");
        self.word(0xF100_0000 | value << 10 | from.base() << 5 | to.value());
    }

    /// Flags of `a - value`. Fault: panics on more than 12 bits.
    pub fn compare(&mut self, a: Gpr, value: u32) {
        self.subtract_and_test(Gpr::ZERO, a, value);
    }

    /// Flags of `a - b`.
    pub fn compare_registers(&mut self, a: Gpr, b: Gpr) {
        self.word(0xEB00_0000 | b.value() << 16 | a.value() << 5 | Gpr::ZERO.value());
    }

    /// `to` = `count` bits of `from` from bit `low` on. Fault: panics when they are not there.
    pub fn bits(&mut self, to: Gpr, from: Gpr, low: u32, count: u32) {
        assert!(count > 0 && low + count <= 64, "bits of a register");
        self.word(0xD340_0000 | low << 16 | (low + count - 1) << 10 | from.value() << 5 | to.value());
    }

    /// In the fewest instructions that set 16 bits each.
    pub fn load_immediate(&mut self, to: Gpr, value: i64) {
        const ZEROS: u32 = 0xD280_0000;
        const ONES: u32 = 0x9280_0000;
        const KEEP: u32 = 0xF280_0000;
        let parts = [0, 1, 2, 3].map(|i| (i, (value >> (16 * i)) as u32 & 0xFFFF));
        let ones = parts.iter().filter(|(_, part)| *part == 0xFFFF).count();
        let zeros = parts.iter().filter(|(_, part)| *part == 0).count();
        let (first, rest) = if ones > zeros { (ONES, 0xFFFF) } else { (ZEROS, 0) };
        let mut wanted = parts.iter().copied().filter(|(_, part)| *part != rest);
        let mut move_part = |operation, (i, part): (u32, u32)| self.word(operation | i << 21 | part << 5 | to.value());
        let (i, part) = wanted.next().unwrap_or((0, rest));
        move_part(first, (i, part ^ rest));
        wanted.for_each(|part| move_part(KEEP, part));
    }

    pub fn branch(&mut self, to: Label) {
        self.reach_label(0x1400_0000, Field::Bits26, to);
    }

    /// Reaches 1 MB forward and any distance back.
    pub fn branch_if(&mut self, condition: Condition, to: Label) {
        if self.back_to(to).is_some_and(|words| Field::Bits19.encode(words).is_none()) {
            // around a branch that reaches
            let skip = Field::Bits19.encode(2).expect("near");
            self.word(0x5400_0000 | skip | condition as u32 ^ 1);
            return self.branch(to);
        }
        self.reach_label(0x5400_0000 | condition as u32, Field::Bits19, to);
    }

    /// Reaches 1 MB.
    pub fn branch_if_zero(&mut self, register: Gpr, to: Label) {
        self.reach_label(0xB400_0000 | register.value(), Field::Bits19, to);
    }

    /// Reaches 1 MB.
    pub fn branch_if_not_zero(&mut self, register: Gpr, to: Label) {
        self.reach_label(0xB500_0000 | register.value(), Field::Bits19, to);
    }

    /// Reaches 32 KB. Fault: panics on a bit above 63.
    pub fn branch_if_clear(&mut self, register: Gpr, bit: u32, to: Label) {
        assert!(bit < 64, "a register has 64 bits");
        self.reach_label(0x3600_0000 | (bit >> 5) << 31 | (bit & 31) << 19 | register.value(), Field::Bits14, to);
    }

    /// Calls the function of that name.
    pub fn call_symbol(&mut self, symbol: &str) {
        self.reach_symbol(0x9400_0000, symbol);
    }

    pub fn call_register(&mut self, register: Gpr) {
        self.word(0xD63F_0000 | register.value() << 5);
    }

    pub fn ret(&mut self) {
        self.word(0xD65F_03C0);
    }

    /// Calls the system.
    pub fn system_call(&mut self) {
        self.word(0xD400_0001);
    }

    /// Ends the program when it comes here.
    pub fn trap(&mut self) {
        self.word(0xD420_0000);
    }

    pub fn read_system(&mut self, to: Gpr, register: SystemRegister) {
        self.word(0xD530_0000 | (register as u32) << 5 | to.value());
    }
}

/// The field of an addition's immediate: 12 bits, or 12 bits above 12 zeros.
fn immediate(size: u64) -> Option<u32> {
    match size {
        0..0x1000 => Some((size as u32) << 10),
        0x1000..0x100_0000 if size & 0xFFF == 0 => Some(1 << 22 | ((size >> 12) as u32) << 10),
        _ => None,
    }
}
