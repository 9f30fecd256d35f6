//! A function's words while they are written: labels, a pool of constants behind the code, and calls by name. Knows how far a
//! branch reaches, but no instruction beyond that.

use std::collections::BTreeMap;

/// A place in the code, bound once with [`Assembler::bind`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(u32);

/// Sixteen bytes in the pool behind the code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Constant(u32);

/// The branch at `offset` goes to `symbol`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    pub offset: u32,
    pub symbol: String,
}

/// A finished function. Place it at a multiple of [`Code::ALIGN`] and its pool is aligned too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Code {
    pub bytes: Vec<u8>,
    /// How many of `bytes` are instructions; what follows is padding and pool.
    pub instructions: u32,
    pub calls: Vec<Call>,
}

impl Code {
    pub const ALIGN: u32 = 16;

    /// The instructions, a word each.
    pub fn words(&self) -> impl Iterator<Item = u32> {
        let code = &self.bytes[..self.instructions as usize];
        code.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("chunks are of four bytes")))
    }
}

/// The field of an instruction that holds a distance in words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Field {
    /// Bits 0 to 25: 128 MB to either side.
    Bits26,
    /// Bits 5 to 23: 1 MB to either side.
    Bits19,
    /// Bits 5 to 18: 32 KB to either side.
    Bits14,
}

impl Field {
    /// `words` in its place, unless it is too far.
    pub(super) fn encode(self, words: i64) -> Option<u32> {
        let (bits, at) = match self {
            Field::Bits26 => (26, 0),
            Field::Bits19 => (19, 5),
            Field::Bits14 => (14, 5),
        };
        let half = 1i64 << (bits - 1);
        (-half..half).contains(&words).then_some((words as u32 & ((1 << bits) - 1)) << at)
    }
}

#[derive(Clone, Copy)]
enum Target {
    Label(Label),
    Constant(Constant),
}

/// A distance to be filled in, counted from the instruction itself.
struct Fixup {
    word: usize,
    field: Field,
    target: Target,
}

#[derive(Default)]
pub struct Assembler {
    words: Vec<u32>,
    labels: Vec<Option<usize>>,
    pool: Vec<[u8; 16]>,
    known: BTreeMap<[u8; 16], Constant>,
    fixups: Vec<Fixup>,
    calls: Vec<Call>,
}

impl Assembler {
    pub fn new() -> Assembler {
        Assembler::default()
    }

    /// Bytes of code and pool so far.
    pub fn bytes(&self) -> usize {
        4 * self.words.len() + 16 * (self.pool.len() + 1)
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
        *slot = Some(self.words.len());
    }

    /// A label at this very place.
    pub fn here(&mut self) -> Label {
        let label = self.label();
        self.bind(label);
        label
    }

    /// `bytes` in the pool; equal bytes are there once.
    pub fn constant(&mut self, bytes: [u8; 16]) -> Constant {
        if let Some(&constant) = self.known.get(&bytes) {
            return constant;
        }
        let constant = Constant(self.pool.len() as u32);
        self.pool.push(bytes);
        self.known.insert(bytes, constant);
        constant
    }

    pub(super) fn word(&mut self, word: u32) {
        self.words.push(word);
    }

    /// The distance in words from here back to `label`, if its place is known.
    pub(super) fn back_to(&self, label: Label) -> Option<i64> {
        self.labels[label.0 as usize].map(|place| place as i64 - self.words.len() as i64)
    }

    /// `word`, whose `field` will reach `label`.
    pub(super) fn reach_label(&mut self, word: u32, field: Field, label: Label) {
        self.fixups.push(Fixup { word: self.words.len(), field, target: Target::Label(label) });
        self.word(word);
    }

    /// `word`, whose `field` will reach `constant`.
    pub(super) fn reach_constant(&mut self, word: u32, constant: Constant) {
        self.fixups.push(Fixup { word: self.words.len(), field: Field::Bits19, target: Target::Constant(constant) });
        self.word(word);
    }

    /// `word`, which a linker will send to `symbol`.
    pub(super) fn reach_symbol(&mut self, word: u32, symbol: &str) {
        self.calls.push(Call { offset: 4 * self.words.len() as u32, symbol: symbol.into() });
        self.word(word);
    }

    /// Lays the pool behind the code and fills in what points to it.
    /// Fault: panics when a label was used but never bound, or is out of reach.
    pub fn finish(mut self) -> Code {
        let instructions = self.words.len();
        // Behind the code nothing is executed; a word of zeros makes sure of it.
        let pool = if self.pool.is_empty() { instructions } else { instructions.next_multiple_of(4) };
        self.words.resize(pool, 0);
        for fixup in &self.fixups {
            let place = match fixup.target {
                Target::Label(label) => self.labels[label.0 as usize].expect("a label that is used is bound"),
                Target::Constant(constant) => pool + 4 * constant.0 as usize,
            };
            let distance = fixup.field.encode(place as i64 - fixup.word as i64);
            self.words[fixup.word] |= distance.expect("a target within reach of its branch");
        }
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(self.pool.iter().flatten());
        Code { bytes, instructions: 4 * instructions as u32, calls: self.calls }
    }
}
