//! Add: of two tensors of each example (a residual connection), or of a trained tensor to each example (a bias).

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::graph::lane_operator::{LaneBackward, LaneOperator};
use crate::graph::operator::{
    Backward, Forward, GradientPass, Operator, ParameterGradients, Scratch, backward_by_element,
    backward_by_lanes, forward_by_element, forward_by_lanes,
};
use crate::lanes::Isa;

/// The sum of two tensors of one size.
pub(crate) fn sum() -> Box<dyn Operator> {
    Box::new(Add)
}

/// Adds a parameter: to each element of an example the element of the parameter that `sources` says.
pub(crate) fn bias(range: Range<usize>, sources: Vec<usize>) -> Box<dyn Operator> {
    Box::new(Bias { range, sources })
}

#[derive(Debug)]
struct Add;

impl Operator for Add {
    fn lanes(&self) -> Option<&dyn LaneOperator> {
        Some(self)
    }

    fn forward(&self, pass: &mut Forward<'_>) {
        forward_by_element(self, pass);
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        backward_by_element(self, pass);
    }
}

impl LaneOperator for Add {
    fn forward(&self, _: Isa, _: &[f32], inputs: &[&[f32]], output: &mut [f32], _: &mut [f32]) {
        for (output, (left, right)) in output.iter_mut().zip(inputs[0].iter().zip(inputs[1])) {
            *output = left + right;
        }
    }

    fn backward_input(
        &self,
        _: Isa,
        _: usize,
        _: &[f32],
        pass: &mut LaneBackward<'_>,
        input_gradient: &mut [f32],
    ) {
        input_gradient.copy_from_slice(pass.output_gradient);
    }
}

#[derive(Debug)]
struct Bias {
    range: Range<usize>,
    sources: Vec<usize>,
}

impl Operator for Bias {
    fn lanes(&self) -> Option<&dyn LaneOperator> {
        Some(self)
    }

    fn forward(&self, pass: &mut Forward<'_>) {
        forward_by_lanes(self, pass);
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        backward_by_lanes(self, pass);
    }

    fn gradients(&self) -> Option<&dyn ParameterGradients> {
        Some(self)
    }
}

impl ParameterGradients for Bias {
    fn instantiate(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        _: &mut Scratch,
        gradient: &mut [f32],
    ) {
        gradient.fill(0.0);
        let size = self.sources.len();
        for example in
            pass.output_gradient[examples.start * size..examples.end * size].chunks_exact(size)
        {
            for (&source, value) in self.sources.iter().zip(example) {
                gradient[source] += value;
            }
        }
    }
}

impl LaneOperator for Bias {
    fn forward(
        &self,
        isa: Isa,
        weights: &[f32],
        inputs: &[&[f32]],
        output: &mut [f32],
        _: &mut [f32],
    ) {
        isa.run(BiasForward {
            sources: &self.sources,
            bias: &weights[self.range.clone()],
            input: inputs[0],
            output,
        });
    }

    fn backward_parameters(&self, isa: Isa, pass: &mut LaneBackward<'_>, gradient: &mut [f32]) {
        let width = isa.width();
        isa.run(BiasGradient {
            sources: &self.sources,
            output_gradient: pass.output_gradient,
            bias: &mut gradient[self.range.start * width..self.range.end * width],
        });
    }

    fn backward_input(
        &self,
        _: Isa,
        _: usize,
        _: &[f32],
        pass: &mut LaneBackward<'_>,
        input_gradient: &mut [f32],
    ) {
        input_gradient.copy_from_slice(pass.output_gradient);
    }
}

struct BiasForward<'a> {
    sources: &'a [usize],
    bias: &'a [f32],
    input: &'a [f32],
    output: &'a mut [f32],
}

impl WithSimd for BiasForward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let inputs = S::as_simd_f32s(self.input).0.iter().zip(self.sources);
        for (output, (&input, &source)) in S::as_mut_simd_f32s(self.output).0.iter_mut().zip(inputs)
        {
            *output = simd.add_f32s(input, simd.splat_f32s(self.bias[source]));
        }
    }
}

struct BiasGradient<'a> {
    sources: &'a [usize],
    output_gradient: &'a [f32],
    bias: &'a mut [f32],
}

impl WithSimd for BiasGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let bias = S::as_mut_simd_f32s(self.bias).0;
        bias.fill(simd.splat_f32s(0.0));
        for (&source, &gradient) in self
            .sources
            .iter()
            .zip(S::as_simd_f32s(self.output_gradient).0)
        {
            bias[source] = simd.add_f32s(bias[source], gradient);
        }
    }
}
