//! A function's bytes while they are written: labels, a pool of constants behind the code, and references to symbols.
//! Knows how an address is encoded, but no instruction.

use std::collections::BTreeMap;

use super::operand::{Address, Mem, Operand};

/// Which instructions may be used: VEX alone with sixteen registers, or EVEX beside it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// AVX2, FMA, F16C.
    V3,
    /// AVX-512 F, BW, CD, DQ, VL; extensions of it where the form says so.
    V4,
}

/// A place in the code, bound once with [`Assembler::bind`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(u32);

/// Bytes in the pool behind the code, aligned to their length up to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Constant(u32);

/// A name from outside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Symbol(u32);

/// The 32 bits at `offset` become `address of symbol + addend - address of those bits`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relocation {
    pub offset: u32,
    pub symbol: String,
    pub addend: i32,
}

/// A finished function. Place it at a multiple of [`Code::ALIGN`] and its pool is aligned too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Code {
    pub bytes: Vec<u8>,
    /// How many of `bytes` are instructions; what follows is padding and pool.
    pub instructions: u32,
    pub relocations: Vec<Relocation>,
}

impl Code {
    pub const ALIGN: u32 = 64;
}

/// What four bytes of displacement point to.
#[derive(Clone, Copy)]
enum Target {
    Label(Label),
    Constant(Constant),
    Symbol(Symbol),
}

/// A displacement to be filled in: it counts from `end`, the first byte after its instruction.
struct Fixup {
    at: usize,
    end: usize,
    target: Target,
}

pub struct Assembler {
    pub(super) level: Level,
    pub(super) bytes: Vec<u8>,
    labels: Vec<Option<usize>>,
    pool: Vec<Vec<u8>>,
    known: BTreeMap<Vec<u8>, Constant>,
    symbols: Vec<String>,
    fixups: Vec<Fixup>,
}

impl Assembler {
    pub fn new(level: Level) -> Assembler {
        Assembler {
            level,
            bytes: Vec::new(),
            labels: Vec::new(),
            pool: Vec::new(),
            known: BTreeMap::new(),
            symbols: Vec::new(),
            fixups: Vec::new(),
        }
    }

    pub fn level(&self) -> Level {
        self.level
    }

    /// Bytes of code so far.
    pub fn offset(&self) -> usize {
        self.bytes.len()
    }

