//! Sizes that are known at run time only: one program for a range of them, on every machine, against the graph oracle.

mod common;

use common::{ENGINE, LANES, NARROW, WIDE};
use ir::program;
use ir::{Graph, Tensor};

fn parse(text: &str) -> Graph {
    let graph = ir::graph::text::parse(text, &|_| None).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    ir::graph::verify::verify(&graph).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
    graph
}

/// Inputs of these sizes: floats; integers 0 or 1; bools.
fn inputs(graph: &Graph, sizes: &[(&str, i64)], seed: u64) -> Vec<Tensor> {
    let size = |name: &str| sizes.iter().find(|(n, _)| *n == name).map(|(_, size)| ir::Dim::from(*size));
    let input = |(i, &id): (usize, &ir::NodeId)| {
        let ty = graph.ty(id);
        let shape: Vec<usize> =
            ty.shape.iter().map(|d| d.replace(&|name| size(name)).fixed().expect("every size is given") as usize).collect();
        let drawn = ir::graph::text::random(ty.dtype, &shape, seed + i as u64);
        match ty.dtype.is_int() {
            true => Tensor::i64s(&shape, &drawn.to_i64s().iter().map(|v| v & 1).collect::<Vec<i64>>()),
            false => drawn,
        }
    };
    graph.inputs().iter().enumerate().map(input).collect()
}

/// One program per machine, run with each of the sizes.
#[track_caller]
fn check(text: &str, sizes: &[&[(&str, i64)]]) {
    let graph = parse(text);
    for facts in [WIDE, NARROW, LANES, ENGINE] {
        let program = kernels::lower(&graph, &facts).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
        program::verify(&program, &facts).unwrap_or_else(|wrong| panic!("{text} on {}: {}", facts.name, wrong.join("\n")));
        for (seed, sizes) in sizes.iter().enumerate() {
            let inputs = inputs(&graph, sizes, seed as u64);
            let wanted = ir::graph::eval::eval(&graph, &inputs).unwrap_or_else(|e| panic!("{text} at {sizes:?}: {e}"));
            let got = program::run(&program, &facts, &inputs).unwrap_or_else(|s| panic!("{text} at {sizes:?}: status {s}"));
            for (got, wanted) in got.iter().zip(&wanted) {
                assert_eq!(got.ty(), wanted.ty(), "{text} at {sizes:?}");
                for (i, (g, w)) in got.to_f64s().into_iter().zip(wanted.to_f64s()).enumerate() {
                    let near = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= 1e-5 * w.abs().max(1.0);
                    assert!(near, "{text} at {sizes:?} on {}: element {i} is {g}, not {w}", facts.name);
                }
            }
        }
    }
}

/// One symbol `n` in the range, operators on inputs that name it.
#[track_caller]
fn check_one(range: &str, body: &str, sizes: &[i64]) {
    let sizes: Vec<[(&str, i64); 1]> = sizes.iter().map(|&n| [("n", n)]).collect();
    let sizes: Vec<&[(&str, i64)]> = sizes.iter().map(|s| s.as_slice()).collect();
    check(&format!("graph {{ symbol n in {range} {body} return %y \"y\" }}"), &sizes);
}

#[test]
fn rows_are_computed_for_as_many_as_there_are() {
    let sizes = [1, 2, 7, 33, 40];
    check_one("1..40", "%x: f32[n,24] = input \"x\" %y = map %x do { max(a, 0.0) }", &sizes);
    check_one(
        "1..40",
        "%x: f32[1,n,24] = input \"x\" %w: f32[24,18] = const random 1 %b: f32[18] = const random 2 %y = dot %x, %w, %b {trans_a=false, trans_b=false} do { t0 = add(a, b); max(t0, 0.0) }",
        &sizes,
    );
    check_one("1..40", "%x: f32[n,24] = input \"x\" %y = norm %x {axes=[1], epsilon=1e-5, center=true}", &sizes);
    check_one("1..40", "%x: f32[n,24] = input \"x\" %y = softmax %x {axis=1, log=false}", &sizes);
    check_one("1..40", "%x: f32[n,24] = input \"x\" %y = reduce %x {kind=mean, axes=[1]}", &sizes);
    check_one(
        "1..4",
        "%x: f32[n,6,5,8] = input \"x\" %w: f32[3,3,8,16] = const random 1 %y = conv %x, %w {stride=[1,1], dilation=[1,1], inflate=[1,1], low=[1,1], high=[1,1], group=1, fill=0.0}",
        &[1, 3, 4],
    );
    check_one(
        "1..3",
        "%x: f32[n,6,6,8] = input \"x\" %y = window %x {kind=max, size=[2,2], stride=[2,2], dilation=[1,1], low=[0,0], high=[0,0]}",
        &[1, 2, 3],
    );
}

