//! Tile kernels: registers, the menu, and pointers as sums over loop counters.

use super::{Faults, access_fault};
use crate::kernel::tile::{At, Binary, Dot4, Operand, P, Stmt, TileKernel, Unary, V};
use crate::kernel::{Facts, Kernel};

pub(super) fn check(kernel: &Kernel, tile: &TileKernel, facts: &Facts, faults: &mut Faults) {
    let pointers = pointers(&tile.body).max(kernel.args.len());
    let depth = depth(&tile.body);
    if pointers + depth > facts.generals as usize {
        faults.add(format!("{pointers} pointers and {depth} nested loops, but {} general registers", facts.generals));
    }
    let places = (0..pointers).map(|i| (i < kernel.args.len()).then(|| Place { arg: i, base: 0, turns: Vec::new() })).collect();
    let mut check = Check { kernel, facts, pointers, places, defined: vec![false; 256] };
    check.block("body", &tile.body, faults);
}

/// `base` bytes from an argument's pointer, plus for every loop around the bytes of a turn times the number of
/// turns that are done, which stays below the second.
#[derive(Clone, PartialEq, Eq)]
struct Place {
    arg: usize,
    base: i128,
    turns: Vec<(i128, u32)>,
}

impl Place {
    fn moved(&self, by: i128) -> Place {
        Place { base: self.base.saturating_add(by), ..self.clone() }
    }

    /// The smallest and the largest offset from the argument's pointer.
    fn range(&self) -> (i128, i128) {
        self.turns.iter().fold((self.base, self.base), |(low, high), &(step, times)| {
            let last = step.saturating_mul(i128::from(times) - 1);
            (low.saturating_add(last.min(0)), high.saturating_add(last.max(0)))
        })
    }
}

/// What statements do to pointers: each ends where one of them started, plus so many bytes.
type Net = Vec<(usize, i128)>;

/// `first`, then `second`.
fn then(first: &Net, second: &Net) -> Net {
    second.iter().map(|&(from, by)| (first[from].0, first[from].1.saturating_add(by))).collect()
}

fn repeated(net: &Net, mut times: u32) -> Net {
    let mut all: Net = (0..net.len()).map(|p| (p, 0)).collect();
    let mut power = net.clone();
    while times > 0 {
        if times & 1 == 1 {
            all = then(&all, &power);
        }
        power = then(&power, &power);
        times >>= 1;
    }
    all
}

fn net(body: &[Stmt], pointers: usize) -> Net {
    let mut all: Net = (0..pointers).map(|p| (p, 0)).collect();
    for stmt in body {
        match *stmt {
            Stmt::Loop { times, ref body } => all = then(&all, &repeated(&net(body, pointers), times)),
            Stmt::Point { to, from, offset } => {
                let (root, by) = all[from.0 as usize];
                all[to.0 as usize] = (root, by.saturating_add(offset.into()));
            }
            Stmt::Advance { p, by } => all[p.0 as usize].1 = all[p.0 as usize].1.saturating_add(by.into()),
            _ => {}
        }
    }
    all
}

/// The vector registers that are undefined after `body` although they were defined before.
fn undefined_after(body: &[Stmt]) -> Vec<u8> {
    let mut gone: Vec<u8> = Vec::new();
    for stmt in body {
        match stmt {
            Stmt::Loop { body, .. } => {
                let (set, lost) = (sets(body), undefined_after(body));
                gone.retain(|v| !set.contains(v));
                gone.extend(lost);
            }
            Stmt::Lookup { to, temps, .. } => {
                gone.extend(temps.map(|v| v.0));
                gone.retain(|&v| v != to.0);
            }
            Stmt::Fold { to, temp, .. } => {
                gone.push(temp.0);
                gone.retain(|&v| v != to.0);
            }
            other => gone.retain(|&v| written(other) != Some(V(v))),
        }
    }
    gone
}

