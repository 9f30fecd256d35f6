//! Whole models, from bytes that another implementation wrote to graphs, faults and results.

mod writer;

use frontend::{Extent, Options};
use ir::scalar::Literal;
use ir::{Dim, Dtype, Op, Tensor};
use onnx_protobuf::attribute_proto::AttributeType;
use writer::*;

fn x(dims: &[&str]) -> Vec<onnx_protobuf::ValueInfoProto> {
    vec![value("x", FLOAT, dims)]
}

fn y(dims: &[&str]) -> Vec<onnx_protobuf::ValueInfoProto> {
    vec![value("y", FLOAT, dims)]
}

fn counted(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    Tensor::f32s(shape, &(0..count).map(|i| i as f32).collect::<Vec<_>>())
}

#[test]
fn a_convolution_stands_between_transposes_and_its_weights_stay_where_they_lie() {
    let nodes = vec![
        node("Conv", &["x", "w", "b"], &["c"], vec![ints("pads", &[1, 1, 1, 1]), ints("strides", &[2, 2])]),
        node("Relu", &["c"], &["y"], vec![]),
    ];
    let written = model(13, graph(x(&["1", "2", "5", "5"]), nodes, y(&["1", "3", "3", "3"])))
        .constants(vec![floats_tensor("w", &[3, 2, 3, 3], &[0.5; 54]), floats_tensor("b", &[3], &[1.0, 2.0, 3.0])]);
    let file = written.bytes();
    let import = frontend::import(file.clone(), &frontend::NoFiles, &Options::default()).expect("the model is valid");
    let graph = &import.graph;
    let mnemonics: Vec<&str> = graph.order().into_iter().map(|id| graph.op(id).mnemonic()).collect();
    assert_eq!(mnemonics, ["input", "const", "transpose", "const", "conv", "map", "transpose", "map"]);
    let weights = graph.order().into_iter().find_map(|id| graph.as_const(id).filter(|t| t.shape().len() == 4)).expect("there are weights");
    assert_eq!(weights.shape(), [3, 3, 2, 3]);
    assert!(file.as_ptr_range().contains(&weights.permute(&[3, 2, 0, 1]).bytes().as_ptr()));
}

#[test]
fn shape_arithmetic_keeps_named_dimensions() {
    let nodes = vec![
        node("Shape", &["x"], &["s"], vec![]),
        node("Gather", &["s", "zero"], &["n"], vec![int("axis", 0)]),
        node("Mul", &["n", "two"], &["m"], vec![]),
        node("Unsqueeze", &["m", "first"], &["u"], vec![]),
        node("Concat", &["u", "rest"], &["t"], vec![int("axis", 0)]),
        node("Reshape", &["x", "t"], &["y"], vec![]),
    ];
    let written = model(13, graph(x(&["n", "4"]), nodes, y(&["m", "2"]))).constants(vec![
        ints_tensor("zero", &[], &[0]),
        ints_tensor("two", &[], &[2]),
        ints_tensor("first", &[1], &[0]),
        ints_tensor("rest", &[1], &[-1]),
    ]);
    let options = Options { dims: [("n".to_string(), Extent::Range(1, 9))].into(), ..Options::default() };
    let import = written.import(&options).expect("the dimensions are known");
    let (_, output) = import.graph.outputs()[0];
    assert_eq!(import.graph.ty(output).shape, [Dim::symbol("n") * Dim::from(2i64), Dim::from(2i64)]);
    assert_eq!(import.graph.symbols.get("n"), Some(&(1, 9)));
    // Without a word from the user the leading dimension is one, and that is said.
    let import = written.import(&Options::default()).expect("the leading dimension is 1");
    assert_eq!(import.graph.ty(import.graph.outputs()[0].1).fixed(), Some(vec![2, 2]));
    assert_eq!(import.notes.len(), 1);
}

#[test]
fn dimensions_can_be_used_as_data() {
    let nodes = vec![
        node("Shape", &["x"], &["s"], vec![]),
        node("Cast", &["s"], &["f"], vec![int("to", 1)]),
        node("ReduceMax", &["f"], &["y"], vec![int("keepdims", 0)]),
    ];
    let written = model(13, graph(x(&["n", "4"]), nodes, y(&[])));
    let options = Options { dims: [("n".to_string(), Extent::Range(0, 9))].into(), ..Options::default() };
    let import = written.import(&options).expect("they are counted");
    assert!(import.graph.order().iter().any(|&id| matches!(import.graph.op(id), Op::Reduce { .. })));
    assert_eq!(import.graph.ty(import.graph.outputs()[0].1).rank(), 0);
}

