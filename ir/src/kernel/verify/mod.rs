//! What a kernel must keep before anyone runs it. Everything that is wrong is listed, with its place:
//! `body[2].loop[0]: …`.
//!
//! Proven of every kernel: each access lies in the range that its argument declares, and reads or writes only
//! what the argument's [`Access`] allows. [`super::run()`] then cannot panic, and generated code cannot stray.
//!
//! Of a tile kernel: every register is one that the machine has and is set before it is read; pointers and
//! loop counters together fit the general registers; operands, lanes and shifts are on the machine's menu; loops run
//! at least once. Pointers are tracked exactly, as an argument and a sum over the counters of the loops around:
//! nothing right is refused, except reading a pointer that a later turn of a loop would set from another one.
//!
//! Of a scalar kernel: every value is set once, in a block that encloses its uses; types fit; statuses are
//! 1..=5; a stored bool is 0 or 1; every index stays in its argument. The last two by intervals: ranges of loops,
//! arithmetic on bounded values, what a comparison says inside its branch, [`super::scalar::Expr::Require`]. What
//! intervals cannot show must be required.
//!
//! Not proven: that a `While` ends, or that memory which is read was written.

mod bounds;
mod interval;
mod scalar;
#[cfg(test)]
mod tests;
mod tile;

use super::{Access, Arg, Facts, Kernel, KernelBody};

/// Everything that is wrong with the kernel.
pub fn verify(kernel: &Kernel, facts: &Facts) -> Result<(), Vec<String>> {
    let mut faults = Faults::default();
    for arg in &kernel.args {
        if !(arg.low <= 0 && 0 <= arg.high) {
            faults.add(format!("argument `{}` has the range {}..{}, which 0 is not in", arg.name, arg.low, arg.high));
        }
    }
    match &kernel.body {
        KernelBody::Tile(tile) => tile::check(kernel, tile, facts, &mut faults),
        KernelBody::Scalar(scalar) => {
            let definitions = scalar::check(kernel, scalar, &mut faults);
            // intervals of values that are not well defined mean nothing
            if faults.list.is_empty() {
                bounds::check(kernel, scalar, &definitions, &mut faults);
            }
        }
    }
    if faults.list.is_empty() { Ok(()) } else { Err(faults.list) }
}

/// Collects faults, each behind the place it was found at.
#[derive(Default)]
struct Faults {
    list: Vec<String>,
    place: Vec<String>,
}

impl Faults {
    fn add(&mut self, what: String) {
        let place = self.place.join(".");
        self.list.push(if place.is_empty() { what } else { format!("{place}: {what}") });
    }

    /// Runs `check` on each statement of a block with its place: `body[0]`, `body[1]`, …
    fn each<T>(&mut self, block: &str, body: &[T], mut check: impl FnMut(&mut Faults, &T)) {
        for (i, stmt) in body.iter().enumerate() {
            self.place.push(format!("{block}[{i}]"));
            check(self, stmt);
            self.place.pop();
        }
    }
}

/// What is wrong with reading, or writing, `low..high` bytes around the pointer that `arg` was given.
fn access_fault(arg: &Arg, low: i128, high: i128, writes: bool) -> Option<String> {
    let refused = if writes { Access::Read } else { Access::Write };
    if arg.access == refused {
        return Some(format!("`{}` is only to be {}", arg.name, if writes { "read" } else { "written" }));
    }
    let inside = low >= arg.low.into() && high <= arg.high.into();
    let verb = if writes { "writes" } else { "reads" };
    (!inside).then(|| format!("{verb} bytes {low}..{high} of `{}`, which holds {}..{}", arg.name, arg.low, arg.high))
}
