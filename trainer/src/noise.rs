//! Discrete Gaussian noise for integer sums, sampled exactly.
//!
//! **Why not the usual way.** A floating-point Gaussian added to a floating-point sum leaves traces in the last bits:
//! which values can come out depends on the sum (Mironov 2012 for Laplace, "On significance of the least significant
//! bits for differential privacy"; Haney, Desfontaines, Hartman, Shrestha and Hay 2022, "Precision-based attacks and
//! interval refining", for every sampler whose noise and sum are rounded separately). Here the sum is an integer
//! vector, the noise is an integer vector of full support, and the addition is exact: from any sum every value can come
//! out, with the probability that the accountant assumes. Scaling to floating point happens after, on what is already
//! private.
//!
//! **Exactly** means: the probability of `x` is proportional to `exp(-x²/2σ²)`, given uniform bits. Every decision
//! compares random bits with a rational number in integer arithmetic, drawing further bits until it is settled; no
//! floating point decides. Truncation of the support (a sample beyond 64 bits saturates) has probability below
//! `exp(-2^40)`.
//!
//! **How** (Canonne, Kamath and Steinke 2020, arXiv:2004.00010, after Karney 2016). Bernoulli variables of probability
//! `exp(-γ)` come from those of `γ/n` by their Algorithm 1. Where their Algorithm 3 rejects from a two-sided geometric
//! distribution, we use that `σ` is an integer and write `|x| = kσ + j` with `0 <= j < σ`, `f = j/σ`:
//! `exp(-x²/2σ²) = exp(-k²/2) · exp(-kf) · exp(-f²/2)`. So: draw `k` in proportion to `exp(-k²/2)`, that is geometric
//! with ratio `exp(-1/2)` kept with probability `exp(-1/2)^(k(k-1))`; draw `j` uniformly; keep both with
//! probability `exp(-f)^k exp(-f²/2)`; draw a sign, and begin again at `-0`, which would count zero twice.
//! The time a sample takes depends on its value only through `k`; who can time single samples inside the confidential
//! VM is outside the threat model.
//!
//! **Bits** come from ChaCha20 under a key drawn for every call from the operating system: nothing that a provider
//! sends enters, and a virtual machine that was copied or set back does not repeat its noise.

use std::fmt;
use std::num::NonZeroUsize;

use rand_chacha::ChaCha20Rng;
use rand_core::{OsRng, RngCore, SeedableRng, TryRngCore};
use zeroize::Zeroizing;

/// The parameter `σ` of discrete Gaussian noise, in grid units: an integer from 1 to 2^40.
///
/// The standard deviation of the noise is `σ` to within a factor of `1 - e^-19` already at `σ = 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SigmaInt(u64);

impl SigmaInt {
    /// The largest `σ`: keeps every product of the sampler within 128 bits, and its samples within 64.
    pub const MAX: u64 = 1 << 40;

    /// Checks the range.
    ///
    /// # Errors
    /// [`NoiseError::SigmaOutOfRange`] outside 1 ..= 2^40.
    pub fn new(sigma: u64) -> Result<Self, NoiseError> {
        if sigma == 0 || sigma > Self::MAX {
            Err(NoiseError::SigmaOutOfRange(sigma))
        } else {
            Ok(Self(sigma))
        }
    }

    /// The number, in grid units.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// Why no noise was added. The sums must not be used then.
#[derive(Debug, thiserror::Error)]
pub enum NoiseError {
    /// The parameter is outside its range.
    #[error(
        "the noise's deviation must be 1 to 2^40 grid units, got {0}; choose another noise multiplier or clipping norm"
    )]
    SigmaOutOfRange(u64),
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes: {0}")]
    Randomness(String),
}

/// Where noise comes from.
///
/// ```
/// use tributary_trainer::{NoiseSource, SigmaInt};
/// let mut sums = vec![0i64; 1_000];
/// NoiseSource::from_system().add(&mut sums, SigmaInt::new(1 << 20)?)?;
/// assert!(sums.iter().any(|&x| x != 0));
/// # Ok::<(), tributary_trainer::NoiseError>(())
/// ```
pub struct NoiseSource {
    keys: Keys,
}

