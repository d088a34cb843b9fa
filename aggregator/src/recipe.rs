//! Settings that are known to train a model well, for whoever does not want to tune them.

use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;
use tributary_protocol::{Average, Clipping, Course, Loss, Optimiser, Schedule};

/// A set of settings: one that comes with the project, or a TOML file with exactly these fields.
///
/// ```
/// let text = r#"
///     divisor = 255.0
///     mean = 0.5
///     deviation = 0.5
///     sampling_rate = 0.02
///     clipping_norm = 1.0
///     clipping = { automatic = { stability = 0.01 } }
///     steps = 400
///     delta = 1e-5
///     loss = "cross-entropy"
///     optimiser = { kind = "sgd", learning_rate = 0.5, momentum = 0.9 }
///     schedule = { course = { kind = "cosine", end = 0.0 } }
///     average = { decay = 0.97 }
/// "#;
/// let recipe = tributary_aggregator::Recipe::from_toml(text)?;
/// assert_eq!(recipe.steps, 400);
/// # Ok::<(), tributary_aggregator::RecipeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
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
    /// How gradients are clipped to it; flat where left out.
    #[serde(default)]
    pub clipping: Clipping,
    /// Steps of one run.
    pub steps: u64,
    /// What training makes small.
    pub loss: Loss,
    /// The optimiser.
    pub optimiser: Optimiser,
    /// How the learning rate changes; not at all where left out.
    #[serde(default)]
    pub schedule: Schedule,
    /// The average of the weights that is measured and sealed; none where left out.
    #[serde(default)]
    pub average: Option<Average>,
    /// The probability that epsilon does not bound.
    pub delta: f64,
}

/// What is no recipe.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// A name that is no recipe's.
    #[error("expected a recipe, one of: {known}, or a TOML file; got `{0}`", known = Recipe::NAMES.join(", "))]
    Unknown(String),
    /// A file that cannot be read.
    #[error("{0}: {1}")]
    File(String, #[source] std::io::Error),
    /// A file that is no recipe.
    #[error("expected a recipe in TOML: {0}")]
    Toml(#[from] toml::de::Error),
}

/// A recipe is some lines.
const FILE_SIZE_LIMIT: u64 = 64 << 10;

impl Recipe {
    /// The recipes that come with the project.
    pub const NAMES: [&'static str; 2] = ["mnist", "mnist-scatter"];

    /// The network that a recipe of the project is for, as `aggregator model new` calls it; none for other names.
    pub fn network(name: &str) -> Option<&'static str> {
        match name {
            "mnist" => Some("mnist-cnn"),
            "mnist-scatter" => Some("mnist-scatter"),
            _ => None,
        }
    }

    /// For `mnist-cnn` on some tens of thousands of grey images of 28x28, at an epsilon of about 3.
    pub fn mnist() -> Self {
        Self {
            // To -1 ... 1: bounds that are known without looking at the data.
            divisor: 127.5,
            mean: 1.0,
            deviation: 1.0,
            sampling_rate: 2048.0 / 60_000.0,
            clipping_norm: 1.0,
            clipping: Clipping::Flat,
            steps: 400,
            loss: Loss::CrossEntropy,
            optimiser: Optimiser::Sgd {
                learning_rate: 0.5,
                momentum: 0.9,
                nesterov: false,
                weight_decay: 0.0,
            },
            schedule: Schedule::default(),
            average: None,
            delta: 1e-5,
        }
    }

    /// For `mnist-scatter` on the same: more computation for each example, and one layer to train.
    pub fn mnist_scatter() -> Self {
        Self {
            // To 0 ... 1, with a black background at 0, where the filters' borders add nothing.
            divisor: 255.0,
            mean: 0.0,
            deviation: 1.0,
            sampling_rate: 4096.0 / 60_000.0,
            clipping_norm: 0.1,
            steps: 300,
            optimiser: Optimiser::Sgd {
                learning_rate: 16.0,
                momentum: 0.9,
                nesterov: false,
                weight_decay: 0.0,
            },
            schedule: Schedule {
                warm_up: None,
                course: Course::Cosine { end: 0.0 },
            },
            average: Some(Average { decay: 0.97 }),
            ..Self::mnist()
        }
    }

    /// Reads a recipe's TOML.
    ///
    /// # Errors
    /// Where a field is missing or unknown, or of another type. Ranges are checked when the contract is written.
    pub fn from_toml(text: &str) -> Result<Self, RecipeError> {
        Ok(toml::from_str(text)?)
    }

    fn from_file(path: &Path) -> Result<Self, RecipeError> {
        let failed = |error| RecipeError::File(path.display().to_string(), error);
        let size = std::fs::metadata(path).map_err(failed)?.len();
        if size > FILE_SIZE_LIMIT {
            let error = std::io::Error::other(format!(
                "expected at most {FILE_SIZE_LIMIT} bytes, got {size}"
            ));
            return Err(failed(error));
        }
        Self::from_toml(&std::fs::read_to_string(path).map_err(failed)?)
    }
}

impl FromStr for Recipe {
    type Err = RecipeError;

    fn from_str(text: &str) -> Result<Self, RecipeError> {
        match text {
            "mnist" => Ok(Self::mnist()),
            "mnist-scatter" => Ok(Self::mnist_scatter()),
            file if file.ends_with(".toml") => Self::from_file(Path::new(file)),
            other => Err(RecipeError::Unknown(other.chars().take(80).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_missing_fields_of_a_file_are_refused() {
        let good = "divisor = 255.0\nmean = 0.5\ndeviation = 0.5\nsampling_rate = 0.02\nclipping_norm = 1.0\nsteps = 4\n\
                    delta = 1e-5\nloss = \"mse\"\n[optimiser]\nkind = \"sgd\"\nlearning_rate = 0.5\nmomentum = 0.9\n";
        assert_eq!(Recipe::from_toml(good).unwrap().loss, Loss::Mse);
        for line in good.lines().filter(|line| !line.starts_with('[')) {
            let without = good.replace(line, "");
            assert!(Recipe::from_toml(&without).is_err(), "without {line}");
        }
        let error = Recipe::from_toml(&format!("epochs = 3\n{good}")).unwrap_err();
        assert!(error.to_string().contains("epochs"), "{error}");
        assert!(Recipe::from_toml(&format!("{good}nesterow = true\n")).is_err());
    }

    #[test]
    fn every_name_is_a_recipes() {
        for name in Recipe::NAMES {
            assert!(name.parse::<Recipe>().is_ok());
            assert!(Recipe::network(name).is_some());
        }
        let error = "imagenet".parse::<Recipe>().unwrap_err();
        assert!(error.to_string().contains("mnist-scatter"), "{error}");
        assert!("no/such/file.toml".parse::<Recipe>().is_err());
    }
}
