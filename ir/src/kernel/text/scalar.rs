//! Scalar kernels as text. The types of values are left out where they follow from what the values are set
//! to, as they do in every verified kernel that uses all its numbers.

use super::{Out, ParseError, parse_block, parse_f32, parse_f64, parse_number, parse_numbered, peek_numbered, print_f32, print_f64, words};
use crate::kernel::scalar::{Binary, Cell, Expr, ScalarKernel, Stmt, Ty, Unary, Value, type_of};
use crate::tensor::Dtype;
use crate::text::Lexer;

words! { binary parse_binary BINARY Binary {
    IAdd "iadd", ISub "isub", IMul "imul", SDiv "sdiv", UDiv "udiv", SRem "srem", URem "urem",
    And "and", Or "or", Xor "xor", Shl "shl", UShr "ushr", SShr "sshr",
    SMin "smin", SMax "smax", UMin "umin", UMax "umax",
    IEq "ieq", INe "ine", SLt "slt", SLe "sle", ULt "ult", ULe "ule",
    Add "add", Sub "sub", Mul "mul", Div "div", Min "min", Max "max",
    Eq "eq", Ne "ne", Lt "lt", Le "le",
} }

words! { ty parse_ty TYPES Ty { Int "int", F32 "f32", F64 "f64", } }

words! { unary parse_unary UNARY Unary {
    INeg "ineg", INot "inot", Wrap(Dtype::I8) "wrap",
    Neg "neg", Abs "abs", Sqrt "sqrt", Floor "floor", Ceil "ceil", Trunc "trunc", Round "round",
    IntToF32 "int_to_f32", IntToF64 "int_to_f64", UIntToF32 "uint_to_f32", UIntToF64 "uint_to_f64",
    FloatToInt "float_to_int", FloatToUInt "float_to_uint", F32ToF64 "f32_to_f64", F64ToF32 "f64_to_f32",
    F32Bits "f32_bits", F32FromBits "f32_from_bits", F64Bits "f64_bits", F64FromBits "f64_from_bits",
    RoundF16 "round_f16", RoundBF16 "round_bf16",
} }

pub(super) fn print(head: &str, kernel: &ScalarKernel, out: &mut Out) {
    out.block(head, |out| {
        if inferred(&kernel.body, &kernel.cells) != kernel.values {
            out.line(&format!("values {}", types(&kernel.values)));
        }
        if !kernel.cells.is_empty() {
            out.line(&format!("cells {}", types(&kernel.cells)));
        }
        print_stmts(&kernel.body, out);
    });
}

fn types(all: &[Ty]) -> String {
    if all.is_empty() {
        return "none".into();
    }
    all.iter().map(|&t| ty(t)).collect::<Vec<_>>().join(", ")
}

/// The types of values as far as the text shows them: what is set to an expression whose operands fit has its
/// type, everything else is Int.
fn inferred(body: &[Stmt], cells: &[Ty]) -> Vec<Ty> {
    fn walk(body: &[Stmt], cells: &[Ty], values: &mut Vec<Ty>) {
        let set = |value: Value, ty: Ty, values: &mut Vec<Ty>| {
            let at = value.0 as usize;
            // a number beyond all that could be set stays without a type
            if at < 1 << 20 {
                values.resize(values.len().max(at + 1), Ty::Int);
                values[at] = ty;
            }
        };
        for stmt in body {
            match stmt {
                Stmt::Let { to, expr } => {
                    let ty = type_of(expr, values, cells).unwrap_or(Ty::Int);
                    set(*to, ty, values);
                }
                Stmt::For { var, body, .. } => {
                    set(*var, Ty::Int, values);
                    walk(body, cells, values);
                }
                Stmt::If { then, other, .. } => {
                    walk(then, cells, values);
                    walk(other, cells, values);
                }
                Stmt::While { head, body, .. } => {
                    walk(head, cells, values);
                    walk(body, cells, values);
                }
                Stmt::Store { .. } | Stmt::Set { .. } | Stmt::Fail { .. } => {}
            }
        }
    }
    let mut values = Vec::new();
    walk(body, cells, &mut values);
    values
}

