//! A few seconds of what `bench/fuzz/run` does for hours, without its instruments: seeds changed at random, the same each
//! time. What it once found lies in `tests/found` and is tried again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cases::draw::Dice;
use tests::{filetest, fuzz, house};

/// Changed inputs of each kind.
const ROUNDS: usize = 20_000;
/// No small input may take longer, on a machine that is busy.
const LONGEST: Duration = Duration::from_secs(20);

/// A seed with a few changes: bytes set, flipped, cut out, doubled, or taken from another seed.
fn changed(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = dice.of(seeds);
    for _ in 0..1 + dice.below(4) {
        if bytes.is_empty() {
            return bytes;
        }
        let at = dice.below(bytes.len());
        let len = dice.below((bytes.len() - at).min(24)) + 1;
        match dice.below(7) {
            0 => bytes[at] = dice.of(&[0, 1, 0x7f, 0x80, 0xff, b'-', b'9', b'[']),
            1 => bytes[at] ^= 1 << dice.below(8),
            2 => drop(bytes.drain(at..at + len)),
            3 => bytes.truncate(at),
            4 => {
                let again = bytes[at..at + len].to_vec();
                drop(bytes.splice(at..at, again));
            }
            5 => {
                let other = dice.of(seeds);
                let from = dice.below(other.len().max(1)).min(other.len());
                let part = other[from..(from + 40).min(other.len())].to_vec();
                drop(bytes.splice(at..at + len, part));
            }
            // a number grows
            _ => match (at..bytes.len()).find(|&i| bytes[i].is_ascii_digit()) {
                Some(i) => drop(bytes.splice(i..i, dice.of(&["9", "99999999999", "-", "0", "18446744073709551616"]).bytes())),
                None => bytes[at] = bytes[at].wrapping_add(1),
            },
        }
    }
    bytes
}

/// Every seed as it is, then changed ones. What fails is shown as text that Rust reads.
fn attack(name: &str, seeds: &[Vec<u8>], target: fn(&[u8])) {
    assert!(!seeds.is_empty());
    let rounds: Vec<usize> = (0..seeds.len() + ROUNDS).collect();
    let failed = house::each(&rounds, |&round| {
        let mut dice = Dice::new(round as u64);
        let bytes = seeds.get(round).cloned().unwrap_or_else(|| changed(seeds, &mut dice));
        let begin = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
        let slow = begin.elapsed() > LONGEST;
        (outcome.is_err() || slow).then(|| format!("round {round}{}: \"{}\"", if slow { ", slow" } else { "" }, bytes.escape_ascii()))
    });
    let failed: Vec<String> = failed.into_iter().flatten().collect();
    println!("fuzz: {name}, {} inputs, {} failures", rounds.len(), failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn read(files: impl IntoIterator<Item = PathBuf>) -> Vec<Vec<u8>> {
    files.into_iter().map(|file| std::fs::read(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()))).collect()
}

fn found(ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(house::committed("tests/found")).expect("the folder is there");
    let mut paths: Vec<PathBuf> =
        entries.map(|e| e.expect("it stays").path()).filter(|p| p.extension().is_some_and(|e| e == ending)).collect();
    paths.sort();
    paths
}

fn graphs() -> Vec<String> {
    let files = filetest::files(&house::committed("tests/filetests")).expect("the filetests are there");
    files.iter().map(|file| std::fs::read_to_string(file).expect("files are text")).collect()
}

#[test]
fn models_that_are_changed_are_read_or_refused() {
    let mut seeds = read(found("onnx").into_iter().chain([house::digits()]));
    for folder in ["conformance/suite", "conformance/contrib", "conformance/malformed"] {
        let Some(folder) = house::shared(folder, "fuzz: models") else { continue };
        let entries = std::fs::read_dir(folder).expect("it is there");
        let mut models: Vec<PathBuf> = entries.map(|e| e.expect("it stays").path().join("model.onnx")).filter(|p| p.is_file()).collect();
        models.sort();
        let small = |bytes: &Vec<u8>| bytes.len() < 4 << 10;
        seeds.extend(read(models).into_iter().filter(small).step_by(5));
    }
    attack("models", &seeds, fuzz::onnx);
}

#[test]
fn texts_of_graphs_that_are_changed_are_read_or_refused() {
    let inputs = graphs().into_iter().map(|text| text.split(filetest::SEAM).next().unwrap_or_default().as_bytes().to_vec());
    let mut seeds: Vec<Vec<u8>> = inputs.filter(|text| text.len() < 4 << 10).collect();
    seeds.extend(read(found("gir")));
    attack("graphs", &seeds, fuzz::gir);
}

#[test]
fn texts_of_kernels_that_are_changed_are_read_or_refused() {
    let mut seeds = read(found("kir"));
    for text in graphs() {
        let Some((_, lowered)) = text.split_once(filetest::SEAM) else { continue };
        let starts = lowered
            .match_indices("\n")
            .map(|(at, _)| at + 1)
            .filter(|&at| ["tile ", "scalar "].iter().any(|w| lowered[at..].starts_with(w)));
        let starts: Vec<usize> = starts.collect();
        let ends = starts.iter().skip(1).copied().chain([lowered.len()]);
        seeds.extend(starts.iter().zip(ends).map(|(&from, to)| lowered.as_bytes()[from..to].to_vec()));
    }
    seeds.retain(|kernel| kernel.len() < 4 << 10);
    attack("kernels", &seeds, fuzz::kir);
}
