//! Upper bounds of the moments of the subsampled Gaussian's privacy loss, for the mechanism as it runs:
//! integer gradients and discrete Gaussian noise.
//!
//! Let `μ0` be the discrete Gaussian of parameter `σ` on `Z^d`, `μ1` the same shifted by the integer vector `v` of the
//! record in question, `r = μ1/μ0`, and `A_α = Σ_x μ0(x) (1 - q + q r(x))^α`; then `(α - 1) D_α = log A_α` for the
//! divergence of "with the record" from "without it". The other records' sample shifts both by the same integer
//! vector, which the lattice does not see, and mixing over that sample does not increase the divergence
//! (joint quasi-convexity). We bound `log A_α`; it grows with `|v|/σ`, which clipping keeps at most `1/z`.
//!
//! **The other direction**, `A'_α = Σ_x μ0(x) (1 - q + q r(x))^(1 - α)`, is never larger: `x -> v - x` maps the lattice
//! to itself, swaps `μ0` and `μ1` and turns `r` into `1/r`, which is all that Theorem 5 of Mironov, Talwar and Zhang
//! (2019, arXiv:1908.10530) uses. The test `removing_a_record_is_no_worse` sums both directions over a lattice.
//!
//! **Integer orders** (their section 3.3). Expanding the power, `A_α = Σ_k C(α,k) (1-q)^(α-k) q^k E[r^k]`, and
//! `E[r^k] = exp((k² - k)|v|²/2σ²) · Σ_x exp(-|x - kv|²/2σ²) / Σ_x exp(-|x|²/2σ²)`. For integer `k` and `v` the shift
//! `kv` is a lattice vector, so both sums are equal: the continuous formula holds **exactly**. The binomial weights sum
//! to 1 and `E[r^0] = E[r^1] = 1`, hence `A_α - 1 = Σ_{k>=2} C(α,k) (1-q)^(α-k) q^k (exp((k² - k)/2z²) - 1)`: only
//! positive terms, so nothing cancels and each may be rounded up on its own.
//!
//! **Real orders at q = 1**: `E[r^α]` is the above with `k = α`, and the ratio of sums is at most 1 for every real shift,
//! since by Poisson summation the numerator is a cosine series with positive coefficients. So
//! `log A_α <= (α² - α)/2z²`.
//!
//! **Real orders at q < 1**. Poisson summation: `Σ_{x in Z^d} F(x) = Σ_{k in Z^d} F^(k)` with
//! `F(x) = exp(-|x|²/2σ²) (1 - q + q e^{w(x)})^α`, `w(x) = (2<x,v> - |v|²)/2σ²`. The term `k = 0` is the integral, that
//! is the continuous mechanism. For `k != 0` move the contour by `-i s k/|k|` with `s = cσ`, `c = min(1, πz/2)`: the
//! imaginary part of `w` stays within `c/z <= π/2`, so the bracket stays in the right half plane (no branch is
//! crossed) and its modulus is at most its value on the real axis; `|exp(-|x|²/2σ²)|` grows by `e^{c²/2}`. Therefore
//! `|F^(k)| <= F^(0) e^{c²/2 - 2πcσ|k|}`. With `|k| >= |k|_1/√d` the sum over `k != 0` is at most
//! `e^{c²/2} ((1 + 2ρ/(1-ρ))^d - 1)` with `ρ = e^{-2πcσ/√d}`. The grid keeps `σ/√d >= 2^10 z`; for `z >= 0.1` and
//! `d <= 2^40` this is below `2^-80`. The normaliser only helps (its own series has positive terms). So the lattice
//! exceeds the integral by a factor of at most `1 + 2^-80`; below `z = 0.1` this argument is not used.
//! The *same* lemma with `d = 1` and a coarser lattice of step `h = cz/8` says that the trapezoidal rule gives the
//! integral within a factor `1 ± 2 e^{c²/2} e^{-16π}/(1 - e^{-16π})`, below `1 ± 10^-21`. That rule is what is computed,
//! on the integrand `g (X^α - 1 - α(X - 1))` with `X = 1 - q + q e^w`, which is non-negative (Bernoulli) and integrates
//! to `A_α - 1` because `E[X] = 1`.
//!
//! **Convexity**: `log A_α` is convex in `α` (a log-moment generating function) with `log A_1 = 0`; where the integral is
//! not used, or is no better, the chord between neighbouring integers is the bound.

