//! What the documents show is what happens: every command that begins with `maquette` runs, those of bash, cargo and Python
//! name what is there, C is compiled, pages that are printed from tables are current. `BLESS=1` writes those pages anew.

use std::path::Path;
use std::process::Command;

use maquette::files::Scratch;
use tests::house::{self, have, must};

/// The blocks between ``` in a page, with the word behind the first of them.
fn blocks(page: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(house::committed(page)).unwrap_or_else(|why| panic!("{page}: {why}"));
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match (line.strip_prefix("```"), inside) {
            (Some(_), true) => inside = false,
            (Some(language), false) => {
                inside = true;
                blocks.push((language.trim().into(), String::new()));
            }
            (None, true) => {
                let (_, block) = blocks.last_mut().expect("one was begun");
                block.push_str(line);
                block.push('\n');
            }
            (None, false) => {}
        }
    }
    assert!(!inside, "{page}: a block does not end");
    blocks
}

/// What is to be run: lines that begin with the program, without comments (`# …`, or what stands behind two blanks).
fn commands(page: &str) -> Vec<String> {
    let lines = blocks(page).into_iter().flat_map(|(_, block)| block.lines().map(str::to_owned).collect::<Vec<_>>());
    let lines = lines.filter(|line| line.starts_with("maquette "));
    lines.map(|line| line.split(" #").next().and_then(|l| l.split("  ").next()).unwrap_or_default().trim().to_owned()).collect()
}

/// A folder that looks like the repository as far as the pages go, and with models of the names that they use.
fn folder() -> Scratch {
    let folder = house::scratch();
    let digits = folder.path.join("examples/digits");
    std::fs::create_dir_all(&digits).expect("there is room");
    for place in
        [digits.join("digits.onnx"), folder.path.join("model.onnx"), folder.path.join("MODEL.onnx"), folder.path.join("digits.onnx")]
    {
        std::fs::copy(house::digits(), place).expect("there is room");
    }
    std::fs::copy(house::committed("examples/digits/calib.npz"), folder.path.join("calib.npz")).expect("there is room");
    for model in ["counter.onnx", "decoder.onnx", "encoder.onnx"] {
        std::fs::copy(house::committed(&format!("tests/{model}")), folder.path.join(model)).expect("there is room");
    }
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_maquette-tested"), folder.path.join("maquette")).expect("there is room");
    folder
}

/// Through a shell, as a reader would.
fn shell(folder: &Path, line: &str) {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", folder.display());
    must(Command::new("sh").current_dir(folder).env("PATH", path).args(["-c", line]));
}

#[test]
fn commands_in_the_pages_run() {
    if house::here("commands in the pages").is_none() {
        return;
    }
    for page in ["README.md", "docs/cli.md", "docs/compression.md", "docs/machines.md", "docs/tuning.md"] {
        let folder = folder();
        let commands = commands(page);
        assert!(commands.len() > 3, "{page}: {commands:?}");
        for line in commands {
            // what a synopsis leaves open
            let line = match line.as_str() {
                "maquette run MODEL.onnx" => {
                    let image = ir::Tensor::f32s(&[1, 1, 8, 8], &[1.0; 64]);
                    let file = std::fs::File::create(folder.path.join("in.npz")).expect("there is room");
                    maquette::npz::write(file, &[("image".to_string(), image)]).expect("there is room");
                    format!("{line} --inputs in.npz")
                }
                _ => line,
            };
            let runner = if line.contains("qemu-aarch64") { Some("qemu-aarch64") } else { line.contains("verify").then_some("node") };
            if line.contains("--target") && !runner.is_none_or(|tool| have(tool, "commands in the pages")) {
                continue;
            }
            println!("{page}: {line}");
            shell(&folder.path, &line);
        }
    }
}

/// The pages of the repository, from its root.
fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    for folder in [
        ".",
        "docs",
        "docs/decisions",
        "examples/digits",
        "examples/firmware",
        "examples/threads",
        "examples/web",
        "bench",
        "bench/web",
        "runtime-stub",
    ] {
        let entries = std::fs::read_dir(house::committed(folder)).expect("the repository is here");
        let names = entries.map(|e| e.expect("it stays").file_name().to_string_lossy().into_owned());
        pages.extend(names.filter(|name| name.ends_with(".md")).map(|name| format!("{folder}/{name}")));
    }
    pages.sort();
    pages
}

/// Commands of bash, cargo and Python that a page names: lines of its blocks, and what stands between backquotes.
fn tools(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(house::committed(page)).expect("pages are text");
    let (mut prose, mut lines, mut inside) = (String::new(), Vec::new(), false);
    for line in text.lines() {
        match (line.starts_with("```"), inside) {
            (true, _) => inside = !inside,
            (false, true) => lines.extend(line.split(" #").next().into_iter().flat_map(|l| l.split("&&")).map(|l| l.trim().to_owned())),
            (false, false) => {
                prose.push_str(line);
                prose.push('\n');
            }
        }
    }
    lines.extend(prose.split('`').skip(1).step_by(2).map(str::to_owned));
    lines.retain(|line| ["bash ", "cargo ", "python3 "].iter().any(|tool| line.starts_with(tool)));
    lines
}

