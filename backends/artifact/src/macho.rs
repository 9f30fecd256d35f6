//! Mach-O 64-bit objects for ARM64, as parts one after the other. What `.o` and `.a` for Apple's systems share; it refuses to
//! know archives, and images: their linker signs and packs those.
//!
//! The object does not say `MH_SUBSECTIONS_VIA_SYMBOLS`: each section then is one piece whose inner distances and alignment
//! hold, so that calls are settled here, and all of it is stripped or none. Who wants no model links no member of the archive.
//! After: `mach-o/loader.h`, `mach-o/nlist.h`, `mach-o/arm64/reloc.h`.

use std::collections::BTreeMap;

use crate::elf::{Strings, halves, longs, words};
use crate::layout::{Layout, slot};
use crate::out::Out;
use crate::relocate::apply;
use crate::{Binding, Code, Content, Fault, Machine, Relocation, RelocationKind, Section, Symbol, System};

const HEADER_BYTES: u64 = 32;
const SECTION_BYTES: u64 = 80;
const SEGMENT_BYTES: u64 = 72 + SECTION_BYTES * Section::ALL.len() as u64;
const BUILD_VERSION_BYTES: u64 = 24;
const SYMTAB_BYTES: u64 = 24;
const DYSYMTAB_BYTES: u64 = 80;
const COMMAND_BYTES: u64 = SEGMENT_BYTES + BUILD_VERSION_BYTES + SYMTAB_BYTES + DYSYMTAB_BYTES;
const SYMBOL_BYTES: u64 = 16;
const RELOCATION_BYTES: u64 = 8;

const N_SECT: u8 = 0xe;
const N_EXT: u8 = 1;

/// A whole object, planned.
pub(crate) struct MachFile<'a> {
    code: &'a Code,
    names: BTreeMap<&'a str, usize>,
    layout: Layout,
    platform: Platform,
    /// By slot of the section: its address, which is also its place behind the load commands.
    addresses: [u64; 3],
    /// By slot: its relocation entries.
    relocations: [Vec<u8>; 3],
    symbols: Vec<u8>,
    locals: usize,
    strings: Vec<u8>,
}

/// What `LC_BUILD_VERSION` says: `PLATFORM_*`, and the oldest system that runs the code, as `xxxx.yy.zz`.
struct Platform {
    number: u32,
    oldest: u32,
}

impl Platform {
    fn of(system: System) -> Option<Platform> {
        match system {
            // 11.0 is the first macOS on ARM64; 12.0 the oldest iOS that current tools deploy to.
            System::MacOs => Some(Platform { number: 1, oldest: 11 << 16 }),
            System::Ios => Some(Platform { number: 2, oldest: 12 << 16 }),
            System::Linux | System::Android | System::None => None,
        }
    }
}

/// Segment, section and flags.
fn home(section: Section) -> (&'static str, &'static str, u32) {
    match section {
        // Holds instructions, nothing else.
        Section::Text => ("__TEXT", "__text", 0x8000_0400),
        Section::ReadOnly => ("__TEXT", "__const", 0),
        Section::RelocatedReadOnly => ("__DATA", "__const", 0),
    }
}

