//! Elements of 8 and 16 bits: widened to the 32 bits of a lane when loaded, cut when stored; and tables of bytes. It knows no
//! arithmetic on them.

use ir::kernel::tile::Narrow;

use super::{Select, WORK, beyond};
use crate::encode::{Form, Length, Level, Mem, Vector, form};

/// The instruction that widens to lanes of 32 bits.
fn widening(kind: Narrow) -> &'static Form {
    match kind {
        Narrow::U8 => &form::vpmovzxbd,
        Narrow::I8 => &form::vpmovsxbd,
        Narrow::U16 => &form::vpmovzxwd,
        Narrow::I16 => &form::vpmovsxwd,
    }
}

impl Select {
    pub(super) fn load_narrow(&mut self, to: Vector, from: Mem, lanes: u8, kind: Narrow) {
        let form = widening(kind);
        match lanes {
            0 => self.zero(to),
            lanes if u32::from(lanes) == self.lanes => self.asm.at(self.length).rm(form, to, from),
            // shorter ones clear what lies above
            4 => self.asm.at(Length::L128).rm(form, to, from),
            8 => self.asm.at(Length::L256).rm(form, to, from),
            lanes => match self.asm.level() {
                Level::V4 => {
                    let mask = self.mask(lanes);
                    self.asm.at(self.length).zeroing(mask).rm(form, to, from);
                }
                Level::V3 => {
                    self.load_bytes(to, from, lanes * kind.bytes());
                    self.asm.at(self.length).rm(form, to, to);
                }
            },
        }
    }

    /// One to fifteen bytes; the others of the quarter become 0.
    fn load_bytes(&mut self, to: Vector, from: Mem, bytes: u8) {
        let at = self.asm.at(Length::L128);
        let mut done = match bytes {
            8.. => {
                at.rm(&form::vmovsd, to, from);
                8
            }
            4.. => {
                at.rm(&form::vmovss, to, from);
                4
            }
            _ => {
                self.zero(to);
                0
            }
        };
        for (width, form) in [(4, &form::vpinsrd), (2, &form::vpinsrw), (1, &form::vpinsrb)] {
            if bytes - done >= width {
                self.asm.at(Length::L128).rvmi(form, to, to, beyond(from, done.into()), done / width);
                done += width;
            }
        }
    }

    pub(super) fn splat_narrow(&mut self, to: Vector, from: Mem, kind: Narrow) {
        let (form, length) = match (kind.bytes(), self.length) {
            (1, _) => (&form::vpbroadcastb, Length::L128),
            (_, Length::L512) => (&form::vpbroadcastw, Length::L256),
            (_, Length::L128 | Length::L256) => (&form::vpbroadcastw, Length::L128),
        };
        self.asm.at(length).rm(form, to, from);
        self.asm.at(self.length).rm(widening(kind), to, to);
    }

    pub(super) fn store_narrow(&mut self, from: Vector, to: Mem, lanes: u8, kind: Narrow) {
        if lanes == 0 {
            return;
        }
        match self.asm.level() {
            Level::V4 => {
                let form = if kind.bytes() == 1 { &form::vpmovdb } else { &form::vpmovdw };
                match lanes {
                    lanes if u32::from(lanes) == self.lanes => self.asm.at(self.length).mr(form, to, from),
                    4 => self.asm.at(Length::L128).mr(form, to, from),
                    8 => self.asm.at(Length::L256).mr(form, to, from),
                    lanes => {
                        let mask = self.mask(lanes);
                        self.asm.at(self.length).merging(mask).mr(form, to, from);
                    }
                }
            }
            Level::V3 => self.borrow(&[from], |select, packed| {
                select.pack(packed, from, lanes, kind);
                select.store_bytes(packed, to, lanes * kind.bytes());
            }),
        }
    }

    /// The first lanes as elements side by side. They fit, so that to saturate changes nothing.
    fn pack(&mut self, to: Vector, from: Vector, lanes: u8, kind: Narrow) {
        let words = if kind == Narrow::U16 { &form::vpackusdw } else { &form::vpackssdw };
        let mut high = from;
        if lanes > 4 {
            self.asm.at(Length::L256).mri(&form::vextracti128, to, from, 1);
            high = to;
        }
        self.asm.at(Length::L128).rvm(words, to, from, high);
        match kind {
            Narrow::U8 => self.asm.at(Length::L128).rvm(&form::vpackuswb, to, to, to),
            Narrow::I8 => self.asm.at(Length::L128).rvm(&form::vpacksswb, to, to, to),
            Narrow::U16 | Narrow::I16 => {}
        }
    }

    /// One to sixteen bytes of a quarter.
    fn store_bytes(&mut self, from: Vector, to: Mem, bytes: u8) {
        let at = self.asm.at(Length::L128);
        let mut done = match bytes {
            16.. => return at.mr(&form::vmovups_store, to, from),
            8.. => {
                at.mr(&form::vmovsd_store, to, from);
                8
            }
            4.. => {
                at.mr(&form::vmovss_store, to, from);
                4
            }
            _ => 0,
        };
        for (width, form) in [(4, &form::vpextrd), (2, &form::vpextrw), (1, &form::vpextrb)] {
            if bytes - done >= width {
                self.asm.at(Length::L128).mri(form, beyond(to, done.into()), from, done / width);
                done += width;
            }
        }
    }
}

impl Select {
    pub(super) fn look_up(&mut self, to: Vector, a: Vector, table: Mem, [first, second]: [Vector; 2]) {
        if self.pick8 && self.length == Length::L512 {
            // the lower half of the table and the upper one; the highest bit of the byte says which
            for (to, half) in [(to, 0), (first, 128)] {
                self.asm.at(self.length).rm(&form::vmovups, second, beyond(table, half));
                self.asm.at(self.length).rm(&form::vmovaps, to, a);
                self.asm.at(self.length).rvm(&form::vpermi2b, to, second, beyond(table, half + 64));
            }
            self.asm.at(self.length).rm(&form::vpmovb2m, WORK, a);
            return self.asm.at(self.length).merging(WORK).rvm(&form::vpblendmb, to, to, first);
        }
        // sixteen bytes at a time: where the high half of a byte is theirs its low half counts, elsewhere the highest bit is
        // set, and nothing is picked
        let (load, xor) = match self.asm.level() {
            Level::V3 => (&form::vbroadcasti128, &form::vpxor),
            Level::V4 => (&form::vbroadcasti32x4, &form::vpxord),
        };
        let or = if self.asm.level() == Level::V4 { &form::vpord } else { &form::vpor };
        for part in 0..16u32 {
            let mine = self.whole(part * 0x1010_1010);
            self.asm.at(self.length).rvm(xor, first, a, mine);
            let beyond_others = self.whole(0x7070_7070);
            self.asm.at(self.length).rvm(&form::vpaddusb, first, first, beyond_others);
            let picked = if part == 0 { to } else { second };
            self.asm.at(self.length).rm(load, picked, beyond(table, 16 * part as i32));
            self.asm.at(self.length).rvm(&form::vpshufb, picked, picked, first);
            if part > 0 {
                self.asm.at(self.length).rvm(or, to, to, second);
            }
        }
    }
}
