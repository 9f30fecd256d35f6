//! Machine against oracle, bit for bit: random tile kernels, and every partial access at the very end of its memory.
//! A NaN equals any NaN; everything else equals itself.

mod common;
mod generate;

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use generate::{Case, Random};
use ir::kernel::Facts;
use x64::facts::LEVELS;

/// Reads, for each kernel, its buffers; calls it; writes the buffers back. Each buffer ends where its memory ends: the page
/// behind it may not be touched. The pointer handed over is `start` bytes into the buffer.
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
        if (call_checked(kernels[k], at) != 0) return 4;
        for (uint32_t i = 0; i < count; i++)
            if (fwrite(buffer[i], 1, bytes[i], stdout) != bytes[i]) return 5;
    }
    return fflush(stdout) ? 6 : 0;
}
"#;

fn check(name: &str, make: impl Fn(&'static Facts) -> Vec<Case>) {
    if !common::native(name) || !common::have("cc", name) {
        return;
    }
    for level in LEVELS {
        let folder = common::folder(&format!("{name}-{}", level.facts.name));
        let cases = make(level.facts);
        let mut source = "typedef int kernel(void *, void *, void *, void *, void *, void *, void *, void *, void *, void *);\n".to_owned();
        let mut table = "static kernel *const kernels[] = {".to_owned();
        let mut symbols = Vec::new();
        for (i, case) in cases.iter().enumerate() {
            let code = x64::compile(case.tile(), case.kernel.args.len(), level.facts);
            symbols.push(x64::function(format!("k{i}"), code).global());
            writeln!(source, "kernel k{i};").expect("a string takes all");
            write!(table, "k{i},").expect("a string takes all");
        }
        let object = common::object(&folder, symbols);
        let program = common::link(&folder, &format!("{source}{table}}};\n{MAIN}"), &object);
        if common::cpu_here() & level.cpu == 0 {
            common::skip(name, &format!("this machine has no {}", level.facts.name));
            continue;
        }
        let mut command = Command::new(&program);
        let input: Vec<u8> = cases.iter().flat_map(Case::message).collect();
        let path = folder.join("input");
        std::fs::write(&path, input).expect("the folder is ours");
        command.stdin(Stdio::from(std::fs::File::open(&path).expect("it was just written")));
        let output = common::succeed(&mut command).stdout;
        let mut rest = &output[..];
        for case in &cases {
            let expected = case.expected(level.facts);
            for (arg, expected) in expected.iter().enumerate() {
                let (got, after) = rest.split_at(expected.len());
                rest = after;
                compare(case, level.facts, arg, expected, got);
            }
        }
        assert!(rest.is_empty());
    }
}

fn compare(case: &Case, facts: &Facts, arg: usize, expected: &[u8], got: &[u8]) {
    let words =
        |bytes: &[u8]| -> Vec<u32> { bytes.chunks_exact(4).map(|w| u32::from_le_bytes(w.try_into().expect("four bytes"))).collect() };
    for (i, (e, g)) in words(expected).into_iter().zip(words(got)).enumerate() {
        let same = e == g || f32::from_bits(e).is_nan() && f32::from_bits(g).is_nan();
        assert!(
            same,
            "{} on {}: argument {arg}, byte {}: expected {e:#010x} ({}), got {g:#010x} ({})\n{:#?}",
            case.kernel.name,
            facts.name,
            4 * i,
            f32::from_bits(e),
            f32::from_bits(g),
            case.kernel.body
        );
    }
}

#[test]
fn random_kernels_agree_with_the_oracle() {
    check("random_kernels_agree_with_the_oracle", |facts| (0..300).map(|seed| generate::random(&mut Random::new(seed), facts)).collect());
}

#[test]
fn partial_accesses_touch_nothing_beyond() {
    check("partial_accesses_touch_nothing_beyond", generate::partial_accesses);
}

#[test]
fn every_operation_on_every_operand() {
    check("every_operation_on_every_operand", generate::operations);
}

#[test]
fn pointers_go_far_and_come_back() {
    check("pointers_go_far_and_come_back", generate::pointers);
}
