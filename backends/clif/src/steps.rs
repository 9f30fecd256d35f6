//! The calls of a program as a table, and the function that makes call number i of a step from it. Calls whose addresses advance
//! evenly are one record with strides, in up to three nested counts, so a step of thousands of tiles takes some tens of bytes.
//! It refuses to know who calls it, and on which worker.
//!
//! The table starts with its steps, 12 bytes each: where its records start (from the start of the table), how many they are,
//! how many calls they make; where a model has steps that not every size wants, 4 bytes more: what the step asks of symbols,
//! from the step on. That is a count, then for each the symbol's place in bytes, its least and its largest value, 64 bits each.
//! Where a model repeats steps there are 12 bytes more: the place in the context of the turns that were made of the innermost
//! repeat around the step (0: there is none), how many it takes (below 0: as many as the symbol says whose number's complement
//! it is), and one more than the bytes of the table to go back behind the step (0: on to the next). A record holds, little endian:
//! ```text
//! u16 kernel      its number, and bit 15 if it returns a status
//! u16 base[slots] which base each argument counts from
//! u32 first       the number of its first call within the step
//! u32 period[depth - 1]   calls per turn of each count but the innermost, inner first
//! int offset, stride[depth]   for each slot; inner first; 32 bits, or 64 where a program needs it; then, where a model
//!                     repeats steps, how far it moves from turn to turn; below 0 it counts from the last turn
//! ```

use artifact::{Content, Symbol};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, JumpTableData, MemFlagsData, TrapCode, Value};
use ir::Program;
use ir::fault::Fault;
use ir::kernel::KernelBody;
use ir::program::{Address, Call, Turns};

use crate::Target;
use crate::entry::{ARENA, BASES, FIRST_PORT, Level, SCRATCH, STATE, SYMBOLS, TURN_LEFT, TURN_NOW, WEIGHTS};
use crate::function::{Body, I32, I64, function};

/// Bytes of a step in the tables of these programs.
pub(crate) fn step_bytes(programs: &[&Program]) -> i64 {
    let guarded = programs.iter().flat_map(|p| &p.steps).any(|step| !step.when.is_empty());
    match programs.iter().any(|p| !p.repeats.is_empty()) {
        true => i64::from(BACK) + 4,
        false => i64::from(WHEN) + if guarded { 4 } else { 0 },
    }
}

/// Bytes of what a step asks of one symbol.
pub(crate) const GUARD: i64 = 24;
/// Places in a step.
const RECORDS: i32 = 0;
const COUNT: i32 = 4;
pub(crate) const CALLS: i32 = 8;
pub(crate) const WHEN: i32 = 12;
/// Only where steps repeat.
pub(crate) const TURN: i32 = 16;
pub(crate) const TURNS: i32 = 20;
pub(crate) const BACK: i32 = 24;

const RETURNS_STATUS: u16 = 1 << 15;

/// Calls that differ by even strides.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    kernel: usize,
    /// How often, inner first.
    counts: Vec<u64>,
    args: Vec<Strided>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Strided {
    base: usize,
    offset: u64,
    /// From turn to turn.
    advance: i64,
    /// One per count.
    strides: Vec<i64>,
}

impl Run {
    fn of(call: &Call, level: &Level) -> Run {
        let inputs = level.program.inputs.len();
        let args = call.args.iter().enumerate().map(|(i, address)| {
            let (base, offset) = match *address {
                Address::Arena { offset } => (ARENA, offset),
                Address::Scratch { offset } => (SCRATCH, offset),
                Address::Constant { index, offset } => (WEIGHTS, level.constants[index] + offset),
                Address::State { offset } => (STATE, offset),
                Address::Input { index, offset } => (FIRST_PORT + index, offset),
                Address::Output { index, offset } => (FIRST_PORT + inputs + index, offset),
                Address::Symbols { offset } => (SYMBOLS, offset),
            };
            Strided { base, offset, advance: call.advance_of(i), strides: Vec::new() }
        });
        Run { kernel: call.kernel, counts: Vec::new(), args: args.collect() }
    }

    fn calls(&self) -> u64 {
        self.counts.iter().product()
    }

    /// The distance to `next`, argument by argument, if nothing else differs.
    fn distance(&self, next: &Run) -> Option<Vec<i64>> {
        let alike = self.kernel == next.kernel && self.counts == next.counts;
        let same = |(a, b): (&Strided, &Strided)| a.base == b.base && a.advance == b.advance && a.strides == b.strides;
        let alike = alike && self.args.len() == next.args.len() && self.args.iter().zip(&next.args).all(same);
        alike.then(|| self.args.iter().zip(&next.args).map(|(a, b)| b.offset.wrapping_sub(a.offset) as i64).collect())
    }
}

