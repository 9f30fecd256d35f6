//! What a compiled model is to whoever links, loads or starts it: the files by the system's own tools, the interface from
//! C, C++ and Rust, every status, other processors, size and cold start.

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ir::{Graph, Op, Tensor};
use maquette::compare::{Tolerance, distance};
use maquette::compile::{Options, Weights};
use maquette::error::Error;
use maquette::execute::Runner;
use maquette::files::Scratch;
use maquette::machine::{self, Built, Machine};
use maquette::target::{self, Emit, Level, Target};
use runtime_stub::{Input, Library, MaquetteCall, MaquetteModel, MaquetteSymbol, MaquetteTensor, Output, Pool, Session, TaskFn, Workers};
use tests::house::{self, have, must, piped};
use tests::suite::oracle;

/// Rows of a table: an index out of range is status 4. A second model to link, with integers in its interface.
const LOOKUP: &str = r#"graph {
  %table: f32[4,3] = input "table"
  %rows: i64[5] = input "the rows"
  %0 = gather %table, %rows {axis=0}
  return %0 "looked up"
}"#;

/// Digits and lookup in every form that is linked, below one folder.
struct Both {
    folder: Scratch,
    digits: Graph,
    lookup: Graph,
    /// Steps of digits that ask for workers.
    shared_steps: usize,
}

impl Both {
    fn path(&self, file: &str) -> PathBuf {
        self.folder.path.join(file)
    }

    fn c(&self, command: &str, arguments: &[&str]) -> Command {
        let mut cc = Command::new(command);
        cc.current_dir(&self.folder.path).args(arguments);
        cc
    }
}

fn both(level: &'static Level) -> Both {
    let folder = house::scratch();
    let options = |name| house::options(vec![level], name);
    let digits = house::import(&house::digits(), &options("digits")).expect("the model is right");
    let lookup = ir::graph::text::parse(LOOKUP, &|_| None).expect("the graph is right");
    let emits = [Emit::Archive, Emit::Object, Emit::SharedObject, Emit::Executable, Emit::Header];
    let compile = |graph: &Graph, name| house::compile(graph.clone(), &options(name), &emits, &folder.path).expect("it compiles").0;
    let shared_steps = shared(&compile(&digits, "digits")).len();
    compile(&lookup, "lookup");
    Both { folder, digits, lookup, shared_steps }
}

/// The calls of every step that has several of them and so asks for workers, for the one level it was compiled for.
fn shared(built: &Built) -> Vec<i64> {
    let [(_, program)] = &built.programs[..] else { panic!("one level") };
    program.steps.iter().map(|step| step.calls.len() as i64).filter(|&calls| calls > 1).collect()
}

/// The most able level of this machine.
fn native(test: &str) -> Option<&'static Level> {
    house::here(test)?.1.pop()
}

fn close(got: &Tensor, want: &Tensor) {
    assert_eq!(got.ty(), want.ty());
    // sums in another order, and Winograd's convolutions
    let d = distance(got, want, Tolerance { relative: 1e-4, absolute: 2e-5 });
    assert_eq!(d.beyond, 0, "{d:?}");
}

fn one(mut tensors: Vec<Tensor>) -> Tensor {
    assert_eq!(tensors.len(), 1);
    tensors.pop().expect("there is one")
}

/// Reads an image, the table and five rows; writes the probabilities and the rows looked up. Then breaks one rule of the
/// interface after the other and says which status came and which should.
const CALLER: &str = r#"
#include "digits.h"
#include "lookup.h"
#include <stdio.h>

MAQUETTE_ALIGN(digits_ARENA_ALIGN) static unsigned char arena[digits_ARENA_BYTES + digits_WORKER_BYTES + digits_ARENA_ALIGN];
MAQUETTE_ALIGN(lookup_ARENA_ALIGN) static unsigned char lookup_arena[lookup_ARENA_BYTES];
static float image[digits_in_image_ELEMENTS + 1], probabilities[digits_out_probabilities_ELEMENTS], again[digits_out_probabilities_ELEMENTS];
static float table[lookup_in_table_ELEMENTS], looked_up[lookup_out_looked_up_ELEMENTS];
static int64_t rows[lookup_in_the_rows_ELEMENTS];
static int asked;

