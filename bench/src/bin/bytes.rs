//! `cargo run --release -p maquette-bench --bin bytes`: operators on tensors of 8 bits against the same on f32, for every level that
//! this machine runs. Both are timed in turns; the smallest time of each counts. Steps of scalar kernels are named, not timed.
#![allow(unsafe_code)]

use bench::machine::{Loaded, Memory, levels};
use ir::kernel::{Facts, KernelBody};
use ir::program::{Address, Program};
use kernels::Options;
use kernels::tasks::Tasks;

/// A sum of products as a byte, with a factor of its own for each channel.
const REQUANTIZE: &str = "{ t0 = add(a, b); t1 = cast.f32(t0); t2 = mul(t1, c); t3 = max(t2, -3.0); t4 = min(t3, 252.0); t5 = round(t4); t6 = cast.i32(t5); t7 = add(t6, 3:i32); cast.u8(t7) }";

/// What it is, on f32 and on bytes.
fn pairs() -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (size, channels) in [(8, 64), (28, 64), (56, 256), (112, 96)] {
        let map = |ty: &str, body: &str| {
            let input = |name: &str| format!("%{name}: {ty}[1,{size},{size},{channels}] = input \"{name}\"");
            format!("graph {{ {} {} %z = map %x, %y do {body} return %z \"z\" }}", input("x"), input("y"))
        };
        let bytes = "{ t0 = cast.f32(b); t1 = mul_add(t0, 0.4, 2.0); t2 = cast.f32(a); t3 = mul_add(t2, 0.6, t1); t4 = max(t3, 0.0); t5 = min(t4, 255.0); t6 = round(t5); t7 = cast.i32(t6); cast.u8(t7) }";
        all.push((format!("add {size}x{size}x{channels}"), map("f32", "{ add(a, b) }"), map("u8", bytes)));
    }
    for (size, channels, kernel, stride) in [
        (112, 32, 3, 1),
        (112, 96, 3, 2),
        (56, 144, 3, 1),
        (28, 192, 3, 1),
        (14, 384, 3, 1),
        (14, 576, 3, 2),
        (7, 960, 3, 1),
        (14, 240, 5, 1),
        (25, 64, 3, 1),
        (48, 8, 3, 1),
        (24, 16, 3, 2),
    ] {
        let conv = |x: &str, w: &str, fill: &str, bias: &str, extra: (&str, &str), body: &str| {
            let pad = kernel / 2;
            format!(
                "graph {{ %x: {x}[1,{size},{size},{channels}] = input \"x\" %w: {w}[{kernel},{kernel},1,{channels}] = const random 1 \
                 %b: {bias}[{channels}] = const splat 3 {} %z = conv %x, %w, %b{} {{stride=[{stride},{stride}], dilation=[1,1], inflate=[1,1], \
                 low=[{pad},{pad}], high=[{pad},{pad}], group={channels}, fill={fill}}} do {body} return %z \"z\" }}",
                extra.0, extra.1
            )
        };
        let f32s = conv("f32", "f32", "0.0", "f32", ("", ""), "{ t0 = add(a, b); t1 = max(t0, 0.0); min(t1, 6.0) }");
        let factors = format!("%c: f32[{channels}] = const random 2");
        let bytes = conv("u8", "i8", "3:u8", "i32", (&factors, ", %c"), REQUANTIZE);
        all.push((format!("depthwise {kernel}x{kernel}/{stride} {size}x{size}x{channels}"), f32s, bytes));
    }
    for (size, channels, kernel, stride, kind) in
        [(112, 64, 3, 2, "max"), (28, 192, 3, 1, "max"), (14, 64, 2, 2, "sum"), (28, 100, 3, 1, "sum")]
    {
        let pool = |ty: &str, body: &str| {
            format!(
                "graph {{ %x: {ty}[1,{size},{size},{channels}] = input \"x\" %z = window %x {{kind={kind}, size=[{kernel},{kernel}], \
                 stride=[{stride},{stride}], dilation=[1,1], low=[0,0], high=[0,0]}} do {body} return %z \"z\" }}"
            )
        };
        let (f32s, bytes) = match kind {
            "max" => ("{ a }", "{ a }"),
            _ => ("{ mul(a, 0.25) }", "{ t0 = cast.f32(a); t1 = mul(t0, 0.25); t2 = round(t1); cast.u8(t2) }"),
        };
        all.push((format!("{kind} pool {kernel}x{kernel}/{stride} {size}x{size}x{channels}"), pool("f32", f32s), pool("u8", bytes)));
    }
    for (size, channels) in [(7, 1280), (7, 2048)] {
        let mean = |ty: &str, pre: &str, body: &str| {
            format!(
                "graph {{ %x: {ty}[1,{size},{size},{channels}] = input \"x\" %z = reduce %x {{kind=sum, axes=[1,2]}} pre {pre} do {body} return %z \"z\" }}"
            )
        };
        let bytes = "{ t0 = sub(a, 147:i32); t1 = cast.f32(t0); t2 = mul(t1, 0.0123); t3 = max(t2, -3.0); t4 = min(t3, 252.0); t5 = round(t4); t6 = cast.i32(t5); t7 = add(t6, 3:i32); cast.u8(t7) }";
        all.push((
            format!("global average {size}x{size}x{channels}"),
            mean("f32", "{ a }", "{ mul(a, 0.02) }"),
            mean("u8", "{ cast.i32(a) }", bytes),
        ));
    }
    all
}

