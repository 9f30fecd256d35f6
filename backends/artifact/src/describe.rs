//! A compiled model as its caller sees it: what goes in, what comes out, how much memory it wants. The header, the JSON and the
//! descriptor in the artifact are three forms of this. It refuses to know how the model computes.

use crate::name::c_identifier;
use crate::{Code, Fault, Section};

/// The number of the C interface; `docs/abi.md` describes it.
pub const ABI: u32 = 1;

/// One compiled model.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// Prefix of everything in C: must be its own [`c_identifier`].
    pub name: String,
    /// E.g. `x86_64-linux`.
    pub target: String,
    /// CPU levels in the artifact, best last, e.g. `x86-64-v3`.
    pub levels: Vec<String>,
    /// Name and version of the compiler.
    pub compiler: String,
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
    /// Named dimensions: first the free ones, which the caller gives, then those that `run` writes.
    pub symbols: Vec<Symbol>,
    /// How many of `symbols` are free.
    pub free_symbols: usize,
    /// Without the workers' scratch.
    pub arena_bytes: u64,
    /// A power of two.
    pub arena_align: u64,
    /// Scratch of each worker, behind the arena.
    pub worker_bytes: u64,
    /// Memory that lives from run to run; 0: the model has no state.
    pub state_bytes: u64,
    /// Size of the weight file; 0: the weights are in the artifact.
    pub weights_bytes: u64,
    /// Of WebAssembly: what [`crate::web::seal`] says of each level's module, then a sampling [`crate::web::Print`] of the weight
    /// file if there is one.
    pub fingerprints: Vec<u64>,
    /// Told in the JSON only.
    pub contents: Contents,
}

/// An input or output.
#[derive(Clone, Debug, Default)]
pub struct Tensor {
    /// The ONNX name, whatever it is.
    pub name: String,
    /// ONNX `TensorProto.DataType`.
    pub dtype: i32,
    pub dims: Vec<Dim>,
    /// At the upper bounds; 4- and 2-bit values take a byte each.
    pub bytes: u64,
    /// What the integers of a quantized tensor stand for.
    pub quantization: Option<Quantization>,
}

/// A dimension: its upper bound, and the symbol that holds its value if it is not fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dim {
    pub bound: i64,
    pub symbol: Option<u32>,
}

/// `value = (stored - zero_point) * scale`, one pair, or one per index of `axis`.
#[derive(Clone, Debug, Default)]
pub struct Quantization {
    pub scale: Vec<f32>,
    pub zero_point: Vec<i64>,
    pub axis: Option<usize>,
}

/// A named dimension and its inclusive range.
#[derive(Clone, Debug, Default)]
pub struct Symbol {
    pub name: String,
    pub min: i64,
    pub max: i64,
}

/// What the artifact is made of, in bytes.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub code_bytes: u64,
    pub constant_bytes: u64,
    /// Each function with its size, in the order of the code.
    pub kernels: Vec<(String, u64)>,
}

impl Contents {
    /// Counted from the symbols themselves, without what alignment adds.
    pub fn of(code: &Code) -> Contents {
        let mut contents = Contents::default();
        for symbol in &code.symbols {
            let bytes = symbol.content.size();
            match symbol.section {
                Section::Text => {
                    contents.code_bytes += bytes;
                    contents.kernels.push((symbol.name.clone(), bytes));
                }
                Section::ReadOnly | Section::RelocatedReadOnly => contents.constant_bytes += bytes,
            }
        }
        contents
    }
}

/// An element type at the boundary.
pub(crate) struct Element {
    pub dtype: i32,
    pub name: &'static str,
    /// What the wrapper's pointer points to.
    pub c: &'static str,
    /// The view on it in JavaScript.
    pub js: &'static str,
    pub bytes: u64,
    /// Said where the C type does not say it.
    pub note: &'static str,
}

const fn row(dtype: i32, name: &'static str, c: &'static str, js: &'static str, bytes: u64, note: &'static str) -> Element {
    Element { dtype, name, c, js, bytes, note }
}

