//! The gradient of a convolution's weights: sums of outer products over positions.
//!
//! Inputs are turned to channels-last, so that the 16 columns of a vector are 16 channels of one tap, and every position
//! finds them in neighbouring memory; output gradients are packed as a left side. No columns are made.

use pulp::{Simd, WithSimd};

use super::convolution::Convolution;
use super::tile::{COLUMNS, HALF, ROWS, Tile, half, multiply};
use super::winograd_gradient::{TileShape, TileSum};
use crate::graph::{GradientPass, Scratch};

/// Some examples of one group of channels, ready for products over their positions.
pub(super) struct Terms<'a> {
    /// `[panel of rows][example, position][row]`.
    pub(super) left: &'a [f32],
    /// `[example][padded pixel][channel]`.
    pub(super) right: &'a [f32],
    pub(super) shape: TermShape<'a>,
}

/// How terms lie in memory.
#[derive(Clone, Copy)]
pub(super) struct TermShape<'a> {
    pub(super) convolution: &'a Convolution,
    pub(super) examples: usize,
    /// Channels, padded to whole vectors.
    pub(super) width: usize,
}

impl<'a> TermShape<'a> {
    pub(super) fn new(convolution: &'a Convolution, examples: usize) -> Self {
        Self {
            convolution,
            examples,
            width: convolution.channels().next_multiple_of(HALF),
        }
    }

    /// Padded pixels of an example.
    fn pixels(&self) -> usize {
        self.convolution.geometry.padded.iter().product()
    }

    /// Floats of the left side and of the right side.
    pub(super) fn sizes(&self) -> [usize; 2] {
        let positions = self.examples * self.convolution.positions();
        [
            self.convolution.rows().next_multiple_of(ROWS) * positions,
            self.examples * self.pixels() * self.width,
        ]
    }

    /// Offset of each example's each position on the right side.
    pub(super) fn bases(&self) -> Vec<usize> {
        let stride = self.pixels() * self.width;
        let positions = &self.convolution.forward.positions;
        (0..self.examples)
            .flat_map(|example| {
                positions
                    .iter()
                    .map(move |position| example * stride + position * self.width)
            })
            .collect()
    }

    /// The weights of a row in blocks of neighbouring channels, whose tiles are added up before they are put where the
    /// weights lie: a kernel's taps are neighbours there, and a tile has only one or two of them.
    pub(super) fn blocks(&self) -> Vec<Block> {
        let geometry = &self.convolution.geometry;
        let taps: Vec<usize> = (0..geometry.kernel[0])
            .flat_map(|y| {
                (0..geometry.kernel[1]).map(move |x| {
                    y * geometry.dilations[0] * geometry.padded[1] + x * geometry.dilations[1]
                })
            })
            .collect();
        let offset = |tap: usize, channel: usize| taps[tap] * self.width + channel;
        let channels = self.convolution.channels();
        let (wide, rest) = (self.width / COLUMNS * COLUMNS, self.width % COLUMNS);
        let mut blocks: Vec<Block> = (0..wide)
            .step_by(COLUMNS)
            .map(|channel| Block {
                channel,
                count: COLUMNS.min(channels - channel),
                taps_in_tile: 1,
                pairs: (0..taps.len())
                    .map(|tap| [offset(tap, channel), offset(tap, channel + HALF)])
                    .collect(),
            })
            .collect();
        if rest > 0 {
            // Half a tile of channels: two taps share one. Behind the last tap, no offset: zeros.
            let second = |tap: usize| {
                if tap < taps.len() {
                    offset(tap, wide)
                } else {
                    usize::MAX / 2
                }
            };
            blocks.push(Block {
                channel: wide,
                count: channels - wide,
                taps_in_tile: 2,
                pairs: (0..taps.len())
                    .step_by(2)
                    .map(|tap| [offset(tap, wide), second(tap + 1)])
                    .collect(),
            });
        }
        blocks
    }
}

/// Up to 32 neighbouring channels with all taps.
pub(super) struct Block {
    /// The first channel.
    channel: usize,
    count: usize,
    taps_in_tile: usize,
    /// Offsets of each tile's halves on the right side.
    pub(super) pairs: Vec<[usize; 2]>,
}

impl Block {
    /// Calls `put(weight, value)` for each weight of one row of tiles, `weight` counted within the row of weights, in
    /// the order in which weights lie.
    #[inline(always)]
    pub(super) fn for_weights<T: Copy>(
        &self,
        kernel: usize,
        tiles: &[[[T; COLUMNS]; ROWS]],
        row: usize,
        mut put: impl FnMut(usize, T),
    ) {
        let start = self.channel * kernel;
        for column in 0..self.count {
            for tap in 0..kernel {
                let value = if self.taps_in_tile == 1 {
                    tiles[tap][row][column]
                } else {
                    tiles[tap / 2][row][tap % 2 * HALF + column % HALF]
                };
                put(start + column * kernel + tap, value);
            }
        }
    }
}

