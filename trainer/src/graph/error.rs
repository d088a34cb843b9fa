//! Why a model cannot be trained here.

use thiserror::Error;

use crate::onnx::OnnxError;

/// Why a graph is refused. Nodes are named as in the file; a node without a name is named after its output.
#[derive(Debug, Error)]
pub enum GraphError {
    /// The bytes are not an ONNX model, or a tensor in it is broken.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The file lacks something, or has something that is not read.
    #[error("the model has {got}; expected {expected}")]
    Model {
        /// What is supported.
        expected: String,
        /// What was found.
        got: String,
    },
    /// An operator that cannot be trained.
    #[error("operator {operator} (node `{node}`) is not supported; supported are {supported}")]
    Operator {
        /// The operator's ONNX name.
        operator: String,
        /// The node's name.
        node: String,
        /// The operators that are supported.
        supported: String,
    },
    /// A setting of a supported operator that is not supported.
    #[error("operator {operator} (node `{node}`) has {got}; supported is {supported}")]
    Setting {
        /// The operator's ONNX name.
        operator: String,
        /// The node's name.
        node: String,
        /// What was found.
        got: String,
        /// What is supported.
        supported: String,
    },
    /// Shapes that disagree.
    #[error("operator {operator} (node `{node}`): expected {expected}, got {got}")]
    Shape {
        /// The operator's ONNX name.
        operator: String,
        /// The node's name.
        node: String,
        /// The shape that the operator needs.
        expected: String,
        /// The shape that it is given.
        got: String,
    },
    /// A node's input that is not what the operator can take.
    #[error(
        "operator {operator} (node `{node}`): input {index} (`{input}`) is {got}; expected {expected}"
    )]
    Input {
        /// The operator's ONNX name.
        operator: String,
        /// The node's name.
        node: String,
        /// Position of the input.
        index: usize,
        /// Name of the input.
        input: String,
        /// What was found.
        got: &'static str,
        /// What is supported.
        expected: &'static str,
    },
    /// A model that normalises over the batch, in private training.
    #[error(
        "operator BatchNormalization (node `{node}`) mixes the examples of a batch, so no gradient is one example's own; expected GroupNorm instead (torch.nn.GroupNorm, or opacus.validators.ModuleValidator.fix)"
    )]
    BatchNormalization {
        /// The node's name.
        node: String,
    },
    /// A node behind one that was refused.
    #[error("operator {operator} (node `{node}`) takes `{input}`, which a refused node computes")]
    Behind {
        /// The operator's ONNX name.
        operator: String,
        /// The node's name.
        node: String,
        /// Name of the input.
        input: String,
    },
    /// A weight that two operators use, each in another form.
    #[error(
        "parameter `{parameter}` is used again by operator {operator} (node `{node}`) as {got}; layers that share a weight must share one tensor of the file, in one shape and order"
    )]
    TiedParameter {
        /// The parameter's name.
        parameter: String,
        /// The operator's ONNX name.
        operator: String,
        /// The node's name.
        node: String,
        /// The tensor of the file that it takes for the parameter, and both sizes.
        got: String,
    },
}
