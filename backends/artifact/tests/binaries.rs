//! Objects, archives, shared objects and executables of hand-made code: the system's own tools link, load, run and read them.

mod common;

use std::path::Path;
use std::process::Command;

use artifact::{Code, Content, Fault, Symbol};
use cases::common::run;
use common::*;

const MAIN: &str = "#include <stdint.h>\n#include <stdio.h>\nextern int answer(void); extern const uint64_t numbers[4];\n\
    int main(void) { printf(\"%d %d\\n\", answer(), (int)numbers[3]); return 0; }\n";

fn write_object(code: &Code, path: &Path) {
    let bytes = artifact::object(code, &mut file(path)).expect("an object");
    assert_eq!(bytes, path.metadata().expect("written").len(), "{path:?}");
}

fn write_shared(code: &Code, path: &Path) {
    let bytes = artifact::shared_object(code, "libtiny.so", &mut file(path)).expect("a shared object");
    assert_eq!(bytes, path.metadata().expect("written").len(), "{path:?}");
}

fn write_program(code: &Code, path: &Path) {
    let bytes = artifact::executable(code, "_start", &mut file(path)).expect("an executable");
    assert_eq!(bytes, path.metadata().expect("written").len(), "{path:?}");
    executable_bit(path);
}

/// No import, no executable stack, the interface and nothing else global.
fn is_clean(path: &Path) {
    assert_eq!(tool("nm", &["-u"], path).trim(), "");
    let global: Vec<String> =
        tool("nm", &["-g", "--defined-only"], path).lines().filter_map(|line| line.split_whitespace().nth(2).map(str::to_owned)).collect();
    assert_eq!(global, ["answer", "numbers"]);
}

/// Address and bytes of the segment that is mapped writable, and of the region that becomes read-only after relocation.
fn writable_and_relro(library: &Path) -> ((u64, u64), (u64, u64)) {
    let segments = tool("readelf", &["-lW"], library);
    let row = |head: &str, flags: &str| {
        let mut rows = segments.lines().map(str::trim_start);
        let line = rows.find(|l| l.starts_with(head) && l.contains(flags)).expect("a segment");
        let number = |i: usize| {
            let column = line.split_whitespace().nth(i).expect("a column");
            u64::from_str_radix(column.trim_start_matches("0x"), 16).expect("hexadecimal")
        };
        (number(2), number(5))
    };
    (row("LOAD", " RW "), row("GNU_RELRO", " R "))
}

#[test]
fn object_links_and_runs() {
    let test = "object_links_and_runs";
    if !native(test) {
        return;
    }
    let dir = ROOM.folder(test);
    let (object, main) = (dir.join("tiny.o"), dir.join("main.c"));
    write_object(&x86(), &object);
    std::fs::write(&main, MAIN).expect("the folder is ours");
    is_clean(&object);
    let sections = tool("readelf", &["-SW"], &object);
    for name in [".text", ".rodata", ".data.rel.ro", ".note.GNU-stack", ".symtab", ".rela.text", ".rela.data.rel.ro"] {
        assert!(sections.contains(name), "{name} in\n{sections}");
    }
    // The call within .text is settled; three places are the linker's: two distances and two pointers.
    let relocations = tool("readelf", &["-rW"], &object);
    assert_eq!(relocations.matches("R_X86_64_PC32").count(), 2, "{relocations}");
    assert_eq!(relocations.matches("R_X86_64_64").count(), 2, "{relocations}");
    let symbols = tool("readelf", &["-sW"], &object);
    assert!(symbols.lines().any(|l| l.contains("16 FUNC    LOCAL  DEFAULT    1 step")), "{symbols}");
    assert!(symbols.lines().any(|l| l.contains("32 OBJECT  GLOBAL DEFAULT    3 numbers")), "{symbols}");

    for (flags, out) in [(&["-no-pie"][..], "fixed"), (&["-pie"], "pie"), (&["-static", "-Wl,--gc-sections"], "static")] {
        let program = dir.join(out);
        let mut cc = Command::new("cc");
        let warnings = printed(cc.args(["-Wl,--fatal-warnings"]).args(flags).arg("-o").args([&program, &main, &object]));
        assert_eq!(warnings, "");
        assert_eq!(printed(&mut Command::new(&program)), "42 11\n", "{out}");
    }
    // Also into somebody's shared object, where a relocation in text would be refused and `answer` may be interposed.
    let library = dir.join("libother.so");
    let mut cc = Command::new("cc");
    printed(cc.args(["-shared", "-Wl,-z,text,--fatal-warnings", "-o"]).args([&library, &object]));
    assert!(!tool("readelf", &["-dW"], &library).contains("TEXTREL"));
}

