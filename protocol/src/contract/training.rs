//! How a contract says that a model is trained: its loss, its optimiser, and the course of the learning rate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What training makes small. A label stands for its one-hot vector where the loss compares numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Loss {
    /// Cross-entropy of the softmax of the model's outputs.
    CrossEntropy,
    /// The same with weights of classes and smoothed labels.
    WeightedCrossEntropy {
        /// One above 0 for each class, in their order; all 1 where empty.
        weights: Vec<f64>,
        /// How much of each label is spread over all classes, from 0 to below 1.
        label_smoothing: f64,
    },
    /// Binary cross-entropy of each output's sigmoid.
    BceWithLogits {
        /// How much more a positive target counts, above 0.
        positive_weight: f64,
    },
    /// The mean squared error.
    Mse,
    /// The mean absolute error.
    L1,
    /// Quadratic near 0 and linear beyond (Huber 1964).
    Huber {
        /// Where it becomes linear, above 0.
        delta: f64,
    },
    /// Binary cross-entropy that plays down what is right already (Lin et al. 2017).
    Focal {
        /// How far, at least 0.
        gamma: f64,
        /// The weight of positive targets, from 0 to 1; none where left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alpha: Option<f64>,
    },
    /// One less the Dice coefficient of the outputs' sigmoids.
    Dice,
    /// A weighted sum of one to eight others.
    Sum(Vec<WeightedLoss>),
}

/// A part of a sum of losses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedLoss {
    /// Above 0.
    pub weight: f64,
    /// Any loss but a sum.
    pub loss: Loss,
}

/// How training makes the loss small.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Optimiser {
    /// Stochastic gradient descent.
    Sgd {
        /// The step size.
        learning_rate: f64,
        /// The share of the last update that is kept, from 0 to below 1.
        momentum: f64,
        /// Whether a step looks ahead by its momentum (Nesterov), which must then be above 0.
        #[serde(default, skip_serializing_if = "is_default")]
        nesterov: bool,
        /// How much of each weight is added to its gradient, at least 0.
        #[serde(default, skip_serializing_if = "is_default")]
        weight_decay: f64,
    },
    /// Adam (Kingma and Ba 2015).
    Adam {
        /// The step size.
        learning_rate: f64,
        /// The decay of the mean of gradients.
        beta1: f64,
        /// The decay of the mean of squared gradients.
        beta2: f64,
        /// Keeps the division from zero.
        epsilon: f64,
        /// How much of each weight is added to its gradient, at least 0.
        #[serde(default, skip_serializing_if = "is_default")]
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    #[serde(rename = "adamw")]
    AdamW {
        /// The step size.
        learning_rate: f64,
        /// The decay of the mean of gradients.
        beta1: f64,
        /// The decay of the mean of squared gradients.
        beta2: f64,
        /// Keeps the division from zero.
        epsilon: f64,
        /// How much of each weight is taken off it in a step, times the step size; above 0.
        weight_decay: f64,
    },
    /// RMSprop (Tieleman and Hinton 2012).
    #[serde(rename = "rmsprop")]
    RmsProp {
        /// The step size.
        learning_rate: f64,
        /// The decay of the mean of squared gradients.
        decay: f64,
        /// Keeps the division from zero.
        epsilon: f64,
        /// The share of the last update that is kept, from 0 to below 1.
        momentum: f64,
        /// Whether the mean of gradients is taken off first.
        #[serde(default, skip_serializing_if = "is_default")]
        centred: bool,
        /// How much of each weight is added to its gradient, at least 0.
        #[serde(default, skip_serializing_if = "is_default")]
        weight_decay: f64,
    },
}

/// The course of the learning rate, which the optimiser's is the highest of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// A straight rise before the course begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<WarmUp>,
    /// The course, over the steps that the warm-up leaves of a run.
    pub course: Course,
}

/// A straight rise to the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WarmUp {
    /// How many steps, fewer than a run has.
    pub steps: u64,
    /// The first step's share of the learning rate, above 0, at most 1.
    pub from: f64,
}

/// How the learning rate changes. Shares are of the optimiser's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Course {
    /// Not at all.
    #[default]
    Constant,
    /// Multiplied by a factor every so many steps.
    Step {
        /// Steps between changes.
        every: u64,
        /// Above 0, at most 1.
        factor: f64,
    },
    /// Down along half a cosine.
    Cosine {
        /// The share at the end, from 0 to 1.
        end: f64,
    },
    /// Up along half a cosine and down along another.
    OneCycle {
        /// The share of steps that rise.
        rise: f64,
        /// The share of the learning rate at the start.
        start: f64,
        /// The share at the end.
        end: f64,
    },
    /// Up and down in straight lines, again and again.
    Cyclic {
        /// The share at the low points.
        low: f64,
        /// Steps up.
        up: u64,
        /// Steps down.
        down: u64,
    },
}

/// An exponential moving average of the weights, which is then what is measured and sealed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Average {
    /// How much of it is kept in a step, from 0 to below 1.
    pub decay: f64,
}

impl Optimiser {
    /// The step size.
    pub fn learning_rate(&self) -> f64 {
        match *self {
            Self::Sgd { learning_rate, .. }
            | Self::Adam { learning_rate, .. }
            | Self::AdamW { learning_rate, .. }
            | Self::RmsProp { learning_rate, .. } => learning_rate,
        }
    }
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
