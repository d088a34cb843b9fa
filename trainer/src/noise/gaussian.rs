//! The discrete Gaussian, sampled exactly.
//!
//! **Exactly** means: the probability of `x` is proportional to `exp(-x²/2σ²)`, given uniform bits. Every decision
//! compares random bits with a rational number in integer arithmetic, drawing further bits until it is settled; floating
//! point is asked first, and decides only where its error bound leaves no doubt. Truncation of the support (a sample beyond
//! 64 bits saturates) has probability below `exp(-2^40)`.
//!
//! **How** (Canonne, Kamath and Steinke 2020, arXiv:2004.00010, after Karney 2016). Bernoulli variables of probability
//! `exp(-γ)` come from those of `γ/n` by their Algorithm 1. Where their Algorithm 3 rejects from a two-sided geometric
//! distribution, we use that `σ` is an integer and write `|x| = kσ + j` with `0 <= j < σ`, `f = j/σ`:
//! `exp(-x²/2σ²) = exp(-k²/2) · exp(-(kf + f²/2))`. So: draw `k` in proportion to `exp(-k²/2)`, that is geometric with
//! ratio `exp(-1/2)` kept with probability `exp(-1/2)^(k(k-1))`; draw `j` uniformly; keep both with probability
//! `exp(-(kf + f²/2))`; draw a sign, and begin again at `-0`, which would count zero twice. The coins of probability
//! `exp(-1/2)` are tossed 64 at a time, one in each bit of a word.
//! The time a sample takes depends on its value; who can time single samples inside the confidential VM is outside the
//! threat model.

use rand_core::RngCore;

use super::bits::Bits;

/// Draws from the discrete Gaussian of one `σ`.
#[derive(Clone, Copy)]
pub(super) struct DiscreteGaussian {
    sigma: u64,
    /// `1/σ`, rounded.
    inverse: f64,
}

impl DiscreteGaussian {
    pub(super) fn new(sigma: u64) -> Self {
        Self {
            sigma,
            inverse: 1.0 / sigma as f64,
        }
    }

    /// A sample `x` with probability proportional to `exp(-x²/2σ²)`; see the header.
    #[inline]
    pub(super) fn sample(&self, bits: &mut Bits<impl RngCore>) -> i64 {
        loop {
            let k = whole_deviations(bits);
            let j = below(bits, self.sigma);
            if !self.stays(bits, k, j) {
                continue;
            }
            let negative = bits.fair_bit() == 1;
            let size = k.saturating_mul(self.sigma).saturating_add(j);
            if negative && size == 0 {
                continue;
            }
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            return if negative { -size } else { size };
        }
    }

    /// True with probability `exp(-(kf + f²/2))`, `f = j/σ`: as `k + 1` factors, so that each exponent is below 1.
    #[inline]
    fn stays(&self, bits: &mut Bits<impl RngCore>, k: u64, j: u64) -> bool {
        // γ = (2kf + f²) / (2k + 2), after eight roundings.
        let (f, whole) = (j as f64 * self.inverse, k as f64);
        let near = f * (2.0 * whole + f) * 0.5 * reciprocal(k + 1);
        let exact = || {
            let (k, j, sigma) = (u128::from(k), u128::from(j), u128::from(self.sigma));
            [j * (2 * k * sigma + j), 2 * sigma * sigma * (k + 1)]
        };
        for _ in 0..=k {
            if !bernoulli_exp(bits, near, exact) {
                return false;
            }
        }
        true
    }
}

/// `1/n`, rounded, without a division for the small numbers that there most often are.
#[inline]
fn reciprocal(n: u64) -> f64 {
    const SMALL: [f64; 9] = [
        f64::INFINITY,
        1.0,
        1.0 / 2.0,
        1.0 / 3.0,
        1.0 / 4.0,
        1.0 / 5.0,
        1.0 / 6.0,
        1.0 / 7.0,
        1.0 / 8.0,
    ];
    SMALL.get(n as usize).copied().unwrap_or(1.0 / n as f64)
}

