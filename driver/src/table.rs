//! Tables for people and the same as JSON for programs. It knows how text is laid out, not what it says.

use std::fmt;

/// A JSON value; objects keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub fn object<const N: usize>(fields: [(&str, Json); N]) -> Json {
        Json::Object(fields.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
    }

    /// Indented by two, for reading and for machines alike.
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out.push('\n');
        out
    }

    fn write(&self, out: &mut String, indent: usize) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Int(value) => out.push_str(&value.to_string()),
            // JSON has neither infinities nor NaN
            Json::Number(value) if value.is_finite() => out.push_str(&format!("{value:?}")),
            Json::Number(_) => out.push_str("null"),
            Json::Text(text) => quote(text, out),
            Json::List(items) => block(out, indent, ['[', ']'], items, |item, out| item.write(out, indent + 1)),
            Json::Object(fields) => block(out, indent, ['{', '}'], fields, |(name, value), out| {
                quote(name, out);
                out.push_str(": ");
                value.write(out, indent + 1);
            }),
        }
    }

    fn is_flat(&self) -> bool {
        !matches!(self, Json::List(_) | Json::Object(_))
    }
}

/// A list of plain values stays on one line.
fn block<T: Item>(out: &mut String, indent: usize, ends: [char; 2], items: &[T], write: impl Fn(&T, &mut String)) {
    let inline = items.iter().all(T::is_short);
    out.push(ends[0]);
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push_str(if inline { ", " } else { "," });
        }
        if !inline {
            out.push('\n');
            out.push_str(&"  ".repeat(indent + 1));
        }
        write(item, out);
    }
    if !inline {
        out.push('\n');
        out.push_str(&"  ".repeat(indent));
    }
    out.push(ends[1]);
}

trait Item {
    fn is_short(&self) -> bool;
}
impl Item for Json {
    fn is_short(&self) -> bool {
        self.is_flat()
    }
}
impl Item for (String, Json) {
    fn is_short(&self) -> bool {
        false
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::Text(text.into())
    }
}
impl From<String> for Json {
    fn from(text: String) -> Json {
        Json::Text(text)
    }
}
impl From<bool> for Json {
    fn from(value: bool) -> Json {
        Json::Bool(value)
    }
}
impl From<f64> for Json {
    fn from(value: f64) -> Json {
        Json::Number(value)
    }
}
impl From<u64> for Json {
    fn from(value: u64) -> Json {
        i64::try_from(value).map_or(Json::Number(value as f64), Json::Int)
    }
}
impl From<usize> for Json {
    fn from(value: usize) -> Json {
        Json::from(value as u64)
    }
}
impl From<i32> for Json {
    fn from(value: i32) -> Json {
        Json::Int(value.into())
    }
}
impl<T: Into<Json>> From<Vec<T>> for Json {
    fn from(items: Vec<T>) -> Json {
        Json::List(items.into_iter().map(Into::into).collect())
    }
}

/// A cell: what a person reads, and what a program does.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    json: Json,
    right: bool,
}

/// A word.
pub fn word(text: impl Into<String>) -> Cell {
    let text = text.into();
    Cell { json: Json::Text(text.clone()), text, right: false }
}

/// Several things in one cell: joined for people, a list for programs.
pub fn list<T: Into<Json>>(items: Vec<T>, text: String) -> Cell {
    Cell { json: items.into(), text, right: false }
}

/// A count, as it is.
pub fn count(value: u64) -> Cell {
    Cell { text: value.to_string(), json: value.into(), right: true }
}

/// A number with so many digits behind the point.
pub fn number(value: f64, digits: usize) -> Cell {
    Cell { text: format!("{value:.digits$}"), json: value.into(), right: true }
}

/// A number of any size, three digits of it.
pub fn scientific(value: f64) -> Cell {
    let text = if value == 0.0 { "0".into() } else { format!("{value:.2e}") };
    Cell { text, json: value.into(), right: true }
}

pub fn flag(value: bool, yes: &str, no: &str) -> Cell {
    Cell { text: if value { yes } else { no }.into(), json: value.into(), right: false }
}

/// Rows under names.
#[derive(Clone, Debug)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new(head: &[&'static str]) -> Table {
        Table { head: head.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        assert_eq!(cells.len(), self.head.len(), "a cell for every column");
        self.rows.push(cells);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A list of objects, named by the columns.
    pub fn json(&self) -> Json {
        let object = |row: &Vec<Cell>| {
            Json::Object(self.head.iter().zip(row).map(|(name, cell)| (name.replace(' ', "_"), cell.json.clone())).collect())
        };
        Json::List(self.rows.iter().map(object).collect())
    }

    /// As a table of a Markdown page.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut out = line(self.head.iter().map(|h| h.to_string()).collect());
        out.push_str(&format!("|{}\n", "---|".repeat(self.head.len())));
        for row in &self.rows {
            out.push_str(&line(row.iter().map(|c| c.text.replace('|', "\\|")).collect()));
        }
        out
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let right = |c: usize| !self.rows.is_empty() && self.rows.iter().all(|r| r[c].right);
        let long = |text: &str| text.chars().count();
        let width = |c: usize| self.rows.iter().map(|r| long(&r[c].text)).chain([long(self.head[c])]).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let head: Vec<&str> = self.head.clone();
        let rows = self.rows.iter().map(|r| r.iter().map(|c| c.text.as_str()).collect());
        for cells in std::iter::once(head).chain(rows) {
            let mut line = String::new();
            for (c, text) in cells.iter().enumerate() {
                let pad = " ".repeat(widths[c] - long(text));
                line.push_str(if c > 0 { "  " } else { "" });
                line.push_str(&if right(c) { format!("{pad}{text}") } else { format!("{text}{pad}") });
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Bytes as people say them.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up_and_becomes_json() {
        let mut table = Table::new(&["name", "max error"]);
        table.row(vec![word("a\"b"), scientific(0.00012)]);
        table.row(vec![word("longer"), scientific(0.0)]);
        assert_eq!(table.to_string(), "name    max error\na\"b       1.20e-4\nlonger          0\n");
        let json = "[\n  {\n    \"name\": \"a\\\"b\",\n    \"max_error\": 0.00012\n  },\n  {\n    \"name\": \"longer\",\n    \"max_error\": 0.0\n  }\n]\n";
        assert_eq!(table.json().pretty(), json);
        assert_eq!(table.markdown(), "| name | max error |\n|---|---|\n| a\"b | 1.20e-4 |\n| longer | 0 |\n");
    }

    #[test]
    fn json_has_no_infinities_and_short_lists_stay_short() {
        let mut table = Table::new(&["emit"]);
        table.row(vec![list(vec!["a", "so"], "a,so".into())]);
        assert_eq!(
            (table.to_string().as_str(), table.json().pretty().as_str()),
            ("emit\na,so\n", "[\n  {\n    \"emit\": [\"a\", \"so\"]\n  }\n]\n")
        );
        let value = Json::object([("x", Json::Number(f64::INFINITY)), ("l", vec![1u64, 2].into())]);
        assert_eq!(value.pretty(), "{\n  \"x\": null,\n  \"l\": [1, 2]\n}\n");
    }
}
