//! What the tests of this crate share: what this computer has.
#![allow(dead_code)]

use cases::common::Room;
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