use std::f64::consts::PI;

/// Rounding errors of a log term are charged as this share of the magnitudes that went into it; the largest come from
/// sums of up to 4,096 logarithms, 2^-41 each.
const SLACK: f64 = 1.0 / (1u64 << 40) as f64;
/// The relative error of one term of the integrand, after cancellation near `X = 1`.
const INTEGRAND_SLACK: f64 = 1e-10;
/// Of the trapezoidal rule and of the lattice together, relative to the moment; see the header.
const QUADRATURE_ERROR: f64 = 1e-21;
/// The integral is used from this multiplier on; see the header.
const SMALLEST_INTEGRATED: f64 = 0.1;
/// The integral is cut this many deviations from where its mass lies, and half a deviation further for the step.
const REACH: f64 = 12.0;

/// The orders at which moments are bounded: reals near 1, where large epsilons have their best order; every integer
/// to 256; then ever sparser ones for small epsilons.
pub(crate) fn orders() -> Vec<f64> {
    let reals = [1.01, 1.02, 1.05].into_iter().chain(
        (11..110)
            .filter(|t| t % 10 != 0)
            .map(|t| f64::from(t) / 10.0),
    );
    let mut orders: Vec<f64> = reals
        .chain(INTEGERS.map(f64::from))
        .chain(SPARSE.map(f64::from))
        .collect();
    orders.sort_by(f64::total_cmp);
    orders
}

const INTEGERS: std::ops::RangeInclusive<u32> = 2..=256;
const SPARSE: [u32; 8] = [384, 512, 768, 1024, 1536, 2048, 3072, 4096];

/// Upper bounds of `log A_α` at [`orders`], in their order; infinite where the moment is beyond `f64`.
pub(crate) fn log_moments(q: f64, z: f64) -> Vec<f64> {
    let orders = orders();
    if q >= 1.0 {
        return orders
            .iter()
            .map(|a| a * (a - 1.0) / (2.0 * z * z) * (1.0 + SLACK))
            .collect();
    }
    let largest = SPARSE[SPARSE.len() - 1] as usize;
    let terms = BinomialTerms::new(q, z, largest);
    let mut integer = [0.0; 13];
    for (n, value) in integer.iter_mut().enumerate().skip(2) {
        *value = terms.log_moment(n);
    }
    let bound = |&order: &f64| {
        if order.fract() == 0.0 {
            return terms.log_moment(order as usize);
        }
        let (below, share) = (order.floor() as usize, order.fract());
        let chord = ((1.0 - share) * integer[below] + share * integer[below + 1]) * (1.0 + SLACK);
        if z < SMALLEST_INTEGRATED {
            chord
        } else {
            chord.min(integrated_log_moment(order, q, z))
        }
    };
    orders.iter().map(bound).collect()
}

/// What the terms of all integer orders share: `log k!` and `k log q + log(exp((k² - k)/2z²) - 1)`.
struct BinomialTerms {
    log_factorial: Vec<f64>,
    log_excess: Vec<f64>,
    log_keep_out: f64,
}

impl BinomialTerms {
    fn new(q: f64, z: f64, largest: usize) -> Self {
        let mut log_factorial = vec![0.0; largest + 1];
        for n in 2..=largest {
            log_factorial[n] = log_factorial[n - 1] + (n as f64).ln();
        }
        let log_excess = (0..=largest)
            .map(|k| {
                let (k, join) = (k as f64, k as f64 * q.ln());
                let exponent = k * (k - 1.0) / (2.0 * z * z);
                join + log_exp_minus_1(exponent) + SLACK * (join.abs() + exponent)
            })
            .collect();
        Self {
            log_factorial,
            log_excess,
            log_keep_out: (-q).ln_1p(),
        }
    }

