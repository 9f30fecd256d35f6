//! A compiled model as a child process: values go in and come out as bytes, and a crash of the child is not ours. It knows
//! the protocol of executables (docs/cli.md), not what is computed.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ir::Tensor;

use crate::error::{Error, Result};
use crate::files;

/// Words in front of the program, such as `qemu-x86_64 -cpu Haswell`; none: it is run as it is.
#[derive(Clone, Debug, Default)]
pub struct Runner(Vec<String>);

impl Runner {
    /// Words separated by blanks; `'…'` and `"…"` keep blanks. Fault: a quote that does not end.
    pub fn parse(text: &str) -> std::result::Result<Runner, String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for c in text.chars() {
            match (quote, c) {
                (Some(q), c) if c == q => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (None, c) if c.is_whitespace() => words.extend(word.take()),
                (_, c) => word.get_or_insert_default().push(c),
            }
        }
        if quote.is_some() {
            return Err(format!("a quote in {text:?} does not end"));
        }
        words.extend(word);
        Ok(Runner(words))
    }

    /// These words where there are none.
    pub fn or(self, word: &str) -> Runner {
        if self.0.is_empty() { Runner(vec![word.into()]) } else { self }
    }

    /// What an exit code means when it may be the runner's own.
    fn ended(&self, code: i32) -> Error {
        match code {
            1..=5 => {
                let what = format!("the runner ended with code {code}, which is the model's status if the runner ran it");
                Error::Status { file: None, status: code, what: vec![what] }
            }
            _ => Error::file(self.0.join(" "), format!("the runner ended with code {code}, which is no status of a model")),
        }
    }

    fn command(&self, program: &Path) -> Command {
        match self.0.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        }
    }
}

/// Gives `inputs` one after the other to the program and collects what it writes.
/// Fault: it cannot be started, returns a status, or crashes.
pub fn execute(program: &Path, arguments: &[String], runner: &Runner, inputs: &[Tensor]) -> Result<Vec<u8>> {
    let mut command = runner.command(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = start(&mut command).map_err(|why| {
        let name = command.get_program().to_string_lossy().into_owned();
        // ENOEXEC
        let other = if why.raw_os_error() == Some(8) { ": a program of another machine wants a --runner" } else { "" };
        Error::file(name, format!("cannot be executed: {}{other}", files::reason(&why)))
    })?;
    let mut stdin = child.stdin.take().expect("it was piped");
    let mut stdout = child.stdout.take().expect("it was piped");
    let mut output = Vec::new();
    let read = std::thread::scope(|scope| {
        scope.spawn(move || {
            for input in inputs {
                // a program that ends early closes the pipe; its status says why
                if stdin.write_all(&input.bytes()).is_err() {
                    return;
                }
            }
        });
        stdout.read_to_end(&mut output)
    });
    let status = child.wait().map_err(|why| Error::file(program.display(), files::reason(&why)))?;
    read.map_err(|why| Error::file(program.display(), files::reason(&why)))?;
    match status.code() {
        Some(0) => Ok(output),
        Some(code) if let Some(what) = refusal(code) => Err(Error::file(program.display(), what)),
        Some(code) if !runner.0.is_empty() => Err(runner.ended(code)),
        Some(code) => Err(Error::Status { file: None, status: code, what: vec!["the compiled model returned an error".into()] }),
        None => Err(Error::Internal(format!("the compiled model crashed ({status})"))),
    }
}

/// Starts a program that was written a moment ago. Between the fork and the exec of a child that another thread of this
/// process starts, that child too holds the file open for writing, and the system refuses to execute it.
pub fn start(command: &mut Command) -> io::Result<Child> {
    let mut patience = 100;
    loop {
        match command.spawn() {
            Err(why) if why.kind() == io::ErrorKind::ExecutableFileBusy && patience > 0 => patience -= 1,
            other => return other,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What a program says that did not come to run the model.
fn refusal(code: i32) -> Option<&'static str> {
    match i64::from(code) {
        clif::exe::code::USAGE => Some("refuses its arguments"),
        clif::exe::code::WEIGHTS => Some("cannot read its weights, or they have another size"),
        clif::exe::code::MEMORY => Some("gets no memory from the system"),
        clif::exe::code::OUTPUT => Some("cannot write its output"),
        // what shells and runners say
        126 | 127 => Some("cannot be executed by its runner"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runners_are_split_like_a_shell_does() {
        let words = |text: &str| Runner::parse(text).map(|r| r.0);
        assert_eq!(words("qemu-x86_64  -cpu Haswell").expect("fine"), ["qemu-x86_64", "-cpu", "Haswell"]);
        assert_eq!(words(" a 'b  c'd \"\" ").expect("fine"), ["a", "b  cd", ""]);
        assert!(words("").expect("fine").is_empty());
        assert!(words("a 'b").is_err());
    }

    #[test]
    fn a_child_gets_its_input_and_its_end_is_told() {
        let runner = Runner::parse("sh -c 'exec cat' sh").expect("fine");
        let tensor = Tensor::f32s(&[1 << 16], &vec![1.5; 1 << 16]);
        let out = execute(Path::new("x"), &[], &runner, &[tensor.clone(), tensor.clone()]).expect("it echoes");
        assert_eq!(out, [tensor.bytes(), tensor.bytes()].concat());
        let end = |script: &str| {
            let runner = Runner::parse(&format!("sh -c '{script}' sh")).expect("fine");
            execute(Path::new("x"), &[], &runner, std::slice::from_ref(&tensor)).expect_err("it fails").exit_code()
        };
        assert_eq!(end("exit 4"), 9);
        assert_eq!(end("exit 9"), 6);
        assert_eq!(end("kill -SEGV $$"), 70);
        assert_eq!(execute(Path::new("/none"), &[], &Runner::default(), &[]).expect_err("no program").exit_code(), 6);
    }
}
