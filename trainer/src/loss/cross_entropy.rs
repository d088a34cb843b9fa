//! Cross-entropy of a softmax.

use super::{Loss, LossError};
use crate::graph::Shape;

/// `-log softmax(outputs)[label]`.
#[derive(Debug)]
pub(crate) struct CrossEntropy {
    classes: usize,
}

impl CrossEntropy {
    pub(crate) fn new(output: &Shape) -> Result<Self, LossError> {
        match output.dims() {
            &[classes] if classes >= 2 => Ok(Self { classes }),
            _ => Err(LossError::Classes(output.clone())),
        }
    }
}

impl Loss for CrossEntropy {
    fn evaluate(&self, outputs: &[f32], label: u32, gradient: &mut [f32]) -> Option<f32> {
        let label = usize::try_from(label)
            .ok()
            .filter(|&label| label < self.classes)?;
        // Shifted by the largest output, so that no exponential overflows.
        let largest = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for (gradient, &output) in gradient.iter_mut().zip(outputs) {
            *gradient = (output - largest).exp();
            sum += *gradient;
        }
        for gradient in gradient.iter_mut() {
            *gradient /= sum;
        }
        gradient[label] -= 1.0;
        Some(sum.ln() - (outputs[label] - largest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss() -> CrossEntropy {
        CrossEntropy::new(&Shape::new(vec![3]).unwrap()).unwrap()
    }

    #[test]
    fn equal_outputs_cost_the_logarithm_of_the_classes() {
        let mut gradient = [0.0; 3];
        let value = loss().evaluate(&[5.0; 3], 1, &mut gradient).unwrap();
        assert!((value - 3f32.ln()).abs() < 1e-6);
        for (got, expected) in gradient.iter().zip([1.0 / 3.0, -2.0 / 3.0, 1.0 / 3.0]) {
            assert!((got - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn large_outputs_do_not_overflow() {
        let mut gradient = [0.0; 3];
        let value = loss()
            .evaluate(&[1e30, -1e30, 0.0], 0, &mut gradient)
            .unwrap();
        assert_eq!(value, 0.0);
        assert_eq!(gradient, [0.0; 3]);
    }

    #[test]
    fn a_label_out_of_range_is_no_loss() {
        assert!(loss().evaluate(&[0.0; 3], 3, &mut [0.0; 3]).is_none());
        assert!(
            loss()
                .evaluate(&[0.0; 3], u32::MAX, &mut [0.0; 3])
                .is_none()
        );
    }

    #[test]
    fn an_output_that_is_not_a_number_makes_the_loss_so() {
        let value = loss()
            .evaluate(&[f32::NAN, 0.0, 0.0], 1, &mut [0.0; 3])
            .unwrap();
        assert!(value.is_nan());
    }

    #[test]
    fn an_image_is_no_vector_of_classes() {
        assert!(CrossEntropy::new(&Shape::new(vec![2, 2]).unwrap()).is_err());
        assert!(CrossEntropy::new(&Shape::new(vec![1]).unwrap()).is_err());
    }
}
