//! A description as constant data in the artifact: the `maquette_model` that a program reaches by its one global name, and what
//! it points to. It refuses to know the functions beyond their names.

use std::collections::BTreeMap;

use crate::describe::{ABI, Description, Tensor};
use crate::{Content, Fault, Relocation, RelocationKind, Symbol};

/// The symbol `NAME_model` (global, last) and its local tables `NAME.*`. The functions are symbols of the same code: `run` the
/// entry, `cpu` the detection, `reset` given exactly when the model has state.
/// Fault: a description that contradicts itself.
pub fn descriptor(description: &Description, run: &str, cpu: &str, reset: Option<&str>) -> Result<Vec<Symbol>, Fault> {
    description.check()?;
    if reset.is_some() != (description.state_bytes > 0) {
        return Err(Fault::Describe("a model has a reset function exactly when it has state".into()));
    }
    let d = description;
    let named = |part: &str| format!("{}.{part}", d.name);
    let mut pool = Pool::default();
    let tables =
        [(&d.inputs, "inputs"), (&d.outputs, "outputs")].map(|(tensors, part)| (named(part), tensor_table(tensors, &mut pool, &d.name)));
    let mut symbols = Table::default();
    for symbol in &d.symbols {
        let name = pool.text(&symbol.name);
        symbols.pointer(&named("text"), name);
        symbols.long(symbol.min as u64);
        symbols.long(symbol.max as u64);
    }
    let mut model = Table::default();
    model.word(ABI);
    for count in [d.inputs.len(), d.outputs.len(), d.symbols.len()] {
        model.word(count as u32);
    }
    for text in [&d.name, &d.target_and_levels(), &d.compiler] {
        let place = pool.text(text);
        model.pointer(&named("text"), place);
    }
    let mut symbol_tables = Vec::new();
    for (name, table) in tables.into_iter().chain([(named("symbols"), symbols)]) {
        if table.bytes.is_empty() {
            model.null();
        } else {
            model.pointer(&name, 0);
            symbol_tables.push(Symbol::table(name, 8, table.bytes, table.relocations));
        }
    }
    for size in [d.arena_bytes, d.arena_align, d.worker_bytes, d.state_bytes, d.weights_bytes] {
        model.long(size);
    }
    model.pointer(cpu, 0);
    match reset {
        Some(reset) => model.pointer(reset, 0),
        None => model.null(),
    }
    model.pointer(run, 0);

    // One place at least, so that the dimensions of a scalar have an address too.
    pool.dims.push(0);
    let dims = pool.dims.iter().flat_map(|v| v.to_le_bytes()).collect();
    let dim_symbols: Vec<u8> = pool.dim_symbols.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut all =
        vec![Symbol::constant(named("text"), 1, Content::Bytes(pool.text)), Symbol::constant(named("dims"), 8, Content::Bytes(dims))];
    if !dim_symbols.is_empty() {
        all.push(Symbol::constant(named("dim_symbols"), 4, Content::Bytes(dim_symbols)));
    }
    all.extend(symbol_tables);
    all.push(Symbol::table(format!("{}_model", d.name), 8, model.bytes, model.relocations).global());
    Ok(all)
}

fn tensor_table(tensors: &[Tensor], pool: &mut Pool, model: &str) -> Table {
    let mut table = Table::default();
    for tensor in tensors {
        let name = pool.text(&tensor.name);
        table.pointer(&format!("{model}.text"), name);
        table.pointer(&format!("{model}.dims"), 8 * pool.dims.len());
        pool.dims.extend(tensor.dims.iter().map(|d| d.bound));
        if tensor.dims.iter().any(|d| d.symbol.is_some()) {
            table.pointer(&format!("{model}.dim_symbols"), 4 * pool.dim_symbols.len());
            pool.dim_symbols.extend(tensor.dims.iter().map(|d| d.symbol.map_or(-1, |s| s as i32)));
        } else {
            table.null();
        }
        table.long(tensor.bytes);
        table.word(tensor.dtype as u32);
        table.word(tensor.dims.len() as u32);
    }
    table
}

/// What the structs point to: texts that end with a zero byte (equal ones once), dimensions, symbol indices.
#[derive(Default)]
struct Pool {
    text: Vec<u8>,
    places: BTreeMap<String, usize>,
    dims: Vec<i64>,
    dim_symbols: Vec<i32>,
}

impl Pool {
    fn text(&mut self, text: &str) -> usize {
        // C ends at a zero byte; a name that holds one must not lose the rest of it and become another's.
        let text = text.replace('\0', "\u{fffd}");
        let place = *self.places.entry(text.clone()).or_insert(self.text.len());
        if place == self.text.len() {
            self.text.extend_from_slice(text.as_bytes());
            self.text.push(0);
        }
        place
    }
}

/// Bytes with pointers in them, laid down in the order of the struct's fields.
#[derive(Default)]
struct Table {
    bytes: Vec<u8>,
    relocations: Vec<Relocation>,
}

impl Table {
    fn word(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn long(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn null(&mut self) {
        self.long(0);
    }

    fn pointer(&mut self, symbol: &str, addend: usize) {
        let (offset, kind, addend) = (self.bytes.len() as u32, RelocationKind::Abs64, addend as i64);
        self.relocations.push(Relocation { offset, kind, symbol: symbol.into(), addend });
        self.null();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Code, Machine, System};

    #[test]
    fn symbols_stand_and_fall_with_their_use() {
        let d = Description { name: "net".into(), arena_align: 64, ..Description::default() };
        let functions = ["net.run", "net.cpu"].map(|name| Symbol::function(name, 16, vec![0xc3], vec![]));
        let mut symbols = descriptor(&d, "net.run", "net.cpu", None).expect("it is consistent");
        let names: Vec<&str> = symbols.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["net.text", "net.dims", "net_model"]);
        assert_eq!(symbols[2].content.size(), 128);
        symbols.extend(functions);
        Code { machine: Machine::X86_64, system: System::Linux, symbols }.check().expect("keeps the laws");
        assert!(descriptor(&d, "net.run", "net.cpu", Some("net.reset")).is_err());
    }
}
