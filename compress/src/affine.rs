//! Real numbers as small integers: `real = scale * (integer - zero)`. It knows ranges of numbers, not where they come from.

/// How many bits an integer has, and whether they are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    U8,
    I8,
    I4,
}

impl Width {
    /// The smallest and the largest integer.
    pub fn limits(self) -> (i32, i32) {
        match self {
            Width::U8 => (0, 255),
            Width::I8 => (-128, 127),
            Width::I4 => (-8, 7),
        }
    }

    pub fn bits(self) -> u32 {
        match self {
            Width::U8 | Width::I8 => 8,
            Width::I4 => 4,
        }
    }
}

/// A scale and the integer that stands for zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    pub scale: f32,
    pub zero: i32,
}

/// The least scale: smaller ones lose digits in f32, and bias integers overflow.
const LEAST: f32 = 1e-12;

impl Affine {
    /// Unsigned bytes over `[low, high]`, widened so that zero is an integer: padding and Relu are exact then.
    pub fn over(low: f32, high: f32) -> Affine {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = ((high - low) / 255.0).max(LEAST);
        Affine { scale, zero: (-low / scale).round_ties_even().clamp(0.0, 255.0) as i32 }
    }

    /// The integer nearest to a number, of those that `width` has; ties to even, as the operator QuantizeLinear says.
    pub fn quantize(self, value: f32, width: Width) -> i32 {
        let (low, high) = width.limits();
        let steps = (value / self.scale).round_ties_even() + self.zero as f32;
        // NaN becomes the smallest, which a cast would make zero
        if steps >= high as f32 {
            high
        } else if steps > low as f32 {
            steps as i32
        } else {
            low
        }
    }

    pub fn dequantize(self, integer: i32) -> f32 {
        (integer - self.zero) as f32 * self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_exact_and_the_ends_are_reached() {
        for (low, high) in [(0.0, 6.0), (-1.0, 3.0), (2.0, 5.0), (-5.0, -2.0), (0.0, 0.0)] {
            let a = Affine::over(low, high);
            assert_eq!(a.dequantize(a.quantize(0.0, Width::U8)), 0.0, "{low} {high}");
            for end in [low, high] {
                assert!((a.dequantize(a.quantize(end, Width::U8)) - end).abs() <= a.scale, "{low} {high}");
            }
        }
        let relu6 = Affine::over(0.0, 6.0);
        assert_eq!((relu6.zero, relu6.quantize(7.0, Width::U8), relu6.quantize(-1.0, Width::U8)), (0, 255, 0));
    }

    #[test]
    fn ties_go_to_even() {
        let a = Affine { scale: 1.0, zero: 0 };
        assert_eq!([0.5, 1.5, 2.5, -0.5].map(|v| a.quantize(v, Width::I8)), [0, 2, 2, 0]);
        assert_eq!([9.0, -9.0].map(|v| a.quantize(v, Width::I4)), [7, -8]);
    }
}
