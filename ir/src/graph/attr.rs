//! How each kind of attribute is written and read. Values in braces are `name=value`; bodies stand
//! behind them as `do { … }` (a map's body, an epilogue) and `pre { … }` (a prologue), identities left out.

use super::op::Real;
use crate::dim::Dim;
use crate::scalar::{Body, Literal};
use crate::tensor::{Dtype, Tensor, Type};
use crate::text::{Lexer, ParseError, quoted};
use std::any::Any;

/// A kind of attribute.
pub trait Attr {
    fn print(&self) -> String;
    fn parse(lexer: &mut Lexer) -> Result<Self, ParseError>
    where
        Self: Sized;
}

/// Attributes in the order in which they stand; `take` insists on the order of the table.
pub struct Attrs {
    braces: bool,
    first: bool,
}

impl Attrs {
    pub fn parse(lexer: &mut Lexer) -> Result<Attrs, ParseError> {
        Ok(Attrs { braces: lexer.eat("{"), first: true })
    }

    pub fn take<T: Attr + Any>(&mut self, name: &str, lexer: &mut Lexer) -> Result<T, ParseError> {
        let keyword = body_keyword(name);
        if let Some(keyword) = keyword {
            self.close(lexer)?;
            if !lexer.eat(keyword) {
                let identity: Box<dyn Any> = Box::new(Body::identity());
                return identity.downcast::<T>().map(|b| *b).map_err(|_| lexer.error(format!("`{name}` is not a body")));
            }
            return T::parse(lexer);
        }
        if !std::mem::take(&mut self.first) {
            lexer.expect(",")?;
        }
        lexer.expect(name)?;
        lexer.expect("=")?;
        T::parse(lexer)
    }

    fn close(&mut self, lexer: &mut Lexer) -> Result<(), ParseError> {
        if std::mem::take(&mut self.braces) { lexer.expect("}") } else { Ok(()) }
    }

    pub fn finish(mut self, lexer: &mut Lexer) -> Result<(), ParseError> {
        self.close(lexer)
    }
}

/// The word in front of a body, if the attribute of that name is one.
pub fn body_keyword(name: &str) -> Option<&'static str> {
    match name {
        "body" | "epilogue" => Some("do"),
        "prologue" => Some("pre"),
        "region" => Some("turn"),
        _ => None,
    }
}

fn list<T>(items: &[T], print: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(print).collect::<Vec<_>>().join(","))
}

fn parse_list<T>(lexer: &mut Lexer, mut item: impl FnMut(&mut Lexer) -> Result<T, ParseError>) -> Result<Vec<T>, ParseError> {
    lexer.expect("[")?;
    let mut out = Vec::new();
    while !lexer.eat("]") {
        if !out.is_empty() {
            lexer.expect(",")?;
        }
        out.push(item(lexer)?);
    }
    Ok(out)
}

impl<T: Attr> Attr for Vec<T> {
    fn print(&self) -> String {
        list(self, T::print)
    }
    fn parse(lexer: &mut Lexer) -> Result<Self, ParseError> {
        parse_list(lexer, T::parse)
    }
}

impl Attr for usize {
    fn print(&self) -> String {
        self.to_string()
    }
    fn parse(lexer: &mut Lexer) -> Result<Self, ParseError> {
        lexer.natural()
    }
}

impl Attr for i64 {
    fn print(&self) -> String {
        self.to_string()
    }
    fn parse(lexer: &mut Lexer) -> Result<Self, ParseError> {
        lexer.integer()
    }
}

impl Attr for bool {
    fn print(&self) -> String {
        self.to_string()
    }
    fn parse(lexer: &mut Lexer) -> Result<Self, ParseError> {
        match lexer.word()? {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(lexer.error(format!("`{other}` is neither true nor false"))),
        }
    }
}

impl Attr for Real {
    fn print(&self) -> String {
        format!("{:?}", self.0).to_lowercase()
    }
    fn parse(lexer: &mut Lexer) -> Result<Self, ParseError> {
        let text = lexer.number()?;
        text.parse().map(Real).map_err(|_| lexer.error(format!("`{text}` is not a number")))
    }
}

impl Attr for String {
    fn print(&self) -> String {
        quoted(self)
    }
    fn parse(lexer: &mut Lexer) -> Result<Self, ParseError> {
        lexer.string()
    }
}

impl Attr for Dim {
    fn print(&self) -> String {
        self.to_string()
    }
    fn parse(lexer: &mut Lexer) -> Result<Self, ParseError> {
        sum(lexer, 0)
    }
}