#[test]
fn archive_links_and_two_live_together() {
    let test = "archive_links_and_two_live_together";
    if !native(test) {
        return;
    }
    let dir = ROOM.folder(test);
    let mut other = x86();
    for symbol in &mut other.symbols {
        match symbol.name.as_str() {
            "answer" => symbol.name = "second_answer".into(),
            "numbers" => symbol.name = "second_numbers".into(),
            _ => {}
        }
    }
    let (first, second, main) = (dir.join("libtiny.a"), dir.join("libsecond.a"), dir.join("main.c"));
    let long = "a_member_with_a_long_name.o";
    for (code, path, member) in [(&x86(), &first, "tiny.o"), (&other, &second, long)] {
        let bytes = artifact::archive(code, member, &mut file(path)).expect("an archive");
        assert_eq!(bytes, path.metadata().expect("written").len());
    }
    assert_eq!(tool("ar", &["t"], &first), "tiny.o\n");
    assert_eq!(tool("ar", &["t"], &second), format!("{long}\n"));
    assert!(tool("ar", &["tvO"], &second).contains("rw-r--r-- 0/0"));
    let index = tool("nm", &["-s"], &second);
    assert!(index.contains(&format!("second_answer in {long}")), "{index}");
    // `ar x` gives the object back, byte for byte.
    printed(Command::new("ar").arg("x").arg(&second).current_dir(&dir));
    let mut object = Vec::new();
    artifact::object(&other, &mut object).expect("an object");
    assert!(std::fs::read(dir.join(long)).expect("taken out") == object);

    let text = MAIN.replace("int main", "extern int second_answer(void);\nint main").replace("answer(),", "answer() + second_answer(),");
    std::fs::write(&main, text).expect("the folder is ours");
    let program = dir.join("program");
    printed(Command::new("cc").arg("-o").args([&program, &main, &first, &second]));
    assert_eq!(printed(&mut Command::new(&program)), "84 11\n");
    for bad in ["", "a b.o", "a/b.o", "ä.o"] {
        assert!(matches!(artifact::archive(&other, bad, &mut std::io::sink()), Err(Fault::Describe(_))), "{bad:?}");
    }
}

const LOADER: &str = r#"
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) {
    void *library = dlopen(argv[argc - 1], RTLD_NOW);
    if (!library) { puts(dlerror()); return 1; }
    int (*answer)(void);
    *(void **)&answer = dlsym(library, "answer");
    const uint64_t *numbers = dlsym(library, "numbers");
    printf("%d %d %p\n", answer(), (int)numbers[3], dlsym(library, "step"));
    /* nothing of it is writable by now */
    char line[4096];
    int mapped = 0, writable = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        if (strstr(line, "libtiny.so")) { mapped++; writable += strstr(line, " rw") != NULL; }
    printf("%d %d\n", mapped >= 3, writable);
    return 0;
}
"#;

