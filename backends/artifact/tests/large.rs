//! Weights of 300 MB pass through the writers without being held. Alone in its process: the peak is the process's.

mod common;

use artifact::{Content, Symbol};
use common::*;

const BYTES: u64 = 300 << 20;

fn resident_peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says how much memory was used");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the peak is in the list");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") << 10
}

#[test]
fn large_weights_are_streamed() {
    if !cfg!(target_os = "linux") {
        eprintln!("SKIPPED artifact::large_weights_are_streamed: needs /proc");
        return;
    }
    let dir = ROOM.folder("large_weights_are_streamed");
    let mut code = x86_program();
    let weights = Content::lazy(BYTES, |put| {
        let block: Vec<u8> = (0..1 << 16).map(|i: u32| (i % 251) as u8).collect();
        (0..BYTES >> 16).for_each(|_| put(&block));
    });
    code.symbols.push(Symbol::constant("weights", 64, weights));
    let before = resident_peak();
    let (object, library) = (dir.join("big.o"), dir.join("libbig.so"));
    artifact::object(&code, &mut file(&object)).expect("an object");
    artifact::archive(&code, "big.o", &mut std::io::sink()).expect("an archive");
    artifact::shared_object(&code, "libbig.so", &mut file(&library)).expect("a shared object");
    artifact::executable(&code, "_start", &mut std::io::sink()).expect("an executable");
    let grown = resident_peak() - before;
    assert!(grown < 8 << 20, "writing took {grown} bytes of memory");
    for path in [&object, &library] {
        let bytes = path.metadata().expect("written").len();
        assert!((BYTES..BYTES + (64 << 10)).contains(&bytes), "{bytes}");
    }
    if ROOM.have("readelf", "large_weights_are_streamed") {
        let symbols = tool("readelf", &["-sW"], &library);
        assert!(symbols.lines().any(|l| l.contains("0x12c00000 OBJECT  LOCAL") && l.ends_with("weights")), "{symbols}");
    }
    std::fs::remove_dir_all(&dir).expect("the folder is ours");
}