#[test]
fn what_mixes_rows_leaves_out_those_that_are_not_there() {
    let sizes = [1, 2, 7, 33, 40];
    let range = "1..40";
    check_one(range, "%x: f32[3,n] = input \"x\" %y = softmax %x {axis=1, log=false} pre { mul(a, 0.5) }", &sizes);
    check_one(range, "%x: f32[n,5] = input \"x\" %y = softmax %x {axis=0, log=false}", &sizes);
    check_one(range, "%x: f32[3,n] = input \"x\" %k: f32[n,24] = input \"k\" %y = dot %x, %k {trans_a=false, trans_b=false}", &sizes);
    check_one(range, "%x: f32[2,n,16] = input \"x\" %k: f32[2,n,16] = input \"k\" %y = dot %x, %k {trans_a=false, trans_b=true}", &sizes);
    check_one(range, "%x: f32[2,n,16] = input \"x\" %k: f32[2,n,16] = input \"k\" %y = dot %x, %k {trans_a=true, trans_b=false}", &sizes);
    check_one(range, "%x: f32[n,24] = input \"x\" %y = reduce %x {kind=sum, axes=[0]}", &sizes);
    check_one(range, "%x: f32[n,24] = input \"x\" %y = reduce %x {kind=max, axes=[0, 1]}", &sizes);
    check_one(range, "%x: f32[n,24] = input \"x\" %y = reduce %x {kind=mean, axes=[0]}", &sizes);
    check_one(range, "%x: i64[n,24] = input \"x\" %y = reduce %x {kind=mean, axes=[0]}", &sizes);
    check_one(range, "%x: f32[3,n] = input \"x\" %y = norm %x {axes=[1], epsilon=1e-5, center=true}", &sizes);
    check_one(range, "%x: f32[3,n] = input \"x\" %y = argreduce %x {kind=max, axis=1, last=false}", &sizes);
    check_one(range, "%x: f32[3,n] = input \"x\" %y = cumulate %x {kind=sum, axis=1, exclusive=true, reverse=true}", &sizes);
    check_one(range, "%x: f32[3,n] = input \"x\" %y = sort %x {axis=1, descending=true}", &sizes);
    check_one(range, "%x: f32[n,4] = input \"x\" %i: i64[n] = input \"i\" %y = gather %x, %i {axis=0}", &[2, 7, 40]);
    check_one(
        range,
        "%x: f32[n,4] = input \"x\" %i: i64[3] = input \"i\" %u: f32[3,4] = input \"u\" %y = scatter %x, %i, %u {kind=sum}",
        &[2, 7, 40],
    );
    let window = "%x: f32[1,n,6,8] = input \"x\"";
    let attributes = "stride=[2,1], dilation=[1,1], inflate=[1,1], low=[1,1], high=[1,1], group=1, fill=0.0";
    check_one("3..20", &format!("{window} %w: f32[3,3,8,16] = const random 1 %y = conv %x, %w {{{attributes}}}"), &[3, 4, 11, 20]);
    let attributes = "kind=max, size=[3,2], stride=[2,2], dilation=[1,1], low=[1,0], high=[1,0]";
    check_one("3..20", &format!("{window} %y = window %x {{{attributes}}}"), &[3, 4, 11, 20]);
}

