//! The accountant by the distribution of the privacy loss.
//!
//! **What is computed.** For one step of each phase the losses of adding and of removing the record (`step.rs`), both
//! directions apart, since the worse of two compositions is not the composition of the worse. Many steps are composed by
//! an integral along a line in the complex plane (`contour.rs`), few by connecting dots on a grid (`dots.rs`); each gives
//! `δ(ε)` from above, and epsilon is where it meets delta. Adaptive composition is covered by the product of dominating
//! pairs (Zhu, Dong and Wang 2022, "Optimal accounting of differential privacy via characteristic function", Theorem 10),
//! and a shorter gradient by a longer one: scaling `x` and adding the missing noise maps the pair of norm 1 to any of
//! smaller norm.
//!
//! **Why the lattice does not matter, and what is charged for it.** The mechanism as it runs adds *discrete* Gaussian noise of
//! parameter `σ_Z = σ C_Z` to integer vectors, `C_Z >= 2^20` being the clipping norm on the grid. Its hockey-stick divergence
//! is **not** always below the continuous one: it has steps where the continuous one is smooth. So we prove a bound for a
//! slightly larger epsilon.
//!
//! Let `Y ~ N(0, s²)`, `a = 9 s`, `f(u) = (1 - e^-u)+`. As `f` is increasing and at most 1,
//! `f(S - ε - a) <= E f(S - ε - a + a + Y) + P(Y < -a)`, which gives
//! `δ_Z(ε + a) <= E F_T(S) + τ` with `F_T(u) = E f(u - ε + Y)`, `τ = P(Y < -9 s) < 2^-62`.
//! Backwards over the steps, let `F_{i-1}(u) = E F_i(u + L)` for the *continuous* loss `L` of norm 1. Every `F_i` is a
//! mixture of `f(· - e)` over `e`, thus the expectation of `F_i(u + L)` is largest for the dominating pair; it is at most 1;
//! and it is smooth: `|F_i(u + iθ)| <= e^{θ²/2s²}`, because a Gaussian density is.
//!
//! *One step on the lattice against one in the continuum*, for a record's integer vector `v`, `|v| <= C_Z`, whatever happened
//! before: the other records shift the output by a lattice vector, which the lattice does not see. By Poisson summation
//! `Σ_{x∈Z^d} H(x) - ∫ H = Σ_{k≠0} H^(k)`, `H(x) = e^{-|x|²/2σ_Z²} X F_i(u + log X)` for adding and
//! `H(x) = e^{-|x|²/2σ_Z²} F_i(u - log X)` for removing. Across `v`, `H` is a Gaussian, with transform `e^{-2π²σ_Z²|k_⊥|²}`;
//! along `v`, moving the line by `c σ_Z` turns `e^w` by at most `c/σ`, hence `|arg X| <= c/σ`, `|X| <= X(Re x)`, and with
//! `κ = <k, v>/|v|`
//! `|H^(k)| <= ∫ e^{-|x|²/2σ_Z²} · e^{c²/2 + c²/2σ²s² - 2πcσ_Z|κ| - 2π²σ_Z²|k_⊥|²}`.
//! Where `|κ| <= 1/2`, `|k_⊥|² >= |k|² - 1/4` makes the sum over such `k` negligible (`e^{-π²σ_Z²/2}`, `σ_Z >= 2^15`). The
//! others are summed in slabs of `κ` of width `1/σ_Z`; in each, the sum over `k` of the Gaussian across is at most
//! `e^{2π²} Π_i Σ_n e^{-2π²σ_Z²n²} < 2 e^{2π²}`. With `c = πσ²s²σ_Z` the exponent along is, at `|κ| = 1/2`, at most
//! `-(π s σ² 2^20)²/2 (1 - o(1))`, and for `s = 4.5·10^-6/σ²` that is `-109`: all terms together stay below
//! `10^-35 · max(σ, 1)` a step. The normaliser `Σ e^{-|x|²/2σ_Z²}` is not below the integral.
//!
//! Therefore `δ_Z(ε + a) <= E δ(ε - Y) + τ + 10^-35 T max(σ, 1)`. `δ` falls, is convex in `e^ε`, and `e^{-Y} >= e^-a` but for `τ`; the chord
//! from `ε - a` to `ε` and monotony beyond give
//! `δ_Z(ε + a) <= (1 - λ) δ(ε) + λ δ(ε - a) + 2^-61 + 10^-35 T max(σ, 1)`, `λ = E(1 - e^-Y)+ / (1 - e^-a) <= 0.4 s/(1 - e^-a)`.
//! [`Lattice`] computes that, with the smallest `σ` of all phases: `a = 4.1·10^-5/σ²`, below a ten-thousandth from `σ = 0.7` on.

