//! What the runner owns: skipping, fuel, the log, provenance, the oracle's check, the observer, and that a
//! second run finds nothing more to do.

use ir::Graph;
use ir::graph::text;
use passes::{Observer, Options, Pass, Recipe, Summary, optimize};

const MODEL: &str = r#"graph {
  %x: f32[1,2,4,4] = input "x"
  %w: f32[1,1,2,2] = const [1.0,2.0,3.0,4.0] !"w"
  %s: f32[2,1,1] = const [2.0,4.0] !"scale"
  %a = transpose %x {perm=[0,2,3,1]} !"Conv_0"
  %b = conv %a, %w {stride=[1,1], dilation=[1,1], inflate=[1,1], low=[0,0], high=[0,0], group=1, fill=0.0} !"Conv_0"
  %c = transpose %b {perm=[0,3,1,2]} !"Conv_0"
  %d = map %c, %s do { mul(a, b) } !"Mul_1"
  %e = map %d do { max(a, 0.0) } !"Relu_2"
  %f = transpose %e {perm=[0,2,3,1]} !"Transpose_3"
  %g = map %e, %x do { add(a, b) } !"Add_4"
  return %f "f", %g "g"
}"#;

fn model() -> Graph {
    text::parse(MODEL, &|_| None).expect("the model is a graph")
}

fn run(options: &Options) -> (Graph, passes::Report) {
    let mut graph = model();
    let report = optimize(&mut graph, options, &mut ()).expect("no name is unknown");
    (graph, report)
}

#[test]
fn names_stay_in_the_order_of_the_model() {
    let (graph, report) = run(&Options::default());
    let conv = graph.order().into_iter().find(|&id| graph.op(id).mnemonic() == "conv").expect("the convolution stays");
    assert_eq!(graph.label(conv), "Conv_0+Mul_1+Relu_2+Transpose_3");
    assert_eq!((report.refused, report.unsettled, report.transposes), (vec![], vec![], 2));
}

#[test]
fn a_second_run_finds_nothing() {
    let (mut graph, _) = run(&Options::default());
    let before = text::print(&graph);
    let report = optimize(&mut graph, &Options::default(), &mut ()).expect("no name is unknown");
    assert_eq!(report.rewrites(), 0, "{:?}", report.passes);
    assert_eq!(text::print(&graph), before);
}

#[test]
fn fuel_stops_at_any_point_and_the_graph_stays_right() {
    let all = run(&Options::default()).1.rewrites();
    assert!(all > 5);
    let mut last = String::new();
    for fuel in 0..=all as u64 {
        let (graph, report) = run(&Options { fuel: Some(fuel), ..Options::default() });
        assert_eq!((report.rewrites() as u64, report.fuel_left), (fuel, Some(0)));
        assert_eq!(passes::check::compare(&model(), &graph, 1), Vec::<String>::new(), "after {fuel} rewrites");
        let text = text::print(&graph);
        assert_ne!(text, last, "rewrite {fuel} changed nothing");
        last = text;
    }
}

#[test]
fn passes_and_rules_are_skipped_by_name() {
    let (graph, report) = run(&Options { skip: vec!["fuse".into()], ..Options::default() });
    assert!(report.passes.iter().any(|p| p.pass == "fuse" && p.skipped && !p.changed()));
    assert!(graph.order().iter().any(|&id| graph.op(id).mnemonic() == "map"));
    let (_, report) = run(&Options { skip: vec!["map_into_producer".into()], ..Options::default() });
    assert!(report.passes.iter().all(|p| !p.fired.contains_key("map_into_producer")));
}

#[test]
fn an_unknown_name_lists_the_valid_ones() {
    let mut graph = model();
    let options = Options { skip: vec!["fusee".into(), "order".into()], ..Options::default() };
    let faults = optimize(&mut graph, &options, &mut ()).expect_err("neither can be skipped");
    let texts: Vec<String> = faults.iter().map(|f| f.to_string()).collect();
    assert_eq!(faults.len(), 2);
    assert!(
        texts[0].contains("cannot skip `fusee`: there is no pass or rule of that name") && texts[0].contains("map_into_map"),
        "{texts:?}"
    );
    assert!(texts[1].contains("later steps need it"), "{texts:?}");
    assert_eq!(faults[0].kind, ir::Kind::Usage);
}

