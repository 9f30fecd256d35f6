//! `docs/gir.md` says what the tables say, and its example is a graph. `BLESS=1` prints the tables anew.

use ir::graph::op::{ArgKind, Coordinate, CumulateKind, PadMode, ReduceKind, ResizeMode, Rows, ScatterKind, WindowKind};
use ir::graph::{text, verify};
use ir::scalar::{Class, ScalarOp};
use ir::{Dtype, Op};
use std::path::Path;

fn page() -> (std::path::PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gir.md");
    let text = std::fs::read_to_string(&path).expect("the page stands beside the crate");
    (path, text)
}

/// How values of a Rust type are written.
fn spelled(ty: &str) -> String {
    let ty: String = ty.chars().filter(|c| !c.is_whitespace()).collect();
    if let Some(inner) = ty.strip_prefix("Vec<").and_then(|t| t.strip_suffix('>')) {
        return format!("[{}…]", spelled(inner));
    }
    let words = match ty.as_str() {
        "usize" => return "natural".into(),
        "i64" => return "integer".into(),
        "Real" => return "number".into(),
        "bool" | "Dim" | "Literal" | "String" | "Type" => return ty.to_lowercase(),
        "Option<Dim>" => return "dim or `none`".into(),
        "Tensor" => return "elements".into(),
        "PadMode" => PadMode::WORDS,
        "WindowKind" => WindowKind::WORDS,
        "ReduceKind" => ReduceKind::WORDS,
        "ArgKind" => ArgKind::WORDS,
        "CumulateKind" => CumulateKind::WORDS,
        "ScatterKind" => ScatterKind::WORDS,
        "Rows" => Rows::WORDS,
        "ResizeMode" => ResizeMode::WORDS,
        "Coordinate" => Coordinate::WORDS,
        other => panic!("how is a {other} written?"),
    };
    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(" ")
}

fn operators() -> String {
    let mut out = String::from("| operator | operands | attributes | what it computes |\n|---|---|---|---|\n");
    for row in Op::TABLE {
        let attribute = |(name, ty): &(&str, &str)| match *name {
            "body" | "epilogue" => "`do` body".into(),
            "prologue" => "`pre` body".into(),
            "region" => "`turn` graph".into(),
            _ => format!("`{name}`: {}", spelled(ty)),
        };
        let attributes: Vec<String> = row.attributes.iter().map(attribute).collect();
        let operands = match row.arity {
            (low, Some(high)) if low == high => low.to_string(),
            (low, Some(high)) => format!("{low} to {high}"),
            (low, None) => format!("{low} or more"),
        };
        let doc = row.doc.trim().replace('|', "\\|");
        out.push_str(&format!("| `{}` | {operands} | {} | {doc} |\n", row.mnemonic, attributes.join("; ")));
    }
    out
}

fn scalars() -> String {
    let mut out = String::from("| operation | takes | gives |\n|---|---|---|\n");
    for op in ScalarOp::PLAIN.iter().copied().chain([ScalarOp::Cast(Dtype::F32), ScalarOp::Bits(Dtype::I32)]) {
        let takes = match op.class() {
            Class::Number => "numbers of one type",
            Class::Float => "floats of one type",
            Class::Integer => "integers of one type",
            Class::Logic => "bools",
            Class::Compare => "two of one type, to bool",
            Class::Test => "a float, to bool",
            Class::Select => "a bool and two of one type",
            Class::Convert => "any type",
        };
        let suffix = if op.class() == Class::Convert { ".T" } else { "" };
        let args: Vec<&str> = ["a", "b", "c"].into_iter().take(op.arity()).collect();
        out.push_str(&format!("| `{}{suffix}({})` | {takes} | {} |\n", op.name(), args.join(", "), op.doc()));
    }
    out
}

/// The page with what stands between the line that starts with `marker` and the next `<!-- end -->` replaced.
fn with_part(page: &str, marker: &str, part: &str) -> String {
    let start = page.find(marker).unwrap_or_else(|| panic!("{marker} is missing"));
    let start = start + page[start..].find('\n').expect("a marker is a line") + 1;
    let end = start + page[start..].find("<!-- end -->").expect("a marked part ends");
    format!("{}{part}{}", &page[..start], &page[end..])
}

#[test]
fn the_page_has_every_operator_and_attribute() {
    let (path, page) = page();
    let want = with_part(&page, "<!-- operators", &operators());
    let want = with_part(&want, "<!-- scalar operations", &scalars());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &want).expect("the page can be written");
    } else {
        assert!(page == want, "docs/gir.md is older than the tables: run this test with BLESS=1");
    }
}

#[test]
fn the_example_of_the_page_is_a_graph() {
    let (_, page) = page();
    let start = page.find("```gir\n").expect("there is an example") + "```gir\n".len();
    let example = &page[start..start + page[start..].find("```").expect("it ends")];
    let graph = text::parse(example, &|_| None).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(verify::verify(&graph), Ok(()));
    assert_eq!(text::print(&graph), example);
}
