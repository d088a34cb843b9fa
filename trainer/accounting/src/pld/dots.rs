//! Delta from a loss distribution on a grid, for few steps, whose losses no integral along a line resolves cheaply.
//!
//! **Connecting the dots** (Doroshenko, Ghazi, Kamath, Kumar and Manurangsi 2022, Algorithm 1): where a loss falls between
//! two points of the grid, its probability is split between them so that the other world's probability is kept too:
//! `p_b = ∫ (1 - e^(a-L)) / (1 - e^-h)`, `p_a = ∫ 1 - p_b`. Its hockey-stick divergence is that of the mechanism at the grid's
//! points and the chord, in `e^ε`, between them: never below. A pair that dominates each step dominates their
//! composition (Zhu, Dong and Wang 2022, Theorem 10).
//!
//! **Composition** by Fourier transform, with the probabilities weighted by `e^(cL)` so that rounding is relative to what
//! matters at this delta. The transform's grid is circular. Read with the period's weight, an alias is
//! `e^(cmP) δ(ε + mP)`, positive: see `contour.rs`.

use super::complex::Complex;
use super::fourier::Fourier;
use super::step::{Direction, Step};
use super::tilt::Tilt;

/// The composed loss on a grid.
pub(super) struct Dots {
    c: f64,
    width: f64,
    log_moment: f64,
    /// Weighted probabilities; the sum is 1. Index `i` stands for all losses `(i + jN) h`.
    weighted: Vec<f64>,
    /// What a loss of `u h` above epsilon, `1 <= u <= N`, contributes with all its periods.
    kernel: Vec<f64>,
    slack: f64,
    /// Probability that is counted as lost.
    lost: f64,
}

/// What is counted as an infinite loss may raise delta by this share.
const LOST_SHARE: f64 = 1e-10;
/// In periods. The weight of a loss that low is the square of delta's.
const FLOOR: f64 = 2.0;
/// A grid with more cells is refused.
const MOST_CELLS: f64 = 4e6;

impl Dots {
    /// On a grid of `length` points to the period, a power of two; `None` where the losses have too wide a range for it.
    pub(super) fn build(
        steps: &[Step],
        direction: Direction,
        tilt: &Tilt,
        log_delta: f64,
        length: usize,
    ) -> Option<Self> {
        let (c, width) = (tilt.c, tilt.period / length as f64);
        let fourier = Fourier::new(length);
        let mut logs = vec![Complex::default(); length];
        let (mut log_moment, mut lost, mut all) = (0.0, 0.0, 0.0);
        for step in steps {
            // Beyond `reach` deviations lies too little to matter, even after all steps.
            let log_lost = LOST_SHARE.ln() + log_delta - (step.count * steps.len() as f64).ln();
            let reach = (-2.0 * log_lost).sqrt();
            lost += step.count * (-reach * reach / 2.0).exp();
            let cells = Cells::of(step, direction, width, reach, FLOOR * tilt.period)?;
            let mut values = vec![Complex::default(); length];
            let largest = cells.largest(c);
            let mut sum = 0.0;
            for &(index, mass) in &cells.atoms {
                let weight = (c * index as f64 * width - largest).exp() * mass;
                values[index.rem_euclid(length as i64) as usize].re += weight;
                sum += weight;
            }
            log_moment += step.count * (largest + sum.ln());
            all += step.count;
            values.iter_mut().for_each(|value| value.re /= sum);
            fourier.forward(&mut values);
            for (log, value) in logs.iter_mut().zip(&values) {
                *log += value.log().scaled(step.count);
            }
        }
        let mut values: Vec<Complex> = logs.iter().map(|log| log.exp()).collect();
        fourier.inverse(&mut values);
        let weighted: Vec<f64> = values.iter().map(|value| value.re.max(0.0)).collect();
        let periodic = |rate: f64, u: usize| {
            (-rate * u as f64 * width).exp() / -(-rate * tilt.period).exp_m1()
        };
        let kernel: Vec<f64> = (1..=length)
            .map(|u| (periodic(c, u) - periodic(c + 1.0, u)) * (1.0 + 1e-9))
            .collect();
        // Cauchy and Schwarz: the transforms' errors in the 2-norm, against the kernel's.
        let norm = kernel.iter().map(|value| value * value).sum::<f64>().sqrt();
        let error = (all + 2.0) * (fourier.roundoff() + 64.0 * f64::EPSILON) + CELL_ERROR * all;
        Some(Self {
            c,
            width,
            log_moment,
            weighted,
            kernel,
            slack: norm * error,
            lost,
        })
    }

    /// An upper bound of `δ(ε)`: at the grid's points the sum, between them the chord in `e^ε`.
    pub(super) fn delta(&self, epsilon: f64) -> f64 {
        let below = (epsilon / self.width).floor();
        let (left, right) = (self.at(below), self.at(below + 1.0));
        let share = (epsilon - below * self.width).exp_m1() / self.width.exp_m1();
        left + (right - left) * share.clamp(0.0, 1.0)
    }

