//! Tile kernels as text. The lane count that most statements have stands once, in the head; others name theirs.

use super::{Out, ParseError, parse_block, parse_f32, parse_number, parse_numbered, peek_numbered, print_f32, words};
use crate::kernel::tile::{At, Binary, Compare, Dot4, Narrow, Operand, P, Stmt, TileKernel, Unary, V};
use crate::text::Lexer;

words! { binary parse_binary BINARY Binary {
    Add "add", Sub "sub", Mul "mul", Div "div", Min "min", Max "max",
    And "and", Or "or", Xor "xor", AndNot "and_not",
    IAdd "iadd", ISub "isub", IMul "imul", IMin "imin", IMax "imax",
    Add16 "add16", PairSat "pair_sat", Pair16 "pair16", MulLow8 "mul_low8", MulHigh8 "mul_high8",
    IAddPairs "iadd_pairs", LowHalves "low_halves", HighHalves "high_halves",
    LowLanes "low_lanes", HighLanes "high_lanes",
    MaxU8 "max_u8", MaxI8 "max_i8", ZipLow8 "zip_low8", ZipHigh8 "zip_high8", ZipLow16 "zip_low16", ZipHigh16 "zip_high16",
    PackI16 "pack_i16", PackU8 "pack_u8", PackI8 "pack_i8",
} }

words! { dot4 parse_dot4 DOT4 Dot4 {
    U8S8 "dot_u8s8", S8S8 "dot_s8s8",
} }

words! { matrix parse_matrix MATRIX Dot4 {
    U8S8 "matrix_u8s8", S8S8 "matrix_s8s8",
} }

words! { compare parse_compare COMPARE Compare {
    Eq "eq", Ne "ne", Lt "lt", Le "le", Unordered "unordered", IEq "ieq", ILt "ilt",
} }

words! { narrow parse_narrow NARROW Narrow {
    U8 "u8", I8 "i8", U16 "u16", I16 "i16",
} }

words! { unary parse_unary UNARY Unary {
    Neg "neg", Abs "abs", Sqrt "sqrt", Floor "floor", Ceil "ceil", Trunc "trunc", Round "round",
    ToInt "to_int", FromInt "from_int", Shl(0) "shl", Shr(0) "shr", Sar(0) "sar",
    Spread(0) "spread", LowI8 "low_i8", LowU8 "low_u8", Abs8 "abs8", Negative8 "negative8",
} }

pub(super) fn print(head: &str, kernel: &TileKernel, out: &mut Out) {
    let usual = usual_lanes(&kernel.body);
    let head = if usual > 0 { format!("{head} lanes {usual}") } else { head.into() };
    out.block(&head, |out| kernel.body.iter().for_each(|stmt| print_stmt(stmt, usual, out)));
}

/// The most frequent lane count; the larger of two that are equally frequent; 0 where no statement has one.
fn usual_lanes(body: &[Stmt]) -> u8 {
    fn count(body: &[Stmt], counts: &mut [usize; 256]) {
        for stmt in body {
            match stmt {
                Stmt::Loop { body, .. } => count(body, counts),
                Stmt::Load { lanes, .. }
                | Stmt::LoadNarrow { lanes, .. }
                | Stmt::Gather { lanes, .. }
                | Stmt::Store { lanes, .. }
                | Stmt::StoreNarrow { lanes, .. }
                | Stmt::Scatter { lanes, .. } => {
                    counts[*lanes as usize] += 1;
                }
                Stmt::Point { .. }
                | Stmt::Advance { .. }
                | Stmt::LoadQuads { .. }
                | Stmt::StoreQuads { .. }
                | Stmt::Prefetch { .. }
                | Stmt::Set { .. }
                | Stmt::Copy { .. }
                | Stmt::Splat { .. }
                | Stmt::SplatNarrow { .. }
                | Stmt::MulAdd { .. }
                | Stmt::Dot4 { .. }
                | Stmt::Matrix2x8 { .. }
                | Stmt::MulAdd8 { .. }
                | Stmt::PairAdd { .. }
                | Stmt::Horner { .. }
                | Stmt::Unary { .. }
                | Stmt::Binary { .. }
                | Stmt::Select { .. }
                | Stmt::Lookup { .. }
                | Stmt::Fold { .. } => {}
            }
        }
    }
    let mut counts = [0; 256];
    count(body, &mut counts);
    (0..=255).max_by_key(|&lanes| (counts[lanes as usize], if counts[lanes as usize] == 0 { 0 } else { lanes })).unwrap_or(0)
}

