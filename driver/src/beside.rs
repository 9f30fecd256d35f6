//! Data beside a model: regular files in or below its folder, which the model's text names. What a name says is not believed:
//! folders are opened one below the other, links are not followed, and what was opened is looked at again. It knows nothing of
//! what the bytes mean.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use frontend::{Source, SourceError};

use crate::files;

/// Files in and below one folder, which is the model's. Each is mapped once, however many tensors lie in it.
pub struct Beside {
    folder: PathBuf,
    files: RefCell<BTreeMap<String, Bytes>>,
}

impl Beside {
    pub fn model(path: &Path) -> Beside {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        Beside { folder: folder.unwrap_or(Path::new(".")).to_path_buf(), files: RefCell::default() }
    }

    fn file(&self, location: &str) -> Result<Bytes, String> {
        if let Some(file) = self.files.borrow().get(location) {
            return Ok(file.clone());
        }
        let file = files::map(&below(&self.folder, &names(location)?)?)?;
        self.files.borrow_mut().insert(location.into(), file.clone());
        Ok(file)
    }
}

impl Source for Beside {
    fn external(&self, location: &str, offset: u64, length: Option<u64>) -> Result<Bytes, SourceError> {
        let bytes = self.file(location).and_then(|file| slice(&file, offset, length));
        bytes.map_err(SourceError)
    }
}

/// `length` bytes from `offset`, to the end where there is no length.
fn slice(file: &Bytes, offset: u64, length: Option<u64>) -> Result<Bytes, String> {
    let size = file.len() as u64;
    let rest = size.checked_sub(offset).ok_or_else(|| format!("offset {offset} lies behind its end, at {size} bytes"))?;
    let length = length.unwrap_or(rest);
    if length > rest {
        return Err(format!("{length} bytes from {offset} reach behind its end, at {size} bytes"));
    }
    Ok(file.slice(offset as usize..(offset + length) as usize))
}

/// The folders on the way and the file. Fault: a way that does not only go down.
fn names(location: &str) -> Result<Vec<&Path>, String> {
    let mut names = Vec::new();
    for component in Path::new(location).components() {
        match component {
            Component::Normal(name) => names.push(Path::new(name)),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err("it lies outside of the model's folder".into()),
        }
    }
    if names.is_empty() { Err("it names no file".into()) } else { Ok(names) }
}

/// Opens the file below the folder, whose own name the user gave.
#[cfg(unix)]
fn below(folder: &Path, names: &[&Path]) -> Result<std::fs::File, String> {
    use rustix::fs::{Mode, OFlags};
    let said = |errno: rustix::io::Errno| files::reason(&errno.into());
    let folders = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(folder, folders, Mode::empty()).map_err(said)?;
    let (file, way) = names.split_last().expect("a file is named");
    for name in way {
        expect(&at, name, rustix::fs::FileType::Directory)?;
        at = rustix::fs::openat(&at, *name, folders | OFlags::NOFOLLOW, Mode::empty()).map_err(said)?;
    }
    expect(&at, file, rustix::fs::FileType::RegularFile)?;
    // a pipe that came since then does not block
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::openat(&at, *file, flags, Mode::empty()).map_err(said)?);
    if file.metadata().map_err(|why| files::reason(&why))?.is_file() { Ok(file) } else { Err("is not a regular file".into()) }
}

/// Whether a name is given to what is wanted; what is opened later is what counts. Fault: what it is given to.
#[cfg(unix)]
fn expect(folder: &impl rustix::fd::AsFd, name: &Path, wanted: rustix::fs::FileType) -> Result<(), String> {
    use rustix::fs::{AtFlags, FileType};
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| files::reason(&errno.into()))?;
    let found = FileType::from_raw_mode(stat.st_mode);
    if found == wanted {
        return Ok(());
    }
    let what = match found {
        FileType::RegularFile => "a file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a link, and links are not followed",
        _ => "a device, pipe or socket",
    };
    Err(format!("{} is {what}", name.display()))
}