#[test]
fn arithmetic_on_dimensions_has_ends() {
    let options = Options { dims: [("n".to_string(), Extent::Range(1, 4))].into(), ..Options::default() };
    let of = |nodes: Vec<onnx_protobuf::NodeProto>| {
        let all = [vec![node("Shape", &["x"], &["t0"], vec![])], nodes, vec![node("Reshape", &["x", "t12"], &["y"], vec![])]].concat();
        let lists = vec![ints_tensor("one", &[1], &[1]), ints_tensor("far", &[1], &[1 << 61]), ints_tensor("three", &[3], &[1, 2, 3])];
        model(13, graph(x(&["n"]), all, y(&["m"]))).constants(lists)
    };
    // a polynomial that is squared over and over
    let squares = (0..12).map(|i| {
        let (from, to) = (format!("t{i}"), format!("t{}", i + 1));
        let more = format!("more{i}");
        vec![node("Add", &[&from, "one"], &[&more], vec![]), node("Mul", &[&more, &more], &[&to], vec![])]
    });
    let faults = of(squares.flatten().collect()).faults(&options);
    assert!(faults.starts_with("Limit") && faults.contains("Mul") && faults.contains("terms and factors"), "{faults}");
    let far = vec![node("Mul", &["t0", "far"], &["a"], vec![]), node("Mul", &["a", "far"], &["t12"], vec![])];
    let faults = of(far).faults(&options);
    assert!(faults.starts_with("Limit") && faults.contains("2^62"), "{faults}");
    // lists that do not broadcast are refused as everywhere, those of nothing are equal in nothing
    let unlike = vec![node("Concat", &["t0", "t0"], &["a"], vec![int("axis", 0)]), node("Equal", &["a", "three"], &["t12"], vec![])];
    assert!(of(unlike).faults(&options).contains("do not broadcast"));
    let nodes = vec![node("Shape", &["x"], &["s"], vec![]), node("Equal", &["none", "s"], &["y"], vec![])];
    let nothing = model(13, graph(x(&["n"]), nodes, vec![value("y", BOOL, &["0"])])).constants(vec![ints_tensor("none", &[0], &[])]);
    let import = nothing.import(&options).expect("it has no elements");
    assert_eq!(import.graph.ty(import.graph.outputs()[0].1).fixed(), Some(vec![0]));
}

#[test]
fn everything_unsupported_is_told_at_once() {
    let nodes = vec![
        node("Frobnicate", &["x"], &["a"], vec![]),
        node("Relu", &["a"], &["b"], vec![]),
        node("Wobble", &["b"], &["c"], vec![]),
        node("Gelu", &["c"], &["y"], vec![]),
    ];
    let faults = model(13, graph(x(&["2"]), nodes, y(&["2"]))).faults(&Options::default());
    assert_eq!(
        faults,
        "Unsupported Frobnicate \"Frobnicate_a\": the operator Frobnicate is not supported\n\
         Unsupported Wobble \"Wobble_c\": the operator Wobble is not supported\n\
         Unsupported Gelu \"Gelu_y\": Gelu exists since opset 20, and the model uses opset 13\n"
    );
}

#[test]
fn faults_name_node_operator_and_reason() {
    let cases = [
        (node("Relu", &["x"], &["y"], vec![int("frobnicate", 1)]), "there is no attribute \"frobnicate\""),
        (node("Relu", &["x", "x"], &["y"], vec![]), "2 inputs"),
        (node("Relu", &["x"], &["y", "z"], vec![]), "2 outputs"),
        (node("Relu", &["ghost"], &["y"], vec![]), "\"ghost\" is not defined"),
        (node("Softmax", &["x"], &["y"], vec![words("axis", "one")]), "is a text, and must be a whole number"),
        (node("Transpose", &["x"], &["y"], vec![ints("perm", &[0, 0])]), "not a permutation"),
        (node("Concat", &["x", "x"], &["y"], vec![int("axis", 7)]), "no axis 7"),
        (node("Cast", &["x"], &["y"], vec![]), "\"to\" is missing"),
    ];
    for (node, wanted) in cases {
        let (name, op) = (node.name.clone(), node.op_type.clone());
        let faults = model(13, graph(x(&["2", "3"]), vec![node], y(&["2", "3"]))).faults(&Options::default());
        assert!(faults.starts_with(&format!("Invalid {op} \"{name}\": ")) && faults.contains(wanted), "{faults}");
    }
}

