//! Symmetric positive definite systems, in f64: Cholesky's factor and solving with it. It knows matrices, not layers.

/// A matrix that is no positive definite one, by the first pivot that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPositive(pub usize);

/// The sum of products. Eight partial sums, so that the compiler may use vectors.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0f64; 8];
    let (mut a8, mut b8) = (a.chunks_exact(8), b.chunks_exact(8));
    for (a, b) in (&mut a8).zip(&mut b8) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

/// Replaces the lower triangle of `a`, `[n][n]`, by `L` with `a = L Lᵀ`; the upper one is not looked at.
/// Fault: `a` is not positive definite.
pub fn cholesky(a: &mut [f64], n: usize) -> Result<(), NotPositive> {
    assert_eq!(a.len(), n * n);
    for i in 0..n {
        let (above, row) = a.split_at_mut(i * n);
        let row = &mut row[..n];
        for j in 0..i {
            let other = &above[j * n..j * n + j + 1];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let pivot = row[i] - dot(&row[..i], &row[..i]);
        // NaN is no pivot either
        if pivot.is_nan() || pivot <= 0.0 || !pivot.is_finite() {
            return Err(NotPositive(i));
        }
        row[i] = pivot.sqrt();
    }
    Ok(())
}

/// Replaces `b` by `x` with `L Lᵀ x = b`.
pub fn solve(l: &[f64], n: usize, b: &mut [f64]) {
    assert_eq!(b.len(), n);
    for i in 0..n {
        b[i] = (b[i] - dot(&l[i * n..i * n + i], &b[..i])) / l[i * n + i];
    }
    for i in (0..n).rev() {
        b[i] /= l[i * n + i];
        let x = b[i];
        for (b, l) in b[..i].iter_mut().zip(&l[i * n..i * n + i]) {
            *b -= l * x;
        }
    }
}

/// The inverse of a lower triangle, `[n][n]`, as a lower triangle.
pub fn invert_lower(l: &[f64], n: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; n * n];
    for i in 0..n {
        let (above, row) = inverse.split_at_mut(i * n);
        let row = &mut row[..=i];
        // row i of the inverse is -(row i of L, without its end, times the rows above) over the pivot
        for (j, &factor) in l[i * n..i * n + i].iter().enumerate() {
            for (to, from) in row[..=j].iter_mut().zip(&above[j * n..]) {
                *to -= factor * from;
            }
        }
        let pivot = 1.0 / l[i * n + i];
        row[..i].iter_mut().for_each(|v| *v *= pivot);
        row[i] = pivot;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positive(n: usize) -> Vec<f64> {
        let b: Vec<f64> = (0..n * n).map(|i| ((i * 7919 + 13) % 101) as f64 / 50.0 - 1.0).collect();
        let mut a = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                a[i * n + j] = dot(&b[i * n..][..n], &b[j * n..][..n]) + if i == j { 0.5 } else { 0.0 };
            }
        }
        a
    }

    #[test]
    fn a_system_is_solved() {
        for n in [1, 2, 9, 40] {
            let a = positive(n);
            let x: Vec<f64> = (0..n).map(|i| i as f64 - 3.0).collect();
            let mut b: Vec<f64> = (0..n).map(|i| dot(&a[i * n..][..n], &x)).collect();
            let mut l = a.clone();
            cholesky(&mut l, n).expect("it is positive");
            solve(&l, n, &mut b);
            assert!(b.iter().zip(&x).all(|(b, x)| (b - x).abs() < 1e-6), "{n}: {b:?}");
        }
    }

    #[test]
    fn a_triangle_is_inverted() {
        let n = 23;
        let mut l = positive(n);
        cholesky(&mut l, n).expect("it is positive");
        let inverse = invert_lower(&l, n);
        for i in 0..n {
            for j in 0..n {
                let product: f64 = (0..n).map(|k| if k <= i { l[i * n + k] * inverse[k * n + j] } else { 0.0 }).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-9, "{i} {j} {product}");
            }
        }
    }

    #[test]
    fn what_is_not_positive_is_refused() {
        assert_eq!(cholesky(&mut [1.0, 0.0, 2.0, 1.0], 2), Err(NotPositive(1)));
        assert_eq!(cholesky(&mut [f64::NAN], 1), Err(NotPositive(0)));
    }
}
