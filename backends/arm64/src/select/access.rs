//! Which accesses of a block become one instruction: loads of neighbours that stand side by side, stores likewise, and an access
//! together with the movement of its pointer. It emits nothing.

use ir::kernel::tile::{At, P, Stmt, V};

use crate::encode::{Slot, Vector};

/// A piece of a block. `by` bytes are added to the pointer by the access itself; the statement that says so comes later, and adds
/// only the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    One {
        stmt: &'a Stmt,
        by: i32,
    },
    /// `first` at `at`, `second` 16 bytes behind.
    Pair {
        load: bool,
        first: V,
        second: V,
        at: At,
        by: i32,
    },
}

const WHOLE: Slot = Slot::Q(Vector::new(0));

/// The block, in its order.
pub(super) fn items(body: &[Stmt]) -> Vec<Item<'_>> {
    let mut items = pairs(body);
    for i in 0..items.len() {
        if let Item::One { stmt: Stmt::Advance { p, by }, by: _ } = items[i] {
            move_early(&mut items[..i], *p, *by);
        }
    }
    items
}

/// A whole vector's access: whether it is a load, the register, the place.
fn whole(stmt: &Stmt) -> Option<(bool, V, At)> {
    match *stmt {
        Stmt::Load { to, at, lanes: 4 } => Some((true, to, at)),
        Stmt::Store { from, at, lanes: 4 } => Some((false, from, at)),
        _ => None,
    }
}

/// Pairs up what lies side by side within each run of loads, or of stores.
fn pairs(body: &[Stmt]) -> Vec<Item<'_>> {
    let mut items = Vec::with_capacity(body.len());
    let mut i = 0;
    while i < body.len() {
        let run = run(&body[i..]);
        pair_run(&body[i..i + run], &mut items);
        i += run;
    }
    items
}

/// How many statements from the first on can change places with each other: whole loads into different registers, whole stores to
/// different places of one pointer; else one.
fn run(body: &[Stmt]) -> usize {
    let Some((load, _, first)) = whole(&body[0]) else { return 1 };
    let mut seen: Vec<(V, At)> = Vec::new();
    for stmt in body {
        let Some((same, v, at)) = whole(stmt) else { break };
        let apart = |other: &At| at.p == other.p && (i64::from(at.offset) - i64::from(other.offset)).abs() >= 16;
        let free = match load {
            true => seen.iter().all(|(other, _)| *other != v),
            false => at.p == first.p && seen.iter().all(|(_, other)| apart(other)),
        };
        if same != load || !free {
            break;
        }
        seen.push((v, at));
    }
    seen.len()
}

fn pair_run<'a>(run: &'a [Stmt], items: &mut Vec<Item<'a>>) {
    let mut done = vec![false; run.len()];
    for i in 0..run.len() {
        if std::mem::replace(&mut done[i], true) {
            continue;
        }
        let stmt = &run[i];
        let partner = whole(stmt).and_then(|(load, v, at)| {
            let next = |(j, other): (usize, &Stmt)| {
                let (_, w, there) = whole(other)?;
                let distance = i64::from(there.offset) - i64::from(at.offset);
                let beside = there.p == at.p && distance.abs() == 16;
                let (first, second, at) = if distance > 0 { (v, w, at) } else { (w, v, there) };
                let fits = !done[j] && beside && WHOLE.pair_reaches(at.offset.into());
                fits.then_some((j, Item::Pair { load, first, second, at, by: 0 }))
            };
            run.iter().enumerate().find_map(next)
        });
        match partner {
            Some((j, pair)) => {
                done[j] = true;
                items.push(pair);
            }
            None => items.push(Item::One { stmt, by: 0 }),
        }
    }
}

/// Lets an access before the end of `items`, where `p` moves by `by`, move it instead, if what comes after it reaches as easily
/// from there.
fn move_early(items: &mut [Item], p: P, by: i64) {
    let Ok(by) = i32::try_from(by) else { return };
    for i in (0..items.len()).rev() {
        match items[i] {
            Item::Pair { at, by: 0, .. } if at.p == p => {
                if at.offset == 0 && WHOLE.pair_reaches(by.into()) {
                    if let Item::Pair { by: moved, .. } = &mut items[i] {
                        *moved = by;
                    }
                    return;
                }
                if !WHOLE.pair_reaches(i64::from(at.offset) - i64::from(by)) {
                    return;
                }
            }
            Item::Pair { at, .. } if at.p == p => return,
            Item::Pair { .. } => {}
            Item::One { stmt, by: moved } => match whole(stmt) {
                Some((_, _, at)) if at.p == p && moved == 0 => {
                    if at.offset == 0 && (-256..256).contains(&by) {
                        items[i] = Item::One { stmt, by };
                        return;
                    }
                    // what is too far anyway is no farther
                    if WHOLE.reaches(at.offset.into()) && !WHOLE.reaches(i64::from(at.offset) - i64::from(by)) {
                        return;
                    }
                }
                _ if concerns(stmt, p) => return,
                _ => {}
            },
        }
    }
}

/// Whether the statement reads or moves the pointer, other than by a whole access.
fn concerns(stmt: &Stmt, p: P) -> bool {
    match stmt {
        Stmt::Loop { times: _, body } => body.iter().any(|stmt| concerns(stmt, p)),
        Stmt::Point { to, from, offset: _ } => *to == p || *from == p,
        Stmt::Advance { p: other, by: _ } => *other == p,
        Stmt::Load { at, .. }
        | Stmt::Splat { at, .. }
        | Stmt::LoadNarrow { at, .. }
        | Stmt::SplatNarrow { at, .. }
        | Stmt::Lookup { table: at, .. }
        | Stmt::StoreNarrow { at, .. }
        | Stmt::Gather { at, .. }
        | Stmt::Store { at, .. }
        | Stmt::Scatter { at, .. }
        | Stmt::LoadQuads { at, .. }
        | Stmt::StoreQuads { at, .. }
        | Stmt::Prefetch { at } => at.p == p,
        Stmt::Set { .. }
        | Stmt::Copy { .. }
        | Stmt::MulAdd { .. }
        | Stmt::Dot4 { .. }
        | Stmt::Matrix2x8 { .. }
        | Stmt::MulAdd8 { .. }
        | Stmt::PairAdd { .. }
        | Stmt::Horner { .. }
        | Stmt::Unary { .. }
        | Stmt::Binary { .. }
        | Stmt::Select { .. }
        | Stmt::Fold { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(to: u8, p: u8, offset: i32) -> Stmt {
        Stmt::Load { to: V(to), at: At { p: P(p), offset }, lanes: 4 }
    }

    #[test]
    fn neighbours_of_one_pointer_are_a_pair() {
        for (body, first) in [([load(0, 0, 16), load(1, 0, 0)], V(1)), ([load(0, 0, 0), load(1, 0, 16)], V(0))] {
            assert!(matches!(items(&body)[..], [Item::Pair { first: f, .. }] if f == first), "{body:?}");
        }
    }

    #[test]
    fn places_of_two_pointers_are_none() {
        for body in [[load(0, 0, 16), load(1, 1, 0)], [load(0, 0, 0), load(1, 1, 16)]] {
            assert!(items(&body).iter().all(|item| matches!(item, Item::One { .. })), "{body:?}");
        }
    }
}
