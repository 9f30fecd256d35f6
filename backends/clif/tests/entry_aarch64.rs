//! The entry point on ARM64, called by a program without a library: results, every status, workers, levels, weights from a file.

mod common;

use arm64::encode::{Assembler, Gpr, Place, Slot};
use arm64::stubs::cpu::{DOTPROD, I8MM, KNOWN, NEON};
use artifact::{Machine, Symbol, System};
use cases::Buffer;
use cases::batch::Call;
use cases::batch::aarch64::{self, Link, To};
use common::ROOM;
use common::model::{self, N};

// Buffers of a call: the struct, and what it points to.
const CALL: usize = 0;
const INPUTS: usize = 1;
const OUTPUTS: usize = 2;
const X: usize = 3;
const INDEX: usize = 4;
const Y: usize = 5;
const Z: usize = 6;
const ARENA: usize = 7;
const SYMBOLS: usize = 8;
const WEIGHTS: usize = 9;
const SIZES: usize = 10;
/// How often the pool was asked.
const POOL: usize = 11;

// Places in `maquette_call`.
const AT_SIZES: usize = 16;
const AT_ARENA: usize = 24;
const AT_ARENA_BYTES: usize = 32;
const AT_WEIGHTS: usize = 48;
const AT_SYMBOLS: usize = 56;
const AT_PARALLEL_FOR: usize = 64;
const AT_POOL: usize = 72;
const AT_WORKERS: usize = 80;
const AT_CPU: usize = 88;

const ARENA_BYTES: u64 = 256;
const WORKER_BYTES: u64 = 128;

/// A call, what it should return, and the factor of its results.
struct Row {
    name: &'static str,
    entry: &'static str,
    status: i32,
    factor: Option<f32>,
    buffers: Vec<Vec<u8>>,
    links: Vec<(usize, usize, To)>,
}

fn words<const L: usize, T>(values: impl IntoIterator<Item = T>, bytes: impl Fn(T) -> [u8; L]) -> Vec<u8> {
    values.into_iter().flat_map(bytes).collect()
}

fn x() -> Vec<f32> {
    (0..N).map(|i| (i % 7) as f32 - 3.0).collect()
}

fn index() -> Vec<i64> {
    (0..5).map(|i| i * 9).collect()
}

impl Row {
    /// A call that is right in everything, on the plainest level.
    fn new(name: &'static str, entry: &'static str, status: i32) -> Row {
        let mut buffers = vec![Vec::new(); POOL + 1];
        buffers[CALL] = vec![0; 96];
        buffers[INPUTS] = vec![0; 16];
        buffers[OUTPUTS] = vec![0; 16];
        buffers[X] = words(x(), f32::to_le_bytes);
        // room for what is not aligned
        buffers[X].extend([0; 4]);
        buffers[INDEX] = words(index(), i64::to_le_bytes);
        buffers[INDEX].extend([0; 8]);
        buffers[Y] = vec![0xff; 4 * N + 4];
        buffers[Z] = vec![0xff; 48];
        buffers[ARENA] = vec![0xff; (ARENA_BYTES + 4 * WORKER_BYTES) as usize + 64];
        buffers[SYMBOLS] = words([3], i64::to_le_bytes);
        buffers[SIZES] = words([4 * N as u64, 40], u64::to_le_bytes);
        buffers[POOL] = vec![0; 8];
        let links = [
            (CALL, 0, INPUTS),
            (CALL, 8, OUTPUTS),
            (CALL, AT_ARENA, ARENA),
            (CALL, AT_SYMBOLS, SYMBOLS),
            (CALL, AT_POOL, POOL),
            (INPUTS, 0, X),
            (INPUTS, 8, INDEX),
            (OUTPUTS, 0, Y),
            (OUTPUTS, 8, Z),
        ];
        let links = links.map(|(from, at, to)| (from, at, To::Buffer(to, 0))).to_vec();
        let row = Row { name, entry, status, factor: (status == 0).then_some(1.0), buffers, links };
        row.with(CALL, AT_ARENA_BYTES, ARENA_BYTES + WORKER_BYTES).with(CALL, AT_CPU, KNOWN | NEON)
    }

    fn with(mut self, buffer: usize, at: usize, value: u64) -> Row {
        self.buffers[buffer][at..at + 8].copy_from_slice(&value.to_le_bytes());
        self
    }

    /// Without the address there.
    fn null(mut self, buffer: usize, at: usize) -> Row {
        self.links.retain(|(b, place, _)| (*b, *place) != (buffer, at));
        self
    }

