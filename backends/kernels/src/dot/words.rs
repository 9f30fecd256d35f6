//! Constant weights of narrow integers as the statements take them: so many elements of K side by side in 32 bits, for each
//! column. A run of K that is no multiple ends with a step that begins early; what it has twice is 0 in the second. A run
//! shorter than a step is one step that ends late, with 0 behind its elements.

use super::way::{Factors, Way, Weights};
use super::{Extra, Product, Right, start_from_bias};
use ir::scalar::{Arg, Body, ScalarOp};
use ir::tensor::Tensor;
use ir::{Dtype, tensor};

/// Bytes that the last step of a run of so many elements begins early.
pub fn back(factors: Factors, run: usize) -> i64 {
    if run < factors.in_step() {
        return 0;
    }
    ((run.next_multiple_of(factors.in_step()) - run) * factors.a.bytes()) as i64
}

/// `matrix` is `[k.., n]`, K consists of runs of `run` elements; the result `[steps, n]` of i32.
pub fn words(matrix: &Tensor, factors: Factors, run: usize) -> Tensor {
    if factors == Factors::FLOATS {
        return matrix.clone();
    }
    let n = *matrix.shape().last().expect("a matrix has columns");
    let k = matrix.elements() / n;
    let (width, per) = (factors.b.bytes(), factors.in_step());
    let bytes = matrix.bytes();
    let steps = run.div_ceil(per);
    let mut out = vec![0; k / run * steps * n * 4];
    for (step, out) in out.chunks_exact_mut(n * 4).enumerate() {
        let (first, last) = (step / steps * run, step % steps + 1 == steps);
        let begin = if last { run.saturating_sub(per) } else { step % steps * per };
        // of the last step, what no other has
        let fresh = if last { (steps - 1) * per - begin } else { 0 };
        for j in fresh..per.min(run) {
            let row = &bytes[(first + begin + j) * n * width..][..n * width];
            for (out, element) in out.chunks_exact_mut(4).zip(row.chunks_exact(width)) {
                out[j * width..][..width].copy_from_slice(element);
            }
        }
    }
    Tensor::dense(Dtype::I32, &[k / run * steps, n], out)
}

/// The elements of each column of words, those that are 0 for being had twice among them.
fn columns(words: &Tensor, factors: Factors) -> Vec<Vec<i32>> {
    let n = words.shape()[1];
    let width = factors.b.bytes();
    let mut out = vec![Vec::with_capacity(words.shape()[0] * factors.in_step()); n];
    for (i, element) in words.bytes().chunks_exact(width).enumerate() {
        out[i * width / 4 % n].push(tensor::element_to_i64(factors.b, element) as i32);
    }
    out
}

/// What is known of all of them, where runs of K have so many steps.
pub(super) fn weights(matrices: &[Tensor], factors: Factors, run: usize) -> Weights {
    if factors.b != Dtype::I8 {
        return Weights::UNKNOWN;
    }
    let each = matrices.iter().map(|words| Weights::of(columns(words, factors).iter().map(Vec::as_slice), run));
    each.reduce(Weights::and).unwrap_or(Weights::UNKNOWN)
}

/// Adds to the bias, or as one, what sums come out too small by.
pub(super) fn complete(product: &mut Product, way: Way) {
    let (Right::Packed { matrices, .. }, factors) = (&product.right, product.factors) else { return };
    if factors == Factors::FLOATS {
        return;
    }
    let mut missing: Vec<i32> = matrices.iter().flat_map(|m| columns(m, factors)).map(|column| way.missing(&column)).collect();
    if missing.iter().all(|&m| m == 0) {
        return;
    }
    let dense =
        |values: &[i32]| Tensor::dense(Dtype::I32, &[values.len()], values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    if let (Some(bias), _) = start_from_bias(Dtype::I32, &product.epilogue, &product.extras)
        && let Extra::Columns(tensor) = &product.extras[bias]
    {
        let bias_values = tensor.to_i64s();
        for (i, m) in missing.iter_mut().enumerate() {
            *m = m.wrapping_add(bias_values[i % bias_values.len()] as i32);
        }
        product.extras[bias] = Extra::Columns(dense(&missing));
        return;
    }
    product.extras.push(Extra::Columns(dense(&missing)));
    let params = product.epilogue.params;
    let mut body = Body { params: params + 1, terms: Vec::new(), result: Arg::Param(0) };
    let sum = body.push(ScalarOp::Add, &[Arg::Param(0), Arg::Param(params)]);
    let binding: Vec<Arg> = [sum].into_iter().chain((1..params).map(Arg::Param)).collect();
    body.result = body.inline(&product.epilogue, &binding);
    product.epilogue = body;
    let levels = product.batch.iter_mut().chain([&mut product.y, &mut product.x]);
    levels.for_each(|level| level.extra.push(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_run_begins_early_with_zeros() {
        let factors = Factors { a: Dtype::U8, b: Dtype::I8 };
        // two runs of six elements, one column and a second one 100 larger
        let bytes: Vec<u8> = (0..12).flat_map(|i| [i, i + 100]).collect();
        let words = words(&Tensor::dense(Dtype::I8, &[12, 2], bytes), factors, 6);
        assert_eq!(words.shape(), [4, 2]);
        let wanted = [[0, 1, 2, 3], [100, 101, 102, 103], [0, 0, 4, 5], [0, 0, 104, 105], [6, 7, 8, 9], [106, 107, 108, 109]];
        assert_eq!(words.bytes()[..24], *wanted.as_flattened());
        assert_eq!(columns(&words, factors)[0], [0, 1, 2, 3, 0, 0, 4, 5, 6, 7, 8, 9, 0, 0, 10, 11]);
        let short = super::words(&Tensor::dense(Dtype::I8, &[3, 1], vec![7, 8, 9]), factors, 3);
        assert_eq!((short.shape(), &short.bytes()[..]), (&[1, 1][..], &[7, 8, 9, 0][..]));
        assert_eq!(back(factors, 3), 0);
        assert_eq!(back(factors, 6), 2);
        assert_eq!(back(factors, 8), 0);
        assert_eq!(back(Factors { a: Dtype::I16, b: Dtype::I16 }, 5), 2);
    }
}
