//! What the data may do to a run, on every machine: indices out of range are a status; dividing integers by zero, the smallest by -1,
//! shifting by the width, turning what is no number into an integer give what the documents say; nothing at all is computed
//! as well as something.

use ir::{Dtype, Tensor};
use maquette::error::Error;
use maquette::machine::{self, Machine};
use tests::house;
use tests::suite::oracle;

/// A graph, its inputs, and what comes of it: tensors, or a status.
struct Case {
    what: String,
    graph: String,
    inputs: Vec<Tensor>,
    want: Result<Vec<Tensor>, i32>,
}

fn integers(dtype: Dtype, values: &[i64]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()[..dtype.bytes()].to_vec()).collect();
    Tensor::dense(dtype, &[values.len()], bytes)
}

/// `body` over two lists of integers.
fn pairs(dtype: Dtype, body: &str, a: &[i64], b: &[i64], want: &[i64]) -> Case {
    let (n, name) = (a.len(), dtype.name());
    Case {
        what: format!("{body} of {name}"),
        graph: format!(
            "graph {{ %a: {name}[{n}] = input \"a\" %b: {name}[{n}] = input \"b\" %y = map %a, %b do {{ {body} }} return %y \"y\" }}"
        ),
        inputs: vec![integers(dtype, a), integers(dtype, b)],
        want: Ok(vec![integers(dtype, want)]),
    }
}

fn divisions() -> Vec<Case> {
    let mut cases = Vec::new();
    for (dtype, bits) in [(Dtype::I8, 8), (Dtype::I16, 16), (Dtype::I32, 32), (Dtype::I64, 64)] {
        let least = i64::MIN >> (64 - bits);
        let (a, b) = ([7, -7, least, least, 0, least, 5, -5], [0, 0, -1, 1, 0, 0, 3, 3]);
        cases.push(pairs(dtype, "div(a, b)", &a, &b, &[0, 0, least, least, 0, 0, 1, -1]));
        cases.push(pairs(dtype, "rem(a, b)", &a, &b, &[0, 0, 0, 0, 0, 0, 2, -2]));
        cases.push(pairs(dtype, "mod(a, b)", &a, &b, &[0, 0, 0, 0, 0, 0, 2, 1]));
        let width = i64::from(bits);
        cases.push(pairs(dtype, "shr(a, b)", &[-8, 8, -1, 3], &[width, width, width + 1, 1], &[-1, 0, -1, 1]));
    }
    for (dtype, bits) in [(Dtype::U8, 8), (Dtype::U16, 16), (Dtype::U32, 32), (Dtype::U64, 64)] {
        cases.push(pairs(dtype, "div(a, b)", &[7, 0, -1, 9], &[0, 0, 0, 4], &[0, 0, 0, 2]));
        cases.push(pairs(dtype, "rem(a, b)", &[7, 0, -1, 9], &[0, 0, 0, 4], &[0, 0, 0, 1]));
        let width = i64::from(bits);
        cases.push(pairs(dtype, "shl(a, b)", &[1, 3, 5, 1], &[width, width + 1, 1, width - 1], &[0, 0, 10, 1 << (bits - 1)]));
        cases.push(pairs(dtype, "shr(a, b)", &[-1, -1, 5, 4], &[width, width + 1, 1, 2], &[0, 0, 2, 1]));
    }
    cases
}

fn conversions() -> Vec<Case> {
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, -0.9, 2.9, -2.9];
    let types = [Dtype::I8, Dtype::U8, Dtype::I16, Dtype::U16, Dtype::I32, Dtype::U32, Dtype::I64, Dtype::U64];
    let case = |dtype: Dtype| {
        let bits = 8 * dtype.bytes() as u32;
        let signed = dtype.name().starts_with('i');
        let (least, most) = if signed { (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits)) } else { (0, -1) };
        let below = if signed { -2 } else { 0 };
        Case {
            what: format!("floats to {}", dtype.name()),
            graph: format!("graph {{ %x: f32[8] = input \"x\" %y = map %x do {{ cast.{}(a) }} return %y \"y\" }}", dtype.name()),
            inputs: vec![Tensor::f32s(&[8], &values)],
            want: Ok(vec![integers(dtype, &[0, most, least, most, least, 0, 2, below])]),
        }
    };
    types.map(case).into()
}

