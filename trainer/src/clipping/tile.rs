//! Clips the gradients of a tile, one example a lane (see [`crate::lanes`]).

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{Clipper, Verdict};
use crate::clipping::Tally;
use crate::grid::{SHIFT_BITS, shifted_bits};
use crate::lanes::Isa;

/// Clips each lane of a tile `[parameter][lane]` for which `sound` is set and adds it to the sums; the others are not looked
/// at. `layers` are the parameters of each layer, in order and without gaps.
///
/// # Panics
/// Where the tile is not as long as the sums times lanes, or the lanes are not as many as the instruction set has.
pub(crate) fn add_tile(
    isa: Isa,
    clipper: &Clipper,
    layers: &[Range<usize>],
    tile: &[f32],
    sound: &[bool],
    sums: &mut [i64],
    tally: &mut Tally,
) {
    let width = isa.width();
    assert_eq!(sound.len(), width, "flags for another number of lanes");
    assert_eq!(
        tile.len(),
        sums.len() * width,
        "a tile of another length than the sums"
    );
    let mut squares = vec![0.0; layers.len() * width];
    for (layer, squares) in layers.iter().zip(squares.chunks_exact_mut(width)) {
        isa.run(ForLanes(AddSquares {
            tile: &tile[layer.start * width..layer.end * width],
            squares,
        }));
    }
    let mut masks = vec![0; width];
    let mut scales = vec![0.0; layers.len() * width];
    let (mut own_squares, mut own_scales) = (vec![0.0; layers.len()], vec![0.0; layers.len()]);
    for lane in (0..width).filter(|&lane| sound[lane]) {
        for (own, squares) in own_squares.iter_mut().zip(squares.chunks_exact(width)) {
            *own = squares[lane];
        }
        let verdict = clipper.scales(&own_squares, &mut own_scales);
        tally.count(verdict, 1);
        if verdict != Verdict::Poisoned {
            masks[lane] = u32::MAX;
        }
        for (scales, own) in scales.chunks_exact_mut(width).zip(&own_scales) {
            scales[lane] = *own;
        }
    }
    for (layer, scales) in layers.iter().zip(scales.chunks_exact(width)) {
        isa.run(ForLanes(AddRounded {
            tile: &tile[layer.start * width..layer.end * width],
            masks: &masks,
            scales,
            sums: &mut sums[layer.clone()],
        }));
    }
}

/// A kernel over the lanes of a tile, as many as the instruction set has.
trait LaneKernel {
    fn with_lanes<const LANES: usize>(self);
}

struct ForLanes<K>(K);

impl<K: LaneKernel> WithSimd for ForLanes<K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match S::F32_LANES {
            16 => self.0.with_lanes::<16>(),
            8 => self.0.with_lanes::<8>(),
            4 => self.0.with_lanes::<4>(),
            1 => self.0.with_lanes::<1>(),
            other => unreachable!("tiles have 4, 8 or 16 lanes or one, got {other}"),
        }
    }
}

/// Adds each lane's sum of squares.
struct AddSquares<'a> {
    tile: &'a [f32],
    squares: &'a mut [f64],
}

impl LaneKernel for AddSquares<'_> {
    #[inline(always)]
    fn with_lanes<const LANES: usize>(self) {
        let mut sums = [0f64; LANES];
        for vector in self.tile.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                let value = f64::from(vector[lane]);
                sums[lane] += value * value;
            }
        }
        self.squares.copy_from_slice(&sums);
    }
}

/// Adds all lanes to the sums, each scaled by its factor and rounded to nearest integers; lanes whose mask is zero count
/// as zero. (A factor of zero would not do: zero times NaN is no zero.)
struct AddRounded<'a> {
    tile: &'a [f32],
    masks: &'a [u32],
    scales: &'a [f64],
    sums: &'a mut [i64],
}

impl LaneKernel for AddRounded<'_> {
    #[inline(always)]
    fn with_lanes<const LANES: usize>(self) {
        let (mut masks, mut scales) = ([0; LANES], [0.0; LANES]);
        masks.copy_from_slice(self.masks);
        scales.copy_from_slice(self.scales);
        for (sum, vector) in self.sums.iter_mut().zip(self.tile.as_chunks::<LANES>().0) {
            let mut total = sum.wrapping_sub(SHIFT_BITS.wrapping_mul(LANES as i64));
            for lane in 0..LANES {
                let value = f32::from_bits(vector[lane].to_bits() & masks[lane]);
                total = total.wrapping_add(shifted_bits(value, scales[lane]));
            }
            *sum = total;
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
                let mut tally = Tally::default();
                let layers = [0..30, 30..37];
                add_tile(isa, &clipper, &layers, &tile, &sound, &mut sums, &mut tally);
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
                    let mut tally = Tally::default();
                    let layers = [0..parameters];
                    add_tile(isa, &clipper, &layers, &tile, &sound, &mut sums, &mut tally);
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
