//! Machine code as data: symbols with their bytes and the places in them that hold another symbol's address. This is what
//! the machine rooms hand over and all that the writers know of a model. It refuses to know kernels, tensors and files.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::Fault;

/// The instruction set, and with it the relocation numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    X86_64,
    Aarch64,
}

/// What the code runs under, and with it the file format and the page size: ELF, or Mach-O for Apple's systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    Linux,
    Android,
    MacOs,
    Ios,
    /// Bare metal: no one to load a file, so that there are only objects and archives.
    None,
}

/// Everything one target needs. The order of `symbols` is the order within each output section.
#[derive(Clone, Debug)]
pub struct Code {
    pub machine: Machine,
    pub system: System,
    pub symbols: Vec<Symbol>,
}

/// Who sees a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Inside this artifact only; the name serves debuggers and profilers.
    Local,
    /// Part of the interface that the user links against.
    Global,
}

/// What memory a symbol lies in. Nothing in an artifact is ever written after loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// `.text`: instructions.
    Text,
    /// `.rodata`: constants that hold no address.
    ReadOnly,
    /// `.data.rel.ro`: constants with addresses in them, read-only once the loader has filled these in.
    RelocatedReadOnly,
}

impl Section {
    /// All of them, in the order of an artifact.
    pub const ALL: [Section; 3] = [Section::Text, Section::ReadOnly, Section::RelocatedReadOnly];

    /// The name in an object file.
    pub fn name(self) -> &'static str {
        match self {
            Section::Text => ".text",
            Section::ReadOnly => ".rodata",
            Section::RelocatedReadOnly => ".data.rel.ro",
        }
    }
}

/// A function or a table. `name` is unique in its `Code`, not empty, and holds no NUL byte.
#[derive(Clone, Debug)]
pub struct Symbol {
    pub name: String,
    pub binding: Binding,
    pub section: Section,
    /// Bytes, a power of two, at most 4096.
    pub align: u32,
    pub content: Content,
    /// Must be empty for `Content::Lazy`, whose bytes nobody can patch on their way to the file.
    pub relocations: Vec<Relocation>,
}

impl Symbol {
    /// A function of this artifact: local, in `.text`, aligned to `align` bytes.
    pub fn function(name: impl Into<String>, align: u32, bytes: Vec<u8>, relocations: Vec<Relocation>) -> Symbol {
        let (binding, section, content) = (Binding::Local, Section::Text, Content::Bytes(bytes));
        Symbol { name: name.into(), binding, section, align, content, relocations }
    }

    /// A constant without addresses: local, in `.rodata`.
    pub fn constant(name: impl Into<String>, align: u32, content: Content) -> Symbol {
        let (binding, section) = (Binding::Local, Section::ReadOnly);
        Symbol { name: name.into(), binding, section, align, content, relocations: Vec::new() }
    }

    /// A constant with `Abs64` relocations: local, in `.data.rel.ro`.
    pub fn table(name: impl Into<String>, align: u32, bytes: Vec<u8>, relocations: Vec<Relocation>) -> Symbol {
        let (binding, section, content) = (Binding::Local, Section::RelocatedReadOnly, Content::Bytes(bytes));
        Symbol { name: name.into(), binding, section, align, content, relocations }
    }

    /// The same symbol as part of the interface.
    pub fn global(mut self) -> Symbol {
        self.binding = Binding::Global;
        self
    }
}

/// Writes its bytes, in order, in as many pieces as it likes, into the function it is given; the same bytes on every call.
pub type Stream = Arc<dyn Fn(&mut dyn FnMut(&[u8])) + Send + Sync>;

/// The bytes of a symbol.
#[derive(Clone)]
pub enum Content {
    Bytes(Vec<u8>),
    /// Weights: made piece by piece while the file is written, never held whole in memory. `bytes` is the exact total.
    Lazy {
        bytes: u64,
        write: Stream,
    },
}

impl Content {
    /// Bytes in all.
    pub fn size(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Lazy { bytes, .. } => *bytes,
        }
    }

    /// Content of exactly `bytes` bytes that `write` makes when the file is written.
    pub fn lazy(bytes: u64, write: impl Fn(&mut dyn FnMut(&[u8])) + Send + Sync + 'static) -> Content {
        Content::Lazy { bytes, write: Arc::new(write) }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Content::Lazy { bytes, .. } => write!(f, "Lazy({bytes} bytes)"),
        }
    }
}