fn indices() -> Vec<Case> {
    let x = Tensor::f32s(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let gather = "graph { %x: f32[3,2] = input \"x\" %i: i64[2] = input \"i\" %y = gather %x, %i {axis=0} return %y \"y\" }";
    let scatter = "graph { %x: f32[3,2] = input \"x\" %i: i64[1] = input \"i\" %u: f32[1,2] = input \"u\"
        %y = scatter %x, %i, %u {kind=set} return %y \"y\" }";
    let mut cases = Vec::new();
    for (list, want) in [
        (vec![-3, 2], Ok(vec![Tensor::f32s(&[2, 2], &[1.0, 2.0, 5.0, 6.0])])),
        (vec![0, 3], Err(4)),
        (vec![-4, 0], Err(4)),
        (vec![i64::MAX, 0], Err(4)),
        (vec![0, i64::MIN], Err(4)),
        (vec![1 << 32, 0], Err(4)),
    ] {
        cases.push(Case { what: format!("rows {list:?}"), graph: gather.into(), inputs: vec![x.clone(), Tensor::i64s(&[2], &list)], want });
    }
    let row = Tensor::f32s(&[1, 2], &[7.0, 8.0]);
    for (at, want) in [
        (1, Ok(vec![Tensor::f32s(&[3, 2], &[1.0, 2.0, 7.0, 8.0, 5.0, 6.0])])),
        (3, Err(4)),
        (i64::MIN, Err(4)),
        (i64::MAX, Err(4)),
        (1 << 32, Err(4)),
    ] {
        let inputs = vec![x.clone(), Tensor::i64s(&[1], &[at]), row.clone()];
        cases.push(Case { what: format!("row {at} put"), graph: scatter.into(), inputs, want });
    }
    cases
}

/// Nothing, of shapes that do not vary and of one that does.
fn emptiness() -> Vec<Case> {
    let none = |shape: &[usize]| Tensor::f32s(shape, &[]);
    let case = |what: &str, graph: &str, inputs: Vec<Tensor>, want: Tensor| Case {
        what: what.into(),
        graph: graph.into(),
        inputs,
        want: Ok(vec![want]),
    };
    vec![
        case(
            "a map of nothing",
            "graph { %x: f32[0,3] = input \"x\" %y = map %x do { exp(a) } return %y \"y\" }",
            vec![none(&[0, 3])],
            none(&[0, 3]),
        ),
        case(
            "a sum of nothing",
            "graph { %x: f32[2,0] = input \"x\" %y = reduce %x {kind=sum, axes=[1]} return %y \"y\" }",
            vec![none(&[2, 0])],
            Tensor::f32s(&[2, 1], &[0.0, 0.0]),
        ),
        case(
            "the largest of nothing",
            "graph { %x: f32[2,0] = input \"x\" %y = reduce %x {kind=max, axes=[1]} return %y \"y\" }",
            vec![none(&[2, 0])],
            Tensor::f32s(&[2, 1], &[f32::NEG_INFINITY; 2]),
        ),
        case(
            "a product over nothing",
            "graph { %a: f32[2,0] = input \"a\" %b: f32[0,3] = input \"b\" %y = dot %a, %b {trans_a=false, trans_b=false} return %y \"y\" }",
            vec![none(&[2, 0]), none(&[0, 3])],
            Tensor::f32s(&[2, 3], &[0.0; 6]),
        ),
        case(
            "nothing before something",
            "graph { %a: f32[0,2] = input \"a\" %b: f32[1,2] = input \"b\" %y = concat %a, %b {axis=0} return %y \"y\" }",
            vec![none(&[0, 2]), Tensor::f32s(&[1, 2], &[1.0, 2.0])],
            Tensor::f32s(&[1, 2], &[1.0, 2.0]),
        ),
        case(
            "rows of which there are none today",
            "graph { symbol n in 0..5 %x: f32[n,3] = input \"x\" %y = reduce %x {kind=sum, axes=[0]} return %y \"y\" }",
            vec![none(&[0, 3])],
            Tensor::f32s(&[1, 3], &[0.0; 3]),
        ),
        case(
            "shares of nothing",
            "graph { symbol n in 0..5 %x: f32[2,n] = input \"x\" %y = softmax %x {axis=1, log=false} return %y \"y\" }",
            vec![none(&[2, 0])],
            none(&[2, 0]),
        ),
    ]
}

/// What ran, or the status.
fn came(result: maquette::error::Result<Vec<Tensor>>) -> Result<Vec<Tensor>, i32> {
    result.map_err(|error| match error {
        Error::Status { status, .. } => status,
        other => panic!("no status: {other}"),
    })
}

#[test]
fn data_does_the_same_on_every_machine() {
    let cases: Vec<Case> = [divisions(), conversions(), indices(), emptiness()].into_iter().flatten().collect();
    let parse = |case: &Case| ir::graph::text::parse(&case.graph, &|_| None).unwrap_or_else(|why| panic!("{}: {why:?}", case.what));
    let same = |got: &Result<Vec<Tensor>, i32>, want: &Result<Vec<Tensor>, i32>| match (got, want) {
        (Ok(got), Ok(want)) => got.iter().map(|t| (t.ty(), t.bytes())).eq(want.iter().map(|t| (t.ty(), t.bytes()))),
        (got, want) => got.as_ref().err() == want.as_ref().err(),
    };
    for case in &cases {
        let got = came(oracle(&parse(case), &case.inputs));
        assert!(same(&got, &case.want), "{}, interpreted: {got:?}, not {:?}", case.what, case.want);
    }
    for place in house::places("what data does") {
        let wrong = house::each(&cases, |case| {
            let built = machine::build(parse(case), &place.options("data"), None, &()).expect("it compiles");
            let ran = Machine::new(&built, &place.runner).and_then(|machine| machine.run(&case.inputs));
            let got = came(ran.map(|outputs| outputs.into_iter().map(|(_, tensor)| tensor).collect()));
            (!same(&got, &case.want)).then(|| format!("{}: {got:?}, not {:?}", case.what, case.want))
        });
        let wrong: Vec<String> = wrong.into_iter().flatten().collect();
        assert!(wrong.is_empty(), "{}:\n{}", place.level.name, wrong.join("\n"));
    }
}
