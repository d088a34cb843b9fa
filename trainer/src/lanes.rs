//! Where examples lie in memory: one example a SIMD lane.
//!
//! A *tile* is as many examples as a vector register has lanes (16 with AVX-512, 8 with AVX2).
//! A tensor of `n` elements an example is stored for a tile as `n` vectors, element-major: `[element][lane]`.
//! All arithmetic of forward and backward passes is then the same for every lane, without shuffles, packing or
//! im2col, and the gradient of each parameter comes out separately for each example in its lane.
//! Lanes never mix before clipping, so an example's gradient does not depend on which others share its tile.

use std::ops::{Deref, DerefMut};

use pulp::{Scalar, Simd, WithSimd};

/// Vectors are at most this wide, and buffers are aligned to a vector: 16 floats of 4 bytes.
const ALIGNMENT: usize = 64;

/// The instruction set that the kernels run on, found at run time.
///
/// Baseline builds therefore use AVX-512 where it is there; nothing is compiled for the building machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    #[cfg(not(target_arch = "x86_64"))]
    Native(pulp::Arch),
    Portable,
}

impl Isa {
    /// The widest instruction set of this processor.
    pub(crate) fn best() -> Self {
        Self::all().into_iter().next().unwrap_or(Self::Portable)
    }

    /// Every instruction set of this processor, the widest first and the portable one last.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn all() -> Vec<Self> {
        let wide = pulp::x86::V4::try_new().map(Self::Avx512);
        let narrow = pulp::x86::V3::try_new().map(Self::Avx2);
        wide.into_iter()
            .chain(narrow)
            .chain([Self::Portable])
            .collect()
    }

    /// Every instruction set of this processor, the widest first and the portable one last.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn all() -> Vec<Self> {
        vec![Self::Native(pulp::Arch::new()), Self::Portable]
    }

    /// Examples in a tile.
    pub(crate) fn width(self) -> usize {
        self.run(Width)
    }

    /// Runs a kernel, compiled for this instruction set.
    #[inline(always)]
    pub(crate) fn run<K: WithSimd>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => Simd::vectorize(simd, kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => Simd::vectorize(simd, kernel),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Native(arch) => arch.dispatch(kernel),
            Self::Portable => Simd::vectorize(Scalar, kernel),
        }
    }
}

struct Width;

impl WithSimd for Width {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// Numbers of 4 bytes that start on a cache line: a vector that straddles two lines costs two loads.
#[derive(Default)]
pub(crate) struct Aligned<T = f32> {
    storage: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    pub(crate) fn zeros(len: usize) -> Self {
        let storage = vec![T::default(); len + ALIGNMENT / size_of::<T>()];
        let start = storage.as_ptr().align_offset(ALIGNMENT);
        // `align_offset` may decline, which costs speed and nothing else.
        let start = if start + len <= storage.len() {
            start
        } else {
            0
        };
        Self {
            storage,
            start,
            len,
        }
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.storage[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

/// Puts examples (each `elements` long, one after the other) into the lanes of a tile; lanes without one are zero.
pub(crate) fn spread(examples: &[f32], elements: usize, width: usize, tile: &mut [f32]) {
    let rows: Vec<&[f32]> = examples.chunks_exact(elements.max(1)).collect();
    debug_assert!(rows.len() <= width);
    for (element, vector) in tile.chunks_exact_mut(width).enumerate() {
        let (filled, empty) = vector.split_at_mut(rows.len());
        for (lane, row) in filled.iter_mut().zip(&rows) {
            *lane = row[element];
        }
        empty.fill(0.0);
    }
}

/// Takes one lane out of a tile.
pub(crate) fn gather(tile: &[f32], width: usize, lane: usize, example: &mut [f32]) {
    for (value, vector) in example.iter_mut().zip(tile.chunks_exact(width)) {
        *value = vector[lane];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_come_back_as_they_were_put_in() {
        let examples: Vec<f32> = (0..15).map(|value| value as f32).collect();
        let mut tile = Aligned::zeros(5 * 8);
        tile.fill(f32::NAN);
        spread(&examples, 5, 8, &mut tile);
        for lane in 0..8 {
            let mut example = [f32::NAN; 5];
            gather(&tile, 8, lane, &mut example);
            let expected: Vec<f32> = (0..5)
                .map(|element| {
                    if lane < 3 {
                        examples[lane * 5 + element]
                    } else {
                        0.0
                    }
                })
                .collect();
            assert_eq!(example.as_slice(), expected);
        }
    }

    #[test]
    fn buffers_start_on_a_cache_line() {
        for len in [0, 1, 1000, 1 << 20] {
            let buffer = Aligned::<f32>::zeros(len);
            assert_eq!((buffer.as_ptr() as usize) % ALIGNMENT, 0);
            assert_eq!(buffer.len(), len);
        }
    }
}
