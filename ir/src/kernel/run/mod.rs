//! The oracle of kernels: what a kernel means on a machine that is described by [`Facts`], bit for bit (any NaN
//! stands for any other). Whoever generates code compares it with this.
//!
//! A verified kernel runs without a panic. Every access is checked all the same, against the range that its
//! argument declares and against the memory behind it: a panic here is a mistake of ours, never of a user.
//! This room knows no program and no operator.

mod bytes;
mod scalar;
#[cfg(test)]
mod tests;
mod tile;

use super::{Access, Facts, Kernel, KernelBody};
use std::ops::Range;

/// A piece of memory that arguments point into.
pub enum Buffer<'a> {
    /// Never written: inputs and constants.
    Fixed(&'a [u8]),
    Open(&'a mut [u8]),
}

/// Where an argument points. Arguments may overlap, and may lie in the middle of their buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// Index into the buffers.
    pub buffer: usize,
    /// In bytes.
    pub offset: usize,
}

/// Is told every access, in bytes of a buffer. For finding calls that conflict.
pub trait Watch {
    fn read(&mut self, buffer: usize, bytes: Range<usize>);
    fn write(&mut self, buffer: usize, bytes: Range<usize>);
}

/// Watches nothing.
impl Watch for () {
    fn read(&mut self, _: usize, _: Range<usize>) {}
    fn write(&mut self, _: usize, _: Range<usize>) {}
}

/// Runs the kernel on `args`, one pointer for each of its arguments, and returns its status: 0, or what a scalar
/// kernel failed with. Tile kernels never fail.
pub fn run(kernel: &Kernel, facts: &Facts, buffers: &mut [Buffer], args: &[Pointer]) -> u8 {
    run_watched(kernel, facts, buffers, args, &mut ())
}

/// [`run`], telling `watch` of every access.
pub fn run_watched(kernel: &Kernel, facts: &Facts, buffers: &mut [Buffer], args: &[Pointer], watch: &mut impl Watch) -> u8 {
    assert_eq!(args.len(), kernel.args.len(), "arguments of {}", kernel.name);
    let mut memory = Memory { kernel, args, buffers, watch };
    match &kernel.body {
        KernelBody::Tile(tile) => {
            match facts.lanes() {
                4 => tile::run::<4, _>(tile, facts, &mut memory),
                8 => tile::run::<8, _>(tile, facts, &mut memory),
                16 => tile::run::<16, _>(tile, facts, &mut memory),
                lanes => panic!("{} has vectors of {lanes} lanes", facts.name),
            }
            0
        }
        KernelBody::Scalar(scalar) => scalar::run(scalar, facts, &mut memory),
    }
}

struct Memory<'m, 'b, W> {
    kernel: &'m Kernel,
    args: &'m [Pointer],
    buffers: &'m mut [Buffer<'b>],
    watch: &'m mut W,
}

impl<W: Watch> Memory<'_, '_, W> {
    /// `bytes` bytes, `at` bytes from the pointer that argument `arg` was given.
    fn read(&mut self, arg: usize, at: i64, bytes: usize) -> &[u8] {
        let range = self.range(arg, at, bytes, Access::Write);
        let buffer = self.args[arg].buffer;
        self.watch.read(buffer, range.clone());
        match &self.buffers[buffer] {
            Buffer::Fixed(memory) => &memory[range],
            Buffer::Open(memory) => &memory[range],
        }
    }

    fn write(&mut self, arg: usize, at: i64, bytes: usize) -> &mut [u8] {
        let range = self.range(arg, at, bytes, Access::Read);
        let buffer = self.args[arg].buffer;
        self.watch.write(buffer, range.clone());
        match &mut self.buffers[buffer] {
            Buffer::Fixed(_) => panic!("{} writes `{}`, which is fixed", self.kernel.name, self.kernel.args[arg].name),
            Buffer::Open(memory) => &mut memory[range],
        }
    }

    fn range(&self, arg: usize, at: i64, bytes: usize, refused: Access) -> Range<usize> {
        let declared = &self.kernel.args[arg];
        let inside = at >= declared.low && at <= declared.high - bytes as i64;
        if !inside || declared.access == refused {
            panic!(
                "{}: {bytes} bytes at {at} of `{}`, which is {:?} {}..{}",
                self.kernel.name, declared.name, declared.access, declared.low, declared.high
            );
        }
        let from = usize::try_from(self.args[arg].offset as i64 + at).expect("an argument's range lies in its buffer");
        from..from + bytes
    }
}

/// NaN if either is; -0 below +0.
macro_rules! ieee_min_max {
    ($float:ident $min:ident $max:ident) => {
        fn $min(a: $float, b: $float) -> $float {
            if a.is_nan() || b.is_nan() {
                $float::NAN
            } else if a < b || (a == b && a.is_sign_negative()) {
                a
            } else {
                b
            }
        }
        fn $max(a: $float, b: $float) -> $float {
            if a.is_nan() || b.is_nan() {
                $float::NAN
            } else if a > b || (a == b && a.is_sign_positive()) {
                a
            } else {
                b
            }
        }
    };
}

ieee_min_max!(f32 min_f32 max_f32);
ieee_min_max!(f64 min_f64 max_f64);
