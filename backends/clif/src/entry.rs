//! The function behind a model's `run`: checks what the caller brought, finds the CPU level, and goes through the steps, on the
//! caller's workers where a step has more than one call. It runs on every CPU of the machine, calls nothing but the
//! model's kernels and the stub that asks the CPU, and writes nothing but the caller's memory. It refuses to know what a kernel
//! computes; [`crate::steps`] knows how calls are written down.

use std::collections::BTreeMap;

use artifact::{Content, Symbol};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, Value};
use ir::Program;
use ir::fault::Fault;
use ir::program::{STATE_ALIGN, WEIGHTS_ALIGN};

use crate::Target;
use crate::function::{Body, I32, I64, function};
use crate::steps::{BACK, CALLS, GUARD, TURN, TURNS, WHEN, step_bytes, steps};
use crate::symbols::Sizes;

/// A model to enter.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Prefix of all symbols: `NAME.run` is the entry.
    pub name: &'a str,
    /// The symbol of the stub `uint64_t cpu(void)`.
    pub cpu: &'a str,
    /// At least one; the best last. All have the same inputs, outputs and symbols.
    pub levels: &'a [Level<'a>],
    pub weights: Weights<'a>,
    /// The output, 64 bits for each step, that the nanoseconds of every step are added to. Wants the stub `maquette_clock_ns`,
    /// which executables have.
    pub times: Option<usize>,
}

/// The model for one CPU level.
#[derive(Clone, Debug)]
pub struct Level<'a> {
    pub program: &'a Program,
    /// E.g. `x86-64-v3`; part of symbols' names.
    pub name: &'a str,
    /// The bits of the `cpu` word without which this level must not run; 0: every CPU of the machine runs it.
    pub mask: u64,
    /// The symbol of each kernel. Tile kernels return nothing, scalar kernels an `int32_t` status; all take their arguments as
    /// pointers, and keep the registers that the machine's calling convention says.
    pub kernels: &'a [String],
    /// Where each constant starts in the weights, in bytes.
    pub constants: &'a [u64],
}

/// Where the constants are. Without constants neither is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights<'a> {
    /// In the artifact, from this symbol on.
    Symbol(&'a str),
    /// Wherever the caller loaded them.
    Caller,
}

/// Memory that all levels get along with; what the model's description promises and [`entry`] checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub arena_bytes: u64,
    /// A power of two.
    pub arena_align: u64,
    /// A multiple of `arena_align`.
    pub worker_bytes: u64,
    /// A multiple of [`STATE_ALIGN`].
    pub state_bytes: u64,
}

impl Memory {
    pub fn of<'a>(programs: impl IntoIterator<Item = &'a Program>) -> Memory {
        let mut memory = Memory { arena_bytes: 0, arena_align: 1, worker_bytes: 0, state_bytes: 0 };
        for program in programs {
            memory.arena_bytes = memory.arena_bytes.max(program.arena_bytes);
            memory.arena_align = memory.arena_align.max(program.arena_align);
            memory.worker_bytes = memory.worker_bytes.max(program.worker_bytes);
            memory.state_bytes = memory.state_bytes.max(program.state_bytes.next_multiple_of(STATE_ALIGN));
        }
        let align = memory.arena_align;
        Memory {
            arena_bytes: memory.arena_bytes.next_multiple_of(align),
            worker_bytes: memory.worker_bytes.next_multiple_of(align),
            ..memory
        }
    }
}

/// Places in `maquette_call`, in bytes.
pub(crate) mod call {
    pub const INPUTS: i32 = 0;
    pub const OUTPUTS: i32 = 8;
    pub const INPUT_BYTES: i32 = 16;
    pub const ARENA: i32 = 24;
    pub const ARENA_BYTES: i32 = 32;
    pub const STATE: i32 = 40;
    pub const WEIGHTS: i32 = 48;
    pub const SYMBOLS: i32 = 56;
    pub const PARALLEL_FOR: i32 = 64;
    pub const POOL: i32 = 72;
    pub const WORKERS: i32 = 80;
    pub const CPU: i32 = 88;
    pub const SIZE: u32 = 96;
}

/// Status codes of the C interface.
pub(crate) mod status {
    pub const POINTER: i64 = 1;
    pub const ARENA: i64 = 2;
    pub const SIZE: i64 = 3;
    pub const CPU: i64 = 5;
}

