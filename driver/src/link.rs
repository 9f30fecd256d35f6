//! Programs to what is written: on a native machine every kernel compiled by the room that can, and the entry around them; for
//! WebAssembly a module per level. The constants of all levels are one block. It chooses names and nothing else.

use std::collections::HashMap;

use artifact::{Code, Content, Description, Symbol, System, describe};
use ir::kernel::{Facts, Kernel, KernelBody};
use ir::program::{Pool, Port, WEIGHTS_ALIGN};
use ir::{Dim, Fault, Program};

use crate::compile::{COMPILER, Options, Watch, Weights};
use crate::error::{Error, Result};
use crate::family::{Family, Native};
use crate::target::Level;

/// A model compiled, ready to be written in any form.
pub struct Linked {
    pub description: Description,
    /// The block of constants that goes into a file of its own.
    pub weights: Option<Content>,
    pub form: Form,
}

/// What it was compiled to.
pub enum Form {
    Native(Objects),
    /// A module per level, the least able first.
    Web(Vec<Module>),
}

/// A WebAssembly module.
pub struct Module {
    pub level: &'static str,
    pub bytes: Vec<u8>,
}

/// Object code of a native machine.
pub struct Objects {
    /// All but the descriptor, which the description becomes, and what executables add.
    symbols: Vec<Symbol>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// Sizes known at run time only.
    sizes: Vec<ir::program::Symbol>,
    native: &'static Native,
    system: System,
    target: clif::Target,
}

