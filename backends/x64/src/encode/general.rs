//! Instructions on general registers, and control flow. Knows nothing of vectors but the prefetch.
//!
//! Families share one encoding and differ by a digit or a low opcode byte, which is the value of the enum that names
//! them.

use super::assembler::{Assembler, Label, Symbol};
use super::operand::{Address, Gpr, Mem, Operand, Reg};
use super::vector::extension;

/// How much of a general register. A 32-bit result clears the upper half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    W32,
    W64,
}

/// Two operands, the first is also the result (`Cmp` has none).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alu {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shift {
    Shl = 4,
    Shr = 5,
    Sar = 7,
}

/// One operand, in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unary {
    Inc,
    Dec,
    Not,
    Neg,
}

impl Unary {
    /// Opcode and digit.
    const fn code(self) -> (u8, u8) {
        match self {
            Unary::Inc => (0xFF, 0),
            Unary::Dec => (0xFF, 1),
            Unary::Not => (0xF7, 2),
            Unary::Neg => (0xF7, 3),
        }
    }
}

/// Conditions, by the machine's number; `B A` and their kin compare unsigned, `L G` signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    O = 0,
    No = 1,
    B = 2,
    Ae = 3,
    E = 4,
    Ne = 5,
    Be = 6,
    A = 7,
    S = 8,
    Ns = 9,
    P = 10,
    Np = 11,
    L = 12,
    Ge = 13,
    Le = 14,
    G = 15,
}

/// Loads of less than a register: the second byte of the opcode and whether the result is 64 bits wide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Narrow {
    ZeroByte,
    ZeroWord,
    SignByte,
    SignWord,
    /// 32 bits to 64.
    SignDouble,
}

/// Into which cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prefetch {
    Nta = 0,
    T0 = 1,
    T1 = 2,
    T2 = 3,
}

macro_rules! fixed {
    ($($name:ident = $bytes:expr;)*) => {
        /// Instructions without operands.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Fixed {
            $($name),*
        }

        impl Fixed {
            pub const ALL: &[Fixed] = &[$(Fixed::$name),*];

            const fn bytes(self) -> &'static [u8] {
                match self {
                    $(Fixed::$name => &$bytes),*
                }
            }
        }
    };
}

fixed! {
    Ret = [0xC3];
    Ud2 = [0x0F, 0x0B];
    Int3 = [0xCC];
    Cpuid = [0x0F, 0xA2];
    Xgetbv = [0x0F, 0x01, 0xD0];
    Syscall = [0x0F, 0x05];
    Rdtsc = [0x0F, 0x31];
    Rdtscp = [0x0F, 0x01, 0xF9];
    Lfence = [0x0F, 0xAE, 0xE8];
    Sfence = [0x0F, 0xAE, 0xF8];
    Cqo = [0x48, 0x99];
    RepMovsb = [0xF3, 0xA4];
    RepStosb = [0xF3, 0xAA];
    RepStosd = [0xF3, 0xAB];
    Vzeroupper = [0xC5, 0xF8, 0x77];
}

/// What an instruction reads beside its first operand. An immediate is 32 bits, extended by its sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    Operand(Operand),
    Immediate(i32),
}

macro_rules! sources {
    ($($from:ty),*) => {
        $(impl From<$from> for Source {
            fn from(value: $from) -> Source {
                Source::Operand(value.into())
            }
        })*
    };
}

sources!(Gpr, Mem, Address, Operand);

impl From<i32> for Source {
    fn from(value: i32) -> Source {
        Source::Immediate(value)
    }
}

