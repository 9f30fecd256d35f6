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

/// Each module in WebAssembly's own text form.
pub fn modules(modules: &[Module], out: &mut dyn Write) -> Result<()> {
    for module in modules {
        writeln!(out, ";; {} {} bytes", module.level, module.bytes.len())?;
        let text = wasmprinter::print_bytes(&module.bytes).map_err(|why| Error::Internal(format!("the module cannot be read: {why}")))?;
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}
