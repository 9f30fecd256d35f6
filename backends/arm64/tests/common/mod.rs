//! Kernels of every level on a processor that has what the level needs, and as little more as there is.

use arm64::facts::LEVELS;
use cases::Case;
use cases::batch::{self, aarch64};
use ir::kernel::Facts;

/// By the order of the levels.
const PROCESSORS: [&str; 3] = ["cortex-a53", "cortex-a76", "max"];

pub fn check(name: &str, make: impl Fn(&'static Facts) -> Vec<Case>) {
    assert_eq!(LEVELS.len(), PROCESSORS.len(), "a processor for every level");
    for (level, processor) in LEVELS.iter().zip(PROCESSORS) {
        let (cases, name) = (make(level.facts), format!("{name}-{processor}"));
        let compile = |name, case: &Case| arm64::function(name, arm64::compile(case.tile(), case.kernel.args.len(), level.facts));
        let calls = batch::calls(&cases, compile);
        let Some(outcomes) = aarch64::run(&cases::room!(), &name, processor, &calls) else { return };
        cases.iter().zip(&outcomes).for_each(|(case, outcome)| case.judge(processor, outcome));
        println!("{name}: {} cases of {}", cases.len(), level.facts.name);
    }
}
