//! The scalar language: an SSA list over scalars, such as `{ t0 = add(a, b); max(t0, 0.0) }`. It is the body
//! of `map`, the epilogue (`do`) and the prologue (`pre`) of the operators that have one. A list, never
//! a tree: shared terms stay shared.
//!
//! Laws: `min` and `max` propagate NaN and order -0 below +0; float to integer saturates and NaN gives 0, but the
//! types below eight bits take the low bits, as ONNX's Cast does; to float8 and float4 values saturate; integers
//! wrap; shifts by the width or more give 0 (-1 for a negative arithmetic shift); integer division by zero gives 0,
//! MIN / -1 gives MIN; `min` and `max` of bool are and, or. f16 and bf16 round after every term.

pub mod eval;
pub mod lanes;
pub mod text;

pub use text::body;

use crate::tensor::Dtype;

macro_rules! scalar_ops {
    ($($variant:ident $name:literal $arity:literal $class:ident $doc:literal;)*) => {
        /// A scalar operation. `Cast` and `Bits` carry the type they give.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ScalarOp {
            $(#[doc = $doc] $variant,)*
            /// Conversion by value to another type.
            Cast(Dtype),
            /// The same bits under a type of the same width.
            Bits(Dtype),
        }

        impl ScalarOp {
            /// Every operation that carries no type.
            pub const PLAIN: &[ScalarOp] = &[$(ScalarOp::$variant,)*];
            pub fn name(self) -> &'static str {
                match self { $(ScalarOp::$variant => $name,)* ScalarOp::Cast(_) => "cast", ScalarOp::Bits(_) => "bits" }
            }
            pub fn arity(self) -> usize {
                match self { $(ScalarOp::$variant => $arity,)* ScalarOp::Cast(_) | ScalarOp::Bits(_) => 1 }
            }
            pub fn class(self) -> Class {
                match self { $(ScalarOp::$variant => Class::$class,)* ScalarOp::Cast(_) | ScalarOp::Bits(_) => Class::Convert }
            }
            pub fn doc(self) -> &'static str {
                match self { $(ScalarOp::$variant => $doc,)* ScalarOp::Cast(_) => "conversion by value", ScalarOp::Bits(_) => "the same bits under another type" }
            }
        }
    };
}

/// What types an operation takes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Numbers of one type to the same type.
    Number,
    /// Floats of one type to the same type.
    Float,
    /// Integers of one type to the same type.
    Integer,
    /// Bools to bool.
    Logic,
    /// Two of one type to bool.
    Compare,
    /// One float to bool.
    Test,
    /// `select(bool, x, x) -> x`.
    Select,
    /// Any type to the type that the operation carries.
    Convert,
}

scalar_ops! {
    Neg "neg" 1 Number "minus a";
    Abs "abs" 1 Number "magnitude; of the smallest integer itself";
    Sign "sign" 1 Number "-1, 0, 1; NaN stays";
    Add "add" 2 Number "a + b";
    Sub "sub" 2 Number "a - b";
    Mul "mul" 2 Number "a * b";
    Div "div" 2 Number "a / b; integers truncate";
    Rem "rem" 2 Number "the remainder with the sign of a (C's fmod and %); by integer zero 0";
    Mod "mod" 2 Number "the remainder with the sign of b (Python's %); by integer zero 0";
    Min "min" 2 Number "the smaller; NaN if either is";
    Max "max" 2 Number "the larger; NaN if either is";
    Pow "pow" 2 Number "a to the power b";
    MulAdd "mul_add" 3 Float "a * b + c, rounded once";
    Sqrt "sqrt" 1 Float "square root";
    Floor "floor" 1 Float "toward minus infinity";
    Ceil "ceil" 1 Float "toward plus infinity";
    Trunc "trunc" 1 Float "toward zero";
    Round "round" 1 Float "to nearest, halves to even";
    Exp "exp" 1 Float "e to the a";
    Log "log" 1 Float "natural logarithm";
    Tanh "tanh" 1 Float "hyperbolic tangent";
    Erf "erf" 1 Float "error function";
    Sigmoid "sigmoid" 1 Float "1 / (1 + exp(-a))";
    Sin "sin" 1 Float "sine, radians";
    Cos "cos" 1 Float "cosine, radians";
    Tan "tan" 1 Float "tangent, radians";
    Asin "asin" 1 Float "inverse sine";
    Acos "acos" 1 Float "inverse cosine";
    Atan "atan" 1 Float "inverse tangent";
    Sinh "sinh" 1 Float "hyperbolic sine";
    Cosh "cosh" 1 Float "hyperbolic cosine";
    Asinh "asinh" 1 Float "inverse hyperbolic sine";
    Acosh "acosh" 1 Float "inverse hyperbolic cosine";
    Atanh "atanh" 1 Float "inverse hyperbolic tangent";
    BitAnd "bit_and" 2 Integer "bitwise and";
    BitOr "bit_or" 2 Integer "bitwise or";
    BitXor "bit_xor" 2 Integer "bitwise exclusive or";
    BitNot "bit_not" 1 Integer "bitwise not";
    Shl "shl" 2 Integer "a shifted left by b bits";
    Shr "shr" 2 Integer "a shifted right by b bits; arithmetic for signed types";
    And "and" 2 Logic "both";
    Or "or" 2 Logic "either";
    Xor "xor" 2 Logic "one of the two";
    Not "not" 1 Logic "the other";
    Eq "eq" 2 Compare "a = b";
    Ne "ne" 2 Compare "a != b; true for NaN";
    Lt "lt" 2 Compare "a < b";
    Le "le" 2 Compare "a <= b";
    Gt "gt" 2 Compare "a > b";
    Ge "ge" 2 Compare "a >= b";
    IsNan "is_nan" 1 Test "a is not a number";
    IsInf "is_inf" 1 Test "a is infinite, of either sign";
    Select "select" 3 Select "b if a, else c";
}