/// One more count around runs of evenly spaced runs.
fn fold(runs: Vec<Run>) -> Vec<Run> {
    let mut folded = Vec::new();
    let mut at = 0;
    while at < runs.len() {
        let first = &runs[at];
        let distance = runs.get(at + 1).and_then(|next| first.distance(next));
        let mut end = at + 1;
        while distance.is_some() && end < runs.len() && runs[end - 1].distance(&runs[end]) == distance {
            end += 1;
        }
        let mut run = first.clone();
        run.counts.push((end - at) as u64);
        let distance = distance.unwrap_or_else(|| vec![0; run.args.len()]);
        run.args.iter_mut().zip(distance).for_each(|(arg, stride)| arg.strides.push(stride));
        folded.push(run);
        at = end;
    }
    folded
}

/// How the records of a level are laid out.
struct Form {
    slots: usize,
    depth: usize,
    /// Offsets and strides take 64 bits.
    wide: bool,
    /// Arguments may move from turn to turn.
    moves: bool,
}

impl Form {
    fn bases(&self) -> usize {
        2
    }
    fn first(&self) -> usize {
        (2 + 2 * self.slots).next_multiple_of(4)
    }
    fn periods(&self) -> usize {
        self.first() + 4
    }
    fn number(&self) -> usize {
        if self.wide { 8 } else { 4 }
    }
    fn numbers(&self) -> usize {
        (self.periods() + 4 * (self.depth - 1)).next_multiple_of(self.number())
    }
    /// Numbers of an argument.
    fn each(&self) -> usize {
        1 + self.depth + usize::from(self.moves)
    }
    fn bytes(&self) -> usize {
        self.numbers() + self.slots * self.each() * self.number()
    }
}

/// `NAME.LEVEL.steps`, `NAME.LEVEL.execute`, in this order.
/// Fault: a table or function larger than its addresses reach.
pub(crate) fn steps(target: &Target, level: &Level, name: &str, worker_bytes: u64, step_bytes: i64) -> Result<[Symbol; 2], Fault> {
    let program = level.program;
    let mut best: Option<(usize, usize, Vec<Vec<Run>>)> = None;
    let mut runs: Vec<Vec<Run>> = program.steps.iter().map(|step| step.calls.iter().map(|call| Run::of(call, level)).collect()).collect();
    let slots = program.steps.iter().flat_map(|s| &s.calls).map(|call| call.args.len()).max().unwrap_or(0);
    let moves = step_bytes > i64::from(TURN);
    for depth in 1..=3 {
        runs = runs.into_iter().map(fold).collect();
        let bytes = Form { slots, depth, wide: false, moves }.bytes() * runs.iter().map(Vec::len).sum::<usize>();
        if best.as_ref().is_none_or(|(least, ..)| bytes < *least) {
            best = Some((bytes, depth, runs.clone()));
        }
    }
    let (_, depth, runs) = best.expect("there is a depth of 1");
    let numbers = runs.iter().flatten().flat_map(|run| &run.args);
    let small = |n: &i64| i32::try_from(*n).is_ok();
    let mut fits = numbers.map(|arg| arg.offset <= u64::from(u32::MAX) && arg.strides.iter().chain([&arg.advance]).all(small));
    let wide = !fits.all(|fits| fits);
    let form = Form { slots, depth, wide, moves };
    let many = runs.iter().any(|runs| runs.len() > 1);
    let table =
        table(level, &form, &runs, step_bytes as usize).ok_or_else(|| Fault::limit(format!("`{name}` takes too many calls to compile")))?;
    let table_name = format!("{name}.{}.steps", level.name);
    let execute = format!("{name}.{}.execute", level.name);
    let function = function(&target.any, target.machine, &execute, &[I64; 4], &[I32], |body, params| {
        let [context, step, i, worker] = params.try_into().expect("four were declared");
        Execute { body, level, form: &form, context, step, worker_bytes }.write(&table_name, i, worker, many);
    })?;
    Ok([Symbol::constant(table_name, 8, Content::Bytes(table)), function])
}