impl<'a> MachFile<'a> {
    /// Fault: code that breaks a law or is not for ARM64 under an Apple system, or more than `adrp` bridges (4 GB).
    pub(crate) fn new(code: &'a Code) -> Result<MachFile<'a>, Fault> {
        let (names, layout) = (code.check()?, Layout::new(code));
        let platform = Platform::of(code.system).filter(|_| code.machine == Machine::Aarch64);
        let platform = platform.ok_or_else(|| Fault::Code(format!("no Mach-O for {:?} on {:?}", code.machine, code.system)))?;
        let (mut addresses, mut end) = ([0; 3], 0u64);
        for section in Section::ALL {
            addresses[slot(section)] = end.next_multiple_of(layout.align(section));
            end = addresses[slot(section)] + layout.size(section);
        }
        let reach = (4 << 30) - (64 << 20);
        if end > reach {
            return Err(Fault::TooLarge(format!("code and constants are {end} bytes, a linker bridges {reach}")));
        }
        let (symbols, strings) = (Vec::new(), Vec::new());
        let mut file = MachFile { code, names, layout, platform, addresses, relocations: Default::default(), symbols, locals: 0, strings };
        file.fill()?;
        Ok(file)
    }

    fn address(&self, symbol: usize) -> u64 {
        self.addresses[slot(self.code.symbols[symbol].section)] + self.layout.offsets[symbol]
    }

    /// Distances within `.text` are known.
    fn settled(&self, symbol: &Symbol, relocation: &Relocation) -> bool {
        let target = &self.code.symbols[self.names[relocation.symbol.as_str()]];
        relocation.kind == RelocationKind::Aarch64Call26 && target.section == symbol.section
    }

    /// Symbols (locals, anchors, then the interface), and the relocations that name them.
    ///
    /// An instruction's relocation has no room for an addend, and the entry that may precede it holds 24 bits. So each place
    /// `symbol + addend` that instructions name becomes a local symbol of its own, an anchor, which the linker drops.
    fn fill(&mut self) -> Result<(), Fault> {
        let count = self.code.symbols.len();
        let (mut strings, mut table) = (Strings::new(), Vec::new());
        let mut numbers = vec![0u32; count];
        let mut next = 0;
        let mut put = |name: &str, kind: u8, section: Section, address: u64| {
            words(&mut table, &[strings.add(name)]);
            table.extend_from_slice(&[kind, slot(section) as u8 + 1]);
            halves(&mut table, &[0]);
            longs(&mut table, &[address]);
            next += 1;
            next - 1
        };
        let code = self.code;
        for (i, symbol) in code.symbols.iter().enumerate().filter(|(_, s)| s.binding == Binding::Local) {
            numbers[i] = put(&format!("_{}", symbol.name), N_SECT, symbol.section, self.address(i));
        }
        let mut anchors = BTreeMap::new();
        for relocation in code.symbols.iter().flat_map(|s| &s.relocations).filter(|r| in_instruction(r) && r.addend != 0) {
            let target = self.names[relocation.symbol.as_str()];
            let section = code.symbols[target].section;
            let offset = self.layout.offsets[target].checked_add_signed(relocation.addend);
            let offset = offset
                .filter(|offset| *offset <= self.layout.size(section))
                .ok_or_else(|| Fault::Code(format!("`{}` + {} lies outside of its section", relocation.symbol, relocation.addend)))?;
            anchors.entry((target, relocation.addend)).or_insert_with(|| {
                put(&format!("l_{}+{}", relocation.symbol, relocation.addend), N_SECT, section, self.addresses[slot(section)] + offset)
            });
        }
        let locals = code.symbols.iter().filter(|s| s.binding == Binding::Local).count() + anchors.len();
        for (i, symbol) in code.symbols.iter().enumerate().filter(|(_, s)| s.binding == Binding::Global) {
            numbers[i] = put(&format!("_{}", symbol.name), N_SECT | N_EXT, symbol.section, self.address(i));
        }
        let mut relocations: [Vec<u8>; 3] = Default::default();
        for (i, symbol) in code.symbols.iter().enumerate() {
            for relocation in symbol.relocations.iter().filter(|r| !self.settled(symbol, r)) {
                let target = self.names[relocation.symbol.as_str()];
                let number = anchors.get(&(target, relocation.addend)).filter(|_| in_instruction(relocation));
                let number = *number.unwrap_or(&numbers[target]);
                let place = self.layout.offsets[i] + u64::from(relocation.offset);
                let place = i32::try_from(place).map_err(|_| Fault::TooLarge(format!("the section of `{}`", symbol.name)))?;
                words(&mut relocations[slot(symbol.section)], &[place as u32, number | bits(relocation.kind)]);
            }
        }
        (self.symbols, self.strings, self.locals, self.relocations) = (table, strings.bytes, locals, relocations);
        self.strings.resize(self.strings.len().next_multiple_of(8), 0);
        Ok(())
    }

    fn relocations_at(&self, section: usize) -> u64 {
        let last = Section::ALL.len() - 1;
        let sections = HEADER_BYTES + COMMAND_BYTES + self.addresses[last] + self.layout.size(Section::ALL[last]);
        sections.next_multiple_of(8) + self.relocations[..section].iter().map(|r| r.len() as u64).sum::<u64>()
    }

    /// Bytes of the file: sections, relocations, symbols, names.
    pub(crate) fn bytes(&self) -> u64 {
        self.relocations_at(3) + (self.symbols.len() + self.strings.len()) as u64
    }

    pub(crate) fn write(&self, out: &mut Out) -> Result<(), Fault> {
        let start = out.position();
        out.put(&self.head())?;
        for section in Section::ALL {
            out.fill(0, start + HEADER_BYTES + COMMAND_BYTES + self.addresses[slot(section)])?;
            self.write_section(section, out)?;
        }
        out.fill(0, start + self.relocations_at(0))?;
        self.relocations.iter().try_for_each(|table| out.put(table))?;
        out.put(&self.symbols)?;
        out.put(&self.strings)
    }

    /// Header and load commands. All offsets fit 32 bits: `reach` leaves a margin.
    fn head(&self) -> Vec<u8> {
        let mut b = Vec::new();
        // Magic, ARM64, any model of it, object, commands, their bytes, no flags.
        words(&mut b, &[0xfeed_facf, 0x0100_000c, 0, 1, 4, COMMAND_BYTES as u32, 0, 0]);
        let last = Section::ALL.len() - 1;
        let size = self.addresses[last] + self.layout.size(Section::ALL[last]);
        let at = HEADER_BYTES + COMMAND_BYTES;
        words(&mut b, &[0x19, SEGMENT_BYTES as u32]);
        name16(&mut b, "");
        longs(&mut b, &[0, size, at, size]);
        // Rights that the sections' own segments will narrow.
        words(&mut b, &[7, 7, Section::ALL.len() as u32, 0]);
        for section in Section::ALL {
            let ((segment, name, flags), slot) = (home(section), slot(section));
            name16(&mut b, name);
            name16(&mut b, segment);
            longs(&mut b, &[self.addresses[slot], self.layout.size(section)]);
            let count = self.relocations[slot].len() as u64 / RELOCATION_BYTES;
            let relocations_at = if count == 0 { 0 } else { self.relocations_at(slot) };
            let align = self.layout.align(section).trailing_zeros();
            words(&mut b, &[(at + self.addresses[slot]) as u32, align, relocations_at as u32, count as u32, flags, 0, 0, 0]);
        }
        words(&mut b, &[0x32, BUILD_VERSION_BYTES as u32, self.platform.number, self.platform.oldest, 0, 0]);
        let count = (self.symbols.len() as u64 / SYMBOL_BYTES) as u32;
        let (symbols_at, strings_at) = (self.relocations_at(3), self.relocations_at(3) + self.symbols.len() as u64);
        words(&mut b, &[2, SYMTAB_BYTES as u32, symbols_at as u32, count, strings_at as u32, self.strings.len() as u32]);
        // Locals, definitions, nothing undefined, no tables.
        let locals = self.locals as u32;
        words(&mut b, &[0xb, DYSYMTAB_BYTES as u32, 0, locals, locals, count - locals, count, 0]);
        words(&mut b, &[0; 12]);
        b
    }

    fn write_section(&self, section: Section, out: &mut Out) -> Result<(), Fault> {
        let start = out.position();
        for (index, symbol) in self.code.symbols.iter().enumerate().filter(|(_, s)| s.section == section) {
            out.fill(0, start + self.layout.offsets[index])?;
            match &symbol.content {
                Content::Bytes(bytes) if !symbol.relocations.is_empty() => {
                    let mut bytes = bytes.clone();
                    for relocation in &symbol.relocations {
                        self.complete(&mut bytes, index, symbol, relocation)?;
                    }
                    out.put(&bytes)?;
                }
                content => out.content(content)?,
            }
        }
        Ok(())
    }

    /// The distance where it is settled; else what the linker adds to: an address's addend, an empty field of an instruction.
    fn complete(&self, bytes: &mut [u8], index: usize, symbol: &Symbol, relocation: &Relocation) -> Result<(), Fault> {
        if self.settled(symbol, relocation) {
            let target = self.address(self.names[relocation.symbol.as_str()]);
            return apply(bytes, relocation, self.address(index), target);
        }
        let empty = Relocation { addend: 0, ..relocation.clone() };
        match relocation.kind {
            RelocationKind::Abs64 => apply(bytes, relocation, 0, 0),
            RelocationKind::X86Pc32 | RelocationKind::Aarch64Call26 | RelocationKind::Aarch64AdrPage21 => {
                apply(bytes, &empty, 0, u64::from(relocation.offset))
            }
            RelocationKind::Aarch64AddLo12 => apply(bytes, &empty, 0, 0),
        }
    }
}

fn in_instruction(relocation: &Relocation) -> bool {
    relocation.kind != RelocationKind::Abs64
}

/// What stands above the 24 bits of the symbol's number: relative to the place, bytes as a power of two, that it is a symbol,
/// and the kind: `ARM64_RELOC_UNSIGNED`, `_BRANCH26`, `_PAGE21`, `_PAGEOFF12`.
fn bits(kind: RelocationKind) -> u32 {
    let (relative, power, number) = match kind {
        RelocationKind::Abs64 => (0, 3, 0),
        RelocationKind::Aarch64Call26 => (1, 2, 2),
        RelocationKind::Aarch64AdrPage21 => (1, 2, 3),
        RelocationKind::Aarch64AddLo12 => (0, 2, 4),
        RelocationKind::X86Pc32 => unreachable!("the law of relocations keeps it out of ARM64 code"),
    };
    relative << 24 | power << 25 | 1 << 27 | number << 28
}

/// Sixteen bytes, zeros behind the name.
fn name16(bytes: &mut Vec<u8>, name: &str) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.resize(bytes.len() + 16 - name.len(), 0);
}
