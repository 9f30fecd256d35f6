//! Leaf functions that no kernel language can say: what the CPU offers, the first instructions of a program, system calls
//! of Linux. System V calling convention; each is position independent. Knows no model.

use crate::encode::{Alu, Assembler, Code, Condition, Fixed, Gpr, Level, Mem, Width};

/// A function by name.
pub struct Stub {
    pub name: &'static str,
    pub code: Code,
}

/// Bits of the word that `cpu()` returns.
pub mod cpu {
    /// Always there: tells an answer from "not asked yet".
    pub const KNOWN: u64 = 1 << 0;
    /// AVX2, FMA, BMI1, BMI2, F16C, MOVBE, LZCNT, and a system that saves ymm registers.
    pub const V3: u64 = 1 << 1;
    /// `V3`, AVX-512 F, BW, CD, DQ, VL, and a system that saves zmm and mask registers.
    pub const V4: u64 = 1 << 2;
    /// `V4` and AVX512_VNNI: dot products of bytes.
    pub const VNNI: u64 = 1 << 3;
    /// `V4` and AVX512_VBMI: permutations of bytes.
    pub const VBMI: u64 = 1 << 4;
}

/// What a leaf of `cpuid` must say, by bit.
const LEAF_1_ECX: u32 = 1 << 12 | 1 << 20 | 1 << 22 | 1 << 23 | 1 << 27 | 1 << 28 | 1 << 29;
const EXTENDED_1_ECX: u32 = 1 << 5;
const LEAF_7_EBX: u32 = 1 << 3 | 1 << 5 | 1 << 8;
const LEAF_7_EBX_V4: u32 = 1 << 16 | 1 << 17 | 1 << 28 | 1 << 30 | 1 << 31;
const LEAF_7_ECX_VNNI: u32 = 1 << 11;
const LEAF_7_ECX_VBMI: u32 = 1 << 1;
/// Registers that the system saves: xmm and ymm; then masks and both parts of zmm as well.
const SAVED: u32 = 0x06;
const SAVED_V4: u32 = 0xE6;

const EXTENDED: u32 = 0x8000_0000;

/// `uint64_t maquette_cpu(void)`: the bits of [`cpu`]. Runs on every x86-64: asks no leaf and executes no instruction that
/// an earlier answer did not promise.
pub fn cpu() -> Stub {
    // r8: the caller's rbx, r9: the answer, r10: leaf 7's ebx, r11: saved registers
    let mut asm = Assembler::new(Level::V3);
    let done = asm.label();
    asm.copy(Gpr::R8, Gpr::RBX);
    asm.load_immediate(Gpr::R9, cpu::KNOWN as i64);

    ask(&mut asm, 0);
    asm.alu(Alu::Cmp, Width::W32, Gpr::RAX, 7);
    asm.jcc(Condition::B, done);
    ask(&mut asm, 1);
    unless_all(&mut asm, Gpr::RCX, LEAF_1_ECX, done);
    asm.clear(Gpr::RCX);
    asm.fixed(Fixed::Xgetbv);
    asm.mov(Width::W32, Gpr::R11, Gpr::RAX);
    unless_all(&mut asm, Gpr::RAX, SAVED, done);
    ask(&mut asm, EXTENDED);
    asm.alu(Alu::Cmp, Width::W32, Gpr::RAX, (EXTENDED + 1) as i32);
    asm.jcc(Condition::B, done);
    ask(&mut asm, EXTENDED + 1);
    unless_all(&mut asm, Gpr::RCX, EXTENDED_1_ECX, done);
    ask(&mut asm, 7);
    asm.mov(Width::W32, Gpr::R10, Gpr::RBX);
    unless_all(&mut asm, Gpr::RBX, LEAF_7_EBX, done);
    offer(&mut asm, cpu::V3);

    unless_all(&mut asm, Gpr::R11, SAVED_V4, done);
    unless_all(&mut asm, Gpr::R10, LEAF_7_EBX_V4, done);
    offer(&mut asm, cpu::V4);
    for (bit, offers) in [(LEAF_7_ECX_VNNI, cpu::VNNI), (LEAF_7_ECX_VBMI, cpu::VBMI)] {
        let without = asm.label();
        asm.test(Width::W32, Gpr::RCX, bit as i32);
        asm.jcc(Condition::E, without);
        offer(&mut asm, offers);
        asm.bind(without);
    }

    asm.bind(done);
    asm.copy(Gpr::RBX, Gpr::R8);
    asm.copy(Gpr::RAX, Gpr::R9);
    asm.ret();
    Stub { name: "maquette_cpu", code: asm.finish() }
}

fn ask(asm: &mut Assembler, leaf: u32) {
    asm.load_immediate(Gpr::RAX, leaf as i64);
    asm.clear(Gpr::RCX);
    asm.fixed(Fixed::Cpuid);
}

