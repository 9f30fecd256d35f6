//! The main function of the executable form: a program without a library that reads the model's inputs from its standard input
//! and writes the outputs to its standard output, or measures. System calls are stubs that it calls by name. It refuses to know
//! what the model computes; it sees its `run` and sizes.
//!
//! ```text
//! PROGRAM [WEIGHTS] [--bench N]
//! ```
//! `WEIGHTS` is there exactly when the weights lie in a file. In: the free symbols (int64, little endian), the dense inputs at
//! their actual sizes, then the end; a model with state goes on as long as more of them come. Out: all symbols, the dense outputs
//! at theirs, for each run; with `--bench N` instead the nanoseconds of each of N runs, after one that is not
//! counted, in decimal, a line each. Exit: the status of the run, or a code of [`code`].

use artifact::Symbol;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use ir::fault::Fault;
use ir::program::{Origin, Port};

use crate::Target;
use crate::entry::{Memory, call, status};
use crate::function::{Body, I32, I64, function};
use crate::symbols::Sizes;

/// What a program returns when it did not come to run the model, after BSD's sysexits.
pub mod code {
    /// The arguments are not those of the protocol.
    pub const USAGE: i64 = 64;
    /// The weights cannot be read, or their file has another size.
    pub const WEIGHTS: i64 = 66;
    /// The system has no memory.
    pub const MEMORY: i64 = 71;
    /// Nobody reads the output.
    pub const OUTPUT: i64 = 74;
}

/// A model to make a program of.
#[derive(Clone, Debug)]
pub struct Exe<'a> {
    /// Prefix of symbols.
    pub name: &'a str,
    /// The symbol of `run`, as [`crate::entry`] makes it.
    pub run: &'a str,
    /// The symbol of a stub `uint64_t cpu(const uint64_t *stack)`, which is given the stack as the system left it: some systems say
    /// there what the CPU has. One that asks the CPU itself does without.
    pub cpu: &'a str,
    pub inputs: &'a [Port],
    pub outputs: &'a [Port],
    /// Those that are free are read; they come first.
    pub symbols: &'a [ir::program::Symbol],
    pub memory: Memory,
    /// Size of the weight file, not 0; `None`: the weights are in the artifact.
    pub weights_bytes: Option<u64>,
}

// Numbers that Linux shares between its machines.
const PROT_READ: i64 = 1;
const PROT_READ_WRITE: i64 = 3;
const MAP_PRIVATE: i64 = 2;
/// All of it will be used: one long fault is cheaper than many.
const MAP_POPULATE: i64 = 0x8000;
const MAP_ANONYMOUS: i64 = 0x20;
const EINTR: i64 = 4;
/// Bytes of `struct stat`, more than any machine's, and the place of the file's size.
const STAT: u32 = 256;
const STAT_SIZE: i32 = 48;

/// `maquette_main`, which the `_start` stub calls, and two functions of its own. All local; wants the stubs `maquette_sys_read`,
/// `_write`, `_open`, `_fstat`, `_mmap` and `maquette_clock_ns`.
/// Fault: tensors and arena together are larger than addresses reach.
pub fn exe(target: &Target, exe: &Exe) -> Result<Vec<Symbol>, Fault> {
    let layout = Layout::of(exe)?;
    // a run's first byte tells that there is one; it goes to the symbols, or into the first input
    let free = exe.symbols.iter().any(|s| s.origin == Origin::Free);
    let ranges = exe.symbols.iter().map(|s| (s.name.clone(), (s.low, s.high))).collect();
    let empty = |port: &&Port| port.ty.shape.iter().any(|dim| dim.bounds(&ranges).0 < 1);
    if let Some(port) = exe.inputs.iter().find(|port| port.bytes > 0).filter(empty).filter(|_| !free) {
        let what = format!("an executable cannot tell whether a run comes whose first input {:?} may be empty", port.name);
        return Err(Fault::unsupported(what).help("call the model from a program"));
    }
    let (read, write) = (format!("{}.read", exe.name), format!("{}.write", exe.name));
    let make = |name: &str, params: usize, build: &dyn Fn(&mut Body, &[Value])| {
        function(&target.any, target.machine, name, &vec![I64; params], &[I32], |body, params| build(body, params))
    };
    Ok(vec![
        make(&read, 2, &|body, params| transfer(body, params, "maquette_sys_read", 0))?,
        make(&write, 2, &|body, params| transfer(body, params, "maquette_sys_write", 1))?,
        make("maquette_main", 1, &|body, params| Main { body, exe, layout: &layout, read: &read, write: &write }.write_main(params[0]))?,
    ])
}

