//! A program as a core module. It imports nothing and starts nothing: a function per kernel, `run`, a memory that covers all,
//! and globals that say where inputs, outputs, symbols and weights lie. Docs: `docs/wasm.md`.

use std::collections::BTreeMap;
use std::ops::Range;

use ir::kernel::{Facts, Kernel, KernelBody};
use ir::program::{Origin, Pool, Program, Repeat, Turns, When};
use ir::{Fault, Kind};
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ExportKind, ExportSection, FunctionSection, GlobalSection, GlobalType, MemorySection, MemoryType,
    Module, TypeSection, ValType,
};

use crate::calls::{self, Call, Callee, Count};
use crate::half::{Helper, Helpers};
use crate::layout::{Layout, TURN};
use crate::{scalar, select};

/// What becomes a module.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    pub program: &'a Program,
    /// Of the level that the program was made for.
    pub facts: &'a Facts,
    /// Where each of the program's constants lies in the block of weights.
    pub constants: &'a [u64],
    pub weights: Weights<'a>,
}

/// Where the constants come from.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// They are in the module.
    Embedded(&'a Pool),
    /// Whoever loads the module writes this many bytes to where the global `weights` says.
    Loaded(u64),
}

impl Weights<'_> {
    fn bytes(&self) -> u64 {
        match self {
            Weights::Embedded(pool) => pool.bytes,
            Weights::Loaded(bytes) => *bytes,
        }
    }
}

/// What V8 takes, and no engine takes much more: bytes of a module, and of one function.
const MODULE: u64 = 1 << 30;
const FUNCTION: usize = 7_654_321;

/// The bytes of the module, the same for the same model.
/// Fault: more memory, or a larger module or function, than engines take.
pub fn module(model: &Model) -> Result<Vec<u8>, Fault> {
    if let Weights::Embedded(pool) = model.weights
        && pool.bytes >= MODULE
    {
        return Err(too_large(pool.bytes));
    }
    let mut functions = Functions::default();
    let (callees, below) = functions.kernels(model);
    let layout = Layout::new(model.program, below, model.weights.bytes())?;
    let mut parts = Vec::new();
    let (mut ranges, mut loaded) = (Vec::new(), Vec::new());
    for (symbol, s) in model.program.symbols.iter().enumerate() {
        match s.origin {
            Origin::Free => {}
            Origin::State { offset } => loaded.push((layout.state + offset, layout.symbols + 8 * symbol as u64)),
            Origin::Derived(_) | Origin::Data => continue,
        }
        ranges.push(When { symbol, low: s.low, high: s.high });
    }
    if !ranges.is_empty() {
        parts.push(functions.add(0, RUN, calls::begin(&loaded, layout.symbols, &ranges, OUT_OF_RANGE)));
    }
    let steps = Steps { model, layout: &layout, callees: &callees };
    parts.extend(steps.functions(0..model.program.steps.len(), None, &mut functions));
    if parts.is_empty() {
        parts.push(functions.add(0, RUN, calls::all(&[])));
    }
    let run = match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            functions.add(0, RUN, calls::all(&parts))
        }
    };
    if let Some(large) = functions.bodies.iter().map(Vec::len).max().filter(|&bytes| bytes > FUNCTION) {
        return Err(Fault::limit(format!("a kernel takes {large} bytes of code, and engines take {FUNCTION}")));
    }
    let bytes = assemble(model, &layout, &functions, run);
    match bytes.len() as u64 > MODULE {
        true => Err(too_large(bytes.len() as u64)),
        false => Ok(bytes),
    }
}

/// The steps of a program, to be made functions.
struct Steps<'a> {
    model: &'a Model<'a>,
    layout: &'a Layout,
    callees: &'a [Option<Callee>],
}

