//! Stochastic gradient descent with momentum.

use std::fmt;

use super::Optimiser;

pub(crate) struct Sgd {
    momentum: f32,
    kind: Momentum,
    /// `v` of `v ← momentum·v + g`; empty without momentum.
    velocity: Vec<f32>,
}

/// What a step follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Momentum {
    /// `v`.
    Classic,
    /// `g + momentum·v`: the gradient as if one more step of momentum had been taken (Sutskever et al. 2013, equation 7,
    /// in the form that PyTorch gives it).
    Nesterov,
}

impl Sgd {
    pub(crate) fn new(momentum: f64, kind: Momentum, weights: usize) -> Self {
        let weights = if momentum == 0.0 { 0 } else { weights };
        Self {
            momentum: momentum as f32,
            kind,
            velocity: vec![0.0; weights],
        }
    }
}

impl Optimiser for Sgd {
    fn step(&mut self, _: u64, learning_rate: f64, weights: &mut [f32], gradient: &[f32]) {
        let (rate, momentum) = (learning_rate as f32, self.momentum);
        if self.velocity.is_empty() {
            for (weight, gradient) in weights.iter_mut().zip(gradient) {
                *weight -= rate * gradient;
            }
            return;
        }
        let moving = weights.iter_mut().zip(gradient).zip(&mut self.velocity);
        match self.kind {
            Momentum::Classic => {
                for ((weight, gradient), velocity) in moving {
                    *velocity = momentum * *velocity + gradient;
                    *weight -= rate * *velocity;
                }
            }
            Momentum::Nesterov => {
                for ((weight, gradient), velocity) in moving {
                    *velocity = momentum * *velocity + gradient;
                    *weight -= rate * (gradient + momentum * *velocity);
                }
            }
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
            .field("momentum", &self.momentum)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
