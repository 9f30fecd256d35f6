//! Code to a file that runs as it is, without a linker: a shared object or a static executable for Linux or Android. It imports nothing, and
//! once it is loaded none of its pages is writable.
//!
//! Segments follow each other in the file without padding and in memory on pages of their own: an address and its file offset
//! agree modulo the page, so a page that two segments share in the file is mapped twice, with the rights of each.

use std::io::Write;

use crate::elf::*;
use crate::out::Out;
use crate::{Binding, Code, Fault, Machine, RelocationKind, Section, System};

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PT_GNU_RELRO: u32 = 0x6474_e552;
const R: u32 = 4;
const W: u32 = 2;
const X: u32 = 1;

/// Writes a shared object named `soname` (e.g. `libdigits.so`) that exports the global symbols. Returns its bytes.
/// Fault: code that breaks a law or is for a system that is neither, or a distance over 2 GB (x86-64), 4 GB (ARM64).
pub fn shared_object(code: &Code, soname: &str, out: &mut dyn Write) -> Result<u64, Fault> {
    let mut file = ElfFile::new(code, ET_DYN)?;
    let exports = Exports::new(code, soname);
    let pointers: usize = code.symbols.iter().map(|s| pointers(s).count()).sum();

    let hash = Part::new(".gnu.hash", SHT_GNU_HASH, SHF_ALLOC, 8, exports.hash_table());
    let symbols = Part::table(".dynsym", SHT_DYNSYM, SHF_ALLOC, SYMBOL_BYTES, exports.symbols.len() + 1);
    let strings = Part::new(".dynstr", SHT_STRTAB, SHF_ALLOC, 1, exports.strings.bytes.clone());
    let rela = Part::table(".rela.dyn", SHT_RELA, SHF_ALLOC, RELA_BYTES, pointers);
    // Section indices: .gnu.hash 1, .dynsym 2, .dynstr 3, .rela.dyn 4.
    file.parts.push(Part { link: 2, ..hash });
    file.parts.push(Part { link: 3, info: 1, ..symbols });
    file.parts.push(strings);
    file.parts.push(Part { link: 2, ..rela });
    file.parts.push(Part::code(Section::ReadOnly, 0, file.layout.align(Section::ReadOnly)));
    file.parts.push(Part::code(Section::Text, SHF_EXECINSTR, file.layout.align(Section::Text)));
    file.parts.push(Part::code(Section::RelocatedReadOnly, SHF_WRITE, file.layout.align(Section::RelocatedReadOnly)));
    let dynamic = Part::table(".dynamic", SHT_DYNAMIC, SHF_ALLOC | SHF_WRITE, 16, 11);
    file.parts.push(Part { link: 3, ..dynamic });
    // Loaders round the end of the region that becomes read-only to pages, some up, some down: both must find the writable
    // segment's own memory there. So it is filled up to the largest page, by a section, which `strip` respects.
    let padding = Part::new(".relro_padding", SHT_NOBITS, SHF_ALLOC | SHF_WRITE, 1, Vec::new());
    file.parts.push(Part { body: Body::Zeros(0), ..padding });
    file.add_symbols(false);
    file.add_part_names();

    place(&mut file, 0, &[R, R | X, R | W], 3)?;
    // All of the writable segment becomes read-only after relocation.
    let Segment { offset, address, file_bytes, memory_bytes, .. } = file.segments[2];
    let dynamic = file.part(".dynamic");
    let (d_offset, d_address) = (dynamic.offset, dynamic.address);
    let d_bytes = 11 * 16;
    let segment = |kind, flags, offset, address, file_bytes, memory_bytes, align| Segment {
        kind,
        flags,
        offset,
        address,
        file_bytes,
        memory_bytes,
        align,
    };
    file.segments.push(segment(PT_DYNAMIC, R | W, d_offset, d_address, d_bytes, d_bytes, 8));
    file.segments.push(segment(PT_GNU_RELRO, R, offset, address, file_bytes, memory_bytes, 1));
    file.segments.push(segment(PT_GNU_STACK, R | W, 0, 0, 0, 0, 16));

    file.fill_symbols(false);
    let mut table = vec![0; SYMBOL_BYTES as usize];
    for export in &exports.symbols {
        file.symbol_entry(&mut table, export.name, export.symbol, &code.symbols[export.symbol]);
    }
    file.part(".dynsym").body = Body::Bytes(table);
    file.part(".rela.dyn").body = Body::Bytes(relative(&file));
    file.part(".dynamic").body = Body::Bytes(dynamic_table(&file, &exports, pointers));
    finish(&file, out)
}