/// Opens the file where paths are all there is: with all links resolved it must lie in the folder.
#[cfg(not(unix))]
fn below(folder: &Path, names: &[&Path]) -> Result<std::fs::File, String> {
    let folder = std::fs::canonicalize(folder).map_err(|why| files::reason(&why))?;
    let path = std::fs::canonicalize(names.iter().fold(folder.clone(), |path, name| path.join(name))).map_err(|why| files::reason(&why))?;
    if !path.starts_with(&folder) {
        return Err("it lies outside of the model's folder".into());
    }
    files::open(&path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Scratch;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn data_beside_a_model_stays_beside_it() {
        let scratch = Scratch::new().expect("a folder");
        let folder = scratch.path.join("model");
        fs::create_dir_all(folder.join("sub")).expect("a folder");
        fs::write(folder.join("w.bin"), b"0123456789").expect("a file");
        fs::write(folder.join("sub/v.bin"), b"abc").expect("a file");
        fs::write(scratch.path.join("out.bin"), b"secret").expect("a file");
        let source = Beside::model(&folder.join("m.onnx"));
        let get = |location: &str, offset, length| source.external(location, offset, length).map_err(|e| e.0);
        assert_eq!(get("w.bin", 2, Some(3)).expect("in range").as_ref(), b"234");
        assert_eq!(get("./sub/v.bin", 1, None).expect("in range").as_ref(), b"bc");
        assert_eq!(get("w.bin", 10, None).expect("nothing").as_ref(), b"");
        let refused = |location: &str| get(location, 0, None).expect_err("it is refused");
        assert!(get("w.bin", 11, None).expect_err("behind").contains("behind its end"));
        assert!(get("w.bin", u64::MAX - 3, Some(12)).expect_err("behind").contains("behind its end"));
        assert!(get("w.bin", 4, Some(1 << 60)).expect_err("behind").contains("behind its end"));
        let out = scratch.path.join("out.bin");
        for location in ["../out.bin", "sub/../w.bin", "..", "/etc/passwd", &out.display().to_string()] {
            assert!(refused(location).contains("outside"), "{location}");
        }
        assert!(refused("sub").contains("a folder"));
        assert!(refused(".").contains("names no file"));
        assert!(refused("").contains("names no file"));
        assert!(refused("none").contains("no such file"));
        assert!(refused("none/w.bin").contains("no such file"));
        assert!(refused("w.bin/w.bin").contains("w.bin is a file"));
        assert!(get("w.bin\0", 0, None).is_err());
    }

    #[test]
    fn links_are_not_followed() {
        let scratch = Scratch::new().expect("a folder");
        let (folder, other) = (scratch.path.join("model"), scratch.path.join("other"));
        for folder in [&folder, &other] {
            fs::create_dir_all(folder).expect("a folder");
            fs::write(folder.join("w.bin"), b"w").expect("a file");
        }
        symlink("../other/w.bin", folder.join("leak.bin")).expect("a link");
        symlink("w.bin", folder.join("inside.bin")).expect("a link");
        symlink("../other", folder.join("away")).expect("a link");
        symlink("loop", folder.join("loop")).expect("a link");
        symlink(&folder, scratch.path.join("named")).expect("a link");
        let source = Beside::model(&folder.join("m.onnx"));
        for location in ["leak.bin", "inside.bin", "away/w.bin", "away", "loop", "loop/w.bin"] {
            let said = source.external(location, 0, None).expect_err("it is refused").0;
            assert!(said.contains("a link"), "{location}: {said}");
        }
        // the folder's own name is the user's, and may be a link
        assert!(Beside::model(&scratch.path.join("named/m.onnx")).external("w.bin", 0, None).is_ok());
    }

    #[test]
    fn pipes_and_devices_are_refused_at_once() {
        let scratch = Scratch::new().expect("a folder");
        let pipe = scratch.path.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success());
        let source = Beside::model(&scratch.path.join("m.onnx"));
        assert!(made, "every Unix has mkfifo");
        assert!(source.external("pipe", 0, None).expect_err("it is a pipe").0.contains("pipe"));
        let devices = Beside::model(Path::new("/dev/m.onnx"));
        assert!(devices.external("zero", 0, Some(8)).expect_err("it is a device").0.contains("device"));
    }
}