static void expect(const char *what, int32_t got, int32_t wanted)
{
    if (got != wanted) {
        fprintf(stderr, "%s: %d (%s), not %d\n", what, (int)got, maquette_status_text(got), (int)wanted);
    }
}

/* the last one first */
static void backwards(void *pool, int64_t n, void (*task)(void *, int64_t, int64_t), void *context)
{
    asked += pool == (void *)&asked;
    while (n-- > 0) {
        task(context, n, 0);
    }
}

int main(void)
{
    const void *inputs[1], *lookup_inputs[2];
    void *outputs[1];
    uint64_t input_bytes[1];
    maquette_call good, call;
    size_t i;
    if (fread(image, 4, digits_in_image_ELEMENTS, stdin) != digits_in_image_ELEMENTS
        || fread(table, 4, lookup_in_table_ELEMENTS, stdin) != lookup_in_table_ELEMENTS
        || fread(rows, 8, lookup_in_the_rows_ELEMENTS, stdin) != lookup_in_the_rows_ELEMENTS) {
        return 1;
    }
    expect("digits", digits_run(image, probabilities, arena), MAQUETTE_OK);
    expect("lookup", lookup_run(table, rows, looked_up, lookup_arena), MAQUETTE_OK);
    if (fwrite(probabilities, sizeof probabilities, 1, stdout) != 1 || fwrite(looked_up, sizeof looked_up, 1, stdout) != 1) {
        return 1;
    }

    expect("abi", (int32_t)digits_model.abi, MAQUETTE_ABI);
    expect("the CPU's word says that it was asked", (int32_t)(digits_model.cpu() & 1), 1);
    inputs[0] = image;
    outputs[0] = again;
    input_bytes[0] = sizeof image - 4;
    good.inputs = inputs, good.outputs = outputs, good.input_bytes = input_bytes;
    good.arena = arena, good.arena_bytes = digits_ARENA_BYTES;
    good.state = NULL, good.weights = NULL, good.symbols = NULL, good.parallel_for = NULL, good.pool = NULL;
    good.workers = 0, good.reserved = 0, good.cpu = digits_model.cpu();
    expect("all said", digits_model.run(&good), MAQUETTE_OK);
    call = good, call.cpu = 0, call.input_bytes = NULL;
    expect("little said", digits_model.run(&call), MAQUETTE_OK);
    call = good, call.parallel_for = backwards, call.pool = &asked, call.workers = 1;
    expect("a pool of one", digits_model.run(&call), MAQUETTE_OK);
    expect("one worker needs no pool", asked, 0);
    call.workers = 2, call.arena_bytes += digits_WORKER_BYTES;
    for (i = 0; i < digits_out_probabilities_ELEMENTS; i++) {
        again[i] = -1;
    }
    expect("a pool of two", digits_model.run(&call), MAQUETTE_OK);
    expect("steps of several calls", asked, SHARED_STEPS);
    for (i = 0; i < digits_out_probabilities_ELEMENTS; i++) {
        expect("the same answer", again[i] < probabilities[i] || again[i] > probabilities[i], 0);
    }

    call = good, call.inputs = NULL;
    expect("no inputs", digits_model.run(&call), MAQUETTE_BAD_POINTER);
    call = good, call.outputs = NULL;
    expect("no outputs", digits_model.run(&call), MAQUETTE_BAD_POINTER);
    call = good, call.arena = NULL;
    expect("no arena", digits_model.run(&call), MAQUETTE_BAD_POINTER);
    call = good, call.arena = arena + 1;
    expect("a misaligned arena", digits_model.run(&call), MAQUETTE_BAD_POINTER);
    inputs[0] = NULL;
    expect("a null input", digits_model.run(&good), MAQUETTE_BAD_POINTER);
    inputs[0] = (const unsigned char *)image + 1;
    expect("a misaligned input", digits_model.run(&good), MAQUETTE_BAD_POINTER);
    inputs[0] = image + 1;
    expect("an input that is aligned to its element only", digits_model.run(&good), MAQUETTE_OK);
    inputs[0] = image;
    outputs[0] = NULL;
    expect("a null output", digits_model.run(&good), MAQUETTE_BAD_POINTER);
    outputs[0] = (unsigned char *)again + 2;
    expect("a misaligned output", digits_model.run(&good), MAQUETTE_BAD_POINTER);
    outputs[0] = again;
    call = good, call.arena_bytes = digits_ARENA_BYTES - 1;
    expect("a small arena", digits_model.run(&call), MAQUETTE_ARENA_TOO_SMALL);
    input_bytes[0] += 4;
    expect("a long input", digits_model.run(&good), MAQUETTE_BAD_SIZE);
    input_bytes[0] -= 8;
    expect("a short input", digits_model.run(&good), MAQUETTE_BAD_SIZE);
    input_bytes[0] += 4;
    call = good, call.cpu = 1;
    expect("a CPU that can nothing", digits_model.run(&call), MAQUETTE_CPU_LACKS_FEATURE);
    expect("typed, the same", digits_run_on(image, again, arena, 1), MAQUETTE_CPU_LACKS_FEATURE);
    rows[2] = -4;
    expect("the first row from the end", lookup_run(table, rows, looked_up, lookup_arena), MAQUETTE_OK);
    rows[2] = 4;
    expect("a row behind the table", lookup_run(table, rows, looked_up, lookup_arena), MAQUETTE_BAD_DATA);
    rows[2] = -5;
    expect("a row before the table", lookup_run(table, rows, looked_up, lookup_arena), MAQUETTE_BAD_DATA);
    rows[2] = INT64_MIN;
    expect("a row far away", lookup_run(table, rows, looked_up, lookup_arena), MAQUETTE_BAD_DATA);
    lookup_inputs[0] = table, lookup_inputs[1] = (const unsigned char *)rows + 4;
    call.inputs = lookup_inputs, call.arena = lookup_arena, call.arena_bytes = lookup_ARENA_BYTES, call.cpu = 0;
    call.input_bytes = NULL;
    expect("rows at half an element", lookup_model.run(&call), MAQUETTE_BAD_POINTER);
    return 0;
}
"#;

