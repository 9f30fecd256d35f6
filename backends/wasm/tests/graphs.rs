//! From graph to answer in Node: small models on both levels, weights in the module and beside it, against the graph's oracle.

mod common;

use common::Job;
use ir::graph::{eval, text};
use ir::kernel::Facts;
use ir::program::{Pool, Program};
use ir::{Dtype, Graph, Tensor};
use wasm::facts::{LEVELS, RELAXED, SIMD128};
use wasm::{Model, Weights};

/// Models whose inputs are random, each with the largest error that rounding may make.
const MODELS: &[(&str, f64, &str)] = &[
    (
        "convolution with a border, bias, and relu",
        1e-5,
        r#"graph {
  %x: f32[1,9,7,5] = input "x"
  %w: f32[3,3,5,21] = const random 1
  %b: f32[21] = const random 2
  %y = conv %x, %w, %b {stride=[2,1], dilation=[1,1], inflate=[1,1], low=[1,1], high=[1,1], group=1, fill=0.0} do { t0 = add(a, b); max(t0, 0.0) } !"c"
  return %y "y"
}"#,
    ),
    (
        "products, the second of a computed matrix",
        1e-5,
        r#"graph {
  %x: f32[3,17,19] = input "x"
  %w: f32[19,37] = const random 1
  %b: f32[37] = const random 2
  %y = dot %x, %w, %b {trans_a=false, trans_b=false} do { t0 = add(a, b); tanh(t0) } !"d"
  %z = dot %y, %y {trans_a=false, trans_b=true} do { mul(a, 0.125) } !"e"
  return %y "y", %z "z"
}"#,
    ),
    (
        "softmax over one row and many",
        1e-5,
        r#"graph {
  %x: f32[11,23] = input "x"
  %y = softmax %x {axis=1, log=false} !"s"
  %z = softmax %y {axis=0, log=true} !"t"
  return %z "z"
}"#,
    ),
    (
        "rows by index",
        0.0,
        r#"graph {
  %i: i64[2,3] = input "i"
  %k = map %i do { rem(a, 7) } !"k"
  %x: f32[8,5] = input "x"
  %y = gather %x, %k {axis=0} !"g"
  return %y "y"
}"#,
    ),
    (
        "integers wrap around",
        0.0,
        r#"graph {
  %x: i64[33] = input "x"
  %z: i64[33] = input "z"
  %u: u8[9] = input "u"
  %y = map %x, %z do { t0 = mul(a, b); add(t0, 3) } !"m"
  %v = map %u do { add(a, a) } !"v"
  %n = argreduce %x {kind=max, axis=0, last=false} !"n"
  return %y "y", %v "v", %n "n"
}"#,
    ),
    (
        "half precision",
        2e-3,
        r#"graph {
  %x: f16[5,9] = input "x"
  %w: f16[9,4] = const random 1
  %y = dot %x, %w {trans_a=false, trans_b=false} !"d"
  return %y "y"
}"#,
    ),
];

fn inputs(graph: &Graph) -> Vec<Tensor> {
    let random = |(i, &id): (usize, &ir::NodeId)| {
        let ty = graph.ty(id);
        text::random(ty.dtype, &ty.fixed().expect("fixed"), 100 + i as u64)
    };
    graph.inputs().iter().enumerate().map(random).collect()
}

/// The module of a program, and what Node needs to run it.
fn job(program: &Program, facts: &Facts, pool: &Pool, constants: &[u64], embed: bool, feeds: &[Tensor]) -> Job {
    let weights = if embed { Weights::Embedded(pool) } else { Weights::Loaded(pool.bytes) };
    let module = wasm::module(&Model { program, facts, constants, weights }).expect("small enough");
    let mut bytes = Vec::new();
    if !embed {
        pool.write(&mut |piece| bytes.extend_from_slice(piece));
    }
    Job {
        module,
        weights: bytes,
        inputs: feeds.iter().map(|tensor| tensor.bytes().to_vec()).collect(),
        // what nobody has written
        outputs: program.outputs.iter().map(|port| vec![0xa5; port.bytes as usize]).collect(),
    }
}

