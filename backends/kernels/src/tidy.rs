//! Moves of pointers that cancel or lead nowhere: those that follow each other become one, and those of a pointer that
//! is not used any more go. Generators leave pointers where the next one expects them, and need not know what that is.

use ir::kernel::tile::{At, Operand, P, Stmt, TileKernel};
use ir::kernel::{Kernel, KernelBody};
use std::collections::BTreeSet;

/// `kernel` with as few moves as that.
pub fn tidy(kernel: Kernel) -> Kernel {
    let KernelBody::Tile(tile) = &kernel.body else { return kernel };
    let body = fold(&used(&tile.body, &BTreeSet::new()));
    Kernel { body: KernelBody::Tile(TileKernel { body }), ..kernel }
}

/// Moves that follow each other become one for each pointer.
fn fold(body: &[Stmt]) -> Vec<Stmt> {
    let mut out: Vec<Stmt> = Vec::new();
    let mut moves: Vec<(P, i64)> = Vec::new();
    let flush = |moves: &mut Vec<(P, i64)>, out: &mut Vec<Stmt>| {
        out.extend(moves.drain(..).filter(|m| m.1 != 0).map(|(p, by)| Stmt::Advance { p, by }));
    };
    for stmt in body {
        if let Stmt::Advance { p, by } = stmt {
            match moves.iter_mut().find(|m| m.0 == *p) {
                Some(at) => at.1 += by,
                None => moves.push((*p, *by)),
            }
            continue;
        }
        flush(&mut moves, &mut out);
        match stmt {
            Stmt::Loop { times, body } => out.push(Stmt::Loop { times: *times, body: fold(body) }),
            other => out.push(other.clone()),
        }
    }
    flush(&mut moves, &mut out);
    out
}

/// Without the moves of pointers that nothing behind them uses; `after` are used behind the whole.
fn used(body: &[Stmt], after: &BTreeSet<P>) -> Vec<Stmt> {
    let mut live = after.clone();
    let mut out = Vec::new();
    for stmt in body.iter().rev() {
        match stmt {
            Stmt::Advance { p, .. } if !live.contains(p) => {}
            Stmt::Loop { times, body } => {
                // one turn is behind the other
                uses(body, &mut live);
                let body = used(body, &live);
                if !body.is_empty() {
                    out.push(Stmt::Loop { times: *times, body });
                }
            }
            other => {
                uses(std::slice::from_ref(other), &mut live);
                out.push(other.clone());
            }
        }
    }
    out.reverse();
    out
}

/// Adds the pointers that are read.
fn uses(body: &[Stmt], to: &mut BTreeSet<P>) {
    for stmt in body {
        match stmt {
            Stmt::Loop { body, .. } => uses(body, to),
            Stmt::Point { from, .. } => {
                to.insert(*from);
            }
            Stmt::Load { at, .. }
            | Stmt::Store { at, .. }
            | Stmt::Splat { at, .. }
            | Stmt::LoadNarrow { at, .. }
            | Stmt::SplatNarrow { at, .. }
            | Stmt::Lookup { table: at, .. }
            | Stmt::StoreNarrow { at, .. }
            | Stmt::Gather { at, .. }
            | Stmt::Scatter { at, .. }
            | Stmt::LoadQuads { at, .. }
            | Stmt::StoreQuads { at, .. }
            | Stmt::Prefetch { at } => {
                to.insert(at.p);
            }
            Stmt::MulAdd { b: operand, .. }
            | Stmt::Horner { c: operand, .. }
            | Stmt::Dot4 { b: operand, .. }
            | Stmt::Binary { b: operand, .. }
            | Stmt::Select { y: operand, .. } => {
                if let Operand::Memory(at) | Operand::Splat(at) = operand {
                    to.insert(at.p);
                }
            }
            Stmt::Advance { .. } | Stmt::Set { .. } | Stmt::Copy { .. } | Stmt::Unary { .. } | Stmt::Fold { .. } => {}
            Stmt::Matrix2x8 { .. } | Stmt::MulAdd8 { .. } | Stmt::PairAdd { .. } => {}
        }
    }
}

/// `body` with other pointers: `to` says which.
pub fn renamed(body: &[Stmt], to: &dyn Fn(P) -> P) -> Vec<Stmt> {
    let address = |at: &mut At| at.p = to(at.p);
    let change = |stmt: &Stmt| {
        let mut stmt = stmt.clone();
        match &mut stmt {
            Stmt::Loop { body, .. } => *body = renamed(body, to),
            Stmt::Point { to: p, from, .. } => (*p, *from) = (to(*p), to(*from)),
            Stmt::Advance { p, .. } => *p = to(*p),
            Stmt::Load { at, .. }
            | Stmt::Store { at, .. }
            | Stmt::Splat { at, .. }
            | Stmt::Gather { at, .. }
            | Stmt::Scatter { at, .. }
            | Stmt::LoadQuads { at, .. }
            | Stmt::StoreQuads { at, .. }
            | Stmt::LoadNarrow { at, .. }
            | Stmt::SplatNarrow { at, .. }
            | Stmt::StoreNarrow { at, .. }
            | Stmt::Prefetch { at } => address(at),
            Stmt::MulAdd { b: operand, .. }
            | Stmt::Horner { c: operand, .. }
            | Stmt::Dot4 { b: operand, .. }
            | Stmt::Binary { b: operand, .. }
            | Stmt::Select { y: operand, .. } => {
                if let Operand::Memory(at) | Operand::Splat(at) = operand {
                    address(at);
                }
            }
            Stmt::Lookup { table, .. } => address(table),
            Stmt::Set { .. } | Stmt::Copy { .. } | Stmt::Unary { .. } | Stmt::Fold { .. } => {}
            Stmt::Matrix2x8 { .. } | Stmt::MulAdd8 { .. } | Stmt::PairAdd { .. } => {}
        }
        stmt
    };
    body.iter().map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::kernel::text::{parse, print};

    #[test]
    fn moves_that_cancel_or_lead_nowhere_go() {
        let kernel = parse(
            "tile k(a: read 0..300000, b: write 0..64) lanes 4 {
  loop 4 {
    loop 2 {
      v0 = load p0[0]
      p0 += 16
      p1 += 4
      p0 += 8
      p1 -= 4
    }
    p0 -= 48
    p0 += 64
  }
  p0 -= 256
  p0 += 16
  v1 = load p0[0]
  p1[0] = v1
  p0 -= 16
  p1 += 64
}",
        );
        let want = "tile k(a: read 0..300000, b: write 0..64) lanes 4 {
  loop 4 {
    loop 2 {
      v0 = load p0[0]
      p0 += 24
    }
    p0 += 16
  }
  p0 -= 240
  v1 = load p0[0]
  p1[0] = v1
}";
        assert_eq!(print(&tidy(kernel.expect("the test's kernel"))).trim(), want);
    }
}
