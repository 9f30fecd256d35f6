//! The raw functions, run: each as a program of its own on processors that differ.

use arm64::encode::{Assembler, Condition, Gpr, Label, Place, Slot};
use arm64::stubs::cpu::{DOTPROD, I8MM, KNOWN, NEON};
use arm64::stubs::{self, Stub};
use artifact::{Symbol, System};
use cases::batch::aarch64;
use cases::common::Room;

const ROOM: Room = cases::room!();

fn x(n: u8) -> Gpr {
    Gpr::x(n)
}

fn symbol(stub: Stub) -> Symbol {
    arm64::function(stub.name, stub.code)
}

/// A program around `maquette_main`, in a file of its own.
fn program(name: &str, cpu: Stub, write: impl FnOnce(&mut Assembler)) -> std::path::PathBuf {
    let mut asm = Assembler::new();
    write(&mut asm);
    let main = arm64::function("maquette_main", asm.finish());
    let stubs = [cpu, stubs::cpu_of_stack(), stubs::start()].into_iter().chain(stubs::system_calls());
    let path = ROOM.folder(name).join("program");
    aarch64::program(&path, stubs.map(symbol).chain([main]).collect());
    path
}

/// `maquette_main`: calls the function of that name with its own argument, and returns what it returns.
fn call_through(asm: &mut Assembler, name: &str) {
    asm.store_pair(Slot::X(x(29)), Slot::X(Gpr::LINK), Place::Pre(Gpr::SP, -16));
    asm.call_symbol(name);
    asm.load_pair(Slot::X(x(29)), Slot::X(Gpr::LINK), Place::Post(Gpr::SP, 16));
    asm.ret();
}

/// What each processor has.
const PROCESSORS: [(&str, u64); 4] = [
    ("cortex-a53", KNOWN | NEON),
    ("cortex-a72", KNOWN | NEON),
    ("cortex-a76", KNOWN | NEON | DOTPROD),
    ("max", KNOWN | NEON | DOTPROD | I8MM),
];

#[test]
fn cpu_says_what_the_processor_offers() {
    let name = "cpu_says_what_the_processor_offers";
    for function in ["maquette_cpu", "maquette_cpu_of_stack"] {
        let path = program(&format!("{name}-{function}"), stubs::cpu(System::Linux, 0), |asm| call_through(asm, function));
        // the emulator of Debian 12 leaves this field of the register out
        let shown = if function == "maquette_cpu" { !I8MM } else { !0 };
        for (processor, word) in PROCESSORS {
            let Some(mut command) = aarch64::runner(&ROOM, processor, name) else { return };
            let status = command.arg(&path).args(["some", "arguments"]).status().expect("it was just there");
            let got = status.code().expect("it exits") as u64;
            assert_eq!(got & shown, word & shown, "{function} on {processor}");
        }
    }
}

#[test]
fn cpu_without_anyone_to_ask_is_what_is_known() {
    let name = "cpu_without_anyone_to_ask_is_what_is_known";
    let told = DOTPROD | I8MM;
    let cases = [(System::MacOs, KNOWN | NEON | DOTPROD), (System::Ios, KNOWN | NEON), (System::None, KNOWN | NEON | told)];
    for (system, word) in cases {
        let path = program(&format!("{name}-{system:?}"), stubs::cpu(system, told), |asm| call_through(asm, "maquette_cpu"));
        let Some(mut command) = aarch64::runner(&ROOM, "cortex-a53", name) else { return };
        assert_eq!(command.arg(&path).status().expect("it was just there").code(), Some(word as i32), "{system:?}");
    }
}

#[test]
fn a_program_without_libc_starts_and_exits() {
    let name = "a_program_without_libc_starts_and_exits";
    // the argument count, or 99 when the stack is not aligned for a call
    let path = program(name, stubs::cpu(System::Linux, 0), |asm| {
        let skewed = asm.label();
        asm.add_immediate(x(1), Gpr::SP, 0);
        asm.bits(x(1), x(1), 0, 4);
        asm.branch_if_not_zero(x(1), skewed);
        asm.load(Slot::X(x(0)), Place::At(x(0), 0));
        asm.ret();
        asm.bind(skewed);
        asm.load_immediate(x(0), 99);
        asm.ret();
    });
    for arguments in [&[][..], &["one"], &["one", "two", "three"]] {
        let Some(mut command) = aarch64::runner(&ROOM, "cortex-a53", name) else { return };
        let status = command.arg(&path).args(arguments).status().expect("it was just there");
        assert_eq!(status.code(), Some(1 + arguments.len() as i32));
    }
}