    fn at(&self, point: f64) -> f64 {
        let length = self.weighted.len();
        let first = (point as i64 + 1).rem_euclid(length as i64) as usize;
        let (tail, head) = self.weighted.split_at(first);
        let losses = head.iter().chain(tail);
        let sum: f64 = losses.zip(&self.kernel).map(|(w, k)| w * k).sum();
        (self.log_moment - self.c * point * self.width).exp() * (sum + self.slack) + self.lost
    }
}

/// Of one cell's mass, beyond what is rounded up: quadrature and arithmetic.
const CELL_ERROR: f64 = 1e-13;

/// One step's loss on the grid.
struct Cells {
    /// `(index, probability at it)`, with repetitions.
    atoms: Vec<(i64, f64)>,
    width: f64,
}

impl Cells {
    /// Outside of `reach` deviations around both means lies a probability below `e^(-reach²/2)`. Losses above that range
    /// are the caller's; those below it, or below `-floor`, are moved up.
    fn of(step: &Step, direction: Direction, width: f64, reach: f64, floor: f64) -> Option<Self> {
        let (mut left, mut right) = (-reach * step.sigma, 1.0 + reach * step.sigma);
        let mut below = (-reach * reach / 2.0).exp();
        let sign = match direction {
            Direction::Add => 1.0,
            Direction::Remove => -1.0,
        };
        let ends = [sign * step.log_ratio(left), sign * step.log_ratio(right)];
        let (mut lowest, highest) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
        if lowest < -floor && highest > -floor {
            lowest = -floor;
            // An upper bound will do: so low a loss has hardly any weight.
            below = 1.0;
            match direction {
                Direction::Add => left = step.place(lowest),
                Direction::Remove => right = step.place(-lowest),
            }
        }
        if (highest - lowest) / width > MOST_CELLS {
            return None;
        }
        let (first, last) = (
            (lowest / width).floor() as i64 + 1,
            (highest / width).ceil() as i64,
        );
        let mut atoms = Vec::with_capacity((last - first + 2) as usize);
        let mut carried = 0.0;
        let mut from = if sign > 0.0 { left } else { right };
        for index in first..=last {
            let (a, b) = ((index - 1) as f64 * width, index as f64 * width);
            let to = step.place(sign * b).clamp(left, right);
            let to = if index == last {
                if sign > 0.0 { right } else { left }
            } else {
                to
            };
            let (mass, above) = split(step, direction, a, width, from.min(to), from.max(to));
            // Rounded towards the larger loss.
            let upper = (above * (1.0 + 1e-9)).min(mass);
            atoms.push((index - 1, carried + mass - upper));
            carried = upper;
            from = to;
        }
        atoms.push((last, carried));
        atoms.push((first, below));
        Some(Self { atoms, width })
    }

    /// The largest exponent of a weighted probability.
    fn largest(&self, c: f64) -> f64 {
        self.atoms
            .iter()
            .map(|&(index, mass)| c * index as f64 * self.width + mass.ln())
            .fold(f64::NEG_INFINITY, f64::max)
    }
}

/// The probability between two places, and what of it goes to the upper end `a + width` of its cell.
fn split(step: &Step, direction: Direction, a: f64, width: f64, from: f64, to: f64) -> (f64, f64) {
    let scale = step.sigma.min(step.variance());
    let pieces = ((to - from) / (scale / 4.0)).ceil().max(1.0);
    let piece = (to - from) / pieces;
    let rule: &[(f64, f64)] = if piece <= scale / 64.0 {
        &GAUSS_3
    } else {
        &GAUSS_8
    };
    let (mut mass, mut above) = (0.0, 0.0);
    for i in 0..pieces as usize {
        let middle = from + (i as f64 + 0.5) * piece;
        for &(node, weight) in rule {
            let x = middle + 0.5 * piece * node;
            let ratio = step.log_ratio(x);
            let (log_density, loss) = match direction {
                Direction::Add => (step.log_density(x) + ratio, ratio),
                Direction::Remove => (step.log_density(x), -ratio),
            };
            let density = 0.5 * piece * weight * log_density.exp();
            mass += density;
            above += density * -(a - loss).min(0.0).exp_m1();
        }
    }
    (mass, (above / -(-width).exp_m1()).min(mass))
}

/// Gauss-Legendre nodes and weights (Abramowitz and Stegun, table 25.4). On pieces of a 64th, or a quarter, of the scale on
/// which the integrand varies, they are exact to double precision.
const GAUSS_3: [(f64, f64); 3] = [
    (-0.774_596_669_241_483_4, 0.555_555_555_555_555_6),
    (0.0, 0.888_888_888_888_889),
    (0.774_596_669_241_483_4, 0.555_555_555_555_555_6),
];
const GAUSS_8: [(f64, f64); 8] = [
    (-0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
    (-0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
    (-0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (-0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
    (0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
];
