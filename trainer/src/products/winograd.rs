//! Convolutions of 3x3 kernels with 16 multiplications for four outputs instead of 36: Winograd's minimal filtering
//! `F(2x2, 3x3)` (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", equations 5 to 12).
//!
//! A tile of 2x2 outputs is `Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` of its 4x4 inputs `d` and the kernel `g`, and summed over channels
//! the products in the middle are 16 matrix products. Columns are the tiles of all examples. Numbers are halved at most, and
//! sums have at most 16 terms, so that an output errs little more than one computed directly.

use pulp::{Simd, WithSimd};

use super::packing::packed_len;
use super::tile::{COLUMNS, ROWS, Tile, multiply, packed_pairs};
use crate::graph::Scratch;
use crate::lanes::Isa;

/// A convolution of stride 1 whose output divides into tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Winograd {
    channels: usize,
    rows: usize,
    image: [usize; 2],
    /// Zeros above the image and left of it.
    corner: [usize; 2],
    /// Tiles of an output, down and across.
    tiles: [usize; 2],
    /// Neighbouring tiles of a line that a copy takes: a power of two that divides those across.
    segment: usize,
}

/// Products of a tile.
pub(super) const PRODUCTS: usize = 16;
/// With fewer channels or rows than these, the transforms cost more than they save.
const LEAST: usize = 16;
/// Floats of padded images that are worked on at a time.
const CHUNK: usize = 128 << 10;

impl Winograd {
    /// `None` where the convolution is of another kind, or too small to gain.
    pub(super) fn new(
        [channels, rows]: [usize; 2],
        image: [usize; 2],
        corner: [usize; 2],
        extent: [usize; 2],
        kernel: [usize; 2],
    ) -> Option<Self> {
        let fits = (0..2).all(|axis| {
            kernel[axis] == 3
                && extent[axis] > 0
                && extent[axis].is_multiple_of(2)
                && corner[axis] + image[axis] <= extent[axis] + 2
        });
        if !fits || channels < LEAST || rows < LEAST {
            return None;
        }
        let tiles = extent.map(|size| size / 2);
        Some(Self {
            channels,
            rows,
            image,
            corner,
            tiles,
            segment: 1 << tiles[1].trailing_zeros().min(COLUMNS.ilog2()),
        })
    }

    /// Floats that [`Winograd::pack`] fills.
    pub(super) fn packed(&self) -> usize {
        PRODUCTS * packed_len(self.rows, self.channels)
    }

    /// Transforms the kernels, `[panel of rows][product][channel][row]`; `weight(row, channel, tap)` gives their numbers.
    pub(super) fn pack(&self, packed: &mut [f32], weight: impl Fn(usize, usize, usize) -> f32) {
        let panel_size = PRODUCTS * self.channels * ROWS;
        for (panel, packed) in packed.chunks_exact_mut(panel_size).enumerate() {
            let packed = packed.as_chunks_mut::<ROWS>().0;
            let rows = ROWS.min(self.rows - panel * ROWS);
            for channel in 0..self.channels {
                let mut kernel = [[0.0; ROWS]; 9];
                for row in 0..rows {
                    for (tap, numbers) in kernel.iter_mut().enumerate() {
                        numbers[row] = weight(panel * ROWS + row, channel, tap);
                    }
                }
                // G g, then (G g) Gᵀ.
                let mut lines = [[[0.0; ROWS]; 3]; 4];
                for x in 0..3 {
                    let column = transformed([kernel[x], kernel[3 + x], kernel[6 + x]]);
                    for (line, numbers) in lines.iter_mut().zip(column) {
                        line[x] = numbers;
                    }
                }
                for (y, line) in lines.into_iter().enumerate() {
                    for (x, numbers) in transformed(line).into_iter().enumerate() {
                        packed[(4 * y + x) * self.channels + channel] = numbers;
                    }
                }
            }
        }
    }

