//! Networks as they are trained: read from ONNX, checked, and laid out step by step.

mod claims;
mod constant;
mod error;
mod extent;
mod fold;
mod freeze;
mod import;
mod index;
mod lane_operator;
mod names;
mod node;
mod operator;
mod operators;
mod pending;
mod plan;
mod progress;
#[cfg(test)]
mod refusals;
mod report;
mod shape;
mod tied;
mod view;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use self::error::GraphError;
pub(crate) use self::freeze::KEY as FROZEN_KEY;
pub(crate) use self::lane_operator::{LaneBackward, LaneOperator};
pub(crate) use self::operator::{Backward, Forward, GradientPass, Scaled, Scratch};
pub use self::plan::ParameterInfo;
pub(crate) use self::plan::{Place, Plan, Step};
pub use self::report::{LayerReport, ModelReport};
pub use self::shape::Shape;
use crate::onnx::ModelProto;

/// ONNX's names of the operators that are read.
#[cfg(test)]
pub(crate) fn registered_operators() -> impl Iterator<Item = &'static str> {
    operators::REGISTRY.iter().map(|(operator, _)| *operator)
}

/// A network for training. A clone is a handle of the same one.
///
/// ```
/// let graph = tributary_trainer::Graph::from_onnx(&tributary_trainer::models::mnist_cnn(1))?;
/// assert_eq!(graph.input_shape().dims(), [1, 28, 28]);
/// assert_eq!(graph.output_shape().dims(), [10]);
/// assert_eq!(graph.parameters()[0].name, "conv1.weight");
/// # Ok::<(), tributary_trainer::GraphError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Graph {
    digest: ModelDigest,
    plan: Arc<Plan>,
    frozen: Arc<[Range<usize>]>,
}

impl Graph {
    /// Reads an ONNX file as PyTorch's exporters write it.
    ///
    /// # Errors
    /// Whatever cannot be trained is refused, with the operator, its node and what is supported instead.
    pub fn from_onnx(bytes: &[u8]) -> Result<Self, GraphError> {
        let model = ModelProto::read(bytes)?;
        let mut plan = import::import(&model)?;
        let frozen = match model.metadata(freeze::KEY) {
            Some(names) => freeze::freeze(&mut plan, names)?,
            None => Vec::new(),
        };
        Ok(Self {
            digest: ModelDigest(Sha256::digest(bytes).into()),
            plan: Arc::new(plan),
            frozen: frozen.into(),
        })
    }

    /// SHA-256 of the file.
    pub fn digest(&self) -> ModelDigest {
        self.digest
    }

    /// The shape of one example.
    pub fn input_shape(&self) -> &Shape {
        &self.plan.input
    }

    /// The shape of one example's output.
    pub fn output_shape(&self) -> &Shape {
        &self.plan.output.shape
    }

    /// What is trained, in the order in which the graph uses it.
    pub fn parameters(&self) -> &[ParameterInfo] {
        &self.plan.parameters
    }

    /// How many numbers are trained.
    pub fn parameter_count(&self) -> usize {
        self.plan.weights.len()
    }

    /// The weights in the file, flat, in the order of [`Graph::parameters`].
    pub fn initial_weights(&self) -> &[f32] {
        &self.plan.weights
    }

    /// Where parameters that the file's metadata freezes (`tributary.frozen`) lie among all: they stay as they are.
    pub fn frozen(&self) -> &[Range<usize>] {
        &self.frozen
    }

    /// Refuses a graph whose examples would influence one another's gradients in training.
    ///
    /// # Errors
    /// Where it normalises by batch.
    pub fn check_private_training(&self) -> Result<(), GraphError> {
        match self.plan.batch_norms.first() {
            None => Ok(()),
            Some(node) => Err(GraphError::BatchNormalization { node: node.clone() }),
        }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// SHA-256 of an ONNX file; shown in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ModelDigest(pub [u8; 32]);

impl fmt::Display for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelDigest({self})")
    }
}
