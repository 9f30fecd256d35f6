//! The raw functions, run: from C where a compiler is present, and as a program of their own.

mod common;

use std::io::Write as _;
use std::process::{Command, Stdio};

use artifact::{Code, Machine, Symbol, System};
use cases::common::{link, succeed};
use common::ROOM;
use x64::encode::{Alu, Assembler, Condition, Fixed, Gpr, Level, Mem, Width};
use x64::stubs::{self, Stub, cpu};

fn global(stub: Stub) -> Symbol {
    x64::function(stub.name, stub.code).global()
}

const ASK_CPU: &str = r#"
#include <stdint.h>
#include <stdio.h>
uint64_t maquette_cpu(void);
int main(void) {
    uint64_t before = 0x123456789abcdef0, after, word;
    __asm__ volatile("mov %2, %%rbx\n\tcall maquette_cpu\n\tmov %%rbx, %1" : "=a"(word), "=r"(after) : "r"(before)
                     : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
    if (before != after) return 1;
    if (maquette_cpu() != word) return 2;
    printf("%llu\n", (unsigned long long)word);
    return 0;
}
"#;

#[test]
fn cpu_says_what_the_machine_offers() {
    let name = "cpu_says_what_the_machine_offers";
    if !ROOM.native(name) || !ROOM.have("cc", name) {
        return;
    }
    let folder = ROOM.folder(name);
    let program = link(&folder, ASK_CPU, vec![vec![global(stubs::cpu())]]);
    let word = |command: &mut Command| -> u64 {
        let output = succeed(command);
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("the program prints a number")
    };
    assert_eq!(word(&mut Command::new(&program)), common::cpu_here());
    if ROOM.have("qemu-x86_64", name) {
        for (model, expected) in [("Nehalem", cpu::KNOWN), ("SandyBridge", cpu::KNOWN), ("Haswell", cpu::KNOWN | cpu::V3)] {
            let mut emulated = Command::new("qemu-x86_64");
            emulated.args(["-cpu", model]).arg(&program).stderr(Stdio::null());
            assert_eq!(word(&mut emulated), expected, "{model}");
        }
    }
}

const CALL_SYSTEM: &str = r#"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
int64_t maquette_sys_read(int64_t, void *, uint64_t);
int64_t maquette_sys_write(int64_t, const void *, uint64_t);
int64_t maquette_sys_open(const char *, int64_t, int64_t);
int64_t maquette_sys_close(int64_t);
int64_t maquette_sys_fstat(int64_t, struct stat *);
void *maquette_sys_mmap(void *, uint64_t, int64_t, int64_t, int64_t, int64_t);
int64_t maquette_sys_munmap(void *, uint64_t);
void maquette_sys_exit(int64_t);
int64_t maquette_syscall6(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);
uint64_t maquette_clock_ns(void);

static uint64_t libc_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv) {
    char buffer[64];
    if (argc != 2) return 1;
    if (maquette_sys_read(0, buffer, sizeof buffer) != 5 || memcmp(buffer, "hello", 5)) return 2;
    if (maquette_sys_write(1, buffer, 5) != 5) return 3;
    if (maquette_sys_read(-1, buffer, 1) != -EBADF) return 4;

    int64_t file = maquette_sys_open(argv[1], O_RDONLY, 0);
    if (file < 0) return 5;
    struct stat status;
    if (maquette_sys_fstat(file, &status) != 0 || status.st_size < 1000) return 6;
    const char *elf = maquette_sys_mmap(0, 4096, PROT_READ, MAP_PRIVATE, file, 0);
    if (memcmp(elf, "\177ELF", 4)) return 7;
    if (maquette_sys_munmap((void *)elf, 4096) != 0) return 8;
    elf = (const char *)maquette_syscall6(SYS_mmap, 0, 8192, PROT_READ, MAP_PRIVATE, file, 4096);
    if ((int64_t)elf < 0 || maquette_sys_munmap((void *)elf, 8192) != 0) return 9;
    char there;
    if (maquette_syscall6(SYS_pread64, file, (int64_t)&there, 1, 1, 0, 0) != 1 || there != 'E') return 10;
    if (maquette_sys_close(file) != 0 || maquette_sys_close(file) != -EBADF) return 11;

    uint64_t before = libc_ns(), now = maquette_clock_ns(), after = libc_ns();
    if (now < before || now > after) return 12;
    maquette_sys_exit(0);
    return 13;
}
"#;

#[test]
fn system_calls_reach_the_system() {
    let name = "system_calls_reach_the_system";
    if !ROOM.native(name) || !ROOM.have("cc", name) {
        return;
    }
    let folder = ROOM.folder(name);
    let program = link(&folder, CALL_SYSTEM, vec![stubs::system_calls().into_iter().map(global).collect()]);
    let mut child =
        Command::new(&program).arg(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program was just made");
    child.stdin.take().expect("it was piped").write_all(b"hello").expect("the program reads it");
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"hello");
}

/// `maquette_main(stack)`: the argument count, or 99 when the stack was not aligned for a call.
fn main_that_counts_arguments() -> Symbol {
    let mut asm = Assembler::new(Level::V3);
    let skewed = asm.label();
    asm.copy(Gpr::RAX, Gpr::RSP);
    asm.alu(Alu::And, Width::W32, Gpr::RAX, 15);
    asm.alu(Alu::Cmp, Width::W32, Gpr::RAX, 8);
    asm.jcc(Condition::Ne, skewed);
    asm.mov(Width::W64, Gpr::RAX, Mem::new(Gpr::RDI, 0));
    asm.ret();
    asm.bind(skewed);
    asm.load_immediate(Gpr::RAX, 99);
    asm.fixed(Fixed::Ret);
    x64::function("maquette_main", asm.finish())
}

#[test]
fn a_program_without_libc_starts_and_exits() {
    use std::os::unix::fs::PermissionsExt as _;
    let name = "a_program_without_libc_starts_and_exits";
    if !ROOM.native(name) {
        return;
    }
    let path = ROOM.folder(name).join("program");
    let code =
        Code { machine: Machine::X86_64, system: System::Linux, symbols: vec![global(stubs::start()), main_that_counts_arguments()] };
    let mut file = std::fs::File::create(&path).expect("the folder is ours");
    artifact::executable(&code, "_start", &mut file).expect("well-formed code");
    file.set_permissions(std::fs::Permissions::from_mode(0o755)).expect("the file is ours");
    drop(file);
    for arguments in [&[][..], &["one"], &["one", "two", "three"]] {
        let status = Command::new(&path).args(arguments).status().expect("the program was just made");
        assert_eq!(status.code(), Some(1 + arguments.len() as i32));
    }
}