impl Steps<'_> {
    /// Functions that run a range of steps, those of the repeat `around` one turn of it.
    fn functions(&self, range: Range<usize>, around: Option<usize>, functions: &mut Functions) -> Vec<u32> {
        let repeats = &self.model.program.repeats;
        let inside = |r: &Repeat| range.start <= r.first && r.last < range.end;
        // those of the repeats within that no other one has inside
        let next = |from: usize| {
            let here = repeats.iter().enumerate().filter(|(i, r)| Some(*i) != around && inside(r) && r.first >= from);
            here.min_by_key(|(_, r)| (r.first, std::cmp::Reverse(r.last)))
        };
        let (mut made, mut at) = (Vec::new(), range.start);
        while let Some((number, repeat)) = next(at) {
            made.extend(self.flat(at..repeat.first, around, functions));
            let turn = self.functions(repeat.first..repeat.last + 1, Some(number), functions);
            let count = match repeat.turns {
                Turns::Fixed(turns) => Count::Fixed(turns),
                Turns::Symbol(symbol) => Count::Symbol(self.layout.symbols + 8 * symbol as u64),
            };
            made.push(functions.add(0, RUN, calls::repeated(self.turns(number), count, &turn)));
            at = repeat.last + 1;
        }
        made.extend(self.flat(at..range.end, around, functions));
        made
    }

    /// Where the turns of a repeat are counted.
    fn turns(&self, repeat: usize) -> u64 {
        self.layout.turns + TURN * repeat as u64
    }

    /// Steps that ask the same of symbols go together.
    fn flat(&self, range: Range<usize>, around: Option<usize>, functions: &mut Functions) -> Vec<u32> {
        let mut parts = Vec::new();
        for steps in self.model.program.steps[range].chunk_by(|a, b| a.when == b.when) {
            let calls = steps.iter().flat_map(|step| &step.calls).map(|call| Call {
                callee: self.callees[call.kernel].expect("a kernel that is called was compiled"),
                args: call.args.iter().map(|&address| self.layout.address(address, self.model.constants)).collect(),
                advance: call.advance.clone(),
                turns: around.map_or(0, |repeat| self.turns(repeat)),
            });
            let calls: Vec<Call> = calls.collect();
            let made: Vec<u32> = calls::functions(&calls).into_iter().map(|code| functions.add(0, RUN, code)).collect();
            match steps[0].when.as_slice() {
                [] => parts.extend(made),
                when => parts.push(functions.add(0, RUN, calls::guarded(self.layout.symbols, when, &made))),
            }
        }
        parts
    }
}

fn too_large(bytes: u64) -> Fault {
    Fault::new(Kind::Limit, format!("a module of {bytes} bytes is more than the 1 GiB that engines take"))
        .help("keep the weights beside it: --weights file")
}

const RUN: &[ValType] = &[ValType::I32];

/// The status for a symbol out of its range.
const OUT_OF_RANGE: i32 = 3;

/// The functions of a module. Equal ones are one.
#[derive(Default)]
struct Functions {
    types: Vec<(Vec<ValType>, Vec<ValType>)>,
    /// The type of each function.
    declared: Vec<u32>,
    bodies: Vec<Vec<u8>>,
    known: BTreeMap<(u32, Vec<u8>), u32>,
}

impl Functions {
    /// A function of pointers.
    fn add(&mut self, params: usize, results: &[ValType], code: Vec<u8>) -> u32 {
        self.function(vec![ValType::I32; params], results.to_vec(), code)
    }

    fn function(&mut self, params: Vec<ValType>, results: Vec<ValType>, code: Vec<u8>) -> u32 {
        let signature = (params, results);
        let ty = match self.types.iter().position(|known| *known == signature) {
            Some(known) => known as u32,
            None => {
                self.types.push(signature);
                self.types.len() as u32 - 1
            }
        };
        let next = self.bodies.len() as u32;
        let index = *self.known.entry((ty, code.clone())).or_insert(next);
        if index == next {
            self.declared.push(ty);
            self.bodies.push(code);
        }
        index
    }