/// Writes a static executable that starts at the symbol `entry`. Returns its bytes. Faults of [`shared_object`], and no `entry`.
///
/// It lies at a fixed address (not position-independent): all pointers are then known here, so that no code has to relocate the
/// image before it runs, and no page of it is ever writable. The price is that its addresses are not randomised; it reads
/// tensors from a pipe and writes tensors to one.
pub fn executable(code: &Code, entry: &str, out: &mut dyn Write) -> Result<u64, Fault> {
    let mut file = ElfFile::new(code, ET_EXEC)?;
    let start = file.names.get(entry).copied().filter(|i| code.symbols[*i].section == Section::Text);
    let start = start.ok_or_else(|| Fault::Code(format!("no function `{entry}` to start at")))?;
    for (section, flags) in [(Section::ReadOnly, 0), (Section::RelocatedReadOnly, 0), (Section::Text, SHF_EXECINSTR)] {
        let align = file.layout.align(section);
        file.parts.push(Part::code(section, flags, align));
    }
    file.add_symbols(false);
    file.add_part_names();
    place(&mut file, 0x40_0000, &[R, R | X], 1)?;
    let stack = Segment { kind: PT_GNU_STACK, flags: R | W, offset: 0, address: 0, file_bytes: 0, memory_bytes: 0, align: 16 };
    file.segments.push(stack);
    file.entry = file.address(start);
    file.fill_symbols(false);
    finish(&file, out)
}

fn finish(file: &ElfFile, out: &mut dyn Write) -> Result<u64, Fault> {
    let mut out = Out::new(out);
    file.write(&mut out)?;
    out.finish()
}

/// The largest page that a kernel of this machine and system uses. Linux on ARM64 comes with 4, 16 and 64 KB, Android with 4
/// and 16 on any machine. Fault: a system whose images are another linker's work.
fn page(machine: Machine, system: System) -> Result<u64, Fault> {
    match (system, machine) {
        (System::Linux, Machine::X86_64) => Ok(4 << 10),
        (System::Linux, Machine::Aarch64) => Ok(64 << 10),
        (System::Android, _) => Ok(16 << 10),
        (System::MacOs | System::Ios | System::None, _) => Err(Fault::Code(format!("no image for {machine:?} on {system:?}"))),
    }
}

/// Rights by which a part is mapped; `None`: not mapped.
fn rights(part: &Part) -> Option<u32> {
    let bit = |flag, right| if part.flags & flag == 0 { 0 } else { right };
    (part.flags & SHF_ALLOC != 0).then(|| R | bit(SHF_WRITE, W) | bit(SHF_EXECINSTR, X))
}

/// Chooses offsets and addresses of all parts, which lie in the order of `loads`, and makes these segments. Zeros at the end of
/// one fill its last page. The first one also holds the headers; `more` segments are still to come.
fn place(file: &mut ElfFile, base: u64, loads: &[u32], more: usize) -> Result<(), Fault> {
    let page = page(file.code.machine, file.code.system)?;
    let mut offset = HEADER_BYTES + SEGMENT_BYTES * (loads.len() + more) as u64;
    let mut end = base;
    for (i, flags) in loads.iter().enumerate() {
        let mine: Vec<usize> = (0..file.parts.len()).filter(|p| rights(&file.parts[*p]) == Some(*flags)).collect();
        let align = mine.iter().map(|p| file.parts[*p].align).max().unwrap_or(1);
        let start = if i == 0 { 0 } else { offset.next_multiple_of(align) };
        let address = end.next_multiple_of(page) + start % page;
        offset = offset.max(start);
        for p in mine {
            offset = offset.next_multiple_of(file.parts[p].align);
            let here = address + (offset - start);
            (file.parts[p].offset, file.parts[p].address) = (offset, here);
            end = here + file.size(&file.parts[p]);
            if let Body::Zeros(bytes) = &mut file.parts[p].body {
                *bytes = end.next_multiple_of(page) - here;
                end = here + *bytes;
            }
            offset += file.file_size(&file.parts[p]);
        }
        let (file_bytes, memory_bytes) = (offset - start, end.max(address) - address);
        let segment = Segment { kind: PT_LOAD, flags: *flags, offset: start, address, file_bytes, memory_bytes, align: page };
        file.segments.push(segment);
    }
    for p in 0..file.parts.len() {
        if rights(&file.parts[p]).is_none() {
            offset = offset.next_multiple_of(file.parts[p].align);
            file.parts[p].offset = offset;
            offset += file.file_size(&file.parts[p]);
        }
    }
    Ok(())
}