/// `k >= 0` with probability proportional to `exp(-k²/2)`.
fn whole_deviations(bits: &mut Bits<impl RngCore>) -> u64 {
    loop {
        let k = bits.heads_before_tails();
        if k < 2 || bits.all_heads(k * (k - 1)) {
            return k;
        }
    }
}

/// True with probability `exp(-a/b)` for `a <= b`: Algorithm 1 of Canonne, Kamath and Steinke. The n-th trial succeeds
/// with probability `a/bn`; the first to fail is the n-th with probability `γ^(n-1)/(n-1)! - γ^n/n!`, and the sum over
/// odd n is the series of `exp(-γ)`.
#[inline]
fn bernoulli_exp(bits: &mut Bits<impl RngCore>, near: f64, exact: impl Fn() -> [u128; 2]) -> bool {
    let mut n = 1;
    while bernoulli(bits, near, n, &exact) {
        n += 1;
    }
    n % 2 == 1
}

/// True with probability `γ/n`, at most 1, where `exact` gives the numerator and the denominator of `γ` and `near` is `γ` to
/// within 2^-50 of it; `n` times the denominator is below 2^96 (here at most 2^81 times the small numbers `k + 1` and `n`,
/// whose product reaches 2^15 with probability below `exp(-500)`).
///
/// Compares a uniform `U` with the ratio 32 bits at a time: with `U = (word + U')/2^32`, `U < a/b` exactly where
/// `U' < (a 2^32 - b word)/b`, which is the same question for fresh bits.
///
/// The first word nearly always settles it, and then floating point tells which way: `near` decides only where the word is
/// further from it than it is from `γ`, so that the exact comparison would decide alike.
#[inline]
fn bernoulli(
    bits: &mut Bits<impl RngCore>,
    near: f64,
    n: u64,
    exact: impl Fn() -> [u128; 2],
) -> bool {
    let word = bits.next_u32();
    let above = near * TWO_32 * reciprocal(n) - f64::from(word);
    if above > 1.0 + NEAR_MARGIN {
        return true;
    }
    if above < -NEAR_MARGIN {
        return false;
    }
    let [mut numerator, denominator] = exact();
    let denominator = denominator * u128::from(n);
    let mut word = word;
    loop {
        let target = numerator << 32;
        let product = u128::from(word) * denominator;
        if product >= target {
            return false;
        }
        numerator = target - product;
        if numerator >= denominator {
            return true;
        }
        word = bits.next_u32();
    }
}

/// A word's share of one.
const TWO_32: f64 = 4_294_967_296.0;
/// Far more than all roundings of `near` and of what is computed from it: a dozen of 2^-53 in numbers below 2^33.
const NEAR_MARGIN: f64 = 1.0 / (1u64 << 12) as f64;

