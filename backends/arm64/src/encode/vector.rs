//! Instructions on vectors: a row each, and one function per arrangement of operands. Lanes are four of 32 bits, or sixteen of a
//! byte where that makes no difference; a row says where they are others.

use super::{Assembler, Gpr, Vector, Width};

/// `op to, a, b`.
#[derive(Clone, Copy, Debug)]
pub struct Three {
    pub name: &'static str,
    /// What the lanes of `to`, and of `a` and `b`, are called.
    pub lanes: [&'static str; 2],
    bits: u32,
}

/// `op to, a`, some with a zero behind it.
#[derive(Clone, Copy, Debug)]
pub struct Two {
    pub name: &'static str,
    /// What the lanes of `to`, and of `a`, are called.
    pub lanes: [&'static str; 2],
    /// What follows the operands in its text.
    pub tail: &'static str,
    bits: u32,
}

/// `op to, a, b[lane]`.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    pub name: &'static str,
    /// What the lanes of `to`, `a` and `b` are called.
    pub lanes: [&'static str; 3],
    bits: u32,
}

/// `op to, a, #by`: 0 to 31 to the left, 1 to 32 to the right.
#[derive(Clone, Copy, Debug)]
pub struct Shift {
    pub name: &'static str,
    left: bool,
    bits: u32,
}

const S: [&str; 2] = ["4s", "4s"];
const D: [&str; 2] = ["2d", "2d"];
const H: [&str; 2] = ["8h", "8h"];
const B: [&str; 2] = ["16b", "16b"];
/// Lanes of twice the bits: from the low half of a vector, or from the high one.
const B_TO_H: [&str; 2] = ["8h", "8b"];
const B_TO_H_HIGH: [&str; 2] = ["8h", "16b"];
const H_TO_S: [&str; 2] = ["4s", "4h"];
const H_TO_S_HIGH: [&str; 2] = ["4s", "8h"];
/// Lanes of half the bits: to the low half of a vector, whose other half becomes 0, or to the high one, whose other half stays.
const H_TO_B: [&str; 2] = ["8b", "8h"];
const H_TO_B_HIGH: [&str; 2] = ["16b", "8h"];
const S_TO_H: [&str; 2] = ["4h", "4s"];
const S_TO_H_HIGH: [&str; 2] = ["8h", "4s"];
/// A lane for each two.
const B_SUMS: [&str; 2] = ["8h", "16b"];
const H_SUMS: [&str; 2] = ["4s", "8h"];
const BYTES: [&str; 2] = ["4s", "16b"];
const OF_BYTES: [&str; 3] = ["4s", "16b", "4b"];
const OF_S: [&str; 3] = ["4s", "4s", "s"];

macro_rules! table {
    ($all:ident: $kind:ident { $($name:ident $row:tt)* }) => {
        $(pub const $name: $kind = table!($kind $row);)*
        /// All of them.
        pub const $all: &[$kind] = &[$($name),*];
    };
    (Three ($bits:literal $text:literal $lanes:ident)) => { Three { name: $text, lanes: $lanes, bits: $bits } };
    (Two ($bits:literal $text:literal $lanes:ident)) => { Two { name: $text, lanes: $lanes, tail: "", bits: $bits } };
    (Two ($bits:literal $text:literal $lanes:ident $tail:literal)) => { Two { name: $text, lanes: $lanes, tail: $tail, bits: $bits } };
    (Element ($bits:literal $text:literal $lanes:expr)) => { Element { name: $text, lanes: $lanes, bits: $bits } };
    (Shift ($bits:literal $text:literal $left:literal)) => { Shift { name: $text, left: $left, bits: $bits } };
}

table!(THREE: Three {
    FADD (0x4E20_D400 "fadd" S)
    FSUB (0x4EA0_D400 "fsub" S)
    FMUL (0x6E20_DC00 "fmul" S)
    FDIV (0x6E20_FC00 "fdiv" S)
    FMAX (0x4E20_F400 "fmax" S)
    FMIN (0x4EA0_F400 "fmin" S)
    // to = a * b + to, rounded once; FMLS subtracts the product
    FMLA (0x4E20_CC00 "fmla" S)
    FMLS (0x4EA0_CC00 "fmls" S)
    // pairs of a, then pairs of b
    FADDP (0x6E20_D400 "faddp" S)
    FMAXP (0x6E20_F400 "fmaxp" S)
    FMINP (0x6EA0_F400 "fminp" S)
    // all bits of a lane, or none
    FCMEQ (0x4E20_E400 "fcmeq" S)
    FCMGE (0x6E20_E400 "fcmge" S)
    FCMGT (0x6EA0_E400 "fcmgt" S)
    CMEQ (0x6EA0_8C00 "cmeq" S)
    CMGT (0x4EA0_3400 "cmgt" S)
    ADD (0x4EA0_8400 "add" S)
    ADD16 (0x4E60_8400 "add" H)
    SUB (0x6EA0_8400 "sub" S)
    MUL (0x4EA0_9C00 "mul" S)
    SMAX (0x4EA0_6400 "smax" S)
    SMIN (0x4EA0_6C00 "smin" S)
    AND (0x4E20_1C00 "and" B)
    // a & !b
    BIC (0x4E60_1C00 "bic" B)
    ORR (0x4EA0_1C00 "orr" B)
    EOR (0x6E20_1C00 "eor" B)
    // to = to ? a : b, bit by bit; BIT takes a where b is set, BIF where it is not
    BSL (0x6E60_1C00 "bsl" B)
    BIT (0x6EA0_1C00 "bit" B)
    BIF (0x6EE0_1C00 "bif" B)
    // a's even lanes, then b's; the odd ones; lanes in turns; the same of the upper halves; even lanes in turns; odd ones
    UZP1 (0x4E80_1800 "uzp1" S)
    UZP2 (0x4E80_5800 "uzp2" S)
    ZIP1 (0x4E80_3800 "zip1" S)
    ZIP2 (0x4E80_7800 "zip2" S)
    TRN1 (0x4E80_2800 "trn1" S)
    TRN2 (0x4E80_6800 "trn2" S)
    ZIP1_D (0x4EC0_3800 "zip1" D)
    ZIP2_D (0x4EC0_7800 "zip2" D)
    ZIP1_B (0x4E00_3800 "zip1" B)
    ZIP2_B (0x4E00_7800 "zip2" B)
    ZIP1_H (0x4E40_3800 "zip1" H)
    ZIP2_H (0x4E40_7800 "zip2" H)
    ADDP (0x4EA0_BC00 "addp" S)
    SUB_H (0x6E60_8400 "sub" H)
    MUL_H (0x4E60_9C00 "mul" H)
    ADD_B (0x4E20_8400 "add" B)
    SUB_B (0x6E20_8400 "sub" B)
    SMAX_B (0x4E20_6400 "smax" B)
    SMIN_B (0x4E20_6C00 "smin" B)
    UMAX_B (0x6E20_6400 "umax" B)
    UMIN_B (0x6E20_6C00 "umin" B)
    // products of bytes, of 16 bits each, to = a * b or to + a * b
    SMULL (0x0E20_C000 "smull" B_TO_H)
    SMULL_HIGH (0x4E20_C000 "smull2" B_TO_H_HIGH)
    SMLAL (0x0E20_8000 "smlal" B_TO_H)
    SMLAL_HIGH (0x4E20_8000 "smlal2" B_TO_H_HIGH)
    UMULL (0x2E20_C000 "umull" B_TO_H)
    UMULL_HIGH (0x6E20_C000 "umull2" B_TO_H_HIGH)
    // of 16 bits, of 32 each
    SMULL_H (0x0E60_C000 "smull" H_TO_S)
    SMULL_H_HIGH (0x4E60_C000 "smull2" H_TO_S_HIGH)
    SMLAL_H (0x0E60_8000 "smlal" H_TO_S)
    SMLAL_H_HIGH (0x4E60_8000 "smlal2" H_TO_S_HIGH)
    // +dotprod
    SDOT (0x4E80_9400 "sdot" BYTES)
    UDOT (0x6E80_9400 "udot" BYTES)
    // +i8mm
    USDOT (0x4E80_9C00 "usdot" BYTES)
    SMMLA (0x4E80_A400 "smmla" BYTES)
    USMMLA (0x4E80_AC00 "usmmla" BYTES)
});

table!(TWO: Two {
    FABS (0x4EA0_F800 "fabs" S)
    FNEG (0x6EA0_F800 "fneg" S)
    FSQRT (0x6EA1_F800 "fsqrt" S)
    FRINTN (0x4E21_8800 "frintn" S)
    FRINTM (0x4E21_9800 "frintm" S)
    FRINTP (0x4EA1_8800 "frintp" S)
    FRINTZ (0x4EA1_9800 "frintz" S)
    FCVTZS (0x4EA1_B800 "fcvtzs" S)
    SCVTF (0x4E21_D800 "scvtf" S)
    FCMEQ_ZERO (0x4EA0_D800 "fcmeq" S ", #0.0")
    FCMLT_ZERO (0x4EA0_E800 "fcmlt" S ", #0.0")
    FCMLE_ZERO (0x6EA0_D800 "fcmle" S ", #0.0")
    CMEQ_ZERO (0x4EA0_9800 "cmeq" S ", #0")
    CMLT_ZERO (0x4EA0_A800 "cmlt" S ", #0")
    // a longer lane for each
    SXTL (0x0F08_A400 "sshll" B_TO_H ", #0")
    SXTL_HIGH (0x4F08_A400 "sshll2" B_TO_H_HIGH ", #0")
    SXTL_H (0x0F10_A400 "sshll" H_TO_S ", #0")
    SXTL_H_HIGH (0x4F10_A400 "sshll2" H_TO_S_HIGH ", #0")
    UXTL (0x2F08_A400 "ushll" B_TO_H ", #0")
    UXTL_HIGH (0x6F08_A400 "ushll2" B_TO_H_HIGH ", #0")
    UXTL_H (0x2F10_A400 "ushll" H_TO_S ", #0")
    UXTL_H_HIGH (0x6F10_A400 "ushll2" H_TO_S_HIGH ", #0")
    // a shorter lane for each: its low bits; what is nearest, signed; what is nearest of a signed one, unsigned
    XTN (0x0E21_2800 "xtn" H_TO_B)
    XTN_HIGH (0x4E21_2800 "xtn2" H_TO_B_HIGH)
    XTN_S (0x0E61_2800 "xtn" S_TO_H)
    XTN_S_HIGH (0x4E61_2800 "xtn2" S_TO_H_HIGH)
    SQXTN (0x0E21_4800 "sqxtn" H_TO_B)
    SQXTN_HIGH (0x4E21_4800 "sqxtn2" H_TO_B_HIGH)
    SQXTN_S (0x0E61_4800 "sqxtn" S_TO_H)
    SQXTN_S_HIGH (0x4E61_4800 "sqxtn2" S_TO_H_HIGH)
    SQXTUN (0x2E21_2800 "sqxtun" H_TO_B)
    SQXTUN_HIGH (0x6E21_2800 "sqxtun2" H_TO_B_HIGH)
    SQXTUN_S (0x2E61_2800 "sqxtun" S_TO_H)
    SQXTUN_S_HIGH (0x6E61_2800 "sqxtun2" S_TO_H_HIGH)
    // sums of neighbours; those with AD are added to what is there
    SADDLP (0x4E20_2800 "saddlp" B_SUMS)
    UADDLP (0x6E20_2800 "uaddlp" B_SUMS)
    SADDLP_H (0x4E60_2800 "saddlp" H_SUMS)
    UADDLP_H (0x6E60_2800 "uaddlp" H_SUMS)
    SADALP_H (0x4E60_6800 "sadalp" H_SUMS)
    UADALP_H (0x6E60_6800 "uadalp" H_SUMS)
});

table!(ELEMENT: Element {
    FMLA_BY (0x4F80_1000 "fmla" OF_S)
    FMLS_BY (0x4F80_5000 "fmls" OF_S)
    FMUL_BY (0x4F80_9000 "fmul" OF_S)
    // +dotprod
    SDOT_BY (0x4F80_E000 "sdot" OF_BYTES)
    UDOT_BY (0x6F80_E000 "udot" OF_BYTES)
    // +i8mm: the element has the other sign
    SUDOT_BY (0x4F00_F000 "sudot" OF_BYTES)
    USDOT_BY (0x4F80_F000 "usdot" OF_BYTES)
});

table!(SHIFT: Shift {
    SHL (0x4F00_5400 "shl" true)
    SSHR (0x4F00_0400 "sshr" false)
    USHR (0x6F00_0400 "ushr" false)
});

impl Assembler {
    pub fn three(&mut self, form: Three, to: Vector, a: Vector, b: Vector) {
        self.word(form.bits | b.bits() << 16 | a.bits() << 5 | to.bits());
    }