/// Calls `name` with these arguments, of which `None` is what `x19` holds, and ends with `code` unless the result is `expected`.
fn expect(asm: &mut Assembler, name: &str, arguments: &[Option<i64>], expected: Option<i64>, code: i64, out: Label) {
    for (i, argument) in arguments.iter().enumerate() {
        match argument {
            Some(value) => asm.load_immediate(x(i as u8), *value),
            None => asm.copy(x(i as u8), x(19)),
        }
    }
    asm.call_symbol(name);
    asm.load_immediate(x(20), code);
    if let Some(expected) = expected {
        asm.load_immediate(x(1), expected);
        asm.compare_registers(x(0), x(1));
        asm.branch_if(Condition::NotEqual, out);
    }
}

#[test]
fn system_calls_reach_the_system() {
    let name = "system_calls_reach_the_system";
    const BAD_FILE: i64 = -9;
    const PREAD: i64 = 67;
    let elf = i64::from(u32::from_le_bytes(*b"\x7fELF"));
    let path = program(name, stubs::cpu(System::Linux, 0), |asm| {
        let out = asm.label();
        asm.add_immediate(Gpr::SP, Gpr::SP, -256);
        // the file that the first argument names
        asm.load(Slot::X(x(0)), Place::At(x(0), 16));
        asm.load_immediate(x(1), 0);
        asm.load_immediate(x(2), 0);
        asm.call_symbol("maquette_sys_open");
        asm.copy(x(19), x(0));
        asm.add_immediate(x(1), Gpr::SP, 0);
        asm.call_symbol("maquette_sys_fstat");
        asm.load_immediate(x(20), 2);
        asm.branch_if_not_zero(x(0), out);
        // its size, which is where the C library says
        asm.load(Slot::X(x(21)), Place::At(Gpr::SP, 48));
        // four bytes of it from the start, by a call that takes four arguments
        asm.add_immediate(x(2), Gpr::SP, 0);
        asm.load_immediate(x(0), PREAD);
        asm.copy(x(1), x(19));
        asm.load_immediate(x(3), 8);
        asm.load_immediate(x(4), 0);
        asm.call_symbol("maquette_syscall6");
        asm.load_immediate(x(20), 3);
        asm.compare(x(0), 8);
        asm.branch_if(Condition::NotEqual, out);
        asm.load(Slot::X(x(22)), Place::At(Gpr::SP, 0));
        asm.bits(x(22), x(22), 0, 32);
        asm.load_immediate(x(20), 4);
        asm.load_immediate(x(1), elf);
        asm.compare_registers(x(22), x(1));
        asm.branch_if(Condition::NotEqual, out);
        // the same in memory
        for (i, argument) in [Some(0), Some(4096), Some(1), Some(2), None, Some(0)].into_iter().enumerate() {
            match argument {
                Some(value) => asm.load_immediate(x(i as u8), value),
                None => asm.copy(x(i as u8), x(19)),
            }
        }
        asm.call_symbol("maquette_sys_mmap");
        asm.load(Slot::X(x(22)), Place::At(x(0), 0));
        asm.bits(x(22), x(22), 0, 32);
        asm.load_immediate(x(20), 5);
        asm.load_immediate(x(1), elf);
        asm.compare_registers(x(22), x(1));
        asm.branch_if(Condition::NotEqual, out);
        asm.load_immediate(x(1), 4096);
        asm.call_symbol("maquette_sys_munmap");
        asm.load_immediate(x(20), 6);
        asm.branch_if_not_zero(x(0), out);
        expect(asm, "maquette_sys_close", &[None], Some(0), 7, out);
        expect(asm, "maquette_sys_close", &[None], Some(BAD_FILE), 8, out);
        expect(asm, "maquette_sys_read", &[Some(-1), Some(0), Some(0)], Some(BAD_FILE), 9, out);
        // time goes on
        expect(asm, "maquette_clock_ns", &[], None, 10, out);
        asm.copy(x(22), x(0));
        asm.call_symbol("maquette_clock_ns");
        asm.compare_registers(x(0), x(22));
        asm.branch_if(Condition::Low, out);
        asm.branch_if_zero(x(22), out);
        // the size, in a status
        asm.bits(x(0), x(21), 0, 7);
        asm.call_symbol("maquette_sys_exit");
        asm.bind(out);
        asm.copy(x(0), x(20));
        asm.call_symbol("maquette_sys_exit");
    });
    let Some(mut command) = aarch64::runner(&ROOM, "cortex-a53", name) else { return };
    let size = std::fs::metadata(&path).expect("it was just made").len();
    // larger than any code of a failure, or the test would not tell them apart
    let mut file = std::fs::read(&path).expect("it was just made");
    file.resize(file.len() + (100 + 128 - size as usize % 128) % 128, 0);
    let padded = path.with_extension("padded");
    std::fs::write(&padded, &file).expect("the folder is ours");
    let status = command.arg(&path).arg(&padded).status().expect("it was just there");
    assert_eq!(status.code(), Some(100));
}
