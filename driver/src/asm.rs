//! Code as a listing: every function with its instructions, every table with its size. It reads the finished bytes, so that
//! what our encoder and what Cranelift made look alike. It knows x86-64 through a disassembler and nothing else.

use std::io::Write;

use artifact::{Code, Content, Machine, Section, Symbol};
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, NasmFormatter};

use crate::error::Result;

/// Writes the listing of all symbols, in their order.
pub fn listing(code: &Code, out: &mut dyn Write) -> Result<()> {
    for symbol in &code.symbols {
        writeln!(out, "; {} {} bytes, {}", symbol.section.name(), symbol.content.size(), symbol.name)?;
        match (&symbol.content, symbol.section, code.machine) {
            (Content::Bytes(bytes), Section::Text, Machine::X86_64) => function(symbol, bytes, out)?,
            (Content::Bytes(_), Section::Text, Machine::Aarch64) | (Content::Bytes(_) | Content::Lazy { .. }, _, _) => {}
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Offset, bytes, instruction, and what a relocation puts there. Constants that lie behind the code of a kernel are
/// decoded too: a function does not say where its code ends.
fn function(symbol: &Symbol, bytes: &[u8], out: &mut dyn Write) -> Result<()> {
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

/// What is in each module; its instructions are for the tools of WebAssembly.
pub fn modules(modules: &[crate::link::Module], out: &mut dyn Write) -> Result<()> {
    for module in modules {
        writeln!(out, "; {} {} bytes", module.level, module.bytes.len())?;
    }
    Ok(())
}
