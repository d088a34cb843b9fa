//! Why a clipping mode is refused.

use thiserror::Error;

/// A clipping mode that cannot be used.
#[derive(Debug, Error, PartialEq)]
pub enum ClippingError {
    /// No stability constant.
    #[error("stability is {0}; expected a finite number above 0, such as 0.01")]
    Stability(f32),
    /// No quantile.
    #[error("quantile is {0}; expected a number above 0 and below 1")]
    Quantile(f64),
    /// No learning rate.
    #[error("learning_rate of the clipping norm is {0}; expected a number above 0 and at most 1")]
    LearningRate(f64),
    /// The count's noise would use up the whole budget.
    #[error(
        "count_noise is {got}; expected a finite number above {least}, half the noise multiplier, which leaves noise to the gradients"
    )]
    CountNoise {
        /// What was given.
        got: f64,
        /// What it must exceed.
        least: f64,
    },
}
