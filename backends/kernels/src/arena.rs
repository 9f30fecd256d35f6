//! Offsets for buffers whose lifetimes are known. Placing is best-of-several: buffers are taken in a few
//! orders, each at the lowest offset where it overlaps nothing alive at the same time; the smallest arena wins.
//! The orders are those of Pisarchyk & Lee, "Efficient memory management for deep neural net inference", 2020,
//! section 5 (by size), and plain variations of them.

/// A buffer that wants a place: `bytes`, in use from step `first` to `last`, both included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub id: usize,
    pub bytes: u64,
    pub first: usize,
    pub last: usize,
}

/// Every buffer starts on a cache line.
pub const ALIGN: u64 = 64;

/// An offset for each buffer, in their order, and the size of the arena.
pub fn plan(wanted: &[Wanted]) -> (Vec<u64>, u64) {
    let live_sum = |w: &Wanted| wanted.iter().filter(|o| o.first <= w.last && w.first <= o.last).map(|o| o.bytes).sum::<u64>();
    let sums: Vec<u64> = wanted.iter().map(live_sum).collect();
    let keys: [&dyn Fn(usize) -> (i128, i128); 5] = [
        &|i| (-(wanted[i].bytes as i128), wanted[i].first as i128),
        &|i| (-(sums[i] as i128), -(wanted[i].bytes as i128)),
        &|i| (-(wanted[i].bytes as i128 * (wanted[i].last - wanted[i].first + 1) as i128), wanted[i].first as i128),
        &|i| (-((wanted[i].last - wanted[i].first) as i128), -(wanted[i].bytes as i128)),
        &|i| (wanted[i].first as i128, -(wanted[i].bytes as i128)),
    ];
    let mut best: Option<(Vec<u64>, u64)> = None;
    for key in keys {
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_by_key(|&i| (key(i), i));
        let (offsets, size) = place(wanted, &order);
        if best.as_ref().is_none_or(|(_, s)| size < *s) {
            best = Some((offsets, size));
        }
    }
    best.expect("there is at least one order")
}

fn place(wanted: &[Wanted], order: &[usize]) -> (Vec<u64>, u64) {
    let mut offsets = vec![0u64; wanted.len()];
    // placed buffers, sorted by offset
    let mut placed: Vec<usize> = Vec::new();
    let mut size = 0;
    for &i in order {
        let bytes = wanted[i].bytes.next_multiple_of(ALIGN);
        let (mut at, mut found, mut smallest) = (0u64, None, u64::MAX);
        for &j in &placed {
            if wanted[j].first > wanted[i].last || wanted[i].first > wanted[j].last {
                continue;
            }
            // the tightest gap that fits
            if offsets[j] >= at + bytes && offsets[j] - at < smallest {
                (found, smallest) = (Some(at), offsets[j] - at);
            }
            at = at.max(offsets[j] + wanted[j].bytes.next_multiple_of(ALIGN));
        }
        offsets[i] = found.unwrap_or(at);
        size = size.max(offsets[i] + bytes);
        let slot = placed.partition_point(|&j| offsets[j] <= offsets[i]);
        placed.insert(slot, i);
    }
    (offsets, size)
}

/// The largest sum of bytes alive in one step: no plan can be smaller.
pub fn floor(wanted: &[Wanted]) -> u64 {
    let steps = wanted.iter().map(|w| w.last + 1).max().unwrap_or(0);
    (0..steps)
        .map(|s| wanted.iter().filter(|w| w.first <= s && s <= w.last).map(|w| w.bytes.next_multiple_of(ALIGN)).sum())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_alive_together_do_not_overlap_and_the_plan_is_tight() {
        let mut seed = 1u64;
        let mut random = |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        for _ in 0..200 {
            let wanted: Vec<Wanted> = (0..30)
                .map(|id| {
                    let first = random(40) as usize;
                    Wanted { id, bytes: random(10_000), first, last: first + random(6) as usize }
                })
                .collect();
            let (offsets, size) = plan(&wanted);
            for (i, a) in wanted.iter().enumerate() {
                assert!(offsets[i] % ALIGN == 0 && offsets[i] + a.bytes <= size);
                for (j, b) in wanted.iter().enumerate().skip(i + 1) {
                    let apart = offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
                    assert!(apart || a.last < b.first || b.last < a.first, "{a:?} {b:?}");
                }
            }
            assert!(size as f64 <= 1.3 * floor(&wanted) as f64, "{size} {}", floor(&wanted));
        }
    }
}
