//! What the tests of this crate share: what this computer has, and kernels on it at every level.
#![allow(dead_code)]

use cases::Case;
use cases::batch::{self, x86};
use cases::common::Room;
use ir::kernel::Facts;
use x64::facts::LEVELS;
use x64::stubs::cpu;

pub const ROOM: Room = cases::room!();

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

/// Compares cases of every level that this machine has with the oracle.
pub fn check(name: &str, make: impl Fn(&'static Facts) -> Vec<Case>) {
    if !ROOM.native(name) || !ROOM.have("cc", name) {
        return;
    }
    for level in LEVELS {
        let cases = make(level.facts);
        let compile = |name, case: &Case| x64::function(name, x64::compile(case.tile(), case.kernel.args.len(), level.facts));
        let calls = batch::calls(&cases, compile);
        let program = x86::program(&ROOM.folder(&format!("{name}-{}", level.facts.name)), &calls);
        if cpu_here() & level.cpu == 0 {
            ROOM.skip(name, &format!("this machine has no {}", level.facts.name));
            continue;
        }
        let outcomes = x86::run(&program, &calls);
        cases.iter().zip(&outcomes).for_each(|(case, outcome)| case.judge(level.facts.name, outcome));
        println!("{name}: {} cases on {}", cases.len(), level.facts.name);
    }
}
