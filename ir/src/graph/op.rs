//! THE TABLE of tensor operators: a closed set. One row makes the variant, its attributes, its mnemonic,
//! its arity, and how it is printed and parsed; `infer`, `eval` and the kernels match on it without `_`,
//! so the compiler lists what a new operator still needs.
//!
//! One node gives one tensor. ONNX's two hundred operators are import functions over these.

use super::attr::{Attr, Attrs};
use super::region::Region;
use crate::dim::Dim;
use crate::scalar::{Body, Literal};
use crate::tensor::{Tensor, Type};
use crate::text::{Lexer, ParseError};

macro_rules! operators {
    ($($(#[doc = $doc:literal])* $variant:ident $mnemonic:literal $low:literal .. $high:tt { $($(#[$fdoc:meta])* $field:ident: $ty:ty),* };)*) => {
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Op { $($(#[doc = $doc])* $variant { $($(#[$fdoc])* $field: $ty),* },)* }

        impl Op {
            /// The table itself, for documents and completions.
            pub const TABLE: &[Row] = &[$(Row {
                mnemonic: $mnemonic,
                arity: ($low, operators!(@high $high)),
                attributes: &[$((stringify!($field), stringify!($ty))),*],
                doc: concat!($($doc),*),
            },)*];
            /// Every mnemonic, in the order of the table.
            pub const MNEMONICS: &[&str] = &[$($mnemonic,)*];

            pub fn mnemonic(&self) -> &'static str {
                match self { $(Op::$variant { .. } => $mnemonic,)* }
            }
            /// Fewest and most operands (`None`: as many as the epilogue or the operator wants).
            pub fn arity(&self) -> (usize, Option<usize>) {
                match self { $(Op::$variant { .. } => ($low, operators!(@high $high)),)* }
            }
            /// Every attribute with its name, in the order of the table.
            pub fn attributes(&self) -> Vec<(&'static str, &dyn Attr)> {
                match self { $(Op::$variant { $($field),* } => vec![$((stringify!($field), $field as &dyn Attr)),*],)* }
            }
            /// Reads the attributes that stand behind `mnemonic` and its operands.
            pub fn parse(mnemonic: &str, lexer: &mut Lexer) -> Result<Op, ParseError> {
                match mnemonic {
                    $($mnemonic => {
                        #[allow(unused_mut)]
                        let mut attrs = Attrs::parse(lexer)?;
                        let op = Op::$variant { $($field: attrs.take(stringify!($field), lexer)?),* };
                        attrs.finish(lexer)?;
                        Ok(op)
                    })*
                    other => Err(lexer.error(format!("there is no operator `{other}`"))),
                }
            }
        }
    };
    (@high any) => { None };
    (@high $n:literal) => { Some($n) };
}

/// What the table says of one operator.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub mnemonic: &'static str,
    /// Fewest and most operands.
    pub arity: (usize, Option<usize>),
    /// Names and Rust types.
    pub attributes: &'static [(&'static str, &'static str)],
    pub doc: &'static str,
}

operators! {
    /// A model input.
    Input "input" 0..0 { name: String, ty: Type };
    /// A constant.
    Const "const" 0..0 { tensor: Tensor };
    /// The same elements in row-major order under another shape.
    Reshape "reshape" 1..1 { shape: Vec<Dim> };
    /// Axis `i` of the result is axis `perm[i]` of the operand.
    Transpose "transpose" 1..1 { perm: Vec<usize> };
    /// Along each axis `size` elements from `start` in steps of `step` (may be negative), all in range.
    Slice "slice" 1..1 { start: Vec<Dim>, step: Vec<i64>, size: Vec<Dim> };
    /// `low` elements before and `high` behind, along each axis, none negative. `value` counts for `constant` only.
    Pad "pad" 1..1 { low: Vec<Dim>, high: Vec<Dim>, mode: PadMode, value: Literal };
    /// The operands one after the other along `axis`.
    Concat "concat" 1..any { axis: usize };
    /// Repeats axes of size 1, and leading ones, to `shape` (numpy broadcasting).
    Expand "expand" 1..1 { shape: Vec<Dim> };
    /// Operand 0 at the indices of operand 1 (i32 or i64; negative ones count from the end) along `axis`; the
    /// indices' shape takes that axis' place. An index out of range is status 4 at run time.
    Gather "gather" 2..2 { axis: usize };
    /// `body` over each element of the operands, broadcast against each other.
    Map "map" 1..any { body: Body };
    /// `a[.., m, k] x b[.., k, n]`, leading axes broadcast; with `trans_a` operand 0 is `[.., k, m]`, with
    /// `trans_b` operand 1 is `[.., n, k]`. Further operands belong to the epilogue, broadcast to the result. Both factors
    /// have one type, which is also the sum's; or u8 and i8 in any mix, or i16, whose sum is i32.
    Dot "dot" 2..any { trans_a: bool, trans_b: bool, epilogue: Body };
    /// Operand 0 `[n, spatial.., c]`, operand 1 `[kernel.., c / group, m]`, result `[n, spatial.., m]`; types as in
    /// `dot`. `fill` stands in the padding, and `inflate - 1` of it between neighbours of the input along each
    /// spatial axis (a transposed convolution's stride): 0 for floats, a zero point for quantized numbers. Pads may be
    /// negative (they crop). Further operands belong to the epilogue.
    Conv "conv" 2..any { stride: Vec<usize>, dilation: Vec<usize>, inflate: Vec<usize>, low: Vec<i64>, high: Vec<i64>, group: usize, fill: Literal, epilogue: Body };
    /// `kind` over sliding windows of the spatial axes of `[n, spatial.., c]`. Padding counts as 0 for `sum`, -inf
    /// (the smallest value) for `max`. Sums of u8 and i8 are i32.
    Window "window" 1..any { kind: WindowKind, size: Vec<usize>, stride: Vec<usize>, dilation: Vec<usize>, low: Vec<i64>, high: Vec<i64>, epilogue: Body };
    /// `kind` over `axes` of `prologue(x)`; those axes stay with size 1. Over nothing: sum 0, prod 1, min +inf, max -inf.
    Reduce "reduce" 1..any { kind: ReduceKind, axes: Vec<usize>, prologue: Body, epilogue: Body };
    /// The i64 index of the largest or smallest element along `axis`, which stays with size 1; of several the
    /// first, or the last.
    ArgReduce "argreduce" 1..1 { kind: ArgKind, axis: usize, last: bool };
    /// Running sum (product) along `axis`.
    Cumulate "cumulate" 1..1 { kind: CumulateKind, axis: usize, exclusive: bool, reverse: bool };
    /// The i64 positions that put the elements along `axis` in order; equal ones keep theirs. A NaN is the largest.
    Sort "sort" 1..1 { axis: usize, descending: bool };
    /// Operand 0 `[n, rest..]` with the rows of operand 2 `[m, rest..]` put or joined into it, one after the other, at
    /// the indices of operand 1 `[m]` (i32 or i64; negative ones count from the end). An index out of range is
    /// status 4 at run time.
    Scatter "scatter" 3..3 { kind: ScatterKind };
    /// The rows of operand 0 `[n, rest..]` where operand 1 (bool `[n]`) is true, in their order: `length` of them. That is
    /// a symbol of at most `n`, whose value is known once it has run.
    Compact "compact" 2..2 { length: Dim };
    /// Boxes that overlap no better one: of boxes `[b, n, 4]` (two corners, in any order), their scores `[b, c, n]`, the i64
    /// order `[b, c, n]` to take them in, and two limits `[2]`: how much of their union two may share, and what scores are to
    /// be above; f32. The first `most` by number, i64 `[b, c, most]`; -1 where there are no more.
    Suppress "suppress" 4..4 { most: usize };
    /// `exp(x) / sum(exp(x))` of `prologue(x)` along `axis`, or its logarithm. Types smaller than f32
    /// round after every step.
    Softmax "softmax" 1..any { axis: usize, log: bool, prologue: Body, epilogue: Body };
    /// `(x - mean) / sqrt(variance + epsilon)` of `prologue(x)` over `axes`; without `center`
    /// `x / sqrt(mean(x * x) + epsilon)`. Scale and bias are the epilogue's. `epsilon` holds the bits of an f32.
    Norm "norm" 1..any { axes: Vec<usize>, epsilon: Real, center: bool, prologue: Body, epilogue: Body };
    /// `softmax(prologue(q k')) v` of f32: operand 0 `[.., s, d]`, operand 1 `[.., t, d]`, operand 2 `[.., t, e]`, leading axes
    /// broadcast. `prologue` is over the scores `[.., s, t]` (`a`, rounded) and the further operands, which broadcast to
    /// them. With `causal` key `j` counts for query `i` only where `j <= i + causal`: its score is -inf. A row of -inf alone
    /// gives NaN, and with `guarded` zeros.
    Attention "attention" 3..5 { causal: Option<Dim>, guarded: bool, prologue: Body };
    /// Resampling to `shape`. Per axis: source position = by `coordinate` from the result's index and `scale`
    /// (result size / source size as ONNX means it). `antialias` widens the filter when shrinking.
    Resize "resize" 1..1 { mode: ResizeMode, coordinate: Coordinate, scale: Vec<Real>, roi: Vec<Real>, shape: Vec<Dim>, antialias: bool, exclude_outside: bool, extrapolation: Real };
    /// Floats as quantized numbers: `round(x / scale) + zero point`, held inside the range of the zero point's type, which
    /// is the result's. Scale (operand 1) and zero point (operand 2) have one shape: one number `[]`, a list with one for
    /// each position of `axis`, or with `block` above 0 one for every `block` positions of `axis` (as many axes as x).
    Quantize "quantize" 3..3 { axis: usize, block: usize };
    /// Quantized numbers as floats: `(x - zero point) * scale`, rounded once to the scale's type; operands as in `quantize`.
    Dequantize "dequantize" 3..3 { axis: usize, block: usize };
    /// So many turns of a region. Operands: the first values of what is carried from turn to turn, then the tensors whose rows
    /// along axis 0 the turns read, one for each word of `sequences`, then whatever else the region reads. Its inputs stand in
    /// this order; its outputs are what is carried to the next turn, then a row for each word of `stacks`. The words say
    /// whether the first turn has the first row or the last. Only `take` uses it: of the carried values as the last turn left
    /// them, then of the stacks.
    Scan "scan" 1..any { trips: Dim, carried: usize, sequences: Vec<Rows>, stacks: Vec<Rows>, region: Region };
    /// Result `index` of the `scan` that is its operand.
    Take "take" 1..1 { index: usize, ty: Type };
}

/// An f64 attribute; compared by its bits.
#[derive(Clone, Copy, Debug)]
pub struct Real(pub f64);

impl PartialEq for Real {
    fn eq(&self, other: &Real) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}
impl Eq for Real {}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident $word:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),* }
        impl $name {
            /// Every word, in the order of the variants.
            pub const WORDS: &[&str] = &[$($word),*];
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word),* }
            }
        }
        impl Attr for $name {
            fn print(&self) -> String {
                self.word().into()
            }
            fn parse(lexer: &mut Lexer) -> Result<Self, ParseError> {
                match lexer.word()? {
                    $($word => Ok($name::$variant),)*
                    other => Err(lexer.error(format!(concat!("`{}` is none of", $(" ", $word),*), other))),
                }
            }
        }
    )*};
}
words! {
    /// What stands in the padding.
    PadMode { Constant "constant", Reflect "reflect", Edge "edge", Wrap "wrap" }
    /// What a window computes.
    WindowKind { Max "max", Sum "sum" }
    /// What a reduction computes.
    ReduceKind { Sum "sum", Mean "mean", Prod "prod", Max "max", Min "min" }
    /// Which row the first turn of a scan has.
    Rows { Forward "forward", Backward "backward" }
    ArgKind { Max "max", Min "min" }
    CumulateKind { Sum "sum", Prod "prod" }
    /// What becomes of an element that another is scattered to.
    ScatterKind { Set "set", Sum "sum", Prod "prod", Max "max", Min "min" }
    /// The filter of a resize.
    ResizeMode {
        /// The nearest source element; a half goes down.
        NearestRoundPreferFloor "nearest_floor_half",
        /// The nearest source element; a half goes up.
        NearestRoundPreferCeil "nearest_ceil_half",
        NearestFloor "floor",
        NearestCeil "ceil",
        Linear "linear",
        /// Keys' kernel with a = -0.75.
        Cubic75 "cubic75",
        /// Keys' kernel with a = -0.5.
        Cubic50 "cubic50",
    }
    /// ONNX's `coordinate_transformation_mode`.
    Coordinate {
        HalfPixel "half_pixel",
        HalfPixelSymmetric "half_pixel_symmetric",
        PytorchHalfPixel "pytorch_half_pixel",
        AlignCorners "align_corners",
        Asymmetric "asymmetric",
        TfHalfPixelForNn "tf_half_pixel_for_nn",
        TfCropAndResize "tf_crop_and_resize",
    }
}

