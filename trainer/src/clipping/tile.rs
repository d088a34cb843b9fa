//! Clips the gradients of a tile, one example a lane (see [`crate::lanes`]).
//!
//! Clipped gradients are first summed lane by lane, in 32 bits, so that no vector is ever added up across its lanes; how a
//! value is rounded there, and why nothing overflows, is said in `products/rounded.rs`.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::clipper::{Clipper, Tally, Verdict};
use super::outer::{AddOuter, Outer};
use crate::grid::{NUMBER_BITS, SMALL_NORM, SMALL_SHIFT, ZERO_BITS};
use crate::lanes::{Aligned, Isa};

/// Sums of clipped gradients by lane, `[parameter][lane]`.
pub(crate) struct LaneSums {
    isa: Isa,
    /// The parameters of each layer, in order and without gaps.
    layers: Vec<Range<usize>>,
    /// Each contribution is counted as its value and [`ZERO_BITS`].
    sums: Aligned<u32>,
    /// Tiles in each layer's sums.
    tiles: Vec<u32>,
}

impl LaneSums {
    /// Sums for layers with these parameters, which come in order and without gaps.
    pub(crate) fn new(isa: Isa, layers: Vec<Range<usize>>) -> Self {
        let parameters = layers.last().map_or(0, |last| last.end);
        Self {
            isa,
            tiles: vec![0; layers.len()],
            layers,
            sums: Aligned::zeros(parameters * isa.width()),
        }
    }

    /// Clips each lane of a tile `[parameter][lane]` for which `sound` is set and adds it; the others are not looked at.
    /// A layer for which `outer` has factors is not looked at in the tile: its gradients are their products.
    ///
    /// # Panics
    /// Where the tile has another length than the sums, the lanes are not as many as the instruction set has, or the grid is
    /// finer than single precision.
    pub(crate) fn add_tile(
        &mut self,
        clipper: &Clipper,
        tile: &[f32],
        outer: &[Option<Outer<'_>>],
        sound: &[bool],
        sums: &mut [i64],
        tally: &mut Tally,
    ) {
        let width = self.isa.width();
        assert!(
            clipper.grid().integer_norm() <= SMALL_NORM,
            "a grid too fine for lanes"
        );
        assert_eq!(sound.len(), width, "flags for another number of lanes");
        assert_eq!(
            tile.len(),
            self.sums.len(),
            "a tile of another length than the sums"
        );
        if self.tiles.contains(&MOST_TILES) {
            self.flush(sums);
        }
        let outer = |layer: usize| outer.get(layer).copied().flatten();
        let layers = self.layers.len();
        let mut squares = vec![0.0; layers * width];
        for (layer, squares) in squares.chunks_exact_mut(width).enumerate() {
            let range = &self.layers[layer];
            match outer(layer) {
                Some(outer) => outer.squares(self.isa, range.len(), sound, squares),
                None => {
                    let tile = &tile[range.start * width..range.end * width];
                    lane_squares(self.isa, tile, sound, 0.0, squares);
                }
            }
        }
        let mut masks = vec![0; width];
        let mut admitted = Vec::with_capacity(width);
        let mut scales = vec![0.0; layers * width];
        let (mut own_squares, mut own_scales) = (vec![0.0; layers], vec![0.0; layers]);
        for lane in (0..width).filter(|&lane| sound[lane]) {
            for (own, squares) in own_squares.iter_mut().zip(squares.chunks_exact(width)) {
                *own = squares[lane];
            }
            let verdict = clipper.scales(&own_squares, &mut own_scales);
            tally.count(verdict, 1);
            if verdict != Verdict::Poisoned {
                masks[lane] = u32::MAX;
                admitted.push(lane);
            }
            for (scales, own) in scales.chunks_exact_mut(width).zip(&own_scales) {
                scales[lane] = *own as f32;
            }
        }
        for (layer, scales) in scales.chunks_exact(width).enumerate() {
            let own = self.layers[layer].clone();
            if let Some(outer) = outer(layer) {
                self.isa.run(AddOuter {
                    outer,
                    lanes: &admitted,
                    scales,
                    sums: &mut sums[own],
                });
                continue;
            }
            self.tiles[layer] += 1;
            let range = own.start * width..own.end * width;
            self.isa.run(AddRounded {
                tile: &tile[range.clone()],
                masks: &masks,
                scales,
                sums: &mut self.sums[range],
            });
        }
    }

    /// Adds what is in the lanes to the sums, and empties the lanes.
    pub(crate) fn flush(&mut self, sums: &mut [i64]) {
        let width = self.isa.width();
        for (range, &tiles) in
            (self.layers.iter().zip(&self.tiles)).filter(|(_, tiles)| **tiles > 0)
        {
            let zero = tiles.wrapping_mul(ZERO_BITS);
            let lanes = self.sums[range.start * width..range.end * width].chunks_exact(width);
            for (sum, lanes) in sums[range.clone()].iter_mut().zip(lanes) {
                *sum += (lanes.iter())
                    .map(|lane| i64::from(lane.wrapping_sub(zero) as i32))
                    .sum::<i64>();
            }
        }
        self.clear();
    }

    /// Empties the lanes.
    pub(crate) fn clear(&mut self) {
        let width = self.isa.width();
        for (range, tiles) in self.layers.iter().zip(&mut self.tiles) {
            if std::mem::take(tiles) > 0 {
                self.sums[range.start * width..range.end * width].fill(0);
            }
        }
    }
}

/// Each lane's squared norm; lanes that are not sound may have any.
///
/// A square that comes out below `least`, which is zero where what is lost does not matter, is computed in double precision.
pub(super) fn lane_squares(
    isa: Isa,
    tile: &[f32],
    sound: &[bool],
    least: f64,
    squares: &mut [f64],
) {
    squares.fill(0.0);
    isa.run(AddSquares { tile, squares });
    // What is beyond single precision, or lost in it, may still be within double. Only in the lane that it is in: no example may change, by so
    // much as a rounding, what another contributes.
    for (lane, square) in squares.iter_mut().enumerate() {
        if sound[lane] && !(least..f64::INFINITY).contains(square) {
            let values = tile.iter().skip(lane).step_by(sound.len());
            *square = values.map(|&value| f64::from(value).powi(2)).sum();
        }
    }
}

/// 32 bits hold so many contributions of at most 2^22 in either direction.
const MOST_TILES: u32 = 511;

/// Adds each lane's sum of squares.
struct AddSquares<'a> {
    tile: &'a [f32],
    squares: &'a mut [f64],
}

