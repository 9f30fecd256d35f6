//! Addresses that a machine reaches for free. An instruction of some machines has room for short displacements
//! only; what lies farther from its pointer gets a pointer of its own, set before the loop and moved in it as the
//! first one is, where it pays. One pointer serves all that lies near it. Where displacements are free, nothing happens.

use ir::kernel::facts::Facts;
use ir::kernel::tile::{At, P, Stmt, TileKernel};
use ir::kernel::{Kernel, KernelBody};

/// Displacements below this one are free for every element.
const SHORT: i32 = 256;

/// `kernel` with far addresses through pointers of their own.
pub fn shorten(kernel: Kernel, facts: &Facts) -> Kernel {
    let KernelBody::Tile(tile) = &kernel.body else { return kernel };
    if facts.reach == i32::MAX {
        return kernel;
    }
    let used = kernel.args.len().max(highest(&tile.body));
    let most = (facts.generals as usize).saturating_sub(depth(&tile.body));
    let body = Reach { facts, spare: (used..most).map(|i| P(i as u8)).collect() }.block(&tile.body);
    Kernel { body: KernelBody::Tile(TileKernel { body }), ..kernel }
}

/// One more than the highest pointer that is set; the others are arguments.
fn highest(body: &[Stmt]) -> usize {
    let of = |stmt: &Stmt| {
        if let Stmt::Loop { body, .. } = stmt {
            highest(body)
        } else if let Stmt::Point { to, .. } = stmt {
            to.0 as usize + 1
        } else {
            0
        }
    };
    body.iter().map(of).max().unwrap_or(0)
}

fn depth(body: &[Stmt]) -> usize {
    let of = |stmt: &Stmt| if let Stmt::Loop { body, .. } = stmt { 1 + depth(body) } else { 0 };
    body.iter().map(of).max().unwrap_or(0)
}

/// The address of a vector in memory that `stmt` loads or stores.
fn address(stmt: &mut Stmt) -> Option<&mut At> {
    if let Stmt::Load { at, .. } | Stmt::Store { at, .. } = stmt { Some(at) } else { None }
}

struct Reach<'a> {
    facts: &'a Facts,
    /// Pointers that the kernel has no use for.
    spare: Vec<P>,
}

