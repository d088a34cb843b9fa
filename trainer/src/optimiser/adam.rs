//! Adam (Kingma and Ba 2015).

use std::fmt;

use super::Optimiser;

pub(crate) struct Adam {
    learning_rate: f64,
    betas: [f64; 2],
    epsilon: f32,
    /// `m`, the decayed mean.
    mean: Vec<f32>,
    /// `v`, the decayed mean of squares.
    square: Vec<f32>,
}

impl Adam {
    pub(crate) fn new(learning_rate: f64, betas: [f64; 2], epsilon: f64, weights: usize) -> Self {
        Self {
            learning_rate,
            betas,
            epsilon: epsilon as f32,
            mean: vec![0.0; weights],
            square: vec![0.0; weights],
        }
    }
}

impl Optimiser for Adam {
    /// Algorithm 1, with the corrections of both biases taken out of the loop.
    fn step(&mut self, step: u64, weights: &mut [f32], gradient: &[f32]) {
        let correction = self.betas.map(|beta| 1.0 - beta.powf(step as f64));
        let rate = (self.learning_rate / correction[0]) as f32;
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
            .field("learning_rate", &self.learning_rate)
            .field("betas", &self.betas)
            .field("epsilon", &self.epsilon)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_follow_the_algorithm() {
        let mut adam = Adam::new(0.1, [0.9, 0.999], 1e-8, 1);
        let mut weights = [1.0];
        adam.step(1, &mut weights, &[0.5]);
        // m = 0.05, v = 0.00025; both corrected: 0.5, 0.25; w = 1 - 0.1·0.5/0.5
        assert!((weights[0] - 0.9).abs() < 1e-6, "{weights:?}");
        adam.step(2, &mut weights, &[-1.0]);
        // m = 0.9·0.05 - 0.1 = -0.055, corrected /0.19 = -0.28947368
        // v = 0.999·0.00025 + 0.001 = 0.00124975, corrected /0.001999 = 0.62518759, root 0.79068804
        // w = 0.9 + 0.1·0.28947368/0.79068804 = 0.93661034
        assert!((weights[0] - 0.936_610_34).abs() < 1e-6, "{weights:?}");
    }
}
