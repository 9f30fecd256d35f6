//! Broken and hostile models through the command line, as `../shared/conformance/README.md` lists them: the exit code says
//! what kind of fault it is, the message names the culprit, nothing is written, and no limit of time or memory is passed.

use std::fs;
use std::path::Path;
use std::process::Command;

use ir::Tensor;
use maquette::files::Scratch;
use maquette::npz::{self, Arrays};
use maquette::target::Emit;
use serde_json::Value as Json;
use tests::house::{self, must};

/// Kilobytes of data and seconds of processor time: what the list allows, and what an idle stack and a slow machine add.
const LIMITS: &str = "ulimit -d 1310720 && ulimit -t 20 && exec \"$@\"";

/// What came of a case.
enum Verdict {
    Fine,
    /// It could not come to its fault: an operator in it is not there yet.
    Unsupported,
    Wrong(String),
}

fn texts(json: &Json) -> Vec<&str> {
    json.as_array().into_iter().flatten().filter_map(Json::as_str).collect()
}

/// Exit codes for what a case may be.
fn allowed(expect: &[&str], runtime: bool) -> Vec<i32> {
    let code = |word: &&str| match *word {
        "E_UNSUPPORTED" => 4,
        "E_LIMIT" => 5,
        "E_EXTERNAL" => 6,
        word if word.starts_with("E_") => 3,
        _ => 0,
    };
    expect.iter().map(code).chain(runtime.then_some(4)).collect()
}

/// Whether a message names something; a short name must stand alone, since `w` is in almost every sentence.
fn names(message: &str, name: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    message.match_indices(name).any(|(at, _)| {
        let before = message[..at].chars().next_back();
        let mut after = message[at + name.len()..].chars();
        let ends = match after.next() {
            Some('.') => !after.next().is_some_and(part),
            next => !next.is_some_and(|c| part(c) || "/-".contains(c)),
        };
        name.len() > 3 || (ends && !before.is_some_and(|c| part(c) || "/.-".contains(c)))
    })
}

/// What the list wants beside the files of a case.
fn set_up(case: &Path, steps: &Json) {
    for (kind, paths) in steps.as_array().into_iter().flatten().filter_map(Json::as_object).flatten() {
        let paths = texts(paths);
        let first = case.join(paths[0]);
        match kind.as_str() {
            "symlink" => std::os::unix::fs::symlink(paths[1], first).expect("there is room"),
            "hardlink" => fs::hard_link(case.join(paths[1]), first).expect("there is room"),
            "mkdir" => fs::create_dir(first).expect("there is room"),
            "fifo" => drop(must(Command::new("mkfifo").arg(first))),
            other => panic!("{other} is no step of a case"),
        }
    }
}

/// Exit code (none: a signal) and what was said.
fn maquette(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("sh");
    command.current_dir(folder).args(["-c", LIMITS, "sh", env!("CARGO_BIN_EXE_maquette-tested")]).args(arguments);
    let output = house::piped(&mut command, &[]);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout))
}

fn check(list: &Path, case: &Json) -> Verdict {
    let folder = house::scratch();
    match judge(list, case, &folder) {
        Ok(verdict) => verdict,
        Err(what) => Verdict::Wrong(format!("{} ({}): {what}", case["name"].as_str().unwrap_or("?"), case["what"].as_str().unwrap_or("?"))),
    }
}

fn judge(list: &Path, case: &Json, folder: &Scratch) -> Result<Verdict, String> {
    let name = case["name"].as_str().expect("a case has a name");
    fs::write(folder.path.join("outside.bin"), [0; 12]).expect("there is room");
    must(Command::new("cp").arg("-r").arg(list.join(name)).arg(folder.path.join("case")));
    set_up(&folder.path.join("case"), &case["setup"]);
    let expect = texts(&case["expect"]);
    let runtime = case["group"] == "runtime" || expect.iter().any(|e| e.starts_with("R_"));

    let (code, said) = maquette(&folder.path, &["compile", "case/model.onnx", "--name", "net", "-o", "out"]);
    let code = code.ok_or_else(|| format!("a signal; {said}"))?;
    let allowed = allowed(&expect, runtime);
    if code == 4 && !allowed.contains(&4) && said.contains("the operator ") && said.contains(" is not supported") {
        return Ok(Verdict::Unsupported);
    }
    if !allowed.contains(&code) {
        return Err(format!("exit {code}, not one of {allowed:?}: {said}"));
    }
    if said.len() > 16 << 10 {
        return Err(format!("{} bytes are said", said.len()));
    }
    if code != 0 {
        if folder.path.join("out").exists() {
            return Err("something was written".into());
        }
        let culprit = case["must_name"].as_str();
        return match culprit.filter(|c| !names(&said, c)) {
            Some(culprit) => Err(format!("{culprit:?} is not named: {said}")),
            None => Ok(Verdict::Fine),
        };
    }
    let inputs = texts(&case["inputs"]);
    if !runtime || inputs.is_empty() {
        return Ok(Verdict::Fine);
    }
    let read = |(i, file): (usize, &&str)| -> (String, Tensor) {
        let arrays = Arrays::open(&list.join(file)).expect("the list has its arrays");
        let dtype = arrays.list[0].header.descr.dtype().expect("a type of numpy");
        (format!("arr_{i}"), arrays.tensor(&arrays.list[0], dtype).expect("the array is whole"))
    };
    let file = fs::File::create(folder.path.join("in.npz")).expect("there is room");
    npz::write(file, &inputs.iter().enumerate().map(read).collect::<Vec<_>>()).expect("there is room");
    let (code, said) = maquette(&folder.path, &["run", "case/model.onnx", "--inputs", "in.npz", "--outputs", "out.npz"]);
    match code {
        Some(0) if expect.contains(&"R_DEFINED") => Ok(Verdict::Fine),
        Some(9) if expect.contains(&"R_ERROR") => Ok(Verdict::Fine),
        code => Err(format!("the run ends with {code:?}, wanted {expect:?}: {said}")),
    }
}

