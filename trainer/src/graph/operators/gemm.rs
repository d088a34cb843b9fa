//! Gemm as `torch.nn.Linear` exports it.

use std::ops::Range;

use crate::graph::lane_operator::{LaneBackward, LaneOperator};
use crate::graph::operator::{Backward, Forward, Operator, ParameterGradients};
use crate::graph::operators::affine::Affine;
use crate::kernels::{self, InputGradient, WeightGradient, Window};
use crate::lanes::Isa;
use crate::products::Convolution;

/// A linear layer of one row: its weight of outputs x inputs, and its bias or an empty range behind it.
pub(crate) fn operator(
    columns: usize,
    rows: usize,
    weights: Range<usize>,
    bias: Range<usize>,
) -> Box<dyn Operator> {
    Box::new(Gemm {
        affine: Affine::new(
            Convolution::linear(columns, rows),
            1,
            weights.clone(),
            bias.clone(),
        ),
        taps: (0..columns).collect(),
        weights,
        bias,
    })
}

#[derive(Debug)]
struct Gemm {
    /// The group form.
    affine: Affine,
    taps: Vec<usize>,
    weights: Range<usize>,
    bias: Range<usize>,
}

impl Gemm {
    /// A linear layer is a convolution whose only window is the whole input.
    fn window(&self) -> Window<'_> {
        Window {
            taps: &self.taps,
            positions: &[0],
        }
    }
}

impl Operator for Gemm {
    fn lanes(&self) -> Option<&dyn LaneOperator> {
        Some(self)
    }

    fn packed(&self) -> usize {
        self.affine.packed()
    }

    fn pack(&self, weights: &[f32], packed: &mut [f32]) {
        self.affine.pack(weights, packed);
    }

    fn forward(&self, pass: &mut Forward<'_>) {
        self.affine.forward(pass);
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        self.affine.backward(pass);
    }

    fn gradients(&self) -> Option<&dyn ParameterGradients> {
        Some(&self.affine)
    }
}

impl LaneOperator for Gemm {
    fn forward(
        &self,
        isa: Isa,
        weights: &[f32],
        inputs: &[&[f32]],
        output: &mut [f32],
        _: &mut [f32],
    ) {
        isa.run(kernels::Forward {
            window: self.window(),
            weights: &weights[self.weights.clone()],
            bias: &weights[self.bias.clone()],
            input: inputs[0],
            output,
        });
    }

    fn backward_parameters(&self, isa: Isa, pass: &mut LaneBackward<'_>, gradient: &mut [f32]) {
        let width = isa.width();
        // The bias was claimed after the weight, and so lies behind it.
        let (before, behind) = gradient.split_at_mut(self.weights.end * width);
        let bias = match self.bias.is_empty() {
            true => &mut [],
            false => {
                &mut behind[(self.bias.start - self.weights.end) * width
                    ..(self.bias.end - self.weights.end) * width]
            }
        };
        isa.run(WeightGradient {
            window: self.window(),
            input: pass.inputs[0],
            output_gradient: pass.output_gradient,
            weights: &mut before[self.weights.start * width..],
            bias,
        });
    }

    fn outer(&self) -> Option<Range<usize>> {
        let end = self.bias.end.max(self.weights.end);
        (self.bias.is_empty() || self.bias.start == self.weights.end)
            .then_some(self.weights.start..end)
    }

    fn backward_input(
        &self,
        isa: Isa,
        _: usize,
        weights: &[f32],
        pass: &mut LaneBackward<'_>,
        input_gradient: &mut [f32],
    ) {
        input_gradient.fill(0.0);
        isa.run(InputGradient {
            window: self.window(),
            weights: &weights[self.weights.clone()],
            output_gradient: pass.output_gradient,
            input_gradient,
        });
    }
}