/// The context of a run, on its stack: the level's function, the step at work, the status of a failed call, the turns that were
/// made of the repeat at work and that are left behind this one, the bases that addresses count from, and behind these the turns
/// that were made of every repeat.
const EXECUTE: i32 = 0;
const AT_STEP: i32 = 8;
const STATUS: i32 = 16;
pub(crate) const TURN_NOW: i32 = 24;
pub(crate) const TURN_LEFT: i32 = 32;
pub(crate) const BASES: i32 = 40;
/// Numbers of bases.
pub(crate) const ARENA: usize = 0;
pub(crate) const SCRATCH: usize = 1;
pub(crate) const WEIGHTS: usize = 2;
pub(crate) const SYMBOLS: usize = 3;
pub(crate) const STATE: usize = 4;
/// The inputs, then the outputs.
pub(crate) const FIRST_PORT: usize = 5;

/// Bytes of a port in `NAME.ports`: its size, its alignment less one.
const PORT: i64 = 16;

/// The symbols `NAME.run` (`int32_t run(const maquette_call *)`) and what it needs, all local; the kernels, the weights and the
/// `cpu` stub are the caller's to add.
/// Fault: a table or function larger than its addresses reach.
pub fn entry(target: &Target, entry: &Entry) -> Result<Vec<Symbol>, Fault> {
    let first = entry.levels.first().expect("a model has a level").program;
    for level in entry.levels {
        let (program, name) = (level.program, level.name);
        assert_eq!(level.kernels.len(), program.kernels.len(), "a symbol for every kernel of {name}");
        assert_eq!(level.constants.len(), program.constants.len(), "a place for every constant of {name}");
        assert_eq!((&program.inputs, &program.outputs), (&first.inputs, &first.outputs), "the signature of {name}");
        assert_eq!(program.symbols, first.symbols, "the symbols of {name}");
    }
    let memory = Memory::of(entry.levels.iter().map(|level| level.program));
    // the product with any number of workers must not overflow
    if memory.worker_bytes >= 1 << 31 || memory.arena_bytes >= 1 << 62 {
        return Err(Fault::limit(format!("{} needs {} bytes and {} per worker", entry.name, memory.arena_bytes, memory.worker_bytes)));
    }
    let mut symbols = Vec::new();
    let ports = first.inputs.iter().chain(&first.outputs);
    let ports: Vec<u8> = ports.flat_map(|p| [p.bytes, p.ty.dtype.bytes() as u64 - 1]).flat_map(u64::to_le_bytes).collect();
    if !ports.is_empty() {
        symbols.push(Symbol::constant(format!("{}.ports", entry.name), 8, Content::Bytes(ports)));
    }
    let programs: Vec<&Program> = entry.levels.iter().map(|level| level.program).collect();
    let step_bytes = step_bytes(&programs);
    for level in entry.levels {
        symbols.extend(steps(target, level, entry.name, memory.worker_bytes, step_bytes)?);
    }
    let (name, task) = (format!("{}.run", entry.name), format!("{}.task", entry.name));
    symbols.push(function(&target.any, target.machine, &task, &[I64; 3], &[], write_task)?);
    symbols.push(function(&target.any, target.machine, &name, &[I64], &[I32], |body, params| {
        let repeats = programs.iter().map(|p| p.repeats.len()).max().unwrap_or(0);
        let ports = FIRST_PORT + first.inputs.len() + first.outputs.len();
        let context = body.stack(BASES as u32 + 8 * (ports + repeats) as u32);
        for repeat in 0..repeats {
            let zero = body.long(0);
            body.store(zero, context, BASES + 8 * (ports + repeat) as i32);
        }
        Run { body, entry, memory, step_bytes, call: params[0], context, fails: BTreeMap::new() }.write(&task);
    })?);
    Ok(symbols)
}

/// `void NAME.reset(void *state)`: what the state is before the first run.
/// Fault: none that a state of less than 2^62 bytes has.
pub fn reset(target: &Target, name: &str, state_bytes: u64) -> Result<Symbol, Fault> {
    function(&target.any, target.machine, &format!("{name}.reset"), &[I64], &[], |body, params| {
        let state = params[0];
        let words = body.long((state_bytes / 8) as i64);
        body.count(words, |body, i| {
            let at = body.mul_imm(i, 8);
            let at = body.add(state, at);
            let zero = body.long(0);
            body.store(zero, at, 0);
        });
        body.b.ins().return_(&[]);
    })
}

