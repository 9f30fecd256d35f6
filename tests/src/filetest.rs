//! Filetests: `KIND/NAME.gir` holds a comment that says what to run, a graph, a line `// ----`, and the graph
//! that must come out. The first line is `// test: NAME`: a pass, a recipe, or `rule NAME`. Before and after
//! also go through the oracle on made-up inputs, so that a golden text cannot bless a wrong rewrite.
//!
//! `NAME_not.gir` shows where a rule must not fire: what comes out is what went in. A first line
//! `// test: near NAME` also wants the rule's reason, as a last comment `// near: …`.
//!
//! `// test: lower LEVEL` lowers the graph for a CPU level; what comes out is the program. It must verify,
//! compute what the graph does by the oracles of both, and its kernels must read back as they are printed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ir::graph::{eval, text, verify};
use ir::{Graph, Tensor, kernel, program};
use passes::{Options, Recipe, Rule};

/// The line between what goes in and what comes out.
pub const SEAM: &str = "// ----\n";

/// Largest difference between a program and its graph, against the largest magnitude in the tensor.
const TOLERANCE: f64 = 1e-5;

/// What became of the files of a folder.
#[derive(Default)]
pub struct Counts {
    pub passed: usize,
    /// Written anew since they differed.
    pub blessed: usize,
    /// Path and what is wrong.
    pub failed: Vec<String>,
    /// Every rule named by a `// test: rule` line and whether the graph changed, by file.
    pub rules: BTreeMap<String, Vec<bool>>,
    /// Every file whose program is sound and computes what its graph does, with its CPU level.
    pub lowered: BTreeMap<String, &'static str>,
    /// The operators in those files, before lowering.
    pub operators: BTreeSet<&'static str>,
}

/// Every `.gir` below `root`, in order of their paths. With `bless`, differing expectations are written anew;
/// what the oracle or the verifier objects to is not.
pub fn run(root: &Path, bless: bool) -> std::io::Result<Counts> {
    let mut counts = Counts::default();
    for path in files(root)? {
        let content = std::fs::read_to_string(&path)?;
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        match run_one(&name, &content, &mut counts) {
            Err(what) => counts.failed.push(format!("{name}: {what}")),
            Ok(actual) if actual == content => counts.passed += 1,
            Ok(actual) if bless => {
                std::fs::write(&path, actual)?;
                counts.blessed += 1;
            }
            Ok(actual) => {
                counts.failed.push(format!("{name}: comes out otherwise (BLESS=1 writes it anew):\n{}", difference(&content, &actual)))
            }
        }
    }
    Ok(counts)
}

/// Every `.gir` below `root`, in order. Fault: a folder that cannot be read.
pub fn files(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "gir") {
                out.push(path);
            }
        }
    }
    out.sort();
    Ok(out)
}

/// The file as it should read. Fault: it does not parse, or what comes out is wrong.
fn run_one(name: &str, content: &str, counts: &mut Counts) -> Result<String, String> {
    let (input, _) = content.split_once(SEAM).unwrap_or((content, ""));
    let command = input.lines().next().and_then(|l| l.strip_prefix("// test: ")).ok_or("the first line is not `// test: …`")?.trim();
    let graph = text::parse(input, &|_| None).map_err(|e| e.to_string())?;
    verify::verify(&graph).map_err(|wrong| wrong.join("; "))?;
    if let Some(level) = command.strip_prefix("lower ") {
        let (level, lowered) = lower(level, &graph)?;
        counts.lowered.insert(name.into(), level);
        counts.operators.extend(graph.order().into_iter().map(|id| graph.op(id).mnemonic()));
        return Ok(format!("{}\n{SEAM}{lowered}", input.trim_end()));
    }
    let mut after = graph.clone();
    let notes = rewrite(command, &mut after)?;
    verify::verify(&after).map_err(|wrong| format!("the result is no graph: {}", wrong.join("; ")))?;
    for seed in [1, 2] {
        let wrong = passes::check::compare(&graph, &after, seed);
        if !wrong.is_empty() {
            return Err(format!("it computes something else: {}", wrong.join("; ")));
        }
    }
    let changed = text::print(&after) != text::print(&graph);
    if name.ends_with("_not.gir") == changed {
        return Err(if changed { "it must not change the graph, but does".into() } else { "it does not change the graph".into() });
    }
    if let Some(rule) = command.strip_prefix("rule ").or(command.strip_prefix("near ")) {
        counts.rules.entry(rule.into()).or_default().push(changed);
    }
    Ok(format!("{}\n{SEAM}{}{notes}", input.trim_end(), text::print(&after)))
}