/// The vector registers that are written anywhere in `body`.
fn sets(body: &[Stmt]) -> Vec<u8> {
    let each = |stmt: &Stmt| match stmt {
        Stmt::Loop { body, .. } => sets(body),
        other => written(other).map(|v| v.0).into_iter().collect(),
    };
    body.iter().flat_map(each).collect()
}

fn written(stmt: &Stmt) -> Option<V> {
    match *stmt {
        Stmt::Loop { .. }
        | Stmt::Point { .. }
        | Stmt::Advance { .. }
        | Stmt::Store { .. }
        | Stmt::StoreNarrow { .. }
        | Stmt::Scatter { .. }
        | Stmt::StoreQuads { .. }
        | Stmt::Prefetch { .. } => None,
        Stmt::Set { to, .. }
        | Stmt::Copy { to, .. }
        | Stmt::Load { to, .. }
        | Stmt::Splat { to, .. }
        | Stmt::LoadNarrow { to, .. }
        | Stmt::SplatNarrow { to, .. }
        | Stmt::Gather { to, .. }
        | Stmt::LoadQuads { to, .. }
        | Stmt::Unary { to, .. }
        | Stmt::Binary { to, .. }
        | Stmt::Select { to, .. }
        | Stmt::Lookup { to, .. }
        | Stmt::Fold { to, .. } => Some(to),
        Stmt::MulAdd { acc, .. }
        | Stmt::Horner { acc, .. }
        | Stmt::Dot4 { acc, .. }
        | Stmt::Matrix2x8 { acc, .. }
        | Stmt::MulAdd8 { acc, .. }
        | Stmt::PairAdd { acc, .. } => Some(acc),
    }
}

/// One more than the highest pointer register that is named.
fn pointers(body: &[Stmt]) -> usize {
    let operand = |o: &Operand| match o {
        Operand::Memory(at) | Operand::Splat(at) => at.p.0 as usize + 1,
        Operand::V(_) | Operand::Bits(_) | Operand::Lane(..) => 0,
    };
    let of = |stmt: &Stmt| match stmt {
        Stmt::Loop { body, .. } => pointers(body),
        Stmt::Point { to, from, .. } => to.0.max(from.0) as usize + 1,
        Stmt::Advance { p, .. } => p.0 as usize + 1,
        Stmt::Prefetch { at }
        | Stmt::Load { at, .. }
        | Stmt::Splat { at, .. }
        | Stmt::LoadNarrow { at, .. }
        | Stmt::SplatNarrow { at, .. }
        | Stmt::Lookup { table: at, .. }
        | Stmt::Gather { at, .. }
        | Stmt::Store { at, .. }
        | Stmt::StoreNarrow { at, .. }
        | Stmt::Scatter { at, .. }
        | Stmt::LoadQuads { at, .. }
        | Stmt::StoreQuads { at, .. } => at.p.0 as usize + 1,
        Stmt::MulAdd { b, .. } | Stmt::Dot4 { b, .. } | Stmt::Binary { b, .. } => operand(b),
        Stmt::Horner { c, .. } => operand(c),
        Stmt::Select { y, .. } => operand(y),
        Stmt::Matrix2x8 { .. } | Stmt::MulAdd8 { .. } | Stmt::PairAdd { .. } => 0,
        Stmt::Set { .. } | Stmt::Copy { .. } | Stmt::Unary { .. } | Stmt::Fold { .. } => 0,
    };
    body.iter().map(of).max().unwrap_or(0)
}

fn depth(body: &[Stmt]) -> usize {
    let of = |stmt: &Stmt| if let Stmt::Loop { body, .. } = stmt { 1 + depth(body) } else { 0 };
    body.iter().map(of).max().unwrap_or(0)
}

struct Check<'a> {
    kernel: &'a Kernel,
    facts: &'a Facts,
    pointers: usize,
    places: Vec<Option<Place>>,
    defined: Vec<bool>,
}

