//! What a product is chosen from: a few tiles and both orders of the loops around them. The plain one is what the prediction of
//! [`super::choose`] says; others are near it, and only a measurement tells.

use super::Right;
use super::choose::{Shape, tiles};
use super::emit::Emit;
use super::epilogue::Behind;
use super::panels::panels;
use super::way::Way;
use crate::build::Builder;
use crate::cost::{Candidate, Rates};

/// Fewer multiply-adds are not worth a choice.
const FEWEST: u64 = 50_000;

/// Tiles beside the plain one.
const OTHERS: usize = 3;

/// Tiles whose predicted time is farther from the best are no candidates.
const NEAR: f64 = 1.25;

/// Chooses among tiles and orders of the product that `emit` was planned for: the plan, and whether panels are outside.
pub(super) fn pick<'a>(mut emit: Emit<'a>, way: Way, shared: bool, builder: &mut Builder) -> Option<(Emit<'a>, bool)> {
    emit.behind = emit.choose_behind()?;
    let outside = emit.panels_outside();
    if shared || emit.product.macs < FEWEST {
        return Some((emit, outside));
    }
    let (product, facts) = (emit.product, emit.facts);
    let mut all = tiles(facts, way, &product.y, &product.x, product.n, emit.depth, product.run.a, None);
    let own = all.iter().find(|(_, shape)| *shape == emit.shape).map_or(f64::INFINITY, |(cycles, _)| *cycles);
    all.retain(|(cycles, shape)| *shape != emit.shape && *cycles < NEAR * own);
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    // the best of each width first: neighbours are much alike
    let mut widths = vec![emit.shape.vectors];
    let (mut first, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, shape)| {
        let new = !widths.contains(&shape.vectors);
        widths.push(shape.vectors);
        new
    });
    first.extend(rest);
    let mut ways: Vec<(f64, Emit, bool)> = vec![(own, emit.clone(), outside), (own, emit.clone(), !outside)];
    for (cycles, shape) in first.into_iter().take(OTHERS) {
        let width = shape.vectors * emit.lanes;
        let panels = panels(width, width, product.n, (emit.lanes, emit.lanes), way);
        let mut other = Emit { shape, panels, behind: Behind::Registers, ..emit.clone() };
        let Some(behind) = other.choose_behind().filter(|_| other.reaches()) else { continue };
        other.behind = behind;
        let outside = other.panels_outside();
        ways.push((cycles.max(own), other, outside));
    }
    let batch: usize = product.batch.iter().map(|level| level.count).product();
    let cycle = Rates::of(facts).cycle(facts) * batch as f64;
    let candidates: Vec<Candidate> = ways.iter().map(|(cycles, emit, outside)| candidate(emit.shape, *outside, cycles * cycle)).collect();
    let taken = builder.choose(&key(&emit, batch), &candidates);
    let (_, emit, outside) = ways.swap_remove(taken);
    Some((emit, outside))
}

fn candidate(shape: Shape, outside: bool, seconds: f64) -> Candidate {
    let order = if outside { "panels" } else { "rows" };
    let why = format!("tiles of {} rows by {} vectors, {order} outside", shape.rows(), shape.vectors);
    Candidate { why, ..Candidate::new(format!("{}x{}x{}_{order}", shape.y, shape.x, shape.vectors), seconds) }
}

/// All that the candidates of a product depend on, but for how far its rows lie apart.
fn key(emit: &Emit, batch: usize) -> String {
    let product = emit.product;
    let right = match &product.right {
        Right::Packed { .. } => "",
        Right::InPlace { .. } => " in place",
    };
    let (a, b) = (product.factors.a, product.factors.b);
    let types = if a == b { a.name().to_string() } else { format!("{}*{}", a.name(), b.name()) };
    let (y, x, n, k, terms) = (product.y.count, product.x.count, product.n, emit.depth, product.epilogue.terms.len());
    format!(
        "{} {types} {batch}*{y}x{x}x{n}x{k} segments={} step={} epilogue={terms}{right}",
        product.name,
        product.segments.len(),
        product.run.a
    )
}
