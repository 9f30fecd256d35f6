//! The table of vector and mask instructions: one row per form, read across. Knows what a form is, not how it is written.
//!
//! Names are the vendors' mnemonics, in their spelling, so that the code that uses them reads as assembly. Where one
//! mnemonic has several forms, what follows an underscore tells them apart (`vmovups_store`, `vcmpps_k`).

// The vendors write mnemonics in small letters, and so does everyone who reads them.
#![allow(non_upper_case_globals)]

use super::operand::{Length, Operand, Reg};

/// Which operand lies in which field. `R` is ModRM.reg, `v` is VEX.vvvv, `m` ModRM.rm, `i` an immediate byte; the order
/// is the order of the mnemonic's operands, destination first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    Rm,
    Rmi,
    Mr,
    Mri,
    Rvm,
    Rvmi,
    /// The fourth register in the high half of the immediate.
    Rvmr,
    Mvr,
    /// ModRM.reg holds this digit of the opcode.
    Vmi(u8),
}

/// What a register field names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// A vector register.
    V,
    /// A mask register.
    K,
    /// A general register of 32 bits.
    R32,
    /// A general register of 64 bits.
    R64,
}

impl Class {
    pub(super) fn holds(self, reg: Reg) -> bool {
        match reg {
            Reg::Vector(_) => self == Class::V,
            Reg::Mask(_) => self == Class::K,
            Reg::Gpr(_) => matches!(self, Class::R32 | Class::R64),
        }
    }
}

/// What ModRM.rm may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub register: Option<Class>,
    pub memory: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Map {
    M0F = 1,
    M38 = 2,
    M3A = 3,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prefix {
    NP = 0,
    P66 = 1,
    PF3 = 2,
    PF2 = 3,
}

/// Whether a form exists under VEX (or EVEX), at which lengths, and with which W bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Coding {
    pub wide: bool,
    /// Bit per [`Length`].
    pub lengths: u8,
    /// Whether a mask may cover its lanes.
    pub masked: bool,
}

impl Coding {
    pub const fn has(self, length: Length) -> bool {
        self.lengths >> length as u8 & 1 == 1
    }
}

/// How much of ModRM.rm is used, in bytes: of memory, and by which register width. It is also the unit of an EVEX
/// displacement of 8 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tuple {
    /// The whole length; under EVEX one element of so many bytes may be broadcast.
    Full(u8),
    /// Half the length, with broadcast.
    Half(u8),
    /// The whole length with broadcast; the other operand is half as wide.
    Narrow(u8),
    /// The length over this divisor.
    Part(u8),
    /// So many bytes at any length.
    Fixed(u8),
}

impl Tuple {
    /// Bytes of memory without broadcast.
    pub const fn bytes(self, length: Length) -> u32 {
        match self {
            Tuple::Full(_) | Tuple::Narrow(_) => length.bytes(),
            Tuple::Half(_) => length.bytes() / 2,
            Tuple::Part(divisor) => length.bytes() / divisor as u32,
            Tuple::Fixed(bytes) => bytes as u32,
        }
    }

