//! Names from models, which may be anything, as text that may stand in C. It refuses to know what they name.

use std::collections::BTreeSet;

/// Characters that survive of a name. C promises 31 for linkers and 63 within a file; every compiler in use takes more.
const LONGEST: usize = 60;

/// Words of C up to C23 and of C++ up to C++20, and what common headers define as macros.
const TAKEN: &[&str] = &[
    "NULL",
    "alignas",
    "alignof",
    "and",
    "and_eq",
    "asm",
    "assert",
    "auto",
    "bitand",
    "bitor",
    "bool",
    "break",
    "case",
    "catch",
    "char",
    "char16_t",
    "char32_t",
    "char8_t",
    "class",
    "co_await",
    "co_return",
    "co_yield",
    "compl",
    "concept",
    "const",
    "const_cast",
    "consteval",
    "constexpr",
    "constinit",
    "continue",
    "decltype",
    "default",
    "delete",
    "do",
    "double",
    "dynamic_cast",
    "else",
    "enum",
    "errno",
    "explicit",
    "export",
    "extern",
    "false",
    "float",
    "for",
    "fortran",
    "friend",
    "goto",
    "if",
    "inline",
    "int",
    "linux",
    "long",
    "mutable",
    "namespace",
    "new",
    "noexcept",
    "not",
    "not_eq",
    "nullptr",
    "offsetof",
    "operator",
    "or",
    "or_eq",
    "private",
    "protected",
    "public",
    "register",
    "reinterpret_cast",
    "requires",
    "restrict",
    "return",
    "short",
    "signed",
    "sizeof",
    "static",
    "static_assert",
    "static_cast",
    "stderr",
    "stdin",
    "stdout",
    "struct",
    "switch",
    "template",
    "this",
    "thread_local",
    "throw",
    "true",
    "try",
    "typedef",
    "typeid",
    "typename",
    "typeof",
    "typeof_unqual",
    "union",
    "unix",
    "unsigned",
    "using",
    "virtual",
    "void",
    "volatile",
    "wchar_t",
    "while",
    "xor",
    "xor_eq",
];

/// A C and C++ identifier that resembles `text`: ASCII letters, digits and single underscores, none at the ends, at most 60
/// characters, no word of the languages, nothing that the header's own `maquette_*` names could be. The identity on its results.
pub fn c_identifier(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }) {
        if c != '_' || !(name.is_empty() || name.ends_with('_')) {
            name.push(c);
        }
        if name.len() == LONGEST {
            break;
        }
    }
    name.truncate(name.trim_end_matches('_').len());
    let lower = name.to_ascii_lowercase();
    if name.is_empty() {
        name.push_str("unnamed");
    } else if name.starts_with(|c: char| c.is_ascii_digit())
        || TAKEN.binary_search(&name.as_str()).is_ok()
        || lower == "maquette"
        || lower.starts_with("maquette_")
    {
        name.insert_str(0, "n_");
        name.truncate(LONGEST);
        name.truncate(name.trim_end_matches('_').len());
    }
    name
}

/// An identifier for each text, all different and none in `taken`: the second of equal ones becomes `NAME_2`.
pub(crate) fn distinct<'a>(texts: impl Iterator<Item = &'a str>, mut taken: BTreeSet<String>) -> Vec<String> {
    let mut names = Vec::new();
    for text in texts {
        let base = c_identifier(text);
        let mut name = base.clone();
        for number in 2.. {
            if taken.insert(name.clone()) {
                break;
            }
            name = format!("{base}_{number}");
        }
        names.push(name);
    }
    names
}

/// `text` for people to read within a C comment: printable ASCII as it is, but nothing that ends or opens a comment, continues
/// a line or makes a trigraph; any other character as its code point; cut after about 80 characters.
pub(crate) fn for_comment(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        if shown.len() > 80 {
            return format!("{shown}... ({} bytes)", text.len());
        }
        match c {
            '*' | '?' | '\\' => shown.push_str(&format!("<U+{:04X}>", u32::from(c))),
            ' '..='~' => shown.push(c),
            _ => shown.push_str(&format!("<U+{:04X}>", u32::from(c))),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        assert!(TAKEN.is_sorted(), "it is searched by halves");
        let long = "é".repeat(10) + &"x_".repeat(40_000);
        for (text, name) in [
            ("image", "image"),
            ("x::0", "x_0"),
            ("input.1", "input_1"),
            ("/model/conv1/Conv_output_0", "model_conv1_Conv_output_0"),
            ("", "unnamed"),
            ("__", "unnamed"),
            ("名前", "unnamed"),
            ("\u{202e}x\u{0}", "x"),
            ("2x", "n_2x"),
            ("int", "n_int"),
            ("Maquette", "n_Maquette"),
            ("maquette_tensor", "n_maquette_tensor"),
            ("maquettes", "maquettes"),
            ("a__b_", "a_b"),
            ("*/ int evil;", "int_evil"),
            (&long, &"x_".repeat(30)[..59]),
        ] {
            assert_eq!(c_identifier(text), name, "{text:.40}");
            assert_eq!(c_identifier(name), name);
        }
        for text in [format!("9{}", "_a".repeat(80)), "1".repeat(100)] {
            assert_eq!(c_identifier(&c_identifier(&text)), c_identifier(&text));
        }
    }

    #[test]
    fn equal_names_are_told_apart() {
        let texts = ["a", "a_2", "a.", "a", "A", "taken"];
        let names = distinct(texts.into_iter(), BTreeSet::from(["taken".to_owned()]));
        assert_eq!(names, ["a", "a_2", "a_3", "a_4", "A", "taken_2"]);
    }

    #[test]
    fn comments_stay_comments() {
        assert_eq!(for_comment("a*/b/*c??/\\\n\u{202e}"), "a<U+002A>/b/<U+002A>c<U+003F><U+003F>/<U+005C><U+000A><U+202E>");
        let cut = for_comment(&"é".repeat(65536));
        assert!(cut.len() < 110 && cut.ends_with("... (131072 bytes)"), "{cut}");
    }
}