    /// Convolves the images of a group of examples. `bias` has one number a row, or none.
    pub(super) fn run(
        &self,
        isa: Isa,
        packed: &[f32],
        bias: &[f32],
        input: &[f32],
        output: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let input_size = self.channels * self.image[0] * self.image[1];
        let output_size = self.rows * 4 * self.tiles[0] * self.tiles[1];
        let examples = (CHUNK / self.split_size()).max(1);
        let [split, right] = scratch.split([
            examples * self.split_size(),
            PRODUCTS * self.channels * COLUMNS,
        ]);
        split.fill(0.0);
        let inputs = input.chunks(examples * input_size);
        for (input, output) in inputs.zip(output.chunks_mut(examples * output_size)) {
            self.split(input, split);
            isa.run(Product {
                shape: self,
                examples: input.len() / input_size,
                packed,
                bias,
                split,
                right,
                output,
            });
        }
    }

    /// Lines of a padded image, and elements of each half of a line.
    fn padded(&self) -> [usize; 2] {
        [2 * self.tiles[0] + 2, self.tiles[1] + 1]
    }

    /// Floats of a padded example.
    fn split_size(&self) -> usize {
        let [lines, half] = self.padded();
        self.channels * lines * 2 * half
    }

    /// Copies images into padded ones, whose borders it leaves, and each line's even elements before its odd ones: what
    /// neighbouring tiles need is then neighbours.
    fn split(&self, images: &[f32], split: &mut [f32]) {
        let [height, width] = self.image;
        let [lines, half] = self.padded();
        let [top, left] = self.corner;
        let planes = images.chunks_exact(height * width);
        for (image, split) in planes.zip(split.chunks_exact_mut(lines * 2 * half)) {
            let targets = split[top * 2 * half..].chunks_exact_mut(2 * half);
            for (line, target) in image.chunks_exact(width).zip(targets) {
                let (even, odd) = target.split_at_mut(half);
                // The first element of the line lies at `left` in the padded one.
                let (line, even, odd) = if left % 2 == 0 {
                    (line, &mut even[left / 2..], &mut odd[left / 2..])
                } else {
                    odd[left / 2] = line[0];
                    (
                        &line[1..],
                        &mut even[left / 2 + 1..],
                        &mut odd[left / 2 + 1..],
                    )
                };
                let (pairs, last) = line.as_chunks::<2>();
                for ((pair, even), odd) in pairs.iter().zip(&mut *even).zip(odd) {
                    [*even, *odd] = *pair;
                }
                if let [last] = last {
                    even[pairs.len()] = *last;
                }
            }
        }
    }
}

/// `G g` for each row: `G = (1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1)`.
#[inline(always)]
fn transformed([a, b, c]: [[f32; ROWS]; 3]) -> [[f32; ROWS]; 4] {
    let outer: [f32; ROWS] = std::array::from_fn(|row| 0.5 * (a[row] + c[row]));
    [
        a,
        std::array::from_fn(|row| outer[row] + 0.5 * b[row]),
        std::array::from_fn(|row| outer[row] - 0.5 * b[row]),
        c,
    ]
}

struct Product<'a> {
    shape: &'a Winograd,
    examples: usize,
    packed: &'a [f32],
    bias: &'a [f32],
    split: &'a [f32],
    /// `[product][channel][tile]`.
    right: &'a mut [f32],
    output: &'a mut [f32],
}