    /// `log A_n` for an integer order `n >= 2`.
    fn log_moment(&self, n: usize) -> f64 {
        let whole = self.log_factorial[n];
        let term = |k: usize| {
            let (a, b, out) = (
                self.log_factorial[k],
                self.log_factorial[n - k],
                (n - k) as f64 * self.log_keep_out,
            );
            whole - a - b + out + self.log_excess[k] + SLACK * (whole + a + b - out)
        };
        log_1_plus_exp(log_sum_exp((2..=n).map(term))) * (1.0 + SLACK)
    }
}

/// `log A_α` for real `α > 1`, by the trapezoidal rule with every error added on top.
fn integrated_log_moment(order: f64, q: f64, z: f64) -> f64 {
    let variance = z * z;
    let step = (PI * z / 2.0).min(1.0) * z / 8.0;
    let log_weight = step.ln() - (z * (2.0 * PI).sqrt()).ln();
    let first = (-(REACH + 0.5) * z / step).floor() as i64;
    let last = ((order + (REACH + 0.5) * z) / step).ceil() as i64;
    let terms = (first..=last).map(|i| {
        let x = i as f64 * step;
        let gauss = -x * x / (2.0 * variance);
        let loss = (2.0 * x - 1.0) / (2.0 * variance);
        let (power, magnitude) = log_bernoulli_excess(order, q, loss);
        gauss + log_weight + power + INTEGRAND_SLACK + SLACK * (magnitude - gauss)
    });
    let sum = log_sum_exp(terms);
    // X <= 2 max(1, q r), so X^α <= 2^α (1 + q^α r^α); g r^α is a Gaussian around α times exp((α² - α)/2z²).
    let far = order * (order - 1.0) / (2.0 * variance) + order * q.ln();
    let tails = order * 2f64.ln() + log_1_plus_exp(far) - REACH * REACH / 2.0;
    let left_tail = order.ln() - REACH * REACH / 2.0;
    let quadrature = QUADRATURE_ERROR.ln()
        + log_sum_exp([log_1_plus_exp(sum) + 1e-9, (1.0 + 2.0 * order).ln()].into_iter());
    let excess = log_sum_exp([sum, tails, left_tail, quadrature].into_iter());
    log_1_plus_exp(excess) * (1.0 + SLACK)
}

/// `log(X^α - 1 - α(X - 1))` for `X = 1 - q + q e^loss`, and the magnitude of what went into it.
fn log_bernoulli_excess(order: f64, q: f64, loss: f64) -> (f64, f64) {
    if loss > 600.0 {
        // e^loss nears the end of f64; here X^α outweighs the rest by more than the slack, and dropping it rounds up.
        let log_x = loss + (q + (1.0 - q) * (-loss).exp()).ln();
        return (order * log_x, order * (loss + q.ln().abs()));
    }
    let u = q * loss.exp_m1();
    if u.abs() < 0.05 {
        // The binomial series of (1 + u)^α without its first two terms; ratios of terms stay below 0.05 (α - 2)/3.
        let mut term = order * (order - 1.0) / 2.0 * u * u;
        let mut sum = term;
        let mut k = 2.0;
        while term.abs() > 1e-17 * sum && k < 64.0 {
            term *= (order - k) / (k + 1.0) * u;
            sum += term;
            k += 1.0;
        }
        return (sum.ln(), 2.0 * loss.abs());
    }
    let log_power = order * u.ln_1p();
    let magnitude = log_power.abs() + order * loss.abs();
    if log_power > 40.0 {
        return (
            log_power + (-(1.0 + order * u) * (-log_power).exp()).ln_1p(),
            magnitude,
        );
    }
    ((log_power.exp_m1() - order * u).ln(), magnitude)
}

fn log_exp_minus_1(x: f64) -> f64 {
    if x > 40.0 { x } else { x.exp_m1().ln() }
}

fn log_1_plus_exp(x: f64) -> f64 {
    if x > 40.0 {
        x + (-x).exp()
    } else {
        x.exp().ln_1p()
    }
}