impl Check<'_> {
    fn block(&mut self, name: &str, body: &[Stmt], faults: &mut Faults) {
        faults.each(name, body, |faults, stmt| self.stmt(stmt, faults));
    }

    fn stmt(&mut self, stmt: &Stmt, faults: &mut Faults) {
        match *stmt {
            Stmt::Loop { times, ref body } => self.turns(times, body, faults),
            Stmt::Point { to, from, offset } => {
                self.places[to.0 as usize] = self.place(from, faults).map(|place| place.moved(offset.into()));
            }
            Stmt::Advance { p, by } => {
                self.places[p.0 as usize] = self.place(p, faults).map(|place| place.moved(by.into()));
            }
            Stmt::Prefetch { at } => {
                self.place(at.p, faults);
            }
            Stmt::Set { to, .. } => self.sets(to, faults),
            Stmt::Copy { to, from } => {
                self.reads(&[from], faults);
                self.sets(to, faults);
            }
            Stmt::Load { to, at, lanes } => {
                self.elements(at, lanes, 4, false, faults);
                self.sets(to, faults);
            }
            Stmt::Splat { to, at } => {
                self.bytes(at, 0, 4, false, faults);
                self.sets(to, faults);
            }
            Stmt::LoadNarrow { to, at, lanes, kind } => {
                self.elements(at, lanes, kind.bytes(), false, faults);
                self.sets(to, faults);
            }
            Stmt::SplatNarrow { to, at, kind } => {
                self.bytes(at, 0, kind.bytes().into(), false, faults);
                self.sets(to, faults);
            }
            Stmt::StoreNarrow { from, at, lanes, kind } => {
                self.reads(&[from], faults);
                self.elements(at, lanes, kind.bytes(), true, faults);
            }
            Stmt::Gather { to, at, stride, lanes } => {
                self.strided(at, stride, lanes, false, faults);
                self.sets(to, faults);
            }
            Stmt::Store { from, at, lanes } => {
                self.reads(&[from], faults);
                self.elements(at, lanes, 4, true, faults);
            }
            Stmt::Scatter { from, at, stride, lanes } => {
                self.reads(&[from], faults);
                self.strided(at, stride, lanes, true, faults);
            }
            Stmt::LoadQuads { to, at, stride } => {
                self.quads(at, stride, false, faults);
                self.sets(to, faults);
            }
            Stmt::StoreQuads { from, at, stride } => {
                self.reads(&[from], faults);
                self.quads(at, stride, true, faults);
            }
            Stmt::MulAdd { acc, a, b, negate: _ } => {
                self.reads(&[acc, a], faults);
                self.operand(b, faults);
            }
            Stmt::Dot4 { kind, acc, a, b } => {
                let menu = self.facts.menu;
                let offered = match kind {
                    Dot4::U8S8 => menu.dot4_u8s8,
                    Dot4::S8S8 => menu.dot4_s8s8,
                };
                self.offered(offered, &kind, faults);
                self.reads(&[acc, a], faults);
                self.operand(b, faults);
            }
            Stmt::Matrix2x8 { kind: _, acc, a, b } => {
                self.offered(self.facts.menu.matrix8, &"Matrix2x8", faults);
                self.reads(&[acc, a, b], faults);
            }
            Stmt::MulAdd8 { high: _, acc, a, b } => {
                self.offered(self.facts.menu.long8, &"MulAdd8", faults);
                self.reads(&[acc, a, b], faults);
            }
            Stmt::PairAdd { acc, a } => {
                self.offered(self.facts.menu.long8, &"PairAdd", faults);
                self.reads(&[acc, a], faults);
            }
            Stmt::Horner { acc, x, c } => {
                self.reads(&[acc, x], faults);
                self.operand(c, faults);
            }
            Stmt::Unary { op, to, a } => {
                if let Unary::Shl(by) | Unary::Shr(by) | Unary::Sar(by) = op
                    && by > 31
                {
                    faults.add(format!("a shift by {by} bits"));
                }
                if matches!(op, Unary::LowI8 | Unary::LowU8) {
                    self.offered(self.facts.menu.widen8, &op, faults);
                }
                if matches!(op, Unary::Abs8 | Unary::Negative8) {
                    self.offered(self.facts.menu.pair_sat, &op, faults);
                }
                if let Unary::Spread(lane) = op {
                    self.offered(self.facts.menu.lane_operand, &op, faults);
                    if lane as usize >= self.facts.lanes() {
                        faults.add(format!("lane {lane} of a vector that has {}", self.facts.lanes()));
                    }
                }
                self.reads(&[a], faults);
                self.sets(to, faults);
            }
            Stmt::Binary { op, to, a, b } => {
                self.narrow(op, b, faults);
                self.reads(&[a], faults);
                self.operand(b, faults);
                self.sets(to, faults);
            }
            Stmt::Select { to, cmp: _, x, y, a, b } => {
                self.reads(&[x, a, b], faults);
                self.operand(y, faults);
                self.sets(to, faults);
            }
            Stmt::Lookup { to, a, table, temps } => {
                let all = [to, a, temps[0], temps[1]];
                if (0..4).any(|i| all[..i].contains(&all[i])) {
                    faults.add(format!("a look-up in the registers {}, of which two are one", all.map(|v| format!("v{}", v.0)).join(", ")));
                }
                self.reads(&[a], faults);
                self.bytes(table, 0, 256, false, faults);
                for temp in temps {
                    self.sets(temp, faults);
                    self.defined[temp.0 as usize] = false;
                }
                self.sets(to, faults);
            }
            Stmt::Fold { op, to, from, temp } => {
                if !matches!(op, Binary::Add | Binary::Max | Binary::Min) {
                    faults.add(format!("a fold with {op:?}, which is none of Add, Max, Min"));
                }
                if temp == to || temp == from {
                    faults.add(format!("v{} is the fold's temporary and one of its operands", temp.0));
                }
                self.reads(&[from], faults);
                self.sets(temp, faults);
                self.defined[temp.0 as usize] = false;
                self.sets(to, faults);
            }
        }
    }

    fn turns(&mut self, times: u32, body: &[Stmt], faults: &mut Faults) {
        if times == 0 {
            return faults.add("a loop that runs 0 times".into());
        }
        let turn = net(body, self.pointers);
        let after = repeated(&turn, times);
        let entry = self.places.clone();
        self.places = (0..self.pointers).map(|p| if times == 1 { entry[p].clone() } else { head(p, &turn, &entry, times) }).collect();
        if times > 1 {
            undefined_after(body).into_iter().for_each(|v| self.defined[v as usize] = false);
        }
        self.block("loop", body, faults);
        self.places = after.iter().map(|&(from, by)| entry[from].as_ref().map(|place| place.moved(by))).collect();
    }

    fn place(&mut self, p: P, faults: &mut Faults) -> Option<Place> {
        let place = self.places[p.0 as usize].clone();
        if place.is_none() {
            faults.add(format!("p{} is read before it is set, or is set anew in each turn of the loop from another pointer", p.0));
        }
        place
    }

    fn bytes(&mut self, at: At, low: i128, high: i128, writes: bool, faults: &mut Faults) {
        if let Some(place) = self.place(at.p, faults) {
            let (first, last) = place.range();
            let (low, high) = (first.saturating_add(low + i128::from(at.offset)), last.saturating_add(high + i128::from(at.offset)));
            if let Some(fault) = access_fault(&self.kernel.args[place.arg], low, high, writes) {
                faults.add(fault);
            }
        }
    }

    /// So many neighbours of `width` bytes.
    fn elements(&mut self, at: At, lanes: u8, width: u8, writes: bool, faults: &mut Faults) {
        self.lanes(lanes, faults);
        self.bytes(at, 0, i128::from(width) * i128::from(lanes), writes, faults);
    }

    fn strided(&mut self, at: At, stride: i32, lanes: u8, writes: bool, faults: &mut Faults) {
        self.lanes(lanes, faults);
        let last = i128::from(stride) * (i128::from(lanes) - 1);
        self.bytes(at, last.min(0), last.max(0) + 4, writes, faults);
    }

    fn quads(&mut self, at: At, stride: i32, writes: bool, faults: &mut Faults) {
        let last = i128::from(stride) * (self.facts.lanes() as i128 / 4 - 1);
        self.bytes(at, last.min(0), last.max(0) + 16, writes, faults);
    }

    fn lanes(&self, lanes: u8, faults: &mut Faults) {
        if !(1..=self.facts.lanes()).contains(&(lanes as usize)) {
            faults.add(format!("{lanes} lanes of a vector that has {}", self.facts.lanes()));
        }
    }

    fn operand(&mut self, operand: Operand, faults: &mut Faults) {
        let menu = self.facts.menu;
        let offered = match operand {
            Operand::V(v) => {
                self.reads(&[v], faults);
                true
            }
            Operand::Memory(at) => {
                self.bytes(at, 0, self.facts.vector_bytes.into(), false, faults);
                menu.memory_operand
            }
            Operand::Splat(at) => {
                self.bytes(at, 0, 4, false, faults);
                menu.splat_operand
            }
            Operand::Bits(_) => true,
            Operand::Lane(v, lane) => {
                self.reads(&[v], faults);
                if lane as usize >= self.facts.lanes() {
                    faults.add(format!("lane {lane} of a vector that has {}", self.facts.lanes()));
                }
                menu.lane_operand
            }
        };
        self.offered(offered, &operand, faults);
    }

    /// What an operation on lanes of less than 32 bits asks of the machine.
    fn narrow(&self, op: Binary, b: Operand, faults: &mut Faults) {
        let menu = self.facts.menu;
        let offered = match op {
            Binary::PairSat => menu.pair_sat,
            Binary::Pair16 => menu.pair16,
            Binary::MulLow8 | Binary::MulHigh8 => menu.long8,
            Binary::IAddPairs => menu.widen8,
            _ => true,
        };
        self.offered(offered, &op, faults);
        if op.is_narrow() && matches!(b, Operand::Splat(_)) {
            faults.add(format!("{op:?} of one element in memory"));
        }
    }

    fn offered(&self, offered: bool, what: &dyn std::fmt::Debug, faults: &mut Faults) {
        if !offered {
            faults.add(format!("{what:?} is not on the menu of {}", self.facts.name));
        }
    }

    fn reads(&self, vectors: &[V], faults: &mut Faults) {
        for &v in vectors {
            if self.exists(v, faults) && !self.defined[v.0 as usize] {
                faults.add(format!("v{} is read before it is set", v.0));
            }
        }
    }

    fn sets(&mut self, v: V, faults: &mut Faults) {
        if self.exists(v, faults) {
            self.defined[v.0 as usize] = true;
        }
    }

    fn exists(&self, v: V, faults: &mut Faults) -> bool {
        let exists = v.0 < self.facts.vectors;
        if !exists {
            faults.add(format!("v{} of {} vector registers", v.0, self.facts.vectors));
        }
        exists
    }
}

/// Where pointer `p` is at the start of any turn of a loop that moves pointers by `turn` and is entered with
/// `entry`; `None` where that is no sum.
fn head(p: usize, turn: &Net, entry: &[Option<Place>], times: u32) -> Option<Place> {
    let start = entry[p].as_ref()?;
    let (from, by) = turn[p];
    let (root, step) = turn[from];
    // set in each turn from `from`, which itself moves evenly: even too if the first turn fits the others
    let even = from == p || (root == from && entry[from].as_ref()?.moved(by.saturating_sub(step)) == *start);
    let mut place = start.clone();
    place.turns.push((step, times));
    even.then_some(place)
}