/// Places in the program's one piece of memory, in bytes: the arena comes first.
struct Layout {
    inputs: Vec<u64>,
    outputs: Vec<u64>,
    symbols: u64,
    state: u64,
    bytes: u64,
}

impl Layout {
    fn of(exe: &Exe) -> Result<Layout, Fault> {
        let too_large = || Fault::limit(format!("{}: tensors and arena together exceed the address space", exe.name));
        let mut end = exe.memory.arena_bytes + exe.memory.worker_bytes;
        let mut place = |bytes: u64| {
            // a cache line more, so that equal tensors do not fall into the same sets
            let at = end.checked_next_multiple_of(64)?;
            end = at.checked_add(bytes)?.checked_add(64).filter(|end| *end < 1 << 47)?;
            Some(at)
        };
        let mut places = |ports: &[Port]| ports.iter().map(|port| place(port.bytes)).collect::<Option<Vec<u64>>>();
        let inputs = places(exe.inputs).ok_or_else(too_large)?;
        let outputs = places(exe.outputs).ok_or_else(too_large)?;
        let symbols = place(8 * exe.symbols.len() as u64).ok_or_else(too_large)?;
        let state = place(exe.memory.state_bytes).ok_or_else(too_large)?;
        Ok(Layout { inputs, outputs, symbols, state, bytes: end })
    }
}

/// `int32_t f(void *memory, int64_t bytes)`: calls `system` on `file` until all bytes are through. Returns 0, or 1 if they are not.
fn transfer(body: &mut Body, params: &[Value], system: &str, file: i64) {
    let &[memory, bytes] = params else { unreachable!("two were declared") };
    let (at, left) = (body.var(I64, memory), body.var(I64, bytes));
    let (head, inside, more, done, failed) = (body.block(), body.block(), body.block(), body.block(), body.cold());
    body.jump(head);
    body.at(head);
    let (to, rest) = (body.get(at), body.get(left));
    body.branch(rest, inside, done);
    body.at(inside);
    let file = body.long(file);
    let moved = body.call(system, &[file, to, rest], Some(I64)).expect("it was asked for");
    let interrupted = body.cmp_imm(IntCC::Equal, moved, -EINTR);
    body.leave_if(interrupted, head);
    let ended = body.cmp_imm(IntCC::SignedLessThanOrEqual, moved, 0);
    body.branch(ended, failed, more);
    body.at(more);
    let (to, rest) = (body.add(to, moved), body.b.ins().isub(rest, moved));
    body.set(at, to);
    body.set(left, rest);
    body.jump(head);
    body.at(done);
    body.give_status(0);
    body.at(failed);
    body.give_status(1);
}

struct Main<'e, 'b, 'f> {
    body: &'b mut Body<'f>,
    exe: &'e Exe<'e>,
    layout: &'e Layout,
    read: &'e str,
    write: &'e str,
}

