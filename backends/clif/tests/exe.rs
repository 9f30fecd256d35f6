//! The executable form: piped, measured, with weights in a file, on a CPU that is too old, and with everything that a caller
//! may get wrong.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use artifact::{Code, Machine, Symbol, System};
use cases::common::piped;
use clif::{Exe, Target};
use common::model::{self, N};
use common::{A53, A76, HERE, MAX, Processor, ROOM};

/// Writes the program of the model with these levels, and its weights beside it if they are in a file.
fn program(test: &str, machine: Machine, levels: &[usize], weights_in_file: bool) -> PathBuf {
    let free: &[(i64, i64)] = if weights_in_file { &[(2, 8)] } else { &[] };
    let (mut symbols, memory, pool) = model::symbols(machine, levels, "net", "maquette_cpu", weights_in_file, free);
    let cpu = match machine {
        Machine::X86_64 => "maquette_cpu",
        Machine::Aarch64 => "maquette_cpu_of_stack",
    };
    let (ports, given) = (model::program(1.0), model::free(free));
    let exe = Exe {
        name: "net",
        run: "net.run",
        cpu,
        inputs: &ports.inputs,
        outputs: &ports.outputs,
        symbols: &given,
        memory,
        weights_bytes: weights_in_file.then_some(pool.bytes),
    };
    symbols.extend(clif::exe(&Target::new(machine), &exe).expect("small enough"));
    symbols.extend(stubs(machine));
    let folder = ROOM.folder(test);
    let path = folder.join("net");
    let mut file = std::fs::File::create(&path).expect("the folder is ours");
    let code = Code { machine, system: System::Linux, symbols };
    artifact::executable(&code, "_start", &mut file).expect("the code keeps the laws");
    drop(file);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("the file is ours");
    std::fs::write(folder.join("net.bin"), model::weights(&pool)).expect("the folder is ours");
    path
}

/// What a program needs that no kernel language says.
fn stubs(machine: Machine) -> Vec<Symbol> {
    match machine {
        Machine::X86_64 => {
            use x64::stubs::{cpu, start, system_calls};
            [cpu(), start()].into_iter().chain(system_calls()).map(|stub| x64::function(stub.name, stub.code)).collect()
        }
        Machine::Aarch64 => {
            use arm64::stubs::{cpu, cpu_of_stack, start, system_calls};
            let all = [cpu(System::Linux, 0), cpu_of_stack(), start()].into_iter().chain(system_calls());
            all.map(|stub| arm64::function(stub.name, stub.code)).collect()
        }
    }
}

