//! Gradients that are outer products, one example a lane: clipped and added without being written.
//!
//! A linear layer's gradient by one example is `g xᵀ`, and `g` by its bias. Its squared norm is `|g|² (|x|² + 1)` (Goodfellow
//! 2015, "Efficient per-example gradient computations"), and its clipped sum costs as many operations as writing it would,
//! but no memory: most parameters of a small network are of such layers.

use pulp::{Simd, WithSimd};

use super::tile::lane_squares;
use crate::grid::{NUMBER_BITS, SMALL_SHIFT, ZERO_BITS};
use crate::lanes::{Aligned, Isa};

/// The factors of a layer's gradients.
#[derive(Clone, Copy)]
pub(crate) struct Outer<'a> {
    /// Tile of the layer's inputs.
    pub(crate) inputs: &'a [f32],
    /// Tile of its outputs' gradients; empty where the layer has no part in the network's output.
    pub(crate) gradients: &'a [f32],
}

impl Outer<'_> {
    /// Each lane's squared norm over the layer's parameters; lanes that are not sound may have any.
    ///
    /// Elements of the gradient are computed in single precision: a lane where some might be beyond that has no finite norm.
    pub(super) fn squares(&self, isa: Isa, parameters: usize, sound: &[bool], squares: &mut [f64]) {
        squares.fill(0.0);
        if self.gradients.is_empty() {
            return;
        }
        let mut inputs = vec![0.0; squares.len()];
        lane_squares(isa, self.gradients, sound, LEAST, squares);
        lane_squares(isa, self.inputs, sound, LEAST, &mut inputs);
        let width = squares.len();
        let has_bias = parameters * width > self.inputs.len() / width * self.gradients.len();
        for (square, inputs) in squares.iter_mut().zip(inputs) {
            *square *= inputs + f64::from(u8::from(has_bias));
            if *square > LARGEST {
                *square = f64::INFINITY;
            }
        }
    }
}

/// 2^-80: of a square that is less, too much may be lost in single precision, and the other factor makes it great again. Of
/// any other, what is lost is a part of 2^-69 for each element.
const LEAST: f64 = f64::from_bits((1023 - 80) << 52);
/// 2^252: every element is below 2^126 then.
const LARGEST: f64 = f64::from_bits((1023 + 252) << 52);

/// Adds the gradients of some lanes, each scaled by its factor and rounded to nearest integers as `products/rounded.rs` says.
pub(super) struct AddOuter<'a> {
    pub(super) outer: Outer<'a>,
    /// At most as many as a tile has.
    pub(super) lanes: &'a [usize],
    /// One a lane.
    pub(super) scales: &'a [f32],
    /// The layer's.
    pub(super) sums: &'a mut [i64],
}

/// Vectors that are summed at a time.
const VECTORS: usize = 4;

