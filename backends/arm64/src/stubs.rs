//! Leaf functions that no kernel language can say: what the CPU offers, the first instructions of a program, system calls of
//! Linux. AAPCS64 calling convention; each is position independent. Knows no model.

use artifact::System;

use crate::encode::{Assembler, Code, Condition, Gpr, Place, Slot, SystemRegister};

/// A function by name.
pub struct Stub {
    pub name: &'static str,
    pub code: Code,
}

/// Bits of the word that `cpu()` returns.
pub mod cpu {
    /// Always there: tells an answer from "not asked yet".
    pub const KNOWN: u64 = 1 << 0;
    /// Vectors of 128 bits.
    pub const NEON: u64 = 1 << 1;
    /// Dot products of four bytes.
    pub const DOTPROD: u64 = 1 << 2;
    /// Products of 2x8 matrices of bytes.
    pub const I8MM: u64 = 1 << 3;
}

const RESULT: Gpr = Gpr::x(0);
const LEFT: Gpr = Gpr::x(9);
const OTHER: Gpr = Gpr::x(10);

/// `uint64_t maquette_cpu(void)`: the bits of [`cpu`], as `system` lets a library find them. `told`: what the one who compiles says of
/// a machine without a system.
pub fn cpu(system: System, told: u64) -> Stub {
    match system {
        System::Linux | System::Android => cpu_of_registers(),
        // all that there are
        System::MacOs => cpu_as_told(cpu::KNOWN | cpu::NEON | cpu::DOTPROD),
        System::Ios => cpu_as_told(cpu::KNOWN | cpu::NEON),
        System::None => cpu_as_told(cpu::KNOWN | cpu::NEON | told),
    }
}

/// From the registers that describe the processor. Only a system may read these; Linux since 4.11, and with it Android, reads them
/// for the program that tries.
fn cpu_of_registers() -> Stub {
    let mut asm = Assembler::new();
    asm.load_immediate(RESULT, (cpu::KNOWN | cpu::NEON) as i64);
    for (register, low, bit) in [(SystemRegister::Isar0, 44, cpu::DOTPROD), (SystemRegister::Isar1, 52, cpu::I8MM)] {
        let without = asm.label();
        asm.read_system(LEFT, register);
        asm.bits(LEFT, LEFT, low, 4);
        asm.branch_if_zero(LEFT, without);
        asm.add_immediate(RESULT, RESULT, bit as i64);
        asm.bind(without);
    }
    asm.ret();
    Stub { name: "maquette_cpu", code: asm.finish() }
}

/// Always `word`, where there is nobody to ask.
fn cpu_as_told(word: u64) -> Stub {
    let mut asm = Assembler::new();
    asm.load_immediate(RESULT, word as i64);
    asm.ret();
    Stub { name: "maquette_cpu", code: asm.finish() }
}

/// `uint64_t maquette_cpu_of_stack(const uint64_t *stack)`: the bits of [`cpu`], from what Linux wrote behind the environment when
/// the program started. `stack` is what [`start`] gives to the program.
pub fn cpu_of_stack() -> Stub {
    const END: u32 = 0;
    const HWCAP: u32 = 16;
    const HWCAP2: u32 = 26;
    const ASIMDDP: u32 = 20;
    const I8MM: u32 = 13;
    let (at, key, value) = (Gpr::x(0), LEFT, OTHER);
    let word = Gpr::x(11);
    let mut asm = Assembler::new();
    let [environment, pairs, second, other, done] = [(); 5].map(|()| asm.label());
    asm.load_immediate(word, (cpu::KNOWN | cpu::NEON) as i64);
    // the count, the arguments, 0
    asm.load(Slot::X(key), Place::Post(at, 8));
    asm.load_immediate(value, 8);
    asm.multiply_add(at, key, value, at);
    asm.add_immediate(at, at, 8);
    asm.bind(environment);
    asm.load(Slot::X(key), Place::Post(at, 8));
    asm.branch_if_not_zero(key, environment);
    asm.bind(pairs);
    asm.load_pair(Slot::X(key), Slot::X(value), Place::Post(at, 16));
    asm.compare(key, END);
    asm.branch_if(Condition::Equal, done);
    asm.compare(key, HWCAP);
    asm.branch_if(Condition::NotEqual, second);
    asm.branch_if_clear(value, ASIMDDP, pairs);
    asm.add_immediate(word, word, cpu::DOTPROD as i64);
    asm.branch(pairs);
    asm.bind(second);
    asm.compare(key, HWCAP2);
    asm.branch_if(Condition::NotEqual, other);
    asm.branch_if_clear(value, I8MM, pairs);
    asm.add_immediate(word, word, cpu::I8MM as i64);
    asm.bind(other);
    asm.branch(pairs);
    asm.bind(done);
    asm.copy(RESULT, word);
    asm.ret();
    Stub { name: "maquette_cpu_of_stack", code: asm.finish() }
}

