//! The executable form: piped, measured, with weights in a file, on a CPU that is too old, and with everything that a caller
//! may get wrong.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use artifact::{Code, Machine, System};
use clif::{Exe, Target};
use common::model::{self, N};
use x64::stubs;

/// Writes the program of the model, and its weights beside it if they are in a file.
fn program(test: &str, weights_in_file: bool) -> PathBuf {
    let free: &[(i64, i64)] = if weights_in_file { &[(2, 8)] } else { &[] };
    let (mut symbols, memory, pool) = model::symbols("net", "maquette_cpu", weights_in_file, free);
    let exe = Exe {
        name: "net",
        run: "net.run",
        cpu: "maquette_cpu",
        inputs: &[4 * N as u64, 40],
        outputs: &[4 * N as u64, 40],
        memory,
        weights_bytes: weights_in_file.then_some(pool.bytes),
        symbols: free.len(),
        free_symbols: free.len(),
    };
    symbols.extend(clif::exe(&Target::new(Machine::X86_64), &exe).expect("small enough"));
    for stub in [stubs::cpu(), stubs::start()].into_iter().chain(stubs::system_calls()) {
        symbols.push(x64::function(stub.name, stub.code));
    }
    let folder = common::folder(test);
    let path = folder.join("net");
    let mut file = std::fs::File::create(&path).expect("the folder is ours");
    artifact::executable(&Code { machine: Machine::X86_64, system: System::Linux, symbols }, "_start", &mut file)
        .expect("the code keeps the laws");
    drop(file);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("the file is ours");
    std::fs::write(folder.join("net.bin"), model::weights(&pool)).expect("the folder is ours");
    path
}

fn input(last: i64) -> (Vec<f32>, Vec<i64>, Vec<u8>) {
    let x: Vec<f32> = (0..N).map(|i| i as f32 * 0.25 - 3.0).collect();
    let index = vec![0, 5, 39, 7, last];
    let mut bytes: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
    bytes.extend(index.iter().flat_map(|v| v.to_le_bytes()));
    (x, index, bytes)
}

/// The outputs that `factor` gives, as bytes.
fn output(factor: f32, x: &[f32], index: &[i64]) -> Vec<u8> {
    let (y, z) = model::expected(factor, x, index);
    y.iter().flat_map(|v| v.to_le_bytes()).chain(z.iter().flat_map(|v| v.to_le_bytes())).collect()
}

fn run(program: &Path, arguments: &[&str], input: &[u8]) -> Output {
    common::piped(Command::new(program).args(arguments), input)
}

/// What this machine's best level makes of the model.
fn factor() -> f32 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl") {
            return 2.0;
        }
    }
    1.0
}

#[test]
fn inputs_go_in_and_outputs_come_out() {
    if !common::native("exe") {
        return;
    }
    let program = program("exe", false);
    let (x, index, bytes) = input(2);
    let got = run(&program, &[], &bytes);
    assert_eq!(got.status.code(), Some(0));
    assert_eq!(got.stdout, output(factor(), &x, &index));
    let status = |arguments: &[&str], input: &[u8]| {
        let got = run(&program, arguments, input);
        assert!(got.stdout.is_empty());
        got.status.code()
    };
    assert_eq!(status(&[], &bytes[..bytes.len() - 1]), Some(3), "too short");
    assert_eq!(status(&[], &[&bytes[..], &[0]].concat()), Some(3), "too long");
    assert_eq!(status(&[], &input(40).2), Some(4), "a bad index");
    let wrong: [&[&str]; 8] = [
        &["x"],
        &["--bench"],
        &["--bench", "0"],
        &["--bench", ""],
        &["--bench", "1x"],
        &["--bench", "-1"],
        &["-bench", "1"],
        &["a", "b", "c"],
    ];
    for wrong in wrong {
        assert_eq!(status(wrong, &bytes), Some(64), "{wrong:?}");
    }
    assert_eq!(status(&["--bench", "99999999999999999999"], &bytes), Some(64));
}

#[test]
fn a_bench_prints_as_many_times_as_it_was_asked_for() {
    if !common::native("bench") {
        return;
    }
    let program = program("bench", false);
    let got = run(&program, &["--bench", "1203"], &input(2).2);
    assert_eq!(got.status.code(), Some(0));
    let text = String::from_utf8(got.stdout).expect("it is text");
    let times: Vec<u64> = text.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(times.len() == 1203 && text.ends_with('\n'));
    assert!(times.iter().all(|ns| (1..1_000_000_000).contains(ns)), "{times:?}");
    assert_eq!(run(&program, &["--bench", "9"], &input(40).2).status.code(), Some(4));
}

#[test]
fn weights_come_from_a_file_and_symbols_travel() {
    if !common::native("exe_file") {
        return;
    }
    let program = program("exe_file", true);
    let weights = program.with_extension("bin");
    let file = weights.to_str().expect("our own path");
    let (x, index, tensors) = input(2);
    let bytes = [&5i64.to_le_bytes()[..], &tensors].concat();
    let wanted = [&5i64.to_le_bytes()[..], &output(factor(), &x, &index)].concat();
    let got = run(&program, &[file], &bytes);
    assert_eq!(got.status.code(), Some(0));
    assert_eq!(got.stdout, wanted);
    assert_eq!(run(&program, &[file, "--bench", "3"], &bytes).stdout.iter().filter(|b| **b == b'\n').count(), 3);
    assert_eq!(run(&program, &[], &bytes).status.code(), Some(64));
    assert_eq!(run(&program, &["/does/not/exist"], &bytes).status.code(), Some(66));
    let out_of_range = [&9i64.to_le_bytes()[..], &tensors].concat();
    assert_eq!(run(&program, &[file], &out_of_range).status.code(), Some(3));
    let mut short = std::fs::read(&weights).expect("it was written");
    short.pop();
    std::fs::write(&weights, short).expect("the folder is ours");
    assert_eq!(run(&program, &[file], &bytes).status.code(), Some(66));
}

#[test]
fn an_old_cpu_gets_a_status_and_a_newer_one_its_level() {
    let qemu = "qemu-x86_64";
    if !common::have(qemu, "exe_qemu") {
        return;
    }
    let program = program("exe_qemu", false);
    let (x, index, bytes) = input(2);
    let on = |cpu: &str| common::piped(Command::new(qemu).args(["-cpu", cpu]).arg(&program), &bytes);
    for old in ["Nehalem", "SandyBridge"] {
        let got = on(old);
        assert_eq!((got.status.code(), got.stdout.len()), (Some(5), 0), "{old}");
    }
    let got = on("Haswell");
    assert_eq!(got.status.code(), Some(0));
    assert_eq!(got.stdout, output(1.0, &x, &index));
}
