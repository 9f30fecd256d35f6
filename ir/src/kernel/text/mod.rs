//! `.kir`: kernels as text that parses back. The grammar is in `docs/kir.md`. Numbers of registers, values
//! and arguments stand as they are, so that two texts are equal exactly when their kernels are.

pub(super) mod scalar;
#[cfg(test)]
mod tests;
pub(super) mod tile;

use super::{Access, Arg, Kernel, KernelBody};
use crate::text::{Lexer, ParseError, is_word, quoted};

/// The kernel, one statement a line.
pub fn print(kernel: &Kernel) -> String {
    let mut out = Out::default();
    let args: Vec<String> = kernel.args.iter().map(print_arg).collect();
    let head = |kind: &str| format!("{kind} {}({})", name(&kernel.name), args.join(", "));
    match &kernel.body {
        KernelBody::Tile(tile) => tile::print(&head("tile"), tile, &mut out),
        KernelBody::Scalar(scalar) => scalar::print(&head("scalar"), scalar, &mut out),
    }
    out.text
}

/// One kernel and nothing behind it.
pub fn parse(text: &str) -> Result<Kernel, ParseError> {
    let mut lexer = Lexer::new(text);
    let kernel = parse_kernel(&mut lexer)?;
    if lexer.done() { Ok(kernel) } else { Err(lexer.expected("the end")) }
}

/// The next kernel, for files that hold several.
pub fn parse_kernel(lexer: &mut Lexer) -> Result<Kernel, ParseError> {
    let tile = lexer.eat("tile");
    if !tile && !lexer.eat("scalar") {
        return Err(lexer.expected("`tile` or `scalar`"));
    }
    let name = parse_name(lexer)?;
    lexer.expect("(")?;
    let mut args = Vec::new();
    while !lexer.eat(")") {
        args.push(parse_arg(lexer)?);
        if !lexer.peek(")") {
            lexer.expect(",")?;
        }
    }
    let body = match tile {
        true => KernelBody::Tile(tile::parse(lexer)?),
        false => KernelBody::Scalar(scalar::parse(lexer)?),
    };
    Ok(Kernel { name, args, body })
}

/// The words of operations, by kind, in the order of their tables. For documentation.
pub fn operations() -> [(&'static str, Vec<&'static str>); 7] {
    [
        ("tile unary", tile::UNARY.iter().map(|&op| tile::unary(op)).collect()),
        ("tile binary", tile::BINARY.iter().map(|&op| tile::binary(op)).collect()),
        (
            "tile sum",
            tile::DOT4
                .iter()
                .map(|&kind| tile::dot4(kind))
                .chain(tile::MATRIX.iter().map(|&kind| tile::matrix(kind)))
                .chain([false, true].map(tile::long8))
                .chain(["pairs"])
                .collect(),
        ),
        ("tile compare", tile::COMPARE.iter().map(|&op| tile::compare(op)).collect()),
        ("tile element", tile::NARROW.iter().map(|&kind| tile::narrow(kind)).collect()),
        ("scalar unary", scalar::UNARY.iter().map(|&op| scalar::unary(op)).collect()),
        ("scalar binary", scalar::BINARY.iter().map(|&op| scalar::binary(op)).collect()),
    ]
}

fn name(text: &str) -> String {
    if is_word(text) { text.into() } else { quoted(text) }
}

fn parse_name(lexer: &mut Lexer) -> Result<String, ParseError> {
    if lexer.peek("\"") { lexer.string() } else { lexer.word().map(str::to_string) }
}

pub(crate) fn access(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::ReadWrite => "readwrite",
    }
}

fn print_arg(arg: &Arg) -> String {
    format!("{}: {} {}..{}", name(&arg.name), access(arg.access), arg.low, arg.high)
}

fn parse_arg(lexer: &mut Lexer) -> Result<Arg, ParseError> {
    let name = parse_name(lexer)?;
    lexer.expect(":")?;
    let found = [Access::Read, Access::Write, Access::ReadWrite].into_iter().find(|&a| lexer.eat(access(a)));
    let Some(access) = found else { return Err(lexer.expected("`read`, `write` or `readwrite`")) };
    let low = lexer.integer()?;
    lexer.expect("..")?;
    Ok(Arg { name, low, high: lexer.integer()?, access })
}

/// Lines, indented by their blocks.
#[derive(Default)]
struct Out {
    text: String,
    depth: usize,
}

