//! What an operator does to tiles of examples: the sample-parallel form of small networks.

use std::fmt::Debug;
use std::ops::Range;

use crate::lanes::Isa;

/// One differentiable step of a graph, over tiles (see [`crate::lanes`]).
///
/// Values are passed as slices of vectors, `[element][lane]`; weights as one flat slice for the whole graph, of which an
/// operator knows its ranges.
/// Every method overwrites what it is given to write, in full, except `scratch`.
pub(crate) trait LaneOperator: Debug + Send + Sync {
    /// Elements an example of memory that `forward` fills and the backward methods read.
    fn scratch(&self) -> usize {
        0
    }

    /// Computes the output.
    fn forward(
        &self,
        isa: Isa,
        weights: &[f32],
        inputs: &[&[f32]],
        output: &mut [f32],
        scratch: &mut [f32],
    );

    /// Computes each example's gradient of this operator's parameters into their ranges of `gradient`, a tile of all
    /// parameters.
    fn backward_parameters(&self, _isa: Isa, _pass: &mut LaneBackward<'_>, _gradient: &mut [f32]) {}

    /// The operator's parameters, where each example's gradient is the outer product of its output gradient and its input:
    /// a matrix of outputs by inputs, and then as many numbers as there are outputs, or none.
    fn outer(&self) -> Option<Range<usize>> {
        None
    }

    /// Computes the gradient of input number `which`.
    fn backward_input(
        &self,
        isa: Isa,
        which: usize,
        weights: &[f32],
        pass: &mut LaneBackward<'_>,
        input_gradient: &mut [f32],
    );
}

/// What the forward pass left, and the gradient that came back.
pub(crate) struct LaneBackward<'a> {
    pub(crate) inputs: &'a [&'a [f32]],
    pub(crate) output: &'a [f32],
    pub(crate) output_gradient: &'a [f32],
    pub(crate) scratch: &'a mut [f32],
}
