//! The integer grid on which clipped gradients are summed.
//!
//! Clipping norm `C` becomes `C_int = 2^20` grid units (more where there are over a million parameters). Each example's
//! gradient is scaled, rounded to the nearest integers and added to 64-bit sums. Thus
//! - sums do not depend on the order or the number of threads;
//! - **the L2 norm of each contribution is at most `C_int`, rounding included**: rounding moves a vector by at most
//!   `√d/2`, so it is scaled to norm `limit = C_int - √d/2` at most, less a margin for the rounding of this very arithmetic;
//! - the noise is as if the clipping norm were `C_int/limit` times larger: a loss of `√d / 2 C_int`, which
//!   `C_int >= 2^10 √d` keeps below 5 in 10,000 (and 8 in 100,000 for 26,000 parameters);
//! - rounding itself (half of `2^-20 C`) is far below the noise on a coordinate, about `C`;
//! - a sum of 2^32 contributions stays below 2^62.
//!
//! `C_int >= 2^10 √d` is also what `tributary_accounting` needs for real orders.

use tributary_accounting::NoiseMultiplier;

use crate::noise::{NoiseError, SigmaInt};

/// Clips gradients of `parameters` coordinates to an L2 norm and adds them up in integers.
///
/// ```
/// use tributary_accounting::NoiseMultiplier;
/// use tributary_trainer::{Grid, NoiseSource};
///
/// let grid = Grid::new(1.0, 3)?;
/// let mut sums = vec![0i64; 3];
/// let kept = grid.accumulate(&[0.6, 0.0, 0.0], &mut sums);
/// let shrunk = grid.accumulate(&[0.0, 40.0, 30.0], &mut sums);
/// assert!(!kept.clipped && shrunk.clipped && (shrunk.norm - 50.0).abs() < 1e-9);
/// let mut mean = [0f32; 3];
/// grid.mean_to_f32(&sums, 2.0, &mut mean);
/// assert!((mean[0] - 0.3).abs() < 1e-5 && (mean[1] - 0.4).abs() < 1e-5);
///
/// let sigma = grid.sigma(NoiseMultiplier::new(1.1)?)?;
/// NoiseSource::from_system().add(&mut sums, sigma)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    parameters: usize,
    clipping_norm: f64,
    integer_norm: u64,
    limit: f64,
}

/// What became of one example's gradient.
///
/// Private: norms and counts of clipped or poisoned examples leave the machine only with noise of their own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipped {
    /// The L2 norm before clipping; not finite where the gradient is poisoned.
    pub norm: f64,
    /// The gradient was scaled down.
    pub clipped: bool,
    /// Some coordinate was not a finite number, so the example contributed zero.
    pub poisoned: bool,
}

/// Why there is no such grid.
#[derive(Debug, thiserror::Error)]
pub enum GridError {
    /// The clipping norm is no positive number.
    #[error("the clipping norm must be above 0 and finite, got {0}")]
    ClippingNorm(f32),
    /// No parameter, or more than 2^40.
    #[error("the number of parameters must be 1 to 2^40, got {0}")]
    Parameters(usize),
}

impl Grid {
    /// Contributions that the 64-bit sums hold for certain.
    pub const MAX_EXAMPLES: u64 = 1 << 32;

    /// A grid for gradients of `parameters` coordinates, clipped to `clipping_norm`.
    ///
    /// # Errors
    /// [`GridError`] where either is out of range.
    pub fn new(clipping_norm: f32, parameters: usize) -> Result<Self, GridError> {
        if !(clipping_norm > 0.0 && clipping_norm.is_finite()) {
            return Err(GridError::ClippingNorm(clipping_norm));
        }
        if parameters == 0 || parameters as u64 > 1 << 40 {
            return Err(GridError::Parameters(parameters));
        }
        // 2^bits >= √d; then C_int = max(2^20, 2^(10 + bits)) is at most 2^30.
        let bits = (parameters as u64).next_power_of_two().ilog2().div_ceil(2);
        let integer_norm = 1u64 << (10 + bits).max(20);
        let count = parameters as f64;
        // Roundings of 2^-53 each: at most d + 16 in the square of the norm, in whatever parts it comes (half of that in
        // its root), and 4 in scale and product.
        let margin = 1.0 - (count + 32.0) * f64::EPSILON;
        let limit = (integer_norm as f64 - count.sqrt() / 2.0) * margin;
        Ok(Self {
            parameters,
            clipping_norm: f64::from(clipping_norm),
            integer_norm,
            limit,
        })
    }