/// `void task(void *context, int64_t i, int64_t worker)`: call `i` of the step at work.
fn write_task(body: &mut Body, params: &[Value]) {
    let &[context, i, worker] = params else { unreachable!("three were declared") };
    let execute = body.load(I64, context, EXECUTE);
    let step = body.load(I64, context, AT_STEP);
    let result = body.call_address(execute, &[context, step, i, worker], Some(I32)).expect("it was asked for");
    // Workers that fail at the same time all write a status that tells the truth; one of them stays.
    let failed = body.cmp_imm(IntCC::NotEqual, result, 0);
    body.when(failed, |body| body.store(result, context, STATUS));
    body.b.ins().return_(&[]);
}

struct Run<'e, 'b, 'f> {
    body: &'b mut Body<'f>,
    entry: &'e Entry<'e>,
    memory: Memory,
    /// Of a step in the tables.
    step_bytes: i64,
    /// The caller's struct.
    call: Value,
    context: Value,
    /// A block that returns each status.
    fails: BTreeMap<i64, Block>,
}

impl Run<'_, '_, '_> {
    fn write(mut self, task: &str) {
        let (call, program) = (self.call, self.entry.levels[0].program);
        self.refuse_null(call);
        let (inputs, outputs) = (program.inputs.len(), program.outputs.len());
        self.ports(call::INPUTS, 0, inputs);
        self.ports(call::OUTPUTS, inputs, outputs);
        let arena = self.arena();
        let state = self.state();
        self.weights();
        let symbols = (!program.symbols.is_empty()).then(|| self.words(call::SYMBOLS));
        self.arena_size(arena);
        if let Some(symbols) = symbols {
            self.base(SYMBOLS, symbols);
            let fail = self.fail(status::SIZE);
            Sizes { body: self.body, symbols: &program.symbols, at: symbols }.begin(state, fail);
        }
        self.input_bytes(symbols);
        let (first, end) = self.level();
        self.steps(first, end, task);
        self.body.give_status(0);
        for (status, block) in std::mem::take(&mut self.fails) {
            self.body.at(block);
            self.body.give_status(status);
        }
    }

    fn fail(&mut self, status: i64) -> Block {
        let body = &mut self.body;
        *self.fails.entry(status).or_insert_with(|| body.cold())
    }

    fn fail_if(&mut self, cond: Value, status: i64) {
        let block = self.fail(status);
        self.body.leave_if(cond, block);
    }

    fn refuse_null(&mut self, pointer: Value) {
        let null = self.body.cmp_imm(IntCC::Equal, pointer, 0);
        self.fail_if(null, status::POINTER);
    }

    fn refuse_misaligned(&mut self, pointer: Value, align: u64) {
        if align > 1 {
            let low = self.body.and_imm(pointer, align as i64 - 1);
            self.fail_if(low, status::POINTER);
        }
    }

    /// A field of the call that points to 64-bit words.
    fn words(&mut self, field: i32) -> Value {
        let pointer = self.body.load(I64, self.call, field);
        self.refuse_null(pointer);
        self.refuse_misaligned(pointer, 8);
        pointer
    }

    fn base(&mut self, number: usize, address: Value) {
        self.body.store(address, self.context, BASES + 8 * number as i32);
    }

    /// Copies `count` pointers to the bases and checks each; they are ports `first` and following.
    fn ports(&mut self, field: i32, first: usize, count: usize) {
        if count == 0 {
            return;
        }
        let pointers = self.words(field);
        let table = self.body.address(&format!("{}.ports", self.entry.name));
        let table = self.body.add_imm(table, first as i64 * PORT);
        let bases = self.body.add_imm(self.context, i64::from(BASES) + 8 * (FIRST_PORT + first) as i64);
        let fail = self.fail(status::POINTER);
        let count = self.body.long(count as i64);
        self.body.count(count, |body, i| {
            let (at, row) = (body.mul_imm(i, 8), body.mul_imm(i, PORT));
            let (from, to, row) = (body.add(pointers, at), body.add(bases, at), body.add(table, row));
            let pointer = body.load(I64, from, 0);
            let (bytes, mask) = (body.load(I64, row, 0), body.load(I64, row, 8));
            // an empty tensor may lie nowhere
            let null = body.cmp_imm(IntCC::Equal, pointer, 0);
            let any = body.cmp_imm(IntCC::NotEqual, bytes, 0);
            let null = body.b.ins().band(null, any);
            body.leave_if(null, fail);
            let low = body.b.ins().band(pointer, mask);
            body.leave_if(low, fail);
            body.store(pointer, to, 0);
        });
    }

    fn arena(&mut self) -> Value {
        let arena = self.body.load(I64, self.call, call::ARENA);
        if self.memory.arena_bytes + self.memory.worker_bytes > 0 {
            self.refuse_null(arena);
            self.refuse_misaligned(arena, self.memory.arena_align);
        }
        arena
    }

    fn workers(&mut self) -> Value {
        let workers = self.body.load_u32(self.call, call::WORKERS);
        let one = self.body.long(1);
        self.body.b.ins().umax(workers, one)
    }

    fn arena_size(&mut self, arena: Value) {
        let scratch = self.body.add_imm(arena, self.memory.arena_bytes as i64);
        self.base(ARENA, arena);
        self.base(SCRATCH, scratch);
        let workers = self.workers();
        let needed = self.body.mul_imm(workers, self.memory.worker_bytes as i64);
        let needed = self.body.add_imm(needed, self.memory.arena_bytes as i64);
        let bytes = self.body.load(I64, self.call, call::ARENA_BYTES);
        let short = self.body.cmp(IntCC::UnsignedLessThan, bytes, needed);
        self.fail_if(short, status::ARENA);
    }

    fn state(&mut self) -> Option<Value> {
        if self.memory.state_bytes == 0 {
            return None;
        }
        let state = self.body.load(I64, self.call, call::STATE);
        self.refuse_null(state);
        self.refuse_misaligned(state, STATE_ALIGN);
        self.base(STATE, state);
        Some(state)
    }

    fn weights(&mut self) {
        if self.entry.levels.iter().all(|level| level.constants.is_empty()) {
            return;
        }
        let weights = match self.entry.weights {
            Weights::Symbol(symbol) => self.body.address(symbol),
            Weights::Caller => {
                let weights = self.body.load(I64, self.call, call::WEIGHTS);
                self.refuse_null(weights);
                self.refuse_misaligned(weights, u64::from(WEIGHTS_ALIGN));
                weights
            }
        };
        self.base(WEIGHTS, weights);
    }

    /// Compares what the caller has with what the inputs take, at their actual sizes.
    fn input_bytes(&mut self, symbols: Option<Value>) {
        let program = self.entry.levels[0].program;
        let inputs = &program.inputs;
        if inputs.is_empty() {
            return;
        }
        let given = self.body.load(I64, self.call, call::INPUT_BYTES);
        let fail = self.fail(status::SIZE);
        let ports = format!("{}.ports", self.entry.name);
        let there = self.body.cmp_imm(IntCC::NotEqual, given, 0);
        self.body.when(there, |body| {
            if let Some(at) = symbols {
                for (i, port) in inputs.iter().enumerate() {
                    let wanted = Sizes { body, symbols: &program.symbols, at }.bytes(port);
                    let given = body.load(I64, given, 8 * i as i32);
                    let differ = body.cmp(IntCC::NotEqual, given, wanted);
                    body.leave_if(differ, fail);
                }
                return;
            }
            let table = body.address(&ports);
            let count = body.long(inputs.len() as i64);
            body.count(count, |body, i| {
                let (at, row) = (body.mul_imm(i, 8), body.mul_imm(i, PORT));
                let (at, row) = (body.add(given, at), body.add(table, row));
                let (given, wanted) = (body.load(I64, at, 0), body.load(I64, row, 0));
                let differ = body.cmp(IntCC::NotEqual, given, wanted);
                body.leave_if(differ, fail);
            });
        });
    }

    /// The `cpu` word: what the caller says, or what the CPU does.
    fn cpu(&mut self) -> Value {
        let word = self.body.load(I64, self.call, call::CPU);
        let cpu = self.body.var(I64, word);
        let unknown = self.body.cmp_imm(IntCC::Equal, word, 0);
        let stub = self.entry.cpu;
        self.body.when(unknown, |body| {
            let word = body.call(stub, &[], Some(I64)).expect("it was asked for");
            body.set(cpu, word);
        });
        self.body.get(cpu)
    }

    /// The best level that the CPU has: its function goes into the context, its steps are returned. Who needs nothing asks nobody.
    fn level(&mut self) -> (Value, Value) {
        let levels: Vec<&Level> = self.entry.levels.iter().rev().collect();
        let picky = levels.iter().position(|level| level.mask == 0).unwrap_or(levels.len());
        let found = self.body.block();
        let [execute, first, end] = [(); 3].map(|()| self.body.b.append_block_param(found, I64));
        if picky > 0 {
            let cpu = self.cpu();
            for level in &levels[..picky] {
                let mask = self.body.long(level.mask as i64);
                let has = self.body.b.ins().band(cpu, mask);
                let fits = self.body.cmp(IntCC::Equal, has, mask);
                let (yes, no) = (self.body.block(), self.body.block());
                self.body.branch(fits, yes, no);
                self.body.at(yes);
                self.take(level, found);
                self.body.at(no);
            }
        }
        match levels.get(picky) {
            Some(level) => self.take(level, found),
            None => {
                let none = self.fail(status::CPU);
                self.body.jump(none);
            }
        }
        self.body.at(found);
        self.body.store(execute, self.context, EXECUTE);
        (first, end)
    }

    /// Goes to `found` with the level's function and steps.
    fn take(&mut self, level: &Level, found: Block) {
        let execute = self.body.function_address(&format!("{}.{}.execute", self.entry.name, level.name));
        let first = self.body.address(&format!("{}.{}.steps", self.entry.name, level.name));
        let end = self.body.add_imm(first, self.step_bytes * level.program.steps.len() as i64);
        self.body.b.ins().jump(found, &[execute.into(), first.into(), end.into()]);
    }

    fn steps(&mut self, first: Value, end: Value, task: &str) {
        let (call, context, step_bytes) = (self.call, self.context, self.step_bytes);
        let inputs = self.entry.levels[0].program.inputs.len();
        let times = self.entry.times.map(|output| BASES + 8 * (FIRST_PORT + inputs + output) as i32);
        let body = &mut *self.body;
        let before = times.map(|_| {
            let now = now(body);
            body.var(I64, now)
        });
        let execute = body.load(I64, context, EXECUTE);
        let parallel_for = body.load(I64, call, call::PARALLEL_FOR);
        let pool = body.load(I64, call, call::POOL);
        let workers = body.load_u32(call, call::WORKERS);
        let alone = body.cmp_imm(IntCC::UnsignedLessThan, workers, 2);
        let no = body.long(0);
        let parallel_for = body.b.ins().select(alone, no, parallel_for);
        let zero = body.int(I32, 0);
        body.store(zero, context, STATUS);

        let failed = body.cold();
        let result = body.b.append_block_param(failed, I32);
        let at = body.var(I64, first);
        let (head, inside, next) = (body.block(), body.block(), body.block());
        body.jump(head);
        body.at(head);
        let step = body.get(at);
        let more = body.cmp(IntCC::NotEqual, step, end);
        body.branch(more, inside, next);

        body.at(inside);
        let done = body.block();
        let repeats = step_bytes > i64::from(TURN);
        if repeats {
            tell_turn(body, step, context);
        }
        if step_bytes > i64::from(WHEN) {
            leave_unless(body, step, context, done);
        }
        let calls = body.load_u32(step, CALLS);
        let several = body.cmp_imm(IntCC::UnsignedGreaterThan, calls, 1);
        let pooled = body.cmp_imm(IntCC::NotEqual, parallel_for, 0);
        let parallel = body.b.ins().band(several, pooled);
        let (shared, serial) = (body.block(), body.block());
        body.branch(parallel, shared, serial);

        body.at(shared);
        body.store(step, context, AT_STEP);
        let task = body.function_address(task);
        body.call_address(parallel_for, &[pool, calls, task, context], None);
        let status = body.load(I32, context, STATUS);
        body.b.ins().brif(status, failed, &[status.into()], done, &[]);

        body.at(serial);
        body.count(calls, |body, i| {
            let worker = body.long(0);
            let status = body.call_address(execute, &[context, step, i, worker], Some(I32)).expect("it was asked for");
            let next = body.block();
            body.b.ins().brif(status, failed, &[status.into()], next, &[]);
            body.at(next);
        });
        body.jump(done);

        body.at(done);
        if let (Some(times), Some(before)) = (times, before) {
            let times = body.load(I64, context, times);
            let at = body.b.ins().isub(step, first);
            let step_bytes = body.long(step_bytes);
            let at = body.b.ins().udiv(at, step_bytes);
            let at = body.mul_imm(at, 8);
            let at = body.add(times, at);
            let (now, then, sum) = (now(body), body.get(before), body.load(I64, at, 0));
            let time = body.b.ins().isub(now, then);
            let sum = body.add(sum, time);
            body.store(sum, at, 0);
            body.set(before, now);
        }
        let then = body.add_imm(step, step_bytes);
        body.set(at, then);
        if repeats {
            let back = body.load_u32(step, BACK);
            let ends = body.cmp_imm(IntCC::NotEqual, back, 0);
            body.when(ends, |body| {
                let next = end_turn(body, step, context, back, then);
                body.set(at, next);
            });
        }
        body.jump(head);

        body.at(failed);
        body.give(result);
        body.at(next);
    }
}

