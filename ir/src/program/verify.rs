//! What a program must keep: its kernels are right for the machine, every argument lies in its buffer, what
//! must not be written is not, the arena's allocations keep apart, and so do calls of a step; symbols come in order, and
//! the dimensions of inputs and outputs are over those that nobody derives.
//!
//! Not proven here: that memory which is read was written.

use super::overlap::conflict;
use super::{Address, Allocation, Origin, Program};
use crate::dim::Dim;
use crate::kernel::{self, Access, Arg, Facts};
use std::collections::BTreeMap;

/// Everything that is wrong with the program.
pub fn verify(program: &Program, facts: &Facts) -> Result<(), Vec<String>> {
    let mut faults = Vec::new();
    kernels(program, facts, &mut faults);
    sizes(program, &mut faults);
    symbols(program, &mut faults);
    super::repeat::verify(program, &mut faults);
    let mut alive = Alive::new(program, &mut faults);
    for (i, step) in program.steps.iter().enumerate() {
        alive.step(i, &mut faults);
        for (j, call) in step.calls.iter().enumerate() {
            let place = format!("step {i} ({}), call {j}", step.what);
            let Some(kernel) = program.kernels.get(call.kernel) else {
                faults.push(format!("{place}: kernel {} of {}", call.kernel, program.kernels.len()));
                continue;
            };
            if kernel.args.len() != call.args.len() {
                faults.push(format!("{place}: {} takes {} arguments, not {}", kernel.name, kernel.args.len(), call.args.len()));
            }
            for (n, (arg, &address)) in kernel.args.iter().zip(&call.args).enumerate() {
                let further = program.furthest(i, call.advance_of(n));
                if let Some(fault) = argument(program, &alive, arg, address, further) {
                    faults.push(format!("{place}: `{}` of {}: {fault}", arg.name, kernel.name));
                }
            }
        }
    }
    // only kernels that end are followed
    if faults.is_empty() {
        for (i, step) in program.steps.iter().enumerate() {
            if let Some((a, b)) = conflict(program, i, step, facts) {
                faults.push(format!("step {i} ({}): calls {a} and {b} touch the same memory, and one writes it", step.what));
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn kernels(program: &Program, facts: &Facts, faults: &mut Vec<String>) {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, kernel) in program.kernels.iter().enumerate() {
        if let Some(first) = names.insert(&kernel.name, i) {
            faults.push(format!("kernels {first} and {i} are both called {}", kernel.name));
        }
        if let Err(list) = kernel::verify(kernel, facts) {
            faults.extend(list.into_iter().map(|fault| format!("{}: {fault}", kernel.name)));
        }
    }
}

fn symbols(program: &Program, faults: &mut Vec<String>) {
    let base = |name: &str| program.symbols.iter().any(|s| &*s.name == name && !matches!(s.origin, Origin::Derived(_)));
    let known = program.symbols.iter().take_while(|s| matches!(s.origin, Origin::Free | Origin::State { .. })).count();
    let mut names = BTreeMap::new();
    for (i, symbol) in program.symbols.iter().enumerate() {
        let name = &symbol.name;
        if let Some(first) = names.insert(name, i) {
            faults.push(format!("symbols {first} and {i} are both called \"{name}\""));
        }
        if symbol.low < 0 || symbol.high < symbol.low {
            faults.push(format!("symbol \"{name}\" is in {}..={}", symbol.low, symbol.high));
        }
        if symbol.origin == Origin::Free && i >= program.free_symbols() {
            faults.push(format!("symbol \"{name}\" is free, and stands behind one that is not"));
        }
        if matches!(symbol.origin, Origin::State { .. }) && i >= known {
            faults.push(format!("symbol \"{name}\" is the state's, and stands behind one that is computed"));
        }
        if let Origin::State { offset } = symbol.origin
            && (!offset.is_multiple_of(8) || offset.checked_add(8).is_none_or(|end| end > program.state_bytes))
        {
            faults.push(format!("symbol \"{name}\" lies at byte {offset} of a state of {}", program.state_bytes));
        }
        if let Origin::Derived(dim) = &symbol.origin
            && let Some(unknown) = dim.symbols().into_iter().find(|name| !base(name))
        {
            faults.push(format!("symbol \"{name}\" is derived from \"{unknown}\", which nobody gives"));
        }
    }
    for port in program.inputs.iter().chain(&program.outputs) {
        if let Some(unknown) = port.ty.shape.iter().flat_map(|d| d.symbols()).find(|name| !base(name)) {
            faults.push(format!("\"{}\" has the dimension \"{unknown}\", which nobody gives", port.name));
        }
    }
    for (i, step) in program.steps.iter().enumerate() {
        if let Some(when) = step.when.iter().find(|w| w.symbol >= program.symbols.len()) {
            faults.push(format!("step {i} ({}) waits for symbol {} of {}", step.what, when.symbol, program.symbols.len()));
        }
    }
}

fn sizes(program: &Program, faults: &mut Vec<String>) {
    let ranges = program.ranges();
    for port in program.inputs.iter().chain(&program.outputs) {
        let bound = |n: i64, dim: &Dim| n.saturating_mul(dim.bounds(&ranges).1);
        let bytes = port.ty.shape.iter().fold(port.ty.dtype.bytes() as i64, bound);
        if u64::try_from(bytes) != Ok(port.bytes) {
            faults.push(format!("\"{}\" is {}, which takes {bytes} bytes, not {}", port.name, port.ty, port.bytes));
        }
    }
    let mut power = |what: String, align: u64| {
        if !align.is_power_of_two() {
            faults.push(format!("{what} is aligned to {align}, which is no power of 2"));
        }
    };
    program.constants.iter().enumerate().for_each(|(i, c)| power(format!("constant {i}"), c.align));
    if program.arena_bytes > 0 {
        power("the arena".into(), program.arena_align);
        if !program.arena_bytes.is_multiple_of(program.arena_align) {
            faults.push(format!("the arena of {} bytes is no multiple of its alignment {}", program.arena_bytes, program.arena_align));
        }
    }
}

/// The allocations in use at a step. Where none overlap, the one that begins last before an address is the only one that
/// can hold it.
struct Alive<'p> {
    /// In the order of their first steps, those to come at the end.
    coming: Vec<&'p Allocation>,
    /// By where they begin.
    here: BTreeMap<u64, &'p Allocation>,
    /// By their last step, where they begin.
    ends: BTreeMap<usize, Vec<u64>>,
}

impl<'p> Alive<'p> {
    fn new(program: &'p Program, faults: &mut Vec<String>) -> Alive<'p> {
        for a in &program.plan {
            if a.first > a.last || a.last >= program.steps.len() {
                faults.push(format!("\"{}\" is in use from step {} to {} of {}", a.name, a.first, a.last, program.steps.len()));
            }
            if a.offset.checked_add(a.bytes).is_none_or(|end| end > program.arena_bytes) {
                faults
                    .push(format!("\"{}\" lies at {}, {} bytes, outside the arena of {}", a.name, a.offset, a.bytes, program.arena_bytes));
            }
        }
        let mut coming: Vec<&Allocation> = program.plan.iter().filter(|a| a.bytes > 0 && a.first <= a.last).collect();
        coming.sort_by_key(|a| std::cmp::Reverse(a.first));
        Alive { coming, here: BTreeMap::new(), ends: BTreeMap::new() }
    }

    /// Goes on to `step`: lets go what ended, and takes what begins. Fault: it overlaps what is there.
    fn step(&mut self, step: usize, faults: &mut Vec<String>) {
        for offset in step.checked_sub(1).and_then(|before| self.ends.remove(&before)).into_iter().flatten() {
            self.here.remove(&offset);
        }
        while let Some(b) = self.coming.pop_if(|a| a.first <= step) {
            let end = b.offset.saturating_add(b.bytes);
            let neighbours = [self.here.range(..=b.offset).next_back(), self.here.range(b.offset..).next()];
            let overlap = neighbours.into_iter().flatten().find(|(_, a)| a.offset < end && b.offset < a.offset.saturating_add(a.bytes));
            if let Some((_, a)) = overlap {
                let steps = (a.first.max(b.first), a.last.min(b.last));
                faults.push(format!("\"{}\" and \"{}\" overlap in the arena from step {} to {}", a.name, b.name, steps.0, steps.1));
                continue;
            }
            self.here.insert(b.offset, b);
            self.ends.entry(b.last).or_default().push(b.offset);
        }
    }

    /// Whether one allocation has all these bytes.
    fn holds(&self, low: i128, high: i128) -> bool {
        let before = u64::try_from(low).ok().and_then(|low| self.here.range(..=low).next_back());
        before.is_some_and(|(_, a)| high <= i128::from(a.offset) + i128::from(a.bytes))
    }
}

/// What is wrong with an argument that comes `further` on in some turn.
fn argument(program: &Program, alive: &Alive, arg: &Arg, address: Address, further: i128) -> Option<String> {
    let (what, offset, size, fixed) = match address {
        Address::Input { index, offset } => (format!("input {index}"), offset, program.inputs.get(index).map(|p| p.bytes), true),
        Address::Output { index, offset } => (format!("output {index}"), offset, program.outputs.get(index).map(|p| p.bytes), false),
        Address::Constant { index, offset } => (format!("constant {index}"), offset, program.constants.get(index).map(|c| c.bytes()), true),
        Address::Arena { offset } => ("the arena".into(), offset, Some(program.arena_bytes), false),
        Address::Scratch { offset } => ("the scratch".into(), offset, Some(program.worker_bytes), false),
        // the caller's own are not to be written
        Address::Symbols { offset } => {
            let fixed = i128::from(offset) + i128::from(arg.low) < 8 * program.free_symbols() as i128;
            ("the symbols".into(), offset, Some(8 * program.symbols.len() as u64), fixed)
        }
        Address::State { offset } => ("the state".into(), offset, Some(program.state_bytes), false),
    };
    let Some(size) = size else { return Some(format!("there is no {what}")) };
    let (low, high) = (i128::from(offset) + i128::from(arg.low), i128::from(offset) + i128::from(arg.high) + further);
    if low < 0 || high > size.into() {
        return Some(format!("bytes {low}..{high} of {what}, which has {size}"));
    }
    if fixed && arg.access != Access::Read {
        return Some(format!("writes {what}"));
    }
    if matches!(address, Address::Arena { .. }) && low < high && !alive.holds(low, high) {
        return Some(format!("bytes {low}..{high} of the arena are in no allocation of this step"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::samples::{facts, interleaved, two_steps};
    use super::super::{Packed, Part, Symbol, When};
    use super::*;

    /// The one fault of a program that was broken by `breaks`.
    #[track_caller]
    fn refused(breaks: impl Fn(&mut Program), says: &str) {
        let mut program = two_steps();
        breaks(&mut program);
        let faults = verify(&program, &facts()).expect_err("it must be refused");
        assert!(faults.iter().any(|f| f.contains(says)), "{faults:?}");
    }

    #[test]
    fn right_programs_pass() {
        assert_eq!(verify(&two_steps(), &facts()), Ok(()));
        assert_eq!(verify(&interleaved(), &facts()), Ok(()));
    }

    #[test]
    fn broken_programs_are_refused() {
        refused(|p| p.kernels[0].args[0].high = 4, "reads bytes 0..16");
        refused(|p| p.kernels[1].name = p.kernels[0].name.clone(), "are both called");
        refused(|p| p.steps[0].calls[0].kernel = 9, "kernel 9 of 2");
        refused(|p| p.steps[0].calls[0].args.truncate(1), "takes 2 arguments, not 1");
        refused(|p| p.steps[0].calls[0].args[0] = Address::Input { index: 0, offset: 4 }, "bytes 4..20 of input 0, which has 16");
        refused(|p| p.steps[0].calls[0].args[0] = Address::Input { index: 1, offset: 0 }, "there is no input 1");
        refused(|p| p.steps[0].calls[0].args[0] = Address::Scratch { offset: 0 }, "bytes 0..16 of the scratch, which has 0");
        refused(|p| p.steps[0].calls[0].args[0] = Address::State { offset: 0 }, "bytes 0..16 of the state, which has 0");
        refused(|p| p.steps[0].calls[0].args[1] = Address::Output { index: 0, offset: 1 }, "bytes 1..17 of output 0");
        refused(|p| p.steps[0].calls[0].args[1] = Address::Arena { offset: 64 }, "bytes 64..80 of the arena, which has 64");
        refused(|p| p.steps[0].calls[0].args[1] = Address::Arena { offset: 32 }, "in no allocation of this step");
        refused(|p| p.steps[0].calls[0].args[1] = Address::Input { index: 0, offset: 0 }, "writes input 0");
        let constant = || Packed { align: 64, parts: vec![Part::Fill { bytes: 16 }] };
        refused(
            |p| {
                p.constants.push(constant());
                p.steps[0].calls[0].args[1] = Address::Constant { index: 0, offset: 0 };
            },
            "writes constant 0",
        );
        refused(|p| p.constants.push(Packed { align: 48, ..constant() }), "constant 0 is aligned to 48");
        refused(|p| p.arena_align = 48, "the arena is aligned to 48");
        refused(|p| p.arena_bytes = 65, "no multiple of its alignment");
        refused(|p| p.inputs[0].bytes = 12, "which takes 16 bytes, not 12");
        refused(|p| p.plan[0].last = 2, "from step 0 to 2 of 2");
        refused(|p| p.plan[0].bytes = 65, "outside the arena");
        let free = |name: &str| Symbol { name: name.into(), low: 0, high: 4, origin: Origin::Free };
        refused(|p| p.symbols = vec![Symbol { low: 5, ..free("n") }], "symbol \"n\" is in 5..=4");
        refused(|p| p.symbols = vec![Symbol { origin: Origin::Data, ..free("n") }, free("m")], "stands behind one that is not");
        refused(|p| p.symbols = vec![Symbol { origin: Origin::State { offset: 8 }, ..free("n") }], "lies at byte 8 of a state of");
        refused(
            |p| p.symbols = vec![Symbol { origin: Origin::Data, ..free("n") }, Symbol { origin: Origin::State { offset: 0 }, ..free("m") }],
            "behind one that is computed",
        );
        refused(|p| p.symbols = vec![Symbol { origin: Origin::Derived(Dim::symbol("k")), ..free("n") }], "which nobody gives");
        refused(|p| p.symbols = vec![free("n"), free("n")], "are both called");
        refused(|p| p.inputs[0].ty.shape = vec![Dim::symbol("n")], "has the dimension \"n\", which nobody gives");
        refused(|p| p.steps[1].when = vec![When { symbol: 0, low: 0, high: 1 }], "waits for symbol 0 of 0");
        refused(
            |p| {
                p.symbols = vec![free("n"), free("m")];
                p.steps[0].calls[0].args[1] = Address::Symbols { offset: 0 };
            },
            "writes the symbols",
        );
        let other = Allocation { name: "other".into(), offset: 8, bytes: 16, first: 1, last: 1 };
        refused(|p| p.plan.push(other.clone()), "\"t\" and \"other\" overlap in the arena from step 1 to 1");
    }

    #[test]
    fn calls_of_a_step_keep_apart() {
        let together = |p: &mut Program| {
            let second = p.steps.pop().expect("there are two").calls;
            p.steps[0].calls.extend(second);
            p.plan[0].last = 0;
        };
        refused(together, "calls 0 and 1 touch the same memory");
        // every other element each, but from the same one on
        let mut program = interleaved();
        program.steps[0].calls[1].args[0] = Address::Output { index: 0, offset: 0 };
        let faults = verify(&program, &facts()).expect_err("it must be refused");
        assert!(faults[0].contains("calls 0 and 1 touch the same memory"), "{faults:?}");
    }
}