    fn points(self, buffer: usize, at: usize, to: To) -> Row {
        let mut row = self.null(buffer, at);
        row.links.push((buffer, at, to));
        row
    }

    fn workers(self, count: u64, pooled: bool) -> Row {
        let row = self.with(CALL, AT_WORKERS, count).with(CALL, AT_ARENA_BYTES, ARENA_BYTES + 4 * WORKER_BYTES);
        if pooled { row.points(CALL, AT_PARALLEL_FOR, To::Function("parallel_for".into())) } else { row }
    }

    fn gives(self, factor: f32) -> Row {
        Row { factor: Some(factor), ..self }
    }
}

/// `parallel_for` that goes backward, with four workers in turn, and counts how often it is called.
fn parallel_for() -> Symbol {
    let r = Gpr::x;
    let mut asm = Assembler::new();
    let done = asm.label();
    for pair in [(r(19), r(20)), (r(21), Gpr::LINK)] {
        asm.store_pair(Slot::X(pair.0), Slot::X(pair.1), Place::Pre(Gpr::SP, -16));
    }
    asm.load(Slot::X(r(9)), Place::At(r(0), 0));
    asm.add_immediate(r(9), r(9), 1);
    asm.store(Slot::X(r(9)), Place::At(r(0), 0));
    asm.copy(r(19), r(1));
    asm.copy(r(20), r(2));
    asm.copy(r(21), r(3));
    let next = asm.here();
    asm.branch_if_zero(r(19), done);
    asm.subtract_and_test(r(19), r(19), 1);
    asm.copy(r(0), r(21));
    asm.copy(r(1), r(19));
    asm.bits(r(2), r(19), 0, 2);
    asm.call_register(r(20));
    asm.branch(next);
    asm.bind(done);
    for pair in [(r(21), Gpr::LINK), (r(19), r(20))] {
        asm.load_pair(Slot::X(pair.0), Slot::X(pair.1), Place::Post(Gpr::SP, 16));
    }
    asm.ret();
    arm64::function("parallel_for", asm.finish())
}

/// `cpu()` that nobody may call.
fn never() -> Symbol {
    let mut asm = Assembler::new();
    asm.trap();
    arm64::function("plain.cpu", asm.finish())
}

fn rows(weights: &[u8]) -> Vec<Row> {
    let row = Row::new;
    let to = To::Buffer;
    let far = |name, status| Row { buffers: row(name, "far", status).buffers, ..row(name, "far", status) };
    let loaded = |name, status| {
        let mut loaded = far(name, status);
        loaded.buffers[WEIGHTS] = weights.to_vec();
        loaded.buffers[WEIGHTS].resize(weights.len().next_multiple_of(64), 0);
        loaded.points(CALL, AT_WEIGHTS, to(WEIGHTS, 0))
    };
    let all = KNOWN | NEON | DOTPROD | I8MM;
    vec![
        row("plain", "near", 0),
        row("dot products", "near", 0).with(CALL, AT_CPU, all & !I8MM).gives(2.0),
        row("best level", "near", 0).with(CALL, AT_CPU, all).gives(3.0),
        row("half of what the best needs", "near", 0).with(CALL, AT_CPU, all & !DOTPROD).gives(1.0),
        row("asks the cpu", "near", 0).with(CALL, AT_CPU, 0).gives(2.0),
        row("asks nobody", "plain", 0).with(CALL, AT_CPU, 0),
        row("cpu", "picky", 5),
        row("cpu that will do", "picky", 0).with(CALL, AT_CPU, all).gives(2.0),
        row("parallel", "near", 0).workers(4, true),
        row("one worker", "near", 0).workers(1, true),
        row("no worker", "near", 0).workers(0, true),
        row("no parallel_for", "near", 0).workers(4, false),
        row("null inputs", "near", 1).null(CALL, 0),
        row("misaligned inputs", "near", 1).points(CALL, 0, to(INPUTS, 4)),
        row("null outputs", "near", 1).null(CALL, 8),
        row("null input", "near", 1).null(INPUTS, 8),
        row("misaligned input", "near", 1).points(INPUTS, 0, to(X, 2)),
        row("misaligned index", "near", 1).points(INPUTS, 8, to(INDEX, 4)),
        row("null output", "near", 1).null(OUTPUTS, 8),
        row("misaligned output", "near", 1).points(OUTPUTS, 8, to(Z, 4)),
        row("null arena", "near", 1).null(CALL, AT_ARENA),
        row("misaligned arena", "near", 1).points(CALL, AT_ARENA, to(ARENA, 32)),
        row("null symbols", "near", 1).null(CALL, AT_SYMBOLS),
        row("misaligned symbols", "near", 1).points(CALL, AT_SYMBOLS, to(SYMBOLS, 1)),
        row("short arena", "near", 2).with(CALL, AT_ARENA_BYTES, ARENA_BYTES + WORKER_BYTES - 1),
        row("short arena for workers", "near", 2).workers(4, false).with(CALL, AT_ARENA_BYTES, ARENA_BYTES + 4 * WORKER_BYTES - 1),
        row("many workers", "near", 2).with(CALL, AT_WORKERS, u32::MAX.into()).with(CALL, AT_ARENA_BYTES, u32::MAX.into()),
        row("right sizes", "near", 0).points(CALL, AT_SIZES, to(SIZES, 0)),
        row("first size", "near", 3).points(CALL, AT_SIZES, to(SIZES, 0)).with(SIZES, 0, 4 * N as u64 - 4),
        row("second size", "near", 3).points(CALL, AT_SIZES, to(SIZES, 0)).with(SIZES, 8, 48),
        row("low symbol", "near", 3).with(SYMBOLS, 0, 1),
        row("least symbol", "near", 0).with(SYMBOLS, 0, 2),
        row("most symbol", "near", 0).with(SYMBOLS, 0, 8),
        row("high symbol", "near", 3).with(SYMBOLS, 0, 9),
        row("high index", "near", 4).with(INDEX, 24, 40),
        row("negative index", "near", 4).with(INDEX, 0, -1i64 as u64),
        row("index at once", "near", 4).with(INDEX, 16, 99).workers(4, true),
        far("no weights", 1),
        loaded("misaligned weights", 1).points(CALL, AT_WEIGHTS, to(WEIGHTS, 32)),
        loaded("weights", 0),
        loaded("other weights", 0).with(CALL, AT_CPU, all).gives(3.0),
    ]
}

