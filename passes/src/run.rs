//! The runner: takes passes in order, applies what their rules answer until nothing is left to do, and owns
//! everything that is alike for all of them — verification, fuel, skipping, checking against the oracle,
//! provenance, and the log of what fired where and what nearly did. Looks at no clock and prints nothing;
//! whoever wants times or dumps is an [`Observer`].

use crate::channels;
use crate::check;
use crate::clean;
use crate::quantization::{self, Folded, Semantics};
use crate::recipe::{self, Recipe};
use crate::rule::{Match, Rewrite, Rule, Val};
use ir::graph::region::{Region, sink_constants};
use ir::graph::{Names, verify};
use ir::{Fault, Graph, NodeId, Op};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// One step of a recipe.
pub struct Pass {
    pub name: &'static str,
    /// One line for the manual.
    pub about: &'static str,
    /// What later floors rely on; it cannot be skipped.
    pub required: bool,
    pub run: Work,
}

/// What a pass does.
pub enum Work {
    /// These rules, until none fires.
    Rules(&'static [&'static Rule]),
    /// Something about the graph as a whole. The number of changes.
    Whole(fn(&mut Graph, &mut Fuel) -> usize),
    /// Number the nodes in the order of the model.
    Order,
    /// Fold quantized arithmetic.
    Quantization,
    /// Constants go into the regions of scans, and what runs on the graph runs on these.
    Regions,
    /// Remove channels that are not needed.
    Channels,
}

/// How many rewrites may still happen.
#[derive(Clone, Copy, Debug)]
pub struct Fuel(Option<u64>);

impl Fuel {
    pub fn new(rewrites: Option<u64>) -> Fuel {
        Fuel(rewrites)
    }
    /// Whether one more rewrite may happen; counts it.
    pub fn take(&mut self) -> bool {
        match &mut self.0 {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
    pub fn left(&self) -> Option<u64> {
        self.0
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub recipe: Recipe,
    /// Stop after this many rewrites.
    pub fuel: Option<u64>,
    /// Names of passes and rules to leave out.
    pub skip: Vec<String>,
    /// Run the oracle before and after every pass that changed something; needs a model small enough for it.
    pub check: bool,
    /// Keep the log of rewrites and near misses.
    pub explain: bool,
    /// What a quantized model means.
    pub semantics: Semantics,
}

impl Default for Options {
    fn default() -> Options {
        Options { recipe: Recipe::O2, fuel: None, skip: Vec::new(), check: false, explain: false, semantics: Semantics::Ort }
    }
}

/// Sees the graph go by. Every method may be left out.
pub trait Observer {
    /// Before pass `index` (from 0) runs.
    fn before(&mut self, index: usize, pass: &Pass, graph: &Graph) {
        let _ = (index, pass, graph);
    }
    /// After it ran; a skipped one has `summary.skipped`.
    fn after(&mut self, index: usize, pass: &Pass, graph: &Graph, summary: &Summary) {
        let _ = (index, pass, graph, summary);
    }
}

/// An observer that looks away.
impl Observer for () {}

/// What one pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub pass: &'static str,
    pub skipped: bool,
    pub rewrites: usize,
    pub nodes_before: usize,
    pub nodes_after: usize,
    /// Rules that fired, how often, by name.
    pub fired: BTreeMap<&'static str, usize>,
}

impl Summary {
    pub fn changed(&self) -> bool {
        self.rewrites > 0 || self.nodes_before != self.nodes_after
    }
}

/// One line of the explain log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub pass: &'static str,
    pub rule: &'static str,
    /// The operator at the root.
    pub op: &'static str,
    /// The ONNX names of the root.
    pub at: String,
    /// `None`: it fired. Else why it did not.
    pub why_not: Option<String>,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} at {} \"{}\"", self.pass, self.rule, self.op, self.at)?;
        match &self.why_not {
            None => Ok(()),
            Some(why) => write!(f, " did not fire: {why}"),
        }
    }
}