enum Keys {
    System,
    Given(Box<dyn RngCore + Send>),
}

impl NoiseSource {
    /// The source for private training: a new key from the operating system for every call of [`NoiseSource::add`].
    pub fn from_system() -> Self {
        Self { keys: Keys::System }
    }

    /// A source whose keys the caller's generator makes, so that a test can repeat itself. **Private only where that
    /// generator is**: whoever knows its state can subtract the noise.
    pub fn insecure_with_keys_from(keys: impl RngCore + Send + 'static) -> Self {
        Self {
            keys: Keys::Given(Box::new(keys)),
        }
    }

    /// Adds an independent sample of parameter `sigma` to each sum.
    ///
    /// # Errors
    /// [`NoiseError::Randomness`]; then nothing was added.
    pub fn add(&mut self, sums: &mut [i64], sigma: SigmaInt) -> Result<(), NoiseError> {
        self.add_with_threads(sums, sigma, NonZeroUsize::MIN)
    }

    /// As [`NoiseSource::add`], on several threads. Each [`CHUNK`] of sums has its own ChaCha20 stream under the call's
    /// key, so the result does not depend on the number of threads.
    ///
    /// # Errors
    /// As [`NoiseSource::add`].
    pub fn add_with_threads(
        &mut self,
        sums: &mut [i64],
        sigma: SigmaInt,
        threads: NonZeroUsize,
    ) -> Result<(), NoiseError> {
        let key = self.key()?;
        let chunks = sums.len().div_ceil(CHUNK);
        let chunks_each = chunks.div_ceil(threads.get()).max(1);
        let fill = |first_chunk: usize, part: &mut [i64]| {
            for (i, chunk) in part.chunks_mut(CHUNK).enumerate() {
                let mut rng = ChaCha20Rng::from_seed(*key);
                rng.set_stream((first_chunk + i) as u64);
                for sum in chunk {
                    *sum = sum.saturating_add(discrete_gaussian(&mut rng, sigma.0));
                }
            }
        };
        if chunks <= chunks_each {
            fill(0, sums);
            return Ok(());
        }
        std::thread::scope(|scope| {
            let fill = &fill;
            let mut parts = sums.chunks_mut(chunks_each * CHUNK).enumerate();
            let own = parts.next();
            for (i, part) in parts {
                scope.spawn(move || fill(i * chunks_each, part));
            }
            if let Some((_, part)) = own {
                fill(0, part);
            }
        });
        Ok(())
    }

    fn key(&mut self) -> Result<Zeroizing<[u8; 32]>, NoiseError> {
        let mut key = Zeroizing::new([0; 32]);
        match &mut self.keys {
            Keys::System => {
                OsRng
                    .try_fill_bytes(&mut *key)
                    .map_err(|error| NoiseError::Randomness(error.to_string()))?;
            }
            Keys::Given(generator) => generator.fill_bytes(&mut *key),
        }
        Ok(key)
    }
}

impl fmt::Debug for NoiseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoiseSource")
    }
}

/// Sums that share a ChaCha20 stream: large enough that a new stream costs nothing, small enough to share among threads.
const CHUNK: usize = 4096;

/// A sample `x` with probability proportional to `exp(-x²/2σ²)`; see the header.
fn discrete_gaussian(rng: &mut impl RngCore, sigma: u64) -> i64 {
    loop {
        let k = whole_deviations(rng);
        let j = below(rng, sigma);
        if !(0..k).all(|_| bernoulli_exp(rng, |rng, n| bernoulli(rng, j, n * sigma))) {
            continue;
        }
        if !bernoulli_exp(rng, |rng, n| {
            bernoulli(rng, j, sigma) && bernoulli(rng, j, 2 * n * sigma)
        }) {
            continue;
        }
        let negative = rng.next_u32() >> 31 == 1;
        let size = k.saturating_mul(sigma).saturating_add(j);
        if negative && size == 0 {
            continue;
        }
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        return if negative { -size } else { size };
    }
}

