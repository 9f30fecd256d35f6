//! What the tests of this crate share: hand-made code, and what tools print.
#![allow(dead_code)]

use std::path::Path;
use std::process::Command;

use artifact::{Code, Content, Machine, Relocation, RelocationKind, Symbol, System};
use cases::common::{Room, succeed};

pub const ROOM: Room = cases::room!();

/// Whether this computer runs x86-64 Linux programs itself, and has a C compiler.
pub fn native(test: &str) -> bool {
    ROOM.native(test) && ROOM.have("cc", test)
}

/// Runs it and returns what it printed; fails with what it said if its status is not 0.
pub fn printed(command: &mut Command) -> String {
    String::from_utf8_lossy(&succeed(command).stdout).into_owned()
}

pub fn tool(name: &str, arguments: &[&str], file: &Path) -> String {
    printed(Command::new(name).args(arguments).arg(file))
}

pub fn file(path: &Path) -> std::fs::File {
    std::fs::File::create(path).expect("the folder is ours")
}

pub fn executable_bit(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("the file is ours");
}

pub fn relocation(offset: u32, kind: RelocationKind, symbol: &str, addend: i64) -> Relocation {
    Relocation { offset, kind, symbol: symbol.into(), addend }
}

/// `int answer(void)`: calls `step`, which follows a pointer table to a constant of the read-only section: 42.
/// And `const uint64_t numbers[4] = {3, 5, 7, 11}` as a global of `.data.rel.ro`, all else local.
pub fn x86() -> Code {
    use RelocationKind::{Abs64, X86Pc32};
    let rodata = |name: &str, align, bytes: &[u8]| Symbol::constant(name, align, Content::Bytes(bytes.to_vec()));
    let code = Code {
        machine: Machine::X86_64,
        system: System::Linux,
        symbols: vec![
            // call step; ret
            Symbol::function("answer", 16, vec![0xe8, 0, 0, 0, 0, 0xc3], vec![relocation(1, X86Pc32, "step", -4)]).global(),
            rodata("filler", 1, b"odd"),
            // mov rax, [rip + table + 8]; mov eax, [rax]; add eax, [rip + two]; ret
            Symbol::function(
                "step",
                64,
                vec![0x48, 0x8b, 5, 0, 0, 0, 0, 0x8b, 0, 0x03, 5, 0, 0, 0, 0, 0xc3],
                vec![relocation(3, X86Pc32, "table", 8 - 4), relocation(11, X86Pc32, "two", -4)],
            ),
            rodata("values", 64, &[9, 0, 0, 0, 40, 0, 0, 0]),
            Symbol::constant("two", 4, Content::lazy(4, |put| [2u8, 0, 0, 0].iter().for_each(|b| put(&[*b])))),
            Symbol::table("table", 8, vec![0; 16], vec![relocation(0, Abs64, "values", 0), relocation(8, Abs64, "values", 4)]),
            Symbol::table("numbers", 32, [3u64, 5, 7, 11].iter().flat_map(|n| n.to_le_bytes()).collect(), vec![]).global(),
        ],
    };
    code.check().expect("keeps the laws");
    code
}

/// `_start`: exit(answer()).
pub fn x86_program() -> Code {
    let mut code = x86();
    // call answer; mov edi, eax; mov eax, 60; syscall
    let start = vec![0xe8, 0, 0, 0, 0, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 5];
    let call = vec![relocation(1, RelocationKind::X86Pc32, "answer", -4)];
    code.symbols.push(Symbol::function("_start", 16, start, call).global());
    code
}

/// The same for ARM64: `answer` follows `table` to 42; `_start` exits with it.
pub fn aarch64_program() -> Code {
    use RelocationKind::*;
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let code = Code {
        machine: Machine::Aarch64,
        system: System::Linux,
        symbols: vec![
            // bl answer; mov x8, 93; svc 0
            Symbol::function(
                "_start",
                16,
                words(&[0x9400_0000, 0xd280_0ba8, 0xd400_0001]),
                vec![relocation(0, Aarch64Call26, "answer", 0)],
            )
            .global(),
            // adrp x0, table; add x0, x0, :lo12:table; ldr x0, [x0, 8]; ldr w0, [x0]; ret
            Symbol::function(
                "answer",
                64,
                words(&[0x9000_0000, 0x9100_0000, 0xf940_0400, 0xb940_0000, 0xd65f_03c0]),
                vec![relocation(0, Aarch64AdrPage21, "table", 0), relocation(4, Aarch64AddLo12, "table", 0)],
            )
            .global(),
            Symbol::constant("values", 4, Content::Bytes(vec![9, 0, 0, 0, 42, 0, 0, 0])),
            Symbol::table("table", 8, vec![0; 16], vec![relocation(0, Abs64, "values", 0), relocation(8, Abs64, "values", 4)]),
        ],
    };
    code.check().expect("keeps the laws");
    code
}
