//! Shapes and permutations, as the rules need them: what a permutation does to an axis, when it moves
//! nothing, how a reshape groups axes. Knows no operator.

use ir::{Dim, Graph, NodeId};
use std::ops::Range;

pub fn one() -> Dim {
    Dim::from(1i64)
}

pub fn is_one(dim: &Dim) -> bool {
    dim.fixed() == Some(1)
}

/// `out[perm[i]] = i`.
pub fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut out = vec![0; perm.len()];
    for (i, &p) in perm.iter().enumerate() {
        out[p] = i;
    }
    out
}

pub fn is_identity(perm: &[usize]) -> bool {
    perm.iter().enumerate().all(|(i, &p)| i == p)
}

/// Whether a transpose of `shape` by `perm` leaves the order of elements as it is.
pub fn only_ones_move(perm: &[usize], shape: &[Dim]) -> bool {
    let moved: Vec<usize> = perm.iter().copied().filter(|&p| !is_one(&shape[p])).collect();
    moved.windows(2).all(|w| w[0] < w[1])
}

/// `items[perm[i]]` for each `i`.
pub fn pick<T: Clone>(items: &[T], perm: &[usize]) -> Vec<T> {
    perm.iter().map(|&p| items[p].clone()).collect()
}

/// `shape` with ones in front, up to `rank` axes.
pub fn padded(shape: &[Dim], rank: usize) -> Vec<Dim> {
    let mut out = vec![one(); rank.saturating_sub(shape.len())];
    out.extend_from_slice(shape);
    out
}

/// `shape` without the ones in front.
pub fn trimmed(shape: &[Dim]) -> &[Dim] {
    let ones = shape.iter().take_while(|d| is_one(d)).count();
    &shape[ones..]
}

/// Elements at the largest: a measure of what moving a value costs.
pub fn volume(graph: &Graph, shape: &[Dim]) -> i64 {
    ir::dim::product(shape).bounds(&graph.symbols).1
}

/// Whether `user` alone uses `id` (however often), and no output shows it.
pub fn used_only_by(graph: &Graph, id: NodeId, user: NodeId) -> bool {
    !graph.is_output(id) && graph.uses(id).iter().all(|(u, _)| *u == user)
}

/// The smallest groups of neighbouring axes that a reshape maps onto one another, in order. Axes of size 1
/// may stand alone against nothing. `None` when the groups cannot be told (symbols, empty tensors).
pub fn segments(from: &[Dim], to: &[Dim]) -> Option<Vec<(Range<usize>, Range<usize>)>> {
    if from.iter().chain(to).any(|d| d.fixed() == Some(0)) {
        return None;
    }
    let mut out = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        let (a, b) = (i, j);
        let (left, right) = (from.get(i), to.get(j));
        if left.is_some_and(is_one) && !right.is_some_and(is_one) {
            i += 1;
        } else if right.is_some_and(is_one) && !left.is_some_and(is_one) {
            j += 1;
        } else {
            let (mut p, mut q) = (left?.clone(), right?.clone());
            i += 1;
            j += 1;
            while p != q {
                let behind = match (p.fixed(), q.fixed()) {
                    (Some(p), Some(q)) => p < q,
                    _ => q.exact_div(&p).is_some(),
                };
                if behind {
                    p = p * from.get(i)?.clone();
                    i += 1;
                } else {
                    q = q * to.get(j)?.clone();
                    j += 1;
                }
            }
        }
        out.push((a..i, b..j));
    }
    Some(out)
}

/// The shape under which a value of shape `value`, broadcast against `from`, broadcasts alike once `from` is
/// reshaped to `to`. `None` when a group of axes is broadcast in part.
pub fn reshaped_broadcast(value: &[Dim], from: &[Dim], to: &[Dim]) -> Option<Vec<Dim>> {
    let value = padded(value, from.len());
    let mut out = Vec::with_capacity(to.len());
    for (f, t) in segments(from, to)? {
        if value[f.clone()].iter().all(is_one) {
            out.extend(t.map(|_| one()));
        } else if value[f.clone()] == from[f] {
            out.extend_from_slice(&to[t]);
        } else {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::dim::dims;

    #[test]
    fn segments_are_smallest() {
        let s = |a: &[usize], b: &[usize]| segments(&dims(a), &dims(b));
        assert_eq!(s(&[2, 3, 4], &[6, 4]), Some(vec![(0..2, 0..1), (2..3, 1..2)]));
        assert_eq!(s(&[2, 5, 1, 1], &[2, 5]), Some(vec![(0..1, 0..1), (1..2, 1..2), (2..3, 2..2), (3..4, 2..2)]));
        assert_eq!(s(&[4, 6], &[6, 4]), Some(vec![(0..2, 0..2)]));
        let n = Dim::symbol("n");
        let from = [n.clone(), Dim::from(8i64)];
        assert_eq!(segments(&from, &[n.clone(), Dim::from(2i64), Dim::from(4i64)]), Some(vec![(0..1, 0..1), (1..2, 1..3)]));
        assert_eq!(segments(&from, &[n * Dim::from(8i64)]), Some(vec![(0..2, 0..1)]));
    }

    #[test]
    fn broadcasts_follow_a_reshape() {
        let f = |v: &[usize], a: &[usize], b: &[usize]| reshaped_broadcast(&dims(v), &dims(a), &dims(b)).and_then(|d| ir::dim::fixed(&d));
        assert_eq!(f(&[5], &[2, 3, 5], &[6, 5]), Some(vec![1, 5]));
        assert_eq!(f(&[3, 1], &[2, 3, 5], &[6, 5]), None);
        assert_eq!(f(&[2, 3, 1], &[2, 3, 5], &[6, 5]), Some(vec![6, 1]));
    }
}