/// Neighbouring tiles of one line.
#[derive(Clone, Copy, Default)]
struct Run {
    example: usize,
    y: usize,
    x: usize,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Winograd {
            channels,
            rows,
            tiles: [down, across],
            segment,
            ..
        } = *self.shape;
        let [lines, half] = self.shape.padded();
        let plane = lines * 2 * half;
        let right = self.right.as_chunks_mut::<COLUMNS>().0;
        let mut products: [Tile; PRODUCTS] = [[[0.0; COLUMNS]; ROWS]; PRODUCTS];
        let mut inputs = [[0.0; COLUMNS]; PRODUCTS];
        let mut outputs = [[0.0; COLUMNS]; 4];
        let mut runs = [Run::default(); COLUMNS];
        let total = self.examples * down * across;
        for first in (0..total).step_by(COLUMNS) {
            let count = COLUMNS.min(total - first) / segment;
            for (index, run) in runs[..count].iter_mut().enumerate() {
                let tile = first + index * segment;
                *run = Run {
                    example: tile / (down * across),
                    y: tile / across % down,
                    x: tile % across,
                };
            }
            let runs = &runs[..count];
            for channel in 0..channels {
                for (index, run) in runs.iter().enumerate() {
                    let start = (run.example * channels + channel) * plane + run.y * 4 * half;
                    let patch = &self.split[start..start + 8 * half];
                    let column = index * segment;
                    match segment {
                        32 => take::<32>(patch, half, run.x, column, &mut inputs),
                        16 => take::<16>(patch, half, run.x, column, &mut inputs),
                        8 => take::<8>(patch, half, run.x, column, &mut inputs),
                        4 => take::<4>(patch, half, run.x, column, &mut inputs),
                        2 => take::<2>(patch, half, run.x, column, &mut inputs),
                        _ => take::<1>(patch, half, run.x, column, &mut inputs),
                    }
                }
                transform_input(simd, &inputs, right, channels, channel);
            }
            for (panel, left) in (self.packed)
                .chunks_exact(PRODUCTS * channels * ROWS)
                .enumerate()
            {
                let lefts = left.chunks_exact(channels * ROWS);
                let rights = right.chunks_exact(channels);
                for ((left, right), product) in lefts.zip(rights).zip(&mut products) {
                    multiply(
                        simd,
                        left.as_chunks::<ROWS>().0,
                        packed_pairs(right),
                        product,
                    );
                }
                for row in 0..ROWS.min(rows - panel * ROWS) {
                    transform_output(simd, &products, row, &mut outputs);
                    let row = panel * ROWS + row;
                    let bias = self.bias.get(row).copied().unwrap_or(0.0);
                    for (index, run) in runs.iter().enumerate() {
                        let start =
                            ((run.example * rows + row) * down + run.y) * 4 * across + 2 * run.x;
                        let target = &mut self.output[start..start + 2 * across + 2 * segment];
                        let column = index * segment;
                        match segment {
                            32 => put::<32>(&outputs, column, bias, across, target),
                            16 => put::<16>(&outputs, column, bias, across, target),
                            8 => put::<8>(&outputs, column, bias, across, target),
                            4 => put::<4>(&outputs, column, bias, across, target),
                            2 => put::<2>(&outputs, column, bias, across, target),
                            _ => put::<1>(&outputs, column, bias, across, target),
                        }
                    }
                }
            }
        }
    }
}

/// Takes the inputs of `N` neighbouring tiles from four lines.
#[inline(always)]
fn take<const N: usize>(
    patch: &[f32],
    half: usize,
    x: usize,
    column: usize,
    inputs: &mut [[f32; COLUMNS]; PRODUCTS],
) {
    let lines = patch.chunks_exact(2 * half);
    for (line, inputs) in lines.zip(inputs.as_chunks_mut::<4>().0) {
        for (start, input) in [x, half + x, x + 1, half + x + 1].into_iter().zip(inputs) {
            input[column..column + N].copy_from_slice(&line[start..start + N]);
        }
    }
}