fn log_sum_exp(terms: impl Iterator<Item = f64>) -> f64 {
    // One pass: rescale where a larger term comes.
    let (mut largest, mut sum) = (f64::NEG_INFINITY, 0.0);
    for term in terms {
        if term == f64::INFINITY || term.is_nan() {
            return f64::INFINITY;
        }
        if term > largest {
            sum = if largest == f64::NEG_INFINITY {
                1.0
            } else {
                sum * (largest - term).exp() + 1.0
            };
            largest = term;
        } else if term > f64::NEG_INFINITY {
            sum += (term - largest).exp();
        }
    }
    if largest == f64::NEG_INFINITY {
        largest
    } else {
        largest + sum.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both directions of the mechanism summed over Z with an integer shift; `sigma = z * shift`.
    fn summed_over_the_lattice(order: f64, q: f64, z: f64, shift: i64) -> (f64, f64) {
        let (v, sigma) = (shift as f64, z * shift as f64);
        let gauss = |x: f64| -x * x / (2.0 * sigma * sigma);
        let reach = ((order + 12.0 * z) * v) as i64 + 1;
        let (mut norm, mut with, mut without) = (0.0, 0.0, 0.0);
        for x in -reach..=reach {
            let x = x as f64;
            let loss = (2.0 * x * v - v * v) / (2.0 * sigma * sigma);
            let log_mixture = (1.0 - q + q * loss.exp()).ln();
            norm += gauss(x).exp();
            with += (gauss(x) + order * log_mixture).exp();
            without += (gauss(x) + (1.0 - order) * log_mixture).exp();
        }
        ((with / norm).ln(), (without / norm).ln())
    }

    #[test]
    fn the_lattice_gives_the_bound_and_nothing_above_it() {
        let orders = orders();
        for (q, z) in [
            (0.01, 1.1),
            (0.2, 0.8),
            (0.5, 2.0),
            (0.9, 1.0),
            (0.004, 0.6),
            (1.0, 1.3),
        ] {
            let bounds = log_moments(q, z);
            for (order, bound) in orders
                .iter()
                .zip(&bounds)
                .filter(|(order, _)| **order <= 12.0)
            {
                let (with, _) = summed_over_the_lattice(*order, q, z, 64);
                assert!(
                    *bound >= with * (1.0 - 1e-9) - 1e-13,
                    "q {q} z {z} order {order}: {bound} below {with}"
                );
                assert!(
                    *bound <= with * (1.0 + 1e-6) + 1e-13,
                    "q {q} z {z} order {order}: {bound} above {with}"
                );
            }
        }
    }

    #[test]
    fn removing_a_record_is_no_worse() {
        for q in [0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.99] {
            for z in [0.4, 0.7, 1.0, 3.0] {
                for order in [1.05, 1.5, 2.0, 2.7, 4.0, 9.5, 20.0] {
                    let (with, without) = summed_over_the_lattice(order, q, z, 16);
                    assert!(
                        without <= with * (1.0 + 1e-9) + 1e-12,
                        "q {q} z {z} order {order}: {without} > {with}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_integral_lies_below_the_chord_between_integers() {
        for (q, z) in [(0.01, 1.0), (0.001, 0.6), (0.3, 2.0)] {
            let terms = BinomialTerms::new(q, z, 16);
            let chord = 0.5 * (terms.log_moment(4) + terms.log_moment(5));
            let integral = integrated_log_moment(4.5, q, z);
            assert!(
                integral <= chord && integral >= terms.log_moment(4),
                "q {q} z {z}"
            );
        }
    }

    #[test]
    fn extreme_parameters_give_bounds_and_no_nan() {
        for q in [1e-300, 1e-12, 0.5, 1.0 - 1e-16, 1.0] {
            for z in [1e-200, 1e-3, 0.1, 1.0, 1e6] {
                for bound in log_moments(q, z) {
                    assert!(bound >= 0.0, "q {q} z {z}: {bound}");
                }
            }
        }
    }
}
