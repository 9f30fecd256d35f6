//! What the kernel generator makes for a level, with buffers of exactly what each kernel declares: every family of kernels that the
//! filetests show, every function of a scalar body, products and convolutions of all tiles.

use std::path::Path;

use ir::graph::op::Op;
use ir::kernel::{Facts, Kernel, KernelBody};
use ir::tensor::Dtype;
use ir::{Tensor, Type};

use crate::{Buffer, Case};

/// Every family that the filetests of kernels show.
pub fn families(facts: &Facts) -> Vec<Case> {
    cases(shown(), facts)
}

/// Every function of a scalar body, on numbers and on what is at their edges.
pub fn functions(facts: &Facts) -> Vec<Case> {
    cases(bodies(), facts)
}

/// Products and convolutions of all tiles: thin and wide, short and long, with weights that are fetched ahead.
pub fn products(facts: &Facts) -> Vec<Case> {
    let mut all = cases([dots(), byte_products(), block_products()].concat(), facts);
    pruned(facts, &mut all);
    all
}

/// A product by weights of which few are not zero, with a bias and a residual: most machines skip the others.
fn pruned(facts: &Facts, all: &mut Vec<Case>) {
    let (m, k, n) = (100, 66, 38);
    let weights: Vec<f32> = (0..k * n).map(|i| if i * 7919 % 101 < 12 { i as f32 / 1000.0 - 1.0 } else { 0.0 }).collect();
    let mut graph = ir::Graph::new();
    let fits = "the shapes fit";
    let mut input =
        |name: &str, shape: &[usize]| graph.add(Op::Input { name: name.into(), ty: Type::of(Dtype::F32, shape) }, &[], &[]).expect(fits);
    let (x, r) = (input("x", &[m, k]), input("r", &[m, n]));
    let w = graph.constant(Tensor::f32s(&[k, n], &weights), &[]);
    let b = graph.constant(Tensor::f32s(&[n], &weights[..n]), &[]);
    let epilogue = ir::scalar::body("{ t0 = add(a, b); t1 = add(t0, c); max(t1, 0.0) }").expect("a body");
    let y = graph.add(Op::Dot { trans_a: false, trans_b: false, epilogue }, &[x, w, b, r], &[]).expect(fits);
    graph.set_outputs(vec![("y".into(), y)]);
    add(&format!("pruned {m}x{n}x{k}"), &graph, facts, all);
}

/// The graphs that come first in the filetests of kernels.
fn shown() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/filetests/kernel");
    let mut paths: Vec<_> = std::fs::read_dir(folder).expect("the filetests").map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    let graph = |path: &Path| {
        let text = std::fs::read_to_string(path).expect("a filetest");
        text.split("// ----").next().expect("there is a first part").to_owned()
    };
    paths.iter().map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), graph(path))).collect()
}

/// Bodies of one parameter, alone and behind a product.
const BODIES: [&str; 33] = [
    "exp(a)",
    "log(a)",
    "tanh(a)",
    "erf(a)",
    "sigmoid(a)",
    "sin(a)",
    "cos(a)",
    "tan(a)",
    "asin(a)",
    "acos(a)",
    "atan(a)",
    "sinh(a)",
    "cosh(a)",
    "asinh(a)",
    "acosh(a)",
    "atanh(a)",
    "sqrt(a)",
    "abs(a)",
    "neg(a)",
    "sign(a)",
    "floor(a)",
    "ceil(a)",
    "trunc(a)",
    "round(a)",
    "max(a, 0.0)",
    "t0 = min(a, 1.5); max(t0, -0.75)",
    "t0 = abs(a); pow(t0, 1.7)",
    "rem(a, 0.7)",
    "mod(a, 0.7)",
    "t0 = lt(a, 0.0); t1 = mul(a, 0.1); select(t0, t1, a)",
    "t0 = is_nan(a); select(t0, 0.0, a)",
    "t0 = cast.i32(a); cast.f32(t0)",
    "t0 = add(a, 3.0); t1 = max(t0, 0.0); t2 = min(t1, 6.0); t3 = mul(a, t2); div(t3, 6.0)",
];