impl Reach<'_> {
    fn free(&self, offset: i64) -> bool {
        offset.abs() < i64::from(SHORT)
            || (0..=i64::from(self.facts.reach)).contains(&offset) && offset % i64::from(self.facts.vector_bytes) == 0
    }

    fn block(&self, body: &[Stmt]) -> Vec<Stmt> {
        let mut out = Vec::new();
        // what follows each other without a loop in between
        for run in body.split_inclusive(|s| matches!(s, Stmt::Loop { .. })) {
            let (flat, inner) = match run.split_last() {
                Some((Stmt::Loop { times, body }, flat)) => (flat, Some((*times, body))),
                _ => (run, None),
            };
            out.extend(self.flat(flat));
            match inner {
                Some((times, body)) if body.iter().any(|s| matches!(s, Stmt::Loop { .. })) => {
                    out.push(Stmt::Loop { times, body: self.block(body) });
                }
                Some((times, body)) => out.extend(self.innermost(times, body)),
                None => {}
            }
        }
        out
    }

    /// Statements without a loop: pointers hold from where they are set until the one they came from moves.
    fn flat(&self, body: &[Stmt]) -> Vec<Stmt> {
        let mut out: Vec<Stmt> = Vec::new();
        let mut spare = self.spare.as_slice();
        let mut from = 0;
        while from < body.len() {
            let pointer = |s: &Stmt| matches!(s, Stmt::Advance { .. } | Stmt::Point { .. });
            let end = body[from..].iter().position(pointer).map_or(body.len(), |i| from + i);
            let mut part = body[from..end].to_vec();
            for (p, to, offset) in self.groups(&mut part, |_| true, 2, &mut spare) {
                out.push(Stmt::Point { to, from: p, offset });
            }
            out.extend(part);
            out.extend(body.get(end).cloned());
            from = end + 1;
        }
        out
    }

    /// A loop without another inside. There even one address pays: a load may move its pointer.
    fn innermost(&self, times: u32, body: &[Stmt]) -> Vec<Stmt> {
        let mut inside = body.to_vec();
        let points = |p: P| body.iter().any(|s| matches!(s, Stmt::Point { to, .. } if *to == p));
        let groups = self.groups(&mut inside, |p| !points(p), 1, &mut self.spare.as_slice());
        let mut out: Vec<Stmt> = groups.iter().map(|&(from, to, offset)| Stmt::Point { to, from, offset }).collect();
        let mut moved = Vec::new();
        for stmt in inside {
            let also = if let Stmt::Advance { p, by } = stmt { Some((p, by)) } else { None };
            moved.push(stmt);
            if let Some((p, by)) = also {
                moved.extend(groups.iter().filter(|g| g.0 == p).map(|g| Stmt::Advance { p: g.1, by }));
            }
        }
        out.push(Stmt::Loop { times, body: moved });
        out
    }

    /// Gives far addresses near each other a pointer, where `least` or more share it: which one it comes from, its own, how far.
    fn groups(&self, body: &mut [Stmt], may: impl Fn(P) -> bool, least: usize, spare: &mut &[P]) -> Vec<(P, P, i64)> {
        let mut far: Vec<(P, i64)> = body.iter_mut().filter_map(address).map(|at| (at.p, i64::from(at.offset))).collect();
        far.retain(|&(p, offset)| !self.free(offset) && may(p));
        far.sort();
        let mut out: Vec<(P, P, i64)> = Vec::new();
        while let Some(&(p, base)) = far.first() {
            let near = |&(q, offset): &(P, i64)| q == p && self.free(offset - base);
            let count = far.iter().filter(|f| near(f)).count();
            far.retain(|f| !near(f));
            let Some((&to, rest)) = spare.split_first().filter(|_| count >= least) else { continue };
            *spare = rest;
            for at in body.iter_mut().filter_map(address) {
                let offset = i64::from(at.offset);
                if at.p == p && !self.free(offset) && self.free(offset - base) {
                    *at = At { p: to, offset: i32::try_from(offset - base).expect("it is near") };
                }
            }
            out.push((p, to, base));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::kernel::facts::{Menu, MinMax};
    use ir::kernel::text::{parse, print};

    fn short() -> Facts {
        Facts {
            name: "short",
            vector_bytes: 16,
            vectors: 32,
            generals: 12,
            fused: true,
            min_max: MinMax::Ieee,
            menu: Menu { lane_operand: true, ..Menu::PLAIN },
            caches: [32 << 10, 256 << 10, 1 << 20],
            accumulators: 8,
            reach: 65520,
            unroll: 4,
        }
    }

    fn shortened(text: &str) -> String {
        let facts = short();
        let kernel = shorten(parse(text).expect("the test's kernel"), &facts);
        ir::kernel::verify(&kernel, &facts).expect("it stays sound");
        print(&kernel)
    }

    #[test]
    fn far_rows_share_pointers() {
        let got = shortened(
            "tile k(a: read 0..300000) lanes 4 {
  loop 4 {
    v0 = load p0[0]
    v1 = load p0[65520]
    v2 = load p0[70000]
    v3 = load p0[70016]
    v4 = load p0[80000]
    v5 = load p0[200000]
    p0 += 16
  }
}",
        );
        let want = "tile k(a: read 0..300000) lanes 4 {
  p1 = p0 + 70000
  p2 = p0 + 200000
  loop 4 {
    v0 = load p0[0]
    v1 = load p0[65520]
    v2 = load p1[0]
    v3 = load p1[16]
    v4 = load p1[10000]
    v5 = load p2[0]
    p0 += 16
    p1 += 16
    p2 += 16
  }
}
";
        assert_eq!(got.trim(), want.trim());
    }

    #[test]
    fn elements_between_vectors_are_far() {
        let got = shortened(
            "tile k(a: read 0..4000) lanes 4 {\n  v0 = load p0[120]\n  v1 = load p0[360]\n  v2 = load p0[376]\n  p0 += 4\n  v1 = load p0[264]\n}",
        );
        assert!(got.contains("p1 = p0 + 360") && got.contains("v2 = load p1[16]") && got.contains("v1 = load p0[264]"), "{got}");
    }
}
