//! Losses that are a mean over the output's elements.

use super::{Real, sigmoid};
use crate::targets::Target;

/// What an element costs, given its output `x` and target `t`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Elementwise {
    /// `-(w t log σ(x) + (1 - t) log(1 - σ(x)))`.
    Bce { positive_weight: f64 },
    /// `(x - t)²`.
    Squared,
    /// `|x - t|`.
    Absolute,
    /// `(x - t)²/2` where `|x - t| <= δ`, else `δ(|x - t| - δ/2)`.
    Huber { delta: f64 },
    /// `α_t (1 - p_t)^γ` times the binary cross-entropy, with `p_t = p t + (1 - p)(1 - t)`.
    Focal { gamma: f64, alpha: Option<f64> },
}

impl Elementwise {
    /// The loss; adds `scale` times its gradient.
    pub(super) fn add<F: Real>(
        self,
        outputs: &[F],
        target: Target<'_>,
        scale: f64,
        gradient: &mut [F],
    ) -> f64 {
        let share = 1.0 / outputs.len() as f64;
        let mut loss = 0.0;
        for (index, (&output, gradient)) in outputs.iter().zip(gradient).enumerate() {
            let (cost, slope) = self.element(output.into(), target.at(index, outputs.len()));
            loss += share * cost;
            gradient.add(scale * share * slope);
        }
        loss
    }

    /// An element's cost and its derivative by the output.
    fn element(self, x: f64, t: f64) -> (f64, f64) {
        match self {
            Self::Bce { positive_weight } => {
                // log(1 + exp(-x)) without overflow, and the same of -x.
                let positive = (-x).max(0.0) + (-x.abs()).exp().ln_1p();
                let p = sigmoid(x);
                let weighted = positive_weight * t;
                (
                    weighted * positive + (1.0 - t) * (positive + x),
                    (1.0 - t) * p - weighted * (1.0 - p),
                )
            }
            Self::Squared => ((x - t) * (x - t), 2.0 * (x - t)),
            Self::Absolute => {
                let distance = x - t;
                let sign = if distance == 0.0 {
                    0.0
                } else {
                    distance.signum()
                };
                (distance.abs(), sign)
            }
            Self::Huber { delta } => {
                let distance = x - t;
                if distance.abs() > delta {
                    (
                        delta * (distance.abs() - delta / 2.0),
                        delta * distance.signum(),
                    )
                } else {
                    (distance * distance / 2.0, distance)
                }
            }
            Self::Focal { gamma, alpha } => {
                let (entropy, slope) = Self::Bce {
                    positive_weight: 1.0,
                }
                .element(x, t);
                let p = sigmoid(x);
                let weight = alpha.map_or(1.0, |alpha| alpha * t + (1.0 - alpha) * (1.0 - t));
                // 1 - p_t, written so that it keeps its digits where p_t is near 1.
                let missed = sigmoid(-x) * t + p * (1.0 - t);
                let power = missed.powf(gamma);
                let power_slope = if gamma == 0.0 {
                    0.0
                } else {
                    let inner = (1.0 - 2.0 * t) * p * sigmoid(-x);
                    gamma * missed.max(f64::MIN_POSITIVE).powf(gamma - 1.0) * inner
                };
                (
                    weight * power * entropy,
                    weight * (slope * power + entropy * power_slope),
                )
            }
        }
    }
}