const NOPS: [&[u8]; 9] = [
    &[0x90],
    &[0x66, 0x90],
    &[0x0F, 0x1F, 0x00],
    &[0x0F, 0x1F, 0x40, 0x00],
    &[0x0F, 0x1F, 0x44, 0x00, 0x00],
    &[0x66, 0x0F, 0x1F, 0x44, 0x00, 0x00],
    &[0x0F, 0x1F, 0x80, 0x00, 0x00, 0x00, 0x00],
    &[0x0F, 0x1F, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x66, 0x0F, 0x1F, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
];

impl Assembler {
    /// `to = to op from`. At most one of the two is memory.
    pub fn alu(&mut self, op: Alu, width: Width, to: impl Into<Operand>, from: impl Into<Source>) {
        let base = (op as u8) << 3;
        match (to.into(), from.into()) {
            (to, Source::Immediate(value)) => match i8::try_from(value) {
                Ok(short) => {
                    self.instruction(width, &[0x83], op as u8, to, 1);
                    self.byte(short as u8);
                }
                Err(_) => {
                    self.instruction(width, &[0x81], op as u8, to, 4);
                    self.immediate(value);
                }
            },
            (Operand::Reg(to), Source::Operand(from)) => self.instruction(width, &[base | 3], to.number(), from, 0),
            (to, Source::Operand(Operand::Reg(from))) => self.instruction(width, &[base | 1], from.number(), to, 0),
            (to, from) => panic!("{op:?} {to:?}, {from:?}: two operands in memory"),
        }
    }

    pub fn add(&mut self, to: impl Into<Operand>, from: impl Into<Source>) {
        self.alu(Alu::Add, Width::W64, to, from);
    }

    pub fn sub(&mut self, to: impl Into<Operand>, from: impl Into<Source>) {
        self.alu(Alu::Sub, Width::W64, to, from);
    }

    pub fn cmp(&mut self, a: impl Into<Operand>, b: impl Into<Source>) {
        self.alu(Alu::Cmp, Width::W64, a, b);
    }

    /// The register becomes zero; flags are lost.
    pub fn clear(&mut self, to: Gpr) {
        self.alu(Alu::Xor, Width::W32, to, to);
    }

    /// Flags of `a & b`.
    pub fn test(&mut self, width: Width, a: impl Into<Operand>, b: impl Into<Source>) {
        match (a.into(), b.into()) {
            (a, Source::Immediate(value)) => {
                self.instruction(width, &[0xF7], 0, a, 4);
                self.immediate(value);
            }
            (a, Source::Operand(Operand::Reg(b))) => self.instruction(width, &[0x85], b.number(), a, 0),
            (a, b) => panic!("test {a:?}, {b:?}: the second operand is no register"),
        }
    }

    /// `to = from`. At most one of the two is memory.
    pub fn mov(&mut self, width: Width, to: impl Into<Operand>, from: impl Into<Source>) {
        match (to.into(), from.into()) {
            (to, Source::Immediate(value)) => {
                self.instruction(width, &[0xC7], 0, to, 4);
                self.immediate(value);
            }
            (Operand::Reg(to), Source::Operand(from)) => self.instruction(width, &[0x8B], to.number(), from, 0),
            (to, Source::Operand(Operand::Reg(from))) => self.instruction(width, &[0x89], from.number(), to, 0),
            (to, from) => panic!("mov {to:?}, {from:?}: two operands in memory"),
        }
    }

    /// `to = from`, 64 bits.
    pub fn copy(&mut self, to: Gpr, from: Gpr) {
        self.mov(Width::W64, to, from);
    }

    /// `to = value` in the fewest bytes that leave the flags alone.
    pub fn load_immediate(&mut self, to: Gpr, value: i64) {
        let (low, b) = (to.number() & 7, to.number() >> 3);
        if let Ok(value) = u32::try_from(value) {
            if b == 1 {
                self.byte(0x41);
            }
            self.byte(0xB8 | low);
            self.immediate(value as i32);
        } else if let Ok(value) = i32::try_from(value) {
            self.mov(Width::W64, to, value);
        } else {
            self.byte(0x48 | b);
            self.byte(0xB8 | low);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// `to = from`, extended to 64 bits.
    pub fn load_narrow(&mut self, narrow: Narrow, to: Gpr, from: impl Into<Operand>) {
        let (width, opcode): (_, &[u8]) = match narrow {
            Narrow::ZeroByte => (Width::W32, &[0x0F, 0xB6]),
            Narrow::ZeroWord => (Width::W32, &[0x0F, 0xB7]),
            Narrow::SignByte => (Width::W64, &[0x0F, 0xBE]),
            Narrow::SignWord => (Width::W64, &[0x0F, 0xBF]),
            Narrow::SignDouble => (Width::W64, &[0x63]),
        };
        let from = from.into();
        let byte = matches!((narrow, from), (Narrow::ZeroByte | Narrow::SignByte, Operand::Reg(_)));
        self.sized(width, byte, opcode, to.number(), from, 0);
    }

    /// The low byte of `from` to memory.
    pub fn store_byte(&mut self, to: impl Into<Address>, from: Gpr) {
        self.sized(Width::W32, from.number() > 3, &[0x88], from.number(), Operand::Memory(to.into()), 0);
    }

    /// The low two bytes of `from` to memory.
    pub fn store_word(&mut self, to: impl Into<Address>, from: Gpr) {
        self.byte(0x66);
        self.instruction(Width::W32, &[0x89], from.number(), Operand::Memory(to.into()), 0);
    }

    /// `to` = the address itself.
    pub fn lea(&mut self, to: Gpr, address: impl Into<Address>) {
        self.instruction(Width::W64, &[0x8D], to.number(), Operand::Memory(address.into()), 0);
    }

    /// `to = to * from`.
    pub fn imul(&mut self, width: Width, to: Gpr, from: impl Into<Operand>) {
        self.instruction(width, &[0x0F, 0xAF], to.number(), from.into(), 0);
    }

    /// `to = from * factor`.
    pub fn imul_by(&mut self, width: Width, to: Gpr, from: impl Into<Operand>, factor: i32) {
        match i8::try_from(factor) {
            Ok(short) => {
                self.instruction(width, &[0x6B], to.number(), from.into(), 1);
                self.byte(short as u8);
            }
            Err(_) => {
                self.instruction(width, &[0x69], to.number(), from.into(), 4);
                self.immediate(factor);
            }
        }
    }

    pub fn shift(&mut self, op: Shift, width: Width, to: impl Into<Operand>, bits: u8) {
        self.instruction(width, &[0xC1], op as u8, to.into(), 1);
        self.byte(bits);
    }

    pub fn unary(&mut self, op: Unary, width: Width, to: impl Into<Operand>) {
        let (opcode, digit) = op.code();
        self.instruction(width, &[opcode], digit, to.into(), 0);
    }

    /// `to = from` if the condition holds; a 32-bit move clears the upper half either way.
    pub fn cmov(&mut self, condition: Condition, width: Width, to: Gpr, from: impl Into<Operand>) {
        self.instruction(width, &[0x0F, 0x40 | condition as u8], to.number(), from.into(), 0);
    }

    /// The low byte of `to` becomes 0 or 1.
    pub fn set(&mut self, condition: Condition, to: Gpr) {
        let to = Operand::from(to);
        self.sized(Width::W32, true, &[0x0F, 0x90 | condition as u8], 0, to, 0);
    }

    pub fn prefetch(&mut self, into: Prefetch, address: impl Into<Address>) {
        self.instruction(Width::W32, &[0x0F, 0x18], into as u8, Operand::Memory(address.into()), 0);
    }

    pub fn push(&mut self, from: Gpr) {
        self.short(0x50, from);
    }

    pub fn pop(&mut self, to: Gpr) {
        self.short(0x58, to);
    }

    pub fn fixed(&mut self, instruction: Fixed) {
        self.bytes.extend_from_slice(instruction.bytes());
    }

    pub fn ret(&mut self) {
        self.fixed(Fixed::Ret);
    }

    /// Pads with as few instructions as possible up to a multiple of `to` bytes.
    pub fn align(&mut self, to: usize) {
        self.nop(self.offset().next_multiple_of(to) - self.offset());
    }

    /// So many bytes that do nothing.
    pub fn nop(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let now = bytes.min(NOPS.len());
            self.bytes.extend_from_slice(NOPS[now - 1]);
            bytes -= now;
        }
    }

    pub fn jmp(&mut self, label: Label) {
        self.branch(&[0xEB], &[0xE9], label);
    }

    pub fn jcc(&mut self, condition: Condition, label: Label) {
        self.branch(&[0x70 | condition as u8], &[0x0F, 0x80 | condition as u8], label);
    }

    pub fn call(&mut self, label: Label) {
        self.byte(0xE8);
        self.reach_label(label);
    }

    pub fn call_symbol(&mut self, symbol: Symbol) {
        self.byte(0xE8);
        self.reach_symbol(symbol);
    }

    pub fn jmp_symbol(&mut self, symbol: Symbol) {
        self.byte(0xE9);
        self.reach_symbol(symbol);
    }

    /// Calls the address that is in a register or in memory.
    pub fn call_at(&mut self, target: impl Into<Operand>) {
        self.instruction(Width::W32, &[0xFF], 2, target.into(), 0);
    }

    /// Backward as short as the distance allows; forward always with four bytes, because the distance is not known yet.
    fn branch(&mut self, short: &[u8], long: &[u8], label: Label) {
        let back = self.bound(label).map(|place| place as i64 - (self.offset() + short.len() + 1) as i64);
        if let Some(back) = back.and_then(|distance| i8::try_from(distance).ok()) {
            self.bytes.extend_from_slice(short);
            self.byte(back as u8);
        } else {
            self.bytes.extend_from_slice(long);
            self.reach_label(label);
        }
    }

    /// The register in the low bits of the opcode; 64 bits by nature.
    fn short(&mut self, opcode: u8, register: Gpr) {
        if register.number() > 7 {
            self.byte(0x41);
        }
        self.byte(opcode | register.number() & 7);
    }

    fn instruction(&mut self, width: Width, opcode: &[u8], reg: u8, rm: Operand, tail: usize) {
        self.sized(width, false, opcode, reg, rm, tail);
    }

    /// REX, opcode, ModRM. `byte` asks for a REX even if empty: without it the byte registers 4 to 7 mean others.
    fn sized(&mut self, width: Width, byte: bool, opcode: &[u8], reg: u8, rm: Operand, tail: usize) {
        let general = matches!(rm, Operand::Reg(Reg::Gpr(_)) | Operand::Memory(_));
        assert!(general, "{rm:?} is no operand of an instruction on general registers");
        let (x, b) = extension(rm);
        let rex = (width as u8) << 3 | (reg >> 3) << 2 | x << 1 | b;
        if rex != 0 || byte {
            self.byte(0x40 | rex);
        }
        self.bytes.extend_from_slice(opcode);
        self.modrm(reg, rm, 1, tail);
    }
}