/// Relocations that need the load address.
fn pointers(symbol: &crate::Symbol) -> impl Iterator<Item = &crate::Relocation> {
    symbol.relocations.iter().filter(|r| r.kind == RelocationKind::Abs64)
}

/// `R_*_RELATIVE` entries: load address plus addend, into each pointer, in ascending order.
fn relative(file: &ElfFile) -> Vec<u8> {
    let kind = match file.code.machine {
        Machine::X86_64 => 8,
        Machine::Aarch64 => 1027,
    };
    let mut entries = Vec::new();
    for (index, symbol) in file.code.symbols.iter().enumerate() {
        for relocation in pointers(symbol) {
            let target = file.address(file.names[relocation.symbol.as_str()]);
            let place = file.address(index) + u64::from(relocation.offset);
            entries.push([place, kind, target.wrapping_add_signed(relocation.addend)]);
        }
    }
    entries.sort_unstable();
    let mut bytes = Vec::new();
    entries.iter().for_each(|entry| longs(&mut bytes, entry));
    bytes
}

/// What the loader reads: eleven entries, unused ones at the end are null.
fn dynamic_table(file: &ElfFile, exports: &Exports, pointers: usize) -> Vec<u8> {
    let address = |name: &str| file.parts[file.index(name) as usize - 1].address;
    let mut entries: Vec<[u64; 2]> = vec![
        [14, u64::from(exports.soname)],          // DT_SONAME
        [0x6fff_fef5, address(".gnu.hash")],      // DT_GNU_HASH
        [5, address(".dynstr")],                  // DT_STRTAB
        [6, address(".dynsym")],                  // DT_SYMTAB
        [10, exports.strings.bytes.len() as u64], // DT_STRSZ
        [11, SYMBOL_BYTES],                       // DT_SYMENT
    ];
    if pointers > 0 {
        entries.extend([
            [7, address(".rela.dyn")],         // DT_RELA
            [8, RELA_BYTES * pointers as u64], // DT_RELASZ
            [9, RELA_BYTES],                   // DT_RELAENT
            [0x6fff_fff9, pointers as u64],    // DT_RELACOUNT
        ]);
    }
    entries.resize(11, [0, 0]);
    let mut bytes = Vec::new();
    entries.iter().for_each(|entry| longs(&mut bytes, entry));
    bytes
}

/// The dynamic symbols, ordered by bucket as the GNU hash table wants them.
struct Exports {
    symbols: Vec<Export>,
    strings: Strings,
    soname: u32,
    buckets: u32,
}

struct Export {
    /// Index in the code.
    symbol: usize,
    name: u32,
    hash: u32,
}

impl Exports {
    fn new(code: &Code, soname: &str) -> Exports {
        let mut strings = Strings::new();
        let soname = strings.add(soname);
        let global = code.symbols.iter().enumerate().filter(|(_, s)| s.binding == Binding::Global);
        let mut symbols: Vec<Export> =
            global.map(|(symbol, s)| Export { symbol, name: strings.add(&s.name), hash: gnu_hash(&s.name) }).collect();
        let buckets = (symbols.len() as u32 / 2).max(1);
        symbols.sort_by_key(|export| export.hash % buckets);
        Exports { symbols, strings, soname, buckets }
    }

    /// One Bloom word (bits `hash` and `hash >> 6`), the first symbol of each bucket, a chain word per symbol whose lowest bit
    /// ends the bucket. After: the format that GNU ld introduced in 2006.
    fn hash_table(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let bloom = self.symbols.iter().fold(0u64, |bits, e| bits | 1 << (e.hash % 64) | 1 << ((e.hash >> 6) % 64));
        words(&mut bytes, &[self.buckets, 1, 1, 6]);
        longs(&mut bytes, &[bloom]);
        let bucket = |e: &Export| e.hash % self.buckets;
        for b in 0..self.buckets {
            let first = self.symbols.iter().position(|e| bucket(e) == b);
            words(&mut bytes, &[first.map_or(0, |i| i as u32 + 1)]);
        }
        for (i, export) in self.symbols.iter().enumerate() {
            let last = self.symbols.get(i + 1).is_none_or(|next| bucket(next) != bucket(export));
            words(&mut bytes, &[export.hash & !1 | u32::from(last)]);
        }
        bytes
    }
}

fn gnu_hash(name: &str) -> u32 {
    name.bytes().fold(5381, |hash: u32, byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)))
}