fn show(operand: Operand) -> String {
    match operand {
        Operand::V(V(v)) => format!("v{v}"),
        Operand::Memory(at) => show_at(at),
        Operand::Splat(at) => format!("splat {}", show_at(at)),
        Operand::Bits(bits) => print_f32(bits),
        Operand::Lane(V(v), lane) => format!("v{v}[{lane}]"),
    }
}

fn show_at(at: At) -> String {
    format!("p{}[{}]", at.p.0, at.offset)
}

/// ` + 24`, ` - 24`.
fn show_offset(by: i64) -> String {
    format!("{} {}", if by < 0 { '-' } else { '+' }, by.unsigned_abs())
}

fn print_stmt(stmt: &Stmt, usual: u8, out: &mut Out) {
    let some = |lanes: u8| if lanes == usual && usual > 0 { String::new() } else { format!(" lanes {lanes}") };
    let line = match *stmt {
        Stmt::Loop { times, ref body } => {
            return out.block(&format!("loop {times}"), |out| body.iter().for_each(|stmt| print_stmt(stmt, usual, out)));
        }
        Stmt::Point { to, from, offset } => format!("p{} = p{} {}", to.0, from.0, show_offset(offset)),
        Stmt::Advance { p, by } if by < 0 => format!("p{} -= {}", p.0, by.unsigned_abs()),
        Stmt::Advance { p, by } => format!("p{} += {by}", p.0),
        Stmt::Set { to, bits } => format!("v{} = set {}", to.0, print_f32(bits)),
        Stmt::Copy { to, from } => format!("v{} = v{}", to.0, from.0),
        Stmt::Load { to, at, lanes } => format!("v{} = load {}{}", to.0, show_at(at), some(lanes)),
        Stmt::Splat { to, at } => format!("v{} = splat {}", to.0, show_at(at)),
        Stmt::LoadNarrow { to, at, lanes, kind } => format!("v{} = load {} {}{}", to.0, narrow(kind), show_at(at), some(lanes)),
        Stmt::SplatNarrow { to, at, kind } => format!("v{} = splat {} {}", to.0, narrow(kind), show_at(at)),
        Stmt::StoreNarrow { from, at, lanes, kind } => format!("{} = {} v{}{}", show_at(at), narrow(kind), from.0, some(lanes)),
        Stmt::Gather { to, at, stride, lanes } => format!("v{} = gather {} by {stride}{}", to.0, show_at(at), some(lanes)),
        Stmt::Store { from, at, lanes } => format!("{} = v{}{}", show_at(at), from.0, some(lanes)),
        Stmt::Scatter { from, at, stride, lanes } => format!("scatter {} by {stride} = v{}{}", show_at(at), from.0, some(lanes)),
        Stmt::LoadQuads { to, at, stride } => format!("v{} = quads {} by {stride}", to.0, show_at(at)),
        Stmt::StoreQuads { from, at, stride } => format!("quads {} by {stride} = v{}", show_at(at), from.0),
        Stmt::MulAdd { acc, a, b, negate } => format!("v{} {} v{} * {}", acc.0, if negate { "-=" } else { "+=" }, a.0, show(b)),
        Stmt::Dot4 { kind, acc, a, b } => format!("v{} += {} v{}, {}", acc.0, dot4(kind), a.0, show(b)),
        Stmt::Matrix2x8 { kind, acc, a, b } => format!("v{} += {} v{}, v{}", acc.0, matrix(kind), a.0, b.0),
        Stmt::MulAdd8 { high, acc, a, b } => format!("v{} += {} v{}, v{}", acc.0, long8(high), a.0, b.0),
        Stmt::PairAdd { acc, a } => format!("v{} += pairs v{}", acc.0, a.0),
        Stmt::Horner { acc, x, c } => format!("v{} *= v{} + {}", acc.0, x.0, show(c)),
        Stmt::Unary { op, to, a } => match op {
            Unary::Shl(by) | Unary::Shr(by) | Unary::Sar(by) | Unary::Spread(by) => format!("v{} = {} v{}, {by}", to.0, unary(op), a.0),
            _ => format!("v{} = {} v{}", to.0, unary(op), a.0),
        },
        Stmt::Binary { op, to, a, b } => format!("v{} = {} v{}, {}", to.0, binary(op), a.0, show(b)),
        Stmt::Select { to, cmp, x, y, a, b } => {
            format!("v{} = select {} v{}, {} ? v{} : v{}", to.0, compare(cmp), x.0, show(y), a.0, b.0)
        }
        Stmt::Prefetch { at } => format!("prefetch {}", show_at(at)),
        Stmt::Lookup { to, a, table, temps: [s, t] } => {
            format!("v{} = lookup v{} in {} temp v{}, v{}", to.0, a.0, show_at(table), s.0, t.0)
        }
        Stmt::Fold { op, to, from, temp } => format!("v{} = fold {} v{} temp v{}", to.0, binary(op), from.0, temp.0),
    };
    out.line(&line);
}

