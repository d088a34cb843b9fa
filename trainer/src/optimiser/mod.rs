//! How weights follow a gradient. A new optimiser is a file here and a variant of [`OptimiserConfig`].

mod adam;
mod rmsprop;
mod sgd;
#[cfg(test)]
mod tests;

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
    /// The same with Nesterov's momentum, as `torch.optim.SGD(nesterov=True)`: `v ← momentum·v + g`,
    /// `w ← w - learning_rate·(g + momentum·v)`.
    Nesterov {
        /// Above zero.
        learning_rate: f64,
        /// Above 0 and below 1.
        momentum: f64,
    },
    /// Adam (Kingma and Ba 2015, algorithm 1) as `torch.optim.Adam`; with [`WeightDecay::Decoupled`], `torch.optim.AdamW`.
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
    /// RMSprop (Tieleman and Hinton 2012, lecture 6.5; centred: Graves 2013, equations 38 to 45) as `torch.optim.RMSprop`.
    RmsProp {
        /// Above zero.
        learning_rate: f64,
        /// Decay of the squares, `alpha` in PyTorch: at least 0 and below 1; usually 0.99.
        decay: f64,
        /// Added to the denominator, above zero; usually 1e-8.
        epsilon: f64,
        /// At least 0 and below 1; usually 0.
        momentum: f64,
        /// Whether the mean's square is taken off the mean of squares, so that the denominator is a deviation.
        centred: bool,
    },
}

/// What pulls weights towards zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum WeightDecay {
    /// Nothing.
    #[default]
    None,
    /// Adds so many times the weight to its gradient, as `weight_decay` of `torch.optim.SGD`, `Adam` and `RMSprop`.
    Gradient(f64),
    /// Takes `learning_rate` times so much of the weight off it, before the optimiser's step (Loshchilov and Hutter 2019,
    /// algorithm 2), as `weight_decay` of `torch.optim.AdamW`.
    Decoupled(f64),
}

/// An optimiser's setting that is out of range.
#[derive(Debug, Error, PartialEq)]
#[error("{setting} is {got}; expected {expected}")]
pub struct OptimiserError {
    pub(crate) setting: &'static str,
    pub(crate) got: f64,
    pub(crate) expected: &'static str,
}

impl OptimiserConfig {
    /// Checks every setting's range.
    ///
    /// # Errors
    /// Names the first setting that is out of range.
    pub fn check(&self) -> Result<(), OptimiserError> {
        match *self {
            Self::Sgd {
                learning_rate,
                momentum,
            } => {
                positive("learning_rate", learning_rate)?;
                decay("momentum", momentum)
            }
            Self::Nesterov {
                learning_rate,
                momentum,
            } => {
                positive("learning_rate", learning_rate)?;
                decay("momentum", momentum)?;
                positive("momentum", momentum)
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
            Self::RmsProp {
                learning_rate,
                decay: squares,
                epsilon,
                momentum,
                centred: _,
            } => {
                positive("learning_rate", learning_rate)?;
                decay("decay", squares)?;
                positive("epsilon", epsilon)?;
                decay("momentum", momentum)
            }
        }
    }

    /// The learning rate before a schedule scales it.
    pub fn learning_rate(&self) -> f64 {
        match *self {
            Self::Sgd { learning_rate, .. }
            | Self::Nesterov { learning_rate, .. }
            | Self::Adam { learning_rate, .. }
            | Self::RmsProp { learning_rate, .. } => learning_rate,
        }
    }

    /// The optimiser, for so many weights, at its start.
    pub(crate) fn build(&self, weights: usize) -> Result<Box<dyn Optimiser>, OptimiserError> {
        self.check()?;
        Ok(match *self {
            Self::Sgd { momentum, .. } => {
                Box::new(sgd::Sgd::new(momentum, sgd::Momentum::Classic, weights))
            }
            Self::Nesterov { momentum, .. } => {
                Box::new(sgd::Sgd::new(momentum, sgd::Momentum::Nesterov, weights))
            }
            Self::Adam {
                beta1,
                beta2,
                epsilon,
                ..
            } => Box::new(adam::Adam::new([beta1, beta2], epsilon, weights)),
            Self::RmsProp {
                decay,
                epsilon,
                momentum,
                centred,
                ..
            } => Box::new(rmsprop::RmsProp::new(
                decay, epsilon, momentum, centred, weights,
            )),
        })
    }
}

impl WeightDecay {
    /// Checks the range.
    ///
    /// # Errors
    /// Where it is not finite or not above zero.
    pub fn check(self) -> Result<(), OptimiserError> {
        match self {
            Self::None => Ok(()),
            Self::Gradient(share) | Self::Decoupled(share) => positive("weight_decay", share),
        }
    }

    /// Applies it to weights or gradient, before the optimiser's step.
    pub(crate) fn apply(self, learning_rate: f64, weights: &mut [f32], gradient: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Gradient(share) => {
                let share = share as f32;
                for (gradient, weight) in gradient.iter_mut().zip(weights) {
                    *gradient += share * *weight;
                }
            }
            Self::Decoupled(share) => {
                let kept = (1.0 - learning_rate * share) as f32;
                weights.iter_mut().for_each(|weight| *weight *= kept);
            }
        }
    }
}

/// An optimiser and its moments.
pub(crate) trait Optimiser: Debug + Send {
    /// Moves the weights. `step` counts from 1.
    fn step(&mut self, step: u64, learning_rate: f64, weights: &mut [f32], gradient: &[f32]);
    /// Its moments, each as long as the weights or empty.
    fn moments(&self) -> Vec<&[f32]>;
    /// The same, to be overwritten when training is resumed.
    fn moments_mut(&mut self) -> Vec<&mut [f32]>;
}

/// The arithmetic is in single precision, so a number must be above zero there.
pub(crate) fn positive(setting: &'static str, got: f64) -> Result<(), OptimiserError> {
    if (got as f32).is_finite() && got as f32 > 0.0 {
        return Ok(());
    }
    Err(OptimiserError {
        setting,
        got,
        expected: "a finite number above 0",
    })
}

pub(crate) fn decay(setting: &'static str, got: f64) -> Result<(), OptimiserError> {
    if (0.0..1.0).contains(&got) {
        return Ok(());
    }
    Err(OptimiserError {
        setting,
        got,
        expected: "a number of at least 0 and below 1",
    })
}