    /// Coordinates of a gradient.
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// The most that one example contributes, as an L2 norm in grid units.
    pub fn integer_norm(&self) -> u64 {
        self.integer_norm
    }

    /// The noise's parameter for a noise multiplier: `z C_int` rounded up. A power of two times `z` is exact in `f64`,
    /// and so is its ceiling.
    ///
    /// # Errors
    /// [`NoiseError::SigmaOutOfRange`] beyond 2^40.
    pub fn sigma(&self, noise_multiplier: NoiseMultiplier) -> Result<SigmaInt, NoiseError> {
        // `as` saturates, and what saturates is refused.
        SigmaInt::new((noise_multiplier.get() * self.integer_norm as f64).ceil() as u64)
    }

    /// Clips one example's gradient and adds it to the sums.
    ///
    /// # Panics
    /// Where `gradient` or `sums` has another length than the grid's parameters.
    pub fn accumulate(&self, gradient: &[f32], sums: &mut [i64]) -> Clipped {
        self.accumulate_parts(std::iter::once(gradient), sums)
    }

    /// As [`Grid::accumulate`], for a gradient in parts, such as one slice for each tensor, in the order of the sums.
    ///
    /// # Panics
    /// As [`Grid::accumulate`]; then the sums are partly changed and must not be used.
    pub fn accumulate_parts<'a>(
        &self,
        parts: impl Iterator<Item = &'a [f32]> + Clone,
        sums: &mut [i64],
    ) -> Clipped {
        assert_eq!(
            sums.len(),
            self.parameters,
            "sums of another length than the grid's parameters"
        );
        let norm = parts.clone().map(squared_norm).sum::<f64>().sqrt();
        if !norm.is_finite() {
            // Squares of f32 cannot overflow an f64 sum: a coordinate is NaN or infinite.
            return Clipped {
                norm,
                clipped: false,
                poisoned: true,
            };
        }
        let scale = self.limit / norm.max(self.clipping_norm);
        let mut rest = sums;
        for part in parts {
            let (own, others) = rest.split_at_mut(part.len());
            add_rounded(part, scale, own);
            rest = others;
        }
        assert!(
            rest.is_empty(),
            "a gradient of another length than the grid's parameters"
        );
        Clipped {
            norm,
            clipped: norm > self.clipping_norm,
            poisoned: false,
        }
    }

    /// What the clipping norm is in grid units: the most that a contribution is scaled to.
    pub(crate) fn limit(&self) -> f64 {
        self.limit
    }

    /// The sums in the gradients' unit, divided by the **expected** number of examples in a batch.
    ///
    /// # Panics
    /// Where `sums` and `mean` differ in length.
    pub fn mean_to_f32(&self, sums: &[i64], expected_batch: f64, mean: &mut [f32]) {
        assert_eq!(sums.len(), mean.len(), "sums and mean of different lengths");
        let unit = self.clipping_norm / self.limit / expected_batch;
        for (mean, &sum) in mean.iter_mut().zip(sums) {
            *mean = (sum as f64 * unit) as f32;
        }
    }
}

/// The sum of squares, in eight lanes that the compiler keeps in vector registers.
fn squared_norm(values: &[f32]) -> f64 {
    let mut lanes = [0f64; 8];
    let mut chunks = values.chunks_exact(8);
    for chunk in &mut chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            let value = f64::from(value);
            *lane += value * value;
        }
    }
    let rest: f64 = chunks
        .remainder()
        .iter()
        .map(|&value| f64::from(value) * f64::from(value))
        .sum();
    lanes.iter().sum::<f64>() + rest
}

/// Adds each value, scaled and rounded to the nearest integer.
fn add_rounded(values: &[f32], scale: f64, sums: &mut [i64]) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum = sum.wrapping_add(shifted_bits(value, scale).wrapping_sub(SHIFT_BITS));
    }
}