#[test]
fn shared_object_loads() {
    let test = "shared_object_loads";
    if !native(test) {
        return;
    }
    let dir = ROOM.folder(test);
    let (library, main, program) = (dir.join("libtiny.so"), dir.join("main.c"), dir.join("program"));
    write_shared(&x86(), &library);
    is_clean(&library);
    let dynamic = tool("readelf", &["-dW"], &library);
    assert!(dynamic.contains("Library soname: [libtiny.so]"), "{dynamic}");
    assert!(!dynamic.contains("TEXTREL") && !dynamic.contains("NEEDED"), "{dynamic}");
    let segments = tool("readelf", &["-lW"], &library);
    assert!(segments.contains("GNU_RELRO") && !segments.contains("RWE"), "{segments}");
    assert_eq!(tool("readelf", &["-rW"], &library).matches("R_X86_64_RELATIVE").count(), 2);

    std::fs::write(&main, LOADER).expect("the folder is ours");
    printed(Command::new("cc").arg("-o").args([&program, &main]).arg("-ldl"));
    assert_eq!(printed(Command::new(&program).arg(&library)), "42 11 (nil)\n1 0\n");

    // `strip` leaves a library that loads, and the loader's region of it whole.
    let stripped = dir.join("stripped/libtiny.so");
    std::fs::create_dir(dir.join("stripped")).expect("the folder is ours");
    printed(Command::new("strip").arg("-o").args([&stripped, &library]));
    assert_eq!(printed(Command::new(&program).arg(&stripped)), "42 11 (nil)\n1 0\n");
    assert_eq!(writable_and_relro(&stripped), writable_and_relro(&library));

    // Linked against, not only loaded by name.
    std::fs::write(&main, MAIN).expect("the folder is ours");
    printed(Command::new("cc").arg("-o").args([&program, &main, &library]).arg("-Wl,-rpath,$ORIGIN,--fatal-warnings"));
    assert_eq!(printed(&mut Command::new(&program)), "42 11\n");
}

#[test]
fn many_exports_are_found_by_hash() {
    let test = "many_exports_are_found_by_hash";
    if !native(test) {
        return;
    }
    let dir = ROOM.folder(test);
    let (library, main, program) = (dir.join("libtiny.so"), dir.join("main.c"), dir.join("program"));
    let mut code = x86();
    // mov eax, i; ret
    let one = |i: u8| Symbol::function(format!("f{i}"), 16, vec![0xb8, i, 0, 0, 0, 0xc3], vec![]).global();
    code.symbols.extend((0..50).map(one));
    write_shared(&code, &library);
    let text = "#include <dlfcn.h>\n#include <stdio.h>\nint main(int c, char **v) { void *l = dlopen(v[c - 1], RTLD_NOW); int sum = 0;\n\
        for (int i = 0; i < 50; i++) { char n[8]; sprintf(n, \"f%d\", i); int (*f)(void); *(void **)&f = dlsym(l, n); sum += f() == i; }\n\
        printf(\"%d %d\\n\", sum, dlsym(l, \"f50\") == 0); return 0; }\n";
    std::fs::write(&main, text).expect("the folder is ours");
    printed(Command::new("cc").arg("-o").args([&program, &main]).arg("-ldl"));
    assert_eq!(printed(Command::new(&program).arg(&library)), "50 1\n");
}

#[test]
fn executable_runs() {
    let test = "executable_runs";
    if !native(test) {
        return;
    }
    let program = ROOM.folder(test).join("program");
    write_program(&x86_program(), &program);
    assert_eq!(run(&mut Command::new(&program)).status.code(), Some(42));
    let segments = tool("readelf", &["-lW"], &program);
    assert!(segments.contains("EXEC (Executable file)") && !segments.contains("INTERP"), "{segments}");
    assert!(!segments.lines().any(|l| l.contains("LOAD") && l.contains("RW")), "{segments}");
    assert!(matches!(artifact::executable(&x86(), "_start", &mut std::io::sink()), Err(Fault::Code(_))));
}

#[test]
fn debugger_sees_local_functions() {
    let test = "debugger_sees_local_functions";
    if !native(test) || !ROOM.have("gdb", test) {
        return;
    }
    let program = ROOM.folder(test).join("program");
    write_program(&x86_program(), &program);
    let text = printed(Command::new("gdb").args(["-batch", "-nx", "-ex", "disassemble step"]).arg(&program));
    assert!(text.contains("<+15>:") && text.contains("ret"), "{text}");
}

