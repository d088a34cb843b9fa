//! What training makes smaller. A new loss is a file here and a variant of [`LossConfig`].

mod cross_entropy;

use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::graph::Shape;

/// The loss, as a contract names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LossConfig {
    /// Cross-entropy of the softmax of the outputs, as `torch.nn.CrossEntropyLoss`; labels are class numbers.
    CrossEntropy,
}

/// Why a loss does not fit a graph.
#[derive(Debug, Error)]
pub enum LossError {
    /// The output is not a vector of classes.
    #[error("cross-entropy needs an output of at least 2 classes for each example, got {0}")]
    Classes(Shape),
}

/// A loss of one example.
pub(crate) trait Loss: Debug + Send + Sync {
    /// The loss, and its gradient by the outputs. `None` where the label is out of range.
    fn evaluate(&self, outputs: &[f32], label: u32, gradient: &mut [f32]) -> Option<f32>;
}

impl LossConfig {
    /// The loss, for a graph with this output.
    pub(crate) fn build(self, output: &Shape) -> Result<Box<dyn Loss>, LossError> {
        match self {
            Self::CrossEntropy => Ok(Box::new(cross_entropy::CrossEntropy::new(output)?)),
        }
    }
}