/// A place in a symbol that holds the address of `symbol` (S) plus `addend` (A); P is the address of the place itself.
/// What the bytes hold there beforehand is replaced (`Abs64`, `X86Pc32`) or completed (the instruction's other bits).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Bytes from the start of the symbol that owns this relocation.
    pub offset: u32,
    pub kind: RelocationKind,
    /// A name of the same `Code`: artifacts import nothing.
    pub symbol: String,
    pub addend: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelocationKind {
    /// Four bytes, `S + A - P`. P is the address of these four bytes, so that a call, jump or RIP-relative operand that ends
    /// with them has the addend -4 (further from the end of the instruction: -4 less the bytes that follow). Only in `.text`.
    X86Pc32,
    /// Eight bytes, `S + A`. Only in `.data.rel.ro`, so that text stays shareable.
    Abs64,
    /// The 26-bit word offset of `bl` and `b`: `S + A - P`. Only in `.text`.
    Aarch64Call26,
    /// The 21-bit page distance of `adrp`: `page(S + A) - page(P)`. Only in `.text`.
    Aarch64AdrPage21,
    /// The low 12 bits of `S + A` in `add` (immediate), not scaled. Only in `.text`.
    Aarch64AddLo12,
}

impl RelocationKind {
    /// Bytes at the place.
    pub fn width(self) -> u32 {
        match self {
            RelocationKind::Abs64 => 8,
            RelocationKind::X86Pc32 | RelocationKind::Aarch64Call26 | RelocationKind::Aarch64AdrPage21 | RelocationKind::Aarch64AddLo12 => {
                4
            }
        }
    }

    fn fits(self, machine: Machine, section: Section) -> bool {
        match self {
            RelocationKind::Abs64 => section == Section::RelocatedReadOnly,
            RelocationKind::X86Pc32 => section == Section::Text && machine == Machine::X86_64,
            RelocationKind::Aarch64Call26 | RelocationKind::Aarch64AdrPage21 | RelocationKind::Aarch64AddLo12 => {
                section == Section::Text && machine == Machine::Aarch64
            }
        }
    }
}

impl Code {
    /// Symbol index by name. Fault: a law of [`Symbol`] or [`Relocation`] is broken. Every writer starts with this.
    pub fn check(&self) -> Result<BTreeMap<&str, usize>, Fault> {
        let mut names = BTreeMap::new();
        for (index, symbol) in self.symbols.iter().enumerate() {
            let broken = |law: &str| Err(Fault::Code(format!("symbol `{}` {law}", symbol.name.escape_debug())));
            if symbol.name.is_empty() || symbol.name.contains('\0') {
                return broken("has no usable name");
            }
            if !symbol.align.is_power_of_two() || symbol.align > 4096 {
                return broken("has an alignment that is no power of two up to 4096");
            }
            if matches!(symbol.content, Content::Lazy { .. }) && !symbol.relocations.is_empty() {
                return broken("is streamed and yet has relocations");
            }
            if names.insert(symbol.name.as_str(), index).is_some() {
                return broken("is defined twice");
            }
        }
        for symbol in &self.symbols {
            for relocation in &symbol.relocations {
                let broken = |law: &str| {
                    Err(Fault::Code(format!(
                        "`{}`+{:#x}: {:?} relocation to `{}` {law}",
                        symbol.name, relocation.offset, relocation.kind, relocation.symbol
                    )))
                };
                if !names.contains_key(relocation.symbol.as_str()) {
                    return broken("names no symbol of this code");
                }
                if !relocation.kind.fits(self.machine, symbol.section) {
                    return broken("does not belong in this section of this machine");
                }
                if u64::from(relocation.offset) + u64::from(relocation.kind.width()) > symbol.content.size() {
                    return broken("lies outside of the symbol");
                }
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(machine: Machine, symbols: Vec<Symbol>) -> String {
        Code { machine, system: System::Linux, symbols }.check().expect_err("this code breaks a law").to_string()
    }

    fn pc32(offset: u32, symbol: &str) -> Relocation {
        Relocation { offset, kind: RelocationKind::X86Pc32, symbol: symbol.into(), addend: -4 }
    }

    #[test]
    fn laws_are_checked() {
        use Machine::{Aarch64, X86_64};
        let f = |name: &str, relocations| Symbol::function(name, 16, vec![0; 8], relocations);
        assert!(fault(X86_64, vec![f("", vec![])]).contains("no usable name"));
        assert!(fault(X86_64, vec![f("a", vec![]), f("a", vec![])]).contains("defined twice"));
        assert!(fault(X86_64, vec![f("a", vec![pc32(0, "b")])]).contains("names no symbol"));
        assert!(fault(X86_64, vec![f("a", vec![pc32(5, "a")])]).contains("lies outside"));
        assert!(fault(Aarch64, vec![f("a", vec![pc32(0, "a")])]).contains("does not belong"));
        assert!(fault(X86_64, vec![Symbol { align: 24, ..f("a", vec![]) }]).contains("alignment"));
        let lazy = Symbol { relocations: vec![pc32(0, "a")], ..Symbol::constant("a", 64, Content::lazy(8, |_| {})) };
        assert!(fault(X86_64, vec![lazy]).contains("streamed"));
        let absolute = Relocation { kind: RelocationKind::Abs64, ..pc32(0, "a") };
        assert!(fault(X86_64, vec![f("a", vec![absolute])]).contains("does not belong"));
        assert_eq!(
            Code { machine: X86_64, system: System::Linux, symbols: vec![f("a", vec![pc32(4, "a")])] }.check().expect("fine")["a"],
            0
        );
    }
}
