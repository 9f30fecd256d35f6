//! The loader, on shared objects that a C compiler makes: what works, and every way in which a file is not a model.
#![allow(unsafe_code, clippy::unwrap_used)]

mod c;

use runtime_stub::{Error, Input, Library, LoadError, Output, Session};
use std::fs;

/// `y[i] = x[i] * w[i]`, the weights in a file of their own.
const SCALE: &str = r#"
static const int64_t dims[] = {1, 16};
static const maquette_tensor x = {"x", dims, 0, 64, 1, 2}, y = {"y", dims, 0, 64, 1, 2};
static uint64_t cpu(void) { return 1; }
static int32_t run(const maquette_call *c) {
    const float *in = c->inputs[0], *w = c->weights; float *out = c->outputs[0];
    if (!w || (uintptr_t)w % 64) return 1;
    if (c->input_bytes && c->input_bytes[0] != 64) return 3;
    for (int i = 0; i < 16; i++) out[i] = in[i] * w[i];
    return 0;
}
const maquette_model NAME = {VERSION, 1, 1, 0, "scale", "c", "cc", &x, &y, 0, 0, 64, 0, 0, 64, cpu, 0, run};
"#;

fn object(folder: &c::Folder, file: &str, name: &str, version: &str) -> Option<std::path::PathBuf> {
    let flags = [format!("-DNAME={name}"), format!("-DVERSION={version}")];
    c::compile(folder, file, SCALE, &["-shared", "-fPIC", &flags[0], &flags[1]])
}

fn weights() -> Vec<u8> {
    (0..16).flat_map(|i| (i as f32).to_ne_bytes()).collect()
}

#[test]
fn loads_a_model_and_its_weights_and_runs_it() {
    let folder = c::Folder::new("loads");
    let Some(path) = object(&folder, "libscale.so", "scale_model", "1") else { return };
    fs::write(folder.path().join("scale.bin"), weights()).unwrap();
    // SAFETY: the file above keeps the ABI.
    let library = unsafe { Library::open(path, "scale") }.unwrap();
    assert_eq!(library.model().name(), "scale");
    let mut session = Session::new(library.model()).unwrap();
    let (x, mut y) = ([2f32; 16], [0f32; 16]);
    session.run(&[Input::from(&x[..])], &mut [Output::from(&mut y[..])]).unwrap();
    assert_eq!(y, core::array::from_fn(|i| 2.0 * i as f32));
}

#[test]
fn says_why_a_file_does_not_load() {
    let folder = c::Folder::new("refuses");
    let Some(path) = object(&folder, "libscale.so", "scale_model", "1") else { return };
    let Some(newer) = object(&folder, "libnewer.so", "newer_model", "2") else { return };
    // SAFETY: none of these gets as far as a model that could run; the code they hold is the test's own.
    let open = |path: &std::path::Path, name: &str| unsafe { Library::open(path, name) }.unwrap_err();
    let missing = open(&folder.path().join("libnone.so"), "none");
    assert!(matches!(missing, LoadError::File { .. }), "{missing}");
    let text = folder.path().join("libtext.so");
    fs::write(&text, "no library").unwrap();
    let broken = open(&text, "text");
    assert!(matches!(&broken, LoadError::Open { why, .. } if !why.is_empty()), "{broken}");
    for name in ["other", "sc\0ale"] {
        let other = open(&path, name);
        assert!(matches!(other, LoadError::NoModel { .. }), "{other}");
    }
    let newer = open(&newer, "newer");
    assert!(matches!(newer, LoadError::Model { source: Error::Abi { found: 2 }, .. }), "{newer}");
    let bare = open(&path, "scale");
    assert!(matches!(&bare, LoadError::File { path, .. } if path.ends_with("scale.bin")), "{bare}");
    fs::write(folder.path().join("scale.bin"), &weights()[1..]).unwrap();
    let short = open(&path, "scale");
    let want = Error::Weights { have_bytes: 63, want_bytes: 64, aligned: true };
    assert!(matches!(&short, LoadError::Model { source, .. } if *source == want), "{short}");
    assert!(core::error::Error::source(&short).is_some());
}