fn print_stmts(body: &[Stmt], out: &mut Out) {
    for stmt in body {
        match *stmt {
            Stmt::Let { to, ref expr } => out.line(&format!("v{} = {}", to.0, show(expr))),
            Stmt::Store { arg, dtype, at, value } => out.line(&format!("store {} arg{arg}[v{}] = v{}", dtype.name(), at.0, value.0)),
            Stmt::Set { cell, value } => out.line(&format!("c{} = v{}", cell.0, value.0)),
            Stmt::For { var, from, to, ref body } => {
                out.block(&format!("for v{} in v{}..v{}", var.0, from.0, to.0), |out| print_stmts(body, out));
            }
            Stmt::If { cond, ref then, ref other } => {
                out.block(&format!("if v{}", cond.0), |out| print_stmts(then, out));
                if !other.is_empty() {
                    out.further_block("else", |out| print_stmts(other, out));
                }
            }
            Stmt::While { ref head, cond, ref body } => {
                out.block("loop", |out| print_stmts(head, out));
                out.further_block(&format!("while v{}", cond.0), |out| print_stmts(body, out));
            }
            Stmt::Fail { status } => out.line(&format!("fail {status}")),
        }
    }
}

fn show(expr: &Expr) -> String {
    match *expr {
        Expr::Int(value) => value.to_string(),
        Expr::F32(bits) => format!("f32 {}", print_f32(bits)),
        Expr::F64(bits) => format!("f64 {}", print_f64(bits)),
        Expr::Load { arg, dtype, at } => format!("load {} arg{arg}[v{}]", dtype.name(), at.0),
        Expr::Get(cell) => format!("c{}", cell.0),
        Expr::Unary(Unary::Wrap(dtype), a) => format!("wrap {} v{}", dtype.name(), a.0),
        Expr::Unary(op, a) => format!("{} v{}", unary(op), a.0),
        Expr::Binary(op, a, b) => format!("{} v{}, v{}", binary(op), a.0, b.0),
        Expr::MulAdd(a, b, c) => format!("mul_add v{}, v{}, v{}", a.0, b.0, c.0),
        Expr::Select(a, b, c) => format!("select v{}, v{}, v{}", a.0, b.0, c.0),
        Expr::Require { value, below, status } => format!("require v{} below {below} else {status}", value.0),
    }
}

pub(super) fn parse(lexer: &mut Lexer) -> Result<ScalarKernel, ParseError> {
    lexer.expect("{")?;
    let values = if lexer.eat("values") { Some(parse_types(lexer)?) } else { None };
    let cells = if lexer.eat("cells") { parse_types(lexer)? } else { Vec::new() };
    let mut body = Vec::new();
    while !lexer.eat("}") {
        body.push(parse_stmt(lexer)?);
    }
    let values = values.unwrap_or_else(|| inferred(&body, &cells));
    Ok(ScalarKernel { values, cells, body })
}

fn parse_types(lexer: &mut Lexer) -> Result<Vec<Ty>, ParseError> {
    let mut all = Vec::new();
    if lexer.eat("none") {
        return Ok(all);
    }
    loop {
        let word = lexer.word()?;
        all.push(parse_ty(word).ok_or_else(|| lexer.error(format!("`{word}` is none of {}", types(TYPES))))?);
        if !lexer.eat(",") {
            return Ok(all);
        }
    }
}