fn bodies() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for body in BODIES {
        let map = format!("graph {{\n  %x: f32[3,37] = input \"x\"\n  %y = map %x do {{ {body} }}\n  return %y \"y\"\n}}\n");
        let dot = format!(
            "graph {{\n  %x: f32[7,19] = input \"x\"\n  %w: f32[19,22] = const random 1\n  \
             %y = dot %x, %w {{trans_a=false, trans_b=false}} do {{ {body} }}\n  return %y \"y\"\n}}\n"
        );
        all.extend([(format!("map {body}"), map), (format!("dot {body}"), dot)]);
    }
    all
}

fn dots() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (m, k, n) in
        [(1, 64, 40), (2, 33, 9), (5, 70, 33), (6, 4, 16), (13, 72, 100), (29, 19, 64), (12, 300, 96), (40, 513, 80), (3, 9, 200)]
    {
        all.push((
            format!("dot {m}x{n}x{k}"),
            format!(
                "graph {{\n  %x: f32[{m},{k}] = input \"x\"\n  %w: f32[{k},{n}] = const random 1\n  %b: f32[{n}] = const random 2\n  \
                 %y = dot %x, %w, %b {{trans_a=false, trans_b=false}} do {{ t0 = add(a, b); max(t0, 0.0) }}\n  return %y \"y\"\n}}\n"
            ),
        ));
    }
    for (size, kernel, stride, channels, out) in
        [(9, 3, 1, 8, 24), (14, 3, 2, 3, 32), (7, 1, 1, 36, 20), (11, 5, 1, 5, 7), (12, 3, 1, 64, 64)]
    {
        let pad = kernel / 2;
        all.push((
            format!("conv {kernel}x{kernel} {size}x{size}x{channels}"),
            format!(
                "graph {{\n  %x: f32[1,{size},{size},{channels}] = input \"x\"\n  %w: f32[{kernel},{kernel},{channels},{out}] = const random 1\n  \
                 %y = conv %x, %w {{stride=[{stride},{stride}], dilation=[1,1], inflate=[1,1], low=[{pad},{pad}], high=[{pad},{pad}], group=1, fill=0.0}}\n  \
                 return %y \"y\"\n}}\n"
            ),
        ));
    }
    all
}

/// Bytes by constant bytes, requantized: all signs, runs of K that are no multiple of four, small weights, borders.
fn byte_products() -> Vec<(String, String)> {
    const AFTER: &str = "t0 = add(a, b); t1 = cast.f32(t0); t2 = mul(t1, c); t3 = max(t2, -3.0); t4 = min(t3, 252.0); t5 = round(t4); \
                         t6 = cast.i32(t5); t7 = add(t6, 3:i32); cast.u8(t7)";
    let constants = |n: usize| format!("%b: i32[{n}] = const random 2\n  %f: f32[{n}] = const random 3\n");
    let mut all = Vec::new();
    for (m, k, n) in [(1, 64, 40), (2, 33, 9), (13, 72, 100), (29, 19, 64), (3, 300, 200), (40, 4, 16)] {
        for a in ["u8", "i8"] {
            all.push((
                format!("dot {a} {m}x{n}x{k}"),
                format!(
                    "graph {{\n  %x: {a}[{m},{k}] = input \"x\"\n  %w: i8[{k},{n}] = const random 1\n  {}  \
                     %y = dot %x, %w, %b, %f {{trans_a=false, trans_b=false}} do {{ {AFTER} }}\n  return %y \"y\"\n}}\n",
                    constants(n)
                ),
            ));
        }
        // weights that no pair of products overflows by
        all.push((
            format!("dot small {m}x{n}x{k}"),
            format!(
                "graph {{\n  %x: u8[{m},{k}] = input \"x\"\n  %w: i8[{k},{n}] = const splat 17\n  \
                 %y = dot %x, %w {{trans_a=false, trans_b=false}}\n  return %y \"y\"\n}}\n"
            ),
        ));
    }
    for (size, kernel, stride, channels, out) in [(9, 3, 1, 8, 24), (14, 3, 2, 3, 32), (7, 1, 1, 36, 20), (11, 5, 1, 5, 7)] {
        let pad = kernel / 2;
        all.push((
            format!("conv of bytes {kernel}x{kernel} {size}x{size}x{channels}"),
            format!(
                "graph {{\n  %x: i8[1,{size},{size},{channels}] = input \"x\"\n  %w: i8[{kernel},{kernel},{channels},{out}] = const random 1\n  {}  \
                 %y = conv %x, %w, %b, %f {{stride=[{stride},{stride}], dilation=[1,1], inflate=[1,1], low=[{pad},{pad}], high=[{pad},{pad}], group=1, fill=-7:i8}} \
                 do {{ {AFTER} }}\n  return %y \"y\"\n}}\n",
                constants(out)
            ),
        ));
    }
    all
}