/// What became of a graph.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub passes: Vec<Summary>,
    pub log: Vec<Line>,
    /// `None` when fuel was not limited.
    pub fuel_left: Option<u64>,
    /// Passes after which the oracle's answers differ from before, and how.
    pub mismatches: Vec<String>,
    /// Passes whose rules did not come to rest; a defect of ours, but the graph is right.
    pub unsettled: Vec<&'static str>,
    /// Rewrites refused since they would have changed a type; a defect of ours, but the graph is right.
    pub refused: Vec<String>,
    /// Transposes left in the graph that move something.
    pub transposes: usize,
    /// Products of integers among all; `None` for a model that is not quantized.
    pub folded: Option<Folded>,
}

impl Report {
    pub fn rewrites(&self) -> usize {
        self.passes.iter().map(|p| p.rewrites).sum()
    }
}

/// Rewrites a graph by a recipe. Fault: kind `usage`, when a name to skip is not one or may not be skipped.
pub fn optimize(graph: &mut Graph, options: &Options, observer: &mut dyn Observer) -> Result<Report, Vec<Fault>> {
    run(graph, options.recipe.passes(), options, observer)
}

/// Like [`optimize`], for a list of passes.
pub fn run(graph: &mut Graph, passes: &[&'static Pass], options: &Options, observer: &mut dyn Observer) -> Result<Report, Vec<Fault>> {
    let faults = unknown_skips(&options.skip);
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut runner = Runner { passes, ..Runner::new(options) };
    for (index, &pass) in passes.iter().enumerate() {
        runner.pass(graph, index, pass, observer);
    }
    runner.report.fuel_left = runner.fuel.left();
    runner.report.transposes = graph
        .order()
        .iter()
        .filter(|&&id| match graph.op(id) {
            Op::Transpose { perm } => !crate::layout::only_ones_move(perm, &graph.ty(graph.operands(id)[0]).shape),
            _ => false,
        })
        .count();
    Ok(runner.report)
}

/// The graph whose value a compiled model has to have: quantized arithmetic rounds where `semantics` says.
pub fn meaning(graph: &Graph, semantics: Semantics) -> Graph {
    let mut meant = graph.clone();
    let options = Options { semantics, ..Options::default() };
    run(&mut meant, &[&recipe::DEAD, &recipe::FOLD, &recipe::QUANTIZATION, &recipe::REGIONS], &options, &mut ())
        .expect("nothing is to be skipped");
    meant
}

/// Applies these rules alone until none fires: what a test of one rule wants.
pub fn run_rules(graph: &mut Graph, rules: &[&'static Rule], options: &Options) -> Report {
    let mut runner = Runner::new(options);
    runner.pass = "rules";
    runner.summary = Summary { pass: "rules", nodes_before: graph.len(), ..Summary::default() };
    runner.rules(graph, rules);
    runner.summary.nodes_after = graph.len();
    runner.report.passes.push(runner.summary);
    runner.report.fuel_left = runner.fuel.left();
    runner.report
}

fn unknown_skips(skip: &[String]) -> Vec<Fault> {
    let mut valid: BTreeSet<&str> = recipe::ALL.iter().filter(|p| !p.required).map(|p| p.name).collect();
    valid.extend(recipe::rules().iter().map(|r| r.name));
    let list = valid.iter().copied().collect::<Vec<_>>().join(", ");
    let required = |name: &str| recipe::ALL.iter().any(|p| p.required && p.name == name);
    skip.iter()
        .filter(|name| !valid.contains(name.as_str()))
        .map(|name| {
            let why = if required(name) { "later steps need it" } else { "there is no pass or rule of that name" };
            Fault::usage(format!("cannot skip `{name}`: {why}")).help(format!("these can be skipped: {list}"))
        })
        .collect()
}

struct Runner<'a> {
    options: &'a Options,
    /// All of the recipe.
    passes: &'a [&'static Pass],
    fuel: Fuel,
    report: Report,
    pass: &'static str,
    summary: Summary,
    /// Where each ONNX name first stood, so that joined names keep their order.
    position: BTreeMap<Arc<str>, usize>,
    /// How many nodes (constants aside) bear each name.
    holders: BTreeMap<Arc<str>, usize>,
    /// Where each node stood in the order of the importer; what replaces a node takes its place.
    age: BTreeMap<NodeId, usize>,
}