pub(super) fn parse(lexer: &mut Lexer) -> Result<TileKernel, ParseError> {
    let usual = if lexer.eat("lanes") { parse_number(lexer, "lane count")? } else { 0 };
    Ok(TileKernel { body: parse_block(lexer, |lexer| parse_stmt(lexer, usual))? })
}

fn parse_stmt(lexer: &mut Lexer, usual: u8) -> Result<Stmt, ParseError> {
    if lexer.eat("loop") {
        let times = parse_number(lexer, "trip count")?;
        return Ok(Stmt::Loop { times, body: parse_block(lexer, |lexer| parse_stmt(lexer, usual))? });
    }
    if lexer.eat("prefetch") {
        return Ok(Stmt::Prefetch { at: parse_at(lexer)? });
    }
    if lexer.eat("scatter") {
        let at = parse_at(lexer)?;
        let stride = parse_stride(lexer)?;
        lexer.expect("=")?;
        return Ok(Stmt::Scatter { from: parse_v(lexer)?, at, stride, lanes: parse_lanes(lexer, usual)? });
    }
    if lexer.eat("quads") {
        let at = parse_at(lexer)?;
        let stride = parse_stride(lexer)?;
        lexer.expect("=")?;
        return Ok(Stmt::StoreQuads { from: parse_v(lexer)?, at, stride });
    }
    if peek_numbered(lexer, "p") {
        return parse_pointer_stmt(lexer, usual);
    }
    let to = parse_v(lexer)?;
    if lexer.eat("+=") {
        return parse_sum(lexer, to);
    }
    if lexer.eat("-=") {
        return parse_mul_add(lexer, to, true);
    }
    if lexer.eat("*=") {
        let x = parse_v(lexer)?;
        lexer.expect("+")?;
        return Ok(Stmt::Horner { acc: to, x, c: parse_operand(lexer)? });
    }
    lexer.expect("=")?;
    if peek_numbered(lexer, "v") {
        return Ok(Stmt::Copy { to, from: parse_v(lexer)? });
    }
    let word = lexer.word()?;
    match word {
        "set" => Ok(Stmt::Set { to, bits: parse_f32(lexer)? }),
        "load" => {
            let kind = parse_kind(lexer);
            let (at, lanes) = (parse_at(lexer)?, parse_lanes(lexer, usual)?);
            Ok(kind.map_or(Stmt::Load { to, at, lanes }, |kind| Stmt::LoadNarrow { to, at, lanes, kind }))
        }
        "splat" => {
            let kind = parse_kind(lexer);
            let at = parse_at(lexer)?;
            Ok(kind.map_or(Stmt::Splat { to, at }, |kind| Stmt::SplatNarrow { to, at, kind }))
        }
        "gather" => Ok(Stmt::Gather { to, at: parse_at(lexer)?, stride: parse_stride(lexer)?, lanes: parse_lanes(lexer, usual)? }),
        "quads" => Ok(Stmt::LoadQuads { to, at: parse_at(lexer)?, stride: parse_stride(lexer)? }),
        "select" => parse_select(lexer, to),
        "lookup" => {
            let a = parse_v(lexer)?;
            lexer.expect("in")?;
            let table = parse_at(lexer)?;
            lexer.expect("temp")?;
            let first = parse_v(lexer)?;
            lexer.expect(",")?;
            Ok(Stmt::Lookup { to, a, table, temps: [first, parse_v(lexer)?] })
        }
        "fold" => {
            let word = lexer.word()?;
            let Some(op) = parse_binary(word) else { return Err(lexer.error(format!("`{word}` is no operation"))) };
            let from = parse_v(lexer)?;
            lexer.expect("temp")?;
            Ok(Stmt::Fold { op, to, from, temp: parse_v(lexer)? })
        }
        word => parse_operation(lexer, to, word),
    }
}

