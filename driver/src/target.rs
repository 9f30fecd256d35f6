//! The machines that models are compiled for: their names, CPU levels and kinds of file, as one table. A level that is
//! planned stands in it too, so that the answer is "not yet", with what there is instead. It knows no instruction.

use std::fmt;

use artifact::System;
use ir::Fault;
use ir::kernel::Facts;
use ir::kernel::facts;
use target_lexicon::{Architecture, Environment, OperatingSystem, Triple, Vendor};

use crate::family::{self, Family};

/// A kind of file that `compile` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Emit {
    Archive,
    Object,
    SharedObject,
    Executable,
    /// A WebAssembly module per level.
    Wasm,
    /// What loads the modules.
    Script,
    /// The script's types.
    Types,
    Header,
    Json,
    Gir,
    Kir,
    Asm,
}

impl Emit {
    pub const ALL: &[Emit] = &[
        Emit::Archive,
        Emit::Object,
        Emit::SharedObject,
        Emit::Executable,
        Emit::Wasm,
        Emit::Script,
        Emit::Types,
        Emit::Header,
        Emit::Json,
        Emit::Gir,
        Emit::Kir,
        Emit::Asm,
    ];

    /// The word of `--emit`.
    pub fn word(self) -> &'static str {
        match self {
            Emit::Archive => "a",
            Emit::Object => "o",
            Emit::SharedObject => "so",
            Emit::Executable => "exe",
            Emit::Wasm => "wasm",
            Emit::Script => "mjs",
            Emit::Types => "ts",
            Emit::Header => "h",
            Emit::Json => "json",
            Emit::Gir => "gir",
            Emit::Kir => "kir",
            Emit::Asm => "asm",
        }
    }

    pub fn from_word(word: &str) -> Result<Emit, String> {
        Emit::ALL.iter().copied().find(|e| e.word() == word).ok_or_else(|| {
            let all: Vec<&str> = Emit::ALL.iter().map(|e| e.word()).collect();
            format!("there is no form {word:?}; there are {}", all.join(", "))
        })
    }
}

/// A CPU level: a set of instructions, and how kernels are planned for it.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    pub name: &'static str,
    /// What it takes, for people.
    pub needs: &'static str,
    pub facts: &'static Facts,
    /// The bits of the word that `cpu()` returns, without which its code must not run.
    pub mask: u64,
}

impl PartialEq for Level {
    fn eq(&self, other: &Level) -> bool {
        self.name == other.name
    }
}

/// A machine and its system.
#[derive(Debug)]
pub struct Target {
    pub name: &'static str,
    pub family: Family,
    pub system: System,
    /// Baseline first, each at least as able as those before it, as far as they compare.
    pub levels: &'static [Level],
    /// What there is to write.
    pub emits: &'static [Emit],
    /// What is written when the user does not say.
    pub usual: &'static [Emit],
    /// How many of the levels, from the baseline on, an artifact has when the user does not say, and it is not for this machine.
    pub widest: usize,
    /// The words that call a C compiler for it; none: it takes none.
    pub cc: &'static str,
    architecture: fn(&Triple) -> bool,
}

/// The rows of a machine's own table.
const fn rows<const N: usize>(levels: &'static [facts::Level]) -> [Level; N] {
    const fn row(level: facts::Level) -> Level {
        Level { name: level.facts.name, needs: level.needs, facts: level.facts, mask: level.cpu }
    }
    let mut all = [row(levels[0]); N];
    let mut i = 1;
    while i < N {
        all[i] = row(levels[i]);
        i += 1;
    }
    all
}

const X86_64: &[Level] = &rows::<{ x64::facts::LEVELS.len() }>(x64::facts::LEVELS);
const AARCH64: &[Level] = &rows::<{ arm64::facts::LEVELS.len() }>(arm64::facts::LEVELS);
const WASM: &[Level] = &rows::<{ wasm::facts::LEVELS.len() }>(wasm::facts::LEVELS);

