//! Convolutions and linear layers in the group engine: a product with the weights, and a bias.

use std::ops::Range;

use crate::graph::operator::{
    Backward, Forward, GradientPass, ParameterGradients, ProductGradients, Scaled, Scratch,
};
use crate::grid::round_small;
use crate::products::Convolution;

/// The group form of a layer whose weights, and then its bias, were claimed by one node.
#[derive(Debug)]
pub(crate) struct Affine {
    pub(crate) convolution: Convolution,
    pub(crate) weights: Range<usize>,
    pub(crate) bias: Range<usize>,
}

impl Affine {
    pub(crate) fn packed(&self) -> usize {
        self.convolution.packed()
    }

    pub(crate) fn pack(&self, weights: &[f32], packed: &mut [f32]) {
        self.convolution
            .pack(&weights[self.weights.clone()], packed);
    }

    pub(crate) fn forward(&self, pass: &mut Forward<'_>) {
        self.convolution.forward(
            pass.isa,
            pass.packed,
            &pass.weights[self.bias.clone()],
            pass.inputs[0],
            pass.output,
            pass.scratch,
        );
    }

    pub(crate) fn backward(&self, pass: &mut Backward<'_>) {
        if let Some(target) = &mut pass.input_gradients[0] {
            self.convolution.backward(
                pass.isa,
                pass.packed,
                pass.output_gradient,
                target,
                pass.scratch,
            );
        }
    }

    /// The gradient of the bias, summed over some examples: one a row.
    fn bias_gradient(&self, pass: &GradientPass<'_>, examples: Range<usize>) -> Vec<f32> {
        let mut sums = vec![0.0; self.bias.len()];
        if sums.is_empty() {
            return sums;
        }
        let positions: usize = self.convolution.geometry.extent.iter().product();
        let size = sums.len() * positions;
        for example in
            pass.output_gradient[examples.start * size..examples.end * size].chunks_exact(size)
        {
            for (sum, line) in sums.iter_mut().zip(example.chunks_exact(positions)) {
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

impl ParameterGradients for Affine {
    fn instantiate(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        scratch: &mut Scratch,
        gradient: &mut [f32],
    ) {
        let (weights, bias) = gradient.split_at_mut(self.weights.len());
        self.convolution
            .instantiate(pass, examples.clone(), scratch, weights);
        bias.copy_from_slice(&self.bias_gradient(pass, examples));
    }

    fn products(&self) -> Option<&dyn ProductGradients> {
        Some(self)
    }
}

impl ProductGradients for Affine {
    fn costs(&self, examples: usize) -> [u64; 2] {
        self.convolution.costs(examples)
    }

    fn ghost_squared_norm(
        &self,
        pass: &GradientPass<'_>,
        examples: Range<usize>,
        scratch: &mut Scratch,
    ) -> f64 {
        let bias = self.bias_gradient(pass, examples.clone());
        let weights = self.convolution.ghost_squared_norm(pass, examples, scratch);
        weights
            + bias
                .iter()
                .map(|&value| f64::from(value).powi(2))
                .sum::<f64>()
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
        self.convolution
            .add_rounded(pass, entities, scratch, weights, squares);
        if bias.is_empty() {
            return;
        }
        for (entity, square) in entities.iter().zip(squares) {
            let gradient = self.bias_gradient(pass, entity.examples.clone());
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
        self.convolution
            .add(pass, examples.clone(), scratch, weights);
        for (sum, value) in bias.iter_mut().zip(self.bias_gradient(pass, examples)) {
            *sum += value;
        }
    }
}
