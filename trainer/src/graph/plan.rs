//! What importing an ONNX graph yields, and the terms that it is worked out in.

use std::ops::Range;

use super::constant::Constant;
use super::operator::Operator;
use super::shape::Shape;
use super::view::View;

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
    /// Where each parameter stands in the file.
    pub(crate) origins: Vec<Origin>,
    /// Float tensors of the file of more than one element that are used as they are, and not trained.
    pub(crate) constants: Vec<String>,
    /// Nodes of `BatchNormalization`, which private training refuses.
    pub(crate) batch_norms: Vec<String>,
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
    /// The parameters that it reads, in the order in which it claimed them; until weights that several steps use have been
    /// parted from these (`tied`), they may be another step's.
    pub(crate) claims: Vec<Range<usize>>,
    /// The node that it comes from, for reports.
    pub(crate) origin: StepOrigin,
}

/// Where a step comes from.
#[derive(Clone, Debug)]
pub(crate) struct StepOrigin {
    /// The node's name in the file.
    pub(crate) node: String,
    /// Its ONNX operator.
    pub(crate) operator: String,
    /// The shape of one example's output.
    pub(crate) shape: Shape,
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

/// Where a parameter stands in the file that it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The initializer that holds its first value.
    pub(crate) initializer: usize,
    pub(crate) place: Place,
    /// The nodes that take it, and which input of each it is.
    pub(crate) inputs: Vec<(usize, usize)>,
    /// Whether the file holds a matrix whose transpose is PyTorch's parameter.
    pub(crate) transposed: bool,
    /// Initializers that hold its transpose once more: an exporter folded it for another use.
    pub(crate) copies: Vec<usize>,
}

/// Where a trained parameter is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Into the initializer itself.
    Initializer,
    /// Into an initializer in the place of the `Identity` node with this output.
    Identity(String),
    /// Into an initializer of its own of this name, which takes the place of the merged one as inputs of nodes.
    New(String),
}

/// What a node turned into.
pub(crate) enum Imported {
    /// A computation, whose output has this shape, examples first.
    Step {
        operator: Box<dyn Operator>,
        inputs: Vec<Value>,
        shape: Shape,
    },
    /// Nothing more to compute: the output is this.
    Term(Term),
    /// The same for several outputs.
    Terms(Vec<Term>),
}

/// What a name in the file stands for.
#[derive(Clone, Debug)]
pub(crate) enum Term {
    /// A tensor of each example.
    Value(Value),
    /// A float tensor in the file.
    Stored(Stored),
    /// A tensor known on import.
    Constant(Constant),
    /// A computation that waits for the node behind it, of which it may become part.
    Pending(Pending),
    /// What a node that was refused would have given.
    Unknown,
}

/// A tensor of each example: the buffer that holds it and how it is seen.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) buffer: usize,
    /// One example's shape.
    pub(crate) shape: Shape,
    pub(crate) view: View,
    /// Whether it holds whole numbers, which only a lookup takes.
    pub(crate) integer: bool,
}

impl Value {
    /// The same elements seen otherwise.
    pub(crate) fn seen(&self, view: View) -> Option<Self> {
        Some(Self {
            buffer: self.buffer,
            shape: view.shape()?,
            view,
            integer: self.integer,
        })
    }
}

/// A float tensor in the file, as a node sees it.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// The name it is known by in the file: the initializer's, or that of an `Identity`'s output.
    pub(crate) tensor: String,
    /// Its place among the initializers.
    pub(crate) initializer: usize,
    /// The sizes it is seen with.
    pub(crate) dims: Vec<usize>,
    /// Whether it is a matrix that is seen transposed.
    pub(crate) transposed: bool,
    /// Where some of its elements are taken, or all in another order: their places in the file's tensor.
    pub(crate) picked: Option<Vec<usize>>,
    /// The node and the input of it that took the tensor first on the way here; the present node where there is none.
    pub(crate) taken_by: Option<(usize, usize)>,
}

impl Stored {
    /// Some of the elements seen, as a tensor of `dims`.
    pub(crate) fn pick(self, dims: Vec<usize>, elements: &[usize]) -> Self {
        let own = |element: usize| match (&self.picked, self.transposed) {
            (Some(picked), _) => picked[element],
            (None, false) => element,
            // Seen as rows x columns, it lies as columns x rows.
            (None, true) => element % self.dims[1] * self.dims[0] + element / self.dims[1],
        };
        let picked = elements.iter().map(|&element| own(element)).collect();
        Self {
            dims,
            transposed: false,
            picked: Some(picked),
            ..self
        }
    }

    /// Where each element seen lies in the file's tensor; `None` where all are in order.
    pub(crate) fn places(&self) -> Option<Vec<usize>> {
        if self.picked.is_none() && !self.transposed {
            return None;
        }
        let all: Vec<usize> = (0..self.dims.iter().product()).collect();
        self.clone().pick(self.dims.clone(), &all).picked
    }
}

/// A computation that waits for the node behind it.
#[derive(Clone, Debug)]
pub(crate) enum Pending {
    /// `InstanceNormalization` without a scale and shift of its own, which is `GroupNorm` without its affine part where it
    /// was reshaped (PyTorch's exporters write it so).
    Normalised {
        input: Value,
        groups: usize,
        epsilon: f32,
        /// How the output is seen.
        view: View,
        /// A scale, and the node that applies it.
        scale: Option<(Stored, usize, usize)>,
    },
    /// A product with a stored matrix, which waits for a bias.
    Product {
        input: Value,
        weight: Stored,
        /// The node, and its input that is the matrix.
        node: usize,
        which: usize,
        view: View,
    },
}