impl Main<'_, '_, '_> {
    fn write_main(&mut self, stack: Value) {
        let runs = self.arguments(stack);
        let memory = self.map(self.layout.bytes as i64);
        let call = self.fill(memory, stack);
        self.read_all(memory, 0);
        if self.exe.memory.state_bytes == 0 {
            let more = self.more(memory);
            self.end_if(more, status::SIZE);
        }
        let again = self.body.block();
        self.body.jump(again);
        self.body.at(again);
        let status = self.run(call);
        self.give_if(status);
        let measure = self.body.cmp_imm(IntCC::NotEqual, runs, 0);
        let (bench, results) = (self.body.block(), self.body.block());
        self.body.branch(measure, bench, results);
        self.body.at(bench);
        self.bench(call, runs);
        self.body.at(results);
        self.write_all(memory);
        if self.exe.memory.state_bytes > 0 {
            let (next, end) = (self.body.block(), self.body.block());
            let more = self.more(memory);
            self.body.branch(more, next, end);
            self.body.at(next);
            self.read_all(memory, 1);
            self.body.jump(again);
            self.body.at(end);
        }
        self.body.give_status(0);
    }

    /// Ends the program with `code` if `cond`.
    fn end_if(&mut self, cond: Value, code: i64) {
        self.body.when_cold(cond, |body| body.give_status(code));
    }

    /// Ends the program with `status` if it is not 0.
    fn give_if(&mut self, status: Value) {
        self.body.when_cold(status, |body| body.give(status));
    }

    fn call(&mut self, symbol: &str, args: &[Value]) -> Value {
        self.body.call(symbol, args, Some(I64)).expect("it was asked for")
    }

    /// Bytes from the start of the stack as the system left it: the n-th argument.
    fn argument(&self, n: i32) -> i32 {
        8 + 8 * n
    }

    /// The number of runs to measure, or 0.
    fn arguments(&mut self, stack: Value) -> Value {
        let first = 1 + i32::from(self.exe.weights_bytes.is_some());
        let count = self.body.load(I64, stack, 0);
        let zero = self.body.long(0);
        let runs = self.body.var(I64, zero);
        let (option, done, usage) = (self.body.block(), self.body.block(), self.body.cold());
        let plain = self.body.cmp_imm(IntCC::Equal, count, i64::from(first));
        self.body.branch(plain, done, option);

        self.body.at(option);
        let other = self.body.cmp_imm(IntCC::NotEqual, count, i64::from(first) + 2);
        self.body.leave_if(other, usage);
        let word = self.body.load(I64, stack, self.argument(first));
        // "--bench" and its zero are eight bytes
        let word = self.body.load(I64, word, 0);
        let other = self.body.cmp_imm(IntCC::NotEqual, word, i64::from_le_bytes(*b"--bench\0"));
        self.body.leave_if(other, usage);
        let text = self.body.load(I64, stack, self.argument(first + 1));
        let at = self.body.var(I64, text);
        let digits = self.body.block();
        self.body.jump(digits);
        self.body.at(digits);
        let place = self.body.get(at);
        let digit = self.body.b.ins().uload8(I64, MemFlagsData::new().with_notrap(), place, 0);
        let digit = self.body.add_imm(digit, -i64::from(b'0'));
        let wrong = self.body.cmp_imm(IntCC::UnsignedGreaterThan, digit, 9);
        self.body.leave_if(wrong, usage);
        let before = self.body.get(runs);
        let sum = self.body.mul_imm(before, 10);
        let sum = self.body.add(sum, digit);
        self.body.set(runs, sum);
        // their times would take more than 80 MB
        let too_many = self.body.cmp_imm(IntCC::UnsignedGreaterThan, sum, 10_000_000);
        self.body.leave_if(too_many, usage);
        let next = self.body.add_imm(place, 1);
        self.body.set(at, next);
        let after = self.body.b.ins().uload8(I64, MemFlagsData::new().with_notrap(), next, 0);
        let last = self.body.block();
        self.body.branch(after, digits, last);
        self.body.at(last);
        let none = self.body.cmp_imm(IntCC::Equal, sum, 0);
        self.body.branch(none, usage, done);

        self.body.at(usage);
        self.body.give_status(code::USAGE);
        self.body.at(done);
        self.body.get(runs)
    }

    fn longs<const N: usize>(&mut self, values: [i64; N]) -> [Value; N] {
        values.map(|value| self.body.long(value))
    }

    /// New memory, all zero, on a page boundary.
    fn map(&mut self, bytes: i64) -> Value {
        let bytes = self.body.long(bytes);
        self.map_dynamic(bytes)
    }

    fn map_dynamic(&mut self, bytes: Value) -> Value {
        let [anywhere, rights, kind, file, offset] = self.longs([0, PROT_READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0]);
        let memory = self.call("maquette_sys_mmap", &[anywhere, bytes, rights, kind, file, offset]);
        let none = self.body.cmp_imm(IntCC::SignedLessThan, memory, 0);
        self.end_if(none, code::MEMORY);
        memory
    }

    /// The weight file in memory.
    fn weights(&mut self, stack: Value, bytes: u64) -> Value {
        let path = self.body.load(I64, stack, self.argument(1));
        let [flags, mode] = self.longs([0, 0]);
        let file = self.call("maquette_sys_open", &[path, flags, mode]);
        let none = self.body.cmp_imm(IntCC::SignedLessThan, file, 0);
        self.end_if(none, code::WEIGHTS);
        let stat = self.body.stack(STAT);
        let failed = self.call("maquette_sys_fstat", &[file, stat]);
        let none = self.body.cmp_imm(IntCC::NotEqual, failed, 0);
        self.end_if(none, code::WEIGHTS);
        let size = self.body.load(I64, stat, STAT_SIZE);
        let other = self.body.cmp_imm(IntCC::NotEqual, size, bytes as i64);
        self.end_if(other, code::WEIGHTS);
        let [anywhere, bytes, rights, kind, offset] = self.longs([0, bytes as i64, PROT_READ, MAP_PRIVATE | MAP_POPULATE, 0]);
        let memory = self.call("maquette_sys_mmap", &[anywhere, bytes, rights, kind, file, offset]);
        let none = self.body.cmp_imm(IntCC::SignedLessThan, memory, 0);
        self.end_if(none, code::WEIGHTS);
        memory
    }

    /// The `maquette_call`, on this function's stack.
    fn fill(&mut self, memory: Value, stack: Value) -> Value {
        let call = self.body.stack(call::SIZE);
        let zero = self.body.long(0);
        for at in (0..call::SIZE as i32).step_by(8) {
            self.body.store(zero, call, at);
        }
        let layout = self.layout;
        for (field, places) in [(call::INPUTS, &layout.inputs), (call::OUTPUTS, &layout.outputs)] {
            // one at least: the entry wants an address even for none
            let pointers = self.body.stack(8 * places.len().max(1) as u32);
            for (i, place) in places.iter().enumerate() {
                let address = self.body.add_imm(memory, *place as i64);
                self.body.store(address, pointers, 8 * i as i32);
            }
            self.body.store(pointers, call, field);
        }
        self.body.store(memory, call, call::ARENA);
        let [arena_bytes] = self.longs([(self.exe.memory.arena_bytes + self.exe.memory.worker_bytes) as i64]);
        self.body.store(arena_bytes, call, call::ARENA_BYTES);
        if let Some(bytes) = self.exe.weights_bytes {
            let weights = self.weights(stack, bytes);
            self.body.store(weights, call, call::WEIGHTS);
        }
        let symbols = self.body.add_imm(memory, layout.symbols as i64);
        self.body.store(symbols, call, call::SYMBOLS);
        // the system's memory is zeros, as after a reset
        let state = self.body.add_imm(memory, layout.state as i64);
        self.body.store(state, call, call::STATE);
        let cpu = self.call(self.exe.cpu, &[stack]);
        self.body.store(cpu, call, call::CPU);
        call
    }

    fn transfer(&mut self, function: &str, memory: Value, place: u64, bytes: u64, code: i64) {
        if bytes > 0 {
            let at = self.body.add_imm(memory, place as i64);
            let bytes = self.body.long(bytes as i64);
            let failed = self.body.call(function, &[at, bytes], Some(I32)).expect("it was asked for");
            self.end_if(failed, code);
        }
    }

    /// As much of a tensor as its actual size says, of which the first `done` bytes are there.
    fn transfer_port(&mut self, function: &str, memory: Value, place: u64, port: &Port, done: u64, code: i64) {
        if port.ty.fixed().is_some() {
            return self.transfer(function, memory, place + done, port.bytes - done, code);
        }
        let symbols = self.body.add_imm(memory, self.layout.symbols as i64);
        let bytes = Sizes { body: self.body, symbols: self.exe.symbols, at: symbols }.bytes(port);
        let bytes = self.body.add_imm(bytes, -(done as i64));
        let at = self.body.add_imm(memory, (place + done) as i64);
        let failed = self.body.call(function, &[at, bytes], Some(I32)).expect("it was asked for");
        self.end_if(failed, code);
    }

    /// How many symbols are read.
    fn free(&self) -> usize {
        self.exe.symbols.iter().take_while(|s| s.origin == Origin::Free).count()
    }

    /// Where the first byte of a run goes: into the symbols, or the first input that has any. [`exe`] saw that this one has.
    fn first(&self) -> Option<u64> {
        if self.free() > 0 {
            return Some(self.layout.symbols);
        }
        let inputs = self.layout.inputs.iter().zip(self.exe.inputs);
        inputs.into_iter().find(|(_, port)| port.bytes > 0).map(|(place, _)| *place)
    }

    /// Reads symbols and inputs, of which the first `done` bytes are there.
    fn read_all(&mut self, memory: Value, done: u64) {
        let (free, first) = (self.free(), self.first());
        if free > 0 {
            self.transfer(self.read, memory, self.layout.symbols + done, 8 * free as u64 - done, status::SIZE);
        }
        if self.exe.symbols.iter().any(|s| matches!(s.origin, Origin::Free | Origin::State { .. })) {
            // sizes are believed from here on
            let (symbols, bad) = (self.body.add_imm(memory, self.layout.symbols as i64), self.body.cold());
            let state = self.body.add_imm(memory, self.layout.state as i64);
            Sizes { body: self.body, symbols: self.exe.symbols, at: symbols }.begin(Some(state), bad);
            let good = self.body.block();
            self.body.jump(good);
            self.body.at(bad);
            self.body.give_status(status::SIZE);
            self.body.at(good);
        }
        for (place, port) in self.layout.inputs.iter().zip(self.exe.inputs) {
            let done = if first == Some(*place) { done } else { 0 };
            self.transfer_port(self.read, memory, *place, port, done, status::SIZE);
        }
    }

    /// Whether a byte more comes; it is the first of the next run's.
    fn more(&mut self, memory: Value) -> Value {
        let beyond = match self.first() {
            Some(place) if self.exe.memory.state_bytes > 0 => self.body.add_imm(memory, place as i64),
            _ => self.body.stack(8),
        };
        let one = self.body.long(1);
        let failed = self.body.call(self.read, &[beyond, one], Some(I32)).expect("it was asked for");
        self.body.cmp_imm(IntCC::Equal, failed, 0)
    }

    fn write_all(&mut self, memory: Value) {
        self.transfer(self.write, memory, self.layout.symbols, 8 * self.exe.symbols.len() as u64, code::OUTPUT);
        for (place, port) in self.layout.outputs.iter().zip(self.exe.outputs) {
            self.transfer_port(self.write, memory, *place, port, 0, code::OUTPUT);
        }
    }

    fn run(&mut self, call: Value) -> Value {
        self.body.call(self.exe.run, &[call], Some(I32)).expect("it was asked for")
    }

    /// Measures first and prints then, so that printing disturbs no run. Ends the program.
    fn bench(&mut self, call: Value, runs: Value) {
        let bytes = self.body.mul_imm(runs, 8);
        let times = self.map_dynamic(bytes);
        let run = self.exe.run;
        self.body.count(runs, |body, i| {
            let before = body.call("maquette_clock_ns", &[], Some(I64)).expect("it was asked for");
            let status = body.call(run, &[call], Some(I32)).expect("it was asked for");
            let after = body.call("maquette_clock_ns", &[], Some(I64)).expect("it was asked for");
            body.when_cold(status, |body| body.give(status));
            let time = body.b.ins().isub(after, before);
            let place = body.mul_imm(i, 8);
            let place = body.add(times, place);
            body.store(time, place, 0);
        });
        let (line, write) = (self.body.stack(32), self.write);
        self.body.count(runs, |body, i| {
            let place = body.mul_imm(i, 8);
            let place = body.add(times, place);
            let time = body.load(I64, place, 0);
            print(body, line, time, write);
        });
        self.body.give_status(0);
    }
}

