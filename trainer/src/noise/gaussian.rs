//! The discrete Gaussian, sampled exactly.
//!
//! **Exactly** means: the probability of `x` is proportional to `ρ(x) = exp(-x²/2σ²)`, given uniform bits. Every decision
//! compares integers, or random bits with an exponential, drawing further bits until it is settled; floating point is asked
//! first, and decides only where its error bound leaves no doubt (a part of 2^-30 of the rare cases that ask it at all).
//! Truncation of the support (to 72 σ or more) has probability below `exp(-2500)`.
//!
//! **How**: by rejection from a staircase. Sizes `|x|` are cut into [`STRIPS`] strips of a width `w` that is a power of two.
//! With `H` some large integer, each strip has integers `low <= H ρ(x) <= high` for all its `x`, and two *pieces*: a
//! certain one of the weight `low`, and an uncertain one of the weight `high - low`. A piece is drawn with a probability of
//! exactly its weight over [`TOTAL`], by an alias table (Walker 1977; Vose 1991) in integers, and a place in the strip
//! uniformly. A certain piece gives its `x` at once. An uncertain one draws `v` uniformly from `[low, high)`, keeps `x` where
//! `v < H ρ(x)`, and otherwise all begins again. So a round ends with `x` with the probability
//!
//! `low/(TOTAL w) + (high - low)/(TOTAL w) · (H ρ(x) - low)/(high - low) = H ρ(x)/(TOTAL w)`.
//!
//! Beyond the strips lies one more piece of the weight [`TAIL_WEIGHT`]: uniform over [`TAIL_STRIPS`] further strips, and kept
//! with probability `F H ρ(x)`, `F` = [`TAIL_FACTOR`], which is below 1 there: `TAIL_WEIGHT/(TOTAL TAIL_STRIPS w) · F H ρ(x)`
//! is the same `H ρ(x)/(TOTAL w)`. What weight is left over begins again. Then a sign is drawn; `-0`, which would count zero
//! twice, begins again.
//! Nearly all samples take one word of 64 bits and one look at a table of 8 KiB.
//!
//! The time a sample takes depends on its value; who can time single samples inside the confidential VM is outside the
//! threat model.

use rand_core::RngCore;

use super::bits::Bits;
use super::exponential::is_below;

/// Draws from the discrete Gaussian of one `σ`.
pub(super) struct DiscreteGaussian {
    sigma: u64,
    /// `1/σ`, rounded.
    inverse: f64,
    /// The width of a strip is 2 to this power.
    shift: u32,
    /// `H`.
    height: u64,
    strips: Box<[Strip; STRIPS]>,
    /// For each column the weight of its own piece, and above that the number of the piece that has the rest.
    columns: Box<[u64; COLUMNS]>,
}

/// Whole numbers between which `H ρ(x)` lies for every `x` of a strip.
#[derive(Clone, Copy, Default)]
struct Strip {
    low: u64,
    high: u64,
}

/// Strips; the certain piece of the strip `i` is number `i`, the uncertain one number `COLUMNS / 2 + i`.
const STRIPS: usize = COLUMNS / 2 - 1;
/// Columns of the alias table, and pieces.
const COLUMNS: usize = 1024;
/// The piece that begins again.
const NOTHING: usize = STRIPS;
/// The piece beyond the strips.
const TAIL: usize = COLUMNS - 1;
/// Weight of a column.
const COLUMN_WEIGHT: u64 = 1 << 32;
/// Weight of all pieces.
const TOTAL: u64 = COLUMNS as u64 * COLUMN_WEIGHT;

/// See the header: `TAIL_WEIGHT · TAIL_FACTOR = TAIL_STRIPS`.
const TAIL_WEIGHT: u64 = 16;
const TAIL_STRIPS: u64 = 4096;
const TAIL_FACTOR: u64 = TAIL_STRIPS / TAIL_WEIGHT;

/// Samples whose first words are drawn together.
const BLOCK: usize = 256;
/// Bits of a word that are left for sign and place when a column and a part of its weight are drawn.
const PLACE_BITS: u32 = 21;