fn parse_stmt(lexer: &mut Lexer) -> Result<Stmt, ParseError> {
    if peek_numbered(lexer, "v") {
        let to = parse_v(lexer)?;
        lexer.expect("=")?;
        return Ok(Stmt::Let { to, expr: parse_expr(lexer)? });
    }
    if peek_numbered(lexer, "c") {
        let cell = parse_numbered(lexer, "c").map(Cell)?;
        lexer.expect("=")?;
        return Ok(Stmt::Set { cell, value: parse_v(lexer)? });
    }
    match lexer.word()? {
        "store" => {
            let dtype = parse_dtype(lexer)?;
            let (arg, at) = parse_element(lexer)?;
            lexer.expect("=")?;
            Ok(Stmt::Store { arg, dtype, at, value: parse_v(lexer)? })
        }
        "for" => {
            let var = parse_v(lexer)?;
            lexer.expect("in")?;
            let from = parse_v(lexer)?;
            lexer.expect("..")?;
            Ok(Stmt::For { var, from, to: parse_v(lexer)?, body: parse_block(lexer, parse_stmt)? })
        }
        "if" => {
            let cond = parse_v(lexer)?;
            let then = parse_block(lexer, parse_stmt)?;
            let other = if lexer.eat("else") { parse_block(lexer, parse_stmt)? } else { Vec::new() };
            Ok(Stmt::If { cond, then, other })
        }
        "loop" => {
            let head = parse_block(lexer, parse_stmt)?;
            lexer.expect("while")?;
            Ok(Stmt::While { head, cond: parse_v(lexer)?, body: parse_block(lexer, parse_stmt)? })
        }
        "fail" => Ok(Stmt::Fail { status: parse_number(lexer, "status")? }),
        word => Err(lexer.error(format!("`{word}` begins no statement"))),
    }
}

fn parse_expr(lexer: &mut Lexer) -> Result<Expr, ParseError> {
    if peek_numbered(lexer, "c") {
        return parse_numbered(lexer, "c").map(|c| Expr::Get(Cell(c)));
    }
    if lexer.peek_word().is_none() {
        return lexer.integer().map(Expr::Int);
    }
    match lexer.word()? {
        "f32" => parse_f32(lexer).map(Expr::F32),
        "f64" => parse_f64(lexer).map(Expr::F64),
        "load" => {
            let dtype = parse_dtype(lexer)?;
            let (arg, at) = parse_element(lexer)?;
            Ok(Expr::Load { arg, dtype, at })
        }
        "wrap" => Ok(Expr::Unary(Unary::Wrap(parse_dtype(lexer)?), parse_v(lexer)?)),
        "mul_add" => parse_three(lexer).map(|(a, b, c)| Expr::MulAdd(a, b, c)),
        "select" => parse_three(lexer).map(|(a, b, c)| Expr::Select(a, b, c)),
        "require" => {
            let value = parse_v(lexer)?;
            lexer.expect("below")?;
            let below = lexer.integer()?;
            lexer.expect("else")?;
            Ok(Expr::Require { value, below, status: parse_number(lexer, "status")? })
        }
        word => match (parse_binary(word), parse_unary(word)) {
            (Some(op), _) => {
                let a = parse_v(lexer)?;
                lexer.expect(",")?;
                Ok(Expr::Binary(op, a, parse_v(lexer)?))
            }
            (None, Some(op)) => Ok(Expr::Unary(op, parse_v(lexer)?)),
            (None, None) => Err(lexer.error(format!("`{word}` is no operation"))),
        },
    }
}

fn parse_three(lexer: &mut Lexer) -> Result<(Value, Value, Value), ParseError> {
    let a = parse_v(lexer)?;
    lexer.expect(",")?;
    let b = parse_v(lexer)?;
    lexer.expect(",")?;
    Ok((a, b, parse_v(lexer)?))
}

fn parse_v(lexer: &mut Lexer) -> Result<Value, ParseError> {
    parse_numbered(lexer, "v").map(Value)
}

/// `arg0[v1]`.
fn parse_element(lexer: &mut Lexer) -> Result<(u8, Value), ParseError> {
    let arg = parse_numbered(lexer, "arg")?;
    lexer.expect("[")?;
    let at = parse_v(lexer)?;
    lexer.expect("]")?;
    Ok((arg, at))
}

fn parse_dtype(lexer: &mut Lexer) -> Result<Dtype, ParseError> {
    let word = lexer.word()?;
    Dtype::from_name(word).ok_or_else(|| lexer.error(format!("`{word}` is not an element type")))
}
