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
//! How a sample is drawn, and in what sense exactly, is said in `noise/gaussian.rs`.
//!
//! **Bits** come from ChaCha20 under a key drawn for every call from the operating system: nothing that a provider
//! sends enters, and a virtual machine that was copied or set back does not repeat its noise.

mod bits;
mod exponential;
mod gaussian;

use std::fmt;
use std::num::NonZeroUsize;

use rand_chacha::ChaCha20Rng;
use rand_core::{OsRng, RngCore, SeedableRng, TryRngCore};
use zeroize::Zeroizing;

use bits::Bits;
use gaussian::DiscreteGaussian;

/// The parameter `σ` of discrete Gaussian noise, in grid units: an integer from 1 to 2^40.
///
/// The standard deviation of the noise is `σ` to within a millionth already at `σ = 1`, and to any accuracy that can be
/// measured at the values of a grid; the accountant relies on the parameter alone.
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
        let noise = self.draw(sigma)?;
        let chunks_each = sums.len().div_ceil(CHUNK).div_ceil(threads.get()).max(1);
        let fill = |part: usize, sums: &mut [i64]| {
            for (i, chunk) in sums.chunks_mut(CHUNK).enumerate() {
                noise.add(part * chunks_each + i, chunk);
            }
        };
        std::thread::scope(|scope| {
            let fill = &fill;
            let mut parts = sums.chunks_mut(chunks_each * CHUNK).enumerate();
            let own = parts.next();
            for (i, part) in parts {
                scope.spawn(move || fill(i, part));
            }
            if let Some((i, part)) = own {
                fill(i, part);
            }
        });
        Ok(())
    }

    /// Noise under a new key, of which the caller takes each chunk once.
    pub(crate) fn draw(&mut self, sigma: SigmaInt) -> Result<Noise, NoiseError> {
        Ok(Noise {
            key: self.key()?,
            gaussian: DiscreteGaussian::new(sigma.0),
        })
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

/// The noise of one call.
pub(crate) struct Noise {
    key: Zeroizing<[u8; 32]>,
    gaussian: DiscreteGaussian,
}

impl Noise {
    /// Adds the noise of the chunk with this index to [`CHUNK`] sums, or fewer.
    pub(crate) fn add(&self, chunk: usize, sums: &mut [i64]) {
        let mut generator = ChaCha20Rng::from_seed(*self.key);
        generator.set_stream(chunk as u64);
        self.gaussian.add(&mut Bits::new(generator), sums);
    }
}

/// Sums that share a ChaCha20 stream: large enough that a new stream costs nothing, small enough to share among threads.
pub(crate) const CHUNK: usize = 4096;

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
