//! How weights follow a gradient. A new optimiser is a file here and a variant of [`OptimiserConfig`].

mod adam;
mod sgd;

use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The optimiser and its settings.
///
/// Its form in serde is one that every format can read back, for checkpoints name no fields.
///
/// ```
/// use tributary_trainer::OptimiserConfig;
/// let config: OptimiserConfig = serde_json::from_str(r#"{"sgd":{"learning_rate":0.5,"momentum":0.9}}"#)?;
/// assert!(config.check().is_ok());
/// assert!(serde_json::from_str::<OptimiserConfig>(r#"{"sgd":{"learning_rate":0.5,"momentun":0.9}}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum OptimiserConfig {
    /// Stochastic gradient descent as `torch.optim.SGD`: `v ← momentum·v + g`, `w ← w - learning_rate·v`.
    Sgd {
        /// Above zero.
        learning_rate: f64,
        /// At least 0 and below 1.
        momentum: f64,
    },
    /// Adam (Kingma and Ba 2015, algorithm 1) as `torch.optim.Adam` without weight decay.
    Adam {
        /// Above zero.
        learning_rate: f64,
        /// Decay of the mean, at least 0 and below 1; usually 0.9.
        beta1: f64,
        /// Decay of the squares, at least 0 and below 1; usually 0.999.
        beta2: f64,
        /// Added to the denominator, above zero; usually 1e-8.
        epsilon: f64,
    },
}

/// An optimiser's setting that is out of range.
#[derive(Debug, Error, PartialEq)]
#[error("{setting} is {got}; expected {expected}")]
pub struct OptimiserError {
    setting: &'static str,
    got: f64,
    expected: &'static str,
}

impl OptimiserConfig {
    /// Checks every setting's range.
    ///
    /// # Errors
    /// Names the first setting that is out of range.
    pub fn check(&self) -> Result<(), OptimiserError> {
        // The arithmetic is in single precision.
        let positive = |setting, got: f64| match (got as f32).is_finite() && got as f32 > 0.0 {
            true => Ok(()),
            false => Err(OptimiserError {
                setting,
                got,
                expected: "a finite number above 0",
            }),
        };
        let decay = |setting, got: f64| match (0.0..1.0).contains(&got) {
            true => Ok(()),
            false => Err(OptimiserError {
                setting,
                got,
                expected: "a number of at least 0 and below 1",
            }),
        };
        match *self {
            Self::Sgd {
                learning_rate,
                momentum,
            } => {
                positive("learning_rate", learning_rate)?;
                decay("momentum", momentum)
            }
            Self::Adam {
                learning_rate,
                beta1,
                beta2,
                epsilon,
            } => {
                positive("learning_rate", learning_rate)?;
                decay("beta1", beta1)?;
                decay("beta2", beta2)?;
                positive("epsilon", epsilon)
            }
        }
    }

    /// The optimiser, for so many weights, at its start.
    pub(crate) fn build(&self, weights: usize) -> Result<Box<dyn Optimiser>, OptimiserError> {
        self.check()?;
        Ok(match *self {
            Self::Sgd {
                learning_rate,
                momentum,
            } => Box::new(sgd::Sgd::new(learning_rate, momentum, weights)),
            Self::Adam {
                learning_rate,
                beta1,
                beta2,
                epsilon,
            } => Box::new(adam::Adam::new(
                learning_rate,
                [beta1, beta2],
                epsilon,
                weights,
            )),
        })
    }
}

/// An optimiser and its moments.
pub(crate) trait Optimiser: Debug + Send {
    /// Moves the weights. `step` counts from 1.
    fn step(&mut self, step: u64, weights: &mut [f32], gradient: &[f32]);

    /// Its moments, each as long as the weights.
    fn moments(&self) -> Vec<&[f32]>;

    /// The same, to be overwritten when training is resumed.
    fn moments_mut(&mut self) -> Vec<&mut [f32]>;
}
