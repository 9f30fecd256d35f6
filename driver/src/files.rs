//! Files: input mapped into memory, and output that appears all at once or not at all; data beside a model is `beside`'s. It knows nothing of what the bytes mean.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use memmap2::Mmap;

use crate::error::{Error, Result};

/// The bytes of a regular file, mapped: what is not looked at costs no memory. Fault: no such file, or no regular one.
pub fn read(path: &Path) -> Result<Bytes> {
    let file = open(path).map_err(|why| Error::file(path.display(), why))?;
    map(&file).map_err(|why| Error::file(path.display(), why))
}

/// Opens a regular file; never blocks on a pipe.
pub fn open(path: &Path) -> std::result::Result<File, String> {
    let before = fs::metadata(path).map_err(|why| reason(&why))?;
    if !before.is_file() {
        return Err(format!("is {}, not a regular file", kind(&before)));
    }
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path).map_err(|why| reason(&why))?;
    let after = file.metadata().map_err(|why| reason(&why))?;
    // a name can be given to another file between the two looks
    if !after.is_file() {
        return Err("is not a regular file".into());
    }
    Ok(file)
}

fn kind(metadata: &fs::Metadata) -> &'static str {
    if metadata.is_dir() { "a folder" } else { "a device, pipe or socket" }
}

/// The reason without the operating system's error number.
pub fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "it may not be accessed".into(),
        _ => error.to_string(),
    }
}

/// The whole file.
pub fn map(file: &File) -> std::result::Result<Bytes, String> {
    let size = file.metadata().map_err(|why| reason(&why))?.len();
    if size == 0 {
        return Ok(Bytes::new());
    }
    let size = usize::try_from(size).map_err(|_| format!("{size} bytes are more than this machine addresses"))?;
    // SAFETY: the map is only ever read, through `Bytes`, which keeps it alive. Another process that writes to or cuts
    // the file meanwhile breaks the promise that these bytes do not change; that is so for every reader of mapped
    // files, and docs/cli.md says so.
    let map = unsafe { memmap2::MmapOptions::new().len(size).map(file) };
    map.map(Bytes::from_owner::<Mmap>).map_err(|why| reason(&why))
}

/// Files that are written under temporary names and get their own names all together, in [`Outputs::commit`]. Dropped
/// before that, nothing is left.
pub struct Outputs {
    folder: PathBuf,
    /// Folders that were made for this, outermost first.
    made: Vec<PathBuf>,
    /// Temporary and final path.
    files: Vec<(PathBuf, PathBuf)>,
    done: bool,
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub path: PathBuf,
    pub bytes: u64,
}

impl Outputs {
    /// Makes the folder if there is none.
    pub fn into(folder: &Path) -> Result<Outputs> {
        let mut outputs = Outputs { folder: folder.to_path_buf(), made: Vec::new(), files: Vec::new(), done: false };
        let missing: Vec<PathBuf> =
            folder.ancestors().filter(|p| !p.as_os_str().is_empty()).take_while(|p| !p.exists()).map(Path::to_path_buf).collect();
        for path in missing.into_iter().rev() {
            match fs::create_dir(&path) {
                Ok(()) => outputs.made.push(path),
                // somebody else was faster
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
                Err(why) => return Err(Error::file(path.display(), format!("the folder cannot be made: {}", reason(&why)))),
            }
        }
        if !folder.as_os_str().is_empty() && !folder.is_dir() {
            return Err(Error::file(folder.display(), "is not a folder"));
        }
        Ok(outputs)
    }

    /// Writes `name` with what `write` writes; executable if it says so.
    pub fn file(&mut self, name: &str, executable: bool, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let path = self.folder.join(name);
        let temporary = self.folder.join(format!(".{name}.{}.part", std::process::id()));
        if path.is_dir() {
            return Err(Error::file(path.display(), "is a folder"));
        }
        let fail = |why: io::Error| Error::file(path.display(), format!("cannot be written: {}", reason(&why)));
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if executable {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o777);
        }
        // left over from a process of the same number that was killed
        let _ = fs::remove_file(&temporary);
        let mut file = options.open(&temporary).map_err(fail)?;
        self.files.push((temporary, path.clone()));
        write(&mut file).map_err(|error| error.of_file(path.display()))
    }

    /// Gives the files their names. On failure those that have theirs already are removed again.
    pub fn commit(mut self) -> Result<Vec<Written>> {
        let mut written: Vec<Written> = Vec::new();
        for (temporary, path) in &self.files {
            let moved = fs::metadata(temporary).map(|m| m.len()).and_then(|bytes| fs::rename(temporary, path).map(|()| bytes));
            match moved {
                Ok(bytes) => written.push(Written { path: path.clone(), bytes }),
                Err(why) => {
                    written.iter().for_each(|w| drop(fs::remove_file(&w.path)));
                    return Err(Error::file(path.display(), format!("cannot be written: {}", reason(&why))));
                }
            }
        }
        self.done = true;
        Ok(written)
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        for (temporary, _) in &self.files {
            let _ = fs::remove_file(temporary);
        }
        // a folder that is not empty stays
        for folder in self.made.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// A folder for files that nobody else should see, gone when dropped.
pub struct Scratch {
    pub path: PathBuf,
}

impl Scratch {
    pub fn new() -> Result<Scratch> {
        let base = std::env::temp_dir();
        for attempt in 0..1000u32 {
            let path = base.join(format!("maquette-{}-{attempt}", std::process::id()));
            let mut builder = fs::DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            match builder.create(&path) {
                Ok(()) => return Ok(Scratch { path }),
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
                Err(why) => return Err(Error::file(path.display(), format!("cannot be made: {}", reason(&why)))),
            }
        }
        Err(Error::file(base.display(), "is full of folders that earlier runs left"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut all: Vec<String> = fs::read_dir(folder)
            .expect("the folder exists")
            .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        all.sort();
        all
    }

    #[test]
    fn outputs_appear_together_or_not_at_all() {
        let scratch = Scratch::new().expect("a folder");
        let folder = scratch.path.join("a/b");
        let mut outputs = Outputs::into(&folder).expect("made");
        outputs.file("x", false, |out| Ok(out.write_all(b"1")?)).expect("written");
        assert!(outputs.file("y", false, |_| Err(Error::usage("no"))).is_err());
        drop(outputs);
        assert!(names(&scratch.path).is_empty());

        let mut outputs = Outputs::into(&folder).expect("made");
        outputs.file("x", false, |out| Ok(out.write_all(b"123")?)).expect("written");
        outputs.file("y", true, |_| Ok(())).expect("written");
        let written = outputs.commit().expect("all there");
        assert_eq!(written.iter().map(|w| w.bytes).collect::<Vec<_>>(), [3, 0]);
        assert_eq!(names(&folder), ["x", "y"]);
    }
}