/// Uniform in `0..bound` (Lemire 2019, "Fast random integer generation in an interval": exact, by rejection).
#[inline]
fn below(bits: &mut Bits<impl RngCore>, bound: u64) -> u64 {
    if let Ok(bound) = u32::try_from(bound) {
        let mut product = u64::from(bits.next_u32()) * u64::from(bound);
        if (product as u32) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (product as u32) < threshold {
                product = u64::from(bits.next_u32()) * u64::from(bound);
            }
        }
        return product >> 32;
    }
    let mut product = u128::from(bits.next_u64()) * u128::from(bound);
    if (product as u64) < bound {
        let threshold = bound.wrapping_neg() % bound;
        while (product as u64) < threshold {
            product = u128::from(bits.next_u64()) * u128::from(bound);
        }
    }
    (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::super::bits::given::{script, seeded};
    use super::*;

    fn samples(sigma: u64, count: usize, seed: u64) -> Vec<i64> {
        let mut bits = seeded(seed);
        (0..count)
            .map(|_| DiscreteGaussian::new(sigma).sample(&mut bits))
            .collect()
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
        for sigma in [1u64 << 20, 1_234_567, 3 << 36, 1 << 40] {
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

    fn ratio(bits: &mut Bits<impl RngCore>, numerator: u128, denominator: u128) -> bool {
        let near = numerator as f64 / denominator as f64;
        bernoulli(bits, near, 1, || [numerator, denominator])
    }

    #[test]
    fn floating_point_and_integers_decide_alike() {
        // As near to the ratio as words come, and the neighbours of each.
        for (a, b) in [
            (1u128, 3u128),
            (2, 7),
            (1 << 40, (1 << 41) + 1),
            (12_345, 1 << 20),
            (1, 1 << 31),
        ] {
            let nearest = ((a << 32) / b) as u32;
            for word in nearest.saturating_sub(3)..=nearest.saturating_add(3) {
                let below = u128::from(word) * b;
                // What is left open is settled by the second word: zero is below what is left, all ones most often not.
                for (next, expect) in [(0, below < a << 32), (u32::MAX, below + b <= a << 32)] {
                    let mut bits = script(&[word, next, next]);
                    assert_eq!(ratio(&mut bits, a, b), expect, "{a}/{b} {word} {next}");
                }
            }
        }
    }

    #[test]
    fn bernoulli_is_true_as_often_as_its_ratio_says() {
        let mut bits = seeded(3);
        let large = 1u128 << 90;
        for (a, b) in [
            (0, 5),
            (5, 5),
            (1, 3),
            (2, 7),
            (large - 1, large),
            (large / 3, large + 12_345),
        ] {
            let count = 200_000;
            let hits = (0..count).filter(|_| ratio(&mut bits, a, b)).count() as f64;
            let p = a as f64 / b as f64;
            let deviation = (p * (1.0 - p) * f64::from(count)).sqrt();
            assert!(
                (hits - p * f64::from(count)).abs() <= 5.0 * deviation + 0.5,
                "{a}/{b}: {hits}"
            );
        }
    }

    #[test]
    fn bits_that_do_not_settle_a_comparison_are_followed_by_more() {
        let third = u32::MAX / 3;
        // 1/3 in binary is 01 repeated: the word `third` is its own prefix, whatever follows decides.
        for (words, expect) in [
            (vec![third - 1], true),
            (vec![third + 1], false),
            (vec![third, third - 1], true),
            (vec![third, third + 1], false),
            (vec![third, third, 0], true),
            (vec![third, third, u32::MAX], false),
        ] {
            let mut bits = script(&words);
            assert_eq!(ratio(&mut bits, 1, 3), expect, "{words:x?}");
            assert!(bits.is_used_up(), "{words:x?}: words left over");
        }
    }

    #[test]
    fn the_first_trial_that_fails_decides_by_its_parity() {
        // γ = 1: the trials have probability 1, 1/2, 1/3. Zero succeeds below them, all ones fail.
        for (words, expect) in [
            (vec![0, u32::MAX], false),
            (vec![0, 0, u32::MAX], true),
            (vec![0, 0, 0, u32::MAX], false),
        ] {
            let mut bits = script(&words);
            assert_eq!(
                bernoulli_exp(&mut bits, 1.0, || [1, 1]),
                expect,
                "{words:x?}"
            );
            assert!(bits.is_used_up(), "{words:x?}: words left over");
        }
    }

    #[test]
    fn whole_deviations_have_gaussian_weights() {
        let mut bits = seeded(6);
        let weight = |k: u32| (-f64::from(k * k) / 2.0).exp();
        let norm: f64 = (0..20).map(weight).sum();
        let mut probabilities: Vec<f64> = (0..4).map(|k| weight(k) / norm).collect();
        probabilities.push(1.0 - probabilities.iter().sum::<f64>());
        let mut counts = [0; 5];
        for _ in 0..1_000_000 {
            counts[whole_deviations(&mut bits).min(4) as usize] += 1;
        }
        assert_fits(&counts, &probabilities, "whole deviations");
    }
}
