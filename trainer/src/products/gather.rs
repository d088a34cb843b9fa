//! Products whose right side is gathered from an image, window by window.

use pulp::{Simd, WithSimd};

use super::tile::{COLUMNS, ROWS, Tile, multiply, packed_pairs};

/// A product `output[example][row][position] = bias[row] + Σ_term left[row][term] · input[base(example, position) + term's offset]`.
pub(crate) struct GatherProduct<'a> {
    pub(crate) columns: Columns<'a>,
    /// Packed, `rows` by the number of taps.
    pub(crate) left: &'a [f32],
    pub(crate) rows: usize,
    /// One a row, or empty.
    pub(crate) bias: &'a [f32],
    /// One term of a panel after the other; as many floats as taps times [`COLUMNS`].
    pub(crate) right: &'a mut [f32],
    pub(crate) output: &'a mut [f32],
    /// Where the first row's output lies in an example's, and floats of an example.
    pub(crate) output_start: usize,
    pub(crate) output_stride: usize,
}

/// What a right side is gathered from: columns are the positions of all examples.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    pub(crate) examples: usize,
    pub(crate) input: &'a [f32],
    /// Where the first term of the first position lies in an example, and floats of an example.
    pub(crate) start: usize,
    pub(crate) stride: usize,
    /// Offset of each term.
    pub(crate) taps: &'a [usize],
    /// Offset of each position.
    pub(crate) positions: &'a [usize],
    /// Neighbouring positions whose inputs are neighbours too: 1, 2, 4, 8, 16 or 32, a divisor of the number of positions.
    pub(crate) segment: usize,
}

impl Columns<'_> {
    pub(crate) fn count(&self) -> usize {
        self.examples * self.positions.len()
    }

    /// Example and position of a panel's columns; behind the last one, the last one again.
    #[inline(always)]
    fn panel(&self, first: usize) -> Panel {
        let (mut example, mut position) =
            (first / self.positions.len(), first % self.positions.len());
        let mut panel = Panel {
            bases: [0; COLUMNS],
            runs: [Run::default(); COLUMNS],
            run_count: 0,
            count: COLUMNS.min(self.count() - first),
        };
        for column in 0..COLUMNS {
            if column >= panel.count {
                panel.bases[column] = panel.bases[column - 1];
                continue;
            }
            panel.bases[column] = self.start + example * self.stride + self.positions[position];
            if column == 0 || position == 0 {
                panel.runs[panel.run_count] = Run {
                    column,
                    len: 0,
                    example,
                    position,
                };
                panel.run_count += 1;
            }
            panel.runs[panel.run_count - 1].len += 1;
            position += 1;
            if position == self.positions.len() {
                (example, position) = (example + 1, 0);
            }
        }
        panel
    }

    #[inline(always)]
    fn pack(&self, panel: &Panel, right: &mut [[f32; COLUMNS]]) {
        let segment = if panel.count == COLUMNS {
            self.segment
        } else {
            1
        };
        match segment {
            32 => self.copy::<32>(panel, right),
            16 => self.copy::<16>(panel, right),
            8 => self.copy::<8>(panel, right),
            4 => self.copy::<4>(panel, right),
            2 => self.copy::<2>(panel, right),
            _ => self.copy::<1>(panel, right),
        }
    }

    #[inline(always)]
    fn copy<const SEGMENT: usize>(&self, panel: &Panel, right: &mut [[f32; COLUMNS]]) {
        for (term, &tap) in right.iter_mut().zip(self.taps) {
            let (parts, _) = term.as_chunks_mut::<SEGMENT>();
            for (index, part) in parts.iter_mut().enumerate() {
                let start = tap + panel.bases[index * SEGMENT];
                part.copy_from_slice(&self.input[start..start + SEGMENT]);
            }
        }
    }
}