    pub fn two(&mut self, form: Two, to: Vector, a: Vector) {
        self.word(form.bits | a.bits() << 5 | to.bits());
    }

    /// Fault: panics on a lane above 3.
    pub fn by_element(&mut self, form: Element, to: Vector, a: Vector, b: Vector, lane: u8) {
        let lane = lane_bits(lane);
        self.word(form.bits | (lane & 1) << 21 | b.bits() << 16 | (lane >> 1) << 11 | a.bits() << 5 | to.bits());
    }

    /// Fault: panics on a count that the form has not.
    pub fn shift(&mut self, form: Shift, to: Vector, a: Vector, by: u8) {
        let field = match form.left {
            true => 32 + u32::from(by),
            false => 64 - u32::from(by),
        };
        assert!((32..64).contains(&field), "{} by {by}", form.name);
        self.word(form.bits | field << 16 | a.bits() << 5 | to.bits());
    }

    pub fn copy_vector(&mut self, to: Vector, from: Vector) {
        self.three(ORR, to, from, from);
    }

    /// One lane of 32 bits in all. Fault: panics on a lane above 3.
    pub fn duplicate(&mut self, to: Vector, from: Vector, lane: u8) {
        self.duplicate_of(Width::S, to, from, lane);
    }

    /// One lane in all. Fault: panics on a lane that there is not.
    pub fn duplicate_of(&mut self, width: Width, to: Vector, from: Vector, lane: u8) {
        assert!(lane < width.lanes(), "a vector has {} such lanes", width.lanes());
        let bytes = u32::from(width.bytes());
        self.word(0x4E00_0400 | ((u32::from(lane) * 2 + 1) * bytes) << 16 | from.bits() << 5 | to.bits());
    }