#[test]
fn declared_outputs_must_agree() {
    let relu = || vec![node("Relu", &["x"], &["y"], vec![])];
    let faults = model(13, graph(x(&["2", "3"]), relu(), y(&["2", "4"]))).faults(&Options::default());
    assert!(faults.contains("\"y\": its shape is declared as [2,4], and is f32[2,3]"), "{faults}");
    let faults = model(13, graph(x(&["2"]), relu(), vec![value("y", INT64, &["2"])])).faults(&Options::default());
    assert!(faults.contains("declared as i64, and is f32"), "{faults}");
    assert!(model(13, graph(x(&["2", "3"]), relu(), y(&["rows", "3"]))).import(&Options::default()).is_ok());
}

#[test]
fn functions_are_inlined_with_the_attributes_of_the_call() {
    let body = vec![
        node("LeakyRelu", &["a"], &["t"], vec![reference("alpha", "slope", AttributeType::FLOAT)]),
        node("Neg", &["t"], &["b"], vec![]),
    ];
    let nodes = vec![call("Leak", &["x"], &["y"], vec![float("slope", 0.5)])];
    let written = model(17, graph(x(&["3"]), nodes, y(&["3"]))).functions(vec![function("Leak", &["a"], &["b"], &["slope"], body)]);
    let made = written.run(&[Tensor::f32s(&[3], &[-2.0, 0.0, 3.0])]);
    assert_eq!(made[0].to_f32s(), [1.0, 0.0, -3.0]);
    let import = written.import(&Options::default()).expect("the model is valid");
    let (_, output) = import.graph.outputs()[0];
    assert_eq!(import.graph.label(output), "Leak_y/Neg_b");
}

#[test]
fn functions_that_call_themselves_or_explode_are_refused() {
    let again = |to: &str| vec![call(to, &["a"], &["b"], vec![])];
    let nodes = || vec![call("F", &["x"], &["y"], vec![])];
    let written = model(17, graph(x(&["3"]), nodes(), y(&["3"])))
        .functions(vec![function("F", &["a"], &["b"], &[], again("G")), function("G", &["a"], &["b"], &[], again("F"))]);
    assert!(written.faults(&Options::default()).contains("the function F calls itself"));
    let mut functions = vec![function("L0", &["a"], &["b"], &[], vec![node("Relu", &["a"], &["b"], vec![])])];
    for level in 1..8 {
        let below = format!("L{}", level - 1);
        let names: Vec<String> =
            std::iter::once("a".to_string()).chain((1..10).map(|i| format!("v{i}"))).chain(["b".to_string()]).collect();
        let body = (0..10).map(|i| call(&below, &[&names[i]], &[&names[i + 1]], vec![])).collect();
        functions.push(function(&format!("L{level}"), &["a"], &["b"], &[], body));
    }
    let written = model(17, graph(x(&["3"]), vec![call("L7", &["x"], &["y"], vec![])], y(&["3"]))).functions(functions);
    let faults = written.faults(&Options::default());
    assert!(faults.starts_with("Limit ") && faults.lines().count() == 1, "{faults}");
}

#[test]
fn a_known_condition_picks_its_branch() {
    let branch = |op: &str| graph(vec![], vec![node(op, &["x"], &["r"], vec![])], vec![value("r", FLOAT, &["2"])]);
    let nodes = vec![node(
        "If",
        &["c"],
        &["y"],
        vec![graph_attribute("then_branch", branch("Neg")), graph_attribute("else_branch", branch("Abs"))],
    )];
    let inputs = vec![value("x", FLOAT, &["2"]), value("c", BOOL, &[])];
    let written = model(13, graph(inputs, nodes, y(&["2"])));
    // what is not known is picked from both
    let open = written.import(&Options::default()).expect("both branches have one type");
    for (condition, wanted) in [(1u8, [1.0, -2.0]), (0, [1.0, 2.0])] {
        let condition = Tensor::dense(ir::Dtype::Bool, &[], vec![condition]);
        let made = ir::graph::eval::eval(&open.graph, &[Tensor::f32s(&[2], &[-1.0, 2.0]), condition.clone()]).expect("the inputs fit");
        assert_eq!(made[0].to_f32s(), wanted);
        let options = Options { bind: [("c".to_string(), condition)].into(), ..Options::default() };
        let import = written.import(&options).expect("the condition is known");
        let made = ir::graph::eval::eval(&import.graph, &[Tensor::f32s(&[2], &[-1.0, 2.0])]).expect("the input fits");
        assert_eq!(made[0].to_f32s(), wanted);
    }
}

#[test]
fn bindings_must_exist_and_fit() {
    let written = model(13, graph(x(&["2"]), vec![node("Neg", &["x"], &["y"], vec![])], y(&["2"])));
    let bind = |name: &str, tensor: Tensor| Options { bind: [(name.to_string(), tensor)].into(), ..Options::default() };
    assert!(written.faults(&bind("z", counted(&[2]))).contains("there is no input \"z\" to bind (the inputs are x)"));
    assert!(written.faults(&bind("x", counted(&[3]))).starts_with("Usage \"x\": the bound array does not fit"));
    let import = written.import(&bind("x", counted(&[2]))).expect("it fits");
    assert_eq!(import.graph.inputs(), []);
}

