//! Steps that run over and over: a range of the list of steps, and how often. Arguments may move from turn to turn. Repeats
//! nest, and no two end at the same step, so that whoever runs them needs to ask behind a step only whether to go back.

use super::{Address, Program};

/// Steps `first` to `last`, both included, in turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    pub first: usize,
    pub last: usize,
    pub turns: Turns,
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turns {
    /// At least once.
    Fixed(u64),
    /// As often as this symbol says. Where that may be 0, the steps themselves wait for at least 1.
    Symbol(usize),
}

impl Program {
    /// The innermost repeat that has a step, by number.
    pub fn repeat_of(&self, step: usize) -> Option<usize> {
        let holds = |r: &&Repeat| (r.first..=r.last).contains(&step);
        let inner = self.repeats.iter().enumerate().filter(|(_, r)| holds(r));
        inner.min_by_key(|(_, r)| r.last - r.first).map(|(i, _)| i)
    }

    /// The repeat that ends with a step.
    pub fn repeat_ending(&self, step: usize) -> Option<usize> {
        self.repeats.iter().position(|r| r.last == step)
    }

    /// The most turns that a repeat may take.
    pub fn most_turns(&self, repeat: usize) -> u64 {
        match self.repeats[repeat].turns {
            Turns::Fixed(turns) => turns,
            Turns::Symbol(symbol) => self.symbols.get(symbol).map_or(0, |s| s.high.max(0) as u64),
        }
    }

    /// How often a step runs in all while the first symbols have these values; the others have their largest.
    pub fn turns_at(&self, step: usize, sizes: &[i64]) -> u64 {
        let around = self.repeats.iter().enumerate().filter(|(_, r)| (r.first..=r.last).contains(&step));
        let turns = |(i, r): (usize, &Repeat)| match r.turns {
            Turns::Symbol(symbol) if symbol < sizes.len() => sizes[symbol].max(0) as u64,
            Turns::Fixed(_) | Turns::Symbol(_) => self.most_turns(i),
        };
        around.map(turns).fold(1, u64::saturating_mul)
    }

    /// How far an argument of a step that moves by `advance` comes in any turn.
    pub(super) fn furthest(&self, step: usize, advance: i64) -> i128 {
        let turns = self.repeat_of(step).map_or(1, |r| self.most_turns(r));
        i128::from(advance.unsigned_abs()) * i128::from(turns.saturating_sub(1))
    }
}

impl Address {
    /// The address `bytes` further on.
    pub fn moved(self, bytes: u64) -> Address {
        let mut address = self;
        match &mut address {
            Address::Input { offset, .. }
            | Address::Output { offset, .. }
            | Address::Arena { offset }
            | Address::Scratch { offset }
            | Address::Constant { offset, .. }
            | Address::State { offset }
            | Address::Symbols { offset } => *offset += bytes,
        }
        address
    }
}

