//! Stochastic gradient descent with momentum.

use std::fmt;

use super::Optimiser;

pub(crate) struct Sgd {
    learning_rate: f32,
    momentum: f32,
    /// `v` of `v ← momentum·v + g`; empty without momentum.
    velocity: Vec<f32>,
}

impl Sgd {
    pub(crate) fn new(learning_rate: f64, momentum: f64, weights: usize) -> Self {
        let weights = if momentum == 0.0 { 0 } else { weights };
        Self {
            learning_rate: learning_rate as f32,
            momentum: momentum as f32,
            velocity: vec![0.0; weights],
        }
    }
}

impl Optimiser for Sgd {
    fn step(&mut self, _: u64, weights: &mut [f32], gradient: &[f32]) {
        if self.velocity.is_empty() {
            for (weight, gradient) in weights.iter_mut().zip(gradient) {
                *weight -= self.learning_rate * gradient;
            }
            return;
        }
        for ((weight, gradient), velocity) in
            weights.iter_mut().zip(gradient).zip(&mut self.velocity)
        {
            *velocity = self.momentum * *velocity + gradient;
            *weight -= self.learning_rate * *velocity;
        }
    }

    fn moments(&self) -> Vec<&[f32]> {
        vec![&self.velocity]
    }

    fn moments_mut(&mut self) -> Vec<&mut [f32]> {
        vec![&mut self.velocity]
    }
}

impl fmt::Debug for Sgd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sgd")
            .field("learning_rate", &self.learning_rate)
            .field("momentum", &self.momentum)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_with_momentum_follow_the_formula() {
        let mut sgd = Sgd::new(0.1, 0.9, 2);
        let mut weights = [1.0, -1.0];
        sgd.step(1, &mut weights, &[2.0, -4.0]);
        // v = g; w = w - 0.1 g
        assert_eq!(weights, [0.8, -0.6]);
        sgd.step(2, &mut weights, &[1.0, 0.0]);
        // v = 0.9·[2, -4] + [1, 0] = [2.8, -3.6]; w = [0.8 - 0.28, -0.6 + 0.36]
        for (weight, expected) in weights.iter().zip([0.52, -0.24]) {
            assert!((weight - expected).abs() < 1e-6, "{weights:?}");
        }
    }

    #[test]
    fn without_momentum_a_step_is_the_gradient_times_the_learning_rate() {
        let mut sgd = Sgd::new(0.5, 0.0, 1);
        let mut weights = [1.0];
        for step in 1..=3 {
            sgd.step(step, &mut weights, &[1.0]);
        }
        assert_eq!(weights, [-0.5]);
    }
}