mod complex;
mod contour;
mod dots;
mod fourier;
mod step;
mod tilt;
mod tilted;

use crate::accountant::{Accountant, AccountingError, Phase};
use crate::quantities::{Delta, Epsilon};
use crate::rdp::Rdp;

use contour::Contour;
use dots::Dots;
use step::{Direction, Step};
use tilt::Tilt;

/// The accountant by the distribution of the privacy loss (Sommer, Meiser and Mohammadi 2019), composed numerically.
///
/// Its epsilon is an upper bound, within 1e-3 (and a ten-millionth) of the exact one for noise multipliers from 0.3,
/// rates from 1e-6, deltas from 1e-12 and up to 1e10 steps; beyond, it is still an upper bound and never above that of [`Rdp`]. It takes
/// milliseconds for many steps and some tens of them for few.
///
/// ```
/// use tributary_accounting::{Accountant, Delta, NoiseMultiplier, Phase, Pld, Rdp, SamplingRate, Steps};
/// let phase = Phase {
///     sampling_rate: SamplingRate::new(0.01)?,
///     noise_multiplier: NoiseMultiplier::new(1.1)?,
///     steps: Steps::new(10_000),
/// };
/// let delta = Delta::new(1e-5)?;
/// assert_eq!(Pld.epsilon(&[phase], delta)?.to_string(), "5.193");
/// assert_eq!(Rdp.epsilon(&[phase], delta)?.to_string(), "5.632");
/// # Ok::<(), tributary_accounting::AccountingError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pld;

impl Accountant for Pld {
    fn name(&self) -> &'static str {
        "pld"
    }

    fn epsilon(&self, phases: &[Phase], delta: Delta) -> Result<Epsilon, AccountingError> {
        let bound = Rdp.epsilon(phases, delta)?;
        let steps = merged(phases);
        if steps.is_empty() || bound == Epsilon::ZERO {
            return Ok(bound);
        }
        let both = [Direction::Add, Direction::Remove]
            .map(|direction| one_way(&steps, direction, delta.get()).unwrap_or(f64::INFINITY));
        let exact = Epsilon::from_bound(both[0].max(both[1]));
        Ok(if exact < bound { exact } else { bound })
    }
}

/// Phases with steps, those of equal rate and noise as one.
fn merged(phases: &[Phase]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for step in phases.iter().map(Step::of).filter(|step| step.count > 0.0) {
        match steps
            .iter_mut()
            .find(|known| known.q == step.q && known.sigma == step.sigma)
        {
            Some(known) => known.count += step.count,
            None => steps.push(step),
        }
    }
    steps
}

/// The epsilon of one direction; `None` where it cannot be computed, and the moments must do.
fn one_way(steps: &[Step], direction: Direction, delta: f64) -> Option<f64> {
    if steps.iter().any(|step| step.sigma < SMALLEST_MULTIPLIER) {
        return None;
    }
    let lattice = Lattice::of(steps);
    let (mut best, mut c) = with_floor(steps, direction, delta, 0.0, &lattice).or_else(|| {
        let tilt = Tilt::choose(steps, direction, delta.ln(), 0.0)?;
        Some((tilt.enough, tilt.c))
    })?;
    // A large epsilon is found more closely from a line that was chosen for it.
    for _ in 0..ROUNDS {
        if c * best < SMALL {
            break;
        }
        match with_floor(steps, direction, delta, NEARLY * best, &lattice) {
            Some((epsilon, there)) if epsilon < best - RAISED => (best, c) = (epsilon, there),
            Some((epsilon, _)) => return Some(best.min(epsilon)),
            None => break,
        }
    }
    Some(best)
}

/// An upper bound of epsilon, close if epsilon is about `floor` or more, and the `c` by which it was found.
fn with_floor(
    steps: &[Step],
    direction: Direction,
    delta: f64,
    floor: f64,
    lattice: &Lattice,
) -> Option<(f64, f64)> {
    let log_delta = delta.ln();
    let tilt = Tilt::choose(steps, direction, log_delta, floor)?;
    let found = |epsilon: f64| (epsilon, tilt.c);
    let along_contour = |work: f64| {
        let contour = Contour::build(steps, direction, &tilt, log_delta, work)?;
        lattice.solve(|epsilon| contour.delta(epsilon), tilt.enough, delta)
    };
    if let Some(epsilon) = along_contour(WORK) {
        return Some(found(epsilon));
    }
    // Rounding to the grid falls at least in proportion to its width: what doubling has gained bounds what is left.
    let mut length = SHORTEST;
    let mut last = f64::INFINITY;
    loop {
        let dots = Dots::build(steps, direction, &tilt, log_delta, length)?;
        let epsilon = lattice.solve(|epsilon| dots.delta(epsilon), tilt.enough, delta)?;
        if last - epsilon <= RAISED || length == LONGEST {
            return Some(found(epsilon.min(last)));
        }
        if length == LONG
            && let Some(epsilon) = along_contour(MUCH_WORK)
        {
            return Some(found(epsilon));
        }
        (last, length) = (epsilon, 2 * length);
    }
}

