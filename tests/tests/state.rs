//! What a model keeps from run to run, on every machine: pairs of outputs and inputs in one process of several runs, a cache
//! that is changed where it lies, and a caller of the C interface who resets and has several sequences.
#![allow(unsafe_code)]

use ir::{Graph, Tensor};
use maquette::execute::Runner;
use maquette::machine::Machine;
use maquette::state;
use maquette::target::Emit;
use runtime_stub::{Input, Library, Output, Session};
use tests::house;

/// A sum that goes on, one that swaps places with another, and a cache with a row for each run.
const COUNTER: &str = r#"graph {
  %x: f32[1,3] = input "x"
  %at: i64[1] = input "at"
  %sum: f32[1,3] = input "sum"
  %old: f32[1,3] = input "old"
  %cache: f32[2,2,3] = input "cache"
  %total = map %x, %sum do { add(a, b) }
  %older = map %sum do { mul(a, 1.0) }
  %rows = reshape %cache {shape=[4,3]}
  %put = scatter %rows, %at, %x {kind=set}
  %next = reshape %put {shape=[2,2,3]}
  %all = reduce %put {kind=sum, axes=[0]}
  %y = map %all, %total, %old do { t0 = add(a, b); sub(t0, c) }
  return %y "y", %total "total", %older "older", %next "next"
}"#;

const PAIRS: [(&str, &str); 3] = [("total", "sum"), ("older", "old"), ("next", "cache")];

fn counter() -> Graph {
    ir::graph::text::parse(COUNTER, &|_| None).expect("the graph is right")
}

fn pairs() -> Vec<(String, String)> {
    PAIRS.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
}

/// `x` and the row of the cache for each run.
fn runs() -> Vec<Vec<Tensor>> {
    let run = |i: i64| vec![Tensor::f32s(&[1, 3], &[i as f32, 1.0, -0.5 * i as f32]), Tensor::i64s(&[1], &[i % 4])];
    (1..=6).map(run).collect()
}

#[test]
fn runs_follow_each_other_on_every_machine() {
    for place in house::places("state from run to run") {
        let mut options = place.options("counter");
        options.state = pairs();
        let built = maquette::machine::build(counter(), &options, None, &()).expect("it compiles");
        let kept = state::kept(&counter(), &pairs()).expect("they are there");
        let want = state::reference(&counter(), &kept, &runs()).expect("it runs");
        let got = Machine::new(&built, &place.runner).and_then(|m| m.runs(&runs())).expect("it runs");
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["y"]);
            assert_eq!(got[0].1.to_f32s(), want[0].to_f32s());
        }
        for (_, program) in &built.programs {
            assert_eq!((program.inputs.len(), program.outputs.len(), program.state_bytes), (2, 1, 192));
        }
    }
}

#[test]
fn a_cache_is_changed_where_it_lies() {
    let Some((_, levels)) = house::here("a cache in place") else { return };
    let mut options = house::options(vec![levels[0]], "cache");
    options.state = vec![("next".into(), "cache".into())];
    let text = "graph { %c: f32[64,16] = input \"cache\" %at: i64[1] = input \"at\" %x: f32[1,16] = input \"x\"
        %n = scatter %c, %at, %x {kind=set} %y = reduce %n {kind=sum, axes=[1]} return %y \"y\", %n \"next\" }";
    let graph = ir::graph::text::parse(text, &|_| None).expect("the graph is right");
    let built = maquette::machine::build(graph, &options, None, &()).expect("it compiles");
    let [(_, program)] = &built.programs[..] else { panic!("one level") };
    let steps: Vec<&str> = program.steps.iter().map(|s| s.what.as_str()).collect();
    assert_eq!(steps, ["scatter", "reduce"]);
    assert_eq!((program.arena_bytes, program.state_bytes), (0, 64 * 16 * 4));
}

