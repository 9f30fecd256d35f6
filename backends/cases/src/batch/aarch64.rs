//! A static ARM64 Linux program without a library, made by our own encoder. `qemu-aarch64` runs it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use arm64::encode::{Assembler, Condition, Gpr, Place, Slot, Vector};
use arm64::stubs;
use artifact::{Code, Machine, Relocation, RelocationKind, Symbol, System};

use super::Call;
use crate::common::{Room, piped};
use crate::{Buffer, Outcome};

/// The eight bytes at `at` of a call's buffer become an address.
#[derive(Clone, Debug)]
pub struct Link {
    pub call: usize,
    pub buffer: usize,
    pub at: usize,
    pub to: To,
}

#[derive(Clone, Debug)]
pub enum To {
    /// So many bytes behind the start of another buffer of the same call.
    Buffer(usize, usize),
    /// A function by its symbol.
    Function(String),
}

/// The most pointers of a function.
pub const ARGS: usize = 12;
const PAGE: usize = 4096;

/// The command that runs an ARM64 Linux program as `cpu` would, or `None`, said aloud.
pub fn runner(room: &Room, cpu: &str, test: &str) -> Option<Command> {
    const QEMU: &str = "qemu-aarch64";
    room.have(QEMU, test).then(|| {
        let mut command = Command::new(QEMU);
        command.args(["-cpu", cpu]);
        command
    })
}

/// `symbols` as a program at `path`.
pub fn program(path: &Path, symbols: Vec<Symbol>) {
    let code = Code { machine: Machine::Aarch64, system: System::Linux, symbols };
    let mut file = std::fs::File::create(path).expect("the folder is ours");
    artifact::executable(&code, "_start", &mut file).expect("well-formed code");
    file.set_permissions(std::fs::Permissions::from_mode(0o755)).expect("the file is ours");
}

/// What the program's one piece of memory holds, in bytes from its start.
struct Layout {
    /// For each call its pointers, as offsets.
    pointers: usize,
    /// The status of each call.
    statuses: usize,
    /// Offsets of pages that may not be touched, then 0.
    guards: usize,
    /// Offsets of words that hold offsets and become addresses, then 0.
    links: usize,
    /// Offsets of words that hold a place in the table of functions and become addresses, then 0.
    functions: usize,
    bytes: usize,
}

/// Calls every function on the processor `cpu`. `None` when nothing here runs it, which is said aloud.
pub fn run(room: &Room, test: &str, cpu: &str, calls: &[Call]) -> Option<Vec<Outcome>> {
    let functions = calls.iter().map(|call| call.function.clone()).collect();
    run_linked(room, test, cpu, calls, functions, &[])
}

