//! Code to a relocatable object (`.o`). Everything but the interface is a local symbol, and relocations name sections, not
//! symbols: two models link together, nothing can be interposed, and the object fits into any position-independent link.

use std::io::Write;

use crate::elf::{Body, ET_REL, ElfFile, HEADER_BYTES, Part, RELA_BYTES, longs};
use crate::elf::{SHF_EXECINSTR, SHF_INFO_LINK, SHF_WRITE, SHT_PROGBITS, SHT_RELA};
use crate::layout::slot;
use crate::macho::MachFile;
use crate::out::Out;
use crate::{Code, Fault, Machine, Relocation, RelocationKind, Section, Symbol, System};

/// Writes an ELF64 object with `.text .rodata .data.rel.ro .note.GNU-stack`, or for Apple's systems a Mach-O one with
/// `__TEXT,__text __TEXT,__const __DATA,__const`. Returns its bytes.
/// Fault: code that breaks a law, or more than a linker can bridge (2 GB on x86-64, 4 GB on ARM64).
pub fn object(code: &Code, out: &mut dyn Write) -> Result<u64, Fault> {
    let file = Object::plan(code)?;
    let mut out = Out::new(out);
    file.write(&mut out)?;
    out.finish()
}

/// An object with all offsets chosen, so that its size is known before it is written.
pub(crate) enum Object<'a> {
    Elf(ElfFile<'a>),
    MachO(MachFile<'a>),
}

impl<'a> Object<'a> {
    pub(crate) fn plan(code: &'a Code) -> Result<Object<'a>, Fault> {
        match code.system {
            System::Linux | System::Android | System::None => elf(code).map(Object::Elf),
            System::MacOs | System::Ios => MachFile::new(code).map(Object::MachO),
        }
    }

    /// Bytes of the file.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Object::Elf(file) => file.bytes(),
            Object::MachO(file) => file.bytes(),
        }
    }

    pub(crate) fn write(&self, out: &mut Out) -> Result<(), Fault> {
        match self {
            Object::Elf(file) => file.write(out),
            Object::MachO(file) => file.write(out),
        }
    }
}

fn elf(code: &Code) -> Result<ElfFile<'_>, Fault> {
    let mut file = ElfFile::new(code, ET_REL)?;
    let (bytes, reach) = (Section::ALL.iter().map(|s| file.layout.size(*s)).sum::<u64>(), reach(code.machine));
    if bytes > reach {
        return Err(Fault::TooLarge(format!("code and constants are {bytes} bytes, a linker bridges {reach}")));
    }
    for (section, flags) in [(Section::Text, SHF_EXECINSTR), (Section::ReadOnly, 0), (Section::RelocatedReadOnly, SHF_WRITE)] {
        let align = file.layout.align(section);
        file.parts.push(Part::code(section, flags, align));
    }
    for (name, section) in [(".rela.text", Section::Text), (".rela.data.rel.ro", Section::RelocatedReadOnly)] {
        let count = open(&file, section).count();
        let info = file.index(section.name());
        if count > 0 {
            file.parts.push(Part { info, ..Part::table(name, SHT_RELA, SHF_INFO_LINK, RELA_BYTES, count) });
        }
    }
    file.parts.push(Part::new(".note.GNU-stack", SHT_PROGBITS, 0, 1, Vec::new()));
    file.add_symbols(true);
    file.add_part_names();

    let symbols = file.index(".symtab");
    let mut offset = HEADER_BYTES;
    for i in 0..file.parts.len() {
        file.parts[i].offset = offset.next_multiple_of(file.parts[i].align);
        offset = file.parts[i].offset + file.size(&file.parts[i]);
    }
    file.fill_symbols(true);
    for (name, section) in [(".rela.text", Section::Text), (".rela.data.rel.ro", Section::RelocatedReadOnly)] {
        let mut entries = Vec::new();
        for (index, relocation) in open(&file, section) {
            let target = file.names[relocation.symbol.as_str()];
            // Section symbols follow the empty first one.
            let symbol = 1 + slot(code.symbols[target].section) as u64;
            let place = file.layout.offsets[index] + u64::from(relocation.offset);
            let addend = relocation.addend.wrapping_add_unsigned(file.layout.offsets[target]);
            longs(&mut entries, &[place, symbol << 32 | u64::from(number(code.machine, relocation.kind)), addend as u64]);
        }
        if !entries.is_empty() {
            let part = file.part(name);
            part.link = symbols;
            part.body = Body::Bytes(entries);
        }
    }
    Ok(file)
}

/// Relocations of a section that only the linker can settle, each with the symbol that owns it.
fn open<'a>(file: &'a ElfFile<'_>, section: Section) -> impl Iterator<Item = (usize, &'a Relocation)> {
    let owned = |(i, symbol): (usize, &'a Symbol)| symbol.relocations.iter().map(move |r| (i, symbol, r));
    let all = file.code.symbols.iter().enumerate().filter(move |(_, s)| s.section == section).flat_map(owned);
    all.filter(|(_, symbol, r)| !file.settled(symbol, r)).map(|(i, _, r)| (i, r))
}

/// Bytes between any two places; a margin is left for what else the user links.
fn reach(machine: Machine) -> u64 {
    match machine {
        Machine::X86_64 => (2 << 30) - (64 << 20),
        Machine::Aarch64 => (4 << 30) - (64 << 20),
    }
}

/// The relocation's number in this machine's ABI.
fn number(machine: Machine, kind: RelocationKind) -> u32 {
    match (kind, machine) {
        (RelocationKind::X86Pc32, _) => 2,
        (RelocationKind::Abs64, Machine::X86_64) => 1,
        (RelocationKind::Abs64, Machine::Aarch64) => 257,
        (RelocationKind::Aarch64AdrPage21, _) => 275,
        (RelocationKind::Aarch64AddLo12, _) => 277,
        (RelocationKind::Aarch64Call26, _) => 283,
    }
}