/// A constant scalar: its type and its bits, little endian in the low `dtype.bytes()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Literal {
    pub dtype: Dtype,
    pub bits: u64,
}

impl Literal {
    pub fn f32(value: f32) -> Literal {
        Literal { dtype: Dtype::F32, bits: value.to_bits() as u64 }
    }
    pub fn f64(value: f64) -> Literal {
        Literal { dtype: Dtype::F64, bits: value.to_bits() }
    }
    pub fn bool(value: bool) -> Literal {
        Literal { dtype: Dtype::Bool, bits: value as u64 }
    }
    /// An integer of `dtype`, wrapped to its width.
    pub fn int(dtype: Dtype, value: i64) -> Literal {
        let width = dtype.bytes() as u32 * 8;
        Literal { dtype, bits: if width == 64 { value as u64 } else { value as u64 & ((1 << width) - 1) } }
    }
    /// `value` converted to `dtype` (rounded for floats, truncated for integers).
    pub fn number(dtype: Dtype, value: f64) -> Literal {
        match dtype {
            Dtype::F32 => Literal::f32(value as f32),
            Dtype::F64 => Literal::f64(value),
            Dtype::Bool => Literal::bool(value != 0.0),
            small if small.is_float() => Literal { dtype, bits: lanes::encode(small, value) },
            other => Literal::int(other, value as i64),
        }
    }
    pub fn from_bytes(dtype: Dtype, bytes: &[u8]) -> Literal {
        let mut word = [0u8; 8];
        word[..dtype.bytes()].copy_from_slice(&bytes[..dtype.bytes()]);
        Literal { dtype, bits: u64::from_le_bytes(word) }
    }
    pub fn to_bytes(self) -> Vec<u8> {
        self.bits.to_le_bytes()[..self.dtype.bytes()].to_vec()
    }
    pub fn to_f64(self) -> f64 {
        crate::tensor::element_to_f64(self.dtype, &self.to_bytes())
    }
    pub fn to_i64(self) -> i64 {
        crate::tensor::element_to_i64(self.dtype, &self.to_bytes())
    }
}

/// An operand of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arg {
    /// Parameter: `a`, `b`, …
    Param(u8),
    /// An earlier term: `t0`, `t1`, …
    Term(u16),
    Literal(Literal),
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    pub op: ScalarOp,
    /// As many as the operation's arity.
    pub args: Vec<Arg>,
}

/// A function of scalars. As an epilogue, parameter `a` is the operator's own result and the others are
/// its further operands; as a prologue, `a` is an element of its first operand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Body {
    pub params: u8,
    pub terms: Vec<Term>,
    pub result: Arg,
}

impl Body {
    /// `{ a }`.
    pub fn identity() -> Body {
        Body { params: 1, terms: Vec::new(), result: Arg::Param(0) }
    }

    pub fn is_identity(&self) -> bool {
        self.params == 1 && self.terms.is_empty() && self.result == Arg::Param(0)
    }

    /// `{ op(a, b, …) }`.
    pub fn of(op: ScalarOp) -> Body {
        let args = (0..op.arity() as u8).map(Arg::Param).collect();
        Body { params: op.arity() as u8, terms: vec![Term { op, args }], result: Arg::Term(0) }
    }

    /// Appends a term; its operand for later ones.
    pub fn push(&mut self, op: ScalarOp, args: &[Arg]) -> Arg {
        assert_eq!(args.len(), op.arity());
        let at = Arg::Term(u16::try_from(self.terms.len()).expect("a body has at most 65536 terms"));
        self.terms.push(Term { op, args: args.to_vec() });
        at
    }

    /// Appends the terms of `inner`, its parameters bound to `args`; returns its result. Equal terms are shared.
    pub fn inline(&mut self, inner: &Body, args: &[Arg]) -> Arg {
        assert_eq!(args.len(), inner.params as usize);
        let mut placed: Vec<Arg> = Vec::with_capacity(inner.terms.len());
        let bind = |arg: &Arg, placed: &[Arg]| match *arg {
            Arg::Param(i) => args[i as usize],
            Arg::Term(i) => placed[i as usize],
            Arg::Literal(l) => Arg::Literal(l),
        };
        for term in &inner.terms {
            let args: Vec<Arg> = term.args.iter().map(|a| bind(a, &placed)).collect();
            let same = self.terms.iter().position(|t| t.op == term.op && t.args == args);
            placed.push(match same {
                Some(i) => Arg::Term(i as u16),
                None => self.push(term.op, &args),
            });
        }
        bind(&inner.result, &placed)
    }

