//! What the tests of this crate share: machine descriptions, and processors to run programs on.
#![allow(dead_code)]

pub mod model;

use std::path::Path;
use std::process::Command;

use artifact::Machine;
use cases::common::Room;
use ir::kernel::Facts;
use ir::kernel::facts::{Menu, MinMax};

pub const ROOM: Room = cases::room!();

/// The lowest level of an x86-64 artifact, as far as scalar kernels care.
pub const LEVEL: Facts = Facts {
    name: "x86-64-v3",
    vector_bytes: 32,
    vectors: 16,
    generals: 15,
    fused: true,
    min_max: MinMax::SecondOnTie,
    menu: Menu { memory_operand: true, ..Menu::PLAIN },
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
            [tool, ..] => ROOM.have(tool, test),
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

/// Whether this machine runs what the artifact's lowest level needs, and has a C compiler.
pub fn native(test: &str) -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    let fits = std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    let fits = false;
    if !fits {
        ROOM.skip(test, "needs x86-64 Linux with AVX2");
    }
    fits && ROOM.have("cc", test)
}
