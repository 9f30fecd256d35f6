//! Elements of 8 and 16 bits: widened to the 32 bits of a lane when loaded, cut when stored. It knows no arithmetic on them.

use ir::kernel::tile::{At, Narrow, V};

use super::Select;
use super::memory::beyond;
use crate::encode::vector::{self as form, Two};
use crate::encode::{Slot, Vector, Width};

/// From bytes to halves of a lane, from those to lanes.
fn widening(kind: Narrow) -> [Option<Two>; 2] {
    match kind {
        Narrow::U8 => [Some(form::UXTL), Some(form::UXTL_H)],
        Narrow::I8 => [Some(form::SXTL), Some(form::SXTL_H)],
        Narrow::U16 => [None, Some(form::UXTL_H)],
        Narrow::I16 => [None, Some(form::SXTL_H)],
    }
}

fn width(kind: Narrow) -> Width {
    if kind.bytes() == 1 { Width::B } else { Width::H }
}

impl Select {
    fn widen(&mut self, to: Vector, kind: Narrow) {
        widening(kind).into_iter().flatten().for_each(|form| self.asm.two(form, to, to));
    }

    /// The parts of a narrow load clear what lies above them.
    pub(super) fn load_narrow(&mut self, to: Vector, at: At, lanes: u8, kind: Narrow) {
        let wide = kind.bytes() == 2;
        match (lanes, wide) {
            (0, _) => return self.set(to, 0),
            (1, false) => self.load_slot(Slot::B(to), at),
            (1, true) | (2 | 3, false) => self.load_slot(Slot::H(to), at),
            (2 | 3, true) | (4, false) => self.load_slot(Slot::S(to), at),
            (4, true) => self.load_slot(Slot::D(to), at),
            (other, _) => panic!("{other} lanes of four"),
        }
        if lanes == 3 {
            let third = self.address(beyond(at, 2 * i64::from(kind.bytes())));
            self.asm.load_lane_of(width(kind), to, 2, third, None);
        }
        self.widen(to, kind);
    }

    /// Sixteen bytes of the table at a time; what a byte counts beyond them picks nothing.
    pub(super) fn look_up(&mut self, to: V, a: V, table: At, temps: [V; 2]) {
        let a = self.v(a);
        let [left, part] = temps.map(|v| self.define(v));
        let to = self.define(to);
        self.borrow(&[to, a, left, part], |select, sixteen| {
            select.set(sixteen, 0x1010_1010);
            for i in 0..16 {
                select.load_slot(Slot::Q(part), beyond(table, 16 * i));
                if i == 0 {
                    select.asm.table(to, part, a);
                    select.copy(left, a);
                } else {
                    select.asm.three(form::SUB_B, left, left, sixteen);
                    select.asm.table(part, part, left);
                    select.asm.three(form::ORR, to, to, part);
                }
            }
        });
    }

    pub(super) fn splat_narrow(&mut self, to: Vector, at: At, kind: Narrow) {
        let address = self.address(at);
        self.asm.load_splat_of(width(kind), to, address);
        self.widen(to, kind);
    }

    pub(super) fn store_narrow(&mut self, from: Vector, at: At, lanes: u8, kind: Narrow) {
        let wide = kind.bytes() == 2;
        if lanes == 0 {
            return;
        }
        self.borrow(&[from], |select, cut| {
            select.asm.two(form::XTN_S, cut, from);
            if !wide {
                select.asm.two(form::XTN, cut, cut);
            }
            match (lanes, wide) {
                (1, false) => select.store_slot(Slot::B(cut), at),
                (1, true) | (2 | 3, false) => select.store_slot(Slot::H(cut), at),
                (2 | 3, true) | (4, false) => select.store_slot(Slot::S(cut), at),
                (4, true) => select.store_slot(Slot::D(cut), at),
                (other, _) => panic!("{other} lanes of four"),
            }
            if lanes == 3 {
                let third = select.address(beyond(at, 2 * i64::from(kind.bytes())));
                select.asm.store_lane_of(width(kind), cut, 2, third, None);
            }
        });
    }
}