/// Products of bytes, of the first or of the last in a vector.
pub(super) fn long8(high: bool) -> &'static str {
    binary(if high { Binary::MulHigh8 } else { Binary::MulLow8 })
}

/// What is added to a register.
fn parse_sum(lexer: &mut Lexer, acc: V) -> Result<Stmt, ParseError> {
    if peek_numbered(lexer, "v") {
        return parse_mul_add(lexer, acc, false);
    }
    let word = lexer.word()?;
    let a = parse_v(lexer)?;
    if word == "pairs" {
        return Ok(Stmt::PairAdd { acc, a });
    }
    lexer.expect(",")?;
    match (parse_dot4(word), parse_matrix(word)) {
        (Some(kind), _) => Ok(Stmt::Dot4 { kind, acc, a, b: parse_operand(lexer)? }),
        (None, Some(kind)) => Ok(Stmt::Matrix2x8 { kind, acc, a, b: parse_v(lexer)? }),
        (None, None) if [false, true].map(long8).contains(&word) => {
            Ok(Stmt::MulAdd8 { high: word == long8(true), acc, a, b: parse_v(lexer)? })
        }
        (None, None) => Err(lexer.error(format!("`{word}` is no sum"))),
    }
}

fn parse_mul_add(lexer: &mut Lexer, acc: V, negate: bool) -> Result<Stmt, ParseError> {
    let a = parse_v(lexer)?;
    lexer.expect("*")?;
    Ok(Stmt::MulAdd { acc, a, b: parse_operand(lexer)?, negate })
}

/// What begins with a pointer.
fn parse_pointer_stmt(lexer: &mut Lexer, usual: u8) -> Result<Stmt, ParseError> {
    let p = P(parse_numbered(lexer, "p")?);
    if lexer.eat("+=") {
        return Ok(Stmt::Advance { p, by: parse_magnitude(lexer, false)? });
    }
    if lexer.eat("-=") {
        return Ok(Stmt::Advance { p, by: parse_magnitude(lexer, true)? });
    }
    if lexer.eat("=") {
        let from = P(parse_numbered(lexer, "p")?);
        let negative = lexer.eat("-");
        if !negative {
            lexer.expect("+")?;
        }
        return Ok(Stmt::Point { to: p, from, offset: parse_magnitude(lexer, negative)? });
    }
    let at = parse_offset(lexer, p)?;
    lexer.expect("=")?;
    let kind = parse_kind(lexer);
    let (from, lanes) = (parse_v(lexer)?, parse_lanes(lexer, usual)?);
    Ok(kind.map_or(Stmt::Store { from, at, lanes }, |kind| Stmt::StoreNarrow { from, at, lanes, kind }))
}

