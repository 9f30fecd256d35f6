//! What the tests of this crate share: a folder per test, and tools that may be missing (said aloud: a line that starts
//! with `SKIPPED` on the error stream, which the test runner does not swallow).
#![allow(dead_code)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use artifact::{Code, Machine, Symbol, System};
use x64::stubs::cpu;

/// A fresh folder of this test.
pub fn folder(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a folder for the test");
    path
}

/// Says which test is not run, and why.
pub fn skip(test: &str, why: &str) {
    writeln!(std::io::stderr(), "SKIPPED x64::{test}: {why}").expect("standard error");
}

/// Whether `tool` is installed.
pub fn have(tool: &str, test: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        skip(test, &format!("{tool} is not installed"));
    }
    found
}

/// Whether this machine runs x86-64 Linux programs itself.
pub fn native(test: &str) -> bool {
    let fits = cfg!(all(target_arch = "x86_64", target_os = "linux"));
    if !fits {
        skip(test, "needs x86-64 Linux");
    }
    fits
}

/// Runs it; fails with what it said if its status is not 0.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// `symbols` as an object file in `folder`.
pub fn object(folder: &Path, symbols: Vec<Symbol>) -> PathBuf {
    let path = folder.join("code.o");
    let mut file = std::fs::File::create(&path).expect("the folder is ours");
    artifact::object(&Code { machine: Machine::X86_64, system: System::Linux, symbols }, &mut file).expect("well-formed code");
    path
}

/// Compiles `source` together with `object` into a program.
pub fn link(folder: &Path, source: &str, object: &Path) -> PathBuf {
    let (text, program) = (folder.join("main.c"), folder.join("main"));
    std::fs::write(&text, source).expect("the folder is ours");
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu99", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program).arg(&text).arg(object);
    succeed(&mut cc);
    program
}

/// What `is_x86_feature_detected` says of this machine, in our bits.
#[cfg(target_arch = "x86_64")]
pub fn cpu_here() -> u64 {
    let v3 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("movbe")
        && is_x86_feature_detected!("lzcnt");
    let v4 = v3
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512cd")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    let bit = |has: bool, bit: u64| if has { bit } else { 0 };
    cpu::KNOWN
        | bit(v3, cpu::V3)
        | bit(v4, cpu::V4)
        | bit(v4 && is_x86_feature_detected!("avx512vnni"), cpu::VNNI)
        | bit(v4 && is_x86_feature_detected!("avx512vbmi"), cpu::VBMI)
}

#[cfg(not(target_arch = "x86_64"))]
pub fn cpu_here() -> u64 {
    cpu::KNOWN
}