/// What is wrong with a command of cargo: a package, program or test that the workspace does not have, or a word that this
/// test does not know.
fn cargo(words: &[&str], metadata: &serde_json::Value) -> Option<String> {
    let mut packages: Vec<&serde_json::Value> = metadata["packages"].as_array().expect("cargo lists them").iter().collect();
    let mut words = words.iter();
    let Some(&("build" | "run" | "test")) = words.next() else { return Some("another command".into()) };
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    while let Some(&word) = words.next() {
        match word {
            "--release" => {}
            // what follows is the program's
            "--" => break,
            "-p" | "--bin" | "--test" => wanted.push((word, words.next()?)),
            _ => return Some(format!("{word} is not known here")),
        }
    }
    let named: Vec<&str> = wanted.iter().filter(|(flag, _)| *flag == "-p").map(|(_, name)| *name).collect();
    if let Some(none) = named.iter().find(|name| !packages.iter().any(|p| p["name"] == **name)) {
        return Some(format!("there is no package {none}"));
    }
    packages.retain(|p| named.is_empty() || named.iter().any(|name| p["name"] == *name));
    let has = |kind: &str, name: &str| {
        let targets = packages.iter().filter_map(|p| p["targets"].as_array()).flatten();
        targets.into_iter().any(|t| t["name"] == name && t["kind"].as_array().is_some_and(|all| all.iter().any(|k| k == kind)))
    };
    let missing = wanted.iter().find(|(flag, name)| *flag != "-p" && !has(&flag[2..], name));
    missing.map(|(flag, name)| format!("there is no {} {name}", &flag[2..]))
}

#[test]
fn tools_in_the_pages_are_there() {
    let metadata = must(
        Command::new(env!("CARGO"))
            .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
            .arg(house::committed("Cargo.toml")),
    );
    let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("cargo writes JSON");
    let python = have("python3", "Python in the pages");
    let (mut wrong, mut seen) = (Vec::new(), std::collections::BTreeSet::new());
    for page in pages() {
        for line in tools(&page) {
            println!("{page}: {line}");
            let words: Vec<&str> = line.split_whitespace().collect();
            seen.insert(words[0].to_owned());
            let fails = |command: &mut Command| {
                let output = command.output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
                (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
            };
            let script = house::committed(words[1]);
            let found = match words[..] {
                ["cargo", ..] => cargo(&words[1..], &metadata),
                ["python3", ..] if !python => None,
                ["python3", "-m", module, ..] => fails(Command::new("python3").args(["-c", &format!("import {module}")])),
                _ if !script.is_file() => Some("it is not there".into()),
                ["bash", ..] => fails(Command::new("bash").arg("-n").arg(&script)),
                // one with arguments explains them before it needs anything
                _ if std::fs::read_to_string(&script).is_ok_and(|text| text.contains("argparse")) => {
                    fails(Command::new("python3").arg(&script).arg("--help"))
                }
                _ => fails(Command::new("python3").args(["-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())"]).arg(&script)),
            };
            wrong.extend(found.map(|what| format!("{page}: {line}: {what}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen.len(), 3, "{seen:?}");
    let metadata = serde_json::json!({ "packages": [{ "name": "a", "targets": [{ "name": "b", "kind": ["bin"] }] }] });
    let refused = [&["run", "-p", "c"][..], &["run", "-p", "a", "--bin", "c"], &["test", "--test", "b"], &["run", "--fast"], &["fix"]];
    assert!(refused.iter().all(|words| cargo(words, &metadata).is_some()), "the check cannot fail");
    assert_eq!(cargo(&["run", "--release", "-p", "a", "--bin", "b", "--", "x"], &metadata), None);
}

#[test]
fn c_in_the_pages_compiles_and_runs() {
    let test = "C in the pages";
    if house::here(test).is_none() || !have("cc", test) {
        return;
    }
    let folder = folder();
    shell(&folder.path, "maquette compile digits.onnx");
    let programs: Vec<String> =
        blocks("docs/abi.md").into_iter().filter(|(l, b)| l == "c" && b.contains("int main")).map(|(_, b)| b).collect();
    assert!(!programs.is_empty(), "docs/abi.md shows a caller");
    for program in programs {
        std::fs::write(folder.path.join("main.c"), program).expect("there is room");
        shell(&folder.path, "cc -std=c99 -Wall -Wextra -Werror main.c libdigits.a -o main && ./main");
    }
    let inner: Vec<String> = blocks("README.md").into_iter().filter(|(language, _)| language == "c").map(|(_, b)| b).collect();
    assert_eq!(inner.len(), 1, "README.md shows a caller");
    for lines in inner {
        let (head, body) = lines.split_at(lines.find("float ").expect("it declares its tensors"));
        let program = format!("{head}int main(void)\n{{\n{body}return status;\n}}\n");
        std::fs::write(folder.path.join("main.c"), program).expect("there is room");
        // it shows no image
        let quiet = "-Wno-uninitialized -Wno-maybe-uninitialized";
        shell(&folder.path, &format!("cc -std=c99 -Wall -Wextra -Werror {quiet} main.c libdigits.a -o main && ./main"));
    }
}

#[test]
fn the_page_of_operators_is_current() {
    let said = must(Command::new(env!("CARGO_BIN_EXE_maquette-tested")).args(["ops", "--markdown"]));
    let page = house::committed("docs/operators.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&page, &said).expect("the repository can be written");
    }
    let there = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(there == said, "docs/operators.md is not what the table says; `BLESS=1 cargo test --test documents` writes it anew");
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut broken = Vec::new();
    let pages = pages();
    for page in &pages {
        let path = house::committed(page);
        let text = std::fs::read_to_string(&path).expect("pages are text");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !path.with_file_name(file).exists() {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(pages.len() > 5, "{pages:?}");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