/// `u8` and its kin, if one of them comes next.
fn parse_kind(lexer: &mut Lexer) -> Option<Narrow> {
    let kind = lexer.peek_word().and_then(parse_narrow)?;
    lexer.eat(narrow(kind));
    Some(kind)
}

fn parse_select(lexer: &mut Lexer, to: V) -> Result<Stmt, ParseError> {
    let word = lexer.word()?;
    let Some(cmp) = parse_compare(word) else { return Err(lexer.error(format!("`{word}` is no comparison"))) };
    let x = parse_v(lexer)?;
    lexer.expect(",")?;
    let y = parse_operand(lexer)?;
    lexer.expect("?")?;
    let a = parse_v(lexer)?;
    lexer.expect(":")?;
    Ok(Stmt::Select { to, cmp, x, y, a, b: parse_v(lexer)? })
}

fn parse_operation(lexer: &mut Lexer, to: V, word: &str) -> Result<Stmt, ParseError> {
    if let Some(op) = parse_binary(word) {
        let a = parse_v(lexer)?;
        lexer.expect(",")?;
        return Ok(Stmt::Binary { op, to, a, b: parse_operand(lexer)? });
    }
    let Some(op) = parse_unary(word) else { return Err(lexer.error(format!("`{word}` is no operation"))) };
    let a = parse_v(lexer)?;
    let by = |lexer: &mut Lexer| {
        lexer.expect(",")?;
        parse_number(lexer, "shift")
    };
    let op = match op {
        Unary::Shl(_) => Unary::Shl(by(lexer)?),
        Unary::Shr(_) => Unary::Shr(by(lexer)?),
        Unary::Sar(_) => Unary::Sar(by(lexer)?),
        Unary::Spread(_) => Unary::Spread(by(lexer)?),
        other => other,
    };
    Ok(Stmt::Unary { op, to, a })
}

fn parse_operand(lexer: &mut Lexer) -> Result<Operand, ParseError> {
    if lexer.eat("splat") {
        return parse_at(lexer).map(Operand::Splat);
    }
    if peek_numbered(lexer, "p") {
        return parse_at(lexer).map(Operand::Memory);
    }
    if !peek_numbered(lexer, "v") {
        return parse_f32(lexer).map(Operand::Bits);
    }
    let v = parse_v(lexer)?;
    if !lexer.eat("[") {
        return Ok(Operand::V(v));
    }
    let lane = parse_number(lexer, "lane")?;
    lexer.expect("]")?;
    Ok(Operand::Lane(v, lane))
}

fn parse_v(lexer: &mut Lexer) -> Result<V, ParseError> {
    parse_numbered(lexer, "v").map(V)
}

fn parse_at(lexer: &mut Lexer) -> Result<At, ParseError> {
    let p = P(parse_numbered(lexer, "p")?);
    parse_offset(lexer, p)
}

fn parse_offset(lexer: &mut Lexer, p: P) -> Result<At, ParseError> {
    lexer.expect("[")?;
    let offset = parse_number(lexer, "offset")?;
    lexer.expect("]")?;
    Ok(At { p, offset })
}

fn parse_magnitude(lexer: &mut Lexer, negative: bool) -> Result<i64, ParseError> {
    let text = lexer.number()?;
    let offset = text.parse().ok().map(|magnitude: u64| if negative { -i128::from(magnitude) } else { magnitude.into() });
    offset.and_then(|offset| i64::try_from(offset).ok()).ok_or_else(|| lexer.error(format!("`{text}` is no offset")))
}

fn parse_stride(lexer: &mut Lexer) -> Result<i32, ParseError> {
    lexer.expect("by")?;
    parse_number(lexer, "stride")
}

fn parse_lanes(lexer: &mut Lexer, usual: u8) -> Result<u8, ParseError> {
    match (lexer.eat("lanes"), usual) {
        (true, _) => parse_number(lexer, "lane count"),
        (false, 0) => Err(lexer.expected("`lanes`, which the head does not say")),
        (false, usual) => Ok(usual),
    }
}