#[test]
fn old_spellings_mean_the_same_graph() {
    let old = model(11, graph(x(&["2", "1"]), vec![node("Squeeze", &["x"], &["y"], vec![ints("axes", &[-1])])], y(&["2"])));
    let new = model(13, graph(x(&["2", "1"]), vec![node("Squeeze", &["x", "axes"], &["y"], vec![])], y(&["2"])))
        .constants(vec![ints_tensor("axes", &[1], &[-1])]);
    let named = |text: String| text.replace("Squeeze_", "");
    assert_eq!(named(old.text()), named(new.text()));
    let old = model(6, graph(x(&["2"]), vec![node("Clip", &["x"], &["y"], vec![float("min", 0.0), float("max", 6.0)])], y(&["2"])));
    let new = model(11, graph(x(&["2"]), vec![node("Clip", &["x", "low", "high"], &["y"], vec![])], y(&["2"])))
        .constants(vec![floats_tensor("low", &[], &[0.0]), floats_tensor("high", &[], &[6.0])]);
    assert_eq!(old.text(), new.text());
    // Before opset 13 softmax sees a matrix.
    let soft =
        |opset| model(opset, graph(x(&["2", "3", "4"]), vec![node("Softmax", &["x"], &["y"], vec![int("axis", 1)])], y(&["2", "3", "4"])));
    assert!(soft(11).text().contains("f32[2,12]") && !soft(13).text().contains("f32[2,12]"));
    // Before opset 7 the second operand lines up with an axis.
    let add = vec![node("Add", &["x", "b"], &["y"], vec![int("broadcast", 1), int("axis", 1)])];
    let written =
        model(6, graph(x(&["2", "3", "4"]), add, y(&["2", "3", "4"]))).constants(vec![floats_tensor("b", &[3], &[1.0, 2.0, 3.0])]);
    assert!(written.text().contains("f32[3,1]"));
}

#[test]
fn averages_divide_by_what_is_inside() {
    let pool = |ceil, include| {
        let attributes = vec![
            ints("kernel_shape", &[2]),
            ints("strides", &[2]),
            ints("pads", &[1, 0]),
            int("ceil_mode", ceil),
            int("count_include_pad", include),
        ];
        let nodes = vec![node("AveragePool", &["x"], &["y"], attributes)];
        model(19, graph(x(&["1", "1", "4"]), nodes, y(&["1", "1", "w"]))).run(&[Tensor::f32s(&[1, 1, 4], &[1.0, 2.0, 3.0, 4.0])])[0]
            .to_f32s()
    };
    assert_eq!(pool(0, 0), [1.0, 2.5]);
    assert_eq!(pool(0, 1), [0.5, 2.5]);
    assert_eq!(pool(1, 0), [1.0, 2.5, 4.0]);
    // The element that rounding up added never counts, the padding does.
    assert_eq!(pool(1, 1), [0.5, 2.5, 4.0]);
}

#[test]
fn the_places_of_maxima_count_in_the_whole_input() {
    let nodes = vec![node("MaxPool", &["x"], &["y", "i"], vec![ints("kernel_shape", &[2]), ints("strides", &[2]), ints("pads", &[1, 1])])];
    let outputs = vec![value("y", FLOAT, &["1", "2", "3"]), value("i", INT64, &["1", "2", "3"])];
    let made =
        model(12, graph(x(&["1", "2", "4"]), nodes, outputs)).run(&[Tensor::f32s(&[1, 2, 4], &[-5.0, 2.0, 9.0, 1.0, 0.0, 3.0, 2.0, 8.0])]);
    assert_eq!(made[0].to_f32s(), [-5.0, 9.0, 1.0, 0.0, 3.0, 8.0]);
    assert_eq!(made[1].to_i64s(), [0, 2, 3, 4, 5, 7]);
}

#[test]
fn slices_go_backwards_and_stop_at_the_ends() {
    let slice = |start: i64, end: i64, step: i64| {
        let written =
            model(13, graph(x(&["5"]), vec![node("Slice", &["x", "s", "e", "a", "t"], &["y"], vec![])], y(&["n"]))).constants(vec![
                ints_tensor("s", &[1], &[start]),
                ints_tensor("e", &[1], &[end]),
                ints_tensor("a", &[1], &[0]),
                ints_tensor("t", &[1], &[step]),
            ]);
        written.run(&[counted(&[5])])[0].to_f32s()
    };
    assert_eq!(slice(-1, i64::MIN, -2), [4.0, 2.0, 0.0]);
    assert_eq!(slice(1, i64::MAX, 3), [1.0, 4.0]);
    assert_eq!(slice(3, 3, 1), [] as [f32; 0]);
    assert_eq!(slice(9, 0, i64::MIN), [4.0]);
}

