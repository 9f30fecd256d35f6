//! Code as a listing: every function with its instructions, every table with its size. It reads the finished bytes, so that
//! what our encoders and what Cranelift made look alike. It knows machines through disassemblers and nothing else.

use std::io::Write;

use artifact::{Code, Content, Machine, Section, Symbol};
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, NasmFormatter};

use yaxpeax_arch::{Decoder as _, U8Reader};
use yaxpeax_arm::armv8::a64::InstDecoder;

use crate::error::{Error, Result};
use crate::link::Module;

/// Writes the listing of all symbols, in their order.
pub fn listing(code: &Code, out: &mut dyn Write) -> Result<()> {
    for symbol in &code.symbols {
        writeln!(out, "; {} {} bytes, {}", symbol.section.name(), symbol.content.size(), symbol.name)?;
        match (&symbol.content, symbol.section, code.machine) {
            (Content::Bytes(bytes), Section::Text, Machine::X86_64) => x86_64(symbol, bytes, out)?,
            (Content::Bytes(bytes), Section::Text, Machine::Aarch64) => aarch64(symbol, bytes, out)?,
            (Content::Bytes(_) | Content::Lazy { .. }, _, _) => {}
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Offset, bytes, instruction, and what a relocation puts there. Constants that lie behind the code of a kernel are
/// decoded too: a function does not say where its code ends.
fn x86_64(symbol: &Symbol, bytes: &[u8], out: &mut dyn Write) -> Result<()> {
    let mut decoder = Decoder::new(64, bytes, DecoderOptions::NONE);
    let mut formatter = NasmFormatter::new();
    formatter.options_mut().set_space_after_operand_separator(true);
    formatter.options_mut().set_rip_relative_addresses(false);
    let (mut instruction, mut text) = (Instruction::default(), String::new());
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let (start, end) = (instruction.ip() as usize, instruction.next_ip() as usize);
        text.clear();
        formatter.format(&instruction, &mut text);
        let hex: String = bytes[start..end].iter().map(|b| format!("{b:02x}")).collect();
        let relocation = symbol.relocations.iter().find(|r| (start..end).contains(&(r.offset as usize)));
        let target = relocation.map_or(String::new(), |r| format!("  ; {}", r.symbol));
        writeln!(out, "  {start:5x}  {hex:<22} {text}{target}")?;
    }
    Ok(())
}

/// As for x86-64; what is no instruction is shown as a word.
fn aarch64(symbol: &Symbol, bytes: &[u8], out: &mut dyn Write) -> Result<()> {
    let decoder = InstDecoder::default();
    for (i, word) in bytes.chunks(4).enumerate() {
        let (start, hex) = (4 * i, word.iter().rev().map(|b| format!("{b:02x}")).collect::<String>());
        let text = decoder.decode(&mut U8Reader::new(word)).map_or_else(|_| ".word".into(), |instruction| instruction.to_string());
        let relocation = symbol.relocations.iter().find(|r| r.offset as usize == start);
        let target = relocation.map_or(String::new(), |r| format!("  ; {}", r.symbol));
        writeln!(out, "  {start:5x}  {hex:<8} {text}{target}")?;
    }
    Ok(())
}

/// Each module in WebAssembly's own text form; of its data only where they lie and how many there are.
pub fn modules(modules: &[Module], out: &mut dyn Write) -> Result<()> {
    for module in modules {
        writeln!(out, ";; {} {} bytes", module.level, module.bytes.len())?;
        let mut text = Sizes { out, data: false, bytes: None };
        let printed = wasmprinter::Config::new().print(&module.bytes, &mut text);
        printed.map_err(|why| Error::Internal(format!("the module cannot be listed: {why}")))?;
    }
    Ok(())
}

/// Text on its way out, with the size of each data segment instead of its bytes.
struct Sizes<'a> {
    out: &'a mut dyn Write,
    /// A segment has begun.
    data: bool,
    /// Its bytes so far, within its quotes.
    bytes: Option<i64>,
}

impl wasmprinter::Print for Sizes<'_> {
    fn write_str(&mut self, text: &str) -> std::io::Result<()> {
        match (self.data, text, self.bytes) {
            (true, "\"", None) => self.bytes = Some(0),
            (true, "\"", Some(bytes)) => {
                (self.data, self.bytes) = (false, None);
                write!(self.out, "(; {bytes} bytes ;)")?;
            }
            // a byte is one character, or a backslash and two
            (true, _, Some(bytes)) => self.bytes = Some(bytes + text.len() as i64 - 2 * text.matches('\\').count() as i64),
            (_, _, _) => {
                self.data |= text == "data ";
                self.out.write_all(text.as_bytes())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_listed_without_its_data() {
        // (module (memory 1) (data (i32.const 8) "…") (data (i32.const 9) "data "))
        let memory = [5, 3, 1, 0, 1];
        let data = [&[11, 22, 2, 0, 0x41, 8, 11, 6][..], b"\"\\a\0\n(", &[0, 0x41, 9, 11, 5], b"data "].concat();
        let bytes = [b"\0asm\x01\0\0\0", &memory[..], &data].concat();
        let mut out = Vec::new();
        modules(&[Module { level: "simd128", bytes }], &mut out).expect("it is a module");
        let text = String::from_utf8(out).expect("it is text");
        let data: Vec<&str> = text.lines().filter(|line| line.contains("data")).map(str::trim).collect();
        assert_eq!(data, ["(data (;0;) (i32.const 8) (; 6 bytes ;))", "(data (;1;) (i32.const 9) (; 5 bytes ;))"], "{text}");
    }
}