const WARNINGS: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"];

#[test]
fn two_models_link_into_c_and_cpp_without_a_warning_and_every_status_comes() {
    let test = "C and C++ callers";
    let Some(level) = native(test) else { return };
    let both = both(level);
    let image = house::made_up(&both.digits, 7);
    let table = house::made_up(&both.lookup, 8).swap_remove(0);
    let rows = Tensor::i64s(&[5], &[3, 0, -1, 1, -4]);
    let input: Vec<u8> = [&image[0], &table, &rows].iter().flat_map(|t| t.bytes()).collect();
    let wanted =
        [one(oracle(&both.digits, &image).expect("right inputs")), one(oracle(&both.lookup, &[table, rows]).expect("right inputs"))];
    let languages = [("cc", "-std=c99", "caller.c"), ("cc", "-std=c11", "caller.c"), ("c++", "-std=c++17", "caller.cpp")];
    for (command, standard, source) in languages {
        if !have(command, &format!("{test}, {standard}")) {
            continue;
        }
        std::fs::write(both.path(source), CALLER).expect("the folder is ours");
        for libraries in [["libdigits.a", "liblookup.a"], ["digits.o", "lookup.o"]] {
            let shared = format!("-DSHARED_STEPS={}", both.shared_steps);
            let mut cc = both.c(command, &[standard, "-O1", &shared, source, libraries[0], libraries[1], "-o", "caller"]);
            must(cc.args(WARNINGS).arg("-Wl,--fatal-warnings"));
            let output = piped(&mut Command::new(both.path("caller")), &input);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{command} {standard}: {}\n{said}", output.status);
            let (probabilities, looked_up) = output.stdout.split_at(wanted[0].elements() * 4);
            close(&Tensor::dense(ir::Dtype::F32, wanted[0].shape(), probabilities.to_vec()), &wanted[0]);
            assert_eq!(looked_up, &wanted[1].bytes()[..]);
        }
    }
}

