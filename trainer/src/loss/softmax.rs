//! Cross-entropy of a softmax, with weights of classes and smoothed labels.

use super::{LossError, Real};
use crate::graph::Shape;
use crate::targets::Target;

/// At each position `-Σ_c w_c t'_c log softmax(outputs)_c` with `t' = (1 - s)·t + s/classes` (Szegedy et al. 2016,
/// section 7), averaged over the positions.
#[derive(Debug)]
pub(super) struct Softmax {
    classes: usize,
    positions: usize,
    /// One a class; empty where all are 1.
    weights: Vec<f64>,
    smoothing: f64,
}

impl Softmax {
    pub(super) fn new(output: &Shape, weights: &[f64], smoothing: f64) -> Result<Self, LossError> {
        let (classes, positions) = match output.dims() {
            [classes, rest @ ..] if *classes >= 2 => (*classes, rest.iter().product()),
            _ => return Err(LossError::Classes(output.clone())),
        };
        if !weights.is_empty() && weights.len() != classes {
            return Err(LossError::Weights {
                expected: classes,
                got: weights.len(),
            });
        }
        Ok(Self {
            classes,
            positions,
            weights: weights.to_vec(),
            smoothing,
        })
    }

    /// The loss; adds `scale` times its gradient.
    pub(super) fn add<F: Real>(
        &self,
        outputs: &[F],
        target: Target<'_>,
        scale: f64,
        gradient: &mut [F],
    ) -> f64 {
        let share = 1.0 / self.positions as f64;
        let mut loss = 0.0;
        for position in 0..self.positions {
            let at = |class: usize| class * self.positions + position;
            let output = |class: usize| -> f64 { outputs[at(class)].into() };
            // Shifted by the largest output, so that no exponential overflows.
            let largest = (0..self.classes)
                .map(output)
                .fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = (0..self.classes)
                .map(|class| (output(class) - largest).exp())
                .sum();
            let logarithm = sum.ln();
            let wanted = |class: usize| {
                let weight = self.weights.get(class).copied().unwrap_or(1.0);
                let even = self.smoothing / self.classes as f64;
                weight * ((1.0 - self.smoothing) * target.at(at(class), outputs.len()) + even)
            };
            let mut all = 0.0;
            for class in 0..self.classes {
                let wanted = wanted(class);
                all += wanted;
                // An output of minus infinity costs nothing where nothing is wanted of it.
                if wanted != 0.0 {
                    loss += share * wanted * (logarithm - (output(class) - largest));
                }
            }
            for class in 0..self.classes {
                let softmax = (output(class) - largest).exp() / sum;
                gradient[at(class)].add(scale * share * (all * softmax - wanted(class)));
            }
        }
        loss
    }
}
