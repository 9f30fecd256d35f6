//! A folder for each test, and tools that may be missing. A test that is not run is said aloud: a line that starts with `SKIPPED` on
//! the error stream, which the test runner does not swallow.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use artifact::{Code, Machine, Symbol, System};

/// The tests of a crate. [`room!`](crate::room) makes it.
pub struct Room {
    /// The package.
    pub name: &'static str,
    /// Where its tests may write.
    pub folder: &'static str,
}

/// The [`Room`](common::Room) of the integration tests in which it stands.
#[macro_export]
macro_rules! room {
    () => {
        $crate::common::Room { name: env!("CARGO_PKG_NAME"), folder: env!("CARGO_TARGET_TMPDIR") }
    };
}

impl Room {
    fn short(&self) -> &str {
        self.name.trim_start_matches("maquette-")
    }

    /// A fresh folder of this test.
    pub fn folder(&self, test: &str) -> PathBuf {
        let path = Path::new(self.folder).join(self.short()).join(test);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder for the test");
        path
    }

    /// Says which test is not run, and why.
    pub fn skip(&self, test: &str, why: &str) {
        writeln!(std::io::stderr(), "SKIPPED {}::{test}: {why}", self.short()).expect("standard error");
    }

    /// Whether `tool` is installed. If not, says which test loses it.
    pub fn have(&self, tool: &str, test: &str) -> bool {
        let found = Command::new(tool).arg("--version").output().is_ok();
        if !found {
            self.skip(test, &format!("{tool} is not installed"));
        }
        found
    }

    /// Whether this computer runs x86-64 Linux programs itself.
    pub fn native(&self, test: &str) -> bool {
        let fits = cfg!(all(target_arch = "x86_64", target_os = "linux"));
        if !fits {
            self.skip(test, "needs x86-64 Linux");
        }
        fits
    }
}

/// Runs it, whatever its status will be.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs it; fails with what it said if its status is not 0.
pub fn succeed(command: &mut Command) -> Output {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Runs `command` with `input` on its standard input.
pub fn piped(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("it was asked for");
    let input = input.to_vec();
    // a child that fails early does not read
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("the child ends");
    writer.join().expect("writing to a pipe does not panic");
    output
}

/// Compiles `source` in `folder` and links it with an object of each list of x86-64 functions. Returns the program.
pub fn link(folder: &Path, source: &str, objects: Vec<Vec<Symbol>>) -> PathBuf {
    let (text, program) = (folder.join("main.c"), folder.join("main"));
    std::fs::write(&text, source).expect("the folder is ours");
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]).args([&program, &text]);
    for (i, symbols) in objects.into_iter().enumerate() {
        let object = folder.join(format!("code{i}.o"));
        let mut file = std::fs::File::create(&object).expect("the folder is ours");
        artifact::object(&Code { machine: Machine::X86_64, system: System::Linux, symbols }, &mut file).expect("well-formed code");
        cc.arg(object);
    }
    succeed(&mut cc);
    program
}
