//! Ghost norms of convolutions: the norm of a gradient from inner products of its factors.
//!
//! With `P` the inner products of all pairs of pixels of the padded input and `Q` those of all pairs of positions of the
//! output's gradient, `‖G‖² = Σ_{t,t'} Q(t, t') Σ_tap P(t + tap, t' + tap)`: pixels are multiplied once, not once a tap.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::convolution::Convolution;
use super::tile::{COLUMNS, HALF, ROWS, Tile, half, multiply};
use crate::graph::{GradientPass, Scratch};
use crate::lanes::Isa;

impl Convolution {
    /// Multiplications of the ghost norm of `examples` examples, and of their instantiated gradient.
    pub(crate) fn costs(&self, examples: usize) -> [u64; 2] {
        let [pixels, positions] = self.ghost_sizes(examples).map(|size| size as u64);
        let (channels, rows) = (self.geometry.channels as u64, self.geometry.rows as u64);
        let (taps, groups) = (self.forward.taps.len() as u64, self.geometry.groups as u64);
        let kernel: u64 = self.geometry.kernel.iter().product::<usize>() as u64;
        // Scalar work in the last sum weighs as much as a vector's.
        let last = positions * positions * kernel * groups * 8;
        [
            (pixels * pixels * channels + positions * positions * rows) / 2 + last,
            positions * rows * taps,
        ]
    }

    fn ghost_sizes(&self, examples: usize) -> [usize; 2] {
        let pixels: usize = self.geometry.padded.iter().product();
        [examples * pixels, examples * self.positions()]
    }

    /// `‖Σ_i G_i‖²` of some examples' gradients of the weights.
    pub(crate) fn ghost_squared_norm(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        scratch: &mut Scratch,
    ) -> f64 {
        let geometry = &self.geometry;
        let [pixels, positions] = self.ghost_sizes(examples.len());
        let [wide_pixels, wide_positions] =
            [pixels, positions].map(|size| size.next_multiple_of(COLUMNS));
        let (channels, rows) = (self.channels(), self.rows());
        let [input, gradient, left, pixel_products, position_products] = scratch.split([
            channels * wide_pixels,
            rows * wide_positions,
            channels.max(rows) * ROWS,
            wide_pixels * wide_pixels,
            wide_positions * wide_positions,
        ]);
        input.fill(0.0);
        gradient.fill(0.0);
        let [height, width] = geometry.image;
        let plane = geometry.padded[0] * geometry.padded[1];
        let kernel: Vec<usize> =
            self.forward.taps[..geometry.kernel.iter().product::<usize>()].to_vec();
        let mut total = 0.0;
        for group in 0..geometry.groups {
            for (at, example) in examples.clone().enumerate() {
                for channel in 0..channels {
                    let source =
                        (example * geometry.channels + group * channels + channel) * height;
                    for y in 0..height {
                        let start = channel * wide_pixels
                            + at * plane
                            + (y + geometry.corner[0]) * geometry.padded[1]
                            + geometry.corner[1];
                        input[start..start + width]
                            .copy_from_slice(&pass.inputs[0][(source + y) * width..][..width]);
                    }
                }
                let count = self.positions();
                for row in 0..rows {
                    let source = (example * geometry.rows + group * rows + row) * count;
                    gradient[row * wide_positions + at * count..][..count]
                        .copy_from_slice(&pass.output_gradient[source..][..count]);
                }
            }
            inner_products(pass.isa, input, wide_pixels, left, pixel_products);
            inner_products(pass.isa, gradient, wide_positions, left, position_products);
            let places: Vec<usize> = (0..examples.len())
                .flat_map(|at| {
                    self.forward
                        .positions
                        .iter()
                        .map(move |position| at * plane + position)
                })
                .collect();
            for (t, &place) in places.iter().enumerate() {
                let mut line = 0.0;
                for (other, &at) in places.iter().enumerate().skip(t) {
                    let pixels: f32 = kernel
                        .iter()
                        .map(|tap| pixel_products[(place + tap) * wide_pixels + at + tap])
                        .sum();
                    let product = f64::from(pixels)
                        * f64::from(position_products[t * wide_positions + other]);
                    // Above the diagonal each pair stands for two.
                    line += if other == t { product } else { 2.0 * product };
                }
                total += line;
            }
        }
        // Below zero only by rounding. Not `max`, which would hide what is not a number.
        if total < 0.0 { 0.0 } else { total }
    }
}

/// Inner products of all pairs of columns of `[row][column]`, on and above the diagonal.
fn inner_products(isa: Isa, matrix: &[f32], width: usize, left: &mut [f32], products: &mut [f32]) {
    isa.run(InnerProducts {
        matrix,
        width,
        left,
        products,
    });
}

struct InnerProducts<'a> {
    matrix: &'a [f32],
    width: usize,
    left: &'a mut [f32],
    products: &'a mut [f32],
}

impl WithSimd for InnerProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.width;
        let rows = self.matrix.len() / width;
        let left = &mut self.left.as_chunks_mut::<ROWS>().0[..rows];
        let mut tile: Tile = [[0.0; COLUMNS]; ROWS];
        for first in (0..width).step_by(ROWS) {
            for (left, line) in left.iter_mut().zip(self.matrix.chunks_exact(width)) {
                left.copy_from_slice(&line[first..first + ROWS]);
            }
            for column in (first / COLUMNS * COLUMNS..width).step_by(COLUMNS) {
                let right = (0..rows).map(|row| {
                    let start = row * width + column;
                    [half(self.matrix, start), half(self.matrix, start + HALF)]
                });
                multiply(simd, left, right, &mut tile);
                for (i, line) in tile.iter().enumerate() {
                    self.products[(first + i) * width + column..][..COLUMNS].copy_from_slice(line);
                }
            }
        }
    }
}