/// Floats by weights of 2, 4 and 8 bits in blocks: few rows and many, with zero points and without, a last block that is not whole.
fn block_products() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (m, k, n, block) in [(1, 96, 130, 32), (1, 50, 33, 16), (3, 40, 40, 32), (29, 70, 72, 64)] {
        for storage in ["u4", "i4", "u8", "i2"] {
            let blocks = usize::div_ceil(k, block);
            all.push((
                format!("dot {storage} in blocks {m}x{n}x{k}"),
                format!(
                    "graph {{\n  %x: f32[{m},{k}] = input \"x\"\n  %q: {storage}[{n},{k}] = const random 1\n  %s: f32[{n},{blocks}] = const random 2\n  \
                     %z: {storage}[{n},{blocks}] = const splat 1\n  %w = dequantize %q, %s, %z {{axis=1, block={block}}}\n  \
                     %y = dot %x, %w {{trans_a=false, trans_b=true}}\n  return %y \"y\"\n}}\n"
                ),
            ));
        }
    }
    all
}

/// The tile kernels of graphs, with numbers in all buffers. Panics when one does not lower or verify.
fn cases(graphs: Vec<(String, String)>, facts: &Facts) -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    for (name, text) in graphs {
        let graph = ir::graph::text::parse(&text, &|_| None).unwrap_or_else(|error| panic!("{name}: {error:?}\n{text}"));
        add(&name, &graph, facts, &mut all);
    }
    all
}

/// Its tile kernels.
fn add(name: &str, graph: &ir::Graph, facts: &Facts, all: &mut Vec<Case>) {
    let program = kernels::lower(graph, facts).unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
    for kernel in program.kernels {
        ir::kernel::verify(&kernel, facts).unwrap_or_else(|faults| panic!("{name}: {faults:#?}"));
        let large = kernel.args.iter().any(|arg| arg.high - arg.low > 1 << 22);
        if matches!(kernel.body, KernelBody::Tile(_)) && !large {
            all.push(case(all.len(), name, kernel, facts));
        }
    }
}

fn case(i: usize, name: &str, mut kernel: Kernel, facts: &Facts) -> Case {
    // sums over edges are NaN and show nothing
    let edges = name.starts_with("map ");
    let buffer = |(j, arg): (usize, &ir::kernel::Arg)| Buffer {
        dtype: Dtype::F32,
        bytes: numbers((arg.high - arg.low) as usize, (i * 16 + j) as u64, edges),
        start: -arg.low as usize,
    };
    let buffers = kernel.args.iter().enumerate().map(buffer).collect();
    kernel.name = format!("{name}, {}", kernel.name);
    Case { kernel, facts: facts.clone(), buffers }
}

/// Numbers in -4..4, the same on every run; `edges`: every fifth is one that many instructions treat otherwise.
fn numbers(bytes: usize, seed: u64, edges: bool) -> Vec<u8> {
    const EDGES: [f32; 10] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e10, -1e10, 2147483648.0, 1e-40, -0.0, 88.5, -104.0];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |i: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if edges && i % 5 == 4 { EDGES[i / 5 % EDGES.len()] } else { (state >> 40) as f32 / (1u64 << 21) as f32 - 4.0 }
    };
    let mut all: Vec<u8> = (0..bytes.div_ceil(4)).flat_map(|i| next(i).to_le_bytes()).collect();
    all.truncate(bytes);
    all
}
