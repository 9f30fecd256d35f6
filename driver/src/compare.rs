//! How far two tensors are apart. It knows numbers, not where they come from.

use ir::{Dtype, Tensor};

/// What is still the same: `|got - want| <= relative * |want| + absolute * max(1, largest |want|)`. The second term is for elements
/// that are small because large ones cancelled.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub relative: f64,
    pub absolute: f64,
}

/// The distance of two tensors of one type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    pub elements: usize,
    /// Elements beyond the tolerance.
    pub beyond: usize,
    /// The largest difference; infinite where only one is NaN or infinite.
    pub absolute: f64,
    /// The largest difference over the largest magnitude that was expected.
    pub relative: f64,
}

/// Compares element by element; NaN equals NaN. Integers are compared exactly where the tolerance is below 1.
pub fn distance(got: &Tensor, want: &Tensor, tolerance: Tolerance) -> Distance {
    assert_eq!((got.dtype(), got.shape()), (want.dtype(), want.shape()), "compared by the caller");
    let wide = matches!(got.dtype(), Dtype::I64 | Dtype::U64);
    let pairs: Vec<(f64, f64)> = if wide {
        // differences are exact where f64 is not
        let difference = |(a, b): (i64, i64)| (a.wrapping_sub(b) as f64 + b as f64, b as f64);
        got.to_i64s().into_iter().zip(want.to_i64s()).map(difference).collect()
    } else {
        got.to_f64s().into_iter().zip(want.to_f64s()).collect()
    };
    let largest = pairs.iter().map(|(_, b)| b.abs()).filter(|b| b.is_finite()).fold(0f64, f64::max);
    let (mut beyond, mut absolute) = (0, 0f64);
    for &(a, b) in &pairs {
        if a == b || (a.is_nan() && b.is_nan()) {
            continue;
        }
        let difference = (a - b).abs();
        let difference = if difference.is_nan() { f64::INFINITY } else { difference };
        absolute = absolute.max(difference);
        // asked this way around, a tolerance that is NaN allows nothing
        let allowed = difference <= tolerance.absolute * largest.max(1.0) + tolerance.relative * b.abs() && b.is_finite();
        beyond += usize::from(!allowed);
    }
    let relative = if absolute == 0.0 { 0.0 } else { absolute / largest };
    Distance { elements: pairs.len(), beyond, absolute, relative }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIGHT: Tolerance = Tolerance { relative: 1e-3, absolute: 1e-6 };

    #[test]
    fn what_is_close_is_the_same_and_nan_equals_nan() {
        let a = Tensor::f32s(&[4], &[1.0, f32::NAN, f32::INFINITY, -2.001]);
        let b = Tensor::f32s(&[4], &[1.0005, f32::NAN, f32::INFINITY, -2.0]);
        let d = distance(&a, &b, TIGHT);
        assert_eq!((d.elements, d.beyond), (4, 0));
        assert!((d.absolute - 0.001).abs() < 1e-6 && (d.relative - 0.0005).abs() < 1e-6, "{d:?}");
    }

    #[test]
    fn the_largest_magnitude_scales_what_is_allowed() {
        let want = Tensor::f32s(&[2], &[1000.0, 0.0]);
        assert_eq!(distance(&Tensor::f32s(&[2], &[1000.0, 9e-4]), &want, TIGHT).beyond, 0);
        assert_eq!(distance(&Tensor::f32s(&[2], &[1000.0, 2e-3]), &want, TIGHT).beyond, 1);
    }

    #[test]
    fn a_tolerance_that_is_no_number_allows_nothing() {
        let nan = Tolerance { relative: f64::NAN, absolute: 1.0 };
        assert_eq!(distance(&Tensor::f32s(&[2], &[1.0, 2.0]), &Tensor::f32s(&[2], &[1.0, 2.5]), nan).beyond, 1);
    }

    #[test]
    fn what_is_not_close_counts() {
        let a = Tensor::f32s(&[4], &[1.0, 0.0, f32::NAN, 5.0]);
        let b = Tensor::f32s(&[4], &[2.0, f32::NAN, 1.0, f32::INFINITY]);
        let d = distance(&a, &b, TIGHT);
        assert_eq!((d.beyond, d.absolute), (4, f64::INFINITY));
    }
}
