//! Comparing a random number with a multiple of `exp(-a/b)`, exactly: bits of the one and bounds of the other are made
//! until they part.

use std::cmp::Ordering;

use rand_core::RngCore;

use super::bits::Bits;

/// True exactly where `whole + U < factor · exp(-a/b)`, for a `U` uniform in `[0, 1)` that is drawn as far as it takes.
/// `factor` and `whole` are below 2^62, `b` is at least 1 and below 2^96.
///
/// Ends with probability 1: each round halves, 64 times over, the interval that `U` is known to lie in, and bounds the
/// other side as tightly; they stay joined only while the one point lies in the interval of the other.
pub(super) fn is_below(
    bits: &mut Bits<impl RngCore>,
    whole: u64,
    factor: u64,
    exponent: [u128; 2],
) -> bool {
    let mut drawn: Vec<u32> = Vec::new();
    loop {
        let word = bits.next();
        drawn.extend([(word >> 32) as u32, word as u32]);
        let [low, high] = bounds(factor, exponent, drawn.len() + GUARD);
        // The number lies in [from, to).
        let mut from = Fixed::whole(whole, drawn.len() + GUARD);
        for (limb, &word) in from.fraction().rev().zip(&drawn) {
            *limb = word;
        }
        let mut to = from.clone();
        to.add_at(GUARD, 1);
        if to <= low {
            return true;
        }
        if from >= high {
            return false;
        }
    }
}

/// Limbs beyond those of `U`: the factor's 62 bits.
const GUARD: usize = 2;

/// Numbers below and above `factor · exp(-a/b)`, with so many limbs behind the point.
///
/// `exp(-z)` for `z = a/(b 2^r) < 1/2` by its series, then squared `r` times, each time rounded down for the one and up for
/// the other.
fn bounds(factor: u64, [a, b]: [u128; 2], limbs: usize) -> [Fixed; 2] {
    let factor = Fixed::whole(factor, limbs);
    let mut least = Fixed::whole(0, limbs);
    if a / b >= 32 * limbs as u128 {
        // exp(-y) < 2^-y.
        let zero = least.clone();
        least.add_at(0, 1);
        return [zero, factor.times(&least)];
    }
    let halvings = 2 + (a / b).checked_ilog2().unwrap_or(0);
    // a < d/2, so that all of z lies behind the point; d < 2^96 · 2^(7 + log2 limbs), which 128 bits hold.
    let divisor = b << halvings;
    let mut z = Fixed::whole(0, limbs);
    let mut remainder = a;
    for limb in z.fraction().rev() {
        let (digit, rest) = divide(remainder, divisor);
        (*limb, remainder) = (digit, rest);
    }
    // In units of the last place: z is less than one too small. If a term is too small by e, the next is by less than
    // (e z + t + 1)/n + 1 <= (e/2 + 2)/n + 1 with t <= 1, that is by at most 3 from the first on. The one that comes out as
    // zero is at most 3 therefore, and those behind it add up to no more: in all at most 3(n - 1) + 6.
    let (mut term, mut sum, mut n) = (Fixed::whole(1, limbs), Fixed::whole(1, limbs), 1);
    loop {
        term = term.times(&z).divided(n);
        if term.is_zero() {
            break;
        }
        if n % 2 == 1 {
            sum.subtract(&term);
        } else {
            sum.add(&term);
        }
        n += 1;
    }
    let mut error = Fixed::whole(0, limbs);
    error.add_at(0, 3 * n + 3);
    let (mut low, mut high) = (sum.clone(), sum);
    low.subtract(&error);
    high.add(&error);
    for _ in 0..halvings {
        low = low.times(&low);
        high = high.times(&high);
        high.add_at(0, 1);
    }
    // A whole number times a number is exact.
    [factor.times(&low), factor.times(&high)]
}

/// The next 32 bits of `remainder / divisor`, which is below 1, and what remains then.
fn divide(remainder: u128, divisor: u128) -> (u32, u128) {
    let (mut digit, mut rest) = (0, remainder);
    for _ in 0..32 {
        digit <<= 1;
        rest <<= 1;
        if rest >= divisor {
            rest -= divisor;
            digit |= 1;
        }
    }
    (digit, rest)
}

/// A number from 0 to 2^64 with a fixed point; limbs of 32 bits, the least first, the last two before the point.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fixed(Vec<u32>);

impl Fixed {
    fn whole(number: u64, limbs: usize) -> Self {
        let mut own = vec![0; limbs + 2];
        own[limbs] = number as u32;
        own[limbs + 1] = (number >> 32) as u32;
        Self(own)
    }

    /// Limbs behind the point.
    fn fraction(&mut self) -> impl DoubleEndedIterator<Item = &mut u32> {
        let limbs = self.0.len() - 2;
        self.0[..limbs].iter_mut()
    }

    fn is_zero(&self) -> bool {
        self.0.iter().all(|&limb| limb == 0)
    }

    /// Adds a small number of units of one limb.
    fn add_at(&mut self, limb: usize, number: u32) {
        let mut carry = u64::from(number);
        for own in &mut self.0[limb..] {
            carry += u64::from(*own);
            *own = carry as u32;
            carry >>= 32;
        }
    }

    fn add(&mut self, other: &Self) {
        let mut carry = 0;
        for (own, &other) in self.0.iter_mut().zip(&other.0) {
            carry += u64::from(*own) + u64::from(other);
            *own = carry as u32;
            carry >>= 32;
        }
    }

    /// Takes away a number that is not larger.
    fn subtract(&mut self, other: &Self) {
        let mut carry = 0i64;
        for (own, &other) in self.0.iter_mut().zip(&other.0) {
            carry += i64::from(*own) - i64::from(other);
            *own = carry as u32;
            carry >>= 32;
        }
    }

