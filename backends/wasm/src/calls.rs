//! The calls of a program in order, as functions. Calls whose addresses advance evenly are a loop, in up to three nested
//! counts, so that a step of thousands of tiles takes some tens of bytes. It refuses to know what is called.

use wasm_encoder::{BlockType, ValType};

use ir::program::When;

use crate::encode::{Body, Local, memarg};

/// A function to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callee {
    /// Its number in the module.
    pub function: u32,
    /// Whether it returns a status.
    pub fails: bool,
}

/// One function on its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub callee: Callee,
    pub args: Vec<u64>,
    /// How far each argument moves from turn to turn, below 0 from the last turn on; empty: none does.
    pub advance: Vec<i64>,
    /// Where the turns are counted, if it repeats.
    pub turns: u64,
}

/// How often functions are called over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Fixed(u64),
    /// As the symbol at this address says.
    Symbol(u64),
}

/// Fewer calls than this are written one by one.
const LOOP: u64 = 4;

/// Calls or loops of one function: engines compile functions one by one, and a long one late.
const LONG: usize = 200;

/// Calls that differ by even strides.
#[derive(Clone, Debug)]
struct Run {
    callee: Callee,
    args: Vec<Strided>,
    /// How often, inner first.
    counts: Vec<u64>,
    turns: u64,
}

#[derive(Clone, Debug)]
struct Strided {
    start: u64,
    advance: i64,
    /// One per count.
    strides: Vec<i64>,
}

impl Run {
    /// The distance to `next`, argument by argument, if nothing else differs.
    fn distance(&self, next: &Run) -> Option<Vec<i64>> {
        let same = |(a, b): (&Strided, &Strided)| a.strides == b.strides && a.advance == b.advance;
        let alike = self.callee == next.callee
            && self.turns == next.turns
            && self.counts == next.counts
            && self.args.iter().zip(&next.args).all(same);
        alike.then(|| self.args.iter().zip(&next.args).map(|(a, b)| b.start.wrapping_sub(a.start) as i64).collect())
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

/// Functions that take nothing and return a status, to be called in this order. Calls of different steps may share a loop:
/// the order of the calls stays.
pub fn functions(calls: &[Call]) -> Vec<Vec<u8>> {
    let mut runs: Vec<Run> = calls
        .iter()
        .map(|call| Run {
            callee: call.callee,
            args: call
                .args
                .iter()
                .enumerate()
                .map(|(i, &start)| Strided { start, advance: call.advance.get(i).copied().unwrap_or(0), strides: Vec::new() })
                .collect(),
            counts: Vec::new(),
            turns: call.turns,
        })
        .collect();
    for _ in 0..3 {
        runs = fold(runs);
    }
    let mut functions: Vec<Vec<u8>> = runs.chunks(LONG).map(function).collect();
    if functions.is_empty() {
        functions.push(function(&[]));
    }
    functions
}

/// Calls functions that return a status, until one is not 0.
pub fn all(functions: &[u32]) -> Vec<u8> {
    let callees = functions.iter().map(|&function| Callee { function, fails: true });
    let runs: Vec<Run> = callees.map(|callee| Run { callee, args: Vec::new(), counts: Vec::new(), turns: 0 }).collect();
    function(&runs)
}

/// Calls the functions, which return a status, only while every symbol of those from `symbols` on is where `when` says.
pub fn guarded(symbols: u64, when: &[When], functions: &[u32]) -> Vec<u8> {
    let mut body = Body::new(0);
    let status = body.local(ValType::I32);
    body.ins().block(BlockType::Empty);
    leave_unless(&mut body, symbols, when);
    for &function in functions {
        body.ins().call(function);
        body.tee(status);
        body.ins().br_if(0);
    }
    body.ins().end();
    body.get(status);
    body.finish()
}

/// Calls the functions, which return a status, over and over, and counts the turns at `turns`.
pub fn repeated(turns: u64, count: Count, functions: &[u32]) -> Vec<u8> {
    let mut body = Body::new(0);
    let (status, all, made) = (body.local(ValType::I32), body.local(ValType::I32), body.local(ValType::I32));
    match count {
        Count::Fixed(count) => body.int(count as u32 as i32),
        Count::Symbol(at) => {
            body.int(at as u32 as i32);
            body.ins().i64_load(memarg(0, 3)).i32_wrap_i64();
        }
    }
    body.set(all);
    body.ins().block(BlockType::Empty);
    body.get(all);
    body.int(1);
    body.ins().i32_lt_s().br_if(0).loop_(BlockType::Empty);
    body.int(turns as u32 as i32);
    body.get(made);
    body.ins().i32_store(memarg(0, 2));
    body.int(turns as u32 as i32);
    body.get(all);
    body.get(made);
    body.ins().i32_sub().i32_const(1).i32_sub().i32_store(memarg(4, 2));
    for &function in functions {
        body.ins().call(function);
        body.tee(status);
        body.ins().br_if(1);
    }
    body.get(made);
    body.ins().i32_const(1).i32_add();
    body.tee(made);
    body.get(all);
    body.ins().i32_lt_s().br_if(0).end().end();
    body.get(status);
    body.finish()
}

/// Copies integers from the first to the second address of each pair, then returns 0 if every symbol is where `when` says,
/// else `status`.
pub fn begin(loaded: &[(u64, u64)], symbols: u64, when: &[When], status: i32) -> Vec<u8> {
    let mut body = Body::new(0);
    for &(from, to) in loaded {
        body.int(to as u32 as i32);
        body.int(from as u32 as i32);
        body.ins().i64_load(memarg(0, 3)).i64_store(memarg(0, 3));
    }
    body.ins().block(BlockType::Empty);
    leave_unless(&mut body, symbols, when);
    body.int(0);
    body.ins().return_().end();
    body.int(status);
    body.finish()
}

/// Leaves the innermost block unless every symbol is where `when` says.
fn leave_unless(body: &mut Body, symbols: u64, when: &[When]) {
    for when in when {
        let value = |body: &mut Body| {
            body.int((symbols + 8 * when.symbol as u64) as u32 as i32);
            body.ins().i64_load(memarg(0, 3));
        };
        value(body);
        body.long(when.low);
        body.ins().i64_lt_s().br_if(0);
        value(body);
        body.long(when.high);
        body.ins().i64_gt_s().br_if(0);
    }
}

fn function(runs: &[Run]) -> Vec<u8> {
    let mut body = Body::new(0);
    let fails = runs.iter().any(|run| run.callee.fails);
    let status = fails.then(|| body.local(ValType::I32));
    if fails {
        body.ins().block(BlockType::Empty);
    }
    for run in runs {
        Write { body: &mut body, run, status }.run();
    }
    if fails {
        body.ins().end();
    }
    match status {
        Some(status) => body.get(status),
        None => body.int(0),
    }
    body.finish()
}

struct Write<'a> {
    body: &'a mut Body,
    run: &'a Run,
    status: Option<Local>,
}

impl Write<'_> {
    fn run(&mut self) {
        if self.run.counts.iter().product::<u64>() < LOOP {
            return self.one_by_one(self.run.counts.len(), &self.run.args.iter().map(|arg| arg.start).collect::<Vec<_>>());
        }
        let moves = |arg: &Strided| arg.advance != 0 || arg.strides.iter().any(|stride| *stride != 0);
        let mut locals = Vec::new();
        for arg in &self.run.args {
            locals.push(moves(arg).then(|| {
                let local = self.body.local(ValType::I32);
                self.address(arg.start, arg.advance);
                self.body.set(local);
                local
            }));
        }
        self.nest(self.run.counts.len(), &locals, 0);
        locals.into_iter().flatten().for_each(|local| self.body.give_back(local));
    }

