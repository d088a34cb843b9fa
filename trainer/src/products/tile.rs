//! The small product: 8 rows by 32 columns, over any number of terms.

use std::array::from_fn;

use pulp::Simd;

/// Rows of a tile; left sides are packed `[term][row]` in panels of so many rows.
pub(crate) const ROWS: usize = 8;
/// Columns of a tile, in two halves that may lie apart.
pub(crate) const COLUMNS: usize = 2 * HALF;
/// Columns of half a tile: the widest vector.
pub(crate) const HALF: usize = 16;

/// A tile in memory.
pub(crate) type Tile = [[f32; COLUMNS]; ROWS];
/// One term of the right side.
pub(crate) type Pair<'a> = [&'a [f32; HALF]; 2];

/// Sums `M` rows from `row` and `N` vectors from `column` over all terms, in registers.
#[inline(always)]
pub(crate) fn block<'a, S: Simd, const M: usize, const N: usize>(
    simd: S,
    left: &[[f32; ROWS]],
    right: impl Iterator<Item = Pair<'a>>,
    row: usize,
    column: usize,
) -> [[S::f32s; N]; M] {
    let half = HALF / S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    for (left, right) in left.iter().zip(right) {
        let values: [S::f32s; N] = from_fn(|j| {
            let vector = column + j;
            S::as_simd_f32s(right[vector / half]).0[vector % half]
        });
        for i in 0..M {
            let factor = simd.splat_f32s(left[row + i]);
            for j in 0..N {
                sums[i][j] = simd.mul_add_e_f32s(factor, values[j], sums[i][j]);
            }
        }
    }
    sums
}

/// Computes a tile in blocks that fit the registers; `$body` sees each block's sums, `$M` rows from `$row` and `$N` vectors
/// from `$column`.
macro_rules! for_blocks {
    ($simd:ident: $S:ident, $left:expr, $right:expr, |$row:ident, $column:ident, $sums:ident, $M:ident, $N:ident| $body:block) => {{
        let vectors = $crate::products::tile::COLUMNS / $S::F32_LANES;
        const $N: usize = 2;
        if const { $S::REGISTER_COUNT >= 32 } {
            const $M: usize = 8;
            let $row = 0;
            for $column in (0..vectors).step_by($N) {
                let $sums = $crate::products::tile::block::<$S, $M, $N>(
                    $simd, $left, $right, $row, $column,
                );
                $body
            }
        } else {
            const $M: usize = 4;
            for $row in (0..$crate::products::tile::ROWS).step_by($M) {
                for $column in (0..vectors).step_by($N) {
                    let $sums = $crate::products::tile::block::<$S, $M, $N>(
                        $simd, $left, $right, $row, $column,
                    );
                    $body
                }
            }
        }
    }};
}
pub(crate) use for_blocks;

/// Computes a tile into memory.
#[inline(always)]
pub(crate) fn multiply<'a, S: Simd>(
    simd: S,
    left: &[[f32; ROWS]],
    right: impl Iterator<Item = Pair<'a>> + Clone,
    tile: &mut Tile,
) {
    for_blocks!(simd: S, left, right.clone(), |row, column, sums, M, N| {
        for i in 0..M {
            let line = S::as_mut_simd_f32s(&mut tile[row + i]).0;
            line[column..column + N].copy_from_slice(&sums[i]);
        }
    });
}

/// A half tile's worth of numbers from `start`; zeros where there are too few.
#[inline(always)]
pub(crate) fn half(values: &[f32], start: usize) -> &[f32; HALF] {
    const ZEROS: [f32; HALF] = [0.0; HALF];
    values
        .get(start..)
        .and_then(|rest| rest.first_chunk())
        .unwrap_or(&ZEROS)
}

/// Packed terms as pairs of halves.
#[inline(always)]
pub(crate) fn packed_pairs(right: &[[f32; COLUMNS]]) -> impl Iterator<Item = Pair<'_>> + Clone {
    right.iter().map(|term| {
        let (halves, _) = term.as_chunks::<HALF>();
        [&halves[0], &halves[1]]
    })
}
