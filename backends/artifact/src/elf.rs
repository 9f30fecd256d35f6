//! ELF64, little endian, as parts one after the other: headers, sections, symbol tables. What is common to objects, shared
//! objects and executables; it refuses to know which of them it serves. After: System V ABI, chapters 4 and 5.

use std::collections::BTreeMap;

use crate::layout::Layout;
use crate::out::Out;
use crate::relocate::apply;
use crate::{Binding, Code, Fault, Machine, Relocation, RelocationKind, Section, Symbol};

pub(crate) const HEADER_BYTES: u64 = 64;
pub(crate) const SEGMENT_BYTES: u64 = 56;
pub(crate) const SYMBOL_BYTES: u64 = 24;
pub(crate) const RELA_BYTES: u64 = 24;
const SECTION_BYTES: u64 = 64;

pub(crate) const ET_REL: u16 = 1;
pub(crate) const ET_EXEC: u16 = 2;
pub(crate) const ET_DYN: u16 = 3;

pub(crate) const SHT_PROGBITS: u32 = 1;
pub(crate) const SHT_SYMTAB: u32 = 2;
pub(crate) const SHT_STRTAB: u32 = 3;
pub(crate) const SHT_RELA: u32 = 4;
pub(crate) const SHT_DYNAMIC: u32 = 6;
pub(crate) const SHT_NOBITS: u32 = 8;
pub(crate) const SHT_DYNSYM: u32 = 11;
pub(crate) const SHT_GNU_HASH: u32 = 0x6fff_fff6;
pub(crate) const SHF_WRITE: u64 = 1;
pub(crate) const SHF_ALLOC: u64 = 2;
pub(crate) const SHF_EXECINSTR: u64 = 4;
pub(crate) const SHF_INFO_LINK: u64 = 0x40;

const STT_NOTYPE: u8 = 0;
const STT_OBJECT: u8 = 1;
const STT_FUNC: u8 = 2;
const STT_SECTION: u8 = 3;
const STB_GLOBAL: u8 = 1;

/// A part of the file that a section header names.
pub(crate) struct Part {
    pub name: &'static str,
    pub kind: u32,
    pub flags: u64,
    pub align: u64,
    /// Bytes per entry of a table, else 0.
    pub entry: u64,
    pub link: u32,
    pub info: u32,
    pub body: Body,
    /// Chosen after all sizes are known; the address stays 0 in an object.
    pub offset: u64,
    pub address: u64,
}

pub(crate) enum Body {
    Bytes(Vec<u8>),
    /// The symbols of one section.
    Code(Section),
    /// So many zeros in memory, none in the file.
    Zeros(u64),
}

impl Part {
    pub(crate) fn new(name: &'static str, kind: u32, flags: u64, align: u64, body: Vec<u8>) -> Part {
        let body = Body::Bytes(body);
        Part { name, kind, flags, align, entry: 0, link: 0, info: 0, body, offset: 0, address: 0 }
    }

    /// `count` entries of `entry` bytes that are filled in once addresses are known.
    pub(crate) fn table(name: &'static str, kind: u32, flags: u64, entry: u64, count: usize) -> Part {
        Part { entry, ..Part::new(name, kind, flags, 8, vec![0; entry as usize * count]) }
    }

    pub(crate) fn code(section: Section, flags: u64, align: u64) -> Part {
        Part { body: Body::Code(section), ..Part::new(section.name(), SHT_PROGBITS, SHF_ALLOC | flags, align, Vec::new()) }
    }
}

/// A program header.
pub(crate) struct Segment {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub address: u64,
    pub file_bytes: u64,
    pub memory_bytes: u64,
    pub align: u64,
}

/// A whole file, planned: `parts[i]` has section index `i + 1`.
pub(crate) struct ElfFile<'a> {
    pub code: &'a Code,
    /// Symbol index by name.
    pub names: BTreeMap<&'a str, usize>,
    pub layout: Layout,
    pub kind: u16,
    pub entry: u64,
    pub segments: Vec<Segment>,
    pub parts: Vec<Part>,
}

impl<'a> ElfFile<'a> {
    pub(crate) fn new(code: &'a Code, kind: u16) -> Result<ElfFile<'a>, Fault> {
        let (names, layout) = (code.check()?, Layout::new(code));
        Ok(ElfFile { code, names, layout, kind, entry: 0, segments: Vec::new(), parts: Vec::new() })
    }

    /// Bytes in memory.
    pub(crate) fn size(&self, part: &Part) -> u64 {
        match &part.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Code(section) => self.layout.size(*section),
            Body::Zeros(bytes) => *bytes,
        }
    }

