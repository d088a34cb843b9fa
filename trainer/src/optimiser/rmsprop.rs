//! RMSprop.

use std::fmt;

use super::Optimiser;

pub(crate) struct RmsProp {
    decay: f64,
    epsilon: f32,
    momentum: f32,
    /// The decayed mean of squares.
    square: Vec<f32>,
    /// The decayed mean; empty unless centred.
    mean: Vec<f32>,
    /// Empty without momentum.
    velocity: Vec<f32>,
}

impl RmsProp {
    pub(crate) fn new(
        decay: f64,
        epsilon: f64,
        momentum: f64,
        centred: bool,
        weights: usize,
    ) -> Self {
        let zeros = |wanted: bool| vec![0.0; if wanted { weights } else { 0 }];
        Self {
            decay,
            epsilon: epsilon as f32,
            momentum: momentum as f32,
            square: zeros(true),
            mean: zeros(centred),
            velocity: zeros(momentum > 0.0),
        }
    }
}

impl Optimiser for RmsProp {
    fn step(&mut self, _: u64, learning_rate: f64, weights: &mut [f32], gradient: &[f32]) {
        let rate = learning_rate as f32;
        let (kept, rest) = (self.decay as f32, (1.0 - self.decay) as f32);
        for (index, (weight, &gradient)) in weights.iter_mut().zip(gradient).enumerate() {
            let square = &mut self.square[index];
            *square = kept * *square + rest * gradient * gradient;
            let spread = match self.mean.get_mut(index) {
                Some(mean) => {
                    *mean = kept * *mean + rest * gradient;
                    // Rounding can leave a difference just below zero, whose root is no number.
                    (*square - *mean * *mean).max(0.0)
                }
                None => *square,
            };
            let direction = gradient / (spread.sqrt() + self.epsilon);
            *weight -= rate
                * match self.velocity.get_mut(index) {
                    Some(velocity) => {
                        *velocity = self.momentum * *velocity + direction;
                        *velocity
                    }
                    None => direction,
                };
        }
    }

    fn moments(&self) -> Vec<&[f32]> {
        vec![&self.square, &self.mean, &self.velocity]
    }

    fn moments_mut(&mut self) -> Vec<&mut [f32]> {
        vec![&mut self.square, &mut self.mean, &mut self.velocity]
    }
}

impl fmt::Debug for RmsProp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RmsProp")
            .field("decay", &self.decay)
            .field("epsilon", &self.epsilon)
            .field("momentum", &self.momentum)
            .finish_non_exhaustive()
    }
}
