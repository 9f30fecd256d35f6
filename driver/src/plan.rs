//! The plan of a program's memory as a table: what lies where, from which step to which, and how close the whole comes to
//! the least that any plan needs. It plans nothing.

use ir::Program;

use crate::table::{Json, Table, count, word};

/// Every buffer starts on a cache line, so each is counted in whole ones.
const LINE: u64 = 64;

/// Buffers in the order of their offsets.
pub fn table(program: &Program) -> Table {
    let mut table = Table::new(&["offset", "bytes", "first", "last", "what"]);
    let mut all: Vec<_> = program.plan.iter().collect();
    all.sort_by_key(|a| (a.offset, a.first));
    for a in all {
        table.row(vec![count(a.offset), count(a.bytes), count(a.first as u64), count(a.last as u64), word(&*a.name)]);
    }
    table
}

/// The largest sum of bytes that are alive in one step.
pub fn floor(program: &Program) -> u64 {
    let steps = program.plan.iter().map(|a| a.last + 1).max().unwrap_or(0);
    let live = |step: usize| {
        program.plan.iter().filter(|a| a.first <= step && step <= a.last).map(|a| a.bytes.next_multiple_of(LINE)).sum::<u64>()
    };
    (0..steps).map(live).max().unwrap_or(0)
}

/// Arena over floor; 1 where nothing is needed.
pub fn ratio(program: &Program) -> f64 {
    match floor(program) {
        0 => 1.0,
        floor => program.arena_bytes as f64 / floor as f64,
    }
}

/// One line about it.
pub fn summary(level: &str, program: &Program) -> String {
    format!(
        "{level}: arena {} bytes, largest live sum {} bytes, ratio {:.3}; {} buffers, {} steps, scratch per worker {} bytes",
        program.arena_bytes,
        floor(program),
        ratio(program),
        program.plan.len(),
        program.steps.len(),
        program.worker_bytes
    )
}

pub fn json(level: &str, program: &Program) -> Json {
    Json::object([
        ("level", level.into()),
        ("arena_bytes", program.arena_bytes.into()),
        ("largest_live_sum", floor(program).into()),
        ("ratio", ratio(program).into()),
        ("steps", program.steps.len().into()),
        ("worker_bytes", program.worker_bytes.into()),
        ("buffers", table(program).json()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::program::Allocation;

    #[test]
    fn the_floor_is_what_is_alive_at_once() {
        let allocation = |offset, bytes, first, last| Allocation { name: "t".into(), offset, bytes, first, last };
        let plan = vec![allocation(0, 64, 0, 1), allocation(64, 100, 1, 2), allocation(0, 64, 2, 3)];
        let program = Program { plan, arena_bytes: 192, ..Program::default() };
        assert_eq!((floor(&program), ratio(&program)), (192, 1.0));
        assert_eq!(ratio(&Program::default()), 1.0);
    }
}
