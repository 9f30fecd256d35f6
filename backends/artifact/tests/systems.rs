//! Objects and archives for ARM64's other systems: Mach-O for macOS and iOS, ELF for Android and for bare metal. LLVM's reader
//! and its linkers are the judges; nothing of Apple's runs here, so what was linked is read back.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use artifact::{Code, Content, Fault, Machine, RelocationKind, Symbol, System};
use cases::common::run;
use common::*;

/// `aarch64_program`, with a way to the table's second entry by an addend, and 200 bytes of streamed weights at 64.
fn program(system: System) -> Code {
    let mut code = Code { system, ..aarch64_program() };
    let answer = code.symbols.iter_mut().find(|s| s.name == "answer").expect("it is there");
    answer.relocations.iter_mut().for_each(|r| r.addend = 8);
    let Content::Bytes(bytes) = &mut answer.content else { unreachable!("it is code") };
    // ldr x0, [x0], for the second entry is where the address now points
    bytes[8..12].copy_from_slice(&0xf940_0000u32.to_le_bytes());
    code.symbols.push(Symbol::constant("weights", 64, Content::lazy(200, |put| (0..200).for_each(|i| put(&[i])))));
    code.symbols.push(Symbol::table("numbers", 8, 11u64.to_le_bytes().to_vec(), vec![]).global());
    code
}

fn write(code: &Code, dir: &Path) -> (PathBuf, PathBuf) {
    let (object, library) = (dir.join("tiny.o"), dir.join("libtiny.a"));
    let bytes = artifact::object(code, &mut file(&object)).expect("an object");
    assert_eq!(bytes, object.metadata().expect("written").len());
    let bytes = artifact::archive(code, "tiny_with_a_long_name.o", &mut file(&library)).expect("an archive");
    assert_eq!(bytes, library.metadata().expect("written").len());
    (object, library)
}

/// Address of a symbol, as `nm` tells it.
fn address(path: &Path, symbol: &str) -> u64 {
    let text = tool("llvm-nm-19", &[], path);
    let line = text.lines().find(|line| line.split_whitespace().last() == Some(symbol));
    let line = line.unwrap_or_else(|| panic!("no {symbol} in\n{text}"));
    u64::from_str_radix(line.split_whitespace().next().expect("an address"), 16).expect("hexadecimal")
}

#[test]
fn mach_objects_say_what_apples_tools_read() {
    let test = "mach_objects_say_what_apples_tools_read";
    if !ROOM.have("llvm-readobj-19", test) || !ROOM.have("llvm-nm-19", test) || !ROOM.have("llvm-ar-19", test) {
        return;
    }
    for (system, platform, oldest) in [(System::MacOs, "macos", "11.0"), (System::Ios, "ios", "12.0")] {
        let dir = ROOM.folder(&format!("{test}.{platform}"));
        let (object, library) = write(&program(system), &dir);
        for path in [&object, &library] {
            let all =
                ["--file-headers", "--sections", "--symbols", "--relocs", "--macho-segment", "--macho-version-min", "--macho-dysymtab"];
            let output = run(Command::new("llvm-readobj-19").args(all).arg(path));
            let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success() && said.is_empty(), "{path:?}: {said}");
            for expected in
                ["Mach-O arm64", "Name: __text", "Name: __const", "Segment: __DATA", "ARM64_RELOC_PAGE21", "ARM64_RELOC_PAGEOFF12"]
            {
                assert!(text.contains(expected), "{expected} in\n{text}");
            }
            assert!(text.contains(&format!("Platform: {platform}")) && text.contains(&format!("Version: {oldest}")), "{text}");
            assert!(!text.contains("BRANCH26"), "settled here: {text}");
            assert_eq!(tool("llvm-nm-19", &["-u"], path).replace("tiny_with_a_long_name.o:", "").trim(), "");
            let global = tool("llvm-nm-19", &["-g", "--defined-only", "--format=just-symbols"], path);
            let global: Vec<&str> = global.lines().filter(|line| line.starts_with('_')).collect();
            assert_eq!(global, ["__start", "_answer", "_numbers"]);
        }
        assert_eq!(address(&object, "_weights") % 64, 0);
        assert_eq!(tool("llvm-ar-19", &["t"], &library), "tiny_with_a_long_name.o\n");
        assert_eq!(tool("llvm-ar-19", &["p"], &library).len(), String::from_utf8_lossy(&std::fs::read(&object).expect("written")).len());
        let index = tool("llvm-nm-19", &["--print-armap"], &library);
        assert!(index.contains("_answer in tiny_with_a_long_name.o"), "{index}");
    }
}

