//! A description as a C header: the shared types, sizes and shapes as macros, and a wrapper whose arguments have the types of
//! the tensors. C99 and C++11, self-contained, and headers of several models go into one file. It refuses to trust a name.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use crate::Fault;
use crate::describe::{Description, Quantization, Tensor};
use crate::name::{distinct, for_comment};

/// What all models share, under a guard of its own. The fields are those of ABI version 1, `docs/abi.md`.
const SHARED: &str = include_str!("maquette.h");

/// The text of `NAME.h`. Fault: a description that contradicts itself, or a type that does not cross the boundary.
pub fn header(description: &Description) -> Result<String, Fault> {
    description.check()?;
    let names = Names::new(description);
    let mut text = String::new();
    write(&mut text, description, &names).expect("a String takes all that is written");
    Ok(text)
}

/// Identifiers of a model's parts: different within each list.
struct Names {
    inputs: Vec<String>,
    outputs: Vec<String>,
    symbols: Vec<String>,
}

impl Names {
    fn new(d: &Description) -> Names {
        // `in_X` must not be the name of one of the header's own functions, which would hide it.
        let own = |prefix: &str| {
            let functions = ["model", "run", "run_on"].map(|part| format!("{}_{part}", d.name));
            functions.iter().filter_map(|f| f.strip_prefix(prefix)).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        Names {
            inputs: distinct(d.inputs.iter().map(|t| t.name.as_str()), own("in_")),
            outputs: distinct(d.outputs.iter().map(|t| t.name.as_str()), own("out_")),
            symbols: distinct(d.symbols.iter().map(|s| s.name.as_str()), BTreeSet::new()),
        }
    }
}

fn write(h: &mut String, d: &Description, names: &Names) -> fmt::Result {
    let name = &d.name;
    writeln!(h, "/* Neural network `{name}` for {},", for_comment(&d.target_and_levels()))?;
    writeln!(h, "   compiled by {}.", for_comment(&d.compiler))?;
    writeln!(h, "   This file and the compiled model's code are unencumbered: they may be used, changed and")?;
    writeln!(h, "   distributed without restriction. Rights in the model itself are its owner's. */")?;
    writeln!(h, "#ifndef MAQUETTE_MODEL_{name}_H\n#define MAQUETTE_MODEL_{name}_H\n\n{SHARED}")?;
    writeln!(h, "#ifdef __cplusplus\nextern \"C\" {{\n#endif\n")?;
    writeln!(h, "/* Memory that the caller brings: an arena (this size includes one worker's scratch; add")?;
    writeln!(h, "   {name}_WORKER_BYTES for each further worker), aligned. What is in it between runs is of no matter. */")?;
    writeln!(h, "#define {name}_ARENA_BYTES {}", d.arena_with_worker().max(1))?;
    writeln!(h, "#define {name}_ARENA_ALIGN {}", d.arena_align)?;
    writeln!(h, "#define {name}_WORKER_BYTES {}", d.worker_bytes)?;
    if d.state_bytes > 0 {
        writeln!(h, "/* State from run to run, aligned to 64; {name}_model.reset(state) before the first run. */")?;
        writeln!(h, "#define {name}_STATE_BYTES {}", d.state_bytes)?;
    }
    if d.weights_bytes > 0 {
        writeln!(h, "/* The file {name}.bin, in memory at a multiple of 64. */")?;
        writeln!(h, "#define {name}_WEIGHTS_BYTES {}", d.weights_bytes)?;
    }
    writeln!(h)?;
    if !d.symbols.is_empty() {
        writeln!(h, "/* Dimensions that vary: int64_t symbols[{name}_SYMBOL_COUNT]. The first {name}_FREE_SYMBOL_COUNT are")?;
        writeln!(h, "   the caller's to give, within their bounds; the others are written by the run. */")?;
        writeln!(h, "#define {name}_SYMBOL_COUNT {}", d.symbols.len())?;
        writeln!(h, "#define {name}_FREE_SYMBOL_COUNT {}", d.free_symbols)?;
    }
    for (i, (symbol, id)) in d.symbols.iter().zip(&names.symbols).enumerate() {
        writeln!(h, "/* \"{}\" */", for_comment(&symbol.name))?;
        writeln!(h, "#define {name}_symbol_{id}_INDEX {i}")?;
        writeln!(h, "#define {name}_symbol_{id}_MIN {}", symbol.min)?;
        writeln!(h, "#define {name}_symbol_{id}_MAX {}", symbol.max)?;
    }
    for (side, tensors, ids) in [("in", &d.inputs, &names.inputs), ("out", &d.outputs, &names.outputs)] {
        for (i, (tensor, id)) in tensors.iter().zip(ids).enumerate() {
            tensor_macros(h, d, &format!("{name}_{side}_{id}"), &format!("{side}put {i}"), tensor)?;
        }
    }
    writeln!(h, "\nextern const maquette_model {name}_model;\n")?;
    wrappers(h, d, names)?;
    writeln!(h, "\n#ifdef __cplusplus\n}}\n#endif\n\n#endif")
}

fn tensor_macros(h: &mut String, d: &Description, prefix: &str, role: &str, tensor: &Tensor) -> fmt::Result {
    let bounds: Vec<String> = tensor.dims.iter().map(|dim| dim.bound.to_string()).collect();
    let note = element(tensor).1;
    writeln!(h, "\n/* {role} \"{}\": {}{note} */", for_comment(&tensor.name), shape(d, tensor))?;
    writeln!(h, "#define {prefix}_DTYPE {}", tensor.dtype)?;
    writeln!(h, "#define {prefix}_BYTES {}", tensor.bytes)?;
    writeln!(h, "#define {prefix}_ELEMENTS {}", tensor.elements().unwrap_or(0))?;
    writeln!(h, "#define {prefix}_RANK {}", bounds.len())?;
    if !bounds.is_empty() {
        writeln!(h, "#define {prefix}_SHAPE {{ {} }}", bounds.join(", "))?;
    }
    for (axis, bound) in bounds.iter().enumerate() {
        writeln!(h, "#define {prefix}_DIM_{axis} {bound}")?;
    }
    if let Some(Quantization { scale, zero_point, axis }) = &tensor.quantization {
        let scale: Vec<String> = scale.iter().map(|s| format!("{s:e}f")).collect();
        let zero_point: Vec<String> = zero_point.iter().map(i64::to_string).collect();
        match axis {
            None => {
                writeln!(h, "#define {prefix}_SCALE {}", scale.join(", "))?;
                writeln!(h, "#define {prefix}_ZERO_POINT {}", parenthesised(&zero_point.join(", ")))?;
            }
            Some(axis) => {
                writeln!(h, "#define {prefix}_QUANTIZATION_AXIS {axis}")?;
                writeln!(h, "#define {prefix}_SCALES {{ {} }}", scale.join(", "))?;
                writeln!(h, "#define {prefix}_ZERO_POINTS {{ {} }}", zero_point.join(", "))?;
            }
        }
    }
    Ok(())
}

/// A negative number is safe within any expression.
fn parenthesised(number: &str) -> String {
    if number.starts_with('-') { format!("({number})") } else { number.to_owned() }
}

/// The C type and what it leaves unsaid.
fn element(tensor: &Tensor) -> (&'static str, String) {
    let element = tensor.element().expect("the description was checked");
    let note = if element.note.is_empty() { String::new() } else { format!(", {}", element.note) };
    (element.c, note)
}

/// `float32 [batch <= 8, 10]`, fit for a comment.
pub(crate) fn shape(d: &Description, tensor: &Tensor) -> String {
    let dims = tensor.dims.iter().map(|dim| match dim.symbol {
        Some(symbol) => format!("{} <= {}", for_comment(&d.symbols[symbol as usize].name), dim.bound),
        None => dim.bound.to_string(),
    });
    let name = tensor.element().expect("the description was checked").name;
    format!("{name} [{}]", dims.collect::<Vec<_>>().join(", "))
}

fn wrappers(h: &mut String, d: &Description, names: &Names) -> fmt::Result {
    let name = &d.name;
    let mut parameters = Vec::new();
    for (tensor, id) in d.inputs.iter().zip(&names.inputs) {
        parameters.push((format!("const {} *in_{id}", element(tensor).0), format!("in_{id}")));
    }
    for (tensor, id) in d.outputs.iter().zip(&names.outputs) {
        parameters.push((format!("{} *out_{id}", element(tensor).0), format!("out_{id}")));
    }
    let mut optional = |used: bool, declared: &str, passed: &str| {
        if used {
            parameters.push((declared.to_owned(), passed.to_owned()));
        }
        if used { passed.to_owned() } else { "NULL".to_owned() }
    };
    let symbols = optional(!d.symbols.is_empty(), "int64_t *symbols", "symbols");
    let state = optional(d.state_bytes > 0, "void *state", "state");
    let weights = optional(d.weights_bytes > 0, "const void *weights", "weights");
    parameters.push(("void *arena".into(), "arena".into()));
    let declared = |more: &str| {
        let all: Vec<&str> = parameters.iter().map(|(p, _)| p.as_str()).chain(Some(more).filter(|m| !m.is_empty())).collect();
        all.join(",\n        ")
    };
    let array = |prefix: &str, ids: &[String]| match ids.is_empty() {
        true => "NULL".to_owned(),
        false => ids.iter().map(|id| format!("{prefix}_{id}")).collect::<Vec<_>>().join(",\n            "),
    };

    writeln!(h, "/* Runs the network once, in this thread. Tensors are dense, in row-major order, aligned to their element; they do")?;
    writeln!(h, "   not overlap. `cpu` is what {name}_model.cpu() said: asking takes microseconds, so ask once. Returns a")?;
    writeln!(h, "   maquette_status. For several threads and checked sizes fill in a maquette_call and call {name}_model.run. */")?;
    writeln!(h, "static inline int32_t {name}_run_on(\n        {})\n{{", declared("uint64_t cpu"))?;
    writeln!(h, "    const void *const inputs[] = {{\n            {} }};", array("in", &names.inputs))?;
    writeln!(h, "    void *const outputs[] = {{\n            {} }};", array("out", &names.outputs))?;
    writeln!(h, "    maquette_call call;")?;
    for (field, value) in [
        ("inputs", "inputs"),
        ("outputs", "outputs"),
        ("input_bytes", "NULL"),
        ("arena", "arena"),
        ("arena_bytes", &format!("{name}_ARENA_BYTES")),
        ("state", &state),
        ("weights", &weights),
        ("symbols", &symbols),
        ("parallel_for", "NULL"),
        ("pool", "NULL"),
        ("workers", "1"),
        ("reserved", "0"),
        ("cpu", "cpu"),
    ] {
        writeln!(h, "    call.{field} = {value};")?;
    }
    writeln!(h, "    return {name}_model.run(&call);\n}}\n")?;
    writeln!(h, "/* The same, asking for the CPU's abilities on each run. */")?;
    writeln!(h, "static inline int32_t {name}_run(\n        {})\n{{", declared(""))?;
    let passed: Vec<&str> = parameters.iter().map(|(_, p)| p.as_str()).chain(["0"]).collect();
    writeln!(h, "    return {name}_run_on(\n            {});\n}}", passed.join(",\n            "))
}