    /// Compiles every kernel that is called. Also returns how many bytes must lie below all arguments.
    fn kernels(&mut self, model: &Model) -> (Vec<Option<Callee>>, u64) {
        let mut called = vec![false; model.program.kernels.len()];
        let calls = model.program.steps.iter().flat_map(|step| &step.calls);
        calls.for_each(|call| called[call.kernel] = true);
        let kernels = || model.program.kernels.iter().zip(&called);
        let helpers = self.helpers(kernels().filter(|(_, called)| **called).map(|(kernel, _)| kernel));
        let mut below = 0;
        let mut callee = |kernel: &Kernel| match &kernel.body {
            KernelBody::Tile(tile) => {
                let tile = select::compile(tile, &kernel.args, model.facts);
                below = tile.below.max(below);
                Callee { function: self.add(kernel.args.len(), &[], tile.code), fails: false }
            }
            KernelBody::Scalar(scalar) => {
                let scalar = scalar::compile(scalar, kernel.args.len(), model.facts.fused, &helpers);
                let results: &[ValType] = if scalar.fails { &[ValType::I32] } else { &[] };
                Callee { function: self.add(kernel.args.len(), results, scalar.code), fails: scalar.fails }
            }
        };
        let callees = kernels().map(|(kernel, called)| called.then(|| callee(kernel))).collect();
        (callees, below)
    }

    fn helpers<'k>(&mut self, kernels: impl Iterator<Item = &'k Kernel>) -> Helpers {
        let mut helpers = Helpers::new();
        for kernel in kernels {
            if let KernelBody::Scalar(scalar) = &kernel.body {
                Helper::needed(scalar, &mut |helper| {
                    let (from, to) = helper.signature();
                    helpers.entry(helper).or_insert_with(|| self.function(vec![from], vec![to], helper.code()));
                });
            }
        }
        helpers
    }
}

fn assemble(model: &Model, layout: &Layout, functions: &Functions, run: u32) -> Vec<u8> {
    let mut types = TypeSection::new();
    for (params, results) in &functions.types {
        types.ty().function(params.iter().copied(), results.iter().copied());
    }
    let mut declared = FunctionSection::new();
    functions.declared.iter().for_each(|&ty| {
        declared.function(ty);
    });
    // nobody moves it: views of it stay valid
    let pages = layout.pages();
    let mut memory = MemorySection::new();
    memory.memory(MemoryType { minimum: pages, maximum: Some(pages), memory64: false, shared: false, page_size_log2: None });

    let mut globals = GlobalSection::new();
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0).export("run", ExportKind::Func, run);
    let mut place = |name: &str, address: u64| {
        let index = globals.len();
        let ty = GlobalType { val_type: ValType::I32, mutable: false, shared: false };
        globals.global(ty, &ConstExpr::i32_const(address as u32 as i32));
        exports.export(name, ExportKind::Global, index);
    };
    layout.inputs.iter().enumerate().for_each(|(i, &address)| place(&format!("input{i}"), address));
    layout.outputs.iter().enumerate().for_each(|(i, &address)| place(&format!("output{i}"), address));
    if !model.program.symbols.is_empty() {
        place("symbols", layout.symbols);
    }
    if model.program.state_bytes > 0 {
        place("state", layout.state);
    }
    if matches!(model.weights, Weights::Loaded(bytes) if bytes > 0) {
        place("weights", layout.weights);
    }
    let mut code = CodeSection::new();
    functions.bodies.iter().for_each(|body| {
        code.raw(body);
    });

    let mut module = Module::new();
    module.section(&types).section(&declared).section(&memory).section(&globals).section(&exports).section(&code);
    if let Weights::Embedded(pool) = model.weights
        && pool.bytes > 0
    {
        let mut bytes = Vec::with_capacity(pool.bytes as usize);
        pool.write(&mut |piece| bytes.extend_from_slice(piece));
        let mut data = DataSection::new();
        data.active(0, &ConstExpr::i32_const(layout.weights as u32 as i32), bytes);
        module.section(&data);
    }
    module.finish()
}
