//! Elements of 8 and 16 bits: every count of them at the very end of their memory, every value, every form of an address.

use super::hand::crowd_of;
use super::{NARROW, at, case, words};
use crate::{Buffer, Case};
use ir::kernel::facts::Facts;
use ir::kernel::tile::{Narrow, Stmt, V};

/// Every lane count of every narrow access, in memory that has no byte more, with few registers and with all in use; and
/// offsets on both sides of every bound.
pub fn narrow_accesses(facts: &Facts) -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in NARROW {
        let width = kind.bytes() as usize;
        for crowded in [false, true] {
            for lanes in 0..=facts.lanes() as u8 {
                let load = Stmt::LoadNarrow { to: V(1), at: at(0, 0), lanes, kind };
                let name = format!("load {kind:?} {lanes}");
                cases.push(crowd_of(
                    facts,
                    crowded,
                    name,
                    load,
                    [bytes(width * lanes as usize), words((0..facts.lanes() as u32).map(|_| 0))],
                    true,
                ));
                let store = Stmt::StoreNarrow { from: V(1), at: at(1, 0), lanes, kind };
                let name = format!("store {kind:?} {lanes}");
                cases.push(crowd_of(facts, crowded, name, store, [bytes(width * lanes as usize), values(facts, kind)], false));
            }
            let splat = Stmt::SplatNarrow { to: V(1), at: at(0, 0), kind };
            let loose = words((0..facts.lanes() as u32).map(|_| 0));
            cases.push(crowd_of(facts, crowded, format!("splat {kind:?}"), splat, [bytes(width), loose], true));
        }
        cases.push(offsets(facts, kind));
    }
    cases.push(look_up(facts));
    cases
}

/// All values of a byte, in no order.
fn bytes(count: usize) -> Buffer {
    Buffer::of((0..count).map(|i| (i * 83 + 250) as u8).collect())
}

/// The bounds of what `kind` holds, and what lies between.
fn values(facts: &Facts, kind: Narrow) -> Buffer {
    let (low, high) = kind.range();
    let value = |i: i32| match i % 4 {
        0 => low + i / 4,
        1 => high - i / 4,
        2 => (low + high) / 2,
        _ => i,
    };
    words((0..facts.lanes() as i32).map(|i| value(i) as u32))
}

/// Every byte through a table, with all registers in use.
fn look_up(facts: &Facts) -> Case {
    let (whole, vector) = (facts.lanes() as u8, i32::from(facts.lanes() as u8) * 4);
    let last = facts.vectors - 1;
    let mut body: Vec<Stmt> = (0..facts.vectors).map(|v| Stmt::Set { to: V(v), bits: u32::from(v) }).collect();
    for i in 0..256 / vector {
        let place = |p| at(p, i * vector);
        body.push(Stmt::Load { to: V(1), at: place(0), lanes: whole });
        body.push(Stmt::Lookup { to: V(2), a: V(1), table: at(1, 3), temps: [V(0), V(last)] });
        body.push(Stmt::Store { from: V(2), at: place(2), lanes: whole });
        body.push(Stmt::Store { from: V(3), at: at(3, i * vector), lanes: whole });
        // the other way round, where registers are high
        body.push(Stmt::Lookup { to: V(last), a: V(2), table: at(1, 3), temps: [V(last - 1), V(last - 2)] });
        body.push(Stmt::Store { from: V(last), at: at(2, 256 + i * vector), lanes: whole });
        body.push(Stmt::Store { from: V(1), at: at(3, 256 + i * vector), lanes: whole });
        body.extend([last, last - 1, last - 2].map(|v| Stmt::Set { to: V(v), bits: 7 }));
    }
    let filled = || Buffer::of(vec![0xA5; 512]);
    case(facts, "look-up".into(), body, vec![bytes(256), bytes(259), filled(), filled()])
}

fn offsets(facts: &Facts, kind: Narrow) -> Case {
    const MIDDLE: i32 = 70_000;
    let far = [-66_000, -4097, -257, -256, -129, -3, 0, 1, 127, 128, 255, 256, 257, 4095, 4096, 4097, 8190, 8191, 16_380, 16_384, 65_537];
    let mut body = Vec::new();
    for (i, offset) in far.into_iter().enumerate() {
        for lanes in [facts.lanes() as u8, 3, 1] {
            let v = V(i as u8 % 4);
            body.push(Stmt::LoadNarrow { to: v, at: at(0, offset), lanes, kind });
            body.push(Stmt::StoreNarrow { from: v, at: at(1, offset + 3), lanes, kind });
            body.push(Stmt::SplatNarrow { to: v, at: at(0, offset), kind });
            body.push(Stmt::StoreNarrow { from: v, at: at(1, offset + 100), lanes: 2, kind });
        }
    }
    let middle = |buffer: Buffer| Buffer { start: MIDDLE as usize, ..buffer };
    case(
        facts,
        format!("offsets of {kind:?}"),
        body,
        vec![middle(bytes(2 * MIDDLE as usize)), middle(Buffer::of(vec![0xA5; 2 * MIDDLE as usize]))],
    )
}
