//! Losses by name, and their settings.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::dice::Dice;
use super::elementwise::Elementwise;
use super::softmax::Softmax;
use super::{Loss, Sum, Term};
use crate::graph::Shape;

/// The loss, as a contract names it.
///
/// A label stands for its one-hot vector (for a single output: for 0 or 1), so every loss takes labels as well as values.
/// A mean is over the elements of one example's output; examples are averaged by the trainer.
///
/// ```
/// use tributary_trainer::LossConfig;
/// let loss: LossConfig = serde_json::from_str(r#"{"sum":[
///     {"weight":1.0,"loss":"dice"},
///     {"weight":0.5,"loss":{"bce-with-logits":{"positive_weight":2.0}}}
/// ]}"#)?;
/// assert!(loss.check().is_ok());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LossConfig {
    /// Cross-entropy of the softmax over the first dimension, as `torch.nn.CrossEntropyLoss`: targets are labels, or
    /// probabilities in the output's shape. Averaged over positions where there are more dimensions.
    CrossEntropy,
    /// The same with weights of classes and smoothed labels. Where PyTorch divides a batch by the sum of its weights, this
    /// divides by its number: what one example adds may not depend on the others.
    WeightedCrossEntropy {
        /// One above zero for each class; all 1 where empty.
        weights: Vec<f64>,
        /// How much of each target is spread over all classes evenly, at least 0 and below 1.
        label_smoothing: f64,
    },
    /// Binary cross-entropy of sigmoids, as `torch.nn.BCEWithLogitsLoss`.
    BceWithLogits {
        /// How much more a positive target counts, above 0; usually 1.
        positive_weight: f64,
    },
    /// The mean squared error, as `torch.nn.MSELoss`.
    Mse,
    /// The mean absolute error, as `torch.nn.L1Loss`; the derivative at 0 is 0.
    L1,
    /// Quadratic near 0 and linear beyond `delta` (Huber 1964), as `torch.nn.HuberLoss`.
    Huber {
        /// Above zero; usually 1.
        delta: f64,
    },
    /// Binary cross-entropy that plays down what is right already (Lin et al. 2017, equation 5), as
    /// `torchvision.ops.sigmoid_focal_loss`, averaged.
    Focal {
        /// How far, at least 0; usually 2.
        gamma: f64,
        /// The weight of positive targets, from 0 to 1, negative ones having the rest; both 1 where left out.
        alpha: Option<f64>,
    },
    /// One less the Dice coefficient of sigmoids, `(2 Σpt + 1) / (Σp + Σt + 1)` (Milletari et al. 2016 without squares, with
    /// Laplace's smoothing), for each channel of an image and averaged over them; of all elements where the output is a vector.
    Dice,
    /// A weighted sum.
    Sum(Vec<WeightedLoss>),
}

/// A part of a sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightedLoss {
    /// Above zero.
    pub weight: f64,
    /// Any loss but a sum.
    pub loss: LossConfig,
}

/// Why a loss cannot be used, or does not fit a graph.
#[derive(Debug, Error)]
pub enum LossError {
    /// The output holds no classes.
    #[error(
        "cross-entropy needs an output of at least 2 classes in its first dimension for each example, got {0}"
    )]
    Classes(Shape),
    /// Weights of another number of classes.
    #[error(
        "{got} weights of classes for an output of {expected} classes; give one for each class, or none"
    )]
    Weights {
        /// Classes of the output.
        expected: usize,
        /// Weights given.
        got: usize,
    },
    /// A setting out of range.
    #[error("{setting} is {got}; expected {expected}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What it is.
        got: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// A sum of too many or too few.
    #[error("a sum of {0} losses; expected 1 to {most}", most = LossConfig::TERMS_LIMIT)]
    Terms(usize),
    /// A sum in a sum.
    #[error("a sum of losses within a sum; expected losses that are not sums")]
    Nested,
}

impl LossConfig {
    /// Most losses of a sum.
    pub const TERMS_LIMIT: usize = 8;

