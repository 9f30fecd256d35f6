//! What the tests of the machines share: kernels with memory to run them on, what the oracle says of them, programs that call many
//! functions, graphs drawn at random ([`draw`]), and tools that may be missing. Only tests depend on it. Knows no machine but through `Facts`, except in
//! [`batch`], where programs are made.

pub mod batch;
pub mod common;
pub mod draw;
pub mod generated;
pub mod scalar;
pub mod tile;

use ir::kernel::{Access, Arg, Facts, Kernel, KernelBody, ScalarKernel, TileKernel, run};
use ir::tensor::Dtype;

/// Elements of a type, and where in them the pointer points that a kernel is given.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub dtype: Dtype,
    pub bytes: Vec<u8>,
    /// In bytes.
    pub start: usize,
}

/// Bytes before and behind a guarded buffer. They must stay as they are.
pub const GUARD: usize = 192;
const GUARD_BYTE: u8 = 0x5A;

impl Buffer {
    /// Bytes without a type.
    pub fn of(bytes: Vec<u8>) -> Buffer {
        Buffer { dtype: Dtype::U8, bytes, start: 0 }
    }

    /// The bytes between guards; the pointer points [`GUARD`] bytes further.
    pub fn guarded(&self) -> Vec<u8> {
        [&[GUARD_BYTE; GUARD], &self.bytes[..], &[GUARD_BYTE; GUARD]].concat()
    }

    /// What a kernel left between the guards. Fails when it wrote into them.
    pub fn bare(&self, guarded: &[u8]) -> Vec<u8> {
        let inside = GUARD..GUARD + self.bytes.len();
        let untouched = guarded[..inside.start].iter().chain(&guarded[inside.end..]).all(|&byte| byte == GUARD_BYTE);
        assert!(untouched, "a byte beyond a buffer of {} bytes was written", self.bytes.len());
        guarded[inside].to_vec()
    }
}

/// A kernel and the memory behind its pointers: one buffer for each.
pub struct Case {
    pub kernel: Kernel,
    /// What the oracle believes of the machine.
    pub facts: Facts,
    pub buffers: Vec<Buffer>,
}

/// What a kernel returned, and its buffers afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: i32,
    pub buffers: Vec<Vec<u8>>,
}

impl Case {
    /// Each argument is its buffer and not a byte more.
    pub fn new(name: String, body: KernelBody, facts: &Facts, buffers: Vec<Buffer>) -> Case {
        let arg = |(i, buffer): (usize, &Buffer)| Arg {
            name: format!("a{i}"),
            low: -(buffer.start as i64),
            high: (buffer.bytes.len() - buffer.start) as i64,
            access: Access::ReadWrite,
        };
        let args = buffers.iter().enumerate().map(arg).collect();
        Case { kernel: Kernel { name, args, body }, facts: facts.clone(), buffers }
    }

    pub fn tile(&self) -> &TileKernel {
        match &self.kernel.body {
            KernelBody::Tile(tile) => tile,
            KernelBody::Scalar(_) => panic!("{} is a scalar kernel", self.kernel.name),
        }
    }

    pub fn scalar(&self) -> &ScalarKernel {
        match &self.kernel.body {
            KernelBody::Scalar(scalar) => scalar,
            KernelBody::Tile(_) => panic!("{} is a tile kernel", self.kernel.name),
        }
    }

    /// What the oracle says.
    pub fn expected(&self) -> Outcome {
        let mut buffers: Vec<_> = self.buffers.iter().map(|buffer| buffer.bytes.clone()).collect();
        let pointer = |(buffer, b): (usize, &Buffer)| run::Pointer { buffer, offset: b.start };
        let args: Vec<_> = self.buffers.iter().enumerate().map(pointer).collect();
        let mut open: Vec<_> = buffers.iter_mut().map(|bytes| run::Buffer::Open(bytes)).collect();
        let status = run::run(&self.kernel, &self.facts, &mut open, &args).into();
        Outcome { status, buffers }
    }

    /// Fails unless `machine` did what the oracle says, bit for bit; a NaN equals any NaN.
    pub fn judge(&self, machine: &str, got: &Outcome) {
        self.compare(machine, &self.expected(), got);
    }

    /// The same, with what the oracle said.
    pub fn compare(&self, machine: &str, wanted: &Outcome, got: &Outcome) {
        let (name, body) = (&self.kernel.name, &self.kernel.body);
        assert_eq!(got.status, wanted.status, "status of {name} on {machine}\n{body:#?}");
        assert_eq!(got.buffers.len(), wanted.buffers.len(), "buffers of {name} on {machine}");
        for (arg, (buffer, (wanted, got))) in self.buffers.iter().zip(wanted.buffers.iter().zip(&got.buffers)).enumerate() {
            assert_eq!(got.len(), wanted.len(), "bytes of argument {arg} of {name} on {machine}");
            let width = buffer.dtype.bytes();
            for (i, (w, g)) in wanted.chunks(width).zip(got.chunks(width)).enumerate() {
                let same = g == w || is_nan(buffer.dtype, g) && is_nan(buffer.dtype, w);
                let before = &buffer.bytes[i * width..][..w.len()];
                let ty = buffer.dtype.name();
                assert!(
                    same,
                    "{name} on {machine}: argument {arg}, element {i} ({ty}): {g:02x?}, not {w:02x?}; was {before:02x?}\n{body:#?}"
                );
            }
        }
    }
}

/// Whether an element is a NaN: any equals any other.
fn is_nan(dtype: Dtype, bytes: &[u8]) -> bool {
    let bits = bytes.iter().rev().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    match dtype {
        Dtype::F32 => f32::from_bits(bits as u32).is_nan(),
        Dtype::F64 => f64::from_bits(bits).is_nan(),
        Dtype::F16 => bits & 0x7fff > 0x7c00,
        Dtype::BF16 => bits & 0x7fff > 0x7f80,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Case {
        let body = KernelBody::Tile(TileKernel { body: vec![] });
        let bytes = [1f32, f32::NAN].iter().flat_map(|value| value.to_le_bytes()).collect();
        Case::new("nothing".into(), body, &arm64::facts::ARMV8, vec![Buffer { dtype: Dtype::F32, bytes, start: 0 }])
    }

    #[test]
    fn one_nan_equals_another() {
        let mut outcome = case().expected();
        outcome.buffers[0][4] ^= 1;
        case().judge("no machine", &outcome);
    }

    #[test]
    #[should_panic(expected = "element 0 (f32)")]
    fn a_bit_makes_a_difference() {
        let mut outcome = case().expected();
        outcome.buffers[0][0] ^= 1;
        case().judge("no machine", &outcome);
    }

    #[test]
    #[should_panic(expected = "a byte beyond a buffer of 8 bytes was written")]
    fn guards_are_looked_at() {
        let buffer = &case().buffers[0];
        let mut guarded = buffer.guarded();
        guarded[GUARD + 8] = 0;
        buffer.bare(&guarded);
    }
}