impl DiscreteGaussian {
    /// The tables for a `σ` of 1 to 2^40.
    pub(super) fn new(sigma: u64) -> Self {
        // σ/64 < w <= σ/32, or 1: the strips reach to 7.98 σ or more, and a fortieth of the weight or less is uncertain.
        let shift = (sigma / 32).checked_ilog2().unwrap_or(0);
        let mut own = Self {
            sigma,
            inverse: 1.0 / sigma as f64,
            shift,
            height: 0,
            strips: Box::new([Strip::default(); STRIPS]),
            columns: Box::new([0; COLUMNS]),
        };
        let weights = own.weights();
        own.fill_columns(weights);
        own
    }

    /// Chooses `H` and the strips, as high as the weight of all pieces allows, and gives each piece's weight.
    fn weights(&mut self) -> [u64; COLUMNS] {
        let width = 1u64 << self.shift;
        let ends: Vec<[f64; 2]> = (0..STRIPS as u64)
            .map(|strip| [strip * width, strip * width + width - 1].map(|x| self.density(x)))
            .collect();
        let sum: f64 = ends.iter().map(|[first, _]| first).sum();
        self.height =
            ((TOTAL - TAIL_WEIGHT - 4 * STRIPS as u64) as f64 / (sum * (1.0 + 1e-9))) as u64;
        let mut weights = [0; COLUMNS];
        let mut left = TOTAL - TAIL_WEIGHT;
        for (strip, [first, last]) in ends.into_iter().enumerate() {
            let [low, high] = [self.enclose(last)[0], self.enclose(first)[1]];
            self.strips[strip] = Strip { low, high };
            weights[strip] = low;
            weights[COLUMNS / 2 + strip] = high - low;
            // `high` is at most `H ρ` and 2^-39 of it and 2: all together less than `TOTAL`.
            left -= high;
        }
        weights[TAIL] = TAIL_WEIGHT;
        weights[NOTHING] = left;
        weights
    }