#[test]
fn mach_archives_link_into_dylibs() {
    let test = "mach_archives_link_into_dylibs";
    if !ROOM.have("ld64.lld-19", test) || !ROOM.have("llvm-nm-19", test) || !ROOM.have("llvm-objdump-19", test) {
        return;
    }
    for (system, platform) in [(System::MacOs, "macos"), (System::Ios, "ios")] {
        let dir = ROOM.folder(&format!("{test}.{platform}"));
        let (object, library) = write(&program(system), &dir);
        let dylib = dir.join("libtiny.dylib");
        let flags = ["-dylib", "-arch", "arm64", "-platform_version", platform, "14.0", "14.0", "-undefined", "error", "-fatal_warnings"];
        let link = |inputs: &[&Path], more: &[&str]| {
            printed(Command::new("ld64.lld-19").args(flags).args(more).arg("-o").arg(&dylib).args(inputs));
        };
        // From the archive only through its index: something has to ask for the member.
        for (inputs, more) in [([&*object], &[][..]), ([&*library], &["-u", "_answer", "-dead_strip"][..])] {
            link(&inputs, more);
            let code = tool("llvm-objdump-19", &["-d", "--no-show-raw-insn"], &dylib);
            let body: Vec<&str> = code.split("<_answer>:").nth(1).expect("the function").lines().skip(1).take(2).collect();
            let number = |text: &str| u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).expect("hexadecimal");
            let page = number(body[0].rsplit_once(", ").expect("operands").1.split_whitespace().next().expect("a page"));
            let low = number(body[1].rsplit_once('#').expect("an immediate").1.split_whitespace().next().expect("a number"));
            assert_eq!(page + low, address(&dylib, "_table") + 8, "{code}");
            let call = code.split("<__start>:").nth(1).expect("the function").lines().nth(1).expect("a line");
            assert!(call.contains("bl") && call.contains("<_answer>"), "{code}");
            let pointers = tool("llvm-objdump-19", &["--macho", "--rebase"], &dylib);
            let pointers = pointers + &tool("llvm-objdump-19", &["--macho", "--chained-fixups", "--dyld-info"], &dylib);
            assert!(pointers.contains(&format!("{:X}", address(&dylib, "_table") + 8)), "{pointers}");
            assert_eq!(address(&dylib, "_weights") % 64, 0);
            let bytes = std::fs::read(&dylib).expect("written");
            assert!(bytes.windows(200).any(|window| window.iter().enumerate().all(|(i, b)| *b == i as u8)));
        }
        // Two models in one library.
        let mut second = program(system);
        let own = |name: &mut String| *name = format!("second{name}");
        second.symbols.iter_mut().for_each(|s| {
            own(&mut s.name);
            s.relocations.iter_mut().for_each(|r| own(&mut r.symbol));
        });
        std::fs::create_dir(dir.join("second")).expect("the folder is ours");
        let (_, other) = write(&second, &dir.join("second"));
        link(&[&library, &other], &["-u", "_answer", "-u", "_secondanswer"]);
        assert!(address(&dylib, "_secondweights") != address(&dylib, "_weights"));
    }
}

#[test]
fn android_archives_and_images_have_pages_of_16_kb() {
    let test = "android_archives_and_images_have_pages_of_16_kb";
    if !ROOM.have("readelf", test) {
        return;
    }
    let dir = ROOM.folder(test);
    let code = program(System::Android);
    let (_, library) = write(&code, &dir);
    let image = dir.join("libtiny.so");
    artifact::shared_object(&code, "libtiny.so", &mut file(&image)).expect("a shared object");
    let aligned = |path: &Path| {
        let segments = tool("readelf", &["-lW"], path);
        let loads: Vec<&str> = segments.lines().filter(|line| line.trim_start().starts_with("LOAD")).collect();
        loads.len() >= 3 && loads.iter().all(|line| line.ends_with("0x4000"))
    };
    assert!(aligned(&image));
    if ROOM.have("ld.lld-19", test) {
        let linked = dir.join("liblinked.so");
        let flags = ["-shared", "--whole-archive", "-z", "max-page-size=16384", "-z", "defs", "-z", "text", "--fatal-warnings"];
        printed(Command::new("ld.lld-19").args(flags).arg("-o").args([&linked, &library]));
        assert!(aligned(&linked));
        assert_eq!(tool("readelf", &["-dW"], &linked).matches("TEXTREL").count(), 0);
    }
}