#[test]
fn artifacts_import_nothing_and_export_one_name() {
    let test = "symbols and sections";
    let Some(level) = native(test) else { return };
    if !have("nm", test) || !have("readelf", test) {
        return;
    }
    let both = both(level);
    let tool = |words: &[&str], file: &str| must(Command::new(words[0]).args(&words[1..]).arg(both.path(file)));
    for file in ["digits.o", "libdigits.a", "libdigits.so"] {
        let mut nm = vec!["nm", "-P"];
        nm.extend(file.ends_with(".so").then_some("-D"));
        let unknown = tool(&[&nm[..], &["-u"]].concat(), file);
        assert_eq!(unknown.lines().filter(|l| !l.ends_with(':')).collect::<Vec<_>>(), [""; 0], "{file}");
        let global = tool(&[&nm[..], &["-g", "--defined-only"]].concat(), file);
        let names: BTreeSet<&str> = global.lines().filter(|l| !l.ends_with(':')).filter_map(|l| l.split(' ').next()).collect();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["digits_model"], "{file}");
    }
    for file in ["digits.o", "libdigits.a"] {
        let sections = tool(&["readelf", "-SW"], file);
        let stack =
            sections.lines().find(|l| l.contains(".note.GNU-stack")).unwrap_or_else(|| panic!("{file}: no .note.GNU-stack\n{sections}"));
        assert!(!stack.contains(" X "), "{file}: {stack}");
    }
    let dynamic = tool(&["readelf", "-dW"], "libdigits.so");
    for wrong in ["TEXTREL", "NEEDED", "INIT", "RPATH"] {
        assert!(!dynamic.contains(wrong), "{wrong} in\n{dynamic}");
    }
    assert!(dynamic.contains("[libdigits.so]"), "{dynamic}");
    for file in ["libdigits.so", "digits"] {
        let segments = tool(&["readelf", "-lW"], file);
        assert!(!segments.contains("RWE") && !segments.contains("INTERP"), "{file}:\n{segments}");
        assert!(file != "digits" || !segments.lines().any(|l| l.contains("LOAD") && l.contains(" RW ")), "{file}:\n{segments}");
        let stack = segments.lines().find(|l| l.contains("GNU_STACK"));
        assert!(stack.is_some_and(|l| l.contains(" RW ")), "{file}:\n{segments}");
    }
}

macro_rules! layout {
    ($($rust:ident $c:literal: $($field:ident)*;)*) => {
        /// Each line compiles if an offset or a size is the one that Rust has.
        fn layout() -> String {
            let mut lines = String::new();
            let mut is = |what: String, value: usize| {
                lines += &format!("typedef char check{}[{what} == {value} ? 1 : -1];\n", lines.len());
            };
            $(
                $(is(format!("offsetof({}, {})", $c, stringify!($field)), offset_of!($rust, $field));)*
                is(format!("sizeof({})", $c), size_of::<$rust>());
            )*
            lines
        }
    };
}

layout! {
    MaquetteTensor "maquette_tensor": name dims symbols bytes dtype rank;
    MaquetteSymbol "maquette_symbol": name min max;
    MaquetteCall "maquette_call": inputs outputs input_bytes arena arena_bytes state weights symbols parallel_for pool
        workers reserved cpu;
    MaquetteModel "maquette_model": abi input_count output_count symbol_count name target compiler inputs outputs symbols
        arena_bytes arena_align worker_bytes state_bytes weights_bytes cpu reset run;
}

