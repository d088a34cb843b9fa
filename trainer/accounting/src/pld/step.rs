//! One step of the subsampled Gaussian, along the direction of the record in question.
//!
//! Without the record the output is `x ~ N(0, σ²)` (density `g`), with it `(1 - q) N(0, σ²) + q N(1, σ²)`, in clipping
//! norms; their ratio is `X(x) = 1 - q + q e^w`, `w = (2x - 1)/2σ²`. The privacy loss of adding the record is `log X`
//! under `g X`; that of removing it is `-log X` under `g`.

use crate::accountant::Phase;

/// Which of two neighbours ran: the worse of both counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// The record is there: how well can "with" be told from "without".
    Add,
    /// The record is not there.
    Remove,
}

/// The mechanism of a phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The sampling rate.
    pub(super) q: f64,
    /// `1 - q`.
    pub(super) keep: f64,
    /// The noise multiplier.
    pub(super) sigma: f64,
    /// How many steps.
    pub(super) count: f64,
}

impl Step {
    pub(super) fn of(phase: &Phase) -> Self {
        let q = phase.sampling_rate.get();
        // Sampling more costs more, so a rate that cannot be told from 1 counts as 1.
        let q = if q > 1.0 - 1e-12 { 1.0 } else { q };
        Self {
            q,
            keep: 1.0 - q,
            sigma: phase.noise_multiplier.get(),
            count: phase.steps.get() as f64,
        }
    }

    /// Every record takes part: the loss is Gaussian.
    pub(super) fn is_full(&self) -> bool {
        self.keep == 0.0
    }

    pub(super) fn variance(&self) -> f64 {
        self.sigma * self.sigma
    }

    /// `log X(x)`.
    pub(super) fn log_ratio(&self, x: f64) -> f64 {
        let w = (x - 0.5) / self.variance();
        if w > 600.0 {
            return w + self.q.ln() + (self.keep / self.q * (-w).exp()).ln_1p();
        }
        let u = self.q * w.exp_m1();
        if u.abs() < 0.5 {
            u.ln_1p()
        } else {
            (self.keep + self.q * w.exp()).ln()
        }
    }

    /// `σ² d/dx log X(x) = q e^w/X`, between 0 and 1.
    pub(super) fn slope(&self, x: f64) -> f64 {
        let w = (x - 0.5) / self.variance();
        self.q / (self.keep * (-w).exp() + self.q)
    }

    /// Where `log X` is `loss`; minus infinity where it is larger everywhere.
    pub(super) fn place(&self, loss: f64) -> f64 {
        let w = if loss > 600.0 {
            loss - self.q.ln() + (-self.keep * (-loss).exp()).ln_1p()
        } else {
            let shifted = loss.exp_m1() / self.q;
            if shifted <= -1.0 {
                return f64::NEG_INFINITY;
            }
            shifted.ln_1p()
        };
        0.5 + self.variance() * w
    }

    /// `log g(x)`.
    pub(super) fn log_density(&self, x: f64) -> f64 {
        -x * x / (2.0 * self.variance()) - (self.sigma * (2.0 * std::f64::consts::PI).sqrt()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantities::{NoiseMultiplier, SamplingRate, Steps};

    #[test]
    fn place_undoes_the_loss_and_the_slope_is_its_derivative() {
        for (q, z) in [
            (1e-5, 0.7),
            (0.01, 1.1),
            (0.5, 0.3),
            (1.0, 2.0),
            (0.9, 0.06),
        ] {
            let step = Step::of(&Phase {
                sampling_rate: SamplingRate::new(q).unwrap(),
                noise_multiplier: NoiseMultiplier::new(z).unwrap(),
                steps: Steps::new(1),
            });
            for i in -10..=40 {
                let x = 0.5 + f64::from(i) * 0.1 * z;
                let loss = step.log_ratio(x);
                if loss > step.keep.ln() * (1.0 - 1e-6) {
                    assert!(
                        (step.place(loss) - x).abs() < 1e-6 * (1.0 + z),
                        "q {q} z {z} x {x}"
                    );
                }
                let h = 1e-6 * z * z;
                let numeric = (step.log_ratio(x + h) - step.log_ratio(x - h)) / (2.0 * h);
                assert!(
                    (step.slope(x) / step.variance() - numeric).abs()
                        <= 1e-3 * numeric.abs() + 1e-6
                );
            }
            assert_eq!(step.place(step.keep.ln() - 1e-6), f64::NEG_INFINITY);
        }
    }
}
