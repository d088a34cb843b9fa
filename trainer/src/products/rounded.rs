//! Clipped sums of gradients that are never written: each is computed in registers, scaled, rounded to the integer grid
//! and added there.
//!
//! **Sensitivity.** How long a contribution is, is not taken from an estimate (a ghost norm may lose digits): the squares of
//! the very integers that are added are summed beside them, and whoever clips takes back a contribution that is too long.
//!
//! A scaled value `v` with `|v| < 2^22` is rounded by adding `1.5 · 2^23`, which leaves no fraction bits: `v` rounded is the
//! sum's last 23 bits less `2^22`. Masked to these 23 bits, any other `v`, or what is no number, also gives an integer of at
//! most `2^22`, so that 32-bit sums of up to 2^9 contributions cannot overflow; and its square is counted as at least `2^44`.

use pulp::{Simd, WithSimd};

use super::convolution::Convolution;
use super::gradient::{TermShape, Terms};
use super::tile::{COLUMNS, ROWS, Tile, for_blocks, half};
use super::winograd::PRODUCTS;
use super::winograd_gradient::{TAPS, TileShape, TileTerms};
use crate::graph::{GradientPass, Scaled, Scratch};
use crate::grid::{NUMBER_BITS, SMALL_SHIFT, ZERO_BITS};

/// Contributions that 32-bit sums hold.
const MOST_CONTRIBUTIONS: usize = 511;
/// Squares that are added up in single precision before they are added in double: their sum is then known to one part in
/// 16,000, which `Clipper::admits` allows for.
const SQUARES_IN_A_LANE: usize = 1024;

impl Convolution {
    /// Adds each entity's gradient of the weights, scaled and rounded, and its squared length to `squares`.
    pub(crate) fn add_rounded(
        &self,
        pass: &GradientPass<'_>,
        entities: &[Scaled],
        scratch: &mut Scratch,
        sums: &mut [i64],
        squares: &mut [f64],
    ) {
        let geometry = &self.geometry;
        let input_size = geometry.channels * geometry.image[0] * geometry.image[1];
        let output_size = geometry.rows * self.positions();
        let size = sums.len() / geometry.groups;
        let entities = entities
            .chunks(MOST_CONTRIBUTIONS)
            .zip(squares.chunks_mut(MOST_CONTRIBUTIONS));
        for (entities, squares) in entities {
            let (Some(first), Some(last)) = (entities.first(), entities.last()) else {
                continue;
            };
            let (start, end) = (first.examples.start, last.examples.end);
            if let Some(shape) = TileShape::new(self, end - start) {
                let parts = [
                    &pass.inputs[0][start * input_size..end * input_size],
                    &pass.output_gradient[start * output_size..end * output_size],
                ];
                pass.isa.run(AddRoundedTiles {
                    terms: &self.tile_terms(pass.isa, shape, parts, scratch),
                    start,
                    entities,
                    sums,
                    squares,
                });
                continue;
            }
            let [left, right] = scratch.split(TermShape::new(self, end - start).sizes());
            for group in 0..geometry.groups {
                let terms = self.terms(
                    &pass.inputs[0][start * input_size..end * input_size],
                    &pass.output_gradient[start * output_size..end * output_size],
                    group,
                    left,
                    right,
                );
                pass.isa.run(AddRounded {
                    terms: &terms,
                    start,
                    entities,
                    sums: &mut sums[group * size..(group + 1) * size],
                    squares,
                });
            }
        }
    }
}

/// Adds a group's weights.
struct AddRounded<'a> {
    terms: &'a Terms<'a>,
    /// The first example of the terms.
    start: usize,
    entities: &'a [Scaled],
    sums: &'a mut [i64],
    squares: &'a mut [f64],
}