impl<'a> Runner<'a> {
    fn new(options: &'a Options) -> Runner<'a> {
        Runner {
            options,
            passes: &[],
            fuel: Fuel::new(options.fuel),
            report: Report::default(),
            pass: "",
            summary: Summary::default(),
            position: BTreeMap::new(),
            holders: BTreeMap::new(),
            age: BTreeMap::new(),
        }
    }

    fn pass(&mut self, graph: &mut Graph, index: usize, pass: &'static Pass, observer: &mut dyn Observer) {
        observer.before(index, pass, graph);
        self.pass = pass.name;
        self.summary = Summary { pass: pass.name, nodes_before: graph.len(), ..Summary::default() };
        if self.skips(pass.name) && !pass.required {
            self.summary.skipped = true;
        } else {
            let before = self.options.check.then(|| graph.clone());
            match pass.run {
                Work::Rules(rules) => {
                    let rules: Vec<&'static Rule> = rules.iter().copied().filter(|r| !self.skips(r.name)).collect();
                    self.rules(graph, &rules);
                }
                Work::Whole(run) => {
                    self.look_at(graph);
                    self.summary.rewrites += run(graph, &mut self.fuel);
                }
                Work::Quantization => {
                    self.look_at(graph);
                    let found = quantization::run(graph, &mut self.fuel, self.options.semantics);
                    self.summary.rewrites += found.rewrites;
                    self.report.folded = found.folded;
                    if self.options.explain {
                        self.report.log.extend(found.log);
                    }
                }
                Work::Regions => {
                    self.look_at(graph);
                    self.regions(graph);
                }
                Work::Channels => {
                    self.look_at(graph);
                    let found = channels::run(graph, &mut self.fuel);
                    self.summary.rewrites += found.rewrites;
                    if self.options.explain {
                        self.report.log.extend(found.log);
                    }
                }
                Work::Order => {
                    self.look_at(graph);
                    clean::order(graph, &self.age);
                    self.age.clear();
                }
            }
            if self.summary.rewrites > 0 && self.fuel.left() != Some(0) {
                // dumps then show nodes in the order of the model
                clean::order(graph, &self.age);
                self.age.clear();
            }
            if let Err(wrong) = verify::verify(graph) {
                panic!("pass {} broke the graph: {}", pass.name, wrong.join("; "));
            }
            // folding quantized arithmetic moves roundings, by what the semantics say
            let comparable = self.summary.rewrites > 0 && !matches!(pass.run, Work::Quantization);
            if let Some(before) = before.filter(|_| comparable) {
                self.report.mismatches.extend(check::compare(&before, graph, 0).into_iter().map(|m| format!("{}: {m}", pass.name)));
            }
        }
        self.summary.nodes_after = graph.len();
        observer.after(index, pass, graph, &self.summary);
        self.report.passes.push(std::mem::take(&mut self.summary));
    }

    /// The passes on the region of every scan, with what they read of constants inside.
    fn regions(&mut self, graph: &mut Graph) {
        let scans: Vec<NodeId> = graph.order().into_iter().filter(|&id| matches!(graph.op(id), Op::Scan { .. })).collect();
        for mut id in scans {
            if let Some((op, operands)) = sink_constants(graph, id).filter(|_| self.fuel.take()) {
                let names = graph.node(id).names.clone();
                let new = graph.add(op, &operands, &names).expect("it takes fewer of the same operands");
                self.age.insert(new, self.age.get(&id).copied().unwrap_or(usize::MAX));
                graph.replace(id, new);
                graph.remove_unused(id);
                self.summary.rewrites += 1;
                id = new;
            }
            let mut op = graph.op(id).clone();
            let Op::Scan { region, .. } = &mut op else { continue };
            let mut inner = region.graph().clone();
            let options = Options { fuel: self.fuel.left(), ..self.options.clone() };
            let report = run(&mut inner, self.passes, &options, &mut ()).expect("the names to skip were looked at");
            self.fuel = Fuel::new(report.fuel_left);
            if report.rewrites() > 0 {
                self.summary.rewrites += report.rewrites();
                *region = Region::new(inner);
                graph.set_op(id, op);
            }
            self.report.log.extend(report.log);
            self.report.mismatches.extend(report.mismatches);
            self.report.unsettled.extend(report.unsettled);
            self.report.refused.extend(report.refused);
        }
    }

    fn skips(&self, name: &str) -> bool {
        self.options.skip.iter().any(|s| s == name)
    }

    /// Node by node in order, then what a rewrite touched; and over again until a whole round does nothing.
    fn rules(&mut self, graph: &mut Graph, rules: &[&'static Rule]) {
        self.look_at(graph);
        let limit = 100 * (graph.len() + 50);
        loop {
            let mut queue = Queue::default();
            graph.order().into_iter().for_each(|id| queue.push(id));
            let (mut fired, mut missed) = (0, Vec::new());
            while let Some(id) = queue.pop() {
                if !graph.contains(id) {
                    continue;
                }
                if let Some(rule) = self.first_match(graph, id, rules, &mut queue, &mut missed) {
                    fired += 1;
                    self.summary.rewrites += 1;
                    *self.summary.fired.entry(rule).or_default() += 1;
                }
                if self.fuel.left() == Some(0) {
                    return;
                }
            }
            if fired == 0 {
                // only now does a near miss say something about the graph as it stays
                if self.options.explain {
                    self.report.log.extend(missed);
                }
                return;
            }
            if self.summary.rewrites > limit {
                self.report.unsettled.push(self.pass);
                return;
            }
        }
    }

    fn first_match(
        &mut self,
        graph: &mut Graph,
        id: NodeId,
        rules: &[&'static Rule],
        queue: &mut Queue,
        missed: &mut Vec<Line>,
    ) -> Option<&'static str> {
        for rule in rules {
            if !(rule.root)(graph.op(id)) {
                continue;
            }
            let line = |graph: &Graph, why_not| Line {
                pass: self.pass,
                rule: rule.name,
                op: graph.op(id).mnemonic(),
                at: graph.label(id),
                why_not,
            };
            match (rule.at)(graph, id) {
                None => {}
                Some(Match::Near(_)) if !self.options.explain => {}
                Some(Match::Near(why)) => missed.push(line(graph, Some(why))),
                Some(Match::Fire(rewrite)) => {
                    if let Some(why) = unsound(graph, &rewrite) {
                        self.report.refused.push(format!("{} at \"{}\": {why}", rule.name, graph.label(id)));
                        continue;
                    }
                    if !self.fuel.take() {
                        return None;
                    }
                    if self.options.explain {
                        self.report.log.push(line(graph, None));
                    }
                    self.apply(graph, id, rewrite, queue);
                    return Some(rule.name);
                }
            }
        }
        None
    }

    /// Takes stock of names and ages of a graph that is new or was changed as a whole.
    fn look_at(&mut self, graph: &Graph) {
        self.holders.clear();
        let fresh = self.position.is_empty();
        for (i, id) in graph.order().into_iter().enumerate() {
            self.age.entry(id).or_insert(i);
            if graph.as_const(id).is_some() {
                continue;
            }
            for name in &graph.node(id).names {
                *self.holders.entry(name.clone()).or_default() += 1;
                if fresh {
                    let next = self.position.len();
                    self.position.entry(name.clone()).or_insert(next);
                }
            }
        }
    }

    fn apply(&mut self, graph: &mut Graph, root: NodeId, rewrite: Rewrite, queue: &mut Queue) {
        let age = self.age.get(&root).copied().unwrap_or(usize::MAX);
        let mut ids = Vec::with_capacity(rewrite.new.len());
        let find = |ids: &[NodeId], value: Val| match value {
            Val::Old(id) => id,
            Val::New(i) => ids[i],
        };
        for node in rewrite.new {
            let operands: Vec<NodeId> = node.operands.iter().map(|&v| find(&ids, v)).collect();
            let names = self.names(node.from.iter().flat_map(|&id| graph.node(id).names.iter().cloned()).collect());
            if !matches!(node.op, Op::Const { .. }) {
                names.iter().for_each(|name| *self.holders.entry(name.clone()).or_default() += 1);
            }
            let id = graph.add(node.op, &operands, &names).expect("the builder inferred the same type");
            self.age.insert(id, age);
            queue.push(id);
            operands.into_iter().for_each(|id| queue.push(id));
            ids.push(id);
        }
        for (old, value) in rewrite.replace {
            let new = find(&ids, value);
            graph.replace(old, new);
            self.remove(graph, old, Some(new), queue);
            for (user, _) in graph.uses(new) {
                queue.push(user);
                graph.uses(user).into_iter().for_each(|(next, _)| queue.push(next));
            }
        }
        for id in ids {
            self.remove(graph, id, None, queue);
        }
    }

    /// Removes what became unused. A name that nothing else bears goes on to `heir`.
    fn remove(&mut self, graph: &mut Graph, id: NodeId, heir: Option<NodeId>, queue: &mut Queue) {
        if !graph.contains(id) || graph.use_count(id) > 0 {
            return;
        }
        let below = graph.operands(id);
        let mut orphans: Names = Vec::new();
        for (gone, node) in graph.remove_unused(id) {
            self.age.remove(&gone);
            if matches!(node.op, Op::Const { .. }) {
                continue;
            }
            for name in node.names {
                let left = self.holders.entry(name.clone()).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 && !orphans.contains(&name) {
                    orphans.push(name);
                }
            }
        }
        for id in below.into_iter().filter(|&id| graph.contains(id)) {
            // it may be unshared now, and its users care
            queue.push(id);
            graph.uses(id).into_iter().for_each(|(user, _)| queue.push(user));
        }
        if let Some(heir) = heir.filter(|&heir| !matches!(graph.op(heir), Op::Const { .. } | Op::Input { .. })) {
            orphans.iter().for_each(|name| *self.holders.entry(name.clone()).or_default() += 1);
            let all: Names = graph.node(heir).names.iter().cloned().chain(orphans).collect();
            let sorted = self.names(all);
            graph.set_names(heir, sorted);
        }
    }

    /// Each once, in the order in which the model had them.
    fn names(&self, mut names: Names) -> Names {
        names.sort_by_key(|name| (self.position.get(name).copied().unwrap_or(usize::MAX), name.clone()));
        names.dedup();
        names
    }
}

/// Why a rewrite must not be applied.
fn unsound(graph: &Graph, rewrite: &Rewrite) -> Option<String> {
    for (old, value) in &rewrite.replace {
        let ty = match *value {
            Val::Old(id) => graph.ty(id),
            Val::New(i) => &rewrite.new[i].ty,
        };
        if ty != graph.ty(*old) {
            return Some(format!("{} would become {ty}", graph.ty(*old)));
        }
        if *value == Val::Old(*old) || rewrite.new.iter().any(|n| n.operands.contains(&Val::Old(*old))) {
            return Some("it would feed on what it replaces".into());
        }
    }
    None
}

/// Nodes to look at, each once until it was looked at.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<NodeId>,
    inside: BTreeSet<NodeId>,
}

impl Queue {
    fn push(&mut self, id: NodeId) {
        if self.inside.insert(id) {
            self.waiting.push_back(id);
        }
    }
    fn pop(&mut self) -> Option<NodeId> {
        let id = self.waiting.pop_front()?;
        self.inside.remove(&id);
        Some(id)
    }
}