    /// Bytes in the file.
    pub(crate) fn file_size(&self, part: &Part) -> u64 {
        match &part.body {
            Body::Bytes(_) | Body::Code(_) => self.size(part),
            Body::Zeros(_) => 0,
        }
    }

    /// Section index of the part of that name. Every plan makes the parts that it asks for.
    pub(crate) fn index(&self, name: &str) -> u32 {
        let at = self.parts.iter().position(|part| part.name == name);
        at.expect("a plan asks only for parts that it has made") as u32 + 1
    }

    pub(crate) fn part(&mut self, name: &str) -> &mut Part {
        let index = self.index(name) as usize - 1;
        &mut self.parts[index]
    }

    /// Address of a symbol; in an object, its offset in its section.
    pub(crate) fn address(&self, symbol: usize) -> u64 {
        let section = self.code.symbols[symbol].section;
        self.parts[self.index(section.name()) as usize - 1].address + self.layout.offsets[symbol]
    }

    /// Whether the bytes can be completed now. In an object only distances within a section are known; they are settled here
    /// so that they neither cost a relocation nor can be interposed.
    pub(crate) fn settled(&self, symbol: &Symbol, relocation: &Relocation) -> bool {
        let target = &self.code.symbols[self.names[relocation.symbol.as_str()]];
        self.kind != ET_REL
            || match relocation.kind {
                RelocationKind::X86Pc32 | RelocationKind::Aarch64Call26 => target.section == symbol.section,
                RelocationKind::Abs64 | RelocationKind::Aarch64AdrPage21 | RelocationKind::Aarch64AddLo12 => false,
            }
    }

    /// `.symtab`, `.strtab`: section symbols (`sections`, for relocations to name), locals, globals, all with sizes and types,
    /// so that debuggers and profilers show kernels by name. The bytes are filled in by [`ElfFile::fill_symbols`].
    pub(crate) fn add_symbols(&mut self, sections: bool) {
        let mut strings = Strings::new();
        let mut count = 1 + if sections { Section::ALL.len() } else { 0 };
        if self.code.machine == Machine::Aarch64 {
            strings.add("$x");
            count += 1;
        }
        let global = self.code.symbols.iter().filter(|s| s.binding == Binding::Global).count();
        self.code.symbols.iter().for_each(|symbol| {
            strings.add(&symbol.name);
        });
        count += self.code.symbols.len();
        let symtab = Part::table(".symtab", SHT_SYMTAB, 0, SYMBOL_BYTES, count);
        let link = self.parts.len() as u32 + 2;
        self.parts.push(Part { link, info: (count - global) as u32, ..symtab });
        self.parts.push(Part::new(".strtab", SHT_STRTAB, 0, 1, strings.bytes));
    }

    pub(crate) fn fill_symbols(&mut self, sections: bool) {
        let mut strings = Strings::new();
        let mut table = vec![0; SYMBOL_BYTES as usize];
        let start = |file: &Self, section: Section| file.parts[file.index(section.name()) as usize - 1].address;
        for section in Section::ALL.into_iter().filter(|_| sections) {
            entry(&mut table, 0, STT_SECTION, self.index(section.name()), start(self, section), 0);
        }
        if self.code.machine == Machine::Aarch64 {
            // Arm's mapping symbol: from here on, instructions.
            let (name, index) = (strings.add("$x"), self.index(Section::Text.name()));
            entry(&mut table, name, STT_NOTYPE, index, start(self, Section::Text), 0);
        }
        let names: Vec<u32> = self.code.symbols.iter().map(|symbol| strings.add(&symbol.name)).collect();
        for binding in [Binding::Local, Binding::Global] {
            for (i, symbol) in self.code.symbols.iter().enumerate().filter(|(_, s)| s.binding == binding) {
                self.symbol_entry(&mut table, names[i], i, symbol);
            }
        }
        self.part(".symtab").body = Body::Bytes(table);
    }

    /// Appends the table entry of one symbol under its own binding.
    pub(crate) fn symbol_entry(&self, table: &mut Vec<u8>, name: u32, index: usize, symbol: &Symbol) {
        let kind = match symbol.section {
            Section::Text => STT_FUNC,
            Section::ReadOnly | Section::RelocatedReadOnly => STT_OBJECT,
        };
        let binding = match symbol.binding {
            Binding::Local => 0,
            Binding::Global => STB_GLOBAL << 4,
        };
        let (section, address) = (self.index(symbol.section.name()), self.address(index));
        entry(table, name, binding | kind, section, address, symbol.content.size());
    }

    /// Closes the list of parts: `.shstrtab`. Offsets of the parts are still to be chosen.
    pub(crate) fn add_part_names(&mut self) {
        let mut strings = Strings::new();
        self.parts.iter().for_each(|part| {
            strings.add(part.name);
        });
        strings.add(".shstrtab");
        self.parts.push(Part::new(".shstrtab", SHT_STRTAB, 0, 1, strings.bytes));
    }

