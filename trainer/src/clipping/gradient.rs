//! Adds one gradient that lies in memory to the integer sums.

use pulp::{Simd, WithSimd};

use crate::grid::{SHIFT, SHIFT_BITS, shifted_bits};

/// Adds each value, scaled and rounded to the nearest integer; gives the sum of the squares of these integers.
pub(crate) struct AddGradient<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) scale: f64,
    pub(crate) sums: &'a mut [i64],
}

impl WithSimd for AddGradient<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        const LANES: usize = 16;
        let mut squares = [0f64; LANES];
        let (values, last_values) = self.values.as_chunks::<LANES>();
        let (sums, last_sums) = self.sums.as_chunks_mut::<LANES>();
        for (sums, values) in sums.iter_mut().zip(values) {
            for lane in 0..LANES {
                squares[lane] += add(values[lane], self.scale, &mut sums[lane]);
            }
        }
        let last: f64 = (last_values.iter().zip(last_sums))
            .map(|(&value, sum)| add(value, self.scale, sum))
            .sum();
        squares.iter().sum::<f64>() + last
    }
}

#[inline(always)]
fn add(value: f32, scale: f64, sum: &mut i64) -> f64 {
    let bits = shifted_bits(value, scale);
    *sum = sum.wrapping_add(bits.wrapping_sub(SHIFT_BITS));
    let number = f64::from_bits(bits as u64) - SHIFT;
    number * number
}

/// Adds the squares of values.
pub(crate) struct SquaredNorm<'a>(pub(crate) &'a [f32]);

impl WithSimd for SquaredNorm<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        const LANES: usize = 16;
        let mut squares = [0f64; LANES];
        let (values, last) = self.0.as_chunks::<LANES>();
        for values in values {
            for lane in 0..LANES {
                let value = f64::from(values[lane]);
                squares[lane] += value * value;
            }
        }
        let last: f64 = last.iter().map(|&value| f64::from(value).powi(2)).sum();
        squares.iter().sum::<f64>() + last
    }
}