    /// All calls of the first `level` counts.
    fn one_by_one(&mut self, level: usize, addresses: &[u64]) {
        let Some(level) = level.checked_sub(1) else {
            for (&address, arg) in addresses.iter().zip(&self.run.args) {
                self.address(address, arg.advance);
            }
            return self.call(0);
        };
        for turn in 0..self.run.counts[level] {
            let mut here = addresses.to_vec();
            for (address, arg) in here.iter_mut().zip(&self.run.args) {
                *address = address.wrapping_add((arg.strides[level] as u64).wrapping_mul(turn));
            }
            self.one_by_one(level, &here);
        }
    }

    /// Loops over the first `level` counts, within `depth` of them.
    fn nest(&mut self, level: usize, locals: &[Option<Local>], depth: u32) {
        let Some(level) = level.checked_sub(1) else {
            for (arg, local) in self.run.args.iter().zip(locals) {
                match local {
                    Some(local) => self.body.get(*local),
                    None => self.body.int(arg.start as u32 as i32),
                }
            }
            return self.call(depth);
        };
        let count = self.run.counts[level];
        if count == 1 {
            return self.nest(level, locals, depth);
        }
        let counter = self.body.open_loop(u32::try_from(count).expect("there are fewer calls than that"));
        self.nest(level, locals, depth + 1);
        for (arg, local) in self.run.args.iter().zip(locals) {
            if let Some(local) = local {
                self.body.advance(*local, arg.strides[level] - self.moved(arg, level));
            }
        }
        self.body.close_loop(counter);
    }

    /// What the loops below a level have moved an argument by.
    fn moved(&self, arg: &Strided, level: usize) -> i64 {
        let inner = (0..level).rev().find(|&inner| self.run.counts[inner] > 1);
        inner.map_or(0, |inner| arg.strides[inner] * self.run.counts[inner] as i64)
    }

    /// An address in the turn at work.
    fn address(&mut self, start: u64, advance: i64) {
        self.body.int(start as u32 as i32);
        if advance != 0 {
            self.body.int(self.run.turns as u32 as i32);
            let which = if advance < 0 { 4 } else { 0 };
            self.body.ins().i32_load(memarg(which, 2)).i32_const(advance.unsigned_abs() as u32 as i32).i32_mul().i32_add();
        }
    }

    fn call(&mut self, depth: u32) {
        self.body.ins().call(self.run.callee.function);
        if let (true, Some(status)) = (self.run.callee.fails, self.status) {
            self.body.tee(status);
            self.body.ins().br_if(depth);
        }
    }
}
