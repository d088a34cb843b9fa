//! The Dice loss.

use super::{Real, sigmoid};
use crate::graph::Shape;
use crate::targets::Target;

/// The mean over regions of `1 - (2 Σ p t + s) / (Σ p + Σ t + s)` with `p` the sigmoids of the outputs and `s = 1`.
#[derive(Debug)]
pub(super) struct Dice {
    /// Elements of a region, which lie one after the other.
    region: usize,
}

/// Keeps the coefficient of two empty regions at 1.
const SMOOTH: f64 = 1.0;

impl Dice {
    pub(super) fn new(output: &Shape) -> Self {
        let region = match output.dims() {
            [_, rest @ ..] if !rest.is_empty() => rest.iter().product(),
            _ => output.elements(),
        };
        Self { region }
    }

    /// The loss; adds `scale` times its gradient.
    pub(super) fn add<F: Real>(
        &self,
        outputs: &[F],
        target: Target<'_>,
        scale: f64,
        gradient: &mut [F],
    ) -> f64 {
        let share = self.region as f64 / outputs.len() as f64;
        let mut loss = 0.0;
        let regions = outputs.chunks_exact(self.region);
        for (index, (outputs_here, gradient)) in regions
            .zip(gradient.chunks_exact_mut(self.region))
            .enumerate()
        {
            let wanted = |element: usize| target.at(index * self.region + element, outputs.len());
            let (mut both, mut either) = (0.0, 0.0);
            for (element, &output) in outputs_here.iter().enumerate() {
                let (p, t) = (sigmoid(output.into()), wanted(element));
                both += p * t;
                either += p + t;
            }
            let (above, below) = (2.0 * both + SMOOTH, either + SMOOTH);
            loss += share * (1.0 - above / below);
            for (element, (&output, gradient)) in outputs_here.iter().zip(gradient).enumerate() {
                let p = sigmoid(output.into());
                let slope = (2.0 * wanted(element) * below - above) / (below * below);
                gradient.add(-scale * share * slope * p * (1.0 - p));
            }
        }
        loss
    }
}