/// Lanes of the widest instruction set.
const MOST_LANES: usize = 16;
/// Squares that are added in single precision before they are added in double.
const SQUARES_BLOCK: usize = 64;

impl WithSimd for AddSquares<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for block in S::as_simd_f32s(self.tile).0.chunks(SQUARES_BLOCK) {
            let mut sums = [simd.splat_f32s(0.0); 4];
            let (fours, rest) = block.as_chunks::<4>();
            for four in fours {
                for (sum, &value) in sums.iter_mut().zip(four) {
                    *sum = simd.mul_add_e_f32s(value, value, *sum);
                }
            }
            for &value in rest {
                sums[0] = simd.mul_add_e_f32s(value, value, sums[0]);
            }
            let [a, b, c, d] = sums;
            let sum = simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d));
            let mut lanes = [0.0; MOST_LANES];
            simd.partial_store_f32s(&mut lanes[..S::F32_LANES], sum);
            for (square, value) in self.squares.iter_mut().zip(lanes) {
                *square += f64::from(value);
            }
        }
    }
}

/// Adds all lanes to the sums, each scaled by its factor and rounded to nearest integers; lanes whose mask is zero count
/// as zero. (A factor of zero would not do: zero times NaN is no zero.)
struct AddRounded<'a> {
    tile: &'a [f32],
    masks: &'a [u32],
    scales: &'a [f32],
    sums: &'a mut [u32],
}

