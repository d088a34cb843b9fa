//! The contractions behind convolutions and linear layers, over tiles of examples (see [`crate::lanes`]).
//!
//! An output is a matrix of `rows` (output channels) by `positions`; a weight matrix is `rows` by `taps`.
//! Input element (tap, position) lies at `tap_offset + position_offset`, an index that splits into two terms because
//! moving the window and moving within the window are both additions. So nothing is copied into columns:
//!
//! - forward: `output[o][t] = bias[o] + Σ_k weight[o][k] · input[k + t]`
//! - weight gradient: `gradient[o][k] = Σ_t output_gradient[o][t] · input[k + t]`
//! - input gradient: `input_gradient[k + t] += Σ_o weight[o][k] · output_gradient[o][t]`
//!
//! Each is computed in register blocks: as many sums as the registers hold, so that a loaded vector is used several times.

use std::array::from_fn;

use pulp::{Simd, WithSimd};

/// The window geometry that a contraction runs over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    /// Offset of each tap in the input, in elements.
    pub(crate) taps: &'a [usize],
    /// Offset of each position in the input, in elements.
    pub(crate) positions: &'a [usize],
}

/// Computes a layer's output.
pub(crate) struct Forward<'a> {
    pub(crate) window: Window<'a>,
    /// Rows by taps.
    pub(crate) weights: &'a [f32],
    /// One a row, or empty.
    pub(crate) bias: &'a [f32],
    /// Tile.
    pub(crate) input: &'a [f32],
    /// Tile, rows by positions.
    pub(crate) output: &'a mut [f32],
}

/// Computes each example's gradient of the weights and the bias.
pub(crate) struct WeightGradient<'a> {
    pub(crate) window: Window<'a>,
    /// Tile.
    pub(crate) input: &'a [f32],
    /// Tile, rows by positions.
    pub(crate) output_gradient: &'a [f32],
    /// Tile, rows by taps.
    pub(crate) weights: &'a mut [f32],
    /// Tile, one a row, or empty.
    pub(crate) bias: &'a mut [f32],
}

/// Adds the gradient of the input, window by window.
pub(crate) struct InputGradient<'a> {
    pub(crate) window: Window<'a>,
    /// Rows by taps.
    pub(crate) weights: &'a [f32],
    /// Tile, rows by positions.
    pub(crate) output_gradient: &'a [f32],
    /// Tile.
    pub(crate) input_gradient: &'a mut [f32],
}

/// Registers left for sums decide the block: 24 of 32 (AVX-512, NEON), or 12 of 16 (AVX2).
const MANY_REGISTERS: usize = 32;

/// Calls `$kernel::<S, M, N>` for every block of a grid of `$rows` by `$columns`, with smaller blocks at its edges.
macro_rules! for_blocks {
    ($simd:ident: $S:ident, $columns:expr, $rows:expr, |$column:ident, $row:ident, $N:ident, $M:ident| $body:block, columns first) => {{
        for_edge!($columns, $column, $N, [3, 2, 1], {
            if const { $S::REGISTER_COUNT >= MANY_REGISTERS } {
                for_edge!($rows, $row, $M, [8, 4, 2, 1], $body);
            } else {
                for_edge!($rows, $row, $M, [4, 2, 1], $body);
            }
        });
    }};
}

/// Walks `0..$count` in steps of the given sizes, the largest first, binding the step's size as a constant.
macro_rules! for_edge {
    ($count:expr, $at:ident, $SIZE:ident, [$($size:literal),+], $body:block) => {{
        let count: usize = $count;
        let mut next = 0;
        $(
            {
                const $SIZE: usize = $size;
                while next + $SIZE <= count {
                    let $at = next;
                    $body
                    next += $SIZE;
                }
            }
        )+
    }};
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let input = S::as_simd_f32s(self.input).0;
        let output = S::as_mut_simd_f32s(self.output).0;
        let Window { taps, positions } = self.window;
        let rows = output.len() / positions.len();
        // The positions are outermost: a block's windows stay in the first cache while all rows pass over them.
        for_blocks!(simd: S, positions.len(), rows, |t, o, N, M| {
            let weights: [&[f32]; M] = from_fn(|i| &self.weights[(o + i) * taps.len()..][..taps.len()]);
            let at: [usize; N] = from_fn(|j| positions[t + j]);
            let mut sums = [[simd.splat_f32s(0.0); N]; M];
            for (k, &tap) in taps.iter().enumerate() {
                let values: [S::f32s; N] = from_fn(|j| input[tap + at[j]]);
                for i in 0..M {
                    let weight = simd.splat_f32s(weights[i][k]);
                    for j in 0..N {
                        sums[i][j] = simd.mul_add_e_f32s(weight, values[j], sums[i][j]);
                    }
                }
            }
            for i in 0..M {
                let bias = simd.splat_f32s(self.bias.get(o + i).copied().unwrap_or(0.0));
                let output = &mut output[(o + i) * positions.len() + t..][..N];
                for j in 0..N {
                    output[j] = simd.add_f32s(sums[i][j], bias);
                }
            }
        }, columns first);
    }
}

