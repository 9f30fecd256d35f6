//! Registers. The number 31 means the stack pointer to one instruction and zero to another, so that each has its own name here and
//! an instruction that cannot mean it refuses it.

/// A general register, 64 bits wide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Gpr(u8);

impl Gpr {
    pub const SP: Gpr = Gpr(31);
    /// Reads as zero; what is written to it is gone.
    pub const ZERO: Gpr = Gpr(32);
    /// The return address.
    pub const LINK: Gpr = Gpr(30);

    /// `x0` to `x30`. Fault: panics beyond.
    pub const fn x(number: u8) -> Gpr {
        assert!(number <= 30, "there are 31 general registers");
        Gpr(number)
    }

    /// Its bits where 31 is zero.
    pub(super) fn value(self) -> u32 {
        match self.0 {
            31 => panic!("the stack pointer is no operand here"),
            32 => 31,
            number => u32::from(number),
        }
    }

    /// Its bits where 31 is the stack pointer.
    pub(super) fn base(self) -> u32 {
        assert!(self.0 <= 31, "zero is no address");
        u32::from(self.0)
    }
}

/// A vector register, `v0` to `v31`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Vector(u8);

impl Vector {
    /// Fault: panics beyond 31.
    pub const fn new(number: u8) -> Vector {
        assert!(number <= 31, "there are 32 vector registers");
        Vector(number)
    }

    pub const fn number(self) -> u8 {
        self.0
    }

    pub(super) fn bits(self) -> u32 {
        u32::from(self.0)
    }
}

/// How wide the lanes of a vector are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    B,
    H,
    S,
    D,
}

impl Width {
    pub const fn bytes(self) -> u8 {
        match self {
            Width::B => 1,
            Width::H => 2,
            Width::S => 4,
            Width::D => 8,
        }
    }

    /// Of a vector.
    pub const fn lanes(self) -> u8 {
        16 / self.bytes()
    }
}
