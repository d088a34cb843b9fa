//! What importing an ONNX graph yields, and the terms that it is worked out in.

use std::ops::Range;

use super::operator::Operator;
use super::shape::Shape;

/// All that a graph consists of.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) input: Shape,
    pub(crate) output: Value,
    pub(crate) steps: Vec<Step>,
    /// Elements an example of each buffer.
    pub(crate) buffers: Vec<usize>,
    pub(crate) parameters: Vec<ParameterInfo>,
    pub(crate) weights: Vec<f32>,
}

impl Plan {
    /// Whether the sample-parallel engine can run every step.
    pub(crate) fn has_lanes(&self) -> bool {
        self.steps
            .iter()
            .all(|step| step.operator.lanes().is_some())
    }
}

/// One computation of a graph. The step with index `i` writes buffer `i + 1`; buffer 0 is the input.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) operator: Box<dyn Operator>,
    pub(crate) inputs: Vec<usize>,
    /// For each input, whether anything before it is trained.
    pub(crate) trained_before: Vec<bool>,
    /// Its own parameters among all; empty where it has none.
    pub(crate) parameters: Range<usize>,
}

/// A trained tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    /// PyTorch's name, such as `conv1.weight`.
    pub name: String,
    /// Sizes as in PyTorch.
    pub dims: Vec<usize>,
    /// Where its elements lie among all parameters, in the order of [`crate::Graph::parameters`].
    pub range: Range<usize>,
}

/// What a node turned into.
pub(crate) enum Imported {
    /// A computation, whose output has this shape.
    Step {
        operator: Box<dyn Operator>,
        inputs: Vec<Value>,
        shape: Shape,
    },
    /// Nothing to compute: the output is this.
    Term(Term),
}

/// What a name in the file stands for.
#[derive(Clone, Debug)]
pub(crate) enum Term {
    /// A tensor of each example.
    Value(Value),
    /// A tensor in the file: the name it is known by here (an `Identity` gives it a new one) and its place there.
    Tensor { name: String, initializer: usize },
    /// Whole numbers known on import: shapes and what is computed from them.
    Integers(Integers),
}

/// A tensor of each example: the buffer that holds it and the shape it is seen with.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) buffer: usize,
    pub(crate) shape: Shape,
}

/// Whole numbers known on import.
#[derive(Clone, Debug)]
pub(crate) struct Integers {
    pub(crate) values: Vec<Extent>,
    /// A tensor of no dimension, which holds exactly one value.
    pub(crate) scalar: bool,
}

/// An element of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The number of examples, whatever it is.
    Batch,
    /// A number.
    Known(i64),
}