    /// Deals the weights out to columns (Vose 1991): each holds part of its own piece, and the rest of it is one other's.
    fn fill_columns(&mut self, mut weights: [u64; COLUMNS]) {
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..COLUMNS).partition(|&piece| weights[piece] < COLUMN_WEIGHT);
        while let (Some(&own), Some(&other)) = (small.last(), large.last()) {
            small.pop();
            self.columns[own] = weights[own] | (other as u64) << 32;
            weights[other] -= COLUMN_WEIGHT - weights[own];
            if weights[other] < COLUMN_WEIGHT {
                large.pop();
                small.push(other);
            }
        }
        // As weights add up to those of all columns, those that are left are just full.
        for piece in small.into_iter().chain(large) {
            self.columns[piece] = (piece as u64) << 32;
        }
    }

    /// Adds to each number an independent sample `x` with probability proportional to `exp(-x²/2σ²)`; see the header.
    pub(super) fn add(&self, bits: &mut Bits<impl RngCore>, numbers: &mut [i64]) {
        let mut words = [0; BLOCK];
        for numbers in numbers.chunks_mut(BLOCK) {
            let words = &mut words[..numbers.len()];
            bits.fill(words);
            for (number, &word) in numbers.iter_mut().zip(&*words) {
                *number = number.saturating_add(self.sample(word, bits));
            }
        }
    }

    /// A sample, which begins with these bits.
    #[inline(always)]
    fn sample(&self, word: u64, bits: &mut Bits<impl RngCore>) -> i64 {
        // 10 bits for the column, 32 for a part of its weight, 1 for the sign, 21 for the place.
        let column = word >> 54;
        let entry = self.columns[column as usize];
        // All ones where the other piece is meant. Neither this nor the sign can be foreseen, so neither is a branch.
        let other = u64::from((word >> 22) as u32 >= entry as u32).wrapping_neg();
        let piece = column ^ ((column ^ entry >> 32) & other);
        let place = if self.shift <= PLACE_BITS {
            word
        } else {
            bits.next()
        } & ((1 << self.shift) - 1);
        let sign = (word >> PLACE_BITS & 1).wrapping_neg();
        let size = (piece << self.shift) + place;
        let signed = (size ^ sign).wrapping_sub(sign) as i64;
        if piece < STRIPS as u64 && (size | !sign) != 0 {
            return signed;
        }
        self.go_on(bits, piece as usize, place, sign != 0)
    }

    /// The end of a sample whose first bits did not settle it.
    #[cold]
    #[inline(never)]
    fn go_on(
        &self,
        bits: &mut Bits<impl RngCore>,
        piece: usize,
        place: u64,
        negative: bool,
    ) -> i64 {
        match self.uncertain(bits, piece, place) {
            Some(size) if size > 0 || !negative => {
                if negative {
                    -(size as i64)
                } else {
                    size as i64
                }
            }
            _ => self.sample(bits.next(), bits),
        }
    }

    /// The size that an uncertain piece gives, if it gives one.
    fn uncertain(&self, bits: &mut Bits<impl RngCore>, piece: usize, place: u64) -> Option<u64> {
        let at = |strip: u64| (strip << self.shift) + place;
        let (whole, factor, size) = match piece {
            NOTHING => return None,
            // It was a negative zero.
            _ if piece < STRIPS => return None,
            TAIL => {
                let strip = STRIPS as u64 + bits.below(TAIL_STRIPS);
                (0, TAIL_FACTOR * self.height, at(strip))
            }
            _ => {
                let strip = piece - COLUMNS / 2;
                let Strip { low, high } = self.strips[strip];
                let whole = low + bits.below(high - low);
                (whole, self.height, at(strip as u64))
            }
        };
        self.stays(bits, whole, factor, size).then_some(size)
    }

    /// True exactly where `whole + U < factor · ρ(x)` for a uniform `U`.
    #[inline]
    fn stays(&self, bits: &mut Bits<impl RngCore>, whole: u64, factor: u64, x: u64) -> bool {
        match self.apparently_stays(whole, factor, x) {
            Some(stays) => stays,
            None => is_below(bits, whole, factor, self.exponent(x)),
        }
    }

    /// The same by floating point, whatever `U` is; `None` where it cannot tell.
    fn apparently_stays(&self, whole: u64, factor: u64, x: u64) -> Option<bool> {
        let [low, high] = bounds(factor as f64 * self.density(x));
        // Numbers below 2^52, which are exact.
        let whole = whole as f64;
        if whole + 1.0 <= low {
            Some(true)
        } else if whole >= high {
            Some(false)
        } else {
            None
        }
    }

    /// Whole numbers below and above `H ρ(x)`, from what [`DiscreteGaussian::density`] gives for it.
    fn enclose(&self, density: f64) -> [u64; 2] {
        let [low, high] = bounds(self.height as f64 * density);
        [low.floor().max(0.0) as u64, high.ceil() as u64]
    }

    /// `ρ(x)`, nearly: see [`bounds`].
    #[inline]
    fn density(&self, x: u64) -> f64 {
        let f = x as f64 * self.inverse;
        libm::exp(-0.5 * f * f)
    }

    /// `x²/2σ²`.
    fn exponent(&self, x: u64) -> [u128; 2] {
        [
            u128::from(x) * u128::from(x),
            2 * u128::from(self.sigma) * u128::from(self.sigma),
        ]
    }
}

/// Numbers between which `factor · ρ(x)` lies, where it is computed as a product with [`DiscreteGaussian::density`] and
/// `factor` is below 2^52.
///
/// The exponent `y` has five roundings of 2^-53 each, and `libm::exp` errs by less than 2^-52 (it says; a test holds these
/// bounds against exact ones). For `y <= 128` that makes less than `2^-43 + 2^-50` of the value, an eighth of what is allowed
/// for here; beyond that the value is below `2^52 exp(-128) < 2^-130`, and its exponential is not larger.
fn bounds(value: f64) -> [f64; 2] {
    let error = value * (1.0 / (1u64 << 40) as f64) + 1.0 / (1u64 << 20) as f64;
    [value - error, value + error]
}

#[cfg(test)]
mod tests {
    use super::super::bits::given::{script, seeded};
    use super::super::exponential::floor;
    use super::*;