impl Convolution {
    /// Makes terms of some examples of a group of channels.
    pub(super) fn terms<'a>(
        &'a self,
        inputs: &[f32],
        output_gradients: &[f32],
        group: usize,
        left: &'a mut [f32],
        right: &'a mut [f32],
    ) -> Terms<'a> {
        let geometry = &self.geometry;
        let input_size = geometry.channels * geometry.image[0] * geometry.image[1];
        let output_size = geometry.rows * self.positions();
        let examples = inputs.len() / input_size;
        let shape = TermShape::new(self, examples);
        let [left_size, right_size] = shape.sizes();
        let (left, right) = (&mut left[..left_size], &mut right[..right_size]);
        let channels = self.channels();
        right.fill(0.0);
        let stride = shape.pixels() * shape.width;
        for (input, right) in inputs
            .chunks_exact(input_size)
            .zip(right.chunks_exact_mut(stride))
        {
            let plane = geometry.image[0] * geometry.image[1];
            let input = &input[group * channels * plane..][..channels * plane];
            self.channels_last(input, shape.width, right);
        }
        let positions = self.positions();
        let total = examples * positions;
        for (example, gradient) in output_gradients.chunks_exact(output_size).enumerate() {
            let rows = self.rows();
            let gradient = &gradient[group * rows * positions..][..rows * positions];
            for (panel, lines) in gradient.chunks(ROWS * positions).enumerate() {
                let start = (panel * total + example * positions) * ROWS;
                pack_lines(lines, positions, &mut left[start..start + positions * ROWS]);
            }
        }
        Terms { left, right, shape }
    }

    /// Turns one example's channels of a group to channels-last, inside the border.
    pub(super) fn channels_last(&self, input: &[f32], width: usize, right: &mut [f32]) {
        let Self { geometry, .. } = self;
        let [height, line] = geometry.image;
        for (block, planes) in input.chunks(HALF * height * line).enumerate() {
            for y in 0..height {
                let start = ((y + geometry.corner[0]) * geometry.padded[1] + geometry.corner[1])
                    * width
                    + block * HALF;
                let count = planes.len() / (height * line);
                if count == HALF {
                    let lines: [&[f32]; HALF] =
                        std::array::from_fn(|c| &planes[(c * height + y) * line..][..line]);
                    for x in 0..line {
                        let target = &mut right[start + x * width..][..HALF];
                        for (target, line) in target.iter_mut().zip(&lines) {
                            *target = line[x];
                        }
                    }
                } else {
                    for c in 0..count {
                        let values = &planes[(c * height + y) * line..][..line];
                        for (x, &value) in values.iter().enumerate() {
                            right[start + x * width + c] = value;
                        }
                    }
                }
            }
        }
    }

    /// Calls `run` with terms of the examples, chunk by chunk and group by group: `run(group, terms, first)`.
    fn for_chunks(
        &self,
        pass: &GradientPass<'_>,
        examples: std::ops::Range<usize>,
        scratch: &mut Scratch,
        mut run: impl FnMut(usize, &Terms<'_>, bool),
    ) {
        let geometry = &self.geometry;
        let input_size = geometry.channels * geometry.image[0] * geometry.image[1];
        let output_size = geometry.rows * self.positions();
        let one = TermShape::new(self, 1).sizes();
        // Both sides of a chunk within the second-level cache.
        let chunk = (CHUNK / one.iter().sum::<usize>()).clamp(1, examples.len().max(1));
        let [left, right] = scratch.split(one.map(|size| size * chunk));
        for group in 0..geometry.groups {
            let mut start = examples.start;
            while start < examples.end {
                let end = (start + chunk).min(examples.end);
                let terms = self.terms(
                    &pass.inputs[0][start * input_size..end * input_size],
                    &pass.output_gradient[start * output_size..end * output_size],
                    group,
                    left,
                    right,
                );
                run(group, &terms, start == examples.start);
                start = end;
            }
        }
    }

    /// Writes the sum of some examples' gradients of the weights.
    pub(crate) fn instantiate(
        &self,
        pass: &GradientPass<'_>,
        examples: std::ops::Range<usize>,
        scratch: &mut Scratch,
        gradient: &mut [f32],
    ) {
        self.sum(pass, examples, scratch, gradient, true);
    }

    /// Adds some examples' gradients of the weights.
    pub(crate) fn add(
        &self,
        pass: &GradientPass<'_>,
        examples: std::ops::Range<usize>,
        scratch: &mut Scratch,
        sums: &mut [f32],
    ) {
        self.sum(pass, examples, scratch, sums, false);
    }

    fn sum(
        &self,
        pass: &GradientPass<'_>,
        examples: std::ops::Range<usize>,
        scratch: &mut Scratch,
        sums: &mut [f32],
        overwrites: bool,
    ) {
        if TileShape::new(self, 1).is_some() {
            return self.sum_by_tiles(pass, examples, scratch, sums, overwrites);
        }
        let size = sums.len() / self.geometry.groups;
        self.for_chunks(pass, examples, scratch, |group, terms, first| {
            pass.isa.run(Sum {
                terms,
                overwrites: overwrites && first,
                sums: &mut sums[group * size..(group + 1) * size],
            });
        });
    }
}