#[test]
fn einsum_takes_diagonals_sums_and_broadcasts() {
    let run = |equation: &str, shapes: &[&[usize]], out: &[&str]| {
        let names: Vec<String> = (0..shapes.len()).map(|i| format!("x{i}")).collect();
        let inputs = names
            .iter()
            .zip(shapes)
            .map(|(name, shape)| {
                let dims: Vec<String> = shape.iter().map(|n| n.to_string()).collect();
                value(name, FLOAT, &dims.iter().map(String::as_str).collect::<Vec<_>>())
            })
            .collect();
        let operands: Vec<&str> = names.iter().map(String::as_str).collect();
        let nodes = vec![node("Einsum", &operands, &["y"], vec![words("equation", equation)])];
        let tensors: Vec<Tensor> = shapes.iter().map(|s| counted(s)).collect();
        model(13, graph(inputs, nodes, y(out))).run(&tensors)[0].to_f32s()
    };
    assert_eq!(run("ii->i", &[&[3, 3]], &["3"]), [0.0, 4.0, 8.0]);
    assert_eq!(run("ij->", &[&[2, 3]], &[]), [15.0]);
    assert_eq!(run("ij,jk", &[&[2, 2], &[2, 2]], &["2", "2"]), [2.0, 3.0, 6.0, 11.0]);
    assert_eq!(run("...i,i->...", &[&[2, 3], &[3]], &["2"]), [5.0, 14.0]);
    assert_eq!(run("i,j->ji", &[&[2], &[3]], &["3", "2"]), [0.0, 0.0, 0.0, 1.0, 0.0, 2.0]);
    assert_eq!(run("i,i,i->", &[&[3], &[3], &[3]], &[]), [9.0]);
}

#[test]
fn indices_out_of_range_are_told_when_they_are_constant() {
    let nodes = || vec![node("Gather", &["x", "i"], &["y"], vec![])];
    let with = |index: i64| model(13, graph(x(&["3", "2"]), nodes(), y(&["1", "2"]))).constants(vec![ints_tensor("i", &[1], &[index])]);
    assert!(with(3).faults(&Options::default()).contains("the index 3 is out of range for 3 elements"));
    assert_eq!(with(-3).run(&[counted(&[3, 2])])[0].to_f32s(), [0.0, 1.0]);
}

#[test]
fn sizes_have_limits() {
    let mut nodes = vec![node("Concat", &["x", "x"], &["v0"], vec![int("axis", 0)])];
    for i in 0..60 {
        let (from, to) = (format!("v{i}"), format!("v{}", i + 1));
        nodes.push(node("Concat", &[&from, &from], &[&to], vec![int("axis", 0)]));
    }
    nodes.push(node("Relu", &["v60"], &["y"], vec![]));
    let faults = model(13, graph(x(&["2"]), nodes, y(&["n"]))).faults(&Options::default());
    assert!(faults.starts_with("Limit Concat \"Concat_v37\"") && faults.lines().count() == 1, "{faults}");
}

#[test]
fn a_chain_of_any_length_needs_no_stack() {
    let names: Vec<String> =
        std::iter::once("x".to_string()).chain((1..30_000).map(|i| format!("v{i}"))).chain(["y".to_string()]).collect();
    let nodes = names.windows(2).map(|w| node("Relu", &[&w[0]], &[&w[1]], vec![])).collect();
    let import = model(13, graph(x(&["2"]), nodes, y(&["2"]))).import(&Options::default()).expect("it is only long");
    assert_eq!(import.graph.len(), 30_001);
}

#[test]
fn two_outputs_of_one_name_are_refused() {
    let twice = [y(&["2"]), y(&["2"])].concat();
    let faults = model(13, graph(x(&["2"]), vec![node("Relu", &["x"], &["y"], vec![])], twice)).faults(&Options::default());
    assert!(faults.contains("y") && faults.contains("this output is declared twice"), "{faults}");
}