/// Compiles and joins programs of one model, the least able level first.
/// Fault: more code or memory than its addresses reach.
pub fn link(programs: &[(&'static Level, Program)], options: &Options, watch: &dyn Watch) -> Result<Linked> {
    let pool = Pool::new(programs.iter().map(|(_, p)| p));
    let embed = pool.bytes == 0
        || match options.weights {
            Some(Weights::Embed) => true,
            Some(Weights::File) => false,
            // a module is held three times while it is compiled
            None => !matches!(options.target.family, Family::Web) || pool.bytes <= EMBEDDED,
        };
    let description = describe(programs, options, if embed { 0 } else { pool.bytes });
    let weights = (!embed).then(|| content(&pool));
    match options.target.family {
        Family::Native(native) => objects(native, programs, &pool, description, weights, options, watch),
        Family::Web => modules(programs, &pool, description, weights, watch),
    }
}

/// Bytes of constants that a module holds itself when the user does not say.
const EMBEDDED: u64 = 2 << 20;

fn modules(
    programs: &[(&'static Level, Program)],
    pool: &Pool,
    mut description: Description,
    weights: Option<Content>,
    watch: &dyn Watch,
) -> Result<Linked> {
    watch.stage("compiling", programs.len());
    let mut modules = Vec::new();
    for ((level, program), constants) in programs.iter().zip(&pool.offsets) {
        let facts = level.facts;
        let weights = if weights.is_none() { wasm::Weights::Embedded(pool) } else { wasm::Weights::Loaded(pool.bytes) };
        let model = wasm::Model { program, facts, constants, weights };
        let mut bytes = wasm::module(&model)?;
        description.fingerprints.push(artifact::web::seal(&mut bytes));
        modules.push(Module { level: level.name, bytes });
        watch.step();
    }
    if weights.is_some() {
        let mut print = artifact::web::Print::sample();
        pool.write(&mut |bytes| print.push(bytes));
        description.fingerprints.push(print.finish());
    }
    description.contents.constant_bytes = pool.bytes;
    description.contents.code_bytes = modules.iter().map(|m| m.bytes.len() as u64).max().unwrap_or(0);
    Ok(Linked { description, weights, form: Form::Web(modules) })
}

fn objects(
    native: &'static Native,
    programs: &[(&'static Level, Program)],
    pool: &Pool,
    mut description: Description,
    weights: Option<Content>,
    options: &Options,
    watch: &dyn Watch,
) -> Result<Linked> {
    let target = clif::Target::new(native.machine);
    let name = &options.name;
    let mut kernels = Kernels { name, native, target: &target, symbols: Vec::new(), known: HashMap::new(), faults: Vec::new() };
    watch.stage("compiling", programs.iter().map(|(_, p)| p.kernels.len()).sum());
    let mut names = Vec::new();
    for (level, program) in programs {
        names.push(program.kernels.iter().map(|kernel| kernels.symbol(level, kernel, watch)).collect::<Vec<String>>());
    }
    let Kernels { mut symbols, faults, .. } = kernels;
    if !faults.is_empty() {
        return Err(faults.into());
    }

    let levels: Vec<clif::Level> = programs
        .iter()
        .zip(names.iter().zip(&pool.offsets))
        .map(|((level, program), (kernels, constants))| clif::Level { program, name: level.name, mask: level.mask, kernels, constants })
        .collect();
    let weights_symbol = format!("{name}.weights");
    let cpu_symbol = format!("{name}.cpu");
    let entry = clif::Entry {
        name,
        cpu: &cpu_symbol,
        levels: &levels,
        weights: if weights.is_none() { clif::Weights::Symbol(&weights_symbol) } else { clif::Weights::Caller },
        times: options.times,
    };
    let system = options.target.system;
    symbols.push((native.cpu)(&cpu_symbol, system, levels.iter().fold(0, |word, level| word | level.mask)));
    symbols.extend(clif::entry(&target, &entry).map_err(Error::from)?);
    if description.state_bytes > 0 {
        symbols.push(clif::reset(&target, name, description.state_bytes).map_err(Error::from)?);
    }
    if weights.is_none() {
        symbols.push(Symbol::constant(&weights_symbol, WEIGHTS_ALIGN, content(pool)));
    }
    let code = Code { machine: native.machine, system, symbols };
    description.contents = describe::Contents::of(&code);
    let Program { inputs, outputs, symbols: sizes, .. } = &programs.first().expect("there is a level").1;
    let (inputs, outputs, sizes) = (inputs.clone(), outputs.clone(), sizes.clone());
    let form = Form::Native(Objects { symbols: code.symbols, inputs, outputs, sizes, native, system, target });
    Ok(Linked { description, weights, form })
}

/// The constants as the content of a symbol or a file, packed when they are written.
fn content(pool: &Pool) -> Content {
    let pool = pool.clone();
    Content::lazy(pool.bytes, move |out| pool.write(out))
}

impl Objects {
    /// What a program links against: one global name, `NAME_model`.
    pub fn library(&self, description: &Description) -> Result<Code> {
        let name = &description.name;
        let mut symbols = self.symbols.clone();
        let reset = (description.state_bytes > 0).then(|| format!("{name}.reset"));
        symbols.extend(artifact::descriptor(description, &format!("{name}.run"), &format!("{name}.cpu"), reset.as_deref())?);
        Ok(self.code(symbols))
    }

    /// A program that starts at [`START`] and speaks the protocol of docs/cli.md.
    pub fn executable(&self, d: &Description) -> Result<Code> {
        let exe = clif::Exe {
            name: &d.name,
            run: &format!("{}.run", d.name),
            cpu: &self.native.program_cpu.map_or_else(|| format!("{}.cpu", d.name), String::from),
            inputs: &self.inputs,
            outputs: &self.outputs,
            symbols: &self.sizes,
            memory: clif::Memory {
                arena_bytes: d.arena_bytes,
                arena_align: d.arena_align,
                worker_bytes: d.worker_bytes,
                state_bytes: d.state_bytes,
            },
            weights_bytes: (d.weights_bytes > 0).then_some(d.weights_bytes),
        };
        let mut symbols = self.symbols.clone();
        symbols.extend(clif::exe(&self.target, &exe).map_err(Error::from)?);
        symbols.extend((self.native.program)());
        Ok(self.code(symbols))
    }

    /// Whether the system starts programs.
    pub fn is_executable(&self) -> bool {
        matches!(self.system, System::Linux | System::Android)
    }

    fn code(&self, symbols: Vec<Symbol>) -> Code {
        Code { machine: self.native.machine, system: self.system, symbols }
    }
}

/// The symbol at which an executable starts.
pub const START: &str = "_start";

/// Kernels as symbols; equal ones that come out alike are one.
struct Kernels<'a> {
    name: &'a str,
    native: &'static Native,
    target: &'a clif::Target,
    symbols: Vec<Symbol>,
    known: HashMap<(Kernel, &'static str), String>,
    faults: Vec<Fault>,
}

impl Kernels<'_> {
    fn symbol(&mut self, level: &'static Level, kernel: &Kernel, watch: &dyn Watch) -> String {
        let facts = level.facts;
        let key = (kernel.clone(), level.name);
        if let Some(name) = self.known.get(&key) {
            return name.clone();
        }
        let name = format!("{}.{}.{}", self.name, level.name, kernel.name);
        match self.compile(&name, kernel, facts) {
            Ok(symbol) => self.symbols.push(symbol),
            Err(fault) => self.faults.push(fault),
        }
        self.known.insert(key, name.clone());
        watch.step();
        name
    }

    fn compile(&self, name: &str, kernel: &Kernel, facts: &Facts) -> std::result::Result<Symbol, Fault> {
        match &kernel.body {
            KernelBody::Tile(tile) => Ok((self.native.tile)(name, tile, kernel.args.len(), facts)),
            KernelBody::Scalar(scalar) => clif::scalar_kernel(self.target, name, kernel.args.len(), scalar, facts),
        }
    }
}

fn describe(programs: &[(&'static Level, Program)], options: &Options, weights_bytes: u64) -> Description {
    let memory = clif::Memory::of(programs.iter().map(|(_, p)| p));
    let first = &programs.first().expect("there is a level").1;
    let ranges = first.ranges();
    let dim = |dim: &Dim| describe::Dim { bound: dim.bounds(&ranges).1, symbol: first.symbol_of(dim).map(|i| i as u32) };
    let symbol = |s: &ir::program::Symbol| describe::Symbol { name: s.name.to_string(), min: s.low, max: s.high };
    let tensor = |port: &Port| describe::Tensor {
        name: port.name.clone(),
        dtype: port.ty.dtype.onnx(),
        dims: port.ty.shape.iter().map(dim).collect(),
        bytes: port.bytes,
        quantization: None,
    };
    Description {
        name: options.name.clone(),
        target: options.target.name.into(),
        levels: programs.iter().map(|(level, _)| level.name.to_string()).collect(),
        compiler: COMPILER.into(),
        inputs: first.inputs.iter().map(tensor).collect(),
        outputs: first.outputs.iter().map(tensor).collect(),
        symbols: first.symbols.iter().map(symbol).collect(),
        free_symbols: first.free_symbols(),
        arena_bytes: memory.arena_bytes,
        arena_align: memory.arena_align,
        worker_bytes: memory.worker_bytes,
        state_bytes: memory.state_bytes,
        weights_bytes,
        ..Description::default()
    }
}