impl WithSimd for AddRounded<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (Some(&mask), Some(&scale)) = (
            S::as_simd_u32s(self.masks).0.first(),
            S::as_simd_f32s(self.scales).0.first(),
        ) else {
            return;
        };
        let (shift, bits) = (simd.splat_f32s(SMALL_SHIFT), simd.splat_u32s(NUMBER_BITS));
        let sums = S::as_mut_simd_u32s(self.sums).0;
        for (sum, &value) in sums.iter_mut().zip(S::as_simd_f32s(self.tile).0) {
            let value =
                simd.transmute_f32s_u32s(simd.and_u32s(simd.transmute_u32s_f32s(value), mask));
            let shifted = simd.transmute_u32s_f32s(simd.mul_add_e_f32s(value, scale, shift));
            *sum = simd.add_u32s(*sum, simd.and_u32s(shifted, bits));
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};

    use super::*;
    use crate::clipping::Clipping;
    use crate::grid::Grid;

    fn random_gradient(rng: &mut impl RngCore, length: usize, spread: i32) -> Vec<f32> {
        let value = |rng: &mut dyn RngCore| {
            let exponent = (rng.next_u32() % (2 * spread as u32 + 1)) as i32 - spread;
            (rng.next_u32() as i32 as f32 / 2f32.powi(31)) * 2f32.powi(exponent)
        };
        (0..length).map(|_| value(rng)).collect()
    }

    fn squared(sums: &[i64]) -> u128 {
        sums.iter()
            .map(|&x| u128::from(x.unsigned_abs()).pow(2))
            .sum()
    }

    #[test]
    fn a_tile_gives_the_sums_of_its_sound_lanes_on_every_instruction_set() {
        let mut rng = ChaCha20Rng::seed_from_u64(6);
        let parameters = 37;
        let grid = Grid::new(1.0, parameters).unwrap();
        let clipper = Clipper::new(grid, Clipping::Flat, 1.0, 2);
        for isa in Isa::all() {
            let width = isa.width();
            for (poisoned, unsound) in [
                (None, None),
                (Some(0), None),
                (None, Some(width - 1)),
                (Some(width / 2), Some(0)),
            ] {
                let mut lanes: Vec<Vec<f32>> = (0..width)
                    .map(|_| random_gradient(&mut rng, parameters, 2))
                    .collect();
                if let Some(lane) = poisoned {
                    lanes[lane][5] = f32::NAN;
                }
                let mut sound = vec![true; width];
                if let Some(lane) = unsound {
                    sound[lane] = false;
                    lanes[lane][3] = f32::INFINITY;
                }
                let mut expected = vec![0; parameters];
                for (gradient, _) in lanes.iter().zip(&sound).filter(|(_, sound)| **sound) {
                    grid.accumulate(gradient, &mut expected);
                }
                let tile: Vec<f32> = (0..parameters)
                    .flat_map(|p| lanes.iter().map(move |lane| lane[p]))
                    .collect();
                let mut sums = vec![0; parameters];
                let mut lane_sums = LaneSums::new(isa, vec![0..30, 30..37]);
                let mut tally = Tally::default();
                lane_sums.add_tile(&clipper, &tile, &[], &sound, &mut sums, &mut tally);
                lane_sums.flush(&mut sums);
                let found = usize::from(poisoned.is_some_and(|lane| sound[lane]));
                assert_eq!(tally.poisoned, found, "{isa:?}");
                for (sum, expected) in sums.iter().zip(&expected) {
                    // The clipper scales to a little less than the grid's limit.
                    let slack = (expected / 8192).unsigned_abs() + 2 * width as u64;
                    assert!(
                        (sum - expected).unsigned_abs() <= slack,
                        "{isa:?}: {sum} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn no_lane_of_a_tile_contributes_more_than_the_integer_norm() {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        for isa in Isa::all() {
            for parameters in [1, 5, 26_010] {
                let grid = Grid::new(0.7, parameters).unwrap();
                let clipper = Clipper::new(grid, Clipping::Flat, f64::from(0.7f32), 1);
                let width = isa.width();
                for lane in [0, width - 1] {
                    // All other lanes are poison.
                    let mut tile = vec![f32::NAN; parameters * width];
                    let own = random_gradient(&mut rng, parameters, 30);
                    for (vector, value) in tile.chunks_exact_mut(width).zip(own) {
                        vector[lane] = 1e6 + value.clamp(-9.0, 9.0);
                    }
                    let mut sound = vec![false; width];
                    sound[lane] = true;
                    let mut sums = vec![0; parameters];
                    let mut lane_sums = LaneSums::new(isa, vec![0..parameters; 1]);
                    let mut tally = Tally::default();
                    lane_sums.add_tile(&clipper, &tile, &[], &sound, &mut sums, &mut tally);
                    lane_sums.flush(&mut sums);
                    assert_eq!((tally.poisoned, tally.beyond), (0, 1));
                    let (length, bound) = (squared(&sums), u128::from(grid.integer_norm()).pow(2));
                    assert!(
                        length <= bound && length as f64 > 0.999 * bound as f64,
                        "{isa:?}, {parameters} parameters"
                    );
                }
            }
        }
    }
}
