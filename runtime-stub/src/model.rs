//! Reads the descriptor of a compiled model. Every pointer in it is followed and checked once, when the model is made, so
//! that everything above can be safe code. It does not run anything but the CPU question.
#![allow(unsafe_code)]

use crate::layout::{ABI, MaquetteModel, MaquetteSymbol, MaquetteTensor, ResetFn, RunFn};
use crate::{DType, Error};
use core::ffi::{CStr, c_char};
use core::slice;

// SAFETY: descriptors are immutable constants, and so is everything that they point to; their functions are re-entrant.
unsafe impl Sync for MaquetteModel {}
// SAFETY: as above.
unsafe impl Send for MaquetteModel {}
// SAFETY: as above.
unsafe impl Sync for MaquetteTensor {}
// SAFETY: as above.
unsafe impl Send for MaquetteTensor {}
// SAFETY: as above.
unsafe impl Sync for MaquetteSymbol {}
// SAFETY: as above.
unsafe impl Send for MaquetteSymbol {}

/// A compiled model whose descriptor was found sound, with the CPU's word and its weights if they are apart. Cheap to copy;
/// what is mutable about a model is a [`crate::Session`]'s.
#[derive(Debug, Clone, Copy)]
pub struct Model<'a> {
    raw: &'a MaquetteModel,
    run: RunFn,
    cpu: u64,
    weights: Option<&'a [u8]>,
}

/// What a model says about one input or output.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    raw: &'a MaquetteTensor,
    dtype: DType,
}

/// A named dimension: `min..=max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol<'a> {
    pub name: &'a str,
    pub min: i64,
    pub max: i64,
}

/// # Safety
/// `pointer` is null or a string that ends with 0 and lives unchanged for `'a`.
unsafe fn text<'a>(pointer: *const c_char, fault: &'static str) -> Result<&'a str, Error> {
    if pointer.is_null() {
        return Err(Error::Descriptor(fault));
    }
    // SAFETY: not null; the rest is the caller's promise.
    unsafe { CStr::from_ptr(pointer) }.to_str().map_err(|_| Error::Descriptor(fault))
}

/// # Safety
/// `pointer` is null or the first of `count` values that live unchanged for `'a`.
unsafe fn list<'a, T>(pointer: *const T, count: u32, fault: &'static str) -> Result<&'a [T], Error> {
    match count {
        0 => Ok(&[]),
        _ if pointer.is_null() || !pointer.is_aligned() => Err(Error::Descriptor(fault)),
        // SAFETY: neither null nor misaligned; the rest is the caller's promise. A u32 fits a usize on 64-bit machines.
        _ => Ok(unsafe { slice::from_raw_parts(pointer, count as usize) }),
    }
}

/// # Safety
/// What `raw` points to lives unchanged for `'a`, with `rank` entries where there is anything.
unsafe fn check_tensor(raw: &MaquetteTensor, symbols: &[MaquetteSymbol]) -> Result<(), Error> {
    // SAFETY: the caller's promise.
    unsafe { text(raw.name, "a tensor's name is null or not UTF-8") }?;
    let dtype = DType::of(raw.dtype).ok_or(Error::Descriptor("a tensor's element type is unknown"))?;
    let rank = u32::try_from(raw.rank).map_err(|_| Error::Descriptor("a tensor's rank is negative"))?;
    // SAFETY: the caller's promise.
    let dims = unsafe { list(raw.dims, rank, "a tensor's dimensions are null or misaligned") }?;
    let bytes = dims.iter().try_fold(dtype.bytes() as u64, |n, d| n.checked_mul(u64::try_from(*d).ok()?));
    if bytes != Some(raw.bytes) || usize::try_from(raw.bytes).is_err() {
        return Err(Error::Descriptor("a tensor's bytes are not those of its dimensions"));
    }
    if raw.symbols.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    for symbol in unsafe { list(raw.symbols, rank, "a tensor's symbols are misaligned") }? {
        let known = usize::try_from(*symbol).is_ok_and(|s| s < symbols.len());
        if *symbol != -1 && !known {
            return Err(Error::Descriptor("a dimension names a symbol that is not there"));
        }
    }
    Ok(())
}

