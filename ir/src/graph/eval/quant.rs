//! Quantize and dequantize as the maps that they are: scales and zero points lined up with the operand first.

use super::map;
use crate::quant;
use crate::tensor::Tensor;

pub fn quantize(x: &Tensor, scale: &Tensor, zero: &Tensor, axis: usize, block: usize) -> Tensor {
    let body = quant::quantize_body(x.dtype(), scale.dtype(), zero.dtype(), None);
    map::map(&body, &[x, &lined_up(scale, x.shape(), axis, block), &lined_up(zero, x.shape(), axis, block)], x.shape())
}

pub fn dequantize(x: &Tensor, scale: &Tensor, zero: &Tensor, axis: usize, block: usize) -> Tensor {
    let body = quant::dequantize_body(x.dtype(), scale.dtype(), None);
    map::map(&body, &[x, &lined_up(scale, x.shape(), axis, block), &lined_up(zero, x.shape(), axis, block)], x.shape())
}

/// One number, one per position of `axis`, or one per block of it, as a tensor that broadcasts to `shape`.
fn lined_up(list: &Tensor, shape: &[usize], axis: usize, block: usize) -> Tensor {
    if list.shape().is_empty() {
        return list.clone();
    }
    if block == 0 {
        let column: Vec<usize> = std::iter::once(shape[axis]).chain(std::iter::repeat_n(1, shape.len() - axis - 1)).collect();
        return list.reshape(&column);
    }
    let mut cut = list.shape().to_vec();
    cut.insert(axis + 1, 1);
    let mut wide = cut.clone();
    wide[axis + 1] = block;
    let mut whole = list.shape().to_vec();
    whole[axis] *= block;
    let repeated = list.reshape(&cut).expand(&wide);
    let repeated = Tensor::dense(list.dtype(), &whole, repeated.bytes());
    repeated.slice(&vec![0; shape.len()], &vec![1; shape.len()], shape)
}
