//! Left sides of products, in panels of [`ROWS`] rows: `[panel][term][row]`, rows behind the last zero.

use super::tile::ROWS;

/// Floats that a packed matrix takes.
pub(crate) fn packed_len(rows: usize, terms: usize) -> usize {
    rows.next_multiple_of(ROWS) * terms
}

/// Packs the matrix whose entry for `(row, term)` is `entry(row, term)`.
pub(crate) fn pack(
    rows: usize,
    terms: usize,
    packed: &mut [f32],
    entry: impl Fn(usize, usize) -> f32,
) {
    for (panel, packed) in packed.chunks_exact_mut((terms * ROWS).max(1)).enumerate() {
        let first = panel * ROWS;
        let full = first + ROWS <= rows;
        for (term, packed) in packed.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
            if full {
                for (i, value) in packed.iter_mut().enumerate() {
                    *value = entry(first + i, term);
                }
            } else {
                for (i, value) in packed.iter_mut().enumerate() {
                    *value = if first + i < rows {
                        entry(first + i, term)
                    } else {
                        0.0
                    };
                }
            }
        }
    }
}