use Emit::*;
const LIBRARY: &[Emit] = &[Archive, Header, Json];
const OBJECTS: &[Emit] = &[Archive, Object, Header, Json, Gir, Kir, Asm];
const PROGRAMS: &[Emit] = &[Archive, Object, SharedObject, Executable, Header, Json, Gir, Kir, Asm];
const MODULES: &[Emit] = &[Wasm, Script, Types, Json, Gir, Kir, Asm];

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "x86_64-linux",
        family: Family::Native(&family::X86_64),
        system: System::Linux,
        levels: X86_64,
        emits: PROGRAMS,
        usual: LIBRARY,
        widest: 1,
        cc: "x86_64-linux-gnu-gcc",
        architecture: |t| is(t, X64, LINUX, USUAL),
    },
    arm64("aarch64-linux", System::Linux, PROGRAMS, "aarch64-linux-gnu-gcc", |t| is(t, ARM64, LINUX, USUAL)),
    arm64("aarch64-android", System::Android, PROGRAMS, "aarch64-linux-android30-clang", |t| is(t, ARM64, LINUX, &[Environment::Android])),
    arm64("aarch64-macos", System::MacOs, OBJECTS, "clang -arch arm64", |t| {
        is(t, ARM64, |s| matches!(s, OperatingSystem::Darwin(_) | OperatingSystem::MacOSX(_)), PLAIN)
    }),
    arm64("aarch64-ios", System::Ios, OBJECTS, "xcrun -sdk iphoneos clang -arch arm64", |t| {
        is(t, ARM64, |s| matches!(s, OperatingSystem::IOS(_)), PLAIN)
    }),
    arm64("aarch64-none", System::None, OBJECTS, "aarch64-none-elf-gcc", |t| {
        is(t, ARM64, |s| matches!(s, OperatingSystem::None_ | OperatingSystem::Unknown), PLAIN)
    }),
    Target {
        name: "wasm32",
        family: Family::Web,
        system: System::None,
        levels: WASM,
        emits: MODULES,
        usual: &[Wasm, Script, Types, Json],
        widest: 2,
        cc: "",
        architecture: |t| t.architecture == Architecture::Wasm32,
    },
];

const LINUX: fn(&OperatingSystem) -> bool = |s| *s == OperatingSystem::Linux;
/// Environments with the usual sizes of types; others are another interface.
const USUAL: &[Environment] = &[Environment::Unknown, Environment::Gnu, Environment::Musl];
/// No simulator and no other layer.
const PLAIN: &[Environment] = &[Environment::Unknown];
const X64: fn(&Triple) -> bool = |t| t.architecture == Architecture::X86_64;
const ARM64: fn(&Triple) -> bool =
    |t| matches!(t.architecture, Architecture::Aarch64(a) if a == target_lexicon::Aarch64Architecture::Aarch64);

fn is(triple: &Triple, architecture: fn(&Triple) -> bool, system: fn(&OperatingSystem) -> bool, environments: &[Environment]) -> bool {
    architecture(triple) && system(&triple.operating_system) && environments.contains(&triple.environment)
}

const fn arm64(name: &'static str, system: System, emits: &'static [Emit], cc: &'static str, architecture: fn(&Triple) -> bool) -> Target {
    let family = Family::Native(&family::ARM64);
    Target { name, family, system, levels: AARCH64, emits, usual: LIBRARY, widest: 1, cc, architecture }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

fn names() -> String {
    TARGETS.iter().map(|t| t.name).collect::<Vec<_>>().join(", ")
}

/// The target of that name, or of a usual triple such as `x86_64-unknown-linux-gnu`. Fault: there is no such.
pub fn target(text: &str) -> Result<&'static Target, Fault> {
    let unknown =
        |why: &str| Fault::usage(format!("{text:?} is no target{why}")).help(format!("there is {}; see `maquette targets`", names()));
    if let Some(target) = TARGETS.iter().find(|t| t.name == text) {
        return Ok(target);
    }
    let triple: Triple = spelled(text).parse().map_err(|_| unknown(""))?;
    if let Vendor::Custom(vendor) = &triple.vendor {
        return Err(unknown(&format!(": {:?} is not a vendor", vendor.as_str())));
    }
    if matches!(triple.operating_system, OperatingSystem::Windows) {
        return Err(Fault::unsupported("there is no Windows target for now").help(format!("there is {}", names())));
    }
    TARGETS.iter().find(|t| (t.architecture)(&triple)).ok_or_else(|| unknown(""))
}

/// A triple in the spelling that is parsed: compilers have others for the same.
fn spelled(text: &str) -> String {
    let text = text.strip_prefix("arm64-").map_or_else(|| text.to_string(), |rest| format!("aarch64-{rest}"));
    let text = text.replace("-none-linux", "-unknown-linux").replace("-apple-macos", "-apple-darwin");
    // the version of Android's interface
    let bare = text.trim_end_matches(|c: char| c.is_ascii_digit());
    if bare.ends_with("android") { bare.to_string() } else { text }
}

/// The machine that we run on. Fault: we cannot compile for it.
pub fn host() -> Result<&'static Target, Fault> {
    let name = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    target(&name).map_err(|fault| fault.help(format!("name one with --target: there is {}", names())))
}

impl Target {
    /// The levels by name, for people.
    fn level_names(&self) -> String {
        self.levels.iter().map(|l| l.name).collect::<Vec<_>>().join(", ")
    }