#[test]
fn callers_reset_and_have_several_sequences() {
    let Some((_, levels)) = house::here("state of callers") else { return };
    let folder = house::scratch();
    let mut options = house::options(levels, "counter");
    options.state = pairs();
    let (_, written) = house::compile(counter(), &options, &[Emit::SharedObject], &folder.path).expect("it compiles");
    // SAFETY: the library is the compiler's own.
    let library = unsafe { Library::open(&written[0].path, "counter") }.expect("it loads");
    let kept = state::kept(&counter(), &pairs()).expect("they are there");
    let want: Vec<Vec<f32>> = state::reference(&counter(), &kept, &runs()).expect("it runs").iter().map(|run| run[0].to_f32s()).collect();
    let (mut one, mut other) =
        (Session::new(library.model()).expect("there is memory"), Session::new(library.model()).expect("there is memory"));
    let step = |session: &mut Session, run: &[Tensor]| {
        let (x, at) = (run[0].to_f32s(), run[1].to_i64s());
        let mut y = [0.0f32; 3];
        session.run(&[Input::from(&x[..]), Input::from(&at[..])], &mut [Output::from(&mut y[..])]).expect("it runs");
        y.to_vec()
    };
    for (i, run) in runs().iter().enumerate() {
        assert_eq!(step(&mut one, run), want[i]);
        // another sequence begins with every run
        other.reset();
        assert_eq!(step(&mut other, &runs()[0]), want[0]);
    }
    one.reset();
    assert_eq!(step(&mut one, &runs()[0]), want[0]);
}

#[test]
fn a_voice_detector_keeps_its_state_over_thirty_calls() {
    let test = "a voice detector over thirty calls";
    let (Some(zoo), Some((_, levels))) = (house::shared("zoo/models", test), house::here(test)) else { return };
    let mut options = house::options(vec![levels[levels.len() - 1]], "silero");
    options.shapes = [("input".to_string(), vec![1, 576]), ("state".to_string(), vec![2, 1, 128])].into();
    options.state = vec![("stateN".into(), "state".into())];
    let graph = house::import(&zoo.join("silero_vad.onnx"), &options).expect("the model is right");
    let kept = state::kept(&graph, &options.state).expect("they are there");
    let wave = |run: usize| Tensor::f32s(&[1, 576], &(0..576).map(|i| ((run * 576 + i) as f32 * 0.05).sin() * 0.3).collect::<Vec<_>>());
    let rate = |hertz: i64| Tensor::i64s(&[], &[hertz]);
    let runs: Vec<Vec<Tensor>> = (0..30).map(|run| vec![wave(run), rate(16000)]).collect();
    let want = state::reference(&graph, &kept, &runs).expect("it runs");
    let built = maquette::machine::build(graph, &options, None, &()).expect("it compiles");
    let machine = Machine::new(&built, &Runner::default()).expect("there is room");
    let got = machine.runs(&runs).expect("it runs");
    // its other branch is for other pieces than these
    let error = machine.run(&[wave(0), rate(8000)]).expect_err("the pieces are too long");
    assert!(matches!(error, maquette::error::Error::Status { status: 4, .. }), "{error}");
    for (got, want) in got.iter().zip(&want) {
        let (got, want) = (got[0].1.to_f32s(), want[0].to_f32s());
        assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() <= 1e-4), "{got:?}, not {want:?}");
    }
}

/// One step of a decoder: keys and values that grow, and what is seen of both.
fn decoder(past: i64) -> Graph {
    let text = format!(
        r#"graph {{
  symbol past in 0..{past}
  %x: f32[1,2,1,8] = input "x"
  %k: f32[1,2,past,8] = input "past.k"
  %v: f32[1,2,past,8] = input "past.v"
  %key = map %x do {{ mul(a, 0.5) }}
  %value = map %x do {{ add(a, 1.0) }}
  %k1 = concat %k, %key {{axis=2}}
  %v1 = concat %v, %value {{axis=2}}
  %scores = dot %x, %k1 {{trans_a=false, trans_b=true}}
  %shares = softmax %scores {{axis=3, log=false}}
  %y = dot %shares, %v1 {{trans_a=false, trans_b=false}}
  return %y "y", %k1 "present.k", %v1 "present.v"
}}"#
    );
    ir::graph::text::parse(&text, &|_| None).expect("the graph is right")
}

fn grown() -> Vec<(String, String)> {
    ["k", "v"].map(|name| (format!("present.{name}"), format!("past.{name}"))).to_vec()
}

fn tokens(count: usize) -> Vec<Vec<Tensor>> {
    let token = |i: usize| (0..16).map(|j| ((i * 16 + j) as f32 * 0.7).sin()).collect::<Vec<f32>>();
    (0..count).map(|i| vec![Tensor::f32s(&[1, 2, 1, 8], &token(i))]).collect()
}

