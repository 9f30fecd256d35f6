//! Bodies and literals as text. A literal shows its type unless it is an f32 (`0.5`), an i64 (`3`) or a bool
//! (`true`): `0.5:f64`, `3:u8`. Numbers are the shortest that read back as the same bits; a NaN with
//! another payload is written by its bits (`0x7fc00001:f32`).

use super::{Arg, Body, Literal, ScalarOp, Term};
use crate::tensor::Dtype;
use crate::text::{Lexer, ParseError};

pub fn print_literal(l: Literal) -> String {
    let plain = match l.dtype {
        Dtype::Bool if l.bits <= 1 => return (l.bits == 1).to_string(),
        Dtype::F32 => float(f32::from_bits(l.bits as u32)),
        Dtype::F64 => float(f64::from_bits(l.bits)),
        d if d.is_float() => float(l.to_f64()),
        Dtype::U64 => l.bits.to_string(),
        _ => l.to_i64().to_string(),
    };
    let suffix = match l.dtype {
        Dtype::F32 | Dtype::I64 => String::new(),
        other => format!(":{}", other.name()),
    };
    let text = plain + &suffix;
    match parse_literal(&mut Lexer::new(&text)) {
        Ok(back) if back == l => text,
        _ => format!("0x{:x}:{}", l.bits, l.dtype.name()),
    }
}

/// `Debug` of a float is the shortest text that reads back, always with a point or an exponent.
fn float<F: std::fmt::Debug>(value: F) -> String {
    format!("{value:?}").to_lowercase()
}

pub fn parse_literal(lexer: &mut Lexer) -> Result<Literal, ParseError> {
    if lexer.eat("true") {
        return Ok(Literal::bool(true));
    }
    if lexer.eat("false") {
        return Ok(Literal::bool(false));
    }
    if lexer.eat_prefix("0x") {
        let bits = lexer.hex()?;
        lexer.expect(":")?;
        return Ok(Literal { dtype: dtype(lexer)?, bits });
    }
    let text = lexer.number()?;
    let whole = text.trim_start_matches(['-', '+']).chars().all(|c| c.is_ascii_digit());
    let dtype = match lexer.eat(":") {
        true => dtype(lexer)?,
        false if whole => Dtype::I64,
        false => Dtype::F32,
    };
    let bad = |lexer: &Lexer| lexer.error(format!("`{text}` is not a {}", dtype.name()));
    match dtype {
        Dtype::F32 => text.parse().map(Literal::f32).map_err(|_| bad(lexer)),
        Dtype::U64 => text.parse().map(|bits| Literal { dtype, bits }).map_err(|_| bad(lexer)),
        d if d.is_float() => text.parse().map(|v| Literal::number(d, v)).map_err(|_| bad(lexer)),
        d => text.parse().map(|v| Literal::int(d, v)).map_err(|_| bad(lexer)),
    }
}

fn dtype(lexer: &mut Lexer) -> Result<Dtype, ParseError> {
    let word = lexer.word()?;
    Dtype::from_name(word).ok_or_else(|| lexer.error(format!("`{word}` is not an element type")))
}

/// `a` … `z`, then `p26`, `p27`, …
fn param_name(i: u8) -> String {
    if i < 26 { char::from(b'a' + i).to_string() } else { format!("p{i}") }
}

fn print_arg(arg: &Arg) -> String {
    match *arg {
        Arg::Param(i) => param_name(i),
        Arg::Term(i) => format!("t{i}"),
        Arg::Literal(l) => print_literal(l),
    }
}

fn print_term(term: &Term) -> String {
    let args: Vec<String> = term.args.iter().map(print_arg).collect();
    let suffix = match term.op {
        ScalarOp::Cast(d) | ScalarOp::Bits(d) => format!(".{}", d.name()),
        _ => String::new(),
    };
    format!("{}{suffix}({})", term.op.name(), args.join(", "))
}

/// `{ t0 = add(a, b); max(t0, 0.0) }`; the last term stands bare when it is the result. With more
/// parameters than it uses, the number stands in front: `3 { a }`.
pub fn print_body(body: &Body) -> String {
    let last = body.terms.len().wrapping_sub(1);
    let mut lines: Vec<String> = Vec::new();
    for (i, term) in body.terms.iter().enumerate() {
        if i == last && body.result == Arg::Term(i as u16) {
            lines.push(print_term(term));
        } else {
            lines.push(format!("t{i} = {}", print_term(term)));
        }
    }
    if body.terms.is_empty() || body.result != Arg::Term(last as u16) {
        lines.push(print_arg(&body.result));
    }
    let count = if used_params(body) == body.params { String::new() } else { format!("{} ", body.params) };
    format!("{count}{{ {} }}", lines.join("; "))
}

/// One more than the highest parameter in use.
fn used_params(body: &Body) -> u8 {
    let args = body.terms.iter().flat_map(|t| &t.args).chain([&body.result]);
    args.map(|a| if let Arg::Param(i) = a { i + 1 } else { 0 }).max().unwrap_or(0)
}