/// The same with addresses in buffers. `symbols` are all that the program has; a call names one of them.
pub fn run_linked(room: &Room, test: &str, cpu: &str, calls: &[Call], symbols: Vec<Symbol>, linked: &[Link]) -> Option<Vec<Outcome>> {
    let mut command = runner(room, cpu, test)?;
    let mut image = Vec::new();
    let mut guards = Vec::new();
    let buffers: usize = calls.iter().map(|call| call.buffers.len()).sum();
    let statuses = 8 * ARGS * calls.len();
    let guard_list = statuses + 8 * calls.len();
    let links = guard_list + 8 * (buffers + 1);
    let functions = links + 8 * (linked.len() + 1);
    image.resize((functions + 8 * (linked.len() + 1)).next_multiple_of(PAGE), 0);
    let layout = Layout { pointers: 0, statuses, guards: guard_list, links, functions, bytes: 0 };
    let mut places = Vec::new();
    for (i, call) in calls.iter().enumerate() {
        assert!(call.buffers.len() <= ARGS);
        for (j, buffer) in call.buffers.iter().enumerate() {
            let end = (image.len() + buffer.bytes.len()).next_multiple_of(PAGE);
            let at = end - buffer.bytes.len();
            image.resize(at, 0);
            image.extend_from_slice(&buffer.bytes);
            image.resize(end + PAGE, 0);
            guards.push(end);
            places.push(at);
            let pointer = layout.pointers + 8 * (i * ARGS + j);
            image[pointer..pointer + 8].copy_from_slice(&((at + buffer.start) as u64).to_le_bytes());
        }
    }
    let mut put = |at: usize, value: usize| image[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
    for (i, guard) in guards.iter().enumerate() {
        put(layout.guards + 8 * i, *guard);
    }
    let mut table: Vec<String> = calls.iter().map(|call| call.function.name.clone()).collect();
    let (mut to_buffers, mut to_functions) = (0, 0);
    for link in linked {
        let first: usize = calls[..link.call].iter().map(|call| call.buffers.len()).sum();
        let from = places[first + link.buffer] + link.at;
        match &link.to {
            To::Buffer(buffer, offset) => {
                put(from, places[first + buffer] + offset);
                put(layout.links + 8 * to_buffers, from);
                to_buffers += 1;
            }
            To::Function(name) => {
                put(from, 8 * table.len());
                put(layout.functions + 8 * to_functions, from);
                to_functions += 1;
                table.push(name.clone());
            }
        }
    }
    let layout = Layout { bytes: image.len(), ..layout };
    let path = room.folder(&format!("{test}-{cpu}")).join("program");
    program(&path, complete(symbols, &table, calls.len(), &layout));
    let output = piped(command.arg(&path), &image);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{test} on {cpu}: {:?}; 99 is a register that was not restored\n{said}", output.status);
    assert_eq!(output.stdout.len(), image.len());
    let mut places = places.into_iter();
    let outcome = |(i, call): (usize, &Call)| {
        let status = layout.statuses + 8 * i;
        let status = i32::from_le_bytes(output.stdout[status..status + 4].try_into().expect("four bytes"));
        let mut taken = |buffer: &Buffer| {
            let at = places.next().expect("each has a place");
            output.stdout[at..at + buffer.bytes.len()].to_vec()
        };
        Outcome { status, buffers: call.buffers.iter().map(&mut taken).collect() }
    };
    Some(calls.iter().enumerate().map(outcome).collect())
}

/// `symbols` and what a program needs beside them.
fn complete(mut symbols: Vec<Symbol>, functions: &[String], calls: usize, layout: &Layout) -> Vec<Symbol> {
    let address =
        |(i, name): (usize, &String)| Relocation { offset: 8 * i as u32, kind: RelocationKind::Abs64, symbol: name.clone(), addend: 0 };
    let addresses = functions.iter().enumerate().map(address).collect();
    symbols.push(Symbol::table("table", 8, vec![0; 8 * functions.len()], addresses));
    symbols.push(address_of_table());
    symbols.push(main(calls, layout));
    for stub in [stubs::start()].into_iter().chain(stubs::system_calls()) {
        symbols.push(arm64::function(stub.name, stub.code));
    }
    symbols
}

/// `x0` = the address of `table`.
fn address_of_table() -> Symbol {
    let mut bytes = Vec::new();
    for word in [0x9000_0000u32, 0x9100_0000, 0xD65F_03C0] {
        bytes.extend(word.to_le_bytes());
    }
    let relocation = |offset, kind| Relocation { offset, kind, symbol: "table".into(), addend: 0 };
    let relocations = vec![relocation(0, RelocationKind::Aarch64AdrPage21), relocation(4, RelocationKind::Aarch64AddLo12)];
    Symbol::function("address_of_table", 16, bytes, relocations)
}

const BASE: Gpr = Gpr::x(19);
const TABLE: Gpr = Gpr::x(20);
const AT: Gpr = Gpr::x(21);
const END: Gpr = Gpr::x(22);
const STATUS: Gpr = Gpr::x(23);
const TEMP: Gpr = Gpr::x(16);

fn x(n: u8) -> Gpr {
    Gpr::x(n)
}

/// Moves `layout.bytes` through file `file`. Destroys `AT` and `END`.
fn transfer(asm: &mut Assembler, system: &str, file: i64, layout: &Layout, failed: arm64::encode::Label) {
    asm.copy(AT, BASE);
    asm.load_immediate(END, layout.bytes as i64);
    let more = asm.here();
    asm.load_immediate(x(0), file);
    asm.copy(x(1), AT);
    asm.copy(x(2), END);
    asm.call_symbol(system);
    // a negative number is a large one
    asm.load_immediate(x(1), layout.bytes as i64);
    asm.compare_registers(x(1), x(0));
    asm.branch_if(Condition::Low, failed);
    asm.branch_if_zero(x(0), failed);
    asm.add_register(AT, AT, x(0));
    asm.load_immediate(x(1), -1);
    asm.multiply_add(END, x(0), x(1), END);
    asm.branch_if_not_zero(END, more);
}

/// Gives every guard page the rights.
fn protect(asm: &mut Assembler, rights: i64, layout: &Layout, failed: arm64::encode::Label) {
    const MPROTECT: i64 = 226;
    asm.add(AT, BASE, layout.guards as i64, TEMP);
    let (next, done) = (asm.label(), asm.label());
    asm.bind(next);
    asm.load(Slot::X(x(1)), Place::Post(AT, 8));
    asm.branch_if_zero(x(1), done);
    asm.add_register(x(1), x(1), BASE);
    asm.load_immediate(x(0), MPROTECT);
    asm.load_immediate(x(2), PAGE as i64);
    asm.load_immediate(x(3), rights);
    asm.call_symbol("maquette_syscall6");
    asm.branch_if_not_zero(x(0), failed);
    asm.branch(next);
    asm.bind(done);
}

/// Turns each word that the list at `list` names into an address, in `x2`.
fn link(asm: &mut Assembler, list: usize, resolve: impl FnOnce(&mut Assembler)) {
    asm.add(AT, BASE, list as i64, TEMP);
    let (next, done) = (asm.label(), asm.label());
    asm.bind(next);
    asm.load(Slot::X(x(1)), Place::Post(AT, 8));
    asm.branch_if_zero(x(1), done);
    asm.add_register(x(1), x(1), BASE);
    asm.load(Slot::X(x(2)), Place::At(x(1), 0));
    resolve(asm);
    asm.store(Slot::X(x(2)), Place::At(x(1), 0));
    asm.branch(next);
    asm.bind(done);
}

fn main(calls: usize, layout: &Layout) -> Symbol {
    let mut asm = Assembler::new();
    let (failed, changed) = (asm.label(), asm.label());
    // nobody wants our registers back: `_start` only exits
    asm.store_pair(Slot::X(x(29)), Slot::X(Gpr::LINK), Place::Pre(Gpr::SP, -16));
    for (i, value) in [0, layout.bytes as i64, 3, 0x22, -1, 0].into_iter().enumerate() {
        asm.load_immediate(x(i as u8), value);
    }
    asm.call_symbol("maquette_sys_mmap");
    asm.copy(BASE, x(0));
    transfer(&mut asm, "maquette_sys_read", 0, layout, failed);
    asm.call_symbol("address_of_table");
    asm.copy(TABLE, x(0));
    link(&mut asm, layout.links, |asm| asm.add_register(x(2), x(2), BASE));
    link(&mut asm, layout.functions, |asm| asm.load(Slot::X(x(2)), Place::Index(TABLE, x(2))));
    protect(&mut asm, 0, layout, failed);
    asm.add(AT, BASE, layout.pointers as i64, TEMP);
    asm.add(STATUS, BASE, layout.statuses as i64, TEMP);
    asm.load_immediate(END, calls as i64);
    let next = asm.here();
    call(&mut asm, changed);
    asm.subtract_and_test(END, END, 1);
    asm.branch_if(Condition::NotEqual, next);
    protect(&mut asm, 1, layout, failed);
    transfer(&mut asm, "maquette_sys_write", 1, layout, failed);
    asm.load_immediate(x(0), 0);
    let out = asm.label();
    asm.branch(out);
    asm.bind(changed);
    asm.load_immediate(x(0), 99);
    asm.branch(out);
    asm.bind(failed);
    asm.load_immediate(x(0), 98);
    asm.bind(out);
    asm.load_pair(Slot::X(x(29)), Slot::X(Gpr::LINK), Place::Post(Gpr::SP, 16));
    asm.ret();
    arm64::function("maquette_main", asm.finish())
}

/// The next function with its pointers. Goes to `changed` when a register that it must restore, or may not touch, is another.
fn call(asm: &mut Assembler, changed: arm64::encode::Label) {
    const KEPT: [u8; 12] = [18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29];
    let frame = 8 * (ARGS - 8) as i32;
    let (number, saved) = (x(9), x(10));
    // our own registers, on the stack, below them what the function finds there
    for pair in [BASE, AT, STATUS].into_iter().zip([TABLE, END, Gpr::LINK]) {
        asm.store_pair(Slot::X(pair.0), Slot::X(pair.1), Place::Pre(Gpr::SP, -16));
    }
    asm.add_immediate(Gpr::SP, Gpr::SP, -i64::from(frame));
    asm.load(Slot::X(TEMP), Place::At(TABLE, 0));
    for i in 0..ARGS {
        asm.load(Slot::X(number), Place::At(AT, 8 * i as i32));
        asm.add_register(number, number, BASE);
        match i {
            8.. => asm.store(Slot::X(number), Place::At(Gpr::SP, 8 * (i as i32 - 8))),
            _ => asm.add_immediate(x(i as u8), number, 0),
        }
    }
    for kept in KEPT {
        asm.add_immediate(x(kept), Gpr::SP, i64::from(kept));
    }
    for kept in 8..16 {
        asm.duplicate_general(Vector::new(kept), x(kept + 10));
    }
    asm.call_register(TEMP);
    for kept in KEPT {
        asm.add_immediate(number, Gpr::SP, i64::from(kept));
        asm.compare_registers(number, x(kept));
        asm.branch_if(Condition::NotEqual, changed);
    }
    for kept in 8..16 {
        // the low halves must be there
        asm.store(Slot::D(Vector::new(kept)), Place::At(Gpr::SP, 0));
        asm.load(Slot::X(number), Place::At(Gpr::SP, 0));
        asm.duplicate_general(Vector::new(0), x(kept + 10));
        asm.store(Slot::D(Vector::new(0)), Place::At(Gpr::SP, 0));
        asm.load(Slot::X(saved), Place::At(Gpr::SP, 0));
        asm.compare_registers(number, saved);
        asm.branch_if(Condition::NotEqual, changed);
    }
    asm.add_immediate(Gpr::SP, Gpr::SP, i64::from(frame));
    for pair in [STATUS, AT, BASE].into_iter().zip([Gpr::LINK, END, TABLE]) {
        asm.load_pair(Slot::X(pair.0), Slot::X(pair.1), Place::Post(Gpr::SP, 16));
    }
    asm.store(Slot::X(x(0)), Place::Post(STATUS, 8));
    asm.add_immediate(TABLE, TABLE, 8);
    asm.add_immediate(AT, AT, 8 * ARGS as i64);
}