#[test]
fn softplus_and_mish_keep_their_small_values() {
    let inputs = [Tensor::f32s(&[5], &[-20.0, -5.0, 0.0, 3.0, f32::INFINITY])];
    let run = |op: &str| model(18, graph(x(&["5"]), vec![node(op, &["x"], &["y"], vec![])], y(&["5"]))).run(&inputs)[0].to_f32s();
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    for (i, x) in [-20.0f64, -5.0, 0.0, 3.0].into_iter().enumerate() {
        for (got, want) in [(run("Softplus")[i], softplus(x)), (run("Mish")[i], x * softplus(x).tanh())] {
            assert!((f64::from(got) - want).abs() <= 1e-6 * want.abs(), "{got} for {want}");
        }
    }
    assert_eq!((run("Softplus")[4], run("Mish")[4]), (f32::INFINITY, f32::INFINITY));
}

#[test]
fn rounding_up_keeps_one_window_that_is_larger_than_the_axis() {
    let pool = |op: &str, size: &[i64], dims: &[&str], values: &[f32], shape: &[usize]| {
        let attributes = vec![ints("kernel_shape", size), ints("strides", &vec![2; size.len()]), int("ceil_mode", 1)];
        let made = model(12, graph(x(dims), vec![node(op, &["x"], &["y"], attributes)], vec![value("y", FLOAT, &vec![""; dims.len()])]));
        let out = made.run(&[Tensor::f32s(shape, values)]).remove(0);
        (out.shape().to_vec(), out.to_f32s())
    };
    let row: Vec<f32> = (0..10).map(|i| i as f32).collect();
    assert_eq!(pool("MaxPool", &[3, 3], &["1", "1", "2", "5"], &row, &[1, 1, 2, 5]), (vec![1, 1, 1, 2], vec![7.0, 9.0]));
    assert_eq!(pool("MaxPool", &[2], &["2", "1", "1"], &[3.0, 4.0], &[2, 1, 1]), (vec![2, 1, 1], vec![3.0, 4.0]));
    assert_eq!(pool("AveragePool", &[3], &["1", "1", "2"], &[3.0, 5.0], &[1, 1, 2]), (vec![1, 1, 1], vec![4.0]));
}

#[test]
fn loops_are_unrolled_and_have_a_budget() {
    let body = |count: &str| {
        let inputs =
            vec![value("i", onnx_protobuf::tensor_proto::DataType::INT64 as i32, &[]), value("go", BOOL, &[]), value("s", FLOAT, &["2"])];
        let nodes = vec![node("Identity", &["go"], &["on"], vec![]), node("Add", &["s", "x"], &["t"], vec![])];
        let outputs = vec![value("on", BOOL, &[]), value("t", FLOAT, &["2"]), value("t", FLOAT, &["2"])];
        let turns = node("Loop", &[count, "", "x"], &["last", "y"], vec![graph_attribute("body", graph(inputs, nodes, outputs))]);
        model(13, graph(x(&["2"]), vec![turns], y(&["3", "2"]))).constants(vec![ints_tensor(
            count,
            &[],
            &[if count == "few" { 3 } else { 1 << 40 }],
        )])
    };
    let made = body("few").run(&[Tensor::f32s(&[2], &[1.0, -2.0])]).remove(0);
    assert_eq!(made.to_f32s(), [2.0, -4.0, 3.0, -6.0, 4.0, -8.0]);
    let options = Options { limits: frontend::Limits { nodes: 500, ..Default::default() }, ..Options::default() };
    let faults = body("many").faults(&options);
    assert!(faults.starts_with("Limit"), "{faults}");
}

#[test]
fn branches_that_read_at_indices_must_be_known() {
    let then = graph(vec![], vec![node("Gather", &["x", "at"], &["r"], vec![])], vec![value("r", FLOAT, &[])]);
    let other = graph(vec![], vec![node("ReduceSum", &["x"], &["r"], vec![int("keepdims", 0)])], vec![value("r", FLOAT, &[])]);
    let branch = node("If", &["c"], &["y"], vec![graph_attribute("then_branch", then), graph_attribute("else_branch", other)]);
    let int64 = onnx_protobuf::tensor_proto::DataType::INT64 as i32;
    let inputs = vec![value("x", FLOAT, &["2"]), value("c", BOOL, &[]), value("at", int64, &[])];
    let faults = model(13, graph(inputs, vec![branch], y(&[]))).faults(&Options::default());
    assert!(faults.starts_with("Unsupported If") && faults.contains("--bind c=FILE.npy"), "{faults}");
}

