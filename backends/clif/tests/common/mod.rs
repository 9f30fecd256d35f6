//! What the tests of this crate share: machine descriptions, a folder per test, and
//! programs that may be missing (said aloud: a line that starts with `SKIPPED` on the error stream).
#![allow(dead_code, unused_imports)]

#[path = "../../../arm64/tests/common/batch.rs"]
pub mod batch;
pub mod model;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use artifact::{Code, Machine, Symbol, System};
pub use batch::{folder, piped};
use ir::kernel::Facts;
use ir::kernel::facts::{Menu, MinMax};

/// The lowest level of an x86-64 artifact, as far as scalar kernels care.
pub const LEVEL: Facts = Facts {
    name: "x86-64-v3",
    vector_bytes: 32,
    vectors: 16,
    generals: 15,
    fused: true,
    min_max: MinMax::SecondOnTie,
    menu: Menu { memory_operand: true, splat_operand: false, lane_operand: false, masks: false },
    caches: [32 << 10, 256 << 10, 2 << 20],
    accumulators: 10,
    reach: i32::MAX,
    unroll: 4,
};

/// A processor that programs of a machine run on, and the command that does it.
pub struct Processor {
    pub machine: Machine,
    pub name: &'static str,
    command: &'static [&'static str],
}

/// This machine itself.
pub const HERE: Processor = Processor { machine: Machine::X86_64, name: "here", command: &[] };
/// The plainest ARM64.
pub const A53: Processor = arm("cortex-a53", &["qemu-aarch64", "-cpu", "cortex-a53"]);
/// With dot products.
pub const A76: Processor = arm("cortex-a76", &["qemu-aarch64", "-cpu", "cortex-a76"]);
/// With everything that there is.
pub const MAX: Processor = arm("max", &["qemu-aarch64", "-cpu", "max"]);

const fn arm(name: &'static str, command: &'static [&'static str]) -> Processor {
    Processor { machine: Machine::Aarch64, name, command }
}

impl Processor {
    /// Whether programs run on it; if not, says which test loses it.
    pub fn runs(&self, test: &str) -> bool {
        match self.command {
            [tool, ..] => have(tool, test),
            [] => native(test),
        }
    }

    /// The program to be run on it.
    pub fn command(&self, program: &Path) -> Command {
        match self.command {
            [tool, arguments @ ..] => {
                let mut command = Command::new(tool);
                command.args(arguments).arg(program);
                command
            }
            [] => Command::new(program),
        }
    }
}

/// Whether `tool` is installed. If not, says which test loses what.
pub fn have(tool: &str, test: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        writeln!(std::io::stderr(), "SKIPPED clif::{test}: {tool} is not installed").expect("standard error");
    }
    found
}

/// Whether this machine runs what the artifact's lowest level needs, and has a C compiler.
pub fn native(test: &str) -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    let fits = std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    let fits = false;
    if !fits {
        writeln!(std::io::stderr(), "SKIPPED clif::{test}: needs x86-64 Linux with AVX2").expect("standard error");
    }
    fits && have("cc", test)
}

/// Writes each list of symbols as an object and `source` beside them, and links all. Returns the program.
pub fn program(test: &str, objects: Vec<Vec<Symbol>>, source: &str) -> PathBuf {
    let folder = folder(test);
    let main = folder.join("main.c");
    std::fs::write(&main, source).expect("the folder is ours");
    let program = folder.join("program");
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]).args([&program, &main]);
    for (i, symbols) in objects.into_iter().enumerate() {
        let object = folder.join(format!("code{i}.o"));
        let mut file = std::fs::File::create(&object).expect("the folder is ours");
        artifact::object(&Code { machine: Machine::X86_64, system: System::Linux, symbols }, &mut file).expect("the code keeps the laws");
        cc.arg(object);
    }
    let output = cc.output().expect("cc is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}
