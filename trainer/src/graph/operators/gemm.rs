//! Gemm as `torch.nn.Linear` exports it.

use std::ops::Range;

use crate::graph::error::GraphError;
use crate::graph::node::Node;
use crate::graph::operator::{Backward, Operator};
use crate::graph::plan::Imported;
use crate::kernels::{Forward, InputGradient, WeightGradient, Window};
use crate::lanes::Isa;

pub(crate) fn import(node: &mut Node<'_, '_>) -> Result<Imported, GraphError> {
    node.expect_inputs(2..=3)?;
    node.expect_attributes(&["alpha", "beta", "transA", "transB"])?;
    node.expect_float("alpha", 1.0)?;
    node.expect_float("beta", 1.0)?;
    node.expect_int("transA", 0)?;
    if node.int("transB", 0)? != 1 {
        return Err(node.setting(
            "transB 0",
            "transB 1, a weight of outputs x inputs as torch.nn.Linear exports it",
        ));
    }
    let input = node.value(0)?;
    let &[columns] = input.shape.dims() else {
        return Err(node.shape(
            "a vector for each example (flatten first)",
            input.shape.to_string(),
        ));
    };
    let rows = match node.parameter_dims(1)?.as_slice() {
        &[rows, _] => rows,
        dims => {
            return Err(node.shape(
                "a weight of 2 dimensions",
                format!("{} dimensions", dims.len()),
            ));
        }
    };
    let shape = node.output_shape(vec![rows])?;
    let weights = node.claim(1, &[rows, columns])?;
    let bias = if node.input_count() == 3 {
        node.claim(2, &[rows])?
    } else {
        0..0
    };
    let operator = Gemm {
        taps: (0..columns).collect(),
        weights,
        bias,
    };
    Ok(Imported::Step {
        operator: Box::new(operator),
        inputs: vec![input],
        shape,
    })
}

#[derive(Debug)]
struct Gemm {
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
    fn forward(
        &self,
        isa: Isa,
        weights: &[f32],
        inputs: &[&[f32]],
        output: &mut [f32],
        _: &mut [f32],
    ) {
        isa.run(Forward {
            window: self.window(),
            weights: &weights[self.weights.clone()],
            bias: &weights[self.bias.clone()],
            input: inputs[0],
            output,
        });
    }

    fn backward_parameters(&self, isa: Isa, pass: &mut Backward<'_>, gradient: &mut [f32]) {
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

    fn backward_input(
        &self,
        isa: Isa,
        _: usize,
        weights: &[f32],
        pass: &mut Backward<'_>,
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