#[test]
fn the_generated_header_lays_out_what_the_runtime_does() {
    let test = "layouts";
    let Some(level) = native(test) else { return };
    if !have("cc", test) {
        return;
    }
    let both = both(level);
    std::fs::write(both.path("layout.c"), format!("#include \"digits.h\"\n{}", layout())).expect("the folder is ours");
    must(both.c("cc", &["-std=c99", "-c", "layout.c", "-o", "layout.o"]).args(WARNINGS));
    let wrong = "#include \"digits.h\"\ntypedef char check[sizeof(maquette_call) == 1 ? 1 : -1];\n";
    std::fs::write(both.path("wrong.c"), wrong).expect("the folder is ours");
    let refused = both.c("cc", &["-std=c99", "-c", "wrong.c", "-o", "wrong.o"]).output().expect("cc is there");
    assert!(!refused.status.success(), "the check cannot fail");
}

#[test]
fn a_shared_object_of_every_level_runs_from_rust_with_workers_and_its_weights_apart() {
    let Some((_, levels)) = house::here("shared object from Rust") else { return };
    for weights in [Weights::Embed, Weights::File] {
        let folder = house::scratch();
        let mut options = house::options(levels.clone(), "digits");
        options.weights = Some(weights);
        let graph = house::import(&house::digits(), &options).expect("the model is right");
        let image = house::made_up(&graph, 9);
        let wanted = one(oracle(&graph, &image).expect("right inputs"));
        let (_, written) = house::compile(graph, &options, &[Emit::SharedObject], &folder.path).expect("it compiles");
        assert_eq!(written.len(), if weights == Weights::File { 2 } else { 1 });
        // SAFETY: Maquette wrote it just now, and the folder is ours.
        #[allow(unsafe_code)]
        let library = unsafe { Library::open(&written[0].path, "digits") }.expect("it loads");
        let pool = Pool::new(2).expect("there are threads");
        let alone = Session::new(library.model()).expect("there is memory");
        let shared = Session::with_workers(library.model(), pool.workers()).expect("there is memory");
        for mut session in [alone, shared] {
            let (pixels, mut probabilities) = (image[0].to_f32s(), vec![f32::NAN; wanted.elements()]);
            for _ in 0..2 {
                session.run(&[Input::from(&pixels[..])], &mut [Output::from(&mut probabilities[..])]).expect("it runs");
            }
            close(&Tensor::f32s(wanted.shape(), &probabilities), &wanted);
        }
    }
}

/// A convolution that is worth several workers.
const WIDE: &str = r#"graph {
  %x: f32[1,56,56,64] = input "x"
  %w: f32[3,3,64,64] = const random 3
  %0 = conv %x, %w {stride=[1,1], dilation=[1,1], inflate=[1,1], low=[1,1], high=[1,1], group=1, fill=0.0}
  return %0 "y"
}"#;

/// A pool that tells how many tasks every round had, and begins with the last.
#[derive(Default)]
struct Rounds(Mutex<Vec<i64>>);

impl Rounds {
    #[allow(unsafe_code)]
    unsafe extern "C" fn backwards(pool: *mut c_void, n: i64, task: TaskFn, context: *mut c_void) {
        // SAFETY: the pool is what the test handed over, and outlives the run
        let rounds = unsafe { &*pool.cast::<Rounds>() };
        rounds.0.lock().expect("nobody panics with it").push(n);
        for i in (0..n).rev() {
            // SAFETY: every index below n once, and one at a time, so that any worker is free
            unsafe { task(context, i, i % 2) };
        }
    }
}

