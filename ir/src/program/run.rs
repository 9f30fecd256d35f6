//! The oracle of programs: the steps in order, each call run by the oracle of kernels.
//!
//! Whatever a program may not rely on is made to hurt: the arena and the outputs start as a pattern that is no
//! zero, scratch is spoilt before every call that has some. Inputs and constants cannot be written. Calls of a
//! step that conflict (one writes a byte that another touches) panic: they are a mistake of ours.

use super::{Address, Call, Origin, Port, Program, Step, Turns};
use crate::kernel::run::{Buffer, Pointer, Watch, run_watched};
use crate::kernel::{Access, Facts};
use crate::tensor::Tensor;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// What memory holds that nobody has written: no number, and no index.
const UNDEFINED: u8 = 0xff;

/// The outputs for `inputs`, in the order of the program's ports, of their actual sizes. A status is 3 where the inputs
/// are not what the ports say or a symbol leaves its range, else what a kernel failed with.
pub fn run(program: &Program, facts: &Facts, inputs: &[Tensor]) -> Result<Vec<Tensor>, u8> {
    run_from(program, facts, inputs, &mut vec![0; usize::try_from(program.state_bytes).expect("a buffer fits the memory")])
}

/// The same from the `state` that an earlier run left, or from zeros; what this one leaves stands there then.
pub fn run_from(program: &Program, facts: &Facts, inputs: &[Tensor], state: &mut [u8]) -> Result<Vec<Tensor>, u8> {
    let given = program.sizes(inputs).ok_or(3)?;
    let (tensors, inputs) = (inputs, inputs.iter().map(Tensor::bytes).collect::<Vec<_>>());
    let constants: Vec<_> = program.constants.iter().map(super::Packed::to_vec).collect();
    let undefined = |bytes: u64| vec![UNDEFINED; usize::try_from(bytes).expect("a buffer fits the memory")];
    let mut outputs: Vec<_> = program.outputs.iter().map(|port| undefined(port.bytes)).collect();
    let (mut arena, mut scratch) = (undefined(program.arena_bytes), undefined(program.worker_bytes));
    let mut symbols: Vec<u8> = given.iter().flat_map(|value| value.to_le_bytes()).collect();
    symbols.resize(8 * program.symbols.len(), UNDEFINED);
    from_state(program, tensors, state, &mut symbols)?;

    let mut buffers: Vec<Buffer> = inputs.iter().map(|bytes| Buffer::Fixed(bytes)).collect();
    buffers.extend(constants.iter().map(|bytes| Buffer::Fixed(bytes)));
    buffers.extend(outputs.iter_mut().map(|bytes| Buffer::Open(bytes)));
    buffers.extend([Buffer::Open(state), Buffer::Open(&mut symbols), Buffer::Open(&mut arena), Buffer::Open(&mut scratch)]);
    let at = buffers.len() - 3;
    let mut turns = vec![0u64; program.repeats.len()];
    let mut number = 0;
    while let Some(step) = program.steps.get(number) {
        let count = |buffers: &[Buffer], repeat: usize| match program.repeats[repeat].turns {
            Turns::Fixed(turns) => turns,
            Turns::Symbol(index) => symbol(&buffers[at], index).max(0) as u64,
        };
        let holds = step.when.iter().all(|when| (when.low..=when.high).contains(&symbol(&buffers[at], when.symbol)));
        if holds {
            let turn = program.repeat_of(number).map_or((0, 0), |r| (turns[r], count(&buffers, r).saturating_sub(turns[r] + 1)));
            run_step(program, facts, number, step, turn, &mut buffers)?;
        }
        if let Some(repeat) = program.repeat_ending(number) {
            turns[repeat] += 1;
            if turns[repeat] < count(&buffers, repeat) {
                number = program.repeats[repeat].first;
                continue;
            }
            turns[repeat] = 0;
        }
        number += 1;
    }
    drop(buffers);

    let values: BTreeMap<Arc<str>, i64> =
        program.symbols.iter().enumerate().map(|(i, s)| (s.name.clone(), symbol(&Buffer::Fixed(&symbols), i))).collect();
    for s in &program.symbols {
        let value = values[&s.name];
        assert!((s.low..=s.high).contains(&value), "symbol \"{}\" is {value}, beyond {}..={}", s.name, s.low, s.high);
        if let Origin::Derived(dim) = &s.origin {
            assert_eq!(dim.at(&values), Some(value), "symbol \"{}\"", s.name);
        }
    }
    let tensors = program.outputs.iter().zip(outputs).map(|(port, mut bytes)| {
        let shape = port.shape_at(&values).expect("the symbols of outputs have been written");
        bytes.truncate(shape.iter().product::<usize>() * port.ty.dtype.bytes());
        Tensor::dense(port.ty.dtype, &shape, bytes)
    });
    Ok(tensors.collect())
}

