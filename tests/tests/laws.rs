//! What the pages promise for data that other compilers leave undefined: one table, and every row is the same in the
//! interpreter and on every machine that can be run here. Nothing traps.

use ir::graph::{eval, text};
use ir::{Graph, Tensor};
use maquette::error::Error;
use maquette::machine::{self, Machine};
use tests::differ::beside;
use tests::house;

/// What comes out: an output as text, or a status.
enum Wanted {
    Is(&'static str),
    Status(i32),
}
use Wanted::{Is, Status};

/// A graph with the inputs `a`, `b`, `c`, as many as there are tensors behind it.
struct Law(&'static str, &'static [&'static str], Wanted);

const LAWS: &[Law] = &[
    // dividing integers by zero gives 0, the smallest over -1 is itself (docs/decisions/division-by-zero.md)
    Law("%y = map %a, %b do { div(a, b) }", &["i8[5] [7,-7,-128,-128,0]", "i8[5] [0,0,-1,0,0]"], Is("i8[5] [0,0,-128,0,0]")),
    Law("%y = map %a, %b do { div(a, b) }", &["i16[3] [7,-32768,-7]", "i16[3] [0,-1,2]"], Is("i16[3] [0,-32768,-3]")),
    Law("%y = map %a, %b do { div(a, b) }", &["i32[3] [7,-2147483648,-7]", "i32[3] [0,-1,2]"], Is("i32[3] [0,-2147483648,-3]")),
    Law(
        "%y = map %a, %b do { div(a, b) }",
        &["i64[3] [7,-9223372036854775808,-7]", "i64[3] [0,-1,2]"],
        Is("i64[3] [0,-9223372036854775808,-3]"),
    ),
    Law("%y = map %a, %b do { div(a, b) }", &["u8[2] [255,7]", "u8[2] [0,2]"], Is("u8[2] [0,3]")),
    Law("%y = map %a, %b do { div(a, b) }", &["u64[2] [18446744073709551615,7]", "u64[2] [0,2]"], Is("u64[2] [0,3]")),
    Law("%y = map %a, %b do { rem(a, b) }", &["i32[4] [7,-2147483648,-7,7]", "i32[4] [0,-1,2,-2]"], Is("i32[4] [0,0,-1,1]")),
    Law("%y = map %a, %b do { mod(a, b) }", &["i32[4] [7,-2147483648,-7,7]", "i32[4] [0,-1,2,-2]"], Is("i32[4] [0,0,1,-1]")),
    Law("%y = map %a, %b do { mod(a, b) }", &["i64[3] [7,-9223372036854775808,-7]", "i64[3] [0,-1,2]"], Is("i64[3] [0,0,1]")),
    Law("%y = map %a, %b do { rem(a, b) }", &["u32[2] [4294967295,7]", "u32[2] [0,4]"], Is("u32[2] [0,3]")),
    Law("%y = map %a do { neg(a) }", &["i8[2] [-128,5]"], Is("i8[2] [-128,-5]")),
    Law("%y = map %a do { abs(a) }", &["i64[2] [-9223372036854775808,-5]"], Is("i64[2] [-9223372036854775808,5]")),
    // an integer to a negative power is what remains of its inverse
    Law("%y = map %a, %b do { pow(a, b) }", &["i32[5] [2,1,-1,0,3]", "i32[5] [-1,-5,-3,-1,4]"], Is("i32[5] [0,1,-1,0,81]")),
    // shifts by the width or more
    Law("%y = map %a, %b do { shl(a, b) }", &["u8[4] [1,1,255,255]", "u8[4] [7,8,200,255]"], Is("u8[4] [128,0,0,0]")),
    Law("%y = map %a, %b do { shr(a, b) }", &["u32[3] [4294967295,4294967295,8]", "u32[3] [31,32,64]"], Is("u32[3] [1,0,0]")),
    Law("%y = map %a, %b do { shr(a, b) }", &["i32[4] [-8,-8,8,-1]", "i32[4] [1,32,33,64]"], Is("i32[4] [-4,-1,0,-1]")),
    Law("%y = map %a, %b do { shl(a, b) }", &["u64[3] [1,1,1]", "u64[3] [63,64,65]"], Is("u64[3] [9223372036854775808,0,0]")),
    Law("%y = map %a, %b do { shr(a, b) }", &["u16[3] [65535,65535,65535]", "u16[3] [15,16,65535]"], Is("u16[3] [1,0,0]")),
    // floats to integers saturate, NaN gives 0
    Law("%y = map %a do { cast.i8(a) }", &["f32[7] [nan,inf,-inf,300.7,-300.7,-0.5,127.9]"], Is("i8[7] [0,127,-128,127,-128,0,127]")),
    Law("%y = map %a do { cast.u8(a) }", &["f32[6] [nan,inf,-inf,255.9,-1.0,256.0]"], Is("u8[6] [0,255,0,255,0,255]")),
    Law("%y = map %a do { cast.i16(a) }", &["f32[4] [nan,1e9,-1e9,-3.9]"], Is("i16[4] [0,32767,-32768,-3]")),
    Law(
        "%y = map %a do { cast.i32(a) }",
        &["f32[5] [nan,inf,-inf,3e9,-3e9]"],
        Is("i32[5] [0,2147483647,-2147483648,2147483647,-2147483648]"),
    ),
    Law("%y = map %a do { cast.u32(a) }", &["f32[4] [nan,5e9,-5e9,3e9]"], Is("u32[4] [0,4294967295,0,3000000000]")),
    Law(
        "%y = map %a do { cast.i64(a) }",
        &["f64[4] [nan,1e300,-1e300,-2.5]"],
        Is("i64[4] [0,9223372036854775807,-9223372036854775808,-2]"),
    ),
    Law("%y = map %a do { cast.u64(a) }", &["f64[4] [nan,1e300,-1.0,2.5]"], Is("u64[4] [0,18446744073709551615,0,2]")),
    Law("%y = map %a do { cast.i32(a) }", &["f16[3] [nan,inf,-inf]"], Is("i32[3] [0,2147483647,-2147483648]")),
    Law("%y = map %a do { cast.bool(a) }", &["f32[4] [nan,0.0,-0.0,1e-40]"], Is("bool[4] [true,false,false,true]")),
    // the integers below eight bits take the low ones
    Law("%y = map %a do { cast.i4(a) }", &["i32[4] [7,8,-9,255]"], Is("i4[4] [7,-8,7,-1]")),
    Law("%y = map %a do { cast.u2(a) }", &["i32[4] [3,4,-1,6]"], Is("u2[4] [3,0,3,2]")),
    // integers wrap
    Law("%y = map %a, %b do { add(a, b) }", &["i32[2] [2147483647,-2147483648]", "i32[2] [1,-1]"], Is("i32[2] [-2147483648,2147483647]")),
    Law("%y = map %a, %b do { mul(a, b) }", &["u8[2] [200,16]", "u8[2] [2,16]"], Is("u8[2] [144,0]")),
    Law("%y = reduce %a {kind=sum, axes=[0]}", &["i8[3] [100,100,100]"], Is("i8[1] [44]")),
    // min and max propagate NaN; which of two zeros they give is open
    Law("%y = map %a, %b do { max(a, b) }", &["f32[4] [nan,1.0,-1.0,-inf]", "f32[4] [1.0,nan,0.0,nan]"], Is("f32[4] [nan,nan,0.0,nan]")),
    Law("%y = map %a, %b do { min(a, b) }", &["f32[3] [nan,inf,-0.0]", "f32[3] [1.0,nan,-0.0]"], Is("f32[3] [nan,nan,-0.0]")),
    Law("%y = reduce %a {kind=max, axes=[0]}", &["f32[3] [1.0,nan,inf]"], Is("f32[1] [nan]")),
    Law("%y = argreduce %a {kind=max, axis=0, last=false}", &["f32[4] [1.0,nan,inf,nan]"], Is("i64[1] [1]")),
    Law("%y = sort %a {axis=0, descending=false}", &["f32[4] [nan,-0.0,0.0,-inf]"], Is("i64[4] [3,1,2,0]")),
    // empty tensors
    Law("%y = reduce %a {kind=sum, axes=[1]}", &["f32[2,0] []"], Is("f32[2,1] [0.0,0.0]")),
    Law("%y = reduce %a {kind=prod, axes=[1]}", &["f32[2,0] []"], Is("f32[2,1] [1.0,1.0]")),
    Law("%y = reduce %a {kind=max, axes=[0]}", &["f32[0] []"], Is("f32[1] [-inf]")),
    Law("%y = reduce %a {kind=min, axes=[0]}", &["i8[0] []"], Is("i8[1] [127]")),
    Law("%y = reduce %a {kind=max, axes=[0]}", &["u64[0] []"], Is("u64[1] [0]")),
    Law("%y = reduce %a {kind=sum, axes=[1]}", &["f32[0,3] []"], Is("f32[0,1] []")),
    Law("%y = dot %a, %b {trans_a=false, trans_b=false}", &["f32[2,0] []", "f32[0,2] []"], Is("f32[2,2] [0.0,0.0,0.0,0.0]")),
    Law("%y = dot %a, %b {trans_a=false, trans_b=false}", &["f32[0,3] []", "f32[3,2] [1.0,2.0,3.0,4.0,5.0,6.0]"], Is("f32[0,2] []")),
    Law("%y = concat %a, %b {axis=0}", &["i32[0] []", "i32[2] [4,5]"], Is("i32[2] [4,5]")),
    Law("%y = map %a, %b do { add(a, b) }", &["f32[0,3] []", "f32[3] [1.0,2.0,3.0]"], Is("f32[0,3] []")),
    Law("%y = softmax %a {axis=1, log=false}", &["f32[0,3] []"], Is("f32[0,3] []")),
    Law("%y = sort %a {axis=0, descending=true}", &["f32[0] []"], Is("i64[0] []")),
    Law("%y = cumulate %a {kind=sum, axis=0, exclusive=false, reverse=false}", &["f32[0] []"], Is("f32[0] []")),
    Law("%y = gather %a, %b {axis=0}", &["f32[3] [1.0,2.0,3.0]", "i64[0] []"], Is("f32[0] []")),
    Law("%y = scatter %a, %b, %c {kind=sum}", &["f32[2] [1.0,2.0]", "i64[0] []", "f32[0] []"], Is("f32[2] [1.0,2.0]")),
    Law("%y = transpose %a {perm=[1,0]}", &["f32[0,3] []"], Is("f32[3,0] []")),
    // an index that is out of range is a status, whatever its size
    Law("%y = gather %a, %b {axis=0}", &["f32[3] [1.0,2.0,3.0]", "i64[4] [-3,2,-1,0]"], Is("f32[4] [1.0,3.0,3.0,1.0]")),
    Law("%y = gather %a, %b {axis=0}", &["f32[3] [1.0,2.0,3.0]", "i64[1] [3]"], Status(4)),
    Law("%y = gather %a, %b {axis=0}", &["f32[3] [1.0,2.0,3.0]", "i64[1] [-4]"], Status(4)),
    Law("%y = gather %a, %b {axis=0}", &["f32[3] [1.0,2.0,3.0]", "i64[1] [-9223372036854775808]"], Status(4)),
    Law("%y = gather %a, %b {axis=0}", &["f32[3] [1.0,2.0,3.0]", "i64[1] [4294967296]"], Status(4)),
    Law("%y = gather %a, %b {axis=1}", &["i8[1,3] [1,2,3]", "i32[1] [-2147483648]"], Status(4)),
    Law("%y = gather %a, %b {axis=0}", &["f32[0] []", "i64[1] [0]"], Status(4)),
    Law("%y = scatter %a, %b, %c {kind=set}", &["f32[2] [1.0,2.0]", "i64[1] [2]", "f32[1] [5.0]"], Status(4)),
    Law("%y = scatter %a, %b, %c {kind=max}", &["f32[2] [1.0,2.0]", "i32[1] [-3]", "f32[1] [5.0]"], Status(4)),
    Law("%y = scatter %a, %b, %c {kind=sum}", &["i64[2] [1,2]", "i64[1] [9223372036854775807]", "i64[1] [5]"], Status(4)),
];

fn tensor(text: &str) -> Tensor {
    let mut lexer = ir::text::Lexer::new(text);
    text::parse_tensor(&mut lexer).unwrap_or_else(|error| panic!("{text}: {error}"))
}

impl Law {
    fn graph(&self) -> (Graph, Vec<Tensor>) {
        let tensors: Vec<Tensor> = self.1.iter().map(|text| tensor(text)).collect();
        let input = |(name, tensor): (char, &Tensor)| format!("%{name}: {} = input \"{name}\"\n", tensor.ty());
        let inputs: String = ('a'..).zip(&tensors).map(input).collect();
        let source = format!("graph {{ {inputs} {} return %y \"y\" }}", self.0);
        (text::parse(&source, &|_| None).unwrap_or_else(|error| panic!("{source}: {error}")), tensors)
    }
}

/// Like the text form, in which a NaN is a NaN and the zeros differ.
fn same(got: &Tensor, wanted: &str) -> bool {
    text::print_tensor(got) == text::print_tensor(&tensor(wanted))
}

#[test]
fn the_interpreter_keeps_the_laws() {
    for law in LAWS {
        let (graph, inputs) = law.graph();
        match (eval::eval(&graph, &inputs), &law.2) {
            (Ok(got), Is(wanted)) => assert!(same(&got[0], wanted), "{} of {:?}: {}", law.0, law.1, text::print_tensor(&got[0])),
            (Err(eval::EvalError::Data(_)), Status(4)) => {}
            (other, _) => panic!("{} of {:?}: {other:?}", law.0, law.1),
        }
    }
}

#[test]
fn every_machine_keeps_the_laws() {
    let laws = |status: bool| LAWS.iter().filter(move |law| matches!(law.2, Status(_)) == status);
    let places = house::places("laws");
    let wrong = house::each(&places, |place| {
        let mut wrong = Vec::new();
        let run = |graph: Graph, inputs: &[Tensor]| {
            let built = machine::build(graph, &place.options("model"), None, &())?;
            Machine::new(&built, &place.runner)?.run(inputs)
        };
        // all that have an answer in one program
        let (graph, inputs) = laws(false)
            .map(Law::graph)
            .reduce(|(all, mut inputs), (graph, more)| {
                inputs.extend(more);
                (beside(&all, &graph), inputs)
            })
            .expect("there are some");
        match run(graph, &inputs) {
            Ok(outputs) => {
                assert_eq!(outputs.len(), laws(false).count());
                for (law, (_, got)) in laws(false).zip(&outputs) {
                    if let Is(wanted) = law.2
                        && !same(got, wanted)
                    {
                        wrong.push(format!("{}: {} of {:?}: {}", place.level.name, law.0, law.1, text::print_tensor(got)));
                    }
                }
            }
            Err(error) => wrong.push(format!("{}: {error}", place.level.name)),
        }
        for law in laws(true) {
            let (graph, inputs) = law.graph();
            match (run(graph, &inputs), &law.2) {
                (Err(Error::Status { status, .. }), Status(wanted)) if status == *wanted => {}
                (other, _) => wrong.push(format!("{}: {} of {:?}: {:?}", place.level.name, law.0, law.1, other.map(|_| "an answer"))),
            }
        }
        wrong
    });
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    println!("laws: {} rows on {} machines", LAWS.len(), places.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