#[test]
fn workers_are_asked_for_every_call_of_a_step_that_has_several() {
    let Some((_, levels)) = house::here("calls on workers") else { return };
    for level in levels {
        let graph = ir::graph::text::parse(WIDE, &|_| None).expect("the graph is right");
        let image = house::made_up(&graph, 14);
        let wanted = one(oracle(&graph, &image).expect("right inputs"));
        let folder = house::scratch();
        let (built, written) =
            house::compile(graph, &house::options(vec![level], "wide"), &[Emit::SharedObject], &folder.path).expect("it compiles");
        // SAFETY: Maquette wrote it just now, and the folder is ours.
        #[allow(unsafe_code)]
        let library = unsafe { Library::open(&written[0].path, "wide") }.expect("it loads");
        let rounds = Rounds::default();
        // SAFETY: `backwards` runs every task once, one at a time, with worker 0 or 1, and `rounds` outlives the session.
        #[allow(unsafe_code)]
        let two = unsafe { Workers::new(Rounds::backwards, (&raw const rounds).cast_mut().cast(), 2) };
        let mut answers = Vec::new();
        for mut session in [Session::new(library.model()), Session::with_workers(library.model(), two)].map(|s| s.expect("there is memory"))
        {
            let (pixels, mut answer) = (image[0].to_f32s(), vec![f32::NAN; wanted.elements()]);
            session.run(&[Input::from(&pixels[..])], &mut [Output::from(&mut answer[..])]).expect("it runs");
            answers.push(answer);
        }
        close(&Tensor::f32s(wanted.shape(), &answers[0]), &wanted);
        assert!(answers[0] == answers[1], "{}: another answer on workers", level.name);
        let asked = rounds.0.into_inner().expect("nobody panicked with it");
        println!("{}: {} steps, asked for workers with {asked:?} tasks", level.name, built.programs[0].1.steps.len());
        assert_eq!(asked, shared(&built), "{}", level.name);
    }
}

/// Quotients and remainders of integers, written out: no status and no trap, and the same on every machine.
#[test]
fn dividing_by_zero_is_a_value() {
    let places = house::places("dividing by zero");
    for (ty, dtype, (least, most)) in
        [("i32", ir::Dtype::I32, (i32::MIN.into(), i32::MAX.into())), ("i64", ir::Dtype::I64, (i64::MIN, i64::MAX))]
    {
        let text = format!(
            "graph {{\n  %a: {ty}[8] = input \"a\"\n  %b: {ty}[8] = input \"b\"\n  %z: {ty}[] = const [0]\n  %0 = map %a, %b do {{ div(a, b) }}\n  \
             %1 = map %a, %b do {{ rem(a, b) }}\n  %2 = map %a, %b do {{ mod(a, b) }}\n  %3 = map %a, %z do {{ div(a, b) }}\n  \
             return %0 \"quotient\", %1 \"rem\", %2 \"mod\", %3 \"by the constant 0\"\n}}"
        );
        let graph = ir::graph::text::parse(&text, &|_| None).expect("the graph is right");
        let integers = |values: &[i64; 8]| {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()[..dtype.bytes()].to_vec()).collect();
            Tensor::dense(dtype, &[8], bytes)
        };
        let inputs = [integers(&[7, -7, least, most, 0, least, most, -7]), integers(&[0, 0, 0, 0, 0, -1, -1, 2])];
        let wanted = [[0, 0, 0, 0, 0, least, -most, -3], [0, 0, 0, 0, 0, 0, 0, -1], [0, 0, 0, 0, 0, 0, 0, 1], [0; 8]];
        let values = |tensors: Vec<Tensor>| tensors.iter().map(Tensor::to_i64s).collect::<Vec<_>>();
        assert_eq!(values(oracle(&graph, &inputs).expect("right inputs")), wanted, "{ty}");
        for place in &places {
            let built = machine::build(graph.clone(), &place.options("division"), None, &()).expect("it compiles");
            let got = Machine::new(&built, &place.runner).expect("it is written").run(&inputs).expect("no status");
            assert_eq!(values(got.into_iter().map(|(_, tensor)| tensor).collect()), wanted, "{ty} on {}", place.level.name);
        }
    }
}