/// Runs `check` with a program of all levels on each processor, and the factor of its best one.
fn everywhere(test: &str, weights_in_file: bool, check: impl Fn(&Processor, &Path, f32)) {
    for (processor, factor) in [(&HERE, factor()), (&A53, 1.0), (&A76, 2.0), (&MAX, 3.0)] {
        if processor.runs(test) {
            let levels: Vec<usize> = (0..model::levels(processor.machine).len()).collect();
            let program = program(&format!("{test}-{}", processor.name), processor.machine, &levels, weights_in_file);
            check(processor, &program, factor);
        }
    }
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

fn run(on: &Processor, program: &Path, arguments: &[&str], input: &[u8]) -> Output {
    piped(on.command(program).args(arguments), input)
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
    everywhere("exe", false, check_inputs_and_outputs);
}

fn check_inputs_and_outputs(on: &Processor, program: &Path, factor: f32) {
    let (x, index, bytes) = input(2);
    let got = run(on, program, &[], &bytes);
    assert_eq!(got.status.code(), Some(0));
    assert_eq!(got.stdout, output(factor, &x, &index));
    let status = |arguments: &[&str], input: &[u8]| {
        let got = run(on, program, arguments, input);
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
    everywhere("bench", false, check_bench);
}

fn check_bench(on: &Processor, program: &Path, _: f32) {
    let got = run(on, program, &["--bench", "1203"], &input(2).2);
    assert_eq!(got.status.code(), Some(0));
    let text = String::from_utf8(got.stdout).expect("it is text");
    let times: Vec<u64> = text.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(times.len() == 1203 && text.ends_with('\n'));
    assert!(times.iter().all(|ns| (1..1_000_000_000).contains(ns)), "{times:?}");
    assert_eq!(run(on, program, &["--bench", "9"], &input(40).2).status.code(), Some(4));
}

#[test]
fn weights_come_from_a_file_and_symbols_travel() {
    everywhere("exe_file", true, check_weights);
}

fn check_weights(on: &Processor, program: &Path, factor: f32) {
    let weights = program.with_extension("bin");
    let file = weights.to_str().expect("our own path");
    let (x, index, tensors) = input(2);
    let bytes = [&5i64.to_le_bytes()[..], &tensors].concat();
    let wanted = [&5i64.to_le_bytes()[..], &output(factor, &x, &index)].concat();
    let got = run(on, program, &[file], &bytes);
    assert_eq!(got.status.code(), Some(0));
    assert_eq!(got.stdout, wanted);
    assert_eq!(run(on, program, &[file, "--bench", "3"], &bytes).stdout.iter().filter(|b| **b == b'\n').count(), 3);
    assert_eq!(run(on, program, &[], &bytes).status.code(), Some(64));
    assert_eq!(run(on, program, &["/does/not/exist"], &bytes).status.code(), Some(66));
    let out_of_range = [&9i64.to_le_bytes()[..], &tensors].concat();
    assert_eq!(run(on, program, &[file], &out_of_range).status.code(), Some(3));
    let mut short = std::fs::read(&weights).expect("it was written");
    short.pop();
    std::fs::write(&weights, short).expect("the folder is ours");
    assert_eq!(run(on, program, &[file], &bytes).status.code(), Some(66));
}

#[test]
fn an_old_cpu_gets_a_status_and_a_newer_one_its_level() {
    let qemu = "qemu-x86_64";
    if !ROOM.have(qemu, "exe_qemu") {
        return;
    }
    let program = program("exe_qemu", Machine::X86_64, &[0, 1], false);
    let (x, index, bytes) = input(2);
    let on = |cpu: &str| piped(Command::new(qemu).args(["-cpu", cpu]).arg(&program), &bytes);
    for old in ["Nehalem", "SandyBridge"] {
        let got = on(old);
        assert_eq!((got.status.code(), got.stdout.len()), (Some(5), 0), "{old}");
    }
    let got = on("Haswell");
    assert_eq!(got.status.code(), Some(0));
    assert_eq!(got.stdout, output(1.0, &x, &index));
}

/// Every choice of levels on every processor: the best that it has, or status 5. Each level's kernels begin with an instruction that
/// only its processors know.
#[test]
fn each_arm64_gets_the_best_level_that_it_has() {
    let test = "exe_levels";
    let (x, index, bytes) = input(2);
    for choice in 1..8 {
        let levels: Vec<usize> = (0..3).filter(|i| choice >> i & 1 == 1).collect();
        let program = program(&format!("{test}-{choice}"), Machine::Aarch64, &levels, false);
        for (on, has) in [(&A53, 0), (&A76, 1), (&MAX, 2)] {
            if !on.runs(test) {
                return;
            }
            let got = run(on, &program, &[], &bytes);
            match levels.iter().rfind(|level| **level <= has) {
                Some(level) => {
                    assert_eq!(got.status.code(), Some(0), "{levels:?} on {}", on.name);
                    assert_eq!(got.stdout, output((level + 1) as f32, &x, &index), "{levels:?} on {}", on.name);
                }
                None => assert_eq!((got.status.code(), got.stdout.len()), (Some(5), 0), "{levels:?} on {}", on.name),
            }
        }
    }
}