#[test]
fn a_branch_for_other_sizes_is_a_status_when_it_is_taken() {
    let shaped = |name: &str| {
        let nodes = vec![node("Reshape", &["x", name], &["r"], vec![])];
        graph(vec![], nodes, vec![value("r", FLOAT, &["a", "b"])])
    };
    let choice = |yes: &str, no: &str| {
        let attributes = vec![graph_attribute("then_branch", shaped(yes)), graph_attribute("else_branch", shaped(no))];
        let inputs = vec![value("x", FLOAT, &["6"]), value("c", BOOL, &[])];
        model(13, graph(inputs, vec![node("If", &["c"], &["y"], attributes)], y(&["a", "b"]))).constants(vec![
            ints_tensor("two", &[2], &[2, 3]),
            ints_tensor("eight", &[2], &[4, 2]),
            ints_tensor("ten", &[2], &[5, 2]),
        ])
    };
    let condition = |holds: u8| Tensor::dense(Dtype::Bool, &[], vec![holds]);
    for (written, fits, unfit) in [(choice("two", "eight"), 1, "else_branch"), (choice("eight", "two"), 0, "then_branch")] {
        let import = written.import(&Options::default()).expect("one branch fits");
        assert!(
            import.notes.iter().any(|note| note.contains("If") && note.contains(unfit) && note.contains("status 4")),
            "{:?}",
            import.notes
        );
        let ran = |holds| ir::graph::eval::eval(&import.graph, &[counted(&[6]), condition(holds)]);
        assert_eq!(ran(fits).expect("its sizes are these")[0].shape(), [2, 3]);
        assert!(ran(1 - fits).is_err());
    }
    // where neither fits there is nothing to compile, unless the condition is known
    let faults = choice("eight", "ten").faults(&Options::default());
    assert!(faults.contains("Reshape") && faults.contains("--bind c=FILE.npy"), "{faults}");
    let options = Options { bind: [("c".to_string(), condition(1))].into(), ..Options::default() };
    assert!(choice("two", "eight").import(&options).expect("one branch is left").notes.is_empty());
}

#[test]
fn sequences_exist_while_importing_only() {
    let at = |name: &str, i: i64| ints_tensor(name, &[], &[i]);
    let nodes = vec![
        node("SplitToSequence", &["x", "two"], &["s"], vec![]),
        node("SequenceErase", &["s", "one"], &["t"], vec![]),
        node("SequenceInsert", &["t", "x", "back"], &["u"], vec![]),
        node("ConcatFromSequence", &["u"], &["y"], vec![int("axis", 0)]),
    ];
    let constants = vec![at("two", 2), at("one", 1), at("back", -1)];
    let made = model(13, graph(x(&["6"]), nodes, y(&["10"]))).constants(constants).run(&[counted(&[6])]).remove(0);
    assert_eq!(made.to_f32s(), [0.0, 1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 4.0, 5.0]);
    let nodes = vec![node("SequenceConstruct", &["x"], &["s"], vec![]), node("Neg", &["s"], &["y"], vec![])];
    let faults = model(13, graph(x(&["6"]), nodes, y(&["6"]))).faults(&Options::default());
    assert!(faults.starts_with("Unsupported Neg") && faults.contains("a sequence"), "{faults}");
}