#[test]
fn elements_move_as_far_as_there_are_some() {
    let sizes = [1, 2, 7, 33, 40];
    let range = "1..40";
    check_one(range, "%x: f32[n,6] = input \"x\" %y = transpose %x {perm=[1,0]}", &sizes);
    check_one(range, "%x: f32[n,6] = input \"x\" %z: f32[2,6] = input \"z\" %y = concat %x, %z, %x {axis=0}", &sizes);
    check_one(range, "%x: f32[n,6] = input \"x\" %z: f32[n,3] = input \"z\" %y = concat %x, %z {axis=1}", &sizes);
    check_one(range, "%x: f32[n,6] = input \"x\" %y = slice %x {start=[n-1,1], step=[1,2], size=[1,3]}", &sizes);
    check_one(range, "%x: f32[n,6] = input \"x\" %y = slice %x {start=[n-1,0], step=[-1,1], size=[n,6]}", &sizes);
    check_one(range, "%x: f32[n,6] = input \"x\" %y = slice %x {start=[0,2], step=[1,1], size=[n,3]}", &sizes);
    check_one(range, "%x: f32[n,6] = input \"x\" %y = reshape %x {shape=[6,n]}", &sizes);
    check_one(range, "%x: f32[n,6] = input \"x\" %y = reshape %x {shape=[1,n,2,3]}", &sizes);
    check_one(range, "%x: f32[2,n,6] = input \"x\" %y = reshape %x {shape=[2*n,6]}", &sizes);
    check_one(range, "%x: f32[1,6] = input \"x\" %z: f32[n] = input \"z\" %y = expand %x {shape=[n,6]}", &sizes);
    check_one(range, "%x: f32[n,6] = input \"x\" %y = pad %x {low=[1,0], high=[2,1], mode=constant, value=7.0}", &sizes);
    check_one(range, "%x: f32[2,n] = input \"x\" %y = pad %x {low=[0,3], high=[0,4], mode=wrap, value=0.0}", &sizes);
    check_one("5..40", "%x: f32[2,n] = input \"x\" %y = pad %x {low=[0,3], high=[0,4], mode=reflect, value=0.0}", &[5, 6, 40]);
    check_one("5..40", "%x: f32[2,n] = input \"x\" %y = pad %x {low=[0,3], high=[0,4], mode=edge, value=0.0}", &[5, 6, 40]);
    check_one(range, "%x: f32[n,6] = input \"x\" %y = pad %x {low=[0,0], high=[40-n,0], mode=constant, value=0.0}", &sizes);
}

#[test]
fn nothing_and_one_size_only_are_sizes_too() {
    check_one("0..9", "%x: f32[n,6] = input \"x\" %y = map %x do { exp(a) }", &[0, 1, 9]);
    check_one("0..9", "%x: f32[n,6] = input \"x\" %y = reduce %x {kind=sum, axes=[0]}", &[0, 1, 9]);
    check_one("0..9", "%x: f32[4,n] = input \"x\" %k: f32[n,8] = input \"k\" %y = dot %x, %k {trans_a=false, trans_b=false}", &[0, 1, 9]);
    check_one("0..9", "%x: f32[n,6] = input \"x\" %z: f32[2,6] = input \"z\" %y = concat %x, %z {axis=0}", &[0, 1, 9]);
    check_one("5..5", "%x: f32[n,6] = input \"x\" %y = softmax %x {axis=0, log=false}", &[5]);
    check_one("1..1", "%x: f32[n,6] = input \"x\" %y = softmax %x {axis=0, log=true}", &[1]);
}

#[test]
fn several_symbols_and_what_derives_from_them() {
    let batch = "symbol b in 1..3 symbol s in 1..20";
    let sizes: [&[(&str, i64)]; 3] = [&[("b", 1), ("s", 20)], &[("b", 3), ("s", 7)], &[("b", 2), ("s", 1)]];
    let rows = "%x: f32[b,s,12] = input \"x\" %w: f32[12,16] = const random 1";
    check(&format!("graph {{ {batch} {rows} %y = dot %x, %w {{trans_a=false, trans_b=false}} return %y \"y\" }}"), &sizes);
    check(
        &format!(
            "graph {{ {batch} {rows} %r = reshape %x {{shape=[b*s,12]}} %y = dot %r, %w {{trans_a=false, trans_b=false}} return %y \"y\" }}"
        ),
        &sizes,
    );
    check(&format!("graph {{ {batch} {rows} %y = softmax %x {{axis=1, log=false}} return %y \"y\" }}"), &sizes);
    // a cache of the past
    let past = "symbol p in 0..12 %k: f32[2,p,8] = input \"k\" %new: f32[2,1,8] = input \"new\" %mask: f32[1,p+1] = input \"mask\"";
    let all = "%all = concat %k, %new {axis=1} %s = dot %new, %all {trans_a=false, trans_b=true} %m = map %s, %mask do { add(a, b) }";
    let text = format!(
        "graph {{ {past} {all} %p = softmax %m {{axis=2, log=false}} %y = dot %p, %all {{trans_a=false, trans_b=false}} return %y \"y\", %all \"all\" }}"
    );
    check(&text, &[&[("p", 0)], &[("p", 1)], &[("p", 11)], &[("p", 12)]]);
}