/// A program with its memory, and the calls of its tile kernels.
struct Ready {
    calls: Vec<(Loaded, Vec<*mut u8>)>,
    names: Vec<String>,
    _memory: Vec<Memory>,
}

fn ready(text: &str, facts: &'static Facts) -> Result<Ready, String> {
    let graph = ir::graph::text::parse(text, &|_| None).map_err(|e| format!("{e:?}\n{text}"))?;
    let whole = Options { tasks: Tasks { most: 1, ..Tasks::default() }, ..Options::default() };
    let program: Program = kernels::lower_like(&graph, facts, facts, whole).map_err(|f| format!("{f:?}"))?;
    let mut memory: Vec<Memory> = Vec::new();
    let mut place = |m: Memory| {
        memory.push(m);
        memory.last_mut().expect("it was just put there").pointer()
    };
    let inputs: Vec<*mut u8> = program.inputs.iter().map(|p| place(Memory::new(p.bytes as usize))).collect();
    let outputs: Vec<*mut u8> = program.outputs.iter().map(|p| place(Memory::new(p.bytes as usize))).collect();
    let constants: Vec<*mut u8> = program.constants.iter().map(|c| place(Memory::of(&c.to_vec()))).collect();
    let (arena, scratch) = (place(Memory::new(program.arena_bytes as usize)), place(Memory::new(program.worker_bytes as usize)));
    let state = place(Memory::new(program.state_bytes as usize));
    let (mut calls, mut names) = (Vec::new(), Vec::new());
    for call in program.steps.iter().flat_map(|s| &s.calls) {
        let kernel = &program.kernels[call.kernel];
        names.push(kernel.name.clone());
        let KernelBody::Tile(_) = &kernel.body else { continue };
        let pointer = |address: &Address| match *address {
            Address::Input { index, offset } => inputs[index].wrapping_add(offset as usize),
            Address::Output { index, offset } => outputs[index].wrapping_add(offset as usize),
            Address::Constant { index, offset } => constants[index].wrapping_add(offset as usize),
            Address::Arena { offset } => arena.wrapping_add(offset as usize),
            Address::Scratch { offset } => scratch.wrapping_add(offset as usize),
            Address::Symbols { .. } => unreachable!("sizes are fixed here"),
            Address::State { offset } => state.wrapping_add(offset as usize),
        };
        calls.push((Loaded::kernel(kernel, facts)?, call.args.iter().map(pointer).collect()));
    }
    Ok(Ready { calls, names, _memory: memory })
}

impl Ready {
    fn seconds(&self) -> f64 {
        // SAFETY: the program was lowered for these buffers, which have the sizes that it says
        self.calls.iter().map(|(loaded, pointers)| unsafe { loaded.time(pointers, 5, 0.002) }.0).sum()
    }
}

fn main() -> Result<(), String> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    println!("{:<16} {:<28} {:>9} {:>9} {:>6}  kernels of bytes", "level", "operator", "f32 us", "u8 us", "ratio");
    for facts in levels() {
        for (name, f32s, bytes) in pairs() {
            if !wanted.is_empty() && !wanted.iter().any(|w| name.contains(w.as_str())) {
                continue;
            }
            let (a, b) = (ready(&f32s, facts)?, ready(&bytes, facts)?);
            let (mut first, mut second) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..5 {
                first = first.min(a.seconds());
                second = second.min(b.seconds());
            }
            println!(
                "{:<16} {name:<28} {:>9.2} {:>9.2} {:>6.2}  {}",
                facts.name,
                first * 1e6,
                second * 1e6,
                second / first,
                b.names.join(" ")
            );
        }
    }
    Ok(())
}
