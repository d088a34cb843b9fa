//! Adds one gradient that lies in memory to the integer sums.

use pulp::{Simd, WithSimd};

use crate::grid::{
    NUMBER_BITS, SHIFT, SHIFT_BITS, SMALL_SHIFT, ZERO_BITS, round_small, shifted_bits,
};

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

/// Adds up to 511 blocks of values, each with a factor of its own, as products do (`products/rounded.rs`): in single precision
/// and 32 bits, for a grid whose integer norm is at most 2^22. Gives the sum of the squares of each block's integers.
pub(crate) struct AddBlocks<'a> {
    /// At most [`BLOCK`] long, all alike.
    pub(crate) blocks: &'a [(&'a [f32], f32)],
    pub(crate) sums: &'a mut [i64],
    /// One a block; added to.
    pub(crate) squares: &'a mut [f64],
}

/// Sums that stay in the first cache while all blocks are added to them, and squares that a vector may add up in single
/// precision.
pub(crate) const BLOCK: usize = 1024;

impl WithSimd for AddBlocks<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut totals = [0u32; BLOCK];
        let (shift, bits) = (simd.splat_f32s(SMALL_SHIFT), simd.splat_u32s(NUMBER_BITS));
        for (&(values, factor), square) in self.blocks.iter().zip(self.squares) {
            let (values, last) = S::as_simd_f32s(values);
            let (totals, last_totals) = totals.split_at_mut(values.len() * S::F32_LANES);
            let (totals, scale) = (S::as_mut_simd_u32s(totals).0, simd.splat_f32s(factor));
            let mut squared = simd.splat_f32s(0.0);
            for (total, &value) in totals.iter_mut().zip(values) {
                let shifted = simd.mul_add_e_f32s(value, scale, shift);
                let number = simd.and_u32s(simd.transmute_u32s_f32s(shifted), bits);
                *total = simd.add_u32s(*total, number);
                let value = simd.sub_f32s(shifted, shift);
                squared = simd.mul_add_e_f32s(value, value, squared);
            }
            *square += f64::from(simd.reduce_sum_f32s(squared));
            for (total, &value) in last_totals.iter_mut().zip(last) {
                let (number, squared) = round_small(value, factor);
                *total = total.wrapping_add((number as u32).wrapping_add(ZERO_BITS));
                *square += squared;
            }
        }
        let zero = (self.blocks.len() as u32).wrapping_mul(ZERO_BITS);
        for (sum, total) in self.sums.iter_mut().zip(totals) {
            *sum += i64::from(total.wrapping_sub(zero) as i32);
        }
    }
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