#[test]
fn aarch64_files_are_well_formed_and_run() {
    let test = "aarch64_files_are_well_formed_and_run";
    if !ROOM.have("readelf", test) {
        return;
    }
    let dir = ROOM.folder(test);
    let code = aarch64_program();
    let (object, library, program) = (dir.join("tiny.o"), dir.join("libtiny.so"), dir.join("program"));
    write_object(&code, &object);
    write_shared(&code, &library);
    write_program(&code, &program);
    for path in [&object, &library, &program] {
        let output = run(Command::new("readelf").arg("-aW").arg(path));
        assert!(output.stderr.is_empty(), "{path:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let relocations = tool("readelf", &["-rW"], &object);
    for kind in ["R_AARCH64_ADR_PREL_PG_HI21", "R_AARCH64_ADD_ABS_LO12_NC", "R_AARCH64_ABS64"] {
        assert!(relocations.contains(kind), "{kind} in\n{relocations}");
    }
    assert!(!relocations.contains("CALL26"), "settled here: {relocations}");

    let (writable, relro) = writable_and_relro(&library);
    assert_eq!(writable, relro);
    assert_eq!((writable.0 + writable.1) % 0x10000, 0, "on a page of any size");
    assert_eq!(tool("readelf", &["-lW"], &library).matches("0x10000\n").count(), 3);
    if ROOM.have("llvm-strip-19", test) {
        let stripped = dir.join("stripped.so");
        printed(Command::new("llvm-strip-19").arg("-o").args([&stripped, &library]));
        assert_eq!(writable_and_relro(&stripped), (writable, relro));
    }

    if ROOM.have("qemu-aarch64", test) {
        assert_eq!(run(Command::new("qemu-aarch64").arg(&program)).status.code(), Some(42));
    }
    if ROOM.have("ld.lld-19", test) && ROOM.have("qemu-aarch64", test) {
        let linked = dir.join("linked");
        printed(Command::new("ld.lld-19").args(["-o".as_ref(), linked.as_os_str(), object.as_os_str()]));
        assert_eq!(run(Command::new("qemu-aarch64").arg(&linked)).status.code(), Some(42));
    }
}

#[test]
fn readers_find_nothing_to_complain_about() {
    let test = "readers_find_nothing_to_complain_about";
    let dir = ROOM.folder(test);
    let (object, library, program) = (dir.join("tiny.o"), dir.join("libtiny.so"), dir.join("program"));
    write_object(&x86(), &object);
    write_shared(&x86(), &library);
    write_program(&x86_program(), &program);
    for (tool, flags) in [("readelf", "-aW"), ("llvm-readelf", "-aW"), ("objdump", "-dx")] {
        if !ROOM.have(tool, test) {
            continue;
        }
        for path in [&object, &library, &program] {
            let output = run(Command::new(tool).arg(flags).arg(path));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.is_empty(), "{tool} {path:?}: {said}{}", String::from_utf8_lossy(&output.stdout));
        }
    }
}

#[test]
fn two_writes_are_the_same() {
    let write = |code: &Code| {
        let mut files: [Vec<u8>; 4] = Default::default();
        artifact::object(code, &mut files[0]).expect("an object");
        artifact::archive(code, "tiny.o", &mut files[1]).expect("an archive");
        artifact::shared_object(code, "libtiny.so", &mut files[2]).expect("a shared object");
        artifact::executable(code, "_start", &mut files[3]).expect("an executable");
        files
    };
    for make in [x86_program, aarch64_program] {
        assert!(write(&make()) == write(&make()));
    }
    assert!(write(&x86_program())[2] != write(&aarch64_program())[2]);
}

#[test]
fn broken_streams_and_full_disks_are_faults() {
    let with = |content| {
        let mut code = x86_program();
        code.symbols.push(Symbol::constant("weights", 64, content));
        code
    };
    for made in [7usize, 9] {
        let code = with(Content::lazy(8, move |put| put(&vec![1; made])));
        let fault = artifact::object(&code, &mut std::io::sink()).expect_err("another length");
        assert!(fault.to_string().contains(&format!("made {made} bytes where 8")), "{fault}");
    }
    let code = with(Content::lazy(1 << 20, |put| (0..1 << 10).for_each(|_| put(&[0; 1 << 10]))));
    let mut small = [0u8; 4096];
    assert!(matches!(artifact::shared_object(&code, "l.so", &mut &mut small[..]), Err(Fault::Write(_))));
    let huge = with(Content::lazy(3 << 30, |_| panic!("refused before it is written")));
    assert!(matches!(artifact::object(&huge, &mut std::io::sink()), Err(Fault::TooLarge(_))));
}
