//! Registers and addresses: what an instruction may name. Knows no instruction.

use super::assembler::{Constant, Symbol};

/// A general register, by its number in the machine's encoding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Gpr(u8);

/// A vector register. Its width is not its own: an instruction says at which [`Length`] it works.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Vector(u8);

/// A mask register. `K0` cannot mask: as a mask it means "all lanes".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Mask(u8);

macro_rules! numbered {
    ($noun:ident, $count:literal, $($name:ident = $number:literal),* $(,)?) => {
        impl $noun {
            $(pub const $name: $noun = $noun($number);)*

            #[doc = concat!("Fault: panics when `number` is not below ", $count, ".")]
            pub const fn new(number: u8) -> $noun {
                assert!(number < $count, "no such register");
                $noun(number)
            }

            pub const fn number(self) -> u8 {
                self.0
            }
        }
    };
}

numbered!(
    Gpr,
    16,
    RAX = 0,
    RCX = 1,
    RDX = 2,
    RBX = 3,
    RSP = 4,
    RBP = 5,
    RSI = 6,
    RDI = 7,
    R8 = 8,
    R9 = 9,
    R10 = 10,
    R11 = 11,
    R12 = 12,
    R13 = 13,
    R14 = 14,
    R15 = 15,
);
numbered!(Vector, 32,);
numbered!(Mask, 8, K0 = 0, K1 = 1, K2 = 2, K3 = 3, K4 = 4, K5 = 5, K6 = 6, K7 = 7);

/// How many bytes of the vector registers an instruction works on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Length {
    L128,
    L256,
    L512,
}

impl Length {
    pub const fn bytes(self) -> u32 {
        16 << self as u32
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    S1,
    S2,
    S4,
    S8,
}

/// `[base + index * scale + disp]`, the displacement in bytes. The index is never `rsp`: the encoding has no room for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mem {
    pub base: Gpr,
    pub index: Option<(Gpr, Scale)>,
    pub disp: i32,
}

impl Mem {
    pub const fn new(base: Gpr, disp: i32) -> Mem {
        Mem { base, index: None, disp }
    }

    pub const fn indexed(base: Gpr, index: Gpr, scale: Scale, disp: i32) -> Mem {
        Mem { base, index: Some((index, scale)), disp }
    }
}

/// Where in memory: by registers, or relative to the instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address {
    Mem(Mem),
    /// In this function's own constant pool.
    Pool(Constant),
    /// Bound later, by whoever lays out symbols.
    Symbol(Symbol),
}

/// A register of any of the three files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reg {
    Gpr(Gpr),
    Vector(Vector),
    Mask(Mask),
}

impl Reg {
    pub(super) const fn number(self) -> u8 {
        match self {
            Reg::Gpr(r) => r.0,
            Reg::Vector(r) => r.0,
            Reg::Mask(r) => r.0,
        }
    }
}

/// The operand that may be a register or memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operand {
    Reg(Reg),
    Memory(Address),
    /// One element of memory, in every lane: `{1to16}` and its kin.
    Broadcast(Address),
}

macro_rules! becomes {
    ($($from:ty => $to:ty: $with:expr;)*) => {
        $(impl From<$from> for $to {
            fn from(value: $from) -> $to {
                ($with)(value)
            }
        })*
    };
}

becomes! {
    Mem => Address: Address::Mem;
    Constant => Address: Address::Pool;
    Symbol => Address: Address::Symbol;
    Gpr => Reg: Reg::Gpr;
    Vector => Reg: Reg::Vector;
    Mask => Reg: Reg::Mask;
    Reg => Operand: Operand::Reg;
    Gpr => Operand: |r| Operand::Reg(Reg::Gpr(r));
    Vector => Operand: |r| Operand::Reg(Reg::Vector(r));
    Mask => Operand: |r| Operand::Reg(Reg::Mask(r));
    Address => Operand: Operand::Memory;
    Mem => Operand: |m| Operand::Memory(Address::Mem(m));
    Constant => Operand: |c| Operand::Memory(Address::Pool(c));
    Symbol => Operand: |s| Operand::Memory(Address::Symbol(s));
}