/// The epilogue of an operator, borrowed as the operator is.
macro_rules! epilogue_of {
    ($op:expr) => {
        match $op {
            Op::Dot { epilogue, .. }
            | Op::Conv { epilogue, .. }
            | Op::Window { epilogue, .. }
            | Op::Reduce { epilogue, .. }
            | Op::Softmax { epilogue, .. }
            | Op::Norm { epilogue, .. } => Some(epilogue),
            Op::Input { .. }
            | Op::Const { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Expand { .. }
            | Op::Gather { .. }
            | Op::Map { .. }
            | Op::ArgReduce { .. }
            | Op::Cumulate { .. }
            | Op::Sort { .. }
            | Op::Scatter { .. }
            | Op::Compact { .. }
            | Op::Suppress { .. }
            | Op::Attention { .. }
            | Op::Resize { .. }
            | Op::Quantize { .. }
            | Op::Dequantize { .. }
            | Op::Scan { .. }
            | Op::Take { .. } => None,
        }
    };
}

/// What an operator does to each element of operand 0 before its own work, borrowed as the operator is.
macro_rules! prologue_of {
    ($op:expr) => {
        match $op {
            Op::Reduce { prologue, .. } | Op::Softmax { prologue, .. } | Op::Norm { prologue, .. } => Some(prologue),
            Op::Input { .. }
            | Op::Const { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Expand { .. }
            | Op::Gather { .. }
            | Op::Map { .. }
            | Op::Dot { .. }
            | Op::Conv { .. }
            | Op::Window { .. }
            | Op::ArgReduce { .. }
            | Op::Cumulate { .. }
            | Op::Sort { .. }
            | Op::Scatter { .. }
            | Op::Compact { .. }
            | Op::Suppress { .. }
            | Op::Attention { .. }
            | Op::Resize { .. }
            | Op::Quantize { .. }
            | Op::Dequantize { .. }
            | Op::Scan { .. }
            | Op::Take { .. } => None,
        }
    };
}

/// Every dimension among the attributes, borrowed as the operator is.
macro_rules! dims_of {
    ($op:expr, $iter:ident) => {
        match $op {
            Op::Input { ty, .. } => ty.shape.$iter().collect(),
            Op::Reshape { shape } | Op::Expand { shape } | Op::Resize { shape, .. } => shape.$iter().collect(),
            Op::Slice { start, size, .. } => start.$iter().chain(size.$iter()).collect(),
            Op::Pad { low, high, .. } => low.$iter().chain(high.$iter()).collect(),
            Op::Attention { causal, .. } => causal.$iter().collect(),
            Op::Compact { length } => vec![length],
            Op::Scan { trips, .. } => vec![trips],
            Op::Take { ty, .. } => ty.shape.$iter().collect(),
            Op::Const { .. }
            | Op::Transpose { .. }
            | Op::Concat { .. }
            | Op::Gather { .. }
            | Op::Map { .. }
            | Op::Dot { .. }
            | Op::Conv { .. }
            | Op::Window { .. }
            | Op::Reduce { .. }
            | Op::ArgReduce { .. }
            | Op::Cumulate { .. }
            | Op::Sort { .. }
            | Op::Scatter { .. }
            | Op::Suppress { .. }
            | Op::Softmax { .. }
            | Op::Norm { .. }
            | Op::Quantize { .. }
            | Op::Dequantize { .. } => Vec::new(),
        }
    };
}

impl Op {
    /// Every dimension among the attributes.
    pub fn dims(&self) -> Vec<&Dim> {
        dims_of!(self, iter)
    }

    /// The operator with `change` made to every dimension among its attributes.
    pub fn with_dims(&self, change: &dyn Fn(&Dim) -> Dim) -> Op {
        let mut op = self.clone();
        let dims: Vec<&mut Dim> = dims_of!(&mut op, iter_mut);
        dims.into_iter().for_each(|d| *d = change(d));
        if let Op::Scan { region, .. } = &mut op {
            *region = Region::new(region.graph().with_dims(change));
        }
        op
    }

    /// The epilogue, for operators that have one. A map's body is not one.
    pub fn epilogue(&self) -> Option<&Body> {
        epilogue_of!(self)
    }

    pub fn epilogue_mut(&mut self) -> Option<&mut Body> {
        epilogue_of!(self)
    }

    /// The body over each element of operand 0, for operators that have one. An attention's is over its scores, and is none.
    pub fn prologue(&self) -> Option<&Body> {
        prologue_of!(self)
    }

    pub fn prologue_mut(&mut self) -> Option<&mut Body> {
        prologue_of!(self)
    }

    /// Operands before those of the epilogue.
    pub fn own_operands(&self) -> usize {
        self.arity().0
    }
}