/// All element types that can cross the boundary, after onnx.proto of ONNX 1.20.
const ELEMENTS: &[Element] = &[
    row(1, "float32", "float", "Float32Array", 4, ""),
    row(2, "uint8", "uint8_t", "Uint8Array", 1, ""),
    row(3, "int8", "int8_t", "Int8Array", 1, ""),
    row(4, "uint16", "uint16_t", "Uint16Array", 2, ""),
    row(5, "int16", "int16_t", "Int16Array", 2, ""),
    row(6, "int32", "int32_t", "Int32Array", 4, ""),
    row(7, "int64", "int64_t", "BigInt64Array", 8, ""),
    row(9, "bool", "uint8_t", "Uint8Array", 1, "0 or 1"),
    row(10, "float16", "uint16_t", "Uint16Array", 2, "the bits of an IEEE half"),
    row(11, "float64", "double", "Float64Array", 8, ""),
    row(12, "uint32", "uint32_t", "Uint32Array", 4, ""),
    row(13, "uint64", "uint64_t", "BigUint64Array", 8, ""),
    row(16, "bfloat16", "uint16_t", "Uint16Array", 2, "the upper half of a float's bits"),
    row(17, "float8e4m3fn", "uint8_t", "Uint8Array", 1, "bits"),
    row(18, "float8e4m3fnuz", "uint8_t", "Uint8Array", 1, "bits"),
    row(19, "float8e5m2", "uint8_t", "Uint8Array", 1, "bits"),
    row(20, "float8e5m2fnuz", "uint8_t", "Uint8Array", 1, "bits"),
    row(21, "uint4", "uint8_t", "Uint8Array", 1, "one value per byte"),
    row(22, "int4", "int8_t", "Int8Array", 1, "one value per byte"),
    row(23, "float4e2m1", "uint8_t", "Uint8Array", 1, "bits, one value per byte"),
    row(24, "float8e8m0", "uint8_t", "Uint8Array", 1, "bits"),
    row(25, "uint2", "uint8_t", "Uint8Array", 1, "one value per byte"),
    row(26, "int2", "int8_t", "Int8Array", 1, "one value per byte"),
];

impl Tensor {
    /// Elements at the upper bounds; `None`: more than 64 bits count.
    pub fn elements(&self) -> Option<u64> {
        self.dims.iter().try_fold(1u64, |n, dim| n.checked_mul(u64::try_from(dim.bound).ok()?))
    }

    /// Fault: a type that does not cross the boundary (strings, complex numbers).
    pub(crate) fn element(&self) -> Result<&'static Element, Fault> {
        ELEMENTS
            .iter()
            .find(|e| e.dtype == self.dtype)
            .ok_or_else(|| Fault::Describe(format!("`{}` has ONNX element type {}", self.name.escape_debug(), self.dtype)))
    }
}

impl Description {
    /// Bytes that one caller with one worker must bring.
    pub fn arena_with_worker(&self) -> u64 {
        self.arena_bytes + self.worker_bytes
    }

    /// `target` and the levels in it, as the descriptor says it.
    pub fn target_and_levels(&self) -> String {
        format!("{} {}", self.target, self.levels.join(",")).trim_end().to_owned()
    }

    /// Fault: what is said contradicts itself. Every form of a description starts with this.
    pub fn check(&self) -> Result<(), Fault> {
        let fault = |text: String| Err(Fault::Describe(text));
        if c_identifier(&self.name) != self.name {
            let (name, better) = (self.name.escape_debug(), c_identifier(&self.name));
            return fault(format!("`{name}` cannot prefix names in C; `{better}` can"));
        }
        if !self.arena_align.is_power_of_two() {
            return fault(format!("arena alignment {} is no power of two", self.arena_align));
        }
        if self.arena_bytes.checked_add(self.worker_bytes).is_none_or(|bytes| bytes > i64::MAX as u64) {
            return fault(format!("the arena takes {} + {} bytes", self.arena_bytes, self.worker_bytes));
        }
        if self.free_symbols > self.symbols.len() {
            return fault(format!("{} of {} symbols are free", self.free_symbols, self.symbols.len()));
        }
        if let Some(symbol) = self.symbols.iter().find(|s| s.min < 0 || s.max < s.min) {
            return fault(format!("symbol `{}` is in {}..{}", symbol.name.escape_debug(), symbol.min, symbol.max));
        }
        for tensor in self.inputs.iter().chain(&self.outputs) {
            let name = tensor.name.escape_debug();
            let bytes = tensor.elements().and_then(|n| n.checked_mul(tensor.element().ok()?.bytes));
            tensor.element()?;
            if bytes != Some(tensor.bytes) || tensor.bytes > i64::MAX as u64 {
                return fault(format!("`{name}` is said to take {} bytes, its shape takes {bytes:?}", tensor.bytes));
            }
            if tensor.dims.iter().filter_map(|d| d.symbol).any(|s| s as usize >= self.symbols.len()) {
                return fault(format!("`{name}` has a dimension whose symbol does not exist"));
            }
            if let Some(q) = &tensor.quantization {
                let lengths = q.scale.len() == q.zero_point.len() && (q.axis.is_some() || q.scale.len() == 1);
                if !lengths || q.scale.is_empty() || !q.scale.iter().all(|s| s.is_finite()) {
                    return fault(format!("the quantization of `{name}` is not complete"));
                }
            }
        }
        Ok(())
    }
}
