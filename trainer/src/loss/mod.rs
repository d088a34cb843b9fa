//! What training makes smaller. A new loss is a file here, a variant of [`LossConfig`] and one of `Term`.

mod config;
mod dice;
mod elementwise;
mod softmax;
#[cfg(test)]
mod tests;

use std::fmt::Debug;

pub use self::config::{LossConfig, LossError, WeightedLoss};
use self::dice::Dice;
use self::elementwise::Elementwise;
use self::softmax::Softmax;
use crate::targets::Target;

/// A loss of one example.
pub(crate) trait Loss: Debug + Send + Sync {
    /// The loss, and its gradient by the outputs. `None` where the target does not fit, such as a label out of range.
    fn evaluate(&self, outputs: &[f32], target: Target<'_>, gradient: &mut [f32]) -> Option<f32>;
}

/// A weighted sum of terms; most often of one with weight 1.
#[derive(Debug)]
struct Sum(Vec<(f64, Term)>);

/// A loss that is added to others.
#[derive(Debug)]
enum Term {
    Softmax(Softmax),
    Elementwise(Elementwise),
    Dice(Dice),
}

impl Loss for Sum {
    fn evaluate(&self, outputs: &[f32], target: Target<'_>, gradient: &mut [f32]) -> Option<f32> {
        self.value(outputs, target, gradient)
            .map(|value| value as f32)
    }
}

impl Sum {
    /// The same in any precision: outputs come and gradients go in `F`, all arithmetic is double.
    fn value<F: Real>(&self, outputs: &[F], target: Target<'_>, gradient: &mut [F]) -> Option<f64> {
        if !target.fits(outputs.len()) {
            return None;
        }
        gradient.fill(F::of(0.0));
        let mut sum = 0.0;
        for (weight, term) in &self.0 {
            sum += weight
                * match term {
                    Term::Softmax(term) => term.add(outputs, target, *weight, gradient),
                    Term::Elementwise(term) => term.add(outputs, target, *weight, gradient),
                    Term::Dice(term) => term.add(outputs, target, *weight, gradient),
                };
        }
        Some(sum)
    }
}

/// A number as networks compute with it.
trait Real: Copy + Into<f64> {
    fn of(value: f64) -> Self;

    /// Adds to it.
    fn add(&mut self, value: f64) {
        *self = Self::of((*self).into() + value);
    }
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
}

/// `1 / (1 + exp(-x))`.
fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let power = x.exp();
        power / (1.0 + power)
    }
}