    /// Bytes of an element that can be broadcast.
    pub const fn element(self) -> Option<u32> {
        match self {
            Tuple::Full(bytes) | Tuple::Half(bytes) | Tuple::Narrow(bytes) => Some(bytes as u32),
            Tuple::Part(_) | Tuple::Fixed(_) => None,
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Form {
    pub name: &'static str,
    pub shape: Shape,
    pub reg: Class,
    pub place: Place,
    pub map: Map,
    pub prefix: Prefix,
    pub opcode: u8,
    pub vex: Coding,
    pub evex: Coding,
    pub tuple: Tuple,
}

impl Form {
    /// The class of VEX.vvvv: masks combine with masks, everything else takes a vector there.
    pub(super) fn vvvv(&self) -> Class {
        match self.place.register {
            Some(Class::K) => Class::K,
            Some(Class::V | Class::R32 | Class::R64) | None => Class::V,
        }
    }

    pub(super) fn allows(&self, rm: Operand) -> bool {
        match rm {
            Operand::Reg(reg) => self.place.register.is_some_and(|class| class.holds(reg)),
            Operand::Memory(_) | Operand::Broadcast(_) => self.place.memory,
        }
    }
}

// The words of the table.
use Class::{K, R32, R64, V};
use Map::{M0F, M3A, M38};
use Prefix::{NP, P66, PF2, PF3};
use Shape::{Mr, Mri, Mvr, Rm, Rmi, Rvm, Rvmi, Rvmr, Vmi};
use Tuple::{Fixed, Full, Half, Narrow, Part};

const VM: Place = Place { register: Some(V), memory: true };
const VO: Place = Place { register: Some(V), memory: false };
const MO: Place = Place { register: None, memory: true };
const KO: Place = Place { register: Some(K), memory: false };
const GM: Place = Place { register: Some(R32), memory: true };
const QM: Place = Place { register: Some(R64), memory: true };
const GO: Place = Place { register: Some(R32), memory: false };
const QO: Place = Place { register: Some(R64), memory: false };

const X: u8 = 1;
const Y: u8 = 2;
const Z: u8 = 4;
const XY: u8 = X | Y;
const YZ: u8 = Y | Z;
const XYZ: u8 = X | Y | Z;
const NO: Coding = Coding { wide: false, lengths: 0, masked: false };
const fn w0(lengths: u8) -> Coding {
    Coding { wide: false, lengths, masked: true }
}
const fn w1(lengths: u8) -> Coding {
    Coding { wide: true, lengths, masked: true }
}
const fn u0(lengths: u8) -> Coding {
    Coding { wide: false, lengths, masked: false }
}
const fn u1(lengths: u8) -> Coding {
    Coding { wide: true, lengths, masked: false }
}
const ALL: Tuple = Part(1);

macro_rules! forms {
    ($($name:ident $shape:expr, $reg:ident $place:ident, $map:ident $prefix:ident $opcode:literal, $vex:expr, $evex:expr, $tuple:expr;)*) => {
        $(pub const $name: Form = Form {
            name: stringify!($name), shape: $shape, reg: $reg, place: $place, map: $map, prefix: $prefix,
            opcode: $opcode, vex: $vex, evex: $evex, tuple: $tuple,
        };)*

        /// Every form, so that none is untested.
        pub const FORMS: &[Form] = &[$($name),*];
    };
}

//  VM: vector or memory, VO: vector only, MO: memory only, KO: mask only, GM QM GO QO: general register of 32 or 64
//  bits, with or without memory. XYZ: 128, 256, 512 bits. w0 and w1: the W bit; u0 and u1: no mask.
forms! {
//  name             shape       fields  map prefix op   VEX      EVEX      memory
    // Moves
    vmovups          Rm,         V VM,  M0F NP  0x10,    w0(XY),  w0(XYZ),  ALL;
    vmovups_store    Mr,         V VM,  M0F NP  0x11,    w0(XY),  w0(XYZ),  ALL;
    vmovupd          Rm,         V VM,  M0F P66 0x10,    w0(XY),  w1(XYZ),  ALL;
    vmovupd_store    Mr,         V VM,  M0F P66 0x11,    w0(XY),  w1(XYZ),  ALL;
    vmovaps          Rm,         V VM,  M0F NP  0x28,    w0(XY),  w0(XYZ),  ALL;
    vmovaps_store    Mr,         V VM,  M0F NP  0x29,    w0(XY),  w0(XYZ),  ALL;
    vmovntps         Mr,         V MO,  M0F NP  0x2B,    w0(XY),  u0(XYZ),  ALL;
    vmovdqu          Rm,         V VM,  M0F PF3 0x6F,    w0(XY),  NO,       ALL;
    vmovdqu_store    Mr,         V VM,  M0F PF3 0x7F,    w0(XY),  NO,       ALL;
    vmovdqu8         Rm,         V VM,  M0F PF2 0x6F,    NO,      w0(XYZ),  ALL;
    vmovdqu8_store   Mr,         V VM,  M0F PF2 0x7F,    NO,      w0(XYZ),  ALL;
    vmovdqu16        Rm,         V VM,  M0F PF2 0x6F,    NO,      w1(XYZ),  ALL;
    vmovdqu16_store  Mr,         V VM,  M0F PF2 0x7F,    NO,      w1(XYZ),  ALL;
    vmovdqu32        Rm,         V VM,  M0F PF3 0x6F,    NO,      w0(XYZ),  ALL;
    vmovdqu32_store  Mr,         V VM,  M0F PF3 0x7F,    NO,      w0(XYZ),  ALL;
    vmovdqu64        Rm,         V VM,  M0F PF3 0x6F,    NO,      w1(XYZ),  ALL;
    vmovdqu64_store  Mr,         V VM,  M0F PF3 0x7F,    NO,      w1(XYZ),  ALL;
    vmovss           Rm,         V MO,  M0F PF3 0x10,    w0(X),   w0(X),    Fixed(4);
    vmovss_store     Mr,         V MO,  M0F PF3 0x11,    w0(X),   w0(X),    Fixed(4);
    vmovss_merge     Rvm,        V VO,  M0F PF3 0x10,    w0(X),   w0(X),    Fixed(4);
    vmovsd           Rm,         V MO,  M0F PF2 0x10,    w0(X),   w1(X),    Fixed(8);
    vmovsd_store     Mr,         V MO,  M0F PF2 0x11,    w0(X),   w1(X),    Fixed(8);
    vmovd            Rm,         V GM,  M0F P66 0x6E,    w0(X),   u0(X),    Fixed(4);
    vmovd_store      Mr,         V GM,  M0F P66 0x7E,    w0(X),   u0(X),    Fixed(4);
    vmovq            Rm,         V QM,  M0F P66 0x6E,    w1(X),   u1(X),    Fixed(8);
    vmovq_store      Mr,         V QM,  M0F P66 0x7E,    w1(X),   u1(X),    Fixed(8);
    vmaskmovps       Rvm,        V MO,  M38 P66 0x2C,    w0(XY),  NO,       ALL;
    vmaskmovps_store Mvr,        V MO,  M38 P66 0x2E,    w0(XY),  NO,       ALL;
    vmaskmovpd       Rvm,        V MO,  M38 P66 0x2D,    w0(XY),  NO,       ALL;
    vmaskmovpd_store Mvr,        V MO,  M38 P66 0x2F,    w0(XY),  NO,       ALL;
    vpmaskmovd       Rvm,        V MO,  M38 P66 0x8C,    w0(XY),  NO,       ALL;
    vpmaskmovd_store Mvr,        V MO,  M38 P66 0x8E,    w0(XY),  NO,       ALL;
    vpmaskmovq       Rvm,        V MO,  M38 P66 0x8C,    w1(XY),  NO,       ALL;
    vpmaskmovq_store Mvr,        V MO,  M38 P66 0x8E,    w1(XY),  NO,       ALL;

    // Broadcasts
    vbroadcastss     Rm,         V VM,  M38 P66 0x18,    w0(XY),  w0(XYZ),  Fixed(4);
    vbroadcastsd     Rm,         V VM,  M38 P66 0x19,    w0(Y),   w1(YZ),   Fixed(8);
    vpbroadcastb     Rm,         V VM,  M38 P66 0x78,    w0(XY),  w0(XYZ),  Fixed(1);
    vpbroadcastw     Rm,         V VM,  M38 P66 0x79,    w0(XY),  w0(XYZ),  Fixed(2);
    vpbroadcastd     Rm,         V VM,  M38 P66 0x58,    w0(XY),  w0(XYZ),  Fixed(4);
    vpbroadcastq     Rm,         V VM,  M38 P66 0x59,    w0(XY),  w1(XYZ),  Fixed(8);
    vpbroadcastb_gpr Rm,         V GO,  M38 P66 0x7A,    NO,      w0(XYZ),  Fixed(1);
    vpbroadcastw_gpr Rm,         V GO,  M38 P66 0x7B,    NO,      w0(XYZ),  Fixed(2);
    vpbroadcastd_gpr Rm,         V GO,  M38 P66 0x7C,    NO,      w0(XYZ),  Fixed(4);
    vpbroadcastq_gpr Rm,         V QO,  M38 P66 0x7C,    NO,      w1(XYZ),  Fixed(8);
    vbroadcastf128   Rm,         V MO,  M38 P66 0x1A,    w0(Y),   NO,       Fixed(16);
    vbroadcasti128   Rm,         V MO,  M38 P66 0x5A,    w0(Y),   NO,       Fixed(16);
    vbroadcastf32x4  Rm,         V MO,  M38 P66 0x1A,    NO,      w0(YZ),   Fixed(16);
    vbroadcastf32x8  Rm,         V MO,  M38 P66 0x1B,    NO,      w0(Z),    Fixed(32);
    vbroadcasti32x4  Rm,         V MO,  M38 P66 0x5A,    NO,      w0(YZ),   Fixed(16);

    // Widening and narrowing of integers
    vpmovsxbw        Rm,         V VM,  M38 P66 0x20,    w0(XY),  w0(XYZ),  Part(2);
    vpmovsxbd        Rm,         V VM,  M38 P66 0x21,    w0(XY),  w0(XYZ),  Part(4);
    vpmovsxbq        Rm,         V VM,  M38 P66 0x22,    w0(XY),  w0(XYZ),  Part(8);
    vpmovsxwd        Rm,         V VM,  M38 P66 0x23,    w0(XY),  w0(XYZ),  Part(2);
    vpmovsxwq        Rm,         V VM,  M38 P66 0x24,    w0(XY),  w0(XYZ),  Part(4);
    vpmovsxdq        Rm,         V VM,  M38 P66 0x25,    w0(XY),  w0(XYZ),  Part(2);
    vpmovzxbw        Rm,         V VM,  M38 P66 0x30,    w0(XY),  w0(XYZ),  Part(2);
    vpmovzxbd        Rm,         V VM,  M38 P66 0x31,    w0(XY),  w0(XYZ),  Part(4);
    vpmovzxbq        Rm,         V VM,  M38 P66 0x32,    w0(XY),  w0(XYZ),  Part(8);
    vpmovzxwd        Rm,         V VM,  M38 P66 0x33,    w0(XY),  w0(XYZ),  Part(2);
    vpmovzxwq        Rm,         V VM,  M38 P66 0x34,    w0(XY),  w0(XYZ),  Part(4);
    vpmovzxdq        Rm,         V VM,  M38 P66 0x35,    w0(XY),  w0(XYZ),  Part(2);
    vpmovwb          Mr,         V VM,  M38 PF3 0x30,    NO,      w0(XYZ),  Part(2);
    vpmovswb         Mr,         V VM,  M38 PF3 0x20,    NO,      w0(XYZ),  Part(2);
    vpmovuswb        Mr,         V VM,  M38 PF3 0x10,    NO,      w0(XYZ),  Part(2);
    vpmovdb          Mr,         V VM,  M38 PF3 0x31,    NO,      w0(XYZ),  Part(4);
    vpmovsdb         Mr,         V VM,  M38 PF3 0x21,    NO,      w0(XYZ),  Part(4);
    vpmovusdb        Mr,         V VM,  M38 PF3 0x11,    NO,      w0(XYZ),  Part(4);
    vpmovdw          Mr,         V VM,  M38 PF3 0x33,    NO,      w0(XYZ),  Part(2);
    vpmovsdw         Mr,         V VM,  M38 PF3 0x23,    NO,      w0(XYZ),  Part(2);
    vpmovusdw        Mr,         V VM,  M38 PF3 0x13,    NO,      w0(XYZ),  Part(2);
    vpmovqd          Mr,         V VM,  M38 PF3 0x35,    NO,      w0(XYZ),  Part(2);
    vpacksswb        Rvm,        V VM,  M0F P66 0x63,    w0(XY),  w0(XYZ),  ALL;
    vpackuswb        Rvm,        V VM,  M0F P66 0x67,    w0(XY),  w0(XYZ),  ALL;
    vpackssdw        Rvm,        V VM,  M0F P66 0x6B,    w0(XY),  w0(XYZ),  Full(4);
    vpackusdw        Rvm,        V VM,  M38 P66 0x2B,    w0(XY),  w0(XYZ),  Full(4);

    // Parts of registers
    vextractf128     Mri,        V VM,  M3A P66 0x19,    w0(Y),   NO,       Fixed(16);
    vextracti128     Mri,        V VM,  M3A P66 0x39,    w0(Y),   NO,       Fixed(16);
    vextractf32x4    Mri,        V VM,  M3A P66 0x19,    NO,      w0(YZ),   Fixed(16);
    vextracti32x4    Mri,        V VM,  M3A P66 0x39,    NO,      w0(YZ),   Fixed(16);
    vextractf32x8    Mri,        V VM,  M3A P66 0x1B,    NO,      w0(Z),    Fixed(32);
    vextracti32x8    Mri,        V VM,  M3A P66 0x3B,    NO,      w0(Z),    Fixed(32);
    vextractf64x4    Mri,        V VM,  M3A P66 0x1B,    NO,      w1(Z),    Fixed(32);
    vextracti64x4    Mri,        V VM,  M3A P66 0x3B,    NO,      w1(Z),    Fixed(32);
    vinsertf128      Rvmi,       V VM,  M3A P66 0x18,    w0(Y),   NO,       Fixed(16);
    vinserti128      Rvmi,       V VM,  M3A P66 0x38,    w0(Y),   NO,       Fixed(16);
    vinsertf32x4     Rvmi,       V VM,  M3A P66 0x18,    NO,      w0(YZ),   Fixed(16);
    vinserti32x4     Rvmi,       V VM,  M3A P66 0x38,    NO,      w0(YZ),   Fixed(16);
    vinsertf32x8     Rvmi,       V VM,  M3A P66 0x1A,    NO,      w0(Z),    Fixed(32);
    vinserti32x8     Rvmi,       V VM,  M3A P66 0x3A,    NO,      w0(Z),    Fixed(32);
    vinsertf64x4     Rvmi,       V VM,  M3A P66 0x1A,    NO,      w1(Z),    Fixed(32);
    vinserti64x4     Rvmi,       V VM,  M3A P66 0x3A,    NO,      w1(Z),    Fixed(32);
    vpextrb          Mri,        V GM,  M3A P66 0x14,    w0(X),   u0(X),    Fixed(1);
    vpextrw          Mri,        V GM,  M3A P66 0x15,    w0(X),   u0(X),    Fixed(2);
    vpextrd          Mri,        V GM,  M3A P66 0x16,    w0(X),   u0(X),    Fixed(4);
    vpextrq          Mri,        V QM,  M3A P66 0x16,    w1(X),   u1(X),    Fixed(8);
    vpinsrb          Rvmi,       V GM,  M3A P66 0x20,    w0(X),   u0(X),    Fixed(1);
    vpinsrw          Rvmi,       V GM,  M0F P66 0xC4,    w0(X),   u0(X),    Fixed(2);
    vpinsrd          Rvmi,       V GM,  M3A P66 0x22,    w0(X),   u0(X),    Fixed(4);
    vpinsrq          Rvmi,       V QM,  M3A P66 0x22,    w1(X),   u1(X),    Fixed(8);

    // Permutations
    vpermps          Rvm,        V VM,  M38 P66 0x16,    w0(Y),   w0(YZ),   Full(4);
    vpermd           Rvm,        V VM,  M38 P66 0x36,    w0(Y),   w0(YZ),   Full(4);
    vpermpd          Rmi,        V VM,  M3A P66 0x01,    w1(Y),   w1(YZ),   Full(8);
    vpermq           Rmi,        V VM,  M3A P66 0x00,    w1(Y),   w1(YZ),   Full(8);
    vpermpd_by       Rvm,        V VM,  M38 P66 0x16,    NO,      w1(YZ),   Full(8);
    vpermq_by        Rvm,        V VM,  M38 P66 0x36,    NO,      w1(YZ),   Full(8);
    vpermb           Rvm,        V VM,  M38 P66 0x8D,    NO,      w0(XYZ),  ALL;
    vpermw           Rvm,        V VM,  M38 P66 0x8D,    NO,      w1(XYZ),  ALL;
    vperm2f128       Rvmi,       V VM,  M3A P66 0x06,    w0(Y),   NO,       ALL;
    vperm2i128       Rvmi,       V VM,  M3A P66 0x46,    w0(Y),   NO,       ALL;
    vpermi2b         Rvm,        V VM,  M38 P66 0x75,    NO,      w0(XYZ),  ALL;
    vpermi2w         Rvm,        V VM,  M38 P66 0x75,    NO,      w1(XYZ),  ALL;
    vpermi2d         Rvm,        V VM,  M38 P66 0x76,    NO,      w0(XYZ),  Full(4);
    vpermi2ps        Rvm,        V VM,  M38 P66 0x77,    NO,      w0(XYZ),  Full(4);
    vpermi2pd        Rvm,        V VM,  M38 P66 0x77,    NO,      w1(XYZ),  Full(8);
    vpermt2b         Rvm,        V VM,  M38 P66 0x7D,    NO,      w0(XYZ),  ALL;
    vpermt2w         Rvm,        V VM,  M38 P66 0x7D,    NO,      w1(XYZ),  ALL;
    vpermt2d         Rvm,        V VM,  M38 P66 0x7E,    NO,      w0(XYZ),  Full(4);
    vpermt2ps        Rvm,        V VM,  M38 P66 0x7F,    NO,      w0(XYZ),  Full(4);
    vpermt2pd        Rvm,        V VM,  M38 P66 0x7F,    NO,      w1(XYZ),  Full(8);
    vpermilps        Rmi,        V VM,  M3A P66 0x04,    w0(XY),  w0(XYZ),  Full(4);
    vpermilps_by     Rvm,        V VM,  M38 P66 0x0C,    w0(XY),  w0(XYZ),  Full(4);
    vpermilpd        Rmi,        V VM,  M3A P66 0x05,    w0(XY),  w1(XYZ),  Full(8);
    vshufps          Rvmi,       V VM,  M0F NP  0xC6,    w0(XY),  w0(XYZ),  Full(4);
    vshufpd          Rvmi,       V VM,  M0F P66 0xC6,    w0(XY),  w1(XYZ),  Full(8);
    vshuff32x4       Rvmi,       V VM,  M3A P66 0x23,    NO,      w0(YZ),   Full(4);
    vshuff64x2       Rvmi,       V VM,  M3A P66 0x23,    NO,      w1(YZ),   Full(8);
    vshufi32x4       Rvmi,       V VM,  M3A P66 0x43,    NO,      w0(YZ),   Full(4);
    vshufi64x2       Rvmi,       V VM,  M3A P66 0x43,    NO,      w1(YZ),   Full(8);
    vunpcklps        Rvm,        V VM,  M0F NP  0x14,    w0(XY),  w0(XYZ),  Full(4);
    vunpckhps        Rvm,        V VM,  M0F NP  0x15,    w0(XY),  w0(XYZ),  Full(4);
    vunpcklpd        Rvm,        V VM,  M0F P66 0x14,    w0(XY),  w1(XYZ),  Full(8);
    vunpckhpd        Rvm,        V VM,  M0F P66 0x15,    w0(XY),  w1(XYZ),  Full(8);
    vpunpcklbw       Rvm,        V VM,  M0F P66 0x60,    w0(XY),  w0(XYZ),  ALL;
    vpunpcklwd       Rvm,        V VM,  M0F P66 0x61,    w0(XY),  w0(XYZ),  ALL;
    vpunpckldq       Rvm,        V VM,  M0F P66 0x62,    w0(XY),  w0(XYZ),  Full(4);
    vpunpcklqdq      Rvm,        V VM,  M0F P66 0x6C,    w0(XY),  w1(XYZ),  Full(8);
    vpunpckhbw       Rvm,        V VM,  M0F P66 0x68,    w0(XY),  w0(XYZ),  ALL;
    vpunpckhwd       Rvm,        V VM,  M0F P66 0x69,    w0(XY),  w0(XYZ),  ALL;
    vpunpckhdq       Rvm,        V VM,  M0F P66 0x6A,    w0(XY),  w0(XYZ),  Full(4);
    vpunpckhqdq      Rvm,        V VM,  M0F P66 0x6D,    w0(XY),  w1(XYZ),  Full(8);
    vmovhlps         Rvm,        V VO,  M0F NP  0x12,    w0(X),   u0(X),    ALL;
    vmovlhps         Rvm,        V VO,  M0F NP  0x16,    w0(X),   u0(X),    ALL;
    vmovshdup        Rm,         V VM,  M0F PF3 0x16,    w0(XY),  w0(XYZ),  ALL;
    vmovsldup        Rm,         V VM,  M0F PF3 0x12,    w0(XY),  w0(XYZ),  ALL;
    vpshufb          Rvm,        V VM,  M38 P66 0x00,    w0(XY),  w0(XYZ),  ALL;
    vpshufd          Rmi,        V VM,  M0F P66 0x70,    w0(XY),  w0(XYZ),  Full(4);
    vpshufhw         Rmi,        V VM,  M0F PF3 0x70,    w0(XY),  w0(XYZ),  ALL;
    vpshuflw         Rmi,        V VM,  M0F PF2 0x70,    w0(XY),  w0(XYZ),  ALL;
    vpalignr         Rvmi,       V VM,  M3A P66 0x0F,    w0(XY),  w0(XYZ),  ALL;
    valignd          Rvmi,       V VM,  M3A P66 0x03,    NO,      w0(XYZ),  Full(4);

    // Arithmetic on f32 and f64
    vaddps           Rvm,        V VM,  M0F NP  0x58,    w0(XY),  w0(XYZ),  Full(4);
    vaddpd           Rvm,        V VM,  M0F P66 0x58,    w0(XY),  w1(XYZ),  Full(8);
    vaddss           Rvm,        V VM,  M0F PF3 0x58,    w0(X),   w0(X),    Fixed(4);
    vaddsd           Rvm,        V VM,  M0F PF2 0x58,    w0(X),   w1(X),    Fixed(8);
    vmulps           Rvm,        V VM,  M0F NP  0x59,    w0(XY),  w0(XYZ),  Full(4);
    vmulpd           Rvm,        V VM,  M0F P66 0x59,    w0(XY),  w1(XYZ),  Full(8);
    vmulss           Rvm,        V VM,  M0F PF3 0x59,    w0(X),   w0(X),    Fixed(4);
    vmulsd           Rvm,        V VM,  M0F PF2 0x59,    w0(X),   w1(X),    Fixed(8);
    vsubps           Rvm,        V VM,  M0F NP  0x5C,    w0(XY),  w0(XYZ),  Full(4);
    vsubpd           Rvm,        V VM,  M0F P66 0x5C,    w0(XY),  w1(XYZ),  Full(8);
    vsubss           Rvm,        V VM,  M0F PF3 0x5C,    w0(X),   w0(X),    Fixed(4);
    vsubsd           Rvm,        V VM,  M0F PF2 0x5C,    w0(X),   w1(X),    Fixed(8);
    vminps           Rvm,        V VM,  M0F NP  0x5D,    w0(XY),  w0(XYZ),  Full(4);
    vminpd           Rvm,        V VM,  M0F P66 0x5D,    w0(XY),  w1(XYZ),  Full(8);
    vminss           Rvm,        V VM,  M0F PF3 0x5D,    w0(X),   w0(X),    Fixed(4);
    vminsd           Rvm,        V VM,  M0F PF2 0x5D,    w0(X),   w1(X),    Fixed(8);
    vdivps           Rvm,        V VM,  M0F NP  0x5E,    w0(XY),  w0(XYZ),  Full(4);
    vdivpd           Rvm,        V VM,  M0F P66 0x5E,    w0(XY),  w1(XYZ),  Full(8);
    vdivss           Rvm,        V VM,  M0F PF3 0x5E,    w0(X),   w0(X),    Fixed(4);
    vdivsd           Rvm,        V VM,  M0F PF2 0x5E,    w0(X),   w1(X),    Fixed(8);
    vmaxps           Rvm,        V VM,  M0F NP  0x5F,    w0(XY),  w0(XYZ),  Full(4);
    vmaxpd           Rvm,        V VM,  M0F P66 0x5F,    w0(XY),  w1(XYZ),  Full(8);
    vmaxss           Rvm,        V VM,  M0F PF3 0x5F,    w0(X),   w0(X),    Fixed(4);
    vmaxsd           Rvm,        V VM,  M0F PF2 0x5F,    w0(X),   w1(X),    Fixed(8);
    vsqrtps          Rm,         V VM,  M0F NP  0x51,    w0(XY),  w0(XYZ),  Full(4);
    vsqrtpd          Rm,         V VM,  M0F P66 0x51,    w0(XY),  w1(XYZ),  Full(8);
    vsqrtss          Rvm,        V VM,  M0F PF3 0x51,    w0(X),   w0(X),    Fixed(4);
    vsqrtsd          Rvm,        V VM,  M0F PF2 0x51,    w0(X),   w1(X),    Fixed(8);
    vscalefps        Rvm,        V VM,  M38 P66 0x2C,    NO,      w0(XYZ),  Full(4);
    vscalefpd        Rvm,        V VM,  M38 P66 0x2C,    NO,      w1(XYZ),  Full(8);
    vandps           Rvm,        V VM,  M0F NP  0x54,    w0(XY),  w0(XYZ),  Full(4);
    vandpd           Rvm,        V VM,  M0F P66 0x54,    w0(XY),  w1(XYZ),  Full(8);
    vandnps          Rvm,        V VM,  M0F NP  0x55,    w0(XY),  w0(XYZ),  Full(4);
    vandnpd          Rvm,        V VM,  M0F P66 0x55,    w0(XY),  w1(XYZ),  Full(8);
    vorps            Rvm,        V VM,  M0F NP  0x56,    w0(XY),  w0(XYZ),  Full(4);
    vorpd            Rvm,        V VM,  M0F P66 0x56,    w0(XY),  w1(XYZ),  Full(8);
    vxorps           Rvm,        V VM,  M0F NP  0x57,    w0(XY),  w0(XYZ),  Full(4);
    vxorpd           Rvm,        V VM,  M0F P66 0x57,    w0(XY),  w1(XYZ),  Full(8);

    // Fused multiply and add. 132: reg = reg * rm + a. 213: reg = a * reg + rm. 231: reg = a * rm + reg.
    vfmadd132ps      Rvm,        V VM,  M38 P66 0x98,    w0(XY),  w0(XYZ),  Full(4);
    vfmadd132pd      Rvm,        V VM,  M38 P66 0x98,    w1(XY),  w1(XYZ),  Full(8);
    vfmadd132ss      Rvm,        V VM,  M38 P66 0x99,    w0(X),   w0(X),    Fixed(4);
    vfmadd132sd      Rvm,        V VM,  M38 P66 0x99,    w1(X),   w1(X),    Fixed(8);
    vfmsub132ps      Rvm,        V VM,  M38 P66 0x9A,    w0(XY),  w0(XYZ),  Full(4);
    vfmsub132pd      Rvm,        V VM,  M38 P66 0x9A,    w1(XY),  w1(XYZ),  Full(8);
    vfnmadd132ps     Rvm,        V VM,  M38 P66 0x9C,    w0(XY),  w0(XYZ),  Full(4);
    vfnmadd132pd     Rvm,        V VM,  M38 P66 0x9C,    w1(XY),  w1(XYZ),  Full(8);
    vfnmsub132ps     Rvm,        V VM,  M38 P66 0x9E,    w0(XY),  w0(XYZ),  Full(4);
    vfmadd213ps      Rvm,        V VM,  M38 P66 0xA8,    w0(XY),  w0(XYZ),  Full(4);
    vfmadd213pd      Rvm,        V VM,  M38 P66 0xA8,    w1(XY),  w1(XYZ),  Full(8);
    vfmadd213ss      Rvm,        V VM,  M38 P66 0xA9,    w0(X),   w0(X),    Fixed(4);
    vfmadd213sd      Rvm,        V VM,  M38 P66 0xA9,    w1(X),   w1(X),    Fixed(8);
    vfmsub213ps      Rvm,        V VM,  M38 P66 0xAA,    w0(XY),  w0(XYZ),  Full(4);
    vfmsub213pd      Rvm,        V VM,  M38 P66 0xAA,    w1(XY),  w1(XYZ),  Full(8);
    vfnmadd213ps     Rvm,        V VM,  M38 P66 0xAC,    w0(XY),  w0(XYZ),  Full(4);
    vfnmadd213pd     Rvm,        V VM,  M38 P66 0xAC,    w1(XY),  w1(XYZ),  Full(8);
    vfnmsub213ps     Rvm,        V VM,  M38 P66 0xAE,    w0(XY),  w0(XYZ),  Full(4);
    vfmadd231ps      Rvm,        V VM,  M38 P66 0xB8,    w0(XY),  w0(XYZ),  Full(4);
    vfmadd231pd      Rvm,        V VM,  M38 P66 0xB8,    w1(XY),  w1(XYZ),  Full(8);
    vfmadd231ss      Rvm,        V VM,  M38 P66 0xB9,    w0(X),   w0(X),    Fixed(4);
    vfmadd231sd      Rvm,        V VM,  M38 P66 0xB9,    w1(X),   w1(X),    Fixed(8);
    vfmsub231ps      Rvm,        V VM,  M38 P66 0xBA,    w0(XY),  w0(XYZ),  Full(4);
    vfmsub231pd      Rvm,        V VM,  M38 P66 0xBA,    w1(XY),  w1(XYZ),  Full(8);
    vfnmadd231ps     Rvm,        V VM,  M38 P66 0xBC,    w0(XY),  w0(XYZ),  Full(4);
    vfnmadd231pd     Rvm,        V VM,  M38 P66 0xBC,    w1(XY),  w1(XYZ),  Full(8);
    vfnmsub231ps     Rvm,        V VM,  M38 P66 0xBE,    w0(XY),  w0(XYZ),  Full(4);

    // Rounding and conversion
    vroundps         Rmi,        V VM,  M3A P66 0x08,    w0(XY),  NO,       ALL;
    vroundpd         Rmi,        V VM,  M3A P66 0x09,    w0(XY),  NO,       ALL;
    vroundss         Rvmi,       V VM,  M3A P66 0x0A,    w0(X),   NO,       Fixed(4);
    vrndscaleps      Rmi,        V VM,  M3A P66 0x08,    NO,      w0(XYZ),  Full(4);
    vrndscalepd      Rmi,        V VM,  M3A P66 0x09,    NO,      w1(XYZ),  Full(8);
    vcvtdq2ps        Rm,         V VM,  M0F NP  0x5B,    w0(XY),  w0(XYZ),  Full(4);
    vcvtps2dq        Rm,         V VM,  M0F P66 0x5B,    w0(XY),  w0(XYZ),  Full(4);
    vcvttps2dq       Rm,         V VM,  M0F PF3 0x5B,    w0(XY),  w0(XYZ),  Full(4);
    vcvtudq2ps       Rm,         V VM,  M0F PF2 0x7A,    NO,      w0(XYZ),  Full(4);
    vcvttps2udq      Rm,         V VM,  M0F NP  0x78,    NO,      w0(XYZ),  Full(4);
    vcvtps2pd        Rm,         V VM,  M0F NP  0x5A,    w0(XY),  w0(XYZ),  Half(4);
    vcvtpd2ps        Rm,         V VM,  M0F P66 0x5A,    w0(XY),  w1(XYZ),  Narrow(8);
    vcvtdq2pd        Rm,         V VM,  M0F PF3 0xE6,    w0(XY),  w0(XYZ),  Half(4);
    vcvtpd2dq        Rm,         V VM,  M0F PF2 0xE6,    w0(XY),  w1(XYZ),  Narrow(8);
    vcvttpd2dq       Rm,         V VM,  M0F P66 0xE6,    w0(XY),  w1(XYZ),  Narrow(8);
    vcvtph2ps        Rm,         V VM,  M38 P66 0x13,    w0(XY),  w0(XYZ),  Part(2);
    vcvtps2ph        Mri,        V VM,  M3A P66 0x1D,    w0(XY),  w0(XYZ),  Part(2);
    vcvtsi2ss        Rvm,        V GM,  M0F PF3 0x2A,    w0(X),   u0(X),    Fixed(4);
    vcvtsi2ss_q      Rvm,        V QM,  M0F PF3 0x2A,    w1(X),   u1(X),    Fixed(8);
    vcvttss2si       Rm,         R32 VM, M0F PF3 0x2C,   w0(X),   u0(X),    Fixed(4);
    vcvttss2si_q     Rm,         R64 VM, M0F PF3 0x2C,   w1(X),   u1(X),    Fixed(4);
    vcvtss2sd        Rvm,        V VM,  M0F PF3 0x5A,    w0(X),   w0(X),    Fixed(4);
    vcvtsd2ss        Rvm,        V VM,  M0F PF2 0x5A,    w0(X),   w1(X),    Fixed(8);

    // Comparison and choice
    vcmpps           Rvmi,       V VM,  M0F NP  0xC2,    w0(XY),  NO,       ALL;
    vcmppd           Rvmi,       V VM,  M0F P66 0xC2,    w0(XY),  NO,       ALL;
    vcmpss           Rvmi,       V VM,  M0F PF3 0xC2,    w0(X),   NO,       Fixed(4);
    vcmpps_k         Rvmi,       K VM,  M0F NP  0xC2,    NO,      w0(XYZ),  Full(4);
    vcmppd_k         Rvmi,       K VM,  M0F P66 0xC2,    NO,      w1(XYZ),  Full(8);
    vcmpss_k         Rvmi,       K VM,  M0F PF3 0xC2,    NO,      w0(X),    Fixed(4);
    vblendps         Rvmi,       V VM,  M3A P66 0x0C,    w0(XY),  NO,       ALL;
    vblendvps        Rvmr,       V VM,  M3A P66 0x4A,    w0(XY),  NO,       ALL;
    vblendvpd        Rvmr,       V VM,  M3A P66 0x4B,    w0(XY),  NO,       ALL;
    vpblendvb        Rvmr,       V VM,  M3A P66 0x4C,    w0(XY),  NO,       ALL;
    vblendmps        Rvm,        V VM,  M38 P66 0x65,    NO,      w0(XYZ),  Full(4);
    vblendmpd        Rvm,        V VM,  M38 P66 0x65,    NO,      w1(XYZ),  Full(8);
    vpblendmb        Rvm,        V VM,  M38 P66 0x66,    NO,      w0(XYZ),  ALL;
    vpblendmw        Rvm,        V VM,  M38 P66 0x66,    NO,      w1(XYZ),  ALL;
    vpblendmd        Rvm,        V VM,  M38 P66 0x64,    NO,      w0(XYZ),  Full(4);
    vpblendmq        Rvm,        V VM,  M38 P66 0x64,    NO,      w1(XYZ),  Full(8);
    vptest           Rm,         V VM,  M38 P66 0x17,    w0(XY),  NO,       ALL;
    vmovmskps        Rm,         R32 VO, M0F NP 0x50,    w0(XY),  NO,       ALL;
    vpmovmskb        Rm,         R32 VO, M0F P66 0xD7,   w0(XY),  NO,       ALL;

    // Integer arithmetic
    vpaddb           Rvm,        V VM,  M0F P66 0xFC,    w0(XY),  w0(XYZ),  ALL;
    vpaddw           Rvm,        V VM,  M0F P66 0xFD,    w0(XY),  w0(XYZ),  ALL;
    vpaddd           Rvm,        V VM,  M0F P66 0xFE,    w0(XY),  w0(XYZ),  Full(4);
    vpaddq           Rvm,        V VM,  M0F P66 0xD4,    w0(XY),  w1(XYZ),  Full(8);
    vpaddsb          Rvm,        V VM,  M0F P66 0xEC,    w0(XY),  w0(XYZ),  ALL;
    vpaddsw          Rvm,        V VM,  M0F P66 0xED,    w0(XY),  w0(XYZ),  ALL;
    vpaddusb         Rvm,        V VM,  M0F P66 0xDC,    w0(XY),  w0(XYZ),  ALL;
    vpaddusw         Rvm,        V VM,  M0F P66 0xDD,    w0(XY),  w0(XYZ),  ALL;
    vpsubb           Rvm,        V VM,  M0F P66 0xF8,    w0(XY),  w0(XYZ),  ALL;
    vpsubw           Rvm,        V VM,  M0F P66 0xF9,    w0(XY),  w0(XYZ),  ALL;
    vpsubd           Rvm,        V VM,  M0F P66 0xFA,    w0(XY),  w0(XYZ),  Full(4);
    vpsubq           Rvm,        V VM,  M0F P66 0xFB,    w0(XY),  w1(XYZ),  Full(8);
    vpsubsb          Rvm,        V VM,  M0F P66 0xE8,    w0(XY),  w0(XYZ),  ALL;
    vpsubsw          Rvm,        V VM,  M0F P66 0xE9,    w0(XY),  w0(XYZ),  ALL;
    vpsubusb         Rvm,        V VM,  M0F P66 0xD8,    w0(XY),  w0(XYZ),  ALL;
    vpsubusw         Rvm,        V VM,  M0F P66 0xD9,    w0(XY),  w0(XYZ),  ALL;
    vpmullw          Rvm,        V VM,  M0F P66 0xD5,    w0(XY),  w0(XYZ),  ALL;
    vpmulhw          Rvm,        V VM,  M0F P66 0xE5,    w0(XY),  w0(XYZ),  ALL;
    vpmulhuw         Rvm,        V VM,  M0F P66 0xE4,    w0(XY),  w0(XYZ),  ALL;
    vpmulhrsw        Rvm,        V VM,  M38 P66 0x0B,    w0(XY),  w0(XYZ),  ALL;
    vpmulld          Rvm,        V VM,  M38 P66 0x40,    w0(XY),  w0(XYZ),  Full(4);
    vpmullq          Rvm,        V VM,  M38 P66 0x40,    NO,      w1(XYZ),  Full(8);
    vpmuludq         Rvm,        V VM,  M0F P66 0xF4,    w0(XY),  w1(XYZ),  Full(8);
    vpmuldq          Rvm,        V VM,  M38 P66 0x28,    w0(XY),  w1(XYZ),  Full(8);
    vpmaddwd         Rvm,        V VM,  M0F P66 0xF5,    w0(XY),  w0(XYZ),  ALL;
    vpmaddubsw       Rvm,        V VM,  M38 P66 0x04,    w0(XY),  w0(XYZ),  ALL;
    vpsadbw          Rvm,        V VM,  M0F P66 0xF6,    w0(XY),  u0(XYZ),  ALL;
    vpminsb          Rvm,        V VM,  M38 P66 0x38,    w0(XY),  w0(XYZ),  ALL;
    vpminsw          Rvm,        V VM,  M0F P66 0xEA,    w0(XY),  w0(XYZ),  ALL;
    vpminsd          Rvm,        V VM,  M38 P66 0x39,    w0(XY),  w0(XYZ),  Full(4);
    vpminsq          Rvm,        V VM,  M38 P66 0x39,    NO,      w1(XYZ),  Full(8);
    vpminub          Rvm,        V VM,  M0F P66 0xDA,    w0(XY),  w0(XYZ),  ALL;
    vpminuw          Rvm,        V VM,  M38 P66 0x3A,    w0(XY),  w0(XYZ),  ALL;
    vpminud          Rvm,        V VM,  M38 P66 0x3B,    w0(XY),  w0(XYZ),  Full(4);
    vpminuq          Rvm,        V VM,  M38 P66 0x3B,    NO,      w1(XYZ),  Full(8);
    vpmaxsb          Rvm,        V VM,  M38 P66 0x3C,    w0(XY),  w0(XYZ),  ALL;
    vpmaxsw          Rvm,        V VM,  M0F P66 0xEE,    w0(XY),  w0(XYZ),  ALL;
    vpmaxsd          Rvm,        V VM,  M38 P66 0x3D,    w0(XY),  w0(XYZ),  Full(4);
    vpmaxsq          Rvm,        V VM,  M38 P66 0x3D,    NO,      w1(XYZ),  Full(8);
    vpmaxub          Rvm,        V VM,  M0F P66 0xDE,    w0(XY),  w0(XYZ),  ALL;
    vpmaxuw          Rvm,        V VM,  M38 P66 0x3E,    w0(XY),  w0(XYZ),  ALL;
    vpmaxud          Rvm,        V VM,  M38 P66 0x3F,    w0(XY),  w0(XYZ),  Full(4);
    vpmaxuq          Rvm,        V VM,  M38 P66 0x3F,    NO,      w1(XYZ),  Full(8);
    vpabsb           Rm,         V VM,  M38 P66 0x1C,    w0(XY),  w0(XYZ),  ALL;
    vpabsw           Rm,         V VM,  M38 P66 0x1D,    w0(XY),  w0(XYZ),  ALL;
    vpabsd           Rm,         V VM,  M38 P66 0x1E,    w0(XY),  w0(XYZ),  Full(4);
    vpabsq           Rm,         V VM,  M38 P66 0x1F,    NO,      w1(XYZ),  Full(8);
    vpsignd          Rvm,        V VM,  M38 P66 0x0A,    w0(XY),  NO,       ALL;

    // Dot products of bytes and words: AVX512_VNNI. The VEX twins belong to another extension and are not used.
    vpdpbusd         Rvm,        V VM,  M38 P66 0x50,    NO,      w0(XYZ),  Full(4);
    vpdpbusds        Rvm,        V VM,  M38 P66 0x51,    NO,      w0(XYZ),  Full(4);
    vpdpwssd         Rvm,        V VM,  M38 P66 0x52,    NO,      w0(XYZ),  Full(4);
    vpdpwssds        Rvm,        V VM,  M38 P66 0x53,    NO,      w0(XYZ),  Full(4);

    // Integer logic
    vpand            Rvm,        V VM,  M0F P66 0xDB,    w0(XY),  NO,       ALL;
    vpandn           Rvm,        V VM,  M0F P66 0xDF,    w0(XY),  NO,       ALL;
    vpor             Rvm,        V VM,  M0F P66 0xEB,    w0(XY),  NO,       ALL;
    vpxor            Rvm,        V VM,  M0F P66 0xEF,    w0(XY),  NO,       ALL;
    vpandd           Rvm,        V VM,  M0F P66 0xDB,    NO,      w0(XYZ),  Full(4);
    vpandnd          Rvm,        V VM,  M0F P66 0xDF,    NO,      w0(XYZ),  Full(4);
    vpord            Rvm,        V VM,  M0F P66 0xEB,    NO,      w0(XYZ),  Full(4);
    vpxord           Rvm,        V VM,  M0F P66 0xEF,    NO,      w0(XYZ),  Full(4);
    vpandq           Rvm,        V VM,  M0F P66 0xDB,    NO,      w1(XYZ),  Full(8);
    vpandnq          Rvm,        V VM,  M0F P66 0xDF,    NO,      w1(XYZ),  Full(8);
    vporq            Rvm,        V VM,  M0F P66 0xEB,    NO,      w1(XYZ),  Full(8);
    vpxorq           Rvm,        V VM,  M0F P66 0xEF,    NO,      w1(XYZ),  Full(8);
    vpternlogd       Rvmi,       V VM,  M3A P66 0x25,    NO,      w0(XYZ),  Full(4);
    vpternlogq       Rvmi,       V VM,  M3A P66 0x25,    NO,      w1(XYZ),  Full(8);

    // Shifts
    vpsllw           Vmi(6),     V VM,  M0F P66 0x71,    w0(XY),  w0(XYZ),  ALL;
    vpsrlw           Vmi(2),     V VM,  M0F P66 0x71,    w0(XY),  w0(XYZ),  ALL;
    vpsraw           Vmi(4),     V VM,  M0F P66 0x71,    w0(XY),  w0(XYZ),  ALL;
    vpslld           Vmi(6),     V VM,  M0F P66 0x72,    w0(XY),  w0(XYZ),  Full(4);
    vpsrld           Vmi(2),     V VM,  M0F P66 0x72,    w0(XY),  w0(XYZ),  Full(4);
    vpsrad           Vmi(4),     V VM,  M0F P66 0x72,    w0(XY),  w0(XYZ),  Full(4);
    vpsllq           Vmi(6),     V VM,  M0F P66 0x73,    w0(XY),  w1(XYZ),  Full(8);
    vpsrlq           Vmi(2),     V VM,  M0F P66 0x73,    w0(XY),  w1(XYZ),  Full(8);
    vpsraq           Vmi(4),     V VM,  M0F P66 0x72,    NO,      w1(XYZ),  Full(8);
    vpslldq          Vmi(7),     V VM,  M0F P66 0x73,    w0(XY),  u0(XYZ),  ALL;
    vpsrldq          Vmi(3),     V VM,  M0F P66 0x73,    w0(XY),  u0(XYZ),  ALL;
    vpsllvw          Rvm,        V VM,  M38 P66 0x12,    NO,      w1(XYZ),  ALL;
    vpsrlvw          Rvm,        V VM,  M38 P66 0x10,    NO,      w1(XYZ),  ALL;
    vpsravw          Rvm,        V VM,  M38 P66 0x11,    NO,      w1(XYZ),  ALL;
    vpsllvd          Rvm,        V VM,  M38 P66 0x47,    w0(XY),  w0(XYZ),  Full(4);
    vpsrlvd          Rvm,        V VM,  M38 P66 0x45,    w0(XY),  w0(XYZ),  Full(4);
    vpsravd          Rvm,        V VM,  M38 P66 0x46,    w0(XY),  w0(XYZ),  Full(4);
    vpsllvq          Rvm,        V VM,  M38 P66 0x47,    w1(XY),  w1(XYZ),  Full(8);
    vpsrlvq          Rvm,        V VM,  M38 P66 0x45,    w1(XY),  w1(XYZ),  Full(8);
    vpsravq          Rvm,        V VM,  M38 P66 0x46,    NO,      w1(XYZ),  Full(8);

    // Integer comparison
    vpcmpeqb         Rvm,        V VM,  M0F P66 0x74,    w0(XY),  NO,       ALL;
    vpcmpeqw         Rvm,        V VM,  M0F P66 0x75,    w0(XY),  NO,       ALL;
    vpcmpeqd         Rvm,        V VM,  M0F P66 0x76,    w0(XY),  NO,       ALL;
    vpcmpeqq         Rvm,        V VM,  M38 P66 0x29,    w0(XY),  NO,       ALL;
    vpcmpgtb         Rvm,        V VM,  M0F P66 0x64,    w0(XY),  NO,       ALL;
    vpcmpgtw         Rvm,        V VM,  M0F P66 0x65,    w0(XY),  NO,       ALL;
    vpcmpgtd         Rvm,        V VM,  M0F P66 0x66,    w0(XY),  NO,       ALL;
    vpcmpgtq         Rvm,        V VM,  M38 P66 0x37,    w0(XY),  NO,       ALL;
    vpcmpeqb_k       Rvm,        K VM,  M0F P66 0x74,    NO,      w0(XYZ),  ALL;
    vpcmpeqw_k       Rvm,        K VM,  M0F P66 0x75,    NO,      w0(XYZ),  ALL;
    vpcmpeqd_k       Rvm,        K VM,  M0F P66 0x76,    NO,      w0(XYZ),  Full(4);
    vpcmpeqq_k       Rvm,        K VM,  M38 P66 0x29,    NO,      w1(XYZ),  Full(8);
    vpcmpgtb_k       Rvm,        K VM,  M0F P66 0x64,    NO,      w0(XYZ),  ALL;
    vpcmpgtw_k       Rvm,        K VM,  M0F P66 0x65,    NO,      w0(XYZ),  ALL;
    vpcmpgtd_k       Rvm,        K VM,  M0F P66 0x66,    NO,      w0(XYZ),  Full(4);
    vpcmpgtq_k       Rvm,        K VM,  M38 P66 0x37,    NO,      w1(XYZ),  Full(8);
    vpcmpb           Rvmi,       K VM,  M3A P66 0x3F,    NO,      w0(XYZ),  ALL;
    vpcmpub          Rvmi,       K VM,  M3A P66 0x3E,    NO,      w0(XYZ),  ALL;
    vpcmpw           Rvmi,       K VM,  M3A P66 0x3F,    NO,      w1(XYZ),  ALL;
    vpcmpuw          Rvmi,       K VM,  M3A P66 0x3E,    NO,      w1(XYZ),  ALL;
    vpcmpd           Rvmi,       K VM,  M3A P66 0x1F,    NO,      w0(XYZ),  Full(4);
    vpcmpud          Rvmi,       K VM,  M3A P66 0x1E,    NO,      w0(XYZ),  Full(4);
    vpcmpq           Rvmi,       K VM,  M3A P66 0x1F,    NO,      w1(XYZ),  Full(8);
    vpcmpuq          Rvmi,       K VM,  M3A P66 0x1E,    NO,      w1(XYZ),  Full(8);
    vptestmd         Rvm,        K VM,  M38 P66 0x27,    NO,      w0(XYZ),  Full(4);

    // Masks
    vpmovm2b         Rm,         V KO,  M38 PF3 0x28,    NO,      u0(XYZ),  ALL;
    vpmovm2w         Rm,         V KO,  M38 PF3 0x28,    NO,      u1(XYZ),  ALL;
    vpmovm2d         Rm,         V KO,  M38 PF3 0x38,    NO,      u0(XYZ),  ALL;
    vpmovm2q         Rm,         V KO,  M38 PF3 0x38,    NO,      u1(XYZ),  ALL;
    vpmovb2m         Rm,         K VO,  M38 PF3 0x29,    NO,      u0(XYZ),  ALL;
    vpmovw2m         Rm,         K VO,  M38 PF3 0x29,    NO,      u1(XYZ),  ALL;
    vpmovd2m         Rm,         K VO,  M38 PF3 0x39,    NO,      u0(XYZ),  ALL;
    vpmovq2m         Rm,         K VO,  M38 PF3 0x39,    NO,      u1(XYZ),  ALL;
    kmovw            Rm,         K GO,  M0F NP  0x92,    w0(X),   NO,       Fixed(2);
    kmovd            Rm,         K GO,  M0F PF2 0x92,    w0(X),   NO,       Fixed(4);
    kmovq            Rm,         K QO,  M0F PF2 0x92,    w1(X),   NO,       Fixed(8);
    kmovw_get        Rm,         R32 KO, M0F NP 0x93,    w0(X),   NO,       Fixed(2);
    kmovd_get        Rm,         R32 KO, M0F PF2 0x93,   w0(X),   NO,       Fixed(4);
    kmovq_get        Rm,         R64 KO, M0F PF2 0x93,   w1(X),   NO,       Fixed(8);
    kmovw_load       Rm,         K MO,  M0F NP  0x90,    w0(X),   NO,       Fixed(2);
    kmovq_load       Rm,         K MO,  M0F NP  0x90,    w1(X),   NO,       Fixed(8);
    kandw            Rvm,        K KO,  M0F NP  0x41,    w0(Y),   NO,       ALL;
    kandnw           Rvm,        K KO,  M0F NP  0x42,    w0(Y),   NO,       ALL;
    korw             Rvm,        K KO,  M0F NP  0x45,    w0(Y),   NO,       ALL;
    kxnorw           Rvm,        K KO,  M0F NP  0x46,    w0(Y),   NO,       ALL;
    kxorw            Rvm,        K KO,  M0F NP  0x47,    w0(Y),   NO,       ALL;
    kandq            Rvm,        K KO,  M0F NP  0x41,    w1(Y),   NO,       ALL;
    korq             Rvm,        K KO,  M0F NP  0x45,    w1(Y),   NO,       ALL;
    kxorq            Rvm,        K KO,  M0F NP  0x47,    w1(Y),   NO,       ALL;
    knotw            Rm,         K KO,  M0F NP  0x44,    w0(X),   NO,       ALL;
    knotq            Rm,         K KO,  M0F NP  0x44,    w1(X),   NO,       ALL;
    kortestw         Rm,         K KO,  M0F NP  0x98,    w0(X),   NO,       ALL;
}