/// Below this multiplier the lattice's share would exceed the accuracy that is promised, by far.
const SMALLEST_MULTIPLIER: f64 = 0.05;
/// Evaluations of an integrand that a contour may take: some tens of milliseconds.
const WORK: f64 = 5e7;
/// What it may take where grids have failed up to [`LONG`].
const MUCH_WORK: f64 = 5e8;
const LONG: usize = 1 << 16;
/// Above this `c ε`, the guess that epsilon is 0 costs accuracy.
const SMALL: f64 = 20.0;
/// Where the next line is chosen, relative to the last result.
const NEARLY: f64 = 0.97;
/// Lines after the first.
const ROUNDS: usize = 4;
/// The first and the last length of a grid.
const SHORTEST: usize = 1 << 14;
const LONGEST: usize = 1 << 20;
/// A grid is refined until that gains no more than this.
const RAISED: f64 = 1e-4;

/// What the integer lattice may add to the continuous mechanism; see the header.
struct Lattice {
    /// `a`.
    shift: f64,
    /// `λ`.
    share: f64,
    /// What delta bears.
    delta: f64,
}

/// `2^-61`.
const CUT_SMOOTHING: f64 = 4.4e-19;

impl Lattice {
    fn of(steps: &[Step]) -> Self {
        let smallest = steps
            .iter()
            .map(|step| step.sigma)
            .fold(f64::INFINITY, f64::min);
        let deviation = 4.5e-6 / (smallest * smallest);
        let shift = 9.0 * deviation;
        let terms = steps
            .iter()
            .map(|step| step.count * step.sigma.max(1.0) * 1e-35);
        Self {
            shift,
            delta: CUT_SMOOTHING + terms.sum::<f64>(),
            share: (0.4 * deviation / -(-shift).exp_m1()).min(1.0),
        }
    }

    /// The smallest epsilon, from above, with which the mechanism on the lattice keeps `delta`; `curve` bounds the
    /// continuous mechanism's `δ(ε)`, and `enough` is where to look up to first.
    fn solve(&self, curve: impl Fn(f64) -> f64, enough: f64, delta: f64) -> Option<f64> {
        let log_excess = |epsilon: f64| -> f64 {
            let bound = (1.0 - self.share) * curve(epsilon)
                + self.share * curve(epsilon - self.shift)
                + self.delta;
            (bound / delta).ln()
        };
        let mut low = -self.shift;
        let mut low_excess = log_excess(low);
        if low_excess <= 0.0 {
            return Some(0.0);
        }
        let mut high = enough + 1e-3;
        let mut high_excess = log_excess(high);
        for _ in 0..WIDENINGS {
            if high_excess <= 0.0 {
                break;
            }
            high *= 1.5;
            high_excess = log_excess(high);
        }
        // Not a number is no excess either.
        if high_excess.is_nan() || high_excess > 0.0 {
            return None;
        }
        // False position, halving the end that stays (Dowell and Jarratt 1971); the answer is the end that keeps delta.
        let mut stayed = 0;
        for _ in 0..TRIALS {
            if high - low < TOLERANCE {
                break;
            }
            let guess = high - high_excess * (high - low) / (high_excess - low_excess);
            let middle = if guess > low && guess < high {
                guess
            } else {
                0.5 * (low + high)
            };
            let excess = log_excess(middle);
            if excess <= 0.0 {
                (high, high_excess) = (middle, excess);
                if stayed < 0 {
                    low_excess *= 0.5;
                }
                stayed = -1;
            } else {
                (low, low_excess) = (middle, excess);
                if stayed > 0 {
                    high_excess *= 0.5;
                }
                stayed = 1;
            }
        }
        Some(high + self.shift)
    }
}

