//! Loads and stores: one register, two at once, one lane.

use super::{Assembler, Constant, Gpr, Vector, Width};

/// What a load or store moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slot {
    /// A general register, 8 bytes.
    X(Gpr),
    /// The lowest byte of a vector; a load clears the others.
    B(Vector),
    /// The lowest 2 bytes of a vector; a load clears the others.
    H(Vector),
    /// The lowest 4 bytes of a vector; a load clears the others.
    S(Vector),
    /// The lowest 8 bytes of a vector; a load clears the others.
    D(Vector),
    /// A whole vector, 16 bytes.
    Q(Vector),
}

/// Where it moves to or from. Offsets in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    At(Gpr, i32),
    /// At the register, which then moves by so much.
    Post(Gpr, i32),
    /// The register moves by so much, then it is there.
    Pre(Gpr, i32),
    /// At the sum.
    Index(Gpr, Gpr),
}

impl Slot {
    pub fn bytes(self) -> i32 {
        match self {
            Slot::B(_) => 1,
            Slot::H(_) => 2,
            Slot::S(_) => 4,
            Slot::X(_) | Slot::D(_) => 8,
            Slot::Q(_) => 16,
        }
    }

    /// Whether one load or store reaches `offset`.
    pub fn reaches(self, offset: i64) -> bool {
        let bytes = i64::from(self.bytes());
        (-256..256).contains(&offset) || offset % bytes == 0 && (0..4096 * bytes).contains(&offset)
    }

    /// Whether a load or store of two of them reaches `offset`. There is none of less than four bytes.
    pub fn pair_reaches(self, offset: i64) -> bool {
        let bytes = i64::from(self.bytes());
        bytes >= 4 && offset % bytes == 0 && (-64 * bytes..64 * bytes).contains(&offset)
    }

    fn register(self) -> u32 {
        match self {
            Slot::X(x) => x.value(),
            Slot::B(v) | Slot::H(v) | Slot::S(v) | Slot::D(v) | Slot::Q(v) => v.bits(),
        }
    }

    /// Fields of a single access: size, whether it is a vector, and the high bit of the operation.
    fn single(self) -> u32 {
        match self {
            Slot::X(_) => 3 << 30,
            Slot::B(_) => 1 << 26,
            Slot::H(_) => 1 << 30 | 1 << 26,
            Slot::S(_) => 2 << 30 | 1 << 26,
            Slot::D(_) => 3 << 30 | 1 << 26,
            Slot::Q(_) => 1 << 26 | 1 << 23,
        }
    }

    /// Fields of a double access. Fault: panics where there is none.
    fn double(self) -> u32 {
        match self {
            Slot::B(_) | Slot::H(_) => panic!("a pair has four bytes each or more"),
            Slot::X(_) => 2 << 30,
            Slot::S(_) => 1 << 26,
            Slot::D(_) => 1 << 30 | 1 << 26,
            Slot::Q(_) => 2 << 30 | 1 << 26,
        }
    }
}

const LOAD: u32 = 1 << 22;

/// `value` in a field of `bits` bits. Fault: panics when it does not fit.
fn signed(value: i32, bits: u32) -> u32 {
    let half = 1 << (bits - 1);
    assert!((-half..half).contains(&value), "{value} is no immediate of {bits} bits");
    value as u32 & ((1 << bits) - 1)
}

impl Assembler {
    /// Fault: panics when the place is out of reach.
    pub fn load(&mut self, to: Slot, from: Place) {
        self.single(to.single() | LOAD, to.register(), to.bytes(), from);
    }

    /// Fault: panics when the place is out of reach.
    pub fn store(&mut self, from: Slot, to: Place) {
        self.single(from.single(), from.register(), from.bytes(), to);
    }

    /// Asks for the cache line in L2. Fault: panics when the place is out of reach of an 8-byte access, or moves a register.
    pub fn prefetch(&mut self, place: Place) {
        const L2_KEEP: u32 = 2;
        assert!(matches!(place, Place::At(..) | Place::Index(..)), "a prefetch moves no register");
        self.single(3 << 30 | 1 << 23, L2_KEEP, 8, place);
    }

