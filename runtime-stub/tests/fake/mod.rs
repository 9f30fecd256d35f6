//! A compiled model that is none: its `run` is Rust, and checks its call as strictly as a real one. For every row of
//! `rows f32[batch, 3]` it gives the sum and the greatest value, for `mask bool[3]` how many are true and their negation,
//! and it counts its runs.
#![allow(unsafe_code, dead_code)]

use core::ffi::{c_char, c_void};
use core::{ptr, slice};
use runtime_stub::{MaquetteCall, MaquetteModel, MaquetteSymbol, MaquetteTensor, Model};

pub const ARENA_BYTES: u64 = 96;
pub const ARENA_ALIGN: u64 = 64;
pub const WORKER_BYTES: u64 = 32;
pub const STATE_BYTES: u64 = 8;
pub const CPU: u64 = 0b101;

fn cstr(text: &'static core::ffi::CStr) -> *const c_char {
    text.as_ptr()
}

fn tensor(name: &'static core::ffi::CStr, dtype: i32, size: u64, dims: &'static [i64], symbols: &'static [i32]) -> MaquetteTensor {
    let bytes = dims.iter().product::<i64>() as u64 * size;
    let symbols = if symbols.is_empty() { ptr::null() } else { symbols.as_ptr() };
    MaquetteTensor { name: cstr(name), dims: dims.as_ptr(), symbols, bytes, dtype, rank: dims.len() as i32 }
}

fn leak<T>(list: Vec<T>) -> *const T {
    Box::leak(list.into_boxed_slice()).as_ptr()
}

/// The descriptor; a test may spoil a copy of it before it makes a model.
pub fn descriptor() -> MaquetteModel {
    let inputs = vec![tensor(c"rows", 1, 4, &[4, 3], &[0, -1]), tensor(c"mask", 9, 1, &[3], &[])];
    let outputs = vec![
        tensor(c"sums", 1, 4, &[4], &[0]),
        tensor(c"not", 9, 1, &[3], &[]),
        tensor(c"chosen", 10, 2, &[3], &[1]),
        tensor(c"runs", 7, 8, &[], &[]),
    ];
    let symbols = vec![MaquetteSymbol { name: cstr(c"batch"), min: 1, max: 4 }, MaquetteSymbol { name: cstr(c"n"), min: 0, max: 3 }];
    MaquetteModel {
        abi: 1,
        input_count: inputs.len() as u32,
        output_count: outputs.len() as u32,
        symbol_count: symbols.len() as u32,
        name: cstr(c"fake"),
        target: cstr(c"x86_64-linux, x86-64-v3"),
        compiler: cstr(c"none 0"),
        inputs: leak(inputs),
        outputs: leak(outputs),
        symbols: leak(symbols),
        arena_bytes: ARENA_BYTES,
        arena_align: ARENA_ALIGN,
        worker_bytes: WORKER_BYTES,
        state_bytes: STATE_BYTES,
        weights_bytes: 0,
        cpu: Some(cpu),
        reset: Some(reset),
        run: Some(run),
    }
}

/// A descriptor after `spoil` has been at it.
pub fn with(spoil: impl FnOnce(&mut MaquetteModel)) -> &'static MaquetteModel {
    let mut raw = descriptor();
    spoil(&mut raw);
    Box::leak(Box::new(raw))
}

pub fn model() -> Model<'static> {
    // SAFETY: leaked, so it lives for ever; `run` keeps what a compiled model promises.
    unsafe { Model::new(with(|_| ())) }.expect("the fake is sound")
}

unsafe extern "C" fn cpu() -> u64 {
    CPU
}

unsafe extern "C" fn reset(state: *mut c_void) {
    // SAFETY: the state has 8 bytes and is 64-byte aligned.
    unsafe { state.cast::<i64>().write(0) }
}

struct Rows {
    rows: *const f32,
    sums: *mut f32,
    scratch: *mut u8,
    workers: i64,
}

unsafe extern "C" fn row(context: *mut c_void, i: i64, worker: i64) {
    // SAFETY: `run` made the context; each row is one task's, each scratch one worker's at a time.
    unsafe {
        let rows = &*context.cast::<Rows>();
        assert!((0..rows.workers).contains(&worker), "worker {worker} of {}", rows.workers);
        let scratch = rows.scratch.add(worker as usize * WORKER_BYTES as usize).cast::<f32>();
        scratch.write(0.0);
        for k in 0..3 {
            scratch.write(scratch.read() + rows.rows.add(i as usize * 3 + k).read());
        }
        rows.sums.add(i as usize).write(scratch.read());
    }
}

/// Values of `rows[0]` that make `run` return a status of its own.
pub const BAD_DATA: f32 = -1000.0;
pub const UNKNOWN: f32 = -2000.0;

unsafe extern "C" fn run(call: *const MaquetteCall) -> i32 {
    // SAFETY: what a caller of a compiled model promises; all of it that can be seen is checked.
    unsafe {
        let call = &*call;
        let workers = i64::from(call.workers.max(1));
        if call.arena.is_null() || call.arena.align_offset(ARENA_ALIGN as usize) != 0 {
            return 1;
        }
        if call.state.is_null() || call.state.align_offset(64) != 0 || !call.weights.is_null() {
            return 1;
        }
        if call.arena_bytes < ARENA_BYTES + workers as u64 * WORKER_BYTES {
            return 2;
        }
        if call.cpu != CPU || call.reserved != 0 {
            return 5;
        }
        let symbols = slice::from_raw_parts_mut(call.symbols, 2);
        let batch = symbols[0];
        let bytes = slice::from_raw_parts(call.input_bytes, 2);
        if !(1..=4).contains(&batch) || bytes[0] != batch as u64 * 12 || bytes[1] != 3 {
            return 3;
        }
        let inputs = slice::from_raw_parts(call.inputs, 2);
        let outputs = slice::from_raw_parts(call.outputs, 4);
        let (rows, mask) = (inputs[0].cast::<f32>(), slice::from_raw_parts(inputs[1].cast::<u8>(), 3));
        match rows.read() {
            BAD_DATA => return 4,
            UNKNOWN => return 77,
            _ => {}
        }
        // The whole arena is the model's to write.
        call.arena.cast::<u8>().write_bytes(0xa5, call.arena_bytes as usize);
        let scratch = call.arena.cast::<u8>().add(ARENA_BYTES as usize);
        let mut context = Rows { rows, sums: outputs[0].cast(), scratch, workers };
        let context = ptr::from_mut(&mut context).cast::<c_void>();
        match call.parallel_for {
            Some(parallel_for) => parallel_for(call.pool, batch, row, context),
            None => (0..batch).for_each(|i| row(context, i, 0)),
        }
        symbols[1] = 0;
        for (k, on) in mask.iter().enumerate() {
            // A sloppy truth: any bit pattern but 0.
            outputs[1].cast::<u8>().add(k).write(if *on == 0 { 0xff } else { 0 });
            if *on != 0 {
                outputs[2].cast::<u16>().add(symbols[1] as usize).write(0x3c00 + k as u16);
                symbols[1] += 1;
            }
        }
        let runs = call.state.cast::<i64>();
        runs.write(runs.read() + 1);
        outputs[3].cast::<i64>().write(runs.read());
        0
    }
}
