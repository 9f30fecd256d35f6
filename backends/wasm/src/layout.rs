//! Where everything of a model lies in the module's memory: scratch, inputs, outputs, symbols, turns, arena, state, then weights, each at a multiple of
//! 64 bytes. It refuses to know what any of it is for.

use ir::Fault;
use ir::program::{Address, Program, WEIGHTS_ALIGN};

/// Bytes of a page.
pub const PAGE: u64 = 65536;

/// Bytes of a repeat's turns.
pub const TURN: u64 = 8;

/// Pages that 32-bit addresses reach.
const MOST_PAGES: u64 = 65536;

/// Addresses, in bytes from the start of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub scratch: u64,
    /// In the order of the program's.
    pub inputs: Vec<u64>,
    pub outputs: Vec<u64>,
    pub symbols: u64,
    /// Of each repeat the turns that were made and that are left behind this one, 4 bytes each.
    pub turns: u64,
    pub arena: u64,
    pub state: u64,
    pub weights: u64,
    /// The first byte behind all of it.
    pub end: u64,
}

impl Layout {
    /// `below` bytes stay free at the start, `weights` bytes are for constants.
    /// Fault: it is more than 32-bit addresses reach.
    pub fn new(program: &Program, below: u64, weights: u64) -> Result<Layout, Fault> {
        let mut end: u64 = below;
        let mut place = |bytes: u64, align: u64| {
            let at = end.checked_next_multiple_of(align.max(WEIGHTS_ALIGN.into())).unwrap_or(u64::MAX);
            end = at.saturating_add(bytes);
            at
        };
        let scratch = place(program.worker_bytes, 0);
        let inputs = program.inputs.iter().map(|port| place(port.bytes, 0)).collect();
        let outputs = program.outputs.iter().map(|port| place(port.bytes, 0)).collect();
        let symbols = place(8 * program.symbols.len() as u64, 0);
        let turns = if program.repeats.is_empty() { symbols } else { place(TURN * program.repeats.len() as u64, 0) };
        let arena = place(program.arena_bytes, program.arena_align);
        let state = place(program.state_bytes, 0);
        let weights = place(weights, 0);
        let layout = Layout { scratch, inputs, outputs, symbols, turns, arena, state, weights, end };
        match layout.pages() <= MOST_PAGES {
            true => Ok(layout),
            false => Err(Fault::limit(format!("the model takes {end} bytes of memory, and WebAssembly has 4 GiB"))),
        }
    }

    /// Of the memory.
    pub fn pages(&self) -> u64 {
        self.end.div_ceil(PAGE).max(1)
    }

    /// `constants` are offsets in the block of weights.
    pub fn address(&self, address: Address, constants: &[u64]) -> u64 {
        match address {
            Address::Input { index, offset } => self.inputs[index] + offset,
            Address::Output { index, offset } => self.outputs[index] + offset,
            Address::Symbols { offset } => self.symbols + offset,
            Address::Arena { offset } => self.arena + offset,
            Address::Scratch { offset } => self.scratch + offset,
            Address::State { offset } => self.state + offset,
            Address::Constant { index, offset } => self.weights + constants[index] + offset,
        }
    }
}