/// Reads the symbols that the state has. A status is 3 where one is out of its range, or an input is not as large as it says.
fn from_state(program: &Program, inputs: &[Tensor], state: &[u8], symbols: &mut [u8]) -> Result<(), u8> {
    for (i, s) in program.symbols.iter().enumerate() {
        if let Origin::State { offset } = s.origin {
            let value = &state[offset as usize..][..8];
            symbols[8 * i..][..8].copy_from_slice(value);
            let value = i64::from_le_bytes(value.try_into().expect("8 bytes were taken"));
            if !(s.low..=s.high).contains(&value) {
                return Err(3);
            }
        }
    }
    let known = program.symbols.iter().enumerate().take_while(|(_, s)| matches!(s.origin, Origin::Free | Origin::State { .. }));
    let values: BTreeMap<Arc<str>, i64> = known.map(|(i, s)| (s.name.clone(), symbol(&Buffer::Fixed(symbols), i))).collect();
    let fits = |(port, tensor): (&Port, &Tensor)| port.shape_at(&values).is_some_and(|shape| shape == tensor.shape());
    if program.inputs.iter().zip(inputs).all(fits) { Ok(()) } else { Err(3) }
}

fn symbol(symbols: &Buffer, index: usize) -> i64 {
    let bytes = match symbols {
        Buffer::Fixed(bytes) => &bytes[8 * index..][..8],
        Buffer::Open(bytes) => &bytes[8 * index..][..8],
    };
    i64::from_le_bytes(bytes.try_into().expect("8 bytes were taken"))
}

/// Runs the calls of a step. `turn`: turns that were made of its repeat, and that come behind this one.
fn run_step(program: &Program, facts: &Facts, number: usize, step: &Step, turn: (u64, u64), buffers: &mut [Buffer]) -> Result<(), u8> {
    let scratch = buffers.len() - 1;
    let far = |by: i64| by.unsigned_abs() * if by < 0 { turn.1 } else { turn.0 };
    let moved = |call: &Call| {
        call.args.iter().enumerate().map(|(i, &a)| pointer(program, a.moved(far(call.advance_of(i))))).collect::<Vec<Pointer>>()
    };
    let pointers: Vec<Vec<Pointer>> = step.calls.iter().map(moved).collect();
    let mut stamps = may_conflict(program, step, &pointers, scratch).then(|| Stamps::new(buffers, number, step));
    for (i, (call, args)) in step.calls.iter().zip(&pointers).enumerate() {
        if args.iter().any(|p| p.buffer == scratch)
            && let Buffer::Open(scratch) = &mut buffers[scratch]
        {
            scratch.fill(UNDEFINED);
        }
        let kernel = &program.kernels[call.kernel];
        let status = match &mut stamps {
            Some(stamps) => {
                stamps.call = i as u32 + 1;
                run_watched(kernel, facts, buffers, args, stamps)
            }
            None => crate::kernel::run(kernel, facts, buffers, args),
        };
        if status != 0 {
            return Err(status);
        }
    }
    Ok(())
}