/// What is wrong with the repeats of a program.
pub(super) fn verify(program: &Program, faults: &mut Vec<String>) {
    let steps = program.steps.len();
    for (i, r) in program.repeats.iter().enumerate() {
        if r.first > r.last || r.last >= steps {
            faults.push(format!("repeat {i} goes from step {} to {} of {steps}", r.first, r.last));
            continue;
        }
        match r.turns {
            Turns::Fixed(0) => faults.push(format!("repeat {i} takes no turns")),
            Turns::Fixed(_) => {}
            Turns::Symbol(symbol) => {
                let Some(s) = program.symbols.get(symbol) else {
                    faults.push(format!("repeat {i} takes symbol {symbol} of {} turns", program.symbols.len()));
                    continue;
                };
                let waits = |step: &super::Step| step.when.iter().any(|w| w.symbol == symbol && w.low >= 1);
                if s.low < 1 && !program.steps[r.first..=r.last].iter().all(waits) {
                    faults.push(format!("repeat {i} may take no turns, and not all of its steps wait for one"));
                }
            }
        }
        for (j, other) in program.repeats.iter().enumerate().skip(i + 1) {
            let apart = r.last < other.first || other.last < r.first;
            let nested = (r.first <= other.first && other.last < r.last) || (other.first <= r.first && r.last < other.last);
            if !apart && !nested {
                faults.push(format!("repeats {i} and {j} overlap, or end together"));
            }
        }
    }
    for (i, step) in program.steps.iter().enumerate() {
        for call in &step.calls {
            let moves = call.advance.iter().any(|&by| by != 0);
            if !call.advance.is_empty() && call.advance.len() != call.args.len() || moves && program.repeat_of(i).is_none() {
                faults.push(format!("step {i} ({}) has arguments that move, and it does not repeat", step.what));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{facts, two_steps};
    use super::super::{Symbol, When, run, verify};
    use super::*;
    use crate::program::Origin;
    use crate::tensor::Tensor;

    /// `y[i] = -|x[i]|` for rows of four, as often as there are rows; `backward` writes them the other way round.
    fn rows(turns: usize, backward: bool) -> Program {
        let mut program = two_steps();
        for port in program.inputs.iter_mut().chain(&mut program.outputs) {
            port.ty = crate::tensor::Type::of(port.ty.dtype, &[turns, 4]);
            port.bytes = 16 * turns as u64;
        }
        program.steps[0].calls[0].advance = vec![16, 0];
        program.steps[1].calls[0].advance = vec![0, if backward { -16 } else { 16 }];
        program.repeats = vec![Repeat { first: 0, last: 1, turns: Turns::Fixed(turns as u64) }];
        program
    }

    #[test]
    fn steps_repeat_and_arguments_move() {
        let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let given = Tensor::f32s(&[3, 4], &x);
        let forward = run(&rows(3, false), &facts(), std::slice::from_ref(&given)).expect("it runs");
        assert_eq!(forward[0].to_f32s(), x.iter().map(|v| -v).collect::<Vec<_>>());
        let backward = run(&rows(3, true), &facts(), &[given]).expect("it runs");
        assert_eq!(backward[0].to_f32s()[..5], [-8.0, -9.0, -10.0, -11.0, -4.0]);
        assert_eq!(verify(&rows(3, true), &facts()), Ok(()));
        assert_eq!((rows(3, false).turns_at(1, &[]), rows(3, false).repeat_of(0)), (3, Some(0)));
    }

    #[test]
    fn what_moves_too_far_is_refused() {
        let refused = |breaks: &dyn Fn(&mut Program), says: &str| {
            let mut program = rows(3, true);
            breaks(&mut program);
            let faults = verify(&program, &facts()).expect_err("it must be refused");
            assert!(faults.iter().any(|f| f.contains(says)), "{faults:?}");
        };
        refused(&|p| p.repeats[0].turns = Turns::Fixed(4), "bytes 0..64 of input 0, which has 48");
        refused(&|p| p.repeats.clear(), "does not repeat");
        refused(&|p| p.repeats[0].turns = Turns::Fixed(0), "takes no turns");
        refused(&|p| p.repeats[0].last = 2, "from step 0 to 2 of 2");
        refused(&|p| p.repeats.push(Repeat { first: 1, last: 1, turns: Turns::Fixed(2) }), "end together");
        refused(&|p| p.repeats[0].turns = Turns::Symbol(1), "symbol 1 of 0 turns");
        let open = |low: i64| Symbol { name: "n".into(), low, high: 3, origin: Origin::Free };
        refused(
            &|p| {
                p.symbols = vec![open(0)];
                p.repeats[0].turns = Turns::Symbol(0);
            },
            "may take no turns",
        );
        let mut waits = rows(3, false);
        waits.symbols = vec![open(0)];
        waits.repeats[0].turns = Turns::Symbol(0);
        waits.steps.iter_mut().for_each(|step| step.when = vec![When { symbol: 0, low: 1, high: 3 }]);
        assert_eq!(verify(&waits, &facts()), Ok(()));
    }

    #[test]
    fn calls_that_move_apart_from_each_other_are_looked_at_in_all_turns() {
        // the first call's row of the arena meets the second's in the next turn
        let mut program = two_steps();
        (program.arena_bytes, program.plan[0].offset, program.plan[0].bytes, program.plan[0].last) = (128, 0, 128, 0);
        let second = program.steps.pop().expect("there are two").calls;
        program.steps[0].calls.extend(second);
        program.steps[0].calls[0].args[1] = Address::Arena { offset: 0 };
        program.steps[0].calls[1].args[0] = Address::Arena { offset: 16 };
        assert_eq!(verify(&program, &facts()), Ok(()));
        program.repeats = vec![Repeat { first: 0, last: 0, turns: Turns::Fixed(2) }];
        program.steps[0].calls[0].advance = vec![0, 16];
        let faults = verify(&program, &facts()).expect_err("it must be refused");
        assert!(faults[0].contains("touch the same memory"), "{faults:?}");
        program.steps[0].calls[1].advance = vec![16, 0];
        assert_eq!(verify(&program, &facts()), Ok(()));
    }
}