#[test]
fn models_agree_with_the_graph() {
    for (name, tolerance, source) in MODELS {
        let graph = text::parse(source, &|_| None).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let feeds = inputs(&graph);
        let wanted = eval::eval(&graph, &feeds).expect("the oracle runs");
        let programs = LEVELS.iter().map(|level| kernels::lower(&graph, level.facts).expect("it lowers")).collect::<Vec<_>>();
        let pool = Pool::new(&programs);
        for ((facts, program), constants) in LEVELS.iter().map(|level| level.facts).zip(&programs).zip(&pool.offsets) {
            let jobs = [true, false].map(|embed| job(program, facts, &pool, constants, embed, &feeds));
            let Some(results) = common::run("graphs", facts, &jobs) else { continue };
            for (status, outputs) in results {
                assert_eq!(status, 0, "{name}");
                for (port, (got, wanted)) in program.outputs.iter().zip(outputs.into_iter().zip(&wanted)) {
                    let got = Tensor::dense(port.ty.dtype, wanted.shape(), got);
                    close(&format!("{name}, \"{}\" on {}", port.name, facts.name), &got, wanted, *tolerance);
                }
            }
        }
    }
}

/// Bit for bit where the tolerance is 0.
fn close(what: &str, got: &Tensor, wanted: &Tensor, tolerance: f64) {
    if tolerance == 0.0 {
        return assert_eq!(got.bytes(), wanted.bytes(), "{what}");
    }
    let (got, wanted) = (got.to_f32s(), wanted.to_f32s());
    let largest = wanted.iter().fold(1.0f32, |a, b| a.max(b.abs()));
    for (i, (g, w)) in got.iter().zip(&wanted).enumerate() {
        assert!(f64::from((g - w).abs()) <= tolerance * f64::from(largest), "{what}: element {i} is {g}, not {w}");
    }
}

#[test]
fn a_status_ends_the_run() {
    let source = r#"graph {
  %x: f32[4] = input "x"
  %i: i32[1] = input "i"
  %y = gather %x, %i {axis=0} !"g"
  return %y "y"
}"#;
    let graph = text::parse(source, &|_| None).expect("it parses");
    let program = kernels::lower(&graph, &SIMD128).expect("it lowers");
    let pool = Pool::new([&program]);
    let run = |index: i32| {
        let feeds = [Tensor::f32s(&[4], &[1.0, 2.0, 3.0, 4.0]), Tensor::dense(Dtype::I32, &[1], index.to_le_bytes().to_vec())];
        common::run("status", &SIMD128, &[job(&program, &SIMD128, &pool, &pool.offsets[0], true, &feeds)])
    };
    let Some(fails) = run(9) else { return };
    assert_eq!(fails[0].0, 4);
    let works = run(-1).expect("it ran a moment ago");
    assert_eq!(works[0], (0, vec![4.0f32.to_le_bytes().to_vec()]));
}

#[test]
fn the_levels_share_their_weights_and_bytes_repeat() {
    let graph = text::parse(MODELS[0].2, &|_| None).expect("it parses");
    let programs = [&SIMD128, &RELAXED].map(|facts| kernels::lower(&graph, facts).expect("it lowers"));
    let pool = Pool::new(&programs);
    assert_eq!(pool.offsets[0], pool.offsets[1]);
    assert_eq!(pool.bytes, Pool::new([&programs[0]]).bytes);
    let bytes = |program, facts, constants| {
        let model = Model { program, facts, constants, weights: Weights::Loaded(pool.bytes) };
        wasm::module(&model).expect("small enough")
    };
    let again = kernels::lower(&graph, &RELAXED).expect("it lowers");
    assert_eq!(bytes(&programs[1], &RELAXED, &pool.offsets[1]), bytes(&again, &RELAXED, &pool.offsets[1]));
    assert_ne!(bytes(&programs[0], &SIMD128, &pool.offsets[0]), bytes(&again, &RELAXED, &pool.offsets[1]));
}

#[test]
fn what_engines_do_not_take_is_refused() {
    let mut program = Program { arena_bytes: 1 << 32, arena_align: 64, ..Program::default() };
    let refused = |program: &Program, weights| {
        let model = Model { program, facts: &SIMD128, constants: &[], weights };
        wasm::module(&model).expect_err("it is too large").what
    };
    assert_eq!(refused(&program, Weights::Loaded(64)), "the model takes 4294967360 bytes of memory, and WebAssembly has 4 GiB");
    program.arena_bytes = 1 << 20;
    let part = ir::program::Part::Fill { bytes: 1 << 30 };
    program.constants.push(ir::program::Packed { align: 64, parts: vec![part] });
    let pool = Pool::new([&program]);
    assert_eq!(refused(&program, Weights::Embedded(&pool)), "a module of 1073741824 bytes is more than the 1 GiB that engines take");
    let model = Model { program: &program, facts: &SIMD128, constants: &pool.offsets[0], weights: Weights::Loaded(pool.bytes) };
    common::validate(&wasm::module(&model).expect("beside the module they fit"), &SIMD128);
}
