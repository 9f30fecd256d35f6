//! Products of small integers: what they make of lanes that hold two numbers of 16 bits or four bytes, the first in the lowest bits.

use super::tile::Lanes;
use crate::kernel::tile::Dot4;
use std::array::from_fn;

fn halves(lane: u32) -> [i16; 2] {
    [lane as i16, (lane >> 16) as i16]
}

fn join([low, high]: [i16; 2]) -> u32 {
    u32::from(low as u16) | u32::from(high as u16) << 16
}

/// A byte of the first side.
fn left(kind: Dot4, byte: u8) -> i32 {
    match kind {
        Dot4::U8S8 => i32::from(byte),
        Dot4::S8S8 => i32::from(byte as i8),
    }
}

pub(super) fn dot4<const L: usize>(kind: Dot4, acc: Lanes<L>, a: Lanes<L>, b: Lanes<L>) -> Lanes<L> {
    from_fn(|i| {
        let products = a[i].to_le_bytes().into_iter().zip(b[i].to_le_bytes()).map(|(a, b)| left(kind, a) * i32::from(b as i8));
        acc[i].wrapping_add(products.sum::<i32>() as u32)
    })
}

pub(super) fn matrix2x8<const L: usize>(kind: Dot4, acc: Lanes<L>, a: Lanes<L>, b: Lanes<L>) -> Lanes<L> {
    // byte `k` of row `row` in the 16 bytes that hold lane `i`
    let byte = |x: &Lanes<L>, i: usize, row: usize, k: usize| x[i / 4 * 4 + 2 * row + k / 4].to_le_bytes()[k % 4];
    from_fn(|i| {
        let (row, column) = (i % 4 / 2, i % 2);
        let product = |k: usize| left(kind, byte(&a, i, row, k)) * i32::from(byte(&b, i, column, k) as i8);
        acc[i].wrapping_add((0..8).map(product).sum::<i32>() as u32)
    })
}

/// The first eight bytes of each 16, as `long` has them.
pub(super) fn widen<const L: usize>(a: Lanes<L>, long: fn(u8) -> i16) -> Lanes<L> {
    from_fn(|i| {
        let bytes = a[i / 4 * 4 + i % 4 / 2].to_le_bytes();
        join([0, 1].map(|k| long(bytes[2 * (i % 2) + k])))
    })
}

/// The sums of neighbours, first those of `a`.
pub(super) fn add_pairs<const L: usize>(a: Lanes<L>, b: Lanes<L>) -> Lanes<L> {
    from_fn(|i| {
        let first = i / 4 * 4 + i % 2 * 2;
        let of = if i % 4 < 2 { &a } else { &b };
        of[first].wrapping_add(of[first + 1])
    })
}

/// Two lanes from `first` on of each four, those of `a` and those of `b` in turns.
pub(super) fn lanes_of<const L: usize>(a: Lanes<L>, b: Lanes<L>, first: usize) -> Lanes<L> {
    from_fn(|i| [&a, &b][i % 2][i / 4 * 4 + first + i % 4 / 2])
}

/// The lanes from `first` on of two in each four, those of `a` and those of `b`.
pub(super) fn halves_of<const L: usize>(a: Lanes<L>, b: Lanes<L>, first: usize) -> Lanes<L> {
    from_fn(|i| if i % 4 < 2 { a[i + first] } else { b[i - 2 + first] })
}

pub(super) fn each(a: u32, b: u32, f: impl Fn(u8, u8) -> u8) -> u32 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    u32::from_le_bytes(from_fn(|i| f(a[i], b[i])))
}

/// Byte `k` of the 16 that hold lane `i`.
fn byte<const L: usize>(x: &Lanes<L>, i: usize, k: usize) -> u8 {
    x[i / 4 * 4 + k / 4].to_le_bytes()[k % 4]
}

/// Elements of `width` bytes by turns, from byte `first` of each 16 on.
pub(super) fn zip<const L: usize>(a: Lanes<L>, b: Lanes<L>, width: usize, first: usize) -> Lanes<L> {
    let taken = |i: usize, k: usize| {
        let element = (i % 4 * 4 + k) / width;
        let from = if element.is_multiple_of(2) { &a } else { &b };
        byte(from, i, first + element / 2 * width + k % width)
    };
    from_fn(|i| u32::from_le_bytes(from_fn(|k| taken(i, k))))
}

pub(super) fn pack32<const L: usize>(a: Lanes<L>, b: Lanes<L>) -> Lanes<L> {
    let number = |i: usize, k: usize| {
        let at = i % 4 * 2 + k;
        let lane = if at < 4 { a[i / 4 * 4 + at] } else { b[i / 4 * 4 + at - 4] };
        (lane as i32).clamp(i16::MIN.into(), i16::MAX.into()) as i16
    };
    from_fn(|i| join([number(i, 0), number(i, 1)]))
}

pub(super) fn pack16<const L: usize>(a: Lanes<L>, b: Lanes<L>, cut: fn(i16) -> u8) -> Lanes<L> {
    let number = |i: usize, k: usize| {
        let at = i % 4 * 4 + k;
        let from = if at < 8 { &a } else { &b };
        cut(halves(from[i / 4 * 4 + at % 8 / 2])[at % 2])
    };
    from_fn(|i| u32::from_le_bytes(from_fn(|k| number(i, k))))
}

pub(super) fn pair_add(acc: u32, a: u32) -> u32 {
    let [low, high] = halves(a);
    acc.wrapping_add((i32::from(low) + i32::from(high)) as u32)
}

pub(super) fn add16(a: u32, b: u32) -> u32 {
    let (a, b) = (halves(a), halves(b));
    join([a[0].wrapping_add(b[0]), a[1].wrapping_add(b[1])])
}

pub(super) fn pair_sat(a: u32, b: u32) -> u32 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    let product = |i: usize| i32::from(a[i]) * i32::from(b[i] as i8);
    join([0, 2].map(|i| (product(i) + product(i + 1)).clamp(i16::MIN.into(), i16::MAX.into()) as i16))
}

pub(super) fn pair16(a: u32, b: u32) -> u32 {
    let (a, b) = (halves(a), halves(b));
    let product = |i: usize| i32::from(a[i]) * i32::from(b[i]);
    product(0).wrapping_add(product(1)) as u32
}

/// The products of the eight bytes from `first` on of each 16.
pub(super) fn mul_long<const L: usize>(a: Lanes<L>, b: Lanes<L>, first: usize) -> Lanes<L> {
    let product = |i: usize, k: usize| {
        let at = first + 2 * (i % 4) + k;
        let byte = |x: &Lanes<L>| i16::from(x[i / 4 * 4 + at / 4].to_le_bytes()[at % 4] as i8);
        byte(&a) * byte(&b)
    };
    from_fn(|i| join([product(i, 0), product(i, 1)]))
}
