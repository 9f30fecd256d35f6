//! A description as JavaScript: `NAME.mjs` loads the modules `NAME.LEVEL.wasm` and shows their memory as typed arrays by the
//! tensors' names, `NAME.d.ts` gives these their types. Both are templates beside this file; what is filled in is ASCII, and a
//! name from a model stands only within quotes. It refuses to know what the modules compute, and to trust a name.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::describe::{Description, Tensor};
use crate::json::{interface, object, text};
use crate::name::for_comment;
use crate::{Fault, header};

mod print;

pub use print::{Print, seal};

const MODULE: &str = include_str!("web/model.mjs");
const TYPES: &str = include_str!("web/model.d.ts");

/// The name of the module of one CPU level: `digits.simd128.wasm`.
pub fn module_file(description: &Description, level: &str) -> String {
    format!("{}.{level}.wasm", description.name)
}

/// The text of `NAME.mjs`. It looks for [`module_file`] of each level, and for `NAME.bin` if there are weights in a file, and takes
/// only those of the description's fingerprints.
/// Fault: a description that contradicts itself, two inputs or two outputs of one name, a level other than `simd128`, `relaxed`, or
/// not a fingerprint per file.
pub fn mjs(description: &Description) -> Result<String, Fault> {
    let d = description;
    let mut fields = interface(d)?;
    check(d)?;
    fields.push(("state_bytes", d.state_bytes.to_string()));
    fields.push(("weights_bytes", d.weights_bytes.to_string()));
    let mut files: Vec<String> = d.levels.iter().map(|level| module_file(d, level)).collect();
    files.extend((d.weights_bytes > 0).then(|| format!("{}.bin", d.name)));
    if d.fingerprints.len() != files.len() {
        return Err(Fault::Describe(format!("{} fingerprints for {} files", d.fingerprints.len(), files.len())));
    }
    let prints = files.iter().zip(&d.fingerprints).map(|(file, print)| format!("  '{file}': '{print:016x}',\n")).collect::<String>();
    // Bundlers find a file by this very expression.
    let files = files.iter().map(|file| format!("  '{file}': () => new URL('./{file}', import.meta.url),\n")).collect::<String>();
    let elements = d.inputs.iter().chain(&d.outputs).map(Tensor::element).collect::<Result<Vec<_>, _>>()?;
    let arrays: BTreeSet<String> = elements.iter().map(|e| format!("{}: {}", e.dtype, e.js)).collect();
    let arrays = arrays.into_iter().collect::<Vec<_>>().join(", ");
    Ok(fill(
        MODULE,
        &[
            ("name", d.name.clone()),
            ("compiler", for_comment(&d.compiler)),
            ("description", object(&fields)),
            ("files", format!("{{\n{files}}}")),
            ("prints", format!("{{\n{prints}}}")),
            ("arrays", format!("{{ {arrays} }}")),
        ],
    ))
}

/// The text of `NAME.d.ts`. Faults of [`mjs`].
pub fn d_ts(description: &Description) -> Result<String, Fault> {
    let d = description;
    d.check()?;
    check(d)?;
    let dims =
        d.symbols.iter().take(d.free_symbols).map(|s| format!("\n  /** From {} to {}. */\n  {}?: number;", s.min, s.max, text(&s.name)));
    let dims = dims.collect::<String>();
    Ok(fill(
        TYPES,
        &[
            ("name", d.name.clone()),
            ("compiler", for_comment(&d.compiler)),
            ("inputs", body(&members(d, &d.inputs)?)),
            ("outputs", body(&members(d, &d.outputs)?)),
            ("dims", body(&dims)),
        ],
    ))
}

/// The text of `NAME.d.mts`, the one name under which TypeScript looks for the types of `NAME.mjs`: all of `NAME.d.ts`.
/// Faults of [`mjs`].
pub fn d_mts(description: &Description) -> Result<String, Fault> {
    description.check()?;
    check(description)?;
    Ok(format!("export * from './{}.js';\n", description.name))
}

fn body(members: &str) -> String {
    if members.is_empty() { String::new() } else { format!("{members}\n") }
}

fn members(d: &Description, tensors: &[Tensor]) -> Result<String, Fault> {
    let mut out = String::new();
    for tensor in tensors {
        let (element, name) = (tensor.element()?, text(&tensor.name));
        let value = if element.js.starts_with("Big") { "bigint" } else { "number" };
        let note = if element.note.is_empty() { String::new() } else { format!(", {}", element.note) };
        write!(out, "\n  /** {}{note}. */", header::shape(d, tensor)).expect(INFALLIBLE);
        write!(out, "\n  get {name}(): {};\n  set {name}(values: ArrayLike<{value}>);", element.js).expect(INFALLIBLE);
    }
    Ok(out)
}

const INFALLIBLE: &str = "a String takes all that is written";

fn check(d: &Description) -> Result<(), Fault> {
    if let Some(level) = d.levels.iter().find(|level| !matches!(level.as_str(), "simd128" | "relaxed")) {
        return Err(Fault::Describe(format!("`{}` is no level of WebAssembly", level.escape_debug())));
    }
    for tensors in [&d.inputs, &d.outputs] {
        let mut names = BTreeSet::new();
        if let Some(twice) = tensors.iter().find(|t| !names.insert(&t.name)) {
            return Err(Fault::Describe(format!("two tensors on one side are named `{}`", twice.name.escape_debug())));
        }
    }
    Ok(())
}

/// The template with `'@@key@@'` replaced by each key's text, in one pass: a text that looks like a marker stays as it is.
fn fill(template: &str, texts: &[(&str, String)]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, marker)) = rest.split_once("'@@") {
        let (key, behind) = marker.split_once("@@'").expect("a marker of ours is closed");
        let (_, text) = texts.iter().find(|(k, _)| *k == key).expect("a marker of ours has a text");
        out.extend([before, text]);
        rest = behind;
    }
    out + rest
}