/// The buffers are the inputs, the constants, the outputs, the state, the symbols, the arena, and the scratch.
fn pointer(program: &Program, address: Address) -> Pointer {
    let (constants, outputs) = (program.inputs.len(), program.inputs.len() + program.constants.len());
    let state = outputs + program.outputs.len();
    let arena = state + 2;
    let (buffer, offset) = match address {
        Address::Input { index, offset } => (index, offset),
        Address::Constant { index, offset } => (constants + index, offset),
        Address::Output { index, offset } => (outputs + index, offset),
        Address::Symbols { offset } => (arena - 1, offset),
        Address::State { offset } => (state, offset),
        Address::Arena { offset } => (arena, offset),
        Address::Scratch { offset } => (arena + 1, offset),
    };
    Pointer { buffer, offset: usize::try_from(offset).expect("a buffer fits the memory") }
}

/// Whether a range that a call writes meets a range of another call. Where the ranges are apart, so are the bytes.
fn may_conflict(program: &Program, step: &Step, pointers: &[Vec<Pointer>], scratch: usize) -> bool {
    let ranges = |call: &Call, args: &[Pointer]| -> Vec<(usize, Range<i64>, bool)> {
        let args = program.kernels[call.kernel].args.iter().zip(args).filter(|(_, p)| p.buffer != scratch);
        args.map(|(arg, p)| (p.buffer, p.offset as i64 + arg.low..p.offset as i64 + arg.high, arg.access != Access::Read)).collect()
    };
    // sorted by where they start, a range meets one of those still open or none
    let mut all: Vec<(usize, Range<i64>, bool, usize)> = Vec::new();
    for (i, (call, args)) in step.calls.iter().zip(pointers).enumerate() {
        all.extend(ranges(call, args).into_iter().map(|(buffer, range, writes)| (buffer, range, writes, i)));
    }
    all.sort_by_key(|(buffer, range, _, _)| (*buffer, range.start));
    let meets = |at: usize| {
        let (buffer, range, writes, call) = &all[at];
        let later = all[at + 1..].iter().take_while(|(b, r, _, _)| b == buffer && r.start < range.end);
        later.into_iter().any(|(_, _, w, c)| c != call && (*w || *writes))
    };
    (0..all.len()).any(meets)
}

/// Which call of a step touched each byte, by its number from 1.
struct Stamps<'a> {
    number: usize,
    what: &'a str,
    call: u32,
    written: Vec<Vec<u32>>,
    read: Vec<Vec<u32>>,
}

/// Read by more than one call.
const MANY: u32 = u32::MAX;

impl<'a> Stamps<'a> {
    fn new(buffers: &[Buffer], number: usize, step: &'a Step) -> Stamps<'a> {
        let blank = |(i, buffer): (usize, &Buffer)| match buffer {
            // the last one is scratch: every worker has its own
            Buffer::Open(memory) if i + 1 < buffers.len() => vec![0; memory.len()],
            Buffer::Open(_) | Buffer::Fixed(_) => Vec::new(),
        };
        let written: Vec<_> = buffers.iter().enumerate().map(blank).collect();
        Stamps { number, what: &step.what, call: 0, read: written.clone(), written }
    }

    fn alone(&self, stamps: &[u32], range: &Range<usize>, buffer: usize) {
        if let Some(at) = stamps.iter().position(|&s| s != 0 && s != self.call) {
            panic!(
                "step {} ({}): call {} conflicts with another at byte {} of buffer {buffer}",
                self.number,
                self.what,
                self.call - 1,
                range.start + at
            );
        }
    }
}

impl Watch for Stamps<'_> {
    fn read(&mut self, buffer: usize, bytes: Range<usize>) {
        if let Some(written) = self.written[buffer].get(bytes.clone()) {
            self.alone(written, &bytes, buffer);
            let call = self.call;
            self.read[buffer][bytes].iter_mut().for_each(|s| *s = if *s == 0 || *s == call { call } else { MANY });
        }
    }

