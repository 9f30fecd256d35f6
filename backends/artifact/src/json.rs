//! A description as JSON, for tools that are not C. Plain ASCII: every other character is escaped. It refuses to know JSON beyond
//! writing objects, lists, numbers and texts.

use std::fmt::Write;

use crate::Fault;
use crate::describe::{ABI, Description, Quantization, Tensor};

/// The text of `NAME.json`, with a newline at its end. Fault: a description that contradicts itself.
pub fn json(description: &Description) -> Result<String, Fault> {
    let d = description;
    let kernels = d.contents.kernels.iter().map(|(name, bytes)| format!("{{\"name\": {}, \"bytes\": {bytes}}}", text(name)));
    let mut fields = interface(d)?;
    fields.extend([
        ("arena_bytes", d.arena_bytes.to_string()),
        ("arena_align", d.arena_align.to_string()),
        ("worker_bytes", d.worker_bytes.to_string()),
        ("state_bytes", d.state_bytes.to_string()),
        ("weights_bytes", d.weights_bytes.to_string()),
        ("code_bytes", d.contents.code_bytes.to_string()),
        ("constant_bytes", d.contents.constant_bytes.to_string()),
        ("kernels", list(kernels.collect())),
    ]);
    Ok(object(&fields) + "\n")
}

pub(crate) fn object(fields: &[(&str, String)]) -> String {
    format!("{{\n{}\n}}", fields.iter().map(|(name, value)| format!("  \"{name}\": {value}")).collect::<Vec<_>>().join(",\n"))
}

fn list(items: Vec<String>) -> String {
    if items.is_empty() { "[]".to_owned() } else { format!("[\n    {}\n  ]", items.join(",\n    ")) }
}

/// What goes in and out and under which name, as fields of an object. Fault: a description that contradicts itself.
pub(crate) fn interface(description: &Description) -> Result<Vec<(&'static str, String)>, Fault> {
    let d = description;
    d.check()?;
    let tensors = |all: &[Tensor]| all.iter().map(tensor).collect::<Result<Vec<_>, _>>().map(list);
    let symbols = d.symbols.iter().enumerate().map(|(i, s)| {
        let (name, free) = (text(&s.name), i < d.free_symbols);
        format!("{{\"name\": {name}, \"min\": {}, \"max\": {}, \"free\": {free}}}", s.min, s.max)
    });
    let levels: Vec<String> = d.levels.iter().map(|level| text(level)).collect();
    Ok(vec![
        ("abi", ABI.to_string()),
        ("name", text(&d.name)),
        ("target", text(&d.target)),
        ("levels", format!("[{}]", levels.join(", "))),
        ("compiler", text(&d.compiler)),
        ("inputs", tensors(&d.inputs)?),
        ("outputs", tensors(&d.outputs)?),
        ("symbols", list(symbols.collect())),
    ])
}

fn tensor(tensor: &Tensor) -> Result<String, Fault> {
    let element = tensor.element()?;
    let numbers = |values: Vec<i64>| values.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    let dims = numbers(tensor.dims.iter().map(|d| d.bound).collect());
    let symbols = numbers(tensor.dims.iter().map(|d| d.symbol.map_or(-1, i64::from)).collect());
    let mut out = format!("{{\"name\": {}, \"dtype\": {}, ", text(&tensor.name), tensor.dtype);
    write!(out, "\"type\": {}, \"dims\": [{dims}], \"symbols\": [{symbols}], ", text(element.name)).expect(INFALLIBLE);
    write!(out, "\"bytes\": {}", tensor.bytes).expect(INFALLIBLE);
    if let Some(Quantization { scale, zero_point, axis }) = &tensor.quantization {
        let scale: Vec<String> = scale.iter().map(|s| format!("{s:e}")).collect();
        let (scale, zero_point) = (scale.join(", "), numbers(zero_point.clone()));
        let axis = axis.map_or("null".to_owned(), |axis| axis.to_string());
        write!(out, ", \"quantization\": {{\"scale\": [{scale}], \"zero_point\": [{zero_point}], \"axis\": {axis}}}").expect(INFALLIBLE);
    }
    Ok(out + "}")
}

const INFALLIBLE: &str = "a String takes all that is written";

/// A text in quotes: plain ASCII, and a literal of JSON, JavaScript and TypeScript alike.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect(INFALLIBLE);
                }
            }
        }
    }
    out + "\""
}