impl Convolution {
    /// As [`Convolution::sum`], by fewer multiplications.
    fn sum_by_tiles(
        &self,
        pass: &GradientPass<'_>,
        examples: std::ops::Range<usize>,
        scratch: &mut Scratch,
        sums: &mut [f32],
        overwrites: bool,
    ) {
        let geometry = &self.geometry;
        let input_size = geometry.channels * geometry.image[0] * geometry.image[1];
        let output_size = geometry.rows * self.positions();
        let one = TileShape::new(self, 1).map_or(1, |one| one.sizes().iter().sum());
        let most = (CHUNK / one).max(1);
        let mut start = examples.start;
        while start < examples.end {
            let end = (start + most).min(examples.end);
            let Some(shape) = TileShape::new(self, end - start) else {
                return;
            };
            let parts = [
                &pass.inputs[0][start * input_size..end * input_size],
                &pass.output_gradient[start * output_size..end * output_size],
            ];
            let terms = self.tile_terms(pass.isa, shape, parts, scratch);
            pass.isa.run(TileSum {
                terms: &terms,
                overwrites: overwrites && start == examples.start,
                sums,
            });
            start = end;
        }
    }
}

/// Floats of a chunk of terms.
const CHUNK: usize = 256 << 10;

/// Packs up to [`ROWS`] lines as a panel.
pub(super) fn pack_lines(lines: &[f32], len: usize, panel: &mut [f32]) {
    let count = lines.len() / len;
    let (panel, _) = panel.as_chunks_mut::<ROWS>();
    if count == ROWS {
        let lines: [&[f32]; ROWS] = std::array::from_fn(|row| &lines[row * len..][..len]);
        for (at, term) in panel.iter_mut().enumerate() {
            for (value, line) in term.iter_mut().zip(&lines) {
                *value = line[at];
            }
        }
        return;
    }
    for (at, term) in panel.iter_mut().enumerate() {
        for (row, value) in term.iter_mut().enumerate() {
            *value = if row < count {
                lines[row * len + at]
            } else {
                0.0
            };
        }
    }
}

/// Sums gradients of a group's weights.
struct Sum<'a> {
    terms: &'a Terms<'a>,
    overwrites: bool,
    sums: &'a mut [f32],
}

impl WithSimd for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Terms { left, right, shape } = self.terms;
        let convolution = shape.convolution;
        let (channels, rows) = (convolution.channels(), convolution.rows());
        let kernel: usize = convolution.geometry.kernel.iter().product();
        let bases = shape.bases();
        let row_size = channels * kernel;
        for block in shape.blocks() {
            let mut tiles: Vec<Tile> = vec![[[0.0; COLUMNS]; ROWS]; block.pairs.len()];
            for (index, left) in left.chunks_exact(bases.len() * ROWS).enumerate() {
                let left = left.as_chunks::<ROWS>().0;
                for (&[first, second], tile) in block.pairs.iter().zip(&mut tiles) {
                    let terms = bases
                        .iter()
                        .map(|&base| [half(right, base + first), half(right, base + second)]);
                    multiply(simd, left, terms, tile);
                }
                for i in 0..ROWS.min(rows - (index * ROWS).min(rows)) {
                    let target = &mut self.sums[(index * ROWS + i) * row_size..][..row_size];
                    if self.overwrites {
                        block
                            .for_weights(kernel, &tiles, i, |weight, value| target[weight] = value);
                    } else {
                        block.for_weights(kernel, &tiles, i, |weight, value| {
                            target[weight] += value
                        });
                    }
                }
            }
        }
    }
}
