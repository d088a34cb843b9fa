//! Settings that are known to train a model well, for whoever does not want to tune them.

use std::str::FromStr;

use tributary_protocol::Optimiser;

/// A named set of settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// The name on the command line.
    pub name: &'static str,
    /// Divides each byte of the input.
    pub divisor: f32,
    /// Is taken off.
    pub mean: f32,
    /// Divides the rest.
    pub deviation: f32,
    /// The probability with which each record takes part in each step.
    pub sampling_rate: f64,
    /// The longest gradient that one record may contribute.
    pub clipping_norm: f64,
    /// Steps of one run.
    pub steps: u64,
    /// The optimiser.
    pub optimiser: Optimiser,
    /// The probability that epsilon does not bound.
    pub delta: f64,
}

/// A name that is no recipe's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a recipe, one of: mnist; got `{0}`")]
pub struct UnknownRecipe(String);

impl Recipe {
    /// For `mnist-cnn` on some tens of thousands of grey images of 28x28, at an epsilon of about 3.
    pub fn mnist() -> Self {
        Self {
            name: "mnist",
            // To -1 ... 1: bounds that are known without looking at the data.
            divisor: 127.5,
            mean: 1.0,
            deviation: 1.0,
            sampling_rate: 2048.0 / 60_000.0,
            clipping_norm: 1.0,
            steps: 400,
            optimiser: Optimiser::Sgd {
                learning_rate: 0.5,
                momentum: 0.9,
            },
            delta: 1e-5,
        }
    }
}

impl FromStr for Recipe {
    type Err = UnknownRecipe;

    fn from_str(text: &str) -> Result<Self, UnknownRecipe> {
        match text {
            "mnist" => Ok(Self::mnist()),
            other => Err(UnknownRecipe(other.chars().take(80).collect())),
        }
    }
}