impl WithSimd for AddOuter<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Outer { inputs, gradients } = self.outer;
        let (width, count) = (self.scales.len(), self.lanes.len());
        let (columns, rows) = (inputs.len() / width, gradients.len() / width);
        if count == 0 || rows == 0 {
            return;
        }
        let block = VECTORS * S::F32_LANES;
        let wide = columns.next_multiple_of(block);
        let mut lines = Aligned::zeros(count * wide);
        for (line, &lane) in lines.chunks_exact_mut(wide).zip(self.lanes) {
            for (value, vector) in line.iter_mut().zip(inputs.chunks_exact(width)) {
                *value = vector[lane];
            }
        }
        let factors: Vec<f32> = (gradients.chunks_exact(width))
            .flat_map(|vector| {
                self.lanes
                    .iter()
                    .map(|&lane| vector[lane] * self.scales[lane])
            })
            .collect();
        let (shift, bits) = (simd.splat_f32s(SMALL_SHIFT), simd.splat_u32s(NUMBER_BITS));
        // Each number is counted as itself and `ZERO_BITS`, at most 2^23; a tile has few of them.
        let zero = (count as u32).wrapping_mul(ZERO_BITS);
        let (weights, bias) = self.sums.split_at_mut(rows * columns);
        let mut totals = vec![0u32; block];
        for (target, factors) in weights
            .chunks_exact_mut(columns)
            .zip(factors.chunks_exact(count))
        {
            for (target, start) in target.chunks_mut(block).zip((0..wide).step_by(block)) {
                let mut sums = [simd.splat_u32s(0); VECTORS];
                for (line, &factor) in lines.chunks_exact(wide).zip(factors) {
                    let factor = simd.splat_f32s(factor);
                    let values = S::as_simd_f32s(&line[start..start + block]).0;
                    for (sum, &value) in sums.iter_mut().zip(values) {
                        let shifted = simd.mul_add_e_f32s(value, factor, shift);
                        let number = simd.and_u32s(simd.transmute_u32s_f32s(shifted), bits);
                        *sum = simd.add_u32s(*sum, number);
                    }
                }
                S::as_mut_simd_u32s(&mut totals).0.copy_from_slice(&sums);
                for (target, total) in target.iter_mut().zip(&totals) {
                    *target += i64::from(total.wrapping_sub(zero) as i32);
                }
            }
        }
        for (target, factors) in bias.iter_mut().zip(factors.chunks_exact(count)) {
            *target += (factors.iter())
                .map(|&factor| {
                    let bits = (factor + SMALL_SHIFT).to_bits() & NUMBER_BITS;
                    i64::from(bits as i32 - ZERO_BITS as i32)
                })
                .sum::<i64>();
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};

    use super::*;
    use crate::clipping::{Clipper, Clipping, LaneSums, Tally};
    use crate::grid::Grid;

    struct Case {
        rows: usize,
        columns: usize,
        bias: bool,
        inputs: Vec<f32>,
        gradients: Vec<f32>,
    }

    impl Case {
        fn random(
            rng: &mut impl RngCore,
            width: usize,
            [rows, columns]: [usize; 2],
            bias: bool,
        ) -> Self {
            let mut numbers = |count: usize| -> Vec<f32> {
                (0..count * width)
                    .map(|_| rng.next_u32() as i32 as f32 / 2f32.powi(31))
                    .collect()
            };
            Self {
                rows,
                columns,
                bias,
                inputs: numbers(columns),
                gradients: numbers(rows),
            }
        }

        fn parameters(&self) -> usize {
            self.rows * (self.columns + usize::from(self.bias))
        }

        /// What would be written.
        fn tile(&self, width: usize) -> Vec<f32> {
            let mut tile = Vec::new();
            for gradients in self.gradients.chunks_exact(width) {
                for inputs in self.inputs.chunks_exact(width) {
                    tile.extend(gradients.iter().zip(inputs).map(|(g, x)| g * x));
                }
            }
            if self.bias {
                tile.extend(&self.gradients);
            }
            tile
        }

        fn outer(&self) -> Outer<'_> {
            Outer {
                inputs: &self.inputs,
                gradients: &self.gradients,
            }
        }
    }

    fn sums(isa: Isa, case: &Case, sound: &[bool], factored: bool) -> (Vec<i64>, Tally) {
        let parameters = case.parameters();
        let clipper = Clipper::new(Grid::new(0.5, parameters).unwrap(), Clipping::Flat, 0.5, 1);
        let mut lane_sums = LaneSums::new(isa, vec![0..parameters; 1]);
        let (mut sums, mut tally) = (vec![0; parameters], Tally::default());
        let (tile, outer) = if factored {
            // The tile is not looked at.
            let tile = vec![f32::NAN; parameters * isa.width()];
            (tile, vec![Some(case.outer())])
        } else {
            (case.tile(isa.width()), Vec::new())
        };
        lane_sums.add_tile(&clipper, &tile, &outer, sound, &mut sums, &mut tally);
        lane_sums.flush(&mut sums);
        (sums, tally)
    }

    #[test]
    fn factors_give_the_sums_that_their_products_give() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for isa in Isa::all() {
            let width = isa.width();
            for (size, bias) in [
                ([1, 1], true),
                ([3, 70], false),
                ([5, 64], true),
                ([2, 129], true),
            ] {
                let case = Case::random(&mut rng, width, size, bias);
                let mut sound = vec![true; width];
                sound[width - 1] = width == 1;
                let (written, own_tally) = sums(isa, &case, &sound, false);
                let (factored, tally) = sums(isa, &case, &sound, true);
                assert_eq!(tally, own_tally);
                for (one, other) in written.iter().zip(&factored) {
                    // Rounded otherwise by a unit a lane, and scaled by norms that differ in their last places.
                    assert!(
                        (one - other).unsigned_abs() <= 2 * width as u64,
                        "{isa:?} {size:?}: {one} {other}"
                    );
                }
                assert!(factored.iter().any(|&sum| sum.unsigned_abs() > 1_000));
            }
        }
    }

    #[test]
    fn an_example_that_is_not_finite_or_nearly_so_contributes_nothing() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        for isa in Isa::all() {
            let width = isa.width();
            for (x, g) in [
                (f32::NAN, 1.0),
                (1.0, f32::INFINITY),
                (1e30, 1e9),
                (f32::MAX, f32::MAX),
            ] {
                let mut case = Case::random(&mut rng, width, [4, 33], true);
                case.inputs[7 * width] = x;
                case.gradients[2 * width] = g;
                let (found, tally) = sums(isa, &case, &vec![true; width], true);
                assert_eq!(tally.poisoned, 1, "{isa:?} {x} {g}");
                let mut sound = vec![true; width];
                sound[0] = false;
                assert_eq!(sums(isa, &case, &sound, true).0, found, "{isa:?} {x} {g}");
            }
        }
    }

    #[test]
    fn no_lane_contributes_more_than_the_integer_norm() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        for isa in Isa::all() {
            let width = isa.width();
            for (magnitude, inputs, bias) in [
                (1e-20f32, 1e3f32, true),
                (1.0, 1e3, true),
                (1e15, 1e3, true),
                // The square of the one factor is nothing in single precision, and of the other beyond it.
                (1e-24, 1e25, true),
                (1e-24, 1e25, false),
                (1e25, 1e-24, false),
                (2e-22, 1e23, false),
                (1e-38, 1e38, false),
            ] {
                let mut case = Case::random(&mut rng, width, [20, 100], bias);
                (case.gradients.iter_mut()).for_each(|value| *value = (*value + 2.0) * magnitude);
                (case.inputs.iter_mut()).for_each(|value| *value = (*value + 2.0) * inputs);
                let sound: Vec<bool> = (0..width).map(|lane| lane == 0).collect();
                let (sums, _) = sums(isa, &case, &sound, true);
                let length: u128 = sums
                    .iter()
                    .map(|&x| u128::from(x.unsigned_abs()).pow(2))
                    .sum();
                let bound =
                    u128::from(Grid::new(0.5, case.parameters()).unwrap().integer_norm()).pow(2);
                assert!(length <= bound, "{isa:?} {magnitude} {inputs} {bias}");
                let clipped = magnitude * inputs >= 1.0;
                assert!(!clipped || length as f64 > 0.999 * bound as f64);
            }
        }
    }
}
