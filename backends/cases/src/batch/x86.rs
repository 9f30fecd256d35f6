//! A program in C for x86-64 Linux, which this computer runs itself.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use artifact::Symbol;

use super::Call;
use crate::common::{link, succeed};
use crate::{Buffer, Outcome};

/// The most pointers of a function.
pub const ARGS: usize = 10;

/// The status of a function that does not restore a register.
pub const NOT_RESTORED: i32 = 99;

/// Reads, for each function, its buffers; calls it; writes the status and the buffers back. The pointer handed over is `start` bytes
/// into the buffer.
const MAIN: &str = r#"
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
/* Calls `f` with ten arguments; 99 when a register that it must restore has changed. */
int call_checked(kernel *f, void **arguments);
__asm__(".intel_syntax noprefix\n"
        "call_checked:\n push rbx\n push rbp\n push r12\n push r13\n push r14\n push r15\n sub rsp, 40\n"
        "mov rax, rdi\n mov r10, rsi\n"
        "mov rcx, [r10+48]\n mov [rsp], rcx\n mov rcx, [r10+56]\n mov [rsp+8], rcx\n"
        "mov rcx, [r10+64]\n mov [rsp+16], rcx\n mov rcx, [r10+72]\n mov [rsp+24], rcx\n"
        "lea rbx, [rsp+1]\n lea rbp, [rsp+2]\n lea r12, [rsp+3]\n lea r13, [rsp+4]\n lea r14, [rsp+5]\n lea r15, [rsp+6]\n"
        "mov rdi, [r10]\n mov rsi, [r10+8]\n mov rdx, [r10+16]\n mov rcx, [r10+24]\n mov r8, [r10+32]\n mov r9, [r10+40]\n"
        "call rax\n mov ecx, 99\n"
        "dec rbx\n cmp rbx, rsp\n cmovne eax, ecx\n sub rbp, 2\n cmp rbp, rsp\n cmovne eax, ecx\n"
        "sub r12, 3\n cmp r12, rsp\n cmovne eax, ecx\n sub r13, 4\n cmp r13, rsp\n cmovne eax, ecx\n"
        "sub r14, 5\n cmp r14, rsp\n cmovne eax, ecx\n sub r15, 6\n cmp r15, rsp\n cmovne eax, ecx\n"
        "add rsp, 40\n pop r15\n pop r14\n pop r13\n pop r12\n pop rbp\n pop rbx\n ret\n"
        ".att_syntax\n");
static char *room(uint32_t bytes) {
    uint64_t pages = (bytes + 4095ull) / 4096 * 4096;
    char *memory = mmap(0, pages + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory + pages, 4096, PROT_NONE)) return 0;
    return memory + pages - bytes;
}
int main(void) {
    for (uint32_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        uint32_t count, bytes[10], start;
        char *buffer[10] = {0};
        void *at[10] = {0};
        if (fread(&count, 4, 1, stdin) != 1 || count > 10) return 1;
        for (uint32_t i = 0; i < count; i++) {
            if (fread(&bytes[i], 4, 1, stdin) != 1 || fread(&start, 4, 1, stdin) != 1) return 2;
            buffer[i] = room(bytes[i]);
            if (!buffer[i] || fread(buffer[i], 1, bytes[i], stdin) != bytes[i]) return 3;
            at[i] = buffer[i] + start;
        }
        int32_t status = call_checked(kernels[k], at);
        if (fwrite(&status, 4, 1, stdout) != 1) return 4;
        for (uint32_t i = 0; i < count; i++)
            if (fwrite(buffer[i], 1, bytes[i], stdout) != bytes[i]) return 5;
    }
    return fflush(stdout) ? 6 : 0;
}
"#;

/// The program of these functions, in `folder`.
pub fn program(folder: &Path, calls: &[Call]) -> PathBuf {
    let mut source = "typedef int kernel(void *, void *, void *, void *, void *, void *, void *, void *, void *, void *);\n".to_owned();
    let mut table = "static kernel *const kernels[] = {".to_owned();
    for call in calls {
        assert!(call.buffers.len() <= ARGS);
        writeln!(source, "kernel {};", call.function.name).expect("a string takes all");
        write!(table, "{},", call.function.name).expect("a string takes all");
    }
    let symbols = calls.iter().map(|call| Symbol::global(call.function.clone())).collect();
    link(folder, &format!("{source}{table}}};\n{MAIN}"), vec![symbols])
}

/// Runs a [`program`] of the calls.
pub fn run(program: &Path, calls: &[Call]) -> Vec<Outcome> {
    let mut message = Vec::new();
    for call in calls {
        message.extend((call.buffers.len() as u32).to_le_bytes());
        for buffer in &call.buffers {
            message.extend((buffer.bytes.len() as u32).to_le_bytes());
            message.extend((buffer.start as u32).to_le_bytes());
            message.extend(&buffer.bytes);
        }
    }
    let input = program.with_extension("input");
    std::fs::write(&input, message).expect("the folder is ours");
    let input = std::fs::File::open(&input).expect("it was just written");
    let output = succeed(Command::new(program).stdin(Stdio::from(input))).stdout;
    let mut rest = &output[..];
    let mut take = |bytes: usize| rest.split_off(..bytes).expect("the program wrote all of it");
    let mut outcome = |call: &Call| {
        let status = i32::from_le_bytes(take(4).try_into().expect("four bytes"));
        assert_ne!(status, NOT_RESTORED, "{} does not restore a register", call.function.name);
        let buffers = call.buffers.iter().map(|buffer: &Buffer| take(buffer.bytes.len()).to_vec()).collect();
        Outcome { status, buffers }
    };
    let all = calls.iter().map(&mut outcome).collect();
    assert!(rest.is_empty());
    all
}