/// `k >= 0` with probability proportional to `exp(-k²/2)`.
fn whole_deviations(rng: &mut impl RngCore) -> u64 {
    loop {
        let mut k = 0;
        while bernoulli_exp_half(rng) {
            k += 1;
        }
        if k < 2 || (0..k * (k - 1)).all(|_| bernoulli_exp_half(rng)) {
            return k;
        }
    }
}

/// True with probability `exp(-γ)` for `γ <= 1`, where `trial(n)` is true with probability `γ/n`: Algorithm 1 of
/// Canonne, Kamath and Steinke. The first trial to fail is the n-th with probability `γ^(n-1)/(n-1)! - γ^n/n!`.
fn bernoulli_exp<R: RngCore>(rng: &mut R, mut trial: impl FnMut(&mut R, u64) -> bool) -> bool {
    let mut n = 1;
    while trial(rng, n) {
        n += 1;
    }
    n % 2 == 1
}

/// True with probability `exp(-1/2)`.
///
/// Algorithm 1 again, but its first trials share one uniform `U`: more than `n` trials take place with probability
/// `1/(2^n n!)`, so the first that fails is read off from where `U` lies among these numbers.
fn bernoulli_exp_half(rng: &mut impl RngCore) -> bool {
    let word = rng.next_u64();
    for (i, &divisor) in HALF_DIVISORS.iter().enumerate() {
        let failing = i as u64 + 1;
        // 1/divisor lies in [floor, floor + 1) of 2^-64.
        let floor = (TWO_64 / divisor as u128) as u64;
        if word < floor {
            continue;
        }
        let remainder = (TWO_64 % divisor as u128) as u64;
        // Where the word itself does not settle U < 1/divisor, the bits after it do; U is far above the next number.
        let beyond = word == floor && remainder != 0 && bernoulli(rng, remainder, divisor);
        return (failing + u64::from(beyond)) % 2 == 1;
    }
    let mut n = HALF_DIVISORS.len() as u64 + 1;
    while bernoulli(rng, 1, 2 * n) {
        n += 1;
    }
    n % 2 == 1
}

const TWO_64: u128 = 1 << 64;

/// `2^n n!` for n from 1 to 8.
const HALF_DIVISORS: [u64; 8] = {
    let mut divisors = [2; 8];
    let mut n = 1;
    while n < 8 {
        divisors[n] = divisors[n - 1] * 2 * (n as u64 + 1);
        n += 1;
    }
    divisors
};

/// True with probability `numerator/denominator`, at most 1; the denominator is below 2^63.
///
/// Compares a uniform `U` with the ratio 64 bits at a time: with `U = (word + U')/2^64`, `U < a/b` exactly where
/// `U' < (a 2^64 - b word)/b`, which is the same question for fresh bits.
fn bernoulli(rng: &mut impl RngCore, numerator: u64, denominator: u64) -> bool {
    let mut numerator = numerator;
    loop {
        let target = u128::from(numerator) << 64;
        let product = u128::from(rng.next_u64()) * u128::from(denominator);
        if product >= target {
            return false;
        }
        let left = target - product;
        if left >= u128::from(denominator) {
            return true;
        }
        numerator = left as u64;
    }
}