/// Nanoseconds since some moment.
fn now(body: &mut Body) -> Value {
    body.call("maquette_clock_ns", &[], Some(I64)).expect("it was asked for")
}

/// How many turns the repeat around a step takes, and where those that were made are counted.
fn turns(body: &mut Body, step: Value, context: Value) -> (Value, Value) {
    let place = body.load_u32(step, TURN);
    let place = body.add(context, place);
    let turns = body.load(I32, step, TURNS);
    let turns = body.b.ins().sextend(I64, turns);
    let count = body.var(I64, turns);
    let is_symbol = body.cmp_imm(IntCC::SignedLessThan, turns, 0);
    body.when(is_symbol, |body| {
        let symbols = body.load(I64, context, BASES + 8 * SYMBOLS as i32);
        let index = body.b.ins().bnot(turns);
        let index = body.mul_imm(index, 8);
        let at = body.add(symbols, index);
        let value = body.load(I64, at, 0);
        body.set(count, value);
    });
    (body.get(count), place)
}

/// Writes into the context which turn of its repeat a step is in.
fn tell_turn(body: &mut Body, step: Value, context: Value) {
    let place = body.load_u32(step, TURN);
    let inside = body.cmp_imm(IntCC::NotEqual, place, 0);
    body.when(inside, |body| {
        let (count, place) = turns(body, step, context);
        let now = body.load(I64, place, 0);
        let left = body.b.ins().isub(count, now);
        let left = body.add_imm(left, -1);
        body.store(now, context, TURN_NOW);
        body.store(left, context, TURN_LEFT);
    });
}