/// Runs what the first line names; what to note below the result.
fn rewrite(command: &str, graph: &mut Graph) -> Result<String, String> {
    let options = Options { explain: true, ..Options::default() };
    let (kind, name) = command.split_once(' ').unwrap_or(("", command));
    let report = match kind {
        "rule" | "near" => passes::run::run_rules(graph, &[rule(name)?], &options),
        "" => match Recipe::from_name(name) {
            Some(recipe) => passes::optimize(graph, &Options { recipe, ..options }, &mut ()).map_err(|f| f[0].to_string())?,
            None => {
                let pass = passes::recipe::ALL.iter().find(|p| p.name == name).ok_or_else(|| format!("there is no pass `{name}`"))?;
                passes::run::run(graph, &[pass], &options, &mut ()).map_err(|f| f[0].to_string())?
            }
        },
        _ => return Err(format!("cannot run `{command}`")),
    };
    let own = [report.refused, report.mismatches, report.unsettled.iter().map(|p| format!("{p} does not come to rest")).collect()].concat();
    if !own.is_empty() {
        return Err(own.join("; "));
    }
    if kind != "near" {
        return Ok(String::new());
    }
    let reasons: Vec<String> = report.log.into_iter().filter_map(|l| l.why_not).map(|why| format!("// near: {why}\n")).collect();
    if reasons.is_empty() { Err("the rule gives no reason".into()) } else { Ok(reasons.concat()) }
}

fn rule(name: &str) -> Result<&'static Rule, String> {
    passes::recipe::rules().into_iter().find(|r| r.name == name).ok_or_else(|| format!("there is no rule `{name}`"))
}

/// The level's name and the graph's program for it, as text. Fault: what is wrong with the program.
fn lower(level: &str, graph: &Graph) -> Result<(&'static str, String), String> {
    let mut levels = x64::facts::LEVELS.iter().map(|l| l.facts);
    let facts = levels.find(|f| f.name == level).ok_or_else(|| format!("there is no CPU level `{level}`"))?;
    let program = kernels::lower(graph, facts).map_err(|f| f.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    program::verify(&program, facts).map_err(|wrong| format!("the program is unsound: {}", wrong.join("; ")))?;
    for kernel in &program.kernels {
        let back = kernel::text::parse(&kernel::text::print(kernel)).map_err(|e| format!("kernel {} does not parse: {e}", kernel.name))?;
        if back != *kernel {
            return Err(format!("kernel {} reads back as another one", kernel.name));
        }
    }
    for seed in [1, 2] {
        let types = graph.inputs().iter().map(|&id| graph.ty(id));
        let drawn = types.enumerate().map(|(i, ty)| Some(text::random(ty.dtype, &ty.fixed()?, seed * 31 + i as u64)));
        let given: Vec<Tensor> = drawn.collect::<Option<_>>().ok_or("an input's shape is not fixed")?;
        let wanted = eval::eval(graph, &given).map_err(|e| format!("the oracle does not take made-up inputs: {e}"))?;
        let got = program::run(&program, facts, &given).map_err(|status| format!("the program fails with status {status}"))?;
        for ((name, _), (w, g)) in graph.outputs().iter().zip(wanted.iter().zip(&got)) {
            if let Some(wrong) = deviation(w, g) {
                return Err(format!("output \"{name}\": {wrong}"));
            }
        }
    }
    Ok((facts.name, program::text::print(&program)))
}

/// How a program's output differs from the oracle's beyond rounding; what is no float must be equal.
fn deviation(wanted: &Tensor, got: &Tensor) -> Option<String> {
    if wanted.ty() != got.ty() {
        return Some(format!("{} became {}", wanted.ty(), got.ty()));
    }
    let (w, g) = (wanted.to_f64s(), got.to_f64s());
    let largest = w.iter().filter(|v| v.is_finite()).fold(0f64, |m, v| m.max(v.abs()));
    let room = if wanted.dtype().is_float() { TOLERANCE * largest } else { 0.0 };
    let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= room;
    let at = w.iter().zip(&g).position(|(&a, &b)| !same(a, b))?;
    Some(format!("element {at} is {}, not {}", g[at], w[at]))
}

/// The first lines that differ.
fn difference(wanted: &str, got: &str) -> String {
    let (w, g): (Vec<&str>, Vec<&str>) = (wanted.lines().collect(), got.lines().collect());
    let at = w.iter().zip(&g).take_while(|(a, b)| a == b).count();
    let show = |lines: &[&str], sign: char| lines.iter().skip(at).take(8).map(|l| format!("  {sign} {l}\n")).collect::<String>();
    format!("{}{}", show(&w, '-'), show(&g, '+'))
}
