//! Runs a compiled model: cuts one piece of memory into what a call needs, fills the call, and is the only place that
//! jumps into generated code. What it is handed is checked here for everything that memory safety rests on: number, type,
//! alignment and room. Dimensions are `session`'s; a wrong size that passes there is refused by the model itself.
#![allow(unsafe_code)]

use crate::layout::{MaquetteCall, ParallelFor};
use crate::{DType, Error, Input, Model, Output, Side, Status};
use core::ffi::c_void;
use core::marker::PhantomData;
use core::{mem, ptr};

/// Who runs the independent tasks of a kernel: the calling thread alone, or a pool that the caller brings.
#[derive(Debug, Clone, Copy)]
pub struct Workers<'p> {
    parallel_for: Option<ParallelFor>,
    pool: *mut c_void,
    count: u32,
    life: PhantomData<&'p ()>,
}

// SAFETY: whoever made one with a pool promised that it may be called from any thread.
unsafe impl Send for Workers<'_> {}
// SAFETY: as above.
unsafe impl Sync for Workers<'_> {}

impl<'p> Workers<'p> {
    /// The calling thread alone.
    pub const SERIAL: Workers<'static> = Workers { parallel_for: None, pool: ptr::null_mut(), count: 1, life: PhantomData };

    /// A pool of `count` workers, the calling thread among them; 0 means 1.
    ///
    /// # Safety
    /// For `'p`, from any thread, `parallel_for(pool, …)` runs its task exactly once for every index, hands out worker
    /// numbers below `count`, never one number to two tasks at the same time, and returns when all are done.
    pub unsafe fn new(parallel_for: ParallelFor, pool: *mut c_void, count: u32) -> Workers<'p> {
        Workers { parallel_for: Some(parallel_for), pool, count: count.max(1), life: PhantomData }
    }

    /// At least 1.
    pub fn count(&self) -> u32 {
        self.count
    }
}

/// What a call needs beside the tensors, cut from one piece of memory. The words come last, so that a session may read
/// its symbols again at a known distance from the end of the state.
pub(crate) struct Pieces<'m> {
    /// How many the arena has room for.
    workers: u32,
    arena: &'m mut [u8],
    state: &'m mut [u8],
    /// Symbols that the caller fixed, or -1.
    pub bound: &'m mut [i64],
    /// Symbols of the current or last call.
    pub symbols: &'m mut [i64],
    input_bytes: &'m mut [u64],
    inputs: &'m mut [*const c_void],
    outputs: &'m mut [*mut c_void],
}

const STATE_ALIGN: usize = 64;
const WORD: usize = size_of::<u64>();
const _: () = assert!(size_of::<*const c_void>() == WORD, "the ABI is for 64-bit machines");

fn arena_bytes(model: &Model, workers: u32) -> Result<usize, Error> {
    let bytes = model.worker_bytes().checked_mul(workers.into()).and_then(|w| w.checked_add(model.arena_bytes()));
    bytes.and_then(|b| usize::try_from(b).ok()).ok_or(Error::Descriptor("the arena is beyond all memory"))
}

/// Bytes that `carve` needs, wherever the memory begins.
pub(crate) fn memory_bytes(model: &Model, workers: u32) -> Result<usize, Error> {
    let arena = arena_bytes(model, workers)?;
    let state = usize::try_from(model.state_bytes()).map_err(|_| Error::Descriptor("the state is beyond all memory"))?;
    let words = 2 * model.symbols().len() + 2 * model.inputs().len() + model.outputs().len();
    let slack = model.arena_align() as usize + STATE_ALIGN + WORD;
    [state, words * WORD, slack].into_iter().try_fold(arena, usize::checked_add).ok_or(Error::Descriptor("the memory is beyond all memory"))
}

fn take<'m>(memory: &mut &'m mut [u8], bytes: usize, align: usize) -> Option<&'m mut [u8]> {
    let pad = memory.as_ptr().align_offset(align);
    let (_, rest) = mem::take(memory).split_at_mut_checked(pad)?;
    let (piece, rest) = rest.split_at_mut_checked(bytes)?;
    *memory = rest;
    Some(piece)
}

/// # Safety
/// Every pattern of bits is a `T`.
unsafe fn words<'m, T>(memory: &mut &'m mut [u8], count: usize) -> Option<&'m mut [T]> {
    let bytes = take(memory, count * size_of::<T>(), align_of::<T>())?;
    // SAFETY: the caller's promise; the bytes are aligned for T and a whole number of them.
    Some(unsafe { bytes.align_to_mut::<T>() }.1)
}