/// What a board's linker script looks like; the semihosting calls that a test could exit by are the driver's matter.
const SCRIPT: &str = "ENTRY(_start)\nSECTIONS {\n  . = 0x40080000;\n  .text : { *(.text) }\n  . = ALIGN(0x10000);\n  .rodata : { *(.rodata .data.rel.ro) }\n\
      /DISCARD/ : { *(.note.GNU-stack) }\n}\n";

#[test]
fn bare_metal_archives_link_by_a_script() {
    let test = "bare_metal_archives_link_by_a_script";
    if !ROOM.have("ld.lld-19", test) || !ROOM.have("llvm-nm-19", test) {
        return;
    }
    let dir = ROOM.folder(test);
    let (_, library) = write(&program(System::None), &dir);
    let (script, image) = (dir.join("board.ld"), dir.join("image.elf"));
    std::fs::write(&script, SCRIPT).expect("the folder is ours");
    let mut link = Command::new("ld.lld-19");
    printed(link.arg("-T").arg(&script).args(["--no-undefined", "--fatal-warnings", "-static", "-o"]).args([&image, &library]));
    assert_eq!(tool("llvm-nm-19", &["-u"], &image), "");
    assert_eq!((address(&image, "_start"), address(&image, "weights") % 64), (0x4008_0000, 0));
    let bytes = std::fs::read(&image).expect("written");
    let table = (address(&image, "values") + 4).to_le_bytes();
    assert!(bytes.windows(8).any(|window| window == table), "the table holds the address");
    // Linux loads any static image: the same code answers.
    if ROOM.have("qemu-aarch64", test) {
        assert_eq!(run(Command::new("qemu-aarch64").arg(&image)).status.code(), Some(42));
    }
}

#[test]
fn what_a_system_has_not_is_a_fault() {
    let faults = |code: &Code, test: fn(&Code) -> Result<u64, Fault>| matches!(test(code), Err(Fault::Code(_)));
    let object: fn(&Code) -> _ = |code| artifact::object(code, &mut std::io::sink());
    let shared: fn(&Code) -> _ = |code| artifact::shared_object(code, "l.so", &mut std::io::sink());
    let program_: fn(&Code) -> _ = |code| artifact::executable(code, "_start", &mut std::io::sink());
    for system in [System::MacOs, System::Ios, System::None] {
        assert!(faults(&program(system), shared) && faults(&program(system), program_), "{system:?}");
        assert!(object(&program(system)).is_ok());
    }
    assert!(shared(&program(System::Android)).is_ok() && program_(&program(System::Android)).is_ok());
    assert!(faults(&Code { system: System::Ios, ..x86() }, object));
    let mut far = program(System::MacOs);
    far.symbols
        .iter_mut()
        .flat_map(|s| &mut s.relocations)
        .filter(|r| r.kind == RelocationKind::Aarch64AddLo12)
        .for_each(|r| r.addend = 4096);
    assert!(faults(&far, object), "an addend leads out of its section");
    let mut huge = program(System::Ios);
    huge.symbols.push(Symbol::constant("huge", 64, Content::lazy(4 << 30, |_| panic!("refused before it is written"))));
    assert!(matches!(object(&huge), Err(Fault::TooLarge(_))));
    assert_eq!(huge.machine, Machine::Aarch64);
}

#[test]
fn mach_writes_are_the_same() {
    let write = || {
        let mut files: [Vec<u8>; 2] = Default::default();
        artifact::object(&program(System::MacOs), &mut files[0]).expect("an object");
        artifact::archive(&program(System::MacOs), "tiny.o", &mut files[1]).expect("an archive");
        files
    };
    assert!(write() == write());
}