#[test]
fn hostile_models_are_refused_by_their_fault() {
    let test = "hostile models";
    let Some(list) = house::shared("conformance/malformed", test) else { return };
    if house::here(test).is_none() {
        return;
    }
    let text = fs::read_to_string(list.join("manifest.json")).expect("there is a list");
    let cases: Json = serde_json::from_str(&text).expect("the list is JSON");
    let cases = cases.get("cases").unwrap_or(&cases).as_array().expect("a list of cases");
    let verdicts = house::each(cases, |case| check(&list, case));
    let count = |kind: fn(&Verdict) -> bool| verdicts.iter().filter(|v| kind(v)).count();
    let fine = count(|v| matches!(v, Verdict::Fine));
    println!("conformance, hostile models: {fine} of {} right, {} unsupported", cases.len(), count(|v| matches!(v, Verdict::Unsupported)));
    let wrong: Vec<&String> = verdicts.iter().filter_map(|v| if let Verdict::Wrong(what) = v { Some(what) } else { None }).collect();
    assert!(wrong.is_empty(), "{} cases\n{}", wrong.len(), wrong.iter().map(|w| w.as_str()).collect::<Vec<_>>().join("\n"));
    assert!(fine >= 243, "{fine} are right, 243 were");
}

#[test]
fn names_stand_alone_where_they_are_short() {
    assert!(names("input \"w\": wrong", "w") && names("of w.", "w") && names("(w)", "w"));
    assert!(!names("we follow w.bin", "w") && !names("a/w", "w") && !names("w-x", "w"));
    assert!(names("bad_node1", "bad_node"));
}

/// Names that break texts which take them as they are.
fn evil_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "int",
        "a\nb",
        "*/ evil(); /*",
        "\u{202e}abc\u{2066}",
        "\"",
        "\\",
        "//",
        "%0",
        "}",
        "\0",
        "\u{1b}[31m",
        "é",
        "🦀",
        "a b",
        "// ----",
    ]
    .iter()
    .map(|n| n.to_string())
    .collect();
    names.push("n".repeat(64 << 10));
    names
}

#[test]
fn dumps_survive_any_name() {
    let Some((_, levels)) = house::here("names in dumps") else { return };
    let mut graph = ir::Graph::new();
    let mut outputs = Vec::new();
    for (i, name) in evil_names().into_iter().enumerate() {
        let ty = ir::Type::of(ir::Dtype::F32, &[4 + i]);
        let input = graph.add(ir::Op::Input { name: name.clone(), ty }, &[], &[name.as_str().into()]).expect("an input fits");
        let body = ir::scalar::body("{ exp(a) }").expect("it is right");
        let made = graph.add(ir::Op::Map { body }, &[input], &[name.as_str().into()]).expect("it fits");
        outputs.push((name, made));
    }
    graph.set_outputs(outputs);
    let printed = ir::graph::text::print(&graph);
    let back = ir::graph::text::parse(&printed, &|_| None).expect("what is printed reads back");
    assert_eq!(ir::graph::text::print(&back), printed);
    let names = |graph: &ir::Graph| graph.outputs().iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&back), evil_names());
    let folder = house::scratch();
    let options = house::options(levels, "names");
    let emits = [Emit::Gir, Emit::Kir, Emit::Asm, Emit::Header, Emit::Json];
    let (_, written) = house::compile(graph, &options, &emits, &folder.path).expect("it compiles");
    for file in written {
        let bytes = fs::read(&file.path).expect("it was written");
        let odd = bytes.iter().position(|b| *b != b'\n' && !(b' '..=b'~').contains(b));
        assert_eq!(odd.map(|at| bytes[at]), None, "{}", file.path.display());
    }
}
