//! Adam (Kingma and Ba 2015).

use std::fmt;

use super::Optimiser;

pub(crate) struct Adam {
    betas: [f64; 2],
    epsilon: f32,
    /// `m`, the decayed mean.
    mean: Vec<f32>,
    /// `v`, the decayed mean of squares.
    square: Vec<f32>,
}

impl Adam {
    pub(crate) fn new(betas: [f64; 2], epsilon: f64, weights: usize) -> Self {
        Self {
            betas,
            epsilon: epsilon as f32,
            mean: vec![0.0; weights],
            square: vec![0.0; weights],
        }
    }
}

impl Optimiser for Adam {
    /// Algorithm 1, with the corrections of both biases taken out of the loop.
    fn step(&mut self, step: u64, learning_rate: f64, weights: &mut [f32], gradient: &[f32]) {
        let correction = self.betas.map(|beta| 1.0 - beta.powf(step as f64));
        let rate = (learning_rate / correction[0]) as f32;
        let root = correction[1].sqrt() as f32;
        let [beta1, beta2] = self.betas.map(|beta| beta as f32);
        let [rest1, rest2] = self.betas.map(|beta| (1.0 - beta) as f32);
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((weight, &gradient), (mean, square)) in weights.iter_mut().zip(gradient).zip(moments) {
            *mean = beta1 * *mean + rest1 * gradient;
            *square = beta2 * *square + rest2 * gradient * gradient;
            *weight -= rate * *mean / (square.sqrt() / root + self.epsilon);
        }
    }

    fn moments(&self) -> Vec<&[f32]> {
        vec![&self.mean, &self.square]
    }

    fn moments_mut(&mut self) -> Vec<&mut [f32]> {
        vec![&mut self.mean, &mut self.square]
    }
}

impl fmt::Debug for Adam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adam")
            .field("betas", &self.betas)
            .field("epsilon", &self.epsilon)
            .finish_non_exhaustive()
    }
}