impl Out {
    fn line(&mut self, line: &str) {
        self.text.push_str(&"  ".repeat(self.depth));
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// `head {`, the lines of `body`, `}`.
    fn block(&mut self, head: &str, body: impl FnOnce(&mut Out)) {
        self.line(&format!("{head} {{"));
        self.inside(body);
    }

    /// A block behind the brace that ends another: `} else {`.
    fn further_block(&mut self, head: &str, body: impl FnOnce(&mut Out)) {
        let end = self.text.trim_end().len();
        self.text.truncate(end);
        self.text.push_str(&format!(" {head} {{\n"));
        self.inside(body);
    }

    fn inside(&mut self, body: impl FnOnce(&mut Out)) {
        self.depth += 1;
        body(self);
        self.depth -= 1;
        self.line("}");
    }
}

/// `{ … }`, each statement by `one`.
fn parse_block<T>(lexer: &mut Lexer, mut one: impl FnMut(&mut Lexer) -> Result<T, ParseError>) -> Result<Vec<T>, ParseError> {
    lexer.expect("{")?;
    let mut all = Vec::new();
    while !lexer.eat("}") {
        all.push(one(lexer)?);
    }
    Ok(all)
}

/// A letter and its number: `v12`.
fn parse_numbered<T: TryFrom<u64>>(lexer: &mut Lexer, letter: &str) -> Result<T, ParseError> {
    let word = lexer.peek_word().unwrap_or_default();
    let number = word.strip_prefix(letter).filter(|n| n.starts_with(|c: char| c.is_ascii_digit()));
    match number.and_then(|n| n.parse::<u64>().ok()).and_then(|n| T::try_from(n).ok()) {
        Some(number) => lexer.word().map(|_| number),
        None => Err(lexer.expected(&format!("`{letter}` and a number"))),
    }
}

/// Whether a letter and a number come next.
fn peek_numbered(lexer: &mut Lexer, letter: &str) -> bool {
    let word = lexer.peek_word().unwrap_or_default();
    word.strip_prefix(letter).is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()))
}

fn parse_number<T: TryFrom<i64>>(lexer: &mut Lexer, what: &str) -> Result<T, ParseError> {
    let number = lexer.integer()?;
    T::try_from(number).map_err(|_| lexer.error(format!("{number} is no {what}")))
}

/// A float as the shortest number that reads back, where that is near enough to 1 to be meant as a number;
/// other bits as hexadecimals.
fn print_f32(bits: u32) -> String {
    let value = f32::from_bits(bits);
    match value == 0.0 || value.is_infinite() || (1e-9..1e12).contains(&value.abs()) {
        true => format!("{value:?}"),
        false => format!("0x{bits:08x}"),
    }
}

fn print_f64(bits: u64) -> String {
    let value = f64::from_bits(bits);
    match value == 0.0 || value.is_infinite() || (1e-99..1e99).contains(&value.abs()) {
        true => format!("{value:?}"),
        false => format!("0x{bits:016x}"),
    }
}

fn parse_f32(lexer: &mut Lexer) -> Result<u32, ParseError> {
    if lexer.eat_prefix("0x") {
        let bits = lexer.hex()?;
        return u32::try_from(bits).map_err(|_| lexer.error(format!("0x{bits:x} has more than 32 bits")));
    }
    let text = lexer.number()?;
    text.parse().map(f32::to_bits).map_err(|_| lexer.error(format!("`{text}` is not a number")))
}

fn parse_f64(lexer: &mut Lexer) -> Result<u64, ParseError> {
    if lexer.eat_prefix("0x") {
        return lexer.hex();
    }
    let text = lexer.number()?;
    text.parse().map(f64::to_bits).map_err(|_| lexer.error(format!("`{text}` is not a number")))
}

/// The words of an enumeration, both ways; a variant that carries something is parsed with the value given here.
macro_rules! words {
    ($word:ident $parse:ident $all:ident $type:ident { $($variant:ident $(($value:expr))? $text:literal,)* }) => {
        pub(super) fn $word(op: $type) -> &'static str {
            match op { $($type::$variant { .. } => $text,)* }
        }
        fn $parse(text: &str) -> Option<$type> {
            match text { $($text => Some($type::$variant $(($value))?),)* _ => None }
        }
        /// One of each.
        pub(in crate::kernel) const $all: &[$type] = &[$($type::$variant $(($value))?,)*];
    };
}
use words;