    fn single(&mut self, bits: u32, register: u32, bytes: i32, place: Place) {
        let unscaled = |base: Gpr, offset, mode: u32| 0x3800_0000 | signed(offset, 9) << 12 | mode << 10 | base.base() << 5;
        let place = match place {
            Place::At(base, offset) if offset >= 0 && offset % bytes == 0 && offset / bytes < 4096 => {
                0x3900_0000 | ((offset / bytes) as u32) << 10 | base.base() << 5
            }
            Place::At(base, offset) => unscaled(base, offset, 0),
            Place::Post(base, by) => unscaled(base, by, 1),
            Place::Pre(base, by) => unscaled(base, by, 3),
            Place::Index(base, index) => 0x3820_6800 | index.value() << 16 | base.base() << 5,
        };
        self.word(bits | place | register);
    }

    /// Two neighbours in memory. Fault: panics on different kinds, the same register twice, or a place out of reach.
    pub fn load_pair(&mut self, first: Slot, second: Slot, from: Place) {
        assert!(first.register() != second.register(), "two loads into one register");
        self.pair(LOAD, first, second, from);
    }

    /// Two neighbours in memory. Fault: panics on different kinds, or a place out of reach.
    pub fn store_pair(&mut self, first: Slot, second: Slot, to: Place) {
        self.pair(0, first, second, to);
    }

    fn pair(&mut self, load: u32, first: Slot, second: Slot, place: Place) {
        assert_eq!(first.double(), second.double(), "a pair is of one kind");
        let (mode, base, offset) = match place {
            Place::Post(base, by) => (1, base, by),
            Place::At(base, offset) => (2, base, offset),
            Place::Pre(base, by) => (3, base, by),
            Place::Index(..) => panic!("a pair has no index"),
        };
        assert!(offset % first.bytes() == 0, "a pair counts in its own size");
        let offset = signed(offset / first.bytes(), 7) << 15;
        let bits = 0x2800_0000 | first.double() | mode << 23 | load;
        self.word(bits | offset | second.register() << 10 | base.base() << 5 | first.register());
    }

    /// A vector from the pool.
    pub fn load_constant(&mut self, to: Vector, constant: Constant) {
        self.reach_constant(0x9C00_0000 | to.bits(), constant);
    }

    /// One lane of 32 bits from memory; the others stay. `by`: the base then moves by that register.
    /// Fault: panics on a lane above 3.
    pub fn load_lane(&mut self, to: Vector, lane: u8, base: Gpr, by: Option<Gpr>) {
        self.load_lane_of(Width::S, to, lane, base, by);
    }

    /// One lane of 32 bits to memory. `by`: the base then moves by that register. Fault: panics on a lane above 3.
    pub fn store_lane(&mut self, from: Vector, lane: u8, base: Gpr, by: Option<Gpr>) {
        self.store_lane_of(Width::S, from, lane, base, by);
    }

    /// One lane from memory; the others stay. `by`: the base then moves by that register. Fault: panics on a lane that there is not.
    pub fn load_lane_of(&mut self, width: Width, to: Vector, lane: u8, base: Gpr, by: Option<Gpr>) {
        self.lane(LOAD, width, to, lane, base, by);
    }

    /// One lane to memory. `by`: the base then moves by that register. Fault: panics on a lane that there is not.
    pub fn store_lane_of(&mut self, width: Width, from: Vector, lane: u8, base: Gpr, by: Option<Gpr>) {
        self.lane(0, width, from, lane, base, by);
    }

    fn lane(&mut self, load: u32, width: Width, vector: Vector, lane: u8, base: Gpr, by: Option<Gpr>) {
        assert!(lane < width.lanes(), "a vector has {} such lanes", width.lanes());
        // where the lane starts, in four bits from the high to the low: bit 30, bit 12, bits 11 and 10
        let byte = u32::from(lane * width.bytes());
        let start = (byte >> 3) << 30 | (byte >> 2 & 1) << 12 | (byte & 3) << 10;
        let kind = match width {
            Width::B => 0,
            Width::H => 2 << 13,
            Width::S => 4 << 13,
            Width::D => 4 << 13 | 1 << 10,
        };
        let by = by.map_or(0, |by| 1 << 23 | by.value() << 16);
        self.word(0x0D00_0000 | load | kind | start | by | base.base() << 5 | vector.bits());
    }

    /// One element of 32 bits in all lanes.
    pub fn load_splat(&mut self, to: Vector, base: Gpr) {
        self.load_splat_of(Width::S, to, base);
    }

    /// One element in all lanes.
    pub fn load_splat_of(&mut self, width: Width, to: Vector, base: Gpr) {
        self.word(0x4D40_C000 | width.bytes().ilog2() << 10 | base.base() << 5 | to.bits());
    }
}