/// Up to [`COLUMNS`] columns.
struct Panel {
    bases: [usize; COLUMNS],
    /// Columns of one example.
    runs: [Run; COLUMNS],
    run_count: usize,
    count: usize,
}

#[derive(Clone, Copy, Default)]
struct Run {
    column: usize,
    len: usize,
    example: usize,
    position: usize,
}

impl WithSimd for GatherProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let terms = self.columns.taps.len();
        let positions = self.columns.positions.len();
        let right = &mut self.right.as_chunks_mut::<COLUMNS>().0[..terms];
        let mut tile: Tile = [[0.0; COLUMNS]; ROWS];
        for first in (0..self.columns.count()).step_by(COLUMNS) {
            let panel = self.columns.panel(first);
            self.columns.pack(&panel, right);
            for (index, left) in self.left.chunks_exact(terms * ROWS).enumerate() {
                multiply(
                    simd,
                    left.as_chunks::<ROWS>().0,
                    packed_pairs(right),
                    &mut tile,
                );
                let row = index * ROWS;
                for (i, line) in tile.iter().enumerate().take(self.rows - row) {
                    let bias = self.bias.get(row + i).copied().unwrap_or(0.0);
                    let output = self.output_start + (row + i) * positions;
                    for run in &panel.runs[..panel.run_count] {
                        let start = output + run.example * self.output_stride + run.position;
                        let target = &mut self.output[start..start + run.len];
                        if run.len == COLUMNS {
                            for (target, value) in target.iter_mut().zip(line) {
                                *target = value + bias;
                            }
                        } else {
                            for (target, value) in target.iter_mut().zip(&line[run.column..]) {
                                *target = value + bias;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The transposed product, for what cannot be written as windows of the gradient:
/// `target[place(position) + row's offset] += Σ_term left[row][term] · input[term][position]`.
pub(crate) struct ScatterProduct<'a> {
    /// Their places are those of the input.
    pub(crate) columns: Columns<'a>,
    /// Packed, as many rows as `offsets`.
    pub(crate) left: &'a [f32],
    pub(crate) right: &'a mut [f32],
    pub(crate) target: &'a mut [f32],
    /// Offset of each row in the target.
    pub(crate) offsets: &'a [usize],
    /// Offset of each position in the target.
    pub(crate) places: &'a [usize],
    /// As those of [`GatherProduct`].
    pub(crate) target_start: usize,
    pub(crate) target_stride: usize,
}

impl WithSimd for ScatterProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let terms = self.columns.taps.len();
        let right = &mut self.right.as_chunks_mut::<COLUMNS>().0[..terms];
        let mut tile: Tile = [[0.0; COLUMNS]; ROWS];
        for first in (0..self.columns.count()).step_by(COLUMNS) {
            let panel = self.columns.panel(first);
            self.columns.pack(&panel, right);
            for (index, left) in self.left.chunks_exact(terms * ROWS).enumerate() {
                multiply(
                    simd,
                    left.as_chunks::<ROWS>().0,
                    packed_pairs(right),
                    &mut tile,
                );
                for (line, &offset) in tile.iter().zip(&self.offsets[index * ROWS..]) {
                    for run in &panel.runs[..panel.run_count] {
                        let start = self.target_start + run.example * self.target_stride + offset;
                        let places = &self.places[run.position..run.position + run.len];
                        for (value, place) in line[run.column..].iter().zip(places) {
                            self.target[start + place] += value;
                        }
                    }
                }
            }
        }
    }
}

/// The longest run of neighbours that divides the positions evenly.
pub(crate) fn segment(positions: &[usize]) -> usize {
    let contiguous = |size: usize| {
        positions.len().is_multiple_of(size)
            && positions
                .chunks_exact(size)
                .all(|run| run.iter().enumerate().all(|(i, &at)| at == run[0] + i))
    };
    [32, 16, 8, 4, 2]
        .into_iter()
        .find(|&size| contiguous(size))
        .unwrap_or(1)
}