    /// Bytes of `a`, those that the bytes of `which` count; 0 where they count beyond 15.
    pub fn table(&mut self, to: Vector, a: Vector, which: Vector) {
        self.word(0x4E00_0000 | which.bits() << 16 | a.bits() << 5 | to.bits());
    }

    /// The low 32 bits of a general register in all lanes.
    pub fn duplicate_general(&mut self, to: Vector, from: Gpr) {
        self.word(0x4E04_0C00 | from.value() << 5 | to.bits());
    }

    /// Bytes `from` to 15 of `a`, then those of `b` up to sixteen. Fault: panics when `from` is above 15.
    pub fn extract(&mut self, to: Vector, a: Vector, b: Vector, from: u8) {
        assert!(from < 16, "a vector has sixteen bytes");
        self.word(0x6E00_0000 | b.bits() << 16 | u32::from(from) << 11 | a.bits() << 5 | to.bits());
    }

    /// `bits` in every lane, in one instruction; false where none can say it.
    pub fn set(&mut self, to: Vector, bits: u32) -> bool {
        let fields = immediate(bits);
        if let Some((op, cmode, byte)) = fields {
            let byte = u32::from(byte);
            self.word(0x4F00_0400 | op << 29 | (byte >> 5) << 16 | cmode << 12 | (byte & 31) << 5 | to.bits());
        }
        fields.is_some()
    }
}

fn lane_bits(lane: u8) -> u32 {
    assert!(lane < 4, "a vector has four lanes");
    u32::from(lane)
}

/// The fields `op`, `cmode` and the byte of the instruction that sets every 32-bit lane to `bits`.
fn immediate(bits: u32) -> Option<(u32, u32, u8)> {
    const FLOAT: u32 = 0b1111;
    if bits == 0 {
        // the way that processors know to depend on nothing
        return Some((1, 0b1110, 0));
    }
    for (op, value) in [(0, bits), (1, !bits)] {
        for byte in 0..4 {
            if value & !(0xFF << (8 * byte)) == 0 {
                return Some((op, 2 * byte, (value >> (8 * byte)) as u8));
            }
        }
        // ones follow the byte
        if value & 0xFFFF_00FF == 0xFF {
            return Some((op, 0b1100, (value >> 8) as u8));
        }
        if value & 0xFF00_FFFF == 0xFFFF {
            return Some((op, 0b1101, (value >> 16) as u8));
        }
        if value >> 16 == value & 0xFFFF {
            if value & 0xFF00 == 0 {
                return Some((op, 0b1000, value as u8));
            }
            if value & 0xFF == 0 {
                return Some((op, 0b1010, (value >> 8) as u8));
            }
        }
    }
    if bits == (bits & 0xFF) * 0x0101_0101 {
        return Some((0, 0b1110, bits as u8));
    }
    // a float of four bits behind the point and an exponent of -3 to 4
    let exponent = bits >> 25 & 0x3F;
    if bits & 0x7_FFFF == 0 && (exponent == 0b10_0000 || exponent == 0b01_1111) {
        return Some((0, FLOAT, (bits >> 31 << 7 | bits >> 19 & 0x7F) as u8));
    }
    None
}