/// `None`: a number in it is too large.
fn table(level: &Level, form: &Form, runs: &[Vec<Run>], step_bytes: usize) -> Option<Vec<u8>> {
    let mut heads = Vec::new();
    let mut records = Vec::new();
    let steps = (runs.len() * step_bytes).next_multiple_of(8);
    let word = |value: u64| u32::try_from(value).ok();
    let (guards, places) = match step_bytes > WHEN as usize {
        true => guards(level.program),
        false => (Vec::new(), Vec::new()),
    };
    let start = steps + guards.len();
    for (number, step) in runs.iter().enumerate() {
        let head = heads.len();
        heads.extend(word((start + records.len()) as u64)?.to_le_bytes());
        heads.extend(word(step.len() as u64)?.to_le_bytes());
        let calls = step.iter().map(Run::calls).sum::<u64>();
        heads.extend(i32::try_from(calls).ok()?.to_le_bytes());
        if let Some(place) = places.get(number) {
            heads.extend(word((steps + place - head) as u64)?.to_le_bytes());
        }
        if form.moves {
            heads.extend(turns(level, number, step_bytes)?.iter().flat_map(|field| field.to_le_bytes()));
        }
        let mut first = 0;
        for run in step {
            let begin = records.len();
            let status = match level.program.kernels[run.kernel].body {
                KernelBody::Scalar(_) => RETURNS_STATUS,
                KernelBody::Tile(_) => 0,
            };
            let kernel = u16::try_from(run.kernel).ok().filter(|kernel| kernel & RETURNS_STATUS == 0)?;
            records.extend((kernel | status).to_le_bytes());
            for arg in &run.args {
                records.extend(u16::try_from(arg.base).ok()?.to_le_bytes());
            }
            records.resize(begin + form.first(), 0);
            records.extend(word(first)?.to_le_bytes());
            let mut period = 1;
            for count in &run.counts[..form.depth - 1] {
                period *= count;
                records.extend(word(period)?.to_le_bytes());
            }
            records.resize(begin + form.numbers(), 0);
            for arg in &run.args {
                let mut number = |value: u64| records.extend(&value.to_le_bytes()[..form.number()]);
                number(arg.offset);
                arg.strides.iter().for_each(|stride| number(*stride as u64));
                if form.moves {
                    number(arg.advance as u64);
                }
            }
            records.resize(begin + form.bytes(), 0);
            first += run.calls();
        }
    }
    heads.resize(steps, 0);
    heads.extend(guards);
    heads.extend(records);
    Some(heads)
}

/// Where the turns of a step are counted, how many they are, how many bytes to go back behind it.
fn turns(level: &Level, step: usize, step_bytes: usize) -> Option<[i32; 3]> {
    let program = level.program;
    let Some(repeat) = program.repeat_of(step) else { return Some([0; 3]) };
    let turns = match program.repeats[repeat].turns {
        Turns::Fixed(turns) => i32::try_from(turns).ok()?,
        Turns::Symbol(symbol) => !i32::try_from(symbol).ok()?,
    };
    let back = match program.repeat_ending(step) {
        Some(ending) => i32::try_from((step - program.repeats[ending].first) * step_bytes).ok()?,
        None => 0,
    };
    // a repeat of one step goes back to itself, which is not to go on
    let back = if program.repeat_ending(step).is_some() { back + 1 } else { 0 };
    Some([turn_place(program, repeat), turns, back])
}

/// Where the turns of a repeat are counted in the context, behind the bases.
fn turn_place(program: &Program, repeat: usize) -> i32 {
    BASES + 8 * (FIRST_PORT + program.inputs.len() + program.outputs.len() + repeat) as i32
}

/// What steps ask of symbols, each list once, and where that of each step starts.
fn guards(program: &Program) -> (Vec<u8>, Vec<usize>) {
    let (mut lists, mut known) = (Vec::new(), Vec::new());
    let places = program.steps.iter().map(|step| match known.iter().find(|(when, _)| *when == &step.when) {
        Some((_, place)) => *place,
        None => {
            let place = lists.len();
            lists.extend((step.when.len() as u64).to_le_bytes());
            for when in &step.when {
                [8 * when.symbol as i64, when.low, when.high].iter().for_each(|field| lists.extend(field.to_le_bytes()));
            }
            known.push((&step.when, place));
            place
        }
    });
    let places = places.collect();
    (lists, places)
}

/// `int32_t execute(context, step, int64_t i, int64_t worker)`: makes call `i` of the step and returns its status.
struct Execute<'e, 'b, 'l> {
    body: &'e mut Body<'b>,
    level: &'e Level<'l>,
    form: &'e Form,
    context: Value,
    step: Value,
    worker_bytes: u64,
}