/// Counts a turn whose last step is done. The step that comes then: `next`, or the first of the next turn.
fn end_turn(body: &mut Body, step: Value, context: Value, back: Value, next: Value) -> Value {
    let (count, place) = turns(body, step, context);
    let made = body.load(I64, place, 0);
    let made = body.add_imm(made, 1);
    let again = body.cmp(IntCC::SignedLessThan, made, count);
    let zero = body.long(0);
    let counted = body.b.ins().select(again, made, zero);
    body.store(counted, place, 0);
    let first = body.b.ins().isub(step, back);
    let first = body.add_imm(first, 1);
    body.b.ins().select(again, first, next)
}

/// Goes to `skip` unless all that the step asks of symbols holds.
fn leave_unless(body: &mut Body, step: Value, context: Value, skip: Block) {
    let symbols = body.load(I64, context, BASES + 8 * SYMBOLS as i32);
    let guards = body.load_u32(step, WHEN);
    let guards = body.add(step, guards);
    let count = body.load(I64, guards, 0);
    body.count(count, |body, i| {
        let at = body.mul_imm(i, GUARD);
        let at = body.add(guards, at);
        let [place, low, high] = [8, 16, 24].map(|field| body.load(I64, at, field));
        let place = body.add(symbols, place);
        let value = body.load(I64, place, 0);
        let below = body.cmp(IntCC::SignedLessThan, value, low);
        body.leave_if(below, skip);
        let above = body.cmp(IntCC::SignedGreaterThan, value, high);
        body.leave_if(above, skip);
    });
}
