//! The gradient of 3x3 kernels with 16 multiplications where 36 would be: the derivative of what `winograd.rs` computes.
//!
//! With an output tile `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`, the gradient by the kernel is `Gᵀ [(A δ Aᵀ) ⊙ (Bᵀ d B)] G` for the
//! gradient `δ` by the tile; summed over tiles and examples before the outer `Gᵀ` and `G`, which are linear, the products are
//! 16 matrix products.

use pulp::{Simd, WithSimd};

use super::convolution::Convolution;
use super::gradient::pack_lines;
use super::tile::{COLUMNS, HALF, ROWS, Tile, multiply};
use super::winograd::{PRODUCTS, both_ways, input_terms};
use crate::graph::Scratch;
use crate::lanes::Isa;

/// Taps of a kernel.
pub(super) const TAPS: usize = 9;
/// With fewer tiles an example than these, the transforms cost more than they save.
const LEAST_TILES: usize = 16;

/// How the factors of some examples lie in memory.
#[derive(Clone, Copy)]
pub(super) struct TileShape {
    pub(super) channels: usize,
    pub(super) rows: usize,
    /// Tiles of an example, down and across.
    tiles: [usize; 2],
    examples: usize,
}

/// Some examples, ready for products over their tiles.
pub(super) struct TileTerms<'a> {
    pub(super) shape: TileShape,
    /// `[product][panel of rows][example, tile][row]`.
    left: &'a [f32],
    /// `[product][example, tile][channel]`.
    right: &'a [f32],
}

impl TileShape {
    /// `None` where the convolution is of another kind, or too small to gain.
    pub(super) fn new(convolution: &Convolution, examples: usize) -> Option<Self> {
        let [height, width] = convolution.geometry.extent;
        let own = Self {
            channels: convolution.geometry.channels,
            rows: convolution.geometry.rows,
            tiles: [height / 2, width / 2],
            examples,
        };
        let gains = convolution.fast_forward.is_some()
            && own.channels.is_multiple_of(COLUMNS)
            && own.tiles_of_one() >= LEAST_TILES;
        gains.then_some(own)
    }

    /// Tiles of an example.
    pub(super) fn tiles_of_one(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    fn total(&self) -> usize {
        self.examples * self.tiles_of_one()
    }

    /// Padded pixels of an example.
    fn pixels(&self) -> usize {
        (2 * self.tiles[0] + 2) * (2 * self.tiles[1] + 2)
    }

    /// Floats of the two sides, and of what they are made from.
    pub(super) fn sizes(&self) -> [usize; 4] {
        [
            PRODUCTS * self.total() * self.rows.next_multiple_of(ROWS),
            PRODUCTS * self.total() * self.channels,
            self.pixels() * self.channels,
            4 * self.tiles_of_one() * ROWS,
        ]
    }
}

impl Convolution {
    /// Makes terms of some examples' inputs and output gradients.
    pub(super) fn tile_terms<'a>(
        &self,
        isa: Isa,
        shape: TileShape,
        [inputs, output_gradients]: [&[f32]; 2],
        scratch: &'a mut Scratch,
    ) -> TileTerms<'a> {
        let positions = self.positions();
        let [left, right, pixels, lines] = scratch.split(shape.sizes());
        pixels.fill(0.0);
        let inputs = inputs.chunks_exact(inputs.len() / shape.examples);
        let gradients = output_gradients.chunks_exact(shape.rows * positions);
        for (example, (input, gradient)) in inputs.zip(gradients).enumerate() {
            self.channels_last(input, shape.channels, pixels);
            isa.run(Inputs {
                shape,
                first: example * shape.tiles_of_one(),
                pixels,
                right,
            });
            for (panel, gradient) in gradient.chunks(ROWS * positions).enumerate() {
                pack_lines(gradient, positions, lines);
                isa.run(Gradients {
                    shape,
                    first: example * shape.tiles_of_one(),
                    panel,
                    lines,
                    left,
                });
            }
        }
        TileTerms { shape, left, right }
    }
}

/// `Bᵀ d B` for all tiles of an example.
struct Inputs<'a> {
    shape: TileShape,
    first: usize,
    /// `[padded pixel][channel]`.
    pixels: &'a [f32],
    right: &'a mut [f32],
}

impl WithSimd for Inputs<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let TileShape {
            channels,
            tiles: [down, across],
            ..
        } = self.shape;
        let (width, total) = (2 * across + 2, self.shape.total());
        let vectors = channels / S::F32_LANES;
        let pixels = S::as_simd_f32s(self.pixels).0;
        let right = S::as_mut_simd_f32s(self.right).0;
        for tile in 0..down * across {
            let (y, x) = (2 * (tile / across), 2 * (tile % across));
            for vector in 0..vectors {
                let mut lines = [[simd.splat_f32s(0.0); 4]; 4];
                for (line, y) in lines.iter_mut().zip(y..) {
                    let start = (y * width + x) * vectors + vector;
                    let values = [
                        pixels[start],
                        pixels[start + vectors],
                        pixels[start + 2 * vectors],
                        pixels[start + 3 * vectors],
                    ];
                    *line = input_terms(simd, values);
                }
                let [first, second, third, fourth] = lines;
                for x in 0..4 {
                    let column = input_terms(simd, [first[x], second[x], third[x], fourth[x]]);
                    for (y, value) in column.into_iter().enumerate() {
                        let place = ((4 * y + x) * total + self.first + tile) * vectors + vector;
                        right[place] = value;
                    }
                }
            }
        }
    }
}

