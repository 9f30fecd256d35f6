//! The machines that code is made for, as Cranelift wants them described. The only place that knows feature names.

use artifact::Machine;
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use target_lexicon::{Aarch64Architecture, Architecture, BinaryFormat, Triple};

/// What the lowest CPU level of an x86-64 artifact, x86-64-v3, has beyond the first x86-64.
const X86_64_V3: &[&str] = &[
    "has_sse3",
    "has_ssse3",
    "has_sse41",
    "has_sse42",
    "has_cmpxchg16b",
    "has_popcnt",
    "has_avx",
    "has_avx2",
    "has_fma",
    "has_bmi1",
    "has_bmi2",
    "has_lzcnt",
];

/// A machine. Costly enough to make once per compilation.
pub struct Target {
    pub(crate) machine: Machine,
    /// For code that runs before the CPU is known: what every CPU of the machine executes.
    pub(crate) any: OwnedTargetIsa,
    /// For code behind the entry point's check: what the artifact's lowest CPU level executes.
    pub(crate) level: OwnedTargetIsa,
}

impl Target {
    pub fn new(machine: Machine) -> Target {
        let features = match machine {
            Machine::X86_64 => X86_64_V3,
            Machine::Aarch64 => &[],
        };
        Target { machine, any: isa(machine, &[]), level: isa(machine, features) }
    }
}

fn isa(machine: Machine, features: &[&str]) -> OwnedTargetIsa {
    let architecture = match machine {
        Machine::X86_64 => Architecture::X86_64,
        Machine::Aarch64 => Architecture::Aarch64(Aarch64Architecture::Aarch64),
    };
    // No operating system: the System V (AAPCS64) calling convention and nothing else follows from an ELF triple.
    let triple = Triple { architecture, binary_format: BinaryFormat::Elf, ..Triple::unknown() };
    let mut shared = settings::builder();
    let flags = [
        ("opt_level", "speed"),
        // Near symbols are addressed relative to the instruction; what Cranelift calls position independent is a table of
        // addresses that a linker fills.
        ("is_pic", "false"),
        ("enable_probestack", "false"),
        ("unwind_info", "false"),
        // costs a fifth of the time and only finds our own faults
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
    ];
    for (name, value) in flags {
        shared.set(name, value).expect("a flag that this version of Cranelift has");
    }
    let mut builder = isa::lookup(triple).expect("both machines are compiled in");
    for feature in features {
        builder.enable(feature).expect("a feature that this version of Cranelift knows");
    }
    builder.finish(settings::Flags::new(shared)).expect("flags that fit each other")
}