/// Positions whose output gradients are kept in the first cache while all taps pass over them (4 rows of 16 KiB in all).
const POSITION_CHUNK: usize = 64;

impl WithSimd for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let input = S::as_simd_f32s(self.input).0;
        let gradient = S::as_simd_f32s(self.output_gradient).0;
        let weights = S::as_mut_simd_f32s(self.weights).0;
        let bias = S::as_mut_simd_f32s(self.bias).0;
        let Window { taps, positions } = self.window;
        for (bias, row) in bias.iter_mut().zip(gradient.chunks_exact(positions.len())) {
            *bias = row.iter().fold(simd.splat_f32s(0.0), |sum, &value| {
                simd.add_f32s(sum, value)
            });
        }
        if let &[position] = positions {
            for (row, &value) in weights.chunks_exact_mut(taps.len()).zip(gradient) {
                for (weight, &tap) in row.iter_mut().zip(taps) {
                    *weight = simd.mul_f32s(value, input[tap + position]);
                }
            }
            return;
        }
        let rows = gradient.len() / positions.len();
        for (chunk, at) in positions.chunks(POSITION_CHUNK).enumerate() {
            for_edge!(rows, o, M, [4, 2, 1], {
                let gradients: [&[S::f32s]; M] = from_fn(|i| {
                    &gradient[(o + i) * positions.len() + chunk * POSITION_CHUNK..][..at.len()]
                });
                for_edge!(taps.len(), k, N, [4, 2, 1], {
                    let tap: [usize; N] = from_fn(|j| taps[k + j]);
                    let mut sums = [[simd.splat_f32s(0.0); N]; M];
                    for (t, &position) in at.iter().enumerate() {
                        let values: [S::f32s; N] = from_fn(|j| input[tap[j] + position]);
                        for i in 0..M {
                            let gradient = gradients[i][t];
                            for j in 0..N {
                                sums[i][j] = simd.mul_add_e_f32s(gradient, values[j], sums[i][j]);
                            }
                        }
                    }
                    for i in 0..M {
                        let weights = &mut weights[(o + i) * taps.len() + k..][..N];
                        for j in 0..N {
                            weights[j] = if chunk == 0 {
                                sums[i][j]
                            } else {
                                simd.add_f32s(weights[j], sums[i][j])
                            };
                        }
                    }
                });
            });
        }
    }
}

impl WithSimd for InputGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let gradient = S::as_simd_f32s(self.output_gradient).0;
        let input_gradient = S::as_mut_simd_f32s(self.input_gradient).0;
        let Window { taps, positions } = self.window;
        let rows = gradient.len() / positions.len();
        for_blocks!(simd: S, positions.len(), taps.len(), |t, k, N, M| {
            let mut sums = [[simd.splat_f32s(0.0); N]; M];
            for o in 0..rows {
                let gradients = &gradient[o * positions.len() + t..][..N];
                let weights = &self.weights[o * taps.len() + k..][..M];
                for i in 0..M {
                    let weight = simd.splat_f32s(weights[i]);
                    for j in 0..N {
                        sums[i][j] = simd.mul_add_e_f32s(weight, gradients[j], sums[i][j]);
                    }
                }
            }
            for i in 0..M {
                for j in 0..N {
                    let value = &mut input_gradient[taps[k + i] + positions[t + j]];
                    *value = simd.add_f32s(*value, sums[i][j]);
                }
            }
        }, columns first);
    }
}

/// Adds up the lanes of a tile for which `sound` is set, element by element.
pub(crate) struct SumLanes<'a> {
    /// Tile.
    pub(crate) tile: &'a [f32],
    /// One a lane.
    pub(crate) sound: &'a [bool],
    /// One an element.
    pub(crate) sums: &'a mut [f32],
}

impl WithSimd for SumLanes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let flags: Vec<f32> = self
            .sound
            .iter()
            .map(|&sound| f32::from(u8::from(sound)))
            .collect();
        let Some(&flags) = S::as_simd_f32s(&flags).0.first() else {
            return;
        };
        let (zero, keeps) = (
            simd.splat_f32s(0.0),
            simd.equal_f32s(flags, simd.splat_f32s(1.0)),
        );
        for (sum, &vector) in self.sums.iter_mut().zip(S::as_simd_f32s(self.tile).0) {
            // Selected, not multiplied: zero times what is not a number is no zero.
            *sum += simd.reduce_sum_f32s(simd.select_f32s(keeps, vector, zero));
        }
    }
}