impl WithSimd for AddRounded<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Terms { left, right, shape } = self.terms;
        let convolution = shape.convolution;
        let (channels, rows) = (convolution.channels(), convolution.rows());
        let positions = convolution.positions();
        let kernel: usize = convolution.geometry.kernel.iter().product();
        let bases = shape.bases();
        let row_size = channels * kernel;
        for block in shape.blocks() {
            let mut totals = vec![[[0u32; COLUMNS]; ROWS]; block.pairs.len()];
            for (index, left) in left.chunks_exact(bases.len() * ROWS).enumerate() {
                totals.fill([[0; COLUMNS]; ROWS]);
                for (entity, square) in self.entities.iter().zip(&mut *self.squares) {
                    let own = (entity.examples.start - self.start) * positions
                        ..(entity.examples.end - self.start) * positions;
                    let left = left[own.start * ROWS..own.end * ROWS].as_chunks::<ROWS>().0;
                    let scale = simd.splat_f32s(entity.scale);
                    // So many that a lane adds no more than SQUARES_IN_A_LANE squares in single precision.
                    let some = S::F32_LANES * SQUARES_IN_A_LANE / (ROWS * COLUMNS);
                    let chunks = block.pairs.chunks(some).zip(totals.chunks_mut(some));
                    for (pairs, totals) in chunks {
                        let mut squared = simd.splat_f32s(0.0);
                        for (&[first, second], totals) in pairs.iter().zip(totals) {
                            let terms = bases[own.clone()].iter().map(|&base| {
                                [half(right, base + first), half(right, base + second)]
                            });
                            for_blocks!(simd: S, left, terms.clone(), |row, column, sums, M, N| {
                                for i in 0..M {
                                    let line = S::as_mut_simd_u32s(&mut totals[row + i]).0;
                                    for j in 0..N {
                                        add_one(simd, sums[i][j], scale, &mut line[column + j], &mut squared);
                                    }
                                }
                            });
                        }
                        *square += f64::from(simd.reduce_sum_f32s(squared));
                    }
                }
                for i in 0..ROWS.min(rows - (index * ROWS).min(rows)) {
                    let target = &mut self.sums[(index * ROWS + i) * row_size..][..row_size];
                    block.for_weights(kernel, &totals, i, |weight, value| {
                        target[weight] += i64::from(value as i32);
                    });
                }
            }
        }
    }
}

/// Scales values, rounds them to integers, and adds these to the total and their squares to `squared`.
#[inline(always)]
fn add_one<S: Simd>(
    simd: S,
    value: S::f32s,
    scale: S::f32s,
    total: &mut S::u32s,
    squared: &mut S::f32s,
) {
    let shift = simd.splat_f32s(SMALL_SHIFT);
    let shifted = simd.mul_add_e_f32s(value, scale, shift);
    let bits = simd.and_u32s(
        simd.transmute_u32s_f32s(shifted),
        simd.splat_u32s(NUMBER_BITS),
    );
    let number = simd.sub_u32s(bits, simd.splat_u32s(ZERO_BITS));
    *total = simd.add_u32s(*total, number);
    let rounded = simd.sub_f32s(shifted, shift);
    *squared = simd.mul_add_e_f32s(rounded, rounded, *squared);
}

/// As [`AddRounded`], from tiles.
struct AddRoundedTiles<'a> {
    terms: &'a TileTerms<'a>,
    start: usize,
    entities: &'a [Scaled],
    sums: &'a mut [i64],
    squares: &'a mut [f64],
}

impl WithSimd for AddRoundedTiles<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let TileShape { channels, rows, .. } = self.terms.shape;
        let tiles = self.terms.shape.tiles_of_one();
        let mut products: [Tile; PRODUCTS] = [[[0.0; COLUMNS]; ROWS]; PRODUCTS];
        let mut taps: [Tile; TAPS] = [[[0.0; COLUMNS]; ROWS]; TAPS];
        let mut totals = [[[0u32; COLUMNS]; ROWS]; TAPS];
        for channel in (0..channels).step_by(COLUMNS) {
            for panel in 0..self.terms.panels() {
                totals.fill([[0; COLUMNS]; ROWS]);
                for (entity, square) in self.entities.iter().zip(&mut *self.squares) {
                    let own = (entity.examples.start - self.start) * tiles
                        ..(entity.examples.end - self.start) * tiles;
                    (self.terms).taps(simd, own, panel, channel, &mut products, &mut taps);
                    let scale = simd.splat_f32s(entity.scale);
                    for (totals, tap) in totals.iter_mut().zip(&taps) {
                        let mut squared = simd.splat_f32s(0.0);
                        for (totals, line) in totals.iter_mut().zip(tap) {
                            let totals = S::as_mut_simd_u32s(totals).0;
                            for (total, &value) in totals.iter_mut().zip(S::as_simd_f32s(line).0) {
                                add_one(simd, value, scale, total, &mut squared);
                            }
                        }
                        *square += f64::from(simd.reduce_sum_f32s(squared));
                    }
                }
                for row in 0..ROWS.min(rows - panel * ROWS) {
                    let start = ((panel * ROWS + row) * channels + channel) * TAPS;
                    let target = &mut self.sums[start..start + COLUMNS * TAPS];
                    for (column, target) in target.as_chunks_mut::<TAPS>().0.iter_mut().enumerate()
                    {
                        for (target, totals) in target.iter_mut().zip(&totals) {
                            *target += i64::from(totals[row][column] as i32);
                        }
                    }
                }
            }
        }
    }
}