    /// A label for later; see [`Assembler::bind`].
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() as u32 - 1)
    }

    /// `label` is here. Fault: panics when it already was elsewhere.
    pub fn bind(&mut self, label: Label) {
        let slot = &mut self.labels[label.0 as usize];
        assert!(slot.is_none(), "a label has one place");
        *slot = Some(self.bytes.len());
    }

    /// A label at this very place.
    pub fn here(&mut self) -> Label {
        let label = self.label();
        self.bind(label);
        label
    }

    /// `bytes` in the pool; equal bytes are there once. Fault: panics when the length is not a power of two up to 64,
    /// because the pool aligns by length.
    pub fn constant(&mut self, bytes: &[u8]) -> Constant {
        assert!(bytes.len().is_power_of_two() && bytes.len() <= 64, "a constant is 1, 2, 4 … 64 bytes");
        if let Some(&constant) = self.known.get(bytes) {
            return constant;
        }
        let constant = Constant(self.pool.len() as u32);
        self.pool.push(bytes.to_vec());
        self.known.insert(bytes.to_vec(), constant);
        constant
    }

    pub fn symbol(&mut self, name: &str) -> Symbol {
        let known = self.symbols.iter().position(|s| s == name);
        Symbol(known.unwrap_or_else(|| {
            self.symbols.push(name.to_owned());
            self.symbols.len() - 1
        }) as u32)
    }

    /// Where `label` is, if that is known yet.
    pub(super) fn bound(&self, label: Label) -> Option<usize> {
        self.labels[label.0 as usize]
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(super) fn immediate(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Four bytes that will reach `label`, at the end of an instruction.
    pub(super) fn reach_label(&mut self, label: Label) {
        self.reach(Target::Label(label), 0);
    }

    /// Four bytes that will reach `symbol`, at the end of an instruction.
    pub(super) fn reach_symbol(&mut self, symbol: Symbol) {
        self.reach(Target::Symbol(symbol), 0);
    }

    fn reach(&mut self, target: Target, tail: usize) {
        let at = self.bytes.len();
        self.fixups.push(Fixup { at, end: at + 4 + tail, target });
        self.immediate(0);
    }

    /// The ModRM byte and what follows it. `unit` is what one step of an 8-bit displacement means (1 but for EVEX);
    /// `tail` counts the immediate bytes that will follow.
    pub(super) fn modrm(&mut self, reg: u8, rm: Operand, unit: u32, tail: usize) {
        let reg = (reg & 7) << 3;
        match rm {
            Operand::Reg(r) => self.byte(0xC0 | reg | r.number() & 7),
            Operand::Memory(Address::Mem(mem)) | Operand::Broadcast(Address::Mem(mem)) => self.mem(reg, mem, unit),
            Operand::Memory(Address::Pool(c)) | Operand::Broadcast(Address::Pool(c)) => {
                self.byte(reg | 5);
                self.reach(Target::Constant(c), tail);
            }
            Operand::Memory(Address::Symbol(s)) | Operand::Broadcast(Address::Symbol(s)) => {
                self.byte(reg | 5);
                self.reach(Target::Symbol(s), tail);
            }
        }
    }

    fn mem(&mut self, reg: u8, mem: Mem, unit: u32) {
        let base = mem.base.number() & 7;
        let unit = unit as i32;
        let steps = (mem.disp % unit == 0).then_some(mem.disp / unit).and_then(|s| i8::try_from(s).ok());
        // Base 5 without displacement is how the machine spells "relative to the instruction".
        let (mode, short) = match steps {
            Some(0) if base != 5 => (0x00, None),
            Some(steps) => (0x40, Some(steps)),
            None => (0x80, None),
        };
        match mem.index {
            Some((index, scale)) => {
                assert!(index.number() != 4, "rsp cannot be an index");
                self.byte(mode | reg | 4);
                self.byte((scale as u8) << 6 | (index.number() & 7) << 3 | base);
            }
            // Base 4 is how the machine spells "an index byte follows".
            None if base == 4 => {
                self.byte(mode | reg | 4);
                self.byte(0x24);
            }
            None => self.byte(mode | reg | base),
        }
        if let Some(steps) = short {
            self.byte(steps as u8);
        } else if mode == 0x80 {
            self.immediate(mem.disp);
        }
    }

    /// Lays the pool behind the code and fills in what points to it.
    /// Fault: panics when a label was used but never bound.
    pub fn finish(mut self) -> Code {
        let instructions = self.bytes.len() as u32;
        let places = self.lay_pool();
        let mut relocations = Vec::new();
        for fixup in &self.fixups {
            let place = match fixup.target {
                Target::Label(label) => self.labels[label.0 as usize].expect("a label that is used is bound"),
                Target::Constant(constant) => places[constant.0 as usize],
                Target::Symbol(symbol) => {
                    relocations.push(Relocation {
                        offset: fixup.at as u32,
                        symbol: self.symbols[symbol.0 as usize].clone(),
                        addend: fixup.at as i32 - fixup.end as i32,
                    });
                    continue;
                }
            };
            let distance = place as i64 - fixup.end as i64;
            let distance = i32::try_from(distance).expect("a function is smaller than 2 GB");
            self.bytes[fixup.at..fixup.at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        Code { bytes: self.bytes, instructions, relocations }
    }

    /// Widest first: then each is aligned to its length and no gap is needed. Returns where each constant came to lie.
    fn lay_pool(&mut self) -> Vec<usize> {
        let mut places = vec![0; self.pool.len()];
        let mut order: Vec<usize> = (0..self.pool.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(self.pool[i].len()));
        if let Some(&widest) = order.first() {
            let align = self.pool[widest].len();
            // Behind the code nothing is executed; `int3` makes sure of it.
            let padded = self.bytes.len().next_multiple_of(align);
            self.bytes.resize(padded, 0xCC);
        }
        for i in order {
            places[i] = self.bytes.len();
            self.bytes.extend_from_slice(&self.pool[i]);
        }
        places
    }
}
