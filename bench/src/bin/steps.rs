//! `cargo run --release -p maquette-bench --bin steps -- MODEL.onnx [x86-64-v4]`: every step of a compiled model timed
//! alone on its own memory (weights cold or warm as the caches have it after a few calls), all its turns together, slowest
//! first, with its share of the multiply-add peak. Steps of scalar kernels are named, not timed.
#![allow(unsafe_code)]

use bench::machine::{Loaded, Memory, levels, peak};
use ir::kernel::KernelBody;
use ir::program::Address;
use kernels::Options;
use kernels::tasks::Tasks;

fn main() -> Result<(), String> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: steps MODEL.onnx [LEVEL]")?;
    let wanted = args.next().unwrap_or("x86-64-v4".into());
    let facts = levels().into_iter().find(|f| f.name == wanted).ok_or(format!("this machine does not run {wanted}"))?;
    let bytes = std::fs::read(&path).map_err(|e| format!("{path}: {e}"))?;
    let told = |faults: Vec<ir::Fault>| faults.iter().map(|f| f.to_string()).collect::<Vec<_>>().join("\n");
    let mut graph = frontend::import(bytes.into(), &frontend::NoFiles, &frontend::Options::default()).map_err(told)?.graph;
    passes::optimize(&mut graph, &passes::Options::default(), &mut ()).map_err(told)?;
    let whole = Options { tasks: Tasks { most: 1, ..Tasks::default() }, ..Options::default() };
    let program = kernels::lower_like(&graph, facts, facts, whole).map_err(told)?;
    let memory = |bytes: u64| Memory::new(bytes as usize);
    let mut inputs: Vec<Memory> = program.inputs.iter().map(|p| memory(p.bytes)).collect();
    let mut outputs: Vec<Memory> = program.outputs.iter().map(|p| memory(p.bytes)).collect();
    let mut constants: Vec<Memory> = program.constants.iter().map(|c| Memory::of(&c.to_vec())).collect();
    let (mut arena, mut scratch, mut state) = (memory(program.arena_bytes), memory(program.worker_bytes), memory(program.state_bytes));
    let top = peak(facts)?;
    let (mut rows, mut total) = (Vec::new(), 0.0);
    for (at, step) in program.steps.iter().enumerate() {
        let (mut seconds, mut names) = (0.0, Vec::new());
        for call in &step.calls {
            let kernel = &program.kernels[call.kernel];
            names.push(kernel.name.clone());
            let KernelBody::Tile(tile) = &kernel.body else { continue };
            let loaded = Loaded::tile(&kernel.name, tile, kernel.args.len(), facts)?;
            let pointers: Vec<*mut u8> = call
                .args
                .iter()
                .map(|address| {
                    let (base, offset) = match *address {
                        Address::Input { index, offset } => (inputs[index].pointer(), offset),
                        Address::Output { index, offset } => (outputs[index].pointer(), offset),
                        Address::Constant { index, offset } => (constants[index].pointer(), offset),
                        Address::Arena { offset } => (arena.pointer(), offset),
                        Address::Symbols { .. } => unreachable!("sizes are fixed here"),
                        Address::Scratch { offset } => (scratch.pointer(), offset),
                        Address::State { offset } => (state.pointer(), offset),
                    };
                    base.wrapping_add(offset as usize)
                })
                .collect();
            // SAFETY: the program was verified, and its buffers have the sizes that it says
            seconds += unsafe { loaded.time(&pointers, 9, 0.003) }.0;
        }
        let turns = program.turns_at(at, &[]);
        let seconds = seconds * turns as f64;
        total += seconds;
        let share = 200.0 * (step.macs * turns) as f64 / seconds / 1e9 / top;
        if turns > 1 {
            names.push(format!("x {turns}"));
        }
        rows.push((
            seconds,
            at,
            format!(
                "{:>9.1} {share:>6.1} {:<10} {:<28} {}",
                seconds * 1e6,
                step.what,
                names.join(" "),
                step.names.iter().map(|n| n.to_string()).collect::<Vec<_>>().join("+")
            ),
        ));
    }
    println!(
        "{:>4} {:>9} {:>6} {:<10} {:<28} names   (peak {top:.0} GFLOP/s, sum {:.1} us)",
        "step",
        "us",
        "% peak",
        "what",
        "kernel",
        total * 1e6
    );
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (_, at, text) in rows {
        println!("{at:>4} {text}");
    }
    Ok(())
}
