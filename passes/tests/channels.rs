//! Random networks with zeros where whole filters and whole inputs of filters were: what is left of them computes the same
//! bits as before, and something is left out.

use ir::graph::eval::eval;
use ir::{Graph, Tensor};
use passes::{Options, Recipe, optimize};

/// A small generator; the same numbers everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn list(&mut self, shape: &[usize], zero: &dyn Fn(usize) -> bool) -> String {
        let count = shape.iter().product();
        let each: Vec<String> =
            (0..count).map(|i| if zero(i) { "0.0".into() } else { format!("{:?}", (self.next() % 2001) as f32 / 1000.0 - 1.0) }).collect();
        format!("[{}]", each.join(","))
    }
}

/// A network of two branches over `[1,5,5,3]`, joined by a sum or a concatenation, and a classifier.
fn network(seed: u64) -> String {
    let mut d = Dice(seed * 2 + 1);
    d.next();
    let (n, hw) = (4 + d.below(5), 5);
    let mut text = format!("graph {{ %x: f32[1,{hw},{hw},3] = input \"x\"\n");
    let attributes = |group: usize, pad: usize| {
        format!("{{stride=[1,1], dilation=[1,1], inflate=[1,1], low=[{pad},{pad}], high=[{pad},{pad}], group={group}, fill=0.0}}")
    };
    // columns of zeros, and rows of zeros, by chance
    let silent: Vec<bool> = (0..n).map(|_| d.below(3) == 0).collect();
    let same = d.below(2) == 0;
    for branch in ["a", "b"] {
        let mine: Vec<bool> = if same { silent.clone() } else { (0..n).map(|_| d.below(3) == 0).collect() };
        let w = d.list(&[3, 3, 3, n], &|i| mine[i % n]);
        let low = d.below(2) == 0;
        let b: Vec<String> = (0..n).map(|_| format!("{:?}", d.below(100) as f32 / 100.0 - if low { 1.0 } else { 0.5 })).collect();
        text += &format!("%{branch}w: f32[3,3,3,{n}] = const {w}\n%{branch}b: f32[{n}] = const [{}]\n", b.join(","));
        text += &format!("%{branch}0 = conv %x, %{branch}w, %{branch}b {} do {{ t0 = add(a, b); max(t0, 0.0) }}\n", attributes(1, 1));
    }
    let joined = if d.below(2) == 0 {
        text += "%j = map %a0, %b0 do { t0 = add(a, b); max(t0, 0.0) }\n";
        n
    } else {
        text += "%j = concat %a0, %b0 {axis=3}\n";
        2 * n
    };
    let mut last = "j";
    if d.below(2) == 0 {
        let k = d.list(&[3, 3, 1, joined], &|i| i % joined == 1);
        text += &format!("%k: f32[3,3,1,{joined}] = const {k}\n%d = conv %j, %k {}\n", attributes(joined, 1));
        last = "d";
    }
    if d.below(2) == 0 {
        let most = "{kind=max, size=[2,2], stride=[1,1], dilation=[1,1], low=[0,0], high=[1,1]}";
        text += &format!("%p = window %{last} {most}\n");
        last = "p";
    }
    let wide = joined * hw * hw;
    let unread: Vec<bool> = (0..joined).map(|_| d.below(3) == 0).collect();
    let v = d.list(&[wide, 4], &|i| unread[i / 4 % joined]);
    text += &format!("%f = reshape %{last} {{shape=[1,{wide}]}}\n%v: f32[{wide},4] = const {v}\n");
    text += "%y = dot %f, %v {trans_a=false, trans_b=false}\n return %y \"y\" }";
    text
}

fn weights(graph: &Graph) -> usize {
    graph.order().into_iter().filter_map(|id| graph.as_const(id)).map(Tensor::elements).sum()
}

#[test]
fn what_is_left_computes_the_same() {
    let mut smaller = 0;
    for seed in 0..150 {
        let graph = ir::graph::text::parse(&network(seed), &|_| None).expect("the test's network");
        let mut dice = Dice(seed + 1000);
        let x: Vec<f32> = (0..75).map(|_| (dice.next() % 2001) as f32 / 500.0 - 2.0).collect();
        let inputs = [Tensor::f32s(&[1, 5, 5, 3], &x)];
        let run = |skip: &[&str]| {
            let mut graph = graph.clone();
            let skip = skip.iter().map(|s| s.to_string()).collect();
            optimize(&mut graph, &Options { recipe: Recipe::O2, skip, ..Options::default() }, &mut ()).expect("it is sound");
            (eval(&graph, &inputs).expect("it runs")[0].to_f32s(), weights(&graph))
        };
        let (want, whole) = run(&["channels"]);
        let (got, left) = run(&[]);
        assert_eq!(got, want, "network {seed}");
        assert!(left <= whole, "network {seed}");
        smaller += usize::from(left < whole);
    }
    assert!(smaller > 75, "only {smaller} lost channels");
}