/// `none`, or the dimension.
impl Attr for Option<Dim> {
    fn print(&self) -> String {
        self.as_ref().map_or_else(|| "none".into(), Dim::to_string)
    }
    fn parse(lexer: &mut Lexer) -> Result<Self, ParseError> {
        if lexer.eat("none") { Ok(None) } else { Dim::parse(lexer).map(Some) }
    }
}

/// Divisions in each other, and factors of one product: more are no dimension that anyone means, and take time.
const DEEPEST: usize = 32;
const FACTORS: usize = 64;

fn sum(lexer: &mut Lexer, depth: usize) -> Result<Dim, ParseError> {
    let mut total = if lexer.eat("-") { Dim::from(0i64) - product(lexer, depth)? } else { product(lexer, depth)? };
    loop {
        if lexer.eat("+") {
            total = total + product(lexer, depth)?;
        } else if lexer.eat("-") {
            total = total - product(lexer, depth)?;
        } else {
            return Ok(total);
        }
    }
}

fn product(lexer: &mut Lexer, depth: usize) -> Result<Dim, ParseError> {
    let mut all = factor(lexer, depth)?;
    let mut factors = 1;
    while lexer.eat("*") {
        factors += 1;
        if factors > FACTORS {
            return Err(lexer.error(format!("more than {FACTORS} factors")));
        }
        all = all * factor(lexer, depth)?;
    }
    Ok(all)
}

fn factor(lexer: &mut Lexer, depth: usize) -> Result<Dim, ParseError> {
    if lexer.eat("floordiv") {
        if depth == DEEPEST {
            return Err(lexer.error(format!("more than {DEEPEST} divisions in each other")));
        }
        lexer.expect("(")?;
        let dim = sum(lexer, depth + 1)?;
        lexer.expect(",")?;
        let by = lexer.integer()?;
        lexer.expect(")")?;
        if by < 1 {
            return Err(lexer.error("floordiv by less than 1"));
        }
        return Ok(dim.floor_div(by));
    }
    if lexer.peek("\"") {
        return Ok(Dim::symbol(&lexer.string()?));
    }
    match lexer.peek_word() {
        Some(_) => Ok(Dim::symbol(lexer.word()?)),
        None => Ok(Dim::from(lexer.integer()?)),
    }
}

impl Attr for Dtype {
    fn print(&self) -> String {
        self.name().into()
    }
    fn parse(lexer: &mut Lexer) -> Result<Self, ParseError> {
        let word = lexer.word()?;
        Dtype::from_name(word).ok_or_else(|| lexer.error(format!("`{word}` is not an element type")))
    }
}

impl Attr for Type {
    fn print(&self) -> String {
        self.to_string()
    }
    fn parse(lexer: &mut Lexer) -> Result<Self, ParseError> {
        let dtype = Dtype::parse(lexer)?;
        Ok(Type::new(dtype, parse_list(lexer, Dim::parse)?))
    }
}

impl Attr for Literal {
    fn print(&self) -> String {
        crate::scalar::text::print_literal(*self)
    }
    fn parse(lexer: &mut Lexer) -> Result<Self, ParseError> {
        crate::scalar::text::parse_literal(lexer)
    }
}

impl Attr for Body {
    fn print(&self) -> String {
        crate::scalar::text::print_body(self)
    }
    fn parse(lexer: &mut Lexer) -> Result<Self, ParseError> {
        crate::scalar::text::parse_body(lexer)
    }
}

/// A constant is written as its dense bytes in hexadecimal behind its type, or `splat` and one element.
/// Big ones are written by reference in graph text, see [`super::text`].
impl Attr for Tensor {
    fn print(&self) -> String {
        super::text::print_tensor(self)
    }
    fn parse(lexer: &mut Lexer) -> Result<Self, ParseError> {
        super::text::parse_tensor(lexer)
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::text::parse;

    #[test]
    fn dimensions_without_end_are_refused_at_once() {
        let said = |dim: &str| {
            let text = format!("graph {{ symbol a in 0..1 %x: f32[{dim}] = input \"x\" return %x \"x\" }}");
            parse(&text, &|_| None).err().map(|error| error.what)
        };
        assert_eq!(said("a*a*floordiv(a+3,2)"), None);
        assert_eq!(said(&vec!["a"; 65].join("*")), Some("more than 64 factors".into()));
        let deep = format!("{}a{}", "floordiv(".repeat(100_000), ",2)".repeat(100_000));
        assert_eq!(said(&deep), Some("more than 32 divisions in each other".into()));
    }
}