impl Execute<'_, '_, '_> {
    fn write(mut self, table: &str, i: Value, worker: Value, many: bool) {
        let start = self.body.load_u32(self.step, RECORDS);
        let base = self.body.address(table);
        let mut record = self.body.add(base, start);
        let mut nth = i;
        if many {
            record = self.find(record, i);
            let first = self.body.load_u32(record, self.form.first() as i32);
            nth = self.body.b.ins().isub(i, first);
        }
        let counts = self.counts(record, nth);
        let args = self.arguments(record, &counts, worker);

        let head = self.body.load_u16(record, 0);
        let kernel = self.body.and_imm(head, i64::from(!RETURNS_STATUS));
        let address = self.kernel_address(kernel);
        let status = self.body.call_address(address, &args, Some(I32)).expect("it was asked for");
        let checked = self.body.and_imm(head, i64::from(RETURNS_STATUS));
        // a tile kernel leaves anything where a status would be
        let none = self.body.int(I32, 0);
        let status = self.body.b.ins().select(checked, status, none);
        self.body.give(status);
    }

    /// The last record of the step whose first call is not behind `i`.
    fn find(&mut self, records: Value, i: Value) -> Value {
        let (bytes, first) = (self.form.bytes() as i64, self.form.first() as i32);
        let body = &mut *self.body;
        let count = body.load_u32(self.step, COUNT);
        let zero = body.long(0);
        let (low, high) = (body.var(I64, zero), body.var(I64, count));
        let (head, inside, next) = (body.block(), body.block(), body.block());
        body.jump(head);
        body.at(head);
        let (from, to) = (body.get(low), body.get(high));
        let more = body.b.ins().isub(to, from);
        let more = body.cmp_imm(IntCC::UnsignedGreaterThan, more, 1);
        body.branch(more, inside, next);
        body.at(inside);
        let sum = body.add(from, to);
        let one = body.long(1);
        let middle = body.b.ins().ushr(sum, one);
        let offset = body.mul_imm(middle, bytes);
        let at = body.add(records, offset);
        let begins = body.load_u32(at, first);
        let behind = body.cmp(IntCC::UnsignedGreaterThan, begins, i);
        let from = body.b.ins().select(behind, from, middle);
        let to = body.b.ins().select(behind, middle, to);
        body.set(low, from);
        body.set(high, to);
        body.jump(head);
        body.at(next);
        let low = body.get(low);
        let offset = body.mul_imm(low, bytes);
        body.add(records, offset)
    }

    /// The position of call `nth` of a record in each of its counts, inner first.
    fn counts(&mut self, record: Value, nth: Value) -> Vec<Value> {
        let mut rest = self.body.b.ins().ireduce(I32, nth);
        let mut counts = Vec::new();
        for level in (1..self.form.depth).rev() {
            let period = self.body.load(I32, record, (self.form.periods() + 4 * (level - 1)) as i32);
            let turn = self.body.b.ins().udiv(rest, period);
            let turns = self.body.b.ins().imul(turn, period);
            rest = self.body.b.ins().isub(rest, turns);
            counts.push(turn);
        }
        counts.push(rest);
        counts.reverse();
        counts.into_iter().map(|count| self.body.b.ins().uextend(I64, count)).collect()
    }

    fn number(&mut self, record: Value, slot: usize, nth: usize) -> Value {
        let at = self.form.numbers() + (slot * self.form.each() + nth) * self.form.number();
        match (self.form.wide, nth) {
            (true, _) => self.body.load(I64, record, at as i32),
            (false, 0) => self.body.load_u32(record, at as i32),
            (false, _) => self.body.b.ins().sload32(MemFlagsData::new().with_notrap(), record, at as i32),
        }
    }

    fn arguments(&mut self, record: Value, counts: &[Value], worker: Value) -> Vec<Value> {
        let scratch = self.level.program.steps.iter().flat_map(|s| &s.calls).flat_map(|c| &c.args);
        let scratch = scratch.into_iter().any(|a| matches!(a, Address::Scratch { .. }));
        let own = scratch.then(|| self.body.mul_imm(worker, self.worker_bytes as i64));
        let turn = self.form.moves.then(|| [TURN_NOW, TURN_LEFT].map(|place| self.body.load(I64, self.context, place)));
        let mut args = Vec::new();
        for slot in 0..self.form.slots {
            let base = self.body.load_u16(record, (self.form.bases() + 2 * slot) as i32);
            let place = self.body.mul_imm(base, 8);
            let place = self.body.add(self.context, place);
            let mut address = self.body.load(I64, place, BASES);
            let offset = self.number(record, slot, 0);
            address = self.body.add(address, offset);
            for (nth, count) in counts.iter().enumerate() {
                let stride = self.number(record, slot, 1 + nth);
                let distance = self.body.b.ins().imul(stride, *count);
                address = self.body.add(address, distance);
            }
            if let Some([now, left]) = turn {
                let advance = self.number(record, slot, 1 + counts.len());
                let back = self.body.cmp_imm(IntCC::SignedLessThan, advance, 0);
                let zero = self.body.long(0);
                let negative = self.body.b.ins().isub(zero, advance);
                let each = self.body.b.ins().select(back, negative, advance);
                let turns = self.body.b.ins().select(back, left, now);
                let distance = self.body.b.ins().imul(each, turns);
                address = self.body.add(address, distance);
            }
            if let Some(own) = own {
                let is_scratch = self.body.cmp_imm(IntCC::Equal, base, SCRATCH as i64);
                let none = self.body.long(0);
                let own = self.body.b.ins().select(is_scratch, own, none);
                address = self.body.add(address, own);
            }
            args.push(address);
        }
        args
    }

    fn kernel_address(&mut self, kernel: Value) -> Value {
        let body = &mut *self.body;
        let (join, never) = (body.block(), body.cold());
        let address = body.b.append_block_param(join, I64);
        let blocks: Vec<_> = self.level.kernels.iter().map(|_| body.block()).collect();
        let calls: Vec<_> = blocks.iter().map(|block| body.b.func.dfg.block_call(*block, &[])).collect();
        let default = body.b.func.dfg.block_call(never, &[]);
        let table = body.b.create_jump_table(JumpTableData::new(default, &calls));
        let kernel = body.b.ins().ireduce(I32, kernel);
        body.b.ins().br_table(kernel, table);
        for (block, symbol) in blocks.into_iter().zip(self.level.kernels) {
            body.at(block);
            let function = body.function_address(symbol);
            body.b.ins().jump(join, &[BlockArg::Value(function)]);
        }
        body.at(never);
        body.b.ins().trap(TrapCode::unwrap_user(1));
        body.at(join);
        address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::Program;

    fn call(kernel: usize, offsets: &[u64]) -> Call {
        Call::new(kernel, offsets.iter().map(|offset| Address::Arena { offset: *offset }).collect())
    }

    fn runs(calls: &[Call], depth: usize) -> Vec<Run> {
        let program = Program::default();
        let level = Level { program: &program, name: "x", mask: 0, kernels: &[], constants: &[] };
        (0..depth).fold(calls.iter().map(|call| Run::of(call, &level)).collect(), |runs, _| fold(runs))
    }

    /// What a table means, call by call.
    fn expand(run: &Run) -> Vec<Call> {
        let call = |i: u64| {
            let offset = |arg: &Strided| {
                let mut rest = i;
                let mut offset = arg.offset as i64;
                for (count, stride) in run.counts.iter().zip(&arg.strides) {
                    offset += (rest % count) as i64 * stride;
                    rest /= count;
                }
                offset as u64
            };
            self::call(run.kernel, &run.args.iter().map(offset).collect::<Vec<u64>>())
        };
        (0..run.calls()).map(call).collect()
    }

    #[test]
    fn even_strides_fold_and_mean_the_same_calls() {
        let mut calls = Vec::new();
        for panel in 0..3 {
            for y in 0..4 {
                calls.extend((0..5).map(|x| call(0, &[x * 64 + y * 1000, 7777 - panel * 128, x * 32 + panel * 5])));
                calls.push(call(1, &[5 * 64 + y * 1000, 7777 - panel * 128, panel]));
            }
        }
        for depth in 1..=3 {
            let runs = runs(&calls, depth);
            assert_eq!(runs.iter().flat_map(expand).collect::<Vec<_>>(), calls, "depth {depth}");
        }
        assert_eq!(runs(&calls[..5], 3).len(), 1);
        let rows: Vec<Call> = calls.iter().filter(|call| call.kernel == 0).cloned().collect();
        assert_eq!([1, 2, 3].map(|depth| runs(&rows, depth).len()), [12, 3, 1]);
    }

    #[test]
    fn uneven_calls_stay_apart() {
        let calls = [call(0, &[0]), call(0, &[1]), call(0, &[5]), call(1, &[6]), call(0, &[])];
        let runs = runs(&calls, 1);
        assert_eq!(runs.iter().map(Run::calls).collect::<Vec<_>>(), [2, 1, 1, 1]);
        assert_eq!(runs.iter().flat_map(expand).collect::<Vec<_>>(), calls);
    }
}
