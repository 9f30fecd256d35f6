//! All constants of an artifact as one block of bytes, in the artifact or in a file beside it. Levels that need the same bytes
//! share them. It refuses to know what a constant means.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

use super::{Packed, Program};

/// The block's alignment in bytes; the caller of a model aligns weights that come from a file to it.
pub const WEIGHTS_ALIGN: u32 = 64;

/// Up to this size a constant is compared with the others of its own level, too. Larger ones repeat between levels only, and
/// to read hundreds of megabytes for nothing takes time.
const SMALL: u64 = 64 << 10;

/// Where each constant lies.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    /// For each program the offset of each of its constants, in bytes.
    pub offsets: Vec<Vec<u64>>,
    /// Of the whole block.
    pub bytes: u64,
    pieces: Vec<(u64, Packed)>,
}

impl Pool {
    /// Lays the constants of the programs one after the other.
    pub fn new<'a>(programs: impl IntoIterator<Item = &'a Program>) -> Pool {
        let mut pool = Pool::default();
        let mut same_size: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        let mut prints: BTreeMap<usize, [u64; 2]> = BTreeMap::new();
        for program in programs {
            let mut offsets = Vec::new();
            let own = pool.pieces.len();
            for packed in &program.constants {
                assert!(packed.align <= u64::from(WEIGHTS_ALIGN), "a constant aligned to {} bytes", packed.align);
                let alike = same_size.entry(packed.bytes()).or_default();
                let others: Vec<usize> = alike.iter().copied().filter(|other| *other < own || packed.bytes() <= SMALL).collect();
                let print = (!others.is_empty()).then(|| fingerprint(packed));
                let shared = others.into_iter().find(|other| {
                    let (offset, piece) = &pool.pieces[*other];
                    offset.is_multiple_of(packed.align.max(1)) && Some(*prints.entry(*other).or_insert_with(|| fingerprint(piece))) == print
                });
                if let Some(shared) = shared {
                    offsets.push(pool.pieces[shared].0);
                    continue;
                }
                alike.push(pool.pieces.len());
                if let Some(print) = print {
                    prints.insert(pool.pieces.len(), print);
                }
                let offset = pool.bytes.next_multiple_of(packed.align.max(1));
                offsets.push(offset);
                pool.bytes = offset + packed.bytes();
                pool.pieces.push((offset, packed.clone()));
            }
            pool.offsets.push(offsets);
        }
        pool
    }

    /// Hands the bytes to `out`, piece by piece, in order.
    pub fn write(&self, out: &mut dyn FnMut(&[u8])) {
        let mut at = 0;
        for (offset, packed) in &self.pieces {
            // less than an alignment lies between two pieces
            out(&[0; WEIGHTS_ALIGN as usize][..(offset - at) as usize]);
            packed.write(out);
            at = offset + packed.bytes();
        }
    }
}

/// 128 bits that tell constants of one size apart.
fn fingerprint(packed: &Packed) -> [u64; 2] {
    let mut hashes = [DefaultHasher::new(), DefaultHasher::new()];
    hashes[1].write_u8(1);
    packed.write(&mut |bytes| hashes.iter_mut().for_each(|hash| hash.write(bytes)));
    hashes.map(|hash| hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Part;

    #[test]
    fn levels_share_large_constants() {
        let constant = |byte: u8| Packed { align: 64, parts: vec![Part::Bytes(vec![byte; 70_000].into())] };
        let programs = [[1, 2], [2, 3]].map(|bytes| Program { constants: bytes.map(constant).to_vec(), ..Program::default() });
        let pool = Pool::new(&programs);
        assert_eq!(pool.offsets, [vec![0, 70_016], vec![70_016, 140_032]]);
    }

    #[test]
    fn equal_constants_are_stored_once() {
        let constant = |byte: u8, len: usize, align| Packed { align, parts: vec![Part::Bytes(vec![byte; len].into())] };
        let program = |constants| Program { constants, ..Program::default() };
        let first = program(vec![constant(1, 3, 1), constant(2, 4, 64), constant(1, 3, 4)]);
        let second = program(vec![constant(2, 4, 16), constant(3, 4, 1)]);
        let pool = Pool::new([&first, &second]);
        assert_eq!(pool.offsets, [vec![0, 64, 0], vec![64, 68]]);
        let mut all = Vec::new();
        pool.write(&mut |bytes| all.extend_from_slice(bytes));
        let mut wanted = vec![1; 3];
        wanted.resize(64, 0);
        wanted.extend([2, 2, 2, 2, 3, 3, 3, 3]);
        assert_eq!(all, wanted);
        assert_eq!(pool.bytes, 72);
    }
}
