//! Convolutions and linear layers in the group engine: a product with the weights, and a bias.

use std::ops::Range;

use crate::graph::operator::{
    Backward, Forward, GradientPass, Operator, ParameterGradients, ProductGradients, Scaled,
    Scratch,
};
use crate::grid::round_small;
use crate::products::Convolution;

/// The group form of a layer whose weights, and then its bias, were claimed by one node.
#[derive(Debug)]
pub(crate) struct Affine {
    convolution: Convolution,
    direction: Direction,
    /// How many times an example goes through the product: its rows, where it has several.
    rows: usize,
    /// Places of an output that have one bias.
    positions: usize,
    weights: Range<usize>,
    bias: Range<usize>,
}

/// Which way a layer goes through its convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    /// The way back, from what the convolution gives to what it takes.
    Back,
}

impl Affine {
    /// A convolution; or a linear layer, of which an example has so many rows.
    pub(crate) fn new(
        convolution: Convolution,
        rows: usize,
        weights: Range<usize>,
        bias: Range<usize>,
    ) -> Self {
        Self {
            direction: Direction::Forward,
            rows,
            positions: convolution.geometry.extent.iter().product(),
            convolution,
            weights,
            bias,
        }
    }

    /// A transposed convolution; or a linear layer whose weight is kept as inputs x outputs.
    pub(crate) fn turned(
        convolution: Convolution,
        rows: usize,
        weights: Range<usize>,
        bias: Range<usize>,
    ) -> Self {
        Self {
            direction: Direction::Back,
            rows,
            positions: convolution.geometry.image.iter().product(),
            convolution,
            weights,
            bias,
        }
    }

    fn rows_of(&self, examples: &Range<usize>) -> Range<usize> {
        examples.start * self.rows..examples.end * self.rows
    }

    /// Runs with what the convolution has for input and gradient. On the way back these are the gradient and the input.
    fn seen<T>(&self, pass: &GradientPass<'_>, run: impl FnOnce(&GradientPass<'_>) -> T) -> T {
        if self.direction == Direction::Forward {
            return run(pass);
        }
        let inputs = [pass.output_gradient];
        run(&GradientPass {
            inputs: &inputs,
            output_gradient: pass.inputs[0],
            ..*pass
        })
    }

    /// The gradient of the bias, summed over some examples: one a row of the weights.
    fn bias_gradient(&self, pass: &GradientPass<'_>, examples: &Range<usize>) -> Vec<f32> {
        let mut sums = vec![0.0; self.bias.len()];
        if sums.is_empty() {
            return sums;
        }
        let size = sums.len() * self.positions;
        let rows = self.rows_of(examples);
        for row in pass.output_gradient[rows.start * size..rows.end * size].chunks_exact(size) {
            for (sum, line) in sums.iter_mut().zip(row.chunks_exact(self.positions)) {
                *sum += sum_of(line);
            }
        }
        sums
    }
}

/// The sum, in lanes that the compiler keeps in vector registers.
fn sum_of(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<16>();
    let mut lanes = [0.0; 16];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

impl Operator for Affine {
    fn packed(&self) -> usize {
        self.convolution.packed()
    }

    fn pack(&self, weights: &[f32], packed: &mut [f32]) {
        self.convolution
            .pack(&weights[self.weights.clone()], packed);
    }

    fn forward(&self, pass: &mut Forward<'_>) {
        let bias = &pass.weights[self.bias.clone()];
        let input = pass.inputs[0];
        if self.direction == Direction::Forward {
            self.convolution.forward(
                pass.isa,
                pass.packed,
                bias,
                input,
                pass.output,
                pass.scratch,
            );
            return;
        }
        self.convolution
            .backward(pass.isa, pass.packed, input, pass.output, pass.scratch);
        if bias.is_empty() {
            return;
        }
        let lines = pass.output.chunks_exact_mut(self.positions);
        for (line, bias) in lines.zip(bias.iter().cycle()) {
            line.iter_mut().for_each(|value| *value += bias);
        }
    }

    fn backward(&self, pass: &mut Backward<'_>) {
        let Some(target) = &mut pass.input_gradients[0] else {
            return;
        };
        let gradient = pass.output_gradient;
        match self.direction {
            Direction::Forward => {
                self.convolution
                    .backward(pass.isa, pass.packed, gradient, target, pass.scratch);
            }
            Direction::Back => {
                self.convolution.forward(
                    pass.isa,
                    pass.packed,
                    &[],
                    gradient,
                    target,
                    pass.scratch,
                );
            }
        }
    }

    fn gradients(&self) -> Option<&dyn ParameterGradients> {
        Some(self)
    }
}

impl ParameterGradients for Affine {
    fn instantiate(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        scratch: &mut Scratch,
        gradient: &mut [f32],
    ) {
        let (weights, bias) = gradient.split_at_mut(self.weights.len());
        let rows = self.rows_of(&examples);
        self.seen(pass, |pass| {
            self.convolution.instantiate(pass, rows, scratch, weights);
        });
        bias.copy_from_slice(&self.bias_gradient(pass, &examples));
    }

    fn products(&self) -> Option<&dyn ProductGradients> {
        Some(self)
    }
}

impl ProductGradients for Affine {
    fn costs(&self, examples: usize) -> [u64; 2] {
        self.convolution.costs(examples * self.rows)
    }

    fn ghost_squared_norm(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        scratch: &mut Scratch,
    ) -> f64 {
        let bias = self.bias_gradient(pass, &examples);
        let rows = self.rows_of(&examples);
        let weights = self.seen(pass, |pass| {
            self.convolution.ghost_squared_norm(pass, rows, scratch)
        });
        let bias = bias.iter().map(|&value| f64::from(value).powi(2));
        weights + bias.sum::<f64>()
    }

    fn add_rounded(
        &self,
        pass: &GradientPass<'_>,
        entities: &[Scaled],
        scratch: &mut Scratch,
        sums: &mut [i64],
        squares: &mut [f64],
    ) {
        let (weights, bias) = sums.split_at_mut(self.weights.len());
        let of_rows: Vec<Scaled> = (entities.iter())
            .map(|entity| Scaled {
                examples: self.rows_of(&entity.examples),
                scale: entity.scale,
            })
            .collect();
        self.seen(pass, |pass| {
            self.convolution
                .add_rounded(pass, &of_rows, scratch, weights, squares);
        });
        if bias.is_empty() {
            return;
        }
        for (entity, square) in entities.iter().zip(squares) {
            let gradient = self.bias_gradient(pass, &entity.examples);
            for (sum, value) in bias.iter_mut().zip(gradient) {
                let (number, squared) = round_small(value, entity.scale);
                *sum += i64::from(number);
                *square += squared;
            }
        }
    }

    fn add(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        scratch: &mut Scratch,
        sums: &mut [f32],
    ) {
        let (weights, bias) = sums.split_at_mut(self.weights.len());
        let rows = self.rows_of(&examples);
        self.seen(pass, |pass| {
            self.convolution.add(pass, rows, scratch, weights);
        });
        for (sum, value) in bias.iter_mut().zip(self.bias_gradient(pass, &examples)) {
            *sum += value;
        }
    }
}