    /// The body without a `bits` at its end, and the type that this gave: what it stores are the same bytes, also where
    /// a float of that type would not keep them (the sign of a NaN).
    pub fn before_bits(&self) -> Option<(Body, Dtype)> {
        let Arg::Term(last) = self.result else { return None };
        let term = &self.terms[last as usize];
        let ScalarOp::Bits(to) = term.op else { return None };
        Some((Body { result: term.args[0], ..self.clone() }, to))
    }

    /// Drops terms that the result does not need, renumbering the rest.
    pub fn without_dead(&self) -> Body {
        let mut live = vec![false; self.terms.len()];
        let mark = |arg: &Arg, live: &mut Vec<bool>| {
            if let Arg::Term(i) = arg {
                live[*i as usize] = true;
            }
        };
        mark(&self.result, &mut live);
        for i in (0..self.terms.len()).rev() {
            if live[i] {
                for arg in &self.terms[i].args {
                    mark(arg, &mut live);
                }
            }
        }
        let mut out = Body { params: self.params, terms: Vec::new(), result: self.result };
        let mut renumbered = vec![0u16; self.terms.len()];
        let rename = |arg: &Arg, to: &[u16]| match *arg {
            Arg::Term(i) => Arg::Term(to[i as usize]),
            other => other,
        };
        for (i, term) in self.terms.iter().enumerate().filter(|(i, _)| live[*i]) {
            renumbered[i] = out.terms.len() as u16;
            out.terms.push(Term { op: term.op, args: term.args.iter().map(|a| rename(a, &renumbered)).collect() });
        }
        out.result = rename(&self.result, &renumbered);
        out
    }

    /// The type of every term for the given parameter types, or what is wrong.
    pub fn types(&self, params: &[Dtype]) -> Result<Vec<Dtype>, String> {
        if params.len() != self.params as usize {
            return Err(format!("the body takes {} operands, {} are given", self.params, params.len()));
        }
        let mut types: Vec<Dtype> = Vec::with_capacity(self.terms.len());
        for term in &self.terms {
            let args = term.args.iter().map(|a| arg_type(a, params, &types)).collect::<Result<Vec<_>, _>>()?;
            types.push(result_type(term.op, &args)?);
        }
        Ok(types)
    }

    /// The type of the result for the given parameter types.
    pub fn result_type(&self, params: &[Dtype]) -> Result<Dtype, String> {
        let types = self.types(params)?;
        arg_type(&self.result, params, &types)
    }
}

fn arg_type(arg: &Arg, params: &[Dtype], types: &[Dtype]) -> Result<Dtype, String> {
    match *arg {
        Arg::Param(i) => params.get(i as usize).copied().ok_or_else(|| format!("there is no parameter {i}")),
        Arg::Term(i) => types.get(i as usize).copied().ok_or_else(|| format!("t{i} is used before it is made")),
        Arg::Literal(l) => Ok(l.dtype),
    }
}

fn result_type(op: ScalarOp, args: &[Dtype]) -> Result<Dtype, String> {
    let wrong = |wants: &str| {
        let got: Vec<&str> = args.iter().map(|d| d.name()).collect();
        Err(format!("{} takes {wants}, not {}", op.name(), got.join(", ")))
    };
    let alike = |args: &[Dtype]| args.windows(2).all(|w| w[0] == w[1]);
    let first = args[0];
    match op.class() {
        Class::Number if alike(args) && first != Dtype::Bool => Ok(first),
        // and, or on bool: what ONNX's Min and Max of bool would mean, and what masks fold to
        Class::Number if alike(args) && matches!(op, ScalarOp::Min | ScalarOp::Max) => Ok(first),
        Class::Number => wrong("numbers of one type"),
        Class::Float if alike(args) && first.is_float() => Ok(first),
        Class::Float => wrong("floats of one type"),
        Class::Integer if alike(args) && first.is_int() => Ok(first),
        Class::Integer => wrong("integers of one type"),
        Class::Logic if args.iter().all(|&d| d == Dtype::Bool) => Ok(Dtype::Bool),
        Class::Logic => wrong("bools"),
        Class::Compare if alike(args) => Ok(Dtype::Bool),
        Class::Compare => wrong("two of one type"),
        Class::Test if first.is_float() => Ok(Dtype::Bool),
        Class::Test => wrong("a float"),
        Class::Select if first == Dtype::Bool && alike(&args[1..]) => Ok(args[1]),
        Class::Select => wrong("a bool and two of one type"),
        Class::Convert => match op {
            ScalarOp::Cast(to) => Ok(to),
            ScalarOp::Bits(to) if to.bytes() == first.bytes() => Ok(to),
            _ => wrong("a type of the same width"),
        },
    }
}
