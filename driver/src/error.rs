//! What the user is told when it does not work, and the exit code that goes with it. Every fault is told, each on a
//! line, cut so that a hostile model cannot flood a terminal. Our own mistakes are panics; `main` catches them.

use std::fmt;

use ir::{Fault, Kind};

/// Bytes of a whole message at most.
const MESSAGE: usize = 12 << 10;
/// Characters of a name, and of a sentence, at most.
const NAME: usize = 200;
const SENTENCE: usize = 700;

/// Why nothing was done.
#[derive(Clone, Debug)]
pub enum Error {
    /// Something the user gave is wrong; exit 2 to 6 by the kind.
    Faults { file: Option<String>, faults: Vec<Fault> },
    /// The compiled model and what was expected of it differ; exit 7.
    Verification(String),
    /// The compiled model returned a status, or was not run because it would have; exit 9.
    Status { file: Option<String>, status: i32, what: Vec<String> },
    /// A mistake of ours, noticed; exit 70.
    Internal(String),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn usage(what: impl Into<String>) -> Error {
        Error::from(Fault::usage(what))
    }

    /// A file that cannot be read or written.
    pub fn file(path: impl fmt::Display, what: impl fmt::Display) -> Error {
        Error::Faults { file: Some(path.to_string()), faults: vec![Fault::file(what.to_string())] }
    }

    /// Names the model's file, unless a file is named already.
    pub fn of_file(self, path: impl fmt::Display) -> Error {
        match self {
            Error::Faults { file: None, faults } => Error::Faults { file: Some(path.to_string()), faults },
            Error::Status { file: None, status, what } => Error::Status { file: Some(path.to_string()), status, what },
            other => other,
        }
    }

    /// The exit code of the command line. Of faults of several kinds the gravest decides: a broken model stays
    /// broken, whatever else is not supported.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Faults { faults, .. } => faults.iter().map(|f| (gravity(f.kind), code(f.kind))).max().map_or(70, |(_, code)| code),
            Error::Verification(_) => 7,
            Error::Status { .. } => 9,
            Error::Internal(_) => 70,
        }
    }
}

fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Usage => 2,
        Kind::Invalid => 3,
        Kind::Unsupported => 4,
        Kind::Limit => 5,
        Kind::File => 6,
    }
}

fn gravity(kind: Kind) -> u8 {
    match kind {
        Kind::Usage => 0,
        Kind::Unsupported => 1,
        Kind::Limit => 2,
        Kind::File => 3,
        Kind::Invalid => 4,
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error::from(vec![fault])
    }
}

impl From<Vec<Fault>> for Error {
    fn from(faults: Vec<Fault>) -> Error {
        Error::Faults { file: None, faults }
    }
}

/// What the writers of files say. A broken law of code is ours.
impl From<artifact::Fault> for Error {
    fn from(fault: artifact::Fault) -> Error {
        match fault {
            artifact::Fault::Code(what) => Error::Internal(what),
            artifact::Fault::TooLarge(what) => Fault::limit(format!("the artifact is too large: {what}"))
                .help("keep the weights in a file of their own: --weights file")
                .into(),
            artifact::Fault::Describe(what) => Fault::unsupported(what).into(),
            artifact::Fault::Write(why) => Fault::file(format!("writing failed: {why}")).into(),
        }
    }
}

/// Writing that failed; whoever knows the file names it.
impl From<std::io::Error> for Error {
    fn from(why: std::io::Error) -> Error {
        artifact::Fault::Write(why).into()
    }
}

/// What a status of the compiled model means.
pub fn status_text(status: i32) -> &'static str {
    match status {
        1 => "a pointer is null or misaligned",
        2 => "the arena is too small",
        3 => "an input has the wrong size, or a dimension is out of its range",
        4 => "bad data: an index out of range",
        5 => "this CPU lacks a feature that the model was compiled for",
        _ => "no status that a model returns",
    }
}

/// `text` in one line without control characters, at most `limit` characters of it.
pub fn plain(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == limit {
            out.push('…');
            break;
        }
        if c.is_control() || ('\u{200b}'..='\u{200f}').contains(&c) || ('\u{202a}'..='\u{202e}').contains(&c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// `FILE: node "X" (Op): what. help: …`
fn line(file: Option<&str>, fault: &Fault) -> String {
    let mut out = String::new();
    if let Some(file) = file {
        out.push_str(&format!("{}: ", plain(file, 1000)));
    }
    match (&fault.node, &fault.op) {
        (Some(node), Some(op)) => out.push_str(&format!("node \"{}\" ({}): ", plain(node, NAME), plain(op, NAME))),
        (Some(node), None) => out.push_str(&format!("\"{}\": ", plain(node, NAME))),
        (None, Some(op)) => out.push_str(&format!("{}: ", plain(op, NAME))),
        (None, None) => {}
    }
    out.push_str(&plain(&fault.what, SENTENCE));
    if let Some(help) = &fault.help {
        out.push_str(&format!(". help: {}", plain(help, SENTENCE)));
    }
    out
}

/// Lines of the message, without `error: `; the last may say how many more there are.
pub fn lines(error: &Error) -> Vec<String> {
    let all: Vec<String> = match error {
        Error::Faults { file, faults } => faults.iter().map(|f| line(file.as_deref(), f)).collect(),
        Error::Verification(what) => what.lines().map(|line| plain(line, SENTENCE)).collect(),
        Error::Status { file, status, what } => {
            let file = file.as_ref().map_or(String::new(), |f| format!("{}: ", plain(f, 1000)));
            what.iter().map(|what| format!("{file}{} (status {status}: {})", plain(what, SENTENCE), status_text(*status))).collect()
        }
        Error::Internal(what) => vec![plain(what, SENTENCE)],
    };
    let (mut out, mut bytes) = (Vec::new(), 0);
    for (i, line) in all.iter().enumerate() {
        bytes += line.len();
        if bytes > MESSAGE {
            out.push(format!("and {} more", all.len() - i));
            break;
        }
        out.push(line.clone());
    }
    out
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lines(self).join("\n"))
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_file_node_operator_what_and_help() {
        let fault = Fault::unsupported("the operator is not supported").at("x\n1").op("Foo").help("see `maquette ops`");
        let error = Error::from(fault).of_file("m.onnx").of_file("other");
        assert_eq!(error.to_string(), "m.onnx: node \"x\\n1\" (Foo): the operator is not supported. help: see `maquette ops`");
        assert_eq!(error.exit_code(), 4);
    }

    #[test]
    fn the_gravest_fault_decides() {
        let faults = vec![Fault::unsupported("a"), Fault::invalid("b"), Fault::usage("c")];
        assert_eq!(Error::from(faults).exit_code(), 3);
        assert_eq!(Error::from(vec![Fault::usage("c"), Fault::limit("d")]).exit_code(), 5);
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let faults: Vec<Fault> = (0..5000).map(|i| Fault::invalid("w".repeat(10_000)).at(format!("n{i}"))).collect();
        let text = Error::from(faults).to_string();
        assert!(text.len() < 16 << 10, "{}", text.len());
        assert!(text.ends_with("more"), "{}", &text[text.len() - 40..]);
    }
}