/// `Bᵀ d B`, with `Bᵀ = (1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1)`, into every product's line of a channel.
#[inline(always)]
fn transform_input<S: Simd>(
    simd: S,
    inputs: &[[f32; COLUMNS]; PRODUCTS],
    right: &mut [[f32; COLUMNS]],
    channels: usize,
    channel: usize,
) {
    for vector in 0..COLUMNS / S::F32_LANES {
        let mut lines = [[simd.splat_f32s(0.0); 4]; 4];
        for y in 0..4 {
            let [a, b, c, d] = [
                S::as_simd_f32s(&inputs[4 * y]).0[vector],
                S::as_simd_f32s(&inputs[4 * y + 1]).0[vector],
                S::as_simd_f32s(&inputs[4 * y + 2]).0[vector],
                S::as_simd_f32s(&inputs[4 * y + 3]).0[vector],
            ];
            lines[y] = input_terms(simd, [a, b, c, d]);
        }
        let [first, second, third, fourth] = lines;
        for x in 0..4 {
            let column = input_terms(simd, [first[x], second[x], third[x], fourth[x]]);
            for y in 0..4 {
                let target = &mut right[(4 * y + x) * channels + channel];
                S::as_mut_simd_f32s(target).0[vector] = column[y];
            }
        }
    }
}

/// `Bᵀ` times a column.
#[inline(always)]
pub(super) fn input_terms<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
    [
        simd.sub_f32s(a, c),
        simd.add_f32s(b, c),
        simd.sub_f32s(c, b),
        simd.sub_f32s(b, d),
    ]
}

/// `Aᵀ m A` of one row, with `Aᵀ = (1 1 1 0; 0 1 -1 -1)`.
#[inline(always)]
fn transform_output<S: Simd>(
    simd: S,
    products: &[Tile; PRODUCTS],
    row: usize,
    outputs: &mut [[f32; COLUMNS]; 4],
) {
    for vector in 0..COLUMNS / S::F32_LANES {
        let columns = both_ways(simd, products, row, vector, output_terms);
        for (x, column) in columns.into_iter().enumerate() {
            for (y, value) in column.into_iter().enumerate() {
                S::as_mut_simd_f32s(&mut outputs[2 * y + x]).0[vector] = value;
            }
        }
    }
}

/// A transform of four numbers into `N`, on a vector of each line of the 4x4 products and then on each column of that; gives
/// the columns.
#[inline(always)]
pub(super) fn both_ways<S: Simd, const N: usize>(
    simd: S,
    products: &[Tile; PRODUCTS],
    row: usize,
    vector: usize,
    terms: impl Fn(S, [S::f32s; 4]) -> [S::f32s; N],
) -> [[S::f32s; N]; N] {
    let mut lines = [[simd.splat_f32s(0.0); N]; 4];
    for (line, products) in lines.iter_mut().zip(products.as_chunks::<4>().0) {
        let [a, b, c, d] = products;
        let four = [a, b, c, d].map(|tile| S::as_simd_f32s(&tile[row]).0[vector]);
        *line = terms(simd, four);
    }
    let mut columns = [[simd.splat_f32s(0.0); N]; N];
    for (x, column) in columns.iter_mut().enumerate() {
        *column = terms(simd, lines.map(|line| line[x]));
    }
    columns
}

/// `Aᵀ` times a column.
#[inline(always)]
fn output_terms<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 2] {
    [
        simd.add_f32s(simd.add_f32s(a, b), c),
        simd.sub_f32s(simd.sub_f32s(b, c), d),
    ]
}

/// Puts the outputs of `N` neighbouring tiles into two lines.
#[inline(always)]
fn put<const N: usize>(
    outputs: &[[f32; COLUMNS]; 4],
    column: usize,
    bias: f32,
    across: usize,
    target: &mut [f32],
) {
    for (y, [even, odd]) in outputs.as_chunks::<2>().0.iter().enumerate() {
        let target = &mut target[y * 2 * across..][..2 * N];
        let (even, odd) = (&even[column..column + N], &odd[column..column + N]);
        for ((pair, even), odd) in target.as_chunks_mut::<2>().0.iter_mut().zip(even).zip(odd) {
            *pair = [even + bias, odd + bias];
        }
    }
}
