//! Uniform bits from a generator, and coins tossed 64 at a time.

use rand_core::RngCore;

/// Uniform bits, and coins that show heads with probability `exp(-1/2)`.
pub(super) struct Bits<R> {
    generator: R,
    words: Box<[u32; WORDS]>,
    /// Words before this one are used up.
    next: usize,
    /// The next coins, from the lowest bit on; 1 is heads.
    coins: u64,
    coins_left: u32,
    /// The next fair bits, and a one behind the last of them.
    fair: u32,
}

/// Drawn from the generator at once.
const WORDS: usize = 256;

impl<R: RngCore> Bits<R> {
    pub(super) fn new(generator: R) -> Self {
        Self {
            generator,
            words: Box::new([0; WORDS]),
            next: WORDS,
            coins: 0,
            coins_left: 0,
            fair: 1,
        }
    }

    #[inline]
    pub(super) fn next_u32(&mut self) -> u32 {
        if self.next == WORDS {
            let mut bytes = [0; 4 * WORDS];
            self.generator.fill_bytes(&mut bytes);
            for (word, bytes) in self.words.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
            self.next = 0;
        }
        let word = self.words[self.next];
        self.next += 1;
        word
    }

    #[inline]
    pub(super) fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// One fair bit; 31 come from a word.
    #[inline]
    pub(super) fn fair_bit(&mut self) -> u32 {
        if self.fair == 1 {
            self.fair = self.next_u32() | 1 << 31;
        }
        let bit = self.fair & 1;
        self.fair >>= 1;
        bit
    }

    /// Tosses until tails.
    #[inline]
    pub(super) fn heads_before_tails(&mut self) -> u64 {
        let mut heads = 0;
        loop {
            let run = self.coins.trailing_ones().min(self.coins_left);
            heads += u64::from(run);
            if run < self.coins_left {
                self.drop_coins(run + 1);
                return heads;
            }
            self.toss();
        }
    }

    /// Tosses up to `count` times, until tails.
    pub(super) fn all_heads(&mut self, mut count: u64) -> bool {
        loop {
            let run = self.coins.trailing_ones().min(self.coins_left);
            if u64::from(run) >= count {
                self.drop_coins(count as u32);
                return true;
            }
            if run < self.coins_left {
                self.drop_coins(run + 1);
                return false;
            }
            count -= u64::from(run);
            self.toss();
        }
    }

    fn drop_coins(&mut self, count: u32) {
        self.coins = self.coins.checked_shr(count).unwrap_or(0);
        self.coins_left -= count;
    }

    /// 64 fresh coins: Algorithm 1 with `γ = 1/2` in each bit at once, for those whose trials all succeeded so far.
    fn toss(&mut self) {
        let (mut trying, mut heads, mut n) = (u64::MAX, 0, 1);
        while trying != 0 {
            let succeeding = self.one_in(2 * n, trying);
            if n % 2 == 1 {
                heads |= trying & !succeeding;
            }
            trying = succeeding;
            n += 1;
        }
        (self.coins, self.coins_left) = (heads, 64);
    }

    /// Each of the bits of `lanes` with probability `1/denominator`: a comparison of `U` with the binary digits of the
    /// ratio, digit by digit in all lanes, until all are settled.
    fn one_in(&mut self, denominator: u64, lanes: u64) -> u64 {
        let (mut unsettled, mut below, mut remainder) = (lanes, 0, 1);
        while unsettled != 0 && remainder != 0 {
            let word = self.next_u64();
            remainder *= 2;
            if remainder >= denominator {
                remainder -= denominator;
                below |= unsettled & !word;
                unsettled &= word;
            } else {
                unsettled &= !word;
            }
        }
        // Where the digits have come to an end, equal ones mean that U is not below the ratio.
        below
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
    pub(in super::super) fn script(words: &[u32]) -> Bits<Exhausted> {
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
    fn lanes_compare_with_the_digits_of_the_ratio() {
        let lane = |digits: &[u32], denominator| {
            let words: Vec<u32> = digits.iter().flat_map(|&digit| [digit << 5, 0]).collect();
            let mut bits = script(&words);
            let below = bits.one_in(denominator, 1 << 5);
            assert!(bits.is_used_up(), "{digits:?}: words left over");
            below == 1 << 5
        };
        // 1/2 is 0.1: a digit 0 is below, a digit 1 is not.
        assert!(lane(&[0], 2) && !lane(&[1], 2));
        // 1/4 is 0.01.
        assert!(!lane(&[1], 4) && lane(&[0, 0], 4) && !lane(&[0, 1], 4));
        // 1/6 is 0.0010101...
        assert!(!lane(&[1], 6) && !lane(&[0, 1], 6) && lane(&[0, 0, 0], 6));
        assert!(!lane(&[0, 0, 1, 1], 6) && lane(&[0, 0, 1, 0, 0], 6));
    }

    #[test]
    fn coins_show_heads_with_probability_exp_of_minus_a_half_in_every_bit() {
        let mut bits = seeded(5);
        let rounds = 40_000;
        let (mut heads, mut repeats) = ([0u64; 64], 0u64);
        let mut last = 0;
        for _ in 0..rounds {
            bits.toss();
            (0..64).for_each(|bit| heads[bit] += bits.coins >> bit & 1);
            repeats += u64::from((bits.coins & (bits.coins >> 1) & (u64::MAX >> 1)).count_ones());
            repeats += u64::from(last & bits.coins as u32 & 1);
            last = (bits.coins >> 63) as u32;
        }
        let p = (-0.5f64).exp();
        let close = |count: u64, of: f64, p: f64, deviations: f64| {
            let deviation = (of * p * (1.0 - p)).sqrt();
            assert!(
                (count as f64 - of * p).abs() < deviations * deviation,
                "{count} of {of}, expected {p}"
            );
        };
        for count in heads {
            close(count, f64::from(rounds), p, 5.0);
        }
        close(heads.iter().sum(), 64.0 * f64::from(rounds), p, 5.0);
        // Neighbours are independent; overlapping pairs deviate a little more than independent ones.
        close(repeats, 64.0 * f64::from(rounds), p * p, 8.0);
    }

    #[test]
    fn runs_of_coins_go_on_across_words_and_end_at_tails() {
        let with = |coins, coins_left| {
            let mut bits = seeded(8);
            (bits.coins, bits.coins_left) = (coins, coins_left);
            bits
        };
        let mut bits = with(0b1_0111, 5);
        assert_eq!(
            (bits.heads_before_tails(), bits.coins, bits.coins_left),
            (3, 1, 1)
        );
        // The one head left is followed by those of the next word.
        let mut fresh = seeded(8);
        fresh.toss();
        assert_eq!(
            bits.heads_before_tails(),
            1 + u64::from(fresh.coins.trailing_ones())
        );
        let mut bits = with(u64::MAX >> 1, 64);
        assert_eq!((bits.heads_before_tails(), bits.coins_left), (63, 0));
        let mut bits = with(0b111, 5);
        assert!(bits.all_heads(2) && bits.coins_left == 3);
        assert!(!bits.all_heads(2) && bits.coins_left == 1);
        let mut bits = with(u64::MAX, 64);
        assert!(bits.all_heads(64) && bits.coins_left == 0);
    }
}