/// Uniform in `0..bound` (Lemire 2019, "Fast random integer generation in an interval": exact, by rejection).
fn below(rng: &mut impl RngCore, bound: u64) -> u64 {
    let mut product = u128::from(rng.next_u64()) * u128::from(bound);
    if (product as u64) < bound {
        let threshold = bound.wrapping_neg() % bound;
        while (product as u64) < threshold {
            product = u128::from(rng.next_u64()) * u128::from(bound);
        }
    }
    (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(sigma: u64, count: usize, seed: u64) -> Vec<i64> {
        let mut sums = vec![0; count];
        let mut source = NoiseSource::insecure_with_keys_from(ChaCha20Rng::seed_from_u64(seed));
        source
            .add(&mut sums, SigmaInt::new(sigma).unwrap())
            .unwrap();
        sums
    }

    /// Fails where counts are further from what is expected than chance allows once in some millions of runs; seeds are
    /// fixed, so a pass stays one.
    fn assert_fits(counts: &[u64], probabilities: &[f64], what: &str) {
        let total: u64 = counts.iter().sum();
        let statistic: f64 = counts
            .iter()
            .zip(probabilities)
            .map(|(&count, p)| (count as f64 - p * total as f64).powi(2) / (p * total as f64))
            .sum();
        let freedom = counts.len() as f64 - 1.0;
        let normal = ((statistic / freedom).cbrt() - (1.0 - 2.0 / (9.0 * freedom)))
            / (2.0 / (9.0 * freedom)).sqrt();
        assert!(normal < 5.0, "{what}: {normal:.1} deviations off");
    }

    #[test]
    fn small_parameters_give_the_discrete_gaussian_value_by_value() {
        for sigma in [1u64, 2, 3, 10, 33] {
            let reach = 3 * sigma as i64;
            let weight = |x: i64| (-(x * x) as f64 / (2.0 * (sigma * sigma) as f64)).exp();
            let norm: f64 = (-20 * sigma as i64..=20 * sigma as i64).map(weight).sum();
            let mut probabilities: Vec<f64> = (-reach..=reach).map(|x| weight(x) / norm).collect();
            probabilities.push(1.0 - probabilities.iter().sum::<f64>());
            let mut counts = vec![0; probabilities.len()];
            for x in samples(sigma, 400_000, sigma) {
                let place = if x.abs() <= reach {
                    (x + reach) as usize
                } else {
                    counts.len() - 1
                };
                counts[place] += 1;
            }
            assert_fits(&counts, &probabilities, &format!("sigma {sigma}"));
        }
    }

    #[test]
    fn large_parameters_give_a_gaussian_with_its_moments_and_uniform_low_bits() {
        for sigma in [1u64 << 20, 1_234_567, 3 << 36, SigmaInt::MAX] {
            let count = 400_000;
            let xs = samples(sigma, count, 7);
            let scaled = || xs.iter().map(|&x| x as f64 / sigma as f64);
            let moment = |n: i32| scaled().map(|x| x.powi(n)).sum::<f64>() / count as f64;
            let close = |n: i32, expected: f64, deviation: f64| {
                let got = moment(n);
                assert!(
                    (got - expected).abs() < 5.0 * deviation / (count as f64).sqrt(),
                    "sigma {sigma} moment {n}: {got}"
                );
            };
            close(1, 0.0, 1.0);
            close(2, 1.0, 2f64.sqrt());
            close(3, 0.0, 15f64.sqrt());
            close(4, 3.0, 96f64.sqrt());

            // Borders that cross those of whole deviations, where the sampler joins its pieces.
            let borders: Vec<f64> = (-35..=35).map(|i| f64::from(i) / 10.0 + 0.003).collect();
            let mut probabilities = vec![normal_cdf(borders[0])];
            probabilities.extend(
                borders
                    .windows(2)
                    .map(|pair| normal_cdf(pair[1]) - normal_cdf(pair[0])),
            );
            probabilities.push(1.0 - normal_cdf(borders[borders.len() - 1]));
            let mut counts = vec![0; probabilities.len()];
            for x in scaled() {
                counts[borders.partition_point(|&border| border <= x)] += 1;
            }
            assert_fits(&counts, &probabilities, &format!("sigma {sigma}"));

            let mut low = [0; 64];
            for &x in &xs {
                low[(x & 63) as usize] += 1;
            }
            assert_fits(
                &low,
                &[1.0 / 64.0; 64],
                &format!("low bits at sigma {sigma}"),
            );
        }
    }

    /// Simpson's rule on the density; good to 1e-10, far below what 400,000 samples can see.
    fn normal_cdf(x: f64) -> f64 {
        let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let n = 2_000;
        let h = x / f64::from(n);
        let inner: f64 = (1..n)
            .map(|i| density(f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 })
            .sum();
        0.5 + (density(0.0) + inner + density(x)) * h / 3.0
    }

    #[test]
    fn bernoulli_is_true_as_often_as_its_ratio_says() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        for (a, b) in [
            (0, 5),
            (5, 5),
            (1, 3),
            (2, 7),
            ((1 << 62) - 1, 1 << 62),
            (1 << 61, (1 << 62) + 12_345),
        ] {
            let count = 200_000;
            let hits = (0..count).filter(|_| bernoulli(&mut rng, a, b)).count() as f64;
            let p = a as f64 / b as f64;
            let deviation = (p * (1.0 - p) * f64::from(count)).sqrt();
            assert!(
                (hits - p * f64::from(count)).abs() <= 5.0 * deviation + 0.5,
                "{a}/{b}: {hits}"
            );
        }
    }

    /// A generator that returns given words and then fails the test.
    struct Script(std::vec::IntoIter<u64>);

    impl Script {
        fn new(words: Vec<u64>) -> Self {
            Self(words.into_iter())
        }
    }

    impl RngCore for Script {
        fn next_u32(&mut self) -> u32 {
            (self.next_u64() >> 32) as u32
        }
        fn next_u64(&mut self) -> u64 {
            self.0.next().expect("more words drawn than the script has")
        }
        fn fill_bytes(&mut self, _: &mut [u8]) {
            unreachable!("the sampler draws words")
        }
    }

    #[test]
    fn bits_that_do_not_settle_a_comparison_are_followed_by_more() {
        let third = u64::MAX / 3;
        // 1/3 in binary is 01 repeated: the word `third` is its own prefix, whatever follows decides.
        for (words, expect) in [
            (vec![third - 1], true),
            (vec![third + 1], false),
            (vec![third, third - 1], true),
            (vec![third, third + 1], false),
            (vec![third, third, 0], true),
            (vec![third, third, u64::MAX], false),
        ] {
            let mut script = Script::new(words.clone());
            assert_eq!(bernoulli(&mut script, 1, 3), expect, "{words:x?}");
            assert!(script.0.next().is_none(), "{words:x?}: words left over");
        }
    }

    #[test]
    fn the_first_failing_trial_is_read_off_one_word_with_ties_settled_by_the_next() {
        let bound = |divisor: u64| (TWO_64 / u128::from(divisor)) as u64;
        for (words, expect) in [
            (vec![u64::MAX], true),            // the 1st trial fails
            (vec![bound(2)], true),            // at exactly 1/2 still
            (vec![bound(2) - 1], false),       // the 2nd
            (vec![bound(8)], false),           //
            (vec![bound(8) - 1], true),        // the 3rd
            (vec![bound(48), u64::MAX], true), // a tie that ends above 1/48: still the 3rd
            (vec![bound(48), 0], false),       // and one that ends below: the 4th
            (vec![bound(48) - 1], false),      //
            (vec![bound(384) - 1], true),      // the 5th
            (vec![0, u64::MAX], true),         // eight take place, the 9th fails
            (vec![0, 0, u64::MAX], false),     // the 10th
        ] {
            let mut script = Script::new(words.clone());
            assert_eq!(bernoulli_exp_half(&mut script), expect, "{words:x?}");
            assert!(script.0.next().is_none(), "{words:x?}: words left over");
        }
    }

    #[test]
    fn the_coin_of_probability_exp_of_minus_a_half_is_fair_to_it() {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let count = 1_000_000;
        let hits = (0..count).filter(|_| bernoulli_exp_half(&mut rng)).count() as f64;
        let p = (-0.5f64).exp();
        assert!(
            (hits / f64::from(count) - p).abs() < 5.0 * (p * (1.0 - p) / f64::from(count)).sqrt()
        );
    }

    #[test]
    fn noise_repeats_for_a_key_and_never_from_the_system_or_the_next_call() {
        assert_eq!(samples(1 << 20, 100, 9), samples(1 << 20, 100, 9));
        let mut source = NoiseSource::insecure_with_keys_from(ChaCha20Rng::seed_from_u64(9));
        let sigma = SigmaInt::new(1 << 20).unwrap();
        let (mut first, mut second) = (vec![0; 100], vec![0; 100]);
        source.add(&mut first, sigma).unwrap();
        source.add(&mut second, sigma).unwrap();
        assert_ne!(first, second);
        let (mut first, mut second) = (vec![0; 100], vec![0; 100]);
        NoiseSource::from_system().add(&mut first, sigma).unwrap();
        NoiseSource::from_system().add(&mut second, sigma).unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn noise_does_not_depend_on_the_number_of_threads_and_differs_between_chunks() {
        let sigma = SigmaInt::new(1 << 20).unwrap();
        let length = 5 * CHUNK + 17;
        let with = |threads| {
            let mut sums: Vec<i64> = (0..length as i64).collect();
            let mut source = NoiseSource::insecure_with_keys_from(ChaCha20Rng::seed_from_u64(4));
            source
                .add_with_threads(&mut sums, sigma, NonZeroUsize::new(threads).unwrap())
                .unwrap();
            sums
        };
        let one = with(1);
        for threads in [2, 3, 4, 100] {
            assert_eq!(with(threads), one);
        }
        let noise: Vec<i64> = one.iter().enumerate().map(|(i, x)| x - i as i64).collect();
        assert_ne!(noise[..CHUNK], noise[CHUNK..2 * CHUNK]);
    }

    #[test]
    fn a_sum_at_the_end_of_its_range_saturates() {
        let mut sums = vec![i64::MAX; 64];
        let sigma = SigmaInt::new(SigmaInt::MAX).unwrap();
        NoiseSource::from_system().add(&mut sums, sigma).unwrap();
        assert!(sums.iter().all(|&x| x > i64::MAX / 2));
    }

    #[test]
    fn sigma_out_of_range_is_refused() {
        assert!(SigmaInt::new(0).is_err());
        let error = SigmaInt::new(SigmaInt::MAX + 1).unwrap_err();
        assert!(
            error.to_string().contains("1 to 2^40 grid units"),
            "{error}"
        );
    }

    #[test]
    fn nothing_is_shown_of_the_source() {
        assert_eq!(format!("{:?}", NoiseSource::from_system()), "NoiseSource");
    }

    /// What Mironov's attack looks at: released values in [1/4, 1/2) clipping norms, as multiples of the finest place
    /// that values there have, by their trailing zeros. Noise that hides a sum gives the same distribution from the
    /// sum 0 as from the sum 1.
    fn trailing_zeros(last_place: f64, release: impl Iterator<Item = f64>) -> [u64; 6] {
        let mut counts = [0; 6];
        for value in release.filter(|value| (0.25..0.5).contains(value)) {
            let zeros = ((value / last_place) as u64).trailing_zeros() as usize;
            counts[zeros.min(5)] += 1;
        }
        counts
    }

    fn distance(a: [u64; 6], b: [u64; 6]) -> f64 {
        let (na, nb) = (a.iter().sum::<u64>() as f64, b.iter().sum::<u64>() as f64);
        a.iter()
            .zip(&b)
            .map(|(&a, &b)| (a as f64 / na - b as f64 / nb).abs())
            .sum::<f64>()
            / 2.0
    }

    #[test]
    fn last_places_betray_the_sum_under_floating_point_noise_and_not_under_ours() {
        let count = 200_000;
        let unit = 2f64.powi(-20);
        let ours = |sum: i64, seed| {
            trailing_zeros(
                unit,
                samples(1 << 20, count, seed)
                    .into_iter()
                    .map(move |noise| (sum + noise) as f64 * unit),
            )
        };
        let naive = |sum: f32, seed| {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let mut uniform = move || (rng.next_u64() >> 11) as f64 / 2f64.powi(53);
            let box_muller = std::iter::repeat_with(move || {
                (-2.0 * (1.0 - uniform()).ln()).sqrt()
                    * (2.0 * std::f64::consts::PI * uniform()).cos()
            });
            trailing_zeros(
                2f64.powi(-25),
                box_muller
                    .take(count)
                    .map(move |noise| f64::from(sum + noise as f32)),
            )
        };
        let (caught, passed) = (
            distance(naive(0.0, 1), naive(1.0, 2)),
            distance(ours(0, 1), ours(1 << 20, 2)),
        );
        assert!(
            caught > 0.4,
            "floating-point noise went unnoticed: {caught}"
        );
        assert!(passed < 0.02, "the last places depend on the sum: {passed}");
    }
}
