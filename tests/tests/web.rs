//! A compiled model in Node when something is wrong with its files or with what it is given: files that are cut or of another
//! compilation, and what the program around it says of its arguments and its input. That models compute right is in `cli.rs`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use ir::graph::op::Op;
use ir::{Body, Dtype, Graph, Tensor, Type};
use maquette::compile::{Options, Weights};
use maquette::files::Scratch;
use maquette::target::{self, Emit};
use tests::house::{self, have, must, piped};

/// `c = a x b` with four values of `a` and constants that `seed` makes.
fn product(seed: usize) -> Graph {
    let mut graph = Graph::new();
    let a = graph.add(Op::Input { name: "a".into(), ty: Type::of(Dtype::F32, &[1, 4]) }, &[], &[]).expect("it is right");
    let values: Vec<f32> = (0..12).map(|i| ((i * seed + seed) % 13) as f32).collect();
    let b = graph.constant(Tensor::f32s(&[4, 3], &values), &[]);
    let c = graph.add(Op::Dot { trans_a: false, trans_b: false, epilogue: Body::identity() }, &[a, b], &[]).expect("it is right");
    graph.set_outputs(vec![("c".into(), c)]);
    graph
}

/// The files of a product in a folder of their own.
fn compiled(seed: usize, weights: Weights) -> Scratch {
    let folder = house::scratch();
    let web = target::target("wasm32").expect("it is in the table");
    let mut options = Options::new(web, web.levels.iter().collect(), "net");
    options.weights = Some(weights);
    house::compile(product(seed), &options, &[Emit::Wasm, Emit::Script], &folder.path).expect("it compiles");
    folder
}

fn copy(from: &Path, file: &str, to: &Path) {
    fs::copy(from.join(file), to.join(file)).expect("the folders are ours");
}

/// What a caller gets who loads the model of a folder and runs it with ones.
fn answer(folder: &Path) -> String {
    let script = "import('./net.mjs').then(({ load }) => load({ relaxed: false })).then(\n\
        (model) => { model.inputs.a = [1, 1, 1, 1]; console.log(`${model.run().c}`); },\n\
        (error) => console.log(`${error.name} ${error.status}: ${error.message}`))";
    must(Command::new("node").args(["-e", script]).current_dir(folder)).trim().to_owned()
}

#[test]
fn files_that_are_cut_or_of_another_compilation_are_refused() {
    let test = "files_that_are_cut_or_of_another_compilation_are_refused";
    if !have("node", test) {
        return;
    }
    const WASM: &str = "net.simd128.wasm";
    let sum = |seed: usize| {
        let column = |c: usize| (0..4).map(|r| ((3 * r + c) * seed + seed) % 13).sum::<usize>().to_string();
        [column(0), column(1), column(2)].join(",")
    };
    for (weights, all) in [(Weights::File, &[WASM, "net.bin", "net.mjs"][..]), (Weights::Embed, &[WASM, "net.mjs"])] {
        let (first, second) = (compiled(1, weights), compiled(2, weights));
        assert_eq!([answer(&first.path), answer(&second.path)], [sum(1), sum(2)]);
        // Any file of the other compilation: it has the same size. A script is the one that was not replaced.
        for file in all {
            let mixed = compiled(1, weights);
            copy(&second.path, file, &mixed.path);
            let said = answer(&mixed.path);
            match *file == WASM && all.len() == 3 {
                // code without weights is the same
                true => assert_eq!(said, sum(1)),
                false => {
                    assert!(said.starts_with("MaquetteError null: ") && said.ends_with("are not of one compilation"), "{file}: {said}")
                }
            }
        }
        // every file but the script, cut
        for file in all.iter().filter(|file| **file != "net.mjs") {
            let cut = compiled(1, weights);
            let bytes = fs::read(cut.path.join(file)).expect("it was written");
            for keep in [0, 1, bytes.len() / 2, bytes.len() - 1] {
                fs::write(cut.path.join(file), &bytes[..keep]).expect("the folder is ours");
                let said = answer(&cut.path);
                assert!(said.starts_with("MaquetteError null: ") && said.contains(file), "{keep} bytes of {file}: {said}");
            }
        }
    }
}

#[test]
fn the_program_refuses_wrong_arguments_and_input() {
    let test = "the_program_refuses_wrong_arguments_and_input";
    if !have("node", test) {
        return;
    }
    let folder = compiled(1, Weights::Embed);
    let program = include_str!("../../driver/src/web/run.mjs").replace("./model.mjs", "./net.mjs");
    fs::write(folder.path.join("run.mjs"), program).expect("the folder is ours");
    let node = |arguments: &[&str], bytes: usize| -> Output {
        piped(Command::new("node").arg("run.mjs").args(arguments).current_dir(&folder.path), &vec![0; bytes])
    };
    let code = |arguments: &[&str], bytes| {
        let output = node(arguments, bytes);
        assert_eq!(output.stderr.is_empty(), output.status.success(), "a refusal says why: {}", String::from_utf8_lossy(&output.stderr));
        output.status.code()
    };
    assert_eq!(node(&["16"], 16).stdout, [0; 12]);
    assert_eq!(String::from_utf8_lossy(&node(&["16", "--bench", "3"], 16).stdout).lines().count(), 3);
    for bytes in [0, 15, 17, 1 << 20] {
        assert_eq!(code(&["16"], bytes), Some(3), "{bytes} bytes");
        assert_eq!(code(&["16", "--bench", "3"], bytes), Some(3), "{bytes} bytes");
    }
    for arguments in [
        &["16", "--bench"][..],
        &["16", "--bench", "x"],
        &["16", "--bench", "0"],
        &["16", "--bench", "10000001"],
        &["16", "--bench", "1", "2"],
        &["net.bin"],
    ] {
        assert_eq!(code(arguments, 16), Some(64), "{arguments:?}");
    }
    // a pipe that does not wait, as a node leaves it that is killed, and whose other end takes its time
    let slow =
        "(sleep 0.5; head -c 16 /dev/zero) | { node -e \"process.stdin; process.kill(process.pid, 'SIGKILL')\"; node run.mjs 16; } | wc -c";
    assert_eq!(must(Command::new("sh").args(["-c", slow]).current_dir(&folder.path)).trim(), "12");
}