#[test]
fn half_precision_is_rounded_once_at_the_end() {
    // Every sum and power on the way is beyond 65504, and no result is.
    let run = |op: &str, attributes: Vec<onnx_protobuf::AttributeProto>, dims: &[usize], fill: f64, kind: i32, dtype: Dtype| {
        let texts: Vec<String> = dims.iter().map(usize::to_string).collect();
        let names: Vec<String> = (0..dims.len()).map(|i| format!("d{i}")).collect();
        let input = value("x", kind, &texts.iter().map(String::as_str).collect::<Vec<_>>());
        let output = value("y", kind, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let nodes = vec![node(op, if op == "Gemm" { &["x", "x"] } else { &["x"] }, &["y"], attributes)];
        let element = Literal::number(dtype, fill).to_bytes();
        model(18, graph(vec![input], nodes, vec![output])).run(&[Tensor::splat(dtype, dims, &element)])[0].to_f64s()
    };
    let square = |size: i64| ints("kernel_shape", &[size, size]);
    for (kind, dtype, near) in [(FLOAT16, Dtype::F16, 1e-3), (BFLOAT16, Dtype::BF16, 8e-3)] {
        let check = |op: &str, attributes: Vec<onnx_protobuf::AttributeProto>, dims: &[usize], fill: f64, want: f64| {
            let got = run(op, attributes, dims, fill, kind, dtype);
            assert!(!got.is_empty() && got.iter().all(|y| (y - want).abs() <= near * want), "{op} of {dtype:?}: {:?} for {want}", got[0]);
        };
        check("Gemm", vec![float("alpha", 0.01)], &[64, 64], 60.0, 2304.0);
        check("AveragePool", vec![square(8)], &[1, 2, 8, 8], 1100.0, 1100.0);
        check("AveragePool", vec![square(9), ints("pads", &[4; 4])], &[1, 2, 9, 9], 1100.0, 1100.0);
        check("LpPool", vec![square(4)], &[1, 2, 4, 4], 120.0, 480.0);
        check("GlobalLpPool", vec![], &[1, 2, 8, 8], 60.0, 480.0);
        check("LpNormalization", vec![], &[2, 64], 60.0, 0.125);
        check("LRN", vec![int("size", 1)], &[1, 1, 2, 2], 300.0, 300.0 / 10f64.powf(0.75));
        check("ReduceL2", vec![], &[8, 8], 60.0, 480.0);
        check("ReduceLogSum", vec![], &[8, 8], 6e4, (64.0 * 59904.0f64).ln());
        check("ReduceLogSumExp", vec![], &[70000], 0.0, 70000f64.ln());
        // Numbers of both signs whose squares overflow, around a mean of 0.
        let numbers: Vec<u8> = [400.0, -400.0].iter().cycle().take(64).flat_map(|&v| Literal::number(dtype, v).to_bytes()).collect();
        let sizes = ["1", "1", "8", "8"];
        let nodes = vec![node("MeanVarianceNormalization", &["x"], &["y"], vec![])];
        let written = model(13, graph(vec![value("x", kind, &sizes)], nodes, vec![value("y", kind, &sizes)]));
        let got = written.run(&[Tensor::dense(dtype, &[1, 1, 8, 8], numbers)])[0].to_f64s();
        assert!(got.iter().all(|y| y.abs() == 1.0), "{dtype:?}: {got:?}");
    }
}

#[test]
fn averages_of_doubles_are_doubles() {
    let attributes = vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1; 4])];
    let sizes = ["1", "1", "4", "4"];
    let nodes = vec![node("AveragePool", &["x"], &["y"], attributes)];
    let written = model(19, graph(vec![value("x", DOUBLE, &sizes)], nodes, vec![value("y", DOUBLE, &sizes)]));
    let made = written.run(&[Tensor::splat(Dtype::F64, &[1, 1, 4, 4], &Literal::number(Dtype::F64, 0.7).to_bytes())]);
    assert!(made[0].to_f64s().iter().all(|y| (y - 0.7).abs() < 1e-15), "{:?}", made[0].to_f64s());
}

#[test]
fn weights_of_few_bits_stay_packed_and_may_belong_to_groups_in_any_order() {
    let (k, n, block) = (32usize, 3usize, 16usize);
    let numbers: Vec<u8> = (0..n * k).map(|i| (i * 7 % 16) as u8).collect();
    let raw_data: Vec<u8> = numbers.chunks(2).map(|pair| pair[0] | pair[1] << 4).collect();
    let bytes = onnx_protobuf::TensorProto { name: "b".into(), dims: vec![3, 2, 8], data_type: 2, raw_data, ..Default::default() };
    let groups: Vec<i32> = (0..k as i32).map(|i| i / 3 % 2).collect();
    let order =
        onnx_protobuf::TensorProto { name: "g".into(), dims: vec![32], data_type: 6, int32_data: groups.clone(), ..Default::default() };
    let scales = [0.5, 0.25, -1.0, 2.0, 0.125, 1.0];
    let run = |inputs: &[&str]| {
        let sizes = [("K", k), ("N", n), ("bits", 4), ("block_size", block)].map(|(name, value)| int(name, value as i64));
        let nodes =
            vec![onnx_protobuf::NodeProto { domain: "com.microsoft".into(), ..node("MatMulNBits", inputs, &["y"], sizes.to_vec()) }];
        let mut written = model(17, graph(x(&["1", "32"]), nodes, y(&["1", "3"])));
        let own = onnx_protobuf::OperatorSetIdProto { domain: "com.microsoft".into(), version: 1, ..Default::default() };
        written.model.opset_import.push(own);
        written.constants(vec![bytes.clone(), floats_tensor("s", &[6], &scales), order.clone()])
    };
    let want = |group: &dyn Fn(usize) -> usize| -> Vec<f32> {
        let weight = |j: usize, i: usize| (f32::from(numbers[j * k + i]) - 8.0) * scales[j * 2 + group(i)];
        (0..n).map(|j| (0..k).map(|i| i as f32 * weight(j, i)).sum()).collect()
    };
    let plain = run(&["x", "b", "s"]);
    assert!(plain.text().contains("dequantize"), "{}", plain.text());
    assert_eq!(plain.run(&[counted(&[1, 32])])[0].to_f32s(), want(&|i| i / block));
    assert_eq!(run(&["x", "b", "s", "", "g"]).run(&[counted(&[1, 32])])[0].to_f32s(), want(&|i| groups[i] as usize));
}