    /// The product, rounded down.
    fn times(&self, other: &Self) -> Self {
        let limbs = self.0.len() - 2;
        let mut product = vec![0u32; 2 * self.0.len()];
        for (place, &own) in self.0.iter().enumerate() {
            let mut carry = 0;
            for (target, &other) in product[place..].iter_mut().zip(&other.0) {
                carry += u64::from(*target) + u64::from(own) * u64::from(other);
                *target = carry as u32;
                carry >>= 32;
            }
            product[place + self.0.len()] = carry as u32;
        }
        Self(product[limbs..2 * limbs + 2].to_vec())
    }

    /// The quotient, rounded down.
    fn divided(mut self, divisor: u32) -> Self {
        let mut remainder = 0;
        for limb in self.0.iter_mut().rev() {
            let dividend = remainder << 32 | u64::from(*limb);
            *limb = (dividend / u64::from(divisor)) as u32;
            remainder = dividend % u64::from(divisor);
        }
        self
    }
}

impl Ord for Fixed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }
}

impl PartialOrd for Fixed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// For tests: `factor · exp(-a/b)` rounded down, and whether it is a whole number.
#[cfg(test)]
pub(super) fn floor(factor: u64, exponent: [u128; 2]) -> u64 {
    let [low, high] = bounds(factor, exponent, 8);
    let whole = |number: &Fixed| {
        let limbs = number.0.len() - 2;
        u64::from(number.0[limbs]) | u64::from(number.0[limbs + 1]) << 32
    };
    assert!(exponent[0] == 0 || whole(&low) == whole(&high));
    whole(&high)
}

#[cfg(test)]
mod tests {
    use super::super::bits::given::{script, seeded};
    use super::*;

    fn digits(number: &Fixed) -> Vec<u32> {
        number.0.iter().rev().skip(2).copied().collect()
    }

    #[test]
    fn bounds_enclose_the_exponential_closely() {
        for (exponent, expect) in KNOWN {
            for limbs in [4, 5, 9, 20] {
                let [low, high] = bounds(1, exponent, limbs);
                assert!(low < high);
                assert_eq!(digits(&low)[..3], expect, "{exponent:?}");
                assert_eq!(digits(&high)[..3], expect, "{exponent:?}");
                let mut gap = high;
                gap.subtract(&low);
                assert!(
                    gap.0[1..].iter().all(|&limb| limb == 0),
                    "{exponent:?}: {gap:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_too_small_for_the_limbs_lies_between_zero_and_the_last_place() {
        let [low, high] = bounds(3, [1 << 90, 5], 4);
        assert!(low.is_zero());
        assert_eq!(high.0, [3, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn numbers_far_off_are_settled_by_one_word_and_near_ones_by_more() {
        // exp(-1) = 0.367879441171442321...; its first 64 bits are the number of these.
        let first = u64::from(KNOWN[0].1[0]) << 32 | u64::from(KNOWN[0].1[1]);
        for (words, expect) in [
            (vec![0], true),
            (vec![u64::MAX], false),
            (vec![first - 1], true),
            (vec![first + 1], false),
            (vec![first, 0], true),
            (vec![first, u64::MAX], false),
        ] {
            let mut bits = script(&words);
            assert_eq!(is_below(&mut bits, 0, 1, [1, 1]), expect, "{words:x?}");
            assert!(bits.is_used_up(), "{words:x?}: words left over");
        }
    }

    #[test]
    fn whole_numbers_count() {
        // 10^9 exp(-1) = 367879441.17...
        let check = |exponent, whole, words: &[u64], expect| {
            assert_eq!(
                is_below(&mut script(words), whole, 1_000_000_000, exponent),
                expect,
                "{whole} {words:x?}"
            );
        };
        check([7, 7], 367_879_440, &[u64::MAX], true);
        check([7, 7], 367_879_442, &[0], false);
        check([7, 7], 367_879_441, &[u64::MAX / 100 * 17], true);
        check([7, 7], 367_879_441, &[u64::MAX / 100 * 18], false);
        assert_eq!(floor(1_000_000_000, [7, 7]), 367_879_441);
        // exp(-0) = 1: below it is whatever is not a carry away.
        check([0, 7], 999_999_999, &[u64::MAX, 0], true);
        check([0, 7], 1_000_000_000, &[0, 0, 1], false);
    }

    #[test]
    fn it_is_true_as_often_as_the_exponential_says() {
        let mut bits = seeded(3);
        for exponent in [[1, 3], [1, 2], [5, 1], [(1 << 95) - 1, 1 << 94]] {
            let count = 20_000;
            let hits = (0..count)
                .filter(|_| is_below(&mut bits, 0, 1, exponent))
                .count() as f64;
            let p = (-(exponent[0] as f64) / exponent[1] as f64).exp();
            let deviation = (p * (1.0 - p) * f64::from(count)).sqrt();
            assert!(
                (hits - p * f64::from(count)).abs() < 5.0 * deviation,
                "{exponent:?}: {hits}"
            );
        }
    }

    /// Exponents, and the first 96 bits of their exponentials by Python's `decimal` with 80 digits.
    const KNOWN: [([u128; 2], [u32; 3]); 5] = [
        ([1, 1], [0x5e2d_58d8, 0xb3bc_df1a, 0xbade_c782]),
        ([1, 2], [0x9b45_97e3, 0x7cb0_4ff3, 0xd675_a355]),
        ([10, 1], [0x0002_f9af, 0x36ac_8f93, 0x538b_648e]),
        ([1, 1_000_000_007], [0xffff_fffb, 0xb47d_0680, 0xa41a_678d]),
        (
            [(1 << 95) - 1, 1 << 94],
            [0x22a5_5547, 0x7f03_973f, 0xb6ed_d5c2],
        ),
    ];
}