    fn section_headers_at(&self) -> u64 {
        let last = self.parts.last().expect("a file has parts");
        (last.offset + self.file_size(last)).next_multiple_of(8)
    }

    /// Bytes of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.section_headers_at() + SECTION_BYTES * (self.parts.len() as u64 + 1)
    }

    pub(crate) fn write(&self, out: &mut Out) -> Result<(), Fault> {
        let start = out.position();
        out.put(&self.header())?;
        for s in &self.segments {
            let mut bytes = Vec::with_capacity(SEGMENT_BYTES as usize);
            words(&mut bytes, &[s.kind, s.flags]);
            longs(&mut bytes, &[s.offset, s.address, s.address, s.file_bytes, s.memory_bytes, s.align]);
            out.put(&bytes)?;
        }
        for part in &self.parts {
            out.fill(0, start + part.offset)?;
            match &part.body {
                Body::Bytes(bytes) => out.put(bytes)?,
                Body::Code(section) => self.write_section(*section, out)?,
                Body::Zeros(_) => {}
            }
        }
        out.fill(0, start + self.section_headers_at())?;
        out.put(&self.section_headers())
    }

    fn header(&self) -> Vec<u8> {
        let machine: u16 = match self.code.machine {
            Machine::X86_64 => 62,
            Machine::Aarch64 => 183,
        };
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        halves(&mut bytes, &[self.kind, machine]);
        words(&mut bytes, &[1]);
        let segments_at = if self.segments.is_empty() { 0 } else { HEADER_BYTES };
        longs(&mut bytes, &[self.entry, segments_at, self.section_headers_at()]);
        words(&mut bytes, &[0]);
        let segment = if self.segments.is_empty() { 0 } else { SEGMENT_BYTES as u16 };
        let parts = self.parts.len() as u16;
        let segments = self.segments.len() as u16;
        halves(&mut bytes, &[HEADER_BYTES as u16, segment, segments, SECTION_BYTES as u16, parts + 1, parts]);
        bytes
    }

    fn section_headers(&self) -> Vec<u8> {
        let mut bytes = vec![0; SECTION_BYTES as usize];
        let mut strings = Strings::new();
        for part in &self.parts {
            words(&mut bytes, &[strings.add(part.name), part.kind]);
            longs(&mut bytes, &[part.flags, part.address, part.offset, self.size(part)]);
            words(&mut bytes, &[part.link, part.info]);
            longs(&mut bytes, &[part.align, part.entry]);
        }
        bytes
    }

    fn write_section(&self, section: Section, out: &mut Out) -> Result<(), Fault> {
        // Between functions: traps on x86 (int3); on ARM64 zero, which is undefined.
        let gap = match (section, self.code.machine) {
            (Section::Text, Machine::X86_64) => 0xcc,
            (Section::Text, Machine::Aarch64) | (Section::ReadOnly | Section::RelocatedReadOnly, _) => 0,
        };
        let start = out.position();
        for (index, symbol) in self.code.symbols.iter().enumerate().filter(|(_, s)| s.section == section) {
            out.fill(gap, start + self.layout.offsets[index])?;
            match &symbol.content {
                crate::Content::Bytes(bytes) if symbol.relocations.iter().any(|r| self.settled(symbol, r)) => {
                    let mut bytes = bytes.clone();
                    for relocation in symbol.relocations.iter().filter(|r| self.settled(symbol, r)) {
                        let target = self.address(self.names[relocation.symbol.as_str()]);
                        apply(&mut bytes, relocation, self.address(index), target)?;
                    }
                    out.put(&bytes)?;
                }
                content => out.content(content)?,
            }
        }
        Ok(())
    }
}

/// A string table: equal strings share their place; place 0 is the empty one.
pub(crate) struct Strings {
    pub bytes: Vec<u8>,
    places: BTreeMap<String, u32>,
}

impl Strings {
    pub(crate) fn new() -> Strings {
        Strings { bytes: vec![0], places: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, text: &str) -> u32 {
        if let Some(&place) = self.places.get(text) {
            return place;
        }
        let place = self.bytes.len() as u32;
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        self.places.insert(text.to_owned(), place);
        place
    }
}

fn entry(table: &mut Vec<u8>, name: u32, info: u8, section: u32, address: u64, size: u64) {
    words(table, &[name]);
    // The second byte: default visibility.
    table.extend_from_slice(&[info, 0]);
    halves(table, &[section as u16]);
    longs(table, &[address, size]);
}

pub(crate) fn halves(bytes: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
}

pub(crate) fn words(bytes: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
}

pub(crate) fn longs(bytes: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
}