fn near(got: &[f32], want: &[f32]) -> bool {
    got.len() == want.len() && got.iter().zip(want).all(|(g, w)| (g - w).abs() <= 1e-5 * w.abs().max(1.0))
}

#[test]
fn a_cache_grows_to_its_bound_on_every_machine() {
    let want = {
        let kept = state::kept(&decoder(10), &grown()).expect("they agree");
        state::reference(&decoder(10), &kept, &tokens(11)).expect("it runs")
    };
    for place in house::places("a cache that grows") {
        let mut options = place.options("decoder");
        options.state = grown();
        let built = maquette::machine::build(decoder(10), &options, None, &()).expect("it compiles");
        for (level, program) in &built.programs {
            // one integer, and two caches of eleven rows for two heads
            assert_eq!((program.inputs.len(), program.outputs.len(), program.state_bytes), (1, 1, 64 + 2 * (2 * 11 * 8 * 4)));
            let copies = program.steps.iter().filter(|s| s.what == "state").count();
            assert_eq!(copies, 1, "{}: only the length is written behind the last operator", level.name);
        }
        let machine = Machine::new(&built, &place.runner).expect("there is room");
        let got = machine.runs(&tokens(11)).expect("eleven tokens fit");
        for (got, want) in got.iter().zip(&want) {
            assert!(near(&got[0].1.to_f32s(), &want[0].to_f32s()), "{got:?}, not {want:?}");
        }
        let error = machine.runs(&tokens(12)).expect_err("the cache is full");
        assert!(matches!(error, maquette::error::Error::Status { status: 3, .. }), "{error}");
    }
}

#[test]
fn a_cache_takes_several_rows_at_once_and_begins_anew() {
    let Some((_, levels)) = house::here("a cache of several rows") else { return };
    let text = r#"graph {
  symbol new in 1..4
  symbol past in 0..6
  %x: f32[new,3] = input "x"
  %seen: f32[past] = input "seen"
  %k: f32[past,3] = input "k"
  %k1 = concat %k, %x {axis=0}
  %y = reduce %k1 {kind=sum, axes=[0]}
  %all = reduce %seen {kind=sum, axes=[0]}
  %z = map %y, %all do { add(a, b) }
  return %z "z", %k1 "k1"
}"#;
    let graph = ir::graph::text::parse(text, &|_| None).expect("the graph is right");
    let mut options = house::options(levels, "rows");
    options.state = vec![("k1".into(), "k".into())];
    let folder = house::scratch();
    let (_, written) = house::compile(graph, &options, &[Emit::SharedObject], &folder.path).expect("it compiles");
    // SAFETY: the library is the compiler's own.
    let library = unsafe { Library::open(&written[0].path, "rows") }.expect("it loads");
    let mut session = Session::new(library.model()).expect("there is memory");
    for _ in 0..2 {
        let mut wanted = [0.0f32; 3];
        let mut past = 0;
        for new in [4usize, 1, 1, 4] {
            let x: Vec<f32> = (0..3 * new).map(|i| (i + past) as f32).collect();
            x.chunks(3).for_each(|row| row.iter().zip(&mut wanted).for_each(|(x, sum)| *sum += x));
            let mut z = [0.0f32; 3];
            let seen = vec![1.0f32; past];
            let dims = [new as i64, 3];
            let inputs = [Input::shaped(&x[..], &dims), Input::from(&seen[..])];
            session.run(&inputs, &mut [Output::from(&mut z[..])]).expect("it runs");
            assert_eq!(z, wanted.map(|sum| sum + past as f32));
            assert_eq!(session.symbol("past"), Some(past as i64));
            past += new;
        }
        let (x, seen, mut z) = ([0.0f32; 3], [0.0f32; 6], [0.0f32; 3]);
        let inputs = [Input::shaped(&x[..], &[1, 3]), Input::from(&seen[..])];
        let error = session.run(&inputs, &mut [Output::from(&mut z[..])]).expect_err("ten rows are more than six");
        assert!(matches!(error, runtime_stub::Error::Status(runtime_stub::Status::Size)), "{error:?}");
        session.reset();
    }
}