#[test]
fn the_entry_checks_runs_and_reports() {
    let free = [(2, 8)];
    let mut symbols = Vec::new();
    let mut weights = Vec::new();
    for (name, levels, file) in [("near", &[0, 1, 2][..], false), ("far", &[0, 1, 2], true), ("plain", &[0], false), ("picky", &[1], false)]
    {
        let stub = format!("{name}.cpu");
        let (all, memory, pool) = model::symbols(Machine::Aarch64, levels, name, &stub, file, &free);
        assert_eq!((memory.arena_bytes, memory.worker_bytes), (ARENA_BYTES, WORKER_BYTES));
        symbols.extend(all);
        let cpu = arm64::stubs::cpu(System::None, DOTPROD);
        symbols.push(if name == "plain" { never() } else { arm64::function(stub, cpu.code) });
        if file {
            weights = model::weights(&pool);
        }
    }
    symbols.push(parallel_for());
    let rows = rows(&weights);
    let buffer = |bytes: &Vec<u8>| Buffer::of(bytes.clone());
    let call = |row: &Row| {
        let run = format!("{}.run", row.entry);
        let function = symbols.iter().find(|symbol| symbol.name == run).expect("the entry").clone();
        Call { function, buffers: row.buffers.iter().map(buffer).collect() }
    };
    let calls: Vec<Call> = rows.iter().map(call).collect();
    let link = |call: usize, (buffer, at, to): &(usize, usize, To)| Link { call, buffer: *buffer, at: *at, to: to.clone() };
    let links: Vec<Link> = rows.iter().enumerate().flat_map(|(i, row)| row.links.iter().map(move |l| link(i, l))).collect();
    let Some(outcomes) = aarch64::run_linked(&ROOM, "entry_aarch64", "max", &calls, symbols.clone(), &links) else { return };
    for (row, outcome) in rows.iter().zip(outcomes) {
        assert_eq!(outcome.status, row.status, "{}", row.name);
        let Some(factor) = row.factor else { continue };
        // three steps have more than one call
        let asked = if row.name == "parallel" { 3 } else { 0 };
        assert_eq!(outcome.buffers[POOL], u64::to_le_bytes(asked), "{}", row.name);
        let (y, z) = model::expected(factor, &x(), &index());
        assert_eq!(outcome.buffers[Y][..4 * N], words(y, f32::to_le_bytes), "{}", row.name);
        assert_eq!(outcome.buffers[Z][..40], words(z, i64::to_le_bytes), "{}", row.name);
        let arena = u64::from_le_bytes(row.buffers[CALL][AT_ARENA_BYTES..][..8].try_into().expect("8 bytes")) as usize;
        assert!(outcome.buffers[ARENA][arena..].iter().all(|byte| *byte == 0xff), "{}: beyond the arena", row.name);
    }
}
