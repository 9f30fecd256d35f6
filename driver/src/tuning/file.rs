//! What was learned as a text file: a line for each key, sorted, so that two can be compared. It measures nothing.

use std::path::Path;

use kernels::cost::Tuned;

use crate::error::{Error, Result};
use crate::files;

const HEAD: &str = "# What maquette measured: CPU level | what is computed | the fastest way\n";

/// The file's text.
pub fn print(tuned: &Tuned) -> String {
    let mut text = HEAD.to_string();
    tuned.iter().for_each(|(level, key, name)| text.push_str(&format!("{level} | {key} | {name}\n")));
    text
}

/// What a text says, and a note for each line that says nothing.
pub fn parse(text: &str) -> (Tuned, Vec<String>) {
    let (mut tuned, mut notes) = (Tuned::default(), Vec::new());
    for (at, line) in text.lines().enumerate().map(|(at, line)| (at, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split(" | ").collect::<Vec<_>>()[..] {
            [level, key, name] if ![level, key, name].contains(&"") => tuned.learn(level, key, name),
            _ => notes.push(format!("line {} of what was tuned is ignored: it is not LEVEL | KEY | NAME", at + 1)),
        }
    }
    (tuned, notes)
}

/// Reads a file. Fault: it cannot be read.
pub fn read(path: &Path) -> Result<(Tuned, Vec<String>)> {
    let bytes = files::read(path)?;
    Ok(parse(&String::from_utf8_lossy(&bytes)))
}

/// Writes a file. Fault: it cannot be written.
pub fn write(path: &Path, tuned: &Tuned) -> Result<()> {
    std::fs::write(path, print(tuned)).map_err(|why| Error::file(path.display(), files::reason(&why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_and_what_is_strange_is_told() {
        let mut tuned = Tuned::default();
        tuned.learn("b", "dot f32 1x2x3", "1x2x3_rows");
        tuned.learn("a", "conv", "direct");
        let text = print(&tuned);
        assert!(text.ends_with("a | conv | direct\nb | dot f32 1x2x3 | 1x2x3_rows\n"), "{text}");
        assert_eq!(parse(&text), (tuned, vec![]));
        let (strange, notes) = parse("\n# a remark\na | b\na |  | c\nx | y | z\n");
        assert_eq!((strange.iter().collect::<Vec<_>>(), notes.len()), (vec![("x", "y", "z")], 2));
    }
}
