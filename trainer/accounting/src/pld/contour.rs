//! Delta as an integral along a vertical line, for losses that many steps have smoothed.
//!
//! With `S` the loss of all steps, `δ(ε) = E[(1 - e^(ε-S))+] = 1/2πi ∫ M_S(z) e^(-zε) / z(z+1) dz` over `Re z = c > 0`
//! (Alghamdi, Asoodeh, Calmon, Gomez, Kosut and Sankar 2023, "The saddle-point method in differential privacy", Theorem 4;
//! Zhu, Dong and Wang 2022 integrate the same characteristic function). No loss is rounded: nothing accumulates with the
//! number of steps, and the smaller the losses the wider the line's part that matters is spaced.
//!
//! **An upper bound.** In steps of `Δ = 2π/P`, the trapezoidal sum is, by Poisson summation of `e^(cε) δ(ε)`, exactly
//! `Σ_m e^(cmP) δ(ε + mP)`, of which `m = 0` is wanted and all others are positive. To that come the sum's cut at `t_K`,
//! `1/π · M_S(c) e^(-cε) e^(-G)/t_K` where `|M_S(c + it)| <= e^(-G) M_S(c)` beyond ([`Decay`]); and the error of the moments,
//! `|M̂^T - M^T| <= T e (1 + e)^T M(c)^T` for `|M̂ - M| <= e M(c)`.

use std::f64::consts::PI;

use super::complex::Complex;
use super::step::{Direction, Step};
use super::tilt::Tilt;
use super::tilted::{Decay, Tilted};

/// The sum, ready for any epsilon.
pub(super) struct Contour {
    c: f64,
    log_moment: f64,
    spacing: f64,
    /// `Δ/π · M_S(z)/M_S(c) / z(z+1)`, half of it at `t = 0`.
    terms: Vec<Complex>,
    /// All errors together, in the terms' unit.
    slack: f64,
}

/// What is cut off, relative to delta, as a negative logarithm.
const CUT: f64 = 18.0;
/// Points on the line that share a mesh and are turned from one to the next.
const BLOCK: usize = 64;

impl Contour {
    /// The sum, where it takes at most `work` evaluations of an integrand.
    pub(super) fn build(
        steps: &[Step],
        direction: Direction,
        tilt: &Tilt,
        log_delta: f64,
        work: f64,
    ) -> Option<Self> {
        let spacing = 2.0 * PI / tilt.period;
        let tilted: Vec<Tilted<'_>> = steps
            .iter()
            .map(|step| Tilted {
                step,
                direction,
                c: tilt.c,
            })
            .collect();
        let needed = (tilt.log_moment - tilt.c * tilt.floor).max(0.0) - log_delta + CUT;
        let (last, fall) = cut(&tilted, tilt, spacing, needed, work)?;
        let mut logs = vec![Complex::default(); last + 1];
        for (tilted, moment) in tilted.iter().zip(&tilt.moments) {
            for (block, logs) in logs.chunks_mut(BLOCK).enumerate() {
                add_logs(tilted, moment.log, spacing, block * BLOCK, logs);
            }
        }
        let terms: Vec<Complex> = logs
            .iter()
            .enumerate()
            .map(|(k, log)| {
                let z = Complex::new(tilt.c, k as f64 * spacing);
                let share = if k == 0 { 0.5 } else { 1.0 };
                (log.exp() * (z * (z + Complex::ONE)).inverse()).scaled(share * spacing / PI)
            })
            .collect();
        let error: f64 = steps
            .iter()
            .zip(&tilt.moments)
            .map(|(step, moment)| step.count * moment.error)
            .sum();
        let weights: f64 = (0..=last)
            .map(|k| {
                let t = k as f64 * spacing;
                spacing / PI / (t.hypot(tilt.c) * t.hypot(1.0 + tilt.c))
            })
            .sum();
        let summation = (64.0 + (last as f64).sqrt()) * 4.0 * f64::EPSILON;
        let slack = weights * ((error * 1.01).exp_m1() + summation)
            + (-fall).exp() / (PI * spacing * last as f64);
        Some(Self {
            c: tilt.c,
            log_moment: tilt.log_moment,
            spacing,
            terms,
            slack,
        })
    }

    /// An upper bound of `δ(ε)`.
    pub(super) fn delta(&self, epsilon: f64) -> f64 {
        let mut sum = 0.0;
        for (k, term) in self.terms.iter().enumerate() {
            let turn = Complex::turn(-(k as f64) * self.spacing * epsilon);
            sum += (*term * turn).re;
        }
        (self.log_moment - self.c * epsilon).exp() * (sum.max(0.0) + self.slack)
    }
}

