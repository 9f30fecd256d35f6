//! The digits model for systems that this computer is not: linked by LLVM's linkers into what their programs would load, with
//! nothing left undefined. That the code in them answers rightly is shown where ARM64 runs.

use std::path::Path;
use std::process::Command;

use maquette::files::Scratch;
use tests::house::{self, have, must};

/// Both CPU levels in one archive, from the command line.
fn compile(target: &str) -> Scratch {
    let folder = house::scratch();
    let mut maquette = Command::new(env!("CARGO_BIN_EXE_maquette-tested"));
    maquette.args(["compile", "--name", "digits", "--cpu", "armv8,armv8+dotprod", "--emit", "a,o,h", "--target", target, "-o"]);
    must(maquette.arg(&folder.path).arg(house::digits()));
    folder
}

/// Names that the linked file shows, and those it wants from others.
fn names(file: &Path) -> (String, String) {
    let nm = |flags: &[&str]| must(Command::new("llvm-nm-19").args(flags).arg(file)).trim().to_owned();
    (nm(&["-g", "--defined-only", "--format=just-symbols"]), nm(&["-u", "--format=just-symbols"]))
}

#[test]
fn digits_link_for_apples_systems() {
    let test = "digits for macOS and iOS";
    if !have("ld64.lld-19", test) || !have("llvm-nm-19", test) {
        return;
    }
    for (target, platform) in [("aarch64-macos", "macos"), ("aarch64-ios", "ios")] {
        let folder = compile(target);
        let dylib = folder.path.join("digits.dylib");
        let mut link = Command::new("ld64.lld-19");
        link.args(["-dylib", "-arch", "arm64", "-platform_version", platform, "14.0", "14.0", "-undefined", "error", "-fatal_warnings"]);
        must(link.args(["-dead_strip", "-u", "_digits_model", "-o"]).arg(&dylib).arg(folder.path.join("libdigits.a")));
        assert_eq!(names(&dylib), ("_digits_model".to_owned(), String::new()), "{target}");
    }
}

#[test]
fn digits_link_for_android() {
    let test = "digits for Android";
    if !have("ld.lld-19", test) || !have("llvm-nm-19", test) || !have("readelf", test) {
        return;
    }
    let folder = compile("aarch64-android");
    let library = folder.path.join("libapp.so");
    let mut link = Command::new("ld.lld-19");
    link.args(["-shared", "--whole-archive", "-z", "max-page-size=16384", "-z", "defs", "-z", "text", "--fatal-warnings", "-o"]);
    must(link.arg(&library).arg(folder.path.join("libdigits.a")));
    assert_eq!(names(&library), ("digits_model".to_owned(), String::new()));
    let segments = must(Command::new("readelf").arg("-lW").arg(&library));
    let loads: Vec<&str> = segments.lines().filter(|line| line.trim_start().starts_with("LOAD")).collect();
    assert!(loads.len() >= 3 && loads.iter().all(|line| line.ends_with("0x4000")), "{segments}");
}
