//! Runs the system's C compiler for a test; what cannot be compiled for want of one is skipped aloud.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

/// The structs of the ABI as design and header have them, in a form of their own: nothing here comes from Rust.
pub const ABI: &str = r#"
#include <stdint.h>
typedef struct { const char *name; const int64_t *dims; const int32_t *symbols; uint64_t bytes; int32_t dtype; int32_t rank; } maquette_tensor;
typedef struct { const char *name; int64_t min, max; } maquette_symbol;
typedef struct {
    const void *const *inputs; void *const *outputs; const uint64_t *input_bytes; void *arena; uint64_t arena_bytes;
    void *state; const void *weights; int64_t *symbols;
    void (*parallel_for)(void *pool, int64_t n, void (*task)(void *context, int64_t i, int64_t worker), void *context); void *pool;
    uint32_t workers, reserved; uint64_t cpu;
} maquette_call;
typedef struct {
    uint32_t abi, input_count, output_count, symbol_count; const char *name, *target, *compiler;
    const maquette_tensor *inputs, *outputs; const maquette_symbol *symbols;
    uint64_t arena_bytes, arena_align, worker_bytes, state_bytes, weights_bytes;
    uint64_t (*cpu)(void); void (*reset)(void *state); int32_t (*run)(const maquette_call *);
} maquette_model;
"#;

/// A folder of this test's own, removed when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = env::temp_dir().join(format!("maquette-runtime-{name}-{}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Compiles `source` behind the ABI's structs to `folder/file`; `None`, said aloud, where there is no `cc`.
pub fn compile(folder: &Folder, file: &str, source: &str, flags: &[&str]) -> Option<PathBuf> {
    let (c, out) = (folder.path().join(format!("{file}.c")), folder.path().join(file));
    fs::write(&c, format!("{ABI}{source}")).unwrap();
    let mut cc = Command::new("cc");
    let Ok(done) = cc.args(["-std=c11", "-Wall", "-Werror"]).args(flags).arg("-o").arg(&out).arg(&c).output() else {
        eprintln!("skipped: no C compiler (cc)");
        return None;
    };
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(out)
}
