//! Element types: the ONNX numbers, the Rust types that carry them over the boundary, and the slices that a call is made
//! of. Types that Rust lacks travel as bits: f16 and bf16 as `u16`, 8-bit floats as `u8`, 4- and 2-bit integers one per
//! byte as `i8` or `u8`.

use core::fmt;
use core::marker::PhantomData;

macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $bytes:literal;)*) => {
        /// An element type, by its number in ONNX `TensorProto.DataType`. Strings and complex numbers do not occur.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(i32)]
        pub enum DType { $($(#[$doc])* $variant = $number),* }

        impl DType {
            pub const ALL: &'static [DType] = &[$(DType::$variant),*];

            /// The name in Maquette's own texts: `f32`, `u4` …
            pub fn name(self) -> &'static str {
                match self { $(DType::$variant => $name),* }
            }

            /// Bytes of one element at the boundary, which is also its alignment.
            pub fn bytes(self) -> usize {
                match self { $(DType::$variant => $bytes),* }
            }
        }
    };
}

dtypes! {
    F32 = 1, "f32", 4;
    U8 = 2, "u8", 1;
    I8 = 3, "i8", 1;
    U16 = 4, "u16", 2;
    I16 = 5, "i16", 2;
    I32 = 6, "i32", 4;
    I64 = 7, "i64", 8;
    Bool = 9, "bool", 1;
    F16 = 10, "f16", 2;
    F64 = 11, "f64", 8;
    U32 = 12, "u32", 4;
    U64 = 13, "u64", 8;
    Bf16 = 16, "bf16", 2;
    F8E4M3Fn = 17, "f8e4m3fn", 1;
    F8E4M3FnUz = 18, "f8e4m3fnuz", 1;
    F8E5M2 = 19, "f8e5m2", 1;
    F8E5M2FnUz = 20, "f8e5m2fnuz", 1;
    U4 = 21, "u4", 1;
    I4 = 22, "i4", 1;
    F4E2M1 = 23, "f4e2m1", 1;
    F8E8M0 = 24, "f8e8m0", 1;
    U2 = 25, "u2", 1;
    I2 = 26, "i2", 1;
}

impl DType {
    /// The type of an ONNX number; `None` for those that cannot cross the boundary.
    pub fn of(number: i32) -> Option<DType> {
        DType::ALL.iter().copied().find(|d| *d as i32 == number)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type whose slices can be inputs and outputs. `CARRIES`: the element types it stands for, its own first.
pub trait Element: Copy + sealed::Sealed + 'static {
    const CARRIES: &'static [DType];
}

macro_rules! elements {
    ($($rust:ty: $($dtype:ident)+;)*) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const CARRIES: &'static [DType] = &[$(DType::$dtype),+];
        }
    )*};
}

elements! {
    f32: F32;
    f64: F64;
    u8: U8 U4 U2 F8E4M3Fn F8E4M3FnUz F8E5M2 F8E5M2FnUz F8E8M0 F4E2M1;
    i8: I8 I4 I2;
    u16: U16 F16 Bf16;
    i16: I16;
    u32: U32;
    i32: I32;
    u64: U64;
    i64: I64;
    bool: Bool;
}

/// An input of one run: a slice, row-major, and its dimensions where the length alone does not tell them.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub(crate) data: *const u8,
    pub(crate) len: usize,
    pub(crate) carries: &'static [DType],
    pub(crate) dims: Option<&'a [i64]>,
    life: PhantomData<&'a [u8]>,
}

impl<'a, E: Element> From<&'a [E]> for Input<'a> {
    fn from(data: &'a [E]) -> Self {
        Input { data: data.as_ptr().cast(), len: data.len(), carries: E::CARRIES, dims: None, life: PhantomData }
    }
}

impl<'a> Input<'a> {
    /// A slice with its dimensions; their product must be its length.
    pub fn shaped<E: Element>(data: &'a [E], dims: &'a [i64]) -> Self {
        Input { dims: Some(dims), ..Input::from(data) }
    }

    /// Raw bytes of elements of `dtype`, native byte order; a last element that is cut off is not counted.
    /// They must lie at a multiple of the element's size, which the run checks; a bool is 0 or 1.
    pub fn bytes(data: &'a [u8], dtype: DType) -> Self {
        let one = DType::ALL.iter().position(|d| *d == dtype).expect("ALL lists every variant");
        let carries = &DType::ALL[one..=one];
        Input { data: data.as_ptr(), len: data.len() / dtype.bytes(), carries, dims: None, life: PhantomData }
    }

    /// The same with dimensions.
    pub fn with_dims(self, dims: &'a [i64]) -> Self {
        Input { dims: Some(dims), ..self }
    }
}

/// An output of one run: a slice that holds the answer at the model's upper bounds. A dynamic model fills its beginning;
/// `Session::output_len` says how far.
#[derive(Debug)]
pub struct Output<'a> {
    pub(crate) data: *mut u8,
    pub(crate) len: usize,
    pub(crate) carries: &'static [DType],
    life: PhantomData<&'a mut [u8]>,
}

impl<'a, E: Element> From<&'a mut [E]> for Output<'a> {
    fn from(data: &'a mut [E]) -> Self {
        Output { data: data.as_mut_ptr().cast(), len: data.len(), carries: E::CARRIES, life: PhantomData }
    }
}

impl<'a> Output<'a> {
    /// Raw bytes for elements of `dtype`, as in [`Input::bytes`].
    pub fn bytes(data: &'a mut [u8], dtype: DType) -> Self {
        let carries = Input::bytes(&[], dtype).carries;
        Output { data: data.as_mut_ptr(), len: data.len() / dtype.bytes(), carries, life: PhantomData }
    }
}