/// How often the range is widened by half before it is given up.
const WIDENINGS: usize = 20;
/// Trials of the search; bisection alone would need fewer for any epsilon below 10^50.
const TRIALS: usize = 200;
/// Of epsilon.
const TOLERANCE: f64 = 1e-5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantities::{NoiseMultiplier, SamplingRate, Steps};

    fn steps(q: f64, z: f64, count: u64) -> Vec<Step> {
        merged(&[Phase {
            sampling_rate: SamplingRate::new(q).unwrap(),
            noise_multiplier: NoiseMultiplier::new(z).unwrap(),
            steps: Steps::new(count),
        }])
    }

    /// Two algorithms that share little but the loss itself.
    #[test]
    fn the_contour_and_the_dots_agree() {
        for (q, z, count, delta) in [
            (0.01, 1.1, 2_000, 1e-5),
            (0.1, 0.8, 100, 1e-6),
            (1e-3, 0.6, 3_000, 1e-7),
            (0.5, 3.0, 60, 1e-5),
            (0.9, 2.0, 40, 1e-9),
        ] {
            let steps = steps(q, z, count);
            for direction in [Direction::Add, Direction::Remove] {
                let tilt = Tilt::choose(&steps, direction, f64::ln(delta), 0.0).unwrap();
                let contour = Contour::build(&steps, direction, &tilt, delta.ln(), 1e9).unwrap();
                let dots = Dots::build(&steps, direction, &tilt, delta.ln(), 1 << 17).unwrap();
                for share in [0.3, 0.6, 0.9] {
                    let epsilon = share * tilt.enough;
                    let (one, other) = (contour.delta(epsilon), dots.delta(epsilon));
                    assert!(
                        one > 0.1 * delta,
                        "{q} {z} {direction:?}: {one} at {epsilon}"
                    );
                    assert!(
                        other >= one * (1.0 - 1e-5) && other <= one * 1.01,
                        "{q} {z} {direction:?} at {epsilon}: {one} by the contour, {other} by the dots"
                    );
                }
            }
        }
    }

    #[test]
    fn the_lattice_costs_what_the_header_says() {
        // A curve whose inverse is known: δ(ε) = e^-ε.
        for sigma in [0.3, 0.7, 4.0] {
            let lattice = Lattice::of(&steps(0.1, sigma, 5));
            let epsilon = lattice.solve(|e| (-e).exp(), 30.0, 1e-5).unwrap();
            let (exact, a) = (-f64::ln(1e-5), 4.05e-5 / (sigma * sigma));
            assert!(
                epsilon > exact + a && epsilon < exact + 1.1 * a + TOLERANCE,
                "{sigma}: {epsilon}"
            );
        }
    }

    /// Both directions of the mechanism as it runs, two steps on a one-dimensional lattice, summed term by term. The lattice
    /// is coarser than the real one, and what it costs grows with the square of its step.
    #[test]
    fn a_coarse_lattice_exceeds_the_continuum_by_no_more_than_its_share() {
        let (q, z, norm) = (0.4, 1.0, 64i64);
        let sigma = z * norm as f64;
        let reach = 9 * norm;
        let weight = |x: i64| (-(x * x) as f64 / (2.0 * sigma * sigma)).exp();
        let total: f64 = (-40 * norm..=40 * norm).map(weight).sum();
        let losses: Vec<(f64, f64)> = (-reach..=reach + norm)
            .map(|x| {
                let w = (2 * x * norm - norm * norm) as f64 / (2.0 * sigma * sigma);
                (weight(x) / total, (q * w.exp_m1()).ln_1p())
            })
            .collect();
        let steps = steps(q, z, 2);
        for direction in [Direction::Add, Direction::Remove] {
            let tilt = Tilt::choose(&steps, direction, f64::ln(1e-4), 0.0).unwrap();
            let dots = Dots::build(&steps, direction, &tilt, f64::ln(1e-4), 1 << 16).unwrap();
            let signed = |ratio: f64| {
                if direction == Direction::Add {
                    ratio
                } else {
                    -ratio
                }
            };
            for epsilon in [0.2, 0.5, 1.0] {
                let mut summed = 0.0;
                for (g, one) in &losses {
                    for (h, other) in &losses {
                        let loss = signed(one + other);
                        if loss > epsilon {
                            let with = if direction == Direction::Add {
                                loss
                            } else {
                                0.0
                            };
                            summed += g * h * with.exp() * -(epsilon - loss).exp_m1();
                        }
                    }
                }
                // s = 4.5e-6/σ² belongs to a norm of 2^20 and shrinks with its inverse.
                let a = 9.0 * 4.5e-6 * (1u64 << 20) as f64 / norm as f64;
                let bound = dots.delta(epsilon - a);
                assert!(
                    summed <= bound,
                    "{direction:?} {epsilon}: {summed} above {bound}"
                );
                let near = dots.delta(epsilon);
                assert!(
                    (summed / near - 1.0).abs() < 1e-2,
                    "{direction:?} {epsilon}: {summed} and {near}"
                );
            }
        }
    }
}