    fn write(&mut self, buffer: usize, bytes: Range<usize>) {
        if let Some(written) = self.written[buffer].get(bytes.clone()) {
            self.alone(written, &bytes, buffer);
            self.alone(&self.read[buffer][bytes.clone()], &bytes, buffer);
            self.written[buffer][bytes].fill(self.call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, facts};
    use super::*;
    use crate::tensor::Dtype;

    #[test]
    fn calls_run_in_order_through_the_arena() {
        // y = -|x| in two steps
        let x = Tensor::f32s(&[4], &[1.0, -2.0, 3.0, -4.0]);
        let out = run(&samples::two_steps(), &facts(), &[x]).expect("it runs");
        assert_eq!((out[0].to_f32s(), out[0].shape()), (vec![-1.0, -2.0, -3.0, -4.0], &[4usize][..]));
    }

    #[test]
    fn state_is_zero_at_first_and_stays() {
        // y = -(x + state) by way of the state, which is |x| after it
        let mut program = samples::two_steps();
        program.state_bytes = 16;
        (program.arena_bytes, program.plan) = (0, Vec::new());
        program.steps.swap(0, 1);
        program.steps[0].calls[0].args[0] = Address::State { offset: 0 };
        program.steps[1].calls[0].args[1] = Address::State { offset: 0 };
        let (facts, mut state) = (facts(), vec![0; 16]);
        let mut next = |x: [f32; 4]| run_from(&program, &facts, &[Tensor::f32s(&[4], &x)], &mut state).expect("it runs")[0].to_f32s();
        assert_eq!(next([1.0, -2.0, 3.0, 0.0]), [0.0; 4]);
        assert_eq!(next([5.0; 4]), [-1.0, -2.0, -3.0, 0.0]);
    }

    #[test]
    fn inputs_that_do_not_fit_give_status_3() {
        let program = samples::two_steps();
        assert_eq!(run(&program, &facts(), &[]).err(), Some(3));
        assert_eq!(run(&program, &facts(), &[Tensor::f32s(&[3], &[0.0; 3])]).err(), Some(3));
        assert_eq!(run(&program, &facts(), &[Tensor::dense(Dtype::I32, &[4], vec![0; 16])]).err(), Some(3));
    }

    #[test]
    fn a_status_stops_the_run() {
        let mut program = samples::two_steps();
        program.kernels.push(samples::failing(4));
        let kernel = program.kernels.len() - 1;
        program.steps[1].calls.push(Call::new(kernel, Vec::new()));
        assert_eq!(run(&program, &facts(), &[Tensor::f32s(&[4], &[0.0; 4])]).err(), Some(4));
    }

    #[test]
    fn scratch_does_not_live_from_call_to_call() {
        let mut program = samples::two_steps();
        program.worker_bytes = 16;
        // the first step writes to scratch, the second reads what is there
        program.steps[0].calls[0].args[1] = Address::Scratch { offset: 0 };
        program.steps[1].calls[0].args[0] = Address::Scratch { offset: 0 };
        let out = run(&program, &facts(), &[Tensor::f32s(&[4], &[1.0; 4])]).expect("it runs");
        assert_eq!(out[0].bytes()[..4], [0xff, 0xff, 0xff, 0x7f]);
    }

    #[test]
    fn calls_of_a_step_may_interleave_but_not_meet() {
        // two calls write every other element of one output: their ranges overlap, their bytes do not
        let mut program = samples::interleaved();
        let out = run(&program, &facts(), &[]).expect("it runs");
        assert_eq!(out[0].to_f32s(), [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
        program.steps[0].calls[1].args[0] = Address::Output { index: 0, offset: 8 };
        program.outputs[0].bytes += 4;
        let panic = std::panic::catch_unwind(|| run(&program, &facts(), &[]).is_ok());
        let message = panic.expect_err("it must not run").downcast::<String>().expect("panics carry a text");
        assert!(message.contains("conflicts with another at byte 8"), "{message}");
    }

    #[test]
    fn a_call_must_not_write_what_another_reads() {
        let mut program = samples::two_steps();
        let second = program.steps.pop().expect("there are two").calls;
        program.steps[0].calls.extend(second);
        let panic = std::panic::catch_unwind(|| run(&program, &facts(), &[Tensor::f32s(&[4], &[0.0; 4])]).is_ok());
        let message = panic.expect_err("it must not run").downcast::<String>().expect("panics carry a text");
        assert!(message.contains("call 1 conflicts"), "{message}");
    }
}
