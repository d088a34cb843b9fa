//! What an operator is: the one trait behind every step of a graph.
//!
//! # How to write an operator
//! There are two engines. The *group engine* ([`crate::group`]) runs every operator and every network; it calls
//! [`Operator::forward`] and [`Operator::backward`] with a group of examples, one after the other in memory:
//! a tensor of `n` elements an example is `[example][element]`, elements in the order of its [`super::Shape`].
//! The *lane engine* ([`crate::engine`]) is faster for networks whose tile of examples fits the caches; it is used only
//! where every operator of the graph has a [`LaneOperator`] form as well, so that form is optional ([`Operator::lanes`]).
//!
//! - An operator without parameters: implement `forward` and `backward`. Nothing else.
//! - An operator with parameters: also [`Operator::gradients`], whose only required method writes the sum of the gradients
//!   of some examples. Ghost norms and block-wise sums are optional and worth it for large matrices only.
//! - An operator that has a lane form and works on each element alone: [`forward_by_element`], [`backward_by_element`].
//! - An operator that has a lane form and needs no speed on large networks: call [`forward_by_lanes`] and
//!   [`backward_by_lanes`], which run it with one lane an example.
//!
//! Both methods overwrite what they are given to write, in full; the engine adds up gradients of a value that several
//! steps use. What is not a number must stay so on its way to the output: the example is found out and left out.
//! Examples must not mix: an example's numbers may not depend on its group's other examples.

use std::fmt::Debug;
use std::ops::Range;

use super::lane_operator::{LaneBackward, LaneOperator};
use crate::lanes::{Aligned, Isa};

/// One differentiable step of a graph.
pub(crate) trait Operator: Debug + Send + Sync {
    /// The sample-parallel form, where there is one.
    fn lanes(&self) -> Option<&dyn LaneOperator> {
        None
    }

    /// Floats an example that `forward` leaves for `backward` in `saved`.
    fn saved(&self) -> usize {
        0
    }

    /// Floats that [`Operator::pack`] fills.
    fn packed(&self) -> usize {
        0
    }

    /// Lays the weights out as this operator's products read them; done once a step and seen by all threads as `packed`.
    fn pack(&self, _weights: &[f32], _packed: &mut [f32]) {}

    /// Computes the outputs of a group of examples.
    fn forward(&self, pass: &mut Forward<'_>);

    /// Computes the gradients of those inputs for which there is a target.
    fn backward(&self, pass: &mut Backward<'_>);

    /// Each example's gradient of the operator's own parameters; `None` where it has none.
    fn gradients(&self) -> Option<&dyn ParameterGradients> {
        None
    }
}

/// A group of examples on its way forward.
pub(crate) struct Forward<'a> {
    pub(crate) isa: Isa,
    /// How many examples.
    pub(crate) examples: usize,
    /// All weights of the graph.
    pub(crate) weights: &'a [f32],
    /// What [`Operator::pack`] made of them.
    pub(crate) packed: &'a [f32],
    /// One slice an input, each of `examples` tensors.
    pub(crate) inputs: &'a [&'a [f32]],
    pub(crate) output: &'a mut [f32],
    pub(crate) saved: &'a mut [f32],
    pub(crate) scratch: &'a mut Scratch,
}

/// A group of examples on its way back.
pub(crate) struct Backward<'a> {
    pub(crate) isa: Isa,
    pub(crate) examples: usize,
    pub(crate) weights: &'a [f32],
    pub(crate) packed: &'a [f32],
    pub(crate) inputs: &'a [&'a [f32]],
    pub(crate) output: &'a [f32],
    pub(crate) output_gradient: &'a [f32],
    pub(crate) saved: &'a [f32],
    pub(crate) scratch: &'a mut Scratch,
    /// One an input; `None` where nothing before it is trained.
    pub(crate) input_gradients: Vec<Option<&'a mut [f32]>>,
}

/// The gradients of an operator's own parameters, example by example.
///
/// `gradient` and `sums` are the operator's own part of all parameters: what its importer claimed, in that order.
pub(crate) trait ParameterGradients {
    /// Writes the sum of the gradients of some neighbouring examples (of one, or of all that belong to one entity).
    fn instantiate(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        scratch: &mut Scratch,
        gradient: &mut [f32],
    );

    /// The same without writing a gradient, where the operator can: products and ghost norms.
    fn products(&self) -> Option<&dyn ProductGradients> {
        None
    }
}

/// What a group's forward and backward passes left of one step.
#[derive(Clone, Copy)]
pub(crate) struct GradientPass<'a> {
    pub(crate) isa: Isa,
    pub(crate) weights: &'a [f32],
    pub(crate) inputs: &'a [&'a [f32]],
    pub(crate) output: &'a [f32],
    pub(crate) output_gradient: &'a [f32],
    pub(crate) saved: &'a [f32],
}

/// Gradients of the form `G_i = Σ_t g_it x_itᵀ`: those of convolutions and linear layers.
pub(crate) trait ProductGradients {
    /// Multiplications of the ghost norm of `examples` examples, and of their instantiated gradient.
    fn costs(&self, examples: usize) -> [u64; 2];

    /// `‖Σ_i G_i‖²` from inner products alone (Goodfellow 2015; Li et al. 2022; Bu et al. 2022, "ghost norm"):
    /// `Σ_{t,t'} (x_t·x_t')(g_t·g_t')`, over all positions of all the examples.
    fn ghost_squared_norm(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        scratch: &mut Scratch,
    ) -> f64;