/// Destroys `register`.
fn unless_all(asm: &mut Assembler, register: Gpr, bits: u32, otherwise: crate::encode::Label) {
    asm.alu(Alu::And, Width::W32, register, bits as i32);
    asm.alu(Alu::Cmp, Width::W32, register, bits as i32);
    asm.jcc(Condition::Ne, otherwise);
}

fn offer(asm: &mut Assembler, bit: u64) {
    asm.alu(Alu::Or, Width::W32, Gpr::R9, bit as i32);
}

/// Numbers of system calls.
mod number {
    pub const READ: i64 = 0;
    pub const WRITE: i64 = 1;
    pub const OPEN: i64 = 2;
    pub const CLOSE: i64 = 3;
    pub const FSTAT: i64 = 5;
    pub const MMAP: i64 = 9;
    pub const MUNMAP: i64 = 11;
    pub const CLOCK_GETTIME: i64 = 228;
    pub const EXIT_GROUP: i64 = 231;
}

const CLOCK_MONOTONIC: i64 = 1;

/// The entry of a static Linux program: calls `int maquette_main(const uint64_t *stack)` with the stack as the system left
/// it (argument count, arguments, 0, environment, 0) and exits with what it returns.
pub fn start() -> Stub {
    let mut asm = Assembler::new(Level::V3);
    let main = asm.symbol("maquette_main");
    asm.copy(Gpr::RDI, Gpr::RSP);
    asm.alu(Alu::And, Width::W64, Gpr::RSP, -16);
    // The outermost frame is marked by a frame pointer of 0.
    asm.clear(Gpr::RBP);
    asm.call_symbol(main);
    asm.mov(Width::W32, Gpr::RDI, Gpr::RAX);
    asm.load_immediate(Gpr::RAX, number::EXIT_GROUP);
    asm.fixed(Fixed::Syscall);
    asm.fixed(Fixed::Ud2);
    Stub { name: "_start", code: asm.finish() }
}

/// System calls by name. Each takes the call's own arguments and returns what the system returns: a negative error number
/// on failure.
pub fn system_calls() -> Vec<Stub> {
    let named = [
        ("maquette_sys_read", number::READ),
        ("maquette_sys_write", number::WRITE),
        ("maquette_sys_open", number::OPEN),
        ("maquette_sys_close", number::CLOSE),
        ("maquette_sys_fstat", number::FSTAT),
        ("maquette_sys_mmap", number::MMAP),
        ("maquette_sys_munmap", number::MUNMAP),
        ("maquette_sys_exit", number::EXIT_GROUP),
    ];
    let mut all: Vec<_> = named.into_iter().map(|(name, number)| system_call(name, number)).collect();
    all.push(any_system_call());
    all.push(clock());
    all
}

fn system_call(name: &'static str, number: i64) -> Stub {
    let mut asm = Assembler::new(Level::V3);
    // The fourth argument is where `syscall` leaves its return address.
    asm.copy(Gpr::R10, Gpr::RCX);
    asm.load_immediate(Gpr::RAX, number);
    asm.fixed(Fixed::Syscall);
    asm.ret();
    Stub { name, code: asm.finish() }
}

/// `int64_t maquette_syscall6(int64_t number, a, b, c, d, e, f)`.
fn any_system_call() -> Stub {
    let mut asm = Assembler::new(Level::V3);
    let moves =
        [(Gpr::RAX, Gpr::RDI), (Gpr::RDI, Gpr::RSI), (Gpr::RSI, Gpr::RDX), (Gpr::RDX, Gpr::RCX), (Gpr::R10, Gpr::R8), (Gpr::R8, Gpr::R9)];
    moves.into_iter().for_each(|(to, from)| asm.copy(to, from));
    asm.mov(Width::W64, Gpr::R9, Mem::new(Gpr::RSP, 8));
    asm.fixed(Fixed::Syscall);
    asm.ret();
    Stub { name: "maquette_syscall6", code: asm.finish() }
}

/// `uint64_t maquette_clock_ns(void)`: nanoseconds of a clock that never goes back.
fn clock() -> Stub {
    const SECONDS: Mem = Mem::new(Gpr::RSP, 0);
    const NANOSECONDS: Mem = Mem::new(Gpr::RSP, 8);
    let mut asm = Assembler::new(Level::V3);
    asm.sub(Gpr::RSP, 24);
    asm.load_immediate(Gpr::RDI, CLOCK_MONOTONIC);
    asm.copy(Gpr::RSI, Gpr::RSP);
    asm.load_immediate(Gpr::RAX, number::CLOCK_GETTIME);
    asm.fixed(Fixed::Syscall);
    asm.imul_by(Width::W64, Gpr::RAX, SECONDS, 1_000_000_000);
    asm.add(Gpr::RAX, NANOSECONDS);
    asm.add(Gpr::RSP, 24);
    asm.ret();
    Stub { name: "maquette_clock_ns", code: asm.finish() }
}