/// Writes `value` in decimal and a line feed; `line` is room for 32 bytes.
fn print(body: &mut Body, line: Value, value: Value, write: &str) {
    let end = body.add_imm(line, 31);
    let feed = body.int(types::I8, i64::from(b'\n'));
    body.store(feed, end, 0);
    let (at, left) = (body.var(I64, end), body.var(I64, value));
    let (digits, done) = (body.block(), body.block());
    body.jump(digits);
    body.at(digits);
    let (place, rest) = (body.get(at), body.get(left));
    let ten = body.long(10);
    let quotient = body.b.ins().udiv(rest, ten);
    let tens = body.mul_imm(quotient, 10);
    let digit = body.b.ins().isub(rest, tens);
    let digit = body.add_imm(digit, i64::from(b'0'));
    let digit = body.b.ins().ireduce(types::I8, digit);
    let place = body.add_imm(place, -1);
    body.store(digit, place, 0);
    body.set(at, place);
    body.set(left, quotient);
    body.branch(quotient, digits, done);
    body.at(done);
    let from = body.get(at);
    let bytes = body.b.ins().isub(end, from);
    let bytes = body.add_imm(bytes, 1);
    let failed = body.call(write, &[from, bytes], Some(I32)).expect("it was asked for");
    body.when_cold(failed, |body| body.give_status(code::OUTPUT));
}
