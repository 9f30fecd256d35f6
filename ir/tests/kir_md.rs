//! `docs/kir.md` is true: its examples are verified kernels in canonical form, and it names every operation.

use ir::kernel::facts::{Facts, Menu, MinMax};
use ir::kernel::{text, verify};
use std::path::Path;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kir.md");
    std::fs::read_to_string(path).expect("the page stands beside the crate")
}

#[test]
fn the_examples_are_kernels() {
    let facts = Facts {
        name: "page",
        vector_bytes: 32,
        vectors: 16,
        generals: 12,
        fused: true,
        min_max: MinMax::SecondOnTie,
        menu: Menu { memory_operand: true, splat_operand: true, ..Menu::PLAIN },
        caches: [1 << 15, 1 << 20, 1 << 22],
        accumulators: 8,
        reach: i32::MAX,
        unroll: 4,
    };
    let page = page();
    let examples: Vec<&str> = page.split("```kir\n").skip(1).map(|rest| rest.split("```").next().expect("a part")).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let kernel = text::parse(example).unwrap_or_else(|e| panic!("{e}\n{example}"));
        assert_eq!(text::print(&kernel), example);
        assert_eq!(verify(&kernel, &facts), Ok(()), "{example}");
    }
}

#[test]
fn every_operation_is_named() {
    let page = page();
    for (kind, words) in text::operations() {
        let row = page.lines().find(|line| line.starts_with(&format!("| {kind} |"))).unwrap_or_else(|| panic!("no row for {kind}"));
        let named: Vec<&str> = row.split('`').skip(1).step_by(2).flat_map(str::split_whitespace).collect();
        assert_eq!(named, words, "{kind}");
    }
}
