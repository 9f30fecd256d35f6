//! Code to a static library (`.a`): one object in a GNU archive with a symbol index, everything that could vary (time, owner)
//! zero. Written here and not by `ar_archive_writer`, which wants the whole object in memory.

use std::io::Write;

use crate::out::Out;
use crate::{Binding, Code, Fault, object};

/// Writes the archive; `member` is the object's file name, ASCII, e.g. `digits.o`. Returns its bytes. Faults of [`object()`].
pub fn archive(code: &Code, member: &str, out: &mut dyn Write) -> Result<u64, Fault> {
    if member.is_empty() || !member.bytes().all(|b| b.is_ascii_graphic() && b != b'/') {
        return Err(Fault::Describe(format!("`{}` is no name for an archive member", member.escape_debug())));
    }
    let file = object::plan(code)?;
    let globals: Vec<&str> = code.symbols.iter().filter(|s| s.binding == Binding::Global).map(|s| s.name.as_str()).collect();
    let index_bytes = 4 + globals.iter().map(|name| 4 + name.len() + 1).sum::<usize>();
    // A name of more than 15 characters lies in a member of its own and is referred to by its offset there.
    let long = (member.len() > 15).then(|| format!("{member}/\n"));
    let name = if long.is_some() { "/0".to_owned() } else { format!("{member}/") };

    let mut out = Out::new(out);
    out.put(b"!<arch>\n")?;
    let names_bytes = long.as_ref().map_or(0, |names| 60 + names.len().next_multiple_of(2));
    let member_at = 8 + 60 + index_bytes.next_multiple_of(2) + names_bytes;
    let member_at = u32::try_from(member_at).map_err(|_| Fault::TooLarge("the names of the interface".into()))?;

    out.put(&header("/", index_bytes as u64))?;
    out.put(&(globals.len() as u32).to_be_bytes())?;
    globals.iter().try_for_each(|_| out.put(&member_at.to_be_bytes()))?;
    globals.iter().try_for_each(|name| out.put(name.as_bytes()).and_then(|()| out.put(&[0])))?;
    even(&mut out)?;
    if let Some(names) = long {
        out.put(&header("//", names.len() as u64))?;
        out.put(names.as_bytes())?;
        even(&mut out)?;
    }
    out.put(&header(&name, file.bytes()))?;
    file.write(&mut out)?;
    even(&mut out)?;
    out.finish()
}

/// Members start at even offsets.
fn even(out: &mut Out) -> Result<(), Fault> {
    out.fill(b'\n', out.position().next_multiple_of(2))
}

/// Name, time 0, user 0, group 0, mode 644, size: blank-padded decimals (the mode octal).
fn header(name: &str, bytes: u64) -> Vec<u8> {
    format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{bytes:<10}`\n", 0, 0, 0, 644).into_bytes()
}