/// `A δ Aᵀ` for all tiles of an example and one panel of rows.
struct Gradients<'a> {
    shape: TileShape,
    first: usize,
    panel: usize,
    /// `[position][row]`.
    lines: &'a [f32],
    left: &'a mut [f32],
}

impl WithSimd for Gradients<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let TileShape {
            rows,
            tiles: [down, across],
            ..
        } = self.shape;
        let (panels, total) = (rows.div_ceil(ROWS), self.shape.total());
        let lines = self.lines.as_chunks::<ROWS>().0;
        let left = self.left.as_chunks_mut::<ROWS>().0;
        for tile in 0..down * across {
            let at = 4 * across * (tile / across) + 2 * (tile % across);
            let upper = gradient_terms(lines[at], lines[at + 1]);
            let lower = gradient_terms(lines[at + 2 * across], lines[at + 2 * across + 1]);
            for x in 0..4 {
                for (y, value) in gradient_terms(upper[x], lower[x]).into_iter().enumerate() {
                    let place = ((4 * y + x) * panels + self.panel) * total + self.first + tile;
                    left[place] = value;
                }
            }
        }
    }
}

/// `A` times a column, with `A = (1 0; 1 1; 1 -1; 0 -1)`.
#[inline(always)]
fn gradient_terms(a: [f32; ROWS], b: [f32; ROWS]) -> [[f32; ROWS]; 4] {
    let (mut sum, mut difference, mut negative) = (a, a, b);
    for row in 0..ROWS {
        sum[row] += b[row];
        difference[row] -= b[row];
        negative[row] = -b[row];
    }
    [a, sum, difference, negative]
}

impl TileTerms<'_> {
    pub(super) fn panels(&self) -> usize {
        self.shape.rows.div_ceil(ROWS)
    }

    /// The gradient of some tiles by the taps of [`ROWS`] rows and the [`COLUMNS`] channels from `channel`.
    #[inline(always)]
    pub(super) fn taps<S: Simd>(
        &self,
        simd: S,
        tiles: std::ops::Range<usize>,
        panel: usize,
        channel: usize,
        products: &mut [Tile; PRODUCTS],
        taps: &mut [Tile; TAPS],
    ) {
        let (total, halves) = (self.shape.total(), self.shape.channels / HALF);
        let left = self.left.as_chunks::<ROWS>().0;
        let right = self.right.as_chunks::<HALF>().0;
        let first = channel / HALF;
        for (index, product) in products.iter_mut().enumerate() {
            let left = &left[(index * self.panels() + panel) * total..][tiles.clone()];
            let right = &right
                [(index * total + tiles.start) * halves..(index * total + tiles.end) * halves];
            let pairs = right
                .chunks_exact(halves)
                .map(|line| [&line[first], &line[first + 1]]);
            multiply(simd, left, pairs, product);
        }
        for row in 0..ROWS {
            for vector in 0..COLUMNS / S::F32_LANES {
                let columns = both_ways(simd, products, row, vector, tap_terms);
                for (tap, tile) in taps.iter_mut().enumerate() {
                    S::as_mut_simd_f32s(&mut tile[row]).0[vector] = columns[tap % 3][tap / 3];
                }
            }
        }
    }
}

/// `Gᵀ` times a column, with `G = (1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1)`.
#[inline(always)]
fn tap_terms<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 3] {
    let half = simd.splat_f32s(0.5);
    let sum = simd.mul_f32s(half, simd.add_f32s(b, c));
    [
        simd.add_f32s(a, sum),
        simd.mul_f32s(half, simd.sub_f32s(b, c)),
        simd.add_f32s(d, sum),
    ]
}

/// Sums gradients of the weights.
pub(super) struct TileSum<'a> {
    pub(super) terms: &'a TileTerms<'a>,
    pub(super) overwrites: bool,
    /// `[row][channel][tap]`.
    pub(super) sums: &'a mut [f32],
}

impl WithSimd for TileSum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let TileShape { channels, rows, .. } = self.terms.shape;
        let mut products: [Tile; PRODUCTS] = [[[0.0; COLUMNS]; ROWS]; PRODUCTS];
        let mut taps: [Tile; TAPS] = [[[0.0; COLUMNS]; ROWS]; TAPS];
        for channel in (0..channels).step_by(COLUMNS) {
            for panel in 0..self.terms.panels() {
                let all = 0..self.terms.shape.total();
                (self.terms).taps(simd, all, panel, channel, &mut products, &mut taps);
                for row in 0..ROWS.min(rows - panel * ROWS) {
                    let start = ((panel * ROWS + row) * channels + channel) * TAPS;
                    let target = &mut self.sums[start..start + COLUMNS * TAPS];
                    for (column, target) in target.as_chunks_mut::<TAPS>().0.iter_mut().enumerate()
                    {
                        for (target, tap) in target.iter_mut().zip(&taps) {
                            if self.overwrites {
                                *target = tap[row][column];
                            } else {
                                *target += tap[row][column];
                            }
                        }
                    }
                }
            }
        }
    }
}