/// The index of the last point, and a lower bound of `-log |M_S|/M_S(c)` everywhere beyond it.
fn cut(
    tilted: &[Tilted<'_>],
    tilt: &Tilt,
    spacing: f64,
    needed: f64,
    work: f64,
) -> Option<(usize, f64)> {
    let decays: Vec<Option<Decay>> = tilted
        .iter()
        .zip(&tilt.moments)
        .map(|(tilted, moment)| (!tilted.step.is_full()).then(|| Decay::of(tilted, moment.log)))
        .collect();
    let fall = |log_ratio: &dyn Fn(&Decay) -> f64, t: f64| -> f64 {
        let falls = tilted.iter().zip(&decays).map(|(tilted, decay)| {
            tilted.step.count
                * match decay {
                    Some(decay) => -log_ratio(decay),
                    None => t * t / (2.0 * tilted.step.variance()),
                }
        });
        falls.sum()
    };
    let cost = |t: f64| -> f64 {
        let nodes = tilted
            .iter()
            .filter(|tilted| !tilted.step.is_full())
            .map(|tilted| tilted.mesh(t).count as f64);
        nodes.sum::<f64>() * t / spacing
    };
    // Upwards until the bound that holds for ever suffices; what counts is the last stretch where nothing did.
    let (mut t, mut last, mut least) = (
        FIRST_POINTS * spacing,
        FIRST_POINTS * spacing,
        f64::INFINITY,
    );
    loop {
        let for_ever = fall(&|decay| decay.log_ratio_beyond(t), t);
        if for_ever >= needed {
            least = least.min(for_ever);
            break;
        }
        let end = t * STRETCH;
        let here = fall(&|decay| decay.log_ratio(t, end), t);
        if here >= needed {
            least = least.min(here);
        } else {
            (last, least) = (end, f64::INFINITY);
            if cost(last) > work || last / spacing > MOST_POINTS {
                return None;
            }
        }
        if end > LONGEST_WAY * last {
            return None;
        }
        t = end;
    }
    let points = (last / spacing).ceil();
    (cost(last) <= work).then_some((points as usize, least))
}

/// Fewer points than this are not worth a search.
const FIRST_POINTS: f64 = 8.0;
/// The search goes up in steps of this factor.
const STRETCH: f64 = 1.05;
/// Where the bound that holds for ever has not come by then, it does not come.
const LONGEST_WAY: f64 = 1e6;
/// Points are kept in memory.
const MOST_POINTS: f64 = 1e6;

/// Adds `T log(M(z)/M(c))` for the points from `first` on.
fn add_logs(
    tilted: &Tilted<'_>,
    log_moment: f64,
    spacing: f64,
    first: usize,
    logs: &mut [Complex],
) {
    let count = tilted.step.count;
    if tilted.step.is_full() {
        let twice = 2.0 * tilted.step.variance();
        for (k, log) in logs.iter_mut().enumerate() {
            let t = (first + k) as f64 * spacing;
            let angle = count * t * (2.0 * tilted.c + 1.0) / twice;
            *log += Complex::new(-count * t * t / twice, angle);
        }
        return;
    }
    let end = (first + logs.len()) as f64 * spacing;
    let mut turning = Turning::default();
    for node in tilted.nodes(tilted.mesh(end)) {
        let weight = (node.log_weight - log_moment).exp();
        if weight > NEGLIGIBLE {
            let loss = tilted.sign() * node.loss;
            turning.push(weight, first as f64 * spacing * loss, spacing * loss);
        }
    }
    turning.pad();
    for log in logs {
        *log += turning.sum_and_turn().log().scaled(count);
    }
}

/// A node with less of the mass is left out; a million of them are covered by the mesh's own error.
const NEGLIGIBLE: f64 = 1e-24;

/// `w e^(itL)` at every node, for one `t` after the other.
#[derive(Default)]
struct Turning {
    re: Vec<f64>,
    im: Vec<f64>,
    cos: Vec<f64>,
    sin: Vec<f64>,
}

/// Partial sums, so that the compiler can use vector registers.
const LANES: usize = 4;

impl Turning {
    fn push(&mut self, weight: f64, angle: f64, turn: f64) {
        let (sin, cos) = angle.sin_cos();
        self.re.push(weight * cos);
        self.im.push(weight * sin);
        let (sin, cos) = turn.sin_cos();
        self.cos.push(cos);
        self.sin.push(sin);
    }

    fn pad(&mut self) {
        while !self.re.len().is_multiple_of(LANES) {
            self.push(0.0, 0.0, 0.0);
        }
    }

    fn sum_and_turn(&mut self) -> Complex {
        let (mut re_sums, mut im_sums) = ([0.0; LANES], [0.0; LANES]);
        let lanes = self
            .re
            .as_chunks_mut::<LANES>()
            .0
            .iter_mut()
            .zip(self.im.as_chunks_mut::<LANES>().0)
            .zip(
                self.cos
                    .as_chunks::<LANES>()
                    .0
                    .iter()
                    .zip(self.sin.as_chunks::<LANES>().0),
            );
        for ((re, im), (cos, sin)) in lanes {
            for lane in 0..LANES {
                re_sums[lane] += re[lane];
                im_sums[lane] += im[lane];
                let turned = re[lane] * cos[lane] - im[lane] * sin[lane];
                im[lane] = re[lane] * sin[lane] + im[lane] * cos[lane];
                re[lane] = turned;
            }
        }
        Complex::new(re_sums.iter().sum(), im_sums.iter().sum())
    }
}
