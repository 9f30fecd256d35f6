//! Every filetest, that every rule has one where it fires and one where it must not, that every file below
//! `kernel` was lowered, and that every operator of the graph's table is among them. `BLESS=1` writes what comes out as what is expected.

use std::path::Path;

/// Operators that a required pass expands: no kernel sees them.
const ALWAYS_MAPS: &[&str] = &["quantize"];

#[test]
fn filetests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests");
    let counts = tests::filetest::run(&root, std::env::var_os("BLESS").is_some()).expect("the filetests can be read");
    println!("filetests: {} passed, {} failed, {} blessed", counts.passed, counts.failed.len(), counts.blessed);
    assert!(counts.failed.is_empty(), "\n{}", counts.failed.join("\n"));
    assert!(counts.passed + counts.blessed > 0, "there are no filetests");
    for rule in passes::recipe::rules() {
        let files = counts.rules.get(rule.name).map(Vec::as_slice).unwrap_or_default();
        assert!(files.contains(&true), "no filetest shows where {} fires", rule.name);
        assert!(files.contains(&false), "no filetest shows where {} must not fire", rule.name);
    }
    let kernels = tests::filetest::files(&root.join("kernel")).expect("the filetests of kernels can be read");
    let kernels: Vec<String> = kernels.iter().filter_map(|p| Some(p.strip_prefix(&root).ok()?.display().to_string())).collect();
    assert!(counts.lowered.keys().eq(&kernels), "below `kernel` stand {kernels:?}, but lowered were {:?}", counts.lowered.keys());
    for row in ir::Op::TABLE.iter().filter(|row| !ALWAYS_MAPS.contains(&row.mnemonic)) {
        assert!(counts.operators.contains(row.mnemonic), "no filetest lowers {}", row.mnemonic);
    }
    for level in x64::facts::LEVELS {
        let name = level.facts.name;
        assert!(counts.lowered.values().any(|&l| l == name), "no filetest lowers for {name}");
    }
}