#[test]
fn explain_tells_what_fired_where_and_what_nearly_did() {
    let (_, report) = run(&Options { explain: true, ..Options::default() });
    let lines: Vec<String> = report.log.iter().map(|l| l.to_string()).collect();
    assert!(lines.iter().any(|l| l.starts_with("fuse: scale_into_weights at conv \"Conv_0+Mul_1")), "{lines:#?}");
    assert!(
        lines.iter().any(|l| l.starts_with("fuse: map_into_producer at map \"Add_4\" did not fire: ")
            || l.contains("sink_transpose at map \"Add_4\" did not fire")),
        "{lines:#?}"
    );
    assert!(run(&Options::default()).1.log.is_empty());
}

#[test]
fn check_compares_before_and_after() {
    let (_, report) = run(&Options { check: true, ..Options::default() });
    assert_eq!(report.mismatches, Vec::<String>::new());
    let other = text::parse(&MODEL.replace("max(a, 0.0)", "max(a, 0.5)"), &|_| None).expect("a graph");
    let wrong = passes::check::compare(&model(), &other, 0);
    assert!(wrong.len() == 2 && wrong[0].starts_with("output \"f\": element "), "{wrong:?}");
}

#[derive(Default)]
struct Seen(Vec<String>);

impl Observer for Seen {
    fn before(&mut self, index: usize, pass: &Pass, _: &Graph) {
        self.0.push(format!("{index}.{}", pass.name));
    }
    fn after(&mut self, index: usize, pass: &Pass, graph: &Graph, summary: &Summary) {
        assert_eq!((summary.pass, summary.nodes_after), (pass.name, graph.len()));
        self.0.push(format!("{index}.{} {}", pass.name, if summary.changed() { "changed" } else { "unchanged" }));
    }
}

#[test]
fn an_observer_sees_every_pass() {
    let mut seen = Seen::default();
    let options = Options { recipe: Recipe::O0, ..Options::default() };
    optimize(&mut model(), &options, &mut seen).expect("no name is unknown");
    let names = ["dead", "quantization", "expand", "fold", "regions", "order"].iter().enumerate();
    let wanted: Vec<String> = names.flat_map(|(i, name)| [format!("{i}.{name}"), format!("{i}.{name} unchanged")]).collect();
    assert_eq!(seen.0, wanted);
}

#[test]
fn recipes_are_found_by_name() {
    for &recipe in Recipe::ALL {
        assert_eq!(Recipe::from_name(recipe.name()), Some(recipe));
        assert!(recipe.passes().iter().any(|p| p.required));
    }
    assert_eq!(Recipe::from_name("O1"), None);
}

#[test]
fn a_thousand_layers_take_little_work() {
    let mut text = String::from("graph {\n  %x: f32[4,8] = input \"x\"\n  %w: f32[8,8] = const random 1\n  %0 = map %x do { a }\n");
    for i in 0..1000 {
        text += &format!(
            "  %d{i} = dot %{i}, %w {{trans_a=false, trans_b=false}}\n  %m{i} = map %d{i} do {{ max(a, 0.0) }}\n  %{} = map %m{i}, %{i} do {{ add(a, b) }}\n",
            i + 1
        );
    }
    text += "  return %1000 \"y\"\n}";
    let mut graph = text::parse(&text, &|_| None).expect("a graph");
    let report = optimize(&mut graph, &Options::default(), &mut ()).expect("no name is unknown");
    assert_eq!((graph.len(), report.unsettled.len()), (1002, 0));
    assert_eq!(report.rewrites(), 3001, "one for the copy; for each layer two maps, and one body to put in order");
}
