//! Steps of several programs in one that measures them: each on memory of its own, so that none finds warm what another
//! left. Weights are memory like all other, and hold nothing: what is measured does not depend on values.

use std::collections::BTreeMap;
use std::ops::Range;

use ir::kernel::Kernel;
use ir::program::{Address, Call, Choice, Program, Step};

const ALIGN: i64 = 64;

/// A piece of memory of a program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Space {
    Arena,
    Constant(usize),
    Input(usize),
    Output(usize),
    State,
}

fn space(address: Address) -> Option<(Space, u64)> {
    match address {
        Address::Arena { offset } => Some((Space::Arena, offset)),
        Address::Constant { index, offset } => Some((Space::Constant(index), offset)),
        Address::Input { index, offset } => Some((Space::Input(index), offset)),
        Address::Output { index, offset } => Some((Space::Output(index), offset)),
        Address::State { offset } => Some((Space::State, offset)),
        Address::Scratch { .. } | Address::Symbols { .. } => None,
    }
}

/// The steps that a choice shaped.
pub struct Segment {
    steps: Vec<Step>,
    kernels: BTreeMap<usize, Kernel>,
    /// What they reach of each piece, in bytes.
    spaces: BTreeMap<Space, (i64, i64)>,
    worker_bytes: u64,
}

impl Segment {
    /// `None`: what they do depends on sizes or values, or there are none.
    pub fn of(program: &Program, choice: &Choice) -> Option<Segment> {
        let first = program.steps.get(choice.step)?;
        let other = |at: usize| program.choices.iter().any(|c| c.step == at && c.key != choice.key);
        let same =
            |(i, step): &(usize, &Step)| step.names == first.names && step.what == first.what && (*i == 0 || !other(choice.step + i));
        let steps: Vec<Step> = program.steps[choice.step..].iter().enumerate().take_while(same).map(|(_, step)| step.clone()).collect();
        let (mut kernels, mut spaces) = (BTreeMap::new(), BTreeMap::new());
        for call in steps.iter().flat_map(|step| &step.calls) {
            let kernel = &program.kernels[call.kernel];
            kernels.entry(call.kernel).or_insert_with(|| kernel.clone());
            for (address, arg) in call.args.iter().zip(&kernel.args) {
                if matches!(address, Address::Symbols { .. }) {
                    return None;
                }
                if let Some((space, offset)) = space(*address) {
                    let (low, high) = (offset as i64 + arg.low, offset as i64 + arg.high);
                    let range = spaces.entry(space).or_insert((low, high));
                    *range = (range.0.min(low), range.1.max(high));
                }
            }
        }
        let data = |kernel: &Kernel| matches!(kernel.body, ir::kernel::KernelBody::Scalar(_));
        let fixed = steps.iter().all(|step| step.when.is_empty()) && !kernels.values().any(data);
        // a piece starts where it would have, to the cache line
        spaces.values_mut().for_each(|range| range.0 = range.0.div_euclid(ALIGN) * ALIGN);
        fixed.then_some(Segment { steps, kernels, spaces, worker_bytes: program.worker_bytes })
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> u64 {
        self.spaces.values().map(|(low, high)| (high - low + 2 * ALIGN) as u64).sum()
    }
}

/// A program that is nothing but segments.
#[derive(Default)]
pub struct Merged {
    program: Program,
}

impl Merged {
    /// Adds the steps of a segment; returns which they are.
    pub fn add(&mut self, segment: &Segment) -> Range<usize> {
        let program = &mut self.program;
        let mut bases: BTreeMap<Space, i64> = BTreeMap::new();
        for (&space, (low, high)) in &segment.spaces {
            let start = program.arena_bytes.next_multiple_of(ALIGN as u64) + ALIGN as u64;
            bases.insert(space, start as i64 - low);
            program.arena_bytes = start + (high - low) as u64;
        }
        let mut numbers: BTreeMap<usize, usize> = BTreeMap::new();
        for (&number, kernel) in &segment.kernels {
            // equal kernels of two programs have names that may clash
            numbers.insert(number, program.kernels.len());
            program.kernels.push(Kernel { name: format!("{}_{}", kernel.name, program.kernels.len()), ..kernel.clone() });
        }
        let address = |from: Address| match space(from) {
            Some((space, offset)) => Address::Arena { offset: (offset as i64 + bases[&space]) as u64 },
            None => from,
        };
        let first = program.steps.len();
        for step in &segment.steps {
            // of steps that repeat one turn is enough
            let call = |c: &Call| Call::new(numbers[&c.kernel], c.args.iter().map(|&a| address(a)).collect());
            program.steps.push(Step { calls: step.calls.iter().map(call).collect(), ..step.clone() });
        }
        program.worker_bytes = program.worker_bytes.max(segment.worker_bytes);
        first..program.steps.len()
    }

    pub fn finish(mut self) -> Program {
        self.program.arena_align = ALIGN as u64;
        self.program.arena_bytes = self.program.arena_bytes.next_multiple_of(ALIGN as u64);
        self.program.worker_bytes = self.program.worker_bytes.next_multiple_of(ALIGN as u64);
        self.program
    }
}
