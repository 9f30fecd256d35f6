//! Programs to code: every kernel compiled by the room that can, the constants of all levels as one block, the entry and
//! the description around them. It chooses names and nothing else.

use std::collections::HashMap;

use artifact::{Code, Content, Description, Symbol, System, describe};
use ir::kernel::{Facts, Kernel, KernelBody};
use ir::program::{Pool, Port, WEIGHTS_ALIGN};
use ir::{Fault, Program};

use crate::compile::{COMPILER, Options, Watch, Weights};
use crate::error::{Error, Result};
use crate::target::Level;

/// A model as code, ready to be written in any form.
pub struct Linked {
    pub description: Description,
    /// All but the descriptor, which the description becomes, and what executables add.
    symbols: Vec<Symbol>,
    /// The block of constants that goes into a file of its own.
    pub weights: Option<Content>,
    machine: artifact::Machine,
    target: clif::Target,
}

/// Compiles and joins programs of one model, the least able level first.
/// Fault: more code or memory than its addresses reach.
pub fn link(programs: &[(&'static Level, Program)], options: &Options, watch: &dyn Watch) -> Result<Linked> {
    let machine = options.target.machine.expect("a target that is not there yet is refused where it is named");
    let target = clif::Target::new(machine);
    let name = &options.name;
    let mut kernels = Kernels { name, target: &target, symbols: Vec::new(), known: HashMap::new(), faults: Vec::new() };
    watch.stage("compiling", programs.iter().map(|(_, p)| p.kernels.len()).sum());
    let mut names = Vec::new();
    for (level, program) in programs {
        names.push(program.kernels.iter().map(|kernel| kernels.symbol(level, kernel, watch)).collect::<Vec<String>>());
    }
    let Kernels { mut symbols, faults, .. } = kernels;
    if !faults.is_empty() {
        return Err(faults.into());
    }

    let pool = Pool::new(programs.iter().map(|(_, p)| p));
    let levels: Vec<clif::Level> = programs
        .iter()
        .zip(names.iter().zip(&pool.offsets))
        .map(|((level, program), (kernels, constants))| clif::Level { program, name: level.name, mask: level.mask, kernels, constants })
        .collect();
    let weights_symbol = format!("{name}.weights");
    let embed = options.weights == Weights::Embed || pool.bytes == 0;
    let cpu = x64::stubs::cpu();
    let cpu_symbol = format!("{name}.cpu");
    let entry = clif::Entry {
        name,
        cpu: &cpu_symbol,
        levels: &levels,
        weights: if embed { clif::Weights::Symbol(&weights_symbol) } else { clif::Weights::Caller },
        free_symbols: &[],
    };
    symbols.push(x64::function(&cpu_symbol, cpu.code));
    symbols.extend(clif::entry(&target, &entry).map_err(Error::from)?);
    if embed {
        symbols.push(Symbol::constant(&weights_symbol, WEIGHTS_ALIGN, content(&pool)));
    }
    let mut description = describe(programs, options, if embed { 0 } else { pool.bytes });
    let code = Code { machine, system: System::Linux, symbols };
    description.contents = describe::Contents::of(&code);
    let weights = (!embed).then(|| content(&pool));
    Ok(Linked { description, symbols: code.symbols, weights, machine, target })
}

/// The constants as the content of a symbol or a file, packed when they are written.
fn content(pool: &Pool) -> Content {
    let pool = pool.clone();
    Content::lazy(pool.bytes, move |out| pool.write(out))
}

impl Linked {
    /// What a program links against: one global name, `NAME_model`.
    pub fn library(&self) -> Result<Code> {
        let d = &self.description;
        let mut symbols = self.symbols.clone();
        symbols.extend(artifact::descriptor(d, &format!("{}.run", d.name), &format!("{}.cpu", d.name), None)?);
        Ok(Code { machine: self.machine, system: System::Linux, symbols })
    }

    /// A program that starts at [`START`] and speaks the protocol of docs/cli.md.
    pub fn executable(&self) -> Result<Code> {
        let d = &self.description;
        let bytes = |tensors: &[describe::Tensor]| tensors.iter().map(|t| t.bytes).collect::<Vec<u64>>();
        let exe = clif::Exe {
            name: &d.name,
            run: &format!("{}.run", d.name),
            cpu: &format!("{}.cpu", d.name),
            inputs: &bytes(&d.inputs),
            outputs: &bytes(&d.outputs),
            memory: clif::Memory { arena_bytes: d.arena_bytes, arena_align: d.arena_align, worker_bytes: d.worker_bytes },
            weights_bytes: (d.weights_bytes > 0).then_some(d.weights_bytes),
            symbols: d.symbols.len(),
            free_symbols: d.free_symbols,
        };
        let mut symbols = self.symbols.clone();
        symbols.extend(clif::exe(&self.target, &exe).map_err(Error::from)?);
        let stubs = std::iter::once(x64::stubs::start()).chain(x64::stubs::system_calls());
        symbols.extend(stubs.map(|stub| x64::function(stub.name, stub.code)));
        Ok(Code { machine: self.machine, system: System::Linux, symbols })
    }
}

/// The symbol at which an executable starts.
pub const START: &str = "_start";

/// Kernels as symbols; equal ones that come out alike are one.
struct Kernels<'a> {
    name: &'a str,
    target: &'a clif::Target,
    symbols: Vec<Symbol>,
    known: HashMap<(Kernel, &'static str), String>,
    faults: Vec<Fault>,
}

impl Kernels<'_> {
    fn symbol(&mut self, level: &'static Level, kernel: &Kernel, watch: &dyn Watch) -> String {
        let facts = level.facts.expect("a level that is not there yet is refused where it is named");
        let key = (kernel.clone(), level.name);
        if let Some(name) = self.known.get(&key) {
            return name.clone();
        }
        let name = format!("{}.{}.{}", self.name, level.name, kernel.name);
        match compile(self.target, &name, kernel, facts) {
            Ok(symbol) => self.symbols.push(symbol),
            Err(fault) => self.faults.push(fault),
        }
        self.known.insert(key, name.clone());
        watch.step();
        name
    }
}

fn compile(target: &clif::Target, name: &str, kernel: &Kernel, facts: &Facts) -> std::result::Result<Symbol, Fault> {
    match &kernel.body {
        KernelBody::Tile(tile) => Ok(x64::function(name, x64::compile(tile, kernel.args.len(), facts))),
        KernelBody::Scalar(scalar) => clif::scalar_kernel(target, name, kernel.args.len(), scalar, facts),
    }
}

fn describe(programs: &[(&'static Level, Program)], options: &Options, weights_bytes: u64) -> Description {
    let memory = clif::Memory::of(programs.iter().map(|(_, p)| p));
    let first = &programs.first().expect("there is a level").1;
    let tensor = |port: &Port| describe::Tensor {
        name: port.name.clone(),
        dtype: port.ty.dtype.onnx(),
        dims: port.ty.fixed().unwrap_or_default().iter().map(|&n| describe::Dim { bound: n as i64, symbol: None }).collect(),
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
        arena_bytes: memory.arena_bytes,
        arena_align: memory.arena_align,
        worker_bytes: memory.worker_bytes,
        weights_bytes,
        ..Description::default()
    }
}