/// Numbers of system calls.
mod number {
    pub const OPENAT: i64 = 56;
    pub const CLOSE: i64 = 57;
    pub const READ: i64 = 63;
    pub const WRITE: i64 = 64;
    pub const FSTAT: i64 = 80;
    pub const EXIT_GROUP: i64 = 94;
    pub const CLOCK_GETTIME: i64 = 113;
    pub const MUNMAP: i64 = 215;
    pub const MMAP: i64 = 222;
}

const CLOCK_MONOTONIC: i64 = 1;
const WORKING_DIRECTORY: i64 = -100;
/// Where the system wants the number of its function.
const NUMBER: Gpr = Gpr::x(8);

/// The entry of a static Linux program: calls `int maquette_main(const uint64_t *stack)` with the stack as the system left
/// it (argument count, arguments, 0, environment, 0, what the system says of itself) and exits with what it returns.
pub fn start() -> Stub {
    let mut asm = Assembler::new();
    // The outermost frame is marked by a frame pointer and a return address of 0.
    asm.load_immediate(Gpr::x(29), 0);
    asm.load_immediate(Gpr::LINK, 0);
    asm.add_immediate(Gpr::x(0), Gpr::SP, 0);
    asm.call_symbol("maquette_main");
    asm.load_immediate(NUMBER, number::EXIT_GROUP);
    asm.system_call();
    asm.trap();
    Stub { name: "_start", code: asm.finish() }
}

/// System calls by name. Each takes the call's own arguments and returns what the system returns: a negative error number
/// on failure.
pub fn system_calls() -> Vec<Stub> {
    let named = [
        ("maquette_sys_read", number::READ),
        ("maquette_sys_write", number::WRITE),
        ("maquette_sys_close", number::CLOSE),
        ("maquette_sys_fstat", number::FSTAT),
        ("maquette_sys_mmap", number::MMAP),
        ("maquette_sys_munmap", number::MUNMAP),
        ("maquette_sys_exit", number::EXIT_GROUP),
    ];
    let mut all: Vec<_> = named.into_iter().map(|(name, number)| system_call(name, number)).collect();
    all.push(open());
    all.push(any_system_call());
    all.push(clock());
    all
}

fn system_call(name: &'static str, number: i64) -> Stub {
    let mut asm = Assembler::new();
    asm.load_immediate(NUMBER, number);
    asm.system_call();
    asm.ret();
    Stub { name, code: asm.finish() }
}

/// `int64_t maquette_sys_open(const char *path, int64_t flags, int64_t mode)`, which this machine's Linux has only with a directory.
fn open() -> Stub {
    let mut asm = Assembler::new();
    (0..3).rev().for_each(|i| asm.copy(Gpr::x(i + 1), Gpr::x(i)));
    asm.load_immediate(Gpr::x(0), WORKING_DIRECTORY);
    asm.load_immediate(NUMBER, number::OPENAT);
    asm.system_call();
    asm.ret();
    Stub { name: "maquette_sys_open", code: asm.finish() }
}

/// `int64_t maquette_syscall6(int64_t number, a, b, c, d, e, f)`.
fn any_system_call() -> Stub {
    let mut asm = Assembler::new();
    asm.copy(NUMBER, Gpr::x(0));
    (0..6).for_each(|i| asm.copy(Gpr::x(i), Gpr::x(i + 1)));
    asm.system_call();
    asm.ret();
    Stub { name: "maquette_syscall6", code: asm.finish() }
}

/// `uint64_t maquette_clock_ns(void)`: nanoseconds of a clock that never goes back.
fn clock() -> Stub {
    let mut asm = Assembler::new();
    asm.add_immediate(Gpr::SP, Gpr::SP, -16);
    asm.load_immediate(Gpr::x(0), CLOCK_MONOTONIC);
    asm.add_immediate(Gpr::x(1), Gpr::SP, 0);
    asm.load_immediate(NUMBER, number::CLOCK_GETTIME);
    asm.system_call();
    asm.load_pair(Slot::X(LEFT), Slot::X(OTHER), Place::Post(Gpr::SP, 16));
    asm.load_immediate(RESULT, 1_000_000_000);
    asm.multiply_add(RESULT, LEFT, RESULT, OTHER);
    asm.ret();
    Stub { name: "maquette_clock_ns", code: asm.finish() }
}
