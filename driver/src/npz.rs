//! Several arrays in one file: numpy's `.npz` (a zip of `.npy` files), or a single `.npy`. Headers are read at once,
//! elements when asked for, and never more of them than the file can hold.

use std::io::{self, Cursor, Read, Seek, Write};
use std::path::Path;

use bytes::Bytes;
use ir::{Dtype, Tensor};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::error::{Error, Result};
use crate::files;
use crate::npy::{self, Header};

/// The best that deflate does; what claims more lies.
const DEFLATE_RATIO: u64 = 1032;
/// Arrays of one file at most.
const ARRAYS: usize = 1 << 16;
/// Enough to hold any header that is accepted.
const HEAD: u64 = (1 << 16) + 12;

/// The arrays of a file, in its order.
pub struct Arrays {
    /// For messages.
    path: String,
    file: Bytes,
    pub list: Vec<Array>,
}

/// One array, not read yet.
#[derive(Clone, Debug)]
pub struct Array {
    pub name: String,
    pub header: Header,
    /// Its number in the zip; a plain `.npy` has none.
    index: Option<usize>,
}

impl Arrays {
    /// Opens `.npz` or `.npy`, whatever its name. A plain array is called `arr_0`.
    pub fn open(path: &Path) -> Result<Arrays> {
        Arrays::new(path.display().to_string(), files::read(path)?)
    }

    /// No arrays at all.
    pub fn none() -> Arrays {
        Arrays { path: String::new(), file: Bytes::new(), list: Vec::new() }
    }

    pub fn new(path: String, file: Bytes) -> Result<Arrays> {
        let fail = |why: String| Error::file(&path, why);
        if file.starts_with(b"\x93NUMPY") {
            let header = npy::header(&file).map_err(fail)?;
            let list = vec![Array { name: "arr_0".into(), header, index: None }];
            return Ok(Arrays { path, file, list });
        }
        let mut zip = archive(&file).map_err(fail)?;
        if zip.len() > ARRAYS {
            return Err(fail(format!("it holds {} files; at most {ARRAYS} are read", zip.len())));
        }
        let mut list: Vec<Array> = Vec::new();
        for index in 0..zip.len() {
            let entry = zip.by_index(index).map_err(|why| fail(why.to_string()))?;
            let Some(name) = entry.name().strip_suffix(".npy").map(str::to_owned) else {
                return Err(fail(format!("{:?} in it is no .npy file", entry.name())));
            };
            let mut head = Vec::new();
            entry.take(HEAD).read_to_end(&mut head).map_err(|why| fail(format!("array {name:?}: {why}")))?;
            let header = npy::header(&head).map_err(|why| fail(format!("array {name:?}: {why}")))?;
            if list.iter().any(|a| a.name == name) {
                return Err(fail(format!("array {name:?} is in it twice")));
            }
            list.push(Array { name, header, index: Some(index) });
        }
        Ok(Arrays { path, file, list })
    }

    /// The array as a tensor of `dtype`. Fault: it is none, or the file is damaged.
    pub fn tensor(&self, array: &Array, dtype: Dtype) -> Result<Tensor> {
        let fail = |why: String| Error::file(&self.path, format!("array {:?}: {why}", array.name));
        let data = self.data(array).map_err(fail)?;
        npy::tensor(&array.header, data, dtype).map_err(fail)
    }

    fn data(&self, array: &Array) -> std::result::Result<Bytes, String> {
        let header = &array.header;
        let Some(index) = array.index else {
            let rest = self.file.len() - header.start;
            let bytes = usize::try_from(header.bytes).ok().filter(|&n| n <= rest);
            let bytes = bytes.ok_or_else(|| format!("{header} needs {} bytes, and {rest} are there", header.bytes))?;
            return Ok(self.file.slice(header.start..header.start + bytes));
        };
        let mut zip = archive(&self.file)?;
        let mut entry = zip.by_index(index).map_err(|why| why.to_string())?;
        let most = match entry.compression() {
            CompressionMethod::Stored => entry.compressed_size(),
            _ => entry.compressed_size().saturating_mul(DEFLATE_RATIO),
        };
        if header.bytes > most {
            return Err(format!("{header} needs {} bytes, which {} bytes of file cannot hold", header.bytes, entry.compressed_size()));
        }
        io::copy(&mut entry.by_ref().take(header.start as u64), &mut io::sink()).map_err(|why| why.to_string())?;
        let mut data = Vec::with_capacity(header.bytes as usize);
        entry.take(header.bytes).read_to_end(&mut data).map_err(|why| why.to_string())?;
        Ok(data.into())
    }
}