impl<'a> Model<'a> {
    /// Checks the descriptor, and asks the CPU once what it can do.
    ///
    /// # Safety
    /// `raw` is the descriptor of a model that Maquette compiled (`NAME_model` of an artifact), unchanged, and stays
    /// where it is, with all that it points to, for `'a`.
    pub unsafe fn new(raw: &'a MaquetteModel) -> Result<Model<'a>, Error> {
        if raw.abi != ABI {
            return Err(Error::Abi { found: raw.abi });
        }
        // SAFETY: the caller's promise covers all strings and lists that the descriptor points to.
        let symbols = unsafe {
            text(raw.name, "the name is null or not UTF-8")?;
            text(raw.target, "the target is null or not UTF-8")?;
            text(raw.compiler, "the compiler is null or not UTF-8")?;
            let symbols = list(raw.symbols, raw.symbol_count, "the symbols are null or misaligned")?;
            for tensor in list(raw.inputs, raw.input_count, "the inputs are null or misaligned")? {
                check_tensor(tensor, symbols)?;
            }
            for tensor in list(raw.outputs, raw.output_count, "the outputs are null or misaligned")? {
                check_tensor(tensor, symbols)?;
            }
            symbols
        };
        for symbol in symbols {
            // SAFETY: the caller's promise.
            unsafe { text(symbol.name, "a symbol's name is null or not UTF-8") }?;
            if symbol.min < 0 || symbol.max < symbol.min {
                return Err(Error::Descriptor("a symbol's range is empty or negative"));
            }
        }
        if !raw.arena_align.is_power_of_two() || raw.arena_align > 1 << 30 {
            return Err(Error::Descriptor("the arena's alignment is no power of two"));
        }
        if raw.state_bytes > 0 && raw.reset.is_none() {
            return Err(Error::Descriptor("it has a state and no reset"));
        }
        let run = raw.run.ok_or(Error::Descriptor("run is null"))?;
        let cpu = raw.cpu.ok_or(Error::Descriptor("cpu is null"))?;
        // SAFETY: the caller's promise: it is the artifact's own function and takes nothing.
        let cpu = unsafe { cpu() };
        Ok(Model { raw, run, cpu, weights: None })
    }

    /// The same model with its weights, for one that was compiled with `--weights file`.
    /// Fault: another size than `weights_bytes`, or not 64-byte aligned.
    ///
    /// # Safety
    /// The bytes are those of the `NAME.bin` that was written with this very artifact.
    pub unsafe fn with_weights(self, weights: &'a [u8]) -> Result<Model<'a>, Error> {
        let aligned = weights.as_ptr().align_offset(64) == 0;
        if weights.len() as u64 != self.raw.weights_bytes || !aligned {
            let (have_bytes, want_bytes) = (weights.len() as u64, self.raw.weights_bytes);
            return Err(Error::Weights { have_bytes, want_bytes, aligned });
        }
        Ok(Model { weights: Some(weights), ..self })
    }

    /// The name it was compiled under.
    pub fn name(&self) -> &'a str {
        self.text(self.raw.name)
    }

    /// The target and CPU levels it was compiled for.
    pub fn target(&self) -> &'a str {
        self.text(self.raw.target)
    }

