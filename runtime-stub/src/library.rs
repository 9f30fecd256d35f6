//! Loads a model from a shared object that Maquette wrote, and its weights from the `NAME.bin` beside it where they are
//! apart. Linux and Android; it declares the three functions of the dynamic loader itself, so as to depend on nothing.
#![allow(unsafe_code)]

use crate::layout::MaquetteModel;
use crate::{Error, Model};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::fmt;
use core::ptr::NonNull;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, fs, io, vec};

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlclose(library: *mut c_void) -> c_int;
    fn dlerror() -> *const c_char;
}

/// Resolve everything now, keep the names to ourselves (`RTLD_NOW | RTLD_LOCAL`; the latter is 0 here).
const NOW: c_int = 2;

/// A loaded shared object. Models borrow from it; it is unloaded when it is dropped.
pub struct Library {
    handle: NonNull<c_void>,
    model: NonNull<MaquetteModel>,
    weights: Option<Weights>,
}

// SAFETY: the handle is only used to close it, the descriptor is immutable.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

/// Why a library did not load.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// The library or its weights could not be read.
    File { path: PathBuf, source: io::Error },
    /// The dynamic loader refused it; in the loader's words.
    Open { path: PathBuf, why: String },
    /// It has no symbol `NAME_model`.
    NoModel { path: PathBuf, symbol: String },
    /// It has a model that this crate cannot call, or weights that do not fit.
    Model { path: PathBuf, source: Error },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::File { path, source } => write!(f, "{}: {source}", path.display()),
            LoadError::Open { path, why } => write!(f, "{}: not loaded: {why}", path.display()),
            LoadError::NoModel { path, symbol } => {
                write!(f, "{}: no symbol {symbol}", path.display())
            }
            LoadError::Model { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl core::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            LoadError::File { source, .. } => Some(source),
            LoadError::Model { source, .. } => Some(source),
            LoadError::Open { .. } | LoadError::NoModel { .. } => None,
        }
    }
}

/// A file in memory that begins at a multiple of 64.
struct Weights {
    bytes: Vec<u8>,
    start: usize,
}

impl Weights {
    fn read(path: &Path) -> io::Result<Weights> {
        let file = fs::read(path)?;
        let mut bytes = vec![0; file.len() + 63];
        let start = bytes.as_ptr().align_offset(64);
        bytes[start..start + file.len()].copy_from_slice(&file);
        bytes.truncate(start + file.len());
        Ok(Weights { bytes, start })
    }
}

impl Library {
    /// Loads `path` and finds the model that was compiled under `name`.
    /// Fault: no such file, not loadable, no `NAME_model`, another ABI, weights that are missing or do not fit.
    ///
    /// # Safety
    /// The file is a shared object that Maquette wrote (loading runs whatever code a library holds), and a `NAME.bin`
    /// beside it was written with it. Neither changes while it is loaded.
    pub unsafe fn open(path: impl AsRef<Path>, name: &str) -> Result<Library, LoadError> {
        let path = path.as_ref();
        // An absolute path, or the loader would search its own folders for a bare file name.
        let file = fs::canonicalize(path).map_err(|source| LoadError::File { path: path.into(), source })?;
        let symbol = format!("{name}_model");
        let no_model = || LoadError::NoModel { path: path.into(), symbol: symbol.clone() };
        let open = |why: String| LoadError::Open { path: path.into(), why };
        let c_path = CString::new(file.as_os_str().as_encoded_bytes()).map_err(|e| open(e.to_string()))?;
        let c_symbol = CString::new(symbol.as_str()).map_err(|_| no_model())?;
        // SAFETY: a string that ends with 0; the caller promised that the library's code may run.
        let handle = unsafe { dlopen(c_path.as_ptr(), NOW) };
        let handle = NonNull::new(handle).ok_or_else(|| open(last_error()))?;
        // SAFETY: an open handle and a string that ends with 0.
        let model = unsafe { dlsym(handle.as_ptr(), c_symbol.as_ptr()) };
        let Some(model) = NonNull::new(model.cast::<MaquetteModel>()).filter(|m| m.is_aligned()) else {
            // SAFETY: the handle is open and forgotten after this.
            unsafe { dlclose(handle.as_ptr()) };
            return Err(no_model());
        };
        let mut library = Library { handle, model, weights: None };
        let wrong = |source| LoadError::Model { path: path.into(), source };
        // SAFETY: the caller promised that the symbol is a descriptor of Maquette's.
        let bare = unsafe { Model::new(library.model.as_ref()) }.map_err(wrong)?;
        if bare.weights_bytes() > 0 {
            let beside = path.with_file_name(format!("{name}.bin"));
            let read = Weights::read(&beside).map_err(|source| LoadError::File { path: beside.clone(), source })?;
            library.weights = Some(read);
            library.make().map_err(|source| LoadError::Model { path: beside, source })?;
        }
        Ok(library)
    }

    /// The model, with its weights.
    pub fn model(&self) -> Model<'_> {
        self.make().expect("`open` made it once")
    }

    fn make(&self) -> Result<Model<'_>, Error> {
        // SAFETY: `open`'s caller promised a descriptor of Maquette's; it stays as long as the library is loaded, and the
        // model borrows the library.
        let model = unsafe { Model::new(self.model.as_ref()) }?;
        match &self.weights {
            // SAFETY: `open`'s caller promised that the file was written with the library.
            Some(weights) => unsafe { model.with_weights(&weights.bytes[weights.start..]) },
            None => Ok(model),
        }
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").field("model", &self.model().name()).finish()
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: the handle is open, nothing that borrows from the library is left.
        unsafe { dlclose(self.handle.as_ptr()) };
    }
}

fn last_error() -> String {
    // SAFETY: returns null or a string that ends with 0 and lives until this thread's next call of the loader.
    let why = unsafe { dlerror() };
    match NonNull::new(why.cast_mut()) {
        // SAFETY: as above; it is copied before anything else is called.
        Some(why) => unsafe { CStr::from_ptr(why.as_ptr()) }.to_string_lossy().into_owned(),
        None => "the loader does not say why".to_string(),
    }
}