    /// Checks every setting's range. Whether the loss fits a graph is checked where a trainer is made.
    ///
    /// # Errors
    /// Names the first setting that is out of range.
    pub fn check(&self) -> Result<(), LossError> {
        match self {
            Self::CrossEntropy | Self::Mse | Self::L1 | Self::Dice => Ok(()),
            Self::WeightedCrossEntropy {
                weights,
                label_smoothing,
            } => {
                for &weight in weights {
                    positive("weights", weight)?;
                }
                within(
                    "label_smoothing",
                    *label_smoothing,
                    (0.0..1.0).contains(label_smoothing),
                    "a number of at least 0 and below 1",
                )
            }
            Self::BceWithLogits { positive_weight } => {
                positive("positive_weight", *positive_weight)
            }
            Self::Huber { delta } => positive("delta", *delta),
            Self::Focal { gamma, alpha } => {
                within(
                    "gamma",
                    *gamma,
                    gamma.is_finite() && *gamma >= 0.0,
                    "a finite number of at least 0",
                )?;
                let Some(alpha) = alpha else { return Ok(()) };
                within(
                    "alpha",
                    *alpha,
                    (0.0..=1.0).contains(alpha),
                    "a number from 0 to 1",
                )
            }
            Self::Sum(parts) => {
                if !(1..=Self::TERMS_LIMIT).contains(&parts.len()) {
                    return Err(LossError::Terms(parts.len()));
                }
                for part in parts {
                    positive("weight", part.weight)?;
                    if matches!(part.loss, Self::Sum(_)) {
                        return Err(LossError::Nested);
                    }
                    part.loss.check()?;
                }
                Ok(())
            }
        }
    }

    /// Whether outputs are the logarithms of probabilities over the first dimension, one of which is meant.
    pub(crate) fn is_softmax(&self) -> bool {
        match self {
            Self::CrossEntropy | Self::WeightedCrossEntropy { .. } => true,
            Self::Sum(parts) => parts.iter().any(|part| part.loss.is_softmax()),
            _ => false,
        }
    }

    /// The loss, for a graph with this output.
    pub(crate) fn build(&self, output: &Shape) -> Result<Box<dyn Loss>, LossError> {
        Ok(Box::new(self.sum(output)?))
    }

    pub(super) fn sum(&self, output: &Shape) -> Result<Sum, LossError> {
        self.check()?;
        let terms = match self {
            Self::Sum(parts) => parts
                .iter()
                .map(|part| Ok((part.weight, part.loss.term(output)?)))
                .collect::<Result<_, LossError>>()?,
            single => vec![(1.0, single.term(output)?)],
        };
        Ok(Sum(terms))
    }

    fn term(&self, output: &Shape) -> Result<Term, LossError> {
        Ok(match self {
            Self::CrossEntropy => Term::Softmax(Softmax::new(output, &[], 0.0)?),
            Self::WeightedCrossEntropy {
                weights,
                label_smoothing,
            } => Term::Softmax(Softmax::new(output, weights, *label_smoothing)?),
            Self::BceWithLogits { positive_weight } => Term::Elementwise(Elementwise::Bce {
                positive_weight: *positive_weight,
            }),
            Self::Mse => Term::Elementwise(Elementwise::Squared),
            Self::L1 => Term::Elementwise(Elementwise::Absolute),
            Self::Huber { delta } => Term::Elementwise(Elementwise::Huber { delta: *delta }),
            Self::Focal { gamma, alpha } => Term::Elementwise(Elementwise::Focal {
                gamma: *gamma,
                alpha: *alpha,
            }),
            Self::Dice => Term::Dice(Dice::new(output)),
            Self::Sum(_) => return Err(LossError::Nested),
        })
    }
}

fn positive(setting: &'static str, got: f64) -> Result<(), LossError> {
    within(
        setting,
        got,
        got.is_finite() && got > 0.0,
        "a finite number above 0",
    )
}

fn within(
    setting: &'static str,
    got: f64,
    holds: bool,
    expected: &'static str,
) -> Result<(), LossError> {
    if holds {
        return Ok(());
    }
    Err(LossError::Setting {
        setting,
        got,
        expected,
    })
}