    /// Adds each entity's gradient, scaled and rounded to whole numbers, to the sums, and the squared norm of what was
    /// added to its `squares`.
    fn add_rounded(
        &self,
        pass: &GradientPass<'_>,
        entities: &[Scaled],
        scratch: &mut Scratch,
        sums: &mut [i64],
        squares: &mut [f64],
    );

    /// Adds the gradients of some neighbouring examples as they are.
    fn add(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        scratch: &mut Scratch,
        sums: &mut [f32],
    );
}

/// The examples of one entity in a group, and what their gradient is multiplied by.
#[derive(Clone, Debug)]
pub(crate) struct Scaled {
    pub(crate) examples: Range<usize>,
    pub(crate) scale: f32,
}

/// A thread's memory for intermediate results; it grows to what is asked for, and what is in it means nothing.
#[derive(Default)]
pub(crate) struct Scratch(Aligned);

impl Scratch {
    /// Buffers of these sizes, each starting on a cache line.
    pub(crate) fn split<const N: usize>(&mut self, sizes: [usize; N]) -> [&mut [f32]; N] {
        const LINE: usize = 16;
        let total = sizes.iter().map(|size| size.next_multiple_of(LINE)).sum();
        if self.0.len() < total {
            self.0 = Aligned::zeros(total);
        }
        let mut rest = &mut *self.0;
        sizes.map(|size| {
            let (own, behind) = std::mem::take(&mut rest).split_at_mut(size.next_multiple_of(LINE));
            rest = behind;
            &mut own[..size]
        })
    }
}

/// Runs the lane form of an operator without memory whose every output element depends on the same element of its inputs:
/// all examples at once, whatever element is in whatever lane.
pub(crate) fn forward_by_element(operator: &dyn LaneOperator, pass: &mut Forward<'_>) {
    let whole = whole_vectors(pass.isa, pass.output.len());
    let (output, rest) = pass.output.split_at_mut(whole);
    let inputs: Vec<_> = pass
        .inputs
        .iter()
        .map(|input| input.split_at(whole))
        .collect();
    let (first, last): (Vec<&[f32]>, Vec<&[f32]>) = inputs.into_iter().unzip();
    operator.forward(pass.isa, pass.weights, &first, output, &mut []);
    operator.forward(Isa::Portable, pass.weights, &last, rest, &mut []);
}

/// As [`forward_by_element`].
pub(crate) fn backward_by_element(operator: &dyn LaneOperator, pass: &mut Backward<'_>) {
    let whole = whole_vectors(pass.isa, pass.output.len());
    let inputs = pass.inputs.iter().map(|input| input.split_at(whole));
    let (first, last): (Vec<&[f32]>, Vec<&[f32]>) = inputs.unzip();
    let (output, gradient) = (
        pass.output.split_at(whole),
        pass.output_gradient.split_at(whole),
    );
    for (which, target) in pass.input_gradients.iter_mut().enumerate() {
        let Some(target) = target else { continue };
        let (target, rest) = target.split_at_mut(whole);
        let lanes = |isa, inputs, output, output_gradient, target: &mut [f32]| {
            let mut pass = LaneBackward {
                inputs,
                output,
                output_gradient,
                scratch: &mut [],
            };
            operator.backward_input(isa, which, &[], &mut pass, target);
        };
        lanes(pass.isa, &first, output.0, gradient.0, target);
        lanes(Isa::Portable, &last, output.1, gradient.1, rest);
    }
}

fn whole_vectors(isa: Isa, len: usize) -> usize {
    len / isa.width() * isa.width()
}

/// Runs an operator's lane form, one lane an example. Its memory (`LaneOperator::scratch`) is the operator's `saved`.
pub(crate) fn forward_by_lanes(operator: &dyn LaneOperator, pass: &mut Forward<'_>) {
    let saved = operator.scratch();
    for example in 0..pass.examples {
        let inputs = examples_of(pass.inputs, example, pass.examples);
        operator.forward(
            Isa::Portable,
            pass.weights,
            &inputs,
            part_mut(pass.output, example, pass.examples),
            &mut pass.saved[example * saved..(example + 1) * saved],
        );
    }
}

/// As [`forward_by_lanes`].
pub(crate) fn backward_by_lanes(operator: &dyn LaneOperator, pass: &mut Backward<'_>) {
    let saved = operator.scratch();
    for example in 0..pass.examples {
        let inputs = examples_of(pass.inputs, example, pass.examples);
        let [scratch] = pass.scratch.split([saved]);
        for (which, target) in pass.input_gradients.iter_mut().enumerate() {
            let Some(target) = target else { continue };
            scratch.copy_from_slice(&pass.saved[example * saved..(example + 1) * saved]);
            let mut lanes = LaneBackward {
                inputs: &inputs,
                output: part(pass.output, example, pass.examples),
                output_gradient: part(pass.output_gradient, example, pass.examples),
                scratch,
            };
            operator.backward_input(
                Isa::Portable,
                which,
                pass.weights,
                &mut lanes,
                part_mut(target, example, pass.examples),
            );
        }
    }
}

fn examples_of<'a>(inputs: &[&'a [f32]], example: usize, examples: usize) -> Vec<&'a [f32]> {
    inputs
        .iter()
        .map(|input| part(input, example, examples))
        .collect()
}

/// One example's part of a slice.
pub(crate) fn part(slice: &[f32], example: usize, examples: usize) -> &[f32] {
    let size = slice.len() / examples;
    &slice[example * size..(example + 1) * size]
}

/// One example's part of a slice.
pub(crate) fn part_mut(slice: &mut [f32], example: usize, examples: usize) -> &mut [f32] {
    let size = slice.len() / examples;
    &mut slice[example * size..(example + 1) * size]
}
