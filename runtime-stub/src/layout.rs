//! The C ABI, version 1, as Rust sees it: field for field the structs of the generated header. Nothing here reads a
//! pointer; `call` does.

use core::ffi::{c_char, c_void};

/// The version of the ABI that these layouts are.
pub const ABI: u32 = 1;

/// One independent piece of a kernel: piece `i`, run by worker `worker`, which nobody else is at that time.
pub type TaskFn = unsafe extern "C" fn(context: *mut c_void, i: i64, worker: i64);
/// Runs `task(context, i, worker)` once for every `i` in `0..n`, in any order, and returns when all are done.
/// `worker` is in `0..workers` of the call.
pub type ParallelFor = unsafe extern "C" fn(pool: *mut c_void, n: i64, task: TaskFn, context: *mut c_void);
/// What the CPU can do, as a word for [`MaquetteCall::cpu`]; bit 0 is always set.
pub type CpuFn = unsafe extern "C" fn() -> u64;
/// Brings the state to what it is before the first run.
pub type ResetFn = unsafe extern "C" fn(state: *mut c_void);
/// Runs the model once; returns a [`crate::Status`] as a number.
pub type RunFn = unsafe extern "C" fn(call: *const MaquetteCall) -> i32;

/// An input or an output.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct MaquetteTensor {
    pub name: *const c_char,
    /// `rank` upper bounds.
    pub dims: *const i64,
    /// Per dimension -1 or an index into the model's symbols; null when all are fixed.
    pub symbols: *const i32,
    /// Bytes at the upper bounds.
    pub bytes: u64,
    /// The number of ONNX `TensorProto.DataType`.
    pub dtype: i32,
    pub rank: i32,
}

/// A named dimension and its range, both ends included.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct MaquetteSymbol {
    pub name: *const c_char,
    pub min: i64,
    pub max: i64,
}

/// Everything that one run reads and writes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct MaquetteCall {
    pub inputs: *const *const c_void,
    pub outputs: *const *mut c_void,
    /// Null: sizes are not checked.
    pub input_bytes: *const u64,
    pub arena: *mut c_void,
    /// At least `model.arena_bytes + max(workers, 1) * model.worker_bytes`.
    pub arena_bytes: u64,
    /// `state_bytes`, 64-byte aligned, reset before the first run.
    pub state: *mut c_void,
    /// Null when embedded, else 64-byte aligned.
    pub weights: *const c_void,
    /// Free ones in (they come first), derived and data-dependent ones out.
    pub symbols: *mut i64,
    /// `None`: serial.
    pub parallel_for: Option<ParallelFor>,
    pub pool: *mut c_void,
    /// 0 means 1.
    pub workers: u32,
    pub reserved: u32,
    /// What `model.cpu` said; 0: detect now.
    pub cpu: u64,
}

/// The one public symbol of an artifact, `NAME_model`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct MaquetteModel {
    pub abi: u32,
    pub input_count: u32,
    pub output_count: u32,
    pub symbol_count: u32,
    pub name: *const c_char,
    pub target: *const c_char,
    pub compiler: *const c_char,
    pub inputs: *const MaquetteTensor,
    pub outputs: *const MaquetteTensor,
    pub symbols: *const MaquetteSymbol,
    pub arena_bytes: u64,
    pub arena_align: u64,
    pub worker_bytes: u64,
    pub state_bytes: u64,
    /// 0 when embedded.
    pub weights_bytes: u64,
    pub cpu: Option<CpuFn>,
    /// `None` when `state_bytes` is 0.
    pub reset: Option<ResetFn>,
    pub run: Option<RunFn>,
}