pub fn parse_body(lexer: &mut Lexer) -> Result<Body, ParseError> {
    let count = if lexer.peek_number() { Some(lexer.natural()?) } else { None };
    lexer.expect("{")?;
    let mut body = Body { params: 0, terms: Vec::new(), result: Arg::Param(0) };
    loop {
        let Some(word) = lexer.peek_word().filter(|w| !matches!(*w, "true" | "false" | "inf" | "nan")) else {
            body.result = Arg::Literal(parse_literal(lexer)?);
            break;
        };
        let name = format!("t{}", body.terms.len());
        if word == name {
            lexer.word()?;
            lexer.expect("=")?;
            let term = parse_term(lexer, &body)?;
            body.terms.push(term);
            lexer.expect(";")?;
            continue;
        }
        body.result = match simple_arg(word, &body) {
            Some(arg) => {
                lexer.word()?;
                arg
            }
            None => {
                let term = parse_term(lexer, &body)?;
                body.terms.push(term);
                Arg::Term((body.terms.len() - 1) as u16)
            }
        };
        break;
    }
    lexer.expect("}")?;
    let used = used_params(&body) as usize;
    let params = count.unwrap_or(used);
    if params < used || params > u8::MAX as usize {
        return Err(lexer.error(format!("the body uses {used} operands, not {params}")));
    }
    body.params = params as u8;
    Ok(body)
}

/// A parameter or an earlier term.
fn simple_arg(word: &str, body: &Body) -> Option<Arg> {
    let bytes = word.as_bytes();
    if bytes.len() == 1 && bytes[0].is_ascii_lowercase() {
        return Some(Arg::Param(bytes[0] - b'a'));
    }
    if let Some(i) = word.strip_prefix('p').and_then(|n| n.parse::<u8>().ok()) {
        return Some(Arg::Param(i));
    }
    let i = word.strip_prefix('t').and_then(|n| n.parse::<u16>().ok())?;
    ((i as usize) < body.terms.len()).then_some(Arg::Term(i))
}

fn parse_term(lexer: &mut Lexer, body: &Body) -> Result<Term, ParseError> {
    let word = lexer.word()?;
    let op = match word {
        "cast" | "bits" => {
            lexer.expect(".")?;
            let to = dtype(lexer)?;
            if word == "cast" { ScalarOp::Cast(to) } else { ScalarOp::Bits(to) }
        }
        _ => {
            let op = ScalarOp::PLAIN.iter().copied().find(|op| op.name() == word);
            op.ok_or_else(|| lexer.error(format!("there is no scalar operation `{word}`")))?
        }
    };
    lexer.expect("(")?;
    let mut args = Vec::new();
    while args.is_empty() || lexer.eat(",") {
        let simple = lexer.peek_word().and_then(|word| simple_arg(word, body));
        args.push(match simple {
            Some(arg) => {
                lexer.word()?;
                arg
            }
            None => Arg::Literal(parse_literal(lexer)?),
        });
    }
    lexer.expect(")")?;
    if args.len() != op.arity() {
        return Err(lexer.error(format!("{} takes {} operands, {} are given", op.name(), op.arity(), args.len())));
    }
    Ok(Term { op, args })
}

/// Reads a body from a text of our own, such as a row of a table.
pub fn body(text: &str) -> Result<Body, ParseError> {
    let mut lexer = Lexer::new(text);
    let body = parse_body(&mut lexer)?;
    if lexer.done() { Ok(body) } else { Err(lexer.expected("the end")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_print_as_they_read() {
        for text in [
            "{ a }",
            "{ add(a, b) }",
            "{ t0 = add(a, b); max(t0, 0.0) }",
            "{ t0 = mul(a, a); t1 = gt(t0, 1e-7); select(t1, t0, a) }",
            "{ t0 = cast.f32(a); t1 = neg(t0); t0 }",
            "3 { a }",
            "{ add(a, 3:u8) }",
            "{ mul(a, 0.5:f64) }",
            "{ min(a, inf) }",
            "{ max(a, -inf) }",
            "1 { 0.0 }",
            "{ bits.i32(a) }",
        ] {
            let body = body(text).expect(text);
            assert_eq!(print_body(&body), text);
        }
        assert!(body("{ add(a) }").is_err() && body("{ t1 }").is_err() && body("{ frob(a) }").is_err());
    }

    #[test]
    fn literals_keep_their_bits() {
        for l in [
            Literal::f32(-0.0),
            Literal::f32(1e-45),
            Literal::f32(f32::NAN),
            Literal { dtype: Dtype::F32, bits: 0x7fc0_0001 },
            Literal::int(Dtype::U64, -1),
            Literal::int(Dtype::I8, -3),
            Literal::number(Dtype::F16, 0.1),
            Literal::f64(0.1),
        ] {
            let text = print_literal(l);
            assert_eq!(parse_literal(&mut Lexer::new(&text)), Ok(l), "{text}");
        }
    }
}