/// How a program ended.
fn exit(program: &Path, arguments: &[&str], input: &[u8]) -> (Option<i32>, Vec<u8>) {
    let output = piped(Command::new(program).args(arguments), input);
    (output.status.code(), output.stdout)
}

#[test]
fn the_executable_speaks_its_protocol() {
    let Some(level) = native("executable") else { return };
    let both = both(level);
    let image = house::made_up(&both.digits, 10);
    let wanted = one(oracle(&both.digits, &image).expect("right inputs"));
    let (program, input) = (both.path("digits"), image[0].bytes());
    let (code, output) = exit(&program, &[], &input);
    assert_eq!(code, Some(0));
    close(&Tensor::dense(wanted.dtype(), wanted.shape(), output), &wanted);
    let (code, times) = exit(&program, &["--bench", "3"], &input);
    let times = String::from_utf8(times).expect("numbers");
    assert_eq!((code, times.lines().filter(|l| l.parse::<u64>().is_ok_and(|n| n > 0)).count()), (Some(0), 3), "{times}");
    for (arguments, input, wanted) in [
        (&[][..], &input[1..], 3),
        (&[], &[&input[..], &[0]].concat()[..], 3),
        (&[], &[], 3),
        (&["--bench"], &input[..], 64),
        (&["--bench", "x"], &input[..], 64),
        (&["weights"], &input[..], 64),
    ] {
        assert_eq!(exit(&program, arguments, input), (Some(wanted), Vec::new()), "{arguments:?}, {} bytes", input.len());
    }
    let rows = |rows: &[i64]| [vec![0u8; 48], Tensor::i64s(&[5], rows).bytes().to_vec()].concat();
    assert_eq!(exit(&both.path("lookup"), &[], &rows(&[0, 1, 2, 3, 4])), (Some(4), Vec::new()));
    assert_eq!(exit(&both.path("lookup"), &[], &rows(&[0, 1, 2, 3, 3])), (Some(0), vec![0; 60]));
}

#[test]
fn weights_in_a_file_are_read_and_checked() {
    let Some(level) = native("executable with weights apart") else { return };
    let folder = house::scratch();
    let mut options = house::options(vec![level], "digits");
    options.weights = Some(Weights::File);
    let graph = house::import(&house::digits(), &options).expect("the model is right");
    let image = house::made_up(&graph, 11);
    let wanted = one(oracle(&graph, &image).expect("right inputs"));
    house::compile(graph, &options, &[Emit::Executable], &folder.path).expect("it compiles");
    let (program, weights) = (folder.path.join("digits"), folder.path.join("digits.bin"));
    let path = weights.to_str().expect("a path of ours").to_string();
    let input = image[0].bytes();
    let (code, output) = exit(&program, &[&path], &input);
    assert_eq!(code, Some(0));
    close(&Tensor::dense(wanted.dtype(), wanted.shape(), output), &wanted);
    assert_eq!(exit(&program, &[], &input).0, Some(64));
    assert_eq!(exit(&program, &["/nowhere/digits.bin"], &input).0, Some(66));
    let mut bytes = std::fs::read(&weights).expect("written");
    bytes.pop();
    std::fs::write(&weights, bytes).expect("the folder is ours");
    assert_eq!(exit(&program, &[&path], &input).0, Some(66));
}