/// Cuts `memory`; the same memory is cut the same way every time. Fault: it is smaller than `memory_bytes`.
pub(crate) fn carve<'m>(model: &Model, workers: u32, memory: &'m mut [u8]) -> Result<Pieces<'m>, Error> {
    let (have_bytes, want_bytes) = (memory.len(), memory_bytes(model, workers)?);
    let arena = arena_bytes(model, workers)?;
    let mut rest = memory;
    let mut cut = || {
        // SAFETY: integers and raw pointers have no forbidden patterns; a stored pointer is never read before it is
        // written in the same call.
        unsafe {
            Some(Pieces {
                workers,
                arena: take(&mut rest, arena, model.arena_align() as usize)?,
                state: take(&mut rest, model.state_bytes() as usize, STATE_ALIGN)?,
                bound: words(&mut rest, model.symbols().len())?,
                symbols: words(&mut rest, model.symbols().len())?,
                input_bytes: words(&mut rest, model.inputs().len())?,
                inputs: words(&mut rest, model.inputs().len())?,
                outputs: words(&mut rest, model.outputs().len())?,
            })
        }
    };
    if have_bytes < want_bytes {
        return Err(Error::Memory { have_bytes, want_bytes });
    }
    cut().ok_or(Error::Memory { have_bytes, want_bytes })
}

/// Brings the model's state to its beginning; nothing for a model without one.
pub(crate) fn reset(model: &Model, pieces: &mut Pieces<'_>) {
    if let Some(reset) = model.reset_fn() {
        // SAFETY: the state is 64-byte aligned and has the model's `state_bytes`; the function is the artifact's own.
        unsafe { reset(pieces.state.as_mut_ptr().cast()) }
    }
}

fn check(side: Side, index: usize, carries: &[DType], want: DType, data: *const u8) -> Result<(), Error> {
    if !carries.contains(&want) {
        return Err(Error::Type { side, index, have: carries[0], want });
    }
    match data.align_offset(want.bytes()) {
        0 => Ok(()),
        _ => Err(Error::Misaligned { side, index }),
    }
}

/// A call whose tensors were found to be the model's in number, type and room. Nothing else can be run.
pub(crate) struct Placed<'c, 'm, 'o> {
    model: &'c Model<'c>,
    pieces: &'c mut Pieces<'m>,
    outputs: &'c mut [Output<'o>],
}

/// Checks the tensors, and writes where they are into `pieces`.
pub(crate) fn place<'c, 'm, 'o>(
    model: &'c Model<'c>,
    pieces: &'c mut Pieces<'m>,
    inputs: &'c [Input<'_>],
    outputs: &'c mut [Output<'o>],
) -> Result<Placed<'c, 'm, 'o>, Error> {
    for (side, have, want) in [(Side::Input, inputs.len(), model.inputs().len()), (Side::Output, outputs.len(), model.outputs().len())] {
        if have != want {
            return Err(Error::Count { side, have, want });
        }
    }
    for (index, (tensor, input)) in model.inputs().zip(inputs).enumerate() {
        check(Side::Input, index, input.carries, tensor.dtype(), input.data)?;
        pieces.inputs[index] = input.data.cast();
        pieces.input_bytes[index] = (input.len * tensor.dtype().bytes()) as u64;
    }
    for (index, (tensor, output)) in model.outputs().zip(outputs.iter()).enumerate() {
        check(Side::Output, index, output.carries, tensor.dtype(), output.data)?;
        if output.len < tensor.elements() {
            let (have, want) = (output.len, tensor.elements());
            return Err(Error::Length { side: Side::Output, index, have, want });
        }
        pieces.outputs[index] = output.data.cast();
    }
    Ok(Placed { model, pieces, outputs })
}

impl Placed<'_, '_, '_> {
    /// The symbols that go in; `run` leaves those that came out.
    pub fn symbols(&mut self) -> &mut [i64] {
        self.pieces.symbols
    }

    pub fn run(self, workers: &Workers<'_>) -> Result<(), Error> {
        let Placed { model, pieces, outputs } = self;
        let call = MaquetteCall {
            inputs: pieces.inputs.as_ptr(),
            outputs: pieces.outputs.as_ptr(),
            input_bytes: pieces.input_bytes.as_ptr(),
            arena: pieces.arena.as_mut_ptr().cast(),
            arena_bytes: pieces.arena.len() as u64,
            state: pieces.state.as_mut_ptr().cast(),
            weights: model.weights()?.map_or(ptr::null(), |w| w.as_ptr().cast()),
            symbols: pieces.symbols.as_mut_ptr(),
            parallel_for: workers.parallel_for,
            pool: workers.pool,
            workers: pieces.workers,
            reserved: 0,
            cpu: model.cpu(),
        };
        // SAFETY: `Model::new`'s caller promised that this is a compiled model. Every pointer of the call comes from a
        // reference that lives until it returns, all of them written by `place`; inputs have the bytes that are told to
        // the model, which refuses too few; outputs have the room that the model may fill at most; arena, state and
        // weights have their sizes and alignments by `carve` and `with_weights`; nothing overlaps, as all that is
        // written came from a `&mut`.
        let code = unsafe { model.run_fn()(&call) };
        for (tensor, output) in model.outputs().zip(outputs) {
            if tensor.dtype() == DType::Bool {
                for i in 0..tensor.elements() {
                    // SAFETY: within the output's slice; as u8, so that a `bool` is 0 or 1 whatever was written.
                    unsafe { *output.data.add(i) = (*output.data.add(i) != 0).into() }
                }
            }
        }
        match code {
            0 => Ok(()),
            code => Err(Status::of(code).map_or(Error::UnknownStatus(code), Error::Status)),
        }
    }
}
