//! Uniform bits from a generator.

use rand_core::RngCore;

/// Uniform words, drawn from a generator many at a time.
pub(super) struct Bits<R> {
    generator: R,
    words: Box<[u64; WORDS]>,
    /// Words before this one are used up.
    next: usize,
}

/// Drawn from the generator at once.
const WORDS: usize = 256;

impl<R: RngCore> Bits<R> {
    pub(super) fn new(generator: R) -> Self {
        Self {
            generator,
            words: Box::new([0; WORDS]),
            next: WORDS,
        }
    }

    /// 64 uniform bits.
    #[inline(always)]
    pub(super) fn next(&mut self) -> u64 {
        if self.next >= WORDS {
            self.draw();
        }
        let word = self.words[self.next];
        self.next += 1;
        word
    }

    /// As many words as there is room for, past those that are waiting.
    pub(super) fn fill(&mut self, words: &mut [u64]) {
        for words in words.chunks_mut(WORDS) {
            let mut bytes = [0; 8 * WORDS];
            let bytes = &mut bytes[..8 * words.len()];
            self.generator.fill_bytes(bytes);
            for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *word = u64::from_le_bytes(*bytes);
            }
        }
    }

    #[cold]
    fn draw(&mut self) {
        let mut bytes = [0; 8 * WORDS];
        self.generator.fill_bytes(&mut bytes);
        for (word, bytes) in self.words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        self.next = 0;
    }

    /// Uniform in `0..bound` (Lemire 2019, "Fast random integer generation in an interval": exact, by rejection).
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let mut product = u128::from(self.next()) * u128::from(bound);
        if (product as u64) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (product as u64) < threshold {
                product = u128::from(self.next()) * u128::from(bound);
            }
        }
        (product >> 64) as u64
    }
}

/// For tests: bits that are known or given.
#[cfg(test)]
pub(super) mod given {
    use rand_chacha::ChaCha20Rng;
    use rand_core::{RngCore, SeedableRng};

    use super::{Bits, WORDS};

    /// Bits of a generator with a known seed.
    pub(in super::super) fn seeded(seed: u64) -> Bits<ChaCha20Rng> {
        Bits::new(ChaCha20Rng::seed_from_u64(seed))
    }

    /// Has nothing to give, so a test fails that draws more words than it put there.
    pub(in super::super) struct Exhausted;

    impl RngCore for Exhausted {
        fn next_u32(&mut self) -> u32 {
            unreachable!("the sampler draws bytes")
        }
        fn next_u64(&mut self) -> u64 {
            unreachable!("the sampler draws bytes")
        }
        fn fill_bytes(&mut self, _: &mut [u8]) {
            panic!("more words drawn than there should be")
        }
    }

    /// These words and no more.
    pub(in super::super) fn script(words: &[u64]) -> Bits<Exhausted> {
        let mut bits = Bits::new(Exhausted);
        bits.next = WORDS - words.len();
        bits.words[WORDS - words.len()..].copy_from_slice(words);
        bits
    }

    impl<R> Bits<R> {
        pub(in super::super) fn is_used_up(&self) -> bool {
            self.next == WORDS
        }
    }
}

#[cfg(test)]
mod tests {
    use super::given::{script, seeded};

    #[test]
    fn every_number_below_a_bound_is_as_likely() {
        let mut bits = seeded(2);
        for bound in [1u64, 2, 3, 7, 100] {
            let mut counts = vec![0u32; bound as usize];
            let rounds = 20_000 * bound as u32;
            (0..rounds).for_each(|_| counts[bits.below(bound) as usize] += 1);
            for count in counts {
                assert!((f64::from(count) - 20_000.0).abs() < 5.0 * 20_000f64.sqrt());
            }
        }
    }

    #[test]
    fn a_word_that_would_favour_a_number_is_passed_over() {
        // 2^64 = 1 mod 3: of the words, zero is the one too many.
        let mut bits = script(&[0, 1]);
        assert_eq!(bits.below(3), 0);
        assert!(bits.is_used_up());
        assert_eq!(script(&[u64::MAX]).below(3), 2);
    }
}