    fn samples(sigma: u64, count: usize, seed: u64) -> Vec<i64> {
        let mut samples = vec![0; count];
        DiscreteGaussian::new(sigma).add(&mut seeded(seed), &mut samples);
        samples
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

    const SIGMAS: [u64; 10] = [
        1,
        2,
        33,
        63,
        64,
        1_000,
        (1 << 20) + 7,
        1 << 22,
        3 << 36,
        1 << 40,
    ];

    #[test]
    fn pieces_have_exactly_their_weights() {
        let mut bits = seeded(5);
        let random = (0..300).map(|size| (bits.next() >> (24 + size % 40)).max(1));
        let sigmas: Vec<u64> = SIGMAS.into_iter().chain(random).collect();
        for sigma in sigmas {
            let gaussian = DiscreteGaussian::new(sigma);
            let mut found = [0u64; COLUMNS];
            for (column, entry) in gaussian.columns.iter().enumerate() {
                let own = entry & u64::from(u32::MAX);
                found[column] += own;
                found[(entry >> 32) as usize] += COLUMN_WEIGHT - own;
            }
            for (strip, &Strip { low, high }) in gaussian.strips.iter().enumerate() {
                assert_eq!(found[strip], low, "sigma {sigma}, strip {strip}");
                assert_eq!(found[COLUMNS / 2 + strip], high - low, "sigma {sigma}");
            }
            assert_eq!(found[TAIL], TAIL_WEIGHT);
            assert_eq!(found.iter().sum::<u64>(), TOTAL);
            // Little is left over, and little is uncertain where strips are narrow.
            assert!(
                found[NOTHING] < TOTAL / 10_000,
                "sigma {sigma}: {}",
                found[NOTHING]
            );
            let uncertain: u64 = found[COLUMNS / 2..].iter().sum();
            assert!(uncertain < TOTAL / 30, "sigma {sigma}: {uncertain}");
        }
    }

    #[test]
    fn strips_enclose_the_density_exactly() {
        for sigma in SIGMAS {
            let gaussian = DiscreteGaussian::new(sigma);
            let width = 1 << gaussian.shift;
            for (strip, &Strip { low, high }) in gaussian.strips.iter().enumerate() {
                let first = strip as u64 * width;
                let most = floor(gaussian.height, gaussian.exponent(first));
                let least = floor(gaussian.height, gaussian.exponent(first + width - 1));
                // Above what is rounded down: more than it, but for ρ(0) = 1.
                assert!(
                    high > most || (first == 0 && high == most),
                    "sigma {sigma}, strip {strip}"
                );
                assert!(low <= least && low <= high, "sigma {sigma}, strip {strip}");
                assert!(
                    high - most < 16 && least - low < 16,
                    "sigma {sigma}, strip {strip}"
                );
            }
        }
    }

    #[test]
    fn beyond_the_strips_pieces_go_on_with_the_same_probability() {
        assert_eq!(TAIL_WEIGHT * TAIL_FACTOR, TAIL_STRIPS);
        for sigma in SIGMAS {
            let gaussian = DiscreteGaussian::new(sigma);
            let reach = (STRIPS as u64) << gaussian.shift;
            assert!(reach as f64 >= 7.98 * sigma as f64);
            assert_eq!(
                floor(TAIL_FACTOR * gaussian.height, gaussian.exponent(reach)),
                0
            );
            let end = (STRIPS as u64 + TAIL_STRIPS) << gaussian.shift;
            assert!((end as f64 / sigma as f64).powi(2) / 2.0 > 2_500.0);
        }
    }

    #[test]
    fn a_size_beyond_the_strips_is_kept_as_often_as_its_density_says() {
        let gaussian = DiscreteGaussian::new(127);
        assert_eq!(gaussian.shift, 1);
        let expect: f64 = (511u64..511 + TAIL_STRIPS)
            .map(|strip| gaussian.density(2 * strip + 1))
            .sum::<f64>()
            * (TAIL_FACTOR * gaussian.height) as f64
            / TAIL_STRIPS as f64;
        let (mut bits, count) = (seeded(4), 4_000_000);
        let kept = (0..count)
            .filter_map(|_| gaussian.uncertain(&mut bits, TAIL, 1))
            .inspect(|size| assert!(size % 2 == 1 && *size > 1_022))
            .count() as f64;
        let expect = expect * f64::from(count);
        assert!(
            expect > 500.0 && (kept - expect).abs() < 5.0 * expect.sqrt(),
            "{kept} {expect}"
        );
    }

    #[test]
    fn floating_point_decides_as_exact_arithmetic_does_or_not_at_all() {
        for sigma in SIGMAS {
            let gaussian = DiscreteGaussian::new(sigma);
            let mut undecided = 0;
            for part in 0..200 {
                let x = part * sigma / 25 + part % 3;
                let nearest = floor(gaussian.height, gaussian.exponent(x));
                for whole in nearest.saturating_sub(3)..=nearest + 3 {
                    let apparently = gaussian.apparently_stays(whole, gaussian.height, x);
                    undecided += u32::from(apparently.is_none());
                    let exactly = |word: u64| {
                        // What a word leaves open, the next one settles.
                        let mut bits = script(&[word, 0x5555 << 48, 0x5555 << 48]);
                        is_below(&mut bits, whole, gaussian.height, gaussian.exponent(x))
                    };
                    let [least, most] = [exactly(1), exactly(u64::MAX - 1)];
                    if let Some(apparently) = apparently {
                        assert_eq!([least, most], [apparently; 2], "sigma {sigma} {x} {whole}");
                    }
                    // The whole number that the density lies in is open, whatever is around it may be.
                    if whole == nearest && x > 0 {
                        assert_eq!(apparently, None, "sigma {sigma} {x}");
                    }
                }
            }
            assert!(
                (200..1200).contains(&undecided),
                "sigma {sigma}: {undecided}"
            );
        }
    }

    #[test]
    fn what_floating_point_leaves_open_is_settled_by_further_words() {
        // σ = 2^20, x = σ: H exp(-1/2), whose fraction is known from exact arithmetic.
        let gaussian = DiscreteGaussian::new(1 << 20);
        let (x, height) = (1 << 20, gaussian.height);
        let whole = floor(height, [1, 2]);
        // 2^20 times as much shows 20 bits of the fraction.
        let fraction = floor(height << 20, [1, 2]) - (whole << 20);
        assert_eq!(gaussian.apparently_stays(whole, height, x), None);
        for (word, expect) in [(fraction - 1, true), (fraction + 1, false)] {
            let mut bits = script(&[word << 44]);
            assert_eq!(gaussian.stays(&mut bits, whole, height, x), expect);
            assert!(bits.is_used_up());
        }
        // A word is drawn only where it is needed.
        assert!(gaussian.stays(&mut script(&[]), whole - 1, height, x));
        assert!(!gaussian.stays(&mut script(&[]), whole + 1, height, x));
    }

    #[test]
    fn minus_zero_and_what_is_left_over_begin_again() {
        let gaussian = DiscreteGaussian::new(1 << 20);
        let sample = |first: u64, others: &[u64]| {
            let mut bits = script(others);
            let sample = gaussian.sample(first, &mut bits);
            assert!(bits.is_used_up());
            sample
        };
        // Column 0 with the least of its weight is the certain piece of the first strip; bit 21 is the sign.
        assert_eq!(sample(5, &[]), 5);
        assert_eq!(sample(1 << 21 | 5, &[]), -5);
        assert_eq!(sample(0, &[]), 0);
        assert_eq!(sample(1 << 21, &[7]), 7);
        assert!(gaussian.columns[NOTHING] as u32 > 0);
        assert_eq!(sample((NOTHING as u64) << 54, &[9]), 9);
    }

    #[test]
    fn an_uncertain_piece_is_kept_below_the_density_and_drawn_anew_above_it() {
        let gaussian = DiscreteGaussian::new(1 << 20);
        let (strip, place) = (40u64, 77u64);
        let x = (strip << gaussian.shift) + place;
        let Strip { low, high } = gaussian.strips[strip as usize];
        let border = floor(gaussian.height, gaussian.exponent(x)) - low;
        assert!(border > 1 && border + 1 < high - low);
        // A word from which Lemire's product gives a number, well away from those that are passed over.
        let word =
            |number: u64| ((u128::from(number) << 64) / u128::from(high - low)) as u64 + (1 << 20);
        let piece = COLUMNS / 2 + strip as usize;
        let draw = |number: u64, others: &[u64]| {
            let words: Vec<u64> = [word(number)].iter().chain(others).copied().collect();
            let mut bits = script(&words);
            let sample = gaussian.go_on(&mut bits, piece, place, true);
            assert!(bits.is_used_up());
            sample
        };
        assert_eq!(draw(border - 1, &[]), -(x as i64));
        assert_eq!(draw(border + 1, &[3]), 3);
    }
}
