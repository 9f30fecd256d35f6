//! Machine families: which room makes what for which instruction set. To add a native one is to add a constant here and
//! its rows in [`crate::target`]. It knows no target, no model and no file.

use artifact::{Machine, Symbol, System};
use ir::kernel::{Facts, TileKernel};

/// How code for a target comes to be.
#[derive(Clone, Copy, Debug)]
pub enum Family {
    /// Object code for a machine, around which `clif` puts the entry.
    Native(&'static Native),
    /// WebAssembly modules and the script that loads them.
    Web,
}

/// What the room of a native machine makes, as symbols of an artifact.
#[derive(Debug)]
pub struct Native {
    pub machine: Machine,
    /// A tile kernel: name, statements, how many pointers it takes, the level.
    pub tile: fn(&str, &TileKernel, usize, &Facts) -> Symbol,
    /// `uint64_t cpu(void)` under a name. The bits are those of the levels that were compiled, for where nobody can be asked.
    pub cpu: fn(&str, System, u64) -> Symbol,
    /// The stub among those of `program` that a program asks instead, of what the system wrote on its stack.
    pub program_cpu: Option<&'static str>,
    /// The first instructions of a program, and the system calls that it makes.
    pub program: fn() -> Vec<Symbol>,
}

pub const X86_64: Native = Native {
    machine: Machine::X86_64,
    tile: |name, kernel, args, facts| x64::function(name, x64::compile(kernel, args, facts)),
    cpu: |name, _, _| x64::function(name, x64::stubs::cpu().code),
    program_cpu: None,
    program: || {
        let stubs = std::iter::once(x64::stubs::start()).chain(x64::stubs::system_calls());
        stubs.map(|stub| x64::function(stub.name, stub.code)).collect()
    },
};

pub const ARM64: Native = Native {
    machine: Machine::Aarch64,
    tile: |name, kernel, args, facts| arm64::function(name, arm64::compile(kernel, args, facts)),
    cpu: |name, system, compiled| arm64::function(name, arm64::stubs::cpu(system, compiled).code),
    program_cpu: Some("maquette_cpu_of_stack"),
    program: || {
        let stubs = [arm64::stubs::start(), arm64::stubs::cpu_of_stack()].into_iter().chain(arm64::stubs::system_calls());
        stubs.map(|stub| arm64::function(stub.name, stub.code)).collect()
    },
};
