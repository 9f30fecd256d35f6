//! Addresses and accesses. An offset that an instruction does not reach costs one more, which the next accesses nearby share.

use ir::kernel::tile::{At, P, Stmt, V};

use super::{NEAR, SCRATCH, Select, general};
use crate::encode::{Gpr, Place, Slot, Vector};

/// What one vector covers.
const WHOLE: u8 = 4;

pub(super) fn beyond(at: At, bytes: i64) -> At {
    let offset = i64::from(at.offset) + bytes;
    At { offset: i32::try_from(offset).expect("the verifier keeps offsets within a buffer"), ..at }
}

// -------------------------------------------------------------------------------------------------------------- pointers
impl Select {
    pub(super) fn point(&mut self, to: P, from: P, offset: i64) {
        let offset = offset.wrapping_sub(self.ahead[from.0 as usize]);
        self.forget(to);
        self.ahead[to.0 as usize] = 0;
        if to != from && offset == 0 {
            return self.asm.copy(general(to), general(from));
        }
        self.asm.add(general(to), general(from), offset, SCRATCH);
    }

    pub(super) fn advance(&mut self, p: P, by: i64) {
        let ahead = std::mem::take(&mut self.ahead[p.0 as usize]);
        if by != ahead {
            self.forget(p);
        }
        self.asm.add(general(p), general(p), by.wrapping_sub(ahead), SCRATCH);
    }

    /// The pointer is no longer where it was.
    fn forget(&mut self, p: P) {
        self.near = self.near.filter(|(other, _)| *other != p);
    }

    fn moved(&mut self, p: P, by: i32) {
        self.forget(p);
        self.ahead[p.0 as usize] += i64::from(by);
    }

    /// From where the pointer is now.
    fn offset(&self, at: At) -> i64 {
        i64::from(at.offset) - self.ahead[at.p.0 as usize]
    }

    /// How an access of `slot` says `at`.
    fn place(&mut self, slot: Slot, at: At) -> Place {
        /// What a shifted immediate counts in.
        const STEP: i64 = 4096;
        let (base, offset) = (general(at.p), self.offset(at));
        if slot.reaches(offset) {
            return Place::At(base, offset as i32);
        }
        if let Some((p, place)) = self.near
            && p == at.p
            && slot.reaches(offset - place)
        {
            return Place::At(NEAR, (offset - place) as i32);
        }
        let place = offset.div_euclid(STEP) * STEP;
        if slot.reaches(offset - place) {
            self.asm.add(NEAR, base, place, SCRATCH);
            self.near = Some((at.p, place));
            return Place::At(NEAR, (offset - place) as i32);
        }
        self.asm.load_immediate(SCRATCH, offset);
        Place::Index(base, SCRATCH)
    }

    /// A register that holds `at`, and may be moved if it is `SCRATCH`.
    pub(super) fn address(&mut self, at: At) -> Gpr {
        let offset = self.offset(at);
        if offset == 0 {
            return general(at.p);
        }
        self.asm.add(SCRATCH, general(at.p), offset, SCRATCH);
        SCRATCH
    }
}

// ---------------------------------------------------------------------------------------------------------- whole and in part
impl Select {
    /// An access that moves its pointer.
    pub(super) fn moving(&mut self, stmt: &Stmt, by: i32) {
        match *stmt {
            Stmt::Load { to, at, lanes: _ } => {
                let to = self.define(to);
                self.asm.load(Slot::Q(to), Place::Post(general(at.p), by));
                self.moved(at.p, by);
            }
            Stmt::Store { from, at, lanes: _ } => {
                self.asm.store(Slot::Q(self.v(from)), Place::Post(general(at.p), by));
                self.moved(at.p, by);
            }
            _ => panic!("only whole loads and stores move a pointer"),
        }
    }

