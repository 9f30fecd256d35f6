//! Scalar kernels: sorting, selection, gathers with checked indices, control flow, rare operators and
//! element types. Virtual values of three types; a register allocator places them (Cranelift on native
//! machines, locals on WebAssembly). Control flow is structured. No call leaves a kernel.
//!
//! A scalar kernel returns a status: 0, or that of the [`Stmt::Fail`] or failed [`Expr::Require`] it met.

use crate::tensor::{Dtype, Encoding};

/// The type of a value. Every integer type and bool computes in `Int`, f16 and bf16 in `F32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ty {
    /// 64 bits; signed or not by the operation.
    Int,
    F32,
    F64,
}

/// The type that an element of `dtype` has once it is loaded.
pub fn ty_of(dtype: Dtype) -> Ty {
    match dtype.encoding() {
        Encoding::F64 => Ty::F64,
        Encoding::F32 | Encoding::F16 | Encoding::BF16 => Ty::F32,
        // small floats as bits; kernels decode them by table or by arithmetic
        Encoding::Int | Encoding::Small(_) => Ty::Int,
    }
}

/// A value: set once by `Let` or as a loop's variable, visible to the end of its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub u32);

/// A variable that may be set again. Reads see the last `Set` in execution order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell(pub u32);

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct ScalarKernel {
    /// The type of every value, by number.
    pub values: Vec<Ty>,
    /// The type of every cell, by number. Cells start as 0.
    pub cells: Vec<Ty>,
    pub body: Vec<Stmt>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stmt {
    Let {
        to: Value,
        expr: Expr,
    },
    /// Element `at` (counted in elements of `dtype`) of argument `arg`. Integers are cut to [`Dtype::bits`] and
    /// extended again to whole bytes; bool stores 0 or 1 and is given 0 or 1; f16 and bf16 round to nearest even.
    Store {
        arg: u8,
        dtype: Dtype,
        at: Value,
        value: Value,
    },
    Set {
        cell: Cell,
        value: Value,
    },
    /// `var` counts from `from` up to, not including, `to`; not at all when `from >= to`.
    For {
        var: Value,
        from: Value,
        to: Value,
        body: Vec<Stmt>,
    },
    /// `cond` is an Int; anything but 0 is true.
    If {
        cond: Value,
        then: Vec<Stmt>,
        other: Vec<Stmt>,
    },
    /// Runs `head`, then stops unless `cond` is true, then runs `body`, and again. `cond` and `body` see the
    /// values of `head`.
    While {
        head: Vec<Stmt>,
        cond: Value,
        body: Vec<Stmt>,
    },
    /// Returns `status`.
    Fail {
        status: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expr {
    Int(i64),
    /// By its bits.
    F32(u32),
    /// By its bits.
    F64(u64),
    /// Element `at` (counted in elements of `dtype`) of argument `arg`, extended by its sign or by zeros from
    /// [`Dtype::bits`] bits (higher bits of the byte are ignored); bool: 0 or 1, whether the byte is not 0; f16 and
    /// bf16 as F32; smaller floats as the bits of their byte.
    Load {
        arg: u8,
        dtype: Dtype,
        at: Value,
    },
    Get(Cell),
    Unary(Unary, Value),
    Binary(Binary, Value, Value),
    /// Floats: `a * b + c`. Rounds once where Facts say fused.
    MulAdd(Value, Value, Value),
    /// `b` if `a` is not 0, else `c`. Both are computed.
    Select(Value, Value, Value),
    /// `value` if it is in `0..below`, else the kernel returns `status`. What bounds proofs lean on. `below` is
    /// not negative.
    Require {
        value: Value,
        below: i64,
        status: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unary {
    // Int -> Int
    INeg,
    INot,
    /// Cut to the width of an integer type and extended again; bool: not 0.
    Wrap(Dtype),
    // F -> F
    Neg,
    Abs,
    Sqrt,
    Floor,
    Ceil,
    Trunc,
    /// To nearest, halves to even.
    Round,
    // conversions
    /// Signed Int to F32, rounded to nearest.
    IntToF32,
    IntToF64,
    /// Unsigned Int to F32, rounded to nearest.
    UIntToF32,
    UIntToF64,
    /// Either float to signed Int: toward zero, saturating, NaN gives 0.
    FloatToInt,
    /// Either float to unsigned Int: toward zero, saturating, NaN gives 0.
    FloatToUInt,
    F32ToF64,
    F64ToF32,
    /// The bits of an F32, extended with zeros.
    F32Bits,
    /// An F32 from the low 32 bits.
    F32FromBits,
    F64Bits,
    F64FromBits,
    /// An F32 rounded to the nearest f16 (halves to even), as F32 again.
    RoundF16,
    /// An F32 rounded to the nearest bf16 (halves to even), as F32 again.
    RoundBF16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Binary {
    // Int, Int -> Int; all wrap
    IAdd,
    ISub,
    IMul,
    /// Toward zero; by 0 gives 0; MIN / -1 gives MIN.
    SDiv,
    /// By 0 gives 0.
    UDiv,
    /// The sign of the dividend; by 0 gives 0.
    SRem,
    URem,
    And,
    Or,
    Xor,
    /// A count of 64 or more (unsigned) gives 0.
    Shl,
    /// A count of 64 or more (unsigned) gives 0.
    UShr,
    /// A count of 64 or more (unsigned) counts as 63.
    SShr,
    SMin,
    SMax,
    UMin,
    UMax,
    // Int, Int -> 0 or 1
    IEq,
    INe,
    SLt,
    SLe,
    ULt,
    ULe,
    // F, F -> F
    Add,
    Sub,
    Mul,
    Div,
    /// NaN if either is; -0 below +0.
    Min,
    /// NaN if either is; -0 below +0.
    Max,
    // F, F -> 0 or 1; false when either is NaN, but Ne
    Eq,
    Ne,
    Lt,
    Le,
}

impl Expr {
    /// The values it reads.
    pub fn operands(&self) -> Vec<Value> {
        match *self {
            Expr::Int(_) | Expr::F32(_) | Expr::F64(_) | Expr::Get(_) => Vec::new(),
            Expr::Load { at: a, .. } | Expr::Unary(_, a) | Expr::Require { value: a, .. } => vec![a],
            Expr::Binary(_, a, b) => vec![a, b],
            Expr::MulAdd(a, b, c) | Expr::Select(a, b, c) => vec![a, b, c],
        }
    }
}

/// The type of `expr`, given those of all values and cells; `None` where its operands have the wrong types, or
/// do not exist.
pub fn type_of(expr: &Expr, values: &[Ty], cells: &[Ty]) -> Option<Ty> {
    let ty = |v: Value| values.get(v.0 as usize).copied();
    let is = |v: Value, wanted: Ty| (ty(v)? == wanted).then_some(());
    match *expr {
        Expr::Int(_) => Some(Ty::Int),
        Expr::F32(_) => Some(Ty::F32),
        Expr::F64(_) => Some(Ty::F64),
        Expr::Load { dtype, at, .. } => is(at, Ty::Int).map(|()| ty_of(dtype)),
        Expr::Get(cell) => cells.get(cell.0 as usize).copied(),
        Expr::Unary(op, a) => unary_type(op, ty(a)?),
        Expr::Binary(op, a, b) => binary_type(op, ty(a)?, ty(b)?),
        Expr::MulAdd(a, b, c) => {
            is(b, ty(a)?)?;
            is(c, ty(a)?)?;
            ty(a).filter(|&t| t != Ty::Int)
        }
        Expr::Select(a, b, c) => {
            is(a, Ty::Int)?;
            is(c, ty(b)?)?;
            ty(b)
        }
        Expr::Require { value, .. } => is(value, Ty::Int).map(|()| Ty::Int),
    }
}

fn unary_type(op: Unary, a: Ty) -> Option<Ty> {
    let float = a != Ty::Int;
    let (fits, gives) = match op {
        Unary::INeg | Unary::INot => (a == Ty::Int, Ty::Int),
        Unary::Wrap(dtype) => (a == Ty::Int && (dtype.is_int() || dtype == Dtype::Bool), Ty::Int),
        Unary::Neg | Unary::Abs | Unary::Sqrt | Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Round => (float, a),
        Unary::IntToF32 | Unary::UIntToF32 | Unary::F32FromBits => (a == Ty::Int, Ty::F32),
        Unary::IntToF64 | Unary::UIntToF64 | Unary::F64FromBits => (a == Ty::Int, Ty::F64),
        Unary::FloatToInt | Unary::FloatToUInt => (float, Ty::Int),
        Unary::F32ToF64 => (a == Ty::F32, Ty::F64),
        Unary::F64ToF32 => (a == Ty::F64, Ty::F32),
        Unary::F32Bits => (a == Ty::F32, Ty::Int),
        Unary::F64Bits => (a == Ty::F64, Ty::Int),
        Unary::RoundF16 | Unary::RoundBF16 => (a == Ty::F32, Ty::F32),
    };
    fits.then_some(gives)
}

fn binary_type(op: Binary, a: Ty, b: Ty) -> Option<Ty> {
    use Binary::*;
    let float = a != Ty::Int;
    let (fits, gives) = match op {
        IAdd | ISub | IMul | SDiv | UDiv | SRem | URem | And | Or | Xor | Shl | UShr | SShr | SMin | SMax | UMin | UMax => (!float, a),
        IEq | INe | SLt | SLe | ULt | ULe => (!float, Ty::Int),
        Add | Sub | Mul | Div | Min | Max => (float, a),
        Eq | Ne | Lt | Le => (float, Ty::Int),
    };
    (fits && a == b).then_some(gives)
}