fn archive(file: &Bytes) -> std::result::Result<ZipArchive<Cursor<Bytes>>, String> {
    ZipArchive::new(Cursor::new(file.clone())).map_err(|why| format!("it is neither .npz nor .npy: {why}"))
}

/// Writes tensors by name, in their order, uncompressed; the same tensors give the same bytes.
pub fn write(out: impl Write + Seek, tensors: &[(String, Tensor)]) -> io::Result<()> {
    let mut zip = ZipWriter::new(out);
    for (name, tensor) in tensors {
        let large = tensor.elements() * tensor.dtype().bytes() >= u32::MAX as usize - (1 << 16);
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(zip::DateTime::default())
            .large_file(large);
        zip.start_file(format!("{name}.npy"), options)?;
        npy::write(&mut zip, tensor.dtype(), tensor.shape(), &tensor.bytes())?;
    }
    zip.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zipped(files: &[(&str, &[u8])], method: CompressionMethod) -> Bytes {
        let mut out = Cursor::new(Vec::new());
        let mut zip = ZipWriter::new(&mut out);
        for (name, data) in files {
            zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).expect("into memory");
            zip.write_all(data).expect("into memory");
        }
        zip.finish().expect("into memory");
        out.into_inner().into()
    }

    #[test]
    fn arrays_go_out_and_come_back() {
        let tensors = vec![
            ("a/b:0".to_string(), Tensor::f32s(&[2, 2], &[1., 2., 3., 4.])),
            ("n".to_string(), Tensor::i64s(&[], &[7])),
            ("none".to_string(), Tensor::f32s(&[0], &[])),
        ];
        let mut out = Cursor::new(Vec::new());
        write(&mut out, &tensors).expect("into memory");
        let arrays = Arrays::new("x.npz".into(), out.into_inner().into()).expect("our own");
        for ((name, tensor), array) in tensors.iter().zip(&arrays.list) {
            assert_eq!(name, &array.name);
            assert_eq!(&arrays.tensor(array, tensor.dtype()).expect("the same type"), tensor);
        }
    }

    #[test]
    fn an_array_that_its_file_cannot_hold_is_refused_before_memory_is_asked_for() {
        let mut npy = Vec::new();
        npy::write(&mut npy, Dtype::F32, &[1 << 40], &[]).expect("into memory");
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let arrays = Arrays::new("x.npz".into(), zipped(&[("a.npy", &npy)], method)).expect("the header is fine");
            let error = arrays.tensor(&arrays.list[0], Dtype::F32).expect_err("4 TB");
            assert!(error.to_string().contains("cannot hold"), "{error}");
        }
        let plain = Arrays::new("x.npy".into(), npy.into()).expect("the header is fine");
        assert!(plain.tensor(&plain.list[0], Dtype::F32).expect_err("4 TB").to_string().contains("0 are there"));
    }

    #[test]
    fn what_is_not_an_array_is_named() {
        let error = |file: Bytes| Arrays::new("x.npz".into(), file).err().expect("refused").to_string();
        assert!(error(Bytes::from_static(b"hello")).contains("neither"));
        assert!(error(zipped(&[("a.txt", b"hello")], CompressionMethod::Stored)).contains("a.txt"));
        assert!(error(zipped(&[("a.npy", b"hello")], CompressionMethod::Deflated)).contains("array \"a\""));
    }
}
