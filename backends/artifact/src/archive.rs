//! Code to a static library (`.a`): one object in an archive with a symbol index, everything that could vary (time, owner)
//! zero. GNU's form around ELF, BSD's around Mach-O: each is what the linkers of its systems read. Written here and not by
//! `ar_archive_writer`, which wants the whole object in memory.

use std::io::Write;

use crate::object::Object;
use crate::out::Out;
use crate::{Binding, Code, Fault};

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER_BYTES: usize = 60;

/// Writes the archive; `member` is the object's file name, ASCII, e.g. `digits.o`. Returns its bytes. Faults of [`object()`].
///
/// [`object()`]: crate::object()
pub fn archive(code: &Code, member: &str, out: &mut dyn Write) -> Result<u64, Fault> {
    if member.is_empty() || !member.bytes().all(|b| b.is_ascii_graphic() && b != b'/') {
        return Err(Fault::Describe(format!("`{}` is no name for an archive member", member.escape_debug())));
    }
    let file = Object::plan(code)?;
    let globals: Vec<&str> = code.symbols.iter().filter(|s| s.binding == Binding::Global).map(|s| s.name.as_str()).collect();
    let mut out = Out::new(out);
    out.put(MAGIC)?;
    match &file {
        Object::Elf(_) => gnu(&file, member, &globals, &mut out)?,
        Object::MachO(_) => bsd(&file, member, &globals, &mut out)?,
    }
    out.finish()
}

fn gnu(file: &Object, member: &str, globals: &[&str], out: &mut Out) -> Result<(), Fault> {
    let index_bytes = 4 + globals.iter().map(|name| 4 + name.len() + 1).sum::<usize>();
    // A name of more than 15 characters lies in a member of its own and is referred to by its offset there.
    let long = (member.len() > 15).then(|| format!("{member}/\n"));
    let name = if long.is_some() { "/0".to_owned() } else { format!("{member}/") };
    let names_bytes = long.as_ref().map_or(0, |names| HEADER_BYTES + names.len().next_multiple_of(2));
    let member_at = place(MAGIC.len() + HEADER_BYTES + index_bytes.next_multiple_of(2) + names_bytes)?;

    out.put(&header("/", index_bytes as u64))?;
    out.put(&(globals.len() as u32).to_be_bytes())?;
    globals.iter().try_for_each(|_| out.put(&member_at.to_be_bytes()))?;
    globals.iter().try_for_each(|name| out.put(name.as_bytes()).and_then(|()| out.put(&[0])))?;
    even(out)?;
    if let Some(names) = long {
        out.put(&header("//", names.len() as u64))?;
        out.put(names.as_bytes())?;
        even(out)?;
    }
    out.put(&header(&name, file.bytes()))?;
    file.write(out)?;
    even(out)
}

/// Names stand before the contents, filled up so that the contents begin at a multiple of 8, as Apple's linker wants objects.
fn bsd(file: &Object, member: &str, globals: &[&str], out: &mut Out) -> Result<(), Fault> {
    let mut strings = Vec::new();
    let mut places = Vec::new();
    for name in globals {
        places.push(strings.len() as u32);
        strings.extend_from_slice(format!("_{name}\0").as_bytes());
    }
    strings.resize(strings.len().next_multiple_of(8), 0);
    let index_name = padded("__.SYMDEF", MAGIC.len());
    let index_bytes = index_name.len() + 4 + 8 * globals.len() + 4 + strings.len();
    let member_at = MAGIC.len() + HEADER_BYTES + index_bytes;
    let name = padded(member, member_at);

    out.put(&header(&format!("#1/{}", index_name.len()), index_bytes as u64))?;
    out.put(&index_name)?;
    out.put(&(8 * globals.len() as u32).to_le_bytes())?;
    let member_at = place(member_at)?;
    places.iter().try_for_each(|at| out.put(&at.to_le_bytes()).and_then(|()| out.put(&member_at.to_le_bytes())))?;
    out.put(&(strings.len() as u32).to_le_bytes())?;
    out.put(&strings)?;
    out.put(&header(&format!("#1/{}", name.len()), name.len() as u64 + file.bytes()))?;
    out.put(&name)?;
    file.write(out)
}

/// The name of a member whose header is at `header_at`, with the zeros that align what follows.
fn padded(name: &str, header_at: usize) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    let contents_at = header_at + HEADER_BYTES + name.len();
    bytes.resize(name.len() + contents_at.next_multiple_of(8) - contents_at, 0);
    bytes
}

fn place(at: usize) -> Result<u32, Fault> {
    u32::try_from(at).map_err(|_| Fault::TooLarge("the names of the interface".into()))
}

/// Members start at even offsets.
fn even(out: &mut Out) -> Result<(), Fault> {
    out.fill(b'\n', out.position().next_multiple_of(2))
}

/// Name, time 0, user 0, group 0, mode 644, size: blank-padded decimals (the mode octal).
fn header(name: &str, bytes: u64) -> Vec<u8> {
    format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{bytes:<10}`\n", 0, 0, 0, 644).into_bytes()
}
