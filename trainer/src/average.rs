//! The average of the weights over the steps, which is often better than where the last step ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::optimiser::{OptimiserError, decay};

/// An exponential moving average of the weights, as De et al. 2022 (section 4.4) use it for private training.
///
/// After step `t` it is `a ← d·a + (1 - d)·w` with `d = min(decay, (1 + t) / (10 + t))`, so that the initial weights are
/// soon forgotten. It starts at the initial weights, and costs no privacy: it sees only weights that are private already.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AverageConfig {
    /// How much of the average is kept in a step, at least 0 and below 1.
    pub decay: f64,
}

impl AverageConfig {
    /// Checks the range.
    ///
    /// # Errors
    /// Where the decay is out of it.
    pub fn check(self) -> Result<(), OptimiserError> {
        decay("average.decay", self.decay)
    }
}

/// The average as it stands.
pub(crate) struct Average {
    decay: f64,
    weights: Vec<f32>,
}

impl Average {
    pub(crate) fn new(config: AverageConfig, weights: &[f32]) -> Self {
        Self {
            decay: config.decay,
            weights: weights.to_vec(),
        }
    }

    /// Takes in the weights after a step, which counts from 1.
    pub(crate) fn add(&mut self, step: u64, weights: &[f32]) {
        let step = step as f64;
        let kept = self.decay.min((1.0 + step) / (10.0 + step));
        let rest = (1.0 - kept) as f32;
        for (average, weight) in self.weights.iter_mut().zip(weights) {
            *average += rest * (weight - *average);
        }
    }

    pub(crate) fn weights(&self) -> &[f32] {
        &self.weights
    }

    pub(crate) fn weights_mut(&mut self) -> &mut [f32] {
        &mut self.weights
    }
}

impl fmt::Debug for Average {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Average")
            .field("decay", &self.decay)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_forgets_fast_at_first_and_then_as_the_decay_says() {
        let mut average = Average::new(AverageConfig { decay: 0.3 }, &[1.0]);
        // d = min(0.3, 2/11), min(0.3, 3/12), min(0.3, 4/13)
        let mut expected = 1.0;
        for (step, weight, kept) in [(1, 2.0, 2.0 / 11.0), (2, -1.0, 0.25), (3, 4.0, 0.3)] {
            average.add(step, &[weight as f32]);
            expected = kept * expected + (1.0 - kept) * weight;
            assert!((f64::from(average.weights()[0]) - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn a_decay_out_of_range_is_refused() {
        assert!(AverageConfig { decay: 0.0 }.check().is_ok());
        for decay in [-0.1, 1.0, f64::NAN] {
            assert!(AverageConfig { decay }.check().is_err());
        }
    }
}