/// `SHIFT_BITS` plus the value, scaled and rounded to the nearest integer.
///
/// Adding 1.5 · 2^52 leaves no fraction bits: the sum's last place is 1, so it is rounded to nearest, and its low bits
/// are the integer. Unlike a cast this needs no conversion instruction, which most processors lack in vector form.
#[inline(always)]
pub(crate) fn shifted_bits(value: f32, scale: f64) -> i64 {
    (f64::from(value) * scale + SHIFT).to_bits() as i64
}

/// As products and lanes round, in single precision: the value, scaled and rounded to the nearest integer, and the
/// integer's square. What is out of the range of 2^22, or no number, gives some integer of at most 2^22, and a square that is
/// at least 2^44 or no number.
#[inline(always)]
pub(crate) fn round_small(value: f32, scale: f32) -> (i32, f64) {
    let shifted = value.mul_add(scale, SMALL_SHIFT);
    let number = (shifted.to_bits() & NUMBER_BITS) as i32 - ZERO_BITS as i32;
    let rounded = f64::from(shifted - SMALL_SHIFT);
    (number, rounded * rounded)
}

/// 1.5 · 2^23: as [`SHIFT`], in single precision.
pub(crate) const SMALL_SHIFT: f32 = 12_582_912.0;
/// The bits of a sum with [`SMALL_SHIFT`] that hold the integer, and what they hold for zero.
pub(crate) const NUMBER_BITS: u32 = (1 << 23) - 1;
pub(crate) const ZERO_BITS: u32 = 1 << 22;
/// The largest integer norm for which single precision rounds to the grid.
pub(crate) const SMALL_NORM: u64 = 1 << 22;