#[test]
fn attention_sees_the_keys_that_are_there() {
    let sizes = [1, 2, 17, 40];
    for causal in ["none", "0"] {
        let qkv = "%q: f32[2,n,16] = input \"q\" %k: f32[2,n,16] = input \"k\" %v: f32[2,n,16] = input \"v\"";
        check_one("1..40", &format!("{qkv} %y = attention %q, %k, %v {{causal={causal}, guarded=false}} pre {{ mul(a, 0.25) }}"), &sizes);
    }
    let past = "%q: f32[2,1,16] = input \"q\" %k: f32[2,n,16] = input \"k\" %v: f32[2,n,16] = input \"v\"";
    check_one("1..40", &format!("{past} %y = attention %q, %k, %v {{causal=n-1, guarded=true}}"), &sizes);
}

#[test]
fn as_many_rows_as_the_data_says() {
    let rows = "symbol k in 0..20 %x: f32[n,3] = input \"x\" %m: f32[n] = input \"m\" %b = map %m do { lt(a, 0.0) }";
    let sizes = [1, 2, 7, 20];
    check_one("1..20", &format!("{rows} %y = compact %x, %b {{length=k}}"), &sizes);
    // what is computed of them is as long
    check_one("1..20", &format!("{rows} %c = compact %x, %b {{length=k}} %y = reduce %c {{kind=sum, axes=[0]}}"), &sizes);
    check_one("1..20", &format!("{rows} %c = compact %x, %b {{length=k}} %y = concat %c, %x {{axis=0}}"), &sizes);
    let boxes = "%x: f32[1,n,4] = input \"x\" %s: f32[1,2,n] = input \"s\" %o = sort %s {axis=2, descending=true}";
    let limits = "%l: f32[2] = const [0.1,-0.5]";
    check_one("1..20", &format!("{boxes} {limits} %y = suppress %x, %s, %o, %l {{most=5}}"), &sizes);
}

#[test]
fn a_scan_takes_as_many_turns_as_there_are_rows() {
    // both ways, with a product in a turn; the range begins with no turn at all
    let text = "graph { symbol n in 0..5
        %x: f32[n,2,8] = input \"x\" %h: f32[2,8] = input \"h\" %w: f32[8,8] = const random 3
        %s = scan %h, %h, %x, %x, %w {trips=n, carried=2, sequences=[forward,backward], stacks=[backward,forward]} turn graph {
            symbol n in 0..5
            %a: f32[2,8] = input \"a\" %b: f32[2,8] = input \"b\" %p: f32[2,8] = input \"p\" %q: f32[2,8] = input \"q\"
            %w: f32[8,8] = input \"w\"
            %d = dot %a, %w, %p {trans_a=false, trans_b=false} do { t0 = add(a, b); tanh(t0) }
            %e = map %b, %q, %d do { t0 = mul(b, c); add(a, t0) }
            return %d \"a\", %e \"b\", %d \"ya\", %q \"yb\" }
        %0 = take %s {index=0, ty=f32[2,8]} %1 = take %s {index=1, ty=f32[2,8]}
        %2 = take %s {index=2, ty=f32[n,2,8]} %3 = take %s {index=3, ty=f32[n,2,8]}
        return %0 \"a\", %1 \"b\", %2 \"ya\", %3 \"yb\" }";
    check(text, &[&[("n", 0)], &[("n", 1)], &[("n", 4)], &[("n", 5)]]);
}
