//! The bytes that come out follow from the model and the options alone: not from folders, the file's name, the number of
//! cores, or the run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::house::{self, must};

const FORMS: &str = "a,o,so,exe,h,json,gir,kir,asm";

/// Compiles a copy of `model` that is called `file`, from the folder that it lies in. What was written, by name.
fn compile(model: &Path, file: &str, levels: &str, prepare: impl FnOnce(Command) -> Command) -> BTreeMap<String, Vec<u8>> {
    let folder = house::scratch();
    std::fs::copy(model, folder.path.join(file)).expect("there is room");
    let mut command = prepare(Command::new(env!("CARGO_BIN_EXE_maquette-tested")));
    command.current_dir(&folder.path).args(["compile", file, "--name", "net", "-o", "out"]);
    must(command.args(["--target", "x86_64-linux", "--cpu", levels, "--emit", FORMS]));
    let entries = std::fs::read_dir(folder.path.join("out")).expect("it was made");
    let read =
        |path: PathBuf| (path.file_name().expect("a file").to_string_lossy().into_owned(), std::fs::read(&path).expect("it is ours"));
    entries.map(|entry| read(entry.expect("it stays").path())).collect()
}

/// The same command, on one core.
fn on_one_core(command: Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", "0"]).arg(command.get_program());
    pinned
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let test = "determinism";
    let mut models = vec![house::digits()];
    models.extend(house::shared("zoo/models", test).map(|zoo| zoo.join("mlt_resnet8_f32.onnx")));
    let pins = Command::new("taskset").args(["-c", "0", "true"]).status().is_ok_and(|s| s.success());
    if !pins {
        house::skip("determinism on one core", "taskset cannot pin a program");
    }
    for model in models {
        for levels in ["x86-64-v3", "x86-64-v3,x86-64-v4"] {
            let first = compile(&model, "model.onnx", levels, |command| command);
            assert_eq!(first.len(), 9, "{:?}", first.keys());
            let mut others = vec![compile(&model, "another name.onnx", levels, |command| command)];
            if pins {
                others.push(compile(&model, "model.onnx", levels, on_one_core));
            }
            for other in others {
                assert_eq!(first.len(), other.len());
                let differ: Vec<&String> = first.keys().filter(|name| first.get(*name) != other.get(*name)).collect();
                assert!(differ.is_empty(), "{}, {levels}: {differ:?} differ", model.display());
            }
        }
    }
}