#[test]
fn processors_run_what_they_can_and_refuse_the_rest() {
    let test = "other processors";
    for (name, emulator, all) in [
        (
            "x86_64-linux",
            "qemu-x86_64",
            &[
                (&["x86-64-v3"][..], "Haswell", true),
                (&["x86-64-v3", "x86-64-v4"], "Haswell", true),
                (&["x86-64-v3", "x86-64-v4+vnni", "x86-64-v4+vbmi"], "Haswell", true),
                (&["x86-64-v4"], "Haswell", false),
                (&["x86-64-v3"], "Nehalem", false),
                (&["x86-64-v3", "x86-64-v4"], "Nehalem", false),
            ][..],
        ),
        (
            "aarch64-linux",
            "qemu-aarch64",
            &[
                (&["armv8"][..], "cortex-a53", true),
                (&["armv8", "armv8+dotprod", "armv8+i8mm"], "cortex-a53", true),
                (&["armv8", "armv8+dotprod", "armv8+i8mm"], "cortex-a76", true),
                (&["armv8", "armv8+dotprod", "armv8+i8mm"], "max", true),
                (&["armv8+dotprod"], "cortex-a53", false),
                (&["armv8+dotprod"], "cortex-a76", true),
                (&["armv8+i8mm"], "cortex-a76", false),
                (&["armv8+dotprod", "armv8+i8mm"], "cortex-a53", false),
            ],
        ),
    ] {
        if have(emulator, test) {
            processors(target::target(name).expect("it is in the table"), emulator, all);
        }
    }
}

/// Levels of an artifact, a processor, and whether it runs there.
fn processors(target: &'static Target, emulator: &str, all: &[(&[&str], &str, bool)]) {
    let levels = |words: &[&str]| target.cpu(&words.iter().map(|w| w.to_string()).collect::<Vec<_>>()).expect("there are such levels");
    let on = |cpu: &str| Runner::parse(&format!("{emulator} -cpu {cpu}")).expect("no quotes");
    for &(words, cpu, runs) in all {
        let options = Options::new(target, levels(words), "digits");
        let graph = house::import(&house::digits(), &options).expect("the model is right");
        let image = house::made_up(&graph, 12);
        let wanted = one(oracle(&graph, &image).expect("right inputs"));
        let built = machine::build(graph, &options, None, &()).expect("it compiles");
        match Machine::new(&built, &on(cpu)).expect("it is written").run(&image) {
            Ok(got) if runs => close(&got[0].1, &wanted),
            Err(Error::Status { status: 5, .. }) if !runs => {}
            other => panic!("{words:?} on {cpu}: {other:?}"),
        }
    }
}

#[test]
fn digits_are_small_compile_at_once_and_start_at_once() {
    let Some(level) = native("size and cold start") else { return };
    let both = both(level);
    let constants = both.digits.order().into_iter().filter_map(|id| match both.digits.op(id) {
        Op::Const { tensor } => Some((tensor.elements() * tensor.dtype().bytes()) as u64),
        _ => None,
    });
    let weights: u64 = constants.sum();
    let bytes = std::fs::metadata(both.path("libdigits.a")).expect("written").len();
    println!("libdigits.a: {bytes} bytes, {weights} of weights and {} of all else", bytes.saturating_sub(weights));
    assert!(bytes < weights + (64 << 10), "{bytes} bytes, {weights} of them weights");

    let (program, input) = (both.path("digits"), house::made_up(&both.digits, 13)[0].bytes());
    let cold = || {
        let start = Instant::now();
        assert_eq!(exit(&program, &[], &input).0, Some(0));
        start.elapsed()
    };
    let compile = || {
        let start = Instant::now();
        let mut command = both.c(env!("CARGO_BIN_EXE_maquette-tested"), &["compile", "-o", "again"]);
        must(command.arg(house::digits()));
        start.elapsed()
    };
    // the best of many: what else the machine does is not ours
    let cold = (0..40).map(|_| cold()).min().expect("there are some");
    let compile = (0..10).map(|_| compile()).min().expect("there are some");
    println!("digits, from start to first answer: {} microseconds; compiled in {}", cold.as_micros(), compile.as_micros());
    assert!(cold < Duration::from_millis(3), "{cold:?}");
    assert!(compile < Duration::from_millis(100), "{compile:?}");
}
