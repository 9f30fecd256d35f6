//! Data that lies in files beside the model. The text of a location is judged here; opening the file is
//! the caller's, who alone knows where the model lies. This room opens nothing.

use bytes::Bytes;

/// What gives the bytes of a file beside the model.
pub trait Source {
    /// `length` bytes of the file `location` from byte `offset`; to its end if there is no length.
    /// `location` has passed [`location_is_safe`]; it must still be a regular file inside the model's folder.
    fn external(&self, location: &str, offset: u64, length: Option<u64>) -> Result<Bytes, SourceError>;
}

/// Why a file beside the model gave no bytes; the text is shown to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError(pub String);

/// A source without files: every external tensor is a fault.
pub struct NoFiles;

impl Source for NoFiles {
    fn external(&self, location: &str, _: u64, _: Option<u64>) -> Result<Bytes, SourceError> {
        Err(SourceError(format!("the model came without a folder, so {location:?} cannot be opened")))
    }
}

/// Whether a location is a plain relative path downwards, whatever system reads it: otherwise the reason.
pub fn location_is_safe(location: &str) -> Result<(), &'static str> {
    if location.is_empty() {
        return Err("it is empty");
    }
    if location.len() > 4096 {
        return Err("it is longer than 4096 bytes");
    }
    if location.chars().any(|c| c.is_control()) {
        return Err("it holds a control character");
    }
    if location.starts_with('/') || location.starts_with('~') {
        return Err("it is an absolute path");
    }
    if location.contains('\\') {
        return Err("it holds a backslash");
    }
    if location.contains(':') {
        return Err("it holds a colon, as a drive or an address does");
    }
    let mut names = 0;
    for part in location.split('/') {
        match part {
            ".." => return Err("it leaves the model's folder"),
            "" | "." => {}
            _ => names += 1,
        }
    }
    if names == 0 || location.ends_with('/') { Err("it names no file") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::location_is_safe;

    #[test]
    fn only_plain_relative_paths_pass() {
        for good in ["w.bin", "a/b.bin", "./w.bin", "weights..bin", "..w"] {
            assert_eq!(location_is_safe(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/../b",
            "../w",
            "/etc/passwd",
            "a/",
            "..\\..\\x",
            "C:\\w",
            "C:w",
            "http://h/w",
            "~/w",
            "w\0.bin",
            "a\nb",
            "./",
        ] {
            assert!(location_is_safe(bad).is_err(), "{bad:?}");
        }
    }
}