    /// The compiler and its version.
    pub fn compiler(&self) -> &'a str {
        self.text(self.raw.compiler)
    }

    /// In the order of [`crate::Session::run`].
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = Tensor<'a>> + use<'a> {
        // SAFETY: `new` checked the pointer, and its caller's promise holds for 'a.
        tensors(unsafe { list(self.raw.inputs, self.raw.input_count, "") })
    }

    /// In the order of [`crate::Session::run`].
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = Tensor<'a>> + use<'a> {
        // SAFETY: as in `inputs`.
        tensors(unsafe { list(self.raw.outputs, self.raw.output_count, "") })
    }

    /// The named dimensions; those that the inputs decide come first.
    pub fn symbols(&self) -> impl ExactSizeIterator<Item = Symbol<'a>> + use<'a> {
        // SAFETY: as in `inputs`.
        let symbols = unsafe { list(self.raw.symbols, self.raw.symbol_count, "") }.expect("`new` checked it");
        // SAFETY: as in `inputs`.
        let name = |s: &MaquetteSymbol| unsafe { text(s.name, "") }.expect("`new` checked it");
        symbols.iter().map(move |s| Symbol { name: name(s), min: s.min, max: s.max })
    }

    /// Bytes of working memory, without those of the workers.
    pub fn arena_bytes(&self) -> u64 {
        self.raw.arena_bytes
    }

    /// A power of two, in bytes.
    pub fn arena_align(&self) -> u64 {
        self.raw.arena_align
    }

    /// Bytes of working memory that each worker adds; serial runs have one worker.
    pub fn worker_bytes(&self) -> u64 {
        self.raw.worker_bytes
    }

    /// Bytes that a model keeps from run to run; 0 for most.
    pub fn state_bytes(&self) -> u64 {
        self.raw.state_bytes
    }

    /// Bytes of `NAME.bin`; 0 when the weights are embedded.
    pub fn weights_bytes(&self) -> u64 {
        self.raw.weights_bytes
    }

    /// What this CPU can do, as the artifact encodes it. Asked once, when the model was made.
    pub fn cpu(&self) -> u64 {
        self.cpu
    }

    pub(crate) fn run_fn(&self) -> RunFn {
        self.run
    }

    pub(crate) fn reset_fn(&self) -> Option<ResetFn> {
        self.raw.reset.filter(|_| self.raw.state_bytes > 0)
    }

    /// The weights that lie apart; `None` when they are embedded.
    pub(crate) fn weights(&self) -> Result<Option<&'a [u8]>, Error> {
        match self.weights {
            None if self.raw.weights_bytes > 0 => Err(Error::NoWeights { want_bytes: self.raw.weights_bytes }),
            weights => Ok(weights),
        }
    }

    fn text(&self, pointer: *const c_char) -> &'a str {
        // SAFETY: `new` checked the pointer, and its caller's promise holds for 'a.
        unsafe { text(pointer, "") }.expect("`new` checked it")
    }
}

fn tensors<'a>(raws: Result<&'a [MaquetteTensor], Error>) -> impl ExactSizeIterator<Item = Tensor<'a>> + use<'a> {
    let dtype = |raw: &MaquetteTensor| DType::of(raw.dtype).expect("`Model::new` checked it");
    raws.expect("`Model::new` checked it").iter().map(move |raw| Tensor { raw, dtype: dtype(raw) })
}

impl<'a> Tensor<'a> {
    /// The ONNX name.
    pub fn name(&self) -> &'a str {
        // SAFETY: `Model::new` checked the pointer, and its caller's promise holds for 'a.
        unsafe { text(self.raw.name, "") }.expect("`Model::new` checked it")
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// One per dimension; of a symbolic dimension the upper bound.
    pub fn dims(&self) -> &'a [i64] {
        // SAFETY: as in `name`; the rank is not negative.
        unsafe { list(self.raw.dims, self.raw.rank as u32, "") }.expect("`Model::new` checked it")
    }

    /// The index of the symbol that `axis` is; `None` when the dimension is fixed, or there is no such axis.
    pub fn symbol(&self, axis: usize) -> Option<usize> {
        if self.raw.symbols.is_null() {
            return None;
        }
        // SAFETY: as in `dims`.
        let symbols = unsafe { list(self.raw.symbols, self.raw.rank as u32, "") }.expect("`Model::new` checked it");
        symbols.get(axis).and_then(|s| usize::try_from(*s).ok())
    }

    /// Bytes at the upper bounds.
    pub fn bytes(&self) -> u64 {
        self.raw.bytes
    }

    /// Elements at the upper bounds: the length that an output slice must have.
    pub fn elements(&self) -> usize {
        self.raw.bytes as usize / self.dtype.bytes()
    }
}