    pub(super) fn pair(&mut self, load: bool, first: V, second: V, at: At, by: i32) {
        let base = general(at.p);
        let place = if by == 0 { Place::At(base, self.offset(at) as i32) } else { Place::Post(base, by) };
        if load {
            let (first, second) = (self.define(first), self.define(second));
            self.asm.load_pair(Slot::Q(first), Slot::Q(second), place);
        } else {
            self.asm.store_pair(Slot::Q(self.v(first)), Slot::Q(self.v(second)), place);
        }
        if by != 0 {
            self.moved(at.p, by);
        }
    }

    pub(super) fn load_slot(&mut self, to: Slot, at: At) {
        let place = self.place(to, at);
        self.asm.load(to, place);
    }

    pub(super) fn store_slot(&mut self, from: Slot, at: At) {
        let place = self.place(from, at);
        self.asm.store(from, place);
    }

    pub(super) fn prefetch(&mut self, at: At) {
        let place = self.place(Slot::X(SCRATCH), at);
        self.asm.prefetch(place);
    }

    /// The parts of a narrow load clear what lies above them.
    pub(super) fn load(&mut self, to: Vector, at: At, lanes: u8) {
        match lanes {
            0 => self.set(to, 0),
            1 => self.load_slot(Slot::S(to), at),
            2 => self.load_slot(Slot::D(to), at),
            3 => {
                self.load_slot(Slot::D(to), at);
                let address = self.address(beyond(at, 8));
                self.asm.load_lane(to, 2, address, None);
            }
            WHOLE => self.load_slot(Slot::Q(to), at),
            other => panic!("{other} lanes of four"),
        }
    }

    pub(super) fn store(&mut self, from: Vector, at: At, lanes: u8) {
        match lanes {
            0 => {}
            1 => self.store_slot(Slot::S(from), at),
            2 => self.store_slot(Slot::D(from), at),
            3 => {
                self.store_slot(Slot::D(from), at);
                let address = self.address(beyond(at, 8));
                self.asm.store_lane(from, 2, address, None);
            }
            WHOLE => self.store_slot(Slot::Q(from), at),
            other => panic!("{other} lanes of four"),
        }
    }

    pub(super) fn splat(&mut self, to: Vector, at: At) {
        let offset = self.offset(at);
        if offset != 0 && Slot::S(to).reaches(offset) {
            self.asm.load(Slot::S(to), Place::At(general(at.p), offset as i32));
            return self.asm.duplicate(to, to, 0);
        }
        let address = self.address(at);
        self.asm.load_splat(to, address);
    }

    pub(super) fn gather(&mut self, to: Vector, at: At, stride: i32, lanes: u8) {
        if lanes == 0 {
            return self.set(to, 0);
        }
        self.load_slot(Slot::S(to), at);
        self.lanes(at, stride, lanes, |select, lane, address, by| select.asm.load_lane(to, lane, address, by));
    }

    pub(super) fn scatter(&mut self, from: Vector, at: At, stride: i32, lanes: u8) {
        if lanes == 0 {
            return;
        }
        self.store_slot(Slot::S(from), at);
        self.lanes(at, stride, lanes, |select, lane, address, by| select.asm.store_lane(from, lane, address, by));
    }

    /// Lanes from 1 on: an address that moves by a register, or one of its own where there is but one.
    fn lanes(&mut self, at: At, stride: i32, lanes: u8, access: impl Fn(&mut Select, u8, Gpr, Option<Gpr>)) {
        if lanes < 2 {
            return;
        }
        // what is added may be the scratch register's own immediate, so it comes first
        self.asm.add(SCRATCH, general(at.p), self.offset(at) + i64::from(stride), SCRATCH);
        if lanes > 2 {
            self.asm.load_immediate(NEAR, i64::from(stride));
            self.near = None;
        }
        for lane in 1..lanes {
            let by = (lane + 1 < lanes).then_some(NEAR);
            access(self, lane, SCRATCH, by);
        }
    }
}