pub(crate) const SHIFT: f64 = 6_755_399_441_055_744.0;
pub(crate) const SHIFT_BITS: i64 = SHIFT.to_bits() as i64;

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::{RngCore, SeedableRng};

    fn contribution(grid: &Grid, gradient: &[f32]) -> (Vec<i64>, Clipped) {
        let mut sums = vec![0; gradient.len()];
        let clipped = grid.accumulate(gradient, &mut sums);
        (sums, clipped)
    }

    fn squared(sums: &[i64]) -> u128 {
        sums.iter()
            .map(|&x| u128::from(x.unsigned_abs()).pow(2))
            .sum()
    }

    fn random_gradient(rng: &mut impl RngCore, length: usize, spread: i32) -> Vec<f32> {
        let value = |rng: &mut dyn RngCore| {
            let exponent = (rng.next_u32() % (2 * spread as u32 + 1)) as i32 - spread;
            (rng.next_u32() as i32 as f32 / 2f32.powi(31)) * 2f32.powi(exponent)
        };
        (0..length).map(|_| value(rng)).collect()
    }

    #[test]
    fn no_contribution_exceeds_the_integer_norm() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for parameters in [1, 2, 3, 7, 100, 26_010, 1_500_000] {
            for spread in [0, 3, 60] {
                for norm in [1e-3f32, 1.0, 77.7] {
                    let grid = Grid::new(norm, parameters).unwrap();
                    let bound = u128::from(grid.integer_norm()).pow(2);
                    let gradient = random_gradient(&mut rng, parameters, spread);
                    let (sums, _) = contribution(&grid, &gradient);
                    assert!(
                        squared(&sums) <= bound,
                        "{parameters} parameters, spread {spread}, norm {norm}"
                    );
                }
            }
        }
    }

    /// Rounding up in every coordinate at once is the worst case of the argument.
    #[test]
    fn no_contribution_exceeds_the_integer_norm_where_every_coordinate_rounds_up() {
        for parameters in [1, 2, 4, 1_000, 26_010, 1 << 20, (1 << 20) + 1] {
            for nudge in 0..200 {
                let grid = Grid::new(1.0, parameters).unwrap();
                let gradient = vec![1000.0 + nudge as f32 * 0.37; parameters];
                let (sums, clipped) = contribution(&grid, &gradient);
                assert!(
                    squared(&sums) <= u128::from(grid.integer_norm()).pow(2),
                    "{parameters} {nudge}"
                );
                assert!(clipped.clipped);
                if parameters > 26_010 && nudge > 1 {
                    break;
                }
            }
        }
    }

    #[test]
    fn huge_and_tiny_gradients_keep_their_direction() {
        let grid = Grid::new(2.0, 2).unwrap();
        let (sums, clipped) = contribution(&grid, &[f32::MAX, -f32::MAX]);
        assert!(clipped.clipped && !clipped.poisoned);
        assert_eq!(sums[0], -sums[1]);
        assert!(squared(&sums) as f64 > 0.9999 * (grid.integer_norm() as f64).powi(2));
        let (sums, clipped) = contribution(&grid, &[f32::MIN_POSITIVE / 4.0, 0.0]);
        assert_eq!((sums, clipped.clipped), (vec![0, 0], false));
    }

    #[test]
    fn poisoned_gradients_contribute_zero() {
        let grid = Grid::new(1.0, 9).unwrap();
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0, 7, 8] {
                let mut gradient = [0.5; 9];
                gradient[place] = poison;
                let (sums, clipped) = contribution(&grid, &gradient);
                assert!(clipped.poisoned && !clipped.clipped && !clipped.norm.is_finite());
                assert_eq!(sums, [0; 9]);
            }
        }
    }

    #[test]
    fn a_gradient_in_parts_gives_the_same_sums() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let gradient = random_gradient(&mut rng, 100, 2);
        let grid = Grid::new(0.3, 100).unwrap();
        let (whole, _) = contribution(&grid, &gradient);
        let mut sums = vec![0; 100];
        let parts = [&gradient[..33], &gradient[33..33], &gradient[33..]];
        let clipped = grid.accumulate_parts(parts.into_iter(), &mut sums);
        assert!(clipped.clipped);
        for (one, other) in whole.iter().zip(&sums) {
            // Norms summed in another order may differ in their last place.
            assert!((one - other).abs() <= 1);
        }
    }

    #[test]
    fn the_mean_is_the_clipped_mean_to_a_ten_thousandth() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let grid = Grid::new(1.5, 500).unwrap();
        let (mut sums, mut expected) = (vec![0; 500], vec![0f64; 500]);
        for _ in 0..20 {
            let gradient = random_gradient(&mut rng, 500, 1);
            let clipped = grid.accumulate(&gradient, &mut sums);
            for (e, g) in expected.iter_mut().zip(&gradient) {
                *e += f64::from(*g) * (1.5 / clipped.norm).min(1.0) / 16.0;
            }
        }
        let mut mean = vec![0f32; 500];
        grid.mean_to_f32(&sums, 16.0, &mut mean);
        for (m, e) in mean.iter().zip(&expected) {
            assert!((f64::from(*m) - e).abs() < 1e-4 * e.abs() + 1e-5, "{m} {e}");
        }
    }

    #[test]
    fn sigma_is_rounded_up_and_refused_where_it_is_too_large() {
        let grid = Grid::new(1.0, 10).unwrap();
        let sigma = |z: f64| grid.sigma(NoiseMultiplier::new(z).unwrap());
        assert_eq!(sigma(1.0).unwrap().get(), 1 << 20);
        let above = 1.0 + f64::EPSILON;
        assert_eq!(sigma(above).unwrap().get(), (1 << 20) + 1);
        assert_eq!(sigma(1e-300).unwrap().get(), 1);
        assert!(sigma(1e7).is_err() && sigma(1e300).is_err());
    }

    #[test]
    fn a_grid_out_of_range_is_refused() {
        for norm in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(matches!(
                Grid::new(norm, 5),
                Err(GridError::ClippingNorm(_))
            ));
        }
        assert!(matches!(Grid::new(1.0, 0), Err(GridError::Parameters(0))));
        assert!(matches!(
            Grid::new(1.0, (1 << 40) + 1),
            Err(GridError::Parameters(_))
        ));
    }

    #[test]
    fn the_grid_is_fine_enough_for_its_parameters() {
        for parameters in [
            1,
            1 << 20,
            (1 << 20) + 1,
            1 << 21,
            1 << 22,
            11_000_000,
            1 << 40,
        ] {
            let grid = Grid::new(1.0, parameters).unwrap();
            assert!(grid.integer_norm() as f64 >= 1024.0 * (parameters as f64).sqrt());
            assert!(grid.integer_norm() <= 1 << 30);
            assert!(grid.integer_norm() as u128 * u128::from(Grid::MAX_EXAMPLES) <= 1 << 62);
        }
    }
}