    /// CPU levels from the words of `--cpu`, the least able first, each once. Fault: no such level.
    pub fn cpu(&'static self, words: &[String]) -> Result<Vec<&'static Level>, Fault> {
        let mut wanted = Vec::new();
        for word in words {
            let level = match word.as_str() {
                "native" => self.native()?,
                word => self.levels.iter().find(|l| l.name == word).ok_or_else(|| {
                    Fault::usage(format!("{self} has no CPU level {word:?}")).help(format!("there are native, {}", self.level_names()))
                })?,
            };
            wanted.push(level);
        }
        Ok(self.levels.iter().filter(|l| wanted.contains(l)).collect())
    }

    /// The baseline.
    pub fn baseline(&'static self) -> &'static Level {
        &self.levels[0]
    }

    /// The best level of the CPU that we run on. Fault: it is another machine, or below the baseline.
    pub fn native(&'static self) -> Result<&'static Level, Fault> {
        let host = host().ok();
        if host.is_none_or(|h| h.name != self.name) {
            return Err(Fault::usage(format!("the CPU level native means this machine, which is no {self}"))
                .help(format!("choose among {}", self.level_names())));
        }
        let best = self.levels.iter().rfind(|l| runs(l.name));
        best.ok_or_else(|| {
            Fault::unsupported(format!("this CPU lacks what {} needs: {}", self.baseline().name, self.baseline().needs))
                .help(format!("compile for another CPU with --cpu {}", self.baseline().name))
        })
    }
}

/// Whether this CPU runs code of a level.
#[cfg(target_arch = "x86_64")]
fn runs(level: &str) -> bool {
    let v3 = || {
        is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("movbe")
            && is_x86_feature_detected!("lzcnt")
    };
    let v4 = || {
        v3() && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512cd")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
    };
    let vnni = || v4() && is_x86_feature_detected!("avx512vnni");
    match level {
        "x86-64-v3" => v3(),
        "x86-64-v4" => v4(),
        "x86-64-v4+vnni" => vnni(),
        "x86-64-v4+vbmi" => vnni() && is_x86_feature_detected!("avx512vbmi"),
        _ => false,
    }
}

/// Whether this CPU runs code of a level.
#[cfg(target_arch = "aarch64")]
fn runs(level: &str) -> bool {
    match level {
        "armv8" => true,
        "armv8+dotprod" => std::arch::is_aarch64_feature_detected!("dotprod"),
        "armv8+i8mm" => std::arch::is_aarch64_feature_detected!("i8mm"),
        _ => false,
    }
}

/// Whether this CPU runs code of a level.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn runs(_level: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_usual_triples_are_understood() {
        let usual = [
            ("x86_64-linux", "x86_64-linux"),
            ("x86_64-unknown-linux-gnu", "x86_64-linux"),
            ("x86_64-unknown-linux-musl", "x86_64-linux"),
            ("x86_64-pc-linux-gnu", "x86_64-linux"),
            ("aarch64-linux", "aarch64-linux"),
            ("aarch64-unknown-linux-gnu", "aarch64-linux"),
            ("aarch64-linux-android", "aarch64-android"),
            ("aarch64-apple-darwin", "aarch64-macos"),
            ("aarch64-apple-ios", "aarch64-ios"),
            ("aarch64-unknown-none", "aarch64-none"),
            ("wasm32-unknown-unknown", "wasm32"),
            ("arm64-apple-macos", "aarch64-macos"),
            ("arm64-apple-ios", "aarch64-ios"),
            ("aarch64-linux-android21", "aarch64-android"),
            ("aarch64-none-linux-gnu", "aarch64-linux"),
            ("aarch64-none-elf", "aarch64-none"),
        ];
        for (text, name) in usual {
            assert_eq!(target(text).expect(text).name, name);
        }
        let fault = target("x86_64-pc-windows-msvc").expect_err("none");
        assert_eq!(fault.kind, ir::Kind::Unsupported, "{fault}");
        assert!(fault.what.contains("Windows") && fault.help.as_ref().is_some_and(|h| h.contains("wasm32")), "{fault}");
    }

    #[test]
    fn every_target_writes_what_it_writes_by_default() {
        for target in TARGETS {
            assert!(target.usual.iter().all(|e| target.emits.contains(e)), "{target}");
            assert!((1..=target.levels.len()).contains(&target.widest), "{target}");
        }
    }

    #[test]
    fn what_is_no_target_is_a_mistake_of_usage() {
        for text in [
            "",
            "foo",
            "x86_64-acme-linux-gnu",
            "riscv64gc-unknown-linux-gnu",
            "aarch64_be-unknown-linux-gnu",
            "i686-unknown-linux-gnu",
            "aarch64-apple-ios-sim",
            "aarch64-apple-ios-macabi",
            "aarch64-unknown-linux-gnu_ilp32",
            "x86_64-unknown-linux-gnux32",
            "x86_64-linux-android",
        ] {
            assert_eq!(target(text).expect_err(text).kind, ir::Kind::Usage, "{text}");
        }
    }

    #[test]
    fn levels_come_out_least_able_first_and_once() {
        let x86 = target("x86_64-linux").expect("there");
        let words = ["x86-64-v4", "x86-64-v3", "x86-64-v4"].map(String::from);
        let names: Vec<&str> = x86.cpu(&words).expect("all there").iter().map(|l| l.name).collect();
        assert_eq!(names, ["x86-64-v3", "x86-64-v4"]);
        assert_eq!(x86.cpu(&["armv8".into()]).expect_err("another machine").kind, ir::Kind::Usage);
    }
}
