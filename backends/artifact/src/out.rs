//! The way to the file: counts what has gone, pads, and lets streamed content pass without holding it. It refuses to know
//! what a file is made of.

use std::io::{BufWriter, Write};

use crate::{Content, Fault};

pub(crate) struct Out<'a> {
    inner: BufWriter<&'a mut dyn Write>,
    position: u64,
}

impl<'a> Out<'a> {
    pub(crate) fn new(inner: &'a mut dyn Write) -> Out<'a> {
        Out { inner: BufWriter::with_capacity(1 << 16, inner), position: 0 }
    }

    /// Bytes written so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.inner.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Fills with `byte` up to `position`, which is not behind us.
    pub(crate) fn fill(&mut self, byte: u8, position: u64) -> Result<(), Fault> {
        let block = [byte; 256];
        while self.position < position {
            let piece = (position - self.position).min(256) as usize;
            self.put(&block[..piece])?;
        }
        assert!(self.position == position, "parts of a file are planned in ascending order");
        Ok(())
    }

    /// Fault: a stream that makes another number of bytes than it said.
    pub(crate) fn content(&mut self, content: &Content) -> Result<(), Fault> {
        let (bytes, write) = match content {
            Content::Bytes(bytes) => return self.put(bytes),
            Content::Lazy { bytes, write } => (bytes, write),
        };
        let (mut made, mut result) = (0u64, Ok(()));
        write(&mut |piece| {
            made += piece.len() as u64;
            if result.is_ok() && made <= *bytes {
                result = self.put(piece);
            }
        });
        result?;
        if made != *bytes {
            return Err(Fault::Code(format!("streamed content made {made} bytes where {bytes} were announced")));
        }
        Ok(())
    }

    /// Hands the rest over. Returns the bytes written in all.
    pub(crate) fn finish(mut self) -> Result<u64, Fault> {
        self.inner.flush()?;
        Ok(self.position)
    }
}

/// Writes content alone: the weight file `NAME.bin` beside an artifact. Returns its bytes.
/// Fault: a stream that makes another number of bytes than it said.
pub fn binary(content: &Content, out: &mut dyn Write) -> Result<u64, Fault> {
    let mut out = Out::new(out);
    out.content(content)?;
    out.finish()
}
